//! Each fault on its own: what sockets and requests get while it lasts, and not after.

use std::time::Duration;

use super::*;
use crate::broker::xts::wire::binary::Decoder;
use crate::market::{Tick, TickBody};
use crate::sim::truth::Event;

fn begin(sim: &mut Sim, body: Value) -> u64 {
    sim.core.begin_fault(Spec::parse(&body).unwrap(), sim.now).unwrap()
}

/// A socket of each format, subscribed to a share.
fn connected(settings: Settings) -> (Sim, String) {
    let mut sim = Sim::new(settings);
    let token = sim.login(Product::Market);
    sim.connect(1, &token, true).unwrap();
    sim.connect(2, &token, false).unwrap();
    sim.subscribe(1501, &[2885]);
    sim.core.take_outbox();
    sim.core.note_truth();
    (sim, token)
}

/// Prices that our own decoder finds in what a binary socket got.
fn prices(out: &[Out], now: UnixNanos) -> Vec<i64> {
    let (mut decoder, mut ticks) = (Decoder::new(), Vec::<Tick>::new());
    for frame in out {
        if let Out::Binary(bytes) = frame {
            decoder.decode(&bytes[1..], now, &mut ticks);
        }
    }
    let price =
        |t: Tick| if let TickBody::Quote(quote) = t.body { Some(quote.last.price.as_nanos()) } else { None };
    ticks.into_iter().filter_map(price).collect()
}

/// Prices that were sent well, and what spoiled the others.
fn noted(sim: &mut Sim) -> (Vec<i64>, Vec<&'static str>) {
    let (mut good, mut faults) = (Vec::new(), Vec::new());
    for note in sim.core.take_notes() {
        if let Event::Message(sent) = note.event {
            match sent.fault {
                None => good.push(sent.ltp.unwrap().as_nanos()),
                Some(fault) => faults.push(fault),
            }
        }
    }
    (good, faults)
}

#[test]
fn broken_messages_are_noted_as_such_and_no_careful_reader_takes_them() {
    for fault in ["nan_prices", "zero_prices", "unknown_code", "truncated", "corrupt", "wrong_length"] {
        for layout in ["a", "b", "c"] {
            let (mut sim, _) = connected(Settings { pace: 50.0, ..Settings::default() });
            begin(&mut sim, json!({"fault": "layout", "layout": layout, "for": "1h"}));
            begin(&mut sim, json!({"fault": fault, "one_in": 2, "for": "3s"}));
            let out = sim.run(3);
            let (good, faults) = noted(&mut sim);
            assert!(faults.len() > 20 && faults.iter().all(|f| *f == fault), "{fault}: {}", faults.len());
            assert_eq!(prices(&out[&1], sim.now), good, "{fault} in layout {layout}");
            let out = sim.run(1);
            let (good, faults) = noted(&mut sim);
            assert_eq!(faults, Vec::<&str>::new(), "{fault} ends by itself");
            assert_eq!(prices(&out[&1], sim.now), good);
        }
    }
}

#[test]
fn text_frames_are_broken_too() {
    for (fault, is_broken) in [
        ("nan_prices", (|t: &str| t.contains(":NaN")) as fn(&str) -> bool),
        ("zero_prices", |t| t.contains("LastTradedPrice\\\":0,")),
        ("unknown_code", |t| t.starts_with("42[\"1599-")),
        ("truncated", |t| !t.ends_with(']')),
        ("wrong_length", |t| !t.ends_with(']')),
        ("corrupt", |t| !t.starts_with("42[\"1501-json-full\",\"{")),
    ] {
        let (mut sim, _) = connected(Settings { pace: 20.0, ..Settings::default() });
        begin(&mut sim, json!({"fault": fault, "for": "1h"}));
        let out = sim.run(2);
        assert!(out[&2].len() > 3);
        for frame in &out[&2] {
            let Out::Text(text) = frame else { panic!("{frame:?}") };
            assert!(is_broken(text), "{fault}: {text}");
        }
    }
}

