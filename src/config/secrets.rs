//! Reads secrets from the environment or from files named there. They never stand in the TOML.

use std::collections::BTreeMap;
use std::path::Path;

use zeroize::Zeroizing;

use super::accounts::{self, Account};
use super::env::{Env, PREFIX};
use super::problem::{Place, Problem, Problems};
use crate::broker::xts::{self, AppKey, Credentials};
use crate::secret::{Secret, file};

// What the variables of an account's secrets end with.
pub(super) const MARKET_APP_KEY: &str = "XTS_MARKET_APP_KEY";
pub(super) const MARKET_SECRET_KEY: &str = "XTS_MARKET_SECRET_KEY";
pub(super) const INTERACTIVE_APP_KEY: &str = "XTS_INTERACTIVE_APP_KEY";
pub(super) const INTERACTIVE_SECRET_KEY: &str = "XTS_INTERACTIVE_SECRET_KEY";
pub(super) const ACCESS_TOKEN: &str = "XTS_ACCESS_TOKEN";
const OF_ACCOUNT: [&str; 5] =
    [MARKET_APP_KEY, MARKET_SECRET_KEY, INTERACTIVE_APP_KEY, INTERACTIVE_SECRET_KEY, ACCESS_TOKEN];

pub(super) const FERNET_KEY: &str = "TICKGATE_FERNET_KEY";

/// Whose the variables without an account's name are.
const UNNAMED: &str = "DEFAULT";

/// Every secret there is.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// For the broker's logins, by the session's name: [`Account::session`].
    pub xts: BTreeMap<String, Credentials>,
    /// One key, or several separated by commas; `None`: the data directory's own.
    pub fernet_key: Option<Secret>,
}

/// How the variables with one account's secrets are called.
#[derive(Debug)]
pub(super) struct Naming {
    part: String,
    /// Whether names without the account's part are this account's too.
    short: bool,
}

impl Naming {
    /// `accounts` are all there are: an only one need not be named.
    pub(super) fn of(account: &str, accounts: &[Account]) -> Self {
        let part = accounts::variable_part(account);
        let short = part == UNNAMED || accounts.len() == 1;
        Self { part, short }
    }

    /// The name to tell people.
    pub(super) fn main(&self, secret: &str) -> String {
        if self.part == UNNAMED { short_name(secret) } else { self.own(secret) }
    }

    /// The other name that would do, if there is one worth telling.
    pub(super) fn other(&self, secret: &str) -> Option<String> {
        (self.short && self.part != UNNAMED).then(|| short_name(secret))
    }

    fn own(&self, secret: &str) -> String {
        format!("{PREFIX}{}_{secret}", self.part)
    }
}

/// The variable without an account's part.
fn short_name(secret: &str) -> String {
    format!("{PREFIX}{secret}")
}

/// What the variables of a market-data app key's secrets end with.
pub(super) fn numbered(secret: &str, key: usize) -> String {
    if key == 1 { secret.to_owned() } else { format!("{secret}_{key}") }
}

/// The name of a secret's variable, or of the one that names its file, in parts.
struct Parts<'a> {
    /// The account's; empty for a short name.
    account: &'a str,
    /// What it ends with, the number aside.
    secret: &'static str,
    /// The number of a market-data app key as it stands there.
    number: Option<&'a str>,
}

/// `None` for a variable of another kind.
fn parts_of(variable: &str) -> Option<Parts<'_>> {
    let rest = variable.strip_prefix(PREFIX)?;
    let rest = rest.strip_suffix("_FILE").unwrap_or(rest);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbered = rest.rsplit_once('_').filter(|(_, last)| is_number(last));
    let (whole, secrets, number) = match numbered {
        Some((head, number)) => (head, &[MARKET_APP_KEY, MARKET_SECRET_KEY][..], Some(number)),
        None => (rest, &OF_ACCOUNT[..], None),
    };
    let (length, secret) =
        secrets.iter().find_map(|secret| Some((whole.strip_suffix(secret)?.len(), *secret)))?;
    let account = match &rest[..length] {
        "" => "",
        part => part.strip_suffix('_').filter(|part| !part.is_empty())?,
    };
    Some(Parts { account, secret, number })
}

/// Whether a variable has the name of some account's secret.
pub(super) fn is_variable(name: &str) -> bool {
    parts_of(name).is_some()
}

impl Secrets {
    /// Reads the Fernet keys alone anew.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn reread_fernet_key(env: &dyn Env) -> Result<Option<Secret>, Problems> {
        let mut problems = Vec::new();
        let keys = fernet_key(env, &mut problems);
        Problems::none_or(problems)?;
        Ok(keys)
    }
}

