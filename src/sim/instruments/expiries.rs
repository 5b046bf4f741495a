//! Expiry dates of derivatives from today's date. Not a calendar; holidays come from
//! `market::Calendar`.
//!
//! NSE contracts expire on Tuesdays and BSE contracts on Thursdays (the exchanges' circulars of
//! mid-2025), or on the trading day before if that is a holiday.

use jiff::ToSpan as _;
use jiff::civil::{Date, Weekday};

use crate::market::{Calendar, Exchange};

/// Weekly expiries after `today`, soonest first.
pub(super) fn weekly(today: Date, exchange: Exchange, weekday: Weekday, count: usize) -> Vec<Date> {
    let mut found = Vec::with_capacity(count);
    // The week's day itself may lie ahead while its holiday-shifted expiry has passed.
    let mut day = today.saturating_sub(1.day()).nth_weekday(1, weekday).unwrap_or(today);
    while found.len() < count {
        let expiry = on_trading_day(day, exchange);
        if expiry > today {
            found.push(expiry);
        }
        day = day.saturating_add(7.days());
    }
    found
}

/// The month's last `weekday`, for the months whose expiry is after `today`.
pub(super) fn monthly(today: Date, exchange: Exchange, weekday: Weekday, count: usize) -> Vec<Date> {
    by_month(today, exchange, count, |first| first.nth_weekday_of_month(-1, weekday).unwrap_or(first))
}

/// The `day`-th of a month, at most 28, or the trading day before.
pub(super) fn day_of_month(today: Date, exchange: Exchange, day: i8, count: usize) -> Vec<Date> {
    by_month(today, exchange, count, |first| first.saturating_add(i64::from(day - 1).days()))
}

fn by_month(today: Date, exchange: Exchange, count: usize, pick: impl Fn(Date) -> Date) -> Vec<Date> {
    let mut found = Vec::with_capacity(count);
    let mut first = today.first_of_month();
    while found.len() < count {
        let expiry = on_trading_day(pick(first), exchange);
        if expiry > today {
            found.push(expiry);
        }
        first = first.saturating_add(1.month());
    }
    found
}

fn on_trading_day(mut day: Date, exchange: Exchange) -> Date {
    let calendar = Calendar::installed();
    // No run of holidays is that long; the bound keeps a faulty calendar from hanging us.
    for _ in 0..14 {
        if calendar.trades_on(exchange, day) {
            break;
        }
        day = day.saturating_sub(1.day());
    }
    day
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn known_expiries() {
        // A Tuesday: its own contract is over for us, since expiries lie in the future.
        let tuesday = date(2026, 2, 10);
        assert_eq!(
            weekly(tuesday, Exchange::Nfo, Weekday::Tuesday, 2),
            [date(2026, 2, 17), date(2026, 2, 24)]
        );
        assert_eq!(
            monthly(tuesday, Exchange::Nfo, Weekday::Tuesday, 2),
            // 31 March is a holiday.
            [date(2026, 2, 24), date(2026, 3, 30)]
        );
        assert_eq!(weekly(tuesday, Exchange::Bfo, Weekday::Thursday, 1), [date(2026, 2, 12)]);
        assert_eq!(day_of_month(tuesday, Exchange::Mcx, 19, 1), [date(2026, 2, 19)]);
        // The eve of a holiday Tuesday: that week's contract ends today.
        assert_eq!(weekly(date(2026, 11, 9), Exchange::Nfo, Weekday::Tuesday, 1), [date(2026, 11, 17)]);
    }

    #[test]
    fn every_date_has_expiries_in_the_future_and_in_order() {
        let mut today = date(2026, 1, 1);
        while today < date(2028, 2, 1) {
            for found in [
                weekly(today, Exchange::Nfo, Weekday::Tuesday, 3),
                monthly(today, Exchange::Nfo, Weekday::Tuesday, 3),
                day_of_month(today, Exchange::Mcx, 28, 3),
            ] {
                assert_eq!(found.len(), 3);
                assert!(today < found[0] && found[0] < found[1] && found[1] < found[2], "{today} {found:?}");
            }
            today = today.tomorrow().unwrap();
        }
    }
}
