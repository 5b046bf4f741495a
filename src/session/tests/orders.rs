//! Orders: sent once whatever happens, looked for where the broker did not say, written down.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::*;
use crate::broker::Error;
use crate::market::{
    BracketOrder, Conversion, CoverIds, NewOrder, Order, OrderChange, OrderKind, OrderStatus, PositionView,
    Price, Side, SquareOff, SquareOffSize,
};
use crate::session::tests::broker::{Fate, order};
use crate::session::{By, CallError, OrderError};
use crate::token::Product;

const INTERACTIVE: usize = Product::Interactive as usize;

fn by() -> By {
    By { key: "alice".to_owned(), strategy: "straddle".to_owned() }
}

fn new_order() -> NewOrder {
    NewOrder {
        instrument: RELIANCE,
        side: Side::Buy,
        kind: OrderKind::Limit,
        product: "MIS".to_owned(),
        validity: "DAY".to_owned(),
        quantity: 10,
        disclosed: 0,
        price: Price::from_rupees(100),
        trigger: Price::default(),
        unique_id: "the caller's own".to_owned(),
    }
}

fn change(quantity: i64) -> OrderChange {
    OrderChange {
        id: "1".to_owned(),
        kind: OrderKind::Limit,
        product: "MIS".to_owned(),
        validity: "DAY".to_owned(),
        quantity,
        disclosed: 0,
        price: Price::from_rupees(100),
        trigger: Price::default(),
        unique_id: String::new(),
    }
}

fn trail(process: &Process) -> Vec<(String, String)> {
    let entries = process.audit().into_iter().filter(|entry| entry.event.starts_with("order_"));
    entries.map(|entry| (entry.event, entry.outcome)).collect()
}

#[test]
fn an_order_is_marked_sent_and_written_down() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        let id = process.session.place(new_order(), &by()).await.expect("it is placed");
        let mark = outside.broker.world().book[0].unique_id.clone();
        assert_eq!((id.as_str(), mark.len(), &mark[..2]), ("1", 20, "tg"));
        let other = process.session.place(new_order(), &by()).await.expect("another one");
        assert_ne!(outside.broker.world().book[1].unique_id, mark, "{other}");
        let entries = process.audit();
        let entry = entries.iter().find(|entry| entry.event == "order_place").expect("it is written down");
        assert_eq!((entry.who.as_str(), entry.account.as_str()), ("key alice", "default"));
        for part in ["buy 10 of", "MIS", "limit 100.0", mark.as_str(), "straddle"] {
            assert!(entry.why.contains(part), "{part}: {}", entry.why);
        }
        assert_eq!(
            trail(&process)[..2].iter().map(|(_, o)| o.as_str()).collect::<Vec<_>>(),
            ["about to be sent", "sent, order 1"]
        );
    });
}

#[test]
fn nothing_is_sent_while_orders_are_off_or_beyond_the_limit() {
    run(|| async {
        let mut outside = Outside::new();
        outside.orders = OrderSettings { enabled: true, max_quantity: 9, ..OrderSettings::default() };
        let process = outside.process();
        let answer = process.session.place(new_order(), &by()).await;
        assert!(
            matches!(&answer, Err(OrderError::NotAllowed(why)) if why.contains("max_quantity")),
            "{answer:?}"
        );
        for quantity in [0, -1, i64::MIN] {
            let answer = process.session.place(NewOrder { quantity, ..new_order() }, &by()).await;
            assert!(matches!(answer, Err(OrderError::NotAllowed(_))), "{answer:?}");
        }
        let kind = OrderKind::Unknown("Iceberg".to_owned());
        let answer = process.session.place(NewOrder { kind, quantity: 1, ..new_order() }, &by()).await;
        assert!(matches!(answer, Err(OrderError::NotAllowed(_))));
        process.stop().await;

        outside.orders = OrderSettings::default();
        let process = outside.process();
        let answer = process.session.cancel("1", &by()).await;
        assert!(
            matches!(&answer, Err(why @ OrderError::Disabled) if why.to_string().contains("enabled = true"))
        );
        assert!(matches!(process.session.place(new_order(), &by()).await, Err(OrderError::Disabled)));
        assert!(matches!(process.session.order_to_change("1").await, Err(OrderError::Disabled)));
        assert_eq!(outside.broker.world().asked, [""; 0]);
    });
}

