//! Settings and credentials of the XTS adapter, with defaults for Jainam's retail server.
//! Not where they come from: files and environment are `config`'s.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// The client of a *pro* dealer, who trades for the firm's own account.
pub(super) const MASKED_CLIENT: &str = "*****";

/// The most market-data app keys of one account.
pub const MAX_MARKET_KEYS: usize = 8;

/// How the interactive product logs in; the market product always logs in directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginKind {
    /// App key and secret key.
    Direct,
    /// The same, after asking the server for a one-time key and a base path (dealer servers).
    Hostlookup,
    /// The same, with an access token from the broker's login page in a browser.
    AccessToken,
}

/// `[broker.xts]` of the configuration. Brokers mix hosts and prefixes, hence their number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Scheme, host and port.
    pub base_url: String,
    /// Prefix of the market-data calls.
    pub market_prefix: String,
    /// Prefix of the market-data login; empty: `market_prefix`. 5paisa needs another.
    pub market_login_prefix: String,
    /// Prefix of the subscription calls; empty: `market_prefix`. RMoney needs another.
    pub subscription_prefix: String,
    /// Prefix of the interactive calls.
    pub interactive_prefix: String,
    /// Path of the market-data socket, without the last slash.
    pub socket_path: String,
    /// How the interactive product logs in.
    pub login: LoginKind,
    /// Where hostlookup is asked; empty: `base_url` and `/hostlookup`. Some have a port of its
    /// own (`https://ttblaze.iifl.com:4000/HostLookUp`).
    pub hostlookup_url: String,
    /// Whether the interactive product is used at all.
    pub interactive: bool,
    /// The client that books are asked for; dealers only. Five asterisks: a pro dealer's own.
    pub client_id: String,
    /// Subscriptions (instrument and message code) that one app key may hold, as granted.
    pub max_subscriptions: usize,
    /// Market-data app keys of the account. Each has an adapter of its own, so that one adapter makes nothing of it.
    pub market_keys: usize,
    /// Instruments in one subscription or quotes call.
    pub max_per_request: usize,
    /// Engine.IO revision asked for: 3 or 4. Every server seen speaks 3 whatever is asked.
    pub engine_io: u8,
    /// PEM file with the certificates to trust instead of the system's; empty: the system's.
    pub ca_file: PathBuf,
    /// Name the server's certificate is checked for; empty: the host of `base_url`.
    pub tls_server_name: String,
    /// Time to reach the server, and for the socket's whole opening.
    pub connect_timeout_ms: u64,
    /// Time for one REST call.
    pub request_timeout_ms: u64,
    /// Time for the download of one segment's instrument master.
    pub download_timeout_ms: u64,
    /// Least time between the starts of two market-data calls; below a second also: no more of
    /// them in any second than it goes into one. 0: no limit, here and in those that follow.
    pub request_interval_ms: u64,
    /// Least time between two calls for the same book (orders, trades, positions, holdings,
    /// funds, profile), and of the rarer calls (cancel all, square off, status, messages).
    pub book_interval_ms: u64,
    /// Least time between two subscription calls.
    pub subscription_interval_ms: u64,
    /// Least time between two calls for quotes.
    pub quotes_interval_ms: u64,
    /// Placed, changed and cancelled orders together in any second; conversions apart from them.
    pub orders_per_s: u32,
    /// Whether calls about orders may go while another call is not answered yet. If not, there is
    /// one call at a time, those about orders first.
    pub orders_apart: bool,
    /// How long a call may wait for its turn before it is given up unsent.
    pub queue_timeout_ms: u64,
    /// The same for calls about orders.
    pub orders_queue_timeout_ms: u64,
    /// Calls of one product that may wait for their turn.
    pub queue_length: usize,
    /// Larger frames from the socket end the connection.
    pub max_frame_bytes: usize,
    /// Undecodable frames in a row that end the connection.
    pub undecodable_limit: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base_url: "https://jtrade.jainam.in:5000".to_owned(),
            market_prefix: "/apibinarymarketdata".to_owned(),
            market_login_prefix: String::new(),
            subscription_prefix: String::new(),
            interactive_prefix: "/interactive".to_owned(),
            socket_path: "/apibinarymarketdata/socket.io".to_owned(),
            login: LoginKind::Direct,
            hostlookup_url: String::new(),
            interactive: true,
            client_id: String::new(),
            max_subscriptions: 50,
            market_keys: 1,
            max_per_request: 50,
            engine_io: 3,
            ca_file: PathBuf::new(),
            tls_server_name: String::new(),
            connect_timeout_ms: 10_000,
            request_timeout_ms: 15_000,
            download_timeout_ms: 120_000,
            request_interval_ms: 200,
            // Documented limit of every book: one a second.
            book_interval_ms: 1_000,
            subscription_interval_ms: 500,
            quotes_interval_ms: 100,
            orders_per_s: 10,
            orders_apart: true,
            queue_timeout_ms: 60_000,
            // A market order that goes much later than it was meant is worse than none.
            orders_queue_timeout_ms: 30_000,
            queue_length: 1_000,
            max_frame_bytes: 1024 * 1024,
            undecodable_limit: 50,
        }
    }
}

