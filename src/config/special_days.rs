//! The file of single days on which exchanges keep other hours than the built-in calendar has them.
//! Read here, meant in `market::calendar`.
//!
//! ```toml
//! [[day]]
//! date = "2026-11-08"
//! exchange = "NSE"
//! open = "18:15"
//! close = "19:15"
//! pre_open = "18:00"
//! why = "Diwali evening session"
//!
//! [[day]]
//! date = "2026-12-31"
//! exchange = "CDS"
//! closed = true
//! why = "bank holiday"
//! ```

use std::fs;
use std::path::Path;

use toml::{Table, Value};

use crate::market::calendar::{Session, SpecialDay};
use crate::market::{Exchange, TimeOfDay};

const KEYS: [&str; 7] = ["date", "exchange", "closed", "open", "close", "pre_open", "why"];

/// Reads the file; an empty path is no file.
///
/// # Errors
/// Everything that is wrong with it, each with file, entry and key.
pub(super) fn read(path: &Path) -> Result<Vec<SpecialDay>, Vec<String>> {
    if path.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| vec![format!("{name} cannot be read: {error}")])?;
    parse(&text).map_err(|found| found.into_iter().map(|what| format!("{name}: {what}")).collect())
}

fn parse(text: &str) -> Result<Vec<SpecialDay>, Vec<String>> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        vec![format!("line {line}: {}", error.message())]
    })?;
    let mut problems = Vec::new();
    for key in table.keys().filter(|key| *key != "day") {
        problems.push(format!("{key}: is not known; days stand in [[day]]"));
    }
    let entries = match table.get("day") {
        None => &[][..],
        Some(Value::Array(entries)) => entries,
        Some(_) => {
            problems.push("day: must be a list, as [[day]]".to_owned());
            &[]
        }
    };
    let mut days: Vec<SpecialDay> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let Value::Table(entry) = entry else {
            problems.push(format!("day[{index}]: must be a table, as [[day]]"));
            continue;
        };
        match day(entry) {
            Ok(day) => {
                let twice = days.iter().position(|d| (d.date, d.exchange) == (day.date, day.exchange));
                if let Some(first) = twice {
                    problems
                        .push(format!("day[{index}].date: {} has this day in day[{first}]", day.exchange));
                } else {
                    days.push(day);
                }
            }
            Err(found) => {
                problems.extend(found.into_iter().map(|(key, what)| format!("day[{index}].{key}: {what}")));
            }
        }
    }
    if problems.is_empty() { Ok(days) } else { Err(problems) }
}

