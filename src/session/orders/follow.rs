//! Follows the account's orders: events of the socket, and readings of the order book for what no event told
//! of. What is news goes to the hub. Not the socket itself; that is `account_feed`.
//!
//! The first reading of a process' life is the baseline: orders that are there already are not told as news,
//! unless an event had told of them or they were placed from here. From then on each opening of the socket, hence each new session, brings a
//! reading, and what it shows that was not told yet is told.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::debug;

use crate::broker::Error;
use crate::clock::UnixNanos;
use crate::market::{Order, OrderUpdate};
use crate::session::TokenDesk;
use crate::session::messages::Asker;
use crate::session::orders::table::Table;
use crate::session::shared::Shared;
use crate::token::Product;

/// Least time between two readings: wishes that come sooner share one.
const INTERVAL: Duration = Duration::from_secs(5);
/// Until a reading that failed is tried again; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// What is known of the account's orders.
pub(crate) struct Follower {
    account: Arc<str>,
    state: Mutex<State>,
    wish: Notify,
}

#[derive(Default)]
struct State {
    table: Table,
    /// A reading has been taken.
    based: bool,
    /// Orders that this process placed before the first reading: of them it is news.
    ours: HashSet<String>,
}

impl Follower {
    pub(crate) fn new(account: &str) -> Self {
        Self { account: account.into(), state: Mutex::default(), wish: Notify::new() }
    }

    /// The order book is to be read soon.
    pub(crate) fn ask(&self) {
        self.wish.notify_one();
    }

    /// An order was placed from here.
    pub(crate) fn placed(&self, id: &str) {
        let mut state = self.lock();
        if !state.based {
            state.ours.insert(id.to_owned());
        }
    }

    /// An order that was seen today, as it was last.
    pub(crate) fn order(&self, id: &str) -> Option<Order> {
        self.lock().table.order(id).cloned()
    }

    /// The mark of an order that was seen.
    pub(crate) fn unique_id(&self, id: &str) -> Option<String> {
        self.lock().table.unique_id(id)
    }

    /// Whether it was learnt at or after `since` that an order was filled further, or has ended.
    pub(crate) fn moved_since(&self, id: &str, since: Instant) -> bool {
        self.lock().table.moved_since(id, since)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An order's own event.
pub(crate) fn on_event(shared: &Shared, order: Order) {
    // Told with the lock held, so that two tellers cannot swap two states of one order.
    let mut state = shared.orders.lock();
    state.table.turn(day(shared));
    if state.table.offer(&order, Instant::now()) {
        tell(shared, order, "event");
    }
}

/// A reading of the order book that was asked for at `as_of`.
fn on_book(shared: &Shared, orders: Vec<Order>, as_of: Instant) {
    let mut state = shared.orders.lock();
    state.table.turn(day(shared));
    let based = std::mem::replace(&mut state.based, true);
    let ours = std::mem::take(&mut state.ours);
    for order in orders {
        // An event may have told of it before the first reading, or it was placed from here.
        let told = based || state.table.knows(&order.id) || ours.contains(&order.id);
        if state.table.offer(&order, as_of) && told {
            tell(shared, order, "book");
        }
    }
}

fn tell(shared: &Shared, order: Order, source: &'static str) {
    shared.meters.order_update(source);
    shared.deps.hub.publish_order(OrderUpdate { account: Arc::clone(&shared.orders.account), order });
}

/// The start of the broker's day: books change at the cut-off, not at midnight.
fn day(shared: &Shared) -> UnixNanos {
    shared.deps.settings.daily_cutoff_ist.last(shared.now())
}

/// Reads the order book whenever somebody asks. Runs until it is aborted.
pub(crate) async fn run(shared: Arc<Shared>, tokens: TokenDesk) {
    let mut pause = FIRST_PAUSE;
    loop {
        shared.orders.wish.notified().await;
        loop {
            let as_of = Instant::now();
            match read(&shared, &tokens).await {
                Ok(orders) => {
                    shared.meters.order_reconciliation("read");
                    on_book(&shared, orders, as_of);
                    pause = FIRST_PAUSE;
                    tokio::time::sleep_until(as_of + INTERVAL).await;
                    break;
                }
                Err(why) => {
                    shared.meters.order_reconciliation("failed");
                    debug!(%why, ?pause, "the order book cannot be read for missed changes");
                    // An opening of the socket may mean another token.
                    let _ = tokio::time::timeout(pause, shared.orders.wish.notified()).await;
                    tokio::time::sleep_until(as_of + INTERVAL).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// With the token that is there. A refused one is no reason to log in: the socket finds out by itself, and a
/// broker that refuses this one call would otherwise be logged in to over and over.
async fn read(shared: &Shared, tokens: &TokenDesk) -> Result<Vec<Order>, String> {
    let token =
        tokens.get(Product::Interactive, None, Asker::AccountFeed).await.map_err(|e| e.to_string())?.token;
    let patience = shared.deps.settings.request_timeout();
    let late = || Err(Error::Network("the call was not answered in time".to_owned()));
    let read = tokio::time::timeout(patience, shared.deps.broker.order_book(&token)).await;
    // Of a row that cannot be read, the next reading or an event may tell.
    read.unwrap_or_else(|_| late()).map(|book| book.rows).map_err(|e| e.to_string())
}
