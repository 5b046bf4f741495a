//! Every request that changes something at the broker: what is checked, what is sent, and where an unclear
//! outcome shows. The sending itself is `send`.

use futures::FutureExt as _;

use crate::broker::{Broker, Error};
use crate::market::{
    BracketOrder, Conversion, CoverIds, InstrumentId, Listing, NewOrder, Order, OrderChange, OrderKind,
    OrderStatus, Price, Side, SquareOff, SquareOffSize,
};
use crate::session::SessionHandle;
use crate::session::orders::lookup::{Seen, marked, number_of, unclear};
use crate::session::orders::send::{Lost, Request};
use crate::session::orders::{By, OrderError};
use crate::token::Token;

impl SessionHandle {
    /// Sends an order and returns the broker's number of it; its mark is made anew. An order that the broker
    /// lists as rejected after an unclear outcome is an error that says so.
    ///
    /// # Errors
    /// Any [`OrderError`].
    pub async fn place(&self, mut order: NewOrder, by: &By) -> Result<String, OrderError> {
        self.check(&order.kind, order.quantity)?;
        order.unique_id = self.shared.marks.make(self.shared.now());
        let (mark, side) = (order.unique_id.clone(), order.side);
        let request = request("place", describe(&order), &mark, by);
        self.carry_out(
            request,
            move |broker, token, send_by| {
                let order = order.clone();
                async move { broker.place(&token, send_by, &order).await }.boxed()
            },
            move |session, lost| async move { session.find_entry("an order", &mark, side, &lost).await },
            |id| format!("sent, order {id}"),
        )
        .await
        .inspect(|id| self.shared.orders.placed(id))
    }

    /// Asks for an order's change. Its mark is added if it is left out and at hand.
    ///
    /// # Errors
    /// Any [`OrderError`].
    pub async fn modify(&self, mut change: OrderChange, by: &By) -> Result<(), OrderError> {
        self.check(&change.kind, change.quantity)?;
        if change.unique_id.is_empty() {
            // As of a cancellation: the number is enough, and while a book is read the price goes stale.
            change.unique_id = self.shared.orders.unique_id(&change.id).unwrap_or_default();
        }
        let what = format!(
            "order {} to {} {}, {}",
            change.id,
            change.quantity,
            change.product,
            priced(&change.kind, change.price, change.trigger)
        );
        let request = request("modify", what, &change.unique_id, by);
        let (wanted, account) = (change.clone(), self.account_of(&change.id));
        self.carry_out(
            request,
            move |broker, token, send_by| {
                let (change, account) = (change.clone(), account.clone());
                async move {
                    check_whose(&*broker, &token, &change.id, &account)?;
                    broker.modify(&token, send_by, &change).await
                }
                .boxed()
            },
            move |session, lost| async move { session.find_change(&wanted, &lost).await },
            |()| "sent".to_owned(),
        )
        .await
    }

    /// Asks for an order's cancellation.
    ///
    /// # Errors
    /// Any [`OrderError`].
    pub async fn cancel(&self, id: &str, by: &By) -> Result<(), OrderError> {
        self.check_enabled()?;
        // Where the mark is not at hand, the number is enough; a cancellation waits for no book.
        let mark = self.shared.orders.unique_id(id).unwrap_or_default();
        let request = taking_back("cancel", format!("order {id}"), &mark, by);
        let (wanted, account) = (id.to_owned(), self.account_of(id));
        let (id, unique_id) = (id.to_owned(), mark.clone());
        self.carry_out(
            request,
            move |broker, token, _| {
                let (id, unique_id, account) = (id.clone(), unique_id.clone(), account.clone());
                async move {
                    check_whose(&*broker, &token, &id, &account)?;
                    broker.cancel(&token, &id, &unique_id).await
                }
                .boxed()
            },
            move |session, lost| async move { session.find_end("the cancellation", &wanted, &mark, &lost).await },
            |()| "sent".to_owned(),
        )
        .await
    }

    /// Asks for the cancellation of every order of an instrument that stands.
    ///
    /// # Errors
    /// Any [`OrderError`].
    pub async fn cancel_all(&self, instrument: InstrumentId, by: &By) -> Result<(), OrderError> {
        self.check_enabled()?;
        let request = taking_back("cancel_all", format!("every order of {instrument}"), "", by);
        self.carry_out(
            request,
            move |broker, token, _| async move { broker.cancel_all(&token, instrument).await }.boxed(),
            move |session, lost| async move {
                let stands = |o: &Order| o.instrument == instrument && !o.status.is_final();
                let seen = session
                    .look(|orders| (orders.is_whole() && !orders.rows.iter().any(stands)).then_some(()))
                    .await;
                let missing = "some of its orders still stand";
                seen.map_err(|seen| unclear("the cancellation of all orders", "", &lost, &seen, missing))
            },
            |()| "sent".to_owned(),
        )
        .await
    }

