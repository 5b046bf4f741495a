//! The adapter against small servers in the test, over real sockets on loopback.

mod account;
mod books;
mod calls;
mod credentials;
mod feed;
mod market;
mod orders;
mod server;
mod traded;

use std::sync::Arc;

use crate::clock::{Clock, UnixNanos};
use crate::secret::Secret;
use crate::token::{AccountFacts, Product, Token, TokenEpoch};

use super::{AppKey, Credentials, Settings, XtsBroker};

/// A clock that stands still at 2026-02-10 10:15:31 IST.
#[derive(Debug)]
struct Still;

const NOW: UnixNanos = UnixNanos::from_secs(1_770_698_731);

impl Clock for Still {
    fn now(&self) -> UnixNanos {
        NOW
    }
}

fn credentials() -> Credentials {
    let app = |key: &str, secret: &str| Some(AppKey { key: Secret::new(key), secret: Secret::new(secret) });
    Credentials {
        market: app("0f1e2d3c4b5a69788796a5", "Abcd123$xy"),
        interactive: app("a56978879600f1e2d3c4b5", "Wxyz#9@q"),
        access_token: Some(Secret::new("from-the-browser")),
    }
}

/// Settings for a server at `address`, with nothing to wait for.
fn settings(address: std::net::SocketAddr) -> Settings {
    Settings {
        base_url: format!("http://{address}"),
        request_interval_ms: 0,
        book_interval_ms: 0,
        subscription_interval_ms: 0,
        quotes_interval_ms: 0,
        orders_per_s: 0,
        connect_timeout_ms: 5_000,
        request_timeout_ms: 5_000,
        ..Settings::default()
    }
}

fn broker(settings: Settings) -> XtsBroker {
    XtsBroker::new(settings, credentials(), "default", Arc::new(Still)).unwrap()
}

fn token(product: Product) -> Token {
    Token {
        product,
        epoch: TokenEpoch(1),
        secret: Arc::new(Secret::new("eyJ.the.token")),
        facts: Arc::new(AccountFacts { user_id: "TEST 01".to_owned(), ..AccountFacts::default() }),
        issued_at: NOW,
        expires_at: None,
    }
}
