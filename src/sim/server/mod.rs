//! The simulated broker on a port, with a thread of its own. Holds no rule; those are `core`.

mod away;
mod control;
mod payload;
mod polling;
mod rest;
mod socket;

use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::{App, HttpServer, web};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep};

use crate::clock::{Clock, UnixNanos};
use crate::sim::accounts::{DemoAccount, DemoKeys};
use crate::sim::core::{Core, Out, SocketId, Spec};
use crate::sim::market::{Capture, CaptureError};
use crate::sim::scenario::{Scenario, ScenarioError};
use crate::sim::settings::{Prices, Settings};
use crate::sim::state::StateFile;
use crate::sim::truth::{Recording, Sinks};

/// The longest the market sleeps: also how soon a control or an expiry is noticed.
const IDLE: Duration = Duration::from_millis(20);

/// Shortest sleep of a walk, whose moments nobody measures; and of a replay, whose moments are
/// the point of it.
const WALK_QUANTUM: Duration = Duration::from_millis(10);
const REPLAY_QUANTUM: Duration = Duration::from_millis(1);

/// Bytes waiting for one socket beyond which the market stands still instead of dropping any.
const MAX_WAITING_BYTES: usize = 4 << 20;

/// How long it does so before that socket is given up.
const MAX_STANDSTILL: Duration = Duration::from_secs(5);

