//! `tickgate token log`: the audit trail, newest last. Changes nothing.

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::address::Server;
use crate::cli::{SUCCESS, print, stored, table};
use crate::clock::UnixNanos;
use crate::config::Loaded;
use crate::store::audit::Audit;

#[derive(Debug, Args)]
pub(in crate::cli) struct LogArgs {
    /// How many of the latest entries
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    last: u64,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &LogArgs, loaded: &Loaded) -> anyhow::Result<u8> {
    let entries = match Server::find(&loaded.config.data_dir).await? {
        Some(server) => {
            let path = format!("/v1/admin/audit?last={}", args.last);
            let mut page = server.request(Method::GET, &path, None).await?;
            serde_json::from_value(page["entries"].take()).unwrap_or_default()
        }
        None => from_store(args.last as usize, loaded)?,
    };
    if args.json {
        print(&serde_json::to_string_pretty(&entries)?);
        return Ok(SUCCESS);
    }
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    table::show(
        ["TIME (IST)", "EVENT", "ACCOUNT", "PRODUCT", "WHO", "WHY", "OUTCOME"],
        entries.iter().map(|entry| {
            [
                table::time(&text(entry, "at")),
                text(entry, "event"),
                text(entry, "account"),
                text(entry, "product"),
                text(entry, "who"),
                text(entry, "why"),
                text(entry, "outcome"),
            ]
        }),
    );
    Ok(SUCCESS)
}

/// The same as the server shows it.
fn from_store(last: usize, loaded: &Loaded) -> anyhow::Result<Vec<Value>> {
    let data_dir = &loaded.config.data_dir;
    if !stored::exists(data_dir)? {
        return Ok(Vec::new());
    }
    let entries = Audit::open(&stored::open(data_dir)?)?.last(last)?;
    Ok(entries
        .into_iter()
        .map(|entry| {
            let mut shown = json!(entry);
            shown["at"] = UnixNanos::from_millis(entry.at_ms).in_india().into();
            shown
        })
        .collect())
}
