//! `[[accounts]]`: what entries inherit, what is refused, and whose the secrets are.

use super::*;
use crate::broker::xts::LoginKind;
use crate::config::tests::{SHIPPED, good, read, variables};
use crate::config::{Config, Problems, Reader, Secrets, compose};

const TWO: &str = "[broker]\nkind = \"xts\"\n[[accounts]]\nname = \"alice\"\n[[accounts]]\nname = \"bob\"\n";

/// All secrets of accounts by the parts of their variables; each account has keys of its own.
fn keys_of(parts: &[&str]) -> Vec<(String, String)> {
    let of = |part: &&str| {
        let part = (*part).to_owned();
        ["MARKET_APP_KEY", "MARKET_SECRET_KEY", "INTERACTIVE_APP_KEY", "INTERACTIVE_SECRET_KEY"]
            .map(|secret| (format!("TICKGATE_{part}XTS_{secret}"), format!("{part}{secret}")))
    };
    parts.iter().flat_map(of).collect()
}

fn check(text: &str, env: &[(String, String)]) -> Result<(Config, Secrets), Problems> {
    let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    read(text, &env)
}

fn complaints_of(text: &str, env: &[(String, String)]) -> Vec<String> {
    check(text, env).expect_err("there is something wrong").0.iter().map(ToString::to_string).collect()
}

#[test]
fn entries_take_from_broker_what_they_do_not_set() {
    let text = r#"
[broker]
kind = "xts"
xts = { base_url = "https://one.example.com", max_subscriptions = 500, client_id = "X1" }

[[accounts]]
name = "alice"

[[accounts]]
name = "bob-2"
xts = { client_id = "B7", login = "hostlookup" }

[[accounts]]
name = "carol"
kind = "xts"
[accounts.xts]
base_url = "https://other.example.com"
interactive = false
"#;
    let mut env = keys_of(&["ALICE_", "BOB_2_", "CAROL_"]);
    // What is inherited may come from a variable.
    env.push(("TICKGATE_BROKER__XTS__ENGINE_IO".to_owned(), "4".to_owned()));
    let (config, secrets) = check(text, &env).unwrap_or_else(|problems| panic!("{problems}"));
    let [alice, bob, carol] = &config.accounts[..] else { panic!("{:?}", config.accounts) };
    let shared = xts::Settings {
        base_url: "https://one.example.com".to_owned(),
        max_subscriptions: 500,
        client_id: "X1".to_owned(),
        engine_io: 4,
        ..xts::Settings::default()
    };
    assert_eq!(alice.xts, shared);
    let of_bob = xts::Settings { client_id: "B7".to_owned(), login: LoginKind::Hostlookup, ..shared.clone() };
    assert_eq!((bob.name.as_str(), &bob.xts), ("bob-2", &of_bob));
    let base_url = "https://other.example.com".to_owned();
    assert_eq!(carol.xts, xts::Settings { base_url, interactive: false, ..shared });
    assert_eq!((config.kind(), carol.products()), (BrokerKind::Xts, vec![Product::Market]));
    assert_eq!(secrets.xts["bob-2"].interactive.as_ref().unwrap().key.expose(), "BOB_2_INTERACTIVE_APP_KEY");
    assert_eq!(
        config.upstream(),
        "xts, accounts alice at https://one.example.com, bob-2 at https://one.example.com, \
         carol at https://other.example.com"
    );
}

#[test]
fn without_a_list_there_is_the_one_account_of_broker() {
    let config = good("[broker]\naccount = \"alice\"\nxts = { engine_io = 4 }\n", &[]);
    let [only] = &config.accounts[..] else { panic!("{:?}", config.accounts) };
    assert_eq!((only.name.as_str(), only.xts.engine_io, only.kind), ("alice", 4, BrokerKind::Sim));
    assert_eq!(config.upstream(), "sim, account alice");
}

