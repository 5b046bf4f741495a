//! Logins, tokens and what ends them: the rules of sessions.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::account::Account;
use super::faults::Fault;
use super::journal::{BadToken, Outcome};
use super::{Core, digest};
use crate::clock::UnixNanos;
use crate::sim::answers::Answer;
use crate::sim::jwt::Claims;
use crate::sim::sessions::{Product, Session};
use crate::sim::settings::SocketEnd;
use crate::sim::truth::Event;

/// Where hostlookup sends a login, and where everything after it goes: the first path segment.
/// Source: live answers of dealer servers.
pub(crate) const LOOKUP_CLUSTER: &str = "7hostlookup";
pub(crate) const INTERACTIVE_CLUSTER: &str = "7interactive";

/// Opaque tokens whose account is remembered after their end.
const MAX_OPAQUE_TOKENS: usize = 1_000;

/// A public constant of every client.
const HOSTLOOKUP_PASSWORD: &str = "2021HostLookUpAccess";

fn text<'a>(body: &'a Value, key: &str) -> &'a str {
    body.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What a product's sockets get when its session is replaced or logged out (seen live).
const fn replaced(product: Product) -> SocketEnd {
    match product {
        Product::Market => SocketEnd::Silent,
        Product::Interactive => SocketEnd::Logout,
    }
}

/// Whose a token is.
enum Owner {
    /// An account's, of its live session.
    Live(usize),
    /// Nobody's now; of this account once, if it was ours. And what tells it from others.
    Gone(Option<usize>, String),
}

/// A login on its way: it has arrived, and is answered after `delay`.
#[derive(Debug)]
pub(crate) struct Arrival {
    number: u64,
    account: Option<usize>,
    product: Product,
    fault: Option<Fault>,
    pub(crate) delay: Duration,
    /// Restarts before it.
    restarts: u64,
}

impl Core {
    /// `POST …/auth/login` and `POST …/user/session`, answered at once. A login ends the
    /// session before of the same account and product.
    #[cfg(test)]
    pub(crate) fn login(&mut self, product: Product, body: &Value, now: UnixNanos) -> Answer {
        let arrival = self.login_arrives(product, body, now);
        self.login_answers(arrival, body, now)
    }

    /// The first half of a login. The caller waits for `delay`, then comes back with
    /// [`Self::login_answers`], whether its client still waits or not.
    pub(crate) fn login_arrives(&mut self, product: Product, body: &Value, now: UnixNanos) -> Arrival {
        self.pass_time(now);
        let account = self.account_of_key(product, text(body, "appKey"));
        let fault = account.and_then(|a| {
            let of = self.accounts[a].of;
            self.faults.take(of, product).or_else(|| self.troubles.login(of, product))
        });
        let (fault, delay) = fault.map_or((None, Duration::ZERO), |(fault, delay)| (Some(fault), delay));
        let number = self.journal.arrived(account, product, fault.map(Fault::as_str), now);
        Arrival { number, account, product, fault, delay, restarts: self.presence.restarts }
    }

    /// The second half of a login. Only now it takes effect.
    #[expect(clippy::needless_pass_by_value, reason = "an arrival is answered once")]
    pub(crate) fn login_answers(&mut self, arrival: Arrival, body: &Value, now: UnixNanos) -> Answer {
        self.pass_time(now);
        let Arrival { number, account, product, .. } = arrival;
        let lost = self.is_away(now) || arrival.restarts != self.presence.restarts;
        let (outcome, answer) = if lost {
            (Outcome::Failed, Answer::unavailable(502))
        } else {
            self.decide_login(&arrival, body, now)
        };
        let counters = match account {
            Some(account) => &mut self.accounts[account].counters,
            None => &mut self.stray,
        };
        match outcome {
            Outcome::Granted => *counters.logins.get_mut(product) += 1,
            _ => *counters.refusals.get_mut(product) += 1,
        }
        self.dirty = true;
        self.note_login(account, product, outcome.as_str(), now);
        self.journal.answered(number, account, product, outcome, now);
        answer
    }

