//! The simulated XTS broker: logins, REST and the feed over real sockets, prices from a walk or
//! from a capture of a real exchange, orders matched against those, bars of the past made up.
//! Not a model of an exchange: its market does not notice the orders.
//!
//! `core` holds every rule and is free of I/O and clock; `server` puts it on a port. What goes
//! over the wire is written here from the venue's documents, apart from the decoders in
//! `broker::xts`, so that each checks the other.

mod accounts;
mod answers;
mod books;
mod core;
mod encode;
mod history;
mod instruments;
mod jwt;
mod market;
mod scenario;
mod server;
mod sessions;
mod settings;
mod state;
#[cfg(test)]
mod tests;
pub mod truth;

pub use accounts::{DemoAccount, DemoKeys};
pub use market::CaptureError;
pub use scenario::{Scenario, ScenarioError};
pub use server::{Error, SimServer, run_alone};
pub use settings::{AccountKind, Books, Hours, Layout, Prices, RateLimits, Settings, SocketEnd};
#[cfg(test)]
pub(crate) use tests::memory;
