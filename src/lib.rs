#![doc = include_str!("../ARCHITECTURE.md")]
#![warn(missing_docs)]

// In layer order: a module may import only from those above it (tests/it/tidy.rs).
pub mod clock;
pub mod secret;

pub mod backoff;
pub mod telemetry;

pub mod market;
pub mod protocol;

pub mod client;

pub mod hub;
pub mod store;

pub mod token;

pub mod broker;

pub mod session;

pub mod gateway;

pub mod sim;

pub mod config;

pub mod app;

pub mod cli;

pub mod fuzzing;
