//! Real clients, unmodified, at pinned versions. They are installed into `target/peers/` by
//! the tests themselves; without the interpreter a test says loudly that it was skipped,
//! and with `CI=true` a missing default interpreter is a failure.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::Server;

const NAMES: [&str; 4] = ["NSE:RELIANCE", "NSE:SBIN", "BSE:RELIANCE", "NSE_INDEX:NIFTY"];

/// Whether a path is a Python of at least 3.`low` and below 3.`high`.
fn python_in(path: &Path, low: u32, high: u32) -> bool {
    let Ok(output) = Command::new(path).arg("--version").output() else { return false };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut parts = text.trim().trim_start_matches("Python ").split('.');
    parts.next() == Some("3")
        && parts.next().and_then(|m| m.parse().ok()).is_some_and(|minor: u32| (low..high).contains(&minor))
}

/// Probes interpreters by running them: the default one, versioned names, pyenv's versions.
pub(crate) fn find_python(low: u32, high: u32) -> Option<PathBuf> {
    let mut candidates: Vec<PathBuf> = vec!["python3".into()];
    candidates.extend((low..high).rev().map(|minor| format!("python3.{minor}").into()));
    if let Some(home) = std::env::var_os("HOME") {
        let versions = Path::new(&home).join(".pyenv/versions");
        let mut found: Vec<_> = std::fs::read_dir(versions)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin/python"))
            .collect();
        found.sort();
        candidates.extend(found.into_iter().rev());
    }
    candidates.into_iter().find(|path| python_in(path, low, high))
}

/// Where everything is installed, and who may do so: one test at a time, in whatever process.
fn installing() -> (PathBuf, File) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target has a tmp below it");
    let home = target.join("peers");
    std::fs::create_dir_all(&home).expect("target is writable");
    let turn = File::create(home.join("installing.lock")).expect("target is writable");
    turn.lock().expect("files can be locked");
    (home, turn)
}

/// Runs a command that must succeed.
fn must(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Node's packages, made once; `None` without Node.
pub(crate) fn node_modules() -> Option<PathBuf> {
    let runs =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    if !runs("node") || !runs("npm") {
        return None;
    }
    let (home, _turn) = installing();
    let dir = home.join("node");
    let pins = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/node");
    let read = |name: &str| std::fs::read_to_string(pins.join(name)).expect("the pins are in the repository");
    let (package, wanted) = (read("package.json"), read("package-lock.json"));
    let (marker, modules) = (dir.join("installed.txt"), dir.join("node_modules"));
    if std::fs::read_to_string(&marker).is_ok_and(|have| have == wanted) {
        return Some(modules);
    }
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("target is writable");
    for (name, text) in [("package.json", package), ("package-lock.json", wanted.clone())] {
        std::fs::write(dir.join(name), text).expect("target is writable");
    }
    must(Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&dir));
    std::fs::write(&marker, wanted).expect("target is writable");
    Some(modules)
}

/// A virtual environment with exactly the pinned packages, made once.
pub(crate) fn environment(python: &Path, name: &str) -> PathBuf {
    let (home, _turn) = installing();
    let dir = home.join(name);
    let pins = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(format!("{name}.txt"));
    let wanted = std::fs::read_to_string(&pins).expect("the pins are in the repository");
    let marker = dir.join("installed.txt");
    let interpreter = dir.join("bin/python");
    if std::fs::read_to_string(&marker).is_ok_and(|have| have == wanted) {
        return interpreter;
    }
    let _ = std::fs::remove_dir_all(&dir);
    must(Command::new(python).args(["-m", "venv"]).arg(&dir));
    must(
        Command::new(&interpreter)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"])
            .arg(&pins),
    );
    std::fs::write(&marker, wanted).expect("target is writable");
    interpreter
}

pub(crate) fn skipped(what: &str, fail_in_ci: bool) {
    let in_ci = std::env::var("CI").is_ok_and(|v| v == "true");
    assert!(!(fail_in_ci && in_ci), "SKIPPED in CI: {what}");
    eprintln!("\n*** SKIPPED: {what} ***\n");
}

pub(crate) fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} is no number in {value}"))
}

fn check_feed(python: &Path, environment_name: &str) {
    let interpreter = environment(python, environment_name);
    let server = Server::start(&[("TICKGATE_SIM__SEED", "7")]);
    server.wait_ready();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/openalgo_feed.py");
    let output = Command::new(interpreter)
        .arg(script)
        .args([server.feed_url(), server.local_key()])
        .args(NAMES)
        .output()
        .expect("the client runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    // The 2.x client prints progress of its own; the report is the last line.
    let report: Value = serde_json::from_str(text.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {text}"));

    assert_eq!(report["wrong_key"]["connected"], false, "a wrong key is refused");
    assert_eq!(report["connected"], true);
    assert!(number(&report, "/connect_seconds") < 4.0, "authentication does not wait for the broker");
    assert_eq!(report["complete"], true, "{report:#}");
    for name in NAMES {
        let (exchange, symbol) = name.split_once(':').expect("is a name");
        for mode in ["ltp", "quote", "depth"] {
            let last = &report["seen"][mode][name]["last"];
            assert!(number(last, "/data/ltp") > 0.0);
            assert!(number(last, "/data/timestamp") > 1.7e12, "epoch milliseconds");
        }
        let quote = &report["seen"]["quote"][name]["last"]["data"];
        assert!(
            number(quote, "/low") <= number(quote, "/ltp") && number(quote, "/ltp") <= number(quote, "/high")
        );
        assert!(number(quote, "/close") > 0.0);
        let change = number(quote, "/ltp") - number(quote, "/close");
        assert!((number(quote, "/change") - change).abs() < 0.006, "{quote}");

        assert!(number(&report["getters"]["ltp"]["ltp"][exchange][symbol], "/ltp") > 0.0);
        assert!(number(&report["getters"]["quotes"]["quote"][exchange][symbol], "/ltp") > 0.0);
        let book = &report["getters"]["depth"]["depth"][exchange][symbol];
        for level in 1..=5 {
            number(book, &format!("/buyBook/{level}/price"));
            number(book, &format!("/sellBook/{level}/qty"));
        }
        if exchange != "NSE_INDEX" {
            assert!(number(quote, "/avg_trade_price") > 0.0 && number(quote, "/last_trade_quantity") > 0.0);
            let (bid, ask) = (number(book, "/buyBook/1/price"), number(book, "/sellBook/1/price"));
            assert!(0.0 < bid && bid < ask, "{book}");
            assert!(number(book, "/buyBook/2/price") < bid && number(book, "/sellBook/2/price") > ask);
        }
    }
    let (before, after) = (&report["after_unsubscribe"]["before"], &report["after_unsubscribe"]["after"]);
    assert_eq!(before, after, "nothing arrives after unsubscribing");
}

#[test]
fn openalgo_1_gets_ltp_quote_and_depth() {
    match find_python(11, 12) {
        Some(python) => check_feed(&python, "openalgo-1.0.47"),
        None => skipped("no Python 3.11 for the OpenAlgo client 1.0.47", true),
    }
}

#[test]
fn openalgo_2_gets_ltp_quote_and_depth() {
    match find_python(12, 14) {
        Some(python) => check_feed(&python, "openalgo-2.0.5"),
        None => skipped("no Python 3.12 or 3.13 for the OpenAlgo client 2.0.5", false),
    }
}
