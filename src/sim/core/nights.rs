//! What happens by itself as time passes: sessions end, and a new day has new instruments.

use std::sync::Arc;

use super::Core;
use crate::clock::UnixNanos;
use crate::market::calendar::ist_date;
use crate::sim::instruments::Catalogue;
use crate::sim::sessions::Product;

/// What happens to the sockets of a session that ends. All three were seen on live servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketEnd {
    /// They stay open, without data.
    Silent,
    /// They get a `logout` event and stay open, without data.
    Logout,
    /// They are closed.
    Close,
}

impl Core {
    /// Does what is due at `now`. Every question that depends on time begins with it, so that
    /// an answer never depends on how often somebody asks.
    pub(crate) fn pass_time(&mut self, now: UnixNanos) {
        for account in 0..self.accounts.len() {
            for product in Product::ALL {
                let session = self.accounts[account].sessions.get(product);
                if session.as_ref().is_some_and(|s| s.expires_at <= now.as_secs()) {
                    self.end_session(account, product, SocketEnd::Close);
                }
            }
        }
        let today = ist_date(now);
        if today > self.market.catalogue().date {
            self.market.new_day(&Arc::new(Catalogue::build(today)), now);
            for account in &mut self.accounts {
                account.recount(self.market.catalogue());
            }
        }
    }
}
