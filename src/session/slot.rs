//! One product's token as the token actor holds it: who gets it, when a login is due. Pure;
//! the actor logs in and keeps the askers waiting.

use std::time::Duration;

use jiff::civil::Date;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::broker::{Class, Error};
use crate::clock::UnixNanos;
use crate::market::calendar::ist_date;
use crate::session::messages::{Granted, TokenError};
use crate::session::status::TokenStatus;
use crate::token::expiry::{Cause, Facts, Origin, Rules, Verdict};
use crate::token::{Token, TokenEpoch};

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
    /// Not now.
    Denied(TokenError),
}

/// Why no login is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Block {
    /// No keys.
    Disabled(String),
    /// The broker refused the login for good.
    Operator(String),
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Slot {
    rules: Rules,
    held: Option<Held>,
    logging_in: bool,
    block: Option<Block>,
    backoff: Backoff,
    /// No login before this.
    not_before: Option<Instant>,
    last_failure: String,
    last_refusal: Option<String>,
    logins: (Date, u64),
    /// Tokens in a row that were refused soon after the login that brought them.
    early_refusals: u32,
}

/// A token refused this soon after its login was refused for another reason than its age: a
/// second program on the same app key, or a proxy that answers in the broker's place.
const EARLY: Duration = Duration::from_mins(10);
/// So many of them in a row are healed at once; after that logging in does not help.
const EARLY_HEALED: u32 = 2;

impl Slot {
    pub(crate) fn new(rules: Rules, backoff: Backoff) -> Self {
        Self {
            rules,
            held: None,
            logging_in: false,
            block: None,
            backoff,
            not_before: None,
            last_failure: String::new(),
            last_refusal: None,
            logins: (Date::ZERO, 0),
            early_refusals: 0,
        }
    }

    /// Takes over what an earlier actor of this process counted and was told.
    pub(crate) fn remember(&mut self, status: &TokenStatus, now: UnixNanos) {
        self.last_refusal.clone_from(&status.last_refusal);
        self.logins = (ist_date(now), status.logins_today);
    }

    /// Takes a stored token in if it is still usable.
    pub(crate) fn rehydrate(&mut self, held: Held, now: UnixNanos) -> Verdict {
        let verdict = self.rules.verdict(&held.facts, now);
        if verdict == Verdict::Usable {
            self.held = Some(held);
        }
        verdict
    }

    /// Somebody asks. `true` beside the answer: the held token was refused and must be
    /// forgotten in the store too.
    pub(crate) fn ask(
        &mut self,
        newer_than: Option<TokenEpoch>,
        now: UnixNanos,
        instant: Instant,
    ) -> (Answer, bool) {
        let refused = self.held.take_if(|held| newer_than.is_some_and(|epoch| held.token.epoch <= epoch));
        if let Some(held) = &refused {
            self.last_refusal = Some("the broker refused the token".to_owned());
            let early = now.since(held.token.issued_at) < EARLY;
            self.early_refusals = if early { self.early_refusals + 1 } else { 0 };
            if let Some(beyond) = self.early_refusals.checked_sub(EARLY_HEALED + 1) {
                // Each login would kill somebody's token and heal nothing.
                let wait = Duration::from_mins(1 << beyond.min(6)).min(Duration::from_hours(1));
                self.not_before = Some(instant + wait);
                "fresh tokens are refused again and again".clone_into(&mut self.last_failure);
            }
        }
        (self.answer(now, instant), refused.is_some())
    }

    fn answer(&self, now: UnixNanos, instant: Instant) -> Answer {
        if let Some(held) = &self.held
            && self.rules.verdict(&held.facts, now) == Verdict::Usable
        {
            return Answer::Token(held.granted());
        }
        if self.logging_in {
            return Answer::Wait;
        }
        match self.denial(instant) {
            None => Answer::LogIn,
            // Due for renewal, but not dead yet: better than nothing.
            Some(denied) => self.last_resort(now).map_or(Answer::Denied(denied), Answer::Token),
        }
    }

    /// Why no login may be tried now.
    fn denial(&self, instant: Instant) -> Option<TokenError> {
        match &self.block {
            Some(Block::Disabled(why)) => return Some(TokenError::Disabled(why.clone())),
            Some(Block::Operator(why)) => return Some(TokenError::NeedsOperator(why.clone())),
            None => {}
        }
        let retry_in = self.not_before?.checked_duration_since(instant).filter(|wait| !wait.is_zero())?;
        Some(TokenError::Waiting { retry_in, reason: self.last_failure.clone() })
    }

