//! Messages of the binary encoding: see [`tickgate::fuzzing::binary_records`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tickgate::fuzzing::binary_records(input));
