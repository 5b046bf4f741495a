//! What a full message says, with its numbers read: the form in which both readers, the checked
//! one and the scanner, hand it to the decoder. Not a tick yet.

use crate::market::{Depth, LastTrade, Level, Price, Quote};

use super::super::time::Base;

/// A full message. Values that were absent or no numbers are `None`, or zero where that says the same.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Full {
    pub(super) code: Option<i64>,
    pub(super) segment: Option<i64>,
    pub(super) instrument: Option<i64>,
    pub(super) exchange_time: i64,
    pub(super) open_interest: Option<i64>,
    /// The touchline inside, or else the members of the message itself.
    pub(super) line: Line,
    /// `None` if its rows cannot be read, which matters in a depth message only.
    pub(super) depth: Option<Depth>,
}

/// The touchline's members. Prices that are none, and quantities below zero, are zero.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Line {
    pub(super) last_price: Price,
    pub(super) last_size: i64,
    pub(super) last_time: i64,
    pub(super) updated: i64,
    pub(super) bid: Option<Level>,
    pub(super) ask: Option<Level>,
    pub(super) volume: i64,
    pub(super) average: Price,
    pub(super) total_buy: i64,
    pub(super) total_sell: i64,
    pub(super) open: Price,
    pub(super) high: Price,
    pub(super) low: Price,
    pub(super) close: Price,
}

impl Line {
    pub(super) fn last_trade(&self, base: Base) -> LastTrade {
        LastTrade { price: self.last_price, size: self.last_size, time: base.convert(self.last_time) }
    }

    /// `best` is the bid and the ask of the depth, for a touchline without.
    pub(super) fn quote(&self, base: Base, best: [Level; 2]) -> Quote {
        Quote {
            last: self.last_trade(base),
            bid: self.bid.unwrap_or(best[0]),
            ask: self.ask.unwrap_or(best[1]),
            volume: self.volume,
            average: self.average,
            total_buy: self.total_buy,
            total_sell: self.total_sell,
            open: self.open,
            high: self.high,
            low: self.low,
            close: self.close,
        }
    }
}
