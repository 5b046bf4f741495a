//! Shows the sessions to the REST interface: which account a call is about, and what its errors mean there.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::civil::Date;

use crate::app::sessions::Sessions;
use crate::broker;
use crate::gateway::control::{Desk, DeskError, Placer, Refused};
use crate::market::{
    Bar, Funds, Holding, InstrumentId, Interval, Kind, Listing, NewOrder, Order, OrderChange, Position,
    PositionView, Tick, Trade,
};
use crate::session::{By, CallError, OrderError, SessionHandle, TokenError};

/// For a question about data, however many accounts it goes to: below what OpenAlgo's clients wait.
const PATIENCE: Duration = Duration::from_secs(110);

/// What one call may take less than the whole question, at least.
const SPARE: Duration = Duration::from_secs(20);

/// When to ask again for what found no turn in time.
const TURN_AGAIN: Duration = Duration::from_secs(1);

/// The brokers behind the REST interface.
pub(super) struct Brokers {
    pub(super) sessions: Sessions,
}

impl Brokers {
    fn account(&self, name: Option<&str>) -> Result<&SessionHandle, DeskError> {
        self.sessions.named(name).map_err(|refused| match refused {
            Refused::NoAccount(name) => DeskError::NoAccount(name),
            Refused::WhichAccount(names) => DeskError::WhichAccount(names),
            Refused::NotConfigured(why) => DeskError::NotConfigured(why),
            Refused::Conflict(why) | Refused::Failed(why) => DeskError::Failed(why),
        })
    }

    /// Asks one account after the other until one can answer: data are the same at each.
    async fn of_any<T: Send>(
        &self,
        ask: impl Fn(SessionHandle) -> BoxFuture<'static, Result<T, CallError>> + Send + Sync,
    ) -> Result<T, DeskError> {
        let longest = self.sessions.iter().map(|member| member.session.patience() + SPARE).max();
        let patience = longest.map_or(PATIENCE, |longest| longest.max(PATIENCE));
        tokio::time::timeout(patience, self.one_by_one(ask))
            .await
            .unwrap_or_else(|_| Err(DeskError::Failed("the broker did not answer in time".to_owned())))
    }

    async fn one_by_one<T: Send>(
        &self,
        ask: impl Fn(SessionHandle) -> BoxFuture<'static, Result<T, CallError>> + Send + Sync,
    ) -> Result<T, DeskError> {
        let mut last = DeskError::NoSession("no account is running".to_owned());
        for member in self.sessions.iter().filter(|member| !member.has_failed()) {
            match ask(member.session.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    let may_others = matches!(
                        error,
                        CallError::Token(_)
                            | CallError::Broker(
                                broker::Error::Network(_)
                                    | broker::Error::NotSent(_)
                                    | broker::Error::NoTurn(_)
                                    | broker::Error::Http { .. }
                                    | broker::Error::InvalidToken { .. }
                            )
                    );
                    last = failed(error);
                    if !may_others {
                        break;
                    }
                }
            }
        }
        Err(last)
    }
}

impl Desk for Brokers {
    fn quotes(
        &self,
        kind: Kind,
        instruments: Vec<InstrumentId>,
    ) -> BoxFuture<'_, Result<Vec<Tick>, DeskError>> {
        let instruments: Arc<[InstrumentId]> = instruments.into();
        self.of_any(move |session| {
            let instruments = Arc::clone(&instruments);
            async move { session.quotes(kind, &instruments).await }.boxed()
        })
        .boxed()
    }

    fn intervals(&self) -> Vec<Interval> {
        let mut intervals: Vec<_> =
            self.sessions.iter().flat_map(|member| member.session.intervals()).copied().collect();
        intervals.sort_unstable();
        intervals.dedup();
        intervals
    }

    fn history(
        &self,
        instrument: InstrumentId,
        interval: Interval,
        from: Date,
        to: Date,
    ) -> BoxFuture<'_, Result<Vec<Bar>, DeskError>> {
        self.of_any(move |session| {
            async move { session.history(instrument, interval, from, to).await }.boxed()
        })
        .boxed()
    }

    fn order_book<'a>(
        &'a self,
        account: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Listing<Order>, DeskError>> {
        async move { self.account(account)?.order_book().await.map_err(failed) }.boxed()
    }

    fn trades<'a>(&'a self, account: Option<&'a str>) -> BoxFuture<'a, Result<Listing<Trade>, DeskError>> {
        async move { self.account(account)?.trades().await.map_err(failed) }.boxed()
    }

    fn positions<'a>(
        &'a self,
        account: Option<&'a str>,
        view: PositionView,
    ) -> BoxFuture<'a, Result<Listing<Position>, DeskError>> {
        async move { self.account(account)?.positions(view).await.map_err(failed) }.boxed()
    }

    fn traded_orders<'a>(
        &'a self,
        account: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Listing<Order>, DeskError>> {
        async move { self.account(account)?.traded_orders().await.map_err(failed) }.boxed()
    }

    fn order_to_change<'a>(
        &'a self,
        account: Option<&'a str>,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Listing<Order>, DeskError>> {
        async move { self.account(account)?.order_to_change(id).await.map_err(not_done) }.boxed()
    }

    fn traded_positions<'a>(
        &'a self,
        account: Option<&'a str>,
        view: PositionView,
    ) -> BoxFuture<'a, Result<Listing<Position>, DeskError>> {
        async move { self.account(account)?.traded_positions(view).await.map_err(failed) }.boxed()
    }

    fn holdings<'a>(
        &'a self,
        account: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Listing<Holding>, DeskError>> {
        async move { self.account(account)?.holdings().await.map_err(failed) }.boxed()
    }

    fn funds<'a>(&'a self, account: Option<&'a str>) -> BoxFuture<'a, Result<Funds, DeskError>> {
        async move { self.account(account)?.funds().await.map_err(failed) }.boxed()
    }

    fn account_name(&self, account: Option<&str>) -> Result<String, DeskError> {
        Ok(self.account(account)?.account().to_owned())
    }

    fn place<'a>(
        &'a self,
        account: Option<&'a str>,
        order: NewOrder,
        by: &'a Placer,
    ) -> BoxFuture<'a, Result<String, DeskError>> {
        async move { self.account(account)?.place(order, &whose(by)).await.map_err(not_done) }.boxed()
    }

    fn modify<'a>(
        &'a self,
        account: Option<&'a str>,
        change: OrderChange,
        by: &'a Placer,
    ) -> BoxFuture<'a, Result<(), DeskError>> {
        async move { self.account(account)?.modify(change, &whose(by)).await.map_err(not_done) }.boxed()
    }

    fn cancel<'a>(
        &'a self,
        account: Option<&'a str>,
        id: &'a str,
        by: &'a Placer,
    ) -> BoxFuture<'a, Result<(), DeskError>> {
        async move { self.account(account)?.cancel(id, &whose(by)).await.map_err(not_done) }.boxed()
    }
}

