//! What faults do to one message: to its values before it is written, and to its bytes after.

use crate::market::Price;
use crate::sim::encode::NOT_A_NUMBER;
use crate::sim::market::Quote;

/// How a message is spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim::core) enum Spoil {
    /// Every price is NaN. Layout C cannot say that: 0.
    Nan,
    /// Every price is 0.
    Zero,
    /// A code that nobody knows.
    UnknownCode,
    /// Its frame ends early.
    Truncated,
    /// Its frame contradicts itself: every reader that checks can tell.
    Corrupt,
    /// One bit of it is another, maybe in a price: nobody can tell.
    BitFlips,
    /// Its length is not what it says.
    WrongLength,
    /// After it an older one comes once more.
    OldSequence,
    /// The exchange's times are off.
    TimeJump { by_s: i64 },
}

/// An XTS code that does not exist.
pub(in crate::sim::core) const UNKNOWN_CODE: u16 = 1599;

/// `0x04`, then the envelope of a plain message.
const ENVELOPE: usize = 16;

impl Spoil {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Nan => "nan_prices",
            Self::Zero => "zero_prices",
            Self::UnknownCode => "unknown_code",
            Self::Truncated => "truncated",
            Self::Corrupt => "corrupt",
            Self::BitFlips => "bit_flips",
            Self::WrongLength => "wrong_length",
            Self::OldSequence => "old_sequence",
            Self::TimeJump { .. } => "time_jump",
        }
    }

    /// The values to send instead; `None`: as they are.
    pub(in crate::sim::core) fn values(self, quote: &Quote) -> Option<Quote> {
        let mut quote = quote.clone();
        match self {
            Self::Nan | Self::Zero => {
                let price = if self == Self::Nan { NOT_A_NUMBER } else { Price::ZERO };
                quote.spoil_prices(price);
            }
            Self::TimeJump { by_s } => quote.shift_times(by_s),
            _ => return None,
        }
        Some(quote)
    }

    /// Whether it is done to a frame, which then has one message.
    pub(in crate::sim::core) const fn is_of_frame(self) -> bool {
        matches!(self, Self::Truncated | Self::Corrupt | Self::BitFlips | Self::WrongLength)
    }

    /// Spoils a frame of one plain binary message. `salt` chooses where.
    pub(in crate::sim::core) fn binary(self, frame: &mut Vec<u8>, salt: u64) {
        let at = |from: usize, length: usize| from + mix(salt) as usize % (length - from).max(1);
        match self {
            // Also inside the envelope; never nothing at all.
            Self::Truncated => frame.truncate(at(1, frame.len())),
            Self::Corrupt if frame.len() > ENVELOPE + 40 => match mix(salt) % 4 {
                0 => frame[1] = 7,
                1 => frame[ENVELOPE] ^= 0x55,
                // Version 1 of the head.
                2 => frame[ENVELOPE + 2] = 1,
                // Another instrument inside than outside.
                _ => frame[ENVELOPE + 30] ^= 0x11,
            },
            Self::WrongLength => {
                let length = u16::from_le_bytes([frame[14], frame[15]]);
                let by = 1 + (mix(salt) % 30) as u16;
                let wrong =
                    if mix(salt ^ 1) % 2 == 0 { length.wrapping_add(by) } else { length.saturating_sub(by) };
                frame[14..16].copy_from_slice(&wrong.to_le_bytes());
            }
            Self::BitFlips => {
                let place = at(1, frame.len());
                frame[place] ^= 1 << (mix(salt ^ 2) % 8);
            }
            _ => {}
        }
    }

    /// Spoils a text frame, which is ASCII.
    pub(in crate::sim::core) fn text(self, code: u16, frame: String, salt: u64) -> String {
        match self {
            Self::UnknownCode => frame.replacen(&format!("\"{code}-"), &format!("\"{UNKNOWN_CODE}-"), 1),
            // Behind the packet's type, before its end.
            Self::Truncated => frame[..2 + mix(salt) as usize % (frame.len() - 3)].to_owned(),
            Self::WrongLength => frame[..frame.len() - 1].to_owned(),
            Self::Corrupt => match mix(salt) % 3 {
                0 => frame.replacen('[', "{", 1),
                1 => frame.replacen("-json", "-jsno", 1),
                _ => frame.replacen('"', "", 1),
            },
            Self::BitFlips => {
                let digits: Vec<_> =
                    frame.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at).collect();
                let at = digits[mix(salt) as usize % digits.len()];
                let mut bytes = frame.into_bytes();
                bytes[at] ^= 1;
                String::from_utf8_lossy(&bytes).into_owned()
            }
            _ => frame,
        }
    }
}

/// Spreads a number: the same salt gives the same place in every run.
fn mix(salt: u64) -> u64 {
    let mixed = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16
}
