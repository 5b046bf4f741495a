//! The interactive socket: what the broker tells of the account by itself, above all that its
//! session has ended. Not the connection itself (`link`), and not how rows are read
//! (`wire::books`).
//!
//! Source of the address: captures of third-party clients against live servers; without
//! `apiType` the server cuts the connection after some ten seconds.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::broker::{AccountEvent, AccountFeed, Error, FeedEnd};
use crate::telemetry::metrics as names;
use crate::token::{Product, Token};

use super::XtsBroker;
use super::link::{self, Link};
use super::said::{self, Said, Step};
use super::socketio;
use super::wire::books::{self, Fault};
use super::wire::text::{each_element, unescape};

/// Longest name of an event that is passed on.
const MAX_NAME: usize = 48;

/// One open connection.
#[derive(Debug)]
pub(super) struct XtsAccountFeed {
    link: Link,
    reader: Reader,
    /// Events that are read and not handed out yet: one that showed the connection to be ready,
    /// and those of a frame that held several.
    early: VecDeque<AccountEvent>,
    /// Why it ended, once it has.
    end: Option<FeedEnd>,
}

impl XtsBroker {
    /// Opens the socket and waits until the server has connected us.
    pub(super) async fn connect_account(&self, token: &Token) -> Result<XtsAccountFeed, Error> {
        if token.product != Product::Interactive {
            return Err(Error::NotConfigured("the account's feed takes an interactive token".to_owned()));
        }
        let base = self.interactive_base().await?;
        let opened = timeout(self.settings.connect_timeout(), self.connect_account_at(&base, token)).await;
        let late = Error::Network("the account's feed did not open in time".to_owned());
        let opened = opened.unwrap_or(Err(late));
        self.doubt_base(opened.as_ref().err()).await;
        opened
    }

    async fn connect_account_at(&self, base: &str, token: &Token) -> Result<XtsAccountFeed, Error> {
        let base = format!("{base}/socket.io/");
        let url = link::address(&base, token, &[("apiType", "INTERACTIVE")], &self.settings);
        let mut feed = XtsAccountFeed {
            link: Link::open(url, &self.settings, &self.tls, "interactive_prefix").await?,
            reader: Reader::new(Arc::clone(&self.account), self.settings.undecodable_limit),
            early: VecDeque::new(),
            end: None,
        };
        poll_fn(|cx| feed.poll_connected(cx, self.settings.engine_io)).await.map_err(link::end_as_error)?;
        Ok(feed)
    }
}

impl XtsAccountFeed {
    /// Reads until the namespace is connected, or an event shows that it is.
    fn poll_connected(&mut self, cx: &mut Context<'_>, engine_io: u8) -> Poll<Result<(), FeedEnd>> {
        loop {
            match ready!(self.poll_step(cx))? {
                Heard::Step(Step::Connected) => return Poll::Ready(Ok(())),
                // In revision 4 the client asks for the namespace.
                Heard::Step(Step::Opened(_)) if engine_io == 4 => self.link.send("40".into()),
                Heard::Step(_) => {}
                Heard::Events(events) => {
                    self.early.extend(events);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<AccountEvent, FeedEnd>> {
        loop {
            if let Some(event) = self.early.pop_front() {
                return Poll::Ready(Ok(event));
            }
            if let Some(end) = &self.end {
                return Poll::Ready(Err(end.clone()));
            }
            match ready!(self.poll_step(cx)) {
                Ok(Heard::Events(events)) => self.early.extend(events),
                Ok(Heard::Step(_)) => {}
                Err(end) => {
                    self.end = Some(end.clone());
                    return Poll::Ready(Err(end));
                }
            }
        }
    }

    /// Reads one frame and does what it asks for.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Heard, FeedEnd>> {
        let heard = match ready!(self.link.poll_message(cx))? {
            Message::Text(text) => self.reader.on_text(&text)?,
            Message::Close(frame) => return Poll::Ready(Err(link::closed(frame))),
            // No event of this socket is known to be binary.
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                Heard::Step(Step::None)
            }
        };
        if let Heard::Step(step) = &heard {
            self.link.heed(step, cx)?;
        }
        Poll::Ready(Ok(heard))
    }
}

impl AccountFeed for XtsAccountFeed {
    fn next(&mut self) -> BoxFuture<'_, Result<AccountEvent, FeedEnd>> {
        // All state is in `self`: what a dropped future has not returned, the next one does.
        poll_fn(|cx| self.poll_event(cx)).boxed()
    }
}

/// Reads one row of an event, and tells which of its figures cannot be read.
type EventReader = fn(&str) -> Result<(AccountEvent, Vec<Fault>), Fault>;

/// What one frame was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Something for the connection.
    Step(Step),
    Events(Vec<AccountEvent>),
}

