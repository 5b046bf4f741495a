//! Makes a `Master` from the broker's text, in one pass over it, and tells what it left out.
//! Not a download, and not fatal: a bad row costs that row.

use std::collections::HashMap;

use super::row::{self, BadReason, Entry};
use super::{Master, Row, pack_date, symbol};
use crate::market::{Exchange, InstrumentId};

/// Rows are about 170 bytes; anything longer than this is no row.
const MAX_ROW_BYTES: usize = 16 * 1024;

/// Bad rows and conflicts that are reported one by one; all are counted.
const SAMPLES: usize = 8;

/// A row that could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// Number of its line in the master, from 1; 0 for an index list's entry.
    pub line: usize,
    /// What is wrong with it.
    pub reason: BadReason,
}

/// A row that was left out because an earlier one has its symbol or its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Number of its line in the master, from 1; 0 for an index list's entry.
    pub line: usize,
    /// Exchange of the row left out.
    pub exchange: Exchange,
    /// Symbol of the row left out.
    pub symbol: String,
    /// Its id.
    pub left_out: InstrumentId,
    /// Id of the earlier row; the same if two symbols have one id.
    pub kept: InstrumentId,
}

/// What became of the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows and index list entries read, empty lines not counted.
    pub rows: usize,
    /// Instruments that can be resolved now.
    pub instruments: usize,
    /// Rows that could not be used.
    pub bad_rows: usize,
    /// Proper rows without an OpenAlgo symbol: spreads, other series, other segments.
    pub skipped: usize,
    /// Rows that say again what an earlier one said.
    pub repeated: usize,
    /// Rows left out because an earlier one has their symbol or their id.
    pub conflicts: usize,
    /// The first few bad rows.
    pub first_bad: Vec<BadRow>,
    /// The first few conflicts.
    pub first_conflicts: Vec<Conflict>,
}

/// Collects rows and index list entries. Where two rows contradict each other, the first wins.
#[derive(Debug, Default)]
pub struct MasterBuilder {
    master: Master,
    /// Numbers of `master.series` by text.
    series: HashMap<Box<str>, u16>,
    report: Report,
    line: usize,
    /// A row of which the end has not been seen.
    partial: Vec<u8>,
    /// The end of a row that is too long is being waited for.
    overlong: bool,
    /// Reused for each row's symbol.
    symbol: String,
}

impl MasterBuilder {
    /// A builder without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds rows, with `\n` between them; the last needs none. May be called again.
    pub fn add_rows(&mut self, text: &str) {
        self.finish_chunks();
        for line in text.split('\n') {
            self.add_line(Ok(line));
        }
        // What follows the last separator is a line only if there is something.
        if text.is_empty() || text.ends_with('\n') {
            self.line -= 1;
        }
    }

