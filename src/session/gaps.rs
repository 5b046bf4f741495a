//! Interruptions of the feed: when data flow again, consumers that want to know are told what was missed,
//! then the missed minutes are read from the broker's history. Every gap told ends filled or declared
//! unfilled. Not the freshness of what flows.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::broker::{Class, Error};
use crate::clock::UnixNanos;
use crate::hub::{GapNews, GapStep};
use crate::market::calendar::{ist_date, ist_midnight};
use crate::market::{Bar, Calendar, Exchange, InstrumentId, Interval, MarketState, Segment};
use crate::session::messages::Asker;
use crate::session::shared::Shared;
use crate::session::{CallError, TokenDesk};
use crate::token::Product;

const MINUTE: i64 = 60;
/// From the end of a minute until the broker's history is expected to have it.
const SETTLED_AFTER: i64 = 5;
/// What a feed may have missed before its end was noticed while nothing was due.
const UNNOTICED: i64 = 120;
/// Missed minutes of one gap, whatever it spans: some days of any exchange.
const MOST_MINUTES: usize = 3_000;
/// Gaps that may wait to be filled. A feed that is lost more often than the broker's history answers makes
/// no longer a row: what comes then is declared unfilled at once.
const MOST_WAITING: usize = 32;
/// The wall clock is looked at this often while a minute is not over.
const NAP: Duration = Duration::from_secs(1);

/// A gap without an end yet.
#[derive(Debug)]
struct Open {
    from: UnixNanos,
    reason: String,
    instruments: Vec<InstrumentId>,
}

/// A gap that is over.
#[derive(Debug)]
struct Gap {
    id: u64,
    from: UnixNanos,
    to: UnixNanos,
    /// The missed minutes of each instrument that somebody holds.
    missed: BTreeMap<InstrumentId, Arc<[i64]>>,
}

/// What a session knows of its feed's interruptions.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    /// Looked at once per drain of the feed.
    interrupted: AtomicBool,
    open: Mutex<Option<Open>>,
    over: Mutex<Vec<(Open, UnixNanos)>>,
    resumed: Notify,
}

impl Gaps {
    /// The feed brings nothing any more. Of several reasons until it does, the first counts.
    pub(crate) fn interrupt(&self, shared: &Shared, reason: &str) {
        let instruments = shared.carried();
        let Some(last) = shared.gauge.last_tick_at() else { return };
        if instruments.is_empty() {
            return;
        }
        let now = shared.now();
        let is_due = shared.gauge.ticks_are_due(shared.deps.calendar, now);
        let from = last.max(earliest(now, is_due));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get_or_insert(Open { from, reason: reason.to_owned(), instruments });
        self.interrupted.store(true, Ordering::Release);
    }

    /// Data came.
    pub(crate) fn flows(&self, at: UnixNanos) {
        if self.interrupted.load(Ordering::Relaxed) && self.interrupted.swap(false, Ordering::Acquire) {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(open) = open {
                self.over.lock().unwrap_or_else(PoisonError::into_inner).push((open, at));
                self.resumed.notify_one();
            }
        }
    }

