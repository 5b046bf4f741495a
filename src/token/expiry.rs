//! When a token counts as dead, and when it should be renewed by plan. Pure: the time comes in.
//! Does not log in, and knows no calendar of trading days.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::clock::UnixNanos;

/// India Standard Time; it has no daylight saving.
const IST_OFFSET_SECS: i64 = 19_800;
const DAY_SECS: i64 = 86_400;

/// What a token says about its own end. A hint only: brokers also end tokens early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A JWT whose `exp` is this.
    At(UnixNanos),
    /// A JWT that names no end.
    None,
    /// Not a JWT, or one that cannot be read.
    NotJwt,
}

impl Claim {
    /// The claimed end, if there is one.
    pub const fn at(self) -> Option<UnixNanos> {
        match self {
            Self::At(end) => Some(end),
            Self::None | Self::NotJwt => None,
        }
    }
}

/// The claims that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `exp`.
    pub end: Claim,
    /// `exp − iat`, where both are there: how long the broker's own clock gives it.
    pub lifetime: Option<Duration>,
}

/// What a token's text says about its end. The signature is not checked: the key is the broker's, and the
/// token comes from the broker.
pub fn read_exp(token: &str) -> Claim {
    read_claims(token).end
}

/// As [`read_exp`], with the lifetime.
pub fn read_claims(token: &str) -> Claims {
    const OPAQUE: Claims = Claims { end: Claim::NotJwt, lifetime: None };
    if token.split('.').count() != 3 {
        return OPAQUE;
    }
    let Ok(raw) = jsonwebtoken::dangerous::insecure_decode_claims::<RawClaims>(token) else {
        return OPAQUE;
    };
    let Some(exp) = raw.exp else { return Claims { end: Claim::None, lifetime: None } };
    let Some(end) = exp.read() else { return OPAQUE };
    let issued = raw.iat.and_then(|iat| iat.read());
    let lifetime = issued.filter(|issued| *issued < end).map(|issued| end.since(issued));
    Claims { end: Claim::At(end), lifetime }
}

#[derive(Deserialize)]
struct RawClaims {
    exp: Option<NumericDate>,
    iat: Option<NumericDate>,
}

/// Seconds since the epoch. RFC 7519 allows fractions; some issuers write text.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumericDate {
    Whole(i64),
    Fraction(f64),
    Text(String),
    Other(serde::de::IgnoredAny),
}

impl NumericDate {
    fn read(&self) -> Option<UnixNanos> {
        match self {
            Self::Whole(secs) => Some(UnixNanos::from_secs(*secs)),
            // Rounded down to the second, so that a token never seems to live longer; `as` saturates.
            Self::Fraction(secs) => secs.is_finite().then(|| UnixNanos::from_secs(secs.floor() as i64)),
            Self::Text(text) => text.trim().parse().ok().map(UnixNanos::from_secs),
            Self::Other(_) => None,
        }
    }
}

/// A time of day in India; `HH:MM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CutOff {
    minute_of_day: u16,
}

/// Not a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time of day (HH:MM, 00:00 to 23:59)")]
pub struct NotATime;

impl CutOff {
    /// The last moment at or before `now` at which it was this time in India.
    pub fn last(self, now: UnixNanos) -> UnixNanos {
        let at = i64::from(self.minute_of_day) * 60 - IST_OFFSET_SECS;
        let days = (now.as_secs() - at).div_euclid(DAY_SECS);
        UnixNanos::from_secs(days * DAY_SECS + at)
    }

    /// The first moment after `now` at which it is this time in India.
    pub fn next(self, now: UnixNanos) -> UnixNanos {
        self.last(now).plus(Duration::from_secs(DAY_SECS as u64))
    }
}

impl FromStr for CutOff {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let two = |digits: &str| {
            let plain = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse::<u16>().ok()).flatten().ok_or(NotATime)
        };
        let (hours, minutes) = text.split_once(':').ok_or(NotATime)?;
        let (hours, minutes) = (two(hours)?, two(minutes)?);
        if hours > 23 || minutes > 59 {
            return Err(NotATime);
        }
        Ok(Self { minute_of_day: hours * 60 + minutes })
    }
}

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minute_of_day / 60, self.minute_of_day % 60)
    }
}

