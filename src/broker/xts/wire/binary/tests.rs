use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;

use crate::market::Level;

use super::*;

const RECV: UnixNanos = UnixNanos::from_secs(1_770_698_731);
const RELIANCE: InstrumentId = InstrumentId { segment: Segment::NseCash, code: 2885 };
const FUTURE: InstrumentId = InstrumentId { segment: Segment::NseFo, code: 46082 };

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/xts/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text: String = std::fs::read_to_string(path).unwrap().split_whitespace().collect();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn price(text: &str) -> Price {
    Price::parse(text.as_bytes()).unwrap()
}

fn level(size: i64, price_text: &str, orders: u32) -> Level {
    Level { price: price(price_text), size, orders }
}

fn tick(instrument: InstrumentId, body: TickBody) -> Tick {
    Tick { instrument, ts_event: UnixNanos::from_secs(1_770_698_730), ts_recv: RECV, body }
}

fn quote() -> Tick {
    tick(
        RELIANCE,
        TickBody::Quote(Quote {
            last: LastTrade { price: price("1462.6"), size: 5, time: UnixNanos::from_secs(1_770_698_729) },
            bid: level(120, "1462.5", 3),
            ask: level(85, "1462.6", 2),
            volume: 2_456_789,
            average: price("1459.87"),
            total_buy: 312_345,
            total_sell: 401_234,
            open: price("1452"),
            high: price("1466.4"),
            low: price("1448.1"),
            close: price("1450"),
        }),
    )
}

fn depth() -> Tick {
    let mut depth = Depth::default();
    for (index, (size, text, orders)) in
        [(120, "1462.5", 3), (340, "1462.4", 7), (215, "1462.3", 4), (90, "1462.2", 2), (510, "1462.1", 9)]
            .into_iter()
            .enumerate()
    {
        depth.bids.set(index, level(size, text, orders));
    }
    for (index, (size, text, orders)) in
        [(85, "1462.6", 2), (270, "1462.7", 5), (132, "1462.8", 3), (64, "1462.9", 1), (405, "1463.0", 8)]
            .into_iter()
            .enumerate()
    {
        depth.asks.set(index, level(size, text, orders));
    }
    tick(RELIANCE, TickBody::Depth(depth))
}

fn open_interest() -> Tick {
    tick(FUTURE, TickBody::OpenInterest(OpenInterest { open_interest: 1_234_500 }))
}

fn last_trade() -> Tick {
    tick(RELIANCE, TickBody::LastTrade(LastTrade { price: price("1462.6"), size: 5, time: UnixNanos::ZERO }))
}

fn decode(decoder: &mut Decoder, attachment: &[u8]) -> (Counts, Vec<Tick>) {
    let mut out = Vec::new();
    let counts = decoder.decode(attachment, RECV, &mut out);
    (counts, out)
}

const ONE: Counts = Counts { messages: 1, undecodable: 0, ignored: 0, invalid_prices: 0 };

#[test]
fn every_worked_example_is_read_field_by_field() {
    for (name, layout, expected) in [
        ("1501-a-plain", Some(Layout::A), vec![quote()]),
        ("1501-b-plain", Some(Layout::B), vec![quote()]),
        ("1501-c-plain", Some(Layout::C), vec![quote()]),
        ("1501-a-deflate", Some(Layout::A), vec![quote()]),
        ("1501-b-deflate", Some(Layout::B), vec![quote()]),
        ("1502-a-plain", Some(Layout::A), vec![quote(), depth()]),
        ("1502-b-plain", Some(Layout::B), vec![quote(), depth()]),
        ("1510-a-plain", None, vec![open_interest()]),
        ("1510-b-plain-name", None, vec![open_interest()]),
    ] {
        let mut decoder = Decoder::new();
        assert_eq!(decode(&mut decoder, &fixture(name)), (ONE, expected), "{name}");
        assert_eq!(decoder.layout(), layout, "{name}");
    }
}

