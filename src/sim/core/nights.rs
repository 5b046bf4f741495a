//! What happens by itself as time passes: tokens end, nightly cuts end all of them, and a new
//! day has new instruments. And the broker's own restarts, which end what they end.

use std::sync::Arc;
use std::time::Duration;

use super::Core;
use crate::clock::UnixNanos;
use crate::market::calendar::{ist_date, last_cutoff};
use crate::sim::instruments::Catalogue;
use crate::sim::sessions::Product;
use crate::sim::settings::SocketEnd;

const DAY: Duration = Duration::from_hours(24);

/// What a client meets while the broker is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Away {
    /// The proxy before it answers 502, in HTML.
    BadGateway,
    /// The connection ends without an answer.
    HangUp,
}

/// Whether the broker is there.
#[derive(Debug, Default)]
pub(super) struct Presence {
    away_until: UnixNanos,
    /// Requests turned away.
    turned_away: u64,
    /// What each is met with; `None`: by turns.
    manner: Option<Away>,
    /// Restarts so far. A login that saw one on its way is lost.
    pub(super) restarts: u64,
}

impl Core {
    /// Does what is due at `now`. Every question that depends on time begins with it, so that
    /// an answer never depends on how often somebody asks.
    pub(crate) fn pass_time(&mut self, now: UnixNanos) {
        self.seen = now;
        for account in 0..self.accounts.len() {
            for product in Product::ALL {
                let Some((ends, how)) = self.end_of(account, product) else { continue };
                if ends <= now {
                    self.end_session(account, product, how);
                }
            }
        }
        self.pass_faults(now);
        let today = ist_date(now);
        if today > self.market.catalogue().date {
            self.market.new_day(&Arc::new(Catalogue::build(today)), now);
            for account in &mut self.accounts {
                account.recount(self.market.catalogue());
            }
            self.unasked.new_day();
            self.open_books(now);
        }
    }

    /// When a live session ends by itself, and how its sockets do.
    fn end_of(&self, account: usize, product: Product) -> Option<(UnixNanos, SocketEnd)> {
        let session = self.accounts[account].sessions.get(product).as_ref()?;
        let expires = UnixNanos::from_secs(session.expires_at);
        let cut = self.settings.nightly_cut_ist.map(|time| {
            // Whole seconds: one issued in the second of the cut is the new day's.
            last_cutoff(UnixNanos::from_secs(session.issued_at), time).plus(DAY)
        });
        match cut {
            Some(cut) if cut <= expires => Some((cut, self.settings.nightly_sockets)),
            _ => Some((expires, SocketEnd::Close)),
        }
    }

    /// The broker goes away for `down`: sockets break off, requests are turned away. With
    /// `forget` all sessions are gone when it is back.
    pub(crate) fn restart(&mut self, down: Duration, forget: bool, manner: Option<Away>, now: UnixNanos) {
        self.drop_sockets(None, None, false);
        if forget {
            self.expire(None, None, SocketEnd::Silent);
            self.unique_keys.clear();
        }
        let Presence { turned_away, restarts, .. } = self.presence;
        self.presence = Presence { away_until: now.plus(down), turned_away, manner, restarts: restarts + 1 };
    }

    /// What to meet a request with while the broker is away; `None` if it is there.
    pub(crate) fn turn_away(&mut self, now: UnixNanos) -> Option<Away> {
        if !self.is_away(now) {
            return None;
        }
        self.presence.turned_away += 1;
        let by_turns = if self.presence.turned_away % 2 == 1 { Away::BadGateway } else { Away::HangUp };
        Some(self.presence.manner.unwrap_or(by_turns))
    }

    pub(crate) fn is_away(&self, now: UnixNanos) -> bool {
        now < self.presence.away_until
    }

    pub(super) fn turned_away(&self) -> u64 {
        self.presence.turned_away
    }
}

#[cfg(test)]
impl Core {
    /// When the next live session ends by itself: who shows time to the core only on requests
    /// must do so then too, so that sockets end in time.
    pub(crate) fn next_end(&self) -> Option<UnixNanos> {
        let accounts = 0..self.accounts.len();
        let all = accounts.flat_map(|a| Product::ALL.into_iter().filter_map(move |p| self.end_of(a, p)));
        all.map(|(ends, _)| ends).min()
    }
}
