//! The bytes that wait for one consumer's socket: the rest of a begun frame, then whole frames.
//! Never tears one. Which may wait, and when they leave, is the outbox' business.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::gateway::shard::turn::{Run, Turn};
use crate::hub::TopicId;

/// An empty queue keeps this much memory.
const KEEP_BYTES: usize = 1 << 10;

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Whole frames, but for the first `torn` bytes behind `start`.
    bytes: Vec<u8>,
    start: usize,
    /// The rest of a frame that the socket has begun with.
    torn: usize,
    /// The topic of each whole frame and when it came, `None` for what is no market data. Kept only where
    /// frames may have to give way to others, so that nobody else pays for it.
    index: Option<VecDeque<Option<(TopicId, Instant)>>>,
}

impl Queue {
    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The rest of a begun frame.
    pub(super) fn torn(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.torn]
    }

    /// The whole frames.
    pub(super) fn whole(&self) -> &[u8] {
        &self.bytes[self.start + self.torn..]
    }

    /// Appends the frames that `write` makes, all of one topic or of none; returns their length.
    pub(super) fn push_with(
        &mut self,
        topic: Option<(TopicId, Instant)>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        let before = self.bytes.len();
        write(&mut self.bytes);
        if let Some(index) = &mut self.index {
            index.extend(frames(&self.bytes[before..]).map(|_| topic));
        }
        self.bytes.len() - before
    }

    /// Appends one frame.
    pub(super) fn push(&mut self, topic: TopicId, frame: &[u8], now: Instant) {
        self.bytes.extend_from_slice(frame);
        if let Some(index) = &mut self.index {
            index.push_back(Some((topic, now)));
        }
    }

    /// Appends a run of whole frames.
    pub(super) fn push_run(&mut self, turn: &Turn, run: Run, now: Instant) {
        self.bytes.extend_from_slice(turn.bytes(run));
        if let Some(index) = &mut self.index {
            index.extend(turn.entries(run).iter().map(|entry| Some((entry.topic, now))));
        }
    }

    /// Appends what must follow what the socket has begun with; nothing else waits.
    pub(super) fn push_torn(&mut self, bytes: &[u8]) {
        debug_assert!(self.waiting() == 0, "nothing comes between the parts of a frame");
        self.bytes.extend_from_slice(bytes);
        self.torn = bytes.len();
    }

    /// Takes off bytes of a begun frame, `at_most` so many; returns how many.
    pub(super) fn consume_torn(&mut self, at_most: usize) -> usize {
        let taken = at_most.min(self.torn);
        self.start += taken;
        self.torn -= taken;
        taken
    }

    /// Takes off bytes of whole frames; only when none is begun.
    pub(super) fn consume_whole(&mut self, taken: usize) {
        // At a boundary now: walk on to the first one at or behind the new start.
        let mut boundary = self.start;
        self.start += taken;
        while boundary < self.start {
            boundary += frame_len(&self.bytes[boundary..]);
            if let Some(index) = &mut self.index {
                index.pop_front();
            }
        }
        self.torn = boundary - self.start;
    }

    /// Gives memory back; whether it is empty.
    pub(super) fn tidy(&mut self) -> bool {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
            if self.bytes.capacity() > KEEP_BYTES {
                self.bytes = Vec::new();
            }
            return true;
        }
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        false
    }

    /// Drops every whole frame.
    pub(super) fn drop_whole(&mut self) {
        self.bytes.truncate(self.start + self.torn);
        if let Some(index) = &mut self.index {
            index.clear();
        }
    }

    /// Notes from now on what waits, for [`Self::evict`]. What waits already stays whatever comes.
    pub(super) fn start_index(&mut self) {
        if self.index.is_none() {
            self.index = Some(frames(self.whole()).map(|_| None).collect());
        }
    }

    /// The opposite.
    pub(super) fn end_index(&mut self) {
        self.index = None;
    }

    /// Takes out every whole frame of a topic that `gives_way`; returns their topics in order, and when
    /// each had come.
    pub(super) fn evict(&mut self, gives_way: impl Fn(TopicId) -> bool) -> Vec<(TopicId, Instant)> {
        let mut evicted = Vec::new();
        let Self { bytes, start, torn, index: Some(index) } = self else { return evicted };
        let (mut from, mut to) = (*start + *torn, *start + *torn);
        index.retain(|topic| {
            let len = frame_len(&bytes[from..]);
            let goes = topic.filter(|(topic, _)| gives_way(*topic));
            if let Some(topic) = goes {
                evicted.push(topic);
            } else {
                bytes.copy_within(from..from + len, to);
                to += len;
            }
            from += len;
            goes.is_none()
        });
        bytes.truncate(to);
        evicted
    }
}

/// The lengths of the whole frames in `bytes`.
fn frames(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let len = (at < bytes.len()).then(|| frame_len(&bytes[at..]))?;
        at += len;
        Some(len)
    })
}

/// The length of the unmasked frame that `bytes` begins with, header included.
fn frame_len(bytes: &[u8]) -> usize {
    match bytes[1] {
        126 => 4 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        127 => {
            let mut len = [0; 8];
            len.copy_from_slice(&bytes[2..10]);
            10 + u64::from_be_bytes(len) as usize
        }
        short => 2 + usize::from(short),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::websocket;

    fn frame(byte: u8, len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        websocket::text_frame(&mut out, |out| out.resize(out.len() + len, byte));
        out
    }

    #[test]
    fn what_gives_way_leaves_whole_and_the_begun_frame_stays() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push_with(None, |out| out.extend(frame(0, 300)));
        queue.start_index();
        for topic in [1, 2, 1, 3] {
            queue.push(TopicId(topic), &frame(topic as u8, 50 * topic as usize), now);
        }
        queue.push_with(None, |out| out.extend(frame(9, 5)));
        // Into the middle of the first frame of topic 1.
        queue.consume_whole(304 + 20);
        assert_eq!(queue.evict(|topic| topic.0 != 2), [(TopicId(1), now), (TopicId(3), now)]);
        assert_eq!(queue.torn(), [1; 32]);
        assert_eq!(queue.whole(), [frame(2, 100), frame(9, 5)].concat());
        let torn = queue.consume_torn(1_000);
        queue.consume_whole(102);
        assert_eq!((torn, queue.tidy()), (32, false));
        assert_eq!(queue.evict(|_| true), [], "an answer is no topic's");
        queue.consume_whole(7);
        assert!(queue.tidy());
        queue.end_index();
        queue.push(TopicId(1), &frame(1, 5), now);
        assert_eq!(queue.evict(|_| true), [], "nobody noted whose it is");
    }
}
