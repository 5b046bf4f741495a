//! Bars: asked for slice by slice, each once, with today's growing one.

use jiff::civil::{Date, date};

use super::*;
use crate::market::{Bar, Interval, LastTrade, Price, Quote};
use crate::session::CallError;
use crate::token::Product;

const TODAY: Date = date(2026, 2, 10);

/// A bar that starts so many days before midnight of the test's day, in India.
fn bar(days_ago: i64, volume: i64) -> Bar {
    let start = UnixNanos::from_secs(1_770_661_800 - days_ago * 86_400);
    let price = Price::from_rupees(100);
    Bar { start, open: price, high: price, low: price, close: price, volume, open_interest: 0 }
}

fn touchline(time: UnixNanos) -> Quote {
    let last = LastTrade { price: Price::from_rupees(104), size: 1, time };
    let price = Price::from_rupees;
    Quote { last, open: price(101), high: price(105), low: price(99), volume: 7, ..Quote::default() }
}

#[test]
fn a_long_range_is_asked_for_in_slices_and_comes_once() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().history_days = 7;
        outside.broker.world().bars = (0..20).map(|day| bar(day, day)).collect();
        let process = outside.process();
        // The broker loses its session in between.
        process.session.history(RELIANCE, Interval::minutes(1), TODAY, TODAY).await.expect("bars");
        outside.broker.world().slices.clear();
        outside.broker.world().tokens[Product::Market as usize] = None;
        let from = date(2026, 1, 27);
        let bars = process
            .session
            .history(RELIANCE, Interval::minutes(1), from, date(2026, 3, 1))
            .await
            .expect("bars");
        assert_eq!(bars.iter().map(|bar| bar.volume).collect::<Vec<_>>(), (0..15).rev().collect::<Vec<_>>());
        assert_eq!(
            outside.broker.world().slices,
            [(from, date(2026, 2, 2)), (date(2026, 2, 3), date(2026, 2, 9)), (TODAY, TODAY)]
        );
    });
}

#[test]
fn todays_bar_comes_from_the_quote_if_something_was_traded_today() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().bars = vec![bar(1, 50)];
        let process = outside.process();
        let session = &process.session;
        let days = |from, to| session.history(RELIANCE, Interval::Day, from, to);
        let yesterday = date(2026, 2, 9);

        outside.broker.world().touchline = Some(touchline(START));
        let bars = days(yesterday, TODAY).await.expect("bars");
        let price = Price::from_rupees;
        let today =
            Bar { open: price(101), high: price(105), low: price(99), close: price(104), ..bar(0, 7) };
        assert_eq!(bars, [bar(1, 50), today]);
        assert_eq!(days(yesterday, yesterday).await.expect("bars"), [bar(1, 50)], "today was not asked for");

        // This week's bar, of a broker that leaves today out: 9 February is a Monday.
        let week = session.history(RELIANCE, Interval::Week, yesterday, TODAY).await.expect("bars");
        let merged = Bar { open: price(100), start: bar(1, 0).start, volume: 57, ..today };
        assert_eq!(week, [merged]);
        // From the middle of the week it is the same bar.
        assert_eq!(session.history(RELIANCE, Interval::Week, TODAY, TODAY).await.expect("bars"), [merged]);

        outside.broker.world().touchline = Some(touchline(START.minus(Duration::from_hours(24))));
        assert_eq!(days(yesterday, TODAY).await.expect("bars"), [bar(1, 50)], "nothing was traded today");

        // A broker that has today's bar itself.
        outside.broker.world().touchline = Some(touchline(START));
        outside.broker.world().bars = vec![bar(1, 50), bar(0, 3)];
        assert_eq!(days(yesterday, TODAY).await.expect("bars"), [bar(1, 50), bar(0, 3)]);
    });
}

#[test]
fn what_cannot_be_is_not_asked_for() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        let session = &process.session;
        for (interval, from, to) in [
            (Interval::Day, TODAY, date(2026, 2, 9)),
            (Interval::Seconds(7), TODAY, TODAY),
            (Interval::minutes(1), date(1990, 1, 1), TODAY),
        ] {
            let answer = session.history(RELIANCE, interval, from, to).await;
            assert!(matches!(answer, Err(CallError::Range(_))), "{answer:?}");
        }
        let tomorrow = date(2026, 2, 11);
        assert_eq!(session.history(RELIANCE, Interval::Day, tomorrow, tomorrow).await.expect("none yet"), []);
        assert_eq!(outside.broker.world().slices, []);
    });
}
