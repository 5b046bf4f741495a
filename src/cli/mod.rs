//! The command line: one file per subcommand. What a command was asked for goes to standard
//! output, everything else to standard error.

mod address;
mod check_config;
mod key;
mod secret;
mod serve;
mod sim;
mod stored;
mod table;
mod tail;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Loaded, ProcessEnv};

/// The command did what it was asked.
const SUCCESS: u8 = 0;
/// It could not.
const FAILURE: u8 = 1;
/// Bad usage or configuration. clap's own errors use it too.
const USAGE: u8 = 2;

/// Market-data feed server for Indian brokers that run Symphony's XTS platform.
///
/// Without a command it runs the feed server; without a configuration, on the simulated broker.
#[derive(Debug, Parser)]
#[command(name = "tickgate", version, after_help = "Example:\n  tickgate serve --config config.toml")]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Configuration file [default: ./config.toml if there is one, else built-in defaults]
    #[arg(long, value_name = "PATH", global = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the feed server
    #[command(after_help = "Example:\n  tickgate serve --config config.toml")]
    Serve,
    /// Run the simulated XTS broker alone, for other programs' tests
    Sim(sim::Args),
    /// Subscribe and print ticks
    Tail(tail::Args),
    /// Look at the broker's tokens and act on them; never prints one
    #[command(subcommand, after_help = "Example:\n  tickgate token status --json")]
    Token(token::Command),
    /// Exchange the key that stored tokens are encrypted under
    #[command(subcommand, after_help = "Example:\n  tickgate secret rotate")]
    Secret(secret::Command),
    /// Make, list and revoke consumers' API keys
    #[command(subcommand, after_help = "Example:\n  tickgate key create alice --scope feed")]
    Key(key::Command),
    /// Print every problem of a configuration, with its dotted key and line
    #[command(after_help = "Example:\n  tickgate check-config --config config.toml")]
    CheckConfig,
}

/// Runs the command and says how it went.
pub fn run(cli: Cli) -> ExitCode {
    let path = cli.config.as_deref();
    let code = match cli.command.unwrap_or(Command::Serve) {
        Command::CheckConfig => check_config::run(path),
        command => {
            // Only the server needs the broker's secrets to be there.
            let load = if matches!(command, Command::Serve) { config::load } else { config::load_for_client };
            match load(path, &ProcessEnv) {
                Err(problems) => {
                    say(&problems.to_string());
                    USAGE
                }
                Ok(loaded) => dispatch(command, loaded),
            }
        }
    };
    ExitCode::from(code)
}

fn dispatch(command: Command, loaded: Loaded) -> u8 {
    let outcome = match command {
        Command::Serve => serve::run(loaded),
        Command::Sim(args) => sim::run(&args, loaded),
        Command::Tail(args) => tail::run(&args, &loaded),
        Command::Token(command) => token::run(command, &loaded),
        Command::Secret(command) => secret::run(&command, &loaded),
        Command::Key(command) => key::run(command, &loaded),
        Command::CheckConfig => Ok(SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        say(&format!("tickgate: {}", told(&error)));
        FAILURE
    })
}

/// An error and its causes, each once: many of them name their cause themselves.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |mut text, cause| {
        if text.is_empty() {
            return cause;
        }
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        text
    })
}

/// A line to standard error.
#[expect(clippy::print_stderr, reason = "hints and errors of a command belong there")]
fn say(line: &str) {
    eprintln!("{line}");
}

/// A line to standard output. `false` if nobody reads it any more (`tickgate tail … | head`).
fn print(line: &str) -> bool {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

/// A small runtime for commands that talk to a server.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn check(command: &clap::Command, path: &str) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Example:\n  tickgate"), "{path} --help ends with an example");
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            check(sub, &format!("{path} {}", sub.get_name()));
        }
    }

    #[test]
    fn a_cause_is_told_once() {
        use anyhow::Context as _;
        let cause = || std::io::Error::other("no room");
        let wrapped = Err::<(), _>(cause()).context("cannot write").unwrap_err();
        assert_eq!(told(&wrapped), "cannot write: no room");
        let named = crate::app::Error::Listen { address: "a:1".to_owned(), key: "k", source: cause() };
        assert_eq!(told(&named.into()), "cannot listen on a:1 (k): no room");
    }

    #[test]
    fn every_commands_help_ends_with_an_example() {
        Cli::command().debug_assert();
        check(&Cli::command(), "tickgate");
    }
}
