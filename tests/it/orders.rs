//! Orders are real money: sent once whatever becomes of the answer, off unless switched on, for keys
//! that may, written down; and their changes are told once, also over a gap of the account's socket.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::consumer::{Consumer, Got};
use crate::rest::{ORDERS, Rest, band, truth_of};
use crate::support::{Server, http, wait_for};

/// The server with orders on, and a key that may trade; the market stands still.
fn trading() -> (Server, Rest) {
    let server = Server::start_configured(ORDERS, &[]);
    server.wait_ready();
    let rest = Rest::of(&server, "feed,account,trade");
    (server, rest)
}

fn tell(server: &Server, path: &str, body: &Value) -> Value {
    let answer = http("POST", server.sim_address(), &format!("/__sim/{path}"), None, &body.to_string());
    let (status, body) = answer.expect("the simulator answers");
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).expect("is JSON")
}

/// A price at which `NSE:INFY` is bought by nobody.
fn low(server: &Server) -> String {
    band(&truth_of(&server.sim("/__sim/truth"), "NSE", "INFY")).0
}

fn received(server: &Server) -> Value {
    server.sim("/__sim/books")["accounts"][0]["orders_received"].take()
}

/// The simulator's order with a mark.
fn with_mark(server: &Server, mark: &str) -> Option<Value> {
    let books = server.sim("/__sim/books");
    let orders = books["accounts"][0]["orders"].as_array().expect("is a list");
    orders.iter().find(|order| order["unique_id"] == mark).cloned()
}

/// The mark of the one order that was received.
fn only_mark(received: &Value) -> String {
    let marks = received["by_unique_id"].as_object().expect("is an object");
    assert_eq!(marks.len(), 1, "{received}");
    marks.keys().next().expect("there is one").clone()
}

fn audit(server: &Server) -> Vec<Value> {
    let (status, text) =
        http("GET", server.http_address(), "/v1/admin/audit?last=200", Some(&server.local_key()), "")
            .expect("it answers");
    assert_eq!(status, 200, "{text}");
    let value: Value = serde_json::from_str(&text).expect("is JSON");
    let list = value.as_array().or_else(|| value["entries"].as_array());
    list.unwrap_or_else(|| panic!("no entries in {value}")).clone()
}

/// The broker takes the order, and the answer is lost on its way.
fn taken_without_answer(fault: &Value) {
    let (server, rest) = trading();
    tell(&server, "order_faults", fault);
    let (status, answer) = rest.ask("placeorder", Rest::order(&low(&server), 3));
    let received = received(&server);
    assert_eq!(
        (&received["total"], &received["most_of_one"]),
        (&json!(1), &json!(1)),
        "sent once: {received}"
    );
    let order = with_mark(&server, &only_mark(&received)).expect("the broker took it");
    assert_eq!((status, &answer["status"]), (200, &json!("success")), "{answer}");
    assert_eq!(answer["orderid"], order["id"], "the caller learns which it is");
    let row = rest.get("orderstatus", json!({"orderid": answer["orderid"], "strategy": "it"}));
    assert_eq!(row["data"]["order_status"], "open", "{row}");
    let told: Vec<_> = audit(&server).iter().map(ToString::to_string).collect();
    let mark = only_mark(&received);
    for words in ["about to be sent", "unclear", "sent, order"] {
        assert!(told.iter().any(|e| e.contains(&mark) && e.contains(words)), "{words} for {mark}: {told:#?}");
    }
}

#[test]
fn an_order_that_the_broker_does_not_answer_is_sent_once_and_found() {
    taken_without_answer(&json!({"kind": "no_answer", "call": "place", "after_ms": 300}));
}

#[test]
fn an_order_that_a_proxy_answers_for_is_sent_once_and_found() {
    taken_without_answer(&json!({"kind": "502_after", "call": "place"}));
}

