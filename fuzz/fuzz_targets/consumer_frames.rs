//! Consumers' WebSocket frames: see [`tickgate::fuzzing::consumer_frames`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tickgate::fuzzing::consumer_frames(input));
