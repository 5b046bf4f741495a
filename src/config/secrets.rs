//! Reads secrets from the environment or from files named there. They never stand in the TOML.

use std::path::Path;

use zeroize::Zeroizing;

use super::env::Env;
use super::problem::{Place, Problem, Problems};
use crate::broker::xts::{AppKey, Credentials};
use crate::secret::{Secret, file};

pub(super) const MARKET_APP_KEY: &str = "TICKGATE_XTS_MARKET_APP_KEY";
pub(super) const MARKET_SECRET_KEY: &str = "TICKGATE_XTS_MARKET_SECRET_KEY";
pub(super) const INTERACTIVE_APP_KEY: &str = "TICKGATE_XTS_INTERACTIVE_APP_KEY";
pub(super) const INTERACTIVE_SECRET_KEY: &str = "TICKGATE_XTS_INTERACTIVE_SECRET_KEY";
pub(super) const ACCESS_TOKEN: &str = "TICKGATE_XTS_ACCESS_TOKEN";
pub(super) const FERNET_KEY: &str = "TICKGATE_FERNET_KEY";

/// Every secret there is.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// For the broker's logins.
    pub xts: Credentials,
    /// One key, or several separated by commas; `None`: the data directory's own.
    pub fernet_key: Option<Secret>,
}

impl Secrets {
    /// Reads them all anew, for a process that goes on running: what stands in a file may be another secret by
    /// now. Absence is no problem here.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn reread(env: &dyn Env) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let secrets = read(env, &mut problems);
        Problems::none_or(problems)?;
        Ok(secrets)
    }

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
pub(super) fn read(env: &dyn Env, problems: &mut Vec<Problem>) -> Secrets {
    let xts = Credentials {
        market: pair(env, MARKET_APP_KEY, MARKET_SECRET_KEY, problems),
        interactive: pair(env, INTERACTIVE_APP_KEY, INTERACTIVE_SECRET_KEY, problems),
        access_token: one(env, ACCESS_TOKEN, problems),
    };
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

fn pair(env: &dyn Env, key: &str, secret: &str, problems: &mut Vec<Problem>) -> Option<AppKey> {
    let before = problems.len();
    match (one(env, key, problems), one(env, secret, problems)) {
        (Some(key), Some(secret)) => Some(AppKey { key, secret }),
        (None, None) => None,
        // The missing half may be missing because its file is: that is said already.
        _ if problems.len() > before => None,
        (Some(_), None) => {
            problems.push(wrong(secret, format!("is not set, but {key} is")));
            None
        }
        (None, Some(_)) => {
            problems.push(wrong(key, format!("is not set, but {secret} is")));
            None
        }
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

/// For a key that looks like somebody's secret: where it belongs.
pub(super) fn hint(key: &str) -> Option<String> {
    let name = key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    let joined = name.replace(['_', '-'], "");
    let named = |parts: &[&str]| parts.iter().any(|part| joined.contains(part));
    if !named(&["secret", "password", "appkey", "apikey", "accesstoken", "fernet", "credential"]) {
        return None;
    }
    let variables: &[&str] = if named(&["fernet"]) {
        &[FERNET_KEY]
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
    let variables = variables.join(" or ");
    Some(format!(
        "secrets never stand in the configuration; put it into the environment as {variables} \
         (or name a file in the variable of the same name with _FILE)"
    ))
}
