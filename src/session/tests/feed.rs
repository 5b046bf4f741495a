use super::*;
use crate::broker::{Error, FeedEnd};
use crate::hub::FeedState;
use crate::market::{Kind, Price, PriceBand, TickBody};
use crate::session::subscriptions::Operation;
use crate::session::tests::broker::{Item, Script, refused};

fn closed() -> Item {
    Item::End(FeedEnd::Closed("going away".to_owned()))
}

#[test]
fn ticks_and_snapshots_reach_whoever_holds_the_topic() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().snapshots = true;
        let mut process = outside.process();
        process.live().await;
        process.want(RELIANCE, Mode::Ltp);
        // The value that came with the subscription.
        process.frame_with("\"ltp\":100").await;
        process.confirmed(1).await;
        let tick = outside.broker.tick(RELIANCE, 101);
        outside.broker.world().push(Item::Tick(tick));
        process.frame_with("\"ltp\":101").await;
        assert!(process.status().feed.last_tick_at.is_some());
        // A new mode of what flows already costs no request and gets the last value.
        let requests = outside.broker.world().requests.len();
        process.want(RELIANCE, Mode::Quote);
        process.frame_with("\"ltp\":101").await;
        assert_eq!(outside.broker.world().requests.len(), requests);
        assert_eq!(outside.broker.world().quotes, []);
    });
}

#[test]
fn without_a_snapshot_the_last_values_are_asked_for() {
    run(|| async {
        let outside = Outside::new();
        let mut process = outside.process();
        process.live().await;
        process.want(RELIANCE, Mode::Ltp);
        process.frame_with("\"ltp\":200").await;
        assert_eq!(outside.broker.world().quotes, [RELIANCE]);
    });
}

#[test]
fn many_symbols_taken_one_by_one_become_few_requests() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        for code in 1..=25 {
            process.want(InstrumentId { segment: Segment::NseCash, code }, Mode::Ltp);
        }
        process.confirmed(25).await;
        let sizes: Vec<_> = outside.broker.world().requests.iter().map(|r| r.instruments.len()).collect();
        assert_eq!(sizes, [10, 10, 5]);
    });
}

#[test]
fn a_dropped_feed_comes_back_after_a_back_off_without_subscribing_again() {
    run(|| async {
        let outside = Outside::new();
        let mut process = outside.process();
        process.live().await;
        process.want(RELIANCE, Mode::Ltp);
        process.want(SBIN, Mode::Depth);
        process.confirmed(2).await;
        let requests = outside.broker.world().requests.len();
        let dropped = tokio::time::Instant::now();
        outside.broker.world().push(closed());
        until("the end", || process.status().feed.state == "waiting").await;
        let feed = process.status().feed;
        assert!(feed.reason.is_some_and(|why| why.contains("going away")));
        assert!(matches!(process.hub.feed_state(FeedId(0)), Some(FeedState::Down { .. })));
        process.live_after(1).await;
        let gap = outside.broker.world().opened_at[1] - dropped;
        assert!(gap >= Duration::from_millis(500) && gap <= Duration::from_secs(2), "{gap:?}");
        assert_eq!(process.hub.feed_state(FeedId(0)), Some(FeedState::Live));
        assert_eq!(process.status().feed.reconnects, 1);
        tokio::time::sleep(Duration::from_secs(5)).await;
        // What was missed is asked for; what is subscribed is left alone.
        assert_eq!(outside.broker.world().requests.len(), requests);
        let quotes = outside.broker.world().quotes.clone();
        assert!(quotes.ends_with(&[RELIANCE, SBIN]), "{quotes:?}");
        outside.broker.world().push(Item::Tick(outside.broker.tick(RELIANCE, 105)));
        process.frame_with("\"ltp\":105").await;
        // One login for all of it.
        assert_eq!(outside.broker.world().logins, [1, 1]);
    });
}

#[test]
fn a_venue_that_refuses_connections_is_not_hammered() {
    run(|| async {
        let outside = Outside::new();
        for _ in 0..200 {
            let refusal = Script::Fail(Error::Http { status: 502, what: "bad gateway".to_owned() });
            outside.broker.world().opens.push_back(refusal);
        }
        let process = outside.process();
        tokio::time::sleep(Duration::from_mins(10)).await;
        let tries = outside.broker.world().opened_at.len();
        assert!((15..60).contains(&tries), "{tries}");
        outside.broker.world().opens.clear();
        process.live().await;
        assert_eq!(outside.broker.world().logins, [1, 1]);
    });
}

