//! The interactive product's books as REST answers bring them: orders, trades, positions,
//! holdings, balance, profile.
//! Not how they are asked for, and not the socket's events, though an order's event has the
//! form of the order book's rows.
//!
//! What is read how: a row needs its instrument, its id and its quantities; if one of these is
//! missing or unreadable the row is *lost* and the others stay. Any other figure that cannot be
//! read is a *gap*: `None` in its row. Both are reported by the names of the members, so that
//! nobody takes a shorter book or a missing figure for the broker's word.
//!
//! Source: official SDKs and documentation, and answers of a live dealer server (positions
//! nearly all strings).

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::market::{Funds, Order, OrderKind, OrderStatus, Position, Price, Side, Trade};

pub use super::row::Fault;
use super::row::{Row, fault, is_absent};
use super::text::Raw;

/// The entry of the balance that counts for all segments and products together. The others
/// (`CASH|NSE|MTF`, …) are parts of it or apart from it, and never stand for the whole.
const WHOLE_BALANCE: &str = "ALL|ALL|ALL";

/// A book's rows and what could not be read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Book<T> {
    /// What could be read.
    pub rows: Vec<T>,
    /// Rows that could not, each with the first member it failed by.
    pub lost: Vec<Fault>,
    /// Figures of `rows` that could not.
    pub gaps: Vec<Fault>,
}

impl<T> Default for Book<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), lost: Vec::new(), gaps: Vec::new() }
    }
}

impl<T> Book<T> {
    /// Whether the broker sent no row at all.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.lost.is_empty()
    }
}

/// An answer has not the form of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotABook;

/// Reads the order book: the `result` of a success.
///
/// # Errors
/// [`NotABook`].
pub fn orders(result: Raw<'_>) -> Result<Book<Order>, NotABook> {
    read(result, "orderList", order)
}

/// Reads the trade book.
///
/// # Errors
/// [`NotABook`].
pub fn trades(result: Raw<'_>) -> Result<Book<Trade>, NotABook> {
    read(result, "tradeList", trade)
}

/// Reads the positions.
///
/// # Errors
/// [`NotABook`].
pub fn positions(result: Raw<'_>) -> Result<Book<Position>, NotABook> {
    read(result, "positionList", position)
}

/// Reads the balance: at most one row, the whole account's.
///
/// # Errors
/// [`NotABook`], also if there are entries but none is the whole account's.
pub fn balance(result: Raw<'_>) -> Result<Book<Funds>, NotABook> {
    let mut book = Book::default();
    let entries = elements(result, "BalanceList")?;
    for entry in &entries {
        let Some(mut entry) = Row::parse(entry.get()) else { continue };
        if entry.text(&["limitHeader"]).eq_ignore_ascii_case(WHOLE_BALANCE) {
            match funds(&entry, &mut book.gaps) {
                Ok(funds) => book.rows.push(funds),
                Err(lost) => book.lost.push(lost),
            }
            return Ok(book);
        }
    }
    if entries.is_empty() { Ok(book) } else { Err(NotABook) }
}

pub use super::stock::{holdings, profile};

/// Reads one row, as the socket's events bring it.
///
/// # Errors
/// The member that it failed by.
fn one<T>(raw: &str, row: impl Fn(&mut Row<'_>) -> Result<T, Fault>) -> Result<(T, Vec<Fault>), Fault> {
    let mut members = Row::parse(raw).ok_or(Fault { key: "the event itself", is_missing: false })?;
    let read = row(&mut members)?;
    Ok((read, members.gaps))
}

/// Reads one order of an event.
///
/// # Errors
/// The member that it failed by.
pub fn one_order(raw: &str) -> Result<(Order, Vec<Fault>), Fault> {
    one(raw, order)
}

/// Reads one trade of an event.
///
/// # Errors
/// The member that it failed by.
pub fn one_trade(raw: &str) -> Result<(Trade, Vec<Fault>), Fault> {
    one(raw, trade)
}

/// Reads one position of an event.
///
/// # Errors
/// The member that it failed by.
pub fn one_position(raw: &str) -> Result<(Position, Vec<Fault>), Fault> {
    one(raw, position)
}

fn read<'a, T>(
    result: Raw<'a>,
    list: &str,
    row: impl Fn(&mut Row<'a>) -> Result<T, Fault>,
) -> Result<Book<T>, NotABook> {
    let mut book = Book::default();
    for element in elements(result, list)? {
        let Some(mut members) = Row::parse(element.get()) else {
            book.lost.push(Fault { key: "the row itself", is_missing: false });
            continue;
        };
        match row(&mut members) {
            Ok(read) => {
                book.rows.push(read);
                book.gaps.append(&mut members.gaps);
            }
            Err(lost) => book.lost.push(lost),
        }
    }
    Ok(book)
}

/// A member that is an object.
pub(super) fn part<'a>(row: &Row<'a>, key: &str) -> Option<Row<'a>> {
    row.member(key).and_then(Row::parse)
}

