//! The whole of it in one process: the simulated broker, a relay in front of it, the server as the program
//! runs it, and consumers. Breaks what a plan says; judges nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tickgate::app::{self, RunFile};
use tickgate::config;
use tickgate::sim::{Settings as SimSettings, SimServer};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::plan::{Fault, Kind};
use super::watcher::{Speech, Watcher};
use crate::rig::{MovedClock, india};
use crate::support::{PATIENCE, http};
use crate::tap::Tap;

/// Most time between a failure and the next attempt, as the server is configured.
pub(crate) const BACKOFF_CEILING: Duration = Duration::from_millis(200);
/// Without a tick for so long, the server counts the feed as mute.
pub(crate) const TICK_IDLE: Duration = Duration::from_secs(1);

/// Shares, an index, a future's underlying: all busy.
const NAMES: [&str; 6] =
    ["NSE:RELIANCE", "NSE:TCS", "NSE:INFY", "NSE:SBIN", "BSE:RELIANCE", "NSE_INDEX:NIFTY"];

pub(crate) struct World {
    _dir: TempDir,
    sim: SimServer,
    pub(crate) tap: Tap,
    http: SocketAddr,
    pub(crate) names: Vec<String>,
    pub(crate) watchers: Vec<Watcher>,
    stop: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<Result<app::Outcome, app::Error>>,
}

async fn ask(method: &'static str, address: SocketAddr, path: &str, body: String) -> Result<(u16, String)> {
    let asked = path.to_owned();
    let answer = tokio::task::spawn_blocking(move || http(method, address, &asked, None, &body)).await?;
    answer.with_context(|| format!("no answer to {path}"))
}

