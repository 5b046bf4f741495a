//! The `[sim]` section: what the simulated broker serves and how strictly.
//! Not its demo keys; those are constants of `sessions`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de};

use super::accounts::{MAX_ACCOUNTS, MAX_MARKET_KEYS};
use crate::market::TimeOfDay;

/// When instruments trade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hours {
    /// At any hour.
    #[default]
    Always,
    /// In the exchanges' own sessions.
    Exchange,
}

/// Where prices come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prices {
    /// A seeded walk.
    #[default]
    Walk,
    /// A capture of a real exchange.
    Replay,
}

/// Width of the fields in binary messages; see `encode::binary`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// 32-bit quantities (official SDKs of early 2025).
    A,
    /// 64-bit quantities (Jainam today).
    #[default]
    B,
    /// 64-bit quantities, scaled integer prices (old).
    C,
}

/// What the demo accounts are to the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountKind {
    /// Somebody who trades for themselves.
    #[default]
    Investor,
    /// A dealer who acts for a client and must name it.
    Dealer,
    /// A dealer who trades for the firm: the mask stands for the client.
    Pro,
}

/// What stands in the accounts' books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Books {
    /// A few orders in every state, with trades and positions that go with them.
    #[default]
    Demo,
    /// Nothing.
    Empty,
}

/// Whether the documented limits of requests are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateLimits {
    /// No; calls are counted all the same.
    #[default]
    None,
    /// Yes: each path has its own.
    Documented,
}

/// What happens to the sockets of a session that ends. All three were seen on live servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketEnd {
    /// They are closed.
    #[default]
    Close,
    /// They get a `logout` event and stay open, without data.
    Logout,
    /// They stay open, without data.
    Silent,
}

impl SocketEnd {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "close" => Some(Self::Close),
            "logout" => Some(Self::Logout),
            "silent" => Some(Self::Silent),
            _ => None,
        }
    }
}

/// The `[sim]` section of the configuration.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// When instruments trade.
    pub hours: Hours,
    /// Where prices come from.
    pub prices: Prices,
    /// A capture to replay, gzip or plain; empty for the built-in slice.
    pub replay_file: PathBuf,
    /// Whether a replay starts over at its end; else prices hold.
    pub replay_loop: bool,
    /// How many times faster than real the market moves. Above 0, at most 1000.
    pub pace: f64,
    /// Seeds the walk and the mapping of a replay onto instruments.
    pub seed: u64,
    /// Demo accounts, each with keys of its own. From 1 to 16.
    pub accounts: usize,
    /// Pairs of market-data keys of each account, each with a session and subscriptions of its
    /// own. From 1 to 8.
    pub market_keys: usize,
    /// What they are to the broker.
    pub account_kind: AccountKind,
    /// What stands in their books.
    pub books: Books,
    /// Subscriptions one session may hold; an instrument and message code count one.
    pub max_subscriptions: usize,
    /// Where `tickgate sim` listens. Inside `serve` the simulator takes a free port.
    pub listen: SocketAddr,
    /// Life of a token.
    pub token_life_s: u64,
    /// Time of day in India at which every token of every account ends; `None`: never.
    #[serde(deserialize_with = "time_or_empty")]
    pub nightly_cut_ist: Option<TimeOfDay>,
    /// What happens to sockets then.
    pub nightly_sockets: SocketEnd,
    /// Between two heartbeats of a client, as the open packet says.
    pub ping_interval_ms: u64,
    /// Grace after that before a silent client is dropped.
    pub ping_timeout_ms: u64,
    /// REST requests a second and product before 429 is answered; 0 for no limit.
    pub rate_limit_per_s: u32,
    /// Whether the documented limit of each path is kept too.
    pub rate_limits: RateLimits,
    /// Layout of binary messages.
    pub layout: Layout,
    /// Engine.IO revision: 3 like every XTS server seen, or true 4 to test a client with.
    pub engine_io: u8,
    /// Whether interactive logins must fetch a `uniqueKey` by hostlookup first.
    pub hostlookup: bool,
    /// What interactive logins must bring as `accessToken`, each text for one login; empty: none
    /// is needed.
    pub access_token: String,
    /// Whether a subscription's answer carries the snapshot `listQuotes` on the binary prefix
    /// too. Some servers leave it out there.
    pub list_quotes: bool,
    /// A file with faults to play, or the name of a built-in one; empty: none.
    pub scenario: String,
    /// Where to write what was really sent, a line of JSON each; empty: nowhere.
    pub truth_file: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hours: Hours::default(),
            prices: Prices::default(),
            replay_file: PathBuf::new(),
            replay_loop: false,
            pace: 1.0,
            seed: 1,
            accounts: 1,
            market_keys: 1,
            account_kind: AccountKind::default(),
            books: Books::default(),
            max_subscriptions: 1000,
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3000),
            token_life_s: 86_400,
            nightly_cut_ist: None,
            nightly_sockets: SocketEnd::default(),
            ping_interval_ms: 25_000,
            ping_timeout_ms: 60_000,
            rate_limit_per_s: 0,
            rate_limits: RateLimits::default(),
            layout: Layout::default(),
            engine_io: 3,
            hostlookup: false,
            access_token: String::new(),
            list_quotes: true,
            scenario: String::new(),
            truth_file: PathBuf::new(),
        }
    }
}

impl Settings {
    /// Every value that is out of range: the key within the section, and what it must be.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if !(self.pace > 0.0 && self.pace <= 1000.0) {
            found.push(("pace", "must be above 0 and at most 1000".to_owned()));
        }
        if !matches!(self.engine_io, 3 | 4) {
            found.push(("engine_io", "must be 3 or 4".to_owned()));
        }
        for (key, value, most) in [
            ("accounts", self.accounts as u64, MAX_ACCOUNTS as u64),
            ("market_keys", self.market_keys as u64, MAX_MARKET_KEYS as u64),
            ("max_subscriptions", self.max_subscriptions as u64, 100_000),
            ("token_life_s", self.token_life_s, 366 * 86_400),
            ("ping_interval_ms", self.ping_interval_ms, 3_600_000),
            ("ping_timeout_ms", self.ping_timeout_ms, 3_600_000),
        ] {
            if value == 0 || value > most {
                found.push((key, format!("must be from 1 to {most}")));
            }
        }
        found
    }
}

/// `HH:MM`, or nothing.
fn time_or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TimeOfDay>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(de::Error::custom) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_fine_and_unknown_keys_are_refused() {
        assert_eq!(Settings::default().problems(), []);
        let settings: Settings = toml::from_str("prices = \"replay\"\npace = 20.0").unwrap();
        assert_eq!((settings.prices, settings.pace, settings.seed), (Prices::Replay, 20.0, 1));
        assert!(toml::from_str::<Settings>("price = \"walk\"").is_err());
        let settings: Settings =
            toml::from_str("nightly_cut_ist = \"03:00\"\nnightly_sockets = \"silent\"").unwrap();
        assert_eq!(settings.nightly_cut_ist, TimeOfDay::new(3, 0));
        assert_eq!(settings.nightly_sockets, SocketEnd::Silent);
        assert_eq!(toml::from_str::<Settings>("nightly_cut_ist = \"\"").unwrap(), Settings::default());
        assert!(toml::from_str::<Settings>("nightly_cut_ist = \"3\"").is_err());
    }

    #[test]
    fn values_out_of_range_are_named() {
        let settings = Settings { pace: f64::NAN, engine_io: 5, ping_timeout_ms: 0, ..Settings::default() };
        let keys: Vec<_> = settings.problems().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["pace", "engine_io", "ping_timeout_ms"]);
    }
}
