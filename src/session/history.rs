//! Bars of any range of days: cut into what the broker takes at once, put together, and today's growing bar
//! added. Not a bar's wire form.

use std::time::Duration;

use futures::FutureExt as _;
use jiff::ToSpan as _;
use jiff::civil::Date;

use crate::broker::Error;
use crate::clock::UnixNanos;
use crate::market::calendar::{ist_date, ist_midnight};
use crate::market::{Bar, InstrumentId, Interval, Kind, Quote, Tick, TickBody};
use crate::session::messages::Asker;
use crate::session::{CallError, SessionHandle};
use crate::token::Product;

/// Requests that one question may lead to: each waits its turn at the broker.
const MAX_REQUESTS: usize = 120;
/// Days in one request, whatever the broker takes; far beyond any history.
const MAX_DAYS: u32 = 100_000;
/// For all of them together.
const PATIENCE: Duration = Duration::from_mins(2);

/// A range of days, ends included.
type Days = (Date, Date);

impl SessionHandle {
    /// The intervals that [`Self::history`] knows.
    pub fn intervals(&self) -> &'static [Interval] {
        self.shared.deps.broker.intervals()
    }

    /// Bars from the start of the IST day `from` to the end of the day `to`, oldest first, each once.
    ///
    /// XTS leaves out the daily bar of today; if the market has traded, it is made of the quote. Whether the
    /// bars of this week and month hold today is judged by the daily ones: a broker without today's bar is taken
    /// to leave today out of the longer ones too, and the quote is merged into them.
    ///
    /// # Errors
    /// Any [`CallError`]; one failed request fails the call.
    pub async fn history(
        &self,
        instrument: InstrumentId,
        interval: Interval,
        from: Date,
        to: Date,
    ) -> Result<Vec<Bar>, CallError> {
        if !self.intervals().contains(&interval) {
            return Err(CallError::Range(format!("the broker has no bars of interval {interval}")));
        }
        let today = ist_date(self.shared.now());
        let most = self.shared.deps.broker.history_days(interval);
        // A week or month is asked for as a whole: a part of it would be shown as all of it.
        let from = if from > to { from } else { first_day(interval, from) };
        let slices = slices(from, to, today, interval, most)?;
        let reading = async {
            let mut bars = Vec::new();
            for days in slices {
                bars.extend(self.slice(instrument, interval, days).await?);
            }
            tidy(&mut bars, interval, (from, to));
            if !interval.is_intraday() && from <= today && today <= to {
                self.add_today(instrument, interval, today, &mut bars).await?;
            }
            Ok(bars)
        };
        let late = || Err(Error::Network("the bars did not come in time".to_owned()).into());
        tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| late())
    }

    async fn slice(
        &self,
        instrument: InstrumentId,
        interval: Interval,
        (from, to): Days,
    ) -> Result<Vec<Bar>, CallError> {
        self.read(Asker::Call("history"), Product::Market, move |broker, token| {
            async move { broker.history(&token, instrument, interval, from, to).await }.boxed()
        })
        .await
    }

    async fn add_today(
        &self,
        instrument: InstrumentId,
        interval: Interval,
        today: Date,
        bars: &mut Vec<Bar>,
    ) -> Result<(), CallError> {
        let has_today = |bars: &[Bar]| bars.iter().any(|bar| ist_date(bar.start) == today);
        let there = if interval == Interval::Day {
            has_today(bars)
        } else {
            self.intervals().contains(&Interval::Day)
                && has_today(&self.slice(instrument, Interval::Day, (today, today)).await?)
        };
        if there {
            return Ok(());
        }
        let ticks = self.quotes(Kind::Quote, &[instrument]).await?;
        if let Some(bar) = ticks.iter().find_map(|tick| growing(tick, today)) {
            // As it was at the last bar, where the broker does not tell.
            let known = bars.last().map_or(0, |bar| bar.open_interest);
            let open_interest = self.open_interest(instrument).await.unwrap_or(known);
            merge(bars, Bar { start: ist_midnight(first_day(interval, today)), open_interest, ..bar });
        }
        Ok(())
    }
}