fn day(entry: &Table) -> Result<SpecialDay, Vec<(String, String)>> {
    let mut problems = Vec::new();
    let mut wrong = |key: &str, what: String| problems.push((key.to_owned(), what));
    for key in entry.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        wrong(key, format!("is not known; {} are", KEYS.join(", ")));
    }
    // TOML has a date of its own; both spellings mean the same.
    let date = entry.get("date").map(|date| date.as_str().map_or_else(|| date.to_string(), str::to_owned));
    let date = date.and_then(|text| text.parse().ok());
    if date.is_none() {
        wrong("date", "must be a day as \"2026-11-08\"".to_owned());
    }
    let exchange = entry.get("exchange").and_then(Value::as_str).and_then(Exchange::parse);
    let exchange = exchange.filter(|exchange| exchange.segment().exchange() == *exchange);
    if exchange.is_none() {
        let all = Exchange::ALL.iter().filter(|exchange| exchange.segment().exchange() == **exchange);
        let all: Vec<_> = all.map(|exchange| exchange.as_str()).collect();
        wrong("exchange", format!("must be one of {}", all.join(", ")));
    }
    let closed = match entry.get("closed") {
        None => false,
        Some(Value::Boolean(closed)) => *closed,
        Some(_) => {
            wrong("closed", "must be true or false".to_owned());
            false
        }
    };
    let mut time = |key: &str, needed: bool| -> Option<TimeOfDay> {
        match entry.get(key) {
            None if !needed || closed => None,
            None => {
                wrong(key, "is missing; a day has open and close, or closed = true".to_owned());
                None
            }
            Some(_) if closed => {
                wrong(key, "contradicts closed = true".to_owned());
                None
            }
            Some(text) => {
                let time = text.as_str().and_then(|text| text.parse().ok());
                if time.is_none() {
                    wrong(key, "must be a time of day as \"18:15\"".to_owned());
                }
                time
            }
        }
    };
    let (open, close, pre_open) = (time("open", true), time("close", true), time("pre_open", false));
    if let (Some(open), Some(close)) = (open, close)
        && close <= open
    {
        wrong("close", "must be after open".to_owned());
    }
    if let (Some(open), Some(pre_open)) = (open, pre_open)
        && pre_open >= open
    {
        wrong("pre_open", "must be before open".to_owned());
    }
    let why = entry.get("why").map_or(Some(""), Value::as_str);
    if why.is_none() {
        wrong("why", "must be a text".to_owned());
    }
    match (date, exchange, why) {
        (Some(date), Some(exchange), Some(why)) if problems.is_empty() => {
            let session =
                open.zip(close).map(|(open, close)| Session { pre_open, open, close, closing: None });
            let why = if why.is_empty() { "as the calendar file says" } else { why };
            Ok(SpecialDay { date, exchange, session, why: why.into() })
        }
        _ => Err(problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read() {
        let days = parse(
            "[[day]]\ndate = \"2026-11-08\"\nexchange = \"NSE\"\nopen = \"18:15\"\nclose = \"19:15\"\n\
             pre_open = \"18:00\"\nwhy = \"Diwali\"\n[[day]]\ndate = 2026-12-31\nexchange = \"CDS\"\nclosed = true\n",
        )
        .unwrap();
        let at = |text: &str| text.parse::<TimeOfDay>().unwrap();
        let session =
            Session { pre_open: Some(at("18:00")), open: at("18:15"), close: at("19:15"), closing: None };
        assert_eq!(
            (days[0].exchange, days[0].session, &*days[0].why),
            (Exchange::Nse, Some(session), "Diwali")
        );
        assert_eq!((days[1].date.to_string(), days[1].session), ("2026-12-31".to_owned(), None));
        assert_eq!(parse("").unwrap(), []);
        assert_eq!(read(Path::new("")).unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_named_with_entry_and_key() {
        let found = |text: &str| parse(text).unwrap_err();
        assert_eq!(
            found("day = 1\nholidays = []"),
            ["holidays: is not known; days stand in [[day]]", "day: must be a list, as [[day]]"]
        );
        assert!(found("[[day]]\nx = ")[0].starts_with("line 2: "), "{:?}", found("[[day]]\nx = "));
        let good = "[[day]]\ndate = \"2026-11-08\"\nexchange = \"NSE\"\nclosed = true\n";
        let second = |lines: &str| found(&format!("{good}[[day]]\n{lines}"));
        assert_eq!(second(&good[8..]), ["day[1].date: NSE has this day in day[0]"]);
        assert_eq!(
            second("date = \"8.11.\"\nexchange = \"NSE_INDEX\"\nopen = \"25:00\"\nclosing = 1"),
            [
                "day[1].closing: is not known; date, exchange, closed, open, close, pre_open, why are",
                "day[1].date: must be a day as \"2026-11-08\"",
                "day[1].exchange: must be one of NSE, BSE, NFO, BFO, CDS, MCX",
                "day[1].open: must be a time of day as \"18:15\"",
                "day[1].close: is missing; a day has open and close, or closed = true",
            ]
        );
        let head = "date = \"2026-11-08\"\nexchange = \"MCX\"\n";
        assert_eq!(
            second(&format!("{head}open = \"10:00\"\nclose = \"10:00\"\npre_open = \"10:00\"\nwhy = 1")),
            [
                "day[1].close: must be after open",
                "day[1].pre_open: must be before open",
                "day[1].why: must be a text",
            ]
        );
        assert_eq!(
            second(&format!("{head}closed = true\nopen = \"10:00\"")),
            ["day[1].open: contradicts closed = true"]
        );
        let missing = read(Path::new("/nowhere/calendar.toml")).unwrap_err();
        assert!(missing[0].starts_with("/nowhere/calendar.toml cannot be read: "), "{missing:?}");
    }
}
