//! One row of the broker's instrument master, read without a copy.
//! Not where it is kept: that is `builder`.
//!
//! Source of the columns: the official XTS SDKs' header lists for `POST {md}/instruments/master`.
//! Cash, futures and options rows differ from column 15 on; the instrument type decides, not the
//! number of columns, which differs between brokers.

use jiff::civil::Date;

use crate::market::{Exchange, InstrumentKind, Price, Right, Segment};

/// Why a row could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadReason {
    /// The bytes are no text.
    #[error("not UTF-8")]
    NotText,
    /// Longer than any row may be.
    #[error("row too long")]
    TooLong,
    /// Cut short, or of an unknown form.
    #[error("too few columns")]
    TooFewColumns,
    /// The first column names no segment of the venue.
    #[error("unknown exchange segment")]
    Segment,
    /// The venue's number is missing or no number.
    #[error("bad instrument id")]
    Id,
    /// The instrument type is no number.
    #[error("bad instrument type")]
    Type,
    /// The name is empty, too long, or holds control characters.
    #[error("bad name")]
    Name,
    /// Another text is too long to be kept.
    #[error("text too long")]
    TextTooLong,
    /// A derivative without a believable last day.
    #[error("bad expiry")]
    Expiry,
    /// An option without a strike above zero.
    #[error("bad strike")]
    Strike,
    /// An option that is neither call nor put.
    #[error("bad option type")]
    OptionType,
    /// Tick size, lot size, multiplier or freeze quantity is no number: columns may be shifted.
    #[error("bad tick size, lot size, multiplier or freeze quantity")]
    Figures,
    /// An index list's entry is not `NAME_ID`.
    #[error("bad index list entry")]
    IndexEntry,
    /// The table cannot take more.
    #[error("too many instruments")]
    Full,
}

/// What a usable row says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) exchange: Exchange,
    pub(super) code: u32,
    pub(super) kind: InstrumentKind,
    /// The venue's name: the underlying's for derivatives.
    pub(super) name: &'a str,
    /// What the broker shows: its display name for cash, its description for derivatives.
    pub(super) broker_symbol: &'a str,
    pub(super) series: &'a str,
    pub(super) isin: &'a str,
    pub(super) expiry: Option<Date>,
    pub(super) strike: Price,
    pub(super) tick_size: Price,
    pub(super) lot_size: u32,
    pub(super) multiplier: u32,
    pub(super) freeze_quantity: i64,
}

// Columns, counted from 0. The same in all three forms:
const SEGMENT: usize = 0;
const ID: usize = 1;
const TYPE: usize = 2;
const NAME: usize = 3;
const DESCRIPTION: usize = 4;
const SERIES: usize = 5;
const FREEZE_QUANTITY: usize = 10;
const TICK_SIZE: usize = 11;
const LOT_SIZE: usize = 12;
const MULTIPLIER: usize = 13;
// Cash:
const DISPLAY_NAME: usize = 14;
const ISIN: usize = 15;
// Futures and options:
const EXPIRY: usize = 16;
// Options:
const STRIKE: usize = 17;
const OPTION_TYPE: usize = 18;

const CASH_WIDTH: usize = DISPLAY_NAME + 1;
const FUTURE_WIDTH: usize = EXPIRY + 1;
const OPTION_WIDTH: usize = OPTION_TYPE + 1;

const TYPE_FUTURE: u32 = 1;
const TYPE_OPTION: u32 = 2;
const TYPE_SPREAD: u32 = 4;

/// Segments that the venue has and tickgate does not serve.
/// Source: XTS `GET {md}/config/clientConfig`, `exchangeSegments`.
const UNSERVED: [&str; 9] = ["NSECO", "SLBM", "NIFSC", "BSECD", "BSECO", "NCDEX", "MSECM", "MSEFO", "MSECD"];

