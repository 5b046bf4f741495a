//! How current a feed's data are, judged by segment: from the connection, the session calendar and
//! when data came. Pure: no clock and no I/O of its own, and nothing of who is told (`judging`).
//!
//! Judged by segment and not by instrument: one that nobody trades is as current as its neighbours.
//! Pings prove nothing here, only data of what is subscribed do.

pub(crate) mod judging;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixNanos;
use crate::hub::{Freshness, Standing};
use crate::market::{MarketState, Segment};

const CLOSED: &str = "the market is closed";
const NOT_SUBSCRIBED: &str = "nothing of the segment is subscribed yet";
const NO_DATA_YET: &str = "connected, no data yet";
const LATE: &str = "no data for a while";
const MUTE: &str = "connected, but no data come";

/// What makes data stale: the values of a metric's label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The connection was lost, or could not be made.
    #[default]
    Disconnected,
    /// Connected, but no data come.
    Mute,
    /// The broker refused the token, or it has ended.
    Token,
    /// There is no login now.
    Login,
    /// Somebody else has logged in.
    Replaced,
    /// A failure of our own.
    Internal,
    /// It was ended on purpose.
    Stopped,
}

impl Cause {
    pub(crate) const ALL: [Self; 7] = [
        Self::Disconnected,
        Self::Mute,
        Self::Token,
        Self::Login,
        Self::Replaced,
        Self::Internal,
        Self::Stopped,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Mute => "mute",
            Self::Token => "token",
            Self::Login => "login",
            Self::Replaced => "replaced",
            Self::Internal => "internal",
            Self::Stopped => "stopped",
        }
    }

    /// From the label of a reconnect.
    pub(crate) fn of_reconnect(label: &str) -> Self {
        match label {
            "mute" => Self::Mute,
            "token_refused" | "rotated" => Self::Token,
            "logout" => Self::Replaced,
            "panic" => Self::Internal,
            "operator" => Self::Stopped,
            _ => Self::Disconnected,
        }
    }
}

/// The connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// On its way, and nothing went wrong.
    Connecting,
    Up,
    Down {
        since: UnixNanos,
        reason: Arc<str>,
        cause: Cause,
    },
}

/// What is seen of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) market: MarketState,
    /// Something of it was asked for of the broker.
    pub(crate) asked: bool,
    /// Data of it have come since the connection was made.
    pub(crate) flows: bool,
    /// When its last data came, by whichever connection.
    pub(crate) last_data: Option<UnixNanos>,
}

/// Silence that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Zero: never delayed.
    pub(crate) delayed_after: Duration,
    /// Zero: never stale by silence.
    pub(crate) stale_after: Duration,
}

/// A verdict on a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) standing: Standing,
    /// What makes it stale, if it is.
    pub(crate) cause: Option<Cause>,
}

/// What is remembered of one segment.
#[derive(Debug, Default)]
struct Track {
    verdict: Option<Verdict>,
    last_data: Option<UnixNanos>,
    /// Data were due at the last look.
    due: bool,
    /// Since when it is silent while data are due: by the monotonic clock, which does not jump, and by
    /// the wall clock, for people.
    quiet_since: (Duration, UnixNanos),
}

/// One feed's judge.
#[derive(Debug)]
pub(crate) struct Judge {
    patience: Patience,
    tracks: [Track; Segment::ALL.len()],
}

impl Judge {
    pub(crate) fn new(patience: Patience) -> Self {
        Self { patience, tracks: Default::default() }
    }

    /// Looks at a segment, at `now` by the wall clock and `elapsed` since any fixed moment. The verdict
    /// if it is another than before, and whether it is news: another state or cause, and not only other
    /// words.
    pub(crate) fn look(
        &mut self,
        segment: Segment,
        link: &Link,
        sight: Sight,
        (now, elapsed): (UnixNanos, Duration),
    ) -> Option<(Verdict, bool)> {
        let track = &mut self.tracks[segment.position()];
        let due = *link == Link::Up && sight.asked && sight.market == MarketState::Open;
        if !due || !track.due || sight.last_data != track.last_data {
            track.quiet_since = (elapsed, now);
        }
        (track.due, track.last_data) = (due, sight.last_data);
        let quiet = if due { elapsed.saturating_sub(track.quiet_since.0) } else { Duration::ZERO };
        let (state, reason, cause, since) = self.patience.judge(link, sight, quiet);
        let since = match since {
            Since::Now => now,
            Since::At(at) => at,
            // Data that came while it was not due yet say nothing of the silence.
            Since::Quiet => sight.last_data.filter(|_| sight.flows).unwrap_or(track.quiet_since.1),
        };
        let before = track.verdict.as_ref();
        let is_same = before.is_some_and(|v| v.standing.state == state);
        let since = before.filter(|_| is_same).map_or(since, |v| v.standing.since);
        let verdict = Verdict { standing: Standing { state, since, reason, used: sight.asked }, cause };
        if before == Some(&verdict) {
            return None;
        }
        let is_news = !is_same || before.is_none_or(|v| v.cause != cause);
        track.verdict = Some(verdict.clone());
        Some((verdict, is_news))
    }

    /// What makes data stale that somebody wants, if any are.
    pub(crate) fn stale_for(&self) -> Option<Cause> {
        let used = self.tracks.iter().filter_map(|track| track.verdict.as_ref());
        used.filter(|verdict| verdict.standing.used).find_map(|verdict| verdict.cause)
    }
}

enum Since {
    Now,
    At(UnixNanos),
    /// Since the silence began.
    Quiet,
}

impl Patience {
    fn judge(
        &self,
        link: &Link,
        sight: Sight,
        quiet: Duration,
    ) -> (Freshness, Arc<str>, Option<Cause>, Since) {
        let is_past = |limit: Duration| !limit.is_zero() && quiet >= limit;
        let (state, reason, cause, since) = match link {
            _ if sight.market == MarketState::Closed => (Freshness::Closed, CLOSED, None, Since::Now),
            Link::Down { since, reason, cause } => {
                return (Freshness::Stale, Arc::clone(reason), Some(*cause), Since::At(*since));
            }
            Link::Connecting => (Freshness::Connecting, "", None, Since::Now),
            Link::Up if !sight.asked => (Freshness::Connecting, NOT_SUBSCRIBED, None, Since::Now),
            Link::Up if is_past(self.stale_after) => {
                (Freshness::Stale, MUTE, Some(Cause::Mute), Since::Quiet)
            }
            Link::Up if !sight.flows => (Freshness::Connecting, NO_DATA_YET, None, Since::Now),
            Link::Up if is_past(self.delayed_after) => (Freshness::Delayed, LATE, None, Since::Quiet),
            Link::Up => (Freshness::Live, "", None, Since::Now),
        };
        (state, reason.into(), cause, since)
    }
}
