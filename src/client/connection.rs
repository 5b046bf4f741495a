//! One connection to a feed port, from its opening to its end. No reconnecting: what to do about an
//! end is the caller's to decide.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::{ProtocolError, SubProtocolError};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use crate::protocol::Mode;
use crate::protocol::binary::{Records, SUBPROTOCOL};

use super::update::Names;
use super::{Error, Event, Trust};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The longest message that is read: an acknowledgement of the most that can be subscribed at once is a
/// quarter of it.
const MESSAGE_BYTES: usize = 4 << 20;
/// What may come before an answer.
const KEPT_BYTES: usize = 64 << 20;
/// What a kept message takes beside its content.
const KEPT_EACH: usize = 64;
/// For the opening of a connection, and for an answer. A server may wait for its instrument list first.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the subscription of one instrument went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// OpenAlgo's exchange code.
    pub exchange: String,
    /// OpenAlgo's symbol.
    pub symbol: String,
    /// Why not, if not.
    pub error: Option<String>,
}

/// A consumer's connection.
pub struct Client {
    socket: Socket,
    is_binary: bool,
    broker: String,
    names: Names,
    /// The binary message at hand, and how much of it has been read.
    message: Bytes,
    read: usize,
    /// What came before an answer that was waited for.
    kept: VecDeque<Message>,
    kept_bytes: usize,
    /// The number of the last request.
    requests: u64,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("broker", &self.broker)
            .field("is_binary", &self.is_binary)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to a feed port (`ws://…` or `wss://…`) and shows the key.
    ///
    /// # Errors
    /// There is no connection, the server refuses it or the key, or it does not answer within 30 seconds.
    pub async fn connect(url: &str, key: &str) -> Result<Self, Error> {
        Self::connect_trusting(url, key, &Trust::System).await
    }

    /// The same, and with `wss://…` believes whoever `trust` says.
    ///
    /// # Errors
    /// As of [`Self::connect`]; nobody can be trusted.
    pub async fn connect_trusting(url: &str, key: &str, trust: &Trust) -> Result<Self, Error> {
        Self::authenticate(url, json!({"action": "authenticate", "api_key": key}), trust).await
    }

    /// The same, and asks to be told how current the data of each instrument are, with a heartbeat: as
    /// [`What::State`](super::What::State) and [`What::Heartbeat`](super::What::Heartbeat), or without the
    /// binary encoding as [`Event::Text`]. A server that has no such thing tells nothing of it.
    ///
    /// # Errors
    /// As of [`Self::connect_trusting`].
    pub async fn connect_with_states(url: &str, key: &str, trust: &Trust) -> Result<Self, Error> {
        let frame = json!({"action": "authenticate", "api_key": key,
            "tickgate": {"state": true, "conflated": false}});
        Self::authenticate(url, frame, trust).await
    }

    async fn authenticate(url: &str, frame: Value, trust: &Trust) -> Result<Self, Error> {
        let tls = if url.starts_with("wss:") { Some(trust.config()?) } else { None };
        let (socket, is_binary) = match open(url, true, tls.clone()).await {
            Err(Error::Socket(error)) if does_not_know(&error) => (open(url, false, tls).await?, false),
            other => (other?, true),
        };
        let mut client = Self {
            socket,
            is_binary,
            broker: String::new(),
            names: Names::default(),
            message: Bytes::new(),
            read: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            requests: 0,
        };
        client.send(&frame).await?;
        let answer = client.answer(|frame| frame["type"] == "auth").await?;
        if answer["status"] != "success" {
            return Err(Error::Refused(answer["message"].as_str().unwrap_or("refused").to_owned()));
        }
        answer["broker"].as_str().unwrap_or("?").clone_into(&mut client.broker);
        Ok(client)
    }

    /// The broker's name, as the server tells it.
    pub fn broker(&self) -> &str {
        &self.broker
    }

    /// Whether market data come as [`Event::Record`]; else as [`Event::Text`].
    pub fn is_binary(&self) -> bool {
        self.is_binary
    }

    /// Subscribes instruments, each given as exchange and symbol. What comes meanwhile is yielded later.
    ///
    /// # Errors
    /// The connection ended, or the server refused the command as a whole.
    pub async fn subscribe(&mut self, names: &[(&str, &str)], mode: Mode) -> Result<Vec<Outcome>, Error> {
        let answer = self.request("subscribe", names, mode).await?;
        let entries = answer["subscriptions"].as_array().map_or(&[][..], Vec::as_slice);
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let outcome = |entry| Outcome {
            exchange: text(entry, "exchange"),
            symbol: text(entry, "symbol"),
            error: (entry["status"] != "success").then(|| text(entry, "message")),
        };
        Ok(entries.iter().map(outcome).collect())
    }

    /// Takes subscriptions back.
    ///
    /// # Errors
    /// The connection ended, or the server refused the command as a whole.
    pub async fn unsubscribe(&mut self, names: &[(&str, &str)], mode: Mode) -> Result<(), Error> {
        self.request("unsubscribe", names, mode).await.map(|_| ())
    }

