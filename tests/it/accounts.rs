//! Several accounts in one server: each has its own tokens and feed, and none waits for or fails
//! with another.

use serde_json::{Value, json};

use crate::consumer::Consumer;
use crate::support::{Server, Simulator, free_port, http, now_ms, program, wait_for};

const SYMBOLS: [&str; 6] = ["NSE:RELIANCE", "NSE:SBIN", "NSE:INFY", "NSE:TCS", "NSE:ITC", "NSE:HDFCBANK"];

/// A configuration with the real accounts `alice` and `bob` at these ports.
fn two(alice: u16, bob: u16) -> String {
    let entry = |name: &str, port: u16| {
        format!("[[accounts]]\nname = \"{name}\"\nxts = {{ base_url = \"http://127.0.0.1:{port}\" }}\n")
    };
    let shared = "[broker]\nkind = \"xts\"\n[session]\nbackoff_ceiling_ms = 1000\n";
    format!("{shared}{}{}", entry("alice", alice), entry("bob", bob))
}

/// The simulators' demo keys, as the variables of both accounts.
fn secrets(simulator: &Simulator) -> Vec<(String, String)> {
    let of = |account: &str| {
        let named = move |(name, value): (String, String)| {
            (name.replace("TICKGATE_XTS_", &format!("TICKGATE_{account}_XTS_")), value)
        };
        simulator.credentials().into_iter().map(named).collect::<Vec<_>>()
    };
    [of("ALICE"), of("BOB")].concat()
}

fn start(config: &str, secrets: &[(String, String)]) -> Server {
    let secrets: Vec<_> = secrets.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Server::start_configured(config, &secrets)
}

fn page(server: &Server, path: &str) -> (u16, Value) {
    let (status, body) = server.get(path).expect("the server answers");
    (status, serde_json::from_str(&body).expect("is JSON"))
}

/// Status and reasons of `/readyz`, the hour of the day aside.
fn readiness(server: &Server) -> (u16, String) {
    let (status, body) = page(server, "/readyz");
    let reasons = body["reason"].as_str().unwrap_or_default();
    let of_accounts: Vec<_> =
        reasons.split("; ").filter(|reason| *reason != "all markets are closed").collect();
    (status, of_accounts.join("; "))
}

fn account(server: &Server, name: &str) -> Value {
    page(server, "/v1/status").1["accounts"][name].clone()
}

fn is_well(account: &Value) -> bool {
    let token = &account["token"];
    token["market"]["state"] == "valid"
        && token["interactive"]["state"] == "valid"
        && account["feed"]["state"] == "live"
}

fn wait_well(server: &Server, name: &str) {
    wait_for(&format!("{name} to be well"), || is_well(&account(server, name)).then_some(()));
}

fn logins(simulator: &Simulator) -> (u64, u64) {
    let logins = &simulator.json("/__sim/state")["logins"];
    (logins["market"].as_u64().unwrap(), logins["interactive"].as_u64().unwrap())
}

