//! What it takes to bring a position to the size that is wanted, and an order in parts of a size.

use crate::market::Side;

/// What a smart order does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Sends this order.
    Send {
        /// Which way.
        side: Side,
        /// Units, above zero.
        quantity: i64,
    },
    /// The position is of that size already.
    Matched,
    /// It was to be closed, and there is none.
    NothingToClose,
}

impl Decision {
    /// OpenAlgo's words where nothing is to be done.
    pub const fn words(self) -> Option<&'static str> {
        match self {
            Self::Send { .. } => None,
            Self::Matched => Some("Positions Already Matched. No Action needed."),
            Self::NothingToClose => Some("No OpenPosition Found. Not placing Exit order."),
        }
    }
}

/// Decides from the position's size now and the one that is wanted (negative: short). The asker's own side and
/// quantity count in one case only, as in OpenAlgo: no position, and none wanted. `None`: beyond 64 bits.
pub fn decide(now: i64, wanted: i64, side: Side, quantity: i64) -> Option<Decision> {
    if now == 0 && wanted == 0 {
        let decision =
            if quantity > 0 { Decision::Send { side, quantity } } else { Decision::NothingToClose };
        return Some(decision);
    }
    let missing = wanted.checked_sub(now)?;
    Some(match missing {
        0 => Decision::Matched,
        1.. => Decision::Send { side: Side::Buy, quantity: missing },
        _ => Decision::Send { side: Side::Sell, quantity: missing.checked_neg()? },
    })
}

/// `total` in parts of `size`, the last one the rest. Both are above zero; `None` if it takes more than `most`.
pub fn parts(total: i64, size: i64, most: usize) -> Option<Vec<i64>> {
    let whole = usize::try_from(total / size).ok()?;
    let rest = total % size;
    if whole + usize::from(rest > 0) > most {
        return None;
    }
    Some(std::iter::repeat_n(size, whole).chain((rest > 0).then_some(rest)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_case_of_a_smart_order() {
        let (buy, sell) = (
            |quantity| Decision::Send { side: Side::Buy, quantity },
            |quantity| Decision::Send { side: Side::Sell, quantity },
        );
        for (now, wanted, side, quantity, decision) in [
            // Nothing held, nothing wanted: the order as it was given.
            (0, 0, Side::Buy, 5, buy(5)),
            (0, 0, Side::Sell, 5, sell(5)),
            (0, 0, Side::Buy, 0, Decision::NothingToClose),
            // Closing.
            (100, 0, Side::Buy, 5, sell(100)),
            (-100, 0, Side::Sell, 0, buy(100)),
            // Opening: the sign of the wanted size decides, not the side that was given.
            (0, 100, Side::Buy, 5, buy(100)),
            (0, 100, Side::Sell, 5, buy(100)),
            (0, -100, Side::Buy, 0, sell(100)),
            // Growing, shrinking, turning round.
            (100, 150, Side::Buy, 5, buy(50)),
            (100, 40, Side::Buy, 5, sell(60)),
            (100, -100, Side::Buy, 5, sell(200)),
            (-100, -40, Side::Sell, 5, buy(60)),
            (-100, -150, Side::Sell, 5, sell(50)),
            (-100, 100, Side::Sell, 5, buy(200)),
            // There already.
            (100, 100, Side::Buy, 5, Decision::Matched),
            (-100, -100, Side::Sell, 0, Decision::Matched),
        ] {
            assert_eq!(decide(now, wanted, side, quantity), Some(decision), "{now} to {wanted}");
        }
        assert_eq!(decide(i64::MAX, -2, Side::Buy, 0), None);
        assert_eq!(decide(0, i64::MIN, Side::Buy, 0), None);
    }

    #[test]
    fn parts_of_an_order() {
        assert_eq!(parts(105, 20, 100), Some(vec![20, 20, 20, 20, 20, 5]));
        assert_eq!(parts(100, 100, 100), Some(vec![100]));
        assert_eq!(parts(5, 100, 100), Some(vec![5]));
        assert_eq!(parts(100, 1, 100).map(|parts| parts.len()), Some(100));
        assert_eq!(parts(101, 1, 100), None);
        assert_eq!(parts(i64::MAX, 1, 100), None);
    }

    proptest! {
        #[test]
        fn the_position_ends_at_the_wanted_size(now: i64, wanted: i64, quantity in 0..i64::MAX) {
            prop_assume!(now != 0 || wanted != 0);
            match decide(now, wanted, Side::Buy, quantity) {
                Some(Decision::Send { side, quantity }) => {
                    prop_assert!(quantity > 0);
                    let signed = if side == Side::Buy { quantity } else { -quantity };
                    prop_assert_eq!(now + signed, wanted);
                }
                Some(_) => prop_assert_eq!(now, wanted),
                None => prop_assert!(wanted.checked_sub(now).is_none_or(|missing| missing == i64::MIN)),
            }
        }

        #[test]
        fn parts_add_up(total in 1..1_000_000_i64, size in 1..1_000_000_i64) {
            if let Some(parts) = parts(total, size, 100) {
                prop_assert!(parts.len() <= 100);
                prop_assert!(parts.iter().all(|part| (1..=size).contains(part)));
                prop_assert_eq!(parts.iter().sum::<i64>(), total);
            } else {
                prop_assert!((total + size - 1) / size > 100);
            }
        }
    }
}
