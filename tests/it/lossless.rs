//! Nothing is lost on the way from the hub to consumers' sockets, whatever their number, and what it
//! costs is what it should: by exact counts, over real sockets. Not what frames say (`truth`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tickgate::clock::{SystemClock, UnixNanos};
use tickgate::gateway::auth::{ConsumerKeys, Scopes};
use tickgate::gateway::{Deps, GatewayHandle, Settings};
use tickgate::hub::{FeedId, Hub, Publisher};
use tickgate::market::{
    InstrumentId, LastTrade, MasterBuilder, MasterHandle, Price, Quote, Segment, Tick, TickBody,
};
use tickgate::store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::rig::until;

const INSTRUMENTS: u32 = 40;
/// The longest that consumers may take. Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(4);
/// The size of every trade but those of the last round, by which readers know the end.
const ORDINARY: i64 = 5;
const LAST: i64 = 7;

struct Rig {
    gateway: GatewayHandle,
    publisher: Publisher,
    key: String,
    _dir: TempDir,
}

impl Rig {
    async fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = TempDir::new().unwrap();
        let (store, _) = Store::open(dir.path(), &SystemClock).unwrap();
        let keys = ConsumerKeys::open(&store, Arc::new(SystemClock)).unwrap();
        let key = keys.create("alice", Scopes::DEFAULT).await.unwrap().expose().to_owned();
        let mut builder = MasterBuilder::new();
        for number in 0..INSTRUMENTS {
            let code = 1000 + number;
            builder.add_rows(&format!(
                "NSECM|{code}|8|S{number}|S{number}-EQ|EQ|S{number}-EQ|{code}|1598|1307.6|676621|0.1|1|1|S{number}|INE002A01018|1|1|A COMPANY|0|1|1\n"
            ));
        }
        let master = MasterHandle::new();
        master.store(Arc::new(builder.finish().0));
        let hub = Hub::new("b");
        let mut settings = Settings { max_commands_per_second: 100_000, ..Settings::default() };
        change(&mut settings);
        let gateway = tickgate::gateway::start(Deps {
            settings,
            listener: std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
            hub: hub.clone(),
            master,
            keys,
            broker: "b".to_owned(),
            clock: Arc::new(SystemClock),
            tls: None,
        })
        .unwrap();
        Self { gateway, publisher: hub.publisher(FeedId(0)), key, _dir: dir }
    }

    /// A consumer of these instruments' last prices.
    async fn consumer(&self, numbers: &[u32], options: Value, tiny: bool) -> Reader {
        Reader::connect(self.gateway.addr(), &self.key, numbers, options, tiny).await
    }

    /// One tick of every instrument, in one batch. The round is the volume.
    async fn round(&mut self, round: i64, size: i64) {
        let ticks: Vec<_> = (0..INSTRUMENTS)
            .map(|number| Tick {
                instrument: InstrumentId { segment: Segment::NseCash, code: 1000 + number },
                ts_event: UnixNanos::ZERO,
                ts_recv: UnixNanos::from_secs(1_770_698_730),
                body: TickBody::Quote(Quote {
                    last: LastTrade { price: Price::from_rupees(100), size, time: UnixNanos::ZERO },
                    volume: round,
                    ..Quote::default()
                }),
            })
            .collect();
        self.publisher.publish(&ticks);
        self.publisher.flush();
        // As a feed does: a shard that is behind is waited for.
        timeout(PATIENCE, self.publisher.ready()).await.expect("the shards keep up");
    }
}

/// A consumer without a WebSocket library, so that reading is as slow or fast as a test wants.
struct Reader {
    socket: TcpStream,
    kept: Vec<u8>,
    /// Bytes of `kept` that are done with.
    used: usize,
    /// The volume last seen, by instrument.
    seen: BTreeMap<u32, i64>,
    frames: u64,
    /// Instruments whose last round has come.
    ended: usize,
}

