//! `/symbol`, `/search`, `/expiry`, `/instruments`: the instrument list.

use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use super::super::asked::{Asked, Failed, Reply};
use super::super::serve::Page;
use super::wanted::Wanted;
use crate::market::calendar::ist_date;
use crate::market::master::Instrument;
use crate::market::{Exchange, InstrumentKind, Master, PRICE_SCALE, Price};
use crate::protocol::openalgo::rest::decimal::Decimal;

/// Rows of one search.
const MAX_FOUND: usize = 500;
/// Where contracts expire, as OpenAlgo names it.
const WITH_EXPIRY: [&str; 8] = ["NFO", "BFO", "MCX", "CDS", "NCO", "BCD", "NCDEX", "CRYPTO"];

/// One instrument.
#[derive(Serialize)]
struct Row<'a> {
    symbol: &'a str,
    brsymbol: &'a str,
    name: &'a str,
    exchange: &'static str,
    brexchange: &'static str,
    token: String,
    expiry: String,
    strike: Decimal,
    lotsize: u32,
    instrumenttype: &'a str,
    tick_size: Decimal,
}

impl<'a> Row<'a> {
    fn of(instrument: &Instrument<'a>) -> Self {
        let is_index = instrument.kind == InstrumentKind::Index;
        Self {
            symbol: instrument.symbol,
            brsymbol: instrument.broker_symbol,
            name: instrument.name,
            exchange: instrument.exchange.as_str(),
            brexchange: if is_index {
                instrument.exchange.as_str()
            } else {
                instrument.id.segment.xts_name()
            },
            token: instrument.id.code.to_string(),
            expiry: instrument.expiry_text(),
            // What OpenAlgo's XTS plugins have for none.
            strike: instrument.strike.unwrap_or(Price::from_nanos(PRICE_SCALE)).into(),
            lotsize: instrument.lot_size,
            instrumenttype: instrument.instrument_type(),
            tick_size: instrument.tick_size.into(),
        }
    }
}

/// With what only single instruments show.
#[derive(Serialize)]
struct FullRow<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
    #[serde(flatten)]
    row: Row<'a>,
    freeze_qty: i64,
}

impl<'a> FullRow<'a> {
    fn of(instrument: &Instrument<'a>, with_id: bool) -> Self {
        Self {
            id: with_id.then_some(instrument.id.code),
            row: Row::of(instrument),
            freeze_qty: instrument.freeze_quantity.max(1),
        }
    }
}

pub(super) async fn symbol(asked: &Asked) -> Result<Reply, Failed> {
    let mut wanted = Wanted::of(&asked.body);
    let (symbol, exchange) = (wanted.text("symbol"), wanted.exchange("exchange"));
    wanted.finish()?;
    let master = asked.master()?;
    let found = Exchange::parse(exchange)
        .and_then(|exchange| master.resolve(exchange, symbol))
        .and_then(|id| master.get(id));
    let Some(instrument) = found else {
        return Err(Failed::new(404, format!("Symbol {symbol} not found in exchange {exchange}")));
    };
    Ok(Reply::data(&FullRow::of(&instrument, true)))
}

pub(super) async fn search(asked: &Asked) -> Result<Reply, Failed> {
    let mut wanted = Wanted::of(&asked.body);
    let query = wanted.text("query").to_owned();
    let exchange =
        wanted.optional("exchange").is_some().then(|| wanted.exchange("exchange")).map(str::to_owned);
    wanted.finish()?;
    let master = asked.master()?;
    off_the_thread(move || {
        #[derive(Serialize)]
        struct Found<'a> {
            status: &'static str,
            message: String,
            data: Vec<FullRow<'a>>,
        }
        let found = match exchange.as_deref() {
            None => master.search(&query, None, MAX_FOUND),
            Some(name) => match Exchange::parse(name) {
                Some(exchange) => master.search(&query, Some(exchange), MAX_FOUND),
                None => Vec::new(),
            },
        };
        let message = match found.len() {
            0 => "No matching symbols found".to_owned(),
            count => format!("Found {count} matching symbols"),
        };
        let data = found.iter().map(|instrument| FullRow::of(instrument, false)).collect();
        Reply::new(200, &Found { status: "success", message, data })
    })
    .await
}

