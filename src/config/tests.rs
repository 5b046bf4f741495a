//! The whole configuration from text and a map of variables.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::broker::xts::profiles::PROFILES;
use crate::store::private;
use crate::token::Product;

/// The shipped file; it must say what the code says.
pub(super) const SHIPPED: &str = include_str!("../../config.toml");

pub(super) fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn read(text: &str, env: &[(&str, &str)]) -> Result<(Config, Secrets), Problems> {
    compose(Reader::Server, Some((text, "config.toml")), &variables(env))
}

pub(super) fn good(text: &str, env: &[(&str, &str)]) -> Config {
    read(text, env).unwrap_or_else(|problems| panic!("{problems}")).0
}

fn complaints(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    read(text, env).expect_err("there is something wrong").0.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_at_all_is_the_default() {
    let (config, secrets) = compose(Reader::Server, None, &variables(&[])).unwrap();
    assert_eq!(config, Config::default());
    assert!(secrets.fernet_key.is_none());
    assert!(config.always_open());
    assert_eq!(config.accounts.len(), 1);
    assert_eq!(config.accounts[0].products(), Product::ALL);
}

#[test]
fn the_shipped_file_says_what_the_code_says() {
    assert_eq!(good(SHIPPED, &[]), Config::default());
    assert_eq!(good(&with_profiled_keys(), &[]), Config::default());
}

/// The shipped file with the keys set that it leaves to a profile.
fn with_profiled_keys() -> String {
    let profiled: Vec<_> =
        PROFILES[0].keys().into_iter().map(|(key, text)| format!("#{key} = \"{text}\"")).collect();
    let lines = SHIPPED
        .lines()
        .map(|line| if profiled.iter().any(|profiled| line == profiled) { &line[1..] } else { line });
    lines.fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn the_shipped_file_names_every_key_once_with_a_comment() {
    let mut table = String::new();
    let mut named = BTreeSet::new();
    let mut commented = false;
    for (number, line) in with_profiled_keys().lines().enumerate() {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            assert!(named.insert(format!("{table}{key}")), "line {}: twice", number + 1);
            assert!(commented, "line {}: {key} has no comment above", number + 1);
            continue;
        }
        // One comment may speak for several keys in a row.
        commented = line.starts_with('#');
    }
    assert_eq!(named, keys::of::<Config>());
}

#[test]
fn every_problem_is_named_at_once_with_key_and_line() {
    let text = r#"
data_dir = ""
colour = "blue"

[gateway]
feed_lisen = "127.0.0.1:1"
http_listen = 5000
max_consumers = "many"
shards = -1
allowed_hosts = "one"

[session]
daily_cutoff_ist = "25:00"
backoff_floor_ms = 60000
pace = 2.0

[broker]
kind = "zerodha"
xts = { engine_io = 5, app_key = "0f1e2d3c4b5a69788796a5" }

[sim]
pace = "fast"

[log]
level = "loud"
format = 1
"#;
    let env = [("TICKGATE_GATEWAY__SHARDZ", "2"), ("TICKGATE_SIM__SEED", "one")];
    insta::assert_snapshot!(complaints(text, &env).join("\n"));
}

#[test]
fn text_that_is_no_toml_is_named_by_line() {
    let found = complaints("data_dir = \"x\"\n[gateway\nshards = 1\n", &[]);
    assert!(found[0].starts_with("config.toml:2: not TOML: "), "{found:?}");
    let found = complaints("[log]\nlevel = \"info\"\nlevel = \"warn\"\n[session]\nnope = 1\n", &[]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("config.toml:3: not TOML: duplicate key"), "{found:?}");
    assert_eq!(found[1], "config.toml:5: session.nope: unknown key");
}

#[test]
fn variables_win_over_the_file_and_take_the_settings_type() {
    let text = "[gateway]\nshards = 3\nallowed_hosts = [\"a\"]\n[session]\nplanned_login_ist = \"09:00\"\n";
    let config = good(
        text,
        &[
            ("TICKGATE_DATA_DIR", "/var/lib/tickgate"),
            ("TICKGATE_GATEWAY__SHARDS", " 2 "),
            ("TICKGATE_GATEWAY__ALLOWED_HOSTS", "feed.example.com, ticks.lan,"),
            ("TICKGATE_GATEWAY__ALLOWED_ORIGINS", ""),
            ("TICKGATE_SIM__PACE", "20"),
            ("TICKGATE_SIM__REPLAY_LOOP", "true"),
            ("TICKGATE_SESSION__PLANNED_LOGIN_IST", ""),
            ("TICKGATE_BROKER__XTS__BASE_URL", "https://xts.example.com"),
            ("TICKGATE_LOG__FORMAT", "json"),
            // Neither a key nor with a double underscore: somebody else's.
            ("TICKGATE_KEY", "x"),
            ("TICKGATE_COLOUR", "blue"),
            ("TICKGATE_LOG", "debug"),
        ],
    );
    assert_eq!(config.data_dir, Path::new("/var/lib/tickgate"));
    assert_eq!(config.gateway.shards, 2);
    assert_eq!(config.gateway.allowed_hosts, ["feed.example.com", "ticks.lan"]);
    assert!((config.sim.pace - 20.0).abs() < f64::EPSILON && config.sim.replay_loop);
    assert_eq!(config.session.planned_login_ist, None);
    assert_eq!(config.broker.xts.base_url, "https://xts.example.com");
    assert_eq!(config.log.format, telemetry::log::Format::Json);
}

#[test]
fn every_key_can_be_named_by_a_variable() {
    for key in keys::of::<Config>() {
        let name = format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"));
        // Nothing takes this value but free text; what matters is which key complains, if any.
        match compose(Reader::Client, None, &variables(&[(&name, "\u{1}")])) {
            Ok(_) => {}
            Err(problems) => {
                for problem in problems.0 {
                    assert_eq!(problem.key, key);
                    assert_eq!(problem.place, Place::Variable(name.clone()), "{problem}");
                    assert!(!problem.message.contains("unknown"), "{problem}");
                }
            }
        }
    }
}

#[test]
fn wrong_variables_are_named() {
    let found = complaints(
        "",
        &[
            ("TICKGATE_GATEWAY__FEED_LISEN", "127.0.0.1:1"),
            ("TICKGATE_GATEWAY__MAX_FRAME_BYTES", "1 MiB"),
            ("TICKGATE_BROKER__XTS", "x"),
            ("TICKGATE_SIM__PACE", "0"),
            ("TICKGATE_BROKER__XTS__INTERACTIVE_SECRET_KEY", "Abcd123$xy"),
        ],
    );
    insta::assert_snapshot!(found.join("\n"));
    assert!(!found.concat().contains("Abcd123"));
}

#[test]
fn a_secret_in_the_file_gets_a_hint_and_is_not_repeated() {
    let text = "[broker.xts]\nmarket_secret_key = \"Abcd123$xy\"\nsecretKey = \"Efgh456$zw\"\n\
                access_token = \"tok\"\n[security]\nfernet_key = \"k\"\n";
    let found = complaints(text, &[]);
    insta::assert_snapshot!(found.join("\n"));
    assert!(!found.concat().contains("Abcd123") && !found.concat().contains("Efgh456"));
}

#[test]
fn secrets_come_from_variables_or_files() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("secret");
    private::write(&file, "Abcd123$xy\n").unwrap();
    let env = [
        ("TICKGATE_BROKER__KIND", "xts"),
        ("TICKGATE_BROKER__XTS__INTERACTIVE", "false"),
        ("TICKGATE_XTS_MARKET_APP_KEY", " 0f1e2d3c4b5a69788796a5 "),
        ("TICKGATE_XTS_MARKET_SECRET_KEY_FILE", file.to_str().unwrap()),
        ("TICKGATE_XTS_ACCESS_TOKEN", ""),
    ];
    let (config, secrets) = read("", &env).unwrap();
    assert_eq!(config.accounts[0].products(), [Product::Market]);
    assert!(!config.always_open());
    let xts = &secrets.xts["default"];
    let market = xts.market.as_ref().unwrap();
    assert_eq!((market.key.expose(), market.secret.expose()), ("0f1e2d3c4b5a69788796a5", "Abcd123$xy"));
    assert!(xts.interactive.is_none() && xts.access_token.is_none());

    // Files are read anew when asked, and what is wrong with them then is said and not taken.
    fs::write(&file, "Efgh456$zw").unwrap();
    let again = config.credentials("default", 1, &variables(&env)).unwrap();
    assert_eq!(again.market.unwrap().secret.expose(), "Efgh456$zw");
    fs::remove_file(&file).unwrap();
    let gone = config.credentials("default", 1, &variables(&env)).unwrap_err().to_string();
    assert!(gone.contains("TICKGATE_XTS_MARKET_SECRET_KEY_FILE"), "{gone}");
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_use_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("secret");
    let path = path.to_str().unwrap();
    private::write(Path::new(path), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
    for mode in [0o640, 0o604, 0o660, 0o444] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        for variable in ["TICKGATE_FERNET_KEY_FILE", "TICKGATE_XTS_ACCESS_TOKEN_FILE"] {
            let found = complaints("", &[(variable, path)]);
            let refused = format!(
                "environment {variable}: {path} can be accessed by others (mode {mode:o}); run: chmod 600 {path}"
            );
            assert_eq!(found, [refused]);
        }
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
    good("", &[("TICKGATE_FERNET_KEY_FILE", path)]);
    let found = complaints("", &[("TICKGATE_XTS_ACCESS_TOKEN_FILE", dir.path().to_str().unwrap())]);
    assert!(found[0].ends_with("is not a file"), "{found:?}");
}

#[test]
fn the_fernet_key_is_read_anew_while_the_process_runs() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("fernet");
    let env = variables(&[
        // One's trouble is not the other's.
        ("TICKGATE_XTS_MARKET_APP_KEY", "half of a pair"),
        ("TICKGATE_FERNET_KEY_FILE", path.to_str().unwrap()),
    ]);
    private::write(&path, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    assert!(Secrets::reread_fernet_key(&env).unwrap().is_some());
    private::write(&path, "no key").unwrap();
    assert!(Secrets::reread_fernet_key(&env).is_err());
    assert!(Secrets::reread_fernet_key(&variables(&[])).unwrap().is_none());
}

#[test]
fn missing_halved_doubled_and_malformed_secrets_are_problems() {
    let missing = complaints("[broker]\nkind = \"xts\"\n", &[]);
    let wrong = complaints(
        "[broker]\nkind = \"xts\"\n",
        &[
            ("TICKGATE_XTS_MARKET_APP_KEY", "a"),
            ("TICKGATE_XTS_MARKET_APP_KEY_FILE", "/somewhere"),
            ("TICKGATE_XTS_INTERACTIVE_APP_KEY", "b"),
            ("TICKGATE_XTS_ACCESS_TOKEN_FILE", "/no/such/file"),
            ("TICKGATE_FERNET_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=,short"),
        ],
    );
    insta::assert_snapshot!(format!("{}\n---\n{}", missing.join("\n"), wrong.join("\n")));
    assert!(!wrong.concat().contains("short"));
}

#[test]
fn a_command_beside_the_server_needs_no_broker_secrets() {
    let env =
        variables(&[("TICKGATE_BROKER__KIND", "xts"), ("TICKGATE_XTS_MARKET_APP_KEY_FILE", "/root/only")]);
    assert!(compose(Reader::Client, None, &env).is_ok());
    assert!(compose(Reader::Server, None, &env).is_err());
    let env = variables(&[("TICKGATE_FERNET_KEY_FILE", "/no/such/file")]);
    assert!(compose(Reader::Client, None, &env).is_err());
}

#[test]
fn settings_that_do_not_go_together_are_problems() {
    let text = "[gateway]\nfeed_listen = \"127.0.0.1:7000\"\nhttp_listen = \"127.0.0.1:7000\"\n\
                [session]\nbackoff_floor_ms = 5000\nbackoff_ceiling_ms = 100\n\
                [broker]\naccount = \"../x\"\n";
    let found = complaints(text, &[]);
    assert_eq!(
        found,
        [
            "config.toml:3: gateway.http_listen: both ports have the same address",
            "config.toml:6: session.backoff_ceiling_ms: the ceiling is below the floor",
            "config.toml:8: broker.account: must have 1 to 64 of the characters a-z, A-Z, 0-9, '-', '_', '.', \
             and no '.' first",
        ]
    );
    good("[gateway]\nfeed_listen = \"127.0.0.1:0\"\nhttp_listen = \"127.0.0.1:0\"\n", &[]);
    assert_eq!(
        complaints("[gateway]\nrest_account = \"bob\"\n", &[]),
        ["config.toml:2: gateway.rest_account: there is no account bob, only default"]
    );
    good("[gateway]\nrest_account = \"default\"\n", &[]);
}

#[test]
fn the_file_is_found_named_or_left_out() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("feed.toml");
    let none = variables(&[]);
    let missing = load(Some(&path), &none).unwrap_err().to_string();
    assert!(missing.starts_with(&format!("{}: cannot be read: ", path.display())), "{missing}");
    fs::write(&path, "[sim]\nseed = 7\n").unwrap();
    let loaded = load(Some(&path), &none).unwrap();
    assert_eq!((loaded.config.sim.seed, loaded.source.to_string()), (7, path.display().to_string()));
    fs::write(&path, "[sim]\nsede = 7\n").unwrap();
    let found = load_for_client(Some(&path), &none).unwrap_err().to_string();
    assert_eq!(found, format!("{}:2: sim.sede: unknown key; did you mean sim.seed?", path.display()));
}

