//! A shard's fan-out: batches in, one write per connection concerned. Owns the connections
//! and the topics. No runtime, no clock, no readiness, no protocol but [`owed`](super::owed)'s:
//! property tests drive it whole.

mod delivery;

use std::io;
use std::sync::Arc;

use tokio::time::Instant;

use crate::gateway::connection::outbox::{Counts, Due, Outbox, Sending};
use crate::gateway::connection::terms::Terms;
use crate::gateway::connection::wire::Wire;
use crate::gateway::shard::owed::Owed;
use crate::gateway::shard::pacing::Pace;
use crate::gateway::shard::topics::{Holders, Topics};
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
    /// Those of them of which no frame may be missing, sorted.
    promised: Vec<TopicId>,
    /// What may wait for it however much waits for others; nothing without [`Self::promised`].
    reserved: usize,
    /// What it counts for in [`Fanout::waiting_bytes`].
    accounted: usize,
    /// Whether it counts in [`Fanout::slow`].
    slow: bool,
    /// Whether it was noted in [`Fanout::overrun`].
    overrun: bool,
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

impl Overflow {
    /// What may wait at least for one that some frames are promised to, beyond the total if need be:
    /// others that are slow must not end it.
    pub(crate) fn reserve(&self) -> usize {
        self.each_bytes.min(self.total_bytes) / 16
    }
}

#[derive(Debug)]
pub(crate) struct Fanout<W, S> {
    pub(crate) topics: Topics,
    /// The time of the turn at hand; set by whoever has a clock.
    pub(crate) now: Instant,
    members: Vec<Option<Member<W, S>>>,
    free: Vec<u32>,
    count: usize,
    runs: Runs,
    turn: Turn,
    /// One connection's runs, while they are sent.
    list: Vec<Run>,
    /// Frames that are due, by connection, while they are sent.
    due: Vec<(u32, TopicId)>,
    sending: Sending,
    overflow: Overflow,
    waiting_bytes: usize,
    slow: usize,
    /// Connections whose socket has just refused bytes; the shard waits for it.
    blocked: Vec<u32>,
    /// Connections whose socket is broken.
    broken: Vec<(u32, io::Error)>,
    /// Connections that a frame is missing for which was promised.
    overrun: Vec<u32>,
}

