//! Sockets: handshakes, Engine.IO's side of the conversation, and their ends. Not the market
//! data they get; that is `publish`.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::Core;
use crate::broker::xts::{engineio, socketio};
use crate::clock::UnixNanos;
use crate::sim::answers::Answer;
use crate::sim::sessions::Product;
use crate::sim::settings::SocketEnd;
use crate::sim::truth::Event;

/// The largest body of packets that a polling client may post. Revision 4 tells it.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 1_000_000;

/// A socket's number over the process's life.
pub(crate) type SocketId = u64;

/// Something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// A text frame.
    Text(Arc<str>),
    /// A binary frame.
    Binary(Bytes),
    /// Nothing is read or written any more, the connection stays.
    Freeze,
    /// The end; with a goodbye, or as a broken connection does.
    Close { clean: bool },
}

/// How a socket gets market data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `xts-binary-packet`, whatever `publishFormat` asks for.
    Binary,
    Json,
    JsonPartial,
    /// An interactive socket.
    None,
}

/// An open socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) account: usize,
    pub(super) product: Product,
    /// Of the session it was opened with; it gets data while that one lives.
    pub(super) session: String,
    sid: String,
    pub(super) format: Format,
    /// Whether `joined` was said; in revision 4 it waits for the client's connect.
    pub(super) joined: bool,
    /// The fault that keeps it from being read or written.
    pub(super) frozen: Option<u64>,
    /// Whether it was told how the sessions stand.
    pub(super) told_sessions: bool,
}

/// A handshake's query, as far as it matters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connect {
    pub(crate) token: String,
    pub(crate) user_id: String,
    pub(crate) broadcast_mode: String,
    /// Opened below `/apibinarymarketdata`.
    pub(crate) is_binary: bool,
    /// It starts by polling, and may change over to a WebSocket.
    pub(crate) is_polling: bool,
}

impl Core {
    /// A handshake. Greetings go to the outbox.
    ///
    /// # Errors
    /// The answer to give instead of an upgrade.
    pub(crate) fn open_socket(
        &mut self,
        product: Product,
        connect: &Connect,
        id: SocketId,
        now: UnixNanos,
    ) -> Result<(), Answer> {
        self.pass_time(now);
        let account = self.check_token(product, &connect.token, "socket", now)?;
        let owner = &self.accounts[account];
        let session = owner.sessions.get(product).as_ref().map(|s| s.id.clone()).unwrap_or_default();
        if !owner.is_user(product, &connect.user_id) {
            return Err(Answer::error(400, "e-socket-0001", "Not a socket UserId", json!({})));
        }
        let format = match product {
            Product::Interactive => Format::None,
            Product::Market if connect.is_binary => Format::Binary,
            Product::Market if connect.broadcast_mode.eq_ignore_ascii_case("partial") => Format::JsonPartial,
            Product::Market => Format::Json,
        };
        // Not all clients encode it in their later requests.
        let sid = self.opaque("sid", 15).replace('+', "-").replace('/', "_");
        let upgrades: &[&str] = if connect.is_polling { &["websocket"] } else { &[] };
        let mut open = json!({
            "sid": sid,
            "upgrades": upgrades,
            "pingInterval": self.settings.ping_interval_ms,
            "pingTimeout": self.settings.ping_timeout_ms,
        });
        if self.settings.engine_io == 4 {
            open["maxPayload"] = MAX_PAYLOAD_BYTES.into();
        }
        self.say(id, &format!("0{open}"));
        self.sockets.insert(
            id,
            Socket {
                account,
                product,
                session,
                sid,
                format,
                joined: false,
                frozen: None,
                told_sessions: false,
            },
        );
        *self.accounts[account].counters.sockets.get_mut(product) += 1;
        self.note_socket(id, account, product, true);
        if self.settings.engine_io == 3 {
            // Revision 3: the namespace is joined unasked.
            self.say(id, "40");
            self.join(id);
        }
        Ok(())
    }

