//! Sockets, the frames they get, and Engine.IO's side of the conversation.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::{Core, SocketEnd};
use crate::broker::xts::{engineio, socketio};
use crate::clock::UnixNanos;
use crate::market::calendar::ist_date;
use crate::sim::answers::Answer;
use crate::sim::encode::{Message, code, json};
use crate::sim::instruments::{Catalogue, Kind};
use crate::sim::sessions::{Product, USER};

/// Messages in one binary frame, at most: clumps of 1 to 20 are what live servers send.
const FRAME_MESSAGES: usize = 20;

/// Updates of one call beyond which nothing is compressed: a burst must get out.
const COMPRESSED_UPDATES: usize = 64;

/// One in so many messages is compressed, if that saves a fifth. Which ones live servers
/// compress is not known; both kinds occur.
const COMPRESSED_SHARE: i64 = 4;

/// A socket's number over the process's life.
pub(crate) type SocketId = u64;

/// Something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// A text frame.
    Text(Arc<str>),
    /// A binary frame.
    Binary(Bytes),
    /// The end; with a goodbye, or as a broken connection does.
    Close { clean: bool },
}

/// How a socket gets market data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
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
    product: Product,
    /// Of the session it was opened with; it gets data while that one lives.
    session: String,
    sid: String,
    format: Format,
    /// Whether `joined` was said; in revision 4 it waits for the client's connect.
    joined: bool,
}

/// A handshake's query, as far as it matters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connect {
    pub(crate) token: String,
    pub(crate) user_id: String,
    pub(crate) broadcast_mode: String,
    /// Opened below `/apibinarymarketdata`.
    pub(crate) is_binary: bool,
}

