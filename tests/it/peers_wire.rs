//! Real XTS and Socket.IO clients, unmodified, against `tickgate sim`: each logs in, subscribes and
//! receives, over every transport it has, and what it decodes is the simulator's truth.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::peers::{environment, find_python, node_modules, skipped};
use crate::support::{Simulator, http};

const IDS: [u64; 2] = [2885, 3045];

/// The same figures from the simulator's own account of them. Prices there are exact texts.
fn truth(simulator: &Simulator, id: u64, levels: usize) -> Value {
    let truth = simulator.json("/__sim/truth");
    let all = truth["instruments"].as_array().expect("is a list");
    let one = all.iter().find(|i| i["segment"] == 1 && i["id"] == id).expect("is listed");
    let price = |value: &Value| -> f64 { value.as_str().expect("is text").parse().expect("is a price") };
    let side = |name: &str| -> Vec<Value> {
        let rows = one[name].as_array().expect("is a list").iter().take(levels);
        rows.map(|row| json!([price(&row["price"]), row["size"]])).collect()
    };
    let mut found =
        json!({ "ltq": one["ltq"], "volume": one["volume"], "bids": side("bids"), "asks": side("asks") });
    for name in ["ltp", "open", "high", "low", "close"] {
        found[name] = json!(price(&one[name]));
    }
    found
}

/// Numbers as doubles, whatever they were written as.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(values) => values.iter().map(plain).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), plain(value))).collect())
        }
        other => other.clone(),
    }
}

/// Runs a client in a directory of its own, and holds its report against the truth.
fn check(mut client: Command, arguments: &[&str], engine_io: u8, levels: usize, transport: &str) {
    let simulator = Simulator::start(&[
        ("TICKGATE_SIM__SEED", "7"),
        ("TICKGATE_SIM__PACE", "5"),
        ("TICKGATE_SIM__ENGINE_IO", &engine_io.to_string()),
    ]);
    let state = simulator.json("/__sim/state");
    let key = |name: &str| state["demo_keys"][name].as_str().expect("is a key").to_owned();
    let dir = TempDir::new().expect("there is a temporary directory");
    let output = client
        .arg(format!("http://{}", simulator.address))
        .args([key("market_app_key"), key("market_secret_key")])
        .args(arguments)
        .current_dir(dir.path())
        .output()
        .expect("the client runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{arguments:?}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    // Some clients talk while they work; the report is the last line.
    let report: Value = serde_json::from_str(text.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(report["joined"], true, "{arguments:?}: {report}");
    assert_eq!(report["transport"], transport, "{arguments:?}");
    // It stopped the market, so this is what it saw last.
    for id in IDS {
        let told = &report["last"][format!("1:{id}")];
        assert_eq!(plain(told), plain(&truth(&simulator, id, levels)), "{arguments:?}: {id}");
    }
}

/// Every flavour with the transport it must end on, over both kinds of endpoint.
fn check_node(engine_io: u8, flavours: &[(&str, &str)], formats: &[&str]) {
    let Some(modules) = node_modules() else {
        return skipped("no node with npm for the Socket.IO clients", true);
    };
    for (flavour, transport) in flavours {
        for format in formats {
            let mut client = Command::new("node");
            client.arg(script("node/client.js")).env("NODE_PATH", &modules);
            let levels = if *format == "binary" { 1 } else { 5 };
            check(client, &[flavour, format], engine_io, levels, transport);
        }
    }
}

pub(crate) fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

#[test]
fn socket_io_client_2_starts_by_polling_stays_there_or_does_without() {
    let flavours = [("2-default", "websocket"), ("2-polling", "polling"), ("2-websocket", "websocket")];
    check_node(3, &flavours, &["json", "binary"]);
}

#[test]
fn socket_io_client_4_is_served_with_true_engine_io_4() {
    let flavours = [("4-default", "websocket"), ("4-polling", "polling"), ("4-websocket", "websocket")];
    check_node(4, &flavours, &["json", "binary"]);
}

#[test]
fn the_node_sdk_for_market_data_is_served() {
    check_node(3, &[("sdk", "websocket")], &["json"]);
}

fn check_python(interpreter: &Path, flavour: &str, transport: &str) {
    let mut client = Command::new(interpreter);
    client.arg(script("socketio_client.py"));
    check(client, &[flavour], 3, 5, transport);
}

#[test]
fn python_socketio_4_is_served_over_every_transport() {
    let Some(python) = find_python(11, 12) else {
        return skipped("no Python 3.11 for python-socketio 4.6", true);
    };
    let interpreter = environment(&python, "socketio-4.6");
    for (flavour, transport) in [("default", "websocket"), ("polling", "polling"), ("websocket", "websocket")]
    {
        check_python(&interpreter, flavour, transport);
    }
}

#[test]
fn xts_api_client_is_served() {
    let Some(python) = find_python(12, 13) else {
        return skipped("no Python 3.12 for xts-api-client 0.1.26", false);
    };
    check_python(&environment(&python, "xts-api-client-0.1.26"), "xts-api-client", "websocket");
}

#[test]
fn a_client_of_another_revision_is_refused_in_engine_ios_words() {
    let simulator = Simulator::start(&[("TICKGATE_SIM__ENGINE_IO", "4")]);
    for (query, code) in [
        ("EIO=3&transport=polling", 5),
        ("EIO=4&transport=carrier", 0),
        ("EIO=4&transport=polling&sid=none", 1),
        ("EIO=4&transport=websocket", 3),
    ] {
        let path = format!("/apimarketdata/socket.io/?{query}");
        let (status, body) = http("GET", simulator.address, &path, None, "").expect("it answers");
        let body: Value = serde_json::from_str(&body).expect("is JSON");
        assert_eq!((status, &body["code"]), (400, &json!(code)), "{query}: {body}");
    }
}
