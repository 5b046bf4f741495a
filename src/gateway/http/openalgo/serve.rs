//! HTTP for the endpoints: bodies, keys, scopes, rates, and the answers' form. Not what any endpoint does.
//!
//! Clients take every status but 200 for an error, and show its body as it is.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::http::header::RETRY_AFTER;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

use super::super::Shared;
use super::super::answer::{Body, whole, wrong_method};
use super::asked::{Asked, Endpoint, Failed, Reply};
use super::limits::Class;
use super::{data, endpoints};
use crate::gateway::auth::{KeyInfo, Scope};
use crate::telemetry::metrics as names;

/// Longest key that is looked at.
const MAX_KEY: usize = 256;

/// Whatever is asked below `/api/v1/`, but for what takes `GET`.
pub(in super::super) async fn post(
    request: HttpRequest,
    path: web::Path<String>,
    body: Body,
    shared: web::Data<Shared>,
) -> HttpResponse {
    let path = path.into_inner();
    let Some(endpoint) = endpoints().find(|endpoint| endpoint.path == path) else {
        return unknown(&request);
    };
    if request.method() != Method::POST {
        return wrong_method(&request, "POST");
    }
    let reply = match admitted(&request, &endpoint, body, &shared) {
        Ok(asked) => (endpoint.run)(asked).await,
        Err(failed) => failed.reply(),
    };
    respond(endpoint.path, reply)
}

/// For what is not offered, in the form that clients show.
pub(in super::super) fn unknown(request: &HttpRequest) -> HttpResponse {
    let message = format!("there is no {} {} here", request.method(), request.path());
    respond("unknown", Failed::new(404, message).reply())
}

/// `GET /api/v1/instruments`.
pub(in super::super) async fn instruments(request: HttpRequest, shared: web::Data<Shared>) -> HttpResponse {
    let answered = match asked_by_query(&request, "instruments", &shared) {
        Ok(asked) => data::instruments(&asked).await,
        Err(failed) => Err(failed),
    };
    page("instruments", answered)
}

/// `GET /api/v1/ticker/EXCHANGE:SYMBOL`.
pub(in super::super) async fn ticker(
    request: HttpRequest,
    name: web::Path<String>,
    shared: web::Data<Shared>,
) -> HttpResponse {
    let answered = match asked_by_query(&request, "ticker", &shared) {
        Ok(asked) => data::ticker(&asked, &name).await,
        Err(failed) => Err(failed),
    };
    page("ticker", answered)
}

/// An answer that is not always JSON.
pub(super) enum Page {
    Json(Reply),
    Text { content_type: &'static str, body: String },
}

fn page(endpoint: &'static str, answered: Result<Page, Failed>) -> HttpResponse {
    match answered {
        Ok(Page::Json(reply)) => respond(endpoint, reply),
        Ok(Page::Text { content_type, body }) => {
            count(endpoint, 200);
            HttpResponse::Ok().content_type(content_type).body(body)
        }
        Err(failed) => respond(endpoint, failed.reply()),
    }
}

fn respond(endpoint: &'static str, reply: Reply) -> HttpResponse {
    count(endpoint, reply.status);
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if let Some(seconds) = reply.retry_after {
        response.insert_header((RETRY_AFTER, seconds));
    }
    response.content_type("application/json").body(Box::<str>::from(reply.body).into_string())
}

fn count(endpoint: &'static str, status: u16) {
    let outcome = match status {
        200 => "ok",
        403 => "forbidden",
        429 => "rate_limited",
        400..=499 => "bad_request",
        _ => "failed",
    };
    metrics::counter!(names::REST_REQUESTS, "endpoint" => endpoint, "outcome" => outcome).increment(1);
}

fn admitted(
    request: &HttpRequest,
    endpoint: &Endpoint,
    body: Body,
    shared: &Shared,
) -> Result<Asked, Failed> {
    let body = whole(body).map_err(|failure| Failed::new(failure.status().as_u16(), failure.to_string()))?;
    let body = match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Object(body)) => body,
        Ok(_) => return Err(wrong_body(endpoint, "_schema", "Invalid input type.")),
        Err(error) => return Err(Failed::bad(format!("the body is no JSON object: {error}"))),
    };
    let key = match body.get("apikey") {
        Some(Value::String(key)) if !key.is_empty() && key.len() <= MAX_KEY => key.clone(),
        Some(Value::String(_)) => return Err(wrong_key(endpoint, "Length must be between 1 and 256.")),
        Some(_) => return Err(wrong_key(endpoint, "Not a valid string.")),
        None => return Err(wrong_key(endpoint, "Missing data for required field.")),
    };
    let key = checked(request, &key, endpoint.scope, endpoint.path, class_of(endpoint), shared)?;
    Ok(asked(shared, &key, body))
}

