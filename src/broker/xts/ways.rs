//! In whose name, and by which path, a book is asked for, and what has worked.
//! Not the asking; that is `books`.
//!
//! An investor asks for his own books and names nobody. A dealer's books are another path, and
//! another client for orders and positions than for funds, and no source knows which pair a
//! given server wants; so they are tried in turn while a server refuses or has nothing.
//!
//! Source: live dealer servers, as third-party clients report them: orders and positions of the
//! client (the book), funds of the login user, everything of `*****` for pro dealers; the plain
//! books can be empty for a dealer.

use std::time::Duration;

use tokio::time::Instant;

use crate::broker::Error;
use crate::market::PositionView;
use crate::token::AccountFacts;

use super::auth::first_client;
use super::pace::Path;
use super::settings::MASKED_CLIENT;

/// A way that brought nothing is not tried again for this long: an account that had no orders
/// may have some, and a path that was missing may have been missing with the whole server.
const TRY_AGAIN_AFTER: Duration = Duration::from_mins(5);

/// Which book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Book {
    Orders,
    /// One order's states; which order is added by who asks.
    History,
    Trades,
    Positions(PositionView),
    Holdings,
    Funds,
    Profile,
}

impl Book {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::History => "order history",
            Self::Trades => "trades",
            Self::Positions(_) => "positions",
            Self::Holdings => "holdings",
            Self::Funds => "funds",
            Self::Profile => "profile",
        }
    }

    /// What the broker counts a call for it as.
    pub(super) const fn counted_as(self) -> Path {
        match self {
            // The same path; only the query differs.
            Self::Orders | Self::History => Path::OrderBook,
            Self::Trades => Path::TradeBook,
            Self::Positions(_) => Path::Positions,
            Self::Holdings => Path::Holdings,
            Self::Funds => Path::Balance,
            Self::Profile => Path::Profile,
        }
    }

    /// Path and query.
    pub(super) const fn path(self, form: Form) -> &'static str {
        match (self, form) {
            (Self::Orders, Form::Plain) | (Self::History, _) => "/orders",
            (Self::Orders, Form::Dealer) => "/orders/dealerorderbook",
            (Self::Trades, Form::Plain) => "/orders/trades",
            (Self::Trades, Form::Dealer) => "/orders/dealertradebook",
            (Self::Positions(PositionView::Net), Form::Plain) => "/portfolio/positions?dayOrNet=NetWise",
            (Self::Positions(PositionView::Day), Form::Plain) => "/portfolio/positions?dayOrNet=DayWise",
            (Self::Positions(PositionView::Net), Form::Dealer) => {
                "/portfolio/dealerpositions?dayOrNet=NetWise"
            }
            (Self::Positions(PositionView::Day), Form::Dealer) => {
                "/portfolio/dealerpositions?dayOrNet=DayWise"
            }
            (Self::Holdings, _) => "/portfolio/holdings",
            (Self::Funds, _) => "/user/balance",
            (Self::Profile, _) => "/user/profile",
        }
    }

    /// The forms it has for a dealer, best first.
    const fn dealer_forms(self) -> &'static [Form] {
        match self {
            Self::Orders | Self::Trades | Self::Positions(_) => &[Form::Dealer, Form::Plain],
            Self::History | Self::Holdings | Self::Funds | Self::Profile => &[Form::Plain],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Dealer,
}

/// One way to ask for a book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) form: Form,
    /// `clientID`; `None`: left out.
    pub(super) client: Option<String>,
}

/// Whether the account deals for others (or for its firm) and must say for whom.
fn is_dealer(configured: &str, facts: &AccountFacts) -> bool {
    configured == MASKED_CLIENT
        || match facts.is_investor {
            Some(is_investor) => !is_investor,
            // A server that does not say: the operator knows.
            None => !configured.is_empty(),
        }
}

/// In whose name orders are placed: the client whose book they go into. `None` for an investor,
/// who names nobody. It is never tried out, as books' clients are: an order in the wrong name is
/// worse than none.
///
/// # Errors
/// [`SeveralClients`]: which one is listed first may be another one tomorrow.
pub(super) fn order_client(configured: &str, facts: &AccountFacts) -> Result<Option<String>, SeveralClients> {
    if !is_dealer(configured, facts) {
        return Ok(None);
    }
    let named = facts.client_codes.iter().filter(|code| !code.is_empty() && !code.starts_with('*'));
    if configured.is_empty() && named.count() > 1 {
        return Err(SeveralClients);
    }
    let first = first_client(&facts.client_codes).or(facts.client_id.as_deref()).unwrap_or_default();
    let client = [configured, first, facts.user_id.as_str()].into_iter().find(|client| !client.is_empty());
    Ok(client.map(str::to_owned))
}

