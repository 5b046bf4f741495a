//! The data plane's loop: reads frames until the socket is empty, publishes them, flushes.
//! Not an actor, and no actor's message is on its way; it ends with a reason or by being aborted.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, oneshot, watch};
use tokio::task::unconstrained;
use tokio::time::{Instant, MissedTickBehavior};

use crate::broker::{Feed, FeedEnd};
use crate::clock::{Clock, UnixNanos};
use crate::hub::Publisher;
use crate::market::{Calendar, InstrumentId, Tick};
use crate::session::shared::{FeedCounters, FeedGauge};

/// Bytes encoded after which a drain ends, so that consumers get a long burst in pieces.
const DRAIN_BYTES: usize = 512 << 10;
/// The same while a shard still writes the batch before: what comes with one larger batch costs it
/// one write per consumer where two would cost two, and waits no longer.
const DRAIN_BYTES_BUSY: usize = 2 << 20;
/// Frames read after which a drain ends, whatever they held. Far more than the bytes usually
/// allow, even where every message is a frame and has another before it.
const DRAIN_FRAMES: usize = 32_768;
/// Notices that may wait for the feed task.
const NOTICES: usize = 16;
/// How long a feed task may take to say when data last came.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// How long the feed is left unread at a time because a shard is behind. The broker's
/// heartbeat must be answered meanwhile.
const BEHIND_PATIENCE: Duration = Duration::from_secs(1);
/// A feed that stays mute after reconnecting is given longer each time, up to this factor
/// as a power of two: what is subscribed may just not trade.
const MOST_MUTE_DOUBLINGS: u32 = 5;

/// When data of instruments last came.
pub(crate) type LastReceived = Vec<(InstrumentId, UnixNanos)>;

/// What the stream actor has for the publisher, which is the feed task's.
#[derive(Debug)]
pub(crate) enum Notice {
    /// Values that came with a request.
    Snapshot {
        /// When the request was sent.
        asked_at: UnixNanos,
        ticks: Vec<Tick>,
    },
    /// Instruments that the broker sends no more: their last values grow old unseen.
    Forget(Vec<InstrumentId>),
    /// Somebody wants to know when data of each instrument last came.
    LastReceived(oneshot::Sender<LastReceived>),
}

impl Notice {
    fn apply(self, publisher: &mut Publisher) {
        match self {
            Self::Snapshot { asked_at, ticks } => publisher.publish_snapshot(asked_at, &ticks),
            Self::Forget(instruments) => publisher.forget(&instruments),
            Self::LastReceived(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(publisher.last_received());
            }
        }
    }
}

/// What a feed task works with and hands on to the next one.
#[derive(Debug)]
pub(crate) struct Plane {
    publisher: Publisher,
    notices: mpsc::Receiver<Notice>,
}

/// Both ends of a plane.
#[derive(Clone, Debug)]
pub(crate) struct PlaneHandle {
    /// Locked from before a handshake until the feed task is gone, aborted or not. This is
    /// what keeps two feeds from being open at once.
    plane: Arc<Mutex<Plane>>,
    notices: mpsc::Sender<Notice>,
}

impl PlaneHandle {
    /// Waits until the feed before is gone, and takes its place.
    pub(crate) async fn take(&self) -> OwnedMutexGuard<Plane> {
        Arc::clone(&self.plane).lock_owned().await
    }

    /// When data of each instrument last came; `None` if nobody can tell now, as during a handshake.
    pub(crate) async fn last_received(&self) -> Option<LastReceived> {
        if let Ok(plane) = self.plane.try_lock() {
            return Some(plane.publisher.last_received());
        }
        let (answer, answered) = oneshot::channel();
        self.notices.try_send(Notice::LastReceived(answer)).ok()?;
        tokio::time::timeout(ANSWER_PATIENCE, answered).await.ok()?.ok()
    }

    /// Where notices go; full while no feed task takes them.
    pub(crate) fn notices(&self) -> mpsc::Sender<Notice> {
        self.notices.clone()
    }
}

/// A plane around a publisher.
pub(crate) fn plane(publisher: Publisher) -> PlaneHandle {
    let (tx, rx) = mpsc::channel(NOTICES);
    PlaneHandle { plane: Arc::new(Mutex::new(Plane { publisher, notices: rx })), notices: tx }
}

