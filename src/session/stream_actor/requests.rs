//! The stream actor's subscription requests: one at a time, as the plan says, and the values
//! that come with them. Not the plan; that is `subscriptions`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::{ActorFutureExt as _, WrapFuture as _};
use actix::{AsyncContext as _, Context, SpawnHandle};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::broker::{Class, Error, Subscribed};
use crate::clock::UnixNanos;
use crate::hub::Part;
use crate::market::{InstrumentId, Kind, Tick};
use crate::session::feed_task::Notice;
use crate::session::freshness::Cause;
use crate::session::machine::{Event, State};
use crate::session::shared::{Deps, Shared};
use crate::session::stream_actor::{Pump, StreamActor};
use crate::session::subscriptions::{Change, Failure, Operation, Request, Step};
use crate::token::{Token, TokenEpoch};

/// Consumers subscribe symbol by symbol; a moment's patience makes one request of them.
const GATHER: Duration = Duration::from_millis(10);
/// How long a snapshot waits for the feed task to take it.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(5);

impl StreamActor {
    pub(super) fn live_token(&self) -> Option<Token> {
        let State::Live { epoch, .. } = *self.machine.state() else { return None };
        self.token.clone().filter(|token| token.epoch == epoch)
    }

    pub(super) fn pump_soon(&mut self, ctx: &mut Context<Self>) {
        self.pump_at((Instant::now() + GATHER).max(self.next_request), ctx);
    }

    /// Arms the next look at the plan, unless one comes sooner.
    fn pump_at(&mut self, at: Instant, ctx: &mut Context<Self>) {
        match self.pump {
            Pump::Busy => return,
            Pump::Armed(_, armed) if armed <= at => return,
            Pump::Armed(handle, _) => {
                ctx.cancel_future(handle);
            }
            Pump::Idle => {}
        }
        let handle = ctx.run_later(at.duration_since(Instant::now()), |actor, ctx| {
            actor.pump = Pump::Idle;
            actor.work(ctx);
        });
        self.pump = Pump::Armed(handle, at);
    }

    /// Looks at what is wanted and sends one request towards it.
    fn work(&mut self, ctx: &mut Context<Self>) {
        let now = self.elapsed();
        let deps = &self.shared.deps;
        self.plan.set_wanted(&deps.spread.share(deps.feed, &deps.hub), now);
        if let Some(token) = self.live_token() {
            match self.plan.next_step(now) {
                Step::Send(request) => self.send(token, request, ctx),
                Step::WaitUntil(at) => self.pump_at((self.started + at).max(self.next_request), ctx),
                Step::Settled => {}
            }
        }
        self.tell_changes();
    }

    fn send(&mut self, token: Token, request: Request, ctx: &mut Context<Self>) {
        debug!(operation = ?request.operation, kind = ?request.kind, instruments = request.instruments.len(),
            "subscription request");
        self.pump = Pump::Busy;
        let shared = Arc::clone(&self.shared);
        let epoch = token.epoch;
        let sent = async move {
            let asked_at = shared.now();
            let answer =
                tokio::time::timeout(shared.deps.settings.request_timeout(), ask(&shared, &token, &request));
            let mut answer = answer
                .await
                .unwrap_or_else(|_| Err(Error::Network("the request was not answered in time".to_owned())));
            let mut bare = Vec::new();
            if let Ok(answer) = &mut answer {
                let ticks = std::mem::take(&mut answer.snapshot);
                if request.kind.is_main() {
                    let known: HashSet<_> = ticks.iter().map(|tick| tick.instrument).collect();
                    bare.extend(
                        answer.confirmed.iter().filter(|i| !known.contains(i)).map(|i| (*i, request.kind)),
                    );
                }
                hand_over(&shared, asked_at, ticks).await;
            }
            (request, answer, bare)
        };
        ctx.spawn(sent.into_actor(self).map(move |(request, answer, bare), actor, ctx| {
            actor.answered(epoch, &request, answer, ctx);
            // What the broker did not send along is asked for.
            actor.ask_quotes(bare, ctx);
        }));
    }

