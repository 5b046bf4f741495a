//! Bars of the past, made up: the same for a seed, an instrument and a day, whenever asked. A
//! longer bar is the aggregate of its minutes, a minute the aggregate of its seconds.
//!
//! Independent of the live walk: both are drawn around the same price, but today's bars do not
//! repeat what the feed sent. Only minutes that are over are told. Not how the venue writes
//! bars; that is `core::history`.

use jiff::ToSpan as _;
use jiff::civil::{Date, Weekday};

use crate::clock::UnixNanos;
use crate::market::calendar::ist_date;
use crate::market::{Bar, Calendar, Exchange, InstrumentId, Interval, Price};
use crate::sim::instruments::{Kind, Listing};

/// How far back there are bars.
const DAYS_BACK: i64 = 600;

const MINUTE: i64 = 60;

/// The bars of one instrument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct History {
    seed: u64,
    exchange: Exchange,
    tick: i64,
    lot: i64,
    /// In ticks: what prices are drawn to.
    base: i64,
    is_index: bool,
    has_open_interest: bool,
}

impl History {
    pub(crate) fn of(listing: &Listing, seed: u64) -> Self {
        let InstrumentId { segment, code } = listing.id;
        let tick = listing.tick.as_nanos();
        Self {
            seed: mix(seed ^ (u64::from(segment.number()) << 40) ^ u64::from(code)),
            exchange: listing.exchange,
            tick,
            lot: i64::from(listing.lot),
            base: (listing.base.as_nanos() / tick).max(1),
            is_index: listing.kind == Kind::Index,
            has_open_interest: segment.has_open_interest(),
        }
    }

    /// The bars that start within `from` and `to`, both included, and are over at `now`. Of days
    /// and longer, those whose first day lies within the dates of `from` and `to`, of days
    /// before today.
    pub(crate) fn bars(
        &self,
        interval: Interval,
        from: UnixNanos,
        to: UnixNanos,
        now: UnixNanos,
    ) -> Vec<Bar> {
        let today = ist_date(now);
        let oldest = today.saturating_sub(DAYS_BACK.days());
        let (first, last) = (ist_date(from).max(oldest), ist_date(to).min(today));
        match interval {
            Interval::Seconds(seconds) => {
                let mut found = Vec::new();
                for day in days(first, last) {
                    found.extend(self.intraday(day, i64::from(seconds.max(1)), now));
                }
                found.retain(|bar| from <= bar.start && bar.start <= to);
                found
            }
            Interval::Day => self.daily(first, last, today),
            Interval::Week => self.grouped(first, last, today, |day| {
                day.saturating_sub(i64::from(day.weekday().since(Weekday::Monday)).days())
            }),
            Interval::Month => self.grouped(first, last, today, Date::first_of_month),
        }
    }

    fn daily(&self, first: Date, last: Date, today: Date) -> Vec<Bar> {
        let whole = |day: Date| {
            let (open, close) = self.session(day)?;
            let minutes = (open..close).step_by(MINUTE as usize).filter_map(|at| self.minute(at));
            join(minutes, midnight(day))
        };
        days(first, last).filter(|&day| day < today).filter_map(whole).collect()
    }

    /// Days together, by the first day of their group.
    fn grouped(&self, first: Date, last: Date, today: Date, start: impl Fn(Date) -> Date) -> Vec<Bar> {
        // The group of the last day is told as a whole.
        let end = last.saturating_add(31.days());
        let mut found: Vec<Bar> = Vec::new();
        let mut current: Option<(Date, Vec<Bar>)> = None;
        for day in days(first, end.min(today)) {
            let group = start(day);
            if group < first || group > last {
                continue;
            }
            if current.as_ref().is_some_and(|(open, _)| *open != group)
                && let Some((open, bars)) = current.take()
            {
                found.extend(join(bars.into_iter(), midnight(open)));
            }
            let (_, bars) = current.get_or_insert_with(|| (group, Vec::new()));
            bars.extend(self.daily(day, day, today));
        }
        if let Some((open, bars)) = current {
            found.extend(join(bars.into_iter(), midnight(open)));
        }
        found
    }

    /// The day's bars of so many seconds, counted from the session's start.
    fn intraday(&self, day: Date, seconds: i64, now: UnixNanos) -> Vec<Bar> {
        let Some((open, close)) = self.session(day) else { return Vec::new() };
        let mut found = Vec::new();
        let mut start = open;
        while start < close {
            let end = (start + seconds).min(close);
            if end > now.as_secs() {
                break;
            }
            let stamp = UnixNanos::from_secs(start);
            if seconds % MINUTE == 0 {
                let minutes = (start..end).step_by(MINUTE as usize).filter_map(|at| self.minute(at));
                found.extend(join(minutes, stamp));
            } else {
                // Parts of minutes: those of each minute at once.
                let minute = start - start.rem_euclid(MINUTE);
                let prints = self.prints(minute);
                let within =
                    prints.into_iter().filter(|p| start <= p.start.as_secs() && p.start.as_secs() < end);
                found.extend(join(within, stamp));
            }
            start += seconds;
        }
        found
    }

