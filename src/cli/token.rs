//! `tickgate token`: the broker's tokens, by the running server or on the store directly. Never prints one.

mod act;
mod log;
mod status;

use clap::{Args, Subcommand, ValueEnum};

use super::runtime;
use crate::config::Loaded;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show how every token stands
    #[command(after_help = "Example:\n  tickgate token status --json")]
    Status(status::StatusArgs),
    /// Log in anew, whatever is held and whatever was refused
    ///
    /// The broker ends the token that the login replaces. Needs a running server.
    #[command(after_help = "Example:\n  tickgate token refresh --product market")]
    Refresh(Target),
    /// End the session at the broker and forget its token
    ///
    /// Nothing logs in again until `tickgate token refresh` or a restart. Without a running server the token
    /// is only forgotten.
    #[command(after_help = "Example:\n  tickgate token revoke --account alice")]
    Revoke(Target),
    /// Show what was done with the tokens and the keys: when, by whom, why
    #[command(after_help = "Example:\n  tickgate token log --last 50")]
    Log(log::LogArgs),
}

/// Which tokens a command is about.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// Whose [default: the only account]; NAME is its first market-data app key, NAME/2 its second
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Which [default: both]
    #[arg(long)]
    product: Option<Product>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Product {
    /// Quotes and the live feed
    Market,
    /// Orders, books, funds
    Interactive,
}

impl Product {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Market => "market",
            Self::Interactive => "interactive",
        }
    }
}

impl Target {
    fn products(&self) -> Vec<Product> {
        self.product.map_or_else(|| vec![Product::Market, Product::Interactive], |product| vec![product])
    }
}

pub(super) fn run(command: Command, loaded: &Loaded) -> anyhow::Result<u8> {
    runtime()?.block_on(async {
        match command {
            Command::Status(args) => status::run(&args, loaded).await,
            Command::Refresh(target) => act::refresh(&target, loaded).await,
            Command::Revoke(target) => act::revoke(&target, loaded).await,
            Command::Log(args) => log::run(&args, loaded).await,
        }
    })
}
