//! Brokers that do as a test tells them, and write down what they were asked for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use jiff::civil::Date;
use serde_json::{Map, Value, json};

use super::asked::{Asked, Endpoint};
use super::orders;
use crate::clock::{Clock, UnixNanos};
use crate::gateway::control::{Desk, DeskError, Placer};
use crate::market::{
    Bar, Calendar, Funds, Holding, InstrumentId, Interval, Kind, LastTrade, Listing, MasterHandle, NewOrder,
    Order, OrderChange, OrderStatus, Position, PositionView, Price, Quote, Side, Tick, TickBody, Trade,
};
use crate::protocol::openalgo::rest::fixtures;

/// What the fake answers. `outcomes` are those of orders, changes and cancellations, in turn; then all is well.
#[derive(Default)]
pub(in super::super) struct Books {
    pub(super) orders: Vec<Order>,
    pub(super) trades: Vec<Trade>,
    pub(super) positions: Vec<Position>,
    pub(super) holdings: Vec<Holding>,
    /// Rows beside these, of each book, that cannot be read.
    pub(super) unreadable: usize,
    /// The same of the orders alone.
    pub(super) unreadable_orders: usize,
    /// Whose rows may be acted on; empty: everybody's.
    pub(super) client: &'static str,
    pub(super) funds: Funds,
    pub(super) quotes: Vec<(InstrumentId, Price)>,
    pub(super) no_quotes: bool,
    /// Answers to questions for a kind of data, beside `quotes`.
    pub(super) ticks: Vec<(Kind, Tick)>,
    /// The kind of data that the broker fails to answer.
    pub(super) failing: Option<Kind>,
    pub(super) intervals: Vec<Interval>,
    pub(super) bars: Vec<Bar>,
    /// Every reading of a book fails so.
    pub(super) down: Option<DeskError>,
    pub(super) outcomes: VecDeque<Result<(), DeskError>>,
    /// An order that is placed is in the order book at once, so far done, and the position shows it.
    pub(super) fills: Option<OrderStatus>,
    /// Orders sent, in turn.
    pub(super) placed: Vec<(NewOrder, Placer)>,
    /// Everything else, in words.
    pub(super) asked: Vec<String>,
}

pub(in super::super) struct FakeDesk {
    pub(super) books: Mutex<Books>,
    turns: orders::Turns,
    masters: MasterHandle,
}

impl Books {
    fn listed<T: Clone>(&self, rows: &[T]) -> Listing<T> {
        Listing { rows: rows.to_vec(), unreadable: self.unreadable }
    }

    fn is_traded(&self, account: &str) -> bool {
        self.client.is_empty() || self.client == account
    }

    /// Nothing but these.
    pub(in super::super) fn of_bars(intervals: Vec<Interval>, bars: Vec<Bar>) -> Self {
        Self { intervals, bars, ..Self::default() }
    }
}

/// It is always the moment of the fixtures.
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> UnixNanos {
        fixtures::AT
    }
}

pub(super) fn unclear() -> DeskError {
    DeskError::Unclear {
        message: "the broker did not say; the order book has no tg42".to_owned(),
        unique_id: "tg42".to_owned(),
        sent_at: UnixNanos::from_secs(1),
    }
}

pub(super) fn refused() -> DeskError {
    DeskError::Refused("RMS: margin exceeds".to_owned())
}

impl FakeDesk {
    pub(in super::super) fn new(books: Books) -> Arc<Self> {
        let masters = MasterHandle::new();
        masters.store(Arc::new(fixtures::master()));
        Arc::new(Self { books: Mutex::new(books), turns: orders::Turns::default(), masters })
    }

    /// Asks an endpoint; the answer's status and body.
    pub(super) async fn ask(self: &Arc<Self>, path: &str, body: Value) -> (u16, Value) {
        let Value::Object(body) = body else { panic!("no object") };
        let endpoint = endpoint(path);
        let reply = (endpoint.run)(self.asked(body)).await;
        (reply.status, serde_json::from_str(reply.body.get()).unwrap())
    }

