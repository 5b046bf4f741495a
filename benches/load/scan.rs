//! Finds the frames in what a consumer has read. Each program has its own framing; these are the WebSocket's, with
//! OpenAlgo's frames or the records of `tickgate.v1` in it. What the frames say is `check`'s.

use super::check::{Ages, Checker};
use super::ticks::SendTimes;

/// Where scanners put what they find.
#[derive(Debug)]
pub(crate) struct Tally<'a> {
    /// Frames of market data.
    pub(crate) frames: u64,
    /// Frames that say something else.
    pub(crate) other: u64,
    /// To send back: pongs.
    pub(crate) reply: Vec<u8>,
    /// Why the connection cannot go on.
    pub(crate) end: Option<String>,
    /// Reads every frame; without it frames are counted by their headers.
    pub(crate) checker: Option<&'a mut Checker>,
    pub(crate) ages: &'a mut Ages,
    pub(crate) times: &'a SendTimes,
}

impl Tally<'_> {
    /// Whether the scanner must hand over whole frames.
    pub(crate) const fn wants_all(&self) -> bool {
        self.checker.is_some()
    }

    pub(crate) fn frame(&mut self, payload: &[u8]) {
        self.take(|checker| checker.take(payload));
    }

    /// A record of `tickgate.v1`, whole where everything is read.
    fn record(&mut self, record: &[u8]) {
        self.take(|checker| checker.take_record(record));
    }

    fn take(&mut self, read: impl FnOnce(&mut Checker) -> Option<u64>) {
        self.frames += 1;
        if let Some(checker) = &mut self.checker
            && let Some(number) = read(checker)
        {
            self.ages.record(number, self.times);
        }
    }
}

/// One connection's scanner. Keeps what it must know between two reads, but no bytes.
pub(crate) trait Scan: Send {
    /// Scans `bytes`, which begin where the last call's did end; returns how many it is through with. The rest
    /// comes again, with more behind it.
    fn scan(&mut self, bytes: &[u8], tally: &mut Tally<'_>) -> usize;
}

/// A frame's header: opcode, its own length, the payload's.
pub(crate) fn header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (head, len) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        len => (2, usize::from(len)),
    };
    Some((first & 0x0f, head, len))
}

/// Records of `tickgate.v1` are market data from this kind on.
pub(crate) const MARKET_DATA_KINDS: u8 = 16;

/// How OpenAlgo's market data begins.
const MARKET_DATA: &[u8] = b"{\"type\":\"market_data\"";

/// WebSocket frames, each with one tick.
#[derive(Debug, Default)]
pub(crate) struct WebSocket {
    /// Bytes of a counted frame that are still to come.
    skip: usize,
    /// Bytes of a message of records that are still to come.
    inside: usize,
}

impl Scan for WebSocket {
    fn scan(&mut self, bytes: &[u8], tally: &mut Tally<'_>) -> usize {
        let mut at = 0;
        loop {
            let skipped = self.skip.min(bytes.len() - at);
            at += skipped;
            self.skip -= skipped;
            if self.skip > 0 {
                return at;
            }
            let rest = &bytes[at..];
            if self.inside > 0 {
                let Some(used) = self.record(rest, tally) else { return at };
                at += used;
                continue;
            }
            let Some((opcode, head, len)) = header(rest) else { return at };
            if opcode == 2 {
                self.inside = len;
                at += head;
                continue;
            }
            let payload = &rest[head..rest.len().min(head + len)];
            let is_whole = payload.len() == len;
            if opcode == 1 && payload.starts_with(MARKET_DATA) && !tally.wants_all() {
                tally.frame(payload);
                at += head + payload.len();
                self.skip = len - payload.len();
                continue;
            }
            if !is_whole {
                return at;
            }
            match opcode {
                1 if payload.starts_with(MARKET_DATA) => tally.frame(payload),
                1 => control(payload, tally),
                8 => tally.end = Some(format!("closed: {}", String::from_utf8_lossy(&payload[len.min(2)..]))),
                9 => super::client::push_frame(0x8a, payload, &mut tally.reply),
                _ => {}
            }
            at += head + len;
        }
    }
}

impl WebSocket {
    /// Takes one record of `tickgate.v1`: `u16` length of the record (little-endian), `u8` kind, and the rest.
    /// Returns how many bytes are done with.
    fn record(&mut self, rest: &[u8], tally: &mut Tally<'_>) -> Option<usize> {
        let head = rest.get(..3)?;
        let len = usize::from(u16::from_le_bytes([head[0], head[1]]));
        if len < 8 || len > self.inside {
            tally.end = Some(format!("a record of {len} bytes in {} that are left", self.inside));
            return None;
        }
        let here = len.min(rest.len());
        if here < len && tally.wants_all() {
            return None;
        }
        if head[2] >= MARKET_DATA_KINDS {
            tally.record(&rest[..here]);
        } else {
            tally.other += 1;
        }
        self.inside -= len;
        self.skip = len - here;
        Some(here)
    }
}

/// A text that is no market data: an error ends the bench.
fn control(payload: &[u8], tally: &mut Tally<'_>) {
    tally.other += 1;
    if memchr::memmem::find(payload, b"\"error\"").is_some() {
        tally.end = Some(String::from_utf8_lossy(&payload[..payload.len().min(400)]).into_owned());
    }
}
