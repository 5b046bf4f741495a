//! How connections end, and what happens to them because of the time.

use crate::gateway::shard::Shard;
use crate::gateway::shard::consumer::Overdue;
use crate::protocol::close::CloseReason;
use crate::protocol::websocket;
use crate::telemetry::metrics::CONSUMERS_REFUSED;

impl Shard<'_> {
    /// Closes a WebSocket with a reason.
    pub(super) fn close(&mut self, slot: u32, reason: CloseReason) {
        let mut frame = Vec::new();
        websocket::close_frame(reason, &mut frame);
        self.close_with(slot, reason, &frame);
    }

    pub(super) fn close_with(&mut self, slot: u32, reason: CloseReason, frame: &[u8]) {
        if self.state(slot).is_none_or(|c| !c.is_open()) {
            return;
        }
        self.fanout.drop_all(slot);
        // What the socket still takes goes first: an answer explains the end.
        self.fanout.pump(slot, false);
        let (settings, now) = (&self.env.settings, self.now);
        let Some(member) = self.fanout.get_mut(slot) else { return };
        member.outbox.close(frame);
        member.state.closing(settings, now);
        tracing::debug!(consumer = member.state.id, peer = %member.state.peer, reason = reason.label(), "closing");
        self.open -= 1;
        self.reporter.closed(reason);
        self.flush(slot);
        self.arm(slot);
    }

    /// The connection is gone, or as good as.
    pub(super) fn lose(&mut self, slot: u32) {
        if self.state(slot).is_some_and(|c| c.is_open()) {
            self.open -= 1;
            self.reporter.closed(CloseReason::Lost);
        }
        self.remove(slot);
    }

    pub(super) fn remove(&mut self, slot: u32) {
        if let Some(member) = self.fanout.remove(slot) {
            tracing::debug!(consumer = member.state.id, peer = %member.state.peer, "connection ended");
        }
    }

    pub(super) fn close_revoked(&mut self) {
        for slot in self.fanout.slots() {
            let keys = &self.env.keys;
            if self.state(slot).and_then(|c| c.key()).is_some_and(|key| !keys.is_live(key.id)) {
                self.close(slot, CloseReason::KeyRevoked);
            }
        }
    }

    /// Makes sure that a connection is looked at in time.
    pub(super) fn arm(&mut self, slot: u32) {
        let settings = &self.env.settings;
        let Some(member) = self.fanout.get_mut(slot) else { return };
        let deadline = member.state.deadline(settings);
        if member.state.armed.is_none_or(|armed| deadline < armed) {
            member.state.armed = Some(deadline);
            self.timers.arm(deadline, slot, member.state.id);
        }
    }

    pub(super) fn serve_timers(&mut self) {
        while let Some((at, slot, id)) = self.timers.pop(self.now) {
            let Some(state) = self.state(slot).filter(|c| c.id == id && c.armed == Some(at)) else {
                continue;
            };
            state.armed = None;
            let (settings, now) = (&self.env.settings, self.now);
            while let Some(overdue) =
                self.state(slot).filter(|c| c.id == id).and_then(|c| c.overdue(settings, now))
            {
                self.on_overdue(slot, overdue);
            }
            if self.state(slot).is_some_and(|c| c.id == id) {
                self.flush(slot);
                self.arm(slot);
            }
        }
    }

    pub(super) fn on_overdue(&mut self, slot: u32, overdue: Overdue) {
        match overdue {
            Overdue::Handshake => {
                metrics::counter!(CONSUMERS_REFUSED, "reason" => "timeout").increment(1);
                self.remove(slot);
            }
            Overdue::Auth => self.close(slot, CloseReason::AuthTimeout),
            Overdue::Pong => self.close(slot, CloseReason::PingTimeout),
            Overdue::Close => self.remove(slot),
            Overdue::Ping => {
                let mut frame = Vec::new();
                websocket::ping_frame(b"", &mut frame);
                let (settings, now) = (&self.env.settings, self.now);
                if let Some(member) = self.fanout.get_mut(slot) {
                    member.outbox.ping(&frame);
                    member.state.pinged(settings, now);
                }
            }
            Overdue::Heartbeat => self.send_heartbeat(slot),
            Overdue::Allowance => self.resume(slot),
            Overdue::Waiting => self.process_waiting(slot),
        }
    }
}