/// Lines that a file might hold, in any order, right or wrong.
fn line() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        prop::sample::select(keys::of::<Config>().into_iter().collect::<Vec<_>>()),
        "[a-z.\"]{0,12}",
        Just("broker".to_owned()),
        Just("accounts".to_owned()),
        Just("name".to_owned()),
        Just("gateway.allowed_hosts.x".to_owned()),
    ];
    let value = prop_oneof![
        "-?[0-9_]{1,30}",
        "\"[^\"]{0,12}\"",
        Just("true".to_owned()),
        Just("[1, \"a\", []]".to_owned()),
        Just("{ kind = \"sim\", x = 1 }".to_owned()),
        Just("2026-02-10".to_owned()),
        Just("nan".to_owned()),
        ".{0,12}",
    ];
    prop_oneof![
        (key.clone(), value).prop_map(|(key, value)| format!("{key} = {value}")),
        key.clone().prop_map(|key| format!("[{key}]")),
        key.prop_map(|key| format!("[[{key}]]")),
        ".{0,20}",
    ]
}

proptest! {
    #[test]
    fn no_file_makes_it_panic_or_hang(lines in prop::collection::vec(line(), 0..8)) {
        let text = lines.join("\n");
        if let Err(problems) = read(&text, &[]) {
            prop_assert!(!problems.0.is_empty());
            let count = text.split('\n').count();
            for problem in problems.0 {
                if let Place::Line { line, .. } = problem.place {
                    prop_assert!((1..=count).contains(&line), "{}", problem);
                }
            }
        }
    }
}
