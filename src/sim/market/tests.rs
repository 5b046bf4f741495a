use jiff::civil::date;

use super::*;
use crate::market::{Level, Price};

/// Tuesday 2026-02-10, 10:15:30 IST.
const START: UnixNanos = UnixNanos::from_secs(1_770_698_730);

fn market(pace: f64, calendar: Calendar, capture: Option<Capture>) -> Market {
    let rules = Rules { seed: 1, pace, replay_loop: false, calendar };
    Market::start(rules, Arc::new(Catalogue::build(date(2026, 2, 10))), capture.map(Arc::new), START)
}

/// Runs for so many real milliseconds, in steps of `step_ms`; every update goes to `report`.
fn run(
    market: &mut Market,
    millis: u64,
    step_ms: u64,
    mut report: impl FnMut(usize, &Listing, &Quote, Change),
) {
    let mut now = market.seen;
    for _ in 0..millis / step_ms {
        now = now.plus(Duration::from_millis(step_ms));
        while market.advance(now, &mut report) == Some(Duration::ZERO) {}
    }
}

fn check(listing: &Listing, quote: &Quote) {
    let name = &listing.symbol;
    let tick = listing.tick.as_nanos();
    assert!(quote.ltp.is_positive(), "{name}");
    assert!(quote.low <= quote.ltp && quote.ltp <= quote.high, "{name} {quote:?}");
    assert!(quote.low <= quote.open && quote.open <= quote.high, "{name} {quote:?}");
    assert!(quote.low <= quote.average() && quote.average() <= quote.high, "{name} {quote:?}");
    assert_eq!(quote.ltp.as_nanos() % tick, 0, "{name} {quote:?}");
    if listing.kind == Kind::Index {
        assert_eq!((quote.bids[0], quote.asks[0], quote.volume), (Level::default(), Level::default(), 0));
        return;
    }
    assert!(quote.volume > 0 && quote.ltq > 0, "{name} {quote:?}");
    assert!(quote.bids[0].price < quote.asks[0].price, "{name} {quote:?}");
    for level in quote.bids.iter().chain(&quote.asks).filter(|l| l.price != Price::ZERO) {
        assert_eq!(level.price.as_nanos() % tick, 0, "{name} {quote:?}");
        assert!(level.size > 0 && level.orders > 0, "{name} {quote:?}");
    }
    assert!(quote.bids.windows(2).all(|w| w[0].price > w[1].price || w[1].price == Price::ZERO), "{name}");
    assert!(quote.asks.windows(2).all(|w| w[0].price < w[1].price), "{name} {quote:?}");
}

fn check_run(mut market: Market) -> u64 {
    let mut last: Vec<_> = market.quotes().to_vec();
    run(&mut market, 20_000, 50, |index, listing, quote, _| {
        check(listing, quote);
        let before = std::mem::replace(&mut last[index], quote.clone());
        assert!(quote.volume >= before.volume && quote.last_trade >= before.last_trade, "{}", listing.symbol);
        assert_eq!(quote.updates, before.updates + 1);
    });
    for (listing, quote) in market.catalogue().listings().iter().zip(market.quotes()) {
        check(listing, quote);
        // Nothing strays far: the bands of the master.
        if !matches!(listing.kind, Kind::Option { .. }) {
            let part = quote.percent_change();
            assert!(part.abs() < 10.0, "{} moved by {part} %", listing.symbol);
        }
    }
    market.updates()
}

#[test]
fn a_walk_is_believable() {
    let updates = check_run(market(5.0, Calendar::always_open(), None));
    // 100 seconds of market time.
    assert!((30_000..120_000).contains(&updates), "{updates}");
}

#[test]
fn a_replay_is_believable() {
    let updates = check_run(market(3.0, Calendar::always_open(), Some(Capture::built_in().unwrap())));
    assert!((100_000..500_000).contains(&updates), "{updates}");
}

