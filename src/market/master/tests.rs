//! Tests of the master as a whole.

use jiff::civil::date;
use proptest::prelude::*;

use super::*;
use crate::market::Segment;

/// Rows as the XTS documentation prints them for NSE, and of the same form for BSE and MCX.
const ROWS: &str = "\
NSECM|2885|8|RELIANCE|RELIANCE-EQ|EQ|RELIANCE-EQ|1100100002885|1598|1307.6|676621|0.1|1|1|RELIANCE|INE002A01018|1|1|RELIANCE INDUSTRIES LTD-EQ|0|1|1
NSEFO|48225|2|NIFTY|NIFTY2621725700PE|OPTIDX|NIFTY-OPTIDX|2604800048225|588|114.5|1801|0.05|65|1|-1|Nifty 50|2026-02-17T14:30:00|25700|4|NIFTY 17FEB2026 PE 25700|1|1|NIFTY2621725700PE
NSEFO|59182|1|NIFTY|NIFTY26FEBFUT|FUTIDX|NIFTY-FUTIDX|2605500059182|28369.8|23211.8|1801|0.1|65|1|-1|Nifty 50|2026-02-24T14:30:00|NIFTY 24FEB2026|1|1|NIFTY26FEBFUT
NSEFO|52011|1|RELIANCE|RELIANCE26FEBFUT|FUTSTK|RELIANCE-FUTSTK|2605500052011|1608|1316|20000|0.1|500|1|1100100002885|RELIANCE|2026-02-24T14:30:00|RELIANCE 24FEB2026|1|1|RELIANCE26FEBFUT
BSECM|500325|8|RELIANCE|RELIANCE-A|A|RELIANCE-A|11100100500325|1598|1307.6|676000|0.05|1|1|RELIANCE|INE002A01018|1|1|RELIANCE INDUSTRIES LTD-A|0|1|1
BSECM|1|16|SENSEX|SENSEX|SPOT|SENSEX-SPOT|11100100000001|0|0|1|0.01|1|1|SENSEX||1|1|SENSEX|0|1|1
BSEFO|876543|2|SENSEX|SENSEX2621984000CE|IO|SENSEX-IO|12605000876543|1200|0.05|1000|0.05|20|1|-1|SENSEX|2026-02-19T15:30:00|84000|3|SENSEX 19FEB2026 CE 84000|1|1|SENSEX2621984000CE
MCXFO|472789|1|CRUDEOIL|CRUDEOIL26FEBFUT|FUTCOM|CRUDEOIL-FUTCOM|51605000472789|6500|5200|10000|1|100|1|-1|CRUDEOIL|2026-02-19T23:30:00|CRUDEOIL 19FEB2026|1|1|CRUDEOIL26FEBFUT
";

const EQUITY: &str = "NSECM|2885|8|RELIANCE|RELIANCE-EQ|EQ|RELIANCE-EQ|1100100002885|1598|1307.6|676621|0.1|1|1|RELIANCE|INE002A01018|1|1|RELIANCE INDUSTRIES LTD-EQ|0|1|1";
const OPTION: &str = "NSEFO|48225|2|NIFTY|NIFTY2621725700PE|OPTIDX|NIFTY-OPTIDX|2604800048225|588|114.5|1801|0.05|65|1|-1|Nifty 50|2026-02-17T14:30:00|25700|4|NIFTY 17FEB2026 PE 25700|1|1|NIFTY2621725700PE";

fn build(rows: &str) -> (Master, Report) {
    let mut builder = MasterBuilder::new();
    builder.add_rows(rows);
    builder.finish()
}

fn id(segment: Segment, code: u32) -> InstrumentId {
    InstrumentId { segment, code }
}

/// `row` with column `number` (from 1) replaced.
fn with_column(row: &str, number: usize, text: &str) -> String {
    let mut columns: Vec<&str> = row.split('|').collect();
    columns[number - 1] = text;
    columns.join("|")
}

