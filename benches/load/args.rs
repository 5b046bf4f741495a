//! The command line of both benches.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::shape::Shape;

/// What consumers subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Ltp,
    Quote,
    Depth,
}

impl Mode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ltp => "ltp",
            Self::Quote => "quote",
            Self::Depth => "depth",
        }
    }

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
    /// Only the scenario of this name, or those whose names contain it; several with commas
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// Rounds over all scenarios; the table shows medians
    #[arg(long, value_parser = at_least_one)]
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
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) batch: usize,
    /// Another build of tickgate, instead of this one
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_tickgate"))]
    pub(crate) program: PathBuf,
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

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) => Err("at least one".to_owned()),
        other => other.map_err(|error| error.to_string()),
    }
}

impl Args {
    /// What is measured, for the table.
    pub(crate) fn describe(&self) -> String {
        let frame = match (self.feed, self.batch) {
            (Feed::Json, _) => "JSON events".to_owned(),
            (Feed::Binary, 1) => "binary, one message a frame".to_owned(),
            (Feed::Binary, batch) => format!("binary, up to {batch} messages a frame"),
        };
        let encoding = match self.encoding {
            Encoding::Json => "JSON",
            Encoding::Binary => "tickgate.v1",
        };
        format!("mode {}, consumers get {encoding}; the broker sends {frame}", self.mode.name())
    }

    /// The scenarios that were asked for.
    ///
    /// # Errors
    /// Names none of them has: what measures nothing must not succeed.
    pub(crate) fn select(&self, shapes: Vec<Shape>) -> Result<Vec<Shape>, String> {
        let names: Vec<_> = shapes.iter().map(Shape::name).collect();
        if let Some(only) =
            self.only.iter().find(|only| !names.iter().any(|name| name.contains(only.as_str())))
        {
            return Err(format!("no scenario is called {only}; there are {}", names.join(", ")));
        }
        let wanted = |name: &String| {
            let wants = |only: &String| {
                if names.contains(only) { name == only } else { name.contains(only.as_str()) }
            };
            self.only.is_empty() || self.only.iter().any(wants)
        };
        Ok(shapes.into_iter().zip(&names).filter(|(_, name)| wanted(name)).map(|(shape, _)| shape).collect())
    }

    /// Seconds before the measurement.
    pub(crate) fn warm_up(&self) -> f64 {
        if self.smoke { 0.1 } else { 1.0 }
    }

    pub(crate) fn measured(&self) -> f64 {
        if self.smoke { 0.4 } else { self.seconds }
    }
}
