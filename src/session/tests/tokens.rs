use futures::future::join_all;

use super::*;
use crate::broker::Error;
use crate::session::TokenError;
use crate::session::tests::broker::Script;
use crate::token::Product;

#[test]
fn a_hundred_askers_share_one_login() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().login_took = Duration::from_secs(3);
        let process = outside.process();
        let asked = (0..100).map(|_| process.session.get_token(Product::Market, None));
        let tokens: Vec<_> = join_all(asked).await.into_iter().map(|t| t.expect("a token")).collect();
        assert!(tokens.iter().all(|token| *token == tokens[0]));
        process.live().await;
        let both = || Product::ALL.iter().all(|p| process.status().token(*p).state == "valid");
        until("both tokens", both).await;
        assert_eq!(outside.broker.world().logins, [1, 1]);
        assert_eq!(process.status().market.logins_today, 1);
    });
}

#[test]
fn a_refused_token_is_never_handed_out_again_and_all_who_were_refused_share_one_login() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        let first = process.session.get_token(Product::Market, None).await.expect("a token");
        let refused = Some(first.epoch);
        let asked = (0..30).map(|_| process.session.get_token(Product::Market, refused));
        let tokens: Vec<_> = join_all(asked).await.into_iter().map(|t| t.expect("a token")).collect();
        assert!(tokens.iter().all(|token| token.epoch > first.epoch && token.secret != first.secret));
        assert_eq!(outside.broker.world().logins[Product::Market as usize], 2);
        // Neither to one who has not heard of the refusal.
        let later = process.session.get_token(Product::Market, None).await.expect("a token");
        assert_eq!(later, tokens[0]);
        // The feed moves to the new token.
        until("the new token's feed", || {
            outside.broker.world().open_with.last().map(String::as_str) == Some(later.secret.expose())
        })
        .await;
        process.live().await;
    });
}

#[test]
fn ten_restarts_cost_no_login() {
    run(|| async {
        let outside = Outside::new();
        for _ in 0..11 {
            let process = outside.process();
            process.live().await;
            until("both tokens", || process.status().interactive.state == "valid").await;
            process.stop().await;
        }
        assert_eq!(outside.broker.world().logins, [1, 1]);
    });
}

#[test]
fn a_stored_token_past_its_end_costs_exactly_one_login() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().token_life = Some(Duration::from_hours(2));
        let process = outside.process();
        process.live().await;
        until("both tokens", || process.status().interactive.state == "valid").await;
        process.stop().await;
        tokio::time::sleep(Duration::from_hours(3)).await;
        let process = outside.process();
        process.live().await;
        until("both tokens", || process.status().interactive.state == "valid").await;
        assert_eq!(outside.broker.world().logins, [2, 2]);
    });
}

#[test]
fn a_token_that_does_not_name_its_end_causes_no_login_loop() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().token_life = None;
        let process = outside.process();
        process.live().await;
        tokio::time::sleep(Duration::from_hours(3)).await;
        assert_eq!(outside.broker.world().logins, [1, 1]);
        process.stop().await;
        // Stored, it counts as expired.
        let process = outside.process();
        process.live().await;
        until("both tokens", || process.status().interactive.state == "valid").await;
        assert_eq!(outside.broker.world().logins, [2, 2]);
    });
}

#[test]
fn a_short_lived_token_is_renewed_before_its_end() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().token_life = Some(Duration::from_hours(1));
        let process = outside.process();
        process.live().await;
        tokio::time::sleep(Duration::from_mins(56)).await;
        assert_eq!(outside.broker.world().logins, [2, 2]);
        process.live().await;
        assert_eq!(process.status().market.state, "valid");
    });
}

#[test]
fn bad_credentials_are_tried_once_and_again_when_an_operator_says_so() {
    run(|| async {
        let outside = Outside::new();
        let refusal = || Script::Fail(Error::Credentials { description: "Invalid App Key".to_owned() });
        outside.broker.world().market_logins.push_back(refusal());
        let process = outside.process();
        until("the refusal", || process.status().market.state == "needs_operator").await;
        tokio::time::sleep(Duration::from_hours(1)).await;
        let market = Product::Market as usize;
        assert_eq!(outside.broker.world().login_attempts[market], 1);
        let asked = process.session.get_token(Product::Market, None).await;
        assert!(matches!(asked, Err(TokenError::NeedsOperator(why)) if why.contains("Invalid App Key")));
        let feed = process.status().feed;
        assert!(feed.state != "live" && feed.reason.is_some_and(|why| why.contains("operator")));

        // Still wrong, then right.
        outside.broker.world().market_logins.push_back(refusal());
        assert!(process.session.refresh(Product::Market, "test").await.is_err());
        process.session.refresh(Product::Market, "test").await.expect("the login succeeds");
        process.live().await;
        assert_eq!(outside.broker.world().login_attempts[market], 3);
    });
}

#[test]
fn failed_logins_back_off_and_heal_by_themselves() {
    run(|| async {
        let outside = Outside::new();
        for _ in 0..5 {
            let down = Script::Fail(Error::Network("down".to_owned()));
            outside.broker.world().market_logins.push_back(down);
        }
        outside.broker.world().market_logins.push_back(Script::Hang);
        let process = outside.process();
        until("the first failure", || process.status().market.state == "waiting").await;
        let asked = process.session.get_token(Product::Market, None).await;
        assert!(matches!(asked, Err(TokenError::Waiting { .. })), "an asker is not left hanging");
        process.live().await;
        assert_eq!(outside.broker.world().login_attempts[Product::Market as usize], 7);
    });
}

#[test]
fn without_interactive_keys_the_product_is_disabled_and_the_feed_lives() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().no_interactive = true;
        let process = outside.process();
        process.live().await;
        until("the verdict", || process.status().interactive.state == "disabled").await;
        let asked = process.session.get_token(Product::Interactive, None).await;
        assert!(matches!(asked, Err(TokenError::Disabled(_))));
    });
}

#[test]
fn after_the_cut_off_the_planned_time_brings_the_days_login() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        until("both tokens", || process.status().interactive.state == "valid").await;
        // To 03:01 and 08:39 of the next day.
        tokio::time::sleep(Duration::from_mins(16 * 60 + 1)).await;
        assert_eq!(process.status().market.state, "expired");
        tokio::time::sleep(Duration::from_mins(5 * 60 + 38)).await;
        assert_eq!(outside.broker.world().logins, [1, 1]);
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert_eq!(outside.broker.world().logins, [2, 2]);
        assert_eq!(process.status().market.state, "valid");
        process.live().await;
    });
}

#[test]
fn a_panic_in_the_token_actor_is_survived() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        let generation = process.status().feed.generation;
        outside.broker.world().market_logins.push_back(Script::Panic);
        let refreshed = process.session.refresh(Product::Market, "test").await;
        assert_eq!(refreshed, Err(TokenError::Unavailable));
        process.live_after(generation).await;
        // The token was in the store.
        assert_eq!(outside.broker.world().logins[Product::Market as usize], 1);
    });
}
