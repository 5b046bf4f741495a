//! What has been told of the day's orders: what is new, what is known, what is out of date.
//! Pure: asks nobody and tells nobody.

use std::collections::HashMap;

use tokio::time::Instant;

use crate::clock::UnixNanos;
use crate::market::calendar::ist_date;
use crate::market::{Order, OrderStatus, Price};

/// Orders of a day that are remembered; beyond it those that have ended longest ago are forgotten.
const MAX_ORDERS: usize = 20_000;

/// What makes two states of an order the same to a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    status: OrderStatus,
    filled: i64,
    quantity: i64,
    price: Price,
    trigger: Price,
    average: Option<Price>,
}

#[derive(Clone, Debug)]
struct Known {
    state: State,
    /// As it was last seen; the rest of it says more than what consumers are told by.
    order: Order,
    updated_at: Option<UnixNanos>,
    /// When what is known was true: an event's arrival, or when the book was asked for.
    as_of: Instant,
    /// The same of its last fill or its end; `None` while there was none.
    moved: Option<Instant>,
}

/// Two days' orders: a book may still show yesterday's after the day has changed.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// The start of the day that `today` is about.
    day: UnixNanos,
    today: HashMap<String, Known>,
    yesterday: HashMap<String, Known>,
}

impl Table {
    /// Begins a new day if `day` is another.
    pub(crate) fn turn(&mut self, day: UnixNanos) {
        if day > self.day {
            self.yesterday = std::mem::take(&mut self.today);
            if self.day != UnixNanos::ZERO && day.since(self.day) > std::time::Duration::from_hours(36) {
                self.yesterday.clear();
            }
            self.day = day;
        }
    }

    /// Takes an order as it was at `as_of`; whether that is news.
    pub(crate) fn offer(&mut self, order: &Order, as_of: Instant) -> bool {
        let known = self.today.get(&order.id).or_else(|| {
            // Numbers may begin anew each day: it is yesterday's only if it says so.
            self.yesterday.get(&order.id).filter(|known| same_day(known.order.placed_at, order.placed_at))
        });
        let state = State {
            status: seen(&order.status),
            filled: order.filled,
            quantity: order.quantity,
            price: order.price,
            trigger: order.trigger,
            average: order.average,
        };
        let fresh = match known {
            None => true,
            Some(known) if known.state == state => false,
            Some(known) => is_newer(known, &state, order.updated_at, as_of),
        };
        let before = known.map(|known| (known.state.filled, known.state.status.is_final(), known.moved));
        let (filled, was_final, moved) = before.unwrap_or((0, false, None));
        if fresh {
            if self.today.len() >= MAX_ORDERS && !self.today.contains_key(&order.id) {
                self.forget_one();
            }
            let updated_at = order.updated_at;
            let has_moved = state.filled > filled || (state.status.is_final() && !was_final);
            let moved = if has_moved { Some(as_of) } else { moved };
            let known = Known { state, order: order.clone(), updated_at, as_of, moved };
            self.today.insert(order.id.clone(), known);
        } else if let Some(known) = self.today.get_mut(&order.id)
            && known.state == state
        {
            // Confirmed, though not news; its validity may have changed.
            if as_of >= known.as_of {
                known.order = order.clone();
            }
            known.as_of = known.as_of.max(as_of);
            known.moved = known.moved.map(|moved| moved.max(as_of));
            known.updated_at = known.updated_at.max(order.updated_at);
        }
        fresh
    }

    /// Whether an order of today was seen.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.today.contains_key(id)
    }

    /// Whether it was learnt at or after `since` that an order was filled further, or has ended.
    pub(crate) fn moved_since(&self, id: &str, since: Instant) -> bool {
        self.today.get(id).and_then(|known| known.moved).is_some_and(|moved| moved >= since)
    }

    /// An order of today as it was last seen.
    pub(crate) fn order(&self, id: &str) -> Option<&Order> {
        self.today.get(id).map(|known| &known.order)
    }

    /// An order's mark, if it is known and has one.
    pub(crate) fn unique_id(&self, id: &str) -> Option<String> {
        self.order(id).map(|order| order.unique_id.clone()).filter(|mark| !mark.is_empty())
    }

    fn forget_one(&mut self) {
        let oldest = self.today.iter().min_by_key(|(_, known)| (!known.state.status.is_final(), known.as_of));
        if let Some(id) = oldest.map(|(id, _)| id.clone()) {
            self.today.remove(&id);
        }
    }
}

/// A status as consumers see it: on its way, at the exchange and partly done are all "open" to them,
/// and so is what the broker alone has a word for.
fn seen(status: &OrderStatus) -> OrderStatus {
    match status {
        OrderStatus::Pending | OrderStatus::PartiallyFilled | OrderStatus::Unknown(_) => OrderStatus::Open,
        other => other.clone(),
    }
}

