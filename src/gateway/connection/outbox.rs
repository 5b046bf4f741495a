//! What a connection still has to send: frames the socket did not take, control frames that
//! go out at the next frame boundary, and, past the bound, which topics are owed their latest
//! frame. Never tears or alters a frame. Knows no clock, and of subscriptions what it is told.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};

use tokio::time::Instant;

use crate::gateway::connection::dirty::{Dirty, Skips};
use crate::gateway::connection::queue::Queue;
use crate::gateway::connection::terms::{Source, Terms};
use crate::gateway::connection::wire::{MAX_SLICES, Wire};
use crate::gateway::shard::turn::{Run, Turn};
use crate::hub::{Encoding, TopicId};

/// Runs shorter than this are copied together: a slice of a vectored write costs as much as
/// copying some 3 KiB (70 to 100 ns against 6 ns for 204 bytes, measured on loopback).
const COPY_BELOW: usize = 2048;
/// The most that is copied together for one write.
const COPY_BYTES: usize = 256 << 10;
/// How much is made of dirty topics at a time.
const REFILL_BYTES: usize = 64 << 10;

/// Exact counts of one shard, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Market-data frames handed to sockets, or queued for one. Those that leave a queue again, because
    /// others may not be missing, are taken back.
    pub frames: u64,
    /// Those of them that are binary.
    pub binary_frames: u64,
    /// Frames that were replaced by a newer one before their consumer could take them.
    pub conflated: u64,
    /// Frames that were left out because their consumer wants fewer.
    pub throttled: u64,
    /// Write calls, those that took nothing included.
    pub writes: u64,
    /// Bytes that sockets took.
    pub bytes_written: u64,
    /// Bytes that were copied on their way, to gather short runs or to wait for a socket.
    pub bytes_copied: u64,
    /// Times the shard was awake for batches, whatever their number.
    pub turns: u64,
}

impl Counts {
    /// The frames counted since there were `before` have this encoding.
    pub(crate) fn attribute(&mut self, before: u64, encoding: Encoding) {
        if encoding == Encoding::Binary {
            // Frames that left a queue again count less.
            self.binary_frames = self.binary_frames + self.frames - before;
        }
    }
}

/// What a shard lends to a connection that sends.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    pub(crate) counts: Counts,
    /// Short runs, copied together.
    copy: Vec<u8>,
    segments: Vec<Segment>,
}

/// A piece of one write.
#[derive(Clone, Copy, Debug)]
enum Segment {
    /// One of the outbox' own slices.
    Own(usize),
    /// A range of the copies.
    Copied(usize, usize),
    /// A run where it stands.
    Run(Run),
}

/// The kinds of control frame, and what goes their way; an unsent one gives way to a newer one of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    Ping,
    Pong,
    Heartbeat,
    Close,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Queue,
    control: VecDeque<(Control, Box<[u8]>)>,
    /// Bytes of the first control frame that are gone; then no frame of the queue is begun.
    control_sent: usize,
    /// `Some`: past the bound, conflating.
    dirty: Option<Box<Dirty>>,
    /// `Some`: the consumer is to be told what was conflated.
    skips: Option<Box<Skips>>,
    /// A frame that may not be missing did not fit.
    overrun: bool,
    /// Bytes of answers queued since the queue was last empty.
    answers: usize,
    /// The socket took less than it was given, and has not said since that it takes more.
    blocked: bool,
}

