//! A shard's topics: who holds which, how often, and the latest frame of each. Counts each topic
//! once at the hub, however many of the shard's connections hold it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use crate::gateway::shard::pacing::{Due, Paced};
use crate::gateway::shard::turn::{Run, Turn};
use crate::hub::{Encoding, FeedId, Hub, NoRoom, ShardId, TopicId, TopicKey};
use crate::market::{Exchange, InstrumentId, Price};
use crate::protocol::Mode;
use crate::protocol::binary::Header;

/// A topic as this shard knows it, at the place of its number.
#[derive(Debug, Default)]
struct Row {
    key: Option<TopicKey>,
    /// The instrument's number in binary records.
    listing: u32,
    /// The connections that hold it and want every frame at once.
    holders: Vec<u32>,
    /// Those that want fewer, by connection. Apart, so that the others pay nothing for them.
    paced: Vec<Paced>,
    /// Those of both that have had the frames up to a number.
    joining: Vec<Joining>,
    /// A copy of the latest frame, so that no batch is held on to. Empty: none came yet.
    latest: Vec<u8>,
    /// The latest frame in the turn at hand; of length 0 if there is none.
    newest: Run,
}

impl Row {
    fn is_held(&self) -> bool {
        !self.holders.is_empty() || !self.paced.is_empty()
    }

    fn paced(&mut self, slot: u32) -> Option<&mut Paced> {
        let at = self.paced.binary_search_by_key(&slot, |paced| paced.slot).ok()?;
        Some(&mut self.paced[at])
    }
}

/// A holder that was given what was published up to a number, some of which may still be on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joining {
    pub(crate) slot: u32,
    pub(crate) source: FeedId,
    pub(crate) after: u64,
}

/// What holders are told of an instrument beside its name; `None` where the venue says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) tick_size: Option<Price>,
    pub(crate) lot_size: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Topics {
    hub: Hub,
    shard: ShardId,
    rows: Vec<Row>,
    /// Held topics by symbol.
    names: HashMap<Arc<str>, Vec<TopicId>>,
    /// Topics with a frame in the turn at hand.
    renewed: Vec<TopicId>,
    /// What every holder of a binary topic was told of it. Apart, because a tick needs none of it.
    told: HashMap<TopicId, Steps>,
    /// Frames that are held back.
    due: Due,
    /// Entries of all rows' `paced`.
    paced: usize,
}

impl Topics {
    pub(crate) fn new(hub: Hub, shard: ShardId) -> Self {
        Self {
            hub,
            shard,
            rows: Vec::new(),
            names: HashMap::new(),
            renewed: Vec::new(),
            told: HashMap::new(),
            due: Due::default(),
            paced: 0,
        }
    }

    /// The shard whose topics these are.
    pub(crate) fn shard(&self) -> ShardId {
        self.shard
    }

    /// The topics that somebody here holds by this name. More than one only after a name has
    /// come to mean another instrument.
    pub(crate) fn named(&self, exchange: Exchange, symbol: &str, mode: Mode) -> Vec<TopicId> {
        let named = self.names.get(symbol).map_or(&[][..], Vec::as_slice).iter().copied();
        named.filter(|t| self.key(*t).is_some_and(|k| k.exchange == exchange && k.mode == mode)).collect()
    }

    /// The topics held here under the name of one of them, in whatever mode and encoding, that one included.
    pub(crate) fn siblings(&self, topic: TopicId) -> impl Iterator<Item = TopicId> {
        let key = self.key(topic);
        let named = key.and_then(|key| self.names.get(&key.symbol)).map_or(&[][..], Vec::as_slice);
        let is_same = move |other: &TopicId| {
            let (one, other) = (key, self.key(*other));
            one.zip(other).is_some_and(|(a, b)| a.instrument == b.instrument && a.exchange == b.exchange)
        };
        named.iter().copied().filter(is_same)
    }

