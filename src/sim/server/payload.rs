//! Engine.IO payloads: how several packets travel in one polling request or answer, in both
//! revisions. Pure: no I/O. A single packet is `broker::xts::engineio`.
//!
//! Source: Engine.IO protocol revisions 3 and 4, and what their Node servers send.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::sim::core::Out;

/// Packets beyond which a request is refused.
const MAX_PACKETS: usize = 1024;

/// What separates packets in revision 4.
const SEPARATOR: char = '\u{1e}';

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Revision 3 to a client that reads text only (`b64=1`): binary as `b4…`.
    Text3,
    /// Revision 3 to one that reads binary too: bytes as soon as one packet is binary.
    Mixed3,
    /// Revision 4: always text.
    V4,
}

/// A body, and whether it is bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    Text(String),
    Bytes(Vec<u8>),
}

/// Writes packets. Ends are no packets and are left out.
pub(super) fn encode(coding: Coding, packets: &[Out]) -> Body {
    let has_binary = packets.iter().any(|packet| matches!(packet, Out::Binary(_)));
    match coding {
        Coding::V4 => Body::Text(encode_4(packets)),
        Coding::Mixed3 if has_binary => Body::Bytes(encode_mixed(packets)),
        Coding::Text3 | Coding::Mixed3 => Body::Text(encode_text(packets)),
    }
}

fn encode_4(packets: &[Out]) -> String {
    let mut body = String::new();
    for packet in packets {
        let before = body.len();
        match packet {
            Out::Text(text) => body.push_str(text),
            Out::Binary(data) => {
                body.push('b');
                STANDARD.encode_string(data, &mut body);
            }
            Out::Close { .. } | Out::Freeze => {}
        }
        if body.len() > before {
            body.push(SEPARATOR);
        }
    }
    body.pop();
    body
}

fn encode_text(packets: &[Out]) -> String {
    let mut body = String::new();
    for packet in packets {
        match packet {
            Out::Text(text) => {
                // A length is counted as JavaScript does.
                let _ = write!(body, "{}:{text}", text.encode_utf16().count());
            }
            Out::Binary(data) => {
                // The frame's leading type byte becomes the digit behind the `b`.
                let (kind, data) = data.split_first().map_or((4, &[][..]), |(kind, data)| (*kind, data));
                let data = STANDARD.encode(data);
                let _ = write!(body, "{}:b{kind}{data}", data.len() + 2);
            }
            Out::Close { .. } | Out::Freeze => {}
        }
    }
    body
}

fn encode_mixed(packets: &[Out]) -> Vec<u8> {
    let mut body = Vec::new();
    for packet in packets {
        let (is_binary, data): (u8, &[u8]) = match packet {
            Out::Text(text) => (0, text.as_bytes()),
            Out::Binary(data) => (1, data),
            Out::Close { .. } | Out::Freeze => continue,
        };
        body.push(is_binary);
        body.extend(data.len().to_string().bytes().map(|digit| digit - b'0'));
        body.push(255);
        body.extend_from_slice(data);
    }
    body
}

/// Reads a request's body: its text packets, in order. Binary ones are checked and left out,
/// because nothing that a client of XTS says is binary. `None` if it is no payload.
pub(super) fn decode(engine_io: u8, is_bytes: bool, body: &[u8]) -> Option<Vec<String>> {
    let packets = match (engine_io, is_bytes) {
        (4, _) => {
            let text = std::str::from_utf8(body).ok()?;
            text.split(SEPARATOR).take(MAX_PACKETS + 1).map(str::to_owned).collect()
        }
        (_, true) => decode_mixed(body)?,
        (_, false) => decode_text(std::str::from_utf8(body).ok()?)?,
    };
    if packets.is_empty() || packets.len() > MAX_PACKETS || packets.iter().any(String::is_empty) {
        return None;
    }
    Some(packets.into_iter().filter(|packet| !packet.starts_with('b')).collect())
}

fn decode_text(mut body: &str) -> Option<Vec<String>> {
    let mut packets = Vec::new();
    while !body.is_empty() && packets.len() <= MAX_PACKETS {
        let (length, rest) = body.split_once(':')?;
        let mut length: usize = length.parse().ok()?;
        let mut end = 0;
        for character in rest.chars() {
            if length == 0 {
                break;
            }
            length = length.checked_sub(character.len_utf16())?;
            end += character.len_utf8();
        }
        if length > 0 {
            return None;
        }
        let (packet, rest) = rest.split_at(end);
        packets.push(packet.to_owned());
        body = rest;
    }
    Some(packets)
}