    /// A socket's id as its client knows it.
    pub(crate) fn sid(&self, id: SocketId) -> Option<String> {
        self.sockets.get(&id).map(|socket| socket.sid.clone())
    }

    /// The socket is gone.
    pub(crate) fn close_socket(&mut self, id: SocketId) {
        self.remove_socket(id, self.seen);
    }

    pub(super) fn remove_socket(&mut self, id: SocketId, now: UnixNanos) {
        if let Some(socket) = self.sockets.remove(&id) {
            self.seen = now;
            self.note_socket(id, socket.account, socket.product, false);
        }
    }

    fn note_socket(&mut self, socket: SocketId, account: usize, product: Product, opened: bool) {
        if self.notes.is_on() {
            let account = self.user(account);
            let product = product.as_str();
            self.notes.add(self.seen, Event::Socket { socket, account, product, opened });
        }
    }

    /// A text frame of a client's. Answers go to the outbox.
    pub(crate) fn hear(&mut self, id: SocketId, frame: &str) {
        match engineio::parse_text(frame) {
            Some(engineio::Packet::Ping(payload)) => {
                self.say(id, &engineio::encode(engineio::Packet::Pong(payload)));
            }
            Some(engineio::Packet::Close) => self.outbox.push((id, Out::Close { clean: true })),
            Some(engineio::Packet::Message(message)) => match socketio::parse(message) {
                Some(socketio::Packet::Disconnect) => {
                    // The engine's own close follows; data ends now.
                    if let Some(socket) = self.sockets.get_mut(&id) {
                        socket.format = Format::None;
                    }
                }
                Some(socketio::Packet::Connect(_)) if self.settings.engine_io == 4 => {
                    if let Some(socket) = self.sockets.get(&id) {
                        let connected = format!("40{}", json!({ "sid": socket.sid }));
                        self.say(id, &connected);
                        self.join(id);
                    }
                }
                // Emits, acks and the connect of a client that believes in revision 4 are
                // taken silently, as live servers do.
                _ => {}
            },
            _ => {}
        }
    }

    pub(super) fn end_sockets(&mut self, session: &str, end: SocketEnd) {
        let theirs: Vec<_> = self
            .sockets
            .iter()
            .filter(|(_, s)| s.session == session && s.frozen.is_none())
            .map(|(&id, _)| id)
            .collect();
        for id in theirs {
            match end {
                SocketEnd::Silent => {}
                SocketEnd::Logout => {
                    let data = json!({
                        "type": "success",
                        "code": "s-user-0001",
                        "description": "User logged out",
                    });
                    self.say(id, &socketio::encode_event("logout", &data.to_string()));
                }
                SocketEnd::Close => {
                    self.outbox.push((id, Out::Close { clean: true }));
                    self.remove_socket(id, self.seen);
                }
            }
        }
    }

    /// Live sockets of a product; of one account, or of all.
    pub(crate) fn sockets_of(&self, account: Option<usize>, product: Product) -> usize {
        let theirs = self.sockets.values().filter(|s| account.is_none_or(|a| a == s.account));
        theirs.filter(|s| s.product == product).count()
    }

    pub(super) fn binary_sockets(&self) -> usize {
        self.sockets.values().filter(|s| s.format == Format::Binary).count()
    }

    fn join(&mut self, id: SocketId) {
        let Some((account, product)) =
            self.sockets.get(&id).map(|s| (self.accounts[s.account].of, s.product))
        else {
            return;
        };
        let is_swallowed = self.troubles.swallows_joined(account, product);
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if is_swallowed {
            return;
        }
        if std::mem::replace(&mut socket.joined, true) {
            return;
        }
        let data = json!({
            "type": "success",
            "code": "s-socket-0001",
            "description": format!("Socket joined successfully! SocketId={}", socket.sid),
        });
        self.say(id, &socketio::encode_event("joined", &data.to_string()));
    }

    pub(super) fn say(&mut self, id: SocketId, frame: &str) {
        self.outbox.push((id, Out::Text(frame.into())));
    }
}
