//! What the week is played on: broker, relay, the server's process, consumers. No plot; that is `week`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tickgate::app::RunFile;
use tickgate::clock::UnixNanos;
use tickgate::market::TimeOfDay;
use tickgate::sim::{Hours, Settings as SimSettings, SimServer, SocketEnd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::child::{MARK, MovedClock};
use crate::fault_runs::watcher::{Speech, Watcher};
use crate::tap::Tap;

/// Nothing may take longer; generous, the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const NAMES: [&str; 6] =
    ["NSE:RELIANCE", "NSE:TCS", "NSE:INFY", "NSE:SBIN", "BSE:RELIANCE", "NSE_INDEX:NIFTY"];

pub(crate) struct Stage {
    _dir: TempDir,
    sim: SimServer,
    pub(crate) tap: Tap,
    clock: Arc<MovedClock>,
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    run: RunFile,
    key: String,
    log: PathBuf,
    pub(crate) names: Vec<String>,
}

/// What a process holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    pub(crate) resident_kib: u64,
    pub(crate) descriptors: u64,
}

/// One HTTP/1.1 exchange.
pub(crate) async fn http(method: &str, address: SocketAddr, path: &str, body: &str) -> Result<(u16, String)> {
    let exchange = async {
        let mut socket = TcpStream::connect(address).await?;
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = timeout(PATIENCE, exchange).await.context("no answer")??;
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no HTTP")?;
    let body = answer.split_once("\r\n\r\n").context("no body")?.1;
    Ok((status, body.to_owned()))
}

impl Stage {
    pub(crate) async fn set(seed: u64, start: UnixNanos) -> Result<Self> {
        let clock = Arc::new(MovedClock::default());
        let offset = clock.set(start);
        let settings = SimSettings {
            seed,
            pace: 20.0,
            hours: Hours::Exchange,
            nightly_cut_ist: TimeOfDay::new(3, 0),
            nightly_sockets: SocketEnd::Close,
            ..SimSettings::default()
        };
        let sim = SimServer::start(settings, ([127, 0, 0, 1], 0).into(), None, clock.clone()).await?;
        let tap = Tap::start(sim.addr()).await;
        let dir = tempfile::tempdir()?;
        let log = dir.path().join("stderr.log");
        let mut command = Command::new(std::env::current_exe()?);
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("TICKGATE_")) {
            command.env_remove(name);
        }
        let keys = sim.credentials();
        let data = dir.path().join("data");
        for (name, value) in [
            ("DATA_DIR", data.display().to_string()),
            ("XTS_MARKET_APP_KEY", keys.market_app_key),
            ("XTS_MARKET_SECRET_KEY", keys.market_secret_key),
            ("XTS_INTERACTIVE_APP_KEY", keys.interactive_app_key),
            ("XTS_INTERACTIVE_SECRET_KEY", keys.interactive_secret_key),
            ("BROKER__KIND", "xts".to_owned()),
            ("BROKER__XTS__BASE_URL", format!("http://{}", tap.address)),
            ("BROKER__XTS__MAX_SUBSCRIPTIONS", "1000".to_owned()),
            ("BROKER__XTS__REQUEST_INTERVAL_MS", "0".to_owned()),
            ("BROKER__XTS__SUBSCRIPTION_INTERVAL_MS", "5".to_owned()),
            ("SESSION__BACKOFF_FLOOR_MS", "20".to_owned()),
            ("SESSION__BACKOFF_CEILING_MS", "200".to_owned()),
            ("SESSION__TICK_IDLE_TIMEOUT_MS", "1000".to_owned()),
            ("SESSION__CLOCK_CHECK_MS", "20".to_owned()),
            ("GATEWAY__FEED_LISTEN", "127.0.0.1:0".to_owned()),
            ("GATEWAY__HTTP_LISTEN", "127.0.0.1:0".to_owned()),
            // Reached within the first minute by those who never read.
            ("GATEWAY__OVERFLOW_BYTES", (64 << 10).to_string()),
        ] {
            command.env(format!("TICKGATE_{name}"), value);
        }
        let mut child = command
            .current_dir(dir.path())
            .env(MARK, offset.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log)?)
            .spawn()?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("no standard output")?);
        let started = Instant::now();
        let run = loop {
            if let Some(run) = RunFile::read(&data) {
                break run;
            }
            if let Some(status) = child.try_wait()? {
                bail!("the server did not start: {status}: {}", std::fs::read_to_string(&log)?);
            }
            ensure!(started.elapsed() < PATIENCE, "waited in vain for run.json");
            sleep(Duration::from_millis(20)).await;
        };
        let key = std::fs::read_to_string(data.join("local.key"))?.trim().to_owned();
        let names = NAMES.iter().map(|&name| name.to_owned()).collect();
        Ok(Self { _dir: dir, sim, tap, clock, child, orders, answers, run, key, log, names })
    }

    /// Moves both clocks.
    pub(crate) fn move_to(&mut self, to: UnixNanos) -> Result<()> {
        let offset = self.clock.set(to);
        writeln!(self.orders.as_mut().context("it was stopped")?, "{offset}")?;
        let mut line = String::new();
        // The banner may come first.
        while line.trim() != "moved" {
            line.clear();
            ensure!(self.answers.read_line(&mut line)? > 0, "the server has ended: {}", self.log_tail());
        }
        Ok(())
    }

    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// A consumer that reads.
    pub(crate) fn consumer(&self, speech: Speech) -> Watcher {
        Watcher::start(&format!("ws://{}", self.run.feed), &self.key, speech, &self.names)
    }

    /// One that never does.
    pub(crate) async fn stalled(&self) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>> {
        use futures::SinkExt as _;
        use tokio_tungstenite::tungstenite::Message;
        let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{}", self.run.feed)).await?;
        let symbols: Vec<_> = self.names.iter().filter_map(|n| n.split_once(':')).collect();
        let symbols: Vec<_> = symbols
            .iter()
            .map(|(exchange, symbol)| json!({"symbol": symbol, "exchange": exchange}))
            .collect();
        for frame in [
            json!({"action": "authenticate", "api_key": self.key}),
            json!({"action": "subscribe", "symbols": symbols, "mode": 3}),
        ] {
            socket.send(Message::text(frame.to_string())).await?;
        }
        Ok(socket)
    }

    pub(crate) async fn sim(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_str(&http("GET", self.sim.addr(), &format!("/__sim/{path}"), "").await?.1)?)
    }

    pub(crate) async fn tell(&self, path: &str, body: Value) -> Result<()> {
        let body = body.to_string();
        let (status, answer) = http("POST", self.sim.addr(), &format!("/__sim/{path}"), &body).await?;
        ensure!(status == 200, "{path} {body}: {status} {answer}");
        Ok(())
    }

    /// Logins granted so far, market and interactive.
    pub(crate) async fn logins(&self) -> Result<(u64, u64)> {
        let state = self.sim("state").await?;
        let count = |product: &str| state["logins"][product].as_u64().unwrap_or(u64::MAX);
        Ok((count("market"), count("interactive")))
    }

    /// The account in `/v1/status`.
    pub(crate) async fn status(&self) -> Result<Value> {
        let page: Value = serde_json::from_str(&http("GET", self.run.http, "/v1/status", "").await?.1)?;
        Ok(page["accounts"]["default"].clone())
    }

    /// `/metrics`.
    pub(crate) async fn metrics(&self) -> Result<String> {
        Ok(http("GET", self.run.http, "/metrics", "").await?.1)
    }

    /// What the server's process holds: the middle of nine looks, so that one moment does not count.
    pub(crate) async fn held(&self) -> Result<Held> {
        let mut looks = Vec::new();
        for _ in 0..9 {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = resident.and_then(|text| text.split_whitespace().next()?.parse().ok());
            let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count() as u64;
            looks.push((kib.context("no VmRSS")?, descriptors));
            sleep(Duration::from_millis(200)).await;
        }
        let middle = |mut all: Vec<u64>| {
            all.sort_unstable();
            all[all.len() / 2]
        };
        Ok(Held {
            resident_kib: middle(looks.iter().map(|look| look.0).collect()),
            descriptors: middle(looks.iter().map(|look| look.1).collect()),
        })
    }

    /// Stops the server in order, then the broker.
    pub(crate) async fn strike(mut self) -> Result<()> {
        drop(self.orders.take());
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if started.elapsed() > PATIENCE {
                self.child.kill()?;
                bail!("the server does not stop");
            }
            sleep(Duration::from_millis(20)).await;
        };
        ensure!(status.success(), "the server ended with {status}: {}", self.log_tail());
        self.sim.stop().await;
        Ok(())
    }
}
