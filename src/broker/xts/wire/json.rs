//! Market events as JSON text, and the entries of REST quotes, which have the same form.
//! Not the binary packets, and not the Socket.IO frames around an event.
//!
//! Source: the official Python, Java and Node SDKs (event names, misspellings), official
//! samples; newer servers nest the touchline, older ones do not.

mod full;
mod message;
mod scan;
mod states;

use crate::clock::UnixNanos;
use crate::market::{
    Depth, InstrumentId, LastTrade, MarketPhase, OpenInterest, Price, Quote, Segment, Tick, TickBody,
};

use super::candle::Candles;
use super::text::{Raw, each_element, raw_price, unescape};
use super::time::Base;

use super::{Counts, Skip, code, partial, unasked};

use self::full::Full;
use self::scan::Scanner;
use self::states::States;
pub(super) use self::states::{MAX_STATES, State};

/// Decodes one connection's events. Holds the last full state per instrument, because a
/// partial event names only what changed.
#[derive(Debug, Default)]
pub struct Decoder {
    /// `None`: every event goes to the checked reader.
    scanner: Option<Scanner>,
    scratch: String,
    states: States,
    candles: Candles,
    /// What was said of markets since it was last taken; more of it is forgotten.
    phases: Vec<MarketPhase>,
}

/// The code in an event's name (`1501-json-full`), and `None` for an event that is no market
/// event.
pub fn market_event(name: &str) -> Option<u16> {
    let number = name.strip_suffix("-json-full").or_else(|| name.strip_suffix("-json-partial"))?;
    number.parse().ok()
}

impl Decoder {
    /// For a new connection or a single answer.
    pub fn new() -> Self {
        Self { scanner: Some(Scanner::default()), ..Self::default() }
    }

    /// One that reads every event with the checked reader, which decides what an event means.
    /// [`Decoder::new`] must find the same, only faster; tests and fuzzing compare the two.
    pub fn checked() -> Self {
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
        if let Some(full) = self.scanner.as_mut().and_then(|scanner| scanner.read(event_code, datum)) {
            counts.note(self.full(event_code, &full, recv, out));
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
            let full = message::read(text).ok_or(Skip::Undecodable)?;
            self.full(event_code, &full, recv, out)
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
        full: &Full,
        recv: UnixNanos,
        out: &mut Vec<Tick>,
    ) -> Result<(), Skip> {
        // An answer of the REST quotes may hold other codes than were asked for.
        let code = full.code.map_or(Some(event_code), |c| u16::try_from(c).ok()).ok_or(Skip::Undecodable)?;
        let instrument = instrument(full.segment, full.instrument)?;
        let line = &full.line;
        let event = Event::new(instrument, [full.exchange_time, line.updated], recv);
        match code {
            code::TOUCHLINE => {
                let quote = line.quote(event.base, Default::default());
                self.states.set(code, instrument, &quote, None);
                event.push_quote(&quote, None, out)
            }
            code::DEPTH => {
                let depth = full.depth.as_ref().ok_or(Skip::Undecodable)?;
                let quote = line.quote(event.base, [depth.bids.level(0), depth.asks.level(0)]);
                self.states.set(code, instrument, &quote, Some(depth));
                event.push_quote(&quote, Some(depth), out)
            }
            code::LAST_TRADE => {
                let last = LastTrade { time: UnixNanos::ZERO, ..line.last_trade(event.base) };
                self.states.set(code, instrument, &Quote { last, ..Quote::default() }, None);
                event.push_last_trade(last, out)
            }
            code::OPEN_INTEREST => event.push_open_interest(full.open_interest, out),
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
        let mut state = match self.states.get(event_code, instrument) {
            Some(state) => state,
            // Values that were never sent must not be passed on as zeros.
            None if line.is_whole(event_code) => State::default(),
            None => return Err(Skip::Ignored),
        };
        line.apply(event.base, &mut state);
        let depth = (event_code == code::DEPTH).then_some(&state.depth);
        self.states.set(event_code, instrument, &state.quote, depth);
        if event_code == code::LAST_TRADE {
            return event.push_last_trade(state.quote.last, out);
        }
        event.push_quote(&state.quote, depth, out)
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

    fn push_quote(&self, quote: &Quote, depth: Option<&Depth>, out: &mut Vec<Tick>) -> Result<(), Skip> {
        if !quote.last.price.is_positive() {
            return Err(Skip::InvalidPrice);
        }
        self.push(TickBody::Quote(*quote), out);
        if let Some(depth) = depth {
            self.push(TickBody::Depth(*depth), out);
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

/// What the venue means by a price that is no number or negative: none.
pub(super) fn price_or_none(raw: Raw<'_>) -> Price {
    raw_price(raw).filter(|p| p.is_positive()).unwrap_or(Price::ZERO)
}

#[cfg(test)]
mod tests;
