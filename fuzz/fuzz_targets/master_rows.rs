//! Rows of the instrument master: see [`tickgate::fuzzing::master_rows`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tickgate::fuzzing::master_rows(input));
