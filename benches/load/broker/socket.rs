//! The feed's socket: opening handshake, Engine.IO 3, heartbeats. The ticks come ready to be written.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use tokio::time::Duration;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{State, push_header};
use crate::load::scan::header;

/// One open feed, written to by the publisher and by the thread that answers heartbeats.
#[derive(Debug)]
pub(super) struct FeedSocket {
    socket: Mutex<TcpStream>,
    /// Answers that wait for the end of the publisher's write.
    answers: Mutex<Vec<u8>>,
    alive: AtomicBool,
}

impl FeedSocket {
    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    pub(super) fn ticks(&self, bytes: &[u8]) -> io::Result<()> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        socket.write_all(bytes)?;
        self.write_answers(&mut socket)
    }

    fn answer(&self, bytes: &[u8]) -> io::Result<()> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        match self.socket.try_lock() {
            Ok(mut socket) => self.write_answers(&mut socket),
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Poisoned(_)) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn write_answers(&self, socket: &mut TcpStream) -> io::Result<()> {
        let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        if answers.is_empty() { Ok(()) } else { socket.write_all(&answers) }
    }
}

/// Serves the feed on this connection until its end.
pub(super) fn serve(state: &State, mut socket: TcpStream, key: &str, mut read: Vec<u8>) {
    let mut out = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
    .into_bytes();
    let open = r#"0{"sid":"bench0000000000000AAAA","upgrades":[],"pingInterval":25000,"pingTimeout":60000}"#;
    let joined = r#"42["joined","Socket joined successfully!"]"#;
    for text in [open, "40", joined] {
        push_text(text.as_bytes(), &mut out);
    }
    let Ok(writer) = socket.try_clone() else { return };
    // A program that takes nothing for so long is broken.
    if writer.set_write_timeout(Some(Duration::from_secs(15))).is_err() {
        return;
    }
    let feed = Arc::new(FeedSocket {
        socket: Mutex::new(writer),
        answers: Mutex::default(),
        alive: AtomicBool::new(true),
    });
    if feed.answer(&out).is_err() {
        return;
    }
    *state.feed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&feed));
    let mut piece = [0; 4 << 10];
    while let Ok(len @ 1..) = socket.read(&mut piece) {
        read.extend_from_slice(&piece[..len]);
        if !answer_all(&feed, &mut read) {
            break;
        }
    }
    feed.alive.store(false, Ordering::Release);
}

/// Answers the frames that are complete; false where the connection is at its end.
fn answer_all(feed: &FeedSocket, read: &mut Vec<u8>) -> bool {
    while let Some((opcode, head, len)) = header(read) {
        // A client's frames are masked.
        let whole = head + 4 + len;
        if read.len() < whole {
            return true;
        }
        let frame: Vec<u8> = read.drain(..whole).collect();
        let mask = &frame[head..head + 4];
        let mut payload: Vec<u8> =
            frame[head + 4..].iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect();
        let mut out = Vec::new();
        match (opcode, payload.first()) {
            // A heartbeat goes back with whatever it carries.
            (1, Some(b'2')) => {
                payload[0] = b'3';
                push_text(&payload, &mut out);
            }
            (1, Some(b'1')) | (8, _) => return false,
            (9, _) => {
                push_header(10, payload.len(), &mut out);
                out.extend_from_slice(&payload);
            }
            _ => {}
        }
        if !out.is_empty() && feed.answer(&out).is_err() {
            return false;
        }
    }
    true
}

fn push_text(text: &[u8], out: &mut Vec<u8>) {
    push_header(1, text.len(), out);
    out.extend_from_slice(text);
}
