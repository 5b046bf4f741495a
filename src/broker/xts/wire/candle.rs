//! Finished bars of a minute (1505), full or partial. They are JSON text on binary endpoints too.
//! Not the bars of history, which REST gives.
//!
//! Source: the official Node SDK (event and key names), live notes on when they come (about two
//! seconds after the minute) and how their time counts.

use std::collections::HashMap;

use serde::Deserialize;

use crate::clock::UnixNanos;
use crate::market::{Bar, InstrumentId, Price, Tick, TickBody};

use super::Skip;
use super::json::{MAX_STATES, instrument};
use super::partial::{named, pairs};
use super::text::{Raw, price, raw_integer, whole};
use super::time::bar_end;

/// What a bar is as long as.
const MINUTE: i64 = 60;

/// The last bar of each instrument as sent, because a partial event names only what changed.
#[derive(Debug, Default)]
pub(super) struct Candles {
    last: HashMap<InstrumentId, Sent>,
}

/// A bar's members as sent, unread where they are missing.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    time: Option<i64>,
    open: Option<Price>,
    high: Option<Price>,
    low: Option<Price>,
    close: Option<Price>,
    volume: Option<i64>,
    open_interest: Option<i64>,
}

impl Sent {
    /// The bar and its end. Nothing is made up: what lacks a member is no bar.
    fn bar(&self, recv: UnixNanos) -> Result<(Bar, UnixNanos), Skip> {
        let end = self.time.and_then(|time| bar_end(time, recv)).ok_or(Skip::Undecodable)?;
        let positive = |price: Option<Price>| match price {
            Some(price) if price.is_positive() => Ok(price),
            _ => Err(Skip::InvalidPrice),
        };
        let volume = self.volume.filter(|v| *v >= 0).ok_or(Skip::Undecodable)?;
        let bar = Bar {
            start: UnixNanos::from_secs(end.as_secs() - end.as_secs().rem_euclid(MINUTE)),
            open: positive(self.open)?,
            high: positive(self.high)?,
            low: positive(self.low)?,
            close: positive(self.close)?,
            volume,
            open_interest: self.open_interest.unwrap_or(0).max(0),
        };
        Ok((bar, end))
    }

    fn merge(&mut self, newer: &Self) {
        self.time = newer.time.or(self.time);
        self.open = newer.open.or(self.open);
        self.high = newer.high.or(self.high);
        self.low = newer.low.or(self.low);
        self.close = newer.close.or(self.close);
        self.volume = newer.volume.or(self.volume);
        self.open_interest = newer.open_interest.or(self.open_interest);
    }
}

impl Candles {
    /// A full event.
    pub(super) fn full(&mut self, text: &str, recv: UnixNanos, out: &mut Vec<Tick>) -> Result<(), Skip> {
        let wire: Message<'_> = serde_json::from_str(text).map_err(|_| Skip::Undecodable)?;
        let instrument =
            instrument(raw_integer(wire.exchange_segment), raw_integer(wire.exchange_instrument_id))?;
        let read = |raw: Raw<'_>| raw.and_then(|raw| price(raw.get()));
        let count = |raw: Raw<'_>| raw.and_then(|raw| whole(raw.get()));
        let sent = Sent {
            time: count(wire.bar_time),
            open: read(wire.open),
            high: read(wire.high),
            low: read(wire.low),
            close: read(wire.close),
            volume: count(wire.bar_volume),
            open_interest: count(wire.open_interest),
        };
        self.take(instrument, sent, recv, out)
    }

    /// A partial event: `key:value` pairs of what changed.
    pub(super) fn changed(&mut self, text: &str, recv: UnixNanos, out: &mut Vec<Tick>) -> Result<(), Skip> {
        let mut newer = Sent::default();
        let mut name = None;
        for (key, value) in pairs(text) {
            let Some(value) = value else { continue };
            let (count, amount) = (|| whole(value).ok_or(Skip::Undecodable), || price(value));
            match key {
                "t" => name = named(value),
                "bt" => newer.time = Some(count()?),
                "bv" => newer.volume = Some(count()?),
                "oi" => newer.open_interest = Some(count()?),
                "o" => newer.open = Some(amount().ok_or(Skip::InvalidPrice)?),
                "h" => newer.high = Some(amount().ok_or(Skip::InvalidPrice)?),
                "l" => newer.low = Some(amount().ok_or(Skip::InvalidPrice)?),
                "c" => newer.close = Some(amount().ok_or(Skip::InvalidPrice)?),
                _ => {}
            }
        }
        let (segment, number) = name.ok_or(Skip::Undecodable)?;
        let instrument = instrument(segment, number)?;
        let mut sent = self.last.get(&instrument).copied().unwrap_or_default();
        sent.merge(&newer);
        if sent.time.is_none() || sent.open.is_none() || sent.volume.is_none() {
            // Nothing to merge into yet.
            return Err(Skip::Ignored);
        }
        self.take(instrument, sent, recv, out)
    }

    fn take(
        &mut self,
        instrument: InstrumentId,
        sent: Sent,
        recv: UnixNanos,
        out: &mut Vec<Tick>,
    ) -> Result<(), Skip> {
        let (bar, end) = sent.bar(recv)?;
        if self.last.len() < MAX_STATES || self.last.contains_key(&instrument) {
            self.last.insert(instrument, sent);
        }
        out.push(Tick { instrument, ts_event: end, ts_recv: recv, body: TickBody::Bar(bar) });
        Ok(())
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Message<'a> {
    #[serde(borrow)]
    exchange_segment: Raw<'a>,
    #[serde(borrow, rename = "ExchangeInstrumentID")]
    exchange_instrument_id: Raw<'a>,
    #[serde(borrow)]
    bar_time: Raw<'a>,
    #[serde(borrow)]
    bar_volume: Raw<'a>,
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
