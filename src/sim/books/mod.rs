//! One demo account's books: orders, the trades they led to, and what follows from those.
//! When an order trades is `matching`, who may place one is `core`, how the venue writes any of
//! it is `wire`.

mod demo;
pub(crate) mod holdings;
mod linked;
pub(crate) mod matching;
mod truth;
pub(crate) mod wire;

#[cfg(test)]
mod tests;

use crate::clock::UnixNanos;
use crate::market::{InstrumentId, Price};
use crate::sim::instruments::{Listing, OnGrid as _};
pub(crate) use holdings::Holding;
pub(crate) use linked::{Link, Plan, Role};

/// In paise. `Money` of `market` is for consumers; the venue's books end at the paisa.
pub(crate) type Paise = i64;

/// What an account has in cash before it trades: 25 lakh rupees.
const CASH: Paise = 250_000_000;

/// One part of a position's or an open order's worth that is blocked: a fifth.
const MARGIN_PART: i64 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Buy,
    Sell,
}

/// Names of the venue's that this book uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Market,
    Limit,
    StopLimit,
    StopMarket,
}

impl Type {
    /// Whether it waits for a trigger.
    pub(crate) const fn is_stop(self) -> bool {
        matches!(self, Self::StopLimit | Self::StopMarket)
    }

    /// Whether it takes any price, once it may.
    pub(crate) const fn is_market(self) -> bool {
        matches!(self, Self::Market | Self::StopMarket)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    PendingNew,
    New,
    /// Stands, after a change. As good as `New`.
    Replaced,
    PartiallyFilled,
    Filled,
    Cancelled,
    Rejected,
    TriggerPending,
}

impl Status {
    /// Whether nothing will happen to it any more.
    pub(crate) const fn is_final(self) -> bool {
        matches!(self, Self::Filled | Self::Cancelled | Self::Rejected)
    }

    /// Whether it stands at the exchange, ready to trade.
    pub(crate) const fn stands(self) -> bool {
        matches!(self, Self::New | Self::Replaced | Self::PartiallyFilled)
    }
}

/// How long an order stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Validity {
    #[default]
    Day,
    /// What cannot be done at once is cancelled.
    Ioc,
    /// All at once or nothing.
    Fok,
    /// Longer than a day; here it ends with the day all the same.
    Gtc,
    Gtd,
}

impl Validity {
    pub(crate) const ALL: [Self; 5] = [Self::Day, Self::Ioc, Self::Fok, Self::Gtc, Self::Gtd];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "DAY",
            Self::Ioc => "IOC",
            Self::Fok => "FOK",
            Self::Gtc => "GTC",
            Self::Gtd => "GTD",
        }
    }
}

impl Side {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

/// An instrument, as books name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) id: InstrumentId,
    pub(crate) symbol: String,
    pub(crate) lot: i64,
    pub(crate) tick: Price,
}

impl Item {
    pub(crate) fn of(listing: &Listing) -> Self {
        Self {
            id: listing.id,
            symbol: listing.symbol.clone(),
            lot: i64::from(listing.lot),
            tick: listing.tick,
        }
    }

    fn on_grid(&self, price: Price) -> Price {
        price.round_to(self.tick)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) number: u64,
    /// Empty before the exchange has it.
    pub(crate) exchange_number: String,
    pub(crate) mark: String,
    pub(crate) item: Item,
    pub(crate) side: Side,
    pub(crate) r#type: Type,
    pub(crate) product: &'static str,
    pub(crate) quantity: i64,
    /// Zero for none.
    pub(crate) limit: Price,
    /// Zero for none.
    pub(crate) trigger: Price,
    pub(crate) status: Status,
    pub(crate) reason: String,
    pub(crate) placed: UnixNanos,
    pub(crate) updated: UnixNanos,
    pub(crate) validity: Validity,
    pub(crate) disclosed: i64,
    /// What funds take a unit of it to be worth; zero for what only reduces a position.
    pub(crate) basis: Price,
    /// Whether the market can trade with it. The demo's orders are still pictures.
    pub(crate) is_live: bool,
    /// Whether its trigger was reached; true for what has none.
    pub(crate) triggered: bool,
    /// Whether it has stood in the book: it then trades at its own limit.
    pub(crate) rests: bool,
    /// What it was, oldest first. Empty for the demo's orders.
    pub(crate) states: Vec<State>,
    /// Its part in a bracket or cover order.
    pub(crate) link: Option<Link>,
}

/// What an order was at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) status: Status,
    pub(crate) quantity: i64,
    pub(crate) filled: i64,
    pub(crate) average: Option<Paise>,
    pub(crate) limit: Price,
    pub(crate) trigger: Price,
    pub(crate) time: UnixNanos,
}

