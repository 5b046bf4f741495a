//! What is sent, what is not, and what is said of either. One file although it is long: every test
//! here stands on the same fake broker.

use std::sync::PoisonError;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::fake::{Books, FakeDesk, order_body, refused, unclear};
use crate::gateway::control::DeskError;
use crate::market::{NewOrder, Order, OrderKind, OrderStatus, Side};
use crate::protocol::openalgo::rest::fixtures::{AT, NIFTY_PUT, RELIANCE, UNKNOWN, order, position, price};

fn placed(desk: &FakeDesk) -> Vec<NewOrder> {
    let books = desk.books.lock().unwrap_or_else(PoisonError::into_inner);
    books.placed.iter().map(|(order, _)| order.clone()).collect()
}

fn sizes(desk: &FakeDesk) -> Vec<(Side, i64)> {
    placed(desk).iter().map(|order| (order.side, order.quantity)).collect()
}

fn failing(outcomes: impl IntoIterator<Item = Result<(), DeskError>>) -> Books {
    Books { outcomes: outcomes.into_iter().collect(), ..Books::default() }
}

#[tokio::test]
async fn an_order_is_sent_as_it_was_asked_for() {
    let desk = FakeDesk::new(Books::default());
    let body = order_body(&json!({"action": "sell", "pricetype": "SL", "product": "NRML", "quantity": 10.0,
        "price": "1460.55", "trigger_price": 1461, "disclosed_quantity": "5", "whatever": [1]}));
    let (status, body) = desk.ask("placeorder", body).await;
    assert_eq!((status, body), (200, json!({"status": "success", "orderid": "1100012345"})));
    let books = desk.books.lock().unwrap();
    let (order, by) = &books.placed[0];
    assert_eq!(
        (order.instrument, order.side, order.quantity, order.disclosed),
        (RELIANCE, Side::Sell, 10, 5)
    );
    assert_eq!((order.price, order.trigger), (price("1460.55"), price("1461")));
    assert_eq!(
        (&order.kind, order.product.as_str(), order.validity.as_str()),
        (&OrderKind::StopLimit, "NRML", "DAY")
    );
    assert_eq!((by.key.as_str(), by.strategy.as_str()), ("trader", "S"));
}

#[tokio::test]
async fn a_market_order_has_no_price() {
    let desk = FakeDesk::new(Books::default());
    let body = order_body(&json!({"price": "1460", "trigger_price": "3", "pricetype": null, "product": ""}));
    assert_eq!(desk.ask("placeorder", body).await.0, 200);
    let order = &placed(&desk)[0];
    assert_eq!((&order.kind, order.product.as_str()), (&OrderKind::Market, "MIS"));
    assert!(!order.price.is_positive() && !order.trigger.is_positive());
}

#[tokio::test]
async fn wrong_orders_are_not_sent() {
    let desk = FakeDesk::new(Books::default());
    for (change, said) in [
        (json!({"action": "HOLD"}), "action: Must be one of: BUY, SELL."),
        (json!({"action": null}), "action: Missing data for required field."),
        (json!({"strategy": null}), "strategy: Missing data for required field."),
        (json!({"pricetype": "ICEBERG"}), "pricetype: Must be one of: MARKET, LIMIT, SL, SL-M."),
        (json!({"product": "BO"}), "product: Must be one of: MIS, NRML, CNC."),
        (json!({"quantity": null}), "quantity: Missing data for required field."),
        (json!({"quantity": 0}), "quantity: Must be at least 1."),
        (json!({"quantity": "-5"}), "quantity: Must be at least 1."),
        (json!({"quantity": "1.5"}), "quantity: Must be a whole number."),
        (json!({"quantity": "0.9999999999"}), "quantity: Not a valid number."),
        (json!({"quantity": "ten"}), "quantity: Not a valid number."),
        (json!({"quantity": 1e300}), "quantity: Not a valid number."),
        (json!({"quantity": [1]}), "quantity: Not a valid number."),
        (json!({"price": -1}), "price: Must be at least 0."),
        (json!({"price": "NaN"}), "price: Not a valid number."),
        (json!({"disclosed_quantity": 0.5}), "disclosed_quantity: Must be a whole number."),
        (json!({"disclosed_quantity": 11}), "disclosed_quantity: Must not be above the order's quantity."),
        (json!({"pricetype": "LIMIT"}), "price: Must be above 0 for a LIMIT or SL order."),
        (json!({"pricetype": "SL", "price": 1}), "trigger_price: Must be above 0 for an SL or SL-M order."),
        (json!({"pricetype": "SL-M", "price": 1}), "trigger_price: Must be above 0 for an SL or SL-M order."),
        (json!({"symbol": "NOPE"}), "Symbol 'NOPE' not found for exchange 'NSE'."),
        (json!({"exchange": "NYSE"}), "exchange: there is no exchange \"NYSE\" here"),
        (
            json!({"symbol": "NIFTY", "exchange": "NSE_INDEX"}),
            "NSE_INDEX:NIFTY is an index, which cannot be traded",
        ),
        (
            json!({"symbol": "NIFTY17FEB2625700PE", "exchange": "NFO"}),
            "quantity: 10 is no multiple of the lot size 65",
        ),
    ] {
        let (status, body) = desk.ask("placeorder", order_body(&change)).await;
        assert_eq!((status, body), (400, json!({"status": "error", "message": said})), "{change}");
    }
    assert!(placed(&desk).is_empty());
}