impl Outbox {
    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting() == 0 && self.control.is_empty() && self.dirty.is_none()
    }

    /// Bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Whether the socket must say that it takes more before anything is written.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether it sends the latest frame of each topic only.
    pub(crate) fn is_conflating(&self) -> bool {
        self.dirty.is_some()
    }

    /// Appends whole frames that `write` makes: answers to the consumer. Not bounded here;
    /// the shard stops reading from a consumer that does not take its answers.
    pub(crate) fn answer(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.answers += self.queue.push_with(None, write);
    }

    /// Bytes of answers that may still wait.
    pub(crate) fn answers(&self) -> usize {
        self.answers
    }

    /// Appends bytes that are no frames, before any frame: the answer to the handshake.
    pub(crate) fn preface(&mut self, bytes: &[u8]) {
        debug_assert!(self.is_empty(), "the handshake comes first");
        self.queue.push_torn(bytes);
    }

    /// Whether a latest frame so long may wait although it is promised. The frames behind it must have
    /// room too.
    pub(crate) fn has_room_for_latest(&self, len: usize, limit: usize) -> bool {
        self.waiting() + len <= limit / 2
    }

    /// Whether the latest frame of a topic leaves as soon as the socket takes it.
    pub(crate) fn owes(&self, topic: TopicId) -> bool {
        self.dirty.as_ref().is_some_and(|dirty| dirty.contains(topic))
    }

    /// Queues the latest frame of a topic upon subscribing. Of a promised one that has no room now the
    /// latest leaves later, and the promise begins with that: a long list ends nobody who subscribes it.
    pub(crate) fn offer_latest(
        &mut self,
        topic: TopicId,
        frame: &[u8],
        terms: &Terms<'_>,
        counts: &mut Counts,
    ) {
        if terms.is_promised(topic) && !self.overrun && !self.has_room_for_latest(frame.len(), terms.limit) {
            self.conflate(topic, terms.now, counts);
        } else {
            self.offer(topic, frame, terms, counts);
        }
    }

    /// Queues a frame of a topic that the socket did not take.
    pub(crate) fn offer(&mut self, topic: TopicId, frame: &[u8], terms: &Terms<'_>, counts: &mut Counts) {
        if self.overrun {
            // The connection ends; nothing behind the missing frame may be taken for complete.
            return;
        }
        // Before what is owed of it has left, nothing of it is missing that was promised.
        let is_promised = terms.is_promised(topic) && !self.owes(topic);
        if is_promised && self.waiting() + frame.len() > terms.limit {
            self.make_room(terms, counts);
        }
        let fits = self.waiting() + frame.len() <= terms.limit;
        if fits && (is_promised || self.dirty.is_none()) {
            self.queue.push(topic, frame, terms.now);
            counts.frames += 1;
            counts.bytes_copied += frame.len() as u64;
        } else if is_promised {
            self.overrun = true;
        } else {
            self.conflate(topic, terms.now, counts);
        }
    }

    /// Frames of topics that may be conflated are, so that others fit.
    fn make_room(&mut self, terms: &Terms<'_>, counts: &mut Counts) {
        for (topic, came) in self.queue.evict(|topic| !terms.is_promised(topic)) {
            counts.frames -= 1;
            // Of a topic that was left meanwhile nothing is owed.
            if terms.held.binary_search(&topic).is_ok() {
                self.conflate(topic, came, counts);
            }
        }
    }

    /// From now on some frames may not be missing: others give way to them.
    pub(crate) fn promise(&mut self) {
        self.queue.start_index();
    }

    /// Every frame may be missing again.
    pub(crate) fn promise_nothing(&mut self) {
        self.queue.end_index();
    }

    /// Whether a frame that may not be missing did not fit: the connection must end.
    pub(crate) fn is_overrun(&self) -> bool {
        self.overrun
    }

    /// Whether the consumer is to be told what was conflated.
    pub(crate) fn tell_skips(&mut self, tell: bool) {
        match (&self.skips, tell) {
            (None, true) => self.skips = Some(Box::default()),
            (Some(_), false) => self.skips = None,
            _ => {}
        }
    }

    /// Nothing more is owed of a topic.
    pub(crate) fn forget(&mut self, topic: TopicId) {
        if let Some(dirty) = &mut self.dirty {
            dirty.remove(topic);
        }
        if let Some(skips) = &mut self.skips {
            skips.take(topic);
        }
    }

    /// Queues a ping.
    pub(crate) fn ping(&mut self, frame: &[u8]) {
        self.push_control(Control::Ping, frame);
    }

    /// Queues a pong. Of several that could not be sent yet only the newest is (RFC 6455 5.5.3).
    pub(crate) fn pong(&mut self, frame: &[u8]) {
        self.push_control(Control::Pong, frame);
    }

    /// Queues a heartbeat, at the next frame boundary. Of several that could not be sent yet only the newest is.
    pub(crate) fn heartbeat(&mut self, frame: &[u8]) {
        self.push_control(Control::Heartbeat, frame);
    }

    /// Queues a close frame behind the frame that is begun, and drops everything else.
    pub(crate) fn close(&mut self, frame: &[u8]) {
        self.queue.drop_whole();
        self.answers = 0;
        self.dirty = None;
        self.skips = None;
        self.control.truncate(usize::from(self.control_sent > 0));
        self.push_control(Control::Close, frame);
    }

    fn push_control(&mut self, kind: Control, frame: &[u8]) {
        let unsent = usize::from(self.control_sent > 0);
        if let Some(same) = self.control.iter_mut().skip(unsent).find(|(other, _)| *other == kind) {
            same.1 = frame.into();
        } else {
            self.control.push_back((kind, frame.into()));
        }
    }

    /// Sends a turn's frames behind what waits. What the socket refuses is kept within
    /// the limit; beyond that, topics become dirty.
    ///
    /// # Errors
    /// The socket's, if it is broken.
    pub(crate) fn send<W: Wire>(
        &mut self,
        wire: &mut W,
        turn: &Turn,
        due: &Due<'_>,
        terms: &Terms<'_>,
        sending: &mut Sending,
    ) -> io::Result<()> {
        // Taken back for those that become a dirty topic instead.
        sending.counts.frames += u64::from(due.frames);
        let mut rest = Rest { runs: due.runs, sent: 0 };
        while !self.blocked && self.dirty.is_none() {
            if rest.runs.is_empty() && self.waiting() == 0 && self.control.is_empty() {
                return Ok(());
            }
            match self.write_some(wire, turn, &rest, sending) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    sending.counts.bytes_written += taken as u64;
                    let own = taken.min(self.own_len());
                    self.consume(own);
                    rest.advance(taken - own);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.blocked = true,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.keep(rest, turn, terms, &mut sending.counts);
        Ok(())
    }

    /// Sends what waits, then the latest frame of each dirty topic, `limit` bytes at a time, until
    /// the socket takes no more. To be called when the socket may take more, or something was queued.
    ///
    /// # Errors
    /// The socket's, if it is broken.
    pub(crate) fn pump<W: Wire>(
        &mut self,
        wire: &mut W,
        source: &mut impl Source,
        limit: usize,
        sending: &mut Sending,
    ) -> io::Result<()> {
        self.blocked = false;
        loop {
            while self.own_len() > 0 {
                sending.counts.writes += 1;
                let (slices, count) = self.own_slices();
                let taken = match count {
                    1 => wire.write(slices[0]),
                    _ => wire.write_vectored(&slices.map(IoSlice::new)[..count]),
                };
                match taken {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(taken) => {
                        sending.counts.bytes_written += taken as u64;
                        self.consume(taken);
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {
                        self.blocked = true;
                        return Ok(());
                    }
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            let Some(dirty) = &mut self.dirty else { return Ok(()) };
            // At least one, however little room all the others have left.
            while self.queue.waiting() < REFILL_BYTES.min(limit.max(1))
                && let Some(topic) = dirty.pop()
            {
                if let Some(skipped) = self.skips.as_mut().and_then(|skips| skips.take(topic)) {
                    self.queue.push_with(None, |out| source.notice(topic, &skipped, out));
                }
                let counts = &mut sending.counts;
                let len = self.queue.push_with(Some((topic, source.now())), |out| {
                    counts.throttled += u64::from(source.latest(topic, out));
                });
                counts.frames += u64::from(len > 0);
                counts.bytes_copied += len as u64;
            }
            if dirty.is_empty() {
                self.dirty = None;
            }
        }
    }

    fn own_len(&self) -> usize {
        let control: usize = self.control.iter().map(|(_, frame)| frame.len()).sum();
        self.waiting() + control - self.control_sent
    }

    /// What waits, in the order it must leave: the rest of a begun frame, control frames, the
    /// queue. Only as many control frames as there are places.
    fn own_slices(&self) -> ([&[u8]; 7], usize) {
        let mut slices: [&[u8]; 7] = [&[]; 7];
        let (mut count, mut skip) = (0, self.control_sent);
        let mut push = |slice| {
            slices[count] = slice;
            count += 1;
        };
        if !self.queue.torn().is_empty() {
            push(self.queue.torn());
        }
        // There is at most one ping, pong, heartbeat and close each, and one more that is half sent.
        for (_, frame) in &self.control {
            push(&frame[std::mem::take(&mut skip)..]);
        }
        if !self.queue.whole().is_empty() {
            push(self.queue.whole());
        }
        (slices, count)
    }

    fn write_some<W: Wire>(
        &mut self,
        wire: &mut W,
        turn: &Turn,
        rest: &Rest<'_>,
        sending: &mut Sending,
    ) -> io::Result<usize> {
        sending.counts.writes += 1;
        let (own, own_count) = self.own_slices();
        // The usual case: nothing waits, and the consumer wants neighbouring frames.
        if own_count == 0
            && let [run] = rest.runs
        {
            return wire.write(&turn.bytes(*run)[rest.sent as usize..]);
        }
        sending.copy.clear();
        sending.segments.clear();
        for (at, slice) in own.iter().enumerate().take(own_count) {
            sending.gather(slice, Segment::Own(at));
        }
        for (at, run) in rest.runs.iter().enumerate() {
            let run = if at == 0 { run.skip(rest.sent) } else { *run };
            if sending.segments.len() == MAX_SLICES || sending.copy.len() >= COPY_BYTES {
                break;
            }
            sending.gather(turn.bytes(run), Segment::Run(run));
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        for (slice, segment) in slices.iter_mut().zip(&sending.segments) {
            *slice = IoSlice::new(match *segment {
                Segment::Own(at) => own[at],
                Segment::Copied(start, end) => &sending.copy[start..end],
                Segment::Run(run) => turn.bytes(run),
            });
        }
        match sending.segments.len() {
            1 => wire.write(&slices[0]),
            count => wire.write_vectored(&slices[..count]),
        }
    }

    /// Takes `taken` bytes off what waits, in the order of [`Self::own_slices`].
    fn consume(&mut self, mut taken: usize) {
        taken -= self.queue.consume_torn(taken);
        while taken > 0
            && let Some((_, frame)) = self.control.front()
        {
            let part = taken.min(frame.len() - self.control_sent);
            self.control_sent += part;
            taken -= part;
            if self.control_sent == frame.len() {
                self.control.pop_front();
                self.control_sent = 0;
            }
        }
        if taken > 0 {
            self.queue.consume_whole(taken);
        }
        if self.queue.tidy() {
            self.answers = 0;
        }
    }

    /// Keeps what the socket did not take of a turn.
    fn keep(&mut self, mut rest: Rest<'_>, turn: &Turn, terms: &Terms<'_>, counts: &mut Counts) {
        if rest.sent > 0 {
            // The socket has begun with a run. The frame it is in the middle of must follow,
            // whatever the limit.
            let run = rest.runs[0];
            let at = run.start + rest.sent;
            let end = turn.frame_end(at).min(run.end);
            if end > at {
                debug_assert!(self.waiting() == 0 && self.control.is_empty());
                self.queue.push_torn(turn.bytes(Run { start: at, end }));
                counts.bytes_copied += u64::from(end - at);
                rest.sent += end - at;
            }
        }
        while let Some((run, others)) = rest.runs.split_first() {
            let run = run.skip(rest.sent);
            rest = Rest { runs: others, sent: 0 };
            let bytes = turn.bytes(run);
            if self.dirty.is_none() && self.waiting() + bytes.len() <= terms.limit && !self.overrun {
                self.queue.push_run(turn, run, terms.now);
                counts.bytes_copied += bytes.len() as u64;
                continue;
            }
            let mut at = 0;
            for entry in turn.entries(run) {
                let frame = &bytes[at..at + entry.len as usize];
                at += entry.len as usize;
                counts.frames -= 1;
                self.offer(entry.topic, frame, terms, counts);
            }
        }
    }

    fn conflate(&mut self, topic: TopicId, came: Instant, counts: &mut Counts) {
        let replaced = self.dirty.get_or_insert_default().insert(topic);
        counts.conflated += u64::from(replaced);
        if let Some(skips) = &mut self.skips {
            skips.note(topic, replaced, came);
        }
    }
}

impl Sending {
    /// Adds a piece to the write: short ones are copied behind each other.
    fn gather(&mut self, bytes: &[u8], segment: Segment) {
        if bytes.len() >= COPY_BELOW {
            self.segments.push(segment);
            return;
        }
        let start = self.copy.len();
        self.copy.extend_from_slice(bytes);
        self.counts.bytes_copied += bytes.len() as u64;
        match self.segments.last_mut() {
            Some(Segment::Copied(_, end)) => *end = self.copy.len(),
            _ => self.segments.push(Segment::Copied(start, self.copy.len())),
        }
    }
}

/// What a connection is to get of a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due<'a> {
    /// Where the frames stand.
    pub(crate) runs: &'a [Run],
    /// How many they are.
    pub(crate) frames: u32,
}

/// The part of a turn's runs that has not been taken.
#[derive(Clone, Copy, Debug)]
struct Rest<'a> {
    runs: &'a [Run],
    /// Bytes of the first run that are gone; less than its length.
    sent: u32,
}

impl Rest<'_> {
    fn advance(&mut self, mut taken: usize) {
        while taken > 0
            && let Some((run, others)) = self.runs.split_first()
        {
            let left = (run.len() - self.sent) as usize;
            if taken < left {
                self.sent += taken as u32;
                return;
            }
            taken -= left;
            self.runs = others;
            self.sent = 0;
        }
    }
}
