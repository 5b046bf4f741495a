//! What the simulator tells of itself below `/__sim/`: not part of the venue's protocol.

use serde_json::{Value, json};

use super::Core;
use super::account::Account;
use crate::clock::UnixNanos;
use crate::market::{Exchange, Level};
use crate::sim::sessions::{Product, Session};
use crate::sim::settings::{Hours, Prices};
use crate::sim::state::Counters;

impl Core {
    /// `GET /__sim/state`: totals, the first account's session, and every account.
    pub(crate) fn state(&self, now: UnixNanos) -> Value {
        let first = self.account_view(0, now);
        let total = self.total();
        json!({
            "demo_keys": first["keys"],
            "uptime_s": now.since(self.started).as_secs(),
            "logins": total.logins,
            "refusals": refusals(&total),
            "sessions": first["sessions"],
            "token_life_s": self.token_life_s.unwrap_or(self.settings.token_life_s),
            "sockets": {
                "market": self.sockets_of(None, Product::Market),
                "interactive": self.sockets_of(None, Product::Interactive),
                "binary": self.binary_sockets(),
                "opened": total.sockets,
            },
            "subscriptions": first["subscriptions"],
            "accounts": (0..self.main_accounts().len()).map(|a| self.account_view(a, now)).collect::<Vec<_>>(),
            "instruments": self.market.catalogue().listings().len(),
            "date": self.market.catalogue().date.to_string(),
            "muted": self.market.is_muted(),
            "nightly_cut_ist": self.settings.nightly_cut_ist.map(|t| t.to_string()),
            "away": self.is_away(now),
            "turned_away": self.turned_away(),
            "login_faults": self.faults_view(),
            "hours": match self.settings.hours {
                Hours::Always => "always",
                Hours::Exchange => "exchange",
            },
            "prices": match self.settings.prices {
                Prices::Walk => "walk",
                Prices::Replay => "replay",
            },
            "pace": self.settings.pace,
            "open": Exchange::ALL
                .into_iter()
                .map(|e| (e.as_str().to_owned(), json!(self.market.is_open(e, now))))
                .collect::<serde_json::Map<_, _>>(),
            "updates": self.market.updates(),
            "messages": self.messages,
        })
    }

    fn account_view(&self, account: usize, now: UnixNanos) -> Value {
        let owner = &self.accounts[account];
        let keys = &owner.demo.keys;
        let pairs = self.accounts.iter().enumerate().filter(|(_, a)| a.of == account);
        let market_keys: Vec<_> = pairs.map(|(number, _)| self.market_key_view(number, now)).collect();
        let session = |product| session_view(owner.sessions.get(product).as_ref(), now);
        json!({
            "user": owner.demo.user,
            "login_user": owner.identity.login,
            "client_id": owner.identity.client,
            "keys": {
                "market_app_key": keys.market_app_key,
                "market_secret_key": keys.market_secret_key,
                "interactive_app_key": keys.interactive_app_key,
                "interactive_secret_key": keys.interactive_secret_key,
            },
            "logins": owner.counters.logins,
            "refusals": refusals(&owner.counters),
            "sessions": {
                "market": session(Product::Market),
                "interactive": session(Product::Interactive),
            },
            "sockets": {
                "market": self.sockets_of(Some(account), Product::Market),
                "interactive": self.sockets_of(Some(account), Product::Interactive),
                "opened": owner.counters.sockets,
            },
            "subscriptions": self.subscriptions_view(owner),
            "market_keys": market_keys,
        })
    }

    /// One pair of market-data keys of an account: each has a session of its own.
    fn market_key_view(&self, number: usize, now: UnixNanos) -> Value {
        let Account { demo, sessions, counters, .. } = &self.accounts[number];
        json!({
            "app_key": demo.keys.market_app_key,
            "secret_key": demo.keys.market_secret_key,
            "logins": counters.logins.market,
            "refusals": counters.refusals.market,
            "session": session_view(sessions.market.as_ref(), now),
            "sockets": self.sockets_of(Some(number), Product::Market),
            "subscriptions": self.subscriptions_view(&self.accounts[number]),
        })
    }

    fn subscriptions_view(&self, owner: &Account) -> Value {
        let list: Vec<_> = owner
            .subscriptions()
            .map(|s| json!({ "segment": s.id.segment.number(), "id": s.id.code, "code": s.code }))
            .collect();
        json!({ "count": list.len(), "limit": self.settings.max_subscriptions, "list": list })
    }

    /// What all accounts count together, and what concerned none.
    fn total(&self) -> Counters {
        let mut total = self.stray.clone();
        for account in &self.accounts {
            total.add(&account.counters);
        }
        total
    }

    /// `GET /__sim/truth`: the last values of every instrument, prices as exact decimal text.
    pub(crate) fn truth(&self, now: UnixNanos) -> Value {
        let catalogue = self.market.catalogue();
        let instruments: Vec<_> = catalogue
            .listings()
            .iter()
            .zip(self.market.quotes())
            .map(|(listing, quote)| {
                json!({
                    "exchange": listing.exchange.as_str(),
                    "symbol": listing.symbol,
                    "segment": listing.id.segment.number(),
                    "id": listing.id.code,
                    "ltp": quote.ltp.to_string(),
                    "ltq": quote.ltq,
                    "bid_price": quote.bids[0].price.to_string(),
                    "bid_size": quote.bids[0].size,
                    "ask_price": quote.asks[0].price.to_string(),
                    "ask_size": quote.asks[0].size,
                    "bids": side(&quote.bids),
                    "asks": side(&quote.asks),
                    "volume": quote.volume,
                    "average": quote.average().to_string(),
                    "open": quote.open.to_string(),
                    "high": quote.high.to_string(),
                    "low": quote.low.to_string(),
                    "close": quote.close.to_string(),
                    "total_buy": quote.total_buy,
                    "total_sell": quote.total_sell,
                    "oi": listing.id.segment.has_open_interest().then_some(quote.open_interest),
                    "last_trade_time_ms": quote.last_trade.as_millis(),
                    "updated_ms": quote.updated.as_millis(),
                    "seq": quote.updates,
                })
            })
            .collect();
        json!({
            "time_ms": now.as_millis(),
            "muted": self.market.is_muted(),
            "updates": self.market.updates(),
            "instruments": instruments,
        })
    }
}

fn session_view(session: Option<&Session>, now: UnixNanos) -> Value {
    session.map_or(Value::Null, |s| {
        json!({
            "issued_at": UnixNanos::from_secs(s.issued_at).to_string(),
            "expires_at": UnixNanos::from_secs(s.expires_at).to_string(),
            "seconds_left": s.expires_at - now.as_secs(),
        })
    })
}

fn refusals(counters: &Counters) -> Value {
    json!({
        "market": counters.refusals.market,
        "interactive": counters.refusals.interactive,
        "token": counters.tokens_refused,
        "rate_limited": counters.rate_limited,
    })
}

fn side(levels: &[Level]) -> Vec<Value> {
    levels
        .iter()
        .map(|l| json!({ "price": l.price.to_string(), "size": l.size, "orders": l.orders }))
        .collect()
}
