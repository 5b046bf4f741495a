//! The instrument master: OpenAlgo symbol ↔ instrument, with each instrument's contract terms.
//! Not its download, and not the search over it.
//!
//! Made for some 300,000 instruments: 56 bytes each, their texts end to end in one string, and
//! two tables of row numbers, so that a master takes about 30 MB and few allocations.

mod aging;
mod builder;
mod handle;
mod row;
mod search;
mod symbol;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use jiff::civil::Date;

pub use self::builder::{BadRow, Conflict, MasterBuilder, Report};
pub use self::handle::MasterHandle;
pub use self::row::BadReason;
use self::table::Table;
use crate::market::{Exchange, InstrumentId, Price};

/// Call or put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// The right to buy.
    Call,
    /// The right to sell.
    Put,
}

/// What kind of thing an instrument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstrumentKind {
    /// A share, or anything else of a cash segment.
    Equity,
    /// An index; it has quotes, and cannot be traded.
    Index,
    /// A future.
    Future,
    /// An option.
    Option(Right),
}

/// One instrument as the master holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instrument<'a> {
    /// The venue's identity of it.
    pub id: InstrumentId,
    /// OpenAlgo's exchange code.
    pub exchange: Exchange,
    /// What it is.
    pub kind: InstrumentKind,
    /// OpenAlgo's symbol.
    pub symbol: &'a str,
    /// The broker's symbol: display name of cash instruments, description of derivatives, the
    /// list's entry for indices of the index list.
    pub broker_symbol: &'a str,
    /// The venue's name, which is the underlying's for derivatives; the symbol for indices.
    pub name: &'a str,
    /// The venue's series, such as `EQ` or `OPTIDX`.
    pub series: &'a str,
    /// ISIN, where the venue sends one.
    pub isin: Option<&'a str>,
    /// Last day of a derivative, in IST.
    pub expiry: Option<Date>,
    /// An option's strike.
    pub strike: Option<Price>,
    /// Least step of a price; zero if the venue sent zero.
    pub tick_size: Price,
    /// Lot size as the venue sends it; what it means on MCX differs between brokers.
    pub lot_size: u32,
    /// Multiplier as the venue sends it; 0 if it sent none that is whole.
    pub multiplier: u32,
    /// Largest quantity of one order, decimals cut off; 0 if the venue sent none.
    pub freeze_quantity: i64,
}

impl<'a> Instrument<'a> {
    /// OpenAlgo's instrument type: `FUT`, `CE`, `PE`, `INDEX`, or the series.
    pub fn instrument_type(&self) -> &'a str {
        match self.kind {
            InstrumentKind::Equity => self.series,
            InstrumentKind::Index => "INDEX",
            InstrumentKind::Future => "FUT",
            InstrumentKind::Option(right) => right.as_str(),
        }
    }

    /// Expiry as OpenAlgo shows it, `17-FEB-26`; empty if there is none.
    pub fn expiry_text(&self) -> String {
        self.expiry.map(symbol::expiry_text).unwrap_or_default()
    }
}

/// A master, complete and unchanging. Symbols and ids are both unique within it.
#[derive(Default)]
pub struct Master {
    rows: Vec<Row>,
    /// Of each row: symbol, broker symbol, ISIN.
    text: String,
    series: Vec<Box<str>>,
    by_id: Table,
    by_symbol: Table,
    hasher: RandomState,
}

/// An instrument, with its texts elsewhere. Order of fields: no padding between them.
#[derive(Clone, Copy, Debug)]
struct Row {
    strike: Price,
    tick_size: Price,
    freeze_quantity: i64,
    code: u32,
    /// Where its texts start.
    text: u32,
    lot_size: u32,
    multiplier: u32,
    /// See `pack_date`.
    expiry: u16,
    /// Index into `Master::series`.
    series: u16,
    symbol_len: u8,
    /// The name is the start of the symbol.
    name_len: u8,
    /// Zero: it is the same as the symbol.
    broker_symbol_len: u8,
    isin_len: u8,
    exchange: Exchange,
    kind: InstrumentKind,
}

const _: () = assert!(size_of::<Row>() <= 56);

impl Row {
    fn id(&self) -> InstrumentId {
        InstrumentId { segment: self.exchange.segment(), code: self.code }
    }
}