#[tokio::test]
async fn outcomes_are_told_as_they_are() {
    for (error, status, body) in [
        (refused(), 400, json!({"status": "error", "message": "RMS: margin exceeds"})),
        (
            DeskError::NotConfigured("orders are off: [orders] enabled".to_owned()),
            403,
            json!({"status": "error", "message": "orders are off: [orders] enabled"}),
        ),
        (
            DeskError::NotSent("its turn did not come in time".to_owned()),
            503,
            json!({"status": "error",
                "message": "nothing was sent to the broker: its turn did not come in time"}),
        ),
        (
            unclear(),
            504,
            json!({"status": "error", "message": "the broker did not say; the order book has no tg42",
                "unique_id": "tg42", "outcome": "unknown"}),
        ),
    ] {
        for path in ["placeorder", "placesmartorder"] {
            let desk = FakeDesk::new(failing([Err(error.clone())]));
            let got = desk.ask(path, order_body(&json!({"position_size": 0}))).await;
            assert_eq!(got, (status, body.clone()), "{path}");
            assert_eq!(placed(&desk).len(), 1, "once, whatever came of it");
        }
        let desk = FakeDesk::new(failing([Err(error.clone())]));
        let got = desk.ask("cancelorder", json!({"strategy": "S", "orderid": 7})).await;
        assert_eq!(got, (status, body));
    }
}

