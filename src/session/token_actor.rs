//! The token actor: rehydrates tokens, logs in once for all who ask, replaces its child, the
//! stream actor. Not the rules; those are `slot` and `token::expiry`.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::{ActorFutureExt as _, WrapFuture as _};
use actix::{
    Actor, ActorContext as _, Addr, AsyncContext as _, Context, Handler, ResponseActFuture, ResponseFuture,
};
use futures::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::backoff::Backoff;
use crate::broker::{Error, Login};
use crate::clock::UnixNanos;
use crate::market::calendar::{ist_date, next_at};
use crate::session::messages::{
    GetToken, Granted, Reconnect, Refresh, RefreshDue, Report, Revoke, Stop, StreamDown, TokenError,
    TokenRotated,
};
use crate::session::shared::Shared;
use crate::session::slot::{Answer, Held, Slot};
use crate::session::stream_actor::StreamActor;
use crate::session::supervise::{ChildGuard, RestartBudget};
use crate::token::expiry::{Facts, Origin, Verdict, read_exp};
use crate::token::store::{self, Loaded, Stored};
use crate::token::{Product, Token};

/// Messages that may wait; a hundred askers at once must not be refused.
const MAILBOX: usize = 256;
/// How long a store may take before the login is reported without it.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// The wall clock is looked at least this often, so that it may jump.
const LOOK_EVERY: Duration = Duration::from_secs(30);

type Waiter = oneshot::Sender<Result<Granted, TokenError>>;

struct Desk {
    slot: Slot,
    waiters: Vec<Waiter>,
    /// Persons who asked for a login and want to know how it went.
    operators: Vec<oneshot::Sender<Result<(), TokenError>>>,
}

/// The child. Telling it to stop when its parent is gone is the drop's job, panics included.
struct Child {
    number: u64,
    addr: Addr<StreamActor>,
}

impl Drop for Child {
    fn drop(&mut self) {
        // Beyond the mailbox's bound on purpose: it is the last message it gets.
        self.addr.do_send(Stop);
    }
}

/// See the module's text.
pub(crate) struct TokenActor {
    shared: Arc<Shared>,
    market: Desk,
    interactive: Desk,
    // Dropped before the guard: the child is told to stop before the parent's end is known.
    child: Option<Child>,
    children: u64,
    budget: RestartBudget,
    planned: Option<UnixNanos>,
    guard: ChildGuard,
}

impl TokenActor {
    pub(crate) fn new(shared: Arc<Shared>, guard: ChildGuard) -> Self {
        let settings = &shared.deps.settings;
        let desk = |product: Product| {
            let seed = shared.deps.seed.wrapping_add(1 + product as u64);
            let backoff = Backoff::new(settings.backoff_floor(), settings.backoff_ceiling(), seed);
            let mut slot = Slot::new(settings.rules(), backoff);
            slot.remember(shared.status.borrow().token(product), shared.now());
            Desk { slot, waiters: Vec::new(), operators: Vec::new() }
        };
        Self {
            market: desk(Product::Market),
            interactive: desk(Product::Interactive),
            child: None,
            children: 0,
            budget: RestartBudget::new(settings.restart_budget, settings.restart_window()),
            planned: settings.planned_login_ist.map(|time| next_at(shared.now(), time)),
            guard,
            shared,
        }
    }

    fn desk(&mut self, product: Product) -> &mut Desk {
        match product {
            Product::Market => &mut self.market,
            Product::Interactive => &mut self.interactive,
        }
    }

    fn rehydrate(&mut self, product: Product) {
        let deps = &self.shared.deps;
        match deps.tokens.load(&deps.account, product, &deps.broker.binding(product)) {
            Loaded::Found(stored) => {
                let facts = Facts::of(stored.secret.expose(), stored.issued_at, Origin::Store);
                let token = Token {
                    product,
                    epoch: self.shared.next_epoch(),
                    secret: stored.secret,
                    facts: Arc::new(stored.facts),
                    issued_at: stored.issued_at,
                    expires_at: stored.expires_at,
                };
                let (issued_at, now) = (token.issued_at, self.shared.now());
                match self.desk(product).slot.rehydrate(Held { token, facts }, now) {
                    Verdict::Usable => info!(%product, %issued_at, "stored token taken up"),
                    Verdict::Dead(cause) => info!(%product, %issued_at, %cause, "stored token not used"),
                }
            }
            Loaded::Missing => info!(%product, "no stored token"),
            Loaded::Unusable(why) => warn!(%product, %why, "stored token cannot be used, logging in instead"),
        }
    }