/// Reads them all. Halves of a pair and unreadable files are problems; absence is not.
pub(super) fn read(env: &dyn Env, accounts: &[Account], problems: &mut Vec<Problem>) -> Secrets {
    let mut xts = BTreeMap::new();
    for account in accounts {
        let naming = Naming::of(&account.name, accounts);
        for key in account.keys() {
            xts.insert(account.session(key), credentials(env, &naming, key, problems));
        }
    }
    let fernet_key = fernet_key(env, problems);
    Secrets { xts, fernet_key }
}

fn fernet_key(env: &dyn Env, problems: &mut Vec<Problem>) -> Option<Secret> {
    let fernet_key = one(env, FERNET_KEY, problems);
    if let Some(keys) = &fernet_key {
        let mut number = 0;
        for key in keys.expose().split([',', '\n']).map(str::trim).filter(|key| !key.is_empty()) {
            number += 1;
            if fernet::Fernet::new(key).is_none() {
                let what = format!("key {number} is not a Fernet key (32 bytes in url-safe base64)");
                problems.push(wrong(FERNET_KEY, what));
            }
        }
        if number == 0 {
            problems.push(wrong(FERNET_KEY, "holds no key".to_owned()));
        }
    }
    fernet_key
}

/// The secrets of an account's session. Only the first has the interactive product.
pub(super) fn credentials(
    env: &dyn Env,
    naming: &Naming,
    key: usize,
    problems: &mut Vec<Problem>,
) -> Credentials {
    if key > 1 {
        let (app_key, secret) = (numbered(MARKET_APP_KEY, key), numbered(MARKET_SECRET_KEY, key));
        let market = pair(env, naming, &app_key, &secret, problems);
        return Credentials { market, ..Credentials::default() };
    }
    Credentials {
        market: pair(env, naming, MARKET_APP_KEY, MARKET_SECRET_KEY, problems),
        interactive: pair(env, naming, INTERACTIVE_APP_KEY, INTERACTIVE_SECRET_KEY, problems),
        access_token: either(env, naming, ACCESS_TOKEN, problems).map(|(_, token)| token),
    }
}

/// Variables that are set and named like an account's secret, but are no account's. Short names are somebody's
/// or nobody's only where the broker is a real one (`real`): the simulated one takes no secrets.
pub(super) fn stray(env: &dyn Env, accounts: &[Account], real: bool) -> Vec<Problem> {
    let short = |account: &&Account| Naming::of(&account.name, accounts).short;
    let taken: Vec<_> = accounts.iter().map(|account| accounts::variable_part(&account.name)).collect();
    let named: Vec<_> = accounts.iter().map(|account| account.name.as_str()).collect();
    let named = match &named[..] {
        [only] => format!("the only account is {only}"),
        several => format!("the accounts are {}", several.join(", ")),
    };
    let variables = env.ours().into_iter().flatten().filter(|(_, text)| !text.trim().is_empty());
    let complaint = |(name, _): (String, String)| {
        let parts = parts_of(&name)?;
        match parts.account {
            "" if !real => None,
            "" if accounts.iter().any(|account| short(&account)) => {
                beyond(&name, &parts, accounts.iter().find(short)?)
            }
            "" => {
                let secret = name.strip_prefix(PREFIX).unwrap_or(&name);
                let whole: Vec<_> = taken.iter().map(|part| format!("{PREFIX}{part}_{secret}")).collect();
                let what = format!(
                    "without a name it is the account default's, and there is none; say whose it is: {}",
                    whole.join(" or ")
                );
                Some(wrong(&name, what))
            }
            part => match taken.iter().position(|taken| taken == part) {
                Some(at) if real => beyond(&name, &parts, &accounts[at]),
                Some(_) => None,
                None => Some(wrong(
                    &name,
                    format!("there is no account with the variables {PREFIX}{part}_…; {named}"),
                )),
            },
        }
    };
    variables.filter_map(complaint).collect()
}

/// What is wrong with the number in the name of an account's variable.
fn beyond(name: &str, parts: &Parts<'_>, account: &Account) -> Option<Problem> {
    let text = parts.number?;
    let keys = account.keys().count();
    let number: usize = text.parse().unwrap_or(usize::MAX);
    if text.starts_with('0') || number < 2 {
        return Some(wrong(name, format!("the first key is called …{} without a number", parts.secret)));
    }
    let so_many = if keys == 1 { "one key".to_owned() } else { format!("{keys} keys") };
    (number > keys).then(|| {
        let what = format!(
            "is set, but the account {} has {so_many} for market data; xts.market_keys says how many (at most {})",
            account.name,
            xts::MAX_MARKET_KEYS
        );
        wrong(name, what)
    })
}

