//! A reader that knows of records only what the tables of `PROTOCOL.md` say, so that tests can hold
//! the two against each other. Needs nothing of this crate: the integration tests include it too.

use std::collections::BTreeMap;
use std::ops::Range;

/// The text that the tables stand in.
const DOCUMENT: &str = include_str!("../PROTOCOL.md");

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Int(i128),
    Text(String),
}

/// A row of a table: where, of which type, its name.
type Row = (usize, String, String);

/// The layouts of the chapter.
#[derive(Debug)]
pub(crate) struct Tables {
    /// Rows by the section's name, the header's left out.
    sections: BTreeMap<String, Vec<Row>>,
    header: Vec<Row>,
    /// Kinds by number.
    pub(crate) kinds: BTreeMap<u8, String>,
}

impl Tables {
    pub(crate) fn read() -> Self {
        let chapter = DOCUMENT.split("# Binary encoding tickgate.v1\n").nth(1).unwrap();
        let chapter = chapter.split("\n# ").next().unwrap();
        let mut sections = BTreeMap::new();
        let mut kinds = BTreeMap::new();
        for section in chapter.split("\n## ").skip(1) {
            let (name, text) = section.split_once('\n').unwrap();
            let mut rows = Vec::new();
            for line in text.lines().filter(|line| line.starts_with("| ")) {
                let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
                let plain = |cell: &str| cell.trim_matches('`').to_owned();
                match (cells[0].parse::<usize>(), cells.len()) {
                    (Ok(offset), 4) => rows.push((offset, plain(cells[1]), plain(cells[2]))),
                    (Ok(number), 3) => {
                        kinds.insert(number as u8, cells[1].to_owned());
                    }
                    _ => {}
                }
            }
            if let Some(other) = text.split("Begins as ").nth(1) {
                let other = other.split(' ').next().unwrap();
                let start: &Vec<Row> = &sections[other];
                rows.splice(0..0, start.iter().cloned());
            }
            sections.insert(name.to_owned(), rows);
        }
        let header = sections.remove("Header").unwrap();
        Self { sections, header, kinds }
    }

    /// The rows of a kind, the header's first.
    pub(crate) fn rows(&self, kind: u8) -> Vec<Row> {
        [self.header.as_slice(), &self.sections[&self.kinds[&kind]]].concat()
    }

    /// The records of a message, each as kind and fields.
    pub(crate) fn decode(&self, mut message: &[u8]) -> Vec<(String, BTreeMap<String, Value>)> {
        let mut records = Vec::new();
        while !message.is_empty() {
            let (record, rest) = message.split_at(usize::from(u16::from_le_bytes([message[0], message[1]])));
            message = rest;
            let mut fields = BTreeMap::new();
            for (offset, kind, name) in self.rows(record[2]) {
                decode(record, offset, &kind, &name, &mut fields);
            }
            records.push((self.kinds[&record[2]].clone(), fields));
        }
        records
    }
}

fn decode(record: &[u8], offset: usize, kind: &str, name: &str, fields: &mut BTreeMap<String, Value>) {
    let text = |range: Range<usize>| {
        let text = std::str::from_utf8(&record[range]).unwrap();
        Value::Text(text.trim_end_matches('\0').to_owned())
    };
    let value = match kind {
        "text" => {
            let Value::Int(len) = fields[&format!("{name}_len")] else { panic!("{name} has no length") };
            assert!(record[offset + len as usize..].iter().all(|byte| *byte == 0), "padding is zeros");
            text(offset..offset + len as usize)
        }
        "level[5]" => {
            for level in 0..5 {
                for (at, kind, part) in [
                    (0, "i64", "price"),
                    (8, "i64", "quantity"),
                    (16, "u32", "orders"),
                    (20, "u32", "reserved"),
                ] {
                    decode(
                        record,
                        offset + 24 * level + at,
                        kind,
                        &format!("{name}[{level}].{part}"),
                        fields,
                    );
                }
            }
            return;
        }
        _ if kind.starts_with("u8[") => text(offset..offset + size(kind)),
        "u8" | "u16" | "u32" | "u64" | "i64" => {
            let mut wide = [0; 16];
            wide[..size(kind)].copy_from_slice(&record[offset..offset + size(kind)]);
            let value = i128::from_le_bytes(wide);
            Value::Int(if kind == "i64" { i128::from(value as i64) } else { value })
        }
        _ => panic!("{kind} is no type"),
    };
    fields.insert(name.to_owned(), value);
}

/// Bytes of a type; none of a text's are counted.
pub(crate) fn size(kind: &str) -> usize {
    match kind {
        "text" => 0,
        "level[5]" => 5 * 24,
        "u16" => 2,
        "u32" => 4,
        "u64" | "i64" => 8,
        _ => kind.trim_start_matches("u8[").trim_end_matches(']').parse().unwrap_or(1),
    }
}
