//! One product's token as the token actor holds it: who gets it, when a login is due and when
//! none may be tried. Pure; the actor logs in and keeps the askers waiting.
//!
//! What always holds (property tests in `properties.rs`):
//! 1. at most one login is under way;
//! 2. a token that was refused, replaced or revoked is never handed out again;
//! 3. whoever asks gets a token, a login to wait for, or a time (or an act) to wait for;
//! 4. logins keep their least interval, and no more than the day's cap begin without a person.

mod brakes;
mod why;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::broker::{Class, Error};
use crate::clock::UnixNanos;
use crate::market::calendar::ist_date;
use crate::session::messages::{Granted, TokenError};
use crate::session::settings::OnReplaced;
use crate::session::status::TokenStatus;
use crate::token::expiry::{Cause, Facts, Origin, Rules, Verdict};
use crate::token::ledger::Count;
use crate::token::{Token, TokenEpoch};

pub(crate) use brakes::Limits;
pub(crate) use why::{Block, Why};

/// A token and what is known about its end.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) token: Token,
    pub(crate) facts: Facts,
}

impl Held {
    fn granted(&self) -> Granted {
        Granted { token: self.token.clone(), from_login: self.facts.origin == Origin::Login }
    }
}

/// What to do with an asker.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Here it is.
    Token(Granted),
    /// Log in, and let the asker wait for it.
    LogIn,
    /// A login is under way; let the asker wait for it.
    Wait,
    /// Logins must be further apart: log in after that time, and let the asker wait for it.
    Later(Duration),
    /// Not now.
    Denied(TokenError),
}

/// Whether a login has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// It has.
    Yes,
    /// It may, after that time.
    Later(Duration),
    /// One is under way, or none may be tried.
    No,
}

/// How a slot judges; from the settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) rules: Rules,
    pub(crate) limits: Limits,
    pub(crate) on_replaced: OnReplaced,
}

/// What an actor leaves to the one that replaces it.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    block: Option<Block>,
    why: Why,
    not_before: Option<Instant>,
    last_failure: String,
    last_refusal: Option<String>,
    early_refusals: u32,
    /// Logins in a row that the broker answered with a refusal.
    refused_logins: u32,
    /// When a login failed of which it is not known whether it took effect at the broker.
    unsure_at: Option<UnixNanos>,
    count: Count,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            block: None,
            why: Why::Missing,
            not_before: None,
            last_failure: String::new(),
            last_refusal: None,
            early_refusals: 0,
            refused_logins: 0,
            unsure_at: None,
            count: Count::default(),
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Slot {
    policy: Policy,
    held: Option<Held>,
    logging_in: bool,
    backoff: Backoff,
    memory: Memory,
}

impl Slot {
    pub(crate) fn new(policy: Policy, backoff: Backoff) -> Self {
        Self { policy, held: None, logging_in: false, backoff, memory: Memory::default() }
    }

