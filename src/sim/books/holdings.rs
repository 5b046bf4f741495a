//! What an account holds in its depository: shares of earlier days. Not positions; those are of
//! the day's trades.

use serde_json::{Value, json};

use super::Paise;
use super::truth::price;
use crate::market::{Exchange, InstrumentId, Segment};
use crate::sim::instruments::{Catalogue, Kind};

/// The shares that demo accounts hold: every account some of them.
const SHARES: [(&str, i64); 6] =
    [("RELIANCE", 40), ("TCS", 12), ("HDFCBANK", 75), ("INFY", 30), ("ITC", 250), ("SBIN", 100)];

/// One holding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) isin: String,
    pub(crate) symbol: String,
    pub(crate) nse: u32,
    /// Zero where it is not listed.
    pub(crate) bse: u32,
    pub(crate) quantity: i64,
    pub(crate) used: i64,
    /// Average price paid.
    pub(crate) average: Paise,
}

impl Holding {
    /// What the account of a number holds: four shares with an ISIN.
    pub(super) fn demo(account: usize, catalogue: &Catalogue) -> Vec<Self> {
        let mut found = Vec::new();
        for nth in 0..4 {
            let (symbol, quantity) = SHARES[(account + nth) % SHARES.len()];
            let on = |exchange| {
                let listings = catalogue.listings().iter();
                listings
                    .filter(|l| l.kind == Kind::Share)
                    .find(|l| l.exchange == exchange && l.symbol == symbol)
            };
            let Some(nse) = on(Exchange::Nse) else { continue };
            let isin = nse.row.as_deref().and_then(|r| r.split('|').nth(15)).unwrap_or_default();
            let close = nse.previous_close.as_nanos() / 10_000_000;
            found.push(Self {
                isin: isin.to_owned(),
                symbol: symbol.to_owned(),
                nse: nse.id.code,
                bse: on(Exchange::Bse).map_or(0, |l| l.id.code),
                quantity: quantity + account as i64,
                used: if nth == 1 { 2 } else { 0 },
                // Bought some percent below or above the last close.
                average: close * (94 + 4 * nth as i64) / 100,
            });
        }
        found
    }

    /// Whether an instrument is this share.
    pub(super) fn is(&self, id: InstrumentId) -> bool {
        match id.segment {
            Segment::NseCash => self.nse == id.code,
            Segment::BseCash => self.bse == id.code,
            _ => false,
        }
    }

    /// For `GET /__sim/books`.
    pub(super) fn truth(&self) -> Value {
        json!({
            "isin": self.isin,
            "symbol": self.symbol,
            "nse": self.nse,
            "bse": self.bse,
            "quantity": self.quantity,
            "used": self.used,
            "average": price(self.average),
        })
    }

    /// The venue's entry, without symbol and price.
    fn entry(&self, client: &str, number: usize) -> Value {
        let rupees = self.average as f64 / 100.0;
        json!({
            "ISIN": self.isin,
            "RMSHoldingId": 1000 + number,
            "ClientId": client,
            "ExchangeNSEInstrumentId": self.nse,
            "ExchangeBSEInstrumentId": self.bse,
            "ExchangeMSEInstrumentId": 0,
            "HoldingType": "1",
            // Numbers and texts by turns, as the rest of the books.
            "HoldingQuantity": if number % 2 == 1 { json!(self.quantity.to_string()) } else { json!(self.quantity) },
            "CollateralValuationType": "ClosePrice",
            "Haircut": 0,
            "CollateralQuantity": 0,
            "CreatedBy": "SIM",
            "LastUpdatedBy": "SIM",
            "CreatedOn": "2025-07-06T12:18:21",
            "LastUpdatedOn": "2025-07-06T12:18:21",
            "UsedQuantity": self.used,
            "IsCollateralHolding": false,
            "BuyAvgPrice": if number % 2 == 1 { json!(price(self.average)) } else { json!(rupees) },
            "IsBuyAvgPriceProvided": true,
            "AuthorizeQuantity": 0,
            "IsNeedToDelete": false,
        })
    }
}

/// `result` of the holdings call, in one of the two shapes that servers have.
pub(crate) fn result(holdings: &[Holding], client: &str, account: usize) -> Value {
    let entries = holdings.iter().enumerate().map(|(nth, h)| (h.isin.clone(), h.entry(client, nth)));
    let entries = Value::Object(entries.collect());
    if account.is_multiple_of(2) {
        json!({ "ClientId": client, "RMSHoldings": { "Holdings": entries } })
    } else {
        json!({
            "ClientId": client,
            "RMSHoldingList": [{ "Holdings": entries }],
            "CollateralHoldingList": [{ "Holdings": {} }],
        })
    }
}
