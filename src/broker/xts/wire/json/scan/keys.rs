//! Which members a message and a row of it have, and how a key is found in the text: by the guess
//! that it follows the key before it as it did last time, else by its name.

use super::cursor::Cursor;

/// Where a member's value goes.
pub(super) mod slot {
    pub(in super::super) const CODE: usize = 0;
    pub(in super::super) const SEGMENT: usize = 1;
    pub(in super::super) const INSTRUMENT: usize = 2;
    pub(in super::super) const EXCHANGE_TIME: usize = 3;
    pub(in super::super) const OPEN_INTEREST: usize = 4;
    pub(in super::super) const LAST_PRICE: usize = 5;
    pub(in super::super) const LAST_SIZE: usize = 6;
    pub(in super::super) const LAST_TIME: usize = 7;
    pub(in super::super) const UPDATED: usize = 8;
    pub(in super::super) const VOLUME: usize = 9;
    pub(in super::super) const AVERAGE: usize = 10;
    pub(in super::super) const TOTAL_BUY: usize = 11;
    pub(in super::super) const TOTAL_SELL: usize = 12;
    pub(in super::super) const OPEN: usize = 13;
    pub(in super::super) const HIGH: usize = 14;
    pub(in super::super) const LOW: usize = 15;
    pub(in super::super) const CLOSE: usize = 16;
    pub(in super::super) const COUNT: usize = 17;
    /// Those of what is nested, which only mark that it was there.
    pub(super) const BID: usize = 17;
    pub(super) const ASK: usize = 18;
    pub(super) const BIDS: usize = 19;
    pub(super) const ASKS: usize = 20;
    pub(super) const TOUCHLINE: usize = 21;

    pub(in super::super) const ROW_SIZE: usize = 0;
    pub(in super::super) const ROW_PRICE: usize = 1;
    pub(in super::super) const ROW_ORDERS: usize = 2;
    pub(in super::super) const ROW_COUNT: usize = 3;
}

/// What a member holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of no interest here, known or not.
    Other,
    Integer,
    /// A price; one that is not positive is none.
    Price,
    Bid,
    Ask,
    Bids,
    Asks,
    Touchline,
}

/// Bytes that one comparison takes in: all of the longest key with its punctuation.
const WIDTH: usize = 32;

/// Keys that an order can hold, the two that stand for none included.
const MOST: usize = 64;

/// Stands for the key before the first.
pub(super) const START: usize = MOST - 1;

/// Of each key, which one came after it last time.
#[derive(Debug)]
pub(super) struct Order([u8; MOST]);

impl Default for Order {
    /// The order of the tables, which is the documents'.
    fn default() -> Self {
        Self(std::array::from_fn(|at| at as u8 + 1))
    }
}

/// A key of a table.
struct Key {
    name: &'static str,
    kind: Kind,
    slot: u8,
    /// `\"name\":`, padded with zeros, and which bytes of it count.
    text: [u128; 2],
    mask: [u128; 2],
    length: usize,
}

impl Key {
    const fn new(name: &'static str, kind: Kind, slot: usize) -> Self {
        let (bytes, length) = (name.as_bytes(), name.len() + 5);
        let mut text = [0_u8; WIDTH];
        let mut mask = [0_u8; WIDTH];
        text[0] = b'\\';
        text[1] = b'"';
        let mut at = 0;
        while at < bytes.len() {
            text[at + 2] = bytes[at];
            at += 1;
        }
        text[at + 2] = b'\\';
        text[at + 3] = b'"';
        text[at + 4] = b':';
        at = 0;
        while at < length {
            mask[at] = u8::MAX;
            at += 1;
        }
        Self { name, kind, slot: slot as u8, text: halves(&text), mask: halves(&mask), length }
    }

    const fn other(name: &'static str) -> Self {
        Self::new(name, Kind::Other, 0)
    }

    /// Whether the text goes on with it, written without blanks.
    fn is_next(&self, rest: &[u8]) -> bool {
        let Some(window) = rest.first_chunk::<WIDTH>() else {
            return self.is_all_of(rest);
        };
        let [low, high] = halves(window);
        ((low ^ self.text[0]) & self.mask[0]) | ((high ^ self.text[1]) & self.mask[1]) == 0
    }

    /// The same near the end of the text.
    fn is_all_of(&self, rest: &[u8]) -> bool {
        let mut window = [0; WIDTH];
        window[..rest.len()].copy_from_slice(rest);
        self.is_next(&window)
    }
}

