//! Whatever happens, in whatever order: the module's promises hold.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::tests::{NOW, held_at};
use super::*;
use crate::broker::Error;
use crate::session::settings::Settings;
use crate::token::expiry::Claim;

const CAP: u32 = 8;
const INTERVAL: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
enum Event {
    /// Somebody asks, perhaps with the last token handed out as refused.
    Ask {
        refused: bool,
        rests: bool,
    },
    /// The login that is under way brings a token with such a life; `None`: it names no end.
    LoginOk(Option<u64>),
    /// It fails.
    LoginFails(u8),
    /// A call reports a refusal and wants nothing.
    Refused,
    Replaced,
    Revoke,
    Refresh,
    /// The day's plan.
    Plan,
    Renewal,
    Advance(u64),
    /// The actor is replaced after a panic; the login that was under way goes with it.
    NewActor,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (any::<bool>(), any::<bool>()).prop_map(|(refused, rests)| Event::Ask { refused, rests }),
        4 => proptest::option::of(1_u64..100_000).prop_map(Event::LoginOk),
        2 => (0_u8..5).prop_map(Event::LoginFails),
        1 => Just(Event::Refused),
        1 => Just(Event::Replaced),
        1 => Just(Event::Revoke),
        1 => Just(Event::Refresh),
        1 => Just(Event::Plan),
        1 => Just(Event::Renewal),
        6 => prop_oneof![1_u64..10, 100_u64..4_000, 30_000_u64..90_000].prop_map(Event::Advance),
        1 => Just(Event::NewActor),
    ]
}

fn failure(kind: u8) -> Error {
    match kind {
        0 => Error::Network("down".to_owned()),
        1 => Error::Credentials { description: "Invalid App Key".to_owned() },
        2 => Error::RateLimited { retry_after: Some(Duration::from_mins(2)), description: String::new() },
        3 => Error::Refused { status: 400, code: "e".to_owned(), description: "not now".to_owned() },
        _ => Error::NotConfigured("keys".to_owned()),
    }
}

struct World {
    slot: Slot,
    policy: Policy,
    now: UnixNanos,
    instant: Instant,
    in_flight: bool,
    /// Tokens that must never be handed out again.
    dead: BTreeSet<u64>,
    last_granted: Option<u64>,
    newest: u64,
    /// Starts of logins that no person asked for.
    starts: Vec<UnixNanos>,
}

impl World {
    fn new(on_replaced: OnReplaced) -> Self {
        let limits = Limits { interval: INTERVAL, per_day: CAP };
        let policy = Policy { limits, on_replaced, ..Settings::default().policy() };
        Self {
            slot: slot(policy),
            policy,
            now: NOW,
            instant: Instant::now(),
            in_flight: false,
            dead: BTreeSet::new(),
            last_granted: None,
            newest: 0,
            starts: Vec::new(),
        }
    }

    fn granted(&mut self, granted: &Granted) {
        let epoch = granted.token.epoch.0;
        assert!(!self.dead.contains(&epoch), "token {epoch} is dead");
        self.last_granted = Some(epoch);
    }

    fn begun(&mut self, begin: Begin) {
        match begin {
            Begin::Yes => {
                assert!(!self.in_flight, "a second login at once");
                if let Some(last) = self.starts.last() {
                    assert!(self.now.since(*last) >= INTERVAL, "logins too close");
                }
                let today = self.slot.count();
                assert!(today.attempts <= CAP, "{today:?}");
                self.starts.push(self.now);
                self.in_flight = true;
            }
            Begin::Later(left) => assert!(!self.in_flight && left > Duration::ZERO && left <= INTERVAL),
            Begin::No => {
                let denied = self.slot.denial(self.now, self.instant);
                assert!(self.in_flight || denied.is_some(), "no login, and no reason");
            }
        }
    }

    fn ask(&mut self, newer_than: Option<u64>, rests: bool) {
        let rest = rests.then(|| self.now.plus(Duration::from_hours(5)));
        if let Some(epoch) = newer_than {
            self.dead.extend(0..=epoch);
        }
        match self.slot.ask(newer_than.map(TokenEpoch), rest, self.now, self.instant).0 {
            Answer::Token(granted) => {
                assert!(newer_than.is_none_or(|refused| granted.token.epoch.0 > refused));
                self.granted(&granted);
            }
            Answer::LogIn => {
                let begin = self.slot.begin_login(self.now, self.instant);
                assert_eq!(begin, Begin::Yes, "told to log in, but none may begin");
                self.begun(begin);
            }
            Answer::Wait => assert!(self.in_flight, "told to wait for nothing"),
            Answer::Later(left) => {
                assert!(!self.in_flight && left > Duration::ZERO && left <= INTERVAL);
            }
            // A time to come back at, or an act to wait for.
            Answer::Denied(TokenError::Waiting { retry_in, .. }) => assert!(retry_in > Duration::ZERO),
            Answer::Denied(why) => {
                assert!(self.slot.is_blocked(self.now), "{why:?}");
            }
        }
    }

