//! What the simulated broker trades, computed from a date. Not how prices move.

mod expiries;
mod rows;
mod tables;

use std::collections::HashMap;

use jiff::civil::{Date, Weekday};

use crate::market::{Exchange, InstrumentId, Price, Right, Segment};
use tables::{BSE_INDICES, COMMODITIES, Index, NSE_INDICES, SHARES};

/// Strikes on each side of the one at the money.
const WINGS: i64 = 10;

/// One instrument on offer.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) id: InstrumentId,
    pub(crate) exchange: Exchange,
    /// As OpenAlgo names it.
    pub(crate) symbol: String,
    pub(crate) kind: Kind,
    pub(crate) tick: Price,
    /// Units in one lot; 1 for shares and indices.
    pub(crate) lot: u32,
    pub(crate) previous_close: Price,
    /// What its past was drawn to; the same on every day.
    pub(crate) base: Price,
    pub(crate) activity: Activity,
    /// Its row of the instrument master; NSE indices have none.
    pub(crate) row: Option<String>,
}

impl Listing {
    /// Lowest and highest price that orders may have, as the master says; `None` where it does
    /// not.
    pub(crate) fn band(&self) -> Option<(Price, Price)> {
        let mut columns = self.row.as_deref()?.split('|').skip(8);
        let mut price = || Price::parse(columns.next()?.as_bytes());
        let (high, low) = (price()?, price()?);
        high.is_positive().then_some((low, high))
    }
}

/// What an instrument is, as far as prices depend on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Share,
    Index,
    /// Follows the listing at `underlying`, if there is one.
    Future {
        underlying: Option<usize>,
        days: i32,
    },
    Option {
        underlying: usize,
        strike: Price,
        right: Right,
        days: i32,
    },
}

/// How often an instrument moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Activity {
    /// Updates a second in a walk.
    pub(crate) rate: f64,
    /// A replay hands it every `stride`-th message of the capture.
    pub(crate) stride: usize,
}

/// Everything on offer on one day.
#[derive(Debug)]
pub(crate) struct Catalogue {
    pub(crate) date: Date,
    listings: Vec<Listing>,
    by_id: HashMap<InstrumentId, usize>,
    /// Rows of the master that nobody can subscribe: other series and spreads.
    unlisted: Vec<(Segment, String)>,
}

impl Catalogue {
    /// The instruments of `today`, a date in IST. The same date gives the same instruments.
    pub(crate) fn build(today: Date) -> Self {
        let mut builder = Builder { today, listings: Vec::new(), unlisted: Vec::new() };
        builder.shares();
        builder.indices();
        builder.index_derivatives();
        builder.share_derivatives();
        builder.commodities_and_currencies();
        let Builder { listings, unlisted, .. } = builder;
        let by_id = listings.iter().enumerate().map(|(index, l)| (l.id, index)).collect();
        Self { date: today, listings, by_id, unlisted }
    }

    pub(crate) fn listings(&self) -> &[Listing] {
        &self.listings
    }

