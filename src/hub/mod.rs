//! Takes ticks, encodes each once per topic that somebody holds, hands batches to shards.
//! Knows no broker, no shard's insides and no socket.

mod bands;
mod batch;
mod encode;
mod mailbox;
mod publisher;
mod queue;
mod replay;
mod standing;
mod topic;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

pub use batch::{Batch, Entry};
pub use publisher::{Counters, Publisher};
pub use queue::{ShardEvent, ShardQueue};
pub use replay::Replay;
pub use standing::{Pulse, Standing};
pub use topic::{Encoding, TopicId, TopicKey};

use crate::clock::{Clock, SystemClock, UnixNanos};
use crate::hub::mailbox::Mailbox;
use crate::hub::publisher::Memory;
use crate::hub::queue::Queue;
use crate::hub::replay::SharedRings;
use crate::hub::standing::Standings;
use crate::hub::topic::{Change, Table};
use crate::market::{InstrumentId, KindSet, OrderUpdate, Segment};
use crate::protocol::Mode;
pub use crate::protocol::binary::Freshness;
use crate::protocol::binary::Header;

/// Number of a feed; an account's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedId(pub u32);

/// Number of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u16);

impl ShardId {
    /// No shard in particular.
    const NONE: Self = Self(u16::MAX);
}

/// How a feed is doing, as consumers may be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedState {
    /// On the way up.
    Connecting,
    /// Connected and subscribed.
    Live,
    /// Not connected.
    Down {
        /// Since when.
        since: UnixNanos,
        /// Why, without secrets.
        reason: Arc<str>,
    },
}

/// What of an instrument the broker may refuse apart from the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Prices, in whatever mode.
    Prices,
    /// Bars.
    Bars,
}

impl Part {
    /// What a mode's frames are made of.
    pub const fn of(mode: Mode) -> Self {
        match mode {
            Mode::Ltp | Mode::Quote | Mode::Depth => Self::Prices,
            Mode::Bar => Self::Bars,
        }
    }
}

/// Nothing more can be held at the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Maximum capacity reached: the broker grants {budget} subscriptions")]
pub struct NoRoom {
    /// Subscriptions that all accounts have together.
    pub budget: usize,
}

/// A feed's place at the hub. It outlives the feed's publishers, so that the next one goes on
/// where the last one ended.
#[derive(Debug)]
struct Seat {
    mailbox: Arc<Mailbox>,
    /// What its publisher keeps for consumers that come back.
    rings: SharedRings,
    /// What the last publisher knew; `None` while there is one.
    memory: Option<Memory>,
    /// Publishers that began without what the one before them knew.
    fresh: u64,
}

/// Why a part of an instrument does not come.
#[derive(Debug)]
struct Refusal {
    message: Arc<str>,
    /// It waits for a slot at the broker; else it needs none.
    for_want_of_room: bool,
}

/// A server's life, as binary records name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it began.
    pub started_at: UnixNanos,
    /// Another number for each life; nothing else may be read from it.
    pub epoch: u32,
}

pub(crate) struct Inner {
    broker: Box<str>,
    /// For when a record was written; nothing else here depends on the time.
    clock: Arc<dyn Clock>,
    life: Life,
    table: Mutex<Table>,
    seats: Mutex<HashMap<FeedId, Seat>>,
    shards: ArcSwap<Vec<Arc<Queue>>>,
    next_shard: AtomicU16,
    progress: Arc<Notify>,
    interest: watch::Sender<u64>,
    feeds: Mutex<HashMap<FeedId, FeedState>>,
    standings: Mutex<Standings>,
    /// Which feed carries an instrument, where there are several; `None`: each carries all.
    owners: Mutex<Option<HashMap<InstrumentId, FeedId>>>,
    rejected: Mutex<HashMap<(InstrumentId, Part), Refusal>>,
    /// Slots that the broker grants over all accounts; `usize::MAX` until that is known.
    budget: AtomicUsize,
    /// What may be kept for consumers that come back.
    kept: Arc<replay::Limits>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("broker", &self.broker)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

/// The meeting point of feeds and shards. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Inner>);

impl Hub {
    /// A hub whose frames name `broker`, on the machine's clock.
    pub fn new(broker: &str) -> Self {
        Self::with_clock(broker, Arc::new(SystemClock))
    }