#[test]
fn several_simulated_accounts_need_no_secrets() {
    let text = "[[accounts]]\nname = \"a\"\n[[accounts]]\nname = \"b\"\n";
    // Short names are nobody's here, and nobody's concern.
    let config = check(text, &keys_of(&[""])).unwrap_or_else(|problems| panic!("{problems}")).0;
    assert_eq!(config.accounts.len(), 2);
    assert_eq!(config.simulator().accounts, 2);
    assert!(config.always_open());
    assert_eq!(config.upstream(), "sim, accounts a, b");
    let many: String = (0..17).map(|number| format!("[[accounts]]\nname = \"a{number}\"\n")).collect();
    assert_eq!(complaints_of(&many, &[]), ["sim.accounts: must be from 1 to 16"]);
}

#[test]
fn the_shipped_files_example_is_right() {
    let example: String = SHIPPED
        .lines()
        .filter_map(|line| line.strip_prefix('#').filter(|rest| rest.starts_with(['[', 'n', 'x'])))
        .fold(String::new(), |text, line| text + line + "\n");
    let text = format!("[broker]\nkind = \"xts\"\n{example}");
    let config = check(&text, &keys_of(&["ALICE_", "BOB_"])).unwrap_or_else(|p| panic!("{p}\n{text}")).0;
    let names: Vec<_> = config.accounts.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(names, ["alice", "bob"]);
    assert_ne!(config.accounts[0].xts, config.accounts[1].xts);
}

#[test]
fn every_problem_of_the_list_is_named_with_entry_and_line() {
    let text = r#"
[broker]
account = "dave"
xts = { request_interval_ms = "soon", socket_path = "x" }

[[accounts]]
name = "alice"
kind = "xts"
account = "alice"
xts = { engine_io = 5, base_urk = "https://x", market_app_key = "0f1e2d3c4b5a69788796a5" }

[[accounts]]
kind = "sim"

[[accounts]]
name = "a/b"
base_url = "https://x"

[[accounts]]
name = "alice"
[accounts.xts]
base_url = "ftp://x"
client_id = 7

[[accounts]]
name = "Alice"

[[accounts]]
name = 5
"#;
    let env = [
        ("TICKGATE_ACCOUNTS__0__NAME".to_owned(), "x".to_owned()),
        ("TICKGATE_ACCOUNTS".to_owned(), "a,b".to_owned()),
    ];
    insta::assert_snapshot!(complaints_of(text, &env).join("\n"));
}

#[test]
fn what_is_no_list_of_tables_is_told_how_to_write_one() {
    let of = |text: &str| complaints_of(text, &[]);
    let found = of("[accounts]\nname = \"alice\"\n");
    let expected =
        "config.toml:1: accounts: expected a list of tables; write each account under a line [[accounts]]";
    assert_eq!(found, [expected]);
    assert_eq!(
        of("accounts = []\n"),
        ["config.toml:1: accounts: names no account; without the key there is one, broker.account"]
    );
    assert_eq!(
        of("accounts = [\n  \"alice\",\n  { name = \"bob\" }\n]\n"),
        ["config.toml:2: accounts[0]: expected a table; write each account under a line [[accounts]]"]
    );
    assert_eq!(of("[[account]]\n"), ["config.toml:1: account: unknown key; did you mean accounts?"]);
    let broken = of("[[accounts]]\nname = \nkind = \"simm\"\n");
    assert!(broken.iter().any(|p| p.starts_with("config.toml:2: not TOML")), "{broken:?}");
    assert!(broken.iter().any(|p| p.starts_with("config.toml:3: accounts[0].kind: expected one of")));
}

#[test]
fn values_that_only_together_are_wrong_are_named_once_where_they_stand() {
    let text = "[broker.xts]\nca_file = \"/no/such/file\"\n\
                [[accounts]]\nname = \"a\"\nkind = \"xts\"\n\
                [[accounts]]\nname = \"b\"\nkind = \"xts\"\n\
                [[accounts]]\nname = \"c\"\n";
    assert_eq!(
        complaints_of(text, &keys_of(&["A_", "B_", "C_"])),
        [
            "config.toml:2: broker.xts.ca_file: there is no file /no/such/file",
            "config.toml:5: accounts[0].kind: simulated and real accounts cannot be mixed: a is xts, c is sim",
        ]
    );
}