    /// Where in [`Self::listings`] an instrument stands.
    pub(crate) fn position(&self, id: InstrumentId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// The master of one segment: rows separated by newlines, the last one ended by one too.
    pub(crate) fn master(&self, segment: Segment, out: &mut String) {
        let listed = self.listings.iter().filter(|l| l.id.segment == segment).filter_map(|l| l.row.as_ref());
        let unlisted = self.unlisted.iter().filter(|(s, _)| *s == segment).map(|(_, row)| row);
        for row in listed.chain(unlisted) {
            out.push_str(row);
            out.push('\n');
        }
    }

    /// The entries of the index list of one segment.
    pub(crate) fn index_list(segment: Segment) -> Vec<String> {
        let table: &[Index] = match segment {
            Segment::NseCash => &NSE_INDICES,
            Segment::BseCash => &BSE_INDICES,
            _ => &[],
        };
        table.iter().map(|(name, code, _, _)| format!("{name}_{code}")).collect()
    }
}

struct Builder {
    today: Date,
    listings: Vec<Listing>,
    unlisted: Vec<(Segment, String)>,
}

/// The family of contracts on one underlying.
struct Family {
    exchange: Exchange,
    name: &'static str,
    /// `UnderlyingIndexName` of the master.
    full_name: &'static str,
    series_future: &'static str,
    series_option: &'static str,
    underlying: Option<usize>,
    underlying_id: i64,
    lot: u32,
    tick: Price,
    price: Price,
    stride: usize,
}

impl Builder {
    fn shares(&mut self) {
        for (rank, &(symbol, nse, bse, company, isin, close)) in SHARES.iter().enumerate() {
            let price = paise(close);
            let rate = if rank < 25 { 3.0 } else { 1.2 };
            let stride = if rank < 3 { 1 } else { 16 };
            let listed = [
                (Exchange::Nse, "EQ", nse, share_tick(price), rate, stride),
                (Exchange::Bse, "A", bse, paise(5), rate / 3.0, stride * 8),
            ];
            for (exchange, series, code, tick, rate, stride) in listed {
                if code == 0 {
                    continue;
                }
                let id = InstrumentId { segment: exchange.segment(), code };
                let cash = rows::Cash { id, name: symbol, series, tick, price, company, isin };
                self.listings.push(Listing {
                    id,
                    exchange,
                    symbol: symbol.to_owned(),
                    kind: Kind::Share,
                    tick,
                    lot: 1,
                    previous_close: price.round_to(tick),
                    base: price.round_to(tick),
                    activity: Activity { rate, stride },
                    row: Some(rows::cash(&cash)),
                });
            }
        }
        // A block-deal series of a share that also has EQ: real masters are full of these.
        let id = InstrumentId { segment: Segment::NseCash, code: 3046 };
        let (price, company) = (paise(106_480), "STATE BANK OF INDIA");
        let cash = rows::Cash {
            id,
            name: "SBIN",
            series: "BL",
            tick: paise(5),
            price,
            company,
            isin: "INE062A01020",
        };
        self.unlisted.push((id.segment, rows::cash(&cash)));
    }

    fn indices(&mut self) {
        let tables = [(Exchange::NseIndex, &NSE_INDICES[..]), (Exchange::BseIndex, &BSE_INDICES[..])];
        for (exchange, table) in tables {
            for &(name, code, symbol, close) in table {
                let id = InstrumentId { segment: exchange.segment(), code };
                let (rate, stride) = match symbol {
                    "NIFTY" => (1.5, 1),
                    "BANKNIFTY" | "SENSEX" => (1.5, 4),
                    _ => (1.0, 16),
                };
                // The volatility index is quoted finer than the others of NSE.
                let tick = if exchange == Exchange::NseIndex && symbol != "INDIAVIX" { 5 } else { 1 };
                self.listings.push(Listing {
                    id,
                    exchange,
                    symbol: symbol.to_owned(),
                    kind: Kind::Index,
                    tick: paise(tick),
                    lot: 1,
                    previous_close: paise(close),
                    base: paise(close),
                    activity: Activity { rate, stride },
                    row: (exchange == Exchange::BseIndex).then(|| rows::spot(id, name)),
                });
            }
        }
    }

    fn index_derivatives(&mut self) {
        let weekly = |exchange, day, count| expiries::weekly(self.today, exchange, day, count);
        let nifty_weeks = weekly(Exchange::Nfo, Weekday::Tuesday, 2);
        let sensex_weeks = weekly(Exchange::Bfo, Weekday::Thursday, 1);
        let nse_months = expiries::monthly(self.today, Exchange::Nfo, Weekday::Tuesday, 3);
        let bse_months = expiries::monthly(self.today, Exchange::Bfo, Weekday::Thursday, 2);

        let families = [
            (Exchange::Nfo, "NIFTY", "Nifty 50", 65, 50, nifty_weeks, &nse_months, 40_000),
            (
                Exchange::Nfo,
                "BANKNIFTY",
                "Nifty Bank",
                30,
                100,
                nse_months[..1].to_vec(),
                &nse_months,
                45_000,
            ),
            (Exchange::Nfo, "FINNIFTY", "Nifty Fin Service", 60, 50, Vec::new(), &nse_months, 0),
            (Exchange::Bfo, "SENSEX", "SENSEX", 20, 100, sensex_weeks, &bse_months, 870_000),
        ];
        for (number, (exchange, name, full_name, lot, step, chain, months, first_code)) in
            (0_u32..).zip(families)
        {
            let underlying = self.find(name);
            let nse = exchange == Exchange::Nfo;
            let family = Family {
                exchange,
                name,
                full_name,
                series_future: if nse { "FUTIDX" } else { "IF" },
                series_option: if nse { "OPTIDX" } else { "IO" },
                underlying: Some(underlying),
                underlying_id: -1,
                lot,
                tick: paise(if nse { 10 } else { 5 }),
                price: self.listings[underlying].previous_close,
                stride: [1, 4, 16, 16][number as usize % 4],
            };
            let first_future = if nse { 59_000 } else { 860_000 };
            self.futures(&family, months, first_future + number * 12);
            for expiry in chain {
                // The exchanges re-use numbers after expiry; so do we, after six weeks.
                let week = expiry.duration_since(jiff::civil::date(1970, 1, 1)).as_hours() / (24 * 7);
                let first = first_code + (week.rem_euclid(6) as u32) * 400;
                self.options(&family, expiry, paise(step * 100), WINGS, first, months);
            }
            if number == 0 {
                let id = InstrumentId { segment: Segment::NseFo, code: 64_001 };
                let near = rows::month_code(months[0]);
                let row =
                    rows::spread(id, name, &format!("NIFTY{near}{}FUT", &rows::month_code(months[1])[2..]));
                self.unlisted.push((id.segment, row));
            }
        }
    }

