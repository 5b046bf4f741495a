//! What a broker says of a market's session: the venue's own word, beside the calendar's. Not the
//! calendar's `MarketState`, and nothing decides by it yet: a broker may send it late or not at all.

use crate::clock::UnixNanos;
use crate::market::Segment;

/// One announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarketPhase {
    /// The market.
    pub segment: Segment,
    /// The venue's number of the phase.
    pub code: i64,
    /// The venue's time of the announcement; `UnixNanos::ZERO` if it sent none.
    pub at: UnixNanos,
    /// When we read it.
    pub received_at: UnixNanos,
    /// The broker's words; empty if it sent none.
    pub message: String,
}

impl MarketPhase {
    /// The phase in words; `unknown` for a number that no source names.
    ///
    /// Source: XTS documentation, `tradingSession` of the market status event.
    pub const fn as_str(&self) -> &'static str {
        match self.code {
            0 => "pre_open_start",
            1 => "pre_open_end",
            2 => "normal_open",
            4 => "normal_end",
            8 => "closing_start",
            16 => "closing_end",
            32 => "closed",
            256 => "none",
            _ => "unknown",
        }
    }
}
