//! A trading week in minutes: the server as a process of its own on a clock that is moved, the simulated broker
//! on the same clock, faults at random, consumers that stay, come, go, or never read. Prints a verdict and exits
//! with 1 if it is bad. Not a measurement of speed: that is `throughput`.
//!
//! `cargo soak` (`--minutes 10`, `--seed 1`), with `--smoke` two days in half a minute.
//!
//! Faults that end a session are left out: each is worth a login, and here one for each product and trading day
//! is all that may be made. `cargo faults` has them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]
#![allow(clippy::unwrap_used, reason = "it shares the tests' relay, which says so where it cannot go on")]

use std::process::ExitCode;

use clap::Parser;

#[path = "soak/shared.rs"]
mod fault_runs;
#[path = "soak/mod.rs"]
mod soak;
#[allow(dead_code, reason = "a part of it serves only the tests")]
#[path = "../tests/it/tap.rs"]
mod tap;

#[derive(Debug, Parser)]
struct Args {
    /// How long the week takes.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Repeats the faults of a run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Two days in half a minute.
    #[arg(long)]
    smoke: bool,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    if std::env::var_os(soak::child::MARK).is_some() {
        return soak::child::run();
    }
    let args = Args::parse();
    match soak::run(args.minutes, args.seed, args.smoke) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("the soak could not be finished: {why:#}");
            ExitCode::FAILURE
        }
    }
}
