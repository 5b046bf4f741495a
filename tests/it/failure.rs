//! The failure table of the design, row by row: each test bears its row's name. Short on purpose; what belongs
//! to a row in depth is tested beside its module. The bus is not built, so its row (NATS down) has no test.
//! Two rows are tested beside their modules alone: one undecodable frame (`broker/xts/events.rs`) and a consumer
//! that is too slow (`gateway/shard/model_tests.rs`, `lossless.rs`).
//! Panics cannot be provoked over the wire; a broker client that fails on demand (`flaky`) is put in between.

mod flaky;

use std::sync::Arc;

use serde_json::{Value, json};
use tickgate::broker::FeedEnd;
use tickgate::clock::{Clock as _, UnixNanos};
use tickgate::hub::{Encoding, TopicKey};
use tickgate::market::{Exchange, InstrumentId, Segment};
use tickgate::protocol::Mode;
use tickgate::session::OnReplaced;
use tickgate::sim::Settings as SimSettings;
use tickgate::token::Product;

use crate::consumer::{Consumer, Got};
use crate::rig::{Outside, Running, india, run, until};
use crate::support::{PATIENCE, Server, Simulator, wait_for};
use crate::token::{files_below, logins, wait_for_both_tokens};
use flaky::{Faults, Flaky, Next};

const SBIN: InstrumentId = InstrumentId { segment: Segment::NseCash, code: 3045 };

/// The middle of a trading day, and a simulator that always trades.
async fn outside() -> Outside {
    let mut outside = Outside::new(SimSettings::default(), india("2026-02-10T11:00:00")).await;
    outside.settings.on_replaced = OnReplaced::Retake;
    outside
}

/// A session with ticks, and what makes its broker fail.
async fn flaky(outside: &Outside) -> (Running, Arc<Faults>) {
    let faults = Arc::<Faults>::default();
    let broker = Flaky { inner: outside.broker(), faults: Arc::clone(&faults) };
    let mut running = outside.start_with(Arc::new(broker));
    running.both_valid().await;
    running.tick_after(outside.clock.now()).await;
    (running, faults)
}

/// The feed is replaced, and ticks flow on the new one.
async fn back(outside: &Outside, running: &mut Running, generation: u64) {
    until("a newer live feed", || {
        let feed = running.session.status().feed;
        feed.state == "live" && feed.generation > generation
    })
    .await;
    running.tick_after(outside.clock.now()).await;
}

fn generation(running: &Running) -> u64 {
    running.session.status().feed.generation
}

/// A server with a consumer that gets ticks.
async fn served(environment: &[(&str, &str)]) -> (Server, Consumer) {
    let server = Server::start(environment);
    server.wait_ready();
    let mut consumer = Consumer::authenticated(&server.feed_url(), &server.local_key()).await;
    consumer.subscribe(1, &["NSE:RELIANCE"]).await;
    consumer.next_where(|f| f["type"] == "market_data").await;
    (server, consumer)
}

/// The code that a consumer's connection ends with.
async fn closed_with(consumer: &mut Consumer) -> Option<u16> {
    loop {
        match consumer.read(PATIENCE).await {
            Got::Json(_) => {}
            Got::Closed(frame) => return frame.map(|f| u16::from(f.code)),
            Got::Nothing => panic!("the connection stayed open"),
        }
    }
}

#[test]
fn broker_closes_or_resets_the_socket() {
    run(|| async {
        let outside = outside().await;
        let mut running = outside.start();
        running.both_valid().await;
        running.tick_after(outside.clock.now()).await;
        for clean in [true, false] {
            let before = generation(&running);
            outside.tell("drop", json!({ "clean": clean })).await;
            back(&outside, &mut running, before).await;
        }
        assert_eq!(outside.logins().await, (1, 1));
        running.stop().await;
    });
}

#[test]
fn transport_silent() {
    run(|| async {
        let outside = outside().await;
        let (mut running, faults) = flaky(&outside).await;
        let before = generation(&running);
        faults.next_frame(Next::End(FeedEnd::Silent));
        back(&outside, &mut running, before).await;
        assert_eq!(outside.logins().await, (1, 1));
        running.stop().await;
    });
}