    fn share_derivatives(&mut self) {
        let months = expiries::monthly(self.today, Exchange::Nfo, Weekday::Tuesday, 2);
        let lots = [
            ("RELIANCE", 500),
            ("HDFCBANK", 550),
            ("TCS", 175),
            ("INFY", 400),
            ("ICICIBANK", 700),
            ("SBIN", 750),
            ("ITC", 1600),
            ("M&M", 200),
            ("BAJAJ-AUTO", 75),
        ];
        for (number, (name, lot)) in (0_u32..).zip(lots) {
            let underlying = self.find(name);
            let share = &self.listings[underlying];
            let family = Family {
                exchange: Exchange::Nfo,
                name,
                full_name: name,
                series_future: "FUTSTK",
                series_option: "OPTSTK",
                underlying: Some(underlying),
                underlying_id: 1_100_100_000_000 + i64::from(share.id.code),
                lot,
                tick: paise(5).max(share.tick),
                price: share.previous_close,
                stride: 32,
            };
            self.futures(&family, &months, 52_000 + number * 12);
            if name == "ITC" {
                // Its strikes are 2.50 apart: decimals in symbols.
                let month = months[0].month() as u32;
                self.options(&family, months[0], paise(250), 3, 55_000 + (month % 4) * 100, &months);
            }
        }
    }

    fn commodities_and_currencies(&mut self) {
        for (number, &(name, day, tick, lot, close)) in (0_u32..).zip(&COMMODITIES) {
            let months = expiries::day_of_month(self.today, Exchange::Mcx, day, 2);
            let family = Family {
                exchange: Exchange::Mcx,
                name,
                full_name: name,
                series_future: "FUTCOM",
                series_option: "OPTFUT",
                underlying: None,
                underlying_id: -1,
                lot,
                tick: paise(tick),
                price: paise(close),
                stride: 16,
            };
            self.futures(&family, &months, 472_000 + number * 12);
        }
        for (number, (name, close)) in
            (0_u32..).zip([("USDINR", 9_041), ("EURINR", 10_685), ("GBPINR", 12_213)])
        {
            let months = expiries::day_of_month(self.today, Exchange::Cds, 26, 2);
            let family = Family {
                exchange: Exchange::Cds,
                name,
                full_name: name,
                series_future: "FUTCUR",
                series_option: "OPTCUR",
                underlying: None,
                underlying_id: -1,
                lot: 1,
                // A quarter of a paisa.
                tick: Price::from_nanos(2_500_000),
                price: paise(close),
                stride: 16,
            };
            self.futures(&family, &months, 10_000 + number * 12);
        }
    }

    fn find(&self, symbol: &str) -> usize {
        // Called with names of the tables above only, after the tables are listed.
        let found =
            self.listings.iter().position(|l| l.symbol == symbol && l.exchange.segment() != Segment::BseFo);
        found.unwrap_or_default()
    }

