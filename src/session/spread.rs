//! Which account carries which instrument, when there are several: by their subscription limits,
//! and away from an account that cannot serve. Pure but for the lock; no I/O.
//!
//! An instrument stays where it is as long as its account can serve it: moving costs requests and a
//! gap. Shared by all sessions, so that each sees the same plan.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::hub::{FeedId, Hub};
use crate::market::{InstrumentId, Kind, KindSet};

/// How long a feed may be down before others take its instruments over.
const TAKEOVER_AFTER: Duration = Duration::from_mins(1);

#[derive(Debug)]
struct Member {
    /// Subscriptions it may hold.
    capacity: usize,
    /// How many it turned out to be granted.
    granted: usize,
    /// Nothing but a person's act brings its token back.
    blocked: bool,
    /// Since when its feed is down; `None`: it is live.
    down_since: Option<Instant>,
    /// What `able` was when the plan was last made.
    was_able: bool,
    /// Instruments it turned out to have no room for.
    full: HashSet<InstrumentId>,
}

impl Member {
    fn slots(&self) -> usize {
        self.capacity.min(self.granted)
    }

    fn is_able(&self, now: Instant) -> bool {
        !self.blocked && self.down_since.is_none_or(|since| now.duration_since(since) < TAKEOVER_AFTER)
    }
}

#[derive(Debug)]
struct Inner {
    members: Vec<Member>,
    owners: HashMap<InstrumentId, usize>,
    /// Subscriptions each wanted instrument takes: one for its prices, one for its bars.
    weights: HashMap<InstrumentId, usize>,
}

/// The plan. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spread {
    inner: Arc<Mutex<Inner>>,
    revision: Arc<watch::Sender<u64>>,
}

impl Spread {
    /// A plan over accounts that may hold so many instruments each, in the order of their feeds'
    /// numbers.
    pub fn new(capacities: &[usize]) -> Self {
        let now = Instant::now();
        let member = |capacity: &usize| Member {
            capacity: *capacity,
            granted: usize::MAX,
            blocked: false,
            down_since: Some(now),
            was_able: true,
            full: HashSet::new(),
        };
        let members = capacities.iter().map(member).collect();
        Self {
            inner: Arc::new(Mutex::new(Inner { members, owners: HashMap::new(), weights: HashMap::new() })),
            revision: Arc::new(watch::Sender::new(0)),
        }
    }

    /// What this account's feed should hold of what is wanted. Tells the hub whose feed carries
    /// what.
    pub(crate) fn share(&self, me: FeedId, hub: &Hub) -> Vec<(InstrumentId, KindSet)> {
        let wanted = hub.wanted();
        let mut inner = self.lock();
        hub.set_budget(inner.budget(Instant::now()));
        if inner.members.len() < 2 {
            return wanted;
        }
        let moved = inner.plan(&wanted, Instant::now());
        for (&instrument, &owner) in &moved {
            hub.assign(instrument, FeedId(owner as u32));
        }
        let mine = |pair: &(InstrumentId, KindSet)| inner.owners.get(&pair.0) == Some(&(me.0 as usize));
        let share = wanted.into_iter().filter(mine).collect();
        drop(inner);
        if moved.values().any(|owner| *owner != me.0 as usize) {
            self.bump();
        }
        share
    }

    /// How many subscriptions this account turned out to be granted. Tells the hub at once what that
    /// leaves for all.
    pub(crate) fn set_budget(&self, me: FeedId, granted: usize, hub: &Hub) {
        let mut inner = self.lock();
        let Some(member) = inner.members.get_mut(me.0 as usize) else { return };
        member.granted = granted;
        hub.set_budget(inner.budget(Instant::now()));
    }

    /// Moves when another share may have changed than the one that was asked for.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Whether nothing but a person's act brings this account's token back.
    pub(crate) fn set_blocked(&self, me: FeedId, blocked: bool) {
        if let Some(member) = self.lock().members.get_mut(me.0 as usize) {
            member.blocked = blocked;
        }
        self.review();
    }

    /// Whether this account's feed is live.
    pub(crate) fn set_live(&self, me: FeedId, live: bool) {
        if let Some(member) = self.lock().members.get_mut(me.0 as usize) {
            member.down_since = if live { None } else { member.down_since.or_else(|| Some(Instant::now())) };
        }
        self.review();
    }