fn wrong_key(endpoint: &Endpoint, what: &str) -> Failed {
    wrong_body(endpoint, "apikey", what)
}

/// What is wrong with a body, in the form that the endpoint's other errors have: words for what concerns an
/// account, the texts by member for data.
fn wrong_body(endpoint: &Endpoint, name: &str, what: &str) -> Failed {
    if endpoint.scope == Scope::Feed {
        wrong_members(&[(name, what)])
    } else {
        Failed::bad(format!("{name}: {what}"))
    }
}

/// 400, with the members that are wrong as OpenAlgo's data endpoints name them.
pub(super) fn wrong_members(wrong: &[(&str, &str)]) -> Failed {
    let members: Map<String, Value> =
        wrong.iter().map(|(name, what)| ((*name).to_owned(), json!([what]))).collect();
    Failed::bad("").with("message", members)
}

fn asked_by_query(request: &HttpRequest, endpoint: &'static str, shared: &Shared) -> Result<Asked, Failed> {
    let query = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
        .map_err(|_| Failed::bad("the query cannot be read"))?;
    let body: Map<String, Value> =
        query.into_inner().into_iter().map(|(name, text)| (name, Value::String(text))).collect();
    let key = body.get("apikey").and_then(Value::as_str).unwrap_or_default().to_owned();
    if key.is_empty() {
        return Err(wrong_members(&[("apikey", "Missing data for required field.")]));
    }
    let key = checked(request, &key, Scope::Feed, endpoint, Class::Api, shared)?;
    Ok(asked(shared, &key, body))
}

fn asked(shared: &Shared, key: &KeyInfo, body: Map<String, Value>) -> Asked {
    Asked {
        desk: Arc::clone(&shared.desk),
        masters: shared.masters.clone(),
        turns: shared.turns.clone(),
        calendar: shared.calendar,
        clock: Arc::clone(&shared.clock),
        broker: Arc::clone(&shared.broker),
        default_account: Arc::clone(&shared.rest_account),
        key: key.name.clone(),
        body: Arc::new(body),
    }
}

/// The key, if it is one, may do this, and has not asked too often.
fn checked(
    request: &HttpRequest,
    key: &str,
    scope: Scope,
    endpoint: &'static str,
    class: Class,
    shared: &Shared,
) -> Result<Arc<KeyInfo>, Failed> {
    let Some(key) = shared.keys.verify(key) else {
        let address = request.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
        if !shared.limits.wrong_key(address) {
            return Err(too_many("too many wrong keys from this address".to_owned()));
        }
        return Err(Failed::new(403, "Invalid openalgo apikey"));
    };
    if !key.scopes.has(scope) {
        return Err(Failed::new(403, format!("This API key has no scope \"{scope}\"")));
    }
    match shared.limits.take(key.id, endpoint, class) {
        Ok(()) => Ok(key),
        Err(limit) => Err(too_many(format!("{limit} per 1 second"))),
    }
}

fn too_many(message: String) -> Failed {
    Failed::new(429, message).with("retry_after", 1)
}

fn class_of(endpoint: &Endpoint) -> Class {
    match endpoint.path {
        "placesmartorder" | "basketorder" | "splitorder" | "cancelallorder" | "closeposition" => {
            Class::SmartOrder
        }
        _ if endpoint.scope == Scope::Trade => Class::Order,
        _ => Class::Api,
    }
}
