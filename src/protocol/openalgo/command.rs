//! What a consumer says, read into a command. Lenient in spelling, strict in shape.
//! Not what is done about it: the gateway decides.
//!
//! The accepted spellings are those of OpenAlgo's own server and of the clients in use: the
//! Python packages 1.x and 2.x, the chart client, Excel and AmiBroker.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::protocol::Mode;
use crate::protocol::openalgo::options::{self, Delivery, Since, Wishes};

/// One thing a consumer may ask for.
pub enum Command<'a> {
    /// Here is my key.
    Authenticate {
        /// The key; `None` if the frame had none.
        api_key: Option<Cow<'a, str>>,
        /// What it wants beyond OpenAlgo; `None` if it knows of nothing beyond.
        wishes: Option<Wishes>,
    },
    /// Send me these.
    Subscribe {
        /// What, in the order asked.
        symbols: Vec<Name<'a>>,
        /// In which mode, for the whole frame.
        mode: Mode,
        /// How; `None` leaves it as it is, at first as OpenAlgo does.
        delivery: Option<Delivery>,
        /// It asks for what came since a number.
        since: Option<Since>,
        /// Echoed in the acknowledgement.
        request_id: Option<&'a RawValue>,
    },
    /// Send me these no more.
    Unsubscribe {
        /// What, each with its own mode.
        symbols: Vec<(Name<'a>, Mode)>,
        /// Echoed in the acknowledgement.
        request_id: Option<&'a RawValue>,
    },
    /// Send me nothing more.
    UnsubscribeAll {
        /// Echoed in the acknowledgement.
        request_id: Option<&'a RawValue>,
    },
    /// Tell me about orders.
    SubscribeOrders {
        /// Echoed in the acknowledgement.
        request_id: Option<&'a RawValue>,
    },
    /// No more about orders.
    UnsubscribeOrders {
        /// Echoed in the acknowledgement.
        request_id: Option<&'a RawValue>,
    },
    /// Are you there?
    Ping {
        /// Echoed as `client_timestamp`.
        timestamp: Option<&'a RawValue>,
        /// Echoed as `_pingId`.
        ping_id: Option<&'a RawValue>,
    },
    /// An answer to a ping that we never send; the chart client does.
    Pong,
    /// Which broker is behind you?
    BrokerInfo,
    /// Which brokers can be?
    SupportedBrokers,
}

impl fmt::Debug for Command<'_> {
    /// The verb and how much was asked; never a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authenticate { api_key, .. } => {
                write!(f, "authenticate (key given: {})", api_key.is_some())
            }
            Self::Subscribe { symbols, mode, .. } => {
                write!(f, "subscribe {} ({})", symbols.len(), mode.label())
            }
            Self::Unsubscribe { symbols, .. } => write!(f, "unsubscribe {}", symbols.len()),
            Self::UnsubscribeAll { .. } => f.write_str("unsubscribe_all"),
            Self::SubscribeOrders { .. } => f.write_str("subscribe_orders"),
            Self::UnsubscribeOrders { .. } => f.write_str("unsubscribe_orders"),
            Self::Ping { .. } => f.write_str("ping"),
            Self::Pong => f.write_str("pong"),
            Self::BrokerInfo => f.write_str("get_broker_info"),
            Self::SupportedBrokers => f.write_str("get_supported_brokers"),
        }
    }
}

/// An instrument by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// OpenAlgo symbol, case-sensitive.
    pub symbol: Cow<'a, str>,
    /// OpenAlgo exchange code.
    pub exchange: Cow<'a, str>,
}

/// Why a frame is no command: OpenAlgo's code and a text for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// `INVALID_JSON`, `INVALID_ACTION`, `INVALID_MODE` or `INVALID_PARAMETERS`.
    pub code: &'static str,
    /// What was wrong.
    pub message: String,
}

impl CommandError {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn parameters(message: impl Into<String>) -> Self {
        Self::new("INVALID_PARAMETERS", message)
    }
}

