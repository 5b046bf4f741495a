//! What a shard knows of one consumer beside its socket and its frames: how far it has come,
//! what it is waited for, when something is due. No socket and no protocol.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;

use tokio::time::{Duration, Instant};

use crate::gateway::auth::KeyInfo;
use crate::gateway::connection::reader::Reader;
use crate::gateway::handshake::Full;
use crate::gateway::listener::Admitted;
use crate::gateway::settings::Settings;
use crate::gateway::shard::ready::Flag;
use crate::gateway::shard::telling::Untold;
use crate::hub::TopicId;

/// How far a connection has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Its opening handshake is not complete. `Some`: it will be refused.
    Handshake(Option<Full>),
    /// A WebSocket; a consumer once it has shown its key.
    Open(Option<Arc<KeyInfo>>),
    /// Its last bytes are queued; what it still sends is thrown away until it ends.
    Closing {
        /// When it is not waited for any longer.
        until: Instant,
        /// The write side of the socket is shut down.
        finished: bool,
    },
}

/// What must be done about a connection because of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// No handshake came.
    Handshake,
    /// No key came.
    Auth,
    /// No sign of life since the ping.
    Pong,
    /// It does not end by itself.
    Close,
    /// A ping is due.
    Ping,
    /// A heartbeat is due.
    Heartbeat,
    /// Its frames may be read again.
    Allowance,
    /// A subscription has waited long enough for the instrument list.
    Waiting,
}

/// Frames that wait, in order, for the first instrument list.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) frames: VecDeque<(Instant, Box<[u8]>)>,
    pub(crate) bytes: usize,
}

impl Waiting {
    /// Beyond this a connection is not read until the list is there.
    const MAX_BYTES: usize = 1 << 20;

    pub(crate) fn push(&mut self, now: Instant, frame: &[u8]) {
        self.bytes += frame.len();
        self.frames.push_back((now, frame.into()));
    }

    /// Puts back what [`Self::pop`] took.
    pub(crate) fn unpop(&mut self, since: Instant, frame: Box<[u8]>) {
        self.bytes += frame.len();
        self.frames.push_front((since, frame));
    }

    pub(crate) fn pop(&mut self) -> Option<Box<[u8]>> {
        let (_, frame) = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }
}

#[derive(Debug)]
pub(crate) struct Consumer {
    /// Never used again, unlike its number in the shard.
    pub(crate) id: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) phase: Phase,
    pub(crate) reader: Reader,
    pub(crate) waiting: Option<Box<Waiting>>,
    pub(crate) waker: Waker,
    /// It wants to be told of orders.
    pub(crate) orders: bool,
    /// Topics of which it is to be told, as far as it still holds them, when it takes its answers.
    pub(crate) unintroduced: BTreeSet<TopicId>,
    /// It wants to be told how current its instruments are.
    pub(crate) tells_state: bool,
    /// What it is yet to be told of that, if it wants to be.
    pub(crate) untold: Option<Box<Untold>>,
    pub(crate) heartbeat_due: Option<Instant>,
    /// It was not read because of [`Self::is_paused`].
    pub(crate) unread: bool,
    /// Since when its phase lasts.
    since: Instant,
    /// When something last showed that the peer is there: bytes from it, or room in a socket
    /// that was full, which only its reading makes.
    pub(crate) alive_at: Instant,
    pinged_at: Option<Instant>,
    ping_due: Option<Instant>,
    /// Frames it may still send in this second.
    allowance: u32,
    allowance_from: Instant,
    /// The earliest time in the shard's heap.
    pub(crate) armed: Option<Instant>,
    /// Counts it at the listener, until dropped.
    _admitted: Admitted,
}

/// Answers that wait for a consumer beyond which its commands are not read.
const MAX_ANSWERS: usize = 256 << 10;

impl Consumer {
    pub(crate) fn new(
        flag: &Arc<Flag>,
        peer: SocketAddr,
        full: Option<Full>,
        admitted: Admitted,
        settings: &Settings,
        now: Instant,
    ) -> Self {
        Self {
            id: flag.id,
            peer,
            phase: Phase::Handshake(full),
            reader: Reader::default(),
            waiting: None,
            waker: Waker::from(Arc::clone(flag)),
            orders: false,
            unintroduced: BTreeSet::new(),
            tells_state: false,
            untold: None,
            heartbeat_due: None,
            unread: false,
            since: now,
            alive_at: now,
            pinged_at: None,
            ping_due: None,
            allowance: settings.max_commands_per_second,
            allowance_from: now,
            armed: None,
            _admitted: admitted,
        }
    }

    /// It is a WebSocket now.
    pub(crate) fn opened(&mut self, settings: &Settings, now: Instant) {
        self.phase = Phase::Open(None);
        self.since = now;
        self.ping_due = settings.ping_interval().map(|interval| now + interval);
    }

