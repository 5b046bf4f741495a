//! The simulated broker in memory, for tests of this crate, and its own tests.

pub(crate) mod memory;
mod smoke;
