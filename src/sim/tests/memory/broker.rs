//! `Broker` over the core: the bodies that clients send, and what the answers mean.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::feeds::{MemoryAccountFeed, MemoryFeed, Socket};
use super::{MemoryVenue, reading, sim_product};
use crate::broker::xts::wire::code_of;
use crate::broker::{AccountFeed, Broker, Error, Feed, Limits, Login, MasterText, Subscribed};
use crate::market::{Funds, InstrumentId, Kind, Listing, Order, Position, PositionView, Segment, Tick};
use crate::secret::Secret;
use crate::sim::DemoAccount;
use crate::sim::accounts::MASK;
use crate::sim::answers::Answer;
use crate::sim::core::{Connect, Core, Query};
use crate::token::{AccountFacts, Product, Token};

/// The broker as one account's adapter sees it. Clones are the same account's.
#[derive(Clone)]
pub(crate) struct MemoryBroker {
    venue: MemoryVenue,
    account: usize,
    demo: DemoAccount,
}

impl MemoryBroker {
    pub(super) fn new(venue: MemoryVenue, account: usize) -> Self {
        let demo = venue.with(|core, _| core.demo_accounts()[account].clone());
        Self { venue, account, demo }
    }

    /// The server behind it.
    pub(crate) const fn venue(&self) -> &MemoryVenue {
        &self.venue
    }

    /// A call with a token: its answer's `result`.
    async fn call<R: Send>(
        &self,
        token: &Token,
        name: &'static str,
        ask: impl FnOnce(&mut Core, usize) -> Answer + Send,
        read: impl FnOnce(Value) -> R + Send,
    ) -> Result<R, Error> {
        let latency = self.venue.world().request_latency;
        pause(latency).await;
        let product = sim_product(token.product);
        let answer = self.venue.with(|core, now| {
            if core.is_away(now) {
                return None;
            }
            Some(match core.authorize(product, Some(token.secret.expose()), name, now) {
                Ok(account) => ask(core, account),
                Err(answer) => answer,
            })
        });
        reading::result(answer.ok_or_else(gone)?).map(read)
    }

