//! How a shard writes what is not fan-out: the rest of what a socket refused, answers, the
//! last bytes of a connection. Not the order of the bytes (`connection::outbox`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::AsyncWrite;

use crate::gateway::connection::wire::Transport;
use crate::gateway::shard::Shard;
use crate::gateway::shard::consumer::{Consumer, Phase};
use crate::gateway::shard::fanout::Member;
use crate::protocol::close::CloseReason;

impl Shard<'_> {
    /// Goes on writing to a socket that was full, if it is no more.
    pub(super) fn write_if_possible(&mut self, slot: u32) {
        let Some(member) = self.fanout.get_mut(slot) else { return };
        if !member.outbox.is_blocked() {
            if member.wire.push().is_err() {
                self.lose(slot);
            }
            return;
        }
        match poll_writable(member) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                member.state.alive_at = self.now;
                self.fanout.pump(slot, true);
                self.flush(slot);
                self.introduce_pending(slot);
                self.go_on_telling(slot);
            }
            Poll::Ready(Err(_)) => self.lose(slot),
        }
    }

    /// Waits for full sockets, gives up broken ones, and closes those that were too slow for what they
    /// asked for.
    pub(super) fn settle(&mut self) {
        loop {
            let (blocked, broken) = (self.fanout.take_blocked(), self.fanout.take_broken());
            let overrun = self.fanout.take_overrun();
            if blocked.is_empty() && broken.is_empty() && overrun.is_empty() {
                return;
            }
            for slot in overrun {
                self.close(slot, CloseReason::TooSlow);
            }
            for slot in blocked {
                self.write_if_possible(slot);
            }
            for (slot, error) in broken {
                if let Some(consumer) = self.state(slot) {
                    tracing::debug!(consumer = consumer.id, peer = %consumer.peer, %error, "socket broke");
                }
                self.lose(slot);
            }
        }
    }

    /// Sends what waits, and shuts the socket's write side down behind the last bytes.
    pub(super) fn flush(&mut self, slot: u32) {
        self.fanout.pump(slot, false);
        let Some(member) = self.fanout.get_mut(slot) else { return };
        if member.state.unread && !member.state.is_paused(member.outbox.answers()) {
            member.state.waker.wake_by_ref();
        }
        if let Phase::Closing { finished, .. } = &mut member.state.phase
            && !*finished
            && member.outbox.is_empty()
            && member.wire.finish()
        {
            *finished = true;
            // Bytes behind this, such as the consumer's own close frame, are read and thrown
            // away: closing at once would reset the connection, and the last frame might
            // be lost with it.
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(Err(_)) = Pin::new(member.wire.socket_mut()).poll_shutdown(&mut cx) {
                self.lose(slot);
            }
        }
    }
}

fn poll_writable(member: &Member<Transport, Consumer>) -> Poll<io::Result<()>> {
    member.wire.socket().poll_write_ready(&mut Context::from_waker(&member.state.waker))
}
