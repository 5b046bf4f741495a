//! Reads settings out of the tree, and finds every wrong key in one go: a key that is refused
//! is noted and taken out, until the rest is accepted.

use std::collections::btree_map;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer as _, MapAccess,
    SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::problem::{Place, Problem};
use super::tree::{Node, Value};

/// Reads all of it; what is refused is taken out of the tree. `unknown` explains a key that does not exist,
/// given its dotted name.
pub(super) fn read<T: DeserializeOwned>(
    tree: &mut Node,
    unknown: impl Fn(&str) -> String,
) -> (Option<T>, Vec<Problem>) {
    let mut problems = Vec::new();
    loop {
        let mut error = match T::deserialize(&*tree) {
            Ok(settings) => return (Some(settings), problems),
            Err(error) => error,
        };
        error.path.reverse();
        let key = error.path.join(".");
        let message = if error.unknown { unknown(&key) } else { error.message };
        let place = tree.remove(&error.path);
        let ends = place.is_none();
        problems.push(Problem { place: place.unwrap_or(Place::Unset), key, message });
        if ends {
            return (None, problems);
        }
    }
}

/// A refusal on the way up: the path is gathered innermost first.
#[derive(Debug)]
pub(super) struct Error {
    path: Vec<String>,
    message: String,
    unknown: bool,
}

impl Error {
    fn under(mut self, key: &str) -> Self {
        self.path.push(key.to_owned());
        self
    }

    fn new(message: String) -> Self {
        Self { path: Vec::new(), message, unknown: false }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, found {}", plainly(expected), shown(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("expected one of {}, found `{variant}`", expected.join(", ")))
    }

    fn unknown_field(_: &str, _: &'static [&'static str]) -> Self {
        Self { unknown: true, ..Self::new("unknown key".to_owned()) }
    }
}

/// serde's words for types, in the words of someone who edits a file.
fn plainly(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "a string" | "path string" => "a text in quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "a sequence" => "a list".to_owned(),
        _ if text.starts_with("struct ") || text == "a map" => "a table".to_owned(),
        _ => text,
    }
}

fn shown(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(text) => format!("the text \"{text}\""),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        Unexpected::Bool(flag) => flag.to_string(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// Hands an integer over in the narrowest type that holds it.
fn visit_integer<'de, V: Visitor<'de>>(number: i128, visitor: V) -> Result<V::Value, Error> {
    match (i64::try_from(number), u64::try_from(number)) {
        (Ok(number), _) => visitor.visit_i64(number),
        (_, Ok(number)) => visitor.visit_u64(number),
        _ => visitor.visit_i128(number),
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match &self.value {
                Value::Given(text) => match text.trim().parse::<i128>() {
                    Ok(number) => visit_integer(number, visitor),
                    Err(_) => visitor.visit_str(text),
                },
                _ => self.deserialize_any(visitor),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for &Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Text(text) | Value::Given(text) | Value::Moment(text) => visitor.visit_str(text),
            Value::Integer(number) => visit_integer(*number, visitor),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::List(list) => visitor.visit_seq(Items(list.iter())),
            Value::Table(table) => visitor.visit_map(Entries { entries: table.iter(), open: None }),
        }
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Given(text) => match text.trim().parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => visitor.visit_str(text),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Given(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" => visitor.visit_bool(true),
                "false" | "0" => visitor.visit_bool(false),
                _ => visitor.visit_str(text),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            // A variable cannot be absent and override the file at once; empty means "none".
            Value::Given(text) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.value {
            Value::Text(text) | Value::Given(text) => {
                let text: StrDeserializer<'_, Error> = text.as_str().into_deserializer();
                visitor.visit_enum(text)
            }
            _ => Err(Error::new(format!("expected one of {} in quotes", variants.join(", ")))),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Given(text) => {
                let items: Vec<Node> = text
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(|item| Node { place: self.place.clone(), value: Value::Given(item.to_owned()) })
                    .collect();
                visitor.visit_seq(Items(items.iter()))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct tuple_struct map struct identifier
    }
}

struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|node| seed.deserialize(node)).transpose()
    }
}

struct Entries<'a> {
    entries: btree_map::Iter<'a, String, Node>,
    open: Option<(&'a str, &'a Node)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, node)) = self.entries.next() else { return Ok(None) };
        self.open = Some((key, node));
        let name: StrDeserializer<'_, Error> = key.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|error| error.under(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (key, node) =
            self.open.take().ok_or_else(|| Error::new("a value was asked for before its key".to_owned()))?;
        seed.deserialize(node).map_err(|error| error.under(key))
    }
}
