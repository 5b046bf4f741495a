//! What tickgate keeps on disk in sled: open, lock, set aside, trees of bytes. Does not know what a token is.
//!
//! sled 0.34 buffers writes, may fail *or panic* on files that an unclean stop left behind, and is not
//! maintained any more. So every call into it is guarded against panics, a directory that does not open is
//! set aside (never deleted), and callers that must not lose a write await [`Tree::flush`].

pub mod audit;
mod open;
pub mod private;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;

pub use open::holder;

/// The sled directory inside the data directory.
pub const DIR_NAME: &str = "tickgate.sled";

/// The layout of the trees that this program writes.
const SCHEMA: u32 = 1;

/// What can go wrong with the store and the private files beside it. Texts hold no contents.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the data directory open.
    #[error("data directory {} is in use by another process{}", dir.display(), Pid(*pid))]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// The process that wrote the lock file, if it can be read.
        pid: Option<u32>,
    },
    /// The file system refused.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// What was to be used.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The store was written by a newer tickgate.
    #[error("store in {} has schema {found}, this program knows {SCHEMA}", dir.display())]
    Schema {
        /// The sled directory.
        dir: PathBuf,
        /// The version it has.
        found: u32,
    },
    /// sled neither opened nor failed. Not set aside by itself: the disk may only be slow.
    #[error("store in {} did not open within {seconds} s; if this persists, move it away", dir.display())]
    Stuck {
        /// The sled directory.
        dir: PathBuf,
        /// How long it was given.
        seconds: u64,
    },
    /// A file that must be private can be read by others.
    #[error("{} can be accessed by others (mode {mode:o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file that is not what it should be.
    #[error("{} is {what}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// sled failed while the store was in use.
    #[error("store failed: {0}")]
    Failed(String),
}

impl Error {
    /// Whether a person has to put a file right (neither the disk nor the program is at fault).
    pub const fn is_misconfigured(&self) -> bool {
        matches!(self, Self::Exposed { .. } | Self::Unfit { .. })
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

struct Pid(Option<u32>);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |pid| write!(f, " (pid {pid})"))
    }
}

/// How opening went. A store that was set aside means that everything in it is lost to this run:
/// tokens cost a login, consumer keys must be made anew. Say so loudly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Where an unusable directory was moved to, and what was wrong with it.
    pub set_aside: Option<(PathBuf, String)>,
    /// Whether the store is new (always so after a set-aside).
    pub created: bool,
    /// Whether writes that had been flushed are missing: sled cuts its log at the first damage it meets and says
    /// nothing. A revoked key may be back, a new one gone.
    pub lost_writes: bool,
}

