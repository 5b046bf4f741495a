//! Who may log in to the simulated broker: the demo accounts, their users and keys. Pure data;
//! what lives of an account while the broker runs is `core`'s.

use super::sessions::Product;
use super::settings::AccountKind;

/// The most demo accounts: their numbers fit the keys.
pub(crate) const MAX_ACCOUNTS: usize = 16;

/// The most market-data keys of one account.
pub(crate) const MAX_MARKET_KEYS: usize = 8;

/// What stands for a client's code in login answers, and for the own account in a pro dealer's
/// calls. Source: login answers and clients of XTS servers.
pub(crate) const MASK: &str = "*****";

/// One demo account. Always the same for its number, so that scripts can keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoAccount {
    /// The user, `SIM01` for the first.
    pub user: String,
    /// What logs in to it.
    pub keys: DemoKeys,
    /// Pairs of app key and secret of the market-data product beyond the one in `keys`.
    pub more_market_keys: Vec<(String, String)>,
}

impl DemoAccount {
    /// The account of a number, 0 being the first, with one pair of market-data keys.
    #[cfg(test)]
    pub(crate) fn nth(number: usize) -> Self {
        Self::with_market_keys(number, 1)
    }

    /// The account of a number, 0 being the first, with so many pairs of market-data keys.
    pub(crate) fn with_market_keys(number: usize, market_keys: usize) -> Self {
        Self {
            user: format!("SIM{:02}", number + 1),
            keys: DemoKeys::nth(number),
            more_market_keys: (1..market_keys).map(|extra| DemoKeys::extra_market(number, extra)).collect(),
        }
    }

    /// Every pair of app key and secret that logs in to the market-data product of this account.
    /// Each has a session, a token and a limit of subscriptions of its own. The first is the one
    /// in `keys`.
    pub fn market_pairs(&self) -> Vec<(String, String)> {
        let (app_key, secret) = self.keys.pair(Product::Market);
        let mut pairs = vec![(app_key.to_owned(), secret.to_owned())];
        pairs.extend(self.more_market_keys.iter().cloned());
        pairs
    }
}

/// Who an account is to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) kind: AccountKind,
    /// Who logs in: the answer's `userID`.
    pub(crate) login: String,
    /// Whose the books are.
    pub(crate) client: String,
}

impl Identity {
    /// A dealer's login has a suffix to its client's code (seen live); a pro dealer's client is
    /// never named.
    pub(crate) fn new(user: &str, kind: AccountKind) -> Self {
        let (login, client) = match kind {
            AccountKind::Investor => (user.to_owned(), user.to_owned()),
            AccountKind::Dealer => (format!("{user}A02"), user.to_owned()),
            AccountKind::Pro => (format!("{user}A02"), MASK.to_owned()),
        };
        Self { kind, login, client }
    }

    /// `clientCodes` of the login's answer.
    pub(crate) fn client_codes(&self) -> Vec<&str> {
        match self.kind {
            AccountKind::Investor => vec![MASK, &self.client],
            AccountKind::Dealer => vec![&self.client, MASK],
            AccountKind::Pro => vec![MASK],
        }
    }
}

/// The keys that log in to one demo account. They open nothing else, so they are no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoKeys {
    /// App key of the market-data product.
    pub market_app_key: String,
    /// Its secret.
    pub market_secret_key: String,
    /// App key of the interactive product.
    pub interactive_app_key: String,
    /// Its secret.
    pub interactive_secret_key: String,
}

impl Default for DemoKeys {
    /// Those of the first account.
    fn default() -> Self {
        Self::nth(0)
    }
}

impl DemoKeys {
    /// Of the venue's form: 22 lower-case hex digits, and about ten characters with some that
    /// a form must encode.
    fn nth(number: usize) -> Self {
        Self {
            market_app_key: format!("51{number:02x}da7a0f1e2d3c4b5a69"),
            market_secret_key: format!("Demo$mk@{}+", number + 1),
            interactive_app_key: format!("51{number:02x}ac710f1e2d3c4b5a69"),
            interactive_secret_key: format!("Demo#in&{}%", number + 2),
        }
    }

    /// As [`Self::nth`], of a further pair of the market-data product.
    fn extra_market(number: usize, extra: usize) -> (String, String) {
        (format!("51{number:02x}da7{extra:x}0f1e2d3c4b5a69"), format!("Demo$mk{extra}@{}+", number + 1))
    }

    /// The keys of a further market session: they open nothing else.
    pub(crate) fn market_only((app_key, secret): (String, String)) -> Self {
        Self {
            market_app_key: app_key,
            market_secret_key: secret,
            interactive_app_key: String::new(),
            interactive_secret_key: String::new(),
        }
    }

    pub(crate) fn pair(&self, product: Product) -> (&str, &str) {
        match product {
            Product::Market => (&self.market_app_key, &self.market_secret_key),
            Product::Interactive => (&self.interactive_app_key, &self.interactive_secret_key),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn accounts_differ_and_have_the_venues_form() {
        let first = DemoAccount::nth(0);
        assert_eq!(first.user, "SIM01");
        assert_eq!(first.keys.pair(Product::Market), ("5100da7a0f1e2d3c4b5a69", "Demo$mk@1+"));
        assert_eq!(first.keys.pair(Product::Interactive), ("5100ac710f1e2d3c4b5a69", "Demo#in&2%"));
        let mut seen = BTreeSet::new();
        for number in 0..MAX_ACCOUNTS {
            let account = DemoAccount::with_market_keys(number, MAX_MARKET_KEYS);
            let mut pairs = account.market_pairs();
            assert_eq!(pairs.len(), MAX_MARKET_KEYS);
            assert_eq!(pairs[0].0, account.keys.market_app_key);
            let (app_key, secret) = account.keys.pair(Product::Interactive);
            pairs.push((app_key.to_owned(), secret.to_owned()));
            assert!(seen.insert(account.user));
            for (app_key, secret) in pairs {
                assert_eq!(app_key.len(), 22);
                assert!(app_key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{app_key}");
                assert!(seen.insert(app_key) && seen.insert(secret), "{number}");
            }
        }
        assert_eq!(DemoAccount::nth(15).user, "SIM16");
    }
}