#[test]
fn a_token_refused_by_the_feed_leads_to_one_login_and_all_is_subscribed_again() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        process.want(RELIANCE, Mode::Ltp);
        process.want(SBIN, Mode::Ltp);
        process.confirmed(2).await;
        outside.broker.world().tokens[1] = None;
        outside.broker.world().held.clear();
        outside.broker.world().push(Item::End(FeedEnd::TokenRefused("Invalid Token".to_owned())));
        process.live_after(1).await;
        process.confirmed(2).await;
        let world = outside.broker.world();
        assert_eq!(world.logins, [1, 2]);
        assert_eq!(world.subscribed(Kind::Quote), 4);
        assert!(world.requests.iter().all(|seen| seen.operation == Operation::Subscribe));
    });
}

#[test]
fn a_token_refused_at_the_handshake_or_by_a_request_heals_the_same_way() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        outside.broker.world().subscribes.push_back(Script::Fail(refused()));
        process.want(RELIANCE, Mode::Ltp);
        process.confirmed(1).await;
        assert_eq!(outside.broker.world().logins, [1, 2]);
        // The handshake: the venue forgot the token while the feed was down.
        let generation = process.status().feed.generation;
        outside.broker.world().tokens[1] = None;
        outside.broker.world().push(closed());
        process.live_after(generation).await;
        process.confirmed(1).await;
        assert_eq!(outside.broker.world().logins[1], 3);
    });
}

#[test]
fn after_a_restart_with_a_stored_token_everything_is_ended_before_it_is_subscribed() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        process.want(RELIANCE, Mode::Ltp);
        process.confirmed(1).await;
        process.stop().await;
        outside.broker.world().requests.clear();

        let process = outside.process();
        process.want(RELIANCE, Mode::Ltp);
        process.live().await;
        process.confirmed(1).await;
        let world = outside.broker.world();
        let done: Vec<_> = world.requests.iter().map(|seen| (seen.operation, seen.kind)).collect();
        assert_eq!(done[..2], [(Operation::Unsubscribe, Kind::Quote), (Operation::Subscribe, Kind::Quote)]);
        assert_eq!(world.logins, [1, 1]);
    });
}

#[test]
fn nobody_wants_it_any_more_and_after_a_while_it_is_ended() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        let topic = process.want(RELIANCE, Mode::Ltp);
        process.confirmed(1).await;
        process.hub.release(topic);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(outside.broker.world().held.len(), 1);
        until("the end of it", || outside.broker.world().held.is_empty()).await;
    });
}

#[test]
fn who_comes_back_later_is_not_shown_the_price_from_before() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().snapshots = true;
        let mut process = outside.process();
        process.live().await;
        let topic = process.want(RELIANCE, Mode::Ltp);
        process.confirmed(1).await;
        let tick = outside.broker.tick(RELIANCE, 101);
        outside.broker.world().push(Item::Tick(tick));
        process.frame_with("\"ltp\":101").await;
        process.hub.release(topic);
        until("the end of it", || outside.broker.world().held.is_empty()).await;
        process.frames();
        process.want(RELIANCE, Mode::Ltp);
        // The broker's snapshot says 100 again; the 101 of long ago must not come before it.
        let mut seen = Vec::new();
        until("a frame", || {
            seen.extend(process.frames());
            !seen.is_empty()
        })
        .await;
        assert!(seen[0].contains("\"ltp\":100"), "{seen:?}");
    });
}

#[test]
fn what_comes_unasked_is_no_sign_of_life() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        process.want(RELIANCE, Mode::Ltp);
        process.confirmed(1).await;
        let band = PriceBand { low: Some(Price::from_rupees(90)), high: None };
        until("the feed to be given up as mute", || {
            let mut tick = outside.broker.tick(RELIANCE, 1);
            tick.body = TickBody::PriceBand(band);
            // Nor do prices of what nobody asked for, as some brokers send of indices.
            let other = outside.broker.tick(SBIN, 1);
            outside.broker.world().push(Item::Tick(tick));
            outside.broker.world().push(Item::Tick(other));
            process.status().feed.generation > 1
        })
        .await;
        assert_eq!(process.status().feed.last_tick_at, None);
    });
}

#[test]
fn bars_are_subscribed_only_while_somebody_holds_them() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        process.want(RELIANCE, Mode::Ltp);
        process.confirmed(1).await;
        assert_eq!(outside.broker.world().subscribed(Kind::Bar), 0);
        let topic = process.want(SBIN, Mode::Bar);
        process.confirmed(2).await;
        let held = |kind| outside.broker.world().held.contains(&(SBIN, kind));
        assert_eq!((held(Kind::Bar), held(Kind::Quote)), (true, false));
        process.hub.release(topic);
        until("the bars to be given up", || !held(Kind::Bar)).await;
    });
}

