//! The adapter for brokers that run Symphony's XTS platform.
//! Not a second XTS client for other uses: it does what [`Broker`] asks and no more.

mod account_feed;
mod auth;
mod books;
mod credentials;
pub mod engineio;
mod events;
mod feed;
mod hostlookup;
mod instruments;
mod link;
mod market;
mod orders;
mod pace;
pub mod profiles;
mod rest;
mod said;
mod settings;
pub mod socketio;
mod tls;
mod traded;
pub(crate) mod tried;
mod ways;
mod whose;
pub mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::civil::Date;
use rustls::ClientConfig;
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use profiles::Profile;
pub use settings::{AppKey, Credentials, LoginKind, MAX_MARKET_KEYS, Settings};

use crate::broker::{
    AccountFeed, Broker, Error, Feed, FoundInstrument, Limits, Login, MasterText, SegmentStatus, Subscribed,
};
use crate::clock::Clock;
use crate::market::{
    Bar, BracketOrder, Conversion, CoverIds, Funds, Holding, InstrumentId, Interval, Kind, Listing, NewOrder,
    Order, OrderChange, Position, PositionView, Profile as AccountProfile, SquareOff, Tick, Trade,
};
use crate::token::{Product, Token};

use self::books::Desks;
use self::credentials::Vault;
use self::rest::Rest;
use self::whose::Own;

/// One account at one XTS broker.
pub struct XtsBroker {
    settings: Settings,
    credentials: Vault,
    account: Arc<str>,
    clock: Arc<dyn Clock>,
    rest: Rest,
    tls: Arc<ClientConfig>,
    /// Where hostlookup sent us, once known.
    interactive_base: Mutex<hostlookup::Base>,
    /// In whose name books are asked for.
    desks: Desks,
    /// What tokens are bound to instead of the base URL.
    issuer: Option<&'static str>,
}

impl fmt::Debug for XtsBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XtsBroker")
            .field("account", &self.account)
            .field("base_url", &self.settings.base_url)
            .finish_non_exhaustive()
    }
}

impl XtsBroker {
    /// An adapter for `account`. Connects to nothing yet.
    ///
    /// # Errors
    /// `NotConfigured` if the settings or the certificate file are unusable.
    pub fn new(
        settings: Settings,
        credentials: Credentials,
        account: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let problems = settings.problems();
        if !problems.is_empty() {
            let list: Vec<_> = problems.iter().map(|(key, what)| format!("{key} {what}")).collect();
            return Err(Error::NotConfigured(list.join("; ")));
        }
        if settings.is_exposed() {
            tracing::warn!(
                account,
                "the broker is reached without TLS: keys and tokens can be read on the way"
            );
        }
        let tls = if settings.base_url.starts_with("https") || settings.hostlookup_url.starts_with("https") {
            tls::config(&settings.ca_file, &settings.tls_server_name)?
        } else {
            tls::none()?
        };
        let (account, tls): (Arc<str>, _) = (Arc::from(account), Arc::new(tls));
        let rest = Rest::new(&settings, ClientConfig::clone(&tls), Arc::clone(&account))?;
        Ok(Self {
            desks: Desks::default(),
            settings,
            credentials: Vault::new(credentials),
            account,
            clock,
            rest,
            tls,
            interactive_base: Mutex::default(),
            issuer: None,
        })
    }

    /// Lets [`Broker::reload_credentials`] read them from `source`, which returns `None` where
    /// they cannot be read now. It may block for a file's reading.
    #[must_use]
    pub fn reloading(mut self, source: Box<dyn Fn() -> Option<Credentials> + Send + Sync>) -> Self {
        self.credentials.read_from(source);
        self
    }

    /// Names the variable that an operator puts this account's access token into, for messages
    /// that ask for a new one. Without it: `TICKGATE_XTS_ACCESS_TOKEN`.
    #[must_use]
    pub fn access_token_in(mut self, variable: &str) -> Self {
        self.credentials.name_access_token(variable);
        self
    }

    /// Binds stored tokens to `issuer` instead of the base URL. Only for a broker inside this
    /// process, whose port changes with every start while its sessions live on.
    #[must_use]
    pub fn issued_by(mut self, issuer: &'static str) -> Self {
        self.issuer = Some(issuer);
        self
    }
}

impl Broker for XtsBroker {
    fn limits(&self) -> Limits {
        Limits {
            max_subscriptions: self.settings.max_subscriptions,
            per_request: self.settings.max_per_request,
            request_interval: self.settings.subscription_interval(),
        }
    }

    fn patience(&self) -> Duration {
        self.settings.patience()
    }

    fn binding(&self, product: Product) -> String {
        self.binding_of(product)
    }

