//! Orders: real money. Whatever is asked for here is sent once at most, and runs to its end even if the asker
//! hangs up meanwhile, so that nothing is left half done and unsaid.

mod batch;
mod change;
mod request;
#[cfg(test)]
mod tests;
mod turns;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::json;

use self::request::OrderRequest;
pub(in super::super) use self::turns::Turns;
use super::asked::{Asked, Endpoint, Failed, Reply};
use crate::gateway::auth::Scope;

const ORDER: &[&str] = &["strategy", "symbol", "exchange", "action", "quantity"];
const ORDER_MORE: &[&str] =
    &["pricetype", "product", "price", "trigger_price", "disclosed_quantity", "account"];
const CHANGE: &[&str] = &[
    "orderid",
    "strategy",
    "symbol",
    "exchange",
    "action",
    "product",
    "pricetype",
    "price",
    "quantity",
    "disclosed_quantity",
    "trigger_price",
];
const SMART: &[&str] = &["strategy", "symbol", "exchange", "action", "quantity", "position_size"];
const SPLIT: &[&str] = &["strategy", "symbol", "exchange", "action", "quantity", "splitsize"];

macro_rules! endpoint {
    ($path:literal, $about:literal, $required:expr, $optional:expr, $run:path) => {
        Endpoint {
            path: $path,
            scope: Scope::Trade,
            about: $about,
            required: $required,
            optional: $optional,
            run: |asked| to_the_end(async move { Reply::from($run(&asked).await) }.boxed()),
        }
    };
}

/// What acts here.
pub(in super::super) const ENDPOINTS: [Endpoint; 8] = [
    endpoint!("placeorder", "Sends an order.", ORDER, ORDER_MORE, place),
    endpoint!("placesmartorder", "Brings a position to a size.", SMART, ORDER_MORE, turns::place_smart),
    endpoint!(
        "basketorder",
        "Sends up to 100 orders, those that buy first.",
        &["strategy", "orders"],
        &["account"],
        batch::basket
    ),
    endpoint!("splitorder", "Sends an order in up to 100 parts.", SPLIT, ORDER_MORE, batch::split),
    endpoint!("modifyorder", "Changes an order.", CHANGE, &["account"], change::modify),
    endpoint!("cancelorder", "Takes an order back.", &["orderid", "strategy"], &["account"], change::cancel),
    endpoint!(
        "cancelallorder",
        "Takes every standing order back.",
        &["strategy"],
        &["account"],
        change::cancel_all
    ),
    endpoint!(
        "closeposition",
        "Closes every position at the market, or those of one symbol.",
        &["strategy"],
        &["symbol", "exchange", "product", "account"],
        turns::close_positions
    ),
];

/// Runs apart from the connection: the server drops a request's future when its client is gone.
fn to_the_end(run: BoxFuture<'static, Reply>) -> BoxFuture<'static, Reply> {
    let task = tokio::spawn(run);
    async move {
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "an order request ended badly");
            let failed = Failed::new(500, "internal failure: look at the order book for what was done");
            failed.with("outcome", "unknown").reply()
        })
    }
    .boxed()
}

async fn place(asked: &Asked) -> Result<Reply, Failed> {
    let request = OrderRequest::read(&asked.body, 1)?;
    let order = request.new_order(&*asked.master()?)?;
    let by = asked.placer(&request.strategy);
    let id = asked.desk.place(asked.account()?, order, &by).await?;
    Ok(Reply::new(200, &json!({"status": "success", "orderid": id})))
}
