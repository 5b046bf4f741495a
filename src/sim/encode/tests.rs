use std::fmt::Write as _;
use std::io::Read as _;

use super::*;
use crate::market::Price;
use crate::sim::settings::Layout;

/// The values of the worked examples in the project's description of the protocol; layouts A
/// were checked with the official Python and Node decoders.
fn example() -> Quote {
    let price = |text: &str| Price::parse(text.as_bytes()).unwrap();
    let level = |size, text: &str, orders| crate::market::Level { price: price(text), size, orders };
    let time = |venue: i64| UnixNanos::from_secs(venue + 315_513_000);
    // 3,586,620,000 paise over the day: an average of 1459.87.
    let mut quote = Quote::starting(price("1450"), price("1459.87"), 2_456_789 - 5, time(1_455_185_729));
    quote.open = price("1452");
    quote.trade(price("1462.6"), 5, time(1_455_185_729));
    quote.touch(time(1_455_185_730));
    (quote.high, quote.low) = (price("1466.4"), price("1448.1"));
    (quote.total_buy, quote.total_sell) = (312_345, 401_234);
    quote.bids = [
        level(120, "1462.5", 3),
        level(340, "1462.4", 7),
        level(215, "1462.3", 4),
        level(90, "1462.2", 2),
        level(510, "1462.1", 9),
    ];
    quote.asks = [
        level(85, "1462.6", 2),
        level(270, "1462.7", 5),
        level(132, "1462.8", 3),
        level(64, "1462.9", 1),
        level(405, "1463.0", 8),
    ];
    quote
}

fn message(code: u16, quote: &Quote) -> Message<'_> {
    let id = InstrumentId { segment: Segment::NseCash, code: 2885 };
    Message { code, id, is_index: false, sequence: 1_770_698_730_000_001, quote, underlying: None }
}

