//! Checks what no type can: ranges, and settings that must agree with each other.

use super::problem::Problem;
use super::secrets::{
    INTERACTIVE_APP_KEY, INTERACTIVE_SECRET_KEY, MARKET_APP_KEY, MARKET_SECRET_KEY, Naming, Secrets,
    numbered, wrong,
};
use super::{Account, BrokerKind, Config};
use crate::broker::xts::{AppKey, Credentials};

/// Every value that cannot be, as complaint and the dotted keys it is about. Where there are two, either may
/// be the one to change.
pub(super) fn values(config: &Config) -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    let mut clashes = Vec::new();
    let mut add = |key: &str, message: &str| found.push((vec![key.to_owned()], message.to_owned()));
    let mut clash =
        |keys: [&str; 2], message: &str| clashes.push((keys.map(str::to_owned).to_vec(), message.to_owned()));

    if config.data_dir.as_os_str().is_empty() {
        add("data_dir", "must name a directory");
    }

    let session = &config.session;
    if session.backoff_floor_ms == 0 {
        add("session.backoff_floor_ms", "must be above 0, else a failing broker is asked without a pause");
    }
    if session.backoff_floor_ms > session.backoff_ceiling_ms {
        clash(["session.backoff_ceiling_ms", "session.backoff_floor_ms"], "the ceiling is below the floor");
    }
    for (key, value) in [
        ("session.clock_check_ms", session.clock_check_ms),
        ("session.login_timeout_ms", session.login_timeout_ms),
        ("session.request_timeout_ms", session.request_timeout_ms),
        ("session.master_timeout_ms", session.master_timeout_ms),
        ("session.restart_window_ms", session.restart_window_ms),
    ] {
        if value == 0 {
            add(key, "must be above 0");
        }
    }
    if session.tick_idle_timeout_ms != 0 && session.tick_idle_timeout_ms < 1_000 {
        add(
            "session.tick_idle_timeout_ms",
            "must be 0 (never) or at least 1000: quiet instruments are no failure",
        );
    }

    let (feed, http) = (shown(&config.gateway.feed_listen), shown(&config.gateway.http_listen));
    for (key, address) in [("gateway.feed_listen", &feed), ("gateway.http_listen", &http)] {
        if port(address).is_none() {
            add(key, "must be host:port, as 127.0.0.1:8765");
        }
    }
    if feed == http && port(&feed) != Some(0) {
        clash(["gateway.http_listen", "gateway.feed_listen"], "both ports have the same address");
    }

    if let Some(files) = config.gateway.tls_files() {
        let (cert, key) = ("gateway.tls_cert_file", "gateway.tls_key_file");
        if files.cert.as_os_str().is_empty() {
            clash([cert, key], "TLS needs the certificate as well as its key");
        } else if files.key.as_os_str().is_empty() {
            clash([key, cert], "TLS needs the certificate's key as well");
        }
    }

    let rest = &config.gateway.rest_account;
    if !rest.is_empty() && !config.accounts.iter().any(|account| account.name == *rest) {
        let names: Vec<_> = config.accounts.iter().map(|account| account.name.as_str()).collect();
        add("gateway.rest_account", &format!("there is no account {rest}, only {}", names.join(", ")));
    }

    let replay = &config.sim.replay_file;
    if !replay.as_os_str().is_empty() && !replay.is_file() {
        add("sim.replay_file", &format!("there is no file {}", replay.display()));
    }

    let scenario = &config.sim.scenario;
    if !scenario.is_empty()
        && let Err(problem) = crate::sim::Scenario::load(scenario)
    {
        add("sim.scenario", &problem.to_string());
    }

    let mut of_table = |table: &str, problems: Vec<(&'static str, String)>| {
        found.extend(problems.into_iter().map(|(key, message)| (vec![format!("{table}.{key}")], message)));
    };
    of_table("sim", config.simulator().problems());
    let gateway = config.gateway.problems().into_iter();
    of_table("gateway", gateway.map(|(key, message)| (key, message.to_string())).collect());
    found.extend(clashes);
    found
}

