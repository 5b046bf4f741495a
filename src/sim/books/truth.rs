//! The books without the venue's oddities: numbers are numbers, prices exact decimal text.

use serde_json::{Value, json};

use super::{Book, Holding, Order, Paise, Position, Side, Status, Type};
use crate::market::Price;

impl Book {
    /// For `GET /__sim/books`.
    pub(crate) fn truth(&self) -> Value {
        let orders: Vec<_> = (0..self.orders.len()).map(|at| self.order_truth(at)).collect();
        let trades: Vec<_> = self
            .trades
            .iter()
            .map(|t| {
                json!({
                    "order": self.orders[t.order].number.to_string(),
                    "exchange_id": self.orders[t.order].exchange_number,
                    "unique_id": self.orders[t.order].mark,
                    "segment": self.orders[t.order].item.id.segment.number(),
                    "instrument": self.orders[t.order].item.id.code,
                    "symbol": self.orders[t.order].item.symbol,
                    "side": side(self.orders[t.order].side),
                    "product": self.orders[t.order].product,
                    "execution": t.number.to_string(),
                    "quantity": t.quantity,
                    "price": t.price.to_string(),
                    "time_ms": t.time.as_millis(),
                })
            })
            .collect();
        let positions = |net| self.positions(net).iter().map(position).collect::<Vec<_>>();
        let funds = self.funds();
        json!({
            "orders": orders,
            "trades": trades,
            "positions": { "net": positions(true), "day": positions(false) },
            "holdings": self.holdings.iter().map(Holding::truth).collect::<Vec<_>>(),
            "funds": {
                "cash": rupees(funds.cash),
                "used": rupees(funds.used),
                "available": rupees(funds.available()),
                "collateral": "0.00",
                "realized": rupees(funds.realized),
                "unrealized": "0.00",
            },
        })
    }

    fn order_truth(&self, at: usize) -> Value {
        let Order { item, .. } = &self.orders[at];
        let order = &self.orders[at];
        json!({
            "id": order.number.to_string(),
            "exchange_id": order.exchange_number,
            "unique_id": order.mark,
            "segment": item.id.segment.number(),
            "instrument": item.id.code,
            "symbol": item.symbol,
            "side": side(order.side),
            "kind": match order.r#type {
                Type::Market => "market",
                Type::Limit => "limit",
                Type::StopLimit => "stop_limit",
                Type::StopMarket => "stop_market",
            },
            "product": order.product,
            "validity": order.validity.as_str(),
            "disclosed": order.disclosed,
            "leg": order.link.as_ref().map(|l| l.role.as_str()),
            "entry": order.link.as_ref().map(|l| self.orders[l.entry].number.to_string()),
            "quantity": order.quantity,
            "filled": self.filled(at),
            "left": self.left(at),
            "price": order.limit.to_string(),
            "trigger": order.trigger.to_string(),
            "average": self.average(at).map(price),
            "status": match order.status {
                Status::PendingNew => "pending",
                Status::New | Status::Replaced => "open",
                Status::PartiallyFilled => "partially_filled",
                Status::Filled => "filled",
                Status::Cancelled => "cancelled",
                Status::Rejected => "rejected",
                Status::TriggerPending => "trigger_pending",
            },
            "reason": order.reason,
            "placed_ms": order.placed.as_millis(),
            "updated_ms": order.updated.as_millis(),
        })
    }
}

const fn side(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

fn position(position: &Position) -> Value {
    let average = |amount: Paise, quantity| (quantity != 0).then(|| price(amount));
    json!({
        "segment": position.item.id.segment.number(),
        "instrument": position.item.id.code,
        "symbol": position.item.symbol,
        "product": position.product,
        "quantity": position.quantity(),
        "bought": position.bought,
        "buy_average": average(position.buy_average(), position.bought),
        "sold": position.sold,
        "sell_average": average(position.sell_average(), position.sold),
        "net_amount": rupees(position.net_amount()),
        "multiplier": 1,
    })
}

pub(super) fn price(paise: Paise) -> String {
    Price::from_nanos(paise * 10_000_000).to_string()
}

/// Two decimals, no commas.
pub(super) fn rupees(paise: Paise) -> String {
    let sign = if paise < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", paise.unsigned_abs() / 100, paise.unsigned_abs() % 100)
}
