//! The one integration binary: everything that needs real sockets, real files or the whole
//! program. Modules are named by behaviour.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on says so and ends")]

mod acceptance;
mod accounts;
mod bad_input;
mod binary;
mod books;
mod consumer;
mod failure;
mod fault_runs;
mod freshness;
mod gaps;
mod history;
mod interest;
mod keys;
mod kill;
mod lossless;
mod nights;
mod options;
mod orders;
mod peers;
mod peers_rest;
mod peers_servers;
mod peers_wire;
mod pooling;
mod rates;
mod readiness;
mod replaced;
mod rest;
mod rig;
mod scenarios;
mod schemathesis;
mod secret;
mod secrets;
mod sim;
mod spine;
mod support;
mod tap;
mod tidy;
mod token;
mod truth;
