//! Which subscription request to send next: the difference between what consumers want and
//! what the broker confirmed, within the broker's limits. Pure: no I/O, time is passed in.
//! Not the sender: `stream_actor` sends one request at a time and reports how it went.
//!
//! Facts this rests on (XTS market-data API; what public client programs report of live servers):
//! subscriptions belong to the token, not to the socket; one (instrument, code) pair counts
//! one against the key's limit; a batch that holds one subscribed instrument is refused whole.
//! An instrument holds exactly one of Quote (1501) and Depth (1502), which yields quotes too.
//!
//! The file is whole although it is long: every rule here reads the same few tables, and the
//! order in which `next_step` applies them is the point.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use crate::broker::{Limits, Subscribed};
use crate::market::{InstrumentId, Kind, KindSet};

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Asks for data.
    Subscribe,
    /// Ends it.
    Unsubscribe,
}

/// One request: one operation, one kind, at most `per_request` instruments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub operation: Operation,
    /// With which kind.
    pub kind: Kind,
    /// For which instruments; never empty.
    pub instruments: Vec<InstrumentId>,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this, then report it.
    Send(Request),
    /// Nothing before that time.
    WaitUntil(Duration),
    /// Nothing until something changes.
    Settled,
}

/// Why a whole request failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No room at the broker; the limit if it named one.
    Limit(Option<usize>),
    /// Refused for another reason, in the broker's words.
    Refused(String),
}

/// What consumers must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// No data will come for the instrument.
    Rejected(InstrumentId, String),
    /// That is over.
    Cleared(InstrumentId),
    /// No bars will come for the instrument, whatever becomes of its prices.
    BarsRejected(InstrumentId, String),
    /// That is over.
    BarsCleared(InstrumentId),
}

/// Numbers for the status. They count instruments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Wanted by consumers.
    pub wanted: usize,
    /// Wanted, and confirmed by the broker.
    pub confirmed: usize,
    /// Wanted, but refused or out of budget.
    pub rejected: usize,
}

/// What is known of one (instrument, kind) pair at the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    No,
    Yes,
    /// A process before us may have subscribed it, or a request of ours that was not answered.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Want {
    kinds: KindSet,
    /// Whoever came first is served first when there is not room for all.
    order: u64,
}

type Pair = (InstrumentId, Kind);

/// The plan's memory.
#[derive(Debug)]
pub struct Subscriptions {
    limits: Limits,
    linger: Duration,
    wanted: BTreeMap<InstrumentId, Want>,
    next_order: u64,
    held: BTreeMap<Pair, Held>,
    /// What a pair counts as that `held` does not name.
    unnamed: Held,
    unwanted_since: BTreeMap<Pair, Duration>,
    refused: BTreeMap<Pair, String>,
    out_of_budget: BTreeSet<InstrumentId>,
    told: BTreeSet<InstrumentId>,
    bars_out_of_budget: BTreeSet<InstrumentId>,
    bars_told: BTreeSet<InstrumentId>,
    /// Pairs the broker turned out to grant, if fewer than configured.
    learned_budget: Option<usize>,
    /// Batches are made smaller to find what a refused batch failed for.
    batch_cap: usize,
    changes: Vec<Change>,
    /// What was asked for and is not answered yet.
    under_way: Vec<InstrumentId>,
}

impl Subscriptions {
    /// A plan that knows of nothing held. Subscriptions are kept for `linger` after the last
    /// consumer left, so that a page reload costs no request.
    pub fn new(limits: Limits, linger: Duration) -> Self {
        Self {
            limits,
            linger,
            wanted: BTreeMap::new(),
            next_order: 0,
            held: BTreeMap::new(),
            unnamed: Held::No,
            unwanted_since: BTreeMap::new(),
            refused: BTreeMap::new(),
            out_of_budget: BTreeSet::new(),
            told: BTreeSet::new(),
            bars_out_of_budget: BTreeSet::new(),
            bars_told: BTreeSet::new(),
            learned_budget: None,
            batch_cap: limits.per_request.max(1),
            changes: Vec::new(),
            under_way: Vec::new(),
        }
    }

