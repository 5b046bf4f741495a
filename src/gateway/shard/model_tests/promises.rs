//! What consumers that want every frame may rely on, case by case: that others cost them nothing, that
//! a long list ends nobody, that nothing forgotten grows.

use super::options::{EVERY, every_ms, want};
use super::*;
use crate::protocol::openalgo::options::Delivery;

/// Conflating connections that do not read, each with as much waiting as may.
fn fill_total(world: &mut World, count: usize) {
    for _ in 0..count {
        let (slot, wire) = world.connect();
        world.fanout.hold(slot, &key(4));
        wire.allow(0, 0);
    }
    for _ in 0..40 {
        let frame = world.frame(4, 180);
        world.fanout.deliver([batch(&[frame], None)]);
    }
}

#[test]
fn others_that_are_slow_end_nobody_who_wants_every_frame() {
    let mut world = World::new(8_000, 16_000);
    fill_total(&mut world, 3);
    assert!(world.fanout.waiting_bytes() > 15_700, "{}", world.fanout.waiting_bytes());
    let (slot, wire) = world.connect();
    want(&mut world, slot, 0, EVERY);
    wire.allow(0, 0);
    for _ in 0..2 {
        let frame = world.frame(0, 180);
        world.fanout.deliver([batch(&[frame], None)]);
    }
    assert!(world.fanout.take_overrun().is_empty(), "a sixteenth of 8000 bytes is its own");
    wire.allow(usize::MAX, usize::MAX);
    world.fanout.pump(slot, true);
    assert_eq!(wire.values().len(), 2);
    let frame = world.frame(0, 180);
    wire.allow(0, 0);
    // Beyond that there is as little room as before.
    for _ in 0..3 {
        world.fanout.deliver([batch(&[frame], None)]);
    }
    assert_eq!(world.fanout.take_overrun(), [slot]);
}

#[test]
fn latest_values_that_do_not_fit_leave_later_and_the_promise_begins_with_them() {
    let mut world = World::new(1_000, 1 << 24);
    let (witness, _) = world.connect();
    for topic in 0..TOPICS {
        world.fanout.hold(witness, &key(topic));
    }
    let frames: Vec<_> = (0..TOPICS).map(|topic| world.frame(topic, 230)).collect();
    world.fanout.deliver([batch(&frames, None)]);
    let (slot, wire) = world.connect();
    wire.allow(0, 0);
    for topic in 0..TOPICS {
        want(&mut world, slot, topic, EVERY);
    }
    let topics = world.topics.clone();
    world.fanout.snapshot(slot, &topics);
    world.fanout.pump(slot, false);
    assert!(world.fanout.take_overrun().is_empty(), "five times 240 bytes are more than may wait");
    // The first is queued, so no frame of it may be missing. The last is owed: the newest leaves.
    let first = [world.frame(0, 20), world.frame(0, 20)];
    let last = [world.frame(4, 20), world.frame(4, 20)];
    world.fanout.deliver([batch(&first, None), batch(&last, None)]);
    wire.allow(usize::MAX, usize::MAX);
    world.fanout.pump(slot, true);
    let frame = world.frame(4, 20);
    world.fanout.deliver([batch(&[frame], None)]);
    assert!(world.fanout.take_overrun().is_empty());
    let values = wire.values();
    let of = |topic: u32| values.iter().filter(|v| v.0 == topic).map(|v| v.1).collect::<Vec<_>>();
    assert_eq!((of(0), of(4)), (vec![1, first[0].1, first[1].1], vec![last[1].1, frame.1]));
    assert_eq!((of(1).len(), of(2).len(), of(3).len()), (1, 1, 1));
}

