//! What a live session asks for by REST: subscriptions, quotes, the master. The token was
//! checked before.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Core;
use super::publish::bit;
use crate::market::{InstrumentId, Segment};
use crate::sim::answers::Answer;
use crate::sim::encode::{Message, code, json};
use crate::sim::instruments::{Catalogue, Kind};
use crate::sim::sessions::Subscription;
use crate::sim::truth::{Event, Sent};

/// Instruments in one request. Clients of live servers keep to it.
const MAX_INSTRUMENTS: usize = 50;

/// A request for one message code of some instruments.
struct Wanted {
    code: u16,
    /// As the client spelled them, for the echo.
    spelled: Vec<Value>,
    ids: Vec<InstrumentId>,
}

impl Core {
    /// `POST …/instruments/subscription`. All or nothing: one instrument that is subscribed
    /// already, or one too many, refuses the batch (seen on live servers).
    pub(crate) fn subscribe(&mut self, account: usize, body: &Value, is_binary: bool) -> Answer {
        let wanted = match self.wanted_in(body) {
            Ok(wanted) => wanted,
            Err(answer) => return answer,
        };
        let limit = self.settings.max_subscriptions;
        let Some(session) = &self.accounts[account].sessions.market else { return Answer::invalid_token() };
        let of = self.accounts[account].of;
        match self.troubles.refuses_batch(of) {
            Some(true) => return Answer::too_many_subscriptions(session, limit, wanted.ids.len()),
            Some(false) => {
                return Answer::already_subscribed(limit.saturating_sub(session.subscriptions.len()));
            }
            None => {}
        }
        let mut added = session.subscriptions.clone();
        for &id in &wanted.ids {
            if !added.insert(Subscription { id, code: wanted.code }) {
                return Answer::already_subscribed(limit.saturating_sub(session.subscriptions.len()));
            }
        }
        if added.len() > limit {
            return Answer::too_many_subscriptions(session, limit, wanted.ids.len());
        }
        let remaining = limit - added.len();
        self.set_subscriptions(account, added);
        if is_binary && !self.settings.list_quotes {
            return Answer::success(
                "s-session-0001",
                "Instrument subscribed successfully!",
                json!({ "Remaining_Subscription_Count": remaining }),
            );
        }
        let quotes = self.list_quotes(&wanted, Some(account));
        Answer::success(
            "s-session-0001",
            "Instrument subscribed successfully!",
            json!({
                "mdp": wanted.code,
                "quotesList": wanted.spelled,
                "listQuotes": quotes,
                "Remaining_Subscription_Count": remaining,
            }),
        )
    }

    /// `PUT …/instruments/subscription`. What is there is removed; if nothing is, that is an
    /// error. How live servers treat a mixed batch is not known.
    pub(crate) fn unsubscribe(&mut self, account: usize, body: &Value) -> Answer {
        let wanted = match self.wanted_in(body) {
            Ok(wanted) => wanted,
            Err(answer) => return answer,
        };
        let limit = self.settings.max_subscriptions;
        let Some(session) = &self.accounts[account].sessions.market else { return Answer::invalid_token() };
        let before = session.subscriptions.len();
        let mut left = session.subscriptions.clone();
        left.retain(|s| s.code != wanted.code || !wanted.ids.contains(&s.id));
        let remaining = limit.saturating_sub(left.len());
        if left.len() == before {
            return Answer::not_subscribed(remaining);
        }
        self.set_subscriptions(account, left);
        Answer::success(
            "s-response-0001",
            "Instrument subscription deleted!",
            json!({
                "mdp": wanted.code,
                "unsubList": wanted.spelled,
                "Remaining_Subscription_Count": remaining,
            }),
        )
    }

    /// `POST …/instruments/quotes`.
    pub(crate) fn quotes(&mut self, body: &Value) -> Answer {
        match self.wanted_in(body) {
            Ok(wanted) if wanted.code == code::CANDLE => {
                Answer::bad_request("xtsMessageCode is none of 1501, 1502, 1510, 1512")
            }
            Ok(wanted) => {
                let quotes = self.list_quotes(&wanted, None);
                Answer::success(
                    "s-quotes-0001",
                    "Get quotes successfully!",
                    json!({ "mdp": wanted.code, "quotesList": wanted.spelled, "listQuotes": quotes }),
                )
            }
            Err(answer) => answer,
        }
    }

