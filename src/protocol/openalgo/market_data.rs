//! Writes market-data frames as OpenAlgo's clients read them: every spelling of every field.
//! Not the WebSocket header, and not the decision who gets what: the hub does both.

use crate::clock::UnixNanos;
use crate::market::{Bar, DEPTH_LEVELS, Depth, DepthSide, Exchange, LastTrade, Price, Quote};
use crate::protocol::Mode;
use crate::protocol::openalgo::frames::push_string;
use crate::protocol::openalgo::number::{push_hundredths, push_i64, push_price};

/// The part of a frame that is the same for every tick of a topic: all that stands before
/// the last price. The envelope's `symbol` and `exchange` come before `data`, because the
/// AmiBroker plugin takes the first it finds; they stand in `data` again for the charts client.
pub fn prefix(symbol: &str, exchange: Exchange, mode: Mode, broker: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(192);
    push_envelope(symbol, exchange, mode, &mut out);
    push_data(symbol, exchange, mode, broker, &mut out);
    out.shrink_to_fit();
    out
}

/// The same for frames that carry sequence numbers: what stands before the number, and what stands
/// between it and the last price. `epoch` tells one life of the server from another.
pub fn numbered_prefix(
    symbol: &str,
    exchange: Exchange,
    mode: Mode,
    broker: &str,
    epoch: u32,
) -> (Vec<u8>, Vec<u8>) {
    let (mut head, mut rest) = (Vec::with_capacity(128), Vec::with_capacity(128));
    push_envelope(symbol, exchange, mode, &mut head);
    push_integer(b",\"epoch\":", i64::from(epoch), &mut head);
    head.extend_from_slice(b",\"seq\":");
    push_data(symbol, exchange, mode, broker, &mut rest);
    (head, rest)
}

/// Appends the sequence number of a frame behind what [`numbered_prefix`] puts before it.
pub fn push_sequence(sequence: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(sequence).as_bytes());
}

fn push_envelope(symbol: &str, exchange: Exchange, mode: Mode, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"market_data\",");
    push_name(symbol, exchange, mode, out);
}

fn push_data(symbol: &str, exchange: Exchange, mode: Mode, broker: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"broker\":");
    push_string(broker, out);
    out.extend_from_slice(b",\"data\":{");
    push_name(symbol, exchange, mode, out);
    out.extend_from_slice(b",\"ltp\":");
}

/// `mode` is a JSON integer: the Python client drops the frame silently otherwise.
fn push_name(symbol: &str, exchange: Exchange, mode: Mode, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"symbol\":");
    push_string(symbol, out);
    out.extend_from_slice(b",\"exchange\":");
    push_string(exchange.as_str(), out);
    out.extend_from_slice(b",\"mode\":");
    out.push(b'0' + mode.number());
}

/// Appends an LTP frame: mode 1. `volume` is left out until it is known.
pub fn write_ltp(prefix: &[u8], last: &LastTrade, volume: Option<i64>, recv: UnixNanos, out: &mut Vec<u8>) {
    out.extend_from_slice(prefix);
    push_price(last.price, out);
    push_trade_time(last.time, out);
    push_integer(b",\"ltq\":", last.size, out);
    push_integer(b",\"last_trade_quantity\":", last.size, out);
    if let Some(volume) = volume {
        push_integer(b",\"volume\":", volume, out);
    }
    push_end(recv, out);
}

/// Appends a Quote frame: mode 2. `oi` is left out until it is known.
pub fn write_quote(prefix: &[u8], quote: &Quote, oi: Option<i64>, recv: UnixNanos, out: &mut Vec<u8>) {
    let last = &quote.last;
    out.extend_from_slice(prefix);
    push_price(last.price, out);
    push_trade_time(last.time, out);
    push_ohl(quote, out);
    push_decimal(b",\"prev_close\":", quote.close, out);
    push_integer(b",\"volume\":", quote.volume, out);
    push_integer(b",\"last_trade_quantity\":", last.size, out);
    push_integer(b",\"last_quantity\":", last.size, out);
    push_integer(b",\"ltq\":", last.size, out);
    push_decimal(b",\"avg_trade_price\":", quote.average, out);
    push_decimal(b",\"average_price\":", quote.average, out);
    let change = change(last.price, quote.close);
    out.extend_from_slice(b",\"change\":");
    push_hundredths(change.hundredths, out);
    out.extend_from_slice(b",\"change_percent\":");
    push_hundredths(change.percent_hundredths, out);
    push_totals(quote, out);
    if let Some(oi) = oi {
        push_integer(b",\"oi\":", oi, out);
    }
    push_decimal(b",\"bid_price\":", quote.bid.price, out);
    push_integer(b",\"bid_size\":", quote.bid.size, out);
    push_decimal(b",\"ask_price\":", quote.ask.price, out);
    push_integer(b",\"ask_size\":", quote.ask.size, out);
    push_end(recv, out);
}

/// What a Depth frame shows beside the book, of messages that are not the book's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Left out until it is known.
    pub open_interest: Option<i64>,
    /// The upper limit of the day's price band, zero if not known.
    pub upper: Price,
    /// The lower limit, zero if not known.
    pub lower: Price,
}