fn binary(code: u16, layout: Layout) -> Vec<u8> {
    let quote = example();
    let mut out = Vec::new();
    binary::Writer::new(layout).write(&message(code, &quote), false, &mut out);
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[test]
fn worked_examples_come_out_byte_by_byte() {
    let change_of_ours = example().percent_change().to_le_bytes();
    let change_of_example = 0.868_965_517_241_373_f64.to_le_bytes();
    for (code, layout, expected) in [
        (
            1501,
            Layout::A,
            concat!(
                "00dd050100450b000001000100b400dd05040000000000000000000000814eceec704a060000000000010045",
                "0b0000425fbc5600000000780000000000000000da9640030000000000550000006666666666da9640020000",
                "000000425fbc56000000006666666666da96400500000019c40400521f0600d57c250014ae47e17acf964041",
                "5fbc5600000000d4e8bcc590ceeb3f0000000000b096409a99999999e996406666666666a096400000000000",
                "a89640000000000000f8ff0000000001000100",
            ),
        ),
        (
            1501,
            Layout::B,
            concat!(
                "00dd050100450b000001000100cc00dd05040000000000000000000000814eceec704a060000000000010045",
                "0b0000425fbc560000000078000000000000000000000000da96400300000000005500000000000000666666",
                "6666da9640020000000000425fbc56000000006666666666da9640050000000000000019c404000000000052",
                "1f060000000000d57c25000000000014ae47e17acf9640415fbc5600000000d4e8bcc590ceeb3f0000000000",
                "b096409a99999999e996406666666666a096400000000000a89640000000000000f8ff0000000001000100",
            ),
        ),
        (
            1501,
            Layout::C,
            concat!(
                "00dd050100450b000001000100a000dd05040000000000000000000000814eceec704a060000000000010045",
                "0b0000425fbc560000000078000000000000004a3b02000300000000005500000000000000543b0200020000",
                "000000425fbc5600000000543b0200050000000000000019c4040000000000521f060000000000d57c250000",
                "000000433a0200415fbc56000000005700000030370200d03c0200aa350200683602000000000001000100",
            ),
        ),
        (
            1502,
            Layout::A,
            concat!(
                "00de050100450b0000010001007001de05040000000000000000000000814eceec704a060000000000010045",
                "0b0000425fbc560000000005000000780000000000000000da9640030000000000540100009a99999999d996",
                "40070000000000d70000003333333333d996400400000000005a000000cdccccccccd89640020000000000fe",
                "0100006666666666d8964009000000000005000000550000006666666666da96400200000000000e010000cd",
                "ccccccccda9640050000000000840000003333333333db9640030000000000400000009a99999999db964001",
                "0000000000950100000000000000dc9640080000000000780000000000000000da9640030000000000550000",
                "006666666666da9640020000000000425fbc56000000006666666666da96400500000019c40400521f0600d5",
                "7c250014ae47e17acf9640415fbc5600000000d4e8bcc590ceeb3f0000000000b096409a99999999e9964066",
                "66666666a096400000000000a89640000000000000f8ff0000000001000100",
            ),
        ),
        (
            1502,
            Layout::B,
            concat!(
                "00de050100450b000001000100b001de05040000000000000000000000814eceec704a060000000000010045",
                "0b0000425fbc56000000000500000078000000000000000000000000da964003000000000054010000000000",
                "009a99999999d99640070000000000d7000000000000003333333333d996400400000000005a000000000000",
                "00cdccccccccd89640020000000000fe010000000000006666666666d8964009000000000005000000550000",
                "00000000006666666666da96400200000000000e01000000000000cdccccccccda9640050000000000840000",
                "00000000003333333333db964003000000000040000000000000009a99999999db9640010000000000950100",
                "00000000000000000000dc964008000000000078000000000000000000000000da9640030000000000550000",
                "00000000006666666666da9640020000000000425fbc56000000006666666666da9640050000000000000019",
                "c4040000000000521f060000000000d57c25000000000014ae47e17acf9640415fbc5600000000d4e8bcc590",
                "ceeb3f0000000000b096409a99999999e996406666666666a096400000000000a89640000000000000f8ff00",
                "00000001000100",
            ),
        ),
        (
            1512,
            Layout::A,
            concat!(
                "00e8050100450b0000010001004000e805040000000000000000000000814eceec704a060000000000010045",
                "0b0000425fbc5600000000010001006666666666da964005000000425fbc5600000000",
            ),
        ),
        (
            1512,
            Layout::B,
            concat!(
                "00e8050100450b0000010001004400e805040000000000000000000000814eceec704a060000000000010045",
                "0b0000425fbc5600000000010001006666666666da96400500000000000000425fbc5600000000",
            ),
        ),
    ] {
        // The example's change of 0.868965517241373 % lacks the last digits of ours.
        let ours = hex(&binary(code, layout)).replace(&hex(&change_of_ours), &hex(&change_of_example));
        assert_eq!(ours, expected, "{code} {layout:?}");
    }
}

#[test]
fn open_interest_has_the_documented_length_and_fields() {
    let mut quote = example();
    quote.open_interest = 1_234_500;
    let id = InstrumentId { segment: Segment::NseFo, code: 46_082 };
    let underlying = Some(InstrumentId { segment: Segment::NseCash, code: 2885 });
    let message = Message { id, underlying, ..message(code::OPEN_INTEREST, &quote) };
    for (layout, body) in [(Layout::A, 61), (Layout::B, 69)] {
        let mut out = Vec::new();
        binary::Writer::new(layout).write(&message, false, &mut out);
        assert_eq!(out.len(), 15 + body);
        // The worked example up to its total, which there differs from the contract's own.
        let expected = match layout {
            Layout::A => "010044d612000100450b00000000000000",
            _ => "010044d61200000000000100450b00000000000000",
        };
        assert_eq!(&hex(&out)[110..110 + expected.len()], expected);
    }
}

#[test]
fn compressed_messages_inflate_to_the_plain_body() {
    let quote = example();
    let mut writer = binary::Writer::new(Layout::B);
    // Twice, since the encoder is used again.
    for code in [code::DEPTH, code::TOUCHLINE, code::DEPTH] {
        let mut out = Vec::new();
        writer.write(&message(code, &quote), true, &mut out);
        let plain = binary(code, Layout::B);
        assert_eq!((out[0], &out[1..15]), (1, &plain[1..15]));
        assert_eq!(usize::from(u16::from_le_bytes([out[15], out[16]])), out.len() - 17);
        let mut body = Vec::new();
        flate2::read::DeflateDecoder::new(&out[17..]).read_to_end(&mut body).unwrap();
        assert_eq!(body, plain[15..]);
        assert!(out.len() < plain.len());
    }
}

fn text(message: &Message<'_>, style: json::IdStyle) -> String {
    let mut out = Vec::new();
    json::full(message, style, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn json_reads_as_documented() {
    let quote = example();
    let share = message(code::TOUCHLINE, &quote);
    assert_eq!(
        text(&share, json::IdStyle::Number),
        concat!(
            r#"{"MessageCode":1501,"ExchangeSegment":1,"ExchangeInstrumentID":2885,"LastTradedPrice":1462.6,"LastTradedQunatity":5,"#,
            r#""TotalBuyQuantity":312345,"TotalSellQuantity":401234,"TotalTradedQuantity":2456789,"AverageTradedPrice":1459.87,"#,
            r#""LastTradedTime":1455185729,"LastUpdateTime":1455185730,"PercentChange":0.8689655172413793,"#,
            r#""Open":1452,"High":1466.4,"Low":1448.1,"Close":1450,"TotalValueTraded":null,"#,
            r#""AskInfo":{"Size":85,"Price":1462.6,"TotalOrders":2,"BuyBackMarketMaker":0},"#,
            r#""BidInfo":{"Size":120,"Price":1462.5,"TotalOrders":3,"BuyBackMarketMaker":0},"XMarketType":1,"BookType":1}"#
        )
    );
    for code in code::ALL {
        let value: serde_json::Value =
            serde_json::from_str(&text(&message(code, &quote), json::IdStyle::Text)).unwrap();
        assert_eq!((&value["MessageCode"], &value["ExchangeInstrumentID"]), (&code.into(), &"2885".into()));
    }
    let depth: serde_json::Value =
        serde_json::from_str(&text(&message(code::DEPTH, &quote), json::IdStyle::Number)).unwrap();
    assert_eq!(depth["Asks"].as_array().unwrap().len(), 5);
    assert_eq!(depth["Asks"][4]["Price"], 1463);
    assert_eq!(depth["Touchline"]["Open"], 1452);
    assert_eq!(depth["SequenceNumber"], 1_770_698_730_000_001_i64);
    let index = Message { is_index: true, ..share };
    let nested: serde_json::Value = serde_json::from_str(&text(&index, json::IdStyle::Number)).unwrap();
    assert_eq!(nested["Touchline"]["LastTradedPrice"], 1462.6);
    assert_eq!(nested["LastTradedPrice"], serde_json::Value::Null);
}

#[test]
fn partial_lines_read_as_documented() {
    let quote = example();
    let mut out = Vec::new();
    json::partial(&message(code::TOUCHLINE, &quote), &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "t:1_2885,ltp:1462.6,ltq:5,tb:312345,ts:401234,v:2456789,ap:1459.87,ltt:1455185729,lut:1455185730,pc:0.8689655172413793,o:1452,h:1466.4,l:1448.1,c:1450,ai:0|85|1462.6|2,bi:0|120|1462.5|3"
    );
}

#[test]
fn each_segment_has_its_time_base() {
    let time = UnixNanos::from_secs(1_770_698_730);
    assert_eq!(venue_time(Segment::NseFo, time), 1_455_185_730);
    assert_eq!(venue_time(Segment::Mcx, time), 1_770_718_530);
    assert_eq!(venue_time(Segment::NseCash, UnixNanos::ZERO), 0);
}
