//! The market-data socket: opening it, reading its frames.
//! Not the connection itself (`link`), and not what the frames mean (`events`).

use std::task::{Context, Poll, ready};

use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::broker::{Error, Feed, FeedCounts, FeedEnd};
use crate::clock::UnixNanos;
use crate::market::{MarketPhase, Tick};
use crate::token::{Product, Token};

use super::XtsBroker;
use super::events::Events;
use super::link::{self, Link};
use super::said::Step;

/// One open connection.
#[derive(Debug)]
pub(super) struct XtsFeed {
    link: Link,
    events: Events,
    /// Ticks that came before the connection was ready.
    early: Vec<Tick>,
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
        let base = self.settings.url(&format!("{}/", self.settings.socket_path));
        let parameters = [("publishFormat", "JSON"), ("broadcastMode", "Full")];
        let url = link::address(&base, token, &parameters, &self.settings);
        let mut feed = XtsFeed {
            link: Link::open(url, &self.settings, &self.tls, "socket_path").await?,
            events: Events::new(self.settings.undecodable_limit),
            early: Vec::new(),
        };
        let recv = || self.clock.now();
        std::future::poll_fn(|cx| feed.poll_connected(cx, &recv, self.settings.engine_io))
            .await
            .map_err(link::end_as_error)?;
        Ok(feed)
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
                Poll::Ready(Ok(Step::Opened(_))) if engine_io == 4 => self.link.send("40".into()),
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
        let message = ready!(self.link.poll_message(cx))?;
        self.events.note_frame(message.len());
        let step = match message {
            Message::Text(text) => self.events.on_text(&text, recv, batch)?,
            Message::Binary(bytes) => {
                self.events.on_binary(&bytes, recv, batch)?;
                Step::None
            }
            Message::Close(frame) => return Poll::Ready(Err(link::closed(frame))),
            // The WebSocket's own pings are answered by the library.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Step::None,
        };
        self.link.heed(&step, cx)?;
        Poll::Ready(Ok(step))
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

    fn take_phases(&mut self) -> Vec<MarketPhase> {
        self.events.take_phases()
    }
}
