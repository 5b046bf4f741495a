//! Which topics exist and who holds them. Touched when somebody subscribes, never per tick.

use std::collections::HashMap;
use std::sync::Arc;

use crate::hub::{Part, ShardId};
use crate::market::{Exchange, InstrumentId, Kind, KindSet};
use crate::protocol::Mode;
use crate::protocol::openalgo::market_data;

/// How frames of a topic are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// OpenAlgo's JSON.
    Json,
    /// The same with sequence numbers, for those that ask for them.
    JsonSeq,
    /// Records of `tickgate.v1`.
    Binary,
}

impl Encoding {
    /// The value of the metrics' label `encoding`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Json | Self::JsonSeq => "json",
            Self::Binary => "binary",
        }
    }
}

/// What is encoded once for everybody who wants just this.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicKey {
    /// The instrument.
    pub instrument: InstrumentId,
    /// How much of it.
    pub mode: Mode,
    /// How it is written.
    pub encoding: Encoding,
    /// The exchange consumers name it by.
    pub exchange: Exchange,
    /// The symbol consumers name it by. Part of the key: a derivative's number is used again
    /// after expiry, and frames carry the name.
    pub symbol: Arc<str>,
}

/// A topic's number: small, dense, and never given to another topic, so that a batch on its
/// way can never reach the wrong holders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u32);

/// A topic as publishers know it.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) id: TopicId,
    pub(super) mode: Mode,
    pub(super) encoding: Encoding,
    /// Of JSON with sequence numbers: what stands before the number.
    pub(super) head: Option<Arc<[u8]>>,
    /// Of JSON: everything of a frame before the last price, or between the sequence number and it.
    pub(super) prefix: Arc<[u8]>,
    /// Of binary records: the instrument's number; see [`Listings`].
    pub(super) listing: u32,
}

/// What publishers are told.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// `shard` has taken the topic and wants its last value.
    Taken { instrument: InstrumentId, topic: Topic, shard: ShardId },
    /// Nobody holds it any more.
    Left { instrument: InstrumentId, topic: TopicId },
    /// Another feed carries the instrument now, with all its topics: what this one knows of it
    /// grows old.
    Moved { instrument: InstrumentId },
    /// The instrument's number has come to mean another one: what is known of it is of the one before.
    Renamed { instrument: InstrumentId },
}

impl Change {
    /// What it concerns.
    pub(super) const fn instrument(&self) -> InstrumentId {
        match self {
            Self::Taken { instrument, .. }
            | Self::Left { instrument, .. }
            | Self::Moved { instrument }
            | Self::Renamed { instrument } => *instrument,
        }
    }
}

/// Numbers of instruments under their names, as binary records carry them: from 1, the same for
/// every mode, and never given to another, so that a consumer may keep what a number means.
#[derive(Debug, Default)]
struct Listings(HashMap<(InstrumentId, Exchange, Arc<str>), u32>);

impl Listings {
    fn number(&mut self, key: &TopicKey) -> u32 {
        let next = self.0.len() as u32 + 1;
        *self.0.entry((key.instrument, key.exchange, Arc::clone(&key.symbol))).or_insert(next)
    }
}

#[derive(Debug)]
struct Row {
    key: TopicKey,
    topic: Topic,
    holders: u32,
}

impl Row {
    /// Makes what stands in front of the numbers in every frame. Kept only while somebody holds the
    /// topic: a row stays for ever, and expired contracts are many.
    fn write_texts(&mut self, broker: &str, epoch: u32) {
        let (symbol, exchange, mode) = (&self.key.symbol, self.key.exchange, self.key.mode);
        match self.key.encoding {
            Encoding::Json => self.topic.prefix = market_data::prefix(symbol, exchange, mode, broker).into(),
            Encoding::JsonSeq => {
                let (head, prefix) = market_data::numbered_prefix(symbol, exchange, mode, broker, epoch);
                (self.topic.head, self.topic.prefix) = (Some(head.into()), prefix.into());
            }
            Encoding::Binary => {}
        }
    }

    fn drop_texts(&mut self) {
        (self.topic.head, self.topic.prefix) = (None, Arc::default());
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    numbers: HashMap<TopicKey, TopicId>,
    rows: Vec<Row>,
    listings: Listings,
    /// Holders by instrument and mode: what is wanted of the broker.
    wanted: HashMap<InstrumentId, [u32; Mode::ALL.len()]>,
    /// Slots at the broker that this takes: one for an instrument's prices in whatever mode, one
    /// for its bars. Open interest counts for none, since it gives way.
    slots: usize,
    /// What each instrument was last called, also after everybody has left it.
    called: HashMap<InstrumentId, (Exchange, Arc<str>)>,
}

impl Table {
    /// Notes what an instrument is called by whoever is about to take it. A change for publishers
    /// if it was called otherwise before: no list has two names for an instrument, so its number
    /// has been given to another, and no value of the former one may be shown under this name.
    pub(super) fn call(&mut self, key: &TopicKey) -> Option<Change> {
        let name = (key.exchange, Arc::clone(&key.symbol));
        let instrument = key.instrument;
        let former = self.called.insert(instrument, name)?;
        (former.0 != key.exchange || former.1 != key.symbol).then_some(Change::Renamed { instrument })
    }

