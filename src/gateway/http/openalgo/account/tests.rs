//! Each book's answer, and what is said where there is none.

use serde_json::{Value, json};

use super::super::fake::{Books, FakeDesk};
use super::*;
use crate::gateway::control::DeskError;
use crate::market::{Funds, Holding, OrderKind};
use crate::protocol::openalgo::rest::fixtures::{
    NIFTY_PUT, RELIANCE, UNKNOWN, money, order, position, price, trade,
};

fn books() -> Books {
    let mut filled = order("1100012345", OrderStatus::Filled);
    (filled.kind, filled.filled, filled.left) = (OrderKind::Market, 10, 0);
    let holding = Holding {
        isin: "INE002A01018".to_owned(),
        nse_code: Some(2885),
        quantity: 2,
        average: Some(price("1400")),
        ..Holding::default()
    };
    Books {
        orders: vec![filled, order("1100012346", OrderStatus::Open)],
        trades: vec![trade("1100012345", 4, "1460.5"), trade("1100012345", 6, "1461")],
        positions: vec![position(RELIANCE, 10), position(NIFTY_PUT, -65), position(UNKNOWN, 0)],
        holdings: vec![holding],
        funds: Funds { available: Some(money("235395")), ..Funds::default() },
        quotes: vec![(RELIANCE, price("1462.25"))],
        ..Books::default()
    }
}

