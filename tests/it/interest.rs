//! Open interest beside prices, on both kinds of endpoint, and what happens when the broker's
//! subscriptions run out: prices go first, and whoever finds no room hears it at once.

use serde_json::Value;

use crate::consumer::Consumer;
use crate::support::{Server, Simulator};

fn start(simulator: &Simulator, more: &[(&str, &str)]) -> Server {
    let mut environment = simulator.credentials();
    let base_url = format!("http://{}", simulator.address);
    environment.extend(
        [("TICKGATE_BROKER__KIND", "xts"), ("TICKGATE_BROKER__XTS__BASE_URL", &base_url)]
            .iter()
            .chain(more)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let environment: Vec<_> = environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let server = Server::start(&environment);
    server.wait_ready();
    server
}

/// The simulator's contracts, as (name, open interest now).
fn contracts(simulator: &Simulator) -> Vec<(String, i64)> {
    let truth = simulator.json("/__sim/truth");
    let all = truth["instruments"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("is text").to_owned();
    let mut found: Vec<_> = all
        .iter()
        .filter(|i| i["exchange"] == "NFO")
        .filter_map(|i| Some((format!("NFO:{}", text(&i["symbol"])), i["oi"].as_i64().filter(|oi| *oi > 0)?)))
        .collect();
    found.sort();
    found
}

/// Waits for a frame of `name` whose open interest is the simulator's.
async fn true_interest(consumer: &mut Consumer, simulator: &Simulator, name: &str) {
    let symbol = name.split_once(':').expect("has an exchange").1;
    for _ in 0..200 {
        let frame = consumer.next_where(|f| f["symbol"] == symbol && f["data"].get("oi").is_some()).await;
        let truth = contracts(simulator).into_iter().find(|(n, _)| n == name).expect("is still there").1;
        if frame["data"]["oi"] == truth {
            return;
        }
    }
    panic!("no frame of {name} had the open interest of the simulator");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_interest_comes_with_quotes_and_depth_on_both_kinds_of_endpoint() {
    let simulator = Simulator::start(&[]);
    let json = [
        ("TICKGATE_BROKER__XTS__MARKET_PREFIX", "/apimarketdata"),
        ("TICKGATE_BROKER__XTS__SOCKET_PATH", "/apimarketdata/socket.io"),
    ];
    for more in [&[][..], &json] {
        let server = start(&simulator, more);
        let names: Vec<_> = contracts(&simulator).into_iter().take(2).map(|(name, _)| name).collect();
        let mut consumer = Consumer::authenticated(&server.feed_url(), &server.local_key()).await;
        assert_eq!(consumer.subscribe(2, &[&names[0]]).await["status"], "success");
        assert_eq!(consumer.subscribe(3, &[&names[1]]).await["status"], "success");
        for name in &names {
            true_interest(&mut consumer, &simulator, name).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_interest_gives_way_to_prices_and_what_has_no_room_is_told_at_once() {
    let simulator = Simulator::start(&[]);
    let server = start(&simulator, &[("TICKGATE_BROKER__XTS__MAX_SUBSCRIPTIONS", "3")]);
    let names: Vec<_> = contracts(&simulator).into_iter().take(4).map(|(name, _)| name).collect();
    let mut consumer = Consumer::authenticated(&server.feed_url(), &server.local_key()).await;
    assert_eq!(consumer.subscribe(2, &[&names[0], &names[1]]).await["status"], "success");
    // Two prices leave one slot for open interest: it comes for one of them.
    consumer.next_where(|f| f["data"].get("oi").is_some()).await;
    // A third instrument takes that slot; a fourth has none.
    let ack = consumer.subscribe(2, &[&names[2], &names[3]]).await;
    let outcomes = ack["subscriptions"].as_array().expect("a list");
    assert_eq!(
        (&outcomes[0]["status"], &outcomes[1]["status"]),
        (&"success".into(), &"error".into()),
        "{ack}"
    );
    assert_eq!(outcomes[1]["message"], "Maximum capacity reached: the broker grants 3 subscriptions");
    for name in &names[..3] {
        let symbol = name.split_once(':').expect("has an exchange").1;
        let frame = consumer.next_where(|f| f["symbol"] == symbol || f["status"] == "error").await;
        assert_eq!(frame["type"], "market_data", "{frame}");
    }
    let (_, status) = server.get("/v1/status").expect("the server answers");
    let status: Value = serde_json::from_str(&status).expect("is JSON");
    assert_eq!(status["accounts"]["default"]["feed"]["subscriptions"]["rejected"], 0, "{status}");
    assert!(status["market_broker"].is_object(), "{status}");
}
