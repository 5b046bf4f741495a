//! What a shard does when another instrument list is in force: names that its consumers hold
//! are looked up anew. Not the list's download, and no command (`commands`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::gateway::shard::Shard;
use crate::hub::{Part, TopicId, TopicKey};
use crate::market::Exchange;
use crate::market::master::Master;

/// What holders are told of a name that the list has no more.
const NOT_LISTED: &str = "the instrument is no longer listed";

/// What a consumer must hear of its names, each once however many modes it holds.
type Told = BTreeSet<(u32, Exchange, Arc<str>, Arc<str>)>;

impl Shard<'_> {
    /// Notices another instrument list.
    pub(super) fn look_at_master(&mut self) {
        if self.master.has_changed().unwrap_or(false) {
            self.master.mark_unchanged();
            self.on_new_master();
        }
    }

    /// The first instrument list is there, or another one.
    pub(super) fn on_new_master(&mut self) {
        if let Some(master) = self.env.master.load() {
            self.look_up_held(&master);
            self.introduce_held();
        }
        self.process_all_waiting();
    }

    /// Exchanges give the numbers of expired contracts to others: a holder who kept the number would
    /// be shown the price of another contract under the old name. So holders follow the name to its
    /// new number, and where there is none they lose it and are told.
    fn look_up_held(&mut self, master: &Master) {
        let outdated = self.fanout.topics.outdated(|key| master.resolve(key.exchange, &key.symbol));
        if outdated.is_empty() {
            return;
        }
        let mut told = Told::new();
        let mut taken: BTreeMap<u32, Vec<TopicId>> = BTreeMap::new();
        let (mut moved, mut gone) = (0, 0);
        for (topic, key, instrument) in outdated {
            let Some(instrument) = instrument else {
                gone += 1;
                for slot in self.fanout.leave(topic) {
                    told.insert((slot, key.exchange, Arc::clone(&key.symbol), NOT_LISTED.into()));
                    taken.entry(slot).or_default();
                }
                continue;
            };
            moved += 1;
            let refusal = self.env.hub.rejection(instrument, Part::of(key.mode));
            let key = TopicKey { instrument, ..key };
            for (slot, new) in self.fanout.follow(topic, &key) {
                taken.entry(slot).or_default().extend(new);
                if let Some(words) = &refusal {
                    told.insert((slot, key.exchange, Arc::clone(&key.symbol), Arc::clone(words)));
                }
            }
        }
        tracing::info!(moved, gone, consumers = taken.len(), "topics changed with the instrument list");
        for (slot, exchange, symbol, message) in told {
            self.tell_rejected(slot, exchange, &symbol, &message);
        }
        for (slot, topics) in taken {
            self.introduce(slot, &topics);
            self.tell_new(slot, &topics);
            self.fanout.snapshot(slot, &topics);
            self.flush(slot);
        }
    }
}
