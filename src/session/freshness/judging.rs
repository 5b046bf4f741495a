//! Has a feed judged: at each of its events, and often while data are due. Gathers what the judge needs,
//! passes its verdicts to the hub, and counts. Decides nothing (`freshness`), and no tick comes here.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Cause, Judge, Link, Patience, Sight};
use crate::clock::UnixNanos;
use crate::hub::{FeedState, Freshness};
use crate::market::{MarketState, Segment};
use crate::session::shared::Shared;
use crate::telemetry::metrics as names;

/// How soon first data are noticed.
const SOON: Duration = Duration::from_millis(250);
/// Looks within the shortest silence that means something, and the least time between two.
const LOOKS: u32 = 16;
const LEAST: Duration = Duration::from_millis(50);

/// How current one segment's data are, to show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentStatus {
    /// Which.
    pub segment: Segment,
    /// `connecting`, `live`, `delayed`, `stale` or `closed`.
    pub state: &'static str,
    /// Since when.
    pub since: UnixNanos,
    /// Why; may be empty.
    pub reason: String,
    /// When its last data came, if ever.
    pub last_data_at: Option<UnixNanos>,
}

/// A session's judge, and what it has found.
pub(crate) struct Judging {
    bench: Mutex<Bench>,
    /// Told when something has happened to the feed.
    wake: Notify,
    between: Duration,
}

struct Bench {
    judge: Judge,
    begun: Instant,
    /// Why the connection is down, while it is.
    cause: Cause,
    looked: Duration,
    /// Stale time that makes no whole second yet.
    stale: Duration,
    stale_counters: [Counter; Cause::ALL.len()],
    gauges: [[Gauge; Freshness::ALL.len()]; Segment::ALL.len()],
}

impl Judging {
    pub(crate) fn new(account: &str, patience: Patience) -> Self {
        let stale_counters = Cause::ALL.map(|cause| {
            metrics::counter!(names::FEED_STALE_SECONDS, "account" => account.to_owned(), "reason" => cause.as_str())
        });
        let gauges = Segment::ALL.map(|segment| {
            Freshness::ALL.map(|state| {
                metrics::gauge!(
                    names::FEED_STATE, "account" => account.to_owned(),
                    "segment" => segment.xts_name(), "state" => state.as_str()
                )
            })
        });
        let bench = Bench {
            judge: Judge::new(patience),
            begun: Instant::now(),
            cause: Cause::default(),
            looked: Duration::ZERO,
            stale: Duration::ZERO,
            stale_counters,
            gauges,
        };
        let silences = [patience.delayed_after, patience.stale_after].into_iter().filter(|s| !s.is_zero());
        let between = silences.min().map_or(SOON, |shortest| (shortest / LOOKS).max(LEAST));
        Self { bench: Mutex::new(bench), wake: Notify::new(), between }
    }

    /// Notes why the connection is down, or will be in a moment.
    pub(crate) fn blame(&self, cause: Cause) {
        self.lock().cause = cause;
    }

    /// Looks because something has happened to the feed.
    pub(crate) fn look_now(&self, shared: &Shared) {
        self.look(shared);
        self.wake.notify_one();
    }

    /// Looks at every segment, and tells the hub what has changed. Returns when to look again if nothing
    /// happens.
    fn look(&self, shared: &Shared) -> Duration {
        let deps = &shared.deps;
        let now = shared.now();
        let mut bench = self.lock();
        let link = match deps.hub.feed_state(deps.feed) {
            Some(FeedState::Live) => Link::Up,
            Some(FeedState::Down { since, reason }) => Link::Down { since, reason, cause: bench.cause },
            Some(FeedState::Connecting) | None => Link::Connecting,
        };
        let elapsed = bench.begun.elapsed();
        bench.count(elapsed);
        // Sessions begin and end with a minute.
        let minute = 60 - u64::try_from(now.as_secs().rem_euclid(60)).unwrap_or(0);
        let mut again = Duration::from_secs(minute);
        for segment in Segment::ALL {
            let (asked, flows, last_data) = shared.gauge.of_segment(segment);
            let market = deps.calendar.state(segment.exchange(), now);
            let sight = Sight { market, asked, flows, last_data };
            if link == Link::Up && asked && market != MarketState::Closed {
                again = again.min(if flows { self.between } else { SOON });
            }
            if let Some((verdict, is_news)) = bench.judge.look(segment, &link, sight, (now, elapsed)) {
                let state = verdict.standing.state;
                if is_news && verdict.standing.used {
                    tracing::debug!(
                        segment = segment.xts_name(),
                        state = state.as_str(),
                        reason = &*verdict.standing.reason,
                        "how current data are"
                    );
                }
                let gauges = &bench.gauges[segment.position()];
                for (gauge, value) in gauges.iter().zip(Freshness::ALL) {
                    gauge.set(f64::from(u8::from(value == state && verdict.standing.used)));
                }
                deps.hub.set_standing(deps.feed, segment, verdict.standing, is_news);
            }
        }
        if bench.judge.stale_for().is_some() {
            again = again.min(Duration::from_secs(1));
        }
        drop(bench);
        if let Some(at) = shared.gauge.last_tick_at() {
            deps.hub.note_data(deps.feed, at);
        }
        again
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Bench> {
        self.bench.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bench {
    /// Counts the time since the last look for what it found then.
    fn count(&mut self, elapsed: Duration) {
        let passed = elapsed.saturating_sub(self.looked);
        self.looked = elapsed;
        if let Some(cause) = self.judge.stale_for() {
            self.stale += passed;
            let whole = self.stale.as_secs();
            self.stale -= Duration::from_secs(whole);
            self.stale_counters[cause as usize].increment(whole);
        }
    }
}

/// How current the segments are of which something is subscribed.
pub(crate) fn shown(shared: &Shared) -> Vec<SegmentStatus> {
    let deps = &shared.deps;
    let standing = |segment| Some((segment, deps.hub.standing(deps.feed, segment).filter(|s| s.used)?));
    let used = Segment::ALL.into_iter().filter_map(standing);
    used.map(|(segment, standing)| SegmentStatus {
        segment,
        state: standing.state.as_str(),
        since: standing.since,
        reason: standing.reason.to_string(),
        last_data_at: shared.gauge.of_segment(segment).2,
    })
    .collect()
}

/// Looks again and again, until dropped. Whatever happens to the feed has it looked at besides.
pub(crate) async fn run(shared: std::sync::Arc<Shared>) {
    loop {
        let again = shared.judging.look(&shared);
        tokio::select! {
            () = tokio::time::sleep(again) => {}
            () = shared.judging.wake.notified() => {}
        }
    }
}
