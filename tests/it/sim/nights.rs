//! Cuts, restarts and faults of the simulated broker, over real sockets.

use std::sync::atomic::{AtomicI64, Ordering};

use tickgate::clock::{Clock, UnixNanos};
use tickgate::market::TimeOfDay;
use tickgate::sim::SocketEnd;

use super::*;

/// The machine's clock, set elsewhere.
struct OffsetClock(AtomicI64);

impl OffsetClock {
    fn starting_at(start: UnixNanos) -> Self {
        Self(AtomicI64::new(start.as_nanos() - SystemClock.now().as_nanos()))
    }
}

impl Clock for OffsetClock {
    fn now(&self) -> UnixNanos {
        UnixNanos::from_nanos(SystemClock.now().as_nanos() + self.0.load(Ordering::Relaxed))
    }
}

async fn control(client: &Client, path: &str, body: Value) -> Value {
    let (status, answer) = client.call("POST", &format!("/__sim/{path}"), Some(body)).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

fn market_login(sim: &SimServer) -> Value {
    let keys = sim.credentials();
    json!({"appKey": keys.market_app_key, "secretKey": keys.market_secret_key, "source": "WebAPI"})
}

const LOGIN: &str = "/apibinarymarketdata/auth/login";

#[tokio::test]
async fn at_the_cut_tokens_die_and_sockets_end_as_configured() {
    // 2026-02-11 02:59:58 in India.
    let clock = Arc::new(OffsetClock::starting_at(UnixNanos::from_secs(1_770_758_998)));
    let settings = Settings {
        nightly_cut_ist: TimeOfDay::new(3, 0),
        nightly_sockets: SocketEnd::Logout,
        ..Settings::default()
    };
    let listen = ([127, 0, 0, 1], 0).into();
    let sim = SimServer::start(settings, listen, None, clock.clone()).await.unwrap();
    let client = Client::login(&sim).await;
    let mut feed = client.connect("/apibinarymarketdata").await.unwrap();
    feed.greeted().await;
    let text = feed.text().await;
    assert!(text.starts_with("42[\"logout\",{"), "{text}");
    assert_eq!(clock.now().as_secs(), 1_770_759_000);
    // It stays open, without data.
    feed.socket.send(Message::text("2")).await.unwrap();
    assert_eq!(feed.text().await, "3");
    assert_eq!(client.subscribe(1501, &[2885]).await.1["code"], "e-session-0007");
}

#[tokio::test]
async fn while_the_broker_is_away_requests_meet_a_proxy_or_a_closed_connection() {
    let sim = start(Settings::default(), None).await;
    let client = Client::login(&sim).await;
    let mut feed = client.connect("/apibinarymarketdata").await.unwrap();
    feed.greeted().await;
    control(&client, "restart", json!({"down_ms": 60_000, "manner": "html"})).await;
    while feed.next().await.is_some() {}
    let (status, body) = client.call("GET", "/apimarketdata/config/clientConfig", None).await;
    assert_eq!(status, 502);
    assert!(body.as_str().is_some_and(|b| b.starts_with("<html>")), "{body}");
    match client.connect("/apibinarymarketdata").await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 502),
        other => panic!("{:?}", other.map(|_| "connected")),
    }

    control(&client, "restart", json!({"down_ms": 60_000, "manner": "close"})).await;
    let sent = client.http.post(format!("{}{LOGIN}", client.base)).json(&market_login(&sim)).send().await;
    assert!(sent.unwrap_err().status().is_none());
    assert!(client.connect("/apibinarymarketdata").await.is_err());

    // Back at once; nothing was forgotten, then everything.
    control(&client, "restart", json!({"down_ms": 0})).await;
    assert_eq!(client.subscribe(1501, &[2885]).await.0, 200);
    control(&client, "restart", json!({"down_ms": 0, "forget": true})).await;
    assert_eq!(client.subscribe(1501, &[3045]).await.1["code"], "e-session-0007");
    let (_, state) = client.call("GET", "/__sim/state", None).await;
    assert_eq!((&state["away"], &state["turned_away"]), (&false.into(), &4.into()));
    for wrong in [json!({}), json!({"down_ms": -1}), json!({"down_ms": 1, "manner": "loudly"})] {
        assert_eq!(client.call("POST", "/__sim/restart", Some(wrong)).await.0, 400);
    }
}

