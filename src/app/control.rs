//! Shows the session and the feed port to the HTTP port: the one place where all are known.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::app::sessions::{Member, Sessions};
use crate::clock::Clock;
use crate::config::{ProcessEnv, Secrets};
use crate::gateway::Census;
use crate::gateway::control::{
    AccountStatus, ConsumerCount, Control, FeedStatus, MasterStatus, Product, Refused, Rotation, Status,
    TokenStatus,
};
use crate::market::{Calendar, Exchange, MarketPhase, Segment};
use crate::session::{self, MasterKeeper, SessionStatus, TokenError};
use crate::token;
use crate::token::cipher;
use crate::token::store::TokenStore;

pub(super) struct Adapter {
    pub(super) broker: String,
    pub(super) sessions: Sessions,
    pub(super) master: MasterKeeper,
    pub(super) tokens: TokenStore,
    pub(super) census: Census,
    pub(super) calendar: Calendar,
    pub(super) clock: Arc<dyn Clock>,
}

impl Control for Adapter {
    fn status(&self) -> Status {
        let now = self.clock.now();
        let consumers = self.census.take();
        let mut phases = BTreeMap::<Segment, MarketPhase>::new();
        for phase in self.sessions.iter().flat_map(|member| member.session.market_phases()) {
            let known = phases.get(&phase.segment);
            if known.is_none_or(|known| known.received_at < phase.received_at) {
                phases.insert(phase.segment, phase);
            }
        }
        let sessions: Vec<_> = self.sessions.iter().map(|member| (member, member.session.status())).collect();
        Status {
            accounts: sessions
                .iter()
                .map(|(member, session)| account_status(&self.broker, member, session))
                .collect(),
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
            market_broker: phases.into_values().collect(),
        }
    }

    fn health(&self) -> BoxFuture<'_, Result<(), String>> {
        self.sessions.health().boxed()
    }

    fn refresh<'a>(
        &'a self,
        account: Option<&'a str>,
        product: Product,
        by: &'a str,
    ) -> BoxFuture<'a, Result<(), Refused>> {
        async move { self.sessions.named(account)?.refresh(of_token(product), by).await.map_err(refused) }
            .boxed()
    }

    fn revoke<'a>(
        &'a self,
        account: Option<&'a str>,
        product: Product,
        by: &'a str,
    ) -> BoxFuture<'a, Result<bool, Refused>> {
        async move { self.sessions.named(account)?.revoke(of_token(product), by).await.map_err(refused) }
            .boxed()
    }

    fn rotate<'a>(&'a self, key_id: Option<&'a str>) -> BoxFuture<'a, Result<Rotation, Refused>> {
        async move {
            // Anew, since the file they stand in may have got another first key.
            let given = Secrets::reread_fernet_key(&ProcessEnv).map_err(failed)?;
            if let Some(wanted) = key_id {
                let first = given.as_ref().map(cipher::id_of_first).transpose().map_err(failed)?;
                match first {
                    Some(first) if first == wanted => {}
                    Some(_) => {
                        return Err(Refused::Conflict("the server was given another Fernet key".into()));
                    }
                    None => return Err(Refused::Conflict("the server was given no Fernet key".into())),
                }
            }
            let rotated = self.tokens.rotate(given).await.map_err(failed)?;
            Ok(Rotation {
                given: rotated.file.is_none(),
                records: rotated.records,
                unreadable: rotated.unreadable,
                unreadable_aside: rotated.unreadable_aside,
                superseded: rotated.superseded,
            })
        }
        .boxed()
    }

    fn reconnect<'a>(&'a self, account: Option<&'a str>) -> BoxFuture<'a, Result<(), Refused>> {
        async move { self.sessions.named(account)?.reconnect().await.map_err(failed) }.boxed()
    }
}

fn account_status(broker: &str, member: &Member, session: &SessionStatus) -> AccountStatus {
    let failed = member.has_failed();
    let mut account = AccountStatus {
        name: member.session.account().to_owned(),
        broker: broker.to_owned(),
        failed,
        market: token_status(&session.market),
        interactive: token_status(&session.interactive),
        feed: feed_status(&session.feed),
    };
    if failed {
        // What the actors said last is no longer so, and they are not there to say otherwise.
        account.market.next_login_at = None;
        account.interactive.next_login_at = None;
        account.feed.state = "stopped";
        account.feed.reason = Some("given up after repeated internal failures".to_owned());
    }
    account
}

const fn of_token(product: Product) -> token::Product {
    match product {
        Product::Market => token::Product::Market,
        Product::Interactive => token::Product::Interactive,
    }
}

fn refused(error: TokenError) -> Refused {
    match error {
        TokenError::Disabled(_) => Refused::NotConfigured(error.to_string()),
        other => failed(other),
    }
}

fn failed(error: impl std::fmt::Display) -> Refused {
    Refused::Failed(error.to_string())
}

fn token_status(token: &session::TokenStatus) -> TokenStatus {
    TokenStatus {
        state: token.state,
        issued_at: token.issued_at,
        expires_at: token.expires_at,
        last_refusal: token.last_refusal.clone(),
        logins_today: token.logins_today,
        next_login_at: token.next_login_at,
        store_failure: token.store_failure.clone(),
        app_key_expires: token.app_key_expires.clone(),
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
