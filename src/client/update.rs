//! What a connection yields, and the names that go with it. Not how it comes: `connection`.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::UnixNanos;
use crate::market::{Bar, Price};
use crate::protocol::binary::{
    Body, Conflated, DepthFields, Directory, Freshness, Header, Heartbeat, Ltp, QuoteFields, Record, VERSION,
};

use super::Error;

/// Something a server sent.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "records are the rule, and are looked at one by one")]
pub enum Event {
    /// A record, with its name.
    Record(Update),
    /// A text frame: an order's update, a late refusal; without the binary encoding, market data too.
    Text(String),
}

/// An instrument, as the server introduced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// OpenAlgo's exchange code.
    pub exchange: String,
    /// OpenAlgo's symbol.
    pub symbol: String,
    /// Least step of a price, if the server knows it.
    pub tick_size: Option<Price>,
    /// Lot size as the venue sends it, if the server knows it.
    pub lot_size: Option<i64>,
    /// The venue's number within the segment.
    pub code: u32,
    /// The venue's number of the segment.
    pub segment: u8,
}

impl Listing {
    /// About what it takes.
    fn bytes(&self) -> usize {
        128 + self.exchange.len() + self.symbol.len()
    }
}

/// A record and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The instrument; `None` where the record is of none in particular.
    pub listing: Option<Arc<Listing>>,
    /// Sequence and times.
    pub header: Header,
    /// What it says.
    pub what: What,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "looked at one by one")]
pub enum What {
    /// Mode 1.
    Ltp(Ltp),
    /// Mode 2.
    Quote(QuoteFields),
    /// Mode 3.
    Depth(DepthFields),
    /// Open interest alone.
    OpenInterest(i64),
    /// Mode 4.
    Bar(Bar),
    /// How current the data are.
    State {
        /// `None`: a value that this reader does not know.
        state: Option<Freshness>,
        /// Since when.
        since: UnixNanos,
        /// Why.
        reason: String,
    },
    /// That the server lives, and how its data are as a whole.
    Heartbeat(Heartbeat),
    /// What was left out because this consumer was too slow.
    Conflated(Conflated),
}

/// What the names of a server may take: more than those of all of India's instruments would.
const MOST_BYTES: usize = 64 << 20;

/// The names of a server's numbers.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<u32, Arc<Listing>>,
    bytes: usize,
}

impl Names {
    /// A record as an update; `None` if it only tells the reader something, or is of a later time.
    pub(super) fn update(&mut self, record: &Record<'_>) -> Result<Option<Update>, Error> {
        let what = match record.body()? {
            Body::Hello(hello) if hello.version == VERSION => return Ok(None),
            Body::Hello(hello) => return Err(Error::Version(hello.version)),
            Body::Directory(entry) => {
                let listing = Arc::new(listing(&entry));
                self.bytes += listing.bytes();
                if let Some(before) = self.known.insert(record.number(), listing) {
                    self.bytes -= before.bytes();
                }
                return if self.bytes > MOST_BYTES { Err(Error::TooManyNames) } else { Ok(None) };
            }
            Body::Unknown(_) => return Ok(None),
            Body::Ltp(ltp) => What::Ltp(ltp),
            Body::Quote(fields) => What::Quote(fields),
            Body::Depth(fields) => What::Depth(fields),
            Body::OpenInterest(interest) => What::OpenInterest(interest),
            Body::Bar(bar) => What::Bar(bar),
            Body::State(state) => {
                What::State { state: state.state, since: state.since, reason: state.reason.to_owned() }
            }
            Body::Heartbeat(beat) => What::Heartbeat(beat),
            Body::Conflated(what) => What::Conflated(what),
        };
        let header = record.header();
        let listing = match header.number {
            0 => None,
            number => Some(Arc::clone(self.known.get(&number).ok_or(Error::Unlisted(number))?)),
        };
        Ok(Some(Update { listing, header, what }))
    }
}

fn listing(entry: &Directory<'_>) -> Listing {
    Listing {
        exchange: entry.exchange.to_owned(),
        symbol: entry.symbol.to_owned(),
        tick_size: entry.tick_size,
        lot_size: entry.lot_size,
        code: entry.code,
        segment: entry.segment,
    }
}
