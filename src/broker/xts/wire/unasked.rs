//! Events about whole segments, mostly unasked: market status (1507), properties of instruments
//! (1105), index values (1504). Not what is subscribed; that is `json` and `candle`.
//!
//! Source: the official Node and Java SDKs (field names and their spelling), the numbers of
//! properties in the Node SDK's settings, one live line of 1105.

use serde::Deserialize;

use crate::clock::UnixNanos;
use crate::market::{LastTrade, MarketPhase, Price, PriceBand, Quote, Segment, Tick, TickBody};

use super::Skip;
use super::json::{instrument, price_or_none};
use super::partial::{named, pairs};
use super::text::{Raw, price, raw_integer, raw_text};
use super::time::Base;

/// HighExecBand and LowExecBand: within these an order is taken. No price of a trade.
const HIGH_BAND: &str = "110";
const LOW_BAND: &str = "111";

/// Numbers of indices on both exchanges. An index event's number is believed only here: no sample
/// shows that it is not another count, which would be some share's number.
const INDICES: std::ops::Range<u32> = 26_000..27_000;

/// More of the broker's words than this are cut off.
const MESSAGE_CHARS: usize = 160;

/// Properties that changed, of which only price bands are read.
pub(super) fn property(text: &str, recv: UnixNanos, out: &mut Vec<Tick>) -> Result<(), Skip> {
    let mut name = None;
    let mut band = PriceBand::default();
    for (key, value) in pairs(text) {
        let Some(value) = value else { continue };
        // Zero and less stand for no band, which takes one that was told before away.
        let limit = || price(value).ok_or(Skip::Undecodable).map(|p| Some(p.max(Price::ZERO)));
        match key {
            "t" => name = named(value),
            HIGH_BAND => band.high = limit()?,
            LOW_BAND => band.low = limit()?,
            _ => {}
        }
    }
    let (segment, number) = name.ok_or(Skip::Undecodable)?;
    let instrument = instrument(segment, number)?;
    match (band.low, band.high) {
        (None, None) => return Err(Skip::Ignored),
        // One of them is no band of this instrument, and which cannot be told.
        (Some(low), Some(high)) if low > high && high.is_positive() => return Err(Skip::Undecodable),
        _ => {}
    }
    out.push(Tick { instrument, ts_event: UnixNanos::ZERO, ts_recv: recv, body: TickBody::PriceBand(band) });
    Ok(())
}

/// A market's session.
pub(super) fn market_status(text: &str, recv: UnixNanos) -> Result<MarketPhase, Skip> {
    let wire: Status<'_> = serde_json::from_str(text).map_err(|_| Skip::Undecodable)?;
    let segment = raw_integer(wire.exchange_segment).ok_or(Skip::Undecodable)?;
    let segment = Segment::from_number(segment).ok_or(Skip::Ignored)?;
    let code = raw_integer(wire.trading_session).ok_or(Skip::Undecodable)?;
    // Odd lots and auctions keep hours of their own.
    if raw_integer(wire.maket_type.or(wire.market_type)).is_some_and(|kind| kind > 1) {
        return Err(Skip::Ignored);
    }
    let stamp = raw_integer(wire.exchange_time_stamp).unwrap_or(0);
    let message = raw_text(wire.message).unwrap_or_default();
    Ok(MarketPhase {
        segment,
        code,
        at: Base::of(segment, &[stamp], recv).convert(stamp),
        received_at: recv,
        message: message.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS).collect(),
    })
}

/// The value of an index, as a quote without a book.
pub(super) fn index(text: &str, recv: UnixNanos, out: &mut Vec<Tick>) -> Result<(), Skip> {
    let wire: Index<'_> = serde_json::from_str(text).map_err(|_| Skip::Undecodable)?;
    let instrument =
        instrument(raw_integer(wire.exchange_segment), raw_integer(wire.exchange_instrument_id))?;
    if !INDICES.contains(&instrument.code) || instrument.segment.has_open_interest() {
        return Err(Skip::Ignored);
    }
    let stamp = raw_integer(wire.exchange_time_stamp).unwrap_or(0);
    let at = Base::of(instrument.segment, &[stamp], recv).convert(stamp);
    let quote = Quote {
        last: LastTrade { price: price_or_none(wire.index_value), size: 0, time: at },
        open: price_or_none(wire.opening_index),
        high: price_or_none(wire.high_index_value),
        low: price_or_none(wire.low_index_value),
        close: price_or_none(wire.closing_index),
        ..Quote::default()
    };
    if quote.last.price <= Price::ZERO {
        return Err(Skip::InvalidPrice);
    }
    out.push(Tick { instrument, ts_event: at, ts_recv: recv, body: TickBody::Quote(quote) });
    Ok(())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status<'a> {
    #[serde(borrow, rename = "ExchangeSegment")]
    exchange_segment: Raw<'a>,
    #[serde(borrow, rename = "ExchangeTimeStamp")]
    exchange_time_stamp: Raw<'a>,
    /// The venue's own spelling.
    #[serde(borrow, rename = "maketType")]
    maket_type: Raw<'a>,
    #[serde(borrow, rename = "marketType")]
    market_type: Raw<'a>,
    #[serde(borrow)]
    message: Raw<'a>,
    #[serde(borrow, rename = "tradingSession")]
    trading_session: Raw<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Index<'a> {
    #[serde(borrow)]
    exchange_segment: Raw<'a>,
    #[serde(borrow, rename = "ExchangeInstrumentID")]
    exchange_instrument_id: Raw<'a>,
    #[serde(borrow)]
    exchange_time_stamp: Raw<'a>,
    #[serde(borrow)]
    index_value: Raw<'a>,
    #[serde(borrow)]
    opening_index: Raw<'a>,
    #[serde(borrow)]
    high_index_value: Raw<'a>,
    #[serde(borrow)]
    low_index_value: Raw<'a>,
    #[serde(borrow)]
    closing_index: Raw<'a>,
}
