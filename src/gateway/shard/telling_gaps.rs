//! Who is told of an interruption upstream, and how: consumers that asked for it, of what they hold.
//! Like answers, which nothing overtakes and which are not conflated. Not the interruptions themselves.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::gateway::shard::Shard;
use crate::hub::{Encoding, GapNews, GapStep, TopicId};
use crate::market::{Bar, Exchange, InstrumentId};
use crate::protocol::binary::{BACKFILL, Body, Gap, GapClosed, Header};
use crate::protocol::openalgo::gaps::{self, Span};
use crate::protocol::websocket;

/// Bytes that may wait for a consumer before it is given no more bars.
const MOST_WAITING: usize = 4 << 20;

/// What a consumer has been told of an interruption that is not over yet.
#[derive(Debug, Default)]
pub(super) struct Told {
    instruments: BTreeSet<InstrumentId>,
    /// Bars given of each.
    bars: BTreeMap<InstrumentId, u64>,
    /// It did not take them: bars were left out.
    is_short: BTreeSet<InstrumentId>,
}

/// An instrument as a consumer holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    instrument: InstrumentId,
    exchange: Exchange,
    symbol: std::sync::Arc<str>,
    number: u32,
}

impl Shard<'_> {
    pub(super) fn on_gap(&mut self, news: &GapNews) {
        match &news.step {
            GapStep::Opened { instruments, reason } => {
                for (slot, held) in self.listeners(instruments) {
                    let Some(state) = self.state(slot) else { continue };
                    let told = state.gaps.entry(news.id).or_default();
                    told.instruments.extend(held.iter().map(|held| held.instrument));
                    self.tell_gap(
                        slot,
                        news,
                        &held,
                        |span, out| gaps::gap(span, reason, out),
                        |gap, header, out| {
                            Body::Gap(Gap { reason, ..gap }).write(header, out);
                        },
                    );
                }
            }
            GapStep::Bars { instrument, bars } => {
                for (slot, held) in self.listeners(&[*instrument]) {
                    self.give_bars(slot, news.id, &held, bars);
                }
            }
            GapStep::Closed { instruments } => self.end_gap(news, instruments, None),
            GapStep::Unfilled { instruments, reason } => self.end_gap(news, instruments, Some(reason)),
        }
    }

    /// Consumers that want to know, with what they hold of these, each name once.
    fn listeners(&mut self, instruments: &[InstrumentId]) -> BTreeMap<u32, Vec<Held>> {
        let wanted: HashSet<_> = instruments.iter().copied().collect();
        let topics: Vec<TopicId> = self.fanout.topics.of_instruments(&wanted);
        let mut found: BTreeMap<u32, BTreeSet<Held>> = BTreeMap::new();
        for topic in topics {
            let Some(key) = self.fanout.topics.key(topic).cloned() else { continue };
            let number = self.fanout.topics.listing(topic).unwrap_or_default();
            let held =
                Held { instrument: key.instrument, exchange: key.exchange, symbol: key.symbol, number };
            for slot in self.fanout.topics.holders(topic) {
                if self.state(slot).is_some_and(|state| state.is_open() && state.listening.is_some()) {
                    found.entry(slot).or_default().insert(held.clone());
                }
            }
        }
        found.into_iter().map(|(slot, held)| (slot, held.into_iter().collect())).collect()
    }

    fn give_bars(&mut self, slot: u32, id: u64, held: &[Held], bars: &[Bar]) {
        let broker = &self.env.broker;
        let template = self.env.hub.record_header(0);
        let Some(member) = self.fanout.get_mut(slot) else { return };
        // Who came after it was told has missed nothing.
        let Some(told) = member.state.gaps.get_mut(&id) else { return };
        for held in held.iter().filter(|held| told.instruments.contains(&held.instrument)) {
            if member.outbox.answers() > MOST_WAITING {
                told.is_short.insert(held.instrument);
                continue;
            }
            *told.bars.entry(held.instrument).or_default() += bars.len() as u64;
            let is_binary = member.encoding == Encoding::Binary;
            for bar in bars {
                member.outbox.answer(|out| {
                    if is_binary {
                        let header = Header { flags: BACKFILL, number: held.number, ..template };
                        websocket::encode_binary_header(crate::protocol::binary::BAR_LEN, out);
                        Body::Bar(*bar).write(&header, out);
                    } else {
                        websocket::text_frame(out, |out| {
                            gaps::backfill(&held.symbol, held.exchange, broker, bar, out);
                        });
                    }
                });
            }
        }
        self.flush(slot);
    }

    fn end_gap(&mut self, news: &GapNews, instruments: &[InstrumentId], unfilled: Option<&str>) {
        for (slot, mut held) in self.listeners(instruments) {
            let Some(state) = self.state(slot) else { continue };
            let Some(told) = state.gaps.get_mut(&news.id) else { continue };
            held.retain(|held| told.instruments.contains(&held.instrument));
            let (short, whole): (Vec<_>, Vec<_>) =
                held.into_iter().partition(|held| told.is_short.contains(&held.instrument));
            let counts = told.bars.clone();
            let bars_of = |number: InstrumentId| counts.get(&number).copied().unwrap_or_default();
            for (held, reason) in [(whole, unfilled), (short, Some("bars were not taken fast enough"))] {
                if held.is_empty() {
                    continue;
                }
                let bars = held.iter().map(|held| bars_of(held.instrument)).sum();
                match reason {
                    None => self.tell_gap(
                        slot,
                        news,
                        &held,
                        |span, out| gaps::gap_closed(span, bars, out),
                        |gap, header, out| {
                            let number = header.number;
                            let one = held.iter().find(|held| held.number == number);
                            let bars = one.map_or(0, |held| bars_of(held.instrument)) as u32;
                            let closed =
                                GapClosed { from: gap.from, to: gap.to, bars, backfilled: true, reason: "" };
                            Body::GapClosed(closed).write(header, out);
                        },
                    ),
                    Some(reason) => self.tell_gap(
                        slot,
                        news,
                        &held,
                        |span, out| gaps::gap_unfilled(span, reason, out),
                        |gap, header, out| {
                            let closed =
                                GapClosed { from: gap.from, to: gap.to, bars: 0, backfilled: false, reason };
                            Body::GapClosed(closed).write(header, out);
                        },
                    ),
                }
            }
        }
        for slot in self.fanout.slots() {
            let Some(state) = self.state(slot) else { continue };
            if let Some(told) = state.gaps.get_mut(&news.id) {
                for instrument in instruments {
                    told.instruments.remove(instrument);
                }
                if told.instruments.is_empty() {
                    state.gaps.remove(&news.id);
                }
            }
        }
    }

    /// One text frame, or a binary record for each instrument.
    fn tell_gap(
        &mut self,
        slot: u32,
        news: &GapNews,
        held: &[Held],
        text: impl FnOnce(&Span<'_>, &mut Vec<u8>),
        record: impl Fn(Gap<'_>, &Header, &mut Vec<u8>),
    ) {
        let template = self.env.hub.record_header(0);
        let Some(member) = self.fanout.get_mut(slot) else { return };
        if member.encoding == Encoding::Binary {
            let gap = Gap { from: news.from, to: news.to, reason: "" };
            for held in held {
                let mut message = Vec::new();
                record(gap, &Header { number: held.number, ..template }, &mut message);
                member.outbox.answer(|out| {
                    websocket::encode_binary_header(message.len(), out);
                    out.extend_from_slice(&message);
                });
            }
        } else {
            let mut symbols: Vec<_> = held.iter().map(|held| (held.exchange, held.symbol.as_ref())).collect();
            symbols.dedup();
            let span = Span { from: news.from.as_millis(), to: news.to.as_millis(), symbols: &symbols };
            member.outbox.answer(|out| websocket::text_frame(out, |out| text(&span, out)));
        }
        self.flush(slot);
    }
}
