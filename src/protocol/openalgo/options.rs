//! What a consumer may ask for beyond OpenAlgo, in `"tickgate": {…}` of its commands. Who does not
//! ask sees nothing of it. Not what is done about it: the gateway decides.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::protocol::openalgo::command::{CommandError, shortened, text_of};

/// What becomes of frames that a consumer does not read fast enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Older ones give way to the newest.
    #[default]
    Conflate,
    /// None may be missing; if they do not fit, the connection ends.
    Every,
}

/// How a consumer wants the frames of a topic. The default is OpenAlgo's: each at once, conflated if
/// need be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Under pressure.
    pub policy: Policy,
    /// The least time between two frames; zero: none. Never with [`Policy::Every`].
    pub interval: Duration,
}

/// What a consumer has seen, so that it may be given what came after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// The last sequence number it has seen.
    pub seq: u64,
    /// In which life of the server; `None`: it takes it for this one.
    pub epoch: Option<u32>,
}

/// What a consumer asks for with its key. `None`: it did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// To be told what was conflated.
    pub conflated: Option<bool>,
    /// Sequence numbers in frames.
    pub seq: Option<bool>,
    /// To be told of the state of instruments.
    pub state: Option<bool>,
}

/// What a consumer gets of its [`Wishes`]. Told in the answer, so that nobody waits in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// As in [`Wishes`].
    pub conflated: bool,
    /// As in [`Wishes`].
    pub seq: bool,
    /// As in [`Wishes`].
    pub state: bool,
}

/// The longest interval. Longer ones are more likely a mistake in the unit.
const MAX_INTERVAL_MS: u32 = 3_600_000;

type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

fn members(raw: &RawValue) -> Result<Members<'_>, CommandError> {
    serde_json::from_str(raw.get()).map_err(|_| CommandError::parameters("tickgate must be an object"))
}

/// The options of a `subscribe`, and since which number it asks for what came. An unknown member is an error: a consumer that misspells one would rely on what
/// it does not get.
pub(super) fn delivery(raw: &RawValue) -> Result<(Delivery, Option<Since>), CommandError> {
    let (mut found, mut seq, mut epoch) = (Delivery::default(), None, None);
    for (name, value) in members(raw)? {
        match name.as_ref() {
            "policy" => {
                found.policy = match text_of(value).as_deref() {
                    Some("conflate") => Policy::Conflate,
                    Some("every") => Policy::Every,
                    _ => return Err(bad("policy", "\"conflate\" or \"every\"", value)),
                }
            }
            "interval_ms" => {
                let millis: Option<u32> = value.get().parse().ok().filter(|ms| *ms <= MAX_INTERVAL_MS);
                let Some(millis) = millis else {
                    return Err(bad("interval_ms", "a whole number from 0 to 3600000", value));
                };
                found.interval = Duration::from_millis(millis.into());
            }
            "since" => {
                let number = value.get().parse::<u64>();
                seq = Some(number.map_err(|_| bad("since", "a sequence number", value))?);
            }
            "epoch" => {
                let number = value.get().parse::<u32>();
                epoch = Some(number.map_err(|_| bad("epoch", "the number that frames carry", value))?);
            }
            other => {
                return Err(CommandError::parameters(format!(
                    "tickgate.{} is not known in subscribe; policy, interval_ms, since and epoch are",
                    shortened(other)
                )));
            }
        }
    }
    if found.policy == Policy::Every && !found.interval.is_zero() {
        return Err(CommandError::parameters(
            "tickgate.interval_ms leaves frames out, which tickgate.policy \"every\" forbids",
        ));
    }
    if epoch.is_some() && seq.is_none() {
        return Err(CommandError::parameters(
            "tickgate.epoch says of which life tickgate.since is, which is missing",
        ));
    }
    Ok((found, seq.map(|seq| Since { seq, epoch })))
}

/// The wishes of an `authenticate`. Unknown ones are passed over: the answer lists what is granted.
pub(super) fn wishes(raw: &RawValue) -> Result<Wishes, CommandError> {
    let mut found = Wishes::default();
    for (name, value) in members(raw)? {
        let wish = match name.as_ref() {
            "conflated" => &mut found.conflated,
            "seq" => &mut found.seq,
            "state" => &mut found.state,
            _ => continue,
        };
        *wish = match value.get() {
            "true" => Some(true),
            "false" => Some(false),
            _ => return Err(bad(&name, "true or false", value)),
        };
    }
    Ok(found)
}

