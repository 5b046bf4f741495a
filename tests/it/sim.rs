//! The simulated broker, over real sockets, as an independent client sees it.

mod interactive;
mod nights;
mod orders;
mod polling;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tickgate::clock::SystemClock;
use tickgate::sim::{Prices, Settings, SimServer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const PATIENCE: Duration = Duration::from_secs(30);

async fn start(settings: Settings, file: Option<&Path>) -> SimServer {
    // Plain HTTP only, but a client cannot be built without a provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listen = ([127, 0, 0, 1], 0).into();
    SimServer::start(settings, listen, file.map(Path::to_owned), Arc::new(SystemClock))
        .await
        .expect("it starts")
}

/// A client of one product.
struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    fn new(sim: &SimServer) -> Self {
        let base = format!("http://{}", sim.addr());
        Self { http: reqwest::Client::new(), base, token: String::new() }
    }

    /// Status and body of a call.
    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self
            .http
            .request(method.parse().expect("is a method"), format!("{}{path}", self.base))
            .timeout(PATIENCE);
        if !self.token.is_empty() {
            request = request.header("authorization", &self.token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("it answers");
        let status = response.status().as_u16();
        let text = response.text().await.expect("it answers with text");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn login(sim: &SimServer) -> Self {
        let mut client = Self::new(sim);
        let keys = sim.credentials();
        let body =
            json!({"appKey": keys.market_app_key, "secretKey": keys.market_secret_key, "source": "WebAPI"});
        let (status, answer) = client.call("POST", "/apibinarymarketdata/auth/login", Some(body)).await;
        assert_eq!(
            (status, &answer["type"], &answer["code"]),
            (200, &"success".into(), &"s-response-0010".into())
        );
        answer["result"]["token"].as_str().expect("there is a token").clone_into(&mut client.token);
        assert_eq!(client.token.split('.').count(), 3);
        client
    }

    async fn subscribe(&self, code: u16, ids: &[u32]) -> (u16, Value) {
        let instruments: Vec<_> =
            ids.iter().map(|id| json!({"exchangeSegment": 1, "exchangeInstrumentID": id})).collect();
        let body = json!({"instruments": instruments, "xtsMessageCode": code});
        self.call("POST", "/apibinarymarketdata/instruments/subscription", Some(body)).await
    }

    async fn connect(&self, path: &str) -> Result<Feed, Error> {
        let url = format!(
            "{}{path}/socket.io/?token={}&userID=SIM01&publishFormat=JSON&broadcastMode=Full&transport=websocket&EIO=3",
            self.base.replace("http", "ws"),
            self.token
        );
        tokio_tungstenite::connect_async(url).await.map(|(socket, _)| Feed { socket })
    }
}

struct Feed {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Feed {
    /// The next frame; `None` once the socket is closed.
    async fn next(&mut self) -> Option<Message> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("a frame in time") {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                // Session states and price bands come unasked.
                Some(Ok(Message::Text(text)))
                    if text.starts_with("42[\"1507-") || text.starts_with("42[\"1105-") => {}
                Some(Ok(message)) => return Some(message),
            }
        }
    }

    async fn text(&mut self) -> String {
        match self.next().await {
            Some(Message::Text(text)) => text.to_string(),
            other => panic!("no text: {other:?}"),
        }
    }

    async fn greeted(&mut self) {
        let open: Value = serde_json::from_str(&self.text().await[1..]).expect("is JSON");
        assert!(open["pingInterval"].is_u64() && open["sid"].is_string(), "{open}");
        assert_eq!(self.text().await, "40");
        assert!(self.text().await.starts_with("42[\"joined\",{"));
    }

    /// The body of the next binary frame, behind its header.
    async fn packet(&mut self) -> Vec<u8> {
        assert_eq!(self.text().await, r#"451-["xts-binary-packet",{"_placeholder":true,"num":0}]"#);
        match self.next().await {
            Some(Message::Binary(frame)) => {
                assert_eq!(frame[0], 4);
                frame[1..].to_vec()
            }
            other => panic!("no binary frame: {other:?}"),
        }
    }
}

#[tokio::test]
async fn ticks_flow_on_both_prefixes_after_a_login_in_either_encoding() {
    let sim = start(Settings::default(), None).await;
    let client = Client::login(&sim).await;
    let mut binary = client.connect("/apibinarymarketdata").await.unwrap();
    binary.greeted().await;
    let mut text = client.connect("/apimarketdata").await.unwrap();
    text.greeted().await;
    let (status, answer) = client.subscribe(1501, &[2885, 26_000]).await;
    assert_eq!((status, &answer["code"]), (200, &"s-session-0001".into()), "{answer}");
    assert_eq!(answer["result"]["listQuotes"].as_array().unwrap().len(), 2);
    assert_eq!(answer["result"]["Remaining_Subscription_Count"], 998);
    let packet = binary.packet().await;
    assert!(packet.len() > 100 && packet[1..3] == 1501_u16.to_le_bytes());
    let event: Value = serde_json::from_str(&text.text().await[2..]).unwrap();
    assert_eq!(event[0], "1501-json-full");
    let inner: Value = serde_json::from_str(event[1].as_str().unwrap()).unwrap();
    assert_eq!(inner["ExchangeSegment"], 1);
    binary.socket.send(Message::text("2probe")).await.unwrap();
    while binary.next().await.unwrap() != Message::text("3probe") {}

    // The same login in the other encoding ends the session.
    let keys = sim.credentials();
    let form = [("appKey", keys.market_app_key), ("secretKey", keys.market_secret_key)];
    let url = format!("{}/apimarketdata/auth/login", client.base);
    let answer = client.http.post(url).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let (status, answer) = client.call("GET", "/apimarketdata/config/clientConfig", None).await;
    assert_eq!((status, &answer["code"]), (400, &"e-session-0007".into()));
    sim.stop().await;
}

#[tokio::test]
async fn a_bad_token_is_refused_before_the_upgrade_with_a_reason() {
    let sim = start(Settings::default(), None).await;
    let mut client = Client::new(&sim);
    client.token = "x.y.z".to_owned();
    match client.connect("/apibinarymarketdata").await {
        Err(Error::Http(response)) => {
            assert_eq!(response.status(), 400);
            let body: Value = serde_json::from_slice(response.body().as_ref().unwrap()).unwrap();
            assert_eq!(
                (&body["code"], &body["description"]),
                (&"e-session-0007".into(), &"Invalid Token".into())
            );
        }
        other => panic!("{:?}", other.map(|_| "connected")),
    }
    let (status, body) = client.call("GET", "/interactive/nothing", None).await;
    assert_eq!(status, 404);
    assert!(body.as_str().unwrap().contains("<h1>Unable to connect provided url</h1>"));
    assert_eq!(client.call("GET", "/", None).await.0, 404);
    assert_eq!(client.call("GET", "/apibinarymarketdata/socket.io/?transport=polling", None).await.0, 400);
}

#[tokio::test]
async fn several_accounts_log_in_side_by_side() {
    let sim = start(Settings { accounts: 2, ..Settings::default() }, None).await;
    let all = sim.all_credentials();
    assert_eq!((all.len(), &all[0].keys), (2, &sim.credentials()));
    let first = Client::login(&sim).await;
    let mut second = Client::new(&sim);
    let body = json!({"appKey": all[1].keys.market_app_key, "secretKey": all[1].keys.market_secret_key});
    let (status, answer) = second.call("POST", "/apibinarymarketdata/auth/login", Some(body)).await;
    assert_eq!((status, &answer["result"]["userID"]), (200, &"SIM02".into()), "{answer}");
    second.token = answer["result"]["token"].as_str().unwrap().to_owned();
    for client in [&first, &second] {
        assert_eq!(client.subscribe(1501, &[2885]).await.0, 200);
    }
    let expire = json!({"account": "SIM02", "product": "market"});
    assert_eq!(first.call("POST", "/__sim/expire", Some(expire)).await.1, json!({"expired": 1}));
    assert_eq!(first.call("POST", "/__sim/expire", Some(json!({"account": "SIM03"}))).await.0, 400);
    assert_eq!(first.subscribe(1501, &[3045]).await.0, 200);
    assert_eq!(second.subscribe(1501, &[3045]).await.1["code"], "e-session-0007");
    let (_, state) = first.call("GET", "/__sim/state", None).await;
    assert_eq!(state["accounts"][1]["keys"]["market_app_key"], all[1].keys.market_app_key.as_str());
}

#[tokio::test]
async fn sessions_subscriptions_and_the_port_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sim.json");
    let sim = start(Settings::default(), Some(&file)).await;
    let address = sim.addr();
    let client = Client::login(&sim).await;
    assert_eq!(client.subscribe(1501, &[2885]).await.0, 200);
    // A copy of what is on disk now is what a killed process leaves behind.
    let left_behind = std::fs::read(&file).unwrap();
    sim.stop().await;
    std::fs::write(&file, left_behind).unwrap();

    let sim = start(Settings::default(), Some(&file)).await;
    assert_eq!(sim.addr(), address);
    let (status, answer) = client.subscribe(1501, &[2885]).await;
    assert_eq!((status, &answer["code"]), (400, &"e-session-0002".into()), "{answer}");
    let mut feed = client.connect("/apibinarymarketdata").await.unwrap();
    feed.greeted().await;
    feed.packet().await;
    let (_, state) = client.call("GET", "/__sim/state", None).await;
    assert_eq!(state["logins"], json!({"market": 1, "interactive": 0}), "{state}");
    assert_eq!((&state["subscriptions"]["count"], &state["sockets"]["market"]), (&1.into(), &1.into()));
    assert!(state["instruments"].as_u64().unwrap() >= 200);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&client.token));
}

