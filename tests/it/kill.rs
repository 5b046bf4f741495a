//! SIGKILL at random moments of storing, rotating and refreshing: what was reported stored is there afterwards,
//! the store opens, and no token lies on disk in clear. A kill leaves the page cache intact: this says nothing
//! about power cuts.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tickgate::clock::{SystemClock, UnixNanos};
use tickgate::secret::Secret;
use tickgate::store::Store;
use tickgate::token::cipher::Cipher;
use tickgate::token::store::{Loaded, Stored, TokenStore};
use tickgate::token::{AccountFacts, Product};
use tokio::time::Instant;

use crate::support::{PATIENCE, Server, http};
use crate::token::{files_below, wait_for_both_tokens};

/// Makes a process of this binary the one that is killed: the data directory, its seed, and the number of the
/// first token it may store.
const CHILD: [&str; 3] = ["KILL_TEST_DIR", "KILL_TEST_SEED", "KILL_TEST_FIRST"];

const BINDING: &str = "https://jtrade.example:5000 5d41402abc4b2a76";
const ACCOUNTS: [&str; 2] = ["alice", "bob"];

/// In every token of these tests, and nowhere else.
const MARK: &str = "plaintext-of-a-token";

/// Account and product, as one number.
type Slot = usize;

fn slot(slot: Slot) -> (&'static str, Product) {
    (ACCOUNTS[slot / 2], Product::ALL[slot % 2])
}

fn text(slot: Slot, number: u64) -> String {
    format!("{MARK}.{slot}.{number}.{}", "c".repeat((number % 700) as usize))
}

fn seed() -> u64 {
    std::env::var("KILL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random)
}

fn slow() -> bool {
    std::env::var("SLOW_TESTS").is_ok_and(|slow| slow == "1")
}

fn open(dir: &Path) -> TokenStore {
    let (store, opened) = Store::open(dir, &SystemClock).expect("the store opens");
    assert!(opened.set_aside.is_none() && !opened.lost_writes, "{opened:?}");
    let (cipher, _) = Cipher::load(None, dir, Arc::new(SystemClock)).expect("the key file is whole");
    TokenStore::open(&store, cipher).expect("the trees open")
}

// ---- the process that is killed

fn report(line: &str) {
    let mut out = std::io::stdout().lock();
    // On a line of its own, whatever the tests' harness has begun to say.
    write!(out, "\n@{line}\n").and_then(|()| out.flush()).expect("the parent reads");
}

/// Stores, revokes and rotates until it is killed, and reports each step before and after.
async fn go_on_for_ever(dir: &Path, seed: u64, mut number: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let tokens = open(dir);
    report("open");
    if random.random_bool(0.5) {
        tokens.finish_rotation().await.expect("a rotation is finished");
    }
    loop {
        let which = random.random_range(0..4);
        let (account, product) = slot(which);
        if random.random_bool(0.2) {
            report(&format!("revoke {which}"));
            tokens.revoke(account, product).await.expect("the token is removed");
        }
        let token = Stored {
            secret: Arc::new(Secret::new(text(which, number))),
            facts: AccountFacts { user_id: MARK.to_owned(), ..AccountFacts::default() },
            issued_at: UnixNanos::from_secs(1_770_698_730),
            expires_at: None,
        };
        report(&format!("try {which} {number}"));
        let store = async {
            tokens.upsert(account, product, BINDING, &token).await.expect("the token is stored");
            report(&format!("stored {which} {number}"));
        };
        let rotate = async {
            tokens.rotate(None).await.expect("the keys are exchanged");
            report("rotated");
        };
        match random.random_range(0..4) {
            0 => {
                tokio::join!(rotate, store);
            }
            1 => {
                tokio::join!(store, rotate);
            }
            _ => store.await,
        }
        number += 1;
    }
}

// ---- the one that kills

/// What must be found of one account and product.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    /// The last token that was reported stored; 0: none.
    stored: u64,
    /// The last one that was tried.
    tried: u64,
    /// Whether its removal was begun since.
    revoked: bool,
}