    /// Takes over what consumers want now, as a whole.
    pub fn set_wanted(&mut self, wanted: &[(InstrumentId, KindSet)], now: Duration) {
        let mut next = BTreeMap::new();
        for &(instrument, kinds) in wanted {
            if kinds.is_empty() {
                continue;
            }
            let order = self.wanted.get(&instrument).map_or_else(
                || {
                    self.next_order += 1;
                    self.next_order
                },
                |want| want.order,
            );
            next.insert(instrument, Want { kinds, order });
        }
        let has_main = |want: &Want| want.kinds.iter().any(Kind::is_main);
        self.out_of_budget.retain(|i| next.get(i).is_some_and(has_main));
        self.bars_out_of_budget.retain(|i| next.get(i).is_some_and(|want| want.kinds.contains(Kind::Bar)));
        self.wanted = next;
        // What was refused is asked for again only after it was given up in between.
        let wanted = &self.wanted;
        self.refused.retain(|(instrument, kind), _| {
            let asks = |want: &Want| {
                if kind.is_main() { has_main(want) } else { want.kinds.contains(*kind) }
            };
            wanted.get(instrument).is_some_and(asks)
        });
        self.stamp_unwanted(now);
        self.update_told();
    }

    /// A new token: the broker holds nothing for it (`clean`), or a process before us may have
    /// used it and what it left is unknown.
    pub fn new_epoch(&mut self, clean: bool) {
        self.under_way.clear();
        self.held.clear();
        self.unnamed = if clean { Held::No } else { Held::Unknown };
        self.unwanted_since.clear();
        self.refused.clear();
        self.out_of_budget.clear();
        self.bars_out_of_budget.clear();
        self.learned_budget = None;
        self.batch_cap = self.limits.per_request.max(1);
        self.update_told();
    }

    /// Data stays away although it should flow: nothing that was confirmed counts any more,
    /// all of it is subscribed afresh.
    pub fn doubt(&mut self) {
        for held in self.held.values_mut().filter(|held| **held == Held::Yes) {
            *held = Held::Unknown;
        }
        self.unwanted_since.clear();
    }

    /// The next thing to do.
    pub fn next_step(&mut self, now: Duration) -> Step {
        let step = self.choose(now);
        self.under_way.clear();
        if let Step::Send(Request { operation: Operation::Subscribe, instruments, .. }) = &step {
            self.under_way.extend_from_slice(instruments);
        }
        step
    }

    fn choose(&mut self, now: Duration) -> Step {
        self.stamp_unwanted(now);
        let order = self.by_order();
        let room = self.budget().saturating_sub(self.used());
        let missing = self.missing_mains(&order, room, now);

        // A pair of unknown state is ended before it is subscribed: subscribing it twice
        // refuses the whole batch and brings no snapshot.
        let unknown = missing.iter().copied().filter(|pair| self.state(*pair) == Held::Unknown);
        if let Some(request) = self.batch(Operation::Unsubscribe, unknown, usize::MAX) {
            return Step::Send(request);
        }
        if !missing.is_empty() {
            if room > 0 {
                if let Some(request) = self.batch(Operation::Subscribe, missing.iter().copied(), room) {
                    return Step::Send(request);
                }
            } else if let Some(request) = self.make_room(&missing) {
                return Step::Send(request);
            }
        }
        self.mark_out_of_budget(&missing);
        if let Some(request) = self.next_for_bars(&order, missing.is_empty(), room) {
            return Step::Send(request);
        }

        let due = self.surplus().into_iter().filter(|pair| self.drop_at(*pair) <= now);
        if let Some(request) = self.batch(Operation::Unsubscribe, due, usize::MAX) {
            return Step::Send(request);
        }
        if missing.is_empty() && room > 0 {
            let interest = order
                .iter()
                .map(|instrument| (*instrument, Kind::OpenInterest))
                .filter(|pair| self.is_target(*pair) && !self.refused.contains_key(pair))
                .collect::<Vec<_>>();
            let unknown = interest.iter().copied().filter(|pair| self.state(*pair) == Held::Unknown);
            if let Some(request) = self.batch(Operation::Unsubscribe, unknown, usize::MAX) {
                return Step::Send(request);
            }
            let absent = interest.iter().copied().filter(|pair| self.state(*pair) == Held::No);
            if let Some(request) = self.batch(Operation::Subscribe, absent, room) {
                return Step::Send(request);
            }
        }
        let leftovers = self.leftovers(&order);
        if let Some(request) = self.batch(Operation::Unsubscribe, leftovers.into_iter(), usize::MAX) {
            return Step::Send(request);
        }
        self.surplus()
            .into_iter()
            .map(|pair| self.drop_at(pair))
            .chain(order.iter().filter_map(|instrument| self.downgrade_at(*instrument, room)))
            .filter(|at| *at > now)
            .min()
            .map_or(Step::Settled, Step::WaitUntil)
    }

