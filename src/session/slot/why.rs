//! Why there is no token, and why none is fetched: the words in log, status and audit trail.

use std::fmt;

use crate::token::expiry::Cause;

/// Why a slot holds no usable token, and so why a login is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// None is stored, or one that another server or app key issued.
    Missing,
    /// The stored record cannot be used.
    Unreadable,
    /// At its end, or within the margin before it.
    Ended,
    /// Issued before the daily cut-off.
    CutOff,
    /// Stored, and its end cannot be read.
    Opaque,
    /// The broker refused it.
    Refused,
    /// Somebody else has logged in.
    Replaced,
    /// A person ended it.
    Revoked,
}

impl Why {
    /// The state in the status while nothing is done about it.
    pub(crate) const fn state(self) -> &'static str {
        match self {
            Self::Ended | Self::CutOff | Self::Opaque => "expired",
            Self::Missing | Self::Unreadable | Self::Refused | Self::Replaced | Self::Revoked => "missing",
        }
    }
}

impl From<Cause> for Why {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Ended => Self::Ended,
            Cause::CutOff => Self::CutOff,
            Cause::Opaque => Self::Opaque,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no token is stored",
            Self::Unreadable => "the stored token cannot be used",
            Self::Ended => "the token is at its end",
            Self::CutOff => "the token was issued before the daily cut-off",
            Self::Opaque => "the stored token's end cannot be read",
            Self::Refused => "the broker refused the token",
            Self::Replaced => "somebody else has logged in with the same app key",
            Self::Revoked => "an operator revoked the token",
        })
    }
}

/// Why no login is tried until a person acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// No keys.
    Disabled(String),
    /// The broker refused the login for good.
    Operator(String),
    /// Somebody else has logged in with our app key, and the policy is to let them; the day's
    /// planned login ends the wait.
    Replaced(String),
    /// A person ended the session.
    Revoked,
}

impl Block {
    /// The state in the status.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Disabled(_) => "disabled",
            Self::Operator(_) => "needs_operator",
            Self::Replaced(_) => "replaced",
            Self::Revoked => "revoked",
        }
    }
}
