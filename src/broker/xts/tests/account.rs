use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::broker::{AccountEvent, AccountFeed, Broker, Class, Error, FeedEnd};

use super::super::LoginKind;
use super::server::{Server, socket};
use super::*;

type Peer = WebSocketStream<TcpStream>;

async fn say(peer: &mut Peer, text: &str) {
    peer.send(Message::text(text)).await.unwrap();
}

async fn hear(peer: &mut Peer) -> Option<String> {
    Some(peer.next().await?.ok()?.into_text().ok()?.to_string())
}

async fn welcome(peer: &mut Peer, interval: u64, timeout: u64) {
    let open = format!(r#"0{{"sid":"x","upgrades":[],"pingInterval":{interval},"pingTimeout":{timeout}}}"#);
    for text in [open.as_str(), "40"] {
        say(peer, text).await;
    }
}

async fn open(address: std::net::SocketAddr) -> Result<Box<dyn AccountFeed>, Error> {
    broker(settings(address)).open_account_feed(&token(Product::Interactive)).await
}

async fn next(feed: &mut dyn AccountFeed) -> Result<AccountEvent, FeedEnd> {
    timeout(Duration::from_secs(10), feed.next()).await.expect("an event or an end")
}

fn other(name: &str) -> AccountEvent {
    AccountEvent::Other(name.to_owned())
}

#[tokio::test]
async fn the_accounts_events_arrive_in_order_and_a_logout_is_the_end() {
    let (address, server) = socket(|mut peer, path| async move {
        assert_eq!(
            path,
            "/interactive/socket.io/?token=eyJ.the.token&userID=TEST+01&apiType=INTERACTIVE&transport=websocket&EIO=3"
        );
        welcome(&mut peer, 25_000, 60_000).await;
        say(&mut peer, r#"42["joined",{"type":"success","code":"s-socket-0001"}]"#).await;
        say(&mut peer, "3").await;
        say(&mut peer, "nonsense").await;
        peer.send(Message::binary(vec![4, 0])).await.unwrap();
        say(&mut peer, r#"42["order","{\"AppOrderID\":1100012345}"]"#).await;
        say(&mut peer, r#"42["trade",{}]"#).await;
        say(&mut peer, r#"42["logout",{"description":"logged in elsewhere"}]"#).await;
        // It stays open, as live servers do.
        while hear(&mut peer).await.is_some() {}
    })
    .await;
    let mut feed = open(address).await.unwrap();
    assert_eq!(next(feed.as_mut()).await, Ok(AccountEvent::Joined));
    assert_eq!(next(feed.as_mut()).await, Ok(other("order")));
    assert_eq!(next(feed.as_mut()).await, Ok(other("trade")));
    let end = Err(FeedEnd::Logout("logged in elsewhere".to_owned()));
    assert_eq!(next(feed.as_mut()).await, end);
    assert_eq!(next(feed.as_mut()).await, end, "nothing comes afterwards");
    drop(feed);
    server.await.unwrap();
}

#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let (address, server) = socket(|mut peer, _| async move {
        welcome(&mut peer, 25_000, 60_000).await;
        for number in 0..200 {
            say(&mut peer, &format!(r#"42["e{number}",{{}}]"#)).await;
            if number % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
        peer.close(None).await.unwrap();
    })
    .await;
    let mut feed = open(address).await.unwrap();
    let (mut got, mut dropped) = (Vec::new(), 0);
    let end = loop {
        // Polled once and thrown away, over and over.
        match feed.next().now_or_never() {
            Some(Ok(AccountEvent::Other(name))) => got.push(name),
            Some(Ok(other)) => panic!("nobody said {other:?}"),
            Some(Err(end)) => break end,
            None => {
                dropped += 1;
                tokio::task::yield_now().await;
            }
        }
    };
    assert!(matches!(end, FeedEnd::Closed(_)), "{end:?}");
    assert_eq!(got, (0..200).map(|number| format!("e{number}")).collect::<Vec<_>>());
    assert!(dropped > 0);
    server.await.unwrap();
}

#[tokio::test]
async fn it_keeps_the_heartbeat_and_misses_the_servers() {
    let (address, server) = socket(|mut peer, _| async move {
        welcome(&mut peer, 200, 100).await;
        for _ in 0..3 {
            assert_eq!(hear(&mut peer).await.as_deref(), Some("2"));
            say(&mut peer, "3").await;
        }
        say(&mut peer, "2a").await;
        while hear(&mut peer).await.unwrap() != "3a" {}
        while hear(&mut peer).await.is_some() {}
    })
    .await;
    let mut feed = open(address).await.unwrap();
    assert_eq!(next(feed.as_mut()).await, Err(FeedEnd::Silent));
    drop(feed);
    server.await.unwrap();
}

#[tokio::test]
async fn revision_four_asks_for_the_namespace() {
    let (address, server) = socket(|mut peer, path| async move {
        assert!(path.ends_with("&EIO=4"), "{path}");
        say(&mut peer, r#"0{"sid":"x","pingInterval":25000,"pingTimeout":20000}"#).await;
        assert_eq!(hear(&mut peer).await.as_deref(), Some("40"));
        say(&mut peer, r#"40{"sid":"y"}"#).await;
        say(&mut peer, r#"42["joined",{}]"#).await;
        while hear(&mut peer).await.is_some() {}
    })
    .await;
    let settings = Settings { engine_io: 4, ..settings(address) };
    let mut feed = broker(settings).open_account_feed(&token(Product::Interactive)).await.unwrap();
    assert_eq!(next(feed.as_mut()).await, Ok(AccountEvent::Joined));
    drop(feed);
    server.await.unwrap();
}

#[tokio::test]
async fn joined_without_a_namespace_will_do() {
    let (address, _server) = socket(|mut peer, _| async move {
        say(&mut peer, r#"0{"sid":"x"}"#).await;
        say(&mut peer, r#"42["joined",{}]"#).await;
        while hear(&mut peer).await.is_some() {}
    })
    .await;
    assert_eq!(next(open(address).await.unwrap().as_mut()).await, Ok(AccountEvent::Joined));
}

#[tokio::test]
async fn refusals_at_the_door() {
    for (status, body, class) in [
        (400, r#"{"type":"error","code":"e-session-0007","description":"Invalid Token"}"#, Class::NeedsToken),
        (401, "", Class::NeedsToken),
        (404, "<h1>", Class::Transient),
        (502, "<html>", Class::Transient),
    ] {
        let server = Server::start(move |_| (status, body.to_owned())).await;
        let refused = open(server.address).await.err().unwrap();
        assert_eq!(refused.class(), class, "{status}: {refused}");
        assert!(!refused.to_string().contains("the.token"), "{refused}");
        if status == 404 {
            assert!(refused.to_string().contains("interactive_prefix"), "{refused}");
        }
    }
    for frame in [r#"44{"code":"e-session-0007","description":"Invalid Token"}"#, r#"42["logout"]"#] {
        let (address, _server) = socket(move |mut peer, _| async move {
            say(&mut peer, r#"0{"sid":"x"}"#).await;
            say(&mut peer, frame).await;
            while hear(&mut peer).await.is_some() {}
        })
        .await;
        assert_eq!(open(address).await.err().unwrap().class(), Class::NeedsToken, "{frame}");
    }
    let (address, _server) =
        socket(|mut peer, _| async move { while hear(&mut peer).await.is_some() {} }).await;
    let impatient = Settings { connect_timeout_ms: 150, ..settings(address) };
    let refused = broker(impatient).open_account_feed(&token(Product::Interactive)).await.err().unwrap();
    assert_eq!(refused.to_string(), "network: the account's feed did not open in time");
    let refused = broker(Settings::default()).open_account_feed(&token(Product::Market)).await.err().unwrap();
    assert!(matches!(refused, Error::NotConfigured(_)));
}

#[tokio::test]
async fn the_socket_is_where_hostlookup_sends_us() {
    let (address, server) = socket(|mut peer, path| async move {
        assert!(path.starts_with("/7interactive/socket.io/?token="), "{path}");
        welcome(&mut peer, 25_000, 60_000).await;
        while hear(&mut peer).await.is_some() {}
    })
    .await;
    let lookup = Server::start(move |_| {
        let body = format!(
            r#"{{"type":true,"result":{{"uniqueKey":"q8Zk","connectionString":"http://{address}/7hostlookup"}}}}"#
        );
        (200, body)
    })
    .await;
    let settings = Settings { login: LoginKind::Hostlookup, ..settings(lookup.address) };
    let feed = broker(settings).open_account_feed(&token(Product::Interactive)).await.unwrap();
    drop(feed);
    server.await.unwrap();
}
