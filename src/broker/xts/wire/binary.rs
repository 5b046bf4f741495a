//! The binary attachment of an `xts-binary-packet`: one or more messages, plain or deflated,
//! in one of three layouts. Not the Socket.IO frames around it.
//!
//! Source: the official .NET, Node and Python binary SDKs of early 2025 (layout A), the
//! official Go SDK's newer decoder and offsets noted from live Jainam packets (layout B), an
//! older client (layout C). All integers are little-endian.

mod reader;

use std::collections::HashMap;

use flate2::{Decompress, FlushDecompress, Status};

use crate::clock::UnixNanos;
use crate::market::{Depth, InstrumentId, LastTrade, OpenInterest, Price, Quote, Segment, Tick, TickBody};

use self::reader::{Envelope, Reader, Shape, Touchline};

use super::json::MAX_STATES;
use super::time::Base;
use super::{Counts, Skip, code};

/// How a server lays out its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// 32-bit quantities, doubles as prices.
    A,
    /// 64-bit quantities, doubles as prices.
    B,
    /// 64-bit quantities, scaled 32-bit integers as prices.
    C,
}

impl Layout {
    const ALL: [Self; 3] = [Self::A, Self::B, Self::C];

    /// Bytes of a row (a bid or an ask).
    const fn row(self) -> usize {
        match self {
            Self::A | Self::C => 18,
            Self::B => 22,
        }
    }

    /// Bytes of the touchline block.
    const fn touchline(self) -> usize {
        match self {
            Self::A => 136,
            Self::B => 160,
            Self::C => 116,
        }
    }

    /// Bytes of a whole 1501 body: head, touchline, book type, market type.
    const fn quote_body(self) -> usize {
        HEAD + self.touchline() + 4
    }

    /// Bytes of a whole 1512 body. No source decodes it; these are the widths that its JSON
    /// fields would have.
    const fn last_trade_body(self) -> usize {
        match self {
            Self::A => 64,
            Self::B | Self::C => 68,
        }
    }
}

/// Bytes of the head common to all bodies.
const HEAD: usize = 40;

/// The longest body that is read: a 1502 of layout B with all rows. A larger one is not inflated, so
/// that a small frame cannot cost much.
const MAX_BODY: usize = Layout::B.quote_body() + 8 + 2 * reader::MAX_ROWS * Layout::B.row();

/// One byte more shows a body that inflates to too much.
const SCRATCH: usize = MAX_BODY + 1;

/// Decodes one connection's attachments. Holds what is reused between them: the inflate
/// state, its output, and the layout seen last.
pub struct Decoder {
    inflate: Decompress,
    scratch: Vec<u8>,
    layout: Option<Layout>,
    /// Last prices, to judge 1512 by. Empty until the first 1512 arrives, which no server is
    /// known to send: nobody else pays for it.
    references: Option<HashMap<InstrumentId, Price>>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// For a new connection.
    pub fn new() -> Self {
        Self { inflate: Decompress::new(false), scratch: vec![0; SCRATCH], layout: None, references: None }
    }

    /// The layout of the last 1501 or 1502.
    pub const fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// Decodes an attachment (without Engine.IO's type byte), appending its ticks to `out`.
    ///
    /// A message that cannot be read is counted and the next one is tried; where the framing
    /// itself is broken, the rest of the attachment counts as one unreadable message.
    pub fn decode(&mut self, attachment: &[u8], recv: UnixNanos, out: &mut Vec<Tick>) -> Counts {
        let mut counts = Counts::default();
        let mut rest = Reader(attachment);
        while !rest.0.is_empty() {
            let Some((envelope, body, compressed)) = rest.message() else {
                counts.note(Err(Skip::Undecodable));
                break;
            };
            counts.note(match compressed {
                None => self.body(&envelope, body, recv, out),
                Some(size) => self.deflated(&envelope, body, usize::from(size), recv, out),
            });
        }
        counts
    }

