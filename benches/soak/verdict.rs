//! What the week came to, as a table, and whether that is good.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Date;

use super::stage::Held;

/// What memory and descriptors may have grown by, in percent. Each is the middle of nine looks within two
/// seconds, taken with the same consumers, so that neither a moment's buffer nor a visitor counts.
const MOST_GROWTH: f64 = 5.0;

/// Logins of one day.
#[derive(Debug)]
pub(crate) struct Day {
    pub(crate) date: Date,
    pub(crate) is_open: bool,
    pub(crate) market: u64,
    pub(crate) interactive: u64,
}

/// Interruptions of one cause.
#[derive(Debug, Default)]
struct Cause {
    times: u32,
    stale: Duration,
    slowest: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) days: Vec<Day>,
    pub(crate) wrong: Vec<String>,
    /// Prices that were compared with what was sent, and visitors who got some of them.
    pub(crate) compared: usize,
    pub(crate) visitors: usize,
    pub(crate) reconnects: u64,
    pub(crate) metrics: String,
    pub(crate) before: Held,
    pub(crate) after: Held,
    pub(crate) lasted: Duration,
    causes: BTreeMap<&'static str, Cause>,
}

impl Verdict {
    /// An interruption: from its begin, and from its cause's end, until prices came.
    pub(crate) fn stale(&mut self, cause: &'static str, whole: Duration, after: Duration) {
        let entry = self.causes.entry(cause).or_default();
        entry.times += 1;
        entry.stale += whole;
        entry.slowest = entry.slowest.max(after);
    }

    /// The sum over a metric's labels.
    fn metric(&self, name: &str) -> f64 {
        let lines = self
            .metrics
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Prints it. Whether it is good.
    pub(crate) fn print(&self, seed: u64) -> bool {
        let mut bad = Vec::new();
        println!("\nseed {seed}, {:.1} minutes", self.lasted.as_secs_f64() / 60.0);
        println!("\n{:<12} {:>8} {:>12}", "logins", "market", "interactive");
        for day in &self.days {
            println!(
                "{:<12} {:>8} {:>12}{}",
                day.date.to_string(),
                day.market,
                day.interactive,
                if day.is_open { "" } else { "  (closed)" }
            );
            let most = u64::from(day.is_open);
            if day.market > most || day.interactive > most {
                bad.push(format!("more logins than one for each product and trading day on {}", day.date));
            }
        }
        println!(
            "\n{:<30} {:>6} {:>9} {:>22}",
            "prices missing because", "times", "seconds", "slowest to come back"
        );
        for (name, cause) in &self.causes {
            println!(
                "{name:<30} {:>6} {:>9.1} {:>20} ms",
                cause.times,
                cause.stale.as_secs_f64(),
                cause.slowest.as_millis()
            );
        }
        println!("\nreconnects: {}", self.reconnects);
        for line in self.metrics.lines().filter(|line| line.starts_with("tickgate_feed_reconnects_total")) {
            println!("  {line}");
        }
        println!(
            "ticks in {}, frames out {}, conflated {}; {} prices of {} consumers compared, {} wrong",
            self.metric("tickgate_ticks_received_total"),
            self.metric("tickgate_frames_sent_total"),
            self.metric("tickgate_ticks_conflated_total"),
            self.compared,
            self.visitors + 6,
            self.wrong.len()
        );
        if !self.wrong.is_empty() {
            bad.push(format!("wrong values:\n  {}", self.wrong[..self.wrong.len().min(10)].join("\n  ")));
        }
        println!("\n{:<14} {:>18} {:>10} {:>8}", "held", "after a minute", "at the end", "growth");
        let rows = [
            ("memory, KiB", self.before.resident_kib, self.after.resident_kib),
            ("descriptors", self.before.descriptors, self.after.descriptors),
        ];
        for (name, before, after) in rows {
            let growth = (after as f64 / before.max(1) as f64 - 1.0) * 100.0;
            println!("{name:<14} {before:>18} {after:>10} {growth:>6.1} %");
            if growth > MOST_GROWTH {
                bad.push(format!("{name}: {growth:.1} % more than after the first minute"));
            }
        }
        println!("\nverdict: {}", if bad.is_empty() { "good" } else { "BAD" });
        for why in &bad {
            println!("  {why}");
        }
        bad.is_empty()
    }
}
