//! Who is told of an interruption upstream, and what.

use super::*;
use crate::hub::{GapNews, GapStep};
use crate::protocol::binary::{BACKFILL, Body, Gap, GapClosed, Kind, Records};

const FROM: UnixNanos = UnixNanos::from_millis(1_770_698_730_000);
const TO: UnixNanos = UnixNanos::from_millis(1_770_698_790_500);

fn bar(minute: i64) -> Bar {
    let start = UnixNanos::from_secs(1_770_698_700 + 60 * minute);
    Bar { start, close: Price::from_rupees(minute + 1), volume: minute, ..Bar::default() }
}

impl Rig {
    fn tell(&self, step: GapStep) {
        self.hub.tell_gap(GapNews { id: 7, from: FROM, to: TO, step });
    }

    fn a_gap(&self) {
        let instruments = vec![instrument(1), instrument(2), instrument(9)];
        self.tell(GapStep::Opened { instruments, reason: "why".into() });
        self.tell(GapStep::Bars { instrument: instrument(1), bars: vec![bar(0), bar(1)] });
        self.tell(GapStep::Closed { instruments: vec![instrument(1), instrument(9)] });
        self.tell(GapStep::Unfilled { instruments: vec![instrument(2)], reason: "late".into() });
    }
}

/// The next frame that is not about how current data are, which the same wish brings.
async fn of_gaps(client: &mut Client) -> Value {
    loop {
        let frame = client.next().await;
        if frame["type"] != "state" && frame["type"] != "heartbeat" {
            return frame;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_is_told_of_what_it_holds_and_nobody_else_of_anything() {
    let mut rig = Rig::start().await;
    assert!(!rig.hub.has_gap_listeners());
    let mut told = rig.connect().await;
    let frame = json!({"action": "authenticate", "api_key": rig.key, "tickgate": {"state": true}});
    assert_eq!(told.ask(frame).await["tickgate"]["state"], true);
    assert!(rig.hub.has_gap_listeners());
    let mut plain = rig.authenticated().await;
    for mode in [1, 2] {
        for client in [&mut told, &mut plain] {
            let symbols: Vec<_> =
                [1, 2, 3].map(|n| json!({"symbol": format!("S{n}"), "exchange": "NSE"})).into();
            client.send(json!({"action": "subscribe", "mode": mode, "symbols": symbols})).await;
            assert_eq!(of_gaps(client).await["type"], "subscribe");
        }
    }
    rig.a_gap();
    let span = |kind: &str, symbols: &[u32]| {
        let symbols: Vec<_> =
            symbols.iter().map(|n| json!({"symbol": format!("S{n}"), "exchange": "NSE"})).collect();
        json!({"type": kind, "from": FROM.as_millis(), "to": TO.as_millis(), "symbols": symbols})
    };
    let with = |mut frame: Value, members: Value| {
        frame.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        frame
    };
    assert_eq!(of_gaps(&mut told).await, with(span("gap", &[1, 2]), json!({"reason": "why"})));
    for minute in 0..2 {
        let frame = of_gaps(&mut told).await;
        assert_eq!(
            (&frame["backfill"], &frame["mode"], &frame["symbol"]),
            (&json!(true), &json!(4), &json!("S1"))
        );
        assert_eq!(frame["data"]["timestamp"], bar(minute).start.as_millis());
    }
    assert_eq!(
        of_gaps(&mut told).await,
        with(span("gap_closed", &[1]), json!({"backfilled": true, "bars": 2}))
    );
    let unfilled = json!({"backfilled": false, "reason": "late"});
    assert_eq!(of_gaps(&mut told).await, with(span("gap_closed", &[2]), unfilled));
    // Who comes in between is told of no end without a beginning.
    rig.tell(GapStep::Closed { instruments: vec![instrument(3)] });
    rig.quote(1, 1);
    assert_eq!(of_gaps(&mut told).await["type"], "market_data", "and nothing before");
    assert_eq!(plain.next().await["type"], "market_data", "and nothing before");
    drop(told);
    wait_for("nobody to listen", || !rig.hub.has_gap_listeners()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_encoding_has_records_of_it() {
    let rig = Rig::start().await;
    let mut request = format!("ws://{}/", rig.gateway.addr()).into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "tickgate.v1".parse().unwrap());
    let socket = TcpStream::connect(rig.gateway.addr()).await.unwrap();
    let (socket, _) = client_async(request, socket).await.unwrap();
    let mut client = Client { socket };
    let wishes = json!({"state": true});
    client.send(json!({"action": "authenticate", "api_key": rig.key, "tickgate": wishes})).await;
    let symbols = [1, 2].map(|n| json!({"symbol": format!("S{n}"), "exchange": "NSE"}));
    client.send(json!({"action": "subscribe", "mode": 1, "symbols": symbols})).await;
    let mut texts = 0;
    while texts < 2 {
        texts += usize::from(matches!(client.message().await, Some(Ok(Message::Text(_)))));
    }
    rig.a_gap();
    let mut got = Vec::new();
    while got.len() < 6 {
        let Some(Ok(Message::Binary(message))) = client.message().await else { continue };
        for record in Records::new(&message).map(Result::unwrap) {
            match record.body().unwrap() {
                Body::Directory(_) | Body::State(_) | Body::Heartbeat(_) => {}
                Body::Gap(gap) => {
                    assert_eq!(gap, Gap { from: FROM, to: TO, reason: "why" });
                    got.push((Kind::Gap, record.number()));
                }
                Body::Bar(told) => {
                    assert_eq!(record.header().flags, BACKFILL);
                    assert!([bar(0), bar(1)].contains(&told));
                    got.push((Kind::Bar, record.number()));
                }
                Body::GapClosed(closed) => {
                    let (bars, backfilled, reason) =
                        if record.number() == 1 { (2, true, "") } else { (0, false, "late") };
                    assert_eq!(closed, GapClosed { from: FROM, to: TO, bars, backfilled, reason });
                    got.push((Kind::GapClosed, record.number()));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let (gap, bar, closed) = (Kind::Gap, Kind::Bar, Kind::GapClosed);
    assert_eq!(got, [(gap, 1), (gap, 2), (bar, 1), (bar, 1), (closed, 1), (closed, 2)]);
}
