//! The client's books against the simulated broker's truth: what one reads and the other writes was
//! made from the venue's documents, each without the other.

use serde_json::{Value, json};
use tickgate::market::{Order, OrderKind, OrderStatus, Position, PositionView, Side};
use tickgate::sim::{AccountKind, Settings as SimSettings};

use crate::rig::{Outside, india, run};

fn shown(order: &Order) -> Value {
    json!({
        "id": order.id,
        "exchange_id": order.exchange_id,
        "unique_id": order.unique_id,
        "segment": order.instrument.segment.number(),
        "instrument": order.instrument.code,
        "side": match order.side { Side::Buy => "buy", Side::Sell => "sell" },
        "kind": match &order.kind {
            OrderKind::Market => "market",
            OrderKind::Limit => "limit",
            OrderKind::StopLimit => "stop_limit",
            OrderKind::StopMarket => "stop_market",
            OrderKind::Unknown(text) => text,
        },
        "product": order.product,
        "validity": order.validity,
        "quantity": order.quantity,
        "filled": order.filled,
        "left": order.left,
        "price": order.price.to_string(),
        "trigger": order.trigger.to_string(),
        "average": order.average.map(|price| price.to_string()),
        "status": match &order.status {
            OrderStatus::Pending => "pending",
            OrderStatus::Open => "open",
            OrderStatus::TriggerPending => "trigger_pending",
            OrderStatus::PartiallyFilled => "partially_filled",
            OrderStatus::Filled => "filled",
            OrderStatus::Cancelled => "cancelled",
            OrderStatus::Rejected => "rejected",
            OrderStatus::Unknown(text) => text,
        },
        "reason": order.reason,
        "placed_ms": order.placed_at.map(|at| at.as_millis() / 1000),
        "updated_ms": order.updated_at.map(|at| at.as_millis() / 1000),
    })
}

fn position(position: &Position) -> Value {
    json!({
        "segment": position.instrument.segment.number(),
        "instrument": position.instrument.code,
        "product": position.product,
        "quantity": position.quantity,
        "bought": position.bought,
        "sold": position.sold,
        "net_amount": position.net_amount.map(|money| money.to_string()),
        "multiplier": position.multiplier,
    })
}

/// The members of `truth` that `found` has, in the same order; times to the second, as on the wire.
fn of(truth: &Value, found: &[Value]) -> Vec<Value> {
    let rows = truth.as_array().expect("is a list");
    assert_eq!(rows.len(), found.len(), "{truth}");
    let same = |row: &Value, like: &Value| {
        let members = like.as_object().expect("is an object").keys().map(|key| {
            let value = match row[key].as_i64() {
                Some(ms) if key.ends_with("_ms") => json!(ms / 1000),
                _ => row[key].clone(),
            };
            (key.clone(), value)
        });
        Value::Object(members.collect())
    };
    rows.iter().zip(found).map(|(row, like)| same(row, like)).collect()
}

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(ToString::to_string);
    rows
}

#[test]
fn the_books_read_are_the_books_kept_for_investors_dealers_and_pros() {
    for kind in [AccountKind::Investor, AccountKind::Dealer, AccountKind::Pro] {
        run(|| async {
            let sim = SimSettings { account_kind: kind, ..SimSettings::default() };
            let mut outside = Outside::new(sim, india("2026-02-10T11:00:00")).await;
            if kind == AccountKind::Pro {
                "*****".clone_into(&mut outside.client_id);
            }
            let running = outside.start();
            running.both_valid().await;
            let truth = outside.sim("books").await["accounts"][0].take();
            let orders: Vec<_> = running.session.order_book().await.unwrap().rows.iter().map(shown).collect();
            assert!(orders.len() >= 5, "{kind:?}");
            assert_eq!(sorted(orders.clone()), sorted(of(&truth["orders"], &orders)), "{kind:?}");
            for (view, name) in [(PositionView::Net, "net"), (PositionView::Day, "day")] {
                let read = running.session.positions(view).await.unwrap().rows;
                let read: Vec<_> = read.iter().map(position).collect();
                assert!(!read.is_empty(), "{kind:?} {name}");
                assert_eq!(
                    sorted(read.clone()),
                    sorted(of(&truth["positions"][name], &read)),
                    "{kind:?} {name}"
                );
            }
            let funds = running.session.funds().await.unwrap();
            for (name, read) in [
                ("available", funds.available),
                ("cash", funds.cash),
                ("used", funds.used),
                ("collateral", funds.collateral),
                ("realized", funds.realized),
            ] {
                assert_eq!(
                    json!(read.map(|money| money.to_string())),
                    truth["funds"][name],
                    "{kind:?} {name}"
                );
            }
            running.stop().await;
        });
    }
}
