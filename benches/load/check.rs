//! Checks one consumer's frames: which tick each is, that none of its instrument is missing or comes twice, and how
//! old it is. Counting alone is `scan`'s.

use hdrhistogram::Histogram;
use memchr::memmem;

use super::ticks::{SendTimes, Tick, VOLUME};

/// A key whose value is looked up in every frame. Frames of one kind have it in the same place nearly always.
#[derive(Clone, Copy, Debug)]
struct Key {
    text: &'static [u8],
    at: usize,
}

impl Key {
    const fn new(text: &'static [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// What follows the key's first appearance.
    fn value<'a>(&mut self, payload: &'a [u8]) -> Option<&'a [u8]> {
        let here = payload.get(self.at..self.at + self.text.len());
        if here != Some(self.text) {
            self.at = memmem::find(payload, self.text)?;
        }
        payload.get(self.at + self.text.len()..)
    }
}

/// The digits at the start of a text, as a number.
pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if len == 0 || len > 18 {
        return None;
    }
    Some(text[..len].iter().fold(0, |number, byte| number * 10 + u64::from(byte - b'0')))
}

/// What one consumer must get next.
#[derive(Debug)]
pub(crate) struct Checker {
    symbol: Key,
    volume: Key,
    /// By instrument: its number in records, once it is known.
    numbers: Vec<Option<u32>>,
    /// By instrument: the number of the tick that is next, `u64::MAX` for one that was not asked for.
    next: Vec<u64>,
    /// The first thing that was wrong.
    pub(crate) wrong: Option<String>,
    /// The shortest and the longest payload.
    pub(crate) lengths: (usize, usize),
}

impl Checker {
    pub(crate) fn new(symbols: usize, set: &[usize]) -> Self {
        let mut next = vec![u64::MAX; symbols];
        for &symbol in set {
            next[symbol] = symbol as u64;
        }
        Self {
            symbol: Key::new(b"\"symbol\":\"LG"),
            volume: Key::new(b"\"volume\":"),
            numbers: vec![None; symbols],
            next,
            wrong: None,
            lengths: (usize::MAX, 0),
        }
    }

    /// Takes one frame, returns its tick's number.
    pub(crate) fn take(&mut self, payload: &[u8]) -> Option<u64> {
        let symbol = self.symbol.value(payload).and_then(digits);
        let volume = self.volume.value(payload).and_then(digits);
        let (Some(symbol), Some(volume)) = (symbol, volume) else {
            self.is_wrong(|| "a frame names no instrument or no volume".to_owned(), payload);
            return None;
        };
        let tick = self.tick(volume, payload)?;
        if tick.symbol as u64 != symbol {
            self.is_wrong(|| format!("tick {} is not of instrument {symbol}", tick.number), payload);
            return None;
        }
        Some(self.advance(tick, payload))
    }

    /// Takes one record of `tickgate.v1`, whole: at 4 the instrument's number, at 48 the price in 1e-9 of a rupee,
    /// at 64 the volume.
    pub(crate) fn take_record(&mut self, record: &[u8]) -> Option<u64> {
        let long = |at: usize| record.get(at..at + 8)?.try_into().ok().map(i64::from_le_bytes);
        let instrument = record.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        let (Some(instrument), Some(price), Some(volume)) = (instrument, long(48), long(64)) else {
            self.is_wrong(|| "a record is too short".to_owned(), record);
            return None;
        };
        let tick = self.tick(volume as u64, record)?;
        if *self.numbers[tick.symbol].get_or_insert(instrument) != instrument
            || price != tick.price() * 10_000_000
        {
            self.is_wrong(|| format!("tick {} is not of instrument {instrument}", tick.number), record);
            return None;
        }
        Some(self.advance(tick, record))
    }

    fn tick(&mut self, volume: u64, payload: &[u8]) -> Option<Tick> {
        let Some(number) = volume.checked_sub(VOLUME) else {
            self.is_wrong(|| format!("volume {volume} was never published"), payload);
            return None;
        };
        Some(Tick { number, symbol: (number % self.next.len() as u64) as usize })
    }

    fn advance(&mut self, tick: Tick, payload: &[u8]) -> u64 {
        let Tick { number, symbol } = tick;
        let due = self.next[symbol];
        if due != number {
            self.is_wrong(|| format!("tick {number} of instrument {symbol}, {due} was next"), payload);
        }
        self.next[symbol] = number + self.next.len() as u64;
        self.lengths = (self.lengths.0.min(payload.len()), self.lengths.1.max(payload.len()));
        number
    }

    fn is_wrong(&mut self, what: impl FnOnce() -> String, payload: &[u8]) {
        if self.wrong.is_none() {
            let start = String::from_utf8_lossy(&payload[..payload.len().min(300)]).into_owned();
            self.wrong = Some(format!("{}: {start}", what()));
        }
    }
}

/// Ages of frames when they were read, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Ages {
    pub(crate) histogram: Histogram<u64>,
    /// When the bytes at hand were read.
    pub(crate) now: u64,
    pub(crate) recording: bool,
}

impl Ages {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are good");
        Self { histogram, now: 0, recording: false }
    }

    pub(crate) fn record(&mut self, number: u64, times: &SendTimes) {
        if self.recording {
            self.histogram.saturating_record(self.now.saturating_sub(times.get(number)).max(1));
        }
    }
}
