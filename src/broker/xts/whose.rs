//! Whose a book's rows are: of the client that orders go to, or of somebody else. Pure.
//! Not how the books are asked for, and not who that client is; that is `ways`.
//!
//! A dealer's server may show more clients than the one that was asked for, and which name a
//! server gives to a dealer's own rows is not documented. So a row is acted on only if it names
//! the client, or none in an answer about this client alone; and where rows are named in a way
//! that cannot be understood, nobody concludes that the client has none.

use crate::token::AccountFacts;

use super::auth::first_client;
use super::settings::MASKED_CLIENT;
use super::ways::{SeveralClients, Way, order_client};

/// A row that may name whose it is.
pub(super) trait Owned {
    /// The name; `None` if rows of this kind have none.
    fn account(&mut self) -> Option<&mut String> {
        None
    }
}

macro_rules! owned {
    ($($row:ty),+) => {
        $(impl Owned for $row {
            fn account(&mut self) -> Option<&mut String> {
                Some(&mut self.account)
            }
        })+
    };
}

owned!(crate::market::Order, crate::market::Trade, crate::market::Position, crate::market::Holding);
impl Owned for crate::market::Funds {}
impl Owned for crate::market::Profile {}

/// The client that orders go to, as rows may name it.
#[derive(Debug)]
pub(super) struct Own<'a> {
    /// As requests name it; `None`: an investor, who names nobody.
    pub(super) client: Option<String>,
    facts: &'a AccountFacts,
}

/// Whose a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Own,
    /// The login's, or most of it: a server may name the client's own rows so, or the login's beside them.
    Login,
    /// Another one that the login knows.
    Other,
    /// Of whom nothing is known.
    Strange,
    /// Nobody is named.
    Missing,
}

/// What an answer holds of the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Picked<T> {
    /// These rows, and others' that were left out.
    Own(Vec<T>, usize),
    /// None: all rows are others', and known to be.
    None,
    /// Nobody can tell.
    Unknown,
}

impl<'a> Own<'a> {
    /// # Errors
    /// [`SeveralClients`].
    pub(super) fn of(configured: &str, facts: &'a AccountFacts) -> Result<Self, SeveralClients> {
        Ok(Self { client: order_client(configured, facts)?, facts })
    }

    /// Whether an order of `account` is one that may be acted on, as far as can be told.
    pub(super) fn may_be(&self, account: &str) -> bool {
        match self.name(account) {
            Name::Own | Name::Login | Name::Missing => true,
            Name::Strange => !self.is_named(),
            Name::Other => self.client.is_none(),
        }
    }

    /// Whether a way asks about this client, and nobody else.
    pub(super) fn is_asked_by(&self, way: &Way) -> bool {
        way.client == self.client
    }

