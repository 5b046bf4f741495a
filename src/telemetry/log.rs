//! Sets up logging: format, level, destination (standard error), and a line for every panic.
//! Not a logger; modules use `tracing`.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::panic;
use std::sync::Arc;
use std::thread;

use serde::Deserialize;
use serde::de::{self, Deserializer};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::clock::Clock;

/// Crates whose chatter at `info` says nothing to an operator of tickgate.
const QUIETER: &str = "actix_server=warn,actix_http=warn,sled=warn,hyper=warn,hyper_util=warn,h2=warn,rustls=warn,\
                       reqwest=warn,tungstenite=warn,tokio_tungstenite=warn";

/// How logs are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `pretty` for people, `json` for collectors.
    pub format: Format,
    /// A level (`error`, `warn`, `info`, `debug`, `trace`), or directives such as
    /// `info,tickgate::session=debug`.
    pub level: Level,
}

/// The shape of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One readable line.
    #[default]
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Which lines are written; checked when it is read.
#[derive(Clone, PartialEq, Eq)]
pub struct Level(String);

impl Level {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn filter(&self) -> EnvFilter {
        // Ours come first, so that the setting can override them.
        EnvFilter::builder().parse_lossy(format!("{QUIETER},{}", self.0))
    }
}

impl Default for Level {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("must name a level: error, warn, info, debug or trace".to_owned());
        }
        // A lone word that is no level would count as a module's name and hide everything else.
        if text.chars().all(char::is_alphanumeric) && text.parse::<tracing::metadata::LevelFilter>().is_err()
        {
            return Err(format!("`{text}` is no level: error, warn, info, debug, trace or off"));
        }
        EnvFilter::builder().parse(text).map_err(|error| format!("`{text}`: {error}"))?;
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Starts logging to standard error and logs every panic from now on. Once per process; a
/// second call changes nothing.
pub fn init(settings: &Settings, clock: Arc<dyn Clock>) {
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(settings.level.filter())
        .with_timer(Stamp(clock))
        .with_writer(io::stderr)
        .with_ansi(colours);
    // Fails only if a subscriber is set already, which then stays.
    let set = match settings.format {
        Format::Pretty => tracing::subscriber::set_global_default(builder.finish()),
        Format::Json => tracing::subscriber::set_global_default(
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).finish(),
        ),
    };
    if set.is_ok() {
        log_panics();
    }
}

/// Supervision catches panics; without this the operator would never learn of one in a JSON log.
fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("(no text)");
        let place = info.location().map_or_else(String::new, ToString::to_string);
        let thread = thread::current();
        tracing::error!(message, place, thread = thread.name().unwrap_or("?"), "panic");
    }));
}

struct Stamp(Arc<dyn Clock>);

impl FormatTime for Stamp {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        w.write_str(&self.0.now().in_india())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixNanos;

    struct Fixed(UnixNanos);

    impl Clock for Fixed {
        fn now(&self) -> UnixNanos {
            self.0
        }
    }

    #[test]
    fn stamps_are_in_indian_time() {
        let mut text = String::new();
        let stamp = Stamp(Arc::new(Fixed(UnixNanos::from_millis(1_770_698_730_007))));
        stamp.format_time(&mut Writer::new(&mut text)).unwrap();
        assert_eq!(text, "2026-02-10T10:15:30.007+05:30");
    }

    #[test]
    fn levels_are_checked() {
        for good in ["info", "DEBUG", "off", "warn,tickgate::session=trace", "tickgate=debug"] {
            assert!(good.parse::<Level>().is_ok(), "{good}");
        }
        for bad in ["", "verbose", "info,tickgate=loud", "a=b=c"] {
            assert!(bad.parse::<Level>().is_err(), "{bad}");
        }
    }
}