/// Why the simulated broker could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken, or may not be used.
    #[error("the simulated broker cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The state file cannot be read or written.
    #[error("cannot use the simulator's state file {}: {source}", path.display())]
    State {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The capture cannot be replayed.
    #[error("cannot replay {name}: {source}")]
    Replay {
        /// The file, or the built-in slice.
        name: String,
        /// Why not.
        source: CaptureError,
    },
    /// The scenario cannot be played.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The truth file cannot be written.
    #[error("cannot write the truth to {}: {source}", path.display())]
    Truth {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A setting is out of its range.
    #[error("sim.{key} {problem}")]
    Setting {
        /// Which.
        key: &'static str,
        /// What it must be.
        problem: String,
    },
    /// The thread did not start.
    #[error("cannot start the simulator's thread: {0}")]
    Thread(std::io::Error),
}

/// A running simulated broker. It ends when this is dropped.
pub struct SimServer {
    address: SocketAddr,
    accounts: Vec<DemoAccount>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for SimServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl SimServer {
    /// Starts the broker on `listen`. With a state file, sessions of an earlier process live
    /// on; and if `listen` has port 0, the port of that process is taken again if it is free,
    /// so that what clients remember of the broker's address stays true.
    ///
    /// # Errors
    /// If a setting is out of range, the capture or the state file cannot be read, or the port
    /// cannot be used.
    pub async fn start(
        settings: Settings,
        listen: SocketAddr,
        state_file: Option<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        if let Some((key, problem)) = settings.problems().into_iter().next() {
            return Err(Error::Setting { key, problem });
        }
        let capture = load_capture(&settings).await?;
        let (file, saved) = match &state_file {
            Some(path) => {
                let opened =
                    StateFile::open(path).map_err(|source| Error::State { path: path.clone(), source });
                opened.map(|(file, saved)| (Some(file), saved))?
            }
            None => (None, None),
        };
        let quantum = if capture.is_some() { REPLAY_QUANTUM } else { WALK_QUANTUM };
        let mut core = Core::start(settings.clone(), saved, rand::random(), capture, clock.now());
        let listener = bind(listen, core.port())?;
        let address = listener.local_addr().map_err(|source| Error::Listen { address: listen, source })?;
        core.set_port(address.port());
        let accounts = core.demo_accounts();

        let truth = match &settings.truth_file {
            path if path.as_os_str().is_empty() => Sinks::default(),
            path => {
                core.note_truth();
                Sinks::open(path).map_err(|source| Error::Truth { path: path.clone(), source })?
            }
        };
        if !settings.scenario.is_empty() {
            let scenario = Scenario::load(&settings.scenario)?;
            core.play(scenario, clock.now())
                .map_err(|problem| ScenarioError::Wrong { name: settings.scenario.clone(), problem })?;
        }
        let locked = Locked { core, links: HashMap::new(), next_socket: 1, truth };
        let shared = Arc::new(Shared {
            locked: Mutex::new(locked),
            polling: Mutex::default(),
            file: Mutex::new(file),
            clock,
            settings,
        });
        shared.save().map_err(|source| Error::State { path: state_file.unwrap_or_default(), source })?;

        let ours = Arc::clone(&shared);
        let (stop, stopped) = oneshot::channel();
        let (started, ready) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("tickgate-sim".to_owned())
            .spawn(move || {
                actix_web::rt::System::new().block_on(serve(shared, listener, quantum, started, stopped));
            })
            .map_err(Error::Thread)?;
        match ready.await {
            Ok(Ok(())) => {}
            Ok(Err(source)) => return Err(Error::Listen { address, source }),
            Err(_) => return Err(Error::Thread(std::io::Error::other("it ended at once"))),
        }
        tracing::info!(%address, "simulated broker listens");
        Ok(Self { address, accounts, stop: Some(stop), thread: Some(thread), shared: ours })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The keys that log in to its first account.
    pub fn credentials(&self) -> DemoKeys {
        self.accounts.first().map(|a| a.keys.clone()).unwrap_or_default()
    }

    /// Every account with its keys, the first one first.
    pub fn all_credentials(&self) -> Vec<DemoAccount> {
        self.accounts.clone()
    }

    /// Begins a fault, as `POST /__sim/fault` does. Returns its number.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn begin_fault(&self, fault: &serde_json::Value) -> Result<u64, String> {
        let spec = Spec::parse(fault)?;
        self.shared.change(|core, now| core.begin_fault(spec, now))
    }

    /// Ends every fault that is in force. Returns how many there were.
    pub fn clear_faults(&self) -> usize {
        self.shared.change(|core, now| core.clear_faults(None, now))
    }

    /// What is in force, as `GET /__sim/faults` shows it.
    pub fn faults(&self) -> serde_json::Value {
        self.shared.with(|core, now| core.faults_in_force(now))
    }

    /// Plays a scenario from now on, instead of one that is being played.
    ///
    /// # Errors
    /// If a step names no account of this broker.
    pub fn play(&self, scenario: Scenario) -> Result<(), String> {
        self.shared.with(|core, now| core.play(scenario, now))
    }

    /// Notes from now on what is really sent and done; at most `most` wait to be taken, the
    /// oldest go.
    pub fn record_truth(&self, most: usize) -> Recording {
        let recording = Recording::new(most);
        let mut locked = lock(&self.shared.locked);
        locked.core.note_truth();
        locked.truth.record(recording.clone());
        recording
    }

    /// Stops it and waits for its end. Sockets break off.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there was reported by the panic hook already.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// `tickgate sim`: runs the broker alone until `shutdown` resolves. `started` is called once it
/// listens, to tell where and with which keys.
///
/// # Errors
/// As [`SimServer::start`].
pub async fn run_alone(
    settings: Settings,
    listen: Option<SocketAddr>,
    state_file: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    started: impl FnOnce(&SimServer),
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let listen = listen.unwrap_or(settings.listen);
    let server = SimServer::start(settings, listen, state_file, clock).await?;
    started(&server);
    shutdown.await;
    server.stop().await;
    Ok(())
}

async fn load_capture(settings: &Settings) -> Result<Option<Capture>, Error> {
    if settings.prices != Prices::Replay {
        return Ok(None);
    }
    let path = settings.replay_file.clone();
    let name = if path.as_os_str().is_empty() {
        "the built-in capture".to_owned()
    } else {
        path.display().to_string()
    };
    let loading = tokio::task::spawn_blocking(move || {
        if path.as_os_str().is_empty() { Capture::built_in() } else { Capture::read(&fs::read(&path)?) }
    });
    match loading.await {
        Ok(Ok(capture)) => {
            tracing::info!(name, messages = capture.len(), "replaying a capture");
            Ok(Some(capture))
        }
        Ok(Err(source)) => Err(Error::Replay { name, source }),
        Err(error) => Err(Error::Replay { name, source: CaptureError::Io(std::io::Error::other(error)) }),
    }
}

/// Binds `listen`; if it leaves the port open, the `former` one is preferred.
fn bind(listen: SocketAddr, former: u16) -> Result<TcpListener, Error> {
    if listen.port() == 0 && former != 0 {
        if let Ok(listener) = TcpListener::bind(SocketAddr::new(listen.ip(), former)) {
            return Ok(listener);
        }
        tracing::info!(port = former, "the simulated broker's former port is taken; another is used");
    }
    TcpListener::bind(listen).map_err(|source| Error::Listen { address: listen, source })
}

async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    quantum: Duration,
    started: oneshot::Sender<std::io::Result<()>>,
    stopped: oneshot::Receiver<()>,
) {
    let data = web::Data::from(Arc::clone(&shared));
    let server =
        HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(rest::dispatch)))
            .workers(1)
            .on_connect(away::remember)
            .tcp_nodelay(true)
            .disable_signals()
            .shutdown_timeout(1)
            .listen(listener);
    let server = match server {
        Ok(server) => server.run(),
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let handle = server.handle();
    let mut running = actix_web::rt::spawn(server);
    let _ = started.send(Ok(()));
    tokio::select! {
        result = &mut running => tracing::error!(?result, "the simulated broker's server ended"),
        () = run_market(&shared, quantum) => {}
        // Also when the owner is dropped.
        _ = stopped => {
            handle.stop(false).await;
            let _ = running.await;
        }
    }
}

/// Moves the market and hands out what sockets get, forever.
async fn run_market(shared: &Shared, quantum: Duration) {
    loop {
        let wait = shared.with(Core::advance);
        shared.wait_for_room().await;
        match wait {
            Some(Duration::ZERO) => tokio::task::yield_now().await,
            Some(wait) => sleep(wait.clamp(quantum, IDLE)).await,
            None => sleep(IDLE).await,
        }
    }
}

/// What requests, sockets and the market share.
struct Shared {
    locked: Mutex<Locked>,
    /// Never held together with another.
    polling: Mutex<polling::Sessions>,
    /// Taken before `locked`, so that states are written in the order they came about.
    file: Mutex<Option<StateFile>>,
    clock: Arc<dyn Clock>,
    settings: Settings,
}

struct Locked {
    core: Core,
    links: HashMap<SocketId, Link>,
    next_socket: SocketId,
    truth: Sinks,
}

/// The way to a socket's task.
#[derive(Clone)]
struct Link {
    frames: mpsc::UnboundedSender<Out>,
    /// Bytes handed over and not yet sent. Bounded by `wait_for_room`.
    waiting: Arc<AtomicUsize>,
    /// Ends the task whatever it waits for.
    given_up: Arc<Notify>,
    /// Nothing is read from it any more.
    frozen: Arc<Notify>,
}

impl Link {
    /// Hands something over. If the task has ended, it forgets the socket by itself.
    fn send(&self, out: Out) {
        self.waiting.fetch_add(size(&out), Ordering::Relaxed);
        let _ = self.frames.send(out);
    }

    /// Something was taken from it.
    fn sent(&self, out: &Out) {
        self.waiting.fetch_sub(size(out), Ordering::Relaxed);
    }
}

fn size(out: &Out) -> usize {
    match out {
        Out::Text(text) => text.len(),
        Out::Binary(bytes) => bytes.len(),
        Out::Close { .. } | Out::Freeze => 0,
    }
}

impl Shared {
    /// A way to a socket that is about to be opened.
    fn new_link(&self, frames: mpsc::UnboundedSender<Out>) -> (SocketId, Link) {
        let link = Link { frames, waiting: Arc::default(), given_up: Arc::default(), frozen: Arc::default() };
        let mut locked = lock(&self.locked);
        let id = locked.next_socket;
        locked.next_socket += 1;
        locked.links.insert(id, link.clone());
        (id, link)
    }

    /// Asks the core, and sends what comes of it. What changes the saved state goes through
    /// [`Self::change`].
    fn with<R>(&self, ask: impl FnOnce(&mut Core, UnixNanos) -> R) -> R {
        let mut locked = lock(&self.locked);
        let answer = ask(&mut locked.core, self.clock.now());
        locked.deliver();
        answer
    }

    /// Like `with`, and the new state is on disk when this returns.
    fn change<R>(&self, ask: impl FnOnce(&mut Core, UnixNanos) -> R) -> R {
        let answer = self.with(ask);
        if let Err(error) = self.save() {
            tracing::error!(%error, "the simulator's state cannot be written; a restart will forget its sessions");
        }
        answer
    }

    fn save(&self) -> std::io::Result<()> {
        let file = lock(&self.file);
        let saved = lock(&self.locked).core.take_saved();
        match (&*file, saved) {
            (Some(file), Some(saved)) => file.write(&serde_json::to_string(&saved)?),
            _ => Ok(()),
        }
    }

    /// Waits while a socket does not take what it is sent. One that takes nothing for too long
    /// is given up.
    async fn wait_for_room(&self) {
        let mut since = None;
        loop {
            let full: Vec<_> = {
                let locked = lock(&self.locked);
                let full = locked
                    .links
                    .iter()
                    .filter(|(_, l)| l.waiting.load(Ordering::Relaxed) > MAX_WAITING_BYTES);
                full.map(|(&id, link)| (id, Arc::clone(&link.given_up))).collect()
            };
            if full.is_empty() {
                return;
            }
            if since.get_or_insert_with(Instant::now).elapsed() > MAX_STANDSTILL {
                for (id, given_up) in full {
                    tracing::warn!(socket = id, "a client takes nothing; its socket is closed");
                    given_up.notify_one();
                    self.forget(id);
                }
                return;
            }
            sleep(REPLAY_QUANTUM).await;
        }
    }

    fn forget(&self, id: SocketId) {
        let mut locked = lock(&self.locked);
        locked.links.remove(&id);
        locked.core.close_socket(id);
        locked.deliver();
    }
}

impl Locked {
    fn deliver(&mut self) {
        for (id, out) in self.core.take_outbox() {
            let Some(link) = self.links.get(&id) else { continue };
            if out == Out::Freeze {
                link.frozen.notify_one();
            }
            link.send(out);
        }
        let notes = self.core.take_notes();
        if !notes.is_empty() {
            self.truth.put(notes);
        }
    }
}

/// A panic elsewhere leaves the data as it was before or after one whole request.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
