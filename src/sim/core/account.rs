//! What is one demo account's own while the broker runs: sessions, subscriptions, counters.
//! No account ever touches another's.
//!
//! A further pair of market-data keys has all of that for itself too, so it is kept as an
//! account of its own behind the real ones, with the same user and nothing interactive.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Core;
use super::orders::Received;
use super::publish::bit;
use super::rates::Rates;
use crate::sim::accounts::{DemoAccount, Identity};
use crate::sim::books::Book;
use crate::sim::instruments::Catalogue;
use crate::sim::sessions::{PerProduct, Product, Session, Subscription};
use crate::sim::settings::AccountKind;
use crate::sim::state::{Counters, SavedAccount};

/// One demo account.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) demo: DemoAccount,
    /// As in `demo`, for notes.
    pub(super) user: Arc<str>,
    /// The number of the account it belongs to: its own, but for a further pair of keys.
    pub(super) of: usize,
    /// Which pair of market-data keys; 0 for the account itself.
    pub(super) pair: usize,
    pub(super) identity: Identity,
    pub(super) book: Book,
    pub(super) sessions: PerProduct<Option<Session>>,
    pub(super) counters: Counters,
    /// What it sent of orders.
    pub(super) received: Received,
    pub(super) rates: Rates,
    /// Second, and requests in it.
    pub(super) windows: PerProduct<(i64, u32)>,
    /// Bits of message codes by position in the catalogue: the market session's subscriptions.
    pub(super) wanted: Vec<u8>,
    /// Mark of the access token of the last login: it serves no second one.
    pub(super) used_access_token: Option<String>,
}

impl Account {
    pub(super) fn new(demo: DemoAccount, kind: AccountKind, saved: SavedAccount) -> Self {
        Self {
            identity: Identity::new(&demo.user, kind),
            book: Book::default(),
            received: Received::default(),
            rates: Rates::default(),
            user: demo.user.as_str().into(),
            demo,
            of: 0,
            pair: 0,
            sessions: saved.sessions,
            counters: saved.counters,
            windows: PerProduct::default(),
            wanted: Vec::new(),
            used_access_token: saved.used_access_token,
        }
    }

    pub(super) fn saved(&self) -> SavedAccount {
        SavedAccount {
            user: saved_name(&self.demo.user, self.pair),
            sessions: self.sessions.clone(),
            counters: self.counters.clone(),
            used_access_token: self.used_access_token.clone(),
        }
    }

    /// What the socket's `userID` may be: the user, or the compound form that some servers
    /// answer a login with.
    pub(super) fn is_user(&self, product: Product, text: &str) -> bool {
        let user = &self.identity.login;
        text == user || text == format!("{user}_{}", self.demo.keys.pair(product).0.to_uppercase())
    }

    /// What the live market session is subscribed to.
    pub(super) fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.sessions.market.iter().flat_map(|s| &s.subscriptions)
    }

    /// Computes `wanted` anew from the market session's subscriptions.
    pub(super) fn recount(&mut self, catalogue: &Catalogue) {
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.clear();
        wanted.resize(catalogue.listings().len(), 0);
        for subscription in self.subscriptions() {
            if let Some(at) = catalogue.position(subscription.id) {
                wanted[at] |= bit(subscription.code);
            }
        }
        self.wanted = wanted;
    }
}

/// The name in the state file.
pub(super) fn saved_name(user: &str, pair: usize) -> String {
    if pair == 0 { user.to_owned() } else { format!("{user}/{}", pair + 1) }
}

impl Core {
    /// The account, or further market session, that an app key belongs to.
    pub(super) fn account_of_key(&self, product: Product, app_key: &str) -> Option<usize> {
        self.accounts.iter().position(|a| !app_key.is_empty() && a.demo.keys.pair(product).0 == app_key)
    }

    /// The accounts without the further market sessions.
    pub(super) fn main_accounts(&self) -> &[Account] {
        let extra = self.accounts.iter().position(|a| a.pair > 0);
        &self.accounts[..extra.unwrap_or(self.accounts.len())]
    }

    /// The user that an account, or further market session, belongs to.
    pub(super) fn user(&self, account: usize) -> Arc<str> {
        Arc::clone(&self.accounts[account].user)
    }

    /// The number of the account with this user; 0 is the first.
    pub(crate) fn account_of_user(&self, user: &str) -> Option<usize> {
        self.accounts.iter().position(|a| a.demo.user == user)
    }

    /// Replaces an account's subscriptions.
    pub(super) fn set_subscriptions(&mut self, account: usize, subscriptions: BTreeSet<Subscription>) {
        let account = &mut self.accounts[account];
        if let Some(session) = &mut account.sessions.market {
            session.subscriptions = subscriptions;
            account.recount(self.market.catalogue());
            self.dirty = true;
        }
    }
}
