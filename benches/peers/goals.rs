//! What the project is after, as ratios between programs that were measured in turns. Printed, and never a reason to
//! fail: a machine that is busy proves nothing.

use std::collections::BTreeMap;

use crate::load::report::{Row, median};

/// A figure of a program in a scenario.
#[derive(Clone, Copy, Debug)]
enum Figure {
    Frames,
    P50,
    P99,
    Cpu,
}

/// One line of the goals: tickgate's figure over another's.
#[derive(Clone, Copy, Debug)]
struct Goal {
    id: &'static str,
    scenario: &'static str,
    figure: Figure,
    program: &'static str,
    /// `""`: the figure itself, in milliseconds.
    over: &'static str,
    floor: f64,
    aim: f64,
}

const fn goal(
    id: &'static str,
    scenario: &'static str,
    figure: Figure,
    over: &'static str,
    floor: f64,
    aim: f64,
) -> Goal {
    Goal { id, scenario, figure, program: "tickgate", over, floor, aim }
}

/// Where no aim beyond the floor is set, both are the same.
const GOALS: [Goal; 20] = [
    goal("G1", "100x100", Figure::Frames, "nats-server", 6.0, 10.0),
    goal("G1", "100x100", Figure::Frames, "uWebSockets", 3.0, 5.0),
    goal("G1", "100x100", Figure::Frames, "redis", 4.0, 7.0),
    goal("G2", "100x100", Figure::Frames, "raw ceiling", 0.55, 0.8),
    goal("G3", "1000x100", Figure::Frames, "nats-server", 8.0, 14.0),
    goal("G3", "1000x100", Figure::Frames, "uWebSockets", 2.5, 4.0),
    goal("G3", "1000x100", Figure::Frames, "raw ceiling", 0.4, 0.6),
    goal("G4", "1000x10of1000", Figure::Frames, "nats-server", 4.0, 7.0),
    goal("G4", "1000x10of1000", Figure::Frames, "uWebSockets", 4.0, 7.0),
    goal("G5", "100x100@1000", Figure::P50, "uWebSockets", 0.9, 0.6),
    goal("G5", "100x100@1000", Figure::P50, "nats-server", 0.75, 0.6),
    goal("G5", "100x100@1000", Figure::P99, "uWebSockets", 1.0, 0.5),
    goal("G5", "100x100@1000", Figure::P99, "nats-server", 1.0, 0.5),
    goal("G5", "100x100@1000", Figure::Cpu, "uWebSockets", 0.95, 0.95),
    goal("G6", "10x100@10000", Figure::P50, "uWebSockets", 1.0, 0.8),
    goal("G6", "10x100@10000", Figure::P50, "nats-server", 1.0, 0.8),
    Goal { program: "tickgate+1ms", ..goal("G6", "10x100@10000", Figure::Cpu, "tickgate", 0.5, 0.5) },
    Goal { program: "tickgate+1ms", ..goal("G6", "10x100@10000", Figure::P99, "", 1.6, 1.6) },
    goal("G7", "100x100@10000", Figure::P99, "nats-server", 0.75, 0.5),
    goal("G7", "100x100@10000", Figure::P99, "uWebSockets", 1.0, 1.0),
];

impl Goal {
    const fn is_at_least(&self) -> bool {
        matches!(self.figure, Figure::Frames)
    }

    /// By round.
    fn of(&self, rows: &[Row], program: &str) -> BTreeMap<usize, f64> {
        let of_program = rows.iter().filter(|row| row.scenario == self.scenario && row.program == program);
        let figures = of_program.filter_map(|row| {
            let figure = match self.figure {
                Figure::Frames => Some(row.frames_per_s),
                Figure::P50 => row.p50_us,
                Figure::P99 => row.p99_us,
                Figure::Cpu => Some(row.cpu_cores),
            };
            Some((row.round, figure?))
        });
        figures.collect()
    }

    fn value(&self, rows: &[Row]) -> Option<Value> {
        let middle = |figures: &BTreeMap<usize, f64>| {
            (!figures.is_empty()).then(|| median(&figures.values().copied().collect::<Vec<_>>()))
        };
        let ours = self.of(rows, self.program);
        let (whole, rounds): (f64, Vec<f64>) = if self.over.is_empty() {
            (middle(&ours)? / 1_000.0, ours.values().map(|figure| figure / 1_000.0).collect())
        } else {
            let theirs = self.of(rows, self.over);
            let ratio = |(round, figure): (&usize, &f64)| Some(figure / theirs.get(round)?);
            (middle(&ours)? / middle(&theirs)?, ours.iter().filter_map(ratio).collect())
        };
        Some(Value {
            whole,
            lowest: rounds.iter().copied().fold(whole, f64::min),
            highest: rounds.iter().copied().fold(whole, f64::max),
        })
    }

    /// What the medians say, and whether some round says less.
    fn verdict(&self, value: Option<Value>) -> &'static str {
        let Some(Value { whole, lowest, highest }) = value else { return "not measured" };
        let holds = |value: f64, limit: f64| if self.is_at_least() { value >= limit } else { value <= limit };
        let worst = if self.is_at_least() { lowest } else { highest };
        match (holds(whole, self.aim), holds(whole, self.floor)) {
            (true, _) if holds(worst, self.aim) => "aim reached",
            (true, _) => "aim reached, not in every round",
            (_, true) if holds(worst, self.floor) => "floor holds",
            (_, true) => "floor holds, not in every round",
            _ => "BELOW THE FLOOR",
        }
    }
}

/// A ratio of medians, and the ratios of single rounds that are farthest from it.
#[derive(Clone, Copy, Debug)]
struct Value {
    whole: f64,
    lowest: f64,
    highest: f64,
}

/// The goals that belong to scenarios that were measured.
pub(crate) fn print(rows: &[Row], as_json: bool) {
    if !as_json {
        println!(
            "\ngoal scenario         what                                    measured        rounds     floor       aim  verdict"
        );
    }
    for goal in &GOALS {
        if !rows.iter().any(|row| row.scenario == goal.scenario) {
            continue;
        }
        let value = goal.value(rows);
        let figure = match goal.figure {
            Figure::Frames => "frames/s",
            Figure::P50 => "p50",
            Figure::P99 => "p99",
            Figure::Cpu => "cores",
        };
        let over = if goal.over.is_empty() { " in ms".to_owned() } else { format!(" / {}", goal.over) };
        let what = format!("{figure} {}{over}", goal.program);
        if as_json {
            let line = serde_json::json!({"goal": goal.id, "scenario": goal.scenario, "what": what,
                "measured": value.map(|value| value.whole), "lowest": value.map(|value| value.lowest),
                "highest": value.map(|value| value.highest), "floor": goal.floor, "aim": goal.aim, "verdict": goal.verdict(value)});
            println!("{line}");
            continue;
        }
        let (measured, rounds) = value.map_or(("–".to_owned(), "–".to_owned()), |value| {
            (format!("{:.2}", value.whole), format!("{:.2}–{:.2}", value.lowest, value.highest))
        });
        let sign = if goal.is_at_least() { "≥" } else { "≤" };
        println!(
            "{:<4} {:<16} {what:<38} {measured:>9} {rounds:>13} {:>9} {:>9}  {}",
            goal.id,
            goal.scenario,
            format!("{sign} {}", goal.floor),
            format!("{sign} {}", goal.aim),
            goal.verdict(value),
        );
    }
    if !as_json {
        println!(
            "Ratios are of medians, beside them the lowest and the highest of single rounds. Every run that is counted was lossless: each consumer got each frame due to it. \
             The ratios to OpenAlgo's proxy are not measured here."
        );
    }
}
