//! Tells the shard which of its connections can read or write. The wakers that sockets hold
//! point here, so that thousands of connections need no task each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Wake};

use futures::task::AtomicWaker;

/// The connections that are ready, and whoever waits for one.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    list: Mutex<Vec<Arc<Flag>>>,
    shard: AtomicWaker,
}

/// One connection's entry. `id` is never used again, `slot` is.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) slot: u32,
    pub(crate) id: u64,
    raised: AtomicBool,
    ready: Arc<Ready>,
}

impl Flag {
    /// A flag for a connection.
    pub(crate) fn new(slot: u32, id: u64, ready: &Arc<Ready>) -> Arc<Self> {
        Arc::new(Self { slot, id, raised: AtomicBool::new(false), ready: Arc::clone(ready) })
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            self.ready.list().push(Arc::clone(self));
            self.ready.shard.wake();
        }
    }
}

impl Ready {
    /// Only the shard's own thread takes this lock in practice: its reactor wakes.
    fn list(&self) -> MutexGuard<'_, Vec<Arc<Flag>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the ready connections into `into`, lowering their flags.
    pub(crate) fn take(&self, into: &mut Vec<Arc<Flag>>) {
        into.clear();
        into.append(&mut self.list());
        for flag in into {
            flag.raised.store(false, Ordering::Release);
        }
    }

    /// Waits until a connection is ready. Cancel-safe: takes nothing.
    pub(crate) async fn wait(&self) {
        std::future::poll_fn(|cx| {
            if !self.list().is_empty() {
                return Poll::Ready(());
            }
            self.shard.register(cx.waker());
            // One may have come between the look and the registration.
            if self.list().is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }
}
