//! Sockets as channels: frames the core sent, read as a client reads them.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use super::MemoryVenue;
use crate::broker::xts::wire::binary::Decoder;
use crate::broker::xts::{engineio, socketio};
use crate::broker::{AccountEvent, AccountFeed, Feed, FeedCounts, FeedEnd};
use crate::clock::UnixNanos;
use crate::market::Tick;
use crate::sim::core::{Out, SocketId};

/// The client's end of a socket. The broker's end goes with it.
pub(super) struct Socket {
    pub(super) venue: MemoryVenue,
    pub(super) id: SocketId,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut world = self.venue.world();
        world.links.remove(&self.id);
        world.core.close_socket(self.id);
    }
}

/// What a text frame says to a client, beside heartbeats.
enum Said {
    Nothing,
    Event(String),
    End(FeedEnd),
}

fn said(text: &str) -> Said {
    match engineio::parse_text(text) {
        Some(engineio::Packet::Close) => Said::End(FeedEnd::Closed("the server closed".to_owned())),
        Some(engineio::Packet::Message(message)) => match socketio::parse(message) {
            Some(socketio::Packet::Event(json)) => {
                let (name, datum) = socketio::split_event(json).expect("is an event");
                let name = name.trim_matches('"');
                if name == "logout" {
                    Said::End(FeedEnd::Logout(datum.to_owned()))
                } else {
                    Said::Event(name.to_owned())
                }
            }
            Some(socketio::Packet::Disconnect) => {
                Said::End(FeedEnd::Closed("the server disconnected us".to_owned()))
            }
            _ => Said::Nothing,
        },
        _ => Said::Nothing,
    }
}

fn closed(clean: bool) -> FeedEnd {
    if clean {
        FeedEnd::Closed("the server closed".to_owned())
    } else {
        FeedEnd::Network("connection reset".to_owned())
    }
}

/// The market-data socket.
pub(super) struct MemoryFeed {
    _socket: Socket,
    received: mpsc::UnboundedReceiver<Out>,
    decoder: Decoder,
    counts: FeedCounts,
}

impl MemoryFeed {
    pub(super) fn new(socket: Socket, received: mpsc::UnboundedReceiver<Out>) -> Self {
        Self { _socket: socket, received, decoder: Decoder::new(), counts: FeedCounts::default() }
    }
}

impl Feed for MemoryFeed {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        recv: &dyn Fn() -> UnixNanos,
        batch: &mut Vec<Tick>,
    ) -> Poll<Result<(), FeedEnd>> {
        let Poll::Ready(out) = self.received.poll_recv(cx) else { return Poll::Pending };
        self.counts.frames += 1;
        Poll::Ready(match out {
            Some(Out::Text(text)) => {
                self.counts.bytes += text.len() as u64;
                match said(&text) {
                    Said::End(end) => Err(end),
                    Said::Nothing | Said::Event(_) => Ok(()),
                }
            }
            Some(Out::Binary(frame)) => {
                self.counts.bytes += frame.len() as u64;
                let counts = self.decoder.decode(&frame[1..], recv(), batch);
                self.counts.undecodable += u64::from(counts.undecodable);
                self.counts.ignored += u64::from(counts.ignored);
                self.counts.invalid_prices += u64::from(counts.invalid_prices);
                Ok(())
            }
            Some(Out::Freeze) => Ok(()),
            Some(Out::Close { clean }) => Err(closed(clean)),
            None => Err(closed(false)),
        })
    }

    fn take_counts(&mut self) -> FeedCounts {
        std::mem::take(&mut self.counts)
    }
}

/// The interactive socket.
pub(super) struct MemoryAccountFeed {
    _socket: Socket,
    received: mpsc::UnboundedReceiver<Out>,
}

impl MemoryAccountFeed {
    pub(super) const fn new(socket: Socket, received: mpsc::UnboundedReceiver<Out>) -> Self {
        Self { _socket: socket, received }
    }

    async fn read(&mut self) -> Result<AccountEvent, FeedEnd> {
        loop {
            let text: Arc<str> = match self.received.recv().await {
                Some(Out::Text(text)) => text,
                Some(Out::Binary(_) | Out::Freeze) => continue,
                Some(Out::Close { clean }) => return Err(closed(clean)),
                None => return Err(closed(false)),
            };
            match said(&text) {
                Said::Nothing => {}
                Said::Event(name) if name == "joined" => return Ok(AccountEvent::Joined),
                Said::Event(name) => return Ok(AccountEvent::Other(name)),
                Said::End(end) => return Err(end),
            }
        }
    }
}

impl AccountFeed for MemoryAccountFeed {
    fn next(&mut self) -> BoxFuture<'_, Result<AccountEvent, FeedEnd>> {
        self.read().boxed()
    }
}
