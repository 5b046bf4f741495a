//! Every data endpoint against a broker that does as the test tells it: the answers' shapes as OpenAlgo's clients
//! read them, and what is told where there is no answer.

use jiff::civil::date;
use serde_json::{Value, json};

use super::super::fake::{Books, FakeDesk};
use crate::clock::UnixNanos;
use crate::gateway::control::DeskError;
use crate::market::calendar::ist_midnight;
use crate::market::{
    Bar, Depth, InstrumentId, Interval, Kind, LastTrade, Level, OpenInterest, Price, Quote, Tick, TickBody,
};
use crate::protocol::openalgo::rest::fixtures::{AT, NIFTY_PUT, RELIANCE, price};

fn level(at: &str, size: i64, orders: u32) -> Level {
    Level { price: price(at), size, orders }
}

fn quote() -> Quote {
    Quote {
        last: LastTrade { price: price("1462.6"), size: 205, time: AT },
        bid: level("1462.5", 886, 7),
        ask: level("1462.6", 767, 3),
        volume: 9_362_799,
        average: price("1459.37"),
        total_buy: 591_351,
        total_sell: 835_701,
        open: price("1450"),
        high: price("1465.05"),
        low: price("1448"),
        close: price("1449.95"),
    }
}

fn tick(instrument: InstrumentId, body: TickBody) -> Tick {
    Tick { instrument, ts_event: AT, ts_recv: AT, body }
}

fn depth() -> Depth {
    let mut depth = Depth::default();
    depth.bids.set(0, level("1462.5", 886, 7));
    depth.asks.set(0, level("1462.6", 767, 3));
    depth
}

/// A broker that has values of a share and of an option.
fn books() -> Books {
    let interest = OpenInterest { open_interest: 123_500 };
    Books {
        ticks: vec![
            (Kind::Quote, tick(RELIANCE, TickBody::Quote(quote()))),
            (Kind::Depth, tick(RELIANCE, TickBody::Quote(quote()))),
            (Kind::Depth, tick(RELIANCE, TickBody::Depth(depth()))),
            (Kind::Quote, tick(NIFTY_PUT, TickBody::Quote(quote()))),
            (Kind::OpenInterest, tick(NIFTY_PUT, TickBody::OpenInterest(interest))),
        ],
        intervals: vec![
            Interval::Seconds(1),
            Interval::minutes(1),
            Interval::minutes(10),
            Interval::minutes(60),
            Interval::Day,
            Interval::Week,
            Interval::Month,
        ],
        ..Books::default()
    }
}

fn named(exchange: &str, symbol: &str) -> Value {
    json!({"apikey": "k", "symbol": symbol, "exchange": exchange})
}

const NOT_FOUND: &str =
    "Symbol 'NOPE' not found for exchange 'NSE'. Please verify the symbol name and exchange are correct.";
const PUT: &str = "NIFTY17FEB2625700PE";

#[tokio::test]
async fn quotes_have_what_openalgos_have() {
    let desk = FakeDesk::new(books());
    let (status, body) = desk.ask("quotes", named("NSE", "RELIANCE")).await;
    let mut data = json!({
        "open": 1450.0, "high": 1465.05, "low": 1448.0, "ltp": 1462.6, "ask": 1462.6, "bid": 1462.5,
        "prev_close": 1449.95, "volume": 9_362_799, "oi": 0
    });
    assert_eq!((status, body), (200, json!({"status": "success", "data": data})));
    // A share has no open interest, so nobody was asked for it.
    assert_eq!(desk.books.lock().unwrap().asked, ["quotes Quote 1"]);

    data["oi"] = json!(123_500);
    let (_, body) = desk.ask("quotes", named("NFO", PUT)).await;
    assert_eq!(body["data"], data);
    desk.books.lock().unwrap().failing = Some(Kind::OpenInterest);
    data["oi"] = json!(0);
    let (status, body) = desk.ask("quotes", named("NFO", PUT)).await;
    assert_eq!((status, &body["data"]), (200, &data), "values without open interest are better than none");
}

