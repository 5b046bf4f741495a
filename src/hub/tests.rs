//! The hub from outside: topics, publishers, shards. One file although it is long: all of it
//! shares the few builders at its top.

use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::market::{
    Bar, Depth, Exchange, Kind, LastTrade, Level, OpenInterest, Price, PriceBand, Quote, Segment, Tick,
    TickBody,
};
use crate::protocol::Mode;
use crate::protocol::binary::{Header, Records};

fn id(code: u32) -> InstrumentId {
    InstrumentId { segment: Segment::NseCash, code }
}

fn key(code: u32, mode: Mode) -> TopicKey {
    TopicKey {
        instrument: id(code),
        mode,
        encoding: Encoding::Json,
        exchange: Exchange::Nse,
        symbol: format!("S{code}").into(),
    }
}

fn at(code: u32, recv: i64, body: TickBody) -> Tick {
    Tick { instrument: id(code), ts_event: UnixNanos::ZERO, ts_recv: UnixNanos::from_millis(recv), body }
}

fn quote(code: u32, recv: i64, rupees: i64) -> Tick {
    let last = LastTrade { price: Price::from_rupees(rupees), size: 5, time: UnixNanos::from_millis(recv) };
    let bid = Level { price: Price::from_rupees(rupees - 1), size: 7, orders: 2 };
    at(code, recv, TickBody::Quote(Quote { last, bid, volume: 100, ..Quote::default() }))
}

/// The frames of everything that waits, for this shard, as (topic, JSON).
fn frames(queue: &mut ShardQueue) -> Vec<(TopicId, Value)> {
    let me = queue.id();
    let mut found = Vec::new();
    while let Some(event) = queue.try_recv() {
        if let ShardEvent::Batch(batch) = event {
            for entry in batch.entries.iter().filter(|e| e.only.is_none_or(|only| only == me)) {
                let frame = batch.frame(entry);
                assert_eq!(frame[0], 0x81, "a final text frame");
                let header = if frame[1] < 126 { 2 } else { 4 };
                found.push((entry.topic, serde_json::from_slice(&frame[header..]).unwrap()));
            }
        }
    }
    found
}

fn binary(code: u32, mode: Mode) -> TopicKey {
    TopicKey { encoding: Encoding::Binary, ..key(code, mode) }
}

/// The records of everything that waits, for this shard, as (topic, header, shown body).
fn records(queue: &mut ShardQueue) -> Vec<(TopicId, Header, String)> {
    let me = queue.id();
    let mut found = Vec::new();
    while let Some(event) = queue.try_recv() {
        let ShardEvent::Batch(batch) = event else { continue };
        for entry in batch.entries.iter().filter(|e| e.only.is_none_or(|only| only == me)) {
            let frame = batch.frame(entry);
            assert_eq!(frame[0], 0x82, "a final binary frame");
            let payload = if frame[1] < 126 { &frame[2..] } else { &frame[4..] };
            let read: Vec<_> = Records::new(payload).map(Result::unwrap).collect();
            assert_eq!(read.len(), 1);
            found.push((entry.topic, read[0].header(), format!("{:?}", read[0].body().unwrap())));
        }
    }
    found
}

