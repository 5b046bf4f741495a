//! The append-only trail of what was done with the account and why: logins, refusals, acts of
//! operators. Holds no secret, and survives a lost Fernet key. Not a log: few entries, for good.

use serde::{Deserialize, Serialize};

use crate::clock::UnixNanos;

use super::{Error, Store, Tree};

const TREE: &str = "audit";

/// Entries kept; beyond it the oldest go, a few at a time.
const MAX_ENTRIES: u64 = 100_000;

/// One thing that happened. No member ever holds a token, a key or a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, epoch milliseconds UTC.
    pub at_ms: i64,
    /// Which account; empty: all.
    pub account: String,
    /// Which product; empty: none in particular.
    pub product: String,
    /// What: `login`, `refused`, `replaced`, `revoked`, `rotated`, ….
    pub event: String,
    /// Who wanted it: `start`, `stream`, `plan`, `operator NAME`, ….
    pub who: String,
    /// Why.
    pub why: String,
    /// How it went.
    pub outcome: String,
}

/// The trail. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit {
    tree: Tree,
}

impl Audit {
    /// The trail in `store`.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn open(store: &Store) -> Result<Self, Error> {
        Ok(Self { tree: store.tree(TREE)? })
    }

    /// Adds an entry; on disk within half a second. A trail that cannot be written stops
    /// nothing, it is only reported.
    pub fn note(&self, entry: &Entry) {
        if let Err(error) = self.append(entry) {
            tracing::error!(%error, event = entry.event, "the audit trail cannot be written");
        }
    }

    fn append(&self, entry: &Entry) -> Result<(), Error> {
        let last = self.tree.last_key()?.and_then(|key| key.try_into().ok()).map_or(0, u64::from_be_bytes);
        let next = last + 1;
        let row = serde_json::to_vec(entry).map_err(|e| Error::Failed(e.to_string()))?;
        self.tree.insert(&next.to_be_bytes(), &row)?;
        if let Some(old) = next.checked_sub(MAX_ENTRIES) {
            self.tree.remove(&old.to_be_bytes())?;
        }
        Ok(())
    }

    /// The last `count` entries, oldest first.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn last(&self, count: usize) -> Result<Vec<Entry>, Error> {
        let rows = self.tree.last_entries(count)?;
        Ok(rows.into_iter().filter_map(|(_, row)| serde_json::from_slice(&row).ok()).collect())
    }
}

impl Entry {
    /// An entry of `now` with nothing but what happened.
    pub fn new(now: UnixNanos, event: &str) -> Self {
        Self {
            at_ms: now.as_millis(),
            account: String::new(),
            product: String::new(),
            event: event.to_owned(),
            who: String::new(),
            why: String::new(),
            outcome: String::new(),
        }
    }
}
