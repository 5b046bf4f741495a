//! Consumers that ask for it are told how current their data are while the broker falls silent, cuts the
//! connection and comes back; others on the same server see nothing but market data.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tickgate::client::{Client, Event, Trust, What};
use tickgate::protocol::Mode;
use tickgate::protocol::binary::Freshness;
use tokio::sync::watch;

use crate::consumer::{Consumer, Got};
use crate::support::{PATIENCE, Server, http, wait_for};

async fn tell(address: SocketAddr, path: &'static str, body: Value) {
    let path = format!("/__sim/{path}");
    let told = tokio::task::spawn_blocking(move || http("POST", address, &path, None, &body.to_string()));
    let (status, body) = told.await.unwrap().expect("the simulator answers");
    assert_eq!(status, 200, "{body}");
}

async fn opted_in(server: &Server) -> Consumer {
    let mut consumer = Consumer::connect(&server.feed_url()).await;
    let wishes = json!({"state": true, "conflated": false});
    consumer
        .send(&json!({"action": "authenticate", "api_key": server.local_key(), "tickgate": wishes}))
        .await;
    let answer = consumer.next().await;
    assert_eq!(answer["tickgate"], json!({"conflated": false, "seq": false, "state": true}), "{answer}");
    consumer
}

/// The next state of this name; market data and heartbeats before it are passed over.
async fn until_state(consumer: &mut Consumer, wanted: &str) -> Value {
    consumer.next_where(|frame| frame["type"] == "state" && frame["state"] == wanted).await
}

async fn until_record(client: &mut Client, wanted: Freshness) -> String {
    loop {
        let event = tokio::time::timeout(PATIENCE, client.next()).await.expect("records come").unwrap();
        let Some(Event::Record(update)) = event else { panic!("{event:?}") };
        if let What::State { state, reason, .. } = update.what
            && state == Some(wanted)
        {
            assert_eq!(update.listing.unwrap().symbol, "RELIANCE");
            return reason;
        }
    }
}

