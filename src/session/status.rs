//! What the session shows of itself: plain values that pages and tests read without a message.

use crate::clock::UnixNanos;
use crate::token::Product;

/// The whole session of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionStatus {
    /// The market-data token.
    pub market: TokenStatus,
    /// The token for orders and books.
    pub interactive: TokenStatus,
    /// The live feed.
    pub feed: FeedStatus,
}

impl SessionStatus {
    /// The token of a product.
    pub const fn token(&self, product: Product) -> &TokenStatus {
        match product {
            Product::Market => &self.market,
            Product::Interactive => &self.interactive,
        }
    }

    pub(crate) const fn token_mut(&mut self, product: Product) -> &mut TokenStatus {
        match product {
            Product::Market => &mut self.market,
            Product::Interactive => &mut self.interactive,
        }
    }
}

/// One token. Never the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenStatus {
    /// `missing`, `valid`, `expired`, `logging_in`, `needs_operator`, `replaced` (somebody else has
    /// logged in with the same app key), `revoked` (by an operator), `waiting` (backing off) or
    /// `disabled` (not configured).
    pub state: &'static str,
    /// When the login that brought it succeeded.
    pub issued_at: Option<UnixNanos>,
    /// When it stops being used: the earlier of its own end and the daily cut-off.
    pub expires_at: Option<UnixNanos>,
    /// What the broker said when it last refused a login or the token.
    pub last_refusal: Option<String>,
    /// Successful logins on this day in India, those of earlier processes included.
    pub logins_today: u64,
    /// When the next login is tried without anybody asking, if that is known.
    pub next_login_at: Option<UnixNanos>,
    /// Why the token held now could not be stored: a restart will cost a login.
    pub store_failure: Option<String>,
    /// The last day of the app key, as the broker wrote it (`DD-MM-YYYY`).
    pub app_key_expires: Option<String>,
}

impl Default for TokenStatus {
    fn default() -> Self {
        Self {
            state: "missing",
            issued_at: None,
            expires_at: None,
            last_refusal: None,
            logins_today: 0,
            next_login_at: None,
            store_failure: None,
            app_key_expires: None,
        }
    }
}

/// The live feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedStatus {
    /// `idle`, `awaiting_token`, `connecting`, `live`, `waiting` or `stopped`.
    pub state: &'static str,
    /// Since when it is in this state.
    pub since: UnixNanos,
    /// Number of the connection, from 1.
    pub generation: u64,
    /// When the last tick was received, if ever.
    pub last_tick_at: Option<UnixNanos>,
    /// Connections opened or tried after the first.
    pub reconnects: u64,
    /// Instruments that consumers want.
    pub wanted: usize,
    /// Of these, confirmed by the broker.
    pub confirmed: usize,
    /// Of these, refused or out of budget.
    pub rejected: usize,
    /// Why it is not live, if something went wrong; or, while it is live but mute, what is done about it.
    pub reason: Option<String>,
}

impl Default for FeedStatus {
    fn default() -> Self {
        Self {
            state: "idle",
            since: UnixNanos::ZERO,
            generation: 0,
            last_tick_at: None,
            reconnects: 0,
            wanted: 0,
            confirmed: 0,
            rejected: 0,
            reason: None,
        }
    }
}

/// The instrument list in force, one for all sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MasterStatus {
    /// Instruments known.
    pub instruments: usize,
    /// When it was loaded.
    pub loaded_at: UnixNanos,
    /// When it came from the broker: before `loaded_at` if it comes from the copy on disk.
    pub downloaded_at: UnixNanos,
    /// Rows that could not be read.
    pub bad_rows: usize,
    /// Whether it came from the copy on disk.
    pub from_disk: bool,
}
