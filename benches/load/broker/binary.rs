//! Ticks as `xts-binary-packet` in layout B: messages that were laid out once, with what moves put in.

use super::push_header;
use crate::load::ticks::{CLOSE, FIRST_CODE, HIGH, LAST_SIZE, LOW, Tick};

/// The event that the attachment belongs to.
const EVENT: &[u8] = b"451-[\"xts-binary-packet\",{\"_placeholder\":true,\"num\":0}]";
/// Engine.IO's type byte of an attachment.
const ATTACHMENT: u8 = 4;

pub(super) struct Encoder {
    messages: Vec<Vec<u8>>,
    at: Places,
    sequence: i64,
}

/// Where a message's moving parts stand.
#[derive(Clone, Debug, Default)]
struct Places {
    sequence: usize,
    times: Vec<usize>,
    /// Those of best bid and best ask.
    bids: Vec<usize>,
    asks: Vec<usize>,
    last: usize,
    volume: usize,
    change: usize,
}

impl Encoder {
    pub(super) fn new(symbols: usize, code: u16) -> Self {
        let (messages, mut places): (Vec<_>, Vec<_>) =
            (0..symbols).map(|symbol| lay_out(symbol, code)).unzip();
        let at = places.pop().expect("there is an instrument");
        Self { messages, at, sequence: 1_770_698_730_000_000 }
    }

    /// Appends one event with all of them.
    pub(super) fn encode(&mut self, ticks: &[Tick], time: i64, out: &mut Vec<u8>) {
        push_header(1, EVENT.len(), out);
        out.extend_from_slice(EVENT);
        push_header(2, 1 + ticks.len() * self.messages[0].len(), out);
        out.push(ATTACHMENT);
        for tick in ticks {
            let start = out.len();
            out.extend_from_slice(&self.messages[tick.symbol]);
            self.sequence += 1;
            self.fill(&mut out[start..], *tick, time);
        }
    }

    fn fill(&self, message: &mut [u8], tick: Tick, time: i64) {
        let mut put = |at: usize, value: [u8; 8]| message[at..at + 8].copy_from_slice(&value);
        put(self.at.sequence, self.sequence.to_le_bytes());
        for at in &self.at.times {
            put(*at, time.to_le_bytes());
        }
        let price = tick.price();
        for at in &self.at.bids {
            put(*at, rupees(price - 5).to_le_bytes());
        }
        for at in &self.at.asks {
            put(*at, rupees(price + 5).to_le_bytes());
        }
        put(self.at.last, rupees(price).to_le_bytes());
        put(self.at.volume, tick.volume().to_le_bytes());
        put(self.at.change, ((price - CLOSE) as f64 * 100.0 / CLOSE as f64).to_le_bytes());
    }
}

fn rupees(paise: i64) -> f64 {
    paise as f64 / 100.0
}

/// A message of an instrument, and where its moving parts stand.
fn lay_out(symbol: usize, code: u16) -> (Vec<u8>, Places) {
    let id = (FIRST_CODE + symbol) as i32;
    let (mut out, mut at) = (Vec::new(), Places::default());
    // Header: not compressed, code, segment, instrument, book type, market type, the body's length.
    out.push(0);
    put(&mut out, &code.to_le_bytes());
    put(&mut out, &1_i16.to_le_bytes());
    put(&mut out, &id.to_le_bytes());
    put(&mut out, &[1, 0, 1, 0]);
    let length = out.len();
    put(&mut out, &[0, 0]);
    let body = out.len();
    // Head: code, version 4, application, token, sequence, no extended properties, segment, instrument, time.
    put(&mut out, &code.to_le_bytes());
    put(&mut out, &[4, 0, 0, 0]);
    put(&mut out, &0_i64.to_le_bytes());
    at.sequence = put(&mut out, &0_i64.to_le_bytes());
    put(&mut out, &0_i32.to_le_bytes());
    put(&mut out, &1_i16.to_le_bytes());
    put(&mut out, &id.to_le_bytes());
    at.times.push(put(&mut out, &0_i64.to_le_bytes()));
    if code == 1502 {
        for (step, best) in [(-10, &mut at.bids), (10, &mut at.asks)] {
            put(&mut out, &5_i32.to_le_bytes());
            for level in 0..5 {
                let price = row(&mut out, 100 + level, LOW + step * (level + 1));
                if level == 0 {
                    best.push(price);
                }
            }
        }
    }
    at.bids.push(row(&mut out, 120, LOW));
    at.asks.push(row(&mut out, 85, LOW));
    at.times.push(put(&mut out, &0_i64.to_le_bytes()));
    at.last = put(&mut out, &0_f64.to_le_bytes());
    for quantity in [LAST_SIZE, 312_345, 401_234] {
        put(&mut out, &quantity.to_le_bytes());
    }
    at.volume = put(&mut out, &0_i64.to_le_bytes());
    put(&mut out, &rupees(CLOSE).to_le_bytes());
    at.times.push(put(&mut out, &0_i64.to_le_bytes()));
    at.change = put(&mut out, &0_f64.to_le_bytes());
    for price in [LOW, HIGH, LOW, CLOSE] {
        put(&mut out, &rupees(price).to_le_bytes());
    }
    // The value traded is NaN on live servers; then buy-backs, book type, market type.
    put(&mut out, &0xfff8_0000_0000_0000_u64.to_le_bytes());
    put(&mut out, &[0, 0, 0, 0, 1, 0, 1, 0]);
    let len = (out.len() - body) as u16;
    assert_eq!(len, if code == 1502 { 432 } else { 204 }, "layout B");
    out[length..length + 2].copy_from_slice(&len.to_le_bytes());
    (out, at)
}

/// Appends, and says where.
fn put(out: &mut Vec<u8>, bytes: &[u8]) -> usize {
    let at = out.len();
    out.extend_from_slice(bytes);
    at
}

/// A row of the book; says where its price stands.
fn row(out: &mut Vec<u8>, size: i64, price: i64) -> usize {
    put(out, &size.to_le_bytes());
    let at = put(out, &rupees(price).to_le_bytes());
    put(out, &3_u32.to_le_bytes());
    put(out, &0_i16.to_le_bytes());
    at
}
