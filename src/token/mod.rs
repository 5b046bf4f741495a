//! A broker's tokens: what they are, when they count as expired, how they are kept.
//! Knows no actor and no broker.

pub mod cipher;
pub mod expiry;
pub mod ledger;
pub mod store;

use std::fmt;
use std::sync::Arc;

use crate::clock::UnixNanos;
use crate::secret::Secret;

/// The two things an XTS login is for. Their tokens are not interchangeable, and a login for
/// one never ends the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Product {
    /// Orders, books, funds.
    Interactive,
    /// Quotes, history, live feed.
    Market,
}

impl Product {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Market, Self::Interactive];

    /// The name in status, metrics and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Market => "market",
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Counts the tokens an owner has held for one product. A caller that was refused names the
/// epoch of the refused token, so that it is never handed that one again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenEpoch(pub u64);

/// The account's facts as the broker told them at a login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountFacts {
    /// The broker's user id, verbatim; the socket's `userID`.
    pub user_id: String,
    /// The client (book) that orders and positions are asked for; dealers only.
    pub client_id: Option<String>,
    /// Whether it is an investor's login (`false`: dealer). Known from interactive logins.
    pub is_investor: Option<bool>,
    /// The clients the login may act for.
    pub client_codes: Vec<String>,
    /// The last day of the app key, as the broker wrote it (`DD-MM-YYYY`). Known from market logins.
    pub app_key_expires: Option<String>,
}

/// A token that may be put on the wire. Cheap to clone; `Debug` shows no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is for.
    pub product: Product,
    /// Which one of its owner's it is.
    pub epoch: TokenEpoch,
    /// The credential.
    pub secret: Arc<Secret>,
    /// Facts of the account it belongs to.
    pub facts: Arc<AccountFacts>,
    /// When the login that brought it succeeded.
    pub issued_at: UnixNanos,
    /// Its claimed end (JWT `exp`), if it names one.
    pub expires_at: Option<UnixNanos>,
}
