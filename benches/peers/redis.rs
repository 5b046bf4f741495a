//! Redis' publish and subscribe over RESP 2: a channel for each instrument.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;

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

pub(super) fn run(program: &Path, args: &Args, shape: &Shape, log: &Log) -> Result<Measured, String> {
    let address = free_address();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/redis.conf");
    let mut process = Process::start(
        bound(program)
            .arg(config)
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(log.sink())
            .stderr(log.sink()),
    );
    wait_accepting(&mut process, address)?;
    let peer = Peer { process, consumers: address };
    let outlet = Box::new(Publisher::connect(address, Payloads::new(shape.symbols)));
    peer.measure::<Messages>(args, shape, connect, false, outlet)
}

/// Subscribes; all of it is confirmed when this returns.
fn connect(address: SocketAddr, set: &[usize]) -> Connected {
    let mut socket = TcpStream::connect(address).expect("the port accepts");
    socket.set_nodelay(true).expect("sockets have this option");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("sockets have this option");
    let mut out = format!("*{}\r\n$9\r\nSUBSCRIBE\r\n", set.len() + 1).into_bytes();
    for symbol in set {
        push_text(name(*symbol).as_bytes(), &mut out);
    }
    socket.write_all(&out).expect("the server reads");
    // Each confirmation ends with how many there are.
    let (mut read, last) = (Vec::new(), format!(":{}\r\n", set.len()));
    let mut piece = [0; 16 << 10];
    while !read.ends_with(last.as_bytes()) {
        let len = socket.read(&mut piece).expect("the server answers in time");
        assert!(len > 0, "closed: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..len]);
    }
    Connected { socket, read: Vec::new() }
}

fn push_text(text: &[u8], out: &mut Vec<u8>) {
    let mut len = itoa::Buffer::new();
    out.push(b'$');
    out.extend_from_slice(len.format(text.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// An array of `message`, the channel, the payload.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Bytes of a counted message that are still to come.
    skip: usize,
}

const MESSAGE: &[u8] = b"*3\r\n$7\r\nmessage\r\n";

/// A text's length, and how many bytes that took.
fn text_len(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = memchr::memchr(b'\n', bytes)?;
    Some((digits(bytes.get(1..end)?)? as usize, end + 1))
}

impl Scan for Messages {
    fn scan(&mut self, bytes: &[u8], tally: &mut Tally<'_>) -> usize {
        let mut at = self.skip.min(bytes.len());
        self.skip -= at;
        loop {
            let rest = &bytes[at..];
            if rest.len() < MESSAGE.len() {
                return at;
            }
            if !rest.starts_with(MESSAGE) {
                let text = String::from_utf8_lossy(&rest[..rest.len().min(100)]);
                tally.end = Some(format!("no message: {text}"));
                return at;
            }
            let Some((channel, head)) = text_len(&rest[MESSAGE.len()..]) else { return at };
            let second = MESSAGE.len() + head + channel + 2;
            let Some((len, head)) = rest.get(second..).and_then(text_len) else { return at };
            let payload = &rest[second + head..];
            if payload.len() < len + 2 {
                if tally.wants_all() {
                    return at;
                }
                tally.frame(&[]);
                self.skip = len + 2 - payload.len();
                return bytes.len();
            }
            tally.frame(&payload[..len]);
            at += second + head + len + 2;
        }
    }
}

struct Publisher {
    socket: TcpStream,
    payloads: Payloads,
    scratch: Vec<u8>,
}

impl Publisher {
    fn connect(address: SocketAddr, payloads: Payloads) -> Self {
        let socket = TcpStream::connect(address).expect("the port accepts");
        socket.set_nodelay(true).expect("sockets have this option");
        socket.set_write_timeout(Some(Duration::from_secs(15))).expect("sockets have this option");
        // Each command is answered; the answers must be taken.
        let mut reader = socket.try_clone().expect("sockets can be shared");
        std::thread::spawn(move || {
            let mut piece = vec![0; 64 << 10];
            while let Ok(1..) = reader.read(&mut piece) {}
        });
        Self { socket, payloads, scratch: Vec::new() }
    }
}

impl Outlet for Publisher {
    fn batch(&self) -> usize {
        1
    }

    fn encode(&mut self, ticks: &[Tick], out: &mut Vec<u8>) {
        for tick in ticks {
            self.scratch.clear();
            self.payloads.push(*tick, &mut self.scratch);
            let mut digits = itoa::Buffer::new();
            // A leading one keeps the zeros.
            let symbol = digits.format(100_000 + tick.symbol);
            out.extend_from_slice(b"*3\r\n$7\r\nPUBLISH\r\n$7\r\nLG");
            out.extend_from_slice(&symbol.as_bytes()[1..]);
            out.extend_from_slice(b"\r\n");
            push_text(&self.scratch, out);
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }
}

/// Proves the scanner.
pub(super) fn self_check() {
    crate::load::selfcheck::scanner(Messages::default, |tick, out| {
        out.extend_from_slice(MESSAGE);
        push_text(name(tick.symbol).as_bytes(), out);
        push_text(&crate::load::selfcheck::payload(tick), out);
    });
}
