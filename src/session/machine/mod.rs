//! The feed's life as a pure state machine: (state, event, time) → (state, actions).
//! No I/O, no clock, no subscriptions; `stream_actor` carries the actions out.
//!
//! What always holds (property tests in `tests.rs`):
//! 1. at most one feed generation is alive;
//! 2. after a refused token, the next ask carries that token's epoch;
//! 3. no feed opens sooner than the back-off, which starts over only after live data;
//! 4. after `Stop`, nothing opens and nothing is asked;
//! 5. every state has a feed that is open or opening, a pending ask, or an armed timer.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::token::TokenEpoch;

/// Number of a feed. Rises over the whole life of the session, replaced actors included.
pub type Generation = u64;

/// What happened. Reports of generations, asks and timers that are no longer current are
/// ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The actor started.
    Start,
    /// A token came for that ask.
    TokenGranted {
        /// Number of the ask.
        ask: u64,
        /// The token's epoch.
        epoch: TokenEpoch,
    },
    /// No token for now.
    TokenDenied {
        /// Number of the ask.
        ask: u64,
        /// When asking again makes sense, if that is known.
        retry_in: Option<Duration>,
    },
    /// A login brought a new token without being asked from here.
    TokenRotated {
        /// The token's epoch.
        epoch: TokenEpoch,
    },
    /// The handshake succeeded.
    FeedOpened {
        /// Which feed.
        generation: Generation,
    },
    /// The handshake failed, or the open feed ended.
    FeedEnded {
        /// Which feed.
        generation: Generation,
        /// Whether the broker refused the token.
        token_refused: bool,
        /// What the broker asked to wait.
        retry_after: Option<Duration>,
    },
    /// A request was refused because of its token.
    TokenRefused {
        /// The refused token.
        epoch: TokenEpoch,
    },
    /// An armed timer ran out.
    TimerFired {
        /// Which timer.
        timer: u64,
        /// Whether the feed has shown live data, or nothing is wanted of it.
        proven: bool,
    },
    /// A person wants a fresh connection.
    Reconnect,
    /// The end.
    Stop,
}

/// What to do. Carried out in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the token actor; answer with `TokenGranted` or `TokenDenied`.
    AskToken {
        /// Number to answer with.
        ask: u64,
        /// The last token that was refused.
        newer_than: Option<TokenEpoch>,
    },
    /// Open a feed; answer with `FeedOpened`, and in any case once with `FeedEnded`.
    OpenFeed {
        /// Number to answer with.
        generation: Generation,
        /// The token to use.
        epoch: TokenEpoch,
    },
    /// Drop the feed, open or opening. Needs no answer.
    CloseFeed {
        /// Which feed.
        generation: Generation,
    },
    /// Answer with `TimerFired` after that time. A newer timer replaces an older one.
    ArmTimer {
        /// Number to answer with.
        timer: u64,
        /// How long.
        after: Duration,
    },
}

/// Where the feed stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started.
    Idle,
    /// An ask is pending.
    AwaitingToken {
        /// Its number.
        ask: u64,
    },
    /// A handshake is under way.
    Connecting {
        /// Which feed.
        generation: Generation,
        /// With which token.
        epoch: TokenEpoch,
    },
    /// The feed is open.
    Live {
        /// Which feed.
        generation: Generation,
        /// With which token.
        epoch: TokenEpoch,
        /// Timer after which the feed may count as stable; `None` once it does.
        stable_timer: Option<u64>,
    },
    /// Backing off.
    Waiting {
        /// The timer that ends it.
        timer: u64,
    },
    /// Over.
    Stopped,
}

impl State {
    /// The name in the status.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::AwaitingToken { .. } => "awaiting_token",
            Self::Connecting { .. } => "connecting",
            Self::Live { .. } => "live",
            Self::Waiting { .. } => "waiting",
            Self::Stopped => "stopped",
        }
    }

    /// The feed that is open or opening.
    pub const fn feed(&self) -> Option<(Generation, TokenEpoch)> {
        match self {
            Self::Connecting { generation, epoch } | Self::Live { generation, epoch, .. } => {
                Some((*generation, *epoch))
            }
            Self::Idle | Self::AwaitingToken { .. } | Self::Waiting { .. } | Self::Stopped => None,
        }
    }
}

/// The machine. Times are monotonic, since any fixed origin.
#[derive(Debug)]
pub struct Machine {
    state: State,
    backoff: Backoff,
    stable_after: Duration,
    /// Newest token that the broker refused.
    refused: Option<TokenEpoch>,
    /// Refused tokens since data last flowed: a second one means that new logins do not
    /// help, and that somebody else may be logging in with our key.
    refusals_in_a_row: u32,
    /// No feed opens before this.
    not_before: Duration,
    last_generation: Generation,
    last_ask: u64,
    last_timer: u64,
}

impl Machine {
    /// A machine in `Idle` whose first feed is the one after `last_generation`.
    pub fn new(backoff: Backoff, stable_after: Duration, last_generation: Generation) -> Self {
        Self {
            state: State::Idle,
            backoff,
            stable_after,
            refused: None,
            refusals_in_a_row: 0,
            not_before: Duration::ZERO,
            last_generation,
            last_ask: 0,
            last_timer: 0,
        }
    }

    /// Where it stands.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Number of the newest feed.
    pub const fn generation(&self) -> Generation {
        self.last_generation
    }

