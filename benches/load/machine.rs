//! What is asked of the operating system: time, pauses, processor time, memory, limits.

use std::num::NonZeroU64;
use std::panic::AssertUnwindSafe;

use rustix::process::{Resource, Rlimit};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Duration;

/// Nanoseconds of a clock that never steps. The same for all threads of this process.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Processor time of the calling thread in seconds.
pub(crate) fn thread_cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[expect(clippy::disallowed_methods, reason = "the threads here stand outside of any runtime")]
pub(crate) fn pause(length: Duration) {
    std::thread::sleep(length);
}

/// Lets the calling thread's short pauses be short: the kernel adds 50 µs otherwise.
pub(crate) fn exact_pauses() {
    // Best effort: pauses are longer without it, and nothing else changes.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// The most that the time between two polls counts: a machine that stood still has tried nothing meanwhile.
const POLL_COUNTS: u64 = 1_000_000_000;

/// How long something is polled for yet. Time passes with polls that really ran.
#[derive(Debug)]
pub(crate) struct Patience {
    left: u64,
    polled: u64,
}

impl Patience {
    pub(crate) fn new(length: Duration) -> Self {
        Self { left: length.as_nanos() as u64, polled: now() }
    }

    /// Pauses until the next poll; `false` when it is over.
    pub(crate) fn lasts(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        pause(Duration::from_millis(5));
        let at = now();
        self.left = self.left.saturating_sub((at - self.polled).min(POLL_COUNTS));
        self.polled = at;
        true
    }
}

/// Polls until `check` yields something, `None` when `patience` is over.
pub(crate) fn within<T>(patience: Duration, mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let mut patience = Patience::new(patience);
    loop {
        if let Some(value) = check() {
            return Some(value);
        }
        if !patience.lasts() {
            return None;
        }
    }
}

/// Does what may panic, as connecting does where a server misbehaves, and tells that in words.
///
/// # Errors
/// What it says itself, or what the panic says.
pub(crate) fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // Whatever was at work is dropped with the closure.
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(text.unwrap_or("it panicked").to_owned())
    })
}

/// Lets this process, and those that it starts, open as many sockets as the system allows.
pub(crate) fn raise_open_files() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
}

/// Processor time that a process has had, in seconds, with all its threads. The kernel counts it in hundredths.
pub(crate) fn process_cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// The most memory that a process ever had resident, in KiB.
pub(crate) fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
