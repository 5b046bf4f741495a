//! Market data: what moves becomes messages for the sockets of those who subscribed it.
//! Not who may subscribe; that is `requests`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::feed::{Format, SocketId};
use super::trouble::{Compression, Spoil, Troubles, UNKNOWN_CODE};
use super::{Core, Out};
use crate::broker::xts::socketio;
use crate::clock::UnixNanos;
use crate::sim::encode::{Message, binary, code, json};
use crate::sim::instruments::{Catalogue, Kind, Listing};
use crate::sim::market::{Change, Quote};
use crate::sim::settings::Layout;
use crate::sim::truth::{Event, Notes, Sent};

/// Messages in one binary frame, at most: clumps of 1 to 20 are what live servers send.
const FRAME_MESSAGES: usize = 20;

/// Updates of one call beyond which nothing is compressed: a burst must get out.
const COMPRESSED_UPDATES: usize = 64;

/// One in so many messages is compressed, if that saves a fifth. Which ones live servers
/// compress is not known; both kinds occur.
const COMPRESSED_SHARE: i64 = 4;

/// The bit of candles, behind those of `code::ALL`.
pub(super) const CANDLE_BIT: u8 = 1 << 4;

/// The bit of a message code in `Account::wanted`; 0 if the simulator does not send it.
pub(super) fn bit(wanted: u16) -> u8 {
    if wanted == code::CANDLE {
        return CANDLE_BIT;
    }
    code::ALL.iter().position(|&c| c == wanted).map_or(0, |at| 1 << at)
}

impl Core {
    /// Lets the market move up to `now` and puts what sockets get for it into the outbox.
    /// Returns the time until the next update, zero for at once, `None` if there is none.
    pub(crate) fn advance(&mut self, now: UnixNanos) -> Option<Duration> {
        self.pass_time(now);
        let mut listeners = self.listeners();
        let Self { market, accounts, writer, sequence, messages, unasked, troubles, notes, settings, .. } =
            self;
        let catalogue = Arc::clone(market.catalogue());
        let layout = settings.layout;
        let mut press = Press { catalogue, writer, sequence, messages, troubles, notes, layout, now };
        let mut updates = 0;
        let wait = market.advance(now, |index, listing, quote, change| {
            updates += 1;
            let is_candle = |l: &Listener| accounts[l.account].wanted[index] & CANDLE_BIT != 0;
            if change.traded && listeners.iter().any(is_candle) {
                unasked.trade(index, quote, now);
            }
            for listener in &mut listeners {
                let wanted = accounts[listener.account].wanted[index];
                press.print(listener, wanted, change, (index, listing, quote), updates <= COMPRESSED_UPDATES);
            }
        });
        for listener in listeners {
            self.deliver(listener);
        }
        self.tell_unasked(now);
        self.run_orders(now);
        wait
    }

    /// The accounts whose live session has sockets.
    fn listeners(&self) -> Vec<Listener> {
        let mut found = Vec::new();
        for (account, owner) in self.accounts.iter().enumerate() {
            let Some(session) = &owner.sessions.market else { continue };
            let mut listener =
                Listener { account, of: owner.of, user: Arc::clone(&owner.user), ..Listener::default() };
            listener.frames.most = self.troubles.frame_messages(owner.of).unwrap_or(FRAME_MESSAGES);
            for (&id, socket) in
                self.sockets.iter().filter(|(_, s)| s.session == session.id && s.frozen.is_none())
            {
                match socket.format {
                    Format::Binary => listener.is_binary = true,
                    Format::Json => listener.is_json = true,
                    Format::JsonPartial => listener.is_partial = true,
                    Format::None => continue,
                }
                listener.sockets.push((id, socket.format));
            }
            if !listener.sockets.is_empty() {
                found.push(listener);
            }
        }
        found
    }

