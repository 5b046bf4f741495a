//! One request that changes something: written down, sent once, its outcome found out and written down.
//! Goes on when whoever asked has gone. Not what is sent; those are `actions`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument as _, warn};

use crate::broker::{Broker, Class, Error};
use crate::clock::UnixNanos;
use crate::session::messages::{Asker, TokenRefused};
use crate::session::orders::{By, OrderError};
use crate::session::{CallError, SessionHandle};
use crate::store::audit::Entry;
use crate::token::{Product, Token};

/// When it does not matter how late something is sent, or nobody has set a bound.
const WHENEVER: Duration = Duration::from_hours(24);

/// What is to be sent, as the audit trail has it.
pub(super) struct Request {
    /// `place`, `modify`, ….
    pub(super) action: &'static str,
    /// In words: instrument, side, quantity, price, product.
    pub(super) what: String,
    /// The order's mark; empty for none.
    pub(super) unique_id: String,
    pub(super) by: By,
    /// It takes back what was done, and is worth sending later than what a price depends on.
    pub(super) takes_back: bool,
}

/// The broker did not say what became of it.
pub(super) struct Lost {
    pub(super) sent_at: UnixNanos,
    pub(super) why: Error,
}

/// A request whose outcome is unclear.
enum Failed {
    Clear(OrderError),
    Lost(Lost),
}

impl SessionHandle {
    /// Carries a request out to the end, even if the caller does not wait for it. `find` looks for what
    /// became of it if the broker did not say; `done` puts success into words. `call` is given the moment after
    /// which nothing may be sent any more.
    pub(super) async fn carry_out<T, Found>(
        &self,
        request: Request,
        call: impl Fn(Arc<dyn Broker>, Token, Instant) -> BoxFuture<'static, Result<T, Error>>
        + Send
        + Sync
        + 'static,
        find: impl FnOnce(Self, Lost) -> Found + Send + 'static,
        done: impl FnOnce(&T) -> String + Send + 'static,
    ) -> Result<T, OrderError>
    where
        T: Send + 'static,
        Found: Future<Output = Result<T, OrderError>> + Send,
    {
        let session = self.clone();
        let span = self.shared.span();
        let (unique_id, asked_at) = (request.unique_id.clone(), self.shared.now());
        let within = if request.takes_back { WHENEVER } else { self.send_within() };
        let (send_by, send_by_clock) = (Instant::now() + within, asked_at.plus(within));
        let under_way = self.shared.in_flight.begin();
        let work = async move {
            let _under_way = under_way;
            session.write_down(&request, "about to be sent").await;
            let outcome = match session.send(request.action, (send_by, send_by_clock), call).await {
                Ok(done) => Ok(done),
                Err(Failed::Clear(why)) => Err(why),
                Err(Failed::Lost(lost)) => {
                    warn!(action = request.action, mark = request.unique_id, why = %lost.why, "the broker did not say what became of a request; looking for it");
                    session.write_down(&request, &format!("unclear: {}", lost.why)).await;
                    find(session.clone(), lost).await
                }
            };
            let (label, words) = match &outcome {
                Ok(value) => ("done", done(value)),
                Err(why @ OrderError::Unclear { .. }) => ("unclear", why.to_string()),
                Err(why) => ("refused", format!("not done: {why}")),
            };
            session.shared.meters.order_request(request.action, label);
            session.write_down(&request, &words).await;
            outcome
        };
        match self.shared.runtime.spawn(work.instrument(span)).await {
            Ok(outcome) => outcome,
            // It panicked, or the process is ending.
            Err(_) => Err(OrderError::Unclear {
                message: "the request was given up by an internal failure; look into the broker's order book"
                    .to_owned(),
                unique_id,
                sent_at: asked_at,
            }),
        }
    }

    /// How long what may be late for its price may wait.
    pub(super) fn send_within(&self) -> Duration {
        match self.shared.deps.orders.send_within_ms {
            0 => WHENEVER,
            within => Duration::from_millis(within).min(WHENEVER),
        }
    }

    /// Sends it, unless there is no token by `send_by`. Only a refused token, which the broker looks at before
    /// anything else, leads to a second try.
    async fn send<T>(
        &self,
        name: &'static str,
        (send_by, send_by_clock): (Instant, UnixNanos),
        call: impl Fn(Arc<dyn Broker>, Token, Instant) -> BoxFuture<'static, Result<T, Error>>,
    ) -> Result<T, Failed> {
        let clear = |error: CallError| Failed::Clear(error.into());
        let late = || clear(Error::NotSent("there was no token in time".to_owned()).into());
        let product = Product::Interactive;
        let mut refused = None;
        loop {
            // Whoever waits no longer: the login goes on, for the next one.
            let granted = timeout_at(send_by, self.tokens.get(product, refused, Asker::Call(name))).await;
            let token = granted.map_err(|_| late())?.map_err(|why| clear(why.into()))?.token;
            // Instants stand still while the machine sleeps.
            if Instant::now() > send_by || self.shared.now() > send_by_clock {
                return Err(late());
            }
            let epoch = token.epoch;
            let sent_at = self.shared.now();
            match self.in_time(call(Arc::clone(&self.shared.deps.broker), token, send_by)).await {
                Ok(done) => return Ok(done),
                Err(error) if error.class() == Class::NeedsToken => {
                    if refused.is_some() {
                        self.tokens.tell(TokenRefused { product, epoch });
                        return Err(clear(error.into()));
                    }
                    refused = Some(epoch);
                }
                Err(why) if why.is_unclear() => return Err(Failed::Lost(Lost { sent_at, why })),
                Err(error) => return Err(clear(error.into())),
            }
        }
    }

    async fn write_down(&self, request: &Request, outcome: &str) {
        let By { key, strategy } = &request.by;
        let mut why = vec![request.what.clone()];
        for (name, value) in [("mark", &request.unique_id), ("strategy", strategy)] {
            if !value.is_empty() {
                why.push(format!("{name} {value}"));
            }
        }
        let entry = Entry {
            account: self.shared.deps.account.clone(),
            product: Product::Interactive.as_str().to_owned(),
            who: format!("key {key}"),
            why: why.join(", "),
            outcome: outcome.to_owned(),
            ..Entry::new(self.shared.now(), &format!("order_{}", request.action))
        };
        self.shared.deps.audit.record(&entry).await;
    }
}