#[tokio::test]
async fn faults_of_logins_are_seen_by_clients_and_by_the_journal() {
    let sim = start(Settings::default(), None).await;
    let client = Client::new(&sim);
    let limited = json!({"kind": "rate_limited", "retry_after_s": 7, "product": "market"});
    assert_eq!(control(&client, "login_faults", limited).await, json!({"waiting": 1}));
    let url = format!("{}{LOGIN}", client.base);
    let answer = client.http.post(&url).json(&market_login(&sim)).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (429, "7"));
    control(&client, "login_faults", json!({"kind": "unavailable", "status": 503})).await;
    let answer = client.http.post(&url).json(&market_login(&sim)).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));

    // Two slow ones at once are seen.
    control(&client, "login_faults", json!({"kind": "slow", "ms": 400, "count": 2})).await;
    let slow = || client.call("POST", LOGIN, Some(market_login(&sim)));
    let (one, two) = tokio::join!(slow(), slow());
    assert_eq!((one.0, two.0), (200, 200));
    let view = client.call("GET", "/__sim/logins", None).await.1;
    assert_eq!(view["max_in_flight"], json!({"market": 2, "interactive": 0}));
    assert_eq!(view["accounts"][0]["in_flight"]["market"], 0);
    assert_eq!(
        (&view["logins"][0]["outcome"], &view["logins"][0]["fault"]),
        (&"failed".into(), &"rate_limited".into())
    );
    let took = |login: &Value| login["answered_ms"].as_i64().unwrap() - login["arrived_ms"].as_i64().unwrap();
    assert!(took(&view["logins"][2]) >= 400);
    assert_eq!(client.call("POST", "/__sim/login_faults", Some(json!({"kind": "magic"}))).await.0, 400);
    assert_eq!(control(&client, "login_faults", json!({"clear": true})).await, json!({"waiting": 0}));

    // The first token of the two was dead at once.
    let token = |answer: &Value| answer["result"]["token"].as_str().unwrap().to_owned();
    let mut ghost = Client::new(&sim);
    for token in [token(&one.1), token(&two.1)] {
        ghost.token = token;
        ghost.call("POST", "/apimarketdata/instruments/quotes", Some(json!({}))).await;
        ghost.call("POST", "/apimarketdata/instruments/master", Some(json!({}))).await;
    }
    let view = client.call("GET", "/__sim/logins", None).await.1;
    let bad = view["bad_tokens"].as_array().unwrap();
    assert_eq!(bad.iter().map(|b| b["call"].as_str().unwrap()).collect::<Vec<_>>(), ["quotes", "master"]);
    assert_eq!((&view["dead"], &view["repeated"]), (&2.into(), &1.into()), "{view}");
}

#[tokio::test]
async fn an_access_token_is_wanted_where_configured() {
    let sim = start(Settings { access_token: "a1".to_owned(), ..Settings::default() }, None).await;
    let client = Client::new(&sim);
    let keys = sim.credentials();
    let login = |text: &str| {
        let body = json!({
            "appKey": keys.interactive_app_key,
            "secretKey": keys.interactive_secret_key,
            "accessToken": text,
        });
        client.call("POST", "/interactive/user/session", Some(body))
    };
    assert_eq!(login("").await.1["description"], "Invalid Access Token");
    assert_eq!(login("a1").await.0, 200);
    assert_eq!(login("a1").await.0, 400);
    assert_eq!(control(&client, "access_token", json!({"token": "a2"})).await, json!({"required": true}));
    assert_eq!(login("a2").await.0, 200);
    Client::login(&sim).await;
}