#[tokio::test]
async fn what_there_is_no_quote_of_is_told() {
    let desk = FakeDesk::new(books());
    for path in ["quotes", "depth"] {
        let (status, body) = desk.ask(path, named("NSE", "NOPE")).await;
        assert_eq!((status, body), (400, json!({"status": "error", "message": NOT_FOUND})), "{path}");
        // An exchange that OpenAlgo has and nobody serves here.
        let (status, body) = desk.ask(path, named("CRYPTO", "BTC")).await;
        assert_eq!(status, 400);
        assert!(body["message"].as_str().unwrap().contains("'CRYPTO'"), "{body}");
        let (status, body) = desk.ask(path, json!({"symbol": 7, "exchange": "nse"})).await;
        let exchanges = "Must be one of: NSE, NFO, CDS, BSE, BFO, BCD, MCX, NCDEX, NCO, NSE_INDEX, BSE_INDEX, \
                         MCX_INDEX, GLOBAL_INDEX, CRYPTO.";
        let wrong = json!({"symbol": ["Not a valid string."], "exchange": [exchanges]});
        assert_eq!((status, body), (400, json!({"status": "error", "message": wrong})));
        let missing = ["Missing data for required field."];
        let (status, body) = desk.ask(path, json!({"symbol": null})).await;
        assert_eq!((status, &body["message"]), (400, &json!({"symbol": missing, "exchange": missing})));
        let (status, body) = desk.ask(path, named("BSE", "RELIANCE")).await;
        assert_eq!((status, &body["status"]), (404, &json!("error")), "known, without values");
    }
    let down = FakeDesk::new(Books { no_quotes: true, ..books() });
    for path in ["quotes", "depth"] {
        let (status, body) = down.ask(path, named("NSE", "RELIANCE")).await;
        assert_eq!(status, 403);
        assert_eq!(body["message"], "no broker session: resting");
    }
    for path in ["quotes", "depth", "symbol"] {
        let (status, body) = FakeDesk::bare(books()).ask(path, named("NSE", "RELIANCE")).await;
        assert_eq!((status, &body["status"]), (503, &json!("error")), "{path}");
    }
}

#[tokio::test]
async fn several_quotes_tell_failures_first_and_one_by_one() {
    let desk = FakeDesk::new(books());
    let ask = |symbols: Value| {
        let desk = desk.clone();
        async move { desk.ask("multiquotes", json!({"symbols": symbols})).await }
    };
    let name = |exchange: &str, symbol: &str| json!({"exchange": exchange, "symbol": symbol});
    let (status, body) = ask(json!([
        name("NFO", PUT),
        name("BSE", "RELIANCE"),
        name("NSE", "NOPE"),
        name("NSE", "RELIANCE"),
        name("NSE", "RELIANCE")
    ]))
    .await;
    assert_eq!((status, &body["status"]), (200, &json!("success")));
    let results = body["results"].as_array().unwrap();
    assert_eq!(results[0], json!({"symbol": "NOPE", "exchange": "NSE", "error": NOT_FOUND}));
    assert_eq!((&results[1]["exchange"], results[1]["error"].is_string()), (&json!("BSE"), true));
    assert_eq!((&results[2]["symbol"], &results[2]["data"]["oi"]), (&json!(PUT), &json!(123_500)));
    assert_eq!(results[3]["data"]["ltp"], 1462.6);
    assert_eq!((results.len(), &results[4]), (5, &results[3]), "one that is asked for twice is told twice");
    assert!(desk.books.lock().unwrap().asked.contains(&"quotes Quote 3".to_owned()), "and read once");

    let (status, body) = ask(json!([name("NSE", "NOPE")])).await;
    assert_eq!(status, 400);
    assert_eq!(body["invalid_symbols"][0], json!({"symbol": "NOPE", "exchange": "NSE", "error": NOT_FOUND}));
    let many = vec![name("NSE", "RELIANCE"); 501];
    for wrong in
        [json!([]), json!(null), json!("NSE:RELIANCE"), json!(many), json!([7]), json!([{"symbol": 3}])]
    {
        let (status, body) = ask(wrong).await;
        assert_eq!((status, body["message"]["symbols"].is_array()), (400, true), "{body}");
    }
    desk.books.lock().unwrap().failing = Some(Kind::Quote);
    let (status, body) = ask(json!([name("NSE", "RELIANCE")])).await;
    assert_eq!((status, &body["message"]), (502, &json!("connection reset")));
}