    /// Sends a cover order; its mark is made anew.
    ///
    /// # Errors
    /// Any [`OrderError`].
    pub async fn place_cover(&self, mut order: NewOrder, by: &By) -> Result<CoverIds, OrderError> {
        self.check(&order.kind, order.quantity)?;
        order.unique_id = self.shared.marks.make(self.shared.now());
        let (mark, side) = (order.unique_id.clone(), order.side);
        let request = request("place_cover", describe(&order), &mark, by);
        self.carry_out(
            request,
            move |broker, token, send_by| {
                let order = order.clone();
                async move { broker.place_cover(&token, send_by, &order).await }.boxed()
            },
            move |session, lost| async move { session.find_cover(&mark, side, &lost).await },
            |ids| format!("sent, entry {}, stop {}", ids.entry, ids.exit),
        )
        .await
    }

    /// Asks for the end of a cover order, by the number of its stop.
    ///
    /// # Errors
    /// Any [`OrderError`].
    pub async fn exit_cover(&self, id: &str, by: &By) -> Result<(), OrderError> {
        self.check_enabled()?;
        let request = taking_back("exit_cover", format!("order {id}"), "", by);
        let (id, wanted) = (id.to_owned(), id.to_owned());
        self.carry_out(
            request,
            move |broker, token, _| {
                let id = id.clone();
                async move { broker.exit_cover(&token, &id).await }.boxed()
            },
            move |session, lost| async move { session.find_exit("a cover order", &wanted, &lost).await },
            |()| "sent".to_owned(),
        )
        .await
    }

    /// Sends a bracket order and returns the broker's number of its entry; its mark is made anew.
    ///
    /// # Errors
    /// Any [`OrderError`].
    pub async fn place_bracket(&self, mut order: BracketOrder, by: &By) -> Result<String, OrderError> {
        self.check(&order.entry.kind, order.entry.quantity)?;
        order.entry.unique_id = self.shared.marks.make(self.shared.now());
        let (mark, side) = (order.entry.unique_id.clone(), order.entry.side);
        let what = format!(
            "{}, target {}, stop {}, trailing {}",
            describe(&order.entry),
            order.square_off,
            order.stop_loss,
            order.trailing
        );
        let request = request("place_bracket", what, &mark, by);
        self.carry_out(
            request,
            move |broker, token, send_by| {
                let order = order.clone();
                async move { broker.place_bracket(&token, send_by, &order).await }.boxed()
            },
            move |session, lost| async move {
                session.find_entry("a bracket order", &mark, side, &lost).await
            },
            |id| format!("sent, entry {id}"),
        )
        .await
    }

    /// Asks for the end of a bracket order, by the number of its entry.
    ///
    /// # Errors
    /// Any [`OrderError`].
    pub async fn exit_bracket(&self, id: &str, by: &By) -> Result<(), OrderError> {
        self.check_enabled()?;
        let request = taking_back("exit_bracket", format!("order {id}"), "", by);
        let (id, wanted) = (id.to_owned(), id.to_owned());
        self.carry_out(
            request,
            move |broker, token, _| {
                let id = id.clone();
                async move { broker.exit_bracket(&token, &id).await }.boxed()
            },
            move |_, lost| async move {
                Err(unclear(
                    &format!("the end of the bracket order {wanted}"),
                    "",
                    &lost,
                    &Seen::Missing,
                    POSITIONS,
                ))
            },
            |()| "sent".to_owned(),
        )
        .await
    }

    /// Asks for a position's conversion into another product.
    ///
    /// # Errors
    /// Any [`OrderError`].
    pub async fn convert(&self, what: Conversion, by: &By) -> Result<(), OrderError> {
        self.check_quantity(what.quantity)?;
        let words = format!("{} of {}, {} to {}", what.quantity, what.instrument, what.from, what.to);
        let request = request("convert", words, "", by);
        self.carry_out(
            request,
            move |broker, token, send_by| {
                let what = what.clone();
                async move { broker.convert(&token, send_by, &what).await }.boxed()
            },
            |_, lost| async move { Err(unclear("a conversion", "", &lost, &Seen::Missing, POSITIONS)) },
            |()| "sent".to_owned(),
        )
        .await
    }

