//! Exponential back-off with jitter, a floor and a ceiling. Seeded, so that tests repeat.
//! Not a timer and not a retry loop: it only says how long to wait.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Doublings after which even a floor of a millisecond is past any sensible ceiling.
const MAX_DOUBLINGS: u32 = 32;

/// How long to wait after each failure in a row.
#[derive(Clone, Debug)]
pub struct Backoff {
    floor: Duration,
    ceiling: Duration,
    failures: u32,
    rng: SmallRng,
}

impl Backoff {
    /// A back-off that starts at `floor` and never exceeds `ceiling`. A ceiling below the
    /// floor counts as the floor.
    pub fn new(floor: Duration, ceiling: Duration, seed: u64) -> Self {
        Self { floor, ceiling: ceiling.max(floor), failures: 0, rng: SmallRng::seed_from_u64(seed) }
    }

    /// Counts one more failure and says how long to wait: somewhere between
    /// [`least`](Self::least) of that failure and its double, within floor and ceiling.
    ///
    /// Half of the span is fixed, so that a row of unlucky draws cannot hammer a venue; the
    /// other half is random, so that many clients of one venue do not come back together.
    pub fn next_delay(&mut self) -> Duration {
        let least = self.least(self.failures);
        let most = self.doubled(self.failures);
        self.failures = self.failures.saturating_add(1);
        let span = u64::try_from(most.saturating_sub(least).as_nanos()).unwrap_or(u64::MAX);
        least + Duration::from_nanos(self.rng.random_range(0..=span))
    }

    /// The least delay after failure number `failure` in a row, counted from 0.
    pub fn least(&self, failure: u32) -> Duration {
        (self.doubled(failure) / 2).max(self.floor)
    }

    /// Failures since the last reset.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Forgets the failures: the next delay is the floor's again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    fn doubled(&self, failure: u32) -> Duration {
        // The first delay has room for jitter too, hence one doubling more than failures.
        let doublings = failure.saturating_add(1).min(MAX_DOUBLINGS);
        self.floor.saturating_mul(2_u32.saturating_pow(doublings)).min(self.ceiling)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FLOOR: Duration = Duration::from_millis(500);
    const CEILING: Duration = Duration::from_secs(30);

    #[test]
    fn grows_to_the_ceiling_and_starts_over_after_a_reset() {
        let mut backoff = Backoff::new(FLOOR, CEILING, 1);
        let first = backoff.next_delay();
        assert!((FLOOR..=FLOOR * 2).contains(&first), "{first:?}");
        let mut last = first;
        for _ in 0..20 {
            last = backoff.next_delay();
        }
        assert!((CEILING / 2..=CEILING).contains(&last), "{last:?}");
        assert_eq!(backoff.failures(), 21);
        backoff.reset();
        assert!(backoff.next_delay() <= FLOOR * 2);
    }

    #[test]
    fn the_same_seed_gives_the_same_delays() {
        let delays = |seed| {
            let mut backoff = Backoff::new(FLOOR, CEILING, seed);
            (0..8).map(|_| backoff.next_delay()).collect::<Vec<_>>()
        };
        assert_eq!(delays(7), delays(7));
        assert_ne!(delays(7), delays(8));
    }

    proptest! {
        #[test]
        fn every_delay_lies_between_floor_and_ceiling(
            floor_ms in 0_u64..100_000,
            ceiling_ms in 0_u64..100_000,
            seed: u64,
            resets in proptest::collection::vec(any::<bool>(), 0..80),
        ) {
            let (floor, ceiling) = (Duration::from_millis(floor_ms), Duration::from_millis(ceiling_ms));
            let mut backoff = Backoff::new(floor, ceiling, seed);
            for reset in resets {
                let least = backoff.least(backoff.failures());
                let delay = backoff.next_delay();
                prop_assert!(delay >= least && delay >= floor);
                prop_assert!(delay <= ceiling.max(floor));
                if reset {
                    backoff.reset();
                }
            }
        }
    }
}
