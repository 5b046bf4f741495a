//! What market sockets get beside quotes: sessions that start and end (1507), price bands
//! (1105), finished candles (1505). All as JSON, on the binary endpoint too.
//!
//! Source: official SDKs, and what was seen on live servers.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::Core;
use super::feed::Format;
use super::publish::CANDLE_BIT;
use crate::broker::xts::socketio;
use crate::clock::UnixNanos;
use crate::market::{Bar, Calendar, Exchange, MarketState, Price};
use crate::sim::answers::Answer;
use crate::sim::encode::venue_time;
use crate::sim::market::Quote;
use crate::sim::settings::Hours;

/// One exchange for each segment.
const EXCHANGES: [Exchange; 6] =
    [Exchange::Nse, Exchange::Nfo, Exchange::Cds, Exchange::Bse, Exchange::Bfo, Exchange::Mcx];

/// Seconds between two messages about price bands.
const BANDS_EVERY_S: i64 = 20;

/// A candle is sent so many seconds after its minute, as on live servers.
const CANDLE_DELAY_S: i64 = 2;

/// Candles that are remembered.
const MAX_SENT: usize = 1_000;

/// A minute's trades of one instrument, of the live market.
#[derive(Clone, Copy, Debug)]
struct Candle {
    bar: Bar,
    /// Sum of price times quantity, in 1e-9 rupees.
    turnover: i128,
}

/// What is known of what was told.
#[derive(Debug, Default)]
pub(super) struct Unasked {
    second: i64,
    sessions: Vec<MarketState>,
    bands: usize,
    /// By position in the catalogue: the minute that is open, and those that wait.
    open: BTreeMap<usize, Candle>,
    finished: Vec<(usize, Candle)>,
    sent: VecDeque<Value>,
}

impl Unasked {
    /// An instrument that candles are wanted of has traded.
    pub(super) fn trade(&mut self, index: usize, quote: &Quote, now: UnixNanos) {
        let minute = UnixNanos::from_secs(now.as_secs().div_euclid(60) * 60);
        if let Some(candle) = self.open.get_mut(&index) {
            if candle.bar.start == minute {
                let bar = &mut candle.bar;
                bar.high = bar.high.max(quote.ltp);
                bar.low = bar.low.min(quote.ltp);
                bar.close = quote.ltp;
                bar.volume += quote.ltq;
                bar.open_interest = quote.open_interest;
                candle.turnover += i128::from(quote.ltp.as_nanos()) * i128::from(quote.ltq);
                return;
            }
            self.finished.push((index, *candle));
        }
        let price = quote.ltp;
        let bar = Bar {
            start: minute,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: quote.ltq,
            open_interest: quote.open_interest,
        };
        let turnover = i128::from(price.as_nanos()) * i128::from(quote.ltq);
        self.open.insert(index, Candle { bar, turnover });
    }

    /// Candles whose time has come.
    fn due(&mut self, now: UnixNanos) -> Vec<(usize, Candle)> {
        let is_due = |c: &Candle| c.bar.start.as_secs() + 60 + CANDLE_DELAY_S <= now.as_secs();
        let over: Vec<_> = self.open.iter().filter(|(_, c)| is_due(c)).map(|(&i, _)| i).collect();
        for index in over {
            if let Some(candle) = self.open.remove(&index) {
                self.finished.push((index, candle));
            }
        }
        let (due, wait) = std::mem::take(&mut self.finished).into_iter().partition(|(_, c)| is_due(c));
        self.finished = wait;
        due
    }

    /// Another day has other instruments.
    pub(super) fn new_day(&mut self) {
        self.open.clear();
        self.finished.clear();
    }
}

impl Core {
    /// Says what is to be said at `now`.
    pub(super) fn tell_unasked(&mut self, now: UnixNanos) {
        if self.market.is_muted() {
            return;
        }
        self.tell_sessions(now);
        for (index, candle) in self.unasked.due(now) {
            self.tell_candle(index, &candle);
        }
    }

    fn states(&self, now: UnixNanos) -> Vec<MarketState> {
        let calendar = match self.settings.hours {
            Hours::Always => Calendar::always_open(),
            Hours::Exchange => Calendar::installed(),
        };
        EXCHANGES.into_iter().map(|e| calendar.state(e, now)).collect()
    }

    fn tell_sessions(&mut self, now: UnixNanos) {
        let is_new_second = self.unasked.second != now.as_secs();
        if is_new_second {
            self.unasked.second = now.as_secs();
            let states = self.states(now);
            let before = std::mem::replace(&mut self.unasked.sessions, states);
            if !before.is_empty() {
                for (at, old) in before.into_iter().enumerate() {
                    if old != self.unasked.sessions[at] {
                        let told: Vec<_> = self.market_sockets(|_| true);
                        for id in told {
                            self.tell_session(id, at, now);
                        }
                    }
                }
            }
            if now.as_secs() % BANDS_EVERY_S == 0 {
                self.tell_bands();
            }
        }
        let fresh: Vec<_> =
            self.sockets.iter().filter(|(_, s)| s.joined && !s.told_sessions).map(|(&id, _)| id).collect();
        for id in fresh {
            if let Some(socket) = self.sockets.get_mut(&id) {
                socket.told_sessions = true;
                if socket.format == Format::None {
                    continue;
                }
            }
            for at in 0..EXCHANGES.len() {
                self.tell_session(id, at, now);
            }
        }
    }

