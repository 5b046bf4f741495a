//! The append-only trail of what was done with the account and why: logins, refusals, acts of
//! operators. Holds no secret, and survives a lost Fernet key. Not a log: few entries, for good.

use serde::{Deserialize, Serialize};

use crate::clock::UnixNanos;

use super::{Error, Store, Tree};

const TREE: &str = "audit";

/// Entries kept; with each new one beyond it the oldest goes.
const MAX_ENTRIES: u64 = 100_000;

/// Bytes kept of a text that somebody else may have worded.
const MAX_TEXT: usize = 512;

/// One thing that happened. No member ever holds a token, a key or a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, epoch milliseconds UTC.
    pub at_ms: i64,
    /// Which account; empty: all.
    #[serde(default)]
    pub account: String,
    /// Which product; empty: none in particular.
    #[serde(default)]
    pub product: String,
    /// What: `login`, `refused`, `replaced`, `revoked`, `rotated`, ….
    pub event: String,
    /// Who wanted it: `start`, `stream`, `plan`, `operator NAME`, ….
    #[serde(default)]
    pub who: String,
    /// Why.
    #[serde(default)]
    pub why: String,
    /// How it went.
    #[serde(default)]
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

    /// Adds an entry; on disk within half a second, or with the next flush of the store. A trail that cannot
    /// be written stops nothing, it is only reported.
    pub fn note(&self, entry: &Entry) {
        if let Err(error) = self.append(entry) {
            report(entry, &error);
        }
    }

    /// As [`Audit::note`], and on disk when this returns: for what nothing else flushes.
    pub async fn record(&self, entry: &Entry) {
        let written = match self.append(entry) {
            Ok(()) => self.tree.flush().await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            report(entry, &error);
        }
    }

    fn append(&self, entry: &Entry) -> Result<(), Error> {
        let row = serde_json::to_vec(&entry.bounded()).map_err(|e| Error::Failed(e.to_string()))?;
        let last = self.tree.last_key()?.and_then(|key| key.try_into().ok()).map_or(0, u64::from_be_bytes);
        // Accounts write at the same time, each with a clone of its own; nobody's entry may be overwritten.
        let mut number = last + 1;
        while !self.tree.insert_new(&number.to_be_bytes(), &row)? {
            number += 1;
        }
        if let Some(old) = number.checked_sub(MAX_ENTRIES) {
            self.tree.remove(&old.to_be_bytes())?;
        }
        Ok(())
    }

    /// The last `count` entries, oldest first. One that cannot be read is left out.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn last(&self, count: usize) -> Result<Vec<Entry>, Error> {
        let rows = self.tree.last_entries(count)?;
        Ok(rows.into_iter().filter_map(|(_, row)| serde_json::from_slice(&row).ok()).collect())
    }
}

fn report(entry: &Entry, error: &Error) {
    tracing::error!(%error, event = entry.event, "the audit trail cannot be written");
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

    /// With every text cut to a bearable length.
    fn bounded(&self) -> Self {
        let cut = |text: &str| match text.char_indices().find(|(at, c)| at + c.len_utf8() > MAX_TEXT) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text.to_owned(),
        };
        Self {
            at_ms: self.at_ms,
            account: cut(&self.account),
            product: cut(&self.product),
            event: cut(&self.event),
            who: cut(&self.who),
            why: cut(&self.why),
            outcome: cut(&self.outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn entry(number: i64) -> Entry {
        Entry { who: format!("operator {number}"), ..Entry::new(UnixNanos::from_millis(number), "login") }
    }

    fn times(entries: &[Entry]) -> Vec<i64> {
        entries.iter().map(|entry| entry.at_ms).collect()
    }

    #[tokio::test]
    async fn entries_are_kept_in_order_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        for start in [0, 300] {
            let (store, _) = Store::open(dir.path(), &SystemClock).unwrap();
            let audit = Audit::open(&store).unwrap();
            for number in start..start + 300 {
                audit.note(&entry(number));
            }
            audit.record(&entry(start + 299)).await;
        }
        let (store, _) = Store::open(dir.path(), &SystemClock).unwrap();
        let audit = Audit::open(&store).unwrap();
        let last = audit.last(3).unwrap();
        assert_eq!(times(&last), [598, 599, 599]);
        assert_eq!(last[0], entry(598));
        assert_eq!(audit.last(10_000).unwrap().len(), 602);
        assert_eq!(audit.last(0).unwrap(), []);
    }

    #[test]
    fn whoever_writes_at_the_same_time_overwrites_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), &SystemClock).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let audit = Audit::open(&store).unwrap();
                scope.spawn(move || (0..100).for_each(|number| audit.note(&entry(writer * 100 + number))));
            }
        });
        let mut found = times(&Audit::open(&store).unwrap().last(1000).unwrap());
        found.sort_unstable();
        assert_eq!(found, (0..400).collect::<Vec<_>>());
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), &SystemClock).unwrap();
        let audit = Audit::open(&store).unwrap();
        // As if the trail were full: the first two entries, and the last one.
        audit.note(&entry(1));
        audit.note(&entry(2));
        audit.tree.insert(&MAX_ENTRIES.to_be_bytes(), &serde_json::to_vec(&entry(3)).unwrap()).unwrap();
        audit.note(&entry(4));
        assert_eq!(times(&audit.last(10).unwrap()), [2, 3, 4]);
    }

    #[test]
    fn what_somebody_else_worded_is_cut_and_what_cannot_be_read_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), &SystemClock).unwrap();
        let audit = Audit::open(&store).unwrap();
        audit.note(&Entry { why: "é".repeat(10_000), ..entry(1) });
        audit.tree.insert(&2_u64.to_be_bytes(), b"{").unwrap();
        // An entry of a former layout, and one of a later one.
        audit.tree.insert(&3_u64.to_be_bytes(), br#"{"at_ms":3,"event":"login"}"#).unwrap();
        audit.tree.insert(&4_u64.to_be_bytes(), br#"{"at_ms":4,"event":"login","mood":"good"}"#).unwrap();
        let last = audit.last(10).unwrap();
        assert_eq!(times(&last), [1, 3, 4]);
        assert_eq!(last[0].why, format!("{}…", "é".repeat(MAX_TEXT / 2)));
    }
}
