//! Numbers of REST answers: exact decimals, written as JSON numbers. No float is involved in making one.
//! Not the numbers of market data frames, which are written into buffers without an allocation.

use std::fmt;

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::market::{Money, Price};

/// Decimal places of [`Price`].
const PRICE_PLACES: u32 = 9;
/// Decimal places of [`Money`].
const MONEY_PLACES: u32 = 6;

/// `units` of 10^-`places`.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    units: i128,
    places: u32,
}

impl Decimal {
    /// Nothing; written `0.0`.
    pub const ZERO: Self = Self { units: 0, places: 0 };

    /// Units of 1e-9: a price, or a price times a count.
    pub const fn from_nanos(units: i128) -> Self {
        Self { units, places: PRICE_PLACES }
    }

    /// To so many decimals, the last one rounded half away from zero.
    #[must_use]
    pub const fn rounded(self, places: u32) -> Self {
        if places >= self.places {
            return self;
        }
        let step = 10_i128.pow(self.places - places);
        let (whole, rest) = (self.units / step, (self.units % step).unsigned_abs());
        let away = if rest * 2 >= step.unsigned_abs() { self.units.signum() } else { 0 };
        Self { units: whole + away, places }
    }

    /// Its decimal text: what it holds without trailing zeros, and `least` decimals at least.
    pub fn text(self, least: u32) -> String {
        let step = 10_u128.pow(self.places);
        let (whole, mut part) = (self.units.unsigned_abs() / step, self.units.unsigned_abs() % step);
        let mut width = self.places as usize;
        while width > least as usize && part % 10 == 0 {
            part /= 10;
            width -= 1;
        }
        let sign = if self.units < 0 { "-" } else { "" };
        let digits = if width == 0 { String::new() } else { format!("{part:0width$}") };
        let least = least as usize;
        if least == 0 && digits.is_empty() {
            return format!("{sign}{whole}");
        }
        format!("{sign}{whole}.{digits:0<least$}")
    }
}

impl From<Price> for Decimal {
    fn from(price: Price) -> Self {
        Self::from_nanos(i128::from(price.as_nanos()))
    }
}

impl From<Money> for Decimal {
    fn from(money: Money) -> Self {
        Self { units: i128::from(money.as_micros()), places: MONEY_PLACES }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(1))
    }
}

impl Serialize for Decimal {
    /// A number with a point, so that readers of JSON see a float as OpenAlgo sends it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.text(1)).map_err(S::Error::custom)?.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_of_decimals() {
        for (nanos, places, least, text) in [
            (0, 2, 1, "0.0"),
            (0, 2, 2, "0.00"),
            (1_460_500_000_000, 2, 1, "1460.5"),
            (1_460_500_000_000, 2, 2, "1460.50"),
            (83_742_500_000, 9, 1, "83.7425"),
            (83_745_000_000, 2, 2, "83.75"),
            (-83_745_000_000, 2, 2, "-83.75"),
            (-83_744_999_999, 2, 2, "-83.74"),
            (-4_000_000, 2, 2, "0.00"),
            (999_999_999, 2, 1, "1.0"),
            (7_000_000_000, 0, 0, "7"),
        ] {
            assert_eq!(Decimal::from_nanos(nanos).rounded(places).text(least), text, "{nanos} {places}");
        }
        assert_eq!(Decimal::from(Money::from_micros(-7_880_000)).rounded(2).text(2), "-7.88");
        assert_eq!(Decimal::ZERO.to_string(), "0.0");
        assert_eq!(Decimal::ZERO.text(2), "0.00");
    }

    #[test]
    fn written_as_a_number() {
        let written = serde_json::to_string(&[Decimal::ZERO, Price::from_rupees(7).into()]).unwrap();
        assert_eq!(written, "[0.0,7.0]");
        assert_eq!(serde_json::to_value(Decimal::from_nanos(5 * 10_i128.pow(8))).unwrap(), 0.5);
    }

    proptest! {
        #[test]
        fn exact_text_is_the_price_text(nanos: i64) {
            let price = Price::from_nanos(nanos);
            prop_assert_eq!(Decimal::from(price).to_string(), price.to_string());
        }

        #[test]
        fn rounding_is_never_further_off_than_half(units: i64, places in 0..9_u32) {
            let exact = Decimal::from_nanos(i128::from(units));
            let step = 10_i128.pow(9 - places);
            let rounded = exact.rounded(places);
            let off = (rounded.units * step - exact.units).unsigned_abs() * 2;
            prop_assert!(off <= step.unsigned_abs());
            // Half goes away from zero, and the sign makes no difference.
            if off == step.unsigned_abs() {
                prop_assert!((rounded.units * step).unsigned_abs() > exact.units.unsigned_abs());
            }
            prop_assert_eq!(Decimal::from_nanos(-exact.units).rounded(places).units, -rounded.units);
        }
    }
}
