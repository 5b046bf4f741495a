//! What the soak has in common with the tests' runs of faults: the faults, consumers that keep what they got,
//! and what is compared with it.

#![allow(dead_code, reason = "a part of it serves only the tests")]

#[path = "../../tests/it/fault_runs/plan.rs"]
pub(crate) mod plan;
#[path = "../../tests/it/fault_runs/truth.rs"]
pub(crate) mod truth;
#[path = "../../tests/it/fault_runs/watcher.rs"]
pub(crate) mod watcher;
