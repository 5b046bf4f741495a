//! `/history`, `/intervals`, `/ticker`.
//!
//! Bars shorter than a day carry the true time of their start. Days, weeks and months carry midnight **UTC** of
//! their first day: the Python client does not shift these, and shows midnight IST as the day before.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::civil::Date;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::asked::{Asked, Failed, Reply};
use super::super::serve::Page;
use super::wanted::{Wanted, resolve};
use crate::clock::UnixNanos;
use crate::market::calendar::{IST_OFFSET_SECS, ist_date, ist_midnight};
use crate::market::{Bar, Calendar, Exchange, InstrumentId, Interval};
use crate::protocol::openalgo::rest::decimal::Decimal;
use crate::protocol::openalgo::rest::names;

/// In seconds.
const QUARTER_HOUR: u32 = 900;

/// What OpenAlgo accepts, and `60m`, which it advertises.
const ACCEPTED: [&str; 24] = [
    "1s", "5s", "10s", "15s", "30s", "45s", "1m", "2m", "3m", "5m", "10m", "15m", "20m", "30m", "60m", "1h",
    "2h", "3h", "4h", "D", "W", "M", "Q", "Y",
];

/// A bar's length as it is asked for, and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Recipe {
    /// What the broker has.
    base: Interval,
    join: Join,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    /// The broker's bars as they are.
    No,
    /// So many seconds, from the session's start.
    Seconds(u32),
    /// So many months of a year.
    Months(i8),
}

impl Recipe {
    /// `None`: neither the broker nor a piece of arithmetic has it.
    fn of(text: &str, offered: &[Interval]) -> Option<Self> {
        let months = |count| Some(Self { base: Interval::Month, join: Join::Months(count) });
        let wanted = match text {
            "Q" => return months(3).filter(|_| offered.contains(&Interval::Month)),
            "Y" => return months(12).filter(|_| offered.contains(&Interval::Month)),
            text => Interval::parse(text)?,
        };
        if offered.contains(&wanted) {
            return Some(Self { base: wanted, join: Join::No });
        }
        let Interval::Seconds(seconds) = wanted else { return None };
        let parts = offered.iter().filter_map(|interval| match interval {
            // Brokers that count from midnight cut the bar in which the session opens, at 09:15; parts that fit
            // into a quarter of an hour are whole all the same.
            Interval::Seconds(part)
                if *part < seconds && seconds % part == 0 && QUARTER_HOUR.is_multiple_of(*part) =>
            {
                Some(*part)
            }
            _ => None,
        });
        Some(Self { base: Interval::Seconds(parts.max()?), join: Join::Seconds(seconds) })
    }

    /// Days that one request may span, so that no answer is larger than what a client can take.
    const fn most_days(self) -> i32 {
        match self.base {
            Interval::Seconds(0..60) => 7,
            Interval::Seconds(_) => 400,
            Interval::Day | Interval::Week | Interval::Month => 12_000,
        }
    }

    fn applied(self, bars: Vec<Bar>, calendar: Calendar, exchange: Exchange) -> Vec<Bar> {
        match self.join {
            Join::No => bars,
            Join::Seconds(seconds) => joined(bars, |start| {
                let day = ist_date(start);
                let midnight = ist_midnight(day).as_secs();
                let from = midnight + calendar.usual_open(exchange, day).secs();
                let steps = (start.as_secs() - from).div_euclid(i64::from(seconds));
                UnixNanos::from_secs(from + steps * i64::from(seconds))
            }),
            Join::Months(months) => joined(bars, |start| ist_midnight(first_of(ist_date(start), months))),
        }
    }
}

/// The first day of the so many months of a year that a day belongs to.
fn first_of(day: Date, months: i8) -> Date {
    jiff::civil::date(day.year(), (day.month() - 1) / months * months + 1, 1)
}

/// Bars that start together as one, in order.
fn joined(bars: Vec<Bar>, start_of: impl Fn(UnixNanos) -> UnixNanos) -> Vec<Bar> {
    let mut out: Vec<Bar> = Vec::new();
    for bar in bars {
        let start = start_of(bar.start);
        match out.last_mut() {
            Some(last) if last.start == start => {
                last.high = last.high.max(bar.high);
                last.low = last.low.min(bar.low);
                last.close = bar.close;
                last.volume = last.volume.saturating_add(bar.volume);
                last.open_interest = bar.open_interest;
            }
            _ => out.push(Bar { start, ..bar }),
        }
    }
    out
}

