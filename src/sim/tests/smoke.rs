//! The broker in memory does what the broker on a port does.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{advance, sleep};

use crate::broker::{AccountEvent, Broker, Class, Error, Feed, FeedEnd};
use crate::clock::{Clock as _, TokioClock, UnixNanos};
use crate::market::calendar::ist_date;
use crate::market::{InstrumentId, Kind, OrderStatus, PositionView, Segment, Side, Tick, TimeOfDay};
use crate::sim::Settings;
use crate::sim::memory::{MemoryVenue, token_of};
use crate::sim::settings::{AccountKind, SocketEnd};
use crate::token::Product;

const RELIANCE: InstrumentId = InstrumentId { segment: Segment::NseCash, code: 2885 };

/// Monday 2026-02-09, 09:15:00 IST.
const MONDAY_OPEN: UnixNanos = UnixNanos::from_secs(1_770_608_700);

fn nightly(sockets: SocketEnd) -> Settings {
    Settings { nightly_cut_ist: TimeOfDay::new(3, 0), nightly_sockets: sockets, ..Settings::default() }
}

/// Reads frames until one brings ticks.
async fn ticks(feed: &mut dyn Feed, clock: &TokioClock) -> Result<Vec<Tick>, FeedEnd> {
    let mut batch = Vec::new();
    while batch.is_empty() {
        poll_fn(|cx| feed.poll_frame(cx, &|| clock.now(), &mut batch)).await?;
    }
    Ok(batch)
}

#[tokio::test(start_paused = true)]
async fn a_token_lives_until_the_cut_and_ticks_flow_meanwhile() {
    let clock = Arc::new(TokioClock::starting_at(MONDAY_OPEN));
    let venue = MemoryVenue::start(nightly(SocketEnd::Close), clock.clone());
    let broker = venue.broker(0);
    venue.set_login_latency(Duration::from_millis(300));
    let login = broker.login(Product::Market).await.unwrap();
    assert_eq!(clock.now(), MONDAY_OPEN.plus(Duration::from_millis(300)));
    let token = token_of(Product::Market, login, clock.now());
    let done = broker.subscribe(&token, Kind::Quote, &[RELIANCE]).await.unwrap();
    assert_eq!((done.confirmed.as_slice(), done.snapshot.len()), (&[RELIANCE][..], 1));
    // Twice is no error to the caller.
    let done = broker.subscribe(&token, Kind::Quote, &[RELIANCE]).await.unwrap();
    assert_eq!(done.confirmed, [RELIANCE]);
    let mut feed = broker.open_feed(&token).await.unwrap();
    let pumping = venue.pump_for(Duration::from_secs(10), Duration::from_millis(100));
    let (got, ()) = tokio::join!(ticks(&mut *feed, &clock), pumping);
    assert_eq!(got.unwrap()[0].instrument, RELIANCE);
    assert!(broker.instruments(&token).await.unwrap().rows.contains("NSECM|2885|8|RELIANCE|"));

    // Nobody asks anything; at 03:00 the socket is closed all the same.
    let ended = loop {
        if let Err(end) = ticks(&mut *feed, &clock).await {
            break end;
        }
    };
    assert!(matches!(ended, FeedEnd::Closed(_)), "{ended:?}");
    assert_eq!(clock.now().in_india(), "2026-02-10T03:00:00.000+05:30");
    let error = broker.quotes(&token, Kind::Quote, &[RELIANCE]).await.unwrap_err();
    assert_eq!(error.class(), Class::NeedsToken);
    assert_eq!((venue.dead_requests(), venue.repeated_requests()), (1, 0));
    assert!(matches!(broker.open_feed(&token).await, Err(Error::InvalidToken { .. })));
    assert_eq!((venue.dead_requests(), venue.repeated_requests()), (2, 1));
    broker.login(Product::Market).await.unwrap();
    let day = ist_date(clock.now());
    assert_eq!(venue.logins()[&(0, Product::Market, day)], 1);
    assert_eq!(venue.logins().len(), 2);
    assert_eq!(venue.max_logins_in_flight(Product::Market), 1);
}

