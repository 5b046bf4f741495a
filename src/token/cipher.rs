//! Encrypts what is stored, with Fernet: the keys, where they come from, why a text cannot be read.
//! Does not know what it encrypts.
//!
//! `fernet::MultiFernet` can only stamp with the machine's clock, so several keys are handled here: the first
//! encrypts, each is tried for decryption.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use fernet::Fernet;
use zeroize::Zeroizing;

use crate::clock::{Clock, UnixNanos};
use crate::secret::Secret;
use crate::store;
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

/// Why there is no cipher.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a Fernet key. Names its position, never its text.
    #[error("{origin}: key {number} is not a Fernet key (32 bytes in url-safe base64)")]
    Malformed {
        /// Where the text stood.
        origin: String,
        /// Which one of the keys, from 1.
        number: usize,
    },
    /// No key in the text.
    #[error("{origin}: no key in it")]
    Empty {
        /// Where the text stood.
        origin: String,
    },
    /// The key file cannot be used.
    #[error(transparent)]
    File(#[from] store::Error),
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

/// Encrypts under the first of its keys, decrypts under any.
#[derive(Clone)]
pub struct Cipher {
    keys: Arc<[Fernet]>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").field("keys", &self.keys.len()).finish_non_exhaustive()
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
        if let Some(text) = private::read(&path)? {
            let cipher = Self::new(&Secret::new(text.as_str()), &path.display().to_string(), clock)?;
            return Ok((cipher, KeySource::File(path)));
        }
        private::create_dir(data_dir)?;
        let key = Zeroizing::new(Fernet::generate_key());
        private::write(&path, &format!("{}\n", key.as_str()))?;
        let cipher = Self::new(&Secret::new(key.as_str()), &path.display().to_string(), clock)?;
        Ok((cipher, KeySource::Created(path)))
    }

    /// From the text of one key or of several, separated by commas or line ends. `origin` is named in errors.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], [`KeyError::Empty`].
    pub fn new(keys: &Secret, origin: &str, clock: Arc<dyn Clock>) -> Result<Self, KeyError> {
        let texts = keys.expose().split([',', '\n']).map(str::trim).filter(|text| !text.is_empty());
        let keys: Result<Vec<_>, _> = texts
            .enumerate()
            .map(|(at, text)| {
                Fernet::new(text)
                    .ok_or_else(|| KeyError::Malformed { origin: origin.to_owned(), number: at + 1 })
            })
            .collect();
        let keys: Arc<[Fernet]> = keys?.into();
        if keys.is_empty() {
            return Err(KeyError::Empty { origin: origin.to_owned() });
        }
        Ok(Self { keys, clock })
    }

    /// Encrypts under the first key.
    pub fn encrypt(&self, plain: &[u8]) -> String {
        self.keys[0].encrypt_at_time(plain, unix_secs(self.clock.now()))
    }

    /// Decrypts under whichever key fits.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn decrypt(&self, text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
        let text = std::str::from_utf8(text).map_err(|_| Unreadable::Torn)?;
        let stamp = stamp(text).ok_or(Unreadable::Torn)?;
        // At this time the stamp is acceptable, so that what remains is the question of the key; the stamp
        // itself is judged once the signature has shown it to be genuine.
        let earliest = stamp.saturating_sub(MAX_SKEW_SECS);
        let plain = self
            .keys
            .iter()
            .find_map(|key| key.decrypt_at_time(text, None, earliest).ok())
            .map(Zeroizing::new)
            .ok_or(Unreadable::WrongKey)?;
        let now = unix_secs(self.clock.now());
        if earliest > now {
            return Err(Unreadable::ClockBack { ahead: Duration::from_secs(stamp - now) });
        }
        Ok(plain)
    }
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
