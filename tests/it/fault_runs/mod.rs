//! Seeded runs of faults against the whole server: whatever breaks upstream, consumers get no wrong value,
//! are not disconnected, and get prices again soon after; and it costs no login more than needed.
//!
//! Each seed stands for a few faults, one after another (`plan`). `FAULT_RUNS=200` (or `cargo faults`) runs
//! as many as are wanted of a release, `FAULT_SEED=N` repeats one, which a failure prints; `FAULT_LOG=1`
//! shows the server's log. Several servers run beside each other in this process.

mod plan;
mod truth;
mod watcher;
mod world;

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::StreamExt as _;
use serde_json::Value;
use tokio::time::Instant;

use plan::Fault;
use truth::Truth;
use watcher::Speech;
use world::{BACKOFF_CEILING, TICK_IDLE, World};

/// How many run if nobody says how many, and how many at once.
const RUNS: u64 = 12;
const AT_ONCE: usize = 4;

/// The machine's own lateness: what timers of this process were late in all. Who waits for the server may
/// wait for it, too.
struct Lateness {
    late: std::sync::Arc<std::sync::atomic::AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Lateness {
    fn watch() -> Self {
        let late = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let total = std::sync::Arc::clone(&late);
        let task = actix::spawn(async move {
            let step = Duration::from_millis(20);
            loop {
                let before = Instant::now();
                tokio::time::sleep(step).await;
                let over = before.elapsed().saturating_sub(step + Duration::from_millis(2));
                total.fetch_add(
                    u64::try_from(over.as_micros()).unwrap_or(u64::MAX),
                    std::sync::atomic::Ordering::Relaxed,
                );
            }
        });
        Self { late, task }
    }

    fn so_far(&self) -> Duration {
        Duration::from_micros(self.late.load(std::sync::atomic::Ordering::Relaxed))
    }
}

impl Drop for Lateness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a run came to.
#[derive(Default)]
struct Summary {
    /// The longest from a fault's end to live prices.
    slowest: Duration,
    faults: Vec<String>,
    sent: usize,
    got: usize,
    announced: usize,
    gaps: usize,
}

/// What the consumers that speak so were told of a kind from `begun` on.
fn told(world: &World, speech: Speech, kind: &str, begun: Instant) -> Vec<Value> {
    let mut found = Vec::new();
    for watcher in world.watchers.iter().filter(|w| w.speech == speech) {
        let book = watcher.book();
        let notes = book.notes.iter().filter(|(at, note)| *at >= begun && note["type"] == kind);
        found.extend(notes.map(|(_, note)| note.clone()));
    }
    found
}

/// Whoever asked for nothing but OpenAlgo gets nothing else.
fn plain_is_undisturbed(world: &World) -> Result<()> {
    for watcher in world.watchers.iter().filter(|w| w.speech == Speech::Plain) {
        let strange = watcher
            .book()
            .notes
            .iter()
            .map(|(_, note)| note.clone())
            .find(|note| !matches!(note["type"].as_str(), Some("auth" | "subscribe")));
        ensure!(strange.is_none(), "a plain consumer was sent {}", strange.unwrap_or_default());
    }
    Ok(())
}

async fn one_fault(world: &World, fault: &Fault, lateness: &Lateness, summary: &mut Summary) -> Result<()> {
    tokio::time::sleep(fault.pause).await;
    let generation = world.generation().await?;
    let (begun, late_before) = (Instant::now(), lateness.so_far());
    let over = world.inflict(fault).await?;
    let live = world.live_again(over, fault.ends_the_connection().then_some(generation)).await?;
    let took = live - over;
    // What is silent must be noticed first.
    let notice = if fault.is_silent() { TICK_IDLE * 2 } else { Duration::ZERO };
    let bound =
        BACKOFF_CEILING + Duration::from_secs(2) + notice + lateness.so_far().saturating_sub(late_before);
    ensure!(took <= bound, "{fault}: live after {took:?}, later than {bound:?}");
    summary.slowest = summary.slowest.max(took);
    summary.faults.push(format!("{fault} ({} ms)", took.as_millis()));
    // An interruption that lasted is announced.
    let late = lateness.so_far().saturating_sub(late_before);
    if fault.interrupts() && live - begun > TICK_IDLE * 2 + late {
        for speech in [Speech::Numbered, Speech::Binary] {
            let states = told(world, speech, "state", begun);
            let named = |state: &Value| matches!(state["state"].as_str(), Some("stale" | "connecting"));
            ensure!(states.iter().any(named), "{fault}: the {speech:?} consumer was not told: {states:?}");
        }
        summary.announced += 1;
    }
    Ok(())
}

async fn run(seed: u64) -> Result<Summary> {
    let plan = plan::plan(seed);
    let world = World::start(seed).await?;
    let lateness = Lateness::watch();
    let mut summary = Summary::default();
    let begun = Instant::now();
    for fault in &plan {
        one_fault(&world, fault, &lateness, &mut summary).await?;
    }
    world.settle().await?;
    let truth =
        Truth::read(&world.names, &world.tap, &world.sim("truth").await?).map_err(anyhow::Error::msg)?;
    summary.sent = truth.len();
    let mut wrong = Vec::new();
    for watcher in &world.watchers {
        let book = watcher.book();
        summary.got += book.prices.len();
        wrong.extend(truth.judge(&format!("{:?}", watcher.speech), &world.names, &book.prices, true));
    }
    ensure!(wrong.is_empty(), "{} wrong values:\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
    ensure!(summary.got > 50 && summary.sent > 20, "hardly anything was compared: {}", summary.got);

    // A gap that was opened ends, for both who hear of it.
    for speech in [Speech::Numbered, Speech::Binary] {
        let count = |kind: &str| told(&world, speech, kind, begun).len();
        world::until("the end of every gap", || async { Ok(count("gap_closed") >= count("gap")) }).await?;
        summary.gaps += count("gap");
    }
    plain_is_undisturbed(&world)?;

    let logins = world.sim("state").await?["logins"].clone();
    let ended =
        plan.iter().map(Fault::ended_sessions).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    for (product, needed) in [("market", 1 + ended.0), ("interactive", 1 + ended.1)] {
        let made = logins[product].as_u64().unwrap_or(u64::MAX);
        ensure!(made <= needed, "{made} {product} logins where {needed} were needed");
    }
    let journal = world.sim("logins").await?;
    for product in ["market", "interactive"] {
        ensure!(journal["max_in_flight"][product] == 1, "several logins at once: {journal}");
    }
    world.all_connected()?;
    world.stop().await?;
    Ok(summary)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn whatever_breaks_nothing_wrong_is_told_and_all_is_live_again() {
    if std::env::var("FAULT_LOG").is_ok() {
        tickgate::telemetry::log::init(
            &tickgate::telemetry::log::Settings::default(),
            std::sync::Arc::new(tickgate::clock::SystemClock),
        );
    }
    let seeds: Vec<u64> = match number("FAULT_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("FAULT_RUNS").unwrap_or(RUNS)).collect(),
    };
    let at_once = number("FAULT_AT_ONCE").map_or(AT_ONCE, |n| usize::try_from(n).unwrap());
    crate::rig::run(|| async {
        let runs = seeds.iter().map(|&seed| async move {
            // Bounded, whatever happens.
            let ended = tokio::time::timeout(Duration::from_mins(3), run(seed)).await;
            (seed, ended.unwrap_or_else(|_| Err(anyhow::anyhow!("it did not end"))))
        });
        let mut runs = futures::stream::iter(runs).buffer_unordered(at_once);
        let mut failed = Vec::new();
        while let Some((seed, outcome)) = runs.next().await {
            match outcome {
                Ok(done) => eprintln!(
                    "FAULT_SEED={seed}: {} sent, {} got, {} announced, {} gaps, slowest {} ms: {}",
                    done.sent,
                    done.got,
                    done.announced,
                    done.gaps,
                    done.slowest.as_millis(),
                    done.faults.join("; ")
                ),
                Err(why) => {
                    let plan: Vec<_> = plan::plan(seed).iter().map(ToString::to_string).collect();
                    eprintln!("FAULT_SEED={seed} FAILED ({}): {why:#}", plan.join("; "));
                    failed.push(seed);
                }
            }
        }
        assert!(failed.is_empty(), "{} of {} failed, seeds {failed:?}", failed.len(), seeds.len());
    });
}
