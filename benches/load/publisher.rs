//! Publishes: as fast as it comes through with a bounded number on its way (the closed loop), or evenly spaced at a
//! fixed rate, where a tick's time is the one it was *to be* sent at, so that a stall counts for all that waited.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use tokio::time::Duration;

use super::machine::{exact_pauses, now, pause, thread_cpu};
use super::sink::Shared;
use super::ticks::Tick;

/// Bytes of one write: what is due beyond goes with the next.
const WRITE: usize = 60_000;

/// How a program is fed.
pub(crate) trait Outlet: Send {
    /// How many ticks are put together where so many are due.
    fn batch(&self) -> usize;

    /// Appends ticks.
    fn encode(&mut self, ticks: &[Tick], out: &mut Vec<u8>);

    /// # Errors
    /// If the program does not take it.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// What is published.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// Deliveries due of each instrument's tick.
    pub(crate) fan: Vec<u64>,
    /// Ticks a second; `None`: the closed loop.
    pub(crate) rate: Option<u32>,
    /// Instruments that each consumer wants.
    pub(crate) each: u64,
    /// Deliveries on their way in the closed loop.
    pub(crate) window: u64,
    /// Frames that one consumer may be behind by there.
    pub(crate) lag: u64,
}

/// What the publisher tells meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) ticks: AtomicU64,
    /// Deliveries due of what has been sent.
    pub(crate) due: AtomicU64,
    /// The first tick of every instrument has come through; the rest may begin.
    pub(crate) go: AtomicBool,
    pub(crate) stop: AtomicBool,
    /// Nothing more will be sent.
    pub(crate) done: AtomicBool,
}

/// Starts the thread, returns its processor time in the end.
pub(crate) fn start(
    outlet: Box<dyn Outlet>,
    offer: Offer,
    shared: Arc<Shared>,
    progress: Arc<Progress>,
) -> JoinHandle<f64> {
    std::thread::spawn(move || {
        exact_pauses();
        let mut publisher =
            Publisher { outlet, offer, shared, progress, next: 0, out: Vec::new(), ticks: Vec::new() };
        if let Err(error) = publisher.run() {
            publisher.shared.fail(format!("the program no longer takes its feed: {error}"));
        }
        publisher.progress.done.store(true, Ordering::Release);
        thread_cpu()
    })
}

struct Publisher {
    outlet: Box<dyn Outlet>,
    offer: Offer,
    shared: Arc<Shared>,
    progress: Arc<Progress>,
    /// The next tick's number.
    next: u64,
    out: Vec<u8>,
    ticks: Vec<Tick>,
}

impl Publisher {
    fn run(&mut self) -> io::Result<()> {
        let symbols = self.offer.fan.len() as u64;
        while self.next < symbols {
            let count = (symbols - self.next).min(self.outlet.batch() as u64);
            let at = now();
            self.put(count, |_| at);
            self.send()?;
        }
        while !self.progress.go.load(Ordering::Acquire) {
            if self.stopped() {
                return Ok(());
            }
            pause(Duration::from_millis(1));
        }
        match self.offer.rate {
            None => self.closed_loop(),
            Some(rate) => self.paced(f64::from(rate)),
        }
    }

    fn stopped(&self) -> bool {
        self.progress.stop.load(Ordering::Acquire)
    }

    fn closed_loop(&mut self) -> io::Result<()> {
        let batch = self.outlet.batch() as u64;
        let (symbols, each) = (self.offer.fan.len() as u64, self.offer.each);
        while !self.stopped() {
            let (due, delivered) = (self.progress.due.load(Ordering::Relaxed), self.shared.delivered());
            let mut free = (delivered + self.offer.window).saturating_sub(due);
            // The slowest has had so many frames, which are its share of the ticks.
            let last = (self.shared.slowest.load(Ordering::Acquire) + self.offer.lag) * symbols / each;
            let at = now();
            while free > 0 && self.next < last && self.out.len() < WRITE {
                free = free.saturating_sub(self.put(batch, |_| at));
            }
            if self.out.is_empty() {
                pause(Duration::from_micros(100));
            } else {
                self.send()?;
            }
        }
        Ok(())
    }

    fn paced(&mut self, rate: f64) -> io::Result<()> {
        let (start, first) = (now(), self.next);
        let time_of = move |number: u64| start + ((number - first + 1) as f64 * 1e9 / rate) as u64;
        let batch = self.outlet.batch() as u64;
        while !self.stopped() {
            let at = now();
            // Those whose time has come.
            let due = first + (at.saturating_sub(start) as f64 * rate / 1e9) as u64;
            while self.next < due && self.out.len() < WRITE {
                self.put(batch.min(due - self.next), time_of);
            }
            if self.out.is_empty() {
                let wait = time_of(self.next).saturating_sub(now());
                pause(Duration::from_nanos(wait.min(50_000_000)));
            } else {
                self.send()?;
            }
        }
        Ok(())
    }

    /// Adds so many ticks to what is sent next, returns the deliveries that are due of them.
    fn put(&mut self, count: u64, time_of: impl Fn(u64) -> u64) -> u64 {
        let symbols = self.offer.fan.len();
        self.ticks.clear();
        let mut due = 0;
        for number in self.next..self.next + count {
            let symbol = (number % symbols as u64) as usize;
            self.shared.times.set(number, time_of(number));
            self.ticks.push(Tick { number, symbol });
            due += self.offer.fan[symbol];
        }
        self.next += count;
        self.outlet.encode(&self.ticks, &mut self.out);
        self.progress.due.fetch_add(due, Ordering::Release);
        due
    }

    fn send(&mut self) -> io::Result<()> {
        self.outlet.send(&self.out)?;
        self.out.clear();
        self.progress.ticks.store(self.next, Ordering::Release);
        Ok(())
    }
}
