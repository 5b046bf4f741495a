//! Consumers that come back and say what they have seen: no hole that is not declared, nothing twice.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Connected, with a key and sequence numbers.
async fn numbered(rig: &Rig) -> Client {
    let mut client = rig.connect().await;
    let frame = json!({"action": "authenticate", "api_key": rig.key, "tickgate": {"seq": true}});
    assert_eq!(client.ask(frame).await["tickgate"]["seq"], true);
    client
}

async fn subscribe(client: &mut Client, number: u32, mode: u8, options: Value) -> Value {
    let symbol = format!("S{number}");
    client
        .ask(json!({"action": "subscribe", "symbol": symbol, "exchange": "NSE", "mode": mode, "tickgate": options}))
        .await
}

/// Sequence numbers of the frames that were sent before now, and the gaps declared, in order.
async fn seen(client: &mut Client) -> Vec<Value> {
    client.send(json!({"action": "ping"})).await;
    let mut found = Vec::new();
    loop {
        let frame = client.next().await;
        match frame["type"].as_str() {
            Some("pong") => return found,
            Some("gap") => found.push(json!([frame["after_seq"], frame["to_seq"]])),
            _ => found.push(frame["seq"].clone()),
        }
    }
}

impl Rig {
    /// One tick after the other, and not before the shard has given each to whoever holds it.
    fn publish_each(&mut self, number: u32, values: std::ops::RangeInclusive<i64>) {
        for value in values {
            self.quote(number, value);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_comes_first_and_what_is_lost_is_said() {
    let mut rig = Rig::start().await;
    rig.hub.keep(4, 1 << 20);
    let epoch = rig.hub.life().epoch;
    let mut first = numbered(&rig).await;
    subscribe(&mut first, 1, 1, json!({})).await;
    rig.publish_each(1, 1..=10);
    for seq in 1..=10 {
        assert_eq!(first.next().await["seq"], seq);
    }
    let replayed = |after: u64, frames: u64, missing: Value| {
        let mut shown =
            json!({"symbol": "S1", "exchange": "NSE", "after": after, "to": 10, "frames": frames});
        if !missing.is_null() {
            shown["missing"] = missing;
        }
        json!({"since": true, "epoch": epoch, "replays": [shown]})
    };
    for (options, acknowledged, frames) in [
        (json!({"since": 8, "epoch": epoch}), replayed(8, 2, Value::Null), json!([9, 10])),
        (json!({"since": 6}), replayed(6, 4, Value::Null), json!([7, 8, 9, 10])),
        (json!({"since": 10}), replayed(10, 0, Value::Null), json!([])),
        (json!({"since": 3}), replayed(6, 4, json!("it is not kept any more")), json!([[3, 6], 7, 8, 9, 10])),
        (
            json!({"since": 11}),
            replayed(6, 4, json!("the number is not known")),
            json!([[11, null], 7, 8, 9, 10]),
        ),
        (
            json!({"since": 9, "epoch": epoch.wrapping_add(1)}),
            replayed(6, 4, json!("the server has been started anew")),
            json!([[9, null], 7, 8, 9, 10]),
        ),
    ] {
        let mut client = numbered(&rig).await;
        let answer = subscribe(&mut client, 1, 1, options.clone()).await;
        assert_eq!(answer["tickgate"], acknowledged, "{options}");
        assert_eq!(Value::from(seen(&mut client).await), frames, "{options}");
        let again = subscribe(&mut client, 1, 1, options).await;
        assert_eq!(again["tickgate"]["replays"][0]["missing"], "it is held already");
        assert_eq!(seen(&mut client).await, Vec::<Value>::new());
    }
    rig.quote(1, 11);
    assert_eq!(first.next().await["seq"], 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_and_encoding_is_given_what_it_missed() {
    let mut rig = Rig::start().await;
    rig.hub.keep(8, 1 << 20);
    let mut first = numbered(&rig).await;
    subscribe(&mut first, 1, 3, json!({})).await;
    let book = |size| {
        let mut depth = Depth::default();
        depth.bids.set(0, Level { price: Price::from_rupees(1), size, orders: 1 });
        tick(1, TickBody::Depth(depth))
    };
    for value in 1..=5 {
        let mut ticks = vec![quote(1, value), book(value)];
        if value == 3 {
            let last = LastTrade { price: Price::from_rupees(9), ..LastTrade::default() };
            ticks.push(tick(1, TickBody::LastTrade(last)));
        }
        rig.publisher.publish(&ticks);
        rig.publisher.flush();
    }
    let mut live = Vec::new();
    for _ in 0..5 {
        live.push(first.next().await);
    }
    for (mode, expected) in [(1, json!([3, 4, 5, 6])), (2, json!([3, 5, 6])), (3, json!([3, 5, 6]))] {
        let mut client = numbered(&rig).await;
        let answer = subscribe(&mut client, 1, mode, json!({"since": 2})).await;
        let range = &answer["tickgate"]["replays"][0];
        assert_eq!((&range["after"], &range["to"], range.get("missing")), (&json!(2), &json!(6), None));
        let count = expected.as_array().unwrap().len();
        let mut frames = Vec::new();
        for _ in 0..count {
            frames.push(client.next().await);
        }
        let numbers: Vec<_> = frames.iter().map(|frame| frame["seq"].clone()).collect();
        assert_eq!(Value::from(numbers), expected, "mode {mode}");
        if mode == 3 {
            assert_eq!(frames, live[2..], "as they were shown when they came");
        }
    }
    let mut bars = numbered(&rig).await;
    let answer = subscribe(&mut bars, 1, 4, json!({"since": 2})).await;
    assert_eq!(answer["tickgate"]["replays"][0]["missing"], "bars have no numbers of their own");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_kept_is_declared_and_begins_with_the_latest_value() {
    let mut rig = Rig::start().await;
    // Nobody counts messages of this one.
    let mut plain = rig.authenticated().await;
    rig.hub.keep(8, 1 << 20);
    plain.ask(json!({"action": "subscribe", "symbol": "S1", "exchange": "NSE", "mode": 1})).await;
    rig.quote(1, 1);
    plain.next().await;
    let mut client = numbered(&rig).await;
    let answer = subscribe(&mut client, 1, 1, json!({"since": 1})).await;
    assert_eq!(answer["tickgate"]["replays"][0]["missing"], "nothing is kept of it");
    assert_eq!(client.next().await["type"], "gap");
    rig.publisher.refresh();
    rig.publisher.flush();
    assert_eq!(client.next().await["seq"], 1, "the latest value");

    // Unsubscribed at the broker and taken again: what came meanwhile is unknown, and the number says so.
    rig.quote(1, 2);
    assert_eq!(client.next().await["seq"], 2);
    rig.publisher.forget(&[instrument(1)]);
    rig.quote(1, 3);
    assert_eq!(client.next().await["seq"], 4);
    let mut late = numbered(&rig).await;
    subscribe(&mut late, 1, 1, json!({"since": 2})).await;
    assert_eq!(seen(&mut late).await, vec![json!([2, 3]), json!(4)]);

    rig.hub.keep(0, 0);
    let answer = subscribe(&mut late, 2, 1, json!({"since": 2})).await;
    assert_eq!(answer["tickgate"]["since"], false);
}

/// A consumer that goes and comes while ticks pour: whatever it gets goes on where it was, or says what
/// is missing.
#[tokio::test(flavor = "multi_thread")]
async fn coming_and_going_under_load_leaves_no_hole_and_nothing_twice() {
    for binary_too in [false, true] {
        let Rig { mut publisher, gateway, hub, keys: _keys, key, master: _master, _dir } = {
            let rig = Rig::start().await;
            rig.hub.keep(512, 8 << 20);
            rig
        };
        let stop = Arc::new(AtomicBool::new(false));
        let publishing = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut value = 0;
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..1 + value % 7 {
                        value += 1;
                        publisher.publish(&[quote(1, value)]);
                    }
                    publisher.flush();
                    std::thread::sleep(Duration::from_micros(300));
                }
            }
        });
        let connect = async || {
            let socket = TcpStream::connect(gateway.addr()).await.unwrap();
            let (socket, _) = client_async(format!("ws://{}/", gateway.addr()), socket).await.unwrap();
            let mut client = Client { socket };
            let frame = json!({"action": "authenticate", "api_key": key, "tickgate": {"seq": true}});
            client.ask(frame).await;
            client
        };
        // With another holder all the while, and without.
        let mut other = connect().await;
        if binary_too {
            subscribe(&mut other, 1, 2, json!({})).await;
        }
        let (mut last, mut complete) = (None, 0);
        for round in 0..40 {
            let mut client = connect().await;
            let options =
                last.map_or(json!({"policy": "every"}), |seq| json!({"since": seq, "policy": "every"}));
            let answer = subscribe(&mut client, 1, 1, options).await;
            assert_eq!(answer["status"], "success");
            let mut frames = 0;
            while frames < 5 + round * 3 {
                let frame = client.next().await;
                if frame["type"] == "gap" {
                    assert_eq!(frame["after_seq"].as_u64(), last);
                    last = Some(frame["to_seq"].as_u64().unwrap());
                    continue;
                }
                let seq = frame["seq"].as_u64().unwrap();
                if let Some(last) = last {
                    assert_eq!(seq, last + 1, "round {round}, frame {frames}");
                }
                complete += 1;
                last = Some(seq);
                frames += 1;
            }
            drop(client);
        }
        assert!(complete > 0);
        stop.store(true, Ordering::Relaxed);
        publishing.join().unwrap();
        drop((gateway, hub));
    }
}
