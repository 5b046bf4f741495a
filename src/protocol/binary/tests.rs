use proptest::prelude::*;

use super::tables::{Tables, Value, size};
use super::*;
use crate::market::{DepthSide, Level};

fn header() -> Header {
    Header {
        flags: 0,
        number: 0x0102_0304,
        seq: 0x0506_0708_090a_0b0c,
        epoch: 0x0d0e_0f10,
        source: 0x1112,
        ts_event: UnixNanos::from_nanos(1),
        ts_recv: UnixNanos::from_nanos(2),
        ts_sent: UnixNanos::from_nanos(3),
    }
}

/// [`header`], behind length and kind.
const HEADER: &str =
    "00 04030201 0c0b0a0908070605 100f0e0d 1211 0000 0100000000000000 0200000000000000 0300000000000000";
const NOT_KNOWN: &str = "0000000000000080";

fn price(units: i64) -> Price {
    Price::from_nanos(units)
}

fn last() -> LastTrade {
    LastTrade { price: price(0x10), size: 0x11, time: UnixNanos::from_nanos(0x13) }
}

fn quote() -> Quote {
    Quote {
        last: last(),
        bid: Level { price: price(0x19), size: 0x1a, orders: 0x1d },
        ask: Level { price: price(0x1b), size: 0x1c, orders: 0x1e },
        volume: 0x12,
        average: price(0x14),
        total_buy: 0x1f,
        total_sell: 0x20,
        open: price(0x15),
        high: price(0x16),
        low: price(-0x17),
        close: price(0x18),
    }
}

fn side(first: i64) -> DepthSide {
    let mut side = DepthSide::default();
    for index in 0..5 {
        let value = first + 3 * index as i64;
        side.set(index, Level { price: price(value), size: value + 1, orders: value as u32 + 2 });
    }
    side
}

/// A word of 64 bits, its lowest byte as written.
fn word(value: u8) -> String {
    format!("{value:02x}00000000000000")
}

fn levels(first: u8) -> String {
    (0..15).map(|index| word(first + index)).collect()
}

/// One of each kind, with the bytes behind the header.
fn vectors() -> Vec<(Body<'static>, &'static str, String)> {
    let quote_bytes = [
        &[0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16].map(word).concat(),
        "e9ffffffffffffff",
        &[0x18, 0x19, 0x1a, 0x1b, 0x1c].map(word).concat(),
        "1d000000 1e000000",
        &[0x1f, 0x20].map(word).concat(),
    ]
    .concat();
    let hello = Hello { version: 1, started_at: UnixNanos::from_nanos(0x10) };
    let directory = Directory {
        exchange: "NSE_INDEX",
        symbol: "NIFTY",
        tick_size: Some(price(0x10)),
        lot_size: None,
        code: 0x2122_2324,
        segment: 51,
    };
    let state = State { state: Some(Freshness::Stale), since: UnixNanos::from_nanos(0x10), reason: "grün" };
    let beside = Beside { open_interest: Some(0x21), upper: price(0x22), lower: Price::ZERO };
    let bar = Bar {
        start: UnixNanos::from_nanos(0x10),
        open: price(0x11),
        high: price(0x12),
        low: price(0x13),
        close: price(0x14),
        volume: 0x15,
        open_interest: 0x16,
    };
    vec![
        (Body::Hello(hello), "4800 01", format!("7469636b67617465 0100 000000000000 {}", word(0x10))),
        (
            Body::Directory(directory),
            "6000 02",
            format!(
                "{}{NOT_KNOWN} 24232221 33 00 0500 4e53455f494e444558 00000000000000 4e49465459 000000",
                word(0x10)
            ),
        ),
        (Body::State(state), "4800 03", format!("03 00 0500 00000000 {} 6772c3bc6e 000000", word(0x10))),
        (
            Body::Conflated(Conflated { kind: 16, skipped: 0x11, span: 0x12 }),
            "4800 04",
            format!("{}{} 10 00000000000000", word(0x11), word(0x12)),
        ),
        (
            Body::Heartbeat(Heartbeat { state: Some(Freshness::Delayed), last_tick_age: Some(0x11) }),
            "4000 07",
            format!("02 00000000000000 {}", word(0x11)),
        ),
        (
            Body::Heartbeat(Heartbeat { state: None, last_tick_age: None }),
            "4000 07",
            format!("00 00000000000000 {NOT_KNOWN}"),
        ),
        (
            Body::Ltp(Ltp { last: last(), volume: Some(0x12) }),
            "5000 10",
            [0x10, 0x11, 0x12, 0x13].map(word).concat(),
        ),
        (
            Body::Ltp(Ltp { last: last(), volume: None }),
            "5000 10",
            format!("{}{}{NOT_KNOWN}{}", word(0x10), word(0x11), word(0x13)),
        ),
        (
            Body::Quote(QuoteFields { quote: quote(), open_interest: None }),
            "b800 11",
            format!("{quote_bytes}{NOT_KNOWN}"),
        ),
        (
            Body::Depth(DepthFields {
                quote: quote(),
                depth: Depth { bids: side(0x30), asks: side(0x40) },
                beside,
            }),
            "b801 12",
            format!("{quote_bytes}{}{}{NOT_KNOWN}{}{}", word(0x21), word(0x22), levels(0x30), levels(0x40)),
        ),
        (Body::OpenInterest(0x10), "3800 13", word(0x10)),
        (
            Body::Bar(bar),
            "7000 14",
            format!(
                "{} 3c000000 00000000 {}",
                word(0x10),
                [0x11, 0x12, 0x13, 0x14, 0x15, 0x16].map(word).concat()
            ),
        ),
    ]
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|b| *b != b' ').collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

