//! Orders that belong together: a bracket's entry, target and stop, of which one leg ends the
//! other; a cover order's entry and stop. Pure; who is told is `core`.

use super::{Book, Item, Order, Side, Status, Type, Validity};
use crate::clock::UnixNanos;
use crate::market::Price;
use crate::sim::market::Quote;

/// What a bracket's legs are to be, as distances from the entry's average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) target: Price,
    pub(crate) stop: Price,
    /// Zero: the stop does not follow.
    pub(crate) trailing: Price,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Of a bracket whose legs come with its fill.
    BracketEntry(Plan),
    CoverEntry,
    Target,
    /// Follows the last price from the given one, by steps; zero: it does not.
    Stop {
        from: Price,
        trailing: Price,
    },
}

impl Role {
    /// `BoLegDetails` of the venue's entries: 0 entry, 1 target, 2 stop (by analogy; samples
    /// show 0 only).
    pub(super) const fn leg(self) -> u8 {
        match self {
            Self::BracketEntry(_) | Self::CoverEntry => 0,
            Self::Target => 1,
            Self::Stop { .. } => 2,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::BracketEntry(_) | Self::CoverEntry => "entry",
            Self::Target => "target",
            Self::Stop { .. } => "stop",
        }
    }

    pub(crate) const fn is_entry(self) -> bool {
        matches!(self, Self::BracketEntry(_) | Self::CoverEntry)
    }
}

/// An order's place in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Of the group's entry, in `Book::orders`; an entry's own.
    pub(crate) entry: usize,
    pub(crate) role: Role,
}

impl Order {
    /// A live order for a market price, on its way to the exchange.
    pub(crate) fn new(
        number: u64,
        item: Item,
        side: Side,
        r#type: Type,
        quantity: i64,
        now: UnixNanos,
    ) -> Self {
        Self {
            number,
            exchange_number: String::new(),
            mark: String::new(),
            item,
            side,
            r#type,
            product: "MIS",
            quantity,
            limit: Price::ZERO,
            trigger: Price::ZERO,
            status: Status::PendingNew,
            reason: String::new(),
            placed: now,
            updated: now,
            validity: Validity::Day,
            disclosed: 0,
            basis: Price::ZERO,
            is_live: true,
            triggered: !r#type.is_stop(),
            rests: false,
            states: Vec::new(),
            link: None,
        }
    }
}

impl Book {
    /// Puts an order into the book.
    pub(crate) fn push(&mut self, order: Order) -> usize {
        self.orders.push(order);
        self.note(self.orders.len() - 1);
        self.orders.len() - 1
    }

    /// Whether an order is the exit of a cover order whose entry has not traded.
    pub(super) fn waits_for_entry(&self, at: usize) -> bool {
        self.orders[at].link.is_some_and(|l| !l.role.is_entry() && !self.orders[l.entry].status.is_final())
    }

    /// The legs of an entry.
    pub(crate) fn legs(&self, entry: usize) -> Vec<usize> {
        let is_leg = |o: &Order| o.link.is_some_and(|l| l.entry == entry && !l.role.is_entry());
        (0..self.orders.len()).filter(|&at| is_leg(&self.orders[at])).collect()
    }

    /// Does to the others of a group what follows from a change of one. `number` gives numbers to
    /// new orders. Returns the orders that changed.
    pub(crate) fn settle(
        &mut self,
        at: usize,
        traded: i64,
        now: UnixNanos,
        mut number: impl FnMut() -> u64,
    ) -> Vec<usize> {
        let Some(Link { entry, role }) = self.orders[at].link else { return Vec::new() };
        let mut changed = Vec::new();
        match role {
            Role::BracketEntry(plan)
                if self.orders[at].status.is_final()
                    && self.filled(at) > 0
                    && self.legs(entry).is_empty() =>
            {
                changed.extend(self.open_legs(at, plan, now, &mut number));
            }
            Role::CoverEntry if self.orders[at].status.is_final() => {
                let filled = self.filled(at);
                for leg in self.legs(entry) {
                    if filled == 0 && !self.orders[leg].status.is_final() {
                        self.set_status(leg, Status::Cancelled, now);
                        changed.push(leg);
                    } else if filled > 0 && filled < self.orders[leg].quantity {
                        self.orders[leg].quantity = filled;
                        changed.push(leg);
                    }
                }
            }
            Role::Target | Role::Stop { .. } => {
                let is_over = self.orders[at].status == Status::Filled;
                for other in self.legs(entry).into_iter().filter(|&o| o != at) {
                    if self.orders[other].status.is_final() {
                        continue;
                    }
                    if is_over {
                        self.set_status(other, Status::Cancelled, now);
                        changed.push(other);
                    } else if traded > 0 {
                        self.orders[other].quantity -= traded;
                        changed.push(other);
                    }
                }
            }
            _ => {}
        }
        changed
    }

