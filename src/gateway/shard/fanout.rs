//! A shard's fan-out: batches in, one write per connection concerned. Owns the connections
//! and the topics. No runtime, no readiness, no protocol: property tests drive it whole.

use std::io;
use std::sync::Arc;

use crate::gateway::connection::outbox::{Counts, Due, Outbox, Sending};
use crate::gateway::connection::wire::Wire;
use crate::gateway::shard::topics::Topics;
use crate::gateway::shard::turn::{Run, Runs, Turn};
use crate::hub::{Batch, Encoding, Hub, NoRoom, ShardId, TopicId, TopicKey};

/// A connection, with whatever `S` the shard keeps beside it.
#[derive(Debug)]
pub(crate) struct Member<W, S> {
    pub(crate) wire: W,
    pub(crate) outbox: Outbox,
    pub(crate) state: S,
    /// How it gets market data.
    pub(crate) encoding: Encoding,
    /// The topics it holds, sorted.
    held: Vec<TopicId>,
    /// What it counts for in [`Fanout::waiting_bytes`].
    accounted: usize,
    /// Whether it counts in [`Fanout::slow`].
    slow: bool,
}

impl<W, S> Member<W, S> {
    /// The topics it holds, sorted.
    pub(crate) fn held(&self) -> &[TopicId] {
        &self.held
    }
}

/// What may wait for consumers that do not read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overflow {
    /// For one.
    pub(crate) each_bytes: usize,
    /// For all of the shard.
    pub(crate) total_bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Fanout<W, S> {
    pub(crate) topics: Topics,
    members: Vec<Option<Member<W, S>>>,
    free: Vec<u32>,
    count: usize,
    runs: Runs,
    turn: Turn,
    /// One connection's runs, while they are sent.
    list: Vec<Run>,
    sending: Sending,
    overflow: Overflow,
    waiting_bytes: usize,
    slow: usize,
    /// Connections whose socket has just refused bytes; the shard waits for it.
    blocked: Vec<u32>,
    /// Connections whose socket is broken.
    broken: Vec<(u32, io::Error)>,
}

