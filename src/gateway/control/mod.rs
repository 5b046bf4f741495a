//! What the HTTP port needs of the rest of the program. Implemented on the session's side and
//! wired in `app`, so that the gateway knows neither sessions nor brokers.

mod desk;

use futures::future::BoxFuture;

pub use desk::{Desk, DeskError, Placer};

use crate::clock::UnixNanos;
use crate::market::{Exchange, MarketPhase, MarketState, Segment};

/// The control plane as the HTTP port sees it.
pub trait Control: Send + Sync + 'static {
    /// How everything is now. Answers at once, from what is at hand.
    fn status(&self) -> Status;

    /// Every instrument that is subscribed at a broker, and when its last data came.
    fn instruments(&self) -> BoxFuture<'_, Vec<InstrumentStatus>>;

    /// Asks every actor whether it still answers; `Err` says which does not. The caller sets
    /// the deadline.
    fn health(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Renews the token of one product of an account, by a login, on the wish of `by`. `None` means the only
    /// account: where there are several, it is refused with their names, since a login ends a session that
    /// somebody may be using.
    fn refresh<'a>(
        &'a self,
        account: Option<&'a str>,
        product: Product,
        by: &'a str,
    ) -> BoxFuture<'a, Result<(), Refused>>;

    /// Ends the session of one product of an account at the broker and forgets its token, on the wish of
    /// `by`; says whether there was one. `None` as in [`Self::refresh`].
    fn revoke<'a>(
        &'a self,
        account: Option<&'a str>,
        product: Product,
        by: &'a str,
    ) -> BoxFuture<'a, Result<bool, Refused>>;

    /// Encrypts everything stored under another key: the first of those given to the process, else a new one.
    /// With `key_id` only if that names the key it is going to be.
    fn rotate<'a>(&'a self, key_id: Option<&'a str>) -> BoxFuture<'a, Result<Rotation, Refused>>;

    /// Closes the live feed of an account and opens it anew. `None` as in [`Self::refresh`].
    fn reconnect<'a>(&'a self, account: Option<&'a str>) -> BoxFuture<'a, Result<(), Refused>>;
}

/// The two things a broker's login is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Quotes and the live feed.
    Market,
    /// Orders, books, funds.
    Interactive,
}

/// How an exchange of the key of the stored tokens went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Whether the key is one that was given to the process; else it is a new one in its file.
    pub given: bool,
    /// Records that are under that key now.
    pub records: usize,
    /// Records that no key could read; they are as they were.
    pub unreadable: usize,
    /// The same among those kept aside earlier.
    pub unreadable_aside: usize,
    /// Other keys, which nothing stored needs any more.
    pub superseded: usize,
}

impl Product {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Market, Self::Interactive];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Market => "market",
            Self::Interactive => "interactive",
        }
    }

    /// The product of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "market" => Some(Self::Market),
            "interactive" => Some(Self::Interactive),
            _ => None,
        }
    }
}

/// Why a request to the control plane was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such account.
    #[error("there is no account {0}")]
    NoAccount(String),
    /// No account was named, and there are several.
    #[error("there are several accounts, name one of them: {}", .0.join(", "))]
    WhichAccount(Vec<String>),
    /// The account is not configured for the product.
    #[error("{0}")]
    NotConfigured(String),
    /// It is not what the asker believes it to be.
    #[error("{0}")]
    Conflict(String),
    /// It was tried and failed, or cannot be done now. The text holds no secret.
    #[error("{0}")]
    Failed(String),
}

/// How everything is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Each account with a broker.
    pub accounts: Vec<AccountStatus>,
    /// The instrument master in use; `None` until one is loaded.
    pub master: Option<MasterStatus>,
    /// Consumers on the feed port.
    pub consumers: ConsumerCount,
    /// The session of each exchange, as the calendar (or the simulator) has it.
    pub market: Vec<(Exchange, MarketState)>,
    /// What the broker itself last said of each market, the newest of all accounts. Shown only.
    pub market_broker: Vec<MarketPhase>,
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountStatus {
    /// Its name in the configuration and the store.
    pub name: String,
    /// The broker's name, as consumers see it.
    pub broker: String,
    /// Whether it has given up after repeated internal failures. Only a restart brings it back.
    pub failed: bool,
    /// The market-data token.
    pub market: TokenStatus,
    /// The token for orders and books.
    pub interactive: TokenStatus,
    /// The live feed.
    pub feed: FeedStatus,
    /// The instruments that this feed carries, as `NSE:RELIANCE`.
    pub instruments: Vec<String>,
    /// Its sessions beside this one: one for each further market-data app key.
    pub more: Vec<MarketSession>,
}

/// The session of a further market-data app key of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarketSession {
    /// Its name in the store and in metrics: the account's, a slash, and the key's number.
    pub name: String,
    /// As the account's.
    pub failed: bool,
    /// The market-data token.
    pub market: TokenStatus,
    /// The live feed.
    pub feed: FeedStatus,
    /// The instruments that this feed carries.
    pub instruments: Vec<String>,
}

