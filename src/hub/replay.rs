//! What was lately published of an instrument, so that a consumer that comes back can be given what it
//! missed. Values, not frames: they serve every mode and encoding. Not the decision who gets them.
//!
//! A publisher writes it, under one lock for each of the broker's frames; shards read it when somebody
//! subscribes with `since`, never per tick. An instrument has a ring from when somebody first holds it
//! with sequence numbers until the broker sends it no more: who does not use them pays nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::hub::bands::Band;
use crate::hub::batch::Batch;
use crate::hub::encode::{Stamp, encode};
use crate::hub::publisher::{Counters, Slot, Times};
use crate::hub::topic::Topic;
use crate::hub::{FeedId, Hub, TopicId, lock};
use crate::market::{Depth, InstrumentId, LastTrade, Quote};
use crate::protocol::Mode;

/// What all rings of a hub may take.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Messages of one instrument; 0: nothing is kept.
    pub(super) messages: AtomicUsize,
    /// Bytes of all rings together.
    pub(super) bytes: AtomicUsize,
    /// Bytes that they take now.
    pub(super) used: AtomicUsize,
}

impl Limits {
    /// Takes room, if there is.
    fn reserve(&self, bytes: usize) -> bool {
        let most = self.bytes.load(Ordering::Relaxed);
        let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }
}

/// A venue message about prices. Some 200 bytes, copied once per message of an instrument that has a ring.
#[derive(Clone, Copy, Debug)]
struct Kept {
    sequence: u64,
    at: Times,
    open_interest: Option<i64>,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// With the day's volume as far as it was known.
    Last(LastTrade, Option<i64>),
    Quote(Quote),
}

/// The book of a message. Apart: most instruments are held without it.
#[derive(Clone, Copy, Debug)]
struct KeptDepth {
    sequence: u64,
    at: Times,
    depth: Depth,
    band: Band,
}

/// What is kept of one instrument.
#[derive(Debug, Default)]
struct Ring {
    most: usize,
    messages: VecDeque<Kept>,
    /// All messages above this number are here.
    floor: u64,
    /// The newest message.
    last: u64,
    /// The same for books, if somebody wanted them.
    books: Option<VecDeque<KeptDepth>>,
    books_floor: u64,
    bytes: usize,
}

/// The rings of one feed.
#[derive(Debug, Default)]
pub(super) struct Rings {
    limits: Arc<Limits>,
    list: HashMap<InstrumentId, Ring, foldhash::fast::FixedState>,
}

/// Rings as publisher and shards share them.
pub(super) type SharedRings = Arc<Mutex<Rings>>;

impl Rings {
    pub(super) fn new(limits: Arc<Limits>) -> SharedRings {
        Arc::new(Mutex::new(Self { limits, list: HashMap::default() }))
    }