    /// The next request for bars. They are wanted, unlike open interest: they wait for prices, take
    /// its slots, and whoever finds no room is told.
    fn next_for_bars(&mut self, order: &[InstrumentId], prices_done: bool, room: usize) -> Option<Request> {
        let mut missing: Vec<_> = order
            .iter()
            .map(|instrument| (*instrument, Kind::Bar))
            .filter(|pair| self.is_target(*pair) && !self.is_held(*pair) && !self.refused.contains_key(pair))
            .collect();
        // Nobody loses a slot to an instrument that never had one.
        missing.sort_by_key(|(instrument, _)| self.bars_out_of_budget.contains(instrument));
        let unknown = missing.iter().copied().filter(|pair| self.state(*pair) == Held::Unknown);
        if let Some(request) = self.batch(Operation::Unsubscribe, unknown, usize::MAX) {
            return Some(request);
        }
        if missing.is_empty() {
            return None;
        }
        let request = if room > 0 && prices_done {
            self.batch(Operation::Subscribe, missing.iter().copied(), room)
        } else {
            self.make_room(&missing)
        };
        if request.is_none() {
            let before = self.bars_out_of_budget.len();
            self.bars_out_of_budget.extend(missing.iter().map(|pair| pair.0));
            if self.bars_out_of_budget.len() != before {
                self.update_told();
            }
        }
        request
    }

    /// The broker answered a subscribe request.
    pub fn subscribed(&mut self, request: &Request, answer: &Subscribed, now: Duration) {
        self.under_way.clear();
        let confirmed: BTreeSet<_> = answer.confirmed.iter().copied().collect();
        let rejected: BTreeMap<_, _> = answer.rejected.iter().map(|(i, why)| (*i, why.as_str())).collect();
        for &instrument in &request.instruments {
            let pair = (instrument, request.kind);
            if confirmed.contains(&instrument) {
                self.held.insert(pair, Held::Yes);
                self.refused.remove(&pair);
                if request.kind == Kind::Bar {
                    self.bars_out_of_budget.remove(&instrument);
                } else {
                    self.out_of_budget.remove(&instrument);
                }
            } else {
                let why = rejected.get(&instrument).copied().unwrap_or("the broker did not acknowledge it");
                self.held.insert(pair, Held::No);
                self.refuse(pair, why);
            }
        }
        self.batch_cap = (self.batch_cap * 2).min(self.limits.per_request.max(1));
        self.stamp_unwanted(now);
        self.update_told();
    }

    /// The broker answered an unsubscribe request, or refused it for a reason other than its
    /// token: what it does not know is gone too.
    pub fn unsubscribed(&mut self, request: &Request) {
        for &instrument in &request.instruments {
            let pair = (instrument, request.kind);
            if self.state(pair) == Held::Unknown {
                // It may have used up a slot: how many there are is open again.
                self.learned_budget = None;
            }
            self.held.insert(pair, Held::No);
            self.unwanted_since.remove(&pair);
        }
        if self.unnamed == Held::No {
            self.held.retain(|_, held| *held != Held::No);
        }
        self.update_told();
    }

    /// A subscribe request was not answered: the broker may hold some of it. The next try is
    /// smaller, because an answer that takes a batch apart may just have taken too long.
    pub fn unanswered(&mut self, request: &Request) {
        self.under_way.clear();
        if request.operation == Operation::Subscribe {
            for &instrument in &request.instruments {
                self.held.insert((instrument, request.kind), Held::Unknown);
            }
            if request.instruments.len() > 1 {
                self.batch_cap = request.instruments.len() / 2;
            }
        }
        self.update_told();
    }

