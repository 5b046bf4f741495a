//! A consumer that asks for more than OpenAlgo has, against the whole program: numbers without a hole,
//! one frame per interval, and what that left out in the metrics.

use serde_json::json;

use crate::consumer::Consumer;
use crate::support::{Server, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn numbers_have_no_hole_and_what_an_interval_leaves_out_is_counted() {
    let server = Server::start(&[]);
    server.wait_ready();
    let mut consumer = Consumer::connect(&server.feed_url()).await;
    consumer
        .send(&json!({"action": "authenticate", "api_key": server.local_key(), "tickgate": {"seq": true}}))
        .await;
    let answer = consumer.next().await;
    assert_eq!(answer["tickgate"], json!({"conflated": true, "seq": true, "state": false}), "{answer}");
    consumer.subscribe(1, &["NSE:RELIANCE"]).await;
    let first = consumer.next().await;
    for number in 1..=20 {
        let frame = consumer.next().await;
        assert_eq!(frame["seq"].as_u64(), first["seq"].as_u64().map(|seq| seq + number), "{frame}");
        assert_eq!(frame["epoch"], first["epoch"]);
    }

    let mut seldom = Consumer::authenticated(&server.feed_url(), &server.local_key()).await;
    seldom
        .send(&json!({"action": "subscribe", "symbol": "RELIANCE", "exchange": "NSE", "mode": 1,
            "tickgate": {"interval_ms": 3_600_000}}))
        .await;
    assert_eq!(seldom.next().await["status"], "success");
    assert_eq!(seldom.next().await["mode"], 1);
    wait_for("ticks to be left out", || {
        let metrics = server.get("/metrics")?.1;
        let line = metrics.lines().find(|line| line.starts_with("tickgate_ticks_throttled_total "))?;
        line.rsplit(' ').next()?.parse::<f64>().ok().filter(|count| *count >= 5.0)
    });
    seldom.send(&json!({"action": "ping"})).await;
    assert_eq!(seldom.next().await["type"], "pong", "nothing came meanwhile");
}
