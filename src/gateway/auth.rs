//! Consumers' API keys: made, checked, revoked, and the key `local` of the first start.
//! Knows no connection; whoever holds one watches [`ConsumerKeys::changed`].
//!
//! A key is 32 random bytes, so a plain SHA-256 is enough to keep it by: there is nothing to guess.
//! Keys do not depend on the Fernet key.

mod scope;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rand::TryRngCore;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::{Mutex, watch};
use zeroize::Zeroizing;

pub use scope::{Scope, Scopes};

use crate::clock::{Clock, UnixNanos};
use crate::secret::Secret;
use crate::store;
use crate::store::{Store, Tree, private};

/// The name of the key that commands on the same machine use.
pub const LOCAL: &str = "local";
/// The file in the data directory that holds the key named [`LOCAL`].
pub const LOCAL_FILE: &str = "local.key";

const KEYS_TREE: &str = "consumer_keys";
const STATE_TREE: &str = "consumer_keys_state";

/// In the state tree: how far the first start has come.
const BOOTSTRAP: &[u8] = b"bootstrap";
/// The key `local` is being made; without its record it is made again.
const PENDING: &[u8] = b"pending";
/// There has been a key, so nothing is ever made by itself again.
const DONE: &[u8] = b"done";

const MAX_KEYS: usize = 1_000;
const MAX_NAME: usize = 64;
/// Longer texts cannot be keys of ours; they are not even hashed.
const MAX_PRESENTED: usize = 256;

/// Names one key for as long as it exists; a later key of the same name has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What may be known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Which one it is.
    pub id: KeyId,
    /// Its name.
    pub name: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: UnixNanos,
}

/// What can go wrong with keys.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that cannot be used.
    #[error("a key's name has 1 to {MAX_NAME} of the characters a-z, A-Z, 0-9, '.', '_', '-'")]
    BadName,
    /// No such scope.
    #[error("unknown scope {0:?}; there are feed, account, trade, admin")]
    UnknownScope(String),
    /// A key that could be used for nothing.
    #[error("a key needs at least one scope")]
    NoScope,
    /// The name is taken.
    #[error("a key named {0} exists already")]
    Exists(String),
    /// There is no such key.
    #[error("no key is named {0}")]
    NotFound(String),
    /// Too many keys.
    #[error("there are {MAX_KEYS} keys already")]
    TooMany,
    /// The operating system gave no random bytes.
    #[error("no random bytes to be had")]
    Random,
    /// The store, or the file `local.key`, failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// How the key `local` stands at start-up.
#[derive(Debug)]
pub enum LocalKey {
    /// Made just now. The only time its text is at hand.
    Created {
        /// Its text.
        key: Secret,
        /// Where it has been written to.
        path: PathBuf,
    },
    /// Made earlier; the file holds it.
    Present {
        /// The file.
        path: PathBuf,
    },
    /// There is none, and none was made.
    Absent(NoLocalKey),
}

/// Why there is no key `local`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLocalKey {
    /// There are other keys.
    OtherKeys,
    /// A port is bound beyond loopback; keys are made by hand there.
    NotLoopback,
    /// All keys were revoked; they do not come back by themselves.
    Revoked,
    /// Keys existed, but the store that knew them is lost. Someone must look, and make keys anew.
    Lost,
}

impl fmt::Display for NoLocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherKeys => "other keys exist",
            Self::NotLoopback => "a port is reachable from other machines, so no key is made by itself",
            Self::Revoked => "all keys have been revoked",
            Self::Lost => "the store that knew the consumer keys is lost; keys must be made anew",
        })
    }
}

/// All keys. Cheap to clone; checks never touch the disk.
#[derive(Clone)]
pub struct ConsumerKeys(Arc<Inner>);

struct Inner {
    store: Store,
    keys: Tree,
    state: Tree,
    clock: Arc<dyn Clock>,
    table: ArcSwap<Vec<Entry>>,
    revision: watch::Sender<u64>,
    // One change at a time, from the look at the table to the swap.
    changes: Mutex<()>,
}

#[derive(Clone)]
struct Entry {
    hash: [u8; 32],
    info: Arc<KeyInfo>,
}

impl fmt::Debug for ConsumerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerKeys").field("keys", &self.0.table.load().len()).finish_non_exhaustive()
    }
}

