//! The stream actor: carries out what the machine and the subscription plan decide, and owns
//! the feed task. It decides nothing itself, and no tick passes through it.

mod requests;

use std::sync::Arc;
use std::time::Duration;

use actix::fut::{ActorFutureExt as _, WrapFuture as _};
use actix::{Actor, ActorContext as _, Addr, AsyncContext as _, Context, Handler, SpawnHandle};
use futures::stream;
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinError;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::backoff::Backoff;
use crate::broker::{Class, Error, Feed, FeedEnd};
use crate::hub::FeedState;
use crate::session::feed_task::{End, FeedTask, Plane};
use crate::session::freshness::Cause;
use crate::session::machine::{Action, Event, Generation, Machine, State};
use crate::session::messages::{
    Asker, FeedMuted, GetToken, Granted, Reconnect, Report, SessionReplaced, Stop, TokenError, TokenLost,
    TokenRotated, WantedChanged,
};
use crate::session::shared::Shared;
use crate::session::subscriptions::Subscriptions;
use crate::session::supervise::{AbortOnDrop, ChildGuard};
use crate::session::token_actor::TokenActor;
use crate::token::{Product, Token, TokenEpoch};

/// Messages that may wait.
const MAILBOX: usize = 64;
/// The token actor answers within a login's time; this is for when it does not.
const TOKEN_PATIENCE: Duration = Duration::from_mins(3);

/// A token may be hours away, by the wall clock; timers stand still while a machine sleeps.
const LONGEST_NAP: Duration = Duration::from_mins(5);

/// When the plan is looked at next.
enum Pump {
    Idle,
    Armed(SpawnHandle, Instant),
    /// A request is under way; the plan is looked at when it is answered.
    Busy,
}

/// See the module's text.
pub(crate) struct StreamActor {
    shared: Arc<Shared>,
    parent: Addr<TokenActor>,
    machine: Machine,
    started: Instant,
    token: Option<Token>,
    /// Tokens up to this one may have been used by a stream actor before this one.
    used_before: TokenEpoch,
    plan: Subscriptions,
    /// The token that the plan's knowledge belongs to.
    plan_epoch: Option<TokenEpoch>,
    pump: Pump,
    /// No subscription request before this.
    next_request: Instant,
    request_backoff: Backoff,
    timer: Option<SpawnHandle>,
    /// The handshake or the feed task.
    feed: Option<SpawnHandle>,
    /// Values asked for after a reconnect.
    catching_up: Option<SpawnHandle>,
    /// Ticks received before this generation.
    ticks_before: u64,
    /// Ticks received before this generation was found mute, if it was.
    mute_since: Option<u64>,
    reason: Option<String>,
    guard: ChildGuard,
}

