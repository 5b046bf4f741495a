//! Consumers that want at most one frame of a topic per interval: the first at once, the last of a
//! burst when the interval ends. Not the frames: the shard keeps the latest of each topic.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tokio::time::{Duration, Instant};

use crate::hub::TopicId;

/// Fewer wrong entries than this are left in the heap.
const TIDY_FROM: usize = 1024;

/// A connection that holds a topic with an interval.
#[derive(Debug)]
pub(crate) struct Paced {
    pub(crate) slot: u32,
    interval: Duration,
    /// Not before this may another frame leave.
    next: Instant,
    /// A frame is held back until then.
    owed: bool,
    /// Its entry in the heap.
    armed: Option<Instant>,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It leaves; `instead` of one that was held back.
    Send { instead: bool },
    /// It is held back.
    Hold,
    /// It is held back instead of one before it.
    Replace,
}

impl Paced {
    pub(crate) fn new(slot: u32, interval: Duration, now: Instant) -> Self {
        Self { slot, interval, next: now, owed: false, armed: None }
    }

    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// When its entry in the heap is for.
    pub(crate) fn armed(&self) -> Option<Instant> {
        self.armed
    }

    /// A frame has come.
    pub(crate) fn offer(&mut self, now: Instant) -> Pace {
        if now >= self.next {
            Pace::Send { instead: self.sent(now) }
        } else if std::mem::replace(&mut self.owed, true) {
            Pace::Replace
        } else {
            Pace::Hold
        }
    }

    /// The latest frame leaves now, for whatever reason; whether one was held back.
    pub(crate) fn sent(&mut self, now: Instant) -> bool {
        self.next = now + self.interval;
        std::mem::take(&mut self.owed)
    }

    /// Counts from the last frame on.
    pub(crate) fn set_interval(&mut self, interval: Duration) {
        // The last frame was before the end of an interval, which started in this process' time.
        self.next = self.next.checked_sub(self.interval).unwrap_or(self.next) + interval;
        self.interval = interval;
    }
}

/// When which frames that are held back are due. One heap for all consumers of a shard; entries
/// that have become wrong are passed over.
#[derive(Debug, Default)]
pub(crate) struct Due(BinaryHeap<Reverse<(Instant, TopicId, u32)>>);

impl Due {
    /// Makes sure that a frame which is held back is not forgotten.
    pub(crate) fn arm(&mut self, topic: TopicId, paced: &mut Paced) {
        if paced.owed && paced.armed.is_none_or(|armed| armed > paced.next) {
            paced.armed = Some(paced.next);
            self.0.push(Reverse((paced.next, topic, paced.slot)));
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The earliest time.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Takes out an entry whose time has come.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Instant, TopicId, u32)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }

    /// Whether what an entry says of a connection still holds: the frame is due. Arms it again if it
    /// is due later.
    pub(crate) fn is_due(&mut self, at: Instant, topic: TopicId, paced: &mut Paced, now: Instant) -> bool {
        if paced.armed != Some(at) {
            return false;
        }
        paced.armed = None;
        if paced.owed && paced.next <= now {
            return true;
        }
        self.arm(topic, paced);
        false
    }

    /// Drops wrong entries if there may be many: `holders` is how many connections can have one, and
    /// `armed` says whose is right.
    pub(crate) fn tidy(&mut self, holders: usize, mut armed: impl FnMut(TopicId, u32) -> Option<Instant>) {
        if self.0.len() >= TIDY_FROM.max(2 * holders) {
            self.0.retain(|Reverse((at, topic, slot))| armed(*topic, *slot) == Some(*at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: TopicId = TopicId(3);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_first_at_once_then_one_per_interval_and_the_last_at_its_end() {
        let start = Instant::now();
        let (mut paced, mut due) = (Paced::new(7, ms(100), start), Due::default());
        assert_eq!(paced.offer(start), Pace::Send { instead: false });
        assert_eq!(paced.offer(start + ms(10)), Pace::Hold);
        due.arm(TOPIC, &mut paced);
        assert_eq!(paced.offer(start + ms(20)), Pace::Replace);
        due.arm(TOPIC, &mut paced);
        assert_eq!(due.0.len(), 1, "one entry, however many frames");
        assert_eq!(due.pop(start + ms(99)), None);
        let (at, topic, slot) = due.pop(start + ms(105)).unwrap();
        assert_eq!((at, topic, slot), (start + ms(100), TOPIC, 7));
        assert!(due.is_due(at, TOPIC, &mut paced, start + ms(105)));
        assert!(paced.sent(start + ms(105)));
        assert_eq!(paced.offer(start + ms(204)), Pace::Hold);
        // The timer is late: a frame that comes meanwhile leaves in place of the one held back.
        assert_eq!(paced.offer(start + ms(205)), Pace::Send { instead: true });
        assert_eq!(due.next(), None);
    }

    #[test]
    fn another_interval_counts_from_the_last_frame() {
        let start = Instant::now() + ms(10_000);
        let (mut paced, mut due) = (Paced::new(0, ms(1_000), start), Due::default());
        paced.offer(start);
        paced.offer(start + ms(1));
        due.arm(TOPIC, &mut paced);
        paced.set_interval(ms(50));
        due.arm(TOPIC, &mut paced);
        let (at, ..) = due.pop(start + ms(50)).unwrap();
        assert!(due.is_due(at, TOPIC, &mut paced, start + ms(50)));
        paced.sent(start + ms(50));
        let (at, ..) = due.pop(start + ms(1_000)).unwrap();
        assert!(!due.is_due(at, TOPIC, &mut paced, start + ms(1_000)), "the entry has become wrong");
        paced.offer(start + ms(60));
        due.arm(TOPIC, &mut paced);
        paced.set_interval(ms(500));
        let (at, ..) = due.pop(start + ms(100)).unwrap();
        assert!(!due.is_due(at, TOPIC, &mut paced, start + ms(100)), "due later now");
        assert_eq!(due.next(), Some(start + ms(550)));
    }

    #[test]
    fn who_changes_the_interval_again_and_again_fills_no_memory() {
        let start = Instant::now() + ms(10_000_000);
        let (mut paced, mut due) = (Paced::new(0, ms(3_000_000), start), Due::default());
        paced.offer(start);
        paced.offer(start);
        for step in 0..100_000 {
            paced.set_interval(ms(3_000_000 - step));
            due.arm(TOPIC, &mut paced);
            let armed = paced.armed();
            due.tidy(1, |_, _| armed);
        }
        assert!(due.0.len() <= TIDY_FROM, "{}", due.0.len());
    }
}
