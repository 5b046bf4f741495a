//! Several orders by one request: baskets, and orders in parts. Each is sent on its own and told of on its own.
//! All are checked before the first is sent. The broker's queue sets the pace.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::super::asked::{Asked, Failed, Reply};
use super::super::fields::Fields;
use super::request::OrderRequest;
use crate::market::{NewOrder, Side};
use crate::protocol::openalgo::rest::smart;

/// Orders of one request.
const MAX_ORDERS: usize = 100;
/// For all of them. Whoever asked has given up some time after, and acts by other means.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a request with several orders may go on sending.
pub(super) struct Budget {
    since: Instant,
    /// An outcome was unclear: something is wrong, and more of it is not wanted.
    unclear: bool,
}

impl Budget {
    pub(super) fn begin() -> Self {
        Self { since: Instant::now(), unclear: false }
    }

    /// Whether another order may be sent.
    ///
    /// # Errors
    /// Why not; nothing was sent.
    pub(super) fn left(&self) -> Result<(), Failed> {
        if self.unclear {
            return Err(Failed::new(409, "not sent: the outcome of an order before it is unknown"));
        }
        if self.since.elapsed() >= PATIENCE {
            return Err(Failed::new(409, "not sent: the orders before it took too long"));
        }
        Ok(())
    }

    pub(super) fn note(&mut self, failed: Option<&Failed>) {
        self.unclear |= failed.is_some_and(Failed::is_unclear);
    }
}

/// Those that buy first, as in OpenAlgo: they hedge what is sold after them, which takes less margin then.
pub(super) async fn basket(asked: &Asked) -> Result<Reply, Failed> {
    let mut fields = Fields::of(&asked.body);
    let strategy = fields.text("strategy");
    fields.required("orders");
    fields.finish()?;
    let Some(Value::Array(entries)) = asked.body.get("orders") else {
        return Err(Failed::bad("orders: Not a valid list."));
    };
    if entries.is_empty() || entries.len() > MAX_ORDERS {
        return Err(Failed::bad(format!("orders: 1 to {MAX_ORDERS} are taken, not {}", entries.len())));
    }
    let master = asked.master()?;
    let mut orders = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let at = |failed: Failed| Failed::bad(format!("orders[{index}]: {}", failed.message));
        let Value::Object(entry) = entry else {
            return Err(at(Failed::bad("Invalid input type.")));
        };
        let mut fields = Fields::of(entry);
        let own = fields.optional_text("strategy").unwrap_or_else(|| strategy.clone());
        let mut request = OrderRequest::read_from(&mut fields, own, 1);
        fields.finish().map_err(at)?;
        request.terms = request.terms.fitting().map_err(at)?;
        check_account(asked, entry).map_err(at)?;
        let order = request.new_order(&master).map_err(at)?;
        orders.push((request, order));
    }
    // Stable: within a side the order is the asker's.
    orders.sort_by_key(|(request, _)| request.side == Side::Sell);
    let mut results = Results::begin();
    for (request, order) in orders {
        let mut entry = Map::new();
        entry.insert("symbol".to_owned(), json!(request.symbol));
        results.send(asked, order, &request.strategy, entry).await;
    }
    Ok(results.reply(Map::new()))
}

pub(super) async fn split(asked: &Asked) -> Result<Reply, Failed> {
    let (request, size) =
        OrderRequest::read_with(&asked.body, 1, |fields| fields.required_whole("splitsize", 1))?;
    let master = asked.master()?;
    let instrument = request.instrument(&master)?;
    let parts = smart::parts(request.quantity, size, MAX_ORDERS)
        .ok_or_else(|| Failed::bad(format!("splitsize: it would take more than {MAX_ORDERS} orders")))?;
    let orders = parts
        .into_iter()
        .map(|quantity| request.order_of(&master, instrument, request.side, quantity))
        .collect::<Result<Vec<_>, _>>()?;
    let mut results = Results::begin();
    for (index, order) in orders.into_iter().enumerate() {
        let mut entry = Map::new();
        entry.insert("order_num".to_owned(), json!(index + 1));
        entry.insert("quantity".to_owned(), json!(order.quantity));
        results.send(asked, order, &request.strategy, entry).await;
    }
    let mut head = Map::new();
    head.insert("total_quantity".to_owned(), json!(request.quantity));
    head.insert("split_size".to_owned(), json!(size));
    Ok(results.reply(head))
}

/// An entry goes where the whole basket goes; another account in it would be passed over in silence.
fn check_account(asked: &Asked, entry: &Map<String, Value>) -> Result<(), Failed> {
    let own = match entry.get("account") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::String(own)) => own,
        Some(_) => return Err(Failed::bad("account: Not a valid string.")),
    };
    if *own == asked.desk.account_name(asked.account()?)? {
        return Ok(());
    }
    Err(Failed::bad("account: all orders of a basket go to the account that the basket names"))
}

/// How each went.
struct Results {
    budget: Budget,
    entries: Vec<Value>,
    placed: usize,
    first_failure: Option<(u16, String)>,
}

impl Results {
    fn begin() -> Self {
        Self { budget: Budget::begin(), entries: Vec::new(), placed: 0, first_failure: None }
    }

    async fn send(&mut self, asked: &Asked, order: NewOrder, strategy: &str, mut entry: Map<String, Value>) {
        let by = asked.placer(strategy);
        let outcome = match (self.budget.left(), asked.account()) {
            (Ok(()), Ok(account)) => asked.desk.place(account, order, &by).await.map_err(Failed::from),
            (Err(failed), _) | (_, Err(failed)) => Err(failed),
        };
        self.budget.note(outcome.as_ref().err());
        match outcome {
            Ok(id) => {
                self.placed += 1;
                entry.insert("status".to_owned(), json!("success"));
                entry.insert("orderid".to_owned(), json!(id));
            }
            Err(failed) => {
                entry.extend(failed.members());
                self.first_failure.get_or_insert((failed.status, failed.message));
            }
        }
        self.entries.push(Value::Object(entry));
    }

    /// A success if anything was placed: clients keep the results of a success only.
    fn reply(self, head: Map<String, Value>) -> Reply {
        let (mut body, mut code) = (head, 200);
        let placed = self.placed > 0;
        if let Some((status, message)) = self.first_failure.filter(|_| !placed) {
            code = status;
            body.insert("message".to_owned(), json!(format!("no order was placed: {message}")));
        }
        // What nobody knows of is no order that was not placed.
        let unknown = self.entries.iter().filter(|entry| entry["outcome"] == "unknown").count();
        if !placed && unknown > 0 {
            code = 504;
            body.insert("message".to_owned(), json!(format!("the outcome of {unknown} orders is unknown")));
            body.insert("outcome".to_owned(), json!("unknown"));
        }
        body.insert("status".to_owned(), json!(if placed { "success" } else { "error" }));
        body.insert("results".to_owned(), Value::Array(self.entries));
        Reply::new(code, &body)
    }
}
