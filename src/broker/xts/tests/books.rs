use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::broker::{Broker, Class, Error};
use crate::market::{Funds, PositionView};

use super::super::LoginKind;
use super::server::{Seen, Server};
use super::*;

const ORDERS: &str = include_str!("../../../../tests/fixtures/xts/order-book-official.json");
const POSITIONS: &str = include_str!("../../../../tests/fixtures/xts/positions-live-dealer.json");
const BALANCE: &str = include_str!("../../../../tests/fixtures/xts/balance-official.json");
const EMPTY: &str =
    r#"{"type":"success","code":"s-user-0001","description":"Success order book","result":[]}"#;

fn refusal(code: &str, description: &str) -> (u16, String) {
    (400, json!({"type": "error", "code": code, "description": description, "result": {}}).to_string())
}

/// What "no orders" looks like on some servers.
fn nothing() -> (u16, String) {
    refusal("e-orders-0001", "Data Not Available")
}

/// An interactive token of an investor, or of a dealer as the protocol's sample has it.
pub(super) fn of(is_investor: bool) -> Token {
    let facts = AccountFacts {
        user_id: "ABC123A02".to_owned(),
        is_investor: Some(is_investor),
        client_codes: vec!["*****".to_owned(), "ABC123".to_owned()],
        ..AccountFacts::default()
    };
    Token { facts: Arc::new(facts), ..token(Product::Interactive) }
}

#[tokio::test]
async fn an_investor_asks_for_his_own_books_and_names_nobody() {
    let server = Server::start(|seen| {
        let body = match seen.line.as_str() {
            "GET /interactive/orders" => ORDERS,
            "GET /interactive/portfolio/positions?dayOrNet=NetWise" => POSITIONS,
            "GET /interactive/portfolio/positions?dayOrNet=DayWise" => {
                r#"{"type":"success","result":{"positionList":[]}}"#
            }
            "GET /interactive/user/balance" => BALANCE,
            other => panic!("{other}"),
        };
        (200, body.to_owned())
    })
    .await;
    let (broker, token) = (broker(settings(server.address)), of(true));
    let orders = broker.order_book(&token).await.unwrap().rows;
    assert_eq!((orders.len(), orders[0].id.as_str()), (1, "1100012345"));
    let net = broker.positions(&token, PositionView::Net).await.unwrap().rows;
    assert_eq!((net.len(), net[0].quantity), (1, 10));
    assert_eq!(broker.positions(&token, PositionView::Day).await.unwrap().rows, []);
    assert_eq!(broker.funds(&token).await.unwrap().available.unwrap().to_string(), "235395.00");
    let seen = server.seen();
    assert_eq!(seen.len(), 4);
    for call in &seen {
        assert!(call.head.to_ascii_lowercase().contains("authorization: eyj.the.token"), "{}", call.head);
    }
    let market = broker.order_book(&super::token(Product::Market)).await.unwrap_err();
    assert!(matches!(market, Error::NotConfigured(_)), "{market}");
    assert_eq!(server.seen().len(), 4, "a token of the other product is never sent");
}

