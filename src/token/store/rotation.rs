//! Encrypts all records anew under another key, so that the process may be killed at any moment: what can be
//! read before can be read afterwards with the keys that lie on disk then. Does not decide when.
//!
//! The order is everything. With the key in `fernet.key`: the file gets the new key beside the old ones; the
//! records are encrypted anew and flushed; each is read again with the new key alone; only then the file gets
//! the new key alone. A rotation that was cut short leaves a file of several keys, under which everything can be
//! read, and is brought to its end by [`TokenStore::finish_rotation`] or the next rotation.

use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::TokenStore;
use crate::secret::Secret;
use crate::store;
use crate::token::cipher::key::{self, Key, KeyError};
use crate::token::cipher::{self, KEY_FILE};

/// Why a rotation did not come to its end. Nothing is lost: the keys that were held are still held.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// A key file cannot be read or written, or the given keys are none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Records that could be read before cannot be read with the new key.
    #[error("{0} records cannot be read with the new key; the old keys are kept")]
    Unverified(usize),
}

/// How a rotation went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The file whose only key encrypts everything now; `None`: the first of the given keys does.
    pub file: Option<PathBuf>,
    /// Records that are under that key now.
    pub records: usize,
    /// Records that none of the keys could read. They are as they were.
    pub unreadable: usize,
    /// The same among those that were kept aside earlier.
    pub unreadable_aside: usize,
    /// Keys that no record needs any more: gone from the file, or, if keys were given, still wherever they
    /// stand (behind the first given one, or in `fernet.key`).
    pub superseded: usize,
}

impl TokenStore {
    /// Encrypts every record under the first of the `given` keys, or, if none are given, under a new key that
    /// becomes the only one in `fernet.key`. Records that are stamped in the future are taken along, with
    /// their stamps. Goes on to its end if it is no longer waited for.
    ///
    /// # Errors
    /// Any [`RotationError`].
    pub async fn rotate(&self, given: Option<Secret>) -> Result<Rotated, RotationError> {
        self.alone(move |tokens| tokens.rotate_now(given.as_ref())).await
    }

    /// Brings a rotation to its end that was cut short: if `fernet.key` holds several keys, everything is
    /// encrypted under the first, and the others are dropped. `None` if there was nothing to do, or if the keys
    /// in use are not the file's.
    ///
    /// # Errors
    /// Any [`RotationError`].
    pub async fn finish_rotation(&self) -> Result<Option<Rotated>, RotationError> {
        self.alone(|tokens| {
            let path = tokens.key_file();
            match key::read_file(&path)? {
                Some(keys) if keys.len() > 1 && tokens.cipher.keys().first() == keys.first() => {
                    let first = keys[0].clone();
                    tokens.rotate_in_file(path, first, keys).map(Some)
                }
                _ => Ok(None),
            }
        })
        .await
    }

    /// Does the blocking `work` while nobody writes a record.
    async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, RotationError> + Send + 'static,
    ) -> Result<T, RotationError> {
        let lock = Arc::clone(&self.rotating).write_owned().await;
        let tokens = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let outcome = work(&tokens);
            drop(lock);
            outcome
        });
        done.await.unwrap_or_else(|e| Err(store::Error::Failed(e.to_string()).into()))
    }

    fn key_file(&self) -> PathBuf {
        self.tree.data_dir().join(KEY_FILE)
    }

    fn rotate_now(&self, given: Option<&Secret>) -> Result<Rotated, RotationError> {
        let path = self.key_file();
        // The file's too: keys may be given from now on, or the file may have been exchanged.
        let on_file = key::read_file(&path)?.unwrap_or_default();
        let held = self.cipher.keys();
        let old = held.iter().chain(&on_file).cloned();
        match given {
            None => self.rotate_in_file(path, Key::fresh(), old),
            Some(text) => {
                let given = key::parse(text.expose(), "the given Fernet key")?;
                let all = union(given.iter().cloned().chain(old));
                self.cipher.set_keys(all.clone());
                let rotated = self.reencrypt(&all)?;
                self.cipher.set_keys(given);
                Ok(rotated)
            }
        }
    }

    fn rotate_in_file(
        &self,
        path: PathBuf,
        new: Key,
        old: impl IntoIterator<Item = Key>,
    ) -> Result<Rotated, RotationError> {
        let all = union(std::iter::once(new.clone()).chain(old));
        // Before the first record is under the new key.
        key::write_file(&path, &all)?;
        self.cipher.set_keys(all.clone());
        let rotated = self.reencrypt(&all)?;
        let only = vec![new];
        key::write_file(&path, &only)?;
        self.cipher.set_keys(only);
        Ok(Rotated { file: Some(path), ..rotated })
    }

    /// Encrypts under the first of the keys what any of them can read, flushes, and makes sure that it can be
    /// read with the first alone.
    fn reencrypt(&self, keys: &[Key]) -> Result<Rotated, RotationError> {
        let mut readable = Vec::new();
        let mut unreadable = [0, 0];
        for (tree, unreadable) in [&self.tree, &self.aside].into_iter().zip(&mut unreadable) {
            for (at, sealed) in tree.entries()? {
                let Ok(opened) = cipher::open(keys, &sealed) else {
                    *unreadable += 1;
                    continue;
                };
                if opened.key != 0 {
                    let sealed = cipher::seal(&keys[0], &opened.plain, opened.stamp);
                    tree.insert(&at, sealed.as_bytes())?;
                }
                readable.push((tree, at, Sha256::digest(&*opened.plain)));
            }
        }
        self.tree.flush_now()?;
        let mut lost = 0;
        for (tree, at, digest) in &readable {
            let sealed = tree.get(at)?.unwrap_or_default();
            let opened = cipher::open(&keys[..1], &sealed);
            if !opened.is_ok_and(|opened| Sha256::digest(&*opened.plain) == *digest) {
                lost += 1;
            }
        }
        if lost > 0 {
            return Err(RotationError::Unverified(lost));
        }
        let [unreadable, unreadable_aside] = unreadable;
        let (records, superseded) = (readable.len(), keys.len() - 1);
        Ok(Rotated { file: None, records, unreadable, unreadable_aside, superseded })
    }
}

/// Each key once, in order of first appearance.
fn union(keys: impl Iterator<Item = Key>) -> Vec<Key> {
    let mut all = Vec::new();
    for key in keys {
        if !all.contains(&key) {
            all.push(key);
        }
    }
    all
}
