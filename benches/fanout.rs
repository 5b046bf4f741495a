//! Fan-out over real loopback sockets: hub → shards → consumers, at the rate that is possible
//! without losing anything. Not a timed test: it prints, and compares nothing.
//!
//! `cargo bench --bench fanout`, with `-- --smoke` a short run that only proves that it works.
//! At most 200,000 deliveries and 8,192 ticks are in flight; the consumers are threads of this process that
//! count bytes, so on few cores they are a good part of the cost.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tickgate::clock::{SystemClock, UnixNanos};
use tickgate::gateway::auth::{ConsumerKeys, Scopes};
use tickgate::gateway::{Deps, GatewayHandle, Settings, start};
use tickgate::hub::{FeedId, Hub};
use tickgate::market::{
    InstrumentId, LastTrade, MasterBuilder, MasterHandle, Price, Quote, Segment, Tick, TickBody,
};
use tickgate::store::Store;
use tokio::time::{Duration, Instant};

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
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let (store, _) = Store::open(dir.path(), &SystemClock).expect("the store opens");
    let keys = ConsumerKeys::open(&store, Arc::new(SystemClock)).expect("keys open");
    let key = keys.create("bench", Scopes::DEFAULT).await.expect("a key is made");
    let master = MasterHandle::new();
    let mut builder = MasterBuilder::new();
    for number in 0..symbols {
        let code = 100_000 + number;
        builder.add_rows(&format!(
            "NSECM|{code}|8|LG{number:05}|LG-EQ|EQ|LG-EQ|{code}|1598|1307.6|676621|0.1|1|1|LG{number:05}||1|1|X|0|1|1\n"
        ));
    }
    let (built, report) = builder.finish();
    assert_eq!(report.instruments, symbols as usize, "{report:?}");
    master.store(Arc::new(built));
    let hub = Hub::new("bench");
    let gateway = start(Deps {
        settings: Settings { max_commands_per_second: u32::MAX, ..Settings::default() },
        listener: std::net::TcpListener::bind("127.0.0.1:0").expect("loopback works"),
        hub: hub.clone(),
        master,
        keys,
        broker: "bench".to_owned(),
        clock: Arc::new(SystemClock),
    })
    .expect("the gateway starts");

    let before = resident();
    let sockets: Vec<_> = (0..consumers)
        .map(|number| {
            let names = (0..each).map(|i| (number * each + i) % symbols);
            connect(&gateway, key.expose(), names)
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
    gateway.stop(Duration::from_secs(5)).await;
    sink.join().expect("the sink ends");
}

fn tick(number: u32, sequence: u64) -> Tick {
    let price = Price::from_nanos((100_000 + (sequence % 90_000) as i64) * 1_000_000_000 + 550_000_000);
    let last = LastTrade { price, size: 25, time: UnixNanos::from_millis(1_764_212_345_000) };
    let quote = Quote { last, volume: 1_000_000_000_000 + sequence as i64, ..Quote::default() };
    Tick {
        instrument: InstrumentId { segment: Segment::NseCash, code: 100_000 + number },
        ts_event: UnixNanos::ZERO,
        ts_recv: UnixNanos::from_millis(1_764_212_345_123),
        body: TickBody::Quote(quote),
    }
}

/// Connects, authenticates and subscribes; all of it answered when this returns.
fn connect(gateway: &GatewayHandle, key: &str, names: impl Iterator<Item = u32>) -> TcpStream {
    let mut socket = TcpStream::connect(gateway.addr()).expect("the feed port accepts");
    let symbols: Vec<_> =
        names.map(|n| format!("{{\"symbol\":\"LG{n:05}\",\"exchange\":\"NSE\"}}")).collect();
    let mut bytes = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        gateway.addr()
    )
    .into_bytes();
    for text in [
        format!("{{\"action\":\"authenticate\",\"api_key\":\"{key}\"}}"),
        format!("{{\"action\":\"subscribe\",\"mode\":1,\"symbols\":[{}]}}", symbols.join(",")),
    ] {
        // A mask of zeros leaves the text as it is.
        bytes.extend([0x81, 0x80 | 0x7e]);
        bytes.extend((text.len() as u16).to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(text.as_bytes());
    }
    socket.write_all(&bytes).expect("the server reads");
    // The answers to both, to their very end: what follows is counted.
    let mut answer = Vec::new();
    let mut piece = vec![0; 64 << 10];
    let end = b"\"broker\":\"bench\"}";
    while !(answer.ends_with(end) && answer.windows(19).any(|w| w == b"processing complete")) {
        let len = socket.read(&mut piece).expect("the server answers");
        assert!(len > 0, "closed: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..len]);
    }
    socket.set_nonblocking(true).expect("sockets can be non-blocking");
    socket
}

/// Reads whatever comes until every connection has ended, counting bytes.
fn read_all(sockets: Vec<TcpStream>, received: &Arc<AtomicU64>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let tasks = tokio::task::LocalSet::new();
    let buffer = Rc::new(RefCell::new(vec![0; 1 << 20]));
    let enter = runtime.enter();
    for socket in sockets {
        let socket = tokio::net::TcpStream::from_std(socket).expect("the reactor takes it");
        let (buffer, received) = (Rc::clone(&buffer), Arc::clone(received));
        tasks.spawn_local(async move {
            while socket.readable().await.is_ok() {
                match socket.try_read(&mut buffer.borrow_mut()) {
                    Ok(0) => return,
                    Ok(len) => {
                        received.fetch_add(len as u64, Ordering::Release);
                    }
                    Err(_) => {}
                }
            }
        });
    }
    drop(enter);
    runtime.block_on(tasks);
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
