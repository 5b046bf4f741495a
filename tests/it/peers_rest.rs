//! The unmodified OpenAlgo client through every REST call that it has and the server offers, its
//! results against the simulator's truth.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use jiff::ToSpan as _;
use serde_json::{Map, Value, json};

use crate::history::{today, truth as true_bars};
use crate::peers::{environment, find_python, number, skipped};
use crate::rest::{ORDERS, band, new_key, truth_of};
use crate::support::{Server, http, wait_for};

const SYMBOL: &str = "INFY";

fn run(python: &Path, server: &Server, key: &str, part: &str, wanted: &Value) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/openalgo_rest.py");
    let mut child = Command::new(python)
        .arg(script)
        .args([&format!("http://{}", server.http_address()), &server.feed_url(), key, part])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client runs");
    child.stdin.take().unwrap().write_all(wanted.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn tell(server: &Server, path: &str, body: &Value) {
    let answer = http("POST", server.sim_address(), &format!("/__sim/{path}"), None, &body.to_string());
    assert_eq!(answer.map(|(status, _)| status), Some(200), "{path}");
}

fn decimal(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().unwrap_or_else(|_| panic!("no number: {text:?}")),
        other => other.as_f64().unwrap_or_else(|| panic!("no number: {other}")),
    }
}

/// The same number, whichever of the two forms it has: the wire is exact, so the doubles are equal.
fn same(what: &str, told: &Value, truth: &Value) {
    assert!((decimal(told) - decimal(truth)).abs() < 1e-9, "{what}: {told}, in truth {truth}");
}

fn ok<'a>(said: &'a Value, name: &str) -> &'a Value {
    assert_eq!(said[name]["status"], "success", "{name}: {}", said[name]);
    &said[name]
}

fn check_data(server: &Server, said: &Value, truth: &Value, intervals: &Map<String, Value>) {
    let quotes = &ok(said, "quotes")["data"];
    let pairs = [
        ("open", "open"),
        ("high", "high"),
        ("low", "low"),
        ("ltp", "ltp"),
        ("ask", "ask_price"),
        ("bid", "bid_price"),
        ("prev_close", "close"),
        ("volume", "volume"),
    ];
    for (told, name) in pairs {
        assert!(quotes[told].is_number(), "{told} is a number: {quotes}");
        same(told, &quotes[told], &truth[name]);
    }
    assert_eq!(quotes["oi"], 0);
    let results = ok(said, "multiquotes")["results"].as_array().unwrap();
    assert_eq!(results.len(), 2, "{results:?}");
    let of = |symbol: &str| results.iter().find(|r| r["symbol"] == symbol).unwrap();
    assert_eq!(&of(SYMBOL)["data"], quotes, "one of many is as one alone");
    assert!(of("NOPE")["error"].is_string());

    let depth = &ok(said, "depth")["data"];
    let pairs = [
        ("ltp", "ltp"),
        ("ltq", "ltq"),
        ("volume", "volume"),
        ("prev_close", "close"),
        ("totalbuyqty", "total_buy"),
        ("totalsellqty", "total_sell"),
    ];
    for (told, name) in pairs {
        same(told, &depth[told], &truth[name]);
    }
    for side in ["bids", "asks"] {
        for level in 0..5 {
            for (told, name) in [("price", "price"), ("quantity", "size")] {
                let told = &depth[side][level][told];
                let truth = &truth[side][level];
                let truth = if truth[name].is_null() { &truth[told_position(name)] } else { &truth[name] };
                same(&format!("{side} {level}"), told, truth);
            }
        }
        assert_eq!(depth[side].as_array().unwrap().len(), 5);
    }

    let groups = ok(said, "intervals")["data"].as_object().unwrap();
    assert_eq!(groups.len(), 6, "{groups:?}");
    for (interval, range) in intervals {
        let history = &said[&format!("history {interval}")];
        let rows = history["rows"].as_array().unwrap_or_else(|| panic!("{interval}: {history}"));
        let date = |at: usize| range[at].as_str().unwrap().parse().unwrap();
        let truth = true_bars(server, "NSE", SYMBOL, interval, date(0), date(1));
        assert_eq!(rows.len(), truth.len(), "{interval}");
        let intraday = !matches!(interval.as_str(), "D" | "W" | "M");
        for (row, (start, bar)) in rows.iter().zip(&truth) {
            let shown = if intraday {
                let india = jiff::tz::Offset::from_seconds(19_800).unwrap();
                let at = jiff::Timestamp::from_second(*start).unwrap();
                india.to_datetime(at).strftime("%Y-%m-%d %H:%M:%S+05:30").to_string()
            } else {
                let at = jiff::Timestamp::from_second(*start).unwrap();
                jiff::tz::Offset::UTC.to_datetime(at).strftime("%Y-%m-%d %H:%M:%S").to_string()
            };
            assert_eq!(row[0], json!(shown), "{interval}: the index in India, days bare");
            for (at, name) in [(1, "open"), (2, "high"), (3, "low"), (4, "close"), (5, "volume")] {
                same(&format!("{interval} {shown} {name}"), &row[at], &bar[name]);
            }
        }
        let first = rows[0][0].as_str().unwrap();
        assert!(
            first.ends_with(if intraday { " 09:15:00+05:30" } else { " 00:00:00" }),
            "{interval}: {first}"
        );
    }

    let symbol = &ok(said, "symbol")["data"];
    assert_eq!((&symbol["symbol"], &symbol["exchange"]), (&json!(SYMBOL), &json!("NSE")));
    assert_eq!(symbol["token"], json!(truth["id"].to_string()), "a text");
    same("tick size", &symbol["tick_size"], &truth["tick"]);
    same("lot", &symbol["lotsize"], &truth["lot"]);
    let found = ok(said, "search")["data"].as_array().unwrap();
    assert!(!found.is_empty() && found.iter().all(|row| row["exchange"] == "NFO"), "{found:?}");
    let expiries = ok(said, "expiry")["data"].as_array().unwrap();
    assert!(!expiries.is_empty());
    let option = ok(said, "optionsymbol");
    let name = option["symbol"].as_str().unwrap();
    assert!(name.starts_with("NIFTY") && name.ends_with("CE") && option["exchange"] == "NFO", "{option}");
    assert_eq!(said["instruments"]["row"].as_array().map(Vec::len), Some(1), "{}", said["instruments"]);
    assert_eq!(said["instruments"]["row"][0]["token"], symbol["token"]);
    assert_eq!(ok(said, "analyzerstatus")["data"]["analyze_mode"], false);
    let holidays = ok(said, "holidays")["data"].as_array().unwrap();
    assert!(holidays.iter().any(|h| h["date"] == "2026-01-26"), "{holidays:?}");
    let timings = ok(said, "timings")["data"].as_array().unwrap();
    let nse = timings.iter().find(|t| t["exchange"] == "NSE").unwrap();
    assert_eq!(nse["start_time"], 1_769_485_500_000_i64, "2026-01-27 09:15 in India");
    assert_eq!(nse["end_time"], 1_769_508_000_000_i64);
    let closed = ok(said, "timings on a holiday")["data"].as_array().unwrap();
    assert!(closed.iter().all(|t| t["exchange"] != "NSE"), "{closed:?}");
}

