//! Every rule of the simulated broker: logins, tokens, subscriptions, sockets, messages.
//! Pure: no I/O and no clock, time is passed in and what is to be sent is handed out.

mod feed;
mod requests;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::clock::UnixNanos;
use crate::market::Calendar;
use crate::market::calendar::ist_date;
use crate::sim::answers::Answer;
use crate::sim::encode::binary;
use crate::sim::instruments::Catalogue;
use crate::sim::jwt::{Claims, Key};
use crate::sim::market::{Capture, Market, Rules};
use crate::sim::sessions::{DemoKeys, PerProduct, Product, Session, USER};
use crate::sim::settings::{Hours, Settings};
use crate::sim::state::{Counters, Saved};
use feed::Socket;
pub(crate) use feed::{Connect, Out, SocketId};

/// What happens to the sockets of a session that ends. All three were seen on live servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketEnd {
    /// They stay open, without data.
    Silent,
    /// They get a `logout` event and stay open, without data.
    Logout,
    /// They are closed.
    Close,
}

/// The simulated broker.
#[derive(Debug)]
pub(crate) struct Core {
    settings: Settings,
    keys: DemoKeys,
    key: Key,
    signing_key: Vec<u8>,
    market: Market,
    started: UnixNanos,
    port: u16,
    issued: u64,
    /// As a control set it; else the setting counts.
    token_life_s: Option<u64>,
    sessions: PerProduct<Option<Session>>,
    counters: Counters,
    /// Hostlookup's keys that no login has used yet.
    unique_keys: BTreeSet<String>,
    /// Second, and requests in it.
    windows: PerProduct<(i64, u32)>,
    /// Bits of message codes by position in the catalogue: the market session's subscriptions.
    wanted: Vec<u8>,
    sockets: BTreeMap<SocketId, Socket>,
    outbox: Vec<(SocketId, Out)>,
    /// Of the latest message, strictly increasing.
    sequence: i64,
    writer: binary::Writer,
    messages: u64,
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
        let saved = saved.unwrap_or_default();
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
                Hours::Exchange => Calendar::new(),
            },
        };
        let catalogue = Arc::new(Catalogue::build(ist_date(now)));
        let mut core = Self {
            market: Market::start(rules, catalogue, capture.map(Arc::new), now),
            key: Key::new(&signing_key),
            signing_key,
            keys: DemoKeys::default(),
            started: now,
            port: saved.port,
            issued: saved.issued,
            token_life_s: saved.token_life_s,
            sessions: saved.sessions,
            counters: saved.counters,
            unique_keys: BTreeSet::new(),
            windows: PerProduct::default(),
            wanted: Vec::new(),
            sockets: BTreeMap::new(),
            outbox: Vec::new(),
            // Later than any message before, whatever happened to the process.
            sequence: now.as_nanos() / 1000,
            writer: binary::Writer::new(settings.layout),
            messages: 0,
            dirty: true,
            settings,
        };
        core.recount();
        core
    }

    pub(crate) fn keys(&self) -> &DemoKeys {
        &self.keys
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
            sessions: self.sessions.clone(),
            counters: self.counters.clone(),
        })
    }

    /// What is to be sent since this was last asked, in order.
    pub(crate) fn take_outbox(&mut self) -> Vec<(SocketId, Out)> {
        std::mem::take(&mut self.outbox)
    }

    /// `POST …/auth/login` and `POST …/user/session`. A login ends the product's session before.
    pub(crate) fn login(&mut self, product: Product, body: &Value, now: UnixNanos) -> Answer {
        let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
        let (app_key, secret) = self.keys.pair(product);
        let is_known = text("appKey") == app_key && text("secretKey") == secret;
        let unique_key = text("uniqueKey").to_owned();
        let looked_up = product == Product::Market
            || !self.settings.hostlookup
            || (is_known && self.unique_keys.remove(&unique_key));
        if !is_known || !looked_up {
            *self.counters.refusals.get_mut(product) += 1;
            self.dirty = true;
            return Answer::wrong_credentials(product);
        }
        let public_key = app_key.to_owned();
        self.end_session(
            product,
            if product == Product::Market { SocketEnd::Silent } else { SocketEnd::Logout },
        );

        self.issued += 1;
        let issued_at = now.as_secs();
        let life = self.token_life_s.unwrap_or(self.settings.token_life_s);
        let expires_at = issued_at.saturating_add(i64::try_from(life).unwrap_or(i64::MAX));
        let id = format!("{issued_at:x}-{:x}", self.issued);
        let token = self.key.sign(&Claims {
            user_id: format!("{USER}_{}", public_key.to_uppercase()),
            public_key,
            unique_key: (!unique_key.is_empty()).then_some(unique_key),
            is_interactive: (product == Product::Interactive).then_some(true),
            iat: issued_at,
            exp: expires_at,
            jti: id.clone(),
        });
        let session = Session { id, issued_at, expires_at, subscriptions: BTreeSet::new() };
        *self.sessions.get_mut(product) = Some(session);
        *self.counters.logins.get_mut(product) += 1;
        self.dirty = true;
        Answer::login(product, &token)
    }

    /// Checks a request's token, then the rate limit: an invalid token is never reported as
    /// rate-limited, as on live servers.
    ///
    /// # Errors
    /// The answer to give.
    pub(crate) fn authorize(
        &mut self,
        product: Product,
        header: Option<&str>,
        now: UnixNanos,
    ) -> Result<(), Answer> {
        let Some(token) = header.filter(|h| !h.is_empty()) else {
            self.counters.tokens_refused += 1;
            return Err(Answer::no_token());
        };
        if self.live_session(product, token, now).is_none() {
            self.counters.tokens_refused += 1;
            return Err(Answer::invalid_token());
        }
        let limit = self.settings.rate_limit_per_s;
        let window = self.windows.get_mut(product);
        if window.0 != now.as_secs() {
            *window = (now.as_secs(), 0);
        }
        window.1 = window.1.saturating_add(1);
        if limit > 0 && window.1 > limit {
            self.counters.rate_limited += 1;
            return Err(Answer::rate_limited());
        }
        Ok(())
    }

    /// `DELETE …/auth/logout` and `DELETE …/user/session`; the token was checked.
    pub(crate) fn logout(&mut self, product: Product) -> Answer {
        self.end_session(
            product,
            if product == Product::Market { SocketEnd::Silent } else { SocketEnd::Logout },
        );
        Answer::logout(product)
    }

    /// `POST /hostlookup`; `None` where the broker knows none.
    pub(crate) fn hostlookup(&mut self, body: &Value, host: &str, now: UnixNanos) -> Option<Answer> {
        if !self.settings.hostlookup {
            return None;
        }
        let password = ["accesspassword", "AccessPassword"].iter().find_map(|k| body.get(k)?.as_str());
        // A public constant of every client.
        if password != Some("2021HostLookUpAccess") {
            return Some(Answer::error(400, "e-hostlookup-0001", "Invalid Access Password", json!({})));
        }
        let unique_key = self.opaque("hostlookup", 48);
        // Nobody can fill memory with keys: the oldest go by chance, which a client survives.
        while self.unique_keys.len() >= 100 {
            self.unique_keys.pop_first();
        }
        self.unique_keys.insert(unique_key.clone());
        // `type` is a boolean on the servers that were seen.
        Some(Answer::plain(&json!({
            "type": true,
            "code": "hostlookup",
            "description": "Hostlookup successful",
            "result": {
                "uniqueKey": unique_key,
                "connectionString": format!("http://{host}/7hostlookup"),
                "timeStamp": now.to_string(),
                "remarks": "",
            },
        })))
    }

    /// The session a token belongs to, if it is alive.
    fn live_session(&self, product: Product, token: &str, now: UnixNanos) -> Option<&Session> {
        let claims = self.key.verify(token)?;
        self.sessions.get(product).as_ref().filter(|s| s.id == claims.jti && s.expires_at > now.as_secs())
    }

    fn end_session(&mut self, product: Product, sockets: SocketEnd) {
        let Some(session) = self.sessions.get_mut(product).take() else { return };
        self.end_sockets(&session.id, sockets);
        self.recount();
        self.dirty = true;
    }

    /// Ends sessions that have outlived their token.
    fn end_outlived(&mut self, now: UnixNanos) {
        for product in Product::ALL {
            if self.sessions.get(product).as_ref().is_some_and(|s| s.expires_at <= now.as_secs()) {
                self.end_session(product, SocketEnd::Close);
            }
        }
    }

    /// Computes `wanted` anew from the market session's subscriptions.
    fn recount(&mut self) {
        let catalogue = self.market.catalogue();
        self.wanted.clear();
        self.wanted.resize(catalogue.listings().len(), 0);
        for subscription in self.sessions.market.iter().flat_map(|s| &s.subscriptions) {
            if let Some(at) = catalogue.position(subscription.id) {
                self.wanted[at] |= feed::bit(subscription.code);
            }
        }
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

/// The tests' controls, and the embedding server's.
impl Core {
    /// Life of tokens issued from now on.
    pub(crate) fn set_token_life(&mut self, seconds: u64) {
        self.token_life_s = Some(seconds);
        self.dirty = true;
    }

    /// Ends the live session of one product or of both: its token is refused from now on.
    /// Returns how many there were.
    pub(crate) fn expire(&mut self, product: Option<Product>, sockets: SocketEnd) -> usize {
        let mut ended = 0;
        for each in Product::ALL {
            if product.is_none_or(|p| p == each) && self.sessions.get(each).is_some() {
                self.end_session(each, sockets);
                ended += 1;
            }
        }
        ended
    }

    /// Closes every feed socket; with a goodbye, or as a broken connection does. Returns how
    /// many there were.
    pub(crate) fn drop_sockets(&mut self, clean: bool) -> usize {
        let sockets: Vec<_> = self.sockets.keys().copied().collect();
        for &socket in &sockets {
            self.outbox.push((socket, Out::Close { clean }));
            self.sockets.remove(&socket);
        }
        sockets.len()
    }

    /// Stops the market with sockets open, or lets it go on.
    pub(crate) fn mute(&mut self, on: bool) {
        self.market.mute(on);
    }
}
