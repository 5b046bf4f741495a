//! When an order of a book trades, and at what price: a small engine against the simulator's
//! own market. Pure; who is told is `core`.
//!
//! An order is seen by the exchange a moment after it came, and trades a moment later at the
//! earliest. What takes prices trades at the touch, in up to three parts if the touch is smaller
//! than the order; what rests in the book trades at its own limit once the market crosses it.
//! The market does not notice: its quantities stay as they are.

use std::time::Duration;

use super::{Book, Order, Side, Status, Validity};
use crate::clock::UnixNanos;
use crate::market::Price;
use crate::sim::market::Quote;

/// Between two steps of one order.
const MOMENT: Duration = Duration::from_millis(20);

/// The most parts of an order that takes prices.
const PARTS: i64 = 3;

/// What became of an order in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its state is another.
    Status,
    /// It traded: the place of the trade.
    Trade(usize),
}

/// What an order would get now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offer {
    price: Price,
    quantity: i64,
}

impl Book {
    /// Lets one order go on if it is time. At most one thing happens to it.
    pub(crate) fn advance(&mut self, at: usize, quote: &Quote, now: UnixNanos) -> Option<Change> {
        let order = &self.orders[at];
        if !order.is_live || order.status.is_final() || now < order.updated.plus(MOMENT) {
            return None;
        }
        match order.status {
            // The exit of a cover order waits for its entry.
            Status::PendingNew if self.waits_for_entry(at) => None,
            Status::PendingNew => {
                let number = order.number;
                let next = if order.triggered { Status::New } else { Status::TriggerPending };
                self.orders[at].exchange_number = format!("1100000{:09}", number % 1_000_000_000);
                self.set_status(at, next, now);
                Some(Change::Status)
            }
            Status::TriggerPending => {
                self.trail(at, quote);
                is_triggered(&self.orders[at], quote).then(|| {
                    self.orders[at].triggered = true;
                    self.set_status(at, Status::New, now);
                    Change::Status
                })
            }
            _ => self.execute(at, quote, now),
        }
    }

    fn execute(&mut self, at: usize, quote: &Quote, now: UnixNanos) -> Option<Change> {
        let left = self.left(at);
        let offer = offer(&self.orders[at], left, quote);
        let order = &mut self.orders[at];
        let at_once = matches!(order.validity, Validity::Ioc | Validity::Fok);
        match offer {
            Some(Offer { quantity, .. }) if order.validity == Validity::Fok && quantity < left => {
                self.set_status(at, Status::Cancelled, now);
                Some(Change::Status)
            }
            Some(Offer { price, quantity }) => {
                self.trade(at, quantity, price, now);
                Some(Change::Trade(self.trades.len() - 1))
            }
            None if at_once => {
                self.set_status(at, Status::Cancelled, now);
                Some(Change::Status)
            }
            None => {
                order.rests |= !order.r#type.is_market();
                None
            }
        }
    }
}

/// Whether the last price has reached a trigger.
fn is_triggered(order: &Order, quote: &Quote) -> bool {
    match order.side {
        Side::Buy => quote.ltp >= order.trigger,
        Side::Sell => quote.ltp <= order.trigger,
    }
}

fn offer(order: &Order, left: i64, quote: &Quote) -> Option<Offer> {
    let touch = match order.side {
        Side::Buy => quote.asks[0],
        Side::Sell => quote.bids[0],
    };
    if !touch.price.is_positive() || touch.size <= 0 {
        return None;
    }
    let crosses = match order.side {
        Side::Buy => touch.price <= order.limit,
        Side::Sell => touch.price >= order.limit,
    };
    if !order.r#type.is_market() && !crosses {
        return None;
    }
    let price = if order.rests && !order.r#type.is_market() { order.limit } else { touch.price };
    let part = (order.quantity + PARTS - 1) / PARTS;
    let lot = order.item.lot.max(1);
    let lots = |quantity: i64| (quantity + lot - 1) / lot * lot;
    let most = match order.validity {
        Validity::Ioc | Validity::Fok => touch.size / lot * lot,
        // More than there is, but not for ever smaller parts.
        _ => touch.size.max(lots(part)),
    };
    let quantity = left.min(most);
    (quantity > 0).then_some(Offer { price, quantity })
}

#[cfg(test)]
mod tests {
    use super::super::{Item, Type};
    use super::*;
    use crate::market::{InstrumentId, Level, Segment};

    const START: UnixNanos = UnixNanos::from_secs(1_770_698_730);

    fn rupees(text: &str) -> Price {
        Price::parse(text.as_bytes()).unwrap()
    }

    fn quote(bid: &str, ask: &str, size: i64) -> Quote {
        let mut quote = Quote::starting(rupees("100"), rupees(bid), 10, START);
        quote.bids[0] = Level { price: rupees(bid), size, orders: 1 };
        quote.asks[0] = Level { price: rupees(ask), size, orders: 1 };
        quote
    }

