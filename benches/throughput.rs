//! End to end through the program as it is shipped: a broker on XTS' wire, `tickgate serve`, consumers on loopback
//! sockets that count every frame. Not a comparison with other programs: that is `compare`.
//!
//! `cargo bench --bench throughput`, with `-- --smoke` a short run that proves that it works and that nothing is
//! lost. Broker and consumers are one process on the same cores as the program, and a good part of what is measured.
//! Nothing is compared with a limit of time.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::process::ExitCode;

use clap::Parser as _;

mod load;

use load::args::{Args, Feed, Mode};
use load::report::{Row, median};
use load::shape::Shape;
use load::{machine, selfcheck, tickgate};

/// A scenario and how many messages one frame of the broker has.
type Scenario = (Shape, usize);

/// One in ten never reads.
fn with_stalled(shape: Shape) -> Shape {
    let stalled = shape.readers.div_ceil(10);
    Shape { readers: shape.readers - stalled, stalled, ..shape }
}

fn scenarios(args: &Args) -> Vec<Scenario> {
    let shape = Shape::new;
    if args.smoke {
        return vec![
            (shape(3, 20, 20), args.batch),
            (shape(10, 8, 20), 7),
            (with_stalled(shape(10, 20, 20)), args.batch),
            (shape(3, 20, 20).at(2_000), args.batch),
        ];
    }
    let shapes = [
        shape(1, 100, 100),
        shape(10, 100, 100),
        shape(100, 100, 100),
        shape(1_000, 100, 100),
        shape(1_000, 50, 100),
        shape(1_000, 10, 1_000),
        with_stalled(shape(100, 100, 100)),
        with_stalled(shape(1_000, 50, 100)),
        shape(100, 100, 100).at(1_000),
        shape(10, 100, 100).at(10_000),
        shape(100, 100, 100).at(10_000),
        shape(1_000, 50, 100).at(1_000),
        with_stalled(shape(100, 100, 100).at(1_000)),
    ];
    shapes.into_iter().map(|shape| (shape, args.batch)).collect()
}

fn main() -> ExitCode {
    let args = Args::parse();
    machine::raise_open_files();
    selfcheck::websocket();
    // Everything of the wires once: JSON events, binary messages, all modes.
    let runs: Vec<Args> = if args.smoke {
        vec![
            args.clone(),
            Args { mode: Mode::Quote, feed: Feed::Json, only: vec!["3x20".to_owned()], ..args.clone() },
            Args { mode: Mode::Depth, only: vec!["3x20@".to_owned()], ..args.clone() },
        ]
    } else {
        vec![args.clone()]
    };
    let rounds = args.rounds.unwrap_or(if args.smoke { 1 } else { 3 });
    let mut failures = Vec::new();
    for args in runs {
        let scenarios: Vec<_> =
            scenarios(&args).into_iter().filter(|(shape, _)| args.wants(&shape.name())).collect();
        if !args.json {
            println!("{:?}, consumers get {:?}, the broker sends {:?}", args.mode, args.encoding, args.feed);
            println!("{}", Row::HEADINGS);
        }
        let mut rows: Vec<Vec<Row>> = vec![Vec::new(); scenarios.len()];
        for round in 1..=rounds {
            for ((shape, batch), rows) in scenarios.iter().zip(&mut rows) {
                match tickgate::run("tickgate", &args, shape, *batch, round, &[]) {
                    Ok(row) => {
                        println!("{}", if args.json { row.json() } else { row.text() });
                        rows.push(row);
                    }
                    Err(why) => failures.push(why),
                }
            }
        }
        if rounds > 1 && !args.json {
            println!("\nmedians of {rounds} rounds");
            println!("{}", Row::HEADINGS);
            for rows in rows.iter().filter(|rows| !rows.is_empty()) {
                println!("{}", middle(rows).text());
            }
        }
    }
    for failure in &failures {
        println!("\nFAILED {failure}");
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A row with the median of each figure.
fn middle(rows: &[Row]) -> Row {
    let of = |figure: fn(&Row) -> f64| median(&rows.iter().map(figure).collect::<Vec<_>>());
    let age = |figure: fn(&Row) -> Option<f64>| {
        let ages: Vec<_> = rows.iter().filter_map(figure).collect();
        (!ages.is_empty()).then(|| median(&ages))
    };
    Row {
        ticks_per_s: of(|row| row.ticks_per_s),
        frames_per_s: of(|row| row.frames_per_s),
        cpu_ns_per_frame: of(|row| row.cpu_ns_per_frame),
        cpu_cores: of(|row| row.cpu_cores),
        memory_kib: of(|row| row.memory_kib as f64) as u64,
        conflated: of(|row| row.conflated as f64) as u64,
        p50_us: age(|row| row.p50_us),
        p99_us: age(|row| row.p99_us),
        p999_us: age(|row| row.p999_us),
        frames_per_read: of(|row| row.frames_per_read),
        ..rows[0].clone()
    }
}
