//! `tickgate tail`: a consumer like any other, that prints what it gets. It reconnects by
//! itself, as a good consumer does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args as ClapArgs, ValueEnum};
use serde_json::Value;
use tokio_tungstenite::tungstenite::http::Uri;

use super::address::{KEY_VARIABLE, key_given, running};
use super::{SUCCESS, print, runtime, say, told};
use crate::client::{Client, Error, Event, Outcome, Trust};
use crate::config::Loaded;
use crate::gateway::auth;
use crate::protocol;
use crate::secret::Secret;

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  tickgate tail NSE:RELIANCE NSE_INDEX:NIFTY --mode quote")]
pub(super) struct Args {
    /// Instruments, as EXCHANGE:SYMBOL
    #[arg(required = true, value_name = "SYMBOL", value_parser = parse_name)]
    symbols: Vec<Name>,
    /// How much of each
    #[arg(long, value_enum, default_value_t = Mode::Ltp)]
    mode: Mode,
    /// Print each frame's JSON, one a line
    #[arg(long)]
    json: bool,
    /// Stop after this many ticks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// The feed port [default: the server on this data directory, else the configured port]
    #[arg(long, value_name = "WS_URL", value_parser = parse_url)]
    url: Option<String>,
    /// Trust this PEM file's certificates with wss:// [default: the machine's; of the server on this data directory,
    /// its own]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A consumer key [default: $TICKGATE_KEY, else the data directory's local.key]
    #[arg(long)]
    key: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Ltp,
    Quote,
    Depth,
}

impl Mode {
    const fn number(self) -> protocol::Mode {
        match self {
            Self::Ltp => protocol::Mode::Ltp,
            Self::Quote => protocol::Mode::Quote,
            Self::Depth => protocol::Mode::Depth,
        }
    }
}

#[derive(Clone, Debug)]
struct Name {
    exchange: String,
    symbol: String,
}

fn parse_name(text: &str) -> Result<Name, String> {
    match text.split_once(':') {
        Some((exchange, symbol)) if !exchange.is_empty() && !symbol.is_empty() => {
            Ok(Name { exchange: exchange.to_owned(), symbol: symbol.to_owned() })
        }
        _ => Err("an instrument is named EXCHANGE:SYMBOL, such as NSE:RELIANCE".to_owned()),
    }
}

fn parse_url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("ws://").or_else(|| text.strip_prefix("wss://"));
    match host {
        Some(host) if !host.is_empty() && text.parse::<Uri>().is_ok() => Ok(text.to_owned()),
        _ => Err("the address of a feed port begins with ws:// or wss://, as ws://127.0.0.1:8765".to_owned()),
    }
}

/// Why a connection is not to be tried again.
#[derive(Debug, thiserror::Error)]
enum Final {
    #[error("{0}")]
    Refused(String),
    /// Enough was printed, or nobody reads it any more.
    #[error("done")]
    Done,
}

pub(super) fn run(args: &Args, loaded: &Loaded) -> anyhow::Result<u8> {
    let data_dir = &loaded.config.data_dir;
    let given = args.key.as_ref().map(|key| Secret::new(key.trim())).or_else(key_given);
    let configured = given.is_some().then_some(loaded.config.gateway.feed_listen.as_str());
    let key = match given {
        Some(key) => key,
        None => auth::read_local(data_dir)?.with_context(|| {
            format!(
                "no key: {} does not exist; the first `tickgate serve` makes it, or give one with --key or {KEY_VARIABLE}",
                auth::local_path(data_dir).display()
            )
        })?,
    };
    let certificate = loaded.config.gateway.tls_files().map(|files| files.cert);
    let configured = configured.map(|address| at(address, certificate));
    runtime()?.block_on(async {
        let mut printed = 0;
        let mut wait = Duration::from_millis(250);
        loop {
            let before = printed;
            // Each time anew: a server that was started again may have other ports.
            let given = args.url.clone().map(|url| (url, Trust::System));
            match given.or_else(|| feed_url(data_dir, configured.clone())) {
                None => {
                    let dir = data_dir.display();
                    say(&format!("no server runs on the data directory {dir}; trying again in {wait:?}"));
                }
                Some((url, trust)) => match follow(args, &url, (&key, &trust), &mut printed).await {
                    Err(error) => match error.downcast::<Final>() {
                        Ok(Final::Done) => return Ok(SUCCESS),
                        Ok(refused @ Final::Refused(_)) => return Err(refused.into()),
                        Err(error) => say(&format!("{url}: {}; trying again in {wait:?}", told(&error))),
                    },
                    Ok(()) => {
                        say(&format!("{url}: the server closed the connection; trying again in {wait:?}"));
                    }
                },
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = tokio::signal::ctrl_c() => return Ok(SUCCESS),
            }
            wait = if printed > before {
                Duration::from_millis(250)
            } else {
                (wait * 2).min(Duration::from_secs(10))
            };
        }
    })
}

