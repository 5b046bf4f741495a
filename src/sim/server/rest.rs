//! HTTP requests to the core's questions: paths, bodies in both encodings, headers.

use std::sync::Arc;

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use futures::StreamExt as _;
use serde_json::Value;

use super::{Shared, away, control, socket};
use crate::sim::answers::Answer;
use crate::sim::core::{
    Away, Core, INTERACTIVE_CLUSTER, LOOKUP_CLUSTER, Manner, OrderCall, Query, RestAnswer,
};
use crate::sim::sessions::Product;

/// Bodies are a list of some instruments at most.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// What live servers answer for a path they do not know (seen in logs of the official Node SDK).
const NOT_FOUND: &str = "<!DOCTYPE html>\n<html><head><title>404</title></head><body><h1>Unable to connect provided url</h1><h2>404</h2></body></html>\n";

/// A request, without its body's encoding.
struct Request<'a> {
    method: &'a Method,
    /// Below the product's prefix.
    path: &'a str,
    query: Query,
    authorization: Option<&'a str>,
    body: Value,
    is_binary: bool,
}

/// Everything that comes in.
pub(super) async fn dispatch(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
) -> HttpResponse {
    let path = request.path().trim_end_matches('/').to_owned();
    let shared = shared.into_inner();
    if !path.starts_with("/__sim/")
        && let Some(away) = shared.with(Core::turn_away)
    {
        return away::end(&request, away);
    }
    if !path.starts_with("/__sim/")
        && let Some((late, answer)) = shared.with(|core, now| core.meet_request(&path, now))
    {
        tokio::time::sleep(late).await;
        match answer {
            None => {}
            Some(RestAnswer::HangUp) => return away::end(&request, Away::HangUp),
            Some(RestAnswer::Html { status }) => return refuse(Answer::unavailable(status)),
            Some(RestAnswer::RateLimited { retry_after_s }) => {
                return refuse(Answer { retry_after_s, ..Answer::rate_limited() });
            }
        }
    }
    let Some((first, rest)) = path.trim_start_matches('/').split_once('/') else {
        let is_lookup = path.eq_ignore_ascii_case("/hostlookup") && request.method() == Method::POST;
        let answer = if is_lookup {
            let body = read_body(&request, payload).await;
            let host = request.connection_info().host().to_owned();
            shared.with(|core, now| core.hostlookup(&body, &host, now))
        } else {
            None
        };
        return respond(answer);
    };
    let market = match first {
        "apimarketdata" => Some(false),
        "apibinarymarketdata" => Some(true),
        _ => None,
    };
    // Servers with hostlookup number their interactive clusters; the connection string ends in
    // `hostlookup`, for the login itself.
    let is_interactive = if shared.settings.hostlookup {
        let is_login = rest == "user/session" && request.method() == Method::POST;
        first == INTERACTIVE_CLUSTER || (first == LOOKUP_CLUSTER && is_login)
    } else {
        first == "interactive"
    };
    if market.is_none() && !is_interactive && first != "__sim" {
        return respond(None);
    }
    if rest == "socket.io" && first != "__sim" {
        let product = if market.is_some() { Product::Market } else { Product::Interactive };
        return socket::open(&request, payload, shared, product, market == Some(true)).await;
    }
    let _flight = match (first, market) {
        ("__sim", _) => None,
        (_, Some(_)) => Some(Flight::start(&shared, Product::Market)),
        (_, None) => Some(Flight::start(&shared, Product::Interactive)),
    };
    let body = read_body(&request, payload).await;
    let query = web::Query::<Query>::from_query(request.query_string());
    let asked = Request {
        method: request.method(),
        path: rest,
        query: query.map(web::Query::into_inner).unwrap_or_default(),
        authorization: request.headers().get(header::AUTHORIZATION).and_then(|h| h.to_str().ok()),
        body,
        is_binary: market == Some(true),
    };
    if first == "__sim" {
        if asked.method == Method::GET && rest == "bars" {
            return respond(Some(control::bars(&asked.query, &shared)));
        }
        let is_foreign = request.headers().contains_key(header::ORIGIN);
        return respond(control::answer(asked.method, rest, &asked.body, is_foreign, &shared));
    }
    let product = if market.is_some() { Product::Market } else { Product::Interactive };
    let login = match product {
        Product::Market => "auth/login",
        Product::Interactive => "user/session",
    };
    if asked.method == Method::POST && rest == login {
        return log_in(&request, product, &asked.body, &shared).await;
    }
    if product == Product::Interactive
        && let Some(call) = OrderCall::of(asked.method.as_str(), rest)
    {
        return order(&request, &asked, call, &shared).await;
    }
    let answer = match product {
        Product::Market => market_data(&asked, &shared),
        Product::Interactive => interactive(&asked, &shared),
    };
    respond(answer)
}

