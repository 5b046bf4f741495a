//! Reads HTTP requests from one connection and answers them, or hands it over to the feed. What the answers say is
//! `answers`'.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::{State, answers, socket};

pub(super) struct Request {
    pub(super) method: String,
    /// Without the query, in small letters.
    pub(super) path: String,
    pub(super) body: Vec<u8>,
}

/// Serves the connection until its end.
pub(super) fn serve(state: &State, mut socket: TcpStream) {
    let _ = socket.set_nodelay(true);
    let mut read = Vec::new();
    loop {
        let Some(head) = read_head(&mut socket, &mut read) else { return };
        let mut lines = head.lines();
        let mut first = lines.next().unwrap_or_default().split(' ');
        let method = first.next().unwrap_or_default().to_owned();
        let path =
            first.next().unwrap_or_default().split('?').next().unwrap_or_default().to_ascii_lowercase();
        let value = |name: &str| {
            let mut pairs = head.lines().filter_map(|line| line.split_once(':'));
            pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
        };
        if path.trim_end_matches('/').ends_with("/socket.io") {
            return socket::serve(state, socket, value("sec-websocket-key"), read);
        }
        let len = value("content-length").parse().unwrap_or(0);
        while read.len() < len {
            if !more(&mut socket, &mut read) {
                return;
            }
        }
        let body = read.drain(..len).collect();
        let (status, answer) = answers::to(state, &Request { method, path, body });
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        if socket.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read_head(socket: &mut TcpStream, read: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = memchr::memmem::find(read, b"\r\n\r\n") {
            let head: Vec<u8> = read.drain(..end + 4).collect();
            return String::from_utf8(head).ok();
        }
        if !more(socket, read) {
            return None;
        }
    }
}

fn more(socket: &mut TcpStream, read: &mut Vec<u8>) -> bool {
    let mut piece = [0; 16 << 10];
    match socket.read(&mut piece) {
        Ok(len) if len > 0 => {
            read.extend_from_slice(&piece[..len]);
            true
        }
        _ => false,
    }
}
