//! A year of nights against the simulated broker's own rules in memory: a login per product and
//! trading day, never two at once, never a request with a token that was refused, and ticks at
//! 09:15 every day. The seed is printed; `TICKGATE_TEST_SEED` repeats a run.

use std::collections::BTreeMap;

use jiff::civil::Date;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::market::TimeOfDay;
use crate::market::calendar::{ist_date, next_at};
use crate::sim::memory::MemoryVenue;
use crate::sim::{Hours, Settings as SimSettings, SocketEnd};
use crate::token::Product;

/// Moments around the cut-off, in seconds, at which a socket drops; a different one each night.
const MOMENTS: [i64; 20] = [
    -10_000, -3_600, -1_800, -600, -300, -120, -60, -30, -10, -1, 0, 1, 2, 10, 30, 60, 300, 1_800, 7_200,
    19_000,
];

/// What may happen in a night besides.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    /// The broker restarts and has lost its sessions.
    Forgets,
    /// It restarts and has kept them.
    Keeps,
    /// It is away when the planned login comes.
    LateMorning,
    /// Our process ends and is started again.
    Restarted,
}

const TROUBLES: [Trouble; 6] = [
    Trouble::None,
    Trouble::None,
    Trouble::Forgets,
    Trouble::Keeps,
    Trouble::LateMorning,
    Trouble::Restarted,
];

struct Year {
    outside: Outside,
    venue: MemoryVenue,
    process: Option<Process>,
    random: SmallRng,
}

impl Year {
    fn new(seed: u64, sockets: SocketEnd) -> Self {
        let mut outside = Outside::new();
        outside.settings.tick_idle_timeout_ms = 600_000;
        outside.settings.clock_check_ms = 300_000;
        outside.settings.delayed_after_ms = 600_000;
        let settings = SimSettings {
            hours: Hours::Exchange,
            nightly_cut_ist: TimeOfDay::new(3, 0),
            nightly_sockets: sockets,
            seed,
            ..SimSettings::default()
        };
        let venue = MemoryVenue::start(settings, Arc::clone(&outside.clock));
        venue.set_login_latency(Duration::from_millis(700));
        venue.set_request_latency(Duration::from_millis(30));
        let mut year = Self { outside, venue, process: None, random: SmallRng::seed_from_u64(seed) };
        year.start();
        year
    }

