//! Writes what the venue would send about one instrument. Written from the venue's
//! documentation alone and apart from the product's decoders, so that each checks the other.

pub(crate) mod binary;
pub(crate) mod json;

use crate::clock::UnixNanos;
use crate::market::{InstrumentId, Price, Segment};
use crate::sim::market::Quote;

/// Message codes of XTS.
pub(crate) mod code {
    pub(crate) const TOUCHLINE: u16 = 1501;
    pub(crate) const DEPTH: u16 = 1502;
    /// Sent once a minute, always as JSON; not by the writers here.
    pub(crate) const CANDLE: u16 = 1505;
    pub(crate) const OPEN_INTEREST: u16 = 1510;
    pub(crate) const LAST_PRICE: u16 = 1512;
    /// All that follow each update.
    pub(crate) const ALL: [u16; 4] = [TOUCHLINE, DEPTH, OPEN_INTEREST, LAST_PRICE];
}

/// A price that is written as NaN.
pub(crate) const NOT_A_NUMBER: Price = Price::from_nanos(i64::MIN);

/// One message to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) code: u16,
    pub(crate) id: InstrumentId,
    pub(crate) is_index: bool,
    /// Strictly increasing over a connection.
    pub(crate) sequence: i64,
    pub(crate) quote: &'a Quote,
    /// What a contract is on, for 1510.
    pub(crate) underlying: Option<InstrumentId>,
}

/// A time as the segment's messages have it.
///
/// NSE counts seconds since 1980-01-01 00:00 IST (checked against dated samples in the official
/// SDKs). For the other segments the official Node SDK converts from 1970-01-01 00:00 IST.
pub(crate) fn venue_time(segment: Segment, time: UnixNanos) -> i64 {
    if time == UnixNanos::ZERO {
        return 0;
    }
    match segment {
        Segment::NseCash | Segment::NseFo | Segment::NseCurrency => time.as_secs() - 315_513_000,
        Segment::BseCash | Segment::BseFo | Segment::Mcx => time.as_secs() + 19_800,
    }
}

#[cfg(test)]
mod tests;
