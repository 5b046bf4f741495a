//! Answers of OpenAlgo's REST interface about an account: market values as JSON rows, and the arithmetic in
//! them. Pure; not the requests, and not who asks the broker.

pub mod decimal;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod funds;
pub mod holdings;
pub mod names;
pub mod orders;
pub mod positions;
pub mod smart;
pub mod trades;
