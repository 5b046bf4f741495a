//! A seeded walk on the tick grid: each instrument has a middle that wanders around the
//! previous close, or after its underlying. Not a model anybody should trade on.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::quote::Quote;
use super::{Change, hash};
use crate::clock::UnixNanos;
use crate::market::{Level, Price};
use crate::sim::instruments::{Kind, Listing, OnGrid as _, fair_option};

/// One instrument's walk.
#[derive(Debug)]
pub(super) struct Walker {
    random: StdRng,
    /// In ticks. For tradable instruments the best bid.
    middle: i64,
    /// Where the walk is drawn to, in ticks.
    home: i64,
}

impl Walker {
    /// The walk of `listing`, and its values at the start.
    pub(super) fn start(listing: &Listing, seed: u64, day_part: f64, now: UnixNanos) -> (Self, Quote) {
        let mut random = StdRng::seed_from_u64(seed ^ hash(listing));
        let home = listing.previous_close.as_nanos() / listing.tick.as_nanos();
        let gap = (home / 400).max(1);
        let middle = (home + random.random_range(-gap..=gap)).max(1);
        let price = Price::from_nanos(middle * listing.tick.as_nanos());
        let lots =
            if matches!(listing.kind, Kind::Index) { 0.0 } else { 86_400.0 * listing.activity.rate * 4.0 };
        let volume = (lots * day_part) as i64 * i64::from(listing.lot)
            + i64::from(lots > 0.0) * i64::from(listing.lot);
        let mut quote = Quote::starting(listing.previous_close, price, volume, now);
        let mut walker = Self { random, middle, home };
        if volume > 0 {
            quote.ltq = i64::from(listing.lot);
            quote.total_buy = walker.size(listing) * 400;
            quote.total_sell = walker.size(listing) * 400;
            walker.book(listing, &mut quote);
        }
        if listing.id.segment.has_open_interest() {
            quote.open_interest = i64::from(listing.lot) * walker.random.random_range(2_000..40_000_i64);
        }
        (walker, quote)
    }

    /// Seconds until the next update. Updates come in clumps.
    pub(super) fn pause(&mut self, listing: &Listing) -> f64 {
        if self.random.random_bool(0.3) {
            return self.random.random_range(0.0005..0.005);
        }
        let uniform: f64 = self.random.random_range(1e-6..1.0);
        // The clumps make up for 0.3 of the updates.
        -uniform.ln() / (0.7 * listing.activity.rate)
    }

    /// One update of `quote`.
    pub(super) fn step(
        &mut self,
        listing: &Listing,
        quote: &mut Quote,
        underlying: Option<&Quote>,
        now: UnixNanos,
    ) -> Change {
        self.wander(listing, underlying);
        if matches!(listing.kind, Kind::Index) {
            quote.set_price(Price::from_nanos(self.middle * listing.tick.as_nanos()), now);
            return Change { traded: true, open_interest: false };
        }
        let traded = self.random.random_bool(0.6);
        self.book(listing, quote);
        let mut open_interest = false;
        if traded {
            let buyer = self.random.random_bool(0.5);
            let price = if buyer { quote.asks[0].price } else { quote.bids[0].price };
            let quantity = self.size(listing);
            quote.trade(price, quantity, now);
            if listing.id.segment.has_open_interest() && self.random.random_bool(0.3) {
                let lots: i64 = self.random.random_range(-9..=10);
                quote.open_interest = (quote.open_interest + lots * i64::from(listing.lot)).max(0);
                open_interest = lots != 0;
            }
        }
        let drift = self.size(listing);
        quote.total_buy =
            (quote.total_buy + if self.random.random_bool(0.5) { drift } else { -drift }).max(1);
        quote.total_sell =
            (quote.total_sell + if self.random.random_bool(0.5) { drift } else { -drift }).max(1);
        Change { traded, open_interest }
    }

    fn wander(&mut self, listing: &Listing, underlying: Option<&Quote>) {
        let tick = listing.tick;
        let target = match (listing.kind, underlying) {
            (Kind::Future { days, .. }, Some(spot)) => {
                let spot = spot.ltp.as_nanos();
                (spot + spot / 1000 * i64::from(days) * 65 / 365) / tick.as_nanos()
            }
            (Kind::Option { strike, right, days, .. }, Some(spot)) => {
                fair_option(spot.ltp, strike, right, days, tick).as_nanos() / tick.as_nanos()
            }
            _ => {
                // About 0.002 % a step, drawn home more strongly the farther it is.
                let reach = (self.home / 50_000).clamp(1, 200);
                let pull = (self.middle - self.home) as f64 / (self.home as f64 * 0.04).max(1.0);
                let up = (0.5 - 0.5 * pull).clamp(0.02, 0.98);
                if self.random.random_bool(0.45) {
                    return;
                }
                let by = self.random.random_range(1..=reach);
                self.middle += if self.random.random_bool(up) { by } else { -by };
                // The price band of the master is 10 % wide.
                let band = (self.home / 11).max(1);
                self.middle = self.middle.clamp((self.home - band).max(1), self.home + band);
                return;
            }
        };
        let noise: i64 = self.random.random_range(-1..=1);
        self.middle = (target + noise).max(1);
    }

    fn book(&mut self, listing: &Listing, quote: &mut Quote) {
        let tick = listing.tick.as_nanos();
        let spread = if listing.activity.rate >= 1.0 || self.random.random_bool(0.7) { 1 } else { 2 };
        for level in 0..quote.bids.len() {
            let depth = level as i64;
            let bid = self.middle - depth;
            // Near zero the bids run out; an empty level is a zero row.
            quote.bids[level] = if bid > 0 { self.level(listing, bid * tick) } else { Level::default() };
            quote.asks[level] = self.level(listing, (self.middle + spread + depth) * tick);
        }
    }

    fn level(&mut self, listing: &Listing, price: i64) -> Level {
        let price = Price::from_nanos(price).round_to(listing.tick);
        Level { price, size: self.size(listing), orders: self.random.random_range(1..=12) }
    }

    fn size(&mut self, listing: &Listing) -> i64 {
        let lots: i64 = if listing.lot > 1 {
            self.random.random_range(1..=20)
        } else if self.random.random_bool(0.2) {
            self.random.random_range(100..=2500)
        } else {
            self.random.random_range(1..=120)
        };
        lots * i64::from(listing.lot)
    }
}
