//! The one TLS configuration of REST and socket: whom to trust, and for which name.
//! There is no way to turn the checks off.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::broker::Error;

/// A configuration that trusts the certificates of `ca_file` (the system's if it is empty)
/// and expects the certificate to be for `server_name` (the host connected to if empty).
///
/// # Errors
/// `NotConfigured` if the file cannot be read or holds none, or the name is none.
pub(super) fn config(ca_file: &Path, server_name: &str) -> Result<ClientConfig, Error> {
    let roots = Arc::new(if ca_file.as_os_str().is_empty() { system_roots() } else { file_roots(ca_file)? });
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::NotConfigured(format!("TLS: {error}")))?;
    if server_name.is_empty() {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let name = ServerName::try_from(server_name.to_owned())
        .map_err(|_| Error::NotConfigured(format!("tls_server_name {server_name:?} is no host name")))?;
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| Error::NotConfigured(format!("TLS: {error}")))?;
    // rustls calls every verifier of one's own "dangerous"; this one only asks for another name.
    let verifier = Arc::new(NamedVerifier { name, inner });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// A configuration that trusts nobody, for a server that is reached without TLS.
pub(super) fn none() -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::NotConfigured(format!("TLS: {error}")))?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    let (added, refused) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        tracing::warn!(refused, errors = ?loaded.errors, "the system trusts no certificate authority");
    }
    roots
}

fn file_roots(path: &Path) -> Result<RootCertStore, Error> {
    let wrong = |what: String| Error::NotConfigured(format!("ca_file {}: {what}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))? {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("holds no certificate".to_owned())) } else { Ok(roots) }
}

/// Checks everything a certificate is always checked for, but against a configured name:
/// some brokers' certificates are for another host than the one that is connected to.
#[derive(Debug)]
struct NamedVerifier {
    name: ServerName<'static>,
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for NamedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _connected_to: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection};

    use super::*;

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
    }

    /// Runs a handshake in memory, against a server whose certificate is for `feed.test`.
    fn check(ca_file: &str, server_name: &str, connected_to: &'static str) -> Result<(), rustls::Error> {
        let client = config(&fixture(ca_file), server_name).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain =
            CertificateDer::pem_file_iter(fixture("server.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(fixture("server.key")).unwrap();
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let name = ServerName::try_from(connected_to).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        while client.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            let mut unread = wire.as_slice();
            while !unread.is_empty() {
                server.read_tls(&mut unread).unwrap();
                server.process_new_packets()?;
            }
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut unread = wire.as_slice();
            while !unread.is_empty() {
                client.read_tls(&mut unread).unwrap();
                client.process_new_packets()?;
            }
        }
        Ok(())
    }

    #[test]
    fn the_configured_authority_and_name_decide() {
        assert_eq!(check("ca.pem", "", "feed.test"), Ok(()));
        assert_eq!(check("ca.pem", "feed.test", "trade.other"), Ok(()));
        for (ca_file, server_name, connected_to) in [
            ("ca.pem", "", "trade.other"),
            ("ca.pem", "trade.other", "feed.test"),
            ("other-ca.pem", "", "feed.test"),
            ("other-ca.pem", "feed.test", "feed.test"),
        ] {
            let refused = check(ca_file, server_name, connected_to);
            assert!(
                matches!(refused, Err(rustls::Error::InvalidCertificate(_))),
                "{ca_file} {server_name} {connected_to}: {refused:?}"
            );
        }
    }

    #[test]
    fn unusable_files_and_names_are_refused() {
        for (file, name) in [("missing.pem", ""), ("server.key", ""), ("ca.pem", "no name")] {
            let error = config(&fixture(file), name).unwrap_err();
            assert!(matches!(error, Error::NotConfigured(_)), "{error}");
        }
    }
}
