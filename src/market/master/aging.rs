//! What a list is still good for after its day, and what a new one lacks of it.
//! Not when a new one is due; that is the loader's.

use jiff::civil::Date;

use super::{Master, Row, unpack_date};
use crate::market::Exchange;

impl Master {
    /// The list without contracts whose last day is before `day`; `None` if it names none. To be
    /// used on a list of an earlier day only: exchanges give the numbers of expired contracts to
    /// others, so an old name would show another contract's prices.
    pub fn without_expired(&self, day: Date) -> Option<Self> {
        let is_over = |row: &Row| unpack_date(row.expiry).is_some_and(|last| last < day);
        if !self.rows.iter().any(is_over) {
            return None;
        }
        let mut left = Self {
            text: self.text.clone(),
            series: self.series.clone(),
            hasher: self.hasher.clone(),
            ..Self::default()
        };
        for row in self.rows.iter().filter(|row| !is_over(row)) {
            let hashes = (left.hash_id(row.id()), left.hash_symbol(row.exchange, self.symbol_of(row)));
            left.push(*row, left.rows.len() as u32, hashes.0, hashes.1);
        }
        Some(left)
    }

    /// Exchanges of which this list has instruments and `other` has none.
    pub fn exchanges_missing_in(&self, other: &Self) -> Vec<Exchange> {
        let has = |list: &Self, exchange| list.rows.iter().any(|row| row.exchange == exchange);
        Exchange::ALL.into_iter().filter(|exchange| has(self, *exchange) && !has(other, *exchange)).collect()
    }
}
