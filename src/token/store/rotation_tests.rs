//! Rotations on a store on disk: with the key in its file, with given keys, cut short, beside writers.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use fernet::Fernet;

use super::*;
use crate::clock::{Clock, UnixNanos};
use crate::secret::Secret;
use crate::store::{Store, private};
use crate::token::cipher::{Cipher, KEY_FILE};
use crate::token::{AccountFacts, Product};

const NOW: i64 = 1_770_698_730;
const BINDING: &str = "https://jtrade.example:5000 5d41402abc4b2a76";

struct At(i64);

impl Clock for At {
    fn now(&self) -> UnixNanos {
        UnixNanos::from_secs(self.0)
    }
}

/// The store with the keys of its file, as a process finds them.
fn start_at(dir: &Path, secs: i64) -> TokenStore {
    let (store, _) = Store::open(dir, &At(secs)).unwrap();
    let (cipher, _) = Cipher::load(None, dir, Arc::new(At(secs))).unwrap();
    TokenStore::open(&store, cipher).unwrap()
}

fn start(dir: &Path) -> TokenStore {
    start_at(dir, NOW)
}

/// The store with other keys than the file's.
fn start_with(dir: &Path, keys: &str) -> TokenStore {
    let (store, _) = Store::open(dir, &At(NOW)).unwrap();
    TokenStore::open(&store, Cipher::new(&Secret::new(keys), "test", Arc::new(At(NOW))).unwrap()).unwrap()
}

fn token(text: &str) -> Stored {
    Stored {
        secret: Arc::new(Secret::new(text)),
        facts: AccountFacts::default(),
        issued_at: UnixNanos::from_secs(NOW),
        expires_at: None,
    }
}

async fn put(tokens: &TokenStore, account: &str, text: &str) {
    tokens.upsert(account, Product::Market, BINDING, &token(text)).await.unwrap();
}

fn text(tokens: &TokenStore, account: &str) -> Option<String> {
    match tokens.market(account, BINDING) {
        Loaded::Found(stored) => Some(stored.secret.expose().to_owned()),
        Loaded::Missing | Loaded::Unusable(_) => None,
    }
}

fn lines(dir: &Path) -> Vec<String> {
    fs::read_to_string(dir.join(KEY_FILE)).unwrap().lines().map(str::to_owned).collect()
}

fn fresh() -> String {
    Fernet::generate_key()
}

#[tokio::test]
async fn everything_is_under_a_new_key_and_the_old_one_is_gone() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let tokens = start(dir);
    put(&tokens, "a", "one").await;
    put(&tokens, "b", "two").await;
    let old = lines(dir);
    let rotated = tokens.rotate(None).await.unwrap();
    let expected = Rotated {
        file: Some(dir.join(KEY_FILE)),
        records: 2,
        unreadable: 0,
        unreadable_aside: 0,
        superseded: 1,
    };
    assert_eq!(rotated, expected);
    let new = lines(dir);
    assert_eq!(new.len(), 1);
    assert_ne!(new, old);
    // The process goes on with it, and so does the next one; the old key reads nothing.
    assert_eq!(text(&tokens, "a").as_deref(), Some("one"));
    put(&tokens, "b", "three").await;
    drop(tokens);
    let tokens = start_with(dir, &old[0]);
    assert_eq!((text(&tokens, "a"), text(&tokens, "b")), (None, None));
    drop(tokens);
    let tokens = start(dir);
    assert_eq!((text(&tokens, "a").as_deref(), text(&tokens, "b").as_deref()), (Some("one"), Some("three")));
    assert_eq!(tokens.finish_rotation().await.unwrap(), None);
    assert_eq!(lines(dir), new);
}

#[tokio::test]
async fn a_store_without_records_gets_a_new_key_too() {
    let home = tempfile::tempdir().unwrap();
    let tokens = start(home.path());
    let old = lines(home.path());
    assert_eq!(tokens.rotate(None).await.unwrap().records, 0);
    assert_ne!(lines(home.path()), old);
}

