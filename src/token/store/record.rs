//! The plaintext of a stored token: its layout, and its way to and from JSON without copies of the secret.
//! Not its encryption.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Error, Kept, Stored, Unusable};
use crate::clock::UnixNanos;
use crate::secret::Secret;
use crate::token::{AccountFacts, Product};

/// The layout. It goes up when a former program would take a record for something else than it is; a member
/// that it may as well pass over is added with `default` instead, and both read each other's records.
const VERSION: u32 = 1;

/// The plaintext.
#[derive(Serialize, Deserialize)]
pub(super) struct Record<'a> {
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
    /// Added later, as is `broker`.
    #[serde(borrow, default)]
    app_key_expires: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    broker: Option<Cow<'a, str>>,
    issued_at_ns: i64,
    expires_at_ns: Option<i64>,
}

impl<'a> Record<'a> {
    pub(super) fn new(
        account: &'a str,
        product: Product,
        binding: &'a str,
        broker: Option<&'a str>,
        token: &'a Stored,
    ) -> Self {
        Self {
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
            broker: broker.map(Cow::from),
            issued_at_ns: token.issued_at.as_nanos(),
            expires_at_ns: token.expires_at.map(UnixNanos::as_nanos),
        }
    }

    /// From decrypted text. Fernet binds nothing but the text itself: whoever can write the store could
    /// exchange two records, so each says where it belongs.
    pub(super) fn read(plain: &'a [u8], account: &str, product: Product) -> Result<Self, Unusable> {
        let record: Self = serde_json::from_slice(plain).map_err(|_| Unusable::Unknown)?;
        if record.version != VERSION {
            return Err(Unusable::Unknown);
        }
        if record.account != account || record.product != product.as_str() {
            return Err(Unusable::Misplaced);
        }
        Ok(record)
    }

    /// Who issued it.
    pub(super) fn binding(&self) -> &str {
        &self.binding
    }

    /// As JSON, in memory that is zeroed afterwards.
    pub(super) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.room()));
        serde_json::to_writer(&mut *bytes, self).map_err(|_| Error::Encode)?;
        Ok(bytes)
    }

    /// More bytes than the JSON can have, so that the buffer never grows and leaves a copy behind.
    pub(super) fn room(&self) -> usize {
        let texts = [&self.account, &self.product, &self.binding, &self.secret, &self.user_id];
        let texts: usize = texts
            .into_iter()
            .chain(&self.client_id)
            .chain(&self.app_key_expires)
            .chain(&self.broker)
            .map(|text| text.len())
            .sum();
        let codes: usize = self.client_codes.iter().map(|code| code.len() + 1).sum();
        // An escape makes at most six bytes of one; names, numbers and punctuation fit the rest.
        6 * (texts + codes) + 512
    }

    /// What may be shown.
    pub(super) fn kept(&self) -> Kept {
        let owned = |text: &Cow<'_, str>| text.clone().into_owned();
        Kept {
            broker: self.broker.as_ref().map(owned),
            user_id: owned(&self.user_id),
            app_key_expires: self.app_key_expires.as_ref().map(owned),
            issued_at: UnixNanos::from_nanos(self.issued_at_ns),
            expires_at: self.expires_at_ns.map(UnixNanos::from_nanos),
        }
    }

    pub(super) fn into_stored(self) -> Stored {
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
