//! The thin line through the whole house: broker login, stream, decode, fan-out, consumer.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::consumer::Consumer;
use crate::support::{Server, program};

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_reaches_a_consumer_with_the_value_right_after_the_acknowledgement() {
    let server = Server::start(&[]);
    server.wait_ready();
    let names = ["NSE:RELIANCE", "NSE_INDEX:NIFTY", "BSE:RELIANCE"];
    for mode in 1..=3_u8 {
        let mut consumer = Consumer::authenticated(&server.feed_url(), &server.local_key()).await;
        let ack = consumer.subscribe(mode, &names).await;
        assert_eq!(ack["status"], "success", "{ack}");
        let mut missing: HashSet<String> = names.iter().map(|&n| n.to_owned()).collect();
        while !missing.is_empty() {
            let frame = consumer.next().await;
            assert_eq!(frame["type"], "market_data");
            assert_eq!(frame["mode"], mode);
            let name =
                format!("{}:{}", frame["exchange"].as_str().unwrap(), frame["symbol"].as_str().unwrap());
            assert_eq!(frame["data"]["symbol"], frame["symbol"]);
            assert!(frame["data"]["ltp"].as_f64().unwrap() > 0.0);
            if mode == 3 {
                assert_eq!(frame["data"]["depth"]["buy"].as_array().unwrap().len(), 5);
                assert_eq!(frame["data"]["depth"]["sell"].as_array().unwrap().len(), 5);
            }
            missing.remove(&name);
        }
    }
}

#[test]
fn tail_prints_ticks_with_no_set_up_at_all() {
    let server = Server::start(&[]);
    let mut tail = program()
        .args(["tail", "NSE:RELIANCE", "NSE_INDEX:NIFTY", "--json"])
        .current_dir(server.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut seen = HashSet::new();
    for line in BufReader::new(tail.stdout.take().unwrap()).lines() {
        let frame: Value = serde_json::from_str(&line.unwrap()).unwrap();
        // As a plain consumer sees it, whatever encoding it came in.
        assert_eq!((&frame["type"], &frame["mode"]), (&"market_data".into(), &1.into()));
        assert!(frame["broker"].is_string() && frame["data"]["timestamp"].is_i64(), "{frame}");
        seen.insert(frame["symbol"].as_str().unwrap().to_owned());
        if seen.len() == 2 {
            break;
        }
    }
    tail.kill().unwrap();
    tail.wait().unwrap();
    assert_eq!(seen.len(), 2);
}

#[test]
fn sigterm_stops_in_order_and_says_so_to_consumers() {
    let mut server = Server::start(&[]);
    server.wait_ready();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut consumer = runtime.block_on(Consumer::authenticated(&server.feed_url(), &server.local_key()));
    assert_eq!(server.terminate(), Some(0));
    let code = runtime.block_on(async {
        loop {
            match consumer.read(crate::support::PATIENCE).await {
                crate::consumer::Got::Json(_) => {}
                crate::consumer::Got::Closed(frame) => return frame.map(|f| u16::from(f.code)),
                crate::consumer::Got::Nothing => panic!("the connection stayed open"),
            }
        }
    });
    assert_eq!(code, Some(1001));
    assert!(!server.data().join("run.json").exists(), "a stopped server leaves no address behind");
}