/// Where a rotation may be cut short: the file has both keys, and some of the records are under the new one.
#[tokio::test]
async fn one_that_was_cut_short_is_finished_or_begun_anew() {
    for rotate_again in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let tokens = start(dir);
        put(&tokens, "a", "one").await;
        put(&tokens, "b", "two").await;
        let (old, new) = (lines(dir).remove(0), fresh());
        private::write(&dir.join(KEY_FILE), &format!("{new}\n{old}\n")).unwrap();
        drop(tokens);
        let tokens = start(dir);
        put(&tokens, "b", "three").await;
        drop(tokens);

        let tokens = start(dir);
        assert_eq!(
            (text(&tokens, "a").as_deref(), text(&tokens, "b").as_deref()),
            (Some("one"), Some("three"))
        );
        let rotated = if rotate_again {
            tokens.rotate(None).await.unwrap()
        } else {
            tokens.finish_rotation().await.unwrap().unwrap()
        };
        assert_eq!((rotated.records, rotated.superseded), (2, if rotate_again { 2 } else { 1 }));
        assert_eq!(lines(dir).len(), 1);
        assert_eq!(lines(dir)[0] == new, !rotate_again);
        drop(tokens);
        let tokens = start(dir);
        assert_eq!(
            (text(&tokens, "a").as_deref(), text(&tokens, "b").as_deref()),
            (Some("one"), Some("three"))
        );
    }
}

#[tokio::test]
async fn records_that_no_key_reads_stay_as_they_are_and_are_counted() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let lost = fresh();
    let tokens = start_with(dir, &lost);
    put(&tokens, "a", "one").await;
    put(&tokens, "b", "two").await;
    put(&tokens, "c", "three").await;
    drop(tokens);
    let tokens = start(dir);
    // Takes the place of one, which goes aside.
    put(&tokens, "b", "new").await;
    tokens.tree.insert(b"market/torn", b"gAAA").unwrap();
    let rotated = tokens.rotate(None).await.unwrap();
    assert_eq!((rotated.records, rotated.unreadable, rotated.unreadable_aside), (1, 3, 1));
    assert_eq!(lines(dir).len(), 1, "they depend on none of the keys held");
    assert_eq!(tokens.tree.get(b"market/torn").unwrap().as_deref(), Some(&b"gAAA"[..]));
    drop(tokens);
    let tokens = start_with(dir, &lost);
    assert_eq!(text(&tokens, "a").as_deref(), Some("one"));
    assert!(tokens.aside.get(b"market/b").unwrap().is_some());
}

#[tokio::test]
async fn with_the_clock_set_back_records_are_taken_along_with_their_stamps() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let tokens = start(dir);
    put(&tokens, "a", "one").await;
    drop(tokens);
    let tokens = start_at(dir, NOW - 3600);
    assert_eq!(text(&tokens, "a"), None);
    let rotated = tokens.rotate(None).await.unwrap();
    assert_eq!((rotated.records, rotated.unreadable), (1, 0));
    assert_eq!(text(&tokens, "a"), None, "it still waits for the clock");
    drop(tokens);
    assert_eq!(text(&start(dir), "a").as_deref(), Some("one"));
}

#[tokio::test]
async fn with_given_keys_everything_is_under_the_first_and_no_file_is_made_or_changed() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let (old, new) = (fresh(), fresh());
    let tokens = start_with(dir, &old);
    put(&tokens, "a", "one").await;
    let rotated = tokens.rotate(Some(Secret::new(format!("{new},{old}")))).await.unwrap();
    assert_eq!((&rotated.file, rotated.records, rotated.superseded), (&None, 1, 1));
    assert!(!dir.join(KEY_FILE).exists());
    drop(tokens);
    let tokens = start_with(dir, &new);
    assert_eq!(text(&tokens, "a").as_deref(), Some("one"));

    // The first given key may be new, and the old one known only to the running process.
    let newer = fresh();
    let rotated = tokens.rotate(Some(Secret::new(newer.as_str()))).await.unwrap();
    assert_eq!((rotated.records, rotated.unreadable), (1, 0));
    put(&tokens, "b", "two").await;
    drop(tokens);
    let tokens = start_with(dir, &newer);
    assert_eq!((text(&tokens, "a").as_deref(), text(&tokens, "b").as_deref()), (Some("one"), Some("two")));
    assert!(matches!(tokens.rotate(Some(Secret::new("x"))).await, Err(RotationError::Key(_))));
}

