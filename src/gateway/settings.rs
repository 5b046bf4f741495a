//! The `[gateway]` table: where consumers are listened for, and every limit they have.
//! Not the checks across tables; those are `config`'s.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::gateway::tls::Files;

/// Settings of both consumer-facing ports.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the feed port listens: `host:port`.
    pub feed_listen: String,
    /// Where the HTTP port listens: `host:port`.
    pub http_listen: String,
    /// Origins of web pages that may connect, besides pages of the same host.
    pub allowed_origins: Vec<String>,
    /// Host names under which the ports are reached, besides addresses and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// The PEM file of the server's certificate and chain, for both ports; empty: no TLS.
    pub tls_cert_file: PathBuf,
    /// The PEM file of its private key.
    pub tls_key_file: PathBuf,
    /// Threads that serve consumers; 0: one less than cores, at least one.
    pub shards: usize,
    /// Connections in all.
    pub max_consumers: usize,
    /// Connections from one address; loopback, behind which a proxy may stand, is exempt.
    pub max_consumers_per_address: usize,
    /// Connections to the HTTP port in all. Beyond it, the one that is idle for the longest time ends.
    pub max_http_connections: usize,
    /// The same from one address; loopback is exempt.
    pub max_http_connections_per_address: usize,
    /// Subscriptions (instrument and mode) of one connection.
    pub max_instruments_per_consumer: usize,
    /// Frames a connection may send in a second; what it sends beyond that waits.
    pub max_commands_per_second: u32,
    /// The largest message before authentication.
    pub max_frame_unauthenticated_bytes: usize,
    /// The largest message after authentication.
    pub max_frame_bytes: usize,
    /// What may wait for one slow consumer before it gets only the latest values, or is closed if it
    /// asked for every one.
    pub overflow_bytes: usize,
    /// What may wait for all slow consumers together.
    pub overflow_total_bytes: usize,
    /// Messages of each instrument that are kept for consumers that come back with `since`; 0: none.
    pub replay_messages: usize,
    /// What may be kept of all instruments.
    pub replay_total_bytes: usize,
    /// From the connection to the end of the opening handshake.
    pub handshake_timeout_ms: u64,
    /// From the handshake to a valid key.
    pub auth_timeout_ms: u64,
    /// Between two pings to a consumer; 0: none.
    pub ping_interval_ms: u64,
    /// From a ping to any sign of life.
    pub ping_timeout_ms: u64,
    /// Between two heartbeats to a consumer that asked for them; 0: none.
    pub heartbeat_ms: u64,
    /// From our close frame to the consumer's end of the connection.
    pub close_timeout_ms: u64,
    /// How long subscriptions wait for the first instrument list.
    pub master_wait_ms: u64,
    /// The least time between two flushes: fewer writes for up to that much delay. The last of a
    /// burst leaves when it has passed, up to about a millisecond late, which is what timers are
    /// good for. 0: each batch leaves at once.
    pub flush_interval_us: u64,
    /// REST requests of one key for one endpoint in a second; 0: any number.
    pub api_rate_per_s: u32,
    /// The same of orders.
    pub order_rate_per_s: u32,
    /// The same of smart orders, baskets, splits, and what cancels or closes everything.
    pub smart_order_rate_per_s: u32,
    /// The account that REST requests are about where they name none; empty: the only one.
    pub rest_account: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            feed_listen: "127.0.0.1:8765".to_owned(),
            http_listen: "127.0.0.1:5000".to_owned(),
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            tls_cert_file: PathBuf::new(),
            tls_key_file: PathBuf::new(),
            shards: 0,
            max_consumers: 10_000,
            max_consumers_per_address: 1_000,
            max_http_connections: 512,
            max_http_connections_per_address: 64,
            max_instruments_per_consumer: 10_000,
            max_commands_per_second: 1_000,
            max_frame_unauthenticated_bytes: 4 << 10,
            max_frame_bytes: 1 << 20,
            overflow_bytes: 4 << 20,
            overflow_total_bytes: 256 << 20,
            replay_messages: 64,
            replay_total_bytes: 64 << 20,
            handshake_timeout_ms: 10_000,
            auth_timeout_ms: 15_000,
            ping_interval_ms: 20_000,
            ping_timeout_ms: 20_000,
            heartbeat_ms: 5_000,
            close_timeout_ms: 2_000,
            master_wait_ms: 10_000,
            flush_interval_us: 0,
            api_rate_per_s: 50,
            order_rate_per_s: 10,
            smart_order_rate_per_s: 10,
            rest_account: String::new(),
        }
    }
}