/// The members of a frame that anything is read from. Raw, so that a wrong type in one does
/// not hide the others.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    action: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    api_key: Option<&'a RawValue>,
    #[serde(borrow)]
    apikey: Option<&'a RawValue>,
    #[serde(borrow)]
    symbols: Option<&'a RawValue>,
    #[serde(borrow)]
    instruments: Option<&'a RawValue>,
    #[serde(borrow)]
    symbol: Option<&'a RawValue>,
    #[serde(borrow)]
    exchange: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    mode: Option<&'a RawValue>,
    #[serde(borrow)]
    depth: Option<&'a RawValue>,
    #[serde(borrow)]
    depth_level: Option<&'a RawValue>,
    #[serde(borrow)]
    request_id: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, rename = "_pingId")]
    ping_id: Option<&'a RawValue>,
    #[serde(borrow)]
    tickgate: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    symbol: Option<&'a RawValue>,
    #[serde(borrow)]
    exchange: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    mode: Option<&'a RawValue>,
}

/// A member that is there, be it `null`: serde would take that for an absent one.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Reads one frame.
///
/// # Errors
/// [`CommandError`] with the code that OpenAlgo answers.
pub fn parse(frame: &[u8]) -> Result<Command<'_>, CommandError> {
    let text = std::str::from_utf8(frame).map_err(|_| invalid_json())?;
    let frame: Frame<'_> = match serde_json::from_str(text) {
        Ok(frame) => frame,
        // Valid JSON of another shape is told apart from no JSON at all.
        Err(_) if serde_json::from_str::<&RawValue>(text).is_ok() => {
            return Err(CommandError::parameters("a frame must be one JSON object with each member once"));
        }
        Err(_) => return Err(invalid_json()),
    };
    let verb = [frame.action, frame.kind].into_iter().flatten().filter_map(text_of).find(|v| !v.is_empty());
    let request_id = frame.request_id;
    match verb.as_deref() {
        Some("authenticate" | "auth") => {
            let key = [frame.api_key, frame.apikey].into_iter().flatten().find_map(text_of);
            let wishes = frame.tickgate.map(options::wishes).transpose()?;
            Ok(Command::Authenticate { api_key: key.filter(|k| !k.is_empty()), wishes })
        }
        Some("subscribe") => subscribe(&frame),
        Some("unsubscribe") => unsubscribe(&frame),
        Some("unsubscribe_all") => Ok(Command::UnsubscribeAll { request_id }),
        Some("subscribe_orders") => Ok(Command::SubscribeOrders { request_id }),
        Some("unsubscribe_orders") => Ok(Command::UnsubscribeOrders { request_id }),
        Some("ping") => Ok(Command::Ping { timestamp: frame.timestamp, ping_id: frame.ping_id }),
        Some("pong") => Ok(Command::Pong),
        Some("get_broker_info") => Ok(Command::BrokerInfo),
        Some("get_supported_brokers") => Ok(Command::SupportedBrokers),
        Some(other) => {
            Err(CommandError::new("INVALID_ACTION", format!("Invalid action: {}", shortened(other))))
        }
        None => Err(CommandError::new("INVALID_ACTION", "Invalid action: None")),
    }
}

fn invalid_json() -> CommandError {
    CommandError::new("INVALID_JSON", "Invalid JSON message")
}

fn subscribe<'a>(frame: &Frame<'a>) -> Result<Command<'a>, CommandError> {
    let mode = frame.mode.map_or(Ok(Mode::Quote), parse_mode)?;
    if mode == Mode::Depth
        && let Some(level) = frame.depth.or(frame.depth_level)
    {
        check_depth(level)?;
    }
    let symbols: Vec<_> = entries(frame)?.into_iter().filter_map(|e| name_of(e.symbol, e.exchange)).collect();
    let symbols = if symbols.is_empty() {
        name_of(frame.symbol, frame.exchange).into_iter().collect()
    } else {
        symbols
    };
    if symbols.is_empty() {
        return Err(CommandError::parameters("At least one symbol must be specified"));
    }
    let (delivery, since) = frame.tickgate.map(options::delivery).transpose()?.unzip();
    let since = since.flatten();
    Ok(Command::Subscribe { symbols, mode, delivery, since, request_id: frame.request_id })
}