#[test]
fn an_order_without_an_answer_is_found_and_never_sent_again() {
    run(|| async {
        for fate in
            [None, Some(Error::Network("reset".to_owned())), Some(Error::Malformed("<html>".to_owned()))]
        {
            let outside = Outside::new();
            let process = outside.process();
            process.session.order_book().await.expect("a token");
            outside.broker.world().fates.push_back(Fate::DoneUnsaid(fate));
            assert_eq!(process.session.place(new_order(), &by()).await.expect("it is found"), "1");
            tokio::time::sleep(Duration::from_mins(10)).await;
            assert_eq!(outside.broker.world().asked.len(), 1);
            let trail = trail(&process);
            assert!(trail[1].1.starts_with("unclear: "), "{trail:?}");
            assert_eq!(trail[2].1, "sent, order 1");
        }
    });
}

#[test]
fn an_order_that_is_nowhere_is_said_to_be_unclear_and_never_sent_again() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        outside.broker.world().fates.push_back(Fate::LostOnTheWay);
        let answer = process.session.place(new_order(), &by()).await;
        let Err(OrderError::Unclear { message, unique_id, sent_at }) = answer else { panic!("{answer:?}") };
        assert_eq!(outside.broker.world().asked, [format!("place {unique_id}")]);
        assert!(sent_at >= START);
        for part in ["was not repeated", "the order book does not show it", unique_id.as_str(), "2026-02-10"]
        {
            assert!(message.contains(part), "{part}: {message}");
        }
        // The book is out of order: that is said, too.
        outside.broker.world().fates.push_back(Fate::LostOnTheWay);
        outside.broker.world().books_down = true;
        let answer = process.session.place(new_order(), &by()).await;
        let Err(OrderError::Unclear { message, .. }) = answer else { panic!("{answer:?}") };
        assert!(message.contains("could not be read"), "{message}");
        assert_eq!(outside.broker.world().asked.len(), 2);
        assert!(outside.broker.world().book.is_empty());
    });
}

#[test]
fn an_order_found_rejected_is_told_as_such() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        outside.broker.world().fates.push_back(Fate::DoneUnsaid(None));
        let placing = process.session.clone();
        let placed = tokio::spawn(async move { placing.place(new_order(), &by()).await });
        until("the order", || !outside.broker.world().book.is_empty()).await;
        outside.broker.world().book[0].status = OrderStatus::Rejected;
        outside.broker.world().book[0].reason = "no margin".to_owned();
        let answer = placed.await.expect("no panic");
        assert!(
            matches!(&answer, Err(OrderError::NotDone(why)) if why.contains("no margin") && why.contains("order 1")),
            "{answer:?}"
        );
    });
}

#[test]
fn a_refused_token_is_renewed_and_one_order_placed() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.session.order_book().await.expect("a token");
        outside.broker.world().refuse_orders = 1;
        process.session.place(new_order(), &by()).await.expect("with the new token");
        assert_eq!(outside.broker.world().asked.len(), 1);
        assert_eq!(outside.broker.world().logins[INTERACTIVE], 2);
        outside.broker.world().refuse_orders = 2;
        let answer = process.session.place(new_order(), &by()).await;
        assert!(matches!(answer, Err(OrderError::Call(_))), "{answer:?}");
        assert_eq!(outside.broker.world().asked.len(), 1);
    });
}

