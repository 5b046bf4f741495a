//! What the token actor is asked and told, message by message.

use actix::fut::{ActorFutureExt as _, WrapFuture as _};
use actix::{ActorContext as _, AsyncContext as _, Context, Handler, ResponseActFuture, ResponseFuture};
use futures::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::clock::UnixNanos;
use crate::session::messages::{
    GetToken, Granted, Reconnect, Refresh, RefreshDue, Report, Revoke, SessionReplaced, Stop, StreamDown,
    TokenError, TokenLost, TokenRefused,
};
use crate::session::settings::OnReplaced;
use crate::session::slot::Answer;
use crate::token::Product;
use crate::token::TokenEpoch;

use super::TokenActor;
use super::login::in_time;

impl Handler<GetToken> for TokenActor {
    type Result = ResponseFuture<Result<Granted, TokenError>>;

    fn handle(&mut self, ask: GetToken, ctx: &mut Self::Context) -> Self::Result {
        let now = self.shared.now();
        let rest = if ask.asker.can_rest() { self.rest() } else { None };
        let slot = &mut self.desk(ask.product).slot;
        let (answer, refused) = slot.ask(ask.newer_than, rest, now, Instant::now());
        if refused {
            self.note_refusal(ask.product, ask.newer_than, ask.asker.as_str());
        }
        let outcome = match answer {
            Answer::Token(granted) => Ok(granted),
            Answer::Denied(why) => {
                if refused {
                    self.forget_stored(ask.product, ctx);
                }
                Err(why)
            }
            Answer::LogIn | Answer::Later(_) | Answer::Wait => {
                let (tx, rx) = oneshot::channel();
                self.desk(ask.product).waiters.push(tx);
                match answer {
                    Answer::LogIn => self.log_in(ask.product, ask.asker.as_str(), refused, ctx),
                    Answer::Later(left) => {
                        if refused {
                            self.forget_stored(ask.product, ctx);
                        }
                        self.log_in_later(ask.product, ask.asker.as_str(), left, ctx);
                    }
                    _ if refused => self.forget_stored(ask.product, ctx),
                    _ => {}
                }
                self.publish();
                return rx.map(|answer| answer.unwrap_or(Err(TokenError::Unavailable))).boxed();
            }
        };
        self.publish();
        futures::future::ready(outcome).boxed()
    }
}

impl TokenActor {
    fn note_refusal(&self, product: Product, epoch: Option<TokenEpoch>, who: &str) {
        warn!(%product, ?epoch, who, "token refused by the broker");
        self.shared.note(product, "refused", who, "the broker refused the token", "forgotten");
    }

    /// Removes the stored token, which is dead, without waiting for it. Not while a login is under
    /// way, whose token may have taken its place already.
    pub(super) fn forget_stored(&mut self, product: Product, ctx: &mut Context<Self>) {
        let desk = self.desk(product);
        desk.forget_later = desk.slot.is_logging_in();
        if desk.forget_later {
            return;
        }
        let shared = std::sync::Arc::clone(&self.shared);
        let forgotten = async move {
            let deps = &shared.deps;
            let removed = async { deps.tokens.revoke(&deps.account, product).await.map(drop) };
            if let Err(error) = in_time(removed).await {
                warn!(%product, error, "a dead token could not be removed from the store");
            }
        };
        ctx.spawn(forgotten.into_actor(self));
    }
}

impl Handler<TokenRefused> for TokenActor {
    type Result = ();

    fn handle(&mut self, told: TokenRefused, ctx: &mut Self::Context) {
        let now = self.shared.now();
        if self.desk(told.product).slot.refused(told.epoch, now, Instant::now()) {
            self.note_refusal(told.product, Some(told.epoch), "call");
            self.forget_stored(told.product, ctx);
            self.publish();
        }
    }
}

impl Handler<SessionReplaced> for TokenActor {
    type Result = ();

    fn handle(&mut self, told: SessionReplaced, ctx: &mut Self::Context) {
        let (now, product) = (self.shared.now(), told.product);
        // At night, and at a token's own end, it is the broker that ends sessions.
        let slot = &self.desk(product).slot;
        if slot.may_be_our_own() || !slot.is_usable(now) || self.is_night() {
            if self.desk(product).slot.refused(told.epoch, now, Instant::now()) {
                self.note_refusal(product, Some(told.epoch), &told.how);
                self.forget_stored(product, ctx);
                self.publish();
            }
            return;
        }
        if !self.desk(product).slot.replaced(told.epoch, &told.how, now, Instant::now()) {
            return;
        }
        let outcome = match self.shared.deps.settings.on_replaced {
            OnReplaced::Wait => "waiting",
            OnReplaced::Retake => "retaking",
        };
        self.shared.meters.replaced(product);
        self.shared.note(product, "replaced", "broker", &told.how, outcome);
        error!(
            %product,
            how = told.how,
            policy = outcome,
            until = ?self.morning.map(UnixNanos::in_india),
            "somebody else has logged in with our app key; `tickgate token refresh` takes the session back"
        );
        self.forget_stored(product, ctx);
        self.publish();
    }
}

impl Handler<Refresh> for TokenActor {
    type Result = ResponseFuture<Result<(), TokenError>>;

    fn handle(&mut self, refresh: Refresh, ctx: &mut Self::Context) -> Self::Result {
        let (tx, rx) = oneshot::channel();
        self.desk(refresh.product).operators.push(tx);
        self.log_in_by_operator(refresh.product, &refresh.by, ctx);
        rx.map(|answer| answer.unwrap_or(Err(TokenError::Unavailable))).boxed()
    }
}

impl Handler<Revoke> for TokenActor {
    type Result = ResponseActFuture<Self, Result<bool, TokenError>>;

    fn handle(&mut self, revoke: Revoke, _: &mut Self::Context) -> Self::Result {
        let product = revoke.product;
        if self.desk(product).slot.is_logging_in() {
            // What it brings could not be taken back afterwards.
            return Box::pin(futures::future::ready(Err(TokenError::Unavailable)).into_actor(self));
        }
        let token = self.desk(product).slot.revoke();
        if let (Product::Market, Some(child)) = (product, &self.child) {
            // Whichever it uses, be it one that was dropped here before. Beyond the mailbox's bound
            // on purpose: the feed must not live on.
            child.addr.do_send(TokenLost { up_to: self.shared.last_epoch() });
        }
        self.shared.rotated(product, TokenEpoch(0));
        self.publish();
        info!(%product, by = revoke.by, "token revoked by an operator");
        let shared = std::sync::Arc::clone(&self.shared);
        let done = async move {
            let deps = &shared.deps;
            let removed = deps.tokens.revoke(&deps.account, product).await;
            let mut outcome = match &removed {
                Ok(_) => "removed from the store".to_owned(),
                Err(error) => {
                    error!(%product, %error, "the revoked token could not be removed from the store");
                    format!("not removed from the store: {error}")
                }
            };
            let held = token.is_some();
            if let Some(token) = token {
                let logout = deps.broker.logout(&token);
                match tokio::time::timeout(deps.settings.request_timeout(), logout).await {
                    Ok(Ok(())) => outcome.push_str(", logged out at the broker"),
                    Ok(Err(error)) => {
                        warn!(%product, %error, "the broker was not told of the revoked session's end");
                        outcome.push_str(", the broker was not told");
                    }
                    Err(_) => outcome.push_str(", the broker did not answer"),
                }
            }
            shared.note(product, "revoked", &revoke.by, "asked for", &outcome);
            removed.map(|found| found || held).map_err(|_| TokenError::Unavailable)
        };
        Box::pin(done.into_actor(self))
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