fn pair(
    env: &dyn Env,
    naming: &Naming,
    key: &str,
    secret: &str,
    problems: &mut Vec<Problem>,
) -> Option<AppKey> {
    let before = problems.len();
    match (either(env, naming, key, problems), either(env, naming, secret, problems)) {
        (Some((_, key)), Some((_, secret))) => Some(AppKey { key, secret }),
        (None, None) => None,
        // The missing half may be missing because its file is: that is said already.
        _ if problems.len() > before => None,
        (Some((there, _)), None) => {
            problems.push(half(&there, key, secret));
            None
        }
        (None, Some((there, _))) => {
            problems.push(half(&there, secret, key));
            None
        }
    }
}

/// `there` is set, whose name ends with `found`; the same name with `missing` is not.
fn half(there: &str, found: &str, missing: &str) -> Problem {
    let name = format!("{}{missing}", there.strip_suffix(found).unwrap_or(PREFIX));
    wrong(&name, format!("is not set, but {there} is"))
}

/// A secret of an account with the name of its variable: the account's own or, if that is the account's too, the
/// short one.
fn either(
    env: &dyn Env,
    naming: &Naming,
    secret: &str,
    problems: &mut Vec<Problem>,
) -> Option<(String, Secret)> {
    let (own, short) = (naming.own(secret), short_name(secret));
    let with_name = one(env, &own, problems);
    let without = if naming.short { one(env, &short, problems) } else { None };
    match (with_name, without) {
        (Some(_), Some(_)) => {
            problems
                .push(wrong(&own, format!("is set, and {short} too, which is the same; set one of them")));
            None
        }
        (Some(found), None) => Some((own, found)),
        (None, found) => Some((short, found?)),
    }
}

/// The secret in variable `name`, or in the file that its `_FILE` twin names. An empty variable counts as not
/// set, since that is how compose files and unit files leave one out.
fn one(env: &dyn Env, name: &str, problems: &mut Vec<Problem>) -> Option<Secret> {
    let twin = format!("{name}_FILE");
    let direct = env.get(name).filter(|text| !text.trim().is_empty());
    let file = env.get(&twin).filter(|path| !path.trim().is_empty());
    match (direct, file) {
        (None, None) => None,
        (Some(_), Some(_)) => {
            problems.push(wrong(name, format!("is set, and {twin} too; set one of them")));
            None
        }
        (Some(text), None) => Some(Secret::new(Zeroizing::new(text).trim())),
        (None, Some(path)) => match from_file(&path) {
            Ok(secret) => Some(secret),
            Err(message) => {
                problems.push(wrong(&twin, message));
                None
            }
        },
    }
}

/// The secret in a file that only its owner may use.
fn from_file(path: &str) -> Result<Secret, String> {
    match file::read(Path::new(path)) {
        Ok(Some(text)) if text.trim().is_empty() => Err(format!("{path} is empty")),
        Ok(Some(text)) => Ok(Secret::new(text.trim())),
        Ok(None) => Err(format!("there is no file {path}")),
        Err(file::Error::Io(error)) => Err(format!("cannot read {path}: {error}")),
        Err(error @ file::Error::Exposed { .. }) => Err(format!("{path} {error}; run: chmod 600 {path}")),
        Err(error @ file::Error::Unfit(_)) => Err(format!("{path} {error}")),
    }
}

pub(super) fn wrong(variable: &str, message: String) -> Problem {
    Problem { place: Place::Variable(variable.to_owned()), key: String::new(), message }
}

/// For a key that looks like somebody's secret: where it belongs. `account` is the one whose entry it stands in.
pub(super) fn hint(key: &str, account: Option<&str>) -> Option<String> {
    let name = key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    let joined = name.replace(['_', '-'], "");
    let named = |parts: &[&str]| parts.iter().any(|part| joined.contains(part));
    if !named(&["secret", "password", "appkey", "apikey", "accesstoken", "fernet", "credential"]) {
        return None;
    }
    let secrets: &[&str] = if named(&["fernet"]) {
        &[]
    } else if named(&["accesstoken"]) {
        &[ACCESS_TOKEN]
    } else if named(&["appkey", "apikey"]) {
        if named(&["interactive"]) {
            &[INTERACTIVE_APP_KEY]
        } else if named(&["market"]) {
            &[MARKET_APP_KEY]
        } else {
            &[MARKET_APP_KEY, INTERACTIVE_APP_KEY]
        }
    } else if named(&["interactive"]) {
        &[INTERACTIVE_SECRET_KEY]
    } else if named(&["market"]) {
        &[MARKET_SECRET_KEY]
    } else {
        &[MARKET_SECRET_KEY, INTERACTIVE_SECRET_KEY]
    };
    let part = accounts::variable_part(account.unwrap_or(UNNAMED));
    let naming = Naming { part, short: false };
    let variables = match secrets {
        [] => FERNET_KEY.to_owned(),
        secrets => secrets.iter().map(|secret| naming.main(secret)).collect::<Vec<_>>().join(" or "),
    };
    Some(format!(
        "secrets never stand in the configuration; put it into the environment as {variables} \
         (or name a file in the variable of the same name with _FILE)"
    ))
}
