use jiff::civil::date;
use serde_json::json;

use crate::broker::{Broker, Error};
use crate::market::{InstrumentId, Interval, Segment};

use super::books::of;
use super::server::Server;
use super::*;

const OHLC: &str = include_str!("../../../../tests/fixtures/xts/ohlc-official.json");
const FOUND: &str = include_str!("../../../../tests/fixtures/xts/search-by-id.json");
const STATUS: &str = include_str!("../../../../tests/fixtures/xts/market-status.json");

const RELIANCE: InstrumentId = InstrumentId { segment: Segment::NseCash, code: 2885 };

#[tokio::test]
async fn history_asks_for_whole_indian_days() {
    let server = Server::start(|_| (200, OHLC.to_owned())).await;
    let (broker, token) = (broker(settings(server.address)), token(Product::Market));
    let (from, to) = (date(2026, 2, 6), date(2026, 2, 10));
    let bars = broker.history(&token, RELIANCE, Interval::minutes(1), from, to).await.unwrap();
    assert_eq!((bars.len(), bars[0].start.to_string().as_str()), (2, "2026-02-10T03:45:00Z"));
    let path = "/apibinarymarketdata/instruments/ohlc?exchangeSegment=1&exchangeInstrumentID=2885";
    let times = "startTime=Feb%2006%202026%20000000&endTime=Feb%2010%202026%20235959";
    assert_eq!(server.lines(), [format!("GET {path}&{times}&compressionValue=60")]);
    // What was not asked for is left out.
    let day = date(2026, 2, 9);
    assert_eq!(broker.history(&token, RELIANCE, Interval::minutes(1), day, day).await.unwrap(), []);
    for (interval, from, to) in [(Interval::Seconds(7), from, to), (Interval::Day, to, from)] {
        let refused = broker.history(&token, RELIANCE, interval, from, to).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid(_)), "{refused}");
    }
    assert_eq!(server.seen().len(), 2);
    for interval in broker.intervals() {
        assert_eq!(Interval::parse(&interval.to_string()), Some(*interval));
        assert!(broker.history_days(*interval) > 0);
    }
}

#[tokio::test]
async fn no_history_and_unreadable_history() {
    for (status, body, is_empty) in [
        (400, r#"{"type":"error","code":"e-instrument-0001","description":"Data not available"}"#, true),
        (400, r#"{"type":"error","code":"e-instrument-0001","description":"Instrument not found"}"#, false),
        (200, r#"{"type":"success","result":{"dataReponse":""}}"#, true),
        (200, r#"{"type":"success","result":{"dataReponse":"1|2|3"}}"#, false),
    ] {
        let server = Server::start(move |_| (status, body.to_owned())).await;
        let (broker, token) = (broker(settings(server.address)), token(Product::Market));
        let day = date(2026, 2, 10);
        let answered = broker.history(&token, RELIANCE, Interval::Day, day, day).await;
        assert_eq!(answered.is_ok_and(|bars| bars.is_empty()), is_empty, "{body}");
    }
}

#[tokio::test]
async fn searches_look_ups_and_states() {
    let list = |result: serde_json::Value| json!({"type": "success", "code": "s-rds-0", "result": result});
    let server = Server::start(move |seen| {
        let path = seen.line.split('?').next().unwrap().rsplit('/').next().unwrap();
        let body = match path {
            "series" | "optionType" => list(json!(["CE", "PE"])).to_string(),
            "strikePrice" => list(json!([25700, "25750.5"])).to_string(),
            "exchange" if seen.line.contains("status") => STATUS.to_owned(),
            "exchange" => list(json!({"messageList": [{"ExchangeMessage": "hello"}]})).to_string(),
            "clientConfig" => list(json!({"publishFormat": ["JSON"]})).to_string(),
            "expiryDate" => {
                return (
                    400,
                    json!({"type": "error", "code": "e-rds-0001", "description": "key not found."})
                        .to_string(),
                );
            }
            _ => FOUND.to_owned(),
        };
        (200, body)
    })
    .await;
    let (broker, token) = (broker(settings(server.address)), token(Product::Market));
    let nse_fo = Segment::NseFo;
    let found = broker.search(&token, "NIFTY 17").await.unwrap();
    assert_eq!((found.len(), found[0].id.code, found[0].lot_size), (1, 48225, Some(65)));
    assert_eq!(found[0].strike.unwrap().to_string(), "25700.0");
    assert_eq!(found[0].high_band.unwrap().to_string(), "588.0");
    assert_eq!(broker.search_by_id(&token, &[found[0].id]).await.unwrap(), found);
    assert_eq!(broker.series(&token, nse_fo).await.unwrap(), ["CE", "PE"]);
    let expiry = date(2026, 2, 17);
    let strike = found[0].strike.unwrap();
    let option = broker.option_symbol(&token, nse_fo, ("OPTIDX", "NIFTY"), expiry, ("CE", strike)).await;
    assert_eq!(option.unwrap(), found);
    assert_eq!(broker.future_symbol(&token, nse_fo, "FUTIDX", "NIFTY", expiry).await.unwrap(), found);
    assert_eq!(broker.symbol(&token, nse_fo, "EQ", "X").await.unwrap(), found);
    let strikes = broker.strike_prices(&token, nse_fo, ("OPTIDX", "NIFTY"), expiry, "CE").await.unwrap();
    assert_eq!(strikes, ["25700", "25750.5"]);
    assert_eq!(broker.option_types(&token, nse_fo, "OPTIDX", "NIFTY", expiry).await.unwrap().len(), 2);
    let unknown = broker.expiry_dates(&token, nse_fo, "OPTIDX", "X").await.unwrap_err();
    assert!(matches!(unknown, Error::Refused { .. }), "{unknown}");
    assert!(broker.client_config(&token).await.unwrap().is_object());
    let states = broker.market_status(&of(true)).await.unwrap();
    let shown: Vec<_> = states.iter().map(|s| (s.segment, s.session.as_str())).collect();
    assert_eq!(shown, [(Segment::NseCash, "NormalStart"), (nse_fo, "2")]);
    let messages = broker.exchange_messages(&of(true), Segment::NseCash).await.unwrap();
    assert_eq!(messages[0].0, "hello");
    let lines = server.lines();
    assert!(lines[0].ends_with("/search/instruments?searchString=NIFTY%2017"), "{}", lines[0]);
    assert!(lines.iter().any(|l| l.ends_with("expiryDate=17Feb2026&optionType=CE&strikePrice=25700")));
    assert!(lines.iter().any(|l| l.ends_with("/status/exchange?userID=ABC123A02")));
}
