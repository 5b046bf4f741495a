//! Consumer keys: made, listed and revoked while the server runs, at once.

use std::fs;
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::Value;

use crate::consumer::{Consumer, Got};
use crate::support::{PATIENCE, Server, program, wait_for};

fn tickgate(server: &Server, args: &[&str]) -> (bool, String) {
    let output = program().args(args).current_dir(server.root()).output().unwrap();
    assert!(
        output.status.success() || !String::from_utf8_lossy(&output.stderr).contains("panicked"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_key_works_at_once_and_a_revoked_one_closes_its_connections() {
    let server = Server::start(&[]);
    server.wait_ready();
    let (made, output) = tickgate(&server, &["key", "create", "alice"]);
    assert!(made);
    let key = output.trim();
    assert_eq!(output.lines().count(), 1, "the key stands alone on standard output: {output:?}");

    let mut consumer = Consumer::authenticated(&server.feed_url(), key).await;
    consumer.subscribe(1, &["NSE:RELIANCE"]).await;
    let mut other = Consumer::authenticated(&server.feed_url(), &server.local_key()).await;
    other.subscribe(1, &["NSE:RELIANCE"]).await;

    let (listed, table) = tickgate(&server, &["key", "list"]);
    assert!(listed && table.contains("alice") && table.contains("local") && !table.contains(key), "{table}");
    assert!(!tickgate(&server, &["key", "create", "alice"]).0, "a name is used once");

    assert!(tickgate(&server, &["key", "revoke", "alice"]).0);
    let closed = loop {
        match consumer.read(PATIENCE).await {
            Got::Json(_) => {}
            Got::Closed(frame) => break frame.map(|f| u16::from(f.code)),
            Got::Nothing => panic!("the connection stayed open"),
        }
    };
    assert_eq!(closed, Some(4403));
    other.next_where(|f| f["type"] == "market_data").await;

    // And with the server stopped, the command acts on the store.
    let mut server = server;
    server.kill();
    let (_, table) = tickgate(&server, &["key", "list"]);
    assert!(table.contains("local"), "{table}");
}

#[test]
fn no_key_goes_to_whoever_has_the_port_of_a_killed_server() {
    let mut server = Server::start(&[]);
    server.wait_ready();
    server.kill();
    // The killed server's file stays, and somebody else listens where it says.
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let address = stranger.local_addr().unwrap();
    let file = server.data().join("run.json");
    let mut run: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    run["feed"] = address.to_string().into();
    run["http"] = address.to_string().into();
    fs::write(&file, run.to_string()).unwrap();

    let (listed, table) = tickgate(&server, &["key", "list"]);
    assert!(listed && table.contains("local"), "the store answers: {table}");
    let (shown, table) = tickgate(&server, &["token", "status"]);
    assert!(shown && table.contains("stored"), "{table}");
    let stderr = server.root().join("tail.log");
    let mut tail = program()
        .args(["tail", "NSE:RELIANCE"])
        .current_dir(server.root())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&stderr).unwrap())
        .spawn()
        .unwrap();
    wait_for("tail to look for the server", || {
        fs::read_to_string(&stderr).ok().filter(|text| text.contains("no server runs"))
    });
    assert!(stranger.accept().is_err(), "nobody came by");

    // It finds the server once there is one, wherever that listens.
    server.restart();
    wait_for("tail to connect", || {
        fs::read_to_string(&stderr).ok().filter(|text| text.contains(&server.feed_url()))
    });
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn a_key_with_the_scope_admin_serves_when_the_local_one_is_gone() {
    let server = Server::start(&[]);
    server.wait_ready();
    let (made, key) = tickgate(&server, &["key", "create", "boss", "--scope", "admin"]);
    assert!(made);
    fs::remove_file(server.data().join("local.key")).unwrap();
    assert!(!tickgate(&server, &["key", "list"]).0);
    let output = program()
        .args(["key", "list"])
        .current_dir(server.root())
        .env("TICKGATE_KEY", key.trim())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("boss"));
}

#[test]
fn looking_makes_no_store() {
    let dir = tempfile::tempdir().unwrap();
    for args in [["key", "list"], ["token", "status"]] {
        let output = program().args(args).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
