//! What happened with logins and tokens, for tests to judge a client by: every login, every
//! request with a token that is no good, and how many logins were in flight at once. Bounded.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::Core;
use crate::clock::UnixNanos;
use crate::sim::sessions::{PerProduct, Product};

/// Entries of each list; the oldest go.
const MAX_ENTRIES: usize = 2_000;

/// What became of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Granted,
    /// Refused for what it brought.
    Refused,
    /// Turned away by a fault or because the broker is away.
    Failed,
}

impl Outcome {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadToken {
    /// There was none.
    Missing,
    /// None that this broker gave for the product.
    Foreign,
    /// One whose session has ended.
    Dead,
}

impl BadToken {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Foreign => "foreign",
            Self::Dead => "dead",
        }
    }
}

#[derive(Debug)]
struct LoginEntry {
    number: u64,
    account: Option<usize>,
    product: Product,
    arrived: UnixNanos,
    answered: Option<UnixNanos>,
    outcome: Option<Outcome>,
    fault: Option<&'static str>,
}

#[derive(Debug)]
struct Refusal {
    account: Option<usize>,
    product: Product,
    at: UnixNanos,
    call: &'static str,
    token: BadToken,
    /// Whether the call was refused; some answer whatever the token.
    is_refused: bool,
    /// How often this very token had been refused before.
    before: u32,
}

/// The record of logins and refusals.
#[derive(Debug, Default)]
pub(super) struct Journal {
    logins: VecDeque<LoginEntry>,
    refusals: VecDeque<Refusal>,
    /// Marks of refused tokens, and how often each was.
    refused: VecDeque<(String, u32)>,
    /// By account: now, and the most there were.
    in_flight: Vec<PerProduct<(u32, u32)>>,
    /// Logins so far.
    number: u64,
    /// Requests with a dead token.
    dead: u64,
    /// Requests with a token that had been refused before.
    repeated: u64,
    forgotten: u64,
}

fn push<T>(list: &mut VecDeque<T>, entry: T) -> u64 {
    list.push_back(entry);
    if list.len() > MAX_ENTRIES {
        list.pop_front();
        return 1;
    }
    0
}

impl Journal {
    pub(super) fn new(accounts: usize) -> Self {
        Self { in_flight: vec![PerProduct::default(); accounts], ..Self::default() }
    }

    /// A login has arrived. Returns its number.
    pub(super) fn arrived(
        &mut self,
        account: Option<usize>,
        product: Product,
        fault: Option<&'static str>,
        now: UnixNanos,
    ) -> u64 {
        self.number += 1;
        if let Some(account) = account {
            let (current, most) = self.in_flight[account].get_mut(product);
            *current += 1;
            *most = (*most).max(*current);
        }
        let entry = LoginEntry {
            number: self.number,
            account,
            product,
            arrived: now,
            answered: None,
            outcome: None,
            fault,
        };
        self.forgotten += push(&mut self.logins, entry);
        self.number
    }

    /// A login is no longer in flight.
    pub(super) fn answered(
        &mut self,
        number: u64,
        account: Option<usize>,
        product: Product,
        outcome: Outcome,
        now: UnixNanos,
    ) {
        if let Some(account) = account {
            let (current, _) = self.in_flight[account].get_mut(product);
            *current = current.saturating_sub(1);
        }
        if let Some(entry) = self.logins.iter_mut().rev().find(|e| e.number == number) {
            entry.answered = Some(now);
            entry.outcome = Some(outcome);
        }
    }

    /// A request came with no good token. `mark` tells the token from others.
    pub(super) fn bad_token(
        &mut self,
        account: Option<usize>,
        product: Product,
        (call, is_refused): (&'static str, bool),
        (token, mark): (BadToken, &str),
        now: UnixNanos,
    ) {
        let before = if token == BadToken::Missing { 0 } else { self.count(mark, is_refused) };
        self.dead += u64::from(token == BadToken::Dead);
        self.repeated += u64::from(before > 0);
        let entry = Refusal { account, product, at: now, call, token, is_refused, before };
        self.forgotten += push(&mut self.refusals, entry);
    }

    /// How often a token was refused before; counts one more if it is refused now.
    fn count(&mut self, mark: &str, is_refused: bool) -> u32 {
        if let Some((_, times)) = self.refused.iter_mut().rev().find(|(m, _)| m == mark) {
            *times = times.saturating_add(u32::from(is_refused));
            return *times - u32::from(is_refused);
        }
        if is_refused {
            self.forgotten += push(&mut self.refused, (mark.to_owned(), 1));
        }
        0
    }

    fn most(&self, account: usize) -> PerProduct<u32> {
        let each = &self.in_flight[account];
        PerProduct { market: each.market.1, interactive: each.interactive.1 }
    }
}

impl Core {
    /// `GET /__sim/logins`.
    pub(crate) fn logins_view(&self) -> Value {
        let journal = &self.journal;
        let user = |account: Option<usize>| account.map(|a| self.accounts[a].demo.user.as_str());
        let logins: Vec<_> = journal
            .logins
            .iter()
            .map(|e| {
                json!({
                    "account": user(e.account),
                    "product": e.product.as_str(),
                    "arrived_ms": e.arrived.as_millis(),
                    "arrived": e.arrived.in_india(),
                    "answered_ms": e.answered.map(UnixNanos::as_millis),
                    "outcome": e.outcome.map(Outcome::as_str),
                    "fault": e.fault,
                })
            })
            .collect();
        let bad_tokens: Vec<_> = journal
            .refusals
            .iter()
            .map(|r| {
                json!({
                    "account": user(r.account),
                    "product": r.product.as_str(),
                    "at_ms": r.at.as_millis(),
                    "at": r.at.in_india(),
                    "call": r.call,
                    "token": r.token.as_str(),
                    "refused": r.is_refused,
                    "refused_before": r.before,
                })
            })
            .collect();
        let each = (0..self.accounts.len()).map(|a| {
            let now = &journal.in_flight[a];
            let mut entry = json!({
                "user": self.accounts[a].demo.user,
                "in_flight": { "market": now.market.0, "interactive": now.interactive.0 },
                "max_in_flight": journal.most(a),
            });
            // A further pair of keys says which it is.
            if self.accounts[a].pair > 0 {
                entry["market_key"] = json!(self.accounts[a].pair + 1);
            }
            entry
        });
        json!({
            "logins": logins,
            "bad_tokens": bad_tokens,
            "dead": journal.dead,
            "repeated": journal.repeated,
            "max_in_flight": self.max_in_flight(),
            "accounts": each.collect::<Vec<_>>(),
            "forgotten": journal.forgotten,
        })
    }

    /// The most logins of one product and one account that were in flight at once.
    pub(crate) fn max_in_flight(&self) -> PerProduct<u32> {
        let mut most = PerProduct::default();
        for account in 0..self.accounts.len() {
            for product in Product::ALL {
                let theirs = *self.journal.most(account).get(product);
                *most.get_mut(product) = theirs.max(*most.get(product));
            }
        }
        most
    }
}

#[cfg(test)]
impl Core {
    /// Requests with a dead token, and requests with a token that had been refused before.
    pub(crate) fn dead_and_repeated(&self) -> (u64, u64) {
        (self.journal.dead, self.journal.repeated)
    }
}