#[tokio::test(start_paused = true)]
async fn while_it_is_away_nothing_is_reached_and_sockets_break_off() {
    let clock = Arc::new(TokioClock::starting_at(MONDAY_OPEN));
    let venue = MemoryVenue::start(Settings::default(), clock.clone());
    let broker = venue.broker(0);
    let token = token_of(Product::Market, broker.login(Product::Market).await.unwrap(), clock.now());
    let mut feed = broker.open_feed(&token).await.unwrap();
    assert_eq!(venue.sockets(Product::Market), 1);
    venue.restart(Duration::from_mins(1), false);
    assert!(matches!(ticks(&mut *feed, &clock).await, Err(FeedEnd::Network(_))));
    assert_eq!(venue.sockets(Product::Market), 0);
    assert!(matches!(broker.login(Product::Interactive).await, Err(Error::Network(_))));
    assert!(matches!(broker.open_feed(&token).await.map(|_| ()), Err(Error::Network(_))));
    assert!(matches!(broker.quotes(&token, Kind::Quote, &[RELIANCE]).await, Err(Error::Network(_))));
    advance(Duration::from_mins(1)).await;
    venue.set_request_latency(Duration::from_millis(40));
    let before = clock.now();
    let mut feed = broker.open_feed(&token).await.unwrap();
    assert_eq!(clock.now(), before.plus(Duration::from_millis(40)));
    assert_eq!(broker.venue().drop_sockets(Some(Product::Interactive), true), 0);
    assert_eq!(broker.venue().drop_sockets(Some(Product::Market), true), 1);
    assert!(matches!(ticks(&mut *feed, &clock).await, Err(FeedEnd::Closed(_))));
    venue.restart(Duration::from_secs(1), true);
    advance(Duration::from_secs(1)).await;
    assert!(matches!(broker.open_feed(&token).await.map(|_| ()), Err(Error::InvalidToken { .. })));
    assert_eq!(venue.login_attempts().values().sum::<u32>(), 2);
    assert_eq!(venue.logins().values().sum::<u32>(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_interactive_socket_joins_and_is_told_of_a_replacement() {
    let clock = Arc::new(TokioClock::starting_at(MONDAY_OPEN));
    let venue = MemoryVenue::start(Settings { accounts: 2, ..Settings::default() }, clock.clone());
    let (broker, other) = (venue.broker(0), venue.broker(1));
    let login = broker.login(Product::Interactive).await.unwrap();
    let token = token_of(Product::Interactive, login, clock.now());
    let mut feed = broker.open_account_feed(&token).await.unwrap();
    assert_eq!(feed.next().await, Ok(AccountEvent::Joined));
    other.login(Product::Interactive).await.unwrap();
    broker.funds(&token).await.unwrap();
    broker.login(Product::Interactive).await.unwrap();
    assert!(matches!(feed.next().await, Err(FeedEnd::Logout(_))));
    assert!(matches!(broker.funds(&token).await, Err(Error::InvalidToken { .. })));
}

#[tokio::test(start_paused = true)]
async fn it_logs_in_by_the_configured_way() {
    let clock = Arc::new(TokioClock::starting_at(MONDAY_OPEN));
    let settings = Settings { hostlookup: true, access_token: "once".to_owned(), ..Settings::default() };
    let venue = MemoryVenue::start(settings, clock.clone());
    let broker = venue.broker(0);
    broker.login(Product::Market).await.unwrap();
    broker.login(Product::Interactive).await.unwrap();
    let error = broker.login(Product::Interactive).await.unwrap_err();
    assert_eq!(error.class(), Class::NeedsOperator, "{error}");
    venue.with(|core, _| core.set_access_token("again"));
    venue.set_access_token("again");
    broker.login(Product::Interactive).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_login_that_nobody_waits_for_takes_effect_all_the_same() {
    let clock = Arc::new(TokioClock::starting_at(MONDAY_OPEN));
    let venue = MemoryVenue::start(Settings::default(), clock.clone());
    let broker = venue.broker(0);
    let token = token_of(Product::Market, broker.login(Product::Market).await.unwrap(), clock.now());
    venue.set_login_latency(Duration::from_secs(5));
    tokio::select! {
        _ = broker.login(Product::Market) => panic!("it came back"),
        () = sleep(Duration::from_secs(1)) => {}
    }
    broker.quotes(&token, Kind::Quote, &[RELIANCE]).await.unwrap();
    sleep(Duration::from_millis(4_100)).await;
    assert!(broker.quotes(&token, Kind::Quote, &[RELIANCE]).await.is_err(), "replaced");
    assert_eq!(venue.logins().values().sum::<u32>(), 2);
    assert_eq!(venue.max_logins_in_flight(Product::Market), 1);
    let (one, two) = tokio::join!(broker.login(Product::Market), broker.login(Product::Market));
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(venue.max_logins_in_flight(Product::Market), 2);
}

/// What is read of the oddly written books is what the broker knows.
#[tokio::test(start_paused = true)]
async fn books_read_as_the_truth_for_every_kind_of_account() {
    for account_kind in [AccountKind::Investor, AccountKind::Dealer, AccountKind::Pro] {
        let clock = Arc::new(TokioClock::starting_at(MONDAY_OPEN));
        let settings = Settings { accounts: 2, account_kind, ..Settings::default() };
        let venue = MemoryVenue::start(settings, clock.clone());
        for account in 0..2 {
            let broker = venue.broker(account);
            let login = broker.login(Product::Interactive).await.unwrap();
            let token = token_of(Product::Interactive, login, clock.now());
            let truth = venue.with(|core, _| core.books_view())["accounts"][account].clone();

            let orders = broker.order_book(&token).await.unwrap().rows;
            assert_eq!(orders.len(), truth["orders"].as_array().unwrap().len());
            for (order, truth) in orders.iter().zip(truth["orders"].as_array().unwrap()) {
                let side = if order.side == Side::Buy { "buy" } else { "sell" };
                assert_eq!(
                    (&order.id[..], side),
                    (truth["id"].as_str().unwrap(), truth["side"].as_str().unwrap())
                );
                assert_eq!(
                    [order.quantity, order.filled, order.left].map(Value::from),
                    [&truth["quantity"], &truth["filled"], &truth["left"]].map(Clone::clone)
                );
                assert_eq!(order.price.to_string(), truth["price"].as_str().unwrap());
                assert_eq!(
                    order.average.map(|p| p.to_string()),
                    truth["average"].as_str().map(str::to_owned)
                );
                assert_eq!(order.placed_at.unwrap().as_millis(), truth["placed_ms"].as_i64().unwrap());
                assert_eq!(order.status == OrderStatus::Rejected, truth["status"] == "rejected");
            }
            for (view, name) in [(PositionView::Net, "net"), (PositionView::Day, "day")] {
                let positions = broker.positions(&token, view).await.unwrap().rows;
                let truth = truth["positions"][name].as_array().unwrap();
                assert_eq!(positions.len(), truth.len());
                for (position, truth) in positions.iter().zip(truth) {
                    assert_eq!(Value::from(position.quantity), truth["quantity"]);
                    assert_eq!(
                        position.net_amount.unwrap().to_string(),
                        truth["net_amount"].as_str().unwrap()
                    );
                    assert_eq!(Value::from(position.instrument.code), truth["instrument"]);
                }
            }
            let funds = broker.funds(&token).await.unwrap();
            for (ours, name) in [(funds.cash, "cash"), (funds.used, "used"), (funds.available, "available")] {
                assert_eq!(ours.unwrap().to_string(), truth["funds"][name].as_str().unwrap(), "{name}");
            }
        }
    }
}

/// The way a year of nights is simulated: an opening pumped for a second (10 ms of a debug
/// build's time), else pulses (10 µs each); a night costs as much again.
#[tokio::test(start_paused = true)]
async fn nights_pass_quickly() {
    let clock = Arc::new(TokioClock::starting_at(MONDAY_OPEN));
    let venue = MemoryVenue::start(nightly(SocketEnd::Silent), clock.clone());
    let broker = venue.broker(0);
    for _ in 0..60 {
        broker.login(Product::Interactive).await.unwrap();
        let token = token_of(Product::Market, broker.login(Product::Market).await.unwrap(), clock.now());
        broker.subscribe(&token, Kind::Depth, &[RELIANCE]).await.unwrap();
        let mut feed = broker.open_feed(&token).await.unwrap();
        let pumping = venue.pump_for(Duration::from_secs(1), Duration::from_millis(250));
        pumping.await;
        venue.pulse();
        assert!(!ticks(&mut *feed, &clock).await.unwrap().is_empty());
        sleep(Duration::from_hours(24) - Duration::from_secs(1)).await;
    }
    assert!(venue.logins().values().all(|&n| n == 1));
    assert_eq!(venue.logins().len(), 2 * 60);
}
