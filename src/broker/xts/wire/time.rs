//! The venue's times of ticks and of live bars, to and from UTC. Not those of history.
//!
//! Source: NSE segments count seconds from 1980-01-01 00:00 IST (samples of three dates fall
//! inside trading hours only so). For BSE and MCX the official Node SDK uses 1970 in local
//! time, two third-party clients 1980: unresolved, hence the nearest candidate.

use crate::clock::UnixNanos;
use crate::market::Segment;

/// 1980-01-01 00:00 IST, as seconds since 1970 UTC.
pub const NSE_EPOCH: i64 = 315_513_000;

/// India's offset from UTC in seconds.
const IST: i64 = 19_800;

/// Where a count of seconds may start, as what to add to reach 1970 UTC.
const CANDIDATES: [i64; 3] = [NSE_EPOCH, -IST, 0];

/// Beyond this distance from the receive time no candidate is believed.
const BELIEVABLE: i64 = 2 * 86_400;

/// A time this far ahead of the receive time is no time of a tick.
const AHEAD: i64 = 3_600;

/// Where the times of one message start. Found once per message from its newest time, since
/// the last trade may be hours old and would be nearest to a wrong candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base(Option<i64>);

impl Base {
    /// For a message of `segment` whose newest times are `stamps` (the first above zero
    /// counts), read at `recv`.
    pub fn of(segment: Segment, stamps: &[i64], recv: UnixNanos) -> Self {
        match segment {
            Segment::NseCash | Segment::NseFo | Segment::NseCurrency => Self(Some(NSE_EPOCH)),
            Segment::BseCash | Segment::BseFo | Segment::Mcx => {
                let newest = stamps.iter().copied().find(|v| *v > 0);
                Self(newest.and_then(|v| nearest(v, recv.as_secs())))
            }
        }
    }

    /// The time `seconds` stands for; `UnixNanos::ZERO` for the venue's "never", and where no
    /// base was believable.
    pub fn convert(self, seconds: i64) -> UnixNanos {
        match self.0 {
            Some(base) if seconds > 0 => UnixNanos::from_secs(seconds.saturating_add(base)),
            _ => UnixNanos::ZERO,
        }
    }
}

fn nearest(seconds: i64, now: i64) -> Option<i64> {
    let ahead = |base: &i64| seconds.saturating_add(*base).saturating_sub(now);
    let possible = CANDIDATES.iter().copied().filter(|base| ahead(base) <= AHEAD);
    possible
        .min_by_key(|base| ahead(base).unsigned_abs())
        .filter(|base| ahead(base).unsigned_abs() <= BELIEVABLE as u64)
}

/// The end of a live bar. Bars count in India's wall clock as if it were UTC, whatever the segment.
/// `None` where that is nowhere near the receive time, so that another convention cannot put a bar
/// on another day.
pub fn bar_end(seconds: i64, recv: UnixNanos) -> Option<UnixNanos> {
    let at = seconds.checked_sub(IST)?;
    let ahead = at.checked_sub(recv.as_secs())?;
    let is_near = ahead <= AHEAD && ahead.unsigned_abs() <= BELIEVABLE as u64;
    (seconds > 0 && is_near).then(|| UnixNanos::from_secs(at))
}

/// Writes a time as the NSE segments count it; zero stays "never". For the simulated broker.
pub const fn to_venue(at: UnixNanos) -> i64 {
    if at.as_nanos() <= 0 { 0 } else { at.as_secs() - NSE_EPOCH }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nse_counts_from_1980_in_ist() {
        let base = Base::of(Segment::NseCash, &[], UnixNanos::ZERO);
        // 2026-02-10 10:15:30 IST.
        assert_eq!(base.convert(1_455_185_730), UnixNanos::from_secs(1_770_698_730));
        assert_eq!(base.convert(0), UnixNanos::ZERO);
        assert_eq!(base.convert(-5), UnixNanos::ZERO);
        assert_eq!(to_venue(UnixNanos::from_secs(1_770_698_730)), 1_455_185_730);
        assert_eq!(to_venue(UnixNanos::ZERO), 0);
    }

    #[test]
    fn other_segments_take_the_nearest_candidate() {
        let recv = UnixNanos::from_secs(1_770_698_731);
        let at = UnixNanos::from_secs(1_770_698_730);
        for wire in [1_455_185_730, 1_770_698_730 + IST, 1_770_698_730] {
            assert_eq!(Base::of(Segment::Mcx, &[wire], recv).convert(wire), at, "{wire}");
        }
        // The last trade was five hours before: its own nearest candidate would be wrong.
        let base = Base::of(Segment::Mcx, &[0, 1_770_698_730 + IST], recv);
        assert_eq!(base.convert(1_770_680_730 + IST), UnixNanos::from_secs(1_770_680_730));
    }

    #[test]
    fn bars_count_in_indias_wall_clock() {
        let recv = UnixNanos::from_secs(1_770_695_161);
        // 2026-02-10 09:15:59, as the wall in India shows it.
        let end = bar_end(1_770_714_959, recv).unwrap();
        assert_eq!(end.to_string(), "2026-02-10T03:45:59Z");
        for wrong in [0, -1, 1_455_182_159, i64::MIN, i64::MAX] {
            assert_eq!(bar_end(wrong, recv), None, "{wrong}");
        }
    }

    #[test]
    fn unbelievable_times_are_none() {
        let recv = UnixNanos::from_secs(1_770_698_731);
        for wire in [1, 1_000_000_000, i64::MAX, 0] {
            assert_eq!(Base::of(Segment::BseCash, &[wire], recv).convert(wire), UnixNanos::ZERO);
        }
    }
}
