//! Fan-out over real loopback sockets: hub → shards → consumers, at the rate that is possible
//! without losing anything. Not a timed test: it prints, and compares nothing.
//!
//! `cargo bench --bench fanout`, with `-- --smoke` a short run that only proves that it works.
//! At most 200,000 deliveries and 8,192 ticks are in flight; the consumers are threads of this process that
//! count bytes, so on few cores they are a good part of the cost.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

mod feedport;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tickgate::hub::FeedId;
use tokio::time::{Duration, Instant};

use self::feedport::{FeedPort, read_all, tick};

/// Published, but not read yet: deliveries, and ticks. What one consumer may be behind by
/// stays below what waits for it without being conflated.
const IN_FLIGHT: u64 = 200_000;
const TICKS_IN_FLIGHT: u64 = 8_192;

#[derive(Clone, Copy)]
struct Shape {
    consumers: u32,
    symbols: u32,
    /// Symbols that each consumer wants.
    each: u32,
    /// Ticks in one flush of the feed.
    batch: u32,
}

fn main() {
    let smoke = std::env::args().any(|arg| arg == "--smoke");
    let length = if smoke { Duration::from_millis(100) } else { Duration::from_secs(3) };
    let shape = |consumers, symbols, each, batch| Shape { consumers, symbols, each, batch };
    let shapes = if smoke {
        vec![shape(5, 10, 10, 32), shape(5, 10, 2, 32)]
    } else {
        vec![
            shape(10, 100, 100, 256),
            shape(100, 100, 100, 256),
            shape(1000, 100, 100, 256),
            shape(1000, 1000, 10, 4096),
            shape(100, 100, 100, 16),
            shape(100, 100, 100, 1),
        ]
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    for shape in shapes {
        runtime.block_on(run(shape, length));
    }
}

async fn run(shape: Shape, length: Duration) {
    let Shape { consumers, symbols, each, batch } = shape;
    let port = FeedPort::start(symbols).await;
    let (hub, gateway) = (&port.hub, &port.gateway);

    let before = resident();
    let sockets: Vec<_> = (0..consumers)
        .map(|number| {
            let names = (0..each).map(|i| (number * each + i) % symbols);
            port.connect(names)
        })
        .collect();
    let memory = (resident().saturating_sub(before)) as f64 / f64::from(consumers);

    let mut publisher = hub.publisher(FeedId(0));
    let received = Arc::new(AtomicU64::new(0));
    let sink = std::thread::spawn({
        let received = Arc::clone(&received);
        move || read_all(sockets, &received)
    });
    // Every frame has the same length, so bytes count deliveries.
    let base = gateway.counts();
    publisher.publish(&[tick(0, 0)]);
    publisher.flush();
    let frame_len = publisher.counters().bytes;
    let per_tick = u64::from(consumers) * u64::from(each) / u64::from(symbols);

    let in_flight = IN_FLIGHT.min(TICKS_IN_FLIGHT * per_tick);

    let (cpu, began) = (cpu_seconds(), Instant::now());
    let mut published = 1_u64;
    let mut ticks = Vec::new();
    while began.elapsed() < length {
        let read = received.load(Ordering::Acquire) / frame_len;
        if (published * per_tick).saturating_sub(read) > in_flight {
            tokio::time::sleep(Duration::ZERO).await;
            continue;
        }
        ticks.clear();
        ticks.extend(
            (0..u64::from(batch)).map(|i| tick(((published + i) % u64::from(symbols)) as u32, published)),
        );
        publisher.publish(&ticks);
        publisher.flush();
        published += u64::from(batch);
        publisher.ready().await;
    }
    let mut waited = Duration::ZERO;
    while received.load(Ordering::Acquire) / frame_len < gateway.counts().frames - base.frames
        || gateway.counts().frames - base.frames
            < published / u64::from(symbols) * u64::from(consumers * each)
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
        waited += Duration::from_millis(1);
        assert!(waited < Duration::from_secs(30), "frames are missing");
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let counts = gateway.counts();
    let frames = (counts.frames - base.frames) as f64;
    println!(
        "{consumers:>5} consumers x {each:>4} of {symbols:>4}, {batch:>4} ticks a flush: {:>6.2} M/s, {:>5.0} ns of CPU each (all included), \
         {:.4} writes, {:>5.1} bytes copied each, {} conflated, {memory:.1} KiB per consumer",
        frames / seconds / 1e6,
        cpu * 1e9 / frames,
        (counts.writes - base.writes) as f64 / frames,
        (counts.bytes_copied - base.bytes_copied) as f64 / frames,
        counts.conflated,
    );
    port.gateway.stop(Duration::from_secs(5)).await;
    sink.join().expect("the sink ends");
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Processor time of the whole process: publisher, shards and consumers.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum();
    ticks / 100.0
}
