//! OpenAlgo's REST interface as HTTP: paths, bodies, keys, scopes, rates, and the document that describes it.

use futures::future::join_all;

use super::*;
use crate::market::{Bar, Interval, Price};

const PING: &str = "/api/v1/ping";

fn port() -> Port {
    Port::open_with(Settings::default(), openalgo::fake::Books::default())
}

impl Port {
    async fn ask(&self, path: &str, body: &Value) -> Got {
        self.send(Method::POST, path, &[("content-type", "application/json")], &body.to_string()).await
    }
}

/// Status and message, which every failure has.
fn failure(got: &Got) -> (u16, Value) {
    let body = got.json();
    assert_eq!(body["status"], "error", "{}", got.text);
    (got.status.as_u16(), body["message"].clone())
}

#[actix_web::test]
async fn paths_and_types_as_clients_send_them() {
    let port = port();
    let key = port.key("reader", &[Scope::Feed]).await;
    let body = json!({"apikey": key, "unknown": [1, {"a": null}]});
    let pong = json!({"status": "success", "data": {"message": "pong", "broker": "test"}});
    for path in [PING, "/api/v1/ping/", "//api/v1/ping", "///api//v1//ping//"] {
        let got = port.ask(path, &body).await;
        assert_eq!((got.status.as_u16(), got.json()), (200, pong.clone()), "{path}");
        assert_eq!(got.headers["content-type"], "application/json");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"] {
        let got = port.send(Method::POST, PING, &[("content-type", kind)], &body.to_string()).await;
        assert_eq!(got.status, 200, "{kind}");
    }
    assert_eq!(port.send(Method::POST, PING, &[], &format!(" {body}\n")).await.status, 200, "no type at all");

    let get = port.get(PING).await;
    assert_eq!((failure(&get).0, &get.headers["allow"]), (405, &"POST".parse().unwrap()));
    let posted = port.ask("/api/v1/instruments", &body).await;
    assert_eq!((failure(&posted).0, &posted.headers["allow"]), (405, &"GET, HEAD".parse().unwrap()));
    for path in
        ["/api/v1", "/api/v1/", "/api/v1/nope", "/api/v1/optionchain", "/api/v1/ping/x", "/api/v2/ping"]
    {
        assert_eq!(failure(&port.ask(path, &body).await).0, 404, "{path}");
        assert_eq!(failure(&port.get(path).await).0, 404, "{path}");
    }
    port.close().await;
}

#[actix_web::test]
async fn bodies_that_are_no_requests_are_the_askers_fault() {
    let port = port();
    for broken in ["{", "{\"apikey\":", "nonsense", "{\"apikey\":\"\\ud800\"}", "", "{} {}"] {
        let (status, message) = failure(&port.send(Method::POST, PING, &[], broken).await);
        assert_eq!(status, 400, "{broken}");
        assert!(message.as_str().is_some_and(|text| text.contains("JSON")), "{message}");
    }
    for other in ["[]", "7", "null", "\"x\"", "[{\"apikey\":\"x\"}]"] {
        let (status, message) = failure(&port.send(Method::POST, PING, &[], other).await);
        assert_eq!((status, message), (400, json!({"_schema": ["Invalid input type."]})), "{other}");
        let (status, message) = failure(&port.send(Method::POST, "/api/v1/placeorder", &[], other).await);
        assert_eq!((status, message.is_string()), (400, true), "orders are answered in words");
    }
    let deep = format!("{{\"apikey\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(failure(&port.send(Method::POST, PING, &[], &deep).await).0, 400);
    let huge = json!({"apikey": "x".repeat(300 * 1024)});
    assert_eq!(failure(&port.ask(PING, &huge).await).0, 413);
    for wrong in [json!(7), json!(""), json!("x".repeat(257)), json!(null)] {
        let (status, message) = failure(&port.ask(PING, &json!({"apikey": wrong})).await);
        assert_eq!((status, message["apikey"].is_array()), (400, true), "{wrong}");
    }
    port.close().await;
}

/// Every endpoint of the document, as a request with this key and nothing else.
async fn everything(port: &Port, key: Option<&str>) -> Vec<(String, u16, Value)> {
    let document = port.get("/openapi.json").await.json();
    let mut seen = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let got = if methods.get("post").is_some() {
            let body = key.map_or_else(|| json!({}), |key| json!({"apikey": key}));
            port.ask(path, &body).await
        } else {
            let query = key.map_or_else(String::new, |key| format!("?apikey={key}"));
            port.get(&format!("{}{query}", path.replace("{name}", "NSE:RELIANCE"))).await
        };
        let message = got.json()["message"].clone();
        seen.push((path.clone(), got.status.as_u16(), message));
    }
    assert!(seen.len() > 25, "{seen:?}");
    seen
}

