//! Calls that place, change and end orders. What they answer is an acknowledgement; what becomes
//! of an order is told by the books and the interactive socket. When it trades is `run`.

mod check;
mod faults;
mod groups;
mod portfolio;
mod read;
mod run;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Core;
use super::books::Query;
use crate::clock::UnixNanos;
use crate::sim::answers::Answer;
use crate::sim::books::{Order, State, Status, Type};
pub(crate) use faults::{Manner, OrderFault, OrderFaults};
use read::Wanted;

/// Marks of orders that are counted; later ones are not.
const MAX_MARKS: usize = 100_000;

/// A call that changes orders or positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderCall {
    Place,
    Modify,
    Cancel,
    CancelAll,
    Bracket,
    BracketChange,
    BracketExit,
    Cover,
    CoverExit,
    SquareOff,
    Convert,
}

impl OrderCall {
    const ALL: [(Self, &'static str, &'static str, &'static str); 11] = [
        (Self::Place, "place", "POST", "orders"),
        (Self::Modify, "modify", "PUT", "orders"),
        (Self::Cancel, "cancel", "DELETE", "orders"),
        (Self::CancelAll, "cancel_all", "POST", "orders/cancelall"),
        (Self::Bracket, "bracket", "POST", "orders/bracket"),
        (Self::BracketChange, "bracket_change", "PUT", "orders/bracket"),
        (Self::BracketExit, "bracket_exit", "DELETE", "orders/bracket"),
        (Self::Cover, "cover", "POST", "orders/cover"),
        (Self::CoverExit, "cover_exit", "PUT", "orders/cover"),
        (Self::SquareOff, "square_off", "PUT", "portfolio/squareoff"),
        (Self::Convert, "convert", "PUT", "portfolio/positions/convert"),
    ];

    /// The call of a method and a path below the interactive prefix.
    pub(crate) fn of(method: &str, path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.2 == method && c.3 == path).map(|c| c.0)
    }

    /// Its name in the journal.
    pub(crate) fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|c| c.0 == self).map_or("", |c| c.1)
    }

    /// Whether it brings a new order.
    const fn places(self) -> bool {
        matches!(self, Self::Place | Self::Bracket | Self::Cover)
    }
}

/// How many orders an account has sent, for tests to see that none was sent twice.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Placing requests that arrived with a good token and were not turned away by a rate limit.
    total: u64,
    /// Of these, taken into the book.
    taken: u64,
    /// By the placer's own mark.
    by_mark: BTreeMap<String, u64>,
}

impl Received {
    pub(super) fn view(&self) -> Value {
        json!({
            "total": self.total,
            "taken": self.taken,
            "most_of_one": self.by_mark.values().max().copied().unwrap_or_default(),
            "by_unique_id": self.by_mark,
        })
    }
}

impl Core {
    /// A call that changes orders; the token was checked. `manner` says how its answer goes out.
    pub(crate) fn order_call(
        &mut self,
        account: usize,
        call: OrderCall,
        body: &Value,
        query: &Query,
        now: UnixNanos,
    ) -> (Answer, Manner) {
        // A `DELETE` has no body; what it would say is in the query.
        let from_query = Value::Object(query.iter().map(|(k, v)| (k.clone(), json!(v))).collect());
        let body =
            if matches!(call, OrderCall::Cancel | OrderCall::BracketExit) { &from_query } else { body };
        if call.places() {
            let received = &mut self.accounts[account].received;
            received.total += 1;
            let mark = read::text(body, "orderUniqueIdentifier").unwrap_or_default();
            if received.by_mark.len() < MAX_MARKS || received.by_mark.contains_key(&mark) {
                *received.by_mark.entry(mark).or_default() += 1;
            }
        }
        let fault = self.order_faults.take(account, call);
        if let Some(instead) = fault.as_ref().and_then(OrderFault::instead) {
            return (instead, Manner::Now);
        }
        let mut client = Query::new();
        if let Some(named) = read::text(body, "clientID") {
            client.insert("clientID".to_owned(), named);
        }
        let answer = if self.accounts[account].may_order(&client) {
            self.decide_order(account, call, body, now).unwrap_or_else(|refusal| refusal)
        } else {
            Answer::bad_request("clientID is none that this login may ask for")
        };
        if call.places() && answer.status == 200 {
            self.accounts[account].received.taken += 1;
        }
        match fault {
            Some(fault) => fault.wrap(answer),
            None => (answer, Manner::Now),
        }
    }