#[test]
fn a_feed_that_is_connected_but_mute_is_subscribed_afresh_and_then_replaced() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        process.want(RELIANCE, Mode::Ltp);
        process.confirmed(1).await;
        tokio::time::sleep(Duration::from_secs(40)).await;
        let done: Vec<_> = outside.broker.world().requests.iter().map(|seen| seen.operation).collect();
        assert_eq!(done[..2], [Operation::Subscribe, Operation::Unsubscribe]);
        assert_eq!(process.status().feed.generation, 1);
        process.live_after(1).await;
        // With ticks it stays; two minutes are more than any time-out here.
        for rupees in 0..24 {
            outside.broker.world().push(Item::Tick(outside.broker.tick(RELIANCE, 100 + rupees)));
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        assert_eq!(process.status().feed.generation, 2);
    });
}

#[test]
fn silence_is_no_fault_while_the_market_is_closed() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        process.want(RELIANCE, Mode::Ltp);
        process.confirmed(1).await;
        outside.broker.world().push(Item::Tick(outside.broker.tick(RELIANCE, 100)));
        // To 15:30 with ticks, then to 19:00 without.
        for _ in 0..(4 * 60 + 30) * 4 {
            tokio::time::sleep(Duration::from_secs(15)).await;
            outside.broker.world().push(Item::Tick(outside.broker.tick(RELIANCE, 100)));
        }
        let generation = process.status().feed.generation;
        tokio::time::sleep(Duration::from_mins(210)).await;
        assert_eq!((process.status().feed.generation, process.status().feed.state), (generation, "live"));
    });
}

fn sequence(frame: &str) -> u64 {
    let (_, rest) = frame.split_once("\"seq\":").expect("it has a number");
    rest.split_once(',').expect("it goes on").0.parse().expect("a number")
}

#[test]
fn a_panic_in_the_feed_task_is_a_disconnect() {
    run(|| async {
        let outside = Outside::new();
        let mut process = outside.process();
        process.live().await;
        let (encoding, exchange) = (Encoding::JsonSeq, Exchange::Nse);
        let key =
            TopicKey { instrument: RELIANCE, mode: Mode::Ltp, encoding, exchange, symbol: "RELIANCE".into() };
        process.hub.acquire(process.shard.id(), key);
        process.confirmed(1).await;
        for rupees in 101..=105 {
            outside.broker.world().push(Item::Tick(outside.broker.tick(RELIANCE, rupees)));
        }
        let before = sequence(&process.frame_with("\"ltp\":105").await);
        outside.broker.world().push(Item::Panic);
        process.live_after(1).await;
        outside.broker.world().push(Item::Tick(outside.broker.tick(RELIANCE, 107)));
        let after = sequence(&process.frame_with("\"ltp\":107").await);
        assert!(after > before, "{after} is no later than {before}");
        assert_eq!(outside.broker.world().logins, [1, 1]);
    });
}

#[test]
fn a_panic_in_the_stream_actor_brings_a_new_one_and_ends_the_old_feed() {
    run(|| async {
        let outside = Outside::new();
        let mut process = outside.process();
        process.live().await;
        process.want(RELIANCE, Mode::Ltp);
        process.confirmed(1).await;
        // The next request panics inside the actor, with the feed open.
        outside.broker.world().subscribes.push_back(Script::Panic);
        process.want(SBIN, Mode::Ltp);
        process.live_after(1).await;
        process.confirmed(2).await;
        outside.broker.world().push(Item::Tick(outside.broker.tick(SBIN, 108)));
        process.frame_with("\"ltp\":108").await;
        assert_eq!(outside.broker.world().logins, [1, 1]);
    });
}

#[test]
fn who_panics_again_and_again_uses_up_the_budget_and_the_session_gives_up() {
    run(|| async {
        let outside = Outside::new();
        for _ in 0..200 {
            outside.broker.world().opens.push_back(Script::Panic);
        }
        let process = outside.process();
        let gave_up = tokio::time::timeout(Duration::from_mins(10), process.session.failed());
        gave_up.await.expect("it gives up");
        // Each of six token actors had six stream actors.
        assert_eq!(outside.broker.world().opened_at.len(), 36);
        process.session.stop().await;
    });
}

#[test]
fn an_operator_reconnects_and_renews() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        process.session.reconnect().await.expect("is done");
        process.live_after(1).await;
        assert_eq!(outside.broker.world().logins, [1, 1]);
        process.session.refresh(crate::token::Product::Market, "test").await.expect("logs in");
        process.live_after(2).await;
        let world = outside.broker.world();
        assert_eq!(world.logins, [1, 2]);
        assert_ne!(world.open_with[1], world.open_with[2]);
    });
}