    /// Asks for a position's closing.
    ///
    /// # Errors
    /// Any [`OrderError`].
    pub async fn square_off(&self, what: SquareOff, by: &By) -> Result<(), OrderError> {
        self.check_enabled()?;
        let size = match what.size {
            SquareOffSize::Units(units) => {
                self.check_quantity(units)?;
                units.to_string()
            }
            SquareOffSize::Percent(percent) => format!("{percent} %"),
        };
        let words = format!("{size} of {} {}", what.instrument, what.product);
        let request = request("square_off", words, "", by);
        self.carry_out(
            request,
            move |broker, token, send_by| {
                let what = what.clone();
                async move { broker.square_off(&token, send_by, &what).await }.boxed()
            },
            |_, lost| async move {
                Err(unclear("a closing of a position", "", &lost, &Seen::Missing, POSITIONS))
            },
            |()| "sent".to_owned(),
        )
        .await
    }

    pub(super) fn check_enabled(&self) -> Result<(), OrderError> {
        if self.shared.deps.orders.enabled { Ok(()) } else { Err(OrderError::Disabled) }
    }

    fn check_quantity(&self, quantity: i64) -> Result<(), OrderError> {
        self.check_enabled()?;
        let most = self.shared.deps.orders.max_quantity;
        match u64::try_from(quantity) {
            Ok(0) | Err(_) => Err(OrderError::NotAllowed(format!("quantity {quantity} is not above zero"))),
            Ok(asked) if most != 0 && asked > most => Err(OrderError::NotAllowed(format!(
                "quantity {asked} is above the {most} that [orders] max_quantity allows"
            ))),
            Ok(_) => Ok(()),
        }
    }

    fn check(&self, kind: &OrderKind, quantity: i64) -> Result<(), OrderError> {
        self.check_quantity(quantity)?;
        match kind {
            OrderKind::Unknown(words) => {
                Err(OrderError::NotAllowed(format!("{words} is no price type that can be sent")))
            }
            _ => Ok(()),
        }
    }

    /// Whose an order is, as far as it was seen; empty where nobody knows, and the broker decides.
    fn account_of(&self, id: &str) -> String {
        self.shared.orders.order(id).map(|order| order.account).unwrap_or_default()
    }

    async fn find_entry(
        &self,
        what: &str,
        mark: &str,
        side: Side,
        lost: &Lost,
    ) -> Result<String, OrderError> {
        let entry = |orders: &Listing<Order>| marked(orders, mark).find(|order| order.side == side).cloned();
        match self.look(entry).await {
            Ok(order) => number_of(order),
            Err(seen) => Err(unclear(what, mark, lost, &seen, "the order book does not show it")),
        }
    }

    /// Entry and stop carry the same mark and opposite sides.
    async fn find_cover(&self, mark: &str, side: Side, lost: &Lost) -> Result<CoverIds, OrderError> {
        let mut half = None;
        let both = |orders: &Listing<Order>| {
            let entry = marked(orders, mark).find(|order| order.side == side).cloned()?;
            half = Some(entry.clone());
            let exit = marked(orders, mark).find(|order| order.side != side)?.id.clone();
            Some((entry, exit))
        };
        match (self.look(both).await, half) {
            (Ok((entry, exit)), _) => Ok(CoverIds { entry: number_of(entry)?, exit }),
            (Err(_), Some(entry)) if entry.status == OrderStatus::Rejected => {
                number_of(entry).map(|id| CoverIds { entry: id, exit: String::new() })
            }
            (Err(_), Some(entry)) => {
                let known = format!("the order book shows its entry {} but no stop", entry.id);
                Err(unclear("a cover order", mark, lost, &Seen::Missing, &known))
            }
            (Err(seen), None) => {
                Err(unclear("a cover order", mark, lost, &seen, "the order book does not show it"))
            }
        }
    }

