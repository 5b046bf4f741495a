//! A broker in memory that keeps the rules of XTS: one live token, subscriptions that belong
//! to it, no subscription twice. One file although it is long: every rule reads the same state.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::civil::Date;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::broker::{
    AccountEvent, AccountFeed, Broker, Error, Feed, FeedCounts, FeedEnd, Limits, Login, MasterText,
    Subscribed,
};
use crate::clock::{Clock, UnixNanos};
use crate::market::calendar::ist_date;
use crate::market::{
    Bar, BracketOrder, Conversion, CoverIds, Funds, Holding, InstrumentId, Interval, Kind, LastTrade,
    Listing, NewOrder, Order, OrderChange, OrderKind, OrderStatus, Position, PositionView, Price, Profile,
    Quote, Segment, Side, SquareOff, Tick, TickBody, Trade,
};
use crate::secret::Secret;
use crate::session::subscriptions::Operation;
use crate::token::{AccountFacts, Product, Token};

/// Rows as `GET {md}/instruments/master` of XTS brings them (samples of its documentation).
pub(crate) const MASTER_ROWS: &str = "\
NSECM|2885|8|RELIANCE|RELIANCE-EQ|EQ|RELIANCE-EQ|1100100002885|1598|1307.6|676621|0.1|1|1|RELIANCE|INE002A01018|1|1|RELIANCE INDUSTRIES LTD-EQ|0|1|1
NSEFO|59182|1|NIFTY|NIFTY26FEBFUT|FUTIDX|NIFTY-FUTIDX|2605500059182|28369.8|23211.8|1801|0.1|65|1|-1|Nifty 50|2026-02-24T14:30:00|NIFTY 24FEB2026|1|1|NIFTY26FEBFUT
";

/// What a test lets a feed do.
#[expect(clippy::large_enum_variant, reason = "a test has few of them")]
pub(crate) enum Item {
    Tick(Tick),
    End(FeedEnd),
    Panic,
}

/// One request as the broker saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) operation: Operation,
    pub(crate) kind: Kind,
    pub(crate) instruments: Vec<InstrumentId>,
}

/// What to do with the next call of a kind.
pub(crate) enum Script {
    Fail(Error),
    Panic,
    /// Never answers.
    Hang,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) logins: [u32; 2],
    pub(crate) login_attempts: [u32; 2],
    pub(crate) login_took: Duration,
    pub(crate) token_life: Option<Duration>,
    /// Logins under way, and the most of one product at once.
    pub(crate) at_once: [u32; 2],
    pub(crate) most_at_once: u32,
    pub(crate) market_logins: VecDeque<Script>,
    pub(crate) interactive_logins: VecDeque<Script>,
    /// A login says `logout` to the sockets of the session it ends.
    pub(crate) logout_on_login: bool,
    /// Order book, positions and funds refuse every token, or are out of order.
    pub(crate) refuse_books: bool,
    pub(crate) books_down: bool,
    /// Calls for books, the order book left out.
    pub(crate) book_calls: u32,
    pub(crate) opens: VecDeque<Script>,
    pub(crate) subscribes: VecDeque<Script>,
    pub(crate) verifies: VecDeque<Script>,
    /// When a token was verified.
    pub(crate) verified_at: Vec<Instant>,
    pub(crate) masters: VecDeque<Script>,
    /// Every download fails.
    pub(crate) masters_down: bool,
    /// Rows of the instrument master; empty: [`MASTER_ROWS`].
    pub(crate) master_rows: String,
    pub(crate) no_interactive: bool,
    /// The live token of each product.
    pub(crate) tokens: [Option<String>; 2],
    pub(crate) held: BTreeSet<(InstrumentId, Kind)>,
    /// As its settings say; `None`: 50.
    pub(crate) max_subscriptions: Option<usize>,
    pub(crate) requests: Vec<Seen>,
    pub(crate) quotes: Vec<InstrumentId>,
    pub(crate) snapshots: bool,
    pub(crate) opened_at: Vec<Instant>,
    pub(crate) open_with: Vec<String>,
    pub(crate) feed: Option<mpsc::UnboundedSender<Item>>,
    pub(crate) downloads: u32,
    pub(crate) account_feed: Option<mpsc::UnboundedSender<Result<AccountEvent, FeedEnd>>>,
    pub(crate) new_credentials: bool,
    /// The order book.
    pub(crate) book: Vec<Order>,
    /// Whom orders are for; empty: everybody.
    pub(crate) client: String,
    /// Rows of it that cannot be read.
    pub(crate) unreadable: usize,
    /// The order book has been read so often.
    pub(crate) order_books: u32,
    /// What was asked of orders, in order: every call that got as far as a good token.
    pub(crate) asked: Vec<String>,
    /// What becomes of the next of these.
    pub(crate) fates: VecDeque<Fate>,
    /// Tokens that orders are refused with, before anything else.
    pub(crate) refuse_orders: u32,
    /// Bars by slice, and the slices asked for.
    pub(crate) bars: Vec<Bar>,
    pub(crate) slices: Vec<(Date, Date)>,
    pub(crate) history_days: u32,
    pub(crate) touchline: Option<Quote>,
}

