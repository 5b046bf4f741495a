//! `tickgate token status`: how every token stands, as the running server or the store tells. Changes nothing.

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::address::Server;
use crate::cli::{SUCCESS, print, say, stored, table};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Loaded;

#[derive(Debug, Args)]
pub(in crate::cli) struct StatusArgs {
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &StatusArgs, loaded: &Loaded) -> anyhow::Result<u8> {
    let accounts = match Server::find(&loaded.config.data_dir).await? {
        Some(server) => from_server(&server).await?,
        None => from_store(loaded)?,
    };
    if args.json {
        print(&serde_json::to_string_pretty(&accounts)?);
        return Ok(SUCCESS);
    }
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for (account, products) in accounts.as_object().into_iter().flatten() {
        for (product, token) in products.as_object().into_iter().flatten() {
            rows.push([
                account.clone(),
                product.clone(),
                text(&token["state"]),
                table::time(&text(&token["issued_at"])),
                table::time(&text(&token["expires_at"])),
                table::time(&text(&token["next_login_at"])),
                text(&token["logins_today"]),
                text(&token["app_key_expires"]),
            ]);
            notes.extend(remarks(token).into_iter().map(|note| format!("{account} {product}: {note}")));
        }
    }
    table::show(
        [
            "ACCOUNT",
            "PRODUCT",
            "STATE",
            "ISSUED (IST)",
            "EXPIRES",
            "NEXT LOGIN",
            "LOGINS TODAY",
            "APP KEY UNTIL",
        ],
        rows,
    );
    for note in notes {
        say(&table::plain(&note));
    }
    Ok(SUCCESS)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// What a person should know beside the table.
fn remarks(token: &Value) -> Vec<String> {
    let mut remarks = Vec::new();
    let meaning = match token["state"].as_str().unwrap_or_default() {
        "needs_operator" => {
            Some("the broker refuses the login; put that right, then: tickgate token refresh")
        }
        "replaced" => Some(
            "somebody else has logged in with the same app key; to take the session back: tickgate token refresh",
        ),
        "revoked" => Some("nothing logs in until: tickgate token refresh"),
        _ => None,
    };
    remarks.extend(meaning.map(str::to_owned));
    if let Some(refusal) = token["last_refusal"].as_str() {
        remarks.push(format!("last refusal: {refusal}"));
    }
    if let Some(failure) = token["store_failure"].as_str() {
        remarks.push(format!("could not be stored, so a restart will log in again: {failure}"));
    }
    remarks
}

/// `{session: {product: {…}}}` from `/v1/status`.
async fn from_server(server: &Server) -> anyhow::Result<Value> {
    let status = server.request(Method::GET, "/v1/status", None).await?;
    let accounts = status["accounts"].as_object().cloned().unwrap_or_default();
    let mut tokens = serde_json::Map::new();
    for (name, mut account) in accounts {
        // The first session's is the account's own.
        for session in account["sessions"].as_array_mut().into_iter().flatten().skip(1) {
            if let Some(name) = session["name"].as_str().map(str::to_owned) {
                tokens.insert(name, session["token"].take());
            }
        }
        tokens.insert(name, account["token"].take());
    }
    Ok(tokens.into())
}

/// The same from the store; what only a running server knows is left out.
fn from_store(loaded: &Loaded) -> anyhow::Result<Value> {
    let data_dir = &loaded.config.data_dir;
    if !stored::exists(data_dir)? {
        return Ok(json!({}));
    }
    let store = stored::open(data_dir)?;
    let summaries = stored::tokens(&store, loaded)?.list()?;
    let now = SystemClock.now();
    let cutoff = loaded.config.session.daily_cutoff_ist;
    let mut accounts = json!({});
    for summary in summaries {
        let entry = match summary.state {
            Ok(kept) => {
                // As the server counts: a token does not outlive the first cut-off after its issue.
                let cut = cutoff.next(kept.issued_at);
                let end = kept.expires_at.map_or(cut, |end| end.min(cut));
                json!({
                    "state": if end <= now { "expired" } else { "stored" },
                    "issued_at": kept.issued_at.in_india(),
                    "expires_at": end.in_india(),
                    "seconds_left": end.since(now).as_secs(),
                    "app_key_expires": kept.app_key_expires,
                    "broker": kept.broker,
                    "user_id": kept.user_id,
                })
            }
            Err(why) => json!({"state": "unreadable", "last_refusal": why.to_string()}),
        };
        accounts[&summary.account][summary.product.as_str()] = entry;
    }
    Ok(accounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_waits_for_a_person_says_what_to_do() {
        for state in ["needs_operator", "replaced", "revoked"] {
            let said = remarks(&json!({"state": state}));
            assert!(said.len() == 1 && said[0].contains("tickgate token refresh"), "{said:?}");
        }
        let said = remarks(&json!({"state": "valid", "last_refusal": "no", "store_failure": "disk full"}));
        assert_eq!(
            said,
            ["last refusal: no", "could not be stored, so a restart will log in again: disk full"]
        );
        assert_eq!(remarks(&json!({"state": "valid", "last_refusal": null})), [""; 0]);
    }
}
