//! The load client of the end-to-end benches: a broker on XTS' wire that feeds the program, consumers that sink
//! what it sends, and the bookkeeping of what was due. One process beside the program that is measured.
//!
//! Nothing here is timed against a limit; what is wrong (a frame lost, out of order, of another instrument) is told
//! and ends the bench.

pub(crate) mod args;
pub(crate) mod broker;
pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod machine;
pub(crate) mod measure;
pub(crate) mod publisher;
pub(crate) mod report;
pub(crate) mod scan;
pub(crate) mod selfcheck;
pub(crate) mod server;
pub(crate) mod shape;
pub(crate) mod sink;
pub(crate) mod tickgate;
pub(crate) mod ticks;
pub(crate) mod witness;
