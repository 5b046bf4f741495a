//! Small look-ups and the search: questions about instruments that the master answers too.
//! Everything comes from the master's rows.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Core;
use super::books::Query;
use super::history::segment;
use super::requests::instrument_id;
use crate::market::Segment;
use crate::sim::answers::Answer;

/// The most that a search finds.
const MAX_FOUND: usize = 200;

/// Columns of the master's rows; those of contracts differ from the others behind the 14th.
struct Row<'a>(Vec<&'a str>);

impl<'a> Row<'a> {
    fn new(text: &'a str) -> Self {
        Self(text.split('|').collect())
    }

    fn at(&self, column: usize) -> &'a str {
        self.0.get(column).copied().unwrap_or_default()
    }

    fn is_option(&self) -> bool {
        self.at(2) == "2"
    }

    fn is_contract(&self) -> bool {
        matches!(self.at(2), "1" | "2" | "4")
    }

    fn expiry(&self) -> &'a str {
        if self.is_contract() { self.at(16) } else { "" }
    }

    fn option_type(&self) -> &'static str {
        match (self.is_option(), self.at(18)) {
            (true, "3") => "CE",
            (true, "4") => "PE",
            _ => "",
        }
    }

    fn is(&self, series: &str, symbol: &str) -> bool {
        self.at(5).eq_ignore_ascii_case(series) && self.at(3).eq_ignore_ascii_case(symbol)
    }

    /// As look-ups and the search write an instrument.
    fn object(&self) -> Value {
        let number = |column: usize| self.at(column).parse::<f64>().map_or(Value::Null, |n| json!(n));
        let whole = |column: usize| self.at(column).parse::<i64>().map_or(Value::Null, |n| json!(n));
        let display = match self.at(2) {
            "2" => 19,
            "1" | "4" => 17,
            _ => 14,
        };
        let mut object = json!({
            "ExchangeSegment": Segment::from_xts_name(self.at(0)).map(Segment::number),
            "ExchangeInstrumentID": whole(1),
            "InstrumentType": whole(2),
            "Name": self.at(3),
            "DisplayName": self.at(display),
            "Description": self.at(4),
            "Series": self.at(5),
            "NameWithSeries": self.at(6),
            "InstrumentID": whole(7),
            "PriceBand": {"High": number(8), "Low": number(9), "HighString": self.at(8),
                "LowString": self.at(9), "CreditRating": format!("{}-{}", self.at(9), self.at(8))},
            "FreezeQty": number(10),
            "TickSize": number(11),
            "LotSize": whole(12),
        });
        if self.is_contract() {
            object["UnderlyingInstrumentId"] = whole(14);
            object["UnderlyingIndexName"] = json!(self.at(15));
            object["ContractExpiration"] = json!(self.at(16));
            object["ContractExpirationString"] = json!(short_date(self.at(16)));
        }
        if self.is_option() {
            object["StrikePrice"] = number(17);
            object["OptionType"] = whole(18);
        }
        object
    }
}

/// `2026-02-17T14:30:00` as `17Feb2026`.
fn short_date(iso: &str) -> String {
    let date = iso.get(..10).and_then(|d| d.parse::<jiff::civil::Date>().ok());
    date.map_or(String::new(), |d| d.strftime("%d%b%Y").to_string())
}

fn found(list: &[Value]) -> Answer {
    if list.is_empty() {
        return Answer::error(400, "e-rds-0001", "key not found.", json!({}));
    }
    Answer::success("s-rds-0", "ok", json!(list))
}

