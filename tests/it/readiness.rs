//! `/readyz` tells the truth about a broker that goes away and comes back.

use serde_json::Value;

use crate::consumer::Consumer;
use crate::support::{Server, Simulator, now_ms, wait_for};

#[test]
fn it_turns_to_503_with_a_reason_when_the_broker_stops_and_back_by_itself() {
    let mut simulator = Simulator::start(&[]);
    let mut environment = simulator.credentials();
    environment.extend([
        ("TICKGATE_BROKER__KIND".to_owned(), "xts".to_owned()),
        ("TICKGATE_BROKER__XTS__BASE_URL".to_owned(), format!("http://{}", simulator.address)),
        ("TICKGATE_SESSION__BACKOFF_CEILING_MS".to_owned(), "1000".to_owned()),
    ]);
    let environment: Vec<_> = environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let server = Server::start(&environment);
    server.wait_ready();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut consumer = runtime.block_on(async {
        let mut consumer = Consumer::authenticated(&server.feed_url(), &server.local_key()).await;
        consumer.subscribe(1, &["NSE:RELIANCE"]).await;
        consumer.next_where(|f| f["type"] == "market_data").await;
        consumer
    });

    simulator.kill();
    let body = wait_for("/readyz to be 503", || {
        server.get("/readyz").filter(|(status, _)| *status == 503).map(|(_, body)| body)
    });
    let body: Value = serde_json::from_str(&body).unwrap();
    assert!(!body["reason"].as_str().unwrap_or_default().is_empty(), "{body}");
    // Alive all the same: only the broker is gone.
    assert_eq!(server.get("/healthz").unwrap().0, 200);

    simulator.restart();
    server.wait_ready();
    // The consumer was never disconnected, and ticks flow again.
    let last = now_ms();
    runtime.block_on(
        consumer.next_where(|f| {
            f["type"] == "market_data" && f["data"]["timestamp"].as_i64().unwrap_or(0) > last
        }),
    );
}
