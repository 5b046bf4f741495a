//! Bars over the REST interface against the simulator's truth: each once, none twice, at the right
//! instant, across weekends and holidays, and whatever the machine's time zone is.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{Span, ToSpan as _};
use serde_json::{Value, json};

use crate::rest::{Rest, truth_of};
use crate::support::Server;

const IST: i64 = 19_800;

pub(crate) fn today() -> Date {
    let utc = jiff::Timestamp::from_millisecond(crate::support::now_ms() + IST * 1000).unwrap();
    utc.to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// A price as REST gives it, in nanos, to compare with exact text.
fn nanos(value: &Value) -> i64 {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    tickgate::market::Price::parse(text.as_bytes()).unwrap_or_else(|| panic!("no price: {value}")).as_nanos()
}

/// Start of a bar as the interface is to tell it: of days and longer, midnight UTC of the date.
fn told_start(bar: &Value, interval: &str) -> i64 {
    let start = bar["start_s"].as_i64().unwrap();
    if matches!(interval, "D" | "W" | "M") { start + IST } else { start }
}

/// The simulator's bars by the start that is to be told.
pub(crate) fn truth(
    server: &Server,
    exchange: &str,
    symbol: &str,
    interval: &str,
    from: Date,
    to: Date,
) -> BTreeMap<i64, Value> {
    let of = truth_of(&server.sim("/__sim/truth"), exchange, symbol);
    let path = format!(
        "/__sim/bars?segment={}&id={}&interval={interval}&from={from}&to={to}",
        of["segment"], of["id"]
    );
    let view = server.sim(&path);
    let bars = view["bars"].as_array().unwrap();
    let by_start: BTreeMap<_, _> = bars.iter().map(|bar| (told_start(bar, interval), bar.clone())).collect();
    assert_eq!(by_start.len(), bars.len(), "the truth has each once");
    by_start
}

/// Compares all bars of a range that is over. Returns how many there are.
fn check(server: &Server, rest: &Rest, name: (&str, &str), interval: &str, from: Date, to: Date) -> usize {
    let (exchange, symbol) = name;
    let what = format!("{exchange}:{symbol} {interval} {from} to {to}");
    let truth = truth(server, exchange, symbol, interval, from, to);
    assert!(!truth.is_empty(), "{what}: the simulator has bars");
    let body = json!({"exchange": exchange, "symbol": symbol, "interval": interval,
        "start_date": from.to_string(), "end_date": to.to_string()});
    let answer = rest.get("history", body);
    let told = answer["data"].as_array().unwrap();
    let starts: Vec<_> = told.iter().map(|bar| bar["timestamp"].as_i64().unwrap()).collect();
    assert!(starts.windows(2).all(|w| w[0] < w[1]), "{what}: in order, none twice");
    let expected: Vec<_> = truth.keys().copied().collect();
    assert_eq!(starts, expected, "{what}: each at its instant");
    for bar in told {
        let true_bar = &truth[&bar["timestamp"].as_i64().unwrap()];
        for member in ["open", "high", "low", "close"] {
            assert_eq!(nanos(&bar[member]), nanos(&true_bar[member]), "{what} {member}: {bar} {true_bar}");
        }
        assert_eq!(bar["volume"], true_bar["volume"], "{what}: {bar} {true_bar}");
    }
    told.len()
}

fn advertised(rest: &Rest) -> Vec<String> {
    let answer = rest.get("intervals", json!({}));
    let lists = answer["data"].as_object().unwrap().values();
    lists.flat_map(|list| list.as_array().unwrap()).map(|i| i.as_str().unwrap().to_owned()).collect()
}

/// Thirty days that are over, or what one request may span of very short bars.
fn range(interval: &str) -> (Date, Date) {
    let to = today().saturating_sub(1.days());
    let back: Span = if interval == "1s" { 3.days() } else { 29.days() };
    (to.saturating_sub(back), to)
}

fn server_in(zone: &str) -> (Server, Rest) {
    let server = Server::start(&[("TZ", zone), ("TICKGATE_GATEWAY__API_RATE_PER_S", "0")]);
    server.wait_ready();
    let rest = Rest::of(&server, "feed");
    (server, rest)
}

#[test]
fn every_interval_has_each_bar_once_on_a_machine_in_new_york() {
    let (server, rest) = server_in("America/New_York");
    let intervals = advertised(&rest);
    for needed in ["1s", "1m", "5m", "15m", "30m", "1h", "D"] {
        assert!(intervals.iter().any(|i| i == needed), "{needed} is advertised: {intervals:?}");
    }
    for interval in &intervals {
        let (mut from, mut to) = range(interval);
        if interval == "W" {
            // Whole weeks: what a cut one holds is nobody's truth.
            from = from.saturating_sub(60.days());
            from = from.saturating_sub(i64::from(from.weekday().to_monday_zero_offset()).days());
            to = to.saturating_sub((i64::from(to.weekday().to_monday_zero_offset()) + 1).days());
        }
        if interval == "M" {
            from = from.saturating_sub(6.months()).first_of_month();
            to = to.first_of_month().saturating_sub(1.days());
        }
        let bars = check(&server, &rest, ("NSE", "RELIANCE"), interval, from, to);
        eprintln!("{interval}: {bars} bars from {from} to {to}");
    }
    // A market with other hours, and lengths that are made of shorter ones.
    let truth = server.sim("/__sim/truth");
    let listed = truth["instruments"].as_array().unwrap().iter();
    let gold =
        listed.filter(|i| i["exchange"] == "MCX").map(|i| i["symbol"].as_str().unwrap()).next().unwrap();
    for (name, interval) in [(("MCX", gold), "1h"), (("MCX", gold), "D"), (("NSE_INDEX", "NIFTY"), "20m")] {
        let (from, to) = range(interval);
        check(&server, &rest, name, interval, from, to);
    }
}

#[test]
fn bars_are_where_they_belong_on_a_machine_in_utc() {
    let (server, rest) = server_in("UTC");
    for interval in ["5m", "D"] {
        let (from, to) = range(interval);
        check(&server, &rest, ("NSE", "RELIANCE"), interval, from, to);
    }
    // The first bar of a trading day starts at 09:15 in India, a day's bar on its bare date.
    let (from, to) = range("D");
    let days: Vec<_> = truth(&server, "NSE", "RELIANCE", "D", from, to).into_keys().collect();
    assert!(days.len() < 30 && days.iter().all(|start| start % 86_400 == 0), "{days:?}");
    let intraday = truth(&server, "NSE", "RELIANCE", "5m", from, to);
    for day in days {
        assert!(intraday.contains_key(&(day - IST + 9 * 3600 + 15 * 60)), "{day}");
    }
}

/// A range that ends today: the growing bar may be there too, everything that is over must be.
#[test]
fn a_range_that_ends_today_misses_and_repeats_nothing() {
    let (server, rest) = server_in("Asia/Kolkata");
    let (from, to) = (today().saturating_sub(8.days()), today());
    for interval in ["1m", "D"] {
        let before = truth(&server, "NSE", "RELIANCE", interval, from, to);
        let body = json!({"exchange": "NSE", "symbol": "RELIANCE", "interval": interval,
            "start_date": from.to_string(), "end_date": to.to_string()});
        let answer = rest.get("history", body);
        let bars = answer["data"].as_array().unwrap();
        let starts: Vec<_> = bars.iter().map(|bar| bar["timestamp"].as_i64().unwrap()).collect();
        assert!(starts.windows(2).all(|w| w[0] < w[1]), "{interval}: in order, none twice");
        let after = truth(&server, "NSE", "RELIANCE", interval, from, to);
        assert!(before.keys().all(|start| starts.contains(start)), "{interval}: none is missing");
        let growing = starts.iter().filter(|start| !after.contains_key(start)).count();
        assert!(growing <= 1, "{interval}: {growing} bars are nobody's");
    }
}
