//! Which rows of a dealer's books may be acted on, and when that cannot be told.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::broker::{Broker, Class, Error};
use crate::market::PositionView;

use super::books::of;
use super::server::{Seen, Server};
use super::*;

const POSITIONS: &str = include_str!("../../../../tests/fixtures/xts/positions-live-dealer.json");
const ORDERS: &str = include_str!("../../../../tests/fixtures/xts/order-book-official.json");

/// Positions of so many units, of these accounts; `-` for none.
fn positions(rows: &[(&str, i64)]) -> (u16, String) {
    let mut answer: Value = serde_json::from_str(POSITIONS).unwrap();
    let sample = answer["result"]["positionList"][0].clone();
    let row = |(account, units): &(&str, i64)| {
        let mut row = sample.clone();
        row["Quantity"] = json!(units.to_string());
        row["AccountID"] = json!(account);
        if *account == "-" {
            row.as_object_mut().unwrap().remove("AccountID");
        }
        row
    };
    answer["result"]["positionList"] = rows.iter().map(row).collect();
    (200, answer.to_string())
}

fn of_several() -> Token {
    let facts = AccountFacts {
        client_codes: vec!["ABC123".to_owned(), "ABC124".to_owned()],
        ..AccountFacts::clone(&of(false).facts)
    };
    Token { facts: Arc::new(facts), ..of(false) }
}

fn refused() -> (u16, String) {
    (400, json!({"type": "error", "code": "e", "description": "Client not mapped", "result": {}}).to_string())
}

fn nowhere() -> (u16, String) {
    (404, "<h1>Unable to connect provided url</h1>".to_owned())
}

/// The units of what may be acted on.
async fn traded(broker: &XtsBroker, token: &Token) -> Result<Vec<i64>, Error> {
    let listing = broker.traded_positions(token, PositionView::Net).await?;
    Ok(listing.rows.into_iter().map(|position| position.quantity).collect())
}

async fn of_dealer(
    answer: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static,
) -> Result<Vec<i64>, Error> {
    let server = Server::start(answer).await;
    let answered = traded(&broker(settings(server.address)), &of(false)).await;
    assert!(server.lines().iter().all(|line| line.ends_with("clientID=ABC123")), "{:?}", server.lines());
    answered
}

#[tokio::test]
async fn a_dealers_positions_are_those_of_the_client_that_orders_go_to() {
    let mixed = [("ABC124", 7), ("ABC123", 10), ("-", 3)];
    assert_eq!(of_dealer(move |_| positions(&mixed)).await.unwrap(), [10, 3]);
    // Nothing for the dealer's path, something at the plain one.
    let plain =
        |seen: &Seen| if seen.line.contains("dealer") { positions(&[]) } else { positions(&[("ABC123", 4)]) };
    assert_eq!(of_dealer(plain).await.unwrap(), [4]);
    // None at all, in the broker's word.
    assert_eq!(of_dealer(|_| positions(&[])).await.unwrap(), [0_i64; 0]);
    let no_dealers = |seen: &Seen| if seen.line.contains("dealer") { nowhere() } else { positions(&[]) };
    assert_eq!(of_dealer(no_dealers).await.unwrap(), [0_i64; 0]);
}

