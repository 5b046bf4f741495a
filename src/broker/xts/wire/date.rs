//! Dates and times as the books write them, in words. Not the times of ticks, which are counts
//! of seconds (`time`).
//!
//! Source: samples of the official documentation (`10-02-2026 10:15:28`, IST); events of newer
//! servers write ISO 8601 without a zone (`2026-02-10T10:15:28`), in IST too.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

use crate::clock::UnixNanos;

/// India's offset from UTC.
const IST: Duration = Duration::from_mins(330);

/// What books write for "never" lies in or before this year (`01-01-1980 00:00:00`).
const NEVER: i16 = 1980;

/// Reads a date with a time. `UnixNanos::ZERO` for the venue's "never", `None` for what is no
/// time.
pub(super) fn written(text: &str) -> Option<UnixNanos> {
    let text = text.trim();
    if let Some(local) = day_first(text).or_else(|| text.parse().ok()) {
        return in_india(local);
    }
    // With a zone of its own.
    let instant: Timestamp = text.parse().ok()?;
    let local = Offset::UTC.to_datetime(instant);
    if local.year() <= NEVER { Some(UnixNanos::ZERO) } else { nanos(instant) }
}

/// `10-02-2026 10:15:28`, perhaps with a fraction of the second.
fn day_first(text: &str) -> Option<DateTime> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let [day, month, year] = numbers(date, '-')?;
    // A year first is ISO's order.
    if date.find('-') == Some(4) {
        return None;
    }
    let (time, fraction) = time.trim().split_once('.').unwrap_or((time.trim(), ""));
    let [hour, minute, second] = numbers(time, ':')?;
    let date = Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()?;
    let second = second.try_into().ok()?;
    let time =
        Time::new(hour.try_into().ok()?, minute.try_into().ok()?, second, subsecond(fraction)?).ok()?;
    Some(date.to_datetime(time))
}

fn numbers(text: &str, separator: char) -> Option<[u16; 3]> {
    let mut parts = text.split(separator).map(|part| {
        let is_number = !part.is_empty() && part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| part.parse().ok())?
    });
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

/// The nanoseconds of a second's decimals.
fn subsecond(decimals: &str) -> Option<i32> {
    if decimals.len() > 9 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    format!("{decimals:0<9}").parse().ok()
}

fn in_india(local: DateTime) -> Option<UnixNanos> {
    if local.year() <= NEVER {
        return Some(UnixNanos::ZERO);
    }
    nanos(Offset::UTC.to_timestamp(local).ok()?).map(|as_utc| as_utc.minus(IST))
}

fn nanos(instant: Timestamp) -> Option<UnixNanos> {
    i64::try_from(instant.as_nanosecond()).ok().map(UnixNanos::from_nanos)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_orders_mean_indian_time() {
        let at = UnixNanos::from_secs(1_770_698_728);
        for text in [
            "10-02-2026 10:15:28",
            " 10-02-2026 10:15:28 ",
            "10-02-2026T10:15:28",
            "10-02-2026 10:15:28.000",
            "2026-02-10T10:15:28",
            "2026-02-10 10:15:28",
            "2026-02-10T04:45:28Z",
            "2026-02-10T10:15:28+05:30",
        ] {
            assert_eq!(written(text), Some(at), "{text}");
        }
        let later = written("10-02-2026 10:15:28.25").unwrap();
        assert_eq!(later.since(at), Duration::from_millis(250));
        // The first of February in one order, the second of January in the other.
        assert_eq!(written("01-02-2026 00:00:00").unwrap().to_string(), "2026-01-31T18:30:00Z");
    }

    #[test]
    fn never_and_nonsense() {
        for text in ["01-01-1980 00:00:00", "0001-01-01T00:00:00", "1970-01-01T00:00:00Z"] {
            assert_eq!(written(text), Some(UnixNanos::ZERO), "{text}");
        }
        for text in [
            "",
            "10:15:28",
            "31-02-2026 10:15:28",
            "02-13-2026 10:15:28",
            "10-02-2026 25:00:00",
            "10-02-26",
            "1-2-3-4 1:2:3",
            "10-02-2026 10:15",
            "yesterday",
            "10-02-9999 10:15:28",
        ] {
            assert_eq!(written(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "([0-9]{1,5}|[-:. TZ+]|.){0,16}") {
            let _ = written(&text);
        }
    }
}