    fn start(&mut self) {
        let process = self.outside.process_with(Arc::new(self.venue.broker(0)));
        process.want(RELIANCE, Mode::Ltp);
        self.process = Some(process);
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    fn now(&self) -> UnixNanos {
        self.outside.clock.now()
    }

    async fn sleep_until(&self, at: UnixNanos) {
        tokio::time::sleep(at.since(self.now())).await;
    }

    async fn sleep_to(&self, time: &str) {
        self.sleep_until(next_at(self.now(), time.parse().expect("is a time"))).await;
    }

    /// From the evening to 08:39, with whatever happens at night.
    async fn night(&mut self, number: usize) -> String {
        let cut = next_at(self.now(), TimeOfDay::new(3, 0).expect("is a time"));
        let offset = MOMENTS[number % MOMENTS.len()];
        let drop_at = UnixNanos::from_secs(cut.as_secs() + offset);
        let trouble = TROUBLES[self.random.random_range(0..TROUBLES.len())];
        let trouble_at = match trouble {
            Trouble::LateMorning => next_at(self.now(), TimeOfDay::new(8, 35).expect("is a time")),
            _ => UnixNanos::from_secs(cut.as_secs() + self.random.random_range(-10_000..18_000)),
        };
        let clean = self.random.random();
        let mut what = vec![(drop_at, true), (trouble_at, false)];
        what.sort_unstable();
        for (at, is_drop) in what {
            self.sleep_until(at).await;
            if is_drop {
                self.venue.drop_sockets(None, clean);
            } else {
                self.make(trouble).await;
            }
        }
        format!("socket dropped {offset} s from the cut, {trouble:?} at {}", trouble_at.in_india())
    }

    async fn make(&mut self, trouble: Trouble) {
        let seconds = self.random.random_range(1..900);
        match trouble {
            Trouble::None => {}
            Trouble::Forgets => self.venue.restart(Duration::from_secs(seconds), true),
            Trouble::Keeps => self.venue.restart(Duration::from_secs(seconds), false),
            Trouble::LateMorning => self.venue.restart(Duration::from_mins(10), true),
            Trouble::Restarted => {
                if let Some(process) = self.process.take() {
                    process.stop().await;
                }
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                self.start();
            }
        }
    }

    /// The trading day: from before the open to after the close.
    async fn day(&mut self, night: &str) {
        self.sleep_to("09:14").await;
        until(&format!("a live feed before the open, after: {night}"), || {
            self.process().status().feed.state == "live" && self.process().status().feed.confirmed == 1
        })
        .await;
        assert!(self.now() < next_at(self.now(), "09:15".parse().expect("is a time")), "{night}");
        self.sleep_to("09:15").await;
        let open = self.now();
        // Liquid shares trade some times a second.
        let ticked = || self.process().status().feed.last_tick_at.is_some_and(|at| at >= open);
        for _ in 0..20 {
            if !ticked() {
                self.venue.pump_for(Duration::from_secs(1), Duration::from_millis(250)).await;
            }
        }
        assert!(ticked(), "no tick at the open of {}, after: {night}", open.in_india());
        let drop_at = self.random.random_range(0..200);
        for minute in 0..94 {
            if minute == drop_at {
                self.venue.drop_sockets(None, false);
            }
            tokio::time::sleep(Duration::from_mins(4)).await;
            self.venue.pulse();
        }
    }

    fn logins_on(&self, day: Date) -> BTreeMap<Product, u32> {
        let all = self.venue.logins();
        Product::ALL
            .into_iter()
            .map(|product| (product, all.get(&(0, product, day)).copied().unwrap_or_default()))
            .collect()
    }

    fn check(&self, night: &str) {
        for product in Product::ALL {
            assert_eq!(self.venue.max_logins_in_flight(product), 1, "{product}, after: {night}");
        }
        assert_eq!(self.venue.repeated_requests(), 0, "a refused token was used again, after: {night}");
    }
}

fn seed() -> u64 {
    let given = std::env::var("TICKGATE_TEST_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(rand::random)
}

async fn nights(seed: u64, sockets: SocketEnd, trading_days: usize) {
    println!("seed {seed}, sockets end {sockets:?}");
    let mut year = Year::new(seed, sockets);
    let (mut number, mut traded) = (0, 0);
    let first = ist_date(year.now());
    let mut total = [0_u32; 2];
    while traded < trading_days {
        year.sleep_to("23:56").await;
        let night = year.night(number).await;
        number += 1;
        let today = ist_date(year.now());
        let trades = year.outside.calendar.is_trading_day(today);
        if trades {
            if !night.contains("LateMorning") {
                year.sleep_to("08:39").await;
                assert!(year.logins_on(today).values().all(|n| *n == 0), "a login at night: {night}");
            }
            year.day(&night).await;
            let logins = year.logins_on(today);
            assert!(logins.values().all(|n| *n == 1), "{today}: {logins:?}, after: {night}");
            traded += 1;
        } else {
            year.sleep_to("22:00").await;
            let logins = year.logins_on(today);
            // An evening of MCX on a holiday may want one.
            assert!(logins.values().all(|n| *n <= 1), "{today}: {logins:?}, after: {night}");
        }
        year.check(&night);
        for (product, count) in year.logins_on(today) {
            total[product as usize] += count;
        }
    }
    println!(
        "{number} nights from {first}, {traded} trading days: {} interactive and {} market logins, {} requests \
         with a dead token, none of them twice with the same",
        total[0],
        total[1],
        year.venue.dead_requests()
    );
}

#[test]
fn a_year_of_nights_costs_one_login_per_product_and_trading_day() {
    run(|| async { nights(seed(), SocketEnd::Close, 250).await });
}

#[test]
fn nights_at_whose_cut_sockets_go_silent_or_say_logout() {
    run(|| async { nights(seed(), SocketEnd::Silent, 40).await });
    run(|| async { nights(seed(), SocketEnd::Logout, 40).await });
}
