//! The simulated broker in memory: `core` behind the crate's `Broker` trait, without sockets.
//! Not a second set of rules: every answer is the core's own, in the wire's JSON and frames.
//!
//! Time is the injected clock's and tokio's alone, so that a paused clock runs it. The market
//! stands still unless a test pumps it: a year of nights costs seconds.

mod broker;
mod feeds;
mod reading;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::civil::Date;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};

pub(crate) use broker::{MemoryBroker, token_of};

use crate::clock::{Clock, UnixNanos};
use crate::market::calendar::ist_date;
use crate::sim::Settings;
use crate::sim::core::{Core, Out, SocketId};
use crate::sim::sessions;
use crate::token::Product;

/// Logins of an account and product on a day in India.
pub(crate) type LoginsByDay = BTreeMap<(usize, Product, Date), u32>;

/// A broker's server in memory. Clones are the same one.
#[derive(Clone)]
pub(crate) struct MemoryVenue {
    world: Arc<Mutex<World>>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    /// Wakes the keeper: when the next session ends may have changed.
    sessions_changed: Arc<Notify>,
}

struct World {
    core: Core,
    links: HashMap<SocketId, mpsc::UnboundedSender<Out>>,
    next_socket: SocketId,
    login_latency: Duration,
    request_latency: Duration,
    access_token: String,
    /// Logins asked for, whatever came of them.
    attempts: LoginsByDay,
    granted: LoginsByDay,
}

pub(super) const fn sim_product(product: Product) -> sessions::Product {
    match product {
        Product::Market => sessions::Product::Market,
        Product::Interactive => sessions::Product::Interactive,
    }
}

impl MemoryVenue {
    /// Starts one, within a tokio runtime. Its tokens are the same in every run with the same
    /// clock.
    pub(crate) fn start(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        assert_eq!(settings.problems(), []);
        let core = Core::start(settings.clone(), None, [7; 32], None, clock.now());
        let world = World {
            core,
            links: HashMap::new(),
            next_socket: 1,
            login_latency: Duration::ZERO,
            request_latency: Duration::ZERO,
            access_token: settings.access_token.clone(),
            attempts: BTreeMap::new(),
            granted: BTreeMap::new(),
        };
        let world = Arc::new(Mutex::new(world));
        let sessions_changed = Arc::new(Notify::new());
        let venue = Self { world, clock, settings, sessions_changed };
        venue.keep_time();
        venue
    }

    /// The broker as one account's adapter sees it; 0 is the first account.
    pub(crate) fn broker(&self, account: usize) -> MemoryBroker {
        MemoryBroker::new(self.clone(), account)
    }

    /// Asks the core anything or tells it to do something; what comes of it is delivered.
    pub(crate) fn with<R>(&self, ask: impl FnOnce(&mut Core, UnixNanos) -> R) -> R {
        let mut world = self.world();
        let answer = ask(&mut world.core, self.clock.now());
        world.deliver();
        drop(world);
        self.sessions_changed.notify_one();
        answer
    }

    /// How long every login takes.
    pub(crate) fn set_login_latency(&self, latency: Duration) {
        self.world().login_latency = latency;
    }

    /// How long every other call takes, handshakes included.
    pub(crate) fn set_request_latency(&self, latency: Duration) {
        self.world().request_latency = latency;
    }

    /// The text that interactive logins bring from now on, where the broker wants one.
    pub(crate) fn set_access_token(&self, token: &str) {
        token.clone_into(&mut self.world().access_token);
    }

    /// The broker goes away: sockets break off and calls fail with `Error::Network` for `down`.
    /// With `forget` all sessions are gone.
    pub(crate) fn restart(&self, down: Duration, forget: bool) {
        self.with(|core, now| core.restart(down, forget, None, now));
    }

    /// Sockets of all accounts break off, or get a goodbye. Returns how many there were.
    pub(crate) fn drop_sockets(&self, product: Option<Product>, clean: bool) -> usize {
        self.with(|core, _| core.drop_sockets(None, product.map(sim_product), clean))
    }

    /// Sockets that are open.
    pub(crate) fn sockets(&self, product: Product) -> usize {
        self.world().core.sockets_of(None, sim_product(product))
    }

    /// Lets the market catch up with the clock, by a quarter of a second at most.
    pub(crate) fn pump(&self) {
        self.with(Core::advance);
    }

    /// Pumps every `step` for `length`.
    pub(crate) async fn pump_for(&self, length: Duration, step: Duration) {
        let end = Instant::now() + length;
        while Instant::now() < end {
            self.pump();
            sleep(step).await;
        }
    }

    /// Sends what is subscribed and trades now once more. Cheaper than a pump by far, for
    /// clients that mistake a quiet market for a mute connection.
    pub(crate) fn pulse(&self) {
        self.with(Core::pulse);
    }

    /// Logins that were granted.
    pub(crate) fn logins(&self) -> LoginsByDay {
        self.world().granted.clone()
    }

    /// Logins that were asked for, whatever came of them.
    pub(crate) fn login_attempts(&self) -> LoginsByDay {
        self.world().attempts.clone()
    }

    /// The most logins that were in flight at once for one account's product.
    pub(crate) fn max_logins_in_flight(&self, product: Product) -> u32 {
        *self.world().core.max_in_flight().get(sim_product(product))
    }

    /// Requests with a token whose session had ended.
    pub(crate) fn dead_requests(&self) -> u64 {
        self.world().core.dead_and_repeated().0
    }

    /// Requests with a token that had been refused before.
    pub(crate) fn repeated_requests(&self) -> u64 {
        self.world().core.dead_and_repeated().1
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, granted: bool, account: usize, product: Product) {
        let day = ist_date(self.clock.now());
        let mut world = self.world();
        let list = if granted { &mut world.granted } else { &mut world.attempts };
        *list.entry((account, product, day)).or_default() += 1;
    }

    /// Ends sessions in their time, though nobody asks: sockets hear of it. Runs until the
    /// venue is dropped.
    fn keep_time(&self) {
        let (world, clock) = (Arc::downgrade(&self.world), Arc::clone(&self.clock));
        let changed = Arc::clone(&self.sessions_changed);
        tokio::spawn(async move {
            loop {
                let next = {
                    let Some(world) = world.upgrade() else { return };
                    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
                    world.core.pass_time(clock.now());
                    world.deliver();
                    world.core.next_end()
                };
                let Some(next) = next else {
                    changed.notified().await;
                    continue;
                };
                tokio::select! {
                    () = sleep(next.since(clock.now())) => {}
                    () = changed.notified() => {}
                }
            }
        });
    }
}

impl World {
    fn deliver(&mut self) {
        for (id, out) in self.core.take_outbox() {
            let is_last = matches!(out, Out::Close { .. });
            if let Some(link) = self.links.get(&id) {
                // A feed that is gone says so by itself.
                let _ = link.send(out);
            }
            if is_last {
                self.links.remove(&id);
            }
        }
    }
}