    /// The text of a symbol, shared with topics that are held under it.
    pub(crate) fn shared_symbol(&self, symbol: &str) -> Arc<str> {
        self.names.get_key_value(symbol).map_or_else(|| symbol.into(), |(known, _)| Arc::clone(known))
    }

    /// What a topic is; `None` if nobody here holds it.
    pub(crate) fn key(&self, topic: TopicId) -> Option<&TopicKey> {
        self.rows.get(topic.0 as usize)?.key.as_ref()
    }

    /// The number that binary records of a topic carry; `None` if nobody here holds it.
    pub(crate) fn listing(&self, topic: TopicId) -> Option<u32> {
        self.rows.get(topic.0 as usize).filter(|row| row.key.is_some()).map(|row| row.listing)
    }

    /// Notes what one more holder of a topic is told. Those before it may have been told otherwise,
    /// by a list that has just been replaced; [`Self::retell`] finds that.
    pub(crate) fn note_told(&mut self, topic: TopicId, steps: Steps) {
        self.told.entry(topic).or_insert(steps);
    }

    /// Topics of which not every holder was told what is true now; takes it for told.
    pub(crate) fn retell(&mut self, steps: impl Fn(InstrumentId) -> Steps) -> Vec<TopicId> {
        let Self { told, rows, .. } = self;
        let changed = told.iter_mut().filter_map(|(topic, told)| {
            let now = steps(rows.get(topic.0 as usize)?.key.as_ref()?.instrument);
            (std::mem::replace(told, now) != now).then_some(*topic)
        });
        changed.collect()
    }

    /// The header of a binary record about a topic that is no market data.
    pub(crate) fn record_header(&self, topic: TopicId) -> Header {
        self.hub.record_header(self.rows.get(topic.0 as usize).map_or(0, |row| row.listing))
    }

    /// The connections that hold a topic.
    pub(crate) fn holders(&self, topic: TopicId) -> Vec<u32> {
        self.rows.get(topic.0 as usize).map_or_else(Vec::new, |row| {
            row.holders.iter().copied().chain(row.paced.iter().map(|paced| paced.slot)).collect()
        })
    }

    /// The topic of a key, if somebody here holds it.
    pub(crate) fn find(&self, key: &TopicKey) -> Option<TopicId> {
        self.names.get(&key.symbol)?.iter().copied().find(|t| self.key(*t) == Some(key))
    }

    /// The topics held here of an instrument.
    pub(crate) fn of_instrument(&self, instrument: InstrumentId) -> Vec<TopicId> {
        let held = self.names.values().flatten().copied();
        held.filter(|t| self.key(*t).is_some_and(|k| k.instrument == instrument)).collect()
    }

    /// Held topics whose name does not mean their instrument, each with the one it means, if any.
    pub(crate) fn outdated(
        &self,
        meaning: impl Fn(&TopicKey) -> Option<InstrumentId>,
    ) -> Vec<(TopicId, TopicKey, Option<InstrumentId>)> {
        let held = self.rows.iter().zip(0..).filter_map(|(row, number)| Some((row.key.as_ref()?, number)));
        held.map(|(key, number)| (TopicId(number), key, meaning(key)))
            .filter(|(_, key, instrument)| *instrument != Some(key.instrument))
            .map(|(topic, key, instrument)| (topic, key.clone(), instrument))
            .collect()
    }

    /// The topic of a key, taken from the hub unless somebody here holds it already. Must be
    /// followed by [`Self::add`].
    pub(crate) fn take(&mut self, key: &TopicKey) -> TopicId {
        if let Some(topic) = self.find(key) {
            return topic;
        }
        let topic = self.hub.acquire(self.shard, key.clone());
        self.note_taken(topic, key);
        topic
    }

    /// The same, unless the broker is known to have no room for it.
    pub(crate) fn try_take(&mut self, key: &TopicKey) -> Result<TopicId, NoRoom> {
        if let Some(topic) = self.find(key) {
            return Ok(topic);
        }
        let topic = self.hub.try_acquire(self.shard, key.clone())?;
        self.note_taken(topic, key);
        Ok(topic)
    }

