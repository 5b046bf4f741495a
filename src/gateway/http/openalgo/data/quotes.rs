//! `/quotes`, `/multiquotes`, `/depth`.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::super::asked::{Asked, Failed, Reply};
use super::wanted::{Wanted, not_found, resolve};
use crate::gateway::control::DeskError;
use crate::market::{
    DEPTH_LEVELS, Depth, DepthSide, Exchange, InstrumentId, InstrumentKind, Kind, Quote, TickBody,
};
use crate::protocol::openalgo::rest::decimal::Decimal;

/// Symbols of one `/multiquotes`. The broker is asked for fifty at a time.
const MAX_SYMBOLS: usize = 500;

#[derive(Serialize)]
struct QuoteData {
    open: Decimal,
    high: Decimal,
    low: Decimal,
    ltp: Decimal,
    ask: Decimal,
    bid: Decimal,
    prev_close: Decimal,
    volume: i64,
    oi: i64,
}

impl QuoteData {
    fn of(quote: &Quote, oi: i64) -> Self {
        Self {
            open: quote.open.into(),
            high: quote.high.into(),
            low: quote.low.into(),
            ltp: quote.last.price.into(),
            ask: quote.ask.price.into(),
            bid: quote.bid.price.into(),
            prev_close: quote.close.into(),
            volume: quote.volume,
            oi,
        }
    }
}

pub(super) async fn quotes(asked: &Asked) -> Result<Reply, Failed> {
    let (exchange, symbol, id) = named(asked)?;
    let (quotes, interest) = tokio::join!(last_quotes(asked, vec![id]), interest(asked, vec![id]));
    let quote = quotes?.remove(&id).ok_or_else(|| no_values(exchange, symbol))?;
    Ok(Reply::data(&QuoteData::of(&quote, interest.get(&id).copied().unwrap_or(0))))
}

fn named(asked: &Asked) -> Result<(&str, &str, InstrumentId), Failed> {
    let mut wanted = Wanted::of(&asked.body);
    let (symbol, exchange) = (wanted.text("symbol"), wanted.exchange("exchange"));
    wanted.finish()?;
    Ok((exchange, symbol, resolve(&*asked.master()?, exchange, symbol)?))
}

/// Nobody may take zeros for prices.
fn no_values(exchange: &str, symbol: &str) -> Failed {
    Failed::new(404, format!("the broker has no values of {exchange}:{symbol} now"))
}

async fn last_quotes(
    asked: &Asked,
    ids: Vec<InstrumentId>,
) -> Result<HashMap<InstrumentId, Quote>, DeskError> {
    let ticks = asked.desk.quotes(Kind::Quote, ids).await?;
    let quotes = ticks.into_iter().filter_map(|tick| match tick.body {
        TickBody::Quote(quote) => Some((tick.instrument, quote)),
        _ => None,
    });
    Ok(quotes.collect())
}

/// Open interest of those that have any. Values without it are better than none.
async fn interest(asked: &Asked, mut ids: Vec<InstrumentId>) -> HashMap<InstrumentId, i64> {
    ids.retain(|id| id.segment.has_open_interest());
    if ids.is_empty() {
        return HashMap::new();
    }
    let ticks = asked.desk.quotes(Kind::OpenInterest, ids).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "no open interest");
        Vec::new()
    });
    let interest = ticks.into_iter().filter_map(|tick| match tick.body {
        TickBody::OpenInterest(interest) => Some((tick.instrument, interest.open_interest)),
        _ => None,
    });
    interest.collect()
}

#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Failed(Value),
    Found { symbol: &'a str, exchange: &'a str, data: Box<QuoteData> },
}

#[derive(Serialize)]
struct Results<'a> {
    status: &'static str,
    results: Vec<Entry<'a>>,
}

