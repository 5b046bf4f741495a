//! A fault as a control or a scenario spells it: one grammar for both. Not what it does.

use std::time::Duration;

use serde_json::Value;

use super::{Compression, Kind, RestAnswer, Spec, Spoil};
use crate::market::Segment;
use crate::sim::core::{Away, LoginFault};
use crate::sim::sessions::Product;
use crate::sim::settings::{Layout, SocketEnd};

/// The longest that a fault lasts.
const MAX_LASTS: Duration = Duration::from_hours(24);

/// How long one lasts that does not say.
const DEFAULT_LASTS: Duration = Duration::from_secs(10);

/// Keys of every fault.
const COMMON: [&str; 4] = ["fault", "for", "account", "product"];

/// Keys of faults of messages.
const MESSAGES: [&str; 3] = ["segment", "one_in", "count"];

/// Each fault, and the keys that are its own.
const FAULTS: [(&str, &[&str]); 26] = [
    ("expire", &["sockets"]),
    ("replace", &["sockets"]),
    ("logout", &[]),
    ("drop", &["clean"]),
    ("restart", &["forget", "manner"]),
    ("login", &["kind", "count", "ms", "retry_after_s", "status", "skew_s"]),
    ("mute", &MESSAGES),
    ("half_open", &[]),
    ("no_joined", &["count"]),
    ("burst", &["factor"]),
    ("layout", &["layout"]),
    ("compression", &["compression"]),
    ("frame_messages", &["messages"]),
    ("nan_prices", &MESSAGES),
    ("zero_prices", &MESSAGES),
    ("unknown_code", &MESSAGES),
    ("truncated", &MESSAGES),
    ("corrupt", &MESSAGES),
    ("bit_flips", &MESSAGES),
    ("wrong_length", &MESSAGES),
    ("old_sequence", &MESSAGES),
    ("time_jump", &["segment", "one_in", "count", "by_s"]),
    ("already_subscribed", &["count"]),
    ("limit_reached", &["count"]),
    ("rest_error", &["path", "count", "status", "retry_after_s", "ms"]),
    ("rest_hang_up", &["path", "count", "ms"]),
];

/// Reads `500ms`, `5s`, `2m`, `1h`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let found = match &text[digits..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3_600)?),
        _ => return None,
    };
    (found <= MAX_LASTS * 366).then_some(found)
}

/// Keys of one body, each problem named by its key.
struct Keys<'a>(&'a Value);

impl<'a> Keys<'a> {
    fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        match &self.0[key] {
            Value::Null => Ok(None),
            value => value.as_str().map(Some).ok_or_else(|| format!("{key} must be a text")),
        }
    }

    fn number(&self, key: &str, least: u64, most: u64) -> Result<Option<u64>, String> {
        match &self.0[key] {
            Value::Null => Ok(None),
            value => {
                let found = value.as_u64().filter(|n| (least..=most).contains(n));
                found.map(Some).ok_or_else(|| format!("{key} must be a whole number from {least} to {most}"))
            }
        }
    }

    fn flag(&self, key: &str) -> Result<bool, String> {
        match &self.0[key] {
            Value::Null => Ok(false),
            value => value.as_bool().ok_or_else(|| format!("{key} must be true or false")),
        }
    }

    fn duration(&self, key: &str) -> Result<Option<Duration>, String> {
        self.text(key)?
            .map(|text| {
                let found = duration(text).filter(|d| !d.is_zero() && *d <= MAX_LASTS);
                found.ok_or_else(|| format!("{key} must be as 500ms, 5s, 2m or 1h, at most 24h"))
            })
            .transpose()
    }
}

impl Spec {
    /// # Errors
    /// What is wrong, with the key.
    pub(crate) fn parse(body: &Value) -> Result<Self, String> {
        let keys = Keys(body);
        let object = body.as_object().ok_or("a fault must be an object")?;
        let name = keys.text("fault")?.ok_or("fault is missing")?;
        let Some(&(name, own)) = FAULTS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = FAULTS.iter().map(|(name, _)| *name).collect();
            return Err(format!("fault {name:?} is none of {}", known.join(", ")));
        };
        let is_known = |key: &str| COMMON.contains(&key) || own.contains(&key);
        if let Some(key) = object.keys().find(|key| !is_known(key)) {
            return Err(format!("{key} is no key of {name}"));
        }
        let product = match keys.text("product")? {
            None => None,
            Some(text) => Some(Product::parse(text).ok_or("product must be market or interactive")?),
        };
        let segment = match &body["segment"] {
            Value::Null => None,
            value => {
                let by_number = value.as_i64().and_then(Segment::from_number);
                let found = by_number.or_else(|| value.as_str().and_then(Segment::from_xts_name));
                Some(found.ok_or("segment must be a number or a name as NSECM")?)
            }
        };
        let count = keys.number("count", 1, 1_000_000)?.and_then(|n| u32::try_from(n).ok());
        let lasts = keys.duration("for")?;
        Ok(Self {
            name,
            kind: kind(name, &keys, product)?,
            account: keys.text("account")?.map(str::to_owned),
            product,
            segment,
            one_in: keys.number("one_in", 1, 1_000_000)?.unwrap_or(1),
            // With a count alone it lasts until that is used up, but not for ever.
            lasts: lasts.unwrap_or(if count.is_some() { MAX_LASTS } else { DEFAULT_LASTS }),
            count,
        })
    }
}

