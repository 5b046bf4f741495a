//! The fields of a binary message, read in order off the front of a slice.
//! Not what they mean for a tick; that is `binary`'s.

use crate::market::{DEPTH_LEVELS, DepthSide, Level, Price, Segment};

use super::{HEAD, Layout, Message};

/// Bytes before every body, but for the compressed size.
const ENVELOPE: usize = 15;

/// The message version whose head is known.
const VERSION: u16 = 4;

/// More rows a side than this are refused.
pub(super) const MAX_ROWS: usize = 50;

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
    #[inline]
    pub(super) fn message(&mut self) -> Option<(Envelope, &'a [u8], Option<u16>)> {
        let mut start = Self(self.take(ENVELOPE)?);
        let flag = start.u8()?;
        let envelope = Envelope { code: start.u16()?, segment: start.i16()?, instrument: start.i32()? };
        let (_book_type, _market_type) = (start.i16()?, start.i16()?);
        let size = start.u16()?;
        match flag {
            0 => Some((envelope, self.take(usize::from(size))?, None)),
            1 => {
                let compressed = self.u16()?;
                Some((envelope, self.take(usize::from(compressed))?, Some(size)))
            }
            _ => None,
        }
    }

    #[inline]
    pub(super) fn head(&mut self) -> Option<Head> {
        let mut head = Self(self.take(HEAD)?);
        let (code, version, _application) = (head.u16()?, head.u16()?, head.u16()?);
        if version < VERSION {
            return None;
        }
        let (_token, _sequence) = (head.i64()?, head.i64()?);
        if head.i32()? != 0 {
            // Extended properties: no sample exists.
            return None;
        }
        Some(Head { code, segment: head.i16()?, instrument: head.i32()?, time: head.i64()? })
    }

    pub(super) fn count(&mut self) -> Option<usize> {
        usize::try_from(self.i32()?).ok().filter(|n| *n <= MAX_ROWS)
    }

    /// The touchline block.
    #[inline]
    pub(super) fn touchline(&mut self, shape: &Shape) -> Option<Touchline> {
        // One copy of the reading for each layout, in which every width and place is a constant.
        match shape.layout {
            Layout::A => {
                Fields { layout: Layout::A, ..self.fields(shape, Layout::A.touchline())? }.touchline()
            }
            Layout::B => {
                Fields { layout: Layout::B, ..self.fields(shape, Layout::B.touchline())? }.touchline()
            }
            Layout::C => {
                Fields { layout: Layout::C, ..self.fields(shape, Layout::C.touchline())? }.touchline()
            }
        }
    }

    /// A row count and its rows, of which those beyond the side's levels are passed over.
    pub(super) fn rows(&mut self, shape: &Shape, side: &mut DepthSide) -> Option<()> {
        let count = self.count()?;
        for index in 0..count {
            let level = self.row(shape)?;
            if index < DEPTH_LEVELS {
                side.set(index, level);
            }
        }
        Some(())
    }

    fn row(&mut self, shape: &Shape) -> Option<Level> {
        match shape.layout {
            Layout::A => Fields { layout: Layout::A, ..self.fields(shape, Layout::A.row())? }.row(),
            Layout::B => Fields { layout: Layout::B, ..self.fields(shape, Layout::B.row())? }.row(),
            Layout::C => Fields { layout: Layout::C, ..self.fields(shape, Layout::C.row())? }.row(),
        }
    }

    /// Price, size and time of a 1512, as its JSON fields are ordered.
    pub(super) fn last_trade(&mut self, shape: &Shape) -> Option<(Price, i64, i64)> {
        let (_book_type, _market_type) = (self.i16()?, self.i16()?);
        let mut fields = self.fields(shape, self.0.len())?;
        Some((fields.price()?, fields.signed()?, fields.rest.i64()?))
    }

    fn fields(&mut self, shape: &Shape, length: usize) -> Option<Fields<'a>> {
        Some(Fields { layout: shape.layout, divisor: shape.divisor, rest: Self(self.take(length)?) })
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
}

/// A block of fields whose widths depend on the layout.
struct Fields<'a> {
    layout: Layout,
    divisor: i64,
    rest: Reader<'a>,
}

/// All inlined, so that a layout that is known makes the widths known.
#[expect(clippy::inline_always, reason = "a touchline takes half the time")]
impl Fields<'_> {
    /// A price; zero where the venue sends none, no number or one below zero.
    #[inline(always)]
    fn price(&mut self) -> Option<Price> {
        let price = match self.layout {
            Layout::A | Layout::B => Price::from_f64(f64::from_le_bytes(self.rest.bytes()?)),
            Layout::C => Price::from_scaled(i64::from(self.rest.i32()?), self.divisor),
        };
        Some(price.filter(|p| p.is_positive()).unwrap_or(Price::ZERO))
    }

    /// A quantity that layout A sends signed; never below zero.
    #[inline(always)]
    fn signed(&mut self) -> Option<i64> {
        Some(
            match self.layout {
                Layout::A => i64::from(self.rest.i32()?),
                Layout::B | Layout::C => self.rest.i64()?,
            }
            .max(0),
        )
    }

    /// A quantity that layout A sends unsigned.
    #[inline(always)]
    fn unsigned(&mut self) -> Option<i64> {
        Some(
            match self.layout {
                Layout::A => i64::from(self.rest.bytes().map(u32::from_le_bytes)?),
                Layout::B | Layout::C => self.rest.i64()?,
            }
            .max(0),
        )
    }

    #[inline(always)]
    fn row(&mut self) -> Option<Level> {
        // Layout C's rows have 64-bit sizes too.
        let size = self.signed()?;
        let price = self.price()?;
        let orders = u32::try_from(self.rest.i32()?).unwrap_or(0);
        let _buy_back = self.rest.i16()?;
        Some(Level { price, size, orders })
    }

    /// All but what ends the block: the traded value and the buy-back's quantities.
    #[inline(always)]
    fn touchline(mut self) -> Option<Touchline> {
        Some(Touchline {
            bid: self.row()?,
            ask: self.row()?,
            updated: self.rest.i64()?,
            last_price: self.price()?,
            last_size: self.signed()?,
            total_buy: self.unsigned()?,
            total_sell: self.unsigned()?,
            volume: self.unsigned()?,
            average: self.price()?,
            last_time: self.rest.i64()?,
            open: {
                let _percent_change = self.rest.take(if self.layout == Layout::C { 4 } else { 8 })?;
                self.price()?
            },
            high: self.price()?,
            low: self.price()?,
            close: self.price()?,
        })
    }
}