/// Reads a row. `None`: a proper row of something that has no OpenAlgo symbol here (spreads,
/// other series and segments).
pub(super) fn parse(line: &str) -> Result<Option<Entry<'_>>, BadReason> {
    let mut columns = [""; OPTION_WIDTH];
    let mut width = 0;
    for (slot, column) in columns.iter_mut().zip(line.split('|')) {
        *slot = column.trim_ascii();
        width += 1;
    }
    let Some(segment) = Segment::from_xts_name(columns[SEGMENT]) else {
        return if UNSERVED.contains(&columns[SEGMENT]) { Ok(None) } else { Err(BadReason::Segment) };
    };
    if width < CASH_WIDTH {
        return Err(BadReason::TooFewColumns);
    }
    let code = parse_digits(columns[ID]).filter(|code| *code > 0).ok_or(BadReason::Id)?;
    let instrument_type = parse_digits(columns[TYPE]).ok_or(BadReason::Type)?;
    let Some((exchange, form)) = classify(segment, instrument_type, columns[SERIES]) else {
        return Ok(None);
    };
    let width_needed = match form {
        Form::Equity | Form::Index => CASH_WIDTH,
        Form::Future => FUTURE_WIDTH,
        Form::Option => OPTION_WIDTH,
    };
    if width < width_needed {
        return Err(BadReason::TooFewColumns);
    }
    let (kind, expiry, strike) = match form {
        Form::Equity => (InstrumentKind::Equity, None, Price::ZERO),
        Form::Index => (InstrumentKind::Index, None, Price::ZERO),
        Form::Future => (InstrumentKind::Future, Some(parse_expiry(columns[EXPIRY])?), Price::ZERO),
        Form::Option => {
            let right = parse_right(columns[OPTION_TYPE])?;
            let strike = Price::parse(columns[STRIKE].as_bytes()).filter(|strike| strike.is_positive());
            let kind = InstrumentKind::Option(right);
            (kind, Some(parse_expiry(columns[EXPIRY])?), strike.ok_or(BadReason::Strike)?)
        }
    };
    let (broker_symbol, isin) = match form {
        Form::Equity | Form::Index => (columns[DISPLAY_NAME], columns[ISIN]),
        Form::Future | Form::Option => (columns[DESCRIPTION], ""),
    };
    let entry = Entry {
        exchange,
        code,
        kind,
        name: columns[NAME],
        broker_symbol,
        series: columns[SERIES],
        isin,
        expiry,
        strike,
        tick_size: parse_decimal(columns[TICK_SIZE])?,
        lot_size: parse_count(columns[LOT_SIZE])?,
        multiplier: parse_multiplier(columns[MULTIPLIER])?,
        freeze_quantity: parse_loosely(columns[FREEZE_QUANTITY])?.0,
    };
    Ok(Some(entry))
}

/// Reads an entry of an index list, `NIFTY 50_26000`. `None`: indices of a segment without an
/// OpenAlgo exchange for them. OpenAlgo gives all of them lot size 1 and tick size 0.05.
pub(super) fn parse_index(segment: i64, entry: &str) -> Result<Option<Entry<'_>>, BadReason> {
    let exchange = match Segment::from_number(segment) {
        Some(Segment::NseCash) => Exchange::NseIndex,
        Some(Segment::BseCash) => Exchange::BseIndex,
        _ => return Ok(None),
    };
    let (name, code) = entry.rsplit_once('_').ok_or(BadReason::IndexEntry)?;
    let code = parse_digits(code.trim_ascii()).filter(|code| *code > 0).ok_or(BadReason::IndexEntry)?;
    let entry = Entry {
        exchange,
        code,
        kind: InstrumentKind::Index,
        name: name.trim_ascii(),
        broker_symbol: entry.trim_ascii(),
        series: "INDEX",
        isin: "",
        expiry: None,
        strike: Price::ZERO,
        tick_size: Price::from_nanos(50_000_000),
        lot_size: 1,
        multiplier: 1,
        freeze_quantity: 0,
    };
    Ok(Some(entry))
}

/// How a row is to be read.
#[derive(Clone, Copy)]
enum Form {
    Equity,
    Index,
    Future,
    Option,
}

