//! Scenarios: how many consumers want what, and how fast it comes.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// The most deliveries and ticks on their way in the closed loop.
const IN_FLIGHT: u64 = 200_000;
const TICKS_IN_FLIGHT: u64 = 8_192;
/// What one consumer may be behind by: below what tickgate lets wait for it before it conflates. The kernel may stall
/// one connection for 200 ms where others go on.
const BYTES_BEHIND: u64 = 3 << 20;

/// One scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Consumers that read.
    pub(crate) readers: usize,
    /// Consumers that subscribe like the others and never read.
    pub(crate) stalled: usize,
    pub(crate) symbols: usize,
    /// Instruments that each consumer wants.
    pub(crate) each: usize,
    /// Ticks a second; `None`: as many as come through, the closed loop.
    pub(crate) rate: Option<u32>,
}

impl Shape {
    pub(crate) const fn new(consumers: usize, each: usize, symbols: usize) -> Self {
        Self { readers: consumers, stalled: 0, symbols, each, rate: None }
    }

    pub(crate) const fn at(self, rate: u32) -> Self {
        Self { rate: Some(rate), ..self }
    }

    pub(crate) fn name(&self) -> String {
        let Self { readers, stalled, symbols, each, rate } = *self;
        let of = if each < symbols { format!("of{symbols}") } else { String::new() };
        let at = rate.map_or(String::new(), |rate| format!("@{rate}"));
        let stalled_too = if stalled > 0 { "+stalled" } else { "" };
        format!("{}x{each}{of}{at}{stalled_too}", readers + stalled)
    }

    /// What each consumer wants, the readers first. Drawn anew for each consumer, and the same in every run.
    pub(crate) fn sets(&self) -> Vec<Vec<usize>> {
        let mut random = StdRng::seed_from_u64(7);
        let mut draw = || {
            let mut set = rand::seq::index::sample(&mut random, self.symbols, self.each).into_vec();
            set.sort_unstable();
            set
        };
        (0..self.readers + self.stalled).map(|_| draw()).collect()
    }

    /// Readers of each instrument.
    pub(crate) fn fan(&self, sets: &[Vec<usize>]) -> Vec<u64> {
        let mut fan = vec![0; self.symbols];
        for symbol in sets.iter().take(self.readers).flatten() {
            fan[*symbol] += 1;
        }
        fan
    }

    /// How many deliveries may be on their way.
    pub(crate) fn window(&self) -> u64 {
        let per_tick = (self.readers * self.each) as f64 / self.symbols as f64;
        IN_FLIGHT.min((TICKS_IN_FLIGHT as f64 * per_tick) as u64).max(64)
    }

    /// How many frames of so many bytes one consumer may be behind by.
    pub(crate) const fn lag(bytes: usize) -> u64 {
        BYTES_BEHIND / bytes as u64
    }
}