    fn decide_login(&mut self, arrival: &Arrival, body: &Value, now: UnixNanos) -> (Outcome, Answer) {
        let product = arrival.product;
        match arrival.fault {
            Some(Fault::Credentials) => return (Outcome::Refused, Answer::wrong_credentials(product)),
            Some(Fault::Disabled) => return (Outcome::Refused, Answer::disabled_app_key()),
            Some(Fault::RateLimited { retry_after_s }) => {
                return (Outcome::Failed, Answer { retry_after_s, ..Answer::rate_limited() });
            }
            Some(Fault::Unavailable { status }) => return (Outcome::Failed, Answer::unavailable(status)),
            Some(Fault::Slow | Fault::Opaque | Fault::NoExpiry | Fault::Skewed { .. }) | None => {}
        }
        let wrong = (Outcome::Refused, Answer::wrong_credentials(product));
        let Some(account) = arrival.account else { return wrong };
        if text(body, "secretKey") != self.accounts[account].demo.keys.pair(product).1 {
            return wrong;
        }
        let unique_key = text(body, "uniqueKey");
        let must_look_up = product == Product::Interactive && self.settings.hostlookup;
        if must_look_up && !self.unique_keys.remove(unique_key) {
            return wrong;
        }
        if product == Product::Interactive && !self.access_token.is_empty() {
            let mark = digest(&self.access_token);
            let owner = &mut self.accounts[account];
            let is_used = owner.used_access_token.as_ref() == Some(&mark);
            if text(body, "accessToken") != self.access_token || is_used {
                return (Outcome::Refused, Answer::wrong_access_token());
            }
            owner.used_access_token = Some(mark);
        }
        self.end_session(account, product, replaced(product));
        let token = self.issue(account, product, unique_key, arrival.fault, now);
        (Outcome::Granted, Answer::login(product, &self.accounts[account].identity, &token))
    }

    /// A new token, whose session lives from now on.
    pub(super) fn issue(
        &mut self,
        account: usize,
        product: Product,
        unique_key: &str,
        fault: Option<Fault>,
        now: UnixNanos,
    ) -> String {
        self.issued += 1;
        let issued_at = now.as_secs();
        let life = self.token_life_s.unwrap_or(self.settings.token_life_s);
        let expires_at = issued_at.saturating_add(i64::try_from(life).unwrap_or(i64::MAX));
        // What the token says may be off; when it ends is not.
        let skew = if let Some(Fault::Skewed { by_s }) = fault { by_s } else { 0 };
        let mut id = format!("{issued_at:x}-{:x}", self.issued);
        let Account { demo, identity, .. } = &self.accounts[account];
        let public_key = demo.keys.pair(product).0.to_owned();
        let token = if fault == Some(Fault::Opaque) {
            let token = self.opaque("token", 48);
            id = digest(&token);
            self.opaque_tokens.push_back((id.clone(), account, product));
            if self.opaque_tokens.len() > MAX_OPAQUE_TOKENS {
                self.opaque_tokens.pop_front();
            }
            token
        } else {
            self.key.sign(&Claims {
                user_id: format!("{}_{}", identity.login, public_key.to_uppercase()),
                public_key,
                unique_key: (!unique_key.is_empty()).then(|| unique_key.to_owned()),
                is_interactive: (product == Product::Interactive).then_some(true),
                iat: issued_at + skew,
                exp: (fault != Some(Fault::NoExpiry)).then_some(expires_at + skew),
                jti: id.clone(),
            })
        };
        let session = Session { id, issued_at, expires_at, subscriptions: BTreeSet::new() };
        *self.accounts[account].sessions.get_mut(product) = Some(session);
        token
    }