/// Reads until told to stop; all of it must be market data.
async fn read_plain(mut consumer: Consumer, mut stop: watch::Receiver<bool>) -> usize {
    let mut frames = 0;
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return frames,
            got = consumer.read(PATIENCE) => match got {
                Got::Json(frame) => {
                    assert_eq!(frame["type"], "market_data", "{frame}");
                    frames += 1;
                }
                Got::Nothing => {}
                Got::Closed(frame) => panic!("closed: {frame:?}"),
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_and_a_dropped_feed_are_told_to_who_asks() {
    let server = Server::start(&[
        ("TICKGATE_SESSION__TICK_IDLE_TIMEOUT_MS", "2000"),
        ("TICKGATE_SESSION__DELAYED_AFTER_MS", "500"),
        ("TICKGATE_SESSION__BACKOFF_FLOOR_MS", "300"),
        ("TICKGATE_GATEWAY__HEARTBEAT_MS", "200"),
    ]);
    server.wait_ready();
    let simulator = server.sim_address();
    let mut plain = Consumer::authenticated(&server.feed_url(), &server.local_key()).await;
    plain.subscribe(1, &["NSE:RELIANCE"]).await;
    let (stop, stopped) = watch::channel(false);
    let plain = tokio::spawn(read_plain(plain, stopped));

    let mut json = opted_in(&server).await;
    json.subscribe(1, &["NSE:RELIANCE"]).await;
    let first = json.next().await;
    assert_eq!((&first["type"], &first["symbol"]), (&json!("state"), &json!("RELIANCE")), "{first}");
    if first["state"] != "live" {
        assert_eq!(first["state"], "connecting", "{first}");
        until_state(&mut json, "live").await;
    }
    let mut binary =
        Client::connect_with_states(&server.feed_url(), &server.local_key(), &Trust::System).await.unwrap();
    assert!(binary.is_binary());
    binary.subscribe(&[("NSE", "RELIANCE")], Mode::Ltp).await.unwrap();
    until_record(&mut binary, Freshness::Live).await;
    let beat = json.next_where(|frame| frame["type"] == "heartbeat" && frame["state"] == "live").await;
    assert!(beat["last_tick_age_ms"].is_u64(), "{beat}");

    tell(simulator, "mute", json!({"on": true})).await;
    let delayed = until_state(&mut json, "delayed").await;
    let stale = until_state(&mut json, "stale").await;
    assert!(stale["since"].as_i64() >= delayed["since"].as_i64(), "{stale} after {delayed}");
    assert!(!stale["reason"].as_str().unwrap().is_empty(), "{stale}");
    assert!(!until_record(&mut binary, Freshness::Stale).await.is_empty());
    json.next_where(|frame| frame["type"] == "heartbeat" && frame["state"] == "stale").await;
    let feed = wait_for("the status to say so", || {
        let status: Value = serde_json::from_str(&server.get("/v1/status")?.1).ok()?;
        Some(status["accounts"]["default"]["feed"].clone())
            .filter(|f| f["segments"]["NSE"]["state"] != "live")
    });
    assert!(feed["segments"]["NSE"]["last_tick_age_ms"].is_u64(), "{feed}");
    wait_for("seconds to be counted", || {
        let metrics = server.get("/metrics")?.1;
        let name = "tickgate_feed_stale_seconds_total{account=\"default\",reason=\"mute\"} ";
        let seconds = metrics.lines().find_map(|line| line.strip_prefix(name))?.parse::<f64>().ok()?;
        (seconds >= 1.0).then_some(())
    });
    tell(simulator, "mute", json!({"on": false})).await;
    until_state(&mut json, "live").await;
    until_record(&mut binary, Freshness::Live).await;

    tell(simulator, "drop", json!({"product": "market"})).await;
    let stale = until_state(&mut json, "stale").await;
    assert!(!stale["reason"].as_str().unwrap().is_empty(), "{stale}");
    until_record(&mut binary, Freshness::Stale).await;
    until_state(&mut json, "live").await;
    until_record(&mut binary, Freshness::Live).await;

    stop.send_replace(true);
    assert!(plain.await.unwrap() > 0);
    // It may be between two ticks just now.
    wait_for("the gauge to say live", || {
        let live = "tickgate_feed_state{account=\"default\",segment=\"NSECM\",state=\"live\"} 1";
        server.get("/metrics").filter(|(_, metrics)| metrics.contains(live))
    });
}

/// Closed by the calendar file, on this day and those around it.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_market_is_closed() {
    let days = [-1, 0, 1].map(|offset| {
        use tickgate::clock::{Clock as _, SystemClock, UnixNanos};
        let day = UnixNanos::from_secs(SystemClock.now().as_secs() + offset * 86_400);
        let date = tickgate::market::calendar::ist_date(day);
        format!("[[day]]\ndate = \"{date}\"\nexchange = \"NSE\"\nclosed = true\nwhy = \"a test\"\n")
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), days.concat()).unwrap();
    let server = Server::start(&[
        ("TICKGATE_SIM__HOURS", "exchange"),
        // Else it would rest at night.
        ("TICKGATE_SESSION__PLANNED_LOGIN_IST", ""),
        ("TICKGATE_SESSION__CALENDAR_FILE", file.path().to_str().unwrap()),
        ("TICKGATE_GATEWAY__HEARTBEAT_MS", "100"),
    ]);
    server.wait_ready();
    let mut consumer = opted_in(&server).await;
    consumer.subscribe(1, &["NSE:RELIANCE"]).await;
    assert_eq!(until_state(&mut consumer, "closed").await["symbol"], "RELIANCE");
    consumer.next_where(|frame| frame["type"] == "heartbeat").await;
    let after = consumer.read(Duration::from_millis(300)).await;
    if let Got::Json(frame) = after {
        assert_ne!(frame["state"], "live", "{frame}");
    }
    let status: Value = serde_json::from_str(&server.get("/v1/status").unwrap().1).unwrap();
    assert_eq!(status["market"]["NSE"], "closed", "{status}");
}
