//! Who may log in to the simulated broker: the demo accounts, their users and keys. Pure data;
//! what lives of an account while the broker runs is `core`'s.

use super::sessions::Product;
use super::settings::AccountKind;

/// The most demo accounts: their numbers fit the keys.
pub(crate) const MAX_ACCOUNTS: usize = 16;

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
}

impl DemoAccount {
    /// The account of a number, 0 being the first.
    pub(crate) fn nth(number: usize) -> Self {
        Self { user: format!("SIM{:02}", number + 1), keys: DemoKeys::nth(number) }
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
            let account = DemoAccount::nth(number);
            assert!(seen.insert(account.user));
            for product in Product::ALL {
                let (app_key, secret) = account.keys.pair(product);
                assert_eq!(app_key.len(), 22);
                assert!(app_key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{app_key}");
                assert!(seen.insert(app_key.to_owned()) && seen.insert(secret.to_owned()), "{number}");
            }
        }
        assert_eq!(DemoAccount::nth(15).user, "SIM16");
    }
}
