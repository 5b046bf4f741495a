//! `/__sim/…`: what tests ask the simulator and tell it to do. Not the venue's protocol.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::Shared;
use crate::sim::answers::Answer;
use crate::sim::core::SocketEnd;
use crate::sim::sessions::Product;

/// The answer to a request below `/__sim/`; `None` if there is no such path. A web page
/// (`is_foreign`: it sends an origin) may not control the simulator.
pub(super) fn answer(
    method: &Method,
    path: &str,
    body: &Value,
    is_foreign: bool,
    shared: &Shared,
) -> Option<Answer> {
    match (method, path) {
        (&Method::GET, "state") => return Some(Answer::plain(&shared.with(|core, now| core.state(now)))),
        (&Method::GET, "truth") => return Some(Answer::plain(&shared.with(|core, now| core.truth(now)))),
        (&Method::POST, "token_life" | "expire" | "drop" | "mute") => {}
        _ => return None,
    }
    if is_foreign {
        return Some(wrong(403, "not for web pages"));
    }
    Some(control(path, body, shared).unwrap_or_else(|what| wrong(400, what)))
}

fn control(path: &str, body: &Value, shared: &Shared) -> Result<Answer, &'static str> {
    let done = match path {
        "token_life" => {
            let seconds = body["seconds"].as_u64().filter(|&s| s > 0 && s <= 366 * 86_400);
            let seconds = seconds.ok_or("seconds must be a whole number above 0")?;
            shared.change(|core, _| core.set_token_life(seconds));
            json!({ "seconds": seconds })
        }
        "expire" => {
            let product = match &body["product"] {
                Value::Null => None,
                Value::String(text) => {
                    Some(Product::parse(text).ok_or("product must be market or interactive")?)
                }
                _ => return Err("product must be market or interactive"),
            };
            let sockets = match body["sockets"].as_str().unwrap_or("close") {
                "close" => SocketEnd::Close,
                "logout" => SocketEnd::Logout,
                "silent" => SocketEnd::Silent,
                _ => return Err("sockets must be close, logout or silent"),
            };
            let account = account_in(body, shared)?;
            json!({ "expired": shared.change(|core, _| core.expire(account, product, sockets)) })
        }
        "drop" => {
            let clean = body["clean"].as_bool().unwrap_or(false);
            json!({ "dropped": shared.with(|core, _| core.drop_sockets(clean)) })
        }
        _ => {
            let on = body["on"].as_bool().ok_or("on must be true or false")?;
            shared.with(|core, _| core.mute(on));
            json!({ "muted": on })
        }
    };
    Ok(Answer::plain(&done))
}

/// The account a control names by its user; `None` if it names none, which means all.
fn account_in(body: &Value, shared: &Shared) -> Result<Option<usize>, &'static str> {
    match &body["account"] {
        Value::Null => Ok(None),
        Value::String(user) => {
            let found = shared.with(|core, _| core.account_of_user(user));
            found.map(Some).ok_or("account must be a user of /__sim/state")
        }
        _ => Err("account must be a user of /__sim/state"),
    }
}

fn wrong(status: u16, what: &str) -> Answer {
    Answer { status, body: json!({ "error": what }).to_string() }
}
