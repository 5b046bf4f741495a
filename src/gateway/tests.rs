//! The feed port over real sockets, with clients that are not ours. One file although it is
//! long: every test here stands on the same rig.

mod binary;
mod options;
mod renaming;
mod since;
mod states;
mod tls;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::auth::{ConsumerKeys, Scope, Scopes};
use super::*;
use crate::clock::{Clock as _, SystemClock, UnixNanos};
use crate::hub::{FeedId, FeedState, Hub, Part, Publisher};
use crate::market::master::{MasterBuilder, MasterHandle};
use crate::market::{
    Bar, Depth, InstrumentId, LastTrade, Level, Order, OrderKind, OrderStatus, OrderUpdate, Price, Quote,
    Segment, Side, Tick, TickBody,
};
use crate::store::Store;

/// The longest any wait may take. Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(1);
/// Instruments of the test's master: `S0`, `S1`, … on NSE, numbers 1000, 1001, ….
const INSTRUMENTS: u32 = 200;

struct Rig {
    gateway: GatewayHandle,
    hub: Hub,
    publisher: Publisher,
    master: MasterHandle,
    keys: ConsumerKeys,
    key: String,
    _dir: TempDir,
}

fn master() -> Arc<crate::market::master::Master> {
    let mut builder = MasterBuilder::new();
    for number in 0..INSTRUMENTS {
        let code = 1000 + number;
        builder.add_rows(&format!(
            "NSECM|{code}|8|S{number}|S{number}-EQ|EQ|S{number}-EQ|{code}|1598|1307.6|676621|0.1|1|1|S{number}|INE002A01018|1|1|A COMPANY|0|1|1\n"
        ));
    }
    let (master, report) = builder.finish();
    assert_eq!((report.instruments, report.bad_rows), (INSTRUMENTS as usize, 0), "{report:?}");
    Arc::new(master)
}

impl Rig {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let rig = Self::without_master(change).await;
        rig.master.store(master());
        rig
    }

    async fn without_master(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_tls(change, None).await
    }

    async fn with_tls(change: impl FnOnce(&mut Settings), tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let dir = TempDir::new().unwrap();
        let (store, _) = Store::open(dir.path(), &SystemClock).unwrap();
        let keys = ConsumerKeys::open(&store, Arc::new(SystemClock)).unwrap();
        let key = keys.create("alice", Scopes::DEFAULT).await.unwrap().expose().to_owned();
        let hub = Hub::new("testbroker");
        let master = MasterHandle::new();
        let mut settings = Settings { feed_listen: "127.0.0.1:0".to_owned(), ..Settings::default() };
        change(&mut settings);
        let gateway = start(Deps {
            settings,
            listener: std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
            hub: hub.clone(),
            master: master.clone(),
            keys: keys.clone(),
            broker: "testbroker".to_owned(),
            clock: Arc::new(SystemClock),
            tls,
        })
        .unwrap();
        let publisher = hub.publisher(FeedId(0));
        Self { gateway, hub, publisher, master, keys, key, _dir: dir }
    }

    async fn connect(&self) -> Client {
        let socket = TcpStream::connect(self.gateway.addr()).await.unwrap();
        let url = format!("ws://{}/any/path", self.gateway.addr());
        let (socket, _) = client_async(url, socket).await.unwrap();
        Client { socket }
    }

    async fn authenticated(&self) -> Client {
        let mut client = self.connect().await;
        client.authenticate(&self.key).await;
        client
    }

    /// A connection that is a WebSocket already, for what a well-behaved client cannot do.
    async fn raw(&self) -> TcpStream {
        let mut socket = TcpStream::connect(self.gateway.addr()).await.unwrap();
        socket.write_all(request(&self.gateway).as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        socket
    }

    fn quote(&mut self, number: u32, paise: i64) {
        self.publisher.publish(&[quote(number, paise)]);
        self.publisher.flush();
    }
}

fn request(gateway: &GatewayHandle) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        gateway.addr()
    )
}

fn instrument(number: u32) -> InstrumentId {
    InstrumentId { segment: Segment::NseCash, code: 1000 + number }
}

fn tick(number: u32, body: TickBody) -> Tick {
    Tick { instrument: instrument(number), ts_event: UnixNanos::ZERO, ts_recv: SystemClock.now(), body }
}

fn quote(number: u32, paise: i64) -> Tick {
    let last = LastTrade { price: Price::from_nanos(paise * 10_000_000), size: 5, time: UnixNanos::ZERO };
    let bid = Level { price: last.price, size: 7, orders: 2 };
    tick(number, TickBody::Quote(Quote { last, bid, volume: paise, ..Quote::default() }))
}