/// The open store: one process at a time. Cheap to clone; closes when the last clone and the
/// last [`Tree`] are gone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    data_dir: PathBuf,
    // One flush after the other, so that the count outside never goes back.
    flushing: Mutex<()>,
    /// Writes fail, as on a full disk.
    #[cfg(test)]
    failing: std::sync::atomic::AtomicBool,
    // Dropped before the lock.
    db: sled::Db,
    _lock: open::Lock,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("data_dir", &self.0.data_dir).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in `data_dir`, which is created with mode 0700 if missing. An unreadable store is moved to
    /// `tickgate.sled.corrupt-<UTC time>` and an empty one made in its place.
    ///
    /// Blocks: usually for milliseconds, for up to two seconds while another process holds the directory
    /// (a predecessor that is still stopping).
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Io`], [`Error::Schema`], [`Error::Stuck`].
    pub fn open(data_dir: &Path, clock: &dyn Clock) -> Result<(Self, Opened), Error> {
        open::open(data_dir, clock, open::Patience::default())
    }

    /// Whether there is a store in `data_dir`. Only looks.
    ///
    /// # Errors
    /// [`Error::Io`] if that cannot be told.
    pub fn exists(data_dir: &Path) -> Result<bool, Error> {
        let dir = data_dir.join(DIR_NAME);
        dir.try_exists().map_err(Error::io(&dir))
    }

    /// The data directory, absolute.
    pub fn data_dir(&self) -> &Path {
        &self.0.data_dir
    }

    /// Directories that this or an earlier run set aside and nobody has removed yet: as long as one
    /// lies there, things that were stored may be missing.
    pub fn set_aside(&self) -> Vec<PathBuf> {
        open::set_aside_dirs(&self.0.data_dir)
    }

    /// A tree by name; made if missing.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn tree(&self, name: &str) -> Result<Tree, Error> {
        let tree = guarded(|| self.0.db.open_tree(name))?;
        Ok(Tree { tree, store: self.clone() })
    }

    /// Lets every write fail from now on, as a full disk does.
    #[cfg(test)]
    pub(crate) fn fail_writes(&self) {
        self.0.failing.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Waits until everything written so far is on disk. Needs a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub async fn flush(&self) -> Result<(), Error> {
        // Not sled's own `flush_async`: the paused clock stands still for a blocking task only.
        let store = self.clone();
        let done = tokio::task::spawn_blocking(move || store.flush_now()).await;
        done.unwrap_or_else(|e| Err(Error::Failed(e.to_string())))
    }

    /// As [`Store::flush`], on this thread.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn flush_now(&self) -> Result<(), Error> {
        let _one = self.0.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let count = guarded(|| open::count_flush(&self.0.db))?;
        guarded(|| self.0.db.flush())?;
        // After the data: a count that lags behind raises no false alarm.
        if let Err(e) = open::note_flush(&self.0.data_dir, count) {
            tracing::warn!(error = %e, "count of flushes cannot be noted; a later loss may go unseen");
        }
        Ok(())
    }
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// One named set of keys and values.
#[derive(Clone)]
pub struct Tree {
    // Dropped before the store, whose lock must outlive every handle into sled.
    tree: sled::Tree,
    store: Store,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = String::from_utf8_lossy(&self.tree.name()).into_owned();
        f.debug_struct("Tree").field("name", &name).field("store", &self.store).finish()
    }
}

impl Tree {
    /// The value at `key`.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(guarded(|| self.tree.get(key))?.map(|value| value.to_vec()))
    }

    /// Sets the value at `key`. On disk within half a second, or after [`Tree::flush`].
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        #[cfg(test)]
        if self.store.0.failing.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::Failed("no space left on device".to_owned()));
        }
        guarded(|| self.tree.insert(key, value)).map(|_| ())
    }

    /// Sets the value at `key` if there is none; says whether it did. As [`Tree::insert`] otherwise.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<bool, Error> {
        Ok(guarded(|| self.tree.compare_and_swap(key, None::<&[u8]>, Some(value)))?.is_ok())
    }

    /// Removes `key`; says whether it was there.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn remove(&self, key: &[u8]) -> Result<bool, Error> {
        Ok(guarded(|| self.tree.remove(key))?.is_some())
    }

    /// Everything in the tree, in the order of the keys. Trees here are small.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn entries(&self) -> Result<Vec<Row>, Error> {
        guarded(|| self.tree.iter().map(|row| row.map(|(k, v)| (k.to_vec(), v.to_vec()))).collect())
    }

    /// The greatest key.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn last_key(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(guarded(|| self.tree.last())?.map(|(key, _)| key.to_vec()))
    }

    /// The rows with the greatest `count` keys, in the order of the keys.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn last_entries(&self, count: usize) -> Result<Vec<Row>, Error> {
        let mut rows: Vec<Row> = guarded(|| {
            self.tree.iter().rev().take(count).map(|row| row.map(|(k, v)| (k.to_vec(), v.to_vec()))).collect()
        })?;
        rows.reverse();
        Ok(rows)
    }

    /// Waits until everything written so far is on disk.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub async fn flush(&self) -> Result<(), Error> {
        self.store.flush().await
    }

    /// As [`Tree::flush`], on this thread.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn flush_now(&self) -> Result<(), Error> {
        self.store.flush_now()
    }

    /// The data directory of the store it belongs to.
    pub fn data_dir(&self) -> &Path {
        self.store.data_dir()
    }
}

/// Runs a call into sled; a panic inside it becomes an error of this call instead of the end of an actor.
fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, Error> {
    // sled's locks do not poison, so a panic leaves nothing behind that a later call would trip over by itself.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|e| failed(&e)),
        Err(_) => Err(Error::Failed("sled panicked".to_owned())),
    }
}

fn failed(error: &sled::Error) -> Error {
    Error::Failed(error.to_string())
}
