//! Orders that stand: changed, or taken back.

use serde_json::{Value, json};

use super::super::asked::{Asked, Failed, Reply, tradable};
use super::super::fields::Fields;
use super::request::{Terms, check_lot};
use crate::market::OrderChange;

pub(super) async fn modify(asked: &Asked) -> Result<Reply, Failed> {
    let mut fields = Fields::of(&asked.body);
    let (id, strategy) = (fields.text("orderid"), fields.text("strategy"));
    let (symbol, exchange) = (fields.text("symbol"), fields.text("exchange"));
    fields.side("action");
    let quantity = fields.required_whole("quantity", 1);
    let terms = Terms::read(&mut fields, true);
    fields.finish()?;
    let terms = terms.fitting()?;
    let master = asked.master()?;
    let instrument = tradable(&master, &exchange, &symbol)?;
    check_lot(&master, instrument, quantity)?;
    let change = OrderChange {
        id: id.clone(),
        kind: terms.kind,
        product: terms.product,
        validity: "DAY".to_owned(),
        quantity,
        disclosed: terms.disclosed,
        price: terms.price,
        trigger: terms.trigger,
        unique_id: String::new(),
    };
    asked.desk.modify(asked.account()?, change, &asked.placer(&strategy)).await?;
    Ok(Reply::new(200, &json!({"status": "success", "orderid": id})))
}

pub(super) async fn cancel(asked: &Asked) -> Result<Reply, Failed> {
    let mut fields = Fields::of(&asked.body);
    let (id, strategy) = (fields.text("orderid"), fields.text("strategy"));
    fields.finish()?;
    asked.desk.cancel(asked.account()?, &id, &asked.placer(&strategy)).await?;
    Ok(Reply::new(200, &json!({"status": "success", "orderid": id})))
}

/// One by one, so that each is known to be cancelled or not. An error only if none could be.
pub(super) async fn cancel_all(asked: &Asked) -> Result<Reply, Failed> {
    let mut fields = Fields::of(&asked.body);
    let by = asked.placer(&fields.text("strategy"));
    fields.finish()?;
    let account = asked.account()?;
    let book = asked.desk.order_book(account).await?;
    let (mut canceled, mut failed, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    let mut first_status = None;
    for order in book.iter().filter(|order| !order.status.is_final()) {
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
    let status = first_status.filter(|_| done == 0).unwrap_or(200);
    let is_unclear = failures.iter().any(|failure| failure["outcome"] == "unknown");
    let mut body = json!({
        "status": if status == 200 { "success" } else { "error" },
        "message": format!("Canceled {done} orders. Failed to cancel {left} orders."),
        "canceled_orders": canceled,
        "failed_cancellations": failed,
        "failures": failures,
    });
    if is_unclear {
        body["outcome"] = json!("unknown");
    }
    Ok(Reply::new(status, &body))
}