fn bad(name: &str, expected: &str, value: &RawValue) -> CommandError {
    CommandError::parameters(format!("tickgate.{name} must be {expected}, not {}", shortened(value.get())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::openalgo::command::{Command, parse};

    fn subscribed(options: &str) -> Result<Option<Delivery>, String> {
        let frame = format!(
            r#"{{"action":"subscribe","symbol":"S","exchange":"NSE","mode":1,"tickgate":{options}}}"#
        );
        match parse(frame.as_bytes()) {
            Ok(Command::Subscribe { delivery, since, .. }) => {
                assert_eq!(since.is_some(), options.contains("since"));
                Ok(delivery)
            }
            Ok(other) => panic!("{other:?}"),
            Err(e) => {
                assert_eq!(e.code, "INVALID_PARAMETERS");
                Err(e.message)
            }
        }
    }

    #[test]
    fn options_of_a_subscription() {
        let ms = Duration::from_millis;
        for (options, policy, interval) in [
            ("{}", Policy::Conflate, 0),
            (r#"{"policy":"every"}"#, Policy::Every, 0),
            (r#"{"policy":"every","interval_ms":0}"#, Policy::Every, 0),
            (r#"{"interval_ms":250}"#, Policy::Conflate, 250),
            (r#"{"interval_ms":250,"since":4711}"#, Policy::Conflate, 250),
            (r#"{"policy":"conflate","interval_ms":3600000}"#, Policy::Conflate, 3_600_000),
        ] {
            let expected = Delivery { policy, interval: ms(interval) };
            assert_eq!(subscribed(options), Ok(Some(expected)), "{options}");
        }
        assert_eq!(subscribed("null"), Ok(None));
        let plain = parse(br#"{"action":"subscribe","symbol":"S","exchange":"NSE"}"#);
        assert!(matches!(plain, Ok(Command::Subscribe { delivery: None, .. })));
    }

    #[test]
    fn a_bad_option_is_named() {
        for (options, words) in [
            ("7", "tickgate must be an object"),
            ("[]", "tickgate must be an object"),
            (r#"{"policy":"all"}"#, r#"tickgate.policy must be "conflate" or "every", not "all""#),
            (r#"{"policy":null}"#, r#"tickgate.policy must be "conflate" or "every", not null"#),
            (
                r#"{"interval_ms":-1}"#,
                "tickgate.interval_ms must be a whole number from 0 to 3600000, not -1",
            ),
            (
                r#"{"interval_ms":1.5}"#,
                "tickgate.interval_ms must be a whole number from 0 to 3600000, not 1.5",
            ),
            (
                r#"{"interval_ms":3600001}"#,
                "tickgate.interval_ms must be a whole number from 0 to 3600000, not 3600001",
            ),
            (
                r#"{"interval_ms":"10"}"#,
                "tickgate.interval_ms must be a whole number from 0 to 3600000, not \"10\"",
            ),
            (
                r#"{"polcy":"every"}"#,
                "tickgate.polcy is not known in subscribe; policy, interval_ms, since and epoch are",
            ),
            (r#"{"since":5,"epoch":"x"}"#, "tickgate.epoch must be the number that frames carry, not \"x\""),
            (r#"{"epoch":5}"#, "tickgate.epoch says of which life tickgate.since is, which is missing"),
            (r#"{"since":-5}"#, "tickgate.since must be a sequence number, not -5"),
            (
                r#"{"policy":"every","interval_ms":5}"#,
                "tickgate.interval_ms leaves frames out, which tickgate.policy \"every\" forbids",
            ),
        ] {
            assert_eq!(subscribed(options), Err(words.to_owned()), "{options}");
        }
    }

    #[test]
    fn wishes_with_a_key() {
        let asked = |options: &str| {
            let frame = format!(r#"{{"action":"authenticate","api_key":"k","tickgate":{options}}}"#);
            match parse(frame.as_bytes()) {
                Ok(Command::Authenticate { wishes, .. }) => Ok(wishes),
                Ok(other) => panic!("{other:?}"),
                Err(e) => Err((e.code, e.message)),
            }
        };
        let all = Wishes { conflated: Some(true), seq: Some(false), state: Some(true) };
        assert_eq!(asked(r#"{"conflated":true,"seq":false,"state":true,"dance":7}"#), Ok(Some(all)));
        assert_eq!(asked("{}"), Ok(Some(Wishes::default())));
        assert_eq!(asked("null"), Ok(None));
        let words = "tickgate.seq must be true or false, not 1".to_owned();
        assert_eq!(asked(r#"{"seq":1}"#), Err(("INVALID_PARAMETERS", words)));
    }
}
