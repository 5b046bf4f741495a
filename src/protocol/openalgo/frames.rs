//! Writes control frames to consumers as OpenAlgo's clients read them: answers and errors.
//! Not market data, and not the WebSocket header.

use serde_json::value::RawValue;

use crate::market::Exchange;
use crate::protocol::Mode;
use crate::protocol::binary::Freshness;
use crate::protocol::openalgo::options::Granted;

/// What an error frame says. OpenAlgo's clients branch on `code`.
pub fn error(code: &str, message: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"status\":\"error\",\"code\":");
    push_string(code, out);
    out.extend_from_slice(b",\"message\":");
    push_string(message, out);
    out.push(b'}');
}

/// A refused authentication. The `type` is ours: with it the Python client logs the reason,
/// and no client minds.
pub fn auth_error(message: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"{\"type\":\"auth\",\"status\":\"error\",\"code\":\"AUTHENTICATION_ERROR\",\"message\":",
    );
    push_string(message, out);
    out.push(b'}');
}

/// An accepted authentication. Who asked for anything beyond OpenAlgo is told what it gets.
pub fn auth_ok(broker: &str, user: &str, granted: Option<Granted>, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"{\"type\":\"auth\",\"status\":\"success\",\"message\":\"Authentication successful\",\"broker\":",
    );
    push_string(broker, out);
    out.extend_from_slice(b",\"user_id\":");
    push_string(user, out);
    out.extend_from_slice(b",\"supported_features\":{\"ltp\":true,\"quote\":true,\"depth\":true}");
    if let Some(granted) = granted {
        out.extend_from_slice(b",\"tickgate\":{");
        for (key, is_granted) in [
            (&b"\"conflated\":"[..], granted.conflated),
            (b",\"seq\":", granted.seq),
            (b",\"state\":", granted.state),
        ] {
            out.extend_from_slice(key);
            out.extend_from_slice(if is_granted { b"true" } else { b"false" });
        }
        out.push(b'}');
    }
    out.push(b'}');
}

/// Tells a consumer who asked for it that frames of a topic gave way to the one that follows.
pub fn conflated(
    symbol: &str,
    exchange: Exchange,
    mode: Mode,
    skipped: u64,
    span_ms: u64,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"type\":\"conflated\",\"symbol\":");
    push_string(symbol, out);
    out.extend_from_slice(b",\"exchange\":");
    push_string(exchange.as_str(), out);
    out.extend_from_slice(b",\"mode\":");
    out.push(b'0' + mode.number());
    out.extend_from_slice(b",\"skipped\":");
    out.extend_from_slice(itoa::Buffer::new().format(skipped).as_bytes());
    out.extend_from_slice(b",\"span_ms\":");
    out.extend_from_slice(itoa::Buffer::new().format(span_ms).as_bytes());
    out.push(b'}');
}

/// Tells a consumer who asked for it how current an instrument's data are.
pub fn state(
    (symbol, exchange): (&str, Exchange),
    state: Freshness,
    since_ms: i64,
    reason: &str,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"type\":\"state\",\"symbol\":");
    push_string(symbol, out);
    out.extend_from_slice(b",\"exchange\":");
    push_string(exchange.as_str(), out);
    out.extend_from_slice(b",\"state\":");
    push_string(state.as_str(), out);
    out.extend_from_slice(b",\"since\":");
    out.extend_from_slice(itoa::Buffer::new().format(since_ms).as_bytes());
    out.extend_from_slice(b",\"reason\":");
    push_string(reason, out);
    out.push(b'}');
}

/// Tells the same consumer that the server lives, and how its data are as a whole.
pub fn heartbeat(state: Freshness, last_tick_age_ms: Option<u64>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"heartbeat\",\"state\":");
    push_string(state.as_str(), out);
    out.extend_from_slice(b",\"last_tick_age_ms\":");
    match last_tick_age_ms {
        Some(age) => out.extend_from_slice(itoa::Buffer::new().format(age).as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

/// The outcome for one name in an acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// As the consumer wrote it.
    pub symbol: &'a str,
    /// As the consumer wrote it.
    pub exchange: &'a str,
    /// Why not, if not.
    pub error: Option<String>,
}

/// What a consumer is given of what came since a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resumed<'a> {
    /// Whether the server keeps anything for that.
    pub granted: bool,
    /// The server's life, to which the numbers belong.
    pub epoch: u32,
    /// By name, those that were subscribed.
    pub names: Vec<ResumedName<'a>>,
}