#[test]
fn an_order_that_never_reached_the_broker_is_not_sent_again_nor_said_to_stand() {
    let (server, rest) = trading();
    tell(&server, "order_faults", &json!({"kind": "502_before", "call": "place"}));
    let (status, answer) = rest.ask("placeorder", Rest::order(&low(&server), 3));
    let received = received(&server);
    assert_eq!((&received["total"], &received["taken"]), (&json!(1), &json!(0)), "{received}");
    let mark = only_mark(&received);
    assert!(with_mark(&server, &mark).is_none());
    assert_eq!((status, &answer["status"]), (504, &json!("error")), "{answer}");
    assert_eq!((&answer["outcome"], &answer["unique_id"]), (&json!("unknown"), &json!(mark)), "{answer}");
    assert!(answer["message"].as_str().is_some_and(|m| m.contains("does not show it")), "{answer}");
}

#[test]
fn a_refusal_is_told_in_the_brokers_words() {
    let (server, rest) = trading();
    tell(&server, "order_faults", &json!({"kind": "refuse", "call": "place"}));
    let (status, answer) = rest.ask("placeorder", Rest::order(&low(&server), 3));
    assert_eq!(status, 400, "{answer}");
    assert!(answer["message"].as_str().is_some_and(|m| m.contains("not allowed at present")), "{answer}");
    assert_eq!(received(&server)["total"], 1);
}

#[test]
fn a_cancellation_without_answer_is_looked_for() {
    let (server, rest) = trading();
    let placed = rest.get("placeorder", Rest::order(&low(&server), 3));
    wait_for("the order to stand", || {
        let row = rest.get("orderstatus", json!({"orderid": placed["orderid"], "strategy": "it"}));
        (row["data"]["order_status"] == "open").then_some(())
    });
    tell(&server, "order_faults", &json!({"kind": "no_answer", "call": "cancel", "after_ms": 300}));
    let (status, answer) = rest.ask("cancelorder", json!({"orderid": placed["orderid"], "strategy": "it"}));
    assert_eq!((status, &answer["status"]), (200, &json!("success")), "{answer}");
    let row = rest.get("orderstatus", json!({"orderid": placed["orderid"], "strategy": "it"}));
    assert_eq!(row["data"]["order_status"], "cancelled", "{row}");
}

#[test]
fn dealers_act_on_the_positions_of_the_client_that_orders_go_to() {
    for (kind, client) in [("dealer", ""), ("dealer", "SIM01"), ("pro", "*****")] {
        let environment = [("TICKGATE_SIM__ACCOUNT_KIND", kind), ("TICKGATE_BROKER__XTS__CLIENT_ID", client)];
        let server = Server::start_configured(ORDERS, &environment);
        server.wait_ready();
        let rest = Rest::of(&server, "feed,account,trade");
        let position = |symbol: &str| {
            rest.get(
                "openposition",
                json!({"strategy": "it", "symbol": symbol, "exchange": "NSE", "product": "MIS"}),
            )["quantity"]
                .take()
        };
        let mut order = Rest::order("0", 3);
        (order["pricetype"], order["position_size"]) = (json!("MARKET"), json!(3));
        rest.get("placesmartorder", order);
        wait_for("the position", || (position("INFY") == 3).then_some(()));
        let closed =
            rest.get("closeposition", json!({"strategy": "it", "symbol": "INFY", "exchange": "NSE"}));
        assert_eq!(closed["message"], "All Open Positions Squared Off", "{kind}: {closed}");
        wait_for("its end", || (position("INFY") == 0).then_some(()));
        let placed = rest.get("placeorder", Rest::order(&low(&server), 3));
        let mut change = Rest::order(&low(&server), 4);
        (change["orderid"], change["trigger_price"]) = (placed["orderid"].clone(), json!("0"));
        change["disclosed_quantity"] = json!("0");
        rest.get("modifyorder", change.clone());
        change["symbol"] = json!("RELIANCE");
        let (status, answer) = rest.ask("modifyorder", change);
        assert_eq!(status, 400, "{kind}: {answer}");
        let cancelled = rest.get("cancelallorder", json!({"strategy": "it"}));
        let ids = cancelled["canceled_orders"].as_array().expect("is a list");
        assert!(ids.contains(&placed["orderid"]), "{kind}: {cancelled}");
    }
}

const ACTS: [&str; 8] = [
    "placeorder",
    "placesmartorder",
    "basketorder",
    "splitorder",
    "modifyorder",
    "cancelorder",
    "cancelallorder",
    "closeposition",
];

