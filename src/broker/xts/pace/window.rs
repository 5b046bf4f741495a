//! How many calls there may be in a span of time. Pure; not who goes next.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Added to every span: clocks differ, and a call that was broken off may arrive a little later.
const MARGIN: Duration = Duration::from_millis(20);

/// When one more call may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Free {
    Now,
    At(Instant),
    /// Once a call that is under way has ended.
    Unknown,
}

/// At most `count` calls within any `span`. A call counts from its start until `span` after its
/// end: it reached the broker at some moment between, and the next one is sent after all of it.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Zero: no limit.
    count: usize,
    span: Duration,
    /// Least time between two starts.
    gap: Duration,
    under_way: usize,
    ended: VecDeque<Instant>,
    last_start: Option<Instant>,
}

impl Window {
    fn new(count: usize, span: Duration, gap: Duration) -> Self {
        let (under_way, ended, last_start) = (0, VecDeque::new(), None);
        Self { count, span: span + MARGIN, gap, under_way, ended, last_start }
    }

    pub(super) fn none() -> Self {
        Self::new(0, Duration::ZERO, Duration::ZERO)
    }

    /// One call, and the next one `interval_ms` after it; zero: no limit.
    pub(super) fn apart(interval_ms: u64) -> Self {
        if interval_ms == 0 {
            return Self::none();
        }
        Self::new(1, Duration::from_millis(interval_ms), Duration::ZERO)
    }

    /// So many in any second; zero: no limit.
    pub(super) fn per_second(count: u32) -> Self {
        Self::new(count as usize, Duration::from_secs(1), Duration::ZERO)
    }

    /// As many in any second as `interval_ms` goes into it, and their starts so far apart; zero: no
    /// limit.
    pub(super) fn spread(interval_ms: u64) -> Self {
        let gap = Duration::from_millis(interval_ms);
        match interval_ms {
            0 => Self::none(),
            1..1_000 => Self::new((1_000 / interval_ms) as usize, Duration::from_secs(1), gap),
            _ => Self::new(1, gap, gap),
        }
    }

    pub(super) fn free(&mut self, now: Instant) -> Free {
        if self.count == 0 {
            return Free::Now;
        }
        while self.ended.front().is_some_and(|end| *end + self.span <= now) {
            self.ended.pop_front();
        }
        let apart = self.last_start.map(|start| start + self.gap).filter(|at| *at > now);
        let taken = self.under_way + self.ended.len();
        let room = if taken < self.count {
            None
        } else {
            // So many of the ended ones must be forgotten.
            match self.ended.get(taken - self.count) {
                Some(end) => Some(*end + self.span),
                None => return Free::Unknown,
            }
        };
        apart.max(room).map_or(Free::Now, Free::At)
    }

    pub(super) fn start(&mut self, now: Instant) {
        if self.count > 0 {
            self.under_way += 1;
            self.last_start = Some(now);
        }
    }

    pub(super) fn end(&mut self, now: Instant) {
        if self.count > 0 {
            self.under_way = self.under_way.saturating_sub(1);
            self.ended.push_back(now);
        }
    }
}