    fn tell_session(&mut self, socket: u64, at: usize, now: UnixNanos) {
        let segment = EXCHANGES[at].segment();
        let (number, words) = session(self.unasked.sessions[at]);
        self.sequence += 1;
        let event = json!({
            "MessageCode": 1507,
            "MessageVersion": 4,
            "ApplicationType": 0,
            "TokenID": 0,
            "ExchangeSegment": segment.number(),
            "ExchangeInstrumentID": 0,
            "ExchangeTimeStamp": venue_time(segment, now),
            "SequenceNumber": self.sequence,
            "maketType": 1,
            "message": format!("{} {words}", segment.xts_name()),
            "tradingSession": number,
        });
        self.say_text(socket, "1507-json-full", &event.to_string());
    }

    /// The price band of one instrument that an account follows, in turn.
    fn tell_bands(&mut self) {
        self.unasked.bands += 1;
        let turn = self.unasked.bands;
        for account in 0..self.accounts.len() {
            let wanted = &self.accounts[account].wanted;
            let followed: Vec<_> = (0..wanted.len()).filter(|&i| wanted[i] != 0).collect();
            let listings = self.market.catalogue().listings();
            let index = match followed.len() {
                0 => turn % listings.len(),
                n => followed[turn % n],
            };
            let listing = &listings[index];
            let Some((low, high)) = listing.band() else { continue };
            let line = format!(
                "t:{}_{},110:{},111:{}",
                listing.id.segment.number(),
                listing.id.code,
                plain(high),
                plain(low)
            );
            for id in self.market_sockets(|a| a == account) {
                self.say_text(id, "1105-json-partial", &line);
            }
        }
    }

    fn tell_candle(&mut self, index: usize, candle: &Candle) {
        let Some(listing) = self.market.catalogue().listings().get(index) else { return };
        let (id, bar) = (listing.id, candle.bar);
        let number = |price: Price| price.as_nanos() as f64 / 1e9;
        // The convention of history: the last second, as if India's clock were UTC.
        let event = json!({
            "MessageCode": 1505,
            "MessageVersion": 4,
            "ApplicationType": 0,
            "TokenID": 0,
            "ExchangeSegment": id.segment.number(),
            "ExchangeInstrumentID": id.code,
            "BarTime": bar.start.as_secs() + 19_800 + 59,
            "BarVolume": bar.volume,
            "Open": number(bar.open),
            "High": number(bar.high),
            "Low": number(bar.low),
            "Close": number(bar.close),
            "OpenInterest": bar.open_interest,
            "SumOfQtyInToPrice": (candle.turnover / 1_000_000) as f64 / 1e3,
        });
        let text = event.to_string();
        for account in 0..self.accounts.len() {
            if self.accounts[account].wanted.get(index).is_some_and(|w| w & CANDLE_BIT != 0) {
                for socket in self.market_sockets(|a| a == account) {
                    self.say_text(socket, "1505-json-full", &text);
                }
            }
        }
        self.unasked.sent.push_back(json!({
            "segment": id.segment.number(),
            "id": id.code,
            "start": bar.start.in_india(),
            "start_s": bar.start.as_secs(),
            "open": bar.open.to_string(),
            "high": bar.high.to_string(),
            "low": bar.low.to_string(),
            "close": bar.close.to_string(),
            "volume": bar.volume,
            "oi": bar.open_interest,
        }));
        if self.unasked.sent.len() > MAX_SENT {
            self.unasked.sent.pop_front();
        }
    }

    /// `GET /__sim/candles`: the latest candles that were sent.
    pub(crate) fn candles_view(&self) -> Value {
        json!({ "candles": self.unasked.sent })
    }

    /// Sockets of live market sessions that get data.
    fn market_sockets(&self, is_meant: impl Fn(usize) -> bool) -> Vec<u64> {
        let lives = |account: usize, session: &str| {
            self.accounts[account].sessions.market.as_ref().is_some_and(|s| s.id == session)
        };
        let theirs = self.sockets.iter().filter(|(_, s)| {
            s.format != Format::None && s.joined && is_meant(s.account) && lives(s.account, &s.session)
        });
        theirs.map(|(&id, _)| id).collect()
    }

    fn say_text(&mut self, socket: u64, name: &str, payload: &str) {
        self.say(socket, &socketio::encode_event(name, &json!(payload).to_string()));
    }

    /// `GET …/status/exchange`.
    pub(super) fn exchange_status(&self, now: UnixNanos) -> Answer {
        let states = self.states(now).into_iter().zip(EXCHANGES);
        let list: Vec<_> = states
            .map(|(state, exchange)| {
                json!({
                    "exchangeSegment": exchange.segment().xts_name(),
                    "exchangeMarketType": "Normal",
                    "exchangeTradingSession": session(state).0,
                })
            })
            .collect();
        // The code is composed.
        Answer::success("s-market-0001", "Exchange status", json!({ "marketStatus": list }))
    }

    /// `GET …/messages/exchange`: there are none. Code and key are composed.
    pub(super) fn exchange_messages() -> Answer {
        Answer::success("s-market-0002", "Exchange messages", json!({ "messageList": [] }))
    }
}

/// `tradingSession` and its words.
const fn session(state: MarketState) -> (u16, &'static str) {
    match state {
        MarketState::PreOpen => (0, "Pre-open session started"),
        MarketState::Open => (2, "Normal market opened"),
        MarketState::Closing => (8, "Closing session started"),
        MarketState::Closed => (32, "Normal market closed"),
    }
}

fn plain(price: Price) -> String {
    let text = price.to_string();
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}
