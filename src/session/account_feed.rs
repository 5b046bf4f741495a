//! Keeps the account's own socket open, which tells when the session is ended or replaced
//! (`logout`), and in time of orders and trades. Not the market-data feed, and no actor: it asks
//! for tokens as everybody does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::broker::{AccountEvent, AccountFeed, Class, Error, FeedEnd};
use crate::session::TokenDesk;
use crate::session::messages::{Asker, SessionReplaced, TokenError};
use crate::session::orders::follow;
use crate::session::shared::Shared;
use crate::token::{Product, Token, TokenEpoch};

/// Longest time between two asks for a token.
const LONGEST_NAP: Duration = Duration::from_mins(5);

/// How long before or after a trade its order's own event may come. Without one the book is asked.
const ORDER_EVENT_PATIENCE: Duration = Duration::from_secs(2);
/// Trades that wait for it.
const MAX_TRADED: usize = 1_000;

/// Why there is no socket now, and what that means for the next try.
enum Ended {
    /// A new token is there, or a person ended the session.
    Rotated,
    /// The broker refused the token.
    Refused(TokenEpoch),
    /// Something else; the least time to wait.
    Failed(String, Duration),
    /// There is no token; when asking again makes sense.
    NoToken(TokenError, Duration),
}

/// Runs until it is aborted.
pub(crate) async fn run(shared: Arc<Shared>, tokens: TokenDesk) {
    let settings = &shared.deps.settings;
    let seed = shared.deps.seed.wrapping_add(404);
    let mut backoff = Backoff::new(settings.backoff_floor(), settings.backoff_ceiling(), seed);
    let stable_after = Duration::from_millis(settings.stable_after_ms);
    let mut rotations = shared.interactive.subscribe();
    let mut refused = None;
    loop {
        rotations.mark_unchanged();
        let opened_at = Instant::now();
        let ended = once(&shared, &tokens, refused, &mut rotations).await;
        shared.meters.account_feed_up.set(0.0);
        if opened_at.elapsed() >= stable_after {
            backoff.reset();
        }
        let wait = match ended {
            Ended::Rotated => Duration::ZERO,
            Ended::Refused(epoch) => {
                refused = Some(epoch);
                backoff.next_delay()
            }
            Ended::Failed(why, least) => {
                let wait = backoff.next_delay().max(least);
                debug!(why, ?wait, "the account's socket is down");
                wait
            }
            Ended::NoToken(why, wait) => {
                debug!(%why, ?wait, "no token for the account's socket");
                wait.max(settings.backoff_floor())
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = rotations.changed() => {}
        }
    }
}

/// Opens the socket and reads it to its end.
async fn once(
    shared: &Shared,
    tokens: &TokenDesk,
    refused: Option<TokenEpoch>,
    rotations: &mut watch::Receiver<TokenEpoch>,
) -> Ended {
    let settings = &shared.deps.settings;
    let token = match tokens.get(Product::Interactive, refused, Asker::AccountFeed).await {
        Ok(granted) => granted.token,
        Err(why) => {
            let wait = match &why {
                // By the wall clock; timers stand still while a machine sleeps.
                TokenError::Waiting { retry_in, .. } => (*retry_in).min(LONGEST_NAP),
                _ => settings.backoff_ceiling(),
            };
            return Ended::NoToken(why, wait);
        }
    };
    // Our own login moved it.
    rotations.mark_unchanged();
    let opening = shared.deps.broker.open_account_feed(&token);
    let late = || Err(Error::Network("the handshake was not answered in time".to_owned()));
    let opened = tokio::time::timeout(settings.request_timeout(), opening).await;
    match opened.unwrap_or_else(|_| late()) {
        Ok(feed) => {
            info!("the account's socket is open");
            shared.meters.account_feed_up.set(1.0);
            // Whatever happened while there was none.
            shared.orders.ask();
            read(shared, tokens, &token, feed, rotations).await
        }
        Err(error) if error.class() == Class::NeedsToken => {
            warn!(%error, "the account's socket was refused");
            Ended::Refused(token.epoch)
        }
        // Nothing that waiting mends by itself, but a person may.
        Err(error) if error.class() == Class::NeedsOperator => {
            Ended::Failed(error.to_string(), settings.backoff_ceiling())
        }
        Err(error) => Ended::Failed(error.to_string(), error.retry_after().unwrap_or_default()),
    }
}

async fn read(
    shared: &Shared,
    tokens: &TokenDesk,
    token: &Token,
    mut feed: Box<dyn AccountFeed>,
    rotations: &mut watch::Receiver<TokenEpoch>,
) -> Ended {
    let mut traded = VecDeque::<(Instant, String)>::new();
    loop {
        let due = traded.front().map(|(at, _)| *at + ORDER_EVENT_PATIENCE);
        let event = tokio::select! {
            event = feed.next() => event,
            _ = rotations.changed() => return Ended::Rotated,
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                if let Some((at, order)) = traded.pop_front()
                    && !shared.orders.moved_since(&order, at - ORDER_EVENT_PATIENCE)
                {
                    shared.orders.ask();
                }
                continue;
            }
        };
        match event {
            Ok(AccountEvent::Joined) => debug!("the broker has let the account's socket in"),
            Ok(AccountEvent::Order(order)) => {
                shared.meters.account_event("order");
                follow::on_event(shared, *order);
            }
            Ok(AccountEvent::Trade(trade)) => {
                shared.meters.account_event("trade");
                if traded.len() < MAX_TRADED {
                    traded.push_back((Instant::now(), trade.order_id));
                } else {
                    shared.orders.ask();
                }
            }
            Ok(AccountEvent::Position(_)) => shared.meters.account_event("position"),
            Ok(AccountEvent::Other(name)) => {
                shared.meters.account_event(&name);
                if matches!(name.as_str(), "order" | "trade") {
                    // One that could not be read; the book tells what it was about.
                    shared.orders.ask();
                }
            }
            Err(FeedEnd::Logout(words)) => {
                let how = format!("the broker said logout on the account's socket: {words}");
                tokens.tell(SessionReplaced { product: Product::Interactive, epoch: token.epoch, how });
                return Ended::Refused(token.epoch);
            }
            Err(FeedEnd::TokenRefused(words)) => {
                warn!(words, "the account's socket lost its token");
                return Ended::Refused(token.epoch);
            }
            Err(end) => return Ended::Failed(end.to_string(), Duration::ZERO),
        }
    }
}
