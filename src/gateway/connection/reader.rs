//! Takes a consumer's WebSocket frames apart, whatever pieces they come in. Keeps bytes only
//! while a frame or a fragmented message is incomplete. Does not read a socket.

use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::protocol::close::CloseReason;
use crate::protocol::websocket::{MAX_CONTROL_PAYLOAD, unmask};

/// A header with the longest length and a mask (RFC 6455 5.2).
pub(crate) const MAX_HEADER: usize = 14;

/// What the consumer sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// A whole message, text or binary: OpenAlgo takes JSON in both.
    Message(&'a [u8]),
    /// A ping; the pong carries the same bytes.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// A close frame, with its code.
    Close(Option<u16>),
}

#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Bytes behind the last whole frame.
    kept: Vec<u8>,
    /// The fragments of a message so far, unmasked.
    message: Vec<u8>,
    /// Which kind of message the fragments belong to.
    fragments: Option<Kind>,
    /// `message` has been handed out.
    handed_out: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

impl Reader {
    /// Whether bytes are kept that have not been looked at in full.
    pub(crate) fn has_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Takes out what was kept, to be continued with fresh bytes. Give the rest back with
    /// [`Self::keep`].
    pub(crate) fn take_kept(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.kept)
    }

    /// Keeps bytes that are no whole frame, or that it is not the time for.
    pub(crate) fn keep(&mut self, mut rest: Vec<u8>) {
        // What a large frame needed is not held on to for the connection's life.
        if rest.capacity() > 4 * rest.len() + 4096 {
            rest.shrink_to_fit();
        }
        self.kept = rest;
    }

    /// Takes the next frame off `data` at `at`, and moves `at` behind it. `None`: there is no
    /// whole one, or only a fragment of a message was there and nothing behind it.
    ///
    /// # Errors
    /// Why the connection must be closed. A message longer than `limit` is refused as soon as
    /// its header says so.
    pub(crate) fn next<'a>(
        &'a mut self,
        data: &'a mut [u8],
        at: &mut usize,
        limit: usize,
    ) -> Result<Option<Incoming<'a>>, CloseReason> {
        if std::mem::take(&mut self.handed_out) {
            self.message = Vec::new();
        }
        loop {
            let Some((header, payload)) = parse(&data[*at..], limit.saturating_sub(self.message.len()))?
            else {
                return Ok(None);
            };
            let range = *at + payload.start..*at + payload.end;
            *at = range.end;
            let Some(mask) = header.mask else { return Err(CloseReason::Protocol) };
            unmask(&mut data[range.clone()], mask, 0);
            let kind = match header.opcode {
                OpCode::Control(control) => {
                    let payload = &data[range];
                    return match control {
                        Control::Ping => Ok(Some(Incoming::Ping(payload))),
                        Control::Pong => Ok(Some(Incoming::Pong)),
                        Control::Close => close_code(payload).map(|code| Some(Incoming::Close(code))),
                        Control::Reserved(_) => Err(CloseReason::Protocol),
                    };
                }
                OpCode::Data(Data::Continue) => self.fragments.ok_or(CloseReason::Protocol)?,
                _ if self.fragments.is_some() => return Err(CloseReason::Protocol),
                OpCode::Data(Data::Text) => Kind::Text,
                OpCode::Data(Data::Binary) => Kind::Binary,
                OpCode::Data(Data::Reserved(_)) => return Err(CloseReason::Protocol),
            };
            if self.fragments.is_none() && header.is_final {
                let payload = &data[range];
                return check_text(kind, payload).map(|()| Some(Incoming::Message(payload)));
            }
            self.message.extend_from_slice(&data[range]);
            self.fragments = Some(kind);
            if header.is_final {
                self.fragments = None;
                self.handed_out = true;
                check_text(kind, &self.message)?;
                return Ok(Some(Incoming::Message(&self.message)));
            }
        }
    }
}

/// The first frame's header and the place of its payload, if it is whole.
fn parse(data: &[u8], limit: usize) -> Result<Option<(FrameHeader, std::ops::Range<usize>)>, CloseReason> {
    let mut cursor = Cursor::new(&data[..data.len().min(MAX_HEADER)]);
    let Ok(parsed) = FrameHeader::parse(&mut cursor) else { return Err(CloseReason::Protocol) };
    let Some((header, len)) = parsed else { return Ok(None) };
    // RFC 6455 5.1 and 5.2: clients mask, and nobody sets a bit that was not negotiated.
    if header.rsv1 || header.rsv2 || header.rsv3 || header.mask.is_none() {
        return Err(CloseReason::Protocol);
    }
    if matches!(header.opcode, OpCode::Control(_)) {
        if !header.is_final || len > MAX_CONTROL_PAYLOAD as u64 {
            return Err(CloseReason::Protocol);
        }
    } else if len > limit as u64 {
        return Err(CloseReason::FrameTooBig);
    }
    let start = cursor.position() as usize;
    let end = start + len as usize;
    Ok((end <= data.len()).then_some((header, start..end)))
}

