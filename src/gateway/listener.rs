//! The feed port: accepts connections, bounds their number, hands each to a shard, and ends
//! them all in order. Reads and writes nothing itself; even the handshake is a shard's.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant};

use crate::clock::Clock;
use crate::gateway::auth::ConsumerKeys;
use crate::gateway::connection::outbox::Counts;
use crate::gateway::handshake::Full;
use crate::gateway::origin::HostRules;
use crate::gateway::settings::Settings;
use crate::gateway::shard::{self, Env, Order, Stats};
use crate::gateway::tls::accept::{self, Job};
use crate::hub::Hub;
use crate::market::master::MasterHandle;
use crate::telemetry::metrics::CONSUMERS_REFUSED;

/// Connections beyond a limit that are answered with a reason at the same time; more are
/// dropped.
const REFUSALS: usize = 256;
/// Waits after a failed accept (out of descriptors, as a rule), from and to.
const ACCEPT_BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How much longer than the grace time the shards' threads may take to end.
const JOIN_SLACK: Duration = Duration::from_millis(500);

/// What the feed port needs.
pub struct Deps {
    /// Limits, time-outs, names.
    pub settings: Settings,
    /// Bound already, so that the caller can say what is wrong with the address.
    pub listener: std::net::TcpListener,
    /// Where ticks come from.
    pub hub: Hub,
    /// What names mean; may still be empty.
    pub master: MasterHandle,
    /// Who may come in.
    pub keys: ConsumerKeys,
    /// The broker's name, as answers carry it.
    pub broker: String,
    /// For answers to pings and for the latency histogram.
    pub clock: Arc<dyn Clock>,
    /// How the port does TLS; `None`: not at all.
    pub tls: Option<Arc<ServerConfig>>,
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Consumers connected now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consumers {
    /// All of them.
    pub count: usize,
    /// Those that get the latest values only, because they do not read fast enough.
    pub slow: usize,
}

/// Counts the consumers of a running feed port, for as long as somebody asks. Holds nothing open.
#[derive(Clone)]
pub struct Census(Vec<Arc<Stats>>);

impl fmt::Debug for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Census").field(&self.take()).finish()
    }
}

impl Census {
    /// The consumers connected now.
    pub fn take(&self) -> Consumers {
        self.0.iter().fold(Consumers::default(), |sum, stats| {
            let (count, slow) = stats.consumers();
            Consumers { count: sum.count + count, slow: sum.slow + slow }
        })
    }
}

/// The running feed port. Dropping it ends all connections without a word; see
/// [`Self::stop`].
pub struct GatewayHandle {
    addr: SocketAddr,
    acceptor: AbortHandle,
    shards: Vec<ShardHandle>,
    /// Ends when the acceptor and every shard's thread have.
    ended: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

impl fmt::Debug for GatewayHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayHandle").field("addr", &self.addr).finish_non_exhaustive()
    }
}

struct ShardHandle {
    orders: mpsc::UnboundedSender<Order>,
    stats: Arc<Stats>,
    load: Arc<AtomicUsize>,
}

/// Starts the feed port. Must be called inside a Tokio runtime, which accepts connections;
/// the shards have threads of their own.
///
/// # Errors
/// The listener cannot be used, or a thread cannot be started.
pub fn start(deps: Deps) -> io::Result<GatewayHandle> {
    let Deps { settings, listener, hub, master, keys, broker, clock, tls } = deps;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    let rules = HostRules::new(&settings.feed_listen, &settings.allowed_hosts, &settings.allowed_origins);
    let shards = settings.shard_count();
    let admission = Admission::new(settings.max_consumers, settings.max_consumers_per_address);
    let handshake_timeout = settings.handshake_timeout();
    let env = Arc::new(Env { settings, rules, hub, master, keys, broker, clock, shards });
    let (ended_tx, ended) = mpsc::channel(1);
    let shards = (0..shards)
        .map(|number| {
            let (orders, inbox) = mpsc::unbounded_channel();
            let stats = Arc::<Stats>::default();
            let runtime = shard::new_runtime()?;
            let (env, shard_stats, ended) = (Arc::clone(&env), Arc::clone(&stats), ended_tx.clone());
            std::thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
                shard::run(runtime, &env, inbox, &shard_stats);
                drop(ended);
            })?;
            Ok(ShardHandle { orders, stats, load: Arc::default() })
        })
        .collect::<io::Result<Vec<_>>>()?;
    let places =
        shards.iter().map(|s| Place { orders: s.orders.clone(), load: Arc::clone(&s.load) }).collect();
    let handshakes =
        tls.map(|tls| Handshakes::start(tls, handshake_timeout, ended_tx.clone())).transpose()?;
    let encrypted = handshakes.is_some();
    let acceptor = tokio::spawn(async move {
        accept_all(listener, places, admission, handshakes).await;
        drop(ended_tx);
    })
    .abort_handle();
    tracing::info!(%addr, shards = shards.len(), tls = encrypted, "feed port open");
    Ok(GatewayHandle { addr, acceptor, shards, ended: ended.into() })
}

