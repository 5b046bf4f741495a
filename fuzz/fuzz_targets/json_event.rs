//! JSON events: see [`tickgate::fuzzing::json_event`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tickgate::fuzzing::json_event(input));
