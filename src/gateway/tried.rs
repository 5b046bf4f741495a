//! The reader of consumers' frames as [`fuzzing`](crate::fuzzing) tries it. Not used by a connection.

use crate::gateway::connection::reader::{Incoming, MAX_HEADER, Reader};
use crate::protocol::close::CloseReason;

/// Everything that the pieces hold, and how it ended.
pub(crate) fn read_frames<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    limit: usize,
) -> (Vec<String>, Option<CloseReason>) {
    let mut reader = Reader::default();
    let mut got = Vec::new();
    for piece in pieces {
        let mut data = reader.take_kept();
        data.extend_from_slice(piece);
        let mut at = 0;
        loop {
            match reader.next(&mut data, &mut at, limit) {
                Ok(Some(Incoming::Message(message))) => {
                    assert!(message.len() <= limit);
                    got.push(format!("message {}", message.escape_ascii()));
                }
                Ok(Some(incoming)) => got.push(format!("{incoming:?}")),
                Ok(None) => break,
                Err(reason) => return (got, Some(reason)),
            }
        }
        data.drain(..at);
        // Less than one whole frame; a control frame may be longer than the limit.
        assert!(data.len() < MAX_HEADER + limit.max(125));
        reader.keep(data);
    }
    (got, None)
}
