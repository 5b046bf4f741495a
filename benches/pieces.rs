//! The pieces of a tick's way, one by one: decode a broker's message, encode a topic's frame.
//!
//! `cargo bench --bench pieces`, or with `-- --smoke` each piece once. Divide the publish
//! figures by the ticks in a batch (named in each) for the cost of one.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput};
use tickgate::broker::xts::wire;
use tickgate::clock::UnixNanos;
use tickgate::hub::{Encoding, FeedId, Hub, TopicKey};
use tickgate::market::{Exchange, InstrumentId, Segment, Tick};
use tickgate::protocol::Mode;

const RECV: UnixNanos = UnixNanos::from_millis(1_770_698_730_500);
const BATCH: usize = 100;

/// A 1501 event's datum as the JSON endpoint sends it: text inside text.
const JSON_1501: &str = r#""{\"MessageCode\":1501,\"ExchangeSegment\":1,\"ExchangeInstrumentID\":2885,\"LastTradedPrice\":1462.6,\"LastTradedQunatity\":5,\"TotalBuyQuantity\":312345,\"TotalSellQuantity\":401234,\"TotalTradedQuantity\":2456789,\"AverageTradedPrice\":1459.87,\"LastTradedTime\":1455185729,\"LastUpdateTime\":1455185730,\"PercentChange\":0.868965517241373,\"Open\":1452,\"High\":1466.4,\"Low\":1448.1,\"Close\":1450,\"TotalValueTraded\":null,\"AskInfo\":{\"Size\":85,\"Price\":1462.6,\"TotalOrders\":2,\"BuyBackMarketMaker\":0},\"BidInfo\":{\"Size\":120,\"Price\":1462.5,\"TotalOrders\":3,\"BuyBackMarketMaker\":0},\"XMarketType\":1,\"BookType\":1}""#;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/xts").join(name);
    let text: String =
        std::fs::read_to_string(path).expect("is in the repository").split_whitespace().collect();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("is hex")).collect()
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    for name in ["1501-b-plain", "1501-b-deflate", "1502-b-plain"] {
        let message = fixture(&format!("{name}.hex"));
        let mut decoder = wire::binary::Decoder::new();
        let mut ticks = Vec::with_capacity(4);
        group.bench_function(name, |b| {
            b.iter(|| {
                ticks.clear();
                decoder.decode(black_box(&message), RECV, &mut ticks);
                assert!(!ticks.is_empty());
            });
        });
    }
    let depth = json_1502();
    for (name, code, datum, decoder) in [
        ("1501-json", 1501, JSON_1501, wire::json::Decoder::new()),
        ("1502-json", 1502, &depth, wire::json::Decoder::new()),
        ("1501-json, checked reader", 1501, JSON_1501, wire::json::Decoder::checked()),
        ("1502-json, checked reader", 1502, &depth, wire::json::Decoder::checked()),
    ] {
        let mut decoder = decoder;
        let mut ticks = Vec::with_capacity(4);
        group.bench_function(name, |b| {
            b.iter(|| {
                ticks.clear();
                decoder.event(code, black_box(datum), RECV, &mut ticks);
                assert!(!ticks.is_empty());
            });
        });
    }
    group.finish();
}

/// The same as a 1502 event's, with five levels a side.
fn json_1502() -> String {
    let row = |size: u32, price: &str| {
        format!(r#"{{\"Size\":{size},\"Price\":{price},\"TotalOrders\":3,\"BuyBackMarketMaker\":0}}"#)
    };
    let side = |prices: [&str; 5]| {
        (100..).step_by(37).zip(prices).map(|(s, p)| row(s, p)).collect::<Vec<_>>().join(",")
    };
    let (_, touchline) = JSON_1501.split_once("2885,").expect("is in the text above");
    let (touchline, _) = touchline.rsplit_once(r#",\"XMarketType"#).expect("is in the text above");
    format!(
        r#""{{\"MessageCode\":1502,\"MessageVersion\":4,\"ApplicationType\":0,\"TokenID\":0,\"ExchangeSegment\":1,\"ExchangeInstrumentID\":2885,\"ExchangeTimeStamp\":1455185730,\"Bids\":[{}],\"Asks\":[{}],\"Touchline\":{{{touchline}}},\"BookType\":1,\"XMarketType\":1,\"SequenceNumber\":1770698730000002}}""#,
        side(["1462.5", "1462.4", "1462.3", "1462.2", "1462.1"]),
        side(["1462.6", "1462.7", "1462.8", "1462.9", "1463"]),
    )
}

/// The ticks of one depth message (a quote and a depth), for `BATCH` instruments.
fn ticks() -> Vec<Tick> {
    let mut one = Vec::new();
    wire::binary::Decoder::new().decode(&fixture("1502-b-plain.hex"), RECV, &mut one);
    (0..BATCH as u32)
        .flat_map(|code| {
            one.clone().into_iter().map(move |tick| Tick {
                instrument: InstrumentId { segment: Segment::NseCash, code },
                ..tick
            })
        })
        .collect()
}

fn publish(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("publish, {BATCH} messages a batch"));
    group.throughput(Throughput::Elements(BATCH as u64));
    let quotes: Vec<_> = ticks().into_iter().step_by(2).collect();
    for (name, mode, ticks) in [
        ("nobody holds it", None, quotes.clone()),
        ("ltp", Some(Mode::Ltp), quotes.clone()),
        ("quote", Some(Mode::Quote), quotes),
        ("depth", Some(Mode::Depth), ticks()),
    ] {
        let hub = Hub::new("sim");
        let mut shard = hub.attach_shard();
        for code in 0..BATCH as u32 {
            if let Some(mode) = mode {
                let instrument = InstrumentId { segment: Segment::NseCash, code };
                let symbol = format!("SYMBOL{code}").into();
                let key =
                    TopicKey { instrument, mode, encoding: Encoding::Json, exchange: Exchange::Nse, symbol };
                hub.acquire(shard.id(), key);
            }
        }
        let mut publisher = hub.publisher(FeedId(0));
        group.bench_function(name, |b| {
            b.iter(|| {
                publisher.publish(black_box(&ticks));
                publisher.flush();
                while shard.try_recv().is_some() {}
            });
        });
    }
    group.finish();
}

fn main() {
    let smoke = std::env::args().any(|arg| arg == "--smoke");
    let mut criterion = if smoke {
        // One short sample: proves that it works, measures nothing.
        Criterion::default()
            .warm_up_time(std::time::Duration::from_millis(1))
            .measurement_time(std::time::Duration::from_millis(10))
            .sample_size(10)
    } else {
        Criterion::default()
    };
    decode(&mut criterion);
    publish(&mut criterion);
    criterion.final_summary();
}
