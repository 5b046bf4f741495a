//! When which connection is to be looked at. A heap of at least one entry per connection;
//! entries that have become wrong are passed over, so nothing is ever searched for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tokio::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Timers(BinaryHeap<Reverse<(Instant, u32, u64)>>);

impl Timers {
    /// Looks at the connection `id`, at `slot`, at this time.
    pub(crate) fn arm(&mut self, at: Instant, slot: u32, id: u64) {
        self.0.push(Reverse((at, slot, id)));
    }

    /// The earliest time.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Takes out an entry that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Instant, u32, u64)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }
}
