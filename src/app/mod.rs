//! Wires everything and stops it in order. Holds no logic of its own.

mod control;
mod run_file;

use std::fs;
use std::future::Future;
use std::io::{self, IsTerminal as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use run_file::RunFile;
use tracing::{error, info, warn};

use crate::app::control::Adapter;
use crate::broker::xts::{self, Credentials, XtsBroker};
use crate::broker::{self, Broker};
use crate::clock::{Clock, SystemClock};
use crate::config::{BrokerKind, Config, Loaded};
use crate::gateway;
use crate::gateway::auth::{ConsumerKeys, LocalKey, NoLocalKey};
use crate::hub::{FeedId, Hub};
use crate::market::{Calendar, MasterHandle};
use crate::secret::Secret;
use crate::session;
use crate::sim::SimServer;
use crate::store::audit::{Audit, Entry};
use crate::store::{self, Store};
use crate::telemetry::prometheus::Prometheus;
use crate::token::cipher::{self, Cipher, KeySource};
use crate::token::ledger::Ledger;
use crate::token::store::TokenStore;

/// How long consumers get to take what is on the way to them when the server stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// How the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was asked to.
    Stopped,
    /// It gave up after repeated internal failures.
    GaveUp,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port could not be bound.
    #[error("cannot listen on {address} ({key}): {source}")]
    Listen {
        /// Which.
        address: String,
        /// The setting it comes from.
        key: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// There is no usable Fernet key.
    #[error(transparent)]
    Key(#[from] cipher::KeyError),
    /// The stored tokens could not be opened.
    #[error(transparent)]
    Tokens(#[from] crate::token::store::Error),
    /// The consumers' keys could not be opened.
    #[error(transparent)]
    Keys(#[from] gateway::auth::Error),
    /// The broker's client could not be made.
    #[error(transparent)]
    Broker(#[from] broker::Error),
    /// The simulated broker could not be started.
    #[error(transparent)]
    Sim(#[from] crate::sim::Error),
    /// Another part failed to start.
    #[error("{what}: {source}")]
    Start {
        /// Which.
        what: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Whether a person has to put a file or a variable right.
    pub const fn is_misconfigured(&self) -> bool {
        match self {
            Self::Key(error) => error.is_misconfigured(),
            Self::Keys(gateway::auth::Error::Store(error)) => error.is_misconfigured(),
            _ => false,
        }
    }
}

/// Runs the feed server until `shutdown` resolves or it gives up. Must run inside an actix
/// system.
///
/// # Errors
/// [`Error`] if it cannot start; nothing is left running then.
pub async fn run(loaded: Loaded, shutdown: impl Future<Output = ()>) -> Result<Outcome, Error> {
    let Loaded { config, secrets, .. } = loaded;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let prometheus = Prometheus::install().map_err(|e| start("metrics", e))?;
    // The data directory before the ports: a second server on the directory has the same ports configured as a
    // rule, and is to be told of the directory.
    let (store, opened) = Store::open(&config.data_dir, clock.as_ref())?;
    let feed_listener = listen(&config.gateway.feed_listen, "gateway.feed_listen")?;
    let http_listener = listen(&config.gateway.http_listen, "gateway.http_listen")?;

    if let Some((aside, why)) = &opened.set_aside {
        warn!(aside = %aside.display(), why, "the store could not be read and was set aside; a login and new consumer keys are needed");
    }
    if opened.lost_writes {
        warn!("the store has lost its latest writes; check the consumer keys with `tickgate key list`");
    }
    let (cipher, source) = Cipher::load(secrets.fernet_key.as_ref(), &config.data_dir, Arc::clone(&clock))?;
    if let KeySource::Created(path) = &source {
        info!(path = %path.display(), "made a new Fernet key");
    }
    let tokens = TokenStore::open(&store, cipher)?;
    match tokens.finish_rotation().await {
        Ok(None) => {}
        Ok(Some(done)) => {
            info!(records = done.records, "an unfinished rotation of the Fernet key is finished");
        }
        Err(error) => warn!(%error, "an unfinished rotation of the Fernet key cannot be finished"),
    }
    let ledger = Ledger::open(&store)?;
    let audit = Audit::open(&store)?;
    let keys = ConsumerKeys::open(&store, Arc::clone(&clock))?;
    let loopback = [&feed_listener, &http_listener]
        .into_iter()
        .all(|listener| listener.local_addr().is_ok_and(|address| address.ip().is_loopback()));
    let local = keys.ensure_local(loopback).await?;
    if matches!(local, LocalKey::Created { .. }) {
        let (who, outcome) = ("start".to_owned(), "local".to_owned());
        audit.note(&Entry { who, outcome, ..Entry::new(clock.now(), "key_created") });
    }

    let (broker, sim) = make_broker(&config, secrets.xts, &clock).await?;
    let broker_name = config.broker.name();
    let hub = Hub::new(broker_name);
    let master = MasterHandle::new();
    let calendar = if config.always_open() { Calendar::always_open() } else { Calendar::new() };

    let feed_port = gateway::start(gateway::Deps {
        settings: config.gateway.clone(),
        listener: feed_listener,
        hub: hub.clone(),
        master: master.clone(),
        keys: keys.clone(),
        broker: broker_name.to_owned(),
        clock: Arc::clone(&clock),
    })
    .map_err(|e| start("feed port", e))?;

    let session = session::start(session::Deps {
        account: config.broker.account.clone(),
        broker,
        tokens: tokens.at_broker(broker_name),
        ledger,
        audit: audit.clone(),
        feed: FeedId(0),
        hub: hub.clone(),
        master: master.clone(),
        calendar,
        clock: Arc::clone(&clock),
        data_dir: config.data_dir.clone(),
        settings: config.session.clone(),
        seed: rand::random(),
    });
    let control = Arc::new(Adapter {
        broker: broker_name.to_owned(),
        session: session.clone(),
        tokens,
        census: feed_port.census(),
        calendar,
        clock: Arc::clone(&clock),
    });
    let http = gateway::http::start(
        http_listener,
        gateway::http::Deps {
            control,
            keys,
            audit,
            prometheus,
            allowed_hosts: config.gateway.allowed_hosts.clone(),
            allowed_origins: config.gateway.allowed_origins.clone(),
            clock: Arc::clone(&clock),
        },
    )
    .map_err(|e| start("HTTP port", e))?;

    let run_file = RunFile {
        pid: std::process::id(),
        feed: feed_port.addr(),
        http: http.addr(),
        sim: sim.as_ref().map(SimServer::addr),
    };
    if let Err(error) = run_file.write(&config.data_dir) {
        warn!(%error, "cannot write run.json; commands will not find this server");
    }
    banner(&config, &run_file, &local);

    let outcome = tokio::select! {
        () = shutdown => Outcome::Stopped,
        () = session.failed() => Outcome::GaveUp,
    };
    if outcome == Outcome::GaveUp {
        error!("giving up after repeated internal failures");
    }
    // Consumers early, so that they learn of it; the store last.
    http.stop().await;
    feed_port.stop(SHUTDOWN_GRACE).await;
    session.stop().await;
    if let Some(sim) = sim {
        sim.stop().await;
    }
    if let Err(error) = store.flush().await {
        error!(%error, "the store could not be flushed");
    }
    RunFile::remove(&config.data_dir);
    info!("stopped");
    Ok(outcome)
}

fn start(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Start { what, source: source.into() }
}

fn listen(address: &str, key: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).map_err(|source| Error::Listen { address: address.to_owned(), key, source })
}

/// The configured broker, and the simulator if that is it.
async fn make_broker(
    config: &Config,
    credentials: Credentials,
    clock: &Arc<dyn Clock>,
) -> Result<(Arc<dyn Broker>, Option<SimServer>), Error> {
    match config.broker.kind {
        BrokerKind::Xts => {
            let broker = XtsBroker::new(
                config.broker.xts.clone(),
                credentials,
                &config.broker.account,
                Arc::clone(clock),
            )?;
            Ok((Arc::new(broker), None))
        }
        BrokerKind::Sim => {
            let state: PathBuf = config.data_dir.join("sim.json");
            let listen = SocketAddr::from(([127, 0, 0, 1], 0));
            let sim = SimServer::start(config.sim.clone(), listen, Some(state), Arc::clone(clock)).await?;
            let settings = sim_settings(config, sim.addr());
            let broker =
                XtsBroker::new(settings, sim_credentials(&sim), &config.broker.account, Arc::clone(clock))?
                    // Its port changes with every start, its sessions do not.
                    .issued_by("embedded simulator");
            Ok((Arc::new(broker), Some(sim)))
        }
    }
}

/// No key of `[broker.xts]` counts for the simulator.
fn sim_settings(config: &Config, address: SocketAddr) -> xts::Settings {
    xts::Settings {
        base_url: format!("http://{address}"),
        max_subscriptions: config.sim.max_subscriptions,
        // Nobody's rate limits to respect.
        request_interval_ms: 0,
        subscription_interval_ms: 10,
        ..xts::Settings::default()
    }
}

fn sim_credentials(sim: &SimServer) -> Credentials {
    let keys = sim.credentials();
    Credentials {
        market: Some(app_key(&keys.market_app_key, &keys.market_secret_key)),
        interactive: Some(app_key(&keys.interactive_app_key, &keys.interactive_secret_key)),
        access_token: None,
    }
}

fn app_key(key: &str, secret: &str) -> xts::AppKey {
    xts::AppKey { key: Secret::new(key), secret: Secret::new(secret) }
}

/// Five lines: what runs where, and how to see a tick.
#[expect(clippy::print_stderr, reason = "the banner is for the person who started the program")]
fn banner(config: &Config, run: &RunFile, local: &LocalKey) {
    let broker = match run.sim {
        Some(address) => format!("simulated XTS broker on {address} (no account needed)"),
        None => format!("{} at {}", config.broker.name(), config.broker.xts.base_url),
    };
    let key = match local {
        LocalKey::Created { key, .. } if io::stderr().is_terminal() => {
            format!("local: {} (shown this once)", key.expose())
        }
        LocalKey::Created { path, .. } | LocalKey::Present { path } => format!("local, in {}", shown(path)),
        LocalKey::Absent(why) => {
            if *why == NoLocalKey::Lost {
                error!("{why}: stop the server, then `tickgate key create local --scope feed,account,admin`");
            }
            format!("no local key ({why}); with the server stopped, `tickgate key create NAME` makes one")
        }
    };
    eprintln!(
        "tickgate {} · broker  {broker}\n\
         feed    ws://{}  (OpenAlgo protocol)\n\
         http    http://{}  (/readyz /v1/status /metrics)\n\
         key     {key}\n\
         a tick  tickgate tail NSE:RELIANCE NSE_INDEX:NIFTY   (in this directory)",
        env!("CARGO_PKG_VERSION"),
        run.feed,
        run.http,
    );
}

fn shown(path: &Path) -> String {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
