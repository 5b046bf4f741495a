//! A credential in memory: redacted in `Debug`, never displayed or serialized, zeroed on drop.
//! Not a store; what is written to disk goes through `token::cipher`.

pub mod file;

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroize as _;

/// A token, key or password. Read it with [`Secret::expose`], and only to put it on the wire
/// or into the cipher.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes ownership of the text.
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.capacity() == text.len() {
            return Self(SecretString::from(text));
        }
        // `secrecy` would cut the buffer to size, which may move it and leave the text behind in freed memory.
        let fitting = String::from(text.as_str());
        text.zeroize();
        Self(SecretString::from(fitting))
    }

    /// The text itself. Never log, format or store what this returns.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq;
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_same_whatever_room_it_came_in() {
        for room in [3, 64] {
            let mut text = String::with_capacity(room);
            text.push_str("abc");
            assert_eq!(Secret::new(text).expose(), "abc");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("abc")), "Secret(…)");
    }
}
