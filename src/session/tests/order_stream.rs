//! What consumers are told of orders: every change once, none missed over an outage, none that is out of date.

use super::*;
use crate::broker::{AccountEvent, FeedEnd};
use crate::market::{Order, OrderStatus, Trade};
use crate::session::tests::broker::order;
use crate::token::Product;

impl Process {
    /// Orders told since the last call, as number and status.
    fn told(&mut self) -> Vec<(String, OrderStatus)> {
        let mut told = Vec::new();
        while let Some(event) = self.shard.try_recv() {
            if let ShardEvent::Order(update) = event {
                assert_eq!(&*update.account, "default");
                told.push((update.order.id.clone(), update.order.status.clone()));
            }
        }
        told
    }
}

impl Outside {
    /// An account's socket is open and the order book was read since it is.
    async fn followed(&self) {
        until("the account's socket", || self.broker.world().account_feed_is_open()).await;
        let before = self.broker.world().order_books;
        until("the order book", || before > 0 || self.broker.world().order_books > before).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    fn event(&self, order: Order) {
        self.broker.world().account_event(AccountEvent::Order(Box::new(order)));
    }
}

async fn soon() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

fn with(id: &str, status: OrderStatus, filled: i64) -> Order {
    Order { status, filled, left: 10 - filled, ..order(id, "m") }
}

fn trade(order_id: &str) -> AccountEvent {
    AccountEvent::Trade(Box::new(Trade {
        id: "400".to_owned(),
        order_id: order_id.to_owned(),
        exchange_id: String::new(),
        unique_id: String::new(),
        account: String::new(),
        instrument: RELIANCE,
        symbol: String::new(),
        side: crate::market::Side::Buy,
        product: "MIS".to_owned(),
        quantity: 10,
        price: crate::market::Price::from_rupees(100),
        traded_at: None,
    }))
}

#[test]
fn events_are_told_once_and_in_order() {
    run(|| async {
        let outside = Outside::new();
        let mut process = outside.process();
        outside.followed().await;
        for state in [
            with("1", OrderStatus::Pending, 0),
            with("1", OrderStatus::Open, 0),
            with("1", OrderStatus::Open, 0),
            with("1", OrderStatus::PartiallyFilled, 4),
            with("1", OrderStatus::Filled, 10),
            with("1", OrderStatus::PartiallyFilled, 4),
            with("1", OrderStatus::Open, 10),
        ] {
            outside.event(state);
        }
        soon().await;
        let told: Vec<_> = process.told().into_iter().map(|(_, status)| status).collect();
        // To a consumer an order on its way is open already.
        assert_eq!(told, [OrderStatus::Pending, OrderStatus::PartiallyFilled, OrderStatus::Filled]);
    });
}

#[test]
fn what_was_there_at_the_start_is_no_news_but_its_changes_are() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().book = vec![order("1", "m"), with("2", OrderStatus::Filled, 10)];
        let mut process = outside.process();
        outside.followed().await;
        assert_eq!(process.told(), []);
        outside.event(with("1", OrderStatus::Cancelled, 0));
        outside.event(with("2", OrderStatus::Filled, 10));
        soon().await;
        assert_eq!(process.told(), [("1".to_owned(), OrderStatus::Cancelled)]);
    });
}

#[test]
fn an_outage_loses_no_change_and_doubles_none() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().book = vec![order("1", "m"), order("2", "m")];
        let mut process = outside.process();
        outside.followed().await;
        outside.event(with("2", OrderStatus::Cancelled, 0));
        soon().await;
        process.told();
        // While the socket is away one is filled, one placed; the first reading afterwards fails.
        outside.broker.world().books_down = true;
        outside.broker.world().book =
            vec![with("1", OrderStatus::Filled, 10), with("2", OrderStatus::Cancelled, 0), order("3", "m")];
        outside.broker.world().end_account_feed(FeedEnd::Closed("gone".to_owned()));
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(process.told(), []);
        outside.broker.world().books_down = false;
        tokio::time::sleep(Duration::from_mins(6)).await;
        let mut told = process.told();
        told.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(told, [("1".to_owned(), OrderStatus::Filled), ("3".to_owned(), OrderStatus::Open)]);
        // The event that comes late says nothing new.
        outside.event(with("1", OrderStatus::Filled, 10));
        soon().await;
        assert_eq!(process.told(), []);
        assert_eq!(outside.broker.world().logins[Product::Interactive as usize], 1);
    });
}

#[test]
fn a_new_session_brings_a_reading_too() {
    run(|| async {
        let outside = Outside::new();
        let mut process = outside.process();
        outside.followed().await;
        outside.broker.world().book.push(order("1", "m"));
        process.session.refresh(Product::Interactive, "test").await.expect("a login");
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(process.told(), [("1".to_owned(), OrderStatus::Open)]);
    });
}

#[test]
fn a_trade_whose_order_says_nothing_makes_the_book_be_read() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().book = vec![order("1", "m"), order("2", "m")];
        let mut process = outside.process();
        outside.followed().await;
        tokio::time::sleep(Duration::from_mins(1)).await;
        let readings = outside.broker.world().order_books;
        // The order's own event comes beside this one.
        outside.broker.world().account_event(trade("1"));
        outside.event(with("1", OrderStatus::Filled, 10));
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(process.told(), [("1".to_owned(), OrderStatus::Filled)]);
        assert_eq!(outside.broker.world().order_books, readings);
        // An event from before the trade says nothing of it.
        outside.broker.world().book.push(order("3", "m"));
        outside.event(with("3", OrderStatus::Open, 0));
        outside.broker.world().account_event(trade("3"));
        outside.broker.world().book[2] = with("3", OrderStatus::Filled, 10);
        tokio::time::sleep(Duration::from_mins(1)).await;
        let told = process.told();
        assert_eq!(told.last(), Some(&("3".to_owned(), OrderStatus::Filled)), "{told:?}");
        // Nor can an event that cannot be read.
        outside.broker.world().book.push(with("4", OrderStatus::Filled, 10));
        outside.broker.world().account_event(AccountEvent::Other("order".to_owned()));
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(process.told(), [("4".to_owned(), OrderStatus::Filled)]);
        let readings = outside.broker.world().order_books;
        // Not beside these, and they share a reading.
        outside.broker.world().book[1] = with("2", OrderStatus::Filled, 10);
        outside.broker.world().account_event(trade("2"));
        outside.broker.world().account_event(trade("2"));
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(process.told(), [("2".to_owned(), OrderStatus::Filled)]);
        assert!(outside.broker.world().order_books <= readings + 2);
    });
}

#[test]
fn a_broker_that_refuses_its_book_is_not_logged_in_to_over_and_over() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().refuse_books = true;
        let _process = outside.process();
        until("the account's socket", || outside.broker.world().account_feed_is_open()).await;
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert_eq!(outside.broker.world().logins[Product::Interactive as usize], 1);
        assert!((2..40).contains(&outside.broker.world().order_books));
    });
}
