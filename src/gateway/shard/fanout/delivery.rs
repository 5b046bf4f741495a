//! The part of a fan-out for consumers that want a topic's frames in their own way, every one of
//! them or at most one per interval. Not the usual way, which pays nothing for it.

use tokio::time::Instant;

use crate::gateway::connection::wire::Wire;
use crate::gateway::shard::fanout::{Fanout, Member};
use crate::hub::TopicId;
use crate::protocol::openalgo::options::{Delivery, Policy};

impl<W, S> Member<W, S> {
    /// No frame of a topic may be missing, from what is owed of it on; `at` its place in the list.
    fn promise(&mut self, at: usize, topic: TopicId, reserve: usize) {
        if self.promised.is_empty() {
            // What waits already gives way to nothing, so what is promised has room behind it.
            self.reserved = self.outbox.waiting() + reserve;
            self.outbox.promise();
        }
        self.promised.insert(at, topic);
    }

    /// Every frame may be missing.
    pub(super) fn promise_nothing(&mut self) {
        self.promised.clear();
        self.reserved = 0;
        self.outbox.promise_nothing();
    }

    /// Frames of a topic may be missing.
    pub(super) fn withdraw(&mut self, topic: TopicId) {
        if let Ok(at) = self.promised.binary_search(&topic) {
            self.promised.remove(at);
            if self.promised.is_empty() {
                self.promise_nothing();
            }
        }
    }
}

impl<W: Wire, S> Fanout<W, S> {
    /// Changes how a holder wants a topic's frames.
    pub(crate) fn set_delivery(&mut self, slot: u32, topic: TopicId, wanted: Delivery) {
        let Some(Some(member)) = self.members.get_mut(slot as usize) else { return };
        if member.held.binary_search(&topic).is_err() {
            return;
        }
        match (member.promised.binary_search(&topic), wanted.policy) {
            (Err(at), Policy::Every) => member.promise(at, topic, self.overflow.reserve()),
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