#[test]
fn a_clear_refusal_is_final() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        for error in [
            Error::Refused { status: 400, code: "e-orders-0005".to_owned(), description: "no".to_owned() },
            Error::NotSent("no connection".to_owned()),
            Error::RateLimited { retry_after: None, description: "slow".to_owned() },
        ] {
            outside.broker.world().fates.push_back(Fate::Fails(error));
            let before = outside.broker.world().asked.len();
            assert!(matches!(process.session.place(new_order(), &by()).await, Err(OrderError::Call(_))));
            tokio::time::sleep(Duration::from_mins(1)).await;
            assert_eq!(outside.broker.world().asked.len(), before + 1);
        }
    });
}

#[test]
fn an_order_that_waits_too_long_for_a_token_is_not_sent() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().login_took = Duration::from_secs(20);
        let process = outside.process();
        let begin = Instant::now();
        let answer = process.session.place(new_order(), &by()).await;
        assert!(matches!(&answer, Err(OrderError::Call(CallError::Broker(Error::NotSent(_))))), "{answer:?}");
        assert_eq!(begin.elapsed(), Duration::from_secs(10));
        assert!(trail(&process).last().expect("written down").1.contains("not sent"));
        // What takes an order back is worth its while.
        process.session.cancel("1", &by()).await.expect("the login has ended");
        assert_eq!(outside.broker.world().asked, ["cancel 1 "]);
        process.session.place(new_order(), &by()).await.expect("with the token");
        assert_eq!(outside.broker.world().logins[INTERACTIVE], 1);
    });
}

/// A clock that also counts the seconds that the machine has slept.
struct Sleeper {
    awake: Arc<dyn Clock>,
    slept: AtomicU64,
}

impl Clock for Sleeper {
    fn now(&self) -> UnixNanos {
        self.awake.now().plus(Duration::from_secs(self.slept.load(Ordering::Relaxed)))
    }
}

#[test]
fn an_order_that_the_machine_sleeps_over_is_not_sent() {
    run(|| async {
        let mut outside = Outside::new();
        let clock = Arc::new(Sleeper { awake: Arc::clone(&outside.clock), slept: AtomicU64::new(0) });
        outside.clock = Arc::clone(&clock) as Arc<dyn Clock>;
        outside.broker.world().login_took = Duration::from_secs(5);
        let process = outside.process();
        let session = process.session.clone();
        let placed = tokio::spawn(async move { session.place(new_order(), &by()).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        clock.slept.store(60, Ordering::Relaxed);
        let answer = placed.await.expect("no panic");
        assert!(matches!(&answer, Err(OrderError::Call(CallError::Broker(Error::NotSent(_))))), "{answer:?}");
        assert_eq!(outside.broker.world().asked, [""; 0]);
    });
}

#[test]
fn an_order_goes_on_when_the_caller_goes_away() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.session.order_book().await.expect("a token");
        outside.broker.world().fates.push_back(Fate::DoneUnsaid(None));
        let session = process.session.clone();
        let gone = tokio::time::timeout(Duration::from_millis(10), session.place(new_order(), &by())).await;
        assert!(gone.is_err(), "nobody waits for it any more");
        // Nor does an orderly stop leave it behind.
        process.session.stop().await;
        let trail = trail(&process);
        assert_eq!(trail.last().expect("written down").1, "sent, order 1");
        assert_eq!(outside.broker.world().asked.len(), 1);
    });
}

