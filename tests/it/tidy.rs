//! The layer test: a module may import only what ARCHITECTURE.md allows it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Module → modules it may import. `broker::xts` is named apart where only that is allowed.
const ALLOWED: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("secret", &[]),
    ("backoff", &["clock"]),
    ("telemetry", &["clock"]),
    ("market", &["clock"]),
    ("protocol", &["market", "clock"]),
    ("client", &["protocol", "market", "clock"]),
    ("hub", &["market", "protocol", "telemetry", "clock"]),
    ("store", &["clock", "secret"]),
    ("token", &["store", "clock", "secret"]),
    ("broker", &["market", "token", "clock", "secret", "telemetry"]),
    ("session", &["broker", "token", "store", "hub", "market", "clock", "backoff", "telemetry", "secret"]),
    ("gateway", &["hub", "protocol", "market", "store", "clock", "secret", "telemetry"]),
    ("sim", &["broker::xts", "market", "clock"]),
    ("config", &["broker", "session", "gateway", "sim", "telemetry", "market", "token", "secret"]),
];

/// May import everything below them.
const TOP: &[&str] = &["app", "cli", "fuzzing", "main", "lib"];

/// What may only be imported from the top.
const TOP_ONLY: &[&str] = &["config", "sim", "app", "cli"];

/// Files on the path of a tick: no actor may appear in them.
const DATA_PLANE: &[&str] =
    &["hub/", "gateway/shard", "gateway/connection", "session/feed_task", "broker/xts/wire"];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src is readable") {
        let path = entry.expect("src is readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Paths named as `crate::a::b` in a file, two segments deep, its tests left out: tests may
/// use anything.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = BTreeSet::new();
    for line in code.lines() {
        let line = line.trim_start();
        if line.starts_with("//") {
            continue;
        }
        for (at, _) in line.match_indices("crate::") {
            // `pub(in crate::x)` and `$crate::` are no imports.
            if line[..at].ends_with("in ") || line[..at].ends_with('$') {
                continue;
            }
            let rest = &line[at + "crate::".len()..];
            let path: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect();
            let mut parts = path.split("::").filter(|p| !p.is_empty());
            if let Some(first) = parts.next() {
                found.insert(parts.next().map_or(first.to_owned(), |second| format!("{first}::{second}")));
            }
        }
    }
    found
}

fn module_of(relative: &str) -> &str {
    relative.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

#[test]
fn every_module_knows_only_what_it_may() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 30, "the sources were not found");
    let mut wrong = Vec::new();
    for file in &files {
        let relative = file.strip_prefix(&src).expect("is below src").to_string_lossy().replace('\\', "/");
        let module = module_of(&relative);
        if relative.ends_with("tests.rs") || relative.contains("/tests/") || TOP.contains(&module) {
            continue;
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{relative}: module {module} has no row in the layer table"));
            continue;
        };
        let text = fs::read_to_string(file).expect("is readable");
        for path in imports(&text) {
            let first = path.split("::").next().unwrap_or_default();
            let fine = first == module
                || allowed.contains(&first)
                || allowed.iter().any(|a| a.contains("::") && path == *a);
            if !fine || (TOP_ONLY.contains(&first) && first != module && module != "config") {
                wrong.push(format!("{relative}: {module} may not import crate::{path}"));
            }
        }
        if DATA_PLANE.iter().any(|p| relative.starts_with(p)) && text.contains("use actix") {
            wrong.push(format!("{relative}: no actor on the path of a tick"));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_layer_test_sees_what_it_should() {
    let found = imports(
        "use crate::hub::Hub;\n// use crate::sim::x;\npub(in crate::gateway) fn f() { crate::app::run() }",
    );
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["app::run", "hub::Hub"]);
}

#[test]
fn nothing_is_left_unfinished() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for dir in ["src", "tests", "benches"] {
        sources(&root.join(dir), &mut files);
    }
    let marks = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[ign", "ore"),
        concat!("FIX", "ME"),
    ];
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("is readable");
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                wrong.push(format!("{}:{}: {line}", file.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
