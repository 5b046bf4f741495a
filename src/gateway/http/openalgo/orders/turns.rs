//! Orders that depend on a position: smart orders, and the closing of positions.
//!
//! Two of them at once for one position would both act on what it was before either. So they take turns, and
//! each waits for what the one before it has sent: until that order is done with and the position shows it. If
//! that takes long, the request is refused, and nothing is sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Mutex as Turn, RwLock};
use tokio::time::Instant;

use super::super::asked::{Asked, Failed, Reply, tradable};
use super::super::fields::Fields;
use super::batch::Budget;
use super::request::OrderRequest;
use crate::gateway::control::DeskError;
use crate::market::{
    InstrumentId, Listing, Master, NewOrder, Order, OrderKind, Position, PositionView, Price, Side,
};
use crate::protocol::openalgo::rest::names;
use crate::protocol::openalgo::rest::smart::{self, Decision};

/// What a position may be held as.
const PRODUCTS: [&str; 6] = ["MIS", "NRML", "CNC", "CO", "BO", "MTF"];
/// Looks at the books for what the last order has become.
const LOOKS: usize = 4;
const PAUSE: Duration = Duration::from_millis(500);
/// After this, a position that others have brought back to where it was counts as it is, and an order that is in no book is taken for one that never was: one that the broker has acknowledged,
/// and one of which it did not say what became.
const GRACE: Duration = Duration::from_mins(1);
const UNCLEAR_GRACE: Duration = Duration::from_mins(5);
/// For one's turn. Nobody waits for an order that comes minutes later.
const TURN_PATIENCE: Duration = Duration::from_secs(20);

/// A position: the account's own name, however it was asked for; instrument, product.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    account: String,
    instrument: InstrumentId,
    product: String,
}

/// What was sent last for a position.
#[derive(Clone, Debug)]
struct Sent {
    /// The broker's number; `None` if it did not say.
    id: Option<String>,
    /// The order's mark, where that is all there is.
    unique_id: String,
    /// The position before it.
    before: i64,
    /// When its outcome, or that it has none, was known.
    at: Instant,
}

/// Whose turn it is, and what was sent last; shared by all requests.
#[derive(Clone, Default)]
pub(in super::super::super) struct Turns {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Smart orders of different positions go side by side, the closing of all positions goes alone.
    all: RwLock<()>,
    each: Mutex<HashMap<Key, Arc<Turn<()>>>>,
    sent: Mutex<HashMap<Key, Sent>>,
}

impl Turns {
    fn turn(&self, key: &Key) -> Arc<Turn<()>> {
        let mut each = self.shared.each.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody waits for need not be kept.
        each.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(each.entry(key.clone()).or_default())
    }

    fn sent(&self, of: impl Fn(&Key) -> bool) -> Vec<(Key, Sent)> {
        let sent = self.shared.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.iter().filter(|(key, _)| of(key)).map(|(key, sent)| (key.clone(), sent.clone())).collect()
    }

    fn remember(&self, key: Key, sent: Sent) {
        self.shared.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(key, sent);
    }

