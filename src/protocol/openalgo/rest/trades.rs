//! Trades, as `/tradebook` shows them: each with its own quantity and price, not its order's.

use std::borrow::Cow;

use serde::Serialize;

use super::decimal::Decimal;
use super::names;
use crate::market::{Master, Price, Trade};
use crate::protocol::openalgo::orders::action;

/// One trade.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OpenAlgo's")]
pub struct TradeRow<'a> {
    pub symbol: Cow<'a, str>,
    pub exchange: &'static str,
    pub product: &'a str,
    pub action: &'static str,
    pub quantity: i64,
    /// The trade's price, as it is.
    pub average_price: Decimal,
    /// Quantity times price, exactly.
    pub trade_value: Decimal,
    pub orderid: &'a str,
    pub timestamp: String,
}

/// One trade as a row.
pub fn trade_row<'a>(master: &'a Master, trade: &'a Trade) -> TradeRow<'a> {
    let (exchange, symbol) = names::name(master, trade.instrument, &trade.symbol);
    TradeRow {
        symbol,
        exchange: exchange.as_str(),
        product: &trade.product,
        action: action(trade.side),
        quantity: trade.quantity,
        average_price: trade.price.into(),
        // Two numbers of 64 bits fit into 128 together.
        trade_value: Decimal::from_nanos(i128::from(trade.quantity) * i128::from(trade.price.as_nanos())),
        orderid: &trade.order_id,
        timestamp: names::ist_text(trade.traded_at),
    }
}

/// What an order's units were traded at on average; `None` where the book has nothing of it.
pub fn average_of(trades: &[Trade], order_id: &str) -> Option<Price> {
    let (mut units, mut worth) = (0_i128, 0_i128);
    for trade in trades.iter().filter(|trade| trade.order_id == order_id && trade.quantity > 0) {
        units += i128::from(trade.quantity);
        worth = worth.checked_add(i128::from(trade.quantity) * i128::from(trade.price.as_nanos()))?;
    }
    (units > 0).then(|| i64::try_from(worth / units).ok().map(Price::from_nanos))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::fixtures::{UNKNOWN, master, price, trade};
    use super::*;

    #[test]
    fn a_trade_has_its_own_figures() {
        let (master, mut trade) = (master(), trade("1100012345", 3, "1460.35"));
        let row = serde_json::to_string(&trade_row(&master, &trade)).unwrap();
        let expected = r#"{"symbol":"RELIANCE","exchange":"NSE","product":"MIS","action":"BUY","quantity":3,"average_price":1460.35,"trade_value":4381.05,"orderid":"1100012345","timestamp":"10-Feb-2026 10:15:28"}"#;
        assert_eq!(row, expected);
        trade.instrument = UNKNOWN;
        trade.symbol = "SENSEX X".to_owned();
        let row = serde_json::to_value(trade_row(&master, &trade)).unwrap();
        assert_eq!((&row["symbol"], &row["exchange"]), (&json!("SENSEX X"), &json!("BFO")));
    }

    #[test]
    fn averages_weigh_by_quantity() {
        let trades = [trade("1", 1, "100"), trade("2", 5, "1"), trade("1", 3, "101")];
        assert_eq!(average_of(&trades, "1"), Some(price("100.75")));
        assert_eq!(average_of(&trades, "3"), None);
    }

    proptest! {
        #[test]
        fn the_value_is_exact(quantity in -1_000_000_000..1_000_000_000_i64, nanos: i64) {
            let mut trade = trade("1", quantity, "1");
            trade.price = Price::from_nanos(nanos);
            let text = trade_row(&master(), &trade).trade_value.text(9);
            let digits: i128 = text.replace('.', "").parse().unwrap();
            prop_assert_eq!(digits, i128::from(quantity) * i128::from(nanos));
        }

        #[test]
        fn an_average_lies_between_its_prices(of in proptest::collection::vec((1..1000_i64, 1..i64::MAX), 1..8)) {
            let trades: Vec<_> = of.iter().map(|(quantity, nanos)| {
                Trade { price: Price::from_nanos(*nanos), ..trade("1", *quantity, "1") }
            }).collect();
            let average = average_of(&trades, "1").unwrap();
            prop_assert!(trades.iter().map(|t| t.price).min().unwrap() <= average);
            prop_assert!(average <= trades.iter().map(|t| t.price).max().unwrap());
        }
    }
}
