//! Orders on the account's behalf: checked, marked, written down, sent once, and looked for where the broker
//! did not say what became of them. Not their wire form (the broker's adapter) and not who may (the gateway).

mod actions;
pub(crate) mod follow;
mod lookup;
mod mark;
mod send;
mod table;

use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;

pub(crate) use mark::Marks;

use crate::clock::UnixNanos;
use crate::session::CallError;

/// `[orders]`: whether and which orders may be sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrderSettings {
    /// Orders may be placed, changed and cancelled. Off unless a person says so.
    pub enabled: bool,
    /// The most units of one order; 0: any number.
    pub max_quantity: u64,
    /// What waits longer than this for a token and its turn is not sent any more, unless it only takes an order
    /// back; 0: no bound but the adapter's own.
    pub send_within_ms: u64,
}

impl Default for OrderSettings {
    fn default() -> Self {
        // A price is seldom the same ten seconds later.
        Self { enabled: false, max_quantity: 0, send_within_ms: 10_000 }
    }
}

/// On whose behalf, for the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// The consumer key's name.
    pub key: String,
    /// What the consumer calls its strategy; may be empty.
    pub strategy: String,
}

/// Why an order, or a change of one, was not done, or is not known to be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OrderError {
    /// Orders are switched off.
    #[error("orders are switched off; [orders] enabled = true in the configuration allows them")]
    Disabled,
    /// It is not allowed by the settings, or no order at all. Nothing was sent.
    #[error("{0}")]
    NotAllowed(String),
    /// The broker refused it, or it was not sent. Nothing was done.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The broker did not answer, but its books show that it was not done, or cannot be any more.
    #[error("{0}")]
    NotDone(String),
    /// It may have been done. It was not repeated.
    #[error("{message}")]
    Unclear {
        /// What is known, in words.
        message: String,
        /// The mark to look for in the order book; empty for what has none.
        unique_id: String,
        /// When it was sent.
        sent_at: UnixNanos,
    },
}

/// How many orders are under way.
#[derive(Debug, Default)]
pub(crate) struct InFlight(watch::Sender<usize>);

/// One of them, until dropped.
pub(crate) struct UnderWay(watch::Sender<usize>);

impl InFlight {
    fn begin(&self) -> UnderWay {
        self.0.send_modify(|count| *count += 1);
        UnderWay(self.0.clone())
    }

    /// Resolves when there is none, or when the time is over.
    pub(crate) async fn ended(&self, patience: Duration) {
        let mut count = self.0.subscribe();
        if tokio::time::timeout(patience, count.wait_for(|count| *count == 0)).await.is_err() {
            tracing::error!("an order is under way still; look for it in the broker's order book");
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
