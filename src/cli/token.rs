//! `tickgate token`: the stored broker tokens, as the running server or the store tells. Never
//! prints a token.

use std::sync::Arc;

use anyhow::bail;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::address::Server;
use super::{SUCCESS, print, runtime, say};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Loaded;
use crate::secret::Secret;
use crate::store::Store;
use crate::token::cipher::{self, Cipher};
use crate::token::store::TokenStore;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the state of every stored token
    #[command(after_help = "Example:\n  tickgate token status --json")]
    Status(StatusArgs),
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: Command, loaded: &Loaded) -> anyhow::Result<u8> {
    let Command::Status(args) = command;
    let data_dir = &loaded.config.data_dir;
    let accounts = runtime()?.block_on(async {
        match Server::find(data_dir).await? {
            Some(server) => from_server(&server).await,
            None => from_store(loaded),
        }
    })?;
    if args.json {
        print(&serde_json::to_string_pretty(&accounts)?);
        return Ok(SUCCESS);
    }
    print(&format!(
        "{:16} {:12} {:15} {:29} {:29} LOGINS TODAY",
        "ACCOUNT", "PRODUCT", "STATE", "ISSUED", "EXPIRES"
    ));
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    for (account, products) in accounts.as_object().into_iter().flatten() {
        for (product, token) in products.as_object().into_iter().flatten() {
            print(&format!(
                "{account:16} {product:12} {:15} {:29} {:29} {}",
                text(&token["state"]),
                text(&token["issued_at"]),
                text(&token["expires_at"]),
                text(&token["logins_today"]),
            ));
            if let Some(refusal) = token["last_refusal"].as_str() {
                say(&format!("  {account} {product}: last refusal: {refusal}"));
            }
        }
    }
    Ok(SUCCESS)
}

/// `{account: {product: {…}}}` from `/v1/status`.
async fn from_server(server: &Server) -> anyhow::Result<Value> {
    let status = server.request(Method::GET, "/v1/status", None).await?;
    let accounts = status["accounts"].as_object().cloned().unwrap_or_default();
    Ok(accounts.into_iter().map(|(name, mut account)| (name, account["token"].take())).collect())
}

/// The same from the store; what only a running server knows is left out.
fn from_store(loaded: &Loaded) -> anyhow::Result<Value> {
    let data_dir = &loaded.config.data_dir;
    if !Store::exists(data_dir)? {
        say(&format!("no server is running, and nothing is stored in {}", data_dir.display()));
        return Ok(json!({}));
    }
    let clock = Arc::new(SystemClock);
    let (store, _) = Store::open(data_dir, &SystemClock)?;
    // Looking must not make a key, least of all where the server is given one that this shell does not have.
    let path = data_dir.join(cipher::KEY_FILE);
    let keyless = loaded.secrets.fernet_key.is_none() && !path.try_exists()?;
    let cipher = if keyless {
        Cipher::new(&Secret::new(fernet::Fernet::generate_key()), "a passing key", clock)?
    } else {
        Cipher::load(loaded.secrets.fernet_key.as_ref(), data_dir, clock)?.0
    };
    let stored = TokenStore::open(&store, cipher)?.list()?;
    if keyless && !stored.is_empty() {
        bail!("there is no {}; set TICKGATE_FERNET_KEY as for the server", path.display());
    }
    let now = SystemClock.now();
    let cutoff = loaded.config.session.daily_cutoff_ist;
    let mut accounts = json!({});
    for summary in stored {
        let entry = match summary.state {
            Ok(times) => {
                // As the server counts: a token does not outlive the first cut-off after its issue.
                let cut = cutoff.next(times.issued_at);
                let end = times.expires_at.map_or(cut, |end| end.min(cut));
                json!({
                    "state": if end <= now { "expired" } else { "stored" },
                    "issued_at": times.issued_at.in_india(),
                    "expires_at": end.in_india(),
                    "seconds_left": end.since(now).as_secs(),
                })
            }
            Err(why) => json!({"state": "unreadable", "last_refusal": why.to_string()}),
        };
        accounts[&summary.account][summary.product.as_str()] = entry;
    }
    Ok(accounts)
}
