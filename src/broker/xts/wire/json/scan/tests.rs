//! The scanner against the checked reader: whatever it reads, it reads as the other does.

use proptest::prelude::*;

use crate::clock::UnixNanos;
use crate::market::Tick;

use super::super::super::Counts;
use super::super::Decoder;
use super::super::tests::{FLAT, LAST, NESTED, OPEN_INTEREST, RECV, depth_text, quoted};
use super::*;

const CODES: [u16; 4] = [1501, 1502, 1510, 1512];

/// Decodes one datum after the other with both, partial events of the same instruments between
/// them, so that what is remembered is compared too.
fn compare(code: u16, data: &[&str]) -> Vec<(Counts, Vec<Tick>)> {
    let (mut fast, mut checked) = (Decoder::new(), Decoder::checked());
    let mut found = Vec::new();
    for datum in data {
        let read = |decoder: &mut Decoder| {
            let mut ticks = Vec::new();
            let counts = decoder.event(code, datum, RECV, &mut ticks);
            for partial in ["\"t:1_2885,ltp:1,bi:1|2|3|4\"", "\"t:1_26000,ltp:1,ai:0|2|3|4\""] {
                decoder.event(code, partial, RECV, &mut ticks);
            }
            (counts, ticks)
        };
        let (fast, checked) = (read(&mut fast), read(&mut checked));
        assert_eq!(fast, checked, "{code} {datum}");
        found.push(fast);
    }
    found
}

/// Whether the scanner itself reads it, and the same as the other.
fn is_scanned(code: u16, datum: &str) -> bool {
    let mut scanner = Scanner::default();
    let first = scanner.read(code, datum);
    // The second time it knows the order of the keys.
    assert_eq!(first, scanner.read(code, datum), "{datum}");
    compare(code, &[datum, datum]);
    first.is_some()
}

fn samples() -> [(u16, String); 5] {
    [
        (1501, FLAT.to_owned()),
        (1501, NESTED.to_owned()),
        (1502, depth_text()),
        (1510, OPEN_INTEREST.to_owned()),
        (1512, LAST.to_owned()),
    ]
}

#[test]
fn what_servers_send_is_scanned() {
    for (code, text) in samples() {
        assert!(is_scanned(code, &quoted(&text)), "{text}");
        let spaced = text.replace(':', " : ").replace(',', " , ").replace('{', "{ ").replace('}', " }");
        assert!(is_scanned(code, &quoted(&spaced)), "{spaced}");
        // Another code than the event's name says, and mixed with the others.
        for other in CODES {
            assert!(is_scanned(other, &quoted(&text)), "{text}");
        }
    }
    for code in CODES {
        let texts = samples().map(|(_, text)| quoted(&text));
        let data: Vec<&str> = texts.iter().chain(texts.iter().rev()).map(String::as_str).collect();
        assert_eq!(compare(code, &data).len(), 10);
    }
}

#[test]
fn values_in_unusual_forms() {
    let with = |key: &str, value: &str| {
        let (before, rest) = FLAT.split_once(&format!("\"{key}\":")).unwrap();
        let (_, after) = rest.split_once(',').unwrap();
        quoted(&format!("{before}\"{key}\":{value},{after}"))
    };
    for value in [
        "null",
        "0",
        "-0",
        "-5",
        "7.0",
        "0.05",
        "1e2",
        "1E+2",
        "12.5e-1",
        "\"5\"",
        "\"\"",
        "\"NaN\"",
        "\"1,462.60\"",
        "\" 7 \"",
        "\"1460,50\"",
        "123456789",
        "1234567890",
        "999999999.999999999",
        "0.0000000005",
        "1.00000000049",
        "9223372036.854775807",
        "9223372036854775807",
        "9223372036854775808",
        "123456789012345678",
        "1234567890123456789012345678901234567890",
        "0.123456789123456789123456789",
        "-1462.6",
        "\"\u{20b9}\"",
        "\"a/b\"",
    ] {
        for key in [
            "LastTradedPrice",
            "LastTradedQunatity",
            "LastUpdateTime",
            "ExchangeInstrumentID",
            "MessageCode",
            "Price",
        ] {
            assert!(is_scanned(1501, &with(key, value)), "{key} {value}");
        }
    }
    for value in [
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "--1",
        "1e",
        "1e+",
        "1.e2",
        "NaN",
        "Infinity",
        "tru",
        "nul",
        "\"\\n\"",
        "\"\\\\\"",
        "\"\u{1}\"",
        "1 2",
        "",
        "0x10",
        "\u{661}",
        "\"5",
    ] {
        for key in ["LastTradedPrice", "LastUpdateTime", "PercentChange"] {
            assert!(!is_scanned(1501, &with(key, value)), "{key} {value}");
        }
    }
    for value in
        ["true", "[]", "{}", "[{\"a\":[1,\"b\",null]},-2.5e3]", "{\"Open\":1,\"Open\":{}}", "\"x/y\""]
    {
        assert!(is_scanned(1501, &with("PercentChange", value)), "{value}");
    }
    for value in
        ["[1,]", "[1 2]", "{\"a\"}", "{\"a\":}", "{,}", "[}", "{1:2}", &"[".repeat(200), "{\"a\":1,}"]
    {
        assert!(!is_scanned(1501, &with("PercentChange", value)), "{value}");
    }
    assert!(is_scanned(1501, &with("PercentChange", "\"x/y\"").replace("x/y", "x\\/y")));
}

