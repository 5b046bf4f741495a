//! The batches that a shard delivers together, addressed as one stretch of bytes, and the
//! runs of them that each connection is to get. No connection and no socket.

use std::sync::Arc;

use crate::hub::{Batch, Entry};

/// A stretch of neighbouring frames, in the addresses of a [`Turn`]. Never across batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Run {
    /// Its length in bytes.
    pub(crate) fn len(self) -> u32 {
        self.end - self.start
    }

    /// Without its first `bytes`.
    pub(crate) fn skip(self, bytes: u32) -> Self {
        Self { start: self.start + bytes, ..self }
    }
}

/// Batches delivered together: if several wait, one write takes frames of all of them.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    batches: Vec<Arc<Batch>>,
    /// Address of each batch' first byte. One address is left free between batches, so that
    /// runs of neighbours are never merged.
    bases: Vec<u32>,
    /// The next free address. Address 0 is never used: a fresh [`Mark`] ends there.
    next: u32,
}

impl Turn {
    /// Adds a batch and returns the address of its first byte.
    pub(crate) fn push(&mut self, batch: Arc<Batch>) -> u32 {
        let base = self.next + 1;
        self.next = base + batch.bytes.len() as u32;
        self.bases.push(base);
        self.batches.push(batch);
        base
    }

    /// Lets the batches go; their publisher uses them again.
    pub(crate) fn clear(&mut self) {
        self.batches.clear();
        self.bases.clear();
        self.next = 0;
    }

    /// The bytes of a run.
    pub(crate) fn bytes(&self, run: Run) -> &[u8] {
        let (batch, base) = self.locate(run.start);
        &batch.bytes[(run.start - base) as usize..(run.end - base) as usize]
    }

    /// The frames of a run that starts and ends at frame boundaries.
    pub(crate) fn entries(&self, run: Run) -> &[Entry] {
        let (batch, base) = self.locate(run.start);
        let first = batch.entries.partition_point(|e| e.offset < run.start - base);
        let last = batch.entries.partition_point(|e| e.offset < run.end - base);
        &batch.entries[first..last]
    }

    /// Where the frame that holds the byte before `address` ends.
    pub(crate) fn frame_end(&self, address: u32) -> u32 {
        let (batch, base) = self.locate(address - 1);
        let next = batch.entries.partition_point(|e| e.offset < address - base);
        batch.entries.get(next).map_or(base + batch.bytes.len() as u32, |e| base + e.offset)
    }

    fn locate(&self, address: u32) -> (&Batch, u32) {
        let at = if self.bases.len() == 1 { 0 } else { self.bases.partition_point(|b| *b <= address) - 1 };
        (&self.batches[at], self.bases[at])
    }
}

/// What one connection gets of the turn that is being gathered. Four words, so that the marks
/// of a thousand connections stay in cache: this is touched per delivery.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// The run that is still growing.
    start: u32,
    end: u32,
    /// The last finished run before it.
    chain: u32,
    frames: u32,
}

const NONE: u32 = u32::MAX;

impl Mark {
    const EMPTY: Self = Self { start: 0, end: 0, chain: NONE, frames: 0 };
}

/// Every connection's runs of one turn.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    marks: Vec<Mark>,
    /// Finished runs, each with the number of the one before it.
    finished: Vec<(Run, u32)>,
    /// Connections that get anything.
    concerned: Vec<u32>,
}

impl Runs {
    /// Makes room for connections up to number `slot`.
    pub(crate) fn reach(&mut self, slot: u32) {
        if self.marks.len() <= slot as usize {
            self.marks.resize(slot as usize + 1, Mark::EMPTY);
        }
    }

    /// Gives the connection at `slot` the frame at `start`. Frames come in rising order.
    #[inline]
    pub(crate) fn append(&mut self, slot: u32, start: u32, len: u32) {
        let mark = &mut self.marks[slot as usize];
        mark.frames += 1;
        if mark.end == start {
            mark.end += len;
            return;
        }
        if mark.frames == 1 {
            self.concerned.push(slot);
        } else {
            self.finished.push((Run { start: mark.start, end: mark.end }, mark.chain));
            mark.chain = self.finished.len() as u32 - 1;
        }
        mark.start = start;
        mark.end = start + len;
    }

    /// The connections that get anything, each once. Call [`Self::take`] for every one.
    pub(crate) fn take_concerned(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.concerned)
    }

    /// Puts the list of connections back for the next turn and forgets all runs.
    pub(crate) fn finish(&mut self, mut concerned: Vec<u32>) {
        concerned.clear();
        self.concerned = concerned;
        self.finished.clear();
    }

    /// Replaces the content of `into` by the runs of `slot`, in order, and returns how many
    /// frames they hold.
    pub(crate) fn take(&mut self, slot: u32, into: &mut Vec<Run>) -> u32 {
        let mark = std::mem::replace(&mut self.marks[slot as usize], Mark::EMPTY);
        into.clear();
        into.push(Run { start: mark.start, end: mark.end });
        let mut chain = mark.chain;
        while let Some((run, before)) = self.finished.get(chain as usize) {
            into.push(*run);
            chain = *before;
        }
        into.reverse();
        mark.frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixNanos;
    use crate::hub::TopicId;

    fn batch(lens: &[u32]) -> Arc<Batch> {
        let mut batch = Batch { oldest_recv: UnixNanos::ZERO, ..Batch::default() };
        for (topic, &len) in lens.iter().enumerate() {
            let offset = batch.bytes.len() as u32;
            batch.bytes.resize((offset + len) as usize, topic as u8);
            batch.entries.push(Entry { topic: TopicId(topic as u32), offset, len, only: None, sequence: 0 });
        }
        Arc::new(batch)
    }

    #[test]
    fn neighbours_are_merged_within_a_batch_and_never_across() {
        let mut turn = Turn::default();
        let mut runs = Runs::default();
        runs.reach(1);
        let mut total = 0;
        for _ in 0..2 {
            let base = turn.push(batch(&[10, 20, 30]));
            for entry in &batch(&[10, 20, 30]).entries {
                runs.append(0, base + entry.offset, entry.len);
                if entry.topic.0 != 1 {
                    runs.append(1, base + entry.offset, entry.len);
                }
                total += 1;
            }
        }
        let concerned = runs.take_concerned();
        assert_eq!(concerned, [0, 1]);
        let mut list = Vec::new();
        assert_eq!(runs.take(0, &mut list), total);
        assert_eq!(list.iter().map(|r| r.len()).collect::<Vec<_>>(), [60, 60]);
        assert_eq!(turn.entries(list[1]).len(), 3);
        assert_eq!(runs.take(1, &mut list), 4);
        assert_eq!(list.iter().map(|r| r.len()).collect::<Vec<_>>(), [10, 30, 10, 30]);
        assert_eq!(turn.bytes(list[1]), [2; 30]);
        runs.finish(concerned);
        assert!(runs.take_concerned().is_empty());
    }

    #[test]
    fn the_end_of_a_begun_frame() {
        let mut turn = Turn::default();
        turn.push(batch(&[5]));
        let base = turn.push(batch(&[10, 20]));
        for (sent, end) in [(1, 10), (9, 10), (10, 10), (11, 30), (29, 30), (30, 30)] {
            assert_eq!(turn.frame_end(base + sent), base + end, "{sent}");
        }
    }
}
