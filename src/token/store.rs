//! Keeps tokens in the store, encrypted. Decides nothing about logins or expiry.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::cipher::{Cipher, Unreadable};
use super::{AccountFacts, Product};
use crate::clock::UnixNanos;
use crate::secret::Secret;
use crate::store;
use crate::store::{Store, Tree};

const TREE: &str = "tokens";

/// Records that could not be decrypted when a new token took their place: with a wrong key or a wrong clock it is
/// not the record that is at fault. The last one of each account and product is kept.
const ASIDE_TREE: &str = "tokens_aside";

/// The layout of a record's plaintext.
const VERSION: u32 = 1;

/// Why a token could not be stored or removed. Nothing but the copy on disk is affected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The record could not be written down.
    #[error("token record cannot be encoded")]
    Encode,
}

/// A token as it is kept: everything but the epoch, which counts within one life of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The credential.
    pub secret: Arc<Secret>,
    /// Facts of the account it belongs to.
    pub facts: AccountFacts,
    /// When the login that brought it succeeded.
    pub issued_at: UnixNanos,
    /// Its claimed end, if it names one.
    pub expires_at: Option<UnixNanos>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// A token issued by this binding for this account and product. Whether it still counts is
    /// `token::expiry`'s business.
    Found(Stored),
    /// None, or one that another server or app key issued.
    Missing,
    /// A record that cannot be used. It stays where it is.
    Unusable(Unusable),
}

/// Why a record cannot be used. Holds nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It cannot be decrypted.
    Unreadable(Unreadable),
    /// It was written for another account or product and has been moved here.
    Misplaced,
    /// Decrypted, but not a record this program knows.
    Unknown,
    /// The store failed.
    Store(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => why.fmt(f),
            Self::Misplaced => f.write_str("written for another account or product"),
            Self::Unknown => f.write_str("of an unknown layout"),
            Self::Store(why) => f.write_str(why),
        }
    }
}

/// What may be shown of a stored token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whose it is.
    pub account: String,
    /// What it is for.
    pub product: Product,
    /// Its times, or why it cannot be used.
    pub state: Result<Times, Unusable>,
}

/// A stored token's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When the login that brought it succeeded.
    pub issued_at: UnixNanos,
    /// Its claimed end, if it names one.
    pub expires_at: Option<UnixNanos>,
}

/// The tokens on disk. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TokenStore {
    tree: Tree,
    aside: Tree,
    cipher: Cipher,
}

impl TokenStore {
    /// The tokens in `store`, under `cipher` (which holds the clock).
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn open(store: &Store, cipher: Cipher) -> Result<Self, Error> {
        Ok(Self { tree: store.tree(TREE)?, aside: store.tree(ASIDE_TREE)?, cipher })
    }

    /// Stores a token in place of the account's last one for this product; on disk when this returns.
    /// `binding` says who issued it (`Broker::binding`). A record that cannot be decrypted is kept aside.
    ///
    /// # Errors
    /// Any [`Error`]; the login that brought the token is good nevertheless.
    pub async fn upsert(
        &self,
        account: &str,
        product: Product,
        binding: &str,
        token: &Stored,
    ) -> Result<(), Error> {
        let record = Record {
            version: VERSION,
            account: account.into(),
            product: product.as_str().into(),
            binding: binding.into(),
            secret: token.secret.expose().into(),
            user_id: token.facts.user_id.as_str().into(),
            client_id: token.facts.client_id.as_deref().map(Cow::from),
            is_investor: token.facts.is_investor,
            client_codes: token.facts.client_codes.clone(),
            app_key_expires: token.facts.app_key_expires.as_deref().map(Cow::from),
            issued_at_ns: token.issued_at.as_nanos(),
            expires_at_ns: token.expires_at.map(UnixNanos::as_nanos),
        };
        let sealed = self.cipher.encrypt(&record.encode()?);
        let key = key(account, product);
        if let Some(old) = self.tree.get(&key)?
            && self.cipher.decrypt(&old).is_err()
        {
            self.aside.insert(&key, &old)?;
        }
        self.tree.insert(&key, sealed.as_bytes())?;
        Ok(self.tree.flush().await?)
    }

