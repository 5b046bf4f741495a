//! Orders, as `/orderbook` and `/orderstatus` show them.

use std::borrow::Cow;

use serde::Serialize;

use super::decimal::Decimal;
use super::names;
use crate::market::{Master, Order, OrderKind, Price};
use crate::protocol::openalgo::orders as words;

/// One order. The members from `filled_quantity` on are beyond OpenAlgo's.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OpenAlgo's")]
pub struct OrderRow<'a> {
    pub action: &'static str,
    pub symbol: Cow<'a, str>,
    pub exchange: &'static str,
    pub orderid: &'a str,
    pub product: &'a str,
    pub quantity: i64,
    /// Zero for a market order, whatever the broker writes.
    pub price: Decimal,
    pub pricetype: &'a str,
    pub order_status: &'static str,
    pub trigger_price: Decimal,
    pub timestamp: String,
    pub filled_quantity: i64,
    pub pending_quantity: i64,
    /// Of what was done; zero while nothing is.
    pub average_price: Decimal,
    pub rejection_reason: &'a str,
}

/// One order as a row. Limits and triggers are exact; an average has the decimals of the segment's prices.
pub fn order_row<'a>(master: &'a Master, order: &'a Order) -> OrderRow<'a> {
    let (exchange, symbol) = names::name(master, order.instrument, &order.symbol);
    OrderRow {
        action: words::action(order.side),
        symbol,
        exchange: exchange.as_str(),
        orderid: &order.id,
        product: &order.product,
        quantity: order.quantity,
        price: if order.kind == OrderKind::Market { Decimal::ZERO } else { order.price.into() },
        pricetype: words::price_type(&order.kind),
        order_status: words::status(&order.status),
        trigger_price: order.trigger.into(),
        timestamp: names::ist_text(order.placed_at.or(order.updated_at)),
        filled_quantity: order.filled,
        pending_quantity: order.left,
        average_price: average(order, order.average),
        rejection_reason: &order.reason,
    }
}

/// An average as an order's row shows it.
pub fn average(order: &Order, average: Option<Price>) -> Decimal {
    average.map_or(Decimal::ZERO, Decimal::from).rounded(names::average_places(order.instrument.segment))
}

/// How many orders there are of each sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are OpenAlgo's")]
pub struct OrderStatistics {
    pub total_buy_orders: usize,
    pub total_sell_orders: usize,
    pub total_completed_orders: usize,
    /// Those that wait for their trigger among them.
    pub total_open_orders: usize,
    pub total_rejected_orders: usize,
}

/// Counts a book.
pub fn statistics(rows: &[OrderRow<'_>]) -> OrderStatistics {
    let count = |what: &dyn Fn(&OrderRow<'_>) -> bool| rows.iter().filter(|row| what(row)).count();
    OrderStatistics {
        total_buy_orders: count(&|row| row.action == "BUY"),
        total_sell_orders: count(&|row| row.action == "SELL"),
        total_completed_orders: count(&|row| row.order_status == "complete"),
        total_open_orders: count(&|row| matches!(row.order_status, "open" | "trigger pending")),
        total_rejected_orders: count(&|row| row.order_status == "rejected"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{UNKNOWN, master, order, price};
    use super::*;
    use crate::market::{OrderStatus, Side};

    #[test]
    fn the_row_of_an_order() {
        let master = master();
        let mut order = order("1100036811", OrderStatus::Filled);
        order.kind = OrderKind::Market;
        (order.filled, order.left) = (10, 0);
        order.average = Some(price("1460.516666667"));
        let row = serde_json::to_string(&order_row(&master, &order)).unwrap();
        let expected = r#"{"action":"BUY","symbol":"RELIANCE","exchange":"NSE","orderid":"1100036811","product":"MIS","quantity":10,"price":0.0,"pricetype":"MARKET","order_status":"complete","trigger_price":0.0,"timestamp":"10-Feb-2026 10:15:28","filled_quantity":10,"pending_quantity":0,"average_price":1460.52,"rejection_reason":""}"#;
        assert_eq!(row, expected);
    }

    #[test]
    fn an_order_in_an_unknown_instrument_is_shown() {
        let master = master();
        let mut order = order("1", OrderStatus::Open);
        order.instrument = UNKNOWN;
        order.placed_at = None;
        let row = serde_json::to_value(order_row(&master, &order)).unwrap();
        assert_eq!(row["symbol"], "RELIANCE-EQ");
        assert_eq!(row["exchange"], "BFO");
        assert_eq!(row["price"], 1460.5);
        assert_eq!(row["timestamp"], "");
    }

    #[test]
    fn statistics_of_a_book() {
        let master = master();
        let mut sell = order("4", OrderStatus::Rejected);
        sell.side = Side::Sell;
        let mut stop = order("5", OrderStatus::TriggerPending);
        stop.kind = OrderKind::StopLimit;
        let book = [
            order("1", OrderStatus::Open),
            order("2", OrderStatus::PartiallyFilled),
            order("3", OrderStatus::Filled),
            sell,
            stop,
            order("6", OrderStatus::Cancelled),
        ];
        let rows: Vec<_> = book.iter().map(|order| order_row(&master, order)).collect();
        let expected = json!({"total_buy_orders": 5, "total_sell_orders": 1, "total_completed_orders": 1,
            "total_open_orders": 3, "total_rejected_orders": 1});
        assert_eq!(serde_json::to_value(statistics(&rows)).unwrap(), expected);
    }
}
