//! One Engine.IO connection over a WebSocket: opening it, its heartbeat, its write side.
//! Not what its messages mean; each of the two feeds reads its own.
//!
//! Source of the sequence and the figures: captures of the official Python client and of
//! third-party clients against live servers. The client pings (Engine.IO 3).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{Sink, StreamExt};
use reqwest::Url;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use crate::broker::{Error, FeedEnd};
use crate::token::Token;

use super::engineio::Open;
use super::rest::{Envelope, clean};
use super::said::Step;
use super::settings::Settings;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Longest time between two pings, whatever the server asks for: what lies between may drop
/// connections that are idle.
const MAX_PING_PERIOD: Duration = Duration::from_secs(10);
const MIN_PING_PERIOD: Duration = Duration::from_millis(50);

/// Longest silence that is borne, whatever the server asks for.
const MAX_SILENCE: Duration = Duration::from_mins(10);

/// Frames after which the heartbeat is looked at although the socket has more.
const FRAMES_PER_HEARTBEAT: u32 = 64;

/// Answers to the server's pings that may wait for the socket.
const MAX_OUTBOX: usize = 16;

/// One open connection.
#[derive(Debug)]
pub(super) struct Link {
    socket: Socket,
    heartbeat: Heartbeat,
    outbox: VecDeque<Utf8Bytes>,
    is_flushed: bool,
    frames_since_heartbeat: u32,
}

/// The address of a socket: where it is, who asks, and what for. With the token in its query:
/// never log it.
pub(super) fn address(
    base: &str,
    token: &Token,
    parameters: &[(&str, &str)],
    settings: &Settings,
) -> Option<Url> {
    let mut url = Url::parse(base).ok()?;
    url.set_scheme(if url.scheme() == "https" { "wss" } else { "ws" }).ok()?;
    url.query_pairs_mut()
        .append_pair("token", token.secret.expose())
        .append_pair("userID", &token.facts.user_id)
        .extend_pairs(parameters)
        .append_pair("transport", "websocket")
        .append_pair("EIO", &settings.engine_io.to_string());
    Some(url)
}

impl Link {
    /// Connects, up to the end of the WebSocket's handshake. `path_key` is the setting that a
    /// wrong path comes from.
    pub(super) async fn open(
        url: Option<Url>,
        settings: &Settings,
        tls: &Arc<ClientConfig>,
        path_key: &'static str,
    ) -> Result<Self, Error> {
        let unusable = || Error::NotConfigured(format!("base_url and {path_key} make no address"));
        let url = url.ok_or_else(unusable)?;
        let host = url.host_str().ok_or_else(unusable)?.trim_matches(['[', ']']);
        let port = url.port_or_known_default().ok_or_else(unusable)?;
        let request = url.as_str().into_client_request().map_err(|_| unusable())?;
        let stream = TcpStream::connect((host, port)).await.map_err(|e| Error::Network(e.to_string()))?;
        stream.set_nodelay(true).map_err(|e| Error::Network(e.to_string()))?;
        let limits = WebSocketConfig::default()
            .max_message_size(Some(settings.max_frame_bytes))
            .max_frame_size(Some(settings.max_frame_bytes));
        let connector = Connector::Rustls(Arc::clone(tls));
        let (socket, _) = client_async_tls_with_config(request, stream, Some(limits), Some(connector))
            .await
            .map_err(|error| handshake_error(error, path_key))?;
        Ok(Self {
            socket,
            heartbeat: Heartbeat::new(settings.engine_io),
            outbox: VecDeque::new(),
            is_flushed: true,
            frames_since_heartbeat: 0,
        })
    }

    /// The next message, heartbeats done meanwhile.
    ///
    /// # Cancel safety
    /// A poll that returned `Pending` has lost nothing.
    pub(super) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, FeedEnd>> {
        // Between frames of a burst the timer is not asked: it costs as much as a frame.
        if self.frames_since_heartbeat >= FRAMES_PER_HEARTBEAT {
            self.beat(cx)?;
        }
        self.write(cx)?;
        let Poll::Ready(message) = self.socket.poll_next_unpin(cx) else {
            self.beat(cx)?;
            self.write(cx)?;
            return Poll::Pending;
        };
        Poll::Ready(match message {
            Some(Ok(message)) => {
                self.frames_since_heartbeat += 1;
                self.heartbeat.has_heard = true;
                Ok(message)
            }
            Some(Err(error)) => Err(socket_end(&error)),
            None => Err(FeedEnd::Closed("the connection ended".to_owned())),
        })
    }

    /// Does what a frame asks of the connection.
    pub(super) fn heed(&mut self, step: &Step, cx: &mut Context<'_>) -> Result<(), FeedEnd> {
        match step {
            Step::Opened(open) => self.heartbeat.follow(open),
            Step::Pinged(payload) => {
                self.heartbeat.is_ours = false;
                self.send(format!("3{payload}").into());
                self.write(cx)?;
            }
            Step::None | Step::Connected => {}
        }
        Ok(())
    }

    /// Looks at the heartbeat's timer, and leaves the task's waker with it.
    fn beat(&mut self, cx: &mut Context<'_>) -> Result<(), FeedEnd> {
        self.frames_since_heartbeat = 0;
        while self.heartbeat.timer.as_mut().poll(cx).is_ready() {
            if self.heartbeat.beat()? && self.outbox.is_empty() {
                self.send("2".into());
            }
        }
        Ok(())
    }

