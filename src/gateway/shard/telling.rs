//! What a shard tells those who asked for it: how current the data of each instrument are that they
//! hold, and that the server lives. Not how that is judged; the hub holds the verdicts.
//!
//! What has changed is noted, and written when the consumer takes it, each time as it is then: who does
//! not read gets the newest state, not those between. Many at once are told over several turns.

use std::collections::{BTreeSet, HashSet};

use crate::gateway::shard::Shard;
use crate::hub::{Encoding, FeedId, TopicId};
use crate::market::{InstrumentId, Segment};
use crate::protocol::binary::{Body, HEARTBEAT_LEN, Heartbeat, State};
use crate::protocol::openalgo::frames;
use crate::protocol::websocket;

/// Answers that may wait for a consumer before its states do.
const ANSWER_BYTES: usize = 16 << 10;
/// States that are told in one turn, to whomever; batches come between.
const TURN_STATES: usize = 1_000;
/// To look whether a held topic is concerned costs about this part of telling it.
const LOOKS_PER_STATE: usize = 8;

/// What a consumer is yet to be told. Bounded by what it holds.
#[derive(Debug, Default)]
pub(crate) struct Untold {
    /// Of everything that it holds of these.
    segments: BTreeSet<(FeedId, Segment)>,
    topics: BTreeSet<TopicId>,
    /// It stands in the shard's list.
    listed: bool,
}

impl Untold {
    fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.topics.is_empty()
    }
}

