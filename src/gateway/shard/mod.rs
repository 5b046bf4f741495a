//! One shard: a thread that owns its share of the consumers, their sockets included. Reads
//! what they say, gives them what the hub publishes. Here is the event loop; the parts are in
//! `reading`, `writing`, `ending`, `commands` (the protocol's meaning), `introducing`,
//! `renaming`, `resuming` and `fanout`.
//!
//! One poll loop instead of a task per connection: the sockets' wakers put a connection on a
//! list ([`ready`]), so an idle consumer costs no task, no buffer and no lock.

mod commands;
mod consumer;
mod ending;
mod fanout;
mod introducing;
#[cfg(test)]
mod model_tests;
mod order_stream;
mod owed;
mod pacing;
mod reading;
mod ready;
mod renaming;
mod resuming;
mod stats;
mod telling;
mod timers;
mod topics;
pub(crate) mod turn;
mod writing;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use rustls::ServerConnection;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant};

use crate::clock::{Clock, UnixNanos};
use crate::gateway::auth::ConsumerKeys;
use crate::gateway::connection::tls::TlsSocket;
use crate::gateway::connection::wire::Transport;
use crate::gateway::handshake::Full;
use crate::gateway::listener::Admitted;
use crate::gateway::origin::HostRules;
use crate::gateway::settings::Settings;
use crate::gateway::shard::consumer::Consumer;
use crate::gateway::shard::fanout::{Fanout, Overflow};
use crate::gateway::shard::ready::{Flag, Ready};
use crate::gateway::shard::stats::Reporter;
use crate::gateway::shard::timers::Timers;
use crate::hub::{Batch, Hub, ShardEvent, ShardQueue};
use crate::market::master::MasterHandle;
use crate::protocol::close::CloseReason;
use crate::telemetry::metrics::ACTOR_RESTARTS;

pub(crate) use stats::Stats;

/// The one read buffer of a shard.
const READ_BYTES: usize = 64 << 10;
/// Connections that are taken over in one turn.
const ORDERS: usize = 32;
/// What is delivered together, if so much waits.
const TURN_BYTES: usize = 2 << 20;
const TURN_BATCHES: usize = 64;
/// Turns after which the reactor is asked, however much waits to be delivered.
const TURNS_WITHOUT_REACTOR: u32 = 4;
/// Between the end of a shard that panicked and the next one.
const RESTART_DELAY: Duration = Duration::from_millis(100);

/// What every shard works with.
pub(crate) struct Env {
    pub(crate) settings: Settings,
    pub(crate) rules: HostRules,
    pub(crate) hub: Hub,
    pub(crate) master: MasterHandle,
    pub(crate) keys: ConsumerKeys,
    pub(crate) broker: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) shards: usize,
}

/// What a shard is told by the listener.
pub(crate) enum Order {
    /// Serve this connection.
    Accept {
        /// Non-blocking.
        socket: std::net::TcpStream,
        /// The handshake is done.
        tls: Option<Box<ServerConnection>>,
        peer: SocketAddr,
        /// There is no room; say so.
        full: Option<Full>,
        admitted: Admitted,
        /// When the connection was made.
        since: Instant,
    },
    /// Close every connection, and end when they have, or at this time.
    Stop(Instant),
    /// Fail.
    #[cfg(test)]
    Panic,
}

/// Runs shards on this thread, one after the other if one panics, until told to stop.
pub(crate) fn run(
    mut runtime: Runtime,
    env: &Env,
    mut orders: mpsc::UnboundedReceiver<Order>,
    stats: &Stats,
) {
    loop {
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let shard = Shard::new(env, stats);
            runtime.block_on(tokio::task::unconstrained(shard.serve(&mut orders)));
        }));
        // The panic hook has written the message and the place. The unwinding dropped the
        // sockets, the topics held at the hub and the consumers' places at the listener.
        let Err(_) = ended else { return };
        tracing::error!("a shard panicked: its consumers were closed, it is made anew");
        metrics::counter!(ACTOR_RESTARTS, "actor" => "shard").increment(1);
        runtime = match new_runtime() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "a shard cannot be made anew");
                return;
            }
        };
        runtime.block_on(async { tokio::time::sleep(RESTART_DELAY).await });
    }
}

/// The next event, or between flushes that it is time for one.
async fn next_wake(queue: &mut ShardQueue, flushing: bool) -> Wake {
    if flushing {
        return Wake::Event(queue.recv().await);
    }
    queue.woken().await;
    Wake::ReadyOrTime
}

