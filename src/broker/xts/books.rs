//! The interactive books: asking for them, and telling what could not be read of them.
//! Not in whose name (`ways`), not how their rows are read (`wire::books`), and not which of them
//! may be acted on (`traded`).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::Method;
use tokio::time::{Instant, timeout_at};

use crate::broker::Error;
use crate::market::{Funds, Holding, Listing, Order, Position, PositionView, Profile, Trade};
use crate::telemetry::metrics as names;
use crate::token::{Product, Token, TokenEpoch};

use super::XtsBroker;
use super::instruments::is_no_data;
use super::rest::Call;
use super::ways::{Book, Form, Memory, Way, ways};
use super::whose::{Own, Owned};
use super::wire::books::{self, Book as Rows, Fault, NotABook};
use super::wire::text::Raw;

/// One book's memory, and its last answer for those who waited for it.
///
/// Askers stand in line. The one whose turn it is asks; those who came before that request was
/// *sent* share its answer, so that a hundred askers make one request and none is told of a time
/// before it asked.
#[derive(Debug)]
pub(super) struct Desk<T> {
    /// Held during a whole asking, so that the next one knows what it has learned.
    busy: tokio::sync::Mutex<()>,
    memory: Mutex<Memory>,
    /// Askers so far.
    askers: AtomicU64,
    last: Mutex<Option<Answered<T>>>,
}

/// What an asking brought.
#[derive(Debug)]
struct Answered<T> {
    /// Whose token, which of the desk's books or orders, and whose rows.
    what: (TokenEpoch, Book, String, Whose),
    /// Askers that had come when its first request was sent.
    before: u64,
    answer: Result<Listing<T>, Error>,
}

/// Whose rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Those that the login is shown.
    Anybodys,
    /// Those of the client that orders go to.
    Traded,
}

impl<T> Default for Desk<T> {
    fn default() -> Self {
        Self {
            busy: tokio::sync::Mutex::default(),
            memory: Mutex::default(),
            askers: AtomicU64::new(0),
            last: Mutex::new(None),
        }
    }
}