/// The feed port of the server on the data directory, else the configured one. The key `local` is for the former
/// alone: without a server that holds the directory, the port may be anybody's.
fn feed_url(data_dir: &Path, configured: Option<(String, Trust)>) -> Option<(String, Trust)> {
    match running(data_dir) {
        Some(run) => Some(at(&run.feed.to_string(), run.certificate)),
        None => configured,
    }
}

/// A server of this configuration is known by its own certificate, whatever name that is for.
fn at(address: &str, certificate: Option<PathBuf>) -> (String, Trust) {
    match certificate {
        Some(certificate) => (format!("wss://{address}"), Trust::Exactly(certificate)),
        None => (format!("ws://{address}"), Trust::System),
    }
}

/// One connection, from its start to its end.
async fn follow(
    args: &Args,
    url: &str,
    (key, trust): (&Secret, &Trust),
    printed: &mut u64,
) -> anyhow::Result<()> {
    let trust = args.ca.clone().map_or_else(|| trust.clone(), Trust::Authorities);
    let connected = tokio::select! {
        connected = Client::connect_with_states(url, key.expose(), &trust) => connected,
        _ = tokio::signal::ctrl_c() => return Err(Final::Done.into()),
    };
    let mut client = match connected {
        Ok(client) => client,
        // An answer, only not the one that was hoped for: asking again brings the same.
        Err(Error::Http { status, text }) if (400..500).contains(&status) => {
            bail!(Final::Refused(format!("{url}: {status}: {text}")));
        }
        Err(Error::Closed { .. }) => return Ok(()),
        Err(Error::Refused(words)) => bail!(Final::Refused(words)),
        Err(error) => return Err(error).context("cannot connect"),
    };
    if !args.json {
        say(&format!("connected to {url}, broker {}", client.broker()));
    }
    let ended = tokio::select! {
        ended = read(args, &mut client, printed) => ended,
        _ = tokio::signal::ctrl_c() => Err(Final::Done.into()),
    };
    if ended.is_err() {
        // A goodbye, so that the server does not count this as a connection lost.
        let _ = client.close().await;
    }
    ended
}

/// Subscribes, and prints until the end.
async fn read(args: &Args, client: &mut Client, printed: &mut u64) -> anyhow::Result<()> {
    let Err(error) = print_all(args, client, printed).await else { return Ok(()) };
    match error.downcast::<Error>() {
        Ok(revoked @ Error::Closed { code: Some(4403), .. }) => bail!(Final::Refused(revoked.to_string())),
        Ok(Error::Closed { .. }) => Ok(()),
        Ok(Error::Refused(words)) => bail!(Final::Refused(words)),
        Ok(error) => Err(error.into()),
        Err(error) => Err(error),
    }
}

async fn print_all(args: &Args, client: &mut Client, printed: &mut u64) -> anyhow::Result<()> {
    let names: Vec<_> = args.symbols.iter().map(|n| (n.exchange.as_str(), n.symbol.as_str())).collect();
    report(&client.subscribe(&names, args.mode.number()).await?)?;
    let broker = client.broker().to_owned();
    while let Some(event) = client.next().await? {
        let text = match event {
            Event::Text(text) => text,
            Event::Record(update) => match update.to_openalgo(&broker) {
                Some(text) => text,
                None => continue,
            },
        };
        let frame: Value = serde_json::from_str(&text).context("the server sent no JSON")?;
        if frame["type"] == "market_data" {
            *printed += 1;
            let printed_it = print(&if args.json { text } else { line(&frame, args.mode) });
            if !printed_it || args.count.is_some_and(|count| *printed >= count) {
                return Err(Final::Done.into());
            }
        } else if frame["type"] == "state" {
            say(&state_line(&frame));
        } else if frame["status"] == "error" {
            say(frame["message"].as_str().unwrap_or_default());
        }
    }
    Ok(())
}

