//! Rows of the instrument master, columns separated by `|`.
//!
//! Source: Symphony's XTS market-data API documentation ("Master Instruments"), whose samples
//! cover NSE; rows of the other exchanges are composed by analogy.

use jiff::civil::Date;

use super::{Family, OnGrid as _};
use crate::market::{InstrumentId, Price, Right, Segment};

/// A share or an index.
pub(super) struct Cash<'a> {
    pub(super) id: InstrumentId,
    pub(super) name: &'a str,
    pub(super) series: &'a str,
    pub(super) tick: Price,
    pub(super) price: Price,
    pub(super) company: &'a str,
    pub(super) isin: &'a str,
}

/// A future or an option.
pub(super) struct Contract<'a> {
    pub(super) id: InstrumentId,
    pub(super) expiry: Date,
    pub(super) price: Price,
    pub(super) family: &'a Family,
}

/// 22 columns.
pub(super) fn cash(row: &Cash<'_>) -> String {
    let Cash { id, name, series, tick, price, company, isin } = row;
    let (high, low) = band(*price, *tick, 10);
    let freeze = 1_000_000_000 / (price.as_nanos() / 1_000_000_000).max(1);
    format!(
        "{}|{}|8|{name}|{name}-{series}|{series}|{name}-{series}|{}|{high}|{low}|{freeze}|{}|1|1|{name}|{isin}|1|1|{company}-{series}|0|1|1",
        id.segment.xts_name(),
        id.code,
        long_id(*id, 1, 1),
        plain(*tick),
    )
}

/// An index as BSE lists it, with the columns of cash.
pub(super) fn spot(id: InstrumentId, name: &str) -> String {
    format!(
        "{}|{}|16|{name}|{name}|SPOT|{name}-SPOT|{}|0|0|1|0.01|1|1|{name}||1|1|{name}|0|1|1",
        id.segment.xts_name(),
        id.code,
        long_id(id, 1, 1),
    )
}

/// 21 columns.
pub(super) fn future(row: &Contract<'_>) -> String {
    let Contract { expiry, family, .. } = row;
    let description = format!("{}{}FUT", family.name, month_code(*expiry));
    format!(
        "{}|1|{}|{}|{} {}|1|1|{description}",
        head(row),
        middle(row, &description, family.series_future),
        contract_expiration(row),
        family.name,
        display_date(*expiry),
    )
}

/// 23 columns.
pub(super) fn option(row: &Contract<'_>, strike: &str, right: Right, is_monthly: bool) -> String {
    let Contract { expiry, family, .. } = row;
    let (number, letters) = match right {
        Right::Call => (3, "CE"),
        Right::Put => (4, "PE"),
    };
    let date = if is_monthly { month_code(*expiry) } else { week_code(*expiry) };
    let description = format!("{}{date}{strike}{letters}", family.name);
    format!(
        "{}|2|{}|{}|{strike}|{number}|{} {} {letters} {strike}|1|1|{description}",
        head(row),
        middle(row, &description, family.series_option),
        contract_expiration(row),
        family.name,
        display_date(*expiry),
    )
}

/// A calendar spread: the columns of a future, type 4. Its expiry is the year 1980's start, as
/// "none" is written elsewhere in XTS.
pub(super) fn spread(id: InstrumentId, name: &str, description: &str) -> String {
    format!(
        "{}|{}|4|{name}|{description}|FUTIDX|{name}-FUTIDX|{}|500|-500|1801|0.05|65|1|-1|{name}|1980-01-01T00:00:00|{description}|1|1|{description}",
        id.segment.xts_name(),
        id.code,
        long_id(id, 6, 1),
    )
}

/// Segment and instrument id.
fn head(row: &Contract<'_>) -> String {
    format!("{}|{}", row.id.segment.xts_name(), row.id.code)
}

/// Columns 4 to 16.
fn middle(row: &Contract<'_>, description: &str, series: &str) -> String {
    let Contract { id, expiry, price, family } = row;
    let (high, low) =
        band(*price, family.tick, if series.starts_with("OPT") || series == "IO" { 90 } else { 10 });
    let long = long_id(*id, (expiry.year() % 10) as u8, expiry.day_of_year());
    // Options tick in five paise whatever their future does.
    let is_option = matches!(series, "OPTIDX" | "OPTSTK" | "IO");
    let tick = if is_option { "0.05".to_owned() } else { plain(family.tick) };
    format!(
        "{name}|{description}|{series}|{name}-{series}|{long}|{high}|{low}|{freeze}|{tick}|{lot}|{multiplier}|{underlying}|{full_name}",
        name = family.name,
        freeze = family.lot * 40 + 1,
        lot = family.lot,
        multiplier = if id.segment == Segment::NseCurrency { 1000 } else { 1 },
        underlying = family.underlying_id,
        full_name = family.full_name,
    )
}

/// The time of day is the one real masters show, not the moment of expiry.
fn contract_expiration(row: &Contract<'_>) -> String {
    let time = match row.id.segment {
        Segment::NseFo => "14:30:00",
        Segment::BseFo => "15:30:00",
        Segment::NseCurrency => "12:30:00",
        _ => "23:30:00",
    };
    format!("{}T{time}", row.expiry)
}

/// Price band of so many percent, on the grid.
fn band(price: Price, tick: Price, percent: i64) -> (String, String) {
    let part = price.as_nanos() / 100 * percent;
    let at = |units: i64| plain(Price::from_nanos(units).round_to(tick).max(tick));
    (at(price.as_nanos() + part), at(price.as_nanos() - part))
}

/// The opaque number: segment, last digit of the year, day of the year, id.
fn long_id(id: InstrumentId, year_digit: u8, day: i16) -> String {
    format!("{}{year_digit}{day:03}{:08}", id.segment.number(), id.code)
}

/// A price without a trailing `.0`, as XTS prints whole numbers.
pub(super) fn plain(price: Price) -> String {
    let text = price.to_string();
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

fn month_name(date: Date) -> &'static str {
    MONTHS[(date.month() as usize).clamp(1, 12) - 1]
}

/// `17FEB26`: as OpenAlgo's symbols have it.
pub(super) fn symbol_date(date: Date) -> String {
    format!("{:02}{}{:02}", date.day(), month_name(date), date.year() % 100)
}

/// `26FEB`: as descriptions of monthly contracts have it.
pub(super) fn month_code(date: Date) -> String {
    format!("{:02}{}", date.year() % 100, month_name(date))
}

/// `26217`: year, month as 1-9, O, N or D, day.
fn week_code(date: Date) -> String {
    let month = b"123456789OND"[(date.month() as usize).clamp(1, 12) - 1] as char;
    format!("{:02}{month}{:02}", date.year() % 100, date.day())
}

/// `17FEB2026`.
fn display_date(date: Date) -> String {
    format!("{:02}{}{}", date.day(), month_name(date), date.year())
}
