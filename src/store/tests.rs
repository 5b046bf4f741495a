use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::open::{Patience, open as open_with};
use super::*;
use crate::clock::{Clock, UnixNanos};

struct At(i64);

impl Clock for At {
    fn now(&self) -> UnixNanos {
        UnixNanos::from_secs(self.0)
    }
}

const NOW: At = At(1_770_698_730);

fn open(dir: &Path) -> (Store, Opened) {
    Store::open(dir, &NOW).unwrap()
}

fn impatient() -> Patience {
    Patience { lock: Duration::ZERO, ..Patience::default() }
}

/// A closed store with `rows` rows of a recognizable pattern.
fn filled(rows: u32) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let (store, _) = open(home.path());
    let tree = store.tree("things").unwrap();
    for n in 0..rows {
        tree.insert(&n.to_be_bytes(), &value(n)).unwrap();
    }
    store.flush_now().unwrap();
    home
}

fn value(n: u32) -> Vec<u8> {
    format!("value {n} {}", "x".repeat(n as usize % 200)).into_bytes()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o7777
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn what_was_flushed_is_there_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let (store, opened) = open(&dir);
    assert_eq!(opened, Opened { created: true, ..Opened::default() });
    let tree = store.tree("things").unwrap();
    tree.insert(b"b", b"2").unwrap();
    tree.insert(b"a", b"1").unwrap();
    tree.flush().await.unwrap();
    assert!(!tree.remove(b"c").unwrap());
    drop((store, tree));

    let (store, opened) = open(&dir);
    assert_eq!(opened, Opened::default());
    let tree = store.tree("things").unwrap();
    assert_eq!(tree.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(tree.entries().unwrap(), [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"2".to_vec())]);
    assert!(tree.remove(b"a").unwrap());
    assert_eq!(store.tree("other").unwrap().get(b"b").unwrap(), None);
}

#[cfg(unix)]
#[test]
fn the_data_directory_is_made_for_its_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let _open = open(&dir);
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join(DIR_NAME)), 0o700);
}

#[test]
fn a_directory_in_use_is_refused_by_name_and_left_alone() {
    let home = filled(3);
    let (first, _) = open(home.path());
    // Damage that would otherwise be a reason to set it aside.
    fs::write(home.path().join(DIR_NAME).join("conf"), [0xff; 40]).unwrap();
    let refused = open_with(home.path(), &NOW, impatient()).unwrap_err();
    assert!(
        matches!(&refused, Error::Locked { dir, pid } if dir == home.path() && *pid == Some(std::process::id()))
    );
    let text = refused.to_string();
    assert!(text.contains(home.path().to_str().unwrap()), "{text}");
    assert_eq!(first.tree("things").unwrap().entries().unwrap().len(), 3);
    assert_eq!(first.set_aside(), [] as [PathBuf; 0]);
}

#[test]
fn a_predecessor_that_is_stopping_is_waited_for() {
    let home = filled(3);
    let (first, _) = open(home.path());
    let path = home.path().to_owned();
    let second = std::thread::spawn(move || {
        open_with(&path, &NOW, Patience { lock: Duration::from_secs(30), ..Patience::default() })
    });
    drop(first);
    let (store, opened) = second.join().unwrap().unwrap();
    assert_eq!(opened, Opened::default());
    assert_eq!(store.tree("things").unwrap().entries().unwrap().len(), 3);
}

#[test]
fn a_tree_keeps_the_store_locked() {
    let home = tempfile::tempdir().unwrap();
    let tree = open(home.path()).0.tree("things").unwrap();
    assert!(matches!(open_with(home.path(), &NOW, impatient()), Err(Error::Locked { .. })));
    tree.insert(b"a", b"1").unwrap();
}

#[test]
fn a_store_of_a_newer_version_is_refused_not_set_aside() {
    let home = filled(1);
    let (store, _) = open(home.path());
    store.0.db.insert("schema", &7_u32.to_be_bytes()).unwrap();
    store.0.db.flush().unwrap();
    drop(store);
    assert!(matches!(Store::open(home.path(), &NOW), Err(Error::Schema { found: 7, .. })));
    assert!(home.path().join(DIR_NAME).exists());
}

#[test]
fn a_path_that_is_no_directory_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("data");
    fs::write(&file, "").unwrap();
    assert!(matches!(Store::open(&file, &NOW), Err(Error::Io { .. })));
}

/// Opens a store whose files were damaged. It must open whatever happened; what it still shows must be true.
fn check_damaged(home: &Path, intact: usize, what: &str) -> bool {
    let (store, opened) = Store::open(home, &NOW).unwrap_or_else(|e| panic!("{what}: {e}"));
    let rows = store.tree("things").unwrap().entries().unwrap();
    // What is missing is never missing silently.
    assert!(
        rows.len() == intact || opened.lost_writes || opened.set_aside.is_some(),
        "{what}: {} rows",
        rows.len()
    );
    for (key, found) in &rows {
        let n = u32::from_be_bytes(key.as_slice().try_into().unwrap());
        assert_eq!(*found, value(n), "{what}");
    }
    if let Some((aside, reason)) = &opened.set_aside {
        assert!(aside.is_dir(), "{what}");
        assert!(!reason.is_empty());
        assert!(opened.created && rows.is_empty(), "{what}");
        assert_eq!(store.set_aside(), std::slice::from_ref(aside));
        let name = aside.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, "tickgate.sled.corrupt-20260210T044530Z");
    }
    // And it can be used.
    let tree = store.tree("things").unwrap();
    tree.insert(b"new", b"new").unwrap();
    store.flush_now().unwrap();
    assert_eq!(tree.get(b"new").unwrap().as_deref(), Some(&b"new"[..]));
    drop((tree, store));
    let (store, again) = open(home);
    assert_eq!(again, Opened::default(), "{what}");
    assert_eq!(store.tree("things").unwrap().get(b"new").unwrap().as_deref(), Some(&b"new"[..]), "{what}");
    opened.set_aside.is_some()
}

