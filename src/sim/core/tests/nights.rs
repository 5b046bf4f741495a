//! Cuts, restarts, faults of logins, and what the journal says of a client.

use std::time::Duration;

use super::*;
use crate::market::TimeOfDay;
use crate::sim::answers::Answer;
use crate::sim::core::faults::Fault;

fn fault(fault: Fault, count: u32) -> LoginFault {
    LoginFault { account: None, product: Some(Product::Market), fault, delay: Duration::ZERO, count }
}

/// A login's answer, whatever it is.
fn try_login(sim: &mut Sim, product: Product) -> Answer {
    let keys = DemoKeys::default();
    let (app_key, secret) = keys.pair(product);
    sim.core.login(product, &json!({"appKey": app_key, "secretKey": secret}), sim.now)
}

#[test]
fn the_nightly_cut_ends_every_token_of_every_account() {
    for (end, expected) in [
        (SocketEnd::Close, Some(Out::Close { clean: true })),
        (SocketEnd::Silent, None),
        (SocketEnd::Logout, Some(Out::Text("".into()))),
    ] {
        let settings = Settings {
            accounts: 2,
            nightly_cut_ist: TimeOfDay::new(3, 0),
            nightly_sockets: end,
            ..Settings::default()
        };
        let mut sim = Sim::new(settings);
        let market = sim.login_to(0, Product::Market);
        let interactive = sim.login_to(1, Product::Interactive);
        sim.connect(1, &market, true).unwrap();
        sim.core.take_outbox();
        // 02:59:59 and 03:00 of the 11th in India.
        let cut = UnixNanos::from_secs(1_770_759_000);
        let before = UnixNanos::from_secs(cut.as_secs() - 1);
        assert_eq!(cut.in_india(), "2026-02-11T03:00:00.000+05:30");
        assert_eq!(sim.core.next_end(), Some(cut));
        assert_eq!(sim.core.authorize(Product::Market, Some(&market), "config", before), Ok(0));
        assert_eq!(sim.core.authorize(Product::Interactive, Some(&interactive), "orders", before), Ok(1));
        refused(
            &sim.core.authorize(Product::Interactive, Some(&interactive), "orders", cut).unwrap_err(),
            "e-session-0007",
        );
        refused(
            &sim.core.authorize(Product::Market, Some(&market), "config", cut).unwrap_err(),
            "e-session-0007",
        );
        match (&sim.core.take_outbox()[..], expected) {
            ([], None) | ([(1, Out::Close { clean: true })], Some(Out::Close { .. })) => {}
            ([(1, Out::Text(text))], Some(Out::Text(_))) => assert!(text.starts_with("42[\"logout\",")),
            (found, _) => panic!("{end:?}: {found:?}"),
        }
        // A login in the second of the cut is the new day's.
        sim.now = cut;
        let new = sim.login_to(0, Product::Market);
        let later = cut.plus(Duration::from_hours(23));
        assert_eq!(sim.core.authorize(Product::Market, Some(&new), "config", later), Ok(0));
        assert_eq!(sim.core.next_end(), Some(cut.plus(Duration::from_hours(24))));
    }
}

#[test]
fn a_restart_breaks_sockets_off_and_forgets_if_told() {
    let mut sim = Sim::new(Settings::default());
    let token = sim.login(Product::Market);
    sim.connect(1, &token, true).unwrap();
    sim.core.take_outbox();
    let down = Duration::from_secs(30);
    sim.core.restart(down, false, None, START);
    assert_eq!(sim.core.take_outbox(), [(1, Out::Close { clean: false })]);
    assert_eq!(
        [sim.core.turn_away(START), sim.core.turn_away(START), sim.core.turn_away(START)],
        [Some(Away::BadGateway), Some(Away::HangUp), Some(Away::BadGateway)]
    );
    assert_eq!(sim.core.state(START)["turned_away"], 3);
    let back = START.plus(down);
    assert_eq!(sim.core.turn_away(back), None);
    assert_eq!(sim.core.authorize(Product::Market, Some(&token), "config", back), Ok(0));

    // A login that was on its way is lost, even if it comes through after the return.
    let keys = DemoKeys::default();
    let body = json!({"appKey": keys.market_app_key, "secretKey": keys.market_secret_key});
    let arrival = sim.core.login_arrives(Product::Market, &body, back);
    sim.core.restart(Duration::from_secs(1), true, Some(Away::HangUp), back);
    assert_eq!(sim.core.turn_away(back), Some(Away::HangUp));
    let later = back.plus(Duration::from_secs(2));
    assert_eq!(sim.core.login_answers(arrival, &body, later).status, 502);
    refused(
        &sim.core.authorize(Product::Market, Some(&token), "config", later).unwrap_err(),
        "e-session-0007",
    );
    assert_eq!(sim.core.logins_view()["logins"][1]["outcome"], "failed");
}

