//! Numbers as JSON text, appended to a buffer: integers, fixed-point prices, two decimals.
//! No float is involved anywhere, and nothing allocates beyond the buffer's growth.

use crate::market::{PRICE_SCALE, Price};

pub(super) fn push_i64(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Units of [`Price`] in a hundredth.
const HUNDREDTH: i64 = PRICE_SCALE / 100;

/// The shortest exact decimal text, always with a point. Prices in whole hundredths, which are
/// nearly all, need no loop over the decimals.
pub(super) fn push_price(price: Price, out: &mut Vec<u8>) {
    let units = price.as_nanos();
    if units % HUNDREDTH == 0 {
        push_hundredths(units / HUNDREDTH, out);
    } else {
        price.write_to(out);
    }
}

/// Hundredths as the shortest decimal text with a point: 2270 is `22.7`.
pub(super) fn push_hundredths(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let units = value.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(units / 100).as_bytes());
    let (tenths, rest) = ((units % 100 / 10) as u8, (units % 10) as u8);
    // One append of a fixed length is cheaper than a second one that depends on the value.
    out.extend_from_slice(&[b'.', b'0' + tenths, b'0' + rest]);
    if rest == 0 {
        out.pop();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hundredths() {
        for (value, text) in [
            (0, "0.0"),
            (5, "0.05"),
            (-5, "-0.05"),
            (2270, "22.7"),
            (304, "3.04"),
            (-100, "-1.0"),
            (99, "0.99"),
        ] {
            assert_eq!(written(|out| push_hundredths(value, out)), text);
        }
        assert_eq!(written(|out| push_hundredths(i64::MIN, out)), "-92233720368547758.08");
    }

    proptest! {
        #[test]
        fn prices_equal_their_exact_text(value: i64, shift in 0..64_u32, zeros in 0..10_u32) {
            let grid = 10_i64.pow(zeros);
            let price = Price::from_nanos((value >> shift) / grid * grid);
            let text = written(|out| push_price(price, out));
            prop_assert_eq!(&text, &price.to_string());
            prop_assert_eq!(Price::parse(text.as_bytes()), Some(price));
        }
    }
}
