//! The readers of both sockets as [`fuzzing`](crate::fuzzing) tries them. Not used by a connection.

use crate::clock::UnixNanos;

use super::account_feed::Reader;
use super::events::Events;

/// What one connection of each kind remembers.
#[derive(Debug)]
pub(crate) struct Sockets {
    market: Events,
    account: Reader,
}

impl Sockets {
    pub(crate) fn new() -> Self {
        Self { market: Events::new(u32::MAX), account: Reader::new("a".into(), u32::MAX) }
    }

    /// A text frame; false if it ends one of the two.
    pub(crate) fn text(&mut self, frame: &str, recv: UnixNanos) -> bool {
        let mut ticks = Vec::new();
        let market = self.market.on_text(frame, &|| recv, &mut ticks);
        let account = self.account.on_text(frame);
        // Each says of itself what it met: no end without words for the log.
        market.is_ok() && account.is_ok()
    }

    /// A binary frame; false if it ends the feed.
    pub(crate) fn binary(&mut self, frame: &[u8], recv: UnixNanos) -> bool {
        let mut ticks = Vec::new();
        self.market.on_binary(frame, &|| recv, &mut ticks).is_ok()
    }
}