/// What is wrong with the files of TLS. Of no concern to commands beside the server, whose user need not be able
/// to read them.
pub(super) fn tls(config: &Config) -> Option<(Vec<String>, String)> {
    let files = config.gateway.tls_files()?;
    if files.cert.as_os_str().is_empty() || files.key.as_os_str().is_empty() {
        return None;
    }
    let error = files.load().err()?;
    Some((vec![format!("gateway.{}", error.key)], error.to_string()))
}

fn shown(address: &impl ToString) -> String {
    address.to_string()
}

/// The port of `host:port`.
fn port(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    if host.is_empty() || host.contains(char::is_whitespace) { None } else { port.parse().ok() }
}

/// What is wrong with one account: keys of its `xts`.
pub(super) fn account(account: &Account) -> Vec<(&'static str, String)> {
    let mut found = account.xts.problems();
    let ca = &account.xts.ca_file;
    if account.kind == BrokerKind::Xts && !ca.as_os_str().is_empty() && !ca.is_file() {
        found.push(("ca_file", format!("there is no file {}", ca.display())));
    }
    found
}

/// The secrets that the configured accounts need and that are not there, and those that cannot serve two of them.
pub(super) fn secrets(accounts: &[Account], secrets: &Secrets) -> Vec<Problem> {
    let mut found = Vec::new();
    let none = Credentials::default();
    // Every session; only the first of an account has the interactive product.
    let sessions = |account: &'_ Account| account.keys().map(|key| account.session(key)).collect::<Vec<_>>();
    let mut real: Vec<(&Account, usize, &Credentials)> = Vec::new();
    for account in accounts.iter().filter(|account| account.kind == BrokerKind::Xts) {
        let names = sessions(account);
        real.extend(
            (1..).zip(names).map(|(key, name)| (account, key, secrets.xts.get(&name).unwrap_or(&none))),
        );
    }
    for (position, &(account, key, credentials)) in real.iter().enumerate() {
        let naming = Naming::of(&account.name, accounts);
        let mut needs = |secret: &str, why: &str| {
            let variable = naming.main(secret);
            let other = naming.other(secret).map(|other| format!(", nor {other}")).unwrap_or_default();
            found.push(wrong(&variable, format!("is not set (nor {variable}_FILE{other}); {why}")));
        };
        let several = accounts.len() > 1;
        if credentials.market.is_none() {
            let why = if key > 1 {
                format!("the account {} has xts.market_keys = {}", account.name, account.xts.market_keys)
            } else if several {
                format!("the account {} logs in with it", account.name)
            } else {
                "broker.kind = \"xts\" logs in with it".to_owned()
            };
            needs(&numbered(MARKET_APP_KEY, key), &why);
            needs(&numbered(MARKET_SECRET_KEY, key), &why);
        }
        if key == 1 && account.xts.interactive && credentials.interactive.is_none() {
            let why = if several {
                format!("the account {} needs it unless its xts.interactive = false", account.name)
            } else {
                "needed unless broker.xts.interactive = false".to_owned()
            };
            needs(INTERACTIVE_APP_KEY, &why);
            needs(INTERACTIVE_SECRET_KEY, &why);
        }
        for &(earlier, their_key, theirs) in &real[..position] {
            if site(earlier) != site(account) {
                continue;
            }
            let both_trade = key == 1 && their_key == 1 && account.xts.interactive && earlier.xts.interactive;
            for (secret, used, ours, theirs) in [
                (numbered(MARKET_APP_KEY, key), true, &credentials.market, &theirs.market),
                (INTERACTIVE_APP_KEY.to_owned(), both_trade, &credentials.interactive, &theirs.interactive),
            ] {
                if used && same_key(ours.as_ref(), theirs.as_ref()) {
                    // XTS keeps one session per app key (Symphony's API documentation; seen live).
                    let whose = if earlier.name == account.name {
                        format!("is the app key in {} too", naming.main(&numbered(MARKET_APP_KEY, their_key)))
                    } else {
                        format!("is the app key of the account {} too", earlier.name)
                    };
                    let what = format!("{whose}; each login would end the other's session");
                    found.push(wrong(&naming.main(&secret), what));
                }
            }
        }
    }
    found
}

fn site(account: &Account) -> &str {
    account.xts.base_url.trim_end_matches('/')
}

fn same_key(one: Option<&AppKey>, other: Option<&AppKey>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one.key.expose() == other.key.expose())
}
