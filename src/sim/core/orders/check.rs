//! What the broker turns down before an order is on its way. Margin is not among it: that is
//! looked at later, and the order is rejected. Texts are composed; sources show the code alone.

use super::read::Wanted;
use crate::clock::UnixNanos;
use crate::market::Price;
use crate::sim::answers::Answer;
use crate::sim::books::{Item, Order, Side, Type};
use crate::sim::core::Core;
use crate::sim::instruments::{Kind, Listing};

impl Core {
    /// The listing of an order's instrument.
    ///
    /// # Errors
    /// If there is none, or nobody can trade it.
    pub(super) fn tradable(&self, id: crate::market::InstrumentId) -> Result<(usize, &Listing), Answer> {
        let catalogue = self.market.catalogue();
        let found = catalogue.position(id).map(|at| (at, &catalogue.listings()[at]));
        found
            .filter(|(_, listing)| listing.kind != Kind::Index)
            .ok_or_else(|| Answer::order_refused("Instrument not found"))
    }

    /// Whether an order may go to the exchange.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn check(&self, wanted: &Wanted, now: UnixNanos) -> Result<Item, Answer> {
        let (_, listing) = self.tradable(wanted.id)?;
        if !self.market.is_open(listing.exchange, now) {
            return Err(Answer::order_refused("Market is closed"));
        }
        let is_cash = matches!(listing.kind, Kind::Share);
        if !is_cash && matches!(wanted.product, "CNC" | "MTF") {
            return Err(Answer::order_refused("Product type is not allowed in this segment"));
        }
        values(wanted.r#type, wanted.side, wanted.quantity, wanted.limit, wanted.trigger, listing)?;
        if wanted.disclosed < 0 || wanted.disclosed > wanted.quantity {
            return Err(Answer::order_refused("Disclosed quantity exceeds the order quantity"));
        }
        Ok(Item::of(listing))
    }

    /// What funds take a unit of an order to be worth: nothing if it only reduces a position or
    /// sells what is held.
    pub(super) fn basis(&self, account: usize, order: &Order) -> Price {
        let book = &self.accounts[account].book;
        let held = book.held(&order.item, order.product);
        let covered = match order.side {
            Side::Buy => -held,
            Side::Sell => held.max(if order.product == "CNC" { book.free(order.item.id) } else { 0 }),
        };
        if covered >= order.quantity || order.link.is_some_and(|l| !l.role.is_entry()) {
            return Price::ZERO;
        }
        match order.r#type {
            Type::Limit | Type::StopLimit => order.limit,
            Type::StopMarket => order.trigger,
            Type::Market => {
                let catalogue = self.market.catalogue();
                catalogue.position(order.item.id).map_or(Price::ZERO, |at| self.market.quote(at).ltp)
            }
        }
    }
}

/// Quantity and prices against the instrument's own rules.
///
/// # Errors
/// The refusal.
pub(super) fn values(
    r#type: Type,
    side: Side,
    quantity: i64,
    limit: Price,
    trigger: Price,
    listing: &Listing,
) -> Result<(), Answer> {
    let refuse = |text: &str| Err(Answer::order_refused(text));
    let lot = i64::from(listing.lot);
    if quantity <= 0 {
        return refuse("Order quantity must be above zero");
    }
    if quantity % lot != 0 {
        return refuse(&format!("Order quantity must be a multiple of the lot size {lot}"));
    }
    if quantity > 100_000_000 {
        return refuse("Order quantity exceeds the freeze quantity");
    }
    let is_limited = matches!(r#type, Type::Limit | Type::StopLimit);
    for (name, price, is_needed) in [("Limit", limit, is_limited), ("Trigger", trigger, r#type.is_stop())] {
        if is_needed && !price.is_positive() {
            return refuse(&format!("{name} price must be above zero"));
        }
        if is_needed && price.as_nanos() % listing.tick.as_nanos() != 0 {
            return refuse(&format!("{name} price must be a multiple of the tick size {}", listing.tick));
        }
        if let Some((low, high)) = listing.band()
            && is_needed
            && (price < low || price > high)
        {
            return refuse(&format!("{name} price is outside the price band {low} to {high}"));
        }
    }
    if r#type == Type::StopLimit {
        let is_reachable = match side {
            Side::Buy => limit >= trigger,
            Side::Sell => limit <= trigger,
        };
        if !is_reachable {
            return refuse("Limit price is on the wrong side of the trigger price");
        }
    }
    Ok(())
}
