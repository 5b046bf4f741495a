//! OpenAlgo's REST interface, `/api/v1/…`: who asks for what, and the answers.

mod account;
mod asked;
#[cfg(test)]
mod fake;
mod fields;
mod orders;