/// What to think of a *stored* token whose end cannot be read. One that a login has just brought is used in
/// either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opaque {
    /// It counts as expired: one login.
    #[default]
    Expired,
    /// It is used until refused or cut off.
    Trust,
}

/// Where a token was got from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A login in this life of the process brought it.
    Login,
    /// It was found in the store.
    Store,
}

/// What the rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// When the login that brought it succeeded, by our clock.
    pub issued_at: UnixNanos,
    /// What it says about its end.
    pub claims: Claims,
    /// Where it was got from.
    pub origin: Origin,
}

impl Facts {
    /// The facts of a token's text.
    pub fn of(token: &str, issued_at: UnixNanos, origin: Origin) -> Self {
        Self { issued_at, claims: read_claims(token), origin }
    }
}

/// Whether a token may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Usable,
    /// It may not.
    Dead(Cause),
}

/// Why a token may not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its end has come, or is nearer than the margin.
    Ended,
    /// It was issued before the last daily cut-off.
    CutOff,
    /// It was stored, and its end cannot be read.
    Opaque,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "at its end",
            Self::CutOff => "issued before the daily cut-off",
            Self::Opaque => "its end cannot be read",
        })
    }
}

/// The rules, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Time of day at which the broker's tokens are taken for dead.
    pub cutoff: CutOff,
    /// How long before its end a token is given up.
    pub margin: Duration,
    /// What to think of stored tokens whose end cannot be read.
    pub opaque: Opaque,
}

/// Before a cut-off the margin does not count for this long: the token's day is over anyway, and a login now
/// would be one more than the trading day needs.
const QUIET: Duration = Duration::from_hours(1);

impl Rules {
    /// Whether a token may be used now.
    pub fn verdict(&self, token: &Facts, now: UnixNanos) -> Verdict {
        if now >= self.cutoff.next(token.issued_at) {
            return Verdict::Dead(Cause::CutOff);
        }
        if token.claims.end == Claim::NotJwt
            && token.origin == Origin::Store
            && self.opaque == Opaque::Expired
        {
            return Verdict::Dead(Cause::Opaque);
        }
        match self.renew_at(token).or_else(|| self.own_end(token)) {
            Some(end) if now >= end => Verdict::Dead(Cause::Ended),
            _ => Verdict::Usable,
        }
    }

    /// When a token dies: the earlier of its own end and the first cut-off after its issue.
    pub fn dies_at(&self, token: &Facts) -> UnixNanos {
        let cutoff = self.cutoff.next(token.issued_at);
        self.own_end(token).map_or(cutoff, |end| end.min(cutoff))
    }

    /// When a token should be renewed because of its end, if at all: the margin before it, unless a cut-off ends
    /// it sooner, or follows within the hour. After a cut-off nothing is renewed by this rule; the planned time
    /// of the day, or the next asker, brings the login.
    pub fn renew_at(&self, token: &Facts) -> Option<UnixNanos> {
        let end = self.own_end(token)?;
        let due = end.minus(self.margin);
        let cutoff = self.cutoff.next(token.issued_at);
        (end < cutoff && due < cutoff.minus(QUIET)).then_some(due)
    }

    /// The token's own end by our clock.
    ///
    /// Two guards against a wrong clock, here or at the broker. A token lives no longer than the broker's clock
    /// gave it, counted from its receipt. And one that a login has just brought is not dead on arrival: if
    /// its end lies (nearly) before its issue, only a refusal or the cut-off ends it, otherwise each login would
    /// lead to the next, and the broker would lock the account.
    fn own_end(&self, token: &Facts) -> Option<UnixNanos> {
        let end = token.claims.end.at()?;
        if token.origin == Origin::Login && end <= token.issued_at.plus(self.margin) {
            return None;
        }
        Some(token.claims.lifetime.map_or(end, |lifetime| end.min(token.issued_at.plus(lifetime))))
    }
}

#[cfg(test)]
mod tests;