fn kind(name: &str, keys: &Keys<'_>, product: Option<Product>) -> Result<Kind, String> {
    let sockets = || match keys.text("sockets")? {
        None => Ok(SocketEnd::Close),
        Some(text) => {
            SocketEnd::parse(text).ok_or_else(|| "sockets must be close, logout or silent".to_owned())
        }
    };
    let late = || Ok::<_, String>(Duration::from_millis(keys.number("ms", 0, 600_000)?.unwrap_or(0)));
    let path = || Ok::<_, String>(keys.text("path")?.unwrap_or_default().to_owned());
    Ok(match name {
        "expire" => Kind::Expire(sockets()?),
        "replace" => Kind::Replace(sockets()?),
        "logout" => Kind::Expire(SocketEnd::Logout),
        "drop" => Kind::Drop { clean: keys.flag("clean")? },
        "restart" => Kind::Restart {
            forget: keys.flag("forget")?,
            manner: match keys.text("manner")? {
                None => None,
                Some("html") => Some(Away::BadGateway),
                Some("close") => Some(Away::HangUp),
                Some(_) => return Err("manner must be html or close".to_owned()),
            },
        },
        "login" => {
            let read = LoginFault::parse(keys.0, None, product)?;
            Kind::Login(read.fault, read.delay)
        }
        "mute" => Kind::Mute,
        "half_open" => Kind::HalfOpen,
        "no_joined" => Kind::NoJoined,
        "burst" => {
            let factor = keys.number("factor", 2, 1000)?.ok_or("factor is missing")?;
            Kind::Burst { factor: factor as f64 }
        }
        "layout" => Kind::Layout(match keys.text("layout")? {
            Some("a") => Layout::A,
            Some("b") => Layout::B,
            Some("c") => Layout::C,
            _ => return Err("layout must be a, b or c".to_owned()),
        }),
        "compression" => Kind::Compression(match keys.text("compression")? {
            Some("always") => Compression::Always,
            Some("never") => Compression::Never,
            Some("mixed") => Compression::Mixed,
            _ => return Err("compression must be always, never or mixed".to_owned()),
        }),
        "frame_messages" => {
            let messages = keys.number("messages", 1, 200)?.ok_or("messages is missing")?;
            Kind::FrameMessages(usize::try_from(messages).unwrap_or(1))
        }
        "nan_prices" => Kind::Spoil(Spoil::Nan),
        "zero_prices" => Kind::Spoil(Spoil::Zero),
        "unknown_code" => Kind::Spoil(Spoil::UnknownCode),
        "truncated" => Kind::Spoil(Spoil::Truncated),
        "corrupt" => Kind::Spoil(Spoil::Corrupt),
        "bit_flips" => Kind::Spoil(Spoil::BitFlips),
        "wrong_length" => Kind::Spoil(Spoil::WrongLength),
        "old_sequence" => Kind::Spoil(Spoil::OldSequence),
        "time_jump" => {
            let by_s = keys.0["by_s"].as_i64().filter(|s| s.unsigned_abs() <= 366 * 86_400);
            let by_s = by_s.ok_or("by_s must be a whole number, at most a year of seconds either way")?;
            Kind::Spoil(Spoil::TimeJump { by_s })
        }
        "already_subscribed" => Kind::AlreadySubscribed,
        "limit_reached" => Kind::LimitReached,
        "rest_hang_up" => Kind::Rest { path: path()?, late: late()?, answer: Some(RestAnswer::HangUp) },
        // `rest_error`: a status, or without one an answer that is only late.
        _ => {
            let status = keys.number("status", 400, 599)?.and_then(|s| u16::try_from(s).ok());
            let retry_after_s = keys.number("retry_after_s", 0, 86_400)?;
            let late = late()?;
            let answer = match status {
                Some(429) => Some(RestAnswer::RateLimited { retry_after_s }),
                Some(status) => Some(RestAnswer::Html { status }),
                None if late.is_zero() => return Err("rest_error needs status or ms".to_owned()),
                None => None,
            };
            Kind::Rest { path: path()?, late, answer }
        }
    })
}
