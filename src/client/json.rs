//! Updates as OpenAlgo's JSON: the very text that a consumer without the binary encoding gets.

use crate::market::Exchange;
use crate::protocol::Mode;
use crate::protocol::binary::BACKFILL;
use crate::protocol::openalgo::gaps::backfill;
use crate::protocol::openalgo::market_data::{prefix, write_bar, write_depth, write_ltp, write_quote};

use super::{Update, What};

impl Update {
    /// The `market_data` frame that this is; `None` for what has none. `broker` is as
    /// [`super::Client::broker`] says.
    pub fn to_openalgo(&self, broker: &str) -> Option<String> {
        let listing = self.listing.as_deref()?;
        let exchange = Exchange::parse(&listing.exchange)?;
        let start = |mode| prefix(&listing.symbol, exchange, mode, broker);
        let (recv, mut out) = (self.header.ts_recv, Vec::with_capacity(1024));
        match &self.what {
            What::Ltp(ltp) => write_ltp(&start(Mode::Ltp), &ltp.last, ltp.volume, recv, &mut out),
            What::Quote(fields) => {
                write_quote(&start(Mode::Quote), &fields.quote, fields.open_interest, recv, &mut out);
            }
            What::Depth(f) => write_depth(&start(Mode::Depth), &f.quote, &f.depth, &f.beside, recv, &mut out),
            What::Bar(bar) if self.header.flags & BACKFILL != 0 => {
                backfill(&listing.symbol, exchange, broker, bar, &mut out);
            }
            What::Bar(bar) => write_bar(&start(Mode::Bar), bar, &mut out),
            What::OpenInterest(_)
            | What::State { .. }
            | What::Conflated(_)
            | What::Gap { .. }
            | What::GapClosed { .. } => return None,
        }
        String::from_utf8(out).ok()
    }
}
