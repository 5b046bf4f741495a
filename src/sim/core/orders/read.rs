//! Bodies of calls about orders: numbers and texts that are numbers, names in any case.
//! Not whether the exchange would take what they say; that is `check`.

use serde_json::Value;

use crate::market::{InstrumentId, Price, Segment};
use crate::sim::books::{Side, Type, Validity};

/// What a body asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) id: InstrumentId,
    pub(super) side: Side,
    pub(super) r#type: Type,
    pub(super) validity: Validity,
    pub(super) product: &'static str,
    pub(super) quantity: i64,
    pub(super) disclosed: i64,
    pub(super) limit: Price,
    pub(super) trigger: Price,
    pub(super) mark: String,
}

/// Products of the venue. The last two are what brackets and covers go under.
const PRODUCTS: [&str; 6] = ["MIS", "NRML", "CNC", "MTF", "BO", "CO"];

/// What is wrong with a body: a member and what it must be.
pub(super) type Wrong = String;

impl Wanted {
    /// Reads an order. `product` is what it goes under if the body does not say.
    pub(super) fn read(body: &Value, product: Option<&'static str>) -> Result<Self, Wrong> {
        let mark = text(body, "orderUniqueIdentifier").unwrap_or_default();
        if mark.len() > 20 {
            return Err("orderUniqueIdentifier has more than 20 characters".to_owned());
        }
        Ok(Self {
            id: instrument(body)?,
            side: side(&required(body, "orderSide")?)?,
            r#type: order_type(&required(body, "orderType")?)?,
            validity: match text(body, "timeInForce") {
                Some(text) => validity(&text)?,
                None => Validity::Day,
            },
            product: match product {
                Some(product) => product,
                None => self::product(&required(body, "productType")?)?,
            },
            quantity: whole(body, "orderQuantity")?.ok_or("orderQuantity is missing")?,
            disclosed: whole(body, "disclosedQuantity")?.unwrap_or_default(),
            limit: rupees(body, "limitPrice")?.unwrap_or_default(),
            trigger: rupees(body, "stopPrice")?.unwrap_or_default(),
            mark,
        })
    }
}

/// A segment, here by its name, and an instrument.
pub(super) fn instrument(body: &Value) -> Result<InstrumentId, Wrong> {
    let name = required(body, "exchangeSegment")?;
    let segment = Segment::from_xts_name(&name.to_ascii_uppercase());
    let segment = segment.ok_or("exchangeSegment names no segment")?;
    let code = whole(body, "exchangeInstrumentID")?.ok_or("exchangeInstrumentID is missing")?;
    let code = u32::try_from(code).map_err(|_| "exchangeInstrumentID is out of range")?;
    Ok(InstrumentId { segment, code })
}

pub(super) fn side(text: &str) -> Result<Side, Wrong> {
    match text.to_ascii_uppercase().as_str() {
        "BUY" => Ok(Side::Buy),
        "SELL" => Ok(Side::Sell),
        _ => Err("orderSide must be BUY or SELL".to_owned()),
    }
}

pub(super) fn order_type(text: &str) -> Result<Type, Wrong> {
    match text.to_ascii_uppercase().as_str() {
        "MARKET" => Ok(Type::Market),
        "LIMIT" => Ok(Type::Limit),
        "STOPLIMIT" => Ok(Type::StopLimit),
        "STOPMARKET" => Ok(Type::StopMarket),
        _ => Err("orderType must be MARKET, LIMIT, STOPLIMIT or STOPMARKET".to_owned()),
    }
}

pub(super) fn validity(text: &str) -> Result<Validity, Wrong> {
    let found = Validity::ALL.into_iter().find(|v| v.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| "timeInForce must be DAY, IOC, FOK, GTC or GTD".to_owned())
}

pub(super) fn product(text: &str) -> Result<&'static str, Wrong> {
    let found = PRODUCTS.into_iter().find(|p| p.eq_ignore_ascii_case(text));
    found.ok_or_else(|| "productType must be MIS, NRML, CNC or MTF".to_owned())
}

/// A text, or a number as text; `None` where there is none.
pub(super) fn text(body: &Value, key: &str) -> Option<String> {
    match body.get(key)? {
        Value::String(text) if text.trim().is_empty() => None,
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

pub(super) fn required(body: &Value, key: &str) -> Result<String, Wrong> {
    text(body, key).ok_or_else(|| format!("{key} is missing"))
}

/// A whole number, as number or text, also as `10.0`.
pub(super) fn whole(body: &Value, key: &str) -> Result<Option<i64>, Wrong> {
    let Some(text) = text(body, key) else { return Ok(None) };
    let whole = text.split_once('.').map_or(text.as_str(), |(whole, decimals)| {
        if decimals.bytes().all(|b| b == b'0') { whole } else { "" }
    });
    whole.parse().map(Some).map_err(|_| format!("{key} is no whole number"))
}

/// An amount, as number or text.
pub(super) fn rupees(body: &Value, key: &str) -> Result<Option<Price>, Wrong> {
    let Some(text) = text(body, key) else { return Ok(None) };
    match Price::parse(text.as_bytes()) {
        Some(price) if price >= Price::ZERO => Ok(Some(price)),
        _ => Err(format!("{key} is no price")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_may_be_texts_and_what_is_wrong_is_named() {
        let body = json!({"exchangeSegment": "NSECM", "exchangeInstrumentID": 2885, "productType": "MIS",
            "orderType": "LIMIT", "orderSide": "BUY", "timeInForce": "DAY", "disclosedQuantity": 0,
            "orderQuantity": 10, "limitPrice": 1460.5, "stopPrice": 0, "orderUniqueIdentifier": "abc123"});
        let wanted = Wanted::read(&body, None).unwrap();
        let texts = json!({"exchangeSegment": "NSECM", "exchangeInstrumentID": "2885", "productType": "MIS",
            "orderType": "Limit", "orderSide": "buy", "disclosedQuantity": "0", "orderQuantity": "10.0",
            "limitPrice": "1460.50", "stopPrice": "", "orderUniqueIdentifier": "abc123"});
        assert_eq!(Wanted::read(&texts, None).unwrap(), wanted);
        assert_eq!((wanted.limit.to_string(), wanted.quantity), ("1460.5".to_owned(), 10));
        for (key, value, named) in [
            ("exchangeSegment", json!(1), "exchangeSegment"),
            ("orderQuantity", json!("1.5"), "orderQuantity"),
            ("limitPrice", json!("NaN"), "limitPrice"),
            ("limitPrice", json!(-1), "limitPrice"),
            ("orderSide", json!("HOLD"), "orderSide"),
            ("productType", json!(null), "productType"),
            ("timeInForce", json!("WEEK"), "timeInForce"),
            ("orderUniqueIdentifier", json!("a".repeat(21)), "orderUniqueIdentifier"),
        ] {
            let mut bad = body.clone();
            bad[key] = value;
            assert!(Wanted::read(&bad, None).unwrap_err().contains(named), "{key}");
        }
    }
}