/// Sides of the book may be told as `[price, size, …]`.
fn told_position(name: &str) -> usize {
    usize::from(name != "price")
}

fn status(said: &Value, name: &str) -> String {
    ok(said, name)["data"]["order_status"].as_str().unwrap().to_owned()
}

fn check_orders(said: &Value, low: &str) {
    for name in ["placeorder", "modifyorder", "cancelorder", "placeorder market", "placesmartorder"] {
        assert!(ok(said, name)["orderid"].is_string(), "{name}: {}", said[name]);
    }
    assert_eq!(said["modifyorder"]["orderid"], said["placeorder"]["orderid"]);
    let placed = &ok(said, "orderstatus placed")["data"];
    assert_eq!(
        (&placed["quantity"], &placed["action"], &placed["pricetype"]),
        (&json!(3), &json!("BUY"), &json!("LIMIT"))
    );
    same("price", &placed["price"], &json!(low));
    assert!(matches!(placed["order_status"].as_str(), Some("open")), "{placed}");
    assert_eq!(said["orderstatus modified"]["data"]["quantity"], 7);
    assert_eq!(status(said, "orderstatus cancelled"), "cancelled");
    let complete = &ok(said, "orderstatus complete")["data"];
    assert_eq!(complete["order_status"], "complete");
    assert!(number(complete, "/average_price") > 0.0);
    let size = |name: &str| ok(said, name)["quantity"].as_i64().unwrap();
    assert_eq!(size("openposition bought"), size("openposition before") + 5);
    assert_eq!(status(said, "orderstatus smart"), "complete");
    assert_eq!(size("openposition after"), size("openposition before"));
    let matched = ok(said, "placesmartorder matched");
    // Nothing was held before, and nothing was asked for: there are words of OpenAlgo's for that.
    let words = if size("openposition before") == 0 { "No OpenPosition Found" } else { "Already Matched" };
    assert!(matched["message"].as_str().unwrap().contains(words), "{matched}");
    let basket = ok(said, "basketorder")["results"].as_array().unwrap();
    assert_eq!(basket.len(), 2);
    let split = ok(said, "splitorder");
    let parts: Vec<_> = split["results"].as_array().unwrap().iter().map(|r| r["quantity"].clone()).collect();
    assert_eq!(parts, [json!(4), json!(4), json!(2)], "{split}");
    let cancelled = ok(said, "cancelallorder")["canceled_orders"].as_array().unwrap();
    for result in basket.iter().chain(split["results"].as_array().unwrap()) {
        assert_eq!(result["status"], "success", "{result}");
        assert!(cancelled.contains(&result["orderid"]), "{} of {cancelled:?}", result["orderid"]);
    }
    ok(said, "closeposition");
    for (name, value) in said.as_object().unwrap() {
        let code = match name.split_once(": ") {
            Some(("stranger", _)) => 403,
            Some(("missing", _)) => match value["code"].as_u64() {
                Some(501) => 501,
                _ => 404,
            },
            Some(("wrong", "unknown order")) => 404,
            Some(("wrong", _)) => 400,
            _ => continue,
        };
        assert_eq!((&value["status"], &value["code"]), (&json!("error"), &json!(code)), "{name}: {value}");
        assert!(value["message"].as_str().unwrap().contains(r#""status":"error""#), "{name}: {value}");
    }
}

fn by<'a>(rows: &'a Value, key: &str, id: &Value) -> Vec<&'a Value> {
    rows.as_array().unwrap_or_else(|| panic!("no list: {rows}")).iter().filter(|r| &r[key] == id).collect()
}

