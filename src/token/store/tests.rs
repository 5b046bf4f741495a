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

pub(super) struct Hand(AtomicI64);

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
async fn sessions_of_an_accounts_further_keys_have_records_of_their_own() {
    let home = tempfile::tempdir().unwrap();
    let (_store, tokens) = open(home.path());
    for (account, text) in [("default", "one"), ("default/2", "two"), ("2", "three")] {
        tokens.upsert(account, Product::Market, BINDING, &token(text)).await.unwrap();
    }
    for (account, text) in [("default", "one"), ("default/2", "two"), ("2", "three")] {
        assert_eq!(tokens.market(account, BINDING), Loaded::Found(token(text)));
    }
    let listed: Vec<_> = tokens.list().unwrap().into_iter().map(|summary| summary.account).collect();
    assert_eq!(listed, ["2", "default", "default/2"]);
    assert!(tokens.revoke("default/2", Product::Market).await.unwrap());
    assert_eq!(tokens.market("default", BINDING), Loaded::Found(token("one")));
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
    let kept = Kept {
        broker: None,
        user_id: "TEST01_0F1E".to_owned(),
        app_key_expires: Some("30-12-2028".to_owned()),
        issued_at: token("").issued_at,
        expires_at: token("").expires_at,
    };
    assert_eq!(list[0].state, Ok(kept));
    assert!(!format!("{list:?} {tokens:?} {:?}", token("very-secret")).contains("very-secret"));

    assert!(tokens.revoke("with/slash", Product::Market).await.unwrap());
    assert!(!tokens.revoke("with/slash", Product::Market).await.unwrap());
    assert_eq!(tokens.load("with/slash", Product::Market, BINDING), Loaded::Missing);
}

#[tokio::test]
async fn a_records_facts_are_found_by_name() {
    let home = tempfile::tempdir().unwrap();
    let (_store, tokens) = open(home.path());
    assert_eq!(tokens.user_id("default"), None);
    let mut market = token("m");
    market.facts.user_id = "MARKET".to_owned();
    tokens.at_broker("xts").upsert("default", Product::Market, BINDING, &market).await.unwrap();
    assert_eq!(tokens.user_id("default").as_deref(), Some("MARKET"));
    tokens.upsert("default", Product::Interactive, BINDING, &token("i")).await.unwrap();
    assert_eq!(tokens.user_id("default").as_deref(), Some("TEST01_0F1E"));
    assert_eq!(tokens.user_id("other"), None);
    assert_eq!(tokens.market("default", BINDING), Loaded::Found(market));
    assert_eq!(tokens.interactive("default", BINDING), Loaded::Found(token("i")));
    assert_eq!(tokens.interactive("default", "elsewhere"), Loaded::Missing);
    let brokers: Vec<_> = tokens.list().unwrap().into_iter().map(|s| s.state.unwrap().broker).collect();
    assert_eq!(brokers, [None, Some("xts".to_owned())]);
}

/// As the first version of the program wrote it, before a record named its broker and the app key's last day.
const FORMER: &str = r#"{"version":1,"account":"default","product":"market","binding":"https://jtrade.example:5000 5d41402abc4b2a76","secret":"former","user_id":"TEST01_0F1E","client_id":"*****","is_investor":false,"client_codes":["*****","TEST01"],"issued_at_ns":1770698730123456789,"expires_at_ns":1770785130000000000}"#;

#[tokio::test]
async fn a_record_of_the_former_layout_is_read() {
    let home = tempfile::tempdir().unwrap();
    let (_store, tokens) = open(home.path());
    let sealed = tokens.cipher.encrypt(FORMER.as_bytes());
    tokens.tree.insert(&key("default", Product::Market), sealed.as_bytes()).unwrap();
    let mut former = token("former");
    former.facts.app_key_expires = None;
    assert_eq!(tokens.market("default", BINDING), Loaded::Found(former));
    assert_eq!(tokens.list().unwrap()[0].state.as_ref().unwrap().broker, None);
}

/// Makes a record's bytes.
type Make = fn(&TokenStore) -> Vec<u8>;

