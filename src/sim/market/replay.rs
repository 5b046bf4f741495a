//! A capture of a real exchange, and how one instrument follows it. Not a model: prices are
//! scaled onto the instrument's previous close and tick grid, sizes are times 1000, and the
//! moments are the capture's own.
//!
//! A line is `<local receive time, ns> <JSON message>` of the Binance USD-M futures streams
//! `bookTicker`, `trade` and `depthUpdate`.

use std::collections::BTreeMap;
use std::io::Read as _;

use serde::Deserialize;

use super::quote::Quote;
use super::{Change, hash};
use crate::clock::UnixNanos;
use crate::market::{DEPTH_LEVELS, Level, Price};
use crate::sim::instruments::{Kind, Listing, OnGrid as _};

/// 62 seconds with the capture's busiest 10 ms and busiest second. Source and licence stand
/// beside the file.
const BUILT_IN: &[u8] =
    include_bytes!("../../../tests/fixtures/replay/binance-usdm-btcusdt-20240808-slice.jsonl.gz");

/// A capture may unpack to so many bytes.
const MAX_BYTES: u64 = 1 << 30;

/// A side's best levels: price in 1e-9, size times 1000.
type Side = [(i64, i64); DEPTH_LEVELS];

/// One message of the capture, with the book after it.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// Nanoseconds since the first step.
    at: u64,
    /// Price and size × 1000.
    trade: Option<(i64, i64)>,
    bids: Side,
    asks: Side,
}

/// A whole capture, ready to be followed.
#[derive(Debug)]
pub(crate) struct Capture {
    steps: Vec<Step>,
    /// Price of the first trade: what the previous close is compared with.
    base: i64,
    /// Duration, with a pause after the last step as long as the average one.
    period: u64,
}

/// Why a capture cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be read or unpacked.
    #[error("cannot read the capture: {0}")]
    Io(#[from] std::io::Error),
    /// A line is not what the format says.
    #[error("line {0} of the capture is no message of a known stream")]
    Line(usize),
    /// Nothing to follow.
    #[error("the capture has no trade with five levels a side known")]
    Empty,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Message<'a>,
}

#[derive(Deserialize)]
#[serde(tag = "e")]
enum Message<'a> {
    #[serde(rename = "bookTicker")]
    Best {
        #[serde(rename = "b")]
        bid: &'a str,
        #[serde(rename = "B")]
        bid_size: &'a str,
        #[serde(rename = "a")]
        ask: &'a str,
        #[serde(rename = "A")]
        ask_size: &'a str,
    },
    #[serde(rename = "trade")]
    Trade {
        #[serde(rename = "p")]
        price: &'a str,
        #[serde(rename = "q")]
        size: &'a str,
    },
    #[serde(rename = "depthUpdate")]
    Depth {
        #[serde(rename = "b", borrow)]
        bids: Vec<(&'a str, &'a str)>,
        #[serde(rename = "a", borrow)]
        asks: Vec<(&'a str, &'a str)>,
    },
}

impl Capture {
    /// The slice inside the program.
    ///
    /// # Errors
    /// None in practice: a test reads it.
    pub(crate) fn built_in() -> Result<Self, CaptureError> {
        Self::read(BUILT_IN)
    }

    /// Reads a capture, gzip or plain.
    ///
    /// # Errors
    /// If it cannot be unpacked, a line is malformed, or there is nothing to follow.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, CaptureError> {
        let mut text = String::new();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            flate2::read::GzDecoder::new(bytes).take(MAX_BYTES).read_to_string(&mut text)?;
        } else {
            bytes.take(MAX_BYTES).read_to_string(&mut text)?;
        }
        let mut book = Book::default();
        let mut steps = Vec::new();
        let (mut first, mut base) = (None, None);
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let (at, message) = parse(line).ok_or(CaptureError::Line(number + 1))?;
            let trade = book.apply(&message).ok_or(CaptureError::Line(number + 1))?;
            // A slice starts in the middle of things: wait until the book is known.
            let Some((bids, asks)) = book.best() else { continue };
            let first = *first.get_or_insert(at);
            if base.is_none() {
                base = trade.map(|(price, _)| price);
            }
            steps.push(Step { at: at.saturating_sub(first), trade, bids, asks });
        }
        let (Some(base), Some(last)) = (base, steps.last()) else { return Err(CaptureError::Empty) };
        let period = last.at + last.at / steps.len() as u64 + 1;
        Ok(Self { steps, base, period })
    }

    /// Messages in it.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }
}

fn parse(line: &str) -> Option<(u64, Message<'_>)> {
    let (at, json) = line.split_once(' ')?;
    let envelope: Envelope<'_> = serde_json::from_str(json).ok()?;
    Some((at.parse().ok()?, envelope.data))
}

/// The capture's order book: price to size, both as integers.
#[derive(Default)]
struct Book {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
    best: Option<(i64, i64)>,
}

