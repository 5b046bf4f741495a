//! Binary messages: header, common head and body, plain or raw deflate.
//!
//! Layouts A (official .NET, Node and Python SDKs of 2025), B (64-bit quantities; an employee's
//! Go SDK, and the offsets seen on Jainam's live packets) and C (old, scaled integer prices).
//! The layout of 1512 follows the fields of its JSON; no source shows it.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::{Message, NOT_A_NUMBER, code, venue_time};
use crate::market::{Level, Price, Segment};
use crate::sim::settings::Layout;

/// Version 4: with a sequence number and a (zero) count of extended properties.
const VERSION: u16 = 4;
const REGULAR_BOOK: i16 = 1;
const NORMAL_MARKET: i16 = 1;

/// Writes messages back to back; keeps its buffers.
#[derive(Debug)]
pub(crate) struct Writer {
    layout: Layout,
    body: Vec<u8>,
    packed: Vec<u8>,
    deflate: Compress,
}

impl Writer {
    pub(crate) fn new(layout: Layout) -> Self {
        let deflate = Compress::new(Compression::fast(), false);
        Self { layout, body: Vec::with_capacity(512), packed: vec![0; 1024], deflate }
    }

    /// What follows is written in this layout.
    pub(crate) fn set_layout(&mut self, layout: Layout) {
        self.layout = layout;
    }

    /// Appends one message to `out`, compressed if asked for and if that saves a fifth.
    pub(crate) fn write(&mut self, message: &Message<'_>, compress: bool, out: &mut Vec<u8>) {
        self.body.clear();
        self.write_body(message);
        let packed = if compress { self.pack() } else { None };
        out.push(u8::from(packed.is_some()));
        out.extend_from_slice(&message.code.to_le_bytes());
        out.extend_from_slice(&segment_number(message.id.segment).to_le_bytes());
        out.extend_from_slice(&(message.id.code as i32).to_le_bytes());
        out.extend_from_slice(&REGULAR_BOOK.to_le_bytes());
        out.extend_from_slice(&NORMAL_MARKET.to_le_bytes());
        out.extend_from_slice(&(self.body.len() as u16).to_le_bytes());
        if let Some(length) = packed {
            out.extend_from_slice(&(length as u16).to_le_bytes());
            out.extend_from_slice(&self.packed[..length]);
        } else {
            out.extend_from_slice(&self.body);
        }
    }

    /// Raw deflate of the body into `packed`; `None` if it saves less than a fifth.
    fn pack(&mut self) -> Option<usize> {
        self.deflate.reset();
        let status = self.deflate.compress(&self.body, &mut self.packed, FlushCompress::Finish).ok()?;
        let length = usize::try_from(self.deflate.total_out()).ok()?;
        (status == Status::StreamEnd && length * 5 <= self.body.len() * 4).then_some(length)
    }

    fn write_body(&mut self, message: &Message<'_>) {
        self.head(message);
        match message.code {
            code::DEPTH => {
                self.rows(message.id.segment, &message.quote.bids);
                self.rows(message.id.segment, &message.quote.asks);
                self.touchline(message);
                self.i16(REGULAR_BOOK);
                self.i16(NORMAL_MARKET);
            }
            code::OPEN_INTEREST => self.open_interest(message),
            code::LAST_PRICE => {
                self.i16(REGULAR_BOOK);
                self.i16(NORMAL_MARKET);
                // Never sent in layout C by anybody; the fields are then B's.
                self.f64(message.quote.ltp);
                self.quantity(message.quote.ltq);
                self.i64(venue_time(message.id.segment, message.quote.updated));
            }
            _ => {
                self.touchline(message);
                self.i16(REGULAR_BOOK);
                self.i16(NORMAL_MARKET);
            }
        }
    }

    fn head(&mut self, message: &Message<'_>) {
        self.body.extend_from_slice(&message.code.to_le_bytes());
        self.body.extend_from_slice(&VERSION.to_le_bytes());
        // ApplicationType and TokenID.
        self.i16(0);
        self.i64(0);
        self.i64(message.sequence);
        // Number of extended properties.
        self.i32(0);
        self.i16(segment_number(message.id.segment));
        self.i32(message.id.code as i32);
        self.i64(venue_time(message.id.segment, message.quote.updated));
    }

    fn rows(&mut self, segment: Segment, levels: &[Level]) {
        self.i32(levels.len() as i32);
        for level in levels {
            self.row(segment, level);
        }
    }

    fn row(&mut self, segment: Segment, level: &Level) {
        self.quantity(level.size);
        self.price(segment, level.price);
        self.body.extend_from_slice(&level.orders.to_le_bytes());
        self.i16(0);
    }

    fn touchline(&mut self, message: &Message<'_>) {
        let quote = message.quote;
        let segment = message.id.segment;
        self.row(segment, &quote.bids[0]);
        self.row(segment, &quote.asks[0]);
        self.i64(venue_time(segment, quote.updated));
        self.price(segment, quote.ltp);
        self.quantity(quote.ltq);
        self.quantity(quote.total_buy);
        self.quantity(quote.total_sell);
        self.quantity(quote.volume);
        self.price(segment, quote.average());
        self.i64(venue_time(segment, quote.last_trade));
        if self.layout == Layout::C {
            self.i32((quote.percent_change() * 100.0).round() as i32);
        } else {
            self.body.extend_from_slice(&quote.percent_change().to_le_bytes());
        }
        for price in [quote.open, quote.high, quote.low, quote.close] {
            self.price(segment, price);
        }
        if self.layout != Layout::C {
            // TotalValueTraded is NaN on live servers. With its sign set, as .NET's NaN has it.
            self.body.extend_from_slice(&0xfff8_0000_0000_0000_u64.to_le_bytes());
        }
        // BuyBackTotalBuy and BuyBackTotalSell.
        self.i16(0);
        self.i16(0);
    }

    fn open_interest(&mut self, message: &Message<'_>) {
        self.i16(NORMAL_MARKET);
        self.quantity(message.quote.open_interest);
        let underlying = message.underlying;
        self.i16(underlying.map_or(0, |id| segment_number(id.segment)));
        self.i64(underlying.map_or(0, |id| i64::from(id.code)));
        // No name of the underlying.
        self.body.push(0);
        self.quantity(message.quote.open_interest);
    }

    /// 32 bits in layout A, 64 in the others.
    fn quantity(&mut self, value: i64) {
        if self.layout == Layout::A {
            // The old layout wraps where the number does not fit, as a cast in C# does.
            self.i32(value as i32);
        } else {
            self.i64(value);
        }
    }

    fn price(&mut self, segment: Segment, price: Price) {
        if self.layout == Layout::C {
            // No integer says NaN.
            let price = if price == NOT_A_NUMBER { Price::ZERO } else { price };
            let divisor = if segment == Segment::NseCurrency { 10_000_000 } else { 100 };
            self.i32((price.as_nanos() / (1_000_000_000 / divisor)) as i32);
        } else {
            self.f64(price);
        }
    }

    /// Both numbers are exact as doubles, so the quotient is the double nearest to the decimal.
    fn f64(&mut self, price: Price) {
        let value = if price == NOT_A_NUMBER { f64::NAN } else { price.as_nanos() as f64 / 1e9 };
        self.body.extend_from_slice(&value.to_le_bytes());
    }

    fn i16(&mut self, value: i16) {
        self.body.extend_from_slice(&value.to_le_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.body.extend_from_slice(&value.to_le_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.body.extend_from_slice(&value.to_le_bytes());
    }
}

fn segment_number(segment: Segment) -> i16 {
    i16::from(segment.number())
}
