//! Several market-data app keys of one account behind one subscription space: each is a session of its own, and
//! consumers notice nothing of it but the room.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::consumer::Consumer;
use crate::support::{Server, http, now_ms, program, wait_for};

const SYMBOLS: [&str; 4] = ["NSE:RELIANCE", "NSE:SBIN", "NSE:INFY", "NSE:TCS"];

fn start(max_subscriptions: usize) -> Server {
    let config = format!("[sim]\nmarket_keys = 2\nmax_subscriptions = {max_subscriptions}\n");
    Server::start_configured(&config, &[])
}

fn account(server: &Server) -> Value {
    let body = server.get("/v1/status").expect("the server answers").1;
    let status: Value = serde_json::from_str(&body).expect("is JSON");
    status["accounts"]["default"].clone()
}

/// The account's sessions once all are well.
fn well(server: &Server) -> Vec<Value> {
    wait_for("both sessions to be well", || {
        let sessions = account(server)["sessions"].as_array()?.clone();
        let is_well = |session: &Value| {
            session["token"]["market"]["state"] == "valid" && session["feed"]["state"] == "live"
        };
        (sessions.len() == 2 && sessions.iter().all(is_well)).then_some(sessions)
    })
}

/// What each session carries, once that is all of `SYMBOLS`.
fn carried(server: &Server) -> Vec<BTreeSet<String>> {
    wait_for("all symbols to be carried", || {
        let sessions = account(server)["sessions"].as_array()?.clone();
        let names = |session: &Value| -> Option<BTreeSet<String>> {
            session["instruments"].as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let each: Vec<_> = sessions.iter().map(names).collect::<Option<_>>()?;
        let mut wanted = SYMBOLS.map(str::to_owned).to_vec();
        wanted.sort();
        let mut found: Vec<_> = each.iter().flatten().cloned().collect();
        found.sort();
        (found == wanted).then_some(each)
    })
}

/// The broker's view of the account's keys.
fn keys(server: &Server) -> Vec<Value> {
    let state = server.sim("/__sim/state");
    state["accounts"][0]["market_keys"].as_array().unwrap_or_else(|| panic!("no keys in {state}")).clone()
}

fn logins(server: &Server) -> Vec<Value> {
    keys(server).iter().map(|key| key["logins"].clone()).collect()
}

/// Waits for a tick of each symbol that was received from now on.
async fn ticks_of_all(consumer: &mut Consumer) {
    let from = now_ms();
    for wanted in SYMBOLS {
        let (_, symbol) = wanted.split_once(':').unwrap();
        consumer
            .next_where(|frame| {
                frame["type"] == "market_data"
                    && frame["symbol"] == symbol
                    && frame["data"]["timestamp"].as_i64().unwrap_or(0) >= from
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_carry_together_what_neither_could_alone() {
    let mut server = start(2);
    let sessions = well(&server);
    assert_eq!((&sessions[0]["name"], &sessions[1]["name"]), (&json!("default"), &json!("default/2")));
    server.wait_ready();
    let mut consumer = Consumer::authenticated(&server.feed_url(), &server.local_key()).await;
    consumer.subscribe(1, &SYMBOLS).await;
    ticks_of_all(&mut consumer).await;
    let sizes: Vec<_> = carried(&server).iter().map(BTreeSet::len).collect();
    assert_eq!(sizes, [2, 2]);
    // The broker sends each instrument on one session, so that each tick comes once.
    let at_broker: Vec<_> = keys(&server).iter().map(|key| key["subscriptions"]["list"].clone()).collect();
    let ids: Vec<_> =
        at_broker.iter().filter_map(Value::as_array).flatten().map(|held| held["id"].clone()).collect();
    let distinct: BTreeSet<_> = ids.iter().filter_map(Value::as_u64).collect();
    assert_eq!((ids.len(), distinct.len()), (4, 4), "{at_broker:?}");
    assert_eq!(logins(&server), [1, 1]);

    let table = program().args(["token", "status"]).current_dir(server.root()).output().unwrap();
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert_eq!((table.matches("default ").count(), table.matches("default/2 ").count()), (2, 1), "{table}");
    let metrics = server.get("/metrics").unwrap().1;
    for name in ["default", "default/2"] {
        assert!(metrics.contains(&format!("tickgate_feed_up{{account=\"{name}\"}} 1")), "{metrics}");
    }

    drop(consumer);
    server.kill_and_restart();
    well(&server);
    server.wait_ready();
    assert_eq!(logins(&server), [1, 1], "a restart costs no login");
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_use_the_last_slot_of_either_key() {
    let server = start(3);
    well(&server);
    server.wait_ready();
    let mut consumer = Consumer::authenticated(&server.feed_url(), &server.local_key()).await;
    consumer.subscribe(1, &SYMBOLS).await;
    let first = carried(&server).swap_remove(0);
    let names: Vec<_> = first.iter().map(String::as_str).collect();
    assert_eq!(names.len(), 2);
    // A slot is left on each key, and the bars of both instruments of the first one are wanted.
    let ack = consumer.subscribe(4, &names).await;
    assert_eq!(ack["status"], "success", "{ack}");
    // Bars are where their prices are, and each key has its three subscriptions.
    wait_for("all six slots to be used", || {
        keys(&server)
            .iter()
            .all(|key| {
                let of = |code: u64| -> BTreeSet<_> {
                    let list = key["subscriptions"]["list"].as_array().into_iter().flatten();
                    list.filter(|held| held["code"] == code).filter_map(|held| held["id"].as_u64()).collect()
                };
                let (prices, bars) = (of(1501), of(1505));
                (prices.len(), bars.len()) == (2, 1) && bars.is_subset(&prices)
            })
            .then_some(())
    });
    ticks_of_all(&mut consumer).await;
    let distinct: usize = carried(&server).iter().map(BTreeSet::len).sum();
    assert_eq!(distinct, 4);
    // The seventh slot is nobody's.
    let ack =
        consumer.subscribe(4, &[SYMBOLS.into_iter().find(|name| !first.contains(*name)).unwrap()]).await;
    assert!(ack.to_string().contains("Maximum capacity reached"), "{ack}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_key_carried_moves_to_the_other() {
    let server = start(10);
    well(&server);
    server.wait_ready();
    let mut consumer = Consumer::authenticated(&server.feed_url(), &server.local_key()).await;
    consumer.subscribe(1, &SYMBOLS).await;
    let sizes: Vec<_> = carried(&server).iter().map(BTreeSet::len).collect();
    assert_eq!(sizes, [2, 2]);

    // Somebody else logs in with the second key.
    let second = keys(&server).swap_remove(1);
    let body = json!({"appKey": second["app_key"], "secretKey": second["secret_key"], "source": "WebAPI"});
    let path = "/apibinarymarketdata/auth/login";
    let (status, answer) =
        http("POST", server.sim_address(), path, None, &body.to_string()).expect("the simulator answers");
    assert_eq!(status, 200, "{answer}");
    wait_for("the loss to be noticed", || {
        (account(&server)["sessions"][1]["token"]["market"]["state"] == "replaced").then_some(())
    });
    wait_for("the move", || {
        let sessions = account(&server)["sessions"].clone();
        (sessions[0]["instruments"].as_array()?.len() == 4).then_some(())
    });
    ticks_of_all(&mut consumer).await;
    let (status, body) = server.get("/readyz").unwrap();
    assert_eq!(status, 200, "the account serves as long as one of its sessions does: {body}");
    assert!(body.contains("account default/2: market token is replaced"), "{body}");
    assert_eq!(account(&server)["token"]["market"]["state"], "valid");
    assert_eq!(account(&server)["token"]["market"]["logins_today"], 1);

    // The name with the number means that session, and no other.
    let refresh = program()
        .args(["token", "refresh", "--account", "default/2", "--product", "market"])
        .current_dir(server.root())
        .output()
        .unwrap();
    assert!(refresh.status.success(), "{}", String::from_utf8_lossy(&refresh.stderr));
    well(&server);
    let logins = logins(&server);
    assert_eq!((&logins[0], logins[1].as_u64()), (&json!(1), Some(3)), "ours, theirs, and ours again");
}