    fn open_legs(
        &mut self,
        entry: usize,
        plan: Plan,
        now: UnixNanos,
        number: &mut impl FnMut() -> u64,
    ) -> [usize; 2] {
        let quantity = self.filled(entry);
        let average = Price::from_nanos(self.average(entry).unwrap_or_default() * 10_000_000);
        let Order { item, side, mark, .. } = self.orders[entry].clone();
        // The distances are on the grid, the average need not be.
        let by = |distance: Price, up: bool| {
            let sign = if up { 1 } else { -1 };
            let price = Price::from_nanos((average.as_nanos() + sign * distance.as_nanos()).max(1));
            item.on_grid(price)
        };
        let is_long = side == Side::Buy;
        let leg = |r#type, role, number| Order {
            product: "BO",
            mark: mark.clone(),
            link: Some(Link { entry, role }),
            ..Order::new(number, item.clone(), side.other(), r#type, quantity, now)
        };
        let target = Order { limit: by(plan.target, is_long), ..leg(Type::Limit, Role::Target, number()) };
        let stop = Role::Stop { from: average, trailing: plan.trailing };
        let stop = Order { trigger: by(plan.stop, !is_long), ..leg(Type::StopMarket, stop, number()) };
        [self.push(target), self.push(stop)]
    }

    /// Lets a trailing stop follow the last price.
    pub(super) fn trail(&mut self, at: usize, quote: &Quote) {
        let order = &mut self.orders[at];
        let Some(Link { role: Role::Stop { from, trailing }, .. }) = &mut order.link else { return };
        if !trailing.is_positive() {
            return;
        }
        let sign = if order.side == Side::Sell { 1 } else { -1 };
        let steps = sign * (quote.ltp.as_nanos() - from.as_nanos()) / trailing.as_nanos();
        if steps > 0 {
            let by = sign * steps * trailing.as_nanos();
            *from = Price::from_nanos(from.as_nanos() + by);
            order.trigger = Price::from_nanos(order.trigger.as_nanos() + by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{InstrumentId, Segment};

    const START: UnixNanos = UnixNanos::from_secs(1_770_698_730);

    fn rupees(text: &str) -> Price {
        Price::parse(text.as_bytes()).unwrap()
    }

    fn entry(role: Role) -> Book {
        let mut book = Book::empty(0, START);
        let id = InstrumentId { segment: Segment::NseCash, code: 2885 };
        let item = Item { id, symbol: "RELIANCE".to_owned(), lot: 1, tick: rupees("0.1") };
        let order = Order::new(1, item, Side::Buy, Type::Limit, 10, START);
        book.push(Order { link: Some(Link { entry: 0, role }), limit: rupees("1450"), ..order });
        book
    }

    #[test]
    fn a_filled_entry_opens_two_legs_and_one_ends_the_other() {
        let plan = Plan { target: rupees("10"), stop: rupees("5"), trailing: rupees("1") };
        let mut book = entry(Role::BracketEntry(plan));
        let mut next = 1;
        let mut number = || {
            next += 1;
            next
        };
        book.trade(0, 4, rupees("1450.1"), START);
        assert!(book.settle(0, 4, START, &mut number).is_empty(), "not before it is done");
        book.trade(0, 6, rupees("1450"), START);
        assert_eq!(book.settle(0, 6, START, &mut number), [1, 2]);
        let (target, stop) = (&book.orders[1], &book.orders[2]);
        assert_eq!((target.side, target.limit, target.quantity), (Side::Sell, rupees("1460"), 10));
        assert_eq!((stop.r#type, stop.trigger, stop.product), (Type::StopMarket, rupees("1445"), "BO"));

        // It follows upwards and never back.
        let mut quote = Quote::starting(rupees("1450"), rupees("1450"), 1, START);
        quote.ltp = rupees("1453.2");
        book.trail(2, &quote);
        assert_eq!(book.orders[2].trigger, rupees("1448"));
        quote.ltp = rupees("1450");
        book.trail(2, &quote);
        assert_eq!(book.orders[2].trigger, rupees("1448"));

        book.trade(1, 3, rupees("1460"), START);
        assert_eq!(book.settle(1, 3, START, &mut number), [2]);
        assert_eq!(book.orders[2].quantity, 7);
        book.trade(1, 7, rupees("1460"), START);
        assert_eq!(book.settle(1, 7, START, &mut number), [2]);
        assert_eq!(book.orders[2].status, Status::Cancelled);
        assert_eq!(book.held(&book.orders[0].item, "BO"), -10, "the entry's product is the caller's");
    }

    #[test]
    fn a_cover_orders_exit_goes_with_its_entry() {
        let mut book = entry(Role::CoverEntry);
        let stop = Role::Stop { from: Price::ZERO, trailing: Price::ZERO };
        let exit = Order::new(2, book.orders[0].item.clone(), Side::Sell, Type::StopMarket, 10, START);
        book.push(Order { link: Some(Link { entry: 0, role: stop }), ..exit });
        assert!(book.waits_for_entry(1));
        book.trade(0, 4, rupees("1450"), START);
        book.set_status(0, Status::Cancelled, START);
        assert_eq!(book.settle(0, 0, START, || 9), [1]);
        assert_eq!((book.orders[1].quantity, book.waits_for_entry(1)), (4, false));

        let mut book = entry(Role::CoverEntry);
        let exit = Order::new(2, book.orders[0].item.clone(), Side::Sell, Type::StopMarket, 10, START);
        book.push(Order { link: Some(Link { entry: 0, role: stop }), ..exit });
        book.set_status(0, Status::Cancelled, START);
        assert_eq!(book.settle(0, 0, START, || 9), [1]);
        assert_eq!(book.orders[1].status, Status::Cancelled);
    }
}
