//! Who goes next. No waiting and no clock of its own: callers say what time it is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Path;
use super::window::{Free, Window};

/// Where orders have no way of their own: so many of them in a row, then one of the others.
const URGENT_IN_A_ROW: u32 = 4;

#[derive(Debug)]
struct Waiter {
    id: u64,
    alone: bool,
    wake: Arc<Notify>,
}

/// Those who wait to make calls of one kind, first come first.
#[derive(Debug, Default)]
struct Lane {
    waiters: VecDeque<Waiter>,
    /// When it last went, as a count of turns.
    last: u64,
}

/// How many calls the broker lets through; lanes that it counts together share one.
#[derive(Debug)]
struct Limit {
    window: Window,
    paused: Option<Pause>,
}

/// Until when the broker has asked for quiet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    pub(super) until: Instant,
    /// The same for what takes back or closes.
    pub(super) closing_until: Instant,
}

impl Pause {
    fn longer(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        Self {
            until: self.until.max(other.until),
            closing_until: self.closing_until.max(other.closing_until),
        }
    }
}

/// What a waiter shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Go,
    /// Ask again then, or when woken.
    At(Instant),
    /// Ask again when woken.
    Later,
}

/// All that wait for turns of one product.
#[derive(Debug)]
pub(super) struct Line {
    lanes: BTreeMap<Path, Lane>,
    /// By what the broker counts a lane as.
    limits: BTreeMap<Path, Limit>,
    all: Window,
    all_paused: Option<Pause>,
    /// Whether a call that nothing else may start beside is under way: on the usual way, on that of
    /// orders, on that of what takes back or closes, and on that of hostlookup.
    busy: [bool; 4],
    orders_apart: bool,
    max: usize,
    waiting: usize,
    turns: u64,
    urgent_run: u32,
    next_id: u64,
}