#[tokio::test]
async fn every_book_has_its_shape() {
    let desk = FakeDesk::new(books());
    assert_eq!(
        desk.written("funds").await,
        r#"{"status":"success","data":{"availablecash":"235395.00","collateral":"0.00","m2mrealized":"0.00","m2munrealized":"0.00","utiliseddebits":"0.00"}}"#
    );
    let (status, orders) = desk.ask("orderbook", json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(orders["data"]["orders"][0]["orderid"], "1100012345");
    assert_eq!(orders["data"]["orders"][0]["price"], 0.0);
    assert_eq!(orders["data"]["statistics"]["total_open_orders"], 1);
    let (_, trades) = desk.ask("tradebook", json!({})).await;
    assert_eq!(trades["data"][1]["trade_value"], 8766.0);
    let (_, positions) = desk.ask("positionbook", json!({})).await;
    assert_eq!(positions["data"][0]["pnl"], 17.5);
    assert_eq!(positions["data"][1]["ltp"], 0.0, "no quote");
    assert_eq!(positions["data"][1]["pnl_source"], "broker");
    assert_eq!(positions["data"][2]["symbol"], "BROKER-NAME");
    let (_, holdings) = desk.ask("holdings", json!({})).await;
    assert_eq!(holdings["data"]["holdings"][0]["pnl"], 124.5);
    assert_eq!(holdings["data"]["statistics"]["totalholdingvalue"], 2924.5);
    let asked = desk.books.lock().unwrap().asked.clone();
    assert!(asked.contains(&"quotes Quote 3".to_owned()), "one request for all: {asked:?}");
}

#[tokio::test]
async fn books_are_shown_without_quotes() {
    let desk = FakeDesk::new(Books { no_quotes: true, ..books() });
    let (status, positions) = desk.ask("positionbook", json!({})).await;
    assert_eq!((status, &positions["data"][0]["ltp"]), (200, &json!(0.0)));
    let (status, holdings) = desk.ask("holdings", json!({})).await;
    assert_eq!((status, &holdings["data"]["statistics"]["holdings_without_value"]), (200, &json!(1)));
}

#[tokio::test]
async fn one_order_by_its_number_or_text() {
    let desk = FakeDesk::new(books());
    for id in [json!("1100012345"), json!(1_100_012_345_i64)] {
        let (status, body) = desk.ask("orderstatus", json!({"strategy": "S", "orderid": id})).await;
        assert_eq!((status, &body["data"]["order_status"]), (200, &json!("complete")));
        assert_eq!(body["data"]["average_price"], 1460.8, "from its trades");
    }
    let (status, body) = desk.ask("orderstatus", json!({"strategy": "S", "orderid": "7"})).await;
    assert_eq!((status, body), (404, json!({"status": "error", "message": "Order 7 not found"})));
    let (status, body) = desk.ask("orderstatus", json!({})).await;
    assert_eq!(status, 400);
    let message = "orderid: Missing data for required field.; strategy: Missing data for required field.";
    assert_eq!(body["message"], message);
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_no_rows_that_are_not_there() {
    let desk = FakeDesk::new(Books { unreadable: 2, ..books() });
    for path in ["orderbook", "tradebook", "positionbook", "holdings"] {
        let (status, body) = desk.ask(path, json!({})).await;
        assert_eq!((status, &body["unreadable_rows"]), (200, &json!(2)), "{path}");
        assert!(!body["data"].is_null());
        let (_, whole) = FakeDesk::new(books()).ask(path, json!({})).await;
        assert!(whole.get("unreadable_rows").is_none(), "{path}");
    }
    let (status, body) = desk.ask("orderstatus", json!({"strategy": "S", "orderid": "7"})).await;
    let said = "2 rows of the broker's orders cannot be read; order 7 is not among the others";
    assert_eq!((status, &body["message"]), (502, &json!(said)));
    let open = |symbol: &str| json!({"strategy": "S", "symbol": symbol, "exchange": "NSE", "product": "MIS"});
    for product in ["MIS", "CNC"] {
        let mut of = open("RELIANCE");
        of["product"] = json!(product);
        let (status, body) = desk.ask("openposition", of).await;
        assert_eq!((status, &body["quantity"]), (502, &Value::Null), "nobody knows that it is all: {body}");
        assert_eq!(body["unreadable_rows"], 2);
    }
}

#[tokio::test]
async fn the_size_of_a_position() {
    // Of the client that orders go to, and of nobody else.
    let mut others = books().positions.remove(0);
    others.account = "OTHER".to_owned();
    let mut all = Books { client: "TEST01", ..books() };
    all.positions.push(others);
    let desk = FakeDesk::new(all);
    for (symbol, exchange, product, status, quantity) in [
        ("NIFTY17FEB2625700PE", "NFO", "MIS", 200, json!(-65)),
        ("NIFTY17FEB2625700PE", "NFO", "NRML", 200, json!(0)),
        ("RELIANCE", "NSE", "MIS", 200, json!(10)),
        ("RELIANCE", "BSE", "MIS", 200, json!(0)),
        ("BROKER-NAME", "BFO", "MIS", 200, json!(0)),
        ("NOPE", "NSE", "MIS", 400, Value::Null),
    ] {
        let body = json!({"strategy": "S", "symbol": symbol, "exchange": exchange, "product": product});
        let (got, body) = desk.ask("openposition", body).await;
        assert_eq!((got, &body["quantity"]), (status, &quantity), "{symbol}: {body}");
    }
}

#[tokio::test]
async fn what_the_desk_says_is_passed_on() {
    for (error, status) in [
        (DeskError::NoAccount("x".to_owned()), 400),
        (DeskError::WhichAccount(vec!["a".to_owned(), "b".to_owned()]), 400),
        (DeskError::NotConfigured("no interactive keys".to_owned()), 403),
        (DeskError::NoSession("resting".to_owned()), 403),
        (DeskError::Refused("no".to_owned()), 400),
        (DeskError::Failed("timed out".to_owned()), 502),
        (DeskError::NotSent("its turn did not come in time".to_owned()), 503),
        (DeskError::Busy { message: "wait".to_owned(), retry_after: None }, 429),
    ] {
        let desk = FakeDesk::new(Books { down: Some(error.clone()), ..books() });
        for path in ["funds", "orderbook", "tradebook", "positionbook", "holdings"] {
            let (got, body) = desk.ask(path, json!({})).await;
            assert_eq!(
                (got, body),
                (status, json!({"status": "error", "message": error.to_string()})),
                "{path}"
            );
        }
    }
    let (status, body) = FakeDesk::bare(books()).ask("orderbook", json!({})).await;
    assert_eq!((status, &body["status"]), (503, &json!("error")));
    let (status, body) = FakeDesk::new(books()).ask("margin", json!({"positions": []})).await;
    assert_eq!((status, &body["status"]), (404, &json!("error")));
}

#[tokio::test]
async fn the_account_can_be_named() {
    let desk = FakeDesk::new(books());
    desk.ask("orderbook", json!({"account": "second"})).await;
    assert_eq!(desk.books.lock().unwrap().asked, [r#"orders Some("second")"#]);
    let (status, _) = desk.ask("orderbook", json!({"account": 7})).await;
    assert_eq!(status, 400);
}