    /// Keeps an instrument's messages from now on, its books too if `mode` shows them. Whether it does:
    /// there may be no room.
    pub(super) fn keep(&mut self, instrument: InstrumentId, mode: Mode, sequence: u64) -> bool {
        let most = self.limits.messages.load(Ordering::Relaxed);
        if most == 0 || mode == Mode::Bar {
            return self.list.contains_key(&instrument);
        }
        let ring = match self.list.entry(instrument) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                let bytes = most * size_of::<Kept>();
                if !self.limits.reserve(bytes) {
                    return false;
                }
                let messages = VecDeque::with_capacity(most);
                new.insert(Ring { most, messages, floor: sequence, last: sequence, bytes, ..Ring::default() })
            }
        };
        let bytes = ring.most * size_of::<KeptDepth>();
        if mode == Mode::Depth && ring.books.is_none() && self.limits.reserve(bytes) {
            (ring.books, ring.books_floor) = (Some(VecDeque::with_capacity(ring.most)), ring.last);
            ring.bytes += bytes;
        }
        true
    }

    /// Keeps nothing more of an instrument.
    pub(super) fn drop_ring(&mut self, instrument: InstrumentId) {
        if let Some(ring) = self.list.remove(&instrument) {
            self.limits.used.fetch_sub(ring.bytes, Ordering::Relaxed);
        }
    }

    /// Adds what a slot has just been given by a message about prices.
    pub(super) fn note(&mut self, instrument: InstrumentId, known: &Slot) {
        let Some(ring) = self.list.get_mut(&instrument) else { return };
        let volume = known.quote.map(|(quote, _)| quote.volume);
        let (what, at) = match (&known.last, &known.quote) {
            (Some((last, at)), _) => (What::Last(*last, volume), *at),
            (None, Some((quote, at))) => (What::Quote(*quote), *at),
            (None, None) => return,
        };
        if ring.messages.len() == ring.most
            && let Some(oldest) = ring.messages.pop_front()
        {
            ring.floor = oldest.sequence;
        }
        ring.last = known.sequence;
        let (sequence, open_interest) = (known.sequence, known.open_interest);
        ring.messages.push_back(Kept { sequence, at, open_interest, what });
    }

    /// Adds the book that a slot has just been given.
    pub(super) fn note_book(&mut self, instrument: InstrumentId, known: &Slot) {
        let Some(ring) = self.list.get_mut(&instrument) else { return };
        let (Some(books), Some((depth, at))) = (&mut ring.books, known.depth) else { return };
        if books.len() == ring.most
            && let Some(oldest) = books.pop_front()
        {
            ring.books_floor = oldest.sequence;
        }
        books.push_back(KeptDepth { sequence: known.sequence, at, depth, band: known.band });
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        let bytes = self.list.values().map(|ring| ring.bytes).sum();
        self.limits.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Ring {
    /// The slots that a consumer of `mode` would have been shown after number `after`, and the number
    /// above which none is missing.
    fn since(&self, mode: Mode, after: u64, most: usize) -> (u64, Vec<Slot>) {
        let (held, mut slots) = match mode {
            Mode::Ltp | Mode::Quote => (self.floor, self.messages(mode, after)),
            Mode::Depth => self.books.as_ref().map_or((self.last, Vec::new()), |books| {
                (self.books_floor.max(self.floor), self.shown_books(books, after.max(self.floor)))
            }),
            Mode::Bar => (self.last, Vec::new()),
        };
        let mut complete_from = held.max(after);
        if slots.len() > most {
            let rest = slots.split_off(slots.len() - most);
            complete_from = slots.last().map_or(complete_from, |slot| slot.sequence);
            slots = rest;
        }
        (complete_from, slots)
    }

    fn messages(&self, mode: Mode, after: u64) -> Vec<Slot> {
        let newer = self.messages.iter().filter(|kept| kept.sequence > after);
        newer
            .filter(|kept| mode == Mode::Ltp || matches!(kept.what, What::Quote(_)))
            .map(Kept::slot)
            .collect()
    }

    fn shown_books(&self, books: &VecDeque<KeptDepth>, after: u64) -> Vec<Slot> {
        let mut messages = self.messages.iter().filter(|kept| matches!(kept.what, What::Quote(_))).peekable();
        let mut quote = None;
        let mut shown = Vec::new();
        for book in books.iter().filter(|book| book.sequence > after) {
            while let Some(next) = messages.next_if(|next| next.sequence <= book.sequence) {
                quote = Some(next);
            }
            let Some(quote) = quote else { continue };
            let (depth, band) = (Some((book.depth, book.at)), book.band);
            shown.push(Slot { sequence: book.sequence, depth, band, ..quote.slot() });
        }
        shown
    }
}

impl Kept {
    /// What was known of the instrument when the message had come, as far as it was shown.
    fn slot(&self) -> Slot {
        let mut slot = Slot { sequence: self.sequence, open_interest: self.open_interest, ..Slot::default() };
        match self.what {
            What::Last(last, volume) => {
                slot.last = Some((last, self.at));
                // Only its volume is shown beside a last price.
                slot.quote = volume.map(|volume| (Quote { volume, ..Quote::default() }, self.at));
            }
            What::Quote(quote) => slot.quote = Some((quote, self.at)),
        }
        slot
    }
}

/// What a consumer is given that has seen a topic up to a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// The feed whose numbers these are.
    pub source: FeedId,
    /// No frame above this number is missing; the number asked for if that is so of all.
    pub after: u64,
    /// The newest message that was published, so what follows is live.
    pub last: u64,
    /// Frames above [`Self::after`] with their WebSocket headers, in order.
    pub bytes: Vec<u8>,
    /// How many.
    pub frames: usize,
}

impl Hub {
    /// Says how many messages of an instrument are kept for consumers that come back, and how many bytes of
    /// all. Counts for instruments that are taken from now on.
    pub fn keep(&self, messages: usize, bytes: usize) {
        self.0.kept.messages.store(messages, Ordering::Relaxed);
        self.0.kept.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether anything is kept for consumers that come back.
    pub fn keeps(&self) -> bool {
        self.0.kept.messages.load(Ordering::Relaxed) > 0
    }

    /// What was published of a topic after a number, `None` if nothing is kept of its instrument. At most
    /// `most` frames, the newest. To be called by a shard that holds the topic: what is published after this
    /// reaches it, beside frames of numbers up to [`Replay::last`], which it must pass over.
    pub fn replay(&self, topic: TopicId, after: Option<u64>, most: usize) -> Option<Replay> {
        let (instrument, topic) = lock(&self.0.table).topic(topic)?;
        let (source, rings) = self.rings(instrument)?;
        let (last, after, slots) = {
            let rings = lock(&rings);
            let ring = rings.list.get(&instrument)?;
            // A number that was never given says nothing of what was seen.
            let seen = after.filter(|after| *after <= ring.last).unwrap_or_default();
            let (after, slots) = ring.since(topic.mode, seen, most);
            (ring.last, after, slots)
        };
        let mut batch = Batch::default();
        let mut stamp = Stamp::new(Arc::clone(&self.0.clock), self.0.life.epoch, source);
        for slot in &slots {
            encode(&mut batch, &mut Counters::default(), slot, &topic, None, &mut stamp);
        }
        let frames = batch.entries.len();
        Some(Replay { source, after, last, bytes: batch.bytes, frames })
    }

    /// The rings of the feed that carries an instrument.
    fn rings(&self, instrument: InstrumentId) -> Option<(FeedId, SharedRings)> {
        let owner = lock(&self.0.owners).as_ref().map(|owners| owners.get(&instrument).copied());
        let seats = lock(&self.0.seats);
        let mut candidates = seats.iter().filter(|(feed, _)| owner.is_none_or(|owner| owner == Some(**feed)));
        let (feed, seat) = candidates.next()?;
        Some((*feed, Arc::clone(&seat.rings)))
    }
}

/// Locked while a publisher takes the ticks of a frame, and while a shard copies a ring.
pub(super) fn locked(rings: &SharedRings) -> MutexGuard<'_, Rings> {
    lock(rings)
}

impl Topic {
    /// Whether its consumers can say what they have seen.
    pub(super) fn is_numbered(&self) -> bool {
        self.encoding != crate::hub::Encoding::Json
    }
}
