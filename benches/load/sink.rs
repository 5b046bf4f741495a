//! One thread that reads what all consumers get: a readiness queue, one large buffer, nothing allocated per frame.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};
use tokio::time::Duration;

use super::check::{Ages, Checker};
use super::client::Connected;
use super::machine::{exact_pauses, now, pause, thread_cpu};
use super::scan::{Scan, Tally};
use super::ticks::SendTimes;

/// The most that is read of one consumer before the next has its turn.
const READ: usize = 256 << 10;
/// In the closed loop the sink waits so long between two turns, as if consumers were busy with what they have:
/// otherwise it would take the processor from the programs for reads of a few frames.
const TURN: Duration = Duration::from_micros(300);

/// A consumer that reads.
#[derive(Debug)]
pub(crate) struct Consumer<S> {
    pub(crate) connected: Connected,
    pub(crate) scan: S,
    /// `None`: frames are counted by their headers.
    pub(crate) checker: Option<Checker>,
}

/// What the sink shares with the rest of the bench.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) delivered: AtomicU64,
    /// Frames of the consumer that has had the fewest.
    pub(crate) slowest: AtomicU64,
    pub(crate) recording: AtomicBool,
    pub(crate) stop: AtomicBool,
    pub(crate) times: SendTimes,
    wrong: Mutex<Option<String>>,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            delivered: AtomicU64::new(0),
            slowest: AtomicU64::new(0),
            recording: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            times: SendTimes::new(),
            wrong: Mutex::new(None),
        })
    }

    /// Keeps the first thing that went wrong.
    pub(crate) fn fail(&self, why: String) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }

    pub(crate) fn wrong(&self) -> Option<String> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Acquire)
    }
}

/// What the sink has seen.
#[derive(Debug)]
pub(crate) struct Sunk {
    /// Frames of market data by consumer.
    pub(crate) counts: Vec<u64>,
    pub(crate) ages: Histogram<u64>,
    /// The shortest and the longest payload of those that were read whole.
    pub(crate) lengths: (usize, usize),
    pub(crate) frames: u64,
    pub(crate) reads: u64,
    pub(crate) cpu: f64,
}

/// Starts the thread; it ends with `Shared::stop`.
pub(crate) fn start<S: Scan + 'static>(
    consumers: Vec<Consumer<S>>,
    shared: Arc<Shared>,
    takes_turns: bool,
) -> JoinHandle<Sunk> {
    std::thread::spawn(move || run(consumers, &shared, takes_turns))
}

struct Reader<S> {
    socket: mio::net::TcpStream,
    scan: S,
    checker: Option<Checker>,
    /// Bytes of a frame whose end has not come.
    carry: Vec<u8>,
    count: u64,
}

fn run<S: Scan>(consumers: Vec<Consumer<S>>, shared: &Shared, takes_turns: bool) -> Sunk {
    exact_pauses();
    let mut poll = Poll::new().expect("the system has a readiness queue");
    let mut ages = Ages::new();
    let mut buffer = vec![0; READ + (1 << 20)];
    let mut readers = Vec::with_capacity(consumers.len());
    let (mut frames, mut reads) = (0, 0);
    for (index, Consumer { connected, scan, checker }) in consumers.into_iter().enumerate() {
        connected.socket.set_nonblocking(true).expect("sockets can be non-blocking");
        let mut socket = mio::net::TcpStream::from_std(connected.socket);
        poll.registry().register(&mut socket, Token(index), Interest::READABLE).expect("the queue takes it");
        let mut reader = Reader { socket, scan, checker, carry: Vec::new(), count: 0 };
        // What came with the last answer: nothing was published yet.
        buffer[..connected.read.len()].copy_from_slice(&connected.read);
        let early = reader.take(index, &mut buffer, connected.read.len(), &mut ages, shared);
        assert_eq!(early, 0, "market data before the first tick");
        readers.push(reader);
    }
    let mut events = Events::with_capacity(4_096);
    // Readiness is told once: a consumer that was not read empty is kept here.
    let (mut ready, mut again): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut is_ready = vec![false; readers.len()];
    let mut cpu = thread_cpu();
    while !shared.stop.load(Ordering::Acquire) {
        let patience = if ready.is_empty() { Duration::from_millis(50) } else { Duration::ZERO };
        match poll.poll(&mut events, Some(patience)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            result => result.expect("the queue works"),
        }
        let was_recording = std::mem::replace(&mut ages.recording, shared.recording.load(Ordering::Acquire));
        if ages.recording && !was_recording {
            (cpu, frames, reads) = (thread_cpu(), 0, 0);
        }
        for event in &events {
            let Token(index) = event.token();
            if !std::mem::replace(&mut is_ready[index], true) {
                ready.push(index);
            }
        }
        let mut counted = 0;
        for index in ready.drain(..) {
            is_ready[index] = false;
            let reader = &mut readers[index];
            let kept = reader.carry.len();
            buffer[..kept].copy_from_slice(&reader.carry);
            reader.carry.clear();
            let end = kept + READ;
            if buffer.len() < end {
                buffer.resize(end, 0);
            }
            match reader.socket.read(&mut buffer[kept..end]) {
                Ok(0) => shared.fail(format!("consumer {index}: the connection has ended")),
                Ok(len) => {
                    ages.now = now();
                    counted += reader.take(index, &mut buffer, kept + len, &mut ages, shared);
                    reads += 1;
                    if len == READ {
                        again.push(index);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    reader.carry.extend_from_slice(&buffer[..kept]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                    reader.carry.extend_from_slice(&buffer[..kept]);
                    again.push(index);
                }
                Err(error) => shared.fail(format!("consumer {index}: {error}")),
            }
        }
        std::mem::swap(&mut ready, &mut again);
        for &index in &ready {
            is_ready[index] = true;
        }
        frames += counted;
        shared.delivered.fetch_add(counted, Ordering::Release);
        if takes_turns {
            let slowest = readers.iter().map(|reader| reader.count).min();
            shared.slowest.store(slowest.unwrap_or(0), Ordering::Release);
            if ready.is_empty() {
                pause(TURN);
            }
        }
    }
    let counts = readers.iter().map(|reader| reader.count).collect();
    let checkers = readers.iter().filter_map(|reader| reader.checker.as_ref());
    let lengths = checkers.fold((usize::MAX, 0), |(low, high), checker| {
        (low.min(checker.lengths.0), high.max(checker.lengths.1))
    });
    Sunk { counts, ages: ages.histogram, lengths, frames, reads, cpu: thread_cpu() - cpu }
}

impl<S: Scan> Reader<S> {
    /// Scans the first `len` bytes, keeps what is not complete, returns the frames of market data.
    fn take(&mut self, index: usize, buffer: &mut [u8], len: usize, ages: &mut Ages, shared: &Shared) -> u64 {
        let mut tally = Tally {
            frames: 0,
            other: 0,
            reply: Vec::new(),
            end: None,
            checker: self.checker.as_mut(),
            ages,
            times: &shared.times,
        };
        let used = self.scan.scan(&buffer[..len], &mut tally);
        let Tally { frames, reply, end, .. } = tally;
        if !reply.is_empty() {
            // A few bytes into an empty buffer; a server that does not read them will say so.
            let _ = self.socket.write(&reply);
        }
        if let Some(why) = end {
            shared.fail(format!("consumer {index}: {why}"));
        }
        if let Some(why) = self.checker.as_mut().and_then(|checker| checker.wrong.take()) {
            shared.fail(format!("consumer {index}: {why}"));
        }
        self.carry.extend_from_slice(&buffer[used..len]);
        self.count += frames;
        frames
    }
}