#[test]
fn a_change_without_an_answer_is_looked_up() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.session.order_book().await.expect("a token");
        until("the first reading", || outside.broker.world().order_books > 1).await;
        outside.broker.world().book.push(order("1", "mark"));
        let before = outside.broker.world().order_books;
        process.session.modify(change(11), &by()).await.expect("it is changed");
        assert_eq!(outside.broker.world().asked.pop().as_deref(), Some("modify 1 "), "the number is enough");
        assert_eq!(outside.broker.world().order_books, before, "no book is waited for");
        outside.broker.world().fates.push_back(Fate::DoneUnsaid(None));
        process.session.modify(change(12), &by()).await.expect("the book shows the change");
        outside.broker.world().fates.push_back(Fate::LostOnTheWay);
        let answer = process.session.modify(change(13), &by()).await;
        assert!(
            matches!(&answer, Err(OrderError::Unclear { message, .. }) if message.contains("is open (0 of 12")),
            "{answer:?}"
        );
        outside.broker.world().book[0].status = OrderStatus::Filled;
        outside.broker.world().fates.push_back(Fate::LostOnTheWay);
        let answer = process.session.modify(change(14), &by()).await;
        assert!(matches!(&answer, Err(OrderError::NotDone(why)) if why.contains("is filled")), "{answer:?}");
        assert_eq!(outside.broker.world().asked.len(), 3, "each was sent once");
    });
}

#[test]
fn a_cancellation_without_an_answer_is_looked_up() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        outside.broker.world().book = ["1", "2", "3"].map(|id| order(id, "m")).into();
        process.session.cancel("1", &by()).await.expect("it is cancelled");
        assert_eq!(outside.broker.world().asked, ["cancel 1 "], "no book is waited for");
        outside.broker.world().fates.push_back(Fate::DoneUnsaid(None));
        process.session.cancel("2", &by()).await.expect("the book shows its end");
        outside.broker.world().fates.push_back(Fate::LostOnTheWay);
        let answer = process.session.cancel("3", &by()).await;
        assert!(matches!(&answer, Err(OrderError::Unclear { message, .. }) if message.contains("3 is open")));
        outside.broker.world().book[2].status = OrderStatus::Filled;
        outside.broker.world().fates.push_back(Fate::LostOnTheWay);
        let answer = process.session.cancel("3", &by()).await;
        assert!(matches!(&answer, Err(OrderError::NotDone(why)) if why.contains("is filled")), "{answer:?}");
        // A cancellation is sent even if nobody knows the order's mark.
        outside.broker.world().books_down = true;
        process.session.cancel("9", &by()).await.expect("the broker decides");
        assert_eq!(outside.broker.world().asked.last().map(String::as_str), Some("cancel 9 "));
        assert_eq!(outside.broker.world().asked.len(), 5);
    });
}

#[test]
fn everything_else_keeps_the_same_rules() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        let session = &process.session;
        let unsaid = || outside.broker.world().fates.push_back(Fate::DoneUnsaid(None));
        let ids = CoverIds { entry: "C1".to_owned(), exit: "C2".to_owned() };
        assert_eq!(session.place_cover(new_order(), &by()).await.expect("placed"), ids);
        outside.broker.world().book.clear();
        unsaid();
        assert_eq!(session.place_cover(new_order(), &by()).await.expect("found"), ids);
        unsaid();
        session.exit_cover("C2", &by()).await.expect("its end is found");
        let price = Price::from_rupees(1);
        let bracket = BracketOrder {
            entry: new_order(),
            square_off: price,
            stop_loss: price,
            trailing: Price::default(),
        };
        unsaid();
        assert_eq!(session.place_bracket(bracket, &by()).await.expect("found"), "B1");
        session.exit_bracket("B1", &by()).await.expect("sent");
        unsaid();
        session.cancel_all(RELIANCE, &by()).await.expect("none stands");
        let conversion = || Conversion {
            instrument: RELIANCE,
            quantity: 1,
            view: PositionView::Day,
            from: "MIS".to_owned(),
            to: "CNC".to_owned(),
        };
        session.convert(conversion(), &by()).await.expect("sent");
        let square_off = |size| SquareOff {
            instrument: RELIANCE,
            product: "MIS".to_owned(),
            view: PositionView::Day,
            size,
        };
        session.square_off(square_off(SquareOffSize::Percent(50)), &by()).await.expect("sent");
        outside.broker.world().book.push(Order { instrument: RELIANCE, ..order("7", "") });
        let sent = outside.broker.world().asked.len();
        outside.broker.world().fates.extend((0..4).map(|_| Fate::LostOnTheWay));
        for answer in [
            session.convert(conversion(), &by()).await,
            session.square_off(square_off(SquareOffSize::Units(1)), &by()).await,
            session.exit_bracket("B1", &by()).await,
            session.cancel_all(RELIANCE, &by()).await,
        ] {
            assert!(matches!(answer, Err(OrderError::Unclear { .. })), "{answer:?}");
        }
        assert_eq!(outside.broker.world().asked.len(), sent + 4);
    });
}

