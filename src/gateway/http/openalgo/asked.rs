//! One request about an account, and its answer, apart from HTTP: what stands in its body and what it may use.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::orders::Turns;
use crate::clock::Clock;
use crate::gateway::auth::Scope;
use crate::gateway::control::{Desk, DeskError, Placer};
use crate::market::{Calendar, Exchange, InstrumentId, InstrumentKind, Master, MasterHandle};

/// One endpoint below `/api/v1`; all take `POST` with a JSON object.
#[derive(Clone, Copy)]
pub(super) struct Endpoint {
    pub(super) path: &'static str,
    /// What the key must be for.
    pub(super) scope: Scope,
    /// One line for people.
    pub(super) about: &'static str,
    /// Members of the body that must be there, besides `apikey`.
    pub(super) required: &'static [&'static str],
    /// Members that may be there.
    pub(super) optional: &'static [&'static str],
    pub(super) run: fn(Asked) -> BoxFuture<'static, Reply>,
}

/// A request whose key is good and has the endpoint's scope.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) desk: Arc<dyn Desk>,
    pub(super) masters: MasterHandle,
    pub(super) turns: Turns,
    /// When the exchanges trade.
    pub(super) calendar: Calendar,
    pub(super) clock: Arc<dyn Clock>,
    /// The broker's name, as consumers see it.
    pub(super) broker: Arc<str>,
    /// The account that is meant where none is named; empty: the only one.
    pub(super) default_account: Arc<str>,
    /// The key's name.
    pub(super) key: String,
    pub(super) body: Arc<Map<String, Value>>,
}

/// An answer: JSON and its HTTP status.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Box<RawValue>,
    /// Seconds after which to try again.
    pub(super) retry_after: Option<u64>,
}

/// Why there is no success to tell of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failed {
    pub(super) status: u16,
    pub(super) message: String,
    /// Members beside `status` and `message`.
    pub(super) more: Map<String, Value>,
}

impl Asked {
    /// The account that is named; `None`: the only one.
    pub(super) fn account(&self) -> Result<Option<&str>, Failed> {
        let default = Some(&*self.default_account).filter(|name| !name.is_empty());
        match self.body.get("account") {
            None | Some(Value::Null) => Ok(default),
            Some(Value::String(name)) if name.is_empty() => Ok(default),
            Some(Value::String(name)) => Ok(Some(name)),
            Some(_) => Err(Failed::bad("account: Not a valid string.")),
        }
    }

    /// On whose behalf an order is sent.
    pub(super) fn placer(&self, strategy: &str) -> Placer {
        Placer { key: self.key.clone(), strategy: strategy.to_owned() }
    }

    /// The instrument list.
    pub(super) fn master(&self) -> Result<Arc<Master>, Failed> {
        self.masters.load().ok_or_else(|| Failed::new(503, "instrument list not loaded yet"))
    }
}

/// The instrument of a name, if it can be traded.
pub(super) fn tradable(master: &Master, exchange: &str, symbol: &str) -> Result<InstrumentId, Failed> {
    let known = Exchange::parse(exchange)
        .ok_or_else(|| Failed::bad(format!("exchange: there is no exchange {exchange:?} here")))?;
    let id = master
        .resolve(known, symbol)
        .ok_or_else(|| Failed::bad(format!("Symbol '{symbol}' not found for exchange '{exchange}'.")))?;
    if master.get(id).is_some_and(|instrument| instrument.kind == InstrumentKind::Index) {
        return Err(Failed::bad(format!("{exchange}:{symbol} is an index, which cannot be traded")));
    }
    Ok(id)
}

impl Reply {
    pub(super) fn new(status: u16, body: &impl Serialize) -> Self {
        match to_raw_value(body) {
            Ok(body) => Self { status, body, retry_after: None },
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written as JSON");
                Self { status: 500, body: RawValue::NULL.to_owned(), retry_after: None }
            }
        }
    }

    /// `{"status":"success","data":…}`.
    pub(super) fn data(data: &impl Serialize) -> Self {
        Self::listed(data, 0)
    }

    /// The same of a book of which some rows could not be read: their number beside the data, where OpenAlgo's
    /// clients do not look.
    pub(super) fn listed(data: &impl Serialize, unreadable: usize) -> Self {
        #[derive(Serialize)]
        struct Data<'a, T> {
            status: &'static str,
            data: &'a T,
            #[serde(skip_serializing_if = "Option::is_none")]
            unreadable_rows: Option<usize>,
        }
        let unreadable_rows = Some(unreadable).filter(|rows| *rows > 0);
        Self::new(200, &Data { status: "success", data, unreadable_rows })
    }
}

impl From<Result<Self, Failed>> for Reply {
    fn from(result: Result<Self, Failed>) -> Self {
        result.unwrap_or_else(|failed| failed.reply())
    }
}

impl Failed {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), more: Map::new() }
    }

    /// 400.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// What a book does not show may stand in rows of it that cannot be read.
    pub(super) fn unreadable(rows: usize, book: &str, what: &str) -> Self {
        let message = format!("{rows} rows of the broker's {book} cannot be read; {what}");
        Self::new(502, message).with("unreadable_rows", rows)
    }

    /// Whether what was asked for may have been done.
    pub(super) fn is_unclear(&self) -> bool {
        self.more.get("outcome").is_some_and(|outcome| outcome == "unknown")
    }

    /// With another member.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// The members of an error's body, or of an entry of a list of results.
    pub(super) fn members(&self) -> Map<String, Value> {
        let mut members = self.more.clone();
        members.insert("status".to_owned(), json!("error"));
        // Data endpoints name what is wrong by member, as an object.
        members.entry("message").or_insert_with(|| json!(self.message));
        members
    }

    pub(super) fn reply(&self) -> Reply {
        let retry_after = self.more.get("retry_after").and_then(Value::as_u64);
        Reply { retry_after, ..Reply::new(self.status, &self.members()) }
    }
}

impl From<DeskError> for Failed {
    fn from(error: DeskError) -> Self {
        let message = error.to_string();
        match error {
            DeskError::NoAccount(_) | DeskError::WhichAccount(_) | DeskError::Refused(_) => {
                Self::new(400, message)
            }
            // Orders are switched off, or there are no keys for the account.
            DeskError::NotConfigured(_) | DeskError::NoSession(_) => Self::new(403, message),
            DeskError::Busy { retry_after, .. } => {
                let failed = Self::new(429, message);
                match retry_after {
                    Some(after) => failed.with("retry_after", after.as_secs().max(1)),
                    None => failed,
                }
            }
            DeskError::Failed(_) => Self::new(502, message),
            DeskError::NotSent(_) => Self::new(503, message),
            DeskError::Unclear { unique_id, .. } => {
                let failed = Self::new(504, message).with("outcome", "unknown");
                if unique_id.is_empty() { failed } else { failed.with("unique_id", unique_id) }
            }
        }
    }
}