/// What becomes of an order.
pub(crate) enum Fate {
    /// Done, but the answer is lost: never comes, or an error comes in its place.
    DoneUnsaid(Option<Error>),
    /// Never done, and no answer comes.
    LostOnTheWay,
    /// The broker answers with this, and nothing is done.
    Fails(Error),
}

impl World {
    /// Feeds that somebody still reads; the last one opened.
    pub(crate) fn feed_is_open(&self) -> bool {
        self.feed.as_ref().is_some_and(|feed| !feed.is_closed())
    }

    pub(crate) fn push(&self, item: Item) {
        let _ = self.feed.as_ref().expect("a feed was opened").send(item);
    }

    pub(crate) fn account_feed_is_open(&self) -> bool {
        self.account_feed.as_ref().is_some_and(|feed| !feed.is_closed())
    }

    pub(crate) fn account_event(&self, event: AccountEvent) {
        let _ = self.account_feed.as_ref().expect("it was opened").send(Ok(event));
    }

    pub(crate) fn end_account_feed(&self, end: FeedEnd) {
        let _ = self.account_feed.as_ref().expect("it was opened").send(Err(end));
    }

    pub(crate) fn subscribed(&self, kind: Kind) -> usize {
        self.requests
            .iter()
            .filter(|seen| seen.operation == Operation::Subscribe && seen.kind == kind)
            .map(|seen| seen.instruments.len())
            .sum()
    }
}

#[derive(Clone)]
pub(crate) struct FakeBroker {
    world: Arc<Mutex<World>>,
    clock: Arc<dyn Clock>,
}

impl FakeBroker {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let world = World { token_life: Some(Duration::from_hours(24)), ..World::default() };
        Self { world: Arc::new(Mutex::new(world)), clock }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        match self.world.try_lock() {
            Ok(world) => world,
            // A script may panic while it is held.
            Err(TryLockError::Poisoned(world)) => world.into_inner(),
            Err(TryLockError::WouldBlock) => panic!("locked twice by one thread"),
        }
    }

    pub(crate) fn tick(&self, instrument: InstrumentId, rupees: i64) -> Tick {
        tick(instrument, rupees, self.clock.now())
    }

    fn check(&self, token: &Token) -> Result<(), Error> {
        if self.world().tokens[token.product as usize].as_deref() == Some(token.secret.expose()) {
            return Ok(());
        }
        Err(refused())
    }

    /// One request that changes something: `work` is what it does.
    async fn change<T>(
        &self,
        token: &Token,
        words: String,
        work: impl FnOnce(&mut World) -> T,
    ) -> Result<T, Error> {
        {
            let mut world = self.world();
            if world.refuse_orders > 0 {
                world.refuse_orders -= 1;
                return Err(refused());
            }
        }
        self.check(token)?;
        let (done, fails) = {
            let mut world = self.world();
            world.asked.push(words);
            match world.fates.pop_front() {
                None => return Ok(work(&mut world)),
                Some(Fate::Fails(error)) => return Err(error),
                Some(Fate::LostOnTheWay) => (None, None),
                Some(Fate::DoneUnsaid(error)) => (Some(work(&mut world)), error),
            }
        };
        drop(done);
        match fails {
            Some(error) => Err(error),
            None => std::future::pending().await,
        }
    }

    fn book(&self, token: &Token) -> Result<(), Error> {
        let mut world = self.world();
        world.book_calls += 1;
        if world.books_down {
            return Err(Error::Network("down".to_owned()));
        }
        if world.refuse_books {
            return Err(refused());
        }
        drop(world);
        self.check(token)
    }
}