#[test]
fn every_kind_to_the_byte_and_back() {
    let mut message = Vec::new();
    for (body, start, rest) in vectors() {
        let expected = bytes_of(&format!("{start} {HEADER} {rest}"));
        let mut written = Vec::new();
        body.write(&header(), &mut written);
        assert_eq!(written, expected, "{body:?}");
        message.extend_from_slice(&expected);
    }
    let records: Vec<_> = Records::new(&message).map(Result::unwrap).collect();
    assert_eq!(records.len(), vectors().len());
    for (record, (body, ..)) in records.iter().zip(vectors()) {
        assert_eq!((record.header(), record.body().unwrap()), (header(), body));
    }
}

#[test]
fn the_tables_leave_no_byte_out_and_align_every_field() {
    let tables = Tables::read();
    let expected: Vec<_> = Kind::ALL.iter().map(|kind| (kind.number(), format!("{kind:?}"))).collect();
    assert_eq!(tables.kinds.clone().into_iter().collect::<Vec<_>>(), expected);
    for (body, ..) in vectors() {
        let mut record = Vec::new();
        body.write(&header(), &mut record);
        let (mut end, mut text) = (0, false);
        for (offset, kind, name) in tables.rows(record[2]) {
            assert_eq!(offset, end, "{name} of {body:?}");
            let alignment = if kind.contains('[') { 1 } else { size(&kind).max(1) };
            assert_eq!(offset % alignment, 0, "{name} of {body:?}");
            end = offset + size(&kind);
            text = kind == "text";
        }
        assert!(if text { record.len() >= end } else { record.len() == end }, "{body:?}");
        assert!(record.len().is_multiple_of(8), "{body:?}");
    }
}

#[test]
fn the_tables_say_what_is_written() {
    let tables = Tables::read();
    let read = |index: usize| {
        let mut record = Vec::new();
        vectors()[index].0.write(&header(), &mut record);
        tables.decode(&record).remove(0).1
    };
    let directory = read(1);
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!((&directory["exchange"], &directory["symbol"]), (&text("NSE_INDEX"), &text("NIFTY")));
    assert_eq!((&directory["code"], &directory["segment"]), (&Value::Int(0x2122_2324), &Value::Int(51)));
    assert_eq!((&directory["epoch"], &directory["source"]), (&Value::Int(0x0d0e_0f10), &Value::Int(0x1112)));
    let depth = read(9);
    for (name, value) in [
        ("price", 0x10),
        ("trade_time", 0x13),
        ("low", -0x17),
        ("bid_orders", 0x1d),
        ("open_interest", 0x21),
        ("upper_circuit", 0x22),
        ("lower_circuit", i128::from(i64::MIN)),
        ("bids[0].price", 0x30),
        ("bids[4].orders", 0x3e),
        ("asks[1].quantity", 0x44),
    ] {
        assert_eq!(depth[name], Value::Int(value), "{name}");
    }
    assert_eq!(read(2)["reason"], text("grün"));
    assert_eq!(read(3)["skipped_kind"], Value::Int(16));
    assert_eq!((&read(4)["state"], &read(4)["last_tick_age"]), (&Value::Int(2), &Value::Int(0x11)));
    assert_eq!(read(11)["interval"], Value::Int(60));
    assert_eq!(read(0)["magic"], text("tickgate"));
}