/// A body that every order endpoint would take.
fn anything(server: &Server) -> Value {
    let mut body = Rest::order(&low(server), 3);
    for (name, value) in [
        ("position_size", json!(1)),
        ("splitsize", json!(1)),
        ("orderid", json!("1100000001")),
        ("orders", json!([Rest::order(&low(server), 1)])),
        ("trigger_price", json!("0")),
        ("disclosed_quantity", json!("0")),
    ] {
        body[name] = value;
    }
    body
}

#[test]
fn orders_are_off_unless_switched_on() {
    let server = Server::start(&[]);
    server.wait_ready();
    let rest = Rest::of(&server, "feed,account,trade");
    let before = server.sim("/__sim/books")["accounts"][0]["orders"].clone();
    for path in ACTS {
        // Of all positions: where there is nothing to close, there is nothing to refuse.
        let body = if path == "closeposition" { json!({"strategy": "it"}) } else { anything(&server) };
        let (status, answer) = rest.ask(path, body);
        assert_eq!((status, &answer["status"]), (403, &json!("error")), "{path}: {answer}");
        assert!(answer.to_string().contains("orders"), "{path} says what is off: {answer}");
    }
    assert_eq!(received(&server)["total"], 0);
    assert_eq!(
        server.sim("/__sim/books")["accounts"][0]["orders"].as_array().map(Vec::len),
        before.as_array().map(Vec::len)
    );
}

#[test]
fn a_key_without_the_scope_trade_moves_nothing() {
    let server = Server::start_configured(ORDERS, &[]);
    server.wait_ready();
    let rest = Rest::of(&server, "feed,account");
    for path in ACTS {
        let (status, answer) = rest.ask(path, anything(&server));
        assert_eq!((status, &answer["status"]), (403, &json!("error")), "{path}: {answer}");
    }
    assert_eq!(received(&server)["total"], 0);
    rest.get("orderbook", json!({}));
    let feed_only = Rest::of(&server, "feed");
    assert_eq!(feed_only.ask("orderbook", json!({})).0, 403, "nor are books shown to a key without account");
}

#[test]
fn a_caller_that_goes_away_leaves_one_order_and_a_record() {
    let (server, rest) = trading();
    tell(&server, "order_faults", &json!({"kind": "slow", "call": "place", "after_ms": 1500}));
    let mut body = Rest::order(&low(&server), 3);
    body["apikey"] = json!(rest.key);
    let body = body.to_string();
    let mut caller = TcpStream::connect(server.http_address()).unwrap();
    let head = format!(
        "POST /api/v1/placeorder HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        server.http_address(),
        body.len()
    );
    caller.write_all(format!("{head}{body}").as_bytes()).unwrap();
    wait_for("the broker to have it", || (received(&server)["total"] == 1).then_some(()));
    drop(caller);
    let mark = only_mark(&received(&server));
    wait_for("the end of it in the audit trail", || {
        let entries = audit(&server);
        entries.iter().map(ToString::to_string).find(|e| e.contains(&mark) && e.contains("sent, order"))
    });
    let received = received(&server);
    assert_eq!((&received["total"], &received["most_of_one"]), (&json!(1), &json!(1)), "{received}");
}

/// What was told of an order, by number.
type Told = BTreeMap<String, Vec<(String, i64)>>;

fn note(told: &mut Told, frame: &Value) {
    if frame["type"] == "order_update" {
        let text =
            |name: &str| frame[name].as_str().unwrap_or_else(|| panic!("no {name}: {frame}")).to_owned();
        let filled = frame["filled_quantity"].as_i64().expect("is a number");
        told.entry(text("orderid")).or_default().push((text("order_status"), filled));
    }
}

/// Reads what is told until `done` or patience ends, and a while after that.
async fn listen(consumer: &mut Consumer, told: &mut Told, done: impl Fn(&Told) -> bool) {
    let until = tokio::time::Instant::now() + crate::support::PATIENCE;
    let mut quiet_since = None;
    while tokio::time::Instant::now() < until {
        if done(told) {
            let since = *quiet_since.get_or_insert_with(tokio::time::Instant::now);
            // A second telling would follow the next reading of the book at the latest.
            if since.elapsed() > Duration::from_secs(6) {
                return;
            }
        }
        match consumer.read(Duration::from_millis(200)).await {
            Got::Json(frame) => note(told, &frame),
            Got::Closed(frame) => panic!("closed: {frame:?}"),
            Got::Nothing => {}
        }
    }
    assert!(done(told), "waited in vain: {told:?}");
}