    fn decide_order(
        &mut self,
        account: usize,
        call: OrderCall,
        body: &Value,
        now: UnixNanos,
    ) -> Result<Answer, Answer> {
        match call {
            OrderCall::Place => self.place(account, body, now),
            OrderCall::Modify => self.modify(account, body, now),
            OrderCall::Cancel => self.cancel(account, body, now),
            OrderCall::CancelAll => self.cancel_all(account, body, now),
            OrderCall::Bracket => self.place_bracket(account, body, now),
            OrderCall::BracketChange => self.change_bracket(account, body, now),
            OrderCall::BracketExit => self.exit_bracket(account, body, now),
            OrderCall::Cover => self.place_cover(account, body, now),
            OrderCall::CoverExit => self.exit_cover(account, body, now),
            OrderCall::SquareOff => self.square_off(account, body, now),
            OrderCall::Convert => self.convert(account, body, now),
        }
    }

    /// A number for a new order: above the demo's, and not used before a restart either.
    fn next_number(&mut self) -> u64 {
        self.orders_numbered += 1;
        let started = u64::try_from(self.started.as_secs()).unwrap_or_default() % 1_000_000;
        2_000_000_000 + started * 10_000 + self.orders_numbered
    }

    /// Takes an order into the book. Returns its place.
    fn take(&mut self, account: usize, wanted: &Wanted, now: UnixNanos) -> Result<Order, Answer> {
        let item = self.check(wanted, now)?;
        let number = self.next_number();
        let mut order = Order {
            mark: wanted.mark.clone(),
            product: wanted.product,
            // What the kind of order does not need is not kept.
            limit: if wanted.r#type.is_market() { crate::market::Price::ZERO } else { wanted.limit },
            trigger: if wanted.r#type.is_stop() { wanted.trigger } else { crate::market::Price::ZERO },
            validity: wanted.validity,
            disclosed: wanted.disclosed,
            ..Order::new(number, item, wanted.side, wanted.r#type, wanted.quantity, now)
        };
        order.basis = self.basis(account, &order);
        Ok(order)
    }

    fn push(&mut self, account: usize, order: Order) -> usize {
        let at = self.accounts[account].book.push(order);
        self.tell_order(account, at);
        at
    }

    fn acknowledge(&self, account: usize, at: usize) -> Value {
        let owner = &self.accounts[account];
        let order = &owner.book.orders[at];
        json!({
            "AppOrderID": order.number,
            "OrderUniqueIdentifier": order.mark,
            "ClientID": owner.identity.client,
        })
    }

    fn place(&mut self, account: usize, body: &Value, now: UnixNanos) -> Result<Answer, Answer> {
        let wanted = Wanted::read(body, None).map_err(|what| Answer::bad_request(&what))?;
        let order = self.take(account, &wanted, now)?;
        let at = self.push(account, order);
        Ok(Answer::sent(self.acknowledge(account, at)))
    }

    /// The open order that a body names.
    fn open_order(&self, account: usize, body: &Value, key: &str) -> Result<usize, Answer> {
        let number = read::whole(body, key).map_err(|what| Answer::bad_request(&what))?;
        let number = number.ok_or_else(|| Answer::bad_request(&format!("{key} is missing")))?;
        let book = &self.accounts[account].book;
        let at = u64::try_from(number).ok().and_then(|n| book.find(n));
        let at = at.ok_or_else(|| Answer::order_refused("Order not found"))?;
        if book.orders[at].status.is_final() {
            return Err(Answer::order_refused("Order is not open any more"));
        }
        Ok(at)
    }

    fn modify(&mut self, account: usize, body: &Value, now: UnixNanos) -> Result<Answer, Answer> {
        let at = self.open_order(account, body, "appOrderID")?;
        let wrong = |what: String| Answer::bad_request(&what);
        let mut order = self.accounts[account].book.orders[at].clone();
        if let Some(text) = read::text(body, "modifiedProductType") {
            order.product = read::product(&text).map_err(wrong)?;
        }
        if let Some(text) = read::text(body, "modifiedOrderType") {
            order.r#type = read::order_type(&text).map_err(wrong)?;
        }
        if let Some(text) = read::text(body, "modifiedTimeInForce") {
            order.validity = read::validity(&text).map_err(wrong)?;
        }
        if let Some(quantity) = read::whole(body, "modifiedOrderQuantity").map_err(wrong)? {
            order.quantity = quantity;
        }
        if let Some(disclosed) = read::whole(body, "modifiedDisclosedQuantity").map_err(wrong)? {
            order.disclosed = disclosed;
        }
        if let Some(limit) = read::rupees(body, "modifiedLimitPrice").map_err(wrong)? {
            order.limit = limit;
        }
        if let Some(trigger) = read::rupees(body, "modifiedStopPrice").map_err(wrong)? {
            order.trigger = trigger;
        }
        self.replace(account, at, order, now)?;
        Ok(Answer::sent(self.acknowledge(account, at)))
    }

    /// Puts a changed order in the place of what it was.
    fn replace(&mut self, account: usize, at: usize, mut order: Order, now: UnixNanos) -> Result<(), Answer> {
        let (_, listing) = self.tradable(order.item.id)?;
        if !self.market.is_open(listing.exchange, now) {
            return Err(Answer::order_refused("Market is closed"));
        }
        check::values(order.r#type, order.side, order.quantity, order.limit, order.trigger, listing)?;
        let book = &self.accounts[account].book;
        if order.quantity <= book.filled(at) {
            return Err(Answer::order_refused("Order quantity is traded already"));
        }
        let before = &book.orders[at];
        if order.r#type.is_market() {
            order.limit = crate::market::Price::ZERO;
        }
        if !order.r#type.is_stop() {
            order.trigger = crate::market::Price::ZERO;
        }
        let moved = order.r#type != before.r#type || order.trigger != before.trigger;
        if moved {
            order.triggered = !order.r#type.is_stop();
        }
        order.status = match order.status {
            Status::PendingNew => Status::PendingNew,
            _ if !order.triggered => Status::TriggerPending,
            Status::PartiallyFilled => Status::PartiallyFilled,
            _ => Status::Replaced,
        };
        order.rests = false;
        order.basis = self.basis(account, &order);
        if !std::mem::replace(&mut order.is_live, true) {
            order.states.push(first_state(&order));
        }
        order.updated = now;
        let book = &mut self.accounts[account].book;
        book.orders[at] = order;
        book.note(at);
        self.tell_order(account, at);
        Ok(())
    }

