//! Members of a body as orders need them. Numbers come as JSON numbers or as their text, and every wrong member
//! is named in one answer.

use serde_json::{Map, Value};

use super::asked::Failed;
use crate::market::{OrderKind, PRICE_SCALE, Price, Side};
use crate::protocol::openalgo::orders as words;

/// Longest text that is worth reading.
const MAX_TEXT: usize = 256;

/// Reads members of one object, and gathers what is wrong with them.
pub(super) struct Fields<'a> {
    body: &'a Map<String, Value>,
    wrong: Vec<String>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(body: &'a Map<String, Value>) -> Self {
        Self { body, wrong: Vec::new() }
    }

    /// # Errors
    /// 400 with all that is wrong.
    pub(super) fn finish(self) -> Result<(), Failed> {
        if self.wrong.is_empty() { Ok(()) } else { Err(Failed::bad(self.wrong.join("; "))) }
    }

    fn say(&mut self, name: &str, what: &str) {
        self.wrong.push(format!("{name}: {what}"));
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.body.get(name).filter(|value| !value.is_null())
    }

    /// A text that is there, and not empty.
    pub(super) fn text(&mut self, name: &str) -> String {
        let found = self.optional_text(name);
        if found.is_none() {
            self.say(name, "Missing data for required field.");
        }
        found.unwrap_or_default()
    }

    /// A text; an empty one counts as none. Whole numbers are taken for texts: order ids come as either.
    pub(super) fn optional_text(&mut self, name: &str) -> Option<String> {
        let text = match self.get(name)? {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
            _ => {
                self.say(name, "Not a valid string.");
                return Some(String::new());
            }
        };
        if text.len() > MAX_TEXT {
            self.say(name, &format!("Longer than {MAX_TEXT} characters."));
        }
        (!text.is_empty()).then_some(text)
    }

    /// BUY or SELL.
    pub(super) fn side(&mut self, name: &str) -> Side {
        let text = self.text(name).to_ascii_uppercase();
        match text.as_str() {
            "BUY" => return Side::Buy,
            "SELL" => return Side::Sell,
            "" => {}
            _ => self.say(name, "Must be one of: BUY, SELL."),
        }
        Side::Buy
    }

    /// MARKET unless it says otherwise.
    pub(super) fn kind(&mut self, name: &str, required: bool) -> OrderKind {
        let text = if required { Some(self.text(name)) } else { self.optional_text(name) };
        let text = text.filter(|text| !text.is_empty()).unwrap_or_else(|| "MARKET".to_owned());
        words::parse_price_type(&text.to_ascii_uppercase()).unwrap_or_else(|| {
            self.say(name, "Must be one of: MARKET, LIMIT, SL, SL-M.");
            OrderKind::Market
        })
    }

    /// MIS unless it says otherwise.
    pub(super) fn product(&mut self, name: &str, required: bool) -> String {
        let text = if required { Some(self.text(name)) } else { self.optional_text(name) };
        let product = text.unwrap_or_else(|| "MIS".to_owned()).to_ascii_uppercase();
        if !matches!(product.as_str(), "MIS" | "NRML" | "CNC" | "") {
            self.say(name, "Must be one of: MIS, NRML, CNC.");
        }
        product
    }

    /// A whole number of units within bounds. `None`: it is absent, or wrong, which is noted.
    pub(super) fn whole(&mut self, name: &str, least: i64) -> Option<i64> {
        let units = self.decimal(name)?;
        if units % PRICE_SCALE != 0 {
            self.say(name, "Must be a whole number.");
            return None;
        }
        let units = units / PRICE_SCALE;
        if units < least {
            self.say(name, &format!("Must be at least {least}."));
            return None;
        }
        Some(units)
    }

    /// A whole number that must be there.
    pub(super) fn required_whole(&mut self, name: &str, least: i64) -> i64 {
        self.required(name);
        self.whole(name, least).unwrap_or(least.max(0))
    }

    /// A price of zero or more; zero if it is absent.
    pub(super) fn price(&mut self, name: &str) -> Price {
        let nanos = self.decimal(name).unwrap_or(0);
        if nanos < 0 {
            self.say(name, "Must be at least 0.");
        }
        Price::from_nanos(nanos)
    }

    /// Notes a member that is absent.
    pub(super) fn required(&mut self, name: &str) {
        if self.get(name).is_none() {
            self.say(name, "Missing data for required field.");
        }
    }

    /// A decimal in units of 1e-9. More decimals are refused: rounding would turn 0.9999999999 into a whole.
    fn decimal(&mut self, name: &str) -> Option<i64> {
        let text = match self.get(name)? {
            // The shortest text that gives this number back: the one that was sent, for up to 15 digits.
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.trim().to_owned(),
            _ => String::new(),
        };
        let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.trim_end_matches('0').len());
        let units = Price::parse(text.as_bytes()).filter(|_| decimals <= 9).map(Price::as_nanos);
        if units.is_none() {
            self.say(name, "Not a valid number.");
        }
        units
    }
}
