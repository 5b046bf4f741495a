//! Rows of a history call: see [`tickgate::fuzzing::history_bars`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tickgate::fuzzing::history_bars(input));
