//! `/v1/status` and `/metrics`. The JSON shapes are part of the contract with dashboards.

use std::collections::BTreeMap;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::answer::Failure;
use super::{Shared, guard};
use crate::clock::UnixNanos;
use crate::gateway::control::{AccountStatus, FeedStatus, Status, TokenStatus};
use crate::market::MarketPhase;
use crate::telemetry::metrics as names;

#[derive(Serialize)]
struct Page<'a> {
    version: &'static str,
    uptime_s: u64,
    accounts: BTreeMap<&'a str, Account<'a>>,
    master: Option<Master>,
    consumers: Consumers,
    market: BTreeMap<&'static str, &'static str>,
    /// By the venue's name of the segment; empty until the broker says something.
    market_broker: BTreeMap<&'static str, Phase<'a>>,
}

#[derive(Serialize)]
struct Phase<'a> {
    session: &'static str,
    code: i64,
    /// The venue's time, else when it was read.
    at: String,
    message: &'a str,
}

#[derive(Serialize)]
struct Account<'a> {
    broker: &'a str,
    /// `running` or `failed`.
    state: &'static str,
    token: Tokens<'a>,
    feed: Feed<'a>,
    /// One for each market-data app key; the first is what stands above.
    sessions: Vec<Session<'a>>,
}

#[derive(Serialize)]
struct Session<'a> {
    name: &'a str,
    state: &'static str,
    token: MarketToken<'a>,
    feed: Feed<'a>,
    instruments: &'a [String],
}

#[derive(Serialize)]
struct MarketToken<'a> {
    market: Token<'a>,
}

#[derive(Serialize)]
struct Tokens<'a> {
    market: Token<'a>,
    interactive: Token<'a>,
}

#[derive(Serialize)]
struct Token<'a> {
    state: &'static str,
    issued_at: Option<String>,
    expires_at: Option<String>,
    seconds_left: Option<u64>,
    last_refusal: Option<&'a str>,
    logins_today: u64,
    next_login_at: Option<String>,
    store_failure: Option<&'a str>,
    app_key_expires: Option<&'a str>,
}

#[derive(Serialize)]
struct Feed<'a> {
    state: &'static str,
    since: String,
    generation: u64,
    last_tick_age_ms: Option<u64>,
    reconnects: u64,
    reason: Option<&'a str>,
    subscriptions: Subscriptions,
    /// By the exchange; only those of which something is subscribed.
    segments: BTreeMap<&'static str, Segment<'a>>,
}

#[derive(Serialize)]
struct Segment<'a> {
    state: &'static str,
    since: String,
    reason: &'a str,
    last_tick_age_ms: Option<u64>,
}

#[derive(Serialize)]
struct Subscriptions {
    wanted: usize,
    confirmed: usize,
    rejected: usize,
}

#[derive(Serialize)]
struct Master {
    instruments: usize,
    loaded_at: String,
    bad_rows: usize,
}

#[derive(Serialize)]
struct Consumers {
    count: usize,
    slow: usize,
}

impl<'a> Page<'a> {
    fn new(status: &'a Status, uptime_s: u64, now: UnixNanos) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s,
            accounts: status.accounts.iter().map(|a| (a.name.as_str(), Account::new(a, now))).collect(),
            master: status.master.as_ref().map(|master| Master {
                instruments: master.instruments,
                loaded_at: master.loaded_at.in_india(),
                bad_rows: master.bad_rows,
            }),
            consumers: Consumers { count: status.consumers.count, slow: status.consumers.slow },
            market: status
                .market
                .iter()
                .map(|(exchange, state)| (exchange.as_str(), state.as_str()))
                .collect(),
            market_broker: status
                .market_broker
                .iter()
                .map(|p| (p.segment.xts_name(), Phase::new(p)))
                .collect(),
        }
    }
}

impl<'a> Phase<'a> {
    fn new(phase: &'a MarketPhase) -> Self {
        let at = if phase.at > UnixNanos::ZERO { phase.at } else { phase.received_at };
        Self { session: phase.as_str(), code: phase.code, at: at.in_india(), message: &phase.message }
    }
}

