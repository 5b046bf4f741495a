//! The fan-out against a model: whatever the batches, subscriptions, partial writes and
//! stalls, every connection reads whole frames, each topic's values only ever grow newer, and
//! the last one is the latest. One file although it is long: every test stands on the same model.

mod options;
mod promises;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;
use tokio::time::Instant;

use super::fanout::{Fanout, Overflow};
use crate::clock::UnixNanos;
use crate::gateway::connection::wire::Wire;
use crate::hub::{Batch, Encoding, Entry, Hub, ShardId, TopicId, TopicKey};
use crate::market::{Exchange, InstrumentId, Segment};
use crate::protocol::close::CloseReason;
use crate::protocol::{Mode, websocket};

/// A socket that takes as much as it is told to.
#[derive(Clone, Default)]
struct FakeWire(Rc<RefCell<Tap>>);

#[derive(Default)]
struct Tap {
    /// Bytes it takes before it says that it is full.
    room: usize,
    /// The most it takes at once.
    most: usize,
    taken: Vec<u8>,
    broken: bool,
}

impl Wire for FakeWire {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut tap = self.0.borrow_mut();
        if tap.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        assert!(slices.len() <= 64 && slices.iter().any(|s| !s.is_empty()), "nothing to write");
        if tap.room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let all: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
        let len = all.len().min(tap.room).min(tap.most.max(1));
        tap.room -= len;
        tap.taken.extend_from_slice(&all[..len]);
        Ok(len)
    }
}

impl FakeWire {
    fn allow(&self, room: usize, most: usize) {
        let mut tap = self.0.borrow_mut();
        (tap.room, tap.most) = (room, most);
    }

    /// The whole frames that were taken so far, as (opcode byte, payload); panics if anything
    /// behind them is no frame's beginning.
    fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        let tap = self.0.borrow();
        let (mut rest, mut found) = (&tap.taken[..], Vec::new());
        loop {
            let (len, at) = match rest {
                [_, 126, a, b, ..] => (usize::from(u16::from_be_bytes([*a, *b])), 4),
                [_, 127, long @ ..] if long.len() >= 8 => {
                    (u64::from_be_bytes(long[..8].try_into().unwrap()) as usize, 10)
                }
                [_, len, ..] if *len < 126 => (usize::from(*len), 2),
                _ => return found,
            };
            assert!([0x81, 0x88, 0x89, 0x8a].contains(&rest[0]), "no frame begins with {:#x}", rest[0]);
            if rest.len() < at + len {
                return found;
            }
            found.push((rest[0], rest[at..at + len].to_vec()));
            rest = &rest[at + len..];
        }
    }

    /// Topic and value of every market-data frame.
    fn values(&self) -> Vec<(u32, u32)> {
        self.frames().iter().filter_map(|(_, payload)| parse(payload)).collect()
    }
}

/// `topic:value`, padded to any length with dots.
fn payload(topic: u32, value: u32, pad: usize) -> Vec<u8> {
    let mut text = format!("{topic}:{value}:").into_bytes();
    text.resize(text.len() + pad, b'.');
    text
}

fn parse(payload: &[u8]) -> Option<(u32, u32)> {
    let text = std::str::from_utf8(payload).ok()?;
    let mut parts = text.split(':');
    let found = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    assert!(parts.next()?.bytes().all(|b| b == b'.'), "a torn frame: {text}");
    Some(found)
}

fn batch(frames: &[(TopicId, u32, usize)], only: Option<ShardId>) -> Arc<Batch> {
    let mut batch = Batch { oldest_recv: UnixNanos::ZERO, ..Batch::default() };
    for &(topic, value, pad) in frames {
        let offset = batch.bytes.len() as u32;
        websocket::text_frame(&mut batch.bytes, |out| out.extend_from_slice(&payload(topic.0, value, pad)));
        let len = batch.bytes.len() as u32 - offset;
        batch.entries.push(Entry { topic, offset, len, only, sequence: 0 });
    }
    Arc::new(batch)
}

const TOPICS: u32 = 5;

fn key(topic: u32) -> TopicKey {
    TopicKey {
        instrument: InstrumentId { segment: Segment::NseCash, code: topic },
        mode: Mode::Ltp,
        encoding: Encoding::Json,
        exchange: Exchange::Nse,
        symbol: format!("S{topic}").into(),
    }
}

struct World {
    fanout: Fanout<FakeWire, ()>,
    /// Keeps the numbers of the topics known from the start.
    topics: Vec<TopicId>,
    value: u32,
    latest: BTreeMap<TopicId, u32>,
}

