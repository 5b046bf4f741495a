//! Our session with a broker: the actors, the feed task, subscriptions.
//! Not the tick path's insides; those are `hub` and the broker's `Feed`.

mod account_feed;
mod app_key;
mod calls;
mod feed_task;
mod freshness;
mod history;
mod loader;
pub mod machine;
mod messages;
mod night;
mod orders;
mod settings;
mod shared;
mod slot;
mod spread;
mod status;
mod stream_actor;
pub mod subscriptions;
mod supervise;
mod token_actor;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tracing::{Instrument as _, error, info};

pub use calls::CallError;
pub use freshness::judging::SegmentStatus;
pub use loader::{MasterKeeper, keep_master};
pub use messages::TokenError;
pub use orders::{By, OrderError, OrderSettings};
pub use settings::{OnReplaced, OpaqueTokens, Settings};
pub use shared::Deps;
pub use spread::Spread;
pub use status::{FeedStatus, MasterStatus, SessionStatus, TokenStatus};

use crate::clock::UnixNanos;
use crate::hub::FeedState;
use crate::market::{InstrumentId, MarketPhase};
use crate::session::freshness::Cause;
use crate::session::messages::{Asker, GetToken, Granted, Reconnect, Refresh, Report, Revoke, Stop};
use crate::session::shared::Shared;
use crate::session::supervise::{AbortOnDrop, ChildGuard, Obituary, RestartBudget, start_in};
use crate::session::token_actor::TokenActor;
use crate::token::{Product, Token, TokenEpoch};

/// How long a stop waits for orders under way: as long as one call may take, and a look for its outcome.
const ORDER_PATIENCE: Duration = Duration::from_secs(100);
/// How long the actors may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How long an asker waits for a token actor to be there.
const ACTOR_PATIENCE: Duration = Duration::from_secs(5);

/// How a session stands as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    Stopped,
    Failed,
}

/// Starts a session. Must be called inside an actix system, whose thread the actors then live on.
pub fn start(deps: Deps) -> SessionHandle {
    let shared = Arc::new(Shared::new(deps));
    let first = start_actor(&shared);
    let (actor_tx, actor_rx) = watch::channel(Some(first.0.clone()));
    let (stop_tx, stop_rx) = watch::channel(false);
    let (life_tx, life_rx) = watch::channel(Life::Running);
    let tokens = TokenDesk(actor_rx);
    let span = shared.span();
    let supervised = supervise(Arc::clone(&shared), first, actor_tx, tokens.clone(), stop_rx, life_tx);
    actix::spawn(supervised.instrument(span));
    SessionHandle { shared, tokens, stop: Arc::new(stop_tx), life: life_rx }
}

/// A new token actor, and word of its end.
fn start_actor(shared: &Arc<Shared>) -> (Addr<TokenActor>, oneshot::Receiver<Obituary>) {
    let (post, obituary) = oneshot::channel();
    let guard = ChildGuard::new(move |obituary| {
        // Nobody left to hear it: the process is ending.
        let _ = post.send(obituary);
    });
    (start_in(shared.span(), TokenActor::new(Arc::clone(shared), guard)), obituary)
}

