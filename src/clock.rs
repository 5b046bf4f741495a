//! Wall-clock time: one value type and one injected source.
//! Not monotonic time; timers use `tokio::time`.

use std::fmt;
use std::time::Duration;

/// Nanoseconds since 1970-01-01 00:00:00 UTC. Covers the years 1678 to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(i64);

impl UnixNanos {
    /// The epoch itself; also "never" where a venue uses 0 for it.
    pub const ZERO: Self = Self(0);

    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From whole milliseconds since the epoch; saturates at the ends of the range.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// From whole seconds since the epoch; saturates at the ends of the range.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the epoch, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Time from `earlier` to `self`, zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This time plus `by`, saturating.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// This time minus `by`, saturating.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// RFC 3339 in Indian time, to the millisecond: for people, logs and status pages.
    pub fn in_india(self) -> String {
        let shifted = self.plus(Duration::from_mins(330)).timestamp();
        let time = jiff::tz::Offset::UTC.to_datetime(shifted);
        let millis = time.subsec_nanosecond() / 1_000_000;
        let (date, time) = (time.date(), time.time());
        format!("{date}T{:02}:{:02}:{:02}.{millis:03}+05:30", time.hour(), time.minute(), time.second())
    }

    /// As a [`jiff::Timestamp`], for civil-time work.
    pub fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Display for UnixNanos {
    /// RFC 3339 in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timestamp().fmt(f)
    }
}

/// A source of wall-clock time. Injected everywhere, so that tests move it.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> UnixNanos;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> UnixNanos {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// Follows the Tokio clock from a given start, so that one `tokio::time::advance` moves
/// token expiry and back-off together. Create it inside the runtime it follows.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: UnixNanos,
    start: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that shows `origin` now.
    pub fn starting_at(origin: UnixNanos) -> Self {
        Self { origin, start: tokio::time::Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> UnixNanos {
        self.origin.plus(self.start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_round_down() {
        let t = UnixNanos::from_nanos(1_770_698_730_123_456_789);
        assert_eq!(t.as_millis(), 1_770_698_730_123);
        assert_eq!(t.as_secs(), 1_770_698_730);
        assert_eq!(UnixNanos::from_nanos(-1).as_secs(), -1);
        assert_eq!(UnixNanos::from_secs(1_770_698_730).to_string(), "2026-02-10T04:45:30Z");
        assert_eq!(t.in_india(), "2026-02-10T10:15:30.123+05:30");
    }

    #[tokio::test(start_paused = true)]
    async fn tokio_clock_follows_the_paused_clock() {
        let clock = TokioClock::starting_at(UnixNanos::from_secs(100));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(clock.now(), UnixNanos::from_secs(107));
    }
}
