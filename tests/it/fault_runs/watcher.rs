//! A consumer that stays connected through a run and keeps everything it got, for a judge to compare.
//! Judges nothing itself; that is `truth` and `verdict`.

use std::sync::{Arc, Mutex, MutexGuard};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tickgate::client::{Client, Event, Trust, What};
use tickgate::market::Price;
use tickgate::protocol::Mode;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

/// How a consumer speaks to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// OpenAlgo and nothing else, Quote mode.
    Plain,
    /// OpenAlgo with sequence numbers and states, LTP mode.
    Numbered,
    /// The binary encoding with states, Depth mode.
    Binary,
}

/// One price as a consumer got it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    /// Which of the names subscribed.
    pub(crate) name: usize,
    pub(crate) last: f64,
    /// Where the mode has it.
    pub(crate) volume: Option<i64>,
    /// Where the speech has it: source and epoch, then the number.
    pub(crate) seq: Option<((u64, u64), u64)>,
    pub(crate) at: Instant,
}

/// Everything one consumer got.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) prices: Vec<Seen>,
    /// When the newest price of all names came.
    pub(crate) newest: Option<Instant>,
    /// Names whose price has come at least once.
    pub(crate) covered: Vec<bool>,
    /// Frames that are no prices: states, gaps, heartbeats, refusals.
    pub(crate) notes: Vec<(Instant, Value)>,
    /// What the server granted of the options asked for.
    pub(crate) granted: Value,
    /// Why it ended, if it did.
    pub(crate) ended: Option<String>,
}

/// A running consumer. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) speech: Speech,
    book: Arc<Mutex<Book>>,
    task: JoinHandle<()>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watcher {
    /// Connects and subscribes `names` (`EXCHANGE:SYMBOL`).
    pub(crate) fn start(url: &str, key: &str, speech: Speech, names: &[String]) -> Self {
        let book = Arc::new(Mutex::new(Book { covered: vec![false; names.len()], ..Book::default() }));
        let (url, key, names) = (url.to_owned(), key.to_owned(), names.to_vec());
        let shared = Arc::clone(&book);
        let task = tokio::spawn(async move {
            let ended = match speech {
                Speech::Binary => binary(&url, &key, &names, &shared).await,
                _ => text(&url, &key, speech, &names, &shared).await,
            };
            lock(&shared).ended = Some(match ended {
                Ok(()) => "the connection ended".to_owned(),
                Err(why) => why,
            });
        });
        Self { speech, book, task }
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Book {
    fn price(&mut self, name: usize, last: f64, volume: Option<i64>, seq: Option<((u64, u64), u64)>) {
        let at = Instant::now();
        self.prices.push(Seen { name, last, volume, seq, at });
        self.newest = Some(at);
        self.covered[name] = true;
    }

    fn note(&mut self, frame: Value) {
        self.notes.push((Instant::now(), frame));
    }

    fn frame(&mut self, frame: Value, names: &[String]) -> Result<(), String> {
        if frame["type"] != "market_data" {
            self.note(frame);
            return Ok(());
        }
        let name = format!(
            "{}:{}",
            frame["exchange"].as_str().unwrap_or("?"),
            frame["symbol"].as_str().unwrap_or("?")
        );
        let data = &frame["data"];
        let known = names.iter().position(|n| *n == name);
        let (Some(name), Some(last)) = (known, data["ltp"].as_f64()) else {
            return Err(format!("a frame that nobody asked for: {frame}"));
        };
        let seq = frame["seq"].as_u64().map(|seq| ((0, frame["epoch"].as_u64().unwrap_or(0)), seq));
        self.price(name, last, data["volume"].as_i64(), seq);
        Ok(())
    }
}

async fn text(
    url: &str,
    key: &str,
    speech: Speech,
    names: &[String],
    book: &Mutex<Book>,
) -> Result<(), String> {
    let (mut socket, _) = connect_async(url).await.map_err(|e| format!("no connection: {e}"))?;
    let mut hello = json!({"action": "authenticate", "api_key": key});
    if speech == Speech::Numbered {
        hello["tickgate"] = json!({"state": true, "seq": true});
    }
    let symbols: Vec<_> = names
        .iter()
        .filter_map(|name| name.split_once(':'))
        .map(|(exchange, symbol)| json!({"symbol": symbol, "exchange": exchange}))
        .collect();
    let mode = if speech == Speech::Plain { 2 } else { 1 };
    let subscribe = json!({"action": "subscribe", "symbols": symbols, "mode": mode});
    for frame in [hello, subscribe] {
        socket.send(Message::text(frame.to_string())).await.map_err(|e| e.to_string())?;
    }
    while let Some(message) = socket.next().await {
        match message.map_err(|e| e.to_string())? {
            Message::Text(text) => {
                let frame: Value = serde_json::from_str(&text).map_err(|e| format!("no JSON: {e}"))?;
                let mut book = lock(book);
                if frame["type"] == "auth" {
                    if frame["status"] != "success" {
                        return Err(format!("refused: {frame}"));
                    }
                    book.granted = frame["tickgate"].clone();
                }
                book.frame(frame, names)?;
            }
            Message::Close(frame) => return Err(format!("closed: {frame:?}")),
            _ => {}
        }
    }
    Ok(())
}

async fn binary(url: &str, key: &str, names: &[String], book: &Mutex<Book>) -> Result<(), String> {
    let mut client =
        Client::connect_with_states(url, key, &Trust::default()).await.map_err(|e| e.to_string())?;
    let pairs: Vec<_> = names.iter().filter_map(|name| name.split_once(':')).collect();
    let outcomes = client.subscribe(&pairs, Mode::Depth).await.map_err(|e| e.to_string())?;
    if let Some(failed) = outcomes.iter().find(|o| o.error.is_some()) {
        return Err(format!("not subscribed: {failed:?}"));
    }
    let decimal = |price: Price| price.to_string().parse::<f64>().map_err(|e| e.to_string());
    while let Some(event) = client.next().await.map_err(|e| e.to_string())? {
        let update = match event {
            Event::Text(text) => {
                lock(book).note(serde_json::from_str(&text).map_err(|e| format!("no JSON: {e}"))?);
                continue;
            }
            Event::Record(update) => update,
        };
        let name = update.listing.as_ref().map(|l| format!("{}:{}", l.exchange, l.symbol));
        match (&update.what, name) {
            (What::Depth(depth), Some(name)) => {
                let Some(name) = names.iter().position(|n| *n == name) else {
                    return Err(format!("a record that nobody asked for: {name}"));
                };
                let header = &update.header;
                let seq = ((u64::from(header.source), u64::from(header.epoch)), header.seq);
                let last = decimal(depth.quote.last.price)?;
                lock(book).price(name, last, Some(depth.quote.volume), Some(seq));
            }
            (What::State { state, reason, .. }, name) => {
                let state = state.map(|s| format!("{s:?}").to_lowercase());
                lock(book).note(json!({"type": "state", "state": state, "reason": reason, "name": name}));
            }
            (What::Gap { .. }, name) => lock(book).note(json!({"type": "gap", "name": name})),
            (What::GapClosed { .. }, name) => lock(book).note(json!({"type": "gap_closed", "name": name})),
            (other, name) => {
                lock(book).note(json!({"type": "record", "what": format!("{other:?}"), "name": name}));
            }
        }
    }
    Ok(())
}
