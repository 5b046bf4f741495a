//! `/market/holidays`, `/market/timings`: when exchanges trade. Times are epoch milliseconds of true instants.

use jiff::civil::{Date, date};
use serde_json::{Value, json};

use super::super::asked::{Asked, Failed, Reply};
use super::super::serve::wrong_members;
use super::wanted::Wanted;
use crate::market::Exchange;
use crate::market::calendar::{Session, ist_date, ist_midnight};

/// The exchanges that trade.
fn exchanges() -> impl Iterator<Item = Exchange> {
    Exchange::ALL.into_iter().filter(|e| !matches!(e, Exchange::NseIndex | Exchange::BseIndex))
}

fn hours(exchange: Exchange, day: Date, session: &Session) -> Value {
    let midnight = ist_midnight(day).as_millis();
    json!({
        "exchange": exchange.as_str(),
        "start_time": midnight + session.open.secs() * 1000,
        "end_time": midnight + session.close.secs() * 1000,
    })
}

pub(super) async fn timings(asked: &Asked) -> Result<Reply, Failed> {
    let mut wanted = Wanted::of(&asked.body);
    let day = match asked.body.get("date") {
        None | Some(Value::Null) => ist_date(asked.clock.now()),
        Some(_) => wanted.day("date"),
    };
    wanted.finish()?;
    if !crate::market::Calendar::new().knows(day.year()) {
        return Err(Failed::new(404, format!("the holidays of {} are not known here", day.year())));
    }
    let open = exchanges()
        .filter_map(|exchange| Some(hours(exchange, day, &asked.calendar.session(exchange, day)?)));
    Ok(Reply::data(&open.collect::<Vec<_>>()))
}

pub(super) async fn holidays(asked: &Asked) -> Result<Reply, Failed> {
    let wrong = || wrong_members(&[("year", "Not a valid year.")]);
    let year = match asked.body.get("year") {
        None | Some(Value::Null) => ist_date(asked.clock.now()).year(),
        Some(Value::Number(year)) => year.as_i64().and_then(|year| year.try_into().ok()).ok_or_else(wrong)?,
        Some(Value::String(year)) => year.trim().parse().map_err(|_| wrong())?,
        Some(_) => return Err(wrong()),
    };
    if !(1980..=2100).contains(&year) {
        return Err(wrong());
    }
    if !crate::market::Calendar::new().knows(year) {
        return Err(Failed::new(404, format!("the holidays of {year} are not known here")));
    }
    let days = date(year, 1, 1).series(jiff::ToSpan::days(1)).take_while(|day| day.year() == year);
    let data = days.filter_map(|day| {
        let name = asked.calendar.holiday(day)?;
        let (open, closed): (Vec<_>, Vec<_>) =
            exchanges().partition(|exchange| asked.calendar.session(*exchange, day).is_some());
        let open = open.into_iter().filter_map(|e| Some(hours(e, day, &asked.calendar.session(e, day)?)));
        Some(json!({
            "date": day.to_string(),
            "description": name,
            "holiday_type": "TRADING_HOLIDAY",
            "closed_exchanges": closed.iter().map(|e| e.as_str()).collect::<Vec<_>>(),
            "open_exchanges": open.collect::<Vec<_>>(),
        }))
    });
    let data: Vec<_> = data.collect();
    Ok(Reply::new(200, &json!({"status": "success", "year": year, "timezone": "Asia/Kolkata", "data": data})))
}