impl Settings {
    /// What is wrong with the values, as pairs of key and complaint; empty if nothing is.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let mut found = Vec::new();
        let mut at_least = |key, value: u64, least: u64, complaint| {
            if value < least {
                found.push((key, complaint));
            }
        };
        at_least("max_consumers", self.max_consumers as u64, 1, "must be at least 1");
        at_least("max_consumers_per_address", self.max_consumers_per_address as u64, 1, "must be at least 1");
        for (key, value) in [
            ("max_http_connections", self.max_http_connections),
            ("max_http_connections_per_address", self.max_http_connections_per_address),
        ] {
            at_least(key, value as u64, 1, "must be at least 1");
        }
        at_least(
            "max_instruments_per_consumer",
            self.max_instruments_per_consumer as u64,
            1,
            "must be at least 1",
        );
        at_least("max_commands_per_second", u64::from(self.max_commands_per_second), 1, "must be at least 1");
        // A key has 64 digits; the frame around it must fit.
        at_least(
            "max_frame_unauthenticated_bytes",
            self.max_frame_unauthenticated_bytes as u64,
            256,
            "must be at least 256, or nobody can authenticate",
        );
        at_least(
            "max_frame_bytes",
            self.max_frame_bytes as u64,
            self.max_frame_unauthenticated_bytes as u64,
            "must be at least max_frame_unauthenticated_bytes",
        );
        at_least("overflow_bytes", self.overflow_bytes as u64, 4 << 10, "must be at least 4096");
        at_least(
            "overflow_total_bytes",
            self.overflow_total_bytes as u64,
            self.overflow_bytes as u64,
            "must be at least overflow_bytes",
        );
        for (key, value) in [
            ("handshake_timeout_ms", self.handshake_timeout_ms),
            ("auth_timeout_ms", self.auth_timeout_ms),
            ("ping_timeout_ms", self.ping_timeout_ms),
            ("close_timeout_ms", self.close_timeout_ms),
        ] {
            at_least(key, value, 1, "must be at least 1");
        }
        if self.max_http_connections > 2048 {
            found.push(("max_http_connections", "must be at most 2048; consumers belong on the feed port"));
        }
        found
    }

    /// The files of TLS, if it is on: if either is named.
    pub fn tls_files(&self) -> Option<Files> {
        let (cert, key) = (&self.tls_cert_file, &self.tls_key_file);
        let on = !(cert.as_os_str().is_empty() && key.as_os_str().is_empty());
        on.then(|| Files { cert: cert.clone(), key: key.clone() })
    }

    /// The number of shards to start.
    pub fn shard_count(&self) -> usize {
        match self.shards {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1)).max(1),
            some => some,
        }
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.handshake_timeout_ms)
    }

    pub(crate) fn auth_timeout(&self) -> Duration {
        Duration::from_millis(self.auth_timeout_ms)
    }

    /// `None`: no pings.
    pub(crate) fn ping_interval(&self) -> Option<Duration> {
        (self.ping_interval_ms > 0).then(|| Duration::from_millis(self.ping_interval_ms))
    }

    /// `None`: no heartbeats.
    pub(crate) fn heartbeat_interval(&self) -> Option<Duration> {
        (self.heartbeat_ms > 0).then(|| Duration::from_millis(self.heartbeat_ms))
    }

    pub(crate) fn ping_timeout(&self) -> Duration {
        Duration::from_millis(self.ping_timeout_ms)
    }

    pub(crate) fn close_timeout(&self) -> Duration {
        Duration::from_millis(self.close_timeout_ms)
    }

    pub(crate) fn master_wait(&self) -> Duration {
        Duration::from_millis(self.master_wait_ms)
    }

    pub(crate) fn flush_interval(&self) -> Duration {
        Duration::from_micros(self.flush_interval_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_nonsense_is_named() {
        assert_eq!(Settings::default().problems(), []);
        assert!(Settings::default().shard_count() >= 1);
        let wrong: Settings =
            toml::from_str("overflow_bytes = 1\nmax_frame_bytes = 10\nauth_timeout_ms = 0").unwrap();
        let keys: Vec<_> = wrong.problems().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["max_frame_bytes", "overflow_bytes", "auth_timeout_ms"]);
        assert!(toml::from_str::<Settings>("feed_lisen = \"x\"").is_err());
    }
}
