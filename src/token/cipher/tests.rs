use std::fs;
use std::sync::atomic::{AtomicI64, Ordering};

use fernet::Fernet;

use super::*;
use crate::store;

const KEY_A: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
const NOW: i64 = 1_770_698_730;

struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> UnixNanos {
        UnixNanos::from_secs(self.0.load(Ordering::Relaxed))
    }
}

fn at(secs: i64) -> Arc<Hand> {
    Arc::new(Hand(AtomicI64::new(secs)))
}

fn cipher(keys: &str, secs: i64) -> Cipher {
    Cipher::new(&Secret::new(keys), "test", at(secs)).unwrap()
}

fn fresh() -> String {
    Fernet::generate_key()
}

/// From the Fernet specification (github.com/fernet/spec, `verify.json`).
#[test]
fn the_specifications_example_is_read() {
    let text = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";
    assert_eq!(cipher(KEY_A, 499_162_801).decrypt(text.as_bytes()).unwrap().as_slice(), b"hello");
}

#[test]
fn the_first_key_encrypts_and_all_decrypt() {
    let (old, new) = (fresh(), fresh());
    let by_old = cipher(&old, NOW).encrypt(b"token");
    let both = cipher(&format!("{new},{old}"), NOW);
    assert_eq!(both.decrypt(by_old.as_bytes()).unwrap().as_slice(), b"token");
    let by_both = both.encrypt(b"token");
    assert_eq!(cipher(&new, NOW).decrypt(by_both.as_bytes()).unwrap().as_slice(), b"token");
    assert_eq!(cipher(&old, NOW).decrypt(by_both.as_bytes()), Err(Unreadable::WrongKey));
}

#[test]
fn stamps_come_from_the_injected_clock() {
    let text = cipher(KEY_A, NOW).encrypt(b"token");
    assert_eq!(stamp(&text), Some(NOW as u64));
}

#[test]
fn a_clock_set_back_is_told_from_a_wrong_key() {
    let text = cipher(KEY_A, NOW).encrypt(b"token");
    // Fernet allows 60 s.
    assert!(cipher(KEY_A, NOW - 60).decrypt(text.as_bytes()).is_ok());
    let back = |secs| Err(Unreadable::ClockBack { ahead: Duration::from_secs(secs) });
    assert_eq!(cipher(KEY_A, NOW - 61).decrypt(text.as_bytes()), back(61));
    assert_eq!(cipher(KEY_A, NOW - 3600).decrypt(text.as_bytes()), back(3600));
    assert_eq!(cipher(&fresh(), NOW - 3600).decrypt(text.as_bytes()), Err(Unreadable::WrongKey));
    // Years later it is still good: the end of a token is inside the plaintext.
    assert!(cipher(KEY_A, NOW + 100_000_000).decrypt(text.as_bytes()).is_ok());
}

#[test]
fn the_clock_may_catch_up_again() {
    let hand = at(NOW);
    let cipher = Cipher::new(&Secret::new(KEY_A), "test", hand.clone()).unwrap();
    let text = cipher.encrypt(b"token");
    hand.0.store(NOW - 500, Ordering::Relaxed);
    assert!(cipher.decrypt(text.as_bytes()).is_err());
    hand.0.store(NOW, Ordering::Relaxed);
    assert!(cipher.decrypt(text.as_bytes()).is_ok());
}

#[test]
fn any_altered_or_cut_text_is_refused_without_a_panic() {
    let cipher = cipher(KEY_A, NOW);
    let text = cipher.encrypt(b"token");
    for len in 0..text.len() {
        let found = cipher.decrypt(&text.as_bytes()[..len]);
        assert!(matches!(found, Err(Unreadable::Torn | Unreadable::WrongKey)), "{len}: {found:?}");
    }
    for at in 0..text.len() {
        let mut altered = text.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        assert!(cipher.decrypt(&altered).is_err(), "{at}");
    }
    // A stamp at the end of the range, which overflows inside fernet if it is asked plainly.
    let mut raw = base64::engine::general_purpose::URL_SAFE.decode(&text).unwrap();
    raw[1..9].fill(0xff);
    let far = base64::engine::general_purpose::URL_SAFE.encode(raw);
    assert_eq!(cipher.decrypt(far.as_bytes()), Err(Unreadable::WrongKey));
    assert_eq!(cipher.decrypt(&[0xff, 0xfe]), Err(Unreadable::Torn));
}

