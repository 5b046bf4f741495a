//! The keys that stored tokens are encrypted under: exchanged while the program runs and while it does not,
//! and refused where others can read them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use crate::support::{Server, private_file, program};
use crate::token::{logins, wait_for_both_tokens};

const KEY_A: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const KEY_B: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// `tickgate secret rotate` in the server's directory: exit code and what it said.
fn rotate(server: &Server, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = program()
        .args(["secret", "rotate"])
        .current_dir(server.root())
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.stdout.is_empty() && !said.contains("panicked"), "{output:?}");
    for key in keys(server).iter().map(String::as_str).chain([KEY_A, KEY_B]) {
        assert!(!said.contains(key), "a key is never printed");
    }
    (output.status.code(), said)
}

fn keys(server: &Server) -> Vec<String> {
    fs::read_to_string(server.data().join("fernet.key"))
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// It is killed, and starts with these variables; both tokens must be there without a login.
fn restart_without_a_login(server: &mut Server, environment: &[(&str, &str)]) {
    server.kill();
    server.set_environment(environment);
    server.restart();
    wait_for_both_tokens(server);
    assert_eq!(logins(server), (1, 1), "{}", server.log());
}

#[test]
fn a_running_server_goes_on_under_a_new_key_and_so_does_its_successor() {
    let mut server = Server::start(&[]);
    wait_for_both_tokens(&server);
    let mut seen = vec![keys(&server)];
    for _ in 0..3 {
        let (code, said) = rotate(&server, &[]);
        assert_eq!(
            (code, said.as_str()),
            (Some(0), "2 records are encrypted under a new key, the only one in fernet.key\n")
        );
        let now = keys(&server);
        assert!(now.len() == 1 && !seen.contains(&now));
        seen.push(now);
        restart_without_a_login(&mut server, &[]);
    }
    let log = program().args(["token", "log"]).current_dir(server.root()).output().unwrap();
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    assert_eq!(log.matches("rotated").count(), 3, "{log}");
    assert!(log.contains("operator local"), "{log}");

    // And with no server on it.
    assert_eq!(server.terminate(), Some(0));
    let (code, said) = rotate(&server, &[]);
    assert!(code == Some(0) && said.starts_with("2 records are"), "{said}");
    assert!(keys(&server).len() == 1 && !seen.contains(&keys(&server)));
    restart_without_a_login(&mut server, &[]);
}

#[test]
fn a_rotation_that_was_cut_short_is_finished_by_the_next_start() {
    let mut server = Server::start(&[]);
    wait_for_both_tokens(&server);
    server.kill();
    let old = keys(&server).remove(0);
    // As a rotation leaves the file before it has touched the first record.
    private_file(&server.data().join("fernet.key"), &format!("{KEY_A}\n{old}\n"));
    fs::write(server.data().join(".fernet.key.new"), KEY_B).unwrap();
    restart_without_a_login(&mut server, &[]);
    assert_eq!(keys(&server), [KEY_A]);
    assert!(!server.data().join(".fernet.key.new").exists());
    assert!(server.log().contains("unfinished rotation"), "{}", server.log());
    restart_without_a_login(&mut server, &[]);
}

#[test]
fn keys_that_are_given_stay_where_they_are_and_must_be_the_ones_meant() {
    let both = format!("{KEY_B},{KEY_A}");
    let mut server = Server::start(&[("TICKGATE_FERNET_KEY", KEY_A)]);
    wait_for_both_tokens(&server);
    let (code, said) = rotate(&server, &[("TICKGATE_FERNET_KEY", KEY_A)]);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "2 records are encrypted under the first key of TICKGATE_FERNET_KEY\n")
    );
    // A shell without it is told.
    let (code, said) = rotate(&server, &[]);
    assert!(code == Some(0) && said.contains("this shell does not have"), "{said}");
    // One with another key may mean to change to that.
    let (code, said) = rotate(&server, &[("TICKGATE_FERNET_KEY", &both)]);
    assert!(code == Some(1) && said.contains("not the running server's"), "{said}");

    // What it advises works, and costs no login.
    assert_eq!(server.terminate(), Some(0));
    let (code, said) = rotate(&server, &[("TICKGATE_FERNET_KEY", &both)]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("other 1 key any more"), "{said}");
    restart_without_a_login(&mut server, &[("TICKGATE_FERNET_KEY", KEY_B)]);
    assert!(!server.data().join("fernet.key").exists());
}

