//! Members of a body as data endpoints need them; what is wrong is told by member, as OpenAlgo does.

use jiff::civil::Date;
use serde_json::{Map, Value, json};

use super::super::asked::Failed;
use crate::market::{Exchange, InstrumentId, Master};

/// Longest text that is worth reading.
const MAX_TEXT: usize = 256;
/// The exchanges that OpenAlgo knows, whether there is anything of them here or not.
const EXCHANGES: [&str; 14] = [
    "NSE",
    "NFO",
    "CDS",
    "BSE",
    "BFO",
    "BCD",
    "MCX",
    "NCDEX",
    "NCO",
    "NSE_INDEX",
    "BSE_INDEX",
    "MCX_INDEX",
    "GLOBAL_INDEX",
    "CRYPTO",
];

/// Reads members of a body, and gathers what is wrong with them.
pub(super) struct Wanted<'a> {
    body: &'a Map<String, Value>,
    wrong: Map<String, Value>,
}

impl<'a> Wanted<'a> {
    pub(super) fn of(body: &'a Map<String, Value>) -> Self {
        Self { body, wrong: Map::new() }
    }

    pub(super) fn say(&mut self, name: &str, what: impl Into<String>) {
        self.wrong.insert(name.to_owned(), json!([what.into()]));
    }

    /// # Errors
    /// 400 with all that is wrong.
    pub(super) fn finish(self) -> Result<(), Failed> {
        if self.wrong.is_empty() { Ok(()) } else { Err(Failed::bad("").with("message", self.wrong)) }
    }

    /// A text that is there, and not blank.
    pub(super) fn text(&mut self, name: &str) -> &'a str {
        let text = self.optional(name);
        if text.is_none() && !self.wrong.contains_key(name) {
            self.say(name, "Missing data for required field.");
        }
        text.unwrap_or_default()
    }

    /// A text; blank counts as absent.
    pub(super) fn optional(&mut self, name: &str) -> Option<&'a str> {
        let text = match self.body.get(name)? {
            Value::Null => return None,
            Value::String(text) => text.trim(),
            _ => {
                self.say(name, "Not a valid string.");
                return None;
            }
        };
        if text.len() > MAX_TEXT {
            self.say(name, format!("Longer than {MAX_TEXT} characters."));
            return None;
        }
        (!text.is_empty()).then_some(text)
    }

    /// An exchange's name as OpenAlgo spells it.
    pub(super) fn exchange(&mut self, name: &str) -> &'a str {
        let text = self.text(name);
        if !text.is_empty() && !EXCHANGES.contains(&text) {
            self.say(name, format!("Must be one of: {}.", EXCHANGES.join(", ")));
        }
        text
    }

    /// A day as `YYYY-MM-DD`.
    pub(super) fn day(&mut self, name: &str) -> Date {
        let text = self.text(name);
        let day = (text.len() == 10).then(|| text.parse::<Date>().ok()).flatten();
        // Times of these years fit into every clock, and nobody has bars of others.
        let day = day.filter(|day| (1980..=2100).contains(&day.year()));
        if day.is_none() && !text.is_empty() {
            self.say(name, "Not a valid date.");
        }
        day.unwrap_or_default()
    }
}

/// The instrument of a name.
///
/// # Errors
/// 400.
pub(super) fn resolve(master: &Master, exchange: &str, symbol: &str) -> Result<InstrumentId, Failed> {
    let found = Exchange::parse(exchange).and_then(|exchange| master.resolve(exchange, symbol));
    found.ok_or_else(|| Failed::bad(not_found(exchange, symbol)))
}

pub(super) fn not_found(exchange: &str, symbol: &str) -> String {
    format!(
        "Symbol '{symbol}' not found for exchange '{exchange}'. Please verify the symbol name and exchange are correct."
    )
}