/// The ways to ask for a dealer's book of the client that orders go to, and for no other's. The dealer's own form is
/// always first: only it is sure to be the whole book.
pub(super) fn traded_ways(book: Book, client: Option<&str>) -> Vec<Way> {
    let way = |form: &Form| Way { form: *form, client: client.map(str::to_owned) };
    book.dealer_forms().iter().map(way).collect()
}

/// A dealer's login names several clients, and the operator none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeveralClients;

impl From<SeveralClients> for Error {
    fn from(_: SeveralClients) -> Self {
        let why = "the login deals for several clients; name the one to trade for in broker.xts.client_id";
        Self::NotConfigured(why.to_owned())
    }
}

/// The ways to ask for a book, best first.
pub(super) fn ways(book: Book, configured: &str, facts: &AccountFacts) -> Vec<Way> {
    if !is_dealer(configured, facts) {
        return vec![Way { form: Form::Plain, client: None }];
    }
    let is_pro = configured == MASKED_CLIENT;
    let user = facts.user_id.as_str();
    let first = first_client(&facts.client_codes).or(facts.client_id.as_deref()).unwrap_or_default();
    let clients = match book {
        Book::Funds if !is_pro => [user, configured, first, MASKED_CLIENT],
        _ => [configured, first, user, MASKED_CLIENT],
    };
    let named = clients.into_iter().filter(|client| !client.is_empty()).map(|client| Some(client.to_owned()));
    let clients: Vec<Option<String>> = named.chain([None]).collect();
    let mut ways = Vec::new();
    for form in book.dealer_forms() {
        for client in &clients {
            let way = Way { form: *form, client: client.clone() };
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
    }
    ways
}

/// What the ways to one book have brought so far in this process.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The way that has brought rows.
    pub(super) found: Option<Way>,
    /// Ways that brought none, when, and whether the server at least answered.
    vain: Vec<(Way, Instant, bool)>,
}

impl Memory {
    /// The ways worth asking now; never none.
    pub(super) fn plan(&mut self, ways: &[Way], now: Instant) -> Vec<Way> {
        self.found.take_if(|found| !ways.contains(found));
        self.vain.retain(|(way, at, _)| now.duration_since(*at) < TRY_AGAIN_AFTER && ways.contains(way));
        let empty = self.vain.iter().find(|(_, _, was_answered)| *was_answered).map(|(way, ..)| way);
        // A way that was answered before is asked again first: it is the best one known.
        let mut plan: Vec<Way> = self.found.iter().chain(empty).take(1).cloned().collect();
        let is_vain = |way: &Way| self.vain.iter().any(|(vain, ..)| vain == way);
        plan.extend(ways.iter().filter(|way| !is_vain(way) && self.found.as_ref() != Some(*way)).cloned());
        if plan.is_empty() {
            plan.extend(ways.first().cloned());
        }
        plan
    }

