use proptest::prelude::*;

use super::*;

const FLOOR: Duration = Duration::from_millis(500);
const CEILING: Duration = Duration::from_secs(30);
const STABLE: Duration = Duration::from_secs(20);

fn machine(seed: u64) -> Machine {
    Machine::new(Backoff::new(FLOOR, CEILING, seed), STABLE, 0)
}

/// A world around the machine that remembers what it was told to do.
struct World {
    machine: Machine,
    now: Duration,
    alive: Option<Generation>,
    /// Epochs the broker refused, newest.
    refused: Option<TokenEpoch>,
    /// Failures since the feed was last proven, and the time before which nothing may open.
    failures: u32,
    not_before: Duration,
    stopped: bool,
    last_actions: Vec<Action>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            machine: machine(seed),
            now: Duration::ZERO,
            alive: None,
            refused: None,
            failures: 0,
            not_before: Duration::ZERO,
            stopped: false,
            last_actions: Vec::new(),
        }
    }

    fn failed(&mut self, retry_after: Option<Duration>) {
        let reference = Backoff::new(FLOOR, CEILING, 0);
        let least = reference.least(self.failures).max(retry_after.unwrap_or_default());
        self.failures += 1;
        self.not_before = self.not_before.max(self.now + least);
    }

    /// Feeds one event in and checks all five invariants.
    fn on(&mut self, event: Event) -> &[Action] {
        let before = *self.machine.state();
        // What the world knows of the event, before the machine hears of it.
        match event {
            Event::FeedEnded { generation, token_refused, retry_after } if self.alive == Some(generation) => {
                self.alive = None;
                self.failed(retry_after);
                if token_refused {
                    self.refused = self.refused.max(before.feed().map(|(_, epoch)| epoch));
                }
            }
            Event::TokenRefused { epoch } if !self.stopped => match before.feed() {
                Some((_, current)) if current == epoch => {
                    self.failed(None);
                    self.refused = self.refused.max(Some(epoch));
                }
                Some(_) => {}
                None => self.refused = self.refused.max(Some(epoch)),
            },
            Event::TimerFired { timer, proven: true } => {
                if matches!(before, State::Live { stable_timer: Some(current), .. } if current == timer) {
                    self.failures = 0;
                }
            }
            Event::Stop => self.stopped = true,
            _ => {}
        }
        let was_stopped = before == State::Stopped;
        let actions = self.machine.on(event, self.now);
        for action in &actions {
            match *action {
                Action::OpenFeed { generation, epoch } => {
                    assert_eq!(self.alive, None, "1: two feeds alive");
                    assert!(!self.stopped, "4: opened after stop");
                    assert!(self.now >= self.not_before, "3: opened before the back-off");
                    assert!(Some(epoch) > self.refused, "2: a refused token was used");
                    self.alive = Some(generation);
                }
                Action::CloseFeed { generation } => {
                    assert_eq!(self.alive, Some(generation), "closed a feed that is not alive");
                    self.alive = None;
                }
                Action::AskToken { newer_than, .. } => {
                    assert!(!self.stopped, "4: asked after stop");
                    assert_eq!(newer_than, self.refused, "2: the refused epoch is missing");
                }
                Action::ArmTimer { .. } => assert!(!self.stopped, "4: armed after stop"),
            }
        }
        assert!(!was_stopped || actions.is_empty(), "4: acted after stop");
        let armed = actions.iter().rev().find_map(|action| match action {
            Action::ArmTimer { timer, .. } => Some(*timer),
            _ => None,
        });
        match *self.machine.state() {
            State::Idle => assert_eq!(before, State::Idle, "back to idle"),
            State::Stopped => assert_eq!(self.alive, None, "a feed outlived the stop"),
            State::Connecting { generation, .. } | State::Live { generation, .. } => {
                assert_eq!(self.alive, Some(generation), "5: no feed");
            }
            State::AwaitingToken { ask } => {
                assert_eq!(self.alive, None);
                let pending = before == State::AwaitingToken { ask }
                    || actions
                        .iter()
                        .any(|a| matches!(a, Action::AskToken { ask: asked, .. } if *asked == ask));
                assert!(pending, "5: no ask is pending");
            }
            State::Waiting { timer } => {
                assert_eq!(self.alive, None);
                assert!(armed == Some(timer) || before == (State::Waiting { timer }), "5: no timer is armed");
            }
        }
        self.last_actions = actions;
        &self.last_actions
    }
}

/// What may come from outside; numbers are relative to what is current, to hit both live and
/// stale ones often.
#[derive(Clone, Copy, Debug)]
enum Stimulus {
    Start,
    Granted { stale: bool, newer_by: u64 },
    Denied { stale: bool, retry_ms: Option<u64> },
    Rotated { epoch: u64 },
    Opened { back: u64 },
    Ended { back: u64, token_refused: bool, retry_ms: Option<u64> },
    Refused { epoch: u64 },
    RefusedCurrent,
    Fired { stale: bool, proven: bool },
    Reconnect,
    Stop,
    Advance { ms: u64 },
}

