//! What an interactive session reads: profile, funds, books; and whose `clientID` opens which.
//!
//! Source of the rules for dealers: live reports from dealer servers of XTS. A dealer names the
//! book's client for books and itself for funds, an own-account ("pro") dealer names the mask
//! for everything, and the plain books can be empty for either. Which refusal a wrong
//! `clientID` meets is not known; it is composed.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::Core;
use super::account::Account;
use crate::broker::xts::socketio;
use crate::clock::UnixNanos;
use crate::sim::accounts::MASK;
use crate::sim::answers::Answer;
use crate::sim::books::{Book, holdings, wire};
use crate::sim::sessions::Product;
use crate::sim::settings::{AccountKind, Books};

/// A call's query.
pub(crate) type Query = HashMap<String, String>;

/// Whom a call's `clientID` must name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// The client whose book it is.
    Client,
    /// Who logged in.
    Login,
    /// Either of them.
    Any,
}

impl Account {
    /// Whether `clientID` is right for a call.
    fn may_ask(&self, subject: Subject, query: &Query) -> bool {
        let named = query.get("clientID").map(String::as_str);
        let (client, login) = (self.identity.client.as_str(), self.identity.login.as_str());
        match self.identity.kind {
            // Clients send the mask by default, and live servers take it.
            AccountKind::Investor => named.is_none_or(|n| n.is_empty() || n == client || n == MASK),
            AccountKind::Pro => named == Some(MASK),
            AccountKind::Dealer => match subject {
                Subject::Client => named == Some(client),
                Subject::Login => named == Some(login),
                Subject::Any => named == Some(client) || named == Some(login),
            },
        }
    }

    /// Whether `clientID` is right for an order.
    pub(super) fn may_order(&self, query: &Query) -> bool {
        self.may_ask(Subject::Client, query)
    }

    pub(super) const fn owner(&self) -> wire::Owner<'_> {
        wire::Owner { login: self.identity.login.as_str(), client: self.identity.client.as_str() }
    }
}

