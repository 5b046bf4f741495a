//! The JSON of everything that goes wrong, the same at every endpoint.

use std::fmt;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::HeaderValue;
use actix_web::http::{StatusCode, header};
use actix_web::{Error, FromRequest, HttpRequest, HttpResponse, ResponseError, web};
use futures::future::LocalBoxFuture;
use serde_json::json;

use crate::telemetry::metrics::HTTP_REFUSED;

/// An error in the shape that consumers know from the feed port.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    /// The same in other words.
    pub(super) fn saying(self, message: String) -> Self {
        Self { message, ..self }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    pub(super) fn unauthorized(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status);
        if self.status == StatusCode::UNAUTHORIZED {
            answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        answer.json(json!({"status": "error", "code": self.code, "message": self.message}))
    }
}

/// Time to send a body. Who sends one more slowly holds a connection for nothing.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A request's body as the framework read it, or failed to.
#[derive(Debug)]
pub(super) struct Body(Result<web::Bytes, Failure>);

impl FromRequest for Body {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let read = tokio::time::timeout(BODY_TIMEOUT, web::Bytes::from_request(request, payload));
        Box::pin(async move {
            Ok(Self(match read.await {
                Ok(Ok(bytes)) => Ok(bytes),
                Ok(Err(failed)) => Err(unread(&failed)),
                Err(_) => {
                    metrics::counter!(HTTP_REFUSED, "reason" => "slow_body").increment(1);
                    let words = format!("the body did not come within {} s", BODY_TIMEOUT.as_secs());
                    Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "BODY_TOO_SLOW", words))
                }
            }))
        })
    }
}

/// The body, if it could be read.
pub(super) fn whole(body: Body) -> Result<web::Bytes, Failure> {
    body.0
}

fn unread(failed: &Error) -> Failure {
    match failed.as_response_error().status_code() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => {
            metrics::counter!(HTTP_REFUSED, "reason" => "big_body").increment(1);
            Failure::new(status, "BODY_TOO_BIG", failed.to_string())
        }
        _ => Failure::bad_request(failed.to_string()),
    }
}

/// For paths that do not exist.
pub(super) async fn not_found(request: HttpRequest) -> Result<HttpResponse, Failure> {
    Err(Failure::not_found(format!("there is no {}", request.path())))
}

/// For paths that exist, asked with another method than those of `allowed`.
pub(super) fn wrong_method(request: &HttpRequest, allowed: &'static str) -> HttpResponse {
    let message = format!("{} takes {allowed}, not {}", request.path(), request.method());
    let failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message);
    let mut answer = failure.error_response();
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}
