//! A place in the escaped text of a JSON string that holds JSON, and the single values there.
//! Everything returns `None` for what it does not expect. Not which members there are.

use super::super::super::text;
use super::keys::Kind;

/// Powers of ten up to the scale of prices.
const POWERS: [u64; 10] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// How deep values of no interest may be nested.
const MOST_NESTED: u32 = 8;

/// Not for this reader to judge.
#[derive(Debug)]
pub(super) struct Odd;

pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// What is not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    pub(super) const fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// The byte here; at the end one that nothing expects.
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// The byte here or behind blanks.
    fn peek_past_blanks(&mut self) -> u8 {
        let mut byte = self.peek();
        while matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
            byte = self.peek();
        }
        byte
    }

    /// Reads the start of an object or array, which it else leaves in place.
    pub(super) fn open(&mut self, bracket: u8) -> Option<()> {
        self.closes(bracket).then_some(())
    }

    /// Whether this bracket comes next; reads it if so.
    pub(super) fn closes(&mut self, bracket: u8) -> bool {
        let is_next = self.peek_past_blanks() == bracket;
        self.at += usize::from(is_next);
        is_next
    }

    /// Reads what follows a value: a comma (`true`) or the end of what it stands in.
    pub(super) fn continues(&mut self, end: u8) -> Option<bool> {
        let byte = self.peek_past_blanks();
        self.at += 1;
        match byte {
            b',' => Some(true),
            byte if byte == end => Some(false),
            _ => None,
        }
    }

    /// Whether the string that holds everything ends here, and the text with it.
    pub(super) fn ends_string(&mut self) -> Option<()> {
        self.peek_past_blanks();
        (self.rest() == b"\"").then_some(())
    }

    fn eats(&mut self, word: &[u8]) -> bool {
        let is_next = self.rest().starts_with(word);
        if is_next {
            self.at += word.len();
        }
        is_next
    }

    pub(super) fn eats_null(&mut self) -> bool {
        self.peek_past_blanks() == b'n' && self.eats(b"null")
    }

    /// Reads a key and its colon.
    pub(super) fn key(&mut self) -> Option<&'a str> {
        self.peek_past_blanks();
        let name = self.string()?;
        self.open(b':')?;
        Some(name)
    }

    /// Reads a string in its escaped quotes. It is as it is written: only `\/` is allowed in it.
    fn string(&mut self) -> Option<&'a str> {
        if !self.eats(b"\\\"") {
            return None;
        }
        let start = self.at;
        loop {
            match self.peek() {
                b'\\' => match self.rest().get(1)? {
                    b'"' => break,
                    b'/' => self.at += 2,
                    _ => return None,
                },
                // The end of everything, and what JSON forbids.
                b'"' | ..0x20 => return None,
                _ => self.at += 1,
            }
        }
        let inner = self.text.get(start..self.at);
        self.at += 2;
        inner
    }

    /// Reads a number, a number as text, or `null`; `Ok(None)` for `null` and for text that is
    /// no number. A price is in nanos, and zero if it is not positive.
    pub(super) fn scalar(&mut self, kind: Kind) -> Result<Option<i64>, Odd> {
        match self.peek_past_blanks() {
            b'0'..=b'9' | b'-' => self.number(kind),
            b'n' if self.eats(b"null") => Ok(None),
            b'\\' => {
                let inner = self.string().filter(|inner| !inner.contains('\\')).ok_or(Odd)?;
                Ok(by_text(inner, kind))
            }
            _ => Err(Odd),
        }
    }

    /// Reads a number as JSON allows it.
    #[inline]
    fn number(&mut self, kind: Kind) -> Result<Option<i64>, Odd> {
        let start = self.at;
        let is_negative = self.peek() == b'-';
        self.at += usize::from(is_negative);
        let leading = self.peek();
        let (whole, places) = self.digits();
        if places == 0 || (leading == b'0' && places > 1) {
            return Err(Odd);
        }
        let (mut fraction, mut decimals) = (0, 0);
        if self.peek() == b'.' {
            self.at += 1;
            (fraction, decimals) = self.digits();
            if decimals == 0 {
                return Err(Odd);
            }
        }
        let is_plain = !matches!(self.peek(), b'e' | b'E');
        if !is_plain {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), b'+' | b'-'));
            if self.digits().1 == 0 {
                return Err(Odd);
            }
        }
        match kind {
            Kind::Price if is_plain && places <= 9 && decimals <= 9 => {
                let nanos = (whole * POWERS[9] + fraction * POWERS[9 - decimals]) as i64;
                Ok(Some(if is_negative { 0 } else { nanos }))
            }
            // Eighteen digits fit.
            Kind::Integer if is_plain && places <= 18 && decimals == 0 => {
                Ok(Some(if is_negative { -(whole as i64) } else { whole as i64 }))
            }
            Kind::Price | Kind::Integer => Ok(by_text(self.text.get(start..self.at).ok_or(Odd)?, kind)),
            _ => Ok(None),
        }
    }

    /// Reads a run of digits: what they say, right up to nineteen of them, and how many they are.
    #[inline]
    fn digits(&mut self) -> (u64, usize) {
        let start = self.at;
        let mut value = 0_u64;
        while let Some(eight) = self.rest().first_chunk() {
            let (digits, count) = leading_digits(u64::from_le_bytes(*eight));
            value = value.wrapping_mul(POWERS[count]).wrapping_add(digits);
            self.at += count;
            if count < 8 {
                return (value, self.at - start);
            }
        }
        while let digit @ b'0'..=b'9' = self.peek() {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        (value, self.at - start)
    }

    /// Reads any value.
    pub(super) fn skip_value(&mut self) -> Option<()> {
        self.skip_nested(0)
    }

    fn skip_nested(&mut self, depth: u32) -> Option<()> {
        match self.peek_past_blanks() {
            b'0'..=b'9' | b'-' => self.number(Kind::Other).ok().map(|_| ()),
            b'\\' => self.string().map(|_| ()),
            b'n' => self.eats(b"null").then_some(()),
            b't' => self.eats(b"true").then_some(()),
            b'f' => self.eats(b"false").then_some(()),
            open @ (b'{' | b'[') if depth < MOST_NESTED => {
                self.at += 1;
                // ASCII puts each bracket two before its partner.
                let close = open + 2;
                if self.closes(close) {
                    return Some(());
                }
                loop {
                    if open == b'{' {
                        self.key()?;
                    }
                    self.skip_nested(depth + 1)?;
                    if !self.continues(close)? {
                        return Some(());
                    }
                }
            }
            _ => None,
        }
    }
}

