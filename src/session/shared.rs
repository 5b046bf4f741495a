//! What outlives any single actor of a session: what it depends on, what it shows, its
//! counters, and the data plane's publisher with its last values.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use metrics::{Counter, Gauge};
use tokio::sync::watch;

use crate::broker::Broker;
use crate::clock::{Clock, UnixNanos};
use crate::hub::{FeedId, Hub};
use crate::market::{
    Calendar, Exchange, InstrumentId, MarketPhase, MarketState, MasterHandle, Segment, Tick,
};
use crate::session::feed_task::{PlaneHandle, plane};
use crate::session::freshness::judging::Judging;
use crate::session::machine::Generation;
use crate::session::orders::follow::Follower;
use crate::session::orders::{InFlight, Marks, OrderSettings};
use crate::session::settings::Settings;
use crate::session::slot::Memory;
use crate::session::spread::Spread;
use crate::session::status::SessionStatus;
use crate::session::subscriptions::Counts;
use crate::store::audit::{Audit, Entry};
use crate::telemetry::metrics as names;
use crate::token::ledger::Ledger;
use crate::token::store::TokenStore;
use crate::token::{Product, TokenEpoch};

/// What a session needs.
#[derive(Clone)]
pub struct Deps {
    /// The account's name, in the store and in metrics.
    pub account: String,
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// Where its tokens are kept.
    pub tokens: TokenStore,
    /// Where its logins are counted.
    pub ledger: Ledger,
    /// Where what was done with it is written down.
    pub audit: Audit,
    /// Its feed's number at the hub: the account's position in the configuration.
    pub feed: FeedId,
    /// Which account carries which instrument; one for all sessions of a process.
    pub spread: Spread,
    /// Where ticks go, and who wants which.
    pub hub: Hub,
    /// Where the instrument master goes.
    pub master: MasterHandle,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// When the exchanges trade, as far as this broker is concerned.
    pub calendar: Calendar,
    /// Where the copy of the instrument master is kept.
    pub data_dir: PathBuf,
    /// `[session]`.
    pub settings: Settings,
    /// `[orders]`.
    pub orders: OrderSettings,
    /// Seed of the back-offs' jitter.
    pub seed: u64,
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps").field("account", &self.account).finish_non_exhaustive()
    }
}

/// See the module's text.
pub(crate) struct Shared {
    pub(crate) deps: Deps,
    pub(crate) status: watch::Sender<SessionStatus>,
    pub(crate) gauge: Arc<FeedGauge>,
    pub(crate) judging: Judging,
    pub(crate) meters: Meters,
    /// Moves when a login brought a token for the interactive product, or a person ended it.
    pub(crate) interactive: watch::Sender<TokenEpoch>,
    /// What is known of the account's orders.
    pub(crate) orders: Follower,
    pub(crate) marks: Marks,
    pub(crate) in_flight: InFlight,
    /// Where what must go on runs, whoever asked for it.
    pub(crate) runtime: tokio::runtime::Handle,
    /// What the broker has confirmed to the feed.
    carried: Mutex<Vec<InstrumentId>>,
    plane: Mutex<PlaneHandle>,
    memories: Mutex<[Option<Memory>; 2]>,
    epochs: AtomicU64,
    generations: AtomicU64,
}

impl Shared {
    pub(crate) fn new(deps: Deps) -> Self {
        Self {
            status: watch::Sender::new(SessionStatus::default()),
            gauge: Arc::default(),
            judging: Judging::new(&deps.account, deps.settings.patience()),
            meters: Meters::new(&deps.account),
            interactive: watch::Sender::new(TokenEpoch(0)),
            carried: Mutex::default(),
            memories: Mutex::default(),
            orders: Follower::new(&deps.account),
            marks: Marks::new(deps.seed.wrapping_add(808)),
            in_flight: InFlight::default(),
            runtime: tokio::runtime::Handle::current(),
            plane: Mutex::new(plane(deps.hub.publisher(deps.feed))),
            epochs: AtomicU64::new(0),
            generations: AtomicU64::new(0),
            deps,
        }
    }

