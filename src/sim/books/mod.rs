//! One demo account's books: a few orders, the trades they led to, and what follows from those.
//! Not a matching engine; no order can be placed. How the venue writes any of it is `wire`.

mod demo;
mod truth;
pub(crate) mod wire;

#[cfg(test)]
mod tests;

use crate::clock::UnixNanos;
use crate::market::{InstrumentId, Price};

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    PendingNew,
    New,
    PartiallyFilled,
    Filled,
    Cancelled,
    Rejected,
    TriggerPending,
}

/// An instrument, as books name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) id: InstrumentId,
    pub(crate) symbol: String,
    pub(crate) lot: i64,
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
        let mut add = |item: &Item, product, side, quantity, amount| {
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
        };
        for held in self.carried.iter().filter(|_| net) {
            add(&held.item, held.product, held.side, held.quantity, amount(held.price, held.quantity));
        }
        for trade in &self.trades {
            let order = &self.orders[trade.order];
            add(&order.item, order.product, order.side, trade.quantity, amount(trade.price, trade.quantity));
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
            worth += amount(order.limit, self.left(at));
        }
        let realized = self.positions(true).iter().map(Position::realized).sum();
        Funds { cash: CASH, used: worth / MARGIN_PART, realized }
    }

    /// Fills the next order that stands at the exchange. Returns its place and the trade's.
    pub(crate) fn fill_next(&mut self, now: UnixNanos) -> Option<(usize, usize)> {
        let stands = |o: &Order| matches!(o.status, Status::New | Status::PartiallyFilled);
        let at = self.orders.iter().position(stands)?;
        self.trade(at, self.left(at), self.orders[at].limit, now);
        Some((at, self.trades.len() - 1))
    }

    fn trade(&mut self, order: usize, quantity: i64, price: Price, time: UnixNanos) {
        let number = self.next_execution;
        self.next_execution += 1;
        self.trades.push(Trade { order, number, quantity, price, time });
        self.orders[order].updated = time;
        let left = self.orders[order].quantity - self.filled(order);
        self.orders[order].status = if left == 0 { Status::Filled } else { Status::PartiallyFilled };
    }
}
