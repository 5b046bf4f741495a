//! `tickgate check-config`: every problem of a configuration at once.

use std::path::Path;

use super::{SUCCESS, USAGE, print, say};
use crate::config::{self, ProcessEnv};

pub(super) fn run(path: Option<&Path>) -> u8 {
    match config::load(path, &ProcessEnv) {
        Ok(loaded) => {
            say(&format!("{}: no problems ({})", loaded.source, loaded.config.upstream()));
            SUCCESS
        }
        Err(problems) => {
            // What was asked for, so to standard output.
            print(&problems.to_string());
            USAGE
        }
    }
}