impl World {
    fn new(each_bytes: usize, total_bytes: usize) -> Self {
        let hub = Hub::new("model");
        let queue = hub.attach_shard();
        let topics: Vec<_> = (0..TOPICS).map(|t| hub.acquire(queue.id(), key(t))).collect();
        let fanout = Fanout::new(hub, queue.id(), Overflow { each_bytes, total_bytes }, Instant::now());
        Self { fanout, topics, value: 0, latest: BTreeMap::new() }
    }

    fn connect(&mut self) -> (u32, FakeWire) {
        let wire = FakeWire::default();
        wire.allow(usize::MAX, usize::MAX);
        (self.fanout.insert(wire.clone(), |_| ()), wire)
    }

    fn frame(&mut self, topic: u32, pad: usize) -> (TopicId, u32, usize) {
        self.value += 1;
        let topic = self.topics[topic as usize];
        self.latest.insert(topic, self.value);
        (topic, self.value, pad)
    }

    fn owes(&self, slot: u32, topic: TopicId) -> bool {
        self.fanout.get(slot).unwrap().outbox.owes(topic)
    }

    fn acknowledge(&mut self, slot: u32, topic: u32) {
        let ack = format!("ack {}", self.topics[topic as usize].0);
        self.fanout.get_mut(slot).unwrap().outbox.answer(|out| {
            websocket::text_frame(out, |out| out.extend_from_slice(ack.as_bytes()));
        });
    }