#[test]
fn the_documented_rows_resolve_both_ways() {
    let (master, report) = build(ROWS);
    assert_eq!(report, Report { rows: 8, instruments: 8, ..Report::default() });
    for (exchange, symbol, segment, code) in [
        (Exchange::Nse, "RELIANCE", Segment::NseCash, 2885),
        (Exchange::Nfo, "NIFTY17FEB2625700PE", Segment::NseFo, 48225),
        (Exchange::Nfo, "NIFTY24FEB26FUT", Segment::NseFo, 59182),
        (Exchange::Nfo, "RELIANCE24FEB26FUT", Segment::NseFo, 52011),
        (Exchange::Bse, "RELIANCE", Segment::BseCash, 500_325),
        (Exchange::BseIndex, "SENSEX", Segment::BseCash, 1),
        (Exchange::Bfo, "SENSEX19FEB2684000CE", Segment::BseFo, 876_543),
        (Exchange::Mcx, "CRUDEOIL19FEB26FUT", Segment::Mcx, 472_789),
    ] {
        assert_eq!(master.resolve(exchange, symbol), Some(id(segment, code)), "{exchange}:{symbol}");
        assert_eq!(master.name(id(segment, code)), Some((exchange, symbol)));
    }
    assert_eq!(master.resolve(Exchange::Nse, "reliance"), None, "case counts");
    assert_eq!(master.resolve(Exchange::Nse, "SENSEX"), None);
    assert_eq!(master.resolve(Exchange::Bse, "SENSEX"), None);
    assert_eq!(master.name(id(Segment::NseCash, 1)), None, "ids are unique within a segment only");
    assert_eq!(master.iter().len(), 8);
}

#[test]
fn expired_contracts_leave_a_list_of_an_earlier_day_and_nothing_else_does() {
    let (master, _) = build(ROWS);
    assert!(master.without_expired(date(2026, 2, 17)).is_none(), "the last day counts");
    // The option of the 17th, then those of the 19th, and futures of the 24th are still there.
    let left = master.without_expired(date(2026, 2, 20)).unwrap();
    assert_eq!(left.len(), 5);
    for (exchange, symbol) in [
        (Exchange::Nfo, "NIFTY17FEB2625700PE"),
        (Exchange::Bfo, "SENSEX19FEB2684000CE"),
        (Exchange::Mcx, "CRUDEOIL19FEB26FUT"),
    ] {
        let gone = master.resolve(exchange, symbol).unwrap();
        assert_eq!(left.resolve(exchange, symbol), None);
        assert_eq!((left.name(gone), left.get(gone)), (None, None));
    }
    for instrument in left.iter() {
        assert_eq!(master.get(instrument.id), Some(instrument));
        assert_eq!(left.resolve(instrument.exchange, instrument.symbol), Some(instrument.id));
    }
    assert_eq!(left.get(id(Segment::NseFo, 59182)).unwrap().symbol, "NIFTY24FEB26FUT");
}

#[test]
fn a_list_that_lacks_a_whole_exchange_is_noticed() {
    let (master, _) = build(ROWS);
    let without: Vec<_> =
        ROWS.lines().filter(|row| !row.starts_with("MCXFO") && !row.contains("|SPOT|")).collect();
    let (smaller, _) = build(&without.join("\n"));
    assert_eq!(master.exchanges_missing_in(&smaller), [Exchange::Mcx, Exchange::BseIndex]);
    assert_eq!(smaller.exchanges_missing_in(&master), []);
}

#[test]
fn every_column_lands_where_it_belongs() {
    let (master, _) = build(ROWS);
    let price = |text: &str| Price::parse(text.as_bytes()).unwrap();
    assert_eq!(
        master.get(id(Segment::NseCash, 2885)).unwrap(),
        Instrument {
            id: id(Segment::NseCash, 2885),
            exchange: Exchange::Nse,
            kind: InstrumentKind::Equity,
            symbol: "RELIANCE",
            broker_symbol: "RELIANCE",
            name: "RELIANCE",
            series: "EQ",
            isin: Some("INE002A01018"),
            expiry: None,
            strike: None,
            tick_size: price("0.1"),
            lot_size: 1,
            multiplier: 1,
            freeze_quantity: 676_621,
        }
    );
    let option = master.get(id(Segment::NseFo, 48225)).unwrap();
    assert_eq!(
        option,
        Instrument {
            id: id(Segment::NseFo, 48225),
            exchange: Exchange::Nfo,
            kind: InstrumentKind::Option(Right::Put),
            symbol: "NIFTY17FEB2625700PE",
            broker_symbol: "NIFTY2621725700PE",
            name: "NIFTY",
            series: "OPTIDX",
            isin: None,
            expiry: Some(date(2026, 2, 17)),
            strike: Some(price("25700")),
            tick_size: price("0.05"),
            lot_size: 65,
            multiplier: 1,
            freeze_quantity: 1801,
        }
    );
    assert_eq!((option.instrument_type(), option.expiry_text().as_str()), ("PE", "17-FEB-26"));
    let future = master.get(id(Segment::Mcx, 472_789)).unwrap();
    assert_eq!((future.kind, future.strike), (InstrumentKind::Future, None));
    assert_eq!((future.lot_size, future.instrument_type(), future.name), (100, "FUT", "CRUDEOIL"));
    let index = master.get(id(Segment::BseCash, 1)).unwrap();
    assert_eq!((index.kind, index.instrument_type(), index.isin), (InstrumentKind::Index, "INDEX", None));
    assert_eq!(index.expiry_text(), "");
    let equity = master.get(id(Segment::BseCash, 500_325)).unwrap();
    assert_eq!((equity.instrument_type(), equity.broker_symbol), ("A", "RELIANCE"));
}

