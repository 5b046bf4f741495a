//! `/__sim/…`: what tests ask the simulator and tell it to do. Not the venue's protocol.
//!
//! Asked (GET): `faults` (what is in force of those of `fault`, and how often each struck), `state` (totals, the first account's session, every account), `truth` (last
//! values), `bars` (`segment`, `id`, `interval`, `from`, `to`: the past), `candles` (the latest that were sent), `books` (every account's books without the venue's oddities), `logins` (every login
//! and every request with a token that is no good; how many logins were in flight at once).
//!
//! Told (POST, JSON). `account` (a user of `state`) and `product` narrow a control down; left
//! out, they mean all.
//!
//! | path | body |
//! |---|---|
//! | `token_life` | `seconds` of tokens issued from now on |
//! | `access_token` | `token` that interactive logins must bring from now on; `""`: none |
//! | `expire` | `account`, `product`, `sockets` (`close`, `logout`, `silent`): sessions end |
//! | `drop` | `account`, `product`, `clean`: sockets end |
//! | `restart` | `down_ms`, `forget` (all sessions), `manner` (`html`, `close`; by turns) |
//! | `login_faults` | `kind`, `count`, `ms`, `account`, `product`; or `clear` |
//! | `order_faults` | `kind`, `count`, `after_ms`, `account`, `call`; or `clear` |
//! | `fill` | `account`: its next open order is filled |
//! | `mute` | `on`: the market stands still |
//! | `fault` | one fault for a while, as in a scenario (`src/sim/SCENARIOS.md`); or `clear` |
//!
//! Kinds of fault: `credentials`, `disabled`, `rate_limited` (`retry_after_s`), `unavailable`
//! (`status`), `slow` (`ms`, which goes with every kind), `opaque`, `no_expiry`, `skewed`
//! (`skew_s`).
//!
//! Kinds of fault of calls about orders (`call`: `place`, `modify`, `cancel`, …; left out, any):
//! `no_answer` (taken; the connection ends after `after_ms`), `slow` (taken, answered after
//! `after_ms`), `502_after` (taken, a proxy's page after `after_ms`), `502_before` (not taken),
//! `refuse`.

use std::time::Duration;

use actix_web::http::Method;
use serde_json::{Value, json};

use super::Shared;
use crate::clock::UnixNanos;
use crate::sim::answers::Answer;
use crate::sim::core::{Away, Core, LoginFault, OrderFault, Query, Spec};
use crate::sim::sessions::Product;
use crate::sim::settings::SocketEnd;

/// What may be posted.
const CONTROLS: [&str; 10] = [
    "fault",
    "token_life",
    "access_token",
    "expire",
    "fill",
    "drop",
    "restart",
    "login_faults",
    "order_faults",
    "mute",
];

/// The answer to a request below `/__sim/`; `None` if there is no such path. A web page
/// (`is_foreign`: it sends an origin) may not control the simulator.
pub(super) fn answer(
    method: &Method,
    path: &str,
    body: &Value,
    is_foreign: bool,
    shared: &Shared,
) -> Option<Answer> {
    let look = |ask: fn(&mut Core, UnixNanos) -> Value| Some(Answer::plain(&shared.with(ask)));
    match (method, path) {
        (&Method::GET, "faults") => return look(|core, now| core.faults_in_force(now)),
        (&Method::GET, "state") => return look(|core, now| core.state(now)),
        (&Method::GET, "truth") => return look(|core, now| core.truth(now)),
        (&Method::GET, "logins") => return look(|core, _| core.logins_view()),
        (&Method::GET, "candles") => return look(|core, _| core.candles_view()),
        (&Method::GET, "books") => return look(|core, _| core.books_view()),
        (&Method::POST, path) if CONTROLS.contains(&path) => {}
        _ => return None,
    }
    if is_foreign {
        return Some(wrong(403, "not for web pages"));
    }
    if path == "fault" {
        return Some(fault(body, shared).unwrap_or_else(|what| wrong(400, &what)));
    }
    Some(control(path, body, shared).unwrap_or_else(|what| wrong(400, what)))
}

