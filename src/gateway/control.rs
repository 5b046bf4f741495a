//! What the HTTP port needs of the rest of the program. Implemented on the session's side and
//! wired in `app`, so that the gateway knows neither sessions nor brokers.

use futures::future::BoxFuture;

use crate::clock::UnixNanos;
use crate::market::{Exchange, MarketState};

/// The control plane as the HTTP port sees it.
pub trait Control: Send + Sync + 'static {
    /// How everything is now. Answers at once, from what is at hand.
    fn status(&self) -> Status;

    /// Asks every actor whether it still answers; `Err` says which does not. The caller sets
    /// the deadline.
    fn health(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Renews the token of one product of an account (the only one if `None`), by a login, on the wish of `by`.
    fn refresh<'a>(
        &'a self,
        account: Option<&'a str>,
        product: Product,
        by: &'a str,
    ) -> BoxFuture<'a, Result<(), Refused>>;

    /// Ends the session of one product of an account (the only one if `None`) at the broker and forgets its
    /// token, on the wish of `by`; says whether there was one.
    fn revoke<'a>(
        &'a self,
        account: Option<&'a str>,
        product: Product,
        by: &'a str,
    ) -> BoxFuture<'a, Result<bool, Refused>>;

    /// Encrypts everything stored under another key: the first of those given to the process, else a new one.
    /// With `key_id` only if that names the key it is going to be.
    fn rotate<'a>(&'a self, key_id: Option<&'a str>) -> BoxFuture<'a, Result<Rotation, Refused>>;

    /// Closes the live feed of an account (the only one if `None`) and opens it anew.
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
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountStatus {
    /// Its name in the configuration and the store.
    pub name: String,
    /// The broker's name, as consumers see it.
    pub broker: String,
    /// The market-data token.
    pub market: TokenStatus,
    /// The token for orders and books.
    pub interactive: TokenStatus,
    /// The live feed.
    pub feed: FeedStatus,
}

/// One token. Never the token itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenStatus {
    /// `missing`, `valid`, `expired`, `logging_in`, `needs_operator`, `waiting`, `disabled`.
    pub state: &'static str,
    /// When the login that brought it succeeded.
    pub issued_at: Option<UnixNanos>,
    /// When it stops being used: the earlier of its own end and the daily cut-off.
    pub expires_at: Option<UnixNanos>,
    /// What the broker said when it last refused a login or the token.
    pub last_refusal: Option<String>,
    /// Logins since midnight IST.
    pub logins_today: u64,
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

impl Status {
    /// Whether consumers can get live data: every account has a valid market token and a live
    /// feed, and instruments are known.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn ready(&self) -> Result<(), String> {
        let mut missing = Vec::new();
        if self.accounts.is_empty() {
            missing.push("no account is running".to_owned());
        }
        for account in &self.accounts {
            let name = &account.name;
            if account.market.state != "valid" {
                let why = account.market.last_refusal.as_ref().map(|w| format!(" ({w})")).unwrap_or_default();
                missing.push(format!("account {name}: market token is {}{why}", account.market.state));
            }
            if account.feed.state != "live" {
                let why = account.feed.reason.as_ref().map(|w| format!(" ({w})")).unwrap_or_default();
                missing.push(format!("account {name}: feed is {}{why}", account.feed.state));
            }
        }
        if self.master.is_none() {
            missing.push("the instrument list is not loaded".to_owned());
        }
        if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
    }
}
