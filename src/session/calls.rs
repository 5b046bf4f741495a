//! REST calls on the account's behalf: each gets its token from the token actor, and a refused
//! token is replaced once. Not the calls' wire form; that is the broker adapter's.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::broker::{Broker, Class, Error};
use crate::market::{
    Funds, Holding, InstrumentId, Kind, Listing, Order, Position, PositionView, Profile, Tick, Trade,
};
use crate::session::SessionHandle;
use crate::session::messages::{Asker, TokenError, TokenRefused};
use crate::token::{Product, Token};

/// Why a call brought nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// There is no token to call with.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The broker refused the call, or could not be reached.
    #[error(transparent)]
    Broker(#[from] Error),
    /// What was asked for cannot be; nothing was sent.
    #[error("{0}")]
    Range(String),
}

impl CallError {
    /// What a caller should do.
    pub fn class(&self) -> Class {
        match self {
            Self::Token(error) => error.class(),
            Self::Broker(error) => error.class(),
            Self::Range(_) => Class::Refused,
        }
    }
}

impl SessionHandle {
    /// Today's orders.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn order_book(&self) -> Result<Listing<Order>, CallError> {
        self.read(Asker::Call("order book"), Product::Interactive, |broker, token| {
            async move { broker.order_book(&token).await }.boxed()
        })
        .await
    }

    /// Positions.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn positions(&self, view: PositionView) -> Result<Listing<Position>, CallError> {
        self.read(Asker::Call("positions"), Product::Interactive, move |broker, token| {
            async move { broker.positions(&token, view).await }.boxed()
        })
        .await
    }

    /// Today's orders of the client that orders go to: those that may be acted on.
    ///
    /// # Errors
    /// Any [`CallError`], also if it cannot be told which these are.
    pub async fn traded_orders(&self) -> Result<Listing<Order>, CallError> {
        self.read(Asker::Call("order book"), Product::Interactive, |broker, token| {
            async move { broker.traded_orders(&token).await }.boxed()
        })
        .await
    }

    /// The same of positions.
    ///
    /// # Errors
    /// As [`Self::traded_orders`].
    pub async fn traded_positions(&self, view: PositionView) -> Result<Listing<Position>, CallError> {
        self.read(Asker::Call("positions"), Product::Interactive, move |broker, token| {
            async move { broker.traded_positions(&token, view).await }.boxed()
        })
        .await
    }

    /// What the account can spend.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn funds(&self) -> Result<Funds, CallError> {
        self.read(Asker::Call("funds"), Product::Interactive, |broker, token| {
            async move { broker.funds(&token).await }.boxed()
        })
        .await
    }

    /// Today's trades.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn trades(&self) -> Result<Listing<Trade>, CallError> {
        self.read(Asker::Call("trade book"), Product::Interactive, |broker, token| {
            async move { broker.trades(&token).await }.boxed()
        })
        .await
    }

    /// What is held for delivery.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn holdings(&self) -> Result<Listing<Holding>, CallError> {
        self.read(Asker::Call("holdings"), Product::Interactive, |broker, token| {
            async move { broker.holdings(&token).await }.boxed()
        })
        .await
    }

    /// Whose account it is. Some brokers allow about one call a day.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn profile(&self) -> Result<Profile, CallError> {
        self.read(Asker::Call("profile"), Product::Interactive, |broker, token| {
            async move { broker.profile(&token).await }.boxed()
        })
        .await
    }

    /// Every state an order has had today, oldest first.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn order_history(&self, id: &str) -> Result<Vec<Order>, CallError> {
        let id: Arc<str> = id.into();
        self.read(Asker::Call("order history"), Product::Interactive, move |broker, token| {
            let id = Arc::clone(&id);
            async move { broker.order_history(&token, &id).await }.boxed()
        })
        .await
    }

    /// Last values of instruments, in batches of what the broker takes at once. Instruments without
    /// data are left out.
    ///
    /// # Errors
    /// Any [`CallError`]; one failed batch fails the call.
    pub async fn quotes(&self, kind: Kind, instruments: &[InstrumentId]) -> Result<Vec<Tick>, CallError> {
        let mut ticks = Vec::with_capacity(instruments.len());
        let per_request = self.shared.deps.broker.limits().per_request.max(1);
        for batch in instruments.chunks(per_request) {
            let batch: Arc<[InstrumentId]> = batch.into();
            let read = self.read(Asker::Call("quotes"), Product::Market, move |broker, token| {
                let batch = Arc::clone(&batch);
                async move { broker.quotes(&token, kind, &batch).await }.boxed()
            });
            ticks.extend(read.await?);
        }
        Ok(ticks)
    }

    /// Makes a call that changes nothing at the broker, so that it may be repeated: once, with a
    /// token newer than the one that was refused.
    ///
    /// # Cancel safety
    /// Dropping the future ends the call.
    pub(super) async fn read<T>(
        &self,
        asker: Asker,
        product: Product,
        call: impl Fn(Arc<dyn Broker>, Token) -> BoxFuture<'static, Result<T, Error>>,
    ) -> Result<T, CallError> {
        let deps = &self.shared.deps;
        let token = self.tokens.get(product, None, asker).await?.token;
        let refused = token.epoch;
        match self.in_time(call(Arc::clone(&deps.broker), token)).await {
            Err(error) if error.class() == Class::NeedsToken => {}
            answered => return Ok(answered?),
        }
        let token = self.tokens.get(product, Some(refused), asker).await?.token;
        let epoch = token.epoch;
        let answered = self.in_time(call(Arc::clone(&deps.broker), token)).await;
        if let Err(error) = &answered
            && error.class() == Class::NeedsToken
        {
            // Nobody may be handed it again; the next asker brings the login.
            self.tokens.tell(TokenRefused { product, epoch });
        }
        Ok(answered?)
    }

    /// The longest that one call may take.
    pub fn patience(&self) -> Duration {
        self.shared.deps.broker.patience()
    }

    pub(super) async fn in_time<T>(&self, call: BoxFuture<'static, Result<T, Error>>) -> Result<T, Error> {
        let late = || Err(Error::Network("the call was not answered in time".to_owned()));
        tokio::time::timeout(self.patience(), call).await.unwrap_or_else(|_| late())
    }
}