#[test]
fn futures_with_the_options_header_read_the_same() {
    // Some brokers send futures with empty strike and option type columns.
    let row = "NSEFO|59182|1|NIFTY|NIFTY26FEBFUT|FUTIDX|NIFTY-FUTIDX|2605500059182|28369.8|23211.8|1801|0.1|65|1|-1|Nifty 50|2026-02-24T14:30:00||1|NIFTY 24FEB2026|1|1|NIFTY26FEBFUT\r\n";
    let (master, _) = build(row);
    assert_eq!(master.resolve(Exchange::Nfo, "NIFTY24FEB26FUT"), Some(id(Segment::NseFo, 59182)));
}

#[test]
fn a_row_without_an_end_comes_before_an_index_all_the_same() {
    let row = "NSECM|26000|8|FOO|FOO-EQ|EQ|FOO-EQ|1|1|1|1|0.05|1|1|FOO|INE000A01000";
    for end in ["", "\n"] {
        let mut builder = MasterBuilder::new();
        builder.add_chunk(row.as_bytes());
        builder.add_chunk(end.as_bytes());
        builder.add_index(1, "NIFTY 50_26000");
        let (master, report) = builder.finish();
        assert_eq!((master.len(), report.conflicts), (1, 1));
        assert!(master.resolve(Exchange::Nse, "FOO").is_some());
    }
}

#[test]
fn indices_come_from_the_index_list_and_from_spot_rows() {
    let mut builder = MasterBuilder::new();
    builder.add_rows(ROWS);
    for entry in ["NIFTY 50_26000", "NIFTY BANK_26001", "INDIA VIX_26002", "NIFTY_ODD NAME_26500"] {
        builder.add_index(1, entry);
    }
    builder.add_index(11, "SENSEX_1");
    builder.add_index(11, "SNSX50_47");
    builder.add_index(51, "MCXBULLDEX_9");
    builder.add_index(1, "NO NUMBER");
    builder.add_index(1, "NO NUMBER_");
    builder.add_index(1, "_26003");
    let (master, report) = builder.finish();
    for (exchange, symbol, segment, code) in [
        (Exchange::NseIndex, "NIFTY", Segment::NseCash, 26000),
        (Exchange::NseIndex, "BANKNIFTY", Segment::NseCash, 26001),
        (Exchange::NseIndex, "INDIAVIX", Segment::NseCash, 26002),
        (Exchange::NseIndex, "NIFTY_ODDNAME", Segment::NseCash, 26500),
        (Exchange::BseIndex, "SENSEX", Segment::BseCash, 1),
        (Exchange::BseIndex, "SENSEX50", Segment::BseCash, 47),
    ] {
        assert_eq!(master.resolve(exchange, symbol), Some(id(segment, code)), "{symbol}");
    }
    let nifty = master.get(id(Segment::NseCash, 26000)).unwrap();
    assert_eq!((nifty.broker_symbol, nifty.name, nifty.lot_size), ("NIFTY 50_26000", "NIFTY", 1));
    assert_eq!((nifty.series, nifty.tick_size.to_string().as_str()), ("INDEX", "0.05"));
    assert_eq!((report.instruments, report.repeated, report.skipped, report.bad_rows), (13, 1, 1, 3));
    let reasons: Vec<_> = report.first_bad.iter().map(|bad| (bad.line, bad.reason)).collect();
    assert_eq!(reasons, [(0, BadReason::IndexEntry), (0, BadReason::IndexEntry), (0, BadReason::Name)]);
}

#[test]
fn what_has_no_symbol_is_skipped() {
    let rows = [
        with_column(EQUITY, 6, "BE"),
        with_column(OPTION, 3, "4"),
        with_column(OPTION, 3, "16"),
        with_column(EQUITY, 3, "2"),
        with_column(OPTION, 1, "NCDEX"),
        "NSECO|1".to_owned(),
        String::new(),
        "  \r".to_owned(),
    ];
    let (master, report) = build(&rows.join("\n"));
    assert_eq!(report, Report { rows: 6, skipped: 6, ..Report::default() });
    assert!(master.is_empty());
}