    fn deflated(
        &mut self,
        envelope: &Envelope,
        body: &[u8],
        size: usize,
        recv: UnixNanos,
        out: &mut Vec<Tick>,
    ) -> Result<(), Skip> {
        if !is_read(envelope.code) {
            return Err(Skip::Ignored);
        }
        // Taken out so that a body inside it can be read while `self` changes.
        let mut scratch = std::mem::take(&mut self.scratch);
        let outcome = match self.inflate(body, size, &mut scratch) {
            Some(body) => self.body(envelope, body, recv, out),
            None => Err(Skip::Undecodable),
        };
        self.scratch = scratch;
        outcome
    }

    /// Inflates raw deflate to exactly `size` bytes.
    fn inflate<'a>(&mut self, body: &[u8], size: usize, scratch: &'a mut [u8]) -> Option<&'a [u8]> {
        self.inflate.reset(false);
        let status =
            self.inflate.decompress(body, scratch.get_mut(..=size)?, FlushDecompress::Finish).ok()?;
        let whole = status == Status::StreamEnd && self.inflate.total_out() == size as u64;
        whole.then(|| scratch.get(..size))?
    }

    fn body(
        &mut self,
        envelope: &Envelope,
        body: &[u8],
        recv: UnixNanos,
        out: &mut Vec<Tick>,
    ) -> Result<(), Skip> {
        if !is_read(envelope.code) {
            return Err(Skip::Ignored);
        }
        if body.len() > MAX_BODY {
            return Err(Skip::Undecodable);
        }
        let mut reader = Reader(body);
        let head = reader.head().ok_or(Skip::Undecodable)?;
        // Head and envelope say the same twice; where they differ, neither is believed.
        if (head.code, head.segment, head.instrument)
            != (envelope.code, envelope.segment, envelope.instrument)
        {
            return Err(Skip::Undecodable);
        }
        let segment = Segment::from_number(i64::from(head.segment)).ok_or(Skip::Ignored)?;
        let code = u32::try_from(head.instrument).map_err(|_| Skip::Undecodable)?;
        let message = Message { instrument: InstrumentId { segment, code }, time: head.time, recv };
        match envelope.code {
            code::TOUCHLINE => self.quote(&message, reader, body.len(), out),
            code::DEPTH => self.depth(&message, reader, body.len(), out),
            code::OPEN_INTEREST => self.open_interest(&message, &reader, out),
            _ => self.last_trade(&message, reader, body.len(), out),
        }
    }

    fn quote(
        &mut self,
        message: &Message,
        mut reader: Reader<'_>,
        length: usize,
        out: &mut Vec<Tick>,
    ) -> Result<(), Skip> {
        let layout = Layout::ALL.into_iter().find(|l| l.quote_body() == length).ok_or(Skip::Undecodable)?;
        self.layout = Some(layout);
        let touchline = reader.touchline(&Shape::of(layout, message)).ok_or(Skip::Undecodable)?;
        let (quote, at) = message.quote(&touchline).ok_or(Skip::InvalidPrice)?;
        self.remember(message.instrument, quote.last.price);
        out.push(message.tick(at, TickBody::Quote(quote)));
        Ok(())
    }

    fn depth(
        &mut self,
        message: &Message,
        mut reader: Reader<'_>,
        length: usize,
        out: &mut Vec<Tick>,
    ) -> Result<(), Skip> {
        let layout = depth_layout(reader.0, length).ok_or(Skip::Undecodable)?;
        self.layout = Some(layout);
        let shape = Shape::of(layout, message);
        let mut depth = Depth::default();
        for side in [&mut depth.bids, &mut depth.asks] {
            reader.rows(&shape, side).ok_or(Skip::Undecodable)?;
        }
        let touchline = reader.touchline(&shape).ok_or(Skip::Undecodable)?;
        let (quote, at) = message.quote(&touchline).ok_or(Skip::InvalidPrice)?;
        self.remember(message.instrument, quote.last.price);
        out.push(message.tick(at, TickBody::Quote(quote)));
        out.push(message.tick(at, TickBody::Depth(depth)));
        Ok(())
    }

    fn open_interest(&self, message: &Message, reader: &Reader<'_>, out: &mut Vec<Tick>) -> Result<(), Skip> {
        // The lengths of the layouts overlap for some names: the connection's own goes first,
        // then the one that live servers use today.
        let preferred =
            if self.layout == Some(Layout::A) { [Layout::A, Layout::B] } else { [Layout::B, Layout::A] };
        let open_interest = preferred
            .into_iter()
            .find_map(|layout| Reader(reader.0).open_interest(layout))
            .filter(|oi| *oi >= 0)
            .ok_or(Skip::Undecodable)?;
        let at = message.base(0).convert(message.time);
        out.push(message.tick(at, TickBody::OpenInterest(OpenInterest { open_interest })));
        Ok(())
    }

    fn last_trade(
        &mut self,
        message: &Message,
        mut reader: Reader<'_>,
        length: usize,
        out: &mut Vec<Tick>,
    ) -> Result<(), Skip> {
        let known = self.references.get_or_insert_default().get(&message.instrument).copied();
        let layout = [Layout::A, Layout::B]
            .into_iter()
            .find(|l| l.last_trade_body() == length)
            .ok_or(Skip::Undecodable)?;
        let (price, size, updated) =
            reader.last_trade(&Shape::of(layout, message)).ok_or(Skip::Undecodable)?;
        if !price.is_positive() {
            return Err(Skip::InvalidPrice);
        }
        // The layout is a guess: believed only near a price that is known otherwise.
        let near =
            |known: Price| price.as_nanos().abs_diff(known.as_nanos()) <= known.as_nanos().unsigned_abs() / 2;
        if !known.is_some_and(near) {
            return Err(Skip::Ignored);
        }
        let base = message.base(updated);
        let at = base.convert(if message.time > 0 { message.time } else { updated });
        out.push(message.tick(at, TickBody::LastTrade(LastTrade { price, size, time: UnixNanos::ZERO })));
        Ok(())
    }

    fn remember(&mut self, instrument: InstrumentId, price: Price) {
        if let Some(references) = &mut self.references
            && (references.len() < MAX_STATES || references.contains_key(&instrument))
        {
            references.insert(instrument, price);
        }
    }
}

