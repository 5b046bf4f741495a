//! Finds the running server and speaks to its HTTP port.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use rustls::ClientConfig;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::app::RunFile;
use crate::client::Trust;
use crate::gateway::auth;
use crate::secret::Secret;
use crate::store;

/// The variable that holds a key to use instead of `local`.
pub(super) const KEY_VARIABLE: &str = "TICKGATE_KEY";

/// How long a server may take to answer what it has at hand.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take for what needs the broker: a login may last a minute, and be waited for.
const LONG_PATIENCE: Duration = Duration::from_mins(3);

/// An address to connect to: a server bound to all interfaces is reached on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Where the server on this data directory is, if one runs. A server that was killed leaves its file behind, and
/// somebody else may have its ports by now, to whom no key must be shown: the file counts only while the process
/// that wrote it holds the directory.
pub(super) fn running(data_dir: &Path) -> Option<RunFile> {
    let mut run = RunFile::read(data_dir).filter(|run| store::holder(data_dir) == Some(run.pid))?;
    run.feed = reachable(run.feed);
    run.http = reachable(run.http);
    Some(run)
}

/// The key given for this call by the environment.
pub(super) fn key_given() -> Option<Secret> {
    let key = Zeroizing::new(std::env::var(KEY_VARIABLE).ok()?);
    Some(Secret::new(key.trim())).filter(|key| !key.expose().is_empty())
}

/// The HTTP port of a running server.
pub(super) struct Server {
    base: String,
    key: Option<Secret>,
    /// Where the key comes from, or why there is none: for the message of a refusal.
    about_key: String,
    client: reqwest::Client,
}

impl Server {
    /// The server on this data directory, if one answers.
    pub(super) async fn find(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let Some(run) = running(data_dir) else { return Ok(None) };
        let mut client = reqwest::Client::builder();
        if let Some(certificate) = &run.certificate {
            let tls = Trust::Exactly(certificate.clone()).config()?;
            client = client.tls_backend_preconfigured(ClientConfig::clone(&tls));
        }
        let client = client
            .timeout(PATIENCE)
            .connect_timeout(Duration::from_secs(2))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let base = format!("{}://{}", run.scheme("http"), run.http);
        // `healthz` is open to everybody and may be 503. It names the process: in another network namespace
        // the address may be somebody else's.
        let Ok(answer) = client.get(format!("{base}/healthz")).send().await else { return Ok(None) };
        let health: Value = answer.json().await.unwrap_or_default();
        if health["pid"] != run.pid {
            return Ok(None);
        }
        let path = auth::local_path(data_dir);
        let (key, about_key) = match (key_given(), auth::read_local(data_dir)) {
            (Some(key), _) => (Some(key), format!("the key in {KEY_VARIABLE}")),
            (None, Ok(Some(key))) => (Some(key), format!("the key in {}", path.display())),
            (None, Ok(None)) => {
                let hint = format!(
                    "{} does not exist; put a key with the scope admin into {KEY_VARIABLE}, or stop the server first",
                    path.display()
                );
                (None, hint)
            }
            (None, Err(error)) => (None, error.to_string()),
        };
        Ok(Some(Self { base, key, about_key, client }))
    }

    /// One request with the key.
    ///
    /// # Errors
    /// The server's own words if it refuses.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        self.granted(self.send(method, path, body, PATIENCE).await?)
    }

    /// One act for which the server may have to ask the broker; its answer, whatever it is.
    pub(super) async fn act(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send(Method::POST, path, Some(body), LONG_PATIENCE).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> anyhow::Result<Answer> {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).timeout(patience);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request
            .send()
            .await
            .map_err(reqwest::Error::without_url)
            .context("the server does not answer")?;
        let status = answer.status();
        let text = answer.text().await.map_err(reqwest::Error::without_url)?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
    }

    /// What an answer holds.
    ///
    /// # Errors
    /// The server's own words if it refused.
    pub(super) fn granted(&self, answer: Answer) -> anyhow::Result<Value> {
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        let why = answer.message();
        if answer.status == StatusCode::UNAUTHORIZED {
            bail!("{why} ({})", self.about_key);
        }
        bail!("{why}");
    }
}

/// What the server answered.
pub(super) struct Answer {
    status: StatusCode,
    body: Value,
}

impl Answer {
    /// The short name of a refusal's reason; empty if it is none.
    pub(super) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The server's words.
    pub(super) fn message(&self) -> String {
        self.body["message"].as_str().map_or_else(|| format!("HTTP {}", self.status), str::to_owned)
    }
}
