//! What a text frame of either socket says to the connection, and what the session's own
//! events mean. Not market data and not the account's events. Pure.

use crate::broker::FeedEnd;

use super::engineio::{self, Open};
use super::rest::{event_words, is_token_refusal};

/// What the owner of the socket must do after a text frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    None,
    /// Heartbeats follow these figures from now on.
    Opened(Open),
    /// The default namespace is connected.
    Connected,
    /// The server pings (Engine.IO 4): answer with this payload, and ping no more.
    Pinged(String),
}

/// A text frame: one Engine.IO packet.
#[derive(Debug)]
pub(super) enum Said<'a> {
    /// Something for the connection alone.
    Step(Step),
    /// A Socket.IO packet.
    Packet(&'a str),
    /// No Engine.IO packet.
    Nonsense,
}

/// Reads a text frame; its end if it says so.
#[inline]
pub(super) fn read(frame: &str) -> Result<Said<'_>, FeedEnd> {
    Ok(match engineio::parse_text(frame) {
        Some(engineio::Packet::Message(message)) => Said::Packet(message),
        Some(engineio::Packet::Open(figures)) => {
            let open = Open::parse(figures).or_else(|| Open::parse("{}"));
            Said::Step(open.map_or(Step::None, Step::Opened))
        }
        Some(engineio::Packet::Close) => {
            return Err(FeedEnd::Closed("the server closed the session".to_owned()));
        }
        Some(engineio::Packet::Ping(payload)) => Said::Step(Step::Pinged(payload.to_owned())),
        Some(engineio::Packet::Pong(_) | engineio::Packet::Upgrade | engineio::Packet::Noop) => {
            Said::Step(Step::None)
        }
        None => Said::Nonsense,
    })
}

/// Takes an event that may be about the session: ends the feed for a `logout`, and for words
/// that refuse the token.
pub(super) fn session_event(name: &str, datum: &str) -> Result<(), FeedEnd> {
    match name {
        "logout" => {
            let (_, words) = event_words(datum);
            return Err(FeedEnd::Logout(words));
        }
        "error" | "socketError" | "warning" => {
            let (code, words) = event_words(datum);
            if is_token_refusal(&code, &words) {
                return Err(FeedEnd::TokenRefused(format!("{code} {words}").trim().to_owned()));
            }
            tracing::warn!(event = name, code, words, "message from the broker");
        }
        _ => tracing::debug!(event = name, "event from the broker"),
    }
    Ok(())
}

/// Why the server sent an error packet.
pub(super) fn refusal(payload: &str) -> FeedEnd {
    let (code, words) = event_words(payload);
    let text = format!("{code} {words}").trim().to_owned();
    if is_token_refusal(&code, &words) { FeedEnd::TokenRefused(text) } else { FeedEnd::Closed(text) }
}