    pub(crate) fn now(&self) -> UnixNanos {
        self.deps.clock.now()
    }

    /// What log lines of this account stand in.
    pub(crate) fn span(&self) -> tracing::Span {
        tracing::info_span!(parent: None, "session", account = %self.deps.account)
    }

    /// The instruments that the broker sends data of.
    pub(crate) fn carried(&self) -> Vec<InstrumentId> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_carried(&self, instruments: Vec<InstrumentId>) {
        *self.carried.lock().unwrap_or_else(PoisonError::into_inner) = instruments;
    }

    /// What the last token actor knew of a product.
    pub(crate) fn memory(&self, product: Product) -> Option<Memory> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)[product as usize].clone()
    }

    pub(crate) fn keep_memory(&self, product: Product, memory: Memory) {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)[product as usize] = Some(memory);
    }

    /// Adds to the audit trail. No text may hold a secret.
    pub(crate) fn note(&self, product: Product, event: &str, who: &str, why: &str, outcome: &str) {
        self.deps.audit.note(&Entry {
            account: self.deps.account.clone(),
            product: product.as_str().to_owned(),
            who: who.to_owned(),
            why: why.to_owned(),
            outcome: outcome.to_owned(),
            ..Entry::new(self.now(), event)
        });
    }

    /// A token has come, or gone (epoch 0), without the account's socket having asked.
    pub(crate) fn rotated(&self, product: Product, epoch: TokenEpoch) {
        if product == Product::Interactive {
            self.interactive.send_replace(epoch);
        }
    }

    /// A number no token of this session has had, replaced actors included.
    pub(crate) fn next_epoch(&self) -> TokenEpoch {
        TokenEpoch(self.epochs.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The newest epoch given out.
    pub(crate) fn last_epoch(&self) -> TokenEpoch {
        TokenEpoch(self.epochs.load(Ordering::Relaxed))
    }

    pub(crate) fn last_generation(&self) -> Generation {
        self.generations.load(Ordering::Relaxed)
    }

    pub(crate) fn note_generation(&self, generation: Generation) {
        self.generations.store(generation, Ordering::Relaxed);
    }

    /// The data plane's publisher; one feed task at a time holds it.
    pub(crate) fn plane(&self) -> PlaneHandle {
        self.plane.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// After a panic while publishing, the open batch may hold half a frame.
    pub(crate) fn replace_plane(&self) {
        let fresh = plane(self.deps.hub.publisher(self.deps.feed));
        *self.plane.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
    }
}

/// What the feed task tells of itself without a message. Written once per drain.
#[derive(Debug, Default)]
pub(crate) struct FeedGauge {
    last_tick: AtomicI64,
    ticks: AtomicU64,
    /// When the last data of each segment came, by its position.
    last_data: [AtomicI64; Segment::ALL.len()],
    /// One bit per segment of which data have come since the feed was opened.
    flowing: AtomicU32,
    /// One bit per segment of which something is subscribed.
    segments: AtomicU32,
    /// The same of what was asked for.
    asked_segments: AtomicU32,
    /// What was asked for of the broker, confirmed or not.
    asked: ArcSwap<HashSet<InstrumentId>>,
    /// What the broker last said of each market.
    phases: Mutex<BTreeMap<Segment, MarketPhase>>,
    /// Times in a row that the feed was ended because it was mute.
    pub(crate) mute_in_a_row: AtomicU32,
}

impl FeedGauge {
    /// Notes that another feed is open, before it is read: what came by those before proves nothing of it.
    pub(crate) fn opened(&self) {
        self.flowing.store(0, Ordering::Relaxed);
    }

    /// Of a segment: whether anything was asked for, whether data have come since the feed was opened, and
    /// when the last came.
    pub(crate) fn of_segment(&self, segment: Segment) -> (bool, bool, Option<UnixNanos>) {
        let is_in = |bits: &AtomicU32| bits.load(Ordering::Relaxed) & segment_bit(segment) != 0;
        // The bit first: whoever sees it sees the time too.
        let flows = self.flowing.load(Ordering::Acquire) & segment_bit(segment) != 0;
        let nanos = self.last_data[segment.position()].load(Ordering::Relaxed);
        (is_in(&self.asked_segments), flows, (nanos != 0).then(|| UnixNanos::from_nanos(nanos)))
    }

    /// Notes received ticks, and the segments they are of.
    pub(crate) fn received(&self, ticks: u64, at: UnixNanos, segments: u32) {
        for (position, last) in self.last_data.iter().enumerate() {
            if segments & 1 << position != 0 {
                last.store(at.as_nanos(), Ordering::Relaxed);
            }
        }
        if self.flowing.load(Ordering::Relaxed) & segments != segments {
            self.flowing.fetch_or(segments, Ordering::Release);
        }
        self.ticks.fetch_add(ticks, Ordering::Relaxed);
        self.last_tick.store(at.as_nanos(), Ordering::Relaxed);
        self.mute_in_a_row.store(0, Ordering::Relaxed);
    }

    /// Notes what the broker said of a market.
    pub(crate) fn note_phase(&self, phase: MarketPhase) {
        tracing::info!(
            segment = phase.segment.xts_name(),
            code = phase.code,
            phase = phase.as_str(),
            "the broker says of a market"
        );
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).insert(phase.segment, phase);
    }

    /// What the broker last said of each market, of whatever connection.
    pub(crate) fn phases(&self) -> Vec<MarketPhase> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    pub(crate) fn last_tick_at(&self) -> Option<UnixNanos> {
        let nanos = self.last_tick.load(Ordering::Relaxed);
        (nanos != 0).then(|| UnixNanos::from_nanos(nanos))
    }

    /// Notes what was asked for. Only its ticks show that what is subscribed flows: a broker may send indices
    /// that nobody asked for on a feed that is mute otherwise.
    pub(crate) fn set_asked(&self, instruments: HashSet<InstrumentId>) {
        let bits = instruments.iter().fold(0, |bits, instrument| bits | segment_bit(instrument.segment));
        self.asked_segments.store(bits, Ordering::Relaxed);
        self.asked.store(Arc::new(instruments));
    }

    /// Adds the segments of ticks that were asked for to `known`. Of each segment only the first is looked up.
    pub(crate) fn add_asked(&self, ticks: &[Tick], known: &mut u32) {
        let asked = self.asked.load();
        for tick in ticks {
            let bit = segment_bit(tick.instrument.segment);
            if *known & bit == 0 && tick.body.is_asked_for() && asked.contains(&tick.instrument) {
                *known |= bit;
            }
        }
    }

    /// Notes what is subscribed.
    pub(crate) fn set_subscribed(&self, instruments: impl Iterator<Item = InstrumentId>) {
        let bits = instruments.fold(0, |bits, instrument| bits | segment_bit(instrument.segment));
        self.segments.store(bits, Ordering::Relaxed);
    }

    /// Whether something is subscribed that trades now.
    pub(crate) fn ticks_are_due(&self, calendar: Calendar, now: UnixNanos) -> bool {
        let bits = self.segments.load(Ordering::Relaxed);
        Exchange::ALL.iter().any(|exchange| {
            bits & segment_bit(exchange.segment()) != 0 && calendar.state(*exchange, now) == MarketState::Open
        })
    }
}

const fn segment_bit(segment: Segment) -> u32 {
    1 << segment.position()
}

/// Metric handles, made once.
pub(crate) struct Meters {
    account: String,
    pub(crate) feed_up: Gauge,
    pub(crate) account_feed_up: Gauge,
    wanted: Gauge,
    confirmed: Gauge,
    rejected: Gauge,
    pub(crate) master_instruments: Gauge,
    pub(crate) master_bad_rows: Gauge,
}

impl Meters {
    fn new(account: &str) -> Self {
        let account = account.to_owned();
        let gauge = |name| metrics::gauge!(name, "account" => account.clone());
        let subscriptions =
            |state| metrics::gauge!(names::SUBSCRIPTIONS, "account" => account.clone(), "state" => state);
        Self {
            feed_up: gauge(names::FEED_UP),
            account_feed_up: gauge(names::ACCOUNT_FEED_UP),
            wanted: subscriptions("wanted"),
            confirmed: subscriptions("confirmed"),
            rejected: subscriptions("rejected"),
            master_instruments: gauge(names::MASTER_INSTRUMENTS),
            master_bad_rows: gauge(names::MASTER_BAD_ROWS),
            account,
        }
    }

    pub(crate) fn subscriptions(&self, counts: Counts) {
        self.wanted.set(counts.wanted as f64);
        self.confirmed.set(counts.confirmed as f64);
        self.rejected.set(counts.rejected as f64);
    }

    // The following are rare; looking the handle up each time is fine.

    pub(crate) fn login(&self, product: Product, outcome: &'static str) {
        let account = self.account.clone();
        metrics::counter!(
            names::BROKER_LOGINS, "account" => account, "product" => product.as_str(), "outcome" => outcome
        )
        .increment(1);
    }

    pub(crate) fn store_failure(&self, product: Product) {
        let account = self.account.clone();
        metrics::counter!(names::TOKEN_STORE_FAILURES, "account" => account, "product" => product.as_str())
            .increment(1);
    }

    pub(crate) fn replaced(&self, product: Product) {
        let account = self.account.clone();
        metrics::counter!(names::SESSIONS_REPLACED, "account" => account, "product" => product.as_str())
            .increment(1);
    }

    pub(crate) fn account_event(&self, event: &str) {
        let account = self.account.clone();
        metrics::counter!(names::ACCOUNT_EVENTS, "account" => account, "event" => event.to_owned())
            .increment(1);
    }

    pub(crate) fn order_update(&self, source: &'static str) {
        metrics::counter!(names::ORDER_UPDATES, "account" => self.account.clone(), "source" => source)
            .increment(1);
    }

    pub(crate) fn order_reconciliation(&self, outcome: &'static str) {
        metrics::counter!(names::ORDER_RECONCILIATIONS, "account" => self.account.clone(), "outcome" => outcome)
            .increment(1);
    }

    pub(crate) fn order_request(&self, action: &'static str, outcome: &'static str) {
        let account = self.account.clone();
        metrics::counter!(names::ORDER_REQUESTS, "account" => account, "action" => action, "outcome" => outcome)
            .increment(1);
    }

    pub(crate) fn reconnect(&self, reason: &'static str) {
        metrics::counter!(names::FEED_RECONNECTS, "account" => self.account.clone(), "reason" => reason)
            .increment(1);
    }

    pub(crate) fn restart(&self, actor: &'static str) {
        metrics::counter!(names::ACTOR_RESTARTS, "account" => self.account.clone(), "actor" => actor)
            .increment(1);
    }

    pub(crate) fn feed_counters(&self) -> FeedCounters {
        let counter = |name| metrics::counter!(name, "account" => self.account.clone());
        FeedCounters {
            ticks: counter(names::TICKS_RECEIVED),
            undecodable: counter(names::FRAMES_UNDECODABLE),
            ignored: counter(names::MESSAGES_IGNORED),
            invalid_prices: counter(names::TICKS_INVALID_PRICE),
            bands: counter(names::PRICE_BANDS),
            bands_dropped: counter(names::PRICE_BANDS_DROPPED),
        }
    }
}

/// Counters of the feed task, added to once per drain.
pub(crate) struct FeedCounters {
    pub(crate) ticks: Counter,
    pub(crate) undecodable: Counter,
    pub(crate) ignored: Counter,
    pub(crate) invalid_prices: Counter,
    pub(crate) bands: Counter,
    pub(crate) bands_dropped: Counter,
}