    /// Lets the publisher forget what the broker sends no more, so that nobody who asks for it
    /// later is first shown a price from before.
    fn forget(&self, instruments: &[InstrumentId]) {
        let served: HashSet<_> = self.plan.confirmed().into_iter().map(|pair| pair.0).collect();
        let gone: Vec<_> = instruments.iter().copied().filter(|i| !served.contains(i)).collect();
        if !gone.is_empty() && self.shared.plane().notices().try_send(Notice::Forget(gone)).is_err() {
            // Nobody reads: the feed is down, and nothing is shown from before a reconnect as new.
            debug!("old values stay until the feed is back");
        }
    }

    fn answered(
        &mut self,
        epoch: TokenEpoch,
        request: &Request,
        answer: Result<Subscribed, Error>,
        ctx: &mut Context<Self>,
    ) {
        self.pump = Pump::Idle;
        let mut wait = self.shared.deps.broker.limits().request_interval;
        match answer {
            // It concerned a token that is gone.
            _ if self.plan_epoch != Some(epoch) => {}
            Ok(answer) => {
                self.request_backoff.reset();
                let now = self.elapsed();
                match request.operation {
                    Operation::Subscribe => self.plan.subscribed(request, &answer, now),
                    Operation::Unsubscribe => {
                        self.plan.unsubscribed(request);
                        self.forget(&request.instruments);
                    }
                }
            }
            Err(error) => {
                warn!(operation = ?request.operation, kind = ?request.kind,
                    instruments = request.instruments.len(), %error, "subscription request failed");
                wait = wait.max(self.request_failed(epoch, request, error, ctx));
            }
        }
        self.next_request = Instant::now() + wait;
        self.tell_changes();
        self.pump_at(self.next_request, ctx);
    }

    /// Says how long to wait before the next request because of this one.
    fn request_failed(
        &mut self,
        epoch: TokenEpoch,
        request: &Request,
        error: Error,
        ctx: &mut Context<Self>,
    ) -> Duration {
        match error.class() {
            Class::NeedsToken => {
                self.reason = Some(error.to_string());
                self.shared.judging.blame(Cause::Token);
                // A broker that loses its sessions closes their sockets. One that stays open, mute,
                // beside a dead token is what another login with our app key leaves (XTS forum
                // reports of replaced sessions).
                if self.mute_since == Some(self.shared.gauge.ticks()) {
                    self.replaced("the feed went mute and its token is refused".to_owned());
                }
                self.on(Event::TokenRefused { epoch }, ctx);
                Duration::ZERO
            }
            Class::Refused => {
                let failure = match error {
                    Error::SubscriptionLimit { limit, .. } => Failure::Limit(limit),
                    other => Failure::Refused(other.to_string()),
                };
                self.plan.refused(request, &failure);
                Duration::ZERO
            }
            Class::Transient | Class::NeedsOperator => {
                self.plan.unanswered(request);
                self.request_backoff.next_delay().max(error.retry_after().unwrap_or_default())
            }
        }
    }

    /// Asks for the last values of instruments and hands them to the feed task.
    pub(super) fn ask_quotes(
        &mut self,
        pairs: Vec<(InstrumentId, Kind)>,
        ctx: &mut Context<Self>,
    ) -> Option<SpawnHandle> {
        let token = self.live_token().filter(|_| !pairs.is_empty())?;
        let shared = Arc::clone(&self.shared);
        let epoch = token.epoch;
        let asked = async move { ask_quotes(&shared, &token, &pairs).await };
        Some(ctx.spawn(asked.into_actor(self).map(move |refused, actor, ctx| {
            if let Some(error) = refused {
                actor.reason = Some(error.to_string());
                actor.shared.judging.blame(Cause::Token);
                actor.on(Event::TokenRefused { epoch }, ctx);
            }
        })))
    }