    fn deliver(&mut self, mut listener: Listener) {
        listener.frames.finish();
        let frames = &listener.frames;
        let header: Arc<str> = socketio::encode_binary_event("xts-binary-packet").into();
        for &(id, format) in &listener.sockets {
            match format {
                Format::Binary => {
                    for frame in &frames.binary {
                        self.outbox.push((id, Out::Text(Arc::clone(&header))));
                        // In revision 4 the message stands alone, without its type.
                        let start = usize::from(self.settings.engine_io == 4);
                        self.outbox.push((id, Out::Binary(frame.slice(start..))));
                    }
                }
                Format::Json => {
                    self.outbox.extend(frames.full.iter().map(|t| (id, Out::Text(Arc::clone(t)))));
                }
                Format::JsonPartial => {
                    self.outbox.extend(frames.partial.iter().map(|t| (id, Out::Text(Arc::clone(t)))));
                }
                Format::None => {}
            }
        }
    }
}

/// One account's sockets, and what they get.
#[derive(Default)]
struct Listener {
    account: usize,
    /// The account it belongs to, and its user.
    of: usize,
    user: Arc<str>,
    sockets: Vec<(SocketId, Format)>,
    is_binary: bool,
    is_json: bool,
    is_partial: bool,
    frames: Frames,
}

/// Makes messages of updates.
struct Press<'a> {
    catalogue: Arc<Catalogue>,
    writer: &'a mut binary::Writer,
    sequence: &'a mut i64,
    messages: &'a mut u64,
    troubles: &'a mut Troubles,
    notes: &'a mut Notes,
    /// Without faults.
    layout: Layout,
    now: UnixNanos,
}

impl Press<'_> {
    /// Adds a message to what a listener gets in each format, spoiled if so.
    fn put(
        &mut self,
        listener: &mut Listener,
        message: &Message<'_>,
        fault: Option<(Spoil, &'static str)>,
        may_compress: bool,
    ) {
        let spoil = fault.map(|(spoil, _)| spoil);
        let salt = message.sequence.unsigned_abs();
        if listener.is_binary {
            let compress = match self.troubles.compression(listener.of) {
                Compression::Mixed => may_compress && message.sequence % COMPRESSED_SHARE == 0,
                Compression::Always => true,
                Compression::Never => false,
            };
            match spoil {
                Some(spoil) if spoil.is_of_frame() => {
                    // Alone: what is good beside it stays good.
                    listener.frames.finish();
                    let mut frame = vec![4];
                    self.writer.write(message, false, &mut frame);
                    spoil.binary(&mut frame, salt);
                    listener.frames.binary.push(frame.into());
                }
                _ => {
                    listener.frames.start_message();
                    let code = if spoil == Some(Spoil::UnknownCode) { UNKNOWN_CODE } else { message.code };
                    let message = Message { code, ..*message };
                    self.writer.write(&message, compress, &mut listener.frames.open);
                }
            }
        }
        if listener.is_json {
            listener.frames.text(message, false, spoil, salt);
        }
        if listener.is_partial {
            listener.frames.text(message, true, spoil, salt);
        }
        if self.notes.is_on() {
            let code = if spoil == Some(Spoil::UnknownCode) { UNKNOWN_CODE } else { message.code };
            let message = Message { code, ..*message };
            let sent = Sent::new(Arc::clone(&listener.user), &message, fault.map(|(_, name)| name));
            self.notes.add(self.now, Event::Message(sent));
        }
    }

    fn print(
        &mut self,
        listener: &mut Listener,
        wanted: u8,
        change: Change,
        (index, listing, quote): (usize, &Listing, &Quote),
        may_compress: bool,
    ) {
        if wanted == 0 {
            return;
        }
        let of = listener.of;
        let is_troubled = !self.troubles.is_empty();
        if is_troubled && self.troubles.is_mute(of, listing.id.segment) {
            return;
        }
        self.writer.set_layout(self.troubles.layout(of).unwrap_or(self.layout));
        for each in code::ALL {
            let concerns = match each {
                code::OPEN_INTEREST => change.open_interest,
                code::LAST_PRICE => change.traded,
                _ => true,
            };
            if !concerns || wanted & bit(each) == 0 {
                continue;
            }
            *self.sequence += 1;
            *self.messages += 1;
            let sequence = *self.sequence;
            let underlying = match listing.kind {
                Kind::Option { underlying, .. } | Kind::Future { underlying: Some(underlying), .. } => {
                    self.catalogue.listings().get(underlying).map(|l| l.id)
                }
                _ => None,
            };
            let is_index = listing.kind == Kind::Index;
            let message = Message { code: each, id: listing.id, is_index, sequence, quote, underlying };
            let fault = if is_troubled { self.troubles.spoil(of, listing.id.segment) } else { None };
            let Some((spoil, name)) = fault else {
                self.put(listener, &message, None, may_compress);
                continue;
            };
            if spoil == Spoil::OldSequence {
                self.put(listener, &message, None, may_compress);
                let Some((before, past)) = self.troubles.past(index) else { continue };
                let past = past.clone();
                let message = Message { sequence: before, quote: &past, ..message };
                self.put(listener, &message, Some((spoil, name)), may_compress);
                continue;
            }
            let values = spoil.values(quote);
            let message = Message { quote: values.as_ref().unwrap_or(quote), ..message };
            self.put(listener, &message, Some((spoil, name)), may_compress);
        }
    }
}

