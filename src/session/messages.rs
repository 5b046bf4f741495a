//! Every message of the two actors. Commands are imperative, reports are past tense.
//! A tick never travels here.

use std::time::Duration;

use actix::Message;

use crate::broker::Class;
use crate::session::machine::Generation;
use crate::token::{Product, Token, TokenEpoch};

/// A token as the token actor hands it out.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) token: Token,
    /// Whether a login of this process brought it. A stored one may have been used by a
    /// process before us, whose subscriptions the broker still holds.
    pub(crate) from_login: bool,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The product has no keys in the configuration.
    #[error("not configured: {0}")]
    Disabled(String),
    /// The broker refused the login for good. Nothing is tried again until a person acts.
    #[error("the login needs an operator: {0}")]
    NeedsOperator(String),
    /// Somebody else has logged in with the same app key, which ended our session, and the
    /// policy (`session.on_replaced`) is to let them have it.
    #[error("replaced by another login ({0}); `tickgate token refresh` takes the session back")]
    Replaced(String),
    /// A person ended the session.
    #[error("an operator revoked the token; `tickgate token refresh` logs in again")]
    Revoked,
    /// No login now; one will be tried.
    #[error("no token for the next {} s: {reason}", retry_in.as_secs())]
    Waiting {
        /// When.
        retry_in: Duration,
        /// What went wrong.
        reason: String,
    },
    /// The token actor is being replaced, or the session has ended.
    #[error("the session does not answer")]
    Unavailable,
}

impl TokenError {
    /// What a caller should do.
    pub const fn class(&self) -> Class {
        match self {
            Self::Disabled(_) | Self::NeedsOperator(_) | Self::Replaced(_) | Self::Revoked => {
                Class::NeedsOperator
            }
            Self::Waiting { .. } | Self::Unavailable => Class::Transient,
        }
    }
}

/// Who asks for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The live feed.
    Stream,
    /// The account's own socket.
    AccountFeed,
    /// The loader of the instrument master.
    Master,
    /// A call on somebody's behalf, by its name.
    Call(&'static str),
}

impl Asker {
    /// The name in log and audit trail.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::AccountFeed => "account feed",
            Self::Master => "instrument master",
            Self::Call(name) => name,
        }
    }

    /// Whether it is served as well in the morning: nobody waits for it at night, and a login
    /// then might be lost in the broker's own night.
    pub(crate) const fn can_rest(self) -> bool {
        match self {
            Self::Stream | Self::AccountFeed | Self::Master => true,
            Self::Call(_) => false,
        }
    }
}

/// To the token actor: a token for a product. One held is returned only if its epoch is newer
/// than `newer_than`, the last token that was refused. All askers share one login.
#[derive(Debug, Message)]
#[rtype(result = "Result<Granted, TokenError>")]
pub(crate) struct GetToken {
    pub(crate) product: Product,
    pub(crate) newer_than: Option<TokenEpoch>,
    pub(crate) asker: Asker,
}

/// To the token actor: the broker refused this token, and nobody waits for another.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct TokenRefused {
    pub(crate) product: Product,
    pub(crate) epoch: TokenEpoch,
}

/// To the token actor: somebody else has logged in, which ended this token's session.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct SessionReplaced {
    pub(crate) product: Product,
    pub(crate) epoch: TokenEpoch,
    /// How it was noticed.
    pub(crate) how: String,
}

/// To the token actor, by a person: log in anew, whatever is held and whatever was refused.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), TokenError>")]
pub(crate) struct Refresh {
    pub(crate) product: Product,
    /// Who, for the audit trail.
    pub(crate) by: String,
}

/// To the token actor, by a person: end the session at the broker and forget its token. No login
/// follows by itself. The answer says whether there was a token.
#[derive(Debug, Message)]
#[rtype(result = "Result<bool, TokenError>")]
pub(crate) struct Revoke {
    pub(crate) product: Product,
    /// Who, for the audit trail.
    pub(crate) by: String,
}

/// To the token actor, by its own timer: look at the clock.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RefreshDue;

/// To the token actor, by its child's guard: the stream actor is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StreamDown {
    pub(crate) child: u64,
    pub(crate) panicked: bool,
}

/// To the stream actor: a login brought a new market token.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct TokenRotated(pub(crate) Granted);

/// To the stream actor: a person has ended the session; no token up to this one is good.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct TokenLost {
    pub(crate) up_to: TokenEpoch,
}

/// To the stream actor, by the hub's watch: look at what is wanted.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct WantedChanged;

/// To the stream actor, by the feed task: connected, but no tick comes.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FeedMuted {
    pub(crate) generation: Generation,
}

/// To both, by a person: a fresh connection.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub(crate) struct Reconnect;

/// To both: answer, or the process is unwell.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), &'static str>")]
pub(crate) struct Report;

/// To both: the end.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Stop;