#[derive(Debug, Default)]
struct Book {
    slots: BTreeMap<Slot, Expected>,
    stored: u64,
    rotated: u64,
    tried: u64,
}

impl Book {
    fn read(&mut self, line: &str) {
        let Some(line) = line.strip_prefix('@') else { return };
        let mut words = line.split(' ');
        let word = words.next();
        let mut next =
            || words.next().and_then(|n| n.parse::<u64>().ok()).unwrap_or_else(|| panic!("{line}"));
        match word {
            Some("open") => {}
            Some("rotated") => self.rotated += 1,
            Some("revoke") => self.slots.entry(next() as Slot).or_default().revoked = true,
            Some("try") => {
                let slot = self.slots.entry(next() as Slot).or_default();
                slot.tried = next();
                self.tried = slot.tried;
            }
            Some("stored") => {
                let slot = self.slots.entry(next() as Slot).or_default();
                slot.stored = next();
                slot.revoked = false;
                self.stored += 1;
            }
            _ => panic!("{line}"),
        }
    }

    /// Compares with what is on disk, which from here on is what must be there.
    fn check(&mut self, dir: &Path) {
        let tokens = open(dir);
        for (which, expected) in &mut self.slots {
            let (account, product) = slot(*which);
            let found = match tokens.load(account, product, BINDING) {
                Loaded::Missing => {
                    assert!(
                        expected.revoked || expected.stored == 0,
                        "{account} {product} is lost: {expected:?}"
                    );
                    0
                }
                Loaded::Found(stored) => {
                    let number = stored.secret.expose().split('.').nth(2).and_then(|n| n.parse().ok());
                    let number: u64 = number.expect("a token of ours");
                    assert_eq!(stored.secret.expose(), text(*which, number), "it is whole");
                    assert!((expected.stored..=expected.tried).contains(&number), "{number}: {expected:?}");
                    number
                }
                Loaded::Unusable(why) => panic!("{account} {product}: {why}"),
            };
            *expected = Expected { stored: found, revoked: false, ..*expected };
        }
        drop(tokens);
        no_plaintext(dir, MARK);
        let mode = fs::metadata(dir.join("fernet.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

/// No file below `dir` holds the mark of a token, nor the base64 form of its middle.
fn no_plaintext(dir: &Path, mark: &str) {
    use base64::Engine as _;
    let traces: Vec<_> = (0..3)
        .map(|at| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&mark[at..]))
        .map(|encoded| encoded[..encoded.len() - 4].to_owned())
        .chain([mark.to_owned()])
        .collect();
    let mut files = Vec::new();
    files_below(dir, &mut files);
    assert!(!files.is_empty());
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let readable = String::from_utf8_lossy(&bytes);
        for trace in &traces {
            assert!(!readable.contains(trace.as_str()), "{} holds {trace}", file.display());
        }
    }
}

fn spawn(dir: &Path, seed: u64, first: u64) -> (Child, Receiver<String>) {
    let name = "kill::whatever_was_reported_stored_survives_a_kill_at_any_moment";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(CHILD[0], dir)
        .env(CHILD[1], seed.to_string())
        .env(CHILD[2], first.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        while out.read_line(&mut line).is_ok_and(|len| len > 0) {
            // One that the kill cut in two was not reported.
            let Some(whole) = line.strip_suffix('\n') else { return };
            let _ = tx.send(whole.to_owned());
            line.clear();
        }
    });
    (child, rx)
}

/// Reads what it reports for this long.
fn read_for(lines: &Receiver<String>, time: Duration, book: &mut Book) {
    let end = Instant::now() + time;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => book.read(&line),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[test]
fn whatever_was_reported_stored_survives_a_kill_at_any_moment() {
    if let [Ok(dir), Ok(seed), Ok(first)] = CHILD.map(std::env::var) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(go_on_for_ever(Path::new(&dir), seed.parse().unwrap(), first.parse().unwrap()));
        return;
    }
    let seed = seed();
    let kills = if slow() { 1_000 } else { 100 };
    eprintln!("KILL_TEST_SEED={seed}, {kills} kills");
    let mut random = StdRng::seed_from_u64(seed);
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let mut book = Book::default();
    let mut opened = 0;
    for kill in 0..kills {
        let (mut child, lines) = spawn(&dir, random.random(), book.tried + 1);
        // Some die while they open the store, the others at their work.
        if random.random_bool(0.1) {
            read_for(&lines, Duration::from_millis(random.random_range(0..60)), &mut book);
        } else {
            loop {
                let line = lines.recv_timeout(PATIENCE).expect("it opens the store");
                book.read(&line);
                if line == "@open" {
                    break;
                }
            }
            opened += 1;
            read_for(&lines, Duration::from_micros(random.random_range(0..60_000)), &mut book);
        }
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "kill {kill}: it ended by itself: {status}");
        // What it had reported before it died.
        for line in &lines {
            book.read(&line);
        }
        if dir.join("fernet.key").exists() {
            book.check(&dir);
        }
    }
    eprintln!("{opened} were killed at work; {} stored, {} rotated", book.stored, book.rotated);
    assert!(book.stored > kills / 2 && book.rotated > kills / 10, "they got something done: {book:?}");

