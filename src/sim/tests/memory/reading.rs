//! The core's JSON answers, read leniently. Written apart from the adapter's readers.

use serde_json::Value;

use crate::broker::Error;
use crate::broker::xts::wire::code_of;
use crate::broker::xts::wire::json::Decoder;
use crate::clock::UnixNanos;
use crate::market::{
    Funds, InstrumentId, Kind, Money, Order, OrderKind, OrderStatus, Position, Price, Segment, Side, Tick,
};
use crate::sim::answers::Answer;
use crate::token::{AccountFacts, Product};

/// `result` of a success, or what a refusal means.
pub(super) fn result(answer: Answer) -> Result<Value, Error> {
    let Answer { status, body, is_html, retry_after_s } = answer;
    if is_html {
        return Err(Error::Http { status, what: "an HTML page".to_owned() });
    }
    let mut body: Value = serde_json::from_str(&body).expect("is JSON");
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let (code, description) = (text("code"), text("description"));
    if status == 200 && (body["type"] == "success" || body["type"] == true) {
        return Ok(body["result"].take());
    }
    Err(match code.as_str() {
        "e-session-0007" | "e-token-0002" => Error::InvalidToken { code, description },
        "e-apirl-0004" => {
            let retry_after = retry_after_s.map(std::time::Duration::from_secs);
            Error::RateLimited { retry_after, description }
        }
        "e-session-0004" => Error::SubscriptionLimit { limit: None, description },
        _ => Error::Refused { status, code, description },
    })
}

/// What a refused login means: for good where the words blame the credentials.
pub(super) fn login_error(error: Error) -> Error {
    let Error::Refused { status, code, description } = error else { return error };
    let words = description.to_ascii_lowercase();
    if ["credential", "app key", "disabled", "access token"].iter().any(|w| words.contains(w)) {
        return Error::Credentials { description };
    }
    Error::Http { status, what: format!("login refused: {code} {description}") }
}

/// Token and facts of a granted login.
pub(super) fn login(product: Product, result: &Value) -> Result<(String, AccountFacts), Error> {
    let text = |key: &str| result[key].as_str().map(str::to_owned);
    let token = text("token").ok_or_else(|| Error::Malformed("no token".to_owned()))?;
    let is_investor = result["isInvestorClient"].as_bool();
    let codes = result["clientCodes"].as_array().into_iter().flatten();
    let client_codes: Vec<String> = codes.filter_map(|c| Some(c.as_str()?.to_owned())).collect();
    let client_id = if product == Product::Interactive && is_investor == Some(false) {
        let named = client_codes.iter().find(|c| !c.starts_with('*'));
        named.or(client_codes.first()).cloned()
    } else {
        None
    };
    let facts = AccountFacts {
        user_id: text("userID").unwrap_or_default(),
        client_id,
        is_investor,
        client_codes,
        app_key_expires: text("application_expiry_date"),
    };
    Ok((token, facts))
}

/// The ticks of `listQuotes`.
pub(super) fn quotes(kind: Kind, result: &Value, sent: UnixNanos) -> Vec<Tick> {
    let mut ticks = Vec::new();
    let list = result["listQuotes"].to_string();
    let counts = Decoder::new().event(code_of(kind), &list, sent, &mut ticks);
    assert_eq!(counts.undecodable, 0, "{list}");
    ticks
}

/// A number or a text as bare text: without thousands commas, `NaN` as nothing.
fn bare(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.replace(',', ""),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    if text == "NaN" { String::new() } else { text }
}

fn integer(value: &Value) -> i64 {
    bare(value).parse().unwrap_or_default()
}

fn price(value: &Value) -> Option<Price> {
    Price::parse(bare(value).as_bytes())
}

fn money(value: &Value) -> Option<Money> {
    price(value).map(|p| Money::from_micros(p.as_nanos() / 1_000))
}

fn instrument(segment: &Value, id: &Value) -> InstrumentId {
    let segment = segment.as_str().and_then(Segment::from_xts_name).expect("is a segment");
    InstrumentId { segment, code: u32::try_from(integer(id)).expect("is an id") }
}