#[actix_web::test]
async fn every_endpoint_wants_a_key_of_its_scope() {
    let port = port();
    for (path, status, message) in everything(&port, None).await {
        assert_eq!(status, 400, "{path}");
        assert!(
            message.to_string().contains("apikey") && message.to_string().contains("Missing data"),
            "{path}"
        );
    }
    let wrong = port.ask(PING, &json!({"apikey": "0".repeat(64)})).await;
    assert_eq!(failure(&wrong), (403, json!("Invalid openalgo apikey")));
    let wrong = port.get("/api/v1/instruments?apikey=nope").await;
    assert_eq!(failure(&wrong), (403, json!("Invalid openalgo apikey")));

    let admin = port.key("boss", &[Scope::Admin]).await;
    for (path, status, message) in everything(&port, Some(&admin)).await {
        assert_eq!(status, 403, "{path}");
        assert!(message.as_str().unwrap().contains("scope"), "{path}: {message}");
    }
    let feed = port.key("reader", &[Scope::Feed]).await;
    let mut refused = Vec::new();
    for (path, status, _) in everything(&port, Some(&feed)).await {
        assert!(status < 500, "{path}");
        if status == 403 {
            refused.push(path.replace("/api/v1/", ""));
        }
    }
    for path in ["funds", "orderbook", "positionbook", "placeorder", "cancelorder", "closeposition"] {
        assert!(
            refused.iter().any(|refused| refused == path),
            "{path} needs more than market data: {refused:?}"
        );
    }
    for path in ["quotes", "history", "instruments", "ticker/{name}", "ping"] {
        assert!(!refused.iter().any(|refused| refused == path), "{path}");
    }
    let account = port.key("books", &[Scope::Account]).await;
    let place = port.ask("/api/v1/placeorder", &json!({"apikey": account})).await;
    assert_eq!(failure(&place).0, 403, "reading is not trading");
    assert_eq!(port.ask("/api/v1/orderbook", &json!({"apikey": account})).await.status, 200);

    port.keys.revoke("reader").await.unwrap();
    assert_eq!(failure(&port.ask(PING, &json!({"apikey": feed})).await).0, 403, "at once");
    port.close().await;
}

#[actix_web::test]
async fn whoever_asks_too_often_is_told_when_to_come_again() {
    let settings = Settings { api_rate_per_s: 1, ..Settings::default() };
    let port = Port::open_with(settings, openalgo::fake::Books::default());
    let (one, other) = (port.key("one", &[Scope::Feed]).await, port.key("other", &[Scope::Feed]).await);
    let (one, other) = (json!({"apikey": one}), json!({"apikey": other}));
    let many = join_all((0..20).map(|_| port.ask(PING, &one))).await;
    let limited = many.iter().find(|got| got.status == 429).unwrap();
    assert_eq!(failure(limited), (429, json!("1 per 1 second")));
    assert_eq!(limited.json()["retry_after"], 1);
    assert!(many.iter().any(|got| got.status == 200) && port.ask(PING, &other).await.status == 200);

    let wrong = json!({"apikey": "nope"});
    let many = join_all((0..100).map(|_| port.ask(PING, &wrong))).await;
    let told: Vec<_> = many.iter().map(|got| failure(got).0).collect();
    assert!(told.contains(&403) && told.contains(&429), "{told:?}");
    port.close().await;
}