    /// A whole subscribe request was refused for good. Smaller batches find out why.
    pub fn refused(&mut self, request: &Request, failure: &Failure) {
        if request.operation == Operation::Unsubscribe {
            return self.unsubscribed(request);
        }
        self.under_way.clear();
        let clean = self.unnamed == Held::No;
        match failure {
            Failure::Limit(Some(limit)) if clean && *limit < self.budget() && *limit > self.used() => {
                self.learned_budget = Some(*limit);
            }
            _ if request.instruments.len() > 1 => self.batch_cap = request.instruments.len() / 2,
            Failure::Limit(_) => self.learned_budget = Some(self.used()),
            Failure::Refused(why) => {
                for &instrument in &request.instruments {
                    self.refuse((instrument, request.kind), why);
                }
                self.batch_cap = self.limits.per_request.max(1);
            }
        }
        self.update_told();
    }

    /// Numbers for the status.
    pub fn counts(&self) -> Counts {
        Counts {
            wanted: self.wanted.len(),
            confirmed: self.wanted.keys().filter(|i| self.is_served(**i)).count(),
            rejected: self.told.len()
                + self.bars_told.iter().filter(|i| self.main_kind(**i).is_none()).count(),
        }
    }

    /// What is confirmed, each instrument with the kind that carries its quotes.
    pub fn confirmed(&self) -> Vec<Pair> {
        let mut confirmed = BTreeMap::new();
        for (&(instrument, kind), held) in &self.held {
            if *held == Held::Yes && kind.is_main() {
                // Depth sorts after Quote and says more.
                confirmed.insert(instrument, kind);
            }
        }
        confirmed.into_iter().collect()
    }

    /// Instruments that the broker holds for us, or may, or is being asked for: what it sends of them was asked for.
    /// Not of one that it has refused.
    pub fn asked(&self) -> HashSet<InstrumentId> {
        let held = self.held.iter().filter(|(_, held)| **held != Held::No).map(|(pair, _)| pair.0);
        let may_be = |(instrument, want): &(&InstrumentId, &Want)| {
            want.kinds.iter().any(|kind| self.state((**instrument, kind)) != Held::No)
        };
        let wanted = self.wanted.iter().filter(may_be).map(|(instrument, _)| *instrument);
        wanted.chain(held).chain(self.under_way.iter().copied()).collect()
    }

    /// Whether there is no slot for an instrument.
    pub fn is_out_of_budget(&self, instrument: InstrumentId) -> bool {
        self.out_of_budget.contains(&instrument)
    }

    /// The same of its bars.
    pub fn are_bars_out_of_budget(&self, instrument: InstrumentId) -> bool {
        self.bars_out_of_budget.contains(&instrument)
    }

    /// What consumers must be told since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// A refusal was told to nobody: it is said again, as long as it is so.
    pub fn take_back(&mut self, refusal: &Change) {
        match refusal {
            Change::Rejected(instrument, _) => self.told.remove(instrument),
            Change::BarsRejected(instrument, _) => self.bars_told.remove(instrument),
            Change::Cleared(_) | Change::BarsCleared(_) => false,
        };
    }

    /// Those who want the refused kind are told even if another kind still serves them.
    fn refuse(&mut self, pair: Pair, why: &str) {
        self.refused.insert(pair, why.to_owned());
        if pair.1.is_main() && self.wanted.contains_key(&pair.0) && self.told.insert(pair.0) {
            self.changes.push(Change::Rejected(pair.0, why.to_owned()));
        }
    }

    fn state(&self, pair: Pair) -> Held {
        self.held.get(&pair).copied().unwrap_or(self.unnamed)
    }

    fn is_held(&self, pair: Pair) -> bool {
        self.state(pair) == Held::Yes
    }

    fn used(&self) -> usize {
        self.held.values().filter(|held| **held == Held::Yes).count()
    }

    /// Pairs that the broker grants, as far as is known.
    pub fn budget(&self) -> usize {
        self.learned_budget.map_or(self.limits.max_subscriptions, |b| b.min(self.limits.max_subscriptions))
    }

