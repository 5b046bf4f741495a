//! Instructions of decoding, encoding, publishing and fan-out, as callgrind counts them: exact,
//! where times on a shared machine are not. Not times: those are `pieces`, `encode` and `fanout`.
//!
//! `cargo bench --bench instructions`; it runs itself under valgrind, each piece with two counts,
//! and prints the difference for one. With `-- --smoke` each piece runs a few times without it.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

mod feedport;

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tickgate::broker::xts::wire;
use tickgate::clock::UnixNanos;
use tickgate::hub::{Encoding, FeedId, Hub, TopicKey};
use tickgate::market::{Depth, Exchange, InstrumentId, Quote, Segment, Tick, TickBody};
use tickgate::protocol::openalgo::market_data;
use tickgate::protocol::{Mode, websocket};

use self::feedport::{FeedPort, read_all, tick};

const RECV: UnixNanos = UnixNanos::from_millis(1_770_698_730_500);
/// Ticks of one batch, in what is published.
const BATCH: u32 = 100;
/// Polls of 20 ms for what one batch brings, of which valgrind slows each a hundred times: two minutes at least.
const POLLS: u32 = 6_000;
/// Consumers of every instrument, and ticks of one batch, in the fan-out.
const CONSUMERS: u32 = 100;
const FANOUT_BATCH: u32 = 256;

/// A 1501 event's datum as the JSON endpoint sends it: text inside text.
const JSON_1501: &str = r#""{\"MessageCode\":1501,\"ExchangeSegment\":1,\"ExchangeInstrumentID\":2885,\"LastTradedPrice\":1462.6,\"LastTradedQunatity\":5,\"TotalBuyQuantity\":312345,\"TotalSellQuantity\":401234,\"TotalTradedQuantity\":2456789,\"AverageTradedPrice\":1459.87,\"LastTradedTime\":1455185729,\"LastUpdateTime\":1455185730,\"PercentChange\":0.868965517241373,\"Open\":1452,\"High\":1466.4,\"Low\":1448.1,\"Close\":1450,\"TotalValueTraded\":null,\"AskInfo\":{\"Size\":85,\"Price\":1462.6,\"TotalOrders\":2,\"BuyBackMarketMaker\":0},\"BidInfo\":{\"Size\":120,\"Price\":1462.5,\"TotalOrders\":3,\"BuyBackMarketMaker\":0},\"XMarketType\":1,\"BookType\":1}""#;

/// What is counted: its name, how often one run does it, and the doing.
struct Piece {
    name: &'static str,
    each: u64,
    run: fn(u64),
}

const PIECES: &[Piece] = &[
    Piece { name: "decode 1501 binary", each: 1, run: |n| decode("1501-b-plain", n) },
    Piece { name: "decode 1502 binary", each: 1, run: |n| decode("1502-b-plain", n) },
    Piece { name: "decode 1501 JSON", each: 1, run: decode_json },
    Piece { name: "encode LTP", each: 1, run: |n| encode(Mode::Ltp, n) },
    Piece { name: "encode Quote", each: 1, run: |n| encode(Mode::Quote, n) },
    Piece { name: "encode Depth", each: 1, run: |n| encode(Mode::Depth, n) },
    Piece { name: "publish, nobody holds it", each: BATCH as u64, run: |n| publish(None, n) },
    Piece { name: "publish LTP", each: BATCH as u64, run: |n| publish(Some(Mode::Ltp), n) },
    Piece { name: "publish Quote", each: BATCH as u64, run: |n| publish(Some(Mode::Quote), n) },
    Piece { name: "publish Depth", each: BATCH as u64, run: |n| publish(Some(Mode::Depth), n) },
    Piece {
        name: "fan out LTP to 100 consumers, readers included",
        each: CONSUMERS as u64 * FANOUT_BATCH as u64,
        run: fan_out,
    },
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("--piece") => {
            let (name, count) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
            let piece = PIECES.iter().find(|piece| piece.name == name).expect("is the name of a piece");
            (piece.run)(count.parse().expect("is a count"));
        }
        Some("--smoke") => PIECES.iter().for_each(|piece| (piece.run)(2)),
        _ => PIECES.iter().for_each(report),
    }
}

/// Prints what one of a piece takes.
fn report(piece: &Piece) {
    let counts = if piece.each > 1000 { [4, 24] } else { [1_000, 3_000] };
    let [fewer, more] = counts.map(|count| instructions(piece.name, count));
    let one = (more - fewer) as f64 / (counts[1] - counts[0]) as f64 / piece.each as f64;
    println!("{:<48} {one:>9.1} instructions", piece.name);
}

