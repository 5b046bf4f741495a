//! Logins, tokens and what ends them: the rules of sessions.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::account::Account;
use super::{Core, SocketEnd};
use crate::clock::UnixNanos;
use crate::sim::answers::Answer;
use crate::sim::jwt::Claims;
use crate::sim::sessions::{Product, Session};

/// A public constant of every client.
const HOSTLOOKUP_PASSWORD: &str = "2021HostLookUpAccess";

/// What a product's sockets get when its session is replaced or logged out (seen live).
const fn replaced(product: Product) -> SocketEnd {
    match product {
        Product::Market => SocketEnd::Silent,
        Product::Interactive => SocketEnd::Logout,
    }
}

impl Core {
    /// `POST …/auth/login` and `POST …/user/session`. A login ends the session before of the
    /// same account and product.
    pub(crate) fn login(&mut self, product: Product, body: &Value, now: UnixNanos) -> Answer {
        self.pass_time(now);
        self.dirty = true;
        let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
        let Some(account) = self.account_of_key(product, text("appKey")) else {
            *self.stray.refusals.get_mut(product) += 1;
            return Answer::wrong_credentials(product);
        };
        let is_known = text("secretKey") == self.accounts[account].demo.keys.pair(product).1;
        let unique_key = text("uniqueKey").to_owned();
        let looked_up = product == Product::Market
            || !self.settings.hostlookup
            || (is_known && self.unique_keys.remove(&unique_key));
        if !is_known || !looked_up {
            *self.accounts[account].counters.refusals.get_mut(product) += 1;
            return Answer::wrong_credentials(product);
        }
        self.end_session(account, product, replaced(product));
        let token = self.issue(account, product, unique_key, now);
        *self.accounts[account].counters.logins.get_mut(product) += 1;
        Answer::login(product, &self.accounts[account].demo.user, &token)
    }

    /// A new token, whose session lives from now on.
    fn issue(&mut self, account: usize, product: Product, unique_key: String, now: UnixNanos) -> String {
        self.issued += 1;
        let issued_at = now.as_secs();
        let life = self.token_life_s.unwrap_or(self.settings.token_life_s);
        let expires_at = issued_at.saturating_add(i64::try_from(life).unwrap_or(i64::MAX));
        let id = format!("{issued_at:x}-{:x}", self.issued);
        let demo = &self.accounts[account].demo;
        let public_key = demo.keys.pair(product).0.to_owned();
        let token = self.key.sign(&Claims {
            user_id: format!("{}_{}", demo.user, public_key.to_uppercase()),
            public_key,
            unique_key: (!unique_key.is_empty()).then_some(unique_key),
            is_interactive: (product == Product::Interactive).then_some(true),
            iat: issued_at,
            exp: expires_at,
            jti: id.clone(),
        });
        let session = Session { id, issued_at, expires_at, subscriptions: BTreeSet::new() };
        *self.accounts[account].sessions.get_mut(product) = Some(session);
        token
    }

    /// Checks a request's token, then the rate limit: an invalid token is never reported as
    /// rate-limited, as on live servers. Returns whose request it is.
    ///
    /// # Errors
    /// The answer to give.
    pub(crate) fn authorize(
        &mut self,
        product: Product,
        header: Option<&str>,
        now: UnixNanos,
    ) -> Result<usize, Answer> {
        self.pass_time(now);
        let Some(token) = header.filter(|h| !h.is_empty()) else {
            self.stray.tokens_refused += 1;
            return Err(Answer::no_token());
        };
        let account = self.check_token(product, token)?;
        let limit = self.settings.rate_limit_per_s;
        let Account { windows, counters, .. } = &mut self.accounts[account];
        let window = windows.get_mut(product);
        if window.0 != now.as_secs() {
            *window = (now.as_secs(), 0);
        }
        window.1 = window.1.saturating_add(1);
        if limit > 0 && window.1 > limit {
            counters.rate_limited += 1;
            return Err(Answer::rate_limited());
        }
        Ok(account)
    }

    /// The account whose live session a token belongs to. A refusal is counted.
    ///
    /// # Errors
    /// The answer to give.
    pub(super) fn check_token(&mut self, product: Product, token: &str) -> Result<usize, Answer> {
        let claims = self.key.verify(token);
        let account = claims.as_ref().and_then(|c| self.account_of_key(product, &c.public_key));
        let (Some(claims), Some(account)) = (claims, account) else {
            self.stray.tokens_refused += 1;
            return Err(Answer::invalid_token());
        };
        let owner = &mut self.accounts[account];
        if owner.sessions.get(product).as_ref().is_some_and(|s| s.id == claims.jti) {
            return Ok(account);
        }
        owner.counters.tokens_refused += 1;
        Err(Answer::invalid_token())
    }

    /// `DELETE …/auth/logout` and `DELETE …/user/session`; the token was checked.
    pub(crate) fn logout(&mut self, account: usize, product: Product) -> Answer {
        self.end_session(account, product, replaced(product));
        Answer::logout(product)
    }

    /// `POST /hostlookup`; `None` where the broker knows none.
    pub(crate) fn hostlookup(&mut self, body: &Value, host: &str, now: UnixNanos) -> Option<Answer> {
        if !self.settings.hostlookup {
            return None;
        }
        let password = ["accesspassword", "AccessPassword"].iter().find_map(|k| body.get(k)?.as_str());
        if password != Some(HOSTLOOKUP_PASSWORD) {
            return Some(Answer::error(400, "e-hostlookup-0001", "Invalid Access Password", json!({})));
        }
        let unique_key = self.opaque("hostlookup", 48);
        // Nobody can fill memory with keys: the oldest go by chance, which a client survives.
        while self.unique_keys.len() >= 100 {
            self.unique_keys.pop_first();
        }
        self.unique_keys.insert(unique_key.clone());
        // `type` is a boolean on the servers that were seen.
        Some(Answer::plain(&json!({
            "type": true,
            "code": "hostlookup",
            "description": "Hostlookup successful",
            "result": {
                "uniqueKey": unique_key,
                "connectionString": format!("http://{host}/7hostlookup"),
                "timeStamp": now.to_string(),
                "remarks": "",
            },
        })))
    }

    /// Ends a session, if there is one: its token is refused from now on.
    pub(super) fn end_session(&mut self, account: usize, product: Product, sockets: SocketEnd) {
        let Some(session) = self.accounts[account].sessions.get_mut(product).take() else { return };
        self.end_sockets(&session.id, sockets);
        self.accounts[account].recount(self.market.catalogue());
        self.dirty = true;
    }
}