#[test]
fn mute_is_for_its_segment_and_so_many_messages_only() {
    let (mut sim, _) = connected(Settings { pace: 20.0, ..Settings::default() });
    begin(&mut sim, json!({"fault": "mute", "segment": "NSEFO", "for": "1h"}));
    assert!(!sim.run(2).is_empty());
    begin(&mut sim, json!({"fault": "mute", "segment": 1, "for": "1100ms"}));
    assert!(sim.run(1).is_empty());
    assert!(!sim.run(2).is_empty());
    begin(&mut sim, json!({"fault": "mute", "count": 3}));
    assert!(!sim.run(2).is_empty());
    assert!(sim.core.faults_in_force(sim.now)["ended"].as_array().unwrap().iter().any(|f| f["struck"] == 3));
}

#[test]
fn older_messages_and_odd_times_are_marked() {
    let (mut sim, _) = connected(Settings { pace: 20.0, ..Settings::default() });
    begin(&mut sim, json!({"fault": "old_sequence", "for": "1h"}));
    sim.run(2);
    let sent: Vec<_> = sim
        .core
        .take_notes()
        .into_iter()
        .filter_map(|n| match n.event {
            Event::Message(sent) => Some(sent),
            _ => None,
        })
        .collect();
    assert!(sent.len() > 3 && sent.len() % 2 == 0);
    for pair in sent.chunks(2) {
        assert_eq!((pair[0].fault, pair[1].fault), (None, Some("old_sequence")));
        assert!(pair[1].sequence < sent[0].sequence && pair[1].ltp == sent[1].ltp);
    }
    assert_eq!(sim.core.clear_faults(Some("old_sequence"), sim.now), 1);
    begin(&mut sim, json!({"fault": "time_jump", "by_s": -7200, "for": "2s"}));
    sim.run(1);
    let is_off = |n: &crate::sim::truth::Note| {
        matches!(&n.event, Event::Message(s)
        if s.fault == Some("time_jump") && s.last_trade.plus(Duration::from_hours(1)) < n.at)
    };
    let notes = sim.core.take_notes();
    assert!(notes.iter().filter(|n| matches!(n.event, Event::Message(_))).all(is_off));
    assert!(notes.iter().any(is_off));
}

#[test]
fn half_open_sockets_get_nothing_and_break_off_in_the_end() {
    let (mut sim, token) = connected(Settings { pace: 20.0, ..Settings::default() });
    begin(&mut sim, json!({"fault": "half_open", "for": "2s"}));
    assert_eq!(sim.core.take_outbox(), [(1, Out::Freeze), (2, Out::Freeze)]);
    sim.connect(3, &token, true).unwrap();
    let out = sim.run(1);
    assert_eq!(out.keys().copied().collect::<Vec<_>>(), [3]);
    let out = sim.run(2);
    assert_eq!(
        (&out[&1][..], &out[&2][..]),
        (&[Out::Close { clean: false }][..], &[Out::Close { clean: false }][..])
    );
}

#[test]
fn a_second_device_takes_the_session() {
    let (mut sim, token) = connected(Settings::default());
    begin(&mut sim, json!({"fault": "replace", "product": "market", "sockets": "logout"}));
    assert!(
        sim.core
            .take_outbox()
            .iter()
            .all(|(_, o)| matches!(o, Out::Text(t) if t.starts_with("42[\"logout\"")))
    );
    assert!(sim.core.authorize(Product::Market, Some(&token), "config", sim.now).is_err());
    assert!(sim.core.accounts[0].sessions.market.is_some(), "theirs lives");
    let outcomes: Vec<_> = sim
        .core
        .take_notes()
        .into_iter()
        .filter_map(|n| match n.event {
            Event::Login { outcome, .. } => Some(outcome),
            _ => None,
        })
        .collect();
    assert_eq!(outcomes, ["replaced"]);
}

