//! An interruption of the feed in an open market, against the whole program: who asked for it is told what was
//! missed and gets the missed minutes as the exchange had them; who did not sees nothing of it. And a consumer
//! that loses its own connection goes on where it was.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use tickgate::clock::UnixNanos;
use tickgate::hub::{GapNews, GapStep, ShardEvent};
use tickgate::market::Bar;
use tickgate::sim::{Hours, Settings as SimSettings};

use crate::consumer::{Consumer, Got};
use crate::history::{today, truth};
use crate::rig::{Outside, RELIANCE, Running, india, run, until};
use crate::support::{Server, http};

/// A minute has to end first, and the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(4);

async fn with_wishes(server: &Server, wishes: Value) -> Consumer {
    let mut consumer = Consumer::connect(&server.feed_url()).await;
    let frame = json!({"action": "authenticate", "api_key": server.local_key(), "tickgate": wishes});
    consumer.send(&frame).await;
    let answer = consumer.next().await;
    assert_eq!(answer["status"], "success", "{answer}");
    consumer
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_outage_cost_is_told_filled_and_closed() {
    let server = Server::start(&[]);
    server.wait_ready();
    let mut told = with_wishes(&server, json!({"state": true})).await;
    told.subscribe(1, &["NSE:RELIANCE", "NSE:INFY"]).await;
    let mut plain = Consumer::authenticated(&server.feed_url(), &server.local_key()).await;
    plain.subscribe(1, &["NSE:RELIANCE"]).await;
    for consumer in [&mut told, &mut plain] {
        for _ in 0..20 {
            consumer.next_where(|frame| frame["type"] == "market_data").await;
        }
    }
    let body = json!({"product": "market", "clean": false}).to_string();
    let (status, answer) = http("POST", server.sim_address(), "/__sim/drop", None, &body).unwrap();
    assert_eq!(status, 200, "{answer}");

    let symbols = json!([
        {"symbol": "INFY", "exchange": "NSE"},
        {"symbol": "RELIANCE", "exchange": "NSE"}
    ]);
    let sorted = |frame: &Value| {
        let mut list = frame["symbols"].as_array().unwrap().clone();
        list.sort_by_key(|entry| entry["symbol"].as_str().unwrap().to_owned());
        Value::from(list)
    };
    let mut backfilled: BTreeMap<String, BTreeMap<i64, Value>> = BTreeMap::new();
    let mut gap = Value::Null;
    let closed = tokio::time::timeout(PATIENCE, async {
        loop {
            // It reads on, so that it is not taken for gone.
            while let Got::Json(frame) = plain.read(Duration::ZERO).await {
                assert_eq!((&frame["type"], &frame["mode"]), (&json!("market_data"), &json!(1)), "{frame}");
            }
            let frame = told.next().await;
            match frame["type"].as_str() {
                Some("gap") => {
                    assert!(gap.is_null(), "told once");
                    gap = frame;
                }
                Some("gap_closed") => return frame,
                Some("market_data") if frame["backfill"] == true => {
                    assert_eq!(frame["mode"], 4);
                    let start = frame["data"]["timestamp"].as_i64().unwrap() / 1000;
                    let symbol = frame["symbol"].as_str().unwrap().to_owned();
                    let before = backfilled.entry(symbol).or_default().insert(start, frame["data"].clone());
                    assert!(before.is_none(), "each once");
                }
                _ => assert_ne!(frame["mode"], 4, "nothing else has bars"),
            }
        }
    });
    let closed = closed.await.expect("the gap is closed in time");
    assert_eq!(sorted(&gap), symbols, "{gap}");
    assert_eq!(sorted(&closed), symbols, "{closed}");
    assert!(gap["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{gap}");
    let (from, to) = (gap["from"].as_i64().unwrap(), gap["to"].as_i64().unwrap());
    assert!(from < to, "{gap}");
    assert_eq!((closed["from"].as_i64(), closed["to"].as_i64()), (Some(from), Some(to)));
    assert_eq!(closed["backfilled"], true, "{closed}");
    let count: usize = backfilled.values().map(BTreeMap::len).sum();
    assert_eq!(closed["bars"].as_u64(), Some(count as u64), "{closed}");

    let day = today();
    for symbol in ["RELIANCE", "INFY"] {
        let missed = from.div_euclid(60_000) * 60..=to / 1000;
        let mut exchange = truth(&server, "NSE", symbol, "1m", day, day);
        exchange.retain(|start, _| missed.contains(start));
        // The simulator has bars of the exchange's hours alone, but ticks at any.
        let got = backfilled.remove(symbol).unwrap_or_default();
        assert_eq!(got.keys().collect::<Vec<_>>(), exchange.keys().collect::<Vec<_>>(), "{symbol}");
        for (start, bar) in &got {
            for member in ["open", "high", "low", "close"] {
                let price = |value: &Value| {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    tickgate::market::Price::parse(text.as_bytes()).unwrap()
                };
                assert_eq!(price(&bar[member]), price(&exchange[start][member]), "{symbol} {member}");
            }
            assert_eq!(bar["volume"], exchange[start]["volume"], "{symbol}");
        }
    }
    let metrics = server.get("/metrics").unwrap().1;
    for outcome in ["opened", "closed"] {
        let label = format!("outcome=\"{outcome}\"");
        let line = metrics.lines().find(|l| l.starts_with("tickgate_gaps_total{") && l.contains(&label));
        assert!(line.is_some_and(|line| line.ends_with(" 1")), "{line:?}");
    }
    // All that the other one got since.
    plain.send(&json!({"action": "ping"})).await;
    loop {
        let frame = plain.next().await;
        match frame["type"].as_str() {
            Some("pong") => break,
            other => assert_eq!((other, &frame["mode"]), (Some("market_data"), &json!(1)), "{frame}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_comes_back_sees_no_hole() {
    let server = Server::start(&[]);
    server.wait_ready();
    let mut last: Option<(u64, u64)> = None;
    for _ in 0..5 {
        let mut consumer = with_wishes(&server, json!({"seq": true})).await;
        let mut options = json!({"policy": "every"});
        if let Some((seq, epoch)) = last {
            options["since"] = seq.into();
            options["epoch"] = epoch.into();
        }
        consumer
            .send(&json!({"action": "subscribe", "symbol": "RELIANCE", "exchange": "NSE", "mode": 1,
                "tickgate": options}))
            .await;
        let answer = consumer.next().await;
        if let Some((seq, _)) = last {
            let range = &answer["tickgate"]["replays"][0];
            assert_eq!((range["after"].as_u64(), range.get("missing")), (Some(seq), None), "{answer}");
        }
        for _ in 0..15 {
            let frame = consumer.next().await;
            let (seq, epoch) = (frame["seq"].as_u64().unwrap(), frame["epoch"].as_u64().unwrap());
            if let Some(last) = last {
                assert_eq!((seq, epoch), (last.0 + 1, last.1), "{frame}");
            }
            last = Some((seq, epoch));
        }
    }
}

async fn next_news(running: &mut Running) -> GapNews {
    let mut found = None;
    until("news of a gap", || {
        while found.is_none()
            && let Some(event) = running.next_event()
        {
            if let ShardEvent::Gap(news) = event {
                found = Some((*news).clone());
            }
        }
        found.is_some()
    })
    .await;
    found.unwrap()
}

/// Nothing comes for two minutes, then the connection breaks, and all is well again. The gap, as it is told.
async fn outage(outside: &Outside, running: &mut Running, at: UnixNanos) -> GapNews {
    running.tick_after(at).await;
    outside.tell("mute", json!({"on": true})).await;
    outside.clock.set(UnixNanos::from_secs(at.as_secs() + 150));
    outside.tell("drop", json!({"product": "market", "clean": false})).await;
    outside.tell("mute", json!({"on": false})).await;
    let news = next_news(running).await;
    let GapStep::Opened { instruments, reason } = &news.step else { panic!("{news:?}") };
    assert_eq!(*instruments, [RELIANCE]);
    assert!(!reason.is_empty() && news.from >= at && news.from < news.to, "{news:?}");
    news
}

async fn truth_of_day(outside: &Outside, day: &str) -> Vec<Value> {
    let path = format!("bars?segment=1&id={}&interval=1m&from={day}&to={day}", RELIANCE.code);
    outside.sim(&path).await["bars"].as_array().unwrap().clone()
}

fn shown(bar: &Bar) -> Value {
    json!({"start_s": bar.start.as_secs(), "open": bar.open.to_string(), "high": bar.high.to_string(),
        "low": bar.low.to_string(), "close": bar.close.to_string(), "volume": bar.volume})
}

#[test]
fn missed_minutes_are_the_exchanges_and_what_cannot_be_had_is_declared() {
    run(async || {
        let day = "2026-11-23";
        let start = india("2026-11-23T10:00:20");
        let sim = SimSettings { hours: Hours::Exchange, ..SimSettings::default() };
        let mut outside = Outside::new(sim, start).await;
        let mut running = outside.start();
        let _listening = running.hub.listen_for_gaps();
        running.both_valid().await;
        let gap = outage(&outside, &mut running, start).await;
        outside.clock.set(india("2026-11-23T10:05:00"));
        let bars = match next_news(&mut running).await {
            GapNews { id, step: GapStep::Bars { instrument: RELIANCE, bars }, .. } if id == gap.id => bars,
            other => panic!("{other:?}"),
        };
        let ended = next_news(&mut running).await;
        assert!(matches!(&ended.step, GapStep::Closed { instruments } if *instruments == [RELIANCE]));
        assert_eq!((ended.id, ended.from, ended.to), (gap.id, gap.from, gap.to));
        let missed = gap.from.as_secs().div_euclid(60) * 60..=gap.to.as_secs();
        let mut truth = truth_of_day(&outside, day).await;
        truth.retain(|bar| missed.contains(&bar["start_s"].as_i64().unwrap()));
        for bar in &mut truth {
            for member in ["start", "oi"] {
                bar.as_object_mut().unwrap().remove(member);
            }
        }
        assert!(!truth.is_empty());
        assert_eq!(bars.iter().map(shown).collect::<Vec<_>>(), truth);
        running.stop().await;

        // A night is no gap, and what may not be asked for is declared.
        outside.settings.backfill_within_ms = 0;
        outside.clock.set(india("2026-11-23T11:00:20"));
        let mut running = outside.start();
        let gap = outage(&outside, &mut running, india("2026-11-23T11:00:20")).await;
        let ended = next_news(&mut running).await;
        let GapStep::Unfilled { instruments, reason } = &ended.step else { panic!("{ended:?}") };
        assert_eq!(
            (ended.id, instruments.as_slice(), &**reason),
            (gap.id, &[RELIANCE][..], "filling gaps is turned off")
        );
        outside.clock.set(india("2026-11-23T20:00:00"));
        outside.tell("drop", json!({"product": "market", "clean": true})).await;
        until("the feed to be back", || running.session.status().feed.generation > 2).await;
        while let Some(event) = running.next_event() {
            assert!(!matches!(event, ShardEvent::Gap(_)), "{event:?}");
        }
        running.stop().await;
    });
}