#[derive(Serialize)]
struct BarData {
    timestamp: i64,
    open: Decimal,
    high: Decimal,
    low: Decimal,
    close: Decimal,
    volume: i64,
    oi: i64,
}

/// A bar's time as the client wants it.
fn timestamp(bar: &Bar, recipe: Recipe) -> i64 {
    let shifted = !recipe.base.is_intraday() && recipe.join == Join::No;
    bar.start.as_secs() + if shifted { IST_OFFSET_SECS } else { 0 }
}

struct Question {
    exchange: Exchange,
    id: InstrumentId,
    recipe: Recipe,
    from: Date,
    to: Date,
}

impl Question {
    fn read(asked: &Asked, body: &Map<String, Value>, names: [&str; 2]) -> Result<Self, Failed> {
        let mut wanted = Wanted::of(body);
        let (symbol, exchange) = (wanted.text("symbol"), wanted.exchange("exchange"));
        let interval = wanted.text("interval");
        let (from, to) = (wanted.day(names[0]), wanted.day(names[1]));
        if let Some(source) = wanted.optional("source")
            && !matches!(source, "api" | "db")
        {
            wanted.say("source", "Must be one of: api, db.");
        }
        let offered = asked.desk.intervals();
        let recipe = Recipe::of(interval, &offered);
        // What is advertised is taken too, such as a broker's own `4m`.
        let is_offered = Interval::parse(interval).is_some_and(|wanted| offered.contains(&wanted));
        if !interval.is_empty() && !is_offered && !ACCEPTED.contains(&interval) {
            wanted.say("interval", format!("Must be one of: {}.", ACCEPTED.join(", ")));
        } else if recipe.is_none() && !interval.is_empty() {
            wanted.say("interval", "The broker has no bars of this length.");
        }
        wanted.finish()?;
        let Some(recipe) = recipe else { return Err(Failed::bad("interval")) };
        if from > to {
            return Err(Failed::bad(format!("{} is after {}", names[0], names[1])));
        }
        if (to - from).get_days() >= recipe.most_days() {
            let most = recipe.most_days();
            return Err(Failed::bad(format!(
                "at most {most} days can be asked for at once with this interval"
            )));
        }
        let id = resolve(&*asked.master()?, exchange, symbol)?;
        let Some(exchange) = Exchange::parse(exchange) else { return Err(Failed::bad("exchange")) };
        Ok(Self { exchange, id, recipe, from, to })
    }

    async fn answer(&self, asked: &Asked) -> Result<Vec<Bar>, Failed> {
        // A period is whole or it would be shown as more than it is.
        let from = match self.recipe.join {
            Join::Months(months) => first_of(self.from, months),
            Join::No | Join::Seconds(_) => self.from,
        };
        let bars = asked.desk.history(self.id, self.recipe.base, from, self.to).await?;
        Ok(self.recipe.applied(bars, asked.calendar, self.exchange))
    }
}

pub(super) async fn history(asked: &Asked) -> Result<Reply, Failed> {
    let question = Question::read(asked, &asked.body, ["start_date", "end_date"])?;
    let bars = question.answer(asked).await?;
    let rows = bars.iter().map(|bar| BarData {
        timestamp: timestamp(bar, question.recipe),
        open: bar.open.into(),
        high: bar.high.into(),
        low: bar.low.into(),
        close: bar.close.into(),
        volume: bar.volume,
        oi: bar.open_interest,
    });
    Ok(Reply::data(&rows.collect::<Vec<_>>()))
}

pub(super) async fn intervals(asked: &Asked) -> Result<Reply, Failed> {
    let mut offered = asked.desk.intervals();
    offered.sort_unstable();
    let named = |is_it: fn(&str) -> bool| {
        offered.iter().map(ToString::to_string).filter(|name| is_it(name)).collect::<Vec<_>>()
    };
    Ok(Reply::data(&json!({
        "seconds": named(|name| name.ends_with('s')),
        "minutes": named(|name| name.ends_with('m')),
        "hours": named(|name| name.ends_with('h')),
        "days": named(|name| name == "D"),
        "weeks": named(|name| name == "W"),
        "months": named(|name| name == "M"),
    })))
}

