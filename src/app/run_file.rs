//! The file by which other processes on the machine find a running server, whatever ports it
//! was given.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What a running server tells other processes on the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFile {
    /// Its process id.
    pub pid: u32,
    /// The consumers' WebSocket port.
    pub feed: SocketAddr,
    /// The HTTP port.
    pub http: SocketAddr,
    /// Both ports speak TLS; the file that begins with the certificate they show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The embedded simulator's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sim: Option<SocketAddr>,
}

impl RunFile {
    /// `plain`, with an `s` behind it if the ports speak TLS.
    pub fn scheme(&self, plain: &str) -> String {
        format!("{plain}{}", if self.certificate.is_some() { "s" } else { "" })
    }

    /// Where it stands.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("run.json")
    }

    /// The file as it stands; it may be left over from a server that was killed.
    pub fn read(data_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(data_dir)).ok()?).ok()
    }

    /// Writes it whole or not at all.
    ///
    /// # Errors
    /// If the directory cannot be written to.
    pub fn write(&self, data_dir: &Path) -> std::io::Result<()> {
        let temporary = data_dir.join("run.json.new");
        std::fs::write(&temporary, serde_json::to_vec(self)?)?;
        std::fs::rename(temporary, Self::path(data_dir))
    }

    /// Takes it away.
    pub fn remove(data_dir: &Path) {
        // Gone already is as good.
        let _ = std::fs::remove_file(Self::path(data_dir));
    }
}
