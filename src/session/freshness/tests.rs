use proptest::prelude::*;

use super::*;

const PATIENCE: Patience =
    Patience { delayed_after: Duration::from_secs(5), stale_after: Duration::from_secs(30) };
/// It flows, since second 0.
const FLOWS: Sight = Sight {
    market: MarketState::Open,
    asked: true,
    flows: true,
    last_data: Some(UnixNanos::from_secs(1000)),
};
const SILENT: Sight = Sight { flows: false, last_data: None, ..FLOWS };

/// A judge of one segment whose wall clock stands at 1000 when it begins.
struct Bench(Judge, Option<Verdict>);

impl Bench {
    fn new() -> Self {
        Self(Judge::new(PATIENCE), None)
    }

    fn at(&mut self, second: u64, link: &Link, sight: Sight) -> (Freshness, i64, Option<Cause>) {
        let now = UnixNanos::from_secs(1000 + second as i64);
        if let Some((verdict, _)) =
            self.0.look(Segment::NseCash, link, sight, (now, Duration::from_secs(second)))
        {
            self.1 = Some(verdict);
        }
        let verdict = self.1.as_ref().unwrap();
        (verdict.standing.state, verdict.standing.since.as_secs() - 1000, verdict.cause)
    }
}

fn down(second: i64, cause: Cause) -> Link {
    Link::Down { since: UnixNanos::from_secs(1000 + second), reason: "it fell".into(), cause }
}

#[test]
fn a_connection_that_falls_and_comes_back() {
    let mut bench = Bench::new();
    assert_eq!(bench.at(0, &Link::Connecting, SILENT), (Freshness::Connecting, 0, None));
    assert_eq!(bench.at(1, &Link::Up, SILENT), (Freshness::Connecting, 0, None));
    assert_eq!(bench.at(2, &Link::Up, FLOWS), (Freshness::Live, 2, None));
    let fell = down(3, Cause::Disconnected);
    assert_eq!(bench.at(4, &fell, FLOWS), (Freshness::Stale, 3, Some(Cause::Disconnected)));
    // What is tried about it changes the cause, not since when.
    let refused = down(3, Cause::Token);
    assert_eq!(bench.at(9, &refused, FLOWS), (Freshness::Stale, 3, Some(Cause::Token)));
    let again = Sight { flows: false, ..FLOWS };
    assert_eq!(bench.at(10, &Link::Up, again), (Freshness::Connecting, 10, None), "old data prove nothing");
    assert_eq!(bench.at(11, &Link::Up, FLOWS), (Freshness::Live, 11, None));
}

#[test]
fn silence_is_delayed_then_stale_since_the_last_data() {
    let mut bench = Bench::new();
    bench.at(0, &Link::Up, FLOWS);
    assert_eq!(bench.at(4, &Link::Up, FLOWS), (Freshness::Live, 0, None));
    assert_eq!(bench.at(5, &Link::Up, FLOWS), (Freshness::Delayed, 0, None));
    assert_eq!(bench.at(29, &Link::Up, FLOWS), (Freshness::Delayed, 0, None));
    assert_eq!(bench.at(30, &Link::Up, FLOWS), (Freshness::Stale, 0, Some(Cause::Mute)));
    assert_eq!(bench.0.stale_for(), Some(Cause::Mute));
    let came = Sight { last_data: Some(UnixNanos::from_secs(1031)), ..FLOWS };
    assert_eq!(bench.at(31, &Link::Up, came), (Freshness::Live, 31, None));
    assert_eq!(bench.0.stale_for(), None);
    // After a reconnect that brings nothing it counts from the connection.
    let mut bench = Bench::new();
    bench.at(0, &down(0, Cause::Mute), FLOWS);
    bench.at(20, &Link::Up, SILENT);
    assert_eq!(bench.at(49, &Link::Up, SILENT), (Freshness::Connecting, 20, None));
    assert_eq!(bench.at(50, &Link::Up, SILENT), (Freshness::Stale, 20, Some(Cause::Mute)));
}

