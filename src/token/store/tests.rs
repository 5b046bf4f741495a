use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base64::Engine;
use proptest::prelude::*;

use super::*;
use crate::clock::Clock;

const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
const OTHER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const NOW: i64 = 1_770_698_730;
const BINDING: &str = "https://jtrade.example:5000 5d41402abc4b2a76";

struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> UnixNanos {
        UnixNanos::from_secs(self.0.load(Ordering::Relaxed))
    }
}

fn open_at(dir: &Path, keys: &str, secs: i64) -> (Store, TokenStore) {
    let clock = Arc::new(Hand(AtomicI64::new(secs)));
    let (store, _) = Store::open(dir, &*clock).unwrap();
    let cipher = Cipher::new(&Secret::new(keys), "test", clock).unwrap();
    let tokens = TokenStore::open(&store, cipher).unwrap();
    (store, tokens)
}

fn open(dir: &Path) -> (Store, TokenStore) {
    open_at(dir, KEY, NOW)
}

fn token(text: &str) -> Stored {
    Stored {
        secret: Arc::new(Secret::new(text)),
        facts: AccountFacts {
            user_id: "TEST01_0F1E".to_owned(),
            client_id: Some("*****".to_owned()),
            is_investor: Some(false),
            client_codes: vec!["*****".to_owned(), "TEST01".to_owned()],
            app_key_expires: Some("30-12-2028".to_owned()),
        },
        issued_at: UnixNanos::from_nanos(1_770_698_730_123_456_789),
        expires_at: Some(UnixNanos::from_secs(NOW + 86_400)),
    }
}

#[tokio::test]
async fn a_token_is_found_again_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let (store, tokens) = open(home.path());
    assert_eq!(tokens.load("default", Product::Market, BINDING), Loaded::Missing);
    tokens.upsert("default", Product::Market, BINDING, &token("first")).await.unwrap();
    tokens.upsert("default", Product::Market, BINDING, &token("second \"quoted\" \u{1}")).await.unwrap();
    drop((store, tokens));

    let (_store, tokens) = open(home.path());
    let found = tokens.load("default", Product::Market, BINDING);
    assert_eq!(found, Loaded::Found(token("second \"quoted\" \u{1}")));
    assert_eq!(tokens.load("default", Product::Interactive, BINDING), Loaded::Missing);
    assert_eq!(tokens.load("other", Product::Market, BINDING), Loaded::Missing);
}

#[tokio::test]
async fn a_token_of_another_server_or_app_key_counts_as_missing() {
    let home = tempfile::tempdir().unwrap();
    let (_store, tokens) = open(home.path());
    tokens.upsert("default", Product::Market, BINDING, &token("t")).await.unwrap();
    assert_eq!(tokens.load("default", Product::Market, "https://elsewhere.example 5d41"), Loaded::Missing);
}

#[tokio::test]
async fn no_token_lies_on_disk_in_clear() {
    let home = tempfile::tempdir().unwrap();
    let (store, tokens) = open(home.path());
    let texts =
        ["eyJhbGciOiJIUzI1NiJ9.first-secret-token.c2ln", "eyJhbGciOiJIUzI1NiJ9.second-secret-token.c2ln"];
    for (product, text) in [Product::Market, Product::Interactive].into_iter().zip(texts) {
        tokens.upsert("default", product, BINDING, &token(text)).await.unwrap();
    }
    tokens.upsert("default", Product::Market, BINDING, &token(texts[1])).await.unwrap();
    tokens.revoke("default", Product::Interactive).await.unwrap();
    drop((store, tokens));

    let mut scanned = 0;
    scan(home.path(), &mut |path, bytes| {
        scanned += bytes.len();
        for text in texts {
            // The middle of the base64 form, too: its ends depend on what stands beside it.
            let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
            let middle = &encoded.as_bytes()[4..encoded.len() - 4];
            for trace in [text.as_bytes(), b"secret-token", b"TEST01", b"jtrade", middle] {
                let found = bytes.windows(trace.len()).any(|window| window == trace);
                assert!(!found, "{} holds {}", path.display(), String::from_utf8_lossy(trace));
            }
        }
    });
    assert!(scanned > 1000, "the scan has seen the store's files");
}

fn scan(dir: &Path, look: &mut dyn FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { scan(&path, look) } else { look(&path, &fs::read(&path).unwrap()) }
    }
}

