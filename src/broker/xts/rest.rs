//! REST calls: the client and its limits, the envelope of every answer, and what an error means.
//! Not the calls themselves; those are `auth`'s, `books`' and `instruments`'.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Response};
use rustls::ClientConfig;
use serde::Deserialize;
use tokio::time::Instant;

use crate::broker::Error;
use crate::secret::Secret;
use crate::telemetry::metrics as names;
use crate::token::Product;

use super::pace::{Path, Queue};
use super::settings::Settings;
use super::wire::text::{Raw, raw_as, raw_text, unescape};

/// The longest wait that a `Retry-After` is believed for.
const MAX_RETRY_AFTER_S: u64 = 900;

/// A larger answer to an ordinary call is refused.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// A larger instrument master of one segment is refused. The largest known is 30 MB.
const MAX_DOWNLOAD: usize = 256 * 1024 * 1024;

/// Longest piece of the broker's words that is passed on.
const MAX_WORDS: usize = 300;

/// The client of one account.
#[derive(Debug)]
pub(super) struct Rest {
    client: Client,
    account: Arc<str>,
    download_timeout: Duration,
    market: Queue,
    interactive: Queue,
    /// Whether the interactive product's server could not be connected to since last asked.
    unreachable: AtomicBool,
}

/// One call.
pub(super) struct Call<'a> {
    pub(super) product: Product,
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) token: Option<&'a Secret>,
    /// JSON.
    pub(super) body: Option<String>,
    /// What the broker counts it as.
    pub(super) path: Path,
    /// Its turn must have come by then, however long others may wait.
    pub(super) send_by: Option<Instant>,
    /// Whether it is too late whatever `send_by` says, which knows nothing of a machine that slept; asked when its turn
    /// has come.
    pub(super) is_late: Option<&'a (dyn Fn() -> bool + Sync)>,
    /// Called when its turn has come, just before it is sent.
    pub(super) on_turn: Option<&'a (dyn Fn() + Sync)>,
    /// A download takes its turn to start, but does not keep other calls waiting for its end.
    pub(super) download: bool,
}

impl<'a> Call<'a> {
    /// A call of the market product.
    pub(super) const fn market(method: Method, url: String, token: Option<&'a Secret>) -> Self {
        Self::new(Product::Market, method, url, token)
    }

    /// A call of the interactive product.
    pub(super) const fn interactive(method: Method, url: String, token: Option<&'a Secret>) -> Self {
        Self::new(Product::Interactive, method, url, token)
    }

    const fn new(product: Product, method: Method, url: String, token: Option<&'a Secret>) -> Self {
        let (body, path, send_by) = (None, Path::Session, None);
        let (is_late, on_turn, download) = (None, None, false);
        Self { product, method, url, token, body, path, send_by, is_late, on_turn, download }
    }

    /// Counted as `path`; without this, as one of the session's own calls.
    pub(super) const fn on(mut self, path: Path) -> Self {
        self.path = path;
        self
    }

    /// With a JSON body.
    pub(super) fn with(self, body: &serde_json::Value) -> Self {
        self.with_text(body.to_string())
    }

    /// With a JSON body that is written already.
    pub(super) fn with_text(mut self, body: String) -> Self {
        self.body = Some(body);
        self
    }

    /// As a download.
    pub(super) const fn downloading(mut self) -> Self {
        self.download = true;
        self
    }
}

/// What a call was answered, success or not.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    retry_after: Option<Duration>,
    body: String,
}

/// What is common to all answers. Some servers send `type` as a boolean, or leave it out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    #[serde(borrow)]
    code: Raw<'a>,
    #[serde(borrow)]
    description: Raw<'a>,
    /// Express and Engine.IO put their words here.
    #[serde(borrow)]
    message: Raw<'a>,
    #[serde(borrow)]
    pub(super) result: Raw<'a>,
    /// The rate limiter of some servers wraps the envelope once more.
    #[serde(borrow)]
    data: Raw<'a>,
}

impl<'a> Envelope<'a> {
    /// Reads a body; `None` if it is no JSON object.
    pub(super) fn read(body: &'a str) -> Option<Self> {
        serde_json::from_str(body).ok()
    }

