//! Writes records. Each of fixed length is put together on the stack and appended at once.

use crate::clock::UnixNanos;
use crate::market::{Bar, DEPTH_LEVELS, Depth, DepthSide, Price, Quote};
use crate::protocol::binary::layout::{
    self, bar, conflated, depth, directory, heartbeat, hello, ltp, open_interest, quote, state,
};
use crate::protocol::binary::{
    Body, Conflated, Directory, Header, Heartbeat, Hello, Kind, Ltp, MAGIC, State, UNKNOWN,
};
use crate::protocol::openalgo::market_data::Beside;

/// Seconds of the bars there are.
const BAR_SECONDS: u32 = 60;

impl Body<'_> {
    /// Appends the record. A body of an unknown kind is not written.
    pub fn write(&self, header: &Header, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => write_hello(header, *hello, out),
            Self::Directory(entry) => write_directory(header, entry, out),
            Self::State(state) => write_state(header, state, out),
            Self::Conflated(what) => write_conflated(header, *what, out),
            Self::Heartbeat(beat) => write_heartbeat(header, *beat, out),
            Self::Ltp(ltp) => write_ltp(header, ltp, out),
            Self::Quote(fields) => write_quote(header, &fields.quote, fields.open_interest, out),
            Self::Depth(fields) => write_depth(header, &fields.quote, &fields.depth, &fields.beside, out),
            Self::OpenInterest(interest) => write_open_interest(header, *interest, out),
            Self::Bar(bar) => write_bar(header, bar, out),
            Self::Unknown(_) => {}
        }
    }
}

/// Appends an Ltp record.
#[inline]
pub fn write_ltp(header: &Header, body: &Ltp, out: &mut Vec<u8>) {
    let mut record = begin::<{ ltp::SIZE }>(Kind::Ltp, header);
    put_price(&mut record, ltp::PRICE, body.last.price);
    put_i64(&mut record, ltp::QUANTITY, body.last.size);
    put_i64(&mut record, ltp::VOLUME, body.volume.unwrap_or(UNKNOWN));
    put_time(&mut record, ltp::TRADE_TIME, body.last.time);
    out.extend_from_slice(&record);
}

/// Appends a Quote record.
#[inline]
pub fn write_quote(header: &Header, quote: &Quote, open_interest: Option<i64>, out: &mut Vec<u8>) {
    let mut record = begin::<{ quote::SIZE }>(Kind::Quote, header);
    put_quote(&mut record, quote, open_interest);
    out.extend_from_slice(&record);
}

/// Appends a Depth record.
#[inline]
pub fn write_depth(header: &Header, quote: &Quote, book: &Depth, beside: &Beside, out: &mut Vec<u8>) {
    let mut record = begin::<{ depth::SIZE }>(Kind::Depth, header);
    put_quote(&mut record, quote, beside.open_interest);
    for (at, limit) in [(depth::UPPER, beside.upper), (depth::LOWER, beside.lower)] {
        put_i64(&mut record, at, if limit.is_positive() { limit.as_nanos() } else { UNKNOWN });
    }
    put_side(&mut record, depth::BIDS, &book.bids);
    put_side(&mut record, depth::ASKS, &book.asks);
    out.extend_from_slice(&record);
}

/// Appends a Bar record.
#[inline]
pub fn write_bar(header: &Header, body: &Bar, out: &mut Vec<u8>) {
    let mut record = begin::<{ bar::SIZE }>(Kind::Bar, header);
    put_time(&mut record, bar::START, body.start);
    put_u32(&mut record, bar::INTERVAL, BAR_SECONDS);
    put_price(&mut record, bar::OPEN, body.open);
    put_price(&mut record, bar::HIGH, body.high);
    put_price(&mut record, bar::LOW, body.low);
    put_price(&mut record, bar::CLOSE, body.close);
    put_i64(&mut record, bar::VOLUME, body.volume);
    put_i64(&mut record, bar::OPEN_INTEREST, body.open_interest);
    out.extend_from_slice(&record);
}

fn write_open_interest(header: &Header, interest: i64, out: &mut Vec<u8>) {
    let mut record = begin::<{ open_interest::SIZE }>(Kind::OpenInterest, header);
    put_i64(&mut record, open_interest::OPEN_INTEREST, interest);
    out.extend_from_slice(&record);
}

fn write_hello(header: &Header, body: Hello, out: &mut Vec<u8>) {
    let mut record = begin::<{ hello::SIZE }>(Kind::Hello, header);
    put(&mut record, hello::MAGIC, MAGIC);
    put_u16(&mut record, hello::VERSION, body.version);
    put_time(&mut record, hello::STARTED_AT, body.started_at);
    out.extend_from_slice(&record);
}

fn write_directory(header: &Header, body: &Directory<'_>, out: &mut Vec<u8>) {
    let symbol = cut(body.symbol, layout::MAX_TEXT);
    let exchange = cut(body.exchange, directory::EXCHANGE_LEN);
    let mut record = begin::<{ directory::SYMBOL }>(Kind::Directory, header);
    put_i64(&mut record, directory::TICK_SIZE, body.tick_size.map_or(UNKNOWN, Price::as_nanos));
    put_i64(&mut record, directory::LOT_SIZE, body.lot_size.unwrap_or(UNKNOWN));
    put_u32(&mut record, directory::CODE, body.code);
    record[directory::SEGMENT] = body.segment;
    put_u16(&mut record, directory::SYMBOL_LEN, symbol.len() as u16);
    record[directory::EXCHANGE..directory::EXCHANGE + exchange.len()].copy_from_slice(exchange.as_bytes());
    append_with_text(record, symbol, out);
}

