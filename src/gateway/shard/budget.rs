//! How often a shard that panics is made anew before the process gives up. Not the session's budget, which is
//! configured and counts actors: this one is about defects in the feed port alone.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Restarts of one shard within [`WINDOW`].
pub(super) const ALLOWED: usize = 5;
/// See [`ALLOWED`].
const WINDOW: Duration = Duration::from_mins(10);

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Budget(VecDeque<Instant>);

impl Budget {
    /// Takes one restart out of it; `false` if none is left.
    pub(super) fn spend(&mut self, now: Instant) -> bool {
        self.0.retain(|at| now.duration_since(*at) < WINDOW);
        if self.0.len() >= ALLOWED {
            return false;
        }
        self.0.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_spent_and_comes_back_with_time() {
        let (mut budget, start) = (Budget::default(), Instant::now());
        for second in 0..ALLOWED as u64 {
            assert!(budget.spend(start + Duration::from_secs(second)));
        }
        assert!(!budget.spend(start + Duration::from_secs(9)));
        // The first is forgotten, and only that.
        assert!(budget.spend(start + WINDOW));
        assert!(!budget.spend(start + WINDOW));
    }
}
