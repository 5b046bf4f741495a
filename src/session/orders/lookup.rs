//! Looks for orders: for one that is to be changed, and for what became of a request that the broker did not
//! answer. Only reads; nothing is sent again.

use std::time::Duration;

use crate::broker::Error;
use crate::market::{Listing, Order, OrderStatus};
use crate::session::messages::Asker;
use crate::session::orders::OrderError;
use crate::session::orders::send::Lost;
use crate::session::{CallError, SessionHandle};
use crate::token::Product;

/// Time before each look: the broker may still be at work on it.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// For all looks together.
const PATIENCE: Duration = Duration::from_secs(40);

/// What the looks brought, if not what was looked for.
pub(super) enum Seen {
    /// The book was read, and it was not there.
    Missing,
    /// The book could not be read; why.
    Unread(String),
}

impl SessionHandle {
    /// An order that is to be changed, or none: as it was last seen, and where it was not, as the book has it. Of
    /// the client that orders go to.
    ///
    /// # Errors
    /// [`OrderError::Disabled`]; any [`OrderError::Call`], also if it cannot be told which orders are this client's.
    pub async fn order_to_change(&self, id: &str) -> Result<Listing<Order>, OrderError> {
        self.check_enabled()?;
        let asking = async {
            if let Some(order) = self.shared.orders.order(id) {
                let asker = Asker::Call("order book");
                let granted = self.tokens.get(Product::Interactive, None, asker).await?;
                // An event that does not say how long the order stands is not enough to change it by.
                if !order.validity.is_empty()
                    && self.shared.deps.broker.trades_for(&granted.token, &order.account)
                {
                    return Ok(vec![order].into());
                }
            }
            self.traded_orders().await
        };
        // The change would be late.
        let late = |_| CallError::from(Error::NotSent("the order book was not read in time".to_owned()));
        let asked = tokio::time::timeout(self.send_within(), asking).await;
        let mut book = asked.map_err(late)??;
        book.rows.retain(|order| order.id == id);
        Ok(book)
    }

    /// Reads the orders of the client that orders go to until `found` finds something in them, a few times.
    pub(super) async fn look<T>(
        &self,
        mut found: impl FnMut(&Listing<Order>) -> Option<T>,
    ) -> Result<T, Seen> {
        let mut seen = Seen::Unread("no answer in time".to_owned());
        let looking = async {
            for pause in PAUSES {
                tokio::time::sleep(pause).await;
                match self.traded_orders().await {
                    Ok(orders) => {
                        if let Some(found) = found(&orders) {
                            return Some(found);
                        }
                        // What is not among the rows may be in one that cannot be read.
                        seen = match orders.unreadable {
                            0 => Seen::Missing,
                            rows => Seen::Unread(format!("{rows} of its rows")),
                        };
                    }
                    // One that was read says more than one that was not.
                    Err(why) if !matches!(seen, Seen::Missing) => seen = Seen::Unread(why.to_string()),
                    Err(_) => {}
                }
            }
            None
        };
        let looked = tokio::time::timeout(PATIENCE, looking).await;
        looked.ok().flatten().ok_or(seen)
    }
}

/// Says that nobody knows. `what` names the request, `missing` what it means that the book does not show it.
pub(super) fn unclear(what: &str, mark: &str, lost: &Lost, seen: &Seen, missing: &str) -> OrderError {
    let known = match seen {
        Seen::Missing => missing.to_owned(),
        Seen::Unread(why) => format!("the order book could not be read ({why})"),
    };
    let at = lost.sent_at.in_india();
    let with_mark = if mark.is_empty() { String::new() } else { format!(" with the mark {mark}") };
    let message = format!(
        "the broker did not say what became of {what}, sent at {at}{with_mark} ({}); {known}; it may still \
         take effect and was not repeated: look into the order book before sending it again",
        lost.why
    );
    OrderError::Unclear { message, unique_id: mark.to_owned(), sent_at: lost.sent_at }
}

/// The orders of a mark.
pub(super) fn marked<'a>(orders: &'a Listing<Order>, mark: &'a str) -> impl Iterator<Item = &'a Order> {
    orders.rows.iter().filter(move |order| !mark.is_empty() && order.unique_id == mark)
}

/// An order that was found: its number, unless it was refused.
pub(super) fn number_of(order: Order) -> Result<String, OrderError> {
    if order.status == OrderStatus::Rejected {
        let why = if order.reason.is_empty() { "no reason given" } else { &order.reason };
        return Err(OrderError::NotDone(format!("order {} was rejected: {why}", order.id)));
    }
    Ok(order.id)
}
