//! Positions, as `/positionbook` shows them, with the profit that many brokers leave at zero.

use std::borrow::Cow;

use serde::Serialize;

use super::decimal::Decimal;
use super::names;
use crate::market::{InstrumentId, Master, Position, Price, Segment};

/// One position; closed ones are shown too.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OpenAlgo's")]
pub struct PositionRow<'a> {
    pub symbol: Cow<'a, str>,
    pub exchange: &'static str,
    pub product: &'a str,
    pub quantity: i64,
    /// Two decimals, as text. Of what was bought for a long position, of what was sold for a short one.
    pub average_price: String,
    /// Zero where no quote is to be had. Never `null`: clients compute with it.
    pub ltp: Decimal,
    pub pnl: Decimal,
    /// Where `pnl` comes from; beyond OpenAlgo's members.
    pub pnl_source: PnlSource,
}

/// What a profit was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PnlSource {
    /// Computed from the trades' amounts and the last price; exact.
    Computed,
    /// The broker's own figures: the last price or an amount was missing. Some brokers always send zero.
    Broker,
    /// Nobody knows: there is no quote, and the broker names no profit. It is shown as zero.
    Unknown,
}

/// One position as a row. `ltp` is its instrument's last price, if there is one.
pub fn position_row<'a>(master: &'a Master, position: &'a Position, ltp: Option<Price>) -> PositionRow<'a> {
    let (exchange, symbol) = names::name(master, position.instrument, &position.symbol);
    let average = match position.quantity {
        0 => None,
        1.. => position.buy_average,
        _ => position.sell_average,
    };
    let (pnl, pnl_source) = profit(position, ltp);
    PositionRow {
        symbol,
        exchange: exchange.as_str(),
        product: &position.product,
        quantity: position.quantity,
        average_price: Decimal::from(average.unwrap_or_default()).rounded(2).text(2),
        ltp: ltp.unwrap_or_default().into(),
        pnl: pnl.rounded(2),
        pnl_source,
    }
}

/// Every instrument of these positions once, to ask for the quotes of.
pub fn instruments(positions: &[Position]) -> Vec<InstrumentId> {
    let mut ids: Vec<_> = positions.iter().map(|position| position.instrument).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// What was sold minus what was bought, plus what is left at its last price.
fn profit(position: &Position, ltp: Option<Price>) -> (Decimal, PnlSource) {
    if let Some(nanos) = computed(position, ltp) {
        return (Decimal::from_nanos(nanos), PnlSource::Computed);
    }
    let (realized, unrealized) = (position.realized, position.unrealized);
    if realized.is_none() && unrealized.is_none() {
        return (Decimal::ZERO, PnlSource::Unknown);
    }
    let micros: i128 =
        [realized, unrealized].into_iter().flatten().map(|money| i128::from(money.as_micros())).sum();
    (Decimal::from_nanos(micros * 1_000), PnlSource::Broker)
}

/// In nanos; `None` if a figure is missing, or beyond all reason.
fn computed(position: &Position, ltp: Option<Price>) -> Option<i128> {
    // In cash a unit counts once per rupee, also where the broker does not say so.
    let is_cash = matches!(position.instrument.segment, Segment::NseCash | Segment::BseCash);
    let multiplier = position.multiplier.filter(|m| *m > 0).or_else(|| is_cash.then_some(1)).map(i128::from);
    let amount = if let Some(money) = position.net_amount {
        i128::from(money.as_micros()) * 1_000
    } else {
        let sold = worth(position.sold?, position.sell_average?);
        let bought = worth(position.bought?, position.buy_average?);
        sold.checked_sub(bought)?.checked_mul(multiplier?)?
    };
    if position.quantity == 0 {
        return Some(amount);
    }
    worth(position.quantity, ltp?).checked_mul(multiplier?)?.checked_add(amount)
}

fn worth(units: i64, price: Price) -> i128 {
    i128::from(units) * i128::from(price.as_nanos())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::fixtures::{NIFTY_PUT, RELIANCE, UNKNOWN, master, money, position, price};
    use super::*;
    use crate::market::Money;

    #[test]
    fn a_position_is_worth_what_it_would_bring() {
        let (master, position) = (master(), position(RELIANCE, 10));
        let row = serde_json::to_string(&position_row(&master, &position, Some(price("1462.25")))).unwrap();
        let expected = r#"{"symbol":"RELIANCE","exchange":"NSE","product":"MIS","quantity":10,"average_price":"1460.50","ltp":1462.25,"pnl":17.5,"pnl_source":"computed"}"#;
        assert_eq!(row, expected);
    }

    #[test]
    fn profit_from_what_is_known() {
        let base = position(NIFTY_PUT, -65);
        let with = |change: &dyn Fn(&mut Position)| {
            let mut position = base.clone();
            change(&mut position);
            position
        };
        let at = Some(price("1460"));
        for (position, ltp, pnl, source) in [
            (base.clone(), at, "32.5", PnlSource::Computed),
            (with(&|p| p.multiplier = Some(10)), at, "-854067.5", PnlSource::Computed),
            (with(&|p| p.net_amount = None), at, "32.5", PnlSource::Computed),
            (with(&|p| p.quantity = 0), None, "94932.5", PnlSource::Computed),
            (base.clone(), None, "0.0", PnlSource::Broker),
            (with(&|p| p.realized = Some(money("1.5"))), None, "1.5", PnlSource::Broker),
            (with(&|p| p.multiplier = Some(0)), at, "0.0", PnlSource::Broker),
            (with(&|p| (p.realized, p.unrealized) = (None, None)), None, "0.0", PnlSource::Unknown),
        ] {
            let (got, from) = profit(&position, ltp);
            assert_eq!((got.to_string().as_str(), from), (pnl, source), "{position:?}");
        }
    }

    #[test]
    fn nothing_is_hidden() {
        let (master, position) = (master(), position(UNKNOWN, 0));
        let row = serde_json::to_value(position_row(&master, &position, None)).unwrap();
        assert_eq!((&row["symbol"], &row["exchange"]), (&json!("BROKER-NAME"), &json!("BFO")));
        assert_eq!((&row["ltp"], &row["average_price"]), (&json!(0.0), &json!("0.00")));
        let ids = instruments(&[position.clone(), super::super::fixtures::position(RELIANCE, 1), position]);
        assert_eq!(ids.len(), 2);
    }

    proptest! {
        /// Whatever a broker sends: no panic, and a computed figure is the formula's.
        #[test]
        fn the_formula_holds(quantity: i64, amount: i64, ltp: i64, multiplier in proptest::option::of(any::<i64>())) {
            let mut position = position(NIFTY_PUT, 1);
            position.quantity = quantity;
            position.net_amount = Some(Money::from_micros(amount));
            position.multiplier = multiplier;
            let (pnl, source) = profit(&position, Some(Price::from_nanos(ltp)));
            let _ = pnl.rounded(2).text(2);
            if source == PnlSource::Computed && quantity != 0 {
                let formula = i128::from(quantity) * i128::from(ltp);
                let formula = formula.checked_mul(i128::from(multiplier.unwrap())).unwrap() + i128::from(amount) * 1_000;
                prop_assert_eq!(pnl.text(9), Decimal::from_nanos(formula).text(9));
            }
        }
    }
}