    /// The answer as it is written.
    pub(super) async fn written(self: &Arc<Self>, path: &str) -> String {
        let reply = (endpoint(path).run)(self.asked(Map::new())).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body.get().to_owned()
    }

    fn asked(self: &Arc<Self>, body: Map<String, Value>) -> Asked {
        Asked {
            desk: Arc::<Self>::clone(self),
            masters: self.masters.clone(),
            turns: self.turns.clone(),
            calendar: Calendar::new(),
            clock: Arc::new(Fixed),
            broker: "test".into(),
            default_account: "".into(),
            key: "trader".to_owned(),
            body: Arc::new(body),
        }
    }

    /// Without an instrument list.
    pub(super) fn bare(books: Books) -> Arc<Self> {
        let masters = MasterHandle::new();
        Arc::new(Self { books: Mutex::new(books), turns: orders::Turns::default(), masters })
    }

    fn read<T: Send + 'static>(
        &self,
        what: &str,
        of: impl FnOnce(&Books) -> T,
    ) -> BoxFuture<'static, Result<T, DeskError>> {
        let mut books = self.books.lock().unwrap();
        books.asked.push(what.to_owned());
        let answer = books.down.clone().map_or_else(|| Ok(of(&books)), Err);
        drop(books);
        ready(answer).boxed()
    }

    /// Takes a while, so that requests of one moment meet.
    fn outcome(&self, what: String) -> BoxFuture<'_, Result<(), DeskError>> {
        async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let mut books = self.books.lock().unwrap();
            books.asked.push(what);
            books.outcomes.pop_front().unwrap_or(Ok(()))
        }
        .boxed()
    }
}

pub(super) fn endpoint(path: &str) -> Endpoint {
    super::endpoints().find(|endpoint| endpoint.path == path).unwrap()
}