    pub(super) fn code(&self) -> String {
        clean(&raw_text(self.code).unwrap_or_default())
    }

    pub(super) fn description(&self) -> String {
        clean(&raw_text(self.description.or(self.message)).unwrap_or_default())
    }

    /// Whether this is Engine.IO's own error form, a number and a message.
    pub(super) fn is_engine_io(&self) -> bool {
        self.kind.is_none() && self.message.is_some() && raw_as::<i64>(self.code).is_some()
    }

    /// Whether it is the broker's own, and no proxy's object with a message.
    pub(super) fn is_own(&self) -> bool {
        let has_mark = |envelope: &Envelope<'_>| envelope.kind.is_some() || envelope.code.is_some();
        has_mark(self)
            || self.data.and_then(|d| Envelope::read(d.get())).is_some_and(|inner| has_mark(&inner))
    }

    /// Whether its `type` is no word that means either.
    fn has_foreign_kind(&self) -> bool {
        let known = ["success", "true", "error", "false"];
        raw_text(self.kind).is_some_and(|kind| !known.iter().any(|word| kind.eq_ignore_ascii_case(word)))
    }

    fn is_success(&self) -> bool {
        match raw_text(self.kind).as_deref() {
            Some(kind) => ["success", "true"].iter().any(|word| kind.eq_ignore_ascii_case(word)),
            None => self.result.is_some() && self.data.is_none(),
        }
    }
}