#[test]
fn what_cannot_be_read_is_not_missing() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        outside.broker.world().unreadable = 2;
        outside.broker.world().fates.push_back(Fate::LostOnTheWay);
        let answer = process.session.place(new_order(), &by()).await;
        let Err(OrderError::Unclear { message, .. }) = answer else { panic!("{answer:?}") };
        assert!(message.contains("could not be read (2 of its rows)"), "{message}");
        // Nor is it known that nothing stands any more.
        outside.broker.world().fates.push_back(Fate::DoneUnsaid(None));
        let answer = process.session.cancel_all(RELIANCE, &by()).await;
        assert!(matches!(answer, Err(OrderError::Unclear { .. })), "{answer:?}");
        // What is found is found.
        outside.broker.world().fates.push_back(Fate::DoneUnsaid(None));
        process.session.place(new_order(), &by()).await.expect("it is in a row that can be read");
    });
}

#[test]
fn orders_of_another_client_are_left_alone() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        let of = |id: &str, account: &str| Order { account: account.to_owned(), ..order(id, "mark") };
        outside.broker.world().book = vec![of("1", "OTHER"), of("2", "MINE")];
        process.session.order_book().await.expect("a token");
        until("the first reading", || outside.broker.world().order_books > 1).await;
        outside.broker.world().client = "MINE".to_owned();
        for answer in
            [process.session.cancel("1", &by()).await, process.session.modify(change(11), &by()).await]
        {
            let Err(error) = answer else { panic!("it is another's") };
            assert!(error.to_string().contains("order 1 is of another client"), "{error}");
            assert!(!error.to_string().contains("OTHER"), "{error}");
        }
        assert_eq!(outside.broker.world().asked, [""; 0]);
        process.session.cancel("2", &by()).await.expect("it is the client's own");
        for (id, rows) in [("1", 0), ("2", 1), ("3", 0)] {
            assert_eq!(process.session.order_to_change(id).await.expect("read").rows.len(), rows, "{id}");
        }
        // Nor is an order looked for among others'.
        let lost = Fate::DoneUnsaid(None);
        outside.broker.world().fates.push_back(lost);
        outside.broker.world().client = "NOBODY".to_owned();
        let answer = process.session.place(new_order(), &by()).await;
        assert!(matches!(answer, Err(OrderError::Unclear { .. })), "{answer:?}");
    });
}

#[test]
fn an_order_that_was_seen_needs_no_book() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        outside.broker.world().book = vec![order("1", "mark")];
        process.session.order_book().await.expect("a token");
        until("the first reading", || outside.broker.world().order_books > 1).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = outside.broker.world().order_books;
        assert_eq!(process.session.order_to_change("1").await.expect("known").rows[0].unique_id, "mark");
        assert_eq!(outside.broker.world().order_books, before);
        assert!(process.session.order_to_change("2").await.expect("read").rows.is_empty());
        assert_eq!(outside.broker.world().order_books, before + 1);
    });
}

#[test]
fn what_an_event_does_not_say_of_an_order_is_read_in_the_book() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        let of = |validity: &str| Order { validity: validity.to_owned(), ..order("1", "mark") };
        outside.broker.world().book = vec![of("")];
        process.session.order_book().await.expect("a token");
        until("the first reading", || outside.broker.world().order_books > 1).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        outside.broker.world().book = vec![of("GTD")];
        assert_eq!(process.session.order_to_change("1").await.expect("read").rows[0].validity, "GTD");
    });
}
