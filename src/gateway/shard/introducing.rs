//! What a consumer of the binary encoding is told beside market data: who speaks, and what the
//! numbers in records mean. Both go the way of answers, which nothing overtakes: market data of a
//! topic leave behind whatever was queued when it was taken, also from a consumer that is behind.

use crate::gateway::shard::Shard;
use crate::hub::{Encoding, TopicId};
use crate::market::Price;
use crate::protocol::binary::{Body, Directory, Header, Hello, VERSION};
use crate::protocol::websocket;

/// Records are put into messages of about this size.
const MESSAGE_BYTES: usize = 16 << 10;

impl Shard<'_> {
    /// The first record of a connection.
    pub(super) fn greet(&mut self, slot: u32) {
        if !self.is_binary(slot) {
            return;
        }
        let hello = Hello { version: VERSION, started_at: self.env.hub.life().started_at };
        let mut message = Vec::new();
        Body::Hello(hello).write(&self.env.hub.record_header(0), &mut message);
        self.send_message(slot, &message);
    }

    /// Says what the numbers of these topics mean. Must come before anything of them is queued.
    pub(super) fn introduce(&mut self, slot: u32, topics: &[TopicId]) {
        if topics.is_empty() || !self.is_binary(slot) {
            return;
        }
        let master = self.env.master.load();
        let template = self.env.hub.record_header(0);
        let mut message = Vec::new();
        for topic in topics {
            let Some(key) = self.fanout.topics.key(*topic) else { continue };
            let Some(number) = self.env.hub.listing(*topic) else { continue };
            let listed = master.as_deref().and_then(|master| master.get(key.instrument));
            let entry = Directory {
                exchange: key.exchange.as_str(),
                symbol: &key.symbol,
                // The venue's zero means that it says nothing.
                tick_size: listed.map(|i| i.tick_size).filter(|size| *size > Price::ZERO),
                lot_size: listed.map(|i| i64::from(i.lot_size)).filter(|size| *size > 0),
                code: key.instrument.code,
                segment: key.instrument.segment.number(),
            };
            Body::Directory(entry).write(&Header { number, ..template }, &mut message);
            if message.len() >= MESSAGE_BYTES {
                self.send_message(slot, &message);
                message.clear();
            }
        }
        self.send_message(slot, &message);
    }

    /// Another instrument list is in force: lots and tick sizes may be others.
    pub(super) fn introduce_held(&mut self) {
        for slot in self.fanout.slots() {
            if !self.is_binary(slot) {
                continue;
            }
            let held = self.fanout.get(slot).map(|member| member.held().to_vec()).unwrap_or_default();
            self.introduce(slot, &held);
            self.flush(slot);
        }
    }

    fn is_binary(&self, slot: u32) -> bool {
        self.fanout
            .get(slot)
            .is_some_and(|member| member.encoding == Encoding::Binary && member.state.is_open())
    }

    /// Queues a binary message, unless it would be empty.
    fn send_message(&mut self, slot: u32, message: &[u8]) {
        if let Some(member) = self.fanout.get_mut(slot)
            && !message.is_empty()
        {
            member.outbox.answer(|out| {
                websocket::encode_binary_header(message.len(), out);
                out.extend_from_slice(message);
            });
        }
    }
}