    /// This account has no slot for the instrument. `true`: another takes it over.
    pub(crate) fn has_no_room(&self, me: FeedId, instrument: InstrumentId) -> bool {
        let mut inner = self.lock();
        if inner.members.len() < 2 {
            return false;
        }
        let me = me.0 as usize;
        let Some(member) = inner.members.get_mut(me) else { return false };
        member.full.insert(instrument);
        if inner.owners.get(&instrument) != Some(&me) {
            return true;
        }
        if inner.best(instrument, Instant::now(), true).is_none() {
            return false;
        }
        inner.owners.remove(&instrument);
        drop(inner);
        self.bump();
        true
    }

    /// Lets sessions plan anew if an account has become able or unable to serve since.
    pub(crate) fn review(&self) {
        let now = Instant::now();
        let mut changed = false;
        for member in &mut self.lock().members {
            let able = member.is_able(now);
            changed |= able != member.was_able;
            member.was_able = able;
        }
        if changed {
            self.bump();
        }
    }

    fn bump(&self) {
        self.revision.send_modify(|revision| *revision += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What the accounts that can serve are granted together; where none can, what all are: that a
    /// feed is down is no lack of room.
    fn budget(&self, now: Instant) -> usize {
        let able = || self.members.iter().filter(|member| member.is_able(now));
        let all = || self.members.iter().map(Member::slots).sum();
        if able().next().is_some() { able().map(Member::slots).sum() } else { all() }
    }

    /// Gives every wanted instrument an owner; returns those whose owner is another now.
    fn plan(&mut self, wanted: &[(InstrumentId, KindSet)], now: Instant) -> HashMap<InstrumentId, usize> {
        let names: HashSet<_> = wanted.iter().map(|pair| pair.0).collect();
        self.weights = wanted.iter().map(|(instrument, kinds)| (*instrument, weight(*kinds))).collect();
        self.owners.retain(|instrument, _| names.contains(instrument));
        for member in &mut self.members {
            member.full.retain(|instrument| names.contains(instrument));
        }
        let mut homeless: Vec<_> =
            names.into_iter().filter(|instrument| self.needs_owner(*instrument, now)).collect();
        // The same plan for the same wishes, whatever order the hub names them in.
        homeless.sort_unstable();
        let mut moved = HashMap::new();
        for instrument in homeless {
            let former = self.owners.remove(&instrument);
            let owner = self
                .best(instrument, now, true)
                // Nobody can serve it now: it waits where it was.
                .or(former)
                .or_else(|| self.best(instrument, now, false))
                .unwrap_or(0);
            self.owners.insert(instrument, owner);
            if former != Some(owner) {
                moved.insert(instrument, owner);
            }
        }
        moved
    }

    fn needs_owner(&self, instrument: InstrumentId, now: Instant) -> bool {
        self.owners.get(&instrument).is_none_or(|owner| !self.members[*owner].is_able(now))
    }

    /// The able account with the most room; only one that has any, if `strictly`.
    fn best(&self, instrument: InstrumentId, now: Instant, strictly: bool) -> Option<usize> {
        let mut held = vec![0_usize; self.members.len()];
        let weight = |instrument| self.weights.get(instrument).copied().unwrap_or(1);
        for (instrument, owner) in &self.owners {
            held[*owner] += weight(instrument);
        }
        let needed = weight(&instrument) as i64;
        let room = |at: usize| self.members[at].slots() as i64 - held[at] as i64;
        (0..self.members.len())
            .filter(|at| !strictly || (self.members[*at].is_able(now) && room(*at) >= needed))
            .filter(|at| !strictly || !self.members[*at].full.contains(&instrument))
            // Of equals the first.
            .max_by_key(|at| (self.members[*at].is_able(now), room(*at), std::cmp::Reverse(*at)))
    }
}

/// Open interest counts for nothing: it gives way.
fn weight(kinds: KindSet) -> usize {
    usize::from(kinds.iter().any(Kind::is_main)) + usize::from(kinds.contains(Kind::Bar))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::hub::{Encoding, ShardQueue, TopicKey};
    use crate::market::{Exchange, Segment};
    use crate::protocol::Mode;

    const A: FeedId = FeedId(0);
    const B: FeedId = FeedId(1);

    fn want(hub: &Hub, shard: &ShardQueue, codes: std::ops::Range<u32>) {
        for code in codes {
            let instrument = InstrumentId { segment: Segment::NseCash, code };
            let symbol: Arc<str> = code.to_string().into();
            let key = TopicKey {
                instrument,
                mode: Mode::Ltp,
                encoding: Encoding::Json,
                exchange: Exchange::Nse,
                symbol,
            };
            hub.acquire(shard.id(), key);
        }
    }

    fn rig(capacities: &[usize]) -> (Hub, ShardQueue, Spread) {
        let hub = Hub::new("test");
        hub.set_feeds(capacities.len());
        let shard = hub.attach_shard();
        let spread = Spread::new(capacities);
        for feed in 0..capacities.len() {
            spread.set_live(FeedId(feed as u32), true);
        }
        (hub, shard, spread)
    }

    fn sizes(spread: &Spread, hub: &Hub) -> (usize, usize) {
        (spread.share(A, hub).len(), spread.share(B, hub).len())
    }

    #[tokio::test(start_paused = true)]
    async fn one_account_gets_everything_whatever_its_limit() {
        let (hub, shard, spread) = rig(&[2]);
        want(&hub, &shard, 0..5);
        assert_eq!(spread.share(A, &hub).len(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn the_hub_knows_what_all_accounts_have_room_for() {
        let (hub, shard, spread) = rig(&[2, 3]);
        let take = |code: u32| {
            let instrument = InstrumentId { segment: Segment::NseCash, code };
            let key = TopicKey {
                instrument,
                mode: Mode::Ltp,
                encoding: Encoding::Json,
                exchange: Exchange::Nse,
                symbol: code.to_string().into(),
            };
            hub.try_acquire(shard.id(), key).map_err(|none| none.budget)
        };
        sizes(&spread, &hub);
        let taken: Vec<_> = (0..5).map(|code| take(code).expect("there is room")).collect();
        assert_eq!(take(5), Err(5));
        assert_eq!(sizes(&spread, &hub), (2, 3));
        hub.release(taken[0]);
        assert!(take(5).is_ok());
        // One account turns out to have less, another cannot serve; then nobody can.
        spread.set_budget(B, 1, &hub);
        assert_eq!(take(6), Err(3));
        spread.set_blocked(A, true);
        sizes(&spread, &hub);
        assert_eq!(take(6), Err(1));
        spread.set_blocked(B, true);
        sizes(&spread, &hub);
        assert_eq!(take(6), Err(3), "that nobody can serve is no lack of room");
    }

    #[tokio::test(start_paused = true)]
    async fn instruments_are_spread_by_the_limits_and_stay_where_they_are() {
        let (hub, shard, spread) = rig(&[10, 30]);
        want(&hub, &shard, 0..40);
        assert_eq!(sizes(&spread, &hub), (10, 30));
        let before = spread.share(A, &hub);
        // One too many waits with somebody, who will say that there is no room.
        want(&hub, &shard, 40..41);
        let (a, b) = sizes(&spread, &hub);
        assert_eq!(a + b, 41);
        let after: HashSet<_> = spread.share(A, &hub).into_iter().map(|pair| pair.0).collect();
        assert!(before.iter().all(|pair| after.contains(&pair.0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_accounts_instruments_move_as_far_as_there_is_room_and_do_not_come_back() {
        let (hub, shard, spread) = rig(&[10, 15]);
        want(&hub, &shard, 0..20);
        let (a, b) = sizes(&spread, &hub);
        assert_eq!(a + b, 20);
        let mut changes = spread.changes();
        changes.mark_unchanged();
        spread.set_blocked(A, true);
        assert!(changes.has_changed().unwrap());
        assert_eq!(sizes(&spread, &hub), (5, 15));
        spread.set_blocked(A, false);
        assert_eq!(sizes(&spread, &hub), (5, 15));
        // Nobody able: all stay where they are.
        spread.set_blocked(A, true);
        spread.set_blocked(B, true);
        assert_eq!(sizes(&spread, &hub), (5, 15));
    }

    #[tokio::test(start_paused = true)]
    async fn a_feed_that_is_down_keeps_its_instruments_for_a_while() {
        let (hub, shard, spread) = rig(&[10, 10]);
        want(&hub, &shard, 0..10);
        assert_eq!(sizes(&spread, &hub), (5, 5));
        spread.set_live(A, false);
        tokio::time::advance(Duration::from_secs(59)).await;
        spread.review();
        assert_eq!(sizes(&spread, &hub), (5, 5));
        tokio::time::advance(Duration::from_secs(1)).await;
        let mut changes = spread.changes();
        spread.review();
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert_eq!(sizes(&spread, &hub), (0, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn who_turns_out_to_have_no_room_passes_the_instrument_on_once() {
        let (hub, shard, spread) = rig(&[10, 10]);
        want(&hub, &shard, 0..2);
        let instrument = spread.share(A, &hub)[0].0;
        assert!(spread.has_no_room(A, instrument));
        assert_eq!(sizes(&spread, &hub), (0, 2));
        assert!(!spread.has_no_room(B, instrument), "nobody is left");
        assert_eq!(sizes(&spread, &hub), (0, 2));
    }
}