/// A masked frame, as clients send them.
fn client_frame(payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let header = FrameHeader { opcode: OpCode::Data(Data::Text), mask: Some(mask), ..FrameHeader::default() };
    let mut bytes = Vec::new();
    header.format(payload.len() as u64, &mut bytes).unwrap();
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A server's frame off a raw connection: (opcode byte, payload).
async fn server_frame(socket: &mut TcpStream) -> (u8, Vec<u8>) {
    let read = async {
        let first = socket.read_u8().await.unwrap();
        let len = match socket.read_u8().await.unwrap() {
            126 => usize::from(socket.read_u16().await.unwrap()),
            127 => socket.read_u64().await.unwrap() as usize,
            short => usize::from(short),
        };
        let mut payload = vec![0; len];
        socket.read_exact(&mut payload).await.unwrap();
        (first, payload)
    };
    timeout(PATIENCE, read).await.expect("a frame comes")
}

async fn wait_for(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Client {
    socket: WebSocketStream<TcpStream>,
}

impl Client {
    async fn send(&mut self, frame: Value) {
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next message that is no ping or pong.
    async fn message(&mut self) -> Option<Result<Message, Error>> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("something comes") {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => return other,
            }
        }
    }

    async fn next(&mut self) -> Value {
        match self.message().await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    async fn ask(&mut self, frame: Value) -> Value {
        self.send(frame).await;
        self.next().await
    }

    /// Reads to the end: the close code, and the frames before it.
    async fn closed(&mut self) -> (Option<u16>, Vec<Value>) {
        let mut before = Vec::new();
        loop {
            match self.message().await {
                Some(Ok(Message::Text(text))) => before.push(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => {
                    // The server ends the connection once it has had the answer.
                    let rest = self.message().await;
                    assert!(matches!(rest, None | Some(Err(Error::ConnectionClosed))), "{rest:?}");
                    return (frame.map(|f| f.code.into()), before);
                }
                _ => return (None, before),
            }
        }
    }

    async fn authenticate(&mut self, key: &str) {
        let answer = self.ask(json!({"action": "authenticate", "api_key": key})).await;
        assert_eq!((&answer["type"], &answer["status"]), (&json!("auth"), &json!("success")), "{answer}");
    }

    /// Subscribes by number; returns the acknowledgement.
    async fn subscribe(&mut self, numbers: &[u32], mode: u8) -> Value {
        let symbols: Vec<_> =
            numbers.iter().map(|n| json!({"symbol": format!("S{n}"), "exchange": "NSE"})).collect();
        self.ask(json!({"action": "subscribe", "symbols": symbols, "mode": mode})).await
    }
}

fn code(frame: &Value) -> &str {
    frame["code"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_a_wrong_one_does_not_and_may_be_followed_by_the_right_one() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    let answer = client.ask(json!({"action": "subscribe", "symbol": "S1", "exchange": "NSE"})).await;
    assert_eq!(
        answer,
        json!({"status":"error","code":"NOT_AUTHENTICATED","message":"You must authenticate first"})
    );
    let answer = client.ask(json!({"action": "authenticate"})).await;
    assert_eq!((code(&answer), &answer["message"]), ("AUTHENTICATION_ERROR", &json!("API key is required")));
    let answer = client.ask(json!({"action": "authenticate", "api_key": "wrong"})).await;
    assert_eq!((code(&answer), &answer["message"]), ("AUTHENTICATION_ERROR", &json!("Invalid API key")));
    // Before authentication as well as after it.
    let answer = client.ask(json!({"action": "get_supported_brokers"})).await;
    assert_eq!(answer["brokers"], json!(["testbroker"]));
    let answer = client.ask(json!({"type": "auth", "apikey": rig.key})).await;
    assert_eq!(
        answer,
        json!({"type":"auth","status":"success","message":"Authentication successful","broker":"testbroker",
            "user_id":"alice","supported_features":{"ltp":true,"quote":true,"depth":true}})
    );
    client.authenticate(&rig.key).await;
    assert_eq!(rig.gateway.census().take(), Consumers { count: 1, slow: 0 });

    let account_only = rig.keys.create("books", "account".parse().unwrap()).await.unwrap();
    let answer = rig.connect().await.ask(json!({"action": "auth", "api_key": account_only.expose()})).await;
    assert_eq!(code(&answer), "AUTHENTICATION_ERROR");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_the_connection_ends_with_4401() {
    let rig = Rig::with(|s| s.auth_timeout_ms = 2_000).await;
    let mut stays = rig.authenticated().await;
    let mut client = rig.connect().await;
    client.send(json!({"action": "authenticate", "api_key": "wrong"})).await;
    let (code, before) = client.closed().await;
    assert_eq!((code, before.len()), (Some(4401), 1), "a failed attempt changes nothing");
    assert_eq!(stays.ask(json!({"action": "ping"})).await["type"], "pong");
    wait_for("the count", || rig.gateway.census().take().count == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribing_acknowledges_then_sends_the_latest_then_goes_live() {
    let mut rig = Rig::start().await;
    let mut first = rig.authenticated().await;
    let ack = first
        .ask(json!({"action": "subscribe", "mode": "LTP", "request_id": 7, "symbols":
            [{"symbol": "S1", "exchange": "NSE"}, {"symbol": "NOPE", "exchange": "NSE"}, {"symbol": "S2", "exchange": "MARS"}]}))
        .await;
    assert_eq!(
        (&ack["type"], &ack["status"], &ack["request_id"]),
        (&json!("subscribe"), &json!("partial"), &json!(7))
    );
    assert_eq!(
        ack["subscriptions"],
        json!([{"symbol":"S1","exchange":"NSE","status":"success","mode":"LTP","depth":5,"broker":"testbroker"},
            {"symbol":"NOPE","exchange":"NSE","status":"error","message":"Symbol NOPE not found for exchange NSE","broker":"testbroker"},
            {"symbol":"S2","exchange":"MARS","status":"error","message":"Symbol S2 not found for exchange MARS","broker":"testbroker"}])
    );
    rig.quote(1, 10_050);
    rig.quote(2, 1);
    let frame = first.next().await;
    assert_eq!(
        (&frame["mode"], &frame["symbol"], &frame["data"]["ltp"]),
        (&json!(1), &json!("S1"), &json!(100.5))
    );

    // Somebody else: the value that is known comes right behind the answer.
    let mut second = rig.authenticated().await;
    assert_eq!(second.subscribe(&[1], 1).await["status"], "success");
    assert_eq!(second.next().await["data"]["ltp"], 100.5);
    // Again is a success, and gives nothing twice.
    assert_eq!(second.subscribe(&[1], 1).await["status"], "success");
    rig.quote(1, 10_060);
    for client in [&mut first, &mut second] {
        assert_eq!(client.next().await["data"]["ltp"], 100.6);
    }

    // Another mode of a known instrument: the publisher knows the value.
    assert_eq!(second.subscribe(&[1], 2).await["status"], "success");
    rig.publisher.refresh();
    rig.publisher.flush();
    let frame = second.next().await;
    assert_eq!((&frame["mode"], &frame["data"]["bid_size"]), (&json!(2), &json!(7)));
    rig.quote(1, 10_070);
    assert_eq!(
        [second.next().await["mode"].clone(), second.next().await["mode"].clone()],
        [1, 2],
        "one frame per mode"
    );
    assert_eq!(first.next().await["data"]["ltp"], 100.7);
}

#[tokio::test(flavor = "multi_thread")]
async fn unsubscribing_takes_the_mode_into_account() {
    let mut rig = Rig::start().await;
    let mut client = rig.authenticated().await;
    for mode in 1..=3 {
        client.subscribe(&[1, 2], mode).await;
    }
    // No mode means Quote; what was never subscribed is a success.
    let ack = client
        .ask(json!({"action": "unsubscribe", "request_id": "u1", "symbols":
            [{"symbol": "S1", "exchange": "NSE"}, {"symbol": "S2", "exchange": "NSE", "mode": 3}, {"symbol": "S3", "exchange": "NSE"}]}))
        .await;
    assert_eq!((&ack["status"], &ack["request_id"]), (&json!("success"), &json!("u1")));
    assert_eq!(
        (ack["successful"].as_array().unwrap().len(), ack["failed"].as_array().unwrap().len()),
        (3, 0)
    );
    let depth = |number| tick(number, TickBody::Depth(Depth::default()));
    rig.publisher.publish(&[quote(1, 5), depth(1), quote(2, 5), depth(2)]);
    rig.publisher.flush();
    let mut got = Vec::new();
    for _ in 0..4 {
        let frame = client.next().await;
        got.push((frame["symbol"].as_str().unwrap().to_owned(), frame["mode"].as_i64().unwrap()));
    }
    got.sort();
    assert_eq!(got, [("S1", 1), ("S1", 3), ("S2", 1), ("S2", 2)].map(|(s, m)| (s.to_owned(), m)));

    let ack = client.ask(json!({"action": "unsubscribe_all"})).await;
    assert_eq!((&ack["type"], ack["successful"].as_array().unwrap().len()), (&json!("unsubscribe"), 4));
    wait_for("the hub to know", || rig.hub.wanted().is_empty()).await;
    rig.quote(1, 6);
    assert_eq!(client.ask(json!({"action": "ping"})).await["type"], "pong", "and no market data");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_in_the_protocols_codes() {
    let rig = Rig::with(|s| s.max_instruments_per_consumer = 3).await;
    let mut client = rig.authenticated().await;
    for (frame, expected) in [
        ("{nonsense", "INVALID_JSON"),
        ("[1]", "INVALID_PARAMETERS"),
        (r#"{"action":"dance"}"#, "INVALID_ACTION"),
        ("{}", "INVALID_ACTION"),
        (r#"{"action":"subscribe","symbol":"S1","exchange":"NSE","mode":7}"#, "INVALID_MODE"),
        (r#"{"action":"subscribe","symbol":"S1","exchange":"NSE","mode":"1"}"#, "INVALID_MODE"),
        (r#"{"action":"subscribe"}"#, "INVALID_PARAMETERS"),
        (r#"{"action":"subscribe","symbols":["NSE:S1"]}"#, "INVALID_PARAMETERS"),
        (r#"{"action":"unsubscribe"}"#, "INVALID_PARAMETERS"),
    ] {
        client.socket.send(Message::text(frame)).await.unwrap();
        let answer = client.next().await;
        assert_eq!((code(&answer), &answer["status"]), (expected, &json!("error")), "{frame}: {answer}");
    }
    let answer = client.ask(json!({"action": "ping", "timestamp": 1.5, "_pingId": "x"})).await;
    assert_eq!((&answer["client_timestamp"], &answer["_pingId"]), (&json!(1.5), &json!("x")));
    assert_eq!(client.ask(json!({"action": "get_broker_info"})).await["adapter_status"], "disconnected");
    rig.hub.set_feed_state(FeedId(0), FeedState::Live);
    assert_eq!(client.ask(json!({"action": "get_broker_info"})).await["adapter_status"], "connected");

    let ack = client.subscribe(&[1, 2, 3, 4, 1], 2).await;
    let statuses: Vec<_> =
        ack["subscriptions"].as_array().unwrap().iter().map(|s| s["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["success", "success", "success", "error", "success"], "{ack}");
    assert!(ack["subscriptions"][3]["message"].as_str().unwrap().starts_with("Maximum capacity reached"));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_frames_in_one_write_are_answered_in_order() {
    let rig = Rig::start().await;
    let mut socket = TcpStream::connect(rig.gateway.addr()).await.unwrap();
    // Even the handshake is not waited for.
    let mut bytes = request(&rig.gateway).into_bytes();
    bytes.extend(client_frame(json!({"action": "authenticate", "api_key": rig.key}).to_string().as_bytes()));
    for number in 0..500 {
        let frame = json!({"action": "subscribe", "symbol": format!("S{}", number % INSTRUMENTS), "exchange": "NSE", "mode": 1, "request_id": number});
        bytes.extend(client_frame(frame.to_string().as_bytes()));
    }
    let (mut reading, mut writing) = socket.split();
    let write = async {
        // In pieces that tear frames apart.
        for piece in bytes.chunks(1_777) {
            writing.write_all(piece).await.unwrap();
        }
    };
    let read = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(reading.read_u8().await.unwrap());
        }
        let mut answers = Vec::new();
        while answers.len() < 501 {
            assert_eq!(reading.read_u8().await.unwrap(), 0x81);
            let len = match reading.read_u8().await.unwrap() {
                126 => usize::from(reading.read_u16().await.unwrap()),
                short => usize::from(short),
            };
            let mut payload = vec![0; len];
            reading.read_exact(&mut payload).await.unwrap();
            answers.push(serde_json::from_slice::<Value>(&payload).unwrap());
        }
        answers
    };
    let ((), answers) = timeout(PATIENCE, async { tokio::join!(write, read) }).await.unwrap();
    assert_eq!(answers[0]["status"], "success");
    for (number, answer) in answers[1..].iter().enumerate() {
        assert_eq!((&answer["request_id"], &answer["status"]), (&json!(number), &json!("success")));
    }
    assert_eq!(rig.hub.wanted().len(), INSTRUMENTS as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_may_come_in_fragments_and_in_binary_frames() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    let text = json!({"action": "authenticate", "api_key": rig.key}).to_string();
    let (head, tail) = text.split_at(20);
    for frame in [
        Frame::message(head.to_owned(), OpCode::Data(Data::Text), false),
        Frame::ping("between"),
        Frame::message(tail.to_owned(), OpCode::Data(Data::Continue), true),
    ] {
        client.socket.send(Message::Frame(frame)).await.unwrap();
    }
    let pong = timeout(PATIENCE, client.socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(pong, Message::Pong("between".into()));
    assert_eq!(client.next().await["status"], "success");
    client.socket.send(Message::binary(r#"{"action":"ping"}"#)).await.unwrap();
    assert_eq!(client.next().await["type"], "pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_beyond_the_limit_ends_this_connection_only() {
    let rig = Rig::start().await;
    let mut other = rig.authenticated().await;
    let mut client = rig.connect().await;
    client.socket.send(Message::text(" ".repeat(4097))).await.unwrap();
    assert_eq!(client.closed().await.0, Some(1009), "4 KiB before authentication");
    let mut client = rig.authenticated().await;
    client.socket.send(Message::text(" ".repeat(1 << 20))).await.unwrap();
    assert_eq!(code(&client.next().await), "INVALID_JSON", "1 MiB after it");
    let sent = client.socket.send(Message::text(" ".repeat((1 << 20) + 1))).await;
    assert!(sent.is_ok(), "{sent:?}");
    assert_eq!(client.closed().await.0, Some(1009));
    let mut client = rig.connect().await;
    client.socket.get_mut().write_all(&[0x81, 0x01, b'x']).await.unwrap();
    assert_eq!(client.closed().await.0, Some(1002), "clients mask");
    let mut client = rig.connect().await;
    client.socket.get_mut().write_all(&[0x81, 0x81, 0, 0, 0, 0, 0xff]).await.unwrap();
    assert_eq!(client.closed().await.0, Some(1007));
    assert_eq!(other.ask(json!({"action": "ping"})).await["type"], "pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_gets_the_latest_values_and_delays_nobody() {
    let mut rig = Rig::with(|s| s.overflow_bytes = 256 << 10).await;
    let numbers: Vec<u32> = (0..100).collect();
    let mut slow = rig.raw().await;
    for frame in [
        json!({"action": "authenticate", "api_key": rig.key}),
        json!({"action": "subscribe", "mode": 1, "symbols": numbers.iter().map(|n| json!({"symbol": format!("S{n}"), "exchange": "NSE"})).collect::<Vec<_>>()}),
    ] {
        slow.write_all(&client_frame(frame.to_string().as_bytes())).await.unwrap();
        server_frame(&mut slow).await;
    }
    let mut quick = rig.authenticated().await;
    quick.subscribe(&numbers, 1).await;

    // Until the kernel's buffers and ours are full, and some more.
    let (mut round, mut after) = (0, 0);
    let mut worst = Duration::ZERO;
    while after < 50 {
        round += 1;
        assert!(round < 20_000, "the slow consumer was never found out");
        let began = Instant::now();
        let ticks: Vec<_> = numbers.iter().map(|n| quote(*n, round)).collect();
        rig.publisher.publish(&ticks);
        rig.publisher.flush();
        for _ in &numbers {
            let frame = quick.next().await;
            assert_eq!(frame["data"]["volume"], round, "nothing is lost");
        }
        worst = worst.max(began.elapsed());
        after += u32::from(rig.gateway.census().take().slow == 1);
    }
    assert!(worst < Duration::from_secs(10), "{worst:?}");
    assert!(rig.gateway.counts().conflated > 0);

    // It reads again: whole frames, never an older value, and the latest at the end.
    let mut newest: BTreeMap<String, i64> = BTreeMap::new();
    let mut received = 0;
    while newest.len() < numbers.len() || newest.values().any(|v| *v < round) {
        let (first, payload) = server_frame(&mut slow).await;
        assert_eq!(first, 0x81);
        let frame: Value = serde_json::from_slice(&payload).unwrap();
        let value = frame["data"]["volume"].as_i64().unwrap();
        let before = newest.insert(frame["symbol"].as_str().unwrap().to_owned(), value);
        assert!(before.is_none_or(|b| b < value), "{before:?} then {value}");
        received += 1;
    }
    wait_for("it to be quick again", || rig.gateway.census().take().slow == 0).await;
    let counts = rig.gateway.counts();
    let all = round as u64 * numbers.len() as u64;
    assert_eq!(counts.frames, all + received, "what was sent is what was read");
    assert_eq!(received + counts.conflated, all, "what was not sent was counted");
    rig.quote(3, round + 1);
    let (_, payload) = server_frame(&mut slow).await;
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap()["data"]["volume"], round + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_without_reading_the_answers_is_not_read_until_it_does() {
    let rig = Rig::with(|s| s.max_commands_per_second = 100_000_000).await;
    let socket = rig.raw().await;
    let (mut reading, mut writing) = socket.into_split();
    let frame = client_frame(br#"{"action":"ping"}"#);
    let many = frame.repeat(1_000);
    // Until the server takes no more.
    let mut sent = 0_usize;
    while let Ok(written) =
        timeout(Duration::from_millis(500), writing.write(&many[sent % frame.len()..])).await
    {
        sent += written.unwrap();
        assert!(sent < 1 << 30, "the server takes everything and keeps the answers");
    }
    let rest = many[sent % frame.len()..frame.len()].to_vec();
    let asked = sent.div_ceil(frame.len());
    let whole = sent.is_multiple_of(frame.len());
    let write = async {
        if !whole {
            writing.write_all(&rest).await.unwrap();
        }
    };
    let read = async {
        for _ in 0..asked {
            assert_eq!(reading.read_u8().await.unwrap(), 0x81);
            let len = reading.read_u8().await.unwrap();
            let mut payload = vec![0; usize::from(len)];
            reading.read_exact(&mut payload).await.unwrap();
            assert!(payload.starts_with(br#"{"type":"pong""#));
        }
    };
    timeout(PATIENCE, async { tokio::join!(write, read) }).await.expect("every question is answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_commands_than_allowed_wait_for_the_next_second() {
    let rig = Rig::with(|s| s.max_commands_per_second = 20).await;
    let began = Instant::now();
    let mut client = rig.authenticated().await;
    for number in 0..50 {
        client.send(json!({"action": "ping", "_pingId": number})).await;
    }
    for number in 0..50 {
        assert_eq!(client.next().await["_pingId"], number);
    }
    assert!(began.elapsed() > Duration::from_millis(1_500), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_its_connections_at_once() {
    let mut rig = Rig::start().await;
    let other = rig.keys.create("bob", Scopes::DEFAULT).await.unwrap();
    let (mut first, mut second) = (rig.authenticated().await, rig.authenticated().await);
    let mut bob = rig.connect().await;
    bob.authenticate(other.expose()).await;
    for client in [&mut first, &mut bob] {
        client.subscribe(&[1], 1).await;
    }
    rig.keys.revoke("alice").await.unwrap();
    assert_eq!(first.closed().await.0, Some(4403));
    assert_eq!(second.closed().await.0, Some(4403));
    rig.quote(1, 5);
    assert_eq!(bob.next().await["data"]["ltp"], 0.05);
    let answer = rig.connect().await.ask(json!({"action": "authenticate", "api_key": rig.key})).await;
    assert_eq!(code(&answer), "AUTHENTICATION_ERROR");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_says_goodbye_and_does_not_wait_for_the_deaf() {
    let rig = Rig::start().await;
    let mut client = rig.authenticated().await;
    client.subscribe(&[1], 1).await;
    let _deaf = rig.raw().await;
    let _mute = TcpStream::connect(rig.gateway.addr()).await.unwrap();
    wait_for("both to be there", || rig.gateway.census().take().count == 2).await;
    let addr = rig.gateway.addr();
    let began = Instant::now();
    let stopping = timeout(PATIENCE, rig.gateway.stop(Duration::from_millis(800)));
    let (stopped, (code, _)) = tokio::join!(stopping, client.closed());
    assert_eq!((stopped, code), (Ok(()), Some(1001)));
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(rig.hub.wanted().is_empty(), "nothing is held any more");
    assert!(TcpStream::connect(addr).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_wait_in_order_for_the_instrument_list() {
    let mut rig = Rig::without_master(|_| ()).await;
    let mut client = rig.authenticated().await;
    client
        .send(json!({"action": "subscribe", "symbol": "S1", "exchange": "NSE", "mode": 1, "request_id": 1}))
        .await;
    client.send(json!({"action": "subscribe", "symbol": "NOPE", "exchange": "NSE", "request_id": 2})).await;
    client.send(json!({"action": "ping", "_pingId": 3})).await;
    // Pings of the protocol are answered meanwhile: a client must not take us for dead.
    client.socket.send(Message::Ping("x".into())).await.unwrap();
    let pong = timeout(PATIENCE, client.socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(pong, Message::Pong("x".into()));
    rig.master.store(master());
    let ack = client.next().await;
    assert_eq!((&ack["request_id"], &ack["status"]), (&json!(1), &json!("success")));
    let ack = client.next().await;
    assert_eq!((&ack["request_id"], &ack["status"]), (&json!(2), &json!("partial")));
    assert_eq!(client.next().await["_pingId"], 3);
    rig.quote(1, 5);
    assert_eq!(client.next().await["mode"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_instrument_list_each_symbol_fails_in_the_end() {
    let rig = Rig::without_master(|s| s.master_wait_ms = 100).await;
    let mut client = rig.authenticated().await;
    let ack = client.subscribe(&[1, 2], 1).await;
    assert_eq!(ack["status"], "partial");
    for entry in ack["subscriptions"].as_array().unwrap() {
        assert_eq!(entry["message"], "instrument list not loaded yet");
    }
    assert_eq!(client.ask(json!({"action": "ping"})).await["type"], "pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_no_ping_is_taken_for_gone() {
    let rig = Rig::with(|s| (s.ping_interval_ms, s.ping_timeout_ms) = (200, 1_500)).await;
    let mut alive = rig.authenticated().await;
    let mut deaf = rig.raw().await;
    deaf.write_all(&client_frame(json!({"action": "auth", "api_key": rig.key}).to_string().as_bytes()))
        .await
        .unwrap();
    let read = async {
        let mut seen = Vec::new();
        while !seen.contains(&0x88) {
            let (first, payload) = server_frame(&mut deaf).await;
            if first == 0x88 {
                assert_eq!(payload[..2], 1011_u16.to_be_bytes());
            }
            seen.push(first);
        }
        seen
    };
    // The other one answers, as every client library does by itself.
    let answer = async { while alive.socket.next().await.is_some_and(|m| m.is_ok()) {} };
    let seen = tokio::select! {
        seen = read => seen,
        () = answer => panic!("who answers stays"),
    };
    assert!(seen.contains(&0x89), "{seen:x?}");
    wait_for("it to be gone", || rig.gateway.census().take().count == 1).await;
    assert_eq!(alive.ask(json!({"action": "ping"})).await["type"], "pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_panics_is_made_anew() {
    let mut rig = Rig::start().await;
    let mut client = rig.authenticated().await;
    client.subscribe(&[1], 1).await;
    rig.gateway.panic_shards();
    while let Some(Ok(_)) = client.message().await {}
    wait_for("nothing to be held", || rig.hub.wanted().is_empty()).await;
    wait_for("nobody to be counted", || rig.gateway.census().take().count == 0).await;
    let mut client = rig.authenticated().await;
    client.subscribe(&[1], 1).await;
    rig.quote(1, 5);
    assert_eq!(client.next().await["data"]["ltp"], 0.05);
    timeout(PATIENCE, rig.gateway.stop(Duration::from_secs(5))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_are_refused() {
    let rig = Rig::with(|s| (s.max_consumers, s.handshake_timeout_ms) = (2, 2_000)).await;
    let addr = rig.gateway.addr();
    let connect = |origin: &'static str| async move {
        let mut request = format!("ws://{addr}/").into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        let socket = TcpStream::connect(addr).await.unwrap();
        match client_async(request, socket).await {
            Ok(_) => 101,
            Err(Error::Http(response)) => response.status().as_u16(),
            Err(e) => panic!("{e}"),
        }
    };
    assert_eq!(connect("http://evil.example").await, 403);
    assert_eq!(connect("http://127.0.0.1:9999").await, 101);

    let mut plain = TcpStream::connect(addr).await.unwrap();
    plain.write_all(format!("GET / HTTP/1.1\r\nHost: {addr}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, plain.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains("gateway.http_listen"), "{answer}");
    drop(plain);

    // Who says nothing is not waited for.
    let mut mute = TcpStream::connect(addr).await.unwrap();
    assert_eq!(timeout(PATIENCE, mute.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);

    let places = wait_for_places(&rig, 2).await;
    assert_eq!(connect("http://127.0.0.1").await, 503, "full");
    drop(places);
    let deadline = Instant::now() + PATIENCE;
    while connect("http://127.0.0.1").await != 101 {
        assert!(Instant::now() < deadline, "places are given back");
    }
}

/// Takes all places, which those before may just be leaving.
async fn wait_for_places(rig: &Rig, count: usize) -> Vec<Client> {
    let mut places = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while places.len() < count {
        assert!(Instant::now() < deadline, "there is room");
        let socket = TcpStream::connect(rig.gateway.addr()).await.unwrap();
        if let Ok((socket, _)) = client_async(format!("ws://{}/", rig.gateway.addr()), socket).await {
            places.push(Client { socket });
        }
    }
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_broker_is_told_to_its_holders_once() {
    let rig = Rig::start().await;
    let (mut holder, mut other) = (rig.authenticated().await, rig.authenticated().await);
    for mode in 1..=3 {
        holder.subscribe(&[1, 2], mode).await;
    }
    other.subscribe(&[2], 1).await;
    rig.hub.reject(instrument(1), Part::Prices, "no such scrip");
    let expected = json!({"status":"error","code":"SUBSCRIPTION_REJECTED","message":"no such scrip","symbol":"S1","exchange":"NSE"});
    assert_eq!(holder.next().await, expected);
    for client in [&mut holder, &mut other] {
        assert_eq!(client.ask(json!({"action": "ping"})).await["type"], "pong", "and nothing else");
    }
    // Who comes later learns it from the answer, until the session tries again.
    let ack = other.subscribe(&[1], 1).await;
    assert_eq!(ack["subscriptions"][0]["message"], "no such scrip");
    rig.hub.clear_rejection(instrument(1), Part::Prices);
    assert_eq!(other.subscribe(&[1], 1).await["status"], "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_has_no_room_for_fails_in_the_acknowledgement() {
    let rig = Rig::with(|s| s.shards = 2).await;
    rig.hub.set_budget(2);
    let (mut first, mut second) = (rig.authenticated().await, rig.authenticated().await);
    // The symbols of one frame count each other.
    let ack = first.subscribe(&[1, 2, 3], 1).await;
    assert_eq!(ack["status"], "partial", "{ack}");
    let failed = &ack["subscriptions"][2];
    assert_eq!(failed["message"], "Maximum capacity reached: the broker grants 2 subscriptions");
    assert_eq!(
        second.subscribe(&[3], 2).await["subscriptions"][0]["status"],
        "error",
        "on another shard too"
    );
    assert_eq!(first.subscribe(&[1], 4).await["subscriptions"][0]["status"], "error", "bars need a slot");
    // What is carried already is to be had in every mode; what was refused is not held.
    assert_eq!(second.subscribe(&[1, 2], 3).await["status"], "success");
    assert_eq!(rig.hub.wanted().len(), 2);
    let gone = json!([{"symbol": "S2", "exchange": "NSE", "mode": 1}]);
    first.ask(json!({"action": "unsubscribe", "symbols": gone})).await;
    assert_eq!(first.subscribe(&[3], 1).await["status"], "partial", "the other still holds it");
    let gone = json!([{"symbol": "S2", "exchange": "NSE", "mode": 3}]);
    second.ask(json!({"action": "unsubscribe", "symbols": gone})).await;
    assert_eq!(first.subscribe(&[3], 1).await["status"], "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_come_only_to_who_asked_for_them_and_are_refused_apart_from_prices() {
    let mut rig = Rig::start().await;
    let (mut plain, mut bars) = (rig.authenticated().await, rig.authenticated().await);
    for mode in 1..=3 {
        plain.subscribe(&[1], mode).await;
    }
    let ack =
        bars.ask(json!({"action": "subscribe", "symbol": "S1", "exchange": "NSE", "mode": "bar"})).await;
    assert_eq!((&ack["status"], &ack["subscriptions"][0]["mode"]), (&json!("success"), &json!("Bar")));
    let start = UnixNanos::from_secs(60);
    let bar = Bar { start, close: Price::from_rupees(5), ..Bar::default() };
    rig.publisher.publish(&[tick(1, TickBody::Bar(bar))]);
    rig.publisher.flush();
    let frame = bars.next().await;
    assert_eq!((&frame["mode"], &frame["data"]["timestamp"]), (&json!(4), &json!(60_000)));
    rig.hub.reject(instrument(1), Part::Bars, "no bars");
    assert_eq!(code(&bars.next().await), "SUBSCRIPTION_REJECTED");
    assert_eq!(plain.ask(json!({"action": "ping"})).await["type"], "pong", "nothing else came");
    assert_eq!(bars.subscribe(&[1], 2).await["status"], "success");
    let gone = json!([{"symbol": "S1", "exchange": "NSE", "mode": 4}]);
    bars.ask(json!({"action": "unsubscribe", "symbols": gone})).await;
    assert_eq!(bars.subscribe(&[1], 4).await["subscriptions"][0]["message"], "no bars");
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_of_several_shards_get_the_same() {
    let mut rig = Rig::with(|s| s.shards = 3).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(rig.authenticated().await);
    }
    clients[0].subscribe(&[1, 2], 2).await;
    rig.publisher.publish(&[quote(1, 500), quote(2, 600)]);
    rig.publisher.flush();
    assert_eq!(
        [clients[0].next().await["data"]["ltp"].clone(), clients[0].next().await["data"]["ltp"].clone()],
        [5.0, 6.0]
    );
    for client in &mut clients[1..] {
        client.subscribe(&[1, 2], 2).await;
        rig.publisher.refresh();
        rig.publisher.flush();
        let mut got =
            [client.next().await["data"]["ltp"].clone(), client.next().await["data"]["ltp"].clone()];
        got.sort_by(|a, b| a.as_f64().partial_cmp(&b.as_f64()).unwrap());
        assert_eq!(got, [5.0, 6.0], "the last values, whichever shard it is");
    }
    rig.quote(1, 700);
    for client in &mut clients {
        assert_eq!(client.next().await["data"]["ltp"], 7.0, "each tick once");
    }
    assert_eq!(rig.gateway.census().take().count, 6);
    assert_eq!(rig.hub.wanted().len(), 2);
    drop(clients);
    wait_for("them to be gone", || rig.gateway.census().take().count == 0 && rig.hub.wanted().is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_closes_is_answered_in_kind() {
    let rig = Rig::start().await;
    let mut client = rig.authenticated().await;
    client.subscribe(&[1], 1).await;
    client.socket.close(None).await.unwrap();
    let began = Instant::now();
    let last = client.message().await;
    assert!(matches!(last, Some(Ok(Message::Close(_)))), "{last:?}");
    assert!(client.message().await.is_none());
    assert!(began.elapsed() < Duration::from_secs(2), "the server ends it, and soon");
    wait_for("it to be gone", || rig.gateway.census().take().count == 0 && rig.hub.wanted().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_flush_interval_ticks_are_gathered_and_none_is_late_for_long() {
    let mut rig = Rig::with(|s| s.flush_interval_us = 50_000).await;
    let mut client = rig.authenticated().await;
    client.subscribe(&[1], 1).await;
    let before = rig.gateway.counts();
    for value in 1..=200 {
        rig.quote(1, value);
    }
    for value in 1..=200 {
        assert_eq!(client.next().await["data"]["volume"], value);
    }
    let writes = rig.gateway.counts().writes - before.writes;
    assert!(writes < 100, "{writes} writes for 200 ticks");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_full_load_newcomers_are_served_and_revoked_keys_are_closed() {
    let rig = Rig::start().await;
    let numbers: Vec<u32> = (0..INSTRUMENTS).collect();
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut reader = rig.authenticated().await;
        reader.subscribe(&numbers, 1).await;
        readers.push(tokio::spawn(async move {
            let mut sink = vec![0; 1 << 16];
            while reader.socket.get_mut().read(&mut sink).await.is_ok_and(|len| len > 0) {}
        }));
    }
    let mut publisher = rig.hub.publisher(FeedId(1));
    let load = tokio::spawn(async move {
        for round in 0.. {
            let ticks: Vec<_> = numbers.iter().map(|n| quote(*n, round)).collect();
            publisher.publish(&ticks);
            publisher.flush();
            publisher.ready().await;
            tokio::task::yield_now().await;
        }
    });
    let bob = rig.keys.create("bob", Scopes::DEFAULT).await.unwrap();
    let mut client = rig.connect().await;
    client.authenticate(bob.expose()).await;
    client.subscribe(&[1], 1).await;
    assert_eq!(client.next().await["symbol"], "S1");
    rig.keys.revoke("bob").await.unwrap();
    assert_eq!(client.closed().await.0, Some(4403));
    load.abort();
    rig.gateway.stop(Duration::from_secs(5)).await;
    for reader in readers {
        timeout(PATIENCE, reader).await.unwrap().unwrap();
    }
}

fn order_update(id: &str) -> OrderUpdate {
    let order = Order {
        id: id.to_owned(),
        exchange_id: String::new(),
        unique_id: String::new(),
        account: String::new(),
        instrument: instrument(1),
        symbol: "S1-EQ".to_owned(),
        side: Side::Sell,
        kind: OrderKind::Limit,
        product: "MIS".to_owned(),
        validity: "DAY".to_owned(),
        quantity: 1,
        filled: 0,
        left: 1,
        price: Price::from_rupees(10),
        trigger: Price::default(),
        average: None,
        status: OrderStatus::Open,
        reason: String::new(),
        placed_at: None,
        updated_at: None,
    };
    OrderUpdate { account: "default".into(), order }
}

#[tokio::test]
async fn orders_are_told_to_those_who_asked_and_may_know() {
    let rig = Rig::start().await;
    let mut witness = rig.authenticated().await;
    witness.ask(json!({"action": "subscribe_orders"})).await;
    let mut told = rig.authenticated().await;
    let mut silent = rig.authenticated().await;
    let ack = told.ask(json!({"action": "subscribe_orders", "request_id": 3})).await;
    assert_eq!(
        ack,
        json!({"type": "subscribe_orders", "status": "success", "message": "Subscribed to order updates", "request_id": 3})
    );
    let ticks_only = rig.keys.create("ticks", [Scope::Feed].into_iter().collect()).await.unwrap();
    let mut curious = rig.connect().await;
    curious.authenticate(ticks_only.expose()).await;
    let refusal = curious.ask(json!({"action": "subscribe_orders"})).await;
    assert_eq!(code(&refusal), "AUTHENTICATION_ERROR");
    assert_eq!(refusal["message"], "This API key has no scope \"account\"");

    rig.hub.publish_order(order_update("1"));
    rig.hub.publish_order(order_update("2"));
    for id in ["1", "2"] {
        let frame = told.next().await;
        assert_eq!((&frame["type"], &frame["orderid"]), (&json!("order_update"), &json!(id)));
        assert_eq!((&frame["user_id"], &frame["mode"]), (&json!("alice"), &json!("live")));
        assert_eq!((&frame["symbol"], &frame["exchange"]), (&json!("S1"), &json!("NSE")));
        assert_eq!(frame["account"], "default");
    }
    told.ask(json!({"action": "unsubscribe_orders"})).await;
    rig.hub.publish_order(order_update("3"));
    // It has been told to all who want it, once one has it.
    for id in ["1", "2", "3"] {
        assert_eq!(witness.next().await["orderid"], id);
    }
    for client in [&mut told, &mut silent, &mut curious] {
        assert_eq!(client.ask(json!({"action": "ping"})).await["type"], "pong");
    }
}