impl Line {
    pub(super) fn new(own: BTreeMap<Path, Window>, all: Window, orders_apart: bool, max: usize) -> Self {
        let limits = own.into_iter().map(|(path, window)| (path, Limit { window, paused: None }));
        Self {
            lanes: BTreeMap::new(),
            limits: limits.collect(),
            all,
            all_paused: None,
            busy: [false; 4],
            orders_apart,
            max,
            waiting: 0,
            turns: 0,
            urgent_run: 0,
            next_id: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    fn lane(&mut self, path: Path) -> &mut Lane {
        self.lanes.entry(path).or_default()
    }

    fn limit(&mut self, path: Path) -> &mut Limit {
        let none = || Limit { window: Window::none(), paused: None };
        self.limits.entry(path.counted_as()).or_insert_with(none)
    }

    /// A placing that hangs must not keep its own cancellation waiting.
    const fn way(&self, path: Path) -> usize {
        match (self.orders_apart, path) {
            (true, Path::Host) => 3,
            (true, _) if path.is_closing() => 2,
            (true, _) if path.is_urgent() => 1,
            _ => 0,
        }
    }

    /// Whom a limit or a pause of everything concerns: all but the session itself, and where it is.
    const fn is_counted(path: Path) -> bool {
        !matches!(path, Path::Session | Path::Host)
    }

    pub(super) fn paused_until(&self, path: Path) -> Option<Instant> {
        if !Self::is_counted(path) {
            return None;
        }
        let until = |pause: Pause| if path.is_closing() { pause.closing_until } else { pause.until };
        let own = self.limits.get(&path.counted_as()).and_then(|limit| limit.paused);
        own.map(until).max(self.all_paused.map(until))
    }

    /// Takes a place; `None` if the line is full.
    pub(super) fn enter(&mut self, path: Path, alone: bool, wake: Arc<Notify>) -> Option<u64> {
        if self.waiting >= self.max {
            return None;
        }
        self.waiting += 1;
        self.next_id += 1;
        let id = self.next_id;
        self.lane(path).waiters.push_back(Waiter { id, alone, wake });
        Some(id)
    }

    /// Lets the waiter go if it is the one whose turn it is.
    pub(super) fn try_go(&mut self, path: Path, id: u64, now: Instant) -> Outcome {
        if self.lane(path).waiters.front().is_none_or(|first| first.id != id) {
            return Outcome::Later;
        }
        match self.next(self.way(path), now) {
            Some(next) if next == path => match self.rival(path, now) {
                None => {
                    self.go(path, now);
                    Outcome::Go
                }
                Some(rival) => {
                    self.wake(rival);
                    Outcome::Later
                }
            },
            Some(other) => {
                self.wake(other);
                Outcome::Later
            }
            None if self.busy[self.way(path)] => Outcome::Later,
            None => match self.free(path, now) {
                Free::At(at) => Outcome::At(at),
                Free::Now | Free::Unknown => Outcome::Later,
            },
        }
    }

    /// A lane on another way that the broker counts with this one, and that has waited longer: what there is room
    /// for goes to them by turns, too. It can go at once, since its limit is the same, its way is free, and no longer pause keeps it.
    fn rival(&self, path: Path, now: Instant) -> Option<Path> {
        let mine = self.lanes.get(&path).map_or(0, |lane| lane.last);
        let rivals = self.lanes.iter().filter(|(other, lane)| {
            **other != path
                && other.counted_as() == path.counted_as()
                && self.way(**other) != self.way(path)
                && !self.busy[self.way(**other)]
                && !lane.waiters.is_empty()
                && lane.last < mine
                && self.paused_until(**other).is_none_or(|until| until <= now)
        });
        rivals.map(|(other, _)| *other).next()
    }

    /// The lane whose turn it is on a way.
    fn next(&mut self, way: usize, now: Instant) -> Option<Path> {
        if self.busy[way] {
            return None;
        }
        let waited_for = self.lanes.iter().filter(|(_, lane)| !lane.waiters.is_empty());
        let paths: Vec<Path> = waited_for.map(|(path, _)| *path).filter(|p| self.way(*p) == way).collect();
        let ready: Vec<Path> = paths.into_iter().filter(|p| self.free(*p, now) == Free::Now).collect();
        let urgent_first = self.urgent_run < URGENT_IN_A_ROW;
        ready.into_iter().min_by_key(|path| (path.is_urgent() != urgent_first, self.lanes[path].last))
    }

    fn free(&mut self, path: Path, now: Instant) -> Free {
        let pause = self.paused_until(path).filter(|until| *until > now);
        let all = if Self::is_counted(path) { self.all.free(now) } else { Free::Now };
        let own = self.limit(path).window.free(now);
        match (pause, all, own) {
            (_, Free::Unknown, _) | (_, _, Free::Unknown) => Free::Unknown,
            (pause, all, own) => {
                let at = |free| if let Free::At(at) = free { Some(at) } else { None };
                pause.max(at(all)).max(at(own)).map_or(Free::Now, Free::At)
            }
        }
    }

    fn go(&mut self, path: Path, now: Instant) {
        self.turns += 1;
        let (turns, way) = (self.turns, self.way(path));
        self.limit(path).window.start(now);
        let lane = self.lane(path);
        lane.last = turns;
        let alone = lane.waiters.pop_front().is_none_or(|waiter| waiter.alone);
        self.waiting -= 1;
        self.urgent_run = if path.is_urgent() { self.urgent_run + 1 } else { 0 };
        if Self::is_counted(path) {
            self.all.start(now);
        }
        self.busy[way] |= alone;
        // Those on other ways too: one may have let this one go first.
        self.wake_all();
    }

    /// A call has ended.
    pub(super) fn done(&mut self, path: Path, alone: bool, now: Instant) {
        self.limit(path).window.end(now);
        if Self::is_counted(path) {
            self.all.end(now);
        }
        if alone {
            let way = self.way(path);
            self.busy[way] = false;
        }
        self.wake_all();
    }

    /// A waiter has gone away.
    pub(super) fn leave(&mut self, path: Path, id: u64) {
        let waiters = &mut self.lane(path).waiters;
        let before = waiters.len();
        waiters.retain(|waiter| waiter.id != id);
        self.waiting -= before - self.lanes[&path].waiters.len();
        // It may have been woken in another's place.
        self.wake_all();
    }

    /// Lets no call of a lane, nor of those counted with it (`None`: no call at all), start before its end.
    pub(super) fn pause(&mut self, path: Option<Path>, pause: Pause) {
        let paused = match path {
            Some(path) => &mut self.limit(path).paused,
            None => &mut self.all_paused,
        };
        *paused = Some(pause.longer(*paused));
    }

    fn wake(&self, path: Path) {
        if let Some(first) = self.lanes.get(&path).and_then(|lane| lane.waiters.front()) {
            first.wake.notify_one();
        }
    }

    fn wake_all(&self) {
        for path in self.lanes.keys() {
            self.wake(*path);
        }
    }
}
