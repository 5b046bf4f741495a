//! One function for each reader of what comes from outside, to be called with whatever bytes. Each
//! panics if the reader breaks a promise of its. `fuzz/` looks for such bytes; the tests here try
//! the corpus that it kept, and bytes at random, with every run of the tests.
//! Nothing of the program calls this.

use flate2::write::DeflateEncoder;
use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::value::RawValue;

use crate::broker::xts::engineio::{self, Open};
use crate::broker::xts::socketio;
use crate::broker::xts::tried::Sockets;
use crate::broker::xts::wire::{Counts, bars, binary, books, found, json};
use crate::clock::UnixNanos;
use crate::gateway::tried as gateway;
use crate::market::master::{Master, MasterBuilder, Report};
use crate::market::{Interval, Segment, Tick, TickBody};
use crate::protocol::binary::Records;
use crate::protocol::openalgo::command::{self, Command};

const RECV: UnixNanos = UnixNanos::from_millis(1_770_698_730_500);

/// Frames of the broker's two sockets: a byte for the type (even: text), two for the length, the frame.
pub fn broker_frames(mut input: &[u8]) {
    let mut sockets = Sockets::new();
    while let [kind, low, high, rest @ ..] = input {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (frame, after) = rest.split_at(length);
        input = after;
        if kind % 2 == 1 {
            if !sockets.binary(frame, RECV) {
                return;
            }
            continue;
        }
        let Ok(text) = std::str::from_utf8(frame) else { continue };
        if let Some(packet) = engineio::parse_text(text) {
            assert_eq!(engineio::parse_text(&engineio::encode(packet)), Some(packet));
            if let engineio::Packet::Open(figures) = packet {
                let _ = Open::parse(figures);
            }
            if let engineio::Packet::Message(message) = packet
                && let Some(socketio::Packet::Event(json)) = socketio::parse(message)
                && let Some((name, datum)) = socketio::split_event(json)
            {
                let written = socketio::encode_event(name, datum);
                let again = socketio::parse(&written[1..]);
                assert!(matches!(again, Some(socketio::Packet::Event(json))
                    if datum.is_empty() || socketio::split_event(json) == Some((name, datum))));
            }
        }
        if !sockets.text(text, RECV) {
            return;
        }
    }
}

