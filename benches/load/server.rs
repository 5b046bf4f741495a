//! The program that is measured: `tickgate serve` as it is shipped, in a directory of its own, with a key made by
//! `tickgate key create`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Duration;

use super::args::Feed;
use super::machine::within;

const PATIENCE: Duration = Duration::from_secs(30);

/// A child process. Ends with this value: asked to first, as an operator does, then killed.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    pub(crate) const fn new(child: Child) -> Self {
        Self(child)
    }

    pub(crate) fn start(command: &mut Command) -> Self {
        Self::new(command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}")))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        if within(Duration::from_secs(5), || self.has_ended().then_some(())).is_none() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// A command whose process ends with this one, even if that is killed, where the system has the means.
pub(crate) fn bound(program: &Path) -> Command {
    static HAS_MEANS: OnceLock<bool> = OnceLock::new();
    const MEANS: [&str; 2] = ["--pdeathsig", "TERM"];
    let has_means = *HAS_MEANS.get_or_init(|| {
        let tried = Command::new("setpriv").args(MEANS).arg("true").output();
        tried.is_ok_and(|output| output.status.success())
    });
    if !has_means {
        return Command::new(program);
    }
    // It becomes the program, in the same process.
    let mut command = Command::new("setpriv");
    command.args(MEANS).arg(program);
    command
}

/// A running `tickgate serve`.
#[derive(Debug)]
pub(crate) struct Tickgate {
    // Ends before its directory goes.
    process: Process,
    dir: TempDir,
    pub(crate) feed: SocketAddr,
    http: SocketAddr,
    pub(crate) key: String,
}

impl Tickgate {
    /// Starts it before this broker, and waits until consumers can get live data.
    pub(crate) fn start(program: &Path, broker: SocketAddr, feed: Feed, extra: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().expect("there is a temporary directory");
        let command = |arguments: &[&str]| {
            let mut command = bound(program);
            for (name, _) in std::env::vars_os() {
                if name.to_string_lossy().starts_with("TICKGATE_") {
                    command.env_remove(name);
                }
            }
            let prefix = match feed {
                Feed::Binary => "/apibinarymarketdata",
                Feed::Json => "/apimarketdata",
            };
            command
                .args(arguments)
                .current_dir(dir.path())
                .env("TICKGATE_BROKER__KIND", "xts")
                .env("TICKGATE_BROKER__XTS__BASE_URL", format!("http://{broker}"))
                .env("TICKGATE_BROKER__XTS__MARKET_PREFIX", prefix)
                .env("TICKGATE_BROKER__XTS__SOCKET_PATH", format!("{prefix}/socket.io"))
                .env("TICKGATE_BROKER__XTS__INTERACTIVE", "false")
                .env("TICKGATE_BROKER__XTS__MAX_SUBSCRIPTIONS", "10000")
                // The broker here has no limits, and the start is not what is measured.
                .env("TICKGATE_BROKER__XTS__REQUEST_INTERVAL_MS", "0")
                .env("TICKGATE_BROKER__XTS__SUBSCRIPTION_INTERVAL_MS", "0")
                .env("TICKGATE_BROKER__XTS__QUOTES_INTERVAL_MS", "0")
                // At any time of day, and also while nothing is published.
                .env("TICKGATE_SESSION__PLANNED_LOGIN_IST", "")
                .env("TICKGATE_SESSION__TICK_IDLE_TIMEOUT_MS", "0")
                .env("TICKGATE_XTS_MARKET_APP_KEY", "0f1e2d3c4b5a69788796a5")
                .env("TICKGATE_XTS_MARKET_SECRET_KEY", "Abcd123$xy")
                .env("TICKGATE_GATEWAY__FEED_LISTEN", "127.0.0.1:0")
                .env("TICKGATE_GATEWAY__HTTP_LISTEN", "127.0.0.1:0")
                .env("TICKGATE_LOG__LEVEL", "warn")
                .envs(extra.iter().copied())
                .stdin(Stdio::null());
            command
        };
        let made = command(&["key", "create", "bench"]).output().expect("the program runs");
        let key = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        assert!(made.status.success() && !key.is_empty(), "{}", String::from_utf8_lossy(&made.stderr));
        let log = File::create(dir.path().join("stderr.log")).expect("the directory is writable");
        let mut process = Process::start(command(&["serve"]).stdout(Stdio::null()).stderr(log));
        let file = dir.path().join("data/run.json");
        let run = within(PATIENCE, || {
            assert!(!process.has_ended(), "the server ended: {}", read_log(&dir));
            let run: Value = serde_json::from_str(&std::fs::read_to_string(&file).ok()?).ok()?;
            (run["pid"] == u64::from(process.id())).then_some(run)
        });
        let run = run.unwrap_or_else(|| panic!("the server does not start: {}", read_log(&dir)));
        let address = |name: &str| {
            run[name]
                .as_str()
                .and_then(|text| text.parse().ok())
                .unwrap_or_else(|| panic!("no {name} in {run}"))
        };
        let server = Self { feed: address("feed"), http: address("http"), process, dir, key };
        let ready = within(PATIENCE, || server.get("/readyz").starts_with("HTTP/1.1 200").then_some(()));
        assert!(ready.is_some(), "not ready: {}\n{}", server.get("/readyz"), server.log());
        server
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn log(&self) -> String {
        read_log(&self.dir)
    }

    /// All series of a metric added up.
    ///
    /// # Errors
    /// If the page does not come whole, or has no such metric: none is not zero.
    pub(crate) fn metric(&self, name: &str) -> Result<u64, String> {
        let page = self.get("/metrics");
        let head = page.lines().next().unwrap_or("no answer");
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("/metrics: {head}"));
        }
        let series = page.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
        });
        let values: Vec<_> = series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).collect();
        if values.is_empty() {
            return Err(format!("/metrics has no {name}"));
        }
        Ok(values.iter().sum::<f64>() as u64)
    }

    /// Answer with its head, empty if it does not come whole.
    fn get(&self, path: &str) -> String {
        let mut answer = Vec::new();
        let Ok(mut socket) = TcpStream::connect(self.http) else { return String::new() };
        let asked = write!(socket, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http);
        if asked.is_ok() {
            let _ = socket.set_read_timeout(Some(Duration::from_secs(5)));
            if socket.read_to_end(&mut answer).is_err() {
                return String::new();
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn read_log(dir: &TempDir) -> String {
    std::fs::read_to_string(dir.path().join("stderr.log")).unwrap_or_default()
}