impl Reader {
    async fn connect(addr: SocketAddr, key: &str, numbers: &[u32], options: Value, tiny: bool) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if tiny {
            socket.set_recv_buffer_size(4 << 10).unwrap();
        }
        let mut socket = socket.connect(addr).await.unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        let mut reader =
            Self { socket, kept: Vec::new(), used: 0, seen: BTreeMap::new(), frames: 0, ended: 0 };
        reader.say(&json!({"action": "authenticate", "api_key": key})).await;
        assert!(reader.next(64 << 10).await.contains("success"));
        let symbols: Vec<_> =
            numbers.iter().map(|n| json!({"symbol": format!("S{n}"), "exchange": "NSE"})).collect();
        reader.say(&json!({"action": "subscribe", "mode": 1, "symbols": symbols, "tickgate": options})).await;
        let ack = reader.next(64 << 10).await;
        assert!(ack.contains("\"status\":\"success\",\"subscriptions\""), "{ack}");
        reader.seen = numbers.iter().map(|n| (*n, 0)).collect();
        reader
    }

    async fn say(&mut self, frame: &Value) {
        let payload = frame.to_string().into_bytes();
        let len = u16::try_from(payload.len()).unwrap();
        // A mask of zeros is one too.
        let mut bytes = vec![0x81, 0xfe];
        bytes.extend(len.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        self.socket.write_all(&bytes).await.unwrap();
    }

    /// The next frame's text; reads at most so many bytes at a time.
    async fn next(&mut self, at_most: usize) -> String {
        loop {
            let rest = &self.kept[self.used..];
            let header = match rest {
                [_, 126, a, b, ..] => Some((4, usize::from(u16::from_be_bytes([*a, *b])))),
                [_, 127 | 255, ..] => panic!("no frame is that long"),
                [_, len, ..] if *len < 126 => Some((2, usize::from(*len))),
                _ => None,
            };
            if let Some((at, len)) = header
                && rest.len() >= at + len
            {
                assert_eq!(rest[0], 0x81, "a whole text frame");
                let text = std::str::from_utf8(&rest[at..at + len]).unwrap().to_owned();
                self.used += at + len;
                return text;
            }
            self.kept.drain(..std::mem::take(&mut self.used));
            let before = self.kept.len();
            self.kept.resize(before + at_most, 0);
            let read = self.socket.read(&mut self.kept[before..]).await.unwrap();
            assert!(read > 0, "the server ended the connection");
            self.kept.truncate(before + read);
        }
    }

    /// Takes the next frame of market data: each instrument's rounds come one by one.
    async fn take(&mut self, at_most: usize) {
        let frame = self.next(at_most).await;
        let after = |key: &str| {
            let from = frame.find(key).unwrap_or_else(|| panic!("no {key} in {frame}")) + key.len();
            let end = frame[from..].find(|c: char| !c.is_ascii_digit()).unwrap();
            frame[from..from + end].parse::<i64>().unwrap()
        };
        let number = u32::try_from(after("\"symbol\":\"S")).unwrap();
        let round = after("\"volume\":");
        let seen = self.seen.get_mut(&number).unwrap_or_else(|| panic!("nobody asked for S{number}"));
        // Who joins late begins with any round.
        assert!(round == *seen + 1 || *seen == 0, "S{number} went from {seen} to {round}");
        *seen = round;
        self.frames += 1;
        self.ended += usize::from(after("\"ltq\":") == LAST);
    }

    /// Takes everything up to the last round.
    async fn take_all(&mut self, at_most: usize) {
        while self.ended < self.seen.len() {
            self.take(at_most).await;
        }
    }
}

/// The instruments of the consumer with this number, and whether it is one of the slow ones, which hold
/// all of them.
fn wants(consumer: usize) -> (Vec<u32>, bool) {
    let slow = consumer.is_multiple_of(25);
    let first = consumer as u32;
    let count = if slow { INSTRUMENTS } else { 4 };
    ((0..count).map(|n| (first + n) % INSTRUMENTS).collect(), slow)
}

/// Who comes and goes until told to stop: reads a few frames of one instrument, in order, and hangs up.
async fn come_and_go(addr: SocketAddr, key: String, number: u32, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let mut reader = Reader::connect(addr, &key, &[number], json!({}), number.is_multiple_of(2)).await;
        for _ in 0..20 {
            if stop.load(Ordering::Relaxed) || reader.ended > 0 {
                return;
            }
            // At the end nothing comes any more.
            if timeout(Duration::from_millis(500), reader.take(1 << 10)).await.is_err() {
                break;
            }
        }
    }
}

