//! The mark that each order carries, by which it is found again. Not a secret.

use std::sync::{Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::clock::UnixNanos;

/// What every mark of ours begins with.
const PREFIX: &str = "tg";
/// Digits of 32 values, none of which looks like another.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Digits of each of the two parts: 45 bits.
const PART: u32 = 9;

/// Makes marks: 20 letters and digits (XTS takes no more), from the millisecond and chance. Two processes
/// would have to draw the same 45 bits within a millisecond.
pub(crate) struct Marks(Mutex<StdRng>);

impl Marks {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    pub(crate) fn make(&self, now: UnixNanos) -> String {
        let chance: u64 = self.0.lock().unwrap_or_else(PoisonError::into_inner).random();
        let mut mark = PREFIX.to_owned();
        for part in [now.as_millis().unsigned_abs(), chance] {
            mark.extend((0..PART).rev().map(|at| char::from(DIGITS[(part >> (5 * at) & 31) as usize])));
        }
        mark
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn marks_fit_and_differ() {
        let now = UnixNanos::from_secs(1_770_701_400);
        let all: HashSet<String> =
            [1, 2].into_iter().map(Marks::new).flat_map(|m| (0..1000).map(move |_| m.make(now))).collect();
        assert_eq!(all.len(), 2000);
        let fits = |mark: &String| mark.len() == 20 && mark.bytes().all(|b| b.is_ascii_alphanumeric());
        assert!(all.iter().all(fits));
        assert_eq!(Marks::new(1).make(now)[..11], Marks::new(2).make(now)[..11]);
    }
}