/// Appends a Depth frame: mode 3, completed by the instrument's last quote.
pub fn write_depth(
    prefix: &[u8],
    quote: &Quote,
    depth: &Depth,
    beside: &Beside,
    recv: UnixNanos,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(prefix);
    push_price(quote.last.price, out);
    push_trade_time(quote.last.time, out);
    push_integer(b",\"volume\":", quote.volume, out);
    push_ohl(quote, out);
    if let Some(oi) = beside.open_interest {
        push_integer(b",\"oi\":", oi, out);
    }
    push_totals(quote, out);
    // Unknown limits are a bare zero, as OpenAlgo's XTS adapters always send them.
    for (key, limit) in [(&b",\"upper_circuit\":"[..], beside.upper), (b",\"lower_circuit\":", beside.lower)]
    {
        out.extend_from_slice(key);
        if limit.is_positive() {
            push_price(limit, out);
        } else {
            out.push(b'0');
        }
    }
    out.extend_from_slice(b",\"depth\":{\"buy\":[");
    push_side(&depth.bids, out);
    out.extend_from_slice(b"],\"sell\":[");
    push_side(&depth.asks, out);
    out.extend_from_slice(b"]}");
    push_end(recv, out);
}

/// Appends a Bar frame: mode 4, tickgate's own. `timestamp` is the bar's start, `ltp` its close.
pub fn write_bar(prefix: &[u8], bar: &Bar, out: &mut Vec<u8>) {
    out.extend_from_slice(prefix);
    push_price(bar.close, out);
    out.extend_from_slice(b",\"interval\":\"1m\"");
    push_decimal(b",\"open\":", bar.open, out);
    push_decimal(b",\"high\":", bar.high, out);
    push_decimal(b",\"low\":", bar.low, out);
    push_decimal(b",\"close\":", bar.close, out);
    push_integer(b",\"volume\":", bar.volume, out);
    push_integer(b",\"oi\":", bar.open_interest, out);
    push_end(bar.start, out);
}

/// All five levels, empty ones as zeros: the charts client reads a fixed number.
fn push_side(side: &DepthSide, out: &mut Vec<u8>) {
    for index in 0..DEPTH_LEVELS {
        let level = side.level(index);
        out.extend_from_slice(if index == 0 { b"{\"price\":" } else { b",{\"price\":" });
        push_price(level.price, out);
        push_integer(b",\"quantity\":", level.size, out);
        push_integer(b",\"orders\":", i64::from(level.orders), out);
        out.push(b'}');
    }
}

/// Open, high, low and the previous close. Never `null`: the Python client loses the callback.
fn push_ohl(quote: &Quote, out: &mut Vec<u8>) {
    push_decimal(b",\"open\":", quote.open, out);
    push_decimal(b",\"high\":", quote.high, out);
    push_decimal(b",\"low\":", quote.low, out);
    push_decimal(b",\"close\":", quote.close, out);
}

fn push_totals(quote: &Quote, out: &mut Vec<u8>) {
    push_integer(b",\"total_buy_quantity\":", quote.total_buy, out);
    push_integer(b",\"total_sell_quantity\":", quote.total_sell, out);
}

/// `ltt` in epoch milliseconds; left out if there never was a trade.
fn push_trade_time(time: UnixNanos, out: &mut Vec<u8>) {
    if time > UnixNanos::ZERO {
        push_integer(b",\"ltt\":", time.as_millis(), out);
    }
}

fn push_end(at: UnixNanos, out: &mut Vec<u8>) {
    push_integer(b",\"timestamp\":", at.as_millis(), out);
    out.extend_from_slice(b"}}");
}

fn push_integer<const N: usize>(key: &[u8; N], value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    push_i64(value, out);
}

fn push_decimal<const N: usize>(key: &[u8; N], value: Price, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    push_price(value, out);
}

/// The change since the previous close, in hundredths of a rupee and of a per cent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    hundredths: i64,
    percent_hundredths: i64,
}

/// Units of [`Price`] in a hundredth.
const HUNDREDTH: i64 = 10_000_000;

/// Rounds half away from zero. Both are zero if there is no previous close.
fn change(last: Price, close: Price) -> Change {
    if !close.is_positive() {
        return Change { hundredths: 0, percent_hundredths: 0 };
    }
    let difference = last.as_nanos().saturating_sub(close.as_nanos());
    let percent = match difference.checked_mul(10_000) {
        Some(scaled) => divide_rounded(scaled, close.as_nanos()),
        None => divide_rounded_wide(i128::from(difference) * 10_000, close.as_nanos()),
    };
    Change { hundredths: divide_rounded(difference, HUNDREDTH), percent_hundredths: percent }
}

/// `divisor` is above zero.
fn divide_rounded(value: i64, divisor: i64) -> i64 {
    let (quotient, rest) = (value / divisor, value % divisor);
    // rest.abs() < divisor, so the doubled rest fits where divisor is at most half the range;
    // comparing with the difference avoids the doubling.
    if rest.abs() >= divisor - rest.abs() { quotient + value.signum() } else { quotient }
}

fn divide_rounded_wide(value: i128, divisor: i64) -> i64 {
    let divisor = i128::from(divisor);
    let (quotient, rest) = (value / divisor, value % divisor);
    let rounded = if rest.abs() * 2 >= divisor { quotient + value.signum() } else { quotient };
    i64::try_from(rounded).unwrap_or(if rounded > 0 { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
#[path = "market_data_tests.rs"]
mod tests;
