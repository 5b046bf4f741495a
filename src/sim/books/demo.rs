//! The demo book of a day: orders in every state, closed and open positions, one carried over.
//! Computed from the account's number and the day's catalogue alone.

use std::time::Duration;

use super::{Book, Carried, Holding, Item, Order, Side, Status, Type, Validity};
use crate::clock::UnixNanos;
use crate::market::calendar::{TimeOfDay, last_cutoff};
use crate::market::{Exchange, Price};
use crate::sim::instruments::{Catalogue, Kind, Listing};

/// How far back the first order lies.
const SPAN: Duration = Duration::from_mins(30);

/// What makes up the day.
struct Desk<'a> {
    book: Book,
    catalogue: &'a Catalogue,
    account: usize,
    /// Of the account's first order.
    first: u64,
    start: UnixNanos,
}

/// An order as the demo describes it.
struct Plan {
    item: Item,
    side: Side,
    r#type: Type,
    product: &'static str,
    quantity: i64,
    limit: Price,
    trigger: Price,
    status: Status,
}

impl Book {
    /// A book with nothing in it, whose executions have numbers of their own.
    pub(crate) fn empty(account: usize, now: UnixNanos) -> Self {
        let days = u64::try_from(now.as_secs() / 86_400).unwrap_or_default() % 1_000;
        Self { next_execution: (400_000 + days * 100 + account as u64) * 1_000_000, ..Self::default() }
    }

    /// The demo book of an account, 0 being the first; its orders are of the half hour before
    /// `now`, or of the day's first minutes.
    pub(crate) fn demo(account: usize, catalogue: &Catalogue, now: UnixNanos) -> Self {
        let days = u64::try_from(now.as_secs() / 86_400).unwrap_or_default() % 1_000;
        let midnight = TimeOfDay::new(0, 0).map_or(now, |midnight| last_cutoff(now, midnight));
        let start = UnixNanos::from_secs(now.minus(SPAN).max(midnight).as_secs());
        let number = days * 100_000 + account as u64 * 1_000;
        let book = Self { holdings: Holding::demo(account, catalogue), ..Self::empty(account, now) };
        let mut desk = Desk { book, catalogue, account, first: 1_100_000_000 + number, start };
        desk.shares();
        desk.contracts();
        desk.book
    }
}

impl Desk<'_> {
    fn shares(&mut self) {
        use Side::{Buy, Sell};
        use Type::{Limit, Market, StopLimit};
        // Bought and partly sold again: a realized profit, and an average with a comma for the
        // dearer shares.
        let (share, close) = self.share(0);
        let bought = self.place(plan(&share, Buy, Limit, "MIS", 10, close(2)));
        self.trade(bought, 10, close(2));
        let sold = self.place(plan(&share, Sell, Market, "MIS", 4, Price::ZERO));
        self.trade(sold, 4, close(5));
        // Two executions at two prices, and a rest that stands.
        let (share, close) = self.share(1);
        let part = self.place(plan(&share, Buy, Limit, "CNC", 25, close(1)));
        self.trade(part, 10, close(0));
        self.trade(part, 5, close(1));
        let (share, close) = self.share(2);
        self.place(plan(&share, Buy, Limit, "MIS", 50, close(-4)));
        let (share, close) = self.share(3);
        let stop = Plan {
            trigger: close(-9),
            status: Status::TriggerPending,
            ..plan(&share, Sell, StopLimit, "MIS", 20, close(-10))
        };
        self.place(stop);
        let (share, close) = self.share(4);
        self.place(Plan { status: Status::Cancelled, ..plan(&share, Buy, Limit, "NRML", 8, close(-7)) });
        let (share, close) = self.share(5);
        let at =
            self.place(Plan { status: Status::Rejected, ..plan(&share, Buy, Limit, "CNC", 9_000, close(0)) });
        "RMS:Margin Exceeds, Required:95,83,200.00, Available:14,10,698.00"
            .clone_into(&mut self.book.orders[at].reason);
        let (share, close) = self.share(6);
        self.place(Plan { status: Status::PendingNew, ..plan(&share, Sell, Limit, "CNC", 3, close(8)) });
        // Sold first: a short position.
        let (share, close) = self.share(7);
        let short = self.place(plan(&share, Side::Sell, Limit, "MIS", 30, close(0)));
        self.trade(short, 30, close(0));
    }

    fn contracts(&mut self) {
        let is_future = |l: &&Listing, name: &str| {
            l.exchange == Exchange::Nfo && l.symbol.starts_with(name) && matches!(l.kind, Kind::Future { .. })
        };
        let listings = self.catalogue.listings();
        if let Some(future) = listings.iter().find(|l| is_future(l, "NIFTY")) {
            let lot = i64::from(future.lot);
            let plan = plan(&item(future), Side::Buy, Type::Limit, "NRML", 2 * lot, ticks(future, 3));
            let at = self.place(plan);
            self.trade(at, lot, ticks(future, 2));
            self.trade(at, lot, ticks(future, 3));
        }
        if let Some(future) = listings.iter().find(|l| is_future(l, "BANKNIFTY")) {
            self.book.carried.push(Carried {
                item: item(future),
                product: "NRML",
                side: Side::Sell,
                quantity: i64::from(future.lot),
                price: ticks(future, -20),
            });
        }
    }

    /// A share, and its price so many ticks from the previous close. Each account has others.
    fn share(&self, nth: usize) -> (Item, impl Fn(i64) -> Price + use<>) {
        let is_share = |l: &&Listing| l.exchange == Exchange::Nse && l.kind == Kind::Share;
        let shares: Vec<_> = self.catalogue.listings().iter().filter(is_share).collect();
        let listing = shares[(self.account * 5 + nth) % shares.len()].clone();
        (item(&listing), move |by| ticks(&listing, by))
    }

    fn place(&mut self, plan: Plan) -> usize {
        let nth = self.book.orders.len() as u64;
        let placed = self.start.plus(Duration::from_secs(nth * 90));
        let is_at_exchange = !matches!(plan.status, Status::PendingNew | Status::Rejected);
        let number = self.first + nth + 1;
        let Plan { item, side, r#type, product, quantity, limit, trigger, status } = plan;
        self.book.orders.push(Order {
            number,
            exchange_number: if is_at_exchange {
                format!("1100000{:09}", number % 1_000_000_000)
            } else {
                String::new()
            },
            mark: format!("demo-{}", nth + 1),
            item,
            side,
            r#type,
            product,
            quantity,
            limit,
            trigger,
            status,
            reason: String::new(),
            placed,
            updated: placed.plus(Duration::from_secs(1)),
            validity: Validity::Day,
            disclosed: 0,
            basis: limit,
            is_live: false,
            triggered: !r#type.is_stop(),
            rests: true,
            states: Vec::new(),
            link: None,
        });
        self.book.orders.len() - 1
    }

    fn trade(&mut self, order: usize, quantity: i64, price: Price) {
        let time = self.book.orders[order].updated.plus(Duration::from_secs(2));
        self.book.trade(order, quantity, price, time);
    }
}

fn plan(item: &Item, side: Side, r#type: Type, product: &'static str, quantity: i64, limit: Price) -> Plan {
    let (trigger, status) = (Price::ZERO, Status::New);
    Plan { item: item.clone(), side, r#type, product, quantity, limit, trigger, status }
}

fn item(listing: &Listing) -> Item {
    Item::of(listing)
}

/// The previous close, moved by some ticks.
fn ticks(listing: &Listing, by: i64) -> Price {
    Price::from_nanos(listing.previous_close.as_nanos() + by * listing.tick.as_nanos())
}
