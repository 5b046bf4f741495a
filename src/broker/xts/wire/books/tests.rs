use proptest::prelude::*;
use serde_json::{Value, json};

use crate::clock::UnixNanos;
use crate::market::{InstrumentId, Money, Segment};

use super::*;

/// `result` of an answer.
fn with<T>(answer: &str, read: impl Fn(Raw<'_>) -> Result<Book<T>, NotABook>) -> Result<Book<T>, NotABook> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        result: Raw<'a>,
    }
    let answer: Answer<'_> = serde_json::from_str(answer).unwrap();
    read(answer.result)
}

fn result<T>(
    result: &Value,
    read: impl Fn(Raw<'_>) -> Result<Book<T>, NotABook>,
) -> Result<Book<T>, NotABook> {
    with(&json!({ "result": result }).to_string(), read)
}

/// The book's sample row with some members replaced; `null` takes a member away.
fn changed(sample: &str, list: &str, changes: &Value) -> Value {
    let answer: Value = serde_json::from_str(sample).unwrap();
    let mut row =
        if list.is_empty() { answer["result"][0].clone() } else { answer["result"][list][0].clone() };
    for (key, value) in changes.as_object().unwrap() {
        row[key] = value.clone();
    }
    row
}

const ORDERS: &str = include_str!("../../../../../tests/fixtures/xts/order-book-official.json");
const POSITIONS: &str = include_str!("../../../../../tests/fixtures/xts/positions-live-dealer.json");
const BALANCE: &str = include_str!("../../../../../tests/fixtures/xts/balance-official.json");

const RELIANCE: InstrumentId = InstrumentId { segment: Segment::NseCash, code: 2885 };

const fn rupees(rupees: i64) -> Money {
    Money::from_micros(rupees * 1_000_000)
}

/// One order with changed members.
fn one_order(changes: &Value) -> Book<Order> {
    result(&json!([changed(ORDERS, "", changes)]), orders).unwrap()
}

fn one_position(changes: &Value) -> Book<Position> {
    result(&json!({ "positionList": [changed(POSITIONS, "positionList", changes)] }), positions).unwrap()
}

fn faults(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(Fault::to_string).collect()
}

#[test]
fn the_official_order() {
    let book = with(ORDERS, orders).unwrap();
    assert_eq!((book.lost.len(), book.gaps.len()), (0, 0));
    let price = Price::parse(b"1460.5").unwrap();
    let expected = Order {
        id: "1100012345".to_owned(),
        exchange_id: "1100000012345678".to_owned(),
        unique_id: "abc123".to_owned(),
        account: "TEST01".to_owned(),
        instrument: RELIANCE,
        symbol: String::new(),
        side: Side::Buy,
        kind: OrderKind::Limit,
        product: "MIS".to_owned(),
        validity: "DAY".to_owned(),
        quantity: 10,
        filled: 10,
        left: 0,
        price,
        trigger: Price::ZERO,
        average: Some(price),
        status: OrderStatus::Filled,
        reason: String::new(),
        placed_at: Some(UnixNanos::from_secs(1_770_698_728)),
        updated_at: Some(UnixNanos::from_secs(1_770_698_729)),
    };
    assert_eq!(book.rows, [expected]);
}

#[test]
fn the_live_position() {
    let book = with(POSITIONS, positions).unwrap();
    assert_eq!((book.lost.len(), book.gaps.len()), (0, 0));
    let expected = Position {
        account: "TEST01".to_owned(),
        instrument: RELIANCE,
        symbol: "RELIANCE".to_owned(),
        product: "MIS".to_owned(),
        quantity: 10,
        bought: Some(10),
        buy_average: Price::parse(b"1460.5"),
        sold: Some(0),
        sell_average: None,
        net_amount: Some(rupees(-14_605)),
        multiplier: Some(1),
        realized: Some(rupees(0)),
        unrealized: Some(rupees(0)),
    };
    assert_eq!(book.rows, [expected]);
}

#[test]
fn the_official_balance() {
    let book = with(BALANCE, balance).unwrap();
    assert_eq!((book.lost.len(), book.gaps.len()), (0, 0));
    let expected = Funds {
        available: Some(rupees(235_395)),
        cash: Some(rupees(250_000)),
        collateral: Some(rupees(0)),
        used: Some(rupees(14_605)),
        realized: Some(rupees(0)),
        unrealized: Some(rupees(0)),
    };
    assert_eq!(book.rows, [expected]);
}

#[test]
fn forms_that_mean_the_same() {
    let plain = one_order(&json!({}));
    for changes in [
        json!({"AppOrderID": "1100012345", "OrderQuantity": "10", "CumulativeQuantity": "10.00"}),
        json!({"ExchangeSegment": 1, "ExchangeInstrumentID": "2885"}),
        json!({"ExchangeSegment": "1", "ExchangeInstrumentID": null, "ExchangeInstrumentId": "2,885"}),
        json!({"OrderSide": "Buy", "OrderType": "LIMIT", "OrderPrice": "1,460.5000"}),
        json!({"OrderAverageTradedPrice": "", "OrderAverageTradedPriceAPI": 1460.5}),
        json!({"OrderAverageTradedPrice": "NaN", "OrderAverageTradedPriceAPI": "1460.50"}),
        json!({"OrderStopPrice": "NaN"}),
        json!({"LeavesQuantity": ""}),
        json!({"CumulativeQuantity": null}),
        json!({"OrderGeneratedDateTime": "2026-02-10T10:15:28", "LastUpdateDateTime": "2026-02-10T10:15:29"}),
        json!({"OrderGeneratedDateTime": null, "OrderGeneratedDateTimeAPI": "10-02-2026 10:15:28"}),
        json!({"ClientID": null, "ClientId": "TEST01"}),
    ] {
        assert_eq!(one_order(&changes), plain, "{changes}");
    }
    // Who logged in is not whose order it is.
    assert_eq!(one_order(&json!({"ClientID": null})).rows[0].account, "");
    let plain = one_position(&json!({}));
    for changes in [
        json!({"Quantity": 10, "NetAmount": "-14,605.00", "Multiplier": 1}),
        json!({"ExchangeInstrumentId": null, "ExchangeInstrumentID": 2885}),
        json!({"SellAveragePrice": "NaN", "BuyAveragePrice": "1,460.50"}),
    ] {
        assert_eq!(one_position(&changes), plain, "{changes}");
    }
}

#[test]
fn words_of_orders() {
    for (word, status) in [
        ("New", OrderStatus::Open),
        ("PendingNew", OrderStatus::Pending),
        ("Open", OrderStatus::Open),
        ("PartiallyFilled", OrderStatus::PartiallyFilled),
        ("Replaced", OrderStatus::Open),
        ("PendingReplace", OrderStatus::Pending),
        ("PendingCancel", OrderStatus::Pending),
        ("Cancelled", OrderStatus::Cancelled),
        ("Rejected", OrderStatus::Rejected),
        ("Trigger Pending", OrderStatus::TriggerPending),
        ("TriggerPending", OrderStatus::TriggerPending),
        ("AMOPending", OrderStatus::Unknown("AMOPending".to_owned())),
    ] {
        assert_eq!(one_order(&json!({ "OrderStatus": word })).rows[0].status, status, "{word}");
    }
    for (word, kind) in [
        ("Market", OrderKind::Market),
        ("StopLimit", OrderKind::StopLimit),
        ("StopMarket", OrderKind::StopMarket),
        ("Bracket", OrderKind::Unknown("Bracket".to_owned())),
    ] {
        let row = json!({"OrderType": word, "OrderStopPrice": "1455"});
        assert_eq!(one_order(&row).rows[0].kind, kind, "{word}");
    }
    let refused = one_order(&json!({
        "OrderSide": "SELL", "OrderType": "Market", "OrderPrice": "", "OrderStatus": "Rejected",
        "CumulativeQuantity": "", "LeavesQuantity": "", "OrderAverageTradedPrice": "",
        "ExchangeOrderID": "", "CancelRejectReason": "RMS:Margin Exceeds", "LastUpdateDateTime": "",
    }));
    let order = &refused.rows[0];
    assert_eq!((order.side, order.filled, order.left, order.price), (Side::Sell, 0, 0, Price::ZERO));
    assert_eq!((order.average, order.reason.as_str()), (None, "RMS:Margin Exceeds"));
    // The next best of the times.
    assert_eq!(order.updated_at, order.placed_at);
    assert_eq!(refused.gaps, []);
}

#[test]
fn a_row_without_what_makes_it_one_is_lost_by_name_and_the_others_stay() {
    for (changes, expected) in [
        (json!({"AppOrderID": null}), "AppOrderID is missing"),
        (json!({"AppOrderID": {"a": 1}}), "AppOrderID cannot be read"),
        (json!({"ExchangeSegment": "MSECM"}), "ExchangeSegment cannot be read"),
        (json!({"ExchangeSegment": 41}), "ExchangeSegment cannot be read"),
        (json!({"ExchangeInstrumentID": -1}), "ExchangeInstrumentID cannot be read"),
        (json!({"ExchangeInstrumentID": ""}), "ExchangeInstrumentID is missing"),
        (json!({"OrderSide": "HOLD"}), "OrderSide cannot be read"),
        (json!({"OrderQuantity": "10.5"}), "OrderQuantity cannot be read"),
        (json!({"OrderQuantity": "NaN"}), "OrderQuantity is missing"),
        (json!({"CumulativeQuantity": "ten"}), "CumulativeQuantity cannot be read"),
        (json!({"CumulativeQuantity": "", "OrderStatus": "Cancelled"}), "CumulativeQuantity is missing"),
        (json!({"CumulativeQuantity": "", "LeavesQuantity": ""}), "CumulativeQuantity is missing"),
        (json!({"LeavesQuantity": "", "OrderStatus": "x"}), "LeavesQuantity is missing"),
        (json!({"OrderPrice": "1460,5"}), "OrderPrice cannot be read"),
        (json!({"OrderPrice": ""}), "OrderPrice is missing"),
        (json!({"OrderType": "StopMarket", "OrderStopPrice": "NaN"}), "OrderStopPrice is missing"),
        (
            json!({"OrderQuantity": i64::MIN, "LeavesQuantity": 5, "CumulativeQuantity": ""}),
            "LeavesQuantity cannot be read",
        ),
    ] {
        let rows = json!([changed(ORDERS, "", &json!({})), changed(ORDERS, "", &changes), "x"]);
        let book = result(&rows, orders).unwrap();
        assert_eq!(book.rows.len(), 1, "{changes}");
        assert_eq!(faults(&book.lost), [expected, "the row itself cannot be read"], "{changes}");
    }
    for (changes, expected) in [
        (json!({"Quantity": ""}), "Quantity is missing"),
        (json!({"Quantity": "1,00"}), "Quantity cannot be read"),
        (json!({"ExchangeInstrumentId": null}), "ExchangeInstrumentID is missing"),
    ] {
        let book = one_position(&changes);
        assert_eq!((book.rows.len(), faults(&book.lost)), (0, vec![expected.to_owned()]), "{changes}");
        assert!(!book.is_empty());
    }
}

#[test]
fn a_figure_that_cannot_be_read_is_none_and_named() {
    let book = one_position(&json!({"NetAmount": "many", "BuyAveragePrice": [1], "Multiplier": "0.5"}));
    let position = &book.rows[0];
    assert_eq!((position.net_amount, position.buy_average, position.multiplier), (None, None, None));
    let expected =
        ["BuyAveragePrice cannot be read", "Multiplier cannot be read", "NetAmount cannot be read"];
    let mut named = faults(&book.gaps);
    named.sort();
    assert_eq!(named, expected);
    let book = one_order(&json!({"OrderAverageTradedPrice": "1460,50", "OrderGeneratedDateTime": "soon"}));
    assert_eq!((book.rows[0].average, book.rows[0].placed_at), (None, None));
    assert_eq!(book.gaps.len(), 2);
    // Not named by the broker is no gap.
    let book = one_position(&json!({"OpenBuyQuantity": null, "RealizedMTM": "", "UnrealizedMTM": "NaN"}));
    assert_eq!((book.rows[0].bought, book.rows[0].realized, book.rows[0].unrealized), (None, None, None));
    assert_eq!(book.gaps, []);
}

#[test]
fn empty_in_every_form_and_no_book_at_all() {
    for empty in [json!([]), json!(""), json!(null), json!({})] {
        assert_eq!(result(&empty, orders), Ok(Book::default()), "{empty}");
        assert_eq!(result(&empty, positions), Ok(Book::default()), "{empty}");
        assert_eq!(result(&empty, balance), Ok(Book::default()), "{empty}");
    }
    assert_eq!(result(&json!({"positionList": []}), positions), Ok(Book::default()));
    assert_eq!(result(&json!({"PositionList": null}), positions), Ok(Book::default()));
    let row = changed(POSITIONS, "positionList", &json!({}));
    assert_eq!(result(&json!([row]), positions).unwrap().rows.len(), 1);
    for other in [json!("no data"), json!(5), json!({"a": 1}), json!({"positionList": "x"})] {
        assert_eq!(result(&other, positions), Err(NotABook), "{other}");
        assert_eq!(result(&other, balance), Err(NotABook), "{other}");
    }
}

#[test]
fn only_the_whole_balance_counts() {
    let whole = changed(BALANCE, "BalanceList", &json!({}));
    let mut part = changed(BALANCE, "BalanceList", &json!({"limitHeader": "CASH|NSE|MTF"}));
    part["limitObject"]["RMSSubLimits"]["netMarginAvailable"] = json!("1");
    let book = result(&json!({"BalanceList": [part, whole]}), balance).unwrap();
    assert_eq!(book.rows[0].available, Some(rupees(235_395)));
    assert_eq!(result(&json!({"BalanceList": [part]}), balance), Err(NotABook));
    let bare = json!({"BalanceList": [{"limitHeader": "ALL|ALL|ALL"}]});
    assert_eq!(faults(&result(&bare, balance).unwrap().lost), ["limitObject is missing"]);
}

#[test]
fn figures_of_the_balance_are_taken_from_the_details_where_the_sum_lacks_them() {
    let mut entry = changed(BALANCE, "BalanceList", &json!({}));
    entry["limitObject"]["RMSSubLimits"] =
        json!({"collateral": "NaN", "netMarginAvailable": "2,35,395.00", "RealizedMTM": "up"});
    let book = result(&json!({ "BalanceList": [entry] }), balance).unwrap();
    let expected = Funds {
        available: Some(rupees(235_395)),
        cash: Some(rupees(250_000)),
        collateral: None,
        used: Some(rupees(14_605)),
        realized: None,
        unrealized: None,
    };
    assert_eq!(book.rows, [expected]);
    assert_eq!(faults(&book.gaps), ["RealizedMTM cannot be read"]);
}

const TRADES: &str = include_str!("../../../../../tests/fixtures/xts/trade-book-official.json");
const DEALER_TRADES: &str = include_str!("../../../../../tests/fixtures/xts/trade-book-live-dealer.json");
const SINGLE: &str = include_str!("../../../../../tests/fixtures/xts/holdings-single.json");
const LIST: &str = include_str!("../../../../../tests/fixtures/xts/holdings-list.json");
const PROFILE: &str = include_str!("../../../../../tests/fixtures/xts/profile-official.json");

#[test]
fn a_trade_has_its_own_quantity_and_price() {
    let book = with(TRADES, trades).unwrap();
    assert_eq!((book.rows.len(), &book.lost, &book.gaps), (1, &vec![], &vec![]));
    let trade = &book.rows[0];
    assert_eq!((trade.id.as_str(), trade.order_id.as_str()), ("400123456", "1100012345"));
    assert_eq!((trade.quantity, trade.price.to_string().as_str()), (4, "1460.25"));
    assert_eq!(trade.traded_at, Some(UnixNanos::from_secs(1_770_698_729)));
    let book = with(DEALER_TRADES, trades).unwrap();
    let trade = &book.rows[0];
    assert_eq!((trade.id.as_str(), trade.account.as_str(), trade.side), ("400123457", "ABC123", Side::Sell));
    assert_eq!((trade.quantity, trade.price.to_string().as_str()), (1_000, "1460.55"));
    for (key, value) in [
        ("LastTradedQuantity", json!(null)),
        ("LastTradedQuantity", json!(0)),
        ("LastTradedQuantity", json!("-4")),
        ("LastTradedQuantity", json!("1.5")),
        ("LastTradedPrice", json!("NaN")),
        ("LastTradedPrice", json!(0)),
        ("ExecutionID", json!("")),
        ("AppOrderID", json!(null)),
        ("OrderSide", json!("HOLD")),
    ] {
        let row = changed(TRADES, "", &json!({ key: value }));
        let book = result(&json!([row]), trades).unwrap();
        assert_eq!((book.rows.len(), book.lost.len()), (0, 1), "{key} {value}");
    }
}

#[test]
fn holdings_in_both_shapes_and_pledged_ones_once() {
    let book = with(SINGLE, holdings).unwrap();
    assert_eq!((book.rows.len(), &book.lost), (2, &vec![]));
    let first = &book.rows[0];
    assert_eq!((first.isin.as_str(), first.quantity, first.collateral), ("INE002A01018", 1_200, Some(200)));
    assert_eq!((first.nse_code, first.bse_code, first.used), (Some(2885), Some(500_325), Some(100)));
    assert_eq!(first.average.unwrap().to_string(), "1302.75");
    let second = &book.rows[1];
    assert_eq!((second.isin.as_str(), second.account.as_str()), ("INE467B01029", "TEST01"));
    assert_eq!((second.nse_code, second.bse_code, second.average), (Some(11536), None, None));

    let book = with(LIST, holdings).unwrap();
    let shown: Vec<_> = book.rows.iter().map(|h| (h.isin.as_str(), h.quantity, h.collateral)).collect();
    assert_eq!(shown, [("INE002A01018", 1_200, Some(200)), ("INE009A01021", 7, Some(7))]);
    assert_eq!(book.lost, []);

    for empty in [json!({}), json!(""), json!([]), json!(null), json!({"RMSHoldings": {"Holdings": {}}})] {
        assert!(result(&empty, holdings).unwrap().is_empty(), "{empty}");
    }
    assert_eq!(result(&json!({"x": 1}), holdings), Err(NotABook));
    let bad = json!({"RMSHoldings": {"Holdings": {"A": {"HoldingQuantity": -1}, "B": {}, "C": 5}}});
    assert_eq!(result(&bad, holdings).unwrap().lost.len(), 3);
}

#[test]
fn the_profile_names_who_and_where() {
    let book = with(PROFILE, profile).unwrap();
    let profile = &book.rows[0];
    assert_eq!((profile.client_id.as_str(), profile.name.as_str()), ("TEST01", "TEST CLIENT"));
    assert_eq!((profile.is_pro, profile.is_investor), (Some(false), Some(true)));
    assert_eq!(profile.segments, ["NSECM", "NSEFO"]);
    assert!(!format!("{profile:?}").contains("TEST"));
    assert_eq!(result(&json!({"EmailId": "x"}), super::profile), Err(NotABook));
}

/// Any JSON, and JSON with a book's own names in it.
fn arbitrary_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[-0-9,.eENaT: ]{0,20}".prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        proptest::sample::select(vec!["ALL|ALL|ALL", "NSECM", "BUY", "Limit", "Cancelled"])
            .prop_map(Value::from),
    ];
    let key = proptest::sample::select(vec![
        "AppOrderID",
        "ExchangeSegment",
        "ExchangeInstrumentID",
        "ExchangeInstrumentId",
        "OrderSide",
        "OrderType",
        "OrderStatus",
        "OrderQuantity",
        "LeavesQuantity",
        "ExecutionID",
        "LastTradedQuantity",
        "LastTradedPrice",
        "RMSHoldings",
        "RMSHoldingList",
        "CollateralHoldingList",
        "Holdings",
        "HoldingQuantity",
        "ClientId",
        "CumulativeQuantity",
        "OrderPrice",
        "LastUpdateDateTime",
        "positionList",
        "Quantity",
        "NetAmount",
        "BalanceList",
        "limitHeader",
        "limitObject",
        "RMSSubLimits",
        "marginAvailable",
        "cashAvailable",
        "x",
    ]);
    leaf.prop_recursive(5, 48, 12, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..12).prop_map(|members| {
                Value::Object(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_json_never_panics_and_no_row_is_forgotten(value in arbitrary_json()) {
        let _ = (result(&value, balance), result(&value, holdings), result(&value, profile));
        for rows in [result(&value, orders).map(|b| (b.rows.len(), b.lost.len())),
                     result(&value, trades).map(|b| (b.rows.len(), b.lost.len())),
                     result(&value, positions).map(|b| (b.rows.len(), b.lost.len()))] {
            if let (Ok((read, lost)), Some(list)) = (rows, value.as_array()) {
                prop_assert_eq!(read + lost, list.len());
            }
        }
    }

    #[test]
    fn an_order_with_any_member_replaced_is_read_or_lost(
        key in proptest::sample::select(vec!["AppOrderID", "OrderQuantity", "LeavesQuantity",
            "CumulativeQuantity", "OrderPrice", "OrderStopPrice", "OrderAverageTradedPrice",
            "OrderGeneratedDateTime", "ExchangeInstrumentID", "OrderStatus"]),
        value in arbitrary_json(),
    ) {
        let book = one_order(&json!({ key: value }));
        prop_assert_eq!(book.rows.len() + book.lost.len(), 1);
    }
}
