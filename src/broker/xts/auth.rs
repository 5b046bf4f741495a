//! Logging in and out: the two products, and the three ways of the interactive one.
//! Not when to log in; that is decided by the owner of the tokens.

use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::broker::{Error, Login};
use crate::secret::Secret;
use crate::token::{AccountFacts, Product, Token};

use super::XtsBroker;
use super::rest::{Call, clean};
use super::settings::{AppKey, LoginKind};
use super::wire::text::{Raw, raw_as, raw_text};

/// A public constant of every client.
const HOSTLOOKUP_PASSWORD: &str = "2021HostLookUpAccess";
const HOSTLOOKUP_VERSION: &str = "interactive_1.0.1";

/// What hostlookup says.
struct Lookup {
    unique_key: String,
    /// Where to log in.
    login_base: String,
    /// Where everything after the login goes.
    base: String,
}

/// `result` of both logins; each member is taken in whatever shape it comes.
#[derive(Default, Deserialize)]
#[serde(default)]
struct LoginResult<'a> {
    #[serde(borrow)]
    token: Raw<'a>,
    #[serde(borrow, rename = "userID")]
    user_id: Raw<'a>,
    #[serde(borrow, rename = "isInvestorClient")]
    is_investor: Raw<'a>,
    #[serde(borrow, rename = "clientCodes")]
    client_codes: Raw<'a>,
    #[serde(borrow)]
    application_expiry_date: Raw<'a>,
}

impl XtsBroker {
    /// The issuer (normally the base URL) and a hash of the app key.
    pub(super) fn binding_of(&self, product: Product) -> String {
        let hash = self.app_key(product).map_or_else(
            |_| "none".to_owned(),
            |app| {
                let digest = Sha256::digest(app.key.expose().as_bytes());
                let bytes = u128::from_be_bytes(std::array::from_fn(|at| digest[at]));
                format!("{bytes:032x}")
            },
        );
        let issuer = self.issuer.unwrap_or_else(|| self.settings.base_url.trim_end_matches('/'));
        format!("{issuer} {product} {hash}")
    }

    fn app_key(&self, product: Product) -> Result<&AppKey, Error> {
        let app = match product {
            Product::Market => &self.credentials.market,
            Product::Interactive => &self.credentials.interactive,
        };
        app.as_ref()
            .filter(|app| !app.key.is_empty() && !app.secret.is_empty())
            .ok_or_else(|| Error::NotConfigured(format!("app key and secret key of the {product} product")))
    }

    pub(super) async fn log_in(&self, product: Product) -> Result<Login, Error> {
        let app = self.app_key(product)?;
        let mut body = json!({
            "appKey": app.key.expose(),
            "secretKey": app.secret.expose(),
            "source": "WEBAPI",
        });
        let call = match product {
            Product::Market => Call::market(Method::POST, self.settings.market_login("/auth/login"), None),
            Product::Interactive => {
                let base = self.prepare_interactive(&mut body).await?;
                Call::interactive(Method::POST, format!("{base}/user/session"), None)
            }
        };
        let answer = self.rest.call(call.with(body)).await?;
        let login = match answer.success() {
            Ok(result) => self.read_login(product, result),
            Err(error) => Err(login_error(error)),
        };
        // No server is known to repeat what it was sent; if one did, it must not reach a log.
        login.map_err(|error| hide(error, &[&app.key, &app.secret]))
    }

    /// Adds what the configured way needs to the login's body; returns the base to log in at.
    async fn prepare_interactive(&self, body: &mut Value) -> Result<String, Error> {
        if !self.settings.interactive {
            return Err(Error::NotConfigured("the interactive product is switched off".to_owned()));
        }
        match self.settings.login {
            LoginKind::Direct => Ok(self.settings.url(&self.settings.interactive_prefix)),
            LoginKind::AccessToken => {
                let token = self.credentials.access_token.as_ref().filter(|t| !t.is_empty());
                let token = token.ok_or_else(|| {
                    Error::NotConfigured("access token from the broker's login page".to_owned())
                })?;
                body["accessToken"] = json!(token.expose());
                Ok(self.settings.url(&self.settings.interactive_prefix))
            }
            LoginKind::Hostlookup => {
                // Whether a key serves twice is not known: a new one for every login.
                let lookup = self.look_up_host().await?;
                body["uniqueKey"] = json!(lookup.unique_key);
                *self.interactive_base.lock().await = Some(lookup.base);
                Ok(lookup.login_base)
            }
        }
    }

    /// Where interactive calls after the login go.
    async fn interactive_base(&self) -> Result<String, Error> {
        if self.settings.login != LoginKind::Hostlookup {
            return Ok(self.settings.url(&self.settings.interactive_prefix));
        }
        let mut known = self.interactive_base.lock().await;
        if let Some(base) = known.as_ref() {
            return Ok(base.clone());
        }
        // A token from an earlier life of the process: only its server's base is missing.
        let base = self.look_up_host().await?.base;
        *known = Some(base.clone());
        Ok(base)
    }