/// Whatever is wrong with a record, nothing that takes its place or removes it destroys it.
#[tokio::test]
async fn no_record_that_cannot_be_used_is_lost() {
    let at = key("default", Product::Market);
    let cases: [(&str, Make, i64); 6] = [
        ("another key", |_| Cipher::passing(Arc::new(Hand(NOW.into()))).encrypt(b"x").into(), NOW),
        ("clock set back", |tokens| tokens.cipher.encrypt(FORMER.as_bytes()).into(), NOW - 3600),
        ("torn", |tokens| tokens.cipher.encrypt(FORMER.as_bytes()).as_bytes()[..50].to_vec(), NOW),
        ("misplaced", |t| t.cipher.encrypt(FORMER.replace("market", "interactive").as_bytes()).into(), NOW),
        ("a later layout", |t| t.cipher.encrypt(br#"{"version":2}"#).into(), NOW),
        ("no record", |t| t.cipher.encrypt(b"[]").into(), NOW),
    ];
    for (what, make, now) in cases {
        for by_upsert in [true, false] {
            let home = tempfile::tempdir().unwrap();
            let (store, tokens) = open(home.path());
            let sealed = make(&tokens);
            tokens.tree.insert(&at, &sealed).unwrap();
            tokens.tree.flush().await.unwrap();
            drop((store, tokens));

            let (_store, tokens) = open_at(home.path(), KEY, now);
            assert!(matches!(tokens.market("default", BINDING), Loaded::Unusable(_)), "{what}");
            assert_eq!(tokens.user_id("default"), None, "{what}");
            assert!(tokens.list().unwrap()[0].state.is_err(), "{what}");
            if by_upsert {
                tokens.upsert("default", Product::Market, BINDING, &token("new")).await.unwrap();
                assert_eq!(tokens.market("default", BINDING), Loaded::Found(token("new")), "{what}");
            } else {
                assert!(tokens.revoke("default", Product::Market).await.unwrap(), "{what}");
                assert_eq!(tokens.market("default", BINDING), Loaded::Missing, "{what}");
            }
            assert_eq!(tokens.aside.get(&at).unwrap(), Some(sealed.clone()), "{what}");
        }
    }
}

proptest! {
    #[test]
    fn every_record_reads_back(
        account in ".{0,12}", secret in ".{0,64}", user_id in ".{0,12}",
        client_id in proptest::option::of(".{0,8}"), client_codes in proptest::collection::vec(".{0,8}", 0..4),
        app_key_expires in proptest::option::of(".{0,10}"), broker in proptest::option::of(".{0,10}"),
        is_investor in any::<Option<bool>>(), issued in any::<i64>(), expires in any::<Option<i64>>(),
    ) {
        let facts = AccountFacts { user_id, client_id, is_investor, client_codes, app_key_expires };
        let stored = Stored {
            secret: Arc::new(Secret::new(secret)), facts,
            issued_at: UnixNanos::from_nanos(issued), expires_at: expires.map(UnixNanos::from_nanos),
        };
        let record = Record::new(&account, Product::Market, BINDING, broker.as_deref(), &stored);
        let plain = record.encode().unwrap();
        let back = Record::read(&plain, &account, Product::Market).unwrap();
        prop_assert_eq!(back.kept().broker, broker);
        prop_assert_eq!(back.into_stored(), stored);
    }

    /// Encoding never outgrows its buffer, so that no copy of the secret stays behind in freed memory.
    #[test]
    fn encoding_does_not_grow(secret in "[\u{0}-\u{20}\"\\\\]{0,3000}", codes in proptest::collection::vec("[\u{0}-\u{8}]{0,9}", 0..40)) {
        let facts = AccountFacts {
            user_id: secret.clone(), client_id: Some(secret.clone()), is_investor: Some(false),
            client_codes: codes, app_key_expires: Some(secret.clone()),
        };
        let times = UnixNanos::from_nanos(i64::MIN);
        let stored = Stored {
            secret: Arc::new(Secret::new(secret.as_str())), facts, issued_at: times, expires_at: Some(times),
        };
        let record = Record::new("a", Product::Interactive, "", Some(&secret), &stored);
        let room = record.room();
        prop_assert!(record.encode().unwrap().len() <= room);
    }
}
