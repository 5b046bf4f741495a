//! The instrument list through mornings, failures and accounts that cannot bring one.

use super::*;
use crate::broker::Error;
use crate::session::MasterStatus;
use crate::session::tests::broker::{MASTER_ROWS, Script, refused};
use crate::token::Product;

const MARKET: usize = Product::Market as usize;
/// A contract of [`MASTER_ROWS`], and its last day.
const FUTURE: (Exchange, &str) = (Exchange::Nfo, "NIFTY24FEB26FUT");

/// Rows with one share more.
fn more_rows() -> String {
    format!(
        "{MASTER_ROWS}{}",
        MASTER_ROWS.lines().next().expect("a row").replace("RELIANCE", "NEWCO").replace("2885", "777")
    )
}

/// Rows of shares only.
fn shares_only() -> String {
    MASTER_ROWS.lines().filter(|row| row.starts_with("NSECM")).map(|row| format!("{row}\n")).collect()
}

fn down() -> Script {
    Script::Fail(Error::Network("down".to_owned()))
}

/// Waits until this time in India.
async fn clock_shows(outside: &Outside, time: &str) {
    let at: jiff::Timestamp = format!("{time}:00+05:30").parse().expect("is a time");
    tokio::time::sleep(UnixNanos::from_secs(at.as_second()).since(outside.clock.now())).await;
}

/// A process with an account for each broker.
struct Several {
    sessions: Vec<SessionHandle>,
    master: MasterHandle,
    keeper: MasterKeeper,
}

fn several(outside: &Outside, brokers: &[&FakeBroker]) -> Several {
    let (store, _) = Store::open(outside.dir.path(), &*outside.clock).expect("the store opens");
    let cipher =
        Cipher::new(&Secret::new(KEY), "test", Arc::clone(&outside.clock)).expect("the key is valid");
    let tokens = TokenStore::open(&store, cipher).expect("the tree opens");
    let (hub, master) = (Hub::new("test"), MasterHandle::new());
    hub.set_feeds(brokers.len());
    let spread = Spread::new(&vec![50; brokers.len()]);
    let session = |(at, broker): (usize, &&FakeBroker)| {
        start(Deps {
            account: format!("a{at}"),
            broker: Arc::new((*broker).clone()),
            tokens: tokens.clone(),
            ledger: Ledger::open(&store).expect("the tree opens"),
            audit: Audit::open(&store).expect("the tree opens"),
            feed: FeedId(at as u32),
            spread: spread.clone(),
            hub: hub.clone(),
            master: master.clone(),
            clock: Arc::clone(&outside.clock),
            calendar: outside.calendar,
            data_dir: outside.dir.path().to_owned(),
            settings: outside.settings.clone(),
            orders: crate::session::OrderSettings::default(),
            seed: 7 + at as u64,
        })
    };
    let sessions: Vec<_> = brokers.iter().enumerate().map(session).collect();
    let keeper = keep_master(&sessions);
    Several { sessions, master, keeper }
}

async fn loaded(keeper: &MasterKeeper) -> MasterStatus {
    until("a list", || keeper.status().is_some()).await;
    keeper.status().expect("is there")
}

fn knows(master: &MasterHandle, (exchange, symbol): (Exchange, &str)) -> bool {
    master.load().is_some_and(|list| list.resolve(exchange, symbol).is_some())
}

fn downloads(broker: &FakeBroker) -> u32 {
    broker.world().downloads
}

#[test]
fn a_list_is_downloaded_once_and_comes_from_disk_after_a_restart() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().masters.push_back(down());
        let process = outside.process();
        let status = loaded(&process.keeper).await;
        assert!(!status.from_disk && status.downloaded_at == status.loaded_at);
        assert_eq!(process.master.load().and_then(|m| m.resolve(Exchange::Nse, "RELIANCE")), Some(RELIANCE));
        assert_eq!(downloads(&outside.broker), 2);
        process.stop().await;

        let process = outside.process();
        let again = loaded(&process.keeper).await;
        assert!(again.from_disk && again.instruments == status.instruments);
        tokio::time::sleep(Duration::from_hours(2)).await;
        assert_eq!(downloads(&outside.broker), 2);
        process.stop().await;

        // A day later the copy is old: it serves only until the download succeeds.
        clock_shows(&outside, "2026-02-11T11:00").await;
        outside.broker.world().masters.push_back(down());
        let process = outside.process();
        until("the old list", || process.keeper.status().is_some_and(|list| list.from_disk)).await;
        until("the new list", || process.keeper.status().is_some_and(|list| !list.from_disk)).await;
        process.stop().await;
    });
}

