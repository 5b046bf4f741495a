//! The compact encoding `tickgate.v1`: market data in records of fixed layout, for consumers who want
//! speed. The layout tables stand in the chapter "Binary encoding tickgate.v1" of [`crate::protocol`];
//! here are its values ([`Header`], [`Body`]), the writers, and the reader ([`Records`]). Not the
//! WebSocket header, and no name of an instrument but in [`Directory`].

mod layout;
mod read;
mod write;

#[cfg(test)]
mod tables;
#[cfg(test)]
mod tests;

use crate::clock::UnixNanos;
use crate::market::{Bar, Depth, LastTrade, Price, Quote};
use crate::protocol::Mode;
use crate::protocol::openalgo::market_data::Beside;

pub use read::{Malformed, Record, Records};
pub use write::{write_bar, write_depth, write_ltp, write_quote};

/// What a consumer offers in `Sec-WebSocket-Protocol`, and is answered.
pub const SUBPROTOCOL: &str = "tickgate.v1";
/// The version that [`Hello`] names.
pub const VERSION: u16 = 1;
/// What stands at the start of [`Hello`]'s body.
pub const MAGIC: [u8; 8] = *b"tickgate";
/// What stands in an `i64` that is not known (yet).
pub const UNKNOWN: i64 = i64::MIN;
/// Length of the header that every record begins with.
pub const HEADER_LEN: usize = layout::HEADER;
/// Length of an Ltp record.
pub const LTP_LEN: usize = layout::ltp::SIZE;
/// Length of a Quote record.
pub const QUOTE_LEN: usize = layout::quote::SIZE;
/// Length of a Depth record.
pub const DEPTH_LEN: usize = layout::depth::SIZE;
/// Length of a Bar record.
pub const BAR_LEN: usize = layout::bar::SIZE;
/// Length of a Conflated record.
pub const CONFLATED_LEN: usize = layout::conflated::SIZE;
/// Length of a Heartbeat record.
pub const HEARTBEAT_LEN: usize = layout::heartbeat::SIZE;

/// What a record holds. The number is the one on the wire; those below 16 are not market data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The first record of a connection.
    Hello = 1,
    /// What an instrument's number means.
    Directory = 2,
    /// How current an instrument's data are.
    State = 3,
    /// Records that a slow consumer did not get.
    Conflated = 4,
    /// That the server lives, and how its data are as a whole.
    Heartbeat = 7,
    /// Mode 1.
    Ltp = 16,
    /// Mode 2.
    Quote = 17,
    /// Mode 3.
    Depth = 18,
    /// Open interest alone.
    OpenInterest = 19,
    /// Mode 4.
    Bar = 20,
}

impl Kind {
    /// Every kind of this version.
    pub const ALL: [Self; 10] = [
        Self::Hello,
        Self::Directory,
        Self::State,
        Self::Conflated,
        Self::Heartbeat,
        Self::Ltp,
        Self::Quote,
        Self::Depth,
        Self::OpenInterest,
        Self::Bar,
    ];

    /// What a mode's market data are.
    pub const fn of(mode: Mode) -> Self {
        match mode {
            Mode::Ltp => Self::Ltp,
            Mode::Quote => Self::Quote,
            Mode::Depth => Self::Depth,
            Mode::Bar => Self::Bar,
        }
    }

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// From the number on the wire; `None` for a kind of a later time.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// What every record begins with, beside its length and kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// None is defined yet; a reader passes over those it does not know.
    pub flags: u8,
    /// The instrument, by the number that [`Directory`] explains; 0: none in particular.
    pub number: u32,
    /// Counts the venue's price messages of the instrument, for each epoch and source.
    pub seq: u64,
    /// The server's life: another after each start.
    pub epoch: u32,
    /// Which of the server's feeds it came by.
    pub source: u16,
    /// The venue's time of the message; zero if it sent none.
    pub ts_event: UnixNanos,
    /// When the server read the venue's message; zero where there is none.
    pub ts_recv: UnixNanos,
    /// When the server wrote the record.
    pub ts_sent: UnixNanos,
}

/// The first record of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u16,
    /// When the server started.
    pub started_at: UnixNanos,
}

/// What a number means. It means the same for the whole of the server's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directory<'a> {
    /// OpenAlgo's exchange code; at most 16 bytes.
    pub exchange: &'a str,
    /// OpenAlgo's symbol; at most 1,024 bytes.
    pub symbol: &'a str,
    /// Least step of a price, if it is known.
    pub tick_size: Option<Price>,
    /// Lot size as the venue sends it, if it is known.
    pub lot_size: Option<i64>,
    /// The venue's number of the instrument within the segment.
    pub code: u32,
    /// The venue's number of the segment.
    pub segment: u8,
}

/// How current data are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Freshness {
    /// Data come.
    Live = 1,
    /// None came for a while, but not so long that something must be wrong.
    Delayed = 2,
    /// They should come and do not.
    Stale = 3,
    /// The market is closed.
    Closed = 4,
    /// None came yet: the server is on its way to the venue, or has just got there.
    Connecting = 5,
}

impl Freshness {
    /// Every value.
    pub const ALL: [Self; 5] = [Self::Live, Self::Delayed, Self::Stale, Self::Closed, Self::Connecting];

    /// From the number on the wire.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u8 == number)
    }

    /// As JSON frames and status pages name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Delayed => "delayed",
            Self::Stale => "stale",
            Self::Closed => "closed",
            Self::Connecting => "connecting",
        }
    }
}

/// How current the data of an instrument are, or of all where the header names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State<'a> {
    /// `None`: a value of a later time.
    pub state: Option<Freshness>,
    /// Since when.
    pub since: UnixNanos,
    /// Why, in words; at most 1,024 bytes.
    pub reason: &'a str,
}

/// That the server lives, and how its data are as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The worst of what is subscribed. `None`: a value of a later time.
    pub state: Option<Freshness>,
    /// What passed since the last data of any instrument, in nanoseconds; `None`: none came yet.
    pub last_tick_age: Option<i64>,
}

/// Records that were left out because their consumer did not read fast enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflated {
    /// The kind of the records.
    pub kind: u8,
    /// How many.
    pub skipped: u64,
    /// What passed from the first of them to the one that was given, in nanoseconds.
    pub span: i64,
}

/// Mode 1: the last price.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ltp {
    /// The last trade.
    pub last: LastTrade,
    /// Traded quantity of the day, once it is known.
    pub volume: Option<i64>,
}

/// Mode 2: top of book and the day's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QuoteFields {
    /// The venue's touchline.
    pub quote: Quote,
    /// Open interest, once it is known.
    pub open_interest: Option<i64>,
}

/// Mode 3: the book, with the instrument's last touchline.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DepthFields {
    /// The touchline of the same message.
    pub quote: Quote,
    /// Five levels a side.
    pub depth: Depth,
    /// Open interest and the day's price band, once they are known.
    pub beside: Beside,
}

/// What a record holds behind its header.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "looked at one by one, never kept in a list")]
#[expect(missing_docs, reason = "the kinds are explained at `Kind`")]
pub enum Body<'a> {
    Hello(Hello),
    Directory(Directory<'a>),
    State(State<'a>),
    Conflated(Conflated),
    Heartbeat(Heartbeat),
    Ltp(Ltp),
    Quote(QuoteFields),
    Depth(DepthFields),
    OpenInterest(i64),
    Bar(Bar),
    /// A kind of a later time, by its number.
    Unknown(u8),
}