/// A part of a position that goes under another product now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conversion {
    item: Item,
    from: &'static str,
    to: &'static str,
    side: Side,
    quantity: i64,
    amount: Paise,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trade {
    /// Of the order, in `Book::orders`.
    pub(crate) order: usize,
    pub(crate) number: u64,
    pub(crate) quantity: i64,
    pub(crate) price: Price,
    pub(crate) time: UnixNanos,
}

/// What was held before the day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) item: Item,
    pub(crate) product: &'static str,
    pub(crate) side: Side,
    pub(crate) quantity: i64,
    pub(crate) price: Price,
}

/// An account's books of one day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Book {
    pub(crate) orders: Vec<Order>,
    pub(crate) trades: Vec<Trade>,
    pub(crate) carried: Vec<Carried>,
    pub(crate) holdings: Vec<Holding>,
    conversions: Vec<Conversion>,
    /// Of the next execution.
    next_execution: u64,
}

/// One position: sums of what was bought and sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) item: Item,
    pub(crate) product: &'static str,
    pub(crate) bought: i64,
    pub(crate) buy_amount: Paise,
    pub(crate) sold: i64,
    pub(crate) sell_amount: Paise,
}

impl Position {
    pub(crate) const fn quantity(&self) -> i64 {
        self.bought - self.sold
    }

    pub(crate) const fn net_amount(&self) -> Paise {
        self.sell_amount - self.buy_amount
    }

    pub(crate) fn buy_average(&self) -> Paise {
        average(self.buy_amount, self.bought)
    }

    pub(crate) fn sell_average(&self) -> Paise {
        average(self.sell_amount, self.sold)
    }

    /// Profit of what was both bought and sold.
    fn realized(&self) -> Paise {
        self.bought.min(self.sold) * (self.sell_average() - self.buy_average())
    }
}

/// What an account can spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Funds {
    pub(crate) cash: Paise,
    pub(crate) used: Paise,
    pub(crate) realized: Paise,
}

impl Funds {
    pub(crate) const fn available(&self) -> Paise {
        self.cash - self.used
    }
}

/// Half up, to the paisa; zero of nothing.
fn average(amount: Paise, quantity: i64) -> Paise {
    if quantity == 0 { 0 } else { (2 * amount + quantity).div_euclid(2 * quantity) }
}

fn amount(price: Price, quantity: i64) -> Paise {
    price.as_nanos() / 10_000_000 * quantity
}

impl Book {
    /// What of an order was done.
    pub(crate) fn filled(&self, order: usize) -> i64 {
        self.trades.iter().filter(|t| t.order == order).map(|t| t.quantity).sum()
    }

    /// What of an order is still to be done; an order that has ended has nothing left.
    pub(crate) fn left(&self, order: usize) -> i64 {
        match self.orders[order].status {
            Status::Cancelled | Status::Rejected => 0,
            _ => self.orders[order].quantity - self.filled(order),
        }
    }

    /// Average price of what was done.
    pub(crate) fn average(&self, order: usize) -> Option<Paise> {
        let theirs = self.trades.iter().filter(|t| t.order == order);
        let (paid, done) = theirs.fold((0, 0), |(p, q), t| (p + amount(t.price, t.quantity), q + t.quantity));
        (done > 0).then(|| average(paid, done))
    }

    /// Positions of the day's trades; with `net`, of what was held before too.
    pub(crate) fn positions(&self, net: bool) -> Vec<Position> {
        let mut found: Vec<Position> = Vec::new();
        let mut add = |item: &Item, product, side, quantity, sum| {
            add_to(&mut found, (item, product), side, quantity, sum);
        };
        for held in self.carried.iter().filter(|_| net) {
            add(&held.item, held.product, held.side, held.quantity, amount(held.price, held.quantity));
        }
        for trade in &self.trades {
            let order = &self.orders[trade.order];
            add(&order.item, order.product, order.side, trade.quantity, amount(trade.price, trade.quantity));
        }
        for Conversion { item, from, to, side, quantity, amount } in &self.conversions {
            // What was held before the day is in one view only.
            let held = found.iter().find(|p| p.item == *item && p.product == *from);
            let enough = held.map_or(0, |p| if *side == Side::Buy { p.bought } else { p.sold });
            if enough >= *quantity {
                add_to(&mut found, (item, from), *side, -quantity, -amount);
                add_to(&mut found, (item, to), *side, *quantity, *amount);
            }
        }
        found
    }