fn check_text(kind: Kind, payload: &[u8]) -> Result<(), CloseReason> {
    if kind == Kind::Text && std::str::from_utf8(payload).is_err() {
        return Err(CloseReason::InvalidText);
    }
    Ok(())
}

/// The code of a close frame (RFC 6455 5.5.1 and 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, CloseReason> {
    match payload {
        [] => Ok(None),
        [_] => Err(CloseReason::Protocol),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let may_be_sent = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            if !may_be_sent {
                return Err(CloseReason::Protocol);
            }
            check_text(Kind::Text, reason)?;
            Ok(Some(code))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;

    use super::*;

    /// A client's frame.
    fn frame(opcode: u8, is_final: bool, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader {
            is_final,
            opcode: opcode.into(),
            mask: Some([7, 1, 200, 9]),
            ..FrameHeader::default()
        };
        let mut bytes = Vec::new();
        header.format(payload.len() as u64, &mut bytes).unwrap();
        let mut masked = payload.to_vec();
        unmask(&mut masked, [7, 1, 200, 9], 0);
        bytes.extend_from_slice(&masked);
        bytes
    }

    /// Everything the pieces hold, and how it ended.
    fn read(pieces: &[&[u8]], limit: usize) -> (Vec<String>, Option<CloseReason>) {
        let mut reader = Reader::default();
        let mut got = Vec::new();
        for piece in pieces {
            let mut data = reader.take_kept();
            data.extend_from_slice(piece);
            let mut at = 0;
            loop {
                match reader.next(&mut data, &mut at, limit) {
                    Ok(Some(Incoming::Message(m))) => got.push(format!("m{}", String::from_utf8_lossy(m))),
                    Ok(Some(Incoming::Ping(p))) => got.push(format!("p{}", String::from_utf8_lossy(p))),
                    Ok(Some(Incoming::Pong)) => got.push("pong".to_owned()),
                    Ok(Some(Incoming::Close(code))) => got.push(format!("c{code:?}")),
                    Ok(None) => break,
                    Err(reason) => return (got, Some(reason)),
                }
            }
            data.drain(..at);
            reader.keep(data);
        }
        (got, None)
    }

    #[test]
    fn messages_in_fragments_with_a_ping_between() {
        let stream = [
            frame(1, true, b"whole"),
            frame(1, false, b"fr"),
            frame(9, true, b"?"),
            frame(0, false, b"ag"),
            frame(0, true, b"ments"),
            frame(2, true, b"{}"),
            frame(10, true, b""),
            frame(8, true, &[0x03, 0xe8]),
        ]
        .concat();
        let expected = ["mwhole", "p?", "mfragments", "m{}", "pong", "cSome(1000)"];
        assert_eq!(read(&[&stream], 100).0, expected);
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read(&single, 100).0, expected);
    }

    #[test]
    fn what_ends_a_connection() {
        let mut unmasked = Vec::new();
        Frame::ping(Vec::new()).format(&mut unmasked).unwrap();
        let mut reserved = frame(1, true, b"x");
        reserved[0] |= 0x40;
        for (bytes, reason) in [
            (unmasked, CloseReason::Protocol),
            (reserved, CloseReason::Protocol),
            (frame(0, true, b"continues nothing"), CloseReason::Protocol),
            ([frame(1, false, b"a"), frame(1, true, b"b")].concat(), CloseReason::Protocol),
            (frame(9, false, b"a control frame in fragments"), CloseReason::Protocol),
            (frame(9, true, &[0; 126]), CloseReason::Protocol),
            (frame(3, true, b""), CloseReason::Protocol),
            (frame(8, true, &[1]), CloseReason::Protocol),
            (frame(8, true, &1006_u16.to_be_bytes()), CloseReason::Protocol),
            (frame(1, true, &[0xff]), CloseReason::InvalidText),
            (frame(1, true, &[b'x'; 101]), CloseReason::FrameTooBig),
            // The header alone decides.
            (frame(2, true, &vec![b'x'; 70_000])[..14].to_vec(), CloseReason::FrameTooBig),
            ([frame(1, false, &[b'x'; 60]), frame(0, true, &[b'x'; 60])].concat(), CloseReason::FrameTooBig),
        ] {
            assert_eq!(read(&[&bytes], 100).1, Some(reason), "{bytes:?}");
        }
        assert_eq!(read(&[&frame(1, true, &[b'x'; 100])], 100).1, None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&[&bytes], 100);
        }

        #[test]
        fn the_cuts_do_not_matter(
            messages in proptest::collection::vec("[a-z]{0,200}", 0..6),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|m| frame(1, true, m.as_bytes())).collect();
            let mut at: Vec<usize> = cuts.iter().map(|c| c.index(stream.len() + 1)).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &stream[w[0]..w[1]]).collect();
            let expected: Vec<String> = messages.iter().map(|m| format!("m{m}")).collect();
            prop_assert_eq!(read(&pieces, 1000), (expected, None));
        }
    }
}
