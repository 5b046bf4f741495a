//! Keeps tokens in the store, encrypted. Decides nothing about logins or expiry.

mod record;
mod rotation;
#[cfg(test)]
mod rotation_tests;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use tokio::sync::RwLock;

pub use rotation::{Rotated, RotationError};

use self::record::Record;
use super::cipher::{Cipher, Unreadable};
use super::{AccountFacts, Product};
use crate::clock::UnixNanos;
use crate::secret::Secret;
use crate::store;
use crate::store::{Store, Tree};

const TREE: &str = "tokens";

/// Records that could not be used when another took their place or they were to be removed: with a wrong key or a
/// wrong clock it is not the record that is at fault. The last one of each account and product is kept: a login had
/// ended the tokens of those before it.
const ASIDE_TREE: &str = "tokens_aside";

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
    /// What is known of it, or why it cannot be used.
    pub state: Result<Kept, Unusable>,
}

/// A stored token's record without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The kind of broker that issued it; `None` in records of a former layout.
    pub broker: Option<String>,
    /// The broker's user id.
    pub user_id: String,
    /// The last day of the app key, as the broker wrote it.
    pub app_key_expires: Option<String>,
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
    broker: Option<Arc<str>>,
    // Many write records at once, but nobody while all of them are encrypted anew.
    rotating: Arc<RwLock<()>>,
}

impl TokenStore {
    /// The tokens in `store`, under `cipher` (which holds the clock).
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn open(store: &Store, cipher: Cipher) -> Result<Self, Error> {
        let (tree, aside) = (store.tree(TREE)?, store.tree(ASIDE_TREE)?);
        Ok(Self { tree, aside, cipher, broker: None, rotating: Arc::default() })
    }

    /// The same tokens, for an account at this kind of broker: records written from here on name it.
    #[must_use]
    pub fn at_broker(&self, broker: &str) -> Self {
        Self { broker: Some(broker.into()), ..self.clone() }
    }

    /// Stores a token in place of the account's last one for this product; on disk when this returns.
    /// `binding` says who issued it (`Broker::binding`). A record that cannot be used is kept aside.
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
        let record = Record::new(account, product, binding, self.broker.as_deref(), token).encode()?;
        let _writing = self.rotating.read().await;
        let sealed = self.cipher.encrypt(&record);
        self.keep_unusable(account, product)?;
        self.tree.insert(&key(account, product), sealed.as_bytes())?;
        Ok(self.tree.flush().await?)
    }

    /// The account's token for a product, if it was issued by `binding`.
    pub fn load(&self, account: &str, product: Product, binding: &str) -> Loaded {
        let found = self.with_record(account, product, |record| {
            if record.binding() == binding { Loaded::Found(record.into_stored()) } else { Loaded::Missing }
        });
        match found {
            None => Loaded::Missing,
            Some(Ok(loaded)) => loaded,
            Some(Err(why)) => Loaded::Unusable(why),
        }
    }

    /// The account's market-data token.
    pub fn market(&self, account: &str, binding: &str) -> Loaded {
        self.load(account, Product::Market, binding)
    }

    /// The account's token for orders and books.
    pub fn interactive(&self, account: &str, binding: &str) -> Loaded {
        self.load(account, Product::Interactive, binding)
    }

    /// The broker's user id of the account: that of its interactive login if one is stored, since the one of
    /// market data may be another.
    pub fn user_id(&self, account: &str) -> Option<String> {
        [Product::Interactive, Product::Market]
            .into_iter()
            .filter_map(|product| self.with_record(account, product, |record| record.kept().user_id)?.ok())
            .find(|user_id| !user_id.is_empty())
    }

    /// Forgets a token; says whether there was one. A record that cannot be used, and so may be of any worth, is
    /// kept aside.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn revoke(&self, account: &str, product: Product) -> Result<bool, Error> {
        let _writing = self.rotating.read().await;
        self.keep_unusable(account, product)?;
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
            .filter_map(|(key, _)| {
                let (account, product) = parse_key(&key)?;
                let state = self.with_record(&account, product, |record| record.kept())?;
                Some(Summary { account, product, state })
            })
            .collect())
    }

    /// Copies the record aside if it is there and cannot be used.
    fn keep_unusable(&self, account: &str, product: Product) -> Result<(), Error> {
        let key = key(account, product);
        if let Some(old) = self.tree.get(&key)?
            && self.unseal(&old, account, product, |_| ()).is_err()
        {
            self.aside.insert(&key, &old)?;
        }
        Ok(())
    }

    /// What `take` makes of a record; `None` if there is no record.
    fn with_record<T>(
        &self,
        account: &str,
        product: Product,
        take: impl Fn(Record<'_>) -> T,
    ) -> Option<Result<T, Unusable>> {
        let key = key(account, product);
        let get = || self.tree.get(&key).map_err(|e| Unusable::Store(e.to_string()));
        let mut sealed = match get().transpose()? {
            Ok(sealed) => sealed,
            Err(why) => return Some(Err(why)),
        };
        loop {
            let found = self.unseal(&sealed, account, product, &take);
            if !matches!(found, Err(Unusable::Unreadable(Unreadable::WrongKey))) {
                return Some(found);
            }
            // A rotation may have exchanged the keys between the look at the record and theirs.
            match get().transpose()? {
                Ok(again) if again != sealed => sealed = again,
                Ok(_) => return Some(found),
                Err(why) => return Some(Err(why)),
            }
        }
    }

    fn unseal<T>(
        &self,
        sealed: &[u8],
        account: &str,
        product: Product,
        take: impl FnOnce(Record<'_>) -> T,
    ) -> Result<T, Unusable> {
        let plain = self.cipher.decrypt(sealed).map_err(Unusable::Unreadable)?;
        Record::read(&plain, account, product).map(take)
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
