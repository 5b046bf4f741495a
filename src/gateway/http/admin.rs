//! `/v1/admin/…`: keys, tokens, feed, audit trail. Every request needs a key with the scope `admin`, and what it
//! changes is written down with that key's name.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use futures::future::join_all;
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::answer::{self, Body, Failure};
use super::{Shared, guard};
use crate::clock::UnixNanos;
use crate::gateway::auth::{self, KeyInfo, Scope, Scopes};
use crate::gateway::control::{Product, Refused};
use crate::store::audit::Entry;

/// Entries of the audit trail in one answer, unless asked otherwise, and at most.
const AUDIT_ENTRIES: usize = 100;
const MAX_AUDIT_ENTRIES: usize = 10_000;

/// What `POST /v1/admin/keys` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    name: String,
    /// A list of names, or one text with commas; absent: feed and account.
    #[serde(default, deserialize_with = "scopes")]
    scopes: Option<Scopes>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ScopeNames {
    List(Vec<String>),
    Text(String),
}

fn scopes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Scopes>, D::Error> {
    let text = match Option::<ScopeNames>::deserialize(deserializer)? {
        None => return Ok(None),
        Some(ScopeNames::List(names)) => names.join(","),
        Some(ScopeNames::Text(text)) => text,
    };
    text.parse().map(Some).map_err(de::Error::custom)
}

/// What `POST /v1/admin/refresh`, `…/revoke` and `…/reconnect` take. An empty body is an empty object.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    account: Option<String>,
    /// `market`, `interactive` or `all`.
    product: Option<String>,
}

impl Target {
    fn products(&self, default: Option<Product>) -> Result<Vec<Product>, Failure> {
        let found = match self.product.as_deref() {
            None => default.map(|product| vec![product]),
            Some("all") => Some(Product::ALL.to_vec()),
            Some(name) => Product::named(name).map(|product| vec![product]),
        };
        found.ok_or_else(|| Failure::bad_request("product is market, interactive or all"))
    }
}

/// What `POST /v1/admin/rotate` takes.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    /// The key that the asker expects to be encrypted under, if it is one that was given to the server.
    key_id: Option<String>,
}

/// What `GET /v1/admin/audit` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    last: Option<usize>,
}