    /// Takes one event in and says what to do about it.
    #[must_use]
    pub fn on(&mut self, event: Event, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.state == State::Stopped {
            return actions;
        }
        match event {
            Event::Start => {
                if self.state == State::Idle {
                    self.ask(&mut actions);
                }
            }
            Event::TokenGranted { ask, epoch } => {
                if self.state == (State::AwaitingToken { ask }) {
                    self.granted(epoch, now, &mut actions);
                }
            }
            Event::TokenDenied { ask, retry_in } => {
                if self.state == (State::AwaitingToken { ask }) {
                    let wait = match retry_in {
                        // The token actor backs off by itself; its word is enough.
                        Some(wait) => wait.max(self.backoff.least(0)),
                        None => self.backoff.next_delay(),
                    };
                    self.wait(wait, &mut actions);
                }
            }
            Event::TokenRotated { epoch } => self.rotated(epoch, now, &mut actions),
            Event::FeedOpened { generation } => {
                if let State::Connecting { generation: current, epoch } = self.state
                    && current == generation
                {
                    let timer = self.arm(self.stable_after, &mut actions);
                    self.state = State::Live { generation, epoch, stable_timer: Some(timer) };
                }
            }
            Event::FeedEnded { generation, token_refused, retry_after } => {
                if let Some((current, epoch)) = self.state.feed()
                    && current == generation
                {
                    let refused = token_refused.then_some(epoch);
                    self.ended(refused, retry_after, now, &mut actions);
                }
            }
            Event::TokenRefused { epoch } => self.request_refused(epoch, now, &mut actions),
            Event::TimerFired { timer, proven } => self.timer_fired(timer, proven, &mut actions),
            Event::Reconnect => {
                self.close(&mut actions);
                // What was refused or failed before still holds: the back-off stands.
                if self.state != State::Idle {
                    self.ask(&mut actions);
                }
            }
            Event::Stop => {
                self.close(&mut actions);
                self.state = State::Stopped;
            }
        }
        actions
    }

    fn granted(&mut self, epoch: TokenEpoch, now: Duration, actions: &mut Vec<Action>) {
        if self.refused.is_some_and(|refused| epoch <= refused) {
            // Refused while the answer was on its way, or an actor that does not keep its
            // word. Either way this token is dead.
            let wait = self.backoff.next_delay();
            self.wait(wait, actions);
        } else if now >= self.not_before {
            self.last_generation += 1;
            let generation = self.last_generation;
            actions.push(Action::OpenFeed { generation, epoch });
            self.state = State::Connecting { generation, epoch };
        } else {
            self.wait(self.not_before.saturating_sub(now), actions);
        }
    }

    fn rotated(&mut self, epoch: TokenEpoch, now: Duration, actions: &mut Vec<Action>) {
        if self.refused.is_some_and(|refused| epoch <= refused) {
            return;
        }
        match self.state {
            // A login ends the token before it at the broker: its socket goes silent
            // (XTS forum reports of replaced sessions), so it is not kept.
            State::Connecting { epoch: current, .. } | State::Live { epoch: current, .. } => {
                if epoch > current {
                    self.close(actions);
                    self.granted(epoch, now, actions);
                }
            }
            State::AwaitingToken { .. } | State::Waiting { .. } => self.granted(epoch, now, actions),
            State::Idle | State::Stopped => {}
        }
    }

    fn request_refused(&mut self, epoch: TokenEpoch, now: Duration, actions: &mut Vec<Action>) {
        match self.state {
            State::Connecting { epoch: current, .. } | State::Live { epoch: current, .. } => {
                if epoch == current {
                    self.close(actions);
                    self.ended(Some(epoch), None, now, actions);
                }
            }
            State::AwaitingToken { .. } => {
                if self.refused < Some(epoch) {
                    self.refused = Some(epoch);
                    self.ask(actions);
                }
            }
            State::Waiting { .. } | State::Idle => self.refused = self.refused.max(Some(epoch)),
            State::Stopped => {}
        }
    }

    /// The feed is gone.
    fn ended(
        &mut self,
        refused: Option<TokenEpoch>,
        retry_after: Option<Duration>,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        let delay = self.backoff.next_delay().max(retry_after.unwrap_or_default());
        self.not_before = self.not_before.max(now.saturating_add(delay));
        if let Some(epoch) = refused {
            self.refused = self.refused.max(Some(epoch));
            self.refusals_in_a_row = self.refusals_in_a_row.saturating_add(1);
            if self.refusals_in_a_row == 1 {
                // The login may run while the back-off does.
                return self.ask(actions);
            }
        }
        self.wait(self.not_before.saturating_sub(now), actions);
    }

    fn timer_fired(&mut self, timer: u64, proven: bool, actions: &mut Vec<Action>) {
        match self.state {
            State::Waiting { timer: current } if current == timer => self.ask(actions),
            State::Live { generation, epoch, stable_timer: Some(current) } if current == timer => {
                let stable_timer = if proven {
                    self.backoff.reset();
                    self.refusals_in_a_row = 0;
                    None
                } else {
                    Some(self.arm(self.stable_after, actions))
                };
                self.state = State::Live { generation, epoch, stable_timer };
            }
            _ => {}
        }
    }

    fn ask(&mut self, actions: &mut Vec<Action>) {
        self.last_ask += 1;
        actions.push(Action::AskToken { ask: self.last_ask, newer_than: self.refused });
        self.state = State::AwaitingToken { ask: self.last_ask };
    }

    fn wait(&mut self, after: Duration, actions: &mut Vec<Action>) {
        let timer = self.arm(after, actions);
        self.state = State::Waiting { timer };
    }

    fn arm(&mut self, after: Duration, actions: &mut Vec<Action>) -> u64 {
        self.last_timer += 1;
        actions.push(Action::ArmTimer { timer: self.last_timer, after });
        self.last_timer
    }

    fn close(&self, actions: &mut Vec<Action>) {
        if let Some((generation, _)) = self.state.feed() {
            actions.push(Action::CloseFeed { generation });
        }
    }
}

#[cfg(test)]
mod tests;