impl<W: Wire, S> Fanout<W, S> {
    pub(crate) fn new(hub: Hub, shard: ShardId, overflow: Overflow) -> Self {
        Self {
            topics: Topics::new(hub, shard),
            members: Vec::new(),
            free: Vec::new(),
            count: 0,
            runs: Runs::default(),
            turn: Turn::default(),
            list: Vec::new(),
            sending: Sending::default(),
            overflow,
            waiting_bytes: 0,
            slow: 0,
            blocked: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// Adds a connection and returns its number, which is free again once it is removed.
    pub(crate) fn insert(&mut self, wire: W, state: impl FnOnce(u32) -> S) -> u32 {
        let slot = self.free.pop().unwrap_or(self.members.len() as u32);
        let member = Member {
            wire,
            outbox: Outbox::default(),
            state: state(slot),
            encoding: Encoding::Json,
            held: Vec::new(),
            accounted: 0,
            slow: false,
        };
        if slot as usize == self.members.len() {
            self.members.push(Some(member));
            self.runs.reach(slot);
        } else {
            self.members[slot as usize] = Some(member);
        }
        self.count += 1;
        slot
    }

    /// Takes a connection out, with everything it holds.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Member<W, S>> {
        self.drop_all(slot);
        let member = self.members.get_mut(slot as usize)?.take()?;
        self.waiting_bytes -= member.accounted;
        self.slow -= usize::from(member.slow);
        self.count -= 1;
        // Whoever gets the slot next has nothing to do with what is noted of this one.
        self.blocked.retain(|noted| *noted != slot);
        self.broken.retain(|(noted, _)| *noted != slot);
        self.free.push(slot);
        Some(member)
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Member<W, S>> {
        self.members.get(slot as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Member<W, S>> {
        self.members.get_mut(slot as usize)?.as_mut()
    }

    /// The numbers of all connections.
    pub(crate) fn slots(&self) -> Vec<u32> {
        (0..self.members.len() as u32).filter(|slot| self.get(*slot).is_some()).collect()
    }

    /// Connections.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Connections that get the latest values only, for now.
    pub(crate) fn slow(&self) -> usize {
        self.slow
    }

    /// Exact counts.
    pub(crate) fn counts(&self) -> Counts {
        self.sending.counts
    }

    /// Connections to wait for and connections to give up, since the last call.
    pub(crate) fn take_blocked(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.blocked)
    }

    /// Connections whose sockets broke, since the last call.
    pub(crate) fn take_broken(&mut self) -> Vec<(u32, io::Error)> {
        std::mem::take(&mut self.broken)
    }

    /// Whether a connection holds a topic.
    pub(crate) fn holds(&self, slot: u32, key: &TopicKey) -> bool {
        let held = self.get(slot).zip(self.topics.find(key));
        held.is_some_and(|(member, topic)| member.held.binary_search(&topic).is_ok())
    }

    /// Makes a connection a holder of a topic; `None` if it holds it already.
    pub(crate) fn hold(&mut self, slot: u32, key: &TopicKey) -> Option<TopicId> {
        self.get(slot)?;
        let topic = self.topics.take(key);
        self.note_held(slot, topic)
    }

    /// The same, unless the broker is known to have no room for it.
    pub(crate) fn try_hold(&mut self, slot: u32, key: &TopicKey) -> Result<Option<TopicId>, NoRoom> {
        if self.get(slot).is_none() {
            return Ok(None);
        }
        let topic = self.topics.try_take(key)?;
        Ok(self.note_held(slot, topic))
    }

    fn note_held(&mut self, slot: u32, topic: TopicId) -> Option<TopicId> {
        let member = self.members.get_mut(slot as usize)?.as_mut()?;
        let Err(at) = member.held.binary_search(&topic) else { return None };
        member.held.insert(at, topic);
        self.topics.add(topic, slot);
        Some(topic)
    }

    /// Makes it one no longer; whether it was.
    pub(crate) fn drop_topic(&mut self, slot: u32, topic: TopicId) -> bool {
        let Some(Some(member)) = self.members.get_mut(slot as usize) else { return false };
        let Ok(at) = member.held.binary_search(&topic) else { return false };
        member.held.remove(at);
        member.outbox.forget(topic);
        self.topics.remove(topic, slot);
        true
    }

    /// Lets everybody leave a topic; returns who held it.
    pub(crate) fn leave(&mut self, topic: TopicId) -> Vec<u32> {
        let holders = self.topics.holders(topic).to_vec();
        for &slot in &holders {
            self.drop_topic(slot, topic);
        }
        holders
    }

    /// Lets everybody who holds a topic hold the one of `key` in its place. Returns who held it, and
    /// the new topic where it was not held already: its latest frame is owed.
    pub(crate) fn follow(&mut self, topic: TopicId, key: &TopicKey) -> Vec<(u32, Option<TopicId>)> {
        let holders = self.topics.holders(topic).to_vec();
        let follow = |slot| {
            let new = self.hold(slot, key);
            self.drop_topic(slot, topic);
            (slot, new)
        };
        holders.into_iter().map(follow).collect()
    }

    /// Leaves every topic.
    pub(crate) fn drop_all(&mut self, slot: u32) {
        let Some(Some(member)) = self.members.get_mut(slot as usize) else { return };
        for topic in std::mem::take(&mut member.held) {
            member.outbox.forget(topic);
            self.topics.remove(topic, slot);
        }
    }

    /// Queues the latest frames of topics that a connection has just taken, behind the answer
    /// that says so. A topic without one yet gets its first with a batch.
    pub(crate) fn snapshot(&mut self, slot: u32, topics: &[TopicId]) {
        let limit = self.limit(slot);
        let Some(Some(member)) = self.members.get_mut(slot as usize) else { return };
        let before = self.sending.counts.frames;
        for topic in topics {
            let latest = self.topics.latest(*topic);
            if !latest.is_empty() {
                member.outbox.snapshot(*topic, latest, limit, &mut self.sending.counts);
            }
        }
        self.sending.counts.attribute(before, member.encoding);
    }

    /// Sends what waits for a connection, as far as its socket takes it. To be called when
    /// something was queued, or when the socket takes bytes again (`writable`).
    pub(crate) fn pump(&mut self, slot: u32, writable: bool) {
        let Some(Some(member)) = self.members.get_mut(slot as usize) else { return };
        if member.outbox.is_empty() || (member.outbox.is_blocked() && !writable) {
            self.account(slot);
            return;
        }
        let (topics, before) = (&self.topics, self.sending.counts.frames);
        let sent = member.outbox.pump(&mut member.wire, |topic| topics.latest(topic), &mut self.sending);
        self.sending.counts.attribute(before, member.encoding);
        self.sent(slot, sent, false);
    }

    /// Gives every connection its frames of these batches, each in as few writes as can be.
    pub(crate) fn deliver(&mut self, batches: impl IntoIterator<Item = Arc<Batch>>) {
        let shard = self.topics.shard();
        for batch in batches {
            let base = self.turn.push(Arc::clone(&batch));
            for entry in &batch.entries {
                if entry.only.is_some_and(|only| only != shard) {
                    continue;
                }
                let start = base + entry.offset;
                let holders = self.topics.renew(entry.topic, Run { start, end: start + entry.len });
                for &slot in holders {
                    self.runs.append(slot, start, entry.len);
                }
            }
        }
        // Before anything is sent: a connection that is conflated now must find these values.
        self.topics.keep_latest(&self.turn);
        self.sending.counts.turns += 1;
        let concerned = self.runs.take_concerned();
        let mut list = std::mem::take(&mut self.list);
        for &slot in &concerned {
            let frames = self.runs.take(slot, &mut list);
            let limit = self.limit(slot);
            let Some(Some(member)) = self.members.get_mut(slot as usize) else { continue };
            let was_blocked = member.outbox.is_blocked();
            let due = Due { runs: &list, frames };
            let before = self.sending.counts.frames;
            let sent = member.outbox.send(&mut member.wire, &self.turn, &due, limit, &mut self.sending);
            self.sending.counts.attribute(before, member.encoding);
            self.sent(slot, sent, was_blocked);
        }
        self.list = list;
        self.runs.finish(concerned);
        self.turn.clear();
    }

    /// What may wait for a connection now.
    fn limit(&self, slot: u32) -> usize {
        let own = self.get(slot).map_or(0, |member| member.accounted);
        let others = self.waiting_bytes - own;
        self.overflow.each_bytes.min(self.overflow.total_bytes.saturating_sub(others))
    }

    fn sent(&mut self, slot: u32, sent: io::Result<()>, was_blocked: bool) {
        if let Err(e) = sent {
            self.broken.push((slot, e));
        } else if !was_blocked && self.get(slot).is_some_and(|member| member.outbox.is_blocked()) {
            self.blocked.push(slot);
        }
        self.account(slot);
    }

    fn account(&mut self, slot: u32) {
        let Some(Some(member)) = self.members.get_mut(slot as usize) else { return };
        let (now, slow) = (member.outbox.waiting(), member.outbox.is_conflating());
        self.waiting_bytes = self.waiting_bytes - member.accounted + now;
        self.slow = self.slow - usize::from(member.slow) + usize::from(slow);
        member.accounted = now;
        member.slow = slow;
    }
}
