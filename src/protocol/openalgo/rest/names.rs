//! What the instruments of a broker's books are called, and when something in them happened.
//! Nothing of a book is left out because its instrument is not in the list: it is shown by the broker's name.

use std::borrow::Cow;

use jiff::tz::Offset;

use crate::clock::UnixNanos;
use crate::market::calendar::IST_OFFSET_SECS;
use crate::market::{Exchange, InstrumentId, Master, Segment};

/// The exchange and symbol that consumers know an instrument by. One that is not in the list has the broker's
/// symbol, or its number where the broker sends none, and the exchange of its segment.
pub fn name<'a>(master: &'a Master, id: InstrumentId, broker_symbol: &'a str) -> (Exchange, Cow<'a, str>) {
    match master.name(id) {
        Some((exchange, symbol)) => (exchange, Cow::Borrowed(symbol)),
        None if broker_symbol.is_empty() => (exchange_of(id.segment), Cow::Owned(id.code.to_string())),
        None => (exchange_of(id.segment), Cow::Borrowed(broker_symbol)),
    }
}

/// Where what is traded in a segment is quoted.
pub const fn exchange_of(segment: Segment) -> Exchange {
    match segment {
        Segment::NseCash => Exchange::Nse,
        Segment::NseFo => Exchange::Nfo,
        Segment::NseCurrency => Exchange::Cds,
        Segment::BseCash => Exchange::Bse,
        Segment::BseFo => Exchange::Bfo,
        Segment::Mcx => Exchange::Mcx,
    }
}

/// Decimals of an average of prices: those of the segment's prices.
pub(super) const fn average_places(segment: Segment) -> u32 {
    match segment {
        Segment::NseCurrency => 4,
        _ => 2,
    }
}

/// A time as OpenAlgo's books show it, `08-Apr-2025 13:58:03` in IST; empty for none.
pub fn ist_text(time: Option<UnixNanos>) -> String {
    let Some(time) = time else { return String::new() };
    // Shifted by the offset, UTC's calendar reads as IST's.
    let shifted = UnixNanos::from_secs(time.as_secs() + IST_OFFSET_SECS);
    Offset::UTC.to_datetime(shifted.timestamp()).strftime("%d-%b-%Y %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{RELIANCE, master};
    use super::*;

    #[test]
    fn names_of_known_and_unknown_instruments() {
        let master = master();
        assert_eq!(name(&master, RELIANCE, "RELIANCE-EQ"), (Exchange::Nse, "RELIANCE".into()));
        let unknown = InstrumentId { segment: Segment::BseFo, code: 7 };
        assert_eq!(
            name(&master, unknown, "SENSEX2621984000CE"),
            (Exchange::Bfo, "SENSEX2621984000CE".into())
        );
        assert_eq!(name(&master, unknown, ""), (Exchange::Bfo, "7".into()));
    }

    #[test]
    fn times_are_shown_in_ist() {
        assert_eq!(ist_text(Some(UnixNanos::from_secs(1_770_698_728))), "10-Feb-2026 10:15:28");
        assert_eq!(ist_text(Some(UnixNanos::from_millis(1_770_661_799_999))), "09-Feb-2026 23:59:59");
        assert_eq!(ist_text(None), "");
    }
}