fn check_books(said: &Value, truth: &Value) {
    let told = &ok(said, "orderbook")["data"];
    let orders = truth["orders"].as_array().unwrap();
    assert_eq!(told["orders"].as_array().unwrap().len(), orders.len());
    for order in orders {
        let [row] = by(&told["orders"], "orderid", &order["id"])[..] else { panic!("not once: {order}") };
        assert_eq!(row["symbol"], order["symbol"], "{row} {order}");
        assert_eq!(row["quantity"], order["quantity"], "{row} {order}");
        assert_eq!(row["product"], order["product"], "{row} {order}");
        assert_eq!(row["action"], json!(order["side"].as_str().unwrap().to_uppercase()));
        let status = match order["status"].as_str().unwrap() {
            "filled" => "complete",
            "trigger_pending" => "trigger pending",
            status @ ("cancelled" | "rejected") => status,
            _ => "open",
        };
        assert_eq!(row["order_status"], status, "{row} {order}");
        let (kind, price) = match order["kind"].as_str().unwrap() {
            "market" => ("MARKET", json!("0")),
            "limit" => ("LIMIT", order["price"].clone()),
            "stop_limit" => ("SL", order["price"].clone()),
            _ => ("SL-M", row["price"].clone()),
        };
        assert_eq!(row["pricetype"], kind, "{row} {order}");
        assert!((decimal(&row["price"]) - decimal(&price)).abs() < 0.006, "{row} {order}");
    }
    let count = |name: &str| told["statistics"][name].as_u64().unwrap();
    let of = |status: &str| orders.iter().filter(|o| o["status"] == status).count() as u64;
    assert_eq!(count("total_completed_orders"), of("filled"));
    assert_eq!(count("total_rejected_orders"), of("rejected"));

    let trades = truth["trades"].as_array().unwrap();
    let told = ok(said, "tradebook")["data"].as_array().unwrap();
    assert_eq!(told.len(), trades.len());
    let mut left: Vec<_> = told.iter().collect();
    for trade in trades {
        let at = left.iter().position(|row| {
            row["orderid"] == trade["order"]
                && row["quantity"] == trade["quantity"]
                && (decimal(&row["average_price"]) - decimal(&trade["price"])).abs() < 0.006
        });
        let row = left.remove(at.unwrap_or_else(|| panic!("not told: {trade} among {left:?}")));
        let value = decimal(&trade["price"]) * decimal(&trade["quantity"]);
        assert!((decimal(&row["trade_value"]) - value).abs() < 0.01, "{row} {trade}");
    }

    let positions = truth["positions"]["net"].as_array().unwrap();
    let told = &ok(said, "positionbook")["data"];
    assert_eq!(told.as_array().unwrap().len(), positions.len());
    for position in positions {
        let rows = by(told, "symbol", &position["symbol"]);
        let row = rows
            .iter()
            .find(|r| r["product"] == position["product"] && r["quantity"] == position["quantity"]);
        let row = row.unwrap_or_else(|| panic!("not told: {position} among {rows:?}"));
        assert_eq!(row["quantity"], 0, "everything was closed: {row}");
        // Nothing is held, so that what was taken and given is what was won.
        assert!((decimal(&row["pnl"]) - decimal(&position["net_amount"])).abs() < 0.011, "{row} {position}");
    }
    let holdings = &ok(said, "holdings")["data"]["holdings"];
    assert_eq!(holdings.as_array().unwrap().len(), truth["holdings"].as_array().unwrap().len(), "{holdings}");

    let funds = &ok(said, "funds")["data"];
    for (told, name) in [
        ("availablecash", "available"),
        ("utiliseddebits", "used"),
        ("collateral", "collateral"),
        ("m2mrealized", "realized"),
    ] {
        let text = funds[told].as_str().unwrap_or_else(|| panic!("{told} is a text: {funds}"));
        assert!(text.split_once('.').is_some_and(|(_, paise)| paise.len() == 2), "{told}: {text}");
        same(told, &funds[told], &truth["funds"][name]);
    }
}

