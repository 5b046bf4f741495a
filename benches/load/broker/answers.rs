//! What the broker answers, in XTS' words.

use std::fmt::Write as _;
use std::sync::PoisonError;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tickgate::clock::{Clock as _, SystemClock};

use super::State;
use super::http::Request;
use crate::load::ticks::{CLOSE, FIRST_CODE, HIGH, name};

/// Status line and body.
pub(super) fn to(state: &State, request: &Request) -> (&'static str, String) {
    let segments: Vec<_> = request.path.trim_matches('/').rsplit('/').take(2).collect();
    let (last, before) = (segments.first().copied().unwrap_or(""), segments.get(1).copied().unwrap_or(""));
    let asked = || serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
    let result = match (request.method.as_str(), before, last) {
        ("POST", "auth", "login") => {
            json!({"token": token(), "userID": "LG01", "appVersion": "5.0.15", "application_expiry_date": "30-12-2099"})
        }
        ("DELETE", "auth", "logout") => json!({}),
        ("GET", "config", "clientconfig") => json!({
            "exchangeSegments": {"NSECM": 1, "NSEFO": 2, "NSECD": 3, "BSECM": 11, "BSEFO": 12, "MCXFO": 51},
            "xtsMessageCode": {"touchlineEvent": 1501, "marketDepthEvent": 1502, "openInterestEvent": 1510},
            "publishFormat": ["Binary", "JSON"], "broadCastMode": ["Full", "Partial"]
        }),
        ("GET", "instruments", "indexlist") => json!({"exchangeSegment": "1", "indexList": []}),
        ("POST", "instruments", "master") => {
            let wanted = asked()["exchangeSegmentList"].to_string().contains("NSECM");
            Value::String(if wanted { master(state.symbols) } else { String::new() })
        }
        ("POST" | "PUT", "instruments", "subscription") => {
            subscribe(state, &asked(), request.method == "POST")
        }
        ("POST", "instruments", "quotes") => json!({"mdp": 1501, "quotesList": [], "listQuotes": []}),
        _ => {
            let error = json!({"type": "error", "code": "e-app-0404", "description": "not served here", "result": {}});
            return ("404 Not Found", error.to_string());
        }
    };
    let body = json!({"type": "success", "code": "s-response-0001", "description": "done", "result": result});
    ("200 OK", body.to_string())
}

/// Lives for a day. Nobody verifies it.
fn token() -> String {
    let now = SystemClock.now().as_secs();
    let claims = json!({"userID": "LG01", "publicKey": "bench", "iat": now, "exp": now + 86_400});
    let parts = [r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string(), "not signed"];
    parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

fn master(symbols: usize) -> String {
    let mut rows = String::with_capacity(symbols * 130);
    for symbol in 0..symbols {
        let (name, code) = (name(symbol), FIRST_CODE + symbol);
        let separator = if symbol > 0 { "\n" } else { "" };
        let (high, low) = (HIGH / 100, CLOSE / 200);
        // Writing to a string cannot fail.
        let _ = write!(
            rows,
            "{separator}NSECM|{code}|8|{name}|{name}-EQ|EQ|{name}-EQ|11001{code:08}|{high}|{low}|100000|0.05|1|1|\
             {name}|INE{code:06}A01|1|1|BENCH {symbol:05}-EQ|0|1|1"
        );
    }
    rows
}

fn subscribe(state: &State, asked: &Value, is_on: bool) -> Value {
    let code = number(&asked["xtsMessageCode"]);
    let instruments = asked["instruments"].as_array().cloned().unwrap_or_default();
    let mut held = state.subscribed.lock().unwrap_or_else(PoisonError::into_inner);
    for instrument in &instruments {
        let symbol = number(&instrument["exchangeInstrumentID"]).wrapping_sub(FIRST_CODE as u64);
        if is_on {
            held.insert((code as u16, symbol as usize));
        } else {
            held.remove(&(code as u16, symbol as usize));
        }
    }
    let left = 100_000_usize.saturating_sub(held.len());
    if is_on {
        json!({"mdp": code, "quotesList": instruments, "listQuotes": [], "Remaining_Subscription_Count": left})
    } else {
        json!({"mdp": code, "unsubList": instruments, "Remaining_Subscription_Count": left})
    }
}

/// A number, quoted or not.
fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}
