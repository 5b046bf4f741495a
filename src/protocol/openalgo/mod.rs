//! The OpenAlgo client protocol, server side: what consumers may say and what they are told.
//! Not the transport: frames here are JSON text, [`crate::protocol::websocket`] wraps them.

pub mod command;
pub mod frames;
pub mod gaps;
pub mod market_data;
mod number;
pub mod options;
pub mod order_update;
pub mod orders;
pub mod rest;
