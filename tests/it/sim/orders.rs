//! Orders, history and limits over real sockets, as an independent client meets them.

use super::*;
use tickgate::sim::{Books, RateLimits};

fn order(mark: &str) -> Value {
    json!({"exchangeSegment": "NSECM", "exchangeInstrumentID": 2885, "productType": "MIS",
        "orderType": "MARKET", "orderSide": "BUY", "timeInForce": "DAY", "disclosedQuantity": 0,
        "orderQuantity": 10, "limitPrice": 0, "stopPrice": 0, "orderUniqueIdentifier": mark})
}

fn empty() -> Settings {
    Settings { books: Books::Empty, ..Settings::default() }
}

async fn truth(client: &Client) -> Value {
    client.call("GET", "/__sim/books", None).await.1["accounts"][0].take()
}

#[tokio::test]
async fn an_order_sent_as_json_or_form_is_told_until_it_is_filled() {
    let sim = start(empty(), None).await;
    let (client, _) = Client::interactive(&sim, "interactive", &[]).await;
    let mut feed = client.open("interactive", "SIM01", "&apiType=INTERACTIVE").await.expect("it opens");
    feed.greeted().await;
    let form: Vec<_> = order("form")
        .as_object()
        .expect("is an object")
        .iter()
        .map(|(k, v)| (k.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
        .collect();
    let response = client
        .http
        .post(format!("{}/interactive/orders", client.base))
        .header("authorization", &client.token)
        .form(&form)
        .send()
        .await
        .expect("it answers");
    assert_eq!(response.status().as_u16(), 200);
    let (status, answer) = client.call("POST", "/interactive/orders", Some(order("json"))).await;
    assert_eq!((status, &answer["description"]), (200, &"Request sent".into()));
    let mut filled = std::collections::BTreeSet::new();
    while filled.len() < 2 {
        let event: Value = serde_json::from_str(&feed.text().await[2..]).expect("is JSON");
        let payload: Value = serde_json::from_str(event[1].as_str().expect("is a text")).expect("is JSON");
        if event[0] == "order" && payload["OrderStatus"] == "Filled" {
            filled.insert(payload["OrderUniqueIdentifier"].to_string());
        }
    }
    let truth = truth(&client).await;
    assert_eq!(truth["positions"]["net"][0]["quantity"], 20);
    assert_eq!(truth["orders_received"]["by_unique_id"], json!({"form": 1, "json": 1}));
}

#[tokio::test]
async fn an_order_can_be_taken_without_an_answer() {
    let sim = start(empty(), None).await;
    let (client, _) = Client::interactive(&sim, "interactive", &[]).await;
    let fault = json!({"kind": "no_answer", "after_ms": 50, "call": "place"});
    assert_eq!(client.call("POST", "/__sim/order_faults", Some(fault)).await.1, json!({"waiting": 1}));
    let sent = client
        .http
        .post(format!("{}/interactive/orders", client.base))
        .header("authorization", &client.token)
        .json(&order("lost"))
        .timeout(PATIENCE)
        .send()
        .await;
    assert!(sent.is_err_and(|e| !e.is_timeout()), "the connection ends");
    let (_, book) = client.call("GET", "/interactive/orders", None).await;
    assert_eq!(book["result"][0]["OrderUniqueIdentifier"], "lost");
    let (status, page) =
        (client.call("POST", "/__sim/order_faults", Some(json!({"kind": "502_after"}))).await, order("page"));
    assert_eq!(status.0, 200);
    let (status, page) = client.call("POST", "/interactive/orders", Some(page)).await;
    assert!(status == 502 && page.as_str().is_some_and(|p| p.starts_with("<html>")), "{page}");
    assert_eq!(truth(&client).await["orders_received"]["taken"], 2);
}

#[tokio::test]
async fn documented_limits_are_kept_and_counted() {
    let sim = start(Settings { rate_limits: RateLimits::Documented, ..Settings::default() }, None).await;
    let (client, _) = Client::interactive(&sim, "interactive", &[]).await;
    let ask = || client.call("GET", "/interactive/user/balance", None);
    let (first, second) = tokio::join!(ask(), ask());
    let mut codes = [first.0, second.0];
    codes.sort_unstable();
    assert_eq!(codes, [200, 429]);
    assert_eq!(client.call("GET", "/interactive/portfolio/holdings", None).await.0, 200, "another path");
    let (_, state) = client.call("GET", "/__sim/state", None).await;
    let balance = &state["accounts"][0]["rates"]["balance"];
    assert_eq!(
        (&balance["calls"], &balance["refused"], &balance["most_within"]),
        (&2.into(), &1.into(), &2.into())
    );
    assert!(state["requests_in_flight"]["interactive"]["most"].as_u64() >= Some(1));
    assert_eq!(state["requests_in_flight"]["interactive"]["now"], 0);
}

#[tokio::test]
async fn history_look_ups_and_truth_are_there() {
    let sim = start(Settings::default(), None).await;
    let client = Client::login(&sim).await;
    let md = "/apibinarymarketdata";
    let path = format!(
        "{md}/instruments/ohlc?exchangeSegment=1&exchangeInstrumentID=2885&startTime=Feb%2010%202026%20091500\
         &endTime=Feb+10+2026+153000&compressionValue=60"
    );
    let (status, answer) = client.call("GET", &path, None).await;
    assert_eq!((status, &answer["code"]), (200, &"s-instrument-0002".into()));
    let rows = answer["result"]["dataReponse"].as_str().expect("is a text");
    // The worked example's time: 09:15:59 of that day.
    assert!(rows.starts_with("1770714959|") && rows.ends_with('|'), "{rows}");
    let path = "/__sim/bars?segment=1&id=2885&interval=1m&from=2026-02-10&to=2026-02-10";
    let (_, truth) = client.call("GET", path, None).await;
    assert_eq!(truth["bars"].as_array().map(Vec::len), Some(rows.split(',').count()));
    let path = format!("{md}/instruments/instrument/Symbol?exchangeSegment=1&series=EQ&symbol=RELIANCE");
    assert_eq!(client.call("GET", &path, None).await.1["result"][0]["ExchangeInstrumentID"], 2885);
    let path = format!("{md}/instruments/instrument/nothing?exchangeSegment=1");
    assert_eq!(client.call("GET", &path, None).await.0, 404);
    assert_eq!(client.call("GET", "/__sim/bars?segment=1", None).await.0, 400);
    let (_, truth) = client.call("GET", "/__sim/truth", None).await;
    let share = truth["instruments"].as_array().and_then(|l| l.iter().find(|i| i["id"] == 2885));
    assert_eq!(share.map(|s| &s["band_high"]), Some(&"1595.0".into()));
}