    fn note_taken(&mut self, topic: TopicId, key: &TopicKey) {
        let at = topic.0 as usize;
        if self.rows.len() <= at {
            self.rows.resize_with(at + 1, Row::default);
        }
        self.rows[at].key = Some(key.clone());
        if key.encoding == Encoding::Binary {
            self.rows[at].listing = self.hub.listing(topic).unwrap_or_default();
        }
        self.names.entry(Arc::clone(&key.symbol)).or_default().push(topic);
    }

    /// Makes a connection a holder.
    pub(crate) fn add(&mut self, topic: TopicId, slot: u32) {
        self.rows[topic.0 as usize].holders.push(slot);
    }

    /// Passes over for a holder what it has been given already.
    pub(crate) fn join(&mut self, topic: TopicId, joining: Joining) {
        if let Some(row) = self.rows.get_mut(topic.0 as usize) {
            row.joining.push(joining);
        }
    }

    /// Makes it one no longer. The last one leaves the topic at the hub.
    pub(crate) fn remove(&mut self, topic: TopicId, slot: u32) {
        let row = &mut self.rows[topic.0 as usize];
        row.joining.retain(|joining| joining.slot != slot);
        if let Some(at) = row.holders.iter().position(|h| *h == slot) {
            row.holders.swap_remove(at);
        } else if let Ok(at) = row.paced.binary_search_by_key(&slot, |paced| paced.slot) {
            row.paced.remove(at);
            self.paced -= 1;
            self.tidy();
        }
        let row = &mut self.rows[topic.0 as usize];
        if !row.is_held()
            && let Some(key) = row.key.take()
        {
            // What comes while nobody here holds it is not kept, so this would grow old.
            row.latest = Vec::new();
            self.told.remove(&topic);
            (row.holders, row.paced, row.joining) = (Vec::new(), Vec::new(), Vec::new());
            if let Some(named) = self.names.get_mut(&key.symbol) {
                named.retain(|t| *t != topic);
                if named.is_empty() {
                    self.names.remove(&key.symbol);
                }
            }
            self.hub.release(topic);
        }
    }

    /// The least time between two frames that a holder wants; zero if it wants all.
    pub(crate) fn interval(&mut self, topic: TopicId, slot: u32) -> Duration {
        let row = self.rows.get_mut(topic.0 as usize);
        row.and_then(|row| row.paced(slot)).map_or(Duration::ZERO, |paced| paced.interval())
    }

    /// Changes it; whether a frame that was held back must leave now.
    pub(crate) fn set_interval(
        &mut self,
        topic: TopicId,
        slot: u32,
        interval: Duration,
        now: Instant,
    ) -> bool {
        let Some(row) = self.rows.get_mut(topic.0 as usize) else { return false };
        match row.paced.binary_search_by_key(&slot, |paced| paced.slot) {
            Ok(at) if interval.is_zero() => {
                let owed = row.paced.remove(at).sent(now);
                row.holders.push(slot);
                self.paced -= 1;
                self.tidy();
                owed
            }
            Ok(at) => {
                row.paced[at].set_interval(interval);
                self.arm(topic, slot);
                false
            }
            Err(at) => {
                if !interval.is_zero()
                    && let Some(plain) = row.holders.iter().position(|h| *h == slot)
                {
                    row.holders.swap_remove(plain);
                    row.paced.insert(at, Paced::new(slot, interval, now));
                    self.paced += 1;
                }
                false
            }
        }
    }

    fn arm(&mut self, topic: TopicId, slot: u32) {
        let Self { rows, due, .. } = self;
        if let Some(paced) = rows[topic.0 as usize].paced(slot) {
            due.arm(topic, paced);
        }
        self.tidy();
    }

