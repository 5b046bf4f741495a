//! What the frames of the market-data socket mean: the state between them, without the socket.
//! Pure: no I/O and no timers, so that arbitrary frames can be tried on it.

use crate::broker::{FeedCounts, FeedEnd};
use crate::clock::UnixNanos;
use crate::market::{MarketPhase, Tick};

use super::engineio;
use super::said::{self, Said, Step};
use super::socketio;
use super::wire::binary::{self, Layout};
use super::wire::{BINARY_EVENT, Counts, code, json};

/// Undecodable frames of one connection that are shown in the debug log, and how much of each.
const SAMPLES: u32 = 16;
const SAMPLE_BYTES: usize = 64;

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Events {
    binary: binary::Decoder,
    json: json::Decoder,
    /// Binary frames that are still to come for the last binary event.
    attachments: usize,
    /// Whether they hold market data.
    is_market: bool,
    layout: Option<Layout>,
    counts: FeedCounts,
    undecodable_run: u32,
    undecodable_limit: u32,
    samples_left: u32,
}

impl Events {
    pub(super) fn new(undecodable_limit: u32) -> Self {
        Self {
            binary: binary::Decoder::new(),
            json: json::Decoder::new(),
            attachments: 0,
            is_market: false,
            layout: None,
            counts: FeedCounts::default(),
            undecodable_run: 0,
            undecodable_limit,
            samples_left: SAMPLES,
        }
    }

    /// What was counted since the last call.
    pub(super) fn take_counts(&mut self) -> FeedCounts {
        std::mem::take(&mut self.counts)
    }

    /// What was said of markets since the last call.
    pub(super) fn take_phases(&mut self) -> Vec<MarketPhase> {
        self.json.take_phases()
    }

    /// Counts one message of the socket, of whatever type.
    pub(super) const fn note_frame(&mut self, bytes: usize) {
        self.counts.frames += 1;
        self.counts.bytes += bytes as u64;
    }

    /// Takes a text frame: one Engine.IO packet.
    pub(super) fn on_text(
        &mut self,
        frame: &str,
        recv: &dyn Fn() -> UnixNanos,
        batch: &mut Vec<Tick>,
    ) -> Result<Step, FeedEnd> {
        match said::read(frame)? {
            Said::Packet(message) => self.on_packet(message, recv, batch),
            Said::Step(step) => Ok(step),
            Said::Nonsense => self.bad(frame.as_bytes(), "no Engine.IO packet").map(|()| Step::None),
        }
    }

    fn on_packet(
        &mut self,
        message: &str,
        recv: &dyn Fn() -> UnixNanos,
        batch: &mut Vec<Tick>,
    ) -> Result<Step, FeedEnd> {
        if self.attachments > 0 {
            self.attachments = 0;
            self.bad(message.as_bytes(), "a packet in the place of an attachment")?;
        }
        match socketio::parse(message) {
            Some(socketio::Packet::Connect(_)) => return Ok(Step::Connected),
            Some(socketio::Packet::Disconnect) => {
                return Err(FeedEnd::Closed("the server disconnected us".to_owned()));
            }
            Some(socketio::Packet::Error(payload)) => return Err(said::refusal(payload)),
            Some(socketio::Packet::Ack) => {}
            Some(socketio::Packet::BinaryAck { attachments }) => self.expect(attachments, false),
            Some(socketio::Packet::BinaryEvent { attachments, json }) => {
                let name = socketio::split_event(json).map_or("", |(name, _)| name);
                self.expect(attachments, name == BINARY_EVENT);
            }
            Some(socketio::Packet::Event(json)) => match socketio::split_event(json) {
                Some((name, datum)) => self.on_event(name, datum, recv, batch)?,
                None => self.bad(message.as_bytes(), "no event")?,
            },
            None => self.bad(message.as_bytes(), "no Socket.IO packet")?,
        }
        Ok(Step::None)
    }

    const fn expect(&mut self, attachments: usize, is_market: bool) {
        self.attachments = attachments;
        self.is_market = is_market;
    }

    fn on_event(
        &mut self,
        name: &str,
        datum: &str,
        recv: &dyn Fn() -> UnixNanos,
        batch: &mut Vec<Tick>,
    ) -> Result<(), FeedEnd> {
        if let Some(code) = json::market_event(name) {
            let counts = self.json.event(code, datum, recv(), batch);
            if code::is_unasked(code) {
                // Readable or not, it says nothing of what is subscribed: it neither ends the feed
                // nor proves it well.
                self.count(counts, datum.as_bytes());
                return Ok(());
            }
            return self.judge(counts, datum.as_bytes());
        }
        said::session_event(name, datum)
    }

