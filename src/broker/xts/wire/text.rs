//! Values as XTS writes them in text: numbers that may be strings, strings inside strings.
//! Not a JSON reader; it looks at one value at a time.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::market::{Money, Price};

/// A price from a JSON number or string. `None` for `null`, `""`, `"NaN"` and anything that
/// is no number. Decimal text goes to fixed point without a float.
pub fn price(raw: &str) -> Option<Price> {
    let text = bare(raw);
    Price::parse(text.as_bytes()).or_else(|| text.parse().ok().and_then(Price::from_f64))
}

/// An integer from a JSON number or string; a fraction is cut off.
pub fn integer(raw: &str) -> Option<i64> {
    let text = bare(raw);
    text.parse().ok().or_else(|| {
        let value: f64 = text.parse().ok()?;
        // 2^63 is exactly representable; anything at or beyond it does not fit.
        (value.is_finite() && value.abs() < 9.223_372_036_854_776e18).then_some(value as i64)
    })
}

/// An integer from a JSON number or string. `None` if it has a fraction other than zero: for
/// quantities of books, where cutting it off would be a wrong number.
pub fn whole(raw: &str) -> Option<i64> {
    let text = bare(raw);
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    if let Some((whole, fraction)) = text.split_once('.') {
        return fraction.bytes().all(|b| b == b'0').then(|| whole.parse().ok())?;
    }
    let value: f64 = text.parse().ok()?;
    // Every integer below 2^53 is a double.
    (value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0).then_some(value as i64)
}

/// An amount of money from a JSON number or string, as [`price`].
pub fn money(raw: &str) -> Option<Money> {
    let text = bare(raw);
    Money::parse(text.as_bytes()).or_else(|| text.parse().ok().and_then(Money::from_f64))
}

/// Without quotes, blanks and thousands commas.
fn bare(raw: &str) -> Cow<'_, str> {
    let raw = raw.trim();
    let inner = raw.strip_prefix('"').and_then(|r| r.strip_suffix('"')).unwrap_or(raw).trim();
    if inner.contains(',') && is_grouped(inner) {
        Cow::Owned(inner.replace(',', ""))
    } else {
        Cow::Borrowed(inner)
    }
}

/// Whether the commas stand where thousands are grouped, `1,234,567` or `12,34,567`: one that
/// is a decimal comma (`1460,50`) must not make the number a hundred times as large.
fn is_grouped(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.trim_start_matches(['-', '+']);
    let all_digits = |group: &str| group.bytes().all(|b| b.is_ascii_digit());
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default();
    let mut rest = groups.rev();
    let last = rest.next().unwrap_or_default();
    !fraction.contains(',')
        // No group before the thousands starts with a zero, but `0,500` written with a comma does.
        && (all_digits(first) && (1..=3).contains(&first.len()) && !first.starts_with('0'))
        && rest.all(|group| all_digits(group) && (2..=3).contains(&group.len()))
        && (all_digits(last) && last.len() == 3)
}

/// Appends the text of a JSON string (quotes included in `raw`) to `out`. `None`, with `out`
/// as it was, if it is no complete JSON string.
pub fn unescape(raw: &str, out: &mut String) -> Option<()> {
    let start = out.len();
    let done = unescape_onto(raw, out);
    if done.is_none() {
        out.truncate(start);
    }
    done
}

fn unescape_onto(raw: &str, out: &mut String) -> Option<()> {
    let mut rest = raw.trim().strip_prefix('"')?;
    loop {
        let stop = rest.find(['"', '\\'])?;
        out.push_str(&rest[..stop]);
        if rest.as_bytes()[stop] == b'"' {
            return (stop + 1 == rest.len()).then_some(());
        }
        let escape = *rest.as_bytes().get(stop + 1)?;
        let mut used = stop + 2;
        out.push(match escape {
            b'"' | b'\\' | b'/' => escape as char,
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'u' => {
                let (value, length) = unicode_escape(&rest[stop..])?;
                used = stop + length;
                value
            }
            _ => return None,
        });
        rest = rest.get(used..)?;
    }
}