    /// A fifth of what positions are worth, and of what open orders would be, is blocked.
    pub(crate) fn funds(&self) -> Funds {
        let mut worth = 0;
        for position in self.positions(true) {
            let quantity = position.quantity();
            let average = if quantity >= 0 { position.buy_average() } else { position.sell_average() };
            worth += quantity.abs() * average;
        }
        for (at, order) in self.orders.iter().enumerate() {
            worth += amount(order.basis, self.left(at));
        }
        let realized = self.positions(true).iter().map(Position::realized).sum();
        Funds { cash: CASH, used: worth / MARGIN_PART, realized }
    }

    /// What an order blocks.
    pub(crate) fn margin(&self, at: usize) -> Paise {
        amount(self.orders[at].basis, self.left(at)) / MARGIN_PART
    }

    /// Shares of the depository that can be sold still.
    pub(crate) fn free(&self, id: InstrumentId) -> i64 {
        self.holdings.iter().find(|h| h.is(id)).map_or(0, |h| h.quantity - h.used)
    }

    /// Shares of the depository were sold.
    pub(crate) fn use_holding(&mut self, id: InstrumentId, quantity: i64) {
        if let Some(holding) = self.holdings.iter_mut().find(|h| h.is(id)) {
            holding.used = (holding.used + quantity).min(holding.quantity);
        }
    }

    /// What is held of an instrument under a product: below zero if it was sold.
    pub(crate) fn held(&self, item: &Item, product: &str) -> i64 {
        let positions = self.positions(true);
        positions.iter().find(|p| p.item == *item && p.product == product).map_or(0, Position::quantity)
    }

    /// Puts a part of a position under another product. `None` if there is not that much.
    pub(crate) fn convert(&mut self, item: &Item, from: &str, to: &'static str, quantity: i64) -> Option<()> {
        let positions = self.positions(true);
        let position = positions.iter().find(|p| p.item == *item && p.product == from)?;
        if quantity <= 0 || position.quantity().abs() < quantity {
            return None;
        }
        let (side, average) = if position.quantity() > 0 {
            (Side::Buy, position.buy_average())
        } else {
            (Side::Sell, position.sell_average())
        };
        let (item, from) = (item.clone(), position.product);
        self.conversions.push(Conversion { item, from, to, side, quantity, amount: average * quantity });
        Some(())
    }

    /// Fills the next order that stands at the exchange. Returns its place and the trade's.
    pub(crate) fn fill_next(&mut self, now: UnixNanos) -> Option<(usize, usize)> {
        let at = self.orders.iter().position(|o| o.status.stands())?;
        let order = &self.orders[at];
        let price = if order.limit.is_positive() { order.limit } else { order.basis };
        self.trade(at, self.left(at), price, now);
        Some((at, self.trades.len() - 1))
    }

    /// Where an order of a number is.
    pub(crate) fn find(&self, number: u64) -> Option<usize> {
        self.orders.iter().position(|o| o.number == number)
    }

    /// Sets an order's state and writes it down.
    pub(crate) fn set_status(&mut self, at: usize, status: Status, now: UnixNanos) {
        self.orders[at].status = status;
        self.orders[at].updated = now;
        self.note(at);
    }

    /// Writes down what an order is now.
    pub(crate) fn note(&mut self, at: usize) {
        let (filled, average) = (self.filled(at), self.average(at));
        let order = &mut self.orders[at];
        order.states.push(State {
            status: order.status,
            quantity: order.quantity,
            filled,
            average,
            limit: order.limit,
            trigger: order.trigger,
            time: order.updated,
        });
    }

    pub(crate) fn trade(&mut self, order: usize, quantity: i64, price: Price, time: UnixNanos) {
        let number = self.next_execution;
        self.next_execution += 1;
        self.trades.push(Trade { order, number, quantity, price, time });
        self.orders[order].updated = time;
        let left = self.orders[order].quantity - self.filled(order);
        self.orders[order].status = if left == 0 { Status::Filled } else { Status::PartiallyFilled };
        if self.orders[order].is_live {
            self.note(order);
        }
    }
}

/// Adds to a position, which comes about if there is none.
fn add_to(
    found: &mut Vec<Position>,
    (item, product): (&Item, &'static str),
    side: Side,
    quantity: i64,
    amount: Paise,
) {
    let at = found.iter().position(|p| p.item == *item && p.product == product);
    let at = at.unwrap_or_else(|| {
        let (bought, buy_amount, sold, sell_amount) = (0, 0, 0, 0);
        let item = item.clone();
        found.push(Position { item, product, bought, buy_amount, sold, sell_amount });
        found.len() - 1
    });
    let position = &mut found[at];
    match side {
        Side::Buy => {
            position.bought += quantity;
            position.buy_amount += amount;
        }
        Side::Sell => {
            position.sold += quantity;
            position.sell_amount += amount;
        }
    }
}
