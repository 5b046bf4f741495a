//! A shard's numbers as others see them: the handle's exact counts and the metrics.
//! Written once per turn, never per frame.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use metrics::{Counter, Gauge, Histogram};

use crate::gateway::connection::outbox::Counts;
use crate::hub::Encoding;
use crate::protocol::close::CloseReason;
use crate::telemetry::metrics::{
    CONSUMERS, CONSUMERS_CLOSED, CONSUMERS_SLOW, FRAMES_SENT, SOCKET_WRITES, STATES_TOLD, TICK_LATENCY,
    TICKS_CONFLATED, TICKS_THROTTLED,
};

/// Outlives its shard: a shard made anew goes on counting.
#[derive(Default)]
pub(crate) struct Stats {
    consumers: AtomicUsize,
    slow: AtomicUsize,
    waiting: AtomicUsize,
    frames: AtomicU64,
    binary_frames: AtomicU64,
    conflated: AtomicU64,
    throttled: AtomicU64,
    writes: AtomicU64,
    bytes_written: AtomicU64,
    bytes_copied: AtomicU64,
    turns: AtomicU64,
}

impl Stats {
    /// Consumers connected, and those of them that get the latest values only.
    pub(crate) fn consumers(&self) -> (usize, usize) {
        (self.consumers.load(Ordering::Relaxed), self.slow.load(Ordering::Relaxed))
    }

    /// Bytes that wait for consumers whose sockets are full.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Exact counts since the gateway started.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            frames: self.frames.load(Ordering::Relaxed),
            binary_frames: self.binary_frames.load(Ordering::Relaxed),
            conflated: self.conflated.load(Ordering::Relaxed),
            throttled: self.throttled.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
            bytes_copied: self.bytes_copied.load(Ordering::Relaxed),
            turns: self.turns.load(Ordering::Relaxed),
        }
    }
}

/// A shard's way to write its [`Stats`] and the metrics. Dropping it takes its consumers off
/// the gauges, also when the shard panics.
pub(crate) struct Reporter<'a> {
    stats: &'a Stats,
    /// What was reported last.
    counts: Counts,
    consumers: usize,
    slow: usize,
    json_metric: Counter,
    binary_metric: Counter,
    conflated_metric: Counter,
    throttled_metric: Counter,
    writes_metric: Counter,
    consumers_metric: Gauge,
    slow_metric: Gauge,
    latency_metric: Histogram,
    states_metric: Counter,
    heartbeats_metric: Counter,
    closed_metrics: [Counter; CloseReason::ALL.len()],
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(stats: &'a Stats) -> Self {
        Self {
            stats,
            counts: Counts::default(),
            consumers: 0,
            slow: 0,
            json_metric: metrics::counter!(FRAMES_SENT, "encoding" => Encoding::Json.label()),
            binary_metric: metrics::counter!(FRAMES_SENT, "encoding" => Encoding::Binary.label()),
            conflated_metric: metrics::counter!(TICKS_CONFLATED),
            throttled_metric: metrics::counter!(TICKS_THROTTLED),
            writes_metric: metrics::counter!(SOCKET_WRITES),
            consumers_metric: metrics::gauge!(CONSUMERS),
            slow_metric: metrics::gauge!(CONSUMERS_SLOW),
            latency_metric: metrics::histogram!(TICK_LATENCY),
            states_metric: metrics::counter!(STATES_TOLD, "kind" => "state"),
            heartbeats_metric: metrics::counter!(STATES_TOLD, "kind" => "heartbeat"),
            closed_metrics: CloseReason::ALL
                .map(|reason| metrics::counter!(CONSUMERS_CLOSED, "reason" => reason.label())),
        }
    }

    /// Reports how things stand.
    pub(crate) fn report(&mut self, mut counts: Counts, consumers: usize, slow: usize, waiting: usize) {
        // Frames that left a queue again were reported already: the next ones make up for them.
        let json = counts.frames - counts.binary_frames;
        counts.binary_frames = counts.binary_frames.max(self.counts.binary_frames);
        counts.frames = counts.binary_frames + json.max(self.counts.frames - self.counts.binary_frames);
        if counts != self.counts {
            let old = std::mem::replace(&mut self.counts, counts);
            let add = |to: &AtomicU64, now: u64, before: u64| {
                to.fetch_add(now - before, Ordering::Relaxed);
                now - before
            };
            let frames = add(&self.stats.frames, counts.frames, old.frames);
            let binary = add(&self.stats.binary_frames, counts.binary_frames, old.binary_frames);
            self.json_metric.increment(frames - binary);
            self.binary_metric.increment(binary);
            self.conflated_metric.increment(add(&self.stats.conflated, counts.conflated, old.conflated));
            self.throttled_metric.increment(add(&self.stats.throttled, counts.throttled, old.throttled));
            self.writes_metric.increment(add(&self.stats.writes, counts.writes, old.writes));
            add(&self.stats.bytes_written, counts.bytes_written, old.bytes_written);
            add(&self.stats.bytes_copied, counts.bytes_copied, old.bytes_copied);
            add(&self.stats.turns, counts.turns, old.turns);
        }
        if consumers != self.consumers {
            self.consumers_metric.increment(consumers as f64 - self.consumers as f64);
            self.consumers = consumers;
            self.stats.consumers.store(consumers, Ordering::Relaxed);
        }
        if slow != self.slow {
            self.slow_metric.increment(slow as f64 - self.slow as f64);
            self.slow = slow;
            self.stats.slow.store(slow, Ordering::Relaxed);
        }
        self.stats.waiting.store(waiting, Ordering::Relaxed);
    }

    /// How long the oldest tick of a batch took, to the last consumer's socket.
    pub(crate) fn latency(&self, seconds: f64) {
        self.latency_metric.record(seconds);
    }

    /// So many states were queued for consumers.
    pub(crate) fn told_states(&self, count: u64) {
        self.states_metric.increment(count);
    }

    /// A heartbeat was.
    pub(crate) fn told_heartbeat(&self) {
        self.heartbeats_metric.increment(1);
    }

    /// A consumer's connection has ended, or is about to.
    pub(crate) fn closed(&self, reason: CloseReason) {
        if let Some(at) = CloseReason::ALL.iter().position(|r| *r == reason) {
            self.closed_metrics[at].increment(1);
        }
    }
}

impl Drop for Reporter<'_> {
    fn drop(&mut self) {
        let counts = self.counts;
        self.report(counts, 0, 0, 0);
    }
}
