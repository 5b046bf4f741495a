//! Ground truth: what the simulator really did, for others to compare with. What is noted, its
//! form as a line of JSON, and where it goes. Nothing here ever holds the simulator up: what
//! has no room is dropped, and how much is itself noted.
//!
//! One JSON object a line; `at` is nanoseconds since 1970, `what` says which line it is:
//!
//! | `what` | fields |
//! |---|---|
//! | `message` | `account`, `segment`, `id`, `code`, `sequence`, `ltp` (text; `NaN` is no number), `volume`, `last_trade` (seconds since 1970, 0: none), `open_interest`, `faulty`, and if so `fault` |
//! | `login` | `account` (null: unknown key), `product`, `outcome` (`granted`, `refused`, `failed`, `replaced`: a second device) |
//! | `session_end` | `account`, `product` |
//! | `socket_open`, `socket_close` | `socket`, `account`, `product` |
//! | `fault_begin`, `fault_end` | `number`, `fault`; at the end also `struck` |
//! | `dropped` | `lines`: so many before this one are missing |
//!
//! A value in a REST answer is a `message` too; one of `quotes` has an empty `account`.
//! `ltp` and the rest are as sent. `faulty` means: what went over the wire is not what the
//! market had, or cannot be read. With `time_jump` only the times are wrong, with `old_sequence`
//! the values were right when the fault began.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::UnixNanos;
use crate::market::{InstrumentId, Price};
use crate::sim::encode::{Message, NOT_A_NUMBER};

/// Notes between two collections, at most.
const MAX_NOTES: usize = 200_000;

/// Collections that wait for the file, at most.
const MAX_WAITING: usize = 256;

/// How long a line may stay in the buffer.
const FLUSH_AFTER: Duration = Duration::from_millis(200);

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// By the simulator's clock.
    pub at: UnixNanos,
    /// What.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A message went to every socket of an account in one format.
    Message(Sent),
    /// A login was answered.
    Login {
        /// The user; `None` if the key is unknown.
        account: Option<Arc<str>>,
        /// `market` or `interactive`.
        product: &'static str,
        /// `granted`, `refused`, `failed` or `replaced`.
        outcome: &'static str,
    },
    /// A session, and with it its token, ended.
    SessionEnd {
        /// The user.
        account: Arc<str>,
        /// `market` or `interactive`.
        product: &'static str,
    },
    /// A socket was opened, or is gone.
    Socket {
        /// Its number.
        socket: u64,
        /// The user.
        account: Arc<str>,
        /// `market` or `interactive`.
        product: &'static str,
        /// Opened, else closed.
        opened: bool,
    },
    /// A fault begins.
    FaultBegin {
        /// Its number over the simulator's life.
        number: u64,
        /// Its name.
        fault: &'static str,
    },
    /// A fault is over.
    FaultEnd {
        /// Its number.
        number: u64,
        /// Its name.
        fault: &'static str,
        /// How often it struck.
        struck: u64,
    },
    /// There was no room for so many.
    Dropped(u64),
}

/// A message, as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// The user.
    pub account: Arc<str>,
    /// Which instrument.
    pub id: InstrumentId,
    /// Message code.
    pub code: u16,
    /// Sequence number.
    pub sequence: i64,
    /// Last price; `None`: sent as NaN.
    pub ltp: Option<Price>,
    /// The day's volume.
    pub volume: i64,
    /// Of the last trade, zero if there was none.
    pub last_trade: UnixNanos,
    /// Open interest.
    pub open_interest: i64,
    /// What spoiled it.
    pub fault: Option<&'static str>,
}

impl Sent {
    /// What a message says.
    pub(crate) fn new(account: Arc<str>, message: &Message<'_>, fault: Option<&'static str>) -> Self {
        let quote = message.quote;
        Self {
            account,
            id: message.id,
            code: message.code,
            sequence: message.sequence,
            ltp: (quote.ltp != NOT_A_NUMBER).then_some(quote.ltp),
            volume: quote.volume,
            last_trade: quote.last_trade,
            open_interest: quote.open_interest,
            fault,
        }
    }
}

impl Note {
    /// Its line, without the end.
    pub fn to_json(&self) -> Value {
        let mut line = match &self.event {
            Event::Message(sent) => json!({
                "what": "message", "account": *sent.account,
                "segment": sent.id.segment.number(), "id": sent.id.code, "code": sent.code,
                "sequence": sent.sequence,
                "ltp": sent.ltp.map_or_else(|| "NaN".to_owned(), |p| p.to_string()),
                "volume": sent.volume, "last_trade": sent.last_trade.as_secs(),
                "open_interest": sent.open_interest, "faulty": sent.fault.is_some(),
            }),
            Event::Login { account, product, outcome } => {
                json!({ "what": "login", "account": account.as_deref(), "product": product, "outcome": outcome })
            }
            Event::SessionEnd { account, product } => {
                json!({ "what": "session_end", "account": **account, "product": product })
            }
            Event::Socket { socket, account, product, opened } => {
                let what = if *opened { "socket_open" } else { "socket_close" };
                json!({ "what": what, "socket": socket, "account": **account, "product": product })
            }
            Event::FaultBegin { number, fault } => {
                json!({ "what": "fault_begin", "number": number, "fault": fault })
            }
            Event::FaultEnd { number, fault, struck } => {
                json!({ "what": "fault_end", "number": number, "fault": fault, "struck": struck })
            }
            Event::Dropped(lines) => json!({ "what": "dropped", "lines": lines }),
        };
        line["at"] = json!(self.at.as_nanos());
        if let Event::Message(Sent { fault: Some(fault), .. }) = &self.event {
            line["fault"] = json!(fault);
        }
        line
    }
}