impl Master {
    /// The instrument that OpenAlgo names so; case counts.
    pub fn resolve(&self, exchange: Exchange, symbol: &str) -> Option<InstrumentId> {
        let row = self.find_symbol(self.hash_symbol(exchange, symbol), exchange, symbol)?;
        Some(self.rows[row].id())
    }

    /// OpenAlgo's name of an instrument.
    pub fn name(&self, id: InstrumentId) -> Option<(Exchange, &str)> {
        let row = &self.rows[self.find_id(self.hash_id(id), id)?];
        Some((row.exchange, self.symbol_of(row)))
    }

    /// All that is known of an instrument.
    pub fn get(&self, id: InstrumentId) -> Option<Instrument<'_>> {
        let row = self.find_id(self.hash_id(id), id)?;
        Some(self.view(&self.rows[row]))
    }

    /// Number of instruments.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All instruments, in the broker's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Instrument<'_>> {
        self.rows.iter().map(|row| self.view(row))
    }

    fn view(&self, row: &Row) -> Instrument<'_> {
        let symbol = self.symbol_of(row);
        let broker_symbol_at = row.text as usize + symbol.len();
        let isin_at = broker_symbol_at + usize::from(row.broker_symbol_len);
        let isin = &self.text[isin_at..isin_at + usize::from(row.isin_len)];
        Instrument {
            id: row.id(),
            exchange: row.exchange,
            kind: row.kind,
            symbol,
            broker_symbol: match &self.text[broker_symbol_at..isin_at] {
                "" => symbol,
                other => other,
            },
            name: &symbol[..usize::from(row.name_len)],
            series: &self.series[usize::from(row.series)],
            isin: (!isin.is_empty()).then_some(isin),
            expiry: unpack_date(row.expiry),
            strike: matches!(row.kind, InstrumentKind::Option(_)).then_some(row.strike),
            tick_size: row.tick_size,
            lot_size: row.lot_size,
            multiplier: row.multiplier,
            freeze_quantity: row.freeze_quantity,
        }
    }

    fn symbol_of(&self, row: &Row) -> &str {
        let start = row.text as usize;
        &self.text[start..start + usize::from(row.symbol_len)]
    }

    fn hash_id(&self, id: InstrumentId) -> u64 {
        self.hasher.hash_one(id)
    }

    fn hash_symbol(&self, exchange: Exchange, symbol: &str) -> u64 {
        self.hasher.hash_one((exchange, symbol))
    }

    fn find_id(&self, hash: u64, id: InstrumentId) -> Option<usize> {
        self.by_id.find(hash, |row| self.rows[row as usize].id() == id).map(|row| row as usize)
    }

    fn find_symbol(&self, hash: u64, exchange: Exchange, symbol: &str) -> Option<usize> {
        let is_it = |row: u32| {
            let row = &self.rows[row as usize];
            row.exchange == exchange && self.symbol_of(row) == symbol
        };
        self.by_symbol.find(hash, is_it).map(|row| row as usize)
    }

    /// Adds a row whose texts are in place, and whose id and symbol are new.
    fn push(&mut self, row: Row, number: u32, id_hash: u64, symbol_hash: u64) {
        self.rows.push(row);
        // The tables are lent out of `self`, so that they can be told the hashes of other rows.
        let mut by_id = std::mem::take(&mut self.by_id);
        by_id.insert(id_hash, number, |row| self.hash_id(self.rows[row as usize].id()));
        self.by_id = by_id;
        let mut by_symbol = std::mem::take(&mut self.by_symbol);
        by_symbol.insert(symbol_hash, number, |row| {
            let row = &self.rows[row as usize];
            self.hash_symbol(row.exchange, self.symbol_of(row))
        });
        self.by_symbol = by_symbol;
    }
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Master").field("instruments", &self.len()).finish_non_exhaustive()
    }
}

/// Seven bits for the years since 2000, four for the month, five for the day; never 0. The row
/// parser lets only years 2000 to 2099 pass.
fn pack_date(date: Date) -> u16 {
    ((date.year().unsigned_abs() % 100) << 9)
        | (u16::from(date.month().unsigned_abs()) << 5)
        | u16::from(date.day().unsigned_abs())
}

fn unpack_date(packed: u16) -> Option<Date> {
    let (year, month, day) = (2000 + (packed >> 9), (packed >> 5) & 0xf, packed & 0x1f);
    Date::new(year as i16, month as i8, day as i8).ok()
}