fn decode_mixed(mut body: &[u8]) -> Option<Vec<String>> {
    let mut packets = Vec::new();
    while let Some((&kind, rest)) = body.split_first() {
        let digits = rest.iter().position(|&byte| byte == 255)?;
        let mut length = 0_usize;
        for &digit in &rest[..digits] {
            if digit > 9 {
                return None;
            }
            length = length.checked_mul(10)?.checked_add(digit.into())?;
        }
        let (data, rest) = rest[digits + 1..].split_at_checked(length)?;
        packets.push(match kind {
            0 => std::str::from_utf8(data).ok()?.to_owned(),
            1 => "b".to_owned(),
            _ => return None,
        });
        if packets.len() > MAX_PACKETS {
            break;
        }
        body = rest;
    }
    Some(packets)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn text(packet: &str) -> Out {
        Out::Text(packet.into())
    }

    fn binary(data: &'static [u8]) -> Out {
        Out::Binary(Bytes::from_static(data))
    }

    #[test]
    fn answers_of_revision_3() {
        let greeting = [text("0{}"), text("40")];
        for coding in [Coding::Text3, Coding::Mixed3] {
            assert_eq!(encode(coding, &greeting), Body::Text("3:0{}2:40".to_owned()));
        }
        // Characters are counted, not bytes; one beyond the basic plane is two.
        assert_eq!(encode(Coding::Text3, &[text("4₹😀")]), Body::Text("4:4₹😀".to_owned()));
        let mixed = [text("451-[]"), binary(&[4, 0, 0xdd])];
        assert_eq!(encode(Coding::Text3, &mixed), Body::Text("6:451-[]6:b4AN0=".to_owned()));
        let bytes = [&[0, 6, 255][..], b"451-[]", &[1, 3, 255, 4, 0, 0xdd]].concat();
        assert_eq!(encode(Coding::Mixed3, &mixed), Body::Bytes(bytes));
        let long = "x".repeat(123);
        let Body::Bytes(bytes) = encode(Coding::Mixed3, &[text(&long), binary(&[4])]) else { panic!() };
        assert_eq!(bytes[..5], [0, 1, 2, 3, 255]);
    }

    #[test]
    fn answers_of_revision_4() {
        let packets = [text("451-[]"), binary(&[0, 0xdd]), Out::Close { clean: true }, text("2")];
        assert_eq!(encode(Coding::V4, &packets), Body::Text("451-[]\u{1e}bAN0=\u{1e}2".to_owned()));
    }

    #[test]
    fn requests() {
        let read = |engine_io, body: &str| decode(engine_io, false, body.as_bytes());
        assert_eq!(read(3, "1:26:42[\"₹\"]2:40"), None, "a wrong length");
        assert_eq!(read(3, "1:27:42[\"₹\"]2:40").unwrap(), ["2", "42[\"₹\"]", "40"]);
        assert_eq!(read(3, "6:b4AN0=1:2").unwrap(), ["2"]);
        assert_eq!(read(4, "40\u{1e}3\u{1e}bAN0=").unwrap(), ["40", "3"]);
        for (engine_io, body) in
            [(3, ""), (3, "2"), (3, "9:2"), (3, "x:2"), (3, "0:"), (4, ""), (4, "2\u{1e}")]
        {
            assert_eq!(read(engine_io, body), None, "{body:?}");
        }
        assert_eq!(
            decode(3, true, &[0, 1, 255, b'2', 1, 2, 255, 4, 9, 0, 1, 255, b'3']).unwrap(),
            ["2", "3"]
        );
        for body in
            [&[][..], &[0, 1, 255], &[0, 10, 255, b'2'], &[2, 1, 255, b'2'], &[0, 1], &[0, 1, 255, 0xff]]
        {
            assert_eq!(decode(3, true, body), None, "{body:?}");
        }
        assert_eq!(read(3, &"1:2".repeat(MAX_PACKETS + 1)), None);
        assert_eq!(read(4, &vec!["2"; MAX_PACKETS + 1].join("\u{1e}")), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(packets in prop::collection::vec("[0-6][^\u{1e}]{0,20}", 1..20)) {
            let out: Vec<_> = packets.iter().map(|packet| text(packet)).collect();
            for (engine_io, coding) in [(3, Coding::Text3), (4, Coding::V4)] {
                let Body::Text(body) = encode(coding, &out) else { panic!() };
                prop_assert_eq!(decode(engine_io, false, body.as_bytes()).unwrap(), packets.clone());
            }
            prop_assert_eq!(decode(3, true, &encode_mixed(&out)).unwrap(), packets);
        }

        #[test]
        fn arbitrary_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            for (engine_io, is_bytes) in [(3, false), (3, true), (4, false)] {
                let _ = decode(engine_io, is_bytes, &body);
            }
        }
    }
}