/// `POST fault`.
fn fault(body: &Value, shared: &Shared) -> Result<Answer, String> {
    let done = if body["clear"] == true {
        let name = body["fault"].as_str();
        json!({ "cleared": shared.change(|core, now| core.clear_faults(name, now)) })
    } else {
        let spec = Spec::parse(body)?;
        json!({ "number": shared.change(|core, now| core.begin_fault(spec, now))? })
    };
    Ok(Answer::plain(&done))
}

/// `GET bars`.
pub(super) fn bars(query: &Query, shared: &Shared) -> Answer {
    match shared.with(|core, now| core.bars_view(query, now)) {
        Ok(found) => Answer::plain(&found),
        Err(what) => wrong(400, what),
    }
}

fn control(path: &str, body: &Value, shared: &Shared) -> Result<Answer, &'static str> {
    let done = match path {
        "token_life" => {
            let seconds = body["seconds"].as_u64().filter(|&s| s > 0 && s <= 366 * 86_400);
            let seconds = seconds.ok_or("seconds must be a whole number above 0")?;
            shared.change(|core, _| core.set_token_life(seconds));
            json!({ "seconds": seconds })
        }
        "access_token" => {
            let token = body["token"].as_str().ok_or("token must be a text")?;
            shared.with(|core, _| core.set_access_token(token));
            json!({ "required": !token.is_empty() })
        }
        "expire" => {
            let (account, product) = whose(body, shared)?;
            let sockets = SocketEnd::parse(body["sockets"].as_str().unwrap_or("close"));
            let sockets = sockets.ok_or("sockets must be close, logout or silent")?;
            json!({ "expired": shared.change(|core, _| core.expire(account, product, sockets)) })
        }
        "fill" => {
            let (account, _) = whose(body, shared)?;
            json!({ "filled": shared.with(|core, now| core.fill(account, now)) })
        }
        "drop" => {
            let (account, product) = whose(body, shared)?;
            let clean = body["clean"].as_bool().unwrap_or(false);
            json!({ "dropped": shared.with(|core, _| core.drop_sockets(account, product, clean)) })
        }
        "restart" => {
            let down = body["down_ms"].as_u64().filter(|&ms| ms <= 3_600_000);
            let down = down.ok_or("down_ms must be from 0 to 3600000")?;
            let forget = body["forget"].as_bool().unwrap_or(false);
            let manner = match body["manner"].as_str() {
                None => None,
                Some("html") => Some(Away::BadGateway),
                Some("close") => Some(Away::HangUp),
                Some(_) => return Err("manner must be html or close"),
            };
            shared.change(|core, now| core.restart(Duration::from_millis(down), forget, manner, now));
            json!({ "down_ms": down, "forget": forget })
        }
        "login_faults" if body["clear"] == true => {
            shared.with(|core, _| core.clear_login_faults());
            json!({ "waiting": 0 })
        }
        "login_faults" => {
            let (account, product) = whose(body, shared)?;
            let fault = LoginFault::parse(body, account, product)?;
            json!({ "waiting": shared.with(|core, _| core.add_login_fault(fault)) })
        }
        "order_faults" if body["clear"] == true => {
            shared.with(|core, _| core.clear_order_faults());
            json!({ "waiting": 0 })
        }
        "order_faults" => {
            let (account, _) = whose(body, shared)?;
            let fault = OrderFault::parse(body, account)?;
            json!({ "waiting": shared.with(|core, _| core.add_order_fault(fault)) })
        }
        _ => {
            let on = body["on"].as_bool().ok_or("on must be true or false")?;
            shared.with(|core, _| core.mute(on));
            json!({ "muted": on })
        }
    };
    Ok(Answer::plain(&done))
}

/// Whom a control is for: account and product; `None` means all accounts, or both products.
fn whose(body: &Value, shared: &Shared) -> Result<(Option<usize>, Option<Product>), &'static str> {
    let account = match &body["account"] {
        Value::Null => None,
        user => {
            let user = user.as_str().unwrap_or_default();
            let found = shared.with(|core, _| core.account_of_user(user));
            Some(found.ok_or("account must be a user of /__sim/state")?)
        }
    };
    let product = match &body["product"] {
        Value::Null => None,
        text => {
            let found = Product::parse(text.as_str().unwrap_or_default());
            Some(found.ok_or("product must be market or interactive")?)
        }
    };
    Ok((account, product))
}

fn wrong(status: u16, what: &str) -> Answer {
    Answer::json(status, json!({ "error": what }).to_string())
}
