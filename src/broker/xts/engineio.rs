//! Engine.IO packets on the WebSocket transport, versions 3 and 4. Pure: no I/O, no timers.
//!
//! Source: Engine.IO protocol revisions 3 and 4; the leading `0x04` of binary messages in
//! revision 3 was seen on live XTS servers.

use serde::Deserialize;

/// Protocol revision. XTS servers speak 3 whatever a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The client pings, binary messages start with a type byte.
    V3,
    /// The server pings, binary messages are bare.
    V4,
}

/// One packet of a text frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `0{…}`: the handshake's figures, unparsed.
    Open(&'a str),
    /// `1`
    Close,
    /// `2` with its payload.
    Ping(&'a str),
    /// `3` with its payload.
    Pong(&'a str),
    /// `4`: a Socket.IO packet.
    Message(&'a str),
    /// `5`
    Upgrade,
    /// `6`
    Noop,
}

/// Reads a text frame. `None` if it is no Engine.IO packet.
pub fn parse_text(frame: &str) -> Option<Packet<'_>> {
    let rest = frame.get(1..).unwrap_or_default();
    match frame.as_bytes().first()? {
        b'0' => Some(Packet::Open(rest)),
        b'1' => Some(Packet::Close),
        b'2' => Some(Packet::Ping(rest)),
        b'3' => Some(Packet::Pong(rest)),
        b'4' => Some(Packet::Message(rest)),
        b'5' => Some(Packet::Upgrade),
        b'6' => Some(Packet::Noop),
        _ => None,
    }
}

/// The message inside a binary frame: without the type byte `0x04` that revision 3 puts
/// before it. A revision 4 frame has none; XTS messages start with a flag 0 or 1, so the two
/// cannot be confused.
pub fn parse_binary(frame: &[u8]) -> &[u8] {
    frame.strip_prefix(&[4]).unwrap_or(frame)
}

/// Writes a packet as a text frame.
pub fn encode(packet: Packet<'_>) -> String {
    let (kind, rest) = match packet {
        Packet::Open(rest) => ('0', rest),
        Packet::Close => ('1', ""),
        Packet::Ping(rest) => ('2', rest),
        Packet::Pong(rest) => ('3', rest),
        Packet::Message(rest) => ('4', rest),
        Packet::Upgrade => ('5', ""),
        Packet::Noop => ('6', ""),
    };
    let mut text = String::with_capacity(1 + rest.len());
    text.push(kind);
    text.push_str(rest);
    text
}

/// Writes a binary message as a frame.
pub fn encode_binary(version: Version, message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(1 + message.len());
    if version == Version::V3 {
        frame.push(4);
    }
    frame.extend_from_slice(message);
    frame
}

/// The figures of the open packet. Unknown members are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Open {
    /// The connection's id at the server.
    #[serde(default)]
    pub sid: String,
    /// Milliseconds between heartbeats.
    #[serde(default = "default_interval")]
    pub ping_interval: u64,
    /// Milliseconds to wait for the answer to one.
    #[serde(default = "default_timeout")]
    pub ping_timeout: u64,
}

const fn default_interval() -> u64 {
    25_000
}

const fn default_timeout() -> u64 {
    60_000
}

impl Open {
    /// Reads the payload of an open packet.
    pub fn parse(payload: &str) -> Option<Self> {
        serde_json::from_str(payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_both_ways() {
        for (frame, packet) in [
            ("0{\"sid\":\"a\"}", Packet::Open("{\"sid\":\"a\"}")),
            ("1", Packet::Close),
            ("2", Packet::Ping("")),
            ("2probe", Packet::Ping("probe")),
            ("3probe", Packet::Pong("probe")),
            ("40", Packet::Message("0")),
            ("5", Packet::Upgrade),
            ("6", Packet::Noop),
        ] {
            assert_eq!(parse_text(frame), Some(packet));
            assert_eq!(encode(packet), frame);
        }
        assert_eq!(parse_text(""), None);
        assert_eq!(parse_text("é"), None);
    }

    #[test]
    fn binary_frames_lose_the_type_byte() {
        assert_eq!(parse_binary(&[4, 0, 0xdd]), [0, 0xdd]);
        assert_eq!(parse_binary(&[0, 0xdd]), [0, 0xdd]);
        assert_eq!(encode_binary(Version::V3, &[1]), [4, 1]);
        assert_eq!(encode_binary(Version::V4, &[1]), [1]);
    }

    #[test]
    fn open_packet() {
        let open =
            Open::parse(r#"{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#).unwrap();
        assert_eq!((open.ping_interval, open.ping_timeout), (25_000, 20_000));
        assert_eq!(Open::parse("nonsense"), None);
    }
}
