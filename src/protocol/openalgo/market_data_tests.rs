use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::market::Level;

fn price(text: &str) -> Price {
    Price::parse(text.as_bytes()).unwrap()
}

fn sbin() -> Quote {
    Quote {
        last: LastTrade { price: price("769.6"), size: 25, time: UnixNanos::from_millis(1_764_212_345_000) },
        bid: Level { price: price("769.55"), size: 120, orders: 4 },
        ask: Level { price: price("769.6"), size: 767, orders: 9 },
        volume: 9_362_799,
        average: price("766.42"),
        total_buy: 591_351,
        total_sell: 835_701,
        open: price("760"),
        high: price("774"),
        low: price("758.15"),
        close: price("746.9"),
    }
}

fn oi(open_interest: i64) -> Beside {
    Beside { open_interest: Some(open_interest), ..Beside::default() }
}

fn a_bar() -> Bar {
    Bar {
        start: UnixNanos::from_millis(1_764_212_340_000),
        open: price("768"),
        high: price("770.25"),
        low: price("767.9"),
        close: price("769.6"),
        volume: 18_230,
        open_interest: 0,
    }
}

const RECV: UnixNanos = UnixNanos::from_millis(1_764_212_345_123);

fn frame(mode: Mode, write: impl FnOnce(&[u8], &mut Vec<u8>)) -> Value {
    let mut out = Vec::new();
    write(&prefix("SBIN", Exchange::Nse, mode, "jainamxts"), &mut out);
    let text = String::from_utf8(out).unwrap();
    // The AmiBroker plugin takes the first it finds of each.
    assert!(text.find("\"symbol\":").unwrap() < text.find("\"data\":").unwrap(), "{text}");
    assert!(text.find("\"exchange\":").unwrap() < text.find("\"data\":").unwrap(), "{text}");
    assert!(text.find("\"ltp\":").unwrap() < text.find("\"open\":").unwrap_or(usize::MAX), "{text}");
    serde_json::from_str(&text).unwrap()
}

