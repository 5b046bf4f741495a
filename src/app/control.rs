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
    AccountStatus, ConsumerCount, Control, FeedStatus, InstrumentStatus, MarketSession, MasterStatus,
    Product, Refused, Rotation, SegmentStatus, Status, TokenStatus,
};
use crate::market::{Calendar, Exchange, InstrumentId, MarketPhase, Master, MasterHandle, Segment};
use crate::session::{self, MasterKeeper, SessionStatus, TokenError};
use crate::token;
use crate::token::cipher;
use crate::token::store::TokenStore;

pub(super) struct Adapter {
    pub(super) broker: String,
    pub(super) sessions: Sessions,
    pub(super) master: MasterKeeper,
    pub(super) names: MasterHandle,
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
        let names = self.names.load();
        Status {
            accounts: self
                .sessions
                .accounts()
                .filter_map(|of_account| account_status(&self.broker, of_account, names.as_deref()))
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

    fn instruments(&self) -> BoxFuture<'_, Vec<InstrumentStatus>> {
        async move {
            let mut found = Vec::new();
            for member in self.sessions.iter() {
                let states: BTreeMap<_, _> =
                    member.session.segments().into_iter().map(|s| (s.segment, s.state)).collect();
                let received = member.session.last_received().await;
                let names = self.names.load();
                found.extend(received.into_iter().map(|(id, last_data_at)| InstrumentStatus {
                    account: member.session.account().to_owned(),
                    name: name(id, names.as_deref()),
                    state: states.get(&id.segment).copied().unwrap_or("connecting"),
                    last_data_at,
                }));
            }
            found
        }
        .boxed()
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

/// The status of an account from its sessions, the first of which has both products.
fn account_status(broker: &str, of_account: &[Member], names: Option<&Master>) -> Option<AccountStatus> {
    let (first, more) = of_account.split_first()?;
    let (session, feed) = shown(first);
    let mut interactive = token_status(&session.interactive);
    if first.has_failed() {
        interactive.next_login_at = None;
    }
    let more = more.iter().map(|member| {
        let (session, feed) = shown(member);
        MarketSession {
            name: member.session.account().to_owned(),
            failed: member.has_failed(),
            market: market_status(member, &session),
            feed,
            instruments: carried(member, names),
        }
    });
    Some(AccountStatus {
        name: first.session.account().to_owned(),
        broker: broker.to_owned(),
        failed: first.has_failed(),
        market: market_status(first, &session),
        interactive,
        feed,
        instruments: carried(first, names),
        more: more.collect(),
    })
}

/// How a session stands, and its feed as it is to be shown.
fn shown(member: &Member) -> (SessionStatus, FeedStatus) {
    let session = member.session.status();
    let mut feed = feed_status(&session.feed);
    feed.segments = member.session.segments().into_iter().map(segment_status).collect();
    if member.has_failed() {
        // What the actors said last is no longer so, and they are not there to say otherwise.
        feed.state = "stopped";
        feed.reason = Some("given up after repeated internal failures".to_owned());
    }
    (session, feed)
}

fn market_status(member: &Member, session: &SessionStatus) -> TokenStatus {
    let mut market = token_status(&session.market);
    if member.has_failed() {
        market.next_login_at = None;
    }
    market
}

/// What a session carries, by name as far as the list in force knows it.
fn carried(member: &Member, names: Option<&Master>) -> Vec<String> {
    let mut names: Vec<_> = member.session.instruments().into_iter().map(|id| name(id, names)).collect();
    names.sort_unstable();
    names
}

fn name(id: InstrumentId, names: Option<&Master>) -> String {
    match names.and_then(|names| names.name(id)) {
        Some((exchange, symbol)) => format!("{exchange}:{symbol}"),
        None => format!("{}:{}", id.segment.number(), id.code),
    }
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
        segments: Vec::new(),
    }
}

fn segment_status(segment: session::SegmentStatus) -> SegmentStatus {
    let session::SegmentStatus { segment, state, since, reason, last_data_at } = segment;
    SegmentStatus { segment, state, since, reason, last_data_at }
}
