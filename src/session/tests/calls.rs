//! Calls on the account's behalf: their token, and what a refused one leads to.

use futures::future::join_all;

use super::*;
use crate::broker::Class;
use crate::market::{Kind, PositionView};
use crate::session::CallError;
use crate::token::Product;

const INTERACTIVE: usize = Product::Interactive as usize;
const MARKET: usize = Product::Market as usize;

#[test]
fn every_client_gets_its_token_the_same_way() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        let session = &process.session;
        session.order_book().await.expect("the order book");
        session.positions(PositionView::Net).await.expect("positions");
        session.funds().await.expect("funds");
        session.trades().await.expect("trades");
        session.holdings().await.expect("holdings");
        session.profile().await.expect("the profile");
        session.order_history("1").await.expect("an order's history");
        let ticks = session.quotes(Kind::Quote, &[RELIANCE, SBIN]).await.expect("quotes");
        assert_eq!(ticks.len(), 2);
        process.live().await;
        until("the master", || process.keeper.status().is_some()).await;
        assert_eq!(outside.broker.world().logins, [1, 1]);
    });
}

#[test]
fn a_hundred_calls_with_a_refused_token_share_one_login_and_all_succeed() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.session.funds().await.expect("funds");
        // The broker has lost its sessions.
        outside.broker.world().tokens[INTERACTIVE] = None;
        outside.broker.world().login_took = Duration::from_secs(2);
        let calls = (0..100).map(|_| process.session.funds());
        assert!(join_all(calls).await.into_iter().all(|answer| answer.is_ok()));
        assert_eq!(outside.broker.world().logins[INTERACTIVE], 2);
        assert_eq!(outside.broker.world().most_at_once, 1);
    });
}

#[test]
fn a_call_is_repeated_once_and_the_second_refusal_is_reported_and_remembered() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.session.funds().await.expect("funds");
        // The broker refuses whatever it hands out.
        outside.broker.world().refuse_books = true;
        let before = outside.broker.world().book_calls;
        let answer = process.session.funds().await;
        assert!(matches!(&answer, Err(CallError::Broker(e)) if e.class() == Class::NeedsToken), "{answer:?}");
        assert_eq!(outside.broker.world().book_calls, before + 2);
        assert_eq!(outside.broker.world().logins[INTERACTIVE], 2);
        // The second token is dead too: it is not handed out again.
        until("the refusal to be noted", || process.status().interactive.state != "valid").await;
        outside.broker.world().refuse_books = false;
        process.session.funds().await.expect("funds");
        assert_eq!(outside.broker.world().logins[INTERACTIVE], 3);
    });
}

#[test]
fn a_refusal_of_another_kind_is_not_repeated() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        outside.broker.world().tokens[MARKET] = None;
        process.session.quotes(Kind::Quote, &[RELIANCE]).await.expect("quotes");
        outside.broker.world().books_down = true;
        let before = outside.broker.world().book_calls;
        let answer = process.session.trades().await;
        assert!(matches!(answer, Err(CallError::Broker(e)) if e.class() == Class::Transient));
        assert_eq!(outside.broker.world().book_calls, before + 1);
        assert_eq!(outside.broker.world().logins, [1, 2]);
    });
}