/// Keeps a token actor alive within the restart budget. A plain task, because actix's own
/// supervisor does not catch panics.
async fn supervise(
    shared: Arc<Shared>,
    (mut addr, mut obituary): (Addr<TokenActor>, oneshot::Receiver<Obituary>),
    actor: watch::Sender<Option<Addr<TokenActor>>>,
    tokens: TokenDesk,
    mut stop: watch::Receiver<bool>,
    life: watch::Sender<Life>,
) {
    let _account_feed = AbortOnDrop::new(tokio::spawn(
        account_feed::run(Arc::clone(&shared), tokens.clone()).instrument(shared.span()),
    ));
    let _orders = AbortOnDrop::new(tokio::spawn(
        orders::follow::run(Arc::clone(&shared), tokens.clone()).instrument(shared.span()),
    ));
    let _judging = AbortOnDrop::new(tokio::spawn(
        freshness::judging::run(Arc::clone(&shared)).instrument(shared.span()),
    ));
    let settings = &shared.deps.settings;
    let mut budget = RestartBudget::new(settings.restart_budget, settings.restart_window());
    loop {
        tokio::select! {
            gone = &mut obituary => {
                actor.send_replace(None);
                let panicked = gone.is_ok_and(|obituary| obituary.panicked);
                error!(panicked, "the token actor has ended unexpectedly");
                if !budget.spend(Instant::now()) {
                    error!("the token actor's restart budget is spent, giving up");
                    // Whatever the actors said last, nothing comes from here any more.
                    let deps = &shared.deps;
                    deps.spread.set_blocked(deps.feed, true);
                    let (since, reason) = (shared.now(), "given up after repeated internal failures".into());
                    deps.hub.set_feed_state(deps.feed, FeedState::Down { since, reason });
                    shared.judging.blame(Cause::Internal);
                    shared.judging.look_now(&shared);
                    life.send_replace(Life::Failed);
                    return;
                }
                shared.meters.restart("token");
                (addr, obituary) = start_actor(&shared);
                actor.send_replace(Some(addr.clone()));
            }
            // An error means that every handle is gone; nobody can ask for the session any more.
            _ = stop.wait_for(|stop| *stop) => {
                actor.send_replace(None);
                if !matches!(tokio::time::timeout(STOP_PATIENCE, addr.send(Stop)).await, Ok(Ok(()))) {
                    error!("the session's actors did not stop in time");
                }
                info!("the session has stopped");
                life.send_replace(Life::Stopped);
                return;
            }
        }
    }
}

/// The way to whichever token actor is alive.
#[derive(Clone)]
pub(crate) struct TokenDesk(watch::Receiver<Option<Addr<TokenActor>>>);

impl TokenDesk {
    fn actor(&self) -> Result<Addr<TokenActor>, TokenError> {
        self.0.borrow().clone().ok_or(TokenError::Unavailable)
    }

    async fn get(
        &self,
        product: Product,
        newer_than: Option<TokenEpoch>,
        asker: Asker,
    ) -> Result<Granted, TokenError> {
        // At the start, and while an actor is replaced, there is none for a moment.
        let mut actor = self.0.clone();
        let there =
            tokio::time::timeout(ACTOR_PATIENCE, async { actor.wait_for(Option::is_some).await.is_ok() });
        if !there.await.unwrap_or(false) {
            return Err(TokenError::Unavailable);
        }
        let addr = self.actor()?;
        addr.send(GetToken { product, newer_than, asker }).await.unwrap_or(Err(TokenError::Unavailable))
    }
}

/// A running session. Cheap to clone; usable from any thread. When the last clone is gone,
/// the session stops.
#[derive(Clone)]
pub struct SessionHandle {
    shared: Arc<Shared>,
    tokens: TokenDesk,
    stop: Arc<watch::Sender<bool>>,
    life: watch::Receiver<Life>,
}

impl SessionHandle {
    /// A token for a product: the one held if it is usable and newer than `newer_than`, the
    /// last one that was refused; else one login for all who ask.
    ///
    /// # Errors
    /// Any [`TokenError`].
    pub async fn get_token(
        &self,
        product: Product,
        newer_than: Option<TokenEpoch>,
    ) -> Result<Token, TokenError> {
        Ok(self.tokens.get(product, newer_than, Asker::Call("token")).await?.token)
    }

    /// How everything is now.
    pub fn status(&self) -> SessionStatus {
        let mut status = self.shared.status.borrow().clone();
        status.feed.last_tick_at = self.shared.gauge.last_tick_at();
        status
    }

    /// Follows the status. Ticks do not move it: `last_tick_at` is filled by [`Self::status`].
    pub fn watch(&self) -> watch::Receiver<SessionStatus> {
        self.shared.status.subscribe()
    }

    /// What the broker last said of each market, by segment. The calendar decides; this is shown.
    pub fn market_phases(&self) -> Vec<MarketPhase> {
        self.shared.gauge.phases()
    }