    /// A token within its margin, but not yet at its own end.
    pub(crate) fn last_resort(&self, now: UnixNanos) -> Option<Granted> {
        let held = self.held.as_ref()?;
        let rules = Rules { margin: Duration::ZERO, ..self.rules };
        (rules.verdict(&held.facts, now) == Verdict::Usable).then(|| held.granted())
    }

    /// Whether a login may begin; marks it as begun.
    pub(crate) fn begin_login(&mut self, instant: Instant) -> bool {
        if self.logging_in || self.denial(instant).is_some() {
            return false;
        }
        self.logging_in = true;
        true
    }

    /// A login succeeded.
    pub(crate) fn logged_in(&mut self, held: Held, now: UnixNanos) -> Granted {
        self.logging_in = false;
        self.not_before = None;
        self.backoff.reset();
        // Whether this token is any better than the ones before shows when it is used.
        let today = ist_date(now);
        self.logins = (today, if self.logins.0 == today { self.logins.1 + 1 } else { 1 });
        let granted = held.granted();
        self.held = Some(held);
        granted
    }

    /// A login failed; says what askers are told, and when to try again by itself.
    pub(crate) fn login_failed(&mut self, error: &Error, instant: Instant) -> (TokenError, Option<Duration>) {
        self.logging_in = false;
        let reason = error.to_string();
        if let Error::NotConfigured(what) = error {
            self.block = Some(Block::Disabled(what.clone()));
            return (TokenError::Disabled(what.clone()), None);
        }
        self.last_refusal = Some(reason.clone());
        match error.class() {
            Class::NeedsOperator => {
                self.block = Some(Block::Operator(reason.clone()));
                (TokenError::NeedsOperator(reason), None)
            }
            // A login that is refused in other words than those for bad credentials may be a
            // hiccup of the venue; with the back-off it cannot hammer.
            Class::Transient | Class::NeedsToken | Class::Refused => {
                let retry_in = self.backoff.next_delay().max(error.retry_after().unwrap_or_default());
                self.not_before = Some(instant + retry_in);
                self.last_failure.clone_from(&reason);
                (TokenError::Waiting { retry_in, reason }, Some(retry_in))
            }
        }
    }

    /// A person acts: whatever stopped logins is forgotten.
    pub(crate) fn unblock(&mut self) {
        self.block = None;
        self.not_before = None;
        self.early_refusals = 0;
    }