pub(crate) fn refused() -> Error {
    Error::InvalidToken { code: "e-session-0007".to_owned(), description: "Invalid Token".to_owned() }
}

/// A limit order for ten that stands.
pub(crate) fn order(id: &str, mark: &str) -> Order {
    Order {
        id: id.to_owned(),
        exchange_id: String::new(),
        unique_id: mark.to_owned(),
        account: "TEST01".to_owned(),
        instrument: InstrumentId { segment: Segment::NseCash, code: 2885 },
        symbol: "RELIANCE-EQ".to_owned(),
        side: Side::Buy,
        kind: OrderKind::Limit,
        product: "MIS".to_owned(),
        validity: "DAY".to_owned(),
        quantity: 10,
        filled: 0,
        left: 10,
        price: Price::from_rupees(100),
        trigger: Price::default(),
        average: None,
        status: OrderStatus::Open,
        reason: String::new(),
        placed_at: None,
        updated_at: None,
    }
}

pub(crate) fn tick(instrument: InstrumentId, rupees: i64, at: UnixNanos) -> Tick {
    let price = Price::from_rupees(rupees);
    let last = LastTrade { price, size: 1, time: at };
    let quote = Quote { last, close: price, ..Quote::default() };
    Tick { instrument, ts_event: at, ts_recv: at, body: TickBody::Quote(quote) }
}

