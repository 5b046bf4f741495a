//! The plan itself: which account has which instrument, and why one moves. Pure: time is passed in,
//! and no hub is told; no lock either.
//!
//! Each new plan looks at every wanted instrument once, and for each that needs an account at every
//! account once: with many thousands of instruments it is made while others wait for it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::market::{InstrumentId, Kind, KindSet};

/// How long a feed may be down before others take its instruments over.
const TAKEOVER_AFTER: Duration = Duration::from_mins(1);

/// An account said that it has no slot for an instrument.
#[derive(Clone, Copy, Debug)]
struct Full {
    /// Slots its other instruments took then; it holds good until they take fewer.
    beside: usize,
    /// The plan says so too. Else the account has fewer slots than the plan knows of.
    is_explained: bool,
}

#[derive(Debug)]
pub(super) struct Member {
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
    full: HashMap<InstrumentId, Full>,
    /// How many of those the plan cannot explain: it has less room than the plan thinks.
    unexplained: usize,
    /// Slots that its instruments take, or would if it had them.
    load: usize,
    /// Its instruments that take one slot.
    singles: usize,
}

impl Member {
    fn new(capacity: usize, now: Instant) -> Self {
        Self {
            capacity,
            granted: usize::MAX,
            blocked: false,
            down_since: Some(now),
            was_able: true,
            full: HashMap::new(),
            unexplained: 0,
            load: 0,
            singles: 0,
        }
    }

    fn slots(&self) -> usize {
        self.capacity.min(self.granted)
    }

    fn room(&self) -> i64 {
        self.slots() as i64 - self.load as i64
    }

    fn is_able(&self, now: Instant) -> bool {
        !self.blocked && self.down_since.is_none_or(|since| now.duration_since(since) < TAKEOVER_AFTER)
    }

    pub(super) fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
    }

    pub(super) fn set_live(&mut self, live: bool, now: Instant) {
        self.down_since = if live { None } else { self.down_since.or(Some(now)) };
    }

    pub(super) fn set_granted(&mut self, granted: usize) {
        let before = self.slots();
        self.granted = granted;
        if self.slots() > before {
            self.full.clear();
            self.unexplained = 0;
        }
    }
}

#[derive(Debug)]
pub(super) struct Plan {
    members: Vec<Member>,
    owners: HashMap<InstrumentId, usize>,
    /// Subscriptions each wanted instrument takes: one for its prices, one for its bars.
    weights: HashMap<InstrumentId, usize>,
}

impl Plan {
    pub(super) fn new(capacities: &[usize], now: Instant) -> Self {
        let members = capacities.iter().map(|capacity| Member::new(*capacity, now)).collect();
        Self { members, owners: HashMap::new(), weights: HashMap::new() }
    }

    pub(super) fn member(&mut self, at: usize) -> Option<&mut Member> {
        self.members.get_mut(at)
    }

    /// Whether there is nothing to choose.
    pub(super) fn is_of_one(&self) -> bool {
        self.members.len() < 2
    }

    pub(super) fn owner(&self, instrument: InstrumentId) -> Option<usize> {
        self.owners.get(&instrument).copied()
    }

    /// What the accounts that can serve are granted together; where none can, what all are: that a
    /// feed is down is no lack of room.
    pub(super) fn budget(&self, now: Instant) -> usize {
        let able = || self.members.iter().filter(|member| member.is_able(now));
        let all = || self.members.iter().map(Member::slots).sum();
        if able().next().is_some() { able().map(Member::slots).sum() } else { all() }
    }

    /// Whether an account has become able or unable to serve since the last call.
    pub(super) fn has_changed(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for member in &mut self.members {
            let able = member.is_able(now);
            changed |= able != member.was_able;
            member.was_able = able;
        }
        changed
    }

    /// Notes that an account has no slot for its instrument. `true`: the next plan gives it to another.
    pub(super) fn has_no_room(&mut self, me: usize, instrument: InstrumentId, now: Instant) -> bool {
        let weight = self.weight(instrument);
        let Some(member) = self.members.get_mut(me) else { return false };
        let full = Full { beside: member.load - weight, is_explained: member.room() < 0 };
        let former = member.full.insert(instrument, full);
        member.unexplained -= usize::from(former.is_some_and(|former| !former.is_explained));
        member.unexplained += usize::from(!full.is_explained);
        self.best(instrument, now).is_some()
    }

    /// Gives every wanted instrument an account; returns those whose account is another now.
    pub(super) fn renew(
        &mut self,
        wanted: &[(InstrumentId, KindSet)],
        now: Instant,
    ) -> BTreeMap<InstrumentId, usize> {
        let weights = wanted.iter().map(|(instrument, kinds)| (*instrument, weight(*kinds))).collect();
        let before = std::mem::replace(&mut self.weights, weights);
        let has_grown = |plan: &Self, instrument| {
            before.get(&instrument).is_some_and(|before| *before < plan.weight(instrument))
        };
        self.take_stock();
        let mut restless: Vec<_> = self
            .weights
            .keys()
            .copied()
            .filter(|instrument| self.needs_owner(*instrument, has_grown(self, *instrument), now))
            .collect();
        // The same plan for the same wishes, whatever order the hub names them in.
        restless.sort_unstable();
        let mut moved = BTreeMap::new();
        let mut may_swap = true;
        for instrument in restless {
            if !self.needs_owner(instrument, has_grown(self, instrument), now) {
                // Others have made room where it is.
                continue;
            }
            let former = self.take(instrument);
            let owner = self
                .best(instrument, now)
                .or_else(|| self.swap(instrument, former, &mut may_swap, &mut moved, now))
                // Nobody can serve it now: it waits where it was.
                .or(former)
                .unwrap_or_else(|| self.least_bad(now));
            self.give(instrument, owner);
            if former != Some(owner) {
                moved.insert(instrument, owner);
            }
        }
        moved
    }