pub(super) async fn multiquotes(asked: &Asked) -> Result<Reply, Failed> {
    let wrong = |what: String| {
        let mut wanted = Wanted::of(&asked.body);
        wanted.say("symbols", what);
        wanted.finish().err().unwrap_or_else(|| Failed::bad("symbols"))
    };
    let list = match asked.body.get("symbols") {
        Some(Value::Array(list)) => list,
        Some(_) => return Err(wrong("Not a valid list.".to_owned())),
        None => return Err(wrong("Missing data for required field.".to_owned())),
    };
    if list.is_empty() || list.len() > MAX_SYMBOLS {
        return Err(wrong(format!("Length must be between 1 and {MAX_SYMBOLS}.")));
    }
    let master = asked.master()?;
    let (mut failed, mut found) = (Vec::new(), Vec::new());
    for (at, entry) in list.iter().enumerate() {
        let text = |name| entry.get(name).and_then(Value::as_str).map(str::trim).unwrap_or_default();
        let (symbol, exchange) = (text("symbol"), text("exchange"));
        if symbol.is_empty() || exchange.is_empty() {
            return Err(wrong(format!("Entry {at} has no symbol and exchange.")));
        }
        match Exchange::parse(exchange).and_then(|exchange| master.resolve(exchange, symbol)) {
            Some(id) => found.push((symbol, exchange, id)),
            None => failed
                .push(json!({"symbol": symbol, "exchange": exchange, "error": not_found(exchange, symbol)})),
        }
    }
    if found.is_empty() {
        let message = "none of the symbols was found";
        return Err(Failed::bad(message).with("invalid_symbols", failed));
    }
    let mut ids: Vec<_> = found.iter().map(|(.., id)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    let (quotes, interest) = tokio::join!(last_quotes(asked, ids.clone()), interest(asked, ids));
    let quotes = quotes?;
    let mut results: Vec<_> = failed.into_iter().map(Entry::Failed).collect();
    let without = found.iter().filter(|(.., id)| !quotes.contains_key(id)).map(|(symbol, exchange, _)| {
        let error = no_values(exchange, symbol).message;
        Entry::Failed(json!({"symbol": symbol, "exchange": exchange, "error": error}))
    });
    results.extend(without);
    let with = found.iter().filter_map(|(symbol, exchange, id)| {
        let oi = interest.get(id).copied().unwrap_or(0);
        let data = Box::new(QuoteData::of(quotes.get(id)?, oi));
        Some(Entry::Found { symbol, exchange, data })
    });
    results.extend(with);
    Ok(Reply::new(200, &Results { status: "success", results }))
}

#[derive(Serialize)]
struct LevelData {
    price: Decimal,
    quantity: i64,
    orders: u32,
}

#[derive(Serialize)]
struct DepthData {
    open: Decimal,
    high: Decimal,
    low: Decimal,
    ltp: Decimal,
    ltq: i64,
    prev_close: Decimal,
    volume: i64,
    oi: i64,
    totalbuyqty: i64,
    totalsellqty: i64,
    bids: Vec<LevelData>,
    asks: Vec<LevelData>,
}

pub(super) async fn depth(asked: &Asked) -> Result<Reply, Failed> {
    let (exchange, symbol, id) = named(asked)?;
    let (ticks, interest) = tokio::join!(asked.desk.quotes(Kind::Depth, vec![id]), interest(asked, vec![id]));
    let (mut quote, mut depth) = (None, None);
    for tick in ticks?.into_iter().filter(|tick| tick.instrument == id) {
        match tick.body {
            TickBody::Quote(found) => quote = Some(found),
            TickBody::Depth(found) => depth = Some(found),
            _ => {}
        }
    }
    let Some(quote) = quote else { return Err(no_values(exchange, symbol)) };
    // An index has no book; its five empty levels are the truth. Of anything else nobody may take them for that.
    let is_index = asked.master()?.get(id).is_some_and(|instrument| instrument.kind == InstrumentKind::Index);
    let Some(depth) = depth.or_else(|| is_index.then(Depth::default)) else {
        return Err(no_values(exchange, symbol));
    };
    Ok(Reply::data(&DepthData {
        open: quote.open.into(),
        high: quote.high.into(),
        low: quote.low.into(),
        ltp: quote.last.price.into(),
        ltq: quote.last.size,
        prev_close: quote.close.into(),
        volume: quote.volume,
        oi: interest.get(&id).copied().unwrap_or(0),
        totalbuyqty: quote.total_buy,
        totalsellqty: quote.total_sell,
        bids: levels(&depth.bids),
        asks: levels(&depth.asks),
    }))
}

fn levels(side: &DepthSide) -> Vec<LevelData> {
    let level = |at| {
        let level = side.level(at);
        LevelData { price: level.price.into(), quantity: level.size, orders: level.orders }
    };
    (0..DEPTH_LEVELS).map(level).collect()
}
