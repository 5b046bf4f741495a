//! What the fuzzer kept, and bytes at random.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 9] = [
    ("broker_frames", broker_frames),
    ("json_event", json_event),
    ("binary_packet", binary_packet),
    ("master_rows", master_rows),
    ("consumer_command", consumer_command),
    ("consumer_frames", consumer_frames),
    ("binary_records", binary_records),
    ("history_bars", history_bars),
    ("rest_books", rest_books),
];

fn kept(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn every_target_is_tried_by_the_fuzzer_too() {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/Cargo.toml")).unwrap();
    let named: Vec<_> =
        manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")).collect();
    let expected: Vec<_> = TARGETS.iter().map(|(name, _)| format!("{name}.rs\"")).collect();
    assert_eq!(named, expected);
}

#[test]
fn what_the_fuzzer_kept_is_read() {
    for (name, target) in TARGETS {
        let kept = kept(name);
        let bytes: usize = kept.iter().map(Vec::len).sum();
        assert!(
            (1..=200).contains(&kept.len()) && bytes <= 200 * 1024,
            "{name}: {} files, {bytes}",
            kept.len()
        );
        for input in kept {
            target(&input);
        }
    }
}

#[test]
fn what_the_fuzzer_kept_is_read_damaged() {
    for (name, target) in TARGETS {
        for input in kept(name) {
            for at in (0..input.len()).step_by(1 + input.len() / 16) {
                target(&input[..at]);
                for with in [0x00, 0x7f, 0xff, input[at] ^ 1, input[at].wrapping_add(1)] {
                    let mut damaged = input.clone();
                    damaged[at] = with;
                    target(&damaged);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(input in proptest::collection::vec(any::<u8>(), 0..400)) {
        for (_, target) in TARGETS {
            target(&input);
        }
    }

    #[test]
    fn arbitrary_text_never_panics(
        first in any::<u8>(),
        text in r#"([\[\]{}",:|\\ ]|true|null|action|subscribe|symbols|mode|tickgate|t:1_2885|ltp:|bi:|NSECM|[0-9]{1,6}|.){0,40}"#,
    ) {
        let text = text.as_bytes();
        for (_, target) in TARGETS {
            target(text);
            target(&[&[first], text].concat());
            target(&[&[first, first], text].concat());
        }
    }
}
