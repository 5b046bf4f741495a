//! Every instrument's values and when they change next. Pure: time is passed in.
//! Not who is told about a change; that is `core`.
//!
//! Market time runs `pace` times as fast as the clock and only while the market is not muted.
//! If the machine cannot keep up, market time falls behind and nothing is lost: the same
//! updates come, later.

mod quote;
mod replay;
mod walk;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixNanos;
use crate::market::calendar::{TimeOfDay, ist_time_of_day, last_cutoff};
use crate::market::{Calendar, Exchange, MarketState};
use crate::sim::instruments::{Catalogue, Kind, Listing};
pub(crate) use quote::Quote;
pub(crate) use replay::Capture;
pub use replay::CaptureError;
use replay::Follower;
use walk::Walker;

/// The most that market time advances for one call, in real time: a machine that slept is not
/// handed hours of updates at once.
const MAX_STRIDE: Duration = Duration::from_millis(250);

/// Updates of one call; the caller comes back for more.
const MAX_UPDATES: usize = 4_000;

/// What changed in an update beside the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// A trade, or a new value of an index.
    pub(crate) traded: bool,
    pub(crate) open_interest: bool,
}

/// How the market is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) seed: u64,
    pub(crate) pace: f64,
    pub(crate) replay_loop: bool,
    pub(crate) calendar: Calendar,
}

#[derive(Debug)]
enum Source {
    Walk(Vec<Walker>),
    Replay(Arc<Capture>, Vec<Follower>),
}

/// The market.
#[derive(Debug)]
pub(crate) struct Market {
    rules: Rules,
    catalogue: Arc<Catalogue>,
    quotes: Vec<Quote>,
    source: Source,
    /// Moments of the next updates in market time, and whose they are.
    due: BinaryHeap<Reverse<(u64, u32)>>,
    /// Nanoseconds of market time since the start; everything due before has happened.
    time: u64,
    seen: UnixNanos,
    muted: bool,
    open: OpenNow,
    /// Updates so far, of all instruments.
    updates: u64,
}

/// Which exchanges trade, asked of the calendar once a second.
#[derive(Debug)]
struct OpenNow {
    second: i64,
    exchanges: [bool; Exchange::ALL.len()],
}

impl Market {
    /// A market that starts `now`. With a capture it is replayed, else prices walk.
    pub(crate) fn start(
        rules: Rules,
        catalogue: Arc<Catalogue>,
        capture: Option<Arc<Capture>>,
        now: UnixNanos,
    ) -> Self {
        let listings = catalogue.listings();
        let mut quotes = Vec::with_capacity(listings.len());
        let source = if let Some(capture) = capture {
            let mut followers = Vec::with_capacity(listings.len());
            for listing in listings {
                let (follower, quote) = Follower::start(listing, &capture, rules.seed, now);
                followers.push(follower);
                quotes.push(quote);
            }
            Source::Replay(capture, followers)
        } else {
            let mut walkers = Vec::with_capacity(listings.len());
            for listing in listings {
                let (walker, quote) = Walker::start(listing, rules.seed, day_part(now), now);
                walkers.push(walker);
                quotes.push(quote);
            }
            Source::Walk(walkers)
        };
        let open = OpenNow { second: i64::MIN, exchanges: [false; Exchange::ALL.len()] };
        let due = BinaryHeap::new();
        let (time, seen, muted, updates) = (0, now, false, 0);
        let mut market = Self { rules, catalogue, quotes, source, due, time, seen, muted, open, updates };
        for index in 0..market.quotes.len() {
            market.schedule(index, 0);
        }
        market
    }

    pub(crate) fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    pub(crate) fn quote(&self, index: usize) -> &Quote {
        &self.quotes[index]
    }

    pub(crate) fn quotes(&self) -> &[Quote] {
        &self.quotes
    }

    pub(crate) fn updates(&self) -> u64 {
        self.updates
    }

    pub(crate) fn is_muted(&self) -> bool {
        self.muted
    }

    /// Stops the market, or lets it go on from where it stood.
    pub(crate) fn mute(&mut self, on: bool) {
        self.muted = on;
    }

    /// How many times faster than real it moves from now on.
    pub(crate) fn set_pace(&mut self, pace: f64) {
        self.rules.pace = pace;
    }

    /// Whether `exchange` trades at `now`.
    pub(crate) fn is_open(&self, exchange: Exchange, now: UnixNanos) -> bool {
        self.rules.calendar.state(exchange, now) == MarketState::Open
    }

