//! The queue that every REST call of one product goes through, so that the broker's rates are
//! never exceeded. Not how many calls there may be in a day, and not the calls themselves.
//!
//! One call is under way at a time; hostlookup and calls about orders have ways of their own, so that none
//! waits for a slow book, and what takes orders back or closes positions has another, so that
//! none of it waits for an order that is not answered. Where several kinds of calls may go, the one that went longest ago
//! does: hundreds of quotes do not keep one call for funds waiting.

mod line;
mod window;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::broker::Error;

use super::settings::Settings;
use line::{Line, Outcome, Pause};
use window::Window;

/// The broker asks for at least this much when it says that there were too many requests.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// The longest that what takes back or closes is held up by it: the worst that comes of asking too early is another
/// refusal.
const MOST_PAUSE_OF_CLOSING: Duration = Duration::from_secs(2);

/// The kinds of calls that a broker counts apart.
///
/// Source: the documented limits of the interactive product; of the market product only what
/// clients are seen to keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Path {
    /// Logins, logouts: rare, and governed by who logs in.
    Session,
    /// Hostlookup: what orders go by must not wait for a book.
    Host,
    /// Placing and changing.
    Orders,
    /// Cancelling, counted with placing and changing.
    Cancel,
    Convert,
    SquareOff,
    CancelAll,
    Balance,
    Profile,
    OrderBook,
    TradeBook,
    Holdings,
    Positions,
    Status,
    Messages,
    Quotes,
    Subscription,
    History,
    /// Instrument master, searches and other look-ups.
    LookUp,
}

impl Path {
    /// Whether nothing else may keep it waiting.
    pub(super) const fn is_urgent(self) -> bool {
        matches!(self, Self::Orders | Self::Convert) || self.is_closing()
    }

    /// Whether it only takes back or closes, which an order that is not answered must not delay.
    const fn is_closing(self) -> bool {
        matches!(self, Self::Cancel | Self::SquareOff | Self::CancelAll)
    }

    /// The kind that stands for all that the broker counts together with this one.
    const fn counted_as(self) -> Self {
        match self {
            Self::Cancel => Self::Orders,
            other => other,
        }
    }
}

/// One product's queue.
#[derive(Debug)]
pub(super) struct Queue {
    line: Mutex<Line>,
    /// Whether a pause that the broker asks for holds for all calls.
    pauses_all: bool,
    patience: Duration,
    orders_patience: Duration,
}

impl Queue {
    pub(super) fn market(settings: &Settings) -> Self {
        let own = BTreeMap::from([
            (Path::Quotes, Window::apart(settings.quotes_interval_ms)),
            (Path::Subscription, Window::apart(settings.subscription_interval_ms)),
        ]);
        Self::new(settings, own, Window::spread(settings.request_interval_ms), true)
    }

    pub(super) fn interactive(settings: &Settings) -> Self {
        let once = [
            Path::SquareOff,
            Path::CancelAll,
            Path::Balance,
            Path::Profile,
            Path::OrderBook,
            Path::TradeBook,
            Path::Holdings,
            Path::Positions,
            Path::Status,
            Path::Messages,
        ];
        let mut own: BTreeMap<_, _> =
            once.into_iter().map(|path| (path, Window::apart(settings.book_interval_ms))).collect();
        for path in [Path::Orders, Path::Convert] {
            own.insert(path, Window::per_second(settings.orders_per_s));
        }
        Self::new(settings, own, Window::none(), false)
    }

    fn new(settings: &Settings, own: BTreeMap<Path, Window>, all: Window, pauses_all: bool) -> Self {
        Self {
            line: Mutex::new(Line::new(own, all, settings.orders_apart, settings.queue_length)),
            pauses_all,
            patience: Duration::from_millis(settings.queue_timeout_ms),
            orders_patience: Duration::from_millis(settings.orders_queue_timeout_ms),
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // It is whole after every statement.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when a call that comes now may wait for its turn.
    pub(super) fn deadline(&self, path: Path) -> Instant {
        Instant::now() + if path.is_urgent() { self.orders_patience } else { self.patience }
    }

    /// Waits for a call's turn. With `alone`, no other call starts before the turn's end; without
    /// (downloads), it counts for the rates but keeps nobody waiting.
    ///
    /// # Errors
    /// `NoTurn` if the turn does not come by `deadline`, or comes after it, or too many wait;
    /// `RateLimited` if the broker has asked for a pause that ends later.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue.
    pub(super) async fn turn(&self, path: Path, alone: bool, deadline: Instant) -> Result<Turn<'_>, Error> {
        let wake = Arc::new(Notify::new());
        let id = {
            let mut line = self.line();
            let now = Instant::now();
            if let Some(until) = line.paused_until(path).filter(|until| *until > deadline) {
                return Err(Error::RateLimited {
                    retry_after: Some(until.saturating_duration_since(now)),
                    description: "the broker has asked for a pause".to_owned(),
                });
            }
            line.enter(path, alone, Arc::clone(&wake))
                .ok_or_else(|| Error::NoTurn("too many requests wait for their turn".to_owned()))?
        };
        let place = Place { queue: self, path, id };
        loop {
            let now = Instant::now();
            // A machine that was busy or asleep may look at the clock late.
            let outcome = if now > deadline { Outcome::Later } else { self.line().try_go(path, id, now) };
            let until = match outcome {
                Outcome::Go => {
                    std::mem::forget(place);
                    return Ok(Turn { queue: self, path, alone });
                }
                Outcome::At(at) => at.min(deadline),
                Outcome::Later => deadline,
            };
            if now >= deadline {
                return Err(Error::NoTurn("its turn did not come in time".to_owned()));
            }
            tokio::select! {
                () = wake.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// Heeds the broker's word that there were too many requests on a path.
    pub(super) fn pause(&self, path: Path, retry_after: Option<Duration>) {
        if matches!(path, Path::Session | Path::Host) {
            return;
        }
        let (now, pause) = (Instant::now(), retry_after.unwrap_or_default().max(LEAST_PAUSE));
        let pause = Pause { until: now + pause, closing_until: now + pause.min(MOST_PAUSE_OF_CLOSING) };
        self.line().pause(if self.pauses_all { None } else { Some(path) }, pause);
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.line().waiting()
    }
}

/// A place in the queue, given up when dropped.
struct Place<'a> {
    queue: &'a Queue,
    path: Path,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.line().leave(self.path, self.id);
    }
}

/// A call's turn, to be held until it is answered: the rates count from then, so that whatever
/// the way to the broker takes, it sees no more calls in any second.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    queue: &'a Queue,
    path: Path,
    alone: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.queue.line().done(self.path, self.alone, Instant::now());
    }
}

#[cfg(test)]
mod tests;
