//! uWebSockets under Node: `uws_server.js`, fed over a TCP connection of its own.
//!
//! With sparse subscriptions its rate has two states, three times apart: what it takes in one turn of its loop is what
//! the kernel lets the feed run ahead, some 100 KB or 2 MB as the receive buffer was grown or not. Rounds show both.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tokio::time::Duration;

use super::{Payloads, Peer};
use crate::load::args::{Args, Encoding, Mode};
use crate::load::client::Connected;
use crate::load::measure::Measured;
use crate::load::publisher::Outlet;
use crate::load::scan::WebSocket;
use crate::load::server::Process;
use crate::load::shape::Shape;
use crate::load::ticks::Tick;

pub(super) fn run(node: &Path, modules: &Path, args: &Args, shape: &Shape) -> Result<Measured, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/uws_server.js");
    let mut child = Command::new(node)
        .arg(script)
        .env("NODE_PATH", modules)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let output = child.stdout.take().ok_or("no output")?;
    let process = Process::new(child);
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).map_err(|error| error.to_string())?;
    let ports: Value = serde_json::from_str(&line).map_err(|_| format!("it does not start: {line}"))?;
    let address = |name: &str| -> Result<SocketAddr, String> {
        let port = ports[name].as_u64().and_then(|port| u16::try_from(port).ok());
        Ok(SocketAddr::from(([127, 0, 0, 1], port.ok_or_else(|| format!("no port in {line}"))?)))
    };
    let peer = Peer { consumers: address("consumers")?, process };
    let socket = TcpStream::connect(address("feed")?).map_err(|error| error.to_string())?;
    socket.set_nodelay(true).expect("sockets have this option");
    socket.set_write_timeout(Some(Duration::from_secs(15))).expect("sockets have this option");
    let outlet = Box::new(Publisher { socket, payloads: Payloads::new(shape.symbols) });
    let connect = |address, set: &[usize]| {
        let mut connected = Connected::open(address, Encoding::Json);
        connected.subscribe(set, Mode::Ltp);
        connected
    };
    peer.measure::<WebSocket>(args, shape, connect, true, outlet)
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
