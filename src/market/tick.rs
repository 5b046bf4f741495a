//! One decoded update of one kind for one instrument. `Copy`, no strings, no serde.
//! Not a frame: how consumers see it is `protocol`.

use crate::clock::UnixNanos;
use crate::market::{Bar, InstrumentId, Price};

/// Levels of depth a side that XTS sends.
pub const DEPTH_LEVELS: usize = 5;

/// One update as decoded from the venue's message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tick {
    /// What it is about.
    pub instrument: InstrumentId,
    /// The venue's time of the update; `UnixNanos::ZERO` if it sent none.
    pub ts_event: UnixNanos,
    /// When we read the frame that held it.
    pub ts_recv: UnixNanos,
    /// The values.
    pub body: TickBody,
}

/// The kinds of tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TickBody {
    /// A last price alone (XTS 1512).
    LastTrade(LastTrade),
    /// Top of book and the day's figures (XTS 1501, and inside 1502).
    Quote(Quote),
    /// Five levels a side (XTS 1502). Follows the `Quote` of the same message.
    Depth(Depth),
    /// Open interest (XTS 1510).
    OpenInterest(OpenInterest),
    /// A finished bar (XTS 1505).
    Bar(Bar),
    /// Within which prices orders are taken (XTS 1105). Comes unasked and holds no price of a trade.
    PriceBand(PriceBand),
}

impl TickBody {
    /// Whether it shows that what is subscribed flows. Price bands come unasked, also on a feed
    /// that is mute otherwise.
    pub const fn is_asked_for(&self) -> bool {
        !matches!(self, Self::PriceBand(_))
    }
}

// The batch of a frame must stay in cache: a Tick is at most four lines.
const _: () = assert!(size_of::<Tick>() <= 256);

/// A last price alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LastTrade {
    /// Last traded price, always above zero.
    pub price: Price,
    /// Quantity of the last trade, in units.
    pub size: i64,
    /// Time of the last trade; `UnixNanos::ZERO` if never traded or not sent.
    pub time: UnixNanos,
}

/// One level of the book.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Level {
    /// Price; zero if the level is empty.
    pub price: Price,
    /// Quantity in units.
    pub size: i64,
    /// Number of orders.
    pub orders: u32,
}

/// Top of book with the day's figures (the venue's touchline).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quote {
    /// The last trade; its price is always above zero.
    pub last: LastTrade,
    /// Best bid.
    pub bid: Level,
    /// Best ask.
    pub ask: Level,
    /// Traded quantity of the day, in units.
    pub volume: i64,
    /// Average traded price of the day.
    pub average: Price,
    /// Total quantity of all buy orders, in units.
    pub total_buy: i64,
    /// Total quantity of all sell orders, in units.
    pub total_sell: i64,
    /// The day's open; zero before the first trade.
    pub open: Price,
    /// The day's high.
    pub high: Price,
    /// The day's low.
    pub low: Price,
    /// The **previous** day's close.
    pub close: Price,
}

/// One side of the book, best first, empty levels zero. Arrays instead of levels keep the
/// tick small.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DepthSide {
    /// Prices, best first.
    pub price: [Price; DEPTH_LEVELS],
    /// Quantities in units.
    pub size: [i64; DEPTH_LEVELS],
    /// Numbers of orders.
    pub orders: [u32; DEPTH_LEVELS],
}

impl DepthSide {
    /// Level `index`, 0 being the best.
    pub fn level(&self, index: usize) -> Level {
        Level { price: self.price[index], size: self.size[index], orders: self.orders[index] }
    }

    /// Sets level `index`.
    pub fn set(&mut self, index: usize, level: Level) {
        self.price[index] = level.price;
        self.size[index] = level.size;
        self.orders[index] = level.orders;
    }
}

/// Five levels a side.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Depth {
    /// Buyers.
    pub bids: DepthSide,
    /// Sellers.
    pub asks: DepthSide,
}

/// Open interest, in units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OpenInterest {
    /// Open contracts times their size.
    pub open_interest: i64,
}

/// The prices within which the exchange takes orders, as far as a message names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PriceBand {
    /// The lower limit.
    pub low: Option<Price>,
    /// The upper limit.
    pub high: Option<Price>,
}

/// A kind of data that is subscribed from a broker as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Top of book and day figures (XTS 1501).
    Quote = 1,
    /// The same and five levels (XTS 1502).
    Depth = 2,
    /// Open interest (XTS 1510).
    OpenInterest = 4,
    /// Finished bars of a minute (XTS 1505).
    Bar = 8,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Quote, Self::Depth, Self::OpenInterest, Self::Bar];

    /// Whether it carries an instrument's prices.
    pub const fn is_main(self) -> bool {
        matches!(self, Self::Quote | Self::Depth)
    }
}

/// A set of [`Kind`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KindSet(u8);

impl KindSet {
    /// Nothing.
    pub const EMPTY: Self = Self(0);

    /// With `kind` added.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | kind as u8)
    }

    /// Whether `kind` is in it.
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & kind as u8 != 0
    }

    /// Whether it holds nothing.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds in it.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}
