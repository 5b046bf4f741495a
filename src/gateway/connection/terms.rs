//! What an outbox is told by whoever knows the subscriptions: what may wait, what may be missing, and
//! what is owed. Not what follows from it (`outbox`).

use tokio::time::Instant;

use crate::gateway::connection::dirty::Skipped;
use crate::hub::TopicId;

/// On what terms frames wait for a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    /// Bytes that may.
    pub(crate) limit: usize,
    /// Topics of which no frame may be missing, sorted.
    pub(crate) promised: &'a [TopicId],
    /// The topics that the consumer holds, sorted.
    pub(crate) held: &'a [TopicId],
    pub(crate) now: Instant,
}

impl Terms<'_> {
    pub(super) fn is_promised(&self, topic: TopicId) -> bool {
        self.promised.binary_search(&topic).is_ok()
    }
}

/// Where an outbox gets what it owes.
pub(crate) trait Source {
    fn now(&self) -> Instant;
    /// Appends the latest frame of a topic; whether that makes up for one which was being held back.
    fn latest(&mut self, topic: TopicId, out: &mut Vec<u8>) -> bool;
    /// Appends the frame that tells what was skipped.
    fn notice(&mut self, topic: TopicId, skipped: &Skipped, out: &mut Vec<u8>);
}
