//! The interactive books: asking for them, and telling what could not be read of them.
//! Not in whose name (`ways`), and not how their rows are read (`wire::books`).

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::Method;
use tokio::time::Instant;

use crate::broker::Error;
use crate::market::{Funds, Order, Position, PositionView};
use crate::telemetry::metrics as names;
use crate::token::{Product, Token};

use super::XtsBroker;
use super::instruments::is_no_data;
use super::pace::Pace;
use super::rest::Call;
use super::settings::Settings;
use super::ways::{Book, Form, Memory, Way, ways};
use super::wire::books::{self, Book as Rows, Fault, NotABook};
use super::wire::text::Raw;

/// One book's pace and memory.
#[derive(Debug)]
struct Desk {
    /// Held during a whole asking, so that the next one knows what it has learned.
    busy: tokio::sync::Mutex<()>,
    pace: Pace,
    memory: Mutex<Memory>,
}

impl Desk {
    fn new(settings: &Settings) -> Self {
        Self {
            busy: tokio::sync::Mutex::new(()),
            pace: Pace::new(settings.book_interval_ms),
            memory: Mutex::new(Memory::default()),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // It is whole after every statement.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is kept between calls for books.
#[derive(Debug)]
pub(super) struct Desks {
    orders: Desk,
    positions: Desk,
    funds: Desk,
}

impl Desks {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { orders: Desk::new(settings), positions: Desk::new(settings), funds: Desk::new(settings) }
    }

    const fn of(&self, book: Book) -> &Desk {
        match book {
            Book::Orders => &self.orders,
            Book::Positions(_) => &self.positions,
            Book::Funds => &self.funds,
        }
    }
}

impl XtsBroker {
    pub(super) async fn ask_orders(&self, token: &Token) -> Result<Vec<Order>, Error> {
        self.ask_book(token, Book::Orders, books::orders).await
    }

    pub(super) async fn ask_positions(
        &self,
        token: &Token,
        view: PositionView,
    ) -> Result<Vec<Position>, Error> {
        self.ask_book(token, Book::Positions(view), books::positions).await
    }

    /// Without a single figure if the broker has no balance to show.
    pub(super) async fn ask_funds(&self, token: &Token) -> Result<Funds, Error> {
        let entries = self.ask_book(token, Book::Funds, books::balance).await?;
        Ok(entries.into_iter().next().unwrap_or_default())
    }

    /// Asks for a book in the ways that are worth it, until one brings rows. Refusals and empty
    /// answers are gone past; anything else (token, rate limit, network) ends the asking.
    async fn ask_book<T>(
        &self,
        token: &Token,
        book: Book,
        read: impl Fn(Raw<'_>) -> Result<Rows<T>, NotABook>,
    ) -> Result<Vec<T>, Error> {
        if token.product != Product::Interactive {
            return Err(Error::NotConfigured("books take an interactive token".to_owned()));
        }
        let desk = self.desks.of(book);
        let _busy = desk.busy.lock().await;
        let ways = ways(book, &self.settings.client_id, &token.facts);
        let plan = desk.memory().plan(&ways, Instant::now());
        let (mut was_answered, mut refusal, mut missing) = (false, None, None);
        for way in &plan {
            if missing == Some(way.form) {
                desk.memory().note_vain(way, Instant::now(), false);
                continue;
            }
            desk.pace.turn().await;
            let answered = self.ask_way(token, book, way, &read).await;
            let now = Instant::now();
            match answered {
                Ok(rows) if !rows.is_empty() => {
                    if desk.memory().found.replace(way.clone()).as_ref() != Some(way) && plan.len() > 1 {
                        tracing::info!(
                            account = &*self.account, book = book.name(), form = ?way.form,
                            names_client = way.client.is_some(), "found the way to a book"
                        );
                    }
                    return self.take(book, rows);
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
            _ => Ok(Vec::new()),
        }
    }

    async fn ask_way<T>(
        &self,
        token: &Token,
        book: Book,
        way: &Way,
        read: impl Fn(Raw<'_>) -> Result<Rows<T>, NotABook>,
    ) -> Result<Rows<T>, Error> {
        let mut url = self.interactive_base().await?;
        url.push_str(book.path(way.form));
        if let Some(client) = &way.client {
            url.push_str(if url.contains('?') { "&clientID=" } else { "?clientID=" });
            push_encoded(&mut url, client);
        }
        let call = Call::interactive(Method::GET, url, Some(&token.secret));
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
    fn take<T>(&self, book: Book, rows: Rows<T>) -> Result<Vec<T>, Error> {
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
                "account" => self.account.to_string(), "book" => book.name(), "what" => what
            )
            .increment(faults.len() as u64);
            tracing::warn!(
                account = &*self.account,
                book = book.name(),
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
            return Err(Error::Malformed(format!("no row of the {} can be read: {why}", book.name())));
        }
        Ok(rows.rows)
    }
}

/// Whether another way to ask may be answered better. A path that is not there is the dealer
/// form's on a server that has none.
const fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Refused { .. } | Error::Http { status: 404 | 405, .. })
}

/// Appends a query's value. Asterisks are encoded too, as pro dealers' clients do it.
fn push_encoded(url: &mut String, value: &str) {
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