#[test]
fn the_account_default_takes_names_without_a_part_and_so_does_an_only_one() {
    let with_default = TWO.replace("alice", "default");
    let (config, secrets) = check(&with_default, &keys_of(&["", "BOB_"])).unwrap();
    assert_eq!(config.access_token_variable("default"), "TICKGATE_XTS_ACCESS_TOKEN");
    assert_eq!(config.access_token_variable("bob"), "TICKGATE_BOB_XTS_ACCESS_TOKEN");
    assert_eq!(secrets.xts["default"].market.as_ref().unwrap().key.expose(), "MARKET_APP_KEY");
    assert!(check(&with_default, &keys_of(&["DEFAULT_", "BOB_"])).is_ok());

    let only = "[broker]\nkind = \"xts\"\naccount = \"alice\"\n";
    for part in ["", "ALICE_"] {
        let (_, secrets) = check(only, &keys_of(&[part])).unwrap_or_else(|problems| panic!("{problems}"));
        let key = format!("{part}MARKET_APP_KEY");
        assert_eq!(secrets.xts["alice"].market.as_ref().unwrap().key.expose(), key);
    }
    let listed = "[broker]\nkind = \"xts\"\n[[accounts]]\nname = \"alice\"\n";
    assert!(check(listed, &keys_of(&[""])).is_ok());
}

#[test]
fn missing_doubled_and_strange_secrets_are_named_by_account_and_variable() {
    let nothing = complaints_of(TWO, &[]);
    let only = complaints_of("[broker]\nkind = \"xts\"\naccount = \"al.ice\"\n", &keys_of(&["AL_ICE_", ""]));
    let no_default = complaints_of(TWO, &keys_of(&["", "ALICE_", "BOB_"]));
    let mut strange = keys_of(&["ALICE_", "BOB_"]);
    strange.retain(|(name, _)| name != "TICKGATE_BOB_XTS_MARKET_SECRET_KEY");
    let set = |env: &mut Vec<(String, String)>, name: &str, value: &str| {
        env.push((name.to_owned(), value.to_owned()));
    };
    set(&mut strange, "TICKGATE_CAROL_XTS_MARKET_APP_KEY", "x");
    set(&mut strange, "TICKGATE_CAROL_XTS_ACCESS_TOKEN_FILE", "/no/such/file");
    set(&mut strange, "TICKGATE_BROKER__XTS_MARKET_APP_KEY", "x");
    // Not set, or somebody else's.
    set(&mut strange, "TICKGATE_DAVE_XTS_MARKET_APP_KEY", " ");
    set(&mut strange, "TICKGATE_DAVE_XTS_COLOUR", "blue");
    let mut shared = keys_of(&["ALICE_", "BOB_"]);
    for (_, value) in shared.iter_mut().filter(|(name, _)| name.contains("APP_KEY")) {
        "same".clone_into(value);
    }
    insta::assert_snapshot!(
        [nothing, only, no_default, complaints_of(TWO, &strange), complaints_of(TWO, &shared)]
            .map(|found| found.join("\n"))
            .join("\n---\n")
    );
    // At two servers they are two keys.
    let apart = TWO.to_owned() + "xts = { base_url = \"https://other.example.com\" }\n";
    assert!(check(&apart, &shared).is_ok());
}

#[test]
fn a_command_beside_the_server_needs_no_accounts_secrets() {
    let env = variables(&[("TICKGATE_CAROL_XTS_MARKET_APP_KEY", "x")]);
    assert!(compose(Reader::Client, Some((TWO, "config.toml")), &env).is_ok());
    assert!(compose(Reader::Server, Some((TWO, "config.toml")), &env).is_err());
}

