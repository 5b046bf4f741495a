//! Encrypts what is stored, with Fernet: the keys, where they come from, why a text cannot be read.
//! Does not know what it encrypts.
//!
//! `fernet::MultiFernet` can only stamp with the machine's clock, so several keys are handled here: the first
//! encrypts, each is tried for decryption.

pub(in crate::token) mod key;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use zeroize::Zeroizing;

pub use key::{KeyError, id_of_first};

use self::key::Key;
use crate::clock::{Clock, UnixNanos};
use crate::secret::Secret;
use crate::store::private;

/// The key file in the data directory.
pub const KEY_FILE: &str = "fernet.key";

/// How far ahead of the clock a stamp may be before Fernet refuses the text (its specification's figure).
const MAX_SKEW_SECS: u64 = 60;

/// Where the keys came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// Given from outside (environment).
    Given,
    /// Read from this file.
    File(PathBuf),
    /// Newly made, and written to this file.
    Created(PathBuf),
}

/// Why a text cannot be read now. None of these is a reason to delete or overwrite it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Encrypted under a key that is not held, or altered.
    WrongKey,
    /// Intact and under a held key, but stamped later than the clock shows: the clock was set back.
    ClockBack {
        /// How far the stamp is ahead.
        ahead: Duration,
    },
    /// Not a whole Fernet text.
    Torn,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongKey => f.write_str("encrypted under another Fernet key, or altered"),
            Self::ClockBack { ahead } => {
                write!(f, "written {} s in the future; the machine's clock was set back", ahead.as_secs())
            }
            Self::Torn => f.write_str("incomplete"),
        }
    }
}

/// Encrypts under the first of its keys, decrypts under any. Clones share the keys.
#[derive(Clone)]
pub struct Cipher {
    keys: Arc<ArcSwap<Vec<Key>>>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").field("keys", &self.keys.load().len()).finish_non_exhaustive()
    }
}

impl Cipher {
    /// Takes the keys from `given` if that is set, else from `fernet.key` in the data directory, which is made
    /// (mode 0600) if it is missing. Open the store first: its lock keeps two processes from making two keys.
    ///
    /// # Errors
    /// [`KeyError`]; a key file that others may read is refused.
    pub fn load(
        given: Option<&Secret>,
        data_dir: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, KeySource), KeyError> {
        if let Some(text) = given {
            return Ok((Self::new(text, "the given Fernet key", clock)?, KeySource::Given));
        }
        let path = data_dir.join(KEY_FILE);
        if let Some(keys) = key::read_file(&path)? {
            // A rotation that was killed while it wrote: what lies there may be any key.
            private::remove_unfinished(&path)?;
            return Ok((Self::of(keys, clock), KeySource::File(path)));
        }
        private::create_dir(data_dir)?;
        let keys = vec![Key::fresh()];
        key::write_file(&path, &keys)?;
        Ok((Self::of(keys, clock), KeySource::Created(path)))
    }

    /// From the text of one key or of several, separated by commas or line ends. `origin` is named in errors.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], [`KeyError::Empty`].
    pub fn new(keys: &Secret, origin: &str, clock: Arc<dyn Clock>) -> Result<Self, KeyError> {
        Ok(Self::of(key::parse(keys.expose(), origin)?, clock))
    }

    /// One that no text was encrypted under, and that nothing outlives: for a look at a store without its keys.
    pub fn passing(clock: Arc<dyn Clock>) -> Self {
        Self::of(vec![Key::fresh()], clock)
    }

    /// `keys` is never empty.
    fn of(keys: Vec<Key>, clock: Arc<dyn Clock>) -> Self {
        Self { keys: Arc::new(ArcSwap::from_pointee(keys)), clock }
    }

    /// The keys as they are now.
    pub(in crate::token) fn keys(&self) -> Arc<Vec<Key>> {
        self.keys.load_full()
    }

    /// Exchanges the keys, of all clones at once; never for none.
    pub(in crate::token) fn set_keys(&self, keys: Vec<Key>) {
        self.keys.store(Arc::new(keys));
    }

    /// Names the key that encrypts, without telling what it is.
    pub fn key_id(&self) -> String {
        self.keys.load()[0].id()
    }

    /// Encrypts under the first key.
    pub fn encrypt(&self, plain: &[u8]) -> String {
        seal(&self.keys.load()[0], plain, unix_secs(self.clock.now()))
    }

    /// Decrypts under whichever key fits.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn decrypt(&self, text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
        let opened = open(&self.keys.load(), text)?;
        let now = unix_secs(self.clock.now());
        if opened.stamp.saturating_sub(MAX_SKEW_SECS) > now {
            return Err(Unreadable::ClockBack { ahead: Duration::from_secs(opened.stamp - now) });
        }
        Ok(opened.plain)
    }
}

/// A text that one of the keys has shown to be genuine, whatever its stamp.
pub(in crate::token) struct Opened {
    pub(in crate::token) plain: Zeroizing<Vec<u8>>,
    /// When it says it was encrypted, in seconds of the epoch.
    pub(in crate::token) stamp: u64,
    /// Which of the keys, from 0.
    pub(in crate::token) key: usize,
}

/// Encrypts as if at the time `stamp`.
pub(in crate::token) fn seal(key: &Key, plain: &[u8], stamp: u64) -> String {
    key.fernet.encrypt_at_time(plain, stamp)
}

/// Decrypts whatever the clock shows.
pub(in crate::token) fn open(keys: &[Key], text: &[u8]) -> Result<Opened, Unreadable> {
    let text = std::str::from_utf8(text).map_err(|_| Unreadable::Torn)?;
    let stamp = stamp(text).ok_or(Unreadable::Torn)?;
    // At this time the stamp is acceptable, so that what remains is the question of the key; the stamp
    // itself is judged once the signature has shown it to be genuine.
    let earliest = stamp.saturating_sub(MAX_SKEW_SECS);
    keys.iter()
        .enumerate()
        .find_map(|(at, key)| {
            let plain = key.fernet.decrypt_at_time(text, None, earliest).ok()?;
            Some(Opened { plain: Zeroizing::new(plain), stamp, key: at })
        })
        .ok_or(Unreadable::WrongKey)
}

/// The stamp of a text that has at least the form and length of a Fernet text; not yet authenticated.
fn stamp(text: &str) -> Option<u64> {
    // Version, stamp, initialization vector, one block, signature.
    const SHORTEST: usize = 1 + 8 + 16 + 16 + 32;
    let raw = base64::engine::general_purpose::URL_SAFE.decode(text).ok()?;
    if raw.len() < SHORTEST || !(raw.len() - SHORTEST).is_multiple_of(16) || raw[0] != 0x80 {
        return None;
    }
    raw[1..9].try_into().ok().map(u64::from_be_bytes)
}

fn unix_secs(time: UnixNanos) -> u64 {
    u64::try_from(time.as_secs()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
