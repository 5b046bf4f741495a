//! The reader of consumers' commands: never a panic, and an error says which and why.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tickgate::protocol::openalgo::command;

fuzz_target!(|frame: &[u8]| {
    match command::parse(frame) {
        Ok(said) => drop(format!("{said:?}")),
        Err(refusal) => assert!(!refusal.code.is_empty() && !refusal.message.is_empty()),
    }
});
