//! One consumer's connection without its socket's readiness: frames in, frames out, what the
//! socket does not take. Pure, so that property tests drive it.

pub(crate) mod dirty;
pub(crate) mod outbox;
mod queue;
pub(crate) mod reader;
pub(crate) mod terms;
pub(crate) mod tls;
pub(crate) mod wire;
