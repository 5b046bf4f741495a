//! The part of a fan-out for consumers that want a topic's frames in their own way, every one of
//! them or at most one per interval. Not the usual way, which pays nothing for it.

use tokio::time::Instant;

use crate::gateway::connection::terms::Terms;
use crate::gateway::connection::wire::Wire;
use crate::gateway::shard::fanout::{Fanout, Member};
use crate::gateway::shard::owed::Owed;
use crate::hub::TopicId;
use crate::protocol::openalgo::options::{Delivery, Policy};

impl<W, S> Member<W, S> {
    /// Frames of a topic may be missing.
    pub(super) fn withdraw(&mut self, topic: TopicId) {
        if let Ok(at) = self.promised.binary_search(&topic) {
            self.promised.remove(at);
            if self.promised.is_empty() {
                self.outbox.promise_nothing();
            }
        }
    }
}

impl<W: Wire, S> Fanout<W, S> {
    /// Changes how a holder wants a topic's frames.
    pub(crate) fn set_delivery(&mut self, slot: u32, topic: TopicId, wanted: Delivery) {
        let (limit, now) = (self.limit(slot), self.now);
        let Some(Some(member)) = self.members.get_mut(slot as usize) else { return };
        if member.held.binary_search(&topic).is_err() {
            return;
        }
        match (member.promised.binary_search(&topic), wanted.policy) {
            (Err(at), Policy::Every) => {
                member.promised.insert(at, topic);
                let Member { outbox, held, promised, encoding, .. } = member;
                let terms = Terms { limit, promised, held, now };
                let mut owed = Owed { topics: &mut self.topics, slot, now };
                let before = self.sending.counts.frames;
                outbox.promise(topic, &mut owed, &terms, &mut self.sending.counts);
                self.sending.counts.attribute(before, *encoding);
            }
            (Ok(_), Policy::Conflate) => member.withdraw(topic),
            _ => {}
        }
        if self.topics.set_interval(topic, slot, wanted.interval, self.now) {
            self.snapshot(slot, &[topic]);
        }
        self.account(slot);
    }

    /// How a holder wants a topic's frames.
    pub(super) fn delivery(&mut self, slot: u32, topic: TopicId) -> Delivery {
        let is_promised = self.get(slot).is_some_and(|m| m.promised.binary_search(&topic).is_ok());
        let policy = if is_promised { Policy::Every } else { Policy::Conflate };
        Delivery { policy, interval: self.topics.interval(topic, slot) }
    }

    /// When [`Self::send_due`] is to be called.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.topics.next_due()
    }

    /// Sends the frames that were held back until now, in one write per connection.
    pub(crate) fn send_due(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        while let Some((topic, slot)) = self.topics.pop_due(self.now) {
            due.push((slot, topic));
        }
        due.sort_unstable();
        for of_one in due.chunk_by(|(one, _), (other, _)| one == other) {
            for (slot, topic) in of_one {
                self.snapshot(*slot, &[*topic]);
            }
            self.pump(of_one[0].0, false);
        }
        due.clear();
        self.due = due;
    }
}
