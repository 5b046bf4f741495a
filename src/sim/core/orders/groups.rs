//! Brackets and cover orders: an entry with legs. How the legs follow it is `books::linked`.

use serde_json::{Value, json};

use super::may_enter;
use super::read::{self, Wanted};
use crate::clock::UnixNanos;
use crate::market::Price;
use crate::sim::answers::Answer;
use crate::sim::books::{Item, Link, Order, Plan, Role, Side, Type};
use crate::sim::core::Core;

#[expect(clippy::needless_pass_by_value, reason = "an error is mapped by value")]
fn wrong(what: String) -> Answer {
    Answer::bad_request(&what)
}

impl Core {
    pub(super) fn place_bracket(
        &mut self,
        account: usize,
        body: &Value,
        now: UnixNanos,
    ) -> Result<Answer, Answer> {
        let wanted = Wanted::read(body, Some("BO")).map_err(wrong)?;
        if !may_enter(wanted.r#type) {
            return Err(Answer::order_refused("A bracket order must be MARKET or LIMIT"));
        }
        // The misspelling is the venue's; the right one is taken too.
        let target = match read::rupees(body, "squarOff").map_err(wrong)? {
            Some(target) => Some(target),
            None => read::rupees(body, "squareOff").map_err(wrong)?,
        };
        let plan = Plan {
            target: target.unwrap_or_default(),
            stop: read::rupees(body, "stopLossPrice").map_err(wrong)?.unwrap_or_default(),
            trailing: read::rupees(body, "trailingStoploss").map_err(wrong)?.unwrap_or_default(),
        };
        let tick = self.tradable(wanted.id)?.1.tick.as_nanos();
        for (name, distance) in [("squarOff", plan.target), ("stopLossPrice", plan.stop)] {
            if !distance.is_positive() || distance.as_nanos() % tick != 0 {
                return Err(Answer::order_refused(&format!("{name} must be above zero and on the tick")));
            }
        }
        if plan.trailing.as_nanos() % tick != 0 {
            return Err(Answer::order_refused("trailingStoploss must be on the tick"));
        }
        let mut order = self.take(account, &wanted, now)?;
        let entry = self.accounts[account].book.orders.len();
        order.link = Some(Link { entry, role: Role::BracketEntry(plan) });
        let at = self.push(account, order);
        Ok(Answer::sent(self.acknowledge(account, at)))
    }

    /// Changes an order of a bracket: price and quantity of the entry, the target's limit, the
    /// stop's trigger.
    pub(super) fn change_bracket(
        &mut self,
        account: usize,
        body: &Value,
        now: UnixNanos,
    ) -> Result<Answer, Answer> {
        let at = self.open_order(account, body, "appOrderID")?;
        let mut order = self.accounts[account].book.orders[at].clone();
        let Some(link) = order.link else { return Err(Answer::order_refused("Not a bracket order")) };
        let positive = |price: Option<Price>| price.filter(|p| p.is_positive());
        if let Some(limit) = positive(read::rupees(body, "limitPrice").map_err(wrong)?)
            && !matches!(link.role, Role::Stop { .. })
        {
            order.limit = limit;
        }
        if let Some(trigger) = positive(read::rupees(body, "stopPrice").map_err(wrong)?)
            && matches!(link.role, Role::Stop { .. })
        {
            order.trigger = trigger;
        }
        if let Some(quantity) = read::whole(body, "orderQuantity").map_err(wrong)?.filter(|&q| q > 0)
            && link.role.is_entry()
        {
            order.quantity = quantity;
        }
        self.replace(account, at, order, now)?;
        Ok(Answer::sent(self.acknowledge(account, at)))
    }

    /// Ends a bracket: what is open is cancelled, what was done is sold or bought back.
    pub(super) fn exit_bracket(
        &mut self,
        account: usize,
        body: &Value,
        now: UnixNanos,
    ) -> Result<Answer, Answer> {
        let number = read::whole(body, "boEntryOrderId").map_err(wrong)?;
        let book = &self.accounts[account].book;
        let entry = number.and_then(|n| u64::try_from(n).ok()).and_then(|n| book.find(n));
        let is_entry = |o: &Order| matches!(o.link, Some(Link { role: Role::BracketEntry(_), .. }));
        let entry = entry.filter(|&at| is_entry(&book.orders[at]));
        let entry = entry.ok_or_else(|| Answer::order_refused("Order not found"))?;
        if !book.orders[entry].status.is_final() {
            // Legs of what was done come with this, and end below.
            self.end_order(account, entry, now);
        }
        let mut open = 0;
        for leg in self.accounts[account].book.legs(entry) {
            let book = &self.accounts[account].book;
            if !book.orders[leg].status.is_final() {
                open = book.left(leg);
                self.end_order(account, leg, now);
            }
        }
        if open > 0 {
            let Order { item, side, mark, .. } = self.accounts[account].book.orders[entry].clone();
            self.send_market(account, item, side.other(), open, ("BO", &mark), now);
        }
        Ok(Answer::sent(self.acknowledge(account, entry)))
    }

