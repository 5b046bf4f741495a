//! Composes each module's settings from file and environment, and reports every problem at once.
//! Holds no setting's meaning; that is the module's that owns it.

mod accounts;
mod check;
mod env;
mod keys;
mod overlay;
mod problem;
mod reader;
mod secrets;
mod special_days;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use accounts::Account;
pub use env::{Env, PREFIX, ProcessEnv};
pub use problem::{Place, Problem, Problems};
pub use secrets::Secrets;

use crate::broker::xts::{self, Credentials, Profile};
use crate::gateway;
use crate::market::calendar::SpecialDay;
use crate::session;
use crate::sim;
use crate::telemetry;

/// The file that is read if no other is named and this one exists.
pub const DEFAULT_FILE: &str = "config.toml";

/// Every setting, none of them a secret.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the store, its keys and `run.json` live.
    pub data_dir: PathBuf,
    /// The upstream: the one account's, or what the several have in common.
    pub broker: BrokerSettings,
    /// The accounts, at least one: those of the list, else the one that `broker` describes.
    #[serde(skip)]
    pub accounts: Vec<Account>,
    /// The simulated broker.
    pub sim: sim::Settings,
    /// Logins and the feed.
    pub session: session::Settings,
    /// Whether and which orders may be sent.
    pub orders: session::OrderSettings,
    /// Both consumer-facing ports.
    pub gateway: gateway::Settings,
    /// Logging.
    pub log: telemetry::log::Settings,
    /// What `session.calendar_file` says.
    #[serde(skip)]
    pub special_days: Vec<SpecialDay>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            broker: BrokerSettings::default(),
            accounts: vec![Account::default()],
            sim: sim::Settings::default(),
            session: session::Settings::default(),
            orders: session::OrderSettings::default(),
            gateway: gateway::Settings::default(),
            log: telemetry::log::Settings::default(),
            special_days: Vec::new(),
        }
    }
}

impl Config {
    /// The kind that all accounts are of.
    pub fn kind(&self) -> BrokerKind {
        self.accounts.first().map_or(self.broker.kind, |account| account.kind)
    }

    /// Which accounts, and where: one line for people.
    pub fn upstream(&self) -> String {
        accounts::line(self.kind(), &self.accounts)
    }

    /// Whether every market counts as open at any hour.
    pub fn always_open(&self) -> bool {
        self.kind() == BrokerKind::Sim && self.sim.hours == sim::Hours::Always
    }

    /// The embedded simulator's settings: it has at least a demo account for each of ours.
    pub fn simulator(&self) -> sim::Settings {
        let needed = if self.kind() == BrokerKind::Sim { self.accounts.len() } else { 0 };
        sim::Settings { accounts: self.sim.accounts.max(needed), ..self.sim.clone() }
    }

    /// Reads the secrets of an account's session anew (`key` as in [`Account::keys`]): files may have changed
    /// while the process runs.
    ///
    /// # Errors
    /// Halves of a pair, and files that cannot be read.
    pub fn credentials(&self, account: &str, key: usize, env: &dyn Env) -> Result<Credentials, Problems> {
        let mut problems = Vec::new();
        let naming = secrets::Naming::of(account, &self.accounts);
        let credentials = secrets::credentials(env, &naming, key, &mut problems);
        Problems::none_or(problems)?;
        Ok(credentials)
    }

    /// The variable that an account's access token is looked for in, to tell people.
    pub fn access_token_variable(&self, account: &str) -> String {
        secrets::Naming::of(account, &self.accounts).main(secrets::ACCESS_TOKEN)
    }
}

/// Which broker, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerSettings {
    /// Which adapter.
    pub kind: BrokerKind,
    /// The account's name in the store, in status and in metrics.
    pub account: String,
    /// What the adapter's keys are filled in from where they are not set.
    #[serde(deserialize_with = "xts::profiles::by_name")]
    pub profile: Option<&'static Profile>,
    /// The XTS adapter; of no account with the simulated broker. As set: a profile fills in the accounts'.
    pub xts: xts::Settings,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self {
            kind: BrokerKind::Sim,
            account: "default".to_owned(),
            profile: None,
            xts: xts::Settings::default(),
        }
    }
}

/// The kinds of broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BrokerKind {
    /// The simulated XTS broker inside this process.
    Sim,
    /// A broker that runs XTS.
    Xts,
}

impl BrokerKind {
    /// The broker's name as consumers and status pages see it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Xts => "xts",
        }
    }
}

