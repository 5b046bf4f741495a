//! What shards are told of interruptions upstream, and whether any consumer wants to know.
//! Not which interruptions there are; sessions find that out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::clock::UnixNanos;
use crate::hub::{Hub, ShardEvent};
use crate::market::{Bar, InstrumentId};

/// News of one interruption. Every instrument of [`GapStep::Opened`] comes in one of the two last steps.
#[derive(Clone, Debug)]
pub struct GapNews {
    /// Another for each interruption.
    pub id: u64,
    /// When the last data were received before it.
    pub from: UnixNanos,
    /// When the first were received after it.
    pub to: UnixNanos,
    /// What there is to say.
    pub step: GapStep,
}

/// What has become of an interruption.
#[derive(Clone, Debug)]
pub enum GapStep {
    /// Data of these were missed.
    Opened {
        /// Those whose market was open meanwhile.
        instruments: Vec<InstrumentId>,
        /// Why, without secrets.
        reason: Arc<str>,
    },
    /// A minute of it after the other, from the broker's history.
    Bars {
        /// Whose.
        instrument: InstrumentId,
        /// Oldest first; perhaps none.
        bars: Vec<Bar>,
    },
    /// All bars of these have been told.
    Closed {
        /// Which.
        instruments: Vec<InstrumentId>,
    },
    /// No bars come of these.
    Unfilled {
        /// Which.
        instruments: Vec<InstrumentId>,
        /// Why, without secrets.
        reason: Arc<str>,
    },
}

/// A consumer that wants to be told of gaps, until dropped.
#[derive(Debug)]
pub struct Listening(Arc<AtomicUsize>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hub {
    /// Notes one more consumer that wants to be told of gaps.
    pub fn listen_for_gaps(&self) -> Listening {
        self.0.listening.fetch_add(1, Ordering::Relaxed);
        Listening(Arc::clone(&self.0.listening))
    }

    /// Whether anybody wants to be told of gaps.
    pub fn has_gap_listeners(&self) -> bool {
        self.0.listening.load(Ordering::Relaxed) > 0
    }

    /// Tells every shard of an interruption.
    pub fn tell_gap(&self, news: GapNews) {
        self.broadcast(&ShardEvent::Gap(Arc::new(news)));
    }
}