/// The same of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumedName<'a> {
    /// As the consumer wrote it.
    pub symbol: &'a str,
    /// As the consumer wrote it.
    pub exchange: &'a str,
    /// What follows the acknowledgement, if anything does.
    pub range: Option<ResumedRange>,
    /// Why something is missing, if it is.
    pub missing: Option<&'static str>,
}

/// Numbers above the first, up to the second, of which all frames follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumedRange {
    /// The frame of this number does not follow.
    pub after: u64,
    /// The last one. What comes then is live.
    pub to: u64,
    /// How many there are: not every number has a frame in every mode.
    pub frames: usize,
}

fn push_resumed(resumed: &Resumed<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"tickgate\":{\"since\":");
    out.extend_from_slice(if resumed.granted { b"true" } else { b"false" });
    out.extend_from_slice(b",\"epoch\":");
    push_number(resumed.epoch.into(), out);
    out.extend_from_slice(b",\"replays\":[");
    for (index, name) in resumed.names.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"symbol\":");
        push_string(name.symbol, out);
        out.extend_from_slice(b",\"exchange\":");
        push_string(name.exchange, out);
        if let Some(range) = name.range {
            out.extend_from_slice(b",\"after\":");
            push_number(range.after, out);
            out.extend_from_slice(b",\"to\":");
            push_number(range.to, out);
        }
        out.extend_from_slice(b",\"frames\":");
        push_number(name.range.map_or(0, |range| range.frames as u64), out);
        if let Some(reason) = name.missing {
            out.extend_from_slice(b",\"missing\":");
            push_string(reason, out);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

/// Tells a consumer that asked for what came since a number that some of it is lost for good: what came
/// after `seq` up to `to`, where that is known.
pub fn lost((symbol, exchange): (&str, &str), seq: u64, to: Option<u64>, reason: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"gap\",\"after_seq\":");
    push_number(seq, out);
    if let Some(to) = to {
        out.extend_from_slice(b",\"to_seq\":");
        push_number(to, out);
    }
    out.extend_from_slice(b",\"symbols\":[{\"symbol\":");
    push_string(symbol, out);
    out.extend_from_slice(b",\"exchange\":");
    push_string(exchange, out);
    out.extend_from_slice(b"}],\"backfilled\":false,\"reason\":");
    push_string(reason, out);
    out.push(b'}');
}

fn push_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Acknowledges a subscribe frame: `partial` as soon as anything failed. To who asked for what came since a
/// number it says what follows.
pub fn subscribe_ack(
    outcomes: &[Outcome<'_>],
    (mode, resumed): (Mode, Option<&Resumed<'_>>),
    broker: &str,
    request_id: Option<&RawValue>,
    out: &mut Vec<u8>,
) {
    let partial = outcomes.iter().any(|o| o.error.is_some());
    out.extend_from_slice(b"{\"type\":\"subscribe\",\"status\":");
    push_string(if partial { "partial" } else { "success" }, out);
    out.extend_from_slice(b",\"subscriptions\":[");
    for (index, outcome) in outcomes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_outcome(outcome, out);
        if outcome.error.is_none() {
            // Five levels are what XTS has, whatever was asked for.
            out.extend_from_slice(b",\"mode\":");
            push_string(mode.label(), out);
            out.extend_from_slice(b",\"depth\":5");
        }
        push_broker(broker, out);
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"message\":\"Subscription processing complete\"");
    if let Some(resumed) = resumed {
        push_resumed(resumed, out);
    }
    push_end(broker, request_id, out);
}

/// Acknowledges an unsubscribe frame.
pub fn unsubscribe_ack(
    outcomes: &[Outcome<'_>],
    broker: &str,
    request_id: Option<&RawValue>,
    out: &mut Vec<u8>,
) {
    let failed = outcomes.iter().filter(|o| o.error.is_some()).count();
    let status = match failed {
        0 => "success",
        n if n == outcomes.len() => "error",
        _ => "partial",
    };
    out.extend_from_slice(b"{\"type\":\"unsubscribe\",\"status\":");
    push_string(status, out);
    out.extend_from_slice(b",\"message\":\"Unsubscription processing complete\"");
    for (name, wanted) in [("successful", false), ("failed", true)] {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":[");
        for (index, outcome) in outcomes.iter().filter(|o| o.error.is_some() == wanted).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_outcome(outcome, out);
            push_broker(broker, out);
            out.push(b'}');
        }
        out.push(b']');
    }
    push_end(broker, request_id, out);
}

fn push_outcome(outcome: &Outcome<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"symbol\":");
    push_string(outcome.symbol, out);
    out.extend_from_slice(b",\"exchange\":");
    push_string(outcome.exchange, out);
    match &outcome.error {
        None => out.extend_from_slice(b",\"status\":\"success\""),
        Some(message) => {
            out.extend_from_slice(b",\"status\":\"error\",\"message\":");
            push_string(message, out);
        }
    }
}

