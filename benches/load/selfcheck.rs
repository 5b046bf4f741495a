//! Proves the load client before anything is measured with it: scanners are given streams cut at random, and must
//! find in them what is known to be in them.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::check::{Ages, Checker};
use super::scan::{Scan, Tally, WebSocket};
use super::ticks::{SendTimes, Tick, VOLUME, name};

const SYMBOLS: usize = 7;
const TICKS: u64 = 500;

/// A frame's text, of varying length.
pub(crate) fn payload(tick: Tick) -> Vec<u8> {
    let (symbol, filling) = (name(tick.symbol), "x".repeat((tick.number % 120) as usize));
    format!(
        "{{\"type\":\"market_data\",\"symbol\":\"{symbol}\",\"mode\":1,\"data\":{{\"symbol\":\"{symbol}\",\
         \"filling\":\"{filling}\",\"volume\":{},\"timestamp\":1}}}}",
        tick.volume()
    )
    .into_bytes()
}

/// Every tick, framed by `frame`, must be found by scanners of this kind, however the stream is cut, counting and
/// reading; and one that is missing must be noticed.
pub(crate) fn scanner<S: Scan>(new: impl Fn() -> S, frame: impl Fn(Tick, &mut Vec<u8>)) {
    let stream = |leave_out: Option<u64>| {
        let mut stream = Vec::new();
        for number in (0..TICKS).filter(|number| Some(*number) != leave_out) {
            frame(Tick { number, symbol: (number % SYMBOLS as u64) as usize }, &mut stream);
        }
        stream
    };
    for seed in 0..20 {
        let all = stream(None);
        assert_eq!(scan(new(), &all, seed, None), (TICKS, None), "counted by headers, seed {seed}");
        let reading = || Some(Checker::new(SYMBOLS, &(0..SYMBOLS).collect::<Vec<_>>()));
        assert_eq!(scan(new(), &all, seed, reading()), (TICKS, None), "read whole, seed {seed}");
        let (count, wrong) = scan(new(), &stream(Some(TICKS / 2)), seed, reading());
        assert_eq!(count, TICKS - 1);
        assert!(wrong.is_some_and(|why| why.contains("was next")), "a missing tick is noticed");
    }
}

fn scan<S: Scan>(
    mut scan: S,
    stream: &[u8],
    seed: u64,
    mut checker: Option<Checker>,
) -> (u64, Option<String>) {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut ages, times) = (Ages::new(), SendTimes::new());
    let (mut frames, mut carry, mut rest) = (0, Vec::new(), stream);
    // Pieces of a few bytes and of many frames.
    let most = if seed.is_multiple_of(2) { 40 } else { 4_000 };
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.random_range(1..=most).min(rest.len()));
        rest = after;
        carry.extend_from_slice(piece);
        let mut tally = Tally {
            frames: 0,
            other: 0,
            reply: Vec::new(),
            end: None,
            checker: checker.as_mut(),
            ages: &mut ages,
            times: &times,
        };
        let used = scan.scan(&carry, &mut tally);
        frames += tally.frames;
        assert_eq!(tally.end, None);
        carry.drain(..used);
    }
    assert!(carry.is_empty(), "bytes are left: {carry:?}");
    (frames, checker.and_then(|checker| checker.wrong))
}

/// A server's frame.
fn push(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    if payload.len() < 126 {
        out.push(payload.len() as u8);
    } else {
        out.push(126);
        out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    }
    out.extend_from_slice(payload);
}

/// The scanner of WebSocket frames.
pub(crate) fn websocket() {
    scanner(WebSocket::default, |tick, out| {
        if tick.number.is_multiple_of(10) {
            push(9, b"ping", out);
            push(1, b"{\"type\":\"state\",\"state\":\"live\"}", out);
        }
        push(1, &payload(tick), out);
    });
    records();
    assert_eq!(super::check::digits(format!("{VOLUME},").as_bytes()), Some(VOLUME));
}

/// Records of `tickgate.v1`: many in a message, some that are no market data, some longer than they need be.
fn records() {
    scanner(WebSocket::default, |tick, out| {
        let mut records = Vec::new();
        let mut push_record = |kind: u8, len: u16, tick: Tick| {
            let start = records.len();
            records.resize(start + usize::from(len), 0);
            let mut put = |at: usize, bytes: &[u8]| {
                records[start + at..start + at + bytes.len()].copy_from_slice(bytes);
            };
            put(0, &len.to_le_bytes());
            put(2, &[kind]);
            put(4, &(100 + tick.symbol as u32).to_le_bytes());
            put(48, &(tick.price() * 10_000_000).to_le_bytes());
            put(64, &tick.volume().to_le_bytes());
        };
        if tick.number.is_multiple_of(10) {
            push_record(2, 96, tick);
        }
        push_record(16 + (tick.number % 3) as u8, 80 + 8 * (tick.number % 50) as u16, tick);
        push(2, &records, out);
    });
}
