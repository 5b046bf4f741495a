//! nats-server over its own protocol on TCP: a subject for each instrument, the publisher publishes to them.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Duration;

use super::{Log, Payloads, Peer, free_address, wait_accepting};
use crate::load::args::Args;
use crate::load::check::digits;
use crate::load::client::Connected;
use crate::load::measure::Measured;
use crate::load::publisher::Outlet;
use crate::load::scan::{Scan, Tally};
use crate::load::server::{Process, bound};
use crate::load::shape::Shape;
use crate::load::ticks::{Tick, name};

const HELLO: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false}\r\n";

pub(super) fn run(program: &Path, args: &Args, shape: &Shape, log: &Log) -> Result<Measured, String> {
    let address = free_address();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/nats.conf");
    let mut process = Process::start(
        bound(program)
            .args(["-c", &config.to_string_lossy(), "-a", "127.0.0.1", "-p", &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(log.sink())
            .stderr(log.sink()),
    );
    wait_accepting(&mut process, address)?;
    let peer = Peer { process, consumers: address };
    let outlet = Box::new(Publisher::connect(address, Payloads::new(shape.symbols)));
    peer.measure::<Messages>(args, shape, connect, false, outlet)
}

/// Subscribes; all of it is in force when this returns.
fn connect(address: SocketAddr, set: &[usize]) -> Connected {
    let mut socket = TcpStream::connect(address).expect("the port accepts");
    socket.set_nodelay(true).expect("sockets have this option");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("sockets have this option");
    let mut out = HELLO.to_vec();
    for symbol in set {
        out.extend_from_slice(format!("SUB {} {}\r\n", name(*symbol), symbol + 1).as_bytes());
    }
    out.extend_from_slice(b"PING\r\n");
    socket.write_all(&out).expect("the server reads");
    let mut read = Vec::new();
    let mut piece = [0; 16 << 10];
    while !read.ends_with(b"PONG\r\n") {
        let len = socket.read(&mut piece).expect("the server answers in time");
        assert!(len > 0, "closed: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..len]);
    }
    Connected { socket, read: Vec::new() }
}

/// `MSG subject sid length`, a line's end, the payload, a line's end.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Bytes of a counted message that are still to come.
    skip: usize,
}

impl Scan for Messages {
    fn scan(&mut self, bytes: &[u8], tally: &mut Tally<'_>) -> usize {
        let mut at = self.skip.min(bytes.len());
        self.skip -= at;
        loop {
            let rest = &bytes[at..];
            let Some(end) = memchr::memchr(b'\n', rest) else { return at };
            let line = &rest[..end];
            if !line.starts_with(b"MSG ") {
                match line.get(..4) {
                    Some(b"PING") => tally.reply.extend_from_slice(b"PONG\r\n"),
                    Some(b"-ERR") => tally.end = Some(String::from_utf8_lossy(line).into_owned()),
                    _ => tally.other += 1,
                }
                at += end + 1;
                continue;
            }
            let len = memchr::memrchr(b' ', line).and_then(|space| digits(&line[space + 1..]));
            let Some(len) = len else {
                tally.end = Some(format!("no message: {}", String::from_utf8_lossy(line)));
                return at;
            };
            let payload = &rest[end + 1..];
            let len = len as usize;
            if payload.len() < len + 2 {
                if tally.wants_all() {
                    return at;
                }
                tally.frame(&[]);
                self.skip = len + 2 - payload.len();
                return bytes.len();
            }
            tally.frame(&payload[..len]);
            at += end + 1 + len + 2;
        }
    }
}

struct Publisher {
    socket: TcpStream,
    payloads: Payloads,
    /// The server has asked whether we live.
    asked: Arc<AtomicBool>,
}

impl Publisher {
    fn connect(address: SocketAddr, payloads: Payloads) -> Self {
        let mut socket = TcpStream::connect(address).expect("the port accepts");
        socket.set_nodelay(true).expect("sockets have this option");
        socket.set_write_timeout(Some(Duration::from_secs(15))).expect("sockets have this option");
        socket.write_all(HELLO).expect("the server reads");
        let mut reader = socket.try_clone().expect("sockets can be shared");
        let asked = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut piece = [0; 4 << 10];
            while let Ok(len @ 1..) = reader.read(&mut piece) {
                if memchr::memmem::find(&piece[..len], b"PING").is_some() {
                    flag.store(true, Ordering::Release);
                }
            }
        });
        Self { socket, payloads, asked }
    }
}

impl Outlet for Publisher {
    fn batch(&self) -> usize {
        1
    }

    fn encode(&mut self, ticks: &[Tick], out: &mut Vec<u8>) {
        let mut len = itoa::Buffer::new();
        let len = len.format(self.payloads.len());
        for tick in ticks {
            push_head(*tick, len, out);
            self.payloads.push(*tick, out);
            out.extend_from_slice(b"\r\n");
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)?;
        if self.asked.swap(false, Ordering::AcqRel) {
            self.socket.write_all(b"PONG\r\n")?;
        }
        Ok(())
    }
}

fn push_head(tick: Tick, len: &str, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    // A leading one keeps the zeros; the name's letters take its place.
    let symbol = digits.format(100_000 + tick.symbol);
    out.extend_from_slice(b"PUB LG");
    out.extend_from_slice(&symbol.as_bytes()[1..]);
    out.push(b' ');
    out.extend_from_slice(len.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Proves the scanner.
pub(super) fn self_check() {
    crate::load::selfcheck::scanner(Messages::default, |tick, out| {
        if tick.number.is_multiple_of(10) {
            out.extend_from_slice(b"PING\r\n+OK\r\n");
        }
        let payload = crate::load::selfcheck::payload(tick);
        out.extend_from_slice(
            format!("MSG {} {} {}\r\n", name(tick.symbol), tick.symbol + 1, payload.len()).as_bytes(),
        );
        out.extend_from_slice(&payload);
        out.extend_from_slice(b"\r\n");
    });
}
