//! The state file: what of the simulated broker survives its process. Not the prices.
//!
//! Tokens are not in it, but the key that signs them is, so it is as private as they are.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sim::sessions::{PerProduct, Product, Session};

/// Everything that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Saved {
    /// Signs tokens; URL-safe base64.
    pub(crate) signing_key: String,
    /// Where it listened, so that it can listen there again.
    pub(crate) port: u16,
    /// Tokens issued so far.
    pub(crate) issued: u64,
    /// Life of tokens issued from now on.
    pub(crate) token_life_s: Option<u64>,
    pub(crate) accounts: Vec<SavedAccount>,
    /// What concerned no known account.
    pub(crate) stray: Counters,
    /// The first account's, as files had it when there was one account. Read only.
    #[serde(skip_serializing)]
    pub(crate) sessions: PerProduct<Option<Session>>,
    /// As `sessions`.
    #[serde(skip_serializing)]
    pub(crate) counters: Counters,
}

/// What is kept of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SavedAccount {
    pub(crate) user: String,
    pub(crate) sessions: PerProduct<Option<Session>>,
    pub(crate) counters: Counters,
    /// What tells the last login's access token from others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) used_access_token: Option<String>,
}

impl Saved {
    /// Takes out what is kept of an account, nothing if there is none.
    pub(crate) fn take_account(&mut self, number: usize, user: &str) -> SavedAccount {
        if number == 0 && self.accounts.is_empty() {
            return SavedAccount {
                user: user.to_owned(),
                sessions: std::mem::take(&mut self.sessions),
                counters: std::mem::take(&mut self.counters),
                used_access_token: None,
            };
        }
        let found = self.accounts.iter_mut().find(|a| a.user == user);
        found.map(std::mem::take).unwrap_or_default()
    }
}

/// What happened over the file's life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counters {
    /// Logins that gave a token.
    pub(crate) logins: PerProduct<u64>,
    /// Logins refused.
    pub(crate) refusals: PerProduct<u64>,
    /// Requests and handshakes refused for their token.
    pub(crate) tokens_refused: u64,
    pub(crate) rate_limited: u64,
    /// Sockets opened.
    pub(crate) sockets: PerProduct<u64>,
}

impl Counters {
    pub(crate) fn add(&mut self, other: &Self) {
        for product in Product::ALL {
            *self.logins.get_mut(product) += other.logins.get(product);
            *self.refusals.get_mut(product) += other.refusals.get(product);
            *self.sockets.get_mut(product) += other.sockets.get(product);
        }
        self.tokens_refused += other.tokens_refused;
        self.rate_limited += other.rate_limited;
    }
}

/// The file.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// Reads the file. One that is damaged is set aside with a warning: a lost session costs
    /// one login.
    ///
    /// # Errors
    /// If a file is there and cannot be read or set aside.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Option<Saved>)> {
        let file = Self { path: path.to_owned() };
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((file, None)),
            Err(error) => return Err(error),
        };
        match serde_json::from_slice(&text) {
            Ok(saved) => Ok((file, Some(saved))),
            Err(error) => {
                let aside = path.with_extension("json.corrupt");
                fs::rename(path, &aside)?;
                tracing::warn!(%error, aside = %aside.display(), "the simulator's state file was damaged and is set aside");
                Ok((file, None))
            }
        }
    }

    /// Replaces the file as a whole: a reader sees the old one or the new one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write(&self, text: &str) -> io::Result<()> {
        let new = self.path.with_extension("json.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        // Survives the process, not a power cut: a simulator's sessions are not worth a sync
        // for every subscription.
        drop(file);
        fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_private_whole_and_forgiving() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sim.json");
        let (file, saved) = StateFile::open(&path).unwrap();
        assert_eq!(saved, None);
        let mut saved = Saved { signing_key: "AAAA".to_owned(), port: 7, ..Saved::default() };
        saved.stray.refusals.market = 3;
        file.write(&serde_json::to_string(&saved).unwrap()).unwrap();
        file.write(&serde_json::to_string(&saved).unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(StateFile::open(&path).unwrap().1, Some(saved));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

        fs::write(&path, "{\"half").unwrap();
        assert_eq!(StateFile::open(&path).unwrap().1, None);
        assert!(dir.path().join("sim.json.corrupt").exists() && !path.exists());
    }

    #[test]
    fn a_file_of_the_time_of_one_account_is_the_first_ones() {
        let text = r#"{"signing_key":"AAAA","port":7,"issued":3,"token_life_s":null,
            "sessions":{"market":{"id":"a-1","issued_at":1,"expires_at":2,"subscriptions":[[1,2885,1501]]},
                        "interactive":null},
            "counters":{"logins":{"market":2,"interactive":1},"refusals":{"market":0,"interactive":0},
                        "tokens_refused":4,"rate_limited":0,"sockets":{"market":1,"interactive":0}}}"#;
        let mut saved: Saved = serde_json::from_str(text).unwrap();
        let first = saved.take_account(0, "SIM01");
        assert_eq!((first.user.as_str(), first.counters.logins.market), ("SIM01", 2));
        assert_eq!(first.sessions.market.as_ref().unwrap().subscriptions.len(), 1);
        assert_eq!(saved.take_account(1, "SIM02"), SavedAccount::default());

        let mut new = Saved { accounts: vec![first.clone()], ..Saved::default() };
        let text = serde_json::to_string(&new).unwrap();
        assert_eq!(serde_json::from_str::<Saved>(&text).unwrap(), new);
        assert_eq!((new.take_account(0, "SIM01"), new.take_account(1, "SIM02").user), (first, String::new()));
    }
}