#[tokio::test]
async fn depth_has_five_levels_a_side_or_is_an_error() {
    let desk = FakeDesk::new(books());
    let (status, body) = desk.ask("depth", named("NSE", "RELIANCE")).await;
    let none = || json!({"price": 0.0, "quantity": 0, "orders": 0});
    let side = |best: Value| json!([best, none(), none(), none(), none()]);
    assert_eq!(
        (status, body),
        (
            200,
            json!({"status": "success", "data": {
                "open": 1450.0, "high": 1465.05, "low": 1448.0, "ltp": 1462.6, "ltq": 205, "prev_close": 1449.95,
                "volume": 9_362_799, "oi": 0, "totalbuyqty": 591_351, "totalsellqty": 835_701,
                "bids": side(json!({"price": 1462.5, "quantity": 886, "orders": 7})),
                "asks": side(json!({"price": 1462.6, "quantity": 767, "orders": 3})),
            }})
        )
    );
    // Values without a book: the truth of an index, and of nothing else.
    let put = (Kind::Depth, tick(NIFTY_PUT, TickBody::Quote(quote())));
    let index = InstrumentId { segment: RELIANCE.segment, code: 26_000 };
    let index = (Kind::Depth, tick(index, TickBody::Quote(quote())));
    desk.books.lock().unwrap().ticks.extend([put, index]);
    let (status, body) = desk.ask("depth", named("NFO", PUT)).await;
    assert_eq!((status, &body["status"]), (404, &json!("error")), "zeros would be taken for a book");
    let (status, body) = desk.ask("depth", named("NSE_INDEX", "NIFTY")).await;
    assert_eq!((status, &body["data"]["bids"]), (200, &side(none())));
    desk.books.lock().unwrap().failing = Some(Kind::Depth);
    assert_eq!(desk.ask("depth", named("NSE", "RELIANCE")).await.0, 502);
}

fn bar(start: UnixNanos, open: &str, close: &str) -> Bar {
    let (open, close) = (price(open), price(close));
    Bar { start, open, high: open.max(close), low: open.min(close), close, volume: 318_625, open_interest: 7 }
}

fn asked_bars(interval: &str, from: &str, to: &str) -> Value {
    json!({"symbol": "RELIANCE", "exchange": "NSE", "interval": interval, "start_date": from, "end_date": to})
}

#[tokio::test]
async fn bars_carry_the_times_that_clients_expect() {
    // 2025-04-01 09:15 IST, the instant that OpenAlgo's documents show.
    let desk = FakeDesk::new(Books {
        bars: vec![bar(UnixNanos::from_secs(1_743_479_100), "766.5", "772")],
        ..books()
    });
    let (status, body) = desk.ask("history", asked_bars("1m", "2025-04-01", "2025-04-02")).await;
    assert_eq!(
        (status, body),
        (
            200,
            json!({"status": "success", "data": [{
                "timestamp": 1_743_479_100, "open": 766.5, "high": 772.0, "low": 766.5, "close": 772.0,
                "volume": 318_625, "oi": 7
            }]})
        )
    );
    for same in ["1h", "60m"] {
        desk.ask("history", asked_bars(same, "2025-04-01", "2025-04-01")).await;
    }
    assert_eq!(
        desk.books.lock().unwrap().asked,
        [
            "history NSECM:2885 1m 2025-04-01 2025-04-02",
            "history NSECM:2885 1h 2025-04-01 2025-04-01",
            "history NSECM:2885 1h 2025-04-01 2025-04-01"
        ]
    );
    // Midnight UTC of the day for what clients do not shift, midnight IST for what they do.
    let day = date(2025, 4, 1);
    desk.books.lock().unwrap().bars = vec![bar(ist_midnight(day), "766.5", "772")];
    for (interval, timestamp) in [
        ("D", 1_743_465_600),
        ("W", 1_743_465_600),
        ("M", 1_743_465_600),
        ("Q", 1_743_465_600 - 19_800),
        ("Y", ist_midnight(date(2025, 1, 1)).as_secs()),
    ] {
        let (_, body) = desk.ask("history", asked_bars(interval, "2025-01-01", "2025-04-01")).await;
        assert_eq!(body["data"][0]["timestamp"], timestamp, "{interval}");
    }
    // A quarter that is asked for from its middle is read from its start.
    desk.ask("history", asked_bars("Q", "2025-02-10", "2025-04-01")).await;
    let last = desk.books.lock().unwrap().asked.last().cloned();
    assert_eq!(last.as_deref(), Some("history NSECM:2885 M 2025-01-01 2025-04-01"));
    // None is no failure of ours; the client tells it apart.
    desk.books.lock().unwrap().bars.clear();
    let (status, body) = desk.ask("history", asked_bars("D", "2025-04-01", "2025-04-01")).await;
    assert_eq!((status, body), (200, json!({"status": "success", "data": []})));
}