fn stimulus() -> impl Strategy<Value = Stimulus> {
    let retry = || proptest::option::of(0_u64..60_000);
    prop_oneof![
        2 => Just(Stimulus::Start),
        8 => (prop::bool::weighted(0.2), 0_u64..3).prop_map(|(stale, newer_by)| Stimulus::Granted { stale, newer_by }),
        3 => (prop::bool::weighted(0.2), retry()).prop_map(|(stale, retry_ms)| Stimulus::Denied { stale, retry_ms }),
        2 => (0_u64..20).prop_map(|epoch| Stimulus::Rotated { epoch }),
        8 => prop_oneof![4 => Just(0_u64), 1 => 1_u64..3].prop_map(|back| Stimulus::Opened { back }),
        8 => (prop_oneof![4 => Just(0_u64), 1 => 1_u64..3], any::<bool>(), retry())
            .prop_map(|(back, token_refused, retry_ms)| Stimulus::Ended { back, token_refused, retry_ms }),
        2 => (0_u64..20).prop_map(|epoch| Stimulus::Refused { epoch }),
        2 => Just(Stimulus::RefusedCurrent),
        8 => (prop::bool::weighted(0.2), any::<bool>()).prop_map(|(stale, proven)| Stimulus::Fired { stale, proven }),
        1 => Just(Stimulus::Reconnect),
        1 => Just(Stimulus::Stop),
        8 => (0_u64..40_000).prop_map(|ms| Stimulus::Advance { ms }),
    ]
}

fn apply(world: &mut World, stimulus: Stimulus) {
    let ms = |ms: Option<u64>| ms.map(Duration::from_millis);
    let ask = world.machine.last_ask;
    let generation = world.machine.last_generation;
    let event = match stimulus {
        Stimulus::Start => Event::Start,
        Stimulus::Granted { stale, newer_by } => {
            let epoch = TokenEpoch(world.refused.unwrap_or_default().0 + newer_by);
            Event::TokenGranted { ask: ask.wrapping_sub(u64::from(stale)), epoch }
        }
        Stimulus::Denied { stale, retry_ms } => {
            Event::TokenDenied { ask: ask.wrapping_sub(u64::from(stale)), retry_in: ms(retry_ms) }
        }
        Stimulus::Rotated { epoch } => Event::TokenRotated { epoch: TokenEpoch(epoch) },
        Stimulus::Opened { back } => Event::FeedOpened { generation: generation.wrapping_sub(back) },
        Stimulus::Ended { back, token_refused, retry_ms } => Event::FeedEnded {
            generation: generation.wrapping_sub(back),
            token_refused,
            retry_after: ms(retry_ms),
        },
        Stimulus::Refused { epoch } => Event::TokenRefused { epoch: TokenEpoch(epoch) },
        Stimulus::RefusedCurrent => {
            let Some((_, epoch)) = world.machine.state().feed() else { return };
            Event::TokenRefused { epoch }
        }
        Stimulus::Fired { stale, proven } => {
            Event::TimerFired { timer: world.machine.last_timer.wrapping_sub(u64::from(stale)), proven }
        }
        Stimulus::Reconnect => Event::Reconnect,
        Stimulus::Stop => Event::Stop,
        Stimulus::Advance { ms } => {
            world.now += Duration::from_millis(ms);
            return;
        }
    };
    world.on(event);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_five_invariants_hold_for_any_sequence(
        seed: u64,
        stimuli in proptest::collection::vec(stimulus(), 0..120),
    ) {
        let mut world = World::new(seed);
        for stimulus in stimuli {
            apply(&mut world, stimulus);
        }
    }

    /// A world that answers every action in time comes to a live feed again, whatever
    /// happened before.
    #[test]
    fn it_always_comes_back(seed: u64, stimuli in proptest::collection::vec(stimulus(), 0..60)) {
        let mut world = World::new(seed);
        world.on(Event::Start);
        for stimulus in stimuli {
            if !matches!(stimulus, Stimulus::Stop) {
                apply(&mut world, stimulus);
            }
        }
        let mut fresh = world.refused.map_or(100, |epoch| epoch.0 + 100);
        for _ in 0..20 {
            match *world.machine.state() {
                State::Live { .. } => return Ok(()),
                State::AwaitingToken { ask } => {
                    fresh += 1;
                    world.on(Event::TokenGranted { ask, epoch: TokenEpoch(fresh) });
                }
                State::Connecting { generation, .. } => {
                    world.on(Event::FeedOpened { generation });
                }
                State::Waiting { timer } => {
                    world.now += CEILING * 3;
                    world.on(Event::TimerFired { timer, proven: false });
                }
                State::Idle | State::Stopped => prop_assert!(false, "not startable"),
            }
        }
        prop_assert!(false, "not live after twenty steps: {:?}", world.machine.state());
    }
}

