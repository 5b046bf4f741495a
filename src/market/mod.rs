//! The domain: prices, instruments, ticks, the instrument master, the session calendar.
//! Pure values; no I/O, no async (but the handle that shares a master), no serde.

pub mod account;
pub mod bar;
pub mod calendar;
mod instrument;
mod listing;
pub mod master;
pub mod order;
mod phase;
mod price;
mod tick;

pub use account::{
    Conversion, Funds, Holding, Money, Position, PositionView, Profile, SquareOff, SquareOffSize,
};
pub use bar::{Bar, Interval};
pub use calendar::{Calendar, MarketState, TimeOfDay};
pub use instrument::{Exchange, InstrumentId, Segment};
pub use listing::Listing;
pub use master::{Instrument, InstrumentKind, Master, MasterBuilder, MasterHandle, Right};
pub use order::{
    BracketOrder, CoverIds, NewOrder, Order, OrderChange, OrderKind, OrderStatus, OrderUpdate, Side, Trade,
};
pub use phase::MarketPhase;
pub use price::{Price, SCALE as PRICE_SCALE};
pub use tick::{
    DEPTH_LEVELS, Depth, DepthSide, Kind, KindSet, LastTrade, Level, OpenInterest, PriceBand, Quote, Tick,
    TickBody,
};
