//! Wires everything and stops it in order. Holds no logic of its own.

mod banner;
mod brokers;
mod control;
mod desk;
mod exposure;
mod run_file;
mod sessions;

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use run_file::RunFile;
use tracing::{error, info, warn};

use crate::app::control::Adapter;
use crate::app::desk::Brokers;
use crate::app::sessions::Sessions;
use crate::broker;
use crate::clock::{Clock, SystemClock};
use crate::config::Loaded;
use crate::gateway;
use crate::gateway::auth::{ConsumerKeys, LocalKey};
use crate::gateway::tls::Identity;
use crate::hub::{FeedId, Hub};
use crate::market::{Calendar, MasterHandle, calendar};
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
    /// An account's broker client could not be made.
    #[error("account {account}: {source}")]
    Broker {
        /// Whose.
        account: String,
        /// Why.
        source: broker::Error,
    },
    /// The simulated broker does not have an account for each of ours.
    #[error("the simulated broker has {has} of the {needed} accounts that are configured")]
    DemoAccounts {
        /// What it has.
        has: usize,
        /// What it would take.
        needed: usize,
    },
    /// The simulated broker could not be started.
    #[error(transparent)]
    Sim(#[from] crate::sim::Error),
    /// The certificate cannot be used.
    #[error("gateway.{key}: {0}", key = .0.key)]
    Tls(#[from] gateway::tls::Error),
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
            Self::Tls(_) => true,
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
    run_on(Arc::new(SystemClock), loaded, shutdown).await
}

/// The same on another clock, so that days can be tried in minutes.
///
/// # Errors
/// [`Error`] if it cannot start; nothing is left running then.
pub async fn run_on(
    clock: Arc<dyn Clock>,
    loaded: Loaded,
    shutdown: impl Future<Output = ()>,
) -> Result<Outcome, Error> {
    let Loaded { config, secrets, .. } = loaded;
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

    // Before anybody asks when a market trades, the simulator included.
    calendar::install(config.special_days.clone());
    let (upstreams, sim) = brokers::open(&config, &secrets, &clock).await?;
    let broker_name = config.kind().name();
    // What the accounts share, made before any of them starts: the hub knows how many feeds there will be, and
    // instruments come from whichever account can list them.
    let hub = Hub::with_clock(broker_name, Arc::clone(&clock));
    hub.set_feeds(upstreams.len());
    hub.keep(config.gateway.replay_messages, config.gateway.replay_total_bytes);
    let capacities: Vec<_> = upstreams.iter().map(|u| u.broker.limits().max_subscriptions).collect();
    let spread = session::Spread::new(&capacities);
    let master = MasterHandle::new();
    let calendar = if config.always_open() { Calendar::always_open() } else { Calendar::installed() };

    let identity = config.gateway.tls_files().map(Identity::open).transpose()?;
    let tls = identity.as_ref().map(Identity::config).transpose().map_err(|e| start("TLS", e))?;
    exposure::warn(&config, [&feed_listener, &http_listener], &keys);

    let feed_port = gateway::start(gateway::Deps {
        settings: config.gateway.clone(),
        listener: feed_listener,
        hub: hub.clone(),
        master: master.clone(),
        keys: keys.clone(),
        broker: broker_name.to_owned(),
        clock: Arc::clone(&clock),
        tls: tls.clone().map(Arc::new),
    })
    .map_err(|e| start("feed port", e))?;

    // None waits for another: a session logs in after its start, in its own time.
    let sessions = Sessions::new((0..).map(FeedId).zip(upstreams).map(|(feed, upstream)| {
        session::start(session::Deps {
            account: upstream.name,
            broker: upstream.broker,
            tokens: tokens.at_broker(broker_name),
            ledger: ledger.clone(),
            audit: audit.clone(),
            feed,
            spread: spread.clone(),
            hub: hub.clone(),
            master: master.clone(),
            calendar,
            clock: Arc::clone(&clock),
            data_dir: config.data_dir.clone(),
            settings: config.session.clone(),
            orders: config.orders.clone(),
            seed: rand::random(),
        })
    }));
    let keeper = session::keep_master(&sessions.handles());
    let control = Arc::new(Adapter {
        broker: broker_name.to_owned(),
        sessions: sessions.clone(),
        master: keeper.clone(),
        names: master.clone(),
        tokens,
        census: feed_port.census(),
        calendar,
        clock: Arc::clone(&clock),
    });
    let http = gateway::http::start(
        http_listener,
        gateway::http::Deps {
            control,
            desk: Arc::new(Brokers { sessions: sessions.clone() }),
            masters: master,
            calendar,
            broker: broker_name.to_owned(),
            keys,
            audit,
            prometheus,
            settings: config.gateway.clone(),
            clock: Arc::clone(&clock),
            tls,
        },
    )
    .map_err(|e| start("HTTP port", e))?;
    let certificate = identity.map(|identity| tokio::spawn(identity.watch()));

    let run_file = RunFile {
        pid: std::process::id(),
        feed: feed_port.addr(),
        http: http.addr(),
        certificate: config.gateway.tls_files().map(|files| absolute(files.cert)),
        sim: sim.as_ref().map(SimServer::addr),
    };
    if let Err(error) = run_file.write(&config.data_dir) {
        warn!(%error, "cannot write run.json; commands will not find this server");
    }
    banner::print(&config, &run_file, &local);

    let outcome = tokio::select! {
        () = shutdown => Outcome::Stopped,
        () = sessions.all_failed() => Outcome::GaveUp,
        () = feed_port.failed() => Outcome::GaveUp,
    };
    if outcome == Outcome::GaveUp {
        error!("giving up after repeated internal failures");
    }
    if let Some(certificate) = certificate {
        certificate.abort();
    }
    // Consumers early, so that they learn of it; the store last.
    http.stop().await;
    feed_port.stop(SHUTDOWN_GRACE).await;
    keeper.stop();
    sessions.stop().await;
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

/// As other processes find it, which run elsewhere.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn listen(address: &str, key: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).map_err(|source| Error::Listen { address: address.to_owned(), key, source })
}