#[tokio::test]
async fn where_the_book_cannot_be_had_nobody_takes_it_for_empty() {
    let only_plain = |seen: &Seen| if seen.line.contains("dealer") { refused() } else { positions(&[]) };
    let part = |seen: &Seen| {
        if seen.line.contains("dealer") { refused() } else { positions(&[("ABC123", 4)]) }
    };
    for (answered, class) in [
        (of_dealer(|_| refused()).await, Class::Refused),
        (of_dealer(|_| nowhere()).await, Class::Transient),
        // A dealer's plain book may be empty whatever he has.
        (of_dealer(only_plain).await, Class::Refused),
        // Nor need it be whole where it is not.
        (of_dealer(part).await, Class::Refused),
        (of_dealer(|_| positions(&[("SOMEBODY", 5)])).await, Class::NeedsOperator),
        (of_dealer(|_| positions(&[("ABC123A02", 5)])).await, Class::NeedsOperator),
        (of_dealer(|_| (429, String::new())).await, Class::Transient),
    ] {
        assert_eq!(answered.unwrap_err().class(), class);
    }
    // Which of several clients is not guessed, and nothing is asked.
    let server = Server::start(|_| positions(&[("ABC123", 5)])).await;
    let answered = traded(&broker(settings(server.address)), &of_several()).await;
    assert_eq!(answered.unwrap_err().class(), Class::NeedsOperator);
    // What is sent says it itself, and not that the order is of somebody else.
    let broker = broker(settings(server.address));
    assert!(broker.trades_for(&of_several(), "ABC124"));
    assert_eq!(
        broker.cancel(&of_several(), "1100012345", "").await.unwrap_err().class(),
        Class::NeedsOperator
    );
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn the_dealers_own_book_is_asked_first_whatever_another_has_brought() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |seen| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => nowhere(),
        _ if seen.line.contains("dealer") => positions(&[("ABC123", 10)]),
        _ => positions(&[("ABC123", 4)]),
    })
    .await;
    let (broker, token) = (broker(settings(server.address)), of(false));
    assert_eq!(traded(&broker, &token).await.unwrap(), [4]);
    assert_eq!(traded(&broker, &token).await.unwrap(), [10]);
}

#[tokio::test]
async fn what_readers_are_shown_in_another_name_is_not_overlooked() {
    for (account, expected) in [("ABC123", Some(vec![9])), ("ABC124", Some(vec![])), ("-", None)] {
        let server = Server::start(move |seen| {
            if seen.line.ends_with("=ABC123A02") { positions(&[(account, 9)]) } else { positions(&[]) }
        })
        .await;
        let (broker, token) = (broker(settings(server.address)), of(false));
        let shown = broker.positions(&token, PositionView::Net).await.unwrap().rows;
        assert_eq!((shown.len(), shown[0].quantity), (1, 9));
        let name = if account == "-" { "" } else { account };
        assert_eq!(shown[0].account, name, "a dealer's own name is no client's");
        assert_eq!(traded(&broker, &token).await.ok(), expected, "{account}");
    }
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_counted() {
    let mut answer: Value = serde_json::from_str(ORDERS).unwrap();
    let mut row = answer["result"][0].clone();
    row["OrderQuantity"] = json!("ten");
    answer["result"].as_array_mut().unwrap().push(row);
    let server = Server::start(move |_| (200, answer.to_string())).await;
    let (broker, token) = (broker(settings(server.address)), of(true));
    for listing in [broker.order_book(&token).await.unwrap(), broker.traded_orders(&token).await.unwrap()] {
        assert_eq!((listing.rows.len(), listing.unreadable), (1, 1));
    }
    // Others' rows among them do not make it whole.
    let mut answer: Value = serde_json::from_str(&positions(&[("ABC124", 1), ("ABC123", 1)]).1).unwrap();
    answer["result"]["positionList"][1]["Quantity"] = json!("ten");
    let server = Server::start(move |_| (200, answer.to_string())).await;
    let named = Settings { client_id: "ABC123".to_owned(), ..settings(server.address) };
    let listing = super::broker(named).traded_positions(&of_several(), PositionView::Net).await.unwrap();
    assert_eq!((listing.rows.len(), listing.unreadable), (0, 1));
}

#[tokio::test]
async fn an_investor_acts_on_what_he_is_shown() {
    let server = Server::start(|seen| {
        assert_eq!(seen.line, "GET /interactive/portfolio/positions?dayOrNet=NetWise");
        positions(&[("ABC123", 10), ("-", 3)])
    })
    .await;
    assert_eq!(traded(&broker(settings(server.address)), &of(true)).await.unwrap(), [10, 3]);
    for rows in [[("ONE", 10), ("TWO", 3)], [("ABC123", 10), ("MCX123", 3)]] {
        let server = Server::start(move |_| positions(&rows)).await;
        let answered = traded(&broker(settings(server.address)), &of(true)).await.unwrap_err();
        assert_eq!(answered.class(), Class::NeedsOperator);
        assert!(!answered.to_string().contains("client_id"), "it does not count for him: {answered}");
    }
    let server = Server::start(|_| positions(&[])).await;
    assert_eq!(traded(&broker(settings(server.address)), &of(true)).await.unwrap(), [0_i64; 0]);
}