    /// Reads a book: an investor's path or a dealer's, with the `clientID` that it needs.
    async fn read<R: Default + Send>(
        &self,
        token: &Token,
        [plain, dealers]: [&'static str; 2],
        more: &[(&str, &str)],
        read: impl FnOnce(&Value) -> R + Send,
    ) -> Result<R, Error> {
        let facts = &token.facts;
        let path = if facts.is_investor == Some(false) { dealers } else { plain };
        let client = facts.client_id.as_ref().map(|client| {
            let is_login = path == "user/balance" && client != MASK;
            if is_login { facts.user_id.clone() } else { client.clone() }
        });
        let mut query: Query = more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        query.extend(client.map(|client| ("clientID".to_owned(), client)));
        let now = self.venue.clock.now();
        let name = Core::interactive_call(path).expect("there is such a call");
        let ask = |core: &mut Core, account| core.interactive_get(account, path, &query, now);
        match self.call(token, name, ask, |result| read(&result)).await {
            Err(Error::Refused { code, .. }) if code == "e-orders-0001" => Ok(R::default()),
            answered => answered,
        }
    }

    async fn log_in(&self, product: Product) -> Result<Login, Error> {
        self.venue.count(false, self.account, product);
        let (key, secret) = self.demo.keys.pair(sim_product(product));
        let mut body = json!({ "appKey": key, "secretKey": secret, "source": "WEBAPI" });
        if product == Product::Interactive {
            if self.venue.settings.hostlookup {
                body["uniqueKey"] = json!(self.look_up_host()?);
            }
            let access_token = self.venue.world().access_token.clone();
            if !access_token.is_empty() {
                body["accessToken"] = json!(access_token);
            }
        }
        let arrival = self.venue.with(|core, now| {
            if core.is_away(now) { None } else { Some(core.login_arrives(sim_product(product), &body, now)) }
        });
        let arrival = arrival.ok_or_else(gone)?;
        let latency = arrival.delay + self.venue.world().login_latency;
        // The broker finishes what it has begun, whether anybody waits or not.
        let (venue, counted) = (self.venue.clone(), (self.account, product));
        let answer = tokio::spawn(async move {
            pause(latency).await;
            let answer = venue.with(|core, now| core.login_answers(arrival, &body, now));
            if answer.status == 200 {
                venue.count(true, counted.0, counted.1);
            }
            answer
        });
        let answer = answer.await.map_err(|error| Error::Network(error.to_string()))?;
        let result = reading::result(answer).map_err(reading::login_error)?;
        let (token, facts) = reading::login(product, &result)?;
        Ok(Login { secret: Secret::new(token), facts })
    }

    fn look_up_host(&self) -> Result<String, Error> {
        let body = json!({ "accesspassword": "2021HostLookUpAccess", "version": "interactive_1.0.1" });
        let answer = self
            .venue
            .with(|core, now| if core.is_away(now) { None } else { core.hostlookup(&body, "memory", now) });
        let answer: Value = serde_json::from_str(&answer.ok_or_else(gone)?.body).expect("is JSON");
        Ok(answer["result"]["uniqueKey"].as_str().expect("there is a key").to_owned())
    }

    async fn open(
        &self,
        token: &Token,
    ) -> Result<(Socket, mpsc::UnboundedReceiver<crate::sim::core::Out>), Error> {
        let latency = self.venue.world().request_latency;
        pause(latency).await;
        let connect = Connect {
            token: token.secret.expose().to_owned(),
            user_id: token.facts.user_id.clone(),
            broadcast_mode: "Full".to_owned(),
            is_binary: true,
            is_polling: false,
        };
        let (frames, received) = mpsc::unbounded_channel();
        let now = self.venue.clock.now();
        let mut world = self.venue.world();
        if world.core.is_away(now) {
            return Err(gone());
        }
        let id = world.next_socket;
        world.next_socket += 1;
        let opened = world.core.open_socket(sim_product(token.product), &connect, id, now);
        if let Err(answer) = opened {
            return Err(reading::result(answer).err().unwrap_or_else(gone));
        }
        world.links.insert(id, frames);
        world.deliver();
        Ok((Socket { venue: self.venue.clone(), id }, received))
    }

    /// Subscribes one by one, to find out which instrument the broker means.
    async fn subscribe_each(
        &self,
        token: &Token,
        kind: Kind,
        instruments: &[InstrumentId],
    ) -> Result<Subscribed, Error> {
        let mut done = Subscribed::default();
        for &id in instruments {
            match self.subscribe_once(token, kind, &[id]).await {
                Ok(snapshot) => {
                    done.confirmed.push(id);
                    done.snapshot.extend(snapshot);
                }
                Err(Error::Refused { code, .. }) if code == "e-session-0002" => done.confirmed.push(id),
                Err(Error::Refused { description, .. }) => done.rejected.push((id, description)),
                Err(Error::SubscriptionLimit { description, .. }) if !done.confirmed.is_empty() => {
                    done.rejected.push((id, description));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    async fn subscribe_once(
        &self,
        token: &Token,
        kind: Kind,
        instruments: &[InstrumentId],
    ) -> Result<Vec<Tick>, Error> {
        let body = body(kind, instruments);
        let sent = self.venue.clock.now();
        let ask = |core: &mut Core, account| core.subscribe(account, &body, true);
        self.call(token, "subscribe", ask, |result| reading::quotes(kind, &result, sent)).await
    }
}

async fn pause(length: Duration) {
    if !length.is_zero() {
        sleep(length).await;
    }
}

fn gone() -> Error {
    Error::Network("connection refused".to_owned())
}

fn body(kind: Kind, instruments: &[InstrumentId]) -> Value {
    let instruments: Vec<_> = instruments
        .iter()
        .map(|id| json!({ "exchangeSegment": id.segment.number(), "exchangeInstrumentID": id.code }))
        .collect();
    json!({ "instruments": instruments, "xtsMessageCode": code_of(kind) })
}

impl Broker for MemoryBroker {
    fn limits(&self) -> Limits {
        Limits {
            max_subscriptions: self.venue.settings.max_subscriptions,
            per_request: 50,
            request_interval: Duration::from_millis(500),
        }
    }

    fn binding(&self, product: Product) -> String {
        format!("memory {} {product}", self.demo.user)
    }

    fn login(&self, product: Product) -> BoxFuture<'_, Result<Login, Error>> {
        self.log_in(product).boxed()
    }

    fn instruments<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<MasterText, Error>> {
        async move {
            let latency = self.venue.world().request_latency;
            pause(latency).await;
            let mut text = MasterText::default();
            for segment in Segment::ALL {
                let body = json!({ "exchangeSegmentList": [segment.xts_name()] });
                let answer = self.venue.with(|core, now| {
                    if core.is_away(now) {
                        return None;
                    }
                    // The broker gives its master to anybody.
                    core.note_token(sim_product(Product::Market), Some(token.secret.expose()), "master", now);
                    Some(core.master(&body))
                });
                let rows = reading::result(answer.ok_or_else(gone)?)?;
                text.rows.push_str(rows.as_str().unwrap_or_default());
                let list = reading::result(Core::index_list(segment.xts_name()))?;
                let names = list["indexList"].as_array().into_iter().flatten();
                let number = i64::from(segment.number());
                text.indices.extend(names.filter_map(|n| Some((number, n.as_str()?.to_owned()))));
            }
            Ok(text)
        }
        .boxed()
    }

    fn open_feed<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Box<dyn Feed>, Error>> {
        async move {
            let (socket, received) = self.open(token).await?;
            Ok(Box::new(MemoryFeed::new(socket, received)) as Box<dyn Feed>)
        }
        .boxed()
    }

    fn subscribe<'a>(
        &'a self,
        token: &'a Token,
        kind: Kind,
        instruments: &'a [InstrumentId],
    ) -> BoxFuture<'a, Result<Subscribed, Error>> {
        async move {
            match self.subscribe_once(token, kind, instruments).await {
                Ok(snapshot) => {
                    Ok(Subscribed { confirmed: instruments.to_vec(), rejected: Vec::new(), snapshot })
                }
                Err(Error::Refused { .. } | Error::SubscriptionLimit { .. }) if instruments.len() > 1 => {
                    self.subscribe_each(token, kind, instruments).await
                }
                Err(Error::Refused { .. }) => self.subscribe_each(token, kind, instruments).await,
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    fn unsubscribe<'a>(
        &'a self,
        token: &'a Token,
        kind: Kind,
        instruments: &'a [InstrumentId],
    ) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let body = body(kind, instruments);
            let ask = |core: &mut Core, account| core.unsubscribe(account, &body);
            match self.call(token, "unsubscribe", ask, |_| ()).await {
                // Not subscribed counts as done.
                Err(Error::Refused { .. }) => Ok(()),
                answered => answered,
            }
        }
        .boxed()
    }

    fn quotes<'a>(
        &'a self,
        token: &'a Token,
        kind: Kind,
        instruments: &'a [InstrumentId],
    ) -> BoxFuture<'a, Result<Vec<Tick>, Error>> {
        async move {
            let body = body(kind, instruments);
            let sent = self.venue.clock.now();
            let ask = |core: &mut Core, _| core.quotes(&body);
            self.call(token, "quotes", ask, |result| reading::quotes(kind, &result, sent)).await
        }
        .boxed()
    }

