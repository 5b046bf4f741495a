//! The fast reader of a full message: over the *escaped* text of the event, without unescaping it,
//! without an allocation and without a float. Takes keys in any order and passes over those it does
//! not know. Not the one that decides: whatever it does not expect is `None`, and then the checked
//! reader (`message`) says what the text means.

mod cursor;
mod keys;

use crate::market::{DEPTH_LEVELS, Depth, DepthSide, Level, Price};

use super::super::code;
use super::full::{Full, Line};

use self::cursor::Cursor;
use self::keys::{Kind, MESSAGE, Order, ROW, START, slot};

/// Remembers in which order the keys of each kind of message came, one order for each code: a right
/// guess is one comparison.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    orders: [Orders; 4],
}

#[derive(Debug, Default)]
struct Orders {
    message: Order,
    row: Order,
}

impl Scanner {
    /// Reads an event's datum: a JSON string that holds a JSON object. `None` if it is anything else,
    /// or anything unusual.
    pub(super) fn read(&mut self, event_code: u16, datum: &str) -> Option<Full> {
        let orders = match event_code {
            code::TOUCHLINE => &mut self.orders[0],
            code::DEPTH => &mut self.orders[1],
            code::OPEN_INTEREST => &mut self.orders[2],
            code::LAST_TRADE => &mut self.orders[3],
            _ => return None,
        };
        let mut scan = Scan { cursor: Cursor::new(datum.strip_prefix('"')?), orders };
        scan.cursor.open(b'{')?;
        let (mut outer, mut inner) = (Members::default(), None);
        let mut depth = Depth::default();
        scan.members(&mut outer, Some((&mut inner, &mut depth)))?;
        scan.cursor.ends_string()?;
        Some(Full {
            code: outer.get(slot::CODE),
            segment: outer.get(slot::SEGMENT),
            instrument: outer.get(slot::INSTRUMENT),
            exchange_time: outer.values[slot::EXCHANGE_TIME],
            open_interest: outer.get(slot::OPEN_INTEREST),
            line: inner.as_ref().unwrap_or(&outer).line(),
            depth: Some(depth),
        })
    }
}

/// The members of a message or of the touchline inside it, each in its [`slot`].
#[derive(Default)]
struct Members {
    values: [i64; slot::COUNT],
    /// Slots whose member was there: a second one is not for this reader to judge.
    seen: u32,
    /// Slots whose member was a number.
    filled: u32,
    bid: Option<Level>,
    ask: Option<Level>,
}

impl Members {
    fn get(&self, slot: usize) -> Option<i64> {
        (self.filled & 1 << slot != 0).then_some(self.values[slot])
    }

    fn line(&self) -> Line {
        let price = |slot: usize| Price::from_nanos(self.values[slot]);
        let quantity = |slot: usize| self.values[slot].max(0);
        Line {
            last_price: price(slot::LAST_PRICE),
            last_size: quantity(slot::LAST_SIZE),
            last_time: self.values[slot::LAST_TIME],
            updated: self.values[slot::UPDATED],
            bid: self.bid,
            ask: self.ask,
            volume: quantity(slot::VOLUME),
            average: price(slot::AVERAGE),
            total_buy: quantity(slot::TOTAL_BUY),
            total_sell: quantity(slot::TOTAL_SELL),
            open: price(slot::OPEN),
            high: price(slot::HIGH),
            low: price(slot::LOW),
            close: price(slot::CLOSE),
        }
    }
}

/// One message being read.
struct Scan<'a, 'o> {
    cursor: Cursor<'a>,
    orders: &'o mut Orders,
}

impl Scan<'_, '_> {
    /// Reads an object's members up to its end. `nested` takes what only a message itself has: the
    /// touchline and the rows of a depth.
    fn members(
        &mut self,
        members: &mut Members,
        mut nested: Option<(&mut Option<Members>, &mut Depth)>,
    ) -> Option<()> {
        if self.cursor.closes(b'}') {
            return Some(());
        }
        let mut key = START;
        loop {
            key = MESSAGE.next(&mut self.cursor, &mut self.orders.message, key)?;
            let (kind, slot) = MESSAGE.get(key);
            let bit = 1 << slot;
            if kind != Kind::Other {
                if members.seen & bit != 0 {
                    return None;
                }
                members.seen |= bit;
            }
            match kind {
                Kind::Other => self.cursor.skip_value()?,
                Kind::Price | Kind::Integer => {
                    if let Some(value) = self.cursor.scalar(kind).ok()? {
                        members.values[usize::from(slot)] = value;
                        members.filled |= bit;
                    }
                }
                Kind::Bid | Kind::Ask if self.cursor.eats_null() => {}
                Kind::Bid => members.bid = Some(self.row()?),
                Kind::Ask => members.ask = Some(self.row()?),
                Kind::Bids => self.rows(&mut nested.as_mut()?.1.bids)?,
                Kind::Asks => self.rows(&mut nested.as_mut()?.1.asks)?,
                Kind::Touchline => {
                    let (inner, _) = nested.as_mut()?;
                    self.cursor.open(b'{')?;
                    self.members(inner.insert(Members::default()), None)?;
                }
            }
            if !self.cursor.continues(b'}')? {
                return Some(());
            }
        }
    }

    /// An array of rows, of which the first five count, or a single row.
    fn rows(&mut self, side: &mut DepthSide) -> Option<()> {
        if self.cursor.eats_null() {
            return Some(());
        }
        if self.cursor.open(b'[').is_none() {
            side.set(0, self.row()?);
            return Some(());
        }
        if self.cursor.closes(b']') {
            return Some(());
        }
        for index in 0.. {
            let level = self.row()?;
            if index < DEPTH_LEVELS {
                side.set(index, level);
            }
            if !self.cursor.continues(b']')? {
                break;
            }
        }
        Some(())
    }

    fn row(&mut self) -> Option<Level> {
        self.cursor.open(b'{')?;
        let (mut values, mut seen) = ([0_i64; slot::ROW_COUNT], 0_u32);
        if !self.cursor.closes(b'}') {
            let mut key = START;
            loop {
                key = ROW.next(&mut self.cursor, &mut self.orders.row, key)?;
                let (kind, slot) = ROW.get(key);
                if kind == Kind::Other {
                    self.cursor.skip_value()?;
                } else {
                    if seen & 1 << slot != 0 {
                        return None;
                    }
                    seen |= 1 << slot;
                    values[usize::from(slot)] = self.cursor.scalar(kind).ok()?.unwrap_or(0);
                }
                if !self.cursor.continues(b'}')? {
                    break;
                }
            }
        }
        Some(Level {
            price: Price::from_nanos(values[slot::ROW_PRICE]),
            size: values[slot::ROW_SIZE].max(0),
            orders: u32::try_from(values[slot::ROW_ORDERS]).unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests;
