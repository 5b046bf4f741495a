//! `[session]` of the configuration, with its defaults.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::market::TimeOfDay;
use crate::session::freshness::Patience;
use crate::session::slot::{Limits, Policy};
use crate::token::expiry::{CutOff, Opaque, Rules};

/// How the session with the broker is kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long before its end a token is renewed.
    pub refresh_before_expiry_s: u64,
    /// Time of day in India after which tokens issued before it count as dead.
    #[serde(deserialize_with = "from_text")]
    pub daily_cutoff_ist: CutOff,
    /// Time of day in India of the planned login on trading days; empty: none.
    #[serde(deserialize_with = "from_text_or_empty")]
    pub planned_login_ist: Option<TimeOfDay>,
    /// What to think of a stored token whose end cannot be read.
    pub opaque_tokens: OpaqueTokens,
    /// What to do when somebody else logs in with the same app key.
    pub on_replaced: OnReplaced,
    /// Least time between the starts of two logins for one product.
    pub login_min_interval_ms: u64,
    /// Logins for one product that the broker may answer in one day of India; 0: any number.
    pub login_daily_cap: u32,
    /// Days before an app key's last one from which on each day brings a warning.
    pub app_key_warning_days: u32,
    /// The wall clock is looked at least this often, so that a jump is noticed.
    pub clock_check_ms: u64,
    /// Least time between a failure and the next attempt.
    pub backoff_floor_ms: u64,
    /// Most time between a failure and the next attempt.
    pub backoff_ceiling_ms: u64,
    /// How long the feed must have been up, with live data, before its next failure counts
    /// as a first one.
    pub stable_after_ms: u64,
    /// Without a tick for this long, while some are due, the feed counts as mute; 0: never.
    pub tick_idle_timeout_ms: u64,
    /// Without data of a market segment for this long, while it trades, its data count as delayed; 0: never.
    pub delayed_after_ms: u64,
    /// File of single days on which exchanges keep other hours; empty: none.
    pub calendar_file: PathBuf,
    /// How long a subscription is kept after its last consumer left.
    pub unsubscribe_linger_ms: u64,
    /// How long a login may take.
    pub login_timeout_ms: u64,
    /// How long the feed's handshake, or one subscription request, may take.
    pub request_timeout_ms: u64,
    /// How long a download of the instrument master may take.
    pub master_timeout_ms: u64,
    /// Replacements of a failed actor within `restart_window_ms`; beyond it the process gives up.
    pub restart_budget: usize,
    /// See `restart_budget`.
    pub restart_window_ms: u64,
}

impl Default for Settings {
    #[expect(clippy::expect_used, reason = "the defaults are times of day; a test reads them")]
    fn default() -> Self {
        Self {
            refresh_before_expiry_s: 300,
            daily_cutoff_ist: "03:00".parse().expect("is a time of day"),
            planned_login_ist: TimeOfDay::new(8, 40),
            opaque_tokens: OpaqueTokens::Expired,
            on_replaced: OnReplaced::Wait,
            login_min_interval_ms: 5_000,
            login_daily_cap: 30,
            app_key_warning_days: 14,
            clock_check_ms: 30_000,
            backoff_floor_ms: 500,
            backoff_ceiling_ms: 30_000,
            stable_after_ms: 30_000,
            tick_idle_timeout_ms: 30_000,
            delayed_after_ms: 5_000,
            calendar_file: PathBuf::new(),
            unsubscribe_linger_ms: 5_000,
            login_timeout_ms: 60_000,
            request_timeout_ms: 20_000,
            master_timeout_ms: 180_000,
            restart_budget: 5,
            restart_window_ms: 60_000,
        }
    }
}

impl Settings {
    /// The rules tokens are judged by.
    pub fn rules(&self) -> Rules {
        Rules {
            cutoff: self.daily_cutoff_ist,
            margin: Duration::from_secs(self.refresh_before_expiry_s),
            opaque: match self.opaque_tokens {
                OpaqueTokens::Expired => Opaque::Expired,
                OpaqueTokens::Trust => Opaque::Trust,
            },
        }
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy {
            rules: self.rules(),
            limits: Limits {
                interval: Duration::from_millis(self.login_min_interval_ms),
                per_day: self.login_daily_cap,
            },
            on_replaced: self.on_replaced,
        }
    }

    /// When silence makes data delayed, and when stale.
    pub(crate) const fn patience(&self) -> Patience {
        Patience {
            delayed_after: Duration::from_millis(self.delayed_after_ms),
            stale_after: Duration::from_millis(self.tick_idle_timeout_ms),
        }
    }

    pub(crate) const fn clock_check(&self) -> Duration {
        Duration::from_millis(self.clock_check_ms)
    }

    pub(crate) const fn backoff_floor(&self) -> Duration {
        Duration::from_millis(self.backoff_floor_ms)
    }

    pub(crate) const fn backoff_ceiling(&self) -> Duration {
        Duration::from_millis(self.backoff_ceiling_ms)
    }

    pub(crate) const fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub(crate) const fn restart_window(&self) -> Duration {
        Duration::from_millis(self.restart_window_ms)
    }
}

/// What to think of a stored token whose end cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpaqueTokens {
    /// It leads to one login.
    #[default]
    Expired,
    /// It is used until refused or cut off.
    Trust,
}

/// What to do when somebody else logs in with the same app key, which ends our session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnReplaced {
    /// Let them have it until the next planned login or an operator's refresh.
    #[default]
    Wait,
    /// Log in again, which ends theirs.
    Retake,
}

fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn from_text_or_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(toml::from_str::<Settings>("").unwrap(), Settings::default());
    }

    #[test]
    fn times_of_day_are_checked_and_no_plan_is_a_plan() {
        let settings: Settings =
            toml::from_str("planned_login_ist = \"\"\nopaque_tokens = \"trust\"").unwrap();
        assert_eq!(settings.planned_login_ist, None);
        assert_eq!(settings.rules().opaque, Opaque::Trust);
        assert!(toml::from_str::<Settings>("daily_cutoff_ist = \"24:00\"").is_err());
        assert!(toml::from_str::<Settings>("daily_cutof_ist = \"03:00\"").is_err());
    }
}
