//! The client against servers that a test plays; against the real one it stands in `tests/it`.

use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use super::*;
use crate::market::{LastTrade, Price};
use crate::protocol::Mode;
use crate::protocol::binary::{Directory, Hello, Ltp, SUBPROTOCOL};

type Served = WebSocketStream<TcpStream>;

/// Accepts one connection, as a server that knows the binary encoding or does not.
#[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
async fn accept(listener: &TcpListener, knows: bool) -> Option<Served> {
    let (socket, _) = listener.accept().await.unwrap();
    let answer = |request: &Request, mut response: Response| {
        if knows {
            assert_eq!(request.headers()["sec-websocket-protocol"], SUBPROTOCOL);
            let name = HeaderValue::from_static(SUBPROTOCOL);
            response.headers_mut().insert("sec-websocket-protocol", name);
        }
        Ok(response)
    };
    accept_hdr_async(socket, answer).await.ok()
}

async fn asked(server: &mut Served) -> Value {
    loop {
        if let Message::Text(text) = server.next().await.unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

async fn say(server: &mut Served, frame: Value) {
    server.send(Message::text(frame.to_string())).await.unwrap();
}

fn message(bodies: &[(u32, u64, Body<'_>)]) -> Message {
    let mut bytes = Vec::new();
    for (number, seq, body) in bodies {
        body.write(&Header { number: *number, seq: *seq, ..Header::default() }, &mut bytes);
    }
    Message::binary(bytes)
}

fn hello() -> (u32, u64, Body<'static>) {
    (0, 0, Body::Hello(Hello { version: 1, started_at: crate::clock::UnixNanos::ZERO }))
}

fn entry(symbol: &str) -> Body<'_> {
    let (tick_size, lot_size) = (Some(Price::from_nanos(50_000_000)), None);
    Body::Directory(Directory { exchange: "NSE", symbol, tick_size, lot_size, code: 1, segment: 1 })
}

fn ltp(rupees: i64) -> Body<'static> {
    let last = LastTrade { price: Price::from_rupees(rupees), ..LastTrade::default() };
    Body::Ltp(Ltp { last, volume: None })
}

fn shown(event: Option<Event>) -> String {
    match event {
        Some(Event::Record(Update { listing, header, what: What::Ltp(ltp) })) => {
            format!("{} {} {}", listing.unwrap().symbol, header.seq, ltp.last.price)
        }
        Some(Event::Text(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// Runs a client against a server; both must come to their end.
async fn with<C: Future<Output = ()>, S: Future<Output = ()>>(
    server: impl FnOnce(TcpListener) -> S,
    client: impl FnOnce(String) -> C,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let both = Box::pin(async { tokio::join!(server(listener), client(url)) });
    tokio::time::timeout(std::time::Duration::from_mins(1), both).await.expect("both end");
}

#[tokio::test]
async fn records_get_their_names_whatever_message_they_come_in() {
    let server = |listener: TcpListener| async move {
        let mut socket = accept(&listener, true).await.unwrap();
        socket.send(message(&[hello()])).await.unwrap();
        assert_eq!(asked(&mut socket).await, json!({"action": "authenticate", "api_key": "k"}));
        say(&mut socket, json!({"type": "auth", "status": "success", "broker": "b"})).await;
        let request = asked(&mut socket).await;
        assert_eq!((&request["mode"], &request["symbols"][0]["symbol"]), (&json!(1), &json!("A")));
        // Before the acknowledgement: what was subscribed otherwise goes on.
        socket.send(message(&[(7, 0, entry("X")), (7, 1, ltp(10))])).await.unwrap();
        let ok = json!({"symbol": "A", "exchange": "NSE", "status": "success"});
        let no = json!({"symbol": "B", "exchange": "NSE", "status": "error", "message": "no"});
        let id = &request["request_id"];
        say(
            &mut socket,
            json!({"type": "subscribe", "status": "partial", "subscriptions": [ok, no], "request_id": id}),
        )
        .await;
        let mut later = message(&[(1, 0, entry("A"))]).into_data().to_vec();
        later[2] = 99; // A kind that this reader does not know.
        let several = message(&[(1, 0, entry("A")), (1, 4, ltp(20)), (7, 2, ltp(11)), (1, 5, ltp(21))]);
        later.extend_from_slice(&several.into_data());
        socket.send(Message::binary(later)).await.unwrap();
        say(&mut socket, json!({"type": "order_update"})).await;
        let close = CloseFrame { code: 4403.into(), reason: "key revoked".into() };
        socket.close(Some(close)).await.unwrap();
    };
    let client = |url: String| async move {
        let mut client = Client::connect(&url, "k").await.unwrap();
        assert!(client.is_binary() && client.broker() == "b");
        let outcomes = client.subscribe(&[("NSE", "A"), ("NSE", "B")], Mode::Ltp).await.unwrap();
        let errors: Vec<_> = outcomes.iter().map(|o| (o.symbol.as_str(), o.error.as_deref())).collect();
        assert_eq!(errors, [("A", None), ("B", Some("no"))]);
        for expected in ["X 1 10.0", "A 4 20.0", "X 2 11.0", "A 5 21.0", "{\"type\":\"order_update\"}"] {
            assert_eq!(shown(client.next().await.unwrap()), expected);
        }
        let end = client.next().await;
        assert!(
            matches!(&end, Err(Error::Closed { code: Some(4403), reason }) if reason == "key revoked"),
            "{end:?}"
        );
    };
    Box::pin(with(server, client)).await;
}

#[tokio::test]
async fn a_server_without_the_encoding_is_asked_for_plain_frames() {
    let server = |listener: TcpListener| async move {
        // The client may not go on with the first.
        let _refused = accept(&listener, false).await;
        let mut socket = accept(&listener, false).await.unwrap();
        asked(&mut socket).await;
        say(&mut socket, json!({"type": "auth", "status": "success"})).await;
        say(&mut socket, json!({"type": "market_data"})).await;
    };
    let client = |url: String| async move {
        let mut client = Client::connect(&url, "k").await.unwrap();
        assert!(!client.is_binary());
        assert_eq!(shown(client.next().await.unwrap()), "{\"type\":\"market_data\"}");
    };
    Box::pin(with(server, client)).await;
}

#[tokio::test]
async fn refusals_are_told_in_the_servers_words() {
    let server = |listener: TcpListener| async move {
        let mut socket = accept(&listener, true).await.unwrap();
        asked(&mut socket).await;
        let refusal = json!({"type": "auth", "status": "error", "code": "AUTHENTICATION_ERROR", "message": "Invalid API key"});
        say(&mut socket, refusal).await;
        let mut socket = accept(&listener, true).await.unwrap();
        asked(&mut socket).await;
        say(&mut socket, json!({"type": "auth", "status": "success"})).await;
        asked(&mut socket).await;
        let late = json!({"status": "error", "code": "SUBSCRIPTION_REJECTED", "symbol": "Z", "exchange": "NSE", "message": "gone"});
        say(&mut socket, late).await;
        say(&mut socket, json!({"status": "error", "code": "INVALID_PARAMETERS", "message": "too many"}))
            .await;
        // A record of something that was not introduced.
        socket.send(message(&[(3, 1, ltp(1))])).await.unwrap();
    };
    let client = |url: String| async move {
        let refused = Client::connect(&url, "secret").await.unwrap_err();
        assert_eq!(refused.to_string(), "Invalid API key");
        let mut client = Client::connect(&url, "secret").await.unwrap();
        assert_eq!(client.subscribe(&[], Mode::Ltp).await.unwrap_err().to_string(), "too many");
        assert!(shown(client.next().await.unwrap()).contains("gone"));
        assert!(matches!(client.next().await, Err(Error::Unlisted(3))));
        assert!(!format!("{client:?}").contains("secret"));
    };
    Box::pin(with(server, client)).await;
}

#[tokio::test]
async fn a_malformed_message_is_told_once_and_the_next_one_is_read() {
    let server = |listener: TcpListener| async move {
        let mut socket = accept(&listener, true).await.unwrap();
        asked(&mut socket).await;
        say(&mut socket, json!({"type": "auth", "status": "success"})).await;
        let mut torn = message(&[(1, 0, entry("A")), (1, 1, ltp(10)), (1, 2, ltp(20))]).into_data().to_vec();
        torn.truncate(torn.len() - 8);
        socket.send(Message::binary(torn)).await.unwrap();
        socket.send(message(&[(1, 3, ltp(30))])).await.unwrap();
    };
    let client = |url: String| async move {
        let mut client = Client::connect(&url, "k").await.unwrap();
        assert_eq!(shown(client.next().await.unwrap()), "A 1 10.0");
        assert!(matches!(client.next().await, Err(Error::Malformed(_))));
        assert_eq!(shown(client.next().await.unwrap()), "A 3 30.0");
    };
    Box::pin(with(server, client)).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let server = async {
        let mut socket = accept(&listener, true).await.unwrap();
        asked(&mut socket).await;
        say(&mut socket, json!({"type": "auth", "status": "success"})).await;
        socket
    };
    let (socket, client) = tokio::join!(server, Box::pin(Client::connect(&url, "k")));
    let mut client = client.unwrap();
    tokio::time::pause();
    assert!(matches!(client.subscribe(&[("NSE", "A")], Mode::Ltp).await, Err(Error::NoAnswer)));
    // Nobody accepts this one.
    assert!(matches!(Box::pin(Client::connect(&url, "k")).await, Err(Error::NoAnswer)));
    drop(socket);
}

#[tokio::test]
async fn a_server_that_sends_without_end_fills_no_memory() {
    let server = |listener: TcpListener| async move {
        let mut socket = accept(&listener, true).await.unwrap();
        asked(&mut socket).await;
        say(&mut socket, json!({"type": "auth", "status": "success"})).await;
        asked(&mut socket).await;
        let long = Message::binary(vec![0; 4 << 20]);
        while socket.send(long.clone()).await.is_ok() {}
        let mut socket = accept(&listener, true).await.unwrap();
        asked(&mut socket).await;
        let _ = socket.send(Message::text("\"".repeat((4 << 20) + 1))).await;
    };
    let client = |url: String| async move {
        let mut client = Client::connect(&url, "k").await.unwrap();
        assert!(matches!(client.subscribe(&[], Mode::Ltp).await, Err(Error::TooMuchBefore)));
        drop(client);
        let refused = Client::connect(&url, "k").await.unwrap_err();
        assert!(matches!(refused, Error::Socket(_)), "{refused}");
    };
    Box::pin(with(server, client)).await;
}

#[test]
fn a_server_with_names_without_end_fills_no_memory() {
    let (mut names, symbol) = (super::update::Names::default(), "N".repeat(1_024));
    let mut learn = |number| {
        let bytes = message(&[(number, 0, entry(&symbol))]).into_data();
        names.update(&Records::new(&bytes).next().unwrap().unwrap())
    };
    for _ in 0..70_000 {
        learn(1).expect("one name, again and again");
    }
    assert!((2..70_000).any(|number| matches!(learn(number), Err(Error::TooManyNames))));
}

#[test]
fn an_update_is_the_json_that_others_get() {
    let listing = Listing {
        exchange: "NSE".to_owned(),
        symbol: "SBIN".to_owned(),
        tick_size: None,
        lot_size: None,
        code: 1,
        segment: 1,
    };
    let header = Header { ts_recv: crate::clock::UnixNanos::from_millis(5), ..Header::default() };
    let last = LastTrade { price: Price::from_rupees(7), size: 2, ..LastTrade::default() };
    let what = What::Ltp(Ltp { last, volume: Some(9) });
    let update = Update { listing: Some(Arc::new(listing)), header, what };
    let expected = "{\"type\":\"market_data\",\"symbol\":\"SBIN\",\"exchange\":\"NSE\",\"mode\":1,\"broker\":\"b\",\"data\":{\"symbol\":\"SBIN\",\"exchange\":\"NSE\",\"mode\":1,\"ltp\":7.0,\"ltq\":2,\"last_trade_quantity\":2,\"volume\":9,\"timestamp\":5}}";
    assert_eq!(update.to_openalgo("b").unwrap(), expected);
    let without = Update { listing: None, what: What::OpenInterest(1), ..update };
    assert_eq!(without.to_openalgo("b"), None);
}