impl Book {
    /// Takes one message in; the trade, if it was one. `None` if a number is none.
    #[expect(clippy::option_option, reason = "outer: readable; inner: a trade")]
    fn apply(&mut self, message: &Message<'_>) -> Option<Option<(i64, i64)>> {
        match message {
            Message::Best { bid, bid_size, ask, ask_size } => {
                let (bid, ask) = (price(bid)?, price(ask)?);
                self.bids.insert(bid, size(bid_size)?);
                self.asks.insert(ask, size(ask_size)?);
                self.best = Some((bid, ask));
                self.uncross();
                Some(None)
            }
            Message::Trade { price: traded, size: quantity } => {
                Some(Some((price(traded)?, size(quantity)?.max(1))))
            }
            Message::Depth { bids, asks } => {
                for (rows, side) in [(bids, &mut self.bids), (asks, &mut self.asks)] {
                    for (at, quantity) in rows {
                        match size(quantity)? {
                            0 => side.remove(&price(at)?),
                            quantity => side.insert(price(at)?, quantity),
                        };
                    }
                }
                self.uncross();
                Some(None)
            }
        }
    }

    /// The stream of the best prices runs ahead of the stream of levels: levels better than
    /// the best are gone already.
    fn uncross(&mut self) {
        let Some((bid, ask)) = self.best else { return };
        self.bids.split_off(&(bid + 1));
        let rest = self.asks.split_off(&ask);
        self.asks = rest;
    }

    fn best(&self) -> Option<(Side, Side)> {
        self.best?;
        Some((side(self.bids.iter().rev())?, side(self.asks.iter())?))
    }
}

fn side<'a>(levels: impl Iterator<Item = (&'a i64, &'a i64)>) -> Option<Side> {
    let mut found = Side::default();
    let mut count = 0;
    for (slot, (price, size)) in found.iter_mut().zip(levels) {
        *slot = (*price, *size);
        count += 1;
    }
    (count == DEPTH_LEVELS).then_some(found)
}

fn price(text: &str) -> Option<i64> {
    Price::parse(text.as_bytes()).map(Price::as_nanos)
}

/// Thousandths: the exchange's step.
fn size(text: &str) -> Option<i64> {
    Price::parse(text.as_bytes()).map(|p| p.as_nanos() / 1_000_000)
}

/// One instrument's way through the capture.
#[derive(Debug)]
pub(super) struct Follower {
    /// Index of the next step, counted on through every repetition.
    next: usize,
    /// Where it started.
    first: usize,
    stride: usize,
    /// Percentage moves of the capture times this, in thousandths.
    scale_milli: i64,
    /// What a move of 0 % is: the previous close.
    base: Price,
}