async fn nothing_is_lost(consumers: usize, policy: &'static str) {
    // What waits for the slow ones must fit: they read nothing for a while.
    let mut rig = Rig::start(|s| {
        (s.shards, s.overflow_bytes, s.overflow_total_bytes) = (4, 64 << 20, 4 << 30);
    })
    .await;
    let release = Arc::new(tokio::sync::Notify::new());
    let (released, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut readers = JoinSet::new();
    let mut subscriptions = 0;
    for consumer in 0..consumers {
        let (numbers, slow) = wants(consumer);
        subscriptions += numbers.len() as u64;
        let mut reader = rig.consumer(&numbers, json!({"policy": policy}), slow).await;
        let (release, released, received) =
            (Arc::clone(&release), Arc::clone(&released), Arc::clone(&received));
        readers.spawn(async move {
            let go = release.notified();
            if slow && !released.load(Ordering::SeqCst) {
                go.await;
            }
            reader.take_all(if slow { 3 << 10 } else { 64 << 10 }).await;
            received.fetch_add(reader.frames, Ordering::SeqCst);
            reader
        });
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut guests = JoinSet::new();
    for number in 0..3 {
        guests.spawn(come_and_go(rig.gateway.addr(), rig.key.clone(), number, Arc::clone(&stop)));
    }

    // Until sockets take frames in part, and some more.
    let (mut rounds, mut after) = (0, 0);
    while after < 50 {
        rounds += 1;
        assert!(rounds < 20_000, "sockets take everything");
        rig.round(rounds, ORDINARY).await;
        after += u64::from(rig.gateway.waiting_bytes() > 0);
    }
    rounds += 1;
    rig.round(rounds, LAST).await;
    released.store(true, Ordering::SeqCst);
    release.notify_waiters();
    let all = timeout(PATIENCE, async {
        let mut all = Vec::new();
        while let Some(reader) = readers.join_next().await {
            all.push(reader.unwrap());
        }
        all
    });
    let all = all.await.expect("everything comes");
    stop.store(true, Ordering::Relaxed);
    timeout(PATIENCE, async { while guests.join_next().await.transpose().unwrap().is_some() {} })
        .await
        .expect("guests leave");

    assert_eq!(all.len(), consumers);
    for reader in &all {
        assert!(reader.seen.values().all(|seen| *seen == rounds), "{:?}", reader.seen);
        assert_eq!(reader.frames, rounds as u64 * reader.seen.len() as u64);
    }
    assert_eq!(received.load(Ordering::SeqCst), rounds as u64 * subscriptions, "published × subscribers");
    let counts = rig.gateway.counts();
    assert_eq!((counts.conflated, counts.throttled), (0, 0));
    assert_eq!(rig.gateway.census().take().slow, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_consumer_gets_everything_in_order() {
    nothing_is_lost(1, "conflate").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_consumers_get_everything_in_order() {
    nothing_is_lost(10, "every").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_consumers_get_everything_in_order() {
    let slow = std::env::var("SLOW_TESTS").is_ok_and(|slow| slow == "1");
    nothing_is_lost(if slow { 1_000 } else { 200 }, "conflate").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encoding_and_waking_cost_the_same_whatever_the_number_of_consumers() {
    const ROUNDS: u64 = 20;
    let everything: Vec<u32> = (0..INSTRUMENTS).collect();
    for consumers in [1, 10, 100] {
        let mut rig = Rig::start(|s| s.shards = 1).await;
        let mut readers = Vec::new();
        for _ in 0..consumers {
            readers.push(rig.consumer(&everything, Value::Null, false).await);
        }
        for round in 1..=ROUNDS {
            rig.round(round as i64, ORDINARY).await;
            // One batch at a time, so that none is gathered with another.
            for reader in &mut readers {
                for _ in 0..INSTRUMENTS {
                    timeout(PATIENCE, reader.take(64 << 10)).await.expect("it comes");
                }
            }
        }
        let published = rig.publisher.counters();
        assert_eq!(published.frames, ROUNDS * u64::from(INSTRUMENTS), "each tick is encoded once");
        assert_eq!(published.batches, ROUNDS);
        let deliveries = ROUNDS * u64::from(INSTRUMENTS) * consumers;
        until("the counts", || rig.gateway.counts().frames == deliveries).await;
        let counts = rig.gateway.counts();
        assert_eq!(counts.turns, ROUNDS, "one wake per batch");
        assert_eq!(counts.bytes_copied, 0, "neighbouring frames are sent from where they stand");
        let answers = 3 * consumers;
        assert_eq!(counts.writes, ROUNDS * consumers + answers, "one write per batch and consumer");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_reads_takes_no_more_memory_than_configured() {
    const CONSUMERS: usize = 12;
    let everything: Vec<u32> = (0..INSTRUMENTS).collect();
    for (each, total, bound) in
        [(32 << 10, 1 << 30, (CONSUMERS + 1) * (32 << 10)), (256 << 10, 1 << 20, 1 << 20)]
    {
        let mut rig = Rig::start(|s| {
            (s.shards, s.overflow_bytes, s.overflow_total_bytes) = (1, each, total);
        })
        .await;
        let mut deaf = Vec::new();
        for _ in 0..CONSUMERS {
            deaf.push(rig.consumer(&everything, json!({}), true).await);
        }
        // What must not be left out is no reason to keep more: this one goes.
        let strict = rig.consumer(&everything, json!({"policy": "every"}), true).await;
        // Beyond the bound only the rest of a frame that is begun, and one that is owed, may wait.
        let bound = bound + (CONSUMERS + 1) * 1024;
        let (mut round, mut after, mut most) = (0, 0, 0);
        while after < 200 {
            round += 1;
            assert!(round < 50_000, "sockets take everything");
            rig.round(round, ORDINARY).await;
            let waiting = rig.gateway.waiting_bytes();
            assert!(waiting <= bound, "{waiting} bytes wait, {bound} may");
            most = most.max(waiting);
            after += u32::from(rig.gateway.census().take().slow == CONSUMERS);
        }
        assert!(most > bound / 2, "the bound was never near: {most} of {bound}");
        assert_eq!(rig.gateway.census().take().count, CONSUMERS);
        drop((deaf, strict));
        until("them to be gone", || rig.gateway.waiting_bytes() == 0).await;
        assert_eq!(rig.gateway.census().take().count, 0);
    }
}
