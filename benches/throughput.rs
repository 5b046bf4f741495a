//! End to end through the program as it is shipped: a broker on XTS' wire, `tickgate serve`, consumers on loopback
//! sockets that count every frame. Not a comparison with other programs: that is `compare`.
//!
//! `cargo bench --bench throughput`, with `-- --smoke` a short run that proves that it works and that nothing is
//! lost. Broker and consumers are one process on the same cores as the program, and a good part of what is measured.
//! Nothing is compared with a limit of time.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

use std::process::ExitCode;

use clap::Parser as _;

mod load;

use load::args::{Args, Encoding, Feed, Mode};
use load::report::{Row, median};
use load::shape::Shape;
use load::{machine, selfcheck, tickgate};

/// One in ten never reads.
fn with_stalled(shape: Shape) -> Shape {
    let stalled = shape.readers.div_ceil(10);
    Shape { readers: shape.readers - stalled, stalled, ..shape }
}

fn shapes(smoke: bool) -> Vec<Shape> {
    let shape = Shape::new;
    if smoke {
        return vec![
            shape(3, 20, 20),
            shape(10, 8, 20),
            with_stalled(shape(10, 20, 20)),
            shape(3, 20, 20).at(2_000),
        ];
    }
    vec![
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
    ]
}

/// Everything of the wires once, small: several messages a frame, JSON events, all modes.
fn smoke_runs(args: &Args) -> Vec<Args> {
    let only = |name: &str| vec![name.to_owned()];
    vec![
        Args { batch: 7, ..args.clone() },
        Args { mode: Mode::Quote, feed: Feed::Json, only: only("3x20"), ..args.clone() },
        Args { mode: Mode::Depth, only: only("3x20@2000"), ..args.clone() },
        Args { encoding: Encoding::Binary, only: only("3x20"), ..args.clone() },
    ]
}

fn main() -> ExitCode {
    let args = Args::parse();
    machine::raise_open_files();
    selfcheck::websocket();
    let runs = if args.smoke { smoke_runs(&args) } else { vec![args.clone()] };
    let rounds = args.rounds.unwrap_or(if args.smoke { 1 } else { 3 });
    let mut failures = Vec::new();
    for args in runs {
        let shapes = match args.select(shapes(args.smoke)) {
            Ok(shapes) => shapes,
            Err(why) => {
                eprintln!("{why}");
                return ExitCode::FAILURE;
            }
        };
        if !args.json {
            println!("{}", args.describe());
            println!("{}", Row::HEADINGS);
        }
        let mut rows: Vec<Vec<Row>> = vec![Vec::new(); shapes.len()];
        for round in 1..=rounds {
            for (shape, rows) in shapes.iter().zip(&mut rows) {
                match tickgate::run("tickgate", &args, shape, round, &[]) {
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
        eprintln!("\nFAILED {failure}");
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
