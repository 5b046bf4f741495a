//! Shows the session and the feed port to the HTTP port: the one place where all are known.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::clock::Clock;
use crate::gateway::Census;
use crate::gateway::control::{
    AccountStatus, ConsumerCount, Control, FeedStatus, MasterStatus, Product, Refused, Status, TokenStatus,
};
use crate::market::{Calendar, Exchange};
use crate::session::{self, MasterKeeper, SessionHandle};
use crate::token;

pub(super) struct Adapter {
    pub(super) broker: String,
    pub(super) session: SessionHandle,
    pub(super) master: MasterKeeper,
    pub(super) census: Census,
    pub(super) calendar: Calendar,
    pub(super) clock: Arc<dyn Clock>,
}

impl Adapter {
    fn check_account(&self, account: Option<&str>) -> Result<(), Refused> {
        match account {
            Some(name) if name != self.session.account() => Err(Refused::NoAccount(name.to_owned())),
            _ => Ok(()),
        }
    }
}

impl Control for Adapter {
    fn status(&self) -> Status {
        let now = self.clock.now();
        let session = self.session.status();
        let consumers = self.census.take();
        Status {
            accounts: vec![AccountStatus {
                name: self.session.account().to_owned(),
                broker: self.broker.clone(),
                market: token_status(&session.market),
                interactive: token_status(&session.interactive),
                feed: feed_status(&session.feed),
            }],
            master: self.master.status().map(|master| MasterStatus {
                instruments: master.instruments,
                loaded_at: master.loaded_at,
                bad_rows: master.bad_rows,
            }),
            consumers: ConsumerCount { count: consumers.count, slow: consumers.slow },
            market: Exchange::ALL
                .into_iter()
                .filter(|exchange| !matches!(exchange, Exchange::NseIndex | Exchange::BseIndex))
                .map(|exchange| (exchange, self.calendar.state(exchange, now)))
                .collect(),
        }
    }

    fn health(&self) -> BoxFuture<'_, Result<(), String>> {
        self.session.health().map(|answer| answer.map_err(str::to_owned)).boxed()
    }

    fn refresh<'a>(
        &'a self,
        account: Option<&'a str>,
        product: Product,
    ) -> BoxFuture<'a, Result<(), Refused>> {
        async move {
            self.check_account(account)?;
            let product = match product {
                Product::Market => token::Product::Market,
                Product::Interactive => token::Product::Interactive,
            };
            self.session
                .refresh(product, "operator")
                .await
                .map_err(|error| Refused::Failed(error.to_string()))
        }
        .boxed()
    }

    fn reconnect<'a>(&'a self, account: Option<&'a str>) -> BoxFuture<'a, Result<(), Refused>> {
        async move {
            self.check_account(account)?;
            self.session.reconnect().await.map_err(|error| Refused::Failed(error.to_string()))
        }
        .boxed()
    }
}

fn token_status(token: &session::TokenStatus) -> TokenStatus {
    TokenStatus {
        state: token.state,
        issued_at: token.issued_at,
        expires_at: token.expires_at,
        last_refusal: token.last_refusal.clone(),
        logins_today: token.logins_today,
    }
}

fn feed_status(feed: &session::FeedStatus) -> FeedStatus {
    FeedStatus {
        state: feed.state,
        since: feed.since,
        generation: feed.generation,
        last_tick_at: feed.last_tick_at,
        reconnects: feed.reconnects,
        wanted: feed.wanted,
        confirmed: feed.confirmed,
        rejected: feed.rejected,
        reason: feed.reason.clone(),
    }
}