    pub(super) fn note_vain(&mut self, way: &Way, now: Instant, was_answered: bool) {
        self.vain.retain(|(vain, ..)| vain != way);
        self.vain.push((way.clone(), now, was_answered));
        if !was_answered {
            self.found.take_if(|found| found == way);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(is_investor: Option<bool>) -> AccountFacts {
        AccountFacts {
            user_id: "ABC123A02".to_owned(),
            client_id: None,
            is_investor,
            client_codes: vec!["*****".to_owned(), "ABC123".to_owned(), "ABC124".to_owned()],
            app_key_expires: None,
        }
    }

    /// The clients in order, `-` for none, the dealer's form marked by `d:`.
    fn shown(book: Book, configured: &str, facts: &AccountFacts) -> String {
        let shown = |way: &Way| {
            let form = if way.form == Form::Dealer { "d:" } else { "" };
            format!("{form}{}", way.client.as_deref().unwrap_or("-"))
        };
        ways(book, configured, facts).iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn whose_books_are_asked_for() {
        let (investor, dealer, unknown) = (facts(Some(true)), facts(Some(false)), facts(None));
        let positions = Book::Positions(PositionView::Day);
        let mut of_one = facts(Some(false));
        of_one.client_codes.pop();
        assert_eq!(order_client("", &dealer), Err(SeveralClients));
        for (configured, facts, client) in [
            ("", &of_one, Some("ABC123")),
            ("XYZ", &dealer, Some("XYZ")),
            ("*****", &dealer, Some("*****")),
            ("*****", &investor, Some("*****")),
            ("XYZ", &unknown, Some("XYZ")),
            ("XYZ", &investor, None),
            ("", &unknown, None),
        ] {
            assert_eq!(order_client(configured, facts).unwrap().as_deref(), client, "{configured} {facts:?}");
        }
        for (configured, facts) in [("", &investor), ("XYZ", &investor), ("", &unknown)] {
            for book in [Book::Orders, Book::Trades, Book::History, Book::Holdings, positions, Book::Funds] {
                assert_eq!(shown(book, configured, facts), "-");
            }
        }
        let plain = "ABC123 ABC123A02 ***** -";
        let both = "d:ABC123 d:ABC123A02 d:***** d:- ABC123 ABC123A02 ***** -";
        assert_eq!(shown(Book::Orders, "", &dealer), both);
        assert_eq!(shown(positions, "", &dealer), both);
        assert_eq!(shown(Book::Trades, "", &dealer), both);
        for book in [Book::History, Book::Holdings, Book::Profile] {
            assert_eq!(shown(book, "", &dealer), plain, "{book:?}");
        }
        assert!(shown(positions, "", &dealer).ends_with(plain));
        assert!(
            shown(Book::Orders, "XYZ", &dealer).starts_with("d:XYZ d:ABC123 d:ABC123A02 d:***** d:- XYZ")
        );
        assert_eq!(shown(Book::Funds, "", &dealer), "ABC123A02 ABC123 ***** -");
        assert_eq!(shown(Book::Funds, "XYZ", &dealer), "ABC123A02 XYZ ABC123 ***** -");
        for facts in [&dealer, &unknown, &investor] {
            assert_eq!(shown(Book::Funds, "*****", facts), "***** ABC123 ABC123A02 -");
            assert!(shown(Book::Orders, "*****", facts).starts_with("d:***** d:ABC123"));
        }
        assert!(shown(Book::Orders, "XYZ", &unknown).starts_with("d:XYZ "));
        // From the store of an older version, without codes.
        let stored = AccountFacts {
            client_id: Some("ABC123".to_owned()),
            client_codes: Vec::new(),
            ..facts(Some(false))
        };
        assert_eq!(shown(Book::Orders, "", &stored), both);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_learned_is_kept_and_doubted_after_a_while() {
        let way = |client: &str| Way { form: Form::Plain, client: Some(client.to_owned()) };
        let ways = [way("a"), way("b"), way("c")];
        let mut memory = Memory::default();
        assert_eq!(memory.plan(&ways, Instant::now()), ways);
        memory.note_vain(&ways[0], Instant::now(), false);
        memory.note_vain(&ways[1], Instant::now(), true);
        // An asking that was broken off goes on where it was, after the best way known.
        assert_eq!(memory.plan(&ways, Instant::now()), [way("b"), way("c")]);
        memory.note_vain(&ways[2], Instant::now(), true);
        assert_eq!(memory.plan(&ways, Instant::now()), [way("b")]);
        tokio::time::advance(TRY_AGAIN_AFTER).await;
        assert_eq!(memory.plan(&ways, Instant::now()), ways);

        memory.found = Some(way("b"));
        assert_eq!(memory.plan(&ways, Instant::now()), [way("b"), way("a"), way("c")]);
        memory.note_vain(&ways[1], Instant::now(), false);
        assert_eq!(memory.plan(&ways, Instant::now()), [way("a"), way("c")]);
        for vain in &ways {
            memory.note_vain(vain, Instant::now(), false);
        }
        assert_eq!(memory.plan(&ways, Instant::now()), [way("a")]);
        // Another login may have other clients.
        assert_eq!(memory.plan(&[way("z")], Instant::now()), [way("z")]);
    }
}
