//! The books of the client that orders go to: what may be acted on. Not whose a row is (`whose`).
//!
//! They are asked for in this client's name alone. That it has no row is believed only if the
//! broker says so: where a refusal or rows of unknown owners leave it open, that is an error.

use crate::broker::Error;
use crate::market::Listing;
use crate::token::Token;

use super::XtsBroker;
use super::books::{Desk, Reader, Whose, is_refusal};
use super::ways::{Book, Form, Way, traded_ways};
use super::whose::{Own, Owned, Picked};

impl XtsBroker {
    /// Asks for one of these books, or shares the answer that others of them get.
    pub(super) async fn ask_traded_book<T: Clone + Owned + Send>(
        &self,
        desk: &Desk<T>,
        token: &Token,
        book: Book,
        read: Reader<T>,
    ) -> Result<Listing<T>, Error> {
        let own = Own::of(&self.settings.client_id, &token.facts)?;
        if own.client.is_some() {
            return self.ask_book(desk, token, (book, "", Whose::Traded), read).await;
        }
        // An investor is shown his own book in any case: those who only read share the request.
        let shown = self.ask_book(desk, token, (book, "", Whose::Anybodys), read).await?;
        if shown.rows.is_empty() {
            return Ok(shown);
        }
        match own.pick(&Way { form: Form::Plain, client: None }, shown.rows) {
            Picked::Own(rows, _) => Ok(Listing { rows, unreadable: shown.unreadable }),
            Picked::None | Picked::Unknown => Err(unknown(book, &own)),
        }
    }

    /// Asks in the ways that there are in the client's name.
    pub(super) async fn ask_traded<T: Owned + Send>(
        &self,
        desk: &Desk<T>,
        token: &Token,
        book: Book,
        read: Reader<T>,
        on_turn: &(dyn Fn() + Sync),
    ) -> Result<Listing<T>, Error> {
        let own = Own::of(&self.settings.client_id, &token.facts)?;
        let mut ways = traded_ways(book, own.client.as_deref());
        // Where readers are shown rows in another name only, this client's may be among them.
        ways.extend(desk.memory().found.clone().filter(|way| !own.is_asked_by(way)));
        let (mut was_answered, mut refusal, mut is_unknown) = (false, None, false);
        for way in &ways {
            let rows = match self.ask_way(token, book, way, "", read, on_turn).await {
                Ok(rows) => rows,
                // A path that is not there has nothing to show; one that is there has the netted book, and a plain
                // one beside it may lack some of it.
                Err(Error::Http { status: 404 | 405, .. }) if way.form == Form::Dealer => continue,
                Err(error) if is_refusal(&error) && way.form == Form::Plain => {
                    refusal.get_or_insert(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if rows.is_empty() {
                // A dealer's plain book may be empty whatever he has.
                was_answered |= own.is_asked_by(way) && refusal.is_none();
                continue;
            }
            let Listing { mut rows, unreadable } = self.take(book.name(), rows)?;
            if own.is_asked_by(way) {
                Own::name_rows(way, &token.facts, &mut rows);
            }
            match own.pick(way, rows) {
                Picked::Own(rows, left_out) => {
                    if left_out > 0 {
                        tracing::debug!(
                            account = &*self.account,
                            book = book.name(),
                            left_out,
                            "rows of others"
                        );
                    }
                    return Ok(Listing { rows, unreadable });
                }
                // It may have been the client's.
                Picked::None if unreadable > 0 => return Ok(Listing { rows: Vec::new(), unreadable }),
                Picked::None => was_answered |= own.is_asked_by(way),
                Picked::Unknown => is_unknown = true,
            }
        }
        if is_unknown {
            return Err(unknown(book, &own));
        }
        match refusal {
            _ if was_answered => Ok(Listing::default()),
            Some(refusal) => Err(refusal),
            None => Err(Error::Malformed(format!("the broker says nothing of the {}", book.name()))),
        }
    }
}

fn unknown(book: Book, own: &Own<'_>) -> Error {
    let check = match own.client {
        Some(_) => "is broker.xts.client_id right?",
        None => "the login names no client for them",
    };
    Error::NotConfigured(format!(
        "the broker's {} hold rows in other names than the one that orders go to, and it cannot be told whose they \
         are; {check}",
        book.name()
    ))
}