    /// `POST …/instruments/master`.
    pub(crate) fn master(&self, body: &Value) -> Answer {
        let Some(names) = body.get("exchangeSegmentList").and_then(Value::as_array) else {
            return Answer::bad_request("exchangeSegmentList is missing");
        };
        let mut text = String::new();
        for name in names {
            match name.as_str().and_then(Segment::from_xts_name) {
                Some(segment) => self.market.catalogue().master(segment, &mut text),
                None => return Answer::bad_request("exchangeSegmentList names no such segment"),
            }
        }
        Answer::success("s-instrument-0010", "Master instruments fetched", json!(text))
    }

    /// `GET …/instruments/indexlist`.
    pub(crate) fn index_list(segment: &str) -> Answer {
        let number = segment.parse::<i64>().ok();
        match number.and_then(Segment::from_number).or_else(|| Segment::from_xts_name(segment)) {
            Some(segment) => Answer::success(
                "s-instrument-0007",
                "Index List successfully",
                json!({
                    "exchangeSegment": segment.number().to_string(),
                    "indexList": Catalogue::index_list(segment),
                }),
            ),
            None => Answer::bad_request("exchangeSegment is no segment"),
        }
    }

    /// The current values, as JSON texts. Open interest of shares and indices is left out:
    /// there is none.
    fn list_quotes(&mut self, wanted: &Wanted, account: Option<usize>) -> Vec<String> {
        let catalogue = self.market.catalogue();
        let mut found = Vec::with_capacity(wanted.ids.len());
        for &id in &wanted.ids {
            let Some(at) = catalogue.position(id) else { continue };
            let listing = &catalogue.listings()[at];
            let is_none = wanted.code == code::OPEN_INTEREST && !id.segment.has_open_interest();
            if is_none || wanted.code == code::CANDLE {
                continue;
            }
            self.sequence += 1;
            let message = Message {
                code: wanted.code,
                id,
                is_index: listing.kind == Kind::Index,
                sequence: self.sequence,
                quote: self.market.quote(at),
                underlying: None,
            };
            if self.notes.is_on() {
                let user = account.map_or_else(|| "".into(), |a| Arc::clone(&self.accounts[a].user));
                self.notes.add(self.seen, Event::Message(Sent::new(user, &message, None)));
            }
            let mut text = Vec::with_capacity(1024);
            json::full(&message, json::IdStyle::Text, &mut text);
            found.push(String::from_utf8(text).unwrap_or_default());
        }
        found
    }

    fn wanted_in(&self, body: &Value) -> Result<Wanted, Answer> {
        let wanted = body.get("xtsMessageCode").and_then(integer);
        let Some(wanted) = wanted.and_then(|c| u16::try_from(c).ok()).filter(|&c| bit(c) != 0) else {
            return Err(Answer::bad_request("xtsMessageCode is none of 1501, 1502, 1505, 1510, 1512"));
        };
        let spelled = body.get("instruments").and_then(Value::as_array).cloned().unwrap_or_default();
        if spelled.is_empty() || spelled.len() > MAX_INSTRUMENTS {
            return Err(Answer::bad_request("instruments must be a list of 1 to 50"));
        }
        let mut ids = Vec::with_capacity(spelled.len());
        for instrument in &spelled {
            let id = instrument_id(instrument).ok_or_else(|| {
                Answer::bad_request("an instrument has no exchangeSegment and exchangeInstrumentID")
            })?;
            if self.market.catalogue().position(id).is_none() {
                return Err(Answer::unknown_instrument());
            }
            ids.push(id);
        }
        Ok(Wanted { code: wanted, spelled, ids })
    }
}

pub(super) fn instrument_id(value: &Value) -> Option<InstrumentId> {
    let segment = value.get("exchangeSegment")?;
    let segment = integer(segment)
        .and_then(Segment::from_number)
        .or_else(|| segment.as_str().and_then(Segment::from_xts_name))?;
    let code = integer(value.get("exchangeInstrumentID")?)?;
    Some(InstrumentId { segment, code: u32::try_from(code).ok()? })
}

/// A number, or a text that is one: clients send both.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}
