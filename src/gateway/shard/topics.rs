//! A shard's topics: who holds which, and the latest frame of each. Counts each topic once
//! at the hub, however many of the shard's connections hold it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::gateway::shard::turn::{Run, Turn};
use crate::hub::{Hub, NoRoom, ShardId, TopicId, TopicKey};
use crate::market::{Exchange, InstrumentId};
use crate::protocol::Mode;

/// A topic as this shard knows it, at the place of its number.
#[derive(Debug, Default)]
struct Row {
    key: Option<TopicKey>,
    /// The connections that hold it.
    holders: Vec<u32>,
    /// A copy of the latest frame, so that no batch is held on to. Empty: none came yet.
    latest: Vec<u8>,
    /// The latest frame in the turn at hand; of length 0 if there is none.
    newest: Run,
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
}

impl Topics {
    pub(crate) fn new(hub: Hub, shard: ShardId) -> Self {
        Self { hub, shard, rows: Vec::new(), names: HashMap::new(), renewed: Vec::new() }
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

    /// The text of a symbol, shared with topics that are held under it.
    pub(crate) fn shared_symbol(&self, symbol: &str) -> Arc<str> {
        self.names.get_key_value(symbol).map_or_else(|| symbol.into(), |(known, _)| Arc::clone(known))
    }

    /// What a topic is; `None` if nobody here holds it.
    pub(crate) fn key(&self, topic: TopicId) -> Option<&TopicKey> {
        self.rows.get(topic.0 as usize)?.key.as_ref()
    }

    /// The connections that hold a topic.
    pub(crate) fn holders(&self, topic: TopicId) -> &[u32] {
        self.rows.get(topic.0 as usize).map_or(&[], |row| &row.holders)
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
        self.names.entry(Arc::clone(&key.symbol)).or_default().push(topic);
    }

    /// Makes a connection a holder.
    pub(crate) fn add(&mut self, topic: TopicId, slot: u32) {
        self.rows[topic.0 as usize].holders.push(slot);
    }

    /// Makes it one no longer. The last one leaves the topic at the hub.
    pub(crate) fn remove(&mut self, topic: TopicId, slot: u32) {
        let row = &mut self.rows[topic.0 as usize];
        if let Some(at) = row.holders.iter().position(|h| *h == slot) {
            row.holders.swap_remove(at);
        }
        if row.holders.is_empty()
            && let Some(key) = row.key.take()
        {
            // What comes while nobody here holds it is not kept, so this would grow old.
            row.latest = Vec::new();
            row.holders = Vec::new();
            if let Some(named) = self.names.get_mut(&key.symbol) {
                named.retain(|t| *t != topic);
                if named.is_empty() {
                    self.names.remove(&key.symbol);
                }
            }
            self.hub.release(topic);
        }
    }

    /// The holders of a topic that has a frame at `run`; notes that it is the newest.
    #[inline]
    pub(crate) fn renew(&mut self, topic: TopicId, run: Run) -> &[u32] {
        let Some(row) = self.rows.get_mut(topic.0 as usize) else { return &[] };
        if row.holders.is_empty() {
            return &[];
        }
        if row.newest.len() == 0 {
            self.renewed.push(topic);
        }
        row.newest = run;
        &row.holders
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

    /// The latest frame of a topic; empty if none came yet.
    pub(crate) fn latest(&self, topic: TopicId) -> &[u8] {
        self.rows.get(topic.0 as usize).map_or(&[], |row| &row.latest)
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
