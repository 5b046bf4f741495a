//! History as the venue writes it, and its truth. Which bars there are is `sim::history`'s.
//!
//! Source: clients of live servers. A time is the wall clock in India written as if it were UTC;
//! an intraday bar has that of its last second, a daily one that of midnight.

use std::fmt::Write as _;

use jiff::civil::{Date, DateTime};
use serde_json::{Value, json};

use super::Core;
use super::books::Query;
use crate::clock::UnixNanos;
use crate::market::{Bar, InstrumentId, Interval, Segment};
use crate::sim::answers::Answer;
use crate::sim::history::{History, midnight};
use crate::sim::instruments::Listing;

const IST: i64 = 19_800;

/// The longest span of a call for bars within a day.
const INTRADAY_SPAN_S: i64 = 7 * 86_400;

/// Seconds of a bar that can be asked for.
const COMPRESSIONS: [u32; 14] = [1, 60, 120, 180, 240, 300, 420, 600, 900, 1800, 3600, 7200, 10_800, 14_400];

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

impl Core {
    /// `GET …/instruments/ohlc`.
    pub(crate) fn ohlc(&mut self, query: &Query, now: UnixNanos) -> Answer {
        let text = |key: &str| query.get(key).map(|t| t.trim()).unwrap_or_default();
        let segment = segment(text("exchangeSegment"));
        let Some(segment) = segment else { return Answer::bad_request("exchangeSegment is no segment") };
        let Some(interval) = interval(text("compressionValue")) else {
            return Answer::bad_request("compressionValue is none of the allowed");
        };
        let (from, to) = (venue_time(text("startTime")), venue_time(text("endTime")));
        let (Some(from), Some(to)) = (from, to) else {
            return Answer::bad_request("startTime and endTime must be MMM DD YYYY HHMMSS");
        };
        if to < from {
            return Answer::bad_request("endTime is before startTime");
        }
        if interval.is_intraday() && to.as_secs() - from.as_secs() > INTRADAY_SPAN_S {
            return Answer::bad_request("at most 7 days of bars within a day");
        }
        let code = text("exchangeInstrumentID").parse::<u32>().ok();
        let Some(listing) = code.and_then(|code| self.listing(InstrumentId { segment, code })) else {
            return Answer::unknown_instrument();
        };
        let bars = History::of(listing, self.settings.seed).bars(interval, from, to, now);
        if bars.is_empty() {
            self.empty_answers += 1;
            // By turns, in the two ways that servers have.
            if self.empty_answers.is_multiple_of(2) {
                return Answer::error(400, "e-instrument-0001", "Data not available", json!({}));
            }
        }
        Answer::success(
            "s-instrument-0002",
            "Data found",
            json!({
                "exchangeSegment": text("exchangeSegment"),
                "exchangeInstrumentID": text("exchangeInstrumentID"),
                "dataReponse": rows(&bars, interval),
            }),
        )
    }

    /// `GET /__sim/bars?segment=&id=&interval=&from=&to=`: the bars themselves. `interval` as
    /// `1m`, `D`; `from` and `to` dates or RFC 3339 times, both included.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub(crate) fn bars_view(&self, query: &Query, now: UnixNanos) -> Result<Value, &'static str> {
        let text = |key: &str| query.get(key).map(String::as_str).unwrap_or_default();
        let segment = segment(text("segment")).ok_or("segment must be a segment")?;
        let code = text("id").parse::<u32>().map_err(|_| "id must be a number")?;
        let interval = Interval::parse(text("interval")).ok_or("interval must be like 1m or D")?;
        let from = moment(text("from"), false).ok_or("from must be a date or a time")?;
        let to = moment(text("to"), true).ok_or("to must be a date or a time")?;
        let listing = self.listing(InstrumentId { segment, code }).ok_or("there is no such instrument")?;
        let bars = History::of(listing, self.settings.seed).bars(interval, from, to, now);
        let bars = bars.iter().map(|bar| {
            json!({
                "start": bar.start.in_india(),
                "start_s": bar.start.as_secs(),
                "open": bar.open.to_string(),
                "high": bar.high.to_string(),
                "low": bar.low.to_string(),
                "close": bar.close.to_string(),
                "volume": bar.volume,
                "oi": bar.open_interest,
            })
        });
        Ok(json!({ "symbol": listing.symbol, "bars": bars.collect::<Vec<_>>() }))
    }

    fn listing(&self, id: InstrumentId) -> Option<&Listing> {
        let catalogue = self.market.catalogue();
        catalogue.position(id).map(|at| &catalogue.listings()[at])
    }
}

