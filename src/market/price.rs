//! Fixed-point price: exact text both ways, no float compare.
//! Not an amount of money; it knows no currency.

use std::fmt;

/// A price in 1e-9 of the currency unit (rupees on every XTS segment).
///
/// The range is ±9.2 billion rupees. `Price::ZERO` is what a venue sends for "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(i64);

/// Units per rupee.
pub const SCALE: i64 = 1_000_000_000;

impl Price {
    /// No price.
    pub const ZERO: Self = Self(0);

    /// From units of 1e-9.
    pub const fn from_nanos(units: i64) -> Self {
        Self(units)
    }

    /// Units of 1e-9.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// From whole rupees; saturates.
    pub const fn from_rupees(rupees: i64) -> Self {
        Self(rupees.saturating_mul(SCALE))
    }

    /// Rounds a venue's double to 1e-9 (half away from zero). `None` if it is not finite or
    /// out of range.
    pub fn from_f64(value: f64) -> Option<Self> {
        let scaled = value * SCALE as f64;
        // 2^63 is exactly representable; anything at or beyond it does not fit, nor what is no number.
        (scaled.abs() < 9.223_372_036_854_776e18).then(|| {
            // As `f64::round`, which is a call on some processors. The rest is exact: from 2^52 on
            // there is none.
            let whole = scaled as i64;
            let rest = scaled - whole as f64;
            Self(whole + i64::from(rest >= 0.5) - i64::from(rest <= -0.5))
        })
    }

    /// From an integer and a divisor that is a power of ten not above 1e9, as XTS layout C
    /// sends it. `None` on overflow or another divisor.
    pub fn from_scaled(value: i64, divisor: i64) -> Option<Self> {
        if divisor <= 0 || SCALE % divisor != 0 {
            return None;
        }
        value.checked_mul(SCALE / divisor).map(Self)
    }

    /// Parses decimal text (`-12.5`, `1462.6`, `.5`, `1e2` is refused). Digits beyond the
    /// ninth decimal are rounded half away from zero. No float is involved.
    pub fn parse(text: &[u8]) -> Option<Self> {
        parse_decimal::<9>(text).map(Self)
    }

    /// Whether the venue sent none, or nonsense below zero.
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// Appends the shortest exact decimal text, always with a point (`1462.6`, `1450.0`), so
    /// that a JSON reader sees a float.
    pub fn write_to(self, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        if self.0 < 0 {
            out.push(b'-');
        }
        let units = self.0.unsigned_abs();
        let (whole, mut part) = (units / SCALE as u64, units % SCALE as u64);
        out.extend_from_slice(digits.format(whole).as_bytes());
        out.push(b'.');
        if part == 0 {
            out.push(b'0');
            return;
        }
        let mut divisor = SCALE as u64 / 10;
        while part > 0 {
            out.push(b'0' + (part / divisor) as u8);
            part %= divisor;
            divisor /= 10;
        }
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(24);
        self.write_to(&mut text);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Decimal text as a count of `10^-PLACES`; digits beyond are rounded half away from zero.
/// `None` for anything but a sign, digits and one point, and beyond the range.
pub(super) fn parse_decimal<const PLACES: u32>(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mut units, mut decimals, mut seen_dot, mut seen_digit) = (0_i64, 0_u32, false, false);
    let mut round_up = false;
    for &byte in digits {
        match byte {
            b'0'..=b'9' => {
                seen_digit = true;
                if seen_dot && decimals == PLACES {
                    // Only the first decimal that does not fit decides.
                    round_up = byte >= b'5';
                    decimals = PLACES + 1;
                } else if decimals < PLACES {
                    units = units.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
                    decimals += u32::from(seen_dot);
                }
            }
            b'.' if !seen_dot => seen_dot = true,
            _ => return None,
        }
    }
    if !seen_digit {
        return None;
    }
    units = units.checked_mul(10_i64.pow(PLACES.saturating_sub(decimals)))?;
    units = units.checked_add(i64::from(round_up))?;
    Some(if negative { -units } else { units })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_both_ways() {
        for (text, units, shown) in [
            ("1462.6", 1_462_600_000_000, "1462.6"),
            ("-0.05", -50_000_000, "-0.05"),
            ("1450", 1_450_000_000_000, "1450.0"),
            (".5", 500_000_000, "0.5"),
            ("0.0000000005", 1, "0.000000001"),
            ("0.00000000049999", 0, "0.0"),
        ] {
            let price = Price::parse(text.as_bytes()).unwrap();
            assert_eq!((price.as_nanos(), price.to_string().as_str()), (units, shown), "{text}");
        }
        for text in ["", "-", ".", "1.2.3", "1e2", "NaN", "99999999999999999999", " 1"] {
            assert_eq!(Price::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn doubles_are_rounded_to_the_grid() {
        assert_eq!(Price::from_f64(1462.6).unwrap().to_string(), "1462.6");
        assert_eq!(Price::from_f64(f64::NAN), None);
        assert_eq!(Price::from_f64(1e10), None);
        assert_eq!(Price::from_scaled(146_260, 100).unwrap().to_string(), "1462.6");
        assert_eq!(Price::from_scaled(1, 7), None);
    }

    proptest! {
        #[test]
        fn any_price_survives_its_text(units in any::<i64>().prop_filter("has a negation", |u| *u != i64::MIN)) {
            let price = Price::from_nanos(units);
            prop_assert_eq!(Price::parse(price.to_string().as_bytes()), Some(price));
        }

        #[test]
        fn doubles_are_rounded_as_the_library_does(
            value in prop_oneof![any::<f64>(), -1e10..1e10, (-(1_i64 << 60)..1 << 60).prop_map(|n| n as f64 / 2e9)],
        ) {
            let rounded = (value * SCALE as f64).round();
            let expected = (rounded.is_finite() && rounded.abs() < 9.223_372_036_854_776e18).then_some(rounded as i64);
            prop_assert_eq!(Price::from_f64(value).map(Price::as_nanos), expected);
        }

        #[test]
        fn arbitrary_text_never_panics(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Price::parse(&text);
        }
    }
}