async fn follower(server: &Server, rest: &Rest) -> Consumer {
    let mut consumer = Consumer::authenticated(&server.feed_url(), &rest.key).await;
    consumer.send(&json!({"action": "subscribe_orders", "request_id": 7})).await;
    let ack = consumer.next_where(|f| f["type"] == "subscribe_orders").await;
    assert_eq!((&ack["status"], &ack["request_id"]), (&json!("success"), &json!(7)), "{ack}");
    consumer
}

/// Each state comes once.
fn no_state_twice(told: &Told) {
    for (id, states) in told {
        let count = |state: &(String, i64)| states.iter().filter(|s| *s == state).count();
        for state in states {
            assert_eq!(count(state), 1, "order {id}: {states:?}");
        }
    }
}

fn has(told: &Told, id: &str, status: &str, filled: i64) -> bool {
    told.get(id).is_some_and(|states| states.iter().any(|(s, f)| s == status && *f == filled))
}

fn id_of(answer: &Value) -> String {
    answer["orderid"].as_str().unwrap_or_else(|| panic!("the number is a text: {answer}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_of_an_order_is_told_once() {
    let (server, rest) = tokio::task::spawn_blocking(trading).await.unwrap();
    let mut consumer = follower(&server, &rest).await;
    let price = low(&server);
    let asking = rest.clone();
    let (standing, bought) = tokio::task::spawn_blocking(move || {
        let standing = asking.get("placeorder", Rest::order(&price, 3));
        let mut market = Rest::order("0", 5);
        market["pricetype"] = json!("MARKET");
        (id_of(&standing), id_of(&asking.get("placeorder", market)))
    })
    .await
    .unwrap();
    let mut told = Told::new();
    listen(&mut consumer, &mut told, |t| has(t, &standing, "open", 0) && has(t, &bought, "complete", 5))
        .await;
    let (asking, id) = (rest.clone(), standing.clone());
    tokio::task::spawn_blocking(move || asking.get("cancelorder", json!({"orderid": id, "strategy": "it"})))
        .await
        .unwrap();
    listen(&mut consumer, &mut told, |t| has(t, &standing, "cancelled", 0)).await;
    no_state_twice(&told);
    assert_eq!(told[&standing].last().unwrap().0, "cancelled");
    assert_eq!(told[&bought].last().unwrap(), &("complete".to_owned(), 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn fills_during_a_gap_of_the_accounts_socket_are_told_once() {
    let (server, rest) = tokio::task::spawn_blocking(trading).await.unwrap();
    let mut consumer = follower(&server, &rest).await;
    let (price, asking) = (low(&server), rest.clone());
    let ids: Vec<_> = tokio::task::spawn_blocking(move || {
        (1..=3).map(|n| id_of(&asking.get("placeorder", Rest::order(&price, n)))).collect()
    })
    .await
    .unwrap();
    let mut told = Told::new();
    listen(&mut consumer, &mut told, |t| ids.iter().all(|id| has(t, id, "open", 0))).await;
    // The socket goes, and the fills come at the same moment, before it can be back.
    tell(&server, "drop", &json!({"product": "interactive"}));
    wait_for("all three to be filled", || {
        tell(&server, "fill", &json!({}));
        let books = server.sim("/__sim/books");
        let orders = books["accounts"][0]["orders"].as_array().unwrap();
        let filled = |id: &String| orders.iter().any(|o| o["id"] == **id && o["status"] == "filled");
        ids.iter().all(filled).then_some(())
    });
    listen(&mut consumer, &mut told, |t| ids.iter().zip(1..).all(|(id, n)| has(t, id, "complete", n))).await;
    no_state_twice(&told);
    for (id, n) in ids.iter().zip(1_i64..) {
        let fills: Vec<_> = told[id].iter().filter(|(status, _)| status == "complete").collect();
        assert_eq!(fills, [&("complete".to_owned(), n)], "order {id}: {:?}", told[id]);
    }
}
