//! The same model with consumers that have wishes: every frame of a topic, or one per interval, and
//! to be told what was conflated.

use std::time::Duration;

use super::*;
use crate::protocol::openalgo::options::{Delivery, Policy};

pub(super) const EVERY: Delivery = Delivery { policy: Policy::Every, interval: Duration::ZERO };

pub(super) fn every_ms(ms: u64) -> Delivery {
    Delivery { policy: Policy::Conflate, interval: Duration::from_millis(ms) }
}

#[derive(Clone, Debug)]
enum Step {
    Deliver(Vec<Vec<(u32, usize)>>),
    /// So many milliseconds.
    Pass(u64),
    Hold(usize, u32, Option<Delivery>),
    Leave(usize, u32),
    Follow(u32, u32),
    Allow(usize, usize, usize),
    Writable(usize),
    Ping(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..CONNECTIONS;
    let frame = (0..TOPICS, prop_oneof![0..30_usize, 100..300_usize, 1_000..2_000_usize]);
    let batches = proptest::collection::vec(proptest::collection::vec(frame, 1..8), 1..3);
    let delivery = prop_oneof![
        Just(None),
        Just(Some(Delivery::default())),
        Just(Some(EVERY)),
        (1..60_u64).prop_map(|ms| Some(every_ms(ms))),
    ];
    prop_oneof![
        5 => batches.prop_map(Step::Deliver),
        3 => prop_oneof![0..10_u64, 10..80_u64].prop_map(Step::Pass),
        4 => (who.clone(), 0..TOPICS, delivery).prop_map(|(w, t, d)| Step::Hold(w, t, d)),
        1 => (who.clone(), 0..TOPICS * 4).prop_map(|(w, t)| Step::Leave(w, t)),
        1 => (0..TOPICS * 4, 0..TOPICS)
            .prop_filter("another", |(from, to)| from != to)
            .prop_map(|(from, to)| Step::Follow(from, to)),
        3 => (who.clone(), prop_oneof![Just(0), 1..50_usize, 50..5_000_usize, Just(1 << 30)], 1..10_000_usize)
            .prop_map(|(w, room, most)| Step::Allow(w, room, most)),
        3 => who.clone().prop_map(Step::Writable),
        1 => who.prop_map(Step::Ping),
    ]
}

/// What the model knows of one connection and one topic that it holds.
#[derive(Debug, Default)]
struct Holding {
    delivery: Delivery,
    /// Everything that was published since, and the latest upon subscribing.
    published: Vec<u32>,
    /// What may not be missing.
    promised: Vec<u32>,
    /// That begins with a latest frame which has not left yet.
    waits: bool,
    /// Held since it was first taken, on the same terms.
    is_steady: bool,
    /// Since when.
    since: Duration,
}

/// What a connection has received.
#[derive(Clone, Copy, Debug)]
enum Got {
    Value { topic: u32, value: u32, at: Duration },
    Skipped { topic: u32, frames: u64 },
}

struct Consumer {
    slot: u32,
    wire: FakeWire,
    /// It is told what was conflated.
    told: bool,
    holds: BTreeMap<u32, Holding>,
    got: Vec<Got>,
    /// Frames of all kinds looked at.
    seen: usize,
    /// Its socket may have been full.
    limited: bool,
    closed: bool,
}

impl Consumer {
    /// Notes what has come since the last look.
    fn look(&mut self, now: Duration) {
        let frames = self.wire.frames();
        for (_, payload) in &frames[self.seen..] {
            if let Some((topic, value)) = parse(payload) {
                self.got.push(Got::Value { topic, value, at: now });
            } else if let Ok(notice) = serde_json::from_slice::<serde_json::Value>(payload) {
                assert!(self.told, "told without having asked");
                assert_eq!((&notice["type"], &notice["mode"]), (&"conflated".into(), &1.into()));
                let symbol = notice["symbol"].as_str().unwrap();
                let frames = notice["skipped"].as_u64().unwrap();
                assert!(frames > 0 && notice["span_ms"].as_u64().unwrap() <= now.as_millis() as u64);
                self.got.push(Got::Skipped { topic: symbol[1..].parse().unwrap(), frames });
            }
        }
        self.seen = frames.len();
    }