fn unsubscribe<'a>(frame: &Frame<'a>) -> Result<Command<'a>, CommandError> {
    let mut symbols = Vec::new();
    for entry in entries(frame)? {
        // In a list the mode is each entry's own; one beside the list is ignored.
        if let Some(name) = name_of(entry.symbol, entry.exchange) {
            symbols.push((name, entry.mode.map_or(Ok(Mode::Quote), parse_mode)?));
        }
    }
    if symbols.is_empty()
        && let Some(name) = name_of(frame.symbol, frame.exchange)
    {
        symbols.push((name, frame.mode.map_or(Ok(Mode::Quote), parse_mode)?));
    }
    if symbols.is_empty() {
        return Err(CommandError::parameters("Either symbols or unsubscribe_all is required"));
    }
    Ok(Command::Unsubscribe { symbols, request_id: frame.request_id })
}

/// The list under either of its names; an absent or `null` one is empty.
fn entries<'a>(frame: &Frame<'a>) -> Result<Vec<Entry<'a>>, CommandError> {
    let mut found = Vec::new();
    for list in [frame.symbols, frame.instruments].into_iter().flatten() {
        if list.get() == "null" || !found.is_empty() {
            continue;
        }
        found = serde_json::from_str(list.get()).map_err(|_| {
            CommandError::parameters("symbols must be a list of objects with symbol and exchange")
        })?;
    }
    Ok(found)
}

/// A name is complete or it is passed over, as OpenAlgo does.
fn name_of<'a>(symbol: Option<&'a RawValue>, exchange: Option<&'a RawValue>) -> Option<Name<'a>> {
    let (symbol, exchange) = (text_of(symbol?)?, text_of(exchange?)?);
    (!symbol.is_empty() && !exchange.is_empty()).then_some(Name { symbol, exchange })
}

/// A JSON string, borrowed where it holds no escapes. `None` for any other type.
pub(super) fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw.get()).ok().map(Cow::Owned)
}

/// The integers 1 to 4, or a label in any case with blanks around it; nothing else.
fn parse_mode(raw: &RawValue) -> Result<Mode, CommandError> {
    let by_number = |text: &str| Mode::ALL.into_iter().find(|m| [m.number() + b'0'] == *text.as_bytes());
    let found = match text_of(raw) {
        Some(label) => Mode::ALL.into_iter().find(|m| m.label().eq_ignore_ascii_case(label.trim())),
        None => by_number(raw.get()),
    };
    found.ok_or_else(|| {
        let message = format!(
            "Invalid mode {}; use 1, 2, 3, 4 or \"LTP\", \"Quote\", \"Depth\", \"Bar\"",
            shortened(raw.get())
        );
        CommandError::new("INVALID_MODE", message)
    })
}

/// Any positive level will do, as a number or as its text: the acknowledgement says what is
/// granted. The chart client and OpenAlgo's documents call it `depth_level`.
fn check_depth(raw: &RawValue) -> Result<(), CommandError> {
    let text = text_of(raw).unwrap_or(Cow::Borrowed(raw.get()));
    match text.trim().parse::<f64>() {
        Ok(level) if level >= 1.0 => Ok(()),
        _ => Err(CommandError::parameters(format!("Invalid depth level {}", shortened(raw.get())))),
    }
}

/// Enough of a consumer's text to recognise it by, so that an answer is never much longer
/// than the question, and without what the AmiBroker plugin takes for success.
pub(super) fn shortened(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
    if text.contains("success") || text.contains("authenticated") { "…".to_owned() } else { text }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