    /// Takes a binary frame: an attachment of the event before it.
    pub(super) fn on_binary(
        &mut self,
        frame: &[u8],
        recv: &dyn Fn() -> UnixNanos,
        batch: &mut Vec<Tick>,
    ) -> Result<(), FeedEnd> {
        if self.attachments == 0 {
            return self.bad(frame, "an attachment of no event");
        }
        self.attachments -= 1;
        if !self.is_market {
            return Ok(());
        }
        let counts = self.binary.decode(engineio::parse_binary(frame), recv(), batch);
        if self.layout != self.binary.layout() {
            self.layout = self.binary.layout();
            tracing::info!(layout = ?self.layout, "binary layout of the broker");
        }
        self.judge(counts, frame)
    }

    /// Adds a frame's counts.
    fn count(&mut self, counts: Counts, frame: &[u8]) {
        self.counts.undecodable += u64::from(counts.undecodable);
        self.counts.ignored += u64::from(counts.ignored);
        self.counts.invalid_prices += u64::from(counts.invalid_prices);
        if counts.undecodable > 0 {
            self.show(frame, "undecodable message");
        }
    }

    /// Adds a frame's counts; ends the feed where nothing is readable any more.
    fn judge(&mut self, counts: Counts, frame: &[u8]) -> Result<(), FeedEnd> {
        self.count(counts, frame);
        if !counts.is_garbage() {
            self.undecodable_run = 0;
            return Ok(());
        }
        self.undecodable_run += 1;
        if self.undecodable_run >= self.undecodable_limit { Err(FeedEnd::Undecodable) } else { Ok(()) }
    }

    /// A frame that is not even a message.
    fn bad(&mut self, frame: &[u8], what: &str) -> Result<(), FeedEnd> {
        tracing::trace!(what, "frame from the broker dropped");
        self.judge(Counts { messages: 1, undecodable: 1, ..Counts::default() }, frame)
    }

    fn show(&mut self, frame: &[u8], what: &str) {
        if self.samples_left == 0 {
            return;
        }
        self.samples_left -= 1;
        let start = frame.get(..SAMPLE_BYTES).unwrap_or(frame);
        tracing::debug!(what, bytes = frame.len(), start = %start.escape_ascii(), "frame from the broker");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::broker::xts::engineio::Open;

    use super::*;

    const QUOTE: &str = include_str!("../../../tests/fixtures/xts/1501-b-plain.hex");

    fn attachment() -> Vec<u8> {
        let text: String = QUOTE.split_whitespace().collect();
        let bytes = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap());
        std::iter::once(4).chain(bytes).collect()
    }

    fn recv() -> UnixNanos {
        UnixNanos::from_secs(1_770_698_731)
    }

    const HEADER: &str = r#"451-["xts-binary-packet",{"_placeholder":true,"num":0}]"#;

    #[test]
    fn a_binary_event_takes_the_next_binary_frame() {
        let (mut events, mut batch) = (Events::new(3), Vec::new());
        for _ in 0..2 {
            assert_eq!(events.on_text(HEADER, &recv, &mut batch), Ok(Step::None));
            // Heartbeats belong to another layer and may come in between.
            assert_eq!(events.on_text("3", &recv, &mut batch), Ok(Step::None));
            assert_eq!(events.on_binary(&attachment(), &recv, &mut batch), Ok(()));
        }
        assert_eq!(batch.len(), 2);
        assert_eq!(events.take_counts(), FeedCounts::default());
    }

