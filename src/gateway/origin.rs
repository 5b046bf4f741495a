//! Decides whether a request's `Host` and `Origin` are ours to answer, for both ports.
//! Pure text work: no socket, no key, no web framework.
//!
//! A web page can open a WebSocket to 127.0.0.1, and by rebinding its own DNS name to
//! 127.0.0.1 it becomes "same origin" with us. The first is told apart by `Origin`, the
//! second by `Host`: a rebound name arrives in `Host` and is neither an IP literal nor ours.

use std::net::IpAddr;

/// What is accepted besides the rules that always hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostRules {
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no `Host`, or more than one.
    #[error("the request names no host")]
    NoHost,
    /// The `Host` is none of ours.
    #[error("this host name is not served here; see gateway.allowed_hosts")]
    Host,
    /// The page that sent the request comes from elsewhere.
    #[error("pages of this origin are not served here; see gateway.allowed_origins")]
    Origin,
}

impl Refusal {
    /// A short name for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoHost | Self::Host => "host",
            Self::Origin => "origin",
        }
    }
}

impl HostRules {
    /// Rules for a port that listens as `listen_host` (with or without a port; a name counts
    /// as ours, an address is accepted anyway), plus the configured lists. An allowed host is
    /// a name with or without a port; an allowed origin is `scheme://host[:port]`, or a host
    /// alone.
    pub fn new(listen_host: &str, allowed_hosts: &[String], allowed_origins: &[String]) -> Self {
        let mut hosts: Vec<String> = allowed_hosts.iter().map(|h| normal(h)).collect();
        hosts.push(normal(listen_host));
        hosts.retain(|h| !h.is_empty());
        let mut origins: Vec<String> = allowed_origins.iter().map(|o| normal(o)).collect();
        origins.retain(|o| !o.is_empty());
        Self { hosts, origins }
    }

    /// Checks the two headers as they were sent.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self, host: Option<&str>, origin: Option<&str>) -> Result<(), Refusal> {
        let host = normal(host.ok_or(Refusal::NoHost)?);
        if host.is_empty() {
            return Err(Refusal::NoHost);
        }
        if !self.host_is_ours(&host) {
            return Err(Refusal::Host);
        }
        match origin {
            None => Ok(()),
            Some(origin) if self.origin_is_ours(&normal(origin), &host) => Ok(()),
            Some(_) => Err(Refusal::Origin),
        }
    }

    fn host_is_ours(&self, host: &str) -> bool {
        let Some(name) = name_of(host) else { return false };
        is_address(name)
            || name == "localhost"
            || self.hosts.iter().any(|ours| ours == host || ours == name || name_of(ours) == Some(name))
    }

    fn origin_is_ours(&self, origin: &str, host: &str) -> bool {
        if self.origins.iter().any(|ours| ours == origin) {
            return true;
        }
        let Some((_, authority)) = origin.split_once("://") else { return false };
        let (Some(from), Some(to)) = (name_of(authority), name_of(host)) else { return false };
        from == to
            || (is_loopback(from) && is_loopback(to))
            || self.origins.iter().any(|ours| ours == authority || ours == from)
    }
}

/// Whether a `Host` header names this machine's loopback.
pub fn is_loopback_host(host: &str) -> bool {
    name_of(&normal(host)).is_some_and(is_loopback)
}

fn normal(text: &str) -> String {
    text.trim().trim_end_matches('/').to_ascii_lowercase()
}

