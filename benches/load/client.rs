//! Connects consumers as OpenAlgo's clients do: opening handshake, authenticate, subscribe, each answered. Blocking;
//! what comes after the answers is the sink's.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use tokio::time::Duration;

use super::args::{Encoding, Mode};
use super::scan::{MARKET_DATA_KINDS, header};
use super::ticks::name;

const PATIENCE: Duration = Duration::from_secs(20);

/// A connected consumer: its socket and what has been read beyond the last answer.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) socket: TcpStream,
    pub(crate) read: Vec<u8>,
}

/// Appends a client's frame. A mask of zeros leaves the payload as it is.
pub(crate) fn push_frame(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..65_536 => {
            out.push(0x80 | 0x7e);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 0x7f);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

impl Connected {
    /// Opens the WebSocket.
    pub(crate) fn open(address: SocketAddr, encoding: Encoding) -> Self {
        let mut socket = TcpStream::connect(address).expect("the port accepts");
        socket.set_nodelay(true).expect("sockets have this option");
        socket.set_read_timeout(Some(PATIENCE)).expect("sockets have this option");
        let protocol = match encoding {
            Encoding::Json => "",
            Encoding::Binary => "Sec-WebSocket-Protocol: tickgate.v1\r\n",
        };
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{protocol}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).expect("the server reads");
        let mut connected = Self { socket, read: Vec::new() };
        let end = loop {
            if let Some(end) = memchr::memmem::find(&connected.read, b"\r\n\r\n") {
                break end + 4;
            }
            connected.more();
        };
        let head: Vec<u8> = connected.read.drain(..end).collect();
        let head = String::from_utf8_lossy(&head);
        assert!(head.starts_with("HTTP/1.1 101"), "the handshake was refused: {head}");
        let agreed = head.to_ascii_lowercase().contains("sec-websocket-protocol: tickgate.v1");
        assert_eq!(agreed, encoding == Encoding::Binary, "not the subprotocol that was asked for: {head}");
        connected
    }

    /// Shows the key, and waits for the answer.
    pub(crate) fn authenticate(&mut self, key: &str) {
        self.send(&format!("{{\"action\":\"authenticate\",\"api_key\":\"{key}\"}}"));
        let answer = self.answer("\"auth\"");
        assert!(answer.contains("\"status\":\"success\""), "authentication was refused: {answer}");
    }

    /// Subscribes to all of a set, and waits for the answers.
    pub(crate) fn subscribe(&mut self, set: &[usize], mode: Mode) {
        // Servers bound what they read.
        for part in set.chunks(1_000) {
            let names: Vec<_> = part
                .iter()
                .map(|symbol| format!("{{\"symbol\":\"{}\",\"exchange\":\"NSE\"}}", name(*symbol)))
                .collect();
            let (mode, names) = (mode.number(), names.join(","));
            self.send(&format!("{{\"action\":\"subscribe\",\"mode\":{mode},\"symbols\":[{names}]}}"));
            let answer = self.answer("\"subscribe\"");
            assert!(!answer.contains("\"error\""), "a subscription was refused: {answer}");
        }
    }

    /// Has the smallest buffer the kernel allows, and will not be read from.
    pub(crate) fn stall(self) -> Self {
        rustix::net::sockopt::set_socket_recv_buffer_size(&self.socket, 4_096)
            .expect("sockets have this option");
        self
    }

    fn send(&mut self, text: &str) {
        let mut frame = Vec::with_capacity(text.len() + 14);
        push_frame(0x81, text.as_bytes(), &mut frame);
        self.socket.write_all(&frame).expect("the server reads");
    }

    /// The next text frame of this type. Market data of before the first tick would be last values; the broker
    /// here has none, so anything else is a fault.
    fn answer(&mut self, kind: &str) -> String {
        loop {
            if let Some((opcode, head, len)) = header(&self.read)
                && self.read.len() >= head + len
            {
                let frame: Vec<u8> = self.read.drain(..head + len).collect();
                let text = String::from_utf8_lossy(&frame[head..]).into_owned();
                match opcode {
                    1 if text.contains(kind) => return text,
                    9 => {
                        let mut pong = Vec::new();
                        push_frame(0x8a, &frame[head..], &mut pong);
                        self.socket.write_all(&pong).expect("the server reads");
                    }
                    // What a binary connection begins with: a greeting, and what instruments' numbers mean.
                    2 if frame.get(head + 2).is_some_and(|kind| *kind < MARKET_DATA_KINDS) => {}
                    _ => panic!("waiting for {kind}, got {text}"),
                }
                continue;
            }
            self.more();
        }
    }

    fn more(&mut self) {
        let mut piece = [0; 16 << 10];
        let len = self.socket.read(&mut piece).expect("the server answers in time");
        assert!(len > 0, "closed in the handshake: {}", String::from_utf8_lossy(&self.read));
        self.read.extend_from_slice(&piece[..len]);
    }
}