    fn futures(&mut self, family: &Family, months: &[Date], first_code: u32) {
        for (nth, &expiry) in months.iter().enumerate() {
            let code = first_code + expiry.month() as u32 - 1;
            let id = InstrumentId { segment: family.exchange.segment(), code };
            let days = days_between(self.today, expiry);
            // Carry of about 6.5 % a year.
            let carry = family.price.as_nanos() / 1000 * i64::from(days) * 65 / 365;
            let previous_close = Price::from_nanos(family.price.as_nanos() + carry).round_to(family.tick);
            self.listings.push(Listing {
                id,
                exchange: family.exchange,
                symbol: format!("{}{}FUT", family.name, rows::symbol_date(expiry)),
                kind: Kind::Future { underlying: family.underlying, days },
                tick: family.tick,
                lot: family.lot,
                previous_close,
                base: family.price.round_to(family.tick),
                activity: Activity {
                    rate: [4.0, 1.5, 0.5][nth.min(2)],
                    stride: family.stride << (4 * nth.min(2)),
                },
                row: Some(rows::future(&rows::Contract { id, expiry, price: previous_close, family })),
            });
        }
    }

    fn options(
        &mut self,
        family: &Family,
        expiry: Date,
        step: Price,
        wings: i64,
        first_code: u32,
        months: &[Date],
    ) {
        let Some(underlying) = family.underlying else { return };
        let at_the_money = family.price.round_to(step).as_nanos() / step.as_nanos();
        let days = days_between(self.today, expiry);
        for (nth, offset) in (0_u32..).zip(-wings..=wings) {
            let strike = Price::from_nanos((at_the_money + offset) * step.as_nanos());
            for (right, letters, last) in [(Right::Call, "CE", 0), (Right::Put, "PE", 1)] {
                let id =
                    InstrumentId { segment: family.exchange.segment(), code: first_code + nth * 2 + last };
                let previous_close = fair_option(family.price, strike, right, days, paise(5));
                let contract = rows::Contract { id, expiry, price: previous_close, family };
                let strike_text = rows::plain(strike);
                self.listings.push(Listing {
                    id,
                    exchange: family.exchange,
                    symbol: format!("{}{}{strike_text}{letters}", family.name, rows::symbol_date(expiry)),
                    kind: Kind::Option { underlying, strike, right, days },
                    tick: paise(5),
                    lot: family.lot,
                    previous_close,
                    base: fair_option(family.price, strike, right, 20, paise(5)),
                    activity: Activity {
                        rate: 4.0 / (1.0 + (offset.abs() as f64) * 0.6),
                        stride: if offset.abs() <= 1 { 16 } else { 128 },
                    },
                    row: Some(rows::option(&contract, &strike_text, right, months.contains(&expiry))),
                });
            }
        }
    }
}

/// A plausible price: intrinsic value plus time value that falls off away from the strike
/// (16 % volatility a year). Call minus put is always spot minus strike.
pub(crate) fn fair_option(spot: Price, strike: Price, right: Right, days: i32, tick: Price) -> Price {
    let (s, k) = (spot.as_nanos() as f64, strike.as_nanos() as f64);
    let deviation = s * 0.16 * (f64::from(days.max(1)) / 365.0).sqrt();
    let time_value = 0.4 * deviation * (-1.1 * (s - k).abs() / deviation).exp();
    let intrinsic = match right {
        Right::Call => s - k,
        Right::Put => k - s,
    };
    Price::from_nanos((intrinsic.max(0.0) + time_value) as i64).round_to(tick).max(tick)
}

/// NSE's tick sizes by price, since April 2025.
fn share_tick(price: Price) -> Price {
    match price.as_nanos() / Price::from_rupees(1).as_nanos() {
        ..250 => paise(1),
        250..=1000 => paise(5),
        1001..=5000 => paise(10),
        5001..=10_000 => paise(50),
        10_001..=20_000 => paise(100),
        _ => paise(500),
    }
}

const fn paise(paise: i64) -> Price {
    Price::from_nanos(paise * 10_000_000)
}

fn days_between(from: Date, to: Date) -> i32 {
    (to.duration_since(from).as_hours() / 24) as i32
}

/// Rounding onto a tick grid.
pub(crate) trait OnGrid {
    /// The nearest price on the grid, half up.
    fn round_to(self, tick: Price) -> Price;
}

impl OnGrid for Price {
    fn round_to(self, tick: Price) -> Price {
        let (units, step) = (self.as_nanos(), tick.as_nanos());
        Price::from_nanos((units + step / 2).div_euclid(step) * step)
    }
}

#[cfg(test)]
mod tests;