const fn is_read(code: u16) -> bool {
    matches!(code, code::TOUCHLINE | code::DEPTH | code::OPEN_INTEREST | code::LAST_TRADE)
}

/// The layout whose length with the row counts in the body is exactly the body's.
fn depth_layout(after_head: &[u8], length: usize) -> Option<Layout> {
    Layout::ALL.into_iter().find(|layout| {
        let lengths = || {
            let mut reader = Reader(after_head);
            let bids = reader.count()?;
            reader.take(bids * layout.row())?;
            let asks = reader.count()?;
            Some(layout.quote_body() + 8 + layout.row() * (bids + asks))
        };
        lengths() == Some(length)
    })
}

/// What is known of a message beside its layout.
struct Message {
    instrument: InstrumentId,
    /// ExchangeTimeStamp, as sent.
    time: i64,
    recv: UnixNanos,
}

impl Message {
    fn base(&self, updated: i64) -> Base {
        Base::of(self.instrument.segment, &[self.time, updated], self.recv)
    }

    /// The quote and the time of the event, `None` if the last price is not positive.
    #[inline]
    fn quote(&self, wire: &Touchline) -> Option<(Quote, UnixNanos)> {
        let price = wire.last_price;
        if !price.is_positive() {
            return None;
        }
        let base = self.base(wire.updated);
        let quote = Quote {
            last: LastTrade { price, size: wire.last_size, time: base.convert(wire.last_time) },
            bid: wire.bid,
            ask: wire.ask,
            volume: wire.volume,
            average: wire.average,
            total_buy: wire.total_buy,
            total_sell: wire.total_sell,
            open: wire.open,
            high: wire.high,
            low: wire.low,
            close: wire.close,
        };
        Some((quote, base.convert(if self.time > 0 { self.time } else { wire.updated })))
    }

    const fn tick(&self, ts_event: UnixNanos, body: TickBody) -> Tick {
        Tick { instrument: self.instrument, ts_event, ts_recv: self.recv, body }
    }
}

#[cfg(test)]
mod tests;
