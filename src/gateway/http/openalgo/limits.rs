//! How often a key may ask: a moving window of one second for each key and endpoint, and for each address that
//! shows wrong keys.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::gateway::auth::KeyId;
use crate::gateway::settings::Settings;

const WINDOW: Duration = Duration::from_secs(1);
/// Wrong keys that an address may show in a second.
const WRONG_KEYS: u32 = 20;
/// Windows kept. Those that are over are thrown away for new ones; if there are none, the new one is refused.
const MAX_WINDOWS: usize = 4096;

/// What an endpoint's limit is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Everything that reads.
    Api,
    /// Single orders.
    Order,
    /// Orders that depend on a position, and those that are several.
    SmartOrder,
}

/// Every window. Shared by all requests.
#[derive(Debug)]
pub(in super::super) struct Limits {
    per_second: [u32; 3],
    keys: Windows<(KeyId, &'static str)>,
    addresses: Windows<IpAddr>,
}

impl Limits {
    pub(in super::super) fn new(settings: &Settings) -> Self {
        Self {
            per_second: [settings.api_rate_per_s, settings.order_rate_per_s, settings.smart_order_rate_per_s],
            keys: Windows::default(),
            addresses: Windows::default(),
        }
    }

    /// Counts a request of a key.
    ///
    /// # Errors
    /// The limit per second, if it is exceeded.
    pub(super) fn take(&self, key: KeyId, endpoint: &'static str, class: Class) -> Result<(), u32> {
        let limit = self.per_second[class as usize];
        if limit == 0 || self.keys.take((key, endpoint), limit) { Ok(()) } else { Err(limit) }
    }

    /// Counts a wrong key of an address; `false`: there were too many.
    pub(super) fn wrong_key(&self, address: IpAddr) -> bool {
        self.addresses.take(network(address), WRONG_KEYS)
    }
}

/// A host with IPv6 has a whole /64 to come from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[derive(Debug)]
struct Windows<K>(Mutex<HashMap<K, VecDeque<Instant>>>);

impl<K> Default for Windows<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Windows<K> {
    fn take(&self, key: K, limit: u32) -> bool {
        let now = Instant::now();
        // It is whole after every statement.
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |at: &Instant| now.duration_since(*at) >= WINDOW;
        if windows.len() >= MAX_WINDOWS && !windows.contains_key(&key) {
            windows.retain(|_, window| window.back().is_some_and(|at| !is_over(at)));
            if windows.len() >= MAX_WINDOWS {
                return false;
            }
        }
        let window = windows.entry(key).or_default();
        while window.front().is_some_and(is_over) {
            window.pop_front();
        }
        if window.len() >= limit as usize {
            return false;
        }
        window.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_than_the_limit() {
        let settings = Settings { api_rate_per_s: 3, order_rate_per_s: 0, ..Settings::default() };
        let limits = Limits::new(&settings);
        let take = |endpoint| limits.take(KeyId(1), endpoint, Class::Api);
        assert!(take("quotes").is_ok());
        tokio::time::advance(Duration::from_millis(900)).await;
        assert!(take("quotes").is_ok() && take("quotes").is_ok());
        assert_eq!(take("quotes"), Err(3));
        assert!(take("depth").is_ok(), "another endpoint");
        assert!(limits.take(KeyId(2), "quotes", Class::Api).is_ok(), "another key");
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(take("quotes").is_ok(), "the first is a second ago");
        assert_eq!(take("quotes"), Err(3));
        for _ in 0..1000 {
            assert!(limits.take(KeyId(1), "placeorder", Class::Order).is_ok(), "0: no limit");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_are_counted_by_network_and_never_kept_without_bound() {
        let limits = Limits::new(&Settings::default());
        let host = |last: u64| IpAddr::from(Ipv6Addr::from_bits((0x2001_u128 << 112) | u128::from(last)));
        for last in 0..u64::from(WRONG_KEYS) {
            assert!(limits.wrong_key(host(last)));
        }
        assert!(!limits.wrong_key(host(99)), "another address of the same network");
        for address in 0..2 * MAX_WINDOWS as u32 {
            limits.wrong_key(std::net::Ipv4Addr::from_bits(address).into());
        }
        assert_eq!(limits.addresses.0.lock().unwrap().len(), MAX_WINDOWS);
        tokio::time::advance(WINDOW).await;
        assert!(limits.wrong_key(host(99)));
        assert_eq!(limits.addresses.0.lock().unwrap().len(), MAX_WINDOWS, "known ones throw nothing away");
        assert!(limits.wrong_key("10.1.1.1".parse().unwrap()));
        assert!(limits.addresses.0.lock().unwrap().len() <= 2);
    }
}
