//! JSON events: full objects, in the venue's order of fields and with its misspellings, and
//! partial lines. No white space, plain decimals, no backslash, as real strings have it.
//!
//! Source: the official Node and Java SDKs, and XTS documentation.

use super::{Message, NOT_A_NUMBER, code, venue_time};
use crate::market::{Level, Price};
use crate::sim::market::Quote;

/// How the instrument's id is written: REST answers quote it, events do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdStyle {
    Number,
    Text,
}

/// Appends the full object of a message.
pub(crate) fn full(message: &Message<'_>, style: IdStyle, out: &mut Vec<u8>) {
    match message.code {
        // Indices come nested, shares and contracts flat.
        code::TOUCHLINE if message.is_index => {
            head(message, style, true, out);
            out.extend_from_slice(b",\"Touchline\":");
            touchline(message, out);
            out.extend_from_slice(b",\"BookType\":1,\"XMarketType\":1,\"SequenceNumber\":");
            int(message.sequence, out);
        }
        code::TOUCHLINE => flat(message, style, out),
        code::DEPTH => {
            head(message, style, true, out);
            out.extend_from_slice(b",\"Bids\":");
            levels(&message.quote.bids, out);
            out.extend_from_slice(b",\"Asks\":");
            levels(&message.quote.asks, out);
            out.extend_from_slice(b",\"Touchline\":");
            touchline(message, out);
            out.extend_from_slice(b",\"BookType\":1,\"XMarketType\":1,\"SequenceNumber\":");
            int(message.sequence, out);
        }
        code::OPEN_INTEREST => {
            head(message, style, true, out);
            out.extend_from_slice(b",\"XTSMarketType\":1,\"OpenInterest\":");
            int(message.quote.open_interest, out);
        }
        _ => {
            head(message, style, false, out);
            out.extend_from_slice(b",\"BookType\":1,\"XMarketType\":1,\"LastTradedPrice\":");
            price(message.quote.ltp, out);
            out.extend_from_slice(b",\"LastTradedQunatity\":");
            int(message.quote.ltq, out);
            out.extend_from_slice(b",\"LastUpdateTime\":");
            int(venue_time(message.id.segment, message.quote.updated), out);
        }
    }
    out.push(b'}');
}

/// Appends the line of a message in partial mode, with every field: all of them may have
/// changed since the last one.
pub(crate) fn partial(message: &Message<'_>, out: &mut Vec<u8>) {
    let quote = message.quote;
    let segment = message.id.segment;
    out.extend_from_slice(b"t:");
    int(i64::from(segment.number()), out);
    out.push(b'_');
    int(i64::from(message.id.code), out);
    let updated = venue_time(segment, quote.updated);
    match message.code {
        code::OPEN_INTEREST => number(b",o:", quote.open_interest, out),
        code::LAST_PRICE => {
            decimal(b",ltp:", quote.ltp, out);
            number(b",ltq:", quote.ltq, out);
            number(b",lut:", updated, out);
            out.extend_from_slice(b",bt:1,mt:1");
        }
        wanted => {
            decimal(b",ltp:", quote.ltp, out);
            number(b",ltq:", quote.ltq, out);
            number(b",tb:", quote.total_buy, out);
            number(b",ts:", quote.total_sell, out);
            number(b",v:", quote.volume, out);
            decimal(b",ap:", quote.average(), out);
            number(b",ltt:", venue_time(segment, quote.last_trade), out);
            number(b",lut:", updated, out);
            out.extend_from_slice(b",pc:");
            percent(quote, out);
            decimal(b",o:", quote.open, out);
            decimal(b",h:", quote.high, out);
            decimal(b",l:", quote.low, out);
            decimal(b",c:", quote.close, out);
            let depth = if wanted == code::DEPTH { quote.bids.len() } else { 1 };
            rows(b",ai:", &quote.asks[..depth], out);
            rows(b",bi:", &quote.bids[..depth], out);
        }
    }
}

/// The name of the event that carries a message.
pub(crate) fn event_name(code: u16, is_partial: bool) -> &'static str {
    match (code, is_partial) {
        (code::TOUCHLINE, false) => "1501-json-full",
        (code::TOUCHLINE, true) => "1501-json-partial",
        (code::DEPTH, false) => "1502-json-full",
        (code::DEPTH, true) => "1502-json-partial",
        (code::OPEN_INTEREST, false) => "1510-json-full",
        (code::OPEN_INTEREST, true) => "1510-json-partial",
        (_, false) => "1512-json-full",
        (_, true) => "1512-json-partial",
    }
}