    async fn look_up_host(&self) -> Result<Lookup, Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Result<'a> {
            #[serde(borrow, rename = "uniqueKey")]
            unique_key: Raw<'a>,
            #[serde(borrow, rename = "UniqueKey")]
            unique_key_capital: Raw<'a>,
            #[serde(borrow, rename = "connectionString")]
            connection_string: Raw<'a>,
        }

        let url = match self.settings.hostlookup_url.as_str() {
            "" => self.settings.url("/hostlookup"),
            url => url.to_owned(),
        };
        let body = json!({ "accesspassword": HOSTLOOKUP_PASSWORD, "version": HOSTLOOKUP_VERSION });
        let answer = self.rest.call(Call::interactive(Method::POST, url, None).with(body)).await?;
        // `type` is true, "success" or missing: the key decides.
        let result = answer.envelope().and_then(|e| e.result);
        let found: Option<Result<'_>> = result.and_then(|r| serde_json::from_str(r.get()).ok());
        let found = found.unwrap_or_default();
        let key = raw_text(found.unique_key.or(found.unique_key_capital)).filter(|k| !k.is_empty());
        let (Some(unique_key), Some(connection)) = (key, raw_text(found.connection_string)) else {
            return Err(login_error(answer.error()));
        };
        let (login_base, base) =
            bases(&connection, &self.settings.base_url, &self.settings.interactive_prefix)?;
        Ok(Lookup { unique_key, login_base, base })
    }

    fn read_login(&self, product: Product, result: Raw<'_>) -> Result<Login, Error> {
        let malformed = |what: &str| Error::Malformed(format!("the login's answer holds no {what}"));
        let result = result.ok_or_else(|| malformed("result"))?;
        let result: LoginResult<'_> = serde_json::from_str(result.get()).map_err(|_| malformed("result"))?;
        let token = raw_text(result.token).filter(|t| !t.is_empty()).ok_or_else(|| malformed("token"))?;
        let is_investor = raw_as::<bool>(result.is_investor);
        let client_codes: Vec<String> = raw_as(result.client_codes).unwrap_or_default();
        // Some servers put a mask in the place of a client.
        let first_code = client_codes.iter().find(|c| !c.is_empty() && !c.starts_with('*')).cloned();
        let client_id = match self.settings.client_id.as_str() {
            "" if is_investor == Some(false) => first_code,
            "" => None,
            configured => Some(configured.to_owned()),
        };
        let facts = AccountFacts {
            user_id: raw_text(result.user_id).unwrap_or_default(),
            client_id: if product == Product::Interactive { client_id } else { None },
            is_investor,
            client_codes,
            app_key_expires: raw_text(result.application_expiry_date).map(|d| clean(&d)),
        };
        Ok(Login { secret: Secret::new(token), facts })
    }

    pub(super) async fn log_out(&self, token: &Token) -> Result<(), Error> {
        let call = match token.product {
            Product::Market => {
                let url = self.settings.market_login("/auth/logout");
                Call::market(Method::DELETE, url, Some(&token.secret))
            }
            Product::Interactive => {
                let url = format!("{}/user/session", self.interactive_base().await?);
                Call::interactive(Method::DELETE, url, Some(&token.secret))
            }
        };
        match self.rest.ask(call, |_| Ok(())).await {
            // The session had ended before.
            Err(Error::InvalidToken { .. }) => Ok(()),
            answered => answered,
        }
    }
}

/// What a refused login means: for good where the words blame the credentials, else the
/// server may think better of it. Never that a token is needed: there is none yet.
///
/// Source: "Entered invalid credentials" from a live server, "Invalid App Key" and
/// "Authentication Failed" from official documentation; codes differ between servers.
fn login_error(error: Error) -> Error {
    let (status, code, description) = match error {
        Error::Refused { status, code, description } => (status, code, description),
        Error::InvalidToken { code, description } => (401, code, description),
        Error::SubscriptionLimit { description, .. } => (400, String::new(), description),
        other => return other,
    };
    let words = description.to_ascii_lowercase();
    let blames = [
        "credential",
        "app key",
        "appkey",
        "secret",
        "disabled",
        "authentication failed",
        "access token",
        "accesstoken",
        "locked",
        "suspended",
        "inactive",
        "not active",
        "expired",
        "not enabled",
    ];
    if blames.iter().any(|b| words.contains(b)) {
        return Error::Credentials { description };
    }
    Error::Http { status, what: format!("login refused: {code} {description}") }
}

/// The same error without the given secrets in its words.
fn hide(error: Error, secrets: &[&Secret]) -> Error {
    let without =
        |words: String| secrets.iter().fold(words, |words, secret| words.replace(secret.expose(), "…"));
    match error {
        Error::Credentials { description } => Error::Credentials { description: without(description) },
        Error::Http { status, what } => Error::Http { status, what: without(what) },
        Error::RateLimited { retry_after, description } => {
            Error::RateLimited { retry_after, description: without(description) }
        }
        other => other,
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
    use crate::broker::Class;

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

    #[test]
    fn refused_logins_are_for_good_only_where_the_words_blame_the_credentials() {
        let refused = |description: &str| {
            login_error(Error::Refused {
                status: 400,
                code: "e".to_owned(),
                description: description.to_owned(),
            })
            .class()
        };
        for words in
            ["Entered invalid credentials", "Invalid App Key", "Authentication Failed", "User is disabled"]
        {
            assert_eq!(refused(words), Class::NeedsOperator, "{words}");
        }
        for words in ["", "Server is starting", "Bad Request"] {
            assert_eq!(refused(words), Class::Transient, "{words}");
        }
        let token = Error::InvalidToken { code: String::new(), description: "Invalid Token".to_owned() };
        assert_eq!(login_error(token).class(), Class::Transient);
    }

    #[test]
    fn secrets_are_hidden_from_the_words() {
        let error = Error::Credentials { description: "Invalid App Key 0f1e2d".to_owned() };
        assert_eq!(hide(error, &[&Secret::new("0f1e2d")]).to_string(), "login refused: Invalid App Key …");
    }
}
