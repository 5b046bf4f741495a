//! The token actor: rehydrates tokens, logs in once for all who ask, replaces its child, the
//! stream actor. Not the rules; those are `slot` and `token::expiry`.

mod handlers;
mod login;

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext as _, Context};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::backoff::Backoff;
use crate::clock::UnixNanos;
use crate::market::TimeOfDay;
use crate::market::calendar::ist_date;
use crate::session::app_key;
use crate::session::messages::{Granted, RefreshDue, Stop, StreamDown, TokenError};
use crate::session::night::{next_planned, rest_until};
use crate::session::shared::Shared;
use crate::session::slot::{Held, Slot, Why};
use crate::session::stream_actor::StreamActor;
use crate::session::supervise::{ChildGuard, RestartBudget, start_in};
use crate::token::expiry::{Facts, Origin, Verdict};
use crate::token::store::Loaded;
use crate::token::{Product, Token};

/// Messages that may wait; a hundred askers at once must not be refused.
const MAILBOX: usize = 256;

/// When sessions that were left to somebody else are taken up again where no login is planned.
const USUAL_MORNING: Option<TimeOfDay> = TimeOfDay::new(8, 40);

type Waiter = oneshot::Sender<Result<Granted, TokenError>>;

struct Desk {
    slot: Slot,
    waiters: Vec<Waiter>,
    /// Persons who asked for a login and want to know how it went.
    operators: Vec<oneshot::Sender<Result<(), TokenError>>>,
    /// Why the token held could not be stored.
    store_failure: Option<String>,
    /// Whether a retry at the end of the least interval is armed.
    retry_armed: bool,
    /// The stored token is dead, but a login is under way that may replace it.
    forget_later: bool,
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
    /// The next morning of a trading day: the planned login, if one is planned.
    morning: Option<UnixNanos>,
    /// The last day on which app keys near their end were warned of.
    warned_on: jiff::civil::Date,
    guard: ChildGuard,
}

impl TokenActor {
    pub(crate) fn new(shared: Arc<Shared>, guard: ChildGuard) -> Self {
        let settings = &shared.deps.settings;
        let desk = |product: Product| {
            let seed = shared.deps.seed.wrapping_add(1 + product as u64);
            let backoff = Backoff::new(settings.backoff_floor(), settings.backoff_ceiling(), seed);
            let mut slot = Slot::new(settings.policy(), backoff);
            if let Some(memory) = shared.memory(product) {
                slot.remember(memory);
            }
            slot.set_count(shared.deps.ledger.read(&shared.deps.account, product));
            Desk {
                slot,
                waiters: Vec::new(),
                operators: Vec::new(),
                store_failure: shared.status.borrow().token(product).store_failure.clone(),
                retry_armed: false,
                forget_later: false,
            }
        };
        let mut actor = Self {
            market: desk(Product::Market),
            interactive: desk(Product::Interactive),
            child: None,
            children: 0,
            budget: RestartBudget::new(settings.restart_budget, settings.restart_window()),
            morning: None,
            warned_on: jiff::civil::Date::ZERO,
            guard,
            shared,
        };
        actor.morning = actor.next_morning();
        actor
    }

    fn desk(&mut self, product: Product) -> &mut Desk {
        match product {
            Product::Market => &mut self.market,
            Product::Interactive => &mut self.interactive,
        }
    }

    fn plan(&self) -> Option<TimeOfDay> {
        self.shared.deps.settings.planned_login_ist
    }

    fn next_morning(&self) -> Option<UnixNanos> {
        next_planned(self.shared.deps.calendar, self.plan().or(USUAL_MORNING)?, self.shared.now())
    }

    /// Whether the broker may be ending sessions by itself, because nothing trades.
    fn is_night(&self) -> bool {
        let morning = self.plan().or(USUAL_MORNING);
        morning.and_then(|at| rest_until(self.shared.deps.calendar, at, self.shared.now())).is_some()
    }

    /// When the next planned login may come.
    pub(super) fn planned(&self) -> Option<UnixNanos> {
        self.morning.filter(|_| self.plan().is_some())
    }

