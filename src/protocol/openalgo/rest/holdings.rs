//! Holdings, as `/holdings` shows them: brokers name an ISIN and numbers, so names come from the instrument list
//! and worth from quotes.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;

use serde::Serialize;

use super::decimal::Decimal;
use crate::market::{Exchange, Holding, InstrumentId, InstrumentKind, Master, Price, Segment};

/// One holding. The last two members are beyond what every OpenAlgo broker sends.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OpenAlgo's")]
pub struct HoldingRow<'a> {
    pub symbol: Cow<'a, str>,
    pub exchange: &'static str,
    pub product: &'static str,
    pub quantity: i64,
    /// Zero where the average or the quote is missing, as are the others.
    pub pnl: Decimal,
    pub pnlpercent: Decimal,
    pub average_price: Decimal,
    pub ltp: Decimal,
}

/// The holdings together.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OpenAlgo's")]
pub struct HoldingStatistics {
    /// Of those with a quote.
    pub totalholdingvalue: Decimal,
    /// Of those with an average.
    pub totalinvvalue: Decimal,
    /// Of those with both, as is the percentage.
    pub totalprofitandloss: Decimal,
    pub totalpnlpercentage: Decimal,
    /// How many lack one of the two; beyond OpenAlgo's members.
    pub holdings_without_value: usize,
}

/// What `/holdings` answers.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OpenAlgo's")]
pub struct HoldingsData<'a> {
    pub holdings: Vec<HoldingRow<'a>>,
    pub statistics: HoldingStatistics,
}

/// The instrument of each holding: NSE's if it is there, else BSE's; `None` if neither is in the list. A number
/// whose instrument has another ISIN is not believed.
pub fn instruments(master: &Master, holdings: &[Holding]) -> Vec<Option<InstrumentId>> {
    // One pass over the list, and only if some holding needs it.
    let by_isin = OnceCell::new();
    let by_isin = |segment: Segment, isin: &str| {
        let ids = by_isin.get_or_init(|| table(master, holdings)).get(isin)?;
        ids.iter().find(|id| id.segment == segment).copied()
    };
    let found = holdings.iter().map(|holding| {
        let numbered = [(Segment::NseCash, holding.nse_code), (Segment::BseCash, holding.bse_code)];
        let by_number = numbered.map(|(segment, code)| {
            let id = InstrumentId { segment, code: code? };
            let known = master.get(id).filter(|known| known.kind == InstrumentKind::Equity)?;
            let differs = |isin: &str| !holding.isin.is_empty() && isin != holding.isin;
            (!known.isin.is_some_and(differs)).then_some(id)
        });
        by_number[0]
            .or_else(|| by_isin(Segment::NseCash, &holding.isin))
            .or(by_number[1])
            .or_else(|| by_isin(Segment::BseCash, &holding.isin))
    });
    found.collect()
}

/// The instruments of the holdings' ISINs.
fn table<'a>(master: &Master, holdings: &'a [Holding]) -> HashMap<&'a str, Vec<InstrumentId>> {
    let named = holdings.iter().map(|holding| holding.isin.as_str()).filter(|isin| !isin.is_empty());
    let mut table: HashMap<&str, Vec<InstrumentId>> = named.map(|isin| (isin, Vec::new())).collect();
    for known in master.iter().filter(|known| known.kind == InstrumentKind::Equity) {
        if let Some(ids) = known.isin.and_then(|isin| table.get_mut(isin)) {
            ids.push(known.id);
        }
    }
    table
}

/// The holdings as rows. `ids` are those that [`instruments`] found; `ltp` knows the last prices.
pub fn holdings<'a>(
    master: &'a Master,
    holdings: &'a [Holding],
    ids: &[Option<InstrumentId>],
    ltp: impl Fn(InstrumentId) -> Option<Price>,
) -> HoldingsData<'a> {
    let (mut value, mut invested, mut profit, mut basis) = (0_i128, 0_i128, 0_i128, 0_i128);
    let mut without_value = 0;
    let mut rows = Vec::with_capacity(holdings.len());
    for (holding, id) in holdings.iter().zip(ids) {
        let (exchange, symbol) = match id.and_then(|id| master.name(id)) {
            Some((exchange, symbol)) => (exchange, Cow::Borrowed(symbol)),
            None => unlisted(holding),
        };
        let units = i128::from(holding.quantity);
        let average = holding.average.filter(|average| average.is_positive());
        let last = id.and_then(&ltp);
        let [worth, cost] =
            [last, average].map(|price| price.map(|price| units * i128::from(price.as_nanos())));
        value = value.saturating_add(worth.unwrap_or(0));
        invested = invested.saturating_add(cost.unwrap_or(0));
        let (mut pnl, mut percent) = (Decimal::ZERO, Decimal::ZERO);
        if let (Some(worth), Some(cost)) = (worth, cost) {
            profit = profit.saturating_add(worth - cost);
            basis = basis.saturating_add(cost);
            pnl = Decimal::from_nanos(worth - cost);
            percent = percentage(worth - cost, cost);
        } else {
            without_value += 1;
        }
        rows.push(HoldingRow {
            symbol,
            exchange: exchange.as_str(),
            product: "CNC",
            quantity: holding.quantity,
            pnl: pnl.rounded(2),
            pnlpercent: percent,
            average_price: Decimal::from(average.unwrap_or_default()).rounded(2),
            ltp: last.unwrap_or_default().into(),
        });
    }
    let statistics = HoldingStatistics {
        totalholdingvalue: Decimal::from_nanos(value).rounded(2),
        totalinvvalue: Decimal::from_nanos(invested).rounded(2),
        totalprofitandloss: Decimal::from_nanos(profit).rounded(2),
        totalpnlpercentage: percentage(profit, basis),
        holdings_without_value: without_value,
    };
    HoldingsData { holdings: rows, statistics }
}

