//! What a publisher hands to every shard: encoded frames in one buffer, and whose they are.
//! Not the queue they travel in: [`crate::hub::queue`].

use crate::clock::UnixNanos;
use crate::hub::{FeedId, ShardId, TopicId};

/// One whole WebSocket frame inside a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is.
    pub topic: TopicId,
    /// Where it starts in [`Batch::bytes`].
    pub offset: u32,
    /// Its length, header included.
    pub len: u32,
    /// `Some`: a last value for one shard that has just taken the topic. The others have
    /// seen it already and must pass it over, and so may that shard if it has received a
    /// frame of the topic since it took it.
    pub only: Option<ShardId>,
    /// The sequence number it carries, or would.
    pub sequence: u64,
}

/// Frames in the order they were published, neighbours adjacent in `bytes`.
#[derive(Debug, Default)]
pub struct Batch {
    /// The frames, back to back. Server frames are unmasked, hence equal for every consumer.
    pub bytes: Vec<u8>,
    /// The frames' topics and places.
    pub entries: Vec<Entry>,
    /// When the oldest tick in it was read from the broker; for the latency histogram.
    pub oldest_recv: UnixNanos,
    /// Whose sequence numbers these are.
    pub source: FeedId,
}

impl Batch {
    /// The frame of `entry`.
    pub fn frame(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.offset as usize..(entry.offset + entry.len) as usize]
    }

    /// Forgets the frames, keeps the buffers unless a burst has made them huge.
    pub(super) fn clear(&mut self) {
        const KEEP_BYTES: usize = 4 << 20;
        self.bytes.clear();
        self.entries.clear();
        if self.bytes.capacity() > KEEP_BYTES {
            self.bytes.shrink_to(KEEP_BYTES);
            self.entries.shrink_to(KEEP_BYTES / 128);
        }
        self.oldest_recv = UnixNanos::ZERO;
    }
}