impl GatewayHandle {
    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// For whoever wants to know how many consumers there are, and must not keep the port from
    /// being stopped.
    pub fn census(&self) -> Census {
        Census(self.shards.iter().map(|shard| Arc::clone(&shard.stats)).collect())
    }

    /// Exact counts since the start, of all shards. A shard adds to them once per turn.
    pub fn counts(&self) -> Counts {
        self.shards.iter().fold(Counts::default(), |sum, shard| {
            let counts = shard.stats.counts();
            Counts {
                frames: sum.frames + counts.frames,
                binary_frames: sum.binary_frames + counts.binary_frames,
                conflated: sum.conflated + counts.conflated,
                throttled: sum.throttled + counts.throttled,
                writes: sum.writes + counts.writes,
                bytes_written: sum.bytes_written + counts.bytes_written,
                bytes_copied: sum.bytes_copied + counts.bytes_copied,
                turns: sum.turns + counts.turns,
            }
        })
    }

    /// Bytes that wait for consumers whose sockets are full, of all shards: what
    /// `gateway.overflow_total_bytes` bounds.
    pub fn waiting_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.stats.waiting_bytes()).sum()
    }

    /// Stops accepting, closes every consumer with 1001, and returns when they are gone or
    /// `grace` is over.
    pub async fn stop(&self, grace: Duration) {
        // The listener goes with the task.
        self.acceptor.abort();
        let deadline = Instant::now() + grace;
        for shard in &self.shards {
            // A shard that is gone has no consumers.
            let _ = shard.orders.send(Order::Stop(deadline));
        }
        // Nothing is ever sent: this ends with the last thread.
        let ended = async { self.ended.lock().await.recv().await };
        if tokio::time::timeout_at(deadline + JOIN_SLACK, ended).await.is_err() {
            tracing::warn!("a shard did not end in time");
        }
    }

    /// Makes every shard fail.
    #[cfg(test)]
    pub(crate) fn panic_shards(&self) {
        for shard in &self.shards {
            let _ = shard.orders.send(Order::Panic);
        }
    }
}

impl Drop for GatewayHandle {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// Where connections can go.
struct Place {
    orders: mpsc::UnboundedSender<Order>,
    /// Connections it has.
    load: Arc<AtomicUsize>,
}

/// The thread that does TLS handshakes.
struct Handshakes {
    jobs: mpsc::Sender<Job>,
    timeout: Duration,
}

impl Handshakes {
    fn start(tls: Arc<ServerConfig>, timeout: Duration, ended: mpsc::Sender<()>) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel(accept::WAITING);
        let runtime = shard::new_runtime()?;
        std::thread::Builder::new().name("tls".to_owned()).spawn(move || {
            accept::run(&runtime, &tls, inbox);
            drop(ended);
        })?;
        Ok(Self { jobs, timeout })
    }
}

async fn accept_all(
    listener: TcpListener,
    places: Vec<Place>,
    admission: Arc<Admission>,
    handshakes: Option<Handshakes>,
) {
    let mut wait = ACCEPT_BACKOFF.0;
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) if concerns_one_connection(&e) => continue,
            Err(error) => {
                // The consumers that are connected go on.
                tracing::error!(%error, "connections cannot be accepted");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(ACCEPT_BACKOFF.1);
                continue;
            }
        };
        wait = ACCEPT_BACKOFF.0;
        let living = places.iter().filter(|p| !p.orders.is_closed());
        let Some(place) = living.min_by_key(|p| p.load.load(Ordering::Relaxed)) else {
            tracing::error!(%peer, "no shard is left to serve a consumer");
            continue;
        };
        let Some((admitted, full)) = admission.admit(peer.ip(), &place.load) else {
            metrics::counter!(CONSUMERS_REFUSED, "reason" => "overload").increment(1);
            continue;
        };
        // Off this runtime's reactor; the shard has its own.
        match socket.into_std() {
            Ok(socket) => {
                let (since, orders) = (Instant::now(), &place.orders);
                let Some(Handshakes { jobs, timeout }) = &handshakes else {
                    let _ = orders.send(Order::Accept { socket, tls: None, peer, full, admitted, since });
                    continue;
                };
                let (orders, until) = (orders.clone(), since + *timeout);
                if jobs.try_send(Job { socket, peer, full, admitted, since, until, orders }).is_err() {
                    metrics::counter!(CONSUMERS_REFUSED, "reason" => "overload").increment(1);
                }
            }
            Err(error) => tracing::warn!(%error, %peer, "a connection could not be handed over"),
        }
    }
}

