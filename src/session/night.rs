//! When a login can wait: the hours in which nothing trades, and the day's planned login.
//! Pure; the time comes in.

use std::time::Duration;

use crate::clock::UnixNanos;
use crate::market::calendar::{ist_date, next_at};
use crate::market::{Calendar, Exchange, MarketState, TimeOfDay};

/// Longest row of days without trading that is looked through.
const MOST_DAYS: usize = 14;
/// Before an exchange opens, logins rest no more.
const LEAD: Duration = Duration::from_mins(20);

/// The next planned login after `now`: at `time`, on a trading day.
pub(crate) fn next_planned(calendar: Calendar, time: TimeOfDay, now: UnixNanos) -> Option<UnixNanos> {
    let mut at = now;
    for _ in 0..MOST_DAYS {
        at = next_at(at, time);
        if calendar.is_trading_day(ist_date(at)) {
            return Some(at);
        }
    }
    None
}

/// Until when whoever can wait for a token does: until the next planned login, or until shortly
/// before an exchange opens if that comes first. `None` while any exchange is open or about to be.
///
/// Why: brokers end sessions and restart servers at night, at hours of their own. A login then
/// may have to be made again in the morning, and nobody would have used it.
pub(crate) fn rest_until(calendar: Calendar, planned: TimeOfDay, now: UnixNanos) -> Option<UnixNanos> {
    let is_closed = |exchange: &Exchange| calendar.state(*exchange, now) == MarketState::Closed;
    if !Exchange::ALL.iter().all(is_closed) {
        return None;
    }
    let planned = next_planned(calendar, planned, now)?;
    let until = match next_open(calendar, now, planned) {
        Some(open) => planned.min(open.minus(LEAD)),
        None => planned,
    };
    (until > now).then_some(until)
}

/// When the first exchange opens after `now` and before `end`.
fn next_open(calendar: Calendar, now: UnixNanos, end: UnixNanos) -> Option<UnixNanos> {
    let midnight = TimeOfDay::new(0, 0)?;
    // The midnight that begins today.
    let mut day = next_at(now, midnight).minus(Duration::from_hours(24));
    while day < end {
        let date = ist_date(day);
        let opens = Exchange::ALL.iter().filter_map(|exchange| {
            let session = calendar.session(*exchange, date)?;
            let minutes = session.pre_open.unwrap_or(session.open).minutes();
            Some(day.plus(Duration::from_mins(u64::from(minutes))))
        });
        if let Some(open) = opens.filter(|open| *open > now && *open < end).min() {
            return Some(open);
        }
        day = day.plus(Duration::from_hours(24));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixNanos {
        let time: jiff::Timestamp = format!("{text}:00+05:30").parse().unwrap();
        UnixNanos::from_secs(time.as_second())
    }

    fn rest(now: &str) -> Option<UnixNanos> {
        rest_until(Calendar::new(), TimeOfDay::new(8, 40).unwrap(), at(now))
    }

    #[test]
    fn a_usual_night_rests_until_the_planned_login() {
        // MCX trades until 23:55 in winter.
        assert_eq!(rest("2026-02-10T23:54"), None);
        for time in ["2026-02-10T23:55", "2026-02-11T02:59", "2026-02-11T03:00", "2026-02-11T08:39"] {
            assert_eq!(rest(time), Some(at("2026-02-11T08:40")), "{time}");
        }
        for time in ["2026-02-11T08:40", "2026-02-11T08:55", "2026-02-11T09:20", "2026-02-11T16:00"] {
            assert_eq!(rest(time), None, "{time}");
        }
    }

    #[test]
    fn a_weekend_rests_until_monday_and_a_special_sunday_does_not() {
        assert_eq!(rest("2026-02-14T12:00"), Some(at("2026-02-16T08:40")));
        assert_eq!(rest("2026-01-31T12:00"), Some(at("2026-02-01T08:40")));
    }

    #[test]
    fn an_evening_session_on_a_holiday_ends_the_rest_early() {
        // 3 March 2026: equities closed, MCX from 17:00.
        assert_eq!(rest("2026-03-03T04:00"), Some(at("2026-03-03T16:40")));
        assert_eq!(rest("2026-03-03T16:40"), None);
        assert_eq!(rest("2026-03-03T17:10"), None);
        assert_eq!(rest("2026-03-04T00:10"), Some(at("2026-03-04T08:40")));
    }

    #[test]
    fn a_market_that_never_closes_never_rests() {
        let time = TimeOfDay::new(8, 40).unwrap();
        assert_eq!(rest_until(Calendar::always_open(), time, at("2026-02-11T03:00")), None);
    }

    #[test]
    fn a_plan_late_in_the_day_does_not_hold_the_open_up() {
        let late = TimeOfDay::new(10, 0).unwrap();
        let calendar = Calendar::new();
        assert_eq!(rest_until(calendar, late, at("2026-02-11T04:00")), Some(at("2026-02-11T08:40")));
        assert_eq!(next_planned(calendar, late, at("2026-02-11T04:00")), Some(at("2026-02-11T10:00")));
        assert_eq!(next_planned(calendar, late, at("2026-02-13T10:00")), Some(at("2026-02-16T10:00")));
    }
}