#[tokio::test]
async fn with_a_wrong_key_the_record_is_kept_and_everything_else_is_there() {
    let home = tempfile::tempdir().unwrap();
    let (store, tokens) = open(home.path());
    tokens.upsert("default", Product::Market, BINDING, &token("t")).await.unwrap();
    store.tree("beside").unwrap().insert(b"a", b"1").unwrap();
    store.flush().await.unwrap();
    drop((store, tokens));

    let (store, tokens) = open_at(home.path(), OTHER_KEY, NOW);
    let wrong = Unusable::Unreadable(Unreadable::WrongKey);
    assert_eq!(tokens.load("default", Product::Market, BINDING), Loaded::Unusable(wrong));
    assert_eq!(store.tree("beside").unwrap().get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    drop((store, tokens));

    let (_store, tokens) = open(home.path());
    assert_eq!(tokens.load("default", Product::Market, BINDING), Loaded::Found(token("t")));
}

#[tokio::test]
async fn a_new_token_does_not_overwrite_one_that_cannot_be_decrypted() {
    let home = tempfile::tempdir().unwrap();
    let (store, tokens) = open(home.path());
    tokens.upsert("default", Product::Market, BINDING, &token("old")).await.unwrap();
    let sealed = tokens.tree.get(&key("default", Product::Market)).unwrap();
    drop((store, tokens));

    let (store, tokens) = open_at(home.path(), OTHER_KEY, NOW);
    tokens.upsert("default", Product::Market, BINDING, &token("new")).await.unwrap();
    assert_eq!(tokens.load("default", Product::Market, BINDING), Loaded::Found(token("new")));
    assert_eq!(tokens.aside.get(&key("default", Product::Market)).unwrap(), sealed);
    // One that can be decrypted is simply replaced.
    tokens.upsert("default", Product::Market, BINDING, &token("newer")).await.unwrap();
    assert_eq!(tokens.aside.get(&key("default", Product::Market)).unwrap(), sealed);
    drop(store);
}

#[tokio::test]
async fn with_the_clock_set_back_the_record_waits() {
    let home = tempfile::tempdir().unwrap();
    let (store, tokens) = open(home.path());
    tokens.upsert("default", Product::Market, BINDING, &token("t")).await.unwrap();
    drop((store, tokens));

    let (store, tokens) = open_at(home.path(), KEY, NOW - 3600);
    let back = Unusable::Unreadable(Unreadable::ClockBack { ahead: Duration::from_hours(1) });
    assert!(back.to_string().contains("3600 s in the future"));
    assert_eq!(tokens.load("default", Product::Market, BINDING), Loaded::Unusable(back));
    drop((store, tokens));

    let (_store, tokens) = open(home.path());
    assert_eq!(tokens.load("default", Product::Market, BINDING), Loaded::Found(token("t")));
}

#[tokio::test]
async fn exchanged_records_are_noticed() {
    let home = tempfile::tempdir().unwrap();
    let (_store, tokens) = open(home.path());
    tokens.upsert("a", Product::Market, BINDING, &token("am")).await.unwrap();
    tokens.upsert("a", Product::Interactive, BINDING, &token("ai")).await.unwrap();
    tokens.upsert("b", Product::Market, BINDING, &token("bm")).await.unwrap();
    let sealed = |account, product| tokens.tree.get(&key(account, product)).unwrap().unwrap();
    let (am, ai, bm) =
        (sealed("a", Product::Market), sealed("a", Product::Interactive), sealed("b", Product::Market));

    tokens.tree.insert(&key("a", Product::Market), &ai).unwrap();
    tokens.tree.insert(&key("a", Product::Interactive), &bm).unwrap();
    tokens.tree.insert(&key("b", Product::Market), &am).unwrap();
    for (account, product) in [("a", Product::Market), ("a", Product::Interactive), ("b", Product::Market)] {
        let found = tokens.load(account, product, BINDING);
        assert_eq!(found, Loaded::Unusable(Unusable::Misplaced), "{account} {product}");
    }
}

#[tokio::test]
async fn a_torn_record_is_unusable_and_does_not_panic() {
    let home = tempfile::tempdir().unwrap();
    let (_store, tokens) = open(home.path());
    tokens.upsert("default", Product::Market, BINDING, &token("t")).await.unwrap();
    let at = key("default", Product::Market);
    let whole = tokens.tree.get(&at).unwrap().unwrap();
    for len in [0, 1, 40, whole.len() / 2, whole.len() - 4, whole.len() - 1] {
        tokens.tree.insert(&at, &whole[..len]).unwrap();
        let found = tokens.load("default", Product::Market, BINDING);
        assert!(matches!(found, Loaded::Unusable(Unusable::Unreadable(_))), "{len}: {found:?}");
    }
    // Genuine, but not a record; and a record of a later layout.
    for plain in [&b"not json"[..], b"{}", b"{\"version\":2}"] {
        tokens.tree.insert(&at, tokens.cipher.encrypt(plain).as_bytes()).unwrap();
        assert_eq!(tokens.load("default", Product::Market, BINDING), Loaded::Unusable(Unusable::Unknown));
    }
    tokens.upsert("default", Product::Market, BINDING, &token("t2")).await.unwrap();
    assert_eq!(tokens.load("default", Product::Market, BINDING), Loaded::Found(token("t2")));
}

#[tokio::test]
async fn the_list_shows_times_and_no_secret() {
    let home = tempfile::tempdir().unwrap();
    let (_store, tokens) = open(home.path());
    tokens.upsert("with/slash", Product::Market, BINDING, &token("very-secret")).await.unwrap();
    tokens.upsert("default", Product::Interactive, BINDING, &token("very-secret")).await.unwrap();
    tokens.tree.insert(&key("torn", Product::Market), b"gAAA").unwrap();
    let list = tokens.list().unwrap();
    let shown: Vec<_> = list.iter().map(|s| (s.account.as_str(), s.product, s.state.is_ok())).collect();
    assert_eq!(
        shown,
        [
            ("default", Product::Interactive, true),
            ("torn", Product::Market, false),
            ("with/slash", Product::Market, true)
        ]
    );
    let times = Times { issued_at: token("").issued_at, expires_at: token("").expires_at };
    assert_eq!(list[0].state, Ok(times));
    assert!(!format!("{list:?} {tokens:?} {:?}", token("very-secret")).contains("very-secret"));

    assert!(tokens.revoke("with/slash", Product::Market).await.unwrap());
    assert!(!tokens.revoke("with/slash", Product::Market).await.unwrap());
    assert_eq!(tokens.load("with/slash", Product::Market, BINDING), Loaded::Missing);
}

proptest! {
    #[test]
    fn every_record_reads_back(
        account in ".{0,12}", secret in ".{0,64}", user_id in ".{0,12}",
        client_id in proptest::option::of(".{0,8}"), client_codes in proptest::collection::vec(".{0,8}", 0..4),
        app_key_expires in proptest::option::of(".{0,10}"),
        is_investor in any::<Option<bool>>(), issued in any::<i64>(), expires in any::<Option<i64>>(),
    ) {
        let record = Record {
            version: VERSION, account: account.as_str().into(), product: "market".into(), binding: BINDING.into(),
            secret: secret.as_str().into(), user_id: user_id.as_str().into(),
            client_id: client_id.as_deref().map(Cow::from), is_investor, client_codes: client_codes.clone(),
            app_key_expires: app_key_expires.as_deref().map(Cow::from),
            issued_at_ns: issued, expires_at_ns: expires,
        };
        let plain = record.encode().unwrap();
        let back: Record<'_> = serde_json::from_slice(&plain).unwrap();
        prop_assert_eq!(&back.account, &account);
        let stored = back.into_stored();
        prop_assert_eq!(stored.secret.expose(), &secret);
        let facts = AccountFacts { user_id, client_id, is_investor, client_codes, app_key_expires };
        prop_assert_eq!(stored.facts, facts);
        prop_assert_eq!(stored.issued_at.as_nanos(), issued);
        prop_assert_eq!(stored.expires_at.map(UnixNanos::as_nanos), expires);
    }

    /// Encoding never outgrows its buffer, so that no copy of the secret stays behind in freed memory.
    #[test]
    fn encoding_does_not_grow(secret in "[\u{0}-\u{20}\"\\\\]{0,3000}", codes in proptest::collection::vec("[\u{0}-\u{8}]{0,9}", 0..40)) {
        let record = Record {
            version: u32::MAX, account: "a".into(), product: "interactive".into(), binding: "".into(),
            secret: secret.as_str().into(), user_id: secret.as_str().into(), client_id: Some(secret.as_str().into()),
            is_investor: Some(false), client_codes: codes, app_key_expires: Some(secret.as_str().into()),
            issued_at_ns: i64::MIN, expires_at_ns: Some(i64::MIN),
        };
        let room = record.room();
        prop_assert!(record.encode().unwrap().len() <= room);
    }
}