    /// Adds a holder. Returns the change for publishers.
    pub(super) fn acquire(
        &mut self,
        key: TopicKey,
        shard: ShardId,
        broker: &str,
        epoch: u32,
    ) -> (TopicId, Change) {
        let id = *self.numbers.entry(key.clone()).or_insert_with(|| {
            let id = TopicId(self.rows.len() as u32);
            let listing = if key.encoding == Encoding::Binary { self.listings.number(&key) } else { 0 };
            let (mode, encoding) = (key.mode, key.encoding);
            let topic = Topic { id, mode, encoding, head: None, prefix: Arc::default(), listing };
            self.rows.push(Row { key, topic, holders: 0 });
            id
        });
        let row = &mut self.rows[id.0 as usize];
        if row.holders == 0 {
            row.write_texts(broker, epoch);
        }
        row.holders += 1;
        let instrument = row.key.instrument;
        let held = self.wanted.entry(instrument).or_default();
        let before = slots(held);
        held[row.key.mode as usize - 1] += 1;
        self.slots += slots(held) - before;
        (id, Change::Taken { instrument, topic: row.topic.clone(), shard })
    }

    /// Removes a holder. `None` if there was none: the caller counted wrongly.
    pub(super) fn release(&mut self, id: TopicId) -> Option<(Option<Change>, bool)> {
        let row = self.rows.get_mut(id.0 as usize).filter(|row| row.holders > 0)?;
        row.holders -= 1;
        if row.holders == 0 {
            row.drop_texts();
        }
        let instrument = row.key.instrument;
        let change = (row.holders == 0).then_some(Change::Left { instrument, topic: id });
        let held = self.wanted.get_mut(&instrument)?;
        let before = slots(held);
        held[row.key.mode as usize - 1] -= 1;
        self.slots -= before - slots(held);
        let moved = held[row.key.mode as usize - 1] == 0;
        if slots(held) == 0 {
            self.wanted.remove(&instrument);
        }
        Some((change, moved))
    }

    /// Every change that a publisher made now has missed.
    pub(super) fn all(&self) -> impl Iterator<Item = Change> {
        // A publisher that starts has no last values, so nobody in particular waits for one.
        self.rows.iter().filter(|row| row.holders > 0).map(|row| Change::Taken {
            instrument: row.key.instrument,
            topic: row.topic.clone(),
            shard: ShardId::NONE,
        })
    }

    /// A topic that somebody holds, and its instrument.
    pub(super) fn topic(&self, topic: TopicId) -> Option<(InstrumentId, Topic)> {
        let row = self.rows.get(topic.0 as usize).filter(|row| row.holders > 0)?;
        Some((row.key.instrument, row.topic.clone()))
    }

    /// The number that binary records of a topic carry.
    pub(super) fn listing(&self, topic: TopicId) -> Option<u32> {
        self.rows.get(topic.0 as usize).map(|row| row.topic.listing)
    }

    /// Slots at the broker that are wanted in all.
    pub(super) const fn slots(&self) -> usize {
        self.slots
    }

    /// Whether somebody holds a part of an instrument.
    pub(super) fn holds(&self, instrument: InstrumentId, part: Part) -> bool {
        self.wanted.get(&instrument).is_some_and(|[ltp, quote, depth, bar]| match part {
            Part::Prices => ltp + quote + depth > 0,
            Part::Bars => *bar > 0,
        })
    }

    /// Whether a topic would need a slot that nothing held takes up yet.
    pub(super) fn needs_slot(&self, key: &TopicKey) -> bool {
        let mut held = self.wanted.get(&key.instrument).copied().unwrap_or_default();
        let before = slots(&held);
        held[key.mode as usize - 1] += 1;
        slots(&held) > before
    }

    /// What to hold at the broker: 1502 instead of 1501 while anybody wants depth, open
    /// interest beside it where there is any and somebody would see it.
    pub(super) fn wanted(&self) -> Vec<(InstrumentId, KindSet)> {
        self.wanted
            .iter()
            .map(|(&instrument, &[ltp, quote, depth, bar])| {
                let mut kinds = KindSet::EMPTY;
                if ltp + quote + depth > 0 {
                    kinds = kinds.with(if depth > 0 { Kind::Depth } else { Kind::Quote });
                }
                if quote + depth > 0 && instrument.segment.has_open_interest() {
                    kinds = kinds.with(Kind::OpenInterest);
                }
                (instrument, if bar > 0 { kinds.with(Kind::Bar) } else { kinds })
            })
            .collect()
    }
}

/// Slots that an instrument takes with so many holders of each mode.
const fn slots(&[ltp, quote, depth, bar]: &[u32; Mode::ALL.len()]) -> usize {
    (ltp + quote + depth > 0) as usize + (bar > 0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Segment;

    #[test]
    fn a_topic_that_nobody_holds_keeps_no_texts_and_gets_the_same_ones_again() {
        let instrument = InstrumentId { segment: Segment::NseCash, code: 1 };
        let (mode, exchange) = (Mode::Quote, Exchange::Nse);
        let mut table = Table::default();
        for encoding in [Encoding::Json, Encoding::JsonSeq, Encoding::Binary] {
            let key = TopicKey { instrument, mode, encoding, exchange, symbol: "S".into() };
            let take = |table: &mut Table| match table.acquire(key.clone(), ShardId::NONE, "b", 7) {
                (_, Change::Taken { topic, .. }) => topic,
                (_, other) => panic!("{other:?}"),
            };
            let (first, second) = (take(&mut table), take(&mut table));
            assert_eq!(first.prefix.is_empty(), encoding == Encoding::Binary);
            assert_eq!(first.head.is_some(), encoding == Encoding::JsonSeq);
            table.release(first.id);
            assert_eq!(table.rows[first.id.0 as usize].topic.prefix, first.prefix, "somebody holds it");
            table.release(second.id);
            let kept = &table.rows[first.id.0 as usize].topic;
            assert!(kept.prefix.is_empty() && kept.head.is_none(), "{encoding:?}");
            let again = take(&mut table);
            assert_eq!((again.id, &again.head, &again.prefix), (first.id, &first.head, &first.prefix));
            assert_eq!(again.listing, first.listing);
        }
    }
}
