//! One measurement: the first tick of everything, warm-up, the measured time, and then until every consumer has
//! read everything that was due to it, which is when the clock stops.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hdrhistogram::Histogram;
use tokio::time::Duration;

use super::check::Checker;
use super::client::Connected;
use super::machine::{Patience, now, pause, peak_memory, process_cpu, within};
use super::publisher::{self, Offer, Outlet, Progress};
use super::scan::Scan;
use super::shape::Shape;
use super::sink::{self, Consumer, Shared};
use super::witness::Witness;

/// Where not every frame must be read for its time, those of one in so many consumers are, for their order.
const CHECKED: usize = 16;
/// Deliveries on their way where there is a witness, who is slow.
const WITNESSED: u64 = 2_000;
/// How long the first ticks may take to come through, and in the end anything at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a measurement goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) warm_up: f64,
    pub(crate) measured: f64,
    /// Reads every frame of every consumer, whatever it costs.
    pub(crate) check_all: bool,
}

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    pub(crate) ticks: u64,
    pub(crate) frames: u64,
    pub(crate) frames_a_read: f64,
    /// Processor time of the program.
    pub(crate) server_cpu: f64,
    pub(crate) sink_cpu: f64,
    /// KiB.
    pub(crate) memory: u64,
    /// Frames that were due over the whole life of the consumers, and did not come.
    pub(crate) lost: u64,
    pub(crate) extra: u64,
    pub(crate) ages: Histogram<u64>,
    /// The shortest and the longest payload.
    pub(crate) lengths: (usize, usize),
}

/// One measurement that is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) shape: &'a Shape,
    /// What each consumer wants, the readers first.
    pub(crate) sets: &'a [Vec<usize>],
    /// Bytes of a frame, more or less.
    pub(crate) frame_len: usize,
    /// The program's process.
    pub(crate) pid: u32,
    pub(crate) times: Times,
}

/// Measures. A witness wants what the first consumer wants.
///
/// # Errors
/// What went wrong, in words: an end of a connection, a frame out of order, ticks that do not come through.
pub(crate) fn run<S: Scan + 'static>(
    plan: Plan<'_>,
    consumers: Vec<(Connected, S)>,
    witness: Option<Connected>,
    outlet: Box<dyn Outlet>,
) -> Result<Measured, String> {
    let Plan { shape, sets, frame_len, pid, times } = plan;
    let mut offer = Offer {
        fan: shape.fan(sets),
        rate: shape.rate,
        each: shape.each as u64,
        window: shape.window(),
        lag: Shape::lag(frame_len),
    };
    let (shared, progress) = (Shared::new(), Arc::new(Progress::default()));
    let witness = witness.map(|connected| {
        sets[0].iter().for_each(|symbol| offer.fan[*symbol] += 1);
        offer.window = offer.window.min(WITNESSED);
        Witness::start(connected, shape.symbols, &shared)
    });
    let is_paced = shape.rate.is_some();
    let consumers = consumers
        .into_iter()
        .enumerate()
        .map(|(index, (connected, scan))| {
            let checked = times.check_all || is_paced || index % CHECKED == 0;
            let checker = checked.then(|| Checker::new(shape.symbols, &sets[index]));
            Consumer { connected, scan, checker }
        })
        .collect();
    let sink = sink::start(consumers, Arc::clone(&shared), !is_paced);
    let publisher = publisher::start(outlet, offer, Arc::clone(&shared), Arc::clone(&progress));

    // The first thing that went wrong is the one to tell.
    let outcome = watch(&shared, &progress, shape.symbols, pid, times);
    progress.stop.store(true, Ordering::Release);
    shared.stop.store(true, Ordering::Release);
    publisher.join().map_err(|_| "the publisher failed")?;
    let sunk = sink.join().map_err(|_| "the sink failed")?;
    let (seconds, ticks, frames, server_cpu) = outcome?;

    let published = progress.ticks.load(Ordering::Acquire);
    let (mut lost, mut extra) = (0, 0);
    for (set, count) in sets.iter().zip(&sunk.counts) {
        let due = due_of(set, shape.symbols, published);
        lost += due.saturating_sub(*count);
        extra += count.saturating_sub(due);
    }
    if let Some(witness) = witness {
        let (saw, due) = (witness.finish()?, due_of(&sets[0], shape.symbols, published));
        if saw != due {
            return Err(format!("the witness saw {saw} frames, {due} were due"));
        }
    }
    Ok(Measured {
        seconds,
        ticks,
        frames,
        frames_a_read: sunk.frames as f64 / (sunk.reads as f64).max(1.0),
        server_cpu,
        sink_cpu: sunk.cpu,
        memory: peak_memory(pid),
        lost,
        extra,
        ages: sunk.ages,
        lengths: sunk.lengths,
    })
}

