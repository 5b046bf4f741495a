//! A reader of tickgate's feed for Rust programs: connects, shows its key, subscribes, and yields
//! records with their instruments' names. Speaks `tickgate.v1`, and plain OpenAlgo with servers that
//! do not. Does not reconnect by itself and holds no thread: a program that wants another protocol
//! than [`Client`]'s may parse messages with [`Records`] alone.
//!
//! ```no_run
//! # async fn example() -> Result<(), tickgate::client::Error> {
//! use tickgate::client::{Client, Event, What};
//! use tickgate::protocol::Mode;
//!
//! let mut client = Client::connect("ws://127.0.0.1:8765", "the key").await?;
//! client.subscribe(&[("NSE", "RELIANCE")], Mode::Ltp).await?;
//! while let Some(event) = client.next().await? {
//!     if let Event::Record(update) = event
//!         && let (Some(listing), What::Ltp(ltp)) = (&update.listing, &update.what)
//!     {
//!         println!("{} {} number {}", listing.symbol, ltp.last.price, update.header.seq);
//!     }
//! }
//! # Ok(()) }
//! ```

mod connection;
mod json;
mod trust;
mod update;

#[cfg(test)]
mod tests;

use tokio_tungstenite::tungstenite;

pub use connection::{Client, Outcome};
pub use trust::{Trust, TrustError};
pub use update::{Event, Listing, Update, What};

pub use crate::protocol::binary::{Body, Header, Malformed, Record, Records};

/// Why there is no more to read. No error holds the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server answered, and not with a WebSocket.
    #[error("{status}: {text}")]
    Http {
        /// The answer's status.
        status: u16,
        /// The answer's text.
        text: String,
    },
    /// The server refused the key or the command.
    #[error("{0}")]
    Refused(String),
    /// The server closed the connection.
    #[error("closed by the server: {reason}")]
    Closed {
        /// The close code, if there was one; see [`crate::protocol::close::CloseReason`].
        code: Option<u16>,
        /// The server's words.
        reason: String,
    },
    /// The connection could not be opened, or broke.
    #[error("the connection failed: {0}")]
    Socket(Box<tungstenite::Error>),
    /// Nobody can be trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A text frame that is none of the protocol's.
    #[error("the server sent no JSON")]
    NotJson(#[source] serde_json::Error),
    /// A binary message that is none of the protocol's.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A record of an instrument that was not introduced.
    #[error("the server sent a record of number {0} before saying what that is")]
    Unlisted(u32),
    /// The server sent nothing that was waited for.
    #[error("the server did not answer within 30 seconds")]
    NoAnswer,
    /// The server sends without end, and no answer among it.
    #[error("the server sent 64 MiB without the answer that was waited for")]
    TooMuchBefore,
    /// The server introduces instruments without end.
    #[error("the server introduced more instruments than there can be")]
    TooManyNames,
    /// The server speaks another version than it said.
    #[error("the server speaks version {0} of the binary encoding")]
    Version(u16),
}

impl From<tungstenite::Error> for Error {
    fn from(error: tungstenite::Error) -> Self {
        Self::Socket(Box::new(error))
    }
}