    /// Passes on what the plan found out.
    pub(super) fn tell_changes(&mut self) {
        for change in self.plan.take_changes() {
            match &change {
                Change::Rejected(instrument, why) => {
                    let no_room = self.plan.is_out_of_budget(*instrument);
                    self.refuse(*instrument, Part::Prices, why, no_room, &change);
                }
                Change::BarsRejected(instrument, why) => {
                    let no_room = self.plan.are_bars_out_of_budget(*instrument);
                    self.refuse(*instrument, Part::Bars, why, no_room, &change);
                }
                Change::Cleared(instrument) => self.clear(*instrument, Part::Prices),
                Change::BarsCleared(instrument) => self.clear(*instrument, Part::Bars),
            }
        }
        let hub = &self.shared.deps.hub;
        self.shared.deps.spread.set_budget(self.shared.deps.feed, self.plan.budget(), hub);
        self.shared.gauge.set_asked(self.plan.asked());
        let confirmed = self.plan.confirmed();
        self.shared.gauge.set_subscribed(confirmed.into_iter().map(|(instrument, _)| instrument));
        self.publish();
    }

    /// Tells consumers that a part of an instrument does not come, unless it is another account's by now, or
    /// another has room for it.
    fn refuse(&mut self, instrument: InstrumentId, part: Part, why: &str, no_room: bool, change: &Change) {
        let Deps { spread, hub, feed, .. } = &self.shared.deps;
        let is_passed_on = if no_room {
            spread.has_no_room(*feed, instrument)
        } else {
            spread.is_anothers(*feed, instrument)
        };
        if is_passed_on {
            self.plan.take_back(change);
            return;
        }
        warn!(%instrument, ?part, why, "no data for an instrument");
        if no_room {
            hub.reject_for_want_of_room(instrument, part, why);
        } else {
            hub.reject(instrument, part, why);
        }
    }

    /// Forgets that a part of an instrument was refused. Of what is another account's by now, the refusal
    /// would be the other's.
    fn clear(&self, instrument: InstrumentId, part: Part) {
        let Deps { spread, hub, feed, .. } = &self.shared.deps;
        if !spread.is_anothers(*feed, instrument) {
            hub.clear_rejection(instrument, part);
        }
    }
}

/// Sends one subscription request.
async fn ask(shared: &Shared, token: &Token, request: &Request) -> Result<Subscribed, Error> {
    let broker = &shared.deps.broker;
    match request.operation {
        Operation::Subscribe => broker.subscribe(token, request.kind, &request.instruments).await,
        Operation::Unsubscribe => broker
            .unsubscribe(token, request.kind, &request.instruments)
            .await
            .map(|()| Subscribed::default()),
    }
}

/// Hands values to the feed task.
async fn hand_over(shared: &Shared, asked_at: UnixNanos, ticks: Vec<Tick>) {
    if ticks.is_empty() {
        return;
    }
    let notices = shared.plane().notices();
    // No feed task takes it any more: what comes after a reconnect is newer.
    let _ = tokio::time::timeout(SNAPSHOT_PATIENCE, notices.send(Notice::Snapshot { asked_at, ticks })).await;
}

/// Asks for the last values of instruments, batch by batch; says if the token was refused.
async fn ask_quotes(shared: &Shared, token: &Token, pairs: &[(InstrumentId, Kind)]) -> Option<Error> {
    let deps = &shared.deps;
    let per_request = deps.broker.limits().per_request.max(1);
    for kind in [Kind::Quote, Kind::Depth] {
        let instruments: Vec<_> = pairs.iter().filter(|pair| pair.1 == kind).map(|pair| pair.0).collect();
        for batch in instruments.chunks(per_request) {
            let asked_at = shared.now();
            let answer = deps.broker.quotes(token, kind, batch);
            match tokio::time::timeout(deps.settings.request_timeout(), answer).await {
                Ok(Ok(ticks)) => hand_over(shared, asked_at, ticks).await,
                Ok(Err(error)) if error.class() == Class::NeedsToken => return Some(error),
                Ok(Err(error)) => debug!(%error, "last values could not be asked for"),
                Err(_) => debug!("last values were not answered in time"),
            }
        }
    }
    None
}
