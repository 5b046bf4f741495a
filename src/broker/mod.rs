//! What tickgate needs of a broker. An adapter is a folder beside this file.
//! Knows no actor, no hub and no consumer.

mod error;
pub mod xts;

use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::civil::Date;
use tokio::time::Instant;

pub use error::{Class, Error};

use crate::clock::UnixNanos;
use crate::market::{
    Bar, BracketOrder, Conversion, CoverIds, Funds, Holding, InstrumentId, Interval, Kind, Listing,
    MarketPhase, NewOrder, Order, OrderChange, Position, PositionView, Price, Profile, Segment, SquareOff,
    Tick, Trade,
};
use crate::secret::Secret;
use crate::token::{AccountFacts, Product, Token};

/// The broker's limits, as configured or known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// (instrument, kind) pairs that one token may hold.
    pub max_subscriptions: usize,
    /// Instruments in one subscription request.
    pub per_request: usize,
    /// Least time between two subscription requests.
    pub request_interval: Duration,
}

/// What a successful login brought.
#[derive(Clone, Debug)]
pub struct Login {
    /// The token's text.
    pub secret: Secret,
    /// Facts of the account.
    pub facts: AccountFacts,
}

/// Outcome of one subscription request.
#[derive(Clone, Debug, Default)]
pub struct Subscribed {
    /// Instruments the broker holds for us now, "already subscribed" included.
    pub confirmed: Vec<InstrumentId>,
    /// Instruments it refused, with its words.
    pub rejected: Vec<(InstrumentId, String)>,
    /// Last values it sent along; stamped with the time the request was **sent**.
    pub snapshot: Vec<Tick>,
}

/// What the broker says about its instruments, unparsed; `market::master` reads it.
#[derive(Clone, Debug, Default)]
pub struct MasterText {
    /// Rows of the instrument master, `\n` between them, `|` between columns.
    pub rows: String,
    /// Entries of the index lists: segment's number and `NAME_ID`.
    pub indices: Vec<(i64, String)>,
}

/// How a segment stands, in the broker's own words or numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentStatus {
    /// Which segment.
    pub segment: Segment,
    /// Which of its markets.
    pub market: String,
    /// Which trading session.
    pub session: String,
}

/// An instrument as the broker's search brings it. Empty and `None` for what it does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundInstrument {
    /// Which.
    pub id: InstrumentId,
    /// The venue's number of the kind: 1 future, 2 option, 4 spread, 8 equity, 16 index.
    pub kind: Option<i64>,
    /// Short name (`RELIANCE`).
    pub name: String,
    /// Name for people.
    pub display_name: String,
    /// The broker's symbol of a derivative.
    pub description: String,
    /// `EQ`, `OPTIDX`, ….
    pub series: String,
    /// Step of prices.
    pub tick_size: Option<Price>,
    /// Units in a lot.
    pub lot_size: Option<i64>,
    /// Day of expiry, as written.
    pub expiry: String,
    /// Strike.
    pub strike: Option<Price>,
    /// Lowest price allowed today.
    pub low_band: Option<Price>,
    /// Highest price allowed today.
    pub high_band: Option<Price>,
}