/// Why a feed task ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The feed ended.
    Feed(FeedEnd),
    /// The transport lives, but ticks that are due do not come.
    Mute(Duration),
}

/// One open feed and what it needs. The feed is dropped before the plane, here and in `run`.
pub(crate) struct FeedTask {
    pub(crate) feed: Box<dyn Feed>,
    pub(crate) plane: OwnedMutexGuard<Plane>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) calendar: Calendar,
    pub(crate) gauge: Arc<FeedGauge>,
    pub(crate) counters: FeedCounters,
    pub(crate) interest: watch::Receiver<u64>,
    /// Zero: never mute.
    pub(crate) idle_timeout: Duration,
    /// Called when the feed turns mute, before it is ended for it; `false`: could not be
    /// delivered, call again. Must not block.
    pub(crate) muted: Box<dyn Fn() -> bool + Send>,
}

impl FeedTask {
    /// Runs until the feed ends or counts as mute.
    pub(crate) async fn run(self) -> End {
        let Self { feed, mut plane, clock, calendar, gauge, counters, mut interest, idle_timeout, muted } =
            self;
        let Plane { publisher, notices } = &mut *plane;
        publisher.new_generation();
        let mut before = publisher.counters();
        // Values that were meant for the feed before are old by now; the session asks for new
        // ones after every reconnect.
        while let Ok(notice) = notices.try_recv() {
            if let Notice::Forget(_) = notice {
                notice.apply(publisher);
            }
        }
        let mut reader = Reader { feed, clock: Arc::clone(&clock), batch: Vec::with_capacity(256) };
        let mut idle = Idle::new(idle_timeout, &gauge);
        let mut check = tokio::time::interval(idle.check_every());
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut interest_open = true;
        loop {
            let (mut drained, mut is_check_due) = (None, false);
            tokio::select! {
                biased;
                outcome = poll_fn(|cx| reader.poll_drain(cx, publisher, &gauge)) => drained = Some(outcome),
                Some(notice) = notices.recv() => notice.apply(publisher),
                changed = interest.changed(), if interest_open => {
                    interest_open = changed.is_ok();
                    publisher.refresh();
                }
                _ = check.tick(), if !idle_timeout.is_zero() => is_check_due = true,
            }
            // A feed that always has something to say must not starve them, nor the check where it is
            // never what was asked for.
            if drained.as_ref().is_some_and(|drained| !drained.flows() && drained.end.is_none())
                && !idle_timeout.is_zero()
            {
                // The drain may have used up what the task may do at a time.
                is_check_due |= unconstrained(check.tick()).now_or_never().is_some();
            }
            if is_check_due {
                let due = gauge.ticks_are_due(calendar, clock.now());
                match idle.check(due, Instant::now()) {
                    Verdict::Fine => {}
                    Verdict::Muted => {
                        if muted() {
                            idle.told();
                        }
                    }
                    Verdict::Ended(after) => {
                        gauge.mute_in_a_row.fetch_add(1, Ordering::Relaxed);
                        return End::Mute(after);
                    }
                }
            }
            while let Ok(notice) = notices.try_recv() {
                notice.apply(publisher);
            }
            publisher.flush();
            let after = publisher.counters();
            if (after.bands, after.bands_dropped) != (before.bands, before.bands_dropped) {
                counters
                    .bands
                    .increment((after.bands - before.bands) + (after.bands_dropped - before.bands_dropped));
                counters.bands_dropped.increment(after.bands_dropped - before.bands_dropped);
                before = after;
            }
            if let Some(drained) = drained {
                reader.count(&drained, &counters, &gauge);
                if drained.flows() {
                    idle.ticked(Instant::now());
                }
                if let Some(end) = drained.end {
                    return End::Feed(end);
                }
                if drained.more {
                    tokio::task::yield_now().await;
                }
            }
            // Past the patience the feed is read on: its heartbeat matters more than the bytes
            // that one drain adds.
            let _ = tokio::time::timeout(BEHIND_PATIENCE, publisher.ready()).await;
        }
    }
}

