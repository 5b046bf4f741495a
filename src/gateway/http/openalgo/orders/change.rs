//! Orders that stand: changed, or taken back.

use serde_json::{Value, json};

use super::super::asked::{Asked, Failed, Reply, tradable};
use super::super::fields::Fields;
use super::request::{Terms, check_lot};
use crate::market::{Master, Order, OrderChange};
use crate::protocol::openalgo::rest::names;

pub(super) async fn modify(asked: &Asked) -> Result<Reply, Failed> {
    let mut fields = Fields::of(&asked.body);
    let (id, strategy) = (fields.text("orderid"), fields.text("strategy"));
    let (symbol, exchange) = (fields.text("symbol"), fields.text("exchange"));
    fields.side("action");
    let quantity = fields.required_whole("quantity", 1);
    let terms = Terms::read(&mut fields, true);
    fields.finish()?;
    let terms = terms.fitting()?;
    let (master, account) = (asked.master()?, asked.account()?);
    let book = asked.desk.order_to_change(account, &id).await?;
    let Some(order) = book.rows.into_iter().next() else {
        if book.unreadable > 0 {
            let what = format!("order {id} is not among the others, nothing was sent");
            return Err(Failed::unreadable(book.unreadable, "orders", &what));
        }
        return Err(Failed::new(404, format!("Order {id} not found; nothing was sent")));
    };
    check_symbol(&master, &order, &exchange, &symbol)?;
    check_lot(&master, order.instrument, quantity)?;
    if order.validity.is_empty() {
        let why = "the broker's order book does not say how long it stands (validity), and a change must; nothing was sent";
        return Err(Failed::new(502, format!("order {id}: {why}")));
    }
    let change = OrderChange {
        id: id.clone(),
        kind: terms.kind,
        product: terms.product,
        // OpenAlgo's request has no word for it: it stays as it is.
        validity: order.validity,
        quantity,
        disclosed: terms.disclosed,
        price: terms.price,
        trigger: terms.trigger,
        unique_id: order.unique_id,
    };
    asked.desk.modify(account, change, &asked.placer(&strategy)).await?;
    Ok(Reply::new(200, &json!({"status": "success", "orderid": id})))
}

/// A number and a name that do not belong together are a slip, whichever of them is wrong.
fn check_symbol(master: &Master, order: &Order, exchange: &str, symbol: &str) -> Result<(), Failed> {
    let (at, name) = names::name(master, order.instrument, &order.symbol);
    if (at.as_str(), &*name) == (exchange, symbol) || tradable(master, exchange, symbol)? == order.instrument
    {
        return Ok(());
    }
    let is = format!("symbol: order {} is for {}:{name}, not {exchange}:{symbol}", order.id, at.as_str());
    Err(Failed::bad(is))
}

pub(super) async fn cancel(asked: &Asked) -> Result<Reply, Failed> {
    let mut fields = Fields::of(&asked.body);
    let (id, strategy) = (fields.text("orderid"), fields.text("strategy"));
    fields.finish()?;
    asked.desk.cancel(asked.account()?, &id, &asked.placer(&strategy)).await?;
    Ok(Reply::new(200, &json!({"status": "success", "orderid": id})))
}

/// One by one, so that each is known to be cancelled or not. An error only if none could be, or nothing was there
/// to cancel but rows that cannot be read.
pub(super) async fn cancel_all(asked: &Asked) -> Result<Reply, Failed> {
    let mut fields = Fields::of(&asked.body);
    let by = asked.placer(&fields.text("strategy"));
    fields.finish()?;
    let account = asked.account()?;
    let book = asked.desk.traded_orders(account).await?;
    let (mut canceled, mut failed, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    let mut first_status = None;
    for order in book.rows.iter().filter(|order| !order.status.is_final()) {
        match asked.desk.cancel(account, &order.id, &by).await {
            Ok(()) => canceled.push(order.id.as_str()),
            Err(error) => {
                let why = Failed::from(error).with("orderid", order.id.as_str());
                first_status.get_or_insert(why.status);
                failed.push(order.id.as_str());
                failures.push(Value::Object(why.members()));
            }
        }
    }
    let (done, left) = (canceled.len(), failed.len());
    let unread = Some(502).filter(|_| !book.is_whole());
    let status = first_status.or(unread).filter(|_| done == 0).unwrap_or(200);
    let is_unclear = failures.iter().any(|failure| failure["outcome"] == "unknown");
    let mut body = json!({
        "status": if status == 200 { "success" } else { "error" },
        "message": format!("Canceled {done} orders. Failed to cancel {left} orders."),
        "canceled_orders": canceled,
        "failed_cancellations": failed,
        "failures": failures,
    });
    if !book.is_whole() {
        let rows = book.unreadable;
        body["message"] = json!(format!(
            "Canceled {done} orders. Failed to cancel {left} orders. {rows} rows of the order book cannot be read: orders may stand there."
        ));
        body["unreadable_rows"] = json!(rows);
    }
    if is_unclear {
        body["outcome"] = json!("unknown");
    }
    Ok(Reply::new(status, &body))
}