#[tokio::test]
async fn a_given_key_takes_over_from_the_file() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let tokens = start(dir);
    put(&tokens, "a", "one").await;
    drop(tokens);
    let given = fresh();
    let tokens = start_with(dir, &given);
    assert_eq!(text(&tokens, "a"), None);
    let before = lines(dir);
    let rotated = tokens.rotate(Some(Secret::new(given.as_str()))).await.unwrap();
    assert_eq!((&rotated.file, rotated.records, rotated.superseded), (&None, 1, 1));
    assert_eq!(text(&tokens, "a").as_deref(), Some("one"));
    assert_eq!(lines(dir), before, "whoever gives keys decides what becomes of the file");
    // A file of several keys is no business of a process that was given others.
    private::write(&dir.join(KEY_FILE), &format!("{}\n{}\n", fresh(), fresh())).unwrap();
    assert_eq!(tokens.finish_rotation().await.unwrap(), None);
    assert_eq!(text(&tokens, "a").as_deref(), Some("one"));
}

#[tokio::test]
async fn a_key_file_that_was_exchanged_or_removed_meanwhile_costs_nothing() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let other = fresh();
    let tokens = start_with(dir, &other);
    put(&tokens, "a", "one").await;
    drop(tokens);
    let tokens = start(dir);
    put(&tokens, "b", "two").await;
    private::write(&dir.join(KEY_FILE), &other).unwrap();
    assert_eq!(tokens.rotate(None).await.unwrap().records, 2);
    fs::remove_file(dir.join(KEY_FILE)).unwrap();
    assert_eq!(tokens.rotate(None).await.unwrap().records, 2);
    drop(tokens);
    let tokens = start(dir);
    assert_eq!((text(&tokens, "a").as_deref(), text(&tokens, "b").as_deref()), (Some("one"), Some("two")));
}

#[tokio::test]
async fn a_key_file_that_cannot_be_used_stops_the_rotation_before_it_begins() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let tokens = start(dir);
    put(&tokens, "a", "one").await;
    let before = tokens.tree.entries().unwrap();
    private::write(&dir.join(KEY_FILE), "gibberish").unwrap();
    assert!(matches!(tokens.rotate(None).await, Err(RotationError::Key(_))));
    assert_eq!(tokens.tree.entries().unwrap(), before);
    assert_eq!(text(&tokens, "a").as_deref(), Some("one"));
    assert_eq!(lines(dir), ["gibberish"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_and_writers_beside_it_notice_nothing() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let tokens = start(dir);
    for account in ["a", "b", "c"] {
        put(&tokens, account, "0").await;
    }
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (tokens, done) = (tokens.clone(), Arc::clone(&done));
        move || {
            let mut reads = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(text(&tokens, "a").as_deref(), Some("0"), "after {reads} reads");
                assert!(tokens.list().unwrap().iter().all(|summary| summary.state.is_ok()));
                reads += 1;
            }
        }
    });
    let writers = ["b", "c"].map(|account| {
        let tokens = tokens.clone();
        tokio::spawn(async move {
            for number in 1..=30 {
                put(&tokens, account, &number.to_string()).await;
            }
        })
    });
    for _ in 0..20 {
        assert_eq!(tokens.rotate(None).await.unwrap().records, 3);
    }
    futures::future::join_all(writers).await.into_iter().for_each(|writer| writer.unwrap());
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    reader.join().unwrap();
    drop(tokens);
    let tokens = start(dir);
    assert_eq!((text(&tokens, "b").as_deref(), text(&tokens, "c").as_deref()), (Some("30"), Some("30")));
}

#[tokio::test]
async fn nobody_need_wait_for_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let tokens = start(dir);
    put(&tokens, "a", "one").await;
    let old = lines(dir);
    {
        let mut rotation = Box::pin(tokens.rotate(None));
        // Begun, then given up, as by a consumer who hangs up.
        assert!(futures::poll!(&mut rotation).is_pending());
    }
    // The next writer waits for it to end.
    put(&tokens, "b", "two").await;
    assert_ne!(lines(dir), old);
    assert_eq!(lines(dir).len(), 1);
    drop(tokens);
    let tokens = start(dir);
    assert_eq!((text(&tokens, "a").as_deref(), text(&tokens, "b").as_deref()), (Some("one"), Some("two")));
}