/// Instructions of a whole run.
fn instructions(name: &str, count: u64) -> u64 {
    let exe = std::env::current_exe().expect("runs from a file");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(exe)
        .args(["--piece", name, &count.to_string()])
        .output()
        .expect("valgrind is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let collected = text.lines().find_map(|line| line.split_once("Collected :")).expect("callgrind counts").1;
    collected.trim().parse().expect("is a number")
}

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/xts/{name}.hex"));
    let text: String =
        std::fs::read_to_string(path).expect("is in the repository").split_whitespace().collect();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("is hex")).collect()
}

fn decode(name: &str, count: u64) {
    let message = fixture(name);
    let mut decoder = wire::binary::Decoder::new();
    let mut ticks = Vec::with_capacity(4);
    for _ in 0..count {
        ticks.clear();
        decoder.decode(black_box(&message), RECV, &mut ticks);
        assert!(!black_box(&ticks).is_empty());
    }
}

fn decode_json(count: u64) {
    let mut decoder = wire::json::Decoder::new();
    let mut ticks = Vec::with_capacity(4);
    for _ in 0..count {
        ticks.clear();
        decoder.event(1501, black_box(JSON_1501), RECV, &mut ticks);
        assert_eq!(black_box(&ticks).len(), 1);
    }
}

/// The quote and the depth of a depth message.
fn values() -> (Quote, Depth) {
    let mut ticks = Vec::new();
    wire::binary::Decoder::new().decode(&fixture("1502-b-plain"), RECV, &mut ticks);
    match (&ticks[0].body, &ticks[1].body) {
        (TickBody::Quote(quote), TickBody::Depth(depth)) => (*quote, *depth),
        other => panic!("{other:?}"),
    }
}

fn encode(mode: Mode, count: u64) {
    let (quote, depth) = values();
    let prefix = market_data::prefix("SBIN", Exchange::Nse, mode, "jainamxts");
    let mut out = Vec::with_capacity(4096);
    for _ in 0..count {
        out.clear();
        let (quote, depth) = (black_box(&quote), black_box(&depth));
        websocket::text_frame(&mut out, |out| match mode {
            Mode::Ltp => market_data::write_ltp(&prefix, &quote.last, Some(quote.volume), RECV, out),
            Mode::Quote => market_data::write_quote(&prefix, quote, Some(1500), RECV, out),
            Mode::Depth => {
                market_data::write_depth(&prefix, quote, depth, &market_data::Beside::default(), RECV, out);
            }
            Mode::Bar => {}
        });
        black_box(&out);
    }
}

fn publish(mode: Option<Mode>, count: u64) {
    let (quote, depth) = values();
    let hub = Hub::new("sim");
    let mut shard = hub.attach_shard();
    let mut ticks = Vec::new();
    for code in 0..BATCH {
        let instrument = InstrumentId { segment: Segment::NseCash, code };
        if let Some(mode) = mode {
            let symbol = format!("SYMBOL{code}").into();
            let key =
                TopicKey { instrument, mode, encoding: Encoding::Json, exchange: Exchange::Nse, symbol };
            hub.acquire(shard.id(), key);
        }
        let tick = |body| Tick { instrument, ts_event: RECV, ts_recv: RECV, body };
        ticks.push(tick(TickBody::Quote(quote)));
        if mode == Some(Mode::Depth) {
            ticks.push(tick(TickBody::Depth(depth)));
        }
    }
    let mut publisher = hub.publisher(FeedId(0));
    for _ in 0..count {
        publisher.publish(black_box(&ticks));
        publisher.flush();
        while shard.try_recv().is_some() {}
    }
}

/// Publishes batches, each after the one before has arrived everywhere.
fn fan_out(count: u64) {
    // The gateway accepts on the runtime's workers, while this thread connects and blocks.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let port = FeedPort::start(BATCH).await;
        let sockets: Vec<_> = (0..CONSUMERS).map(|_| port.connect(0..BATCH)).collect();
        let received = Arc::new(AtomicU64::new(0));
        let sink = std::thread::spawn({
            let received = Arc::clone(&received);
            move || read_all(sockets, &received)
        });
        let mut publisher = port.hub.publisher(FeedId(0));
        for round in 0..count {
            let ticks: Vec<_> = (0..FANOUT_BATCH).map(|number| tick(number % BATCH, round)).collect();
            publisher.publish(&ticks);
            publisher.flush();
            let due = publisher.counters().bytes * u64::from(CONSUMERS);
            let mut polls = 0;
            while received.load(Ordering::Acquire) < due {
                let came = received.load(Ordering::Acquire);
                assert!(
                    polls < POLLS,
                    "batch {round}: of {due} bytes {came} came: {:?}",
                    publisher.counters()
                );
                polls += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        port.gateway.stop(Duration::from_secs(5)).await;
        sink.join().expect("the sink ends");
    });
}
