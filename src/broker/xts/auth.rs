//! Logging in and out: the two products, and the three ways of the interactive one.
//! Not when to log in; that is decided by the owner of the tokens.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::broker::{Error, Login};
use crate::secret::Secret;
use crate::token::{AccountFacts, Product, Token};

use super::XtsBroker;
use super::credentials::app_key;
use super::hostlookup::Base;
use super::rest::{Answer, Call, clean};
use super::settings::{Credentials, LoginKind, MASKED_CLIENT};
use super::wire::text::{Raw, raw_as, raw_text};

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

/// Where an interactive login goes, and what it is sent with beside the keys.
struct Way {
    base: String,
    unique_key: Option<Secret>,
    access_token: Option<Secret>,
}

impl XtsBroker {
    /// The issuer (normally the base URL) and a hash of the app key.
    pub(super) fn binding_of(&self, product: Product) -> String {
        let hash = app_key(&self.credentials.current(), product).map_or_else(
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

    pub(super) async fn log_in(&self, product: Product) -> Result<Login, Error> {
        // One state of them for the whole login, whatever is reloaded meanwhile.
        let credentials = self.credentials.current();
        let app = app_key(&credentials, product)?;
        let mut body = json!({
            "appKey": app.key.expose(),
            "secretKey": app.secret.expose(),
            "source": "WEBAPI",
        });
        let mut sent = vec![app.key.clone(), app.secret.clone()];
        let (call, access_token) = match product {
            Product::Market => {
                (Call::market(Method::POST, self.settings.market_login("/auth/login"), None), None)
            }
            Product::Interactive => {
                let way = self.way(&credentials).await?;
                for (name, secret) in [("uniqueKey", &way.unique_key), ("accessToken", &way.access_token)] {
                    if let Some(secret) = secret {
                        body[name] = Value::from(secret.expose());
                        sent.push(secret.clone());
                    }
                }
                let url = format!("{}/user/session", way.base);
                (Call::interactive(Method::POST, url, None), way.access_token)
            }
        };
        let answer = self.rest.call(call.with(&body)).await?;
        let mut login = match answer.success() {
            Ok(result) => self.read_login(product, result),
            Err(_) => Err(refused_login(&answer)),
        };
        if access_token.is_some() {
            login = self.spend_access_token(&credentials, login);
        }
        // No server is known to repeat what it was sent; if one did, it must not reach a log.
        login.map_err(|error| hide(error, &sent))
    }

    /// How the interactive product logs in, as configured.
    async fn way(&self, credentials: &Credentials) -> Result<Way, Error> {
        if !self.settings.interactive {
            return Err(Error::NotConfigured("the interactive product is switched off".to_owned()));
        }
        let base = self.settings.url(&self.settings.interactive_prefix);
        let direct = Way { base, unique_key: None, access_token: None };
        match self.settings.login {
            LoginKind::Direct => Ok(direct),
            LoginKind::AccessToken => {
                let token = credentials.access_token.clone().filter(|t| !t.is_empty());
                let token = token.ok_or_else(|| self.wants_access_token("none is there"))?;
                if self.credentials.is_spent(credentials) {
                    return Err(self.wants_access_token("the last one has been used"));
                }
                Ok(Way { access_token: Some(token), ..direct })
            }
            LoginKind::Hostlookup => {
                // Whether a key serves twice is not known: a new one for every login.
                let lookup = self.look_up_host().await?;
                *self.interactive_base.lock().await = Base::from(lookup.base);
                let unique_key = Some(Secret::new(lookup.unique_key));
                Ok(Way { base: lookup.login_base, unique_key, access_token: None })
            }
        }
    }

    fn wants_access_token(&self, why: &str) -> Error {
        Error::Operator(format!("{why}: {}", self.access_token_wanted()))
    }

    /// What a person must do, and where.
    fn access_token_wanted(&self) -> String {
        let variable = self.credentials.access_token_variable();
        format!(
            "a new access token from the broker's login page is needed in {variable}, or in the file that \
             {variable}_FILE names"
        )
    }

    /// The broker has judged a login with an access token, which serves once: whatever it said,
    /// another login needs another one.
    fn spend_access_token(
        &self,
        credentials: &Credentials,
        login: Result<Login, Error>,
    ) -> Result<Login, Error> {
        let words = match &login {
            Ok(_) => String::new(),
            Err(Error::Credentials { description }) => description.clone(),
            Err(Error::LoginRefused { code, description, .. }) => format!("{code} {description}"),
            Err(_) => return login,
        };
        self.credentials.spend(credentials);
        login.map_err(|_| Error::Credentials {
            description: format!("{}; {}", words.trim(), self.access_token_wanted()),
        })
    }

    fn read_login(&self, product: Product, result: Raw<'_>) -> Result<Login, Error> {
        // The broker has let us in, and ended the last session; only we are none the wiser.
        let lacks = |what: &str| Error::LoginRefused {
            status: 200,
            code: String::new(),
            description: format!("the login's answer holds no {what}"),
        };
        let result = result.ok_or_else(|| lacks("result"))?;
        let result: LoginResult<'_> = serde_json::from_str(result.get()).map_err(|_| lacks("result"))?;
        let token = raw_text(result.token).filter(|t| !t.is_empty()).ok_or_else(|| lacks("token"))?;
        let is_investor = raw_as::<bool>(result.is_investor);
        let client_codes: Vec<String> = raw_as(result.client_codes).unwrap_or_default();
        let client_id = match self.settings.client_id.as_str() {
            "" if is_investor == Some(false) => first_client(&client_codes).map(str::to_owned),
            "" => None,
            // An investor has no other books than his own.
            configured if is_investor == Some(true) && configured != MASKED_CLIENT => None,
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

/// The first client that is named; some servers put a mask in the place of one.
pub(super) fn first_client(codes: &[String]) -> Option<&str> {
    codes.iter().map(String::as_str).find(|code| !code.is_empty() && !code.starts_with('*'))
}

/// What a refused login means: for good where the words blame the credentials, else the
/// server may think better of it. Never that a token is needed: there is none yet.
///
/// Source: "Entered invalid credentials" from a live server, "Invalid App Key" and
/// "Authentication Failed" from official documentation; codes and HTTP status differ between
/// servers.
pub(super) fn refused_login(answer: &Answer) -> Error {
    let error = answer.error();
    let Some(envelope) = answer.envelope() else {
        return match error {
            // A proxy's page: nobody has judged the login.
            Error::InvalidToken { .. } => Error::Http {
                status: answer.status,
                what: "the login was refused, but not by the broker itself".to_owned(),
            },
            other => other,
        };
    };
    let is_own = envelope.is_own();
    let (status, code, description) = match error {
        Error::Refused { status, code, description } => (status, code, description),
        Error::InvalidToken { code, description } => (answer.status, code, description),
        Error::SubscriptionLimit { description, .. } => (answer.status, String::new(), description),
        Error::Http { what, .. } if blames_credentials(&what) => {
            return Error::Credentials { description: what };
        }
        other => return other,
    };
    if blames_credentials(&description) {
        return Error::Credentials { description };
    }
    if is_own {
        return Error::LoginRefused { status, code, description };
    }
    Error::Http { status, what: format!("login refused: {description}") }
}

/// Whether a refusal's words are about what we log in with, or about the user.
fn blames_credentials(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    let says = |pieces: &[&str]| pieces.iter().any(|piece| words.contains(piece));
    says(&[
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
        "not enabled",
    ]) || (words.contains("expired") && !says(&["token", "session", "unique", "hostlookup"]))
}

/// The same error without the given secrets in its words.
fn hide(error: Error, secrets: &[Secret]) -> Error {
    let without =
        |words: String| secrets.iter().fold(words, |words, secret| words.replace(secret.expose(), "…"));
    match error {
        Error::Credentials { description } => Error::Credentials { description: without(description) },
        Error::LoginRefused { status, code, description } => {
            Error::LoginRefused { status, code: without(code), description: without(description) }
        }
        Error::Http { status, what } => Error::Http { status, what: without(what) },
        Error::RateLimited { retry_after, description } => {
            Error::RateLimited { retry_after, description: without(description) }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use crate::broker::Class;

    use super::*;

    fn refused(status: u16, body: &str) -> Error {
        refused_login(&Answer::of(status, body))
    }

    fn in_words(status: u16, description: &str) -> Error {
        refused(status, &json!({"type": "error", "code": "e", "description": description}).to_string())
    }

    #[test]
    fn refused_logins_are_for_good_only_where_the_words_blame_the_credentials() {
        for words in [
            "Entered invalid credentials",
            "Invalid App Key",
            "Authentication Failed",
            "User is disabled",
            "Your subscription has expired",
            "User account locked",
        ] {
            for status in [200, 400, 401, 500] {
                assert_eq!(in_words(status, words).class(), Class::NeedsOperator, "{status} {words}");
            }
        }
        for words in [
            "",
            "Server is starting",
            "Bad Request",
            "Invalid Token",
            "Unique key expired",
            "Session expired",
        ] {
            let error = in_words(400, words);
            assert!(matches!(error, Error::LoginRefused { .. }), "{words}: {error:?}");
            assert_eq!((error.class(), error.answered()), (Class::Transient, true), "{words}");
        }
    }

    #[test]
    fn what_the_broker_itself_has_not_judged_is_no_answer() {
        for (status, body) in [
            (200, "<html>"),
            (401, "<html>"),
            (403, r#"{"message":"Forbidden"}"#),
            (404, "<h1>Unable to connect provided url</h1>"),
            (429, r#"{"type":"error","code":"e-apirl-0004","description":"wait"}"#),
            (400, r#"{"type":"error","code":"e-apirl-0004","description":"wait"}"#),
            (502, "<html>"),
            (503, r#"{"type":"error","code":"e","description":"starting"}"#),
        ] {
            let error = refused(status, body);
            assert_eq!(
                (error.class(), error.answered()),
                (Class::Transient, false),
                "{status} {body}: {error:?}"
            );
        }
        let wrapped =
            r#"{"data":{"type":"error","code":"e-user-0001","description":"Entered invalid credentials"}}"#;
        assert_eq!(refused(400, wrapped).class(), Class::NeedsOperator);
    }

    #[test]
    fn secrets_are_hidden_from_the_words() {
        let secrets = [Secret::new("0f1e2d")];
        let error = Error::Credentials { description: "Invalid App Key 0f1e2d".to_owned() };
        assert_eq!(hide(error, &secrets).to_string(), "login refused: Invalid App Key …");
        let error = Error::LoginRefused {
            status: 400,
            code: "e-0f1e2d".to_owned(),
            description: "try 0f1e2d later".to_owned(),
        };
        assert_eq!(hide(error, &secrets).to_string(), "login refused: e-… try … later");
    }
}
