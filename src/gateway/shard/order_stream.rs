//! A shard's consumers that want to be told of orders. Updates are answers to them, not topics: each is kept
//! until it is sent. Not which updates there are; that is the session's.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::gateway::auth::{KeyInfo, Scope};
use crate::gateway::shard::Shard;
use crate::market::OrderUpdate;
use crate::protocol::close::CloseReason;
use crate::protocol::openalgo::frames;
use crate::protocol::openalgo::order_update::order_update;
use crate::protocol::websocket;

/// Answers that may wait for a consumer of orders that does not read. One update is below 1 KiB; leaving one
/// out would show an order as it is not, so beyond this the connection ends, and the consumer knows.
const MAX_WAITING: usize = 4 << 20;

impl Shard<'_> {
    pub(super) fn subscribe_orders(&mut self, slot: u32, user: &Arc<KeyInfo>, request_id: Option<&RawValue>) {
        if !user.scopes.has(Scope::Account) {
            self.answer(slot, |out| {
                frames::error("AUTHENTICATION_ERROR", "This API key has no scope \"account\"", out);
            });
            return;
        }
        let Some(state) = self.state(slot) else { return };
        state.orders = true;
        self.answer(slot, |out| frames::subscribe_orders_ack(request_id, out));
    }

    pub(super) fn unsubscribe_orders(&mut self, slot: u32, request_id: Option<&RawValue>) {
        let Some(state) = self.state(slot) else { return };
        state.orders = false;
        self.answer(slot, |out| frames::unsubscribe_orders_ack(request_id, out));
    }

    /// An order has changed. Rare, so that looking at every consumer is fine.
    pub(super) fn on_order_update(&mut self, update: &OrderUpdate) {
        let env = self.env;
        let master = env.master.load();
        let name = master.as_deref().and_then(|master| master.name(update.order.instrument));
        for slot in self.fanout.slots() {
            let Some(member) = self.fanout.get_mut(slot).filter(|m| m.state.is_open() && m.state.orders)
            else {
                continue;
            };
            // A consumer may show another key later.
            let Some(user) = member.state.key().filter(|key| key.scopes.has(Scope::Account)) else {
                continue;
            };
            let user = Arc::clone(user);
            member.outbox.answer(|out| {
                websocket::text_frame(out, |out| {
                    order_update(update, name, &env.broker, &user.name, out);
                });
            });
            self.flush(slot);
            let waiting = self.fanout.get(slot).map_or(0, |member| member.outbox.answers());
            if waiting > MAX_WAITING {
                self.close(slot, CloseReason::TooSlow);
            }
        }
    }
}
