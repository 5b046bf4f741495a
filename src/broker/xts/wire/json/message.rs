//! The checked reader of a full message: `serde_json` over the whole text, each number on its own.
//! Accepts everything that is accepted at all; `scan` is the fast way for what servers usually send.

use serde::Deserialize;

use crate::market::{DEPTH_LEVELS, Depth, DepthSide, Level};

use super::super::text::{Raw, each_element, raw_integer};
use super::full::{Full, Line};
use super::price_or_none;

/// Reads the text of a message; `None` if it is no JSON object with members of the right shape.
pub(super) fn read(text: &str) -> Option<Full> {
    let wire: Message<'_> = serde_json::from_str(text).ok()?;
    let line = wire.touchline.as_deref().unwrap_or(&wire);
    let mut depth = Depth::default();
    let rows = read_rows(wire.bids, &mut depth.bids).and_then(|()| read_rows(wire.asks, &mut depth.asks));
    Some(Full {
        code: raw_integer(wire.message_code),
        segment: raw_integer(wire.exchange_segment),
        instrument: raw_integer(wire.exchange_instrument_id),
        exchange_time: raw_integer(wire.exchange_time_stamp).unwrap_or(0),
        open_interest: raw_integer(wire.open_interest),
        line: line.read(),
        depth: rows.map(|()| depth),
    })
}

/// A full message, flat or nested: `Touchline`, if present, holds the same members.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Message<'a> {
    #[serde(borrow)]
    message_code: Raw<'a>,
    #[serde(borrow)]
    exchange_segment: Raw<'a>,
    #[serde(borrow, rename = "ExchangeInstrumentID")]
    exchange_instrument_id: Raw<'a>,
    #[serde(borrow)]
    exchange_time_stamp: Raw<'a>,
    #[serde(borrow)]
    touchline: Option<Box<Message<'a>>>,
    #[serde(borrow)]
    bids: Raw<'a>,
    #[serde(borrow)]
    asks: Raw<'a>,
    #[serde(borrow)]
    bid_info: Option<Row<'a>>,
    #[serde(borrow)]
    ask_info: Option<Row<'a>>,
    #[serde(borrow)]
    last_traded_price: Raw<'a>,
    /// The venue's own spelling.
    #[serde(borrow)]
    last_traded_qunatity: Raw<'a>,
    #[serde(borrow)]
    last_traded_quantity: Raw<'a>,
    #[serde(borrow)]
    total_buy_quantity: Raw<'a>,
    #[serde(borrow)]
    total_sell_quantity: Raw<'a>,
    #[serde(borrow)]
    total_traded_quantity: Raw<'a>,
    #[serde(borrow)]
    average_traded_price: Raw<'a>,
    #[serde(borrow)]
    last_traded_time: Raw<'a>,
    #[serde(borrow)]
    last_update_time: Raw<'a>,
    #[serde(borrow)]
    open: Raw<'a>,
    #[serde(borrow)]
    high: Raw<'a>,
    #[serde(borrow)]
    low: Raw<'a>,
    #[serde(borrow)]
    close: Raw<'a>,
    #[serde(borrow)]
    open_interest: Raw<'a>,
}

impl Message<'_> {
    fn read(&self) -> Line {
        Line {
            last_price: price_or_none(self.last_traded_price),
            last_size: quantity(self.last_traded_qunatity.or(self.last_traded_quantity)),
            last_time: raw_integer(self.last_traded_time).unwrap_or(0),
            updated: raw_integer(self.last_update_time).unwrap_or(0),
            bid: self.bid_info.as_ref().map(Row::level),
            ask: self.ask_info.as_ref().map(Row::level),
            volume: quantity(self.total_traded_quantity),
            average: price_or_none(self.average_traded_price),
            total_buy: quantity(self.total_buy_quantity),
            total_sell: quantity(self.total_sell_quantity),
            open: price_or_none(self.open),
            high: price_or_none(self.high),
            low: price_or_none(self.low),
            close: price_or_none(self.close),
        }
    }
}

/// A bid or an ask.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Row<'a> {
    #[serde(borrow)]
    size: Raw<'a>,
    #[serde(borrow)]
    price: Raw<'a>,
    #[serde(borrow)]
    total_orders: Raw<'a>,
}

impl Row<'_> {
    fn level(&self) -> Level {
        Level {
            price: price_or_none(self.price),
            size: quantity(self.size),
            orders: raw_integer(self.total_orders).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        }
    }
}

fn quantity(raw: Raw<'_>) -> i64 {
    raw_integer(raw).unwrap_or(0).max(0)
}

/// Reads `Bids` or `Asks`: an array, shorter than five or longer, or a single object.
fn read_rows(raw: Raw<'_>, side: &mut DepthSide) -> Option<()> {
    let Some(raw) = raw else { return Some(()) };
    let (mut index, mut broken) = (0, false);
    each_element(raw.get(), |element| {
        if index < DEPTH_LEVELS {
            match serde_json::from_str::<Row<'_>>(element) {
                Ok(row) => side.set(index, row.level()),
                Err(_) => broken = true,
            }
        }
        index += 1;
    })?;
    (!broken).then_some(())
}