#[test]
fn the_calendar_decides_when_silence_counts() {
    let mut bench = Bench::new();
    let with = |market| Sight { market, ..FLOWS };
    assert_eq!(bench.at(0, &Link::Up, with(MarketState::PreOpen)), (Freshness::Live, 0, None));
    assert_eq!(bench.at(900, &Link::Up, with(MarketState::PreOpen)), (Freshness::Live, 0, None));
    assert_eq!(bench.at(901, &Link::Up, FLOWS), (Freshness::Live, 0, None), "it has just opened");
    assert_eq!(bench.at(906, &Link::Up, FLOWS).0, Freshness::Delayed);
    let night = with(MarketState::Closed);
    assert_eq!(bench.at(1000, &Link::Up, night), (Freshness::Closed, 1000, None));
    assert_eq!(bench.at(9000, &down(2000, Cause::Login), night), (Freshness::Closed, 1000, None));
    assert_eq!(bench.0.stale_for(), None);
    assert_eq!(
        bench.at(9001, &down(2000, Cause::Login), with(MarketState::PreOpen)),
        (Freshness::Stale, 2000, Some(Cause::Login))
    );
}

#[test]
fn what_nobody_asked_for_is_never_live_and_a_time_of_zero_never_comes() {
    let mut bench = Bench::new();
    let left = Sight { asked: false, ..FLOWS };
    assert_eq!(bench.at(0, &Link::Up, left), (Freshness::Connecting, 0, None));
    assert_eq!(bench.at(100, &Link::Up, left), (Freshness::Connecting, 0, None));
    let mut bench = Bench::new();
    bench.0.patience = Patience { delayed_after: Duration::ZERO, stale_after: Duration::ZERO };
    bench.at(0, &Link::Up, FLOWS);
    assert_eq!(bench.at(100_000, &Link::Up, FLOWS), (Freshness::Live, 0, None));
}

#[test]
fn other_words_are_no_news() {
    let mut judge = Judge::new(PATIENCE);
    let mut look = |reason: &str, cause| {
        let link = Link::Down { since: UnixNanos::ZERO, reason: reason.into(), cause };
        let time = (UnixNanos::from_secs(1), Duration::from_secs(1));
        judge.look(Segment::Mcx, &link, FLOWS, time).map(|(_, is_news)| is_news)
    };
    assert_eq!(look("no token for 5 s", Cause::Login), Some(true));
    assert_eq!(look("no token for 5 s", Cause::Login), None);
    assert_eq!(look("no token for 4 s", Cause::Login), Some(false));
    assert_eq!(look("no token for 4 s", Cause::Token), Some(true));
}

fn any_link() -> impl Strategy<Value = Link> {
    prop_oneof![
        1 => Just(Link::Connecting),
        3 => Just(Link::Up),
        1 => (0..7_usize).prop_map(|cause| down(0, Cause::ALL[cause])),
    ]
}

fn any_market() -> impl Strategy<Value = MarketState> {
    prop_oneof![
        1 => Just(MarketState::PreOpen),
        3 => Just(MarketState::Open),
        1 => Just(MarketState::Closing),
        1 => Just(MarketState::Closed),
    ]
}

proptest! {
    /// Whatever happens, what is told holds by itself.
    #[test]
    fn no_verdict_says_more_than_was_seen(
        steps in proptest::collection::vec(
            (any_link(), any_market(), any::<[bool; 3]>(), 0..20_u64), 1..60),
    ) {
        let mut bench = Bench::new();
        let (mut second, mut last, mut told) = (0, None, None);
        // Since when data were due without a break, none came, and the connection stood.
        let mut silent_from = None;
        for (link, market, [asked, flows, comes], pause) in steps {
            second += pause;
            let up = link == Link::Up;
            if comes && up && asked && flows {
                last = Some(UnixNanos::from_secs(1000 + second as i64));
                silent_from = None;
            }
            let due = up && asked && market == MarketState::Open;
            silent_from = if due { silent_from.or(Some(second)) } else { None };
            let silence = silent_from.map_or(0, |from| second - from);
            let sight = Sight { market, asked, flows, last_data: last };
            let (state, since, cause) = bench.at(second, &link, sight);
            prop_assert!(since <= second as i64);
            prop_assert_eq!(state == Freshness::Stale, cause.is_some());
            prop_assert_eq!(state == Freshness::Closed, market == MarketState::Closed);
            if state == Freshness::Live {
                prop_assert!(up && flows && asked, "live without data");
                prop_assert!(silence < 5, "live after {} s", silence);
            }
            if market != MarketState::Closed {
                prop_assert_eq!(matches!(link, Link::Down { .. }) || silence >= 30, state == Freshness::Stale);
            }
            // A state that stays keeps its beginning.
            if let Some((before, from)) = told.filter(|(before, _)| *before == state) {
                prop_assert_eq!((before, from), (state, since));
            }
            told = Some((state, since));
        }
    }
}
