//! WebSocket framing of the server's side (RFC 6455 5.2): headers, control frames, unmasking.
//! Not a WebSocket implementation: parsing the peer's headers is the gateway's, by tungstenite.

use crate::protocol::close::CloseReason;

/// A final text frame.
const TEXT: u8 = 0x81;
/// A final binary frame.
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

/// The most a control frame may carry (RFC 6455 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// The longest header that [`encode_text_header`] writes.
pub const MAX_HEADER: usize = 10;

/// What [`begin`] reserves: the header of a payload of 126 to 65,535 bytes, which every
/// market-data frame in JSON is.
const RESERVED: usize = 4;

/// Appends the header of a text frame of `len` bytes.
pub fn encode_text_header(len: usize, out: &mut Vec<u8>) {
    encode_header(TEXT, len, out);
}

/// Appends the header of a binary frame of `len` bytes.
#[inline]
pub fn encode_binary_header(len: usize, out: &mut Vec<u8>) {
    encode_header(BINARY, len, out);
}

#[inline]
fn encode_header(first: u8, len: usize, out: &mut Vec<u8>) {
    out.push(first);
    if len <= 125 {
        out.push(len as u8);
    } else if let Ok(len) = u16::try_from(len) {
        out.push(126);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
}

/// Opens a text frame at the end of `out` whose length is not known yet. Append the payload,
/// then call [`end_text`] with the returned position.
#[inline]
#[must_use]
pub fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[TEXT, 126, 0, 0]);
    start
}

/// Closes the text frame that [`begin`] opened at `start`: writes its length. Payloads of 126
/// to 65,535 bytes stay where they are; others are moved by 2 or 6 bytes.
#[inline]
pub fn end_text(out: &mut Vec<u8>, start: usize) {
    let len = out.len() - start - RESERVED;
    match u16::try_from(len) {
        Ok(short) if len > MAX_CONTROL_PAYLOAD => {
            out[start + 2..start + RESERVED].copy_from_slice(&short.to_be_bytes());
        }
        _ => move_payload(out, start, len),
    }
}

#[cold]
fn move_payload(out: &mut Vec<u8>, start: usize, len: usize) {
    let payload = start + RESERVED;
    if len <= MAX_CONTROL_PAYLOAD {
        out[start + 1] = len as u8;
        out.copy_within(payload.., start + 2);
        out.truncate(start + 2 + len);
    } else {
        out.extend_from_slice(&[0; MAX_HEADER - RESERVED]);
        out.copy_within(payload..payload + len, start + MAX_HEADER);
        out[start + 1] = 127;
        out[start + 2..start + MAX_HEADER].copy_from_slice(&(len as u64).to_be_bytes());
    }
}

/// Appends a whole text frame whose payload `write` appends.
pub fn text_frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = begin(out);
    write(out);
    end_text(out, start);
}

/// Appends a ping. `payload` is cut at [`MAX_CONTROL_PAYLOAD`].
pub fn ping_frame(payload: &[u8], out: &mut Vec<u8>) {
    control_frame(PING, payload, out);
}

/// Appends the pong to a ping that carried `payload`.
pub fn pong_frame(payload: &[u8], out: &mut Vec<u8>) {
    control_frame(PONG, payload, out);
}

/// Appends a close frame.
pub fn close_frame(reason: CloseReason, out: &mut Vec<u8>) {
    close_frame_with(reason.code(), reason.text(), out);
}

/// Appends a close frame with a code of the caller's, such as the echo of the peer's own.
pub fn close_frame_with(code: u16, text: &str, out: &mut Vec<u8>) {
    let mut payload = [0; MAX_CONTROL_PAYLOAD];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    // Cut between characters: the reason must be UTF-8.
    let len = text.floor_char_boundary(MAX_CONTROL_PAYLOAD - 2);
    payload[2..2 + len].copy_from_slice(&text.as_bytes()[..len]);
    control_frame(CLOSE, &payload[..2 + len], out);
}

fn control_frame(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    let payload = &payload[..payload.len().min(MAX_CONTROL_PAYLOAD)];
    out.extend_from_slice(&[first, payload.len() as u8]);
    out.extend_from_slice(payload);
}

/// Unmasks a client's payload in place. `offset` is the position of `payload[0]` within its
/// frame's payload, so that a frame may be unmasked in parts.
pub fn unmask(payload: &mut [u8], mask: [u8; 4], offset: usize) {
    let turned = std::array::from_fn(|i| mask[(offset + i) % 4]);
    let word = u32::from_ne_bytes(turned);
    let mut chunks = payload.chunks_exact_mut(4);
    for chunk in &mut chunks {
        // The chunks are exactly four bytes long.
        let plain = word ^ u32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        chunk.copy_from_slice(&plain.to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(turned) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An independent reader: (opcode byte, payload, rest).
    fn read(frame: &[u8]) -> (u8, &[u8], &[u8]) {
        let (len, at) = match frame[1] {
            126 => (usize::from(u16::from_be_bytes([frame[2], frame[3]])), 4),
            127 => (u64::from_be_bytes(frame[2..10].try_into().unwrap()) as usize, 10),
            short => (usize::from(short), 2),
        };
        (frame[0], &frame[at..at + len], &frame[at + len..])
    }

    #[test]
    fn a_frame_of_any_length_has_the_shortest_header() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 200_000] {
            let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let mut late = b"before".to_vec();
            text_frame(&mut late, |out| out.extend_from_slice(&payload));
            let mut early = b"before".to_vec();
            encode_text_header(len, &mut early);
            early.extend_from_slice(&payload);
            assert!(late == early, "{len}");
            let (first, got, rest) = read(&late[6..]);
            assert!(first == 0x81 && got == payload && rest.is_empty(), "{len}");
        }
    }

    #[test]
    fn control_frames() {
        let mut out = Vec::new();
        close_frame(CloseReason::AuthTimeout, &mut out);
        assert_eq!(out, b"\x88\x0e\x11\x31auth timeout");
        out.clear();
        pong_frame(b"abc", &mut out);
        assert_eq!(out, b"\x8a\x03abc");
        out.clear();
        ping_frame(&[7; 300], &mut out);
        assert_eq!((out[0], out[1], out.len()), (0x89, 125, 127));
        out.clear();
        close_frame_with(1000, &"ü".repeat(100), &mut out);
        let (_, payload, rest) = read(&out);
        assert!(rest.is_empty() && std::str::from_utf8(&payload[2..]).is_ok() && payload.len() == 124);
        out.clear();
        encode_binary_header(5, &mut out);
        assert_eq!(out, b"\x82\x05");
    }

    proptest! {
        #[test]
        fn unmasking_in_parts_equals_the_definition(
            payload in proptest::collection::vec(any::<u8>(), 0..200), mask: [u8; 4], cut in 0..200_usize,
        ) {
            let expected: Vec<u8> = payload.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]).collect();
            let mut got = payload.clone();
            let cut = cut.min(got.len());
            let (head, tail) = got.split_at_mut(cut);
            unmask(head, mask, 0);
            unmask(tail, mask, cut);
            prop_assert_eq!(got, expected);
        }
    }
}