/// JSON events: the fast reader finds what the checked one finds. The first byte chooses the code, a
/// record separator (`0x1e`) stands between two events of one connection.
pub fn json_event(input: &[u8]) {
    const CODES: [u16; 8] = [1501, 1502, 1510, 1512, 1505, 1504, 1507, 1105];
    let Some((choice, text)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let code = CODES[usize::from(*choice) % CODES.len()];
    let (mut fast, mut checked) = (json::Decoder::new(), json::Decoder::checked());
    for datum in text.split('\u{1e}') {
        // As it is, and as the text of a string, as servers send it.
        let quoted = format!("\"{}\"", datum.replace('\\', "\\\\").replace('"', "\\\""));
        for datum in [datum, &quoted] {
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            let counts = fast.event(code, datum, RECV, &mut found);
            assert_eq!(counts, checked.event(code, datum, RECV, &mut expected), "{datum}");
            assert_eq!(found, expected, "{datum}");
            check(counts, &found);
        }
        assert_eq!(fast.take_phases(), checked.take_phases());
    }
}

/// What holds of every message of the market feed, whatever its form.
fn check(counts: Counts, ticks: &[Tick]) {
    // A message yields two ticks at most, and what yields none is counted.
    let lost = counts.undecodable + counts.ignored + counts.invalid_prices;
    assert!(lost <= counts.messages && ticks.len() <= 2 * (counts.messages - lost) as usize);
    for tick in ticks {
        let last = match &tick.body {
            TickBody::Quote(quote) => quote.last.price,
            TickBody::LastTrade(last) => last.price,
            TickBody::Bar(bar) => bar.open.min(bar.high).min(bar.low).min(bar.close),
            _ => continue,
        };
        assert!(last.is_positive(), "{tick:?}");
    }
}

/// An attachment. A first byte that is odd: the rest is one message's envelope and body, which is read
/// plain and deflated, and must mean the same.
pub fn binary_packet(input: &[u8]) {
    let Some((form, attachment)) = input.split_first() else { return };
    let read = |attachment: &[u8]| {
        let mut ticks = Vec::new();
        let counts = binary::Decoder::new().decode(attachment, RECV, &mut ticks);
        check(counts, &ticks);
        (counts, ticks)
    };
    assert_eq!(read(attachment), read(attachment));
    if form % 2 == 0 {
        return;
    }
    // Flag, code, segment, instrument, book and market type.
    let Some((head, body)) = attachment.split_at_checked(13) else { return };
    let Ok(size) = u16::try_from(body.len()) else { return };
    let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    let Ok(deflated) = encoder.write_all(body).and_then(|()| encoder.finish()) else { return };
    let Ok(compressed) = u16::try_from(deflated.len()) else { return };
    let plain = [&[0], &head[1..], &size.to_le_bytes(), body].concat();
    let packed = [&[1], &head[1..], &size.to_le_bytes(), &compressed.to_le_bytes(), &deflated].concat();
    assert_eq!(read(&plain), read(&packed));
    // One that claims less than it holds is not read.
    if let Some(less) = size.checked_sub(1) {
        let packed = [&[1], &head[1..], &less.to_le_bytes(), &compressed.to_le_bytes(), &deflated].concat();
        assert!(read(&packed).1.is_empty());
    }
}

/// Rows of the instrument master: in whatever pieces they come, the same instruments, each found by
/// its name and its number. The first two bytes choose the pieces.
pub fn master_rows(input: &[u8]) {
    let [piece, index, rows @ ..] = input else { return };
    let build = |piece: usize| {
        let mut builder = MasterBuilder::new();
        for chunk in rows.chunks(piece.max(1)) {
            builder.add_chunk(chunk);
        }
        if let Ok(text) = std::str::from_utf8(rows) {
            builder.add_index(i64::from(*index % 70), text.lines().next().unwrap_or_default());
        }
        builder.finish()
    };
    let (whole, pieces) = (build(rows.len()), build(usize::from(*piece)));
    assert_eq!(told(&whole), told(&pieces));
    if let Ok(text) = std::str::from_utf8(rows) {
        let mut builder = MasterBuilder::new();
        builder.add_rows(text);
        builder.add_index(i64::from(*index % 70), text.lines().next().unwrap_or_default());
        assert_eq!(told(&whole), told(&builder.finish()));
        assert!(whole.0.search(text, None, 5).len() <= 5);
    }
    let (master, report) = whole;
    let counted = report.instruments + report.bad_rows + report.skipped + report.repeated + report.conflicts;
    assert_eq!((report.rows, report.instruments), (counted, master.len()));
    for instrument in master.iter() {
        assert!(!instrument.symbol.is_empty());
        assert_eq!(master.resolve(instrument.exchange, instrument.symbol), Some(instrument.id));
        assert_eq!(master.name(instrument.id), Some((instrument.exchange, instrument.symbol)));
        assert!(!master.search(instrument.symbol, Some(instrument.exchange), 5).is_empty());
    }
}

fn told((master, report): &(Master, Report)) -> String {
    let mut text = format!("{report:?}");
    for instrument in master.iter() {
        let _ = write!(text, "\n{instrument:?}");
    }
    text
}

/// A consumer's command: refused with a code and few words, or of full names and valid echoes.
pub fn consumer_command(frame: &[u8]) {
    let echoes = |raw: Option<&RawValue>| {
        assert!(raw.is_none_or(|raw| serde_json::from_str::<&RawValue>(raw.get()).is_ok()));
    };
    let said = match command::parse(frame) {
        Ok(said) => said,
        Err(refusal) => {
            assert!(!refusal.code.is_empty() && !refusal.message.is_empty());
            // The answer is never much longer than the question.
            assert!(refusal.message.chars().count() <= 160, "{}", refusal.message);
            return;
        }
    };
    assert!(format!("{said:?}").len() < 64);
    match said {
        Command::Authenticate { api_key, .. } => assert!(api_key.is_none_or(|key| !key.is_empty())),
        Command::Subscribe { symbols, request_id, .. } => {
            assert!(!symbols.is_empty());
            assert!(symbols.iter().all(|name| !name.symbol.is_empty() && !name.exchange.is_empty()));
            echoes(request_id);
        }
        Command::Unsubscribe { symbols, request_id } => {
            assert!(!symbols.is_empty());
            assert!(symbols.iter().all(|(name, _)| !name.symbol.is_empty() && !name.exchange.is_empty()));
            echoes(request_id);
        }
        Command::UnsubscribeAll { request_id }
        | Command::SubscribeOrders { request_id }
        | Command::UnsubscribeOrders { request_id } => echoes(request_id),
        Command::Ping { timestamp, ping_id } => {
            echoes(timestamp);
            echoes(ping_id);
        }
        Command::Pong | Command::BrokerInfo | Command::SupportedBrokers => {}
    }
}

/// A consumer's WebSocket frames: whatever pieces they come in, the same messages and the same end, and
/// never more kept than one message and one header. The first byte chooses the limit, the second the
/// pieces.
pub fn consumer_frames(input: &[u8]) {
    let [limit, piece, stream @ ..] = input else { return };
    let limit = usize::from(*limit) * 4;
    let whole = gateway::read_frames(stream.chunks(stream.len().max(1)), limit);
    assert_eq!(whole, gateway::read_frames(stream.chunks(usize::from(*piece).max(1)), limit));
    assert_eq!(whole, gateway::read_frames(stream.chunks(1), limit));
}

/// A message of the binary encoding: its records are its bytes, up to the first that is none.
pub fn binary_records(message: &[u8]) {
    let (mut read, mut ended) = (0, false);
    for record in Records::new(message) {
        assert!(!ended);
        match record {
            Ok(record) => {
                assert_eq!(record.bytes(), &message[read..read + record.bytes().len()]);
                read += record.bytes().len();
                drop(format!("{:?} {:?}", record.header(), record.body()));
            }
            Err(_) => ended = true,
        }
    }
    assert!(ended || read == message.len());
}

/// The rows of a history call: in order, each start once, nothing lost uncounted. The first two bytes
/// choose segment and interval.
pub fn history_bars(input: &[u8]) {
    const INTERVALS: [Interval; 8] = [
        Interval::minutes(1),
        Interval::minutes(3),
        Interval::minutes(10),
        Interval::minutes(60),
        Interval::Seconds(1),
        Interval::Day,
        Interval::Week,
        Interval::Month,
    ];
    let [segment, interval, text @ ..] = input else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let segment = Segment::ALL[usize::from(*segment) % Segment::ALL.len()];
    let interval = INTERVALS[usize::from(*interval) % INTERVALS.len()];
    let check = |read: &bars::Bars| {
        assert!(read.bars.is_sorted_by(|a, b| a.start < b.start));
        for bar in &read.bars {
            assert!(bar.low.is_positive() && bar.volume >= 0 && bar.open_interest >= 0);
            assert!(bar.low <= bar.open.min(bar.close) && bar.high >= bar.open.max(bar.close));
        }
    };
    let read = bars::rows(text, segment, interval);
    check(&read);
    let rows = text.split(',').filter(|row| !row.trim().is_empty()).count();
    assert_eq!(read.bars.len() + read.bad + read.repeated, rows);
    if let Ok(raw) = serde_json::from_str::<&RawValue>(text)
        && let Ok(read) = bars::read(Some(raw), segment, interval)
    {
        check(&read);
    }
}

/// The answers of the REST calls. The first byte chooses which.
pub fn rest_books(input: &[u8]) {
    let Some((which, text)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(raw) = serde_json::from_str::<&RawValue>(text) else { return };
    let (raw, text) = (Some(raw), raw.get());
    let elements = serde_json::from_str::<Vec<&RawValue>>(text).ok().map(|list| list.len());
    let whole = |rows: usize, lost: usize| assert!(elements.is_none_or(|all| all == rows + lost), "{text}");
    match which % 11 {
        0 => drop(books::orders(raw).map(|book| whole(book.rows.len(), book.lost.len()))),
        1 => drop(books::trades(raw).map(|book| whole(book.rows.len(), book.lost.len()))),
        2 => drop(books::positions(raw).map(|book| whole(book.rows.len(), book.lost.len()))),
        3 => drop(books::balance(raw).map(|book| assert!(book.rows.len() + book.lost.len() <= 1))),
        4 => drop(books::holdings(raw)),
        5 => drop(books::profile(raw)),
        6 => drop(found::instruments(raw)),
        7 => drop(found::market_status(raw)),
        8 => drop(found::words(raw)),
        9 => drop(found::messages(raw)),
        _ => assert!(found::order_id(raw, &["AppOrderID"]).is_none_or(|id| found::is_order_id(&id))),
    }
}

#[cfg(test)]
mod tests;