impl<'a> Account<'a> {
    fn new(account: &'a AccountStatus, now: UnixNanos) -> Self {
        let first = Session {
            name: &account.name,
            state: life(account.failed),
            token: MarketToken { market: Token::new(&account.market, now) },
            feed: Feed::new(&account.feed, now),
            instruments: &account.instruments,
        };
        let more = account.more.iter().map(|session| Session {
            name: &session.name,
            state: life(session.failed),
            token: MarketToken { market: Token::new(&session.market, now) },
            feed: Feed::new(&session.feed, now),
            instruments: &session.instruments,
        });
        Self {
            broker: &account.broker,
            state: life(account.failed),
            token: Tokens {
                market: Token::new(&account.market, now),
                interactive: Token::new(&account.interactive, now),
            },
            feed: Feed::new(&account.feed, now),
            sessions: std::iter::once(first).chain(more).collect(),
        }
    }
}

const fn life(failed: bool) -> &'static str {
    if failed { "failed" } else { "running" }
}

impl<'a> Feed<'a> {
    fn new(feed: &'a FeedStatus, now: UnixNanos) -> Self {
        Self {
            state: feed.state,
            since: feed.since.in_india(),
            generation: feed.generation,
            last_tick_age_ms: feed.last_tick_at.map(|at| now.since(at).as_millis() as u64),
            reconnects: feed.reconnects,
            reason: feed.reason.as_deref(),
            subscriptions: Subscriptions {
                wanted: feed.wanted,
                confirmed: feed.confirmed,
                rejected: feed.rejected,
            },
            segments: feed
                .segments
                .iter()
                .map(|s| {
                    let segment = Segment {
                        state: s.state,
                        since: s.since.in_india(),
                        reason: &s.reason,
                        last_tick_age_ms: s.last_data_at.map(|at| now.since(at).as_millis() as u64),
                    };
                    (s.segment.exchange().as_str(), segment)
                })
                .collect(),
        }
    }
}

impl<'a> Token<'a> {
    fn new(token: &'a TokenStatus, now: UnixNanos) -> Self {
        Self {
            state: token.state,
            issued_at: token.issued_at.map(UnixNanos::in_india),
            expires_at: token.expires_at.map(UnixNanos::in_india),
            seconds_left: token.expires_at.map(|end| end.since(now).as_secs()),
            last_refusal: token.last_refusal.as_deref(),
            logins_today: token.logins_today,
            next_login_at: token.next_login_at.map(UnixNanos::in_india),
            store_failure: token.store_failure.as_deref(),
            app_key_expires: token.app_key_expires.as_deref(),
        }
    }
}

/// The state of everything.
pub(super) async fn status(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Failure> {
    guard::local_or_key(&request, &shared)?;
    let status = shared.control.status();
    let page = Page::new(&status, shared.started.elapsed().as_secs(), shared.clock.now());
    Ok(HttpResponse::Ok().json(page))
}

/// The Prometheus page. What is a span of time until or since now is computed here, else it would stand still
/// between events.
pub(super) async fn metrics(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Failure> {
    guard::local_or_key(&request, &shared)?;
    let now = shared.clock.now();
    let status = shared.control.status();
    for phase in &status.market_broker {
        ::metrics::gauge!(names::MARKET_SESSION, "segment" => phase.segment.xts_name())
            .set(phase.code as f64);
    }
    for account in status.accounts {
        let more = account.more.iter().flat_map(|more| [(&more.name, "market", &more.market)]);
        let tokens = [
            (&account.name, "market", &account.market),
            (&account.name, "interactive", &account.interactive),
        ];
        for (name, product, token) in tokens.into_iter().chain(more) {
            if let Some(end) = token.expires_at {
                ::metrics::gauge!(names::TOKEN_EXPIRY, "account" => name.clone(), "product" => product)
                    .set(end.since(now).as_secs_f64());
            }
        }
        let more = account.more.iter().map(|more| (&more.name, &more.feed));
        for (name, feed) in std::iter::once((&account.name, &account.feed)).chain(more) {
            if let Some(at) = feed.last_tick_at {
                ::metrics::gauge!(names::FEED_LAST_TICK_AGE, "account" => name.clone())
                    .set(now.since(at).as_secs_f64());
            }
        }
    }
    let kind = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    Ok(HttpResponse::Ok().insert_header(kind).body(shared.prometheus.render()))
}