    fn on(&mut self, event: &Event) {
        match event {
            Event::Ask { refused, rests } => {
                let newer_than = if *refused { self.last_granted } else { None };
                self.ask(newer_than, *rests);
            }
            Event::LoginOk(life) => {
                if !std::mem::take(&mut self.in_flight) {
                    return;
                }
                self.newest += 1;
                let life = life.map(Duration::from_secs);
                let granted = self.slot.logged_in(held_at(self.newest, life, self.now), self.now);
                self.granted(&granted);
            }
            Event::LoginFails(kind) => {
                if !std::mem::take(&mut self.in_flight) {
                    return;
                }
                let (told, retry) = self.slot.login_failed(&failure(*kind), self.instant);
                // Tried again by itself, or waiting for a person: never forgotten.
                assert_eq!(retry.is_some(), matches!(told, TokenError::Waiting { .. }));
                assert!(retry.is_some() || self.slot.memory.block.is_some());
            }
            Event::Refused => {
                if let Some(epoch) = self.last_granted {
                    self.dead.extend(0..=epoch);
                    self.slot.refused(TokenEpoch(epoch), self.now, self.instant);
                }
            }
            Event::Replaced => {
                if let Some(epoch) = self.last_granted
                    && self.slot.replaced(TokenEpoch(epoch), "logout", self.now, self.instant)
                {
                    self.dead.extend(0..=epoch);
                    assert!(!self.in_flight);
                    assert!(
                        self.slot.memory.block.is_some() || self.policy.on_replaced == OnReplaced::Retake
                    );
                }
            }
            Event::Revoke => {
                if self.in_flight {
                    return;
                }
                if let Some(token) = self.slot.revoke() {
                    self.dead.extend(0..=token.epoch.0);
                }
                assert!(self.slot.is_blocked(self.now));
            }
            Event::Refresh => {
                let begun = self.slot.begin_login_by_operator(self.now);
                assert_eq!(begun, !self.in_flight);
                self.in_flight = true;
                if begun {
                    // A person's login counts for those that follow it.
                    self.starts.push(self.now);
                }
            }
            Event::Plan => {
                if !self.slot.is_usable(self.now) {
                    self.slot.end_wait_for_other();
                    let begin = self.slot.begin_login(self.now, self.instant);
                    self.begun(begin);
                }
            }
            Event::Renewal => {
                if self.slot.renewal_is_due(self.now) {
                    let begin = self.slot.begin_login(self.now, self.instant);
                    self.begun(begin);
                }
            }
            Event::Advance(seconds) => {
                let by = Duration::from_secs(*seconds);
                self.now = self.now.plus(by);
                self.instant += by;
            }
            Event::NewActor => {
                let memory = self.slot.memory();
                // What was refused was removed from the store; the rest is rehydrated.
                let stored = self.slot.held.clone();
                self.slot = slot(self.policy);
                self.slot.remember(memory);
                self.in_flight = false;
                if let Some(held) = stored {
                    let _ = self.slot.rehydrate(held, self.now);
                }
            }
        }
        self.check();
    }

    fn check(&self) {
        assert_eq!(self.slot.is_logging_in(), self.in_flight);
        if let Some(token) = self.slot.token() {
            assert!(!self.dead.contains(&token.epoch.0), "a dead token is held");
        }
        let status = self.slot.status(None, self.now, self.instant);
        // The status tells the truth about the handing out.
        let usable = self.slot.is_usable(self.now) || self.slot.last_resort(self.now).is_some();
        assert_eq!(status.state == "valid", usable && !self.in_flight, "{status:?}");
        if status.state == "waiting" {
            assert!(status.next_login_at.is_some_and(|at| at > self.now), "{status:?}");
        }
    }
}

fn slot(policy: Policy) -> Slot {
    Slot::new(policy, Backoff::new(Duration::from_millis(500), Duration::from_secs(30), 7))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_promises_hold(
        wait in any::<bool>(),
        events in proptest::collection::vec(event(), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("the runtime starts");
        let _inside = runtime.enter();
        let mut world = World::new(if wait { OnReplaced::Wait } else { OnReplaced::Retake });
        for event in &events {
            world.on(event);
        }
        // Nothing is dead for good: a person's act, or a quiet day, brings a login.
        world.now = world.now.plus(Duration::from_hours(48));
        world.instant += Duration::from_hours(48);
        if !world.in_flight && !world.slot.is_usable(world.now) && world.slot.memory.block.is_none() {
            let begin = world.slot.begin_login(world.now, world.instant);
            prop_assert_eq!(begin, Begin::Yes);
        }
    }
}

#[test]
fn what_the_model_makes_is_what_it_says() {
    let held = held_at(3, Some(Duration::from_mins(1)), NOW);
    assert_eq!(held.facts.claims.end, Claim::At(NOW.plus(Duration::from_mins(1))));
    assert!(Arc::strong_count(&held.token.secret) == 1 && held.token.epoch == TokenEpoch(3));
}