#[test]
fn files_full_of_noise_are_set_aside() {
    for (byte, name) in [(0xff, "db"), (0x00, "db"), (0xa5, "conf"), (0x00, "conf")] {
        let home = filled(50);
        let path = home.path().join(DIR_NAME).join(name);
        let len = fs::metadata(&path).unwrap().len() as usize;
        fs::write(&path, vec![byte; len]).unwrap();
        assert!(check_damaged(home.path(), 50, &format!("{name} filled with {byte:#x}")));
        let aside = home.path().join("tickgate.sled.corrupt-20260210T044530Z").join(name);
        assert!(fs::metadata(aside).unwrap().len() > 0, "kept for a later look");
    }
}

#[test]
fn an_emptied_or_vanished_database_file_does_not_pass_for_a_new_store() {
    let home = filled(50);
    fs::write(home.path().join(DIR_NAME).join("db"), "").unwrap();
    assert!(check_damaged(home.path(), 50, "db emptied"));

    let home = filled(50);
    for path in files(&home.path().join(DIR_NAME)) {
        if !path.ends_with("tickgate.flushes") {
            fs::remove_file(path).unwrap();
        }
    }
    assert!(check_damaged(home.path(), 50, "all removed"));
}

#[test]
fn two_damages_in_one_second_get_two_names() {
    let home = filled(3);
    for _ in 0..2 {
        fs::write(home.path().join(DIR_NAME).join("conf"), [0xff; 40]).unwrap();
        let (_, opened) = open(home.path());
        assert!(opened.set_aside.is_some());
    }
    let (store, _) = open(home.path());
    assert_eq!(store.set_aside().len(), 2);
}

/// Every file, cut or altered in many places: never a panic, never an error, never a false value.
#[test]
fn damage_anywhere_never_keeps_the_program_from_starting() {
    let original = filled(200);
    let source = original.path().join(DIR_NAME);
    let mut seed = 7_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for path in files(&source) {
        let bytes = fs::read(&path).unwrap();
        // sled allots more than it has written; damage behind the contents proves nothing.
        let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1) as u64;
        if used == 0 {
            continue;
        }
        for round in 0..12 {
            let at = random(used) as usize;
            let mut damaged = bytes.clone();
            match round % 3 {
                0 => damaged.truncate(at),
                1 => damaged[at] ^= 1 << random(8),
                _ => damaged.iter_mut().skip(at).take(64).for_each(|b| *b = random(256) as u8),
            }
            let home = tempfile::tempdir().unwrap();
            let target = home.path().join(DIR_NAME);
            for other in files(&source) {
                let to = target.join(other.strip_prefix(&source).unwrap());
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::write(to, if other == path { damaged.clone() } else { fs::read(other).unwrap() })
                    .unwrap();
            }
            let what = format!("{} round {round} at {at} of {used}", path.display());
            check_damaged(home.path(), 200, &what);
        }
    }
}

#[cfg(unix)]
#[test]
fn private_files_are_private_from_the_start_and_refused_if_they_are_not() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("secret");
    assert!(private::read(&path).unwrap().is_none());
    private::write(&path, "one").unwrap();
    assert_eq!(mode(&path), 0o600);
    private::write(&path, "two").unwrap();
    assert_eq!(private::read(&path).unwrap().unwrap().as_str(), "two");
    assert_eq!(files(home.path()), std::slice::from_ref(&path), "nothing is left beside it");

    for open_mode in [0o640, 0o604, 0o620, 0o601] {
        set_mode(&path, open_mode);
        let refused = private::read(&path).unwrap_err();
        assert!(matches!(refused, Error::Exposed { mode, .. } if mode == open_mode));
        assert!(refused.to_string().contains("chmod 600"));
    }
    set_mode(&path, 0o400);
    assert_eq!(private::read(&path).unwrap().unwrap().as_str(), "two");
}

#[test]
fn what_is_no_text_file_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("d");
    private::create_dir(&dir).unwrap();
    assert!(private::read(&dir).is_err());
    let path = home.path().join("long");
    private::write(&path, &"x".repeat(70_000)).unwrap();
    assert!(matches!(private::read(&path), Err(Error::Unfit { .. })));
}

#[test]
fn a_panic_inside_sled_is_an_error() {
    let result: Result<(), Error> = guarded(|| panic!("as in spacejam/sled#1387"));
    assert!(matches!(result, Err(Error::Failed(_))));
}
