//! uWebSockets under Node: `uws_server.js`, fed over a TCP connection of its own, which is its standard input.
//!
//! With sparse subscriptions its rate depends on how much of the feed it takes in one turn of its loop. Left to the
//! kernel, that is some 100 KB or 2 MB, as it has grown the receive buffer or not, and the rate has two states, three
//! times apart. The buffers' size is fixed here, with which it is always in the better one.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use serde_json::Value;
use tokio::time::Duration;

use super::{Log, Payloads, Peer};
use crate::load::args::{Args, Encoding, Mode};
use crate::load::client::Connected;
use crate::load::measure::Measured;
use crate::load::publisher::Outlet;
use crate::load::scan::WebSocket;
use crate::load::server::Process;
use crate::load::shape::Shape;
use crate::load::ticks::Tick;

/// Of the feed, on both ends: what every Linux grants. More of it makes uWebSockets no faster.
const BUFFER: usize = 212_992;
/// How long Node may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn run(
    node: &Path,
    modules: &Path,
    args: &Args,
    shape: &Shape,
    log: &Log,
) -> Result<Measured, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/uws_server.js");
    let (socket, fed) = feed().map_err(|error| format!("no feed: {error}"))?;
    let mut child = Command::new(node)
        .arg(script)
        .env("NODE_PATH", modules)
        // It ends with its feed, also when this process is killed.
        .stdin(OwnedFd::from(fed))
        .stdout(Stdio::piped())
        .stderr(log.sink())
        .spawn()
        .map_err(|error| error.to_string())?;
    let output = child.stdout.take().ok_or("no output")?;
    let process = Process::new(child);
    let (told, first_line) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = told.send(BufReader::new(output).read_line(&mut line).map(|_| line));
    });
    let line = first_line.recv_timeout(PATIENCE).map_err(|_| "it does not say that it listens")?;
    let line = line.map_err(|error| error.to_string())?;
    let ports: Value = serde_json::from_str(&line).map_err(|_| format!("it does not start: {line}"))?;
    let port = ports["consumers"].as_u64().and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or_else(|| format!("no port in {line}"))?;
    let peer = Peer { consumers: SocketAddr::from(([127, 0, 0, 1], port)), process };
    // The server ends with the feed, which therefore outlives the publisher.
    let _alive = socket.try_clone().map_err(|error| error.to_string())?;
    let outlet = Box::new(Publisher { socket, payloads: Payloads::new(shape.symbols) });
    let connect = |address, set: &[usize]| {
        let mut connected = Connected::open(address, Encoding::Json);
        connected.subscribe(set, Mode::Ltp);
        connected
    };
    peer.measure::<WebSocket>(args, shape, connect, true, outlet)
}

/// A connection with buffers that the kernel leaves as they are: the publisher's end and the server's.
fn feed() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // Connections get it from their listener.
    set_socket_recv_buffer_size(&listener, BUFFER)?;
    let socket = TcpStream::connect(listener.local_addr()?)?;
    let (fed, _) = listener.accept()?;
    set_socket_send_buffer_size(&socket, BUFFER)?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(Duration::from_secs(15)))?;
    Ok((socket, fed))
}

struct Publisher {
    socket: TcpStream,
    payloads: Payloads,
}

impl Outlet for Publisher {
    fn batch(&self) -> usize {
        1
    }

    fn encode(&mut self, ticks: &[Tick], out: &mut Vec<u8>) {
        for tick in ticks {
            out.extend_from_slice(&(tick.symbol as u16).to_le_bytes());
            out.extend_from_slice(&(self.payloads.len() as u16).to_le_bytes());
            self.payloads.push(*tick, out);
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }
}
