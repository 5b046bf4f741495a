//! The search over a master: by pieces of names, by underlying, by strike. Reads every row; nothing is indexed
//! for it, because it is asked for by people, not by ticks.

use jiff::civil::Date;

use super::{Instrument, InstrumentKind, Master, Right};
use crate::market::{Exchange, Price};

impl Master {
    /// Instruments in whose names every piece of `query` occurs, whatever the case, or whose strike it is; the best
    /// first, `limit` at most. Best: the symbol itself, then those that begin so, then those that hold it, then
    /// the others; shorter symbols before longer ones.
    pub fn search(&self, query: &str, exchange: Option<Exchange>, limit: usize) -> Vec<Instrument<'_>> {
        let query = query.trim().to_ascii_uppercase();
        let pieces: Vec<_> = query.split_whitespace().map(Piece::of).collect();
        if pieces.is_empty() {
            return Vec::new();
        }
        let mut found: Vec<_> = self
            .iter()
            .filter(|instrument| exchange.is_none_or(|exchange| exchange == instrument.exchange))
            .filter(|instrument| pieces.iter().all(|piece| piece.is_in(instrument)))
            .map(|instrument| (rank(instrument.symbol, &query), instrument.symbol.len(), instrument))
            .collect();
        found.sort_by_key(|(rank, length, instrument)| (*rank, *length, instrument.symbol));
        found.into_iter().take(limit).map(|(.., instrument)| instrument).collect()
    }

    /// The expiries of an underlying's futures or options that are not before `today`, soonest first.
    pub fn expiries(&self, exchange: Exchange, underlying: &str, options: bool, today: Date) -> Vec<Date> {
        let is_kind = |kind| match kind {
            InstrumentKind::Option(_) => options,
            InstrumentKind::Future => !options,
            InstrumentKind::Equity | InstrumentKind::Index => false,
        };
        let mut days: Vec<_> = self
            .iter()
            .filter(|i| i.exchange == exchange && is_kind(i.kind) && i.name == underlying)
            .filter_map(|i| i.expiry.filter(|day| *day >= today))
            .collect();
        days.sort_unstable();
        days.dedup();
        days
    }

    /// The options of an underlying that end on a day, of one right, by strike.
    pub fn options(
        &self,
        exchange: Exchange,
        underlying: &str,
        expiry: Date,
        right: Right,
    ) -> Vec<(Price, Instrument<'_>)> {
        let mut options: Vec<_> = self
            .iter()
            .filter(|i| i.exchange == exchange && i.kind == InstrumentKind::Option(right))
            .filter(|i| i.expiry == Some(expiry) && i.name == underlying)
            .filter_map(|i| Some((i.strike?, i)))
            .collect();
        options.sort_by_key(|(strike, _)| *strike);
        options
    }
}

/// A piece of a query, and what it is if it is a number.
struct Piece<'a> {
    text: &'a str,
    strike: Option<Price>,
}

impl<'a> Piece<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, strike: Price::parse(text.as_bytes()) }
    }

    fn is_in(&self, instrument: &Instrument<'_>) -> bool {
        let texts = [instrument.symbol, instrument.broker_symbol, instrument.name];
        texts.iter().any(|text| contains(text, self.text))
            || (self.strike.is_some() && instrument.strike == self.strike)
            || itoa::Buffer::new().format(instrument.id.code).contains(self.text)
    }
}

fn rank(symbol: &str, query: &str) -> u8 {
    if symbol.eq_ignore_ascii_case(query) {
        0
    } else if symbol.len() >= query.len()
        && symbol.as_bytes()[..query.len()].eq_ignore_ascii_case(query.as_bytes())
    {
        1
    } else if contains(symbol, query) {
        2
    } else {
        3
    }
}