fn bytes(mode: Mode, write: impl FnOnce(&[u8], &mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&prefix("SBIN", Exchange::Nse, mode, "b"), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn to_the_byte() {
    assert_eq!(
        bytes(Mode::Ltp, |p, out| write_ltp(p, &sbin().last, Some(9_362_799), RECV, out)),
        concat!(
            r#"{"type":"market_data","symbol":"SBIN","exchange":"NSE","mode":1,"broker":"b","data":{"symbol":"SBIN","#,
            r#""exchange":"NSE","mode":1,"ltp":769.6,"ltt":1764212345000,"ltq":25,"last_trade_quantity":25,"#,
            r#""volume":9362799,"timestamp":1764212345123}}"#
        )
    );
    assert_eq!(
        bytes(Mode::Quote, |p, out| write_quote(p, &sbin(), Some(1500), RECV, out)),
        concat!(
            r#"{"type":"market_data","symbol":"SBIN","exchange":"NSE","mode":2,"broker":"b","data":{"symbol":"SBIN","#,
            r#""exchange":"NSE","mode":2,"ltp":769.6,"ltt":1764212345000,"open":760.0,"high":774.0,"low":758.15,"#,
            r#""close":746.9,"prev_close":746.9,"volume":9362799,"last_trade_quantity":25,"last_quantity":25,"#,
            r#""ltq":25,"avg_trade_price":766.42,"average_price":766.42,"change":22.7,"change_percent":3.04,"#,
            r#""total_buy_quantity":591351,"total_sell_quantity":835701,"oi":1500,"bid_price":769.55,"#,
            r#""bid_size":120,"ask_price":769.6,"ask_size":767,"timestamp":1764212345123}}"#
        )
    );
    let mut depth = Depth::default();
    depth.bids.set(4, Level { price: price("0.05"), size: 120, orders: 4 });
    let empty = r#"{"price":0.0,"quantity":0,"orders":0}"#;
    assert_eq!(
        bytes(Mode::Depth, |p, out| write_depth(p, &sbin(), &depth, &Beside::default(), RECV, out)),
        [
            r#"{"type":"market_data","symbol":"SBIN","exchange":"NSE","mode":3,"broker":"b","data":{"symbol":"SBIN","#,
            r#""exchange":"NSE","mode":3,"ltp":769.6,"ltt":1764212345000,"volume":9362799,"open":760.0,"high":774.0,"#,
            r#""low":758.15,"close":746.9,"total_buy_quantity":591351,"total_sell_quantity":835701,"#,
            r#""upper_circuit":0,"lower_circuit":0,"depth":{"buy":["#,
            &format!("{empty},").repeat(4),
            r#"{"price":0.05,"quantity":120,"orders":4}],"sell":["#,
            &[empty; 5].join(","),
            r#"]},"timestamp":1764212345123}}"#
        ]
        .concat()
    );
}

#[test]
fn the_document_shows_what_is_sent() {
    let document = include_str!("../PROTOCOL.md");
    let ltp = bytes(Mode::Ltp, |p, out| write_ltp(p, &sbin().last, Some(9_362_799), RECV, out));
    let quote = bytes(Mode::Quote, |p, out| write_quote(p, &sbin(), Some(1500), RECV, out));
    let depth = bytes(Mode::Depth, |p, out| write_depth(p, &sbin(), &Depth::default(), &oi(1500), RECV, out));
    let (head, tail) = depth.split_once("{\"price\"").unwrap();
    let end = tail.rsplit_once(']').unwrap().1;
    let bar = bytes(Mode::Bar, |p, out| write_bar(p, &a_bar(), out));
    for text in [&ltp, &quote, head, end, &bar] {
        assert!(document.contains(text), "not in PROTOCOL.md: {text}");
    }
}

#[test]
fn the_longest_numbers_have_room() {
    let (price, size) = (Price::from_nanos(i64::MIN + 1), i64::MIN);
    let level = Level { price, size, orders: u32::MAX };
    let last = LastTrade { price, size, time: UnixNanos::from_nanos(i64::MAX) };
    let quote = Quote {
        last,
        bid: level,
        ask: level,
        volume: size,
        average: price,
        total_buy: size,
        total_sell: size,
        open: price,
        high: price,
        low: price,
        close: Price::from_nanos(1),
    };
    let mut depth = Depth::default();
    for index in 0..DEPTH_LEVELS {
        depth.bids.set(index, level);
        depth.asks.set(index, level);
    }
    let recv = UnixNanos::from_nanos(i64::MIN);
    for text in [
        bytes(Mode::Ltp, |p, out| write_ltp(p, &last, Some(size), recv, out)),
        bytes(Mode::Quote, |p, out| write_quote(p, &quote, Some(size), recv, out)),
        bytes(Mode::Depth, |p, out| write_depth(p, &quote, &depth, &oi(size), recv, out)),
    ] {
        serde_json::from_str::<Value>(&text).unwrap();
        assert!(text.contains("-9223372036854775808") && text.contains("-9223372036.854775807"), "{text}");
    }
}

#[test]
fn ltp() {
    assert_eq!(
        frame(Mode::Ltp, |p, out| write_ltp(p, &sbin().last, Some(9_362_799), RECV, out)),
        json!({"type":"market_data","symbol":"SBIN","exchange":"NSE","mode":1,"broker":"jainamxts",
            "data":{"symbol":"SBIN","exchange":"NSE","mode":1,"ltp":769.6,"ltt":1_764_212_345_000_i64,"ltq":25,
            "last_trade_quantity":25,"volume":9_362_799,"timestamp":1_764_212_345_123_i64}})
    );
}

#[test]
fn quote_with_every_spelling() {
    assert_eq!(
        frame(Mode::Quote, |p, out| write_quote(p, &sbin(), Some(0), RECV, out)),
        json!({"type":"market_data","symbol":"SBIN","exchange":"NSE","mode":2,"broker":"jainamxts",
            "data":{"symbol":"SBIN","exchange":"NSE","mode":2,"ltp":769.6,"ltt":1_764_212_345_000_i64,
            "open":760.0,"high":774.0,"low":758.15,"close":746.9,"prev_close":746.9,"volume":9_362_799,
            "last_trade_quantity":25,"last_quantity":25,"ltq":25,
            "avg_trade_price":766.42,"average_price":766.42,
            "change":22.7,"change_percent":3.04,
            "total_buy_quantity":591_351,"total_sell_quantity":835_701,"oi":0,
            "bid_price":769.55,"bid_size":120,"ask_price":769.6,"ask_size":767,
            "timestamp":1_764_212_345_123_i64}})
    );
}

#[test]
fn depth_is_padded_to_five_levels() {
    let mut depth = Depth::default();
    depth.bids.set(0, Level { price: price("769.55"), size: 120, orders: 4 });
    depth.asks.set(0, Level { price: price("769.6"), size: 767, orders: 9 });
    let got = frame(Mode::Depth, |p, out| write_depth(p, &sbin(), &depth, &Beside::default(), RECV, out));
    let empty = json!({"price":0.0,"quantity":0,"orders":0});
    assert_eq!(
        got["data"]["depth"],
        json!({"buy":[{"price":769.55,"quantity":120,"orders":4}, empty, empty, empty, empty],
            "sell":[{"price":769.6,"quantity":767,"orders":9}, empty, empty, empty, empty]})
    );
    assert_eq!(got["data"]["ltp"], 769.6);
    assert_eq!(got["data"].get("oi"), None, "left out until known");
    assert_eq!(got["data"]["upper_circuit"], 0);
}

#[test]
fn what_never_happened_is_left_out_and_zero_is_sent_as_zero() {
    let quote = Quote { last: LastTrade { price: price("1"), ..LastTrade::default() }, ..Quote::default() };
    let got = frame(Mode::Quote, |p, out| write_quote(p, &quote, None, RECV, out));
    assert_eq!((got["data"].get("ltt"), got["data"].get("oi")), (None, None));
    for key in ["open", "high", "low", "close"] {
        assert_eq!(got["data"][key], 0.0, "the Python client loses the callback on null");
    }
    assert_eq!((&got["data"]["change"], &got["data"]["change_percent"]), (&json!(0.0), &json!(0.0)));
}

#[test]
fn change_is_rounded_half_away_from_zero() {
    for (last, close, hundredths, percent) in [
        ("100.005", "100", 1, 1),
        ("99.995", "100", -1, -1),
        ("100.004", "100", 0, 0),
        ("150", "100", 5000, 5000),
        ("1", "3", -200, -6667),
        ("9000000000", "0.01", 899_999_999_999, i64::MAX),
    ] {
        let got = change(price(last), price(close));
        assert_eq!(got.hundredths, hundredths, "{last} {close}");
        if percent != i64::MAX {
            assert_eq!(got.percent_hundredths, percent, "{last} {close}");
        }
    }
}

proptest! {
    #[test]
    fn any_quote_is_valid_json_and_its_numbers_read_back(
        units in 1..=i64::MAX, close in any::<i64>(), size in any::<i64>(), symbol in "[A-Z&\"\\\\-]{1,20}",
    ) {
        let quote = Quote {
            last: LastTrade { price: Price::from_nanos(units), size, time: UnixNanos::ZERO },
            close: Price::from_nanos(close), volume: size, ..Quote::default()
        };
        let mut out = Vec::new();
        write_quote(&prefix(&symbol, Exchange::Nfo, Mode::Quote, "b"), &quote, Some(size), RECV, &mut out);
        let value: Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(value["symbol"].as_str(), Some(symbol.as_str()));
        prop_assert_eq!(value["data"]["volume"].as_i64(), Some(size));
        let text = String::from_utf8(out).unwrap();
        let ltp = text.split("\"ltp\":").nth(1).unwrap().split(',').next().unwrap();
        prop_assert_eq!(Price::parse(ltp.as_bytes()), Some(Price::from_nanos(units)));
    }
}
