//! Opening sled: the lock, the look at what is there, setting aside what cannot be used.
//! Not the use of it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use super::{DIR_NAME, Error, Inner, Opened, SCHEMA, Store, private};
use crate::clock::{Clock, UnixNanos};

const LOCK_NAME: &str = "tickgate.lock";

/// Lies in the sled directory from the first contents on, and holds how often the store has been flushed. sled
/// cuts its log at the first damage without a word; if it then knows of fewer flushes than this file, or of
/// no schema, what had been acknowledged is gone.
const COUNT_NAME: &str = "tickgate.flushes";

/// In sled's default tree.
const SCHEMA_KEY: &[u8] = b"schema";
/// Beside it: the number of flushes.
const COUNT_KEY: &[u8] = b"flushes";

/// sled takes this as a cap; its default is 1 GiB.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For another process to let go.
    pub(super) lock: Duration,
    /// For sled to open.
    pub(super) open: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { lock: Duration::from_secs(2), open: Duration::from_mins(1) }
    }
}

/// Held while the store is open. sled locks its own file as well, but only after it has read others,
/// and a directory that is in use must never be taken for a corrupt one.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// What one attempt brought, and whether flushed writes are missing in it.
type Found = (sled::Db, bool);

/// Why one attempt did not bring a database.
enum Attempt {
    /// What is on disk cannot be used.
    Corrupt(String),
    /// sled's own lock is still held (a handle of this process that is just being dropped).
    Busy,
    /// Setting aside would not help.
    Fatal(Error),
}

pub(super) fn open(data_dir: &Path, clock: &dyn Clock, patience: Patience) -> Result<(Store, Opened), Error> {
    let data_dir = std::path::absolute(data_dir).map_err(Error::io(data_dir))?;
    private::create_dir(&data_dir)?;
    let lock = lock(&data_dir, patience.lock)?;
    let dir = data_dir.join(DIR_NAME);
    let created = private::create_dir(&dir)?;
    let (db, opened) = match patient_attempt(&data_dir, &dir, patience) {
        Ok((db, lost_writes)) => (db, Opened { set_aside: None, created, lost_writes }),
        Err(Attempt::Corrupt(reason)) => {
            let aside = set_aside(&dir, clock.now())?;
            tracing::error!(dir = %aside.display(), reason, "store was unusable and has been set aside");
            match replace(&data_dir, &dir, patience) {
                Ok((db, _)) => {
                    (db, Opened { set_aside: Some((aside, reason)), created: true, lost_writes: false })
                }
                // An empty store does not open either, so the fault lies elsewhere: put things back.
                Err(e) => {
                    let _ = fs::remove_dir_all(&dir);
                    fs::rename(&aside, &dir).map_err(Error::io(&aside))?;
                    return Err(e);
                }
            }
        }
        Err(other) => return Err(fatal(other, &data_dir)),
    };
    if opened.lost_writes {
        tracing::error!(dir = %dir.display(), "store has lost its last writes; check the consumer keys");
    }
    let inner = Inner {
        data_dir,
        flushing: Mutex::new(()),
        #[cfg(test)]
        failing: std::sync::atomic::AtomicBool::new(false),
        db,
        _lock: lock,
    };
    Ok((Store(Arc::new(inner)), opened))
}

fn replace(data_dir: &Path, dir: &Path, patience: Patience) -> Result<Found, Error> {
    private::create_dir(dir)?;
    patient_attempt(data_dir, dir, patience).map_err(|e| fatal(e, data_dir))
}

fn fatal(attempt: Attempt, data_dir: &Path) -> Error {
    match attempt {
        Attempt::Corrupt(reason) => Error::Failed(reason),
        Attempt::Busy => Error::Locked { dir: data_dir.to_owned(), pid: None },
        Attempt::Fatal(error) => error,
    }
}

/// Takes the lock, waiting a little for a predecessor that is stopping.
fn lock(data_dir: &Path, wait: Duration) -> Result<Lock, Error> {
    let path = data_dir.join(LOCK_NAME);
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path).map_err(Error::io(&path))?;
    let mut left = wait;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if !left.is_zero() => left = pause(left),
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.take(32).read_to_string(&mut text);
                return Err(Error::Locked { dir: data_dir.to_owned(), pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(e)) => return Err(Error::io(&path)(e)),
        }
    }
    // Only for the message of a process that comes too late.
    let note =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    note.map_err(Error::io(&path))?;
    Ok(Lock { _file: file })
}

/// The process that has the data directory open, if one has. Only looks: makes nothing, and keeps nothing.
pub fn holder(data_dir: &Path) -> Option<u32> {
    let file = File::open(data_dir.join(LOCK_NAME)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.take(32).read_to_string(&mut text).ok()?;
            text.trim().parse().ok()
        }
        // Locked by nobody, and now by us until the file is closed.
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

/// Waits one step; returns what is left.
#[expect(
    clippy::disallowed_methods,
    reason = "another process's lock gives no notice, and there is no runtime here"
)]
fn pause(left: Duration) -> Duration {
    let step = left.min(LOCK_PAUSE);
    std::thread::sleep(step);
    left.saturating_sub(step)
}

fn patient_attempt(data_dir: &Path, dir: &Path, patience: Patience) -> Result<Found, Attempt> {
    let mut left = patience.lock;
    loop {
        match attempt(dir, patience.open) {
            Err(Attempt::Busy) if !left.is_zero() => {
                tracing::debug!(dir = %data_dir.display(), "store is still locked");
                left = pause(left);
            }
            other => return other,
        }
    }
}