/// Reads text frames. Pure, so that arbitrary ones can be tried on it.
#[derive(Debug)]
pub(super) struct Reader {
    account: Arc<str>,
    undecodable_run: u32,
    undecodable_limit: u32,
}

impl Reader {
    pub(super) fn new(account: Arc<str>, undecodable_limit: u32) -> Self {
        Self { account, undecodable_run: 0, undecodable_limit }
    }

    pub(super) fn on_text(&mut self, frame: &str) -> Result<Heard, FeedEnd> {
        let heard = match said::read(frame)? {
            Said::Step(step) => Some(Heard::Step(step)),
            Said::Packet(packet) => self.on_packet(packet)?,
            Said::Nonsense => None,
        };
        if let Some(heard) = heard {
            self.undecodable_run = 0;
            return Ok(heard);
        }
        tracing::debug!(bytes = frame.len(), "frame of the account's feed dropped");
        self.undecodable_run += 1;
        if self.undecodable_run >= self.undecodable_limit {
            return Err(FeedEnd::Undecodable);
        }
        Ok(Heard::Step(Step::None))
    }
}

impl Reader {
    /// `None` for what is no packet or no event.
    fn on_packet(&self, packet: &str) -> Result<Option<Heard>, FeedEnd> {
        Ok(match socketio::parse(packet) {
            Some(socketio::Packet::Connect(_)) => Some(Heard::Step(Step::Connected)),
            Some(socketio::Packet::Disconnect) => {
                return Err(FeedEnd::Closed("the server disconnected us".to_owned()));
            }
            Some(socketio::Packet::Error(payload)) => return Err(said::refusal(payload)),
            Some(socketio::Packet::Ack | socketio::Packet::BinaryAck { .. }) => Some(Heard::Step(Step::None)),
            Some(socketio::Packet::Event(json) | socketio::Packet::BinaryEvent { json, .. }) => {
                match socketio::split_event(json) {
                    Some((name, datum)) => {
                        said::session_event(name, datum)?;
                        Some(Heard::Events(self.events(name, datum)))
                    }
                    None => None,
                }
            }
            None => None,
        })
    }

    /// What an event tells; never nothing, so that nobody misses that there was one.
    fn events(&self, name: &str, datum: &str) -> Vec<AccountEvent> {
        let read: EventReader = match name {
            "joined" => return vec![AccountEvent::Joined],
            "order" => |raw| books::one_order(raw).map(|(o, gaps)| (AccountEvent::Order(Box::new(o)), gaps)),
            "trade" => |raw| books::one_trade(raw).map(|(t, gaps)| (AccountEvent::Trade(Box::new(t)), gaps)),
            "position" => {
                |raw| books::one_position(raw).map(|(p, gaps)| (AccountEvent::Position(Box::new(p)), gaps))
            }
            _ => return vec![AccountEvent::Other(plain(name))],
        };
        let mut text = String::new();
        // Most servers send a text that holds the object.
        let payload = if unescape(datum, &mut text).is_some() { text.as_str() } else { datum };
        let mut events = Vec::new();
        let mut note = |raw: &str| match read(raw) {
            Ok((event, gaps)) => {
                self.tell(name, "figure", &gaps);
                events.push(event);
            }
            Err(lost) => {
                self.tell(name, "row", &[lost]);
                events.push(AccountEvent::Other(plain(name)));
            }
        };
        if each_element(payload, &mut note).is_none() {
            note(payload);
        }
        if events.is_empty() {
            events.push(AccountEvent::Other(plain(name)));
        }
        events
    }

    /// Counts what an event held that cannot be read, and names its members, never its contents.
    fn tell(&self, event: &str, what: &'static str, faults: &[Fault]) {
        for fault in faults {
            metrics::counter!(
                names::BOOK_UNREADABLE,
                "account" => self.account.to_string(), "book" => format!("{event} event"), "what" => what
            )
            .increment(1);
            tracing::warn!(account = &*self.account, event, what, why = %fault, "event of the account not read");
        }
    }
}