#[test]
fn last_trades_are_believed_only_near_a_known_price() {
    for (name, quote_name) in [("1512-a-plain", "1501-a-plain"), ("1512-b-plain", "1501-b-deflate")] {
        let mut decoder = Decoder::new();
        let ignored = Counts { ignored: 1, ..ONE };
        assert_eq!(decode(&mut decoder, &fixture(name)), (ignored, vec![]), "{name}: nothing is known yet");
        assert_eq!(decode(&mut decoder, &fixture(quote_name)).1, [quote()]);
        assert_eq!(decode(&mut decoder, &fixture(name)), (ONE, vec![last_trade()]), "{name}");
        let mut far = fixture(name);
        far[15 + 44..15 + 52].copy_from_slice(&3000.0_f64.to_le_bytes());
        assert_eq!(decode(&mut decoder, &far), (ignored, vec![]), "{name}: twice the price");
    }
}

#[test]
fn an_attachment_holds_several_messages() {
    let mut decoder = Decoder::new();
    let both = fixture("two-messages-b");
    let counts = Counts { messages: 2, ignored: 1, ..Counts::default() };
    assert_eq!(decode(&mut decoder, &both), (counts, vec![quote()]));
    let counts = Counts { messages: 2, ..Counts::default() };
    assert_eq!(decode(&mut decoder, &both), (counts, vec![last_trade(), quote()]));
}

#[test]
fn an_unreadable_message_does_not_cost_its_neighbours() {
    let good = fixture("1501-b-deflate");
    let mut attachment = good.clone();
    let mut corrupt = good.clone();
    corrupt[40] ^= 0xff;
    attachment.extend_from_slice(&corrupt);
    attachment.extend_from_slice(&fixture("1502-b-plain"));
    let (counts, ticks) = decode(&mut Decoder::new(), &attachment);
    assert_eq!(counts, Counts { messages: 3, undecodable: 1, ..Counts::default() });
    assert_eq!(ticks, [quote(), quote(), depth()]);
}

#[test]
fn broken_framing_ends_the_attachment() {
    let garbage = Counts { undecodable: 1, ..ONE };
    let good = fixture("1501-b-plain");
    for length in 1..good.len() {
        assert_eq!(decode(&mut Decoder::new(), &good[..length]), (garbage, vec![]), "cut at {length}");
    }
    let mut flagged = good.clone();
    flagged[0] = 2;
    assert_eq!(decode(&mut Decoder::new(), &flagged), (garbage, vec![]));
    let mut trailing = good;
    trailing.push(0);
    let (counts, ticks) = decode(&mut Decoder::new(), &trailing);
    assert_eq!((counts.messages, counts.undecodable), (2, 1));
    assert!(!counts.is_garbage());
    assert_eq!(ticks, [quote()]);
}

/// The plain fixture with `change` applied to its body.
fn changed(name: &str, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut attachment = fixture(name);
    change(&mut attachment[15..]);
    attachment
}

#[test]
fn heads_that_are_not_understood_are_refused() {
    let garbage = Counts { undecodable: 1, ..ONE };
    for (what, attachment) in [
        ("version 3", changed("1501-b-plain", |b| b[2] = 3)),
        ("extended properties", changed("1501-b-plain", |b| b[22] = 1)),
        ("another code in the body", changed("1501-b-plain", |b| b[0] = 0xde)),
        ("another instrument in the body", changed("1501-b-plain", |b| b[28] = 1)),
        ("51 bids", changed("1502-b-plain", |b| b[40] = 51)),
        ("minus one bids", changed("1502-b-plain", |b| b[40..44].fill(0xff))),
        ("four bids", changed("1502-b-plain", |b| b[40] = 4)),
    ] {
        assert_eq!(decode(&mut Decoder::new(), &attachment), (garbage, vec![]), "{what}");
    }
}

#[test]
fn unknown_codes_and_segments_are_skipped_by_size() {
    let mut unknown = fixture("1501-b-plain");
    unknown[1..3].copy_from_slice(&1504_u16.to_le_bytes());
    unknown.extend_from_slice(&fixture("1501-b-plain"));
    let (counts, ticks) = decode(&mut Decoder::new(), &unknown);
    assert_eq!((counts.messages, counts.ignored), (2, 1));
    assert_eq!(ticks, [quote()]);

    let mut elsewhere = changed("1501-b-plain", |b| b[26] = 21);
    elsewhere[3] = 21;
    assert_eq!(decode(&mut Decoder::new(), &elsewhere), (Counts { ignored: 1, ..ONE }, vec![]));
}