fn write_state(header: &Header, body: &State<'_>, out: &mut Vec<u8>) {
    let reason = cut(body.reason, layout::MAX_TEXT);
    let mut record = begin::<{ state::REASON }>(Kind::State, header);
    record[state::STATE] = body.state.map_or(0, |state| state as u8);
    put_u16(&mut record, state::REASON_LEN, reason.len() as u16);
    put_time(&mut record, state::SINCE, body.since);
    append_with_text(record, reason, out);
}

fn write_conflated(header: &Header, body: Conflated, out: &mut Vec<u8>) {
    let mut record = begin::<{ conflated::SIZE }>(Kind::Conflated, header);
    put(&mut record, conflated::SKIPPED, body.skipped.to_le_bytes());
    put_i64(&mut record, conflated::SPAN, body.span);
    record[conflated::KIND] = body.kind;
    out.extend_from_slice(&record);
}

fn write_heartbeat(header: &Header, body: Heartbeat, out: &mut Vec<u8>) {
    let mut record = begin::<{ heartbeat::SIZE }>(Kind::Heartbeat, header);
    record[heartbeat::STATE] = body.state.map_or(0, |state| state as u8);
    put_i64(&mut record, heartbeat::LAST_TICK_AGE, body.last_tick_age.unwrap_or(UNKNOWN));
    out.extend_from_slice(&record);
}

/// A record of `N` bytes with its header, the rest zeros.
#[inline]
fn begin<const N: usize>(kind: Kind, header: &Header) -> [u8; N] {
    const { assert!(N >= layout::HEADER && N.is_multiple_of(8) && N < 1 << 15) };
    let mut record = [0; N];
    put_u16(&mut record, layout::LEN, N as u16);
    record[layout::KIND] = kind.number();
    record[layout::FLAGS] = header.flags;
    put_u32(&mut record, layout::NUMBER, header.number);
    put(&mut record, layout::SEQ, header.seq.to_le_bytes());
    put_u32(&mut record, layout::EPOCH, header.epoch);
    put_u16(&mut record, layout::SOURCE, header.source);
    put_time(&mut record, layout::TS_EVENT, header.ts_event);
    put_time(&mut record, layout::TS_RECV, header.ts_recv);
    put_time(&mut record, layout::TS_SENT, header.ts_sent);
    record
}

/// Appends a record that ends with a text, padded with zeros to a multiple of eight bytes.
fn append_with_text<const N: usize>(mut record: [u8; N], text: &str, out: &mut Vec<u8>) {
    let len = (N + text.len()).next_multiple_of(8);
    put_u16(&mut record, layout::LEN, len as u16);
    let end = out.len() + len;
    out.extend_from_slice(&record);
    out.extend_from_slice(text.as_bytes());
    out.resize(end, 0);
}

#[inline]
fn put_quote(record: &mut [u8], quote: &Quote, open_interest: Option<i64>) {
    put_price(record, ltp::PRICE, quote.last.price);
    put_i64(record, ltp::QUANTITY, quote.last.size);
    put_i64(record, ltp::VOLUME, quote.volume);
    put_time(record, ltp::TRADE_TIME, quote.last.time);
    put_price(record, quote::AVERAGE, quote.average);
    put_price(record, quote::OPEN, quote.open);
    put_price(record, quote::HIGH, quote.high);
    put_price(record, quote::LOW, quote.low);
    put_price(record, quote::CLOSE, quote.close);
    put_price(record, quote::BID_PRICE, quote.bid.price);
    put_i64(record, quote::BID_QUANTITY, quote.bid.size);
    put_price(record, quote::ASK_PRICE, quote.ask.price);
    put_i64(record, quote::ASK_QUANTITY, quote.ask.size);
    put_u32(record, quote::BID_ORDERS, quote.bid.orders);
    put_u32(record, quote::ASK_ORDERS, quote.ask.orders);
    put_i64(record, quote::TOTAL_BUY, quote.total_buy);
    put_i64(record, quote::TOTAL_SELL, quote.total_sell);
    put_i64(record, quote::OPEN_INTEREST, open_interest.unwrap_or(UNKNOWN));
}

#[inline]
fn put_side(record: &mut [u8], start: usize, side: &DepthSide) {
    for index in 0..DEPTH_LEVELS {
        let (at, level) = (start + index * depth::LEVEL, side.level(index));
        put_price(record, at, level.price);
        put_i64(record, at + depth::LEVEL_QUANTITY, level.size);
        put_u32(record, at + depth::LEVEL_ORDERS, level.orders);
    }
}

#[inline]
fn put<const W: usize>(record: &mut [u8], at: usize, bytes: [u8; W]) {
    record[at..at + W].copy_from_slice(&bytes);
}

#[inline]
fn put_u16(record: &mut [u8], at: usize, value: u16) {
    put(record, at, value.to_le_bytes());
}

#[inline]
fn put_u32(record: &mut [u8], at: usize, value: u32) {
    put(record, at, value.to_le_bytes());
}

#[inline]
fn put_i64(record: &mut [u8], at: usize, value: i64) {
    put(record, at, value.to_le_bytes());
}

#[inline]
fn put_price(record: &mut [u8], at: usize, value: Price) {
    put_i64(record, at, value.as_nanos());
}

#[inline]
fn put_time(record: &mut [u8], at: usize, value: UnixNanos) {
    put_i64(record, at, value.as_nanos());
}

/// At most `most` bytes, cut between characters.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
