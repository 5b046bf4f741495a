//! Reads messages record by record, without copying them. Whatever the bytes are, it neither panics
//! nor reads beyond the message.

use crate::clock::UnixNanos;
use crate::market::{Bar, DEPTH_LEVELS, Depth, DepthSide, LastTrade, Level, Price, Quote};
use crate::protocol::binary::layout::{
    self, bar, conflated, depth, directory, heartbeat, hello, ltp, open_interest, quote, state,
};
use crate::protocol::binary::{
    Body, Conflated, DepthFields, Directory, Freshness, Header, Heartbeat, Hello, Kind, Ltp, MAGIC,
    QuoteFields, State, UNKNOWN,
};
use crate::protocol::openalgo::market_data::Beside;

/// Bytes that are no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes are left than a header has.
    #[error("{left} bytes are left, which is no record")]
    Truncated {
        /// What is left.
        left: usize,
    },
    /// A length that no record has.
    #[error("a record claims {len} bytes where {left} are left")]
    Length {
        /// What it claims.
        len: usize,
        /// What is left of the message.
        left: usize,
    },
    /// It is shorter than its kind is.
    #[error("a record of kind {kind} has only {len} bytes")]
    Short {
        /// The kind's number.
        kind: u8,
        /// The record's length.
        len: usize,
    },
    /// The first record is another protocol's.
    #[error("the magic number is wrong")]
    Magic,
    /// A text is none, or is longer than its record.
    #[error("a record of kind {kind} holds a text that is none")]
    Text {
        /// The kind's number.
        kind: u8,
    },
}

/// The records of a message, one after the other. Ends behind the first error.
#[derive(Clone, Debug)]
pub struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    /// The records of a whole binary message.
    pub const fn new(message: &'a [u8]) -> Self {
        Self(message)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let message = std::mem::take(&mut self.0);
        if message.is_empty() {
            return None;
        }
        let left = message.len();
        if left < layout::HEADER {
            return Some(Err(Malformed::Truncated { left }));
        }
        let len = usize::from(u16_at(message, layout::LEN));
        if len < layout::HEADER || !len.is_multiple_of(8) || len > left {
            return Some(Err(Malformed::Length { len, left }));
        }
        let (record, rest) = message.split_at(len);
        self.0 = rest;
        Some(Ok(Record(record)))
    }
}

/// One record where it stands in its message. Has at least a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a>(&'a [u8]);

impl<'a> Record<'a> {
    /// All of its bytes.
    pub const fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Its kind's number.
    pub fn kind_number(&self) -> u8 {
        self.0[layout::KIND]
    }

    /// The instrument's number; 0: none in particular.
    pub fn number(&self) -> u32 {
        u32_at(self.0, layout::NUMBER)
    }

    /// The whole header.
    pub fn header(&self) -> Header {
        let bytes = self.0;
        Header {
            flags: bytes[layout::FLAGS],
            number: self.number(),
            seq: i64_at(bytes, layout::SEQ).cast_unsigned(),
            epoch: u32_at(bytes, layout::EPOCH),
            source: u16_at(bytes, layout::SOURCE),
            ts_event: time_at(bytes, layout::TS_EVENT),
            ts_recv: time_at(bytes, layout::TS_RECV),
            ts_sent: time_at(bytes, layout::TS_SENT),
        }
    }

    /// What it holds. What a later version appends to a kind is passed over.
    ///
    /// # Errors
    /// The record is too short for its kind, or a text is none.
    pub fn body(&self) -> Result<Body<'a>, Malformed> {
        let (bytes, number) = (self.0, self.kind_number());
        let Some(kind) = Kind::from_number(number) else { return Ok(Body::Unknown(number)) };
        let least = match kind {
            Kind::Hello => hello::SIZE,
            Kind::Directory => directory::SYMBOL,
            Kind::State => state::REASON,
            Kind::Conflated => conflated::SIZE,
            Kind::Heartbeat => heartbeat::SIZE,
            Kind::Ltp => ltp::SIZE,
            Kind::Quote => quote::SIZE,
            Kind::Depth => depth::SIZE,
            Kind::OpenInterest => open_interest::SIZE,
            Kind::Bar => bar::SIZE,
        };
        if bytes.len() < least {
            return Err(Malformed::Short { kind: number, len: bytes.len() });
        }
        Ok(match kind {
            Kind::Hello => {
                if bytes[hello::MAGIC..hello::MAGIC + MAGIC.len()] != MAGIC {
                    return Err(Malformed::Magic);
                }
                Body::Hello(Hello {
                    version: u16_at(bytes, hello::VERSION),
                    started_at: time_at(bytes, hello::STARTED_AT),
                })
            }
            Kind::Directory => Body::Directory(directory_of(bytes).ok_or(Malformed::Text { kind: number })?),
            Kind::State => Body::State(State {
                state: Freshness::from_number(bytes[state::STATE]),
                since: time_at(bytes, state::SINCE),
                reason: text_at(bytes, state::REASON, usize::from(u16_at(bytes, state::REASON_LEN)))
                    .ok_or(Malformed::Text { kind: number })?,
            }),
            Kind::Conflated => Body::Conflated(Conflated {
                kind: bytes[conflated::KIND],
                skipped: i64_at(bytes, conflated::SKIPPED).cast_unsigned(),
                span: i64_at(bytes, conflated::SPAN),
            }),
            Kind::Heartbeat => Body::Heartbeat(Heartbeat {
                state: Freshness::from_number(bytes[heartbeat::STATE]),
                last_tick_age: known(i64_at(bytes, heartbeat::LAST_TICK_AGE)),
            }),
            Kind::Ltp => Body::Ltp(Ltp { last: last_of(bytes), volume: known(i64_at(bytes, ltp::VOLUME)) }),
            Kind::Quote => Body::Quote(QuoteFields {
                quote: quote_of(bytes),
                open_interest: known(i64_at(bytes, quote::OPEN_INTEREST)),
            }),
            Kind::Depth => Body::Depth(depth_of(bytes)),
            Kind::OpenInterest => Body::OpenInterest(i64_at(bytes, open_interest::OPEN_INTEREST)),
            Kind::Bar => Body::Bar(Bar {
                start: time_at(bytes, bar::START),
                open: price_at(bytes, bar::OPEN),
                high: price_at(bytes, bar::HIGH),
                low: price_at(bytes, bar::LOW),
                close: price_at(bytes, bar::CLOSE),
                volume: i64_at(bytes, bar::VOLUME),
                open_interest: i64_at(bytes, bar::OPEN_INTEREST),
            }),
        })
    }
}

