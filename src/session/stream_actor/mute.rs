//! What the stream actor does about a feed that is connected but mute. Not the order of the steps; that is
//! `watchdog`. Nor the silence's length; that is the feed task's to count.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::fut::{ActorFutureExt as _, WrapFuture as _};
use actix::{AsyncContext as _, Context};
use tracing::{debug, info, warn};

use crate::broker::{Class, Error};
use crate::market::{InstrumentId, Kind};
use crate::session::freshness::Cause;
use crate::session::machine::{Event, Generation};
use crate::session::stream_actor::StreamActor;
use crate::session::watchdog::{Step, Verified};
use crate::token::TokenEpoch;

impl StreamActor {
    /// Counts and shows a step.
    pub(super) fn take(&self, step: Step) {
        self.shared.meters.watchdog(step);
        self.shared.gauge.note_watchdog(Some(step));
    }

    /// The feed is mute: first of all its token is verified.
    pub(super) fn muted(&mut self, generation: Generation, ctx: &mut Context<Self>) {
        let Some(token) = self.live_token().filter(|_| self.verifying.is_none()) else { return };
        let step = self.watchdog.muted(self.shared.gauge.ticks());
        if self.rests_with.is_some() {
            debug!(generation, "connected, and still no ticks; verifying the token");
        } else {
            warn!(generation, "connected, but no ticks come; verifying the token");
        }
        self.take(step);
        let shared = Arc::clone(&self.shared);
        let epoch = token.epoch;
        let asked = async move {
            // So that there is time left for what comes next.
            let settings = &shared.deps.settings;
            let limit =
                settings.request_timeout().min(Duration::from_millis(settings.tick_idle_timeout_ms / 2));
            let late = || Err(Error::Network("the request was not answered in time".to_owned()));
            tokio::time::timeout(limit, shared.deps.broker.verify(&token)).await.unwrap_or_else(|_| late())
        };
        self.verifying = Some(ctx.spawn(asked.into_actor(self).map(move |answer, actor, ctx| {
            actor.verifying = None;
            if actor.is_current(generation) {
                actor.verified(generation, epoch, answer, ctx);
            }
        })));
    }

    fn verified(
        &mut self,
        generation: Generation,
        epoch: TokenEpoch,
        answer: Result<(), Error>,
        ctx: &mut Context<Self>,
    ) {
        let said = match &answer {
            Ok(()) => Verified::Good,
            Err(error) if error.class() == Class::NeedsToken => Verified::Refused,
            Err(error) => {
                warn!(generation, %error, "the token could not be verified");
                self.take(Step::Unverified);
                Verified::Unknown
            }
        };
        let gauge = &self.shared.gauge;
        let reconnects = gauge.mute_in_a_row.load(Ordering::Relaxed);
        let Some(step) = self.watchdog.verified(said, gauge.ticks(), reconnects) else { return };
        self.take(step);
        match step {
            Step::TokenRefused => {
                self.reason = answer.err().map(|error| error.to_string());
                self.shared.judging.blame(Cause::Token);
                self.suspect_a_replacement();
                self.on(Event::TokenRefused { epoch }, ctx);
            }
            Step::Resubscribe => {
                info!(generation, "the token is not refused; subscribing everything afresh");
                self.plan.doubt();
                self.tell_changes();
                self.pump_soon(ctx);
            }
            Step::Rest => {
                if self.rests_with.is_none() {
                    warn!(
                        generation,
                        reconnects,
                        "no ticks after repeated reconnects, and the token is good: what is subscribed may not trade; the connection is kept"
                    );
                    self.rests_with = Some(self.plan.confirmed().into_iter().map(|pair| pair.0).collect());
                }
            }
            Step::Verify | Step::Unverified | Step::Reconnect => {}
        }
    }

    /// A token was refused. A broker that loses its sessions closes their sockets; one that stays open, mute,
    /// beside a dead token is what another login with our app key leaves (XTS forum reports of replaced
    /// sessions).
    pub(super) fn suspect_a_replacement(&self) {
        if self.watchdog.is_mute(self.shared.gauge.ticks()) {
            self.replaced("the feed went mute and its token is refused".to_owned());
        }
    }

    /// Something was added to what does not trade: its silence counts anew.
    pub(super) fn look_at_rest(&mut self, confirmed: &[(InstrumentId, Kind)]) {
        let is_known = |with: &HashSet<_>| confirmed.iter().all(|pair| with.contains(&pair.0));
        if self.rests_with.as_ref().is_some_and(|with| !is_known(with)) {
            self.rests_no_more();
        }
    }

    /// A feed that stays mute is reconnected again.
    pub(super) fn rests_no_more(&mut self) {
        self.rests_with = None;
        self.shared.gauge.mute_in_a_row.store(0, Ordering::Relaxed);
    }
}
