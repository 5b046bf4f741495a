//! What the venue sends, exactly, turned into [`market`](crate::market)'s ticks, orders,
//! positions and funds. Pure: no I/O, no clock; the receive time is handed in.

pub mod bars;
pub mod binary;
pub mod books;
mod candle;
mod date;
pub mod found;
pub mod json;
mod partial;
mod row;
mod stock;
pub mod text;
pub mod time;
mod unasked;

use crate::market::Kind;

/// Message codes. Source: `GET {md}/config/clientConfig`, `xtsMessageCode`, and the official
/// Node SDK's event names.
pub mod code {
    /// Touchline: top of book and the day's figures.
    pub const TOUCHLINE: u16 = 1501;
    /// Market depth, with a touchline inside.
    pub const DEPTH: u16 = 1502;
    /// Index values; rare, since indices are subscribed as touchlines.
    pub const INDEX: u16 = 1504;
    /// Finished bars of a minute.
    pub const CANDLE: u16 = 1505;
    /// A market's session; unasked.
    pub const MARKET_STATUS: u16 = 1507;
    /// Properties of an instrument, price bands among them; unasked.
    pub const PROPERTY: u16 = 1105;
    /// Open interest.
    pub const OPEN_INTEREST: u16 = 1510;
    /// Last traded price alone.
    pub const LAST_TRADE: u16 = 1512;

    /// Whether its events come without a subscription, for whole segments.
    pub const fn is_unasked(code: u16) -> bool {
        matches!(code, MARKET_STATUS | PROPERTY)
    }
}

/// The Socket.IO event that announces a binary attachment.
pub const BINARY_EVENT: &str = "xts-binary-packet";

/// The message code a kind is subscribed by. Never 1512: no source decodes it in binary, and
/// 1501 holds all it has.
pub const fn code_of(kind: Kind) -> u16 {
    match kind {
        Kind::Quote => code::TOUCHLINE,
        Kind::Depth => code::DEPTH,
        Kind::OpenInterest => code::OPEN_INTEREST,
        Kind::Bar => code::CANDLE,
    }
}

/// What one frame, event or answer held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages found, readable or not.
    pub messages: u32,
    /// Messages (or rests of a frame) that could not be decoded.
    pub undecodable: u32,
    /// Messages of codes or segments that tickgate does not read.
    pub ignored: u32,
    /// Messages that yielded no tick because their last price was not positive.
    pub invalid_prices: u32,
}

impl Counts {
    /// Adds another count to this one.
    pub const fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.undecodable += other.undecodable;
        self.ignored += other.ignored;
        self.invalid_prices += other.invalid_prices;
    }

    /// Whether everything found was unreadable, and something was found.
    pub const fn is_garbage(&self) -> bool {
        self.undecodable > 0 && self.messages <= self.undecodable
    }
}

/// Why one message yielded no tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    Undecodable,
    Ignored,
    InvalidPrice,
}

impl Counts {
    /// Counts one message by its outcome.
    fn note(&mut self, outcome: Result<(), Skip>) {
        self.messages += 1;
        match outcome {
            Ok(()) => {}
            Err(Skip::Undecodable) => self.undecodable += 1,
            Err(Skip::Ignored) => self.ignored += 1,
            Err(Skip::InvalidPrice) => self.invalid_prices += 1,
        }
    }
}
