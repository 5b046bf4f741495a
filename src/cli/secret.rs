//! `tickgate secret`: the key that stored tokens are encrypted under. Never prints one.

use clap::Subcommand;
use serde_json::{Value, json};

use super::address::Server;
use super::{SUCCESS, runtime, say, stored};
use crate::config::Loaded;
use crate::store::audit::Audit;
use crate::token::cipher;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Encrypt all stored tokens under a new key
    ///
    /// The key is the first of TICKGATE_FERNET_KEY if that is set, else a new one, which becomes the only one in
    /// fernet.key in the data directory. May be interrupted at any moment and repeated.
    #[command(after_help = "Example:\n  tickgate secret rotate")]
    Rotate,
}

pub(super) fn run(command: &Command, loaded: &Loaded) -> anyhow::Result<u8> {
    let Command::Rotate = command;
    runtime()?.block_on(async {
        let data_dir = &loaded.config.data_dir;
        if let Some(server) = Server::find(data_dir).await? {
            return on_server(&server, loaded).await;
        }
        if !stored::exists(data_dir)? {
            return Ok(SUCCESS);
        }
        let store = stored::open(data_dir)?;
        let given = loaded.secrets.fernet_key.clone();
        let done = stored::tokens(&store, loaded)?.rotate(given).await?;
        let outcome = format!("{} records under the new key, {} unreadable", done.records, done.unreadable);
        Audit::open(&store)?.record(&stored::entry("rotated", outcome)).await;
        tell(&json!({
            "key": if done.file.is_none() { "given" } else { "file" },
            "records": done.records,
            "unreadable": done.unreadable,
            "unreadable_aside": done.unreadable_aside,
            "superseded": done.superseded,
        }));
        Ok(SUCCESS)
    })
}

async fn on_server(server: &Server, loaded: &Loaded) -> anyhow::Result<u8> {
    let given = &loaded.secrets.fernet_key;
    let key_id = given.as_ref().map(cipher::id_of_first).transpose()?;
    let answer = server.act("/v1/admin/rotate", &json!({"key_id": key_id})).await?;
    if answer.code() == "CONFLICT" {
        anyhow::bail!(
            "this shell's TICKGATE_FERNET_KEY is not the running server's ({}); unset it here to use the server's key. \
             To change to this one: put the server's present key behind it, after a comma (the one in fernet.key is \
             found by itself), stop the server, run this again, and start the server with it",
            answer.message()
        );
    }
    let done = server.granted(answer)?;
    if given.is_none() && done["key"] == "given" {
        say("the server was given its key in TICKGATE_FERNET_KEY, which this shell does not have");
    }
    tell(&done);
    Ok(SUCCESS)
}

/// How it went, as the server tells it.
fn tell(done: &Value) {
    let count = |name: &str| done[name].as_u64().unwrap_or(0);
    let given = done["key"] == "given";
    let under =
        if given { "the first key of TICKGATE_FERNET_KEY" } else { "a new key, the only one in fernet.key" };
    say(&format!("{} are encrypted under {under}", counted(count("records"), "record")));
    if given && count("superseded") > 0 {
        say(&format!(
            "nothing that could be read needs the other {} any more: take them out of TICKGATE_FERNET_KEY, and remove \
             fernet.key if it is still there",
            counted(count("superseded"), "key")
        ));
    }
    if count("unreadable") > 0 {
        say(&format!(
            "warning: {} could not be read with any key at hand and {} as before; the next login \
             replaces them, or add the key that is missing and run this again",
            counted(count("unreadable"), "record"),
            if count("unreadable") == 1 { "is" } else { "are" },
        ));
    }
    if count("unreadable_aside") > 0 {
        let aside = counted(count("unreadable_aside"), "record");
        say(&format!("{aside} that were set aside earlier are under other keys still"));
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