#[tokio::test]
async fn bars_of_other_lengths_are_made_of_shorter_ones() {
    let at = |minute: i64| UnixNanos::from_secs(1_743_479_100 + 60 * minute);
    let bars = vec![bar(at(0), "100", "105"), bar(at(10), "106", "99"), bar(at(20), "98", "101")];
    let desk = FakeDesk::new(Books { bars, ..books() });
    let (_, body) = desk.ask("history", asked_bars("20m", "2025-04-01", "2025-04-01")).await;
    let data = &body["data"];
    assert_eq!(
        data[0],
        json!({
            "timestamp": 1_743_479_100, "open": 100.0, "high": 106.0, "low": 99.0, "close": 99.0,
            "volume": 637_250, "oi": 7
        })
    );
    assert_eq!((data[1]["timestamp"].as_i64(), &data[2]), (Some(1_743_480_300), &Value::Null));
    assert_eq!(desk.books.lock().unwrap().asked, ["history NSECM:2885 1m 2025-04-01 2025-04-01"]);
}

#[tokio::test]
async fn ranges_and_intervals_that_cannot_be_are_told() {
    let desk = FakeDesk::new(books());
    let wrong = |interval: &str, from: &str, to: &str| {
        let (desk, body) = (desk.clone(), asked_bars(interval, from, to));
        async move {
            let (status, body) = desk.ask("history", body).await;
            assert_eq!((status, &body["status"]), (400, &json!("error")), "{body}");
            body["message"].clone()
        }
    };
    let day = "2026-02-10";
    for interval in ["1d", "7m", "d", "1M", "", "5"] {
        assert!(wrong(interval, day, day).await["interval"].is_array(), "{interval}");
    }
    for (from, to) in
        [("2026-02-30", day), (day, "10-02-2026"), ("2026-2-1", day), ("", day), ("1066-10-14", day)]
    {
        assert!(wrong("D", from, to).await.is_object(), "{from} {to}");
    }
    assert!(wrong("D", "2026-02-11", day).await.as_str().unwrap().contains("start_date is after end_date"));
    assert!(wrong("1m", "2020-01-01", day).await.as_str().unwrap().contains("400 days"));
    assert!(wrong("1s", "2026-02-03", day).await.as_str().unwrap().contains("7 days"));
    let mut body = asked_bars("D", day, day);
    body["source"] = json!("disk");
    let (status, body) = desk.ask("history", body).await;
    assert_eq!((status, body["message"]["source"].is_array()), (400, true));
    assert!(desk.books.lock().unwrap().asked.is_empty(), "the broker was not bothered");

    desk.books.lock().unwrap().intervals = vec![Interval::minutes(1)];
    let message = wrong("D", day, day).await;
    assert_eq!(message, json!({"interval": ["The broker has no bars of this length."]}));
    desk.books.lock().unwrap().down = Some(DeskError::Busy {
        message: "queue".to_owned(),
        retry_after: Some(std::time::Duration::from_secs(3)),
    });
    let (status, body) = desk.ask("history", asked_bars("1m", day, day)).await;
    assert_eq!((status, &body["retry_after"]), (429, &json!(3)));
}

#[tokio::test]
async fn intervals_are_told_by_unit_and_all_units_are_there() {
    let (status, body) = FakeDesk::new(books()).ask("intervals", json!({})).await;
    let data = json!({
        "seconds": ["1s"], "minutes": ["1m", "10m"], "hours": ["1h"], "days": ["D"], "weeks": ["W"], "months": ["M"]
    });
    assert_eq!((status, body), (200, json!({"status": "success", "data": data})));
    let (_, body) = FakeDesk::new(Books::default()).ask("intervals", json!({})).await;
    assert_eq!(body["data"]["weeks"], json!([]));
}

