//! The ticks that are published: a number counted through, from which everything else about a tick follows.
//!
//! Tick `g` is of instrument `g % symbols`. Its number travels as the total traded quantity, which stands in every
//! frame of every mode; so a consumer knows of each frame which tick it is, and looks up when that was sent.
//! All texts of a tick have the same length, so that all LTP frames have.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the total traded quantity of tick 0 is: all that follow have as many digits.
pub(crate) const VOLUME: u64 = 1_000_000_000_000;
/// The first instrument's number.
pub(crate) const FIRST_CODE: usize = 100_001;
/// Open and low, high, and the previous close, in paise.
pub(crate) const LOW: i64 = 100_005;
pub(crate) const HIGH: i64 = 999_995;
pub(crate) const CLOSE: i64 = 500_005;
pub(crate) const LAST_SIZE: i64 = 25;

/// The name of an instrument.
pub(crate) fn name(symbol: usize) -> String {
    format!("LG{symbol:05}")
}

/// One tick to publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    pub(crate) number: u64,
    pub(crate) symbol: usize,
}

impl Tick {
    /// Paise; four digits before the point and a five at the end, whatever the tick.
    pub(crate) const fn price(self) -> i64 {
        LOW + 10 * ((self.symbol as u64 * 7 + self.number) % 80_000) as i64
    }

    pub(crate) const fn volume(self) -> u64 {
        VOLUME + self.number
    }
}

/// When each of the latest ticks was to be sent, by its number.
#[derive(Debug)]
pub(crate) struct SendTimes(Box<[AtomicU64]>);

impl SendTimes {
    /// More than can be on their way: at 10,000 ticks/s those of the last 100 s.
    const KEPT: usize = 1 << 20;

    pub(crate) fn new() -> Self {
        Self((0..Self::KEPT).map(|_| AtomicU64::new(0)).collect())
    }

    pub(crate) fn set(&self, number: u64, at: u64) {
        self.0[number as usize % Self::KEPT].store(at, Ordering::Relaxed);
    }

    pub(crate) fn get(&self, number: u64) -> u64 {
        self.0[number as usize % Self::KEPT].load(Ordering::Relaxed)
    }
}