#[test]
fn connected_but_mute() {
    run(|| async {
        let mut outside = outside().await;
        outside.settings.tick_idle_timeout_ms = 500;
        let mut running = outside.start();
        running.both_valid().await;
        running.tick_after(outside.clock.now()).await;
        let before = generation(&running);
        outside.tell("mute", json!({ "on": true })).await;
        let mut told = false;
        until("it to be noticed and the feed replaced", || {
            let feed = running.session.status().feed;
            told |= feed.reason.is_some_and(|why| why.contains("connected but mute"));
            told && feed.generation > before
        })
        .await;
        outside.tell("mute", json!({ "on": false })).await;
        running.tick_after(outside.clock.now()).await;
        until("the reason to go", || {
            let feed = running.session.status().feed;
            feed.state == "live" && feed.reason.is_none()
        })
        .await;
        assert_eq!(outside.logins().await, (1, 1));
        running.stop().await;
    });
}

#[test]
fn token_expired_or_refused() {
    run(|| async {
        let outside = outside().await;
        let mut running = outside.start();
        running.both_valid().await;
        running.tick_after(outside.clock.now()).await;
        let before = generation(&running);
        outside.tell("expire", json!({ "product": "market", "sockets": "close" })).await;
        back(&outside, &mut running, before).await;
        assert_eq!(outside.logins().await.0, 2);
        running.stop().await;
    });
}

#[test]
fn login_refused() {
    run(|| async {
        let outside = outside().await;
        outside.tell("login_faults", json!({ "kind": "credentials", "count": 100 })).await;
        let running = outside.start();
        let state =
            |running: &Running| Product::ALL.map(|product| running.session.status().token(product).state);
        until("a person to be asked for", || state(&running) == ["needs_operator"; 2]).await;
        let attempts = || async { outside.sim("logins").await["logins"].as_array().map(Vec::len) };
        let before = attempts().await;
        assert!(before >= Some(2), "{before:?}");
        // Many back-offs long.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(attempts().await, before);
        assert_eq!(outside.logins().await, (0, 0));
        running.stop().await;
    });
}

#[test]
fn rate_limited() {
    run(|| async {
        let outside = outside().await;
        let limited = json!({ "product": "market", "kind": "rate_limited", "retry_after_s": 1 });
        outside.tell("login_faults", limited).await;
        let began = outside.clock.now();
        let mut running = outside.start();
        running.both_valid().await;
        running.tick_after(began).await;
        let issued = running.session.status().market.issued_at.expect("it is valid");
        assert!(issued >= began.plus(std::time::Duration::from_secs(1)), "the broker's wish was not kept");
        assert_eq!(outside.logins().await, (1, 1));
        running.stop().await;
    });
}

#[test]
fn subscribe_rejected_for_some() {
    run(|| async {
        let outside = outside().await;
        let (mut running, faults) = flaky(&outside).await;
        faults.refuse(SBIN);
        let (encoding, exchange, symbol) = (Encoding::Json, Exchange::Nse, "SBIN".into());
        running.hub.acquire(
            running.shard.id(),
            TopicKey { instrument: SBIN, mode: Mode::Ltp, encoding, exchange, symbol },
        );
        until("the refusal", || running.session.status().feed.rejected == 1).await;
        assert_eq!(running.session.status().feed.confirmed, 1);
        running.tick_after(outside.clock.now()).await;
        running.stop().await;
    });
}

#[test]
fn undecodable_frames_beyond_limit() {
    run(|| async {
        let outside = outside().await;
        let (mut running, faults) = flaky(&outside).await;
        let before = generation(&running);
        faults.next_frame(Next::End(FeedEnd::Undecodable));
        back(&outside, &mut running, before).await;
        assert_eq!(outside.logins().await, (1, 1));
        running.stop().await;
    });
}

#[test]
fn feed_task_panics() {
    run(|| async {
        let outside = outside().await;
        let (mut running, faults) = flaky(&outside).await;
        let before = generation(&running);
        faults.next_frame(Next::Panic);
        back(&outside, &mut running, before).await;
        assert_eq!(outside.logins().await, (1, 1));
        running.stop().await;
    });
}

