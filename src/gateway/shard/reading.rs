//! How a shard reads: bytes off the sockets, through the handshake and the framing, to whole
//! messages. Not what the messages mean (`commands`).

use std::io;
use std::task::{Context, Poll};

use crate::gateway::connection::reader::{Incoming, Reader};
use crate::gateway::connection::wire::Wire;
use crate::gateway::handshake::{self, Step};
use crate::gateway::shard::Shard;
use crate::gateway::shard::consumer::Phase;
use crate::protocol::close::CloseReason;
use crate::protocol::websocket;
use crate::telemetry::metrics::CONSUMERS_REFUSED;

/// Reads of one connection before the others have their turn.
const READS: usize = 4;

impl Shard<'_> {
    /// Reads a connection until there is no more, or the others must have their turn.
    pub(super) fn read(&mut self, slot: u32) {
        let Some(state) = self.state(slot) else { return };
        let (id, waker) = (state.id, state.waker.clone());
        let mut reader = std::mem::take(&mut state.reader);
        if std::mem::take(&mut state.unread) && reader.has_kept() {
            let mut kept = reader.take_kept();
            let used = self.consume(slot, &mut reader, &mut kept);
            kept.drain(..used);
            reader.keep(kept);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut rounds = 0;
        while let Some(member) = self.fanout.get_mut(slot) {
            if member.state.is_paused(member.outbox.answers()) {
                member.state.unread = true;
                break;
            }
            if rounds == READS {
                // Others first; comes back with the next turn.
                waker.wake_by_ref();
                break;
            }
            match member.wire.read(&mut scratch) {
                Ok(0) => self.lose(slot),
                Ok(len) => {
                    rounds += 1;
                    member.state.alive_at = self.now;
                    self.take_bytes(slot, &mut reader, &mut scratch[..len]);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let socket = member.wire.socket();
                    match socket.poll_read_ready(&mut Context::from_waker(&waker)) {
                        Poll::Pending => break,
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => self.lose(slot),
                    }
                }
                Err(_) => self.lose(slot),
            }
        }
        self.scratch = scratch;
        if let Some(state) = self.state(slot).filter(|c| c.id == id) {
            state.reader = reader;
            self.flush(slot);
        }
    }

    /// Takes freshly read bytes behind those that were kept.
    pub(super) fn take_bytes(&mut self, slot: u32, reader: &mut Reader, fresh: &mut [u8]) {
        if reader.has_kept() {
            let mut kept = reader.take_kept();
            kept.extend_from_slice(fresh);
            let used = self.consume(slot, reader, &mut kept);
            kept.drain(..used);
            reader.keep(kept);
        } else {
            let used = self.consume(slot, reader, fresh);
            if used < fresh.len() {
                reader.keep(fresh[used..].to_vec());
            }
        }
    }

    /// Does what the bytes say, as far as they are whole, and returns how many are done with.
    pub(super) fn consume(&mut self, slot: u32, reader: &mut Reader, data: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            let env = self.env;
            let Some(member) = self.fanout.get_mut(slot) else { return data.len() };
            let state = &mut member.state;
            match state.phase {
                Phase::Closing { .. } => return data.len(),
                Phase::Handshake(full) => match handshake::step(&data[at..], &env.rules, full) {
                    Step::Partial => return at,
                    Step::Accepted { consumed, response, encoding } => {
                        at += consumed;
                        member.outbox.preface(&response);
                        member.encoding = encoding;
                        state.opened(&env.settings, self.now);
                        self.open += 1;
                        self.greet(slot);
                    }
                    Step::Refused { response, label } => {
                        tracing::debug!(peer = %state.peer, reason = label, "connection refused");
                        metrics::counter!(CONSUMERS_REFUSED, "reason" => label).increment(1);
                        member.outbox.preface(&response);
                        state.closing(&env.settings, self.now);
                        return data.len();
                    }
                },
                Phase::Open(_) => {
                    if state.is_paused(member.outbox.answers()) {
                        state.unread = true;
                        return at;
                    }
                    match reader.next(data, &mut at, state.frame_limit(&env.settings)) {
                        Ok(None) => return at,
                        Ok(Some(incoming)) => {
                            state.spend(&env.settings, self.now);
                            self.on_incoming(slot, &incoming);
                        }
                        Err(reason) => {
                            self.close(slot, reason);
                            return data.len();
                        }
                    }
                }
            }
        }
    }

    pub(super) fn on_incoming(&mut self, slot: u32, incoming: &Incoming<'_>) {
        match *incoming {
            Incoming::Message(message) => self.on_message(slot, message),
            Incoming::Ping(payload) => {
                let mut frame = Vec::with_capacity(payload.len() + 2);
                websocket::pong_frame(payload, &mut frame);
                if let Some(member) = self.fanout.get_mut(slot) {
                    member.outbox.pong(&frame);
                }
            }
            Incoming::Pong => {}
            Incoming::Close(code) => {
                // RFC 6455 5.5.1: the same code comes back.
                let mut frame = Vec::new();
                websocket::close_frame_with(code.unwrap_or(CloseReason::Normal.code()), "", &mut frame);
                self.close_with(slot, CloseReason::Normal, &frame);
            }
        }
    }

    /// Reads on, if the connection was left unread.
    pub(super) fn resume(&mut self, slot: u32) {
        if self.state(slot).is_some_and(|c| c.unread) {
            self.read(slot);
        }
    }
}
