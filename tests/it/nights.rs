//! Twenty nights over real sockets on a clock that jumps: one login per product and trading day,
//! never two at once, no request with a token that was refused, ticks at 09:15. The year of nights
//! in memory (`session/tests/year.rs`) goes through more; this one shows that the wire is no
//! different. The seed is printed; `TICKGATE_TEST_SEED` repeats a run.

use std::time::Duration;

use jiff::civil::Date;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tickgate::clock::Clock as _;
use tickgate::market::calendar::ist_date;
use tickgate::market::{Calendar, TimeOfDay};
use tickgate::sim::{Hours, Settings as SimSettings, SocketEnd};
use tickgate::token::Product;

use crate::rig::{Outside, Running, india, run, until};

const NIGHTS: usize = 20;
/// Seconds from the cut-off at which the sockets drop, one for each night.
const MOMENTS: [i64; NIGHTS] = [
    -10_000, -3_600, -1_800, -600, -300, -120, -60, -30, -10, -2, -1, 1, 2, 10, 30, 60, 300, 1_800, 7_200,
    19_000,
];

fn at(day: Date, time: &str) -> tickgate::clock::UnixNanos {
    india(&format!("{day}T{time}"))
}

async fn live(running: &Running) {
    until("a live feed", || running.session.status().feed.state == "live").await;
}

/// One night before the trading day `day`; the clock shows the evening of the trading day before.
async fn night(outside: &Outside, running: &mut Running, day: Date, moment: i64, random: &mut SmallRng) {
    let is_one_night = day.yesterday().is_ok_and(|date| date == ist_date(outside.clock.now()));
    let before = outside.logins().await;
    let cut = at(day, "03:00:00");
    let drop = json!({"clean": random.random::<bool>()});
    let forgets = random.random::<bool>();
    let dropped_at = tickgate::clock::UnixNanos::from_secs(cut.as_secs() + moment);
    if moment < 0 {
        let generation = running.session.status().feed.generation;
        outside.clock.set(dropped_at);
        outside.tell("drop", drop.clone()).await;
        // Back with the token it has, while that is good: after a weekend other cut-offs have passed
        // already. The clock runs on meanwhile: only where even a busy machine gets there before the
        // cut-off.
        if moment <= -300 && is_one_night {
            until("another feed", || running.session.status().feed.generation > generation).await;
            live(running).await;
        }
    }
    outside.clock.set(tickgate::clock::UnixNanos::from_secs(cut.as_secs() + 1));
    // Expired, or missing where the broker said so first.
    until("the cut to be noticed", || !running.is_valid(Product::Market)).await;
    if moment > 0 {
        outside.clock.set(dropped_at.max(tickgate::clock::UnixNanos::from_secs(cut.as_secs() + 1)));
        outside.tell("drop", drop).await;
    }
    if random.random::<bool>() {
        outside.tell("restart", json!({"down_ms": random.random_range(1..150), "forget": forgets})).await;
    }
    outside.clock.set(at(day, "08:39:57"));
    // Long enough for the stream to come back several times, if it did not rest.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(outside.logins().await, before, "a login at night, {moment} s from the cut");
    outside.clock.set(at(day, "08:40:00"));
    running.both_valid().await;
    live(running).await;
    let open = at(day, "09:15:00");
    outside.clock.set(open);
    running.tick_after(open).await;
    assert_eq!(outside.logins().await, (before.0 + 1, before.1 + 1), "{moment} s from the cut");
    for product in Product::ALL {
        assert_eq!(running.session.status().token(product).logins_today, 1);
    }
}

#[test]
fn twenty_nights_cost_a_login_each() {
    let given = std::env::var("TICKGATE_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    eprintln!("seed {seed}");
    run(|| async {
        let mut random = SmallRng::seed_from_u64(seed);
        let sim = SimSettings {
            hours: Hours::Exchange,
            nightly_cut_ist: TimeOfDay::new(3, 0),
            nightly_sockets: SocketEnd::Close,
            seed,
            ..SimSettings::default()
        };
        let mut day = jiff::civil::date(2026, 2, 10);
        let outside = Outside::new(sim, at(day, "11:00:00")).await;
        let mut running = outside.start();
        running.both_valid().await;
        live(&running).await;
        for moment in MOMENTS {
            outside.clock.set(at(day, "23:56:00"));
            day = day.tomorrow().expect("there is a next day");
            while !Calendar::new().is_trading_day(day) {
                day = day.tomorrow().expect("there is a next day");
            }
            night(&outside, &mut running, day, moment, &mut random).await;
        }
        let journal = outside.sim("logins").await;
        // The instrument list needs no token, but is asked for with the one there was.
        let repeated = |request: &&serde_json::Value| {
            request["refused"] == true && request["refused_before"].as_u64() > Some(0)
        };
        let requests = journal["bad_tokens"].as_array().expect("is a list");
        assert_eq!(requests.iter().filter(repeated).collect::<Vec<_>>(), Vec::<&serde_json::Value>::new());
        for product in ["market", "interactive"] {
            assert_eq!(journal["max_in_flight"][product], 1, "{journal}");
        }
        eprintln!("{NIGHTS} nights, {:?} logins (market, interactive)", outside.logins().await);
        running.stop().await;
    });
}