    pub(super) fn place_cover(
        &mut self,
        account: usize,
        body: &Value,
        now: UnixNanos,
    ) -> Result<Answer, Answer> {
        let mut wanted = Wanted::read(body, Some("CO")).map_err(wrong)?;
        if !may_enter(wanted.r#type) {
            return Err(Answer::order_refused("A cover order must be MARKET or LIMIT"));
        }
        let stop = std::mem::take(&mut wanted.trigger);
        let (at_market, listing) = self.tradable(wanted.id)?;
        let reference =
            if wanted.r#type == Type::Limit { wanted.limit } else { self.market.quote(at_market).ltp };
        super::check::values(
            Type::StopMarket,
            wanted.side.other(),
            wanted.quantity,
            Price::ZERO,
            stop,
            listing,
        )?;
        let is_protective = match wanted.side {
            Side::Buy => stop < reference,
            Side::Sell => stop > reference,
        };
        if !is_protective {
            return Err(Answer::order_refused("Stop price is on the wrong side of the entry price"));
        }
        let mut order = self.take(account, &wanted, now)?;
        let entry = self.accounts[account].book.orders.len();
        order.link = Some(Link { entry, role: Role::CoverEntry });
        let role = Role::Stop { from: Price::ZERO, trailing: Price::ZERO };
        let number = self.next_number();
        let exit = Order {
            trigger: stop,
            product: "CO",
            mark: wanted.mark.clone(),
            link: Some(Link { entry, role }),
            ..Order::new(
                number,
                order.item.clone(),
                order.side.other(),
                Type::StopMarket,
                order.quantity,
                now,
            )
        };
        let result = json!({
            "EntryAppOrderID": order.number,
            "ExitAppOrderID": exit.number,
            "OrderUniqueIdentifier": wanted.mark,
            "ClientID": self.accounts[account].identity.client,
        });
        self.push(account, order);
        self.push(account, exit);
        Ok(Answer::sent(result))
    }

    /// Ends a cover order, named by its entry or its exit: the exit becomes a market order, or
    /// both are cancelled if nothing was done.
    pub(super) fn exit_cover(
        &mut self,
        account: usize,
        body: &Value,
        now: UnixNanos,
    ) -> Result<Answer, Answer> {
        let number = read::whole(body, "appOrderID").map_err(wrong)?;
        let book = &self.accounts[account].book;
        let named = number.and_then(|n| u64::try_from(n).ok()).and_then(|n| book.find(n));
        let entry = named.and_then(|at| book.orders[at].link).map(|l| l.entry);
        let is_cover = |at: &usize| book.orders[*at].link.is_some_and(|l| l.role == Role::CoverEntry);
        let entry = entry.filter(is_cover).ok_or_else(|| Answer::order_refused("Order not found"))?;
        if !book.orders[entry].status.is_final() {
            self.end_order(account, entry, now);
        }
        for leg in self.accounts[account].book.legs(entry) {
            let mut exit = self.accounts[account].book.orders[leg].clone();
            if !exit.status.is_final() {
                exit.r#type = Type::Market;
                self.replace(account, leg, exit, now)?;
            }
        }
        Ok(Answer::sent(self.acknowledge(account, entry)))
    }

    /// Sends a market order of the broker's own making.
    pub(super) fn send_market(
        &mut self,
        account: usize,
        item: Item,
        side: Side,
        quantity: i64,
        (product, mark): (&'static str, &str),
        now: UnixNanos,
    ) -> usize {
        let number = self.next_number();
        let order = Order {
            product,
            mark: mark.to_owned(),
            ..Order::new(number, item, side, Type::Market, quantity, now)
        };
        self.push(account, order)
    }
}