    // And after all that everything works as ever.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime
        .block_on(async { open(&dir).rotate(None).await.map(|done| assert_eq!(done.unreadable, 0)) })
        .unwrap();
    assert_eq!(fs::read_to_string(dir.join("fernet.key")).unwrap().lines().count(), 1);
    book.check(&dir);
}

#[test]
fn a_server_killed_while_it_logs_in_and_rotates_starts_with_both_tokens() {
    let seed = seed();
    eprintln!("KILL_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    // More logins than any day has.
    let mut server = Server::start(&[
        ("TICKGATE_SESSION__LOGIN_DAILY_CAP", "0"),
        ("TICKGATE_SESSION__LOGIN_MIN_INTERVAL_MS", "0"),
    ]);
    wait_for_both_tokens(&server);
    let key = server.local_key();
    let done = Arc::new(Mutex::new((0, 0)));
    for kill in 0..20 {
        let address = server.http_address();
        let (tx, failed) = mpsc::channel();
        let asking = [("refresh", r#"{"product":"all"}"#), ("rotate", "")].map(|(act, body)| {
            let (key, done, tx) = (key.clone(), Arc::clone(&done), tx.clone());
            std::thread::spawn(move || {
                let path = format!("/v1/admin/{act}");
                // Until the kill, which no connection survives.
                while let Some((status, answer)) = http("POST", address, &path, Some(&key), body) {
                    if status != 200 {
                        let _ = tx.send(format!("{act}: {status} {answer}"));
                        return;
                    }
                    let mut done = done.lock().unwrap();
                    if act == "refresh" { done.0 += 1 } else { done.1 += 1 }
                }
            })
        });
        let refused = failed.recv_timeout(Duration::from_millis(random.random_range(0..500)));
        assert_eq!(refused, Err(RecvTimeoutError::Timeout), "kill {kill}");
        server.kill();
        for asker in asking {
            asker.join().unwrap();
        }
        server.restart();
        wait_for_both_tokens(&server);
    }
    let (refreshed, rotated) = *done.lock().unwrap();
    eprintln!("{refreshed} refreshed, {rotated} rotated");
    assert!(refreshed > 0 && rotated > 0);
    let log = server.log();
    for trouble in ["set aside", "lost", "cannot be used", "panicked"] {
        assert!(!log.contains(trouble), "{trouble}: {log}");
    }
    server.kill();
    // Every JWT with a usual header starts so.
    for mark in ["eyJhbGciOiJI", "eyJ0eXAiOiJK"] {
        no_plaintext(&server.data(), mark);
    }
}
