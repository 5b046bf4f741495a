//! Every rule of the simulated broker: logins, tokens, subscriptions, sockets, messages.
//! Pure: no I/O and no clock, time is passed in and what is to be sent is handed out.

mod account;
mod books;
mod controls;
mod faults;
mod feed;
mod history;
mod journal;
mod logins;
mod lookups;
mod nights;
mod orders;
mod publish;
mod rates;
mod requests;
mod trouble;
mod unasked;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::clock::UnixNanos;
use crate::market::Calendar;
use crate::market::calendar::ist_date;
use crate::sim::accounts::{DemoAccount, DemoKeys, MAX_ACCOUNTS, MAX_MARKET_KEYS};
use crate::sim::encode::binary;
use crate::sim::instruments::Catalogue;
use crate::sim::jwt::Key;
use crate::sim::market::{Capture, Market, Rules};
use crate::sim::scenario::Player;
use crate::sim::sessions::Product;
use crate::sim::settings::{Hours, Settings};
use crate::sim::state::{Counters, Saved};
use crate::sim::truth::{Note, Notes};
use account::{Account, saved_name};
pub(crate) use books::Query;
use faults::Faults;
pub(crate) use faults::LoginFault;
use feed::Socket;
pub(crate) use feed::{Connect, MAX_PAYLOAD_BYTES, Out, SocketId};
use journal::Journal;
pub(crate) use logins::{INTERACTIVE_CLUSTER, LOOKUP_CLUSTER};
pub(crate) use nights::Away;
use nights::Presence;
use orders::OrderFaults;
pub(crate) use orders::{Manner, OrderCall, OrderFault};
use rates::InFlight;
use trouble::Troubles;
pub(crate) use trouble::{RestAnswer, Spec, duration};
use unasked::Unasked;

/// The simulated broker.
#[derive(Debug)]
pub(crate) struct Core {
    settings: Settings,
    accounts: Vec<Account>,
    /// What concerns no known account: unknown app keys, foreign tokens.
    stray: Counters,
    key: Key,
    signing_key: Vec<u8>,
    market: Market,
    started: UnixNanos,
    /// When time last passed.
    seen: UnixNanos,
    port: u16,
    issued: u64,
    /// As a control set it; else the setting counts.
    token_life_s: Option<u64>,
    /// What interactive logins must bring; empty: nothing.
    access_token: String,
    faults: Faults,
    troubles: Troubles,
    /// The scenario that is being played.
    player: Option<Player>,
    notes: Notes,
    in_flight: InFlight,
    unasked: Unasked,
    order_faults: OrderFaults,
    /// Orders that were given a number.
    orders_numbered: u64,
    journal: Journal,
    presence: Presence,
    /// Marks of tokens that are no JWT, and whose they are.
    opaque_tokens: VecDeque<(String, usize, Product)>,
    /// Hostlookup's keys that no login has used yet.
    unique_keys: BTreeSet<String>,
    sockets: BTreeMap<SocketId, Socket>,
    outbox: Vec<(SocketId, Out)>,
    /// Of the latest message, strictly increasing.
    sequence: i64,
    writer: binary::Writer,
    messages: u64,
    /// Answers about empty books so far.
    empty_answers: u64,
    /// Something changed that is to be saved.
    dirty: bool,
}

