//! Through nights, replacements, refusals and operators' acts: how many logins there are.

use super::*;
use crate::broker::{AccountEvent, Error, FeedEnd};
use crate::session::settings::OnReplaced;
use crate::session::tests::broker::{Item, Script};
use crate::session::{CallError, TokenError};
use crate::token::Product;
use crate::token::ledger::Ledger;

const MARKET: usize = Product::Market as usize;
const INTERACTIVE: usize = Product::Interactive as usize;

fn closed() -> Item {
    Item::End(FeedEnd::Closed("going away".to_owned()))
}

/// Waits until this time of day in India, today or tomorrow.
async fn clock_shows(outside: &Outside, time: &str) {
    let time = time.parse().expect("is a time of day");
    let at = crate::market::calendar::next_at(outside.clock.now(), time);
    tokio::time::sleep(at.since(outside.clock.now())).await;
}

async fn both_valid(session: &SessionHandle) {
    until("both tokens", || {
        Product::ALL.iter().all(|product| session.status().token(*product).state == "valid")
    })
    .await;
}

#[test]
fn a_night_in_which_the_broker_loses_everything_costs_one_login_in_the_morning() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        process.want(RELIANCE, Mode::Ltp);
        process.confirmed(1).await;
        both_valid(&process.session).await;
        // Before the cut-off the broker restarts; nothing trades until the morning.
        clock_shows(&outside, "02:30").await;
        outside.broker.world().tokens = [None, None];
        outside.broker.world().held.clear();
        outside.broker.world().push(closed());
        outside.broker.world().end_account_feed(FeedEnd::Closed("going away".to_owned()));
        clock_shows(&outside, "08:39").await;
        assert_eq!(outside.broker.world().logins, [1, 1]);
        let status = process.status();
        assert!(status.feed.reason.is_some_and(|why| why.contains("nothing trades")));
        assert!(status.market.next_login_at.is_some_and(|at| at.in_india().contains("T08:40:00")));
        clock_shows(&outside, "08:41").await;
        assert_eq!(outside.broker.world().logins, [2, 2]);
        process.live().await;
        process.confirmed(1).await;
        // And again, after a night in which only the socket dropped.
        clock_shows(&outside, "03:10").await;
        outside.broker.world().push(closed());
        clock_shows(&outside, "08:39").await;
        assert_eq!(outside.broker.world().logins, [2, 2]);
        clock_shows(&outside, "09:15").await;
        assert_eq!(outside.broker.world().logins, [3, 3]);
        assert_eq!(process.status().feed.state, "live");
        assert_eq!(process.status().market.logins_today, 1);
    });
}

#[test]
fn a_call_at_night_is_served_and_the_morning_needs_no_second_login() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        both_valid(&process.session).await;
        clock_shows(&outside, "04:00").await;
        process.session.funds().await.expect("funds");
        assert_eq!(outside.broker.world().logins[INTERACTIVE], 2);
        assert_eq!(outside.broker.world().logins[MARKET], 1);
        clock_shows(&outside, "09:00").await;
        assert_eq!(outside.broker.world().logins, [2, 2]);
    });
}

#[test]
fn a_weekend_costs_no_login() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        both_valid(&process.session).await;
        // From Tuesday to Friday, then to Monday.
        for _ in 0..3 {
            clock_shows(&outside, "09:00").await;
            clock_shows(&outside, "23:00").await;
        }
        assert_eq!(outside.broker.world().logins, [4, 4]);
        outside.broker.world().push(closed());
        tokio::time::sleep(Duration::from_hours(48)).await;
        assert_eq!(outside.broker.world().logins, [4, 4]);
        clock_shows(&outside, "08:41").await;
        assert_eq!(outside.broker.world().logins, [5, 5]);
        process.live().await;
    });
}

