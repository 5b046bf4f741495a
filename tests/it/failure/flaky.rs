//! The real broker client, in front of which faults are put that no server can provoke: panics inside, and
//! ends of the feed that take minutes to come about. Not the simulator's faults; those go over the wire.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use tickgate::broker::xts::XtsBroker;
use tickgate::broker::{
    AccountFeed, Broker, Error, Feed, FeedCounts, FeedEnd, Limits, Login, MasterText, Subscribed,
};
use tickgate::clock::UnixNanos;
use tickgate::market::{Funds, InstrumentId, Kind, Listing, Order, Position, PositionView, Tick};
use tickgate::token::{Product, Token};

/// What becomes of the next frame.
pub(crate) enum Next {
    Panic,
    End(FeedEnd),
}

#[derive(Default)]
pub(crate) struct Faults {
    frames: Mutex<VecDeque<Next>>,
    waker: AtomicWaker,
    /// Instruments that subscriptions refuse.
    refused: Mutex<Vec<InstrumentId>>,
    /// Handshakes, market logins and master downloads that panic or fail.
    opens: Mutex<u32>,
    logins: Mutex<u32>,
    masters: Mutex<u32>,
}

impl Faults {
    /// The feed that is open does this now.
    pub(crate) fn next_frame(&self, next: Next) {
        self.frames.lock().unwrap().push_back(next);
        self.waker.wake();
    }

    /// The next handshakes panic.
    pub(crate) fn panic_opens(&self, count: u32) {
        *self.opens.lock().unwrap() = count;
    }

    /// The next market logins panic.
    pub(crate) fn panic_logins(&self, count: u32) {
        *self.logins.lock().unwrap() = count;
    }

    /// The next downloads of the master fail.
    pub(crate) fn fail_masters(&self, count: u32) {
        *self.masters.lock().unwrap() = count;
    }

    /// Subscriptions of this one are refused.
    pub(crate) fn refuse(&self, instrument: InstrumentId) {
        self.refused.lock().unwrap().push(instrument);
    }
}

fn take(count: &Mutex<u32>) -> bool {
    let mut count = count.lock().unwrap();
    let is_due = *count > 0;
    *count = count.saturating_sub(1);
    is_due
}

pub(crate) struct Flaky {
    pub(crate) inner: Arc<XtsBroker>,
    pub(crate) faults: Arc<Faults>,
}

struct FlakyFeed {
    inner: Box<dyn Feed>,
    faults: Arc<Faults>,
}

impl Feed for FlakyFeed {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        recv: &dyn Fn() -> UnixNanos,
        batch: &mut Vec<Tick>,
    ) -> Poll<Result<(), FeedEnd>> {
        self.faults.waker.register(cx.waker());
        let next = self.faults.frames.lock().unwrap().pop_front();
        match next {
            Some(Next::Panic) => panic!("as the test wants it"),
            Some(Next::End(end)) => Poll::Ready(Err(end)),
            None => self.inner.poll_frame(cx, recv, batch),
        }
    }

    fn take_counts(&mut self) -> FeedCounts {
        self.inner.take_counts()
    }
}

impl Broker for Flaky {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn binding(&self, product: Product) -> String {
        self.inner.binding(product)
    }

    fn login(&self, product: Product) -> BoxFuture<'_, Result<Login, Error>> {
        async move {
            assert!(product != Product::Market || !take(&self.faults.logins), "as the test wants it");
            self.inner.login(product).await
        }
        .boxed()
    }

    fn instruments<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<MasterText, Error>> {
        async move {
            if take(&self.faults.masters) {
                return Err(Error::Network("as the test wants it".to_owned()));
            }
            self.inner.instruments(token).await
        }
        .boxed()
    }

    fn open_feed<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Box<dyn Feed>, Error>> {
        async move {
            assert!(!take(&self.faults.opens), "as the test wants it");
            let inner = self.inner.open_feed(token).await?;
            Ok(Box::new(FlakyFeed { inner, faults: Arc::clone(&self.faults) }) as Box<dyn Feed>)
        }
        .boxed()
    }

    fn verify<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<(), Error>> {
        self.inner.verify(token)
    }

    fn subscribe<'a>(
        &'a self,
        token: &'a Token,
        kind: Kind,
        instruments: &'a [InstrumentId],
    ) -> BoxFuture<'a, Result<Subscribed, Error>> {
        async move {
            let refused = self.faults.refused.lock().unwrap().clone();
            let (bad, good): (Vec<_>, Vec<_>) =
                instruments.iter().copied().partition(|i| refused.contains(i));
            let mut answer = if good.is_empty() {
                Subscribed::default()
            } else {
                self.inner.subscribe(token, kind, &good).await?
            };
            answer.rejected.extend(bad.into_iter().map(|i| (i, "Invalid Instrument".to_owned())));
            Ok(answer)
        }
        .boxed()
    }

    fn unsubscribe<'a>(
        &'a self,
        token: &'a Token,
        kind: Kind,
        instruments: &'a [InstrumentId],
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.inner.unsubscribe(token, kind, instruments)
    }

    fn quotes<'a>(
        &'a self,
        token: &'a Token,
        kind: Kind,
        instruments: &'a [InstrumentId],
    ) -> BoxFuture<'a, Result<Vec<Tick>, Error>> {
        self.inner.quotes(token, kind, instruments)
    }

    fn order_book<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Listing<Order>, Error>> {
        self.inner.order_book(token)
    }

    fn positions<'a>(
        &'a self,
        token: &'a Token,
        view: PositionView,
    ) -> BoxFuture<'a, Result<Listing<Position>, Error>> {
        self.inner.positions(token, view)
    }

    fn funds<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Funds, Error>> {
        self.inner.funds(token)
    }

    fn open_account_feed<'a>(
        &'a self,
        token: &'a Token,
    ) -> BoxFuture<'a, Result<Box<dyn AccountFeed>, Error>> {
        self.inner.open_account_feed(token)
    }

    fn reload_credentials(&self) -> bool {
        self.inner.reload_credentials()
    }

    fn logout<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<(), Error>> {
        self.inner.logout(token)
    }
}