/// A request that is being answered; it ends also if its client goes away.
struct Flight {
    shared: Arc<Shared>,
    product: Product,
}

impl Flight {
    fn start(shared: &Arc<Shared>, product: Product) -> Self {
        shared.with(|core, _| core.request_starts(product));
        Self { shared: Arc::clone(shared), product }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.with(|core, _| core.request_ends(self.product));
    }
}

/// A login takes as long as the core says, and takes effect even if nobody waits for its answer
/// any more: this server, as others, finishes what it has begun.
async fn log_in(request: &HttpRequest, product: Product, body: &Value, shared: &Shared) -> HttpResponse {
    let arrival = shared.with(|core, now| core.login_arrives(product, body, now));
    if !arrival.delay.is_zero() {
        tokio::time::sleep(arrival.delay).await;
    }
    let away = shared.with(Core::turn_away);
    let answer = shared.change(|core, now| core.login_answers(arrival, body, now));
    match away {
        Some(away) => away::end(request, away),
        None => respond(Some(answer)),
    }
}

/// A call about orders takes effect when it arrives; its answer may be late, or never come.
async fn order(request: &HttpRequest, asked: &Request<'_>, call: OrderCall, shared: &Shared) -> HttpResponse {
    let product = Product::Interactive;
    let (answer, manner) =
        shared.change(|core, now| match core.authorize(product, asked.authorization, call.as_str(), now) {
            Ok(account) => core.order_call(account, call, &asked.body, &asked.query, now),
            Err(answer) => (answer, Manner::Now),
        });
    match manner {
        Manner::Now => respond(Some(answer)),
        Manner::Late(after) => {
            tokio::time::sleep(after).await;
            respond(Some(answer))
        }
        Manner::Never(after) => {
            tokio::time::sleep(after).await;
            away::end(request, Away::HangUp)
        }
    }
}

fn market_data(asked: &Request<'_>, shared: &Shared) -> Option<Answer> {
    let product = Product::Market;
    let body = &asked.body;
    Some(match (asked.method, asked.path) {
        // Both work without a token on live servers.
        (&Method::GET, "instruments/indexlist") => {
            shared.with(|core, now| core.note_token(product, asked.authorization, "indexlist", now));
            Core::index_list(asked.query.get("exchangeSegment").map_or("", String::as_str))
        }
        (&Method::POST, "instruments/master") => shared.with(|core, now| {
            core.note_token(product, asked.authorization, "master", now);
            core.master(body)
        }),
        (&Method::DELETE, "auth/logout") => {
            authorized(asked, shared, product, "logout", |core, account| core.logout(account, product))
        }
        (&Method::GET, "config/clientConfig") => {
            authorized(asked, shared, product, "config", |_, _| Answer::client_config())
        }
        (&Method::POST, "instruments/subscription") => {
            authorized(asked, shared, product, "subscribe", |core, account| {
                core.subscribe(account, body, asked.is_binary)
            })
        }
        (&Method::PUT, "instruments/subscription") => {
            authorized(asked, shared, product, "unsubscribe", |core, account| core.unsubscribe(account, body))
        }
        (&Method::POST, "instruments/quotes") => {
            authorized(asked, shared, product, "quotes", |core, _| core.quotes(body))
        }
        (&Method::GET, "instruments/ohlc") => {
            let now = shared.clock.now();
            authorized(asked, shared, product, "ohlc", |core, _| core.ohlc(&asked.query, now))
        }
        (&Method::GET, "search/instruments") => {
            authorized(asked, shared, product, "search", |core, _| core.search(&asked.query))
        }
        (&Method::POST, "search/instrumentsbyid") => {
            authorized(asked, shared, product, "search", |core, _| core.search_by_id(body))
        }
        (&Method::GET, path) => {
            let what = path.strip_prefix("instruments/instrument/")?;
            if shared.with(|core, _| core.look_up(what, &asked.query).is_none()) {
                return None;
            }
            authorized(asked, shared, product, "instrument", |core, _| {
                core.look_up(what, &asked.query).unwrap_or_else(Answer::unknown_instrument)
            })
        }
        _ => return None,
    })
}

