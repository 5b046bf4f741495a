//! The market-data socket: opening it, its heartbeat, reading its frames.
//! Not what the frames mean; that is `events`.
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
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use crate::broker::{Error, Feed, FeedCounts, FeedEnd};
use crate::clock::UnixNanos;
use crate::market::Tick;
use crate::token::{Product, Token};

use super::XtsBroker;
use super::engineio::Open;
use super::events::{Events, Step};
use super::rest::{Envelope, clean};

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
pub(super) struct XtsFeed {
    socket: Socket,
    events: Events,
    heartbeat: Heartbeat,
    outbox: VecDeque<Utf8Bytes>,
    is_flushed: bool,
    /// Ticks that came before the connection was ready.
    early: Vec<Tick>,
    frames_since_heartbeat: u32,
}

impl XtsBroker {
    /// Opens the socket and waits until the server has connected us.
    pub(super) async fn connect(&self, token: &Token) -> Result<XtsFeed, Error> {
        if token.product != Product::Market {
            return Err(Error::NotConfigured("the feed takes a market token".to_owned()));
        }
        match timeout(self.settings.connect_timeout(), self.connect_unhurried(token)).await {
            Ok(connected) => connected,
            Err(_) => Err(Error::Network("the feed did not open in time".to_owned())),
        }
    }

    async fn connect_unhurried(&self, token: &Token) -> Result<XtsFeed, Error> {
        let unusable = || Error::NotConfigured("base_url and socket_path make no address".to_owned());
        let url = self.socket_url(token).ok_or_else(unusable)?;
        let host = url.host_str().ok_or_else(unusable)?.trim_matches(['[', ']']);
        let port = url.port_or_known_default().ok_or_else(unusable)?;
        let request = url.as_str().into_client_request().map_err(|_| unusable())?;
        let stream = TcpStream::connect((host, port)).await.map_err(|e| Error::Network(e.to_string()))?;
        stream.set_nodelay(true).map_err(|e| Error::Network(e.to_string()))?;
        let limits = WebSocketConfig::default()
            .max_message_size(Some(self.settings.max_frame_bytes))
            .max_frame_size(Some(self.settings.max_frame_bytes));
        let connector = Connector::Rustls(Arc::clone(&self.tls));
        let (socket, _) = client_async_tls_with_config(request, stream, Some(limits), Some(connector))
            .await
            .map_err(handshake_error)?;
        let mut feed = XtsFeed {
            socket,
            events: Events::new(self.settings.undecodable_limit),
            heartbeat: Heartbeat::new(),
            outbox: VecDeque::new(),
            is_flushed: true,
            early: Vec::new(),
            frames_since_heartbeat: 0,
        };
        let recv = || self.clock.now();
        std::future::poll_fn(|cx| feed.poll_connected(cx, &recv, self.settings.engine_io))
            .await
            .map_err(end_as_error)?;
        Ok(feed)
    }

    /// With the token in its query: never log it.
    fn socket_url(&self, token: &Token) -> Option<Url> {
        let mut url = Url::parse(&self.settings.url(&format!("{}/", self.settings.socket_path))).ok()?;
        url.set_scheme(if url.scheme() == "https" { "wss" } else { "ws" }).ok()?;
        url.query_pairs_mut()
            .append_pair("token", token.secret.expose())
            .append_pair("userID", &token.facts.user_id)
            .append_pair("publishFormat", "JSON")
            .append_pair("broadcastMode", "Full")
            .append_pair("transport", "websocket")
            .append_pair("EIO", &self.settings.engine_io.to_string());
        Some(url)
    }
}

/// Why the handshake failed. Only 400 and 401 are about the token.
fn handshake_error(error: tungstenite::Error) -> Error {
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
        (404, _) => Error::Http { status, what: "no such path; is socket_path right?".to_owned() },
        (status, _) => Error::Http { status, what: "the socket's handshake was refused".to_owned() },
    }
}

/// An end before the connection was ready.
fn end_as_error(end: FeedEnd) -> Error {
    match end {
        FeedEnd::TokenRefused(description) => Error::InvalidToken { code: String::new(), description },
        FeedEnd::Logout(description) => Error::InvalidToken { code: "logout".to_owned(), description },
        FeedEnd::Undecodable => Error::Malformed("the server does not speak Socket.IO".to_owned()),
        FeedEnd::Closed(_) | FeedEnd::Silent | FeedEnd::Network(_) => Error::Network(end.to_string()),
    }
}

impl XtsFeed {
    /// Reads until the namespace is connected, or ticks show that it is.
    fn poll_connected(
        &mut self,
        cx: &mut Context<'_>,
        recv: &dyn Fn() -> UnixNanos,
        engine_io: u8,
    ) -> Poll<Result<(), FeedEnd>> {
        let mut early = std::mem::take(&mut self.early);
        let connected = loop {
            match self.poll_step(cx, recv, &mut early) {
                Poll::Ready(Ok(Step::Connected)) => break Poll::Ready(Ok(())),
                // In revision 4 the client asks for the namespace.
                Poll::Ready(Ok(Step::Opened(_))) if engine_io == 4 => self.send("40".into()),
                Poll::Ready(Ok(_)) if !early.is_empty() => break Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(end)) => break Poll::Ready(Err(end)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.early = early;
        connected
    }

    /// Reads one frame and does what it asks for.
    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        recv: &dyn Fn() -> UnixNanos,
        batch: &mut Vec<Tick>,
    ) -> Poll<Result<Step, FeedEnd>> {
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
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Poll::Ready(Err(socket_end(&error))),
            None => return Poll::Ready(Err(FeedEnd::Closed("the connection ended".to_owned()))),
        };
        self.frames_since_heartbeat += 1;
        self.heartbeat.has_heard = true;
        self.events.note_frame(message.len());
        let step = match message {
            Message::Text(text) => self.events.on_text(&text, recv, batch)?,
            Message::Binary(bytes) => {
                self.events.on_binary(&bytes, recv, batch)?;
                Step::None
            }
            Message::Close(frame) => {
                let why = frame.map_or_else(
                    || "no reason given".to_owned(),
                    |frame| clean(&format!("{} {}", u16::from(frame.code), frame.reason)),
                );
                return Poll::Ready(Err(FeedEnd::Closed(why)));
            }
            // The WebSocket's own pings are answered by the library.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Step::None,
        };
        match &step {
            Step::Opened(open) => self.heartbeat.follow(open),
            Step::Pinged(payload) => {
                self.heartbeat.is_ours = false;
                self.send(format!("3{payload}").into());
                self.write(cx)?;
            }
            Step::None | Step::Connected => {}
        }
        Poll::Ready(Ok(step))
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

    fn send(&mut self, text: Utf8Bytes) {
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

impl Feed for XtsFeed {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        recv: &dyn Fn() -> UnixNanos,
        batch: &mut Vec<Tick>,
    ) -> Poll<Result<(), FeedEnd>> {
        if !self.early.is_empty() {
            batch.append(&mut self.early);
            return Poll::Ready(Ok(()));
        }
        self.poll_step(cx, recv, batch).map_ok(|_| ())
    }

    fn take_counts(&mut self) -> FeedCounts {
        self.events.take_counts()
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
    /// With the library's defaults, until the open packet brings the server's figures.
    fn new() -> Self {
        Self {
            timer: Box::pin(sleep(MAX_PING_PERIOD)),
            period: MAX_PING_PERIOD,
            longest_silence: Duration::from_secs(85),
            has_heard: false,
            last_heard: Instant::now(),
            is_ours: true,
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
