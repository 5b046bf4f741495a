//! Who may ask what: host and origin of every request, keys where they are needed.

use std::sync::Arc;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Version;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, ResponseError as _, web};

use super::Shared;
use super::answer::Failure;
use super::seats::Seat;
use crate::gateway::auth::{KeyInfo, Scope};
use crate::gateway::origin::{Refusal, is_loopback_host};
use crate::telemetry::metrics::HTTP_REFUSED;

/// Sent with every answer: nothing here may be framed, guessed at or cached.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Refuses requests of other hosts' pages, and adds the headers that protect ours.
pub(super) async fn guard<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let shared = request.app_data::<web::Data<Shared>>().cloned();
    let _serving = request.conn_data::<Seat>().map(Seat::serve);
    let checked = shared.map_or(Err(Refusal::NoHost), |shared| {
        let host = single(request.headers(), &header::HOST).map_err(|()| Refusal::NoHost)?;
        // HTTP/2 has no such header, but says it in the request itself.
        let authority = request.uri().authority().filter(|_| request.version() == Version::HTTP_2);
        let host = host.or(authority.map(Authority::as_str));
        let origin = single(request.headers(), &header::ORIGIN).map_err(|()| Refusal::Origin)?;
        shared.rules.check(host, origin)
    });
    let mut answer = match checked {
        Ok(()) => next.call(request).await?.map_into_left_body(),
        Err(refusal) => {
            tracing::debug!(path = request.path(), %refusal, "HTTP request refused");
            refused(refusal.label());
            let failure = Failure::forbidden(refusal.to_string());
            request.into_response(failure.error_response()).map_into_right_body()
        }
    };
    for (name, value) in HEADERS {
        if !answer.headers().contains_key(&name) {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    Ok(answer)
}

/// A header that may stand once at most.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// The key of a request, if it has `scope`.
///
/// # Errors
/// 401 without a good key, 403 without the scope.
pub(super) fn with_scope(
    request: &HttpRequest,
    shared: &Shared,
    scope: Scope,
) -> Result<Arc<KeyInfo>, Failure> {
    let key = with_key(request, shared).inspect_err(|_| refused("key"))?;
    if key.scopes.has(scope) {
        Ok(key)
    } else {
        refused("scope");
        Err(Failure::forbidden(format!("the key {} lacks the scope {scope}", key.name)))
    }
}

fn refused(reason: &'static str) {
    metrics::counter!(HTTP_REFUSED, "reason" => reason).increment(1);
}

/// The key of a request.
fn with_key(request: &HttpRequest, shared: &Shared) -> Result<Arc<KeyInfo>, Failure> {
    let Ok(Some(header)) = single(request.headers(), &header::AUTHORIZATION) else {
        return Err(Failure::unauthorized("an API key is needed, as header Authorization: Bearer KEY"));
    };
    let key = match header.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
        _ => return Err(Failure::unauthorized("the header must be Authorization: Bearer KEY")),
    };
    shared.keys.verify(key).ok_or_else(|| Failure::unauthorized("invalid API key"))
}

/// Passes requests of this machine, and others with any key.
///
/// # Errors
/// 401.
pub(super) fn local_or_key(request: &HttpRequest, shared: &Shared) -> Result<(), Failure> {
    if is_local(request) {
        Ok(())
    } else {
        with_key(request, shared).map(drop).inspect_err(|_| refused("key"))
    }
}

/// Whether a request comes straight from this machine. A reverse proxy on it would make all the world look
/// local; it is told by the headers that proxies add, and by the public host name that they keep.
fn is_local(request: &HttpRequest) -> bool {
    let peer = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    let headers = request.headers();
    let host = single(headers, &header::HOST).ok().flatten().is_some_and(is_loopback_host);
    let forwarded =
        ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name));
    peer && host && !forwarded
}
