//! An account's books: funds, orders, trades, positions, holdings.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use futures::FutureExt as _;
use serde::Serialize;
use serde_json::json;

use super::asked::{Asked, Endpoint, Failed, Reply};
use super::fields::Fields;
use crate::gateway::auth::Scope;
use crate::market::{Exchange, InstrumentId, Kind, OrderStatus, PositionView, Price, TickBody};
use crate::protocol::openalgo::rest::{funds, holdings, names, orders, positions, trades};

macro_rules! endpoint {
    ($path:literal, $about:literal, $required:expr, $run:path) => {
        Endpoint {
            path: $path,
            scope: Scope::Account,
            about: $about,
            required: $required,
            optional: &["account"],
            run: |asked| async move { Reply::from($run(&asked).await) }.boxed(),
        }
    };
}

/// What is read here.
pub(in super::super) const ENDPOINTS: [Endpoint; 8] = [
    endpoint!("funds", "What the account can spend.", &[], funds),
    endpoint!("orderbook", "Today's orders, and how many of each sort.", &[], orderbook),
    endpoint!("tradebook", "Today's trades.", &[], tradebook),
    endpoint!("positionbook", "Positions, closed ones included.", &[], positionbook),
    endpoint!("holdings", "What is held for delivery, and what it is worth.", &[], holdings),
    endpoint!("orderstatus", "One order.", &["orderid", "strategy"], orderstatus),
    endpoint!(
        "openposition",
        "The size of one position; negative: short.",
        &["strategy", "symbol", "exchange", "product"],
        openposition
    ),
    endpoint!("margin", "Not offered: brokers' margins cannot be asked for.", &["positions"], margin),
];

async fn funds(asked: &Asked) -> Result<Reply, Failed> {
    let funds = asked.desk.funds(asked.account()?).await?;
    Ok(Reply::data(&funds::funds(&funds)))
}

#[derive(Serialize)]
struct Book<'a> {
    orders: Vec<orders::OrderRow<'a>>,
    statistics: orders::OrderStatistics,
}

async fn orderbook(asked: &Asked) -> Result<Reply, Failed> {
    let master = asked.master()?;
    let book = asked.desk.order_book(asked.account()?).await?;
    let rows: Vec<_> = book.rows.iter().map(|order| orders::order_row(&master, order)).collect();
    let statistics = orders::statistics(&rows);
    Ok(Reply::listed(&Book { orders: rows, statistics }, book.unreadable))
}

async fn tradebook(asked: &Asked) -> Result<Reply, Failed> {
    let master = asked.master()?;
    let book = asked.desk.trades(asked.account()?).await?;
    let rows: Vec<_> = book.rows.iter().map(|trade| trades::trade_row(&master, trade)).collect();
    Ok(Reply::listed(&rows, book.unreadable))
}

async fn positionbook(asked: &Asked) -> Result<Reply, Failed> {
    let master = asked.master()?;
    let book = asked.desk.positions(asked.account()?, PositionView::Net).await?;
    let last = last_prices(asked, positions::instruments(&book.rows)).await;
    let rows = book
        .rows
        .iter()
        .map(|position| positions::position_row(&master, position, last.get(&position.instrument).copied()));
    Ok(Reply::listed(&rows.collect::<Vec<_>>(), book.unreadable))
}

async fn holdings(asked: &Asked) -> Result<Reply, Failed> {
    let master = asked.master()?;
    let book = asked.desk.holdings(asked.account()?).await?;
    let ids = holdings::instruments(&master, &book.rows);
    let mut wanted: Vec<_> = ids.iter().copied().flatten().collect();
    wanted.sort_unstable();
    wanted.dedup();
    let last = last_prices(asked, wanted).await;
    let data = holdings::holdings(&master, &book.rows, &ids, |id| last.get(&id).copied());
    Ok(Reply::listed(&data, book.unreadable))
}

/// Last prices, by one request for all. A book is shown without them rather than not at all.
async fn last_prices(asked: &Asked, instruments: Vec<InstrumentId>) -> HashMap<InstrumentId, Price> {
    if instruments.is_empty() {
        return HashMap::new();
    }
    let ticks = asked.desk.quotes(Kind::Quote, instruments).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "no quotes for an account's book");
        Vec::new()
    });
    let priced = ticks.into_iter().filter_map(|tick| match tick.body {
        TickBody::Quote(quote) => Some((tick.instrument, quote.last.price)),
        TickBody::LastTrade(last) => Some((tick.instrument, last.price)),
        _ => None,
    });
    priced.filter(|(_, price)| price.is_positive()).collect()
}

async fn orderstatus(asked: &Asked) -> Result<Reply, Failed> {
    let mut fields = Fields::of(&asked.body);
    let id = fields.text("orderid");
    fields.text("strategy");
    fields.finish()?;
    let (master, account) = (asked.master()?, asked.account()?);
    let book = asked.desk.order_book(account).await?;
    let Some(order) = book.rows.iter().find(|order| order.id == id) else {
        if !book.is_whole() {
            let what = format!("order {id} is not among the others");
            return Err(Failed::unreadable(book.unreadable, "orders", &what));
        }
        return Err(Failed::new(404, format!("Order {id} not found")));
    };
    let mut row = orders::order_row(&master, order);
    if order.average.is_none() && order.status == OrderStatus::Filled {
        let trades = asked.desk.trades(account).await?;
        row.average_price = orders::average(order, trades::average_of(&trades.rows, &id));
    }
    Ok(Reply::data(&row))
}

/// Of the client that orders go to, since it is what strategies trade by.
async fn openposition(asked: &Asked) -> Result<Reply, Failed> {
    let mut fields = Fields::of(&asked.body);
    fields.text("strategy");
    let (symbol, exchange) = (fields.text("symbol"), fields.text("exchange"));
    let product = fields.product("product", true);
    fields.finish()?;
    let master = asked.master()?;
    let book = asked.desk.traded_positions(asked.account()?, PositionView::Net).await?;
    let mut matching = book
        .rows
        .iter()
        .filter(|position| {
            let (at, name) = names::name(&master, position.instrument, &position.symbol);
            at.as_str() == exchange && name == symbol && position.product == product
        })
        .peekable();
    let known = Exchange::parse(&exchange).is_some_and(|at| master.resolve(at, &symbol).is_some());
    if matching.peek().is_none() && !known {
        // A slip of the pen must not read as "nothing is held".
        return Err(Failed::bad(format!("Symbol '{symbol}' not found for exchange '{exchange}'.")));
    }
    if !book.is_whole() {
        // Strategies act on the answer, which is nothing but one figure.
        let what = "the position, or a part of it, may be among them";
        return Err(Failed::unreadable(book.unreadable, "positions", what));
    }
    let quantity = matching.try_fold(0_i64, |sum, position| sum.checked_add(position.quantity));
    let quantity =
        quantity.ok_or_else(|| Failed::new(502, "the broker's positions are beyond all reason"))?;
    Ok(Reply::new(200, &json!({"status": "success", "quantity": quantity})))
}

/// XTS has no call that computes a margin, and a guess would be taken for the broker's word.
async fn margin(_: &Asked) -> Result<Reply, Failed> {
    Err(Failed::new(404, "the broker does not compute margins on request"))
}
