//! The topics a slow consumer is owed a newer frame of, and how many it will never see. Not the
//! frames: the shard keeps the latest of each topic.

use std::collections::HashMap;

use tokio::time::{Duration, Instant};

use crate::hub::TopicId;

/// A set of topics with a cursor, so that a consumer that never quite catches up still hears
/// of every topic in turn.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    bits: Vec<u64>,
    count: usize,
    /// The topic [`Self::pop`] looks at next.
    cursor: usize,
}

impl Dirty {
    /// Adds a topic; whether it was in it already.
    pub(crate) fn insert(&mut self, topic: TopicId) -> bool {
        let (word, bit) = place(topic);
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        let known = self.bits[word] & bit != 0;
        self.bits[word] |= bit;
        self.count += usize::from(!known);
        known
    }

    /// Takes a topic out; whether it was in.
    pub(crate) fn remove(&mut self, topic: TopicId) -> bool {
        let (word, bit) = place(topic);
        let Some(bits) = self.bits.get_mut(word).filter(|bits| **bits & bit != 0) else { return false };
        *bits &= !bit;
        self.count -= 1;
        true
    }

    /// Whether a topic is in it.
    pub(crate) fn contains(&self, topic: TopicId) -> bool {
        let (word, bit) = place(topic);
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Takes the next topic out, going round.
    pub(crate) fn pop(&mut self) -> Option<TopicId> {
        if self.count == 0 {
            return None;
        }
        loop {
            let word = self.cursor / 64;
            let Some(bits) = self.bits.get_mut(word) else {
                self.cursor = 0;
                continue;
            };
            let ahead = *bits & (u64::MAX << (self.cursor % 64));
            if ahead == 0 {
                self.cursor = (word + 1) * 64;
                continue;
            }
            let bit = ahead.trailing_zeros() as usize;
            *bits &= !(1 << bit);
            self.count -= 1;
            self.cursor = word * 64 + bit + 1;
            return Some(TopicId((word * 64 + bit) as u32));
        }
    }

    /// Whether nothing is owed.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

fn place(topic: TopicId) -> (usize, u64) {
    (topic.0 as usize / 64, 1 << (topic.0 % 64))
}

/// What was skipped of each dirty topic, for a consumer that wants to be told.
#[derive(Debug, Default)]
pub(crate) struct Skips(HashMap<TopicId, Skipped>);

/// Frames of a topic that gave way to a newer one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Skipped {
    pub(crate) frames: u64,
    /// When the first of them came.
    since: Instant,
    /// When the newest frame came.
    until: Instant,
}

impl Skipped {
    /// The time between the first frame that is missing and the one that is not.
    pub(crate) fn span(&self) -> Duration {
        self.until.saturating_duration_since(self.since)
    }
}

impl Skips {
    /// A frame of a topic was put off, in place of one before it if it `replaced` any. It may have come
    /// before others that were put off already.
    pub(crate) fn note(&mut self, topic: TopicId, replaced: bool, came: Instant) {
        let skipped = self.0.entry(topic).or_insert(Skipped { frames: 0, since: came, until: came });
        skipped.frames += u64::from(replaced);
        skipped.since = skipped.since.min(came);
        skipped.until = skipped.until.max(came);
    }

    /// Forgets a topic; what was skipped of it, if anything was.
    pub(crate) fn take(&mut self, topic: TopicId) -> Option<Skipped> {
        self.0.remove(&topic).filter(|skipped| skipped.frames > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(steps in proptest::collection::vec((0..3_u8, 0..300_u32), 0..200)) {
            let (mut dirty, mut model) = (Dirty::default(), BTreeSet::new());
            for (what, topic) in steps {
                prop_assert_eq!(dirty.contains(TopicId(topic)), model.contains(&topic));
                match what {
                    0 => prop_assert_eq!(dirty.insert(TopicId(topic)), !model.insert(topic)),
                    1 => prop_assert_eq!(dirty.remove(TopicId(topic)), model.remove(&topic)),
                    _ => match dirty.pop() {
                        Some(topic) => prop_assert!(model.remove(&topic.0)),
                        None => prop_assert!(model.is_empty()),
                    },
                }
                prop_assert_eq!(dirty.is_empty(), model.is_empty());
            }
        }
    }

    #[test]
    fn a_topic_that_is_dirty_again_at_once_does_not_starve_the_others() {
        let mut dirty = Dirty::default();
        for topic in [3, 5, 200] {
            dirty.insert(TopicId(topic));
        }
        let mut got = Vec::new();
        for _ in 0..3 {
            let topic = dirty.pop().unwrap();
            got.push(topic.0);
            dirty.insert(topic);
        }
        assert_eq!(got, [3, 5, 200]);
        assert_eq!(dirty.pop(), Some(TopicId(3)), "and round again");
    }
}