#[test]
fn each_trading_morning_brings_one_new_list_after_the_login() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        loaded(&process.keeper).await;
        let first = process.master.load().expect("is loaded");
        outside.broker.world().master_rows = more_rows();
        clock_shows(&outside, "2026-02-11T08:40").await;
        assert_eq!(downloads(&outside.broker), 1);
        clock_shows(&outside, "2026-02-11T08:41").await;
        assert_eq!((downloads(&outside.broker), outside.broker.world().logins), (2, [2, 2]));
        assert!(knows(&process.master, (Exchange::Nse, "NEWCO")));
        assert!(first.resolve(Exchange::Nse, "NEWCO").is_none(), "whoever holds the old one keeps it");
        // To Friday night, over the weekend, to Monday.
        for (time, expected) in [
            ("2026-02-12T08:39", 2),
            ("2026-02-12T08:41", 3),
            ("2026-02-13T23:59", 4),
            ("2026-02-16T08:39", 4),
            ("2026-02-16T08:41", 5),
            ("2026-02-16T23:59", 5),
        ] {
            clock_shows(&outside, time).await;
            assert_eq!(downloads(&outside.broker), expected, "{time}");
        }
        // A restart on the same day costs none.
        process.stop().await;
        let process = outside.process();
        assert!(loaded(&process.keeper).await.from_disk);
        clock_shows(&outside, "2026-02-17T08:39").await;
        assert_eq!(downloads(&outside.broker), 5);
        process.stop().await;
    });
}

#[test]
fn a_login_at_night_does_not_bring_the_day_befores_list() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        loaded(&process.keeper).await;
        clock_shows(&outside, "2026-02-11T04:00").await;
        process.session.get_token(Product::Market, None).await.expect("a token");
        clock_shows(&outside, "2026-02-11T08:39").await;
        assert_eq!((downloads(&outside.broker), outside.broker.world().logins[MARKET]), (1, 2));
        clock_shows(&outside, "2026-02-11T08:41").await;
        assert_eq!((downloads(&outside.broker), outside.broker.world().logins[MARKET]), (2, 2));
    });
}

#[test]
fn a_market_that_never_closes_gets_a_new_list_each_day() {
    run(|| async {
        let mut outside = Outside::new();
        outside.calendar = Calendar::always_open();
        let process = outside.process();
        loaded(&process.keeper).await;
        for (time, expected) in [
            ("2026-02-11T08:39", 1),
            ("2026-02-11T08:41", 2),
            ("2026-02-14T12:00", 5),
            ("2026-02-15T08:39", 5),
            ("2026-02-15T08:41", 6),
        ] {
            clock_shows(&outside, time).await;
            assert_eq!(downloads(&outside.broker), expected, "{time}");
        }
    });
}

#[test]
fn a_download_that_fails_leaves_the_old_list_and_is_tried_again_at_a_distance() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        let first = loaded(&process.keeper).await;
        outside.broker.world().masters_down = true;
        outside.broker.world().master_rows = more_rows();
        clock_shows(&outside, "2026-02-11T10:40").await;
        assert_eq!(process.keeper.status(), Some(first));
        assert!(knows(&process.master, FUTURE));
        let tries = downloads(&outside.broker) - 1;
        assert!((200..1_000).contains(&tries), "{tries} tries in two hours");
        outside.broker.world().masters_down = false;
        until("the new list", || knows(&process.master, (Exchange::Nse, "NEWCO"))).await;
        let tries = downloads(&outside.broker);
        clock_shows(&outside, "2026-02-12T08:39").await;
        assert_eq!(downloads(&outside.broker), tries);
    });
}

#[test]
fn contracts_that_have_expired_leave_an_old_list_although_no_new_one_comes() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        clock_shows(&outside, "2026-02-24T06:00").await;
        outside.broker.world().masters_down = true;
        clock_shows(&outside, "2026-02-24T23:59").await;
        assert!(knows(&process.master, FUTURE), "on its last day it trades");
        let before = process.keeper.status().expect("a list").instruments;
        clock_shows(&outside, "2026-02-25T00:01").await;
        assert!(!knows(&process.master, FUTURE) && knows(&process.master, (Exchange::Nse, "RELIANCE")));
        assert_eq!(process.keeper.status().expect("a list").instruments, before - 1);
        process.stop().await;

        // The copy on disk still names it.
        clock_shows(&outside, "2026-02-25T10:00").await;
        let process = outside.process();
        assert!(loaded(&process.keeper).await.from_disk);
        assert!(!knows(&process.master, FUTURE) && knows(&process.master, (Exchange::Nse, "RELIANCE")));
        process.stop().await;
    });
}

