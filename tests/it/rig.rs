//! A session of the library against the simulated broker over real sockets, both on a clock that
//! the test moves. What the program adds to it (ports, commands) is tested elsewhere.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tickgate::broker::Broker as _;
use tickgate::broker::xts::{AppKey, Credentials, Settings as XtsSettings, XtsBroker};
use tickgate::clock::{Clock, SystemClock, UnixNanos};
use tickgate::hub::{Encoding, FeedId, Hub, ShardEvent, ShardQueue, TopicKey};
use tickgate::market::{Calendar, Exchange, InstrumentId, MasterHandle, Segment};
use tickgate::protocol::Mode;
use tickgate::secret::Secret;
use tickgate::session::{self, MasterKeeper, SessionHandle, Spread};
use tickgate::sim::{DemoKeys, Hours, Settings as SimSettings, SimServer};
use tickgate::store::Store;
use tickgate::store::audit::Audit;
use tickgate::token::Product;
use tickgate::token::cipher::Cipher;
use tickgate::token::ledger::Ledger;
use tickgate::token::store::TokenStore;

use crate::support::http;

pub(crate) const RELIANCE: InstrumentId = InstrumentId { segment: Segment::NseCash, code: 2885 };
/// Any valid Fernet key.
pub(crate) const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The machine's clock, moved.
#[derive(Debug, Default)]
pub(crate) struct MovedClock(AtomicI64);

impl MovedClock {
    pub(crate) fn set(&self, to: UnixNanos) {
        self.0.store(to.as_nanos() - SystemClock.now().as_nanos(), Ordering::SeqCst);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> UnixNanos {
        UnixNanos::from_nanos(SystemClock.now().as_nanos() + self.0.load(Ordering::SeqCst))
    }
}

/// A moment in India, as `2026-02-10T11:00:00`.
pub(crate) fn india(text: &str) -> UnixNanos {
    let time: jiff::Timestamp = format!("{text}+05:30").parse().expect("is a time");
    UnixNanos::from_secs(time.as_second())
}

/// Waits for a condition in real time.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(crate::support::PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain for {what}");
}

/// Runs a test where actors can live.
pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let system = actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("the runtime starts")
    });
    system.block_on(test());
}

/// What outlives a session: the broker, the disk, and time.
pub(crate) struct Outside {
    pub(crate) dir: TempDir,
    pub(crate) clock: Arc<MovedClock>,
    pub(crate) sim: SimServer,
    pub(crate) settings: session::Settings,
    pub(crate) calendar: Calendar,
    /// `broker.xts.client_id`.
    pub(crate) client_id: String,
}

