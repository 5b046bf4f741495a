//! The binary encoding against the JSON one: two consumers of one server, every field of every
//! frame. The records are read by the tables of PROTOCOL.md alone, as somebody who writes a reader in
//! another language does; and once more by the library's client.

#[path = "../../src/protocol/binary/tables.rs"]
#[allow(dead_code, reason = "the unit tests need more of it")]
mod tables;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tickgate::client::{Client, Event};
use tickgate::market::Price;
use tickgate::protocol::Mode;
use tokio::sync::{Barrier, watch};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::consumer::Consumer;
use crate::peers::{find_python, skipped};
use crate::support::{PATIENCE, Server};
use tables::{Tables, Value};

/// A frame's `data`, flattened: prices in 1e-9, everything else as it is. The instrument left out.
type Fields = BTreeMap<String, i128>;
/// Frames of each symbol and mode, in order.
type Streams = BTreeMap<(String, u8), Vec<Fields>>;

/// Three instruments in three modes.
const TOPICS: usize = 9;
/// So many frames of each are compared, or more.
const FRAMES: usize = 6;

fn flatten(name: &str, value: &Json, into: &mut Fields) {
    match value {
        Json::Object(members) => {
            members.iter().for_each(|(key, v)| flatten(&format!("{name}.{key}"), v, into));
        }
        Json::Array(list) => {
            list.iter().enumerate().for_each(|(i, v)| flatten(&format!("{name}[{i}]"), v, into));
        }
        Json::Number(number) => {
            // Unknown circuits are a bare zero, which is the same as a price of zero.
            let value = match number.as_i64() {
                Some(whole) => i128::from(whole),
                None => i128::from(Price::from_f64(number.as_f64().unwrap()).unwrap().as_nanos()),
            };
            into.insert(name.trim_start_matches('.').to_owned(), value);
        }
        Json::String(_) => {}
        other => panic!("{name}: {other}"),
    }
}

/// A JSON frame's symbol, mode and fields.
fn of_json(frame: &Json) -> ((String, u8), Fields) {
    let mut fields = Fields::new();
    flatten("", &frame["data"], &mut fields);
    let mode = fields.remove("mode").unwrap() as u8;
    ((frame["symbol"].as_str().unwrap().to_owned(), mode), fields)
}

/// The fields that a JSON frame of the same message has, made of a record's.
fn of_record(mode: u8, record: &BTreeMap<String, Value>) -> Fields {
    const UNKNOWN: i128 = i64::MIN as i128;
    const MILLI: i128 = 1_000_000;
    let get = |name: &str| match record.get(name) {
        Some(Value::Int(value)) => *value,
        other => panic!("{name}: {other:?} in {record:?}"),
    };
    let mut fields = Fields::new();
    let mut put = |name: &str, value: i128| {
        fields.insert(name.to_owned(), value);
    };
    put("ltp", get("price"));
    put("timestamp", get("ts_recv").div_euclid(MILLI));
    if get("trade_time") > 0 {
        put("ltt", get("trade_time") / MILLI);
    }
    if get("volume") != UNKNOWN {
        put("volume", get("volume"));
    }
    if mode > 1 {
        for name in ["open", "high", "low", "close"] {
            put(name, get(name));
        }
        put("total_buy_quantity", get("total_buy"));
        put("total_sell_quantity", get("total_sell"));
        if get("open_interest") != UNKNOWN {
            put("oi", get("open_interest"));
        }
    }
    if mode < 3 {
        put("ltq", get("quantity"));
        put("last_trade_quantity", get("quantity"));
    }
    if mode == 2 {
        put("last_quantity", get("quantity"));
        put("prev_close", get("close"));
        put("average_price", get("average"));
        put("avg_trade_price", get("average"));
        for (name, field) in [
            ("bid_price", "bid_price"),
            ("bid_size", "bid_quantity"),
            ("ask_price", "ask_price"),
            ("ask_size", "ask_quantity"),
        ] {
            put(name, get(field));
        }
        // Of two decimals, half away from zero.
        let rounded = |value: i128, by: i128| (value * 2 + by * value.signum()) / (by * 2);
        let (change, close) = (get("price") - get("close"), get("close"));
        put("change", rounded(change, 10_000_000) * 10_000_000);
        put("change_percent", rounded(change * 10_000, close) * 10_000_000);
    }
    if mode == 3 {
        for name in ["upper_circuit", "lower_circuit"] {
            put(name, Some(get(name)).filter(|limit| *limit != UNKNOWN).unwrap_or(0));
        }
        for (json, side) in [("buy", "bids"), ("sell", "asks")] {
            for level in 0..5 {
                for part in ["price", "quantity", "orders"] {
                    put(&format!("depth.{json}[{level}].{part}"), get(&format!("{side}[{level}].{part}")));
                }
            }
        }
    }
    fields
}