/// Answers an application ping. The echoes keep their JSON types.
pub fn pong(now_ms: i64, timestamp: Option<&RawValue>, ping_id: Option<&RawValue>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"pong\",\"status\":\"success\",\"server_timestamp\":");
    out.extend_from_slice(itoa::Buffer::new().format(now_ms).as_bytes());
    push_raw(b",\"client_timestamp\":", timestamp, out);
    push_raw(b",\"_pingId\":", ping_id, out);
    out.push(b'}');
}

/// Which broker is behind us, and whether its feed is live.
pub fn broker_info(broker: &str, user: &str, connected: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"broker_info\",\"status\":\"success\"");
    push_broker(broker, out);
    out.extend_from_slice(b",\"adapter_status\":");
    push_string(if connected { "connected" } else { "disconnected" }, out);
    out.extend_from_slice(b",\"user_id\":");
    push_string(user, out);
    out.push(b'}');
}

/// The brokers this server can stand before: the one it is configured for.
pub fn supported_brokers(broker: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"supported_brokers\",\"status\":\"success\",\"brokers\":[");
    push_string(broker, out);
    out.extend_from_slice(b"],\"count\":1}");
}

/// Acknowledges `subscribe_orders`.
pub fn subscribe_orders_ack(request_id: Option<&RawValue>, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"{\"type\":\"subscribe_orders\",\"status\":\"success\",\"message\":\"Subscribed to order updates\"",
    );
    push_raw(b",\"request_id\":", request_id, out);
    out.push(b'}');
}

/// Acknowledges `unsubscribe_orders`, which can only succeed.
pub fn unsubscribe_orders_ack(request_id: Option<&RawValue>, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"{\"type\":\"unsubscribe_orders\",\"status\":\"success\",\"message\":\"Unsubscribed from order updates\"",
    );
    push_raw(b",\"request_id\":", request_id, out);
    out.push(b'}');
}

/// The broker refused an instrument after it was acknowledged.
pub fn subscription_rejected(symbol: &str, exchange: Exchange, message: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"status\":\"error\",\"code\":\"SUBSCRIPTION_REJECTED\",\"message\":");
    push_string(message, out);
    out.extend_from_slice(b",\"symbol\":");
    push_string(symbol, out);
    out.extend_from_slice(b",\"exchange\":");
    push_string(exchange.as_str(), out);
    out.push(b'}');
}

fn push_end(broker: &str, request_id: Option<&RawValue>, out: &mut Vec<u8>) {
    push_broker(broker, out);
    push_raw(b",\"request_id\":", request_id, out);
    out.push(b'}');
}

fn push_broker(broker: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"broker\":");
    push_string(broker, out);
}

fn push_raw(key: &[u8], value: Option<&RawValue>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        out.extend_from_slice(key);
        out.extend_from_slice(value.get().as_bytes());
    }
}