    /// The same on another clock.
    pub fn with_clock(broker: &str, clock: Arc<dyn Clock>) -> Self {
        let started_at = clock.now();
        // Milliseconds: a supervisor may start a server again within the second. They come round after
        // 49 days; that the very next life begins in the same one is not to be feared.
        let life = Life { started_at, epoch: started_at.as_millis() as u32 };
        Self(Arc::new(Inner {
            broker: broker.into(),
            clock,
            life,
            table: Mutex::default(),
            seats: Mutex::default(),
            shards: ArcSwap::default(),
            next_shard: AtomicU16::new(0),
            progress: Arc::default(),
            interest: watch::Sender::new(0),
            feeds: Mutex::default(),
            standings: Mutex::default(),
            owners: Mutex::default(),
            rejected: Mutex::default(),
            budget: AtomicUsize::new(usize::MAX),
            kept: Arc::default(),
        }))
    }

    /// Takes a topic for a shard, when its first consumer wants it. The last value, if one is
    /// known, comes to this shard in a batch soon ([`Entry::only`]).
    ///
    /// For a topic that is to be had whatever the budget, because another is left for it or because
    /// the caller is told of a refusal later; else [`Self::try_acquire`].
    pub fn acquire(&self, shard: ShardId, key: TopicKey) -> TopicId {
        self.take(lock(&self.0.table), shard, key)
    }

    /// The same, unless it would need a slot at the broker and there is known to be none left. What
    /// somebody holds already always succeeds. Whoever asks counts for whoever asks next, from
    /// whichever shard.
    ///
    /// # Errors
    /// There is no room.
    pub fn try_acquire(&self, shard: ShardId, key: TopicKey) -> Result<TopicId, NoRoom> {
        let table = lock(&self.0.table);
        let budget = self.0.budget.load(Ordering::Relaxed);
        if table.needs_slot(&key) && table.slots() >= budget {
            // What the broker refused takes no slot there, however long its holders keep it.
            let rejected = lock(&self.0.rejected);
            let refused = rejected
                .iter()
                .filter(|((id, part), refusal)| !refusal.for_want_of_room && table.holds(*id, *part));
            if table.slots().saturating_sub(refused.count()) >= budget {
                return Err(NoRoom { budget });
            }
        }
        Ok(self.take(table, shard, key))
    }

    /// The server's life, as binary records name it.
    pub fn life(&self) -> Life {
        self.0.life
    }

    /// The number that records of a binary topic carry for its instrument.
    pub fn listing(&self, topic: TopicId) -> Option<u32> {
        lock(&self.0.table).listing(topic)
    }

    /// The header of a record that is no market data, written now.
    pub fn record_header(&self, number: u32) -> Header {
        Header { number, epoch: self.0.life.epoch, ts_sent: self.0.clock.now(), ..Header::default() }
    }

    /// Says how many slots the broker grants over all accounts.
    pub fn set_budget(&self, slots: usize) {
        self.0.budget.store(slots, Ordering::Relaxed);
    }

    fn take(&self, mut table: MutexGuard<'_, Table>, shard: ShardId, key: TopicKey) -> TopicId {
        if let Some(renamed) = table.call(&key) {
            self.tell(&renamed);
        }
        let (id, change) = table.acquire(key, shard, &self.0.broker, self.0.life.epoch);
        self.tell(&change);
        drop(table);
        // Even if others hold it already: the publisher has a last value to send.
        self.0.interest.send_modify(|revision| *revision += 1);
        id
    }

    /// Leaves a topic, when a shard's last consumer of it is gone.
    pub fn release(&self, topic: TopicId) {
        let mut table = lock(&self.0.table);
        let Some((change, moved)) = table.release(topic) else {
            debug_assert!(false, "a topic was released more often than taken");
            return;
        };
        if let Some(change) = change {
            self.tell(&change);
        }
        drop(table);
        if moved {
            self.0.interest.send_modify(|revision| *revision += 1);
        }
    }

    /// Called with the table locked, so that an owner's change falls before or after it.
    fn tell(&self, change: &Change) {
        let owners = lock(&self.0.owners);
        for (feed, seat) in lock(&self.0.seats).iter() {
            // What nobody carries yet is told to whoever is to carry it.
            if owners.as_ref().is_none_or(|owners| owners.get(&change.instrument()) == Some(feed)) {
                seat.mailbox.post(change.clone());
            }
        }
    }

