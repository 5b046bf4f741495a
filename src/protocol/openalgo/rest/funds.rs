//! Funds, as `/funds` shows them.

use serde::Serialize;

use super::decimal::Decimal;
use crate::market::{Funds, Money};

/// Five texts with two decimals each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are OpenAlgo's")]
pub struct FundsData {
    pub availablecash: String,
    pub collateral: String,
    pub m2mrealized: String,
    pub m2munrealized: String,
    pub utiliseddebits: String,
}

/// The funds; what the broker does not name is `0.00`, as everywhere in OpenAlgo.
pub fn funds(funds: &Funds) -> FundsData {
    let text = |money: Option<Money>| Decimal::from(money.unwrap_or_default()).rounded(2).text(2);
    FundsData {
        availablecash: text(funds.available),
        collateral: text(funds.collateral),
        m2mrealized: text(funds.realized),
        m2munrealized: text(funds.unrealized),
        utiliseddebits: text(funds.used),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_documented_funds() {
        let money = |text: &str| Money::parse(text.as_bytes());
        let shown = funds(&Funds {
            available: money("320.655"),
            cash: money("1000"),
            collateral: None,
            used: money("679.34"),
            realized: money("3.27"),
            unrealized: money("-7.88"),
        });
        let expected = json!({"availablecash": "320.66", "collateral": "0.00", "m2mrealized": "3.27",
            "m2munrealized": "-7.88", "utiliseddebits": "679.34"});
        assert_eq!(serde_json::to_value(shown).unwrap(), expected);
    }
}
