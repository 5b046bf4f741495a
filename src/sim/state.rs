//! The state file: what of the simulated broker survives its process. Not the prices.
//!
//! Tokens are not in it, but the key that signs them is, so it is as private as they are.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sim::sessions::{PerProduct, Session};

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
    pub(crate) sessions: PerProduct<Option<Session>>,
    pub(crate) counters: Counters,
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
        saved.counters.logins.market = 3;
        file.write(&serde_json::to_string(&saved).unwrap()).unwrap();
        file.write(&serde_json::to_string(&saved).unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(StateFile::open(&path).unwrap().1, Some(saved));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

        fs::write(&path, "{\"half").unwrap();
        assert_eq!(StateFile::open(&path).unwrap().1, None);
        assert!(dir.path().join("sim.json.corrupt").exists() && !path.exists());
    }
}
