//! The frames of the broker's sockets: see [`tickgate::fuzzing::broker_frames`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tickgate::fuzzing::broker_frames(input));