    /// Adds bytes as they come from a stream; a row may span several calls. `finish`, `add_rows` or
    /// `add_index` ends the last one.
    pub fn add_chunk(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.partial.is_empty() && !self.overlong {
                self.add_bytes(line);
            } else {
                self.add_partial(line);
                self.finish_chunks();
            }
        }
        self.add_partial(bytes);
    }

    /// Adds an entry of an index list: `NAME_ID`, with the venue's number of the segment.
    pub fn add_index(&mut self, segment_number: i64, entry: &str) {
        // A last row without a line's end came before this all the same.
        self.finish_chunks();
        self.report.rows += 1;
        match row::parse_index(segment_number, entry) {
            Ok(Some(entry)) => self.add_entry(0, &entry),
            Ok(None) => self.report.skipped += 1,
            Err(reason) => self.count_bad(0, reason),
        }
    }

    /// The master, and what became of the rows.
    pub fn finish(mut self) -> (Master, Report) {
        self.finish_chunks();
        self.master.rows.shrink_to_fit();
        self.master.text.shrink_to_fit();
        self.report.instruments = self.master.len();
        (self.master, self.report)
    }

    fn add_partial(&mut self, bytes: &[u8]) {
        if self.overlong || self.partial.len() + bytes.len() > MAX_ROW_BYTES {
            self.overlong = true;
            self.partial.clear();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }

    /// Ends the row that chunks have left open.
    fn finish_chunks(&mut self) {
        if std::mem::take(&mut self.overlong) {
            self.add_line(Err(BadReason::TooLong));
        } else if !self.partial.is_empty() {
            let mut line = std::mem::take(&mut self.partial);
            self.add_bytes(&line);
            line.clear();
            self.partial = line;
        }
    }

    fn add_bytes(&mut self, line: &[u8]) {
        // The length first, as for a line in pieces.
        let fits = line.len() <= MAX_ROW_BYTES;
        self.add_line(if fits {
            str::from_utf8(line).map_err(|_| BadReason::NotText)
        } else {
            Err(BadReason::TooLong)
        });
    }

    fn add_line(&mut self, line: Result<&str, BadReason>) {
        self.line += 1;
        if line.is_ok_and(|line| line.trim_ascii().is_empty()) {
            return;
        }
        self.report.rows += 1;
        let fits = |line: &&str| line.len() <= MAX_ROW_BYTES;
        let line = line.and_then(|line| Some(line).filter(fits).ok_or(BadReason::TooLong));
        match line.and_then(row::parse) {
            Ok(Some(entry)) => self.add_entry(self.line, &entry),
            Ok(None) => self.report.skipped += 1,
            Err(reason) => self.count_bad(self.line, reason),
        }
    }

    fn count_bad(&mut self, line: usize, reason: BadReason) {
        self.report.bad_rows += 1;
        if self.report.first_bad.len() < SAMPLES {
            self.report.first_bad.push(BadRow { line, reason });
        }
    }

    fn add_entry(&mut self, line: usize, entry: &Entry<'_>) {
        match self.try_add(entry) {
            Ok(Added::New) => {}
            Ok(Added::Repeated) => self.report.repeated += 1,
            Ok(Added::Conflict(kept)) => {
                self.report.conflicts += 1;
                if self.report.first_conflicts.len() < SAMPLES {
                    let conflict = Conflict {
                        line,
                        exchange: entry.exchange,
                        symbol: self.symbol.clone(),
                        left_out: entry.id(),
                        kept,
                    };
                    self.report.first_conflicts.push(conflict);
                }
            }
            Err(reason) => self.count_bad(line, reason),
        }
    }

    fn try_add(&mut self, entry: &Entry<'_>) -> Result<Added, BadReason> {
        let name_is_fine = !entry.name.is_empty() && !entry.name.bytes().any(|byte| byte.is_ascii_control());
        if !name_is_fine {
            return Err(BadReason::Name);
        }
        self.symbol.clear();
        symbol::write(entry.parts(), &mut self.symbol);
        // An index whose name is blanks and hyphens only leaves nothing.
        let symbol_len =
            u8::try_from(self.symbol.len()).ok().filter(|len| *len > 0).ok_or(BadReason::Name)?;

        let master = &mut self.master;
        let id_hash = master.hash_id(entry.id());
        if let Some(earlier) = master.find_id(id_hash, entry.id()) {
            let same = master.rows[earlier].exchange == entry.exchange
                && master.symbol_of(&master.rows[earlier]) == self.symbol;
            return Ok(if same { Added::Repeated } else { Added::Conflict(entry.id()) });
        }
        let symbol_hash = master.hash_symbol(entry.exchange, &self.symbol);
        if let Some(earlier) = master.find_symbol(symbol_hash, entry.exchange, &self.symbol) {
            return Ok(Added::Conflict(master.rows[earlier].id()));
        }

        let broker_symbol = if entry.broker_symbol == self.symbol { "" } else { entry.broker_symbol };
        let row_number = u32::try_from(master.rows.len()).ok().filter(|row| *row < u32::MAX);
        let row_number = row_number.ok_or(BadReason::Full)?;
        let text = u32::try_from(master.text.len()).map_err(|_| BadReason::Full)?;
        let row = Row {
            strike: entry.strike,
            tick_size: entry.tick_size,
            freeze_quantity: entry.freeze_quantity,
            code: entry.code,
            text,
            lot_size: entry.lot_size,
            multiplier: entry.multiplier,
            expiry: entry.expiry.map_or(0, pack_date),
            series: intern(entry.series, &mut self.series, &mut master.series)?,
            symbol_len,
            name_len: if entry.has_name_in_symbol() { entry.name.len() as u8 } else { symbol_len },
            broker_symbol_len: text_len(broker_symbol)?,
            isin_len: text_len(entry.isin)?,
            exchange: entry.exchange,
            kind: entry.kind,
        };
        for part in [&self.symbol, broker_symbol, entry.isin] {
            master.text.push_str(part);
        }
        master.push(row, row_number, id_hash, symbol_hash);
        Ok(Added::New)
    }
}

enum Added {
    New,
    Repeated,
    /// With the earlier row's id.
    Conflict(InstrumentId),
}

impl Entry<'_> {
    fn id(&self) -> InstrumentId {
        InstrumentId { segment: self.exchange.segment(), code: self.code }
    }

    fn parts(&self) -> symbol::Parts<'_> {
        symbol::Parts {
            exchange: self.exchange,
            kind: self.kind,
            name: self.name,
            expiry: self.expiry,
            strike: self.strike,
        }
    }

    /// All symbols but an index's start with the venue's name.
    fn has_name_in_symbol(&self) -> bool {
        !matches!(self.exchange, Exchange::NseIndex | Exchange::BseIndex)
    }
}

fn text_len(text: &str) -> Result<u8, BadReason> {
    u8::try_from(text.len()).map_err(|_| BadReason::TextTooLong)
}

/// The number of a text of which there are few different ones.
fn intern(
    text: &str,
    numbers: &mut HashMap<Box<str>, u16>,
    texts: &mut Vec<Box<str>>,
) -> Result<u16, BadReason> {
    if let Some(number) = numbers.get(text) {
        return Ok(*number);
    }
    text_len(text)?;
    let number = u16::try_from(texts.len()).map_err(|_| BadReason::Full)?;
    numbers.insert(text.into(), number);
    texts.push(text.into());
    Ok(number)
}
