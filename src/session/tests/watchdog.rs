//! The watchdog as a whole: a feed that is connected but mute, whatever its reason.

use super::*;
use crate::broker::Error;
use crate::session::OnReplaced;
use crate::session::tests::broker::{Item, Script};
use crate::session::watchdog::MOST_RECONNECTS;

/// A live feed of one instrument.
async fn watched(outside: &Outside) -> Process {
    let process = outside.process();
    process.live().await;
    process.want(RELIANCE, Mode::Ltp);
    process.confirmed(1).await;
    process
}

fn reason(process: &Process) -> Option<String> {
    process.status().feed.reason
}

async fn resting(process: &Process) {
    until_within("the connection to be kept", Duration::from_hours(3), || {
        reason(process).is_some_and(|why| why.contains("may not trade"))
    })
    .await;
}

#[test]
fn a_market_that_does_not_trade_is_reconnected_ever_more_rarely_and_then_no_more() {
    run(|| async {
        let outside = Outside::new();
        let process = watched(&outside).await;
        resting(&process).await;
        let opened = outside.broker.world().opened_at.clone();
        assert_eq!(opened.len(), 1 + MOST_RECONNECTS as usize);
        let gaps: Vec<_> = opened.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.windows(2).all(|pair| pair[1] > pair[0] * 5 / 4), "{gaps:?}");
        let (requests, verified) = {
            let world = outside.broker.world();
            (world.requests.len(), world.verified_at.len())
        };
        tokio::time::sleep(Duration::from_mins(90)).await;
        {
            let world = outside.broker.world();
            assert_eq!(world.opened_at.len(), opened.len());
            assert_eq!(world.requests.len(), requests);
            // Still watched, at the longest distance.
            let more = world.verified_at.len() - verified;
            assert!((3..=8).contains(&more), "{more}");
            assert_eq!(world.logins, [1, 1]);
        }
        assert_eq!(process.status().feed.state, "live");
        // The first trade ends the matter.
        outside.broker.world().push(Item::Tick(outside.broker.tick(RELIANCE, 101)));
        until("the reason to go", || reason(&process).is_none()).await;
    });
}

#[test]
fn what_is_added_to_what_does_not_trade_is_suspected_anew() {
    run(|| async {
        let outside = Outside::new();
        let process = watched(&outside).await;
        resting(&process).await;
        let generation = process.status().feed.generation;
        process.want(SBIN, Mode::Ltp);
        until_within("another connection", Duration::from_hours(1), || {
            process.status().feed.generation > generation
        })
        .await;
        assert_eq!(outside.broker.world().logins, [1, 1]);
    });
}

#[test]
fn every_step_is_seen_and_comes_in_its_order() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().verifies.push_back(Script::Hang);
        let process = watched(&outside).await;
        let mut seen = Vec::new();
        until("another connection", || {
            let why = reason(&process).unwrap_or_default();
            if seen.last() != Some(&why) {
                seen.push(why);
            }
            process.status().feed.generation > 1
        })
        .await;
        let at = |words: &str| seen.iter().position(|why| why.contains(words));
        let steps = [at("verifying"), at("subscribed afresh"), at("connected but mute for")];
        assert!(steps.iter().all(Option::is_some) && steps.is_sorted(), "{seen:?}");
        // The broker was asked once for the token, and once for everything.
        assert_eq!(outside.broker.world().verified_at.len(), 1);
        assert_eq!(outside.broker.world().requests.len(), 3);
    });
}

#[test]
fn a_token_that_cannot_be_verified_is_not_suspected() {
    run(|| async {
        let outside = Outside::new();
        let down = || Script::Fail(Error::Http { status: 502, what: "bad gateway".to_owned() });
        outside.broker.world().verifies.extend((0..100).map(|_| down()));
        let process = watched(&outside).await;
        process.live_after(2).await;
        assert_eq!(outside.broker.world().logins, [1, 1]);
        assert_eq!(outside.broker.world().verified_at.len(), 2);
    });
}

#[test]
fn a_mute_feed_with_a_dead_token_costs_one_login_where_sessions_are_taken_back() {
    run(|| async {
        let mut outside = Outside::new();
        outside.settings.on_replaced = OnReplaced::Retake;
        let process = watched(&outside).await;
        outside.broker.world().tokens[1] = None;
        outside.broker.world().held.clear();
        process.live_after(1).await;
        process.confirmed(1).await;
        // Mute as before, but with a good token.
        tokio::time::sleep(Duration::from_mins(30)).await;
        assert_eq!(outside.broker.world().logins, [1, 2]);
    });
}

#[test]
fn a_mute_feed_with_a_dead_token_is_another_devices_where_they_are_left() {
    run(|| async {
        let outside = Outside::new();
        let process = watched(&outside).await;
        outside.broker.world().tokens[1] = None;
        until("it to be told", || process.status().market.state == "replaced").await;
        // Nothing was subscribed with it first: the cheap question was enough.
        assert_eq!(outside.broker.world().requests.len(), 1);
        assert_eq!(outside.broker.world().verified_at.len(), 1);
        tokio::time::sleep(Duration::from_mins(30)).await;
        assert_eq!(outside.broker.world().logins, [1, 1]);
    });
}