#[test]
fn a_profile_fills_in_what_is_set_nowhere() {
    let text = "[broker]\nkind = \"xts\"\nprofile = \"5paisa\"\n[broker.xts]\nsocket_path = \"/own\"\ninteractive = false\n";
    let mut env = keys_of(&[""]);
    let filled = check(text, &env).unwrap_or_else(|problems| panic!("{problems}")).0;
    let xts = &filled.accounts[0].xts;
    assert_eq!((xts.market_prefix.as_str(), xts.socket_path.as_str()), ("/apimarketdata", "/own"));
    assert_eq!((xts.market_login_prefix.as_str(), xts.interactive), ("/apibinarymarketdata", false));
    assert_eq!(filled.upstream(), "xts, account default at https://xtsmum.5paisa.com");

    env.push(("TICKGATE_BROKER__XTS__BASE_URL".to_owned(), "https://own.example.com".to_owned()));
    env.push(("TICKGATE_BROKER__PROFILE".to_owned(), "rmoney".to_owned()));
    let filled = check(text, &env).unwrap_or_else(|problems| panic!("{problems}")).0;
    let xts = &filled.accounts[0].xts;
    assert_eq!((xts.base_url.as_str(), xts.login), ("https://own.example.com", LoginKind::Hostlookup));
}

#[test]
fn each_account_may_have_a_profile_of_its_own_or_none() {
    let text = "[broker]\nkind = \"xts\"\nprofile = \"jainam-smpa\"\n\
                [[accounts]]\nname = \"a\"\n\
                [[accounts]]\nname = \"b\"\nprofile = \"iifl\"\nxts = { login = \"hostlookup\" }\n\
                [[accounts]]\nname = \"c\"\nprofile = \"\"\n";
    let config = check(text, &keys_of(&["A_", "B_", "C_"])).unwrap_or_else(|problems| panic!("{problems}")).0;
    let urls: Vec<_> = config.accounts.iter().map(|account| account.xts.base_url.as_str()).collect();
    assert_eq!(
        urls,
        ["https://smpa.jainam.in:6543", "https://ttblaze.iifl.com", "https://jtrade.jainam.in:5000"]
    );
    let logins: Vec<_> = config.accounts.iter().map(|account| account.xts.login).collect();
    assert_eq!(logins, [LoginKind::Hostlookup, LoginKind::Hostlookup, LoginKind::Direct]);
}

#[test]
fn a_profile_that_is_none_and_one_of_the_simulator_are_named_where_they_stand() {
    let text = "[broker]\nprofile = \"wisdom\"\n[[accounts]]\nname = \"a\"\nprofile = \"zerodha\"\n\
                [[accounts]]\nname = \"b\"\n";
    let found = complaints_of(text, &[]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(
        found[0],
        "config.toml:2: broker.profile: wisdom is a real broker; with kind = \"sim\" there is no profile"
    );
    assert!(
        found[1].starts_with(
            "config.toml:5: accounts[0].profile: there is no profile zerodha; there are: jainam, jainam-smpa, "
        ),
        "{found:?}"
    );
    let found =
        check("", &[("TICKGATE_BROKER__PROFILE".to_owned(), "x".to_owned())]).unwrap_err().to_string();
    assert!(
        found.starts_with("environment TICKGATE_BROKER__PROFILE: broker.profile: there is no profile x"),
        "{found}"
    );
}

const POOL: &str = "[broker]\nkind = \"xts\"\n[broker.xts]\nmarket_keys = 2\n";

/// A further pair of market-data keys.
fn further(part: &str, number: &str) -> [(String, String); 2] {
    ["APP_KEY", "SECRET_KEY"].map(|secret| {
        let name = format!("TICKGATE_{part}XTS_MARKET_{secret}_{number}");
        (name.clone(), name)
    })
}

#[test]
fn an_accounts_further_market_keys_are_sessions_of_their_own() {
    let text = "[broker]\nkind = \"xts\"\nxts = { market_keys = 2 }\n[[accounts]]\nname = \"default\"\n\
                [[accounts]]\nname = \"bob\"\nxts = { market_keys = 3 }\n";
    let mut env = keys_of(&["", "BOB_"]);
    env.extend(further("", "2").into_iter().chain(further("BOB_", "2")).chain(further("BOB_", "3")));
    let (config, secrets) = check(text, &env).unwrap_or_else(|problems| panic!("{problems}"));
    let names: Vec<_> = secrets.xts.keys().map(String::as_str).collect();
    assert_eq!(names, ["bob", "bob/2", "bob/3", "default", "default/2"]);
    let third = &secrets.xts["bob/3"];
    let pair = third.market.as_ref().unwrap();
    assert_eq!(
        (pair.key.expose(), pair.secret.expose()),
        ("TICKGATE_BOB_XTS_MARKET_APP_KEY_3", "TICKGATE_BOB_XTS_MARKET_SECRET_KEY_3")
    );
    assert_eq!((&third.interactive, &third.access_token), (&None, &None));
    assert!(secrets.xts["bob"].interactive.is_some());
    assert!(!format!("{secrets:?}").contains("_SECRET_KEY_3"), "{secrets:?}");
    let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(&config.credentials("bob", 3, &variables(&env)).unwrap(), third);
}

#[test]
fn a_further_keys_secret_may_stand_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    crate::store::private::write(&path, "from the file").unwrap();
    let mut env = keys_of(&[""]);
    env.push(further("", "2")[0].clone());
    env.push(("TICKGATE_XTS_MARKET_SECRET_KEY_2_FILE".to_owned(), path.display().to_string()));
    let secrets = check(POOL, &env).unwrap_or_else(|problems| panic!("{problems}")).1;
    assert_eq!(secrets.xts["default/2"].market.as_ref().unwrap().secret.expose(), "from the file");
}