/// The three readers keep step: the JSON one begins once the others have begun, and they end once
/// they have seen what came after its last frames.
#[derive(Debug)]
struct Step {
    begun: Barrier,
    json: watch::Sender<Option<Streams>>,
}

impl Step {
    /// Whether a reader of records may stop.
    async fn is_done(&self, streams: &Streams, waited: &mut bool) -> bool {
        if streams.len() == TOPICS && !*waited {
            *waited = true;
            self.begun.wait().await;
        }
        let last = |streams: &Streams, topic| streams[topic].last().map(|fields| fields["timestamp"]);
        self.json.borrow().as_ref().is_some_and(|json| json.keys().all(|t| last(streams, t) > last(json, t)))
    }
}

/// What a consumer that knows only the tables gets; with the checks that need no comparison.
async fn read_by_the_tables(url: &str, key: &str, names: &[&str], step: &Step) -> Streams {
    let tables = Tables::read();
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "tickgate.v1".parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    socket.send(Message::text(json!({"action": "authenticate", "api_key": key}).to_string())).await.unwrap();
    let symbols: Vec<_> = names
        .iter()
        .map(|name| name.split_once(':').unwrap())
        .map(|(exchange, symbol)| json!({"exchange": exchange, "symbol": symbol}))
        .collect();
    for mode in 1..=3 {
        let subscribe = json!({"action": "subscribe", "symbols": symbols, "mode": mode});
        socket.send(Message::text(subscribe.to_string())).await.unwrap();
    }
    let (mut streams, mut directory, mut sequences) = (Streams::new(), BTreeMap::new(), BTreeMap::new());
    let (mut epoch, mut waited) = (None, false);
    while !step.is_done(&streams, &mut waited).await {
        let Message::Binary(message) = socket.next().await.unwrap().unwrap() else { continue };
        for (kind, record) in tables.decode(&message) {
            let (int, text) = (
                |name: &str| match &record[name] {
                    Value::Int(value) => *value,
                    Value::Text(text) => panic!("{name}: {text}"),
                },
                |name: &str| match &record[name] {
                    Value::Text(text) => text.clone(),
                    Value::Int(value) => panic!("{name}: {value}"),
                },
            );
            assert_eq!(*epoch.get_or_insert(int("epoch")), int("epoch"), "one life, one epoch");
            let mode = match kind.as_str() {
                "Hello" => {
                    assert_eq!((text("magic").as_str(), int("version")), ("tickgate", 1));
                    continue;
                }
                "Directory" => {
                    assert!(names.contains(&format!("{}:{}", text("exchange"), text("symbol")).as_str()));
                    assert!(int("tick_size") > 0, "{record:?}");
                    directory.insert(int("number"), text("symbol"));
                    continue;
                }
                "Ltp" => 1,
                "Quote" => 2,
                "Depth" => 3,
                other => panic!("{other} is not sent yet"),
            };
            let symbol = directory.get(&int("number")).expect("the directory comes first");
            if let Some(before) = sequences.insert((int("number"), mode), int("seq")) {
                // The value after the acknowledgement may be told again as the first live one.
                let is_first = streams[&(symbol.clone(), mode)].len() == 1;
                let next = int("seq") == before + 1 || (is_first && int("seq") == before);
                assert!(next, "{symbol} in mode {mode} went from {before} to {}", int("seq"));
            }
            assert!(int("ts_sent") > 0 && int("ts_recv") > 0);
            streams.entry((symbol.clone(), mode)).or_default().push(of_record(mode, &record));
        }
    }
    streams
}

