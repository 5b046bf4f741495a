//! How current each feed's data are, by market segment, as shards are told. Not how that is judged;
//! that is the session's.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::UnixNanos;
use crate::hub::FeedId;
use crate::market::Segment;
use crate::protocol::binary::Freshness;

/// How current the data of one segment are that one feed carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How.
    pub state: Freshness,
    /// Since when; of what is delayed or stale because nothing came, the last data.
    pub since: UnixNanos,
    /// Why, without secrets; may be empty.
    pub reason: Arc<str>,
    /// Whether anything of the segment is subscribed there.
    pub used: bool,
}

impl Standing {
    /// Of what no feed has said anything about yet.
    pub(super) fn unknown(since: UnixNanos) -> Self {
        Self { state: Freshness::Connecting, since, reason: "".into(), used: false }
    }
}

/// Everything as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// The worst of what is subscribed; where nothing is, of what could be.
    pub state: Freshness,
    /// When the last data came, by whichever feed.
    pub last_data: Option<UnixNanos>,
}

/// All feeds' standings.
#[derive(Debug, Default)]
pub(super) struct Standings {
    by_feed: BTreeMap<(FeedId, Segment), Standing>,
    last_data: BTreeMap<FeedId, UnixNanos>,
}

impl Standings {
    pub(super) fn get(&self, feed: FeedId, segment: Segment) -> Option<&Standing> {
        self.by_feed.get(&(feed, segment))
    }

    pub(super) fn set(&mut self, feed: FeedId, segment: Segment, standing: Standing) {
        self.by_feed.insert((feed, segment), standing);
    }

    pub(super) fn note_data(&mut self, feed: FeedId, at: UnixNanos) {
        self.last_data.insert(feed, at);
    }

    pub(super) fn pulse(&self) -> Pulse {
        let worst = |used: bool| {
            let these = self.by_feed.values().filter(|standing| standing.used == used);
            these.map(|standing| standing.state).max_by_key(|state| badness(*state))
        };
        Pulse {
            state: worst(true).or_else(|| worst(false)).unwrap_or(Freshness::Connecting),
            last_data: self.last_data.values().max().copied(),
        }
    }
}

const fn badness(state: Freshness) -> u8 {
    match state {
        Freshness::Closed => 0,
        Freshness::Live => 1,
        Freshness::Connecting => 2,
        Freshness::Delayed => 3,
        Freshness::Stale => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pulse_is_the_worst_of_what_is_used() {
        let mut all = Standings::default();
        let pulse = |all: &Standings| all.pulse().state;
        assert_eq!(all.pulse(), Pulse { state: Freshness::Connecting, last_data: None });
        let set = |all: &mut Standings, feed, segment, state, used| {
            let standing = Standing { state, used, ..Standing::unknown(UnixNanos::ZERO) };
            all.set(FeedId(feed), segment, standing);
        };
        set(&mut all, 0, Segment::NseCash, Freshness::Closed, false);
        assert_eq!(pulse(&all), Freshness::Closed);
        set(&mut all, 0, Segment::Mcx, Freshness::Stale, false);
        set(&mut all, 0, Segment::NseCash, Freshness::Live, true);
        assert_eq!(pulse(&all), Freshness::Live, "nobody uses what is stale");
        set(&mut all, 1, Segment::NseCash, Freshness::Delayed, true);
        assert_eq!(pulse(&all), Freshness::Delayed);
        let at = |secs| UnixNanos::from_secs(secs);
        all.note_data(FeedId(1), at(7));
        all.note_data(FeedId(0), at(5));
        assert_eq!(all.pulse().last_data, Some(at(7)));
    }
}
