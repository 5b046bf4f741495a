//! Checks what no type can: ranges, and settings that must agree with each other.

use super::problem::Problem;
use super::secrets::{
    INTERACTIVE_APP_KEY, INTERACTIVE_SECRET_KEY, MARKET_APP_KEY, MARKET_SECRET_KEY, Secrets, wrong,
};
use super::{BrokerKind, Config};

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
    let account = &config.broker.account;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    // It becomes part of file names, store keys and metric labels.
    if account.is_empty() || account.len() > 64 || account.starts_with('.') || !account.chars().all(plain) {
        add(
            "broker.account",
            "must have 1 to 64 of the characters a-z, A-Z, 0-9, '-', '_', '.', and no '.' first",
        );
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

    let replay = &config.sim.replay_file;
    if !replay.as_os_str().is_empty() && !replay.is_file() {
        add("sim.replay_file", &format!("there is no file {}", replay.display()));
    }
    if config.broker.kind == BrokerKind::Xts {
        let ca = &config.broker.xts.ca_file;
        if !ca.as_os_str().is_empty() && !ca.is_file() {
            add("broker.xts.ca_file", &format!("there is no file {}", ca.display()));
        }
    }

    let mut of_table = |table: &str, problems: Vec<(&'static str, String)>| {
        found.extend(problems.into_iter().map(|(key, message)| (vec![format!("{table}.{key}")], message)));
    };
    of_table("broker.xts", config.broker.xts.problems());
    of_table("sim", config.sim.problems());
    let gateway = config.gateway.problems().into_iter();
    of_table("gateway", gateway.map(|(key, message)| (key, message.to_string())).collect());
    found.extend(clashes);
    found
}

fn shown(address: &impl ToString) -> String {
    address.to_string()
}

/// The port of `host:port`.
fn port(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    if host.is_empty() || host.contains(char::is_whitespace) { None } else { port.parse().ok() }
}

/// The secrets that the configured broker needs and that are not there.
pub(super) fn secrets(config: &Config, secrets: &Secrets) -> Vec<Problem> {
    if config.broker.kind == BrokerKind::Sim {
        return Vec::new();
    }
    let mut missing = Vec::new();
    let mut needs = |variable: &str, why: &str| {
        missing.push(wrong(variable, format!("is not set (nor {variable}_FILE); {why}")));
    };
    if secrets.xts.market.is_none() {
        let why = "broker.kind = \"xts\" logs in with it";
        needs(MARKET_APP_KEY, why);
        needs(MARKET_SECRET_KEY, why);
    }
    if config.broker.xts.interactive && secrets.xts.interactive.is_none() {
        let why = "needed unless broker.xts.interactive = false";
        needs(INTERACTIVE_APP_KEY, why);
        needs(INTERACTIVE_SECRET_KEY, why);
    }
    missing
}
