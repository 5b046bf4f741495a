//! A feed port without a broker: the gateway on a loopback port, its consumers, and the ticks
//! that are published to them. What is done with it is the benches'.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tickgate::clock::{SystemClock, UnixNanos};
use tickgate::gateway::auth::{ConsumerKeys, Scopes};
use tickgate::gateway::{Deps, GatewayHandle, Settings, start};
use tickgate::hub::Hub;
use tickgate::market::{
    InstrumentId, LastTrade, MasterBuilder, MasterHandle, Price, Quote, Segment, Tick, TickBody,
};
use tickgate::store::Store;

/// How long the gateway may take for each step of a handshake.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway that knows so many instruments.
pub(crate) struct FeedPort {
    pub(crate) hub: Hub,
    pub(crate) gateway: GatewayHandle,
    key: String,
    /// The store's.
    _dir: TempDir,
}

impl FeedPort {
    pub(crate) async fn start(symbols: u32) -> Self {
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
            tls: None,
        })
        .expect("the gateway starts");
        Self { hub, gateway, key: key.expose().to_owned(), _dir: dir }
    }

    /// A consumer of the instruments with these numbers.
    pub(crate) fn connect(&self, names: impl Iterator<Item = u32>) -> TcpStream {
        connect(&self.gateway, &self.key, names)
    }
}

/// A quote of the instrument with this number; every one makes an LTP frame of the same length.
pub(crate) fn tick(number: u32, sequence: u64) -> Tick {
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
    socket.set_read_timeout(Some(PATIENCE)).expect("sockets have this option");
    socket.set_write_timeout(Some(PATIENCE)).expect("sockets have this option");
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
        let len = socket.read(&mut piece).expect("the server answers in time");
        assert!(len > 0, "closed: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..len]);
    }
    socket.set_nonblocking(true).expect("sockets can be non-blocking");
    socket
}

/// Reads whatever comes until every connection has ended, counting bytes.
pub(crate) fn read_all(sockets: Vec<TcpStream>, received: &Arc<AtomicU64>) {
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