    /// Takes over what an earlier actor of this process left.
    pub(crate) fn remember(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// What a later actor must know.
    pub(crate) fn memory(&self) -> Memory {
        self.memory.clone()
    }

    /// Takes over the logins that earlier processes counted.
    pub(crate) fn set_count(&mut self, count: Count) {
        self.memory.count = count;
    }

    pub(crate) fn count(&self) -> Count {
        self.memory.count
    }

    /// There is no stored token, or none that can be read.
    pub(crate) fn found_none(&mut self, why: Why) {
        self.memory.why = why;
    }

    /// Takes a stored token in if it is still usable.
    pub(crate) fn rehydrate(&mut self, held: Held, now: UnixNanos) -> Verdict {
        let verdict = self.policy.rules.verdict(&held.facts, now);
        match verdict {
            Verdict::Usable => self.held = Some(held),
            Verdict::Dead(cause) => self.memory.why = cause.into(),
        }
        verdict
    }

    /// Somebody asks. `newer_than` names the last token that was refused to the asker; `rest`
    /// until when an asker that can wait does so, because nothing trades. The second part of the
    /// answer: the token held was refused just now and must be forgotten in the store too.
    pub(crate) fn ask(
        &mut self,
        newer_than: Option<TokenEpoch>,
        rest: Option<UnixNanos>,
        now: UnixNanos,
        instant: Instant,
    ) -> (Answer, bool) {
        let refused = newer_than.is_some_and(|epoch| self.refused(epoch, now, instant));
        (self.answer(rest, now, instant), refused)
    }

    /// The broker has refused a token. Whether it was the one held, which is forgotten.
    pub(crate) fn refused(&mut self, epoch: TokenEpoch, now: UnixNanos, instant: Instant) -> bool {
        let Some(held) = self.held.take_if(|held| held.token.epoch <= epoch) else { return false };
        self.memory.why = Why::Refused;
        // Our own login, which is under way, has ended it.
        if !self.logging_in {
            self.memory.last_refusal = Some("the broker refused the token".to_owned());
            self.count_early(&held, now, instant);
        }
        true
    }

    /// Somebody else has logged in with our app key, which ended the token of `epoch`; `how` it
    /// was noticed. Whether that was the one held, which is forgotten.
    pub(crate) fn replaced(
        &mut self,
        epoch: TokenEpoch,
        how: &str,
        now: UnixNanos,
        instant: Instant,
    ) -> bool {
        // While a login of ours is under way, it is the one that ended the session.
        if self.logging_in {
            return false;
        }
        let Some(held) = self.held.take_if(|held| held.token.epoch == epoch) else { return false };
        self.memory.why = Why::Replaced;
        self.memory.last_refusal = Some(how.to_owned());
        match self.policy.on_replaced {
            // What stopped logins before says more.
            OnReplaced::Wait => {
                self.memory.block.get_or_insert_with(|| Block::Replaced(how.to_owned()));
            }
            // Two programs that take the session back from each other must not do so for ever.
            OnReplaced::Retake => self.count_early(&held, now, instant),
        }
        true
    }

    /// A person ends the session. The token that was held, if there was one.
    pub(crate) fn revoke(&mut self) -> Option<Token> {
        self.memory.block = Some(Block::Revoked);
        self.memory.why = Why::Revoked;
        self.held.take().map(|held| held.token)
    }

    fn answer(&self, rest: Option<UnixNanos>, now: UnixNanos, instant: Instant) -> Answer {
        if let Some(held) = &self.held
            && self.policy.rules.verdict(&held.facts, now) == Verdict::Usable
        {
            return Answer::Token(held.granted());
        }
        if self.logging_in {
            return Answer::Wait;
        }
        // Due for renewal, but not dead yet: better than nothing.
        let or_last = |denied| self.last_resort(now).map_or(Answer::Denied(denied), Answer::Token);
        if let Some(denied) = self.denial(now, instant) {
            return or_last(denied);
        }
        if let Some(until) = rest {
            let reason = format!("{}, and nothing trades before", self.why(now));
            return or_last(TokenError::Waiting { retry_in: until.since(now), reason });
        }
        match self.least_interval_left(now) {
            Some(left) => Answer::Later(left),
            None => Answer::LogIn,
        }
    }

    /// Why there is no usable token.
    pub(crate) fn why(&self, now: UnixNanos) -> Why {
        match self.held.as_ref().map(|held| self.policy.rules.verdict(&held.facts, now)) {
            Some(Verdict::Dead(cause)) => cause.into(),
            Some(Verdict::Usable) | None => self.memory.why,
        }
    }

    /// A token within its margin, but not yet at its own end.
    pub(crate) fn last_resort(&self, now: UnixNanos) -> Option<Granted> {
        let held = self.held.as_ref()?;
        let rules = Rules { margin: Duration::ZERO, ..self.policy.rules };
        (rules.verdict(&held.facts, now) == Verdict::Usable).then(|| held.granted())
    }

    /// Begins a login if one may be tried: marks it as begun and counts it.
    pub(crate) fn begin_login(&mut self, now: UnixNanos, instant: Instant) -> Begin {
        if self.logging_in || self.denial(now, instant).is_some() {
            return Begin::No;
        }
        if let Some(left) = self.least_interval_left(now) {
            return Begin::Later(left);
        }
        self.begin(now);
        Begin::Yes
    }

    /// What one who waited is told when no login is under way.
    pub(crate) fn verdict(&self, now: UnixNanos, instant: Instant) -> Result<Granted, TokenError> {
        match self.answer(None, now, instant) {
            Answer::Token(granted) => Ok(granted),
            Answer::Denied(why) => Err(why),
            Answer::LogIn | Answer::Wait | Answer::Later(_) => Err(TokenError::Unavailable),
        }
    }

    /// As [`Self::begin_login`], on a person's wish: whatever stopped logins is forgotten, and
    /// neither the interval nor the cap counts.
    pub(crate) fn begin_login_by_operator(&mut self, now: UnixNanos) -> bool {
        self.unblock();
        if self.logging_in {
            return false;
        }
        self.begin(now);
        true
    }

    fn begin(&mut self, now: UnixNanos) {
        self.logging_in = true;
        self.count_attempt(now);
    }

    /// A login succeeded.
    pub(crate) fn logged_in(&mut self, held: Held, now: UnixNanos) -> Granted {
        self.logging_in = false;
        self.memory.not_before = None;
        self.memory.refused_logins = 0;
        self.memory.unsure_at = None;
        self.backoff.reset();
        // Whether this token is any better than the ones before shows when it is used.
        self.memory.count = self.memory.count.on(ist_date(now));
        self.memory.count.logins += 1;
        self.memory.count.last_login = Some(now);
        let granted = held.granted();
        self.held = Some(held);
        granted
    }

    /// A login failed; says what askers are told, and when to try again by itself.
    pub(crate) fn login_failed(&mut self, error: &Error, instant: Instant) -> (TokenError, Option<Duration>) {
        self.logging_in = false;
        // One that brought nonsense may count at the broker all the same.
        if !error.answered() && !matches!(error, Error::Malformed(_)) {
            self.forget_attempt();
        }
        if matches!(error, Error::Network(_) | Error::Malformed(_)) {
            self.memory.unsure_at = self.memory.count.last_attempt;
        }
        let reason = error.to_string();
        if let Error::NotConfigured(what) = error {
            self.memory.block = Some(Block::Disabled(what.clone()));
            return (TokenError::Disabled(what.clone()), None);
        }
        self.memory.last_refusal = Some(reason.clone());
        match error.class() {
            Class::NeedsOperator => {
                self.memory.block = Some(Block::Operator(reason.clone()));
                (TokenError::NeedsOperator(reason), None)
            }
            // A login that is refused in other words than those for bad credentials may be a
            // hiccup of the venue; with the back-off and the cap it cannot hammer.
            Class::Transient | Class::NeedsToken | Class::Refused => {
                let mut retry_in = self.backoff.next_delay().max(error.retry_after().unwrap_or_default());
                if error.answered() {
                    retry_in = retry_in.max(self.pause_after_refusal());
                }
                self.memory.not_before = Some(instant + retry_in);
                self.memory.last_failure.clone_from(&reason);
                (TokenError::Waiting { retry_in, reason }, Some(retry_in))
            }
        }
    }

    /// Whether a start can leave the login to the morning: the account is known to work, and it is
    /// clear why there is no token.
    pub(crate) fn can_rest(&self, now: UnixNanos) -> bool {
        self.memory.count.last_login.is_some() && self.why(now) != Why::Unreadable
    }

    /// A person acts, or there are new secrets: whatever stopped logins is forgotten.
    pub(crate) fn unblock(&mut self) {
        self.memory.block = None;
        self.memory.not_before = None;
        self.memory.early_refusals = 0;
        self.memory.refused_logins = 0;
    }

    /// Whether a session that is said to be replaced may have been ended by a login of ours that
    /// seemed to fail.
    pub(crate) fn may_be_our_own(&self) -> bool {
        let held = self.held.as_ref().map(|held| held.token.issued_at);
        self.memory.unsure_at.is_some() && self.memory.unsure_at >= held
    }

    /// The next trading day begins: whoever took our session has had it long enough.
    pub(crate) fn end_wait_for_other(&mut self) {
        if matches!(self.memory.block, Some(Block::Replaced(_))) {
            self.unblock();
        }
    }

    /// Whether only new secrets, or a person, bring logins back.
    pub(crate) fn needs_operator(&self) -> bool {
        matches!(self.memory.block, Some(Block::Operator(_)))
    }

    /// Whether there is no token, and nothing but a person's act (or another day) brings one.
    pub(crate) fn is_blocked(&self, now: UnixNanos) -> bool {
        self.memory.block.is_some() && !self.is_usable(now) && self.last_resort(now).is_none()
    }

    /// Whether the held token should be renewed although nobody asks.
    pub(crate) fn renewal_is_due(&self, now: UnixNanos) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| self.policy.rules.verdict(&held.facts, now) == Verdict::Dead(Cause::Ended))
    }

    /// Whether there is a token to hand out.
    pub(crate) fn is_usable(&self, now: UnixNanos) -> bool {
        self.held.as_ref().is_some_and(|held| self.policy.rules.verdict(&held.facts, now) == Verdict::Usable)
    }

    pub(crate) const fn is_logging_in(&self) -> bool {
        self.logging_in
    }

    /// The token held, usable or not.
    pub(crate) fn token(&self) -> Option<&Token> {
        self.held.as_ref().map(|held| &held.token)
    }

    /// When something about the held token changes next.
    pub(crate) fn next_change(&self, now: UnixNanos) -> Option<UnixNanos> {
        let held = self.held.as_ref()?;
        let renewal = self.policy.rules.renew_at(&held.facts);
        let death = self.policy.rules.dies_at(&held.facts);
        renewal.into_iter().chain([death]).filter(|at| *at > now).min()
    }

    /// For the status page. `planned` is when the next planned login may come.
    pub(crate) fn status(&self, planned: Option<UnixNanos>, now: UnixNanos, instant: Instant) -> TokenStatus {
        let denial = self.denial(now, instant);
        let state = if self.logging_in {
            "logging_in"
        } else if self.is_usable(now) || self.last_resort(now).is_some() {
            "valid"
        } else if let Some(block) = &self.memory.block {
            block.as_str()
        } else if denial.is_some() {
            "waiting"
        } else {
            self.why(now).state()
        };
        let held = self.held.as_ref();
        let next_login_at = match (state, denial) {
            ("logging_in" | "needs_operator" | "revoked" | "disabled", _) => None,
            ("waiting", Some(TokenError::Waiting { retry_in, .. })) => Some(now.plus(retry_in)),
            _ => held
                .and_then(|held| self.policy.rules.renew_at(&held.facts))
                .filter(|at| *at > now)
                .or(planned),
        };
        TokenStatus {
            state,
            issued_at: held.map(|held| held.token.issued_at),
            expires_at: held.map(|held| self.policy.rules.dies_at(&held.facts)),
            last_refusal: self.memory.last_refusal.clone(),
            logins_today: self.memory.count.on(ist_date(now)).logins.into(),
            next_login_at,
            store_failure: None,
            app_key_expires: held.and_then(|held| held.token.facts.app_key_expires.clone()),
        }
    }
}