#[test]
fn an_account_without_a_token_does_not_hold_the_others_up() {
    run(|| async {
        let outside = Outside::new();
        let other = FakeBroker::new(Arc::clone(&outside.clock));
        for script in
            [Script::Fail(Error::Credentials { description: "Invalid App Key".to_owned() }), Script::Hang]
        {
            outside.broker.world().market_logins.push_back(script);
            let before = outside.clock.now();
            let two = several(&outside, &[&outside.broker, &other]);
            assert!(!loaded(&two.keeper).await.from_disk);
            assert!(outside.clock.now().since(before) < Duration::from_secs(10));
            assert_eq!((downloads(&outside.broker), downloads(&other)), (0, 1));
            // And so it is in the morning.
            assert_ne!(two.sessions[0].status().market.state, "valid");
            for session in &two.sessions {
                session.stop().await;
            }
            std::fs::remove_file(outside.dir.path().join("master.txt")).expect("the copy is there");
            other.world().downloads = 0;
        }
        let refusal = Script::Fail(Error::Credentials { description: "Invalid App Key".to_owned() });
        outside.broker.world().market_logins.push_back(refusal);
        let two = several(&outside, &[&outside.broker, &other]);
        loaded(&two.keeper).await;
        clock_shows(&outside, "2026-02-11T08:41").await;
        assert_eq!((downloads(&outside.broker), downloads(&other)), (0, 2));
        assert_eq!(outside.broker.world().login_attempts[MARKET], 3, "nobody asks for another login");
    });
}

#[test]
fn a_failed_download_passes_to_the_next_account_and_all_accounts_share_the_list() {
    run(|| async {
        let outside = Outside::new();
        let other = FakeBroker::new(Arc::clone(&outside.clock));
        outside.broker.world().masters_down = true;
        let two = several(&outside, &[&outside.broker, &other]);
        assert!(!loaded(&two.keeper).await.from_disk);
        assert_eq!((downloads(&outside.broker), downloads(&other)), (1, 1));
        clock_shows(&outside, "2026-02-11T08:41").await;
        assert_eq!((downloads(&outside.broker), downloads(&other)), (2, 2));
        // Neither is asked as long as its rate limit says so.
        let limited = || {
            let (retry_after, description) = (Some(Duration::from_mins(20)), "slow down".to_owned());
            Script::Fail(Error::RateLimited { retry_after, description })
        };
        outside.broker.world().masters_down = false;
        outside.broker.world().masters.push_back(limited());
        other.world().masters.push_back(limited());
        clock_shows(&outside, "2026-02-12T08:59").await;
        assert_eq!((downloads(&outside.broker), downloads(&other)), (3, 3));
        clock_shows(&outside, "2026-02-12T09:01").await;
        assert_eq!((downloads(&outside.broker), downloads(&other)), (4, 3));
        assert!(knows(&two.master, FUTURE));
    });
}

#[test]
fn a_token_refused_at_the_download_costs_one_login() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().masters.push_back(Script::Fail(refused()));
        let process = outside.process();
        loaded(&process.keeper).await;
        assert_eq!((downloads(&outside.broker), outside.broker.world().logins[MARKET]), (2, 2));
    });
}

#[test]
fn a_list_without_a_whole_exchange_is_believed_only_after_some_tries() {
    run(|| async {
        let outside = Outside::new();
        let process = outside.process();
        loaded(&process.keeper).await;
        // For a moment, then for good.
        outside.broker.world().master_rows = shares_only();
        clock_shows(&outside, "2026-02-11T08:42").await;
        assert!(knows(&process.master, FUTURE));
        outside.broker.world().master_rows = more_rows();
        clock_shows(&outside, "2026-02-11T08:50").await;
        assert!(knows(&process.master, FUTURE) && knows(&process.master, (Exchange::Nse, "NEWCO")));
        outside.broker.world().master_rows = shares_only();
        let before = downloads(&outside.broker);
        clock_shows(&outside, "2026-02-12T08:43").await;
        assert!(knows(&process.master, FUTURE));
        clock_shows(&outside, "2026-02-12T08:50").await;
        assert!(!knows(&process.master, FUTURE));
        assert_eq!(downloads(&outside.broker) - before, 5);
    });
}

#[test]
fn a_panic_while_downloading_is_survived_and_a_stopped_keeper_downloads_no_more() {
    run(|| async {
        let outside = Outside::new();
        outside.broker.world().masters.push_back(Script::Panic);
        let process = outside.process();
        loaded(&process.keeper).await;
        assert_eq!(downloads(&outside.broker), 2);
        process.keeper.stop();
        clock_shows(&outside, "2026-02-12T09:00").await;
        assert_eq!(downloads(&outside.broker), 2);
        assert!(process.keeper.status().is_some());
    });
}
