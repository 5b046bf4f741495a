//! The store itself, for commands where no server runs on it. Not what they do with it.

use std::path::Path;
use std::sync::Arc;

use anyhow::bail;

use super::say;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Loaded;
use crate::store::Store;
use crate::store::audit::Entry;
use crate::token::cipher::{self, Cipher};
use crate::token::store::TokenStore;

/// Whether anything is stored; says so if not.
pub(super) fn exists(data_dir: &Path) -> anyhow::Result<bool> {
    let exists = Store::exists(data_dir)?;
    if !exists {
        say(&format!("no server is running, and nothing is stored in {}", data_dir.display()));
    }
    Ok(exists)
}

/// Opens the store; says if it was damaged.
pub(super) fn open(data_dir: &Path) -> anyhow::Result<Store> {
    let (store, opened) = Store::open(data_dir, &SystemClock)?;
    if let Some((aside, why)) = &opened.set_aside {
        say(&format!(
            "warning: the store could not be read ({why}) and was set aside to {}",
            aside.display()
        ));
    }
    if opened.lost_writes {
        say("warning: the store has lost its latest writes");
    }
    Ok(store)
}

/// The tokens in it, with the keys that the server would use.
///
/// # Errors
/// Also if there are tokens but no key: none is made, least of all where the server is given one that this
/// shell does not have.
pub(super) fn tokens(store: &Store, loaded: &Loaded) -> anyhow::Result<TokenStore> {
    let data_dir = &loaded.config.data_dir;
    let clock = Arc::new(SystemClock);
    let given = loaded.secrets.fernet_key.as_ref();
    let path = data_dir.join(cipher::KEY_FILE);
    if given.is_some() || path.try_exists()? {
        return Ok(TokenStore::open(store, Cipher::load(given, data_dir, clock)?.0)?);
    }
    let tokens = TokenStore::open(store, Cipher::passing(clock))?;
    if !tokens.list()?.is_empty() {
        bail!("there is no {}; set TICKGATE_FERNET_KEY as for the server", path.display());
    }
    Ok(tokens)
}

/// An entry of the audit trail for what was done here.
pub(super) fn entry(event: &str, outcome: String) -> Entry {
    let (who, why) = ("operator".to_owned(), "asked on the command line, no server running".to_owned());
    Entry { who, why, outcome, ..Entry::new(SystemClock.now(), event) }
}