/// The host of `host[:port]`, brackets and a root dot taken off; `None` if it is malformed.
fn name_of(authority: &str) -> Option<&str> {
    if authority.contains(['/', '@', '?', '#', ' ', '\\']) {
        return None;
    }
    let (name, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (name, after) = rest.split_once(']')?;
        (name, after.strip_prefix(':').or_else(|| after.is_empty().then_some(""))?)
    } else {
        match authority.split_once(':') {
            // More than one colon: an IPv6 address written without brackets.
            Some((_, rest)) if rest.contains(':') => (authority, ""),
            Some((name, port)) => (name, port),
            None => (authority, ""),
        }
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    (!name.is_empty() && port.bytes().all(|b| b.is_ascii_digit())).then_some(name)
}

fn is_address(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
}

fn is_loopback(name: &str) -> bool {
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &HostRules, host: &str, origin: Option<&str>) -> Result<(), Refusal> {
        rules.check(Some(host), origin)
    }

    fn plain() -> HostRules {
        HostRules::new("127.0.0.1:8765", &[], &[])
    }

    #[test]
    fn addresses_and_localhost_are_always_ours() {
        for host in [
            "127.0.0.1:8765",
            "127.0.0.1",
            "localhost:8765",
            "LOCALHOST",
            "localhost.",
            "[::1]:8765",
            "[::1]",
            "192.168.1.7:8765",
            "10.0.0.1",
        ] {
            assert_eq!(check(&plain(), host, None), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_rebound_name_is_refused() {
        for host in ["evil.example:8765", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example"]
        {
            assert_eq!(check(&plain(), host, Some("http://evil.example:8765")), Err(Refusal::Host), "{host}");
        }
    }

    #[test]
    fn malformed_hosts_are_refused() {
        assert_eq!(plain().check(None, None), Err(Refusal::NoHost));
        assert_eq!(check(&plain(), " ", None), Err(Refusal::NoHost));
        for host in ["127.0.0.1:x", "a@127.0.0.1", "127.0.0.1/evil", ":8765", "[::1", "[::1]x", "."] {
            assert_eq!(check(&plain(), host, None), Err(Refusal::Host), "{host}");
        }
    }

    #[test]
    fn a_page_must_come_from_the_same_host_at_any_port() {
        for origin in
            ["http://127.0.0.1:8765", "http://127.0.0.1", "https://127.0.0.1:9", "http://localhost:5000"]
        {
            assert_eq!(check(&plain(), "127.0.0.1:8765", Some(origin)), Ok(()), "{origin}");
        }
        assert_eq!(check(&plain(), "192.168.1.7:8765", Some("http://192.168.1.7:5000")), Ok(()));
        for origin in [
            "http://evil.example",
            "null",
            "",
            "file://",
            "http://127.0.0.2.evil.example",
            "http://192.168.1.7",
            "127.0.0.1",
        ] {
            assert_eq!(check(&plain(), "127.0.0.1:8765", Some(origin)), Err(Refusal::Origin), "{origin}");
        }
    }

    #[test]
    fn configured_names_and_origins_are_ours() {
        let rules = HostRules::new(
            "ticks.lan:8765",
            &["Feed.Example.com".to_owned()],
            &["https://App.example.com/".to_owned(), "charts.example.com".to_owned(), "null".to_owned()],
        );
        for host in ["ticks.lan", "ticks.lan:8765", "feed.example.com", "feed.example.com:443"] {
            assert_eq!(check(&rules, host, None), Ok(()), "{host}");
        }
        for origin in
            ["https://app.example.com", "http://charts.example.com:81", "null", "https://feed.example.com"]
        {
            assert_eq!(check(&rules, "feed.example.com", Some(origin)), Ok(()), "{origin}");
        }
        for origin in ["http://app.example.com", "https://app.example.com:8443", "https://example.com"] {
            assert_eq!(check(&rules, "feed.example.com", Some(origin)), Err(Refusal::Origin), "{origin}");
        }
    }

    #[test]
    fn loopback_hosts_are_known() {
        assert!(is_loopback_host("127.0.0.1:5000"));
        assert!(is_loopback_host("localhost"));
        assert!(is_loopback_host("[::1]:5000"));
        assert!(!is_loopback_host("192.168.1.7:5000"));
        assert!(!is_loopback_host("feed.example.com"));
    }
}
