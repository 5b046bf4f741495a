//! `/v1/admin/…`: keys, refresh, reconnect. Every request needs a key with the scope `admin`.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::answer::{self, Body, Failure};
use super::{Shared, guard};
use crate::gateway::auth::{self, KeyInfo, Scope, Scopes};
use crate::gateway::control::{Product, Refused};

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

/// What `POST /v1/admin/refresh` and `…/reconnect` take. An empty body is an empty object.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    account: Option<String>,
    product: Option<String>,
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

/// Renews a token by a login: the market-data token unless the body names the other product.
pub(super) async fn refresh(
    request: HttpRequest,
    shared: web::Data<Shared>,
    body: Body,
) -> Result<HttpResponse, Failure> {
    let by = guard::with_scope(&request, &shared, Scope::Admin)?;
    let target: Target = parse(&answer::whole(body)?)?;
    let name = target.product.as_deref().unwrap_or("market");
    let product =
        Product::named(name).ok_or_else(|| Failure::bad_request("product is market or interactive"))?;
    tracing::info!(product = name, by = by.name, "token refresh asked for");
    shared.control.refresh(target.account.as_deref(), product).await?;
    Ok(done())
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
    shared.control.reconnect(target.account.as_deref()).await?;
    Ok(done())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| Failure::bad_request(error.to_string()))
}

fn done() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "success"}))
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoAccount(_) => Self::not_found(refused.to_string()),
            Refused::WhichAccount(_) => Self::bad_request(refused.to_string()),
            Refused::Failed(_) => Self::new(StatusCode::BAD_GATEWAY, "FAILED", refused.to_string()),
        }
    }
}
