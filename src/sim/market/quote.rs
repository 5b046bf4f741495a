//! The latest values of one instrument and the rules that hold among them: the day's high and
//! low contain every trade, volume and trade time never go back within a day.
//! Not how values come about.

use crate::clock::UnixNanos;
use crate::market::{DEPTH_LEVELS, Level, Price};

/// The latest values of one instrument.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quote {
    pub(crate) ltp: Price,
    pub(crate) ltq: i64,
    pub(crate) volume: i64,
    /// Sum of price × quantity of the day's trades, in 1e-9 rupees.
    turnover: i128,
    pub(crate) open: Price,
    pub(crate) high: Price,
    pub(crate) low: Price,
    /// The previous day's.
    pub(crate) close: Price,
    /// Whole seconds, as the venue has them; zero if never traded.
    pub(crate) last_trade: UnixNanos,
    pub(crate) updated: UnixNanos,
    /// Best first. All zero for an index.
    pub(crate) bids: [Level; DEPTH_LEVELS],
    pub(crate) asks: [Level; DEPTH_LEVELS],
    pub(crate) total_buy: i64,
    pub(crate) total_sell: i64,
    /// In units; 0 where there is none.
    pub(crate) open_interest: i64,
    /// Updates so far.
    pub(crate) updates: u64,
}

impl Quote {
    /// Values at the start of the simulator: the day has been going on for a while, `volume`
    /// has been traded at `price` on average.
    pub(crate) fn starting(close: Price, price: Price, volume: i64, now: UnixNanos) -> Self {
        let (high, low) = (price.max(close), price.min(close));
        Self {
            ltp: price,
            ltq: 0,
            volume,
            turnover: i128::from(price.as_nanos()) * i128::from(volume),
            open: close,
            high,
            low,
            close,
            last_trade: if volume > 0 { whole_second(now) } else { UnixNanos::ZERO },
            updated: whole_second(now),
            bids: [Level::default(); DEPTH_LEVELS],
            asks: [Level::default(); DEPTH_LEVELS],
            total_buy: 0,
            total_sell: 0,
            open_interest: 0,
            updates: 0,
        }
    }

    /// Counts an update at `now`.
    pub(crate) fn touch(&mut self, now: UnixNanos) {
        self.updated = self.updated.max(whole_second(now));
        self.updates += 1;
    }

    /// Books a trade. Call `touch` too.
    pub(crate) fn trade(&mut self, price: Price, quantity: i64, now: UnixNanos) {
        self.set_price(price, now);
        self.ltq = quantity;
        self.volume += quantity;
        self.turnover += i128::from(price.as_nanos()) * i128::from(quantity);
    }

    /// Moves the last price without a trade, as an index does.
    pub(crate) fn set_price(&mut self, price: Price, now: UnixNanos) {
        self.ltp = price;
        if self.open == Price::ZERO {
            (self.open, self.high, self.low) = (price, price, price);
        }
        self.high = self.high.max(price);
        self.low = self.low.min(price);
        self.last_trade = self.last_trade.max(whole_second(now));
    }

    /// Average price of the day's trades, to the paisa as the venue prints it; the last price
    /// if nothing was traded, as indices show it.
    pub(crate) fn average(&self) -> Price {
        if self.volume == 0 {
            return self.ltp;
        }
        let paise = self.turnover / i128::from(self.volume) / 10_000_000;
        let average = Price::from_nanos(i64::try_from(paise).unwrap_or_default() * 10_000_000);
        average.clamp(self.low, self.high)
    }

    /// `100 × (ltp − close) / close`, in full double precision.
    pub(crate) fn percent_change(&self) -> f64 {
        let close = self.close.as_nanos() as f64;
        if close > 0.0 { 100.0 * (self.ltp.as_nanos() as f64 - close) / close } else { 0.0 }
    }

    /// Puts one price in place of each, for a message that is to be wrong.
    pub(crate) fn spoil_prices(&mut self, price: Price) {
        for each in [&mut self.ltp, &mut self.open, &mut self.high, &mut self.low, &mut self.close] {
            *each = price;
        }
        for level in self.bids.iter_mut().chain(&mut self.asks) {
            level.price = price;
        }
    }

    /// Moves the exchange's times, for a message that is to be wrong.
    pub(crate) fn shift_times(&mut self, by_s: i64) {
        for time in [&mut self.updated, &mut self.last_trade] {
            if *time != UnixNanos::ZERO {
                *time = UnixNanos::from_secs(time.as_secs().saturating_add(by_s));
            }
        }
    }

    /// A new trading day: the last price becomes the previous close, nothing is traded yet.
    pub(crate) fn new_day(&mut self) {
        self.close = self.ltp;
        (self.open, self.high, self.low) = (self.ltp, self.ltp, self.ltp);
        (self.volume, self.turnover) = (0, 0);
    }
}

fn whole_second(time: UnixNanos) -> UnixNanos {
    UnixNanos::from_secs(time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trades_keep_the_days_figures_consistent() {
        let rupees = Price::from_rupees;
        let start = UnixNanos::from_millis(1_770_698_730_900);
        let mut quote = Quote::starting(rupees(100), rupees(101), 10, start);
        quote.trade(rupees(103), 30, start.plus(std::time::Duration::from_secs(2)));
        // A clock that steps back takes no trade time with it.
        quote.trade(rupees(98), 40, start);
        assert_eq!((quote.high, quote.low, quote.ltp), (rupees(103), rupees(98), rupees(98)));
        assert_eq!((quote.volume, quote.ltq), (80, 40));
        assert_eq!(quote.average().to_string(), "100.25");
        assert_eq!(quote.last_trade, UnixNanos::from_secs(1_770_698_732));
        assert!((quote.percent_change() + 2.0).abs() < 1e-12);
        quote.new_day();
        assert_eq!((quote.close, quote.open, quote.volume), (rupees(98), rupees(98), 0));
        assert_eq!(quote.average(), rupees(98));
    }
}
