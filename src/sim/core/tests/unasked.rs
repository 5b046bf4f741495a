//! What market sockets get unasked, candles, look-ups and history.

use super::*;
use crate::sim::settings::Hours;

fn events(sim: &mut Sim, seconds: u64) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for _ in 0..seconds * 4 {
        sim.now = sim.now.plus(std::time::Duration::from_millis(250));
        sim.core.advance(sim.now);
        for (_, out) in sim.core.take_outbox() {
            if let Out::Text(text) = out
                && let Some(rest) = text.strip_prefix("42")
            {
                let event: Value = serde_json::from_str(rest).unwrap();
                let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
                found.push((text(&event[0]), text(&event[1])));
            }
        }
    }
    found
}

#[test]
fn sessions_are_told_after_joining_and_when_they_change() {
    let mut sim = Sim::new(Settings { hours: Hours::Exchange, ..Settings::default() });
    let token = sim.login(Product::Market);
    sim.connect(1, &token, true).unwrap();
    let told = events(&mut sim, 3);
    let sessions: Vec<Value> = told
        .iter()
        .filter(|(name, _)| name == "1507-json-full")
        .map(|(_, text)| serde_json::from_str(text).unwrap())
        .collect();
    assert_eq!(sessions.len(), 6, "once for each segment");
    assert_eq!((&sessions[0]["ExchangeSegment"], &sessions[0]["tradingSession"]), (&1.into(), &2.into()));
    assert_eq!(
        (&sessions[0]["maketType"], &sessions[0]["message"]),
        (&1.into(), &"NSECM Normal market opened".into())
    );
    // 15:29:58 IST.
    sim.now = UnixNanos::from_secs(1_770_717_598);
    sim.core.advance(sim.now);
    sim.core.take_outbox();
    let told = events(&mut sim, 4);
    let closed: Vec<_> = told.iter().filter(|(n, t)| n == "1507-json-full" && t.contains("closed")).collect();
    assert_eq!(closed.len(), 4, "the equity markets and their derivatives");
}

#[test]
fn candles_are_sent_as_json_to_those_who_want_them_and_bands_now_and_then() {
    let mut sim = Sim::new(Settings::default());
    let token = sim.login(Product::Market);
    let answer = sim.subscribe(1505, &[2885]);
    assert_eq!((answer.status, result(&answer)["listQuotes"].clone()), (200, json!([])));
    sim.connect(1, &token, true).unwrap();
    sim.core.take_outbox();
    let told = events(&mut sim, 95);
    let candles: Vec<Value> = told
        .iter()
        .filter(|(name, _)| name == "1505-json-full")
        .map(|(_, text)| serde_json::from_str(text).unwrap())
        .collect();
    let truth = sim.core.candles_view()["candles"].clone();
    assert_eq!(candles.len(), 2, "10:15 and 10:16");
    for (candle, truth) in candles.iter().zip(truth.as_array().unwrap()) {
        assert_eq!(candle["ExchangeInstrumentID"], 2885);
        assert_eq!(candle["BarTime"].as_i64(), truth["start_s"].as_i64().map(|s| s + 19_800 + 59));
        assert_eq!(candle["BarVolume"], truth["volume"]);
        assert_eq!(candle["High"].as_f64(), truth["high"].as_str().unwrap().parse().ok());
    }
    let bands: Vec<_> = told.iter().filter(|(n, _)| n == "1105-json-partial").collect();
    assert!(bands.len() >= 3);
    assert_eq!(bands[0].1, "t:1_2885,110:1595,111:1305");
    assert_eq!(sim.core.quotes(&instruments(1505, &[2885])).status, 400);
}

