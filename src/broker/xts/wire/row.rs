//! One object of a book, read member by member. Not which members a book has; that is `books`.
//!
//! Lenient about form: numbers as text, thousands commas, other cases of a name's letters
//! (`ExchangeInstrumentId` in one call, `ExchangeInstrumentID` in another). Strict about
//! content: what cannot be read never becomes a number. A member that is missing, `null`, `""`
//! or `NaN` is *absent*; one that holds something else than it should is a [`Fault`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;

use crate::clock::UnixNanos;
use crate::market::{InstrumentId, Money, Price, Segment};

use super::date;
use super::text::{money, price, unescape, whole};

/// A member that keeps a row, or one figure of it, from being read. Holds nothing of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The member's first name.
    pub key: &'static str,
    /// Whether it is not there at all.
    pub is_missing: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_missing { "is missing" } else { "cannot be read" };
        write!(f, "{} {what}", self.key)
    }
}

/// One object. Keeps the faults of the members that were asked for as optional.
#[derive(Debug)]
pub(super) struct Row<'a> {
    members: BTreeMap<String, &'a RawValue>,
    pub(super) gaps: Vec<Fault>,
}

impl<'a> Row<'a> {
    /// `None` if the value is no object.
    pub(super) fn parse(raw: &'a str) -> Option<Self> {
        Some(Self { members: serde_json::from_str(raw).ok()?, gaps: Vec::new() })
    }

    /// Whether it has no members.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A member by its name, in whatever case if none that is there is written exactly so.
    pub(super) fn member(&self, key: &str) -> Option<&'a str> {
        let exact = self.members.get(key).map(|raw| raw.get().trim()).filter(|raw| !is_absent(raw));
        exact.or_else(|| {
            let mut named = self.members.iter().filter(|(name, _)| name.eq_ignore_ascii_case(key));
            named.find_map(|(_, raw)| Some(raw.get().trim()).filter(|raw| !is_absent(raw)))
        })
    }

    /// Whether there is a member of this name, in whatever case, absent or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.members.keys().any(|name| name.eq_ignore_ascii_case(key))
    }

    /// The first of several names whose member is there.
    fn value(&self, keys: &[&'static str]) -> Option<&'a str> {
        keys.iter().find_map(|key| self.member(key))
    }

    /// What `read` makes of a member's text; `None` if it is absent.
    fn scalar<T>(
        &self,
        keys: &[&'static str],
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Fault> {
        let Some(raw) = self.value(keys) else { return Ok(None) };
        scalar_text(raw).and_then(|text| read(&text)).map(Some).ok_or_else(|| fault(keys, false))
    }

    /// As [`Row::scalar`], with an unreadable member noted and taken for an absent one.
    fn optional<T>(&mut self, keys: &[&'static str], read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.scalar(keys, read).unwrap_or_else(|gap| {
            self.gaps.push(gap);
            None
        })
    }

    fn needed<T>(&self, keys: &[&'static str], read: impl FnOnce(&str) -> Option<T>) -> Result<T, Fault> {
        self.scalar(keys, read)?.ok_or_else(|| fault(keys, true))
    }

    /// A text, empty if absent.
    pub(super) fn text(&mut self, keys: &[&'static str]) -> String {
        self.optional(keys, |text| Some(text.to_owned())).unwrap_or_default()
    }

    /// A text that must be there.
    pub(super) fn needed_text(&self, keys: &[&'static str]) -> Result<String, Fault> {
        self.needed(keys, |text| Some(text.to_owned()))
    }

    /// An integer that must be there.
    pub(super) fn needed_integer(&self, keys: &[&'static str]) -> Result<i64, Fault> {
        self.needed(keys, whole)
    }

    /// An integer that may be absent, but must be readable.
    pub(super) fn readable_integer(&self, keys: &[&'static str]) -> Result<Option<i64>, Fault> {
        self.scalar(keys, whole)
    }

    pub(super) fn integer(&mut self, keys: &[&'static str]) -> Option<i64> {
        self.optional(keys, whole)
    }

    /// A truth value, as such or as a word or number.
    pub(super) fn truth(&mut self, keys: &[&'static str]) -> Option<bool> {
        self.optional(keys, |text| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "y" => Some(true),
            "false" | "0" | "no" | "n" => Some(false),
            _ => None,
        })
    }

    /// All members, where their names are data.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.members.iter().map(|(name, raw)| (name.as_str(), raw.get().trim()))
    }

    /// A price that may be absent, but must be readable.
    pub(super) fn readable_price(&self, keys: &[&'static str]) -> Result<Option<Price>, Fault> {
        self.scalar(keys, price)
    }

    /// A price; zero is the venue's "none".
    pub(super) fn price(&mut self, keys: &[&'static str]) -> Option<Price> {
        self.optional(keys, price).filter(|p| *p != Price::ZERO)
    }

    pub(super) fn money(&mut self, keys: &[&'static str]) -> Option<Money> {
        self.optional(keys, money)
    }

    /// A time; `None` for the venue's "never" too.
    pub(super) fn time(&mut self, keys: &[&'static str]) -> Option<UnixNanos> {
        self.optional(keys, date::written).filter(|at| *at != UnixNanos::ZERO)
    }

    /// One of a closed list of words.
    pub(super) fn needed_word<T>(
        &self,
        keys: &[&'static str],
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Fault> {
        self.needed(keys, read)
    }

    /// The segment by name or number; `None` for one that tickgate does not know.
    pub(super) fn segment(&self) -> Result<Option<Segment>, Fault> {
        self.needed(&["ExchangeSegment"], |text| {
            let known = Segment::from_xts_name(&text.to_ascii_uppercase());
            Some(known.or_else(|| Segment::from_number(whole(text)?)))
        })
    }

    /// The instrument that the row is about: the segment by name or number, the id in either
    /// spelling.
    pub(super) fn instrument(&self) -> Result<InstrumentId, Fault> {
        let segment = self.segment()?.ok_or_else(|| fault(&["ExchangeSegment"], false))?;
        let code = self.needed(&["ExchangeInstrumentID"], |text| u32::try_from(whole(text)?).ok())?;
        Ok(InstrumentId { segment, code })
    }
}

pub(super) fn fault(keys: &[&'static str], is_missing: bool) -> Fault {
    Fault { key: keys.first().copied().unwrap_or_default(), is_missing }
}

/// Whether a value stands for "none".
pub(super) fn is_absent(raw: &str) -> bool {
    let inner = raw.strip_prefix('"').and_then(|r| r.strip_suffix('"')).unwrap_or(raw).trim();
    inner.is_empty() || ["null", "nan"].iter().any(|none| inner.eq_ignore_ascii_case(none))
}

/// A string's text, or a number or truth value as it is written; `None` for anything nested.
fn scalar_text(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'{' | b'[' => None,
        b'"' => {
            let mut text = String::new();
            unescape(raw, &mut text)?;
            Some(Cow::Owned(text.trim().to_owned()))
        }
        _ => Some(Cow::Borrowed(raw)),
    }
}