#[test]
fn what_waited_before_the_first_promise_takes_no_room_of_it() {
    for earlier in [false, true] {
        let mut world = World::new(8_000, 1 << 24);
        let (slot, wire) = world.connect();
        want(&mut world, slot, 0, Delivery::default());
        if earlier {
            want(&mut world, slot, 2, EVERY);
        }
        wire.allow(0, 0);
        for _ in 0..60 {
            let frame = world.frame(0, 180);
            world.fanout.deliver([batch(&[frame], None)]);
        }
        if earlier {
            // With the last promise it is forgotten whose frames wait.
            world.fanout.drop_topic(slot, TopicId(2));
        }
        want(&mut world, slot, 1, EVERY);
        for _ in 0..2 {
            let frame = world.frame(1, 180);
            world.fanout.deliver([batch(&[frame], None)]);
        }
        assert!(world.fanout.take_overrun().is_empty(), "the queue was full of what may be left out");
        wire.allow(usize::MAX, usize::MAX);
        world.fanout.pump(slot, true);
        assert_eq!(wire.values().iter().filter(|v| v.0 == 1).count(), 2);
    }
}

#[test]
fn a_promise_that_follows_a_name_still_has_what_gives_way() {
    let mut world = World::new(8_000, 1 << 24);
    let (slot, wire) = world.connect();
    want(&mut world, slot, 0, Delivery::default());
    want(&mut world, slot, 1, EVERY);
    wire.allow(0, 0);
    for _ in 0..30 {
        let frame = world.frame(0, 180);
        world.fanout.deliver([batch(&[frame], None)]);
    }
    assert_eq!(world.fanout.follow(TopicId(1), &key(2)), [(slot, Some(TopicId(2)))]);
    for _ in 0..30 {
        let frame = world.frame(2, 180);
        world.fanout.deliver([batch(&[frame], None)]);
    }
    assert!(world.fanout.take_overrun().is_empty());
}

#[test]
fn who_takes_and_leaves_with_a_long_interval_fills_no_memory() {
    let mut world = World::new(1 << 20, 1 << 24);
    let (slot, _) = world.connect();
    for _ in 0..1_000 {
        for topic in 0..TOPICS {
            want(&mut world, slot, topic, every_ms(3_600_000));
        }
        for _ in 0..2 {
            let frames: Vec<_> = (0..TOPICS).map(|topic| world.frame(topic, 0)).collect();
            world.fanout.deliver([batch(&frames, None)]);
        }
        world.fanout.now += std::time::Duration::from_millis(1);
        world.fanout.drop_all(slot);
        assert!(world.fanout.topics.noted_due() <= 1_024, "{}", world.fanout.topics.noted_due());
    }
    // The same where nobody leaves, but the interval comes and goes.
    for _ in 0..1_000 {
        for topic in 0..TOPICS {
            want(&mut world, slot, topic, every_ms(3_600_000));
        }
        for _ in 0..2 {
            let frames: Vec<_> = (0..TOPICS).map(|topic| world.frame(topic, 0)).collect();
            world.fanout.deliver([batch(&frames, None)]);
        }
        world.fanout.now += std::time::Duration::from_millis(1);
        for topic in 0..TOPICS {
            want(&mut world, slot, topic, Delivery::default());
        }
        assert!(world.fanout.topics.noted_due() <= 1_024, "{}", world.fanout.topics.noted_due());
    }
}

#[test]
fn what_gave_way_is_told_with_the_time_since_it_came() {
    let ms = std::time::Duration::from_millis;
    let mut world = World::new(1_000, 1 << 24);
    let (slot, wire) = world.connect();
    world.fanout.get_mut(slot).unwrap().outbox.tell_skips(true);
    want(&mut world, slot, 0, Delivery::default());
    want(&mut world, slot, 1, EVERY);
    wire.allow(0, 0);
    for pause in [70, 30, 400] {
        let frame = world.frame(0, 180);
        world.fanout.deliver([batch(&[frame], None)]);
        world.fanout.now += ms(pause);
    }
    // Nothing was late before this one needed the room.
    let frame = world.frame(1, 700);
    world.fanout.deliver([batch(&[frame], None)]);
    wire.allow(usize::MAX, usize::MAX);
    world.fanout.pump(slot, true);
    let notices: Vec<_> = wire
        .frames()
        .into_iter()
        .filter_map(|(_, payload)| serde_json::from_slice::<serde_json::Value>(&payload).ok())
        .map(|notice| (notice["skipped"].clone(), notice["span_ms"].clone()))
        .collect();
    assert_eq!(notices, [(2.into(), 100.into())]);
}
