//! An order as a broker's order book shows it. Not how to place one.

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
