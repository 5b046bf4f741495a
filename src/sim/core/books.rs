//! What an interactive session reads: profile, funds, books.

use super::Core;
use crate::sim::answers::Answer;

impl Core {
    /// The name of a call below the interactive prefix, `None` if there is no such.
    pub(crate) fn interactive_call(path: &str) -> Option<&'static str> {
        Some(match path {
            "user/profile" => "profile",
            "user/balance" => "balance",
            "orders" | "orders/dealerorderbook" => "orders",
            "orders/trades" | "orders/dealertradebook" => "trades",
            "portfolio/positions" | "portfolio/dealerpositions" => "positions",
            "portfolio/holdings" => "holdings",
            _ => return None,
        })
    }

    /// The answer to a call of [`Self::interactive_call`]; the token was checked.
    pub(crate) fn interactive_get(&mut self, account: usize, path: &str) -> Answer {
        let user = &self.accounts[account].demo.user;
        match path {
            "user/profile" => Answer::profile(user),
            "user/balance" => Answer::balance(user),
            _ => Answer::empty_book(path, user).unwrap_or_else(|| Answer::bad_request("no such book")),
        }
    }
}