#[test]
fn a_file_of_given_keys_is_read_anew_by_the_running_server() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("fernet");
    let name = path.to_str().unwrap();
    private_file(&path, KEY_A);
    let mut server = Server::start(&[("TICKGATE_FERNET_KEY_FILE", name)]);
    wait_for_both_tokens(&server);
    private_file(&path, &format!("{KEY_B}\n{KEY_A}\n"));
    let (code, said) = rotate(&server, &[("TICKGATE_FERNET_KEY_FILE", name)]);
    assert_eq!(code, Some(0), "{said}");
    private_file(&path, KEY_B);
    restart_without_a_login(&mut server, &[("TICKGATE_FERNET_KEY_FILE", name)]);
    // A file that others may read is refused here as well.
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let (code, said) = rotate(&server, &[]);
    assert!(code == Some(1) && said.contains("chmod 600"), "{said}");
}

#[test]
fn a_given_key_takes_over_from_the_file_without_a_login() {
    let mut server = Server::start(&[]);
    wait_for_both_tokens(&server);
    let (code, said) = rotate(&server, &[("TICKGATE_FERNET_KEY", KEY_A)]);
    assert!(code == Some(1) && said.contains("not the running server's"), "{said}");
    assert_eq!(server.terminate(), Some(0));
    let (code, said) = rotate(&server, &[("TICKGATE_FERNET_KEY", KEY_A)]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("remove fernet.key"), "{said}");
    fs::remove_file(server.data().join("fernet.key")).unwrap();
    restart_without_a_login(&mut server, &[("TICKGATE_FERNET_KEY", KEY_A)]);
}

#[test]
fn records_that_no_key_reads_are_reported_loudly_and_kept() {
    let mut server = Server::start(&[]);
    wait_for_both_tokens(&server);
    assert_eq!(server.terminate(), Some(0));
    let real = keys(&server).remove(0);
    private_file(&server.data().join("fernet.key"), KEY_A);
    let (code, said) = rotate(&server, &[]);
    assert!(code == Some(0) && said.contains("warning: 2 records could not be read"), "{said}");
    assert!(said.starts_with("0 records are"), "{said}");
    // Found again with the key that they depend on.
    let file = server.data().join("fernet.key");
    private_file(&file, &format!("{}\n{real}\n", keys(&server)[0]));
    let (code, said) = rotate(&server, &[]);
    assert!(code == Some(0) && said.starts_with("2 records are") && !said.contains("warning"), "{said}");
    restart_without_a_login(&mut server, &[]);
}

fn run(root: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    program()
        .args(args)
        .current_dir(root)
        .env("TICKGATE_GATEWAY__FEED_LISTEN", "127.0.0.1:0")
        .env("TICKGATE_GATEWAY__HTTP_LISTEN", "127.0.0.1:0")
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

#[test]
fn no_start_with_a_secret_that_others_may_read() {
    let dir = tempfile::tempdir().unwrap();
    let (root, data) = (dir.path(), dir.path().join("data"));
    let elsewhere = root.join("secret");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
    let name = elsewhere.to_str().unwrap();
    let variables = [
        "TICKGATE_XTS_MARKET_APP_KEY_FILE",
        "TICKGATE_XTS_MARKET_SECRET_KEY_FILE",
        "TICKGATE_XTS_INTERACTIVE_APP_KEY_FILE",
        "TICKGATE_XTS_INTERACTIVE_SECRET_KEY_FILE",
        "TICKGATE_XTS_ACCESS_TOKEN_FILE",
        "TICKGATE_FERNET_KEY_FILE",
    ];
    let by_variable = variables.map(|variable| (elsewhere.clone(), Some((variable, name))));
    let in_data = ["fernet.key", "local.key"].map(|file| (data.join(file), None));
    for (path, variable) in by_variable.into_iter().chain(in_data) {
        private_file(&path, KEY_A);
        for mode in [0o640, 0o604] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            for (command, to_stdout) in [("serve", false), ("check-config", true)] {
                let output = run(root, &[command], variable.as_slice());
                assert_eq!(output.status.code(), Some(2), "{command} {variable:?} {path:?} {output:?}");
                let said = if to_stdout { &output.stdout } else { &output.stderr };
                let said = String::from_utf8_lossy(said);
                assert!(
                    said.contains("chmod 600") && said.contains(path.file_name().unwrap().to_str().unwrap()),
                    "{command}: {said}"
                );
                assert!(!said.contains(KEY_A), "{said}");
            }
        }
        fs::remove_file(&path).unwrap();
    }
    let output = run(root, &["check-config"], &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
