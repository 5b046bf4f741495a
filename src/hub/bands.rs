//! The day's price bands as far as they were told, also of instruments that nobody has asked for
//! yet: the broker tells them when they change, not when somebody subscribes. Not a tick's values.

use std::collections::HashMap;

use crate::clock::UnixNanos;
use crate::market::{InstrumentId, Price, PriceBand};

/// Instruments whose band is remembered without being asked for: some 2 MiB.
const MOST: usize = 32_768;

const DAY: i64 = 86_400;
/// India's offset from UTC in seconds.
const IST: i64 = 19_800;

/// The band of one day in India; both limits zero until known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Band {
    low: Price,
    high: Price,
    day: i64,
}

impl Band {
    /// The lower and the upper limit at a time: yesterday's are no limits today.
    pub(super) const fn at(&self, at: UnixNanos) -> (Price, Price) {
        let known = self.low.is_positive() || self.high.is_positive();
        if known && self.day == day_of(at) { (self.low, self.high) } else { (Price::ZERO, Price::ZERO) }
    }
}

const fn day_of(at: UnixNanos) -> i64 {
    (at.as_secs() + IST).div_euclid(DAY)
}

/// What is known of all instruments.
#[derive(Debug, Default)]
pub(super) struct Bands {
    known: HashMap<InstrumentId, Band, foldhash::fast::FixedState>,
    /// The day on which those of earlier days were last thrown out.
    swept: i64,
}

impl Bands {
    /// Merges what a message says into what is known of the same day. `None` if there is no room
    /// for an instrument that is not `known` otherwise.
    pub(super) fn note(
        &mut self,
        instrument: InstrumentId,
        band: &PriceBand,
        at: UnixNanos,
        known: bool,
    ) -> Option<Band> {
        if !known && self.known.len() >= MOST && !self.known.contains_key(&instrument) {
            let today = day_of(at);
            if self.swept != today {
                self.swept = today;
                self.known.retain(|_, band| band.day == today);
            }
            if self.known.len() >= MOST {
                return None;
            }
        }
        let whole = self.known.entry(instrument).or_default();
        let (low, high) = whole.at(at);
        *whole = Band { low: band.low.unwrap_or(low), high: band.high.unwrap_or(high), day: day_of(at) };
        Some(*whole)
    }

    pub(super) fn get(&self, instrument: InstrumentId) -> Band {
        self.known.get(&instrument).copied().unwrap_or_default()
    }

    pub(super) fn forget(&mut self, instrument: InstrumentId) {
        self.known.remove(&instrument);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Segment;

    fn id(code: u32) -> InstrumentId {
        InstrumentId { segment: Segment::NseCash, code }
    }

    /// 2026-02-10 11:00 IST.
    const NOON: UnixNanos = UnixNanos::from_secs(1_770_701_400);

    #[test]
    fn limits_are_merged_within_a_day_of_india_and_gone_with_it() {
        let mut bands = Bands::default();
        let price = Price::from_rupees;
        let high = PriceBand { low: None, high: Some(price(110)) };
        bands.note(id(1), &high, NOON, true).unwrap();
        let low = PriceBand { low: Some(price(90)), high: None };
        let whole = bands.note(id(1), &low, NOON, true).unwrap();
        assert_eq!(whole.at(NOON), (price(90), price(110)));
        // 23:59:59 IST, and a second later.
        let midnight = UnixNanos::from_secs(1_770_748_200);
        assert_eq!(whole.at(UnixNanos::from_secs(midnight.as_secs() - 1)), (price(90), price(110)));
        assert_eq!(whole.at(midnight), (Price::ZERO, Price::ZERO));
        let next = bands.note(id(1), &low, midnight, true).unwrap();
        assert_eq!(next.at(midnight), (price(90), Price::ZERO), "yesterday's other limit does not count");
    }

    #[test]
    fn only_so_many_are_remembered_and_yesterdays_make_room() {
        let mut bands = Bands::default();
        let band = PriceBand { low: Some(Price::from_rupees(1)), high: None };
        for code in 0..MOST as u32 {
            assert!(bands.note(id(code), &band, NOON, false).is_some());
        }
        assert_eq!(bands.note(id(u32::MAX), &band, NOON, false), None);
        assert!(bands.note(id(u32::MAX), &band, NOON, true).is_some(), "somebody wants it");
        let tomorrow = UnixNanos::from_secs(NOON.as_secs() + DAY);
        assert!(bands.note(id(u32::MAX - 1), &band, tomorrow, false).is_some());
        assert_eq!(bands.known.len(), 1);
    }
}