impl Shard<'_> {
    /// From now on a consumer is told of states, or no more. Who holds something already is told of it.
    pub(super) fn set_tells_state(&mut self, slot: u32, tells: bool) {
        let (settings, now) = (&self.env.settings, self.now);
        let Some(member) = self.fanout.get_mut(slot) else { return };
        if member.state.tells_state == tells {
            return;
        }
        member.state.tells_state = tells;
        member.state.heartbeat_due = settings.heartbeat_interval().filter(|_| tells).map(|every| now + every);
        member.state.untold = tells.then(Box::default);
        let held: Vec<_> = if tells { member.held().to_vec() } else { Vec::new() };
        let leading: Vec<_> = held.into_iter().filter(|topic| self.leads(slot, *topic)).collect();
        self.note_untold(slot, |untold| untold.topics.extend(leading));
    }

    /// Behind the acknowledgement of a subscription: what was not held before in any mode.
    pub(super) fn tell_new(&mut self, slot: u32, taken: &[TopicId]) {
        if !self.fanout.get(slot).is_some_and(|member| member.state.tells_state) {
            return;
        }
        let taken: HashSet<_> = taken.iter().copied().collect();
        let mut told = 0;
        let mut new: Vec<_> = taken.iter().copied().collect();
        new.sort_unstable();
        for topic in new {
            let is_first = self.names_of(slot, topic).all(|held| taken.contains(&held) && held >= topic);
            if is_first && self.tell_state(slot, topic) {
                told += 1;
            }
        }
        self.reporter.told_states(told);
    }

    /// How current a feed's data of a segment are has changed.
    pub(super) fn on_standing(&mut self, feed: FeedId, segment: Segment) {
        for slot in self.fanout.slots() {
            self.note_untold(slot, |untold| {
                untold.segments.insert((feed, segment));
            });
        }
    }

    /// Instruments are carried by another feed, so that another verdict holds for them.
    pub(super) fn on_moved(&mut self, instruments: &[InstrumentId]) {
        let moved: HashSet<_> = instruments.iter().copied().collect();
        for slot in self.fanout.slots() {
            let Some(member) = self.fanout.get(slot).filter(|member| member.state.tells_state) else {
                continue;
            };
            let is_moved = |topic: &TopicId| {
                self.fanout.topics.key(*topic).is_some_and(|key| moved.contains(&key.instrument))
            };
            let held: Vec<_> = member.held().iter().copied().filter(is_moved).collect();
            let leading: Vec<_> = held.into_iter().filter(|topic| self.leads(slot, *topic)).collect();
            self.note_untold(slot, |untold| untold.topics.extend(leading));
        }
    }

    fn note_untold(&mut self, slot: u32, note: impl FnOnce(&mut Untold)) {
        let Some(state) = self.state(slot).filter(|state| state.is_open()) else { return };
        let Some(untold) = &mut state.untold else { return };
        note(untold);
        self.go_on_telling(slot);
    }

    /// A consumer that had not taken its answers takes them again.
    pub(super) fn go_on_telling(&mut self, slot: u32) {
        let Some(untold) = self.state(slot).and_then(|state| state.untold.as_mut()) else { return };
        if !untold.is_empty() && !untold.listed {
            untold.listed = true;
            self.telling.push_back(slot);
        }
    }

    /// Tells some of what is to be told; the rest has its turn later.
    pub(super) fn tell_states(&mut self) {
        let mut left = TURN_STATES;
        let mut told = 0;
        while left > 0
            && let Some(slot) = self.telling.pop_front()
        {
            let (states, cost) = self.tell_some(slot, left);
            told += states;
            left = left.saturating_sub(cost.max(1));
        }
        if told > 0 {
            self.reporter.told_states(told);
        }
    }

    /// Returns how many states were told, and what it cost, measured in them.
    fn tell_some(&mut self, slot: u32, most: usize) -> (u64, usize) {
        let Some(member) = self.fanout.get_mut(slot) else { return (0, 0) };
        let is_open = member.state.is_open();
        let Some(untold) = &mut member.state.untold else { return (0, 0) };
        untold.listed = false;
        if !is_open {
            return (0, 0);
        }
        let mut cost = 0;
        let segments = std::mem::take(&mut untold.segments);
        if !segments.is_empty() {
            let held = member.held().to_vec();
            cost += held.len() / LOOKS_PER_STATE;
            let concerned = held.into_iter().filter(|topic| {
                let Some(key) = self.fanout.topics.key(*topic) else { return false };
                let feed = self.env.hub.carrier(key.instrument);
                feed.is_some_and(|feed| segments.contains(&(feed, key.instrument.segment)))
                    && self.leads(slot, *topic)
            });
            let concerned: Vec<_> = concerned.collect();
            if let Some(untold) = self.state(slot).and_then(|state| state.untold.as_mut()) {
                untold.topics.extend(concerned);
            }
        }
        let mut told = 0;
        while cost < most
            && let Some(member) = self.fanout.get_mut(slot)
            && member.outbox.answers() < ANSWER_BYTES
            && let Some(topic) = member.state.untold.as_mut().and_then(|untold| untold.topics.pop_first())
        {
            // It may have been left since.
            if member.held().binary_search(&topic).is_ok() && self.tell_state(slot, topic) {
                told += 1;
            }
            cost += 1;
            if self.fanout.get(slot).is_some_and(|member| member.outbox.answers() >= ANSWER_BYTES) {
                self.flush(slot);
            }
        }
        self.flush(slot);
        // One whose socket is full is looked at when it takes more.
        if self.fanout.get(slot).is_some_and(|member| member.outbox.answers() < ANSWER_BYTES) {
            self.go_on_telling(slot);
        }
        (told, cost)
    }

    /// Queues what there is to say of an instrument now.
    fn tell_state(&mut self, slot: u32, topic: TopicId) -> bool {
        let Some(key) = self.fanout.topics.key(topic) else { return false };
        let standing = self.env.hub.standing_of(key.instrument);
        let header = self.fanout.topics.record_header(topic);
        let key = key.clone();
        let Some(member) = self.fanout.get_mut(slot) else { return false };
        if member.encoding == Encoding::Binary {
            let state =
                State { state: Some(standing.state), since: standing.since, reason: &standing.reason };
            let mut record = Vec::with_capacity(256);
            Body::State(state).write(&header, &mut record);
            member.outbox.answer(|out| {
                websocket::encode_binary_header(record.len(), out);
                out.extend_from_slice(&record);
            });
        } else {
            let (name, since) = ((&*key.symbol, key.exchange), standing.since.as_millis());
            member.outbox.answer(|out| {
                websocket::text_frame(out, |out| {
                    frames::state(name, standing.state, since, &standing.reason, out);
                });
            });
        }
        true
    }

    /// Queues a heartbeat; one that could not be sent yet gives way to it.
    pub(super) fn send_heartbeat(&mut self, slot: u32) {
        let (settings, now) = (&self.env.settings, self.now);
        let pulse = self.env.hub.pulse();
        let age = pulse.last_data.map(|at| self.env.hub.now().since(at));
        let header = self.env.hub.record_header(0);
        let Some(member) = self.fanout.get_mut(slot) else { return };
        let mut frame = Vec::with_capacity(96);
        if member.encoding == Encoding::Binary {
            let age = age.map(|age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
            websocket::encode_binary_header(HEARTBEAT_LEN, &mut frame);
            let beat = Heartbeat { state: Some(pulse.state), last_tick_age: age };
            Body::Heartbeat(beat).write(&header, &mut frame);
        } else {
            let age = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
            websocket::text_frame(&mut frame, |out| frames::heartbeat(pulse.state, age, out));
        }
        member.outbox.heartbeat(&frame);
        member.state.heartbeat_due = settings.heartbeat_interval().map(|every| now + every);
        self.reporter.told_heartbeat();
    }

    /// Whether a topic stands for its name at a consumer that may hold it in several modes.
    fn leads(&self, slot: u32, topic: TopicId) -> bool {
        self.names_of(slot, topic).all(|held| held >= topic)
    }

    /// The topics that a consumer holds under the name of one of them, that one included.
    fn names_of(&self, slot: u32, topic: TopicId) -> impl Iterator<Item = TopicId> {
        let held = self.fanout.get(slot).map_or(&[][..], |member| member.held());
        self.fanout.topics.siblings(topic).filter(|sibling| held.binary_search(sibling).is_ok())
    }
}