    /// A book with one order, 10 units to a lot.
    fn book(side: Side, r#type: Type, quantity: i64, limit: &str, trigger: &str) -> Book {
        let mut book = Book::empty(0, START);
        let id = InstrumentId { segment: Segment::NseFo, code: 1 };
        let order = Order {
            limit: rupees(limit),
            trigger: rupees(trigger),
            ..Order::new(
                7,
                Item { id, symbol: "X".to_owned(), lot: 10, tick: rupees("0.05") },
                side,
                r#type,
                quantity,
                START,
            )
        };
        book.orders.push(order);
        book
    }

    /// Steps until nothing happens any more: states, and trades as quantity and price.
    fn run(book: &mut Book, quote: &Quote, now: &mut UnixNanos) -> Vec<String> {
        let mut found = Vec::new();
        loop {
            *now = now.plus(MOMENT);
            match book.advance(0, quote, *now) {
                None => return found,
                Some(Change::Status) => found.push(format!("{:?}", book.orders[0].status)),
                Some(Change::Trade(at)) => {
                    let trade = &book.trades[at];
                    found.push(format!("{}@{}", trade.quantity, trade.price));
                }
            }
        }
    }

    #[test]
    fn a_market_order_takes_the_touch_in_up_to_three_parts() {
        let mut now = START;
        let mut book = book(Side::Buy, Type::Market, 30, "0", "0");
        assert_eq!(book.advance(0, &quote("99", "99.5", 40), START), None, "not before a moment has passed");
        assert_eq!(run(&mut book, &quote("99", "99.5", 40), &mut now), ["New", "30@99.5"]);
        assert_eq!(book.orders[0].status, Status::Filled);

        let mut book = self::book(Side::Sell, Type::Market, 100, "0", "0");
        let found = run(&mut book, &quote("99", "99.5", 10), &mut now);
        assert_eq!(found, ["New", "40@99.0", "40@99.0", "20@99.0"]);
        assert_eq!(book.average(0), Some(9_900));
    }

    #[test]
    fn a_limit_order_rests_and_then_trades_at_its_own_price() {
        let mut now = START;
        let mut book = book(Side::Buy, Type::Limit, 20, "99.2", "0");
        assert_eq!(run(&mut book, &quote("99", "99.5", 40), &mut now), ["New"]);
        assert_eq!(run(&mut book, &quote("98.9", "99", 40), &mut now), ["20@99.2"]);
        // One that crosses at once gets the better price.
        let mut book = self::book(Side::Sell, Type::Limit, 20, "98", "0");
        assert_eq!(run(&mut book, &quote("99", "99.5", 40), &mut now), ["New", "20@99.0"]);
    }

    #[test]
    fn stops_wait_for_their_trigger() {
        let mut now = START;
        let mut book = book(Side::Sell, Type::StopMarket, 10, "0", "98");
        book.orders[0].triggered = false;
        assert_eq!(run(&mut book, &quote("99", "99.5", 40), &mut now), ["TriggerPending"]);
        assert_eq!(run(&mut book, &quote("97.9", "98", 40), &mut now), ["New", "10@97.9"]);
        // Triggered, but the limit is out of reach.
        let mut book = self::book(Side::Buy, Type::StopLimit, 10, "101", "100.5");
        book.orders[0].triggered = false;
        let beyond = quote("102", "102.5", 40);
        assert_eq!(run(&mut book, &beyond, &mut now), ["TriggerPending", "New"]);
        assert_eq!(run(&mut book, &quote("100", "100.9", 40), &mut now), ["10@101.0"]);
    }

    #[test]
    fn ioc_takes_what_there_is_and_fok_all_or_nothing() {
        let mut now = START;
        for (validity, expected) in
            [(Validity::Ioc, &["New", "20@99.5", "Cancelled"][..]), (Validity::Fok, &["New", "Cancelled"])]
        {
            let mut book = book(Side::Buy, Type::Limit, 30, "99.5", "0");
            book.orders[0].validity = validity;
            now = now.plus(MOMENT);
            let mut found = Vec::new();
            // 20 to be had, then none.
            for quote in [quote("99", "99.5", 25), quote("99", "99.5", 25), quote("99", "100", 25)] {
                now = now.plus(MOMENT);
                match book.advance(0, &quote, now) {
                    Some(Change::Status) => found.push(format!("{:?}", book.orders[0].status)),
                    Some(Change::Trade(at)) => {
                        found.push(format!("{}@{}", book.trades[at].quantity, book.trades[at].price));
                    }
                    None => {}
                }
            }
            assert_eq!(found, expected);
            assert_eq!(book.left(0), 0);
        }
    }

    #[test]
    fn an_index_has_no_touch_and_nothing_trades() {
        let mut now = START;
        let mut book = book(Side::Buy, Type::Market, 10, "0", "0");
        assert_eq!(run(&mut book, &quote("0", "0", 0), &mut now), ["New"]);
    }
}
