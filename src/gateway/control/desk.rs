//! What the REST interface needs of the brokers: data, books and orders. Implemented on the session's side
//! and wired in `app`, as [`super::Control`] is.

use std::time::Duration;

use futures::future::BoxFuture;
use jiff::civil::Date;

use crate::clock::UnixNanos;
use crate::market::{
    Bar, Funds, Holding, InstrumentId, Interval, Kind, Listing, NewOrder, Order, OrderChange, Position,
    PositionView, Tick, Trade,
};

/// The brokers as the REST interface sees them. `account` names an account of the configuration; `None` means
/// the only one: where there are several, it is refused with their names. Every call gets its token through
/// the session, waits its turn at the broker, and ends with an error when its time is over.
pub trait Desk: Send + Sync + 'static {
    /// Last values of instruments, from whichever account can. Instruments without data are left out.
    fn quotes(
        &self,
        kind: Kind,
        instruments: Vec<InstrumentId>,
    ) -> BoxFuture<'_, Result<Vec<Tick>, DeskError>>;

    /// The intervals that [`Self::history`] knows, shortest first.
    fn intervals(&self) -> Vec<Interval>;

    /// Bars, oldest first and each once, from the start of the IST day `from` to the end of the day `to`; today's
    /// growing one included.
    fn history(
        &self,
        instrument: InstrumentId,
        interval: Interval,
        from: Date,
        to: Date,
    ) -> BoxFuture<'_, Result<Vec<Bar>, DeskError>>;

    /// Today's orders.
    fn order_book<'a>(&'a self, account: Option<&'a str>)
    -> BoxFuture<'a, Result<Listing<Order>, DeskError>>;

    /// Today's trades.
    fn trades<'a>(&'a self, account: Option<&'a str>) -> BoxFuture<'a, Result<Listing<Trade>, DeskError>>;

    /// Positions.
    fn positions<'a>(
        &'a self,
        account: Option<&'a str>,
        view: PositionView,
    ) -> BoxFuture<'a, Result<Listing<Position>, DeskError>>;

    /// Today's orders of the client that orders of the account go to, which is not always the only one whose
    /// books it may see: those that may be acted on. As everything here, they are wrong to act on where some rows
    /// cannot be read.
    fn traded_orders<'a>(
        &'a self,
        account: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Listing<Order>, DeskError>>;

    /// One of these orders, or none; it need not be as it is this moment. Refused where orders are switched off.
    fn order_to_change<'a>(
        &'a self,
        account: Option<&'a str>,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Listing<Order>, DeskError>>;

    /// The same client's positions.
    fn traded_positions<'a>(
        &'a self,
        account: Option<&'a str>,
        view: PositionView,
    ) -> BoxFuture<'a, Result<Listing<Position>, DeskError>>;

    /// What is held for delivery.
    fn holdings<'a>(&'a self, account: Option<&'a str>)
    -> BoxFuture<'a, Result<Listing<Holding>, DeskError>>;

    /// What the account can spend.
    fn funds<'a>(&'a self, account: Option<&'a str>) -> BoxFuture<'a, Result<Funds, DeskError>>;

    /// The account that is meant, by its own name: what takes turns must know that it is one.
    ///
    /// # Errors
    /// [`DeskError::NoAccount`], [`DeskError::WhichAccount`].
    fn account_name(&self, account: Option<&str>) -> Result<String, DeskError>;

    /// Sends an order on behalf of `by` and returns the broker's number. Its `unique_id` is made anew, whatever
    /// it is. The order is sent once at most; after an unclear outcome it is looked for by its mark.
    fn place<'a>(
        &'a self,
        account: Option<&'a str>,
        order: NewOrder,
        by: &'a Placer,
    ) -> BoxFuture<'a, Result<String, DeskError>>;

    /// Asks for an order's change; once at most.
    fn modify<'a>(
        &'a self,
        account: Option<&'a str>,
        change: OrderChange,
        by: &'a Placer,
    ) -> BoxFuture<'a, Result<(), DeskError>>;

    /// Asks for an order's cancellation; once at most.
    fn cancel<'a>(
        &'a self,
        account: Option<&'a str>,
        id: &'a str,
        by: &'a Placer,
    ) -> BoxFuture<'a, Result<(), DeskError>>;
}

/// On whose behalf an order is sent, for the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placer {
    /// The consumer key's name.
    pub key: String,
    /// What the consumer calls its strategy; may be empty.
    pub strategy: String,
}

/// Why a call brought nothing. No text holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// There is no such account.
    #[error("there is no account {0}")]
    NoAccount(String),
    /// No account was named, and there are several.
    #[error("there are several accounts, name one of them: {}", .0.join(", "))]
    WhichAccount(Vec<String>),
    /// It is switched off, or the broker does not offer it, or keys are missing.
    #[error("{0}")]
    NotConfigured(String),
    /// There is no broker session to ask with; why.
    #[error("no broker session: {0}")]
    NoSession(String),
    /// The broker refused it, in its words.
    #[error("{0}")]
    Refused(String),
    /// The broker asks for fewer requests, or too many wait already, or the turn did not come in time.
    #[error("too many requests to the broker: {message}")]
    Busy {
        /// What is known of it.
        message: String,
        /// When to try again, if that is known.
        retry_after: Option<Duration>,
    },
    /// The broker could not be reached or did not answer; nothing was changed by the call.
    #[error("{0}")]
    Failed(String),
    /// The broker was not told of it: no connection, no token in time, or it would have been late.
    #[error("nothing was sent to the broker: {0}")]
    NotSent(String),
    /// What was asked for may have been done: the broker did not say. It was not repeated.
    #[error("{message}")]
    Unclear {
        /// What is known of it, in words.
        message: String,
        /// The mark to look for in the order book.
        unique_id: String,
        /// When the request was sent.
        sent_at: UnixNanos,
    },
}
