//! What a consumer gets is what the exchange sent. A real capture is replayed through the
//! whole path while a relay in front of the broker remembers every byte; each frame the
//! consumer got is compared with the message it came from.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use crate::consumer::{Consumer, Got};
use crate::support::{Server, Simulator, http};
use crate::tap::{Tap, Touchline};

/// The offset of the venue's 1980 epoch in IST (NSE segments), in seconds.
const NSE_EPOCH: i64 = 315_513_000;

/// Shares, an index, futures: every instrument of the master up to this many.
const INSTRUMENTS: usize = 40;

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no number {key} in {value}"))
}

/// Whether a Quote or Depth frame's data says what the venue's message said.
#[expect(clippy::float_cmp, reason = "nothing may be altered, not by the smallest margin")]
fn same(data: &Value, sent: &Touchline) -> bool {
    let size = |key: &str| data[key].as_i64().unwrap_or(-1);
    let day = ["open", "high", "low", "close"].map(|key| number(data, key));
    let traded_at =
        if sent.last_trade_time == 0 { None } else { Some((sent.last_trade_time + NSE_EPOCH) * 1000) };
    let common = number(data, "ltp") == sent.ltp
        && day == sent.ohlc
        && size("volume") == sent.volume
        && (size("total_buy_quantity"), size("total_sell_quantity")) == sent.totals
        && data["ltt"].as_i64() == traded_at;
    if data["mode"] == 2 {
        return common
            && (number(data, "average_price") - sent.average).abs() <= 5e-10
            && size("ltq") == sent.ltq
            && (size("bid_size"), number(data, "bid_price")) == sent.bid
            && (size("ask_size"), number(data, "ask_price")) == sent.ask;
    }
    let rows = ["buy", "sell"].into_iter().flat_map(|side| data["depth"][side].as_array().unwrap());
    let rows: Vec<_> = rows
        .map(|row| {
            (
                row["quantity"].as_i64().unwrap(),
                number(row, "price"),
                u32::try_from(row["orders"].as_i64().unwrap()).unwrap(),
            )
        })
        .collect();
    common && rows == sent.book
}

/// Checks that what one consumer got of one instrument in one mode is the unbroken end of
/// what the broker sent. The first frame may be the snapshot that came by REST.
fn check_sequence(name: &str, got: &[Value], sent: &[Touchline]) {
    assert!(!got.is_empty(), "{name}: nothing arrived");
    let mut remaining = sent;
    let (mut matched, mut snapshots) = (0, 0);
    for data in got {
        if let Some((first, rest)) = remaining.split_first()
            && same(data, first)
        {
            matched += 1;
            remaining = rest;
        } else if matched == 0 {
            // Before the first match: a snapshot, or messages sent before we subscribed.
            if let Some(at) = remaining.iter().position(|m| same(data, m)) {
                matched += 1;
                remaining = &remaining[at + 1..];
            } else {
                // Its like is not in the record; more than a snapshot or two would be an excuse.
                snapshots += 1;
                assert!(snapshots <= 2, "{name}: the broker never sent {data}");
            }
        } else {
            panic!(
                "{name}: after {matched} frames came {data}\nbut the broker had sent {:#?}",
                remaining.first()
            );
        }
    }
    assert!(remaining.is_empty(), "{name}: {} messages never arrived", remaining.len());
    assert!(
        sent.is_empty() || matched > 0,
        "{name}: no frame is any of the broker's {} messages",
        sent.len()
    );
}