    fn values(&self, topic: u32) -> impl DoubleEndedIterator<Item = (u32, Duration)> {
        self.got.iter().filter_map(move |got| match *got {
            Got::Value { topic: t, value, at } if t == topic => Some((value, at)),
            _ => None,
        })
    }
}

struct Model {
    world: World,
    start: Instant,
    consumers: Vec<Consumer>,
    due: u64,
    /// Something was left or closed: then not all that is due comes.
    left: bool,
}

impl Model {
    fn now(&self) -> Duration {
        self.world.fanout.now - self.start
    }

    /// What a shard does at the end of a turn.
    fn settle(&mut self) {
        self.world.fanout.send_due();
        for slot in self.world.fanout.take_overrun() {
            let consumer = self.consumers.iter_mut().find(|c| c.slot == slot).unwrap();
            assert!(consumer.holds.values().any(|h| h.delivery == EVERY), "only if it wants every frame");
            assert!(!std::mem::replace(&mut consumer.closed, true), "closed once");
            let mut frame = Vec::new();
            websocket::close_frame(CloseReason::TooSlow, &mut frame);
            self.world.fanout.drop_all(slot);
            self.world.fanout.pump(slot, false);
            self.world.fanout.get_mut(slot).unwrap().outbox.close(&frame);
            self.world.fanout.pump(slot, false);
            self.left = true;
        }
        let now = self.now();
        self.consumers.iter_mut().for_each(|consumer| consumer.look(now));
    }

    fn deliver(&mut self, batches: &[Vec<(u32, usize)>]) {
        let batches: Vec<_> = batches
            .iter()
            .map(|frames| {
                let frames: Vec<_> =
                    frames.iter().map(|(topic, pad)| self.world.frame(*topic, *pad)).collect();
                for (topic, value, _) in &frames {
                    for consumer in self.consumers.iter_mut().filter(|c| !c.closed) {
                        let owed = self.world.owes(consumer.slot, *topic);
                        if let Some(holding) = consumer.holds.get_mut(&topic.0) {
                            holding.waits &= owed;
                            assert!(holding.waits || !owed || holding.delivery != EVERY, "owed of old");
                            self.due += 1;
                            holding.published.push(*value);
                            if holding.delivery == EVERY && !holding.waits {
                                holding.promised.push(*value);
                            }
                        }
                    }
                }
                batch(&frames, None)
            })
            .collect();
        self.world.fanout.deliver(batches);
    }

    fn hold(&mut self, who: usize, topic: u32, delivery: Option<Delivery>) {
        let (id, now) = (self.world.topics[topic as usize], self.now());
        let known = self.world.fanout.topics.latest(id).to_vec();
        let consumer = &mut self.consumers[who];
        let taken = self.world.fanout.hold(consumer.slot, &key(topic));
        assert_eq!(taken.is_some(), !consumer.holds.contains_key(&id.0));
        if let Some(delivery) = delivery {
            self.world.fanout.set_delivery(consumer.slot, id, delivery);
        }
        self.world.fanout.get_mut(consumer.slot).unwrap().outbox.answer(|out| {
            websocket::text_frame(out, |out| out.extend_from_slice(b"ack"));
        });
        self.world.fanout.snapshot(consumer.slot, taken.as_slice());
        self.world.fanout.pump(consumer.slot, false);
        let never = !consumer.got.iter().any(|got| matches!(got, Got::Value { topic: t, .. } if *t == id.0));
        let holding = consumer.holds.entry(id.0).or_insert_with(|| Holding {
            is_steady: never && !self.left,
            since: now,
            ..Holding::default()
        });
        if taken.is_some() && !known.is_empty() {
            self.due += 1;
            holding.published.extend(self.world.latest.get(&id));
        }
        if let Some(delivery) = delivery {
            holding.is_steady &= taken.is_some() || holding.delivery == delivery;
            if holding.delivery == EVERY && delivery != EVERY {
                holding.promised.clear();
            }
            if taken.is_some() || holding.delivery != delivery {
                holding.waits = self.world.owes(consumer.slot, id);
            }
            holding.delivery = delivery;
        }
    }

    fn leave(&mut self, who: usize, topic: u32) {
        let consumer = &mut self.consumers[who];
        let was = self.world.fanout.drop_topic(consumer.slot, TopicId(topic));
        assert_eq!(was, consumer.holds.remove(&topic).is_some());
        self.left |= was;
    }