/// All keys, without their texts.
pub(super) async fn list_keys(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Failure> {
    guard::with_scope(&request, &shared, Scope::Admin)?;
    let keys: Vec<_> = shared.keys.list().iter().map(|key| shown(key)).collect();
    Ok(HttpResponse::Ok().json(json!({"keys": keys})))
}

fn shown(key: &KeyInfo) -> Value {
    let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
    json!({"name": key.name, "scopes": scopes, "created_at": key.created_at.in_india()})
}

/// Makes a key; its text is in this answer and nowhere else.
pub(super) async fn create_key(
    request: HttpRequest,
    shared: web::Data<Shared>,
    body: Body,
) -> Result<HttpResponse, Failure> {
    let by = guard::with_scope(&request, &shared, Scope::Admin)?;
    let wanted: NewKey = parse(&answer::whole(body)?)?;
    let scopes = wanted.scopes.unwrap_or(Scopes::DEFAULT);
    let key = shared.keys.create(&wanted.name, scopes).await?;
    tracing::info!(name = wanted.name, %scopes, by = by.name, "consumer key created");
    write_down(&shared, &by, "key_created", format!("{} for {scopes}", wanted.name)).await;
    let scopes: Vec<_> = scopes.iter().map(Scope::as_str).collect();
    Ok(HttpResponse::Created().json(json!({"name": wanted.name, "scopes": scopes, "key": key.expose()})))
}

/// Ends a key and the connections that use it.
pub(super) async fn revoke_key(
    request: HttpRequest,
    shared: web::Data<Shared>,
    name: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let by = guard::with_scope(&request, &shared, Scope::Admin)?;
    shared.keys.revoke(&name).await?;
    tracing::info!(name = name.as_str(), by = by.name, "consumer key revoked");
    write_down(&shared, &by, "key_revoked", name.to_string()).await;
    Ok(HttpResponse::Ok().json(json!({"name": name.as_str(), "revoked": true})))
}

impl From<auth::Error> for Failure {
    fn from(error: auth::Error) -> Self {
        let (status, code) = match error {
            auth::Error::BadName | auth::Error::UnknownScope(_) | auth::Error::NoScope => {
                (StatusCode::BAD_REQUEST, "BAD_REQUEST")
            }
            auth::Error::Exists(_) | auth::Error::TooMany => (StatusCode::CONFLICT, "CONFLICT"),
            auth::Error::NotFound(_) => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            auth::Error::Random | auth::Error::Store(_) => {
                tracing::error!(%error, "consumer keys failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR")
            }
        };
        Self::new(status, code, error.to_string())
    }
}

/// Renews tokens by a login: the market-data token unless the body names another product.
pub(super) async fn refresh(
    request: HttpRequest,
    shared: web::Data<Shared>,
    body: Body,
) -> Result<HttpResponse, Failure> {
    let key = guard::with_scope(&request, &shared, Scope::Admin)?;
    let target: Target = parse(&answer::whole(body)?)?;
    let by = operator(&key);
    let asked = target.products(Some(Product::Market))?.into_iter().map(|product| {
        tracing::info!(product = product.as_str(), by, "token refresh asked for");
        let done = shared.control.refresh(target.account.as_deref(), product, &by);
        async move { (product, done.await.map(|()| "refreshed")) }
    });
    told(join_all(asked).await)
}

/// Ends sessions at the broker and forgets their tokens. The product must be named.
pub(super) async fn revoke(
    request: HttpRequest,
    shared: web::Data<Shared>,
    body: Body,
) -> Result<HttpResponse, Failure> {
    let key = guard::with_scope(&request, &shared, Scope::Admin)?;
    let target: Target = parse(&answer::whole(body)?)?;
    let by = operator(&key);
    let asked = target.products(None)?.into_iter().map(|product| {
        tracing::info!(product = product.as_str(), by, "token revocation asked for");
        let done = shared.control.revoke(target.account.as_deref(), product, &by);
        async move { (product, done.await.map(|found| if found { "revoked" } else { "missing" })) }
    });
    told(join_all(asked).await)
}

/// What became of each product. A product that is not configured fails the request only if no other was asked for.
fn told(outcomes: Vec<(Product, Result<&'static str, Refused>)>) -> Result<HttpResponse, Failure> {
    let one = outcomes.len() == 1;
    let idle = outcomes.iter().all(|(_, outcome)| matches!(outcome, Err(Refused::NotConfigured(_))));
    let mut products = serde_json::Map::new();
    let mut refused = None;
    for (product, outcome) in outcomes {
        let word = match outcome {
            Ok(word) => word.to_owned(),
            Err(Refused::NotConfigured(_)) if !idle => "not_configured".to_owned(),
            Err(why) => {
                let text = why.to_string();
                refused = Some(refused.unwrap_or(why));
                text
            }
        };
        products.insert(product.as_str().to_owned(), word.into());
    }
    match refused {
        None => Ok(HttpResponse::Ok().json(json!({"status": "success", "products": products}))),
        Some(why) if one || matches!(why, Refused::NoAccount(_)) => Err(why.into()),
        Some(why) => {
            let each: Vec<_> = products
                .iter()
                .map(|(name, word)| format!("{name}: {}", word.as_str().unwrap_or_default()))
                .collect();
            Err(Failure::from(why).saying(each.join("; ")))
        }
    }
}

/// Encrypts everything stored under another key.
pub(super) async fn rotate(
    request: HttpRequest,
    shared: web::Data<Shared>,
    body: Body,
) -> Result<HttpResponse, Failure> {
    let by = guard::with_scope(&request, &shared, Scope::Admin)?;
    let wanted: Rotate = parse(&answer::whole(body)?)?;
    tracing::info!(by = by.name, "rotation of the Fernet key asked for");
    let outcome = shared.control.rotate(wanted.key_id.as_deref()).await;
    let words = match &outcome {
        Ok(done) => format!("{} records under the new key, {} unreadable", done.records, done.unreadable),
        Err(why) => format!("failed: {why}"),
    };
    write_down(&shared, &by, "rotated", words).await;
    let done = outcome?;
    Ok(HttpResponse::Ok().json(json!({
        "status": "success",
        "key": if done.given { "given" } else { "file" },
        "records": done.records,
        "unreadable": done.unreadable,
        "unreadable_aside": done.unreadable_aside,
        "superseded": done.superseded,
    })))
}

/// The latest entries of the audit trail, oldest first.
pub(super) async fn audit(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Failure> {
    guard::with_scope(&request, &shared, Scope::Admin)?;
    let page = web::Query::<Page>::from_query(request.query_string())
        .map_err(|error| Failure::bad_request(error.to_string()))?;
    let last = page.last.unwrap_or(AUDIT_ENTRIES).min(MAX_AUDIT_ENTRIES);
    let entries = shared.audit.last(last).map_err(|error| {
        tracing::error!(%error, "the audit trail cannot be read");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", error.to_string())
    })?;
    let entries: Vec<_> = entries
        .iter()
        .map(|entry| {
            json!({
                "at": UnixNanos::from_millis(entry.at_ms).in_india(), "at_ms": entry.at_ms,
                "event": entry.event, "account": entry.account, "product": entry.product,
                "who": entry.who, "why": entry.why, "outcome": entry.outcome,
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({"entries": entries})))
}

/// How the holder of a key is called where acts are written down.
fn operator(key: &KeyInfo) -> String {
    format!("operator {}", key.name)
}

async fn write_down(shared: &Shared, by: &KeyInfo, event: &str, outcome: String) {
    let why = "asked over HTTP".to_owned();
    let entry = Entry { who: operator(by), why, outcome, ..Entry::new(shared.clock.now(), event) };
    shared.audit.record(&entry).await;
}

/// Closes the live feed and opens it anew.
pub(super) async fn reconnect(
    request: HttpRequest,
    shared: web::Data<Shared>,
    body: Body,
) -> Result<HttpResponse, Failure> {
    let by = guard::with_scope(&request, &shared, Scope::Admin)?;
    let target: Target = parse(&answer::whole(body)?)?;
    if target.product.is_some() {
        return Err(Failure::bad_request("a reconnect concerns no product"));
    }
    tracing::info!(by = by.name, "feed reconnect asked for");
    let outcome = shared.control.reconnect(target.account.as_deref()).await;
    let words = outcome.as_ref().map_or_else(|why| format!("failed: {why}"), |()| "done".to_owned());
    write_down(&shared, &by, "reconnect", words).await;
    outcome?;
    Ok(HttpResponse::Ok().json(json!({"status": "success"})))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| Failure::bad_request(error.to_string()))
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoAccount(_) => Self::not_found(refused.to_string()),
            Refused::WhichAccount(_) => Self::bad_request(refused.to_string()),
            Refused::NotConfigured(_) => {
                Self::new(StatusCode::CONFLICT, "NOT_CONFIGURED", refused.to_string())
            }
            Refused::Conflict(_) => Self::new(StatusCode::CONFLICT, "CONFLICT", refused.to_string()),
            Refused::Failed(_) => Self::new(StatusCode::BAD_GATEWAY, "FAILED", refused.to_string()),
        }
    }
}