pub(super) async fn expiry(asked: &Asked) -> Result<Reply, Failed> {
    let mut wanted = Wanted::of(&asked.body);
    let (symbol, exchange) = (wanted.text("symbol"), wanted.exchange("exchange"));
    let kind = wanted.text("instrumenttype").to_ascii_lowercase();
    if !kind.is_empty() && !matches!(kind.as_str(), "futures" | "options") {
        wanted.say("instrumenttype", "Must be one of: futures, options.");
    }
    if !exchange.is_empty() && !WITH_EXPIRY.contains(&exchange) {
        wanted.say("exchange", format!("Must be one of: {}.", WITH_EXPIRY.join(", ")));
    }
    wanted.finish()?;
    let (master, symbol) = (asked.master()?, symbol.to_owned());
    let (exchange, today) = (Exchange::parse(exchange), ist_date(asked.clock.now()));
    off_the_thread(move || {
        let is_options = kind == "options";
        let days = exchange
            .map(|exchange| master.expiries(exchange, &symbol, is_options, today))
            .unwrap_or_default();
        let data: Vec<_> =
            days.iter().map(|day| day.strftime("%d-%b-%y").to_string().to_ascii_uppercase()).collect();
        let message = match data.len() {
            0 => format!("No expiry dates found for {symbol} {kind}"),
            count => format!("Found {count} expiry dates for {symbol} {kind}"),
        };
        Reply::new(200, &json!({"status": "success", "message": message, "data": data}))
    })
    .await
}

/// The whole list, or an exchange's, as JSON or CSV.
pub(in super::super) async fn instruments(asked: &Asked) -> Result<Page, Failed> {
    let mut wanted = Wanted::of(&asked.body);
    let exchange =
        wanted.optional("exchange").is_some().then(|| wanted.exchange("exchange")).map(str::to_owned);
    let format = wanted.optional("format").unwrap_or("json").to_owned();
    if !matches!(format.as_str(), "json" | "csv") {
        wanted.say("format", "Must be one of: json, csv.");
    }
    wanted.finish()?;
    let master = asked.master()?;
    let is_csv = format == "csv";
    let text = off_the_thread(move || {
        let known = exchange.as_deref().map(Exchange::parse);
        let rows = master.iter().filter(|i| known.is_none_or(|known| known == Some(i.exchange)));
        let rows: Vec<_> = rows.map(|instrument| Row::of(&instrument)).collect();
        if is_csv { csv(&rows) } else { listed(&rows) }
    })
    .await?;
    let content_type = if is_csv { "text/csv; charset=utf-8" } else { "application/json" };
    Ok(Page::Text { content_type, body: text })
}

fn listed(rows: &[Row<'_>]) -> String {
    #[derive(Serialize)]
    struct Listed<'a> {
        status: &'static str,
        message: String,
        data: &'a [Row<'a>],
    }
    let message = format!("Found {} instruments", rows.len());
    serde_json::to_string(&Listed { status: "success", message, data: rows }).unwrap_or_default()
}

fn csv(rows: &[Row<'_>]) -> String {
    let mut text = String::from(
        "symbol,brsymbol,name,exchange,brexchange,token,expiry,strike,lotsize,instrumenttype,tick_size\n",
    );
    for row in rows {
        let (strike, tick_size) = (row.strike.to_string(), row.tick_size.to_string());
        let lot_size = row.lotsize.to_string();
        let cells = [
            row.symbol,
            row.brsymbol,
            row.name,
            row.exchange,
            row.brexchange,
            &row.token,
            &row.expiry,
            &strike,
            &lot_size,
            row.instrumenttype,
            &tick_size,
        ];
        for (at, cell) in cells.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            if cell.contains([',', '"', '\n', '\r']) {
                text.push('"');
                text.push_str(&cell.replace('"', "\"\""));
                text.push('"');
            } else {
                text.push_str(cell);
            }
        }
        text.push('\n');
    }
    text
}

/// A walk over the whole list would hold every other request up.
async fn off_the_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failed> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a walk over the instrument list failed");
        Failed::new(500, "internal failure")
    })
}

/// For other endpoints that walk over the list.
pub(super) async fn walk<T: Send + 'static>(
    master: Arc<Master>,
    work: impl FnOnce(&Master) -> T + Send + 'static,
) -> Result<T, Failed> {
    off_the_thread(move || work(&master)).await
}