    /// Until when those who can wait for a token do.
    fn rest(&self) -> Option<UnixNanos> {
        rest_until(self.shared.deps.calendar, self.plan()?, self.shared.now())
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
                    Verdict::Usable => {
                        info!(%product, %issued_at, "stored token taken up");
                        self.shared.note(product, "rehydrated", "start", "a usable token is stored", "ok");
                    }
                    Verdict::Dead(cause) => info!(%product, %issued_at, %cause, "stored token not used"),
                }
            }
            Loaded::Missing => info!(%product, "no stored token"),
            Loaded::Unusable(why) => {
                warn!(%product, %why, "stored token cannot be used, logging in instead");
                self.shared.note(product, "unreadable", "start", &why.to_string(), "kept aside");
                self.desk(product).slot.found_none(Why::Unreadable);
            }
        }
    }

    /// Renews what is due, and arms the timer for the next look.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let now = self.shared.now();
        let is_due = self.morning.is_some_and(|at| at <= now);
        // Each time: the clock may have been set back.
        self.morning = self.next_morning();
        for product in Product::ALL.into_iter().filter(|_| is_due) {
            let slot = &mut self.desk(product).slot;
            if !slot.is_usable(now) {
                slot.end_wait_for_other();
                if self.plan().is_some() {
                    self.log_in(product, "plan", false, ctx);
                }
            }
        }
        let rest = self.rest();
        for product in Product::ALL {
            if rest.is_none() && self.desk(product).slot.renewal_is_due(now) {
                self.log_in(product, "renewal", false, ctx);
            }
        }
        self.look_for_new_secrets(ctx);
        self.warn_of_app_keys(now);
        let next = [self.market.slot.next_change(now), self.interactive.slot.next_change(now), self.morning]
            .into_iter()
            .flatten()
            .min();
        let most = self.shared.deps.settings.clock_check();
        let wait = next.map_or(most, |at| at.since(now)).clamp(Duration::from_millis(10), most);
        ctx.notify_later(RefreshDue, wait);
        self.publish();
    }

    const fn is_logging_in(&self) -> bool {
        self.market.slot.is_logging_in() || self.interactive.slot.is_logging_in()
    }

    /// Secrets in files can be mended while the process runs.
    fn look_for_new_secrets(&mut self, ctx: &mut Context<Self>) {
        let waits = |desk: &Desk| desk.slot.needs_operator();
        // Not while a login uses the ones there are.
        let is_due = (waits(&self.market) || waits(&self.interactive)) && !self.is_logging_in();
        if !is_due || !self.shared.deps.broker.reload_credentials() {
            return;
        }
        for product in Product::ALL {
            if self.desk(product).slot.needs_operator() {
                info!(%product, "there are new secrets; logging in with them");
                self.desk(product).slot.unblock();
                self.log_in(product, "new secrets", false, ctx);
            }
        }
    }

    /// Once a day, from some days before an app key's last one.
    fn warn_of_app_keys(&mut self, now: UnixNanos) {
        let today = ist_date(now);
        if self.warned_on == today {
            return;
        }
        self.warned_on = today;
        for product in Product::ALL {
            if let Some(token) = self.desk(product).slot.token() {
                let last = token.facts.app_key_expires.clone();
                app_key::warn_if_near(&self.shared, product, last.as_deref(), today);
            }
        }
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
        let stream = StreamActor::new(Arc::clone(&self.shared), parent, obituary);
        let addr = start_in(self.shared.span(), stream);
        self.child = Some(Child { number, addr });
    }

    fn publish(&self) {
        let (now, instant) = (self.shared.now(), Instant::now());
        for (product, desk) in [(Product::Market, &self.market), (Product::Interactive, &self.interactive)] {
            self.shared.keep_memory(product, desk.slot.memory());
        }
        self.shared.status.send_if_modified(|status| {
            let mut changed = false;
            for (product, desk) in
                [(Product::Market, &self.market), (Product::Interactive, &self.interactive)]
            {
                let mut next = desk.slot.status(self.planned(), now, instant);
                next.store_failure.clone_from(&desk.store_failure);
                let shown = status.token_mut(product);
                changed |= *shown != next;
                *shown = next;
            }
            changed
        });
        self.shared.deps.spread.set_blocked(self.shared.deps.feed, self.market.slot.is_blocked(now));
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
        let rest = self.rest();
        for product in Product::ALL {
            let slot = &self.desk(product).slot;
            if slot.is_usable(now) {
                continue;
            }
            match rest {
                Some(until) if slot.can_rest(now) => {
                    info!(%product, until = until.in_india(), "nothing trades before; no login now");
                }
                _ => self.log_in(product, "start", false, ctx),
            }
        }
        self.look(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if self.child.is_some() {
            error!("the token actor has stopped with its child alive");
        }
    }
}