/// The elements of a list that is the result itself, or its member `list`. An absent result and
/// an empty object are empty lists: servers differ in what they send for none.
pub(super) fn elements<'a>(result: Raw<'a>, list: &str) -> Result<Vec<&'a RawValue>, NotABook> {
    let Some(raw) = result.map(|r| r.get().trim()).filter(|raw| !is_absent(raw)) else {
        return Ok(Vec::new());
    };
    if raw.starts_with('[') {
        return as_list(raw);
    }
    let object = Row::parse(raw).ok_or(NotABook)?;
    match object.member(list) {
        Some(inner) => as_list(inner),
        None if object.is_empty() || object.has(list) => Ok(Vec::new()),
        None => Err(NotABook),
    }
}

fn as_list(raw: &str) -> Result<Vec<&RawValue>, NotABook> {
    Vec::deserialize(&mut serde_json::Deserializer::from_str(raw)).map_err(|_| NotABook)
}

fn order(row: &mut Row<'_>) -> Result<Order, Fault> {
    let id = row.needed_text(&["AppOrderID"])?;
    let instrument = row.instrument()?;
    let side = row.needed_word(&["OrderSide", "OrderSideAPI"], side)?;
    let kind = kind(&row.text(&["OrderType"]));
    let status = status(&row.text(&["OrderStatus"]));
    let quantity = row.needed_integer(&["OrderQuantity"])?;
    let (filled, left) = progress(row, quantity, &status)?;
    let needs_price = |is_needed: bool, keys: &[&'static str]| match row.readable_price(keys)? {
        Some(price) => Ok(price),
        // Zero would read as "at any price".
        None if is_needed => Err(fault(keys, true)),
        None => Ok(Price::ZERO),
    };
    let price = needs_price(matches!(kind, OrderKind::Limit | OrderKind::StopLimit), &["OrderPrice"])?;
    let is_stop = matches!(kind, OrderKind::StopLimit | OrderKind::StopMarket);
    let trigger = needs_price(is_stop, &["OrderStopPrice"])?;
    let updated = ["LastUpdateDateTime", "LastUpdateDateTimeAPI", "ExchangeTransactTime"];
    Ok(Order {
        id,
        exchange_id: row.text(&["ExchangeOrderID"]),
        unique_id: row.text(&["OrderUniqueIdentifier"]),
        account: row.text(&["ClientID", "ClientId", "AccountID"]),
        instrument,
        symbol: row.text(&["TradingSymbol"]),
        side,
        kind,
        product: row.text(&["ProductType"]),
        validity: row.text(&["TimeInForce"]),
        quantity,
        filled,
        left,
        price,
        trigger,
        average: row.price(&["OrderAverageTradedPrice", "OrderAverageTradedPriceAPI"]),
        status,
        reason: row.text(&["CancelRejectReason"]),
        placed_at: row.time(&["OrderGeneratedDateTime", "OrderGeneratedDateTimeAPI"]),
        updated_at: row.time(&updated),
    })
}

/// How much is done and how much is still to do. One may be absent if the other tells it, which
/// it does while the order stands. Of a cancelled order, what is not left is not therefore done.
fn progress(row: &Row<'_>, quantity: i64, status: &OrderStatus) -> Result<(i64, i64), Fault> {
    let (filled_key, left_key) = (["CumulativeQuantity"], ["LeavesQuantity"]);
    let filled = row.readable_integer(&filled_key)?;
    let left = row.readable_integer(&left_key)?;
    let rest = |part: i64, key| quantity.checked_sub(part).ok_or_else(|| fault(key, false));
    match (status, filled, left) {
        (_, Some(filled), Some(left)) => Ok((filled, left)),
        // Neither done nor to do.
        (OrderStatus::Rejected, filled, left) => Ok((filled.unwrap_or(0), left.unwrap_or(0))),
        (OrderStatus::Cancelled, Some(filled), None) => Ok((filled, 0)),
        (OrderStatus::Cancelled | OrderStatus::Unknown(_), None, _) => Err(fault(&filled_key, true)),
        (OrderStatus::Unknown(_), _, None) => Err(fault(&left_key, true)),
        (_, Some(filled), None) => Ok((filled, rest(filled, &filled_key)?)),
        (_, None, Some(left)) => Ok((rest(left, &left_key)?, left)),
        (_, None, None) => Err(fault(&filled_key, true)),
    }
}