    fn forget(&self, key: &Key) {
        self.shared.sent.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

pub(super) async fn place_smart(asked: &Asked) -> Result<Reply, Failed> {
    let (request, wanted) = OrderRequest::read_with(&asked.body, 0, |fields| {
        fields.required("position_size");
        fields.whole("position_size", i64::MIN).unwrap_or(0)
    })?;
    let master = asked.master()?;
    let instrument = request.instrument(&master)?;
    let key = key(asked, instrument, &request.terms.product)?;

    let _side_by_side = in_turn(asked.turns.shared.all.read()).await?;
    let turn = asked.turns.turn(&key);
    let _alone = in_turn(turn.lock()).await?;
    let positions = settled(asked, |other| *other == key).await?;
    let now = size_of(&positions, &key)?;
    let decision = smart::decide(now, wanted, request.side, request.quantity)
        .ok_or_else(|| Failed::bad("position_size: too far from the position's size"))?;
    let Decision::Send { side, quantity } = decision else {
        return Ok(Reply::new(200, &json!({"status": "success", "message": decision.words()})));
    };
    let order = request.order_of(&master, instrument, side, quantity)?;
    let id = send(asked, key, now, order, &request.strategy).await?;
    Ok(Reply::new(200, &json!({"status": "success", "orderid": id})))
}

/// All positions, or those of the symbol (and product) that the body names.
pub(super) async fn close_positions(asked: &Asked) -> Result<Reply, Failed> {
    let mut fields = Fields::of(&asked.body);
    let strategy = fields.text("strategy");
    // Present but empty is a slip, and must not mean everything.
    let mut named = |name: &str| {
        let is_there = asked.body.get(name).is_some_and(|value| !value.is_null());
        if is_there { Some(fields.text(name)) } else { None }
    };
    let (symbol, exchange) = (named("symbol"), named("exchange"));
    let product = named("product").map(|product| product.to_ascii_uppercase());
    fields.finish()?;
    if symbol.is_some() != exchange.is_some() {
        return Err(Failed::bad("symbol and exchange go together"));
    }
    let (master, account) = (asked.master()?, account_of(asked)?);
    let is_meant = |instrument: InstrumentId, broker_symbol: &str, held_as: &str| {
        let (at, name) = names::name(&master, instrument, broker_symbol);
        symbol.as_ref().is_none_or(|symbol| *symbol == name)
            && exchange.as_ref().is_none_or(|exchange| exchange == at.as_str())
            && product.as_ref().is_none_or(|product| product == held_as)
    };

    let _alone = in_turn(asked.turns.shared.all.write()).await?;
    let of = |key: &Key| key.account == account && is_meant(key.instrument, "", &key.product);
    let (positions, blocked) = looked_at(asked, of).await?;
    let rows = positions.iter().filter(|p| is_meant(p.instrument, &p.symbol, &p.product));
    let open = netted(rows)?;
    if open.is_empty() {
        if let (Some(symbol), Some(exchange)) = (&symbol, &exchange) {
            // "Nothing is held" must not be the answer to a name that nobody knows.
            tradable(&master, exchange, symbol)?;
        }
        if let Some(product) = &product
            && !PRODUCTS.contains(&product.as_str())
        {
            return Err(Failed::bad(format!("product: Must be one of: {}.", PRODUCTS.join(", "))));
        }
        return Ok(Reply::new(200, &json!({"status": "success", "message": "No Open Positions Found"})));
    }
    let (mut closed, mut failures, mut first_status) = (Vec::new(), Vec::new(), None);
    let mut budget = Budget::begin();
    for position in &open {
        let mut entry = described(&master, position);
        let waits_for = blocked.get(&key(asked, position.instrument, &position.product)?);
        let outcome = match (waits_for, budget.left()) {
            // The others are closed all the same.
            (Some(why), _) => Err(Failed::new(409, why.clone())),
            (None, Err(why)) => Err(why),
            (None, Ok(())) => close(asked, position, &strategy).await,
        };
        budget.note(outcome.as_ref().err());
        match outcome {
            Ok(id) => {
                entry["orderid"] = json!(id);
                closed.push(entry);
            }
            Err(failed) => {
                first_status.get_or_insert(failed.status);
                if let Value::Object(entry) = &mut entry {
                    entry.extend(failed.members());
                }
                failures.push(entry);
            }
        }
    }
    let Some(first_status) = first_status else {
        let body =
            json!({"status": "success", "message": "All Open Positions Squared Off", "orders": closed});
        return Ok(Reply::new(200, &body));
    };
    let names: Vec<_> = failures
        .iter()
        .map(|f| format!("{} ({}): {}", text(&f["symbol"]), text(&f["product"]), text(&f["message"])))
        .collect();
    let message = format!(
        "{} of {} positions were not closed: {}",
        names.len(),
        names.len() + closed.len(),
        names.join("; ")
    );
    let is_unclear = failures.iter().any(|failure| failure["outcome"] == "unknown");
    let status = match (closed.is_empty(), is_unclear) {
        // The statuses of single orders say that nothing was done, and some clients repeat a request by itself.
        (false, _) => 409,
        (true, true) => 504,
        (true, false) => first_status,
    };
    let mut failed = Failed::new(status, message).with("orders", closed).with("failures", failures);
    if is_unclear {
        failed = failed.with("outcome", "unknown");
    }
    Err(failed)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn described(master: &Master, position: &Position) -> Value {
    let (exchange, symbol) = names::name(master, position.instrument, &position.symbol);
    json!({"symbol": symbol, "exchange": exchange.as_str(), "product": position.product})
}

/// Sends the opposite of a position at the market.
async fn close(asked: &Asked, position: &Position, strategy: &str) -> Result<String, Failed> {
    let key = key(asked, position.instrument, &position.product)?;
    let quantity = position
        .quantity
        .checked_abs()
        .ok_or_else(|| Failed::new(502, "the broker's quantity is beyond all reason"))?;
    let order = NewOrder {
        instrument: position.instrument,
        side: if position.quantity > 0 { Side::Sell } else { Side::Buy },
        kind: OrderKind::Market,
        product: position.product.clone(),
        validity: "DAY".to_owned(),
        quantity,
        disclosed: 0,
        price: Price::ZERO,
        trigger: Price::ZERO,
        unique_id: String::new(),
    };
    send(asked, key, position.quantity, order, strategy).await
}

/// Rows of the same instrument and product as one; those of size zero are left out.
fn netted<'a>(rows: impl Iterator<Item = &'a Position>) -> Result<Vec<Position>, Failed> {
    let mut netted: Vec<Position> = Vec::new();
    for row in rows {
        let same = netted.iter_mut().find(|p| p.instrument == row.instrument && p.product == row.product);
        match same {
            None => netted.push(row.clone()),
            Some(known) => known.quantity = known.quantity.checked_add(row.quantity).ok_or_else(too_many)?,
        }
    }
    netted.retain(|position| position.quantity != 0);
    Ok(netted)
}

fn too_many() -> Failed {
    Failed::new(502, "the broker's positions are beyond all reason")
}

/// Waits for a lock, but not for long.
async fn in_turn<T>(lock: impl Future<Output = T>) -> Result<T, Failed> {
    let late = |_| Failed::new(409, "other orders for these positions are under way; nothing was sent");
    tokio::time::timeout(TURN_PATIENCE, lock).await.map_err(late)
}

fn account_of(asked: &Asked) -> Result<String, Failed> {
    Ok(asked.desk.account_name(asked.account()?)?)
}

fn key(asked: &Asked, instrument: InstrumentId, product: &str) -> Result<Key, Failed> {
    Ok(Key { account: account_of(asked)?, instrument, product: product.to_owned() })
}

/// Sends an order and remembers it, unless it is known not to be.
async fn send(
    asked: &Asked,
    key: Key,
    before: i64,
    order: NewOrder,
    strategy: &str,
) -> Result<String, Failed> {
    let by = asked.placer(strategy);
    let mut sent = Sent { id: None, unique_id: String::new(), before, at: Instant::now() };
    match asked.desk.place(asked.account()?, order, &by).await {
        Ok(id) => {
            sent.id = Some(id.clone());
            sent.at = Instant::now();
            asked.turns.remember(key, sent);
            Ok(id)
        }
        Err(error) => {
            if let DeskError::Unclear { unique_id, .. } = &error {
                sent.unique_id.clone_from(unique_id);
                sent.at = Instant::now();
                asked.turns.remember(key, sent);
            }
            Err(error.into())
        }
    }
}

/// The positions, once they show what was sent last for those in question.
async fn settled(asked: &Asked, of: impl Fn(&Key) -> bool) -> Result<Vec<Position>, Failed> {
    let (positions, blocked) = looked_at(asked, of).await?;
    match blocked.into_values().next() {
        None => Ok(positions),
        Some(why) => Err(Failed::new(409, why)),
    }
}

/// The positions, and what still has to be waited for, and why, after some looks.
async fn looked_at(
    asked: &Asked,
    of: impl Fn(&Key) -> bool,
) -> Result<(Vec<Position>, HashMap<Key, String>), Failed> {
    let account = asked.account()?;
    for look in 1.. {
        let sent = asked.turns.sent(&of);
        if sent.is_empty() {
            break;
        }
        let orders = asked.desk.traded_orders(account).await?;
        // After the orders: a position that is older than its order's end would be acted on twice.
        let positions = read_positions(asked, account).await?;
        let mut blocked = HashMap::new();
        for (key, sent) in sent {
            match sent.state(&orders, size_of(&positions, &key)?, look == LOOKS) {
                None => asked.turns.forget(&key),
                Some(why) => {
                    blocked.insert(key, why);
                }
            }
        }
        if blocked.is_empty() || look == LOOKS {
            return Ok((positions, blocked));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok((read_positions(asked, account).await?, HashMap::new()))
}

/// Every position of the client that orders go to. One that cannot be read must not count as none.
async fn read_positions(asked: &Asked, account: Option<&str>) -> Result<Vec<Position>, Failed> {
    let book = asked.desk.traded_positions(account, PositionView::Net).await?;
    if !book.is_whole() {
        return Err(Failed::unreadable(book.unreadable, "positions", "nothing was sent"));
    }
    Ok(book.rows)
}

impl Sent {
    /// What is still to be waited for. At the `last` look a position counts as it is, since others trade in it
    /// too; but not one that has not moved at all although the order was filled.
    fn state(&self, orders: &Listing<Order>, size: i64, last: bool) -> Option<String> {
        let is_it = |order: &&Order| match &self.id {
            Some(id) => order.id == *id,
            None => !self.unique_id.is_empty() && order.unique_id == self.unique_id,
        };
        let Some(order) = orders.rows.iter().find(is_it) else {
            let name = self.id.as_deref().unwrap_or(&self.unique_id);
            if !orders.is_whole() {
                return Some(format!(
                    "an earlier order for this position, {name}, may be among {} rows of the order book that cannot be read; nothing was sent",
                    orders.unreadable
                ));
            }
            let grace = if self.id.is_some() { GRACE } else { UNCLEAR_GRACE };
            return (self.at.elapsed() < grace)
                .then(|| format!("an earlier order for this position, {name}, is not in the order book yet; nothing was sent"));
        };
        if !order.status.is_final() {
            return Some(format!(
                "an earlier order for this position, {}, still stands; cancel it or wait for it; nothing was sent",
                order.id
            ));
        }
        let shows = self.before.checked_add(signed(order)) == Some(size);
        let is_unmoved = order.filled != 0 && size == self.before;
        let is_in_doubt = is_unmoved && (self.at.elapsed() < GRACE || !is_undone(order, orders));
        (!shows && (!last || is_in_doubt)).then(|| {
            format!("the position does not show yet what order {} has filled; nothing was sent", order.id)
        })
    }
}

/// What an order has done to its position.
fn signed(order: &Order) -> i64 {
    if order.side == Side::Buy { order.filled } else { order.filled.saturating_neg() }
}

/// Whether later orders have brought the position back by as much. Without them, one that has not moved is not the
/// one that the order went into, however long ago that was.
fn is_undone(order: &Order, orders: &Listing<Order>) -> bool {
    let later = orders.rows.iter().filter(|other| {
        other.id != order.id
            && other.instrument == order.instrument
            && other.product == order.product
            && other.updated_at >= order.updated_at
    });
    let by = later.fold(0_i64, |sum, other| sum.saturating_add(signed(other)));
    by.signum() == -signed(order).signum() && by.unsigned_abs() >= order.filled.unsigned_abs()
}

/// The size of a position; brokers may show it in several rows.
fn size_of(positions: &[Position], key: &Key) -> Result<i64, Failed> {
    let of_it = positions.iter().filter(|p| p.instrument == key.instrument && p.product == key.product);
    of_it.map(|position| position.quantity).try_fold(0_i64, i64::checked_add).ok_or_else(too_many)
}
