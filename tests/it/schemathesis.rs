//! Schemathesis reads `/openapi.json` and asks for everything in it, right and wrong: no input may
//! bring a failure of the server's.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::peers::{environment, find_python, skipped};
use crate::rest::{ORDERS, new_key};
use crate::support::{Server, http};

#[test]
fn no_input_makes_the_server_fail() {
    let Some(python) = find_python(11, 12) else {
        return skipped("no Python 3.11 for Schemathesis", true);
    };
    let python = environment(&python, "schemathesis");
    let server = Server::start_configured(ORDERS, &[]);
    server.wait_ready();
    let key = new_key(&server, "schemathesis", "feed,account,trade");
    let examples = if std::env::var_os("SLOW_TESTS").is_some_and(|v| v == "1") { "60" } else { "12" };
    let output = Command::new(python.with_file_name("schemathesis"))
        .args(["--no-color", "run", &format!("http://{}/openapi.json", server.http_address())])
        .args(["--phases", "coverage,fuzzing", "--mode", "all", "--max-examples", examples])
        .args(["--generation-deterministic"])
        .args(["--suppress-health-check", "all", "--request-timeout", "60", "--no-shrink"])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .current_dir(server.root())
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("TICKGATE_TEST_KEY", &key)
        .output()
        .expect("Schemathesis runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    eprintln!("{text}");
    // It asked with a key that is good: what it sent reached the broker's books.
    let (status, body) = http("GET", server.sim_address(), "/__sim/books", None, "").unwrap();
    assert_eq!(status, 200);
    let books: Value = serde_json::from_str(&body).unwrap();
    let received = &books["accounts"][0]["orders_received"];
    assert!(received["total"].as_u64() > Some(0), "some orders got through: {received}\n{text}");
    assert_eq!(received["most_of_one"], 1, "and none twice: {received}");
    assert_eq!(server.get("/readyz").map(|(status, _)| status), Some(200), "and it still works");
}
