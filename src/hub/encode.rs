//! Writes what is known of an instrument as one frame of a topic, WebSocket header included.
//! Not the decision which topics get one, and not the layouts: those are `protocol`'s.

use std::fmt;
use std::sync::Arc;

use crate::clock::{Clock, UnixNanos};
use crate::hub::batch::{Batch, Entry};
use crate::hub::publisher::{Counters, Slot, Times};
use crate::hub::topic::{Encoding, Topic};
use crate::hub::{FeedId, ShardId};
use crate::protocol::binary::{self, Header, Ltp};
use crate::protocol::openalgo::market_data::{
    Beside, push_sequence, write_bar, write_depth, write_ltp, write_quote,
};
use crate::protocol::{Mode, websocket};

/// What binary records of one publisher have in common.
pub(super) struct Stamp {
    clock: Arc<dyn Clock>,
    epoch: u32,
    source: u16,
    /// The time that records written now carry. Read for the first of them, if there is one.
    now: Option<UnixNanos>,
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stamp")
            .field("epoch", &self.epoch)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Stamp {
    pub(super) fn new(clock: Arc<dyn Clock>, epoch: u32, feed: FeedId) -> Self {
        Self { clock, epoch, source: feed.0 as u16, now: None }
    }

    /// The time is to be read again: once for each frame of the broker, not for each tick in it.
    pub(super) fn renew(&mut self) {
        self.now = None;
    }

    fn header(&mut self, topic: &Topic, known: &Slot, at: Times) -> Header {
        Header {
            flags: 0,
            number: topic.listing,
            seq: known.sequence,
            epoch: self.epoch,
            source: self.source,
            ts_event: at.event,
            ts_recv: at.recv,
            ts_sent: *self.now.get_or_insert_with(|| self.clock.now()),
        }
    }
}

/// Encodes what is known of an instrument as one frame of `topic`; nothing if too little is.
pub(super) fn encode(
    open: &mut Batch,
    counters: &mut Counters,
    known: &Slot,
    topic: &Topic,
    only: Option<ShardId>,
    stamp: &mut Stamp,
) {
    let start = open.bytes.len();
    let written = match topic.encoding {
        Encoding::Json | Encoding::JsonSeq => json(known, topic, &mut open.bytes),
        Encoding::Binary => record(known, topic, stamp, &mut open.bytes),
    };
    let Some(recv) = written else {
        open.bytes.truncate(start);
        return;
    };
    // A last value is as old as it is; only live ticks say how long the way took.
    if only.is_none() && (open.oldest_recv == UnixNanos::ZERO || recv < open.oldest_recv) {
        open.oldest_recv = recv;
    }
    counters.frames += 1;
    open.entries.push(Entry {
        topic: topic.id,
        offset: start as u32,
        len: (open.bytes.len() - start) as u32,
        only,
        sequence: known.sequence,
    });
}

/// The newest last price, and the day's volume if it is known.
fn newest(known: &Slot) -> Option<(Ltp, Times)> {
    let volume = known.quote.map(|(quote, _)| quote.volume);
    let newest = known.last.or(known.quote.map(|(quote, at)| (quote.last, at)));
    newest.map(|(last, at)| (Ltp { last, volume }, at))
}

/// What a depth frame shows beside the book.
fn beside(known: &Slot, recv: UnixNanos) -> Beside {
    let (lower, upper) = known.band.at(recv);
    Beside { open_interest: known.open_interest, upper, lower }
}

/// When what it wrote was read; `None`: too little is known.
fn json(known: &Slot, topic: &Topic, out: &mut Vec<u8>) -> Option<UnixNanos> {
    let body = websocket::begin(out);
    if let Some(head) = &topic.head {
        out.extend_from_slice(head);
        push_sequence(known.sequence, out);
    }
    let prefix = &topic.prefix;
    let recv = match topic.mode {
        Mode::Ltp => {
            let (ltp, at) = newest(known)?;
            write_ltp(prefix, &ltp.last, ltp.volume, at.recv, out);
            at.recv
        }
        Mode::Quote => {
            let (quote, at) = known.quote.as_ref()?;
            write_quote(prefix, quote, known.open_interest, at.recv, out);
            at.recv
        }
        Mode::Depth => {
            let ((quote, _), (depth, at)) = known.quote.as_ref().zip(known.depth.as_ref())?;
            write_depth(prefix, quote, depth, &beside(known, at.recv), at.recv, out);
            at.recv
        }
        Mode::Bar => {
            let (bar, at) = known.bar.as_deref()?;
            write_bar(prefix, bar, out);
            at.recv
        }
    };
    websocket::end_text(out, body);
    Some(recv)
}

/// The same as one binary record.
fn record(known: &Slot, topic: &Topic, stamp: &mut Stamp, out: &mut Vec<u8>) -> Option<UnixNanos> {
    // The lengths are known, so the header is written as it stays.
    let frame = websocket::encode_binary_header;
    let at = match topic.mode {
        Mode::Ltp => {
            let (ltp, at) = newest(known)?;
            frame(binary::LTP_LEN, out);
            binary::write_ltp(&stamp.header(topic, known, at), &ltp, out);
            at
        }
        Mode::Quote => {
            let (quote, at) = known.quote.as_ref()?;
            frame(binary::QUOTE_LEN, out);
            binary::write_quote(&stamp.header(topic, known, *at), quote, known.open_interest, out);
            *at
        }
        Mode::Depth => {
            let ((quote, _), (depth, at)) = known.quote.as_ref().zip(known.depth.as_ref())?;
            let beside = beside(known, at.recv);
            frame(binary::DEPTH_LEN, out);
            binary::write_depth(&stamp.header(topic, known, *at), quote, depth, &beside, out);
            *at
        }
        Mode::Bar => {
            let (bar, at) = known.bar.as_deref()?;
            frame(binary::BAR_LEN, out);
            binary::write_bar(&stamp.header(topic, known, *at), bar, out);
            *at
        }
    };
    Some(at.recv)
}