/// Says what could not be subscribed; ends if nothing could.
fn report(outcomes: &[Outcome]) -> anyhow::Result<()> {
    let failed = outcomes.iter().filter_map(|o| Some((o, o.error.as_deref()?)));
    let failures = failed.map(|(o, why)| say(&format!("{}:{}: {why}", o.exchange, o.symbol))).count();
    if failures == outcomes.len() {
        bail!(Final::Refused("none of the instruments could be subscribed".to_owned()));
    }
    Ok(())
}

/// What is told of an instrument's data.
fn state_line(frame: &Value) -> String {
    let text = |key: &str| frame[key].as_str().unwrap_or_default().to_owned();
    let why = Some(text("reason")).filter(|why| !why.is_empty()).map(|why| format!(" ({why})"));
    let since = ist(frame["since"].as_i64().unwrap_or(0));
    format!(
        "{}:{} is {} since {since}{}",
        text("exchange"),
        text("symbol"),
        text("state"),
        why.unwrap_or_default()
    )
}

/// One aligned line per tick; times in IST.
fn line(frame: &Value, mode: Mode) -> String {
    let data = &frame["data"];
    let text = |key: &str| data[key].to_string();
    let name =
        format!("{}:{}", frame["exchange"].as_str().unwrap_or("?"), frame["symbol"].as_str().unwrap_or("?"));
    let mut line = format!("{}  {name:28} {:>12}", ist(data["timestamp"].as_i64().unwrap_or(0)), text("ltp"));
    let more = match mode {
        Mode::Ltp => format!("  ltq {:>8}  vol {:>12}", text("ltq"), text("volume")),
        Mode::Quote => format!(
            "  {:>7}%  bid {:>10} x {:<8} ask {:>10} x {:<8} vol {:>12}",
            text("change_percent"),
            text("bid_price"),
            text("bid_size"),
            text("ask_price"),
            text("ask_size"),
            text("volume")
        ),
        Mode::Depth => {
            let side = |name: &str| {
                let levels = data["depth"][name].as_array().map_or(&[][..], Vec::as_slice);
                levels
                    .iter()
                    .map(|l| format!("{}x{}", l["price"], l["quantity"]))
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            format!("  bids {} | asks {}", side("buy"), side("sell"))
        }
    };
    line.push_str(&more);
    line
}

/// `HH:MM:SS.mmm` in IST.
fn ist(epoch_ms: i64) -> String {
    const IST_OFFSET_MS: i64 = 19_800_000;
    let of_day = (epoch_ms + IST_OFFSET_MS).rem_euclid(86_400_000);
    let (seconds, millis) = (of_day / 1000, of_day % 1000);
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_ist() {
        assert_eq!(ist(1_770_698_730_123), "10:15:30.123");
    }

    #[test]
    fn a_line_per_tick() {
        let frame = json!({"exchange":"NSE","symbol":"SBIN","data":{"ltp":769.6,"ltq":25,"volume":100,"timestamp":1_770_698_730_123_i64,
            "depth":{"buy":[{"price":1.5,"quantity":2,"orders":1}],"sell":[]}}});
        assert!(
            line(&frame, Mode::Ltp).contains("769.6")
                && line(&frame, Mode::Ltp).starts_with("10:15:30.123  NSE:SBIN")
        );
        assert!(line(&frame, Mode::Depth).contains("bids 1.5x2 | asks "));
    }

    #[test]
    fn a_state_in_words() {
        let mut frame = json!({"type":"state","symbol":"SBIN","exchange":"NSE","state":"stale",
            "since":1_770_698_730_123_i64,"reason":"it fell"});
        assert_eq!(state_line(&frame), "NSE:SBIN is stale since 10:15:30.123 (it fell)");
        frame["reason"] = json!("");
        assert_eq!(state_line(&frame), "NSE:SBIN is stale since 10:15:30.123");
    }

    #[test]
    fn addresses_have_a_scheme() {
        assert!(parse_url("ws://127.0.0.1:8765").is_ok() && parse_url("wss://feed.example.com/x").is_ok());
        for text in ["127.0.0.1:8765", "http://127.0.0.1:8765", "ws://", "ws://a b", ""] {
            assert!(parse_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_have_two_parts() {
        assert!(parse_name("NSE:M&M").is_ok());
        for text in ["RELIANCE", ":X", "NSE:", ""] {
            assert!(parse_name(text).is_err(), "{text}");
        }
    }
}