/// The runtime of a shard: its thread, its reactor.
pub(crate) fn new_runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()
}

/// Why the shard woke up.
enum Wake {
    Event(ShardEvent),
    Order(Option<Order>),
    Keys,
    Master,
    ReadyOrTime,
}

struct Shard<'a> {
    env: &'a Env,
    fanout: Fanout<Transport, Consumer>,
    queue: ShardQueue,
    /// Moves with each instrument list.
    master: watch::Receiver<u64>,
    ready: Arc<Ready>,
    timers: Timers,
    reporter: Reporter<'a>,
    scratch: Vec<u8>,
    flags: Vec<Arc<Flag>>,
    batches: Vec<Arc<Batch>>,
    /// Connections that are to be told of states.
    telling: VecDeque<u32>,
    /// The time of this turn.
    now: Instant,
    /// Not before this are batches delivered.
    next_flush: Instant,
    next_id: u64,
    /// WebSockets, closing ones left out.
    open: usize,
    stop_at: Option<Instant>,
}

impl<'a> Shard<'a> {
    fn new(env: &'a Env, stats: &'a Stats) -> Self {
        let queue = env.hub.attach_shard();
        let overflow = Overflow {
            each_bytes: env.settings.overflow_bytes,
            total_bytes: env.settings.overflow_total_bytes / env.shards.max(1),
        };
        let now = Instant::now();
        Self {
            env,
            fanout: Fanout::new(env.hub.clone(), queue.id(), overflow, now),
            queue,
            master: env.master.changed(),
            ready: Arc::default(),
            timers: Timers::default(),
            reporter: Reporter::new(stats),
            scratch: vec![0; READ_BYTES],
            flags: Vec::new(),
            batches: Vec::new(),
            telling: VecDeque::new(),
            now,
            next_flush: now,
            next_id: 0,
            open: 0,
            stop_at: None,
        }
    }

