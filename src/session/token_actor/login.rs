//! The token actor's logins: one at a time for each product, counted before and stored after.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::{ActorFutureExt as _, WrapFuture as _};
use actix::{AsyncContext as _, Context};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::broker::{Error, Login};
use crate::clock::UnixNanos;
use crate::market::calendar::ist_date;
use crate::session::app_key;
use crate::session::messages::{Granted, TokenError, TokenRotated};
use crate::session::shared::Shared;
use crate::session::slot::{Begin, Held};
use crate::token::expiry::{Facts, Origin, read_exp};
use crate::token::ledger::Count;
use crate::token::store::Stored;
use crate::token::{Product, Token};

use super::TokenActor;

/// How long a store may take before the login is reported without it.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a login brought: the token, when, and why it could not be stored, if so.
type Outcome = Result<(Stored, UnixNanos, Option<String>), Error>;

impl TokenActor {
    /// Begins a login if one may be tried and none is under way. `who` wants it.
    pub(super) fn log_in(
        &mut self,
        product: Product,
        who: &str,
        forget_stored: bool,
        ctx: &mut Context<Self>,
    ) {
        let now = self.shared.now();
        let slot = &mut self.desk(product).slot;
        let why = slot.why(now).to_string();
        match slot.begin_login(now, Instant::now()) {
            Begin::Yes => self.run_login(product, who.to_owned(), why, forget_stored, ctx),
            Begin::Later(left) => self.log_in_later(product, who, left, ctx),
            Begin::No => {}
        }
    }

    /// Logs in when the least interval is over, unless a token has come by then.
    pub(super) fn log_in_later(
        &mut self,
        product: Product,
        who: &str,
        left: Duration,
        ctx: &mut Context<Self>,
    ) {
        if std::mem::replace(&mut self.desk(product).retry_armed, true) {
            return;
        }
        let who = who.to_owned();
        ctx.run_later(left, move |actor, ctx| {
            actor.desk(product).retry_armed = false;
            actor.retry(product, &who, ctx);
        });
    }

    /// Logs in whatever stopped logins before.
    pub(super) fn log_in_by_operator(&mut self, product: Product, by: &str, ctx: &mut Context<Self>) {
        let now = self.shared.now();
        // Secrets in files may have been mended. Not while a login uses them.
        if !self.is_logging_in() {
            self.shared.deps.broker.reload_credentials();
        }
        if self.desk(product).slot.begin_login_by_operator(now) {
            self.run_login(product, by.to_owned(), "asked for".to_owned(), false, ctx);
        }
    }

    fn run_login(
        &mut self,
        product: Product,
        who: String,
        why: String,
        forget_stored: bool,
        ctx: &mut Context<Self>,
    ) {
        info!(%product, who, why, "logging in");
        let shared = Arc::clone(&self.shared);
        let count = self.desk(product).slot.count();
        // Of the keys that this login uses: they may be read anew while it is under way.
        let binding = shared.deps.broker.binding(product);
        let login = async move {
            let deps = &shared.deps;
            // Before the login: a process that is killed again and again must not count anew.
            write_count(&shared, product, count).await;
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
            let (stored, failure) = keep(&shared, product, &binding, login, issued_at).await;
            Ok::<_, Error>((stored, issued_at, failure))
        };
        ctx.spawn(
            login
                .into_actor(self)
                .map(move |outcome, actor, ctx| actor.login_finished(product, outcome, &who, &why, ctx)),
        );
        self.publish();
    }

