//! tickgate beside nats-server, Redis and uWebSockets, in turns on the same machine, and beside what one thread can
//! write to so many sockets at all. Each is fed in its own way, none may drop anything, and all relay frames of the
//! same length.
//!
//! `cargo bench --bench compare` installs the peers into `target/peers/` (Python 3 and Node are needed), measures
//! and prints medians and the project's goals; `-- --smoke` proves that all of it works and that nothing is lost.
//! Nothing is compared with a limit of time, and a goal that is missed is no failure.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

use std::process::ExitCode;

use clap::Parser as _;

mod load;
mod peers;

use load::args::{Args, Encoding, Mode};
use load::report::Row;
use load::shape::Shape;
use load::{machine, selfcheck};
use peers::{Payloads, Program, ceiling, goals, install};

fn main() -> ExitCode {
    let args = Args::parse();
    if args.mode != Mode::Ltp || args.encoding != Encoding::Json {
        eprintln!("programs are compared in LTP mode and in JSON, so that all relay the same");
        return ExitCode::FAILURE;
    }
    let shapes = match args.select(shapes(args.smoke)) {
        Ok(shapes) => shapes,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    machine::raise_open_files();
    selfcheck::websocket();
    ceiling::self_check();
    let mut peers = install::all();
    for what in peers.missing.iter().chain(&peers.skipped) {
        eprintln!("\n*** LEFT OUT: {what} ***\n");
    }
    if !peers.missing.is_empty() && std::env::var("CI").is_ok_and(|value| value == "true") {
        eprintln!("left out in CI");
        return ExitCode::FAILURE;
    }
    let mut programs = vec![Program::Tickgate, Program::TickgateCoalescing];
    programs.append(&mut peers.programs);
    programs.push(Program::Ceiling);

    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    let rounds = args.rounds.unwrap_or(if args.smoke { 1 } else { 5 });
    if !args.json {
        println!("{}", args.describe());
        println!("{}", Row::HEADINGS);
    }
    for shape in &shapes {
        for round in 1..=rounds {
            for program in programs.iter().filter(|program| takes_part(program, shape)) {
                match program.run(&args, shape, round).and_then(|row| same_length(shape, row)) {
                    Ok(row) => {
                        println!("{}", if args.json { row.json() } else { row.text() });
                        rows.push(row);
                    }
                    Err(why) => failures.push(why),
                }
            }
        }
    }
    goals::print(&rows, args.json);
    for failure in &failures {
        eprintln!("\nFAILED {failure}");
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn shapes(smoke: bool) -> Vec<Shape> {
    let shape = Shape::new;
    if smoke {
        return vec![shape(5, 20, 20)];
    }
    vec![
        shape(100, 100, 100),
        shape(1_000, 100, 100),
        shape(1_000, 10, 1_000),
        shape(100, 100, 100).at(1_000),
        shape(10, 100, 100).at(10_000),
        shape(100, 100, 100).at(10_000),
    ]
}

/// What the goals ask for, and no more.
fn takes_part(program: &Program, shape: &Shape) -> bool {
    match program {
        Program::Tickgate | Program::Nats(_) | Program::Uws { .. } => true,
        Program::TickgateCoalescing => shape.rate.is_some() && shape.readers == 10,
        Program::Redis(_) => shape.rate.is_none(),
        Program::Ceiling => shape.rate.is_none() && shape.each == shape.symbols,
    }
}

/// A comparison holds only if all relay the same.
fn same_length(shape: &Shape, row: Row) -> Result<Row, String> {
    let len = Payloads::new(shape.symbols).len();
    if row.payload_bytes == (len, len) {
        return Ok(row);
    }
    Err(format!("{}: frames of {:?} bytes instead of {len}", row.program, row.payload_bytes))
}
