//! Sessions of several accounts under the paused clock, with brokers that do next to nothing.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tempfile::TempDir;

use super::*;
use crate::broker::{AccountFeed, Broker, Error, Feed, Limits, Login, MasterText, Subscribed};
use crate::clock::{Clock, TokioClock, UnixNanos};
use crate::hub::{FeedId, Hub};
use crate::market::{
    Calendar, Funds, InstrumentId, Kind, Listing, MasterHandle, Order, Position, PositionView, Tick,
};
use crate::secret::Secret;
use crate::session;
use crate::store::Store;
use crate::store::audit::Audit;
use crate::token::cipher::Cipher;
use crate::token::ledger::Ledger;
use crate::token::store::TokenStore;
use crate::token::{Product, Token};

/// 2026-02-10 11:00 IST.
const START: UnixNanos = UnixNanos::from_secs(1_770_701_400);
/// Any valid Fernet key.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What becomes of a login, and so of everything: without a token nothing else is asked.
#[derive(Clone, Copy)]
enum Venue {
    /// The actor that asks panics.
    Breaks,
    /// No answer comes.
    Hangs,
}

fn never<'a, T: 'a>() -> BoxFuture<'a, Result<T, Error>> {
    std::future::pending().boxed()
}

impl Broker for Venue {
    fn limits(&self) -> Limits {
        Limits { max_subscriptions: 50, per_request: 10, request_interval: Duration::from_millis(500) }
    }

    fn binding(&self, product: Product) -> String {
        format!("https://venue.test {product}")
    }

    fn login(&self, _: Product) -> BoxFuture<'_, Result<Login, Error>> {
        match self {
            Self::Breaks => async { panic!("as the test wants it") }.boxed(),
            Self::Hangs => never(),
        }
    }

    fn instruments<'a>(&'a self, _: &'a Token) -> BoxFuture<'a, Result<MasterText, Error>> {
        never()
    }

    fn open_feed<'a>(&'a self, _: &'a Token) -> BoxFuture<'a, Result<Box<dyn Feed>, Error>> {
        never()
    }

    fn subscribe<'a>(
        &'a self,
        _: &'a Token,
        _: Kind,
        _: &'a [InstrumentId],
    ) -> BoxFuture<'a, Result<Subscribed, Error>> {
        never()
    }

    fn unsubscribe<'a>(
        &'a self,
        _: &'a Token,
        _: Kind,
        _: &'a [InstrumentId],
    ) -> BoxFuture<'a, Result<(), Error>> {
        never()
    }

    fn quotes<'a>(
        &'a self,
        _: &'a Token,
        _: Kind,
        _: &'a [InstrumentId],
    ) -> BoxFuture<'a, Result<Vec<Tick>, Error>> {
        never()
    }

    fn order_book<'a>(&'a self, _: &'a Token) -> BoxFuture<'a, Result<Listing<Order>, Error>> {
        never()
    }

    fn positions<'a>(
        &'a self,
        _: &'a Token,
        _: PositionView,
    ) -> BoxFuture<'a, Result<Listing<Position>, Error>> {
        never()
    }

    fn funds<'a>(&'a self, _: &'a Token) -> BoxFuture<'a, Result<Funds, Error>> {
        never()
    }

    fn open_account_feed<'a>(&'a self, _: &'a Token) -> BoxFuture<'a, Result<Box<dyn AccountFeed>, Error>> {
        never()
    }

    fn reload_credentials(&self) -> bool {
        false
    }

    fn logout<'a>(&'a self, _: &'a Token) -> BoxFuture<'a, Result<(), Error>> {
        never()
    }
}

/// A session for each venue; their accounts are `a`, `b`, …
fn start(dir: &TempDir, venues: &[Venue]) -> Sessions {
    let names: Vec<_> = ('a'..).map(String::from).take(venues.len()).collect();
    start_named(dir, &names, venues)
}