/// The bit of a message code in `Core::wanted`.
pub(super) fn bit(wanted: u16) -> u8 {
    code::ALL.iter().position(|&c| c == wanted).map_or(0, |at| 1 << at)
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
        let Some(session) = self.live_session(product, &connect.token, now) else {
            self.counters.tokens_refused += 1;
            return Err(Answer::invalid_token());
        };
        let session = session.id.clone();
        let full_user = format!("{USER}_{}", self.keys.pair(product).0.to_uppercase());
        if connect.user_id != USER && connect.user_id != full_user {
            return Err(Answer::error(400, "e-socket-0001", "Not a socket UserId", json!({})));
        }
        let format = match product {
            Product::Interactive => Format::None,
            Product::Market if connect.is_binary => Format::Binary,
            Product::Market if connect.broadcast_mode.eq_ignore_ascii_case("partial") => Format::JsonPartial,
            Product::Market => Format::Json,
        };
        let sid = self.opaque("sid", 15);
        let open = json!({
            "sid": sid,
            "upgrades": [],
            "pingInterval": self.settings.ping_interval_ms,
            "pingTimeout": self.settings.ping_timeout_ms,
        });
        self.say(id, &format!("0{open}"));
        self.sockets.insert(id, Socket { product, session, sid, format, joined: false });
        *self.counters.sockets.get_mut(product) += 1;
        if self.settings.engine_io == 3 {
            // Revision 3: the namespace is joined unasked.
            self.say(id, "40");
            self.join(id);
        }
        Ok(())
    }

    /// The socket is gone.
    pub(crate) fn close_socket(&mut self, id: SocketId) {
        self.sockets.remove(&id);
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

    /// Lets the market move up to `now` and puts what sockets get for it into the outbox.
    /// Returns the time until the next update, zero for at once, `None` if there is none.
    pub(crate) fn advance(&mut self, now: UnixNanos) -> Option<Duration> {
        self.end_outlived(now);
        let today = ist_date(now);
        if today > self.market.catalogue().date {
            self.market.new_day(&Arc::new(Catalogue::build(today)), now);
            self.recount();
        }
        let session = self.sessions.market.as_ref().map(|s| s.id.as_str());
        let listens = |format: Format| {
            self.sockets.values().any(|s| s.format == format && Some(s.session.as_str()) == session)
        };
        let (is_binary, is_json, is_partial) =
            (listens(Format::Binary), listens(Format::Json), listens(Format::JsonPartial));
        let anybody = is_binary || is_json || is_partial;

        let mut frames = Frames::default();
        let Self { market, wanted, writer, sequence, messages, .. } = self;
        let catalogue = Arc::clone(market.catalogue());
        let mut updates = 0;
        let wait = market.advance(now, |index, listing, quote, change| {
            updates += 1;
            if !anybody || wanted[index] == 0 {
                return;
            }
            for each in code::ALL {
                let concerns = match each {
                    code::OPEN_INTEREST => change.open_interest,
                    code::LAST_PRICE => change.traded,
                    _ => true,
                };
                if !concerns || wanted[index] & bit(each) == 0 {
                    continue;
                }
                *sequence += 1;
                *messages += 1;
                let underlying = match listing.kind {
                    Kind::Option { underlying, .. } | Kind::Future { underlying: Some(underlying), .. } => {
                        catalogue.listings().get(underlying).map(|l| l.id)
                    }
                    _ => None,
                };
                let is_index = listing.kind == Kind::Index;
                let message =
                    Message { code: each, id: listing.id, is_index, sequence: *sequence, quote, underlying };
                if is_binary {
                    let compress = updates <= COMPRESSED_UPDATES && *sequence % COMPRESSED_SHARE == 0;
                    frames.start_message();
                    writer.write(&message, compress, &mut frames.open);
                }
                if is_json {
                    frames.text(&message, false);
                }
                if is_partial {
                    frames.text(&message, true);
                }
            }
        });
        frames.finish();
        if anybody {
            self.deliver(&frames);
        }
        wait
    }

    fn deliver(&mut self, frames: &Frames) {
        let Some(session) = self.sessions.market.as_ref() else { return };
        let header: Arc<str> = socketio::encode_binary_event("xts-binary-packet").into();
        for (&id, socket) in &self.sockets {
            if socket.session != session.id || socket.product != Product::Market {
                continue;
            }
            match socket.format {
                Format::Binary => {
                    for frame in &frames.binary {
                        self.outbox.push((id, Out::Text(Arc::clone(&header))));
                        self.outbox.push((id, Out::Binary(frame.clone())));
                    }
                }
                Format::Json => {
                    self.outbox.extend(frames.full.iter().map(|t| (id, Out::Text(Arc::clone(t)))));
                }
                Format::JsonPartial => {
                    self.outbox.extend(frames.partial.iter().map(|t| (id, Out::Text(Arc::clone(t)))));
                }
                Format::None => {}
            }
        }
    }

    pub(super) fn end_sockets(&mut self, session: &str, end: SocketEnd) {
        let theirs: Vec<_> =
            self.sockets.iter().filter(|(_, s)| s.session == session).map(|(&id, _)| id).collect();
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
                    self.sockets.remove(&id);
                }
            }
        }
    }

    /// Live sockets of a product.
    pub(super) fn sockets_of(&self, product: Product) -> usize {
        self.sockets.values().filter(|s| s.product == product).count()
    }

    pub(super) fn binary_sockets(&self) -> usize {
        self.sockets.values().filter(|s| s.format == Format::Binary).count()
    }

    fn join(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
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

    fn say(&mut self, id: SocketId, frame: &str) {
        self.outbox.push((id, Out::Text(frame.into())));
    }
}

/// What one advance of the market gave, in each format.
#[derive(Default)]
struct Frames {
    binary: Vec<Bytes>,
    /// The binary frame that is being filled, with its leading `0x04`.
    open: Vec<u8>,
    count: usize,
    full: Vec<Arc<str>>,
    partial: Vec<Arc<str>>,
    scratch: Vec<u8>,
}

impl Frames {
    fn start_message(&mut self) {
        if self.count == FRAME_MESSAGES {
            self.finish();
        }
        if self.count == 0 {
            self.open.push(4);
        }
        self.count += 1;
    }

    fn finish(&mut self) {
        if self.count > 0 {
            self.binary.push(std::mem::take(&mut self.open).into());
            self.count = 0;
        }
    }

    /// An event whose payload is a JSON string: the object inside it is escaped once more.
    fn text(&mut self, message: &Message<'_>, is_partial: bool) {
        self.scratch.clear();
        if is_partial {
            json::partial(message, &mut self.scratch);
        } else {
            json::full(message, json::IdStyle::Number, &mut self.scratch);
        }
        let mut payload = String::with_capacity(self.scratch.len() + 128);
        payload.push('"');
        for &byte in &self.scratch {
            if byte == b'"' {
                payload.push('\\');
            }
            payload.push(char::from(byte));
        }
        payload.push('"');
        let frame = socketio::encode_event(json::event_name(message.code, is_partial), &payload).into();
        if is_partial {
            self.partial.push(frame);
        } else {
            self.full.push(frame);
        }
    }
}
