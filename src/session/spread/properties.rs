//! Whatever is wanted, and whatever becomes of the accounts: the plan's promises hold.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::plan::Plan;
use crate::market::{InstrumentId, Kind, KindSet, Segment};

const ACCOUNTS: usize = 3;
const INSTRUMENTS: usize = 24;

/// What happens to the plan.
#[derive(Clone, Debug)]
enum Event {
    /// What consumers want from now on: nothing, prices, or prices and bars of each instrument.
    Want(Vec<u8>),
    Blocked(usize, bool),
    Live(usize, bool),
    Granted(usize, usize),
    /// An account finds no slot for an instrument that it has.
    NoRoom(usize),
    Advance(u64),
}

fn event(most: u8) -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => proptest::collection::vec(0..=most, INSTRUMENTS).prop_map(Event::Want),
        1 => (0..ACCOUNTS, any::<bool>()).prop_map(|(at, is)| Event::Blocked(at, is)),
        1 => (0..ACCOUNTS, any::<bool>()).prop_map(|(at, is)| Event::Live(at, is)),
        1 => (0..ACCOUNTS, 0_usize..20).prop_map(|(at, granted)| Event::Granted(at, granted)),
        2 => (0..INSTRUMENTS).prop_map(Event::NoRoom),
        1 => prop_oneof![1_u64..30, 60_u64..90].prop_map(Event::Advance),
    ]
}

fn id(code: usize) -> InstrumentId {
    InstrumentId { segment: Segment::NseCash, code: code as u32 }
}

/// So many slots of each instrument, as the hub would say it.
fn wanted(slots: &[u8]) -> Vec<(InstrumentId, KindSet)> {
    let kinds = |slots| match slots {
        1 => KindSet::EMPTY.with(Kind::Quote),
        _ => KindSet::EMPTY.with(Kind::Depth).with(Kind::Bar),
    };
    slots
        .iter()
        .enumerate()
        .filter(|(_, slots)| **slots > 0)
        .map(|(code, slots)| (id(code), kinds(*slots)))
        .collect()
}

/// What is so of an account, kept apart from the plan.
#[derive(Clone, Debug)]
struct Account {
    slots: usize,
    blocked: bool,
    down_since: Option<Instant>,
}

impl Account {
    fn is_able(&self, now: Instant) -> bool {
        !self.blocked && self.down_since.is_none_or(|since| now - since < Duration::from_mins(1))
    }
}

struct World {
    plan: Plan,
    now: Instant,
    capacities: [usize; ACCOUNTS],
    accounts: Vec<Account>,
    wanted: Vec<u8>,
}

impl World {
    fn new(capacities: [usize; ACCOUNTS]) -> Self {
        let now = Instant::now();
        let account = |slots: &usize| Account { slots: *slots, blocked: false, down_since: None };
        let accounts = capacities.iter().map(account).collect();
        let mut plan = Plan::new(&capacities, now);
        for at in 0..ACCOUNTS {
            plan.member(at).unwrap().set_live(true, now);
        }
        Self { plan, now, capacities, accounts, wanted: vec![0; INSTRUMENTS] }
    }

    fn owners(&self) -> BTreeMap<usize, usize> {
        (0..INSTRUMENTS).filter_map(|code| Some((code, self.plan.owner(id(code))?))).collect()
    }

    fn load(&self, owners: &BTreeMap<usize, usize>, at: usize) -> usize {
        owners
            .iter()
            .filter(|(_, owner)| **owner == at)
            .map(|(code, _)| usize::from(self.wanted[*code]))
            .sum()
    }

    /// `true`: the plan has promised that the instrument moves.
    fn apply(&mut self, event: &Event) -> bool {
        match *event {
            Event::Want(ref slots) => self.wanted.clone_from(slots),
            Event::Blocked(at, is) => {
                self.accounts[at].blocked = is;
                self.plan.member(at).unwrap().set_blocked(is);
            }
            Event::Live(at, is) => {
                let account = &mut self.accounts[at];
                account.down_since = if is { None } else { account.down_since.or(Some(self.now)) };
                self.plan.member(at).unwrap().set_live(is, self.now);
            }
            Event::Granted(at, granted) => {
                self.accounts[at].slots = granted.min(self.capacities[at]);
                self.plan.member(at).unwrap().set_granted(granted);
            }
            Event::NoRoom(code) => {
                if let Some(owner) = self.plan.owner(id(code)) {
                    return self.plan.has_no_room(owner, id(code), self.now);
                }
            }
            Event::Advance(seconds) => self.now += Duration::from_secs(seconds),
        }
        false
    }

    fn renew(&mut self) -> BTreeMap<InstrumentId, usize> {
        let mut wanted = wanted(&self.wanted);
        // The order in which the hub names them says nothing.
        wanted.reverse();
        self.plan.renew(&wanted, self.now)
    }
}

