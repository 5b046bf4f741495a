//! Bars: what was traded within an interval, and the intervals there are.
//! Not how a venue writes either.

use std::fmt;

use crate::clock::UnixNanos;
use crate::market::Price;

/// A finished bar, or the one that is still growing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bar {
    /// Start of the bar. Of a day, week or month: midnight IST of its first day.
    pub start: UnixNanos,
    /// First price.
    pub open: Price,
    /// Highest price.
    pub high: Price,
    /// Lowest price.
    pub low: Price,
    /// Last price.
    pub close: Price,
    /// Traded quantity within the bar, in units.
    pub volume: i64,
    /// Open interest at its end, in units; zero where there is none.
    pub open_interest: i64,
}

/// How long a bar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interval {
    /// So many seconds, counted from the session's start of the day (IST midnight for whole divisors of it).
    Seconds(u32),
    /// A trading day.
    Day,
    /// Monday to Sunday.
    Week,
    /// A calendar month.
    Month,
}

impl Interval {
    /// So many minutes.
    pub const fn minutes(minutes: u32) -> Self {
        Self::Seconds(minutes * 60)
    }

    /// Whether a bar is shorter than a day.
    pub const fn is_intraday(self) -> bool {
        matches!(self, Self::Seconds(_))
    }

    /// From OpenAlgo's spelling (`1s`, `5m`, `1h`, `D`, `W`, `M`), which is case-sensitive; `None` for anything
    /// else.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "D" => return Some(Self::Day),
            "W" => return Some(Self::Week),
            "M" => return Some(Self::Month),
            _ => {}
        }
        let (digits, factor) = if let Some(digits) = text.strip_suffix('s') {
            (digits, 1)
        } else if let Some(digits) = text.strip_suffix('m') {
            (digits, 60)
        } else {
            (text.strip_suffix('h')?, 3600)
        };
        if digits.starts_with('0') || digits.len() > 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Self::Seconds(digits.parse::<u32>().ok()? * factor))
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Seconds(s) if s % 3600 == 0 => write!(f, "{}h", s / 3600),
            Self::Seconds(s) if s % 60 == 0 => write!(f, "{}m", s / 60),
            Self::Seconds(s) => write!(f, "{s}s"),
            Self::Day => f.write_str("D"),
            Self::Week => f.write_str("W"),
            Self::Month => f.write_str("M"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_both_ways() {
        for (text, interval, shown) in [
            ("1s", Interval::Seconds(1), "1s"),
            ("5m", Interval::minutes(5), "5m"),
            ("60m", Interval::minutes(60), "1h"),
            ("4h", Interval::Seconds(14_400), "4h"),
            ("D", Interval::Day, "D"),
            ("W", Interval::Week, "W"),
            ("M", Interval::Month, "M"),
        ] {
            assert_eq!(Interval::parse(text), Some(interval), "{text}");
            assert_eq!(interval.to_string(), shown);
        }
        for text in ["", "m", "0m", "05m", "5", "5M", "d", "1d", "-1m", "1.5h", "99999s", "१m"] {
            assert_eq!(Interval::parse(text), None, "{text}");
        }
    }
}