#[test]
fn a_login_elsewhere_is_told_and_left_alone_until_the_next_plan() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        process.want(RELIANCE, Mode::Ltp);
        process.confirmed(1).await;
        both_valid(&process.session).await;
        // Another program logs in for both products: the account's socket says so, the feed goes mute.
        outside.broker.world().tokens = [Some("theirs".to_owned()), Some("theirs".to_owned())];
        outside.broker.world().end_account_feed(FeedEnd::Logout("logged in elsewhere".to_owned()));
        until("the interactive session", || process.status().interactive.state == "replaced").await;
        until("the market session", || process.status().market.state == "replaced").await;
        let feed = process.status().feed;
        assert!(feed.state != "live" && feed.reason.is_some_and(|why| why.contains("replaced")), "told");
        let asked = process.session.funds().await;
        assert!(matches!(asked, Err(CallError::Token(TokenError::Replaced(_)))), "{asked:?}");
        clock_shows(&outside, "08:39").await;
        assert_eq!(outside.broker.world().logins, [1, 1]);
        clock_shows(&outside, "08:41").await;
        assert_eq!(outside.broker.world().logins, [2, 2]);
        process.live().await;
        let events: Vec<_> = process.audit().into_iter().map(|entry| entry.event).collect();
        assert_eq!(events.iter().filter(|event| *event == "replaced").count(), 2, "{events:?}");
    });
}

#[test]
fn a_login_elsewhere_is_taken_back_at_once_where_the_policy_says_so() {
    run(|| async {
        let mut outside = Outside::new();
        outside.settings.on_replaced = OnReplaced::Retake;
        let process = outside.process();
        process.live().await;
        both_valid(&process.session).await;
        let generation = process.status().feed.generation;
        outside.broker.world().push(Item::End(FeedEnd::Logout("logged in elsewhere".to_owned())));
        process.live_after(generation).await;
        outside.broker.world().end_account_feed(FeedEnd::Logout(String::new()));
        until("both to be taken back", || outside.broker.world().logins == [2, 2]).await;
        both_valid(&process.session).await;
    });
}

#[test]
fn our_own_login_is_not_taken_for_somebody_elses() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        both_valid(&process.session).await;
        outside.broker.world().logout_on_login = true;
        for product in Product::ALL {
            process.session.refresh(product, "test").await.expect("logs in");
        }
        process.live_after(1).await;
        tokio::time::sleep(Duration::from_mins(5)).await;
        assert_eq!(outside.broker.world().logins, [2, 2]);
        both_valid(&process.session).await;
        until("the account's socket", || outside.broker.world().account_feed_is_open()).await;
    });
}

#[test]
fn a_revoked_token_is_gone_here_and_at_the_broker_until_an_operator_logs_in_again() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        both_valid(&process.session).await;
        assert_eq!(process.session.revoke(Product::Market, "test").await, Ok(true));
        until("the feed's end", || !outside.broker.world().feed_is_open()).await;
        assert_eq!(outside.broker.world().tokens[MARKET], None, "logged out at the broker");
        assert_eq!(process.status().market.state, "revoked");
        let asked = process.session.get_token(Product::Market, None).await;
        assert_eq!(asked, Err(TokenError::Revoked));
        clock_shows(&outside, "09:00").await;
        assert_eq!(outside.broker.world().logins[MARKET], 1);
        assert_eq!(outside.broker.world().logins[INTERACTIVE], 2);
        assert_eq!(process.session.revoke(Product::Market, "test").await, Ok(false));
        process.session.refresh(Product::Market, "test").await.expect("logs in");
        process.live().await;
        assert_eq!(outside.broker.world().logins[MARKET], 2);
    });
}

#[test]
fn new_secrets_end_the_wait_for_an_operator() {
    run(|| async {
        let outside = Outside::new();
        let refusal = Script::Fail(Error::Credentials { description: "Invalid App Key".to_owned() });
        outside.broker.world().market_logins.push_back(refusal);
        let process = outside.process();
        until("the refusal", || process.status().market.state == "needs_operator").await;
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert_eq!(outside.broker.world().login_attempts[MARKET], 1);
        outside.broker.world().new_credentials = true;
        process.live().await;
        assert_eq!(outside.broker.world().login_attempts[MARKET], 2);
    });
}

#[test]
fn a_block_is_remembered_by_the_token_actor_that_follows_a_panic() {
    run(|| async {
        let outside = Outside::new();
        let refusal = Script::Fail(Error::Credentials { description: "Invalid App Key".to_owned() });
        outside.broker.world().market_logins.push_back(refusal);
        let process = outside.process();
        until("the refusal", || process.status().market.state == "needs_operator").await;
        outside.broker.world().interactive_logins.push_back(Script::Panic);
        let panicked = process.session.refresh(Product::Interactive, "test").await;
        assert_eq!(panicked, Err(TokenError::Unavailable));
        tokio::time::sleep(Duration::from_mins(10)).await;
        assert_eq!(process.status().market.state, "needs_operator");
        assert_eq!(outside.broker.world().login_attempts[MARKET], 1);
    });
}

