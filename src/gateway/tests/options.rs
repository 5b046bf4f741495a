//! What consumers get that ask for more than OpenAlgo has, and that others notice nothing of it.

use super::*;
use crate::protocol::close::CloseReason;

impl Client {
    async fn subscribe_as(&mut self, number: u32, options: Value) -> Value {
        self.ask(json!({"action": "subscribe", "symbol": format!("S{number}"), "exchange": "NSE", "mode": 1,
            "tickgate": options}))
            .await
    }

    /// Values of the frames that were sent before now, in order.
    async fn volumes(&mut self) -> Vec<i64> {
        self.send(json!({"action": "ping"})).await;
        let mut found = Vec::new();
        loop {
            let frame = self.next().await;
            if frame["type"] == "pong" {
                return found;
            }
            found.push(frame["data"]["volume"].as_i64().unwrap());
        }
    }
}

impl Rig {
    fn quotes(&mut self, number: u32, values: std::ops::RangeInclusive<i64>) {
        let ticks: Vec<_> = values.map(|value| quote(number, value)).collect();
        self.publisher.publish(&ticks);
        self.publisher.flush();
    }

    /// A raw connection that has asked for this much and reads nothing from now on.
    async fn deaf(&self, wishes: Value, numbers: &[u32], options: Value) -> TcpStream {
        let mut socket = self.raw().await;
        let symbols: Vec<_> =
            numbers.iter().map(|n| json!({"symbol": format!("S{n}"), "exchange": "NSE"})).collect();
        for frame in [
            json!({"action": "authenticate", "api_key": self.key, "tickgate": wishes}),
            json!({"action": "subscribe", "mode": 1, "symbols": symbols, "tickgate": options}),
        ] {
            socket.write_all(&client_frame(frame.to_string().as_bytes())).await.unwrap();
            server_frame(&mut socket).await;
        }
        socket
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_told_what_is_granted() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    for (wishes, granted) in [
        (json!({}), json!({"conflated": false, "seq": false, "state": false})),
        (json!({"conflated": true}), json!({"conflated": true, "seq": false, "state": false})),
        (json!({"state": true, "dance": 1}), json!({"conflated": true, "seq": false, "state": true})),
        (
            json!({"state": true, "conflated": false}),
            json!({"conflated": false, "seq": false, "state": true}),
        ),
    ] {
        let answer =
            client.ask(json!({"action": "authenticate", "api_key": rig.key, "tickgate": wishes})).await;
        assert_eq!((&answer["status"], &answer["tickgate"]), (&json!("success"), &granted), "{wishes}");
    }
    let answer =
        client.ask(json!({"action": "authenticate", "api_key": rig.key, "tickgate": {"conflated": 1}})).await;
    assert_eq!(code(&answer), "INVALID_PARAMETERS");
    assert_eq!(answer["message"], "tickgate.conflated must be true or false, not 1");
    let answer = client.ask(json!({"action": "authenticate", "api_key": rig.key})).await;
    assert_eq!(answer.get("tickgate"), None, "who does not ask is told nothing");

    let answer = client.subscribe_as(1, json!({"policy": "all"})).await;
    assert_eq!(code(&answer), "INVALID_PARAMETERS");
    assert_eq!(answer["message"], "tickgate.policy must be \"conflate\" or \"every\", not \"all\"");
    assert!(rig.hub.wanted().is_empty(), "and nothing was subscribed");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_burst_the_first_comes_at_once_and_the_last_when_the_interval_ends() {
    let mut rig = Rig::start().await;
    let (mut paced, mut plain) = (rig.authenticated().await, rig.authenticated().await);
    // So long that nothing below takes as long.
    assert_eq!(paced.subscribe_as(1, json!({"interval_ms": 3_600_000})).await["status"], "success");
    plain.subscribe(&[1], 1).await;
    rig.quotes(1, 1..=10);
    for value in 1..=10 {
        assert_eq!(plain.next().await["data"]["volume"], value);
    }
    assert_eq!(paced.volumes().await, [1]);
    // A subscription that says nothing of it leaves it as it is.
    paced.subscribe(&[1], 1).await;
    rig.quotes(1, 11..=12);
    for value in 11..=12 {
        assert_eq!(plain.next().await["data"]["volume"], value);
    }
    assert!(paced.volumes().await.is_empty());
    // The last one is not lost, even if nothing comes any more.
    assert_eq!(paced.subscribe_as(1, json!({"interval_ms": 20})).await["status"], "success");
    assert_eq!(paced.next().await["data"]["volume"], 12);
    // All of them again.
    assert_eq!(paced.subscribe_as(1, json!({})).await["status"], "success");
    rig.quotes(1, 13..=15);
    for value in 13..=15 {
        assert_eq!(paced.next().await["data"]["volume"], value);
    }
    wait_for("the counts", || rig.gateway.counts().throttled == 10).await;
    assert_eq!((rig.gateway.counts().conflated, rig.gateway.census().take().slow), (0, 0));
    // A newcomer's first frame is the latest value; then its interval runs.
    let mut late = rig.authenticated().await;
    late.subscribe_as(1, json!({"interval_ms": 3_600_000})).await;
    assert_eq!(late.next().await["data"]["volume"], 15);
    rig.quotes(1, 16..=16);
    for value in 13..=16 {
        assert_eq!(plain.next().await["data"]["volume"], value);
    }
    assert!(late.volumes().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_every_frame_and_does_not_read_is_closed_and_misses_none_before() {
    let mut rig = Rig::with(|s| (s.overflow_bytes, s.close_timeout_ms) = (256 << 10, 600_000)).await;
    let mut slow = rig.deaf(json!({}), &[1], json!({"policy": "every"})).await;
    let mut quick = rig.authenticated().await;
    quick.subscribe_as(1, json!({"policy": "every"})).await;
    let mut published = 0;
    while rig.gateway.census().take().count == 2 {
        assert!(published < 1_000_000, "the slow consumer was never found out");
        rig.quotes(1, published + 1..=published + 200);
        for value in published + 1..=published + 200 {
            assert_eq!(quick.next().await["data"]["volume"], value, "nobody else is concerned");
        }
        published += 200;
    }
    // It reads again: every frame up to one, then why there are no more.
    let mut expected = 1;
    loop {
        let (first, payload) = server_frame(&mut slow).await;
        if first == 0x88 {
            assert_eq!(payload[..2], CloseReason::TooSlow.code().to_be_bytes());
            assert_eq!(&payload[2..], b"too slow");
            break;
        }
        let frame: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!((&frame["type"], &frame["data"]["volume"]), (&json!("market_data"), &json!(expected)));
        expected += 1;
    }
    assert!(expected > 1 && expected <= published, "{expected} of {published}");
    assert_eq!(rig.gateway.counts().conflated, 0);
    assert_eq!(quick.ask(json!({"action": "ping"})).await["type"], "pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_to_know_is_told_how_many_frames_gave_way() {
    let mut rig = Rig::with(|s| s.overflow_bytes = 64 << 10).await;
    let numbers: Vec<u32> = (0..20).collect();
    let mut slow = rig.deaf(json!({"conflated": true}), &numbers, json!({})).await;
    let (mut round, mut after) = (0, 0);
    while after < 50 {
        round += 1;
        assert!(round < 100_000, "the slow consumer was never found out");
        let ticks: Vec<_> = numbers.iter().map(|n| quote(*n, round)).collect();
        rig.publisher.publish(&ticks);
        rig.publisher.flush();
        rig.publisher.ready().await;
        after += u32::from(rig.gateway.census().take().slow == 1);
    }
    let mut newest: BTreeMap<String, i64> = BTreeMap::new();
    let mut told: BTreeMap<String, i64> = BTreeMap::new();
    let mut skipped = 0;
    while newest.len() < numbers.len() || newest.values().any(|v| *v < round) {
        let (first, payload) = server_frame(&mut slow).await;
        assert_eq!(first, 0x81);
        let frame: Value = serde_json::from_slice(&payload).unwrap();
        let symbol = frame["symbol"].as_str().unwrap().to_owned();
        if frame["type"] == "conflated" {
            assert_eq!((&frame["exchange"], &frame["mode"]), (&json!("NSE"), &json!(1)));
            assert!(frame["span_ms"].as_u64().is_some(), "{frame}");
            let count = frame["skipped"].as_i64().unwrap();
            assert_eq!(told.insert(symbol, count), None, "once per value");
            skipped += count;
            continue;
        }
        let value = frame["data"]["volume"].as_i64().unwrap();
        let before = newest.insert(symbol.clone(), value).unwrap_or(0);
        assert_eq!(value - before - 1, told.remove(&symbol).unwrap_or(0), "{symbol}: {before}, {value}");
    }
    assert!(skipped > 0 && told.is_empty());
    wait_for("the counts", || rig.gateway.counts().conflated == skipped as u64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_sequence_numbers_gets_them_beside_what_the_others_get() {
    let mut rig = Rig::start().await;
    let mut plain = rig.authenticated().await;
    let mut numbered = rig.connect().await;
    let wishes = json!({"action": "authenticate", "api_key": rig.key, "tickgate": {"seq": true}});
    assert_eq!(numbered.ask(wishes.clone()).await["tickgate"]["seq"], true);
    for client in [&mut plain, &mut numbered] {
        for mode in [1, 2] {
            client.subscribe(&[1, 2], mode).await;
        }
    }
    let mut epoch = None;
    for seq in 1..=3 {
        rig.quote(1, 100 + seq);
        rig.quote(2, 200 + seq);
        for _ in 0..4 {
            let (mut frame, other) = (numbered.next().await, plain.next().await);
            let members = frame.as_object_mut().unwrap();
            assert_eq!(members.remove("seq"), Some(json!(seq)), "of each instrument");
            let life = members.remove("epoch");
            assert!(life.as_ref().is_some_and(|life| *epoch.get_or_insert_with(|| life.clone()) == *life));
            assert_eq!(frame, other, "nothing else differs");
        }
    }
    // What is held goes on as it is, whatever is asked for now; the answer says so.
    let ask = json!({"action": "authenticate", "api_key": rig.key, "tickgate": {"seq": false}});
    assert_eq!(numbered.ask(ask.clone()).await["tickgate"]["seq"], true);
    rig.quote(1, 5);
    assert_eq!(numbered.next().await["seq"], 4);
    assert_eq!(numbered.next().await["seq"], 4);
    numbered.ask(json!({"action": "unsubscribe_all"})).await;
    assert_eq!(numbered.ask(ask).await["tickgate"]["seq"], false);
    numbered.subscribe(&[1], 1).await;
    rig.quote(1, 6);
    assert_eq!(numbered.next().await.get("seq"), None);
}
