//! Answers of REST calls: see [`tickgate::fuzzing::rest_books`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tickgate::fuzzing::rest_books(input));