fn interactive(asked: &Request<'_>, shared: &Shared) -> Option<Answer> {
    let product = Product::Interactive;
    Some(match (asked.method, asked.path) {
        (&Method::DELETE, "user/session") => {
            authorized(asked, shared, product, "logout", |core, account| core.logout(account, product))
        }
        (&Method::GET, path) => return interactive_get(path, asked, shared),
        _ => return None,
    })
}

fn interactive_get(path: &str, asked: &Request<'_>, shared: &Shared) -> Option<Answer> {
    let call = Core::interactive_call(path)?;
    let now = shared.clock.now();
    let ask = |core: &mut Core, account| core.interactive_get(account, path, &asked.query, now);
    Some(authorized(asked, shared, Product::Interactive, call, ask))
}

fn authorized(
    asked: &Request<'_>,
    shared: &Shared,
    product: Product,
    call: &'static str,
    ask: impl FnOnce(&mut Core, usize) -> Answer,
) -> Answer {
    shared.change(|core, now| match core.authorize(product, asked.authorization, call, now) {
        Ok(account) => ask(core, account),
        Err(answer) => answer,
    })
}

fn respond(answer: Option<Answer>) -> HttpResponse {
    match answer {
        Some(answer) => {
            let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let content_type = if answer.is_html { "text/html" } else { "application/json; charset=utf-8" };
            let mut response = HttpResponse::build(status);
            if let Some(seconds) = answer.retry_after_s {
                response.insert_header((header::RETRY_AFTER, seconds));
            }
            response.content_type(content_type).body(answer.body)
        }
        None => HttpResponse::NotFound().content_type("text/html; charset=utf-8").body(NOT_FOUND),
    }
}

pub(super) fn refuse(answer: Answer) -> HttpResponse {
    respond(Some(answer))
}

/// A body as JSON, `Null` if there is none that can be read. Official SDKs send forms or JSON;
/// in a form, lists are JSON texts.
async fn read_body(request: &HttpRequest, mut payload: web::Payload) -> Value {
    let mut bytes = Vec::new();
    while let Some(Ok(chunk)) = payload.next().await {
        if bytes.len() + chunk.len() > MAX_BODY_BYTES {
            return Value::Null;
        }
        bytes.extend_from_slice(&chunk);
    }
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|h| h.to_str().ok());
    let is_form = content_type.is_some_and(|t| t.to_ascii_lowercase().contains("x-www-form-urlencoded"));
    parse_body(&bytes, is_form)
}

fn parse_body(bytes: &[u8], is_form: bool) -> Value {
    if !is_form {
        return serde_json::from_slice(bytes).unwrap_or_default();
    }
    let Some(fields) =
        std::str::from_utf8(bytes).ok().and_then(|t| web::Query::<Vec<(String, String)>>::from_query(t).ok())
    else {
        return Value::Null;
    };
    let fields = fields.into_inner().into_iter().map(|(key, text)| {
        let is_list = text.starts_with('[');
        let value = if is_list { serde_json::from_str(&text).ok() } else { None };
        (key, value.unwrap_or(Value::String(text)))
    });
    Value::Object(fields.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_are_read_in_both_encodings() {
        let expected = json!({"appKey": "a1", "secretKey": "Abcd123$x y&=+"});
        assert_eq!(parse_body(br#"{"appKey":"a1","secretKey":"Abcd123$x y&=+"}"#, false), expected);
        assert_eq!(parse_body(b"appKey=a1&secretKey=Abcd123%24x+y%26%3D%2B", true), expected);
        assert_eq!(
            parse_body(b"instruments=%5B%7B%22exchangeSegment%22%3A1%7D%5D&xtsMessageCode=1501", true),
            json!({"instruments": [{"exchangeSegment": 1}], "xtsMessageCode": "1501"})
        );
        assert_eq!(parse_body(b"", false), Value::Null);
        assert_eq!(parse_body(b"\xff", true), Value::Null);
    }
}