#[test]
fn the_days_cap_holds_over_restarts() {
    run(|| async {
        let mut outside = Outside::new();
        outside.settings.login_daily_cap = 3;
        for turn in 1..=5_u32 {
            let process = outside.process();
            // Each time the store has lost the tokens.
            for product in Product::ALL {
                process.session.get_token(product, None).await.ok();
                process.tokens.revoke("default", product).await.expect("is removed");
            }
            let logins = outside.broker.world().logins;
            assert_eq!(logins, [turn.min(3), turn.min(3)]);
            process.stop().await;
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        let process = outside.process();
        let market = || process.status().market;
        until("the cap to be told", || market().state == "waiting").await;
        assert!(market().next_login_at.is_some_and(|at| at.in_india().contains("T00:00:00")));
        assert_eq!(market().logins_today, 3);
        // Somebody asks on the next day.
        clock_shows(&outside, "00:01").await;
        process.session.get_token(Product::Market, None).await.expect("a token");
    });
}

#[test]
fn logins_are_counted_before_they_are_made() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().market_logins.push_back(Script::Hang);
        let process = outside.process();
        until("the attempt", || outside.broker.world().login_attempts[MARKET] == 1).await;
        let ledger = Ledger::open(&process.store).expect("the tree opens");
        assert_eq!(ledger.read("default", Product::Market).attempts, 1);
        // It got no answer, so it does not count.
        until("the time-out", || process.status().market.state == "waiting").await;
        until("the count", || ledger.read("default", Product::Market).attempts == 0).await;
        process.live().await;
        until("the count", || ledger.read("default", Product::Market).attempts == 1).await;
    });
}

#[test]
fn the_accounts_socket_is_kept_open_and_its_events_are_taken() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        until("the account's socket", || outside.broker.world().account_feed_is_open()).await;
        outside.broker.world().account_event(AccountEvent::Joined);
        outside.broker.world().account_event(AccountEvent::Other("order".to_owned()));
        outside.broker.world().end_account_feed(FeedEnd::Network("reset".to_owned()));
        until("its end", || !outside.broker.world().account_feed_is_open()).await;
        until("another", || outside.broker.world().account_feed_is_open()).await;
        assert_eq!(outside.broker.world().logins, [1, 1]);
        process.stop().await;
        until("its end", || !outside.broker.world().account_feed_is_open()).await;
    });
}

#[test]
fn a_store_that_fails_does_not_fail_the_login_and_is_told() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        both_valid(&process.session).await;
        assert_eq!(process.status().market.store_failure, None);
        process.break_store();
        process.session.refresh(Product::Market, "test").await.expect("the login succeeds");
        assert!(process.status().market.store_failure.is_some());
        assert_eq!(process.status().market.state, "valid");
        process.live_after(1).await;
    });
}

#[test]
fn without_a_plan_a_session_left_to_somebody_else_is_taken_up_on_the_next_morning() {
    run(|| async {
        let mut outside = Outside::new();
        outside.settings.planned_login_ist = None;
        let process = outside.process();
        process.live().await;
        both_valid(&process.session).await;
        outside.broker.world().end_account_feed(FeedEnd::Logout("logged in elsewhere".to_owned()));
        until("the interactive session", || process.status().interactive.state == "replaced").await;
        clock_shows(&outside, "08:39").await;
        assert_eq!(process.status().interactive.state, "replaced");
        clock_shows(&outside, "08:50").await;
        assert_eq!(process.status().interactive.state, "valid");
    });
}

#[test]
fn a_logout_during_our_own_login_does_not_cost_the_token_that_it_brings() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().token_life = Some(Duration::from_hours(1));
        let process = outside.process();
        both_valid(&process.session).await;
        // The renewal's login says goodbye to the session before.
        outside.broker.world().logout_on_login = true;
        tokio::time::sleep(Duration::from_mins(56)).await;
        until("the renewal", || outside.broker.world().logins == [2, 2]).await;
        both_valid(&process.session).await;
        tokio::time::sleep(Duration::from_mins(1)).await;
        process.stop().await;
        let process = outside.process();
        both_valid(&process.session).await;
        assert_eq!(outside.broker.world().logins, [2, 2], "both were still stored");
        process.stop().await;
    });
}
