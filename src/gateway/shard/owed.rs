//! What a slow consumer is owed, made when its socket takes it: the latest frame of a topic, and in
//! front of it the frame that tells what was skipped. Not which topics those are (`connection::dirty`).

use tokio::time::Instant;

use crate::gateway::connection::dirty::Skipped;
use crate::gateway::connection::terms::Source;
use crate::gateway::shard::topics::Topics;
use crate::hub::{Encoding, TopicId};
use crate::protocol::binary::{Body, CONFLATED_LEN, Conflated, Kind};
use crate::protocol::openalgo::frames;
use crate::protocol::websocket;

/// One connection's view of its shard's topics.
pub(super) struct Owed<'a> {
    pub(super) topics: &'a mut Topics,
    pub(super) slot: u32,
    pub(super) now: Instant,
}

impl Source for Owed<'_> {
    fn now(&self) -> Instant {
        self.now
    }

    fn latest(&mut self, topic: TopicId, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self.topics.latest(topic));
        self.topics.sent(topic, self.slot, self.now)
    }

    fn notice(&mut self, topic: TopicId, skipped: &Skipped, out: &mut Vec<u8>) {
        let Some(key) = self.topics.key(topic) else { return };
        if key.encoding == Encoding::Binary {
            let span = i64::try_from(skipped.span().as_nanos()).unwrap_or(i64::MAX);
            let what = Conflated { kind: Kind::of(key.mode).number(), skipped: skipped.frames, span };
            websocket::encode_binary_header(CONFLATED_LEN, out);
            Body::Conflated(what).write(&self.topics.record_header(topic), out);
            return;
        }
        let span = u64::try_from(skipped.span().as_millis()).unwrap_or(u64::MAX);
        websocket::text_frame(out, |out| {
            frames::conflated(&key.symbol, key.exchange, key.mode, skipped.frames, span, out);
        });
    }
}