/// One token. Never the token itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenStatus {
    /// `missing`, `valid`, `expired`, `logging_in`, `needs_operator`, `replaced`, `revoked`, `waiting` or
    /// `disabled`.
    pub state: &'static str,
    /// When the login that brought it succeeded.
    pub issued_at: Option<UnixNanos>,
    /// When it stops being used: the earlier of its own end and the daily cut-off.
    pub expires_at: Option<UnixNanos>,
    /// What the broker said when it last refused a login or the token.
    pub last_refusal: Option<String>,
    /// Logins since midnight IST.
    pub logins_today: u64,
    /// When the next login is tried without anybody asking, if that is known.
    pub next_login_at: Option<UnixNanos>,
    /// Why the token could not be stored: a restart will cost a login.
    pub store_failure: Option<String>,
    /// The last day of the app key, in the broker's form.
    pub app_key_expires: Option<String>,
}

/// The live feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedStatus {
    /// `idle`, `awaiting_token`, `connecting`, `live`, `waiting`, `stopped`.
    pub state: &'static str,
    /// Since when it is in this state.
    pub since: UnixNanos,
    /// Counts connections.
    pub generation: u64,
    /// When the last tick came, in any generation.
    pub last_tick_at: Option<UnixNanos>,
    /// Connections that ended and were made anew.
    pub reconnects: u64,
    /// Subscriptions that consumers ask for.
    pub wanted: usize,
    /// Of these, what the broker holds.
    pub confirmed: usize,
    /// Of these, what the broker refused.
    pub rejected: usize,
    /// Why it is not live, if it is not.
    pub reason: Option<String>,
    /// The segments of which something is subscribed.
    pub segments: Vec<SegmentStatus>,
}

/// One instrument that a feed carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstrumentStatus {
    /// The session that carries it.
    pub account: String,
    /// As `NSE:RELIANCE`.
    pub name: String,
    /// As its segment's, there.
    pub state: &'static str,
    /// When its last data came, if ever.
    pub last_data_at: Option<UnixNanos>,
}

/// How current the data of one segment are that a feed carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentStatus {
    /// Which.
    pub segment: Segment,
    /// `connecting`, `live`, `delayed`, `stale` or `closed`.
    pub state: &'static str,
    /// Since when.
    pub since: UnixNanos,
    /// Why; may be empty.
    pub reason: String,
    /// When its last data came, if ever.
    pub last_data_at: Option<UnixNanos>,
}

/// The instrument master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterStatus {
    /// Instruments in it.
    pub instruments: usize,
    /// When it was loaded.
    pub loaded_at: UnixNanos,
    /// Rows that could not be read.
    pub bad_rows: usize,
}

/// Consumers on the feed port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerCount {
    /// Connected.
    pub count: usize,
    /// Of these, in conflation.
    pub slow: usize,
}

/// Whether consumers can get live data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// They can.
    pub ready: bool,
    /// Everything that is not well, in words. Not empty if they cannot; where there are several accounts, some
    /// may be unwell while the others serve.
    pub unwell: Vec<String>,
}

impl Status {
    /// Whether consumers can get live data: at least one session of an account has a valid market token and a live
    /// feed, and instruments are known.
    pub fn readiness(&self) -> Readiness {
        let mut unwell = Vec::new();
        let mut serving = 0;
        for account in &self.accounts {
            let first = (account.name.as_str(), account.failed, &account.market, &account.feed);
            let more =
                account.more.iter().map(|more| (more.name.as_str(), more.failed, &more.market, &more.feed));
            for (name, failed, market, feed) in std::iter::once(first).chain(more) {
                let before = unwell.len();
                note_unwell(name, failed, market, feed, &mut unwell);
                serving += usize::from(unwell.len() == before);
            }
        }
        if self.accounts.is_empty() {
            unwell.push("no account is running".to_owned());
        }
        if self.master.is_none() {
            unwell.push("the instrument list is not loaded".to_owned());
        }
        Readiness { ready: serving > 0 && self.master.is_some(), unwell }
    }
}

/// What is not well with a session.
fn note_unwell(name: &str, failed: bool, market: &TokenStatus, feed: &FeedStatus, unwell: &mut Vec<String>) {
    if failed {
        unwell.push(format!("account {name}: it has given up after repeated internal failures"));
        return;
    }
    let why = |why: Option<&String>| why.map(|why| format!(" ({why})")).unwrap_or_default();
    if market.state != "valid" {
        let why = why(market.last_refusal.as_ref());
        unwell.push(format!("account {name}: market token is {}{why}", market.state));
    }
    if feed.state != "live" {
        let why = why(feed.reason.as_ref());
        unwell.push(format!("account {name}: feed is {}{why}", feed.state));
    }
}
