use std::future::poll_fn;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::broker::{Broker, Class, Error, Feed, FeedEnd};
use crate::market::{Tick, TickBody};

use super::server::{Server, socket};
use super::*;

type Peer = WebSocketStream<TcpStream>;

const HEADER: &str = r#"451-["xts-binary-packet",{"_placeholder":true,"num":0}]"#;
const JSON_EVENT: &str = r#"42["1501-json-full","{\"MessageCode\":1501,\"ExchangeSegment\":1,\"ExchangeInstrumentID\":2885,\"LastTradedPrice\":1462.6,\"LastUpdateTime\":1455185730}"]"#;

fn attachment() -> Vec<u8> {
    let text: String =
        include_str!("../../../../tests/fixtures/xts/1502-b-plain.hex").split_whitespace().collect();
    let bytes = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap());
    std::iter::once(4).chain(bytes).collect()
}

/// What an Engine.IO 3 server says first.
async fn welcome(peer: &mut Peer, interval: u64, timeout: u64) {
    let open = format!(r#"0{{"sid":"x","upgrades":[],"pingInterval":{interval},"pingTimeout":{timeout}}}"#);
    for text in [open.as_str(), "40"] {
        say(peer, text).await;
    }
}

async fn say(peer: &mut Peer, text: &str) {
    peer.send(Message::text(text)).await.unwrap();
}

/// The next text frame from the client; `None` once it is gone.
async fn hear(peer: &mut Peer) -> Option<String> {
    Some(peer.next().await?.ok()?.into_text().ok()?.to_string())
}

async fn open(address: std::net::SocketAddr) -> Result<Box<dyn Feed>, Error> {
    broker(settings(address)).open_feed(&token(Product::Market)).await
}

/// Reads one frame.
async fn read(feed: &mut dyn Feed, batch: &mut Vec<Tick>) -> Result<(), FeedEnd> {
    let one = poll_fn(|cx| feed.poll_frame(cx, &|| NOW, batch));
    timeout(Duration::from_secs(10), one).await.expect("a frame or an end")
}

/// Reads until the feed ends.
async fn read_to_end(feed: &mut dyn Feed) -> (FeedEnd, Vec<Tick>) {
    let mut batch = Vec::new();
    loop {
        if let Err(end) = read(feed, &mut batch).await {
            return (end, batch);
        }
    }
}

#[tokio::test]
async fn ticks_arrive_from_json_and_binary_events() {
    let (address, server) = socket(|mut peer, path| async move {
        assert_eq!(
            path,
            "/apibinarymarketdata/socket.io/?token=eyJ.the.token&userID=TEST+01&publishFormat=JSON&broadcastMode=Full&transport=websocket&EIO=3"
        );
        welcome(&mut peer, 25_000, 60_000).await;
        say(&mut peer, r#"42["joined",{"type":"success","code":"s-socket-0001"}]"#).await;
        say(&mut peer, JSON_EVENT).await;
        say(&mut peer, HEADER).await;
        peer.send(Message::binary(attachment())).await.unwrap();
        say(&mut peer, "nonsense").await;
        let frame = CloseFrame { code: 1001.into(), reason: "going away".into() };
        peer.close(Some(frame)).await.unwrap();
    })
    .await;
    let mut feed = open(address).await.unwrap();
    let (end, ticks) = read_to_end(feed.as_mut()).await;
    assert_eq!(end, FeedEnd::Closed("1001 going away".to_owned()));
    let kinds: Vec<_> = ticks
        .iter()
        .map(|t| match t.body {
            TickBody::Quote(_) => "quote",
            TickBody::Depth(_) => "depth",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["quote", "quote", "depth"]);
    assert!(ticks.iter().all(|t| t.ts_recv == NOW));
    let counts = feed.take_counts();
    assert_eq!((counts.undecodable, counts.ignored, counts.invalid_prices), (1, 0, 0));
    assert!(counts.frames >= 7 && counts.bytes > 700, "{counts:?}");
    assert_eq!(feed.take_counts().frames, 0);
    server.await.unwrap();
}

#[tokio::test]
async fn the_client_pings_by_the_servers_figures() {
    let (address, server) = socket(|mut peer, _| async move {
        welcome(&mut peer, 200, 100).await;
        for _ in 0..5 {
            assert_eq!(hear(&mut peer).await.as_deref(), Some("2"));
            say(&mut peer, "3").await;
        }
        peer.close(None).await.unwrap();
    })
    .await;
    let mut feed = open(address).await.unwrap();
    let (end, _) = read_to_end(feed.as_mut()).await;
    assert_eq!(end, FeedEnd::Closed("no reason given".to_owned()));
    server.await.unwrap();
}

#[tokio::test]
async fn a_server_that_pings_is_answered_and_pinged_no_more() {
    let (address, server) = socket(|mut peer, _| async move {
        welcome(&mut peer, 200, 100).await;
        say(&mut peer, "2a").await;
        // Own pings may be on their way until the server's is read.
        while hear(&mut peer).await.unwrap() != "3a" {}
        let quiet = timeout(Duration::from_millis(200), hear(&mut peer)).await;
        assert!(quiet.is_err(), "{quiet:?}");
        say(&mut peer, "2b").await;
        assert_eq!(hear(&mut peer).await.as_deref(), Some("3b"));
        peer.close(None).await.unwrap();
    })
    .await;
    let mut feed = open(address).await.unwrap();
    read_to_end(feed.as_mut()).await;
    server.await.unwrap();
}

#[tokio::test]
async fn revision_four_asks_for_the_namespace() {
    let (address, server) = socket(|mut peer, path| async move {
        assert!(path.ends_with("&EIO=4"), "{path}");
        say(&mut peer, r#"0{"sid":"x","pingInterval":25000,"pingTimeout":20000}"#).await;
        assert_eq!(hear(&mut peer).await.as_deref(), Some("40"));
        say(&mut peer, r#"40{"sid":"y"}"#).await;
        say(&mut peer, HEADER).await;
        peer.send(Message::binary(attachment()[1..].to_vec())).await.unwrap();
        peer.close(None).await.unwrap();
    })
    .await;
    let settings = Settings { engine_io: 4, ..settings(address) };
    let mut feed = broker(settings).open_feed(&token(Product::Market)).await.unwrap();
    let (_, ticks) = read_to_end(feed.as_mut()).await;
    assert_eq!(ticks.len(), 2);
    server.await.unwrap();
}

#[tokio::test]
async fn ticks_before_the_namespace_are_kept() {
    let (address, _server) = socket(|mut peer, _| async move {
        say(&mut peer, r#"0{"sid":"x"}"#).await;
        say(&mut peer, JSON_EVENT).await;
        hear(&mut peer).await;
    })
    .await;
    let mut feed = open(address).await.unwrap();
    let mut batch = Vec::new();
    read(feed.as_mut(), &mut batch).await.unwrap();
    assert_eq!(batch.len(), 1);
}

#[tokio::test]
async fn silence_ends_the_feed() {
    let (address, _server) = socket(|mut peer, _| async move {
        welcome(&mut peer, 100, 100).await;
        while hear(&mut peer).await.is_some() {}
    })
    .await;
    let mut feed = open(address).await.unwrap();
    assert_eq!(read_to_end(feed.as_mut()).await.0, FeedEnd::Silent);
}

#[tokio::test]
async fn what_the_server_says_at_the_end_is_the_reason() {
    type Expected = fn(&FeedEnd) -> bool;
    let cases: [(&str, Expected); 4] = [
        (r#"42["logout",{"description":"replaced"}]"#, |e| *e == FeedEnd::Logout("replaced".to_owned())),
        (r#"44{"code":"e-session-0007","description":"Invalid Token"}"#, |e| {
            matches!(e, FeedEnd::TokenRefused(_))
        }),
        ("41", |e| matches!(e, FeedEnd::Closed(_))),
        ("1", |e| matches!(e, FeedEnd::Closed(_))),
    ];
    for (frame, expected) in cases {
        let (address, _server) = socket(move |mut peer, _| async move {
            welcome(&mut peer, 25_000, 60_000).await;
            say(&mut peer, frame).await;
            while hear(&mut peer).await.is_some() {}
        })
        .await;
        let mut feed = open(address).await.unwrap();
        let (end, _) = read_to_end(feed.as_mut()).await;
        assert!(expected(&end), "{frame}: {end:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_or_sends_too_much_ends() {
    let (address, _server) =
        socket(|mut peer, _| async move { welcome(&mut peer, 25_000, 60_000).await }).await;
    let mut feed = open(address).await.unwrap();
    let (end, _) = read_to_end(feed.as_mut()).await;
    assert!(matches!(end, FeedEnd::Network(_) | FeedEnd::Closed(_)), "{end:?}");

    let (address, _server) = socket(|mut peer, _| async move {
        welcome(&mut peer, 25_000, 60_000).await;
        let _ = peer.send(Message::binary(vec![0; 5000])).await;
        while hear(&mut peer).await.is_some() {}
    })
    .await;
    let settings = Settings { max_frame_bytes: 4096, ..settings(address) };
    let mut feed = broker(settings).open_feed(&token(Product::Market)).await.unwrap();
    let (end, _) = read_to_end(feed.as_mut()).await;
    assert!(matches!(end, FeedEnd::Network(_)), "{end:?}");
}

#[tokio::test]
async fn refused_handshakes_by_their_cause() {
    let cases = [
        (
            400,
            r#"{"type":"error","code":"e-session-0007","description":"Invalid Token"}"#,
            Class::NeedsToken,
            "token refused: e-session-0007 Invalid Token",
        ),
        (401, "", Class::NeedsToken, "token refused: HTTP 401 "),
        (400, r#"{"code":3,"message":"Bad request"}"#, Class::Transient, "HTTP 400: Engine.IO: Bad request"),
        (404, "<h1>404</h1>", Class::Transient, "HTTP 404: no such path; is socket_path right?"),
        (429, "", Class::Transient, "rate limited: "),
        (502, "<html>", Class::Transient, "HTTP 502: the socket's handshake was refused"),
        (200, "hello", Class::Transient, "HTTP 200: the socket's handshake was refused"),
    ];
    for (status, body, class, text) in cases {
        let server = Server::start(move |_| (status, body.to_owned())).await;
        let refused = open(server.address).await.err().unwrap();
        assert_eq!((refused.class(), refused.to_string().as_str()), (class, text));
    }
}

#[tokio::test]
async fn a_token_refused_after_the_handshake_is_a_refused_token() {
    let (address, _server) = socket(|mut peer, _| async move {
        say(&mut peer, r#"0{"sid":"x"}"#).await;
        say(&mut peer, r#"44{"code":"e-session-0007","description":"Invalid Token"}"#).await;
        hear(&mut peer).await;
    })
    .await;
    let refused = open(address).await.err().unwrap();
    assert_eq!(refused.class(), Class::NeedsToken, "{refused}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let (address, _server) =
        socket(|mut peer, _| async move { while hear(&mut peer).await.is_some() {} }).await;
    let settings = Settings { connect_timeout_ms: 150, ..settings(address) };
    let refused = broker(settings).open_feed(&token(Product::Market)).await.err().unwrap();
    assert_eq!(refused.to_string(), "network: the feed did not open in time");
    let refused = broker(Settings::default()).open_feed(&token(Product::Interactive)).await.err().unwrap();
    assert!(matches!(refused, Error::NotConfigured(_)));
}