/// Reads `\uXXXX`, or a surrogate pair of two. Returns the character and the bytes used.
fn unicode_escape(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| -> Option<u32> {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let first = unit(0)?;
    if let Some(value) = char::from_u32(first) {
        return Some((value, 6));
    }
    let second = unit(6).filter(|u| (0xdc00..0xe000).contains(u))?;
    let value = 0x1_0000 + ((first.checked_sub(0xd800)?) << 10) + (second - 0xdc00);
    char::from_u32(value).map(|c| (c, 12))
}

/// A JSON value of any shape, unread; `null` and an absent member are `None`.
pub(crate) type Raw<'a> = Option<&'a RawValue>;

/// A price member, `None` if absent or no number.
pub(crate) fn raw_price(raw: Raw<'_>) -> Option<Price> {
    price(raw?.get())
}

/// An integer member, `None` if absent or no number.
pub(crate) fn raw_integer(raw: Raw<'_>) -> Option<i64> {
    integer(raw?.get())
}

/// A text member: a string's text, or any other value as it is written.
pub(crate) fn raw_text(raw: Raw<'_>) -> Option<String> {
    let raw = raw?.get();
    let mut text = String::new();
    match unescape(raw, &mut text) {
        Some(()) => Some(text),
        None => Some(raw.to_owned()),
    }
}

/// A member read as `T`, `None` if it has another shape.
pub(crate) fn raw_as<T: DeserializeOwned>(raw: Raw<'_>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

/// Calls `visit` with each element of a JSON array, or with the value itself if it is none.
/// `None` if the array is broken.
pub(crate) fn each_element<'a>(raw: &'a str, mut visit: impl FnMut(&'a str)) -> Option<()> {
    if raw.trim_start().starts_with('[') {
        let elements: Vec<&'a RawValue> =
            Vec::deserialize(&mut serde_json::Deserializer::from_str(raw)).ok()?;
        for element in elements {
            visit(element.get());
        }
    } else {
        visit(raw);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_leniently() {
        for (raw, shown) in [
            ("1462.6", "1462.6"),
            ("\"1462.6\"", "1462.6"),
            ("\"1,460.50\"", "1460.5"),
            ("-0.05", "-0.05"),
            ("1e-2", "0.01"),
            ("0", "0.0"),
        ] {
            assert_eq!(price(raw).unwrap().to_string(), shown, "{raw}");
        }
        for raw in ["null", "\"\"", "\"NaN\"", "NaN", "\"inf\"", "{}", "1e99", "true"] {
            assert_eq!(price(raw), None, "{raw}");
        }
        for (raw, value) in [("5", 5), ("\"5\"", 5), ("5.0", 5), ("\"1,234,567\"", 1_234_567), ("-3", -3)] {
            assert_eq!(integer(raw), Some(value), "{raw}");
        }
        for raw in ["null", "\"\"", "\"NaN\"", "1e40", "[]"] {
            assert_eq!(integer(raw), None, "{raw}");
        }
        for (raw, value) in [("10", 10), ("\"10.00\"", 10), ("\"-1,00,000\"", -100_000), ("1e3", 1_000)] {
            assert_eq!(whole(raw), Some(value), "{raw}");
        }
        for raw in ["10.5", "\"\"", "NaN", "1e-1", "1e16", ".", "inf", "true"] {
            assert_eq!(whole(raw), None, "{raw}");
        }
        assert_eq!(money("\"-14,605.00\"").unwrap().to_string(), "-14605.00");
        assert_eq!(money("1.5E7").unwrap().to_string(), "15000000.00");
        assert_eq!(money("\"NaN\""), None);
    }

    #[test]
    fn only_commas_between_groups_are_dropped() {
        for raw in [
            "\"1460,50\"",
            "\"1,4605\"",
            "\",500\"",
            "\"1,460.50,0\"",
            "\"1,,000\"",
            "\"1,\"",
            "\"1,00\"",
            "\"0,500\"",
            "\"1,2,345\"",
        ] {
            assert_eq!((price(raw), integer(raw), whole(raw), money(raw)), (None, None, None, None), "{raw}");
        }
        assert_eq!(integer("\"12,34,567\""), Some(1_234_567));
    }

    #[test]
    fn strings_are_unescaped_whole_or_not_at_all() {
        let mut out = String::from("kept");
        for broken in
            ["", "x", "\"", "\"a", "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"a\"b\"", "\"\\ué00\""]
        {
            assert_eq!(unescape(broken, &mut out), None, "{broken}");
            assert_eq!(out, "kept");
        }
        assert_eq!(unescape(r#""a\"\\\/\n\u20b9\ud83d\ude00""#, &mut out), Some(()));
        assert_eq!(out, "kepta\"\\/\n₹😀");
    }

    proptest! {
        #[test]
        fn any_text_survives_a_json_string(text in any::<String>()) {
            let mut out = String::new();
            prop_assert_eq!(unescape(&serde_json::to_string(&text).unwrap(), &mut out), Some(()));
            prop_assert_eq!(out, text);
        }

        #[test]
        fn arbitrary_text_never_panics(text in r#"("|\\|u|d8|00|.){0,20}"#) {
            let _ = unescape(&text, &mut String::new());
            let _ = (price(&text), integer(&text), whole(&text), money(&text));
            let _ = each_element(&text, |_| ());
        }
    }
}
