//! The polling start of the simulated broker, request by request. That real clients get along with it
//! is `peers_wire`.

use super::*;

const PATH: &str = "/apibinarymarketdata/socket.io/";

/// A polling session.
struct Poller<'a> {
    client: &'a Client,
    url: String,
    sid: String,
}

impl<'a> Poller<'a> {
    /// Opens one, and takes the greeting apart.
    async fn open(client: &'a Client) -> Self {
        let query =
            format!("token={}&userID=SIM01&broadcastMode=Full&transport=polling&EIO=3&b64=1", client.token);
        let url = format!("{}{PATH}?{query}", client.base);
        let mut poller = Self { client, url, sid: String::new() };
        let (status, greeting) = poller.get().await;
        assert_eq!(status, 200, "{greeting}");
        let packets = packets(&greeting);
        let open: Value = serde_json::from_str(packets[0].strip_prefix('0').expect("it opens")).unwrap();
        assert_eq!(open["upgrades"], json!(["websocket"]));
        assert_eq!(packets[1], "40");
        assert!(packets[2].starts_with("42[\"joined\","), "{packets:?}");
        open["sid"].as_str().unwrap().clone_into(&mut poller.sid);
        assert!(poller.sid.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)), "{}", poller.sid);
        poller.url = format!("{}&sid={}", poller.url, poller.sid);
        poller
    }

    async fn get(&self) -> (u16, String) {
        let answer = self.client.http.get(&self.url).timeout(PATIENCE).send().await.expect("it answers");
        (answer.status().as_u16(), answer.text().await.expect("it is text"))
    }

    async fn post(&self, body: &str) -> (u16, String) {
        let request = self
            .client
            .http
            .post(&self.url)
            .timeout(PATIENCE)
            .header("content-type", "text/plain;charset=UTF-8");
        let answer = request.body(body.to_owned()).send().await.expect("it answers");
        (answer.status().as_u16(), answer.text().await.expect("it is text"))
    }

    /// Polls until a packet is as wanted; what comes unasked is left out.
    async fn poll_for(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        for _ in 0..100 {
            let (status, body) = self.get().await;
            assert_eq!(status, 200, "{body}");
            if let Some(packet) = packets(&body).into_iter().find(|packet| is_it(packet)) {
                return packet;
            }
        }
        panic!("no {what} came");
    }

    /// Waits until the session is unknown.
    async fn forgotten(&self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.post("1:6").await != (400, r#"{"code":1,"message":"Session ID unknown"}"#.to_owned()) {
            assert!(tokio::time::Instant::now() < deadline, "it lives on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The packets of a text payload; all are ASCII here.
fn packets(mut body: &str) -> Vec<String> {
    let mut found = Vec::new();
    while !body.is_empty() {
        let (length, rest) = body.split_once(':').unwrap_or_else(|| panic!("no payload: {body}"));
        let (packet, rest) = rest.split_at(length.parse().expect("is a length"));
        found.push(packet.to_owned());
        body = rest;
    }
    found
}

#[tokio::test]
async fn polls_hang_until_there_is_something_and_posts_are_heard() {
    let sim = start(Settings::default(), None).await;
    let client = Client::login(&sim).await;
    let poller = Poller::open(&client).await;
    // Its answer goes to a poll, in order.
    assert_eq!(poller.post("4:2abc").await, (200, "ok".to_owned()));
    poller.poll_for("pong", |packet| packet == "3abc").await;
    assert_eq!(client.subscribe(1501, &[2885]).await.0, 200);
    let binary = poller.poll_for("tick", |packet| packet.starts_with("b4")).await;
    assert!(binary.len() > 100);
    // The client's goodbye ends the session.
    assert_eq!(poller.post("1:1").await.0, 200);
    assert_eq!(poller.poll_for("goodbye", |packet| packet == "1").await, "1");
    poller.forgotten().await;
    sim.stop().await;
}

#[tokio::test]
async fn a_session_changes_over_to_a_websocket_once() {
    let sim = start(Settings::default(), None).await;
    let client = Client::login(&sim).await;
    let poller = Poller::open(&client).await;
    let url = poller.url.replace("http", "ws").replace("transport=polling", "transport=websocket");
    let connect = async || tokio_tungstenite::connect_async(&url).await.map(|(socket, _)| Feed { socket });
    // One that gives up leaves the session as it was.
    let mut gone = connect().await.unwrap();
    gone.socket.send(Message::text("2probe")).await.unwrap();
    assert_eq!(gone.text().await, "3probe");
    assert!(matches!(connect().await, Err(Error::Http(response)) if response.status() == 400));
    drop(gone);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut feed = loop {
        assert!(tokio::time::Instant::now() < deadline, "it does not go back");
        if let Ok(mut feed) = connect().await {
            feed.socket.send(Message::text("2probe")).await.unwrap();
            if feed.next().await == Some(Message::text("3probe")) {
                break feed;
            }
        }
    };
    // The poll that hangs is let go.
    poller.poll_for("noop", |packet| packet == "6").await;
    feed.socket.send(Message::text("5")).await.unwrap();
    assert_eq!(client.subscribe(1501, &[2885]).await.0, 200);
    assert!(feed.packet().await.len() > 100);
    poller.forgotten().await;
    feed.socket.send(Message::text("2x")).await.unwrap();
    while feed.next().await.expect("it lives") != Message::text("3x") {}
    sim.stop().await;
}

#[tokio::test]
async fn silence_nonsense_and_two_polls_at_once_end_a_session() {
    let settings = Settings { ping_interval_ms: 200, ping_timeout_ms: 200, ..Settings::default() };
    let sim = start(settings, None).await;
    let client = Client::login(&sim).await;
    let poller = Poller::open(&client).await;
    // Polling is no packet, so it dies of silence; the last poll ends with it.
    while client.http.get(&poller.url).timeout(PATIENCE).send().await.is_ok_and(|a| a.status() == 200) {}
    poller.forgotten().await;
    sim.stop().await;

    let sim = start(Settings::default(), None).await;
    let client = Client::login(&sim).await;
    for body in ["", "nonsense", "9:2"] {
        let poller = Poller::open(&client).await;
        assert_eq!(poller.post(body).await.0, 400, "{body:?}");
        poller.forgotten().await;
    }
    let poller = Poller::open(&client).await;
    // Too much; it may hang up before all of it was sent.
    let answer = client.http.post(&poller.url).body("1:6".repeat(400_000)).send().await;
    assert!(answer.map_or(true, |answer| answer.status() == 413));
    poller.forgotten().await;

    let poller = Poller::open(&client).await;
    let hanging =
        async { while client.http.get(&poller.url).send().await.is_ok_and(|a| a.status() == 200) {} };
    let other = async { while client.http.get(&poller.url).send().await.is_ok_and(|a| a.status() == 200) {} };
    timeout(PATIENCE, async { tokio::join!(hanging, other) }).await.expect("both end");
    poller.forgotten().await;
    let answer =
        client.http.post(poller.url.replace(&format!("&sid={}", poller.sid), "")).send().await.unwrap();
    assert_eq!(answer.status(), 400, "a handshake is no post");
    sim.stop().await;
}