async fn read_by_the_client(url: &str, key: &str, names: &[&str], step: &Step) -> Streams {
    let mut client = Client::connect(url, key).await.unwrap();
    assert!(client.is_binary());
    let names: Vec<_> = names.iter().map(|name| name.split_once(':').unwrap()).collect();
    for mode in [Mode::Ltp, Mode::Quote, Mode::Depth] {
        let outcomes = client.subscribe(&names, mode).await.unwrap();
        assert!(outcomes.iter().all(|outcome| outcome.error.is_none()), "{outcomes:?}");
    }
    let (mut streams, mut waited) = (Streams::new(), false);
    while !step.is_done(&streams, &mut waited).await {
        let Some(Event::Record(update)) = client.next().await.unwrap() else { panic!("no record") };
        let text = update.to_openalgo(client.broker()).unwrap();
        let (topic, fields) = of_json(&serde_json::from_str(&text).unwrap());
        streams.entry(topic).or_default().push(fields);
    }
    client.close().await.unwrap();
    streams
}

async fn read_json(consumer: &mut Consumer, names: &[&str], step: &Step) -> Streams {
    step.begun.wait().await;
    for mode in 1..=3 {
        assert_eq!(consumer.subscribe(mode, names).await["status"], "success");
    }
    let mut streams = Streams::new();
    while streams.len() < TOPICS || streams.values().any(|stream| stream.len() < FRAMES) {
        let frame = consumer.next().await;
        if frame["type"] == "market_data" {
            let (topic, fields) = of_json(&frame);
            streams.entry(topic).or_default().push(fields);
        }
    }
    step.json.send_replace(Some(streams.clone()));
    streams
}

/// Whether `part` stands in `whole` without a hole.
fn contains(whole: &[Fields], part: &[Fields]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_encodings_say_the_same_of_every_tick() {
    let server = Server::start(&[]);
    server.wait_ready();
    let truth = server.sim("/__sim/truth");
    let contract = truth["instruments"].as_array().unwrap().iter().find(|i| i["exchange"] == "NFO").unwrap();
    let contract = format!("NFO:{}", contract["symbol"].as_str().unwrap());
    let names = ["NSE:RELIANCE", "NSE_INDEX:NIFTY", contract.as_str()];
    let (url, key) = (server.feed_url(), server.local_key());
    let mut consumer = Consumer::authenticated(&url, &key).await;
    let step = Step { begun: Barrier::new(3), json: watch::Sender::new(None) };
    let all = async {
        tokio::join!(
            read_json(&mut consumer, &names, &step),
            read_by_the_tables(&url, &key, &names, &step),
            read_by_the_client(&url, &key, &names, &step),
        )
    };
    let (json, by_tables, by_client) =
        tokio::time::timeout(PATIENCE, Box::pin(all)).await.expect("ticks come");
    assert_eq!(json.len(), TOPICS);
    for (topic, stream) in &json {
        // The first may be the last value, encoded when it was asked for: with what came since beside it.
        let live = &stream[1..];
        assert!(contains(&by_tables[topic], live), "{topic:?}\n{live:#?}\n{:#?}", by_tables[topic]);
        assert!(contains(&by_client[topic], live), "{topic:?}\n{live:#?}\n{:#?}", by_client[topic]);
    }
    let (_, metrics) = server.get("/metrics").unwrap();
    for encoding in ["json", "binary"] {
        let name = format!("tickgate_frames_sent_total{{encoding=\"{encoding}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(name.as_str())).expect("is counted");
        assert!(line.parse::<f64>().unwrap() > 0.0, "{encoding}: {line}");
    }
}

#[test]
fn a_reader_in_another_language_sees_what_json_says() {
    let Some(python) = find_python(9, 15) else {
        return skipped("no Python from 3.9 for the reader of records", true);
    };
    let server = Server::start(&[]);
    server.wait_ready();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/binary_reader.py");
    let output = Command::new(python)
        .arg(script)
        .args([&server.feed_url(), &server.local_key(), "NSE:RELIANCE", "BSE:RELIANCE", "NSE_INDEX:NIFTY"])
        .output()
        .expect("the reader runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let report: Json = serde_json::from_str(&text).expect("the report is JSON");
    assert!(report["compared"].as_u64().unwrap() >= 45, "{report}");
    assert_eq!((&report["different"], &report["holes"]), (&json!([]), &json!([])));
}