#[test]
fn faults_meet_the_next_logins_and_no_more() {
    let mut sim = Sim::new(Settings::default());
    for (each, status, code) in [
        (Fault::Credentials, 400, "e-response-0010"),
        (Fault::Disabled, 400, "e-response-0011"),
        (Fault::RateLimited { retry_after_s: Some(9) }, 429, "e-apirl-0004"),
    ] {
        sim.core.add_login_fault(fault(each, 1));
        let answer = try_login(&mut sim, Product::Market);
        assert_eq!((answer.status, &parsed(&answer)["code"]), (status, &code.into()));
        assert_eq!(answer.retry_after_s, if status == 429 { Some(9) } else { None });
    }
    assert_eq!(sim.core.add_login_fault(fault(Fault::Unavailable { status: 503 }, 2)), 2);
    assert_eq!(try_login(&mut sim, Product::Interactive).status, 200, "the other product's are as usual");
    let answer = try_login(&mut sim, Product::Market);
    assert!(answer.is_html && answer.status == 503 && answer.body.starts_with("<html>"));
    sim.core.clear_login_faults();
    assert_eq!(try_login(&mut sim, Product::Market).status, 200);
    let state = sim.core.state(START);
    assert_eq!((&state["logins"]["market"], &state["refusals"]["market"]), (&1.into(), &4.into()));
    let outcomes: Vec<_> = sim.core.logins_view()["logins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["outcome"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(outcomes, ["refused", "refused", "failed", "granted", "failed", "granted"]);
}

#[test]
fn odd_tokens_work_as_well_as_others() {
    let mut sim = Sim::new(Settings::default());
    sim.core.add_login_fault(fault(Fault::Opaque, 1));
    let opaque = sim.login(Product::Market);
    assert!(!opaque.contains('.'));
    assert_eq!(sim.core.authorize(Product::Market, Some(&opaque), "config", START), Ok(0));
    sim.connect(1, &opaque, true).unwrap();
    let saved = serde_json::to_string(&sim.core.take_saved()).unwrap();
    assert!(!saved.contains(&opaque));
    let saved = Some(serde_json::from_str(&saved).unwrap());
    let mut again = Core::start(Settings::default(), saved, [8; 32], None, START);
    assert_eq!(again.authorize(Product::Market, Some(&opaque), "config", START), Ok(0));

    sim.core.add_login_fault(fault(Fault::NoExpiry, 1));
    let endless = sim.login(Product::Market);
    let claims = sim.core.key.verify(&endless).unwrap();
    assert_eq!((claims.iat, claims.exp), (START.as_secs(), None));
    // A dead opaque token is known for what it is.
    let error = sim.core.authorize(Product::Market, Some(&opaque), "quotes", START).unwrap_err();
    refused(&error, "e-session-0007");
    let bad = &sim.core.logins_view()["bad_tokens"][0];
    assert_eq!(
        (&bad["token"], &bad["account"], &bad["call"]),
        (&"dead".into(), &USER.into(), &"quotes".into())
    );

    // What a skewed token says is off; what counts is not.
    sim.core.add_login_fault(fault(Fault::Skewed { by_s: -90_000 }, 1));
    let skewed = sim.login(Product::Market);
    let claims = sim.core.key.verify(&skewed).unwrap();
    assert_eq!((claims.iat, claims.exp), (START.as_secs() - 90_000, Some(START.as_secs() - 3_600)));
    let later = START.plus(Duration::from_hours(23));
    assert_eq!(sim.core.authorize(Product::Market, Some(&skewed), "config", later), Ok(0));
}

#[test]
fn the_journal_knows_repeated_tokens_and_logins_in_flight() {
    let mut sim = Sim::new(Settings { accounts: 2, ..Settings::default() });
    let old = sim.login(Product::Market);
    sim.login(Product::Market);
    // Alone, a request with a dead token is how a client learns of it. A second is a fault.
    for before in 0..2 {
        sim.core.authorize(Product::Market, Some(&old), "quotes", START).unwrap_err();
        let view = sim.core.logins_view();
        assert_eq!(view["bad_tokens"][before]["refused_before"], before);
        assert_eq!((&view["dead"], &view["repeated"]), (&(before + 1).into(), &before.into()));
    }
    sim.core.note_token(Product::Market, Some(&old), "master", START);
    sim.core.authorize(Product::Market, None, "config", START).unwrap_err();
    sim.core.authorize(Product::Market, Some("x"), "config", START).unwrap_err();
    sim.connect(1, &old, true).unwrap_err();
    let view = sim.core.logins_view();
    let column = |key: &str| {
        let list = view["bad_tokens"].as_array().unwrap();
        list.iter().map(|b| b[key].clone()).collect::<Vec<_>>()
    };
    assert_eq!(column("call"), ["quotes", "quotes", "master", "config", "config", "socket"]);
    assert_eq!(column("token"), ["dead", "dead", "dead", "missing", "foreign", "dead"]);
    assert_eq!(column("refused"), [true, true, false, true, true, true]);
    assert_eq!(column("refused_before"), [0, 1, 2, 0, 0, 2]);
    assert_eq!((&view["dead"], &view["repeated"]), (&4.into(), &3.into()));
    assert_eq!(view["max_in_flight"], json!({"market": 1, "interactive": 0}));

    let body = |account: usize| {
        let keys = sim.core.demo_accounts()[account].keys.clone();
        json!({"appKey": keys.market_app_key, "secretKey": keys.market_secret_key})
    };
    let (first, second) = (body(0), body(1));
    let on_its_way = sim.core.login_arrives(Product::Market, &first, START);
    let other = sim.core.login_arrives(Product::Market, &second, START);
    assert_eq!(sim.core.max_in_flight().market, 1, "each account has its own");
    let doubled = sim.core.login_arrives(Product::Market, &first, START);
    assert_eq!(sim.core.max_in_flight().market, 2);
    for (arrival, body) in [(on_its_way, &first), (other, &second), (doubled, &first)] {
        assert_eq!(sim.core.login_answers(arrival, body, START).status, 200);
    }
    let view = sim.core.logins_view();
    assert_eq!(
        view["accounts"][0],
        json!({
            "user": "SIM01",
            "in_flight": {"market": 0, "interactive": 0},
            "max_in_flight": {"market": 2, "interactive": 0},
        })
    );
}

#[test]
fn an_access_token_serves_one_login() {
    let mut sim = Sim::new(Settings { access_token: "morning".to_owned(), ..Settings::default() });
    let keys = DemoKeys::default();
    let login = |sim: &mut Sim, token: &str| {
        let (app_key, secret) = keys.pair(Product::Interactive);
        let body = json!({"appKey": app_key, "secretKey": secret, "accessToken": token});
        sim.core.login(Product::Interactive, &body, START)
    };
    refused(&login(&mut sim, ""), "e-user-0002");
    refused(&login(&mut sim, "evening"), "e-user-0002");
    assert_eq!(login(&mut sim, "morning").status, 200);
    refused(&login(&mut sim, "morning"), "e-user-0002");
    // Not after a restart of the process either.
    let saved = Some(serde_json::from_str(&serde_json::to_string(&sim.core.take_saved()).unwrap()).unwrap());
    let settings = sim.core.settings.clone();
    sim.core = Core::start(settings, saved, [8; 32], None, START);
    refused(&login(&mut sim, "morning"), "e-user-0002");
    sim.core.set_access_token("evening");
    assert_eq!(login(&mut sim, "evening").status, 200);
    sim.login(Product::Market);
}