    /// Lets the market catch up with `now` and reports every update, in order. Returns the
    /// clock time until the next one is due; zero if there was too much for one call, `None`
    /// if nothing will happen by itself.
    pub(crate) fn advance(
        &mut self,
        now: UnixNanos,
        mut report: impl FnMut(usize, &Listing, &Quote, Change),
    ) -> Option<Duration> {
        let elapsed = now.since(self.seen).min(MAX_STRIDE);
        self.seen = now;
        if self.muted {
            return None;
        }
        let target = self.time + (elapsed.as_nanos() as f64 * self.rules.pace) as u64;
        self.look_at_calendar(now);
        let catalogue = Arc::clone(&self.catalogue);
        for _ in 0..MAX_UPDATES {
            let Some(&Reverse((at, index))) = self.due.peek() else {
                self.time = target;
                return None;
            };
            if at > target {
                self.time = target;
                let wait = (at - target) as f64 / self.rules.pace;
                return Some(Duration::from_nanos(wait as u64));
            }
            self.due.pop();
            self.time = self.time.max(at);
            let index = index as usize;
            let listing = &catalogue.listings()[index];
            if !self.open.exchanges[exchange_index(listing.exchange)] {
                // Looked at again a second of the clock later. A replay is not thinned by
                // that: the step is still the next one.
                let later = at + (1e9 * self.rules.pace) as u64;
                self.due.push(Reverse((later, index as u32)));
                continue;
            }
            let change = self.update(index, listing, now);
            self.updates += 1;
            report(index, listing, &self.quotes[index], change);
            self.schedule(index, at);
        }
        // Market time stays where it got to, so that what is due comes with the next call.
        Some(Duration::ZERO)
    }

    /// Starts a new trading day with the instruments of `catalogue`. Instruments that are
    /// still there carry their prices over; the others are gone.
    pub(crate) fn new_day(&mut self, catalogue: &Arc<Catalogue>, now: UnixNanos) {
        let capture = match &self.source {
            Source::Replay(capture, _) => Some(Arc::clone(capture)),
            Source::Walk(_) => None,
        };
        let mut next = Self::start(self.rules, Arc::clone(catalogue), capture, now);
        let old = Arc::clone(&self.catalogue);
        let known: HashMap<_, _> =
            old.listings().iter().enumerate().map(|(i, l)| ((l.exchange, &l.symbol), i)).collect();
        for (index, listing) in catalogue.listings().iter().enumerate() {
            let Some(&before) = known.get(&(listing.exchange, &listing.symbol)) else { continue };
            next.quotes[index] = self.quotes[before].clone();
            next.quotes[index].new_day();
            match (&mut next.source, &mut self.source) {
                (Source::Walk(new), Source::Walk(old)) => std::mem::swap(&mut new[index], &mut old[before]),
                (Source::Replay(_, new), Source::Replay(_, old)) => {
                    std::mem::swap(&mut new[index], &mut old[before]);
                }
                _ => {}
            }
        }
        next.time = self.time;
        next.muted = self.muted;
        next.updates = self.updates;
        next.due.clear();
        for index in 0..next.quotes.len() {
            next.schedule(index, self.time);
        }
        *self = next;
    }

    fn update(&mut self, index: usize, listing: &Listing, now: UnixNanos) -> Change {
        // Contracts follow an instrument that stands before them in the list.
        let (before, rest) = self.quotes.split_at_mut(index);
        let quote = &mut rest[0];
        quote.touch(now);
        match &mut self.source {
            Source::Walk(walkers) => {
                let underlying = match listing.kind {
                    Kind::Option { underlying, .. } | Kind::Future { underlying: Some(underlying), .. } => {
                        before.get(underlying)
                    }
                    _ => None,
                };
                walkers[index].step(listing, quote, underlying, now)
            }
            Source::Replay(capture, followers) => followers[index].step(listing, capture, quote, now),
        }
    }

    fn schedule(&mut self, index: usize, from: u64) {
        let listing = &self.catalogue.listings()[index];
        let at = match &mut self.source {
            Source::Walk(walkers) => from + (walkers[index].pause(listing) * 1e9) as u64,
            Source::Replay(capture, followers) => {
                match followers[index].due(capture, self.rules.replay_loop) {
                    // Never before what is due now: a closed market has delayed this one.
                    Some(at) => at.max(from),
                    None => return,
                }
            }
        };
        self.due.push(Reverse((at, index as u32)));
    }

    fn look_at_calendar(&mut self, now: UnixNanos) {
        if self.open.second != now.as_secs() {
            self.open.second = now.as_secs();
            for exchange in Exchange::ALL {
                self.open.exchanges[exchange_index(exchange)] =
                    self.rules.calendar.state(exchange, now) == MarketState::Open;
            }
        }
    }
}

fn exchange_index(exchange: Exchange) -> usize {
    exchange as usize
}

/// How much of the day in IST is over, 0 to 1.
fn day_part(now: UnixNanos) -> f64 {
    let midnight = TimeOfDay::new(0, 0).map_or(now, |midnight| last_cutoff(now, midnight));
    debug_assert!(ist_time_of_day(now).minutes() < 1440);
    now.since(midnight).as_secs_f64() / 86_400.0
}

/// Tells instruments apart, the same in every run.
fn hash(listing: &Listing) -> u64 {
    let id = (u64::from(listing.id.segment.number()) << 32) | u64::from(listing.id.code);
    let mut mixed = id.wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 29)
}

#[cfg(test)]
impl Market {
    /// Counts an update that changes nothing.
    pub(crate) fn touch(&mut self, index: usize, now: UnixNanos) {
        self.quotes[index].touch(now);
    }
}

#[cfg(test)]
mod tests;
