//! The way from publishers to one shard: a short queue with one wake per batch, and the way
//! back: who is behind. Its lock is shared by one shard and the publishers, never by consumers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::hub::batch::Batch;
use crate::hub::{FeedId, Part, ShardId};
use crate::market::{InstrumentId, OrderUpdate, Segment};

/// What a shard is told.
#[derive(Clone, Debug)]
pub enum ShardEvent {
    /// New frames.
    Batch(Arc<Batch>),
    /// The broker refused a part of an instrument; its holders are to be told.
    Rejected {
        /// Which.
        instrument: InstrumentId,
        /// What of it.
        part: Part,
        /// The broker's words.
        message: Arc<str>,
    },
    /// An order of an account has changed.
    Order(Arc<OrderUpdate>),
    /// How current a feed's data of a segment are has changed; the hub knows to what.
    Standing(FeedId, Segment),
    /// These instruments are carried by another feed than before, or for the first time by one.
    Moved(Arc<[InstrumentId]>),
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<ShardEvent>,
    /// Before this the shard takes nothing and is not woken.
    rests_until: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Whether the shard rests between flushes: then batches wait by intent, and only their bytes
    /// say that it is behind.
    rests: AtomicBool,
    /// Bytes of the batches that wait; what back-pressure is decided by.
    waiting_bytes: AtomicUsize,
    waiting_batches: AtomicUsize,
    wake: Notify,
    closed: AtomicBool,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while the lock is held; a poisoned queue is still whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, event: ShardEvent) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        if let ShardEvent::Batch(batch) = &event {
            self.waiting_bytes.fetch_add(batch.bytes.len(), Ordering::Relaxed);
            self.waiting_batches.fetch_add(1, Ordering::Relaxed);
        }
        let mut waiting = self.waiting();
        waiting.events.push_back(event);
        let rests = waiting.rests_until.is_some_and(|until| Instant::now() < until);
        drop(waiting);
        // What comes when the rest is over wakes the shard; if nothing does, its own timer will.
        if !rests {
            self.wake.notify_one();
        }
    }

    /// Whether a publisher should wait for this shard.
    pub(super) fn is_behind(&self, limit_bytes: usize, limit_batches: usize) -> bool {
        !self.closed.load(Ordering::Acquire)
            && (self.waiting_bytes.load(Ordering::Relaxed) > limit_bytes
                || (self.waiting_batches.load(Ordering::Relaxed) > limit_batches
                    && !self.rests.load(Ordering::Relaxed)))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// A shard's end of its queue. Dropping it detaches the shard: nobody waits for it any more.
#[derive(Debug)]
pub struct ShardQueue {
    pub(super) id: ShardId,
    pub(super) queue: Arc<Queue>,
    /// Told when the shard has taken something, so that a waiting publisher looks again.
    pub(super) progress: Arc<Notify>,
}

impl ShardQueue {
    /// The shard's number; [`crate::hub::Hub::acquire`] wants it.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The next event, if one waits.
    pub fn try_recv(&mut self) -> Option<ShardEvent> {
        let event = self.queue.waiting().events.pop_front()?;
        if let ShardEvent::Batch(batch) = &event {
            self.queue.waiting_bytes.fetch_sub(batch.bytes.len(), Ordering::Relaxed);
            self.queue.waiting_batches.fetch_sub(1, Ordering::Relaxed);
            self.progress.notify_waiters();
        }
        Some(event)
    }

    /// Takes nothing until then, and lets nobody wake it: the next call of [`Self::recv`] is to come
    /// when [`Self::woken`] returns or the time is reached.
    pub fn rest_until(&self, until: Instant) {
        self.queue.rests.store(true, Ordering::Relaxed);
        self.queue.waiting().rests_until = Some(until);
    }

    /// Waits for something that came after the rest.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn woken(&self) {
        self.queue.wake.notified().await;
    }

    /// The next event.
    ///
    /// # Cancel safety
    /// Nothing is lost: an event is taken only in the poll that returns it.
    pub async fn recv(&mut self) -> ShardEvent {
        loop {
            if let Some(event) = self.try_recv() {
                return event;
            }
            self.queue.wake.notified().await;
        }
    }
}

impl Drop for ShardQueue {
    fn drop(&mut self) {
        self.queue.closed.store(true, Ordering::Release);
        self.queue.waiting().events.clear();
        self.progress.notify_waiters();
    }
}
