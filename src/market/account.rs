//! What an account has: money and positions, as a broker's books show them.
//! Not orders, and not how a broker writes any of it.

use std::fmt;

use crate::market::price::parse_decimal;
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

    /// Parses decimal text (`-14605.00`; no commas, no exponent). Digits beyond the sixth
    /// decimal are rounded half away from zero. No float is involved.
    pub fn parse(text: &[u8]) -> Option<Self> {
        parse_decimal::<6>(text).map(Self)
    }

    /// Rounds a double to 1e-6 (half away from zero), for amounts written with an exponent.
    /// `None` if it is not finite or out of range.
    pub fn from_f64(value: f64) -> Option<Self> {
        let scaled = (value * 1e6).round();
        // 2^63 is exactly representable; anything at or beyond it does not fit.
        (scaled.is_finite() && scaled.abs() < 9.223_372_036_854_776e18).then_some(Self(scaled as i64))
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

/// One position. Without its instrument and quantity it would be none; every other figure
/// that the broker does not name, or that cannot be read, is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Whose it is; empty where the broker does not say.
    pub account: String,
    /// In what.
    pub instrument: InstrumentId,
    /// The broker's name of it; empty where the broker sends none.
    pub symbol: String,
    /// The broker's product (`MIS`, `NRML`, `CNC`, …), as written.
    pub product: String,
    /// Units held; negative: sold short.
    pub quantity: i64,
    /// Units bought.
    pub bought: Option<i64>,
    /// At what average they were bought.
    pub buy_average: Option<Price>,
    /// Units sold.
    pub sold: Option<i64>,
    /// At what average they were sold.
    pub sell_average: Option<Price>,
    /// Sold minus bought, in money.
    pub net_amount: Option<Money>,
    /// What one unit counts in money per rupee of price.
    pub multiplier: Option<i64>,
    /// Profit of what was closed, as the broker has it (some always send zero).
    pub realized: Option<Money>,
    /// Profit of what is open, as the broker has it (some always send zero).
    pub unrealized: Option<Money>,
}

/// What is held for delivery, by ISIN: brokers name neither symbol nor price.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Whose it is; empty where the broker does not say.
    pub account: String,
    /// Which security.
    pub isin: String,
    /// Its number in NSE's cash segment, if it has one.
    pub nse_code: Option<u32>,
    /// Its number in BSE's cash segment, if it has one.
    pub bse_code: Option<u32>,
    /// Units held.
    pub quantity: i64,
    /// Of these, sold or blocked today; `None` where the broker does not say.
    pub used: Option<i64>,
    /// Of these, pledged.
    pub collateral: Option<i64>,
    /// At what average they were bought, where the broker knows.
    pub average: Option<Price>,
}

/// Who the account belongs to. Personal data: `Debug` shows none of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// The client's code.
    pub client_id: String,
    /// The person's or firm's name.
    pub name: String,
    /// Whether it deals for the firm itself; `None` where the broker does not say.
    pub is_pro: Option<bool>,
    /// Whether it is an investor's; `None` where the broker does not say.
    pub is_investor: Option<bool>,
    /// The venue's names of the segments that it may trade in.
    pub segments: Vec<String>,
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile")
            .field("is_pro", &self.is_pro)
            .field("is_investor", &self.is_investor)
            .field("segments", &self.segments)
            .finish_non_exhaustive()
    }
}

/// A change of a position's product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// In what.
    pub instrument: InstrumentId,
    /// Units to convert, above zero.
    pub quantity: i64,
    /// Which position.
    pub view: PositionView,
    /// The broker's product now.
    pub from: String,
    /// The broker's product afterwards.
    pub to: String,
}

/// How much of a position is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SquareOffSize {
    /// So many units.
    Units(i64),
    /// So many per cent, 1 to 100.
    Percent(u8),
}

/// The closing of a position by the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SquareOff {
    /// In what.
    pub instrument: InstrumentId,
    /// The broker's product.
    pub product: String,
    /// Which position.
    pub view: PositionView,
    /// How much of it.
    pub size: SquareOffSize,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn money_both_ways() {
        for (text, micros, shown) in [
            ("250000.00", 250_000_000_000, "250000.00"),
            ("-14605", -14_605_000_000, "-14605.00"),
            ("0.1234565", 123_457, "0.123457"),
            ("-0.0000005", -1, "-0.000001"),
            (".5", 500_000, "0.50"),
            ("0", 0, "0.00"),
        ] {
            let money = Money::parse(text.as_bytes()).unwrap();
            assert_eq!((money.as_micros(), money.to_string().as_str()), (micros, shown), "{text}");
        }
        for text in ["", "-", "1,000", "NaN", "1e3", "9300000000000", "1.0.0"] {
            assert_eq!(Money::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Money::from_f64(1.5e7), Some(Money::from_micros(15_000_000_000_000)));
        assert_eq!((Money::from_f64(f64::NAN), Money::from_f64(1e13)), (None, None));
    }

    proptest! {
        #[test]
        fn any_money_survives_its_text(units in any::<i64>().prop_filter("has a negation", |u| *u != i64::MIN)) {
            let money = Money::from_micros(units);
            prop_assert_eq!(Money::parse(money.to_string().as_bytes()), Some(money));
        }
    }
}