/// A broker: logins, requests, feeds. Rare calls return boxed futures, so that it is usable
/// as `dyn`.
pub trait Broker: Send + Sync + 'static {
    /// Its limits.
    fn limits(&self) -> Limits;

    /// The longest that one call may take, its wait for a turn included. Only the adapter knows whether anything
    /// was sent, so whoever waits for it waits longer than its own limits are.
    fn patience(&self) -> Duration {
        Duration::from_secs(90)
    }

    /// What a stored token must have been issued by to be used here: the base URL, and a hash
    /// of the app key (never the key). A token is never sent to another host.
    fn binding(&self, product: Product) -> String;

    /// Logs in for one product. Kills that product's previous token at the broker.
    ///
    /// # Errors
    /// Any [`Error`]; class `NeedsOperator` must not be retried without a person.
    fn login(&self, product: Product) -> BoxFuture<'_, Result<Login, Error>>;

    /// Downloads the instrument master and the index lists.
    ///
    /// # Errors
    /// Any [`Error`].
    fn instruments<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<MasterText, Error>>;

    /// Opens the live feed.
    ///
    /// # Errors
    /// Any [`Error`]; `InvalidToken` if the handshake refused the token.
    fn open_feed<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Box<dyn Feed>, Error>>;

    /// Asks whether a market-data token is good, as cheaply as that can be asked.
    ///
    /// # Errors
    /// Any [`Error`]; only one of class `NeedsToken` says that it is not.
    fn verify<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<(), Error>> {
        let _ = token;
        not_offered("way to verify a token")
    }

    /// Subscribes one batch of at most `limits().per_request` instruments. If the broker
    /// refuses the whole batch for some of them, the adapter finds out which.
    ///
    /// # Errors
    /// Errors that concern the whole request (token, network, rate, limit).
    fn subscribe<'a>(
        &'a self,
        token: &'a Token,
        kind: Kind,
        instruments: &'a [InstrumentId],
    ) -> BoxFuture<'a, Result<Subscribed, Error>>;

    /// Unsubscribes one batch. "Not subscribed" counts as done.
    ///
    /// # Errors
    /// Errors that concern the whole request.
    fn unsubscribe<'a>(
        &'a self,
        token: &'a Token,
        kind: Kind,
        instruments: &'a [InstrumentId],
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Last values of up to `limits().per_request` instruments, stamped with the time the
    /// request was sent. Instruments without data are left out.
    ///
    /// # Errors
    /// Any [`Error`].
    fn quotes<'a>(
        &'a self,
        token: &'a Token,
        kind: Kind,
        instruments: &'a [InstrumentId],
    ) -> BoxFuture<'a, Result<Vec<Tick>, Error>>;

    /// Today's orders; empty if there are none. Takes the interactive token.
    ///
    /// # Errors
    /// Any [`Error`].
    fn order_book<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Listing<Order>, Error>>;

    /// Positions; empty if there are none. Takes the interactive token.
    ///
    /// # Errors
    /// Any [`Error`].
    fn positions<'a>(
        &'a self,
        token: &'a Token,
        view: PositionView,
    ) -> BoxFuture<'a, Result<Listing<Position>, Error>>;

    /// Today's orders of the client that orders go to, and of no other whose books the login may see: what may
    /// be acted on.
    ///
    /// # Errors
    /// Any [`Error`], also if it cannot be told which rows these are.
    fn traded_orders<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Listing<Order>, Error>> {
        // A broker of whom each login is one client.
        self.order_book(token)
    }

    /// The same of positions.
    ///
    /// # Errors
    /// As [`Self::traded_orders`].
    fn traded_positions<'a>(
        &'a self,
        token: &'a Token,
        view: PositionView,
    ) -> BoxFuture<'a, Result<Listing<Position>, Error>> {
        self.positions(token, view)
    }

    /// Whether an order whose row names `account` may be of the client that orders go to.
    fn trades_for(&self, token: &Token, account: &str) -> bool {
        let _ = (token, account);
        true
    }

    /// What the account can spend. Takes the interactive token.
    ///
    /// # Errors
    /// Any [`Error`].
    fn funds<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Funds, Error>>;

    /// Every state an order has had today, oldest first. Takes the interactive token.
    ///
    /// # Errors
    /// Any [`Error`]; `Refused` if the broker knows no such order.
    fn order_history<'a>(
        &'a self,
        token: &'a Token,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Order>, Error>> {
        let _ = (token, id);
        not_offered("order history")
    }

    /// Today's trades; empty if there are none. Takes the interactive token.
    ///
    /// # Errors
    /// Any [`Error`].
    fn trades<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Listing<Trade>, Error>> {
        let _ = token;
        not_offered("trade book")
    }

    /// What is held for delivery. Takes the interactive token.
    ///
    /// # Errors
    /// Any [`Error`].
    fn holdings<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Listing<Holding>, Error>> {
        let _ = token;
        not_offered("holdings")
    }

    /// Whose account it is. Takes the interactive token. Some brokers allow about one call a day.
    ///
    /// # Errors
    /// Any [`Error`].
    fn profile<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Profile, Error>> {
        let _ = token;
        not_offered("profile")
    }

    /// Sends an order and returns the broker's number of it. That is no acceptance: the order book tells.
    /// Never repeats anything. Takes the interactive token, as all that follows. What has not had its turn by
    /// `send_by` is not sent: an order that comes late is worse than none. What only takes back knows no such bound.
    ///
    /// # Errors
    /// Any [`Error`]; `NoTurn` or `NotSent` if `send_by` came first; where [`Error::is_unclear`], the order may have been placed.
    fn place<'a>(
        &'a self,
        token: &'a Token,
        send_by: Instant,
        order: &'a NewOrder,
    ) -> BoxFuture<'a, Result<String, Error>> {
        let _ = (token, send_by, order);
        not_offered("orders")
    }

    /// Asks for an order's change.
    ///
    /// # Errors
    /// As [`Self::place`].
    fn modify<'a>(
        &'a self,
        token: &'a Token,
        send_by: Instant,
        change: &'a OrderChange,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let _ = (token, send_by, change);
        not_offered("orders")
    }

    /// Asks for an order's cancellation. `unique_id` may be empty.
    ///
    /// # Errors
    /// As [`Self::place`].
    fn cancel<'a>(
        &'a self,
        token: &'a Token,
        id: &'a str,
        unique_id: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let _ = (token, id, unique_id);
        not_offered("orders")
    }

    /// Asks for the cancellation of every order that stands, of one instrument.
    ///
    /// # Errors
    /// As [`Self::place`].
    fn cancel_all<'a>(
        &'a self,
        token: &'a Token,
        instrument: InstrumentId,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let _ = (token, instrument);
        not_offered("orders")
    }

    /// Sends a cover order: an entry (limit `price`) and its stop (`trigger`).
    ///
    /// # Errors
    /// As [`Self::place`].
    fn place_cover<'a>(
        &'a self,
        token: &'a Token,
        send_by: Instant,
        order: &'a NewOrder,
    ) -> BoxFuture<'a, Result<CoverIds, Error>> {
        let _ = (token, send_by, order);
        not_offered("cover orders")
    }

    /// Asks for the end of a cover order, by the number of its stop.
    ///
    /// # Errors
    /// As [`Self::place`].
    fn exit_cover<'a>(&'a self, token: &'a Token, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        let _ = (token, id);
        not_offered("cover orders")
    }

    /// Sends a bracket order and returns the broker's number of its entry.
    ///
    /// # Errors
    /// As [`Self::place`].
    fn place_bracket<'a>(
        &'a self,
        token: &'a Token,
        send_by: Instant,
        order: &'a BracketOrder,
    ) -> BoxFuture<'a, Result<String, Error>> {
        let _ = (token, send_by, order);
        not_offered("bracket orders")
    }

    /// Asks for the end of a bracket order, by the number of its entry.
    ///
    /// # Errors
    /// As [`Self::place`].
    fn exit_bracket<'a>(&'a self, token: &'a Token, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        let _ = (token, id);
        not_offered("bracket orders")
    }

    /// Asks for a position's conversion into another product.
    ///
    /// # Errors
    /// As [`Self::place`].
    fn convert<'a>(
        &'a self,
        token: &'a Token,
        send_by: Instant,
        what: &'a Conversion,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let _ = (token, send_by, what);
        not_offered("conversion")
    }

    /// Asks for a position's closing.
    ///
    /// # Errors
    /// As [`Self::place`].
    fn square_off<'a>(
        &'a self,
        token: &'a Token,
        send_by: Instant,
        what: &'a SquareOff,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let _ = (token, send_by, what);
        not_offered("square off")
    }

    /// The intervals that [`Self::history`] knows.
    fn intervals(&self) -> &'static [Interval] {
        &[]
    }

    /// The most IST calendar days that one [`Self::history`] request of an interval may span; at least one.
    fn history_days(&self, interval: Interval) -> u32 {
        let _ = interval;
        1
    }

    /// Bars of one instrument, oldest first, from the start of the IST day `from` to the end of the day `to`.
    /// Takes the market token. Empty if there are none. What is not finished yet may be missing or growing.
    ///
    /// # Errors
    /// Any [`Error`].
    fn history<'a>(
        &'a self,
        token: &'a Token,
        instrument: InstrumentId,
        interval: Interval,
        from: Date,
        to: Date,
    ) -> BoxFuture<'a, Result<Vec<Bar>, Error>> {
        let _ = (token, instrument, interval, from, to);
        not_offered("history")
    }

    /// Instruments whose names hold `text`, as the broker finds them. Takes the market token.
    ///
    /// # Errors
    /// Any [`Error`].
    fn search<'a>(
        &'a self,
        token: &'a Token,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Vec<FoundInstrument>, Error>> {
        let _ = (token, text);
        not_offered("search")
    }

    /// How the broker's markets stand. Takes the interactive token.
    ///
    /// # Errors
    /// Any [`Error`].
    fn market_status<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Vec<SegmentStatus>, Error>> {
        let _ = token;
        not_offered("market status")
    }

    /// Opens the socket that tells of the account's own events (orders, trades, the session's
    /// end). Takes the interactive token.
    ///
    /// # Errors
    /// Any [`Error`]; `InvalidToken` if the handshake refused the token.
    fn open_account_feed<'a>(
        &'a self,
        token: &'a Token,
    ) -> BoxFuture<'a, Result<Box<dyn AccountFeed>, Error>>;

    /// Reads the credentials anew from where they came, if that can change while the process
    /// runs (files). Says whether they are others now. May block for a file's reading.
    fn reload_credentials(&self) -> bool;

    /// Ends the session at the broker.
    ///
    /// # Errors
    /// Any [`Error`].
    fn logout<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<(), Error>>;
}

