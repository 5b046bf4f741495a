//! One feed's way into the hub: numbers ticks, keeps last values, has each used topic
//! encoded once (`encode`) into the open batch. Owned by the feed task; awaits nothing while publishing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::clock::UnixNanos;
use crate::hub::bands::{Band, Bands};
use crate::hub::batch::Batch;
use crate::hub::encode::{Stamp, encode};
use crate::hub::mailbox::Mailbox;
use crate::hub::queue::ShardEvent;
use crate::hub::replay::{Limits, Rings, SharedRings, locked};
use crate::hub::topic::{Change, Topic};
use crate::hub::{FeedId, Inner, ShardId, lock};
use crate::market::{Bar, Depth, InstrumentId, LastTrade, PriceBand, Quote, Tick, TickBody};
use crate::protocol::Mode;

/// Batches kept for re-use.
const POOL: usize = 16;
/// A shard that has more than this waiting makes the publisher wait. Few batches, because
/// what waits at the broker's socket meanwhile becomes *one* larger batch, which costs a shard
/// one write per consumer; a long queue of small ones costs as many writes as batches, and
/// every tick in it waits for all of them.
const BEHIND_BYTES: usize = 8 << 20;
const BEHIND_BATCHES: usize = 1;
/// A batch is handed over at this size at the latest, whatever the feed task does.
const BATCH_LIMIT: usize = 4 << 20;

/// Exact counts since the publisher was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Ticks taken, snapshots included.
    pub ticks: u64,
    /// Frames encoded, each once whatever the number of shards and consumers.
    pub frames: u64,
    /// Batches handed over.
    pub batches: u64,
    /// Bytes of all batches.
    pub bytes: u64,
    /// Depth ticks that came before any quote of their instrument and could not be shown.
    pub depth_without_quote: u64,
    /// Snapshot ticks passed over because a live tick was newer.
    pub stale_snapshots: u64,
    /// Bars passed over because they are no news: known already, or older than the last one.
    pub stale_bars: u64,
    /// Price bands taken.
    pub bands: u64,
    /// Price bands of instruments that nobody has asked for and that there is no room to remember.
    pub bands_dropped: u64,
    /// Ticks without a positive last price. Decoders drop them already; none is ever shown.
    pub invalid_price: u64,
}

/// When something was said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    /// By the venue; zero if it sent no time.
    pub(super) event: UnixNanos,
    /// When we read it.
    pub(super) recv: UnixNanos,
}

impl Times {
    const fn of(tick: &Tick) -> Self {
        Self { event: tick.ts_event, recv: tick.ts_recv }
    }
}

/// What is known of an instrument.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Venue messages published, from 1, or from where [`Memory::beginning`] says. A message that yields a quote and a depth tick is
    /// one, so that a consumer of any mode sees no hole.
    pub(super) sequence: u64,
    pub(super) quote: Option<(Quote, Times)>,
    pub(super) depth: Option<(Depth, Times)>,
    /// A last price that came alone and is newer than the quote's.
    pub(super) last: Option<(LastTrade, Times)>,
    pub(super) open_interest: Option<i64>,
    pub(super) band: Band,
    /// The last bar, while somebody holds bars. Apart, because most instruments have none.
    pub(super) bar: Option<Box<(Bar, Times)>>,
    pub(super) live: Live,
    /// What is published of it is kept for consumers that come back.
    pub(super) kept: bool,
    /// Used topics, at most one per mode, encoding and name.
    pub(super) topics: Vec<Topic>,
}

/// When the last live tick of each kind was received; `ZERO` before the first. By kind: a live quote does not make a snapshot of the book old.
#[derive(Debug, Default)]
pub(super) struct Live {
    price: UnixNanos,
    depth: UnixNanos,
    open_interest: UnixNanos,
}

impl Live {
    fn of(&mut self, body: &TickBody) -> Option<&mut UnixNanos> {
        match body {
            TickBody::LastTrade(_) | TickBody::Quote(_) => Some(&mut self.price),
            TickBody::Depth(_) => Some(&mut self.depth),
            TickBody::OpenInterest(_) => Some(&mut self.open_interest),
            TickBody::Bar(_) | TickBody::PriceBand(_) => None,
        }
    }
}

/// What a publisher knows; the hub keeps it for the feed's next publisher.
#[derive(Debug, Default)]
pub(super) struct Memory {
    slots: Vec<Slot>,
    numbers: HashMap<InstrumentId, u32, foldhash::fast::FixedState>,
    bands: Bands,
    /// What sequence numbers begin above.
    base: u64,
    /// What was published lately.
    pub(super) rings: SharedRings,
}