    fn follow(&mut self, from: u32, to: u32) {
        let now = self.now();
        for (slot, new) in self.world.fanout.follow(TopicId(from), &key(to)) {
            let consumer = self.consumers.iter_mut().find(|c| c.slot == slot).unwrap();
            let old = consumer.holds.remove(&from).unwrap();
            assert_eq!(new.is_some(), !consumer.holds.contains_key(&to));
            consumer.holds.entry(to).or_insert_with(|| Holding {
                delivery: old.delivery,
                since: now,
                ..Holding::default()
            });
            self.world.fanout.snapshot(slot, new.as_slice());
            self.world.fanout.pump(slot, false);
            if let Some(new) = new {
                consumer.holds.get_mut(&to).unwrap().waits = self.world.owes(slot, new);
            }
            self.left = true;
        }
    }

    /// Who can read at once and wants one frame per interval has the latest when it has passed.
    fn check_intervals(&self) {
        let now = self.now();
        for consumer in self.consumers.iter().filter(|c| !c.limited && !c.closed) {
            for (topic, holding) in &consumer.holds {
                let interval = holding.delivery.interval;
                let last = consumer.values(*topic).last();
                if holding.is_steady
                    && let Some(newest) = holding.published.last()
                    && last.is_none_or(|(_, at)| now >= at + interval)
                {
                    assert_eq!(last.map(|(value, _)| value), Some(*newest), "topic {topic} at {now:?}");
                }
            }
        }
    }

    /// What each consumer has received, after everything was sent.
    fn check(&self) {
        for consumer in &self.consumers {
            let taken = consumer.wire.0.borrow().taken.len();
            let frames = consumer.wire.frames();
            let whole: usize =
                frames.iter().map(|(_, p)| p.len() + 2 + if p.len() > 125 { 2 } else { 0 }).sum();
            assert_eq!(whole, taken, "nothing but whole frames");
            let ends = frames.iter().position(|(kind, _)| *kind == 0x88);
            assert_eq!(ends, consumer.closed.then(|| frames.len() - 1), "a close frame is the last");
            for topic in 0..TOPICS {
                let values: Vec<_> = consumer.values(topic).collect();
                let rises = values.is_sorted_by(|a, b| a.0 < b.0 || (self.left && a.0 == b.0));
                assert!(rises, "topic {topic}: {values:?}");
            }
            for (topic, holding) in &consumer.holds {
                self.check_holding(consumer, *topic, holding);
            }
        }
        let counts = self.world.fanout.counts();
        if !self.left {
            let received: usize =
                self.consumers.iter().map(|c| (0..TOPICS).map(|t| c.values(t).count()).sum::<usize>()).sum();
            assert_eq!(counts.frames, received as u64, "what is counted is what is read");
            assert_eq!(
                counts.frames + counts.conflated + counts.throttled,
                self.due,
                "each frame is sent or counted"
            );
        }
    }

