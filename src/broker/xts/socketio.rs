//! Socket.IO 2 packets (the payload of an Engine.IO message). Pure: no I/O.
//!
//! Source: socket.io-protocol revision 4 (Socket.IO 2.x). Namespaces and ack ids are read
//! and dropped: XTS uses the default namespace and asks for no acks.

use std::fmt::Write as _;

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `0`, with the query or (revision 5) auth payload.
    Connect(&'a str),
    /// `1`
    Disconnect,
    /// `2["name",data]`: the JSON array.
    Event(&'a str),
    /// `3`: an answer to one of our events.
    Ack,
    /// `4`: an error's payload, JSON or bare text.
    Error(&'a str),
    /// `5N-["name",…]`: an event whose `attachments` binary frames follow.
    BinaryEvent {
        /// How many.
        attachments: usize,
        /// The JSON array with placeholders.
        json: &'a str,
    },
    /// `6N-…`
    BinaryAck {
        /// How many binary frames follow.
        attachments: usize,
    },
}

/// Attachments beyond which a packet is refused.
const MAX_ATTACHMENTS: usize = 16;

/// Reads one packet. `None` if it is none.
pub fn parse(message: &str) -> Option<Packet<'_>> {
    let kind = *message.as_bytes().first()?;
    let mut rest = message.get(1..)?;
    let mut attachments = 0;
    if matches!(kind, b'5' | b'6') {
        let (count, after) = rest.split_once('-')?;
        attachments = count.parse().ok().filter(|n| *n <= MAX_ATTACHMENTS)?;
        rest = after;
    }
    if rest.starts_with('/') {
        rest = rest.split_once(',').map_or("", |(_, after)| after);
    }
    if matches!(kind, b'2' | b'3' | b'5' | b'6') {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    match kind {
        b'0' => Some(Packet::Connect(rest)),
        b'1' => Some(Packet::Disconnect),
        b'2' => Some(Packet::Event(rest)),
        b'3' => Some(Packet::Ack),
        b'4' => Some(Packet::Error(rest)),
        b'5' => Some(Packet::BinaryEvent { attachments, json: rest }),
        b'6' => Some(Packet::BinaryAck { attachments }),
        _ => None,
    }
}

/// Splits an event's array into its name and its first datum, both borrowed. The datum is raw
/// JSON, empty if there is none; further data are left in place. `None` if the name is not a
/// plain string or the array does not close.
pub fn split_event(json: &str) -> Option<(&str, &str)> {
    let inner = json.trim().strip_prefix('[')?.strip_suffix(']')?;
    let quoted = inner.trim_start().strip_prefix('"')?;
    let end = quoted.find('"')?;
    let name = &quoted[..end];
    if name.contains('\\') {
        return None;
    }
    let rest = quoted[end + 1..].trim_start();
    if rest.is_empty() {
        return Some((name, ""));
    }
    Some((name, rest.strip_prefix(',')?.trim()))
}

/// Writes an event whose datum is raw JSON, as an Engine.IO text frame.
pub fn encode_event(name: &str, json: &str) -> String {
    let mut frame = String::with_capacity(name.len() + json.len() + 8);
    let _ = write!(frame, "42[\"{name}\",{json}]");
    frame
}

/// Writes the header frame of a binary event with one attachment.
pub fn encode_binary_event(name: &str) -> String {
    format!("451-[\"{name}\",{{\"_placeholder\":true,\"num\":0}}]")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn packets() {
        for (message, packet) in [
            ("0", Packet::Connect("")),
            ("0{}", Packet::Connect("{}")),
            ("0/x,", Packet::Connect("")),
            ("1", Packet::Disconnect),
            (r#"2["e",1]"#, Packet::Event(r#"["e",1]"#)),
            (r#"2/,["e",1]"#, Packet::Event(r#"["e",1]"#)),
            (r#"27["e",1]"#, Packet::Event(r#"["e",1]"#)),
            ("37[]", Packet::Ack),
            (r#"4"no""#, Packet::Error(r#""no""#)),
            (r#"51-["p",{}]"#, Packet::BinaryEvent { attachments: 1, json: r#"["p",{}]"# }),
            ("62-[]", Packet::BinaryAck { attachments: 2 }),
        ] {
            assert_eq!(parse(message), Some(packet), "{message}");
        }
        for message in ["", "7", "5[]", "517-[]", "5x-[]", "é"] {
            assert_eq!(parse(message), None, "{message}");
        }
    }

    #[test]
    fn events_are_split_without_a_copy() {
        assert_eq!(split_event(r#"["joined",{"a":1}]"#), Some(("joined", r#"{"a":1}"#)));
        assert_eq!(split_event(r#"["logout"]"#), Some(("logout", "")));
        assert_eq!(split_event(r#"[ "a" , "b\"c" ]"#), Some(("a", r#""b\"c""#)));
        for json in ["", "[", "[]", "[1]", r#"["a" 1]"#, r#"["a","#] {
            assert_eq!(split_event(json), None, "{json}");
        }
        let frame = encode_event("x", "\"y\"");
        assert_eq!(parse(&frame[1..]), Some(Packet::Event(r#"["x","y"]"#)));
        let frame = encode_binary_event("xts-binary-packet");
        assert!(matches!(parse(&frame[1..]), Some(Packet::BinaryEvent { attachments: 1, .. })));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            if let Some(Packet::Event(json)) = parse(&text) {
                let _ = split_event(json);
            }
            let _ = split_event(&text);
        }
    }
}