/// What the checked reader makes of a number that is out of the ordinary.
#[cold]
fn by_text(number: &str, kind: Kind) -> Option<i64> {
    if kind == Kind::Price {
        Some(text::price(number).map_or(0, |price| price.as_nanos().max(0)))
    } else {
        text::integer(number)
    }
}

/// The digits that eight bytes start with: what they say, and how many they are.
fn leading_digits(bytes: u64) -> (u64, usize) {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let digits = bytes ^ (EACH * 0x30);
    // The high bit of each byte that is no digit: above 9 after the exclusive or.
    let others = ((digits & (EACH * 0x7f)) + EACH * 0x76) | digits;
    let count = ((others & (EACH * 0x80)).trailing_zeros() / 8) as usize;
    // To the end of the eight, zeros before them; none at all shifts everything out.
    let digits = digits.checked_shl(64 - 8 * count as u32).unwrap_or(0);
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    ((fours * 10_000 + (fours >> 32)) & 0xffff_ffff, count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digits_are_counted_and_read() {
        for (text, value, count) in [
            ("", 0, 0),
            ("x", 0, 0),
            ("7,", 7, 1),
            ("1452,", 1452, 4),
            ("12345678", 12_345_678, 8),
            ("1455185730}", 1_455_185_730, 10),
            ("0001.5", 1, 4),
            ("123:", 123, 3),
            ("12/3", 12, 2),
            ("9\u{e9}", 9, 1),
        ] {
            assert_eq!(Cursor::new(text).digits(), (value, count), "{text}");
            let long = format!("{text}: and more after it");
            assert_eq!(Cursor::new(&long).digits(), (value, count), "{long}");
        }
    }

    proptest! {
        #[test]
        fn eight_bytes_are_read_as_one_by_one(bytes in prop_oneof![any::<[u8; 8]>(), "[0-9]{0,8}[ -~]{8}".prop_map(|text| *text.as_bytes().first_chunk().unwrap())]) {
            let count = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
            let value = bytes[..count].iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
            prop_assert_eq!(leading_digits(u64::from_le_bytes(bytes)), (value, count));
        }

        #[test]
        fn arbitrary_text_never_panics(text in r#"([-0-9.eE"\\/{}\[\],: ]|null|true|.){0,40}"#) {
            let _ = Cursor::new(&text).skip_value();
            let _ = Cursor::new(&text).scalar(Kind::Price);
            let _ = Cursor::new(&text).scalar(Kind::Integer);
            let _ = Cursor::new(&text).key();
        }
    }
}