    /// Counts anew what each account has, and forgets what is wanted no more.
    fn take_stock(&mut self) {
        let Self { members, owners, weights } = self;
        owners.retain(|instrument, _| weights.contains_key(instrument));
        for member in members.iter_mut() {
            (member.load, member.singles) = (0, 0);
        }
        for (instrument, owner) in owners.iter() {
            let weight = weights[instrument];
            members[*owner].load += weight;
            members[*owner].singles += usize::from(weight == 1);
        }
        for (at, member) in members.iter_mut().enumerate() {
            let load = member.load;
            member.full.retain(|instrument, full| {
                let own = if owners.get(instrument) == Some(&at) { weights[instrument] } else { 0 };
                weights.contains_key(instrument) && load - own >= full.beside
            });
            member.unexplained = member.full.values().filter(|full| !full.is_explained).count();
        }
    }

    fn weight(&self, instrument: InstrumentId) -> usize {
        self.weights.get(&instrument).copied().unwrap_or(1)
    }

    fn give(&mut self, instrument: InstrumentId, to: usize) {
        let weight = self.weight(instrument);
        self.owners.insert(instrument, to);
        self.members[to].load += weight;
        self.members[to].singles += usize::from(weight == 1);
    }

    fn take(&mut self, instrument: InstrumentId) -> Option<usize> {
        let former = self.owners.remove(&instrument)?;
        let weight = self.weight(instrument);
        self.members[former].load -= weight;
        self.members[former].singles -= usize::from(weight == 1);
        Some(former)
    }

    /// Whether an instrument has no account, one that cannot serve, or one without room for it. What
    /// was there before stays: only what has grown, or was said to have no slot, is without room.
    fn needs_owner(&self, instrument: InstrumentId, has_grown: bool, now: Instant) -> bool {
        let Some(owner) = self.owner(instrument) else { return true };
        let owner = &self.members[owner];
        !owner.is_able(now) || owner.full.contains_key(&instrument) || (has_grown && owner.room() < 0)
    }

    /// The able account with the most room, if that is enough for an instrument beside all that it
    /// has; of equals the first.
    fn best(&self, instrument: InstrumentId, now: Instant) -> Option<usize> {
        let needed = self.weight(instrument) as i64;
        (0..self.members.len())
            .filter(|at| {
                let member = &self.members[*at];
                member.is_able(now) && member.room() >= needed && !member.full.contains_key(&instrument)
            })
            .max_by_key(|at| (self.members[*at].room(), std::cmp::Reverse(*at)))
    }

    /// Where an instrument without an account waits while nobody has room for it.
    fn least_bad(&self, now: Instant) -> usize {
        let rank =
            |at: &usize| (self.members[*at].is_able(now), self.members[*at].room(), std::cmp::Reverse(*at));
        (0..self.members.len()).max_by_key(rank).unwrap_or(0)
    }

    /// An instrument of one slot that one account has and another can take.
    fn single(&self, from: usize, to: usize) -> Option<InstrumentId> {
        let full = &self.members[to].full;
        let can_go =
            |instrument: &InstrumentId| self.weight(*instrument) == 1 && !full.contains_key(instrument);
        let own = self.owners.iter().filter(|(_, owner)| **owner == from).map(|(instrument, _)| *instrument);
        own.filter(can_go).min()
    }

    /// Makes one whole place of two halves: prices and bars of an instrument stay together, so where
    /// two accounts have one slot each, an instrument of one slot moves from one to the other.
    /// Returns the account that has room then.
    fn swap(
        &mut self,
        instrument: InstrumentId,
        former: Option<usize>,
        may_swap: &mut bool,
        moved: &mut BTreeMap<InstrumentId, usize>,
        now: Instant,
    ) -> Option<usize> {
        let needed = self.weight(instrument) as i64;
        if needed < 2 || !*may_swap {
            return None;
        }
        let is_sound = |at: &usize| self.members[*at].is_able(now) && self.members[*at].unexplained == 0;
        let lacks_one = |at: &usize| self.members[*at].room() + 1 == needed && self.members[*at].singles > 0;
        // Where it was comes first: then it does not move itself.
        let all = former.into_iter().chain(0..self.members.len());
        let takes_one = |at: &usize| is_sound(at) && self.members[*at].room() >= 1;
        let mut pairs = all.filter(|at| is_sound(at) && lacks_one(at)).flat_map(|from| {
            let others = (0..self.members.len()).filter(move |to| *to != from);
            others.filter(takes_one).map(move |to| (from, to))
        });
        let found = pairs.find_map(|(from, to)| {
            // Searched for among all: once there is none for any pair, there is none.
            *may_swap = false;
            Some((self.single(from, to)?, from, to))
        });
        let (single, from, to) = found?;
        *may_swap = true;
        self.take(single);
        self.give(single, to);
        moved.insert(single, to);
        Some(from)
    }
}

/// Open interest counts for nothing: it gives way.
fn weight(kinds: KindSet) -> usize {
    usize::from(kinds.iter().any(Kind::is_main)) + usize::from(kinds.contains(Kind::Bar))
}
