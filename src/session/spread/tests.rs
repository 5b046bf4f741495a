//! The spread over accounts, with a real hub.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::hub::{Encoding, ShardQueue, TopicId, TopicKey};
use crate::market::{Exchange, Kind, Segment};
use crate::protocol::Mode;

const A: FeedId = FeedId(0);
const B: FeedId = FeedId(1);

fn id(code: u32) -> InstrumentId {
    InstrumentId { segment: Segment::NseCash, code }
}

fn take(hub: &Hub, shard: &ShardQueue, code: u32, mode: Mode) -> TopicId {
    let symbol: Arc<str> = code.to_string().into();
    let key =
        TopicKey { instrument: id(code), mode, encoding: Encoding::Json, exchange: Exchange::Nse, symbol };
    hub.acquire(shard.id(), key)
}

fn want(hub: &Hub, shard: &ShardQueue, codes: std::ops::Range<u32>) {
    for code in codes {
        take(hub, shard, code, Mode::Ltp);
    }
}

fn codes(spread: &Spread, hub: &Hub, me: FeedId) -> HashSet<u32> {
    spread.share(me, hub).into_iter().map(|pair| pair.0.code).collect()
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
async fn places_are_made_whole_by_whatever_two_accounts_can() {
    let now = Instant::now();
    let mut plan = Plan::new(&[2, 4, 3], now);
    let prices = KindSet::EMPTY.with(Kind::Quote);
    let both = prices.with(Kind::Bar);
    let serve = |plan: &mut Plan, at: usize, serves: bool| {
        let member = plan.member(at).expect("it is there");
        member.set_live(true, now);
        member.set_blocked(!serves);
    };
    serve(&mut plan, 0, false);
    serve(&mut plan, 1, true);
    serve(&mut plan, 2, false);
    let mut wanted = vec![(id(1), both), (id(2), prices), (id(3), prices)];
    plan.renew(&wanted, now);
    serve(&mut plan, 2, true);
    wanted.extend([(id(4), prices), (id(5), prices)]);
    plan.renew(&wanted, now);
    serve(&mut plan, 0, true);
    // The second has a slot less than was thought, so that the first gets what takes two.
    plan.member(1).expect("it is there").set_granted(3);
    assert!(plan.has_no_room(1, id(1), now));
    plan.renew(&wanted, now);
    wanted[0].1 = prices;
    plan.renew(&wanted, now);
    assert_eq!([1, 2, 3, 4, 5].map(|code| plan.owner(id(code))), [0, 1, 1, 2, 2].map(Some));
    // One slot is left at each. The second has said that it has none for the first's; the third has.
    wanted.push((id(6), both));
    plan.renew(&wanted, now);
    assert_eq!([1, 6].map(|code| plan.owner(id(code))), [2, 0].map(Some));
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

#[tokio::test(start_paused = true)]
async fn bars_stay_where_their_prices_are_as_long_as_there_is_room() {
    let (hub, shard, spread) = rig(&[2, 3]);
    want(&hub, &shard, 0..3);
    let [a, b] = [codes(&spread, &hub, A), codes(&spread, &hub, B)];
    assert_eq!((a.len(), b.len()), (1, 2));
    for code in &a {
        take(&hub, &shard, *code, Mode::Bar);
    }
    assert_eq!([codes(&spread, &hub, A), codes(&spread, &hub, B)], [a.clone(), b.clone()]);
    // Too many for all: they wait where they are.
    for code in &b {
        take(&hub, &shard, *code, Mode::Bar);
    }
    assert_eq!([codes(&spread, &hub, A), codes(&spread, &hub, B)], [a, b]);
}

#[tokio::test(start_paused = true)]
async fn an_instrument_that_outgrows_its_account_moves_with_its_bars() {
    let (hub, shard, spread) = rig(&[2, 7]);
    want(&hub, &shard, 0..8);
    let a = codes(&spread, &hub, A);
    assert_eq!((a.len(), sizes(&spread, &hub)), (2, (2, 6)));
    let grown = *a.iter().min().unwrap();
    take(&hub, &shard, grown, Mode::Bar);
    // One slot at the other is not enough for two: the neighbour makes room.
    assert_eq!((codes(&spread, &hub, A), sizes(&spread, &hub)), (HashSet::from([grown]), (1, 7)));

    let (hub, shard, spread) = rig(&[2, 7]);
    let topics: Vec<_> = (0..8).map(|code| take(&hub, &shard, code, Mode::Ltp)).collect();
    let [a, b] = [codes(&spread, &hub, A), codes(&spread, &hub, B)];
    hub.release(topics[*b.iter().min().unwrap() as usize]);
    let grown = *a.iter().min().unwrap();
    take(&hub, &shard, grown, Mode::Bar);
    assert!(codes(&spread, &hub, B).contains(&grown), "two slots are");
    assert_eq!(sizes(&spread, &hub), (1, 6));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_want_of_room_moves_when_there_is_some() {
    let (hub, shard, spread) = rig(&[2, 2]);
    let topics: Vec<_> = (0..4).map(|code| take(&hub, &shard, code, Mode::Ltp)).collect();
    let [a, b] = [codes(&spread, &hub, A), codes(&spread, &hub, B)];
    let waits = *a.iter().min().unwrap();
    take(&hub, &shard, waits, Mode::Bar);
    assert_eq!([codes(&spread, &hub, A), codes(&spread, &hub, B)], [a.clone(), b.clone()]);
    assert!(!spread.has_no_room(A, id(waits)));
    assert!(spread.has_no_room(B, id(waits)), "it is not B's to say");
    assert!(!spread.is_anothers(A, id(waits)) && spread.is_anothers(B, id(waits)));
    for code in &b {
        hub.release(topics[*code as usize]);
    }
    let mut changes = spread.changes();
    changes.mark_unchanged();
    assert_eq!(codes(&spread, &hub, A).len(), 1);
    assert!(changes.has_changed().unwrap(), "whoever has it now is told");
    assert_eq!(codes(&spread, &hub, B), HashSet::from([waits]));
}