fn opened(world: &mut World, epoch: u64) -> Generation {
    let State::AwaitingToken { ask } = *world.machine.state() else { panic!("{:?}", world.machine.state()) };
    world.on(Event::TokenGranted { ask, epoch: TokenEpoch(epoch) });
    let State::Connecting { generation, .. } = *world.machine.state() else {
        panic!("{:?}", world.machine.state())
    };
    world.on(Event::FeedOpened { generation });
    generation
}

fn ended(generation: Generation, token_refused: bool) -> Event {
    Event::FeedEnded { generation, token_refused, retry_after: None }
}

/// Waits out the armed back-off.
fn wait(world: &mut World) -> Duration {
    let Some(Action::ArmTimer { timer, after }) = world.last_actions.last().copied() else {
        panic!("no timer in {:?}", world.last_actions)
    };
    world.now += after;
    world.on(Event::TimerFired { timer, proven: false });
    after
}

#[test]
fn a_venue_that_flaps_after_each_connect_does_not_look_healthy() {
    let mut world = World::new(3);
    world.on(Event::Start);
    let mut delays = Vec::new();
    for _ in 0..10 {
        let generation = opened(&mut world, 1);
        world.now += Duration::from_secs(1);
        world.on(ended(generation, false));
        delays.push(wait(&mut world));
    }
    assert!(delays[0] <= FLOOR * 2);
    assert!(delays[9] >= CEILING / 2, "{delays:?}");
}

#[test]
fn live_data_for_long_enough_resets_the_back_off() {
    let mut world = World::new(3);
    world.on(Event::Start);
    for _ in 0..8 {
        let generation = opened(&mut world, 1);
        world.on(ended(generation, false));
        wait(&mut world);
    }
    let generation = opened(&mut world, 1);
    let State::Live { stable_timer: Some(timer), .. } = *world.machine.state() else { panic!() };
    // Connected but mute: not yet.
    let actions = world.on(Event::TimerFired { timer, proven: false }).to_vec();
    assert!(matches!(actions[..], [Action::ArmTimer { after: STABLE, .. }]));
    let State::Live { stable_timer: Some(timer), .. } = *world.machine.state() else { panic!() };
    world.on(Event::TimerFired { timer, proven: true });
    world.on(ended(generation, false));
    assert!(wait(&mut world) <= FLOOR * 2);
}

#[test]
fn the_first_refused_token_asks_at_once_and_the_second_waits() {
    let mut world = World::new(3);
    world.on(Event::Start);
    let generation = opened(&mut world, 1);
    let actions = world.on(ended(generation, true)).to_vec();
    assert_eq!(actions, [Action::AskToken { ask: 2, newer_than: Some(TokenEpoch(1)) }]);
    // The new token is there at once, but the connection still waits for the back-off.
    world.on(Event::TokenGranted { ask: 2, epoch: TokenEpoch(2) });
    assert!(matches!(world.machine.state(), State::Waiting { .. }));
    wait(&mut world);
    let generation = opened(&mut world, 2);
    let actions = world.on(ended(generation, true)).to_vec();
    assert!(matches!(actions[..], [Action::ArmTimer { .. }]), "{actions:?}");
    wait(&mut world);
    assert_eq!(world.last_actions, [Action::AskToken { ask: 4, newer_than: Some(TokenEpoch(2)) }]);
}

#[test]
fn a_rotated_token_replaces_the_connection_and_an_old_one_does_not() {
    let mut world = World::new(3);
    world.on(Event::Start);
    let generation = opened(&mut world, 5);
    assert!(world.on(Event::TokenRotated { epoch: TokenEpoch(5) }).is_empty());
    let actions = world.on(Event::TokenRotated { epoch: TokenEpoch(6) }).to_vec();
    assert_eq!(
        actions,
        [
            Action::CloseFeed { generation },
            Action::OpenFeed { generation: generation + 1, epoch: TokenEpoch(6) }
        ]
    );
}

#[test]
fn an_operators_login_ends_the_wait_for_a_token() {
    let mut world = World::new(3);
    world.on(Event::Start);
    world.on(Event::TokenDenied { ask: 1, retry_in: Some(CEILING) });
    assert!(matches!(world.machine.state(), State::Waiting { .. }));
    let actions = world.on(Event::TokenRotated { epoch: TokenEpoch(1) }).to_vec();
    assert!(matches!(actions[..], [Action::OpenFeed { .. }]));
}

#[test]
fn the_venues_wish_to_wait_is_kept() {
    let mut world = World::new(3);
    world.on(Event::Start);
    let generation = opened(&mut world, 1);
    let minute = Duration::from_mins(1);
    world.on(Event::FeedEnded { generation, token_refused: false, retry_after: Some(minute) });
    // Impatience does not shorten it.
    world.on(Event::Reconnect);
    let State::AwaitingToken { ask } = *world.machine.state() else { panic!() };
    world.on(Event::TokenGranted { ask, epoch: TokenEpoch(1) });
    assert!(wait(&mut world) >= minute);
}