    /// Begins a login if one may be tried and none is under way.
    fn log_in(&mut self, product: Product, forget_stored: bool, ctx: &mut Context<Self>) {
        if !self.desk(product).slot.begin_login(Instant::now()) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let login = async move {
            let deps = &shared.deps;
            if forget_stored
                && let Err(e) =
                    in_time(async { deps.tokens.revoke(&deps.account, product).await.map(drop) }).await
            {
                warn!(%product, error = %e, "refused token could not be removed from the store");
            }
            let patience = Duration::from_millis(deps.settings.login_timeout_ms);
            let answer = tokio::time::timeout(patience, deps.broker.login(product)).await;
            let login = answer
                .unwrap_or_else(|_| Err(Error::Network("the login was not answered in time".to_owned())))?;
            let issued_at = shared.now();
            Ok::<_, Error>((keep(&shared, product, login, issued_at).await, issued_at))
        };
        ctx.spawn(
            login
                .into_actor(self)
                .map(move |outcome, actor, ctx| actor.login_finished(product, outcome, ctx)),
        );
        self.publish();
    }

    fn login_finished(
        &mut self,
        product: Product,
        outcome: Result<(Stored, UnixNanos), Error>,
        ctx: &mut Context<Self>,
    ) {
        let now = self.shared.now();
        // What the operator is told is how the login went; an asker may still get a token that
        // was only due for renewal.
        let (told, answer) = match outcome {
            Ok((stored, issued_at)) => {
                let granted = self.took(product, stored, issued_at);
                if let (Product::Market, Some(child)) = (product, &self.child)
                    && child.addr.try_send(TokenRotated(granted.clone())).is_err()
                {
                    warn!("the stream actor does not take the new token; it will ask for it");
                }
                (Ok(()), Ok(granted))
            }
            Err(error) => {
                let told = self.failed(product, &error, ctx);
                (Err(told.clone()), self.desk(product).slot.last_resort(now).ok_or(told))
            }
        };
        let desk = self.desk(product);
        // Who has gone in the meantime needs no answer.
        for waiter in desk.waiters.drain(..) {
            let _ = waiter.send(answer.clone());
        }
        for operator in desk.operators.drain(..) {
            let _ = operator.send(told.clone());
        }
        self.publish();
    }

    fn took(&mut self, product: Product, stored: Stored, issued_at: UnixNanos) -> Granted {
        let facts = Facts::of(stored.secret.expose(), issued_at, Origin::Login);
        let token = Token {
            product,
            epoch: self.shared.next_epoch(),
            secret: stored.secret,
            facts: Arc::new(stored.facts),
            issued_at,
            expires_at: stored.expires_at,
        };
        info!(%product, user = %token.facts.user_id, "logged in");
        self.shared.meters.login(product, "ok");
        self.desk(product).slot.logged_in(Held { token, facts }, issued_at)
    }

    fn failed(&mut self, product: Product, error: &Error, ctx: &mut Context<Self>) -> TokenError {
        let (told, retry_in) = self.desk(product).slot.login_failed(error, Instant::now());
        match &told {
            TokenError::Disabled(what) => info!(%product, what, "no login: not configured"),
            TokenError::NeedsOperator(_) => {
                self.shared.meters.login(product, "refused");
                error!(%product, %error, "login refused; not tried again until an operator acts");
            }
            TokenError::Waiting { .. } | TokenError::Unavailable => {
                self.shared.meters.login(product, "failed");
                warn!(%product, %error, ?retry_in, "login failed");
            }
        }
        if let Some(retry_in) = retry_in {
            ctx.run_later(retry_in, move |actor, ctx| actor.retry(product, ctx));
        }
        told
    }

