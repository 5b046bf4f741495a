//! Parses arguments, runs the command, maps its outcome to an exit code.

use std::process::ExitCode;

use clap::Parser as _;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything that may build a TLS client. It fails only if one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tickgate::cli::run(tickgate::cli::Cli::parse())
}
