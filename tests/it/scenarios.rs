//! A scenario through the real server: our feed lives through every kind of broken message, and
//! no consumer ever gets a value that the market did not have.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;
use tickgate::clock::Clock as _;
use tickgate::market::Price;
use tickgate::sim::truth::Event;
use tickgate::sim::{Scenario, Settings};

use crate::rig::{Outside, RELIANCE, india, run, until};

/// Every kind of message that a careful reader can tell from a good one.
const BROKEN: [&str; 6] =
    ["nan_prices", "zero_prices", "unknown_code", "truncated", "corrupt", "wrong_length"];

fn settings() -> Settings {
    Settings { pace: 50.0, ..Settings::default() }
}

#[test]
fn no_broken_message_becomes_a_value() {
    run(|| async {
        let outside = Outside::new(settings(), india("2026-02-10T11:00:00")).await;
        let recording = outside.sim.record_truth(2_000_000);
        let mut running = outside.start();
        running.tick_after(india("2026-02-10T11:00:00")).await;
        let mut got: HashSet<String> = HashSet::new();
        let mut valid = HashSet::new();
        for fault in BROKEN {
            let body = json!({"fault": fault, "one_in": 2, "count": 20, "for": "60s"});
            outside.sim.begin_fault(&body).expect("is a fault");
            until(fault, || {
                got.extend(running.prices());
                outside.sim.faults()["faults"].as_array().is_some_and(Vec::is_empty)
            })
            .await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        got.extend(running.prices());
        let (notes, dropped) = recording.take();
        assert_eq!(dropped, 0);
        let mut faulty = HashSet::new();
        for note in notes {
            if let Event::Message(sent) = note.event
                && sent.id == RELIANCE
            {
                match (sent.fault, sent.ltp) {
                    (None, Some(price)) => drop(valid.insert(price)),
                    (None, None) => panic!("NaN that no fault sent"),
                    (Some(fault), _) => drop(faulty.insert(fault)),
                }
            }
        }
        for fault in BROKEN {
            assert!(faulty.contains(fault), "{fault} never struck");
        }
        let got: HashSet<_> =
            got.iter().map(|text| Price::parse(text.as_bytes()).expect("is a price")).collect();
        assert!(got.len() > 1, "{}", got.len());
        assert_eq!(got.difference(&valid).collect::<Vec<_>>(), Vec::<&Price>::new());
        running.stop().await;
    });
}

/// Short faults of the connection, one after the other.
const SHORT: &str = r#"
name = "short"
[[step]]
at = "100ms"
fault = "drop"
[[step]]
at = "400ms"
fault = "expire"
product = "market"
[[step]]
at = "800ms"
fault = "rest_error"
status = 502
for = "300ms"
[[step]]
at = "800ms"
fault = "half_open"
for = "500ms"
"#;

#[test]
fn a_scenario_plays_itself_and_the_feed_is_back_after_it() {
    run(|| async {
        let outside = Outside::new(settings(), india("2026-02-10T11:00:00")).await;
        let recording = outside.sim.record_truth(2_000_000);
        let mut running = outside.start();
        running.tick_after(india("2026-02-10T11:00:00")).await;
        outside.sim.play(Scenario::parse("short", SHORT).expect("is a scenario")).expect("can be played");
        until("all faults to be over", || {
            outside.sim.faults()["ended"].as_array().is_some_and(|ended| ended.len() == 4)
        })
        .await;
        running.tick_after(outside.clock.now()).await;
        let ended = outside.sim("faults").await["ended"].clone();
        let names: Vec<_> = ended.as_array().expect("is a list").iter().map(|f| f["fault"].clone()).collect();
        assert_eq!(names[..2], [json!("drop"), json!("expire")]);
        let events: Vec<_> = recording.take().0.into_iter().map(|note| note.event).collect();
        let count = |is: fn(&Event) -> bool| events.iter().filter(|e| is(e)).count();
        assert_eq!(count(|e| matches!(e, Event::FaultBegin { .. })), 4);
        assert_eq!(count(|e| matches!(e, Event::FaultEnd { .. })), 4);
        assert!(count(|e| matches!(e, Event::SessionEnd { .. })) >= 1);
        assert!(count(|e| matches!(e, Event::Socket { opened: false, .. })) >= 2);
        running.stop().await;
    });
}

#[test]
fn controls_say_what_is_wrong_with_them() {
    run(|| async {
        let outside = Outside::new(Settings::default(), india("2026-02-10T11:00:00")).await;
        let begin = |body| outside.sim.begin_fault(&body);
        assert_eq!(
            begin(json!({"fault": "mute", "for": "1"})).unwrap_err(),
            "for must be as 500ms, 5s, 2m or 1h, at most 24h"
        );
        assert!(
            begin(json!({"fault": "mute", "account": "nobody"})).unwrap_err().starts_with("account must be")
        );
        outside.tell("fault", json!({"fault": "mute", "for": "1h"})).await;
        assert_eq!(outside.sim("faults").await["faults"][0]["fault"], "mute");
        outside.tell("fault", json!({"clear": true})).await;
        assert_eq!(outside.sim("faults").await["faults"], json!([]));
    });
}
