//! The fields of a binary message, read in order off the front of a slice.
//! Not what they mean for a tick; that is `binary`'s.

use crate::market::{Level, Price, Segment};

use super::{Layout, Message};

/// The message version whose head is known.
const VERSION: u16 = 4;

/// More rows a side than this are refused.
const MAX_ROWS: usize = 50;

/// The 15 or 17 bytes before a body.
pub(super) struct Envelope {
    pub(super) code: u16,
    pub(super) segment: i16,
    pub(super) instrument: i32,
}

/// Widths and scale of one message's fields.
pub(super) struct Shape {
    pub(super) layout: Layout,
    /// What prices of layout C are divided by.
    pub(super) divisor: i64,
}

impl Shape {
    pub(super) const fn of(layout: Layout, message: &Message) -> Self {
        let divisor = match message.instrument.segment {
            Segment::NseCurrency => 10_000_000,
            Segment::NseCash | Segment::NseFo | Segment::BseCash | Segment::BseFo | Segment::Mcx => 100,
        };
        Self { layout, divisor }
    }
}

pub(super) struct Head {
    pub(super) code: u16,
    pub(super) segment: i16,
    pub(super) instrument: i32,
    pub(super) time: i64,
}

pub(super) struct Touchline {
    pub(super) bid: Level,
    pub(super) ask: Level,
    pub(super) updated: i64,
    pub(super) last_price: Price,
    pub(super) last_size: i64,
    pub(super) total_buy: i64,
    pub(super) total_sell: i64,
    pub(super) volume: i64,
    pub(super) average: Price,
    pub(super) last_time: i64,
    pub(super) open: Price,
    pub(super) high: Price,
    pub(super) low: Price,
    pub(super) close: Price,
}

/// Reads fields off the front of a slice; `None` once it is too short.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_le_bytes)
    }

    fn i16(&mut self) -> Option<i16> {
        self.bytes().map(i16::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.bytes().map(i32::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.bytes().map(i64::from_le_bytes)
    }

    /// One message: its envelope, its body as sent, and the inflated size if compressed.
    pub(super) fn message(&mut self) -> Option<(Envelope, &'a [u8], Option<u16>)> {
        let flag = self.u8()?;
        let envelope = Envelope { code: self.u16()?, segment: self.i16()?, instrument: self.i32()? };
        let (_book_type, _market_type) = (self.i16()?, self.i16()?);
        let size = self.u16()?;
        match flag {
            0 => Some((envelope, self.take(usize::from(size))?, None)),
            1 => {
                let compressed = self.u16()?;
                Some((envelope, self.take(usize::from(compressed))?, Some(size)))
            }
            _ => None,
        }
    }

    pub(super) fn head(&mut self) -> Option<Head> {
        let (code, version, _application) = (self.u16()?, self.u16()?, self.u16()?);
        if version < VERSION {
            return None;
        }
        let (_token, _sequence) = (self.i64()?, self.i64()?);
        if self.i32()? != 0 {
            // Extended properties: no sample exists.
            return None;
        }
        Some(Head { code, segment: self.i16()?, instrument: self.i32()?, time: self.i64()? })
    }

    pub(super) fn count(&mut self) -> Option<usize> {
        usize::try_from(self.i32()?).ok().filter(|n| *n <= MAX_ROWS)
    }

    /// A price; zero where the venue sends none, no number or one below zero.
    fn price(&mut self, shape: &Shape) -> Option<Price> {
        let price = match shape.layout {
            Layout::A | Layout::B => Price::from_f64(f64::from_le_bytes(self.bytes()?)),
            Layout::C => Price::from_scaled(i64::from(self.i32()?), shape.divisor),
        };
        Some(price.filter(|p| p.is_positive()).unwrap_or(Price::ZERO))
    }

    /// A quantity that layout A sends signed; never below zero.
    fn signed(&mut self, shape: &Shape) -> Option<i64> {
        Some(
            match shape.layout {
                Layout::A => i64::from(self.i32()?),
                Layout::B | Layout::C => self.i64()?,
            }
            .max(0),
        )
    }

    /// A quantity that layout A sends unsigned.
    fn unsigned(&mut self, shape: &Shape) -> Option<i64> {
        Some(
            match shape.layout {
                Layout::A => i64::from(self.bytes().map(u32::from_le_bytes)?),
                Layout::B | Layout::C => self.i64()?,
            }
            .max(0),
        )
    }

    pub(super) fn row(&mut self, shape: &Shape) -> Option<Level> {
        // Layout C's rows have 64-bit sizes too.
        let size = self.signed(shape)?;
        let price = self.price(shape)?;
        let orders = u32::try_from(self.i32()?).unwrap_or(0);
        let _buy_back = self.i16()?;
        Some(Level { price, size, orders })
    }

    pub(super) fn touchline(&mut self, shape: &Shape) -> Option<Touchline> {
        let touchline = Touchline {
            bid: self.row(shape)?,
            ask: self.row(shape)?,
            updated: self.i64()?,
            last_price: self.price(shape)?,
            last_size: self.signed(shape)?,
            total_buy: self.unsigned(shape)?,
            total_sell: self.unsigned(shape)?,
            volume: self.unsigned(shape)?,
            average: self.price(shape)?,
            last_time: self.i64()?,
            open: {
                let _percent_change = self.price(shape)?;
                self.price(shape)?
            },
            high: self.price(shape)?,
            low: self.price(shape)?,
            close: self.price(shape)?,
        };
        if shape.layout != Layout::C {
            let _total_value = self.i64()?;
        }
        let (_buy_back_buy, _buy_back_sell) = (self.i16()?, self.i16()?);
        Some(touchline)
    }

    /// The open interest, if the whole rest has exactly this layout's length.
    pub(super) fn open_interest(mut self, layout: Layout) -> Option<i64> {
        let _market_type = self.i16()?;
        let wide = layout != Layout::A;
        let open_interest = if wide { self.i64()? } else { i64::from(self.i32()?) };
        let (_underlying_segment, _underlying) = (self.i16()?, self.i64()?);
        match self.u8()? {
            0 => {}
            1 => {
                let length = usize::from(self.u8()?);
                self.take(length)?;
            }
            _ => return None,
        }
        let _underlying_total = self.take(if wide { 8 } else { 4 })?;
        self.0.is_empty().then_some(open_interest)
    }

    /// Price, size and time of a 1512, as its JSON fields are ordered.
    pub(super) fn last_trade(&mut self, shape: &Shape) -> Option<(Price, i64, i64)> {
        let (_book_type, _market_type) = (self.i16()?, self.i16()?);
        Some((self.price(shape)?, self.signed(shape)?, self.i64()?))
    }
}
