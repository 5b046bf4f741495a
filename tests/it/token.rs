//! Tokens survive restarts; what cannot be read leads to one login and a warning.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::consumer::Consumer;
use crate::support::{Server, private_file, program, wait_for};

/// Logins the simulator has counted over its life, by product.
pub(crate) fn logins(server: &Server) -> (u64, u64) {
    let state = server.sim("/__sim/state");
    let count =
        |product: &str| state["logins"][product].as_u64().unwrap_or_else(|| panic!("no logins in {state}"));
    (count("market"), count("interactive"))
}

/// Waits until ticks reach a consumer, so that a start counts as complete.
fn wait_for_a_tick(server: &Server) {
    server.wait_ready();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut consumer = Consumer::authenticated(&server.feed_url(), &server.local_key()).await;
        consumer.subscribe(1, &["NSE:RELIANCE"]).await;
        consumer.next_where(|f| f["type"] == "market_data").await;
    });
}

fn token_states(server: &Server) -> (String, String) {
    let (status, body) = server.get("/v1/status").unwrap();
    assert_eq!(status, 200);
    let body: Value = serde_json::from_str(&body).unwrap();
    let state = |product: &str| {
        body["accounts"]["default"]["token"][product]["state"].as_str().unwrap_or_default().to_owned()
    };
    (state("market"), state("interactive"))
}

pub(crate) fn wait_for_both_tokens(server: &Server) {
    wait_for("both tokens to be valid", || {
        (token_states(server) == ("valid".to_owned(), "valid".to_owned())).then_some(())
    });
}

pub(crate) fn files_below(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn killed_and_started_ten_times_it_logs_in_once_per_product() {
    let mut server = Server::start(&[]);
    wait_for_a_tick(&server);
    wait_for_both_tokens(&server);
    for _ in 0..10 {
        server.kill_and_restart();
        wait_for_a_tick(&server);
        wait_for_both_tokens(&server);
    }
    assert_eq!(logins(&server), (1, 1));

    // No token stands in clear in the store's files. Every JWT with this header starts so.
    let mut files = Vec::new();
    files_below(&server.data().join("tickgate.sled"), &mut files);
    assert!(!files.is_empty());
    for file in files {
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(6).any(|w| w == b"eyJhbG" || w == b"eyJ0eX"), "a token in {}", file.display());
    }
}

#[test]
fn a_corrupt_store_is_set_aside_with_a_warning_and_one_login_follows() {
    let mut server = Server::start(&[]);
    wait_for_both_tokens(&server);
    server.kill();
    let store = server.data().join("tickgate.sled");
    let mut files = Vec::new();
    files_below(&store, &mut files);
    for file in files {
        fs::write(&file, b"this is not a sled file at all, but it is long enough to be read as one").unwrap();
    }
    server.restart();
    wait_for_both_tokens(&server);
    assert_eq!(logins(&server), (2, 2));
    assert!(server.log().contains("set aside"), "{}", server.log());
    let aside = fs::read_dir(server.data())
        .unwrap()
        .flatten()
        .any(|e| e.file_name().to_string_lossy().starts_with("tickgate.sled."));
    assert!(aside, "the old store is kept");
}

#[test]
fn a_wrong_fernet_key_leads_to_one_login_and_leaves_consumer_keys_alone() {
    let mut server = Server::start(&[]);
    wait_for_both_tokens(&server);
    let key = server.local_key();
    server.kill();
    // Another valid key: 32 bytes in URL-safe base64.
    fs::write(server.data().join("fernet.key"), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    server.restart();
    wait_for_a_tick(&server);
    wait_for_both_tokens(&server);
    assert_eq!(logins(&server), (2, 2));
    assert_eq!(server.local_key(), key);
    assert!(server.log().contains("WARN"), "{}", server.log());
}

#[test]
fn a_look_at_the_tokens_without_their_key_makes_none() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("fernet");
    private_file(&key, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=");
    let mut server = Server::start(&[("TICKGATE_FERNET_KEY_FILE", key.to_str().unwrap())]);
    wait_for_both_tokens(&server);
    assert_eq!(server.terminate(), Some(0));
    let output = program().args(["token", "status"]).current_dir(server.root()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("TICKGATE_FERNET_KEY"), "{output:?}");
    assert!(!server.data().join("fernet.key").exists());
    let output = program()
        .args(["token", "status"])
        .current_dir(server.root())
        .env("TICKGATE_FERNET_KEY_FILE", &key)
        .output()
        .unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && table.matches("stored").count() == 2, "{output:?}");
}