#[tokio::test]
async fn empty_books_in_every_form() {
    for (status, body) in [
        (200, EMPTY.to_owned()),
        (200, r#"{"type":"success","result":""}"#.to_owned()),
        (200, r#"{"type":"success","code":"s","description":"d","result":{}}"#.to_owned()),
        nothing(),
    ] {
        let server = Server::start(move |_| (status, body.clone())).await;
        let (broker, token) = (broker(settings(server.address)), of(true));
        assert_eq!(broker.order_book(&token).await.unwrap().rows, []);
        assert_eq!(broker.positions(&token, PositionView::Net).await.unwrap().rows, []);
        assert_eq!(broker.funds(&token).await.unwrap(), Funds::default());
        assert_eq!(server.seen().len(), 3);
    }
}

#[tokio::test]
async fn what_is_no_book_is_an_error() {
    for (status, body, class) in [
        (200, "<html>", Class::Transient),
        (502, "<html>", Class::Transient),
        (404, "<h1>Unable to connect provided url</h1>", Class::Transient),
        (200, r#"{"type":"success","result":{"orders":[]}}"#, Class::Transient),
        (200, r#"{"type":"success","result":[{"AppOrderID":1}]}"#, Class::Transient),
        (400, r#"{"type":"error","code":"e-orders-0001","description":"Blocked by RMS"}"#, Class::Refused),
        (400, r#"{"type":"error","code":"e-session-0007","description":"Invalid Token"}"#, Class::NeedsToken),
        (429, r#"{"type":"error","code":"e-apirl-0004","description":"wait"}"#, Class::Transient),
    ] {
        let server = Server::start(move |_| (status, body.to_owned())).await;
        let (broker, token) = (broker(settings(server.address)), of(true));
        let refused = broker.order_book(&token).await.unwrap_err();
        assert_eq!(refused.class(), class, "{body}: {refused}");
        assert_eq!(broker.funds(&token).await.unwrap_err().class(), class, "{body}");
        assert_eq!(server.seen().len(), 2, "{body}");
    }
    let server =
        Server::start(|_| (200, r#"{"type":"success","result":[{"AppOrderID":1}, 5]}"#.to_owned())).await;
    let refused = broker(settings(server.address)).order_book(&of(true)).await.unwrap_err().to_string();
    assert!(refused.contains("ExchangeSegment is missing"), "{refused}");
}

#[tokio::test]
async fn an_unreadable_row_does_not_take_the_others_along() {
    let mut answer: serde_json::Value = serde_json::from_str(ORDERS).unwrap();
    let mut row = answer["result"][0].clone();
    row["OrderQuantity"] = json!("ten");
    answer["result"].as_array_mut().unwrap().push(row);
    let server = Server::start(move |_| (200, answer.to_string())).await;
    assert_eq!(broker(settings(server.address)).order_book(&of(true)).await.unwrap().rows.len(), 1);
}

/// The calls below the interactive prefix, in order.
fn asked(server: &Server) -> Vec<String> {
    server.lines().into_iter().map(|line| line.trim_start_matches("GET /interactive").to_owned()).collect()
}

#[tokio::test]
async fn a_dealer_asks_for_the_clients_orders_and_his_own_funds() {
    let server = Server::start(|seen| {
        let body = match seen.line.as_str() {
            "GET /interactive/orders/dealerorderbook?clientID=ABC123" => ORDERS,
            "GET /interactive/portfolio/dealerpositions?dayOrNet=NetWise&clientID=ABC123" => POSITIONS,
            "GET /interactive/user/balance?clientID=ABC123A02" => BALANCE,
            other => panic!("{other}"),
        };
        (200, body.to_owned())
    })
    .await;
    let (broker, token) = (broker(settings(server.address)), of(false));
    assert_eq!(broker.order_book(&token).await.unwrap().rows.len(), 1);
    assert_eq!(broker.positions(&token, PositionView::Net).await.unwrap().rows.len(), 1);
    assert!(broker.funds(&token).await.unwrap().available.is_some());
}

#[tokio::test]
async fn a_pro_dealer_is_five_asterisks_everywhere() {
    let server = Server::start(|seen| {
        assert!(seen.line.ends_with("clientID=%2A%2A%2A%2A%2A"), "{}", seen.line);
        let book = if seen.line.contains("balance") { BALANCE } else { POSITIONS };
        (200, if seen.line.contains("orders") { ORDERS } else { book }.to_owned())
    })
    .await;
    let pro = Settings { client_id: "*****".to_owned(), ..settings(server.address) };
    let (broker, token) = (broker(pro), of(false));
    broker.order_book(&token).await.unwrap();
    broker.positions(&token, PositionView::Day).await.unwrap();
    broker.funds(&token).await.unwrap();
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_dealers_ways_are_tried_in_order_and_the_one_that_works_is_kept() {
    let answer = |seen: &Seen| match seen.line.as_str() {
        "GET /interactive/orders/dealerorderbook?clientID=ABC123A02" => nothing(),
        "GET /interactive/orders/dealerorderbook?clientID=%2A%2A%2A%2A%2A" => (200, ORDERS.to_owned()),
        _ => refusal("e-user-0009", "Client not mapped"),
    };
    let server = Server::start(answer).await;
    let configured = Settings { client_id: "XYZ".to_owned(), ..settings(server.address) };
    let (broker, token) = (broker(configured), of(false));
    assert_eq!(broker.order_book(&token).await.unwrap().rows.len(), 1);
    let tried = ["XYZ", "ABC123", "ABC123A02", "%2A%2A%2A%2A%2A"];
    let tried = tried.map(|client| format!("/orders/dealerorderbook?clientID={client}"));
    assert_eq!(asked(&server), tried);
    broker.order_book(&token).await.unwrap();
    assert_eq!(asked(&server)[4..], tried[3..]);
    // Another book has its own way.
    assert_eq!(broker.funds(&token).await.unwrap_err().class(), Class::Refused);
    let clients = ["ABC123A02", "XYZ", "ABC123", "%2A%2A%2A%2A%2A"];
    let mut funds: Vec<_> = clients.iter().map(|client| format!("/user/balance?clientID={client}")).collect();
    funds.push("/user/balance".to_owned());
    assert_eq!(asked(&server)[5..], funds);
    // All refused: one more is enough to see whether it still is so.
    assert_eq!(broker.funds(&token).await.unwrap_err().class(), Class::Refused);
    assert_eq!(asked(&server)[10..], funds[..1]);
}

#[tokio::test]
async fn a_dealers_empty_book_is_asked_in_all_ways_once() {
    let server = Server::start(|seen| {
        if seen.line.contains("ABC123A02") { (200, EMPTY.to_owned()) } else { refusal("e", "Bad Request") }
    })
    .await;
    let (broker, token) = (broker(settings(server.address)), of(false));
    assert_eq!(broker.order_book(&token).await.unwrap().rows, []);
    assert_eq!(server.seen().len(), 8);
    assert_eq!(broker.order_book(&token).await.unwrap().rows, []);
    assert_eq!(asked(&server)[8..], ["/orders/dealerorderbook?clientID=ABC123A02"]);
}

#[tokio::test]
async fn askers_at_once_share_one_answer_and_later_ones_do_not() {
    let server = Server::start(|seen| {
        if seen.line.ends_with("=ABC123A02") { (200, ORDERS.to_owned()) } else { refusal("e", "Bad Request") }
    })
    .await;
    let (broker, token) = (broker(settings(server.address)), of(false));
    let all = futures::future::join_all((0..100).map(|_| broker.order_book(&token))).await;
    assert!(all.iter().all(|orders| orders.as_ref().unwrap().rows.len() == 1));
    let asked_for_all = server.seen().len();
    // Those that came while the first one's request was under way may need one of their own.
    assert!(asked_for_all <= 3, "{asked_for_all}");
    broker.order_book(&token).await.unwrap();
    assert_eq!(server.seen().len(), asked_for_all + 1);
    // One that was dropped takes nothing from the others.
    {
        let dropped = broker.order_book(&token);
        futures::pin_mut!(dropped);
        assert!(futures::poll!(dropped).is_pending());
    }
    assert_eq!(broker.order_book(&token).await.unwrap().rows.len(), 1);
}

const TRADES: &str = include_str!("../../../../tests/fixtures/xts/trade-book-live-dealer.json");
const HOLDINGS: &str = include_str!("../../../../tests/fixtures/xts/holdings-list.json");
const PROFILE: &str = include_str!("../../../../tests/fixtures/xts/profile-official.json");

#[tokio::test]
async fn trades_holdings_profile_and_an_orders_history() {
    let server = Server::start(|seen| {
        let body = match seen.line.as_str() {
            "GET /interactive/orders/dealertradebook?clientID=ABC123" => TRADES,
            "GET /interactive/portfolio/holdings?clientID=ABC123" => HOLDINGS,
            "GET /interactive/user/profile?clientID=ABC123" => PROFILE,
            "GET /interactive/orders?appOrderID=1100012345&clientID=ABC123" => ORDERS,
            other if other.contains("appOrderID=7&") || other.ends_with("appOrderID=7") => return nothing(),
            other => panic!("{other}"),
        };
        (200, body.to_owned())
    })
    .await;
    let (broker, token) = (broker(settings(server.address)), of(false));
    assert_eq!(broker.trades(&token).await.unwrap().rows[0].quantity, 1_000);
    assert_eq!(broker.holdings(&token).await.unwrap().rows.len(), 2);
    assert_eq!(broker.profile(&token).await.unwrap().client_id, "TEST01");
    assert_eq!(broker.order_history(&token, "1100012345").await.unwrap().len(), 1);
    let unknown = broker.order_history(&token, "7").await.unwrap_err();
    assert!(matches!(unknown, Error::Refused { .. }), "{unknown}");
}

#[tokio::test]
async fn a_server_without_the_dealers_paths_serves_the_plain_ones() {
    let server = Server::start(|seen| {
        if seen.line.contains("dealer") {
            return (404, "<h1>Unable to connect provided url</h1>".to_owned());
        }
        (200, if seen.line.contains("orders") { ORDERS } else { POSITIONS }.to_owned())
    })
    .await;
    let (broker, token) = (broker(settings(server.address)), of(false));
    for _ in 0..2 {
        assert_eq!(broker.order_book(&token).await.unwrap().rows.len(), 1);
    }
    assert_eq!(
        asked(&server),
        ["/orders/dealerorderbook?clientID=ABC123", "/orders?clientID=ABC123", "/orders?clientID=ABC123"]
    );
    assert_eq!(broker.positions(&token, PositionView::Day).await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn token_rate_and_network_end_a_dealers_attempts_at_once() {
    for (status, body, class) in [
        (400, r#"{"type":"error","code":"e-session-0007","description":"Invalid Token"}"#, Class::NeedsToken),
        (429, r#"{"type":"error","code":"e-apirl-0004","description":"wait"}"#, Class::Transient),
        (502, "<html>", Class::Transient),
        (0, "", Class::Transient),
    ] {
        let server = Server::start(move |_| (status, body.to_owned())).await;
        let impatient = Settings { request_timeout_ms: 100, ..settings(server.address) };
        let refused = broker(impatient).positions(&of(false), PositionView::Net).await.unwrap_err();
        assert_eq!(refused.class(), class, "{body}: {refused}");
        assert_eq!(server.seen().len(), 1, "{body}");
    }
}

#[tokio::test]
async fn calls_for_one_book_keep_their_distance() {
    let server = Server::start(|_| (200, EMPTY.to_owned())).await;
    let paced = Settings { book_interval_ms: 150, ..settings(server.address) };
    let (broker, token) = (broker(paced), of(true));
    let begin = Instant::now();
    broker.order_book(&token).await.unwrap();
    broker.funds(&token).await.unwrap();
    broker.order_book(&token).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn books_are_asked_where_hostlookup_sends_us_and_it_is_asked_again_when_nobody_is_there() {
    let server = Server::start(|seen| match seen.line.as_str() {
        "POST /hostlookup" => (
            200,
            r#"{"type":true,"result":{"uniqueKey":"q8Zk","connectionString":"/7hostlookup"}}"#.to_owned(),
        ),
        "GET /7interactive/orders" => (200, ORDERS.to_owned()),
        "GET /7interactive/user/balance" => (404, "<h1>".to_owned()),
        other => panic!("{other}"),
    })
    .await;
    let looked_up = Settings { login: LoginKind::Hostlookup, ..settings(server.address) };
    let (broker, token) = (broker(looked_up), of(true));
    for _ in 0..2 {
        assert_eq!(broker.order_book(&token).await.unwrap().rows.len(), 1);
    }
    assert_eq!(server.seen().len(), 3);
    assert!(matches!(broker.funds(&token).await, Err(Error::Http { status: 404, .. })));
    broker.order_book(&token).await.unwrap();
    assert_eq!(
        server.lines()[3..],
        ["GET /7interactive/user/balance", "POST /hostlookup", "GET /7interactive/orders"]
    );
}
