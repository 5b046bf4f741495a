//! Bars of history as REST answers bring them: rows of figures in one text. Pure.
//! Not which days are asked for.
//!
//! A row's time is Indian wall-clock time counted as if it were UTC; the real instant is 19 800
//! seconds earlier. A bar within the day is stamped at its *last* second, so that its start has to
//! be found: the stamp is cut down to the grid of the interval. Which grid that is no source says
//! for intervals that do not go into both: bars counted from the session's open (09:15, 10:15, …)
//! end at other seconds than bars counted from midnight (10:00, 11:00, …). The stamps themselves
//! tell: the grid that more of them end on is the answer's, the session's if neither has more. A
//! day's first bar on midnight's grid starts at the open, before which nothing was traded.
//!
//! Source: official documentation and samples; the stamps of third-party clients' captures.

use std::collections::BTreeMap;

use jiff::civil::{Date, Weekday};

use crate::clock::UnixNanos;
use crate::market::calendar::{Calendar, ist_date};
use crate::market::{Bar, Exchange, Interval, Price, Segment};

use super::text::{Raw, price, unescape, whole};

/// India's offset from UTC in seconds.
const IST: i64 = 19_800;
const DAY: i64 = 86_400;

/// Times outside are no times: 2000-01-01 to 2100-01-01.
const BELIEVABLE: std::ops::Range<i64> = 946_684_800..4_102_444_800;

/// What an answer held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bars {
    /// Each start once, oldest first.
    pub bars: Vec<Bar>,
    /// Rows that could not be read, or whose prices contradict each other.
    pub bad: usize,
    /// Rows of a bar that a later row tells of too.
    pub repeated: usize,
}

/// A row as it is written.
struct Row {
    /// Wall-clock seconds.
    wall: i64,
    bar: Bar,
}

/// The answer holds no history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHistory;

/// Reads the `result` of a history call.
///
/// # Errors
/// [`NoHistory`].
pub fn read(result: Raw<'_>, segment: Segment, interval: Interval) -> Result<Bars, NoHistory> {
    let raw = result.ok_or(NoHistory)?.get().trim();
    let members: BTreeMap<String, &serde_json::value::RawValue> =
        if raw == "null" || raw == "\"\"" || raw == "[]" {
            return Ok(Bars::default());
        } else {
            serde_json::from_str(raw).map_err(|_| NoHistory)?
        };
    // The first is the broker's spelling.
    let named = ["dataReponse", "dataResponse"].into_iter().find_map(|name| {
        let exact = members.get(name);
        exact.or_else(|| members.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, raw)| raw))
    });
    let mut text = String::new();
    match named {
        None if members.is_empty() => return Ok(Bars::default()),
        None => return Err(NoHistory),
        Some(raw) if raw.get() == "null" => return Ok(Bars::default()),
        Some(raw) => unescape(raw.get(), &mut text).ok_or(NoHistory)?,
    }
    Ok(rows(&text, segment, interval))
}

/// Reads the rows' text.
pub fn rows(text: &str, segment: Segment, interval: Interval) -> Bars {
    let mut read = Bars::default();
    let mut rows = Vec::new();
    for written in text.split(',').map(str::trim).filter(|row| !row.is_empty()) {
        match row(written) {
            Some(row) => rows.push(row),
            None => read.bad += 1,
        }
    }
    // Where a bar is told of twice, the later stamp and the later row knows more of it.
    rows.sort_by_key(|row| row.wall);
    let mut bars = BTreeMap::new();
    let grid = Grid::of(&rows, segment, interval);
    for row in &rows {
        let start = grid.clamped(grid.start(row.wall), row.wall, &bars);
        if bars.insert(start, row.bar).is_some() {
            read.repeated += 1;
        }
    }
    let stamped = |(wall, bar)| Bar { start: UnixNanos::from_secs(wall - IST), ..bar };
    read.bars = bars.into_iter().map(stamped).collect();
    read
}