/// An order's body, with members replaced.
pub(super) fn order_body(more: &Value) -> Value {
    let mut body = json!({"apikey": "k", "strategy": "S", "symbol": "RELIANCE", "exchange": "NSE",
        "action": "BUY", "pricetype": "MARKET", "product": "MIS", "quantity": "10"});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

impl Desk for FakeDesk {
    fn quotes(
        &self,
        kind: Kind,
        instruments: Vec<InstrumentId>,
    ) -> BoxFuture<'_, Result<Vec<Tick>, DeskError>> {
        let mut books = self.books.lock().unwrap();
        books.asked.push(format!("quotes {kind:?} {}", instruments.len()));
        if books.no_quotes {
            return ready(Err(DeskError::NoSession("resting".to_owned()))).boxed();
        }
        if books.failing == Some(kind) {
            return ready(Err(DeskError::Failed("connection reset".to_owned()))).boxed();
        }
        let told =
            books.ticks.iter().filter(|(of, tick)| *of == kind && instruments.contains(&tick.instrument));
        let told: Vec<_> = told.map(|(_, tick)| *tick).collect();
        let known = books.quotes.iter().filter(|(id, _)| instruments.contains(id));
        let ticks = known.map(|(instrument, price)| {
            let last = LastTrade { price: *price, ..LastTrade::default() };
            let body = TickBody::Quote(Quote { last, ..Quote::default() });
            Tick { instrument: *instrument, ts_event: UnixNanos::ZERO, ts_recv: UnixNanos::ZERO, body }
        });
        ready(Ok(ticks.chain(told).collect())).boxed()
    }

    fn intervals(&self) -> Vec<Interval> {
        self.books.lock().unwrap().intervals.clone()
    }

    fn history(
        &self,
        instrument: InstrumentId,
        interval: Interval,
        from: Date,
        to: Date,
    ) -> BoxFuture<'_, Result<Vec<Bar>, DeskError>> {
        self.read(&format!("history {instrument} {interval} {from} {to}"), |books| books.bars.clone())
    }

    fn order_book<'a>(
        &'a self,
        account: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Listing<Order>, DeskError>> {
        self.read(&format!("orders {account:?}"), |books| books.listed(&books.orders))
    }

    fn trades<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<Listing<Trade>, DeskError>> {
        self.read("trades", |books| books.listed(&books.trades))
    }

    fn positions<'a>(
        &'a self,
        _: Option<&'a str>,
        view: PositionView,
    ) -> BoxFuture<'a, Result<Listing<Position>, DeskError>> {
        self.read(&format!("positions {view:?}"), |books| books.listed(&books.positions))
    }

    fn traded_orders<'a>(
        &'a self,
        account: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Listing<Order>, DeskError>> {
        self.read(&format!("traded orders {account:?}"), |books| {
            let mut listing = books.listed(&books.orders);
            listing.unreadable += books.unreadable_orders;
            listing.rows.retain(|order| books.is_traded(&order.account));
            listing
        })
    }

    fn order_to_change<'a>(
        &'a self,
        _: Option<&'a str>,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Listing<Order>, DeskError>> {
        let id = id.to_owned();
        self.read(&format!("order to change {id}"), move |books| {
            let mut listing = books.listed(&books.orders);
            listing.rows.retain(|order| order.id == id && books.is_traded(&order.account));
            listing
        })
    }

    fn traded_positions<'a>(
        &'a self,
        _: Option<&'a str>,
        view: PositionView,
    ) -> BoxFuture<'a, Result<Listing<Position>, DeskError>> {
        self.read(&format!("traded positions {view:?}"), |books| {
            let mut listing = books.listed(&books.positions);
            listing.rows.retain(|position| books.is_traded(&position.account));
            listing
        })
    }

    fn holdings<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<Listing<Holding>, DeskError>> {
        self.read("holdings", |books| books.listed(&books.holdings))
    }

    fn funds<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<Funds, DeskError>> {
        self.read("funds", |books| books.funds)
    }

    fn account_name(&self, account: Option<&str>) -> Result<String, DeskError> {
        Ok(account.unwrap_or("default").to_owned())
    }

    fn place<'a>(
        &'a self,
        _: Option<&'a str>,
        order: NewOrder,
        by: &'a Placer,
    ) -> BoxFuture<'a, Result<String, DeskError>> {
        async move {
            let outcome = self.outcome("place".to_owned()).await;
            let mut books = self.books.lock().unwrap();
            books.placed.push((order.clone(), by.clone()));
            let id = (1_100_012_344 + books.placed.len()).to_string();
            outcome?;
            if let Some(status) = books.fills.clone() {
                let is_filled = status == OrderStatus::Filled;
                let filled = if is_filled { order.quantity } else { 0 };
                let booked = Order {
                    instrument: order.instrument,
                    side: order.side,
                    filled,
                    ..fixtures::order(&id, status)
                };
                books.orders.push(booked);
                let signed = if order.side == Side::Buy { filled } else { -filled };
                let held = books
                    .positions
                    .iter_mut()
                    .find(|p| p.instrument == order.instrument && p.product == order.product);
                match held {
                    Some(position) => position.quantity += signed,
                    None => books.positions.push(fixtures::position(order.instrument, signed)),
                }
            }
            Ok(id)
        }
        .boxed()
    }

    fn modify<'a>(
        &'a self,
        _: Option<&'a str>,
        change: OrderChange,
        by: &'a Placer,
    ) -> BoxFuture<'a, Result<(), DeskError>> {
        let OrderChange { id, kind, quantity, price, validity, unique_id, .. } = change;
        let what = format!("modify {id} {unique_id} {kind:?} {quantity} {price} {validity}");
        self.outcome(format!("{what} {} {}", by.key, by.strategy))
    }

    fn cancel<'a>(
        &'a self,
        _: Option<&'a str>,
        id: &'a str,
        by: &'a Placer,
    ) -> BoxFuture<'a, Result<(), DeskError>> {
        self.outcome(format!("cancel {id} {} {}", by.key, by.strategy))
    }
}