fn head(message: &Message<'_>, style: IdStyle, with_time: bool, out: &mut Vec<u8>) {
    number(b"{\"MessageCode\":", i64::from(message.code), out);
    out.extend_from_slice(b",\"MessageVersion\":4,\"ApplicationType\":0,\"TokenID\":0");
    id(message, style, out);
    if with_time {
        number(b",\"ExchangeTimeStamp\":", venue_time(message.id.segment, message.quote.updated), out);
    }
}

fn id(message: &Message<'_>, style: IdStyle, out: &mut Vec<u8>) {
    number(b",\"ExchangeSegment\":", i64::from(message.id.segment.number()), out);
    let quotes: &[u8] = if style == IdStyle::Text { b"\"" } else { b"" };
    out.extend_from_slice(b",\"ExchangeInstrumentID\":");
    out.extend_from_slice(quotes);
    int(i64::from(message.id.code), out);
    out.extend_from_slice(quotes);
}

/// The old, flat form of 1501.
fn flat(message: &Message<'_>, style: IdStyle, out: &mut Vec<u8>) {
    number(b"{\"MessageCode\":", i64::from(message.code), out);
    id(message, style, out);
    out.push(b',');
    day(message, out);
    out.extend_from_slice(b",\"AskInfo\":");
    level(&message.quote.asks[0], out);
    out.extend_from_slice(b",\"BidInfo\":");
    level(&message.quote.bids[0], out);
    out.extend_from_slice(b",\"XMarketType\":1,\"BookType\":1");
}

fn touchline(message: &Message<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"BidInfo\":");
    level(&message.quote.bids[0], out);
    out.extend_from_slice(b",\"AskInfo\":");
    level(&message.quote.asks[0], out);
    out.push(b',');
    day(message, out);
    out.extend_from_slice(b",\"BuyBackTotalBuy\":0,\"BuyBackTotalSell\":0}");
}

/// The last trade and the day's figures.
fn day(message: &Message<'_>, out: &mut Vec<u8>) {
    let quote = message.quote;
    decimal(b"\"LastTradedPrice\":", quote.ltp, out);
    number(b",\"LastTradedQunatity\":", quote.ltq, out);
    number(b",\"TotalBuyQuantity\":", quote.total_buy, out);
    number(b",\"TotalSellQuantity\":", quote.total_sell, out);
    number(b",\"TotalTradedQuantity\":", quote.volume, out);
    decimal(b",\"AverageTradedPrice\":", quote.average(), out);
    number(b",\"LastTradedTime\":", venue_time(message.id.segment, quote.last_trade), out);
    number(b",\"LastUpdateTime\":", venue_time(message.id.segment, quote.updated), out);
    out.extend_from_slice(b",\"PercentChange\":");
    percent(quote, out);
    decimal(b",\"Open\":", quote.open, out);
    decimal(b",\"High\":", quote.high, out);
    decimal(b",\"Low\":", quote.low, out);
    decimal(b",\"Close\":", quote.close, out);
    out.extend_from_slice(b",\"TotalValueTraded\":null");
}

fn levels(levels: &[Level], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, row) in levels.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        level(row, out);
    }
    out.push(b']');
}

fn level(level: &Level, out: &mut Vec<u8>) {
    number(b"{\"Size\":", level.size, out);
    decimal(b",\"Price\":", level.price, out);
    number(b",\"TotalOrders\":", i64::from(level.orders), out);
    out.extend_from_slice(b",\"BuyBackMarketMaker\":0}");
}

/// Groups of `index|size|price|orders`.
fn rows(key: &[u8], levels: &[Level], out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    for (index, level) in levels.iter().enumerate() {
        if index > 0 {
            out.push(b'|');
        }
        int(index as i64, out);
        number(b"|", level.size, out);
        decimal(b"|", level.price, out);
        number(b"|", i64::from(level.orders), out);
    }
}

fn percent(quote: &Quote, out: &mut Vec<u8>) {
    use std::io::Write as _;
    // Display of a double has no exponent; writing to memory cannot fail.
    let _ = write!(out, "{}", quote.percent_change());
}

fn decimal(key: &[u8], value: Price, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    price(value, out);
}

fn number(key: &[u8], value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    int(value, out);
}

/// Whole prices have no decimals, as JavaScript prints them.
fn price(price: Price, out: &mut Vec<u8>) {
    if price == NOT_A_NUMBER {
        out.extend_from_slice(b"NaN");
        return;
    }
    price.write_to(out);
    if out.ends_with(b".0") {
        out.truncate(out.len() - 2);
    }
}

fn int(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}
