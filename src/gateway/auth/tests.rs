use std::fs;

use super::*;

const NOW: UnixNanos = UnixNanos::from_secs(1_770_698_730);

struct At;

impl Clock for At {
    fn now(&self) -> UnixNanos {
        NOW
    }
}

fn open(dir: &Path) -> ConsumerKeys {
    let (store, _) = Store::open(dir, &At).unwrap();
    ConsumerKeys::open(&store, Arc::new(At)).unwrap()
}

fn local_text(dir: &Path) -> String {
    fs::read_to_string(dir.join(LOCAL_FILE)).unwrap().trim().to_owned()
}

fn absent(found: LocalKey) -> NoLocalKey {
    match found {
        LocalKey::Absent(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_key_works_at_once_and_after_a_restart_until_it_is_revoked() {
    let home = tempfile::tempdir().unwrap();
    let keys = open(home.path());
    let text = keys.create("charts", Scopes::DEFAULT).await.unwrap();
    assert_eq!(text.expose().len(), 64);
    assert!(text.expose().bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
    let info = keys.verify(text.expose()).unwrap();
    assert_eq!((info.name.as_str(), info.created_at), ("charts", NOW));
    assert!(info.scopes.has(Scope::Feed) && info.scopes.has(Scope::Account));
    assert!(!info.scopes.has(Scope::Trade) && !info.scopes.has(Scope::Admin));
    drop(keys);

    let keys = open(home.path());
    assert_eq!(keys.verify(text.expose()), Some(info.clone()));
    assert_eq!(keys.list(), std::slice::from_ref(&info));
    keys.revoke("charts").await.unwrap();
    assert_eq!(keys.verify(text.expose()), None);
    assert!(!keys.is_live(info.id));
    drop(keys);

    let keys = open(home.path());
    assert_eq!(keys.verify(text.expose()), None);
    assert!(keys.list().is_empty());
}

#[tokio::test]
async fn what_is_no_key_opens_nothing() {
    let home = tempfile::tempdir().unwrap();
    let keys = open(home.path());
    assert!(keys.verify("").is_none());
    let text = keys.create("a", Scopes::DEFAULT).await.unwrap();
    let text = text.expose();
    let mut almost = text.to_owned();
    almost.replace_range(63.., if text.ends_with('0') { "1" } else { "0" });
    for wrong in
        ["", "a", &text[..63], &text.to_uppercase().replace(|c: char| c.is_ascii_digit(), "X"), &almost]
    {
        assert!(keys.verify(wrong).is_none(), "{wrong}");
    }
    assert!(keys.verify(&format!("{text}{}", " ".repeat(10_000))).is_none());
    assert!(keys.verify(&hex(&hash(text))).is_none(), "the stored hash is no key");
}

#[tokio::test]
async fn a_key_is_stored_as_a_hash_only() {
    let home = tempfile::tempdir().unwrap();
    let keys = open(home.path());
    let text = keys.create("charts", Scopes::DEFAULT).await.unwrap();
    drop(keys);
    let mut scanned = 0;
    for entry in fs::read_dir(home.path().join(store::DIR_NAME)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            scanned += bytes.len();
            assert!(!bytes.windows(64).any(|window| window == text.expose().as_bytes()));
        }
    }
    assert!(scanned > 100);
}

#[tokio::test]
async fn revoking_is_seen_by_whoever_serves_connections() {
    let home = tempfile::tempdir().unwrap();
    let keys = open(home.path());
    let a = keys.create("a", Scopes::DEFAULT).await.unwrap();
    let b = keys.create("b", Scopes::DEFAULT).await.unwrap();
    let [a, b] = [a, b].map(|text| keys.verify(text.expose()).unwrap().id);
    let mut changed = keys.changed();
    assert!(!changed.has_changed().unwrap());
    keys.clone().revoke("a").await.unwrap();
    changed.changed().await.unwrap();
    assert!(!keys.is_live(a) && keys.is_live(b));

    // A new key of the same name is another key.
    let again = keys.create("a", Scopes::DEFAULT).await.unwrap();
    assert_ne!(keys.verify(again.expose()).unwrap().id, a);
    assert!(!keys.is_live(a));
}

#[tokio::test]
async fn names_and_scopes_are_checked() {
    let home = tempfile::tempdir().unwrap();
    let keys = open(home.path());
    for name in ["", "a b", "a/b", "é", "a\n", &"x".repeat(65)] {
        assert!(matches!(keys.create(name, Scopes::DEFAULT).await, Err(Error::BadName)), "{name}");
    }
    assert!(matches!(keys.create("a", Scopes::default()).await, Err(Error::NoScope)));
    keys.create("a.B_9-", Scopes::DEFAULT).await.unwrap();
    assert!(matches!(keys.create("a.B_9-", Scopes::DEFAULT).await, Err(Error::Exists(_))));
    assert!(matches!(keys.revoke("b").await, Err(Error::NotFound(_))));
    assert_eq!("feed, trade".parse::<Scopes>().unwrap().to_string(), "feed,trade");
    assert_eq!("".parse::<Scopes>().unwrap(), Scopes::default());
    assert!(matches!("feed,root".parse::<Scopes>(), Err(Error::UnknownScope(name)) if name == "root"));
    assert_eq!(Scopes::LOCAL.to_string(), "feed,account,admin");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_opens_nothing_and_can_be_revoked() {
    let home = tempfile::tempdir().unwrap();
    let keys = open(home.path());
    let good = keys.create("good", Scopes::DEFAULT).await.unwrap();
    keys.0.keys.insert(b"torn", b"{\"hash\":\"12").unwrap();
    keys.0.keys.insert(b"short", br#"{"hash":"12","scopes":["feed"],"created_at_ns":0}"#).unwrap();
    let future = format!(r#"{{"hash":"{}","scopes":["feed","fly"],"created_at_ns":0}}"#, hex(&hash("f")));
    keys.0.keys.insert(b"future", future.as_bytes()).unwrap();
    keys.0.keys.flush().await.unwrap();
    drop(keys);

    let keys = open(home.path());
    assert!(keys.verify(good.expose()).is_some());
    let names: Vec<_> = keys.list().iter().map(|key| format!("{} {}", key.name, key.scopes)).collect();
    assert_eq!(names, ["future feed", "good feed,account"]);
    assert!(matches!(keys.create("torn", Scopes::DEFAULT).await, Err(Error::Exists(_))));
    keys.revoke("torn").await.unwrap();
    keys.create("torn", Scopes::DEFAULT).await.unwrap();
}

#[tokio::test]
async fn the_first_start_on_loopback_makes_the_local_key() {
    let home = tempfile::tempdir().unwrap();
    let keys = open(home.path());
    let LocalKey::Created { key, path } = keys.ensure_local(true).await.unwrap() else { panic!() };
    assert_eq!(path, home.path().join(LOCAL_FILE));
    assert_eq!(local_text(home.path()), key.expose());
    assert_eq!(read_local(home.path()).unwrap(), Some(key.clone()));
    assert_eq!(keys.verify(key.expose()).unwrap().scopes, Scopes::LOCAL);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    drop(keys);

    let keys = open(home.path());
    assert!(matches!(keys.ensure_local(true).await.unwrap(), LocalKey::Present { .. }));
    assert_eq!(local_text(home.path()), key.expose());
}

#[tokio::test]
async fn beyond_loopback_or_beside_other_keys_none_is_made() {
    let home = tempfile::tempdir().unwrap();
    let keys = open(home.path());
    assert_eq!(absent(keys.ensure_local(false).await.unwrap()), NoLocalKey::NotLoopback);
    assert!(!home.path().join(LOCAL_FILE).exists());
    // Later, on loopback, it is still the first start.
    keys.create("other", Scopes::DEFAULT).await.unwrap();
    assert_eq!(absent(keys.ensure_local(true).await.unwrap()), NoLocalKey::OtherKeys);

    let home = tempfile::tempdir().unwrap();
    let keys = open(home.path());
    keys.ensure_local(false).await.unwrap();
    assert!(matches!(keys.revoke("local").await, Err(Error::NotFound(_))));
    assert!(matches!(keys.ensure_local(true).await.unwrap(), LocalKey::Created { .. }));
}

#[tokio::test]
async fn a_revoked_local_key_does_not_come_back() {
    let home = tempfile::tempdir().unwrap();
    let keys = open(home.path());
    keys.ensure_local(true).await.unwrap();
    keys.revoke(LOCAL).await.unwrap();
    assert!(!home.path().join(LOCAL_FILE).exists());
    assert_eq!(absent(keys.ensure_local(true).await.unwrap()), NoLocalKey::Revoked);
    drop(keys);
    let keys = open(home.path());
    assert_eq!(absent(keys.ensure_local(true).await.unwrap()), NoLocalKey::Revoked);
    // By hand it does, file and all.
    let key = keys.create(LOCAL, Scopes::LOCAL).await.unwrap();
    assert_eq!(local_text(home.path()), key.expose());
    assert!(matches!(keys.ensure_local(true).await.unwrap(), LocalKey::Present { .. }));
}

#[tokio::test]
async fn after_the_loss_of_the_store_it_is_not_made_silently() {
    // The directory is gone, the key's file is not.
    let home = tempfile::tempdir().unwrap();
    drop({
        let keys = open(home.path());
        keys.ensure_local(true).await.unwrap();
        keys
    });
    fs::remove_dir_all(home.path().join(store::DIR_NAME)).unwrap();
    let keys = open(home.path());
    assert_eq!(absent(keys.ensure_local(true).await.unwrap()), NoLocalKey::Lost);
    assert!(keys.verify(&local_text(home.path())).is_none());
    drop(keys);

    // A store that was set aside, with no such file.
    let home = tempfile::tempdir().unwrap();
    drop({
        let keys = open(home.path());
        keys.create("other", Scopes::DEFAULT).await.unwrap();
        keys
    });
    fs::write(home.path().join(store::DIR_NAME).join("conf"), [0xff; 40]).unwrap();
    for _ in 0..2 {
        let keys = open(home.path());
        assert_eq!(absent(keys.ensure_local(true).await.unwrap()), NoLocalKey::Lost);
    }
    // Another key was made by hand, but the file still belongs to none.
    private::write(&home.path().join(LOCAL_FILE), "0123").unwrap();
    let keys = open(home.path());
    keys.create("new", Scopes::DEFAULT).await.unwrap();
    assert_eq!(absent(keys.ensure_local(true).await.unwrap()), NoLocalKey::Lost);
}

#[tokio::test]
async fn an_interrupted_first_start_is_taken_up_again() {
    // As if the process had ended after the file was written, before the record.
    let home = tempfile::tempdir().unwrap();
    let keys = open(home.path());
    keys.0.state.insert(BOOTSTRAP, PENDING).unwrap();
    private::write(&home.path().join(LOCAL_FILE), "0123\n").unwrap();
    keys.0.state.flush().await.unwrap();
    drop(keys);
    let keys = open(home.path());
    let LocalKey::Created { key, .. } = keys.ensure_local(true).await.unwrap() else { panic!() };
    assert_eq!(local_text(home.path()), key.expose());
    // And one that ended after the record, before the note that all is done.
    keys.0.state.insert(BOOTSTRAP, PENDING).unwrap();
    assert!(matches!(keys.ensure_local(true).await.unwrap(), LocalKey::Present { .. }));
    keys.revoke(LOCAL).await.unwrap();
    assert_eq!(absent(keys.ensure_local(true).await.unwrap()), NoLocalKey::Revoked);
}

#[cfg(unix)]
#[tokio::test]
async fn a_local_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let keys = open(home.path());
    keys.ensure_local(true).await.unwrap();
    fs::set_permissions(home.path().join(LOCAL_FILE), fs::Permissions::from_mode(0o644)).unwrap();
    let refused = keys.ensure_local(true).await.unwrap_err();
    assert!(matches!(refused, Error::Store(store::Error::Exposed { .. })));
    assert!(read_local(home.path()).is_err());
}