/// By its ISIN, at the exchange that has a number for it.
fn unlisted(holding: &Holding) -> (Exchange, Cow<'_, str>) {
    let exchange =
        if holding.nse_code.is_none() && holding.bse_code.is_some() { Exchange::Bse } else { Exchange::Nse };
    (exchange, Cow::Borrowed(&holding.isin))
}

/// `part` of `of` in per cent, two decimals, half away from zero; zero of nothing.
fn percentage(part: i128, of: i128) -> Decimal {
    // A basis below zero would turn the sign round.
    if of <= 0 {
        return Decimal::ZERO;
    }
    // To three decimals and one unit for what is beyond, so that rounding to two is right.
    match part.checked_mul(100_000) {
        Some(scaled) => {
            let (whole, rest) = (scaled / of, scaled % of);
            let beyond = i128::from(rest != 0) * scaled.signum();
            Decimal::from_nanos(whole.saturating_mul(1_000_000).saturating_add(beyond)).rounded(2)
        }
        // Of numbers as large as that, the last digits do not count.
        None => percentage(part / 1_000_000, (of / 1_000_000).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::fixtures::{ONLY_BSE, RELIANCE, RELIANCE_BSE, master, price};
    use super::*;

    fn holding(isin: &str, nse: Option<u32>, bse: Option<u32>) -> Holding {
        Holding {
            isin: isin.to_owned(),
            nse_code: nse,
            bse_code: bse,
            quantity: 3,
            average: Some(price("1400")),
            ..Holding::default()
        }
    }

    #[test]
    fn the_instrument_is_found_by_number_or_isin() {
        let master = master();
        for (holding, id) in [
            (holding("INE002A01018", Some(2885), Some(500_325)), Some(RELIANCE)),
            (holding("INE002A01018", None, Some(500_325)), Some(RELIANCE)),
            (holding("INE002A01018", Some(1), Some(2)), Some(RELIANCE)),
            (holding("INE000B01011", Some(2885), Some(590_001)), Some(ONLY_BSE)),
            (holding("INE000B01011", None, None), Some(ONLY_BSE)),
            (holding("", None, Some(500_325)), Some(RELIANCE_BSE)),
            (holding("INE999X01019", Some(26_000), Some(3)), None),
        ] {
            assert_eq!(instruments(&master, std::slice::from_ref(&holding)), [id], "{holding:?}");
        }
    }

    #[test]
    fn rows_and_sums() {
        let master = master();
        let mut no_average = holding("INE000B01011", None, Some(590_001));
        no_average.average = None;
        let book =
            [holding("INE002A01018", Some(2885), None), no_average, holding("INE999X01019", None, Some(3))];
        let ids = instruments(&master, &book);
        let shown =
            holdings(&master, &book, &ids, |id| Some(price(if id == RELIANCE { "1460.55" } else { "14.2" })));
        let expected = json!({
            "holdings": [
                {"symbol": "RELIANCE", "exchange": "NSE", "product": "CNC", "quantity": 3, "pnl": 181.65,
                 "pnlpercent": 4.33, "average_price": 1400.0, "ltp": 1460.55},
                {"symbol": "ONLYBSE", "exchange": "BSE", "product": "CNC", "quantity": 3, "pnl": 0.0,
                 "pnlpercent": 0.0, "average_price": 0.0, "ltp": 14.2},
                {"symbol": "INE999X01019", "exchange": "BSE", "product": "CNC", "quantity": 3, "pnl": 0.0,
                 "pnlpercent": 0.0, "average_price": 1400.0, "ltp": 0.0}],
            "statistics": {"totalholdingvalue": 4424.25, "totalinvvalue": 8400.0, "totalprofitandloss": 181.65,
                "totalpnlpercentage": 4.33, "holdings_without_value": 2}});
        assert_eq!(serde_json::to_value(shown).unwrap(), expected);
    }

    #[test]
    fn percentages_are_rounded_half_away_from_zero() {
        for (part, of, text) in [
            (1, 3, "33.33"),
            (2, 3, "66.67"),
            (-2, 3, "-66.67"),
            (1, 800, "0.13"),
            (-1, 800, "-0.13"),
            (5, 0, "0.0"),
            (5, -1, "0.0"),
            (124_999_999, 100_000_000_000, "0.12"),
            (i128::MAX, i128::MAX, "100.0"),
        ] {
            assert_eq!(percentage(part, of).to_string(), text, "{part} of {of}");
        }
    }

    proptest! {
        #[test]
        fn a_percentage_is_the_nearest_hundredth(part in -1_000_000_000_000..1_000_000_000_000_i128, of in 1..1_000_000_000_i128) {
            let text = percentage(part, of).text(2);
            let hundredths: i128 = text.replace('.', "").parse().unwrap();
            // |hundredths / 10000 - part / of| <= half a hundredth of a per cent.
            prop_assert!((hundredths * of - part * 10_000).abs() * 2 <= of);
        }

        #[test]
        fn no_holding_is_lost(quantity: i64, average: i64, ltp: i64) {
            let master = master();
            let book = [Holding { quantity, average: Some(Price::from_nanos(average)), ..holding("INE002A01018", Some(2885), None) }];
            let ids = instruments(&master, &book);
            let shown = holdings(&master, &book, &ids, |_| Some(Price::from_nanos(ltp)));
            prop_assert_eq!(shown.holdings[0].quantity, quantity);
            let _ = serde_json::to_string(&shown).unwrap();
        }
    }
}