/// Moves a millisecond at each look.
#[derive(Debug, Default)]
struct Ticking(std::sync::atomic::AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> UnixNanos {
        UnixNanos::from_millis(1_000_000 + self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[test]
fn binary_topics_carry_number_sequence_and_times_beside_json_ones() {
    let hub = Hub::with_clock("sim", Arc::new(Ticking::default()));
    let mut shard = hub.attach_shard();
    let json = hub.acquire(shard.id(), key(1, Mode::Ltp));
    let mut topics = Vec::new();
    for (code, mode) in [(2, Mode::Quote), (1, Mode::Ltp), (1, Mode::Depth)] {
        topics.push(hub.acquire(shard.id(), binary(code, mode)));
    }
    let numbers: Vec<_> = topics.iter().map(|topic| hub.listing(*topic).unwrap()).collect();
    assert_eq!(numbers, [1, 2, 2], "one for each instrument, whatever the mode");
    assert_eq!(hub.life().epoch, 1_000_000);

    let mut publisher = hub.publisher(FeedId(7));
    let timed = |tick: Tick, event| Tick { ts_event: UnixNanos::from_millis(event), ..tick };
    let depth = at(1, 21, TickBody::Depth(Depth::default()));
    publisher.publish(&[timed(quote(1, 21, 100), 11), timed(depth, 11), timed(quote(2, 22, 200), 0)]);
    publisher.publish(&[timed(quote(1, 31, 101), 12)]);
    publisher.flush();
    hub.release(json);
    let (mut headers, mut clocks) = (Vec::new(), Vec::new());
    let mut batches = Vec::new();
    while let Some(ShardEvent::Batch(batch)) = shard.try_recv() {
        for entry in &batch.entries {
            let frame = batch.frame(entry);
            let payload = if frame[1] < 126 { &frame[2..] } else { &frame[4..] };
            if entry.topic == json {
                assert_eq!(frame[0], 0x81);
                assert_eq!(serde_json::from_slice::<Value>(payload).unwrap()["mode"], 1);
                continue;
            }
            let record = Records::new(payload).next().unwrap().unwrap();
            let header = record.header();
            assert_eq!((header.epoch, header.source), (1_000_000, 7));
            let millis = |at: UnixNanos| at.as_millis();
            headers.push((
                record.kind_number(),
                header.number,
                header.seq,
                millis(header.ts_event),
                millis(header.ts_recv),
            ));
            clocks.push(millis(header.ts_sent));
        }
        batches.push(batch);
    }
    assert_eq!(headers, [(16, 2, 1, 11, 21), (18, 2, 1, 11, 21), (17, 1, 1, 0, 22), (16, 2, 2, 12, 31)]);
    assert_eq!(clocks, [1_000_001, 1_000_001, 1_000_001, 1_000_002], "the time is read once for each call");

    // The last value for whoever takes it now, and the same number for an instrument that was left.
    hub.release(topics[1]);
    let again = hub.acquire(shard.id(), binary(1, Mode::Ltp));
    assert_eq!(hub.listing(again), Some(2));
    publisher.refresh();
    publisher.flush();
    let last = records(&mut shard);
    assert_eq!((last.len(), last[0].0, last[0].1.seq), (1, again, 2));
    assert!(last[0].2.contains("volume: Some(100)"), "{}", last[0].2);
}

#[test]
fn an_instrument_under_another_name_has_another_number() {
    let hub = Hub::new("sim");
    let shard = hub.attach_shard();
    let first = hub.acquire(shard.id(), binary(1, Mode::Ltp));
    let renamed = TopicKey { symbol: "OTHER".into(), ..binary(1, Mode::Ltp) };
    let second = hub.acquire(shard.id(), renamed);
    assert_eq!((hub.listing(first), hub.listing(second)), (Some(1), Some(2)));
}

#[test]
fn a_tick_is_encoded_once_per_topic_whatever_the_number_of_shards() {
    let hub = Hub::new("sim");
    let mut shards: Vec<_> = (0..3).map(|_| hub.attach_shard()).collect();
    let ltp = shards.iter().map(|s| hub.acquire(s.id(), key(1, Mode::Ltp))).collect::<Vec<_>>();
    let both = hub.acquire(shards[0].id(), key(1, Mode::Quote));
    assert!(ltp.iter().all(|&t| t == ltp[0]) && both != ltp[0]);
    let mut publisher = hub.publisher(FeedId(0));
    publisher.publish(&[quote(1, 1000, 50), quote(2, 1000, 60)]);
    publisher.flush();
    let counters = publisher.counters();
    assert_eq!((counters.ticks, counters.frames, counters.batches), (2, 2, 1));
    for shard in &mut shards {
        let got = frames(shard);
        assert_eq!(got.iter().map(|(t, _)| *t).collect::<Vec<_>>(), [ltp[0], both]);
        assert_eq!(got[0].1["data"]["ltp"], 50.0);
        assert_eq!(got[1].1["mode"], 2);
    }
}

#[test]
fn numbered_frames_are_a_topic_of_their_own_and_one_message_has_one_number() {
    let hub = Hub::new("sim");
    let mut shards: Vec<_> = (0..2).map(|_| hub.attach_shard()).collect();
    for shard in &shards {
        for mode in [Mode::Quote, Mode::Depth] {
            hub.acquire(shard.id(), TopicKey { encoding: Encoding::JsonSeq, ..key(1, mode) });
        }
        hub.acquire(shard.id(), key(1, Mode::Depth));
    }
    let mut publisher = hub.publisher(FeedId(0));
    let message = |recv| [quote(1, recv, 50), at(1, recv, TickBody::Depth(Depth::default()))];
    for recv in 1..=2 {
        publisher.publish(&message(recv));
    }
    publisher.flush();
    assert_eq!(publisher.counters().frames, 6, "once each, whatever the number of shards");
    for shard in &mut shards {
        let got: Vec<_> = frames(shard).into_iter().map(|(_, frame)| frame).collect();
        let shown: Vec<_> = got.iter().map(|f| (f["mode"].as_u64(), f["seq"].as_u64())).collect();
        let expected = [1, 2].map(|seq| [(2, Some(seq)), (3, Some(seq)), (3, None)]).concat();
        assert_eq!(shown, expected.into_iter().map(|(mode, seq)| (Some(mode), seq)).collect::<Vec<_>>());
        assert!(got.iter().all(|f| f.get("epoch").is_some() == f.get("seq").is_some()));
    }
    // Whoever comes later learns the number of the value it is shown.
    let late = TopicKey { encoding: Encoding::JsonSeq, ..key(1, Mode::Ltp) };
    hub.acquire(shards[0].id(), late);
    publisher.refresh();
    publisher.flush();
    assert_eq!(frames(&mut shards[0])[0].1["seq"], 2);
}

#[test]
fn the_first_holder_of_a_topic_gets_the_last_value_and_nobody_else_gets_it_again() {
    let hub = Hub::new("sim");
    let (mut first, mut second) = (hub.attach_shard(), hub.attach_shard());
    let mut publisher = hub.publisher(FeedId(0));
    hub.acquire(first.id(), key(1, Mode::Quote));
    publisher.publish(&[quote(1, 1000, 50)]);
    publisher.flush();
    assert_eq!(frames(&mut first).len(), 1);
    frames(&mut second);

    // Another mode of a known instrument, and the same topic on another shard.
    let ltp = hub.acquire(first.id(), key(1, Mode::Ltp));
    let again = hub.acquire(second.id(), key(1, Mode::Quote));
    publisher.refresh();
    publisher.flush();
    let got = frames(&mut first);
    assert_eq!(got.iter().map(|(t, _)| *t).collect::<Vec<_>>(), [ltp]);
    assert_eq!(got[0].1["data"]["timestamp"], 1000, "as old as it is");
    assert_eq!(frames(&mut second).iter().map(|(t, _)| *t).collect::<Vec<_>>(), [again]);
}

#[test]
fn a_released_topic_is_encoded_no_more_and_its_number_is_not_given_away() {
    let hub = Hub::new("sim");
    let mut shard = hub.attach_shard();
    let mut publisher = hub.publisher(FeedId(0));
    let topic = hub.acquire(shard.id(), key(1, Mode::Ltp));
    hub.release(topic);
    publisher.publish(&[quote(1, 1000, 50)]);
    publisher.flush();
    assert_eq!((frames(&mut shard).len(), publisher.counters().frames), (0, 0));
    assert_ne!(hub.acquire(shard.id(), key(2, Mode::Ltp)), topic);
    assert_eq!(hub.acquire(shard.id(), key(1, Mode::Ltp)), topic);
}

#[test]
fn the_last_value_of_a_number_is_never_shown_under_another_name() {
    let named = |name: &str, mode| TopicKey { symbol: name.into(), ..key(1, mode) };
    for left_first in [true, false] {
        let hub = Hub::new("sim");
        let mut shard = hub.attach_shard();
        let mut publisher = hub.publisher(FeedId(0));
        let old = hub.acquire(shard.id(), named("OLD", Mode::Quote));
        publisher.publish(&[quote(1, 1000, 50), at(1, 1000, TickBody::Depth(Depth::default()))]);
        publisher.flush();
        assert_eq!(frames(&mut shard).len(), 1);
        if left_first {
            hub.release(old);
            publisher.refresh();
        }
        let new = Mode::ALL.map(|mode| hub.acquire(shard.id(), named("NEW", mode)));
        publisher.refresh();
        publisher.flush();
        assert!(frames(&mut shard).is_empty());
        if !left_first {
            hub.release(old);
        }
        publisher.publish(&[quote(1, 2000, 60)]);
        publisher.flush();
        let got = frames(&mut shard);
        assert_eq!(got.iter().map(|(topic, _)| *topic).collect::<Vec<_>>(), new[..2]);
        assert!(got.iter().all(|(_, frame)| frame["symbol"] == "NEW" && frame["data"]["ltp"] == 60.0));
        // The same name again, in whatever mode, costs nothing.
        hub.release(new[1]);
        hub.acquire(shard.id(), named("NEW", Mode::Quote));
        publisher.refresh();
        publisher.flush();
        assert_eq!(frames(&mut shard).len(), 1);
    }
}

#[test]
fn depth_is_completed_by_the_last_quote_and_open_interest_by_the_last_message() {
    let hub = Hub::new("sim");
    let mut shard = hub.attach_shard();
    hub.acquire(shard.id(), key(1, Mode::Depth));
    let mut publisher = hub.publisher(FeedId(0));
    publisher.publish(&[at(1, 999, TickBody::Depth(Depth::default()))]);
    assert_eq!(publisher.counters().depth_without_quote, 1);
    publisher.publish(&[
        quote(1, 1000, 50),
        at(1, 1000, TickBody::Depth(Depth::default())),
        at(1, 1001, TickBody::OpenInterest(OpenInterest { open_interest: 77 })),
        quote(1, 1002, 51),
        at(1, 1002, TickBody::Depth(Depth::default())),
    ]);
    publisher.flush();
    let got = frames(&mut shard);
    assert_eq!(got.len(), 2, "one frame per venue message");
    assert_eq!((got[0].1["data"].get("oi"), &got[0].1["data"]["ltp"]), (None, &Value::from(50.0)));
    assert_eq!((&got[1].1["data"]["oi"], &got[1].1["data"]["ltp"]), (&Value::from(77), &Value::from(51.0)));
}

fn bar(code: u32, minute: i64, rupees: i64) -> Tick {
    let close = Price::from_rupees(rupees);
    let start = UnixNanos::from_secs(60 * minute);
    at(code, 60_000 * (minute + 1) + 2_000, TickBody::Bar(Bar { start, close, volume: 9, ..Bar::default() }))
}

#[test]
fn bars_reach_only_who_holds_them_each_once_and_in_order() {
    let hub = Hub::new("sim");
    let (mut shard, mut other) = (hub.attach_shard(), hub.attach_shard());
    let modes = [Mode::Ltp, Mode::Quote, Mode::Depth].map(|mode| hub.acquire(other.id(), key(1, mode)));
    let mut publisher = hub.publisher(FeedId(0));
    publisher.publish(&[bar(1, 1, 50)]);
    publisher.flush();
    assert_eq!(frames(&mut other), [], "nobody asked for it");
    let topic = hub.acquire(shard.id(), key(1, Mode::Bar));
    assert_eq!(hub.wanted(), [(id(1), KindSet::EMPTY.with(Kind::Depth).with(Kind::Bar))]);
    // Sent twice, an older one, and a correction.
    publisher.publish(&[bar(1, 2, 51), bar(1, 2, 51), bar(1, 1, 50), bar(1, 3, 52), bar(1, 3, 53)]);
    publisher.flush();
    let got = frames(&mut shard);
    let seen = |f: &Value| (f["data"]["timestamp"].as_i64().unwrap(), f["data"]["ltp"].as_f64().unwrap());
    assert!(got.iter().all(|(t, _)| *t == topic && !modes.contains(t)));
    let seen: Vec<_> = got.iter().map(|(_, f)| seen(f)).collect();
    assert_eq!(seen, [(120_000, 51.0), (180_000, 52.0), (180_000, 53.0)]);
    assert_eq!(publisher.counters().stale_bars, 3);
    // The last one is shown to whoever comes later, until nobody holds bars any more.
    let again = hub.acquire(other.id(), key(1, Mode::Bar));
    publisher.refresh();
    publisher.flush();
    frames(&mut shard);
    assert_eq!(frames(&mut other).last().map(|(_, f)| f["data"]["ltp"].as_f64()), Some(Some(53.0)));
    hub.release(topic);
    hub.release(again);
    publisher.refresh();
    hub.acquire(shard.id(), key(1, Mode::Bar));
    publisher.refresh();
    publisher.flush();
    assert!(frames(&mut shard).is_empty());
}

#[test]
fn a_price_band_stands_in_depth_frames_and_changes_no_price() {
    let hub = Hub::new("sim");
    let mut shard = hub.attach_shard();
    let mut publisher = hub.publisher(FeedId(0));
    let band = |high| {
        let high = Some(Price::from_rupees(high));
        at(1, 1000, TickBody::PriceBand(PriceBand { low: Some(Price::from_rupees(40)), high }))
    };
    // Told before anybody asked for the instrument.
    publisher.publish(&[band(60)]);
    for mode in Mode::ALL {
        hub.acquire(shard.id(), key(1, mode));
    }
    publisher.publish(&[quote(1, 1001, 50), at(1, 1001, TickBody::Depth(Depth::default())), band(61)]);
    publisher.flush();
    let got = frames(&mut shard);
    assert_eq!(got.len(), 3, "a band makes no frame");
    let limits = |f: &Value| (f["upper_circuit"].as_f64(), f["lower_circuit"].as_f64(), f["ltp"].as_f64());
    assert_eq!(limits(&got[2].1["data"]), (Some(60.0), Some(40.0), Some(50.0)));
    publisher.publish(&[quote(1, 1002, 51), at(1, 1002, TickBody::Depth(Depth::default()))]);
    publisher.flush();
    let got = frames(&mut shard);
    assert_eq!(limits(&got[2].1["data"]), (Some(61.0), Some(40.0), Some(51.0)));
    assert_eq!(publisher.counters().bands, 2);
}

#[test]
fn a_budget_that_is_exhausted_refuses_what_needs_another_slot() {
    let hub = Hub::new("sim");
    let (shard, other) = (hub.attach_shard(), hub.attach_shard());
    let take = |code, mode| hub.try_acquire(shard.id(), key(code, mode));
    let first = take(1, Mode::Ltp).expect("the budget is not known yet");
    hub.set_budget(3);
    assert!(take(2, Mode::Depth).is_ok());
    let bars = take(2, Mode::Bar).expect("the third slot");
    let none = take(3, Mode::Ltp).unwrap_err();
    assert_eq!(none.to_string(), "Maximum capacity reached: the broker grants 3 subscriptions");
    assert_eq!(take(1, Mode::Bar), Err(none), "bars need one of their own");
    // What is carried already needs none, from whatever shard.
    assert!(take(1, Mode::Quote).is_ok());
    assert!(hub.try_acquire(other.id(), key(2, Mode::Ltp)).is_ok());
    // One leaves.
    hub.release(bars);
    assert!(take(3, Mode::Ltp).is_ok());
    hub.release(first);
    assert_eq!(take(4, Mode::Ltp), Err(none), "another mode still holds the first");
    // The broker turns out to grant less: nobody loses anything, and nobody comes in.
    hub.set_budget(1);
    assert!(take(3, Mode::Depth).is_ok());
    assert_eq!(take(5, Mode::Ltp).unwrap_err().budget, 1);
}

#[test]
fn what_the_broker_refused_takes_no_slot() {
    let hub = Hub::new("sim");
    let shard = hub.attach_shard();
    let take = |code, mode| hub.try_acquire(shard.id(), key(code, mode)).is_ok();
    hub.set_budget(2);
    assert!(take(1, Mode::Ltp) && take(2, Mode::Ltp) && !take(3, Mode::Ltp));
    hub.reject(id(1), Part::Bars, "nobody holds these");
    hub.reject_for_want_of_room(id(2), Part::Prices, "no slot");
    assert!(!take(3, Mode::Ltp), "what waits for a slot takes the next one");
    hub.reject(id(1), Part::Prices, "no such scrip");
    assert!(take(3, Mode::Ltp));
    assert!(!take(4, Mode::Ltp));
}

#[test]
fn a_snapshot_never_undoes_a_live_tick() {
    let hub = Hub::new("sim");
    let mut shard = hub.attach_shard();
    hub.acquire(shard.id(), key(1, Mode::Ltp));
    let mut publisher = hub.publisher(FeedId(0));
    publisher.publish_snapshot(UnixNanos::from_millis(900), &[quote(1, 900, 40)]);
    publisher.publish(&[quote(1, 1000, 50)]);
    publisher.publish_snapshot(UnixNanos::from_millis(990), &[quote(1, 990, 41)]);
    publisher.flush();
    let prices: Vec<_> = frames(&mut shard).iter().map(|(_, f)| f["data"]["ltp"].as_f64().unwrap()).collect();
    assert_eq!(prices, [40.0, 50.0]);
    assert_eq!(publisher.counters().stale_snapshots, 1);
    // After a reconnect a snapshot counts again, unless it was asked for before and comes late.
    publisher.new_generation();
    publisher.publish_snapshot(UnixNanos::from_millis(990), &[quote(1, 990, 42)]);
    publisher.flush();
    assert!(frames(&mut shard).is_empty());
    assert_eq!(publisher.counters().stale_snapshots, 2);
    publisher.publish_snapshot(UnixNanos::from_millis(2000), &[quote(1, 2000, 60)]);
    publisher.flush();
    assert_eq!(frames(&mut shard)[0].1["data"]["ltp"], 60.0);
}

#[test]
fn what_is_wanted_follows_the_holders() {
    let hub = Hub::new("sim");
    let shard = hub.attach_shard();
    let mut interest = hub.interest();
    interest.mark_unchanged();
    let future = InstrumentId { segment: Segment::NseFo, code: 9 };
    let ltp = hub.acquire(shard.id(), key(1, Mode::Ltp));
    assert!(interest.has_changed().unwrap());
    assert_eq!(hub.wanted(), [(id(1), KindSet::EMPTY.with(Kind::Quote))]);
    let depth = hub.acquire(shard.id(), key(1, Mode::Depth));
    assert_eq!(hub.wanted(), [(id(1), KindSet::EMPTY.with(Kind::Depth))], "1502 instead of 1501");
    hub.release(depth);
    hub.release(ltp);
    assert_eq!(hub.wanted(), []);
    hub.acquire(shard.id(), TopicKey { instrument: future, exchange: Exchange::Nfo, ..key(9, Mode::Quote) });
    assert_eq!(hub.wanted(), [(future, KindSet::EMPTY.with(Kind::Quote).with(Kind::OpenInterest))]);
}

#[test]
fn a_rejection_is_told_once_until_it_is_cleared() {
    let hub = Hub::new("sim");
    let mut shard = hub.attach_shard();
    let count = |shard: &mut ShardQueue| {
        std::iter::from_fn(|| shard.try_recv()).filter(|e| matches!(e, ShardEvent::Rejected { .. })).count()
    };
    hub.reject(id(1), Part::Prices, "no");
    hub.reject(id(1), Part::Prices, "no");
    assert_eq!(count(&mut shard), 1);
    assert_eq!(hub.rejection(id(1), Part::Prices).as_deref(), Some("no"));
    hub.clear_rejection(id(1), Part::Prices);
    hub.reject(id(1), Part::Prices, "no");
    assert_eq!(count(&mut shard), 1);
}

#[tokio::test]
async fn a_shard_that_is_behind_holds_the_publisher_until_it_has_caught_up() {
    let hub = Hub::new("sim");
    let mut shard = hub.attach_shard();
    hub.acquire(shard.id(), key(1, Mode::Ltp));
    let mut publisher = hub.publisher(FeedId(0));
    let mut published = 0;
    while futures::FutureExt::now_or_never(publisher.ready()).is_some() {
        publisher.publish(&[quote(1, 1000, 50)]);
        publisher.flush();
        published += 1;
        assert!(published < 10_000, "there is a bound");
    }
    let (got, ()) = tokio::join!(
        async {
            let mut got = 0;
            while got < published {
                got += usize::from(matches!(shard.recv().await, ShardEvent::Batch(_)));
            }
            got
        },
        publisher.ready()
    );
    assert_eq!(got, published, "nothing was dropped");
    // A shard that is gone is waited for no more.
    drop(shard);
    for _ in 0..10_000 {
        publisher.publish(&[quote(1, 1000, 50)]);
        publisher.flush();
    }
    publisher.ready().await;
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_rests_is_not_woken_and_holds_nobody() {
    let hub = Hub::new("sim");
    let mut shard = hub.attach_shard();
    hub.acquire(shard.id(), key(1, Mode::Ltp));
    let mut publisher = hub.publisher(FeedId(0));
    let mut publish = |value| {
        publisher.publish(&[quote(1, value, 50)]);
        publisher.flush();
        let is_ready = futures::FutureExt::now_or_never(publisher.ready()).is_some();
        assert!(is_ready, "what waits until the rest is over is not behind");
    };
    let rest = tokio::time::Duration::from_millis(1);
    shard.rest_until(tokio::time::Instant::now() + rest);
    (1..=9).for_each(&mut publish);
    assert!(futures::FutureExt::now_or_never(shard.woken()).is_none());
    tokio::time::advance(rest).await;
    publish(10);
    shard.woken().await;
    assert_eq!(std::iter::from_fn(|| shard.try_recv()).count(), 10, "in one go");
}

#[test]
fn batches_are_used_again() {
    let hub = Hub::new("sim");
    let mut shard = hub.attach_shard();
    hub.acquire(shard.id(), key(1, Mode::Ltp));
    let mut publisher = hub.publisher(FeedId(0));
    let mut seen = std::collections::HashSet::new();
    for _ in 0..100 {
        publisher.publish(&[quote(1, 1000, 50)]);
        publisher.flush();
        while let Some(event) = shard.try_recv() {
            if let ShardEvent::Batch(batch) = event {
                seen.insert(Arc::as_ptr(&batch));
            }
        }
    }
    assert!(seen.len() <= 3, "{} batches were allocated", seen.len());
}

#[test]
fn a_live_quote_does_not_make_a_snapshot_of_the_book_old() {
    let hub = Hub::new("sim");
    let mut shard = hub.attach_shard();
    hub.acquire(shard.id(), key(1, Mode::Depth));
    let mut publisher = hub.publisher(FeedId(0));
    // While a subscription is switched from quotes to depth, quotes go on.
    publisher.publish(&[quote(1, 1000, 50)]);
    let asked_at = UnixNanos::from_millis(900);
    publisher.publish_snapshot(asked_at, &[quote(1, 990, 40), at(1, 990, TickBody::Depth(Depth::default()))]);
    publisher.flush();
    let got = frames(&mut shard);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].1["data"]["ltp"], 50.0, "completed by the live quote");
    assert_eq!(publisher.counters().stale_snapshots, 1);
}

#[test]
fn the_next_publisher_of_a_feed_goes_on_where_the_last_one_ended() {
    let hub = Hub::new("sim");
    let mut shard = hub.attach_shard();
    hub.acquire(shard.id(), key(1, Mode::Ltp));
    let mut first = hub.publisher(FeedId(0));
    first.publish(&[quote(1, 1000, 50)]);
    drop(first);
    assert_eq!(frames(&mut shard).len(), 1, "nothing stays behind in the open batch");
    // Taken while there was no publisher at all.
    let late = hub.acquire(shard.id(), key(1, Mode::Quote));
    let mut second = hub.publisher(FeedId(0));
    second.refresh();
    second.flush();
    let got = frames(&mut shard);
    assert_eq!(
        got.iter().map(|(t, f)| (*t, f["data"]["ltp"].as_f64())).collect::<Vec<_>>(),
        [(late, Some(50.0))]
    );
    second.publish(&[quote(1, 1001, 51)]);
    second.flush();
    assert_eq!(frames(&mut shard).len(), 2, "held before and held since");
    // One that is replaced while it lives must not overwrite what its successor knows.
    let third = hub.publisher(FeedId(0));
    drop(second);
    drop(third);
    hub.publisher(FeedId(0)).refresh();
}

#[test]
fn what_was_unsubscribed_at_the_broker_is_not_shown_as_the_last_value() {
    let hub = Hub::new("sim");
    let mut shard = hub.attach_shard();
    let mut publisher = hub.publisher(FeedId(0));
    let topic = hub.acquire(shard.id(), key(1, Mode::Ltp));
    publisher.publish(&[quote(1, 1000, 50)]);
    hub.release(topic);
    publisher.forget(&[id(1), id(2)]);
    publisher.flush();
    frames(&mut shard);
    hub.acquire(shard.id(), key(1, Mode::Ltp));
    publisher.refresh();
    publisher.flush();
    assert!(frames(&mut shard).is_empty());
    publisher.publish(&[quote(1, 2000, 60)]);
    publisher.flush();
    assert_eq!(frames(&mut shard).len(), 1);
}

#[test]
fn a_price_that_is_none_is_counted_and_not_shown() {
    let hub = Hub::new("sim");
    let mut shard = hub.attach_shard();
    hub.acquire(shard.id(), key(1, Mode::Quote));
    let mut publisher = hub.publisher(FeedId(0));
    publisher.publish(&[quote(1, 1000, 0), quote(1, 1001, -5)]);
    publisher.flush();
    assert_eq!((frames(&mut shard).len(), publisher.counters().invalid_price), (0, 2));
}

/// A consumer-side model: what each shard must have been sent, for random comings and goings.
mod model {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    const SHARDS: usize = 2;

    #[derive(Clone, Debug)]
    enum Step {
        Acquire(usize, u32, Mode),
        Release(usize, u32, Mode),
        Quote(u32),
        Book(u32),
        Interest(u32),
        Refresh,
        NewPublisher,
        Forget(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let mode = || prop_oneof![Just(Mode::Ltp), Just(Mode::Quote), Just(Mode::Depth)];
        let topic = || (0..SHARDS, 0..3_u32, mode());
        prop_oneof![
            4 => topic().prop_map(|(s, i, m)| Step::Acquire(s, i, m)),
            3 => topic().prop_map(|(s, i, m)| Step::Release(s, i, m)),
            4 => (0..3_u32).prop_map(Step::Quote),
            3 => (0..3_u32).prop_map(Step::Book),
            1 => (0..3_u32).prop_map(Step::Interest),
            1 => Just(Step::Refresh),
            1 => Just(Step::NewPublisher),
            1 => (0..3_u32).prop_map(Step::Forget),
        ]
    }

    /// Last values: (quote's price, whether there was a book since it was known).
    #[derive(Default)]
    struct Model {
        held: [HashSet<(u32, Mode)>; SHARDS],
        /// Taken, and its last value not sent yet.
        fresh: [HashSet<(u32, Mode)>; SHARDS],
        price: HashMap<u32, i64>,
        book: HashSet<u32>,
    }

    impl Model {
        fn shows(&self, (instrument, mode): (u32, Mode)) -> Option<i64> {
            let price = self.price.get(&instrument).copied();
            price.filter(|_| mode != Mode::Depth || self.book.contains(&instrument))
        }

        /// What a refresh, then a tick for `modes` of `instrument`, sends to `shard`.
        fn expect(
            &self,
            shard: usize,
            before: &[((u32, Mode), i64)],
            live: &[(u32, Mode)],
        ) -> Vec<((u32, Mode), i64)> {
            let mut all = before.to_vec();
            let live = live.iter().filter(|t| self.held[shard].contains(t));
            all.extend(live.filter_map(|&t| self.shows(t).map(|price| (t, price))));
            all.sort_unstable();
            all
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
        #[test]
        fn every_shard_gets_the_last_value_once_and_then_every_tick(steps in proptest::collection::vec(step(), 1..60)) {
            let hub = Hub::new("sim");
            let mut shards: Vec<_> = (0..SHARDS).map(|_| hub.attach_shard()).collect();
            let mut publisher = hub.publisher(FeedId(0));
            let mut model = Model::default();
            let mut topics: HashMap<TopicId, (u32, Mode)> = HashMap::new();
            let mut ids: HashMap<(u32, Mode), TopicId> = HashMap::new();
            for (turn, step) in (1_i64..).zip(steps) {
                // A refresh comes first in every step that reaches the publisher's ticks.
                let mut before = vec![Vec::new(); SHARDS];
                let reads = !matches!(
                    step,
                    Step::Acquire(..) | Step::Release(..) | Step::Forget(_) | Step::NewPublisher
                );
                if reads {
                    for (shard, before) in before.iter_mut().enumerate() {
                        let fresh = std::mem::take(&mut model.fresh[shard]);
                        before.extend(fresh.into_iter().filter_map(|t| model.shows(t).map(|price| (t, price))));
                    }
                }
                let mut live = Vec::new();
                match step {
                    Step::Acquire(shard, instrument, mode) => {
                        let topic = (instrument, mode);
                        if model.held[shard].insert(topic) {
                            let number = hub.acquire(shards[shard].id(), key(instrument, mode));
                            prop_assert_eq!(*ids.entry(topic).or_insert(number), number);
                            topics.insert(number, topic);
                            model.fresh[shard].insert(topic);
                        }
                    }
                    Step::Release(shard, instrument, mode) => {
                        let topic = (instrument, mode);
                        if model.held[shard].remove(&topic) {
                            hub.release(ids[&topic]);
                            model.fresh[shard].remove(&topic);
                        }
                    }
                    Step::Quote(instrument) => {
                        publisher.publish(&[quote(instrument, turn, turn)]);
                        model.price.insert(instrument, turn);
                        live = vec![(instrument, Mode::Ltp), (instrument, Mode::Quote)];
                    }
                    Step::Book(instrument) => {
                        publisher.publish(&[at(instrument, turn, TickBody::Depth(Depth::default()))]);
                        model.book.insert(instrument);
                        live = vec![(instrument, Mode::Depth)];
                    }
                    Step::Interest(instrument) => {
                        let interest = OpenInterest { open_interest: turn };
                        publisher.publish(&[at(instrument, turn, TickBody::OpenInterest(interest))]);
                    }
                    Step::Refresh => publisher.refresh(),
                    Step::NewPublisher => {
                        drop(publisher);
                        publisher = hub.publisher(FeedId(0));
                    }
                    Step::Forget(instrument) => {
                        publisher.forget(&[id(instrument)]);
                        model.price.remove(&instrument);
                        model.book.remove(&instrument);
                    }
                }
                publisher.flush();
                for shard in 0..SHARDS {
                    let mut got: Vec<_> = frames(&mut shards[shard])
                        .into_iter()
                        .map(|(topic, frame)| (topics[&topic], frame["data"]["ltp"].as_f64().unwrap() as i64))
                        // What was on its way when the shard left, it passes over.
                        .filter(|(topic, _)| model.held[shard].contains(topic))
                        .collect();
                    got.sort_unstable();
                    // Taken, left and taken again between two refreshes: told twice.
                    if !before[shard].is_empty() && live.is_empty() {
                        got.dedup();
                    }
                    let mut expected = model.expect(shard, &before[shard], &live);
                    if !before[shard].is_empty() && !live.is_empty() {
                        got.dedup();
                        expected.dedup();
                    }
                    prop_assert_eq!(got, expected, "shard {} in step {}", shard, turn);
                }
                let wanted: HashSet<_> = hub.wanted().into_iter().map(|(id, kinds)| (id.code, kinds)).collect();
                let held: HashSet<_> = model.held.iter().flatten().copied().collect();
                let expected: HashSet<_> = held
                    .iter()
                    .map(|&(i, _)| (i, KindSet::EMPTY.with(if held.contains(&(i, Mode::Depth)) { Kind::Depth } else { Kind::Quote })))
                    .collect();
                prop_assert_eq!(wanted, expected);
            }
        }
    }
}

#[test]
fn shards_come_and_go_while_ticks_flow() {
    const ROUNDS: usize = 300;
    let hub = Hub::new("sim");
    let done = std::sync::atomic::AtomicUsize::new(0);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                runtime().block_on(async {
                    let mut shard = hub.attach_shard();
                    for round in 0..ROUNDS {
                        let topic = hub.acquire(shard.id(), key((round % 3) as u32, Mode::ALL[round % 2]));
                        // A frame of it comes, by replay or live.
                        let wait = async {
                            loop {
                                if let ShardEvent::Batch(batch) = shard.recv().await
                                    && batch.entries.iter().any(|e| e.topic == topic)
                                {
                                    return;
                                }
                            }
                        };
                        tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.unwrap();
                        hub.release(topic);
                    }
                });
                done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
        runtime().block_on(async {
            let mut publisher = hub.publisher(FeedId(0));
            let mut turn = 0;
            while done.load(std::sync::atomic::Ordering::SeqCst) < 2 {
                turn += 1;
                publisher.ready().await;
                publisher.publish(&[quote(turn % 3, i64::from(turn), i64::from(turn))]);
                publisher.flush();
            }
        });
    });
    assert_eq!(hub.wanted(), []);
}

#[test]
fn with_several_feeds_an_instrument_is_carried_by_one_at_a_time() {
    let hub = Hub::new("sim");
    hub.set_feeds(2);
    let mut shard = hub.attach_shard();
    let (mut first, mut second) = (hub.publisher(FeedId(0)), hub.publisher(FeedId(1)));
    let publish = |feed: &mut Publisher, rupees| {
        feed.publish(&[quote(1, rupees, rupees)]);
        feed.flush();
    };
    let ltps = |shard: &mut ShardQueue| -> Vec<_> {
        frames(shard).into_iter().filter_map(|(_, frame)| frame["data"]["ltp"].as_f64()).collect()
    };
    hub.acquire(shard.id(), key(1, Mode::Ltp));
    publish(&mut first, 50);
    publish(&mut second, 51);
    assert!(ltps(&mut shard).is_empty(), "nobody carries it yet");
    hub.assign([(id(1), FeedId(0))]);
    publish(&mut first, 52);
    publish(&mut second, 53);
    assert_eq!(ltps(&mut shard), [52.0]);
    hub.assign([(id(1), FeedId(1))]);
    publish(&mut first, 54);
    publish(&mut second, 55);
    assert_eq!(ltps(&mut shard), [55.0]);
    // Back again: what the first one knew from before is not shown to whoever comes.
    hub.assign([(id(1), FeedId(0))]);
    hub.acquire(shard.id(), key(1, Mode::Quote));
    first.refresh();
    first.flush();
    second.refresh();
    second.flush();
    assert!(ltps(&mut shard).is_empty());
    publish(&mut first, 56);
    assert_eq!(ltps(&mut shard), [56.0, 56.0]);
    // A publisher made anew knows only what its feed carries.
    drop(second);
    let mut third = hub.publisher(FeedId(1));
    publish(&mut third, 57);
    assert!(ltps(&mut shard).is_empty());
}
