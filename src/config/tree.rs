//! The file's values with the environment laid over them, each with the place it came from.
//! Knows no setting by name.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problem};

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What can stand in the file or in a variable.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i128),
    Float(f64),
    Bool(bool),
    /// A date or time, which no setting takes.
    Moment(String),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// A variable's text. It becomes whatever type is asked for.
    Given(String),
}

impl Node {
    pub(super) fn empty() -> Self {
        Self { place: Place::Unset, value: Value::Table(BTreeMap::new()) }
    }

    /// Reads a TOML document; what can be understood of a broken one is in the tree.
    pub(super) fn parse(text: &str, file: &str) -> (Self, Vec<Problem>) {
        let (document, errors) = DeTable::parse_recoverable(text);
        let lines = Lines { text, file };
        let problems: Vec<Problem> = errors
            .iter()
            .map(|error| Problem {
                place: lines.place(error.span().map_or(0, |span| span.start)),
                key: String::new(),
                message: format!("not TOML: {}", error.message()),
            })
            .collect();
        let mut tree = lines.table(document.get_ref());
        for problem in &problems {
            tree.forget(&problem.place);
        }
        (tree, problems)
    }

    /// Takes out what stands on a line that is already reported as broken.
    fn forget(&mut self, line: &Place) {
        match &mut self.value {
            Value::Table(table) => {
                table.retain(|_, node| &node.place != line || matches!(node.value, Value::Table(_)));
                for node in table.values_mut() {
                    node.forget(line);
                }
            }
            Value::List(list) => {
                for node in list {
                    node.forget(line);
                }
            }
            _ => {}
        }
    }

    /// Where a dotted key was set.
    pub(super) fn place_of(&self, key: &str) -> Place {
        let mut node = self;
        for part in key.split('.') {
            match &node.value {
                Value::Table(table) if table.contains_key(part) => node = &table[part],
                _ => return Place::Unset,
            }
        }
        node.place.clone()
    }

    /// Lays a variable over the file.
    pub(super) fn set(&mut self, key: &str, variable: &str, text: String) {
        self.put(key, Place::Variable(variable.to_owned()), Value::Given(text));
    }

    /// Puts a value under a dotted key. One that stands where a table is needed gives way.
    pub(super) fn put(&mut self, key: &str, place: Place, value: Value) {
        let mut node = self;
        for part in key.split('.') {
            if !matches!(node.value, Value::Table(_)) {
                node.value = Value::Table(BTreeMap::new());
            }
            let Value::Table(table) = &mut node.value else { return };
            node = table
                .entry(part.to_owned())
                .or_insert_with(|| Self { place: place.clone(), value: Value::Table(BTreeMap::new()) });
        }
        *node = Self { place, value };
    }

    /// The text under a key of the top level.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match &self.value {
            Value::Table(table) => match &table.get(key)?.value {
                Value::Text(text) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// Takes a key of the top level out, with all that is under it.
    pub(super) fn take(&mut self, key: &str) -> Option<Self> {
        let Value::Table(table) = &mut self.value else { return None };
        table.remove(key)
    }

    /// Fills in from `base` what a table leaves out, at every depth.
    pub(super) fn inherit(&mut self, base: &Self) {
        let (Value::Table(own), Value::Table(base)) = (&mut self.value, &base.value) else { return };
        for (key, node) in base {
            match own.entry(key.clone()) {
                Entry::Vacant(free) => {
                    free.insert(node.clone());
                }
                Entry::Occupied(mut taken) => taken.get_mut().inherit(node),
            }
        }
    }

    /// Takes a key out; says where it stood.
    pub(super) fn remove(&mut self, path: &[String]) -> Option<Place> {
        let Value::Table(table) = &mut self.value else { return None };
        match path {
            [] => None,
            [last] => table.remove(last).map(|node| node.place),
            [first, rest @ ..] => table.get_mut(first)?.remove(rest),
        }
    }
}

struct Lines<'a> {
    text: &'a str,
    file: &'a str,
}

impl Lines<'_> {
    fn place(&self, offset: usize) -> Place {
        let line = self.text.get(..offset).unwrap_or(self.text).split('\n').count();
        Place::Line { file: self.file.to_owned(), line }
    }

    fn table(&self, table: &DeTable<'_>) -> Node {
        let entries = table
            .iter()
            .map(|(key, value)| {
                let place = self.place(key.span().start);
                (key.get_ref().to_string(), self.node(place, value.get_ref()))
            })
            .collect();
        Node { place: Place::Unset, value: Value::Table(entries) }
    }

    fn node(&self, place: Place, value: &DeValue<'_>) -> Node {
        let value = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => {
                i128::from_str_radix(&number.as_str().replace('_', ""), number.radix())
                    .map_or_else(|_| Value::Text(number.to_string()), Value::Integer)
            }
            DeValue::Float(number) => number
                .as_str()
                .replace('_', "")
                .parse()
                .map_or_else(|_| Value::Text(number.to_string()), Value::Float),
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Datetime(moment) => Value::Moment(moment.to_string()),
            DeValue::Array(list) => Value::List(
                list.iter().map(|item| self.node(self.place(item.span().start), item.get_ref())).collect(),
            ),
            DeValue::Table(table) => self.table(table).value,
        };
        Node { place, value }
    }
}
