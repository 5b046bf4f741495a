//! What an account has: money and positions, as a broker's books show them.
//! Not orders, and not how a broker writes any of it.

use std::fmt;

use crate::market::{InstrumentId, Price};

/// An amount of money in 1e-6 of a rupee; may be negative. The range is ±9.2 lakh crore rupees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From units of 1e-6.
    pub const fn from_micros(units: i64) -> Self {
        Self(units)
    }

    /// Units of 1e-6.
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Money {
    /// Exact decimal text with at least two decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, micros) = (self.0.unsigned_abs() / 1_000_000, self.0.unsigned_abs() % 1_000_000);
        let sign = if self.0 < 0 { "-" } else { "" };
        let text = format!("{micros:06}");
        let decimals = text.trim_end_matches('0');
        write!(f, "{sign}{whole}.{decimals:0<2}")
    }
}

/// What can be spent, and what is bound. A figure the broker does not name is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Funds {
    /// Free for new trades.
    pub available: Option<Money>,
    /// In cash.
    pub cash: Option<Money>,
    /// Pledged holdings' worth.
    pub collateral: Option<Money>,
    /// Bound by open positions and orders.
    pub used: Option<Money>,
    /// Profit of closed trades today.
    pub realized: Option<Money>,
    /// Profit of open positions.
    pub unrealized: Option<Money>,
}

/// Which trades positions are computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PositionView {
    /// All, carried-forward ones included.
    Net,
    /// Today's.
    Day,
}

/// One position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Whose it is.
    pub account: String,
    /// In what.
    pub instrument: InstrumentId,
    /// The broker's name of it.
    pub symbol: String,
    /// The broker's product (`MIS`, `NRML`, `CNC`, …), as written.
    pub product: String,
    /// Units held; negative: sold short.
    pub quantity: i64,
    /// Units bought, and at what average.
    pub bought: i64,
    /// See `bought`.
    pub buy_average: Option<Price>,
    /// Units sold, and at what average.
    pub sold: i64,
    /// See `sold`.
    pub sell_average: Option<Price>,
    /// Sold minus bought, in money.
    pub net_amount: Option<Money>,
    /// What one unit counts in money per rupee of price.
    pub multiplier: i64,
    /// Profit of what was closed, as the broker has it.
    pub realized: Option<Money>,
    /// Profit of what is open, as the broker has it.
    pub unrealized: Option<Money>,
}