/// An unsigned token in the shape of the broker's.
fn jwt(number: u32, now: UnixNanos, life: Option<Duration>) -> String {
    let Some(life) = life else { return format!("opaque-{number}") };
    let claims = format!(r#"{{"n":{number},"iat":{},"exp":{}}}"#, now.as_secs(), now.plus(life).as_secs());
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    format!("{header}.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

async fn play(script: Option<Script>) -> Result<(), Error> {
    match script {
        None => Ok(()),
        Some(Script::Fail(error)) => Err(error),
        Some(Script::Panic) => panic!("as the test wants it"),
        Some(Script::Hang) => std::future::pending().await,
    }
}

impl Broker for FakeBroker {
    fn limits(&self) -> Limits {
        let max_subscriptions = self.world().max_subscriptions.unwrap_or(50);
        Limits { max_subscriptions, per_request: 10, request_interval: Duration::from_millis(500) }
    }

    fn binding(&self, product: Product) -> String {
        format!("https://broker.test {product}")
    }

    fn login(&self, product: Product) -> BoxFuture<'_, Result<Login, Error>> {
        async move {
            let slot = product as usize;
            let (script, took) = {
                let mut world = self.world();
                if product == Product::Interactive && world.no_interactive {
                    return Err(Error::NotConfigured("interactive keys".to_owned()));
                }
                world.login_attempts[slot] += 1;
                world.at_once[slot] += 1;
                world.most_at_once = world.most_at_once.max(world.at_once[slot]);
                let script = match product {
                    Product::Market => world.market_logins.pop_front(),
                    Product::Interactive => world.interactive_logins.pop_front(),
                };
                (script, world.login_took)
            };
            let _under_way = UnderWay(self, slot);
            tokio::time::sleep(took).await;
            play(script).await?;
            let mut world = self.world();
            world.logins[slot] += 1;
            if world.logout_on_login {
                let bye = || FeedEnd::Logout("replaced".to_owned());
                match product {
                    Product::Market if world.feed_is_open() => world.push(Item::End(bye())),
                    Product::Interactive if world.account_feed_is_open() => world.end_account_feed(bye()),
                    _ => {}
                }
            }
            let secret = jwt(world.logins[slot], self.clock.now(), world.token_life);
            world.tokens[slot] = Some(secret.clone());
            if product == Product::Market {
                // Subscriptions belong to the token.
                world.held.clear();
            }
            let facts = AccountFacts { user_id: "TEST01".to_owned(), ..AccountFacts::default() };
            Ok(Login { secret: Secret::new(secret), facts })
        }
        .boxed()
    }

    fn instruments<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<MasterText, Error>> {
        async move {
            let script = {
                let mut world = self.world();
                world.downloads += 1;
                let down = || Script::Fail(Error::Network("down".to_owned()));
                if world.masters_down { Some(down()) } else { world.masters.pop_front() }
            };
            play(script).await?;
            self.check(token)?;
            let rows = self.world().master_rows.clone();
            let rows = if rows.is_empty() { MASTER_ROWS.to_owned() } else { rows };
            Ok(MasterText { rows, indices: vec![(1, "NIFTY 50_26000".to_owned())] })
        }
        .boxed()
    }

    fn open_feed<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Box<dyn Feed>, Error>> {
        async move {
            let script = {
                let mut world = self.world();
                world.opened_at.push(Instant::now());
                world.open_with.push(token.secret.expose().to_owned());
                world.opens.pop_front()
            };
            play(script).await?;
            self.check(token)?;
            let (tx, rx) = mpsc::unbounded_channel();
            assert!(!self.world().feed_is_open(), "two feeds at once");
            self.world().feed = Some(tx);
            Ok(Box::new(FakeFeed(rx)) as Box<dyn Feed>)
        }
        .boxed()
    }

    fn verify<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let script = {
                let mut world = self.world();
                world.verified_at.push(Instant::now());
                world.verifies.pop_front()
            };
            play(script).await?;
            self.check(token)
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
            let asked_at = self.clock.now();
            let script = self.world().subscribes.pop_front();
            play(script).await?;
            self.check(token)?;
            let mut world = self.world();
            let seen = Seen { operation: Operation::Subscribe, kind, instruments: instruments.to_vec() };
            world.requests.push(seen);
            for instrument in instruments {
                assert!(world.held.insert((*instrument, kind)), "{instrument} is subscribed twice");
                let most = world.max_subscriptions.unwrap_or(usize::MAX);
                assert!(world.held.len() <= most, "more subscriptions than the broker grants");
            }
            let snapshot = if world.snapshots {
                instruments.iter().map(|i| tick(*i, 100, asked_at)).collect()
            } else {
                Vec::new()
            };
            Ok(Subscribed { confirmed: instruments.to_vec(), rejected: Vec::new(), snapshot })
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
            self.check(token)?;
            let mut world = self.world();
            let seen = Seen { operation: Operation::Unsubscribe, kind, instruments: instruments.to_vec() };
            world.requests.push(seen);
            for instrument in instruments {
                world.held.remove(&(*instrument, kind));
            }
            Ok(())
        }
        .boxed()
    }

    fn quotes<'a>(
        &'a self,
        token: &'a Token,
        _: Kind,
        instruments: &'a [InstrumentId],
    ) -> BoxFuture<'a, Result<Vec<Tick>, Error>> {
        async move {
            let asked_at = self.clock.now();
            self.check(token)?;
            self.world().quotes.extend_from_slice(instruments);
            if let Some(quote) = self.world().touchline {
                let with =
                    |i: &InstrumentId| Tick { body: TickBody::Quote(quote), ..tick(*i, 200, asked_at) };
                return Ok(instruments.iter().map(with).collect());
            }
            Ok(instruments.iter().map(|i| tick(*i, 200, asked_at)).collect())
        }
        .boxed()
    }

    fn order_book<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Listing<Order>, Error>> {
        async move {
            self.world().order_books += 1;
            // Not counted among `book_calls`: the session reads it by itself, too.
            let answer = self.book(token);
            self.world().book_calls -= 1;
            answer?;
            let world = self.world();
            Ok(Listing { rows: world.book.clone(), unreadable: world.unreadable })
        }
        .boxed()
    }

    fn traded_orders<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Listing<Order>, Error>> {
        async move {
            let mut listing = self.order_book(token).await?;
            listing.rows.retain(|order| self.trades_for(token, &order.account));
            Ok(listing)
        }
        .boxed()
    }

    fn trades_for(&self, _: &Token, account: &str) -> bool {
        let world = self.world();
        world.client.is_empty() || world.client == account
    }

    fn trades<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Listing<Trade>, Error>> {
        async move { self.book(token).map(|()| Listing::default()) }.boxed()
    }

    fn holdings<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Listing<Holding>, Error>> {
        async move { self.book(token).map(|()| Listing::default()) }.boxed()
    }

    fn profile<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Profile, Error>> {
        async move { self.book(token).map(|()| Profile::default()) }.boxed()
    }

    fn order_history<'a>(
        &'a self,
        token: &'a Token,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Order>, Error>> {
        async move {
            self.book(token)?;
            Ok(self.world().book.iter().filter(|order| order.id == id).cloned().collect())
        }
        .boxed()
    }

    fn place<'a>(
        &'a self,
        token: &'a Token,
        _: Instant,
        new: &'a NewOrder,
    ) -> BoxFuture<'a, Result<String, Error>> {
        let work = |world: &mut World| {
            let id = (world.book.len() + 1).to_string();
            world.book.push(Order { side: new.side, quantity: new.quantity, ..order(&id, &new.unique_id) });
            id
        };
        self.change(token, format!("place {}", new.unique_id), work).boxed()
    }

    fn place_cover<'a>(
        &'a self,
        token: &'a Token,
        _: Instant,
        new: &'a NewOrder,
    ) -> BoxFuture<'a, Result<CoverIds, Error>> {
        let work = |world: &mut World| {
            world.book.push(Order { side: Side::Sell, ..order("C2", &new.unique_id) });
            world.book.push(Order { side: Side::Buy, ..order("C1", &new.unique_id) });
            CoverIds { entry: "C1".to_owned(), exit: "C2".to_owned() }
        };
        self.change(token, "cover".to_owned(), work).boxed()
    }

    fn place_bracket<'a>(
        &'a self,
        token: &'a Token,
        _: Instant,
        new: &'a BracketOrder,
    ) -> BoxFuture<'a, Result<String, Error>> {
        let work = |world: &mut World| {
            world.book.push(order("B1", &new.entry.unique_id));
            "B1".to_owned()
        };
        self.change(token, "bracket".to_owned(), work).boxed()
    }

    fn modify<'a>(
        &'a self,
        token: &'a Token,
        _: Instant,
        to: &'a OrderChange,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let work = |world: &mut World| {
            for order in world.book.iter_mut().filter(|order| order.id == to.id) {
                (order.quantity, order.price) = (to.quantity, to.price);
            }
        };
        self.change(token, format!("modify {} {}", to.id, to.unique_id), work).boxed()
    }

    fn cancel<'a>(
        &'a self,
        token: &'a Token,
        id: &'a str,
        unique_id: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let work = move |world: &mut World| {
            for order in world.book.iter_mut().filter(|order| order.id == id) {
                order.status = OrderStatus::Cancelled;
            }
        };
        self.change(token, format!("cancel {id} {unique_id}"), work).boxed()
    }

    fn cancel_all<'a>(
        &'a self,
        token: &'a Token,
        instrument: InstrumentId,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let work = move |world: &mut World| {
            for order in world.book.iter_mut().filter(|order| order.instrument == instrument) {
                order.status = OrderStatus::Cancelled;
            }
        };
        self.change(token, "cancel_all".to_owned(), work).boxed()
    }

    fn exit_cover<'a>(&'a self, token: &'a Token, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        let work = move |world: &mut World| {
            for order in world.book.iter_mut().filter(|order| order.id == id) {
                order.status = OrderStatus::Filled;
            }
        };
        self.change(token, format!("exit_cover {id}"), work).boxed()
    }

    fn exit_bracket<'a>(&'a self, token: &'a Token, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        self.change(token, format!("exit_bracket {id}"), |_| ()).boxed()
    }

    fn convert<'a>(
        &'a self,
        token: &'a Token,
        _: Instant,
        _: &'a Conversion,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.change(token, "convert".to_owned(), |_| ()).boxed()
    }

    fn square_off<'a>(
        &'a self,
        token: &'a Token,
        _: Instant,
        _: &'a SquareOff,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.change(token, "square_off".to_owned(), |_| ()).boxed()
    }

    fn intervals(&self) -> &'static [Interval] {
        const { &[Interval::minutes(1), Interval::Day, Interval::Week, Interval::Month] }
    }

    fn history_days(&self, interval: Interval) -> u32 {
        if interval.is_intraday() { self.world().history_days.max(1) } else { 1000 }
    }

    fn history<'a>(
        &'a self,
        token: &'a Token,
        _: InstrumentId,
        _: Interval,
        from: Date,
        to: Date,
    ) -> BoxFuture<'a, Result<Vec<Bar>, Error>> {
        async move {
            self.check(token)?;
            let mut world = self.world();
            world.slices.push((from, to));
            let within = |bar: &&Bar| (from..=to).contains(&ist_date(bar.start));
            Ok(world.bars.iter().filter(within).copied().collect())
        }
        .boxed()
    }

    fn positions<'a>(
        &'a self,
        token: &'a Token,
        _: PositionView,
    ) -> BoxFuture<'a, Result<Listing<Position>, Error>> {
        async move { self.book(token).map(|()| Listing::default()) }.boxed()
    }

    fn funds<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Funds, Error>> {
        async move { self.book(token).map(|()| Funds::default()) }.boxed()
    }

    fn open_account_feed<'a>(
        &'a self,
        token: &'a Token,
    ) -> BoxFuture<'a, Result<Box<dyn AccountFeed>, Error>> {
        async move {
            self.check(token)?;
            let (tx, rx) = mpsc::unbounded_channel();
            self.world().account_feed = Some(tx);
            Ok(Box::new(FakeAccountFeed(rx)) as Box<dyn AccountFeed>)
        }
        .boxed()
    }

    fn reload_credentials(&self) -> bool {
        std::mem::take(&mut self.world().new_credentials)
    }

    fn logout<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            self.check(token)?;
            self.world().tokens[token.product as usize] = None;
            Ok(())
        }
        .boxed()
    }
}

