use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::broker::{Broker, Class, Error};
use crate::market::{
    BracketOrder, Conversion, CoverIds, InstrumentId, NewOrder, OrderChange, OrderKind, PositionView, Price,
    Segment, Side, SquareOff, SquareOffSize,
};

use super::super::LoginKind;
use super::books::of;
use super::server::Server;
use super::*;

const PLACED: &str = include_str!("../../../../tests/fixtures/xts/place-official.json");
const LIST: &str = include_str!("../../../../tests/fixtures/xts/cancel-docs-list.json");
const COVER: &str = include_str!("../../../../tests/fixtures/xts/cover-official.json");
const REJECTED: &str = include_str!("../../../../tests/fixtures/xts/rejection-orders.json");
const LIMITED: &str = include_str!("../../../../tests/fixtures/xts/rate-limit-wrapped.json");
const HTML: &str = include_str!("../../../../tests/fixtures/xts/not-found.html");

const RELIANCE: InstrumentId = InstrumentId { segment: Segment::NseCash, code: 2885 };

fn rupees(text: &str) -> Price {
    Price::parse(text.as_bytes()).unwrap()
}

fn order() -> NewOrder {
    NewOrder {
        instrument: RELIANCE,
        side: Side::Buy,
        kind: OrderKind::Limit,
        product: "MIS".to_owned(),
        validity: "DAY".to_owned(),
        quantity: 10,
        disclosed: 0,
        price: rupees("1460.5"),
        trigger: Price::ZERO,
        unique_id: "abc123".to_owned(),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

fn change() -> OrderChange {
    OrderChange {
        id: "1100012345".to_owned(),
        kind: OrderKind::Limit,
        product: "MIS".to_owned(),
        validity: "DAY".to_owned(),
        quantity: 10,
        disclosed: 0,
        price: rupees("1461"),
        trigger: Price::ZERO,
        unique_id: "abc123".to_owned(),
    }
}

#[tokio::test]
async fn an_investors_orders_are_written_as_documented() {
    let server = Server::start(|seen| {
        let body = if seen.line.contains("cover") { COVER } else { PLACED };
        (200, if seen.line.starts_with("DELETE") { LIST } else { body }.to_owned())
    })
    .await;
    let (broker, token) = (broker(settings(server.address)), of(true));
    assert_eq!(broker.place(&token, soon(), &order()).await.unwrap(), "1100012345");
    broker.modify(&token, soon(), &change()).await.unwrap();
    broker.cancel(&token, "1100012345", "abc123").await.unwrap();
    broker.cancel_all(&token, RELIANCE).await.unwrap();
    let stop = NewOrder { trigger: rupees("1450.05"), ..order() };
    let ids = CoverIds { entry: "1100012350".to_owned(), exit: "1100012351".to_owned() };
    assert_eq!(broker.place_cover(&token, soon(), &stop).await.unwrap(), ids);
    broker.exit_cover(&token, "1100012351").await.unwrap();
    let bracket = BracketOrder {
        entry: order(),
        square_off: rupees("10"),
        stop_loss: rupees("5.25"),
        trailing: Price::ZERO,
    };
    assert_eq!(broker.place_bracket(&token, soon(), &bracket).await.unwrap(), "1100012345");
    broker.exit_bracket(&token, "1100012345").await.unwrap();
    let (from, to, view) = ("MIS".to_owned(), "NRML".to_owned(), PositionView::Day);
    let conversion = Conversion { instrument: RELIANCE, quantity: 5, view, from, to };
    broker.convert(&token, soon(), &conversion).await.unwrap();
    let (product, view, size) = ("MIS".to_owned(), PositionView::Net, SquareOffSize::Percent(100));
    broker
        .square_off(&token, soon(), &SquareOff { instrument: RELIANCE, product, view, size })
        .await
        .unwrap();

    let seen = server.seen();
    // Byte for byte: a float on the way would show.
    assert_eq!(
        seen[0].body,
        r#"{"exchangeSegment":"NSECM","exchangeInstrumentID":2885,"productType":"MIS","orderType":"LIMIT","orderSide":"BUY","timeInForce":"DAY","disclosedQuantity":0,"orderQuantity":10,"limitPrice":1460.5,"stopPrice":0,"orderUniqueIdentifier":"abc123","apiOrderSource":"WEBAPI"}"#
    );
    assert!(seen[0].head.to_ascii_lowercase().contains("content-type: application/json"));
    assert_eq!(
        seen[1].body,
        r#"{"appOrderID":1100012345,"modifiedProductType":"MIS","modifiedOrderType":"LIMIT","modifiedOrderQuantity":10,"modifiedDisclosedQuantity":0,"modifiedLimitPrice":1461,"modifiedStopPrice":0,"modifiedTimeInForce":"DAY","orderUniqueIdentifier":"abc123"}"#
    );
    assert_eq!(seen[3].json(), json!({"exchangeSegment": "NSECM", "exchangeInstrumentID": 2885}));
    assert!(seen[4].json().get("productType").is_none());
    assert!(seen[4].body.contains(r#""limitPrice":1460.5,"stopPrice":1450.05"#), "{}", seen[4].body);
    assert_eq!(seen[5].json(), json!({"appOrderID": 1_100_012_351}));
    assert!(
        seen[6]
            .body
            .contains(r#""squarOff":10,"stopLossPrice":5.25,"trailingStoploss":0,"isProOrder":false"#),
        "{}",
        seen[6].body
    );
    assert_eq!(
        seen[8].json(),
        json!({"exchangeSegment": "NSECM", "exchangeInstrumentID": 2885, "targetQty": 5, "isDayWise": true,
               "oldProductType": "MIS", "newProductType": "NRML"})
    );
    assert_eq!(
        seen[9].json(),
        json!({"exchangeSegment": "NSECM", "exchangeInstrumentID": 2885, "productType": "MIS",
               "squareoffMode": "NetWise", "positionSquareOffQuantityType": "Percentage",
               "squareOffQtyValue": 100})
    );
    assert_eq!(
        server.lines(),
        [
            "POST /interactive/orders",
            "PUT /interactive/orders",
            "DELETE /interactive/orders?appOrderID=1100012345&orderUniqueIdentifier=abc123",
            "POST /interactive/orders/cancelall",
            "POST /interactive/orders/cover",
            "PUT /interactive/orders/cover",
            "POST /interactive/orders/bracket",
            "DELETE /interactive/orders/bracket?boEntryOrderId=1100012345",
            "PUT /interactive/portfolio/positions/convert",
            "PUT /interactive/portfolio/squareoff",
        ]
    );
}

#[tokio::test]
async fn a_dealer_names_the_client_in_every_order_call() {
    let server = Server::start(|_| (200, PLACED.to_owned())).await;
    for (configured, client, encoded) in [("", "ABC123", "ABC123"), ("*****", "*****", "%2A%2A%2A%2A%2A")] {
        let dealing = Settings { client_id: configured.to_owned(), ..settings(server.address) };
        let (broker, token, from) = (broker(dealing), of(false), server.seen().len());
        broker.place(&token, soon(), &order()).await.unwrap();
        broker.modify(&token, soon(), &change()).await.unwrap();
        broker.cancel_all(&token, RELIANCE).await.unwrap();
        broker.cancel(&token, "7", "").await.unwrap();
        broker.exit_bracket(&token, "7").await.unwrap();
        let seen = &server.seen()[from..];
        assert!(seen[..3].iter().all(|call| call.json()["clientID"] == client));
        for call in &seen[3..] {
            assert!(call.line.ends_with(&format!("=7&clientID={encoded}")), "{}", call.line);
        }
    }
}

#[tokio::test]
async fn an_order_of_other_software_is_changed_and_cancelled_by_its_number() {
    let server = Server::start(|_| (200, PLACED.to_owned())).await;
    let (broker, token) = (broker(settings(server.address)), of(true));
    for mark in ["algo-1", "my_tag", "more than twenty characters"] {
        broker.cancel(&token, "1100012345", mark).await.unwrap();
        let unique_id = mark.to_owned();
        broker.modify(&token, soon(), &OrderChange { unique_id, ..change() }).await.unwrap();
    }
    for seen in server.seen() {
        let sent = format!("{} {}", seen.line, seen.body);
        assert!(!sent.contains("nique"), "{sent}");
        assert!(sent.contains("1100012345"), "{sent}");
    }
}

#[tokio::test]
async fn what_cannot_be_right_is_never_sent() {
    let server = Server::start(|_| (200, PLACED.to_owned())).await;
    let (broker, token) = (broker(settings(server.address)), of(true));
    let (kind, stop) = (OrderKind::Unknown("x".to_owned()), OrderKind::StopMarket);
    for wrong in [
        NewOrder { unique_id: String::new(), ..order() },
        NewOrder { unique_id: "a".repeat(21), ..order() },
        NewOrder { unique_id: "a-b".to_owned(), ..order() },
        NewOrder { quantity: 0, ..order() },
        NewOrder { quantity: -1, ..order() },
        NewOrder { quantity: i64::MAX, ..order() },
        NewOrder { disclosed: 11, ..order() },
        NewOrder { price: Price::ZERO, ..order() },
        NewOrder { price: rupees("-1"), ..order() },
        NewOrder { kind, ..order() },
        NewOrder { kind: stop, ..order() },
        NewOrder { product: "M S".to_owned(), ..order() },
        NewOrder { validity: String::new(), ..order() },
    ] {
        let refused = broker.place(&token, soon(), &wrong).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid(_)) && !refused.is_unclear(), "{wrong:?}: {refused}");
        assert_eq!(refused.class(), Class::Refused);
    }
    for id in ["", "0", "1&x=2", "é"] {
        assert!(matches!(broker.cancel(&token, id, "").await, Err(Error::Invalid(_))), "{id}");
    }
    assert!(matches!(broker.place_cover(&token, soon(), &order()).await, Err(Error::Invalid(_))));
    let market = token_of_market();
    assert!(matches!(broker.place(&market, soon(), &order()).await, Err(Error::NotConfigured(_))));
    assert!(server.seen().is_empty());
}

fn token_of_market() -> Token {
    token(Product::Market)
}

#[tokio::test]
async fn every_outcome_is_told_as_clear_as_it_is_and_nothing_is_repeated() {
    for (status, body, unclear) in [
        (400, REJECTED, false),
        (400, r#"{"type":"error","code":"e-session-0007","description":"Invalid Token"}"#, false),
        (200, LIMITED, false),
        (429, "", false),
        (404, HTML, false),
        (500, r#"{"type":"error","code":"e","description":"d"}"#, true),
        (502, HTML, true),
        (200, HTML, true),
        (200, "{}", true),
        (200, r#"{"type":"success","result":{}}"#, true),
        (200, r#"{"type":"success","result":{"AppOrderID":0}}"#, true),
        (200, r#"{"type":"success","result":{"AppOrderID":1.5}}"#, true),
        (200, r#"{"type":"success","result":[{"AppOrderID":1},{"AppOrderID":2}]}"#, true),
        (400, r#"{"type":"success","result":{"AppOrderID":5}}"#, true),
        (0, "", true),
    ] {
        let server = Server::start(move |_| (status, body.to_owned())).await;
        let impatient = Settings { request_timeout_ms: 200, ..settings(server.address) };
        let refused = broker(impatient).place(&of(true), soon(), &order()).await.unwrap_err();
        assert_eq!(refused.is_unclear(), unclear, "{status} {body}: {refused}");
        assert_eq!(server.seen().len(), 1, "{status} {body}");
    }
    let nobody = broker(settings("127.0.0.1:1".parse().unwrap()));
    let refused = nobody.place(&of(true), soon(), &order()).await.unwrap_err();
    assert!(matches!(refused, Error::NotSent(_)), "{refused}");
    let text = r#"{"type":"success","result":{"AppOrderID":"20260210000012345678"}}"#;
    let server = Server::start(move |_| (200, text.to_owned())).await;
    let id = broker(settings(server.address)).place(&of(true), soon(), &order()).await.unwrap();
    assert_eq!(id, "20260210000012345678");
}

#[tokio::test]
async fn an_order_that_is_late_is_not_sent_and_a_cancellation_waits_for_none() {
    // Status 0: never answered.
    let server =
        Server::start(|seen| (if seen.line.starts_with("POST") { 0 } else { 200 }, PLACED.to_owned())).await;
    let (broker, token) = (broker(settings(server.address)), of(true));
    let (order, change) = (order(), change());
    let mut hangs = Box::pin(broker.place(&token, soon(), &order));
    while server.seen().is_empty() {
        assert!(futures::poll!(&mut hangs).is_pending());
        tokio::task::yield_now().await;
    }
    let late = Instant::now() + Duration::from_millis(50);
    let (product, view, size) = ("MIS".to_owned(), PositionView::Net, SquareOffSize::Percent(100));
    let closing = SquareOff { instrument: RELIANCE, product, view, size };
    tokio::select! {
        _ = &mut hangs => panic!("it hangs"),
        () = async {
            for refused in [
                broker.place(&token, late, &order).await.map(drop),
                broker.modify(&token, late, &change).await,
            ] {
                assert!(matches!(refused, Err(Error::NoTurn(_))), "{refused:?}");
            }
            broker.cancel(&token, "1100012345", "abc123").await.unwrap();
            broker.square_off(&token, soon(), &closing).await.unwrap();
        } => {}
    }
    let lines = server.lines();
    let lines: Vec<_> = lines.iter().map(|line| line.split('?').next().unwrap_or_default()).collect();
    assert_eq!(
        lines,
        ["POST /interactive/orders", "DELETE /interactive/orders", "PUT /interactive/portfolio/squareoff"]
    );
}

/// A clock that goes on by a minute between two looks, as after a machine's sleep.
#[derive(Debug)]
struct Slept(AtomicU32);

impl Clock for Slept {
    fn now(&self) -> UnixNanos {
        NOW.plus(Duration::from_mins(u64::from(self.0.fetch_add(1, Ordering::Relaxed))))
    }
}

#[tokio::test]
async fn what_has_slept_through_its_time_is_not_sent() {
    let server = Server::start(|_| (200, PLACED.to_owned())).await;
    let clock = Arc::new(Slept(AtomicU32::new(0)));
    let broker = XtsBroker::new(settings(server.address), credentials(), "default", clock).unwrap();
    let soon = Instant::now() + Duration::from_secs(50);
    for refused in [
        broker.place(&of(true), soon, &order()).await.map(drop),
        broker.modify(&of(true), soon, &change()).await,
    ] {
        assert!(matches!(refused, Err(Error::NotSent(_))), "{refused:?}");
    }
    broker.cancel(&of(true), "1100012345", "abc123").await.unwrap();
    let in_time = Instant::now() + Duration::from_mins(5);
    broker.place(&of(true), in_time, &order()).await.unwrap();
    assert_eq!(server.seen().len(), 2);
}

const LOOKED_UP: &str = r#"{"type":true,"result":{"uniqueKey":"q8Zk","connectionString":"/7hostlookup"}}"#;

#[tokio::test]
async fn an_order_is_not_sent_late_because_hostlookup_hangs() {
    let server = Server::start(|_| (0, String::new())).await;
    let patient =
        Settings { login: LoginKind::Hostlookup, request_timeout_ms: 60_000, ..settings(server.address) };
    let (broker, token, order) = (broker(patient), of(true), order());
    let late = Instant::now() + Duration::from_millis(100);
    let both = async { tokio::join!(broker.place(&token, late, &order), broker.place(&token, late, &order)) };
    let (one, two) = timeout(Duration::from_secs(30), both).await.expect("nobody waits for hostlookup");
    for refused in [one, two] {
        assert!(matches!(refused, Err(Error::NotSent(_))), "{refused:?}");
    }
    assert!(server.lines().iter().all(|line| line == "POST /hostlookup"));
}

#[tokio::test]
async fn the_place_of_before_stands_until_hostlookup_names_another() {
    for fails in [500, 0] {
        let asked = AtomicU32::new(0);
        let server = Server::start(move |seen| match seen.line.as_str() {
            "POST /hostlookup" if asked.fetch_add(1, Ordering::Relaxed) == 0 => (200, LOOKED_UP.to_owned()),
            "POST /hostlookup" => (fails, String::new()),
            line if line.starts_with("POST") => (404, HTML.to_owned()),
            _ => (200, PLACED.to_owned()),
        })
        .await;
        let looked_up = Settings { login: LoginKind::Hostlookup, ..settings(server.address) };
        let (broker, token) = (broker(looked_up), of(true));
        assert!(broker.place(&token, soon(), &order()).await.is_err());
        for _ in 0..2 {
            broker.cancel(&token, "1100012345", "").await.unwrap();
        }
        assert_eq!(
            server.lines(),
            [
                "POST /hostlookup",
                "POST /7interactive/orders",
                "POST /hostlookup",
                "DELETE /7interactive/orders?appOrderID=1100012345",
                "DELETE /7interactive/orders?appOrderID=1100012345"
            ]
        );
    }
}