fn change(more: &Value) -> Value {
    let mut body = order_body(&json!({"orderid": 1_100_012_345_i64, "pricetype": "LIMIT", "price": "1461.5",
        "trigger_price": "0", "disclosed_quantity": "0"}));
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// One order, as the book has it.
fn standing(change: impl FnOnce(&mut Order)) -> Books {
    let mut standing = order("1100012345", OrderStatus::Open);
    change(&mut standing);
    Books { orders: vec![standing], ..Books::default() }
}

#[tokio::test]
async fn an_order_is_changed_and_taken_back() {
    let desk = FakeDesk::new(standing(|order| order.validity = "IOC".to_owned()));
    let done = (200, json!({"status": "success", "orderid": "1100012345"}));
    assert_eq!(desk.ask("modifyorder", change(&json!({}))).await, done);
    let body = json!({"strategy": "S", "orderid": "1100012345"});
    assert_eq!(desk.ask("cancelorder", body).await, done);
    let asked = desk.books.lock().unwrap().asked.clone();
    assert_eq!(
        asked,
        [
            "order to change 1100012345",
            "modify 1100012345 abc123 Limit 10 1461.5 IOC trader S",
            "cancel 1100012345 trader S"
        ]
    );

    for name in [
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
    ] {
        let mut body = change(&json!({}));
        body[name] = Value::Null;
        let (status, body) = desk.ask("modifyorder", body).await;
        let said = format!("{name}: Missing data for required field.");
        assert_eq!((status, &body["message"]), (400, &json!(said)));
    }
    assert_eq!(desk.books.lock().unwrap().asked.len(), 3);
}

#[tokio::test]
async fn a_change_is_of_the_order_that_is_named_and_of_no_other() {
    let put = || standing(|order| order.instrument = NIFTY_PUT);
    let named = json!({"symbol": "NIFTY17FEB2625700PE", "exchange": "NFO", "quantity": 130});
    let of_lot = |quantity: i64| {
        let mut named = named.clone();
        named["quantity"] = json!(quantity);
        named
    };
    for (books, more, status, said) in [
        (put(), named.clone(), 200, ""),
        (put(), of_lot(10), 400, "quantity: 10 is no multiple of the lot size 65"),
        (put(), json!({}), 400, "symbol: order 1100012345 is for NFO:NIFTY17FEB2625700PE, not NSE:RELIANCE"),
        (
            standing(|_| ()),
            json!({"exchange": "BSE"}),
            400,
            "symbol: order 1100012345 is for NSE:RELIANCE, not BSE:RELIANCE",
        ),
        (standing(|_| ()), json!({"symbol": "NOPE"}), 400, "Symbol 'NOPE' not found for exchange 'NSE'."),
        (standing(|_| ()), json!({"orderid": "7"}), 404, "Order 7 not found; nothing was sent"),
        // What stands until the evening is not made of what may stand for weeks.
        (
            standing(|order| order.validity = String::new()),
            json!({}),
            502,
            "order 1100012345: the broker's order book does not say how long it stands (validity), and a change must; nothing was sent",
        ),
        (
            Books { client: "OTHER", ..standing(|_| ()) },
            json!({}),
            404,
            "Order 1100012345 not found; nothing was sent",
        ),
        (
            Books { unreadable: 1, ..Books::default() },
            json!({}),
            502,
            "1 rows of the broker's orders cannot be read; order 1100012345 is not among the others, nothing was sent",
        ),
        (
            Books { down: Some(DeskError::Failed("timed out".to_owned())), ..standing(|_| ()) },
            json!({}),
            502,
            "timed out",
        ),
    ] {
        let desk = FakeDesk::new(books);
        let (got, body) = desk.ask("modifyorder", change(&more)).await;
        assert_eq!((got, body["message"].as_str().unwrap_or_default()), (status, said));
        let sent: Vec<_> = desk
            .books
            .lock()
            .unwrap()
            .asked
            .iter()
            .filter(|what| what.starts_with("modify"))
            .cloned()
            .collect();
        assert_eq!(sent.len(), usize::from(status == 200), "{said}");
        assert!(sent.iter().all(|what| what.contains("130 1461.5 DAY")), "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_not_acted_on_as_if_it_were_not_there() {
    let held = || Books { unreadable: 3, positions: vec![position(RELIANCE, 10)], ..Books::default() };
    for (path, body) in [
        ("placesmartorder", order_body(&json!({"position_size": 50}))),
        ("closeposition", json!({"strategy": "S"})),
    ] {
        let desk = FakeDesk::new(held());
        let (status, body) = desk.ask(path, body).await;
        let said = "3 rows of the broker's positions cannot be read; nothing was sent";
        assert_eq!((status, &body["message"], &body["unreadable_rows"]), (502, &json!(said), &json!(3)));
        assert!(placed(&desk).is_empty(), "{path}");
    }
    // The order before it may be in a row that cannot be read.
    let desk = FakeDesk::new(Books::default());
    let body = || order_body(&json!({"position_size": 50}));
    assert_eq!(desk.ask("placesmartorder", body()).await.0, 200);
    tokio::time::sleep(Duration::from_mins(10)).await;
    desk.books.lock().unwrap().unreadable_orders = 1;
    let (status, said) = desk.ask("placesmartorder", body()).await;
    assert_eq!(status, 409, "{said}");
    assert!(said["message"].as_str().unwrap().contains("may be among 1 rows"), "{said}");
    assert_eq!(placed(&desk).len(), 1);
}

#[tokio::test]
async fn all_that_can_be_read_is_taken_back_and_the_rest_is_told_of() {
    let desk = FakeDesk::new(Books { unreadable: 2, ..standing(|_| ()) });
    let (status, body) = desk.ask("cancelallorder", json!({"strategy": "S"})).await;
    let said = "Canceled 1 orders. Failed to cancel 0 orders. 2 rows of the order book cannot be read: orders may stand there.";
    assert_eq!((status, &body["message"], &body["unreadable_rows"]), (200, &json!(said), &json!(2)));
    let desk = FakeDesk::new(Books { unreadable: 2, ..standing(|order| order.status = OrderStatus::Filled) });
    let (status, body) = desk.ask("cancelallorder", json!({"strategy": "S"})).await;
    assert_eq!((status, &body["status"]), (502, &json!("error")), "nobody knows that there was nothing");
}

#[tokio::test(start_paused = true)]
async fn only_rows_of_the_client_that_orders_go_to_are_acted_on() {
    let books = || {
        let mut others = position(RELIANCE, 100);
        others.account = "OTHER".to_owned();
        let mut standing = order("7", OrderStatus::Open);
        standing.account = "OTHER".to_owned();
        Books {
            client: "TEST01",
            positions: vec![others, position(RELIANCE, 10)],
            orders: vec![standing, order("8", OrderStatus::Open)],
            ..Books::default()
        }
    };
    let desk = FakeDesk::new(books());
    desk.ask("placesmartorder", order_body(&json!({"position_size": 50}))).await;
    assert_eq!(sizes(&desk), [(Side::Buy, 40)]);
    let desk = FakeDesk::new(books());
    desk.ask("closeposition", json!({"strategy": "S"})).await;
    assert_eq!(sizes(&desk), [(Side::Sell, 10)]);
    let (_, body) = desk.ask("cancelallorder", json!({"strategy": "S"})).await;
    assert_eq!(body["canceled_orders"], json!(["8"]));
}

#[tokio::test(start_paused = true)]
async fn a_smart_order_brings_the_position_to_its_size() {
    let held = || Books { positions: vec![position(RELIANCE, 100)], ..Books::default() };
    for (size, sent) in [
        (json!("150"), Some((Side::Buy, 50))),
        (json!(0), Some((Side::Sell, 100))),
        (json!(-20), Some((Side::Sell, 120))),
        (json!(100), None),
    ] {
        let desk = FakeDesk::new(held());
        let (status, body) = desk.ask("placesmartorder", order_body(&json!({"position_size": size}))).await;
        assert_eq!((status, &body["status"]), (200, &json!("success")));
        assert_eq!(sizes(&desk), sent.into_iter().collect::<Vec<_>>());
        let message = sent.is_none().then_some("Positions Already Matched. No Action needed.");
        assert_eq!(body["message"].as_str(), message);
    }
    // Another product is another position.
    let desk = FakeDesk::new(held());
    let body = order_body(&json!({"position_size": 100, "product": "CNC", "quantity": 0}));
    desk.ask("placesmartorder", body).await;
    assert_eq!(sizes(&desk), [(Side::Buy, 100)]);
    let (status, body) = desk.ask("placesmartorder", order_body(&json!({}))).await;
    assert_eq!((status, &body["message"]), (400, &json!("position_size: Missing data for required field.")));
}

#[tokio::test(start_paused = true)]
async fn smart_orders_of_one_position_take_turns() {
    let desk = FakeDesk::new(Books { fills: Some(OrderStatus::Filled), ..Books::default() });
    let body = || order_body(&json!({"position_size": 50}));
    let (one, two) = tokio::join!(desk.ask("placesmartorder", body()), desk.ask("placesmartorder", body()));
    assert_eq!(sizes(&desk), [(Side::Buy, 50)]);
    assert_eq!(one.1["orderid"], "1100012345");
    assert_eq!(two.1["message"], "Positions Already Matched. No Action needed.");
    // And with the closing of everything.
    let close = json!({"strategy": "S"});
    let (one, two) = tokio::join!(desk.ask("closeposition", close.clone()), desk.ask("closeposition", close));
    assert_eq!(one.1["message"], "All Open Positions Squared Off");
    assert_eq!(two.1["message"], "No Open Positions Found");
    assert_eq!(sizes(&desk), [(Side::Buy, 50), (Side::Sell, 50)]);
}

#[tokio::test(start_paused = true)]
async fn a_smart_order_waits_for_the_one_before_it() {
    // It stands.
    let desk = FakeDesk::new(Books { fills: Some(OrderStatus::Open), ..Books::default() });
    let body = || order_body(&json!({"position_size": 50}));
    assert_eq!(desk.ask("placesmartorder", body()).await.0, 200);
    let (status, said) = desk.ask("placesmartorder", body()).await;
    assert_eq!(status, 409, "{said}");
    assert!(said["message"].as_str().unwrap().contains("1100012345, still stands"), "{said}");
    assert_eq!(placed(&desk).len(), 1);
    // It was cancelled meanwhile.
    desk.books.lock().unwrap().orders[0].status = OrderStatus::Cancelled;
    assert_eq!(desk.ask("placesmartorder", body()).await.0, 200);
    assert_eq!(placed(&desk).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_an_unclear_smart_order_until_it_is_found() {
    let desk = FakeDesk::new(failing([Err(unclear())]));
    let body = || order_body(&json!({"position_size": 50}));
    assert_eq!(desk.ask("placesmartorder", body()).await.0, 504);
    let (status, said) = desk.ask("placesmartorder", body()).await;
    assert_eq!(status, 409);
    assert!(said["message"].as_str().unwrap().contains("tg42, is not in the order book"), "{said}");
    // It was filled after all.
    {
        let mut books = desk.books.lock().unwrap();
        let mut found = order("9", OrderStatus::Filled);
        found.unique_id = "tg42".to_owned();
        found.filled = 50;
        books.orders.push(found);
        books.positions.push(position(RELIANCE, 50));
    }
    let (status, said) = desk.ask("placesmartorder", body()).await;
    assert_eq!((status, &said["message"]), (200, &json!("Positions Already Matched. No Action needed.")));
    assert_eq!(placed(&desk).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unclear_order_is_waited_for_from_its_outcome_on() {
    let desk = FakeDesk::new(failing([Err(unclear())]));
    let body = || order_body(&json!({"position_size": 50}));
    assert_eq!(desk.ask("placesmartorder", body()).await.0, 504);
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(desk.ask("placesmartorder", body()).await.0, 409);
    assert_eq!(placed(&desk).len(), 1);
    tokio::time::sleep(Duration::from_mins(4)).await;
    assert_eq!(desk.ask("placesmartorder", body()).await.0, 200, "it never was");
}

#[tokio::test(start_paused = true)]
async fn an_account_is_one_whether_it_is_named_or_not() {
    let desk = FakeDesk::new(Books { fills: Some(OrderStatus::Open), ..Books::default() });
    let body = |account: &str| order_body(&json!({"position_size": 50, "account": account}));
    assert_eq!(desk.ask("placesmartorder", body("")).await.0, 200);
    assert_eq!(desk.ask("placesmartorder", body("default")).await.0, 409);
    assert_eq!(placed(&desk).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_position_that_has_not_moved_is_not_acted_on() {
    let desk = FakeDesk::new(Books { fills: Some(OrderStatus::Filled), ..Books::default() });
    let body = || order_body(&json!({"position_size": 50}));
    assert_eq!(desk.ask("placesmartorder", body()).await.0, 200);
    // The position book lags behind.
    desk.books.lock().unwrap().positions.clear();
    assert_eq!(desk.ask("placesmartorder", body()).await.0, 409);
    // However long: nothing has brought it back.
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(desk.ask("placesmartorder", body()).await.0, 409);
    desk.books.lock().unwrap().orders[0].updated_at = Some(AT);
    let sold = |filled: i64, age: u64| {
        let mut order = order("9", OrderStatus::Filled);
        (order.side, order.instrument, order.filled) = (Side::Sell, RELIANCE, filled);
        order.updated_at = Some(AT.minus(Duration::from_secs(age)));
        order
    };
    for (filled, age) in [(49, 0), (50, 1)] {
        desk.books.lock().unwrap().orders.push(sold(filled, age));
        assert_eq!(desk.ask("placesmartorder", body()).await.0, 409, "{filled} {age}");
        desk.books.lock().unwrap().orders.pop();
    }
    assert_eq!(placed(&desk).len(), 1);
    // A stop has sold as much since.
    desk.books.lock().unwrap().orders.push(sold(50, 0));
    assert_eq!(desk.ask("placesmartorder", body()).await.0, 200);
    assert_eq!(placed(&desk).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_keeps_no_other_position_open() {
    let book = Books {
        fills: Some(OrderStatus::Open),
        positions: vec![position(NIFTY_PUT, -65), position(RELIANCE, 25), position(RELIANCE, 15)],
        ..Books::default()
    };
    let desk = FakeDesk::new(book);
    let smart =
        json!({"symbol": "NIFTY17FEB2625700PE", "exchange": "NFO", "quantity": 65, "position_size": -130});
    assert_eq!(desk.ask("placesmartorder", order_body(&smart)).await.0, 200);
    let (status, body) = desk.ask("closeposition", json!({"strategy": "S"})).await;
    assert_eq!(status, 409, "{body}");
    assert!(body["message"].as_str().unwrap().starts_with("1 of 2 positions were not closed"), "{body}");
    assert_eq!(sizes(&desk)[1..], [(Side::Sell, 40)], "rows of one position are one");
    assert_eq!((body["orders"][0]["symbol"].as_str(), &body["orders"][1]), (Some("RELIANCE"), &Value::Null));
    assert!(body["failures"][0]["message"].as_str().unwrap().contains("still stands"), "{body}");
}

#[tokio::test]
async fn a_slip_of_the_pen_closes_nothing_and_is_told() {
    let desk = FakeDesk::new(Books { positions: vec![position(RELIANCE, 10)], ..Books::default() });
    for (symbol, exchange, product) in [
        ("RELIANCEE", "NSE", None),
        ("RELIANCE", "nse", None),
        ("", "", None),
        ("RELIANCE", "NSE", Some("MISS")),
        ("RELIANCE", "NSE", Some("")),
    ] {
        let body = json!({"strategy": "S", "symbol": symbol, "exchange": exchange, "product": product});
        assert_eq!(desk.ask("closeposition", body.clone()).await.0, 400, "{body}");
    }
    let other = json!({"strategy": "S", "symbol": "RELIANCE", "exchange": "NSE", "product": "CNC"});
    let (status, said) = desk.ask("closeposition", other).await;
    assert_eq!((status, &said["message"]), (200, &json!("No Open Positions Found")));
    assert!(placed(&desk).is_empty());
}

#[tokio::test]
async fn nothing_is_sent_after_an_unclear_outcome() {
    let leg = json!({"symbol": "RELIANCE", "exchange": "NSE", "action": "BUY", "quantity": 1});
    let desk = FakeDesk::new(failing([Ok(()), Err(unclear())]));
    let basket = json!({"strategy": "S", "orders": [leg, leg, leg, leg]});
    let (status, body) = desk.ask("basketorder", basket).await;
    assert_eq!((status, placed(&desk).len()), (200, 2));
    let said: Vec<_> = (2..4).map(|at| body["results"][at]["message"].clone()).collect();
    assert_eq!(said, ["not sent: the outcome of an order before it is unknown"; 2]);
}

#[tokio::test]
async fn an_order_for_another_account_is_not_passed_over() {
    let desk = FakeDesk::new(Books::default());
    for (account, expected) in [(json!("default"), 200), (json!("bob"), 400), (json!(7), 400)] {
        let leg = json!({"symbol": "RELIANCE", "exchange": "NSE", "action": "BUY", "quantity": 1, "account": account});
        let (status, body) = desk.ask("basketorder", json!({"strategy": "S", "orders": [leg]})).await;
        assert_eq!(status, expected, "{body}");
    }
    assert_eq!(placed(&desk).len(), 1);
}

#[tokio::test]
async fn a_basket_buys_first_and_tells_of_each() {
    let desk = FakeDesk::new(failing([Ok(()), Err(refused()), Err(unclear())]));
    let leg = |symbol: &str, exchange: &str, action: &str, quantity: i64| json!({"symbol": symbol, "exchange": exchange, "action": action, "quantity": quantity});
    let orders = json!([
        leg("NIFTY17FEB2625700PE", "NFO", "SELL", 65),
        leg("RELIANCE", "NSE", "BUY", 1),
        leg("RELIANCE", "BSE", "BUY", 2)
    ]);
    let (status, body) = desk.ask("basketorder", json!({"strategy": "S", "orders": orders})).await;
    let expected = json!({"status": "success", "results": [
        {"symbol": "RELIANCE", "status": "success", "orderid": "1100012345"},
        {"symbol": "RELIANCE", "status": "error", "message": "RMS: margin exceeds"},
        {"symbol": "NIFTY17FEB2625700PE", "status": "error", "outcome": "unknown", "unique_id": "tg42",
         "message": "the broker did not say; the order book has no tg42"}]});
    assert_eq!((status, body), (200, expected));
    assert_eq!(sizes(&desk), [(Side::Buy, 1), (Side::Buy, 2), (Side::Sell, 65)]);
}

#[tokio::test]
async fn a_basket_that_is_wrong_somewhere_is_not_sent() {
    let desk = FakeDesk::new(Books::default());
    let good = json!({"symbol": "RELIANCE", "exchange": "NSE", "action": "BUY", "quantity": 1});
    let mut bad = good.clone();
    bad["symbol"] = json!("NOPE");
    for (orders, said) in [
        (json!([good, bad]), "orders[1]: Symbol 'NOPE' not found for exchange 'NSE'."),
        (json!([good, 7]), "orders[1]: Invalid input type."),
        (
            json!([{}]),
            "orders[0]: symbol: Missing data for required field.; exchange: Missing data for required field.; action: Missing data for required field.; quantity: Missing data for required field.",
        ),
        (json!([]), "orders: 1 to 100 are taken, not 0"),
        (json!(vec![good; 101]), "orders: 1 to 100 are taken, not 101"),
        (json!("x"), "orders: Not a valid list."),
        (Value::Null, "orders: Missing data for required field."),
    ] {
        let (status, body) = desk.ask("basketorder", json!({"strategy": "S", "orders": orders})).await;
        assert_eq!((status, &body["message"]), (400, &json!(said)));
    }
    assert!(placed(&desk).is_empty());
}

#[tokio::test]
async fn nothing_placed_is_no_success() {
    let leg = json!({"symbol": "RELIANCE", "exchange": "NSE", "action": "BUY", "quantity": 1});
    let basket = json!({"strategy": "S", "orders": [leg, leg]});
    let desk = FakeDesk::new(failing([Err(refused()), Err(refused())]));
    let (status, body) = desk.ask("basketorder", basket.clone()).await;
    assert_eq!((status, &body["message"]), (400, &json!("no order was placed: RMS: margin exceeds")));
    assert_eq!(body["results"].as_array().unwrap().len(), 2);
    let desk = FakeDesk::new(failing([Err(refused()), Err(unclear())]));
    let (status, body) = desk.ask("basketorder", basket).await;
    assert_eq!((status, &body["outcome"]), (504, &json!("unknown")));
}

#[tokio::test]
async fn an_order_in_parts() {
    let desk = FakeDesk::new(failing([Ok(()), Err(refused())]));
    let (status, body) =
        desk.ask("splitorder", order_body(&json!({"quantity": 25, "splitsize": "10"}))).await;
    let expected = json!({"status": "success", "total_quantity": 25, "split_size": 10, "results": [
        {"order_num": 1, "orderid": "1100012345", "quantity": 10, "status": "success"},
        {"order_num": 2, "quantity": 10, "status": "error", "message": "RMS: margin exceeds"},
        {"order_num": 3, "orderid": "1100012347", "quantity": 5, "status": "success"}]});
    assert_eq!((status, body), (200, expected));
    for change in [
        json!({"quantity": 101, "splitsize": 1}),
        json!({"splitsize": 0}),
        json!({}),
        // A part that is no whole lot.
        json!({"symbol": "NIFTY17FEB2625700PE", "exchange": "NFO", "quantity": 130, "splitsize": 100}),
    ] {
        assert_eq!(desk.ask("splitorder", order_body(&change)).await.0, 400, "{change}");
    }
    assert_eq!(placed(&desk).len(), 3);
}

#[tokio::test]
async fn all_that_stands_is_taken_back() {
    let book = || {
        let states =
            [OrderStatus::Open, OrderStatus::Filled, OrderStatus::TriggerPending, OrderStatus::Rejected];
        states.into_iter().enumerate().map(|(i, status)| order(&i.to_string(), status)).collect::<Vec<_>>()
    };
    let desk = FakeDesk::new(Books { orders: book(), ..failing([Ok(()), Err(refused())]) });
    let (status, body) = desk.ask("cancelallorder", json!({"strategy": "S"})).await;
    let expected = json!({"status": "success", "message": "Canceled 1 orders. Failed to cancel 1 orders.",
        "canceled_orders": ["0"], "failed_cancellations": ["2"],
        "failures": [{"status": "error", "message": "RMS: margin exceeds", "orderid": "2"}]});
    assert_eq!((status, body), (200, expected));
    let desk = FakeDesk::new(Books { orders: book(), ..failing([Err(refused()), Err(unclear())]) });
    let (status, body) = desk.ask("cancelallorder", json!({"strategy": "S"})).await;
    assert_eq!((status, &body["status"]), (400, &json!("error")));
    assert_eq!(body["failures"][1]["outcome"], "unknown");
    let (status, body) =
        FakeDesk::new(Books::default()).ask("cancelallorder", json!({"strategy": "S"})).await;
    assert_eq!((status, &body["message"]), (200, &json!("Canceled 0 orders. Failed to cancel 0 orders.")));
}

#[tokio::test(start_paused = true)]
async fn positions_are_closed_with_their_opposite() {
    let book = || {
        vec![position(RELIANCE, 10), position(NIFTY_PUT, -65), position(UNKNOWN, 3), position(RELIANCE, 0)]
    };
    let desk = FakeDesk::new(Books { positions: book(), ..Books::default() });
    let (status, body) = desk.ask("closeposition", json!({"strategy": "S"})).await;
    assert_eq!((status, &body["message"]), (200, &json!("All Open Positions Squared Off")));
    assert_eq!(sizes(&desk), [(Side::Sell, 10), (Side::Buy, 65), (Side::Sell, 3)]);
    assert!(placed(&desk).iter().all(|o| o.kind == OrderKind::Market && o.product == "MIS"));

    let desk = FakeDesk::new(Books { positions: book(), ..failing([Ok(()), Err(refused())]) });
    let (status, body) = desk.ask("closeposition", json!({"strategy": "S"})).await;
    assert_eq!((status, &body["status"]), (409, &json!("error")), "some were closed");
    let said = "1 of 3 positions were not closed: NIFTY17FEB2625700PE (MIS): RMS: margin exceeds";
    assert_eq!(body["message"], said);
    assert_eq!(body["orders"].as_array().unwrap().len(), 2);
    for (outcomes, expected, outcome) in [
        (vec![Err(refused()), Err(refused()), Err(refused())], 400, Value::Null),
        (vec![Err(refused()), Err(unclear())], 504, json!("unknown")),
        (vec![Ok(()), Err(unclear())], 409, json!("unknown")),
    ] {
        let desk = FakeDesk::new(Books { positions: book(), ..failing(outcomes) });
        let (status, body) = desk.ask("closeposition", json!({"strategy": "S"})).await;
        assert_eq!((status, &body["outcome"]), (expected, &outcome), "{body}");
    }

    // One symbol means one symbol.
    let desk = FakeDesk::new(Books { positions: book(), ..Books::default() });
    let body = json!({"strategy": "S", "symbol": "RELIANCE", "exchange": "NSE"});
    assert_eq!(desk.ask("closeposition", body).await.0, 200);
    assert_eq!(sizes(&desk), [(Side::Sell, 10)]);
    let (status, _) = desk.ask("closeposition", json!({"strategy": "S", "symbol": "RELIANCE"})).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn an_order_goes_on_when_its_asker_is_gone() {
    let desk = FakeDesk::new(Books::default());
    let leg = json!({"symbol": "RELIANCE", "exchange": "NSE", "action": "BUY", "quantity": 1});
    let mut asking = Box::pin(desk.ask("basketorder", json!({"strategy": "S", "orders": [leg, leg]})));
    // Begun, and given up before the first answer.
    assert!(futures::poll!(&mut asking).is_pending());
    drop(asking);
    while placed(&desk).len() < 2 {
        tokio::task::yield_now().await;
    }
}

/// What the tables say must be there is asked for by name, and what they call optional is not.
#[tokio::test]
async fn the_tables_are_true() {
    use crate::gateway::auth::Scope;
    let desk = FakeDesk::new(Books::default());
    for (scope, endpoints) in
        [(Scope::Trade, &super::ENDPOINTS[..]), (Scope::Account, &super::super::account::ENDPOINTS[..])]
    {
        for endpoint in endpoints {
            assert_eq!(endpoint.scope, scope, "{}", endpoint.path);
            assert!(!endpoint.about.is_empty());
            if endpoint.path == "margin" {
                continue;
            }
            let (status, body) = desk.ask(endpoint.path, json!({})).await;
            let message = body["message"].as_str().unwrap_or_default();
            assert_eq!(status, if endpoint.required.is_empty() { 200 } else { 400 });
            for name in endpoint.required {
                assert!(
                    message.contains(&format!("{name}: Missing")),
                    "{}: {name} in {message}",
                    endpoint.path
                );
            }
            for name in endpoint.optional {
                assert!(!message.contains(name), "{}: {name} in {message}", endpoint.path);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever stands in a body: an answer, no panic, and nothing sent that was not whole and above zero.
    #[test]
    fn arbitrary_bodies_are_answered(
        quantity in "[-+0-9.eE\"\\[\\]ntru]{0,12}", price in any::<f64>(), text in ".{0,12}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let desk = FakeDesk::new(Books::default());
            let quantity: Value = serde_json::from_str(&quantity).unwrap_or(json!(quantity));
            let body = order_body(&json!({"quantity": quantity, "price": price, "pricetype": text,
                "splitsize": quantity, "position_size": quantity, "orderid": text, "orders": [quantity, text]}));
            for endpoint in super::ENDPOINTS {
                let (status, body) = desk.ask(endpoint.path, body.clone()).await;
                assert!(status < 500, "{}: {status} {body}", endpoint.path);
            }
            assert!(placed(&desk).iter().all(|order| order.quantity > 0));
        });
    }
}