#[test]
fn a_bad_row_costs_that_row_and_names_its_line() {
    let cases = [
        (with_column(EQUITY, 1, "NYSE"), BadReason::Segment),
        ("ExchangeSegment|ExchangeInstrumentID".to_owned(), BadReason::Segment),
        (with_column(EQUITY, 2, "+5"), BadReason::Id),
        (with_column(EQUITY, 2, "0"), BadReason::Id),
        (with_column(EQUITY, 2, "99999999999"), BadReason::Id),
        (with_column(EQUITY, 3, "EQ"), BadReason::Type),
        (with_column(EQUITY, 4, " "), BadReason::Name),
        (with_column(EQUITY, 4, "REL\u{1}"), BadReason::Name),
        (with_column(EQUITY, 4, &"R".repeat(256)), BadReason::Name),
        (with_column(EQUITY, 15, &"R".repeat(256)), BadReason::TextTooLong),
        (EQUITY.split('|').take(14).collect::<Vec<_>>().join("|"), BadReason::TooFewColumns),
        (with_column(EQUITY, 12, "tick"), BadReason::Figures),
        (with_column(EQUITY, 12, "-0.05"), BadReason::Figures),
        (with_column(EQUITY, 13, "1.5"), BadReason::Figures),
        (with_column(EQUITY, 13, ""), BadReason::Figures),
        (with_column(EQUITY, 11, "RELIANCE"), BadReason::Figures),
        (with_column(OPTION, 17, "2026-02-30T14:30:00"), BadReason::Expiry),
        (with_column(OPTION, 17, "17Feb2026"), BadReason::Expiry),
        (with_column(OPTION, 17, "1980-01-01T00:00:00"), BadReason::Expiry),
        (with_column(OPTION, 18, "0"), BadReason::Strike),
        (with_column(OPTION, 18, ""), BadReason::Strike),
        (with_column(OPTION, 19, "5"), BadReason::OptionType),
        ("NSEFO|48225|2|NIFTY".to_owned(), BadReason::TooFewColumns),
        (format!("{EQUITY}{}", "x".repeat(20_000)), BadReason::TooLong),
    ];
    for (row, reason) in cases {
        let (master, report) = build(&format!("{OPTION}\n\n{row}\n{EQUITY}"));
        assert_eq!(report.first_bad, [BadRow { line: 3, reason }], "{row:.200}");
        assert_eq!((report.bad_rows, report.rows, master.len()), (1, 3, 2));
    }
}

#[test]
fn figures_that_nothing_depends_on_are_read_leniently() {
    for (column, text, multiplier, freeze_quantity) in [
        (11, "676621.75", 1, 676_621),
        (11, "", 1, 0),
        (11, "-1", 1, 0),
        (14, "", 0, 676_621),
        (14, "1000.0", 1000, 676_621),
        (14, "0.5", 0, 676_621),
    ] {
        let (master, report) = build(&with_column(EQUITY, column, text));
        let instrument = master.iter().next().unwrap_or_else(|| panic!("{text}: {report:?}"));
        assert_eq!(
            (instrument.multiplier, instrument.freeze_quantity),
            (multiplier, freeze_quantity),
            "{text}"
        );
    }
    let (master, _) = build(&with_column(&with_column(OPTION, 18, "25700.50"), 13, "65.00"));
    let instrument = master.iter().next().unwrap();
    assert_eq!((instrument.symbol, instrument.lot_size), ("NIFTY17FEB2625700.5PE", 65));
}

#[test]
fn the_first_of_two_contradicting_rows_wins() {
    let same_symbol = with_column(EQUITY, 2, "77");
    let same_id = with_column(EQUITY, 4, "OTHER");
    let (master, report) = build(&[EQUITY, &same_symbol, &same_id, EQUITY].join("\n"));
    let kept = id(Segment::NseCash, 2885);
    assert_eq!((report.instruments, report.conflicts, report.repeated), (1, 2, 1));
    let conflict = |line, symbol: &str, code| Conflict {
        line,
        exchange: Exchange::Nse,
        symbol: symbol.to_owned(),
        left_out: id(Segment::NseCash, code),
        kept,
    };
    assert_eq!(report.first_conflicts, [conflict(2, "RELIANCE", 77), conflict(3, "OTHER", 2885)]);
    assert_eq!(master.resolve(Exchange::Nse, "RELIANCE"), Some(kept));
    assert_eq!(master.name(kept), Some((Exchange::Nse, "RELIANCE")));
    assert_eq!(master.name(id(Segment::NseCash, 77)), None);
    assert_eq!(master.resolve(Exchange::Nse, "OTHER"), None);
}