/// A bounded list that remembers how many had no room.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    is_on: bool,
    list: Vec<Note>,
    dropped: u64,
}

impl Notes {
    pub(crate) fn turn_on(&mut self) {
        self.is_on = true;
    }

    /// Whether anybody wants them: building one costs.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(crate) fn add(&mut self, at: UnixNanos, event: Event) {
        if !self.is_on {
            return;
        }
        if self.list.len() >= MAX_NOTES {
            self.dropped += 1;
            return;
        }
        self.list.push(Note { at, event });
    }

    /// What came since this was last asked.
    pub(crate) fn take(&mut self) -> Vec<Note> {
        let mut taken = std::mem::take(&mut self.list);
        if let (Some(last), 1..) = (taken.last(), self.dropped) {
            let at = last.at;
            taken.push(Note { at, event: Event::Dropped(std::mem::take(&mut self.dropped)) });
        }
        taken
    }
}

/// Where notes are read within the process: from [`crate::sim::SimServer::record_truth`].
#[derive(Clone, Debug)]
pub struct Recording(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    most: usize,
    notes: VecDeque<Note>,
    dropped: u64,
}

impl Recording {
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Kept { most, notes: VecDeque::new(), dropped: 0 })))
    }

    /// Takes out what is noted so far, and how many older ones had no room.
    pub fn take(&self) -> (Vec<Note>, u64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let notes = kept.notes.drain(..).collect();
        (notes, std::mem::take(&mut kept.dropped))
    }

    fn put(&self, notes: &[Note]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for note in notes {
            if kept.notes.len() >= kept.most {
                kept.notes.pop_front();
                kept.dropped += 1;
            }
            kept.notes.push_back(note.clone());
        }
    }
}

/// Where notes go.
#[derive(Debug, Default)]
pub(crate) struct Sinks {
    file: Option<SyncSender<Vec<Note>>>,
    lost: u64,
    recordings: Vec<Recording>,
}

impl Sinks {
    /// With a file, which is appended to by a thread of its own until this is dropped.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let (sender, received) = sync_channel(MAX_WAITING);
        std::thread::Builder::new().name("tickgate-truth".to_owned()).spawn(move || {
            if let Err(error) = write(&received, BufWriter::new(file)) {
                tracing::error!(%error, "the truth file cannot be written; what follows is not in it");
            }
        })?;
        Ok(Self { file: Some(sender), ..Self::default() })
    }

    pub(crate) fn record(&mut self, recording: Recording) {
        self.recordings.push(recording);
    }

    pub(crate) fn put(&mut self, mut notes: Vec<Note>) {
        for recording in &self.recordings {
            recording.put(&notes);
        }
        let Some(file) = &self.file else { return };
        if let (Some(first), 1..) = (notes.first(), self.lost) {
            notes.insert(0, Note { at: first.at, event: Event::Dropped(self.lost) });
        }
        let count = notes.iter().filter(|n| !matches!(n.event, Event::Dropped(_))).count() as u64;
        match file.try_send(notes) {
            Ok(()) => self.lost = 0,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.lost += count,
        }
    }
}

fn write(received: &Receiver<Vec<Note>>, mut out: impl Write) -> io::Result<()> {
    loop {
        match received.recv_timeout(FLUSH_AFTER) {
            Ok(notes) => {
                for note in notes {
                    serde_json::to_writer(&mut out, &note.to_json())?;
                    out.write_all(b"\n")?;
                }
            }
            Err(RecvTimeoutError::Timeout) => out.flush()?,
            Err(RecvTimeoutError::Disconnected) => return out.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(at: i64) -> Note {
        Note { at: UnixNanos::from_secs(at), event: Event::FaultBegin { number: 1, fault: "mute" } }
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let mut notes = Notes::default();
        notes.add(UnixNanos::ZERO, note(1).event);
        assert_eq!(notes.take(), [], "off until somebody asks");
        notes.turn_on();
        for _ in 0..MAX_NOTES + 3 {
            notes.add(UnixNanos::ZERO, note(1).event);
        }
        let taken = notes.take();
        assert_eq!((taken.len(), &taken.last().unwrap().event), (MAX_NOTES + 1, &Event::Dropped(3)));
        assert_eq!(notes.take(), []);
        let recording = Recording::new(2);
        recording.put(&[note(1), note(2), note(3)]);
        assert_eq!(recording.take(), (vec![note(2), note(3)], 1));
    }

    #[test]
    fn lines_reach_the_file_and_a_full_way_is_told() {
        let (sender, received) = sync_channel(1);
        let mut sinks = Sinks { file: Some(sender), ..Sinks::default() };
        sinks.put(vec![note(1)]);
        sinks.put(vec![note(2), note(3)]);
        let mut lines = Vec::new();
        for note in received.recv().unwrap() {
            lines.push(note.to_json());
        }
        sinks.put(vec![note(4)]);
        drop(sinks);
        let mut out = Vec::new();
        write(&received, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        lines.extend(text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()));
        let what: Vec<_> = lines.iter().map(|l| l["what"].as_str().unwrap()).collect();
        assert_eq!(what, ["fault_begin", "dropped", "fault_begin"]);
        assert_eq!((&lines[1]["lines"], &lines[2]["at"]), (&json!(2), &json!(4_000_000_000_i64)));
    }
}