/// Counts a login for as long as it is under way, however it ends.
struct UnderWay<'a>(&'a FakeBroker, usize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut world = self.0.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        world.at_once[self.1] -= 1;
    }
}

struct FakeFeed(mpsc::UnboundedReceiver<Item>);

impl Feed for FakeFeed {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        recv: &dyn Fn() -> UnixNanos,
        batch: &mut Vec<Tick>,
    ) -> Poll<Result<(), FeedEnd>> {
        match self.0.poll_recv(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Item::Tick(tick))) => {
                batch.push(Tick { ts_recv: recv(), ..tick });
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Some(Item::End(end))) => Poll::Ready(Err(end)),
            Poll::Ready(Some(Item::Panic)) => panic!("as the test wants it"),
            Poll::Ready(None) => Poll::Ready(Err(FeedEnd::Closed("gone".to_owned()))),
        }
    }

    fn take_counts(&mut self) -> FeedCounts {
        FeedCounts::default()
    }
}

struct FakeAccountFeed(mpsc::UnboundedReceiver<Result<AccountEvent, FeedEnd>>);

impl AccountFeed for FakeAccountFeed {
    fn next(&mut self) -> BoxFuture<'_, Result<AccountEvent, FeedEnd>> {
        async { self.0.recv().await.unwrap_or_else(|| Err(FeedEnd::Closed("gone".to_owned()))) }.boxed()
    }
}
