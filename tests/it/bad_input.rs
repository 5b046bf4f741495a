//! Bad input gets an answer that names what was wrong, and costs nobody else anything.

use serde_json::{Value, json};

use crate::consumer::{Consumer, Got};
use crate::support::{PATIENCE, Server, program};

fn run(dir: &std::path::Path, args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = program().args(args).current_dir(dir).envs(environment.iter().copied()).output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout),
    )
}

#[test]
fn a_wrong_configuration_key_names_its_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("config.toml"),
        "data_dir = \"data\"\n\n[gateway]\nfeed_lisen = \"127.0.0.1:0\"\n\n[session]\nbackoff_floor_ms = \"soon\"\n",
    )
    .unwrap();
    for args in [&["check-config"][..], &["serve"][..]] {
        let (code, text) = run(dir.path(), args, &[]);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("gateway.feed_lisen") && text.contains('4'), "{text}");
        assert!(
            text.contains("session.backoff_floor_ms") && text.contains('7'),
            "every problem at once: {text}"
        );
        assert!(!text.contains("panicked"), "{text}");
    }
}

#[test]
fn an_unknown_environment_key_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (code, text) = run(dir.path(), &["check-config"], &[("TICKGATE_GATEWAY__FEED_LISEN", "x")]);
    assert_eq!(code, Some(2));
    assert!(text.contains("TICKGATE_GATEWAY__FEED_LISEN"), "{text}");
}

#[test]
fn a_port_in_use_says_which_and_a_second_server_names_the_directory() {
    let server = Server::start(&[]);
    let feed = server.feed_url().trim_start_matches("ws://").to_owned();
    let other = tempfile::tempdir().unwrap();
    let (code, text) = run(
        other.path(),
        &["serve"],
        &[("TICKGATE_GATEWAY__FEED_LISTEN", &feed), ("TICKGATE_GATEWAY__HTTP_LISTEN", "127.0.0.1:0")],
    );
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&feed), "{text}");

    // With the ports of the first, as the same configuration gives them.
    let http = server.http_address().to_string();
    let ports = [("TICKGATE_GATEWAY__FEED_LISTEN", feed.as_str()), ("TICKGATE_GATEWAY__HTTP_LISTEN", &http)];
    let (code, text) = run(server.root(), &["serve"], &ports);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("{} is in use", server.data().display())), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn wrong_arguments_are_bad_usage() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["tail", "RELIANCE"][..],
        &["tail", "NSE:RELIANCE", "--url", "http://127.0.0.1:1"],
        &["sim", "--listen", "127.0.0.1:0", "--pace", "0"],
        &["key", "create", "alice", "--scope", "everything"],
        &["dance"],
    ] {
        let (code, text) = run(dir.path(), args, &[]);
        assert_eq!(code, Some(2), "{args:?}: {text}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_get_the_answers_the_protocol_describes() {
    let server = Server::start(&[]);
    server.wait_ready();
    let mut consumer = Consumer::connect(&server.feed_url()).await;

    let code = |frame: &Value| frame["code"].as_str().unwrap_or_default().to_owned();
    consumer.send(&json!({"action": "subscribe", "symbol": "RELIANCE", "exchange": "NSE"})).await;
    assert_eq!(code(&consumer.next().await), "NOT_AUTHENTICATED");
    consumer.send_text("{nonsense").await;
    assert_eq!(code(&consumer.next().await), "INVALID_JSON");
    consumer.send(&json!({"action": "authenticate"})).await;
    assert_eq!(code(&consumer.next().await), "AUTHENTICATION_ERROR");
    consumer.send(&json!({"action": "authenticate", "api_key": "wrong"})).await;
    let refused = consumer.next().await;
    assert_eq!(
        (code(&refused).as_str(), refused["message"].as_str().unwrap()),
        ("AUTHENTICATION_ERROR", "Invalid API key")
    );
    // The same connection may try again.
    consumer.send(&json!({"type": "auth", "apikey": server.local_key()})).await;
    assert_eq!(consumer.next().await["status"], "success");

    let ack = consumer.subscribe(2, &["NSE:NOSUCHTHING", "NSE:RELIANCE", "NOEXCHANGE:X"]).await;
    assert_eq!(ack["status"], "partial");
    let statuses: Vec<_> =
        ack["subscriptions"].as_array().unwrap().iter().map(|s| s["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["error", "success", "error"]);
    let not_market_data = |f: &Value| f["type"] != "market_data";
    for (frame, expected) in [
        (json!({"action": "dance"}), "INVALID_ACTION"),
        (json!({"action": "subscribe", "symbol": "SBIN", "exchange": "NSE", "mode": 7}), "INVALID_MODE"),
        (json!({"action": "subscribe", "symbol": "SBIN", "exchange": "NSE", "mode": "1"}), "INVALID_MODE"),
        (json!({"action": "subscribe"}), "INVALID_PARAMETERS"),
        (json!({"action": "subscribe", "symbols": ["NSE:SBIN"]}), "INVALID_PARAMETERS"),
    ] {
        consumer.send(&frame).await;
        assert_eq!(code(&consumer.next_where(not_market_data).await), expected, "{frame}");
    }
    // None of it disturbed the subscription.
    consumer.next_where(|f| f["type"] == "market_data" && f["symbol"] == "RELIANCE").await;

    // A frame beyond the limit ends this connection, and only this one.
    let mut other = Consumer::authenticated(&server.feed_url(), &server.local_key()).await;
    other.send_text(&"x".repeat(1024 * 1024 + 1)).await;
    let closed = loop {
        match other.read(PATIENCE).await {
            Got::Json(_) => {}
            Got::Closed(frame) => break frame.map(|f| u16::from(f.code)),
            Got::Nothing => panic!("the connection stayed open"),
        }
    };
    assert_eq!(closed, Some(1009));
    consumer.next_where(|f| f["type"] == "market_data").await;
}

#[test]
fn an_unreadable_fernet_key_is_refused_by_name_not_by_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (code, text) = run(
        dir.path(),
        &["serve"],
        &[
            ("TICKGATE_FERNET_KEY", "not-a-fernet-key"),
            ("TICKGATE_GATEWAY__FEED_LISTEN", "127.0.0.1:0"),
            ("TICKGATE_GATEWAY__HTTP_LISTEN", "127.0.0.1:0"),
        ],
    );
    assert!(matches!(code, Some(1 | 2)), "{code:?} {text}");
    assert!(text.contains("TICKGATE_FERNET_KEY"), "{text}");
    assert!(!text.contains("not-a-fernet-key") && !text.contains("panicked"), "{text}");
}