    /// Whether requests name a client that rows can be compared with.
    fn is_named(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client != MASKED_CLIENT)
    }

    fn name(&self, account: &str) -> Name {
        let account = account.trim();
        let same = |known: &str| !known.is_empty() && known.eq_ignore_ascii_case(account);
        let facts = self.facts;
        let is_known = facts.client_codes.iter().any(|code| same(code));
        let (is_own, is_login) = match self.client.as_deref() {
            // Servers name a pro dealer's own rows as his login without its suffix (seen live), or not.
            Some(MASKED_CLIENT) => (account == MASKED_CLIENT, is_login(account, &facts.user_id)),
            Some(client) => (same(client), same(&facts.user_id)),
            // An investor's own name may stand in any place, and segments may have codes of their own.
            None => (
                same(&facts.user_id)
                    || facts.client_id.as_deref().is_some_and(same)
                    || first_client(&facts.client_codes).is_some_and(same)
                    || (facts.is_investor == Some(true) && is_known),
                false,
            ),
        };
        if account.is_empty() {
            Name::Missing
        } else if is_own {
            Name::Own
        } else if is_known {
            Name::Other
        } else if is_login {
            Name::Login
        } else {
            Name::Strange
        }
    }

    /// Picks the client's rows out of an answer that has some.
    pub(super) fn pick<T: Owned>(&self, way: &Way, rows: Vec<T>) -> Picked<T> {
        let (mut own, mut nameless, mut login) = (Vec::new(), Vec::new(), Vec::new());
        let (mut others, mut strange) = (0, Vec::new());
        for mut row in rows {
            let account = row.account().map(|account| account.clone()).unwrap_or_default();
            match self.name(&account) {
                Name::Own => own.push(row),
                Name::Missing => nameless.push(row),
                Name::Login => login.push(row),
                Name::Other => others += 1,
                Name::Strange => strange.push((account, row)),
            }
        }
        let is_asked = self.is_asked_by(way);
        if !nameless.is_empty() && !is_asked {
            return Picked::Unknown;
        }
        if !login.is_empty() {
            // The client's own under another name, or the login's: both together would be too many, and leaving
            // them out too few. A pro dealer has no other name, unless rows bear his mask.
            if self.is_named() || !own.is_empty() {
                return Picked::Unknown;
            }
            own = login;
        }
        own.append(&mut nameless);
        if !own.is_empty() {
            // An investor is shown nobody else's rows: none of them may be left out.
            if self.client.is_none() && others + strange.len() > 0 {
                return Picked::Unknown;
            }
            return Picked::Own(own, others + strange.len());
        }
        if !is_asked || (self.is_named() && strange.is_empty()) {
            return Picked::None;
        }
        // Who names no client has one book: rows that agree are its.
        let agree = strange.windows(2).all(|pair| pair[0].0 == pair[1].0);
        if self.is_named() || others > 0 || !agree {
            return Picked::Unknown;
        }
        Picked::Own(strange.into_iter().map(|(_, row)| row).collect(), 0)
    }

    /// Gives rows that name nobody the name that they were asked for by, where that is one.
    pub(super) fn name_rows<T: Owned>(way: &Way, facts: &AccountFacts, rows: &mut [T]) {
        // A dealer's own name, or a mask, says nothing of the client.
        let is_client = |client: &&str| {
            !client.starts_with('*')
                && (*client != facts.user_id || facts.client_codes.iter().any(|code| code == client))
        };
        let asked_for = way.client.as_deref().filter(is_client);
        let name = match asked_for {
            Some(client) => client,
            // The login's own book, and its only one.
            None if way.client.is_none() && facts.is_investor == Some(true) => &facts.user_id,
            None => return,
        };
        for account in rows.iter_mut().filter_map(Owned::account).filter(|account| account.is_empty()) {
            name.clone_into(account);
        }
    }
}