#[test]
fn a_last_price_that_is_none_yields_no_tick() {
    for value in [f64::NAN, f64::INFINITY, 0.0, -1.0, 1e300] {
        let set = |b: &mut [u8]| b[92..100].copy_from_slice(&value.to_le_bytes());
        let (counts, ticks) = decode(&mut Decoder::new(), &changed("1501-b-plain", set));
        assert_eq!((counts, ticks.len()), (Counts { invalid_prices: 1, ..ONE }, 0), "{value}");
    }
}

#[test]
fn other_figures_that_are_none_become_zero() {
    let set = |b: &mut [u8]| {
        b[48..56].copy_from_slice(&f64::NAN.to_le_bytes());
        b[156..164].copy_from_slice(&(-3.0_f64).to_le_bytes());
        b[140..148].fill(0);
        b[100..108].copy_from_slice(&(-7_i64).to_le_bytes());
    };
    let (_, ticks) = decode(&mut Decoder::new(), &changed("1501-b-plain", set));
    let TickBody::Quote(quote) = ticks[0].body else { panic!("not a quote") };
    assert_eq!((quote.bid.price, quote.open, quote.last.size), (Price::ZERO, Price::ZERO, 0));
    assert_eq!(quote.last.time, UnixNanos::ZERO);
}

#[test]
fn depth_with_other_counts_shows_five_levels() {
    // Layout B, three bids and six asks, made of the fixture's rows.
    let whole = fixture("1502-b-plain");
    let body = &whole[15..];
    let row = |at: usize| &body[at..at + 22];
    let mut made = body[..40].to_vec();
    made.extend_from_slice(&3_i32.to_le_bytes());
    (0..3).for_each(|i| made.extend_from_slice(row(44 + 22 * i)));
    made.extend_from_slice(&6_i32.to_le_bytes());
    (0..5).for_each(|i| made.extend_from_slice(row(158 + 22 * i)));
    made.extend_from_slice(row(158));
    made.extend_from_slice(&body[268..]);
    let mut attachment = whole[..13].to_vec();
    attachment.extend_from_slice(&(made.len() as u16).to_le_bytes());
    attachment.extend_from_slice(&made);
    let (counts, ticks) = decode(&mut Decoder::new(), &attachment);
    assert_eq!(counts, ONE);
    let (TickBody::Depth(got), TickBody::Depth(full)) = (ticks[1].body, depth().body) else {
        panic!("not a depth")
    };
    assert_eq!(got.asks, full.asks);
    assert_eq!(got.bids.level(2), full.bids.level(2));
    assert_eq!(got.bids.level(3), Level::default());
}

/// A 1510 around `body`.
fn open_interest_message(body: &[u8]) -> Vec<u8> {
    let mut attachment = fixture("1510-a-plain")[..13].to_vec();
    attachment.extend_from_slice(&(body.len() as u16).to_le_bytes());
    attachment.extend_from_slice(body);
    attachment
}

#[test]
fn open_interest_is_read_by_exact_length_whatever_came_before() {
    // A name of seven: as long as layout A with a name of fifteen.
    let mut body = fixture("1510-b-plain-name")[15..].to_vec();
    body[61] = 7;
    body.remove(69);
    let attachment = open_interest_message(&body);
    for quote_name in ["1501-b-plain", "1501-a-plain", "1501-c-plain"] {
        let mut decoder = Decoder::new();
        decode(&mut decoder, &fixture(quote_name));
        assert_eq!(decode(&mut decoder, &attachment), (ONE, vec![open_interest()]), "{quote_name}");
    }
}

#[test]
fn the_layout_of_the_connection_decides_where_open_interest_fits_both() {
    // Layout A with a name of seven whose third byte is zero is also layout B without a name.
    let mut body = fixture("1510-a-plain")[15..].to_vec();
    body[56] = 1;
    body.splice(57..57, *b"\x07AB\0DEFG");
    let attachment = open_interest_message(&body);
    for (quote_name, read_as_a) in [("1501-a-plain", true), ("1501-b-plain", false)] {
        let mut decoder = Decoder::new();
        decode(&mut decoder, &fixture(quote_name));
        let (counts, ticks) = decode(&mut decoder, &attachment);
        assert_eq!((counts, ticks == [open_interest()]), (ONE, read_as_a), "{quote_name}");
    }
}

