//! Updates as JSON: the very text that a consumer without the binary encoding gets.

use crate::market::Exchange;
use crate::protocol::Mode;
use crate::protocol::openalgo::frames;
use crate::protocol::openalgo::market_data::{prefix, write_bar, write_depth, write_ltp, write_quote};

use super::{Update, What};

impl Update {
    /// The frame of `market_data`, `state` or `heartbeat` that this is; `None` for what has none. `broker` is as
    /// [`super::Client::broker`] says.
    pub fn to_openalgo(&self, broker: &str) -> Option<String> {
        if let What::Heartbeat(beat) = &self.what {
            let age = beat.last_tick_age.map(|age| u64::try_from(age / 1_000_000).unwrap_or(0));
            let mut out = Vec::with_capacity(96);
            frames::heartbeat(beat.state?, age, &mut out);
            return String::from_utf8(out).ok();
        }
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
            What::Bar(bar) => write_bar(&start(Mode::Bar), bar, &mut out),
            What::State { state, since, reason } => {
                let name = (listing.symbol.as_str(), exchange);
                frames::state(name, (*state)?, since.as_millis(), reason, &mut out);
            }
            What::OpenInterest(_) | What::Heartbeat(_) | What::Conflated(_) => return None,
        }
        String::from_utf8(out).ok()
    }
}
