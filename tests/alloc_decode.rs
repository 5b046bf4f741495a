//! Decoding allocates nothing per message once the instruments are known. A binary of its own: it
//! counts every allocation of the process.

use std::alloc::System;
use std::path::Path;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tickgate::broker::xts::wire;
use tickgate::clock::UnixNanos;
use tickgate::market::Tick;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const RECV: UnixNanos = UnixNanos::from_millis(1_770_698_730_500);
const INSTRUMENTS: u32 = 50;
const ROUNDS: usize = 200;

/// Events of one code for many instruments, as the JSON endpoint sends them.
fn events(text: &str) -> Vec<String> {
    let event = |code: u32| serde_json::to_string(&text.replace("2885", &code.to_string())).expect("is text");
    (0..INSTRUMENTS).map(event).collect()
}

fn attachment(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/xts").join(name);
    let text: String =
        std::fs::read_to_string(path).expect("is in the repository").split_whitespace().collect();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("is hex")).collect()
}

/// Allocations of `ROUNDS` calls of `decode`, and the ticks of each, after a warm-up.
fn allocations(mut decode: impl FnMut(&mut Vec<Tick>)) -> (usize, usize) {
    let mut ticks = Vec::with_capacity(4 * INSTRUMENTS as usize);
    decode(&mut ticks);
    let found = ticks.len();
    let region = Region::new(ALLOCATOR);
    for _ in 0..ROUNDS {
        ticks.clear();
        decode(&mut ticks);
        assert_eq!(ticks.len(), found);
    }
    (region.change().allocations, found)
}

#[test]
fn decoding_allocates_nothing_once_warm() {
    let row = r#"{"Size":85,"Price":1462.6,"TotalOrders":2,"BuyBackMarketMaker":0}"#;
    let head = r#""ExchangeSegment":1,"ExchangeInstrumentID":2885,"ExchangeTimeStamp":1455185730"#;
    let line = format!(
        r#""LastTradedPrice":1462.6,"LastTradedQunatity":5,"AverageTradedPrice":1459.87123,"PercentChange":0.868965517241373,"TotalValueTraded":null,"Unheard":[{{"Of":"x"}}],"Close":1450,"AskInfo":{row},"BidInfo":{row}"#
    );
    let rows = [row; 5].join(",");
    for (code, text, per_event) in [
        (1501, format!(r#"{{"MessageCode":1501,{head},{line}}}"#), 1),
        (1501, format!(r#"{{"MessageCode":1501,{head},"Touchline":{{{line}}}}}"#), 1),
        (
            1502,
            format!(
                r#"{{"MessageCode":1502,{head},"Bids":[{rows}],"Asks":[{rows}],"Touchline":{{{line}}}}}"#
            ),
            2,
        ),
        (1510, format!(r#"{{"MessageCode":1510,{head},"OpenInterest":1234500}}"#), 1),
        (1512, format!(r#"{{"MessageCode":1512,{head},{line}}}"#), 1),
    ] {
        let (events, mut decoder) = (events(&text), wire::json::Decoder::new());
        let (allocated, found) = allocations(|ticks| {
            for event in &events {
                decoder.event(code, event, RECV, ticks);
            }
        });
        assert_eq!(found, per_event * INSTRUMENTS as usize, "{text}");
        // A handful from the test harness' other threads is no matter.
        assert!(allocated < ROUNDS / 10, "{allocated} allocations for {code}");
    }
    for name in ["1501-a-plain.hex", "1501-b-deflate.hex", "1502-b-plain.hex", "1510-b-plain-name.hex"] {
        let (attachment, mut decoder) = (attachment(name), wire::binary::Decoder::new());
        let (allocated, found) = allocations(|ticks| {
            decoder.decode(&attachment, RECV, ticks);
        });
        assert!(found > 0, "{name}");
        assert!(allocated < ROUNDS / 10, "{allocated} allocations for {name}");
    }
}
