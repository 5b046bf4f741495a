//! What consumers are told of how current their data are, and that others notice nothing of it.

use super::*;
use crate::hub::{Freshness, Standing};
use crate::protocol::binary::{Body, Kind, Records};

impl Rig {
    fn standing(&self, state: Freshness, reason: &str) {
        let standing = Standing { state, since: UnixNanos::from_secs(7), reason: reason.into(), used: true };
        self.hub.set_standing(FeedId(0), Segment::NseCash, standing, true);
    }

    async fn told(&self) -> Client {
        let mut client = self.connect().await;
        let answer = client.ask(json!({"action": "authenticate", "api_key": self.key,
            "tickgate": {"state": true}}));
        assert_eq!(answer.await["tickgate"]["state"], true);
        client
    }
}

fn state(symbol: &str, state: &str, reason: &str) -> Value {
    json!({"type": "state", "symbol": symbol, "exchange": "NSE", "state": state, "since": 7_000,
        "reason": reason})
}

#[tokio::test(flavor = "multi_thread")]
async fn each_instrument_once_behind_the_acknowledgement_and_on_change() {
    let mut rig = Rig::with(|settings| settings.heartbeat_ms = 0).await;
    rig.standing(Freshness::Live, "");
    let mut plain = rig.authenticated().await;
    let mut client = rig.told().await;
    for client in [&mut plain, &mut client] {
        assert_eq!(client.subscribe(&[1, 2], 1).await["status"], "success");
    }
    assert_eq!(
        [client.next().await, client.next().await],
        [state("S1", "live", ""), state("S2", "live", "")]
    );
    // In another mode it is held already.
    client.subscribe(&[1], 2).await;
    client.subscribe(&[3], 1).await;
    assert_eq!(client.next().await, state("S3", "live", ""));

    rig.standing(Freshness::Stale, "it \"fell\"");
    let mut told = [client.next().await, client.next().await, client.next().await];
    told.sort_by_key(|frame| frame["symbol"].to_string());
    assert_eq!(told, ["S1", "S2", "S3"].map(|symbol| state(symbol, "stale", "it \"fell\"")));
    client.ask(json!({"action": "unsubscribe_all"})).await;
    rig.standing(Freshness::Live, "");
    assert_eq!(client.ask(json!({"action": "ping"})).await["type"], "pong", "nothing is held");

    rig.quote(1, 10_050);
    assert_eq!(plain.next().await["type"], "market_data", "and nothing before it");
    assert_eq!(plain.ask(json!({"action": "ping"})).await["type"], "pong");
    // Who asks later is told of what it holds; who takes it back is told no more.
    let frame = json!({"action": "authenticate", "api_key": rig.key, "tickgate": {"state": true}});
    assert_eq!(plain.ask(frame).await["tickgate"]["state"], true);
    let mut told = [plain.next().await, plain.next().await];
    told.sort_by_key(|frame| frame["symbol"].to_string());
    assert_eq!(told, ["S1", "S2"].map(|symbol| state(symbol, "live", "")));
    plain.authenticate(&rig.key).await;
    rig.standing(Freshness::Closed, "");
    assert_eq!(plain.ask(json!({"action": "ping"})).await["type"], "pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_consumers_get_records_of_numbers_they_know() {
    let rig = Rig::with(|settings| settings.heartbeat_ms = 20).await;
    rig.standing(Freshness::Delayed, "slow");
    rig.hub.note_data(FeedId(0), SystemClock.now());
    let mut client = rig.binary().await;
    let frame = json!({"action": "authenticate", "api_key": rig.key, "tickgate": {"state": true}});
    client.send(frame).await;
    client.send(json!({"action": "subscribe", "mode": 1, "symbol": "S1", "exchange": "NSE"})).await;
    let (mut introduced, mut states, mut beats) = (Vec::new(), Vec::new(), 0);
    while states.len() < 2 || beats < 2 {
        let Some(Ok(Message::Binary(bytes))) = client.message().await else { continue };
        for record in Records::new(&bytes).map(Result::unwrap) {
            match record.body().unwrap() {
                Body::Directory(_) => introduced.push(record.number()),
                Body::State(state) => {
                    assert_eq!(introduced, [record.number()]);
                    assert_eq!(record.header().epoch, rig.hub.life().epoch);
                    states.push((state.state.unwrap(), state.reason.to_owned()));
                    rig.standing(Freshness::Live, "");
                }
                Body::Heartbeat(beat) => {
                    assert_eq!(record.number(), 0);
                    assert!(beat.state.is_some() && beat.last_tick_age.is_some_and(|age| age >= 0));
                    beats += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(states[0], (Freshness::Delayed, "slow".to_owned()));
    assert_eq!(states[1], (Freshness::Live, String::new()));
    assert_eq!(Kind::Heartbeat.number(), 7);
}

/// Tens of thousands of changes leave a consumer that does not read the newest state of each, not more.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_gets_the_newest_state_and_not_all() {
    let rig = Rig::with(|settings| settings.heartbeat_ms = 10).await;
    rig.standing(Freshness::Live, "");
    let mut socket = rig.raw().await;
    let symbols: Vec<_> =
        (0..INSTRUMENTS).map(|n| json!({"symbol": format!("S{n}"), "exchange": "NSE"})).collect();
    for frame in [
        json!({"action": "authenticate", "api_key": rig.key, "tickgate": {"state": true}}),
        json!({"action": "subscribe", "mode": 1, "symbols": symbols}),
    ] {
        socket.write_all(&client_frame(frame.to_string().as_bytes())).await.unwrap();
    }
    let long = "x".repeat(1_000);
    let changes = 2_000;
    for number in 0..changes {
        rig.standing(Freshness::Stale, &format!("{number} {long}"));
        // A few at a time, so that they are not told as one.
        tokio::task::yield_now().await;
    }
    rig.standing(Freshness::Live, "again");
    let (mut newest, mut frames) = (BTreeMap::new(), 0);
    while newest.len() < INSTRUMENTS as usize || newest.values().any(|reason| reason != "again") {
        let (opcode, payload) = server_frame(&mut socket).await;
        assert_eq!(opcode, 0x81, "whole text frames only");
        let frame: Value = serde_json::from_slice(&payload).unwrap();
        if frame["type"] == "state" {
            frames += 1;
            let reason = frame["reason"].as_str().unwrap().to_owned();
            newest.insert(frame["symbol"].as_str().unwrap().to_owned(), reason);
        }
    }
    assert!(frames < changes * INSTRUMENTS, "{frames} were told");
    // A consumer like any other is served all the while.
    let mut other = rig.authenticated().await;
    assert_eq!(other.ask(json!({"action": "ping"})).await["type"], "pong");
}
