//! Consumers' commands: see [`tickgate::fuzzing::consumer_command`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tickgate::fuzzing::consumer_command(input));
