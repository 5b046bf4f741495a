//! The demo book adds up, and reads as documented.

use jiff::civil::date;
use serde_json::Value;

use super::wire::Owner;
use super::*;
use crate::sim::instruments::Catalogue;

/// Tuesday 2026-02-10, 10:15:30 IST.
const NOW: UnixNanos = UnixNanos::from_secs(1_770_698_730);
const OWNER: Owner<'static> = Owner { login: "SIM01", client: "SIM01" };

fn book(account: usize) -> Book {
    Book::demo(account, &Catalogue::build(date(2026, 2, 10)), NOW)
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_demo_book_adds_up() {
    for account in 0..16 {
        let book = book(account);
        assert_eq!(book, self::book(account), "the same every time");
        for (at, order) in book.orders.iter().enumerate() {
            let (filled, left) = (book.filled(at), book.left(at));
            match order.status {
                Status::Filled => assert_eq!((filled, left), (order.quantity, 0)),
                Status::PartiallyFilled => assert!(filled > 0 && left > 0 && filled + left == order.quantity),
                Status::Cancelled | Status::Rejected => assert_eq!((filled, left), (0, 0)),
                _ => assert_eq!((filled, left), (0, order.quantity)),
            }
            assert_eq!(
                order.exchange_number.is_empty(),
                matches!(order.status, Status::PendingNew | Status::Rejected)
            );
            assert!(order.placed < order.updated && order.updated <= NOW, "{order:?}");
            assert_eq!(order.limit.as_nanos() % 10_000_000, 0, "whole paise");
        }
        let held: i64 = book.positions(false).iter().map(Position::net_amount).sum();
        let paid: i64 = book
            .trades
            .iter()
            .map(|t| {
                let sum = amount(t.price, t.quantity);
                if book.orders[t.order].side == Side::Buy { -sum } else { sum }
            })
            .sum();
        assert_eq!(held, paid);
        assert_eq!(book.positions(true).len(), book.positions(false).len() + 1, "one was held before");
        let funds = book.funds();
        assert!(funds.used > 0 && funds.available() > 0, "{funds:?}");
    }
    let (first, second) = (book(0), book(1));
    assert_ne!(first.orders[0].item, second.orders[0].item);
    assert!(first.orders.iter().all(|o| second.orders.iter().all(|p| o.number != p.number)));
    assert_eq!(first.orders[0].number, 1_149_400_001);
    let states: std::collections::BTreeSet<_> =
        first.orders.iter().map(|o| format!("{:?}", o.status)).collect();
    assert_eq!(states.len(), 7, "every state: {states:?}");
}

#[test]
fn order_entries_have_the_documented_names_and_oddities() {
    let book = book(0);
    let entries = book.order_entries(OWNER);
    // XTS documentation's sample, and what newer servers add (TradingSymbol, …API).
    let mut documented = [
        "LoginID",
        "ClientID",
        "AppOrderID",
        "OrderReferenceID",
        "GeneratedBy",
        "ExchangeOrderID",
        "OrderCategoryType",
        "ExchangeSegment",
        "ExchangeInstrumentID",
        "OrderSide",
        "OrderType",
        "ProductType",
        "TimeInForce",
        "OrderPrice",
        "OrderQuantity",
        "OrderStopPrice",
        "OrderStatus",
        "OrderAverageTradedPrice",
        "LeavesQuantity",
        "CumulativeQuantity",
        "OrderDisclosedQuantity",
        "OrderGeneratedDateTime",
        "ExchangeTransactTime",
        "LastUpdateDateTime",
        "OrderExpiryDate",
        "CancelRejectReason",
        "OrderUniqueIdentifier",
        "OrderLegStatus",
        "IsSpread",
        "BoLegDetails",
        "BoEntryOrderId",
        "MessageCode",
        "MessageVersion",
        "TokenID",
        "ApplicationType",
        "SequenceNumber",
        "TradingSymbol",
        "OrderAverageTradedPriceAPI",
    ];
    documented.sort_unstable();
    assert_eq!(keys(&entries[0]), documented);
    let first = &entries[0];
    assert_eq!((&first["ExchangeSegment"], &first["ExchangeInstrumentID"]), (&"NSECM".into(), &2885.into()));
    assert_eq!(
        (&first["OrderPrice"], &first["OrderAverageTradedPrice"]),
        (&1450.2.into(), &"1,450.20".into())
    );
    assert_eq!((&first["OrderStatus"], &first["OrderSide"]), (&"Filled".into(), &"BUY".into()));
    assert_eq!(first["OrderGeneratedDateTime"], "10-02-2026 09:45:30");
    let open = entries.iter().find(|e| e["OrderStatus"] == "New").unwrap();
    assert_eq!(
        (&open["OrderAverageTradedPrice"], &open["OrderAverageTradedPriceAPI"]),
        (&"".into(), &"NaN".into())
    );
    assert!(entries.iter().any(|e| e["OrderStatus"] == "Trigger Pending" && e["OrderStopPrice"] != 0));
    assert!(
        entries.iter().any(|e| e["OrderPrice"].is_string())
            && entries.iter().any(|e| e["OrderPrice"].is_f64())
    );

    let history = book.history(OWNER, 0);
    assert_eq!(
        (&history[0]["OrderStatus"], &history[1]["OrderStatus"]),
        (&"PendingNew".into(), &"Filled".into())
    );
    let trades = book.trade_entries(OWNER);
    let partial = trades.iter().find(|t| t["OrderStatus"] == "PartiallyFilled").unwrap();
    assert_eq!((&partial["MessageCode"], &partial["LastTradedQuantity"]), (&9005.into(), &10.into()));
    assert_eq!((&partial["CumulativeQuantity"], &partial["ExecutionReportIndex"]), (&10.into(), &1.into()));
    assert!(partial["ExecutionID"].is_string() && partial["LastTradedPrice"].is_number());
}

#[test]
fn position_entries_are_texts_and_the_event_has_other_names() {
    let book = book(0);
    let net = book.position_entries(OWNER, true, NOW);
    for entry in &net {
        for key in
            ["ExchangeInstrumentId", "Quantity", "Marketlot", "BuyAveragePrice", "NetAmount", "MTM", "BEP"]
        {
            assert!(entry[key].is_string(), "{key} of {entry}");
        }
    }
    let share = net.iter().find(|e| e["TradingSymbol"] == "RELIANCE").unwrap();
    let text = |key: &str| share[key].as_str().unwrap();
    assert_eq!((text("OpenBuyQuantity"), text("OpenSellQuantity"), text("Quantity")), ("10", "4", "6"));
    assert_eq!(text("NetAmount").replace(',', ""), "-8700.00", "4 × 1450.50 less 10 × 1450.20");
    assert!(net.iter().any(|e| e["Quantity"] == "-30" && e["BuyAveragePrice"] == "0.00"));
    assert!(net.iter().any(|e| e["NetAmount"].as_str().unwrap().contains(',')));
    assert!(net.iter().any(|e| !e["BuyAmount"].as_str().unwrap().contains(',') && e["BuyAmount"] != "0.00"));
    assert_eq!(net[0]["Quantity"], "-30", "held before: sold");
    let event = book.position_event(OWNER, &book.orders[0].item, "MIS", NOW).unwrap();
    assert_eq!((&event["NetPosition"], &event["ExchangeInstrumentID"]), (&"6".into(), &"2885".into()));
}

#[test]
fn a_fill_moves_order_trades_positions_and_funds_together() {
    let mut book = book(0);
    let (standing, before) = (
        book.orders.iter().filter(|o| matches!(o.status, Status::New | Status::PartiallyFilled)).count(),
        book.funds(),
    );
    assert_eq!(before, self::book(0).funds());
    let (order, trade) = book.fill_next(NOW).unwrap();
    assert_eq!((book.orders[order].status, book.left(order)), (Status::Filled, 0));
    assert_eq!((book.trades[trade].order, book.orders[order].updated), (order, NOW));
    for _ in 1..standing {
        assert!(book.fill_next(NOW).is_some());
    }
    assert_eq!(book.fill_next(NOW), None);
    let sum = book.funds();
    assert_eq!(sum.available() + sum.used, sum.cash);
}