    fn login_finished(
        &mut self,
        product: Product,
        outcome: Outcome,
        who: &str,
        why: &str,
        ctx: &mut Context<Self>,
    ) {
        let now = self.shared.now();
        // What the operator is told is how the login went; an asker may still get a token that
        // was only due for renewal.
        let (told, answer) = match outcome {
            Ok((stored, issued_at, store_failure)) => {
                let desk = self.desk(product);
                desk.store_failure.clone_from(&store_failure);
                desk.forget_later = false;
                let granted = self.took(product, stored, issued_at);
                let outcome =
                    store_failure.map_or_else(|| "ok".to_owned(), |e| format!("ok, not stored: {e}"));
                self.shared.note(product, "login", who, why, &outcome);
                if let (Product::Market, Some(child)) = (product, &self.child)
                    && child.addr.try_send(TokenRotated(granted.clone())).is_err()
                {
                    warn!("the stream actor does not take the new token; it will ask for it");
                }
                self.shared.rotated(product, granted.token.epoch);
                (Ok(()), Ok(granted))
            }
            Err(error) => {
                let told = self.failed(product, &error, ctx);
                if self.desk(product).forget_later {
                    self.forget_stored(product, ctx);
                }
                self.shared.note(product, "login", who, why, &error.to_string());
                (Err(told.clone()), self.desk(product).slot.last_resort(now).ok_or(told))
            }
        };
        let (shared, count) = (Arc::clone(&self.shared), self.desk(product).slot.count());
        ctx.spawn(async move { write_count(&shared, product, count).await }.into_actor(self));
        self.answer(product, &answer);
        for operator in self.desk(product).operators.drain(..) {
            let _ = operator.send(told.clone());
        }
        self.publish();
    }

    /// Answers all who wait for a token.
    pub(super) fn answer(&mut self, product: Product, answer: &Result<Granted, TokenError>) {
        // Who has gone in the meantime needs no answer.
        for waiter in self.desk(product).waiters.drain(..) {
            let _ = waiter.send(answer.clone());
        }
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
        let last = token.facts.app_key_expires.as_deref();
        app_key::warn_if_near(&self.shared, product, last, ist_date(issued_at));
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
            _ => {
                self.shared.meters.login(product, "failed");
                warn!(%product, %error, ?retry_in, "login failed");
            }
        }
        if let Some(retry_in) = retry_in {
            ctx.run_later(retry_in, move |actor, ctx| actor.retry(product, "retry", ctx));
        }
        told
    }

    /// Logs in unless a token has come meanwhile; whoever waits learns how that went.
    fn retry(&mut self, product: Product, who: &str, ctx: &mut Context<Self>) {
        let now = self.shared.now();
        // At night only for somebody who waits: the morning's login tries again.
        let rests = self.rest().is_some()
            && self.desk(product).slot.can_rest(now)
            && self.desk(product).waiters.is_empty();
        if !rests && !self.desk(product).slot.is_usable(now) {
            self.log_in(product, who, false, ctx);
        }
        let desk = self.desk(product);
        if !desk.slot.is_logging_in() && !desk.retry_armed && !desk.waiters.is_empty() {
            let answer = desk.slot.verdict(now, Instant::now());
            self.answer(product, &answer);
        }
    }
}

/// Writes a fresh token down, and says why that failed if it did. Whatever goes wrong, the login
/// is good.
async fn keep(
    shared: &Shared,
    product: Product,
    binding: &str,
    login: Login,
    issued_at: UnixNanos,
) -> (Stored, Option<String>) {
    let deps = &shared.deps;
    let expires_at = read_exp(login.secret.expose()).at();
    if expires_at.is_none() {
        warn!(%product, "the token does not name its end; it is used until refused or cut off");
    }
    let stored = Stored { secret: Arc::new(login.secret), facts: login.facts, issued_at, expires_at };
    let written = deps.tokens.upsert(&deps.account, product, binding, &stored);
    let failure = in_time(written).await.err();
    if let Some(why) = &failure {
        shared.meters.store_failure(product);
        warn!(%product, error = why, "token could not be stored; a restart will log in again");
    }
    (stored, failure)
}

async fn write_count(shared: &Shared, product: Product, count: Count) {
    let deps = &shared.deps;
    let written = deps.ledger.write(&deps.account, product, count);
    let written = tokio::time::timeout(STORE_TIMEOUT, written).await;
    if !matches!(written, Ok(Ok(()))) {
        warn!(%product, "the count of logins cannot be written; a restart would count anew");
    }
}

/// Waits for the store, but not for ever: whoever asked for a token is waiting too.
pub(super) async fn in_time(
    written: impl Future<Output = Result<(), crate::token::store::Error>>,
) -> Result<(), String> {
    match tokio::time::timeout(STORE_TIMEOUT, written).await {
        Ok(outcome) => outcome.map_err(|e| e.to_string()),
        Err(_) => Err("the store did not answer in time".to_owned()),
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
        let failed = crate::token::store::Error::Store(failed);
        let why = in_time(std::future::ready(Err(failed))).await.unwrap_err();
        assert!(why.contains("disk full"), "{why}");
    }
}