fn query(pairs: &[(&str, &str)]) -> Query {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn look_ups_answer_from_the_master() {
    let sim = Sim::new(Settings::default());
    let ask = |what: &str, pairs: &[(&str, &str)]| {
        let answer = sim.core.look_up(what, &query(pairs)).unwrap();
        assert_eq!(parsed(&answer)["code"], "s-rds-0", "{what}: {}", answer.body);
        result(&answer)
    };
    assert!(ask("series", &[("exchangeSegment", "1")]).as_array().unwrap().contains(&"EQ".into()));
    let share = [("exchangeSegment", "1"), ("series", "EQ"), ("symbol", "RELIANCE")];
    assert_eq!(ask("symbol", &share)[0]["ExchangeInstrumentID"], 2885);
    let options = [("exchangeSegment", "2"), ("series", "OPTIDX"), ("symbol", "NIFTY")];
    assert_eq!(ask("expiryDate", &options)[0], "2026-02-17T14:30:00");
    let mut date = options.to_vec();
    date.push(("expiryDate", "17Feb2026"));
    assert_eq!(ask("optiontype", &date), json!(["CE", "PE"]));
    date.push(("optionType", "CE"));
    let strikes = ask("strikePrice", &date);
    date.push(("strikePrice", strikes[3].as_str().unwrap()));
    let option = ask("OptionSymbol", &date);
    assert_eq!((option.as_array().unwrap().len(), &option[0]["OptionType"]), (1, &3.into()));
    let future =
        [("exchangeSegment", "2"), ("series", "FUTIDX"), ("symbol", "NIFTY"), ("expiryDate", "24Feb2026")];
    assert_eq!(ask("futureSymbol", &future)[0]["ContractExpirationString"], "24Feb2026");
    let none =
        sim.core.look_up("symbol", &query(&[("exchangeSegment", "1"), ("series", "EQ"), ("symbol", "X")]));
    assert_eq!(refused(&none.unwrap(), "e-rds-0001"), json!({}));
    assert_eq!(sim.core.look_up("weather", &Query::new()), None);

    let found = result(&sim.core.search(&query(&[("searchString", "relia")])));
    assert!(found.as_array().unwrap().iter().any(|i| i["ExchangeInstrumentID"] == 2885));
    let by_id = json!({"instruments": [{"exchangeSegment": 1, "exchangeInstrumentID": 2885}]});
    assert_eq!(result(&sim.core.search_by_id(&by_id))[0]["Name"], "RELIANCE");
}

#[test]
fn history_says_what_the_truth_is_and_refuses_too_much() {
    let mut sim = Sim::new(Settings::default());
    let mut ask = |code: &str, from: &str, to: &str, interval: &str| {
        let pairs = [
            ("exchangeSegment", "1"),
            ("exchangeInstrumentID", code),
            ("startTime", from),
            ("endTime", to),
            ("compressionValue", interval),
        ];
        sim.core.ohlc(&query(&pairs), START)
    };
    let answer = ask("2885", "Feb 09 2026 091500", "Feb 10 2026 153000", "300");
    let text = result(&answer)["dataReponse"].as_str().unwrap().to_owned();
    refused(&ask("2885", "Jan 01 2026 091500", "Feb 10 2026 153000", "60"), "e-response-0001");
    refused(&ask("2885", "Feb 09 2026 091500", "Feb 10 2026 153000", "61"), "e-response-0001");
    refused(&ask("999999", "Feb 09 2026 091500", "Feb 10 2026 153000", "60"), "e-instrument-0001");
    // A Sunday: no bars, said in both ways.
    let (first, second) = (
        ask("2885", "Feb 08 2026 000000", "Feb 08 2026 235959", "60"),
        ask("2885", "Feb 08 2026 000000", "Feb 08 2026 235959", "60"),
    );
    assert_eq!(result(&first)["dataReponse"], "");
    refused(&second, "e-instrument-0001");

    let view = query(&[
        ("segment", "1"),
        ("id", "2885"),
        ("interval", "5m"),
        ("from", "2026-02-09"),
        ("to", "2026-02-10"),
    ]);
    let truth = sim.core.bars_view(&view, START).unwrap();
    let truth = truth["bars"].as_array().unwrap();
    let rows: Vec<_> = text.split(',').collect();
    assert_eq!(rows.len(), truth.len());
    assert_eq!(rows.len(), 75 + 12, "Monday, and Tuesday until 10:15");
    for (row, truth) in rows.iter().zip(truth) {
        let columns: Vec<_> = row.split('|').collect();
        assert_eq!((columns.len(), columns[7]), (8, ""), "a bar behind the last column too");
        let stamp: i64 = columns[0].parse().unwrap();
        assert_eq!(stamp - 19_800 - 299, truth["start_s"].as_i64().unwrap());
        for (column, key) in [(1, "open"), (2, "high"), (3, "low"), (4, "close")] {
            let text = truth[key].as_str().unwrap();
            assert_eq!(columns[column], text.strip_suffix(".0").unwrap_or(text));
        }
        assert_eq!(columns[5], truth["volume"].to_string());
    }
}