impl Follower {
    /// The way of `listing`, and its values at the start.
    pub(super) fn start(listing: &Listing, capture: &Capture, seed: u64, now: UnixNanos) -> (Self, Quote) {
        let mixed = hash(listing).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed).rotate_left(17);
        let scale_milli = match listing.kind {
            Kind::Index => 300 + (mixed % 300) as i64,
            Kind::Share => 600 + (mixed % 1400) as i64,
            Kind::Future { .. } => 400 + (mixed % 600) as i64,
            Kind::Option { .. } => 4000 + (mixed % 6000) as i64,
        };
        let first = (mixed >> 20) as usize % capture.len();
        let follower = Self {
            next: first,
            first,
            stride: listing.activity.stride.max(1),
            scale_milli,
            base: listing.previous_close,
        };
        let step = &capture.steps[first];
        let price = follower.nearest(capture, listing, step.bids[0].0.midpoint(step.asks[0].0));
        let lot = if matches!(listing.kind, Kind::Index) { 0 } else { i64::from(listing.lot) };
        let mut quote = Quote::starting(listing.previous_close, price, lot, now);
        quote.ltq = lot;
        if listing.id.segment.has_open_interest() {
            quote.open_interest = lot * (2_000 + (mixed % 38_000) as i64);
        }
        follower.book(capture, listing, step, &mut quote);
        (follower, quote)
    }

    /// Nanoseconds from the start of the replay to the next step; `None` if it is over.
    pub(super) fn due(&self, capture: &Capture, again: bool) -> Option<u64> {
        if !again && self.next >= self.first + capture.len() {
            return None;
        }
        let from_first = |index: usize| {
            let (rounds, within) = (index / capture.len(), index % capture.len());
            rounds as u64 * capture.period + capture.steps[within].at
        };
        Some(from_first(self.next) - from_first(self.first))
    }

    /// One update of `quote`.
    pub(super) fn step(
        &mut self,
        listing: &Listing,
        capture: &Capture,
        quote: &mut Quote,
        now: UnixNanos,
    ) -> Change {
        let step = &capture.steps[self.next % capture.len()];
        self.next += self.stride;
        self.book(capture, listing, step, quote);
        let Some((price, size)) = step.trade else {
            if matches!(listing.kind, Kind::Index) {
                // An index is computed anew whenever its shares move.
                quote.set_price(self.nearest(capture, listing, step.bids[0].0.midpoint(step.asks[0].0)), now);
            }
            return Change { traded: false, open_interest: false };
        };
        let price = self.nearest(capture, listing, price);
        if matches!(listing.kind, Kind::Index) {
            quote.set_price(price, now);
            return Change { traded: true, open_interest: false };
        }
        quote.trade(price, size, now);
        let open_interest = listing.id.segment.has_open_interest() && size % 4 == 0;
        if open_interest {
            quote.open_interest += i64::from(listing.lot);
        }
        Change { traded: true, open_interest }
    }

    /// A price of the capture on the instrument's scale, off the grid.
    fn scaled(&self, capture: &Capture, price: i64) -> i64 {
        let moved = i128::from(self.base.as_nanos())
            * i128::from(price - capture.base)
            * i128::from(self.scale_milli);
        let moved = moved / (i128::from(capture.base) * 1000);
        self.base.as_nanos().saturating_add(i64::try_from(moved).unwrap_or_default()).max(1)
    }

    fn nearest(&self, capture: &Capture, listing: &Listing, price: i64) -> Price {
        Price::from_nanos(self.scaled(capture, price)).round_to(listing.tick).max(listing.tick)
    }

    fn book(&self, capture: &Capture, listing: &Listing, step: &Step, quote: &mut Quote) {
        if matches!(listing.kind, Kind::Index) {
            return;
        }
        let tick = listing.tick.as_nanos();
        // Bids are rounded down, asks up, and no two levels share a price. One tick is kept
        // free below the lowest bid that can be.
        let mut limit = i64::MAX;
        for (level, &(price, size)) in quote.bids.iter_mut().zip(&step.bids) {
            let ticks = (self.scaled(capture, price) / tick).min(limit - 1);
            limit = ticks;
            *level = if ticks > 0 { level_at(ticks * tick, size) } else { Level::default() };
        }
        let mut limit = quote.bids[0].price.as_nanos() / tick;
        for (level, &(price, size)) in quote.asks.iter_mut().zip(&step.asks) {
            let ticks = ((self.scaled(capture, price) + tick - 1) / tick).max(limit + 1);
            limit = ticks;
            *level = level_at(ticks * tick, size);
        }
        let total = |side: &[Level]| side.iter().map(|l| l.size).sum::<i64>() * 20;
        (quote.total_buy, quote.total_sell) = (total(&quote.bids), total(&quote.asks));
    }
}

fn level_at(price: i64, size: i64) -> Level {
    // The capture tells no number of orders.
    Level { price: Price::from_nanos(price), size, orders: (size as u32 % 17) + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = concat!(
        r#"1000 {"stream":"x@depth@0ms","data":{"e":"depthUpdate","E":1,"b":[["99.0","1"],["98.0","2"],["97.0","3"],["96.0","4"],["95.0","5"],["94.0","6"]],"a":[["101.0","1.5"],["102.0","2"],["103.0","3"],["104.0","4"],["105.0","5"],["100.5","9"]]}}"#,
        "\n",
        r#"2000 {"stream":"x@bookTicker","data":{"e":"bookTicker","b":"98.5","B":"0.007","a":"101.0","A":"1.25"}}"#,
        "\n",
        r#"3500 {"stream":"x@trade","data":{"e":"trade","p":"100.00","q":"0.003"}}"#,
        "\n",
    );

    #[test]
    fn the_book_is_rebuilt_from_both_streams() {
        let capture = Capture::read(LINES.as_bytes()).unwrap();
        assert_eq!(capture.len(), 2);
        let step = &capture.steps[1];
        assert_eq!((step.at, step.trade), (1500, Some((100_000_000_000, 3))));
        // 99.0 and 100.5 were better than the best, so they are gone.
        assert_eq!(step.bids[0], (98_500_000_000, 7));
        assert_eq!(step.bids[1], (98_000_000_000, 2000));
        assert_eq!(step.asks[0], (101_000_000_000, 1250));
        assert!(matches!(Capture::read(b"1 nonsense"), Err(CaptureError::Line(1))));
        assert!(matches!(Capture::read(b""), Err(CaptureError::Empty)));
    }

    #[test]
    fn the_built_in_slice_has_the_famous_burst() {
        let capture = Capture::built_in().unwrap();
        assert!(capture.len() > 24_000, "{}", capture.len());
        let seconds = capture.period / 1_000_000_000;
        assert!((61..64).contains(&seconds), "{seconds}");
        let mut most = 0;
        let mut from = 0;
        for (index, step) in capture.steps.iter().enumerate() {
            while step.at - capture.steps[from].at > 10_000_000 {
                from += 1;
            }
            most = most.max(index - from + 1);
            assert!(step.bids[0].0 < step.asks[0].0);
            assert!(
                step.bids.windows(2).all(|w| w[0].0 > w[1].0)
                    && step.asks.windows(2).all(|w| w[0].0 < w[1].0)
            );
        }
        assert!(most >= 593, "{most}");
    }
}
