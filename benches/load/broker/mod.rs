//! The broker of the benches: a login, the instrument list, subscriptions and the feed's socket on one loopback
//! port. Not the simulator: it takes any credentials, refuses nothing, has no market of its own, and is fed ticks by
//! the publisher as fast as the socket takes them.

mod answers;
mod binary;
mod http;
mod json;
mod socket;

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::time::Duration;

use self::socket::FeedSocket;
use super::args::{Feed, Mode};
use super::machine::within;
use super::publisher::Outlet;
use super::ticks::Tick;

/// What the connections' threads share.
#[derive(Debug)]
struct State {
    symbols: usize,
    /// Message code and instrument.
    subscribed: Mutex<HashSet<(u16, usize)>>,
    feed: Mutex<Option<Arc<FeedSocket>>>,
    closing: AtomicBool,
}

/// A listening broker; stops listening when dropped. Its connections end with the program under test.
#[derive(Debug)]
pub(crate) struct Broker {
    state: Arc<State>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

impl Broker {
    pub(crate) fn listen(symbols: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback works");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State {
            symbols,
            subscribed: Mutex::default(),
            feed: Mutex::new(None),
            closing: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let acceptor = std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if shared.closing.load(Ordering::Acquire) {
                    return;
                }
                let state = Arc::clone(&shared);
                std::thread::spawn(move || http::serve(&state, socket));
            }
        });
        Self { state, address, acceptor: Some(acceptor) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the feed is open and holds these instruments.
    pub(crate) fn wait_subscribed(&self, wanted: &HashSet<usize>, mode: Mode) -> Result<(), String> {
        let code = code_of(mode);
        let missing = || {
            let held = self.state.subscribed.lock().unwrap_or_else(PoisonError::into_inner);
            wanted.iter().filter(|symbol| !held.contains(&(code, **symbol))).count()
        };
        within(Duration::from_mins(1), || (self.feed().is_some() && missing() == 0).then_some(())).ok_or_else(
            || {
                let feed = if self.feed().is_some() { "open" } else { "not open" };
                format!(
                    "the feed is {feed}, and {} of {} instruments are not subscribed",
                    missing(),
                    wanted.len()
                )
            },
        )
    }

    fn feed(&self) -> Option<Arc<FeedSocket>> {
        let feed = self.state.feed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        feed.filter(|feed| feed.is_alive())
    }

    /// Feeds the program that is connected.
    pub(crate) fn outlet(&self, feed: Feed, mode: Mode, batch: usize) -> Box<dyn Outlet> {
        let socket = self.feed().expect("the feed is open");
        let symbols = self.state.symbols;
        let (encoder, batch) = match feed {
            Feed::Binary => (Encoder::Binary(binary::Encoder::new(symbols, code_of(mode))), batch),
            Feed::Json => (Encoder::Json(json::Encoder::new(symbols, code_of(mode))), 1),
        };
        Box::new(XtsOutlet { socket, encoder, batch, time: venue_seconds() })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.state.closing.store(true, Ordering::Release);
        // Wakes the acceptor.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// What the broker is asked for where consumers want this mode.
const fn code_of(mode: Mode) -> u16 {
    match mode {
        Mode::Ltp | Mode::Quote => 1501,
        Mode::Depth => 1502,
    }
}

enum Encoder {
    Binary(binary::Encoder),
    Json(json::Encoder),
}

struct XtsOutlet {
    socket: Arc<FeedSocket>,
    encoder: Encoder,
    batch: usize,
    time: i64,
}

impl Outlet for XtsOutlet {
    fn batch(&self) -> usize {
        self.batch
    }

    fn encode(&mut self, ticks: &[Tick], out: &mut Vec<u8>) {
        match &mut self.encoder {
            Encoder::Binary(encoder) => encoder.encode(ticks, self.time, out),
            Encoder::Json(encoder) => encoder.encode(ticks, self.time, out),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Once a write is often enough for seconds.
        self.time = venue_seconds();
        self.socket.ticks(bytes)
    }
}

/// Seconds since the venue's epoch, 1980-01-01 00:00 in India.
fn venue_seconds() -> i64 {
    use tickgate::clock::{Clock as _, SystemClock};
    SystemClock.now().as_secs() - 315_513_000
}

/// Appends the header of a server's frame.
fn push_header(opcode: u8, len: usize, out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match len {
        0..126 => out.push(len as u8),
        126..65_536 => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}