/// `time|open|high|low|close|volume|oi|`; some leave out the last figure or the last stroke.
fn row(text: &str) -> Option<Row> {
    let fields: Vec<&str> = text.strip_suffix('|').unwrap_or(text).split('|').map(str::trim).collect();
    let (wall, open, high, low, close, volume, interest) = match *fields.as_slice() {
        [wall, open, high, low, close, volume] => (wall, open, high, low, close, volume, "0"),
        [wall, open, high, low, close, volume, ""] => (wall, open, high, low, close, volume, "0"),
        [wall, open, high, low, close, volume, interest] => (wall, open, high, low, close, volume, interest),
        _ => return None,
    };
    let wall = wall.parse().ok().filter(|wall| BELIEVABLE.contains(wall))?;
    let price = |text: &str| price(text).filter(|price| Price::is_positive(*price));
    let (open, high, low, close) = (price(open)?, price(high)?, price(low)?, price(close)?);
    if low > open.min(close) || high < open.max(close) {
        return None;
    }
    let count = |text: &str| whole(text).filter(|count| *count >= 0);
    let (volume, open_interest) = (count(volume)?, count(interest)?);
    Some(Row { wall, bar: Bar { start: UnixNanos::ZERO, open, high, low, close, volume, open_interest } })
}

/// What bars are counted from.
struct Grid {
    segment: Segment,
    interval: Interval,
    from_midnight: bool,
}

impl Grid {
    fn of(rows: &[Row], segment: Segment, interval: Interval) -> Self {
        let mut grid = Self { segment, interval, from_midnight: false };
        if let Interval::Seconds(length) = interval {
            let ends_on =
                |row: &&Row, origin: i64| (row.wall + 1 - origin).rem_euclid(i64::from(length)) == 0;
            let by_midnight = rows.iter().filter(|row| ends_on(row, midnight(row.wall))).count();
            let by_open = rows.iter().filter(|row| ends_on(row, grid.open(row.wall))).count();
            grid.from_midnight = by_midnight > by_open;
        }
        grid
    }

    /// Start of the session on the day of a wall-clock time, as wall-clock time.
    fn open(&self, wall: i64) -> i64 {
        let exchange = match self.segment {
            Segment::NseCash => Exchange::Nse,
            Segment::NseFo => Exchange::Nfo,
            Segment::NseCurrency => Exchange::Cds,
            Segment::BseCash => Exchange::Bse,
            Segment::BseFo => Exchange::Bfo,
            Segment::Mcx => Exchange::Mcx,
        };
        midnight(wall) + Calendar::installed().usual_open(exchange, date(wall)).secs()
    }

    /// Start of the bar that a stamp belongs to, as wall-clock time.
    fn start(&self, wall: i64) -> i64 {
        match self.interval {
            Interval::Seconds(length) => {
                let origin = if self.from_midnight { midnight(wall) } else { self.open(wall) };
                let length = i64::from(length.max(1));
                origin + (wall - origin).div_euclid(length) * length
            }
            Interval::Day => midnight(wall),
            Interval::Week => {
                let since_monday = date(wall).weekday().since(Weekday::Monday);
                midnight(wall) - i64::from(since_monday) * DAY
            }
            Interval::Month => midnight(wall) - i64::from(date(wall).day() - 1) * DAY,
        }
    }

    /// A bar that holds the session's open starts there, unless the day has bars before it.
    fn clamped(&self, start: i64, wall: i64, bars: &BTreeMap<i64, Bar>) -> i64 {
        if !self.interval.is_intraday() || !self.from_midnight {
            return start;
        }
        let open = self.open(wall);
        let has_earlier = bars.range(midnight(wall)..start).next().is_some();
        if start < open && open <= wall && !has_earlier { open } else { start }
    }
}

fn midnight(wall: i64) -> i64 {
    wall.div_euclid(DAY) * DAY
}

fn date(wall: i64) -> Date {
    ist_date(UnixNanos::from_secs(wall - IST))
}

#[cfg(test)]
mod tests;