/// What an adapter answers to a call that it does not have.
fn not_offered<'a, T: Send + 'a>(what: &str) -> BoxFuture<'a, Result<T, Error>> {
    let error = Error::NotConfigured(format!("this broker offers no {what}"));
    Box::pin(async move { Err(error) })
}

/// Why a feed ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedEnd {
    /// The broker closed it.
    Closed(String),
    /// Nothing at all arrived for longer than the heartbeat allows.
    Silent,
    /// Too many frames in a row could not be decoded.
    Undecodable,
    /// The broker refused or revoked the token.
    TokenRefused(String),
    /// The broker said `logout`: the session was ended or replaced.
    Logout(String),
    /// The transport failed.
    Network(String),
}

impl FeedEnd {
    /// The label of `tickgate_feed_reconnects_total{reason}`.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Closed(_) => "closed",
            Self::Silent => "silent",
            Self::Undecodable => "undecodable",
            Self::TokenRefused(_) => "token_refused",
            Self::Logout(_) => "logout",
            Self::Network(_) => "network",
        }
    }
}

impl fmt::Display for FeedEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(why) => write!(f, "closed by the broker: {why}"),
            Self::Silent => f.write_str("nothing received within the heartbeat's time"),
            Self::Undecodable => f.write_str("too many undecodable frames in a row"),
            Self::TokenRefused(why) => write!(f, "token refused: {why}"),
            Self::Logout(why) => write!(f, "logged out by the broker: {why}"),
            Self::Network(why) => write!(f, "network: {why}"),
        }
    }
}

