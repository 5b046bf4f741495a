//! What keeps logins from hammering a venue: the least interval, the day's cap, the pause after
//! fresh tokens that are refused. Not the back-off's arithmetic; that is `backoff`.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::UnixNanos;
use crate::market::TimeOfDay;
use crate::market::calendar::{ist_date, next_at};
use crate::session::messages::TokenError;

use super::{Block, Held, Slot};

/// A token refused this soon after its login was refused for another reason than its age: a
/// second program on the same app key, or a proxy that answers in the broker's place.
const EARLY: Duration = Duration::from_mins(10);
/// So many of them in a row are healed at once; after that logging in does not help.
const EARLY_HEALED: u32 = 2;

/// How many logins there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Least time between the starts of two logins.
    pub(crate) interval: Duration,
    /// Attempts that the broker answers in one day of India; 0: any number.
    pub(crate) per_day: u32,
}

impl Slot {
    /// Why no login may be tried now, the least interval left aside.
    pub(super) fn denial(&self, now: UnixNanos, instant: Instant) -> Option<TokenError> {
        match &self.memory.block {
            Some(Block::Disabled(why)) => return Some(TokenError::Disabled(why.clone())),
            Some(Block::Operator(why)) => return Some(TokenError::NeedsOperator(why.clone())),
            Some(Block::Replaced(how)) => return Some(TokenError::Replaced(how.clone())),
            Some(Block::Revoked) => return Some(TokenError::Revoked),
            None => {}
        }
        let pause = self
            .memory
            .not_before
            .and_then(|at| at.checked_duration_since(instant))
            .filter(|wait| !wait.is_zero())
            .map(|wait| (wait, self.memory.last_failure.clone()));
        let capped = self.capped_for(now).map(|wait| {
            let cap = self.policy.limits.per_day;
            (wait, format!("the day's cap of {cap} logins is reached (session.login_daily_cap)"))
        });
        let (retry_in, reason) = pause.into_iter().chain(capped).max_by_key(|(wait, _)| *wait)?;
        Some(TokenError::Waiting { retry_in, reason })
    }

    /// Until the next day begins, if this one's logins are used up.
    fn capped_for(&self, now: UnixNanos) -> Option<Duration> {
        let cap = self.policy.limits.per_day;
        let today = self.memory.count.on(ist_date(now));
        let midnight = TimeOfDay::new(0, 0)?;
        (cap > 0 && today.attempts >= cap).then(|| next_at(now, midnight).since(now))
    }

    /// What is left of the least interval between two logins. By the wall clock, because
    /// it holds across restarts; a clock that was set back does not lengthen it.
    pub(super) fn least_interval_left(&self, now: UnixNanos) -> Option<Duration> {
        let last = self.memory.count.last_attempt?;
        let interval = self.policy.limits.interval;
        if last > now {
            return None;
        }
        interval.checked_sub(now.since(last)).filter(|left| !left.is_zero())
    }

    pub(super) fn count_attempt(&mut self, now: UnixNanos) {
        let mut count = self.memory.count.on(ist_date(now));
        count.attempts += 1;
        count.last_attempt = Some(now);
        self.memory.count = count;
    }

    /// The last attempt did not get to the broker's login, so it cannot lock the account.
    pub(super) fn forget_attempt(&mut self) {
        self.memory.count.attempts = self.memory.count.attempts.saturating_sub(1);
    }

    /// How long to wait after a login that the broker refused in words that blame nobody: minutes, so
    /// that the day's cap outlasts a broker that does so all morning.
    pub(super) fn pause_after_refusal(&mut self) -> Duration {
        let doublings = self.memory.refused_logins.min(4);
        self.memory.refused_logins += 1;
        Duration::from_mins(1 << doublings).min(Duration::from_mins(15))
    }

    /// A token ended although it was not at its end; pauses logins if that happens again and again
    /// to fresh ones.
    pub(super) fn count_early(&mut self, held: &Held, now: UnixNanos, instant: Instant) {
        let early = now.since(held.token.issued_at) < EARLY;
        self.memory.early_refusals = if early { self.memory.early_refusals + 1 } else { 0 };
        if let Some(beyond) = self.memory.early_refusals.checked_sub(EARLY_HEALED + 1) {
            // Each login would kill somebody's token and heal nothing.
            let wait = Duration::from_mins(1 << beyond.min(6)).min(Duration::from_hours(1));
            self.memory.not_before = Some(instant + wait);
            "fresh tokens are refused again and again".clone_into(&mut self.memory.last_failure);
        }
    }
}
