//! The programs that tickgate is compared with: installed at pinned versions into `target/peers/`, started with
//! configurations under which none of them drops anything, and fed each in its own way. What all of them relay is
//! tickgate's own LTP frame, byte for byte as long.

pub(crate) mod ceiling;
pub(crate) mod goals;
pub(crate) mod install;
mod nats;
mod payload;
mod redis;
mod uws;

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;

use tempfile::NamedTempFile;
use tokio::time::Duration;

use crate::load::args::Args;
use crate::load::client::Connected;
use crate::load::machine::{caught, within};
use crate::load::measure::{self, Measured, Plan, Times};
use crate::load::publisher::Outlet;
use crate::load::report::Row;
use crate::load::scan::Scan;
use crate::load::server::Process;
use crate::load::shape::Shape;
use crate::load::tickgate;

pub(crate) use payload::Payloads;

/// A program in the comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Tickgate,
    /// With `gateway.flush_interval_us = 1000`.
    TickgateCoalescing,
    /// Its server.
    Nats(PathBuf),
    /// Its server.
    Redis(PathBuf),
    /// The interpreter, and where the module is.
    Uws {
        node: PathBuf,
        modules: PathBuf,
    },
    /// A thread that writes ready frames, 256 at once.
    Ceiling,
}

impl Program {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Tickgate => "tickgate",
            Self::TickgateCoalescing => "tickgate+1ms",
            Self::Nats(_) => "nats-server",
            Self::Redis(_) => "redis",
            Self::Uws { .. } => "uWebSockets",
            Self::Ceiling => "raw ceiling",
        }
    }

    /// Measures one scenario once.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub(crate) fn run(&self, args: &Args, shape: &Shape, round: usize) -> Result<Row, String> {
        let coalescing = [("TICKGATE_GATEWAY__FLUSH_INTERVAL_US", "1000")];
        let log = Log::new();
        let outcome = match self {
            Self::Tickgate => return tickgate::run(self.name(), args, shape, round, &[]),
            Self::TickgateCoalescing => return tickgate::run(self.name(), args, shape, round, &coalescing),
            Self::Nats(program) => caught(|| nats::run(program, args, shape, &log)),
            Self::Redis(program) => caught(|| redis::run(program, args, shape, &log)),
            Self::Uws { node, modules } => caught(|| uws::run(node, modules, args, shape, &log)),
            Self::Ceiling => caught(|| ceiling::run(args, shape)),
        };
        let failed = |why| format!("{} {}: {why}\n{}", self.name(), shape.name(), log.text());
        let measured = outcome.map_err(failed)?;
        if measured.lost + measured.extra > 0 {
            return Err(failed(format!("{} frames lost, {} too many", measured.lost, measured.extra)));
        }
        Ok(Row::new(self.name(), shape, round, &measured))
    }
}

/// What a peer says, for when it fails.
struct Log(NamedTempFile);

impl Log {
    fn new() -> Self {
        Self(NamedTempFile::new().expect("there is a temporary directory"))
    }

    /// Where a peer writes to.
    fn sink(&self) -> Stdio {
        // Appending: both of a peer's outputs may go there.
        let file = File::options().append(true).open(self.0.path()).expect("the file is there");
        file.into()
    }

    fn text(&self) -> String {
        let text = std::fs::read(self.0.path()).unwrap_or_default();
        String::from_utf8_lossy(&text).trim().to_owned()
    }
}

/// A started peer that is ready for its consumers.
struct Peer {
    process: Process,
    consumers: SocketAddr,
}

impl Peer {
    /// Connects all consumers and measures.
    fn measure<S: Scan + Default + 'static>(
        &self,
        args: &Args,
        shape: &Shape,
        connect: impl Fn(SocketAddr, &[usize]) -> Connected,
        has_witness: bool,
        outlet: Box<dyn Outlet>,
    ) -> Result<Measured, String> {
        let sets = shape.sets();
        let readers = sets[..shape.readers].iter().map(|set| (connect(self.consumers, set), S::default()));
        let readers = readers.collect();
        let witness = (has_witness && args.smoke).then(|| connect(self.consumers, &sets[0]));
        let times = Times { warm_up: args.warm_up(), measured: args.measured(), check_all: args.smoke };
        let plan = Plan { shape, sets: &sets, frame_len: tickgate::FRAME, pid: self.process.id(), times };
        measure::run(plan, readers, witness, outlet)
    }
}

/// A port nobody listens on now.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("loopback works")
}

/// Waits until somebody accepts there.
fn wait_accepting(process: &mut Process, address: SocketAddr) -> Result<(), String> {
    let up = within(Duration::from_secs(20), || {
        (process.has_ended() || TcpStream::connect(address).is_ok()).then_some(())
    });
    if process.has_ended() {
        return Err("it ended while starting".to_owned());
    }
    up.ok_or_else(|| format!("nothing listens on {address}"))
}
