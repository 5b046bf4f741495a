//! The master that is in force, shared by everybody who names instruments.
//! Not a loader: somebody else downloads and stores it.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use crate::market::Master;

/// A shared place for one [`Master`], swapped as a whole. Reading takes no lock.
#[derive(Clone, Default)]
pub struct MasterHandle {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    current: ArcSwapOption<Master>,
    revision: watch::Sender<u64>,
}

impl MasterHandle {
    /// A handle without a master.
    pub fn new() -> Self {
        Self::default()
    }

    /// The master in force; `None` until the first was stored.
    pub fn load(&self) -> Option<Arc<Master>> {
        self.shared.current.load_full()
    }

    /// Puts `master` in force. Those who loaded the previous one keep it as long as they hold it.
    pub fn store(&self, master: Arc<Master>) {
        self.shared.current.store(Some(master));
        // After the swap, so that whoever wakes finds the new one.
        self.shared.revision.send_modify(|revision| *revision += 1);
    }

    /// The number of masters stored so far, to be awaited. Subscribe before a [`Self::load`],
    /// and no store is missed.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.revision.subscribe()
    }
}

impl fmt::Debug for MasterHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterHandle")
            .field("current", &self.load())
            .field("revision", &*self.shared.revision.borrow())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Exchange, MasterBuilder};

    #[tokio::test]
    async fn whoever_waits_finds_the_new_master() {
        let handle = MasterHandle::new();
        assert!(handle.load().is_none());
        let mut changed = handle.clone().changed();
        let waiter = tokio::spawn({
            let handle = handle.clone();
            async move {
                changed.changed().await.unwrap();
                (*changed.borrow(), handle.load().unwrap().len())
            }
        });
        let mut builder = MasterBuilder::new();
        builder.add_index(1, "NIFTY 50_26000");
        let (master, _) = builder.finish();
        handle.store(Arc::new(master));
        assert_eq!(waiter.await.unwrap(), (1, 1));

        let old = handle.load().unwrap();
        handle.store(Arc::new(MasterBuilder::new().finish().0));
        assert!(old.resolve(Exchange::NseIndex, "NIFTY").is_some(), "held as long as it is used");
        assert!(handle.load().unwrap().is_empty());
        assert_eq!(*handle.changed().borrow(), 2);
    }
}