#[test]
fn a_body_that_inflates_to_another_length_is_refused() {
    let plain = fixture("1501-b-plain");
    for (claimed, fine) in [(204_u16, true), (203, false), (205, false), (u16::MAX, false)] {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&plain[15..]).unwrap();
        let body = encoder.finish().unwrap();
        let mut attachment = plain[..15].to_vec();
        attachment[0] = 1;
        attachment[13..15].copy_from_slice(&claimed.to_le_bytes());
        attachment.extend_from_slice(&(body.len() as u16).to_le_bytes());
        attachment.extend_from_slice(&body);
        let (counts, ticks) = decode(&mut Decoder::new(), &attachment);
        assert_eq!((counts.undecodable == 0, ticks.len()), (fine, usize::from(fine)), "{claimed}");
    }
}

/// A deflated message of `code` that claims a body of `claimed` bytes.
fn deflated(code: u16, body: &[u8], claimed: usize) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    let packed = encoder.finish().unwrap();
    let mut attachment = fixture("1502-b-plain")[..15].to_vec();
    attachment[0] = 1;
    attachment[1..3].copy_from_slice(&code.to_le_bytes());
    attachment[13..15].copy_from_slice(&(claimed as u16).to_le_bytes());
    attachment.extend_from_slice(&(packed.len() as u16).to_le_bytes());
    attachment.extend_from_slice(&packed);
    attachment
}

#[test]
fn nothing_is_inflated_that_cannot_be_a_body() {
    let plain = fixture("1502-b-plain");
    let (head, end) = (&plain[15..55], &plain[plain.len() - 164..]);
    let side = [&50_i32.to_le_bytes()[..], &[0; 50 * 22]].concat();
    let longest = [head, &side, &side, end].concat();
    assert_eq!(longest.len(), MAX_BODY);
    let (counts, ticks) = decode(&mut Decoder::new(), &deflated(1502, &longest, MAX_BODY));
    assert_eq!((counts, ticks.len()), (ONE, 2));

    // What claims more is refused, and what is not read anyway is passed over, broken or not.
    let bomb = vec![0; 65_535];
    let mut decoder = Decoder::new();
    let (counts, ticks) = decode(&mut decoder, &deflated(1502, &bomb, bomb.len()));
    assert_eq!((counts.undecodable, ticks.len()), (1, 0));
    let (counts, _) = decode(&mut decoder, &deflated(1999, b"", 5));
    assert_eq!((counts.ignored, counts.undecodable), (1, 0));
    assert_eq!(decoder.scratch.len(), MAX_BODY + 1);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        decode(&mut Decoder::new(), &bytes);
    }

    /// Arbitrary bodies behind a sound envelope reach the code behind the framing.
    #[test]
    fn arbitrary_bodies_never_panic(
        code in prop::sample::select(vec![1501_u16, 1502, 1510, 1512]),
        length in prop::sample::select(vec![61_usize, 64, 68, 69, 160, 180, 204, 348, 368, 432]),
        seed in proptest::collection::vec(any::<u8>(), 432),
        flag in 0_u8..2,
        sound in any::<bool>(),
    ) {
        let mut attachment = fixture("1501-b-plain")[..15].to_vec();
        attachment[0] = flag;
        attachment[1..3].copy_from_slice(&code.to_le_bytes());
        attachment[13..15].copy_from_slice(&(length as u16).to_le_bytes());
        if flag == 1 {
            attachment.extend_from_slice(&(length as u16).to_le_bytes());
        }
        let mut body = seed[..length].to_vec();
        if sound {
            body[..40].copy_from_slice(&fixture("1501-b-plain")[15..55]);
            body[..2].copy_from_slice(&code.to_le_bytes());
            body[41..44].fill(0);
        }
        attachment.extend_from_slice(&body);
        decode(&mut Decoder::new(), &attachment);
    }
}