#[test]
fn stream_actor_panics() {
    run(|| async {
        let outside = outside().await;
        let (mut running, faults) = flaky(&outside).await;
        let before = generation(&running);
        // The handshake runs inside the actor.
        faults.panic_opens(1);
        let _ = running.session.reconnect().await;
        back(&outside, &mut running, before).await;
        assert_eq!(outside.logins().await, (1, 1));
        running.stop().await;
    });
}

#[test]
fn token_actor_panics() {
    run(|| async {
        let outside = outside().await;
        let (mut running, faults) = flaky(&outside).await;
        let before = generation(&running);
        // A login runs inside the actor; its end leaves the asker without an answer.
        faults.panic_logins(1);
        assert!(running.session.refresh(Product::Market, "test").await.is_err());
        back(&outside, &mut running, before).await;
        running.both_valid().await;
        running.stop().await;
    });
}

#[test]
fn restart_budget_spent() {
    run(|| async {
        let outside = outside().await;
        let (running, faults) = flaky(&outside).await;
        faults.panic_opens(u32::MAX);
        let _ = running.session.reconnect().await;
        let gave_up = tokio::time::timeout(PATIENCE, running.session.failed()).await;
        assert!(gave_up.is_ok(), "it never gives up");
        assert_eq!(outside.logins().await, (1, 1));
        running.stop().await;
    });
}

#[test]
fn instrument_master_fails_to_load() {
    run(|| async {
        let outside = outside().await;
        let faults = Arc::<Faults>::default();
        faults.fail_masters(2);
        let broker = Flaky { inner: outside.broker(), faults };
        let mut running = outside.start_with(Arc::new(broker));
        // What needs no list goes on meanwhile.
        running.both_valid().await;
        running.tick_after(outside.clock.now()).await;
        until("the list in the end", || running.keeper.status().is_some()).await;
        running.stop().await;
    });
}

#[test]
fn wall_clock_jumps() {
    run(|| async {
        let outside = outside().await;
        let mut running = outside.start();
        running.both_valid().await;
        for to in ["2026-02-10T14:00:00", "2026-02-10T10:00:00"] {
            let to: UnixNanos = india(to);
            outside.clock.set(to);
            running.tick_after(to).await;
            running.both_valid().await;
        }
        assert_eq!(outside.logins().await, (1, 1));
        running.stop().await;
    });
}

#[test]
fn control_thread_stuck() {
    run(|| async {
        let outside = outside().await;
        let mut running = outside.start();
        running.both_valid().await;
        running.tick_after(outside.clock.now()).await;
        let (session, clock) = (running.session.clone(), Arc::clone(&outside.clock));
        // On another thread, as the HTTP port is.
        let asked = tokio::spawn(async move {
            let stuck_at = clock.now();
            let answer = tokio::time::timeout(std::time::Duration::from_millis(200), session.health()).await;
            // Ticks go on all the while; nothing else would end this loop.
            while session.status().feed.last_tick_at.is_none_or(|at| at <= stuck_at) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            answer.is_err()
        });
        // The actors live on this thread.
        while !asked.is_finished() {
            std::hint::spin_loop();
        }
        assert!(asked.await.unwrap(), "the actors answered although their thread stands still");
        running.session.health().await.expect("they answer again");
        running.stop().await;
    });
}

#[test]
fn sled_missing_corrupt_locked() {
    let mut server = Server::start(&[]);
    // Missing: made.
    wait_for_both_tokens(&server);
    assert_eq!(logins(&server), (1, 1));
    // Locked: a second one does not start.
    let second = crate::support::program()
        .arg("serve")
        .current_dir(server.root())
        .envs([
            ("TICKGATE_GATEWAY__FEED_LISTEN", "127.0.0.1:0"),
            ("TICKGATE_GATEWAY__HTTP_LISTEN", "127.0.0.1:0"),
        ])
        .output()
        .unwrap();
    assert!(!second.status.success(), "{second:?}");
    // Corrupt: set aside, and logged in afresh.
    server.kill();
    let mut files = Vec::new();
    files_below(&server.data().join("tickgate.sled"), &mut files);
    assert!(!files.is_empty());
    for file in files {
        std::fs::write(&file, b"no store of anybody's, but long enough to be looked at as if it were")
            .unwrap();
    }
    server.restart();
    wait_for_both_tokens(&server);
    assert_eq!(logins(&server), (2, 2));
    assert!(server.log().contains("set aside"));
}