#[test]
fn samples_are_few_and_counts_are_complete() {
    let (_, report) = build(&"?\n".repeat(100));
    assert_eq!((report.rows, report.bad_rows), (100, 100));
    assert_eq!(report.first_bad.len(), 8);
}

#[test]
fn a_row_without_end_takes_no_memory() {
    let mut builder = MasterBuilder::new();
    for _ in 0..100 {
        builder.add_chunk(&[b'x'; 1000]);
    }
    builder.add_chunk(b"\n");
    builder.add_chunk(EQUITY.as_bytes());
    builder.add_chunk(b"\n\xff\xfe|\n");
    let (master, report) = builder.finish();
    assert_eq!(master.len(), 1);
    let bad = |line, reason| BadRow { line, reason };
    assert_eq!(report.first_bad, [bad(1, BadReason::TooLong), bad(3, BadReason::NotText)]);
}

/// Rows that are nearly right: a real one with a column replaced.
fn damaged_row() -> impl Strategy<Value = String> {
    let row = proptest::sample::select(ROWS.lines().collect::<Vec<_>>());
    let text = prop_oneof!["[0-9]{0,12}", "[A-Z&|_. -]{0,20}", "\\PC{0,300}", "20[0-9]{2}-[0-9]{2}-[0-9]{2}"];
    (row, 1_usize..=20, text).prop_map(|(row, column, text)| with_column(row, column, &text))
}

fn check_consistent(master: &Master, report: &Report) {
    assert_eq!(master.len(), report.instruments);
    let left_out = report.bad_rows + report.skipped + report.repeated + report.conflicts;
    assert_eq!(report.rows, report.instruments + left_out);
    for instrument in master.iter() {
        assert_eq!(master.resolve(instrument.exchange, instrument.symbol), Some(instrument.id));
        assert_eq!(master.get(instrument.id), Some(instrument));
        assert_eq!(instrument.exchange.segment(), instrument.id.segment);
        assert!(instrument.symbol.starts_with(instrument.name));
        let is_derivative = matches!(instrument.kind, InstrumentKind::Future | InstrumentKind::Option(_));
        assert_eq!(instrument.expiry.is_some(), is_derivative);
    }
}

proptest! {
    #[test]
    fn whatever_is_kept_resolves_both_ways(
        rows in proptest::collection::vec(damaged_row(), 0..40),
        indices in proptest::collection::vec((0_i64..13, "\\PC{0,12}_[0-9]{0,6}"), 0..5),
    ) {
        let mut builder = MasterBuilder::new();
        builder.add_rows(&rows.join("\n"));
        for (segment, entry) in &indices {
            builder.add_index(*segment, entry);
        }
        let (master, report) = builder.finish();
        check_consistent(&master, &report);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8),
        entry in any::<String>(),
    ) {
        let mut builder = MasterBuilder::new();
        for chunk in &chunks {
            builder.add_chunk(chunk);
        }
        builder.add_index(1, &entry);
        let (master, report) = builder.finish();
        check_consistent(&master, &report);
    }

    #[test]
    fn how_the_text_is_cut_makes_no_difference(
        rows in proptest::collection::vec(prop_oneof![damaged_row(), Just(String::new())], 0..12),
        ends_with_newline in any::<bool>(),
        sizes in proptest::collection::vec(1_usize..300, 1..30),
    ) {
        let mut text = rows.join("\n");
        if ends_with_newline {
            text.push('\n');
        }
        let (whole, report) = build(&text);
        let mut builder = MasterBuilder::new();
        let (mut rest, mut sizes) = (text.as_bytes(), sizes.into_iter().cycle());
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(sizes.next().unwrap().min(rest.len()));
            builder.add_chunk(chunk);
            rest = after;
        }
        let (chunked, chunked_report) = builder.finish();
        prop_assert_eq!(report, chunked_report);
        prop_assert!(whole.iter().eq(chunked.iter()));
    }

    #[test]
    fn any_contract_date_survives_packing(year in 2000_i16..2100, month in 1_i8..=12, day in 1_i8..=28) {
        let day = date(year, month, day);
        prop_assert_eq!(unpack_date(pack_date(day)), Some(day));
    }
}