/// Whether a name is a login's, or most of it.
fn is_login(name: &str, login: &str) -> bool {
    name.len() * 2 > login.len()
        && login.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::super::ways::Form;
    use super::*;
    use crate::market::Holding;

    fn facts(is_investor: bool) -> AccountFacts {
        AccountFacts {
            user_id: "ABC123A02".to_owned(),
            is_investor: Some(is_investor),
            client_codes: vec!["*****".to_owned(), "ABC123".to_owned(), "ABC124".to_owned()],
            ..AccountFacts::default()
        }
    }

    /// What is picked of rows so named, asked for in `way`'s name: `name name|left out`, `none`, `?`.
    fn picked(configured: &str, facts: &AccountFacts, way: Option<&str>, names: &str) -> String {
        let own = Own::of(configured, facts).unwrap();
        let row = |name: &str| Holding { account: name.replace('-', ""), ..Holding::default() };
        let rows: Vec<_> = names.split(' ').map(row).collect();
        let way = Way { form: Form::Dealer, client: way.map(str::to_owned) };
        match own.pick(&way, rows) {
            Picked::Own(rows, left) => {
                let names: Vec<_> = rows.into_iter().map(|row| row.account).collect();
                format!("{}|{left}", names.join(" "))
            }
            Picked::None => "none".to_owned(),
            Picked::Unknown => "?".to_owned(),
        }
    }

    #[test]
    fn only_the_clients_rows_are_picked_and_doubt_is_no_absence() {
        let (dealer, investor) = (facts(false), facts(true));
        let unsaid = AccountFacts { is_investor: None, ..facts(false) };
        let with = |code: &str, facts: AccountFacts| AccountFacts {
            client_codes: vec!["ABC124".to_owned(), code.to_owned()],
            ..facts
        };
        let (own_client, pro) = (with("abc123a02", facts(false)), with("*****", facts(false)));
        for (configured, facts, way, names, expected) in [
            // A client that is named.
            ("ABC123", &dealer, Some("ABC123"), "ABC123 ABC124 XYZ abc123", "ABC123 abc123|2"),
            ("ABC123", &dealer, Some("ABC123"), "- ABC124", "|1"),
            ("ABC123", &dealer, Some("ABC123"), "ABC124 ABC124", "none"),
            ("ABC123", &dealer, Some("ABC123"), "ABC123A02", "?"),
            ("ABC123", &dealer, Some("ABC123"), "ABC124 ABC123A02", "?"),
            ("ABC123", &dealer, Some("ABC123"), "ABC123 ABC123A02", "?"),
            // Where the login is a client of its own, its rows are that one's.
            ("ABC123", &own_client, Some("ABC123"), "ABC124 ABC123A02", "none"),
            ("ABC123", &own_client, Some("ABC123"), "ABC123 ABC123A02", "ABC123|1"),
            ("ABC123", &dealer, Some("ABC123"), "ABC124 XYZ", "?"),
            // What is shown under another name.
            ("ABC123", &dealer, Some("ABC123A02"), "ABC124 XYZ", "none"),
            ("ABC123", &dealer, Some("ABC123A02"), "ABC123 XYZ", "ABC123|1"),
            ("ABC123", &dealer, Some("ABC123A02"), "ABC123 -", "?"),
            ("ABC123", &dealer, Some("ABC123A02"), "ABC123A02", "?"),
            // A pro dealer.
            ("*****", &dealer, Some("*****"), "***** ABC124", "*****|1"),
            ("*****", &dealer, Some("*****"), "ABC123 ABC124", "?"),
            ("*****", &dealer, Some("*****"), "***** ABC123", "*****|1"),
            ("*****", &pro, Some("*****"), "ABC123 ABC124", "ABC123|1"),
            ("*****", &pro, Some("*****"), "ABC123A02 -", "ABC123A02 |0"),
            ("*****", &pro, Some("*****"), "***** ABC123", "?"),
            ("*****", &dealer, Some("*****"), "ABC124 ABC124", "?"),
            ("*****", &dealer, Some("*****"), "PRO PRO", "PRO PRO|0"),
            ("*****", &dealer, Some("*****"), "PRO FIRM", "?"),
            // An investor.
            ("", &investor, None, "ABC123 ABC123A02 ABC124", "ABC123 ABC123A02 ABC124|0"),
            ("", &investor, None, "ABC124", "ABC124|0"),
            ("", &investor, None, "ABC123 OTHER", "?"),
            ("", &investor, None, "- OTHER", "?"),
            ("", &investor, None, "OTHER", "OTHER|0"),
            ("", &investor, None, "OTHER ANOTHER", "?"),
            // One that may be a dealer.
            ("", &unsaid, None, "ABC123 ABC124", "?"),
            ("", &unsaid, None, "ABC124", "?"),
        ] {
            assert_eq!(picked(configured, facts, way, names), expected, "{configured} {way:?} {names}");
        }
        assert!(Own::of("", &dealer).is_err(), "which of several is not guessed");
    }

    #[test]
    fn an_order_of_another_client_is_known_by_its_name() {
        let facts = facts(false);
        let own = Own::of("ABC123", &facts).unwrap();
        assert!(own.may_be("ABC123") && own.may_be(""));
        assert!(own.may_be("ABC123A02"), "a server may name his own so");
        assert!(!own.may_be("ABC124") && !own.may_be("XYZ"));
        let pro = Own::of("*****", &facts).unwrap();
        assert!(pro.may_be("*****") && pro.may_be("ABC123A02") && pro.may_be("PRO"));
        assert!(!pro.may_be("ABC123") && !pro.may_be("ABC124"), "clients of their own");
    }

    #[test]
    fn rows_without_a_name_get_the_one_that_was_asked_for() {
        let named = |client: Option<&str>, facts: &AccountFacts| {
            let way = Way { form: Form::Plain, client: client.map(str::to_owned) };
            let mut rows =
                vec![Holding::default(), Holding { account: "X".to_owned(), ..Holding::default() }];
            Own::name_rows(&way, facts, &mut rows);
            rows.into_iter().map(|row| row.account).collect::<Vec<_>>()
        };
        assert_eq!(named(Some("ABC123"), &facts(false)), ["ABC123", "X"]);
        assert_eq!(named(None, &facts(true)), ["ABC123A02", "X"]);
        for unnamed in [Some("*****"), Some("ABC123A02"), None] {
            assert_eq!(named(unnamed, &facts(false)), ["", "X"]);
        }
    }
}
