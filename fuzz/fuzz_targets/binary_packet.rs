//! The decoder of binary attachments: never a panic, and the second reading of the same bytes by a
//! new decoder finds the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tickgate::broker::xts::wire::binary::Decoder;
use tickgate::clock::UnixNanos;

const RECV: UnixNanos = UnixNanos::from_millis(1_770_698_730_500);

fuzz_target!(|attachment: &[u8]| {
    let read = || {
        let mut ticks = Vec::new();
        let counts = Decoder::new().decode(attachment, RECV, &mut ticks);
        (counts, ticks)
    };
    let (counts, ticks) = read();
    // A message yields two ticks at most, and what is not read is counted.
    let lost = counts.undecodable + counts.ignored + counts.invalid_prices;
    assert!(ticks.len() <= 2 * (counts.messages - lost) as usize);
    assert_eq!((counts, ticks), read());
});
