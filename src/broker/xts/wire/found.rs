//! What smaller answers hold: order numbers, instruments of searches, market status, messages,
//! and the lists of look-ups. Pure.
//!
//! Source: official documentation and SDKs; order numbers are numbers in most answers and text in
//! some, and a cancellation's result is an object or a list of one.

use crate::broker::{FoundInstrument, SegmentStatus};

use super::books::{Book, NotABook, elements};
use super::row::{Fault, Row};
use super::text::{Raw, raw_text};

/// Longest number of an order.
const MAX_ORDER_ID: usize = 40;

/// Whether it has the form of an order's number: digits in all that is known, and never zero.
pub fn is_order_id(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=MAX_ORDER_ID).contains(&text.len())
        && text.bytes().all(fits)
        && text.bytes().any(|b| b != b'0')
        && text != "null"
}

/// The number of an order in a result that is an object or a list of one, by the first of several
/// names that is there.
pub fn order_id(result: Raw<'_>, keys: &[&'static str]) -> Option<String> {
    let list = elements(result, "").ok();
    let raw = match list.as_deref() {
        Some([one]) => one.get(),
        Some([_, _, ..]) => return None,
        _ => result?.get(),
    };
    Row::parse(raw)?.needed_text(keys).ok().filter(|id| is_order_id(id))
}

/// Reads the market status; segments that tickgate does not know are left out.
///
/// # Errors
/// [`NotABook`].
pub fn market_status(result: Raw<'_>) -> Result<Book<SegmentStatus>, NotABook> {
    let mut book = Book::default();
    for element in elements(result, "marketStatus")? {
        let Some(mut row) = Row::parse(element.get()) else {
            book.lost.push(Fault { key: "the row itself", is_missing: false });
            continue;
        };
        match row.segment() {
            Ok(Some(segment)) => book.rows.push(SegmentStatus {
                segment,
                market: row.text(&["exchangeMarketType"]),
                session: row.text(&["exchangeTradingSession"]),
            }),
            Ok(None) => {}
            Err(lost) => book.lost.push(lost),
        }
    }
    Ok(book)
}

/// Reads the instruments of a search. Those of segments that tickgate does not know are left out.
///
/// # Errors
/// [`NotABook`].
pub fn instruments(result: Raw<'_>) -> Result<Book<FoundInstrument>, NotABook> {
    let mut book = Book::default();
    for element in elements(result, "instruments")? {
        let Some(mut row) = Row::parse(element.get()) else {
            book.lost.push(Fault { key: "the row itself", is_missing: false });
            continue;
        };
        let id = match row.segment() {
            Ok(Some(_)) => row.instrument(),
            Ok(None) => continue,
            Err(lost) => Err(lost),
        };
        let id = match id {
            Ok(id) => id,
            Err(lost) => {
                book.lost.push(lost);
                continue;
            }
        };
        let mut band = row.member("PriceBand").and_then(Row::parse);
        book.rows.push(FoundInstrument {
            id,
            kind: row.integer(&["InstrumentType"]),
            name: row.text(&["Name"]),
            display_name: row.text(&["DisplayName"]),
            description: row.text(&["Description"]),
            series: row.text(&["Series"]),
            tick_size: row.price(&["TickSize"]),
            lot_size: row.integer(&["LotSize"]),
            expiry: row.text(&["ContractExpiration", "ContractExpirationString"]),
            strike: row.price(&["StrikePrice"]),
            low_band: band.as_mut().and_then(|band| band.price(&["Low", "LowString"])),
            high_band: band.as_mut().and_then(|band| band.price(&["High", "HighString"])),
        });
        book.gaps.append(&mut row.gaps);
        if let Some(band) = &mut band {
            book.gaps.append(&mut band.gaps);
        }
    }
    Ok(book)
}

/// Reads a list of words or numbers, each as it is written.
///
/// # Errors
/// [`NotABook`], also if an element is nested.
pub fn words(result: Raw<'_>) -> Result<Vec<String>, NotABook> {
    let mut words = Vec::new();
    for element in elements(result, "")? {
        if element.get().starts_with(['{', '[']) {
            return Err(NotABook);
        }
        words.extend(raw_text(Some(element)));
    }
    Ok(words)
}

/// Reads the exchange's messages: each one's text and time, as written.
///
/// # Errors
/// [`NotABook`].
pub fn messages(result: Raw<'_>) -> Result<Vec<(String, String)>, NotABook> {
    let list = elements(result, "messageList")?;
    Ok(list
        .into_iter()
        .filter_map(|element| {
            let mut row = Row::parse(element.get())?;
            let text = row.text(&["ExchangeMessage", "Message", "BroadcastMessage"]);
            let time = row.text(&["ExchangeTimeStamp", "TimeStamp"]);
            Some((text, time)).filter(|(text, _)| !text.is_empty())
        })
        .collect())
}