    fn hold(&mut self, slot: u32, topic: u32) -> bool {
        let taken = self.fanout.hold(slot, &key(topic));
        self.acknowledge(slot, topic);
        self.fanout.snapshot(slot, taken.as_slice());
        self.fanout.pump(slot, false);
        taken.is_some()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Batches delivered in one turn: topic and padding of each frame.
    Deliver(Vec<Vec<(u32, usize)>>),
    Hold(usize, u32),
    Leave(usize, u32),
    /// All who hold the first topic hold the second in its place; or nothing, if there is none.
    Follow(u32, Option<u32>),
    /// How much a connection's socket takes from now on, and how much of it at once.
    Allow(usize, usize, usize),
    /// The socket says that it may take more.
    Writable(usize),
    Ping(usize),
    Pong(usize),
    Close(usize),
}

const CONNECTIONS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let who = 0..CONNECTIONS;
    let frame = (0..TOPICS, prop_oneof![0..30_usize, 100..300_usize, 1_000..5_000_usize]);
    let batches = proptest::collection::vec(proptest::collection::vec(frame, 1..12), 1..4);
    prop_oneof![
        4 => batches.prop_map(Step::Deliver),
        2 => (who.clone(), 0..TOPICS).prop_map(|(w, t)| Step::Hold(w, t)),
        1 => (who.clone(), 0..TOPICS).prop_map(|(w, t)| Step::Leave(w, t)),
        1 => (0..TOPICS, proptest::option::of(0..TOPICS))
            .prop_filter("another", |(from, to)| Some(*from) != *to)
            .prop_map(|(from, to)| Step::Follow(from, to)),
        3 => (who.clone(), prop_oneof![Just(0), 1..50_usize, 50..5_000_usize, Just(1 << 30)], 1..10_000_usize)
            .prop_map(|(w, room, most)| Step::Allow(w, room, most)),
        3 => who.clone().prop_map(Step::Writable),
        1 => who.clone().prop_map(Step::Ping),
        1 => who.clone().prop_map(Step::Pong),
        1 => (0..CONNECTIONS * 6).prop_map(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn whole_frames_newer_values_and_the_latest_last(
        steps in proptest::collection::vec(step(), 1..60),
        each_bytes in prop_oneof![200..2_000_usize, Just(1 << 20)],
        total_bytes in prop_oneof![200..4_000_usize, Just(1 << 24)],
    ) {
        let mut world = World::new(each_bytes, total_bytes);
        let wires: Vec<_> = (0..CONNECTIONS).map(|_| world.connect()).collect();
        let mut held = vec![BTreeSet::new(); CONNECTIONS];
        let mut closed = [false; CONNECTIONS];
        // Frames that are owed, the latest ones upon subscribing included.
        let mut due = 0_u64;
        let mut left = false;
        for step in steps {
            match step {
                Step::Deliver(batches) => {
                    let batches: Vec<_> = batches
                        .iter()
                        .map(|frames| {
                            let frames: Vec<_> =
                                frames.iter().map(|(topic, pad)| world.frame(*topic, *pad)).collect();
                            for (topic, _, _) in &frames {
                                due += held.iter().filter(|h| h.contains(&topic.0)).count() as u64;
                            }
                            batch(&frames, None)
                        })
                        .collect();
                    world.fanout.deliver(batches);
                }
                Step::Hold(who, topic) if !closed[who] => {
                    let known = !world.fanout.topics.latest(world.topics[topic as usize]).is_empty();
                    let new = world.hold(wires[who].0, topic);
                    due += u64::from(new && known);
                    prop_assert_eq!(new, held[who].insert(world.topics[topic as usize].0));
                    // A topic nobody here held has no latest frame until the next one.
                }
                Step::Leave(who, topic) => {
                    let topic = world.topics[topic as usize];
                    let was = world.fanout.drop_topic(wires[who].0, topic);
                    prop_assert_eq!(was, held[who].remove(&topic.0));
                    left = true;
                }
                Step::Follow(from, to) => {
                    let old = world.topics[from as usize];
                    let followed = match to {
                        Some(to) => world.fanout.follow(old, &key(to)),
                        None => world.fanout.leave(old).into_iter().map(|slot| (slot, None)).collect(),
                    };
                    prop_assert!(world.fanout.topics.holders(old).is_empty());
                    for (slot, new) in followed {
                        let held = &mut held[wires.iter().position(|(s, _)| *s == slot).unwrap()];
                        prop_assert!(held.remove(&old.0));
                        let to_id = to.map(|to| world.topics[to as usize]);
                        let is_new = to_id.is_some_and(|to| held.insert(to.0));
                        prop_assert_eq!(new, to_id.filter(|_| is_new));
                        if let Some(to) = to {
                            world.acknowledge(slot, to);
                        }
                        world.fanout.snapshot(slot, new.as_slice());
                        world.fanout.pump(slot, false);
                    }
                    left = true;
                }
                Step::Allow(who, room, most) => wires[who].1.allow(room, most),
                Step::Writable(who) => world.fanout.pump(wires[who].0, true),
                Step::Ping(who) if !closed[who] => {
                    let mut frame = Vec::new();
                    websocket::ping_frame(b"are you there?", &mut frame);
                    world.fanout.get_mut(wires[who].0).unwrap().outbox.ping(&frame);
                    world.fanout.pump(wires[who].0, false);
                }
                Step::Pong(who) if !closed[who] => {
                    let mut frame = Vec::new();
                    websocket::pong_frame(b"yes", &mut frame);
                    world.fanout.get_mut(wires[who].0).unwrap().outbox.pong(&frame);
                    world.fanout.pump(wires[who].0, false);
                }
                Step::Close(who) if who < CONNECTIONS && !closed[who] => {
                    let mut frame = Vec::new();
                    websocket::close_frame(CloseReason::Shutdown, &mut frame);
                    world.fanout.drop_all(wires[who].0);
                    world.fanout.get_mut(wires[who].0).unwrap().outbox.close(&frame);
                    world.fanout.pump(wires[who].0, false);
                    held[who].clear();
                    closed[who] = true;
                    left = true;
                }
                Step::Hold(..) | Step::Ping(_) | Step::Pong(_) | Step::Close(_) => {}
            }
            prop_assert!(world.fanout.take_broken().is_empty());
            // What waits for one stays within its bound, but for the frame that is begun and
            // for answers and refills, which are bounded on their own.
            for (slot, _) in &wires {
                let waiting = world.fanout.get(*slot).unwrap().outbox.waiting();
                prop_assert!(waiting <= each_bytes.min(total_bytes) + 12_000, "{} bytes wait", waiting);
            }
        }
        // One last value of every topic, then everybody reads on.
        let last: Vec<_> = (0..TOPICS).map(|topic| world.frame(topic, 10)).collect();
        due += held.iter().map(BTreeSet::len).sum::<usize>() as u64;
        world.fanout.deliver([batch(&last, None)]);
        let mut received = 0;
        for (who, (slot, wire)) in wires.iter().enumerate() {
            wire.allow(usize::MAX, usize::MAX);
            world.fanout.pump(*slot, true);
            prop_assert!(world.fanout.get(*slot).unwrap().outbox.is_empty());
            let whole: usize = wire.frames().iter().map(|(_, p)| p.len() + 2 + if p.len() > 125 { 2 } else { 0 }).sum();
            prop_assert_eq!(whole, wire.0.borrow().taken.len(), "nothing but whole frames");
            // What a binary consumer is told of a topic's number goes the way of answers.
            let mut told = BTreeSet::new();
            for (_, payload) in wire.frames() {
                if let Some(topic) = payload.strip_prefix(b"ack ") {
                    told.insert(String::from_utf8_lossy(topic).parse::<u32>().unwrap());
                } else if let Some((topic, _)) = parse(&payload) {
                    prop_assert!(told.contains(&topic), "{} came before the answer", topic);
                }
            }
            let mut newest: BTreeMap<u32, u32> = BTreeMap::new();
            for (topic, value) in wire.values() {
                let before = newest.insert(topic, value).unwrap_or(0);
                // A topic that was left and taken again may begin with the value it ended with.
                let newer = value > before || (left && value == before);
                prop_assert!(newer, "topic {} went from {} to {}", topic, before, value);
                received += 1;
            }
            for topic in &held[who] {
                prop_assert_eq!(newest.get(topic), Some(&world.latest[&TopicId(*topic)]));
            }
            let kinds: Vec<u8> = wire.frames().iter().map(|(kind, _)| *kind).collect();
            let ends = kinds.iter().position(|k| *k == 0x88);
            prop_assert_eq!(ends, closed[who].then(|| kinds.len() - 1), "a close frame is the last");
        }
        let counts = world.fanout.counts();
        prop_assert_eq!(world.fanout.slow(), 0);
        if !left {
            // What is dropped when a topic is left is not counted.
            prop_assert_eq!(counts.frames, received, "what is counted is what is read");
            prop_assert_eq!(counts.frames + counts.conflated, due, "each frame is sent or counted");
        }
    }
}

#[test]
fn one_write_per_connection_and_turn_whatever_the_number_of_frames() {
    let mut world = World::new(1 << 20, 1 << 24);
    let (dense, dense_wire) = world.connect();
    let (sparse, _) = world.connect();
    let (_idle, idle_wire) = world.connect();
    for topic in 0..TOPICS {
        world.fanout.hold(dense, &key(topic));
    }
    world.fanout.hold(sparse, &key(1));
    let batches: Vec<_> = (0..4)
        .map(|_| {
            let frames: Vec<_> = (0..50).map(|i| world.frame(i % TOPICS, 200)).collect();
            batch(&frames, None)
        })
        .collect();
    let bytes: usize = batches.iter().map(|b| b.bytes.len()).sum();
    world.fanout.deliver(batches);
    let counts = world.fanout.counts();
    assert_eq!((counts.frames, counts.writes, counts.turns), (240, 2, 1));
    assert_eq!(dense_wire.0.borrow().taken.len(), bytes);
    assert!(idle_wire.0.borrow().taken.is_empty());
    // The one that wants everything has a run per batch, sent from where it stands; the other
    // one's short runs are copied together.
    assert!(counts.bytes_copied < bytes as u64 / 4, "{} of {bytes} bytes were copied", counts.bytes_copied);
}

#[test]
fn a_slow_consumer_gets_the_latest_and_the_rest_is_counted() {
    let mut world = World::new(1_000, 1 << 24);
    let (slow, slow_wire) = world.connect();
    let (quick, quick_wire) = world.connect();
    for slot in [slow, quick] {
        world.fanout.hold(slot, &key(0));
        world.fanout.hold(slot, &key(1));
    }
    slow_wire.allow(150, 150);
    for _ in 0..100 {
        let frames = [world.frame(0, 50), world.frame(1, 50)];
        world.fanout.deliver([batch(&frames, None)]);
    }
    assert_eq!((world.fanout.slow(), quick_wire.values().len()), (1, 200), "the other one lost nothing");
    slow_wire.allow(usize::MAX, usize::MAX);
    world.fanout.pump(slow, true);
    assert_eq!(world.fanout.slow(), 0);
    let values = slow_wire.values();
    assert_eq!(values[values.len() - 2..].iter().map(|v| v.1).collect::<BTreeSet<_>>(), [199, 200].into());
    assert!(values.is_sorted_by_key(|v| v.1), "{values:?}");
    let counts = world.fanout.counts();
    assert_eq!(counts.conflated, 200 - values.len() as u64, "each frame was sent or counted");
    assert_eq!(counts.frames, 200 + values.len() as u64);
}

#[test]
fn a_slow_consumer_is_owed_nothing_of_a_topic_that_was_replaced() {
    let mut world = World::new(200, 1 << 24);
    let (slow, wire) = world.connect();
    let (quick, _) = world.connect();
    world.fanout.hold(slow, &key(0));
    world.fanout.hold(quick, &key(1));
    wire.allow(0, 0);
    for _ in 0..20 {
        let frames = [world.frame(0, 50), world.frame(1, 50)];
        world.fanout.deliver([batch(&frames, None)]);
    }
    let (old, new) = (world.topics[0], world.topics[1]);
    assert_eq!((world.fanout.slow(), world.latest[&old], world.latest[&new]), (1, 39, 40));
    for (slot, taken) in world.fanout.follow(old, &key(1)) {
        assert_eq!((slot, taken), (slow, Some(new)));
        world.fanout.snapshot(slot, &[new]);
    }
    wire.allow(usize::MAX, usize::MAX);
    world.fanout.pump(slow, true);
    // What was queued before the bound, and then the new topic's latest instead of the old one's.
    let values = wire.values();
    assert!(!values.contains(&(old.0, 39)), "{values:?}");
    assert_eq!(values.last(), Some(&(new.0, 40)));
    assert_eq!(world.fanout.topics.holders(new), [quick, slow]);
}

#[test]
fn many_slow_consumers_share_a_bound() {
    let mut world = World::new(10_000, 15_000);
    let wires: Vec<_> = (0..4).map(|_| world.connect()).collect();
    for (slot, wire) in &wires {
        world.fanout.hold(*slot, &key(0));
        wire.allow(0, 0);
    }
    for _ in 0..200 {
        let frame = world.frame(0, 100);
        world.fanout.deliver([batch(&[frame], None)]);
        let waiting: usize =
            wires.iter().map(|(slot, _)| world.fanout.get(*slot).unwrap().outbox.waiting()).sum();
        assert!(waiting <= 15_000, "{waiting}");
    }
    assert_eq!(world.fanout.slow(), 4);
    // Those that go give their part back.
    for (slot, _) in &wires[..3] {
        world.fanout.remove(*slot);
    }
    assert_eq!((world.fanout.slow(), world.fanout.count()), (1, 1));
}

#[test]
fn a_frame_meant_for_another_shard_is_passed_over() {
    let mut world = World::new(1 << 20, 1 << 24);
    let other = Hub::new("x");
    other.attach_shard();
    let stranger = other.attach_shard().id();
    let (slot, wire) = world.connect();
    world.hold(slot, 0);
    let frame = world.frame(0, 5);
    world.fanout.deliver([batch(&[frame], Some(stranger))]);
    assert_eq!(wire.values(), []);
    let own = world.fanout.topics.shard();
    world.fanout.deliver([batch(&[frame], Some(own))]);
    assert_eq!(wire.values(), [(frame.0.0, frame.1)]);
    // It has been seen: the publisher did not know that when it sent it for this shard.
    let own = world.fanout.topics.shard();
    world.fanout.deliver([batch(&[frame], Some(own))]);
    assert_eq!(wire.values().len(), 1);
}

#[test]
fn a_later_holder_begins_with_the_latest_frame() {
    let mut world = World::new(1 << 20, 1 << 24);
    let (first, _) = world.connect();
    world.hold(first, 0);
    let frames = [world.frame(0, 5), world.frame(0, 5)];
    world.fanout.deliver([batch(&frames, None)]);
    let (second, wire) = world.connect();
    world.hold(second, 0);
    let got: Vec<_> = wire.frames().into_iter().map(|(_, p)| String::from_utf8(p).unwrap()).collect();
    assert_eq!(got, ["ack 0".to_owned(), format!("{}:2:.....", frames[1].0.0)], "behind the answer");
    // While nobody holds it, a topic grows old and is forgotten.
    for slot in [first, second] {
        world.fanout.drop_all(slot);
    }
    let (third, wire) = world.connect();
    world.hold(third, 0);
    assert_eq!(wire.frames().len(), 1);
}

#[test]
fn a_broken_socket_is_reported_once_per_write_and_harms_nobody() {
    let mut world = World::new(1 << 20, 1 << 24);
    let (broken, broken_wire) = world.connect();
    let (sound, sound_wire) = world.connect();
    for slot in [broken, sound] {
        world.fanout.hold(slot, &key(0));
    }
    broken_wire.0.borrow_mut().broken = true;
    let frame = world.frame(0, 5);
    world.fanout.deliver([batch(&[frame], None)]);
    let found: Vec<_> = world.fanout.take_broken().into_iter().map(|(slot, _)| slot).collect();
    assert_eq!(found, [broken]);
    world.fanout.remove(broken);
    assert_eq!(sound_wire.values().len(), 1);
    // Its number is given away again, its subscriptions are not.
    let (again, wire) = world.connect();
    assert_eq!(again, broken);
    let frame = world.frame(0, 5);
    world.fanout.deliver([batch(&[frame], None)]);
    assert_eq!(wire.values(), []);
}