#[tokio::test]
async fn a_client_that_never_pings_is_dropped_and_one_that_does_is_not() {
    let settings = Settings { ping_interval_ms: 200, ping_timeout_ms: 300, ..Settings::default() };
    let sim = start(settings, None).await;
    let client = Client::login(&sim).await;
    let mut silent = client.connect("/apibinarymarketdata").await.unwrap();
    let mut alive = client.connect("/apibinarymarketdata").await.unwrap();
    silent.greeted().await;
    alive.greeted().await;
    let mut pings = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            _ = pings.tick() => alive.socket.send(Message::text("2")).await.unwrap(),
            message = silent.next() => {
                assert_eq!(message, None);
                break;
            }
        }
    }
    alive.socket.send(Message::text("2end")).await.unwrap();
    while alive.next().await.expect("is alive") != Message::text("3end") {}
}

#[tokio::test]
async fn controls_do_what_they_say() {
    let sim = start(Settings::default(), None).await;
    let client = Client::login(&sim).await;
    let control =
        async |path: &str, body: Value| client.call("POST", &format!("/__sim/{path}"), Some(body)).await;
    client.subscribe(1501, &[2885, 1333, 1594]).await;

    let mut feed = client.connect("/apibinarymarketdata").await.unwrap();
    feed.greeted().await;
    assert_eq!(control("drop", json!({})).await, (200, json!({"dropped": 1})));
    while feed.next().await.is_some() {}

    let mut feed = client.connect("/apibinarymarketdata").await.unwrap();
    feed.greeted().await;
    feed.packet().await;
    assert_eq!(control("mute", json!({"on": true})).await, (200, json!({"muted": true})));
    let (_, truth) = client.call("GET", "/__sim/truth", None).await;
    // What is on its way arrives; then a ping's answer is the only frame.
    feed.socket.send(Message::text("2")).await.unwrap();
    while feed.next().await.unwrap() != Message::text("3") {}
    feed.socket.send(Message::text("2still")).await.unwrap();
    assert_eq!(feed.text().await, "3still");
    assert_eq!(client.call("GET", "/__sim/truth", None).await.1["instruments"], truth["instruments"]);
    control("mute", json!({"on": false})).await;
    feed.packet().await;

    assert_eq!(control("expire", json!({"product": "market"})).await, (200, json!({"expired": 1})));
    while feed.next().await.is_some() {}
    assert_eq!(client.subscribe(1501, &[22]).await.1["code"], "e-session-0007");
    assert_eq!(control("token_life", json!({"seconds": 0})).await.0, 400);
    assert_eq!(control("token_life", json!({"seconds": 1})).await.0, 200);
    let short = Client::login(&sim).await;
    let until_refused = async {
        while short.call("GET", "/apimarketdata/config/clientConfig", None).await.0 == 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, until_refused).await.unwrap();

    let url = format!("{}/__sim/drop", client.base);
    let foreign = client.http.post(url).header("origin", "http://evil.example").send().await.unwrap();
    assert_eq!(foreign.status(), 403);
}