impl SessionHandle {
    /// Open interest now; `None` where there is none, or it cannot be had.
    async fn open_interest(&self, instrument: InstrumentId) -> Option<i64> {
        if !instrument.segment.has_open_interest() {
            return None;
        }
        let ticks = self.quotes(Kind::OpenInterest, &[instrument]).await.ok()?;
        ticks.iter().find_map(|tick| match tick.body {
            TickBody::OpenInterest(interest) => Some(interest.open_interest),
            _ => None,
        })
    }
}

/// Cuts a range into requests of at most `most` days: no day missing, none twice, none after today. Weeks and
/// months are not cut, else each part would bring a bar of its own.
fn slices(from: Date, to: Date, today: Date, interval: Interval, most: u32) -> Result<Vec<Days>, CallError> {
    if from > to {
        return Err(CallError::Range(format!("the range ends on {to}, before it starts on {from}")));
    }
    let to = to.min(today);
    let least = match interval {
        Interval::Week => 7,
        Interval::Month => 31,
        Interval::Seconds(_) | Interval::Day => 1,
    };
    let most = i64::from(most.clamp(least, MAX_DAYS));
    let mut slices = Vec::new();
    let mut start = from;
    while start <= to {
        if slices.len() >= MAX_REQUESTS {
            return Err(CallError::Range(format!(
                "{from} to {to} is too long at interval {interval}: at most {} days at once",
                most * MAX_REQUESTS as i64
            )));
        }
        // Saturating: the calendar itself has an end.
        let mut end = start.saturating_add((most - 1).days()).min(to);
        if end < to {
            let whole = match interval {
                // Back to a Sunday.
                Interval::Week => end.saturating_sub(i64::from(end.weekday().to_sunday_zero_offset()).days()),
                Interval::Month if end != end.last_of_month() => end.first_of_month().saturating_sub(1.day()),
                Interval::Seconds(_) | Interval::Day | Interval::Month => end,
            };
            if whole >= start {
                end = whole;
            }
        }
        slices.push((start, end));
        if end == Date::MAX {
            break;
        }
        start = end.saturating_add(1.day());
    }
    Ok(slices)
}

/// Sorted, each start once, and nothing that was not asked for: some brokers answer beyond the range.
fn tidy(bars: &mut Vec<Bar>, interval: Interval, (from, to): Days) {
    if matches!(interval, Interval::Seconds(_) | Interval::Day) {
        bars.retain(|bar| (from..=to).contains(&ist_date(bar.start)));
    }
    bars.sort_by_key(|bar| bar.start);
    bars.dedup_by_key(|bar| bar.start);
}

/// Today's bar so far; `None` if nothing was traded today.
fn growing(tick: &Tick, today: Date) -> Option<Bar> {
    let TickBody::Quote(Quote { last, open, high, low, volume, .. }) = tick.body else { return None };
    // An index is never traded itself; its message has a time all the same.
    let at = if last.time == UnixNanos::ZERO { tick.ts_event } else { last.time };
    let is_whole = open.is_positive() && high.is_positive() && low.is_positive();
    (is_whole && at != UnixNanos::ZERO && ist_date(at) == today).then(|| Bar {
        open,
        high,
        low,
        close: last.price,
        volume,
        ..Bar::default()
    })
}

/// Adds what was traded today to the bar of its period, or begins that.
fn merge(bars: &mut Vec<Bar>, today: Bar) {
    match bars.last_mut() {
        // A broker may stamp a period by its first day of trading.
        Some(last) if last.start >= today.start => {
            last.high = last.high.max(today.high);
            last.low = last.low.min(today.low);
            last.close = today.close;
            last.volume = last.volume.saturating_add(today.volume);
            last.open_interest = today.open_interest;
        }
        _ => bars.push(today),
    }
}