/// Something that happened to the account, as its socket tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountEvent {
    /// The broker has let us in.
    Joined,
    /// An order has changed, or is new.
    Order(Box<Order>),
    /// Something was traded. The order's own event comes beside it, before or after.
    Trade(Box<Trade>),
    /// A position has changed.
    Position(Box<Position>),
    /// An event that is not read yet, by its name (`order`, `trade`, `position`, …).
    Other(String),
}

/// One open connection that tells of the account's own events. The session's end (`logout`) is
/// a [`FeedEnd`].
pub trait AccountFeed: Send {
    /// The next event; heartbeats are answered and sent meanwhile.
    ///
    /// # Errors
    /// Why it ended; nothing comes afterwards.
    ///
    /// # Cancel safety
    /// A dropped future has lost nothing.
    fn next(&mut self) -> BoxFuture<'_, Result<AccountEvent, FeedEnd>>;
}

/// What a feed counted since it was last asked. Read once per drain, not per tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedCounts {
    /// WebSocket messages read, heartbeats included.
    pub frames: u64,
    /// Frames or messages that could not be decoded.
    pub undecodable: u64,
    /// Messages of codes tickgate does not read.
    pub ignored: u64,
    /// Ticks not yielded because their last price was not positive.
    pub invalid_prices: u64,
    /// Bytes of payload read.
    pub bytes: u64,
}

/// One open connection that yields ticks.
pub trait Feed: Send {
    /// Reads one frame, answers and sends heartbeats by itself, appends the frame's ticks to
    /// `batch`, each stamped with `recv`'s result (called once per frame that holds ticks).
    /// `Ready(Ok)` may append nothing (a heartbeat). `Pending` means the socket is drained.
    ///
    /// # Cancel safety
    /// A poll that returned `Pending` has lost nothing.
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        recv: &dyn Fn() -> UnixNanos,
        batch: &mut Vec<Tick>,
    ) -> Poll<Result<(), FeedEnd>>;

    /// Takes what was counted since the last call.
    fn take_counts(&mut self) -> FeedCounts;

    /// Takes what the broker said of markets' sessions since the last call, the newest of each.
    fn take_phases(&mut self) -> Vec<MarketPhase> {
        Vec::new()
    }
}