/// What one advance of the market gave, in each format.
#[derive(Default)]
struct Frames {
    binary: Vec<Bytes>,
    /// The binary frame that is being filled, with its leading `0x04`.
    open: Vec<u8>,
    count: usize,
    /// Messages in one frame.
    most: usize,
    full: Vec<Arc<str>>,
    partial: Vec<Arc<str>>,
    scratch: Vec<u8>,
}

impl Frames {
    fn start_message(&mut self) {
        if self.count >= self.most {
            self.finish();
        }
        if self.count == 0 {
            self.open.push(4);
        }
        self.count += 1;
    }

    fn finish(&mut self) {
        if self.count > 0 {
            self.binary.push(std::mem::take(&mut self.open).into());
            self.count = 0;
        }
    }

    /// An event whose payload is a JSON string: the object inside it is escaped once more.
    fn text(&mut self, message: &Message<'_>, is_partial: bool, spoil: Option<Spoil>, salt: u64) {
        self.scratch.clear();
        if is_partial {
            json::partial(message, &mut self.scratch);
        } else {
            json::full(message, json::IdStyle::Number, &mut self.scratch);
        }
        let mut payload = String::with_capacity(self.scratch.len() + 128);
        payload.push('"');
        for &byte in &self.scratch {
            if byte == b'"' {
                payload.push('\\');
            }
            payload.push(char::from(byte));
        }
        payload.push('"');
        let mut frame = socketio::encode_event(json::event_name(message.code, is_partial), &payload);
        if let Some(spoil) = spoil {
            frame = spoil.text(message.code, frame, salt);
        }
        let frame = frame.into();
        if is_partial {
            self.partial.push(frame);
        } else {
            self.full.push(frame);
        }
    }
}

#[cfg(test)]
impl Core {
    /// Sends the values of what is subscribed and trades now once more, without moving the
    /// market: a sign of life that costs next to nothing.
    pub(crate) fn pulse(&mut self, now: UnixNanos) {
        self.pass_time(now);
        let mut listeners = self.listeners();
        let Self { market, accounts, writer, sequence, messages, troubles, notes, settings, .. } = self;
        let catalogue = Arc::clone(market.catalogue());
        let layout = settings.layout;
        let mut press = Press {
            catalogue: Arc::clone(&catalogue),
            writer,
            sequence,
            messages,
            troubles,
            notes,
            layout,
            now,
        };
        let change = Change { traded: true, open_interest: true };
        for listener in &mut listeners {
            for (index, &wanted) in accounts[listener.account].wanted.iter().enumerate() {
                let listing = &catalogue.listings()[index];
                if wanted != 0 && market.is_open(listing.exchange, now) {
                    market.touch(index, now);
                    press.print(listener, wanted, change, (index, listing, market.quote(index)), false);
                }
            }
        }
        for listener in listeners {
            self.deliver(listener);
        }
    }
}