/// The first day of the period that holds a day.
fn first_day(interval: Interval, day: Date) -> Date {
    match interval {
        Interval::Week => day.saturating_sub(i64::from(day.weekday().to_monday_zero_offset()).days()),
        Interval::Month => day.first_of_month(),
        Interval::Seconds(_) | Interval::Day => day,
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    const FAR: Date = date(2099, 1, 1);
    const MINUTE: Interval = Interval::minutes(1);

    #[test]
    fn ranges_are_cut_at_whole_days() {
        let cut = |from, to, most| slices(from, to, FAR, MINUTE, most).unwrap();
        let (first, eighth) = (date(2026, 1, 28), date(2026, 2, 4));
        assert_eq!(cut(first, first, 7), [(first, first)]);
        assert_eq!(cut(first, date(2026, 2, 3), 7), [(first, date(2026, 2, 3))]);
        // Seven days end on the sixth after the first: the next slice begins the day after, not on it.
        assert_eq!(cut(first, eighth, 7), [(first, date(2026, 2, 3)), (eighth, eighth)]);
        assert_eq!(cut(date(2028, 2, 28), date(2028, 3, 1), 1).len(), 3);
        assert_eq!(slices(first, FAR, first, MINUTE, 7).unwrap(), [(first, first)], "nothing after today");
        assert_eq!(slices(eighth, FAR, first, MINUTE, 7).unwrap(), []);
        assert!(slices(eighth, first, FAR, MINUTE, 7).is_err());
        assert!(slices(Date::MIN, FAR, FAR, MINUTE, 7).is_err());
        assert_eq!(slices(Date::MAX, Date::MAX, Date::MAX, MINUTE, u32::MAX).unwrap().len(), 1);
    }

    #[test]
    fn weeks_and_months_stay_whole() {
        let weeks = slices(date(2026, 2, 4), date(2026, 2, 26), FAR, Interval::Week, 10).unwrap();
        // Sundays.
        assert_eq!(
            weeks.iter().map(|w| w.1).collect::<Vec<_>>(),
            [date(2026, 2, 8), date(2026, 2, 15), date(2026, 2, 22), date(2026, 2, 26)]
        );
        let months = slices(date(2026, 1, 15), date(2026, 4, 2), FAR, Interval::Month, 1).unwrap();
        assert_eq!(
            months.iter().map(|m| m.1).collect::<Vec<_>>(),
            [date(2026, 1, 31), date(2026, 2, 28), date(2026, 3, 31), date(2026, 4, 2)]
        );
    }

    #[test]
    fn periods_begin_at_midnight_in_india() {
        let day = date(2026, 2, 10);
        assert_eq!(ist_midnight(day), UnixNanos::from_secs(1_770_661_800));
        assert_eq!(first_day(Interval::Week, day), date(2026, 2, 9));
        assert_eq!(first_day(Interval::Month, day), date(2026, 2, 1));
        assert_eq!(first_day(Interval::Day, day), day);
    }

    proptest! {
        #[test]
        fn slices_cover_every_day_once(start in 0..3000_i64, days in 0..500_i64, most in 0..40_u32, kind in 0..4_usize) {
            let from = date(2020, 1, 1).saturating_add(start.days());
            let to = from.saturating_add(days.days());
            let interval = [MINUTE, Interval::Day, Interval::Week, Interval::Month][kind];
            let longest = i64::from(most.max([1, 1, 7, 31][kind]));
            match slices(from, to, FAR, interval, most) {
                Err(_) => prop_assert!(days + 1 > longest.min(3) * MAX_REQUESTS as i64 / 3),
                Ok(slices) => {
                    let mut next = from;
                    for (start, end) in slices {
                        prop_assert_eq!(start, next);
                        prop_assert!(start <= end && end <= to);
                        prop_assert!(end.saturating_sub((longest - 1).days()) <= start);
                        next = end.saturating_add(1.day());
                    }
                    prop_assert_eq!(next, to.saturating_add(1.day()));
                }
            }
        }
    }
}