impl ConsumerKeys {
    /// The keys in `store`. A record that cannot be read opens nothing and is reported.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn open(store: &Store, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let keys = store.tree(KEYS_TREE)?;
        let state = store.tree(STATE_TREE)?;
        let mut table = Vec::new();
        for (name, record) in keys.entries()? {
            let Some(entry) = Entry::read(&name, &record) else {
                tracing::error!(
                    name = %String::from_utf8_lossy(&name),
                    "consumer key has an unreadable record and cannot be used; revoke it and make a new one"
                );
                continue;
            };
            table.push(entry);
        }
        Ok(Self(Arc::new(Inner {
            store: store.clone(),
            keys,
            state,
            clock,
            table: ArcSwap::from_pointee(table),
            revision: watch::Sender::new(0),
            changes: Mutex::new(()),
        })))
    }

    /// Makes a key and returns its text, 64 hexadecimal digits, for the only time. On disk, as a hash,
    /// when this returns. The key named `local` is also written to its file.
    ///
    /// # Errors
    /// Any [`Error`]; then there is no such key.
    pub async fn create(&self, name: &str, scopes: Scopes) -> Result<Secret, Error> {
        let _change = self.0.changes.lock().await;
        self.create_locked(name, scopes).await
    }

    async fn create_locked(&self, name: &str, scopes: Scopes) -> Result<Secret, Error> {
        check_name(name)?;
        if scopes.is_empty() {
            return Err(Error::NoScope);
        }
        let inner = &*self.0;
        if inner.keys.get(name.as_bytes())?.is_some() {
            return Err(Error::Exists(name.to_owned()));
        }
        let table = inner.table.load_full();
        if table.len() >= MAX_KEYS {
            return Err(Error::TooMany);
        }
        let key = random_key()?;
        let entry = Entry::new(hash(key.expose()), name.to_owned(), scopes, inner.clock.now());
        if name == LOCAL {
            private::write(&self.local_path(), &Zeroizing::new(format!("{}\n", key.expose())))?;
        }
        inner.keys.insert(name.as_bytes(), &entry.record())?;
        if let Err(e) = inner.keys.flush().await {
            // Nobody is told this key, so it must not be there after a restart either.
            let _ = inner.keys.remove(name.as_bytes());
            return Err(e.into());
        }
        // After the record: between the two, a key that is there keeps another from being made just as well.
        inner.state.insert(BOOTSTRAP, DONE)?;
        let mut table = Vec::clone(&table);
        table.push(entry);
        self.swap(table);
        Ok(key)
    }

    /// The key behind a text, if it is one. Takes as long for a wrong text as for a right one.
    pub fn verify(&self, presented: &str) -> Option<Arc<KeyInfo>> {
        if presented.len() > MAX_PRESENTED {
            return None;
        }
        let hash = hash(presented);
        let table = self.0.table.load();
        let mut found = None;
        for entry in table.iter() {
            if bool::from(entry.hash.ct_eq(&hash)) {
                found = Some(&entry.info);
            }
        }
        found.cloned()
    }

    /// Whether a key still exists.
    pub fn is_live(&self, id: KeyId) -> bool {
        self.0.table.load().iter().any(|entry| entry.info.id == id)
    }

    /// A number that moves with every key made or revoked. Whoever serves a connection looks at
    /// [`ConsumerKeys::is_live`] again when it moves.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.revision.subscribe()
    }

    /// All keys, by name.
    pub fn list(&self) -> Vec<Arc<KeyInfo>> {
        let mut keys: Vec<_> = self.0.table.load().iter().map(|entry| Arc::clone(&entry.info)).collect();
        keys.sort_by(|a, b| a.name.cmp(&b.name));
        keys
    }

    /// Ends a key, at once. Live connections end as their owners see [`ConsumerKeys::changed`].
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Store`] if the key may be back after a restart (it is revoked until then).
    pub async fn revoke(&self, name: &str) -> Result<(), Error> {
        let inner = &*self.0;
        let _change = inner.changes.lock().await;
        let mut table = Vec::clone(&inner.table.load());
        let before = table.len();
        table.retain(|entry| entry.info.name != name);
        let held = table.len() < before;
        if held {
            self.swap(table);
        }
        // Also one whose record could not be read, and is not in the table.
        if !held && inner.keys.get(name.as_bytes())?.is_none() {
            return Err(Error::NotFound(name.to_owned()));
        }
        // Before the removal: when the last key is gone, nothing must make `local` anew.
        inner.state.insert(BOOTSTRAP, DONE)?;
        inner.keys.remove(name.as_bytes())?;
        inner.keys.flush().await?;
        if name == LOCAL {
            let path = self.local_path();
            if let Err(e) = std::fs::remove_file(&path)
                && e.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), error = %e, "file of a revoked key cannot be removed");
            }
        }
        Ok(())
    }

    /// Makes the key `local` if this is the first start on this data directory and only this machine can reach
    /// the ports. Where keys have existed before (revoked or lost) none is made.
    ///
    /// # Errors
    /// [`Error::Store`], also if `local.key` can be read by others.
    pub async fn ensure_local(&self, loopback: bool) -> Result<LocalKey, Error> {
        let inner = &*self.0;
        let _change = inner.changes.lock().await;
        let path = self.local_path();
        let on_file = private::read(&path)?;
        if !inner.keys.entries()?.is_empty() {
            let absent = match on_file.and_then(|text| self.verify(text.trim())) {
                Some(key) if key.name == LOCAL => return Ok(LocalKey::Present { path }),
                // Revoking removes the file, so one that opens nothing belongs to a key that got lost.
                None if path.exists() => NoLocalKey::Lost,
                _ => NoLocalKey::OtherKeys,
            };
            return Ok(LocalKey::Absent(absent));
        }
        match inner.state.get(BOOTSTRAP)?.as_deref() {
            Some(PENDING) => {}
            Some(_) => return Ok(LocalKey::Absent(NoLocalKey::Revoked)),
            None if on_file.is_some() || !inner.store.set_aside().is_empty() => {
                return Ok(LocalKey::Absent(NoLocalKey::Lost));
            }
            None => {}
        }
        if !loopback {
            return Ok(LocalKey::Absent(NoLocalKey::NotLoopback));
        }
        // The file is written before the record: should the process end between the two, the next start must
        // not take the file for the trace of a lost store.
        inner.state.insert(BOOTSTRAP, PENDING)?;
        inner.state.flush().await?;
        let key = self.create_locked(LOCAL, Scopes::LOCAL).await?;
        Ok(LocalKey::Created { key, path })
    }

    fn local_path(&self) -> PathBuf {
        local_path(self.0.store.data_dir())
    }

    fn swap(&self, table: Vec<Entry>) {
        self.0.table.store(Arc::new(table));
        self.0.revision.send_modify(|revision| *revision += 1);
    }
}

/// The file that holds the key `local`.
pub fn local_path(data_dir: &Path) -> PathBuf {
    data_dir.join(LOCAL_FILE)
}

/// Reads the key `local` as a command on the same machine does; `None` if there is no such file.
///
/// # Errors
/// [`store::Error`], also if the file can be read by others.
pub fn read_local(data_dir: &Path) -> Result<Option<Secret>, store::Error> {
    Ok(private::read(&local_path(data_dir))?.map(|text| Secret::new(text.trim())))
}

/// A key as it is kept.
#[derive(Serialize, Deserialize)]
struct Record {
    hash: String,
    scopes: Vec<String>,
    created_at_ns: i64,
}

impl Entry {
    fn new(hash: [u8; 32], name: String, scopes: Scopes, created_at: UnixNanos) -> Self {
        // The hash is as good as random, and part of it gives nothing away.
        let id = KeyId(hash[..8].iter().fold(0, |id, byte| id << 8 | u64::from(*byte)));
        Self { hash, info: Arc::new(KeyInfo { id, name, scopes, created_at }) }
    }

    fn record(&self) -> Vec<u8> {
        let record = Record {
            hash: hex(&self.hash),
            scopes: self.info.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            created_at_ns: self.info.created_at.as_nanos(),
        };
        #[expect(clippy::expect_used, reason = "strings and a number always make JSON")]
        serde_json::to_vec(&record).expect("a record is plain data")
    }

    fn read(name: &[u8], record: &[u8]) -> Option<Self> {
        let name = String::from_utf8(name.to_vec()).ok()?;
        let record: Record = serde_json::from_slice(record).ok()?;
        // A scope that a newer version may have granted is not granted here.
        let scopes = record.scopes.iter().filter_map(|scope| scope.parse().ok()).collect::<Scopes>();
        let created_at = UnixNanos::from_nanos(record.created_at_ns);
        Some(Self::new(unhex(&record.hash)?, name, scopes, created_at))
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(good) { Ok(()) } else { Err(Error::BadName) }
}

fn random_key() -> Result<Secret, Error> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rand::rngs::OsRng.try_fill_bytes(&mut *bytes).map_err(|_| Error::Random)?;
    Ok(Secret::new(hex(&bytes)))
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn hex(bytes: &[u8; 32]) -> String {
    let mut text = String::with_capacity(64);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
