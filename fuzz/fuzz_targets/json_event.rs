//! The fast reader of JSON events against the checked one: the same ticks, the same counts, the
//! same memory for what comes later. The input's first byte chooses the code; a record separator
//! (0x1e) stands between two events.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tickgate::broker::xts::wire::json::Decoder;
use tickgate::clock::UnixNanos;

const RECV: UnixNanos = UnixNanos::from_millis(1_770_698_730_500);
const CODES: [u16; 8] = [1501, 1502, 1510, 1512, 1505, 1504, 1507, 1105];

fuzz_target!(|input: &[u8]| {
    let Some((choice, text)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let code = CODES[usize::from(*choice) % CODES.len()];
    let (mut fast, mut checked) = (Decoder::new(), Decoder::checked());
    // Each event as it is, and as the text of a string, as servers send it.
    for datum in text.split('\u{1e}') {
        let quoted = format!("\"{}\"", datum.replace('\\', "\\\\").replace('"', "\\\""));
        for datum in [datum, &quoted] {
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            let counts = fast.event(code, datum, RECV, &mut found);
            assert_eq!(counts, checked.event(code, datum, RECV, &mut expected), "{datum}");
            assert_eq!(found, expected, "{datum}");
        }
    }
});