    fn by_order(&self) -> Vec<InstrumentId> {
        let mut order: Vec<_> = self.wanted.iter().map(|(id, want)| (want.order, *id)).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, id)| id).collect()
    }

    /// The kind that should carry the instrument's quotes.
    fn main_kind(&self, instrument: InstrumentId) -> Option<Kind> {
        let kinds = self.wanted.get(&instrument)?.kinds;
        if kinds.contains(Kind::Depth) {
            // An instrument without depth (an index) still has quotes for those who want them.
            let refused = self.refused.contains_key(&(instrument, Kind::Depth));
            Some(if refused { Kind::Quote } else { Kind::Depth })
        } else {
            kinds.contains(Kind::Quote).then_some(Kind::Quote)
        }
    }

    fn is_target(&self, (instrument, kind): Pair) -> bool {
        match kind {
            Kind::OpenInterest | Kind::Bar => {
                self.wanted.get(&instrument).is_some_and(|want| want.kinds.contains(kind))
            }
            Kind::Quote | Kind::Depth => self.main_kind(instrument) == Some(kind),
        }
    }

    /// When depth that nobody wants any more gives way to quotes; `None` if it does not.
    fn downgrade_at(&self, instrument: InstrumentId, room: usize) -> Option<Duration> {
        let depth = (instrument, Kind::Depth);
        let lingers = self.main_kind(instrument) == Some(Kind::Quote)
            && self.is_held(depth)
            && !self.is_held((instrument, Kind::Quote))
            && room > 0;
        let since = self.unwanted_since.get(&depth).filter(|_| lingers)?;
        Some(*since + self.linger)
    }

    /// Mains that must be subscribed now, first come first.
    fn missing_mains(&self, order: &[InstrumentId], room: usize, now: Duration) -> Vec<Pair> {
        let mut missing: Vec<_> = order
            .iter()
            .filter_map(|instrument| Some((*instrument, self.main_kind(*instrument)?)))
            .filter(|&(instrument, kind)| {
                if self.is_held((instrument, kind)) || self.refused.contains_key(&(instrument, kind)) {
                    return false;
                }
                // Depth carries quotes as well; without a spare slot nothing is gained.
                let carried = kind == Kind::Quote && self.is_held((instrument, Kind::Depth));
                !carried || self.downgrade_at(instrument, room).is_some_and(|at| at <= now)
            })
            .collect();
        // Nobody loses a slot to an instrument that never had one.
        missing.sort_by_key(|(instrument, _)| self.out_of_budget.contains(instrument));
        missing
    }

    /// Held pairs that serve nobody. A pair that carries an instrument until its new kind is
    /// confirmed is none of them.
    fn surplus(&self) -> Vec<Pair> {
        let mut surplus: Vec<_> = self
            .held
            .iter()
            .filter(|(_, held)| **held == Held::Yes)
            .map(|(pair, _)| *pair)
            .filter(|&pair| !self.is_target(pair))
            .filter(|&(instrument, kind)| {
                let waits = kind.is_main()
                    && self.main_kind(instrument).is_some_and(|main| {
                        !self.is_held((instrument, main)) && !self.refused.contains_key(&(instrument, main))
                    });
                !waits
            })
            .collect();
        surplus.sort_by_key(|pair| self.drop_at(*pair));
        surplus
    }

    /// When a surplus pair is dropped: at once if the instrument switched kinds, after the
    /// linger if nobody wants it.
    fn drop_at(&self, pair: Pair) -> Duration {
        let switched =
            pair.1.is_main() && self.main_kind(pair.0).is_some_and(|main| self.is_held((pair.0, main)));
        if switched {
            return Duration::ZERO;
        }
        self.unwanted_since.get(&pair).map_or(Duration::ZERO, |since| *since + self.linger)
    }

    /// Frees slots for instruments that have none: what nobody wants goes first, then open
    /// interest, last the old kind of an instrument that switches.
    fn make_room(&self, missing: &[Pair]) -> Option<Request> {
        let surplus = self.surplus();
        let interest: Vec<_> = self
            .held
            .iter()
            .filter(|((_, kind), held)| *kind == Kind::OpenInterest && **held == Held::Yes)
            .map(|(pair, _)| *pair)
            .collect();
        let switching: Vec<_> = missing
            .iter()
            .filter(|(_, kind)| *kind == Kind::Depth)
            .map(|(instrument, _)| (*instrument, Kind::Quote))
            .filter(|pair| self.is_held(*pair))
            .collect();
        [surplus, interest, switching]
            .into_iter()
            .find_map(|pairs| self.batch(Operation::Unsubscribe, pairs.into_iter(), missing.len()))
    }

    /// Pairs of unknown state that are not about to be subscribed: they use up slots unseen.
    fn leftovers(&self, order: &[InstrumentId]) -> Vec<Pair> {
        let named = self.held.iter().filter(|(_, held)| **held == Held::Unknown).map(|(pair, _)| *pair);
        let unnamed = order
            .iter()
            .filter(|_| self.unnamed == Held::Unknown)
            .flat_map(|instrument| Kind::ALL.map(|kind| (*instrument, kind)))
            .filter(|pair| pair.1 != Kind::OpenInterest || pair.0.segment.has_open_interest())
            .filter(|pair| !self.held.contains_key(pair));
        named.chain(unnamed).collect()
    }

    /// A request of the first pair's kind, with all that share it up to the limits.
    fn batch(
        &self,
        operation: Operation,
        pairs: impl Iterator<Item = Pair>,
        at_most: usize,
    ) -> Option<Request> {
        let cap = match operation {
            Operation::Subscribe => self.batch_cap,
            Operation::Unsubscribe => self.limits.per_request,
        };
        let mut pairs = pairs.peekable();
        let kind = pairs.peek()?.1;
        let instruments: Vec<_> =
            pairs.filter(|pair| pair.1 == kind).map(|pair| pair.0).take(cap.max(1).min(at_most)).collect();
        (!instruments.is_empty()).then_some(Request { operation, kind, instruments })
    }

    fn stamp_unwanted(&mut self, now: Duration) {
        let unwanted: BTreeSet<Pair> = self
            .held
            .iter()
            .filter(|(pair, held)| **held == Held::Yes && !self.is_target(**pair))
            .map(|(pair, _)| *pair)
            .collect();
        self.unwanted_since.retain(|pair, _| unwanted.contains(pair));
        for pair in unwanted {
            self.unwanted_since.entry(pair).or_insert(now);
        }
    }

    fn is_served(&self, instrument: InstrumentId) -> bool {
        let bars_alone = self.main_kind(instrument).is_none() && self.is_held((instrument, Kind::Bar));
        self.is_held((instrument, Kind::Quote)) || self.is_held((instrument, Kind::Depth)) || bars_alone
    }

    fn mark_out_of_budget(&mut self, missing: &[Pair]) {
        let before = self.out_of_budget.len();
        // A switch that finds no room leaves the instrument served by its old kind.
        let unserved: Vec<_> = missing.iter().map(|pair| pair.0).filter(|i| !self.is_served(*i)).collect();
        self.out_of_budget.extend(unserved);
        if self.out_of_budget.len() != before {
            self.update_told();
        }
    }

    /// Brings what consumers were told in line with what is so.
    fn update_told(&mut self) {
        let mut so = BTreeMap::new();
        for instrument in self.out_of_budget.iter().filter(|i| self.wanted.contains_key(i)) {
            let why = format!("the broker's limit of {} subscriptions is used up", self.budget());
            so.insert(*instrument, why);
        }
        for ((instrument, kind), why) in &self.refused {
            // Open interest is an extra; without it everything else still flows.
            if kind.is_main() && !self.is_served(*instrument) {
                so.insert(*instrument, why.clone());
            }
        }
        let cleared: Vec<_> = self.told.iter().filter(|i| !so.contains_key(i)).copied().collect();
        for instrument in cleared {
            self.told.remove(&instrument);
            self.changes.push(Change::Cleared(instrument));
        }
        for (instrument, why) in so {
            if self.told.insert(instrument) {
                self.changes.push(Change::Rejected(instrument, why));
            }
        }
        self.update_bars_told();
    }

    fn update_bars_told(&mut self) {
        let refused = self.refused.iter().filter(|((_, kind), _)| *kind == Kind::Bar);
        let mut so: BTreeMap<_, _> = refused.map(|((i, _), why)| (*i, why.clone())).collect();
        for instrument in &self.bars_out_of_budget {
            let why = format!("the broker's limit of {} subscriptions is used up", self.budget());
            so.insert(*instrument, why);
        }
        let cleared: Vec<_> = self.bars_told.iter().filter(|i| !so.contains_key(i)).copied().collect();
        for instrument in cleared {
            self.bars_told.remove(&instrument);
            self.changes.push(Change::BarsCleared(instrument));
        }
        for (instrument, why) in so {
            if self.bars_told.insert(instrument) {
                self.changes.push(Change::BarsRejected(instrument, why));
            }
        }
    }
}

#[cfg(test)]
mod tests;