    /// Start and end of continuous trading.
    fn session(&self, day: Date) -> Option<(i64, i64)> {
        let session = Calendar::installed().session(self.exchange, day)?;
        let midnight = midnight(day).as_secs();
        let at = |minutes: u16| midnight + i64::from(minutes) * MINUTE;
        Some((at(session.open.minutes()), at(session.close.minutes())))
    }

    /// One minute's bar; `None` if nobody traded.
    fn minute(&self, start: i64) -> Option<Bar> {
        let random = self.random(start, 1);
        if !self.is_index && random.is_multiple_of(40) {
            return None;
        }
        let jitter = (random >> 8) as i64 % 3 - 1;
        let open = (self.level(start) + jitter).max(1);
        let close = self.level(start + MINUTE);
        let high = open.max(close) + ((random >> 16) % 4) as i64;
        let low = (open.min(close) - ((random >> 24) % 4) as i64).max(1);
        let volume = if self.is_index { 0 } else { self.lot * (20 + ((random >> 32) % 500) as i64) };
        let open_interest =
            if self.has_open_interest { self.lot * (10_000 + self.noise(start, 900, 2_000)) } else { 0 };
        let price = |ticks: i64| Price::from_nanos(ticks * self.tick);
        Some(Bar {
            start: UnixNanos::from_secs(start),
            open: price(open),
            high: price(high),
            low: price(low),
            close: price(close),
            volume,
            open_interest,
        })
    }

    /// The trades that a minute's bar is made of, at most one a second.
    fn prints(&self, start: i64) -> Vec<Bar> {
        let Some(bar) = self.minute(start) else { return Vec::new() };
        let random = self.random(start, 2);
        let count = 4 + (random % 14) as i64;
        let mut extremes = [bar.high, bar.low];
        if random.is_multiple_of(2) {
            extremes.reverse();
        }
        let part = bar.volume / self.lot / count * self.lot;
        let mut found = Vec::with_capacity(count as usize);
        for nth in 0..count {
            let price = match nth {
                0 => bar.open,
                1 => extremes[0],
                2 => extremes[1],
                _ if nth == count - 1 => bar.close,
                _ => {
                    let span = (bar.high.as_nanos() - bar.low.as_nanos()) / self.tick + 1;
                    let ticks = (self.random(start + nth, 3) % span.unsigned_abs()) as i64;
                    Price::from_nanos(bar.low.as_nanos() + ticks * self.tick)
                }
            };
            let volume = if nth == count - 1 { bar.volume - part * (count - 1) } else { part };
            let at = UnixNanos::from_secs(start + nth * 60 / count);
            found.push(Bar { start: at, open: price, high: price, low: price, close: price, volume, ..bar });
        }
        found
    }

    /// The price at a moment, in ticks: the base, moved by slow and fast noise.
    fn level(&self, at: i64) -> i64 {
        let parts = self.noise(at, 5 * 86_400, 30_000)
            + self.noise(at, 7_200, 8_000)
            + self.noise(at, 900, 3_000)
            + self.noise(at, 120, 800);
        (self.base + (i128::from(self.base) * i128::from(parts) / 1_000_000) as i64).max(1)
    }

    /// Between −`most` and `most`: random values so many seconds apart, and lines between them.
    fn noise(&self, at: i64, apart: i64, most: i64) -> i64 {
        let (cell, within) = (at.div_euclid(apart), at.rem_euclid(apart));
        let value = |cell: i64| {
            let random = self.random(cell, apart.unsigned_abs());
            (random % (2 * most + 1).unsigned_abs()) as i64 - most
        };
        (value(cell) * (apart - within) + value(cell + 1) * within) / apart
    }

    fn random(&self, at: i64, purpose: u64) -> u64 {
        mix(self.seed ^ mix(at.unsigned_abs() ^ (purpose << 44)))
    }
}

/// Bars together as one; `None` of none.
fn join(bars: impl Iterator<Item = Bar>, start: UnixNanos) -> Option<Bar> {
    let whole = bars.reduce(|all, bar| Bar {
        start,
        open: all.open,
        high: all.high.max(bar.high),
        low: all.low.min(bar.low),
        close: bar.close,
        volume: all.volume + bar.volume,
        open_interest: bar.open_interest,
    })?;
    Some(Bar { start, ..whole })
}

fn days(first: Date, last: Date) -> impl Iterator<Item = Date> {
    std::iter::successors(Some(first), |day| day.tomorrow().ok()).take_while(move |&day| day <= last)
}

/// Midnight in India.
pub(crate) fn midnight(day: Date) -> UnixNanos {
    let civil = jiff::tz::Offset::UTC.to_timestamp(day.to_datetime(jiff::civil::Time::midnight()));
    UnixNanos::from_secs(civil.map_or(0, jiff::Timestamp::as_second) - 19_800)
}