fn same_day(one: Option<UnixNanos>, other: Option<UnixNanos>) -> bool {
    one.zip(other).is_some_and(|(one, other)| ist_date(one) == ist_date(other))
}

/// Whether a state that differs from the known one came after it. What is filled never becomes less, and what
/// has ended goes on only if the broker's clock says so. The broker's times are whole seconds: within one, the
/// later reading wins.
fn is_newer(known: &Known, state: &State, updated_at: Option<UnixNanos>, as_of: Instant) -> bool {
    if state.filled < known.state.filled {
        return false;
    }
    let later = match (known.updated_at, updated_at) {
        (Some(before), Some(now)) if now < before => return false,
        (Some(before), Some(now)) => now > before,
        _ => false,
    };
    if later || state.filled > known.state.filled {
        return true;
    }
    match (known.state.status.is_final(), state.status.is_final()) {
        (false, true) => true,
        (true, false) => false,
        // A correction of the average, say.
        (true, true) | (false, false) => as_of >= known.as_of,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::session::tests::broker::order;

    const DAY: UnixNanos = UnixNanos::from_secs(1_770_701_400);

    fn at(status: OrderStatus, filled: i64, second: u64) -> Order {
        Order {
            status,
            filled,
            placed_at: Some(DAY),
            updated_at: Some(DAY.plus(Duration::from_secs(second))),
            ..order("1", "mark")
        }
    }

    #[test]
    fn nothing_is_told_twice_and_nothing_old_after_something_new() {
        let mut table = Table::default();
        table.turn(DAY);
        let start = Instant::now();
        let (early, late) = (start, start + Duration::from_secs(5));
        assert!(table.offer(&at(OrderStatus::Pending, 0, 1), late));
        assert!(!table.offer(&at(OrderStatus::Pending, 0, 1), late));
        assert!(!table.offer(&at(OrderStatus::Open, 0, 1), late), "open to a consumer already");
        // A book that was asked for before says what was before.
        assert!(!table.offer(&at(OrderStatus::Pending, 0, 1), early));
        assert!(table.offer(&at(OrderStatus::PartiallyFilled, 4, 2), late));
        assert!(!table.offer(&at(OrderStatus::Open, 0, 3), late), "what is filled stays so");
        assert!(!table.offer(&at(OrderStatus::PartiallyFilled, 5, 1), late), "by the broker's clock");
        assert!(
            table.offer(&at(OrderStatus::Filled, 10, 2), early),
            "more is filled, whatever was asked when"
        );
        assert!(!table.offer(&at(OrderStatus::Pending, 10, 2), late), "what has ended has ended");
        assert!(!table.offer(&at(OrderStatus::Filled, 10, 9), late));
        assert!(table.moved_since("1", late) && !table.moved_since("2", early));
        assert_eq!(table.unique_id("1").as_deref(), Some("mark"));
    }

    #[test]
    fn every_figure_counts() {
        let mut table = Table::default();
        let now = Instant::now();
        let first = at(OrderStatus::Open, 0, 1);
        assert!(table.offer(&first, now));
        let price = Price::from_rupees(5);
        for changed in [
            Order { quantity: 11, ..first.clone() },
            Order { price, ..first.clone() },
            Order { trigger: price, ..first.clone() },
            Order { average: Some(price), ..first.clone() },
        ] {
            assert!(table.offer(&changed, now), "{changed:?}");
        }
    }

    #[test]
    fn a_new_day_remembers_only_what_a_stale_book_may_still_show() {
        let mut table = Table::default();
        table.turn(DAY);
        let now = Instant::now();
        assert!(table.offer(&at(OrderStatus::Filled, 10, 1), now));
        table.turn(DAY.plus(Duration::from_hours(24)));
        assert!(!table.offer(&at(OrderStatus::Filled, 10, 1), now), "yesterday's book");
        let placed_at = Some(DAY.plus(Duration::from_hours(24)));
        assert!(
            table.offer(&Order { placed_at, ..at(OrderStatus::Open, 0, 90_000) }, now),
            "a number used again"
        );
        table.turn(DAY.plus(Duration::from_hours(48)));
        table.turn(DAY.plus(Duration::from_hours(72)));
        assert!(table.today.is_empty() && table.yesterday.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut table = Table::default();
        let now = Instant::now();
        table.offer(&at(OrderStatus::Open, 0, 1), now);
        for number in 0..MAX_ORDERS as u64 + 5 {
            let seen = now + Duration::from_millis(number);
            let one = Order { id: format!("n{number}"), ..at(OrderStatus::Filled, 10, 1) };
            assert!(table.offer(&one, seen));
        }
        assert_eq!(table.today.len(), MAX_ORDERS);
        assert!(table.today.contains_key("1"), "what still stands is kept");
        assert!(!table.today.contains_key("n0"));
    }
}