#[test]
fn what_is_left_to_the_checked_reader() {
    let twice = FLAT.replace("\"Open\":1452", "\"Open\":1452,\"Open\":1453");
    let both = FLAT.replace("\"Open\":1452", "\"Open\":1452,\"LastTradedQuantity\":9");
    let row_twice = FLAT.replace("\"Size\":85", "\"Size\":85,\"Size\":86");
    for text in [
        twice.as_str(),
        &both,
        &row_twice,
        "{\"Touchline\":null}",
        "{\"Touchline\":{\"Bids\":[]}}",
        "{\"Touchline\":{\"Touchline\":{}}}",
        "{\"BidInfo\":[1,2,3]}",
        "{\"Bids\":7}",
        "{\"Bids\":[[]]}",
        "{\"Open\":{}}",
        "{\"Open\":true}",
        "[]",
        "",
        "{",
        "{\"Open\"",
        "{\"Open\":1",
        "{\"Open\":1}}",
        "{\"Open\":1}x",
        "{\"Open\" 1}",
        "{Open:1}",
        "t:1_2885,ltp:1",
        "{\"O\\u0070en\":1}",
    ] {
        assert!(!is_scanned(1501, &quoted(text)), "{text}");
    }
    for datum in [
        FLAT,
        "",
        "\"",
        "\"{\"",
        "\"{}",
        "\"{}\" ",
        " \"{}\"",
        "\"{}\",1",
        "\"{}\"\"",
        "\"{\"Open\":1}\"",
        "null",
    ] {
        assert!(!is_scanned(1501, datum), "{datum}");
    }
    assert!(is_scanned(1501, "\"{}\""));
    assert!(is_scanned(1502, &quoted("{\"Bids\":[],\"Asks\":{},\"BidInfo\":null,\"Touchline\":{}}")));
    assert!(!is_scanned(1505, &quoted(FLAT)));
}

/// A number as servers or their libraries may write it, and nonsense.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0_u32..3_000_000, 0_usize..4).prop_map(|(n, places)| format!("{:.places$}", f64::from(n) / 100.0)),
        3 => any::<u32>().prop_map(|n| n.to_string()),
        1 => any::<i64>().prop_map(|n| n.to_string()),
        1 => any::<f64>().prop_map(|n| format!("{n:?}")),
        1 => "-?[0-9]{1,12}(\\.[0-9]{1,20})?(e-?[0-9]{1,2})?",
        1 => Just("null".to_owned()),
        1 => "\"-?[0-9,]{0,7}(\\.[0-9]{0,3})?\"",
        1 => prop::sample::select(vec!["\"NaN\"", "\"\"", "true", "{}", "[]", "\"x\"", "NaN"]).prop_map(str::to_owned),
    ]
}

fn row() -> impl Strategy<Value = String> {
    let keys =
        prop::sample::subsequence(vec!["Size", "Price", "TotalOrders", "BuyBackMarketMaker", "New"], 0..=5);
    object(keys.prop_shuffle(), number().boxed())
}

/// An object of some keys in any order, with or without blanks.
fn object(
    keys: impl Strategy<Value = Vec<&'static str>>,
    value: BoxedStrategy<String>,
) -> impl Strategy<Value = String> {
    (keys, prop::sample::select(vec!["", "", "", " ", "\t\n"])).prop_flat_map(move |(keys, blank)| {
        let values = prop::collection::vec(value.clone(), keys.len());
        values.prop_map(move |values| {
            let members: Vec<String> = keys
                .iter()
                .zip(values)
                .map(|(key, value)| format!("{blank}\"{key}\"{blank}:{blank}{value}{blank}"))
                .collect();
            format!("{{{}}}", members.join(","))
        })
    })
}

