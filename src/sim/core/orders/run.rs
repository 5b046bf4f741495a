//! What becomes of orders as the market moves, and who is told. The decisions are
//! `books::matching`'s.

use serde_json::{Value, json};

use crate::clock::UnixNanos;
use crate::sim::books::matching::Change;
use crate::sim::books::{Item, Side, Status};
use crate::sim::core::Core;

impl Core {
    /// Lets every open order go on.
    pub(in crate::sim::core) fn run_orders(&mut self, now: UnixNanos) {
        if self.market.is_muted() {
            return;
        }
        for account in 0..self.main_accounts().len() {
            let mut at = 0;
            while at < self.accounts[account].book.orders.len() {
                let order = &self.accounts[account].book.orders[at];
                if order.is_live && !order.status.is_final() {
                    self.run_order(account, at, now);
                }
                at += 1;
            }
        }
    }

    fn run_order(&mut self, account: usize, at: usize, now: UnixNanos) {
        let order = &self.accounts[account].book.orders[at];
        let Some(place) = self.market.catalogue().position(order.item.id) else { return };
        if !self.market.is_open(self.market.catalogue().listings()[place].exchange, now) {
            return;
        }
        if order.status == Status::PendingNew && now > order.updated && self.lacks_margin(account, at) {
            self.reject(account, at, now);
            return;
        }
        let change = self.accounts[account].book.advance(at, self.market.quote(place), now);
        match change {
            None => {}
            Some(Change::Status) => {
                self.tell_order(account, at);
                self.settle(account, at, 0, now);
            }
            Some(Change::Trade(trade)) => {
                let traded = self.accounts[account].book.trades[trade].quantity;
                self.after_trade(account, at, trade, now);
                self.settle(account, at, traded, now);
            }
        }
    }

    /// Whether an order needs more than the account has. It is counted in the funds already.
    fn lacks_margin(&self, account: usize, at: usize) -> bool {
        let book = &self.accounts[account].book;
        book.orders[at].basis.is_positive() && book.funds().available() < 0
    }

    fn reject(&mut self, account: usize, at: usize, now: UnixNanos) {
        let book = &mut self.accounts[account].book;
        let required = book.margin(at);
        let available = book.funds().available() + required;
        book.orders[at].reason = format!(
            "RMS:Margin Exceeds, Required:{}, Available:{}",
            crate::sim::books::wire::with_commas(required),
            crate::sim::books::wire::with_commas(available),
        );
        book.set_status(at, Status::Rejected, now);
        self.tell_order(account, at);
        self.settle(account, at, 0, now);
    }

    /// What follows from a trade, and who is told of it.
    pub(in crate::sim::core) fn after_trade(
        &mut self,
        account: usize,
        at: usize,
        trade: usize,
        now: UnixNanos,
    ) {
        let book = &mut self.accounts[account].book;
        let order = &book.orders[at];
        let (item, product) = (order.item.clone(), order.product);
        if product == "CNC" && order.side == Side::Sell {
            book.use_holding(item.id, book.trades[trade].quantity);
        }
        self.tell_order(account, at);
        let owner = &self.accounts[account];
        let entry = owner.book.trade_entry(owner.owner(), trade);
        self.tell_entry(account, "trade", Some(entry));
        self.tell_position(account, "position", &item, product, now);
    }

    /// What follows for the other orders of a group.
    pub(in crate::sim::core) fn settle(&mut self, account: usize, at: usize, traded: i64, now: UnixNanos) {
        let (first, mut used) = (self.orders_numbered + 1, 0);
        let base = self.next_number();
        let changed = self.accounts[account].book.settle(at, traded, now, || {
            used += 1;
            base + used - 1
        });
        self.orders_numbered = first + used - 1;
        for each in changed {
            self.tell_order(account, each);
        }
    }

    pub(in crate::sim::core) fn tell_order(&mut self, account: usize, at: usize) {
        let owner = &self.accounts[account];
        let mut entry = owner.book.order_entry(owner.owner(), at);
        // Events of some servers have other times than the books.
        if at % 2 == 1 {
            for key in ["OrderGeneratedDateTime", "ExchangeTransactTime", "LastUpdateDateTime"] {
                let iso = entry[key].as_str().and_then(iso);
                entry[key] = json!(iso);
            }
        }
        self.tell_entry(account, "order", Some(entry));
    }

    pub(super) fn tell_position(
        &mut self,
        account: usize,
        name: &str,
        item: &Item,
        product: &str,
        now: UnixNanos,
    ) {
        let owner = &self.accounts[account];
        let entry = owner.book.position_event(owner.owner(), item, product, now);
        self.tell_entry(account, name, entry);
    }

    fn tell_entry(&mut self, account: usize, name: &str, entry: Option<Value>) {
        // A JSON text inside the JSON, as market events have it.
        if let Some(entry) = entry {
            self.tell_interactive(account, name, &json!(entry.to_string()).to_string());
        }
    }
}

/// `DD-MM-YYYY HH:MM:SS` as `YYYY-MM-DDTHH:MM:SS`.
fn iso(text: &str) -> Option<String> {
    let (date, time) = text.split_once(' ')?;
    let mut parts = date.split('-');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    Some(format!("{year}-{month}-{day}T{time}"))
}
