//! When an instrument list is too old: each day on which anything trades brings a new one.
//! Pure; the time comes in, and nothing is downloaded here.

use std::time::Duration;

use crate::clock::UnixNanos;
use crate::market::{Calendar, TimeOfDay};
use crate::session::night::{next_planned, rest_until};
use crate::session::settings::Settings;

/// The morning's time where no login is planned: before the first exchange opens, at 09:00.
const MORNING: Option<TimeOfDay> = TimeOfDay::new(8, 40);
/// The day's planned login comes first.
const AFTER_LOGIN: Duration = Duration::from_secs(15);

/// When the list that follows one downloaded at `downloaded_at` is due: after the planned login of the
/// next day on which anything trades, or shortly before the first exchange opens if that is earlier.
pub(super) fn next_due(settings: &Settings, calendar: Calendar, downloaded_at: UnixNanos) -> UnixNanos {
    // A list of the hours between the cut-off and the morning may still be the day before's.
    let cutoff = settings.daily_cutoff_ist.last(downloaded_at);
    let next = settings.daily_cutoff_ist.next(downloaded_at);
    let due = morning_after(settings, calendar, cutoff);
    if due > downloaded_at { due } else { morning_after(settings, calendar, next) }
}

/// When the first day of trading after this cut-off begins for us.
fn morning_after(settings: &Settings, calendar: Calendar, cutoff: UnixNanos) -> UnixNanos {
    let planned = settings.planned_login_ist.or(MORNING);
    let morning = planned.and_then(|planned| {
        // Without a rest something is open at the cut-off, such as a simulated market.
        rest_until(calendar, planned, cutoff).or_else(|| next_planned(calendar, planned, cutoff))
    });
    morning.unwrap_or(cutoff).plus(AFTER_LOGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixNanos {
        let time: jiff::Timestamp = format!("{text}+05:30").parse().unwrap();
        UnixNanos::from_secs(time.as_second())
    }

    #[track_caller]
    fn check(settings: &Settings, calendar: Calendar, cases: &[(&str, &str)]) {
        for (downloaded, due) in cases {
            let found = next_due(settings, calendar, at(downloaded)).in_india();
            assert_eq!(found, at(due).in_india(), "of {downloaded}");
        }
    }

    #[test]
    fn a_list_is_due_each_trading_morning_after_the_planned_login() {
        let cases = [
            ("2026-02-10T11:00:00", "2026-02-11T08:40:15"),
            ("2026-02-10T08:40:15", "2026-02-11T08:40:15"),
            ("2026-02-10T23:59:00", "2026-02-11T08:40:15"),
            ("2026-02-11T02:59:00", "2026-02-11T08:40:15"),
            // At such an hour the broker's list is the day before's.
            ("2026-02-11T04:00:00", "2026-02-11T08:40:15"),
            ("2026-02-11T08:40:14", "2026-02-11T08:40:15"),
            // A weekend, and the Sunday on which markets opened.
            ("2026-02-13T08:41:00", "2026-02-16T08:40:15"),
            ("2026-02-14T12:00:00", "2026-02-16T08:40:15"),
            ("2026-01-31T12:00:00", "2026-02-01T08:40:15"),
            // A holiday with an evening session of MCX.
            ("2026-03-02T09:00:00", "2026-03-03T16:40:15"),
            ("2026-03-03T17:00:00", "2026-03-04T08:40:15"),
        ];
        check(&Settings::default(), Calendar::new(), &cases);
    }

    #[test]
    fn a_market_that_never_closes_has_its_morning_each_day() {
        let cases = [
            ("2026-02-13T11:00:00", "2026-02-14T08:40:15"),
            ("2026-02-14T08:40:15", "2026-02-15T08:40:15"),
            ("2026-02-15T01:00:00", "2026-02-15T08:40:15"),
        ];
        check(&Settings::default(), Calendar::always_open(), &cases);
    }

    #[test]
    fn without_a_plan_or_with_a_late_one_it_is_in_time_for_the_open() {
        for planned_login_ist in [None, TimeOfDay::new(10, 0), TimeOfDay::new(2, 0)] {
            let settings = Settings { planned_login_ist, ..Settings::default() };
            check(&settings, Calendar::new(), &[("2026-02-10T11:00:00", "2026-02-11T08:40:15")]);
        }
        let early = Settings { planned_login_ist: TimeOfDay::new(7, 0), ..Settings::default() };
        check(&early, Calendar::new(), &[("2026-02-10T11:00:00", "2026-02-11T07:00:15")]);
    }
}