/// Waits for a condition. Its patience only bounds the test.
pub(crate) async fn until<F: Future<Output = Result<bool>>>(
    what: &str,
    mut holds: impl FnMut() -> F,
) -> Result<()> {
    let started = Instant::now();
    while !holds().await? {
        ensure!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

impl World {
    /// Starts everything and waits until every consumer has a price of every name. Where actors can live.
    pub(crate) async fn start(seed: u64) -> Result<Self> {
        // In the middle of a trading day, whenever this runs.
        let clock = Arc::new(MovedClock::default());
        clock.set(india("2026-02-10T11:00:00"));
        let settings = SimSettings { seed, pace: 20.0, ..SimSettings::default() };
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let sim = SimServer::start(settings, listen, None, clock.clone()).await?;
        let tap = Tap::start(sim.addr()).await;
        let dir = tempfile::tempdir()?;
        let data = dir.path().join("data");
        let loaded = config::load(Some(&write_config(&dir)?), &environment(&sim, tap.address, &data))?;
        let (stop, stopped) = oneshot::channel();
        let server = actix::spawn(app::run_on(clock, loaded, async move {
            let _ = stopped.await;
        }));
        let started = Instant::now();
        let run = loop {
            if let Some(run) = RunFile::read(&data) {
                break run;
            }
            ensure!(!server.is_finished(), "the server did not start: {:?}", server.await);
            ensure!(started.elapsed() < PATIENCE, "waited in vain for run.json");
            sleep(Duration::from_millis(10)).await;
        };
        let http = run.http;
        until("/readyz", || async { Ok(ask("GET", http, "/readyz", String::new()).await?.0 == 200) }).await?;
        let key = std::fs::read_to_string(data.join("local.key"))?.trim().to_owned();
        let names: Vec<_> = NAMES.iter().map(|&name| name.to_owned()).collect();
        let feed = format!("ws://{}", run.feed);
        let watchers = [Speech::Plain, Speech::Numbered, Speech::Binary]
            .map(|speech| Watcher::start(&feed, &key, speech, &names))
            .into();
        let world = Self { _dir: dir, sim, tap, http, names, watchers, stop, server };
        until("the first prices", || async {
            world.all_connected()?;
            Ok(world.watchers.iter().all(|w| w.book().covered.iter().all(|covered| *covered)))
        })
        .await?;
        Ok(world)
    }

    /// No consumer was sent away.
    pub(crate) fn all_connected(&self) -> Result<()> {
        for watcher in &self.watchers {
            let ended = watcher.book().ended.clone();
            ensure!(ended.is_none(), "the {:?} consumer: {}", watcher.speech, ended.unwrap_or_default());
        }
        Ok(())
    }

    /// `GET` below `/__sim/`.
    pub(crate) async fn sim(&self, path: &str) -> Result<Value> {
        let (status, body) = ask("GET", self.sim.addr(), &format!("/__sim/{path}"), String::new()).await?;
        ensure!(status == 200, "{path}: {status} {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// `POST` below `/__sim/`.
    pub(crate) async fn tell(&self, path: &str, body: Value) -> Result<()> {
        let (status, answer) =
            ask("POST", self.sim.addr(), &format!("/__sim/{path}"), body.to_string()).await?;
        ensure!(status == 200, "{path} {body}: {status} {answer}");
        Ok(())
    }

    /// The first account in `/v1/status`.
    pub(crate) async fn status(&self) -> Result<Value> {
        let page: Value = serde_json::from_str(&ask("GET", self.http, "/v1/status", String::new()).await?.1)?;
        Ok(page["accounts"]["default"].clone())
    }

    /// Breaks it, for as long as it lasts. Returns when it was over.
    pub(crate) async fn inflict(&self, fault: &Fault) -> Result<Instant> {
        match &fault.kind {
            Kind::Drop { clean } => self.tell("drop", json!({"product": "market", "clean": clean})).await?,
            Kind::Expire { product, sockets } => {
                self.tell("expire", json!({"product": product, "sockets": sockets})).await?;
            }
            Kind::Login { fault } => {
                self.tell("login_faults", fault.clone()).await?;
                self.tell("expire", json!({"product": "market", "sockets": "close"})).await?;
                // Over when the last of them has met a login.
                let met = until("the logins to fail", || async {
                    Ok(self.sim("state").await?["login_faults"]["waiting"] == 0)
                });
                if let Err(why) = met.await {
                    anyhow::bail!("{why}: {}", self.status().await?);
                }
                let after = fault["retry_after_s"].as_u64().unwrap_or(0) * 1_000;
                sleep(Duration::from_millis(after + fault["ms"].as_u64().unwrap_or(0))).await;
            }
            Kind::Away { forget, manner } => {
                let down = u64::try_from(fault.lasts.as_millis())?;
                self.tell("restart", json!({"down_ms": down, "forget": forget, "manner": manner})).await?;
                sleep(fault.lasts).await;
            }
            Kind::Mute => {
                self.tell("mute", json!({"on": true})).await?;
                sleep(fault.lasts).await;
                self.tell("mute", json!({"on": false})).await?;
            }
            Kind::Freeze => {
                self.tap.freeze(true);
                sleep(fault.lasts).await;
                self.tap.freeze(false);
            }
        }
        Ok(Instant::now())
    }

    /// The number of the feed's connection.
    pub(crate) async fn generation(&self) -> Result<u64> {
        self.status().await?["feed"]["generation"].as_u64().context("no generation in the status")
    }

    /// Waits until the feed is live on a connection after `generation` and every consumer has prices newer
    /// than that and than `since`; returns when.
    pub(crate) async fn live_again(&self, mut since: Instant, generation: Option<u64>) -> Result<Instant> {
        if let Some(ended) = generation {
            until("another connection", || async {
                let feed = self.status().await?["feed"].clone();
                let is_later = feed["generation"].as_u64().is_some_and(|now| now > ended);
                Ok(is_later && feed["state"] == "live")
            })
            .await?;
            since = Instant::now();
        }
        let started = Instant::now();
        loop {
            self.all_connected()?;
            let fresh = self.watchers.iter().all(|w| w.book().newest.is_some_and(|at| at > since));
            if fresh && self.status().await?["feed"]["state"] == "live" {
                return Ok(Instant::now());
            }
            if started.elapsed() > PATIENCE {
                anyhow::bail!("not live again: {}", self.status().await?);
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops the market and waits until nothing is on its way any more.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.tell("mute", json!({"on": true})).await?;
        until("silence", || async {
            self.all_connected()?;
            let quiet = |at: Instant| at.elapsed() > Duration::from_millis(700);
            Ok(self.watchers.iter().all(|w| w.book().newest.is_none_or(quiet)))
        })
        .await
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) -> Result<()> {
        let _ = self.stop.send(());
        let outcome = self.server.await??;
        ensure!(outcome == app::Outcome::Stopped, "it gave up");
        self.sim.stop().await;
        Ok(())
    }
}

fn write_config(dir: &TempDir) -> Result<std::path::PathBuf> {
    let path = dir.path().join("config.toml");
    std::fs::write(&path, "")?;
    Ok(path)
}

fn environment(sim: &SimServer, broker: SocketAddr, data: &std::path::Path) -> BTreeMap<String, String> {
    let keys = sim.credentials();
    let ms = |time: Duration| time.as_millis().to_string();
    let pairs = [
        ("DATA_DIR", data.display().to_string()),
        ("XTS_MARKET_APP_KEY", keys.market_app_key),
        ("XTS_MARKET_SECRET_KEY", keys.market_secret_key),
        ("XTS_INTERACTIVE_APP_KEY", keys.interactive_app_key),
        ("XTS_INTERACTIVE_SECRET_KEY", keys.interactive_secret_key),
        ("BROKER__KIND", "xts".to_owned()),
        ("BROKER__XTS__BASE_URL", format!("http://{broker}")),
        ("BROKER__XTS__MAX_SUBSCRIPTIONS", "1000".to_owned()),
        ("BROKER__XTS__REQUEST_INTERVAL_MS", "0".to_owned()),
        ("BROKER__XTS__BOOK_INTERVAL_MS", "0".to_owned()),
        ("BROKER__XTS__SUBSCRIPTION_INTERVAL_MS", "5".to_owned()),
        ("BROKER__XTS__QUOTES_INTERVAL_MS", "0".to_owned()),
        ("SESSION__BACKOFF_FLOOR_MS", "20".to_owned()),
        ("SESSION__BACKOFF_CEILING_MS", ms(BACKOFF_CEILING)),
        ("SESSION__TICK_IDLE_TIMEOUT_MS", ms(TICK_IDLE)),
        ("SESSION__LOGIN_MIN_INTERVAL_MS", "0".to_owned()),
        ("SESSION__LOGIN_DAILY_CAP", "0".to_owned()),
        ("SESSION__CLOCK_CHECK_MS", "50".to_owned()),
        // A missed minute is asked for when it is over, which is longer than a run; `gaps.rs` looks at that.
        // Here every gap is declared unfilled, at once.
        ("SESSION__BACKFILL_WITHIN_MS", "0".to_owned()),
        // A `logout` means that somebody else logged in, to whom a server leaves the session otherwise.
        ("SESSION__ON_REPLACED", "retake".to_owned()),
        ("GATEWAY__FEED_LISTEN", "127.0.0.1:0".to_owned()),
        ("GATEWAY__HTTP_LISTEN", "127.0.0.1:0".to_owned()),
    ];
    pairs.into_iter().map(|(name, value)| (format!("TICKGATE_{name}"), value)).collect()
}
