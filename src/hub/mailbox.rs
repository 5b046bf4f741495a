//! Topic changes on their way to one publisher. Bounded, even if the publisher never looks:
//! what a later change makes pointless is dropped. Not on the path of a tick.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::hub::ShardId;
use crate::hub::topic::Change;

/// Fewer changes than this are kept as they are.
const TIDY_FROM: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Mailbox {
    pending: AtomicBool,
    changes: Mutex<Changes>,
}

#[derive(Debug, Default)]
struct Changes {
    list: Vec<Change>,
    /// How many were left when the list was last tidied.
    tidy: usize,
}

impl Mailbox {
    /// Adds a change; the publisher reads it when it next looks.
    pub(super) fn post(&self, change: Change) {
        let mut changes = self.changes();
        if changes.list.len() >= TIDY_FROM.max(2 * changes.tidy) {
            tidy(&mut changes.list);
            changes.tidy = changes.list.len();
        }
        changes.list.push(change);
        self.pending.store(true, Ordering::Release);
    }

    /// Moves what there is into `into`, which is empty. Without a change, and that is per tick
    /// the rule, it costs one read of a flag.
    pub(super) fn collect(&self, into: &mut Vec<Change>) -> bool {
        if !self.pending.load(Ordering::Acquire) {
            return false;
        }
        // Cleared first: a change that is posted now is seen now or sets the flag again.
        self.pending.store(false, Ordering::Release);
        std::mem::swap(into, &mut self.changes().list);
        true
    }

    /// Locked when somebody takes or leaves a topic and when the publisher learns of it,
    /// never per tick.
    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps of every topic what happened after it was last left, and each shard once: at most one
/// more than there are shards. Of an instrument that moved away, what came after. The first word that
/// an instrument was renamed: nothing is known of it from then on until the list has been read.
fn tidy(list: &mut Vec<Change>) {
    let mut moved = HashMap::new();
    for (index, change) in list.iter().enumerate() {
        if let Change::Moved { instrument } = change {
            moved.insert(*instrument, index);
        }
    }
    let mut renamed = HashMap::new();
    for (index, change) in list.iter().enumerate() {
        if let Change::Renamed { instrument } = change
            && moved.get(instrument).is_none_or(|&moved| moved < index)
        {
            renamed.entry(*instrument).or_insert(index);
        }
    }
    let mut last_left = HashMap::new();
    for (index, change) in list.iter().enumerate() {
        if let Change::Left { topic, .. } = change {
            last_left.insert(*topic, index);
        }
    }
    let mut last_taken: HashMap<_, usize> = HashMap::new();
    for (index, change) in list.iter().enumerate() {
        if let Change::Taken { topic, shard, .. } = change {
            last_taken.insert((topic.id, *shard), index);
        }
    }
    let is_current = |index: usize, change: &Change| match change {
        _ if moved.get(&change.instrument()).is_some_and(|&moved| index < moved) => false,
        // The last one: the others are before it.
        Change::Moved { .. } => true,
        Change::Renamed { instrument } => renamed.get(instrument) == Some(&index),
        Change::Left { topic, .. } => last_left.get(topic) == Some(&index),
        Change::Taken { topic, shard, .. } => {
            last_left.get(&topic.id).is_none_or(|&left| left < index)
                && (*shard == ShardId::NONE || last_taken.get(&(topic.id, *shard)) == Some(&index))
        }
    };
    let mut index = 0;
    list.retain(|change| {
        index += 1;
        is_current(index - 1, change)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::topic::{Encoding, Topic, TopicId};
    use crate::market::{InstrumentId, Segment};
    use crate::protocol::Mode;

    const INSTRUMENT: InstrumentId = InstrumentId { segment: Segment::NseCash, code: 1 };

    fn taken(topic: u32, shard: u16) -> Change {
        let prefix = [].into();
        let (mode, encoding) = (Mode::Ltp, Encoding::Json);
        let topic = Topic { id: TopicId(topic), mode, encoding, head: None, prefix, listing: 0 };
        Change::Taken { instrument: INSTRUMENT, topic, shard: ShardId(shard) }
    }

    fn left(topic: u32) -> Change {
        Change::Left { instrument: INSTRUMENT, topic: TopicId(topic) }
    }

    fn shown(change: &Change) -> String {
        match change {
            Change::Taken { topic, shard, .. } => format!("{}+{}", topic.id.0, shard.0),
            Change::Left { topic, .. } => format!("{}-", topic.0),
            Change::Moved { instrument } => format!("{}>", instrument.code),
            Change::Renamed { instrument } => format!("{}~", instrument.code),
        }
    }

    #[test]
    fn only_what_still_matters_is_kept() {
        let mut list = vec![taken(1, 0), taken(2, 0), left(1), taken(2, 1), taken(1, 1), taken(2, 0)];
        tidy(&mut list);
        assert_eq!(list.iter().map(shown).collect::<Vec<_>>(), ["1-", "2+1", "1+1", "2+0"]);
    }

    #[test]
    fn of_an_instrument_that_moved_only_what_came_after_is_kept() {
        let moved = || Change::Moved { instrument: INSTRUMENT };
        let mut list = vec![taken(1, 0), moved(), taken(2, 0), left(2), moved(), taken(1, 1)];
        tidy(&mut list);
        assert_eq!(list.iter().map(shown).collect::<Vec<_>>(), ["1>", "1+1"]);
    }

    #[test]
    fn the_first_word_of_a_renamed_instrument_is_kept_in_its_place() {
        let renamed = || Change::Renamed { instrument: INSTRUMENT };
        let mut list = vec![taken(1, 0), renamed(), taken(2, 0), renamed(), taken(1, 1)];
        tidy(&mut list);
        assert_eq!(list.iter().map(shown).collect::<Vec<_>>(), ["1+0", "1~", "2+0", "1+1"]);
        let mut list = vec![renamed(), Change::Moved { instrument: INSTRUMENT }, renamed(), renamed()];
        tidy(&mut list);
        assert_eq!(list.iter().map(shown).collect::<Vec<_>>(), ["1>", "1~"]);
    }

    #[test]
    fn consumers_that_come_and_go_while_nobody_reads_fill_no_memory() {
        let mailbox = Mailbox::default();
        for turn in 0..100_000 {
            mailbox.post(taken(turn % 7, (turn % 2) as u16));
            mailbox.post(left(turn % 7));
        }
        let mut changes = Vec::new();
        assert!(mailbox.collect(&mut changes));
        assert!(changes.len() <= TIDY_FROM, "{}", changes.len());
        assert!(!mailbox.collect(&mut changes));
    }
}
