//! Cost of writing one market-data frame of each mode in each encoding, into a re-used buffer.
//! Not the way through the hub: that is in `pieces`. `--smoke` proves that it works.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use tickgate::clock::UnixNanos;
use tickgate::market::{Bar, Depth, Exchange, LastTrade, Level, Price, Quote};
use tickgate::protocol::binary::{self, Header, Ltp};
use tickgate::protocol::openalgo::market_data;
use tickgate::protocol::{Mode, websocket};

fn price(text: &str) -> Price {
    Price::parse(text.as_bytes()).expect("is a price")
}

/// A share in the middle of the day.
fn quote() -> Quote {
    let time = UnixNanos::from_millis(1_764_212_345_000);
    Quote {
        last: LastTrade { price: price("769.6"), size: 25, time },
        bid: Level { price: price("769.55"), size: 120, orders: 4 },
        ask: Level { price: price("769.65"), size: 767, orders: 9 },
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

fn depth() -> Depth {
    let mut depth = Depth::default();
    for (index, step) in (0..5).enumerate() {
        let units = step * 50_000_000;
        let level = |price| Level { price, size: 120 + step * 311, orders: 4 + index as u32 };
        depth.bids.set(index, level(Price::from_nanos(769_550_000_000 - units)));
        depth.asks.set(index, level(Price::from_nanos(769_650_000_000 + units)));
    }
    depth
}

fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write");
    group.throughput(Throughput::Elements(1));
    let (quote, depth) = (quote(), depth());
    let recv = UnixNanos::from_millis(1_764_212_345_123);
    let prefix = |mode| market_data::prefix("SBIN", Exchange::Nse, mode, "jainamxts");
    let mut out = Vec::with_capacity(4096);
    for mode in Mode::ALL {
        let prefix = prefix(mode);
        group.bench_function(mode.label(), |b| {
            b.iter(|| {
                out.clear();
                let (quote, depth) = (black_box(&quote), black_box(&depth));
                websocket::text_frame(&mut out, |out| match mode {
                    Mode::Ltp => market_data::write_ltp(&prefix, &quote.last, Some(quote.volume), recv, out),
                    Mode::Quote => market_data::write_quote(&prefix, quote, Some(1500), recv, out),
                    Mode::Depth => {
                        let beside = market_data::Beside {
                            open_interest: Some(1500),
                            ..market_data::Beside::default()
                        };
                        market_data::write_depth(&prefix, quote, depth, &beside, recv, out);
                    }
                    Mode::Bar => market_data::write_bar(&prefix, &Bar::default(), out),
                });
                black_box(&out);
            });
        });
    }
    group.finish();
}

fn write_records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(1));
    let (quote, depth, beside) = (quote(), depth(), market_data::Beside::default());
    let now = UnixNanos::from_millis(1_764_212_345_123);
    let header = Header { number: 7, seq: 99, ts_recv: now, ts_sent: now, ..Header::default() };
    let mut out = Vec::with_capacity(4096);
    for mode in Mode::ALL {
        group.bench_function(mode.label(), |b| {
            b.iter(|| {
                out.clear();
                let (header, quote, depth) = (black_box(&header), black_box(&quote), black_box(&depth));
                match mode {
                    Mode::Ltp => {
                        let ltp = Ltp { last: quote.last, volume: Some(quote.volume) };
                        websocket::encode_binary_header(binary::LTP_LEN, &mut out);
                        binary::write_ltp(header, &ltp, &mut out);
                    }
                    Mode::Quote => {
                        websocket::encode_binary_header(binary::QUOTE_LEN, &mut out);
                        binary::write_quote(header, quote, Some(1500), &mut out);
                    }
                    Mode::Depth => {
                        websocket::encode_binary_header(binary::DEPTH_LEN, &mut out);
                        binary::write_depth(header, quote, depth, &beside, &mut out);
                    }
                    Mode::Bar => {
                        websocket::encode_binary_header(binary::BAR_LEN, &mut out);
                        binary::write_bar(header, &Bar::default(), &mut out);
                    }
                }
                black_box(&out);
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = if std::env::args().any(|arg| arg == "--smoke") {
        let short = Duration::from_millis(10);
        Criterion::default().warm_up_time(short).measurement_time(short).sample_size(10)
    } else {
        Criterion::default().configure_from_args()
    };
    write(&mut criterion);
    write_records(&mut criterion);
    criterion.final_summary();
}
