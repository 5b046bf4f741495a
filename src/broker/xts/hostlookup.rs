//! Hostlookup: dealer servers name the base path, and a one-time key, before a login.
//! Not the login itself; that is `auth`.

use std::time::Duration;

use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use crate::broker::Error;

use super::XtsBroker;
use super::auth::refused_login;
use super::pace::Path;
use super::rest::Call;
use super::settings::LoginKind;
use super::wire::text::{Raw, raw_text};

/// A public constant of every client.
const PASSWORD: &str = "2021HostLookUpAccess";
const VERSION: &str = "interactive_1.0.1";

/// For asking anew while the place of before is known: a cancellation may be waiting.
const ASK_AGAIN_WITHIN: Duration = Duration::from_secs(3);

/// Where hostlookup sent us.
#[derive(Debug, Default)]
pub(super) struct Base {
    known: Option<String>,
    /// Somebody was not answered there: it is asked anew, and the place kept until another one is named.
    is_doubtful: bool,
}

impl From<String> for Base {
    fn from(base: String) -> Self {
        Self { known: Some(base), is_doubtful: false }
    }
}

/// What hostlookup says.
pub(super) struct Lookup {
    pub(super) unique_key: String,
    /// Where to log in.
    pub(super) login_base: String,
    /// Where everything after the login goes.
    pub(super) base: String,
}

/// `result` of an answer.
#[derive(Default, Deserialize)]
#[serde(default)]
struct LookupResult<'a> {
    #[serde(borrow, rename = "uniqueKey")]
    unique_key: Raw<'a>,
    #[serde(borrow, rename = "UniqueKey")]
    unique_key_capital: Raw<'a>,
    #[serde(borrow, rename = "connectionString")]
    connection_string: Raw<'a>,
}

impl XtsBroker {
    /// Where interactive calls after the login go.
    pub(super) async fn interactive_base(&self) -> Result<String, Error> {
        if self.settings.login != LoginKind::Hostlookup {
            return Ok(self.settings.url(&self.settings.interactive_prefix));
        }
        let mut base = self.interactive_base.lock().await;
        base.is_doubtful |= self.rest.was_unreachable();
        let Some(known) = base.known.clone() else {
            // A token from an earlier life of the process: only its server's base is missing.
            let found = self.look_up_host().await?.base;
            *base = Base::from(found.clone());
            return Ok(found);
        };
        // Asked once for each doubt, even by one who gives up meanwhile.
        if !std::mem::take(&mut base.is_doubtful) {
            return Ok(known);
        }
        let found = match timeout(ASK_AGAIN_WITHIN, self.look_up_host()).await {
            Ok(Ok(lookup)) => lookup.base,
            Ok(Err(error)) => {
                tracing::debug!(account = &*self.account, %error, "hostlookup names no place; the one of before stands");
                known
            }
            Err(_) => known,
        };
        *base = Base::from(found.clone());
        Ok(found)
    }

    /// Lets the next call ask hostlookup anew if nobody was there where it sent us.
    pub(super) async fn doubt_base(&self, error: Option<&Error>) {
        if matches!(error, Some(Error::Network(_) | Error::Http { status: 404, .. })) {
            self.interactive_base.lock().await.is_doubtful = true;
        }
    }

    pub(super) async fn look_up_host(&self) -> Result<Lookup, Error> {
        let url = match self.settings.hostlookup_url.as_str() {
            "" => self.settings.url("/hostlookup"),
            url => url.to_owned(),
        };
        let body = json!({ "accesspassword": PASSWORD, "version": VERSION });
        let answer =
            self.rest.call(Call::interactive(Method::POST, url, None).on(Path::Host).with(&body)).await?;
        // `type` is true, "success" or missing: the key decides.
        let result = answer.envelope().and_then(|e| e.result);
        let found: Option<LookupResult<'_>> = result.and_then(|r| serde_json::from_str(r.get()).ok());
        let found = found.unwrap_or_default();
        let key = raw_text(found.unique_key.or(found.unique_key_capital)).filter(|k| !k.is_empty());
        let (Some(unique_key), Some(connection)) = (key, raw_text(found.connection_string)) else {
            return Err(match refused_login(&answer) {
                // No login was tried yet: none may be counted.
                Error::LoginRefused { status, code, description } => {
                    Error::Http { status, what: format!("hostlookup refused: {code} {description}") }
                }
                other => other,
            });
        };
        let (login_base, base) =
            bases(&connection, &self.settings.base_url, &self.settings.interactive_prefix)?;
        Ok(Lookup { unique_key, login_base, base })
    }
}