    async fn serve(mut self, orders: &mut mpsc::UnboundedReceiver<Order>) {
        let mut keys = self.env.keys.changed();
        let timer = tokio::time::sleep_until(self.now);
        tokio::pin!(timer);
        let ready = Arc::clone(&self.ready);
        let mut turns = 0;
        loop {
            let flushing = self.now >= self.next_flush;
            let next = self.next_time(flushing);
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            let wake = tokio::select! {
                biased;
                wake = next_wake(&mut self.queue, flushing) => wake,
                () = ready.wait() => Wake::ReadyOrTime,
                order = orders.recv() => Wake::Order(order),
                Ok(()) = keys.changed() => Wake::Keys,
                Ok(()) = self.master.changed() => Wake::Master,
                () = &mut timer => Wake::ReadyOrTime,
            };
            self.now = Instant::now();
            self.fanout.now = self.now;
            let more = match wake {
                Wake::Event(event) => self.on_event(event),
                Wake::Order(Some(order)) => {
                    self.on_order(order);
                    false
                }
                // The gateway was dropped without being stopped.
                Wake::Order(None) => return,
                Wake::Keys => {
                    self.close_revoked();
                    false
                }
                Wake::Master => {
                    self.on_new_master();
                    false
                }
                Wake::ReadyOrTime => false,
            };
            // Batches come first above, so under full load nothing else may ever wake the
            // shard: whatever else there is has its turn now.
            for _ in 0..ORDERS {
                match orders.try_recv() {
                    Ok(order) => self.on_order(order),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => return,
                }
            }
            if keys.has_changed().unwrap_or(false) {
                keys.mark_unchanged();
                self.close_revoked();
            }
            self.look_at_master();
            self.serve_ready();
            self.serve_timers();
            self.tell_states();
            self.fanout.send_due();
            self.settle();
            let waiting = self.fanout.waiting_bytes();
            self.reporter.report(self.fanout.counts(), self.open, self.fanout.slow(), waiting);
            if self.stop_at.is_some_and(|at| self.fanout.count() == 0 || self.now >= at) {
                return;
            }
            turns += 1;
            if more || turns % TURNS_WITHOUT_REACTOR == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// When to wake up if nothing happens.
    fn next_time(&self, flushing: bool) -> Instant {
        const LONG: Duration = Duration::from_hours(1);
        let flush = (!flushing).then_some(self.next_flush);
        let due = self.fanout.next_due();
        let telling = (!self.telling.is_empty()).then_some(self.now);
        [flush, due, telling, self.timers.next(), self.stop_at]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.now + LONG)
    }

    /// Handles events up to a bound; whether more may wait.
    fn on_event(&mut self, first: ShardEvent) -> bool {
        let mut next = Some(first);
        let mut bytes = 0;
        let mut other = None;
        while let Some(event) = next {
            match event {
                ShardEvent::Batch(batch) => {
                    bytes += batch.bytes.len();
                    self.batches.push(batch);
                }
                event => {
                    other = Some(event);
                    break;
                }
            }
            if bytes >= TURN_BYTES || self.batches.len() >= TURN_BATCHES {
                break;
            }
            next = self.queue.try_recv();
        }
        let full = bytes >= TURN_BYTES || self.batches.len() >= TURN_BATCHES || other.is_some();
        self.deliver();
        match other {
            Some(ShardEvent::Rejected { instrument, part, message }) => {
                self.on_rejected(instrument, part, &message);
            }
            Some(ShardEvent::Order(update)) => self.on_order_update(&update),
            Some(ShardEvent::Standing(feed, segment)) => self.on_standing(feed, segment),
            Some(ShardEvent::Moved(instruments)) => self.on_moved(&instruments),
            Some(ShardEvent::Batch(_)) | None => {}
        }
        full
    }

    fn deliver(&mut self) {
        if self.batches.is_empty() {
            return;
        }
        // Before and not after: what was published since a list changed must not reach those who
        // hold a name for what it meant before.
        self.look_at_master();
        let mut batches = std::mem::take(&mut self.batches);
        let oldest = batches.iter().map(|b| b.oldest_recv).filter(|at| *at != UnixNanos::ZERO).min();
        self.fanout.deliver(batches.drain(..));
        self.batches = batches;
        if let Some(oldest) = oldest {
            self.reporter.latency(self.env.clock.now().since(oldest).as_secs_f64());
        }
        let interval = self.env.settings.flush_interval();
        self.next_flush = self.now + interval;
        if !interval.is_zero() {
            self.queue.rest_until(self.next_flush);
        }
    }

    fn on_order(&mut self, order: Order) {
        match order {
            Order::Accept { socket, tls, peer, full, admitted, since } => {
                if self.stop_at.is_none()
                    && let Err(error) = self.accept((socket, tls), (peer, since), full, admitted)
                {
                    tracing::warn!(%error, %peer, "a connection could not be taken over");
                }
            }
            Order::Stop(at) => {
                self.stop_at = Some(at);
                for slot in self.fanout.slots() {
                    match self.state(slot).map(|c| (c.is_open(), c.is_closing())) {
                        Some((true, _)) => self.close(slot, CloseReason::Shutdown),
                        Some((_, true)) | None => {}
                        Some(_) => self.remove(slot),
                    }
                }
            }
            #[cfg(test)]
            Order::Panic => panic!("a test wanted this"),
        }
    }

    fn accept(
        &mut self,
        (socket, tls): (std::net::TcpStream, Option<Box<ServerConnection>>),
        (peer, since): (SocketAddr, Instant),
        full: Option<Full>,
        admitted: Admitted,
    ) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let socket = TcpStream::from_std(socket)?;
        let id = self.next_id;
        self.next_id += 1;
        let (ready, settings) = (&self.ready, &self.env.settings);
        let wire = match tls {
            None => Transport::Plain(socket),
            Some(session) => Transport::Tls(Box::new(TlsSocket::new(socket, session))),
        };
        let slot = self.fanout.insert(wire, |slot| {
            Consumer::new(&Flag::new(slot, id, ready), peer, full, admitted, settings, since)
        });
        if let Some(member) = self.fanout.get_mut(slot) {
            member.wire.wake(&member.state.waker);
        }
        self.read(slot);
        self.arm(slot);
        Ok(())
    }

    fn state(&mut self, slot: u32) -> Option<&mut Consumer> {
        self.fanout.get_mut(slot).map(|member| &mut member.state)
    }

    fn serve_ready(&mut self) {
        let mut flags = std::mem::take(&mut self.flags);
        self.ready.take(&mut flags);
        for flag in flags.drain(..) {
            if self.state(flag.slot).is_none_or(|c| c.id != flag.id) {
                continue;
            }
            self.write_if_possible(flag.slot);
            self.read(flag.slot);
            self.arm(flag.slot);
        }
        self.flags = flags;
    }
}