/// Spreads bits; the same on every machine.
const fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::civil::date;

    use super::*;
    use crate::market::Segment;
    use crate::sim::instruments::Catalogue;

    /// Tuesday 2026-02-10, 16:00 IST.
    const EVENING: UnixNanos = UnixNanos::from_secs(1_770_719_400);

    fn history(segment: Segment, code: u32, today: Date) -> History {
        let catalogue = Catalogue::build(today);
        let at = catalogue.position(InstrumentId { segment, code }).unwrap();
        History::of(&catalogue.listings()[at], 1)
    }

    fn on(day: Date, interval: Interval, history: &History, now: UnixNanos) -> Vec<Bar> {
        let end = UnixNanos::from_secs(midnight(day).as_secs() + 86_399);
        history.bars(interval, midnight(day), end, now)
    }

    #[test]
    fn longer_bars_are_aggregates_and_nothing_depends_on_when_it_is_asked() {
        let day = date(2026, 2, 10);
        let share = history(Segment::NseCash, 2885, day);
        let minutes = on(day, Interval::minutes(1), &share, EVENING);
        assert!((340..375).contains(&minutes.len()), "{}: some minutes without a trade", minutes.len());
        assert_eq!(minutes[0].start.as_secs(), 1_770_695_100, "09:15 IST");
        for interval in
            [Interval::Seconds(1), Interval::Seconds(10), Interval::minutes(5), Interval::minutes(60)]
        {
            let bars = on(day, interval, &share, EVENING);
            let whole = join(bars.iter().copied(), midnight(day)).unwrap();
            assert_eq!(Some(whole), join(minutes.iter().copied(), midnight(day)), "{interval}");
            let starts: BTreeSet<_> = bars.iter().map(|b| b.start).collect();
            assert_eq!(starts.len(), bars.len());
            for bar in &bars {
                assert!(bar.low <= bar.open.min(bar.close) && bar.high >= bar.open.max(bar.close));
            }
        }
        assert_eq!(on(day, Interval::Day, &share, EVENING), [], "not before it is over");
        let later = UnixNanos::from_secs(EVENING.as_secs() + 40 * 86_400);
        assert_eq!(
            on(day, Interval::Day, &share, later),
            [join(minutes.iter().copied(), midnight(day)).unwrap()]
        );
        let again = history(Segment::NseCash, 2885, date(2026, 3, 20));
        assert_eq!(on(day, Interval::minutes(1), &again, later), minutes);
        assert_ne!(on(day, Interval::minutes(1), &history(Segment::NseCash, 1333, day), later), minutes);
    }

    #[test]
    fn there_are_bars_on_trading_days_alone_and_only_finished_ones() {
        let today = date(2026, 2, 10);
        let share = history(Segment::NseCash, 2885, today);
        // Friday to Tuesday over a weekend; 26 January is a holiday.
        let bars = share.bars(Interval::Day, midnight(date(2026, 1, 23)), EVENING, EVENING);
        let days: Vec<_> = bars.iter().map(|b| ist_date(b.start).to_string()).collect();
        assert_eq!(days[..2], ["2026-01-23", "2026-01-27"]);
        assert_eq!(days.last().unwrap(), "2026-02-09");
        assert!(days.contains(&"2026-02-01".to_owned()), "a Sunday with a session");
        let ten = UnixNanos::from_secs(1_770_697_800 + 30);
        let bars = on(today, Interval::minutes(5), &share, ten);
        assert_eq!(bars.last().unwrap().start.as_secs(), 1_770_697_500, "09:55, at 10:00:30");
        let index = history(Segment::NseCash, 26000, today);
        let bars = on(today, Interval::minutes(1), &index, EVENING);
        assert!(bars.len() == 375 && bars.iter().all(|b| b.volume == 0));
    }

    #[test]
    fn weeks_and_months_start_on_their_first_day() {
        let share = history(Segment::NseCash, 2885, date(2026, 2, 10));
        let from = midnight(date(2025, 12, 29));
        let weeks = share.bars(Interval::Week, from, EVENING, EVENING);
        assert_eq!(ist_date(weeks[0].start), date(2025, 12, 29));
        assert_eq!(ist_date(weeks[6].start), date(2026, 2, 9));
        assert_eq!(weeks.len(), 7);
        let monday = on(date(2026, 2, 9), Interval::Day, &share, EVENING);
        assert_eq!(weeks[6], monday[0], "the week so far");
        let months = share.bars(Interval::Month, from, EVENING, EVENING);
        let starts: Vec<_> = months.iter().map(|m| ist_date(m.start)).collect();
        assert_eq!(starts, [date(2026, 1, 1), date(2026, 2, 1)]);
        let january =
            share.bars(Interval::Day, midnight(date(2026, 1, 1)), midnight(date(2026, 1, 31)), EVENING);
        assert_eq!(months[0].volume, january.iter().map(|b| b.volume).sum::<i64>());
    }
}