const SCALARS: [&str; 24] = [
    "ExchangeInstrumentID",
    "ExchangeSegment",
    "LastTradedPrice",
    "MessageCode",
    "ExchangeTimeStamp",
    "LastUpdateTime",
    "LastTradedTime",
    "LastTradedQunatity",
    "LastTradedQuantity",
    "TotalBuyQuantity",
    "TotalSellQuantity",
    "TotalTradedQuantity",
    "AverageTradedPrice",
    "Open",
    "High",
    "Low",
    "Close",
    "OpenInterest",
    "PercentChange",
    "TotalValueTraded",
    "Size",
    "SequenceNumber",
    "NewMember",
    "MessageVersion",
];

fn line() -> impl Strategy<Value = String> {
    object(prop::sample::subsequence(SCALARS.to_vec(), 0..24).prop_shuffle(), number().boxed())
}

/// Puts a member somewhere into an object.
fn put(object: &mut String, key: &str, value: &str, last: bool) {
    let is_empty = object.trim_matches(['{', '}']).trim().is_empty();
    let comma = if is_empty { "" } else { "," };
    if last {
        let end = object.len() - 1;
        object.insert_str(end, &format!("{comma}\"{key}\":{value}"));
    } else {
        object.insert_str(1, &format!("\"{key}\":{value}{comma}"));
    }
}

fn message() -> impl Strategy<Value = String> {
    let rows = || {
        prop_oneof![
            prop::collection::vec(row(), 0..7).prop_map(|r| format!("[{}]", r.join(","))),
            row(),
            number()
        ]
    };
    let nested = (
        prop::option::weighted(0.5, line()),
        prop::option::of(row()),
        prop::option::of(row()),
        prop::option::of(rows()),
        prop::option::of(rows()),
    );
    (line(), nested, any::<[bool; 6]>(), prop::sample::select(CODES.to_vec())).prop_map(
        |(mut text, (mut inner, bid, ask, bids, asks), last, code)| {
            let target = inner.as_mut().unwrap_or(&mut text);
            for (key, value, last) in [("BidInfo", bid, last[0]), ("AskInfo", ask, last[1])] {
                if let Some(value) = value {
                    put(target, key, &value, last);
                }
            }
            for (key, value, last) in
                [("Touchline", inner, last[2]), ("Bids", bids, last[3]), ("Asks", asks, last[4])]
            {
                if let Some(value) = value {
                    put(&mut text, key, &value, last);
                }
            }
            // Names an instrument in most cases: else little is compared.
            if !text.contains("\"ExchangeSegment\"") {
                put(&mut text, "ExchangeSegment", "1", last[5]);
            }
            if !text.contains("\"ExchangeInstrumentID\"") {
                put(&mut text, "ExchangeInstrumentID", "2885", last[0]);
            }
            if !text.contains("\"MessageCode\"") {
                put(&mut text, "MessageCode", &code.to_string(), last[1]);
            }
            text
        },
    )
}

proptest! {
    #[test]
    fn generated_messages_are_read_alike(
        messages in prop::collection::vec(message(), 1..4),
        code in prop::sample::select(CODES.to_vec()),
    ) {
        let data: Vec<String> = messages.iter().map(|text| quoted(text)).collect();
        // Raw blanks inside the outer string are no JSON, yet read.
        let raw: Vec<String> = data.iter().map(|d| d.replace("\\n", "\n").replace("\\t", "\t")).collect();
        compare(code, &data.iter().chain(&raw).map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn damaged_messages_are_read_alike(
        sample in 0_usize..5,
        damage in prop::collection::vec((any::<prop::sample::Index>(), r#"[-0-9."{}\[\],:eE|a-zN\\/ \t\n\x01é]{0,3}"#, 0_usize..3), 1..4),
        is_inside in any::<bool>(),
    ) {
        let (code, text) = samples()[sample].clone();
        let mut datum = if is_inside { text } else { quoted(&text) };
        for (at, patch, length) in damage {
            let at = at.index(datum.len());
            let end = (at + length).min(datum.len());
            if datum.is_char_boundary(at) && datum.is_char_boundary(end) {
                datum.replace_range(at..end, &patch);
            }
        }
        let datum = if is_inside { quoted(&datum) } else { datum };
        let whole = quoted(&samples()[sample].1);
        compare(code, &[&whole, &datum, &datum, &whole]);
    }

    #[test]
    fn venue_times_are_read_alike(stamp in any::<i64>(), segment in 0_i64..60, recv in any::<i64>()) {
        let text = FLAT.replace("1455185730", &stamp.to_string()).replace("Segment\":1", &format!("Segment\":{segment}"));
        let recv = UnixNanos::from_secs(recv);
        let read = |mut decoder: Decoder| {
            let mut ticks = Vec::new();
            let counts = decoder.event(1501, &quoted(&text), recv, &mut ticks);
            (counts, ticks)
        };
        prop_assert_eq!(read(Decoder::new()), read(Decoder::checked()));
    }
}
