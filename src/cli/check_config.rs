//! `tickgate check-config`: every problem of a configuration at once.

use std::path::Path;

use super::{SUCCESS, USAGE, print, say};
use crate::config::{self, Loaded, ProcessEnv};
use crate::gateway::auth;
use crate::store::{self, private};
use crate::token::cipher;

pub(super) fn run(path: Option<&Path>) -> u8 {
    match config::load(path, &ProcessEnv) {
        Ok(loaded) => {
            let unfit = unfit_files(&loaded);
            if unfit.is_empty() {
                say(&format!("{}: no problems ({})", loaded.source, loaded.config.upstream()));
                return SUCCESS;
            }
            for problem in unfit {
                print(&problem.to_string());
            }
            USAGE
        }
        Err(problems) => {
            // What was asked for, so to standard output.
            print(&problems.to_string());
            USAGE
        }
    }
}

/// The secret files in the data directory that would keep the server from starting.
fn unfit_files(loaded: &Loaded) -> Vec<store::Error> {
    let data_dir = &loaded.config.data_dir;
    let fernet = loaded.secrets.fernet_key.is_none().then(|| data_dir.join(cipher::KEY_FILE));
    let files = fernet.into_iter().chain([auth::local_path(data_dir)]);
    files.filter_map(|path| private::read(&path).err()).collect()
}