    fn cancel(&mut self, account: usize, body: &Value, now: UnixNanos) -> Result<Answer, Answer> {
        let at = self.open_order(account, body, "appOrderID")?;
        self.end_order(account, at, now);
        let result = self.acknowledge(account, at);
        // By turns, in the two ways that servers have.
        if at % 2 == 1 {
            return Ok(Answer::success("s-user-0001", "Request sent", json!([result])));
        }
        Ok(Answer::sent(result))
    }

    /// Cancels what is left of an order.
    fn end_order(&mut self, account: usize, at: usize, now: UnixNanos) {
        let book = &mut self.accounts[account].book;
        if !book.orders[at].is_live {
            let first = first_state(&book.orders[at]);
            book.orders[at].states.push(first);
            book.orders[at].is_live = true;
        }
        book.set_status(at, Status::Cancelled, now);
        self.tell_order(account, at);
        self.settle(account, at, 0, now);
    }

    fn cancel_all(&mut self, account: usize, body: &Value, now: UnixNanos) -> Result<Answer, Answer> {
        let wanted = read::instrument(body).map_err(|what| Answer::bad_request(&what))?;
        let orders = &self.accounts[account].book.orders;
        let is_meant = |o: &Order| {
            let is_here = o.item.id.segment == wanted.segment;
            !o.status.is_final() && is_here && (wanted.code == 0 || o.item.id == wanted)
        };
        let meant: Vec<_> = (0..orders.len()).filter(|&at| is_meant(&orders[at])).collect();
        for at in meant {
            // One may have ended with another.
            if !self.accounts[account].book.orders[at].status.is_final() {
                self.end_order(account, at, now);
            }
        }
        Ok(Answer::sent(json!({})))
    }
}

/// What a picture of an order was when it was placed.
fn first_state(order: &Order) -> State {
    State {
        status: Status::PendingNew,
        quantity: order.quantity,
        filled: 0,
        average: None,
        limit: order.limit,
        trigger: order.trigger,
        time: order.placed,
    }
}

/// Whether a type is one that a bracket's or cover's entry may have.
const fn may_enter(r#type: Type) -> bool {
    matches!(r#type, Type::Market | Type::Limit)
}
