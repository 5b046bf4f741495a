//! The certificate of both ports: read from PEM files, checked, and read anew when the files
//! change. Not the handshake (`accept`) and not the encrypted socket (`connection::tls`).

pub(crate) mod accept;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::Duration;
use zeroize::Zeroizing;

use crate::secret::file::exposed;
use crate::telemetry::metrics::TLS_RELOADS;

/// How often the files are looked at. A change must hold for one such time: certificate and key
/// are two files, and are not replaced at the same moment.
const POLL: Duration = Duration::from_secs(1);
/// No chain or key is anywhere near as long.
const MAX_FILE: u64 = 1 << 20;

/// What is wrong with a file. Never holds anything of its content.
#[derive(Debug, thiserror::Error)]
#[error("{} {what}", path.display())]
pub struct Error {
    /// The setting that names the file, without its table.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

/// The settings' names.
const CERT: &str = "tls_cert_file";
const KEY: &str = "tls_key_file";

/// The two PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The server's certificate, and behind it those that lead to the authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Files {
    /// Reads and checks both.
    ///
    /// # Errors
    /// [`Error`], also if the key is not the certificate's.
    pub fn load(&self) -> Result<CertifiedKey, Error> {
        let wrong = |what: String| Error { key: CERT, path: self.cert.clone(), what };
        let text = read(&self.cert).map_err(wrong)?;
        let chain = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| wrong(said(&error, "certificate")))?;
        if chain.is_empty() {
            return Err(wrong("holds no certificate in PEM form".to_owned()));
        }
        let wrong = |what: String| Error { key: KEY, path: self.key.clone(), what };
        let text = read(&self.key).map_err(wrong)?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| wrong(said(&error, "private key")))?;
        CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()).map_err(|error| {
            match error {
                rustls::Error::InconsistentKeys(_) => {
                    wrong(format!("is not the key of the certificate in {}", self.cert.display()))
                }
                rustls::Error::InvalidCertificate(_) => Error {
                    key: CERT,
                    path: self.cert.clone(),
                    what: "holds a certificate that cannot be read".to_owned(),
                },
                // What rustls says of a key speaks of its kind only.
                error => wrong(format!("holds a key that cannot be used: {error}")),
            }
        })
    }

    /// The permission bits of the key's file, if others than its owner can read it.
    pub fn exposed_key(&self) -> Option<u32> {
        exposed(&fs::metadata(&self.key).ok()?.permissions())
    }

    /// Tells of a key that others can read. It is used all the same: certificates are often handed out
    /// by tools that share them with a group.
    pub fn warn_if_exposed(&self) {
        if let Some(mode) = self.exposed_key() {
            let path = self.key.display();
            tracing::warn!(%path, mode = format!("{mode:o}"), "the TLS key can be read by others; chmod 600");
        }
    }

    fn stamp(&self) -> [Option<Stamp>; 2] {
        [&self.cert, &self.key].map(|path| {
            let found = fs::metadata(path).ok()?;
            Some(Stamp { changed: found.modified().ok(), len: found.len() })
        })
    }
}

/// What a file that was replaced differs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    changed: Option<std::time::SystemTime>,
    len: u64,
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let found = fs::metadata(path).map_err(unreadable)?;
    if !found.is_file() || found.len() > MAX_FILE {
        return Err("is no PEM file".to_owned());
    }
    Ok(Zeroizing::new(fs::read(path).map_err(unreadable)?))
}

/// The error's own words may hold a line of the file.
fn said(error: &pem::Error, wanted: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("holds no {wanted} in PEM form"),
        pem::Error::MissingSectionEnd { .. } => "ends in the middle of a PEM section".to_owned(),
        pem::Error::Base64Decode(_) => "has a PEM section that is not Base64".to_owned(),
        _ => "is no valid PEM file".to_owned(),
    }
}

/// Who this server is to TLS clients, now. Cheap to share; both ports use the same.
pub struct Identity {
    files: Files,
    current: ArcSwap<CertifiedKey>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl Identity {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(files: Files) -> Result<Arc<Self>, Error> {
        let current = ArcSwap::from_pointee(files.load()?);
        files.warn_if_exposed();
        Ok(Arc::new(Self { files, current }))
    }

    /// How a port that shows this identity does TLS.
    ///
    /// # Errors
    /// The TLS library refuses its own defaults.
    pub fn config(self: &Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Self>::clone(self));
        // Connections last for hours: nothing is gained by remembering them, and a certificate that was
        // replaced must not live on in a resumed session.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Reads the files anew. What is wrong with them leaves everything as it was, and is said loudly.
    pub fn reload(&self) -> bool {
        let outcome = match self.files.load() {
            Ok(new) => {
                self.current.store(Arc::new(new));
                self.files.warn_if_exposed();
                tracing::info!(path = %self.files.cert.display(), "the TLS certificate was read anew");
                "done"
            }
            Err(error) => {
                tracing::error!(
                    key = format!("gateway.{}", error.key),
                    %error,
                    "the new TLS certificate cannot be used; the old one is shown on, until it expires"
                );
                "failed"
            }
        };
        metrics::counter!(TLS_RELOADS, "outcome" => outcome).increment(1);
        outcome == "done"
    }

    /// Reads the files anew whenever they change, and on SIGHUP. Never ends.
    pub async fn watch(self: Arc<Self>) {
        let mut hang_up = HangUp::new();
        let mut in_use = self.files.stamp();
        let mut before = in_use;
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(POLL) => false,
                () = hang_up.asked() => true,
            };
            let now = self.files.stamp();
            if asked || (now != in_use && now == before) {
                in_use = now;
                self.reload();
            }
            before = now;
        }
    }
}

/// SIGHUP, where there is one.
struct HangUp {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl HangUp {
    fn new() -> Self {
        Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok(),
        }
    }

    async fn asked(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}