fn refresh(server: &Server, body: &str) -> (u16, Value) {
    let key = server.local_key();
    let (status, text) = http("POST", server.http_address(), "/v1/admin/refresh", Some(&key), body)
        .expect("the server answers");
    (status, serde_json::from_str(&text).expect("is JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_work_side_by_side_and_one_outlives_the_others_broker() {
    let (here, mut there) = (Simulator::start(&[]), Simulator::start(&[]));
    let mut server = start(&two(here.address.port(), there.address.port()), &secrets(&here));
    wait_well(&server, "alice");
    wait_well(&server, "bob");
    server.wait_ready();
    assert_eq!(readiness(&server), (200, String::new()));
    assert_eq!((logins(&here), logins(&there)), ((1, 1), (1, 1)));
    let metrics = server.get("/metrics").unwrap().1;
    for name in ["alice", "bob"] {
        assert!(metrics.contains(&format!("tickgate_feed_up{{account=\"{name}\"}} 1")), "{metrics}");
    }
    let table = program().args(["token", "status"]).current_dir(server.root()).output().unwrap();
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert_eq!((table.matches("alice ").count(), table.matches("bob ").count()), (2, 2), "{table}");

    let mut consumer = Consumer::authenticated(&server.feed_url(), &server.local_key()).await;
    consumer.subscribe(1, &SYMBOLS).await;
    consumer.next_where(|f| f["type"] == "market_data").await;

    there.kill();
    let unwell = wait_for("the loss to be noticed", || {
        let (status, unwell) = readiness(&server);
        assert_eq!(status, 200, "alice serves: {unwell}");
        (!unwell.is_empty()).then_some(unwell)
    });
    assert!(unwell.starts_with("account bob: feed is ") && !unwell.contains("alice"), "{unwell}");
    assert!(is_well(&account(&server, "alice")));
    assert_eq!(server.get("/healthz").unwrap().0, 200);
    let last = now_ms();
    let is_later = |f: &Value| f["data"]["timestamp"].as_i64().unwrap_or(0) > last;
    consumer.next_where(|f| f["type"] == "market_data" && is_later(f)).await;

    there.restart();
    wait_well(&server, "bob");
    // The token was still good; the other account had no part in it.
    assert_eq!((logins(&here).0, account(&server, "alice")["feed"]["generation"].as_u64()), (1, Some(1)));

    there.kill();
    assert_eq!(server.terminate(), Some(0), "a broker that is gone does not hold up the stop");
}

#[test]
fn simulated_accounts_share_the_embedded_broker_and_keep_their_tokens_over_a_restart() {
    let config = "[[accounts]]\nname = \"alice\"\n[[accounts]]\nname = \"bob\"\n";
    let mut server = Server::start_configured(config, &[]);
    let users = |server: &Server| -> Vec<_> {
        wait_well(server, "alice");
        wait_well(server, "bob");
        let state = server.sim("/__sim/state");
        let accounts = state["accounts"].as_array().unwrap_or_else(|| panic!("no accounts in {state}"));
        accounts.iter().map(|account| account["logins"].clone()).collect()
    };
    let once = json!({"market": 1, "interactive": 1});
    assert_eq!(users(&server), [once.clone(), once.clone()]);
    assert!(server.log().contains("(sim, accounts alice, bob)"), "{}", server.log());
    server.kill_and_restart();
    assert_eq!(users(&server), [once.clone(), once]);
    server.wait_ready();
}

#[test]
fn an_account_whose_broker_was_never_there_holds_nobody_up() {
    let here = Simulator::start(&[]);
    let nowhere = free_port();
    let server = start(&two(nowhere, here.address.port()), &secrets(&here));
    wait_well(&server, "bob");
    server.wait_ready();
    let (_, unwell) = readiness(&server);
    assert!(unwell.starts_with("account alice: market token is ") && !unwell.contains("bob"), "{unwell}");
    let alice = account(&server, "alice");
    assert_eq!(alice["state"], "running");
    assert_ne!(alice["token"]["market"]["state"], "valid");
}

#[test]
fn a_refresh_says_whose() {
    let (here, there) = (Simulator::start(&[]), Simulator::start(&[]));
    let server = start(&two(here.address.port(), there.address.port()), &secrets(&here));
    wait_well(&server, "alice");
    wait_well(&server, "bob");
    let (status, answer) = refresh(&server, "");
    assert_eq!(status, 400);
    assert_eq!(answer["message"], "there are several accounts, name one of them: alice, bob");
    assert_eq!(refresh(&server, r#"{"account":"carol"}"#).0, 404);
    assert_eq!((logins(&here), logins(&there)), ((1, 1), (1, 1)));
    assert_eq!(refresh(&server, r#"{"account":"bob"}"#).0, 200);
    assert_eq!((logins(&here), logins(&there)), ((1, 1), (2, 1)));
}

#[test]
fn check_config_names_the_accounts_and_what_they_lack() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.toml"), two(1, 2)).unwrap();
    let check = |environment: &[(&str, &str)]| {
        let mut command = program();
        command.arg("check-config").current_dir(dir.path()).envs(environment.iter().copied());
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = check(&[("TICKGATE_CAROL_XTS_MARKET_APP_KEY", "x")]);
    assert_eq!(code, Some(2), "{text}");
    for variable in ["TICKGATE_ALICE_XTS_MARKET_APP_KEY", "TICKGATE_BOB_XTS_INTERACTIVE_SECRET_KEY"] {
        assert!(text.contains(&format!("environment {variable}: is not set")), "{text}");
    }
    assert!(text.contains("TICKGATE_CAROL_XTS_MARKET_APP_KEY: there is no account"), "{text}");

    let names = ["ALICE", "BOB"].iter().flat_map(|name| {
        ["MARKET_APP_KEY", "MARKET_SECRET_KEY", "INTERACTIVE_APP_KEY", "INTERACTIVE_SECRET_KEY"]
            .map(|secret| format!("TICKGATE_{name}_XTS_{secret}"))
    });
    let names: Vec<_> = names.collect();
    let environment: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let (code, text) = check(&environment);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(
        text.trim(),
        "config.toml: no problems (xts, accounts alice at http://127.0.0.1:1, bob at http://127.0.0.1:2)"
    );
}