    fn login(&self, product: Product) -> BoxFuture<'_, Result<Login, Error>> {
        Box::pin(self.log_in(product))
    }

    fn instruments<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<MasterText, Error>> {
        Box::pin(self.download_master(token))
    }

    fn open_feed<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Box<dyn Feed>, Error>> {
        Box::pin(async move { Ok(Box::new(self.connect(token).await?) as Box<dyn Feed>) })
    }

    fn verify<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.client_config(token).await.map(drop) })
    }

    fn subscribe<'a>(
        &'a self,
        token: &'a Token,
        kind: Kind,
        instruments: &'a [InstrumentId],
    ) -> BoxFuture<'a, Result<Subscribed, Error>> {
        Box::pin(self.subscribe_batch(token, kind, instruments))
    }

    fn unsubscribe<'a>(
        &'a self,
        token: &'a Token,
        kind: Kind,
        instruments: &'a [InstrumentId],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.unsubscribe_batch(token, kind, instruments))
    }

    fn quotes<'a>(
        &'a self,
        token: &'a Token,
        kind: Kind,
        instruments: &'a [InstrumentId],
    ) -> BoxFuture<'a, Result<Vec<Tick>, Error>> {
        Box::pin(self.ask_quotes(token, kind, instruments))
    }

    fn order_book<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Listing<Order>, Error>> {
        Box::pin(self.ask_orders(token))
    }

    fn positions<'a>(
        &'a self,
        token: &'a Token,
        view: PositionView,
    ) -> BoxFuture<'a, Result<Listing<Position>, Error>> {
        Box::pin(self.ask_positions(token, view))
    }

    fn traded_orders<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Listing<Order>, Error>> {
        Box::pin(self.ask_traded_orders(token))
    }

    fn traded_positions<'a>(
        &'a self,
        token: &'a Token,
        view: PositionView,
    ) -> BoxFuture<'a, Result<Listing<Position>, Error>> {
        Box::pin(self.ask_traded_positions(token, view))
    }

    fn trades_for(&self, token: &Token, account: &str) -> bool {
        // Where it is not known whom orders are for, what is sent says so itself.
        Own::of(&self.settings.client_id, &token.facts).map_or(true, |own| own.may_be(account))
    }

    fn funds<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Funds, Error>> {
        Box::pin(self.ask_funds(token))
    }

    fn order_history<'a>(
        &'a self,
        token: &'a Token,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Order>, Error>> {
        Box::pin(self.ask_order_history(token, id))
    }

    fn trades<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Listing<Trade>, Error>> {
        Box::pin(self.ask_trades(token))
    }

    fn holdings<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Listing<Holding>, Error>> {
        Box::pin(self.ask_holdings(token))
    }

    fn profile<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<AccountProfile, Error>> {
        Box::pin(self.ask_profile(token))
    }

    fn place<'a>(
        &'a self,
        token: &'a Token,
        send_by: Instant,
        order: &'a NewOrder,
    ) -> BoxFuture<'a, Result<String, Error>> {
        Box::pin(self.send_order(token, send_by, order))
    }

    fn modify<'a>(
        &'a self,
        token: &'a Token,
        send_by: Instant,
        change: &'a OrderChange,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.send_change(token, send_by, change))
    }

    fn cancel<'a>(
        &'a self,
        token: &'a Token,
        id: &'a str,
        unique_id: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.send_cancel(token, id, unique_id))
    }

    fn cancel_all<'a>(
        &'a self,
        token: &'a Token,
        instrument: InstrumentId,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.send_cancel_all(token, instrument))
    }

    fn place_cover<'a>(
        &'a self,
        token: &'a Token,
        send_by: Instant,
        order: &'a NewOrder,
    ) -> BoxFuture<'a, Result<CoverIds, Error>> {
        Box::pin(self.send_cover(token, send_by, order))
    }

    fn exit_cover<'a>(&'a self, token: &'a Token, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.send_exit_cover(token, id))
    }

    fn place_bracket<'a>(
        &'a self,
        token: &'a Token,
        send_by: Instant,
        order: &'a BracketOrder,
    ) -> BoxFuture<'a, Result<String, Error>> {
        Box::pin(self.send_bracket(token, send_by, order))
    }

    fn exit_bracket<'a>(&'a self, token: &'a Token, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.send_exit_bracket(token, id))
    }

    fn convert<'a>(
        &'a self,
        token: &'a Token,
        send_by: Instant,
        what: &'a Conversion,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.send_conversion(token, send_by, what))
    }

    fn square_off<'a>(
        &'a self,
        token: &'a Token,
        send_by: Instant,
        what: &'a SquareOff,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.send_square_off(token, send_by, what))
    }

    fn intervals(&self) -> &'static [Interval] {
        &market::INTERVALS
    }

    fn history_days(&self, interval: Interval) -> u32 {
        market::history_days(interval)
    }

    fn history<'a>(
        &'a self,
        token: &'a Token,
        instrument: InstrumentId,
        interval: Interval,
        from: Date,
        to: Date,
    ) -> BoxFuture<'a, Result<Vec<Bar>, Error>> {
        Box::pin(self.ask_history(token, instrument, interval, from, to))
    }

    fn search<'a>(
        &'a self,
        token: &'a Token,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Vec<FoundInstrument>, Error>> {
        Box::pin(self.ask_search(token, text))
    }

    fn market_status<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Vec<SegmentStatus>, Error>> {
        Box::pin(self.ask_market_status(token))
    }

    fn open_account_feed<'a>(
        &'a self,
        token: &'a Token,
    ) -> BoxFuture<'a, Result<Box<dyn AccountFeed>, Error>> {
        Box::pin(async move { Ok(Box::new(self.connect_account(token).await?) as Box<dyn AccountFeed>) })
    }

    fn reload_credentials(&self) -> bool {
        self.credentials.reload()
    }

    fn logout<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.log_out(token))
    }
}

#[cfg(test)]
mod tests;