const fn halves(bytes: &[u8; WIDTH]) -> [u128; 2] {
    // The width is twice the chunk: there is no rest.
    let ([low, high], _) = bytes.as_chunks::<16>() else { return [0; 2] };
    [u128::from_le_bytes(*low), u128::from_le_bytes(*high)]
}

/// The keys of an object.
pub(super) struct Table<const N: usize>([Key; N]);

impl<const N: usize> Table<N> {
    /// What is known of a key.
    pub(super) fn get(&self, key: usize) -> (Kind, u8) {
        self.0.get(key).map_or((Kind::Other, 0), |key| (key.kind, key.slot))
    }

    /// Reads the next key and its colon. A key that is not in the table is one past it.
    pub(super) fn next(&self, cursor: &mut Cursor<'_>, order: &mut Order, previous: usize) -> Option<usize> {
        let guess = &mut order.0[previous % MOST];
        if let Some(key) = self.0.get(usize::from(*guess)).filter(|key| key.is_next(cursor.rest())) {
            cursor.advance(key.length);
            return Some(usize::from(*guess));
        }
        let name = cursor.key()?;
        let found = self.0.iter().position(|key| key.name == name).unwrap_or(N);
        *guess = found as u8;
        Some(found)
    }
}

/// A message, and the touchline inside one. Those that are of no interest are here too: a key that
/// is expected costs less than one that is not.
pub(super) static MESSAGE: Table<41> = Table([
    Key::new("MessageCode", Kind::Integer, slot::CODE),
    Key::other("MessageVersion"),
    Key::other("ApplicationType"),
    Key::other("TokenID"),
    Key::new("ExchangeSegment", Kind::Integer, slot::SEGMENT),
    Key::new("ExchangeInstrumentID", Kind::Integer, slot::INSTRUMENT),
    Key::new("ExchangeTimeStamp", Kind::Integer, slot::EXCHANGE_TIME),
    Key::new("Bids", Kind::Bids, slot::BIDS),
    Key::new("Asks", Kind::Asks, slot::ASKS),
    Key::new("Touchline", Kind::Touchline, slot::TOUCHLINE),
    Key::new("BidInfo", Kind::Bid, slot::BID),
    Key::new("AskInfo", Kind::Ask, slot::ASK),
    Key::new("LastTradedPrice", Kind::Price, slot::LAST_PRICE),
    // The venue's own spelling, and the right one. Both at once are not read here.
    Key::new("LastTradedQunatity", Kind::Integer, slot::LAST_SIZE),
    Key::new("TotalBuyQuantity", Kind::Integer, slot::TOTAL_BUY),
    Key::new("TotalSellQuantity", Kind::Integer, slot::TOTAL_SELL),
    Key::new("TotalTradedQuantity", Kind::Integer, slot::VOLUME),
    Key::new("AverageTradedPrice", Kind::Price, slot::AVERAGE),
    Key::new("LastTradedTime", Kind::Integer, slot::LAST_TIME),
    Key::new("LastUpdateTime", Kind::Integer, slot::UPDATED),
    Key::other("PercentChange"),
    Key::new("Open", Kind::Price, slot::OPEN),
    Key::new("High", Kind::Price, slot::HIGH),
    Key::new("Low", Kind::Price, slot::LOW),
    Key::new("Close", Kind::Price, slot::CLOSE),
    Key::other("TotalValueTraded"),
    Key::other("BuyBackTotalBuy"),
    Key::other("BuyBackTotalSell"),
    Key::other("BookType"),
    Key::other("XMarketType"),
    Key::other("SequenceNumber"),
    Key::new("LastTradedQuantity", Kind::Integer, slot::LAST_SIZE),
    Key::other("XTSMarketType"),
    Key::new("OpenInterest", Kind::Integer, slot::OPEN_INTEREST),
    Key::other("UnderlyingExchangeSegment"),
    Key::other("UnderlyingInstrumentID"),
    Key::other("UnderlyingIDIndexName"),
    Key::other("UnderlyingTotalOpenInterest"),
    Key::other("MarketType"),
    Key::other("MessageType"),
    Key::other("InstrumentType"),
]);

/// A bid or an ask.
pub(super) static ROW: Table<4> = Table([
    Key::new("Size", Kind::Integer, slot::ROW_SIZE),
    Key::new("Price", Kind::Price, slot::ROW_PRICE),
    Key::new("TotalOrders", Kind::Integer, slot::ROW_ORDERS),
    Key::other("BuyBackMarketMaker"),
]);
