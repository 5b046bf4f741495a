//! The session as a whole against a broker in memory, under the paused clock.

pub(crate) mod broker;

mod accounts;
mod calls;
mod feed;
mod history;
mod lifecycle;
mod master;
mod order_stream;
mod orders;
mod tokens;
mod watchdog;
mod year;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::clock::{Clock, TokioClock, UnixNanos};
use crate::hub::{Encoding, FeedId, Hub, ShardEvent, ShardQueue, TopicId, TopicKey};
use crate::market::{Calendar, Exchange, InstrumentId, MasterHandle, Segment};
use crate::protocol::Mode;
use crate::secret::Secret;
use crate::session::tests::broker::FakeBroker;
use crate::session::{
    Deps, MasterKeeper, OrderSettings, SessionHandle, SessionStatus, Settings, Spread, keep_master, start,
};
use crate::store::Store;
use crate::store::audit::Audit;
use crate::token::cipher::Cipher;
use crate::token::ledger::Ledger;
use crate::token::store::TokenStore;

/// 2026-02-10 11:00 IST, a Tuesday on which everything trades.
const START: UnixNanos = UnixNanos::from_secs(1_770_701_400);
/// Any valid Fernet key.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

const RELIANCE: InstrumentId = InstrumentId { segment: Segment::NseCash, code: 2885 };
const SBIN: InstrumentId = InstrumentId { segment: Segment::NseCash, code: 3045 };

/// Runs a test inside an actix system whose clock stands still while nothing waits for it.
fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let system = actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("the runtime starts")
    });
    system.block_on(test());
}

/// Waits for a condition, at most ten minutes of the paused clock.
async fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(what, Duration::from_mins(10), condition).await;
}

async fn until_within(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(patience, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain for {what}");
}

/// What outlives a process: the venue, the disk, and time.
struct Outside {
    dir: tempfile::TempDir,
    clock: Arc<dyn Clock>,
    broker: FakeBroker,
    settings: Settings,
    orders: OrderSettings,
    calendar: Calendar,
}

impl Outside {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(START));
        Self {
            dir: tempfile::tempdir().expect("a directory for the test"),
            broker: FakeBroker::new(Arc::clone(&clock)),
            clock,
            settings: Settings::default(),
            orders: OrderSettings { enabled: true, ..OrderSettings::default() },
            calendar: Calendar::new(),
        }
    }

    /// Starts a process.
    fn process(&self) -> Process {
        self.process_with(Arc::new(self.broker.clone()))
    }

    /// Starts a process that speaks to another broker.
    fn process_with(&self, broker: Arc<dyn Broker>) -> Process {
        let data_dir: &Path = self.dir.path();
        let (store, _) = Store::open(data_dir, &*self.clock).expect("the store opens");
        let cipher =
            Cipher::new(&Secret::new(KEY), "test", Arc::clone(&self.clock)).expect("the key is valid");
        let hub = Hub::new("test");
        let master = MasterHandle::new();
        let shard = hub.attach_shard();
        let tokens = TokenStore::open(&store, cipher).expect("the tree opens");
        let session = start(Deps {
            account: "default".to_owned(),
            broker,
            tokens: tokens.clone(),
            ledger: Ledger::open(&store).expect("the tree opens"),
            audit: Audit::open(&store).expect("the tree opens"),
            feed: FeedId(0),
            spread: Spread::new(&[50]),
            hub: hub.clone(),
            master: master.clone(),
            clock: Arc::clone(&self.clock),
            calendar: self.calendar,
            data_dir: data_dir.to_owned(),
            settings: self.settings.clone(),
            orders: self.orders.clone(),
            seed: 7,
        });
        let keeper = keep_master(std::slice::from_ref(&session));
        Process { hub, master, keeper, shard, session, tokens, store }
    }
}

struct Process {
    hub: Hub,
    master: MasterHandle,
    keeper: MasterKeeper,
    shard: ShardQueue,
    session: SessionHandle,
    tokens: TokenStore,
    store: Store,
}

impl Process {
    fn status(&self) -> SessionStatus {
        self.session.status()
    }

    async fn live(&self) {
        until("a live feed", || self.status().feed.state == "live").await;
    }

    /// A live feed newer than `generation`.
    async fn live_after(&self, generation: u64) {
        until("a newer live feed", || {
            let feed = self.status().feed;
            feed.state == "live" && feed.generation > generation
        })
        .await;
    }

    fn want(&self, instrument: InstrumentId, mode: Mode) -> TopicId {
        let symbol = instrument.code.to_string().into();
        let key = TopicKey { instrument, mode, encoding: Encoding::Json, exchange: Exchange::Nse, symbol };
        self.hub.acquire(self.shard.id(), key)
    }

    async fn confirmed(&self, count: usize) {
        until("the subscriptions", || self.status().feed.confirmed == count).await;
    }

    /// Frames that reached the shard and have not been taken.
    fn frames(&mut self) -> Vec<String> {
        let mut frames = Vec::new();
        while let Some(event) = self.shard.try_recv() {
            if let ShardEvent::Batch(batch) = event {
                let of = |entry| String::from_utf8_lossy(batch.frame(entry)).into_owned();
                frames.extend(batch.entries.iter().map(of));
            }
        }
        frames
    }

    /// Waits for a frame that contains `text`.
    async fn frame_with(&mut self, text: &str) -> String {
        let mut found = None;
        until("a frame", || {
            found = self.frames().into_iter().find(|frame| frame.contains(text));
            found.is_some()
        })
        .await;
        found.expect("it was waited for")
    }

    /// What was done with the account.
    fn audit(&self) -> Vec<crate::store::audit::Entry> {
        Audit::open(&self.store).and_then(|audit| audit.last(1000)).expect("the trail opens")
    }

    /// From now on nothing can be written.
    fn break_store(&self) {
        self.store.fail_writes();
    }

    /// Ends as an orderly process does.
    async fn stop(self) {
        self.session.stop().await;
    }
}

#[test]
fn stop_stops_everything() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        process.session.health().await.expect("both answer");
        let session = process.session.clone();
        process.stop().await;
        until("the feed's end", || !outside.broker.world().feed_is_open()).await;
        let opens = outside.broker.world().opened_at.len();
        let logins = outside.broker.world().logins;
        tokio::time::sleep(Duration::from_hours(2)).await;
        assert_eq!(outside.broker.world().opened_at.len(), opens);
        assert_eq!(outside.broker.world().logins, logins);
        assert_eq!(session.status().feed.state, "stopped");
        assert!(session.health().await.is_err());
        assert!(session.reconnect().await.is_err());
        // Stopping twice is fine, and a stop is no failure.
        session.stop().await;
        assert!(tokio::time::timeout(Duration::from_secs(5), session.failed()).await.is_err());
    });
}

#[test]
fn the_last_handle_takes_the_session_with_it() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        process.live().await;
        drop(process);
        until("the feed's end", || !outside.broker.world().feed_is_open()).await;
    });
}