#[tokio::test]
async fn a_replay_at_twenty_times_its_pace_loses_nothing() {
    let settings = Settings { prices: Prices::Replay, replay_loop: true, pace: 20.0, ..Settings::default() };
    let sim = start(settings, None).await;
    let client = Client::login(&sim).await;
    let (_, truth) = client.call("GET", "/__sim/truth", None).await;
    let ids: Vec<u32> = truth["instruments"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|i| i["segment"] == 1)
        .map(|i| u32::try_from(i["id"].as_u64().unwrap()).unwrap())
        .take(50)
        .collect();
    let mut feed = client.connect("/apimarketdata").await.unwrap();
    feed.greeted().await;
    let (_, before) = client.call("GET", "/__sim/state", None).await;
    assert_eq!(client.subscribe(1501, &ids).await.0, 200);
    let begin = tokio::time::Instant::now();
    let mut received = 0_u64;
    let mut last = std::collections::HashMap::new();
    let mut muted = false;
    let mut after = Value::Null;
    loop {
        if !muted && begin.elapsed() > Duration::from_secs(3) {
            client.call("POST", "/__sim/mute", Some(json!({"on": true}))).await;
            after = client.call("GET", "/__sim/state", None).await.1;
            feed.socket.send(Message::text("2end")).await.unwrap();
            muted = true;
        }
        let text = feed.text().await;
        if text == "3end" {
            break;
        }
        let event: Value = serde_json::from_str(&text[2..]).unwrap();
        let inner: Value = serde_json::from_str(event[1].as_str().unwrap()).unwrap();
        last.insert(inner["ExchangeInstrumentID"].as_u64().unwrap(), inner);
        received += 1;
    }
    assert_eq!(received, after["messages"].as_u64().unwrap() - before["messages"].as_u64().unwrap());
    let (_, truth) = client.call("GET", "/__sim/truth", None).await;
    for ours in truth["instruments"].as_array().unwrap().iter().filter(|i| i["segment"] == 1) {
        let Some(sent) = last.get(&ours["id"].as_u64().unwrap()) else { continue };
        let sent = sent.get("Touchline").unwrap_or(sent);
        let ltp: f64 = ours["ltp"].as_str().unwrap().parse().unwrap();
        assert_eq!(sent["LastTradedPrice"].as_f64(), Some(ltp), "{sent} {ours}");
        assert_eq!(
            (&sent["TotalTradedQuantity"], &sent["BidInfo"]["Size"]),
            (&ours["volume"], &ours["bid_size"])
        );
    }
    eprintln!("{received} messages in 3 s");
    assert!(received > 1_000, "{received}");
}