/// Opens and reads everything once, on a thread of its own: sled may panic, or never come back.
fn attempt(dir: &Path, wait: Duration) -> Result<Found, Attempt> {
    let (tx, rx) = mpsc::sync_channel(1);
    let owned = dir.to_owned();
    let spawned = std::thread::Builder::new().name("store-open".to_owned()).spawn(move || {
        let _ = tx.send(open_and_read(&owned));
    });
    let thread = spawned.map_err(|e| Attempt::Fatal(Error::io(dir)(e)))?;
    match rx.recv_timeout(wait) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            Err(Attempt::Fatal(Error::Stuck { dir: dir.to_owned(), seconds: wait.as_secs() }))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let panic = thread.join().err();
            Err(Attempt::Corrupt(format!("sled panicked: {}", panic_text(panic.as_deref()))))
        }
    }
}

fn panic_text(panic: Option<&(dyn std::any::Any + Send)>) -> &str {
    panic
        .and_then(|p| {
            p.downcast_ref::<&str>().copied().or_else(|| p.downcast_ref::<String>().map(String::as_str))
        })
        .unwrap_or("unknown")
}

fn open_and_read(dir: &Path) -> Result<Found, Attempt> {
    let db = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).open().map_err(|e| sort(e, dir))?;
    let schema = db.get(SCHEMA_KEY).map_err(|e| sort(e, dir))?;
    let noted = noted_flushes(dir).map_err(Attempt::Fatal)?;
    match schema {
        Some(bytes) => match <[u8; 4]>::try_from(&*bytes).map(u32::from_be_bytes) {
            Ok(SCHEMA) => {}
            Ok(found) if found > SCHEMA => {
                return Err(Attempt::Fatal(Error::Schema { dir: dir.to_owned(), found }));
            }
            _ => return Err(Attempt::Corrupt("its schema version is unreadable".to_owned())),
        },
        None if noted.is_some() => return Err(Attempt::Corrupt("its contents are gone".to_owned())),
        None => {
            db.insert(SCHEMA_KEY, &SCHEMA.to_be_bytes()).map_err(|e| sort(e, dir))?;
            db.flush().map_err(|e| sort(e, dir))?;
        }
    }
    // sled reads pages when they are asked for; damage must show now, not in the middle of a session.
    for name in db.tree_names() {
        let tree = db.open_tree(name).map_err(|e| sort(e, dir))?;
        for row in &tree {
            row.map_err(|e| sort(e, dir))?;
        }
    }
    let counted = db.get(COUNT_KEY).map_err(|e| sort(e, dir))?.map_or(0, |bytes| count(&bytes));
    if noted.is_none() {
        private::write(&dir.join(COUNT_NAME), &counted.to_string()).map_err(Attempt::Fatal)?;
    }
    Ok((db, noted.is_some_and(|noted| counted < noted)))
}

/// The number of flushes as the file has it; `None` if there is no file.
fn noted_flushes(dir: &Path) -> Result<Option<u64>, Error> {
    let path = dir.join(COUNT_NAME);
    match fs::read(&path) {
        // Unreadable contents: nothing to compare with.
        Ok(bytes) => {
            Ok(Some(std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(&path)(e)),
    }
}

fn count(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

/// Counts one more flush inside sled.
pub(super) fn count_flush(db: &sled::Db) -> sled::Result<u64> {
    let next = |old: Option<&[u8]>| Some((old.map_or(0, count) + 1).to_be_bytes().to_vec());
    Ok(db.update_and_fetch(COUNT_KEY, next)?.map_or(0, |bytes| count(&bytes)))
}

/// Notes the number of flushes outside sled.
pub(super) fn note_flush(data_dir: &Path, count: u64) -> Result<(), Error> {
    private::write(&data_dir.join(DIR_NAME).join(COUNT_NAME), &count.to_string())
}

/// Tells damage from a file system that refuses (full, read-only, no permission).
fn sort(error: sled::Error, dir: &Path) -> Attempt {
    match error {
        sled::Error::Io(e)
            if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
        {
            Attempt::Corrupt(e.to_string())
        }
        // sled gives this case no kind of its own.
        sled::Error::Io(e) if e.to_string().contains("could not acquire lock") => Attempt::Busy,
        sled::Error::Io(e) => Attempt::Fatal(Error::io(dir)(e)),
        other => Attempt::Corrupt(other.to_string()),
    }
}

/// Moves the directory to a free name beside it.
fn set_aside(dir: &Path, now: UnixNanos) -> Result<PathBuf, Error> {
    let stamp = now.timestamp().strftime("%Y%m%dT%H%M%SZ").to_string();
    let base = format!("{DIR_NAME}.corrupt-{stamp}");
    let names = std::iter::once(base.clone()).chain((2..1000).map(|n| format!("{base}-{n}")));
    for name in names {
        let to = dir.with_file_name(name);
        // rename(2) would replace an empty directory.
        if !to.exists() {
            fs::rename(dir, &to).map_err(Error::io(dir))?;
            return Ok(to);
        }
    }
    Err(Error::Unfit { path: dir.to_owned(), what: "corrupt, and no name is free to set it aside" })
}

pub(super) fn set_aside_dirs(data_dir: &Path) -> Vec<PathBuf> {
    let prefix = format!("{DIR_NAME}.corrupt-");
    let entries = fs::read_dir(data_dir).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}