/// The plan as it would be made without keeping count of anything: every account's load is added up
/// anew for every instrument. Where nothing has grown and nobody has said that there is no room, the
/// plan must be this one.
fn by_hand(
    former: &HashMap<usize, usize>,
    wanted: &[u8],
    accounts: &[Account],
    now: Instant,
) -> BTreeMap<usize, usize> {
    let mut owners: BTreeMap<usize, usize> =
        former.iter().filter(|(code, _)| wanted[**code] > 0).map(|(code, owner)| (*code, *owner)).collect();
    for code in (0..wanted.len()).filter(|code| wanted[*code] > 0) {
        if owners.get(&code).is_some_and(|owner| accounts[*owner].is_able(now)) {
            continue;
        }
        let former = owners.remove(&code);
        let room = |at: usize| {
            let load: usize = owners
                .iter()
                .filter(|(_, owner)| **owner == at)
                .map(|(code, _)| usize::from(wanted[*code]))
                .sum();
            accounts[at].slots as i64 - load as i64
        };
        let rank = |at: &usize| (accounts[*at].is_able(now), room(*at), std::cmp::Reverse(*at));
        let fits = |at: &usize| accounts[*at].is_able(now) && room(*at) >= i64::from(wanted[code]);
        let owner = (0..accounts.len())
            .filter(fits)
            .max_by_key(rank)
            .or(former)
            .or_else(|| (0..accounts.len()).max_by_key(rank))
            .unwrap();
        owners.insert(code, owner);
    }
    owners
}

proptest! {
    #[test]
    fn with_prices_alone_it_is_the_plan_made_by_hand(
        capacities in prop::array::uniform3(0_usize..14),
        events in proptest::collection::vec(event(1), 1..20),
    ) {
        let mut world = World::new(capacities);
        for event in events.iter().filter(|event| !matches!(event, Event::NoRoom(_))) {
            world.apply(event);
            let former = world.owners().into_iter().collect();
            world.renew();
            prop_assert_eq!(world.owners(), by_hand(&former, &world.wanted, &world.accounts, world.now));
        }
    }

    #[test]
    fn each_has_one_account_and_moves_only_for_a_reason(
        capacities in prop::array::uniform3(0_usize..20),
        events in proptest::collection::vec(event(2), 1..30),
    ) {
        let mut world = World::new(capacities);
        for event in &events {
            let before = world.owners();
            let promised = world.apply(event);
            let moved = world.renew();
            let after = world.owners();
            let wanted: Vec<_> = (0..INSTRUMENTS).filter(|code| world.wanted[*code] > 0).collect();
            prop_assert_eq!(after.keys().copied().collect::<Vec<_>>(), wanted.clone());
            for code in wanted {
                let said = moved.get(&id(code)).copied();
                let differs = before.get(&code) != Some(&after[&code]);
                prop_assert_eq!(said, differs.then_some(after[&code]), "what has moved is said, and no more");
            }
            if let (true, Event::NoRoom(code)) = (promised, event) {
                prop_assert!(moved.contains_key(&id(*code)), "whoever was promised another account has one");
            }
            // Nobody comes from elsewhere to where there is no room. (What nobody had waits somewhere.)
            let known: BTreeMap<_, _> =
                after.iter().filter(|(code, _)| before.contains_key(*code)).map(|(c, o)| (*c, *o)).collect();
            for at in 0..ACCOUNTS {
                let most = world.accounts[at].slots.max(world.load(&before, at));
                prop_assert!(world.load(&known, at) <= most);
            }
            // Where nothing happens, it comes to rest: what makes room may let another in.
            let rounds = (0..INSTRUMENTS).find(|_| world.renew().is_empty());
            prop_assert!(rounds.is_some());
        }
    }

    /// As far as the slots go, everybody has one, though prices and bars stay together.
    #[test]
    fn no_two_slots_stay_unused_while_bars_wait(
        capacities in prop::array::uniform3(0_usize..16),
        prices in proptest::collection::vec(0_u8..=1, INSTRUMENTS),
        bars in proptest::collection::vec(0..INSTRUMENTS, 0..12),
    ) {
        let mut world = World::new(capacities);
        world.apply(&Event::Want(prices));
        world.renew();
        // One after the other, as far as the hub would let them.
        let total: usize = capacities.iter().sum();
        for code in bars {
            let mut next = world.wanted.clone();
            next[code] = 2;
            if next.iter().map(|slots| usize::from(*slots)).sum::<usize>() > total {
                continue;
            }
            world.apply(&Event::Want(next));
            world.renew();
        }
        let owners = world.owners();
        let room: Vec<_> =
            (0..ACCOUNTS).map(|at| capacities[at] as i64 - world.load(&owners, at) as i64).collect();
        let all: usize = world.wanted.iter().map(|slots| usize::from(*slots)).sum();
        let has_single = |at: usize| owners.iter().any(|(code, owner)| *owner == at && world.wanted[*code] == 1);
        if all <= total && room.iter().any(|room| *room < 0) {
            // What is left over is halves that no price can bring together.
            let halves: Vec<_> = (0..ACCOUNTS).filter(|at| room[*at] > 0).collect();
            prop_assert!(halves.iter().all(|at| room[*at] == 1 && !has_single(*at)), "{:?} {:?}", room, owners);
        }
    }
}

/// Not by a stopwatch: a plan that looked at every instrument for every instrument would take hours.
#[test]
fn a_hundred_thousand_instruments_are_planned() {
    let now = Instant::now();
    let mut plan = Plan::new(&[60_000, 60_000, 60_000], now);
    for at in 0..3 {
        plan.member(at).unwrap().set_live(true, now);
    }
    let all = wanted(&vec![1; 100_000]);
    assert_eq!(plan.renew(&all, now).len(), 100_000);
    plan.member(0).unwrap().set_blocked(true);
    let moved = plan.renew(&all, now);
    assert!(moved.len() > 30_000 && moved.values().all(|owner| *owner != 0));
    let bars = wanted(&vec![2; 100_000]);
    plan.renew(&bars, now);
    for (instrument, _) in &bars {
        let owner = plan.owner(*instrument).unwrap();
        plan.has_no_room(owner, *instrument, now);
    }
    plan.renew(&bars, now);
}