    /// The account's token for a product, if it was issued by `binding`.
    pub fn load(&self, account: &str, product: Product, binding: &str) -> Loaded {
        let sealed = match self.tree.get(&key(account, product)) {
            Ok(Some(sealed)) => sealed,
            Ok(None) => return Loaded::Missing,
            Err(e) => return Loaded::Unusable(Unusable::Store(e.to_string())),
        };
        match self.unseal(&sealed, account, product) {
            Ok((bound_to, _)) if bound_to != binding => Loaded::Missing,
            Ok((_, token)) => Loaded::Found(token),
            Err(why) => Loaded::Unusable(why),
        }
    }

    /// Forgets a token; says whether there was one.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn revoke(&self, account: &str, product: Product) -> Result<bool, Error> {
        let found = self.tree.remove(&key(account, product))?;
        self.tree.flush().await?;
        Ok(found)
    }

    /// Everything stored, without secrets.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn list(&self) -> Result<Vec<Summary>, Error> {
        let rows = self.tree.entries()?.into_iter();
        Ok(rows
            .filter_map(|(key, sealed)| {
                let (account, product) = parse_key(&key)?;
                let state = self
                    .unseal(&sealed, &account, product)
                    .map(|(_, token)| Times { issued_at: token.issued_at, expires_at: token.expires_at });
                Some(Summary { account, product, state })
            })
            .collect())
    }

    fn unseal(&self, sealed: &[u8], account: &str, product: Product) -> Result<(String, Stored), Unusable> {
        let plain = self.cipher.decrypt(sealed).map_err(Unusable::Unreadable)?;
        let record: Record<'_> = serde_json::from_slice(&plain).map_err(|_| Unusable::Unknown)?;
        if record.version != VERSION {
            return Err(Unusable::Unknown);
        }
        // Fernet binds nothing but the text itself: whoever can write the store could exchange two records.
        if record.account != account || record.product != product.as_str() {
            return Err(Unusable::Misplaced);
        }
        Ok((record.binding.clone().into_owned(), record.into_stored()))
    }
}

/// The plaintext.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    version: u32,
    #[serde(borrow)]
    account: Cow<'a, str>,
    #[serde(borrow)]
    product: Cow<'a, str>,
    #[serde(borrow)]
    binding: Cow<'a, str>,
    #[serde(borrow)]
    secret: Cow<'a, str>,
    #[serde(borrow)]
    user_id: Cow<'a, str>,
    #[serde(borrow)]
    client_id: Option<Cow<'a, str>>,
    is_investor: Option<bool>,
    client_codes: Vec<String>,
    #[serde(borrow, default)]
    app_key_expires: Option<Cow<'a, str>>,
    issued_at_ns: i64,
    expires_at_ns: Option<i64>,
}

impl Record<'_> {
    /// As JSON, in memory that is zeroed afterwards.
    fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.room()));
        serde_json::to_writer(&mut *bytes, self).map_err(|_| Error::Encode)?;
        Ok(bytes)
    }

    /// More bytes than the JSON can have, so that the buffer never grows and leaves a copy behind.
    fn room(&self) -> usize {
        let texts = [&self.account, &self.product, &self.binding, &self.secret, &self.user_id];
        let texts: usize = texts
            .into_iter()
            .chain(&self.client_id)
            .chain(&self.app_key_expires)
            .map(|text| text.len())
            .sum();
        let codes: usize = self.client_codes.iter().map(|code| code.len() + 1).sum();
        // An escape makes at most six bytes of one; names, numbers and punctuation fit the rest.
        6 * (texts + codes) + 512
    }

    fn into_stored(self) -> Stored {
        Stored {
            secret: Arc::new(Secret::new(self.secret)),
            facts: AccountFacts {
                user_id: self.user_id.into_owned(),
                client_id: self.client_id.map(Cow::into_owned),
                is_investor: self.is_investor,
                client_codes: self.client_codes,
                app_key_expires: self.app_key_expires.map(Cow::into_owned),
            },
            issued_at: UnixNanos::from_nanos(self.issued_at_ns),
            expires_at: self.expires_at_ns.map(UnixNanos::from_nanos),
        }
    }
}

/// The product comes first: its name has no slash, an account's may.
fn key(account: &str, product: Product) -> Vec<u8> {
    format!("{product}/{account}").into_bytes()
}

fn parse_key(key: &[u8]) -> Option<(String, Product)> {
    let (product, account) = std::str::from_utf8(key).ok()?.split_once('/')?;
    let product = Product::ALL.into_iter().find(|known| known.as_str() == product)?;
    Some((account.to_owned(), product))
}

#[cfg(test)]
mod tests;