    fn retry(&mut self, product: Product, ctx: &mut Context<Self>) {
        let now = self.shared.now();
        if !self.desk(product).slot.is_usable(now) {
            self.log_in(product, false, ctx);
        }
    }

    /// Renews what is due, and arms the timer for the next look.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let now = self.shared.now();
        let planned = self.planned.filter(|at| *at <= now);
        if let (Some(at), Some(time)) = (planned, self.shared.deps.settings.planned_login_ist) {
            self.planned = Some(next_at(now, time));
            if self.shared.deps.calendar.is_trading_day(ist_date(at)) {
                for product in Product::ALL {
                    if !self.desk(product).slot.is_usable(now) {
                        info!(%product, "the day's planned login");
                        self.log_in(product, false, ctx);
                    }
                }
            }
        }
        for product in Product::ALL {
            if self.desk(product).slot.renewal_is_due(now) {
                self.log_in(product, false, ctx);
            }
        }
        let next = [self.market.slot.next_change(now), self.interactive.slot.next_change(now), self.planned]
            .into_iter()
            .flatten()
            .min();
        let wait = next.map_or(LOOK_EVERY, |at| at.since(now)).clamp(Duration::from_millis(10), LOOK_EVERY);
        ctx.notify_later(RefreshDue, wait);
        self.publish();
    }

    fn spawn_child(&mut self, ctx: &mut Context<Self>) {
        self.children += 1;
        let number = self.children;
        let parent = ctx.address();
        let obituary = ChildGuard::new({
            let parent = parent.clone();
            move |obituary| {
                // Beyond the mailbox's bound on purpose: an obituary must not be lost.
                parent.do_send(StreamDown { child: number, panicked: obituary.panicked });
            }
        });
        let addr = StreamActor::new(Arc::clone(&self.shared), parent, obituary).start();
        self.child = Some(Child { number, addr });
    }

    fn publish(&self) {
        let (now, instant) = (self.shared.now(), Instant::now());
        self.shared.status.send_if_modified(|status| {
            let mut changed = false;
            for (product, desk) in
                [(Product::Market, &self.market), (Product::Interactive, &self.interactive)]
            {
                let next = desk.slot.status(now, instant);
                let shown = status.token_mut(product);
                changed |= *shown != next;
                *shown = next;
            }
            changed
        });
    }
}

/// Writes a fresh token down. Whatever goes wrong, the login is good.
async fn keep(shared: &Shared, product: Product, login: Login, issued_at: UnixNanos) -> Stored {
    let deps = &shared.deps;
    if let Some(day) = &login.facts.app_key_expires {
        info!(%product, app_key_expires = day, "the broker names the last day of the app key");
    }
    let expires_at = read_exp(login.secret.expose()).at();
    if expires_at.is_none() {
        warn!(%product, "the token does not name its end; it is used until refused or cut off");
    }
    let stored = Stored { secret: Arc::new(login.secret), facts: login.facts, issued_at, expires_at };
    let binding = deps.broker.binding(product);
    let written = deps.tokens.upsert(&deps.account, product, &binding, &stored);
    if let Err(why) = in_time(written).await {
        shared.meters.store_failure(product);
        warn!(%product, error = why, "token could not be stored; a restart will log in again");
    }
    stored
}

/// Waits for the store, but not for ever: whoever asked for a token is waiting too.
async fn in_time(written: impl Future<Output = Result<(), store::Error>>) -> Result<(), String> {
    match tokio::time::timeout(STORE_TIMEOUT, written).await {
        Ok(outcome) => outcome.map_err(|e| e.to_string()),
        Err(_) => Err("the store did not answer in time".to_owned()),
    }
}

impl Actor for TokenActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        for product in Product::ALL {
            self.rehydrate(product);
        }
        self.spawn_child(ctx);
        let now = self.shared.now();
        for product in Product::ALL {
            if !self.desk(product).slot.is_usable(now) {
                self.log_in(product, false, ctx);
            }
        }
        self.look(ctx);
    }
}

impl Handler<GetToken> for TokenActor {
    type Result = ResponseFuture<Result<Granted, TokenError>>;