/// A configuration that was read and found good.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The secrets.
    pub secrets: Secrets,
    /// Where the settings came from, the environment aside.
    pub source: Source,
}

/// Where settings came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This file.
    File(PathBuf),
    /// There was none.
    Defaults,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Defaults => f.write_str("built-in defaults"),
        }
    }
}

/// Who reads the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// A process that logs in at the broker: it needs the secrets.
    Server,
    /// A command beside the server, in a shell that need not hold the broker's secrets.
    Client,
}

/// Reads the configuration for a server: `path`, else `./config.toml` if it exists, else the built-in defaults,
/// with the environment laid over it.
///
/// # Errors
/// Everything that is wrong with it, the secrets that the broker needs included.
pub fn load(path: Option<&Path>, env: &dyn Env) -> Result<Loaded, Problems> {
    load_for(Reader::Server, path, env)
}

/// Reads it for a command that talks to a server or looks at its data directory (`tail`, `key`, `token`): the
/// broker's secrets may be absent.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_for_client(path: Option<&Path>, env: &dyn Env) -> Result<Loaded, Problems> {
    load_for(Reader::Client, path, env)
}

fn load_for(reader: Reader, path: Option<&Path>, env: &dyn Env) -> Result<Loaded, Problems> {
    let (file, named) = (path.unwrap_or(Path::new(DEFAULT_FILE)), path.is_some());
    let name = file.display().to_string();
    match fs::read_to_string(file) {
        Ok(text) => {
            let (config, secrets) = compose(reader, Some((&text, &name)), env)?;
            Ok(Loaded { config, secrets, source: Source::File(file.to_owned()) })
        }
        Err(error) if !named && error.kind() == io::ErrorKind::NotFound => {
            let (config, secrets) = compose(reader, None, env)?;
            Ok(Loaded { config, secrets, source: Source::Defaults })
        }
        Err(error) => {
            let message = format!("cannot be read: {error}");
            Err(Problems(vec![Problem { place: Place::File(name), key: String::new(), message }]))
        }
    }
}

/// Does all of it but the reading of the file (text and name).
fn compose(reader: Reader, file: Option<(&str, &str)>, env: &dyn Env) -> Result<(Config, Secrets), Problems> {
    let overlay::Assembled { settings, mut problems, tree, accepted, apart } =
        overlay::assemble::<Config>(file, env, &accounts::APART);
    let mut config = settings.unwrap_or_default();
    let read = accounts::read(apart, &accepted, &config.broker, &mut problems);
    let mut all_named = read.iter().all(Option::is_some);
    let placed: Vec<_> = read.into_iter().flatten().collect();
    all_named &= accounts::check(&placed, &config.broker, &tree, &mut problems);
    config.accounts = placed.into_iter().map(|placed| placed.account).collect();

    let mut of_secrets = Vec::new();
    let secrets = secrets::read(env, &config.accounts, &mut of_secrets);
    if reader == Reader::Client {
        // A file of the broker's secrets that only the server's user can read is no concern of `tail`.
        of_secrets.retain(|problem| problem.place.is_variable_of(secrets::FERNET_KEY));
    }
    let of_tls = (reader == Reader::Server).then(|| check::tls(&config)).flatten();
    let mut of_values = check::values(&config);
    match special_days::read(&config.session.calendar_file) {
        Ok(days) => config.special_days = days,
        Err(found) => {
            let of_file = |message| (vec!["session.calendar_file".to_owned()], message);
            of_values.extend(found.into_iter().map(of_file));
        }
    }
    for (keys, message) in of_values.into_iter().chain(of_tls) {
        // A key that could not be read has its default now; one complaint about it is enough.
        if problems.iter().any(|problem| keys.contains(&problem.key)) {
            continue;
        }
        let mut places = keys.into_iter().map(|key| (tree.place_of(&key), key));
        let Some(first) = places.next() else { continue };
        let (place, key) = if first.0 == Place::Unset {
            places.find(|(place, _)| *place != Place::Unset).unwrap_or(first)
        } else {
            first
        };
        problems.push(Problem { place, key, message });
    }
    // Whose a secret is, cannot be told while an account's name is in doubt.
    if reader == Reader::Server && all_named {
        if of_secrets.is_empty() {
            of_secrets = check::secrets(&config.accounts, &secrets);
        }
        of_secrets.extend(secrets::stray(env, &config.accounts, config.kind() == BrokerKind::Xts));
    }
    problems.extend(of_secrets);
    Problems::none_or(problems)?;
    Ok((config, secrets))
}
