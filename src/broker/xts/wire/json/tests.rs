use proptest::prelude::*;

use super::*;
use crate::market::{Bar, Level, PriceBand};

pub(super) const RECV: UnixNanos = UnixNanos::from_secs(1_770_698_731);
const EVENT: UnixNanos = UnixNanos::from_secs(1_770_698_730);
const RELIANCE: InstrumentId = InstrumentId { segment: Segment::NseCash, code: 2885 };

// Official samples, with the values of the binary fixtures.
pub(super) const FLAT: &str = r#"{"MessageCode":1501,"ExchangeSegment":1,"ExchangeInstrumentID":2885,"LastTradedPrice":1462.6,"LastTradedQunatity":5,"TotalBuyQuantity":312345,"TotalSellQuantity":401234,"TotalTradedQuantity":2456789,"AverageTradedPrice":1459.87,"LastTradedTime":1455185729,"LastUpdateTime":1455185730,"PercentChange":0.868965517241373,"Open":1452,"High":1466.4,"Low":1448.1,"Close":1450,"TotalValueTraded":null,"AskInfo":{"Size":85,"Price":1462.6,"TotalOrders":2,"BuyBackMarketMaker":0},"BidInfo":{"Size":120,"Price":1462.5,"TotalOrders":3,"BuyBackMarketMaker":0},"XMarketType":1,"BookType":1}"#;
pub(super) const NESTED: &str = r#"{"MessageCode":1501,"MessageVersion":4,"ApplicationType":0,"TokenID":0,"ExchangeSegment":1,"ExchangeInstrumentID":26000,"ExchangeTimeStamp":1455185730,"Touchline":{"BidInfo":{"Size":0,"Price":0,"TotalOrders":0,"BuyBackMarketMaker":0},"AskInfo":{"Size":0,"Price":0,"TotalOrders":0,"BuyBackMarketMaker":0},"LastTradedPrice":25935.15,"LastTradedQunatity":0,"TotalBuyQuantity":0,"TotalSellQuantity":0,"TotalTradedQuantity":0,"AverageTradedPrice":25935.15,"LastTradedTime":1455185730,"LastUpdateTime":1455185730,"PercentChange":0.26,"Open":25900.1,"High":25990.4,"Low":25880,"Close":25867.3,"TotalValueTraded":null,"BuyBackTotalBuy":0,"BuyBackTotalSell":0},"BookType":1,"XMarketType":1,"SequenceNumber":1770698730000001}"#;
pub(super) const LAST: &str = r#"{"MessageCode":1512,"MessageVersion":4,"ApplicationType":0,"TokenID":0,"ExchangeSegment":1,"ExchangeInstrumentID":2885,"BookType":1,"XMarketType":1,"LastTradedPrice":1462.6,"LastTradedQunatity":5,"LastUpdateTime":1455185730}"#;
pub(super) const OPEN_INTEREST: &str = r#"{"MessageCode":1510,"MessageVersion":4,"ApplicationType":0,"TokenID":0,"ExchangeSegment":2,"ExchangeInstrumentID":59182,"ExchangeTimeStamp":1455185730,"XTSMarketType":1,"OpenInterest":1234500}"#;
const CANDLE: &str = r#"{"MessageCode":1505,"MessageVersion":4,"ApplicationType":0,"TokenID":0,"ExchangeSegment":1,"ExchangeInstrumentID":2885,"BarTime":1770714959,"BarVolume":182345,"Open":1452,"High":1454.2,"Low":1450.1,"Close":1453.6,"OpenInterest":0,"SumOfQtyInToPrice":264911234.5}"#;
const STATUS: &str = r#"{"MessageCode":1507,"MessageVersion":4,"ApplicationType":0,"TokenID":0,"ExchangeSegment":1,"ExchangeInstrumentID":0,"ExchangeTimeStamp":1455182100,"SequenceNumber":1770695100000001,"maketType":1,"message":"NSECM Normal market opened","tradingSession":2}"#;
const INDEX: &str = r#"{"MessageCode":1504,"MessageVersion":4,"ApplicationType":0,"TokenID":0,"ExchangeSegment":1,"ExchangeInstrumentID":26000,"ExchangeTimeStamp":1455185730,"IndexName":"NIFTY 50","IndexValue":25935.15,"OpeningIndex":25900.1,"ClosingIndex":25867.3,"HighIndexValue":25990.4,"LowIndexValue":25880,"PercentChange":0.26}"#;
/// Keys of several codes; none needs another.
const LINES: &str = "t:1_2885,bt:1770714959,o:1452,h:1454.2,l:1450.1,c:1453.6,bv:182345,110:1500,111:1400";
/// The official Node SDK's sample of a whole partial line.
const PARTIAL: &str = "t:1_22,ltp:1567.95,ltq:20,tb:1428,ts:0,v:253453,ap:1576.2,ltt:1205682110,lut:1205682251,pc:0,o:1599.9,h:1607.25,l:1552.7,c:1567.95,vp:177838490,ai:0|1428|1567.95|10,bi:0|0|0|0|1";