#[actix_web::test]
async fn the_instrument_list_is_json_or_csv() {
    let port = port();
    let key = port.key("reader", &[Scope::Feed]).await;
    let list = async |more: &str| port.get(&format!("/api/v1/instruments?apikey={key}{more}")).await;
    let all = list("").await;
    assert_eq!(all.headers["content-type"], "application/json");
    let all = all.json();
    assert_eq!(
        (&all["message"], all["data"].as_array().map(Vec::len)),
        (&json!("Found 6 instruments"), Some(6))
    );
    assert_eq!(
        all["data"][1],
        json!({
            "symbol": "NIFTY17FEB2625700PE", "brsymbol": "NIFTY2621725700PE", "name": "NIFTY", "exchange": "NFO",
            "brexchange": "NSEFO", "token": "48225", "expiry": "17-FEB-26", "strike": 25700.0, "lotsize": 65,
            "instrumenttype": "PE", "tick_size": 0.05
        })
    );
    assert_eq!(list("&exchange=BSE&format=json").await.json()["message"], "Found 2 instruments");
    let none = list("&exchange=MCX_INDEX").await;
    assert_eq!((none.status.as_u16(), &none.json()["data"]), (200, &json!([])));
    let csv = list("&exchange=NFO&format=csv").await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(
        csv.text,
        "symbol,brsymbol,name,exchange,brexchange,token,expiry,strike,lotsize,instrumenttype,tick_size\n\
         NIFTY17FEB2625700PE,NIFTY2621725700PE,NIFTY,NFO,NSEFO,48225,17-FEB-26,25700.0,65,PE,0.05\n"
    );
    for wrong in ["&exchange=nse", "&format=xml", "&exchange=%ff"] {
        assert_eq!(failure(&list(wrong).await).0, 400, "{wrong}");
    }
    port.close().await;
}

#[actix_web::test]
async fn bars_as_lines_of_text() {
    let price = Price::from_rupees(100);
    // 2025-04-01 09:15 IST.
    let start = UnixNanos::from_secs(1_743_479_100);
    let bar = Bar { start, open: price, high: price, low: price, close: price, volume: 5, open_interest: 0 };
    let intervals = vec![Interval::minutes(1), Interval::Day];
    let books = openalgo::fake::Books::of_bars(intervals, vec![bar]);
    let port = Port::open_with(Settings::default(), books);
    let key = port.key("reader", &[Scope::Feed]).await;
    let ticker = async |name: &str, more: &str| {
        port.get(&format!("/api/v1/ticker/{name}?apikey={key}&from=2025-04-01&to=2025-04-01{more}")).await
    };
    let text = ticker("NSE:RELIANCE", "&interval=1m&format=txt").await;
    assert_eq!(text.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(text.text, "NSE:RELIANCE,2025-04-01,09:15:00,100.0,100.0,100.0,100.0,5\n");
    let text = ticker("NSE%3ARELIANCE", "&interval=D&format=txt").await.text;
    assert_eq!(text, "NSE:RELIANCE,2025-04-01,100.0,100.0,100.0,100.0,5\n");
    let data = ticker("NSE:RELIANCE", "&interval=1m").await.json();
    assert_eq!((&data["status"], &data["data"][0]["timestamp"]), (&json!("success"), &json!(1_743_479_100)));
    for (name, more) in [
        ("RELIANCE", ""),
        ("NSE:NOPE", ""),
        ("X:RELIANCE", ""),
        ("NSE:RELIANCE", "&interval=7m"),
        ("NSE:RELIANCE", "&format=xml"),
        ("NSE:%00", ""),
    ] {
        assert_eq!(failure(&ticker(name, more).await).0, 400, "{name} {more}");
    }
    port.close().await;
}

#[actix_web::test]
async fn the_document_describes_what_is_served() {
    let port = port();
    let got = port.get("/openapi.json").await;
    assert_eq!(
        (got.status.as_u16(), &got.headers["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    let document = got.json();
    assert_eq!(document["openapi"].as_str().map(|version| &version[..2]), Some("3."));
    for (path, methods) in document["paths"].as_object().unwrap() {
        let methods = methods.as_object().unwrap();
        assert_eq!(methods.len(), 1, "{path}");
        for (method, operation) in methods {
            let wrong = if method == "get" { Method::POST } else { Method::GET };
            let path = path.replace("{name}", "NSE:RELIANCE");
            let got = port.send(wrong, &path, &[], "{}").await;
            assert_eq!(got.status, 405, "{path} is served, and by {method} alone");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("200") && responses.contains_key("default"), "{path}");
            assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{path}");
        }
    }
    // Whatever is referred to is there.
    let text = document.to_string();
    for part in text.split("\"$ref\":\"").skip(1) {
        let pointer = part.split('"').next().unwrap().trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    port.close().await;
}