async fn replay(pace: &str, length: Duration) {
    let simulator = Simulator::start(&[
        ("TICKGATE_SIM__PRICES", "replay"),
        ("TICKGATE_SIM__PACE", pace),
        ("TICKGATE_SIM__REPLAY_LOOP", "true"),
    ]);
    let tap = Tap::start(simulator.address).await;
    let base_url = format!("http://{}", tap.address);
    let mut environment = simulator.credentials();
    environment.extend([
        ("TICKGATE_BROKER__KIND".to_owned(), "xts".to_owned()),
        ("TICKGATE_BROKER__XTS__BASE_URL".to_owned(), base_url),
        ("TICKGATE_BROKER__XTS__MAX_SUBSCRIPTIONS".to_owned(), "1000".to_owned()),
        // Nothing may be conflated here: the consumer is to get every frame.
        ("TICKGATE_GATEWAY__OVERFLOW_BYTES".to_owned(), (256 << 20).to_string()),
    ]);
    let environment: Vec<_> = environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let server = Server::start(&environment);
    server.wait_ready();

    let truth = simulator.json("/__sim/truth");
    let mut names: Vec<(String, i16, i32)> = truth["instruments"]
        .as_array()
        .unwrap_or_else(|| panic!("no instruments in {truth}"))
        .iter()
        .map(|i| {
            let name = format!("{}:{}", i["exchange"].as_str().unwrap(), i["symbol"].as_str().unwrap());
            (
                name,
                i16::try_from(i["segment"].as_i64().unwrap()).unwrap(),
                i32::try_from(i["id"].as_i64().unwrap()).unwrap(),
            )
        })
        // The venue's time base is certain for NSE only.
        .filter(|(name, _, _)| name.starts_with("NSE") || name.starts_with("NFO"))
        .collect();
    names.sort();
    let step = (names.len() / INSTRUMENTS).max(1);
    let names: Vec<_> = names.into_iter().step_by(step).take(INSTRUMENTS).collect();
    // Every third instrument in Quote mode alone (1501 upstream), every third in Depth mode
    // alone, every third in all three modes at once (1502 upstream).
    let wanted = |mode: u8| -> Vec<&str> {
        names
            .iter()
            .enumerate()
            .filter(|(i, _)| match i % 3 {
                0 => mode == 2,
                1 => mode == 3,
                _ => true,
            })
            .map(|(_, (name, _, _))| name.as_str())
            .collect()
    };
    let mut consumer = Consumer::authenticated(&server.feed_url(), &server.local_key()).await;
    let mut got: HashMap<(u8, String), Vec<Value>> = HashMap::new();
    let mut keep = |frame: Value| {
        if frame["type"] == "market_data" {
            let mode = u8::try_from(frame["mode"].as_u64().unwrap()).unwrap();
            let name =
                format!("{}:{}", frame["exchange"].as_str().unwrap(), frame["symbol"].as_str().unwrap());
            got.entry((mode, name)).or_default().push(frame["data"].clone());
        }
    };
    // Depth first, so that no instrument changes its upstream message code later.
    for mode in [3_u8, 2, 1] {
        let symbols: Vec<_> = wanted(mode)
            .iter()
            .map(|name| {
                let (exchange, symbol) = name.split_once(':').unwrap();
                serde_json::json!({"symbol": symbol, "exchange": exchange})
            })
            .collect();
        consumer.send(&serde_json::json!({"action": "subscribe", "symbols": symbols, "mode": mode})).await;
        loop {
            let frame = consumer.next().await;
            if frame["type"] == "subscribe" {
                assert_eq!(frame["status"], "success", "{frame}");
                break;
            }
            keep(frame);
        }
    }
    let until = tokio::time::Instant::now() + length;
    let mut frames = 0_u64;
    while tokio::time::Instant::now() < until {
        keep(consumer.next().await);
        frames += 1;
    }
    // Stop the broker's ticks, then read until nothing is on the way any more.
    let (status, _) = http("POST", simulator.address, "/__sim/mute", None, r#"{"on":true}"#).unwrap();
    assert_eq!(status, 200);
    loop {
        match consumer.read(Duration::from_secs(2)).await {
            Got::Json(frame) => keep(frame),
            Got::Nothing => break,
            Got::Closed(frame) => panic!("closed: {frame:?}"),
        }
    }
    let sent = tap.messages();
    let truth = simulator.json("/__sim/truth");
    let final_values: HashMap<String, &Value> = truth["instruments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| (format!("{}:{}", i["exchange"].as_str().unwrap(), i["symbol"].as_str().unwrap()), i))
        .collect();
    let mut messages = 0;
    for mode in [2_u8, 3] {
        let code = if mode == 3 { 1502 } else { 0 };
        for name in wanted(mode) {
            let (_, segment, id) = names.iter().find(|(n, _, _)| n == name).unwrap();
            let sent: Vec<_> = sent
                .get(&(*segment, *id))
                .into_iter()
                .flatten()
                .filter(|m| code == 0 || m.code == code)
                .cloned()
                .collect();
            messages += sent.len();
            let frames = got.get(&(mode, name.to_owned())).map_or(&[][..], Vec::as_slice);
            check_sequence(&format!("{name} mode {mode}"), frames, &sent);
            // The end of the story, as the simulator itself tells it.
            let (last, truth) = (frames.last().unwrap(), final_values[name]);
            assert_eq!(number(last, "ltp").to_string(), decimal(&truth["ltp"]), "{name}: {last} {truth}");
            if mode == 2 {
                assert_eq!(number(last, "bid_price").to_string(), decimal(&truth["bid_price"]), "{name}");
                assert_eq!(number(last, "ask_price").to_string(), decimal(&truth["ask_price"]), "{name}");
                assert_eq!(last["bid_size"], truth["bid_size"], "{name}");
                assert_eq!(last["ask_size"], truth["ask_size"], "{name}");
            }
            assert_eq!(last["volume"], truth["volume"], "{name}");
        }
    }
    for name in wanted(1) {
        let frames = &got[&(1, name.to_owned())];
        assert_eq!(
            number(frames.last().unwrap(), "ltp").to_string(),
            decimal(&final_values[name]["ltp"]),
            "{name}"
        );
    }
    eprintln!("pace {pace}: {messages} messages, {frames} frames compared");
    assert!(messages > INSTRUMENTS * 10, "the replay moved: {messages}");
    let metrics = server.get("/metrics").unwrap().1;
    let conflated =
        metrics.lines().find(|l| l.starts_with("tickgate_ticks_conflated_total")).unwrap_or("none 0");
    assert!(conflated.ends_with(" 0"), "{conflated}");
}

/// A decimal text of the simulator's, as a double prints it.
fn decimal(value: &Value) -> String {
    let number: f64 = match value {
        Value::String(text) => text.parse().unwrap(),
        other => other.as_f64().unwrap_or_else(|| panic!("no decimal: {other}")),
    };
    number.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_capture_replayed_at_its_own_pace_arrives_unaltered() {
    replay("1", Duration::from_secs(15)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_capture_replayed_at_twenty_times_its_pace_arrives_unaltered() {
    replay("20", Duration::from_secs(15)).await;
}