#[tokio::test]
async fn what_is_known_of_a_symbol() {
    let desk = FakeDesk::new(books());
    let (status, body) = desk.ask("symbol", named("NFO", PUT)).await;
    let mut row = json!({
        "id": 48225, "symbol": PUT, "brsymbol": "NIFTY2621725700PE", "name": "NIFTY", "exchange": "NFO",
        "brexchange": "NSEFO", "token": "48225", "expiry": "17-FEB-26", "strike": 25700.0, "lotsize": 65,
        "instrumenttype": "PE", "tick_size": 0.05, "freeze_qty": 1801
    });
    assert_eq!((status, body), (200, json!({"status": "success", "data": row})));
    let (_, body) = desk.ask("symbol", named("NSE_INDEX", "NIFTY")).await;
    let data = &body["data"];
    assert_eq!((&data["brexchange"], &data["expiry"]), (&json!("NSE_INDEX"), &json!("")));
    assert_eq!((&data["strike"], &data["instrumenttype"]), (&json!(1.0), &json!("INDEX")));
    let (status, body) = desk.ask("symbol", named("NFO", "NOPE")).await;
    let message = "Symbol NOPE not found in exchange NFO";
    assert_eq!((status, body), (404, json!({"status": "error", "message": message})));

    let found = desk.ask("search", json!({"query": "25700 nifty", "exchange": "NFO"})).await;
    row.as_object_mut().unwrap().remove("id");
    assert_eq!(
        found,
        (200, json!({"status": "success", "message": "Found 1 matching symbols", "data": [row]}))
    );
    let (_, body) = desk.ask("search", json!({"query": "reliance"})).await;
    assert_eq!(body["data"].as_array().map(Vec::len), Some(2));
    for body in [json!({"query": "xyz"}), json!({"query": "NIFTY", "exchange": "CRYPTO"})] {
        let none = json!({"status": "success", "message": "No matching symbols found", "data": []});
        assert_eq!(desk.ask("search", body).await, (200, none));
    }
    for body in
        [json!({"query": " "}), json!({}), json!({"query": "x", "exchange": "nse"}), json!({"query": 7})]
    {
        assert_eq!(desk.ask("search", body.clone()).await.0, 400, "{body}");
    }
}

#[tokio::test]
async fn expiries_are_those_to_come() {
    let desk = FakeDesk::new(books());
    let ask = |symbol: &str, exchange: &str, kind: &str| {
        let body = json!({"symbol": symbol, "exchange": exchange, "instrumenttype": kind});
        let desk = desk.clone();
        async move { desk.ask("expiry", body).await }
    };
    let (status, body) = ask("NIFTY", "NFO", "options").await;
    assert_eq!((status, &body["data"]), (200, &json!(["17-FEB-26"])));
    assert_eq!(ask("CRUDEOIL", "MCX", "futures").await.1["data"], json!(["19-FEB-26"]));
    assert_eq!(ask("NIFTY", "NFO", "futures").await.1["data"], json!([]));
    assert_eq!(ask("NIFT", "NFO", "options").await.1["data"], json!([]), "not by the start of a name");
    let (status, body) = ask("NIFTY", "NSE", "calls").await;
    assert_eq!((status, body["message"].as_object().map(serde_json::Map::len)), (400, Some(2)));
}

#[tokio::test]
async fn the_option_at_a_distance_from_the_money() {
    let index = InstrumentId { segment: RELIANCE.segment, code: 26_000 };
    let desk = FakeDesk::new(Books { quotes: vec![(index, Price::from_rupees(25_720))], ..books() });
    let ask = |more: Value| {
        let desk = desk.clone();
        async move {
            let mut body = json!({
                "underlying": "NIFTY", "exchange": "NSE_INDEX", "expiry_date": "17FEB26", "offset": "ATM",
                "option_type": "PE"
            });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            desk.ask("optionsymbol", body).await
        }
    };
    let option = json!({
        "status": "success", "symbol": PUT, "exchange": "NFO", "lotsize": 65, "tick_size": 0.05,
        "freeze_qty": 1801, "underlying_ltp": 25720.0
    });
    assert_eq!(ask(json!({})).await, (200, option));
    for (more, status) in [
        (json!({"offset": "OTM1"}), 404),
        (json!({"option_type": "CE"}), 404),
        (json!({"expiry_date": "24FEB26"}), 404),
        (json!({"expiry_date": "03FEB26"}), 400),
        (json!({"expiry_date": "soon"}), 400),
        (json!({"expiry_date": null}), 400),
        (json!({"offset": "ATM1"}), 400),
        (json!({"option_type": "XX"}), 400),
        (json!({"underlying": "NOPE"}), 400),
        (json!({"underlying": null}), 400),
    ] {
        let (got, body) = ask(more.clone()).await;
        assert_eq!((got, &body["status"]), (status, &json!("error")), "{more} {body}");
    }
    desk.books.lock().unwrap().quotes.clear();
    assert_eq!(ask(json!({})).await.0, 404, "no price of the underlying, no money to be near");
}