impl Core {
    /// The name of a call below the interactive prefix, `None` if there is no such.
    pub(crate) fn interactive_call(path: &str) -> Option<&'static str> {
        Some(match path {
            "user/profile" => "profile",
            "user/balance" => "balance",
            "orders" | "orders/dealerorderbook" => "orders",
            "orders/trades" | "orders/dealertradebook" => "trades",
            "portfolio/positions" | "portfolio/dealerpositions" => "positions",
            "portfolio/holdings" => "holdings",
            "status/exchange" => "status",
            "messages/exchange" => "messages",
            _ => return None,
        })
    }

    /// The answer to a call of [`Self::interactive_call`]; the token was checked.
    pub(crate) fn interactive_get(
        &mut self,
        account: usize,
        path: &str,
        query: &Query,
        now: UnixNanos,
    ) -> Answer {
        match path {
            "status/exchange" => return self.exchange_status(now),
            "messages/exchange" => return Self::exchange_messages(),
            _ => {}
        }
        let owner = &self.accounts[account];
        let is_dealer = owner.identity.kind != AccountKind::Investor;
        let is_dealer_call = path.contains("dealer");
        let subject = match path {
            "user/profile" => Subject::Any,
            "user/balance" => Subject::Login,
            _ => Subject::Client,
        };
        // A dealer's plain books are empty for every client, an investor's dealer books too.
        let is_book = !matches!(path, "user/profile" | "user/balance" | "portfolio/holdings");
        // An order's history is asked for at the plain path by everybody.
        let is_history = path == "orders" && query.contains_key("appOrderID");
        let is_hollow = is_book && !is_history && is_dealer != is_dealer_call;
        if !is_hollow && !owner.may_ask(subject, query) {
            return Answer::bad_request("clientID is none that this login may ask for");
        }
        match path {
            "user/profile" => Answer::profile(&owner.identity),
            "user/balance" => {
                let funds = owner.book.funds();
                Answer::success("s-user-0002", "OK", wire::balance(owner.owner(), &funds, account))
            }
            "portfolio/holdings" => Answer::success(
                "s-portfolio-0013",
                "Success holding",
                holdings::result(&owner.book.holdings, &owner.identity.client, account),
            ),
            _ if is_hollow => book_answer(path, query, &Book::default(), owner, now),
            _ => {
                let book = &owner.book;
                if book.orders.is_empty() && book.trades.is_empty() && book.carried.is_empty() {
                    self.empty_answers += 1;
                    // By turns, in the two ways that servers have.
                    if self.empty_answers.is_multiple_of(2) {
                        return Answer::no_data();
                    }
                }
                let owner = &self.accounts[account];
                book_answer(path, query, &owner.book, owner, now)
            }
        }
    }

    /// `GET /__sim/books`.
    pub(crate) fn books_view(&self) -> Value {
        let accounts = self.main_accounts().iter().map(|a| {
            let mut truth = a.book.truth();
            truth["user"] = json!(a.demo.user);
            truth["login_user"] = json!(a.identity.login);
            truth["client_id"] = json!(a.identity.client);
            truth["orders_received"] = a.received.view();
            truth
        });
        json!({ "accounts": accounts.collect::<Vec<_>>() })
    }

    /// Fills the next open order of an account, of all for `None`, and tells its interactive
    /// sockets. Returns how many orders were filled.
    pub(crate) fn fill(&mut self, account: Option<usize>, now: UnixNanos) -> usize {
        self.pass_time(now);
        let mut filled = 0;
        for number in 0..self.main_accounts().len() {
            if account.is_some_and(|a| a != number) {
                continue;
            }
            let Some((order, trade)) = self.accounts[number].book.fill_next(now) else { continue };
            filled += 1;
            let traded = self.accounts[number].book.trades[trade].quantity;
            self.after_trade(number, order, trade, now);
            self.settle(number, order, traded, now);
        }
        filled
    }

    pub(super) fn tell_interactive(&mut self, account: usize, name: &str, datum: &str) {
        let Some(session) = &self.accounts[account].sessions.interactive else { return };
        let theirs =
            self.sockets.iter().filter(|(_, s)| s.product == Product::Interactive && s.session == session.id);
        let theirs: Vec<_> = theirs.map(|(&id, _)| id).collect();
        for id in theirs {
            self.say(id, &socketio::encode_event(name, datum));
        }
    }

    /// New books for a new day.
    pub(super) fn open_books(&mut self, now: UnixNanos) {
        for (number, account) in self.accounts.iter_mut().enumerate().filter(|(_, a)| a.pair == 0) {
            account.book = match self.settings.books {
                Books::Empty => Book::empty(number, now),
                Books::Demo => Book::demo(number, self.market.catalogue(), now),
            };
        }
    }
}

fn book_answer(path: &str, query: &Query, book: &Book, account: &Account, now: UnixNanos) -> Answer {
    let owner = account.owner();
    match path {
        "orders" if query.contains_key("appOrderID") => {
            let number = query["appOrderID"].parse::<u64>().ok();
            let at = book.orders.iter().position(|o| Some(o.number) == number);
            match at {
                Some(at) => {
                    Answer::success("s-user-0001", "Success order history", json!(book.history(owner, at)))
                }
                None => Answer::no_data(),
            }
        }
        "orders" | "orders/dealerorderbook" => {
            Answer::success("s-user-0001", "Success order book", json!(book.order_entries(owner)))
        }
        "orders/trades" => {
            Answer::success("s-orders-0001", "Success trade book", json!(book.trade_entries(owner)))
        }
        "orders/dealertradebook" => {
            Answer::success("s-dealertrade-0001", "Success trade book", json!(book.trade_entries(owner)))
        }
        _ => {
            let net = match query.get("dayOrNet").map(String::as_str) {
                Some("NetWise") => true,
                Some("DayWise") => false,
                _ => return Answer::bad_request("dayOrNet must be NetWise or DayWise"),
            };
            let list = book.position_entries(owner, net, now);
            Answer::success("s-portfolio-0001", "Success position", json!({ "positionList": list }))
        }
    }
}
