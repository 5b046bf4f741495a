//! Writes what consumers that asked for it are told of interruptions upstream. Not to whom, and not the
//! binary records of the same.

use crate::market::{Bar, Exchange};
use crate::protocol::Mode;
use crate::protocol::openalgo::frames::push_string;
use crate::protocol::openalgo::market_data;

/// When data were missed, in milliseconds, and of what.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// The last before.
    pub from: i64,
    /// The first after.
    pub to: i64,
    /// Symbols with their exchanges.
    pub symbols: &'a [(Exchange, &'a str)],
}

/// Data were missed.
pub fn gap(span: &Span<'_>, reason: &str, out: &mut Vec<u8>) {
    begin("gap", span, out);
    push_reason(reason, out);
}

/// A gap is over, and so many bars of it were told.
pub fn gap_closed(span: &Span<'_>, bars: u64, out: &mut Vec<u8>) {
    begin("gap_closed", span, out);
    out.extend_from_slice(b",\"backfilled\":true,\"bars\":");
    out.extend_from_slice(itoa::Buffer::new().format(bars).as_bytes());
    out.push(b'}');
}

/// A gap is over, and nothing of it comes any more.
pub fn gap_unfilled(span: &Span<'_>, reason: &str, out: &mut Vec<u8>) {
    begin("gap_closed", span, out);
    out.extend_from_slice(b",\"backfilled\":false");
    push_reason(reason, out);
}

/// A bar of a gap.
pub fn backfill(symbol: &str, exchange: Exchange, broker: &str, bar: &Bar, out: &mut Vec<u8>) {
    market_data::write_bar(&market_data::prefix(symbol, exchange, Mode::Bar, broker), bar, out);
    out.pop();
    out.extend_from_slice(b",\"backfill\":true}");
}

fn begin(kind: &str, span: &Span<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":");
    push_string(kind, out);
    for (key, value) in [(&b",\"from\":"[..], span.from), (b",\"to\":", span.to)] {
        out.extend_from_slice(key);
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
    out.extend_from_slice(b",\"symbols\":[");
    for (index, (exchange, symbol)) in span.symbols.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"symbol\":" } else { b",{\"symbol\":" });
        push_string(symbol, out);
        out.extend_from_slice(b",\"exchange\":");
        push_string(exchange.as_str(), out);
        out.push(b'}');
    }
    out.push(b']');
}

fn push_reason(reason: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"reason\":");
    push_string(reason, out);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::clock::UnixNanos;
    use crate::market::Price;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Value {
        let mut out = Vec::new();
        write(&mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn what_is_told_of_a_gap() {
        let span = Span { from: 5, to: 9, symbols: &[(Exchange::Nse, "A\"B"), (Exchange::Nfo, "F")] };
        let symbols = json!([{"symbol": "A\"B", "exchange": "NSE"}, {"symbol": "F", "exchange": "NFO"}]);
        assert_eq!(
            written(|out| gap(&span, "mute", out)),
            json!({"type": "gap", "from": 5, "to": 9, "symbols": symbols, "reason": "mute"})
        );
        assert_eq!(
            written(|out| gap_closed(&span, 3, out)),
            json!({"type": "gap_closed", "from": 5, "to": 9, "symbols": symbols, "backfilled": true, "bars": 3})
        );
        assert_eq!(
            written(|out| gap_unfilled(&span, "late", out)),
            json!({"type": "gap_closed", "from": 5, "to": 9, "symbols": symbols, "backfilled": false,
                "reason": "late"})
        );
        let close = Price::from_rupees(3);
        let bar = Bar { start: UnixNanos::from_secs(60), close, volume: 7, ..Bar::default() };
        let frame = written(|out| backfill("S", Exchange::Nse, "b", &bar, out));
        assert_eq!(
            (&frame["backfill"], &frame["mode"], &frame["data"]["timestamp"]),
            (&json!(true), &json!(4), &json!(60_000))
        );
        assert_eq!((&frame["data"]["close"], &frame["data"]["volume"]), (&json!(3.0), &json!(7)));
    }
}
