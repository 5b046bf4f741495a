//! OpenAlgo's REST interface, `/api/v1/…`: who asks for what, and the answers.

mod account;
mod asked;
mod data;
#[cfg(test)]
pub(super) mod fake;
mod fields;
mod limits;
mod openapi;
mod orders;
mod serve;

use asked::Endpoint;
pub(super) use limits::Limits;
pub(super) use openapi::document;
pub(super) use orders::Turns;
pub(super) use serve::{instruments, post, ticker};

/// Every endpoint that takes `POST`.
fn endpoints() -> impl Iterator<Item = Endpoint> {
    data::ENDPOINTS.into_iter().chain(account::ENDPOINTS).chain(orders::ENDPOINTS)
}