#[test]
fn what_a_later_server_sends_is_passed_over() {
    let mut message = Vec::new();
    Body::OpenInterest(1).write(&header(), &mut message);
    message[2] = 200;
    // A known kind with a field more, and a state that is new.
    let start = message.len();
    Body::OpenInterest(2).write(&header(), &mut message);
    message.extend_from_slice(&[7; 8]);
    message[start] += 8;
    let start = message.len();
    Body::State(State { state: None, since: UnixNanos::ZERO, reason: "" }).write(&header(), &mut message);
    message[start + 48] = 99;
    let bodies: Vec<_> = Records::new(&message).map(|record| record.unwrap().body().unwrap()).collect();
    let state = State { state: None, since: UnixNanos::ZERO, reason: "" };
    assert_eq!(bodies, [Body::Unknown(200), Body::OpenInterest(2), Body::State(state)]);
}

#[test]
fn what_is_no_record_is_named() {
    let mut good = Vec::new();
    Body::Ltp(Ltp::default()).write(&header(), &mut good);
    let first =
        |bytes: &[u8]| Records::new(bytes).next().unwrap().and_then(|record| record.body().map(|_| ()));
    assert_eq!(first(&good[..47]), Err(Malformed::Truncated { left: 47 }));
    assert_eq!(first(&good[..72]), Err(Malformed::Length { len: 80, left: 72 }));
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(first(&with(0, 0)), Err(Malformed::Length { len: 0, left: 80 }));
    assert_eq!(first(&with(0, 79)), Err(Malformed::Length { len: 79, left: 80 }));
    assert_eq!(first(&with(2, 18)), Err(Malformed::Short { kind: 18, len: 80 }));
    assert_eq!(first(&with(2, 1)), Err(Malformed::Magic));
    // A reason that is longer than its record.
    let mut state = with(2, 3);
    state[50] = 200;
    assert_eq!(first(&state), Err(Malformed::Text { kind: 3 }));
    let mut records = Records::new(&good[..72]);
    assert!(records.next().unwrap().is_err() && records.next().is_none());
}

#[test]
fn texts_are_cut_between_characters() {
    let symbol = "ü".repeat(600);
    let entry = Directory {
        exchange: "AN_EXCHANGE_TOO_LONG",
        symbol: &symbol,
        tick_size: None,
        lot_size: Some(75),
        code: 1,
        segment: 2,
    };
    let mut record = Vec::new();
    Body::Directory(entry).write(&header(), &mut record);
    let cut = Directory { exchange: "AN_EXCHANGE_TOO_", symbol: &symbol[..1024], ..entry };
    let read = Records::new(&record).next().unwrap().unwrap();
    assert_eq!(read.body().unwrap(), Body::Directory(cut));
}

prop_compose! {
    fn any_header()(
        flags: u8, number: u32, seq: u64, epoch: u32, source: u16, event: i64, recv: i64, sent: i64,
    ) -> Header {
        let time = UnixNanos::from_nanos;
        Header {
            flags, number, seq, epoch, source,
            ts_event: time(event), ts_recv: time(recv), ts_sent: time(sent),
        }
    }
}

prop_compose! {
    fn any_level()(units: i64, size: i64, orders: u32) -> Level {
        Level { price: price(units), size, orders }
    }
}

prop_compose! {
    fn any_quote()(
        (last, size, time) in any::<(i64, i64, i64)>(), bid in any_level(), ask in any_level(),
        (volume, total_buy, total_sell) in any::<(i64, i64, i64)>(), prices in any::<[i64; 5]>(),
    ) -> Quote {
        let [average, open, high, low, close] = prices.map(price);
        let last = LastTrade { price: price(last), size, time: UnixNanos::from_nanos(time) };
        Quote { last, bid, ask, volume, average, total_buy, total_sell, open, high, low, close }
    }
}

