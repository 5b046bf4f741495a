//! Puts the file and the environment together and reads settings out of them.
//! Knows no setting by name; which exist, the settings' type tells.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use super::env::{Env, PREFIX};
use super::keys;
use super::problem::{Place, Problem};
use super::reader;
use super::secrets;
use super::tree::Node;

/// A key of the top level that is read apart from the settings, and only from the file.
pub(super) struct Apart {
    pub(super) key: &'static str,
    /// What to say to a variable of its name.
    pub(super) no_variable: &'static str,
}

/// The settings as far as they could be read, what was wrong, and where each key was set.
pub(super) struct Assembled<T> {
    pub(super) settings: Option<T>,
    pub(super) problems: Vec<Problem>,
    /// Everything that was set.
    pub(super) tree: Node,
    /// Of this, what the settings were read from.
    pub(super) accepted: Node,
    /// What stood under the key that is read apart.
    pub(super) apart: Option<Node>,
}

/// Reads `file` (text and name), lays `env` over it, reads a `T` out of the result.
pub(super) fn assemble<T: DeserializeOwned>(
    file: Option<(&str, &str)>,
    env: &dyn Env,
    apart: &Apart,
) -> Assembled<T> {
    let known = keys::of::<T>();
    let (mut tree, mut problems) =
        file.map_or_else(|| (Node::empty(), Vec::new()), |(text, name)| Node::parse(text, name));
    overlay(&mut tree, env, &known, apart, &mut problems);
    let taken = tree.take(apart.key);
    let mut accepted = tree.clone();
    let named = known.iter().cloned().chain([apart.key.to_owned()]).collect();
    let (settings, wrong) = reader::read(&mut accepted, |key| explain(key, &named));
    problems.extend(wrong);
    Assembled { settings, problems, tree, accepted, apart: taken }
}

fn overlay(
    tree: &mut Node,
    env: &dyn Env,
    known: &BTreeSet<String>,
    apart: &Apart,
    problems: &mut Vec<Problem>,
) {
    for variable in env.ours() {
        let (name, text) = match variable {
            Ok(variable) => variable,
            Err(name) => {
                problems.push(problem(name, String::new(), "is no text (UTF-8)".to_owned()));
                continue;
            }
        };
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let key = rest.replace("__", ".").to_lowercase();
        if known.contains(&key) {
            tree.set(&key, &name, text);
        } else if key.split('.').next() == Some(apart.key) {
            problems.push(problem(name, key, apart.no_variable.to_owned()));
        } else if rest.contains("__") && !secrets::is_variable(&name) {
            // Without the double underscore it may be anything: a key for `tail`, a secret, another program's.
            let message = explain(&key, known);
            problems.push(problem(name, key, message));
        }
    }
}

fn problem(variable: String, key: String, message: String) -> Problem {
    Problem { place: Place::Variable(variable), key, message }
}

/// What to say of a key that does not exist.
pub(super) fn explain(key: &str, known: &BTreeSet<String>) -> String {
    if let Some(hint) = secrets::hint(key, None) {
        return hint;
    }
    let table = format!("{key}.");
    if known.iter().any(|k| k.starts_with(&table)) {
        return "is a table; set the keys in it".to_owned();
    }
    match keys::nearest(key, known) {
        Some(meant) => format!("unknown key; did you mean {meant}?"),
        None => "unknown key".to_owned(),
    }
}