/// Which exchange a row belongs to, and how to read it; `None` if it has no symbol here.
fn classify(segment: Segment, instrument_type: u32, series: &str) -> Option<(Exchange, Form)> {
    let derivatives = match segment {
        Segment::NseCash | Segment::BseCash => {
            if matches!(instrument_type, TYPE_FUTURE | TYPE_OPTION | TYPE_SPREAD) {
                return None;
            }
            return match (segment, series) {
                (Segment::NseCash, "EQ") => Some((Exchange::Nse, Form::Equity)),
                // NSE's indices come from the index list.
                (Segment::NseCash, _) => None,
                (_, "SPOT") => Some((Exchange::BseIndex, Form::Index)),
                _ => Some((Exchange::Bse, Form::Equity)),
            };
        }
        Segment::NseFo => Exchange::Nfo,
        Segment::BseFo => Exchange::Bfo,
        Segment::NseCurrency => Exchange::Cds,
        Segment::Mcx => Exchange::Mcx,
    };
    match instrument_type {
        TYPE_FUTURE => Some((derivatives, Form::Future)),
        TYPE_OPTION => Some((derivatives, Form::Option)),
        _ => None,
    }
}

/// `3` and `4` are European, as all of today's contracts.
fn parse_right(text: &str) -> Result<Right, BadReason> {
    match text {
        "3" | "CE" => Ok(Right::Call),
        "4" | "PE" => Ok(Right::Put),
        _ => Err(BadReason::OptionType),
    }
}

/// `2026-02-17T14:30:00`: the date counts; the time is not the moment of expiry. A symbol has two
/// digits for the year, so the century must be this one.
fn parse_expiry(text: &str) -> Result<Date, BadReason> {
    let parse = || {
        let (day, rest) = text.split_at_checked(10)?;
        let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *day.as_bytes() else { return None };
        let number = |digits: &[u8]| {
            digits.iter().try_fold(0_i16, |sum, digit| {
                digit.is_ascii_digit().then(|| sum * 10 + i16::from(digit - b'0'))
            })
        };
        let year = number(&[y1, y2, y3, y4]).filter(|year| (2000..2100).contains(year))?;
        let (month, day) = (number(&[m1, m2])? as i8, number(&[d1, d2])? as i8);
        (rest.is_empty() || rest.starts_with('T')).then_some(())?;
        Date::new(year, month, day).ok()
    };
    parse().ok_or(BadReason::Expiry)
}

/// Digits only: no sign, no blank.
fn parse_digits(text: &str) -> Option<u32> {
    // `u32::from_str` takes a plus sign.
    if text.starts_with('+') { None } else { text.parse().ok() }
}

fn parse_decimal(text: &str) -> Result<Price, BadReason> {
    Price::parse(text.as_bytes()).filter(|price| *price >= Price::ZERO).ok_or(BadReason::Figures)
}

/// A whole number, be it written `65.00`.
fn parse_count(text: &str) -> Result<u32, BadReason> {
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|b| b == b'0') => whole,
        Some(_) => return Err(BadReason::Figures),
        None => text,
    };
    parse_digits(whole).ok_or(BadReason::Figures)
}

/// The multiplier; 0 if the broker sent none, or none that is whole.
fn parse_multiplier(text: &str) -> Result<u32, BadReason> {
    let (whole, exact) = parse_loosely(text)?;
    Ok(u32::try_from(whole).ok().filter(|_| exact).unwrap_or(0))
}

/// A figure that nothing depends on: the whole part, and whether that is all of it. An empty or
/// negative one is 0. Letters are refused: they mean that the columns are shifted.
fn parse_loosely(text: &str) -> Result<(i64, bool), BadReason> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.bytes().chain(decimals.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(BadReason::Figures);
    }
    if whole.is_empty() || text.len() > digits.len() {
        return Ok((0, false));
    }
    Ok((whole.parse().unwrap_or(i64::MAX), decimals.bytes().all(|b| b == b'0')))
}
