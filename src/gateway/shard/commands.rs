//! What a shard does about its consumers' commands: keys, subscriptions, questions.
//! Not their spelling nor the answers' (`protocol::openalgo`).

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::gateway::auth::Scope;
use crate::gateway::shard::Shard;
use crate::gateway::shard::consumer::{Phase, Waiting};
use crate::gateway::shard::resuming::Resuming;
use crate::hub::{Encoding, Part, TopicId, TopicKey};
use crate::market::master::Master;
use crate::market::{Exchange, InstrumentId};
use crate::protocol::openalgo::command::{self, Command, Name};
use crate::protocol::openalgo::frames::{self, Outcome};
use crate::protocol::openalgo::options::{Delivery, Granted, Since, Wishes};
use crate::protocol::{Mode, websocket};

impl Shard<'_> {
    /// A whole message of a consumer.
    pub(super) fn on_message(&mut self, slot: u32, message: &[u8]) {
        let now = self.now;
        let Some(state) = self.state(slot) else { return };
        if let Some(waiting) = &mut state.waiting {
            // Commands are handled strictly in order.
            waiting.push(now, message);
        } else if !self.execute(slot, message, false)
            && let Some(state) = self.state(slot)
        {
            let mut waiting = Box::<Waiting>::default();
            waiting.push(now, message);
            state.waiting = Some(waiting);
        }
    }

    /// An instrument list is there.
    pub(super) fn process_all_waiting(&mut self) {
        for slot in self.fanout.slots() {
            self.process_waiting(slot);
        }
    }

    /// Goes on with frames that wait for the instrument list, as far as they need not.
    pub(super) fn process_waiting(&mut self, slot: u32) {
        let limit = self.env.settings.master_wait();
        let now = self.now;
        loop {
            let Some(state) = self.state(slot) else { return };
            let Some(waiting) = &mut state.waiting else { break };
            let Some((since, _)) = waiting.frames.front() else {
                state.waiting = None;
                break;
            };
            let (late, since) = (now >= *since + limit, *since);
            let Some(frame) = waiting.pop() else { break };
            if !self.execute(slot, &frame, late) {
                if let Some(waiting) = self.state(slot).and_then(|c| c.waiting.as_mut()) {
                    waiting.unpop(since, frame);
                }
                break;
            }
        }
        self.flush(slot);
        self.resume(slot);
        self.arm(slot);
    }

    /// Executes a command. `false`: it needs the instrument list, and `late` is not set.
    fn execute(&mut self, slot: u32, message: &[u8], late: bool) -> bool {
        let command = match command::parse(message) {
            Ok(command) => command,
            Err(e) => {
                self.answer(slot, |out| frames::error(e.code, &e.message, out));
                return true;
            }
        };
        let env = self.env;
        let Some(state) = self.state(slot) else { return true };
        let user = state.key().cloned();
        match (command, user) {
            (Command::Authenticate { api_key, wishes }, _) => {
                self.authenticate(slot, api_key.as_deref(), wishes);
            }
            (Command::Ping { timestamp, ping_id }, _) => {
                let now = env.clock.now().as_millis();
                self.answer(slot, |out| frames::pong(now, timestamp, ping_id, out));
            }
            (Command::Pong, _) => {}
            (Command::SupportedBrokers, _) => {
                self.answer(slot, |out| frames::supported_brokers(&env.broker, out));
            }
            (_, None) => {
                self.answer(slot, |out| {
                    frames::error("NOT_AUTHENTICATED", "You must authenticate first", out);
                });
            }
            (Command::BrokerInfo, Some(user)) => {
                let live = env.hub.any_feed_live();
                self.answer(slot, |out| frames::broker_info(&env.broker, &user.name, live, out));
            }
            (Command::Subscribe { symbols, mode, delivery, since, request_id }, Some(_)) => {
                let master = env.master.load();
                if master.is_none() && !late {
                    return false;
                }
                let how = (mode, delivery, since);
                self.subscribe(slot, master.as_deref(), &symbols, how, request_id);
            }
            (Command::Unsubscribe { symbols, request_id }, Some(_)) => {
                self.unsubscribe(slot, &symbols, request_id);
            }
            (Command::UnsubscribeAll { request_id }, Some(_)) => self.unsubscribe_all(slot, request_id),
            (Command::SubscribeOrders { request_id }, Some(user)) => {
                self.subscribe_orders(slot, &user, request_id);
            }
            (Command::UnsubscribeOrders { request_id }, Some(_)) => self.unsubscribe_orders(slot, request_id),
        }
        true
    }

    /// Queues a text frame that `write` makes.
    pub(super) fn answer(&mut self, slot: u32, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(member) = self.fanout.get_mut(slot)
            && member.state.is_open()
        {
            member.outbox.answer(|out| websocket::text_frame(out, write));
        }
    }

    /// A refused attempt leaves things as they were; the consumer may try again.
    fn authenticate(&mut self, slot: u32, api_key: Option<&str>, wishes: Option<Wishes>) {
        let env = self.env;
        let Some(presented) = api_key else {
            self.answer(slot, |out| frames::auth_error("API key is required", out));
            return;
        };
        let Some(key) = env.keys.verify(presented) else {
            self.answer(slot, |out| frames::auth_error("Invalid API key", out));
            return;
        };
        if !key.scopes.has(Scope::Feed) {
            self.answer(slot, |out| frames::auth_error("This API key has no scope \"feed\"", out));
            return;
        }
        let Some(state) = self.state(slot) else { return };
        tracing::debug!(consumer = state.id, peer = %state.peer, key = %key.name, "consumer authenticated");
        state.phase = Phase::Open(Some(Arc::clone(&key)));
        let granted = self.grant(slot, wishes);
        self.answer(slot, |out| frames::auth_ok(&env.broker, &key.name, granted, out));
    }

    /// Does what a consumer wishes for, as far as it is to be had; what it gets, if it has any wish.
    fn grant(&mut self, slot: u32, wishes: Option<Wishes>) -> Option<Granted> {
        let member = self.fanout.get_mut(slot)?;
        let wished = wishes.unwrap_or_default();
        let seq = wished.seq == Some(true);
        // Whoever wants to follow values closely wants to know what was left out, unless it says otherwise.
        let conflated = wished.conflated.unwrap_or(seq || wished.state == Some(true));
        member.outbox.tell_skips(conflated);
        // Frames of what is held go on as they are, and records have numbers anyway.
        if member.held().is_empty() && member.encoding != Encoding::Binary {
            member.encoding = if seq { Encoding::JsonSeq } else { Encoding::Json };
        }
        let seq = member.encoding != Encoding::Json;
        let state = wished.state == Some(true);
        member.state.listening = state.then(|| self.env.hub.listen_for_gaps());
        self.set_tells_state(slot, state);
        wishes.map(|_| Granted { conflated, seq, state })
    }

    fn subscribe(
        &mut self,
        slot: u32,
        master: Option<&Master>,
        names: &[Name<'_>],
        (mode, delivery, since): (Mode, Option<Delivery>, Option<Since>),
        request_id: Option<&RawValue>,
    ) {
        let env = self.env;
        let mut taken = Vec::new();
        let mut resuming = since.map(|since| Resuming::new(env, since));
        let outcomes: Vec<_> = names
            .iter()
            .map(|name| {
                let error = match self.subscribe_one(slot, master, name, (mode, delivery)) {
                    Ok(topic) => {
                        taken.extend(topic);
                        if let Some(resuming) = &mut resuming {
                            resuming.look_up(&env.hub, name, topic, mode);
                        }
                        None
                    }
                    Err(message) => Some(message),
                };
                Outcome { symbol: &name.symbol, exchange: &name.exchange, error }
            })
            .collect();
        self.answer(slot, |out| {
            let resumed = resuming.as_ref().map(Resuming::resumed);
            frames::subscribe_ack(&outcomes, (mode, resumed), &env.broker, request_id, out);
        });
        self.introduce(slot, &taken);
        self.tell_new(slot, &taken);
        if let Some(resuming) = resuming {
            let resumed = self.give_missed(slot, resuming);
            taken.retain(|topic| !resumed.contains(topic));
        }
        self.fanout.snapshot(slot, &taken);
    }

    /// The topic, if the consumer did not hold it yet.
    fn subscribe_one(
        &mut self,
        slot: u32,
        master: Option<&Master>,
        name: &Name<'_>,
        (mode, delivery): (Mode, Option<Delivery>),
    ) -> Result<Option<TopicId>, String> {
        let Some(master) = master else { return Err("instrument list not loaded yet".to_owned()) };
        let found = Exchange::parse(&name.exchange)
            .and_then(|exchange| Some((exchange, master.resolve(exchange, &name.symbol)?)));
        let Some((exchange, instrument)) = found else {
            return Err(format!(
                "Symbol {} not found for exchange {}",
                shortened(&name.symbol),
                shortened(&name.exchange)
            ));
        };
        // It stays refused until the session asks again; until then the answer is known.
        if let Some(words) = self.env.hub.rejection(instrument, Part::of(mode)) {
            return Err(words.to_string());
        }
        let symbol = self.fanout.topics.shared_symbol(&name.symbol);
        let encoding = self.fanout.get(slot).map_or(Encoding::Json, |member| member.encoding);
        let key = TopicKey { instrument, mode, encoding, exchange, symbol };
        let limit = self.env.settings.max_instruments_per_consumer;
        let full = self.fanout.get(slot).is_none_or(|member| member.held().len() >= limit);
        if full && !self.fanout.holds(slot, &key) {
            return Err(format!("Maximum capacity reached: {limit} subscriptions per connection"));
        }
        // Nothing is promised that the broker is known to have no room for.
        let taken = self.fanout.try_hold(slot, &key).map_err(|none| none.to_string())?;
        if let Some(delivery) = delivery
            && let Some(topic) = self.fanout.topics.find(&key)
        {
            self.fanout.set_delivery(slot, topic, delivery);
        }
        Ok(taken)
    }

    /// What was never subscribed is unsubscribed all the same.
    fn unsubscribe(&mut self, slot: u32, names: &[(Name<'_>, Mode)], request_id: Option<&RawValue>) {
        for (name, mode) in names {
            let Some(exchange) = Exchange::parse(&name.exchange) else { continue };
            for topic in self.fanout.topics.named(exchange, &name.symbol, *mode) {
                self.fanout.drop_topic(slot, topic);
            }
        }
        let outcomes: Vec<_> = names
            .iter()
            .map(|(name, _)| Outcome { symbol: &name.symbol, exchange: &name.exchange, error: None })
            .collect();
        let broker = &self.env.broker;
        self.answer(slot, |out| frames::unsubscribe_ack(&outcomes, broker, request_id, out));
    }

    fn unsubscribe_all(&mut self, slot: u32, request_id: Option<&RawValue>) {
        let Some(member) = self.fanout.get(slot) else { return };
        let keys: Vec<_> =
            member.held().iter().filter_map(|topic| self.fanout.topics.key(*topic).cloned()).collect();
        self.fanout.drop_all(slot);
        let outcomes: Vec<_> = keys
            .iter()
            .map(|key| Outcome { symbol: &key.symbol, exchange: key.exchange.as_str(), error: None })
            .collect();
        let broker = &self.env.broker;
        self.answer(slot, |out| frames::unsubscribe_ack(&outcomes, broker, request_id, out));
    }

    /// The broker refused an instrument: each holder is told once, however many modes it holds.
    pub(super) fn on_rejected(&mut self, instrument: InstrumentId, part: Part, message: &str) {
        let mut topics = self.fanout.topics.of_instrument(instrument);
        topics.retain(|t| self.fanout.topics.key(*t).is_some_and(|key| Part::of(key.mode) == part));
        let keys: Vec<_> = topics.iter().filter_map(|t| self.fanout.topics.key(*t).cloned()).collect();
        let mut told: Vec<_> = topics
            .iter()
            .zip(&keys)
            .flat_map(|(topic, key)| {
                let holders = self.fanout.topics.holders(*topic);
                holders.iter().map(|slot| (*slot, key.exchange, Arc::clone(&key.symbol))).collect::<Vec<_>>()
            })
            .collect();
        told.sort_unstable();
        told.dedup();
        for (slot, exchange, symbol) in told {
            self.tell_rejected(slot, exchange, &symbol, message);
            self.flush(slot);
        }
    }

    /// No data comes under this name, or none any more.
    pub(super) fn tell_rejected(&mut self, slot: u32, exchange: Exchange, symbol: &str, message: &str) {
        self.answer(slot, |out| frames::subscription_rejected(symbol, exchange, message, out));
    }
}

/// Enough of a consumer's text to recognise it by.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}
