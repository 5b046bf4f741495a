//! Market data and symbols: what needs no account.

mod history;
mod market;
mod options;
mod quotes;
mod symbols;
#[cfg(test)]
mod tests;
mod wanted;

use futures::FutureExt as _;
use serde_json::json;

use super::asked::{Asked, Endpoint, Failed, Reply};
use crate::gateway::auth::Scope;
pub(super) use history::ticker;
pub(super) use symbols::instruments;

macro_rules! endpoint {
    ($path:literal, $about:literal, $required:expr, $optional:expr, $run:path) => {
        Endpoint {
            path: $path,
            scope: Scope::Feed,
            about: $about,
            required: $required,
            optional: $optional,
            run: |asked| async move { Reply::from($run(&asked).await) }.boxed(),
        }
    };
}

const NAME: &[&str] = &["symbol", "exchange"];

/// What is read here.
pub(super) const ENDPOINTS: [Endpoint; 14] = [
    endpoint!("quotes", "The last values of an instrument.", NAME, &[], quotes::quotes),
    endpoint!(
        "multiquotes",
        "The last values of up to 500 instruments.",
        &["symbols"],
        &[],
        quotes::multiquotes
    ),
    endpoint!("depth", "Five levels a side of an instrument.", NAME, &[], quotes::depth),
    endpoint!(
        "history",
        "Bars of an instrument, both days included.",
        &["symbol", "exchange", "interval", "start_date", "end_date"],
        &["source"],
        history::history
    ),
    endpoint!("intervals", "The intervals of bars that there are.", &[], &[], history::intervals),
    endpoint!("symbol", "What is known of an instrument.", NAME, &[], symbols::symbol),
    endpoint!("search", "Instruments by pieces of their names.", &["query"], &["exchange"], symbols::search),
    endpoint!(
        "expiry",
        "The expiries of an underlying's contracts.",
        &["symbol", "exchange", "instrumenttype"],
        &[],
        symbols::expiry
    ),
    endpoint!(
        "optionsymbol",
        "The option at a distance from the money.",
        &["underlying", "exchange", "offset", "option_type"],
        &["expiry_date", "strategy", "strike_int"],
        options::optionsymbol
    ),
    endpoint!("ping", "Whether the key is good.", &[], &[], ping),
    endpoint!("analyzer", "Whether orders are real: they are.", &[], &[], analyzer),
    endpoint!("analyzer/toggle", "Paper trading, which there is none of.", &["mode"], &[], analyzer_toggle),
    endpoint!("market/holidays", "Days on which exchanges stay closed.", &[], &["year"], market::holidays),
    endpoint!("market/timings", "When exchanges trade on a day.", &[], &["date"], market::timings),
];

async fn ping(asked: &Asked) -> Result<Reply, Failed> {
    Ok(Reply::data(&json!({"message": "pong", "broker": *asked.broker})))
}

async fn analyzer(_: &Asked) -> Result<Reply, Failed> {
    Ok(Reply::data(&json!({"mode": "live", "analyze_mode": false, "total_logs": 0})))
}

async fn analyzer_toggle(asked: &Asked) -> Result<Reply, Failed> {
    match asked.body.get("mode").and_then(serde_json::Value::as_bool) {
        None => Err(super::serve::wrong_members(&[("mode", "Not a valid boolean.")])),
        Some(true) => {
            Err(Failed::bad("there is no paper trading here: orders are real if they are switched on"))
        }
        Some(false) => Ok(Reply::data(&json!({
            "mode": "live", "analyze_mode": false, "total_logs": 0, "message": "Analyzer mode is off"
        }))),
    }
}
