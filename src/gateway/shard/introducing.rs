//! What a consumer of the binary encoding is told beside market data: who speaks, and what the
//! numbers in records mean. Both go the way of answers, which nothing overtakes: market data of a
//! topic leave behind whatever was queued when it was taken, also from a consumer that is behind.

use std::collections::BTreeSet;

use crate::gateway::shard::Shard;
use crate::gateway::shard::topics::Steps;
use crate::hub::{Encoding, TopicId};
use crate::market::master::Master;
use crate::market::{InstrumentId, Price};
use crate::protocol::binary::{Body, Directory, Header, Hello, VERSION};
use crate::protocol::websocket;

/// Records are put into messages of about this size.
const MESSAGE_BYTES: usize = 16 << 10;
/// Records of about one message.
const PART: usize = 128;

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
            let Some(number) = self.fanout.topics.listing(*topic) else { continue };
            let steps = steps(master.as_deref(), key.instrument);
            let Steps { tick_size, lot_size } = steps;
            let entry = Directory {
                exchange: key.exchange.as_str(),
                symbol: &key.symbol,
                tick_size,
                lot_size,
                code: key.instrument.code,
                segment: key.instrument.segment.number(),
            };
            Body::Directory(entry).write(&Header { number, ..template }, &mut message);
            self.fanout.topics.note_told(*topic, steps);
            if message.len() >= MESSAGE_BYTES {
                self.send_message(slot, &message);
                message.clear();
            }
        }
        self.send_message(slot, &message);
    }

    /// Another instrument list is in force: holders are told of lots and tick sizes that are others.
    pub(super) fn introduce_held(&mut self) {
        let master = self.env.master.load();
        let changed = self.fanout.topics.retell(|instrument| steps(master.as_deref(), instrument));
        let mut concerned = BTreeSet::new();
        for topic in changed {
            for slot in self.fanout.topics.holders(topic) {
                if let Some(state) = self.state(slot) {
                    state.unintroduced.insert(topic);
                    concerned.insert(slot);
                }
            }
        }
        for slot in concerned {
            self.introduce_pending(slot);
        }
    }

    /// Goes on telling of what has changed, while the consumer takes it: what waits for one that does
    /// not read is a list of numbers, not of records.
    pub(super) fn introduce_pending(&mut self, slot: u32) {
        while let Some(member) = self.fanout.get_mut(slot)
            && !member.state.unintroduced.is_empty()
            && member.outbox.answers() < MESSAGE_BYTES
        {
            let pending = &mut member.state.unintroduced;
            let mut part: Vec<_> = std::iter::from_fn(|| pending.pop_first()).take(PART).collect();
            part.retain(|topic| member.held().binary_search(topic).is_ok());
            self.introduce(slot, &part);
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

/// What the list says; the venue's zero means that it says nothing.
fn steps(master: Option<&Master>, instrument: InstrumentId) -> Steps {
    let listed = master.and_then(|master| master.get(instrument));
    Steps {
        tick_size: listed.map(|i| i.tick_size).filter(|size| *size > Price::ZERO),
        lot_size: listed.map(|i| i64::from(i.lot_size)).filter(|size| *size > 0),
    }
}
