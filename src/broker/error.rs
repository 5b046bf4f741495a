//! What can go wrong at a broker, and the class a caller decides by.
//! No error text here ever holds a credential or a URL with a query.

use std::time::Duration;

/// What a caller should do about an error. Branch on this, never on text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Try again later, with back-off.
    Transient,
    /// The token is dead: get one newer than the one that was refused.
    NeedsToken,
    /// Only a person can help (credentials, disabled key). Do not try again by yourself.
    NeedsOperator,
    /// This request is wrong; another one may be right.
    Refused,
}

/// An error of a broker's REST call, login or feed handshake.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The broker could not be reached, or did not answer in time.
    #[error("network: {0}")]
    Network(String),
    /// Nothing was sent: the broker could not be connected to.
    #[error("not sent: {0}")]
    NotSent(String),
    /// Nothing was sent: the request's turn did not come in time, or too many wait for theirs.
    #[error("nothing was sent: {0}")]
    NoTurn(String),
    /// An answer that is not the broker's own (a proxy's page, an HTML body).
    #[error("HTTP {status}: {what}")]
    Http {
        /// HTTP status.
        status: u16,
        /// A short description, never the whole body.
        what: String,
    },
    /// The broker asks for fewer requests.
    #[error("rate limited: {description}")]
    RateLimited {
        /// What the broker asked to wait.
        retry_after: Option<Duration>,
        /// The broker's words.
        description: String,
    },
    /// The token was refused.
    #[error("token refused: {code} {description}")]
    InvalidToken {
        /// The broker's code.
        code: String,
        /// The broker's words.
        description: String,
    },
    /// The login was refused for good.
    #[error("login refused: {description}")]
    Credentials {
        /// The broker's words.
        description: String,
    },
    /// The broker answered a login with a refusal that does not blame the credentials; another
    /// attempt may succeed.
    #[error("login refused: {code} {description}")]
    LoginRefused {
        /// HTTP status.
        status: u16,
        /// The broker's code.
        code: String,
        /// The broker's words.
        description: String,
    },
    /// A login needs something that only a person can bring. Nothing was sent to the broker.
    #[error("{0}")]
    Operator(String),
    /// Secrets for this product are not configured.
    #[error("not configured: {0}")]
    NotConfigured(String),
    /// More subscriptions than the broker grants.
    #[error("subscription limit reached: {description}")]
    SubscriptionLimit {
        /// The limit, if the broker named it.
        limit: Option<usize>,
        /// The broker's words.
        description: String,
    },
    /// Any other refusal of one request.
    #[error("refused: {code} {description}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The broker's code.
        code: String,
        /// The broker's words.
        description: String,
    },
    /// What was asked for cannot be asked of this broker, or not so. Nothing was sent.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// An answer that could not be read.
    #[error("unreadable answer: {0}")]
    Malformed(String),
}

impl Error {
    /// The class of this error.
    pub fn class(&self) -> Class {
        match self {
            Self::Network(_)
            | Self::NotSent(_)
            | Self::NoTurn(_)
            | Self::RateLimited { .. }
            | Self::Malformed(_) => Class::Transient,
            // A wrong prefix (404) will not mend itself, but a broker's proxy answers 404 while
            // it restarts; with back-off both are served.
            Self::Http { .. } | Self::LoginRefused { .. } => Class::Transient,
            Self::InvalidToken { .. } => Class::NeedsToken,
            Self::Credentials { .. } | Self::Operator(_) | Self::NotConfigured(_) => Class::NeedsOperator,
            Self::SubscriptionLimit { .. } | Self::Refused { .. } | Self::Invalid(_) => Class::Refused,
        }
    }

    /// How long the broker asked to wait, if it did.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the broker itself answered, and refused. A login that failed so was an attempt
    /// in the broker's eyes, and counts towards what may be tried in a day; one that failed
    /// otherwise (network, a proxy's page, a server's error, a rate limit) never reached what
    /// counts attempts, or was not judged.
    pub const fn answered(&self) -> bool {
        match self {
            Self::InvalidToken { .. }
            | Self::Credentials { .. }
            | Self::LoginRefused { .. }
            | Self::SubscriptionLimit { .. }
            | Self::Refused { .. } => true,
            Self::Network(_)
            | Self::NotSent(_)
            | Self::NoTurn(_)
            | Self::Http { .. }
            | Self::RateLimited { .. }
            | Self::Operator(_)
            | Self::NotConfigured(_)
            | Self::Invalid(_)
            | Self::Malformed(_) => false,
        }
    }

    /// Whether the broker may have done what was asked although it did not say so: it was sent, and there is
    /// no answer of the broker's own. What changes anything must not be repeated then.
    pub const fn is_unclear(&self) -> bool {
        match self {
            Self::Network(_) | Self::Malformed(_) => true,
            Self::Http { status, .. } => *status >= 500 || *status < 400,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_answers() {
        let text = String::new;
        for (error, class, answered) in [
            (Error::Network(text()), Class::Transient, false),
            (Error::NotSent(text()), Class::Transient, false),
            (Error::NoTurn(text()), Class::Transient, false),
            (Error::Http { status: 502, what: text() }, Class::Transient, false),
            (Error::RateLimited { retry_after: None, description: text() }, Class::Transient, false),
            (Error::InvalidToken { code: text(), description: text() }, Class::NeedsToken, true),
            (Error::Credentials { description: text() }, Class::NeedsOperator, true),
            (Error::LoginRefused { status: 400, code: text(), description: text() }, Class::Transient, true),
            (Error::Operator(text()), Class::NeedsOperator, false),
            (Error::NotConfigured(text()), Class::NeedsOperator, false),
            (Error::SubscriptionLimit { limit: None, description: text() }, Class::Refused, true),
            (Error::Refused { status: 400, code: text(), description: text() }, Class::Refused, true),
            (Error::Invalid(text()), Class::Refused, false),
            (Error::Malformed(text()), Class::Transient, false),
        ] {
            assert_eq!((error.class(), error.answered()), (class, answered), "{error:?}");
        }
    }

    #[test]
    fn outcomes() {
        let text = String::new;
        for (error, unclear) in [
            (Error::Network(text()), true),
            (Error::Malformed(text()), true),
            (Error::Http { status: 504, what: text() }, true),
            (Error::Http { status: 404, what: text() }, false),
            (Error::NotSent(text()), false),
            (Error::NoTurn(text()), false),
            (Error::Invalid(text()), false),
            (Error::InvalidToken { code: text(), description: text() }, false),
            (Error::RateLimited { retry_after: None, description: text() }, false),
            (Error::Refused { status: 400, code: text(), description: text() }, false),
        ] {
            assert_eq!(error.is_unclear(), unclear, "{error:?}");
        }
    }
}