impl<T> Desk<T> {
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        // It is whole after every statement.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, Option<Answered<T>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is kept between calls for books.
#[derive(Debug, Default)]
pub(super) struct Desks {
    orders: Desk<Order>,
    history: Desk<Order>,
    trades: Desk<Trade>,
    positions: Desk<Position>,
    holdings: Desk<Holding>,
    funds: Desk<Funds>,
    profile: Desk<Profile>,
}

/// How the rows of a book are read.
pub(super) type Reader<T> = fn(Raw<'_>) -> Result<Rows<T>, NotABook>;

impl XtsBroker {
    pub(super) async fn ask_orders(&self, token: &Token) -> Result<Listing<Order>, Error> {
        let desk = &self.desks.orders;
        self.ask_book(desk, token, (Book::Orders, "", Whose::Anybodys), books::orders).await
    }

    pub(super) async fn ask_traded_orders(&self, token: &Token) -> Result<Listing<Order>, Error> {
        self.ask_traded_book(&self.desks.orders, token, Book::Orders, books::orders).await
    }

    /// Every state of one order.
    pub(super) async fn ask_order_history(&self, token: &Token, id: &str) -> Result<Vec<Order>, Error> {
        let mut query = String::from("appOrderID=");
        push_encoded(&mut query, super::orders::order_number(id)?);
        let what = (Book::History, query.as_str(), Whose::Anybodys);
        let states = self.ask_book(&self.desks.history, token, what, books::orders).await?.rows;
        let was_empty = states.is_empty();
        // A server that does not know the query answers with the whole book.
        let mut states: Vec<Order> = states.into_iter().filter(|order| order.id == id).collect();
        if states.is_empty() {
            let description = if was_empty { "no such order" } else { "the answer is about other orders" };
            return Err(Error::Refused {
                status: 200,
                code: String::new(),
                description: description.to_owned(),
            });
        }
        // The documented order; states of the same second keep the server's.
        if states.iter().all(|order| order.updated_at.is_some()) {
            states.sort_by_key(|order| order.updated_at);
        }
        Ok(states)
    }

    pub(super) async fn ask_trades(&self, token: &Token) -> Result<Listing<Trade>, Error> {
        let desk = &self.desks.trades;
        self.ask_book(desk, token, (Book::Trades, "", Whose::Anybodys), books::trades).await
    }

    pub(super) async fn ask_positions(
        &self,
        token: &Token,
        view: PositionView,
    ) -> Result<Listing<Position>, Error> {
        let what = (Book::Positions(view), "", Whose::Anybodys);
        self.ask_book(&self.desks.positions, token, what, books::positions).await
    }

    pub(super) async fn ask_traded_positions(
        &self,
        token: &Token,
        view: PositionView,
    ) -> Result<Listing<Position>, Error> {
        self.ask_traded_book(&self.desks.positions, token, Book::Positions(view), books::positions).await
    }

    pub(super) async fn ask_holdings(&self, token: &Token) -> Result<Listing<Holding>, Error> {
        let desk = &self.desks.holdings;
        self.ask_book(desk, token, (Book::Holdings, "", Whose::Anybodys), books::holdings).await
    }

    /// Without a single figure if the broker has no balance to show.
    pub(super) async fn ask_funds(&self, token: &Token) -> Result<Funds, Error> {
        let what = (Book::Funds, "", Whose::Anybodys);
        let entries = self.ask_book(&self.desks.funds, token, what, books::balance).await?;
        Ok(entries.rows.into_iter().next().unwrap_or_default())
    }

    pub(super) async fn ask_profile(&self, token: &Token) -> Result<Profile, Error> {
        let what = (Book::Profile, "", Whose::Anybodys);
        let found = self.ask_book(&self.desks.profile, token, what, books::profile).await?;
        let missing = || Error::Malformed("the answer holds no profile".to_owned());
        found.rows.into_iter().next().ok_or_else(missing)
    }

    /// Asks for a book, or shares the answer of a request that is sent after this was called.
    pub(super) async fn ask_book<T: Clone + Owned + Send>(
        &self,
        desk: &Desk<T>,
        token: &Token,
        (book, query, whose): (Book, &str, Whose),
        read: Reader<T>,
    ) -> Result<Listing<T>, Error> {
        if token.product != Product::Interactive {
            return Err(Error::NotConfigured("the account's books take an interactive token".to_owned()));
        }
        let ticket = desk.askers.fetch_add(1, Ordering::Relaxed);
        let patience = self.rest.queue(Product::Interactive).deadline(book.counted_as());
        let Ok(_busy) = timeout_at(patience, desk.busy.lock()).await else {
            return Err(Error::NoTurn("its turn did not come in time".to_owned()));
        };
        let what = (token.epoch, book, query.to_owned(), whose);
        if let Some(answered) = desk.last().as_ref()
            && ticket < answered.before
            && answered.what == what
        {
            return answered.answer.clone();
        }
        let before = AtomicU64::new(0);
        // Only the first request counts: later ones are part of the same answer.
        let on_turn = || {
            let now = desk.askers.load(Ordering::Relaxed);
            let _ = before.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        };
        let answer = match whose {
            Whose::Anybodys => self.ask_ways(desk, token, book, query, read, &on_turn).await,
            Whose::Traded => self.ask_traded(desk, token, book, read, &on_turn).await,
        };
        let before = before.into_inner();
        // What was not sent answers nobody else; personal data is not kept longer than it is used.
        *desk.last() = (before > ticket + 1).then(|| Answered { what, before, answer: answer.clone() });
        answer
    }

    /// Asks for a book in the ways that are worth it, until one brings rows. Refusals and empty
    /// answers are gone past; anything else (token, rate limit, network) ends the asking.
    async fn ask_ways<T: Owned + Send>(
        &self,
        desk: &Desk<T>,
        token: &Token,
        book: Book,
        query: &str,
        read: Reader<T>,
        on_turn: &(dyn Fn() + Sync),
    ) -> Result<Listing<T>, Error> {
        let ways = ways(book, &self.settings.client_id, &token.facts);
        let plan = desk.memory().plan(&ways, Instant::now());
        let (mut was_answered, mut refusal, mut missing) = (false, None, None);
        for way in &plan {
            if missing == Some(way.form) {
                desk.memory().note_vain(way, Instant::now(), false);
                continue;
            }
            let answered = self.ask_way(token, book, way, query, read, on_turn).await;
            let now = Instant::now();
            match answered {
                Ok(mut rows) if !rows.is_empty() => {
                    Own::name_rows(way, &token.facts, &mut rows.rows);
                    if desk.memory().found.replace(way.clone()).as_ref() != Some(way) && plan.len() > 1 {
                        tracing::info!(
                            account = &*self.account, book = book.name(), form = ?way.form,
                            names_client = way.client.is_some(), "found the way to a book"
                        );
                    }
                    return self.take(book.name(), rows);
                }
                Ok(_) => {
                    was_answered = true;
                    let mut memory = desk.memory();
                    if memory.found.as_ref() == Some(way) {
                        break;
                    }
                    memory.note_vain(way, now, true);
                }
                Err(error) if is_refusal(&error) => {
                    tracing::debug!(book = book.name(), form = ?way.form, %error, "book refused");
                    desk.memory().note_vain(way, now, false);
                    if matches!(error, Error::Http { .. }) {
                        // No path, for whatever client.
                        missing = Some(way.form);
                    }
                    refusal.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match refusal {
            Some(refusal) if !was_answered => Err(refusal),
            _ => Ok(Listing::default()),
        }
    }

    pub(super) async fn ask_way<T: Send>(
        &self,
        token: &Token,
        book: Book,
        way: &Way,
        query: &str,
        read: Reader<T>,
        on_turn: &(dyn Fn() + Sync),
    ) -> Result<Rows<T>, Error> {
        let mut url = self.interactive_base().await?;
        url.push_str(book.path(way.form));
        add_query(&mut url, query);
        if let Some(client) = &way.client {
            add_query(&mut url, "clientID=");
            push_encoded(&mut url, client);
        }
        let mut call = Call::interactive(Method::GET, url, Some(&token.secret)).on(book.counted_as());
        call.on_turn = Some(on_turn);
        let answered = self
            .rest
            .ask(call, |result| {
                read(result)
                    .map_err(|NotABook| Error::Malformed(format!("the answer holds no {}", book.name())))
            })
            .await;
        if way.form == Form::Plain || !answered.as_ref().is_err_and(is_refusal) {
            self.doubt_base(answered.as_ref().err()).await;
        }
        match answered {
            // How some servers say that a book is empty.
            Err(Error::Refused { description, .. }) if is_no_data(&description) => Ok(Rows::default()),
            answered => answered,
        }
    }

    /// The rows of a book, with what is missing in them told.
    pub(super) fn take<T>(&self, book: &'static str, rows: Rows<T>) -> Result<Listing<T>, Error> {
        let listed = |faults: &[Fault]| {
            let mut names: Vec<String> = faults.iter().map(Fault::to_string).collect();
            names.sort_unstable();
            names.dedup();
            names.join(", ")
        };
        for (what, faults) in [("row", &rows.lost), ("figure", &rows.gaps)] {
            if faults.is_empty() {
                continue;
            }
            metrics::counter!(
                names::BOOK_UNREADABLE,
                "account" => self.account.to_string(), "book" => book, "what" => what
            )
            .increment(faults.len() as u64);
            tracing::warn!(
                account = &*self.account,
                book,
                what,
                count = faults.len(),
                of = rows.rows.len() + rows.lost.len(),
                why = listed(faults),
                "the broker's book is read in part only"
            );
        }
        if rows.rows.is_empty() && !rows.lost.is_empty() {
            // Nobody may take it for an empty book.
            let why = listed(&rows.lost);
            return Err(Error::Malformed(format!("no row of the {book} can be read: {why}")));
        }
        Ok(Listing { rows: rows.rows, unreadable: rows.lost.len() })
    }
}

/// Whether another way to ask may be answered better. A path that is not there is the dealer
/// form's on a server that has none.
pub(super) const fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Refused { .. } | Error::Http { status: 404 | 405, .. })
}

/// Appends a part of the query; nothing if it is empty.
pub(super) fn add_query(url: &mut String, part: &str) {
    if !part.is_empty() {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(part);
    }
}

/// Appends a query's value. Asterisks are encoded too, as pro dealers' clients do it.
pub(super) fn push_encoded(url: &mut String, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => url.push(byte as char),
            _ => {
                let _ = write!(url, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded() {
        let mut url = String::new();
        push_encoded(&mut url, "*****");
        push_encoded(&mut url, "A b&c");
        assert_eq!(url, "%2A%2A%2A%2A%2AA%20b%26c");
    }
}
