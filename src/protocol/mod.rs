//! What consumers see: the OpenAlgo protocol, the binary encoding, WebSocket framing, close codes.
//! Knows no socket and no hub.
#![doc = ""]
#![doc = include_str!("PROTOCOL.md")]

pub mod binary;
pub mod close;
pub mod openalgo;
pub mod websocket;

/// What a consumer asks for of one instrument. The number is the one on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Last price.
    Ltp = 1,
    /// Last price, top of book, the day's figures.
    Quote = 2,
    /// Five levels a side.
    Depth = 3,
    /// Finished bars of a minute. tickgate's own: no client of OpenAlgo knows it, none gets it unasked.
    Bar = 4,
}

impl Mode {
    /// Every mode, lowest first.
    pub const ALL: [Self; 4] = [Self::Ltp, Self::Quote, Self::Depth, Self::Bar];

    /// The number in `market_data` frames.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The label in acknowledgements.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ltp => "LTP",
            Self::Quote => "Quote",
            Self::Depth => "Depth",
            Self::Bar => "Bar",
        }
    }
}
