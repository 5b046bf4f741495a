//! Writes an order's change as OpenAlgo's clients read it, and which account's it is. Not who is told, and not
//! the books' rows.

use super::frames::push_string;
use super::number::{push_i64, push_price};
use super::orders;
use crate::market::{Exchange, OrderUpdate, Price};

/// An order as it is now. `name` is what the instrument list calls its instrument; where it knows none, the
/// broker's symbol stands in, on the exchange of the segment.
pub fn order_update(
    update: &OrderUpdate,
    name: Option<(Exchange, &str)>,
    broker: &str,
    user: &str,
    out: &mut Vec<u8>,
) {
    let order = &update.order;
    let segment = order.instrument.segment;
    let of_segment = || Exchange::ALL.into_iter().find(|exchange| exchange.segment() == segment);
    let (exchange, symbol) = match name {
        Some((exchange, symbol)) => (Some(exchange), symbol),
        None => (of_segment(), order.symbol.as_str()),
    };
    out.extend_from_slice(b"{\"type\":\"order_update\"");
    // The mode is a word here, not a number as in market data.
    text("user_id", user, out);
    text("mode", "live", out);
    text("broker", broker, out);
    // Text, because not every client keeps 64 bits.
    text("orderid", &order.id, out);
    text("symbol", symbol, out);
    text("exchange", exchange.map_or("", Exchange::as_str), out);
    text("action", orders::action(order.side), out);
    number("quantity", order.quantity, out);
    price("price", order.price, out);
    price("trigger_price", order.trigger, out);
    text("pricetype", orders::price_type(&order.kind), out);
    text("product", &order.product, out);
    text("order_status", orders::status(&order.status), out);
    number("filled_quantity", order.filled, out);
    number("pending_quantity", order.left, out);
    price("average_price", order.average.unwrap_or_default(), out);
    text("rejection_reason", &order.reason, out);
    // OpenAlgo has one account and no such member; its clients pass over what they do not know.
    text("account", &update.account, out);
    out.push(b'}');
}

fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn text(name: &str, value: &str, out: &mut Vec<u8>) {
    key(name, out);
    push_string(value, out);
}

fn number(name: &str, value: i64, out: &mut Vec<u8>) {
    key(name, out);
    push_i64(value, out);
}

fn price(name: &str, value: Price, out: &mut Vec<u8>) {
    key(name, out);
    push_price(value, out);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::market::{InstrumentId, Order, OrderKind, OrderStatus, Segment, Side};

    fn order() -> Order {
        Order {
            id: "1100036811".to_owned(),
            exchange_id: "11".to_owned(),
            unique_id: "mark".to_owned(),
            account: "TEST01".to_owned(),
            instrument: InstrumentId { segment: Segment::NseFo, code: 3045 },
            symbol: "NIFTY \"FUT\"".to_owned(),
            side: Side::Buy,
            kind: OrderKind::StopMarket,
            product: "MIS".to_owned(),
            validity: "DAY".to_owned(),
            quantity: 10,
            filled: 4,
            left: 6,
            price: Price::from_rupees(770),
            trigger: Price::parse(b"769.05").unwrap(),
            average: None,
            status: OrderStatus::PartiallyFilled,
            reason: String::new(),
            placed_at: None,
            updated_at: None,
        }
    }

    fn written(order: &Order, name: Option<(Exchange, &str)>) -> Value {
        let mut out = Vec::new();
        let update = OrderUpdate { account: "bob".into(), order: order.clone() };
        order_update(&update, name, "jainamxts", "alice", &mut out);
        serde_json::from_slice(&out).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out)))
    }

    #[test]
    fn the_frame_that_openalgo_clients_know() {
        assert_eq!(
            written(&order(), Some((Exchange::Nse, "SBIN"))),
            json!({"type":"order_update","user_id":"alice","mode":"live","broker":"jainamxts",
                "orderid":"1100036811","symbol":"SBIN","exchange":"NSE","action":"BUY","quantity":10,
                "price":770.0,"trigger_price":769.05,"pricetype":"SL-M","product":"MIS","order_status":"open",
                "filled_quantity":4,"pending_quantity":6,"average_price":0.0,"rejection_reason":"",
                "account":"bob"})
        );
    }

    #[test]
    fn what_the_list_does_not_know_keeps_the_brokers_name() {
        let rejected = Order {
            status: OrderStatus::Rejected,
            reason: "RMS: \u{7}margin".to_owned(),
            average: Price::parse(b"770.125"),
            ..order()
        };
        let frame = written(&rejected, None);
        assert_eq!((&frame["symbol"], &frame["exchange"]), (&json!("NIFTY \"FUT\""), &json!("NFO")));
        assert_eq!((&frame["order_status"], &frame["average_price"]), (&json!("rejected"), &json!(770.125)));
        assert_eq!(frame["rejection_reason"], "RMS: \u{7}margin");
    }
}