    /// How current the data of each segment are of which something is subscribed.
    pub fn segments(&self) -> Vec<SegmentStatus> {
        freshness::judging::shown(&self.shared)
    }

    /// The instruments that this session has subscribed at the broker: confirmed, and perhaps no longer wanted.
    pub fn instruments(&self) -> Vec<InstrumentId> {
        self.shared.carried()
    }

    /// When data of each subscribed instrument last came. Asks the feed task, which answers between frames.
    pub async fn last_received(&self) -> Vec<(InstrumentId, Option<UnixNanos>)> {
        let known = self.shared.plane().last_received().await.unwrap_or_default();
        let known: HashMap<_, _> = known.into_iter().collect();
        self.shared.carried().into_iter().map(|id| (id, known.get(&id).copied())).collect()
    }

    /// The session's name: the account's, or with a slash and a number that of a further app key of it.
    pub fn account(&self) -> &str {
        &self.shared.deps.account
    }

    /// Logs in anew for a product, on the wish of `by`, whatever was refused before. Ends the
    /// token that is held now.
    ///
    /// # Errors
    /// Any [`TokenError`].
    pub async fn refresh(&self, product: Product, by: &str) -> Result<(), TokenError> {
        let asked = self.tokens.actor()?.send(Refresh { product, by: by.to_owned() });
        asked.await.unwrap_or(Err(TokenError::Unavailable))
    }

    /// Ends a product's session at the broker and forgets its token, on the wish of `by`; says
    /// whether there was one. Nothing logs in for the product until [`Self::refresh`] or a restart.
    ///
    /// # Errors
    /// Any [`TokenError`].
    pub async fn revoke(&self, product: Product, by: &str) -> Result<bool, TokenError> {
        let asked = self.tokens.actor()?.send(Revoke { product, by: by.to_owned() });
        asked.await.unwrap_or(Err(TokenError::Unavailable))
    }

    /// Closes the feed and opens it anew; the back-off of earlier failures still holds.
    ///
    /// # Errors
    /// [`TokenError::Unavailable`] if no actor is there to do it.
    pub async fn reconnect(&self) -> Result<(), TokenError> {
        let done = self.tokens.actor()?.send(Reconnect).await.unwrap_or(false);
        if done { Ok(()) } else { Err(TokenError::Unavailable) }
    }

    /// Whether both actors answer. The caller sets the deadline.
    ///
    /// # Errors
    /// Which one does not.
    pub async fn health(&self) -> Result<(), &'static str> {
        const GONE: &str = "the token actor does not answer";
        let actor = self.tokens.actor().map_err(|_| GONE)?;
        actor.send(Report).await.unwrap_or(Err(GONE))
    }

    /// Stops the feed and the actors; returns when they have. Orders under way are waited for, since what
    /// became of them is yet to be found out and written down.
    pub async fn stop(&self) {
        self.shared.in_flight.ended(ORDER_PATIENCE).await;
        self.stop.send_replace(true);
        // Failed is over too.
        let _ = self.life.clone().wait_for(|life| *life != Life::Running).await;
    }

    /// Resolves when the session has given up after repeated internal failures; never after
    /// an orderly stop.
    pub async fn failed(&self) {
        let mut life = self.life.clone();
        if life.wait_for(|life| *life == Life::Failed).await.is_err() && *life.borrow() != Life::Failed {
            std::future::pending::<()>().await;
        }
    }
}

impl TokenDesk {
    /// Tells of something that happened to a token; nobody waits for an answer.
    fn tell<M>(&self, message: M)
    where
        M: actix::Message + Send + 'static,
        M::Result: Send,
        TokenActor: actix::Handler<M>,
    {
        // Without an actor there is no token held either.
        if let Ok(actor) = self.actor() {
            actor.do_send(message);
        }
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle")
            .field("account", &self.shared.deps.account)
            .field("life", &*self.life.borrow())
            .finish_non_exhaustive()
    }
}
