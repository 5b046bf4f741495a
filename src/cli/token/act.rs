//! `tickgate token refresh` and `revoke`. Not the login or the logout themselves; those are the server's.

use reqwest::Method;
use serde_json::{Value, json};

use super::Target;
use crate::cli::address::Server;
use crate::cli::{FAILURE, SUCCESS, USAGE, say, stored, table};
use crate::config::Loaded;
use crate::store::audit::Audit;
use crate::token;

/// Logs in anew for each product, one after the other, and says how each went.
pub(super) async fn refresh(target: &Target, loaded: &Loaded) -> anyhow::Result<u8> {
    let data_dir = &loaded.config.data_dir;
    let Some(server) = Server::find(data_dir).await? else {
        say(&format!(
            "no server is running on {}: it is the server that logs in, so that nothing else ends the token it \
             uses. Started with `tickgate serve`, it logs in wherever it finds no usable token; `tickgate token \
             revoke` beforehand makes it log in anew",
            data_dir.display()
        ));
        return Ok(FAILURE);
    };
    on_server(&server, target, "/v1/admin/refresh").await
}

/// Ends each product's session, by the server if there is one, and says how each went.
pub(super) async fn revoke(target: &Target, loaded: &Loaded) -> anyhow::Result<u8> {
    match Server::find(&loaded.config.data_dir).await? {
        Some(server) => on_server(&server, target, "/v1/admin/revoke").await,
        None => revoke_in_store(target, loaded).await,
    }
}

async fn on_server(server: &Server, target: &Target, path: &str) -> anyhow::Result<u8> {
    let status = server.request(Method::GET, "/v1/status", None).await?;
    let of = |(name, account): (&String, &Value)| {
        let sessions = account["sessions"].as_array().into_iter().flatten();
        let mut names: Vec<_> =
            sessions.filter_map(|session| session["name"].as_str()).map(str::to_owned).collect();
        if names.is_empty() {
            names.push(name.clone());
        }
        names
    };
    let accounts: Vec<_> = status["accounts"].as_object().into_iter().flatten().flat_map(of).collect();
    let Some(account) = the_account(target, &accounts) else { return Ok(USAGE) };
    let mut failed = false;
    for product in target.products() {
        let product_name = product.as_str();
        let body = json!({"account": account, "product": product_name});
        let answer = server.act(path, &body).await?;
        // With both asked for, one that the account does not have is no failure.
        let passed_over = answer.code() == "NOT_CONFIGURED" && target.product.is_none();
        let words = match answer.code() {
            "FAILED" | "NOT_CONFIGURED" => {
                failed |= !passed_over;
                answer.message()
            }
            _ => match server.granted(answer)?["products"][product_name].as_str() {
                Some("missing") => "there was no token".to_owned(),
                Some("revoked") => {
                    "revoked; nothing logs in until `tickgate token refresh` or a restart".to_owned()
                }
                word => word.unwrap_or("done").to_owned(),
            },
        };
        say(&table::plain(&format!("{account} {product_name}: {words}")));
    }
    Ok(if failed { FAILURE } else { SUCCESS })
}

async fn revoke_in_store(target: &Target, loaded: &Loaded) -> anyhow::Result<u8> {
    let data_dir = &loaded.config.data_dir;
    if !stored::exists(data_dir)? {
        return Ok(SUCCESS);
    }
    let store = stored::open(data_dir)?;
    let tokens = stored::tokens(&store, loaded)?;
    let audit = Audit::open(&store)?;
    let list = tokens.list()?;
    let mut accounts: Vec<_> = list.iter().map(|summary| summary.account.clone()).collect();
    accounts.sort();
    accounts.dedup();
    if accounts.is_empty() {
        say("no server is running, and no token is stored");
        return Ok(SUCCESS);
    }
    let Some(account) = the_account(target, &accounts) else { return Ok(USAGE) };
    let mut forgotten = false;
    for name in target.products().into_iter().map(super::Product::as_str) {
        let found =
            list.iter().find(|summary| summary.account == account && summary.product.as_str() == name);
        let Some(found) = found else {
            say(&format!("{account} {name}: there was no token"));
            continue;
        };
        tokens.revoke(&account, found.product).await?;
        forgotten = true;
        let words = match &found.state {
            Ok(_) => "forgotten".to_owned(),
            Err(why) => format!("taken out of use; the record cannot be used here ({why}) and is kept aside"),
        };
        say(&format!("{account} {name}: {words}"));
        let entry = stored::entry("revoked", format!("{words}; not logged out at the broker"));
        let (account, product) = (account.clone(), token::Product::as_str(found.product).to_owned());
        audit.record(&crate::store::audit::Entry { account, product, ..entry }).await;
    }
    if forgotten {
        say("no server is running, so the broker was not told: there the session lives until it expires or \
             somebody logs in anew. The next `tickgate serve` logs in");
    }
    Ok(SUCCESS)
}

/// The session meant, out of all (`NAME`, `NAME/2`); says so if that cannot be told.
fn the_account(target: &Target, accounts: &[String]) -> Option<String> {
    match &target.account {
        Some(name) if accounts.contains(name) => Some(name.clone()),
        Some(name) => {
            say(&format!("there is no account {name}; there are: {}", accounts.join(", ")));
            None
        }
        None => {
            let mut firsts: Vec<_> = accounts.iter().filter_map(|name| name.split('/').next()).collect();
            firsts.sort_unstable();
            firsts.dedup();
            // The account's first session, or the only one that there is.
            match (&firsts[..], accounts) {
                ([only], _) if accounts.iter().any(|name| name == only) => return Some((*only).to_owned()),
                (_, [only]) => return Some(only.clone()),
                _ => {}
            }
            say(&format!("there are several accounts; name one with --account: {}", accounts.join(", ")));
            None
        }
    }
}