/// What one drain did.
struct Drained {
    ticks: u64,
    /// Segments that some were of which were asked for, one bit each; the last then.
    segments: u32,
    last_recv: UnixNanos,
    /// The socket may hold more.
    more: bool,
    end: Option<FeedEnd>,
}

impl Drained {
    /// Whether what was asked for flows.
    const fn flows(&self) -> bool {
        self.segments != 0
    }
}

struct Reader {
    feed: Box<dyn Feed>,
    clock: Arc<dyn Clock>,
    batch: Vec<Tick>,
}

impl Reader {
    /// Reads and publishes until the socket is empty or enough is batched. Everything read is
    /// published before this returns, so that dropping the future loses nothing.
    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        publisher: &mut Publisher,
        gauge: &FeedGauge,
    ) -> Poll<Drained> {
        let clock = &self.clock;
        let recv = || clock.now();
        let mut drained =
            Drained { ticks: 0, segments: 0, last_recv: UnixNanos::ZERO, more: false, end: None };
        let mut frames = 0_usize;
        loop {
            let polled = self.feed.poll_frame(cx, &recv, &mut self.batch);
            if let Some(last) = self.batch.last() {
                drained.ticks += self.batch.iter().filter(|tick| tick.body.is_asked_for()).count() as u64;
                // What comes unasked proves nothing about what is subscribed.
                let mut segments = 0;
                gauge.add_asked(&self.batch, &mut segments);
                if segments != 0 {
                    drained.segments |= segments;
                    drained.last_recv = last.ts_recv;
                }
                publisher.publish(&self.batch);
                self.batch.clear();
            }
            match polled {
                Poll::Ready(Ok(())) => {
                    frames += 1;
                    let bytes = publisher.open_bytes();
                    let is_enough =
                        bytes >= DRAIN_BYTES_BUSY || (bytes >= DRAIN_BYTES && !publisher.is_any_shard_busy());
                    if frames >= DRAIN_FRAMES || is_enough {
                        drained.more = true;
                        return Poll::Ready(drained);
                    }
                }
                Poll::Ready(Err(end)) => {
                    drained.end = Some(end);
                    return Poll::Ready(drained);
                }
                Poll::Pending if frames > 0 => return Poll::Ready(drained),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn count(&mut self, drained: &Drained, counters: &FeedCounters, gauge: &FeedGauge) {
        let counts = self.feed.take_counts();
        counters.undecodable.increment(counts.undecodable);
        counters.ignored.increment(counts.ignored);
        counters.invalid_prices.increment(counts.invalid_prices);
        for phase in self.feed.take_phases() {
            gauge.note_phase(phase);
        }
        if drained.ticks > 0 {
            counters.ticks.increment(drained.ticks);
        }
        if drained.flows() {
            gauge.received(drained.ticks, drained.last_recv, drained.segments);
        }
    }
}

enum Verdict {
    Fine,
    /// For the first time since the last tick.
    Muted,
    /// Again, although somebody was told.
    Ended(Duration),
}

/// The clock that counts ticks, not frames.
struct Idle {
    timeout: Duration,
    quiet_since: Instant,
    told: bool,
}

impl Idle {
    fn new(timeout: Duration, gauge: &FeedGauge) -> Self {
        let doublings = gauge.mute_in_a_row.load(Ordering::Relaxed).min(MOST_MUTE_DOUBLINGS);
        Self { timeout: timeout * 2_u32.pow(doublings), quiet_since: Instant::now(), told: false }
    }

    fn check_every(&self) -> Duration {
        (self.timeout / 4).max(Duration::from_millis(10))
    }

    fn ticked(&mut self, now: Instant) {
        self.quiet_since = now;
        self.told = false;
    }

    fn told(&mut self) {
        self.quiet_since = Instant::now();
        self.told = true;
    }

    fn check(&mut self, due: bool, now: Instant) -> Verdict {
        let quiet = now.duration_since(self.quiet_since);
        if !due {
            // Silence counts from the moment that ticks are due; but who was told stays told,
            // because re-subscribing leaves nothing due for a moment.
            self.quiet_since = now;
            Verdict::Fine
        } else if quiet < self.timeout {
            Verdict::Fine
        } else if self.told {
            Verdict::Ended(quiet)
        } else {
            Verdict::Muted
        }
    }
}