    fn check_holding(&self, consumer: &Consumer, topic: u32, holding: &Holding) {
        let values: Vec<_> = consumer.values(topic).collect();
        if !consumer.closed {
            assert_eq!(values.last().map(|v| v.0), self.world.latest.get(&TopicId(topic)).copied());
        }
        let received: BTreeSet<u32> = values.iter().map(|v| v.0).collect();
        let missing = holding.promised.iter().position(|value| !received.contains(value));
        if let Some(first) = missing {
            assert!(consumer.closed, "{} was promised and is missing", holding.promised[first]);
            let behind = holding.promised[first..].iter().find(|value| received.contains(value));
            assert_eq!(behind, None, "nothing comes behind what is missing");
        }
        if !holding.is_steady {
            return;
        }
        let interval = holding.delivery.interval;
        if !interval.is_zero() {
            let span = self.now().saturating_sub(holding.since);
            let most = 1 + span.as_millis() / interval.as_millis();
            assert!(values.len() as u128 <= most, "{} in {span:?} at {interval:?}", values.len());
            if !consumer.limited {
                let apart = values.is_sorted_by(|a, b| b.1 >= a.1 + interval);
                assert!(apart, "topic {topic} at {interval:?}: {values:?}");
            }
        }
        if consumer.told {
            // What is told to be missing before a value is what is missing.
            let (mut last, mut told) = (0, 0);
            for got in &consumer.got {
                match *got {
                    Got::Skipped { topic: t, frames } if t == topic => told += frames,
                    Got::Value { topic: t, value, .. } if t == topic => {
                        let between = holding.published.iter().filter(|v| last < **v && **v < value).count();
                        if interval.is_zero() {
                            assert_eq!(told, between as u64, "between {last} and {value}");
                        } else {
                            assert!(told <= between as u64, "between {last} and {value}");
                        }
                        (last, told) = (value, 0);
                    }
                    _ => {}
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]
    #[test]
    fn every_frame_or_one_per_interval_or_the_newest(
        steps in proptest::collection::vec(step(), 1..70),
        each_bytes in prop_oneof![500..6_000_usize, 20_000..80_000_usize, Just(1 << 20)],
        total_bytes in prop_oneof![1_000..8_000_usize, Just(1 << 24)],
        told in proptest::collection::vec(any::<bool>(), CONNECTIONS),
    ) {
        let mut world = World::new(each_bytes, total_bytes);
        let consumers = told
            .into_iter()
            .map(|told| {
                let (slot, wire) = world.connect();
                world.fanout.get_mut(slot).unwrap().outbox.tell_skips(told);
                Consumer {
                    slot,
                    wire,
                    told,
                    holds: BTreeMap::new(),
                    got: Vec::new(),
                    seen: 0,
                    limited: false,
                    closed: false,
                }
            })
            .collect();
        let start = world.fanout.now;
        let mut model = Model { world, start, consumers, due: 0, left: false };
        for step in steps {
            match step {
                Step::Deliver(batches) => model.deliver(&batches),
                Step::Pass(ms) => model.world.fanout.now += Duration::from_millis(ms),
                Step::Hold(who, topic, delivery) if !model.consumers[who].closed => {
                    model.hold(who, topic, delivery);
                }
                Step::Leave(who, topic) if topic < TOPICS && !model.consumers[who].closed => {
                    model.leave(who, topic);
                }
                Step::Follow(from, to) if from < TOPICS => model.follow(from, to),
                Step::Allow(who, room, most) => {
                    let consumer = &mut model.consumers[who];
                    consumer.limited = true;
                    consumer.wire.allow(room, most);
                }
                Step::Writable(who) => model.world.fanout.pump(model.consumers[who].slot, true),
                Step::Ping(who) if !model.consumers[who].closed => {
                    let mut frame = Vec::new();
                    websocket::ping_frame(b"are you there?", &mut frame);
                    let slot = model.consumers[who].slot;
                    model.world.fanout.get_mut(slot).unwrap().outbox.ping(&frame);
                    model.world.fanout.pump(slot, false);
                }
                Step::Hold(..) | Step::Leave(..) | Step::Follow(..) | Step::Ping(_) => {}
            }
            model.settle();
            model.check_intervals();
            prop_assert!(model.world.fanout.take_broken().is_empty());
            let mut all = 0;
            for consumer in &model.consumers {
                let waiting = model.world.fanout.get(consumer.slot).unwrap().outbox.waiting();
                prop_assert!(waiting <= each_bytes.min(total_bytes) + 12_000, "{} bytes wait", waiting);
                all += waiting;
            }
            prop_assert_eq!(model.world.fanout.waiting_bytes(), all);
        }
        // One last value of every topic, then everybody reads on, and every interval passes.
        let last: Vec<_> = (0..TOPICS).map(|topic| (topic, 10)).collect();
        model.deliver(&[last]);
        model.settle();
        for consumer in &model.consumers {
            consumer.wire.allow(usize::MAX, usize::MAX);
            model.world.fanout.pump(consumer.slot, true);
        }
        model.settle();
        model.world.fanout.now += Duration::from_millis(100);
        model.settle();
        for consumer in &model.consumers {
            prop_assert!(model.world.fanout.get(consumer.slot).unwrap().outbox.is_empty());
        }
        prop_assert_eq!((model.world.fanout.slow(), model.world.fanout.waiting_bytes()), (0, 0));
        prop_assert_eq!(model.world.fanout.next_due(), None, "nothing is held back any more");
        model.check();
    }
}

pub(super) fn want(world: &mut World, slot: u32, topic: u32, delivery: Delivery) {
    world.fanout.hold(slot, &key(topic));
    world.fanout.set_delivery(slot, world.topics[topic as usize], delivery);
}

#[test]
fn what_may_be_conflated_gives_way_to_what_may_not() {
    let mut world = World::new(4_000, 1 << 24);
    let (slot, wire) = world.connect();
    want(&mut world, slot, 0, Delivery::default());
    want(&mut world, slot, 1, EVERY);
    wire.allow(0, 0);
    // Both fill the queue; then only one goes on, until what was promised fills it alone.
    for _ in 0..10 {
        let frames = [world.frame(0, 180), world.frame(1, 180)];
        world.fanout.deliver([batch(&frames, None)]);
    }
    let mut promised: u32 = 10;
    while world.fanout.get(slot).is_some_and(|m| m.outbox.waiting() + 200 <= 4_000) || promised < 19 {
        let frame = world.frame(1, 180);
        world.fanout.deliver([batch(&[frame], None)]);
        promised += 1;
        assert!(world.fanout.take_overrun().is_empty(), "there is room for {promised}");
    }
    assert_eq!(world.fanout.slow(), 1, "the other topic is conflated");
    let counts = world.fanout.counts();
    let latest = world.latest.clone();
    let frame = world.frame(1, 180);
    world.fanout.deliver([batch(&[frame], None)]);
    assert_eq!(world.fanout.take_overrun(), [slot], "this one does not fit");
    assert!(world.fanout.take_overrun().is_empty(), "told once");
    let mut close = Vec::new();
    websocket::close_frame(CloseReason::TooSlow, &mut close);
    wire.allow(usize::MAX, usize::MAX);
    world.fanout.pump(slot, true);
    let values = wire.values();
    let of = |topic: u32| values.iter().filter(move |v| v.0 == topic).map(|v| v.1);
    assert_eq!(of(1).count(), promised as usize, "up to the missing one all came");
    assert_eq!(of(1).next_back(), Some(latest[&world.topics[1]]));
    assert_eq!(of(0).collect::<Vec<_>>(), [latest[&world.topics[0]]], "of the other the latest");
    assert_eq!(counts.conflated, 9);
}

#[test]
fn many_latest_values_at_once_end_no_connection_that_reads() {
    let mut world = World::new(500, 1 << 24);
    let (witness, _) = world.connect();
    for topic in 0..TOPICS {
        world.fanout.hold(witness, &key(topic));
    }
    let frames: Vec<_> = (0..TOPICS).map(|topic| world.frame(topic, 200)).collect();
    world.fanout.deliver([batch(&frames, None)]);
    let (slot, wire) = world.connect();
    for topic in 0..TOPICS {
        want(&mut world, slot, topic, EVERY);
    }
    let topics = world.topics.clone();
    world.fanout.snapshot(slot, &topics);
    world.fanout.pump(slot, false);
    assert_eq!((wire.values().len(), world.fanout.take_overrun()), (TOPICS as usize, vec![]));
}

#[test]
fn who_has_no_wishes_pays_for_nobody_who_has() {
    let exact = |wishes: bool| {
        let mut world = World::new(1 << 20, 1 << 24);
        let (plain, wire) = world.connect();
        for topic in 0..TOPICS {
            world.fanout.hold(plain, &key(topic));
        }
        if wishes {
            let (other, _) = world.connect();
            want(&mut world, other, 0, every_ms(1_000));
            // Its first frame, so that nothing of it is counted below.
            let frame = world.frame(0, 0);
            world.fanout.deliver([batch(&[frame], None)]);
            wire.0.borrow_mut().taken.clear();
        } else {
            world.value += 1;
        }
        let before = world.fanout.counts();
        for _ in 0..50 {
            let frames: Vec<_> = (0..20).map(|i| world.frame(i % TOPICS, 100)).collect();
            world.fanout.deliver([batch(&frames, None)]);
        }
        let counts = world.fanout.counts();
        let exact = [
            counts.frames - before.frames,
            counts.writes - before.writes,
            counts.bytes_written - before.bytes_written,
            counts.bytes_copied - before.bytes_copied,
            counts.turns - before.turns,
        ];
        let bytes = wire.0.borrow().taken.clone();
        (exact, bytes, counts.throttled)
    };
    let (without, bytes, none) = exact(false);
    let (with, same_bytes, throttled) = exact(true);
    assert_eq!(without, with);
    assert!(bytes == same_bytes, "to the byte");
    // 200 frames of the topic, of which the last is held back.
    assert_eq!((none, throttled), (0, 199));
}