#[test]
fn stored_token_cannot_be_decrypted() {
    let mut server = Server::start(&[]);
    wait_for_both_tokens(&server);
    server.kill();
    std::fs::write(server.data().join("fernet.key"), crate::rig::KEY).unwrap();
    server.restart();
    wait_for_both_tokens(&server);
    assert_eq!(logins(&server), (2, 2));
    assert!(server.log().contains("cannot be used"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn consumer_silent_bad_command_bad_token_over_limit() {
    // Who does not answer pings is closed: `gateway/tests.rs`.
    let (server, mut consumer) = served(&[("TICKGATE_GATEWAY__MAX_CONSUMERS", "3")]).await;
    let code = |frame: &Value| frame["code"].as_str().unwrap_or_default().to_owned();
    consumer.send(&json!({"action": "dance"})).await;
    assert_eq!(code(&consumer.next_where(|f| f["type"] != "market_data").await), "INVALID_ACTION");
    let mut other = Consumer::connect(&server.feed_url()).await;
    other.send(&json!({"action": "authenticate", "api_key": "wrong"})).await;
    assert_eq!(code(&other.next().await), "AUTHENTICATION_ERROR");
    let _third = Consumer::connect(&server.feed_url()).await;
    // Over the limit: an answer with a status, or the end; never a consumer.
    assert!(tokio_tungstenite::connect_async(server.feed_url()).await.is_err());
    consumer.next_where(|f| f["type"] == "market_data").await;
}

/// Out of descriptors: the soft limit is put below what is open already.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn accept_fails() {
    let (server, mut consumer) = served(&[]).await;
    let pid = std::fs::read_to_string(server.data().join("run.json")).unwrap();
    let pid = serde_json::from_str::<Value>(&pid).unwrap()["pid"].to_string();
    let limit = |soft: &str| {
        let done = std::process::Command::new("prlimit")
            .args(["--pid", &pid, &format!("--nofile={soft}:")])
            .status()
            .unwrap();
        assert!(done.success());
    };
    limit("1");
    let (url, key) = (server.feed_url(), server.local_key());
    let late = tokio::spawn(async move { Consumer::authenticated(&url, &key).await });
    wait_for("the failure to be told", || {
        server.log().contains("connections cannot be accepted").then_some(())
    });
    // Who is connected gets what is new.
    let told_at = crate::support::now_ms();
    consumer.next_where(|f| f["data"]["timestamp"].as_i64().is_some_and(|at| at > told_at)).await;
    limit("1024");
    late.await.unwrap().subscribe(1, &["NSE:RELIANCE"]).await;
}

#[test]
fn sigterm() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut server, mut consumer) = runtime.block_on(served(&[]));
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(runtime.block_on(closed_with(&mut consumer)), Some(1001));
}

#[test]
fn broker_gone_leaves_consumers_connected() {
    let mut simulator = Simulator::start(&[]);
    let mut environment = simulator.credentials();
    environment.extend([
        ("TICKGATE_BROKER__KIND".to_owned(), "xts".to_owned()),
        ("TICKGATE_BROKER__XTS__BASE_URL".to_owned(), format!("http://{}", simulator.address)),
        ("TICKGATE_SESSION__BACKOFF_CEILING_MS".to_owned(), "1000".to_owned()),
    ]);
    let environment: Vec<_> = environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (server, mut consumer) = runtime.block_on(served(&environment));
    simulator.kill();
    wait_for("/readyz to be 503", || server.get("/readyz").filter(|(status, _)| *status == 503));
    runtime.block_on(async {
        consumer.send(&json!({"action": "ping"})).await;
        consumer.next_where(|f| f["type"] == "pong").await;
    });
}
