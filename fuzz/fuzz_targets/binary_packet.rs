//! Binary attachments: see [`tickgate::fuzzing::binary_packet`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tickgate::fuzzing::binary_packet(input));