    /// Says how many feeds there are. With several, an instrument has at most one that carries it,
    /// named by [`Self::assign`]; its topics reach no other. To be called before any is used.
    pub fn set_feeds(&self, feeds: usize) {
        *lock(&self.0.owners) = (feeds > 1).then(HashMap::new);
    }

    /// Lets feeds carry instruments from now on, and nobody else. What a former one knew of them is
    /// forgotten, also why it was refused; the new one shows what it receives.
    pub fn assign(&self, carriers: impl IntoIterator<Item = (InstrumentId, FeedId)>) {
        let table = lock(&self.0.table);
        let mut moved = HashMap::new();
        let mut former = Vec::new();
        {
            let mut owners = lock(&self.0.owners);
            let Some(owners) = owners.as_mut() else { return };
            for (instrument, feed) in carriers {
                let before = owners.insert(instrument, feed);
                if before != Some(feed) {
                    moved.insert(instrument, feed);
                    former.extend(before.map(|before| (instrument, before)));
                }
            }
        }
        if moved.is_empty() {
            return;
        }
        let mut rejected = lock(&self.0.rejected);
        for (instrument, _) in &former {
            rejected.remove(&(*instrument, Part::Prices));
            rejected.remove(&(*instrument, Part::Bars));
        }
        drop(rejected);
        let seats = lock(&self.0.seats);
        // The new one may know an old value from a time when it carried the instrument before.
        for (instrument, feed) in former.into_iter().chain(moved.iter().map(|(i, feed)| (*i, *feed))) {
            if let Some(seat) = seats.get(&feed) {
                seat.mailbox.post(Change::Moved { instrument });
            }
        }
        for change in table.all() {
            if let Some(seat) = moved.get(&change.instrument()).and_then(|feed| seats.get(feed)) {
                seat.mailbox.post(change);
            }
        }
        drop(seats);
        drop(table);
        self.broadcast(&ShardEvent::Moved(moved.into_keys().collect()));
        // The new carriers' publishers learn of their topics even if they have nothing to say.
        self.0.interest.send_modify(|revision| *revision += 1);
    }

    /// Adds a shard; batches published from now on reach it.
    pub fn attach_shard(&self) -> ShardQueue {
        let id = ShardId(self.0.next_shard.fetch_add(1, Ordering::Relaxed));
        let queue = Arc::new(Queue::default());
        self.0.shards.rcu(|shards| {
            let mut shards: Vec<_> = shards.iter().filter(|q| !q.is_closed()).cloned().collect();
            shards.push(Arc::clone(&queue));
            shards
        });
        ShardQueue { id, queue, progress: Arc::clone(&self.0.progress) }
    }

    /// A publisher for a feed: last values and sequence numbers are those of the feed's
    /// publisher before it. A feed has one at a time: an earlier one that still lives learns
    /// of no further topics, and what it knows is lost; then sequence numbers go on above any that it
    /// gave.
    pub fn publisher(&self, feed: FeedId) -> Publisher {
        let table = lock(&self.0.table);
        let mut seats = lock(&self.0.seats);
        let mut fresh = 0;
        if let Some(seat) = seats.get_mut(&feed) {
            if let Some(memory) = seat.memory.take() {
                return Publisher::new(Arc::clone(&self.0), feed, Arc::clone(&seat.mailbox), memory);
            }
            fresh = seat.fresh + 1;
        }
        let mailbox = Arc::new(Mailbox::default());
        let owners = lock(&self.0.owners);
        let is_mine =
            |change: &Change| owners.as_ref().is_none_or(|o| o.get(&change.instrument()) == Some(&feed));
        table.all().filter(is_mine).for_each(|change| mailbox.post(change));
        drop(owners);
        let memory = Memory::beginning(fresh, Arc::clone(&self.0.kept));
        let rings = Arc::clone(&memory.rings);
        seats.insert(feed, Seat { mailbox: Arc::clone(&mailbox), rings, memory: None, fresh });
        Publisher::new(Arc::clone(&self.0), feed, mailbox, memory)
    }

    /// Moves whenever a shard takes a topic, or its last holder leaves it. Who sees it move
    /// reads [`Self::wanted`] and has the feed's publisher [refreshed](Publisher::refresh).
    pub fn interest(&self) -> watch::Receiver<u64> {
        self.0.interest.subscribe()
    }