    async fn next(&self) -> Vec<(Open, UnixNanos)> {
        self.resumed.notified().await;
        std::mem::take(&mut *self.over.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the last data are at most taken to be old: no gap reaches back over a night, and while nothing was
/// due, silence was none.
fn earliest(now: UnixNanos, is_due: bool) -> UnixNanos {
    if is_due {
        ist_midnight(ist_date(now))
    } else {
        UnixNanos::from_nanos(now.as_nanos() - UNNOTICED * 1_000_000_000)
    }
}

/// Starts of the minutes that overlap a gap, and in which a segment's market was open then.
fn missed_minutes(calendar: Calendar, segment: Segment, from: UnixNanos, to: UnixNanos) -> Vec<i64> {
    let exchanges: Vec<_> = Exchange::ALL.into_iter().filter(|e| e.segment() == segment).collect();
    let is_open = |at: UnixNanos| exchanges.iter().any(|e| calendar.state(*e, at) == MarketState::Open);
    let first = from.as_secs().div_euclid(MINUTE) * MINUTE;
    let starts = (first..=to.as_secs()).step_by(MINUTE as usize);
    let open = starts.filter(|start| is_open(from.max(UnixNanos::from_secs(*start))));
    open.take(MOST_MINUTES).collect()
}

/// Tells of gaps and fills them, as long as the session lives.
pub(crate) async fn run(shared: Arc<Shared>, tokens: TokenDesk) {
    let (told, to_fill) = mpsc::channel(MOST_WAITING);
    // The next gap is told even while the one before is being filled.
    tokio::join!(announce(&shared, &told), fill_all(&shared, &tokens, to_fill));
}

async fn announce(shared: &Shared, to_fill: &mpsc::Sender<Gap>) {
    let deps = &shared.deps;
    let mut number = 0;
    loop {
        for (open, to) in shared.gaps.next().await {
            let held: HashSet<_> = deps.hub.wanted().into_iter().map(|(instrument, _)| instrument).collect();
            let mut by_segment = BTreeMap::new();
            let mut missed = BTreeMap::new();
            for instrument in open.instruments.iter().filter(|i| held.contains(i)) {
                let minutes = by_segment.entry(instrument.segment).or_insert_with(|| {
                    Arc::from(missed_minutes(deps.calendar, instrument.segment, open.from, to))
                });
                if !Arc::<[i64]>::clone(minutes).is_empty() {
                    missed.insert(*instrument, Arc::clone(minutes));
                }
            }
            if missed.is_empty() {
                continue;
            }
            number += 1;
            let (from, id) = (open.from, u64::from(deps.feed.0) << 32 | number);
            info!(
                seconds = to.since(from).as_secs(),
                instruments = missed.len(),
                reason = open.reason,
                "data were missed"
            );
            shared.meters.gap("opened");
            let instruments = missed.keys().copied().collect();
            let step = GapStep::Opened { instruments, reason: open.reason.into() };
            deps.hub.tell_gap(GapNews { id, from, to, step });
            // `fill_all` ends only with this.
            if let Err(TrySendError::Full(gap)) = to_fill.try_send(Gap { id, from, to, missed }) {
                let reason = "too many gaps wait to be filled";
                warn!(reason, instruments = gap.missed.len(), "a gap stays unfilled");
                shared.meters.gap("unfilled");
                let instruments = gap.missed.into_keys().collect();
                deps.hub.tell_gap(GapNews {
                    id,
                    from,
                    to,
                    step: GapStep::Unfilled { instruments, reason: reason.into() },
                });
            }
        }
    }
}

async fn fill_all(shared: &Shared, tokens: &TokenDesk, mut gaps: mpsc::Receiver<Gap>) {
    while let Some(gap) = gaps.recv().await {
        fill(shared, tokens, &gap).await;
    }
}

/// Reads what was missed, one instrument after the other: the broker grants few such calls a second, and
/// others want them too.
async fn fill(shared: &Shared, tokens: &TokenDesk, gap: &Gap) {
    let deps = &shared.deps;
    let tell = |step| deps.hub.tell_gap(GapNews { id: gap.id, from: gap.from, to: gap.to, step });
    let mut unfilled: BTreeMap<String, Vec<InstrumentId>> = BTreeMap::new();
    let mut closed = Vec::new();
    let within = Duration::from_millis(deps.settings.backfill_within_ms);
    let why_not = if within.is_zero() {
        Some("filling gaps is turned off")
    } else if !deps.broker.intervals().contains(&Interval::minutes(1)) {
        Some("the broker has no bars of a minute")
    } else if !deps.hub.has_gap_listeners() {
        Some("nobody asked for it")
    } else {
        None
    };
    if why_not.is_none() {
        settle(shared, gap).await;
    }
    let deadline = Instant::now() + within;
    for (instrument, minutes) in &gap.missed {
        let read = match why_not {
            Some(reason) => Err(reason.to_owned()),
            None => {
                match tokio::time::timeout_at(deadline, history(shared, tokens, *instrument, minutes)).await {
                    Ok(read) => read.map_err(|error| error.to_string()),
                    Err(_) => Err("the bars did not come in time".to_owned()),
                }
            }
        };
        match read {
            Ok(bars) => {
                shared.meters.backfilled(bars.len());
                tell(GapStep::Bars { instrument: *instrument, bars });
                closed.push(*instrument);
            }
            Err(reason) => unfilled.entry(reason).or_default().push(*instrument),
        }
    }
    shared.meters.gap(if unfilled.is_empty() { "closed" } else { "unfilled" });
    if !closed.is_empty() {
        tell(GapStep::Closed { instruments: closed });
    }
    for (reason, instruments) in unfilled {
        warn!(reason, instruments = instruments.len(), "a gap stays unfilled");
        tell(GapStep::Unfilled { instruments, reason: reason.into() });
    }
}

/// Waits until the last missed minute is over and known at the broker.
async fn settle(shared: &Shared, gap: &Gap) {
    let last = gap.missed.values().filter_map(|minutes| minutes.last()).max().copied().unwrap_or_default();
    let ready = UnixNanos::from_secs(last + MINUTE + SETTLED_AFTER);
    while shared.now() < ready {
        tokio::time::sleep(ready.since(shared.now()).min(NAP)).await;
    }
}

/// The missed minutes of one instrument. A token that is refused is replaced once.
async fn history(
    shared: &Shared,
    tokens: &TokenDesk,
    instrument: InstrumentId,
    minutes: &[i64],
) -> Result<Vec<Bar>, CallError> {
    let deps = &shared.deps;
    let days: BTreeSet<_> = minutes.iter().map(|start| ist_date(UnixNanos::from_secs(*start))).collect();
    let mut bars = Vec::new();
    for day in days {
        let mut refused = None;
        let read = loop {
            let token = tokens.get(Product::Market, refused, Asker::Call("history")).await?.token;
            let call = deps.broker.history(&token, instrument, Interval::minutes(1), day, day);
            let answer = tokio::time::timeout(deps.broker.patience(), call).await;
            match answer.unwrap_or_else(|_| Err(Error::Network("the bars did not come in time".to_owned()))) {
                Err(error) if error.class() == Class::NeedsToken && refused.is_none() => {
                    refused = Some(token.epoch);
                }
                answer => break answer?,
            }
        };
        bars.extend(read.into_iter().filter(|bar| minutes.binary_search(&bar.start.as_secs()).is_ok()));
    }
    bars.sort_by_key(|bar| bar.start);
    bars.dedup_by_key(|bar| bar.start);
    Ok(bars)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixNanos {
        let ts: jiff::Timestamp = format!("{text}+05:30").parse().unwrap();
        UnixNanos::from_nanos(i64::try_from(ts.as_nanosecond()).unwrap())
    }

    fn missed(from: &str, to: &str) -> usize {
        missed_minutes(Calendar::new(), Segment::NseCash, at(from), at(to)).len()
    }

    #[test]
    fn minutes_that_overlap_and_in_which_the_market_was_open() {
        // A Monday.
        assert_eq!(missed("2026-11-23T10:00:10", "2026-11-23T10:00:12"), 1);
        assert_eq!(missed("2026-11-23T10:00:59.9", "2026-11-23T10:02:00"), 3);
        assert_eq!(missed("2026-11-23T09:10:00", "2026-11-23T09:16:30"), 2);
        assert_eq!(missed("2026-11-23T20:00:00", "2026-11-24T08:59:00"), 0, "a night");
        assert_eq!(missed("2026-11-21T00:00:00", "2026-11-22T23:59:00"), 0, "a weekend");
        assert_eq!(missed("2026-11-23T09:15:00", "2026-11-23T23:00:00"), 375, "a whole day");
        assert_eq!(missed("2020-01-01T00:00:00", "2026-11-23T23:00:00"), MOST_MINUTES);
    }

    #[test]
    fn a_gap_begins_with_the_last_data_but_never_before_the_day_nor_in_silence_that_was_due() {
        let now = at("2026-11-23T10:00:00");
        assert_eq!(earliest(now, true), at("2026-11-23T00:00:00"));
        assert_eq!(earliest(now, false), at("2026-11-23T09:58:00"));
    }
}