pub(super) fn segment(text: &str) -> Option<Segment> {
    let number = text.parse::<i64>().ok().and_then(Segment::from_number);
    number.or_else(|| Segment::from_xts_name(text))
}

fn interval(text: &str) -> Option<Interval> {
    match text {
        "D" => Some(Interval::Day),
        "W" => Some(Interval::Week),
        "M" => Some(Interval::Month),
        _ => text.parse().ok().filter(|s| COMPRESSIONS.contains(s)).map(Interval::Seconds),
    }
}

/// `Feb 10 2026 091500` in India.
fn venue_time(text: &str) -> Option<UnixNanos> {
    let mut parts = text.split_whitespace();
    let (month, day, year, clock) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || clock.len() != 6 || !clock.is_ascii() {
        return None;
    }
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(month))? as i8 + 1;
    let date = Date::new(year.parse().ok()?, month, day.parse().ok()?).ok()?;
    let part = |at: usize, below: i64| clock[at..at + 2].parse::<i64>().ok().filter(|&n| n >= 0 && n < below);
    let seconds = part(0, 24)? * 3600 + part(2, 60)? * 60 + part(4, 60)?;
    Some(UnixNanos::from_secs(midnight(date).as_secs() + seconds))
}

/// A time, or a date in India: its first or last second.
fn moment(text: &str, is_end: bool) -> Option<UnixNanos> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(UnixNanos::from_secs(time.as_second()));
    }
    if text.len() > 10 {
        let local = text.parse::<DateTime>().ok()?;
        let utc = jiff::tz::Offset::UTC.to_timestamp(local).ok()?;
        return Some(UnixNanos::from_secs(utc.as_second() - IST));
    }
    let start = midnight(text.parse::<Date>().ok()?);
    Some(UnixNanos::from_secs(start.as_secs() + if is_end { 86_399 } else { 0 }))
}

fn rows(bars: &[Bar], interval: Interval) -> String {
    let mut out = String::new();
    for (nth, bar) in bars.iter().enumerate() {
        let time = bar.start.as_secs() + IST;
        let time = match interval {
            Interval::Seconds(seconds) => time + i64::from(seconds) - 1,
            _ => time,
        };
        let comma = if nth > 0 { "," } else { "" };
        // Whole prices have no decimals.
        let price = |price: crate::market::Price| {
            let text = price.to_string();
            text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
        };
        let Bar { open, high, low, close, volume, open_interest, .. } = *bar;
        let _ = write!(
            out,
            "{comma}{time}|{}|{}|{}|{}|{volume}|{open_interest}|",
            price(open),
            price(high),
            price(low),
            price(close),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Price;

    #[test]
    fn rows_read_as_documented() {
        let price = |text: &str| Price::parse(text.as_bytes()).unwrap();
        let bar = |start, open, high, low, close, volume| Bar {
            start: UnixNanos::from_secs(start),
            open: price(open),
            high: price(high),
            low: price(low),
            close: price(close),
            volume,
            open_interest: 0,
        };
        // The worked example: 2026-02-10 09:15 and 09:16 in India.
        let bars = [
            bar(1_770_695_100, "1452", "1454.2", "1450.1", "1453.6", 182_345),
            bar(1_770_695_160, "1453.6", "1455", "1453", "1454.8", 96_310),
        ];
        assert_eq!(
            rows(&bars, Interval::minutes(1)),
            "1770714959|1452|1454.2|1450.1|1453.6|182345|0|,1770715019|1453.6|1455|1453|1454.8|96310|0|"
        );
        let day = [Bar { start: midnight(Date::constant(2026, 2, 10)), ..bars[0] }];
        assert!(rows(&day, Interval::Day).starts_with("1770681600|"), "2026-02-10 00:00 as if in UTC");
    }

    #[test]
    fn times_are_read_in_india() {
        assert_eq!(venue_time("Feb 10 2026 091500"), Some(UnixNanos::from_secs(1_770_695_100)));
        for text in ["", "Feb 10 2026", "Feb 30 2026 091500", "Foo 10 2026 091500", "Feb 10 2026 996000"] {
            assert_eq!(venue_time(text), None, "{text}");
        }
        assert_eq!(moment("2026-02-10T09:15:00+05:30", false), Some(UnixNanos::from_secs(1_770_695_100)));
        assert_eq!(moment("2026-02-10T09:15:00", false), moment("2026-02-10T03:45:00Z", false));
        assert_eq!(interval("420"), Some(Interval::minutes(7)));
        assert_eq!((interval("5"), interval("D"), interval("d")), (None, Some(Interval::Day), None));
    }
}
