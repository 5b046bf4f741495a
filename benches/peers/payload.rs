//! What the peers relay: tickgate's LTP frames, with each tick's price and number put in.

use tickgate::clock::UnixNanos;
use tickgate::market::{Exchange, LastTrade, Price};
use tickgate::protocol::Mode;
use tickgate::protocol::openalgo::market_data;

use crate::load::ticks::{LAST_SIZE, Tick, VOLUME, name};

/// A frame of each instrument; all are of one length.
#[derive(Clone, Debug)]
pub(crate) struct Payloads {
    texts: Vec<Vec<u8>>,
    price_at: usize,
    volume_at: usize,
}

impl Payloads {
    pub(crate) fn new(symbols: usize) -> Self {
        let texts: Vec<_> = (0..symbols).map(text).collect();
        let after =
            |key: &[u8]| memchr::memmem::find(&texts[0], key).expect("the frame has this key") + key.len();
        Self { price_at: after(b"\"ltp\":"), volume_at: after(b"\"volume\":"), texts }
    }

    pub(crate) fn len(&self) -> usize {
        self.texts[0].len()
    }

    /// Appends a tick's frame.
    pub(crate) fn push(&self, tick: Tick, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.texts[tick.symbol]);
        let price = tick.price() as u64;
        let at = start + self.price_at;
        put_digits(&mut out[at..at + 4], price / 100);
        put_digits(&mut out[at + 5..at + 7], price % 100);
        let at = start + self.volume_at;
        put_digits(&mut out[at..at + 13], tick.volume());
    }
}

/// Fills the place with the number's last digits.
fn put_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn text(symbol: usize) -> Vec<u8> {
    let tick = Tick { number: symbol as u64, symbol };
    let time = UnixNanos::from_millis(1_770_698_730_000);
    let price = Price::from_nanos(tick.price() * 10_000_000);
    let last = LastTrade { price, size: LAST_SIZE, time };
    let prefix = market_data::prefix(&name(symbol), Exchange::Nse, Mode::Ltp, "xts");
    let mut out = Vec::new();
    market_data::write_ltp(&prefix, &last, Some(VOLUME as i64), time, &mut out);
    out
}
