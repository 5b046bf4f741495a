//! Orders and trades: as a broker's books show them, and as they are asked for.
//! Not how a broker writes any of it.

use std::sync::Arc;

use crate::clock::UnixNanos;
use crate::market::{InstrumentId, Price};

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Buys.
    Buy,
    /// Sells.
    Sell,
}

/// How the price is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OrderKind {
    /// At whatever price there is.
    Market,
    /// At the limit or better.
    Limit,
    /// A limit order once the trigger is reached.
    StopLimit,
    /// A market order once the trigger is reached.
    StopMarket,
    /// Another, as the broker wrote it.
    Unknown(String),
}

/// Where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OrderStatus {
    /// On its way to the exchange, or a change to it is.
    Pending,
    /// At the exchange.
    Open,
    /// Waiting for its trigger.
    TriggerPending,
    /// Open, with some of it done.
    PartiallyFilled,
    /// Done.
    Filled,
    /// Taken back.
    Cancelled,
    /// Refused.
    Rejected,
    /// Another, as the broker wrote it.
    Unknown(String),
}

/// One order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The broker's number; text, because not every reader keeps 64 bits.
    pub id: String,
    /// The exchange's number; empty before it has one.
    pub exchange_id: String,
    /// The placer's own mark; empty for none.
    pub unique_id: String,
    /// Whose it is; empty where the broker does not say.
    pub account: String,
    /// In what.
    pub instrument: InstrumentId,
    /// The broker's name of it; empty where the broker sends none.
    pub symbol: String,
    /// Which way.
    pub side: Side,
    /// How the price is found.
    pub kind: OrderKind,
    /// The broker's product, as written.
    pub product: String,
    /// How long it stands (`DAY`, `IOC`, …), as written.
    pub validity: String,
    /// Units ordered.
    pub quantity: i64,
    /// Of these, done.
    pub filled: i64,
    /// Of these, still to do.
    pub left: i64,
    /// Limit; zero for an order that needs none.
    pub price: Price,
    /// Trigger; zero for an order that needs none.
    pub trigger: Price,
    /// Average of what was done; `None` while nothing is.
    pub average: Option<Price>,
    /// Where it stands.
    pub status: OrderStatus,
    /// The broker's or exchange's words for a refusal; empty for none.
    pub reason: String,
    /// When it was placed.
    pub placed_at: Option<UnixNanos>,
    /// When it last changed.
    pub updated_at: Option<UnixNanos>,
}

impl OrderStatus {
    /// Whether nothing will happen to it any more. An unknown status may be anything.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Filled | Self::Cancelled | Self::Rejected)
    }
}

/// An order to place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// In what.
    pub instrument: InstrumentId,
    /// Which way.
    pub side: Side,
    /// How the price is found; never `Unknown`.
    pub kind: OrderKind,
    /// The broker's product (`MIS`, `NRML`, `CNC`).
    pub product: String,
    /// How long it stands (`DAY`, `IOC`).
    pub validity: String,
    /// Units, above zero.
    pub quantity: i64,
    /// Units shown to others; zero: all.
    pub disclosed: i64,
    /// Limit; zero for none.
    pub price: Price,
    /// Trigger; zero for none.
    pub trigger: Price,
    /// The placer's own mark, by which it is found again after an unclear outcome: 1 to 20 letters and digits.
    pub unique_id: String,
}

/// A change of an order that stands. Every figure is the one that counts afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderChange {
    /// The broker's number.
    pub id: String,
    /// How the price is found; never `Unknown`.
    pub kind: OrderKind,
    /// The broker's product.
    pub product: String,
    /// How long it stands.
    pub validity: String,
    /// Units in all, what is done included.
    pub quantity: i64,
    /// Units shown to others; zero: all.
    pub disclosed: i64,
    /// Limit; zero for none.
    pub price: Price,
    /// Trigger; zero for none.
    pub trigger: Price,
    /// The order's mark; empty: left out.
    pub unique_id: String,
}

/// An entry with a target and a stop, of which one ends the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BracketOrder {
    /// The entry; its product does not count.
    pub entry: NewOrder,
    /// Distance to the target, in rupees.
    pub square_off: Price,
    /// Distance to the stop, in rupees.
    pub stop_loss: Price,
    /// Step by which the stop follows, in rupees; zero: it does not.
    pub trailing: Price,
}

/// The two orders of a cover order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoverIds {
    /// The broker's number of the entry.
    pub entry: String,
    /// The broker's number of the stop.
    pub exit: String,
}

/// One trade: a part or the whole of an order, done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trade {
    /// The exchange's number of the execution.
    pub id: String,
    /// The broker's number of the order.
    pub order_id: String,
    /// The exchange's number of the order; empty where the broker does not say.
    pub exchange_id: String,
    /// The placer's own mark of the order; empty for none.
    pub unique_id: String,
    /// Whose it is; empty where the broker does not say.
    pub account: String,
    /// In what.
    pub instrument: InstrumentId,
    /// The broker's name of it; empty where the broker sends none.
    pub symbol: String,
    /// Which way.
    pub side: Side,
    /// The broker's product, as written.
    pub product: String,
    /// Units of this trade.
    pub quantity: i64,
    /// Price of this trade.
    pub price: Price,
    /// When.
    pub traded_at: Option<UnixNanos>,
}

/// An order of an account has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderUpdate {
    /// The account's name in the configuration.
    pub account: Arc<str>,
    /// The order as it is now.
    pub order: Order,
}
