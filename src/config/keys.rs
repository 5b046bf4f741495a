//! Lists every key that a settings type knows, by asking the type itself.
//!
//! The type is read from a source that has every field it names and no value for any of them.
//! Each refusal names one key that holds a value; it is skipped next time.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::slice;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer as _, MapAccess, Visitor,
};
use serde::forward_to_deserialize_any;

/// The dotted names of all keys that hold a value, tables left out, sorted.
pub(super) fn of<T: DeserializeOwned>() -> BTreeSet<String> {
    let found = RefCell::new(BTreeSet::new());
    while let Err(Stop { leaf: Some(leaf) }) = T::deserialize(Probe { path: String::new(), found: &found }) {
        if !found.borrow_mut().insert(leaf) {
            // Asked for although it is skipped: this type is not read by fields.
            break;
        }
    }
    found.into_inner()
}

/// The known name that was probably meant by `wrong`.
pub(super) fn nearest<'a>(wrong: &str, known: &'a BTreeSet<String>) -> Option<&'a str> {
    let last = |key: &str| key.rsplit('.').next().map(str::to_owned).unwrap_or_default();
    let misspelt = |by: usize| {
        let near = known.iter().map(|key| (distance(key, wrong), key)).filter(move |(off, _)| *off <= by);
        near.min().map(|(_, key)| key)
    };
    // The right word in the wrong table.
    let moved = || known.iter().find(|key| last(key) == last(wrong));
    misspelt(1).or_else(moved).or_else(|| misspelt(2)).map(String::as_str)
}

/// Insertions, removals and replacements from one text to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[derive(Debug)]
struct Stop {
    leaf: Option<String>,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.leaf.as_deref().unwrap_or("refused"))
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self { leaf: None }
    }
}

struct Probe<'a> {
    path: String,
    found: &'a RefCell<BTreeSet<String>>,
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        Err(Stop { leaf: (!self.path.is_empty()).then_some(self.path) })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_map(Fields { fields: fields.iter(), open: String::new(), under: self })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Fields<'a> {
    fields: slice::Iter<'static, &'static str>,
    open: String,
    under: Probe<'a>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        for field in self.fields.by_ref() {
            let path = if self.under.path.is_empty() {
                (*field).to_owned()
            } else {
                format!("{}.{field}", self.under.path)
            };
            if !self.under.found.borrow().contains(&path) {
                self.open = path;
                let name: StrDeserializer<'_, Stop> = (*field).into_deserializer();
                return seed.deserialize(name).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        seed.deserialize(Probe { path: std::mem::take(&mut self.open), found: self.under.found })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Outer {
        name: String,
        inner: Inner,
        maybe: Option<u32>,
    }

    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Inner {
        list: Vec<String>,
        listen: Option<std::net::SocketAddr>,
        deep: Deep,
    }

    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Deep {
        pace: f64,
    }

    #[test]
    fn every_key_of_nested_settings_is_found() {
        let keys: Vec<_> = of::<Outer>().into_iter().collect();
        assert_eq!(keys, ["inner.deep.pace", "inner.list", "inner.listen", "maybe", "name"]);
    }

    #[test]
    fn the_nearest_key_is_the_one_meant() {
        let keys = of::<Outer>();
        assert_eq!(nearest("inner.lisen", &keys), Some("inner.listen"));
        assert_eq!(nearest("pace", &keys), Some("inner.deep.pace"));
        assert_eq!(nearest("inner.colour", &keys), None);
    }
}