#[test]
fn every_problem_with_further_keys_is_named_by_its_variable() {
    let missing = complaints_of(POOL, &keys_of(&[""]));
    assert_eq!(missing.len(), 2, "{missing:?}");
    assert_eq!(
        missing[0],
        "environment TICKGATE_XTS_MARKET_APP_KEY_2: is not set (nor TICKGATE_XTS_MARKET_APP_KEY_2_FILE); the account default has xts.market_keys = 2"
    );
    let mut half = keys_of(&[""]);
    half.push(further("", "2")[0].clone());
    assert_eq!(
        complaints_of(POOL, &half),
        ["environment TICKGATE_XTS_MARKET_SECRET_KEY_2: is not set, but TICKGATE_XTS_MARKET_APP_KEY_2 is"]
    );
    let mut same = keys_of(&[""]);
    same.extend(further("", "2"));
    let first = same[0].1.clone();
    same[4].1 = first;
    assert_eq!(
        complaints_of(POOL, &same),
        [
            "environment TICKGATE_XTS_MARKET_APP_KEY_2: is the app key in TICKGATE_XTS_MARKET_APP_KEY too; each login would end the other's session"
        ]
    );
    let mut beyond = keys_of(&[""]);
    for number in ["2", "3", "1", "02"] {
        beyond.extend(further("", number));
    }
    let found = complaints_of(POOL, &beyond).join("\n");
    for (variable, what) in [
        (
            "APP_KEY_3",
            "is set, but the account default has 2 keys for market data; xts.market_keys says how many",
        ),
        ("SECRET_KEY_3", "is set, but the account default has 2 keys"),
        ("APP_KEY_1", "the first key is called …XTS_MARKET_APP_KEY without a number"),
        ("SECRET_KEY_02", "the first key is called …XTS_MARKET_SECRET_KEY without a number"),
    ] {
        assert!(found.contains(&format!("environment TICKGATE_XTS_MARKET_{variable}: {what}")), "{found}");
    }
    // The simulator takes none.
    assert!(check("", &beyond).is_ok());
    for number in ["0", "9"] {
        let text = POOL.replace('2', number);
        let found = complaints_of(&text, &keys_of(&[""])).join("\n");
        assert!(found.contains("config.toml:4: broker.xts.market_keys: must be from 1 to 8"), "{found}");
    }
}