impl StreamActor {
    pub(crate) fn new(shared: Arc<Shared>, parent: Addr<TokenActor>, guard: ChildGuard) -> Self {
        let settings = &shared.deps.settings;
        let backoff = |salt| {
            let seed = shared.deps.seed.wrapping_add(salt).wrapping_add(shared.last_generation());
            Backoff::new(settings.backoff_floor(), settings.backoff_ceiling(), seed)
        };
        let stable_after = Duration::from_millis(settings.stable_after_ms);
        let linger = Duration::from_millis(settings.unsubscribe_linger_ms);
        Self {
            machine: Machine::new(backoff(101), stable_after, shared.last_generation()),
            started: Instant::now(),
            token: None,
            used_before: if shared.last_generation() == 0 { TokenEpoch(0) } else { shared.last_epoch() },
            plan: Subscriptions::new(shared.deps.broker.limits(), linger),
            plan_epoch: None,
            pump: Pump::Idle,
            next_request: Instant::now(),
            request_backoff: backoff(202),
            timer: None,
            feed: None,
            catching_up: None,
            ticks_before: 0,
            mute_since: None,
            reason: None,
            parent,
            guard,
            shared,
        }
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Feeds the machine and carries out what it says.
    fn on(&mut self, event: Event, ctx: &mut Context<Self>) {
        for action in self.machine.on(event, self.elapsed()) {
            match action {
                Action::AskToken { ask, newer_than } => self.ask_token(ask, newer_than, ctx),
                Action::OpenFeed { generation, epoch } => self.open_feed(generation, epoch, ctx),
                Action::CloseFeed { generation } => {
                    debug!(generation, "closing the feed");
                    self.drop_feed(ctx);
                }
                Action::ArmTimer { timer, after } => self.arm(timer, after, ctx),
            }
        }
        self.publish();
    }

    fn arm(&mut self, timer: u64, after: Duration, ctx: &mut Context<Self>) {
        if let Some(old) = self.timer.take() {
            ctx.cancel_future(old);
        }
        self.timer = Some(ctx.run_later(after, move |actor, ctx| {
            actor.timer = None;
            let shared = &actor.shared;
            let ticked = shared.gauge.ticks() > actor.ticks_before;
            let proven = ticked || !shared.gauge.ticks_are_due(shared.deps.calendar, shared.now());
            actor.on(Event::TimerFired { timer, proven }, ctx);
        }));
    }

    fn ask_token(&mut self, ask: u64, newer_than: Option<TokenEpoch>, ctx: &mut Context<Self>) {
        let asked = self.parent.send(GetToken { product: Product::Market, newer_than, asker: Asker::Stream });
        let asked = tokio::time::timeout(TOKEN_PATIENCE, asked);
        ctx.spawn(asked.into_actor(self).map(move |answer, actor, ctx| {
            let event = match answer {
                Ok(Ok(Ok(granted))) => {
                    let epoch = granted.token.epoch;
                    actor.hold(granted);
                    Event::TokenGranted { ask, epoch }
                }
                Ok(Ok(Err(why))) => {
                    let retry_in = match &why {
                        TokenError::Waiting { retry_in, .. } => Some((*retry_in).min(LONGEST_NAP)),
                        // A login by the operator is told by `TokenRotated`; this is only
                        // so that the machine never rests without a timer.
                        TokenError::Disabled(_)
                        | TokenError::NeedsOperator(_)
                        | TokenError::Replaced(_)
                        | TokenError::Revoked => Some(actor.shared.deps.settings.backoff_ceiling()),
                        TokenError::Unavailable => None,
                    };
                    actor.shared.judging.blame(match &why {
                        TokenError::Replaced(_) => Cause::Replaced,
                        TokenError::Revoked => Cause::Stopped,
                        _ => Cause::Login,
                    });
                    actor.reason = Some(why.to_string());
                    Event::TokenDenied { ask, retry_in }
                }
                Ok(Err(_)) | Err(_) => Event::TokenDenied { ask, retry_in: None },
            };
            actor.on(event, ctx);
        }));
    }

    /// Keeps the newest token for requests, and starts the plan over for a new one.
    fn hold(&mut self, granted: Granted) {
        let epoch = granted.token.epoch;
        if self.token.as_ref().is_some_and(|held| held.epoch >= epoch) {
            return;
        }
        // What a login has brought and nobody has used cannot hold subscriptions yet.
        let clean = granted.from_login && epoch > self.used_before;
        self.plan.new_epoch(clean);
        self.plan_epoch = Some(epoch);
        self.token = Some(granted.token);
        self.tell_changes();
    }

    fn open_feed(&mut self, generation: Generation, epoch: TokenEpoch, ctx: &mut Context<Self>) {
        self.shared.note_generation(generation);
        let Some(token) = self.token.clone().filter(|token| token.epoch == epoch) else {
            // Not held any more; asking again brings the one that is.
            self.feed = Some(ctx.run_later(Duration::ZERO, move |actor, ctx| {
                let why = "the token was replaced".to_owned();
                actor.lost(generation, "rotated", why, false, None, ctx);
            }));
            return;
        };
        info!(generation, "opening the feed");
        let broker = Arc::clone(&self.shared.deps.broker);
        let plane = self.shared.plane();
        let patience = self.shared.deps.settings.request_timeout();
        let open = async move {
            let opened = tokio::time::timeout(patience, async {
                let plane = plane.take().await;
                Ok((broker.open_feed(&token).await?, plane))
            });
            let late = || Err(Error::Network("the handshake was not answered in time".to_owned()));
            opened.await.unwrap_or_else(|_| late())
        };
        self.feed = Some(ctx.spawn(open.into_actor(self).map(move |opened, actor, ctx| {
            if !actor.is_current(generation) {
                return;
            }
            actor.feed = None;
            match opened {
                Ok((feed, plane)) => actor.opened(generation, feed, plane, ctx),
                Err(error) => {
                    let token_refused = error.class() == Class::NeedsToken;
                    let reason = if token_refused { "token_refused" } else { "connect" };
                    actor.lost(
                        generation,
                        reason,
                        error.to_string(),
                        token_refused,
                        error.retry_after(),
                        ctx,
                    );
                }
            }
        })));
    }

    fn opened(
        &mut self,
        generation: Generation,
        feed: Box<dyn Feed>,
        plane: OwnedMutexGuard<Plane>,
        ctx: &mut Context<Self>,
    ) {
        let shared = &self.shared;
        self.ticks_before = shared.gauge.ticks();
        self.mute_since = None;
        // The feed before is gone, since its plane is ours.
        shared.gauge.opened();
        let me = ctx.address();
        let task = FeedTask {
            feed,
            plane,
            clock: Arc::clone(&shared.deps.clock),
            calendar: shared.deps.calendar,
            gauge: Arc::clone(&shared.gauge),
            counters: shared.meters.feed_counters(),
            interest: shared.deps.hub.interest(),
            idle_timeout: Duration::from_millis(shared.deps.settings.tick_idle_timeout_ms),
            muted: Box::new(move || me.try_send(FeedMuted { generation }).is_ok()),
        };
        // Without the span: to enter it costs at every poll, and the task says next to nothing.
        let task = AbortOnDrop::new(tokio::spawn(task.run()));
        self.feed = Some(ctx.spawn(task.into_actor(self).map(move |ended, actor, ctx| {
            if actor.is_current(generation) {
                actor.feed = None;
                actor.ended(generation, ended, ctx);
            }
        })));
        info!(generation, "the feed is live");
        self.reason = None;
        self.on(Event::FeedOpened { generation }, ctx);
        // After a reconnect the broker still sends what was subscribed, but not what was missed.
        let confirmed = self.plan.confirmed();
        self.catching_up = self.ask_quotes(confirmed, ctx);
        self.pump_soon(ctx);
    }

    fn ended(&mut self, generation: Generation, ended: Result<End, JoinError>, ctx: &mut Context<Self>) {
        match ended {
            Ok(End::Feed(end)) => {
                if let FeedEnd::Logout(words) = &end {
                    self.replaced(format!("the broker said logout on the feed: {words}"));
                }
                let refused = matches!(end, FeedEnd::TokenRefused(_) | FeedEnd::Logout(_));
                self.lost(generation, end.reason(), end.to_string(), refused, None, ctx);
            }
            Ok(End::Mute(quiet)) => {
                let why = format!("connected but mute for {} s", quiet.as_secs());
                self.lost(generation, "mute", why, false, None, ctx);
            }
            Err(gone) => {
                error!(generation, panicked = gone.is_panic(), "the feed task has failed");
                self.shared.meters.restart("feed_task");
                self.shared.replace_plane();
                self.lost(generation, "panic", "internal failure".to_owned(), false, None, ctx);
            }
        }
    }

    /// Tells the token actor that somebody else has our session now. It hears of it before it is
    /// asked for another token.
    pub(super) fn replaced(&self, how: String) {
        if let Some((_, epoch)) = self.machine.state().feed() {
            self.parent.do_send(SessionReplaced { product: Product::Market, epoch, how });
        }
    }

    fn lost(
        &mut self,
        generation: Generation,
        label: &'static str,
        why: String,
        token_refused: bool,
        retry_after: Option<Duration>,
        ctx: &mut Context<Self>,
    ) {
        warn!(generation, reason = label, why, "the feed is down");
        self.shared.meters.reconnect(label);
        self.reason = Some(why);
        self.shared.judging.blame(Cause::of_reconnect(label));
        self.drop_feed(ctx);
        self.on(Event::FeedEnded { generation, token_refused, retry_after }, ctx);
    }

    fn is_current(&self, generation: Generation) -> bool {
        self.machine.state().feed().is_some_and(|(current, _)| current == generation)
    }

    /// Ends whatever belongs to the current feed.
    fn drop_feed(&mut self, ctx: &mut Context<Self>) {
        for handle in [self.feed.take(), self.catching_up.take(), self.timer.take()].into_iter().flatten() {
            ctx.cancel_future(handle);
        }
    }

    fn publish(&self) {
        let state = self.machine.state();
        let now = self.shared.now();
        let counts = self.plan.counts();
        let reason = if matches!(state, State::Live { .. }) { None } else { self.reason.clone() };
        let mut since = now;
        self.shared.status.send_if_modified(|status| {
            let mut next = status.feed.clone();
            if next.state != state.as_str() {
                next.state = state.as_str();
                next.since = now;
            }
            since = next.since;
            next.generation = self.machine.generation();
            next.reconnects = next.generation.saturating_sub(1);
            next.wanted = counts.wanted;
            next.confirmed = counts.confirmed;
            next.rejected = counts.rejected;
            next.reason.clone_from(&reason);
            let changed = next != status.feed;
            status.feed = next;
            changed
        });
        self.shared
            .set_carried(self.plan.confirmed().into_iter().map(|(instrument, _)| instrument).collect());
        self.shared.meters.subscriptions(counts);
        self.shared.meters.feed_up.set(f64::from(u8::from(matches!(state, State::Live { .. }))));
        let hub = &self.shared.deps.hub;
        let shown = match (state, reason) {
            (State::Live { .. }, _) => FeedState::Live,
            (State::Stopped, _) => FeedState::Down { since, reason: "the session has ended".into() },
            // Down since the failure, whatever is being tried about it.
            (_, Some(why)) => match hub.feed_state(self.shared.deps.feed) {
                Some(FeedState::Down { since, .. }) => FeedState::Down { since, reason: why.into() },
                _ => FeedState::Down { since: now, reason: why.into() },
            },
            (_, None) => FeedState::Connecting,
        };
        self.shared.deps.spread.set_live(self.shared.deps.feed, shown == FeedState::Live);
        if matches!(state, State::Stopped) {
            self.shared.judging.blame(Cause::Stopped);
        }
        hub.set_feed_state(self.shared.deps.feed, shown);
        self.shared.judging.look_now(&self.shared);
    }
}

impl Actor for StreamActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        for revision in [self.shared.deps.hub.interest(), self.shared.deps.spread.changes()] {
            ctx.add_message_stream(stream::unfold(revision, |mut revision| async move {
                revision.changed().await.ok()?;
                Some((WantedChanged, revision))
            }));
        }
        self.on(Event::Start, ctx);
    }
}

