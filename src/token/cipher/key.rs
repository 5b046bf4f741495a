//! Fernet keys as texts: parsed, made, kept in a file, told from each other. Encrypts nothing.

use std::path::Path;

use fernet::Fernet;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::store;
use crate::store::private;

/// Why there is no key. Names places, never a key's text.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a Fernet key.
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

impl KeyError {
    /// Whether a person has to put a file or a variable right (the disk is not at fault).
    pub const fn is_misconfigured(&self) -> bool {
        match self {
            Self::Malformed { .. } | Self::Empty { .. } => true,
            Self::File(error) => error.is_misconfigured(),
        }
    }
}

/// One key: what it does, and its text, by which it is written down and told from others.
#[derive(Clone)]
pub(in crate::token) struct Key {
    text: Secret,
    pub(in crate::token) fernet: Fernet,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Key {
    /// A new one, from the operating system's random numbers.
    pub(in crate::token) fn fresh() -> Self {
        loop {
            // What is made is a key; the loop only spares an error that cannot be.
            if let Some(key) = Self::parse(&Zeroizing::new(Fernet::generate_key())) {
                return key;
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Some(Self { fernet: Fernet::new(text)?, text: Secret::new(text) })
    }

    /// Tells the key from others without telling what it is: a part of a hash of 32 random bytes.
    pub(in crate::token) fn id(&self) -> String {
        let mut hash = Sha256::new_with_prefix(b"tickgate fernet key id\n");
        hash.update(self.text.expose());
        let hash: [u8; 32] = hash.finalize().into();
        let start = hash.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        format!("{start:016x}")
    }
}

/// The keys of a text, separated by commas or line ends; at least one. `origin` is named in errors.
pub(in crate::token) fn parse(text: &str, origin: &str) -> Result<Vec<Key>, KeyError> {
    let texts = text.split([',', '\n']).map(str::trim).filter(|text| !text.is_empty());
    let keys: Vec<_> = texts
        .enumerate()
        .map(|(at, text)| {
            Key::parse(text).ok_or_else(|| KeyError::Malformed { origin: origin.to_owned(), number: at + 1 })
        })
        .collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err(KeyError::Empty { origin: origin.to_owned() });
    }
    Ok(keys)
}

/// The keys in a file; `None` if there is no file.
pub(in crate::token) fn read_file(path: &Path) -> Result<Option<Vec<Key>>, KeyError> {
    let Some(text) = private::read(path)? else { return Ok(None) };
    parse(&text, &path.display().to_string()).map(Some)
}

/// Writes the keys to a file, complete or not at all, the first one first.
pub(in crate::token) fn write_file(path: &Path, keys: &[Key]) -> Result<(), KeyError> {
    let len = keys.iter().map(|key| key.text.expose().len() + 1).sum();
    let mut text = Zeroizing::new(String::with_capacity(len));
    for key in keys {
        text.push_str(key.text.expose());
        text.push('\n');
    }
    Ok(private::write(path, &text)?)
}

/// Names the first key of a text, as [`super::Cipher::key_id`] does.
///
/// # Errors
/// [`KeyError`] if there is none.
pub fn id_of_first(text: &Secret) -> Result<String, KeyError> {
    parse(text.expose(), "the given Fernet key").map(|keys| keys[0].id())
}