/// Whether `piece`, in capitals, is in `text`, whatever that one's case.
fn contains(text: &str, piece: &str) -> bool {
    text.as_bytes().windows(piece.len()).any(|window| window.eq_ignore_ascii_case(piece.as_bytes()))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::market::MasterBuilder;

    /// Rows as the venue documents them.
    const ROWS: &str = "\
NSECM|2885|8|RELIANCE|RELIANCE-EQ|EQ|RELIANCE-EQ|1100100002885|1598|1307.6|676621|0.1|1|1|RELIANCE|INE002A01018|1|1|RELIANCE INDUSTRIES LTD-EQ|0|1|1
NSEFO|48225|2|NIFTY|NIFTY2621725700PE|OPTIDX|NIFTY-OPTIDX|2604800048225|588|114.5|1801|0.05|65|1|-1|Nifty 50|2026-02-17T14:30:00|25700|4|NIFTY 17FEB2026 PE 25700|1|1|NIFTY2621725700PE
NSEFO|48226|2|NIFTY|NIFTY2621725800PE|OPTIDX|NIFTY-OPTIDX|2604800048226|588|114.5|1801|0.05|65|1|-1|Nifty 50|2026-02-17T14:30:00|25800|4|NIFTY 17FEB2026 PE 25800|1|1|NIFTY2621725800PE
NSEFO|59182|1|NIFTY|NIFTY26FEBFUT|FUTIDX|NIFTY-FUTIDX|2605500059182|28369.8|23211.8|1801|0.1|65|1|-1|Nifty 50|2026-02-24T14:30:00|NIFTY 24FEB2026|1|1|NIFTY26FEBFUT
NSEFO|52011|1|RELIANCE|RELIANCE26FEBFUT|FUTSTK|RELIANCE-FUTSTK|2605500052011|1608|1316|20000|0.1|500|1|1100100002885|RELIANCE|2026-02-24T14:30:00|RELIANCE 24FEB2026|1|1|RELIANCE26FEBFUT
";

    fn master() -> Master {
        let mut builder = MasterBuilder::new();
        builder.add_rows(ROWS);
        builder.finish().0
    }

    fn symbols<'a>(found: &[Instrument<'a>]) -> Vec<&'a str> {
        found.iter().map(|instrument| instrument.symbol).collect()
    }

    #[test]
    fn found_by_pieces_and_ranked() {
        let master = master();
        let find = |query| symbols(&master.search(query, None, 10));
        assert_eq!(find("reliance"), ["RELIANCE", "RELIANCE24FEB26FUT"]);
        assert_eq!(find("nifty 25700"), ["NIFTY17FEB2625700PE"]);
        assert_eq!(find("25800.0"), ["NIFTY17FEB2625800PE"], "a strike");
        assert_eq!(find("59182"), ["NIFTY24FEB26FUT"], "a number");
        assert_eq!(find("fut reliance"), ["RELIANCE24FEB26FUT"]);
        assert!(find("  ").is_empty() && find("nifty tcs").is_empty());
        assert_eq!(symbols(&master.search("RELIANCE", Some(Exchange::Nfo), 10)), ["RELIANCE24FEB26FUT"]);
        assert_eq!(master.search("e", None, 1).len(), 1);
        assert!(find("रिलायंस").is_empty(), "other scripts are looked for too");
    }

    #[test]
    fn expiries_and_strikes() {
        let master = master();
        let today = date(2026, 2, 10);
        let of = |options, today| master.expiries(Exchange::Nfo, "NIFTY", options, today);
        assert_eq!(of(true, today), [date(2026, 2, 17)]);
        assert_eq!(of(false, today), [date(2026, 2, 24)]);
        assert!(of(true, date(2026, 2, 18)).is_empty());
        let puts = master.options(Exchange::Nfo, "NIFTY", date(2026, 2, 17), Right::Put);
        assert_eq!(
            puts.iter().map(|(_, i)| i.symbol).collect::<Vec<_>>(),
            ["NIFTY17FEB2625700PE", "NIFTY17FEB2625800PE"]
        );
        assert!(master.options(Exchange::Nfo, "NIFTY", date(2026, 2, 17), Right::Call).is_empty());
    }
}