/// From a `connectionString`: where to log in, and where later calls go.
///
/// Source: live answers of dealer servers. The text may have stray back-ticks, be only a path,
/// and end in `7hostlookup`, `1interactive` or `interactive`.
fn bases(connection: &str, base_url: &str, interactive_prefix: &str) -> Result<(String, String), Error> {
    let wrong = || Error::Malformed("hostlookup's connection string is not usable".to_owned());
    let text = connection.trim_matches(|c: char| c.is_whitespace() || matches!(c, '`' | '"' | '\''));
    let own = Url::parse(base_url).map_err(|_| wrong())?;
    let mut url = own.join(text).map_err(|_| wrong())?;
    if own.scheme() == "https" && url.scheme() != "https" || !matches!(url.scheme(), "http" | "https") {
        return Err(Error::Malformed("hostlookup names a server without TLS".to_owned()));
    }
    if !is_same_place(own.host_str().unwrap_or_default(), url.host_str().unwrap_or_default()) {
        // The app key goes there next.
        return Err(Error::Malformed("hostlookup names a server of another domain".to_owned()));
    }
    url.set_query(None);
    url.set_fragment(None);
    let mut login_base = url.as_str().trim_end_matches('/').to_owned();
    if url.path() == "/" {
        login_base.push_str(interactive_prefix);
    }
    let base = match login_base.strip_suffix("hostlookup").or_else(|| login_base.strip_suffix("HostLookUp")) {
        Some(stem) => format!("{stem}interactive"),
        None => login_base.clone(),
    };
    Ok((login_base, base))
}

/// Whether two hosts are one, or siblings in one domain (`smpa.jainam.in`, `smpb.jainam.in`).
fn is_same_place(own: &str, other: &str) -> bool {
    if own == other {
        return true;
    }
    let is_name = |host: &str| host.chars().any(|c| c.is_ascii_alphabetic()) && !host.contains(':');
    let parent = |host: &str| host.split_once('.').map(|(_, p)| p.to_owned()).filter(|p| p.contains('.'));
    is_name(own) && is_name(other) && parent(own).is_some() && parent(own) == parent(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings() {
        let own = "https://smpb.jainam.in:4143";
        for (text, login, later) in [
            (
                "https://smpb.jainam.in:4143/7hostlookup",
                "https://smpb.jainam.in:4143/7hostlookup",
                "https://smpb.jainam.in:4143/7interactive",
            ),
            (
                " `https://smpb.jainam.in:4143/interactive/` ",
                "https://smpb.jainam.in:4143/interactive",
                "https://smpb.jainam.in:4143/interactive",
            ),
            (
                "/1interactive",
                "https://smpb.jainam.in:4143/1interactive",
                "https://smpb.jainam.in:4143/1interactive",
            ),
            (
                "https://smpa.jainam.in:9/5interactive",
                "https://smpa.jainam.in:9/5interactive",
                "https://smpa.jainam.in:9/5interactive",
            ),
            (
                "https://smpb.jainam.in:4143",
                "https://smpb.jainam.in:4143/interactive",
                "https://smpb.jainam.in:4143/interactive",
            ),
        ] {
            assert_eq!(
                bases(text, own, "/interactive").unwrap(),
                (login.to_owned(), later.to_owned()),
                "{text}"
            );
        }
        for text in [
            "http://smpb.jainam.in/x",
            "https://evil.in/x",
            "https://jainam.in.evil.in/x",
            "ftp://smpb.jainam.in",
        ] {
            assert!(bases(text, own, "/interactive").is_err(), "{text}");
        }
        assert!(is_same_place("127.0.0.1", "127.0.0.1"));
        for (own, other) in [("127.0.0.1", "10.0.0.1"), ("a.in", "b.in"), ("192.168.0.1", "10.168.0.1")] {
            assert!(!is_same_place(own, other), "{own} {other}");
        }
    }
}
