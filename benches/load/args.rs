//! The command line of both benches.

use clap::{Parser, ValueEnum};

/// What consumers subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Ltp,
    Quote,
    Depth,
}

impl Mode {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Ltp => 1,
            Self::Quote => 2,
            Self::Depth => 3,
        }
    }
}

/// What consumers ask for in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// OpenAlgo's frames.
    Json,
    /// `tickgate.v1`.
    Binary,
}

/// How the broker sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Feed {
    /// `xts-binary-packet`, layout B.
    Binary,
    /// `1501-json-full` and `1502-json-full`.
    Json,
}

#[derive(Clone, Debug, Parser)]
pub(crate) struct Args {
    /// Only scenarios whose name contains this; several with commas
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// Rounds over all scenarios; the table shows medians
    #[arg(long)]
    pub(crate) rounds: Option<usize>,
    #[arg(long, value_enum, default_value = "ltp")]
    pub(crate) mode: Mode,
    /// What tickgate's consumers ask for
    #[arg(long, value_enum, default_value = "json")]
    pub(crate) encoding: Encoding,
    /// How the broker sends to tickgate
    #[arg(long, value_enum, default_value = "binary")]
    pub(crate) feed: Feed,
    /// Messages in one binary frame of the broker, where so many are due at once
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: usize,
    /// A JSON line per measurement instead of a line of text
    #[arg(long)]
    pub(crate) json: bool,
    /// A tiny run that only proves that everything works
    #[arg(long)]
    pub(crate) smoke: bool,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

impl Args {
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }

    /// Seconds before the measurement.
    pub(crate) fn warm_up(&self) -> f64 {
        if self.smoke { 0.1 } else { 1.0 }
    }

    pub(crate) fn measured(&self) -> f64 {
        if self.smoke { 0.4 } else { self.seconds }
    }
}