    /// Checks a request's token, then the rate limit: an invalid token is never reported as
    /// rate-limited, as on live servers. `call` names what it is for in the journal. Returns
    /// whose request it is.
    ///
    /// # Errors
    /// The answer to give.
    pub(crate) fn authorize(
        &mut self,
        product: Product,
        header: Option<&str>,
        call: &'static str,
        now: UnixNanos,
    ) -> Result<usize, Answer> {
        self.pass_time(now);
        let Some(token) = header.filter(|h| !h.is_empty()) else {
            self.stray.tokens_refused += 1;
            self.journal.bad_token(None, product, (call, true), (BadToken::Missing, ""), now);
            return Err(Answer::no_token());
        };
        let account = self.check_token(product, token, call, now)?;
        let limit = self.settings.rate_limit_per_s;
        let Account { windows, counters, .. } = &mut self.accounts[account];
        let window = windows.get_mut(product);
        if window.0 != now.as_secs() {
            *window = (now.as_secs(), 0);
        }
        window.1 = window.1.saturating_add(1);
        let is_over = limit > 0 && window.1 > limit;
        if is_over {
            counters.rate_limited += 1;
        }
        let may_call = self.may_call(account, product, call, now);
        if !may_call && !is_over {
            self.accounts[account].counters.rate_limited += 1;
        }
        if is_over || !may_call { Err(Answer::rate_limited()) } else { Ok(account) }
    }

    /// The account whose live session a token belongs to. A refusal is counted and written
    /// down.
    ///
    /// # Errors
    /// The answer to give.
    pub(super) fn check_token(
        &mut self,
        product: Product,
        token: &str,
        call: &'static str,
        now: UnixNanos,
    ) -> Result<usize, Answer> {
        let (account, id) = match self.owner_of(product, token) {
            Owner::Live(account) => return Ok(account),
            Owner::Gone(account, id) => (account, id),
        };
        match account {
            Some(account) => self.accounts[account].counters.tokens_refused += 1,
            None => self.stray.tokens_refused += 1,
        }
        let bad = if account.is_some() { BadToken::Dead } else { BadToken::Foreign };
        self.journal.bad_token(account, product, (call, true), (bad, &id), now);
        Err(Answer::invalid_token())
    }

    /// Writes down a token that is no good, of a call that answers whatever the token.
    pub(crate) fn note_token(
        &mut self,
        product: Product,
        header: Option<&str>,
        call: &'static str,
        now: UnixNanos,
    ) {
        self.pass_time(now);
        if let Some(token) = header.filter(|h| !h.is_empty())
            && let Owner::Gone(account, id) = self.owner_of(product, token)
        {
            let bad = if account.is_some() { BadToken::Dead } else { BadToken::Foreign };
            self.journal.bad_token(account, product, (call, false), (bad, &id), now);
        }
    }

    fn owner_of(&self, product: Product, token: &str) -> Owner {
        let claims = self.key.verify(token);
        let id = claims.as_ref().map_or_else(|| digest(token), |c| c.jti.clone());
        let is_theirs = |a: &Account| a.sessions.get(product).as_ref().is_some_and(|s| s.id == id);
        if let Some(account) = self.accounts.iter().position(is_theirs) {
            return Owner::Live(account);
        }
        let account = match &claims {
            Some(claims) => self.account_of_key(product, &claims.public_key),
            None => self.opaque_tokens.iter().find(|t| t.0 == id && t.2 == product).map(|t| t.1),
        };
        Owner::Gone(account, id)
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
                "connectionString": format!("http://{host}/{LOOKUP_CLUSTER}"),
                "timeStamp": now.to_string(),
                "remarks": "",
            },
        })))
    }

    pub(super) fn note_login(
        &mut self,
        account: Option<usize>,
        product: Product,
        outcome: &'static str,
        now: UnixNanos,
    ) {
        if self.notes.is_on() {
            let account = account.map(|a| self.user(a));
            self.notes.add(now, Event::Login { account, product: product.as_str(), outcome });
        }
    }

    /// Ends a session, if there is one: its token is refused from now on.
    pub(super) fn end_session(&mut self, account: usize, product: Product, sockets: SocketEnd) {
        let Some(session) = self.accounts[account].sessions.get_mut(product).take() else { return };
        if self.notes.is_on() {
            let account = self.user(account);
            self.notes.add(self.seen, Event::SessionEnd { account, product: product.as_str() });
        }
        self.end_sockets(&session.id, sockets);
        self.accounts[account].recount(self.market.catalogue());
        self.dirty = true;
    }
}