/// Appends a JSON string.
pub(super) fn push_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Value {
        let mut out = Vec::new();
        write(&mut out);
        serde_json::from_slice(&out).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out)))
    }

    fn outcome(symbol: &'static str, error: Option<&str>) -> Outcome<'static> {
        Outcome { symbol, exchange: "NSE", error: error.map(str::to_owned) }
    }

    #[test]
    fn the_frames_openalgo_clients_know() {
        assert_eq!(
            written(|out| auth_ok("jainamxts", "alice", None, out)),
            json!({"type":"auth","status":"success","message":"Authentication successful","broker":"jainamxts",
                "user_id":"alice","supported_features":{"ltp":true,"quote":true,"depth":true}})
        );
        let granted = Granted { conflated: true, ..Granted::default() };
        assert_eq!(
            written(|out| auth_ok("b", "alice", Some(granted), out))["tickgate"],
            json!({"conflated":true,"seq":false,"state":false})
        );
        assert_eq!(
            written(|out| conflated("SBIN", Exchange::Nse, Mode::Depth, 12, 340, out)),
            json!({"type":"conflated","symbol":"SBIN","exchange":"NSE","mode":3,"skipped":12,"span_ms":340})
        );
        assert_eq!(
            written(|out| state(("SBIN", Exchange::Nse), Freshness::Stale, 7, "the feed \"fell\"", out)),
            json!({"type":"state","symbol":"SBIN","exchange":"NSE","state":"stale","since":7,
                "reason":"the feed \"fell\""})
        );
        assert_eq!(
            written(|out| heartbeat(Freshness::Live, Some(12), out)),
            json!({"type":"heartbeat","state":"live","last_tick_age_ms":12})
        );
        let none_yet = written(|out| heartbeat(Freshness::Connecting, None, out));
        assert_eq!(none_yet, json!({"type":"heartbeat","state":"connecting","last_tick_age_ms":null}));
        assert_eq!(
            written(|out| error("INVALID_JSON", "Invalid JSON message", out)),
            json!({"status":"error","code":"INVALID_JSON","message":"Invalid JSON message"})
        );
        let id = RawValue::from_string("\"r-7\"".to_owned()).unwrap();
        assert_eq!(
            written(|out| subscribe_ack(
                &[outcome("SBIN", None), outcome("NOPE", Some("Symbol NOPE not found for exchange NSE"))],
                (Mode::Quote, None),
                "b",
                Some(&id),
                out
            )),
            json!({"type":"subscribe","status":"partial","message":"Subscription processing complete","broker":"b",
                "request_id":"r-7","subscriptions":[
                {"symbol":"SBIN","exchange":"NSE","status":"success","mode":"Quote","depth":5,"broker":"b"},
                {"symbol":"NOPE","exchange":"NSE","status":"error","message":"Symbol NOPE not found for exchange NSE","broker":"b"}]})
        );
        let range = |after, to, frames| Some(ResumedRange { after, to, frames });
        let name = |symbol, range, missing| ResumedName { symbol, exchange: "NSE", range, missing };
        let names = vec![name("SBIN", range(7, 9, 2), None), name("TCS", None, Some("why"))];
        let resumed = Resumed { granted: true, epoch: 5, names };
        let how = (Mode::Ltp, Some(&resumed));
        assert_eq!(
            written(|out| subscribe_ack(&[outcome("SBIN", None)], how, "b", None, out))["tickgate"],
            json!({"since":true,"epoch":5,"replays":[
                {"symbol":"SBIN","exchange":"NSE","after":7,"to":9,"frames":2},
                {"symbol":"TCS","exchange":"NSE","frames":0,"missing":"why"}]})
        );
        assert_eq!(
            written(|out| lost(("SBIN", "NSE"), 4, Some(7), "why", out)),
            json!({"type":"gap","after_seq":4,"to_seq":7,"symbols":[{"symbol":"SBIN","exchange":"NSE"}],
                "backfilled":false,"reason":"why"})
        );
        assert_eq!(
            written(|out| unsubscribe_ack(
                &[outcome("SBIN", None), outcome("ZZ", Some("why"))],
                "b",
                None,
                out
            )),
            json!({"type":"unsubscribe","status":"partial","message":"Unsubscription processing complete","broker":"b",
                "successful":[{"symbol":"SBIN","exchange":"NSE","status":"success","broker":"b"}],
                "failed":[{"symbol":"ZZ","exchange":"NSE","status":"error","message":"why","broker":"b"}]})
        );
        let status = |o: &[Outcome<'_>]| written(|out| unsubscribe_ack(o, "b", None, out))["status"].clone();
        assert_eq!((status(&[]), status(&[outcome("A", Some("x"))])), (json!("success"), json!("error")));
        let stamp = RawValue::from_string("1.5".to_owned()).unwrap();
        assert_eq!(
            written(|out| pong(7, Some(&stamp), Some(&id), out)),
            json!({"type":"pong","status":"success","server_timestamp":7,"client_timestamp":1.5,"_pingId":"r-7"})
        );
        assert_eq!(
            written(|out| broker_info("b", "u", false, out)),
            json!({"type":"broker_info","status":"success","broker":"b","adapter_status":"disconnected","user_id":"u"})
        );
        assert_eq!(
            written(|out| supported_brokers("b", out)),
            json!({"type":"supported_brokers","status":"success","brokers":["b"],"count":1})
        );
        assert_eq!(
            written(|out| subscription_rejected("SBIN", Exchange::Nse, "no", out)),
            json!({"status":"error","code":"SUBSCRIPTION_REJECTED","message":"no","symbol":"SBIN","exchange":"NSE"})
        );
        assert_eq!(written(|out| auth_error("Invalid API key", out))["type"], "auth");
        assert_eq!(
            written(|out| subscribe_orders_ack(Some(&id), out)),
            json!({"type":"subscribe_orders","status":"success","message":"Subscribed to order updates",
                "request_id":"r-7"})
        );
        assert_eq!(written(|out| unsubscribe_orders_ack(None, out))["type"], "unsubscribe_orders");
    }

    proptest! {
        #[test]
        fn any_text_survives_as_a_json_string(text in any::<String>()) {
            let mut out = Vec::new();
            push_string(&text, &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