    /// What to hold at the broker, in no particular order: `Depth` while anybody wants depth,
    /// else `Quote`; `OpenInterest` beside it where the segment has any and the mode shows it.
    pub fn wanted(&self) -> Vec<(InstrumentId, KindSet)> {
        lock(&self.0.table).wanted()
    }

    /// Says how a feed is doing.
    pub fn set_feed_state(&self, feed: FeedId, state: FeedState) {
        lock(&self.0.feeds).insert(feed, state);
    }

    /// Says how current a feed's data of a segment are; shards are told only if `is_news`, since a
    /// reason in words may change with every attempt.
    pub fn set_standing(&self, feed: FeedId, segment: Segment, standing: Standing, is_news: bool) {
        lock(&self.0.standings).set(feed, segment, standing);
        if is_news {
            self.broadcast(&ShardEvent::Standing(feed, segment));
        }
    }

    /// Notes when a feed's last data came.
    pub fn note_data(&self, feed: FeedId, at: UnixNanos) {
        lock(&self.0.standings).note_data(feed, at);
    }

    /// How current a feed's data of a segment are, if it was ever said.
    pub fn standing(&self, feed: FeedId, segment: Segment) -> Option<Standing> {
        lock(&self.0.standings).get(feed, segment).cloned()
    }

    /// How current an instrument's data are, by whichever feed carries it. What none carries yet is
    /// on its way to one.
    pub fn standing_of(&self, instrument: InstrumentId) -> Standing {
        let known = self.carrier(instrument).and_then(|feed| self.standing(feed, instrument.segment));
        known.unwrap_or_else(|| Standing::unknown(self.0.life.started_at))
    }

    /// The feed that carries an instrument; `None` where there are several and none does yet.
    pub fn carrier(&self, instrument: InstrumentId) -> Option<FeedId> {
        match &*lock(&self.0.owners) {
            Some(owners) => owners.get(&instrument).copied(),
            None => Some(FeedId(0)),
        }
    }

    /// Everything as a whole.
    pub fn pulse(&self) -> Pulse {
        lock(&self.0.standings).pulse()
    }

    /// The present time, as records and frames carry it.
    pub fn now(&self) -> UnixNanos {
        self.0.clock.now()
    }

    /// How a feed is doing, if it ever said.
    pub fn feed_state(&self, feed: FeedId) -> Option<FeedState> {
        lock(&self.0.feeds).get(&feed).cloned()
    }

    /// Whether any feed is live.
    pub fn any_feed_live(&self) -> bool {
        lock(&self.0.feeds).values().any(|state| *state == FeedState::Live)
    }

    /// Notes that the broker refused a part of an instrument, and tells its holders once.
    pub fn reject(&self, instrument: InstrumentId, part: Part, message: &str) {
        self.refuse(instrument, part, message, false);
    }

    /// The same where the reason is that the broker grants no more: it goes on waiting for a slot.
    pub fn reject_for_want_of_room(&self, instrument: InstrumentId, part: Part, message: &str) {
        self.refuse(instrument, part, message, true);
    }

    fn refuse(&self, instrument: InstrumentId, part: Part, message: &str, for_want_of_room: bool) {
        let message: Arc<str> = message.into();
        let refusal = Refusal { message: Arc::clone(&message), for_want_of_room };
        if lock(&self.0.rejected).insert((instrument, part), refusal).is_none() {
            self.broadcast(&ShardEvent::Rejected { instrument, part, message });
        }
    }

    /// Why the broker refuses a part of an instrument, if it does.
    pub fn rejection(&self, instrument: InstrumentId, part: Part) -> Option<Arc<str>> {
        lock(&self.0.rejected).get(&(instrument, part)).map(|refusal| Arc::clone(&refusal.message))
    }

    /// Forgets a refusal: it will be asked for again.
    pub fn clear_rejection(&self, instrument: InstrumentId, part: Part) {
        lock(&self.0.rejected).remove(&(instrument, part));
    }

    /// Tells every shard of an order's change.
    pub fn publish_order(&self, update: OrderUpdate) {
        self.broadcast(&ShardEvent::Order(Arc::new(update)));
    }

    fn broadcast(&self, event: &ShardEvent) {
        for queue in self.0.shards.load().iter() {
            queue.push(event.clone());
        }
    }
}

/// Nothing panics while one of the hub's locks is held; a poisoned one is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