/// `EXCHANGE:SYMBOL` from a path, its bars as JSON or as lines of text.
pub(in super::super) async fn ticker(asked: &Asked, name: &str) -> Result<Page, Failed> {
    let Some((exchange, symbol)) = name.split_once(':') else {
        return Err(Failed::bad("the path must end in EXCHANGE:SYMBOL"));
    };
    let mut body = Map::clone(&asked.body);
    body.insert("exchange".to_owned(), json!(exchange));
    body.insert("symbol".to_owned(), json!(symbol));
    body.entry("interval").or_insert_with(|| json!("D"));
    let today = ist_date(asked.clock.now());
    for name in ["from", "to"] {
        body.entry(name).or_insert_with(|| json!(today.to_string()));
    }
    let is_text = match body.get("format").and_then(Value::as_str) {
        None | Some("json") => false,
        Some("txt") => true,
        Some(_) => {
            return Err(super::super::serve::wrong_members(&[("format", "Must be one of: json, txt.")]));
        }
    };
    let question = Question::read(asked, &body, ["from", "to"])?;
    if !is_text {
        let asked = Asked { body: Arc::new(renamed(body)), ..asked.clone() };
        return history(&asked).await.map(Page::Json);
    }
    let bars = question.answer(asked).await?;
    let mut lines = String::new();
    for bar in &bars {
        // `10-Feb-2026 10:15:28` holds the time of day.
        let time = names::ist_text(Some(bar.start));
        let time = time.split_once(' ').map_or("", |(_, time)| time);
        let _ = write!(lines, "{exchange}:{symbol},{}", ist_date(bar.start));
        if question.recipe.base.is_intraday() {
            let _ = write!(lines, ",{time}");
        }
        let Bar { open, high, low, close, volume, .. } = bar;
        let _ = writeln!(lines, ",{open},{high},{low},{close},{volume}");
    }
    Ok(Page::Text { content_type: "text/plain; charset=utf-8", body: lines })
}

/// With the names that `/history` has for the days.
fn renamed(mut body: Map<String, Value>) -> Map<String, Value> {
    for (from, to) in [("from", "start_date"), ("to", "end_date")] {
        if let Some(day) = body.remove(from) {
            body.insert(to.to_owned(), day);
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::market::Price;

    const OFFERED: [Interval; 6] = [
        Interval::Seconds(1),
        Interval::minutes(1),
        Interval::minutes(10),
        Interval::minutes(60),
        Interval::Day,
        Interval::Month,
    ];

    #[test]
    fn what_intervals_are_made_of() {
        let recipe = |base, join| Some(Recipe { base, join });
        for (text, expected) in [
            ("60m", recipe(Interval::minutes(60), Join::No)),
            ("1h", recipe(Interval::minutes(60), Join::No)),
            ("20m", recipe(Interval::minutes(1), Join::Seconds(1200))),
            ("5s", recipe(Interval::Seconds(1), Join::Seconds(5))),
            ("D", recipe(Interval::Day, Join::No)),
            ("W", None),
            ("Q", recipe(Interval::Month, Join::Months(3))),
            ("x", None),
        ] {
            assert_eq!(Recipe::of(text, &OFFERED), expected, "{text}");
        }
        assert_eq!(Recipe::of("Q", &[Interval::Day]), None);
    }

    #[test]
    fn bars_are_joined_from_the_sessions_start() {
        let nine_fifteen = ist_midnight(date(2026, 2, 10)).as_secs() + (9 * 60 + 15) * 60;
        let bars: Vec<_> = (0..4)
            .map(|at| {
                let price = Price::from_rupees(100 + at);
                let start = UnixNanos::from_secs(nine_fifteen + at * 600);
                Bar {
                    start,
                    open: price,
                    high: price,
                    low: price,
                    close: price,
                    volume: 1,
                    open_interest: at,
                }
            })
            .collect();
        let recipe = Recipe::of("20m", &OFFERED).unwrap();
        let joined = recipe.applied(bars, Calendar::new(), Exchange::Nse);
        let starts: Vec<_> = joined.iter().map(|bar| bar.start.as_secs() - nine_fifteen).collect();
        assert_eq!(starts, [0, 1200]);
        assert_eq!((joined[0].open, joined[0].close), (Price::from_rupees(100), Price::from_rupees(101)));
        assert_eq!(
            (joined[1].high, joined[1].low, joined[1].volume),
            (Price::from_rupees(103), Price::from_rupees(102), 2)
        );
    }

    #[test]
    fn times_as_the_client_reads_them() {
        // 2025-04-01: OpenAlgo's documented values.
        let day = Bar { start: ist_midnight(date(2025, 4, 1)), ..Bar::default() };
        assert_eq!(timestamp(&day, Recipe::of("D", &OFFERED).unwrap()), 1_743_465_600);
        let minute = Bar { start: UnixNanos::from_secs(1_743_479_100), ..Bar::default() };
        assert_eq!(timestamp(&minute, Recipe::of("1m", &OFFERED).unwrap()), 1_743_479_100);
    }
}