fn start_named(dir: &TempDir, names: &[impl ToString], venues: &[Venue]) -> Sessions {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(START));
    let (store, _) = Store::open(dir.path(), &*clock).unwrap();
    let cipher = Cipher::new(&Secret::new(KEY), "test", Arc::clone(&clock)).unwrap();
    let tokens = TokenStore::open(&store, cipher).unwrap();
    let hub = Hub::new("test");
    Sessions::new(names.iter().zip((0..).map(FeedId)).zip(venues).map(|((name, feed), venue)| {
        session::start(session::Deps {
            account: name.to_string(),
            broker: Arc::new(*venue),
            tokens: tokens.clone(),
            ledger: Ledger::open(&store).unwrap(),
            audit: Audit::open(&store).unwrap(),
            feed,
            spread: session::Spread::new(&[50, 50]),
            hub: hub.clone(),
            master: MasterHandle::new(),
            clock: Arc::clone(&clock),
            calendar: Calendar::new(),
            data_dir: dir.path().to_owned(),
            settings: session::Settings { restart_budget: 2, ..session::Settings::default() },
            orders: session::OrderSettings::default(),
            seed: 7,
        })
    }))
}

/// Runs a test inside an actix system whose clock stands still while nothing waits for it.
fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let system = actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
    });
    system.block_on(test());
}

fn failed(sessions: &Sessions) -> Vec<bool> {
    sessions.iter().map(Member::has_failed).collect()
}

#[test]
fn one_that_gives_up_is_noted_and_the_others_go_on() {
    run(|| async {
        let dir = TempDir::new().unwrap();
        let sessions = start(&dir, &[Venue::Hangs, Venue::Breaks, Venue::Hangs]);
        let watched = tokio::time::timeout(Duration::from_hours(1), sessions.all_failed()).await;
        assert!(watched.is_err(), "two still run");
        assert_eq!(failed(&sessions), [false, true, false]);
        // It is over with, and no sign of ill health in what goes on.
        sessions.health().await.unwrap();
        for member in sessions.iter().filter(|member| !member.has_failed()) {
            assert_eq!(member.session.status().market.state, "logging_in");
        }
        sessions.stop().await;
        assert!(sessions.health().await.unwrap_err().starts_with("account a: the token actor"));
    });
}

#[test]
fn when_all_have_given_up_it_is_told() {
    run(|| async {
        let dir = TempDir::new().unwrap();
        let sessions = start(&dir, &[Venue::Breaks, Venue::Breaks]);
        tokio::time::timeout(Duration::from_hours(1), sessions.all_failed()).await.expect("both give up");
        assert_eq!(failed(&sessions), [true, true]);
        // Nothing is left to stop, and stopping says so at once.
        sessions.stop().await;
    });
}

#[test]
fn without_a_name_only_an_only_account_is_meant() {
    run(|| async {
        let dir = TempDir::new().unwrap();
        let sessions = start(&dir, &[Venue::Hangs, Venue::Hangs]);
        assert_eq!(sessions.named(Some("b")).unwrap().account(), "b");
        assert_eq!(sessions.named(Some("c")).unwrap_err(), Refused::NoAccount("c".to_owned()));
        let names = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(sessions.named(None).unwrap_err(), Refused::WhichAccount(names));
        sessions.stop().await;
        drop(sessions);
        let other = TempDir::new().unwrap();
        let sessions = start(&other, &[Venue::Hangs]);
        assert_eq!(sessions.named(None).unwrap().account(), "a");
        sessions.stop().await;
    });
}

#[test]
fn several_keys_of_one_account_are_one_account() {
    run(|| async {
        let dir = TempDir::new().unwrap();
        let sessions = start_named(&dir, &["a", "a/2"], &[Venue::Hangs, Venue::Hangs]);
        assert_eq!(sessions.named(None).unwrap().account(), "a");
        assert_eq!(sessions.named(Some("a/2")).unwrap().account(), "a/2");
        assert_eq!(sessions.named(Some("a/3")).unwrap_err(), Refused::NoAccount("a/3".to_owned()));
        assert_eq!(sessions.accounts().map(<[Member]>::len).collect::<Vec<_>>(), [2]);
        sessions.stop().await;
        drop(sessions);
        let other = TempDir::new().unwrap();
        let sessions = start_named(&other, &["a", "a/2", "b"], &[Venue::Hangs; 3]);
        let names = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(sessions.named(None).unwrap_err(), Refused::WhichAccount(names));
        sessions.stop().await;
    });
}
