//! What was measured, as a line of text or of JSON.

use serde::Serialize;

use super::args::{Args, Encoding, Feed};
use super::measure::Measured;
use super::shape::Shape;

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) program: String,
    pub(crate) scenario: String,
    pub(crate) round: usize,
    pub(crate) mode: &'static str,
    pub(crate) encoding: &'static str,
    pub(crate) feed: &'static str,
    /// Messages in a frame of the broker.
    pub(crate) batch: usize,
    pub(crate) seconds: f64,
    pub(crate) ticks_per_s: f64,
    pub(crate) frames_per_s: f64,
    pub(crate) cpu_ns_per_frame: f64,
    pub(crate) cpu_cores: f64,
    pub(crate) memory_kib: u64,
    pub(crate) lost: u64,
    pub(crate) extra: u64,
    /// Frames that stalled consumers did not get.
    pub(crate) conflated: u64,
    /// Of the paced scenarios only.
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) p999_us: Option<f64>,
    pub(crate) frames_per_read: f64,
    pub(crate) sink_cores: f64,
    /// The shortest and the longest payload of a frame.
    pub(crate) payload_bytes: (usize, usize),
}

impl Row {
    pub(crate) fn new(program: &str, shape: &Shape, round: usize, measured: &Measured) -> Self {
        let seconds = measured.seconds;
        let quantile = |share: f64| {
            shape.rate.is_some().then(|| measured.ages.value_at_quantile(share) as f64 / 1_000.0)
        };
        Self {
            program: program.to_owned(),
            scenario: shape.name(),
            round,
            mode: "ltp",
            encoding: "json",
            feed: "own",
            batch: 1,
            seconds,
            ticks_per_s: measured.ticks as f64 / seconds,
            frames_per_s: measured.frames as f64 / seconds,
            cpu_ns_per_frame: measured.server_cpu * 1e9 / (measured.frames as f64).max(1.0),
            cpu_cores: measured.server_cpu / seconds,
            memory_kib: measured.memory,
            lost: measured.lost,
            extra: measured.extra,
            conflated: 0,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            frames_per_read: measured.frames_a_read,
            sink_cores: measured.sink_cpu / seconds,
            payload_bytes: measured.lengths,
        }
    }

    /// What is special about a run of tickgate.
    pub(crate) fn of_tickgate(self, args: &Args, conflated: u64) -> Self {
        Self {
            mode: args.mode.name(),
            encoding: match args.encoding {
                Encoding::Json => "json",
                Encoding::Binary => "binary",
            },
            feed: match args.feed {
                Feed::Binary => "binary",
                Feed::Json => "json",
            },
            batch: if args.feed == Feed::Json { 1 } else { args.batch },
            conflated,
            ..self
        }
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("a row is plain data")
    }

    pub(crate) const HEADINGS: &str = "program        scenario               ticks/s   frames/s  CPU/frame  cores  memory MiB  lost  conflated   p50 µs   p99 µs  p99.9 µs  frames/read";

    pub(crate) fn text(&self) -> String {
        let age = |quantile: Option<f64>| quantile.map_or("–".to_owned(), |us| format!("{us:.0}"));
        format!(
            "{:<14} {:<20} {:>9} {:>10} {:>7.0} ns {:>6.2} {:>11.1} {:>5} {:>10} {:>8} {:>8} {:>9} {:>12.1}",
            self.program,
            self.scenario,
            short(self.ticks_per_s),
            short(self.frames_per_s),
            self.cpu_ns_per_frame,
            self.cpu_cores,
            self.memory_kib as f64 / 1_024.0,
            self.lost,
            self.conflated,
            age(self.p50_us),
            age(self.p99_us),
            age(self.p999_us),
            self.frames_per_read,
        )
    }
}

/// A number with three digits or so.
pub(crate) fn short(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{:.2} M", n / 1e6),
        n if n >= 1e3 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

/// The middle one, of an even number the mean of both.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}
