//! The certificate files: what is wrong with them, and what a change of them does.

use std::fs;

use tempfile::TempDir;

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

fn files(cert: PathBuf, key: PathBuf) -> Files {
    Files { cert, key }
}

#[test]
fn each_fault_names_its_setting_its_file_and_what_is_wrong() {
    let dir = TempDir::new().unwrap();
    let written = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (cert, key) = (fixture("server.pem"), fixture("server.key"));
    assert!(files(cert.clone(), key.clone()).load().is_ok());
    let text = fs::read_to_string(&key).unwrap();
    let torn = written("torn.key", &text[..text.len() / 2]);
    let not_base64 = written("odd.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    let no_der = written("no.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for (files, setting, words) in [
        (files(dir.path().join("none"), key.clone()), CERT, "cannot be read"),
        (files(dir.path().to_owned(), key.clone()), CERT, "is no PEM file"),
        (files(key.clone(), key.clone()), CERT, "holds no certificate"),
        (files(not_base64, key.clone()), CERT, "not Base64"),
        (files(no_der, key.clone()), CERT, "cannot be read"),
        (files(cert.clone(), dir.path().join("none")), KEY, "cannot be read"),
        (files(cert.clone(), cert.clone()), KEY, "holds no private key"),
        (files(cert, torn.clone()), KEY, "ends in the middle"),
        (files(fixture("ca.pem"), key), KEY, "is not the key of the certificate"),
    ] {
        let error = files.load().unwrap_err();
        let said = error.to_string();
        assert!(error.key == setting && said.contains(words), "{} {said}", error.key);
        let named = if setting == CERT { &files.cert } else { &files.key };
        assert_eq!(&error.path, named);
        assert!(said.contains(named.to_str().unwrap()), "{said}");
        assert!(!text.lines().skip(1).any(|line| said.contains(line)), "no key in an error: {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_noticed_and_a_bad_one_leaves_the_old_certificate() {
    let dir = TempDir::new().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let sound = fs::read_to_string(fixture("server.pem")).unwrap();
    fs::write(&cert, &sound).unwrap();
    fs::copy(fixture("server.key"), &key).unwrap();
    let identity = Identity::open(files(cert.clone(), key)).unwrap();
    let first = identity.current.load_full();
    let watch = tokio::spawn(Arc::clone(&identity).watch());
    // Its first look at the files is at what was read.
    tokio::time::sleep(POLL / 2).await;
    fs::write(&cert, "nonsense").unwrap();
    tokio::time::sleep(POLL * 4).await;
    assert!(Arc::ptr_eq(&first, &identity.current.load_full()), "the old one is kept");
    let chained = format!("{sound}{}", fs::read_to_string(fixture("ca.pem")).unwrap());
    fs::write(&cert, chained).unwrap();
    tokio::time::sleep(POLL * 4).await;
    assert_eq!(identity.current.load().cert.len(), first.cert.len() + 1, "the new one is shown");
    watch.abort();
}