impl Core {
    /// `GET …/instruments/instrument/…`; `None` if there is no such. Its last part is taken in
    /// any case, as clients spell it.
    pub(crate) fn look_up(&self, what: &str, query: &Query) -> Option<Answer> {
        let text = |key: &str| query.get(key).map(|t| t.trim()).unwrap_or_default();
        let what = what.to_ascii_lowercase();
        let known =
            ["series", "symbol", "expirydate", "futuresymbol", "optionsymbol", "optiontype", "strikeprice"];
        if !known.contains(&what.as_str()) {
            return None;
        }
        let Some(segment) = segment(text("exchangeSegment")) else {
            return Some(Answer::bad_request("exchangeSegment is no segment"));
        };
        let mut master = String::new();
        self.market.catalogue().master(segment, &mut master);
        let rows: Vec<_> = master.lines().map(Row::new).collect();
        let distinct = |texts: BTreeSet<&str>| {
            let list: Vec<_> = texts.into_iter().filter(|t| !t.is_empty()).map(|t| json!(t)).collect();
            found(&list)
        };
        if what == "series" {
            return Some(distinct(rows.iter().map(|r| r.at(5)).collect()));
        }
        let (series, symbol) = (text("series"), text("symbol"));
        let theirs: Vec<_> = rows.into_iter().filter(|r| r.is(series, symbol)).collect();
        let expiry = text("expiryDate");
        let of_date = |r: &&Row<'_>| expiry.is_empty() || short_date(r.expiry()).eq_ignore_ascii_case(expiry);
        let right = text("optionType");
        let of_right = |r: &&Row<'_>| right.is_empty() || r.option_type().eq_ignore_ascii_case(right);
        let strike = text("strikePrice").parse::<f64>().ok();
        let of_strike = |r: &&Row<'_>| strike.is_some() && r.at(17).parse::<f64>().ok() == strike;
        let objects = |list: Vec<&Row<'_>>| found(&list.iter().map(|r| r.object()).collect::<Vec<_>>());
        Some(match what.as_str() {
            "symbol" => objects(theirs.iter().take(1).collect()),
            "expirydate" => distinct(theirs.iter().map(Row::expiry).collect()),
            "futuresymbol" => {
                objects(theirs.iter().filter(|r| r.at(2) == "1").filter(of_date).take(1).collect())
            }
            "optionsymbol" => {
                let options = theirs.iter().filter(|r| r.is_option());
                objects(options.filter(of_date).filter(of_right).filter(of_strike).take(1).collect())
            }
            "optiontype" => distinct(theirs.iter().filter(of_date).map(Row::option_type).collect()),
            _ => {
                let options = theirs.iter().filter(|r| r.is_option()).filter(of_date).filter(of_right);
                let mut strikes: Vec<_> = options.map(|r| r.at(17)).collect();
                strikes.sort_by(|a, b| {
                    let value = |t: &str| t.parse::<f64>().unwrap_or_default();
                    value(a).total_cmp(&value(b))
                });
                strikes.dedup();
                found(&strikes.into_iter().map(|s| json!(s)).collect::<Vec<_>>())
            }
        })
    }

    /// `GET …/search/instruments?searchString=`.
    pub(crate) fn search(&self, query: &Query) -> Answer {
        let text = query.get("searchString").map(|t| t.trim().to_ascii_uppercase()).unwrap_or_default();
        if text.is_empty() {
            return Answer::bad_request("searchString is missing");
        }
        let rows = self.market.catalogue().listings().iter().filter_map(|l| l.row.as_deref()).map(Row::new);
        let is_meant = |r: &Row<'_>| r.at(3).starts_with(&text) || r.at(4).starts_with(&text);
        let list: Vec<_> = rows.filter(is_meant).take(MAX_FOUND).map(|r| r.object()).collect();
        if list.is_empty() {
            return Answer::error(400, "e-search-0001", "Instruments not found", json!({}));
        }
        Answer::success("s-search-0001", "Instruments Found", json!(list))
    }

    /// `POST …/search/instrumentsbyid`.
    pub(crate) fn search_by_id(&self, body: &Value) -> Answer {
        let Some(wanted) = body.get("instruments").and_then(Value::as_array) else {
            return Answer::bad_request("instruments must be a list");
        };
        let catalogue = self.market.catalogue();
        let row = |value: &Value| {
            let at = catalogue.position(instrument_id(value)?)?;
            catalogue.listings()[at].row.as_deref().map(|r| Row::new(r).object())
        };
        let list: Vec<_> = wanted.iter().filter_map(row).collect();
        if list.is_empty() {
            return Answer::unknown_instrument();
        }
        Answer::success("s-search-0002", "Instruments Found", json!(list))
    }
}
