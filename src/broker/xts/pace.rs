//! Keeps REST calls apart, as brokers' rate limits want it. Not how many there may be in a day.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// One product's calls: one at a time, their starts apart.
#[derive(Debug)]
pub(super) struct Lane {
    /// Held during an ordinary call.
    pub(super) busy: Mutex<()>,
    pub(super) pace: Pace,
}

impl Lane {
    pub(super) fn new(interval_ms: u64) -> Self {
        Self { busy: Mutex::new(()), pace: Pace::new(interval_ms) }
    }
}

/// Keeps the starts of calls apart.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// When the next call may start.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(interval_ms: u64) -> Self {
        Self { interval: Duration::from_millis(interval_ms), next: Mutex::new(None) }
    }

    /// Waits for this call's turn to start.
    pub(super) async fn turn(&self) {
        let mut next = self.next.lock().await;
        if let Some(at) = *next {
            sleep_until(at).await;
        }
        *next = Some(Instant::now() + self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_start_apart() {
        let pace = Pace::new(200);
        let begin = Instant::now();
        for _ in 0..4 {
            pace.turn().await;
        }
        assert_eq!(begin.elapsed(), Duration::from_millis(600));
    }
}