#[test]
fn a_key_that_is_none_is_named_by_its_place_only() {
    let text = format!("{KEY_A}, not-a-key-at-all");
    let refused = Cipher::new(&Secret::new(text), "TICKGATE_FERNET_KEY", at(NOW)).unwrap_err().to_string();
    assert!(refused.contains("TICKGATE_FERNET_KEY: key 2"), "{refused}");
    assert!(!refused.contains("not-a-key"), "{refused}");
    for empty in ["", " , \n"] {
        assert!(matches!(Cipher::new(&Secret::new(empty), "test", at(NOW)), Err(KeyError::Empty { .. })));
    }
}

#[test]
fn nothing_of_a_key_is_shown() {
    assert!(!format!("{:?}", cipher(KEY_A, NOW)).contains("cw_0x"));
}

#[test]
fn a_key_file_is_made_once_and_used_from_then_on() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let (first, source) = Cipher::load(None, &dir, at(NOW)).unwrap();
    let path = dir.join(KEY_FILE);
    assert_eq!(source, KeySource::Created(path.clone()));
    let (second, source) = Cipher::load(None, &dir, at(NOW)).unwrap();
    assert_eq!(source, KeySource::File(path.clone()));
    assert!(second.decrypt(first.encrypt(b"token").as_bytes()).is_ok());

    // A key that is given wins over the file, and makes none.
    let (given, source) = Cipher::load(Some(&Secret::new(KEY_A)), &dir, at(NOW)).unwrap();
    assert_eq!(source, KeySource::Given);
    assert!(given.decrypt(first.encrypt(b"token").as_bytes()).is_err());
    let other = home.path().join("other");
    Cipher::load(Some(&Secret::new(KEY_A)), &other, at(NOW)).unwrap();
    assert!(!other.exists());
}

#[cfg(unix)]
#[test]
fn the_key_file_is_private_or_refused() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    Cipher::load(None, home.path(), at(NOW)).unwrap();
    let path = home.path().join(KEY_FILE);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for mode in [0o640, 0o644, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = Cipher::load(None, home.path(), at(NOW)).unwrap_err();
        assert!(matches!(refused, KeyError::File(store::Error::Exposed { .. })), "{mode:o}");
    }
}

#[test]
fn a_damaged_key_file_is_refused_not_replaced() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(KEY_FILE);
    for text in ["", "gibberish\n"] {
        private::write(&path, text).unwrap();
        let refused = Cipher::load(None, home.path(), at(NOW)).unwrap_err();
        assert!(refused.is_misconfigured(), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn the_file_may_hold_several_keys_and_the_first_encrypts() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(KEY_FILE);
    let (new, old) = (fresh(), fresh());
    private::write(&path, &format!("{new}\n{old}\n")).unwrap();
    let (both, _) = Cipher::load(None, home.path(), at(NOW)).unwrap();
    assert!(both.decrypt(cipher(&old, NOW).encrypt(b"token").as_bytes()).is_ok());
    assert!(cipher(&new, NOW).decrypt(both.encrypt(b"token").as_bytes()).is_ok());
}

#[test]
fn what_a_killed_write_left_beside_the_file_is_swept_away() {
    let home = tempfile::tempdir().unwrap();
    Cipher::load(None, home.path(), at(NOW)).unwrap();
    let unfinished = home.path().join(".fernet.key.new");
    fs::write(&unfinished, fresh()).unwrap();
    Cipher::load(None, home.path(), at(NOW)).unwrap();
    assert!(!unfinished.exists());
}

#[test]
fn clones_share_their_keys() {
    let one = cipher(KEY_A, NOW);
    let other = one.clone();
    let before = one.encrypt(b"token");
    other.set_keys(vec![Key::fresh()]);
    assert_eq!(one.decrypt(before.as_bytes()), Err(Unreadable::WrongKey));
    assert!(one.decrypt(other.encrypt(b"token").as_bytes()).is_ok());
}

#[test]
fn a_key_is_told_from_another_without_telling_it() {
    let id = cipher(KEY_A, NOW).key_id();
    assert_eq!((id.len(), cipher(KEY_A, 0).key_id()), (16, id.clone()));
    assert_eq!(id_of_first(&Secret::new(format!("{KEY_A},{}", fresh()))).unwrap(), id);
    assert_ne!(cipher(&fresh(), NOW).key_id(), id);
    assert!(!KEY_A.contains(&id));
    assert!(id_of_first(&Secret::new("x")).is_err());
}
