//! The last full state of each instrument, because a partial event names only what changed.
//! Not how a change is merged; that is `partial`'s.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::market::{Depth, InstrumentId, Quote};

use super::super::code;

/// Instruments whose last full state is kept for partial events.
pub(in super::super) const MAX_STATES: usize = 65_536;

/// The last full state of one instrument under one code.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct State {
    pub(in super::super) quote: Quote,
    pub(in super::super) depth: Depth,
}

/// Quotes and depths apart: most codes have no depth, which is the larger half.
#[derive(Debug, Default)]
pub(super) struct States {
    quotes: HashMap<(u16, InstrumentId), Quote, RandomState>,
    depths: HashMap<InstrumentId, Depth, RandomState>,
}

impl States {
    pub(super) fn get(&self, code: u16, instrument: InstrumentId) -> Option<State> {
        let quote = *self.quotes.get(&(code, instrument))?;
        let depth = if code == code::DEPTH { self.depths.get(&instrument).copied() } else { None };
        Some(State { quote, depth: depth.unwrap_or_default() })
    }

    /// A depth comes with depth messages only.
    pub(super) fn set(&mut self, code: u16, instrument: InstrumentId, quote: &Quote, depth: Option<&Depth>) {
        let key = (code, instrument);
        if self.quotes.len() < MAX_STATES || self.quotes.contains_key(&key) {
            self.quotes.insert(key, *quote);
            if let Some(depth) = depth {
                self.depths.insert(instrument, *depth);
            }
        }
    }
}