/// A trade has the members of its order, and of the execution. The order's own price, quantity
/// and average are of the whole order, never of the trade.
fn trade(row: &mut Row<'_>) -> Result<Trade, Fault> {
    let (quantity_keys, price_keys) = (["LastTradedQuantity", "LastTradedQunatity"], ["LastTradedPrice"]);
    let quantity = row.needed_integer(&quantity_keys)?;
    if quantity <= 0 {
        return Err(fault(&quantity_keys, false));
    }
    let price = row.readable_price(&price_keys)?.ok_or_else(|| fault(&price_keys, true))?;
    if !price.is_positive() {
        return Err(fault(&price_keys, false));
    }
    Ok(Trade {
        id: row.needed_text(&["ExecutionID"])?,
        order_id: row.needed_text(&["AppOrderID"])?,
        instrument: row.instrument()?,
        side: row.needed_word(&["OrderSide", "OrderSideAPI"], side)?,
        exchange_id: row.text(&["ExchangeOrderID"]),
        unique_id: row.text(&["OrderUniqueIdentifier"]),
        account: row.text(&["ClientID", "ClientId", "AccountID"]),
        symbol: row.text(&["TradingSymbol"]),
        product: row.text(&["ProductType"]),
        quantity,
        price,
        traded_at: row.time(&[
            "LastExecutionTransactTime",
            "LastExecutionTransactTimeAPI",
            "ExchangeTransactTime",
            "ExchangeTransactTimeAPI",
        ]),
    })
}

fn side(word: &str) -> Option<Side> {
    match word.to_ascii_uppercase().as_str() {
        "BUY" => Some(Side::Buy),
        "SELL" => Some(Side::Sell),
        _ => None,
    }
}

/// Requests write `STOPLIMIT`, answers `StopLimit`.
fn kind(word: &str) -> OrderKind {
    match squeezed(word).as_str() {
        "market" => OrderKind::Market,
        "limit" => OrderKind::Limit,
        "stoplimit" => OrderKind::StopLimit,
        "stopmarket" => OrderKind::StopMarket,
        _ => OrderKind::Unknown(word.to_owned()),
    }
}

/// `New` and `Replaced` are the exchange's acknowledgements: the order stands there.
fn status(word: &str) -> OrderStatus {
    match squeezed(word).as_str() {
        "pendingnew" | "pendingreplace" | "pendingcancel" => OrderStatus::Pending,
        "new" | "open" | "replaced" => OrderStatus::Open,
        "triggerpending" => OrderStatus::TriggerPending,
        "partiallyfilled" => OrderStatus::PartiallyFilled,
        "filled" => OrderStatus::Filled,
        "cancelled" | "canceled" => OrderStatus::Cancelled,
        "rejected" => OrderStatus::Rejected,
        _ => OrderStatus::Unknown(word.to_owned()),
    }
}

/// In lower case, without blanks (`Trigger Pending`).
fn squeezed(word: &str) -> String {
    word.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase()).collect()
}

/// The socket's event has other names than the answer: `NetPosition` for the quantity,
/// `LongPosition` and `ShortPosition` for what was bought and sold, `NetValue` for the amount.
fn position(row: &mut Row<'_>) -> Result<Position, Fault> {
    let is_event = !row.has("Quantity");
    Ok(Position {
        instrument: row.instrument()?,
        quantity: row.needed_integer(&["Quantity", "NetPosition"])?,
        account: row.text(&["AccountID", "ClientID", "ClientId"]),
        symbol: row.text(&["TradingSymbol"]),
        product: row.text(&["ProductType"]),
        bought: row.integer(&["OpenBuyQuantity", "LongPosition"]),
        buy_average: row.price(&["BuyAveragePrice"]),
        sold: row.integer(&["OpenSellQuantity", "ShortPosition"]),
        sell_average: row.price(&["SellAveragePrice"]),
        net_amount: row.money(if is_event { &["NetAmount", "NetValue"] } else { &["NetAmount"] }),
        multiplier: row.integer(&["Multiplier"]),
        realized: row.money(&["RealizedMTM"]),
        unrealized: row.money(&["UnrealizedMTM"]),
    })
}

fn funds(entry: &Row<'_>, gaps: &mut Vec<Fault>) -> Result<Funds, Fault> {
    let mut limits = part(entry, "limitObject").ok_or_else(|| fault(&["limitObject"], true))?;
    let mut sub = part(&limits, "RMSSubLimits").ok_or_else(|| fault(&["RMSSubLimits"], true))?;
    let mut available = part(&limits, "marginAvailable");
    let mut used = part(&limits, "marginUtilized");
    // The details hold some of the figures a second time.
    let or_detail = |first: Option<_>, detail: &mut Option<Row<'_>>, key: &'static str| {
        first.or_else(|| detail.as_mut()?.money(&[key]))
    };
    let cash = sub.money(&["cashAvailable"]);
    let bound = sub.money(&["marginUtilized"]);
    let funds = Funds {
        available: sub.money(&["netMarginAvailable"]),
        cash: or_detail(cash, &mut available, "CashMarginAvailable"),
        collateral: sub.money(&["collateral"]),
        used: or_detail(bound, &mut used, "MarginUsed"),
        realized: sub.money(&["RealizedMTM"]),
        unrealized: sub.money(&["UnrealizedMTM"]),
    };
    for part in [Some(&mut limits), Some(&mut sub), available.as_mut(), used.as_mut()].into_iter().flatten() {
        gaps.append(&mut part.gaps);
    }
    Ok(funds)
}

#[cfg(test)]
mod tests;