/// What a command says, and its exit code.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn tickgate(server: &Server, args: &[&str]) -> Said {
    let output = program().args(args).current_dir(server.root()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) };
    // Every JWT with a usual header starts so.
    assert!(!said.out.contains("eyJ") && !said.err.contains("eyJ"), "a token is never printed");
    said
}

#[test]
fn an_operators_refresh_logs_in_and_is_written_down() {
    let server = Server::start(&[]);
    wait_for_both_tokens(&server);
    let said = tickgate(&server, &["token", "refresh", "--product", "market"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), "default market: refreshed\n"));
    assert_eq!(logins(&server), (2, 1));
    let said = tickgate(&server, &["token", "refresh", "--account", "default"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(said.err, "default market: refreshed\ndefault interactive: refreshed\n");
    assert_eq!(logins(&server), (3, 2));

    let said = tickgate(&server, &["token", "refresh", "--account", "nobody"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("nobody") && said.err.contains("default"), "{}", said.err);
    assert_eq!(tickgate(&server, &["token", "refresh", "--product", "both"]).code, Some(2));
    assert_eq!(logins(&server), (3, 2));

    let status = tickgate(&server, &["token", "status"]);
    assert_eq!(status.code, Some(0));
    let lines: Vec<_> = status.out.lines().collect();
    assert!(lines[0].starts_with("ACCOUNT") && lines[0].contains("NEXT LOGIN"), "{}", status.out);
    assert_eq!(lines.len(), 3, "{}", status.out);
    assert!(
        lines[1..].iter().all(|line| line.starts_with("default") && line.contains("valid")),
        "{}",
        status.out
    );

    let log = tickgate(&server, &["token", "log", "--json"]);
    let entries: Vec<Value> = serde_json::from_str(&log.out).unwrap();
    assert!(entries.iter().any(|e| e["event"] == "key_created" && e["who"] == "start"), "{}", log.out);
    let table = tickgate(&server, &["token", "log", "--last", "1"]);
    assert_eq!((table.code, table.out.lines().count()), (Some(0), 2), "{}", table.out);
    assert_eq!(tickgate(&server, &["token", "log", "--last", "0"]).code, Some(2));
}

#[test]
fn without_a_server_a_refresh_explains_itself_and_a_revocation_forgets() {
    let mut server = Server::start(&[]);
    wait_for_both_tokens(&server);
    assert_eq!(server.terminate(), Some(0));
    let said = tickgate(&server, &["token", "refresh"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("no server is running") && said.err.contains("tickgate serve"), "{}", said.err);

    let status = tickgate(&server, &["token", "status", "--json"]);
    let status: Value = serde_json::from_str(&status.out).unwrap();
    for product in ["market", "interactive"] {
        let token = &status["default"][product];
        assert_eq!((&token["state"], &token["broker"]), (&"stored".into(), &"sim".into()), "{status}");
        assert!(token["user_id"].as_str().is_some_and(|id| !id.is_empty()), "{status}");
    }

    assert_eq!(tickgate(&server, &["token", "revoke", "--account", "nobody"]).code, Some(2));
    let said = tickgate(&server, &["token", "revoke", "--product", "market"]);
    assert_eq!(said.code, Some(0));
    assert!(
        said.err.contains("default market: forgotten") && said.err.contains("broker was not told"),
        "{}",
        said.err
    );
    let status = tickgate(&server, &["token", "status"]);
    assert!(!status.out.contains("market") && status.out.contains("interactive"), "{}", status.out);
    let said = tickgate(&server, &["token", "revoke"]);
    assert!(said.err.contains("market: there was no token"), "{}", said.err);
    assert!(said.err.contains("interactive: forgotten"), "{}", said.err);
    assert!(tickgate(&server, &["token", "revoke"]).err.contains("no token is stored"));
    let log = tickgate(&server, &["token", "log"]);
    assert_eq!(log.out.matches("revoked").count(), 2, "{}", log.out);
    assert!(log.out.contains("not logged out at the broker"), "{}", log.out);

    server.restart();
    wait_for_both_tokens(&server);
    assert_eq!(logins(&server), (2, 2));
}

#[test]
fn a_command_in_an_empty_directory_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 4] =
        [&["token", "log"], &["token", "revoke"], &["token", "refresh"], &["secret", "rotate"]];
    for args in commands {
        let output = program().args(args).current_dir(dir.path()).output().unwrap();
        let refused = args == ["token", "refresh"];
        assert_eq!(output.status.code(), Some(i32::from(refused)), "{args:?} {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("no server is running"), "{output:?}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