impl Memory {
    /// That of the feed's publisher number `fresh` which knows nothing of those before it. Its numbers
    /// begin above theirs: a consumer must not take what follows for what it has seen.
    pub(super) fn beginning(fresh: u64, limits: Arc<Limits>) -> Self {
        Self { base: fresh << 32, rings: Rings::new(limits), ..Self::default() }
    }
}

/// Publishes one feed's ticks. It may live as long as the feed task or longer: what it knows
/// is handed to the feed's next publisher when it is dropped.
#[derive(Debug)]
pub struct Publisher {
    inner: Arc<Inner>,
    feed: FeedId,
    mailbox: Arc<Mailbox>,
    memory: Memory,
    open: Batch,
    stamp: Stamp,
    pool: VecDeque<Arc<Batch>>,
    changes: Vec<Change>,
    counters: Counters,
}

impl Publisher {
    pub(super) fn new(inner: Arc<Inner>, feed: FeedId, mailbox: Arc<Mailbox>, memory: Memory) -> Self {
        let stamp = Stamp::new(Arc::clone(&inner.clock), inner.life.epoch, feed);
        Self {
            inner,
            feed,
            mailbox,
            memory,
            open: Batch::default(),
            stamp,
            pool: VecDeque::with_capacity(POOL),
            changes: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Publishes live ticks: stores their values and encodes a frame per used topic. Follow
    /// it with [`Self::flush`].
    pub fn publish(&mut self, ticks: &[Tick]) {
        // Locked before it learns who has taken what: a shard that takes a topic, and then looks at what is
        // kept, misses nothing.
        let rings = Arc::clone(&self.memory.rings);
        let rings = &mut *locked(&rings);
        self.catch_up(rings);
        for tick in ticks {
            if let TickBody::PriceBand(band) = &tick.body {
                self.take_band(tick, band);
                continue;
            }
            let slot = self.slot(tick.instrument);
            if let Some(live) = self.memory.slots[slot].live.of(&tick.body) {
                *live = tick.ts_recv;
            }
            self.take(slot, tick, rings);
        }
    }

    /// Publishes values that came with a request sent at `asked_at`. Where a live tick of the
    /// same kind was received since, the snapshot is passed over: it never undoes a live value.
    pub fn publish_snapshot(&mut self, asked_at: UnixNanos, ticks: &[Tick]) {
        let rings = Arc::clone(&self.memory.rings);
        let rings = &mut *locked(&rings);
        self.catch_up(rings);
        for tick in ticks {
            if let TickBody::PriceBand(band) = &tick.body {
                self.take_band(tick, band);
                continue;
            }
            let slot = self.slot(tick.instrument);
            if self.memory.slots[slot].live.of(&tick.body).is_some_and(|live| *live >= asked_at) {
                self.counters.stale_snapshots += 1;
            } else {
                self.take(slot, tick, rings);
            }
        }
    }

    /// When what is known of each instrument was received, the newest of it.
    pub fn last_received(&self) -> Vec<(InstrumentId, UnixNanos)> {
        let newest = |slot: &Slot| {
            let Slot { quote, depth, last, bar, .. } = slot;
            let times =
                [quote.map(|q| q.1), depth.map(|d| d.1), last.map(|l| l.1), bar.as_ref().map(|b| b.1)];
            times.into_iter().flatten().map(|times| times.recv).max()
        };
        let numbers = self.memory.numbers.iter();
        numbers
            .filter_map(|(id, number)| Some((*id, newest(&self.memory.slots[*number as usize])?)))
            .collect()
    }

    /// Learns which topics have been taken and left since the last call; a shard that has
    /// just taken one gets the last value, if there is any. Follow it with [`Self::flush`].
    pub fn refresh(&mut self) {
        let rings = Arc::clone(&self.memory.rings);
        self.catch_up(&mut locked(&rings));
    }

    fn catch_up(&mut self, rings: &mut Rings) {
        self.stamp.renew();
        let mut changes = std::mem::take(&mut self.changes);
        if self.mailbox.collect(&mut changes) {
            for change in changes.drain(..) {
                self.learn(change, rings);
            }
        }
        self.changes = changes;
    }

    fn learn(&mut self, change: Change, rings: &mut Rings) {
        match change {
            Change::Taken { instrument, topic, shard } => {
                let slot = self.slot(instrument);
                let known = &mut self.memory.slots[slot].topics;
                if !known.iter().any(|t| t.id == topic.id) {
                    known.push(topic.clone());
                }
                if topic.is_numbered() {
                    let known = &mut self.memory.slots[slot];
                    known.kept = rings.keep(instrument, topic.mode, known.sequence);
                }
                if shard != ShardId::NONE {
                    let known = &self.memory.slots[slot];
                    encode(&mut self.open, &mut self.counters, known, &topic, Some(shard), &mut self.stamp);
                }
            }
            Change::Left { instrument, topic } => {
                let slot = self.slot(instrument);
                let known = &mut self.memory.slots[slot];
                known.topics.retain(|t| t.id != topic);
                if known.bar.is_some() && !known.topics.iter().any(|t| t.mode == Mode::Bar) {
                    // Bars stop soon; whoever wants them later must not be shown this one as the last.
                    known.bar = None;
                }
            }
            Change::Renamed { instrument } => {
                self.memory.bands.forget(instrument);
                self.drop_values(&[instrument], rings);
                // It has topics still, or soon.
                self.keep_numbered(instrument, rings);
            }
            Change::Moved { instrument } => {
                self.drop_values(&[instrument], rings);
                if let Some(&slot) = self.memory.numbers.get(&instrument) {
                    self.memory.slots[slot as usize].topics.clear();
                }
            }
        }
    }

    /// Forgets the values of instruments that are subscribed no more at the broker: by the
    /// time somebody wants them again they would be old, and a snapshot comes with the new
    /// subscription. Sequence numbers go on, one of them left out: what came meanwhile is missing.
    pub fn forget(&mut self, instruments: &[InstrumentId]) {
        let rings = Arc::clone(&self.memory.rings);
        let rings = &mut *locked(&rings);
        self.drop_values(instruments, rings);
        for instrument in instruments {
            self.keep_numbered(*instrument, rings);
        }
    }

    /// Begins to keep an instrument of which somebody counts the messages.
    fn keep_numbered(&mut self, instrument: InstrumentId, rings: &mut Rings) {
        let Some(&slot) = self.memory.numbers.get(&instrument) else { return };
        let known = &mut self.memory.slots[slot as usize];
        for topic in known.topics.iter().filter(|topic| topic.is_numbered()) {
            known.kept = rings.keep(instrument, topic.mode, known.sequence);
        }
    }

    fn drop_values(&mut self, instruments: &[InstrumentId], rings: &mut Rings) {
        for instrument in instruments {
            rings.drop_ring(*instrument);
            if let Some(&slot) = self.memory.numbers.get(instrument) {
                let known = &mut self.memory.slots[slot as usize];
                let has_counted = known.quote.is_some() || known.last.is_some();
                *known = Slot {
                    sequence: known.sequence + u64::from(has_counted),
                    // It comes whether or not anything is subscribed.
                    band: self.memory.bands.get(*instrument),
                    topics: std::mem::take(&mut known.topics),
                    ..Slot::default()
                };
            }
        }
    }

    /// To be called when the feed has been opened anew. A snapshot that is asked for from now on
    /// counts again; one that was asked for before and comes late still undoes nothing. Only
    /// moments that a clock set back has put into the future are forgotten.
    pub fn new_generation(&mut self) {
        let now = self.inner.clock.now();
        for slot in &mut self.memory.slots {
            let live = &mut slot.live;
            for moment in [&mut live.price, &mut live.depth, &mut live.open_interest] {
                *moment = (*moment).min(now);
            }
        }
    }

    /// Hands the open batch to every shard, one wake each. Does nothing if it is empty.
    pub fn flush(&mut self) {
        if self.open.entries.is_empty() {
            return;
        }
        let next = self.spare();
        let mut full = match next {
            Some(spare) => spare,
            None => Arc::new(Batch::default()),
        };
        if let Some(batch) = Arc::get_mut(&mut full) {
            std::mem::swap(batch, &mut self.open);
            batch.source = self.feed;
        }
        self.counters.batches += 1;
        self.counters.bytes += full.bytes.len() as u64;
        let shards = self.inner.shards.load();
        for queue in shards.iter() {
            queue.push(ShardEvent::Batch(Arc::clone(&full)));
        }
        if self.pool.len() == POOL {
            self.pool.pop_front();
        }
        self.pool.push_back(full);
    }

    /// Waits while a shard is far behind, so that the broker's connection holds what there is
    /// no time for. Nothing is dropped.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn ready(&self) {
        loop {
            let progress = self.inner.progress.notified();
            let behind = self.inner.shards.load().iter().any(|q| q.is_behind(BEHIND_BYTES, BEHIND_BATCHES));
            if !behind {
                return;
            }
            progress.await;
        }
    }

    /// Whether a shard still works on the batch before: what is flushed now would wait for it.
    pub fn is_any_shard_busy(&self) -> bool {
        self.pool.back().is_some_and(|last| Arc::strong_count(last) > 1)
    }

    /// Bytes encoded since the last flush.
    pub fn open_bytes(&self) -> usize {
        self.open.bytes.len()
    }

    /// Exact counts.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// A batch that no shard reads any more, emptied: the one used last, whose bytes are the
    /// likeliest to be in the processor's cache still.
    fn spare(&mut self) -> Option<Arc<Batch>> {
        let free = self.pool.iter_mut().rposition(|batch| Arc::get_mut(batch).is_some())?;
        let mut spare = self.pool.remove(free)?;
        Arc::get_mut(&mut spare)?.clear();
        Some(spare)
    }

    fn slot(&mut self, instrument: InstrumentId) -> usize {
        let next = self.memory.slots.len() as u32;
        let slot = *self.memory.numbers.entry(instrument).or_insert(next);
        if slot == next {
            let band = self.memory.bands.get(instrument);
            self.memory.slots.push(Slot { band, sequence: self.memory.base, ..Slot::default() });
        }
        slot as usize
    }

    /// Shown with the next depth frame.
    fn take_band(&mut self, tick: &Tick, band: &PriceBand) {
        let known = self.memory.numbers.get(&tick.instrument).copied();
        match self.memory.bands.note(tick.instrument, band, tick.ts_recv, known.is_some()) {
            Some(whole) => {
                self.counters.bands += 1;
                if let Some(slot) = known {
                    self.memory.slots[slot as usize].band = whole;
                }
            }
            None => self.counters.bands_dropped += 1,
        }
    }

    fn take(&mut self, slot: usize, tick: &Tick, rings: &mut Rings) {
        self.counters.ticks += 1;
        let known = &mut self.memory.slots[slot];
        // Which modes the tick makes a frame for: every venue message one per mode held.
        let modes: &[Mode] = match &tick.body {
            TickBody::LastTrade(last) if last.price.is_positive() => {
                known.sequence += 1;
                known.last = Some((*last, Times::of(tick)));
                &[Mode::Ltp]
            }
            TickBody::Quote(quote) if quote.last.price.is_positive() => {
                known.sequence += 1;
                known.quote = Some((*quote, Times::of(tick)));
                known.last = None;
                &[Mode::Ltp, Mode::Quote]
            }
            TickBody::LastTrade(_) | TickBody::Quote(_) => {
                self.counters.invalid_price += 1;
                &[]
            }
            TickBody::Depth(depth) => {
                known.depth = Some((*depth, Times::of(tick)));
                if known.quote.is_none() {
                    self.counters.depth_without_quote += 1;
                }
                &[Mode::Depth]
            }
            // Shown with the next quote: a frame of its own would repeat an old price.
            TickBody::OpenInterest(interest) => {
                known.open_interest = Some(interest.open_interest);
                &[]
            }
            TickBody::Bar(_) if !known.topics.iter().any(|t| t.mode == Mode::Bar) => {
                // Of a subscription that is about to end.
                self.counters.stale_bars += 1;
                &[]
            }
            TickBody::Bar(bar) => match &mut known.bar {
                // Sent again with another value it is a correction.
                Some(last) if bar.start < last.0.start || *bar == last.0 => {
                    self.counters.stale_bars += 1;
                    &[]
                }
                Some(last) => {
                    **last = (*bar, Times::of(tick));
                    &[Mode::Bar]
                }
                None => {
                    known.bar = Some(Box::new((*bar, Times::of(tick))));
                    &[Mode::Bar]
                }
            },
            // Never comes here; see `take_band`.
            TickBody::PriceBand(_) => &[],
        };
        if known.kept {
            match modes {
                [Mode::Ltp, ..] => rings.note(tick.instrument, known),
                [Mode::Depth] => rings.note_book(tick.instrument, known),
                _ => {}
            }
        }
        for topic in &known.topics {
            if modes.contains(&topic.mode) {
                encode(&mut self.open, &mut self.counters, known, topic, None, &mut self.stamp);
            }
        }
        if self.open.bytes.len() >= BATCH_LIMIT {
            self.flush();
        }
    }
}

impl Drop for Publisher {
    /// Leaves what it knows to the feed's next publisher, unless there is one already.
    fn drop(&mut self) {
        self.flush();
        if let Some(seat) = lock(&self.inner.seats).get_mut(&self.feed)
            && Arc::ptr_eq(&seat.mailbox, &self.mailbox)
        {
            seat.memory = Some(std::mem::take(&mut self.memory));
        }
    }
}
