//! Tokens survive restarts; what cannot be read leads to one login and a warning.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::consumer::Consumer;
use crate::support::{Server, program, wait_for};

/// Logins the simulator has counted over its life, by product.
fn logins(server: &Server) -> (u64, u64) {
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

fn wait_for_both_tokens(server: &Server) {
    wait_for("both tokens to be valid", || {
        (token_states(server) == ("valid".to_owned(), "valid".to_owned())).then_some(())
    });
}

fn files_below(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
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
    fs::write(&key, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").unwrap();
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