/// Frames due to a consumer of these instruments after so many ticks.
fn due_of(set: &[usize], symbols: usize, published: u64) -> u64 {
    let symbols = symbols as u64;
    let (rounds, begun) = (published / symbols, published % symbols);
    set.iter().map(|symbol| rounds + u64::from((*symbol as u64) < begun)).sum()
}

/// Takes it through its phases; returns seconds, ticks, frames and the program's processor time.
fn watch(
    shared: &Shared,
    progress: &Progress,
    symbols: usize,
    pid: u32,
    times: Times,
) -> Result<(f64, u64, u64, f64), String> {
    let due = || progress.due.load(Ordering::Acquire);
    through(shared, progress, symbols)?;
    progress.go.store(true, Ordering::Release);
    wait(shared, times.warm_up)?;
    shared.recording.store(true, Ordering::Release);
    let began = (now(), progress.ticks.load(Ordering::Acquire), shared.delivered(), process_cpu(pid));
    wait(shared, times.measured)?;
    progress.stop.store(true, Ordering::Release);
    let (mut seen, mut patience) = ((shared.delivered(), now()), Patience::new(PATIENCE));
    while !(progress.done.load(Ordering::Acquire) && shared.delivered() >= due()) && shared.wrong().is_none()
    {
        // Nothing comes any more: what is missing is lost, and told as such by who counts.
        if !patience.lasts() {
            break;
        }
        let delivered = shared.delivered();
        if delivered != seen.0 {
            (seen, patience) = ((delivered, now()), Patience::new(PATIENCE));
        }
    }
    // The last may have come between two polls.
    if shared.delivered() != seen.0 {
        seen.1 = now();
    }
    if let Some(why) = shared.wrong() {
        return Err(why);
    }
    let seconds = (seen.1 - began.0) as f64 / 1e9;
    let cpu = process_cpu(pid) - began.3;
    Ok((seconds, progress.ticks.load(Ordering::Acquire) - began.1, shared.delivered() - began.2, cpu))
}

/// Waits until everything has come through that was sent in the first round.
fn through(shared: &Shared, progress: &Progress, symbols: usize) -> Result<(), String> {
    let complete = within(PATIENCE, || {
        let sent = progress.ticks.load(Ordering::Acquire) >= symbols as u64;
        let due = progress.due.load(Ordering::Acquire);
        (sent && shared.delivered() >= due || shared.wrong().is_some()).then_some(())
    });
    if let Some(why) = shared.wrong() {
        return Err(why);
    }
    complete.ok_or_else(|| {
        let due = progress.due.load(Ordering::Acquire);
        format!("of the first tick of each instrument {due} frames were due, {} came", shared.delivered())
    })
}

fn wait(shared: &Shared, seconds: f64) -> Result<(), String> {
    let end = now() + (seconds * 1e9) as u64;
    while now() < end {
        if let Some(why) = shared.wrong() {
            return Err(why);
        }
        pause(Duration::from_millis(10));
    }
    Ok(())
}