    /// Whether the held token should be renewed although nobody asks.
    pub(crate) fn renewal_is_due(&self, now: UnixNanos) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| self.rules.verdict(&held.facts, now) == Verdict::Dead(Cause::Ended))
    }

    /// Whether the planned login of the day is needed.
    pub(crate) fn is_usable(&self, now: UnixNanos) -> bool {
        self.held.as_ref().is_some_and(|held| self.rules.verdict(&held.facts, now) == Verdict::Usable)
    }

    /// When something about the held token changes next.
    pub(crate) fn next_change(&self, now: UnixNanos) -> Option<UnixNanos> {
        let held = self.held.as_ref()?;
        let renewal = self.rules.renew_at(&held.facts);
        let death = self.rules.dies_at(&held.facts);
        renewal.into_iter().chain([death]).filter(|at| *at > now).min()
    }

    /// For the status page.
    pub(crate) fn status(&self, now: UnixNanos, instant: Instant) -> TokenStatus {
        let state = if self.logging_in {
            "logging_in"
        } else if self.is_usable(now) || self.last_resort(now).is_some() {
            "valid"
        } else {
            match (&self.block, self.denial(instant), &self.held) {
                (Some(Block::Disabled(_)), _, _) => "disabled",
                (Some(Block::Operator(_)), _, _) => "needs_operator",
                (None, Some(_), _) => "waiting",
                (None, None, Some(_)) => "expired",
                (None, None, None) => "missing",
            }
        };
        TokenStatus {
            state,
            issued_at: self.held.as_ref().map(|held| held.token.issued_at),
            expires_at: self.held.as_ref().map(|held| self.rules.dies_at(&held.facts)),
            last_refusal: self.last_refusal.clone(),
            logins_today: if self.logins.0 == ist_date(now) { self.logins.1 } else { 0 },
            ..TokenStatus::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::secret::Secret;
    use crate::session::settings::Settings;
    use crate::token::{AccountFacts, Product};

    /// 2026-02-10 11:00 IST, a Tuesday.
    const NOW: UnixNanos = UnixNanos::from_secs(1_770_701_400);

    fn slot() -> Slot {
        let settings = Settings::default();
        Slot::new(settings.rules(), Backoff::new(Duration::from_millis(500), Duration::from_secs(30), 1))
    }

    fn held(epoch: u64, life: Option<Duration>) -> Held {
        let secret = "opaque";
        let mut facts = Facts::of(secret, NOW, Origin::Login);
        if let Some(life) = life {
            facts.claims.end = crate::token::expiry::Claim::At(NOW.plus(life));
        }
        let token = Token {
            product: Product::Market,
            epoch: TokenEpoch(epoch),
            secret: Arc::new(Secret::new(secret)),
            facts: Arc::new(AccountFacts::default()),
            issued_at: NOW,
            expires_at: None,
        };
        Held { token, facts }
    }

    fn network() -> Error {
        Error::Network("down".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn fresh_tokens_that_are_refused_again_and_again_do_not_cause_a_storm_of_logins() {
        let mut slot = slot();
        let mut logins = 0;
        let start = Instant::now();
        while start.elapsed() < Duration::from_hours(24) {
            // The venue refuses whatever it hands out, at once.
            match slot.ask(slot.held.as_ref().map(|h| h.token.epoch), NOW, Instant::now()).0 {
                Answer::LogIn => {
                    assert!(slot.begin_login(Instant::now()));
                    logins += 1;
                    slot.logged_in(held(logins, None), NOW);
                }
                Answer::Denied(TokenError::Waiting { retry_in, .. }) => tokio::time::advance(retry_in).await,
                _ => tokio::time::advance(Duration::from_secs(1)).await,
            }
        }
        assert!((20..40).contains(&logins), "{logins} logins in a day");
        slot.unblock();
        assert!(matches!(slot.ask(None, NOW, Instant::now()).0, Answer::LogIn | Answer::Token(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_never_handed_out_again() {
        let mut slot = slot();
        let now = Instant::now();
        assert!(slot.begin_login(now));
        slot.logged_in(held(1, None), NOW);
        assert!(matches!(slot.ask(None, NOW, now), (Answer::Token(_), false)));
        assert!(matches!(slot.ask(Some(TokenEpoch(1)), NOW, now), (Answer::LogIn, true)));
        // Not even to one who does not know that it was refused.
        assert!(matches!(slot.ask(None, NOW, now), (Answer::LogIn, false)));
        assert!(slot.begin_login(now));
        assert!(matches!(slot.ask(None, NOW, now), (Answer::Wait, false)));
        slot.logged_in(held(2, None), NOW);
        // A late report of the old refusal gets the new one.
        assert!(matches!(slot.ask(Some(TokenEpoch(1)), NOW, now), (Answer::Token(_), false)));
        assert_eq!(slot.status(NOW, now).logins_today, 2);
        assert_eq!(slot.status(NOW.plus(Duration::from_hours(24)), now).logins_today, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_within_its_margin_serves_while_the_login_fails_and_no_longer() {
        let mut slot = slot();
        let now = Instant::now();
        slot.begin_login(now);
        slot.logged_in(held(1, Some(Duration::from_hours(2))), NOW);
        let late = NOW.plus(Duration::from_mins(117));
        assert!(slot.renewal_is_due(late));
        assert!(matches!(slot.ask(None, late, now), (Answer::LogIn, false)));
        slot.begin_login(now);
        slot.login_failed(&network(), now);
        assert!(matches!(slot.ask(None, late, now), (Answer::Token(_), false)));
        assert_eq!(slot.status(late, now).state, "valid");
        let over = NOW.plus(Duration::from_hours(2));
        assert!(matches!(slot.ask(None, over, now), (Answer::Denied(TokenError::Waiting { .. }), false)));
    }

    #[tokio::test(start_paused = true)]
    async fn after_bad_credentials_nothing_is_tried_until_a_person_acts() {
        let mut slot = slot();
        let now = Instant::now();
        slot.begin_login(now);
        let refusal = Error::Credentials { description: "Invalid App Key".to_owned() };
        let (told, retry) = slot.login_failed(&refusal, now);
        assert!(matches!(told, TokenError::NeedsOperator(_)));
        assert_eq!(retry, None);
        tokio::time::advance(Duration::from_hours(48)).await;
        assert!(!slot.begin_login(Instant::now()));
        assert_eq!(slot.status(NOW, now).state, "needs_operator");
        slot.unblock();
        assert!(slot.begin_login(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_login_waits_at_least_as_long_as_the_broker_asks() {
        let mut slot = slot();
        let now = Instant::now();
        slot.begin_login(now);
        let minute = Duration::from_mins(1);
        let limited = Error::RateLimited { retry_after: Some(minute), description: "slow down".to_owned() };
        let (_, retry) = slot.login_failed(&limited, now);
        assert!(retry >= Some(minute));
        assert!(!slot.begin_login(now + Duration::from_secs(59)));
        assert_eq!(slot.status(NOW, now).state, "waiting");
        assert!(slot.begin_login(now + minute * 2));
    }
}