impl Rest {
    /// # Errors
    /// `NotConfigured` if the client cannot be built.
    pub(super) fn new(settings: &Settings, mut tls: ClientConfig, account: Arc<str>) -> Result<Self, Error> {
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            // An answer from another place than was asked is never wanted with a token at hand.
            .redirect(reqwest::redirect::Policy::none())
            // The socket knows no proxy, and a loopback broker must not be asked through one.
            .no_proxy()
            // What was an order is never sent twice by a library's own decision.
            .retry(reqwest::retry::never())
            .user_agent(concat!("tickgate/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout())
            .read_timeout(settings.request_timeout())
            .timeout(settings.request_timeout())
            // Idle connections die at the broker overnight.
            .pool_idle_timeout(Duration::from_secs(30))
            .build()
            .map_err(|error| Error::NotConfigured(format!("HTTP client: {}", chain(error))))?;
        Ok(Self {
            client,
            account,
            download_timeout: settings.download_timeout(),
            market: Queue::market(settings),
            interactive: Queue::interactive(settings),
            unreachable: AtomicBool::new(false),
        })
    }

    pub(super) const fn queue(&self, product: Product) -> &Queue {
        match product {
            Product::Market => &self.market,
            Product::Interactive => &self.interactive,
        }
    }

    /// Whether the interactive server could not be connected to since this was last asked.
    pub(super) fn was_unreachable(&self) -> bool {
        self.unreachable.swap(false, Ordering::Relaxed)
    }

    /// Makes a call in its turn and returns the answer, whatever it says.
    ///
    /// # Errors
    /// `NoTurn` if its turn did not come in time, `NotSent` if nobody could be connected to, `RateLimited`
    /// during a pause that the broker has asked for; `Network`, and `Malformed` for an answer
    /// that is too large: then it may have been acted on.
    ///
    /// # Cancel safety
    /// Dropping the future ends the call; the server may have acted on it.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Answer, Error> {
        let (product, path) = (call.product, call.path);
        let answered = self.call_in_turn(call).await;
        match &answered {
            Err(Error::NotSent(why) | Error::NoTurn(why)) => {
                metrics::counter!(
                    names::REQUESTS_NOT_SENT,
                    "account" => self.account.to_string(), "product" => product.to_string()
                )
                .increment(1);
                tracing::debug!(account = &*self.account, ?path, why, "request not sent");
            }
            Ok(answer) => {
                if let Some(Error::RateLimited { retry_after, .. }) = answer.success().err() {
                    self.queue(product).pause(path, retry_after);
                }
            }
            Err(_) => {}
        }
        answered
    }

    async fn call_in_turn(&self, call: Call<'_>) -> Result<Answer, Error> {
        let queue = self.queue(call.product);
        let patience = queue.deadline(call.path);
        let deadline = call.send_by.map_or(patience, |send_by| send_by.min(patience));
        let turn = queue.turn(call.path, !call.download, deadline).await?;
        if call.is_late.is_some_and(|is_late| is_late()) {
            return Err(Error::NotSent("by the clock, its time has passed".to_owned()));
        }
        if let Some(on_turn) = call.on_turn {
            on_turn();
        }
        let mut request = self.client.request(call.method, call.url);
        if let Some(token) = call.token {
            let mut value = HeaderValue::from_str(token.expose())
                .map_err(|_| Error::NotSent("the token cannot stand in a header".to_owned()))?;
            value.set_sensitive(true);
            // The bare token: no XTS server takes "Bearer".
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(body) = call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let mut limit = MAX_BODY;
        if call.download {
            request = request.timeout(self.download_timeout);
            limit = MAX_DOWNLOAD;
        }
        let sent = request.send().await;
        if call.product == Product::Interactive && sent.as_ref().is_err_and(reqwest::Error::is_connect) {
            self.unreachable.store(true, Ordering::Relaxed);
        }
        let response = sent.map_err(network)?;
        // A download has reached the broker; nobody waits for the rest of it.
        let turn = Some(turn).filter(|_| !call.download);
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|v| v.to_str().ok()?.trim().parse().ok())
            // Nobody asks for longer; a clock time or nonsense must not stop us for years.
            .map(|seconds: u64| Duration::from_secs(seconds.min(MAX_RETRY_AFTER_S)));
        let body = read_body(response, limit).await?;
        drop(turn);
        Ok(Answer { status, retry_after, body })
    }

    /// Makes a call and reads the answer of a success with `read`.
    ///
    /// # Errors
    /// As [`Rest::call`], and what the answer's error means.
    pub(super) async fn ask<T>(
        &self,
        call: Call<'_>,
        read: impl FnOnce(Raw<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let answer = self.call(call).await?;
        read(answer.success()?)
    }
}

async fn read_body(mut response: Response, limit: usize) -> Result<String, Error> {
    let announced = response.content_length().unwrap_or(0).min(limit as u64);
    let mut body = Vec::with_capacity(announced as usize);
    while let Some(chunk) = response.chunk().await.map_err(network)? {
        if body.len() + chunk.len() > limit {
            return Err(Error::Malformed(format!("more than {limit} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8(body).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

fn network(error: reqwest::Error) -> Error {
    // No connection, no request.
    let is_unsent = error.is_connect() || error.is_builder();
    let what = if error.is_timeout() { "no answer in time".to_owned() } else { chain(error) };
    if is_unsent { Error::NotSent(what) } else { Error::Network(what) }
}

/// An error's words and its causes', without the URL.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words = format!("{words}: {cause_words}");
        }
        source = cause.source();
    }
    clean(&words)
}

impl Answer {
    #[cfg(test)]
    pub(super) fn of(status: u16, body: &str) -> Self {
        Self { status, retry_after: None, body: body.to_owned() }
    }

    /// The `result` of a success.
    ///
    /// # Errors
    /// What the answer's error means.
    pub(super) fn success(&self) -> Result<Raw<'_>, Error> {
        match Envelope::read(&self.body) {
            Some(envelope) if envelope.is_success() && (200..300).contains(&self.status) => {
                Ok(envelope.result)
            }
            _ => Err(self.error()),
        }
    }

    /// The envelope, whatever it says; hostlookup is judged by its content.
    pub(super) fn envelope(&self) -> Option<Envelope<'_>> {
        Envelope::read(&self.body)
    }

    /// What this answer means, read as an error.
    pub(super) fn error(&self) -> Error {
        let Some(envelope) = self.envelope() else { return self.foreign() };
        // The wrapped form of the rate limiter.
        let inner = envelope.data.and_then(|d| Envelope::read(d.get()));
        let envelope = match inner {
            Some(inner) if inner.code.is_some() && envelope.code.is_none() => inner,
            _ => envelope,
        };
        let (code, description) = (envelope.code(), envelope.description());
        if self.status == 429 || is_rate_limit(&code, &description) {
            return Error::RateLimited { retry_after: self.retry_after, description };
        }
        if is_token_refusal(&code, &description) || (self.status == 401 && code.is_empty()) {
            return Error::InvalidToken { code, description };
        }
        if let Some(limit) = subscription_limit(&code, &description) {
            return Error::SubscriptionLimit { limit, description };
        }
        // Neither what was asked for nor the broker's own refusal: nobody knows what became of it.
        let is_contradiction = envelope.kind.is_some() && envelope.is_success() && self.status < 500;
        let is_ok = (200..300).contains(&self.status);
        if is_contradiction || (is_ok && (!envelope.is_own() || envelope.has_foreign_kind())) {
            return Error::Malformed("the answer is neither a success nor a refusal".to_owned());
        }
        if self.status >= 500 {
            return Error::Http { status: self.status, what: format!("{code} {description}") };
        }
        Error::Refused { status: self.status, code, description }
    }

    /// An answer that is no JSON object: a proxy's page, or a wrong path.
    fn foreign(&self) -> Error {
        match self.status {
            429 => Error::RateLimited { retry_after: self.retry_after, description: String::new() },
            401 => Error::InvalidToken { code: "HTTP 401".to_owned(), description: String::new() },
            200..300 => Error::Malformed("the answer is no JSON object".to_owned()),
            404 => Error::Http { status: 404, what: "no such path; is the prefix right?".to_owned() },
            status => Error::Http { status, what: "the answer is not the broker's own".to_owned() },
        }
    }
}

/// Whether an error's code or words say that the token is missing, dead or replaced.
///
/// Source: `e-session-0007` and `e-session-0001` with "Invalid Token" from live servers,
/// `e-token-0002` for a missing header.
pub(super) fn is_token_refusal(code: &str, description: &str) -> bool {
    if matches!(code, "e-session-0007" | "e-session-0001" | "e-token-0002") {
        return true;
    }
    let words = description.to_ascii_lowercase();
    ["invalid token", "token expired", "token is expired", "provide token"].iter().any(|w| words.contains(w))
}

fn is_rate_limit(code: &str, description: &str) -> bool {
    if matches!(code, "e-apirl-0004" | "RATE_LIMIT_EXCEEDED") {
        return true;
    }
    let words = description.to_ascii_lowercase();
    words.contains("rate limit") || words.contains("too many requests")
}

/// The limit named by "Exceeded Instrument Subscription Limit of 50.You have …".
#[expect(clippy::option_option, reason = "whether it is this error, and whether it names the limit")]
fn subscription_limit(code: &str, description: &str) -> Option<Option<usize>> {
    let words = description.to_ascii_lowercase();
    if code != "e-session-0004" && !words.contains("subscription limit") {
        return None;
    }
    let after = words.split_once("limit of ").map(|(_, after)| after).unwrap_or_default();
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    Some(digits.parse().ok())
}

/// Whether a refused subscription means that the broker already holds it.
pub(super) fn is_already_subscribed(code: &str, description: &str) -> bool {
    code == "e-session-0002" || description.to_ascii_lowercase().contains("already subscribed")
}

/// The code and words of an event's datum: an object, a string that holds one, or bare text.
pub(super) fn event_words(datum: &str) -> (String, String) {
    let mut text = String::new();
    let text = match unescape(datum, &mut text) {
        Some(()) => text.as_str(),
        None => datum,
    };
    match Envelope::read(text) {
        Some(envelope) => (envelope.code(), envelope.description()),
        None => (String::new(), clean(text)),
    }
}

/// The broker's words as they may be logged: short, on one line, and without anything that
/// looks like a token (a JWT begins with `eyJ`).
pub(super) fn clean(words: &str) -> String {
    let mut out = String::with_capacity(words.len().min(MAX_WORDS));
    for word in words.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        match word.find("eyJ") {
            Some(at) => {
                out.push_str(&word[..at]);
                out.push('…');
            }
            None => out.extend(word.chars().filter(|c| !c.is_control())),
        }
        if out.len() > MAX_WORDS {
            let end = (0..=MAX_WORDS).rev().find(|i| out.is_char_boundary(*i)).unwrap_or(0);
            out.truncate(end);
            out.push('…');
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &str) -> Error {
        let answer = Answer { status, retry_after: Some(Duration::from_secs(3)), body: body.to_owned() };
        answer.success().expect_err("no success")
    }

    #[test]
    fn errors_by_code_words_and_status() {
        // Bodies as reported from live servers and official samples.
        for (status, body, expected) in [
            (
                400,
                r#"{"type":"error","code":"e-session-0007","description":"Invalid Token"}"#,
                "token refused: e-session-0007 Invalid Token",
            ),
            (
                200,
                r#"{"type":"error","code":"e-x","description":"invalid token"}"#,
                "token refused: e-x invalid token",
            ),
            (
                401,
                r#"{"code":"e-token-0002","description":"Please Provide token to Authenticate"}"#,
                "token refused: e-token-0002 Please Provide token to Authenticate",
            ),
            (401, "", "token refused: HTTP 401 "),
            (429, "slow down", "rate limited: "),
            (
                200,
                r#"{"data":{"type":"error","code":"e-apirl-0004","description":"wait"}}"#,
                "rate limited: wait",
            ),
            (
                400,
                r#"{"type":"error","code":"e-session-0004","description":"Exceeded Instrument Subscription Limit of 50.You have already subscribed 50/50 and you are trying subscribe 51 Instrument."}"#,
                "subscription limit reached: Exceeded Instrument Subscription Limit of 50.You have already subscribed 50/50 and you are trying subscribe 51 Instrument.",
            ),
            (
                400,
                r#"{"type":"error","code":"e-session-0002","description":"Instrument Already Subscribed !","result":{"Remaining_Subscription_Count":3}}"#,
                "refused: e-session-0002 Instrument Already Subscribed !",
            ),
            (404, "<h1>Unable to connect provided url</h1>", "HTTP 404: no such path; is the prefix right?"),
            (502, "<html>", "HTTP 502: the answer is not the broker's own"),
            (500, r#"{"type":"error","code":"e","description":"d"}"#, "HTTP 500: e d"),
            (200, "<html>", "unreadable answer: the answer is no JSON object"),
            (500, r#"{"type":"success","result":{}}"#, "HTTP 500:  "),
        ] {
            assert_eq!(error(status, body).to_string(), expected, "{status} {body}");
        }
        let limited = error(429, "");
        assert_eq!(limited.retry_after(), Some(Duration::from_secs(3)));
        let limit = error(400, r#"{"type":"error","code":"e-session-0004","description":"Limit of 70."}"#);
        assert!(matches!(limit, Error::SubscriptionLimit { limit: Some(70), .. }));
    }

    #[test]
    fn successes_in_every_form() {
        for body in [
            r#"{"type":"success","code":"s","description":"d","result":{"a":1}}"#,
            r#"{"type":true,"result":{"a":1}}"#,
            r#"{"result":{"a":1}}"#,
        ] {
            let answer = Answer { status: 200, retry_after: None, body: body.to_owned() };
            assert_eq!(answer.success().unwrap().unwrap().get(), r#"{"a":1}"#, "{body}");
        }
    }

    #[test]
    fn words_are_cleaned() {
        assert_eq!(clean("bad  token\n eyJabc.def.ghi here"), "bad token … here");
        assert_eq!(clean("token=eyJabc"), "token=…");
        assert!(clean(&"ä".repeat(1000)).len() <= MAX_WORDS + 3);
        assert_eq!(event_words(r#"{"code":"c","description":"d"}"#), ("c".to_owned(), "d".to_owned()));
        assert_eq!(
            event_words(r#""{\"code\":\"c\",\"description\":\"d\"}""#),
            ("c".to_owned(), "d".to_owned())
        );
        assert_eq!(event_words(r#""gone""#), (String::new(), "gone".to_owned()));
    }
}
