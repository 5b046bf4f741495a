//! What an interactive session reads: profile, funds, books.

use super::Core;
use crate::sim::answers::Answer;

impl Core {
    /// Whether there is such a call at all, below the interactive prefix.
    pub(crate) fn is_interactive_get(path: &str) -> bool {
        matches!(path, "user/profile" | "user/balance") || Answer::empty_book(path, "").is_some()
    }

    /// The answer to a call of [`Self::is_interactive_get`]; the token was checked.
    pub(crate) fn interactive_get(&mut self, account: usize, path: &str) -> Answer {
        let user = &self.accounts[account].demo.user;
        match path {
            "user/profile" => Answer::profile(user),
            "user/balance" => Answer::balance(user),
            _ => Answer::empty_book(path, user).unwrap_or_else(|| Answer::bad_request("no such book")),
        }
    }
}
