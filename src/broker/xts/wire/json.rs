//! Market events as JSON text, and the entries of REST quotes, which have the same form.
//! Not the binary packets, and not the Socket.IO frames around an event.
//!
//! Source: the official Python, Java and Node SDKs (event names, misspellings), official
//! samples; newer servers nest the touchline, older ones do not.

use std::collections::HashMap;

use serde::Deserialize;

use crate::clock::UnixNanos;
use crate::market::{
    DEPTH_LEVELS, Depth, DepthSide, InstrumentId, LastTrade, Level, MarketPhase, OpenInterest, Price, Quote,
    Segment, Tick, TickBody,
};

use super::candle::Candles;
use super::text::{Raw, each_element, raw_integer, raw_price, unescape};
use super::time::Base;

use super::{Counts, Skip, code, partial, unasked};

/// Instruments whose last full state is kept for partial events.
pub(super) const MAX_STATES: usize = 65_536;

/// Decodes one connection's events. Holds the last full state per instrument, because a
/// partial event names only what changed.
#[derive(Debug, Default)]
pub struct Decoder {
    scratch: String,
    states: HashMap<(u16, InstrumentId), State>,
    candles: Candles,
    /// What was said of markets since it was last taken; more of it is forgotten.
    phases: Vec<MarketPhase>,
}

/// The last full state of one instrument under one code.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    pub(super) quote: Quote,
    pub(super) depth: Depth,
}

/// The code in an event's name (`1501-json-full`), and `None` for an event that is no market
/// event.
pub fn market_event(name: &str) -> Option<u16> {
    let (number, form) = name.split_once("-json-")?;
    matches!(form, "full" | "partial").then(|| number.parse().ok())?
}

impl Decoder {
    /// For a new connection or a single answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes the datum of a market event: a JSON string that holds JSON (as SDKs expect) or
    /// partial text, or an object, or a list of them.
    pub fn event(&mut self, event_code: u16, datum: &str, recv: UnixNanos, out: &mut Vec<Tick>) -> Counts {
        let mut counts = Counts::default();
        if !matches!(
            event_code,
            code::TOUCHLINE
                | code::DEPTH
                | code::OPEN_INTEREST
                | code::LAST_TRADE
                | code::CANDLE
                | code::INDEX
                | code::MARKET_STATUS
                | code::PROPERTY
        ) {
            counts.note(Err(Skip::Ignored));
            return counts;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let walked = each_element(datum, |element| {
            let text = if element.trim_start().starts_with('"') {
                scratch.clear();
                match unescape(element, &mut scratch) {
                    Some(()) => scratch.as_str(),
                    None => "",
                }
            } else {
                element
            };
            counts.note(self.message(event_code, text, recv, out));
        });
        self.scratch = scratch;
        if walked.is_none() {
            counts.note(Err(Skip::Undecodable));
        }
        counts
    }

    fn message(
        &mut self,
        event_code: u16,
        text: &str,
        recv: UnixNanos,
        out: &mut Vec<Tick>,
    ) -> Result<(), Skip> {
        let is_object = text.trim_start().starts_with('{');
        match event_code {
            code::CANDLE if is_object => return self.candles.full(text, recv, out),
            code::CANDLE => return self.candles.changed(text, recv, out),
            code::MARKET_STATUS => {
                self.note_phase(unasked::market_status(text, recv)?);
                return Ok(());
            }
            // Only lines are documented; an object is not guessed at.
            code::PROPERTY if is_object => return Err(Skip::Ignored),
            code::PROPERTY => return unasked::property(text, recv, out),
            code::INDEX if is_object => return unasked::index(text, recv, out),
            code::INDEX => return Err(Skip::Ignored),
            _ => {}
        }
        if is_object {
            let wire: Message<'_> = serde_json::from_str(text).map_err(|_| Skip::Undecodable)?;
            self.full(event_code, &wire, recv, out)
        } else {
            self.changed(event_code, text, recv, out)
        }
    }

    /// Takes what was said of markets.
    pub fn take_phases(&mut self) -> Vec<MarketPhase> {
        std::mem::take(&mut self.phases)
    }

    fn note_phase(&mut self, phase: MarketPhase) {
        // The last word counts.
        self.phases.retain(|known| known.segment != phase.segment);
        self.phases.push(phase);
    }

    fn full(
        &mut self,
        event_code: u16,
        wire: &Message<'_>,
        recv: UnixNanos,
        out: &mut Vec<Tick>,
    ) -> Result<(), Skip> {
        // An answer of the REST quotes may hold other codes than were asked for.
        let code = raw_integer(wire.message_code).map_or(Some(event_code), |c| u16::try_from(c).ok());
        let code = code.ok_or(Skip::Undecodable)?;
        let instrument =
            instrument(raw_integer(wire.exchange_segment), raw_integer(wire.exchange_instrument_id))?;
        let line = wire.touchline.as_deref().unwrap_or(wire);
        let exchange_time = raw_integer(wire.exchange_time_stamp).unwrap_or(0);
        let updated = raw_integer(line.last_update_time).unwrap_or(0);
        let event = Event::new(instrument, [exchange_time, updated], recv);
        match code {
            code::TOUCHLINE | code::DEPTH => {
                let mut state = State::default();
                if code == code::DEPTH {
                    read_rows(wire.bids, &mut state.depth.bids)?;
                    read_rows(wire.asks, &mut state.depth.asks)?;
                }
                state.quote = line.quote(event.base, &state.depth);
                self.remember(code, instrument, &state);
                event.push_quote(code, &state, out)
            }
            code::LAST_TRADE => {
                let last = LastTrade { time: UnixNanos::ZERO, ..line.last_trade(event.base) };
                self.remember(
                    code,
                    instrument,
                    &State { quote: Quote { last, ..Quote::default() }, ..State::default() },
                );
                event.push_last_trade(last, out)
            }
            code::OPEN_INTEREST => event.push_open_interest(raw_integer(wire.open_interest), out),
            _ => Err(Skip::Ignored),
        }
    }

    /// A partial event: `key:value` pairs of what changed.
    fn changed(
        &mut self,
        event_code: u16,
        text: &str,
        recv: UnixNanos,
        out: &mut Vec<Tick>,
    ) -> Result<(), Skip> {
        let line = partial::Line::parse(text).ok_or(Skip::Undecodable)?;
        let instrument = instrument(line.segment, line.instrument)?;
        let event = Event::new(instrument, [0, line.updated.unwrap_or(0)], recv);
        if event_code == code::OPEN_INTEREST {
            // Nothing of it is merged: a line without the figure says nothing new.
            return match line.open_interest() {
                Some(value) => event.push_open_interest(Some(value), out),
                None => Err(Skip::Ignored),
            };
        }
        let known = self.states.get_mut(&(event_code, instrument));
        let mut state = match known {
            Some(state) => *state,
            // Values that were never sent must not be passed on as zeros.
            None if line.is_whole(event_code) => State::default(),
            None => return Err(Skip::Ignored),
        };
        line.apply(event.base, &mut state);
        self.remember(event_code, instrument, &state);
        if event_code == code::LAST_TRADE {
            return event.push_last_trade(state.quote.last, out);
        }
        event.push_quote(event_code, &state, out)
    }

    fn remember(&mut self, code: u16, instrument: InstrumentId, state: &State) {
        if self.states.len() < MAX_STATES || self.states.contains_key(&(code, instrument)) {
            self.states.insert((code, instrument), *state);
        }
    }
}

pub(super) fn instrument(segment: Option<i64>, code: Option<i64>) -> Result<InstrumentId, Skip> {
    let code = code.and_then(|c| u32::try_from(c).ok()).ok_or(Skip::Undecodable)?;
    let segment = Segment::from_number(segment.ok_or(Skip::Undecodable)?).ok_or(Skip::Ignored)?;
    Ok(InstrumentId { segment, code })
}

/// What one message's ticks have in common.
struct Event {
    instrument: InstrumentId,
    base: Base,
    at: UnixNanos,
    recv: UnixNanos,
}

impl Event {
    fn new(instrument: InstrumentId, stamps: [i64; 2], recv: UnixNanos) -> Self {
        let base = Base::of(instrument.segment, &stamps, recv);
        let at = base.convert(stamps.into_iter().find(|s| *s > 0).unwrap_or(0));
        Self { instrument, base, at, recv }
    }