impl Outside {
    pub(crate) async fn new(sim: SimSettings, start: UnixNanos) -> Self {
        let clock = Arc::new(MovedClock::default());
        clock.set(start);
        let calendar = match sim.hours {
            Hours::Always => Calendar::always_open(),
            Hours::Exchange => Calendar::new(),
        };
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let sim = SimServer::start(sim, listen, None, clock.clone()).await.expect("the simulator starts");
        // The clock jumps here, and nobody's rate limits have to be respected.
        let settings = session::Settings {
            clock_check_ms: 20,
            login_min_interval_ms: 0,
            backoff_floor_ms: 20,
            backoff_ceiling_ms: 200,
            ..session::Settings::default()
        };
        let dir = tempfile::tempdir().expect("there is a temporary directory");
        Self { dir, clock, sim, settings, calendar, client_id: String::new() }
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    fn broker(&self) -> Arc<XtsBroker> {
        let settings = XtsSettings {
            base_url: format!("http://{}", self.sim.addr()),
            max_subscriptions: 1000,
            client_id: self.client_id.clone(),
            request_interval_ms: 0,
            book_interval_ms: 0,
            subscription_interval_ms: 5,
            ..XtsSettings::default()
        };
        let clock: Arc<dyn Clock> = self.clock.clone();
        let broker = XtsBroker::new(settings, credentials(&self.sim.credentials()), "default", clock);
        Arc::new(broker.expect("the settings are good"))
    }

    /// What this broker's stored tokens are bound to.
    pub(crate) fn binding(&self, product: Product) -> String {
        self.broker().binding(product)
    }

    /// Starts a session as a process does.
    pub(crate) fn start(&self) -> Running {
        let (store, _) = Store::open(self.data_dir(), self.clock.as_ref()).expect("the store opens");
        let clock: Arc<dyn Clock> = self.clock.clone();
        let cipher = Cipher::new(&Secret::new(KEY), "test", clock.clone()).expect("the key is valid");
        let tokens = TokenStore::open(&store, cipher).expect("the tree opens");
        let hub = Hub::new("sim");
        let shard = hub.attach_shard();
        let session = session::start(session::Deps {
            account: "default".to_owned(),
            broker: self.broker(),
            tokens: tokens.clone(),
            ledger: Ledger::open(&store).expect("the tree opens"),
            audit: Audit::open(&store).expect("the tree opens"),
            feed: FeedId(0),
            spread: Spread::new(&[1000]),
            hub: hub.clone(),
            master: MasterHandle::new(),
            calendar: self.calendar,
            clock,
            data_dir: self.data_dir().to_owned(),
            settings: self.settings.clone(),
            orders: session::OrderSettings::default(),
            seed: 11,
        });
        let key = TopicKey {
            instrument: RELIANCE,
            mode: Mode::Ltp,
            encoding: Encoding::Json,
            exchange: Exchange::Nse,
            symbol: "RELIANCE".into(),
        };
        hub.acquire(shard.id(), key);
        Running { keeper: session::keep_master(std::slice::from_ref(&session)), session, shard, tokens }
    }

    /// `GET` below `/__sim/`.
    pub(crate) async fn sim(&self, path: &str) -> Value {
        let (address, path) = (self.sim.addr(), format!("/__sim/{path}"));
        let answer = tokio::task::spawn_blocking(move || http("GET", address, &path, None, "")).await;
        let (status, body) = answer.expect("no panic").expect("the simulator answers");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("is JSON")
    }

    /// `POST` below `/__sim/`.
    pub(crate) async fn tell(&self, path: &str, body: Value) {
        let (address, path) = (self.sim.addr(), format!("/__sim/{path}"));
        let answer =
            tokio::task::spawn_blocking(move || http("POST", address, &path, None, &body.to_string())).await;
        let (status, body) = answer.expect("no panic").expect("the simulator answers");
        assert_eq!(status, 200, "{body}");
    }

    /// Logins the simulator has counted, market and interactive.
    pub(crate) async fn logins(&self) -> (u64, u64) {
        let state = self.sim("state").await;
        let count = |product: &str| state["logins"][product].as_u64().expect("is a count");
        (count("market"), count("interactive"))
    }
}

fn credentials(keys: &DemoKeys) -> Credentials {
    let app = |key: &str, secret: &str| AppKey { key: Secret::new(key), secret: Secret::new(secret) };
    Credentials {
        market: Some(app(&keys.market_app_key, &keys.market_secret_key)),
        interactive: Some(app(&keys.interactive_app_key, &keys.interactive_secret_key)),
        access_token: None,
    }
}

/// A session that somebody watches `NSE:RELIANCE` through.
pub(crate) struct Running {
    pub(crate) session: SessionHandle,
    pub(crate) keeper: MasterKeeper,
    shard: ShardQueue,
    pub(crate) tokens: TokenStore,
}

impl Running {
    pub(crate) fn is_valid(&self, product: Product) -> bool {
        self.session.status().token(product).state == "valid"
    }

    pub(crate) async fn both_valid(&self) {
        until("both tokens to be valid", || Product::ALL.into_iter().all(|p| self.is_valid(p))).await;
    }

    /// Waits for a tick that came after `since`, by the moved clock.
    pub(crate) async fn tick_after(&mut self, since: UnixNanos) {
        until("a tick", || {
            while self.shard.try_recv().is_some() {}
            self.session.status().feed.last_tick_at.is_some_and(|at| at > since)
        })
        .await;
    }

    /// The last prices in the frames that came since this was last asked, as they are spelled.
    pub(crate) fn prices(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(event) = self.shard.try_recv() {
            let ShardEvent::Batch(batch) = event else { continue };
            for entry in &batch.entries {
                let frame = String::from_utf8_lossy(batch.frame(entry));
                let Some((_, rest)) = frame.split_once("\"ltp\":") else { continue };
                found.push(rest.chars().take_while(|c| !matches!(c, ',' | '}')).collect());
            }
        }
        found
    }

    /// Ends it as an orderly process does.
    pub(crate) async fn stop(self) {
        self.keeper.stop();
        self.session.stop().await;
    }
}