    /// A change has been done if the book shows the order as it was to be.
    async fn find_change(&self, wanted: &OrderChange, lost: &Lost) -> Result<(), OrderError> {
        let mut last = None;
        let done = |orders: &Listing<Order>| {
            let order = orders.rows.iter().find(|order| order.id == wanted.id)?;
            last = Some(order.clone());
            // Books keep figures of kinds that have none: a market order shows some price.
            let has_price = matches!(wanted.kind, OrderKind::Limit | OrderKind::StopLimit);
            let has_trigger = matches!(wanted.kind, OrderKind::StopLimit | OrderKind::StopMarket);
            let same = order.quantity == wanted.quantity
                && order.kind == wanted.kind
                && (!has_price || order.price == wanted.price)
                && (!has_trigger || order.trigger == wanted.trigger);
            (same || order.status.is_final()).then_some(same)
        };
        match (self.look(done).await, last) {
            (Ok(true), _) => Ok(()),
            (Ok(false), Some(order)) => {
                Err(OrderError::NotDone(format!("the change was not made: order {}", standing(&order))))
            }
            (Err(Seen::Missing), Some(order)) => {
                let known = format!("the order book still shows order {}", standing(&order));
                Err(unclear("a change", &wanted.unique_id, lost, &Seen::Missing, &known))
            }
            (Err(seen), _) => {
                let missing = "the order book does not show the order";
                Err(unclear("a change", &wanted.unique_id, lost, &seen, missing))
            }
            (Ok(false), None) => unreachable!("an order was seen"),
        }
    }

    async fn find_end(&self, what: &str, id: &str, mark: &str, lost: &Lost) -> Result<(), OrderError> {
        let mut last = None;
        let ended = |orders: &Listing<Order>| {
            let order = orders.rows.iter().find(|order| order.id == id)?;
            last = Some(order.clone());
            order.status.is_final().then(|| order.clone())
        };
        match (self.look(ended).await, last) {
            (Ok(order), _) if order.status == OrderStatus::Cancelled => Ok(()),
            (Ok(order), _) => {
                Err(OrderError::NotDone(format!("nothing is left to cancel: order {}", standing(&order))))
            }
            (Err(Seen::Missing), Some(order)) => {
                let known = format!("the order book still shows order {}", standing(&order));
                Err(unclear(&format!("{what} of order {id}"), mark, lost, &Seen::Missing, &known))
            }
            (Err(seen), _) => {
                let missing = "the order book does not show the order";
                Err(unclear(&format!("{what} of order {id}"), mark, lost, &seen, missing))
            }
        }
    }

    /// The stop of a cover order ends when the position is closed, or when it is taken back.
    async fn find_exit(&self, what: &str, id: &str, lost: &Lost) -> Result<(), OrderError> {
        let ended = |orders: &Listing<Order>| {
            orders.rows.iter().any(|order| order.id == id && order.status.is_final()).then_some(())
        };
        let known = "the order book does not show its end";
        let what = format!("the end of {what} by its order {id}");
        self.look(ended).await.map_err(|seen| unclear(&what, "", lost, &seen, known))
    }
}

/// A dealer's login is told of orders of other clients than the one that it trades for.
fn check_whose(broker: &dyn Broker, token: &Token, id: &str, account: &str) -> Result<(), Error> {
    if broker.trades_for(token, account) {
        return Ok(());
    }
    // Whose it is, is that one's own business.
    Err(Error::Invalid(format!("order {id} is of another client than the one that orders go to")))
}

/// Where positions tell, not orders.
const POSITIONS: &str = "only the positions and the order book can tell";

fn request(action: &'static str, what: String, unique_id: &str, by: &By) -> Request {
    Request { action, what, unique_id: unique_id.to_owned(), by: by.clone(), takes_back: false }
}

/// The same, for what only takes back what was done.
fn taking_back(action: &'static str, what: String, unique_id: &str, by: &By) -> Request {
    Request { takes_back: true, ..request(action, what, unique_id, by) }
}

fn describe(order: &NewOrder) -> String {
    let side = match order.side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    };
    format!(
        "{side} {} of {} {} {}, {}",
        order.quantity,
        order.instrument,
        order.product,
        order.validity,
        priced(&order.kind, order.price, order.trigger)
    )
}

fn priced(kind: &OrderKind, price: Price, trigger: Price) -> String {
    match kind {
        OrderKind::Market => "at market".to_owned(),
        OrderKind::Limit => format!("limit {price}"),
        OrderKind::StopLimit => format!("limit {price}, trigger {trigger}"),
        OrderKind::StopMarket => format!("at market, trigger {trigger}"),
        OrderKind::Unknown(words) => words.clone(),
    }
}

/// Where an order stands, in words.
fn standing(order: &Order) -> String {
    let is = match &order.status {
        OrderStatus::Pending => "is on its way",
        OrderStatus::Open => "is open",
        OrderStatus::TriggerPending => "waits for its trigger",
        OrderStatus::PartiallyFilled => "is partly filled",
        OrderStatus::Filled => "is filled",
        OrderStatus::Cancelled => "is cancelled",
        OrderStatus::Rejected => "is rejected",
        OrderStatus::Unknown(words) => words,
    };
    format!("{} {is} ({} of {} filled, price {})", order.id, order.filled, order.quantity, order.price)
}