    /// Leaves a text for the next poll to write.
    pub(super) fn send(&mut self, text: Utf8Bytes) {
        if self.outbox.len() == MAX_OUTBOX {
            self.outbox.pop_front();
        }
        self.outbox.push_back(text);
    }

    /// Writes what is to be written, as far as the socket takes it.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), FeedEnd> {
        match self.poll_write(cx) {
            Poll::Ready(Err(error)) => Err(socket_end(&error)),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), tungstenite::Error>> {
        while !self.outbox.is_empty() {
            ready!(Pin::new(&mut self.socket).poll_ready(cx))?;
            if let Some(text) = self.outbox.pop_front() {
                Pin::new(&mut self.socket).start_send(Message::Text(text))?;
                self.is_flushed = false;
            }
        }
        if !self.is_flushed {
            ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

fn socket_end(error: &tungstenite::Error) -> FeedEnd {
    match error {
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            FeedEnd::Closed("the connection ended".to_owned())
        }
        other => FeedEnd::Network(clean(&other.to_string())),
    }
}

/// What a close frame says.
pub(super) fn closed(frame: Option<CloseFrame>) -> FeedEnd {
    FeedEnd::Closed(frame.map_or_else(
        || "no reason given".to_owned(),
        |frame| clean(&format!("{} {}", u16::from(frame.code), frame.reason)),
    ))
}

/// Why the handshake failed. Only 400 and 401 are about the token.
fn handshake_error(error: tungstenite::Error, path_key: &str) -> Error {
    let response = match error {
        tungstenite::Error::Http(response) => response,
        other => return Error::Network(clean(&other.to_string())),
    };
    let status = response.status().as_u16();
    let body = response.body().as_deref().unwrap_or_default();
    let body = String::from_utf8_lossy(body);
    let envelope = Envelope::read(&body);
    match (status, envelope) {
        (400 | 401, Some(envelope)) if envelope.is_engine_io() => {
            Error::Http { status, what: format!("Engine.IO: {}", envelope.description()) }
        }
        (400 | 401, Some(envelope)) => {
            Error::InvalidToken { code: envelope.code(), description: envelope.description() }
        }
        (400 | 401, None) => {
            Error::InvalidToken { code: format!("HTTP {status}"), description: String::new() }
        }
        (429, envelope) => Error::RateLimited {
            retry_after: None,
            description: envelope.map(|e| e.description()).unwrap_or_default(),
        },
        (404, _) => Error::Http { status, what: format!("no such path; is {path_key} right?") },
        (status, _) => Error::Http { status, what: "the socket's handshake was refused".to_owned() },
    }
}

/// An end before the connection was ready.
pub(super) fn end_as_error(end: FeedEnd) -> Error {
    match end {
        FeedEnd::TokenRefused(description) => Error::InvalidToken { code: String::new(), description },
        FeedEnd::Logout(description) => Error::InvalidToken { code: "logout".to_owned(), description },
        FeedEnd::Undecodable => Error::Malformed("the server does not speak Socket.IO".to_owned()),
        FeedEnd::Closed(_) | FeedEnd::Silent | FeedEnd::Network(_) => Error::Network(end.to_string()),
    }
}

/// When to ping, and how long silence is borne.
#[derive(Debug)]
struct Heartbeat {
    timer: Pin<Box<Sleep>>,
    period: Duration,
    longest_silence: Duration,
    /// Whether anything came since the last beat: cheaper than a clock read for each frame.
    has_heard: bool,
    last_heard: Instant,
    /// Whether we ping (Engine.IO 3) or the server does (4).
    is_ours: bool,
}

impl Heartbeat {
    /// With the library's defaults, until the open packet brings the server's figures. A server
    /// of revision 4 ends the connection of a client that pings.
    fn new(engine_io: u8) -> Self {
        Self {
            timer: Box::pin(sleep(MAX_PING_PERIOD)),
            period: MAX_PING_PERIOD,
            longest_silence: Duration::from_secs(85),
            has_heard: false,
            last_heard: Instant::now(),
            is_ours: engine_io == 3,
        }
    }

    fn follow(&mut self, open: &Open) {
        let shorter = Duration::from_millis(open.ping_interval.min(open.ping_timeout));
        self.period = (shorter / 2).clamp(MIN_PING_PERIOD, MAX_PING_PERIOD);
        let silence = Duration::from_millis(open.ping_interval.saturating_add(open.ping_timeout));
        self.longest_silence = silence.clamp(2 * self.period, MAX_SILENCE);
        self.last_heard = Instant::now();
        self.timer.as_mut().reset(self.last_heard + self.period);
    }

    /// The timer fired. Returns whether to ping.
    fn beat(&mut self) -> Result<bool, FeedEnd> {
        let now = Instant::now();
        if std::mem::take(&mut self.has_heard) {
            self.last_heard = now;
        } else if now.duration_since(self.last_heard) >= self.longest_silence {
            return Err(FeedEnd::Silent);
        }
        self.timer.as_mut().reset(now + self.period);
        Ok(self.is_ours)
    }
}
