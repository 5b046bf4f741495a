//! The text of a partial event: `t:1_2885,ltp:1462.6,…`, only what changed.
//! Not the state it is merged into; that is `json`'s.
//!
//! Source: the official Node SDK's parser. tickgate asks for full events, so that this only
//! serves servers that send partial ones all the same.

use crate::clock::UnixNanos;
use crate::market::{DEPTH_LEVELS, Level, Price};

use super::code;
use super::json::State;
use super::text::{integer, price};
use super::time::Base;

/// One line's pairs, values unread where most lines lack them. An empty value is unchanged.
#[derive(Debug, Default)]
pub(super) struct Line<'a> {
    pub(super) segment: Option<i64>,
    pub(super) instrument: Option<i64>,
    pub(super) updated: Option<i64>,
    last_time: Option<&'a str>,
    last_price: Option<&'a str>,
    last_size: Option<&'a str>,
    total_buy: Option<&'a str>,
    total_sell: Option<&'a str>,
    volume: Option<&'a str>,
    average: Option<&'a str>,
    /// The open, and in 1510 the open interest.
    open: Option<&'a str>,
    high: Option<&'a str>,
    low: Option<&'a str>,
    close: Option<&'a str>,
    open_interest: Option<&'a str>,
    bids: Option<&'a str>,
    asks: Option<&'a str>,
}

/// The pairs of a line; an empty value is none.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split(',').filter_map(|pair| {
        let (key, value) = pair.split_once(':')?;
        Some((key.trim(), Some(value.trim()).filter(|v| !v.is_empty())))
    })
}

/// Segment and number of `segment_number`, as far as they are numbers.
pub(super) fn named(value: &str) -> Option<(Option<i64>, Option<i64>)> {
    let (segment, instrument) = value.split_once('_')?;
    Some((integer(segment), integer(instrument)))
}

impl<'a> Line<'a> {
    /// `None` if the text names no instrument.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut line = Self::default();
        for (key, value) in pairs(text) {
            match key {
                "t" => (line.segment, line.instrument) = named(value?)?,
                "lut" => line.updated = value.and_then(integer),
                "ltt" => line.last_time = value,
                "ltp" => line.last_price = value,
                "ltq" => line.last_size = value,
                "tb" => line.total_buy = value,
                "ts" => line.total_sell = value,
                "v" => line.volume = value,
                "ap" => line.average = value,
                "o" => line.open = value,
                "h" => line.high = value,
                "l" => line.low = value,
                "c" => line.close = value,
                "oi" => line.open_interest = value,
                "bi" => line.bids = value,
                "ai" => line.asks = value,
                _ => {}
            }
        }
        (line.segment.is_some() && line.instrument.is_some()).then_some(line)
    }

    /// The figure of a 1510 line.
    pub(super) fn open_interest(&self) -> Option<i64> {
        integer(self.open_interest.or(self.open)?)
    }

    /// Whether it holds enough to stand for a full message.
    pub(super) fn is_whole(&self, code: u16) -> bool {
        let needed: &[Option<&str>] = match code {
            code::LAST_TRADE => &[self.last_price],
            code::DEPTH => &[
                self.last_price,
                self.volume,
                self.open,
                self.high,
                self.low,
                self.close,
                self.bids,
                self.asks,
            ],
            _ => &[self.last_price, self.volume, self.open, self.high, self.low, self.close],
        };
        needed.iter().all(Option::is_some)
    }

    /// Writes what is named over `state`.
    pub(super) fn apply(&self, base: Base, state: &mut State) {
        let quote = &mut state.quote;
        for (value, target) in [
            (self.last_price, &mut quote.last.price),
            (self.average, &mut quote.average),
            (self.open, &mut quote.open),
            (self.high, &mut quote.high),
            (self.low, &mut quote.low),
            (self.close, &mut quote.close),
        ] {
            if let Some(value) = value {
                *target = price_or_none(value);
            }
        }
        for (value, target) in [
            (self.last_size, &mut quote.last.size),
            (self.total_buy, &mut quote.total_buy),
            (self.total_sell, &mut quote.total_sell),
            (self.volume, &mut quote.volume),
        ] {
            if let Some(value) = value.and_then(integer) {
                *target = value.max(0);
            }
        }
        if let Some(time) = self.last_time.and_then(integer) {
            let time = base.convert(time);
            if time != UnixNanos::ZERO {
                quote.last.time = time;
            }
        }
        for (rows, best, side) in [
            (self.bids, &mut quote.bid, &mut state.depth.bids),
            (self.asks, &mut quote.ask, &mut state.depth.asks),
        ] {
            each_row(rows.unwrap_or_default(), |index, level| {
                if index == 0 {
                    *best = level;
                }
                if index < DEPTH_LEVELS {
                    side.set(index, level);
                }
            });
        }
    }
}

fn price_or_none(text: &str) -> Price {
    price(text).filter(|p| p.is_positive()).unwrap_or(Price::ZERO)
}

/// Groups of `index|size|price|orders`; a lone number may follow (the buy-back flag).
fn each_row(text: &str, mut visit: impl FnMut(usize, Level)) {
    let mut numbers = text.split('|');
    loop {
        let (Some(index), Some(size), Some(price), Some(orders)) =
            (numbers.next(), numbers.next(), numbers.next(), numbers.next())
        else {
            return;
        };
        let Some(index) = integer(index).and_then(|i| usize::try_from(i).ok()) else { return };
        let orders = integer(orders).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        visit(index, Level { price: price_or_none(price), size: integer(size).unwrap_or(0).max(0), orders });
    }
}