#[tokio::test]
async fn small_questions() {
    let desk = FakeDesk::new(books());
    let (status, body) = desk.ask("ping", json!({})).await;
    let data = json!({"message": "pong", "broker": "test"});
    assert_eq!((status, body), (200, json!({"status": "success", "data": data})));
    let (_, body) = desk.ask("analyzer", json!({})).await;
    assert_eq!(body["data"], json!({"mode": "live", "analyze_mode": false, "total_logs": 0}));
    let (status, body) = desk.ask("analyzer/toggle", json!({"mode": false})).await;
    assert_eq!((status, &body["data"]["analyze_mode"]), (200, &json!(false)));
    for wrong in [json!({"mode": true}), json!({"mode": "yes"}), json!({})] {
        let (status, body) = desk.ask("analyzer/toggle", wrong).await;
        assert_eq!(
            (status, &body["status"]),
            (400, &json!("error")),
            "nobody may believe that orders are not real"
        );
    }
}

#[tokio::test]
async fn hours_are_true_instants() {
    let desk = FakeDesk::new(books());
    let hours = async |date: Value| {
        let (status, body) = desk.ask("market/timings", json!({"date": date})).await;
        assert_eq!(status, 200, "{body}");
        body["data"].clone()
    };
    // 2026-02-10 09:15 and 15:30 IST.
    let nse =
        json!({"exchange": "NSE", "start_time": 1_770_695_100_000_i64, "end_time": 1_770_717_600_000_i64});
    let today = hours(json!("2026-02-10")).await;
    assert_eq!(today[0], nse);
    assert_eq!(hours(Value::Null).await, today, "today, where no day is named");
    assert_eq!(hours(json!("2026-01-26")).await, json!([]), "a holiday of all");
    let holi = hours(json!("2026-03-03")).await;
    assert_eq!((&holi[0]["exchange"], &holi[1]), (&json!("MCX"), &Value::Null), "its evening session");
    for wrong in [json!("2026-02-30"), json!(7), json!("")] {
        assert_eq!(desk.ask("market/timings", json!({"date": wrong})).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn holidays_are_told_by_exchange() {
    let desk = FakeDesk::new(books());
    let (status, body) = desk.ask("market/holidays", json!({})).await;
    assert_eq!((status, &body["year"], &body["timezone"]), (200, &json!(2026), &json!("Asia/Kolkata")));
    let days = body["data"].as_array().unwrap();
    let on = |day: &str| days.iter().find(|holiday| holiday["date"] == day).unwrap();
    let republic = on("2026-01-26");
    assert_eq!(
        *republic,
        json!({
            "date": "2026-01-26", "description": "Republic Day", "holiday_type": "TRADING_HOLIDAY",
            "closed_exchanges": ["NSE", "BSE", "NFO", "BFO", "CDS", "MCX"], "open_exchanges": []
        })
    );
    let holi = on("2026-03-03");
    assert_eq!(holi["closed_exchanges"], json!(["NSE", "BSE", "NFO", "BFO", "CDS"]));
    let evening = &holi["open_exchanges"][0];
    assert_eq!(
        (&evening["exchange"], evening["start_time"].as_i64()),
        (&json!("MCX"), Some(1_772_537_400_000))
    );
    assert_eq!(desk.ask("market/holidays", json!({"year": "2026"})).await.1, body);
    for (year, status) in
        [(json!(2025), 404), (json!(99_999), 400), (json!(-1), 400), (json!("x"), 400), (json!([]), 400)]
    {
        assert_eq!(desk.ask("market/holidays", json!({"year": year})).await.0, status, "{year}");
    }
}

#[tokio::test]
async fn no_body_whatever_it_holds_is_a_failure_of_ours() {
    let desk = FakeDesk::new(books());
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(""),
        json!("\u{0}\u{ffff}"),
        json!("x".repeat(5_000)),
        json!([[[]]]),
        json!({"a": {}}),
    ];
    for endpoint in super::ENDPOINTS {
        for name in endpoint.required.iter().chain(endpoint.optional) {
            for value in &odd {
                let mut body = json!({
                    "symbol": "RELIANCE", "exchange": "NSE", "interval": "D", "start_date": "2026-02-09",
                    "end_date": "2026-02-10", "query": "REL", "instrumenttype": "options", "mode": false,
                    "underlying": "RELIANCE", "offset": "ATM", "option_type": "CE", "expiry_date": "17FEB26",
                    "symbols": [{"symbol": "RELIANCE", "exchange": "NSE"}]
                });
                body[name] = value.clone();
                let (status, answer) = desk.ask(endpoint.path, body).await;
                assert!(status < 500, "{} {name}={value}: {answer}", endpoint.path);
            }
        }
    }
}