    #[test]
    fn a_half_built_event_is_dropped_and_counted() {
        let (mut events, mut batch) = (Events::new(3), Vec::new());
        events.on_text(HEADER, &recv, &mut batch).unwrap();
        events.on_text(r#"42["message",{}]"#, &recv, &mut batch).unwrap();
        assert_eq!(events.take_counts().undecodable, 1);
        events.on_binary(&attachment(), &recv, &mut batch).unwrap();
        assert_eq!((events.take_counts().undecodable, batch.len()), (1, 0));
        // Attachments of other events are passed over.
        events.on_text(r#"451-["other",{"_placeholder":true,"num":0}]"#, &recv, &mut batch).unwrap();
        events.on_binary(b"anything", &recv, &mut batch).unwrap();
        assert_eq!((events.take_counts().undecodable, batch.len()), (0, 0));
    }

    #[test]
    fn garbage_ends_the_feed_only_if_nothing_else_comes_between() {
        let (mut events, mut batch) = (Events::new(3), Vec::new());
        for _ in 0..2 {
            for _ in 0..2 {
                assert_eq!(events.on_text("nonsense", &recv, &mut batch), Ok(Step::None));
            }
            events.on_text(HEADER, &recv, &mut batch).unwrap();
            assert_eq!(events.on_binary(&attachment(), &recv, &mut batch), Ok(()));
        }
        events.on_text("nonsense", &recv, &mut batch).unwrap();
        events.on_text(r#"42["1501-json-full","x"]"#, &recv, &mut batch).unwrap();
        assert_eq!(events.on_binary(b"\x04\x09", &recv, &mut batch), Err(FeedEnd::Undecodable));
    }

    #[test]
    fn ends_and_steps() {
        let closed = |why: &str| Err(FeedEnd::Closed(why.to_owned()));
        let open = Open { sid: "x".to_owned(), ping_interval: 25_000, ping_timeout: 5_000 };
        for (frame, step) in [
            (r#"0{"sid":"x","pingInterval":25000,"pingTimeout":5000}"#, Ok(Step::Opened(open))),
            ("40", Ok(Step::Connected)),
            (r#"40{"sid":"y"}"#, Ok(Step::Connected)),
            ("2abc", Ok(Step::Pinged("abc".to_owned()))),
            ("3", Ok(Step::None)),
            ("1", closed("the server closed the session")),
            ("41", closed("the server disconnected us")),
            (r#"44"gone away""#, closed("gone away")),
            (
                r#"44{"type":"error","code":"e-session-0007","description":"Invalid Token"}"#,
                Err(FeedEnd::TokenRefused("e-session-0007 Invalid Token".to_owned())),
            ),
            (
                r#"42["error","{\"code\":\"e-session-0001\",\"description\":\"Invalid Token\"}"]"#,
                Err(FeedEnd::TokenRefused("e-session-0001 Invalid Token".to_owned())),
            ),
            (
                r#"42["logout",{"description":"logged out from another place"}]"#,
                Err(FeedEnd::Logout("logged out from another place".to_owned())),
            ),
            (r#"42["logout"]"#, Err(FeedEnd::Logout(String::new()))),
            (r#"42["joined","Socket joined successfully!"]"#, Ok(Step::None)),
            (r#"42["error",{"code":"e-x","description":"something else"}]"#, Ok(Step::None)),
            (r#"42["1105-json-partial","t:12_1140025,110:2067.75,111:516.95"]"#, Ok(Step::None)),
        ] {
            assert_eq!(Events::new(50).on_text(frame, &recv, &mut Vec::new()), step, "{frame}");
        }
    }

    #[test]
    fn what_comes_unasked_neither_ends_the_feed_nor_proves_it_well() {
        let (mut events, mut batch) = (Events::new(3), Vec::new());
        let nonsense = r#"42["1105-json-partial","t:1_NIFTY 50,110:x"]"#;
        for _ in 0..10 {
            assert_eq!(events.on_text(nonsense, &recv, &mut batch), Ok(Step::None));
        }
        assert_eq!(events.take_counts().undecodable, 10);
        events.on_text("nonsense", &recv, &mut batch).unwrap();
        events.on_text("nonsense", &recv, &mut batch).unwrap();
        let status = r#"42["1507-json-full","{\"ExchangeSegment\":1,\"tradingSession\":2}"]"#;
        assert_eq!(events.on_text(status, &recv, &mut batch), Ok(Step::None));
        assert_eq!(events.take_phases().len(), 1);
        assert_eq!(events.on_text("nonsense", &recv, &mut batch), Err(FeedEnd::Undecodable));
        assert!(batch.is_empty());
    }

    #[test]
    fn the_receive_time_is_read_once_for_a_frame_of_ticks_and_never_for_others() {
        let calls = std::cell::Cell::new(0);
        let count = || {
            calls.set(calls.get() + 1);
            recv()
        };
        let (mut events, mut batch) = (Events::new(3), Vec::new());
        for frame in ["40", "3", r#"42["joined",{}]"#, HEADER] {
            events.on_text(frame, &count, &mut batch).unwrap();
        }
        assert_eq!(calls.get(), 0);
        events.on_binary(&attachment(), &count, &mut batch).unwrap();
        assert_eq!(calls.get(), 1);
    }

    proptest! {
        #[test]
        fn arbitrary_frames_never_panic(
            frames in proptest::collection::vec((any::<bool>(), "[0-6]{0,2}(1-)?.{0,60}"), 0..20),
        ) {
            let (mut events, mut batch) = (Events::new(5), Vec::new());
            for (is_text, frame) in frames {
                let ended = if is_text {
                    events.on_text(&frame, &recv, &mut batch).is_err()
                } else {
                    events.on_binary(frame.as_bytes(), &recv, &mut batch).is_err()
                };
                if ended {
                    break;
                }
            }
        }
    }
}
