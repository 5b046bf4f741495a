//! Finds the running server and speaks to its HTTP port.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::app::RunFile;
use crate::gateway::auth;
use crate::secret::Secret;
use crate::store;

/// The variable that holds a key to use instead of `local`.
pub(super) const KEY_VARIABLE: &str = "TICKGATE_KEY";

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
    let key = std::env::var(KEY_VARIABLE).ok()?;
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
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .connect_timeout(Duration::from_secs(2))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let base = format!("http://{}", run.http);
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

    /// One request with the key; the server's own words if it refuses.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
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
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if !status.is_success() {
            let why = value["message"].as_str().map_or_else(|| format!("HTTP {status}"), str::to_owned);
            if status == StatusCode::UNAUTHORIZED {
                bail!("{why} ({})", self.about_key);
            }
            bail!("{why}");
        }
        Ok(value)
    }
}