    fn order_book<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Listing<Order>, Error>> {
        async move {
            let paths = ["orders", "orders/dealerorderbook"];
            Ok(self.read(token, paths, &[], reading::orders).await?.into())
        }
        .boxed()
    }

    fn positions<'a>(
        &'a self,
        token: &'a Token,
        view: PositionView,
    ) -> BoxFuture<'a, Result<Listing<Position>, Error>> {
        let view = match view {
            PositionView::Net => "NetWise",
            PositionView::Day => "DayWise",
        };
        let paths = ["portfolio/positions", "portfolio/dealerpositions"];
        async move { Ok(self.read(token, paths, &[("dayOrNet", view)], reading::positions).await?.into()) }
            .boxed()
    }

    fn funds<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Funds, Error>> {
        self.read(token, ["user/balance"; 2], &[], reading::funds).boxed()
    }

    fn open_account_feed<'a>(
        &'a self,
        token: &'a Token,
    ) -> BoxFuture<'a, Result<Box<dyn AccountFeed>, Error>> {
        async move {
            let (socket, received) = self.open(token).await?;
            Ok(Box::new(MemoryAccountFeed::new(socket, received)) as Box<dyn AccountFeed>)
        }
        .boxed()
    }

    fn reload_credentials(&self) -> bool {
        false
    }

    fn logout<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let product = sim_product(token.product);
            let ask = |core: &mut Core, account| core.logout(account, product);
            self.call(token, "logout", ask, |_| ()).await
        }
        .boxed()
    }
}

/// A token as its owner would keep it after a login.
pub(crate) fn token_of(product: Product, login: Login, now: crate::clock::UnixNanos) -> Token {
    let Login { secret, facts } = login;
    let facts: AccountFacts = facts;
    Token {
        product,
        epoch: crate::token::TokenEpoch(1),
        secret: secret.into(),
        facts: facts.into(),
        issued_at: now,
        expires_at: None,
    }
}
