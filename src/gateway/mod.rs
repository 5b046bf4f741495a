//! Everything that faces consumers: the feed port and the HTTP port.

pub mod auth;
mod connection;
pub mod control;
mod handshake;
pub mod http;
mod listener;
pub mod origin;
pub mod settings;
mod shard;
#[cfg(test)]
mod tests;
pub mod tls;

pub use connection::outbox::Counts;
pub use listener::{Census, Consumers, Deps, GatewayHandle, start};
pub use settings::Settings;
