//! Orders from the call to the books, the socket and the funds.

use super::*;
use crate::sim::core::{Manner, OrderCall, OrderFault, Query};
use crate::sim::settings::{AccountKind, Books, Hours};

fn empty() -> Settings {
    Settings { books: Books::Empty, ..Settings::default() }
}

fn order(mark: &str) -> Value {
    json!({"exchangeSegment": "NSECM", "exchangeInstrumentID": 2885, "productType": "MIS",
        "orderType": "MARKET", "orderSide": "BUY", "timeInForce": "DAY", "disclosedQuantity": 0,
        "orderQuantity": 10, "limitPrice": 0, "stopPrice": 0, "orderUniqueIdentifier": mark})
}

fn with(mark: &str, changes: impl std::borrow::Borrow<Value>) -> Value {
    let mut body = order(mark);
    for (key, value) in changes.borrow().as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn call(sim: &mut Sim, call: OrderCall, body: &Value) -> Answer {
    sim.core.order_call(0, call, body, &Query::new(), sim.now).0
}

fn cancel(sim: &mut Sim, number: &Value) -> Answer {
    let query = Query::from([("appOrderID".to_owned(), number.to_string())]);
    sim.core.order_call(0, OrderCall::Cancel, &Value::Null, &query, sim.now).0
}

fn book(sim: &Sim) -> Value {
    sim.core.books_view()["accounts"][0].clone()
}

fn listen(sim: &mut Sim) {
    let token = sim.login(Product::Interactive);
    let connect = Connect { token, user_id: USER.to_owned(), ..Connect::default() };
    sim.core.open_socket(Product::Interactive, &connect, 9, sim.now).unwrap();
    sim.core.take_outbox();
}

/// Names and payloads of what the interactive socket got.
fn events(out: &HashMap<SocketId, Vec<Out>>) -> Vec<(String, Value)> {
    let frames = out.get(&9).map(Vec::as_slice).unwrap_or_default();
    let event = |out: &Out| {
        let Out::Text(text) = out else { panic!("{out:?}") };
        let event: Value = serde_json::from_str(&text[2..]).unwrap();
        let payload = serde_json::from_str(event[1].as_str().unwrap()).unwrap();
        (event[0].as_str().unwrap().to_owned(), payload)
    };
    frames.iter().map(event).collect()
}

#[test]
fn a_market_order_is_acknowledged_then_told_step_by_step() {
    let mut sim = Sim::new(empty());
    listen(&mut sim);
    let answer = call(&mut sim, OrderCall::Place, &with("abc123", json!({"orderQuantity": "10"})));
    let sent = result(&answer);
    assert_eq!(
        (&parsed(&answer)["description"], &sent["OrderUniqueIdentifier"]),
        (&"Request sent".into(), &"abc123".into())
    );
    assert_eq!(book(&sim)["orders"][0]["status"], "pending");
    let out = sim.run(1);
    let events = events(&out);
    let states: Vec<_> =
        events.iter().filter(|e| e.0 == "order").map(|e| e.1["OrderStatus"].as_str().unwrap()).collect();
    assert_eq!((states[0], *states.last().unwrap()), ("PendingNew", "Filled"));
    assert_eq!(states[1], "New");
    assert!(events.iter().any(|e| e.0 == "trade") && events.iter().any(|e| e.0 == "position"));
    let truth = book(&sim);
    assert_eq!(truth["orders"][0]["id"], sent["AppOrderID"].to_string());
    let traded: i64 =
        truth["trades"].as_array().unwrap().iter().map(|t| t["quantity"].as_i64().unwrap()).sum();
    assert_eq!((traded, &truth["positions"]["net"][0]["quantity"]), (10, &10.into()));
    assert_eq!(truth["orders_received"]["by_unique_id"], json!({"abc123": 1}));
    assert_ne!(truth["funds"]["used"], "0.00");

    // Its history has every state.
    let query = Query::from([("appOrderID".to_owned(), sent["AppOrderID"].to_string())]);
    let history = result(&sim.core.interactive_get(0, "orders", &query, sim.now));
    assert_eq!(
        (&history[0]["OrderStatus"], &history[1]["OrderStatus"]),
        (&"PendingNew".into(), &"New".into())
    );

    // Sold again, nothing is held and nothing is blocked.
    call(&mut sim, OrderCall::Place, &with("x", json!({"orderSide": "SELL"})));
    sim.run(1);
    let truth = book(&sim);
    assert_eq!(
        (&truth["positions"]["net"][0]["quantity"], &truth["funds"]["used"]),
        (&0.into(), &"0.00".into())
    );
}

#[test]
fn resting_orders_can_be_changed_and_cancelled() {
    let mut sim = Sim::new(empty());
    let limit = json!({"orderType": "LIMIT", "limitPrice": 1400.5});
    let number = result(&call(&mut sim, OrderCall::Place, &with("a", &limit)))["AppOrderID"].clone();
    sim.run(1);
    assert_eq!(book(&sim)["orders"][0]["status"], "open");
    let change = json!({"appOrderID": number, "modifiedProductType": "MIS", "modifiedOrderType": "LIMIT",
        "modifiedOrderQuantity": 20, "modifiedDisclosedQuantity": 0, "modifiedLimitPrice": 1401,
        "modifiedStopPrice": 0, "modifiedTimeInForce": "DAY", "orderUniqueIdentifier": "a"});
    assert_eq!(call(&mut sim, OrderCall::Modify, &change).status, 200);
    let truth = book(&sim)["orders"][0].clone();
    assert_eq!(
        (&truth["quantity"], &truth["price"], &truth["status"]),
        (&20.into(), &"1401.0".into(), &"open".into())
    );
    assert_eq!(
        result(&sim.core.interactive_get(0, "orders", &Query::new(), sim.now))[0]["OrderStatus"],
        "Replaced"
    );
    assert_eq!(cancel(&mut sim, &number).status, 200);
    refused(&cancel(&mut sim, &number), "e-orders-0001");
    refused(&call(&mut sim, OrderCall::Modify, &change), "e-orders-0001");
    assert_eq!(book(&sim)["orders"][0]["status"], "cancelled");

    for _ in 0..2 {
        call(&mut sim, OrderCall::Place, &with("b", &limit));
    }
    sim.run(1);
    let all = json!({"exchangeSegment": "NSECM", "exchangeInstrumentID": 0});
    assert_eq!(call(&mut sim, OrderCall::CancelAll, &all).status, 200);
    let orders = book(&sim)["orders"].clone();
    assert!(orders.as_array().unwrap().iter().all(|o| o["status"] == "cancelled"));
    assert_eq!(book(&sim)["orders_received"]["by_unique_id"]["b"], 2);
}

#[test]
fn what_the_exchange_would_not_take_is_refused_and_too_dear_is_rejected() {
    let mut sim = Sim::new(empty());
    let limit = |price: Value| json!({"orderType": "LIMIT", "limitPrice": price});
    for (changes, code) in [
        (json!({"exchangeInstrumentID": 999_999}), "e-orders-0001"),
        (json!({"exchangeInstrumentID": 26000}), "e-orders-0001"),
        (limit(json!(1450.05)), "e-orders-0001"),
        (limit(json!("1700")), "e-orders-0001"),
        (limit(json!(0)), "e-orders-0001"),
        (json!({"orderQuantity": 0}), "e-orders-0001"),
        (
            json!({"exchangeSegment": "NSEFO", "exchangeInstrumentID": 59001, "orderQuantity": 66, "productType": "NRML"}),
            "e-orders-0001",
        ),
        (json!({"orderSide": ""}), "e-response-0001"),
        (json!({"clientID": "SIM02"}), "e-response-0001"),
    ] {
        refused(&call(&mut sim, OrderCall::Place, &with("a", changes)), code);
    }
    assert_eq!(book(&sim)["orders"], json!([]));
    call(&mut sim, OrderCall::Place, &with("dear", json!({"orderQuantity": 90_000})));
    sim.run(1);
    let truth = book(&sim)["orders"][0].clone();
    assert_eq!(truth["status"], "rejected");
    assert!(truth["reason"].as_str().unwrap().starts_with("RMS:Margin Exceeds, Required:"), "{truth}");
    assert_eq!(book(&sim)["funds"]["used"], "0.00");

    let mut sim = Sim::new(Settings { hours: Hours::Exchange, ..empty() });
    sim.now = UnixNanos::from_secs(START.as_secs() + 8 * 3600);
    let refusal = call(&mut sim, OrderCall::Place, &order("late"));
    assert_eq!(parsed(&refusal)["description"], "Market is closed");
}

#[test]
fn a_dealer_names_the_client_in_the_body() {
    let mut sim = Sim::new(Settings { account_kind: AccountKind::Dealer, ..empty() });
    refused(&call(&mut sim, OrderCall::Place, &order("a")), "e-response-0001");
    let answer = call(&mut sim, OrderCall::Place, &with("a", json!({"clientID": "SIM01"})));
    assert_eq!(result(&answer)["ClientID"], "SIM01");
}

#[test]
fn faults_leave_a_client_in_doubt_but_not_the_books() {
    let mut sim = Sim::new(empty());
    let mut expect = |kind: &str, status: u16, taken: usize| {
        let fault = OrderFault::parse(&json!({"kind": kind, "after_ms": 5}), None).unwrap();
        sim.core.add_order_fault(fault);
        let before = book(&sim)["orders"].as_array().unwrap().len();
        let (answer, manner) = sim.core.order_call(0, OrderCall::Place, &order(kind), &Query::new(), sim.now);
        assert_eq!(answer.status, status, "{kind}");
        assert_eq!(book(&sim)["orders"].as_array().unwrap().len() - before, taken, "{kind}");
        manner
    };
    let after = std::time::Duration::from_millis(5);
    assert_eq!(expect("no_answer", 200, 1), Manner::Never(after));
    assert_eq!(expect("slow", 200, 1), Manner::Late(after));
    assert_eq!(expect("502_after", 502, 1), Manner::Late(after));
    assert_eq!(expect("502_before", 502, 0), Manner::Now);
    assert_eq!(expect("refuse", 400, 0), Manner::Now);
    let received = book(&sim)["orders_received"].clone();
    assert_eq!((&received["total"], &received["taken"]), (&5.into(), &3.into()));
}

#[test]
fn a_bracket_and_a_cover_order_close_what_they_opened() {
    let mut sim = Sim::new(empty());
    let legs = json!({"squarOff": 140, "stopLossPrice": 120, "trailingStoploss": 0});
    let number = result(&call(&mut sim, OrderCall::Bracket, &with("bo", legs)))["AppOrderID"].clone();
    sim.run(1);
    let orders = book(&sim)["orders"].clone();
    assert_eq!(orders.as_array().unwrap().len(), 3, "{orders}");
    assert_eq!((&orders[1]["leg"], &orders[1]["status"]), (&"target".into(), &"open".into()));
    assert_eq!((&orders[2]["leg"], &orders[2]["status"]), (&"stop".into(), &"trigger_pending".into()));
    let query = Query::from([("boEntryOrderId".to_owned(), number.to_string())]);
    let answer = sim.core.order_call(0, OrderCall::BracketExit, &Value::Null, &query, sim.now).0;
    assert_eq!(answer.status, 200, "{}", answer.body);
    sim.run(1);
    assert_eq!(book(&sim)["positions"]["net"][0]["quantity"], 0);

    let cover = with("co", json!({"orderSide": "SELL", "stopPrice": 1560}));
    let numbers = result(&call(&mut sim, OrderCall::Cover, &cover));
    sim.run(1);
    let find = |sim: &Sim, key: &str| {
        let id = numbers[key].to_string();
        let orders = book(sim)["orders"].clone();
        orders.as_array().unwrap().iter().find(|o| o["id"] == id.as_str()).unwrap()["status"].clone()
    };
    assert_eq!(
        (find(&sim, "EntryAppOrderID"), find(&sim, "ExitAppOrderID")),
        ("filled".into(), "trigger_pending".into())
    );
    let exit = json!({"appOrderID": numbers["ExitAppOrderID"]});
    assert_eq!(call(&mut sim, OrderCall::CoverExit, &exit).status, 200);
    sim.run(1);
    assert_eq!(find(&sim, "ExitAppOrderID"), "filled");
    let positions = book(&sim)["positions"]["net"].clone();
    assert!(positions.as_array().unwrap().iter().all(|p| p["quantity"] == 0), "{positions}");
}

#[test]
fn positions_can_be_converted_and_squared_off() {
    let mut sim = Sim::new(empty());
    call(&mut sim, OrderCall::Place, &order("a"));
    sim.run(1);
    let convert = json!({"exchangeSegment": "NSECM", "exchangeInstrumentID": 2885, "targetQty": 4,
        "isDayWise": true, "oldProductType": "MIS", "newProductType": "CNC"});
    assert_eq!(call(&mut sim, OrderCall::Convert, &convert).status, 200);
    let quantities = |sim: &Sim| {
        let net = book(sim)["positions"]["net"].clone();
        let each = net.as_array().unwrap().iter();
        each.map(|p| (p["product"].as_str().unwrap().to_owned(), p["quantity"].as_i64().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(quantities(&sim), [("MIS".to_owned(), 6), ("CNC".to_owned(), 4)]);
    let off = json!({"exchangeSegment": "NSECM", "exchangeInstrumentID": 2885, "productType": "MIS",
        "squareoffMode": "NetWise", "positionSquareOffQuantityType": "Percentage", "squareOffQtyValue": 50});
    assert_eq!(call(&mut sim, OrderCall::SquareOff, &off).status, 200);
    sim.run(1);
    assert_eq!(quantities(&sim), [("MIS".to_owned(), 3), ("CNC".to_owned(), 4)]);
    refused(
        &call(
            &mut sim,
            OrderCall::Convert,
            &json!({"exchangeSegment": "NSECM", "exchangeInstrumentID": 2885,
        "targetQty": 9, "oldProductType": "MIS", "newProductType": "CNC"}),
        ),
        "e-orders-0001",
    );
}

#[test]
fn the_demos_orders_stay_until_somebody_changes_them() {
    let mut sim = Sim::new(Settings::default());
    let before = book(&sim);
    sim.run(3);
    assert_eq!(book(&sim), before);
    assert_eq!(before["holdings"].as_array().unwrap().len(), 4);
    let open = before["orders"].as_array().unwrap().iter().find(|o| o["status"] == "open").unwrap().clone();
    let number: Value = open["id"].as_str().unwrap().parse::<u64>().unwrap().into();
    assert_eq!(cancel(&mut sim, &number).status, 200);
    let query = Query::from([("appOrderID".to_owned(), number.to_string())]);
    let history = result(&sim.core.interactive_get(0, "orders", &query, sim.now));
    assert_eq!(history[1]["OrderStatus"], "Cancelled");
}