    fn handle(&mut self, ask: GetToken, ctx: &mut Self::Context) -> Self::Result {
        let now = self.shared.now();
        let (answer, refused) = self.desk(ask.product).slot.ask(ask.newer_than, now, Instant::now());
        if refused {
            warn!(product = %ask.product, epoch = ?ask.newer_than, "token refused by the broker");
        }
        let outcome = match answer {
            Answer::Token(granted) => Ok(granted),
            Answer::Denied(why) => Err(why),
            Answer::LogIn | Answer::Wait => {
                let (tx, rx) = oneshot::channel();
                self.desk(ask.product).waiters.push(tx);
                if matches!(answer, Answer::LogIn) {
                    self.log_in(ask.product, refused, ctx);
                }
                return rx.map(|answer| answer.unwrap_or(Err(TokenError::Unavailable))).boxed();
            }
        };
        self.publish();
        futures::future::ready(outcome).boxed()
    }
}

impl Handler<Refresh> for TokenActor {
    type Result = ResponseFuture<Result<(), TokenError>>;

    fn handle(&mut self, refresh: Refresh, ctx: &mut Self::Context) -> Self::Result {
        let (tx, rx) = oneshot::channel();
        info!(product = %refresh.product, by = refresh.by, "refresh");
        let desk = self.desk(refresh.product);
        desk.slot.unblock();
        desk.operators.push(tx);
        self.log_in(refresh.product, false, ctx);
        rx.map(|answer| answer.unwrap_or(Err(TokenError::Unavailable))).boxed()
    }
}

impl Handler<Revoke> for TokenActor {
    type Result = ResponseFuture<Result<bool, TokenError>>;

    fn handle(&mut self, revoke: Revoke, _: &mut Self::Context) -> Self::Result {
        info!(product = %revoke.product, by = revoke.by, "revoke");
        futures::future::ready(Err(TokenError::Unavailable)).boxed()
    }
}

impl Handler<RefreshDue> for TokenActor {
    type Result = ();

    fn handle(&mut self, _: RefreshDue, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}

impl Handler<StreamDown> for TokenActor {
    type Result = ();

    fn handle(&mut self, down: StreamDown, ctx: &mut Self::Context) {
        if self.child.as_ref().is_none_or(|child| child.number != down.child) {
            return;
        }
        self.child = None;
        error!(panicked = down.panicked, "the stream actor has ended unexpectedly");
        if self.budget.spend(Instant::now()) {
            self.shared.meters.restart("stream");
            self.spawn_child(ctx);
        } else {
            error!("the stream actor's restart budget is spent");
            ctx.stop();
        }
    }
}

impl Handler<Reconnect> for TokenActor {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, _: Reconnect, _: &mut Self::Context) -> Self::Result {
        let Some(child) = &self.child else { return futures::future::ready(false).boxed() };
        child.addr.send(Reconnect).map(|sent| sent.unwrap_or(false)).boxed()
    }
}

impl Handler<Report> for TokenActor {
    type Result = ResponseFuture<Result<(), &'static str>>;

    fn handle(&mut self, _: Report, _: &mut Self::Context) -> Self::Result {
        const GONE: Result<(), &str> = Err("the stream actor does not answer");
        let Some(child) = &self.child else { return futures::future::ready(GONE).boxed() };
        child.addr.send(Report).map(|sent| sent.unwrap_or(GONE)).boxed()
    }
}

impl Handler<Stop> for TokenActor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Stop, _: &mut Self::Context) -> Self::Result {
        self.guard.disarm();
        let stopped = self.child.take().map(|child| child.addr.send(Stop));
        let stopped = async move {
            if let Some(stopped) = stopped {
                // A child that is gone already is stopped too.
                let _ = stopped.await;
            }
        };
        Box::pin(stopped.into_actor(self).map(|(), _, ctx| ctx.stop()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_is_not_waited_for() {
        assert!(in_time(std::future::pending()).await.unwrap_err().contains("in time"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_is_only_reported() {
        let failed = crate::store::Error::Failed("disk full".to_owned());
        let why = in_time(std::future::ready(Err(store::Error::Store(failed)))).await.unwrap_err();
        assert!(why.contains("disk full"), "{why}");
    }
}