impl Handler<TokenRotated> for StreamActor {
    type Result = ();

    fn handle(&mut self, TokenRotated(granted): TokenRotated, ctx: &mut Self::Context) {
        let epoch = granted.token.epoch;
        self.hold(granted);
        self.on(Event::TokenRotated { epoch }, ctx);
    }
}

impl Handler<TokenLost> for StreamActor {
    type Result = ();

    fn handle(&mut self, TokenLost { up_to }: TokenLost, ctx: &mut Self::Context) {
        if let Some((_, epoch)) = self.machine.state().feed()
            && epoch <= up_to
        {
            self.reason = Some("an operator revoked the token".to_owned());
            self.shared.judging.blame(Cause::Stopped);
            self.on(Event::TokenRefused { epoch }, ctx);
        }
    }
}

impl Handler<WantedChanged> for StreamActor {
    type Result = ();

    fn handle(&mut self, _: WantedChanged, ctx: &mut Self::Context) {
        self.pump_soon(ctx);
    }
}

impl Handler<FeedMuted> for StreamActor {
    type Result = ();

    fn handle(&mut self, FeedMuted { generation }: FeedMuted, ctx: &mut Self::Context) {
        if self.is_current(generation) {
            // It also tries the token: a replaced one leaves its socket open but silent.
            warn!(generation, "connected, but no ticks come; subscribing everything afresh");
            self.mute_since = Some(self.shared.gauge.ticks());
            self.plan.doubt();
            self.tell_changes();
            self.pump_soon(ctx);
        }
    }
}

impl Handler<Reconnect> for StreamActor {
    type Result = bool;

    fn handle(&mut self, _: Reconnect, ctx: &mut Self::Context) -> bool {
        info!("reconnecting on request");
        self.shared.meters.reconnect("operator");
        self.on(Event::Reconnect, ctx);
        true
    }
}

impl Handler<Report> for StreamActor {
    type Result = Result<(), &'static str>;

    fn handle(&mut self, _: Report, _: &mut Self::Context) -> Self::Result {
        Ok(())
    }
}

impl Handler<Stop> for StreamActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.guard.disarm();
        self.on(Event::Stop, ctx);
        ctx.stop();
    }
}
