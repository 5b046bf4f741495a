//! A consumer that comes back and says up to which number it has seen a topic: it is given what was
//! published since, then what is live, without a hole and nothing twice. What is kept is the hub's affair.

use crate::gateway::shard::topics::Joining;
use crate::gateway::shard::{Env, Shard};
use crate::hub::{Hub, Replay, TopicId};
use crate::protocol::Mode;
use crate::protocol::openalgo::command::Name;
use crate::protocol::openalgo::frames::{self, Resumed, ResumedName, ResumedRange};
use crate::protocol::openalgo::options::Since;
use crate::telemetry::metrics::{FRAMES_REPLAYED, REPLAYS_INCOMPLETE};

/// Frames that one command may bring: they wait for the consumer like answers, whatever it reads.
const MOST_FRAMES: usize = 4_096;

const NOTHING_KEPT: &str = "nothing is kept of it";

/// What one command brings back.
pub(super) struct Resuming<'a> {
    since: Since,
    /// It counts in this life of the server.
    is_this_life: bool,
    resumed: Resumed<'a>,
    replays: Vec<(TopicId, Replay)>,
    /// Frames that may still be given.
    room: usize,
}

impl<'a> Resuming<'a> {
    pub(super) fn new(env: &Env, since: Since) -> Self {
        let epoch = env.hub.life().epoch;
        Self {
            since,
            is_this_life: since.epoch.is_none_or(|named| named == epoch),
            resumed: Resumed { granted: env.hub.keeps(), epoch, names: Vec::new() },
            replays: Vec::new(),
            room: MOST_FRAMES,
        }
    }

    /// What the acknowledgement says.
    pub(super) fn resumed(&self) -> &Resumed<'a> {
        &self.resumed
    }

    /// Looks for what came of a name; `topic` if the consumer has just begun to hold it.
    pub(super) fn look_up(&mut self, hub: &Hub, name: &'a Name<'_>, topic: Option<TopicId>, mode: Mode) {
        let (range, missing) = match topic {
            // It misses nothing.
            None => (None, Some("it is held already")),
            Some(_) if mode == Mode::Bar => (None, Some("bars have no numbers of their own")),
            Some(topic) => self.find(hub, topic),
        };
        let (symbol, exchange) = (name.symbol.as_ref(), name.exchange.as_ref());
        self.resumed.names.push(ResumedName { symbol, exchange, range, missing });
    }

    fn find(&mut self, hub: &Hub, topic: TopicId) -> (Option<ResumedRange>, Option<&'static str>) {
        let seen = self.is_this_life.then_some(self.since.seq);
        let Some(replay) = hub.replay(topic, seen, self.room) else {
            return (None, Some(NOTHING_KEPT));
        };
        let missing = if !self.is_this_life {
            Some("the server has been started anew")
        } else if self.since.seq > replay.last {
            Some("the number is not known")
        } else if replay.after == self.since.seq {
            None
        } else if replay.frames == self.room {
            Some("it is too much at once")
        } else {
            Some("it is not kept any more")
        };
        self.room -= replay.frames;
        let range = ResumedRange { after: replay.after, to: replay.last, frames: replay.frames };
        self.replays.push((topic, replay));
        (Some(range), missing)
    }
}

impl Shard<'_> {
    /// Says what is lost and gives what is not; the topics that need no latest value.
    pub(super) fn give_missed(&mut self, slot: u32, resuming: Resuming<'_>) -> Vec<TopicId> {
        let Resuming { since, resumed, replays, .. } = resuming;
        for name in &resumed.names {
            let is_lost = name.range.is_some() || name.missing == Some(NOTHING_KEPT);
            let Some(reason) = name.missing.filter(|_| is_lost) else { continue };
            let to = name.range.map(|range| range.after).filter(|after| *after > since.seq);
            self.answer(slot, |out| frames::lost((name.symbol, name.exchange), since.seq, to, reason, out));
            metrics::counter!(REPLAYS_INCOMPLETE).increment(1);
        }
        let mut given = Vec::new();
        for (topic, replay) in replays {
            if replay.frames == 0 && replay.after != since.seq {
                // Nothing is there that could follow what it has seen: it begins with the latest value.
                continue;
            }
            if let Some(member) = self.fanout.get_mut(slot)
                && replay.frames > 0
            {
                member.outbox.answer(|out| out.extend_from_slice(&replay.bytes));
                metrics::counter!(FRAMES_REPLAYED).increment(replay.frames as u64);
            }
            self.fanout.topics.join(topic, Joining { slot, source: replay.source, after: replay.last });
            given.push(topic);
        }
        given
    }
}
