//! One more consumer that takes its time: a WebSocket library and a JSON parser read every frame whole. What the
//! fast sink counts must be what the witness saw.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;
use tokio::time::Duration;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use super::client::Connected;
use super::sink::Shared;
use super::ticks::{Tick, VOLUME, name};

/// Reads until told to stop, and then until nothing comes for a while.
#[derive(Debug)]
pub(crate) struct Witness {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, String>>,
}

impl Witness {
    /// Its frames count as delivered: being slow, it must hold the publisher back.
    pub(crate) fn start(connected: Connected, symbols: usize, shared: &Arc<Shared>) -> Self {
        let Connected { socket, read } = connected;
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("sockets have this option");
        let socket = WebSocket::from_partially_read(socket, read, Role::Client, None);
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, shared) = (Arc::clone(&stop), Arc::clone(shared));
        Self { stop, thread: std::thread::spawn(move || watch(socket, symbols, &flag, &shared)) }
    }

    /// The frames of market data that it saw.
    pub(crate) fn finish(self) -> Result<u64, String> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| "the witness failed")?
    }
}

fn watch(
    mut socket: WebSocket<TcpStream>,
    symbols: usize,
    stop: &AtomicBool,
    shared: &Shared,
) -> Result<u64, String> {
    let mut latest: Vec<Option<u64>> = vec![None; symbols];
    let mut count = 0;
    loop {
        let text = match socket.read() {
            Ok(Message::Text(text)) => text,
            Ok(_) => continue,
            Err(Error::Io(error))
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                if stop.load(Ordering::Acquire) {
                    return Ok(count);
                }
                continue;
            }
            Err(error) => return Err(format!("the witness: {error}")),
        };
        let frame: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        if frame["type"] != "market_data" {
            continue;
        }
        count += 1;
        let data = &frame["data"];
        let number = data["volume"].as_u64().and_then(|volume| volume.checked_sub(VOLUME));
        let Some(number) = number else { return Err(format!("no volume that was published: {text}")) };
        let tick = Tick { number, symbol: (number % symbols as u64) as usize };
        let price = (data["ltp"].as_f64().unwrap_or(0.0) * 100.0).round() as i64;
        if price != tick.price() || data["symbol"] != name(tick.symbol).as_str() {
            return Err(format!("not what was published of tick {number}: {text}"));
        }
        let before = latest[tick.symbol].replace(number);
        if before.map_or(tick.symbol as u64, |before| before + symbols as u64) != number {
            return Err(format!("the witness: tick {number} after {before:?} of the same instrument"));
        }
        shared.delivered.fetch_add(1, Ordering::Release);
    }
}