impl<W: Wire, S> Fanout<W, S> {
    pub(crate) fn new(hub: Hub, shard: ShardId, overflow: Overflow, now: Instant) -> Self {
        Self {
            topics: Topics::new(hub, shard),
            now,
            members: Vec::new(),
            free: Vec::new(),
            count: 0,
            runs: Runs::default(),
            turn: Turn::default(),
            list: Vec::new(),
            due: Vec::new(),
            sending: Sending::default(),
            overflow,
            waiting_bytes: 0,
            slow: 0,
            blocked: Vec::new(),
            broken: Vec::new(),
            overrun: Vec::new(),
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
            promised: Vec::new(),
            reserved: 0,
            accounted: 0,
            slow: false,
            overrun: false,
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
        self.overrun.retain(|noted| *noted != slot);
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

    /// Bytes that wait for all connections.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
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

    /// Connections that must end because a frame that was promised did not fit, since the last call.
    pub(crate) fn take_overrun(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.overrun)
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
        member.withdraw(topic);
        member.outbox.forget(topic);
        self.topics.remove(topic, slot);
        true
    }

    /// Lets everybody leave a topic; returns who held it.
    pub(crate) fn leave(&mut self, topic: TopicId) -> Vec<u32> {
        let holders = self.topics.holders(topic);
        for &slot in &holders {
            self.drop_topic(slot, topic);
        }
        holders
    }

    /// Lets everybody who holds a topic hold the one of `key` in its place. Returns who held it, and
    /// the new topic where it was not held already: its latest frame is owed.
    pub(crate) fn follow(&mut self, topic: TopicId, key: &TopicKey) -> Vec<(u32, Option<TopicId>)> {
        let holders = self.topics.holders(topic);
        let follow = |slot| {
            let wanted = self.delivery(slot, topic);
            let new = self.hold(slot, key);
            // Before the other is left: with its last promise a connection forgets what gives way.
            if let Some(new) = new {
                self.set_delivery(slot, new, wanted);
            }
            self.drop_topic(slot, topic);
            (slot, new)
        };
        holders.into_iter().map(follow).collect()
    }

    /// Leaves every topic.
    pub(crate) fn drop_all(&mut self, slot: u32) {
        let Some(Some(member)) = self.members.get_mut(slot as usize) else { return };
        member.promise_nothing();
        for topic in std::mem::take(&mut member.held) {
            member.outbox.forget(topic);
            self.topics.remove(topic, slot);
        }
    }

    /// Queues the latest frames of topics that a connection has just taken, behind the answer
    /// that says so. A topic without one yet gets its first with a batch.
    pub(crate) fn snapshot(&mut self, slot: u32, topics: &[TopicId]) {
        for topic in topics {
            let len = self.topics.latest(*topic).len();
            if len == 0 {
                continue;
            }
            let Some(member) = self.get(slot) else { return };
            if member.promised.binary_search(topic).is_ok()
                && !member.outbox.has_room_for_latest(len, self.limit(slot))
            {
                // Many at once are no sign that the consumer is slow.
                self.pump(slot, false);
            }
            let (limit, now) = (self.limit(slot), self.now);
            let Some(Some(member)) = self.members.get_mut(slot as usize) else { return };
            let Member { outbox, held, promised, encoding, .. } = member;
            let (terms, before) = (Terms { limit, promised, held, now }, self.sending.counts.frames);
            outbox.offer_latest(*topic, self.topics.latest(*topic), &terms, &mut self.sending.counts);
            self.sending.counts.attribute(before, *encoding);
            self.sending.counts.throttled += u64::from(self.topics.sent(*topic, slot, now));
        }
        self.account(slot);
    }

    /// Sends what waits for a connection, as far as its socket takes it. To be called when
    /// something was queued, or when the socket takes bytes again (`writable`).
    pub(crate) fn pump(&mut self, slot: u32, writable: bool) {
        let limit = self.limit(slot);
        let Some(Some(member)) = self.members.get_mut(slot as usize) else { return };
        if member.outbox.is_empty() || (member.outbox.is_blocked() && !writable) {
            self.account(slot);
            return;
        }
        let before = self.sending.counts.frames;
        let mut owed = Owed { topics: &mut self.topics, slot, now: self.now };
        let sent = member.outbox.pump(&mut member.wire, &mut owed, limit, &mut self.sending);
        self.sending.counts.attribute(before, member.encoding);
        self.sent(slot, sent, false);
    }

    /// Gives every connection its frames of these batches, each in as few writes as can be.
    pub(crate) fn deliver(&mut self, batches: impl IntoIterator<Item = Arc<Batch>>) {
        let shard = self.topics.shard();
        for batch in batches {
            let base = self.turn.push(Arc::clone(&batch));
            for entry in &batch.entries {
                // The last value for one shard: not for another, nor if a frame was there before it.
                if entry.only.is_some_and(|only| only != shard || self.topics.is_known(entry.topic)) {
                    continue;
                }
                let start = base + entry.offset;
                let run = Run { start, end: start + entry.len };
                let Some(mut holders) = self.topics.renew(entry.topic, run) else { continue };
                if !holders.joining.is_empty() && holders.pass_over(batch.source, entry.sequence) {
                    for &slot in holders.plain.iter().filter(|slot| !holders.has_had(**slot)) {
                        self.runs.append(slot, start, entry.len);
                    }
                } else {
                    for &slot in holders.plain {
                        self.runs.append(slot, start, entry.len);
                    }
                }
                let Holders { paced, joining, due, .. } = holders;
                for paced in paced {
                    if joining.iter().any(|joining| joining.slot == paced.slot) {
                        continue;
                    }
                    match paced.offer(self.now) {
                        Pace::Send { instead } => {
                            self.runs.append(paced.slot, start, entry.len);
                            self.sending.counts.throttled += u64::from(instead);
                        }
                        Pace::Hold => due.arm(entry.topic, paced),
                        Pace::Replace => self.sending.counts.throttled += 1,
                    }
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
            let Member { wire, outbox, held, promised, encoding, .. } = member;
            let terms = Terms { limit, promised, held, now: self.now };
            let before = self.sending.counts.frames;
            let sent = outbox.send(wire, &self.turn, &due, &terms, &mut self.sending);
            self.sending.counts.attribute(before, *encoding);
            self.sent(slot, sent, was_blocked);
        }
        self.list = list;
        self.runs.finish(concerned);
        self.turn.clear();
    }

    /// What may wait for a connection now.
    fn limit(&self, slot: u32) -> usize {
        let (own, reserved) = self.get(slot).map_or((0, 0), |member| (member.accounted, member.reserved));
        let others = self.waiting_bytes - own;
        self.overflow.each_bytes.min(self.overflow.total_bytes.saturating_sub(others)).max(reserved)
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
        // What has left needs no room any more.
        member.reserved = member.reserved.min(now + self.overflow.reserve());
        member.slow = slow;
        if member.outbox.is_overrun() && !member.overrun {
            member.overrun = true;
            self.overrun.push(slot);
        }
    }
}