fn concerns_one_connection(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(e.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Bounds the number of connections.
#[derive(Debug)]
struct Admission {
    max: usize,
    max_per_address: usize,
    counts: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    total: usize,
    refusals: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Admission {
    fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, counts: Mutex::default() })
    }

    /// Touched when a connection begins and ends.
    fn counts(&self) -> MutexGuard<'_, Places> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection, with the reason if it can only be told that it is refused;
    /// `None`: not even that.
    fn admit(self: &Arc<Self>, address: IpAddr, load: &Arc<AtomicUsize>) -> Option<(Admitted, Option<Full>)> {
        // Behind a proxy on this machine stand many users; it is bounded as a whole.
        let address = Some(address.to_canonical()).filter(|a| !a.is_loopback());
        let mut counts = self.counts();
        let of_address = address.and_then(|a| counts.by_address.get(&a).copied()).unwrap_or(0);
        let full = if counts.total >= self.max {
            Some(Full::Server)
        } else if of_address >= self.max_per_address {
            Some(Full::Address)
        } else {
            None
        };
        if full.is_none() {
            counts.total += 1;
            if let Some(address) = address {
                *counts.by_address.entry(address).or_default() += 1;
            }
        } else if counts.refusals < REFUSALS {
            counts.refusals += 1;
        } else {
            return None;
        }
        drop(counts);
        load.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted {
            admission: Arc::clone(self),
            load: Arc::clone(load),
            address,
            refused: full.is_some(),
        };
        Some((admitted, full))
    }
}

/// A connection's place, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    load: Arc<AtomicUsize>,
    /// The address it counts for.
    address: Option<IpAddr>,
    refused: bool,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
        let mut counts = self.admission.counts();
        if self.refused {
            counts.refusals -= 1;
            return;
        }
        counts.total -= 1;
        if let Some(address) = self.address
            && let Some(of_address) = counts.by_address.get_mut(&address)
        {
            *of_address -= 1;
            if *of_address == 0 {
                counts.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_in_all_and_per_address() {
        let admission = Admission::new(4, 2);
        let load = Arc::<AtomicUsize>::default();
        let admit = |address: &str| admission.admit(address.parse().unwrap(), &load).unwrap();
        let first = admit("192.0.2.1");
        let second = admit("::ffff:192.0.2.1");
        assert_eq!((first.1, second.1), (None, None));
        let third = admit("192.0.2.1");
        assert_eq!(third.1, Some(Full::Address), "however the address is written");
        drop(second);
        drop(third);
        let again = admit("192.0.2.1");
        assert_eq!(again.1, None);
        let local = [admit("127.0.0.1"), admit("127.0.0.1")];
        assert!(local.iter().all(|(_, full)| full.is_none()), "loopback counts in all only");
        assert_eq!(admit("::1").1, Some(Full::Server));
        assert_eq!(load.load(Ordering::Relaxed), 4);
        drop((first, again, local));
        assert_eq!(load.load(Ordering::Relaxed), 0);
        let counts = admission.counts();
        assert_eq!((counts.total, counts.refusals, counts.by_address.len()), (0, 0, 0));
    }

    #[test]
    fn refusing_is_bounded_too() {
        let admission = Admission::new(0, 1);
        let load = Arc::default();
        let refused: Vec<_> =
            (0..REFUSALS).map(|_| admission.admit("192.0.2.1".parse().unwrap(), &load).unwrap()).collect();
        assert!(admission.admit("192.0.2.1".parse().unwrap(), &load).is_none());
        drop(refused);
        assert!(admission.admit("192.0.2.1".parse().unwrap(), &load).is_some());
    }
}