    /// Whenever an entry of `due` may have become wrong.
    fn tidy(&mut self) {
        let Self { rows, due, paced, .. } = self;
        due.tidy(*paced, |topic, slot| rows.get_mut(topic.0 as usize)?.paced(slot)?.armed());
    }

    /// The latest frame of a topic leaves for a connection; whether one was held back for it.
    pub(crate) fn sent(&mut self, topic: TopicId, slot: u32, now: Instant) -> bool {
        let Some(row) = self.rows.get_mut(topic.0 as usize) else { return false };
        row.paced(slot).is_some_and(|paced| paced.sent(now))
    }

    /// Frames that are noted to be held back, wrongly or not.
    #[cfg(test)]
    pub(crate) fn noted_due(&self) -> usize {
        self.due.len()
    }

    /// When the next frame that is held back is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.next()
    }

    /// Takes a frame that is due: its topic and for whom it was held back.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(TopicId, u32)> {
        while let Some((at, topic, slot)) = self.due.pop(now) {
            if let Some(paced) = self.rows.get_mut(topic.0 as usize).and_then(|row| row.paced(slot))
                && self.due.is_due(at, topic, paced, now)
            {
                paced.sent(now);
                return Some((topic, slot));
            }
        }
        None
    }

    /// The holders of a topic that has a frame at `run`; notes that it is the newest.
    #[inline]
    pub(crate) fn renew(&mut self, topic: TopicId, run: Run) -> Option<Holders<'_>> {
        let row = self.rows.get_mut(topic.0 as usize).filter(|row| row.is_held())?;
        if row.newest.len() == 0 {
            self.renewed.push(topic);
        }
        row.newest = run;
        Some(Holders {
            plain: &row.holders,
            paced: &mut row.paced,
            joining: &mut row.joining,
            due: &mut self.due,
        })
    }

    /// Copies the newest frame of each topic out of a turn. Once per topic, however many
    /// frames of it there were.
    pub(crate) fn keep_latest(&mut self, turn: &Turn) {
        for topic in self.renewed.drain(..) {
            let row = &mut self.rows[topic.0 as usize];
            let run = std::mem::take(&mut row.newest);
            row.latest.clear();
            row.latest.extend_from_slice(turn.bytes(run));
        }
    }

    /// Whether a frame of a topic has come since somebody here took it.
    pub(crate) fn is_known(&self, topic: TopicId) -> bool {
        self.rows.get(topic.0 as usize).is_some_and(|row| row.newest.len() > 0 || !row.latest.is_empty())
    }

    /// The latest frame of a topic; empty if none came yet.
    pub(crate) fn latest(&self, topic: TopicId) -> &[u8] {
        self.rows.get(topic.0 as usize).map_or(&[], |row| &row.latest)
    }
}

/// Who gets a frame of a topic.
pub(crate) struct Holders<'a> {
    /// At once.
    pub(crate) plain: &'a [u32],
    /// When their interval has passed.
    pub(crate) paced: &'a mut [Paced],
    /// Of both, who may have had the frame already.
    pub(crate) joining: &'a mut Vec<Joining>,
    /// Where frames for the latter are noted.
    pub(crate) due: &'a mut Due,
}

impl Holders<'_> {
    /// Passes over those for whom a frame is none that they have not had; whether there are any.
    #[cold]
    pub(crate) fn pass_over(&mut self, source: FeedId, sequence: u64) -> bool {
        // What comes later has higher numbers, or is another feed's.
        self.joining.retain(|joining| joining.source == source && sequence <= joining.after);
        !self.joining.is_empty()
    }

    /// Whether one is passed over.
    pub(crate) fn has_had(&self, slot: u32) -> bool {
        self.joining.iter().any(|joining| joining.slot == slot)
    }
}

impl Drop for Topics {
    /// Also when the shard panics: the hub must not go on for consumers that are gone.
    fn drop(&mut self) {
        for (number, row) in self.rows.iter().enumerate() {
            if row.key.is_some() {
                self.hub.release(TopicId(number as u32));
            }
        }
    }
}