fn directory_of(bytes: &[u8]) -> Option<Directory<'_>> {
    let exchange = &bytes[directory::EXCHANGE..directory::EXCHANGE + directory::EXCHANGE_LEN];
    let exchange_len = exchange.iter().position(|byte| *byte == 0).unwrap_or(exchange.len());
    Some(Directory {
        exchange: text_at(bytes, directory::EXCHANGE, exchange_len)?,
        symbol: text_at(bytes, directory::SYMBOL, usize::from(u16_at(bytes, directory::SYMBOL_LEN)))?,
        tick_size: known(i64_at(bytes, directory::TICK_SIZE)).map(Price::from_nanos),
        lot_size: known(i64_at(bytes, directory::LOT_SIZE)),
        code: u32_at(bytes, directory::CODE),
        segment: bytes[directory::SEGMENT],
    })
}

fn last_of(bytes: &[u8]) -> LastTrade {
    LastTrade {
        price: price_at(bytes, ltp::PRICE),
        size: i64_at(bytes, ltp::QUANTITY),
        time: time_at(bytes, ltp::TRADE_TIME),
    }
}

fn quote_of(bytes: &[u8]) -> Quote {
    let level = |price, quantity, orders| Level {
        price: price_at(bytes, price),
        size: i64_at(bytes, quantity),
        orders: u32_at(bytes, orders),
    };
    Quote {
        last: last_of(bytes),
        bid: level(quote::BID_PRICE, quote::BID_QUANTITY, quote::BID_ORDERS),
        ask: level(quote::ASK_PRICE, quote::ASK_QUANTITY, quote::ASK_ORDERS),
        volume: i64_at(bytes, ltp::VOLUME),
        average: price_at(bytes, quote::AVERAGE),
        total_buy: i64_at(bytes, quote::TOTAL_BUY),
        total_sell: i64_at(bytes, quote::TOTAL_SELL),
        open: price_at(bytes, quote::OPEN),
        high: price_at(bytes, quote::HIGH),
        low: price_at(bytes, quote::LOW),
        close: price_at(bytes, quote::CLOSE),
    }
}

fn depth_of(bytes: &[u8]) -> DepthFields {
    let limit = |at| Price::from_nanos(known(i64_at(bytes, at)).unwrap_or(0));
    DepthFields {
        quote: quote_of(bytes),
        depth: Depth { bids: side_of(bytes, depth::BIDS), asks: side_of(bytes, depth::ASKS) },
        beside: Beside {
            open_interest: known(i64_at(bytes, quote::OPEN_INTEREST)),
            upper: limit(depth::UPPER),
            lower: limit(depth::LOWER),
        },
    }
}

fn side_of(bytes: &[u8], start: usize) -> DepthSide {
    let mut side = DepthSide::default();
    for index in 0..DEPTH_LEVELS {
        let at = start + index * depth::LEVEL;
        side.set(
            index,
            Level {
                price: price_at(bytes, at),
                size: i64_at(bytes, at + depth::LEVEL_QUANTITY),
                orders: u32_at(bytes, at + depth::LEVEL_ORDERS),
            },
        );
    }
    side
}

fn known(value: i64) -> Option<i64> {
    (value != UNKNOWN).then_some(value)
}

fn text_at(bytes: &[u8], at: usize, len: usize) -> Option<&str> {
    std::str::from_utf8(bytes.get(at..at + len)?).ok()
}

// Whoever calls these has looked at the length.

fn array_at<const W: usize>(bytes: &[u8], at: usize) -> [u8; W] {
    let mut array = [0; W];
    array.copy_from_slice(&bytes[at..at + W]);
    array
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(array_at(bytes, at))
}

fn price_at(bytes: &[u8], at: usize) -> Price {
    Price::from_nanos(i64_at(bytes, at))
}

fn time_at(bytes: &[u8], at: usize) -> UnixNanos {
    UnixNanos::from_nanos(i64_at(bytes, at))
}