    /// The key it has shown.
    pub(crate) fn key(&self) -> Option<&Arc<KeyInfo>> {
        match &self.phase {
            Phase::Open(key) => key.as_ref(),
            Phase::Handshake(_) | Phase::Closing { .. } => None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// The largest message it may send now.
    pub(crate) fn frame_limit(&self, settings: &Settings) -> usize {
        match self.key() {
            Some(_) => settings.max_frame_bytes,
            None => settings.max_frame_unauthenticated_bytes,
        }
    }

    /// Its last bytes are queued.
    pub(crate) fn closing(&mut self, settings: &Settings, now: Instant) {
        self.phase = Phase::Closing { until: now + settings.close_timeout(), finished: false };
        self.waiting = None;
        self.untold = None;
        self.unread = false;
    }

    /// Whether its frames have to wait: for room for their answers, for the instrument list,
    /// or for the next second.
    pub(crate) fn is_paused(&self, answers_waiting: usize) -> bool {
        self.is_open()
            && (self.allowance == 0
                || answers_waiting > MAX_ANSWERS
                || self.waiting.as_ref().is_some_and(|w| w.bytes > Waiting::MAX_BYTES))
    }

    /// Uses up one frame of its allowance.
    pub(crate) fn spend(&mut self, settings: &Settings, now: Instant) {
        self.refill(settings, now);
        self.allowance = self.allowance.saturating_sub(1);
    }

    fn refill(&mut self, settings: &Settings, now: Instant) {
        if now >= self.allowance_from + WINDOW {
            self.allowance = settings.max_commands_per_second;
            self.allowance_from = now;
        }
    }

    /// Notes that a ping was sent. The time-out runs from the first that is unanswered.
    pub(crate) fn pinged(&mut self, settings: &Settings, now: Instant) {
        self.pinged_at = self.unanswered_ping().or(Some(now));
        self.ping_due = settings.ping_interval().map(|interval| now + interval);
    }

    /// When it is to be looked at again, if nothing happens before.
    pub(crate) fn deadline(&self, settings: &Settings) -> Instant {
        let mut earliest = match self.phase {
            Phase::Handshake(_) => return self.since + settings.handshake_timeout(),
            Phase::Closing { until, .. } => return until,
            Phase::Open(None) => Some(self.since + settings.auth_timeout()),
            Phase::Open(Some(_)) => None,
        };
        let mut consider = |at: Option<Instant>| {
            if let Some(at) = at {
                earliest = Some(earliest.map_or(at, |e| e.min(at)));
            }
        };
        consider(self.ping_due);
        consider(self.heartbeat_due);
        consider(self.unanswered_ping().map(|at| at + settings.ping_timeout()));
        consider((self.allowance == 0).then(|| self.allowance_from + WINDOW));
        let head = self.waiting.as_ref().and_then(|w| w.frames.front());
        consider(head.map(|(since, _)| *since + settings.master_wait()));
        // Pings can be turned off; a look now and then costs nothing.
        earliest.unwrap_or(self.alive_at + FAR)
    }

    /// What is due now; asked again until there is nothing.
    pub(crate) fn overdue(&mut self, settings: &Settings, now: Instant) -> Option<Overdue> {
        match self.phase {
            Phase::Handshake(_) => return (now >= self.deadline(settings)).then_some(Overdue::Handshake),
            Phase::Closing { until, .. } => return (now >= until).then_some(Overdue::Close),
            Phase::Open(None) if now >= self.since + settings.auth_timeout() => return Some(Overdue::Auth),
            Phase::Open(_) => {}
        }
        if self.unanswered_ping().is_some_and(|at| now >= at + settings.ping_timeout()) {
            return Some(Overdue::Pong);
        }
        if self.ping_due.is_some_and(|at| now >= at) {
            return Some(Overdue::Ping);
        }
        if self.heartbeat_due.is_some_and(|at| now >= at) {
            return Some(Overdue::Heartbeat);
        }
        if self.allowance == 0 && now >= self.allowance_from + WINDOW {
            self.refill(settings, now);
            return Some(Overdue::Allowance);
        }
        let head = self.waiting.as_ref().and_then(|w| w.frames.front());
        head.is_some_and(|(since, _)| now >= *since + settings.master_wait()).then_some(Overdue::Waiting)
    }

    fn unanswered_ping(&self) -> Option<Instant> {
        self.pinged_at.filter(|at| self.alive_at < *at)
    }
}

/// What a rate is per.
const WINDOW: Duration = Duration::from_secs(1);
/// Far enough to cost nothing.
const FAR: Duration = Duration::from_hours(1);
