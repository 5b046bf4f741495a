//! The environment as the configuration sees it. A trait, so that tests pass a map.

use std::collections::BTreeMap;

/// The prefix of every variable of ours.
pub const PREFIX: &str = "TICKGATE_";

/// Variables by name.
pub trait Env {
    /// The variables that begin with [`PREFIX`]; `Err` holds the name of one that is no text.
    fn ours(&self) -> Vec<Result<(String, String), String>>;

    /// One variable by its full name, if it is set and is text.
    fn get(&self, name: &str) -> Option<String> {
        self.ours().into_iter().flatten().find_map(|(found, value)| (found == name).then_some(value))
    }
}

/// The process's own environment.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    fn ours(&self) -> Vec<Result<(String, String), String>> {
        std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
                Some(match value.into_string() {
                    Ok(value) => Ok((name, value)),
                    Err(_) => Err(name),
                })
            })
            .collect()
    }

    // Not by way of `ours`, which copies every other secret along.
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

impl Env for BTreeMap<String, String> {
    fn ours(&self) -> Vec<Result<(String, String), String>> {
        self.iter()
            .filter(|(name, _)| name.starts_with(PREFIX))
            .map(|(n, v)| Ok((n.clone(), v.clone())))
            .collect()
    }
}
