//! What a person sees who starts the server: what runs where, and how to see a tick.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use tracing::error;

use super::RunFile;
use crate::config::Config;
use crate::gateway::auth::{LocalKey, NoLocalKey};

/// Prints five lines.
#[expect(clippy::print_stderr, reason = "the banner is for the person who started the program")]
pub(super) fn print(config: &Config, run: &RunFile, local: &LocalKey) {
    let broker = match run.sim {
        Some(address) if config.accounts.len() == 1 => {
            format!("simulated XTS broker on {address} (no account needed)")
        }
        Some(address) => format!("simulated XTS broker on {address} ({})", config.upstream()),
        None => config.upstream(),
    };
    let key = match local {
        LocalKey::Created { key, .. } if io::stderr().is_terminal() => {
            format!("local: {} (shown this once)", key.expose())
        }
        LocalKey::Created { path, .. } | LocalKey::Present { path } => format!("local, in {}", shown(path)),
        LocalKey::Absent(why) => {
            if *why == NoLocalKey::Lost {
                error!("{why}: stop the server, then `tickgate key create local --scope feed,account,admin`");
            }
            format!("no local key ({why}); with the server stopped, `tickgate key create NAME` makes one")
        }
    };
    eprintln!(
        "tickgate {} · broker  {broker}\n\
         feed    {}://{}  (OpenAlgo protocol)\n\
         http    {}://{}  (/readyz /v1/status /metrics)\n\
         key     {key}\n\
         a tick  tickgate tail NSE:RELIANCE NSE_INDEX:NIFTY   (in this directory)",
        env!("CARGO_PKG_VERSION"),
        run.scheme("ws"),
        run.feed,
        run.scheme("http"),
        run.http,
    );
}

fn shown(path: &Path) -> String {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