/// Whatever a server calls its events must not grow our logs and metrics.
fn plain(name: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.chars().filter(fits).take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reader() -> Reader {
        Reader::new("default".into(), 3)
    }

    #[test]
    fn events_and_ends() {
        let other = |name: &str| Ok(Heard::Events(vec![AccountEvent::Other(name.to_owned())]));
        for (frame, heard) in [
            (
                r#"42["joined",{"type":"success","code":"s-socket-0001"}]"#,
                Ok(Heard::Events(vec![AccountEvent::Joined])),
            ),
            (r#"42["joined","Socket joined successfully!"]"#, Ok(Heard::Events(vec![AccountEvent::Joined]))),
            (r#"42["order","{\"AppOrderID\":1100012345}"]"#, other("order")),
            (r#"42["trade",{}]"#, other("trade")),
            (r#"42["marketStatusUpdate"]"#, other("marketStatusUpdate")),
            (r#"42["error",{"code":"e-x","description":"something else"}]"#, other("error")),
            (r#"42["a b<c>é",1]"#, other("abc")),
            ("40", Ok(Heard::Step(Step::Connected))),
            ("3", Ok(Heard::Step(Step::None))),
            ("2x", Ok(Heard::Step(Step::Pinged("x".to_owned())))),
            (
                r#"42["logout",{"description":"another login"}]"#,
                Err(FeedEnd::Logout("another login".to_owned())),
            ),
            (r#"42["logout"]"#, Err(FeedEnd::Logout(String::new()))),
            (
                r#"42["error",{"code":"e-session-0007","description":"Invalid Token"}]"#,
                Err(FeedEnd::TokenRefused("e-session-0007 Invalid Token".to_owned())),
            ),
            (r#"44"Invalid Token""#, Err(FeedEnd::TokenRefused("Invalid Token".to_owned()))),
            ("41", Err(FeedEnd::Closed("the server disconnected us".to_owned()))),
            ("1", Err(FeedEnd::Closed("the server closed the session".to_owned()))),
        ] {
            assert_eq!(reader().on_text(frame), heard, "{frame}");
        }
        let long = format!(r#"42["{}",0]"#, "x".repeat(5_000));
        assert_eq!(reader().on_text(&long), other(&"x".repeat(MAX_NAME)));
    }

    const ORDERS: &str = include_str!("../../../tests/fixtures/xts/order-book-official.json");
    const TRADES: &str = include_str!("../../../tests/fixtures/xts/trade-book-official.json");
    const POSITION: &str = include_str!("../../../tests/fixtures/xts/position-event.json");

    fn heard(name: &str, datum: &serde_json::Value) -> Vec<AccountEvent> {
        match reader().on_text(&format!("42{}", serde_json::json!([name, datum]))).unwrap() {
            Heard::Events(events) => events,
            Heard::Step(step) => panic!("{step:?}"),
        }
    }

    #[test]
    fn orders_trades_and_positions_in_every_form() {
        use serde_json::{Value, json};
        let first = |book: &str| serde_json::from_str::<Value>(book).unwrap()["result"][0].clone();
        let position: Value = serde_json::from_str(POSITION).unwrap();
        for (name, row) in [("order", first(ORDERS)), ("trade", first(TRADES)), ("position", position)] {
            let object = heard(name, &row);
            assert!(!matches!(object[..], [AccountEvent::Other(_)]), "{object:?}");
            assert_eq!(heard(name, &json!(row.to_string())), object);
            assert_eq!(heard(name, &json!([row])), object);
            assert_eq!(heard(name, &json!(json!([row, 5]).to_string())).len(), 2);
        }
        let Some(AccountEvent::Trade(trade)) = heard("trade", &first(TRADES)).pop() else { panic!() };
        assert_eq!(
            (trade.id.as_str(), trade.quantity, trade.price.to_string().as_str()),
            ("400123456", 4, "1460.25")
        );
        let Some(AccountEvent::Position(held)) =
            heard("position", &serde_json::from_str(POSITION).unwrap()).pop()
        else {
            panic!()
        };
        assert_eq!((held.quantity, held.bought, held.sold), (-3, Some(10), Some(13)));
        assert_eq!(held.net_amount.unwrap().to_string(), "4386.50");
    }

    #[test]
    fn an_event_that_cannot_be_read_is_still_told() {
        for datum in
            [r"{}", r#""""#, "7", "null", "[]", r#""[1,""#, r#"{"AppOrderID":1,"OrderQuantity":"ten"}"#]
        {
            let datum = serde_json::from_str(datum).unwrap();
            assert_eq!(heard("order", &datum), [AccountEvent::Other("order".to_owned())], "{datum}");
        }
    }

    #[test]
    fn nonsense_in_a_row_is_an_end() {
        let mut reader = reader();
        for frame in ["nonsense", "42[", "42[\"order\",{}]", "nonsense", "4"] {
            assert!(reader.on_text(frame).is_ok(), "{frame}");
        }
        assert_eq!(reader.on_text("42[7]"), Err(FeedEnd::Undecodable));
    }

    proptest! {
        #[test]
        fn arbitrary_payloads_never_panic(name in "order|trade|position", datum in ".{0,80}") {
            prop_assert!(!heard(&name, &serde_json::json!(datum)).is_empty());
            let _ = reader().on_text(&format!("42[\"{name}\",{datum}]"));
        }

        #[test]
        fn arbitrary_frames_never_panic(frames in proptest::collection::vec("[0-6]{0,2}(1-)?.{0,60}", 0..20)) {
            let mut reader = reader();
            for frame in frames {
                if reader.on_text(&frame).is_err() {
                    break;
                }
            }
        }
    }
}