fn check_updates(report: &Value, said: &Value) {
    let updates = report["updates"].as_array().unwrap();
    // OpenAlgo has one word for an order on its way and one at the exchange; everything else comes once.
    let mut seen: Vec<_> = updates
        .iter()
        .filter(|u| u["order_status"] != "open" || u["filled_quantity"] != 0)
        .map(|u| {
            assert_eq!((&u["type"], &u["mode"]), (&json!("order_update"), &json!("live")), "{u}");
            (
                u["orderid"].as_str().unwrap(),
                u["order_status"].as_str().unwrap(),
                u["filled_quantity"].as_i64(),
                u["quantity"].as_i64(),
            )
        })
        .collect();
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count, "none twice: {updates:?}");
    for (name, status) in
        [("placeorder", "cancelled"), ("placeorder market", "complete"), ("placesmartorder", "complete")]
    {
        let id = said[name]["orderid"].as_str().unwrap();
        assert!(seen.iter().any(|(i, s, ..)| *i == id && *s == status), "{name} {id} {status}: {seen:?}");
    }
}

fn check(python: &Path, environment_name: &str) {
    let python = environment(python, environment_name);
    let server = Server::start_configured(ORDERS, &[("TZ", "America/New_York")]);
    server.wait_ready();
    let key = new_key(&server, "client", "feed,account,trade");
    // The market stands still while its values are compared.
    tell(&server, "mute", &json!({"on": true}));
    let truth = truth_of(&server.sim("/__sim/truth"), "NSE", SYMBOL);
    let yesterday = today().saturating_sub(1.days());
    let last_day = yesterday.saturating_sub(7.days());
    let mut intervals = Map::new();
    for interval in ["1m", "2m", "3m", "5m", "10m", "15m", "30m", "1h", "D"] {
        intervals.insert(interval.to_owned(), json!([last_day.to_string(), yesterday.to_string()]));
    }
    let (low, high) = band(&truth);
    let wanted =
        json!({"exchange": "NSE", "symbol": SYMBOL, "low": low, "high": high, "intervals": intervals});
    let report = run(&python, &server, &key, "data", &wanted);
    check_data(&server, &report["said"], &truth, &intervals);

    tell(&server, "mute", &json!({"on": false}));
    let report = run(&python, &server, &key, "orders", &wanted);
    check_orders(&report["said"], &low);
    let books = wait_for("the books", || Some(server.sim("/__sim/books")["accounts"][0].take()));
    check_books(&report["said"], &books);
    assert_eq!(books["orders_received"]["most_of_one"], 1, "no order twice");
    if report["follows"] == true {
        check_updates(&report, &report["said"]);
    }
}

#[test]
fn openalgo_1_calls_everything_and_gets_the_truth() {
    match find_python(11, 12) {
        Some(python) => check(&python, "openalgo-1.0.47"),
        None => skipped("no Python 3.11 for the OpenAlgo client 1.0.47", true),
    }
}

#[test]
fn openalgo_2_calls_everything_and_gets_the_truth() {
    match find_python(12, 14) {
        Some(python) => check(&python, "openalgo-2.0.5"),
        None => skipped("no Python 3.12 or 3.13 for the OpenAlgo client 2.0.5", false),
    }
}