    fn push(&self, body: TickBody, out: &mut Vec<Tick>) {
        out.push(Tick { instrument: self.instrument, ts_event: self.at, ts_recv: self.recv, body });
    }

    fn push_quote(&self, code: u16, state: &State, out: &mut Vec<Tick>) -> Result<(), Skip> {
        if !state.quote.last.price.is_positive() {
            return Err(Skip::InvalidPrice);
        }
        self.push(TickBody::Quote(state.quote), out);
        if code == code::DEPTH {
            self.push(TickBody::Depth(state.depth), out);
        }
        Ok(())
    }

    fn push_last_trade(&self, last: LastTrade, out: &mut Vec<Tick>) -> Result<(), Skip> {
        if !last.price.is_positive() {
            return Err(Skip::InvalidPrice);
        }
        self.push(TickBody::LastTrade(last), out);
        Ok(())
    }

    fn push_open_interest(&self, value: Option<i64>, out: &mut Vec<Tick>) -> Result<(), Skip> {
        let open_interest = value.filter(|v| *v >= 0).ok_or(Skip::Undecodable)?;
        self.push(TickBody::OpenInterest(OpenInterest { open_interest }), out);
        Ok(())
    }
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
    fn last_trade(&self, base: Base) -> LastTrade {
        LastTrade {
            price: price_or_none(self.last_traded_price),
            size: quantity(self.last_traded_qunatity.or(self.last_traded_quantity)),
            time: base.convert(raw_integer(self.last_traded_time).unwrap_or(0)),
        }
    }

    fn quote(&self, base: Base, depth: &Depth) -> Quote {
        Quote {
            last: self.last_trade(base),
            bid: self.bid_info.as_ref().map_or_else(|| depth.bids.level(0), Row::level),
            ask: self.ask_info.as_ref().map_or_else(|| depth.asks.level(0), Row::level),
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

/// What the venue means by a price that is no number or negative: none.
pub(super) fn price_or_none(raw: Raw<'_>) -> Price {
    raw_price(raw).filter(|p| p.is_positive()).unwrap_or(Price::ZERO)
}

fn quantity(raw: Raw<'_>) -> i64 {
    raw_integer(raw).unwrap_or(0).max(0)
}

/// Reads `Bids` or `Asks`: an array, shorter than five or longer, or a single object.
fn read_rows(raw: Raw<'_>, side: &mut DepthSide) -> Result<(), Skip> {
    let Some(raw) = raw else { return Ok(()) };
    let (mut index, mut broken) = (0, false);
    let walked = each_element(raw.get(), |element| {
        if index < DEPTH_LEVELS {
            match serde_json::from_str::<Row<'_>>(element) {
                Ok(row) => side.set(index, row.level()),
                Err(_) => broken = true,
            }
        }
        index += 1;
    });
    if walked.is_none() || broken { Err(Skip::Undecodable) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