pub(super) fn depth_text() -> String {
    let row = |(size, price, orders): &(i64, f64, u32)| {
        format!(r#"{{"Size":{size},"Price":{price},"TotalOrders":{orders},"BuyBackMarketMaker":0}}"#)
    };
    let bids = [(120, 1462.5, 3), (340, 1462.4, 7), (215, 1462.3, 4), (90, 1462.2, 2), (510, 1462.1, 9)];
    let asks = [(85, 1462.6, 2), (270, 1462.7, 5), (132, 1462.8, 3), (64, 1462.9, 1), (405, 1463.0, 8)];
    let side = |rows: &[(i64, f64, u32)]| rows.iter().map(row).collect::<Vec<_>>().join(",");
    let touchline =
        FLAT.replace(r#""MessageCode":1501,"ExchangeSegment":1,"ExchangeInstrumentID":2885,"#, "");
    format!(
        r#"{{"MessageCode":1502,"MessageVersion":4,"ApplicationType":0,"TokenID":0,"ExchangeSegment":1,"ExchangeInstrumentID":2885,"ExchangeTimeStamp":1455185730,"Bids":[{}],"Asks":[{}],"Touchline":{touchline},"BookType":1,"XMarketType":1,"SequenceNumber":1770698730000002}}"#,
        side(&bids),
        side(&asks),
    )
}

fn price(text: &str) -> Price {
    Price::parse(text.as_bytes()).unwrap()
}

fn event(decoder: &mut Decoder, code: u16, datum: &str) -> (Counts, Vec<Tick>) {
    let mut out = Vec::new();
    let counts = decoder.event(code, datum, RECV, &mut out);
    (counts, out)
}

/// As servers send it: JSON in a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn quote_of(tick: &Tick) -> Quote {
    let TickBody::Quote(quote) = tick.body else { panic!("not a quote: {tick:?}") };
    quote
}

fn reliance() -> Quote {
    Quote {
        last: LastTrade { price: price("1462.6"), size: 5, time: UnixNanos::from_secs(1_770_698_729) },
        bid: Level { price: price("1462.5"), size: 120, orders: 3 },
        ask: Level { price: price("1462.6"), size: 85, orders: 2 },
        volume: 2_456_789,
        average: price("1459.87"),
        total_buy: 312_345,
        total_sell: 401_234,
        open: price("1452"),
        high: price("1466.4"),
        low: price("1448.1"),
        close: price("1450"),
    }
}

const ONE: Counts = Counts { messages: 1, undecodable: 0, ignored: 0, invalid_prices: 0 };

#[test]
fn a_flat_touchline_in_every_wrapping() {
    let expected =
        Tick { instrument: RELIANCE, ts_event: EVENT, ts_recv: RECV, body: TickBody::Quote(reliance()) };
    let (string, list) = (quoted(FLAT), format!("[{FLAT}]"));
    let (string_list, blanks) = (format!("[{}]", quoted(FLAT)), format!("  {string} "));
    for datum in [string.as_str(), FLAT, &list, &string_list, &blanks] {
        assert_eq!(event(&mut Decoder::new(), 1501, datum), (ONE, vec![expected]), "{datum}");
    }
    let respelt = FLAT.replace("Qunatity", "Quantity").replace(":2885", r#":"2885""#);
    let respelt = respelt.replace("1462.6,", r#""1,462.60","#);
    assert_eq!(event(&mut Decoder::new(), 1501, &quoted(&respelt)), (ONE, vec![expected]));
}

#[test]
fn a_nested_touchline() {
    let (counts, ticks) = event(&mut Decoder::new(), 1501, &quoted(NESTED));
    assert_eq!((counts, ticks.len()), (ONE, 1));
    assert_eq!((ticks[0].instrument.code, ticks[0].ts_event), (26000, EVENT));
    let quote = quote_of(&ticks[0]);
    assert_eq!((quote.last.price, quote.close), (price("25935.15"), price("25867.3")));
    assert_eq!((quote.volume, quote.bid), (0, Level::default()));
}

#[test]
fn depth_yields_a_quote_and_five_levels() {
    let (counts, ticks) = event(&mut Decoder::new(), 1502, &quoted(&depth_text()));
    assert_eq!((counts, ticks.len()), (ONE, 2));
    assert_eq!(quote_of(&ticks[0]), reliance());
    let TickBody::Depth(depth) = ticks[1].body else { panic!("not a depth") };
    assert_eq!(depth.bids.level(0), reliance().bid);
    assert_eq!(depth.bids.level(4), Level { price: price("1462.1"), size: 510, orders: 9 });
    assert_eq!(depth.asks.level(1), Level { price: price("1462.7"), size: 270, orders: 5 });
}

#[test]
fn depth_may_be_a_single_object_and_then_gives_the_best_levels() {
    let text = r#"{"MessageCode":1502,"ExchangeSegment":1,"ExchangeInstrumentID":2885,"ExchangeTimeStamp":1455185730,"Bids":{"Size":120,"Price":1462.5,"TotalOrders":3},"Asks":[],"Touchline":{"LastTradedPrice":1462.6}}"#;
    let (_, ticks) = event(&mut Decoder::new(), 1502, text);
    assert_eq!(quote_of(&ticks[0]).bid, reliance().bid);
    assert_eq!(quote_of(&ticks[0]).ask, Level::default());
}

#[test]
fn last_trade_and_open_interest() {
    let (counts, ticks) = event(&mut Decoder::new(), 1512, &quoted(LAST));
    let last = LastTrade { price: price("1462.6"), size: 5, time: UnixNanos::ZERO };
    assert_eq!((counts, ticks[0].body, ticks[0].ts_event), (ONE, TickBody::LastTrade(last), EVENT));

    let (counts, ticks) = event(&mut Decoder::new(), 1510, &quoted(OPEN_INTEREST));
    let instrument = InstrumentId { segment: Segment::NseFo, code: 59182 };
    let body = TickBody::OpenInterest(OpenInterest { open_interest: 1_234_500 });
    assert_eq!((counts, ticks), (ONE, vec![Tick { instrument, ts_event: EVENT, ts_recv: RECV, body }]));
}

#[test]
fn what_yields_no_tick_is_counted_by_its_reason() {
    let invalid = Counts { invalid_prices: 1, ..ONE };
    let garbage = Counts { undecodable: 1, ..ONE };
    let ignored = Counts { ignored: 1, ..ONE };
    let ltp = |value: &str| {
        quoted(&FLAT.replace("\"LastTradedPrice\":1462.6", &format!("\"LastTradedPrice\":{value}")))
    };
    for (code, datum, counts) in [
        (1501, ltp("0"), invalid),
        (1501, ltp("-1"), invalid),
        (1501, ltp("null"), invalid),
        (1501, ltp("\"NaN\""), invalid),
        (1501, String::new(), garbage),
        (1501, "\"{\"".to_owned(), garbage),
        (1501, "\"unclosed".to_owned(), garbage),
        (1501, "[1".to_owned(), garbage),
        (1501, "{}".to_owned(), garbage),
        (1501, quoted("nonsense"), garbage),
        (1510, quoted(&OPEN_INTEREST.replace("1234500", "-1")), garbage),
        (1501, quoted(&FLAT.replace("\"ExchangeSegment\":1", "\"ExchangeSegment\":21")), ignored),
        (1105, quoted("t:12_1140025,12:0.05,11:1"), ignored),
        (1105, quoted("t:21_1140025,110:2067.75"), ignored),
        (1105, quoted("t:1_NIFTY 50,110:1"), garbage),
        (1105, quoted("t:12_1140025,110:NaN"), garbage),
        (1105, quoted("t:12_1140025,110:1,111:2"), garbage),
        (1507, "\"{}\"".to_owned(), garbage),
        (1507, quoted(&STATUS.replace("\"maketType\":1", "\"maketType\":4")), ignored),
        (1505, quoted(&CANDLE.replace("1454.2", "0")), invalid),
        (1505, quoted(&CANDLE.replace("182345", "182345.5")), garbage),
        (1505, quoted(&CANDLE.replace("1770714959", "1455182159")), garbage),
        (1505, quoted("t:1_2885,bt:1770714959"), ignored),
        (1505, quoted("t:1_2885,bt:x,o:1,h:1,l:1,c:1,bv:1"), garbage),
        (1504, quoted(&INDEX.replace(":26000,", ":3045,")), ignored),
        (1504, quoted(&INDEX.replace("25935.15", "0")), invalid),
        (1104, quoted(FLAT), ignored),
    ] {
        let (got, ticks) = event(&mut Decoder::new(), code, &datum);
        assert_eq!((got, ticks.len()), (counts, 0), "{code} {datum}");
    }
}

#[test]
fn partial_events_are_merged_into_the_last_full_state() {
    let mut decoder = Decoder::new();
    let change = quoted("t:1_2885,ltp:1463.0,ltq:,v:2456800,lut:1455185731,bi:0|130|1462.9|4");
    let (counts, ticks) = event(&mut decoder, 1501, &change);
    assert_eq!((counts.ignored, ticks.len()), (1, 0), "nothing to merge into yet");
    event(&mut decoder, 1501, &quoted(FLAT));
    let (counts, ticks) = event(&mut decoder, 1501, &change);
    assert_eq!(counts, ONE);
    assert_eq!(ticks[0].ts_event, UnixNanos::from_secs(1_770_698_731));
    let mut expected = reliance();
    expected.last.price = price("1463");
    expected.volume = 2_456_800;
    expected.bid = Level { price: price("1462.9"), size: 130, orders: 4 };
    assert_eq!(quote_of(&ticks[0]), expected);
}

#[test]
fn a_whole_partial_line_stands_alone() {
    let (counts, ticks) = event(&mut Decoder::new(), 1501, &quoted(PARTIAL));
    assert_eq!(counts, ONE);
    let quote = quote_of(&ticks[0]);
    assert_eq!((quote.last.price, quote.close, quote.volume), (price("1567.95"), price("1567.95"), 253_453));
    assert_eq!(quote.ask, Level { price: price("1567.95"), size: 1428, orders: 10 });
    assert_eq!(quote.bid, Level::default());
    // 2018-03-16 15:44:11 IST.
    assert_eq!(ticks[0].ts_event.to_string(), "2018-03-16T10:14:11Z");
    let (_, ticks) = event(&mut Decoder::new(), 1510, "\"t:2_59182,o:1234500\"");
    assert_eq!(ticks[0].body, TickBody::OpenInterest(OpenInterest { open_interest: 1_234_500 }));
}

fn bar() -> Bar {
    Bar {
        // 2026-02-10 09:15 IST: the message says 09:15:59.
        start: UnixNanos::from_secs(1_770_695_100),
        open: price("1452"),
        high: price("1454.2"),
        low: price("1450.1"),
        close: price("1453.6"),
        volume: 182_345,
        open_interest: 0,
    }
}

#[test]
fn candles_in_every_wrapping_and_form() {
    for datum in [quoted(CANDLE), CANDLE.to_owned(), format!("[{CANDLE}]")] {
        let (counts, ticks) = event(&mut Decoder::new(), 1505, &datum);
        assert_eq!((counts, ticks[0].body), (ONE, TickBody::Bar(bar())));
        assert_eq!((ticks[0].instrument, ticks[0].ts_event), (RELIANCE, UnixNanos::from_secs(1_770_695_159)));
    }
    // A whole line stands alone; a later one is merged into it.
    let mut decoder = Decoder::new();
    let line = "t:1_2885,bt:1770714959,o:1452,h:1454.2,l:1450.1,c:1453.6,bv:182345,pv:264911234.5";
    assert_eq!(event(&mut decoder, 1505, &quoted(line)).1[0].body, TickBody::Bar(bar()));
    let (counts, ticks) = event(&mut decoder, 1505, &quoted("t:1_2885,bt:1770715019,c:1455,bv:90,oi:7,h:"));
    let next = Bar {
        start: UnixNanos::from_secs(1_770_695_160),
        close: price("1455"),
        volume: 90,
        open_interest: 7,
        ..bar()
    };
    assert_eq!((counts, ticks[0].body), (ONE, TickBody::Bar(next)));
}

#[test]
fn price_bands_are_no_prices() {
    let band = |text: &str| match event(&mut Decoder::new(), 1105, &quoted(text)).1[..] {
        [Tick { instrument, body: TickBody::PriceBand(band), .. }] => (instrument.code, band),
        _ => panic!("no band: {text}"),
    };
    let both = PriceBand { low: Some(price("516.95")), high: Some(price("2067.75")) };
    assert_eq!(band("t:12_1140025,110:2067.75,111:516.95"), (1_140_025, both));
    assert_eq!(
        band("t:1_2885,11:1,111:516.95,110:0").1,
        PriceBand { high: Some(Price::ZERO), ..both },
        "it is lifted"
    );
}

#[test]
fn market_status_is_no_tick_and_the_last_word_counts() {
    let mut decoder = Decoder::new();
    for text in [STATUS.replace("\"tradingSession\":2", "\"tradingSession\":77"), STATUS.to_owned()] {
        assert_eq!(event(&mut decoder, 1507, &quoted(&text)), (ONE, vec![]));
        if text != STATUS {
            let odd = decoder.phases[0].clone();
            assert_eq!((odd.code, odd.as_str()), (77, "unknown"));
        }
    }
    let expected = MarketPhase {
        segment: Segment::NseCash,
        code: 2,
        at: UnixNanos::from_secs(1_770_695_100),
        received_at: RECV,
        message: "NSECM Normal market opened".to_owned(),
    };
    assert_eq!(expected.as_str(), "normal_open");
    assert_eq!(decoder.take_phases(), [expected]);
    assert_eq!(decoder.take_phases(), []);
}

#[test]
fn index_values_are_quotes_without_a_book() {
    let (counts, ticks) = event(&mut Decoder::new(), 1504, &quoted(INDEX));
    let quote = quote_of(&ticks[0]);
    assert_eq!((counts, ticks[0].ts_event), (ONE, EVENT));
    assert_eq!(
        [quote.last.price, quote.open, quote.high, quote.low, quote.close],
        ["25935.15", "25900.1", "25990.4", "25880", "25867.3"].map(price)
    );
}

#[test]
fn market_events_by_name() {
    for (name, code) in [
        ("1501-json-full", Some(1501)),
        ("1105-json-partial", Some(1105)),
        ("joined", None),
        ("1501-json-other", None),
        ("x-json-full", None),
    ] {
        assert_eq!(market_event(name), code, "{name}");
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>(), code in prop_oneof![1495_u16..1515, Just(1105)]) {
        let mut decoder = Decoder::new();
        event(&mut decoder, code, &text);
        event(&mut decoder, code, &quoted(&text));
    }

    /// Damaged samples reach the code behind the JSON reader.
    #[test]
    fn damaged_messages_never_panic(
        sample in 0_usize..9,
        at in any::<prop::sample::Index>(),
        patch in r#"[-0-9."{}\[\],:|a-zN]{0,4}"#,
        code in prop::sample::select(vec![1501_u16, 1502, 1510, 1512, 1504, 1505, 1507, 1105]),
    ) {
        let depth = depth_text();
        let mut text = [FLAT, NESTED, LAST, PARTIAL, &depth, CANDLE, STATUS, INDEX, LINES][sample].to_owned();
        let at = at.index(text.len());
        text.replace_range(at..=at, &patch);
        let mut decoder = Decoder::new();
        event(&mut decoder, code, &quoted(FLAT));
        event(&mut decoder, code, &quoted(&text));
        event(&mut decoder, code, &text);
    }
}