impl Settings {
    /// Everything that is wrong, as key and what is wrong with it. Empty if all is well.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut url = |key, text: &str| match Url::parse(text) {
            Ok(u) if !matches!(u.scheme(), "http" | "https") => {
                found.push((key, "must begin with http:// or https://".to_owned()));
            }
            Ok(u) if u.query().is_some() || u.fragment().is_some() || !u.username().is_empty() => {
                found.push((key, "must hold no user name, query or fragment".to_owned()));
            }
            Ok(_) => {}
            Err(error) => found.push((key, format!("is no URL: {error}"))),
        };
        url("base_url", &self.base_url);
        if !self.hostlookup_url.is_empty() {
            url("hostlookup_url", &self.hostlookup_url);
        }
        for (key, path, required) in [
            ("market_prefix", &self.market_prefix, true),
            ("market_login_prefix", &self.market_login_prefix, false),
            ("subscription_prefix", &self.subscription_prefix, false),
            ("interactive_prefix", &self.interactive_prefix, true),
            ("socket_path", &self.socket_path, true),
        ] {
            let shaped = path.starts_with('/') && !path.ends_with('/') && !path.contains(['?', '#']);
            if (required || !path.is_empty()) && !shaped {
                found.push((key, "must begin with a slash and not end with one".to_owned()));
            }
        }
        if !matches!(self.engine_io, 3 | 4) {
            found.push(("engine_io", "must be 3 or 4".to_owned()));
        }
        if !(1..=MAX_MARKET_KEYS).contains(&self.market_keys) {
            found.push(("market_keys", format!("must be from 1 to {MAX_MARKET_KEYS}")));
        }
        for (key, value) in [
            ("max_subscriptions", self.max_subscriptions as u64),
            ("max_per_request", self.max_per_request as u64),
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("request_timeout_ms", self.request_timeout_ms),
            ("download_timeout_ms", self.download_timeout_ms),
            ("queue_timeout_ms", self.queue_timeout_ms),
            ("orders_queue_timeout_ms", self.orders_queue_timeout_ms),
            ("queue_length", self.queue_length as u64),
            ("max_frame_bytes", self.max_frame_bytes as u64),
            ("undecodable_limit", u64::from(self.undecodable_limit)),
        ] {
            if value == 0 {
                found.push((key, "must be above 0".to_owned()));
            }
        }
        found
    }

    /// Longer than a call may wait for its turn and its answer.
    pub(super) fn patience(&self) -> Duration {
        let turn = self.queue_timeout_ms.max(self.orders_queue_timeout_ms);
        Duration::from_millis(turn.saturating_add(self.request_timeout_ms)) + Duration::from_secs(15)
    }

    /// Whether keys and tokens would cross a network unencrypted.
    pub(super) fn is_exposed(&self) -> bool {
        [&self.base_url, &self.hostlookup_url].into_iter().any(|text| {
            let Ok(url) = Url::parse(text) else { return false };
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
            let is_local = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
            url.scheme() == "http" && !is_local
        })
    }

    /// `base_url` without a last slash, and `path`.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url.trim_end_matches('/'))
    }

    /// A market-data call's URL.
    pub(super) fn market(&self, path: &str) -> String {
        self.url(&format!("{}{path}", self.market_prefix))
    }

    /// A market-data login's URL.
    pub(super) fn market_login(&self, path: &str) -> String {
        self.url(&format!("{}{path}", or(&self.market_login_prefix, &self.market_prefix)))
    }

    /// The subscription call's URL.
    pub(super) fn subscription(&self) -> String {
        let prefix = or(&self.subscription_prefix, &self.market_prefix);
        self.url(&format!("{prefix}/instruments/subscription"))
    }

    pub(super) const fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(super) const fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub(super) const fn download_timeout(&self) -> Duration {
        Duration::from_millis(self.download_timeout_ms)
    }

    pub(super) const fn subscription_interval(&self) -> Duration {
        Duration::from_millis(self.subscription_interval_ms)
    }
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// An app key and its secret, one pair for each product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppKey {
    /// The broker's `appKey`.
    pub key: Secret,
    /// The broker's `secretKey`.
    pub secret: Secret,
}

/// What the logins need. A product whose key is missing cannot log in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// For market data.
    pub market: Option<AppKey>,
    /// For orders, books and funds.
    pub interactive: Option<AppKey>,
    /// From the broker's login page; for `login = "access_token"`.
    pub access_token: Option<Secret>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound() {
        assert_eq!(Settings::default().problems(), []);
        assert_eq!(
            Settings::default().subscription(),
            "https://jtrade.jainam.in:5000/apibinarymarketdata/instruments/subscription"
        );
    }

    #[test]
    fn every_problem_is_named_by_its_key() {
        let settings = Settings {
            base_url: "ftp://x".to_owned(),
            market_prefix: "md/".to_owned(),
            engine_io: 5,
            undecodable_limit: 0,
            hostlookup_url: "nowhere".to_owned(),
            ..Settings::default()
        };
        let keys: Vec<_> = settings.problems().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["base_url", "hostlookup_url", "market_prefix", "engine_io", "undecodable_limit"]);
    }

    #[test]
    fn plain_http_is_fine_on_loopback_only() {
        for (base_url, exposed) in [
            ("https://h:1", false),
            ("http://127.0.0.1:3000", false),
            ("http://[::1]:3000", false),
            ("http://localhost", false),
            ("http://ctrade.jainam.in:3000", true),
        ] {
            let settings = Settings { base_url: base_url.to_owned(), ..Settings::default() };
            assert_eq!(settings.is_exposed(), exposed, "{base_url}");
        }
    }

    #[test]
    fn other_prefixes_count_only_where_they_are_set() {
        let settings = Settings {
            base_url: "http://h/".to_owned(),
            market_login_prefix: "/a".to_owned(),
            subscription_prefix: "/b".to_owned(),
            ..Settings::default()
        };
        assert_eq!(settings.market_login("/auth/login"), "http://h/a/auth/login");
        assert_eq!(settings.subscription(), "http://h/b/instruments/subscription");
        assert_eq!(settings.market("/x"), "http://h/apibinarymarketdata/x");
    }
}
