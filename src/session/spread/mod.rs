//! Which account carries which instrument, when there are several: by their subscription limits,
//! and away from an account that cannot serve. Shared by all sessions, so that each sees the same
//! plan; no I/O.
//!
//! An instrument stays where it is as long as its account can serve it: moving costs requests and a
//! gap. One of one slot may have to make room for another's bars.

mod plan;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::hub::{FeedId, Hub};
use crate::market::{InstrumentId, KindSet};

use plan::Plan;

/// The plan. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spread {
    plan: Arc<Mutex<Plan>>,
    revision: Arc<watch::Sender<u64>>,
}

impl Spread {
    /// A plan over accounts that may hold so many instruments each, in the order of their feeds'
    /// numbers.
    pub fn new(capacities: &[usize]) -> Self {
        Self {
            plan: Arc::new(Mutex::new(Plan::new(capacities, Instant::now()))),
            revision: Arc::new(watch::Sender::new(0)),
        }
    }

    /// What this account's feed should hold of what is wanted. Tells the hub whose feed carries
    /// what.
    pub(crate) fn share(&self, me: FeedId, hub: &Hub) -> Vec<(InstrumentId, KindSet)> {
        let wanted = hub.wanted();
        let mut plan = self.lock();
        hub.set_budget(plan.budget(Instant::now()));
        if plan.is_of_one() {
            return wanted;
        }
        let moved = plan.renew(&wanted, Instant::now());
        hub.assign(moved.iter().map(|(instrument, owner)| (*instrument, FeedId(*owner as u32))));
        let me = me.0 as usize;
        let share = wanted.into_iter().filter(|pair| plan.owner(pair.0) == Some(me)).collect();
        drop(plan);
        if moved.values().any(|owner| *owner != me) {
            self.bump();
        }
        share
    }

    /// How many subscriptions this account turned out to be granted. Tells the hub at once what that
    /// leaves for all.
    pub(crate) fn set_budget(&self, me: FeedId, granted: usize, hub: &Hub) {
        let mut plan = self.lock();
        let Some(member) = plan.member(me.0 as usize) else { return };
        member.set_granted(granted);
        hub.set_budget(plan.budget(Instant::now()));
    }

    /// Moves when another share may have changed than the one that was asked for.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Whether nothing but a person's act brings this account's token back.
    pub(crate) fn set_blocked(&self, me: FeedId, blocked: bool) {
        if let Some(member) = self.lock().member(me.0 as usize) {
            member.set_blocked(blocked);
        }
        self.review();
    }

    /// Whether this account's feed is live.
    pub(crate) fn set_live(&self, me: FeedId, live: bool) {
        if let Some(member) = self.lock().member(me.0 as usize) {
            member.set_live(live, Instant::now());
        }
        self.review();
    }

    /// This account has no slot for a part of the instrument. `true`: another takes it over, or has
    /// done so.
    pub(crate) fn has_no_room(&self, me: FeedId, instrument: InstrumentId) -> bool {
        let mut plan = self.lock();
        let me = me.0 as usize;
        if plan.is_of_one() {
            return false;
        }
        if plan.owner(instrument) != Some(me) {
            return true;
        }
        let passes = plan.has_no_room(me, instrument, Instant::now());
        drop(plan);
        if passes {
            self.bump();
        }
        passes
    }

    /// Whether it is another account's by now: what this one has to say of it is of no interest.
    pub(crate) fn is_anothers(&self, me: FeedId, instrument: InstrumentId) -> bool {
        self.lock().owner(instrument).is_some_and(|owner| owner != me.0 as usize)
    }

    /// Lets sessions plan anew if an account has become able or unable to serve since.
    pub(crate) fn review(&self) {
        if self.lock().has_changed(Instant::now()) {
            self.bump();
        }
    }

    fn bump(&self) {
        self.revision.send_modify(|revision| *revision += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        // Nothing panics while it is held.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