fn whose(by: &Placer) -> By {
    By { key: by.key.clone(), strategy: by.strategy.clone() }
}

fn not_done(error: OrderError) -> DeskError {
    match error {
        OrderError::Disabled => DeskError::NotConfigured(error.to_string()),
        OrderError::NotAllowed(why) | OrderError::NotDone(why) => DeskError::Refused(why),
        OrderError::Call(CallError::Broker(broker::Error::NotSent(why))) => DeskError::NotSent(why),
        OrderError::Call(error) => failed(error),
        OrderError::Unclear { message, unique_id, sent_at } => {
            DeskError::Unclear { message, unique_id, sent_at }
        }
    }
}

fn failed(error: CallError) -> DeskError {
    let words = error.to_string();
    match error {
        CallError::Token(TokenError::Disabled(_)) => DeskError::NotConfigured(words),
        CallError::Token(_) | CallError::Broker(broker::Error::InvalidToken { .. }) => {
            DeskError::NoSession(words)
        }
        CallError::Range(_) => DeskError::Refused(words),
        CallError::Broker(error) => match error {
            broker::Error::RateLimited { retry_after, description } => {
                DeskError::Busy { message: description, retry_after }
            }
            broker::Error::NoTurn(_) => DeskError::Busy { message: words, retry_after: Some(TURN_AGAIN) },
            broker::Error::Refused { description, .. } if !description.is_empty() => {
                DeskError::Refused(description)
            }
            error => match error.class() {
                broker::Class::Refused => DeskError::Refused(words),
                broker::Class::NeedsOperator => DeskError::NotConfigured(words),
                broker::Class::NeedsToken => DeskError::NoSession(words),
                broker::Class::Transient => DeskError::Failed(words),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_errors_mean_to_a_consumer() {
        let text = String::new;
        let refused =
            broker::Error::Refused { status: 400, code: text(), description: "RMS says no".to_owned() };
        assert_eq!(failed(CallError::Broker(refused)), DeskError::Refused("RMS says no".to_owned()));
        let limited = broker::Error::RateLimited { retry_after: None, description: "slow".to_owned() };
        assert!(matches!(failed(limited.into()), DeskError::Busy { retry_after: None, .. }));
        assert!(matches!(failed(TokenError::Disabled(text()).into()), DeskError::NotConfigured(_)));
        assert!(matches!(failed(TokenError::Revoked.into()), DeskError::NoSession(_)));
        let dead = broker::Error::InvalidToken { code: text(), description: text() };
        assert!(matches!(failed(dead.into()), DeskError::NoSession(_)));
        assert!(matches!(failed(broker::Error::Network(text()).into()), DeskError::Failed(_)));
        assert!(matches!(failed(broker::Error::NotSent(text()).into()), DeskError::Failed(_)));
        let unsent = CallError::from(broker::Error::NotSent(text()));
        assert!(
            matches!(not_done(unsent.into()), DeskError::NotSent(_)),
            "of an order that is worth knowing"
        );
        let no_turn = || broker::Error::NoTurn("its turn did not come in time".to_owned());
        for busy in [failed(no_turn().into()), not_done(OrderError::Call(no_turn().into()))] {
            assert!(busy.to_string().contains("nothing was sent"), "{busy}");
            assert!(matches!(busy, DeskError::Busy { retry_after: Some(_), .. }));
        }
        assert!(matches!(not_done(OrderError::Disabled), DeskError::NotConfigured(_)));
        assert_eq!(not_done(OrderError::NotDone("x".to_owned())), DeskError::Refused("x".to_owned()));
    }
}