/// `DD-MM-YYYY HH:MM:SS` in India.
fn time(value: &Value) -> Option<UnixNanos> {
    let parsed = jiff::civil::DateTime::strptime("%d-%m-%Y %H:%M:%S", value.as_str()?).ok()?;
    let utc = jiff::tz::Offset::UTC.to_timestamp(parsed).ok()?;
    Some(UnixNanos::from_secs(utc.as_second() - 19_800))
}

/// The order book.
pub(super) fn orders(result: &Value) -> Vec<Order> {
    result.as_array().into_iter().flatten().map(order).collect()
}

fn order(entry: &Value) -> Order {
    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    Order {
        id: bare(&entry["AppOrderID"]),
        exchange_id: text("ExchangeOrderID"),
        unique_id: text("OrderUniqueIdentifier"),
        account: text("ClientID"),
        instrument: instrument(&entry["ExchangeSegment"], &entry["ExchangeInstrumentID"]),
        symbol: text("TradingSymbol"),
        side: if entry["OrderSide"] == "BUY" { Side::Buy } else { Side::Sell },
        kind: match text("OrderType").as_str() {
            "Market" => OrderKind::Market,
            "Limit" => OrderKind::Limit,
            "StopLimit" => OrderKind::StopLimit,
            "StopMarket" => OrderKind::StopMarket,
            other => OrderKind::Unknown(other.to_owned()),
        },
        product: text("ProductType"),
        validity: text("TimeInForce"),
        quantity: integer(&entry["OrderQuantity"]),
        filled: integer(&entry["CumulativeQuantity"]),
        left: integer(&entry["LeavesQuantity"]),
        price: price(&entry["OrderPrice"]).unwrap_or_default(),
        trigger: price(&entry["OrderStopPrice"]).unwrap_or_default(),
        average: price(&entry["OrderAverageTradedPrice"]),
        status: match text("OrderStatus").as_str() {
            "New" | "Open" | "Replaced" => OrderStatus::Open,
            "PendingNew" | "PendingReplace" | "PendingCancel" => OrderStatus::Pending,
            "PartiallyFilled" => OrderStatus::PartiallyFilled,
            "Filled" => OrderStatus::Filled,
            "Cancelled" => OrderStatus::Cancelled,
            "Rejected" => OrderStatus::Rejected,
            "Trigger Pending" => OrderStatus::TriggerPending,
            other => OrderStatus::Unknown(other.to_owned()),
        },
        reason: text("CancelRejectReason"),
        placed_at: time(&entry["OrderGeneratedDateTime"]),
        updated_at: time(&entry["LastUpdateDateTime"]),
    }
}

/// The positions.
pub(super) fn positions(result: &Value) -> Vec<Position> {
    result["positionList"].as_array().into_iter().flatten().map(position).collect()
}

fn position(entry: &Value) -> Position {
    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    Position {
        account: text("AccountID"),
        instrument: instrument(&entry["ExchangeSegment"], &entry["ExchangeInstrumentId"]),
        symbol: text("TradingSymbol"),
        product: text("ProductType"),
        quantity: integer(&entry["Quantity"]),
        bought: Some(integer(&entry["OpenBuyQuantity"])),
        buy_average: price(&entry["BuyAveragePrice"]),
        sold: Some(integer(&entry["OpenSellQuantity"])),
        sell_average: price(&entry["SellAveragePrice"]),
        net_amount: money(&entry["NetAmount"]),
        multiplier: Some(integer(&entry["Multiplier"])),
        realized: money(&entry["RealizedMTM"]),
        unrealized: money(&entry["UnrealizedMTM"]),
    }
}

/// The funds: those of everything together.
pub(super) fn funds(result: &Value) -> Funds {
    let list = result["BalanceList"].as_array().into_iter().flatten();
    let all = list.clone().find(|e| e["limitHeader"] == "ALL|ALL|ALL").or(list.clone().next());
    let limits = all.map_or(&Value::Null, |e| &e["limitObject"]["RMSSubLimits"]);
    Funds {
        available: money(&limits["netMarginAvailable"]),
        cash: money(&limits["cashAvailable"]),
        collateral: money(&limits["collateral"]),
        used: money(&limits["marginUtilized"]),
        realized: money(&limits["RealizedMTM"]),
        unrealized: money(&limits["UnrealizedMTM"]),
    }
}