fn any_side() -> impl Strategy<Value = DepthSide> {
    proptest::array::uniform5(any_level()).prop_map(|levels| {
        let mut side = DepthSide::default();
        levels.into_iter().enumerate().for_each(|(index, level)| side.set(index, level));
        side
    })
}

/// Anything but the value that stands for none.
fn maybe() -> impl Strategy<Value = Option<i64>> {
    proptest::option::of(-i64::MAX..=i64::MAX)
}

fn any_body() -> impl Strategy<Value = Body<'static>> {
    let time = || any::<i64>().prop_map(UnixNanos::from_nanos);
    let limit = || proptest::option::of(1..=i64::MAX).prop_map(|units| price(units.unwrap_or(0)));
    prop_oneof![
        (any::<u16>(), time()).prop_map(|(version, started_at)| Body::Hello(Hello { version, started_at })),
        (maybe(), maybe(), any::<u32>(), any::<u8>()).prop_map(|(tick_size, lot_size, code, segment)| {
            let tick_size = tick_size.map(price);
            Body::Directory(Directory {
                exchange: "MCX",
                symbol: "GOLD05FEB26FUT",
                tick_size,
                lot_size,
                code,
                segment,
            })
        }),
        (0..6_u8, time()).prop_map(|(state, since)| {
            Body::State(State { state: Freshness::from_number(state), since, reason: "why" })
        }),
        (any::<u8>(), any::<u64>(), any::<i64>())
            .prop_map(|(kind, skipped, span)| Body::Conflated(Conflated { kind, skipped, span })),
        (0..6_u8, maybe()).prop_map(|(state, last_tick_age)| {
            Body::Heartbeat(Heartbeat { state: Freshness::from_number(state), last_tick_age })
        }),
        (any_quote(), maybe()).prop_map(|(quote, volume)| Body::Ltp(Ltp { last: quote.last, volume })),
        (any_quote(), maybe())
            .prop_map(|(quote, open_interest)| Body::Quote(QuoteFields { quote, open_interest })),
        (any_quote(), any_side(), any_side(), maybe(), limit(), limit()).prop_map(
            |(quote, bids, asks, open_interest, upper, lower)| {
                let beside = Beside { open_interest, upper, lower };
                Body::Depth(DepthFields { quote, depth: Depth { bids, asks }, beside })
            }
        ),
        any::<i64>().prop_map(Body::OpenInterest),
        (any_quote(), any::<i64>()).prop_map(|(q, open_interest)| {
            let Quote { open, high, low, close, volume, .. } = q;
            Body::Bar(Bar { start: q.last.time, open, high, low, close, volume, open_interest })
        }),
    ]
}

proptest! {
    #[test]
    fn whatever_is_written_is_read(
        records in proptest::collection::vec((any_header(), any_body()), 0..6),
    ) {
        let mut message = Vec::new();
        for (header, body) in &records {
            body.write(header, &mut message);
        }
        let read: Vec<_> = Records::new(&message)
            .map(|record| record.map(|r| (r.header(), r.body().unwrap())).unwrap())
            .collect();
        prop_assert_eq!(read, records);
    }

    #[test]
    fn arbitrary_bytes_never_panic_nor_yield_more_than_there_is(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..600),
        // Often enough a header that could be one.
        heads in proptest::collection::vec((any::<proptest::sample::Index>(), 0..64_u16, 0..24_u8), 0..4),
    ) {
        for (at, len, kind) in heads {
            let at = at.index(bytes.len() + 1) & !7;
            if at + 3 <= bytes.len() {
                bytes[at..at + 2].copy_from_slice(&(len * 8).to_le_bytes());
                bytes[at + 2] = kind;
            }
        }
        let mut total = 0;
        for record in Records::new(&bytes) {
            let Ok(record) = record else { break };
            prop_assert_eq!(record.bytes(), &bytes[total..total + record.bytes().len()]);
            prop_assert!(record.bytes().len() >= HEADER_LEN && record.bytes().len().is_multiple_of(8));
            total += record.bytes().len();
            let _ = (record.header(), record.body());
        }
        prop_assert!(total <= bytes.len());
    }
}