    /// The next event; `None` if the connection ended without a word.
    ///
    /// # Errors
    /// The connection broke or was closed, or the server broke the protocol.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.next_record()? {
                return Ok(Some(event));
            }
            let message = match self.kept.pop_front() {
                Some(message) => {
                    self.kept_bytes -= message.len() + KEPT_EACH;
                    message
                }
                None => match self.receive().await? {
                    Some(message) => message,
                    None => return Ok(None),
                },
            };
            match message {
                Message::Text(text) => return Ok(Some(Event::Text(text.to_string()))),
                Message::Binary(bytes) => (self.message, self.read) = (bytes, 0),
                _ => {}
            }
        }
    }

    /// Says goodbye, so that the server does not take the connection for lost.
    ///
    /// # Errors
    /// The connection broke before.
    pub async fn close(&mut self) -> Result<(), Error> {
        Ok(self.socket.close(None).await?)
    }

    /// The next record at hand that is one for the caller.
    fn next_record(&mut self) -> Result<Option<Event>, Error> {
        for record in Records::new(&self.message[self.read..]) {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    // Where the next record begins cannot be known; the next message is whole again.
                    (self.message, self.read) = (Bytes::new(), 0);
                    return Err(error.into());
                }
            };
            self.read += record.bytes().len();
            if let Some(update) = self.names.update(&record)? {
                return Ok(Some(Event::Record(update)));
            }
        }
        self.message = Bytes::new();
        self.read = 0;
        Ok(None)
    }

    async fn request(&mut self, action: &str, names: &[(&str, &str)], mode: Mode) -> Result<Value, Error> {
        self.requests += 1;
        let id = self.requests;
        let mode = mode.number();
        let symbols: Vec<_> = names
            .iter()
            .map(|(exchange, symbol)| json!({"exchange": exchange, "symbol": symbol, "mode": mode}))
            .collect();
        let request = json!({"action": action, "symbols": symbols, "mode": mode, "request_id": id});
        self.send(&request).await?;
        let answer = self.answer(|frame| {
            let is_ours = frame["type"] == action && frame["request_id"] == id;
            // An error bears no number. Late refusals of other subscriptions are no answer.
            is_ours || (frame["status"] == "error" && frame["type"].is_null() && frame["symbol"].is_null())
        });
        let answer = answer.await?;
        if answer["type"].is_null() {
            return Err(Error::Refused(answer["message"].as_str().unwrap_or("refused").to_owned()));
        }
        Ok(answer)
    }

    async fn send(&mut self, frame: &Value) -> Result<(), Error> {
        Ok(self.socket.send(Message::text(frame.to_string())).await?)
    }

    /// The next text frame that is `wanted`; what comes before it is kept.
    async fn answer(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value, Error> {
        within_patience(self.wait_for(wanted)).await
    }

    async fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value, Error> {
        while let Some(message) = self.receive().await? {
            if let Message::Text(text) = &message {
                let frame: Value = serde_json::from_str(text).map_err(Error::NotJson)?;
                if wanted(&frame) {
                    return Ok(frame);
                }
            }
            self.kept_bytes += message.len() + KEPT_EACH;
            self.kept.push_back(message);
            if self.kept_bytes > KEPT_BYTES {
                return Err(Error::TooMuchBefore);
            }
        }
        Err(Error::Closed { code: None, reason: "the connection ended".to_owned() })
    }

    /// The next text or binary message off the socket.
    async fn receive(&mut self) -> Result<Option<Message>, Error> {
        loop {
            match self.socket.next().await.transpose()? {
                None => return Ok(None),
                Some(Message::Close(frame)) => {
                    let (code, reason) = frame.map_or((None, String::new()), |frame| {
                        (Some(frame.code.into()), frame.reason.to_string())
                    });
                    return Err(Error::Closed { code, reason });
                }
                Some(message @ (Message::Text(_) | Message::Binary(_))) => return Ok(Some(message)),
                Some(_) => {}
            }
        }
    }
}

async fn within_patience<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => Err(Error::NoAnswer),
    }
}

async fn open(url: &str, binary: bool, tls: Option<Arc<ClientConfig>>) -> Result<Socket, Error> {
    let mut request = url.into_client_request()?;
    if binary {
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES)).max_frame_size(Some(MESSAGE_BYTES));
    // With TLS a large future, which every caller's would contain.
    let connector = tls.map(Connector::Rustls);
    let opened = Box::pin(connect_async_tls_with_config(request, Some(config), false, connector));
    match within_patience(async { Ok(opened.await) }).await? {
        Ok((socket, _)) => Ok(socket),
        Err(SocketError::Http(answer)) => {
            let status = answer.status().as_u16();
            let text = answer.into_body().unwrap_or_default();
            Err(Error::Http { status, text: String::from_utf8_lossy(&text).trim().to_owned() })
        }
        Err(error) => Err(error.into()),
    }
}

/// The server accepted the connection without the binary encoding, and then a client may not go on.
fn does_not_know(error: &SocketError) -> bool {
    matches!(
        error,
        SocketError::Protocol(ProtocolError::SecWebSocketSubProtocolError(SubProtocolError::NoSubProtocol))
    )
}
