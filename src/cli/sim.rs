//! `tickgate sim`: the simulated broker alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args as ClapArgs;

use super::{SUCCESS, runtime, say, serve};
use crate::clock::SystemClock;
use crate::config::Loaded;
use crate::market::calendar;
use crate::sim::{SimServer, run_alone};
use crate::store::private;
use crate::telemetry::log;

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example:\n  tickgate sim --listen 127.0.0.1:3000 --pace 20\n  tickgate sim --scenario flaky-evening --truth truth.jsonl"
)]
pub(super) struct Args {
    /// Address to listen on [default: sim.listen, 127.0.0.1:3000]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// How many times faster than real the market moves [default: sim.pace, 1]
    #[arg(long, value_name = "X", value_parser = parse_pace)]
    pace: Option<f64>,
    /// Faults to play: a file, or a built-in scenario such as flaky-evening [default: sim.scenario]
    #[arg(long, value_name = "FILE")]
    scenario: Option<String>,
    /// Where to write what was really sent, a line of JSON each [default: sim.truth_file]
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Engine.IO revision of the sockets, 3 as every XTS server or true 4 [default: sim.engine_io, 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(3..=4))]
    engine_io: Option<u8>,
}

fn parse_pace(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(pace) if pace > 0.0 && pace <= 1000.0 => Ok(pace),
        _ => Err("must be a number above 0 and at most 1000".to_owned()),
    }
}

pub(super) fn run(args: &Args, loaded: Loaded) -> anyhow::Result<u8> {
    let clock = Arc::new(SystemClock);
    log::init(&loaded.config.log, clock.clone());
    calendar::install(loaded.config.special_days);
    let mut settings = loaded.config.sim;
    if let Some(pace) = args.pace {
        settings.pace = pace;
    }
    if let Some(scenario) = &args.scenario {
        settings.scenario.clone_from(scenario);
    }
    if let Some(truth) = &args.truth {
        settings.truth_file.clone_from(truth);
    }
    if let Some(engine_io) = args.engine_io {
        settings.engine_io = engine_io;
    }
    // Apart from that of a feed server's own simulator, which may run on the same directory, and from that of a
    // simulator on another port. One without a port of its own is not found again, so it keeps nothing.
    let state = match args.listen.unwrap_or(settings.listen).port() {
        0 => None,
        port => {
            private::create_dir(&loaded.config.data_dir)?;
            Some(loaded.config.data_dir.join(format!("sim-{port}.json")))
        }
    };
    runtime()?.block_on(run_alone(settings, args.listen, state, clock, announce, serve::stop_asked_for()))?;
    Ok(SUCCESS)
}

/// What a person needs to point another program at it. The keys are constants, known to all.
fn announce(server: &SimServer) {
    let address = server.addr();
    let keys = server.credentials();
    say(&format!(
        "simulated XTS broker on http://{address}\n\
         market data  /apibinarymarketdata (binary) and /apimarketdata (JSON)\n\
         \x20            appKey {} secretKey {}\n\
         interactive  /interactive\n\
         \x20            appKey {} secretKey {}\n\
         look inside  http://{address}/__sim/state and /__sim/truth",
        keys.market_app_key, keys.market_secret_key, keys.interactive_app_key, keys.interactive_secret_key,
    ));
}