#[test]
fn the_seed_decides_and_not_how_often_time_is_told() {
    let last = |step_ms, seed| {
        let rules = Rules { seed, pace: 1.0, replay_loop: false, calendar: Calendar::always_open() };
        let mut market = Market::start(rules, Arc::new(Catalogue::build(date(2026, 2, 10))), None, START);
        let mut prices = Vec::new();
        run(&mut market, 3_000, step_ms, |index, _, quote, _| prices.push((index, quote.ltp, quote.volume)));
        prices
    };
    let one = last(1, 1);
    assert!(one.len() > 500);
    assert_eq!(one, last(100, 1));
    assert_ne!(one, last(100, 2));
}

#[test]
fn a_liquid_share_gets_the_whole_capture_at_its_moments() {
    let mut market = market(1.0, Calendar::always_open(), Some(Capture::built_in().unwrap()));
    let mut counts = HashMap::new();
    let mut most = 0_u64;
    let (mut burst, mut burst_second) = (0_u64, START);
    run(&mut market, 70_000, 10, |_, listing, quote, _| {
        *counts.entry((listing.exchange, listing.symbol.clone())).or_insert(0_u64) += 1;
        if listing.symbol == "RELIANCE" && listing.exchange == Exchange::Nse {
            if burst_second != quote.updated {
                (burst_second, burst) = (quote.updated, 0);
            }
            burst += 1;
            most = most.max(burst);
        }
    });
    let count = |exchange, symbol: &str| counts[&(exchange, symbol.to_owned())];
    let whole = Capture::built_in().unwrap().len() as u64;
    assert_eq!(count(Exchange::Nse, "RELIANCE"), whole);
    assert_eq!(count(Exchange::NseIndex, "NIFTY"), whole);
    assert_eq!(count(Exchange::Nse, "TCS"), whole);
    assert_eq!(count(Exchange::Nse, "WIPRO"), whole.div_ceil(16));
    assert!(most > 1200, "the busiest second: {most}");
    // At its end prices hold.
    let before = market.updates();
    run(&mut market, 1_000, 10, |_, _, _, _| ());
    assert_eq!(market.updates(), before);
}

#[test]
fn a_muted_market_stands_still_and_goes_on_from_there() {
    let mut market = market(1.0, Calendar::always_open(), None);
    market.mute(true);
    run(&mut market, 5_000, 100, |_, _, _, _| panic!("it is muted"));
    market.mute(false);
    run(&mut market, 500, 100, |_, _, _, _| ());
    assert!(market.updates() > 20 && market.updates() < 2_000, "no flood after the silence");
}

#[test]
fn by_the_exchanges_hours_a_closed_market_is_silent() {
    let mut market = market(1.0, Calendar::new(), None);
    // To 15:40 IST on that Tuesday, when shares have closed and MCX has not.
    market.seen = UnixNanos::from_secs(1_770_698_730 + 19_470);
    let mut exchanges = std::collections::HashSet::new();
    run(&mut market, 20_000, 200, |_, listing, _, _| {
        exchanges.insert(listing.exchange);
    });
    assert!(exchanges.contains(&Exchange::Mcx) && exchanges.contains(&Exchange::Cds));
    assert!(!exchanges.contains(&Exchange::Nse) && !exchanges.contains(&Exchange::NseIndex), "{exchanges:?}");
}

#[test]
fn a_new_day_keeps_prices_and_replaces_expired_contracts() {
    let mut market = market(1.0, Calendar::always_open(), None);
    run(&mut market, 5_000, 100, |_, _, _, _| ());
    let index = market.catalogue().listings().iter().position(|l| l.symbol == "SBIN").unwrap();
    let before = market.quote(index).clone();
    let catalogue = Arc::new(Catalogue::build(date(2026, 2, 17)));
    market.new_day(&catalogue, START.plus(Duration::from_hours(7 * 24)));
    let after = market.quote(index);
    assert_eq!((after.ltp, after.close, after.volume), (before.ltp, before.ltp, 0));
    let has = |symbol: &str| catalogue.listings().iter().any(|l| l.symbol == symbol);
    assert!(!has("NIFTY17FEB2625850CE") && has("NIFTY24FEB2625850CE"));
    run(&mut market, 2_000, 100, |_, listing, quote, _| {
        assert!(quote.low <= quote.ltp && quote.ltp <= quote.high, "{}", listing.symbol);
    });
    assert!(market.updates() > 0);
}