#[test]
fn requests_meet_their_faults() {
    let (mut sim, token) = connected(Settings::default());
    begin(
        &mut sim,
        json!({"fault": "rest_error", "path": "quotes", "status": 429, "retry_after_s": 3, "count": 1}),
    );
    begin(&mut sim, json!({"fault": "rest_hang_up", "product": "interactive", "ms": 20, "for": "1s"}));
    let meet = |sim: &mut Sim, path: &str| sim.core.meet_request(path, sim.now);
    assert_eq!(meet(&mut sim, "/apimarketdata/instruments/ohlc"), None);
    let limited = RestAnswer::RateLimited { retry_after_s: Some(3) };
    assert_eq!(meet(&mut sim, "/apimarketdata/instruments/quotes"), Some((Duration::ZERO, Some(limited))));
    assert_eq!(meet(&mut sim, "/apimarketdata/instruments/quotes"), None, "once");
    let hung_up = Some((Duration::from_millis(20), Some(RestAnswer::HangUp)));
    assert_eq!(meet(&mut sim, "/interactive/orders"), hung_up);
    sim.now = sim.now.plus(Duration::from_secs(1));
    assert_eq!(meet(&mut sim, "/interactive/orders"), None, "over");

    begin(&mut sim, json!({"fault": "already_subscribed", "count": 1}));
    refused(&sim.subscribe(1501, &[3045]), "e-session-0002");
    assert_eq!(sim.subscribe(1501, &[3045]).status, 200);
    begin(&mut sim, json!({"fault": "limit_reached", "count": 1}));
    refused(&sim.subscribe(1501, &[22]), "e-session-0004");

    begin(&mut sim, json!({"fault": "no_joined", "count": 1}));
    sim.core.take_outbox();
    sim.connect(7, &token, true).unwrap();
    assert_eq!(sim.core.take_outbox().len(), 2, "the opening and 40");
    begin(&mut sim, json!({"fault": "login", "kind": "unavailable", "for": "5s"}));
    let body = json!({"appKey": DemoKeys::default().market_app_key, "secretKey": "x"});
    for _ in 0..2 {
        assert_eq!(sim.core.login(Product::Market, &body, sim.now).status, 502);
    }
    assert_eq!(sim.core.clear_faults(Some("login"), sim.now), 1);
    assert_eq!(sim.core.login(Product::Market, &body, sim.now).status, 400);
}

#[test]
fn bursts_and_frames_change_the_flow_and_end() {
    let (mut sim, _) = connected(Settings { pace: 5.0, ..Settings::default() });
    let messages = |sim: &mut Sim| {
        sim.run(4);
        noted(sim).0.len()
    };
    let before = messages(&mut sim);
    begin(&mut sim, json!({"fault": "burst", "factor": 10, "for": "4s"}));
    let meanwhile = messages(&mut sim);
    assert!(meanwhile > before * 4, "{before} {meanwhile}");
    sim.run(1);
    noted(&mut sim);
    assert!(messages(&mut sim) < meanwhile / 3);
    begin(&mut sim, json!({"fault": "compression", "compression": "always", "for": "2s"}));
    begin(&mut sim, json!({"fault": "frame_messages", "messages": 1, "for": "2s"}));
    let out = sim.run(2);
    let flags: Vec<_> =
        out[&1].iter().filter_map(|o| if let Out::Binary(b) = o { Some(b[1]) } else { None }).collect();
    assert!(!flags.is_empty() && flags.iter().all(|flag| *flag == 1));
    assert_eq!(flags.len(), noted(&mut sim).0.len());
}

#[test]
fn keys_of_faults_are_checked() {
    let said = |body: Value| Spec::parse(&body).unwrap_err();
    assert_eq!(said(json!({})), "fault is missing");
    assert_eq!(said(json!({"fault": "mute", "at": "1s"})), "at is no key of mute");
    assert_eq!(
        said(json!({"fault": "mute", "one_in": 0})),
        "one_in must be a whole number from 1 to 1000000"
    );
    assert_eq!(said(json!({"fault": "rest_error"})), "rest_error needs status or ms");
    assert_eq!(said(json!({"fault": "restart", "manner": "x"})), "manner must be html or close");
    assert_eq!(
        said(json!({"fault": "mute", "for": "25h"})),
        "for must be as 500ms, 5s, 2m or 1h, at most 24h"
    );
}
