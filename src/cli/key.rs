//! `tickgate key`: consumers' API keys, on the running server or on the store directly.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::address::Server;
use super::{SUCCESS, print, runtime, say, stored, table};
use crate::clock::SystemClock;
use crate::config::Loaded;
use crate::gateway::auth::{ConsumerKeys, Scope, Scopes};
use crate::store::audit::Audit;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key and print it, once, alone on its line
    #[command(after_help = "Example:\n  tickgate key create alice --scope feed --scope account")]
    Create {
        /// A name to tell it by
        name: String,
        /// What it may be used for: feed, account, trade, admin [default: feed and account]
        #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
        scopes: Vec<Scope>,
    },
    /// List the keys: names, scopes, times
    #[command(after_help = "Example:\n  tickgate key list")]
    List,
    /// Revoke a key; its live connections are closed
    #[command(after_help = "Example:\n  tickgate key revoke alice")]
    Revoke {
        /// Its name
        name: String,
    },
}

pub(super) fn run(command: Command, loaded: &Loaded) -> anyhow::Result<u8> {
    let data_dir = &loaded.config.data_dir;
    runtime()?.block_on(async {
        if let Some(server) = Server::find(data_dir).await? {
            return on_server(command, &server).await;
        }
        // Looking must not make a store where there is none.
        if matches!(command, Command::List) && !stored::exists(data_dir)? {
            show_table(std::iter::empty());
            return Ok(SUCCESS);
        }
        let store = stored::open(data_dir)?;
        let keys = ConsumerKeys::open(&store, Arc::new(SystemClock))?;
        on_store(command, &keys, &Audit::open(&store)?).await
    })
}

async fn on_server(command: Command, server: &Server) -> anyhow::Result<u8> {
    match command {
        Command::Create { name, scopes } => {
            let mut body = json!({"name": name});
            if !scopes.is_empty() {
                body["scopes"] = scopes.iter().map(|s| s.as_str()).collect();
            }
            let answer = server.request(Method::POST, "/v1/admin/keys", Some(&body)).await?;
            let key = answer["key"].as_str().context("the server's answer holds no key")?;
            show(key)?;
        }
        Command::List => {
            let answer = server.request(Method::GET, "/v1/admin/keys", None).await?;
            let rows = answer["keys"].as_array().cloned().unwrap_or_default();
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            show_table(rows.iter().map(|row| {
                let scopes: Vec<_> = row["scopes"].as_array().into_iter().flatten().map(text).collect();
                [text(&row["name"]), scopes.join(","), table::time(&text(&row["created_at"]))]
            }));
        }
        Command::Revoke { name } => {
            server.request(Method::DELETE, &format!("/v1/admin/keys/{}", escaped(&name)), None).await?;
            say(&format!("revoked {name}"));
        }
    }
    Ok(SUCCESS)
}

async fn on_store(command: Command, keys: &ConsumerKeys, audit: &Audit) -> anyhow::Result<u8> {
    match command {
        Command::Create { name, scopes } => {
            let scopes = if scopes.is_empty() { Scopes::DEFAULT } else { scopes.into_iter().collect() };
            let key = keys.create(&name, scopes).await?;
            audit.record(&stored::entry("key_created", format!("{name} for {scopes}"))).await;
            show(key.expose())?;
        }
        Command::List => show_table(keys.list().iter().map(|key| {
            let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
            [key.name.clone(), scopes.join(","), table::time(&key.created_at.in_india())]
        })),
        Command::Revoke { name } => {
            keys.revoke(&name).await?;
            audit.record(&stored::entry("key_revoked", name.clone())).await;
            say(&format!("revoked {name}"));
        }
    }
    Ok(SUCCESS)
}

/// The key, for the only time.
fn show(key: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        print(key),
        "the key was made, but standard output does not take it; revoke it and make another"
    );
    Ok(())
}

fn show_table(rows: impl Iterator<Item = [String; 3]>) {
    table::show(["NAME", "SCOPES", "CREATED (IST)"], rows);
}

/// A name as one segment of a path.
fn escaped(name: &str) -> String {
    name.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}
