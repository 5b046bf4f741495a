//! `tickgate key`: consumers' API keys, on the running server or on the store directly.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::address::Server;
use super::{SUCCESS, print, runtime, say};
use crate::clock::SystemClock;
use crate::config::Loaded;
use crate::gateway::auth::{ConsumerKeys, Scope, Scopes};
use crate::store::Store;

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
        if matches!(command, Command::List) && !Store::exists(data_dir)? {
            say(&format!("no server is running, and nothing is stored in {}", data_dir.display()));
            table(std::iter::empty());
            return Ok(SUCCESS);
        }
        let (store, opened) = Store::open(data_dir, &SystemClock)?;
        if let Some((aside, why)) = &opened.set_aside {
            say(&format!(
                "warning: the store could not be read ({why}) and was set aside to {}",
                aside.display()
            ));
        }
        let keys = ConsumerKeys::open(&store, Arc::new(SystemClock))?;
        on_store(command, &keys).await
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
            table(rows.iter().map(|row| {
                let scopes: Vec<_> = row["scopes"].as_array().into_iter().flatten().map(text).collect();
                (text(&row["name"]), scopes.join(","), text(&row["created_at"]))
            }));
        }
        Command::Revoke { name } => {
            server.request(Method::DELETE, &format!("/v1/admin/keys/{}", escaped(&name)), None).await?;
            say(&format!("revoked {name}"));
        }
    }
    Ok(SUCCESS)
}

async fn on_store(command: Command, keys: &ConsumerKeys) -> anyhow::Result<u8> {
    match command {
        Command::Create { name, scopes } => {
            let scopes = if scopes.is_empty() { Scopes::DEFAULT } else { scopes.into_iter().collect() };
            let key = keys.create(&name, scopes).await?;
            show(key.expose())?;
        }
        Command::List => table(keys.list().iter().map(|key| {
            let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
            (key.name.clone(), scopes.join(","), key.created_at.in_india())
        })),
        Command::Revoke { name } => {
            keys.revoke(&name).await?;
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

fn table(rows: impl Iterator<Item = (String, String, String)>) {
    print(&format!("{:20} {:28} CREATED", "NAME", "SCOPES"));
    for (name, scopes, created) in rows {
        print(&format!("{name:20} {scopes:28} {created}"));
    }
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