impl Core {
    /// A broker that starts `now`, with what was saved of an earlier one. `random` signs the
    /// tokens unless a saved key does. `capture` is replayed if given.
    pub(crate) fn start(
        settings: Settings,
        saved: Option<Saved>,
        random: [u8; 32],
        capture: Option<Capture>,
        now: UnixNanos,
    ) -> Self {
        let mut saved = saved.unwrap_or_default();
        let signing_key = URL_SAFE_NO_PAD
            .decode(&saved.signing_key)
            .ok()
            .filter(|key| key.len() == random.len())
            .unwrap_or_else(|| random.to_vec());
        let rules = Rules {
            seed: settings.seed,
            pace: settings.pace,
            replay_loop: settings.replay_loop,
            calendar: match settings.hours {
                Hours::Always => Calendar::always_open(),
                Hours::Exchange => Calendar::installed(),
            },
        };
        let catalogue = Arc::new(Catalogue::build(ist_date(now)));
        let numbers = 0..settings.accounts.clamp(1, MAX_ACCOUNTS);
        let pairs = settings.market_keys.clamp(1, MAX_MARKET_KEYS);
        let mut accounts = Vec::with_capacity(numbers.len() * pairs);
        // The accounts first: their numbers do not depend on how many keys they have.
        for (pair, number) in (0..pairs).flat_map(|pair| numbers.clone().map(move |number| (pair, number))) {
            let mut demo = DemoAccount::with_market_keys(number, pairs);
            let saved = saved.take_account(accounts.len(), &saved_name(&demo.user, pair));
            if pair > 0 {
                demo.keys = DemoKeys::market_only(demo.more_market_keys.swap_remove(pair - 1));
                demo.more_market_keys.clear();
            }
            let mut account = Account::new(demo, settings.account_kind, saved);
            (account.of, account.pair) = (number, pair);
            account.recount(&catalogue);
            accounts.push(account);
        }
        let mut core = Self {
            market: Market::start(rules, catalogue, capture.map(Arc::new), now),
            key: Key::new(&signing_key),
            signing_key,
            access_token: settings.access_token.clone(),
            faults: Faults::default(),
            troubles: Troubles::default(),
            player: None,
            notes: Notes::default(),
            in_flight: InFlight::default(),
            unasked: Unasked::default(),
            order_faults: OrderFaults::default(),
            orders_numbered: 0,
            journal: Journal::new(accounts.len()),
            presence: Presence::default(),
            accounts,
            stray: saved.stray,
            started: now,
            seen: now,
            port: saved.port,
            issued: saved.issued,
            token_life_s: saved.token_life_s,
            opaque_tokens: VecDeque::new(),
            unique_keys: BTreeSet::new(),
            sockets: BTreeMap::new(),
            outbox: Vec::new(),
            // Later than any message before, whatever happened to the process.
            sequence: now.as_nanos() / 1000,
            writer: binary::Writer::new(settings.layout),
            messages: 0,
            empty_answers: 0,
            dirty: true,
            settings,
        };
        core.open_books(now);
        core
    }

    /// Who may log in, the first account first.
    pub(crate) fn demo_accounts(&self) -> Vec<DemoAccount> {
        self.main_accounts().iter().map(|a| a.demo.clone()).collect()
    }

    /// Where it listened last time, 0 if never.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set_port(&mut self, port: u16) {
        self.dirty |= self.port != port;
        self.port = port;
    }

    /// What is to be saved, if anything changed since this was last asked.
    pub(crate) fn take_saved(&mut self) -> Option<Saved> {
        std::mem::take(&mut self.dirty).then(|| Saved {
            signing_key: URL_SAFE_NO_PAD.encode(&self.signing_key),
            port: self.port,
            issued: self.issued,
            token_life_s: self.token_life_s,
            accounts: self.accounts.iter().map(Account::saved).collect(),
            stray: self.stray.clone(),
            ..Saved::default()
        })
    }

    /// What is to be sent since this was last asked, in order.
    pub(crate) fn take_outbox(&mut self) -> Vec<(SocketId, Out)> {
        std::mem::take(&mut self.outbox)
    }

    /// From now on what happens is noted.
    pub(crate) fn note_truth(&mut self) {
        self.notes.turn_on();
    }

    /// What was noted since this was last asked.
    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        self.notes.take()
    }

    /// Text that looks random and is different each time; deterministic from the key.
    fn opaque(&mut self, purpose: &str, bytes: usize) -> String {
        self.issued += 1;
        let mut text = Vec::with_capacity(bytes + 32);
        for block in 0_u8.. {
            if text.len() >= bytes {
                break;
            }
            let mut hash = Sha256::new();
            hash.update(&self.signing_key);
            hash.update(purpose);
            hash.update(self.issued.to_le_bytes());
            hash.update([block]);
            text.extend_from_slice(&hash.finalize());
        }
        text.truncate(bytes);
        STANDARD.encode(text)
    }
}

/// Tells texts apart without keeping them.
fn digest(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(text)[..18])
}
