//! The credentials in use: read again when asked, and what a one-time one was spent on.
//! Not where they come from; the source is handed in.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::broker::Error;
use crate::token::Product;

use super::settings::{AppKey, Credentials};

/// Where the access token of a single account is read from.
const ACCESS_TOKEN_VARIABLE: &str = "TICKGATE_XTS_ACCESS_TOKEN";

/// Reads the credentials anew; `None` if they cannot be read now.
pub(super) type Source = Box<dyn Fn() -> Option<Credentials> + Send + Sync>;

/// The credentials of one account.
pub(super) struct Vault {
    current: ArcSwap<Credentials>,
    source: Option<Source>,
    /// The credentials whose access token has been used.
    spent: Mutex<Option<Credentials>>,
    access_token_variable: String,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

impl Vault {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self {
            current: ArcSwap::from_pointee(credentials),
            source: None,
            spent: Mutex::new(None),
            access_token_variable: ACCESS_TOKEN_VARIABLE.to_owned(),
        }
    }

    pub(super) fn read_from(&mut self, source: Source) {
        self.source = Some(source);
    }

    pub(super) fn name_access_token(&mut self, variable: &str) {
        variable.clone_into(&mut self.access_token_variable);
    }

    pub(super) fn current(&self) -> Arc<Credentials> {
        self.current.load_full()
    }

    /// Says whether they are others now. What cannot be read changes nothing.
    pub(super) fn reload(&self) -> bool {
        let Some(fresh) = self.source.as_ref().and_then(|read| read()) else { return false };
        let has_changed = *self.current.load_full() != fresh;
        if has_changed {
            self.current.store(Arc::new(fresh));
        }
        has_changed
    }

    /// The name of the variable that an operator puts the access token into.
    pub(super) fn access_token_variable(&self) -> &str {
        &self.access_token_variable
    }

    /// The broker has judged a login with this access token.
    pub(super) fn spend(&self, credentials: &Credentials) {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner) = Some(credentials.clone());
    }

    /// Whether the access token has been used, with the same app key.
    pub(super) fn is_spent(&self, credentials: &Credentials) -> bool {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|spent| {
            spent.access_token == credentials.access_token && spent.interactive == credentials.interactive
        })
    }
}

/// A product's app key.
///
/// # Errors
/// `NotConfigured`.
pub(super) fn app_key(credentials: &Credentials, product: Product) -> Result<&AppKey, Error> {
    let app = match product {
        Product::Market => &credentials.market,
        Product::Interactive => &credentials.interactive,
    };
    app.as_ref()
        .filter(|app| !app.key.is_empty() && !app.secret.is_empty())
        .ok_or_else(|| Error::NotConfigured(format!("app key and secret key of the {product} product")))
}
