use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{advance, sleep, timeout};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Makes a call that takes `latency`, and notes when it reached the broker.
async fn call(queue: &Queue, path: Path, latency: Duration, log: &Mutex<Vec<(Path, Instant)>>) {
    let turn = queue.turn(path, true, queue.deadline(path)).await.unwrap();
    // Somewhere on the way: here and there at once, here and there at the very end.
    let there = latency.mul_f64(f64::from(log.lock().unwrap().len() as u32 % 3) / 2.0);
    sleep(there).await;
    log.lock().unwrap().push((path, Instant::now()));
    sleep(latency.saturating_sub(there)).await;
    drop(turn);
}

/// The most calls of `paths` that reached the broker within any second.
fn most_in_a_second(log: &[(Path, Instant)], paths: &[Path]) -> usize {
    let times: Vec<Instant> = log.iter().filter(|(p, _)| paths.contains(p)).map(|(_, at)| *at).collect();
    times
        .iter()
        .map(|from| times.iter().filter(|at| *from <= **at && **at < *from + SECOND).count())
        .max()
        .unwrap()
}

fn patient() -> Settings {
    Settings { queue_timeout_ms: 300_000, orders_queue_timeout_ms: 300_000, ..Settings::default() }
}

#[tokio::test(start_paused = true)]
async fn five_hundred_calls_at_once_keep_to_every_rate_and_none_starves() {
    let books = [
        Path::Balance,
        Path::Profile,
        Path::OrderBook,
        Path::TradeBook,
        Path::Holdings,
        Path::Positions,
        Path::Status,
        Path::Messages,
        Path::CancelAll,
    ];
    for apart in [true, false] {
        for latency in [0, 3, 130] {
            let queue = Queue::interactive(&Settings { orders_apart: apart, ..patient() });
            let log = Mutex::new(Vec::new());
            let latency = Duration::from_millis(latency);
            let paths = (0..500).map(|n| match n % 10 {
                0..6 => Path::Orders,
                6 => Path::Convert,
                _ => books[n / 10 % books.len()],
            });
            join_all(paths.map(|path| call(&queue, path, latency, &log))).await;
            let log = log.into_inner().unwrap();
            assert_eq!(log.len(), 500);
            assert!(most_in_a_second(&log, &[Path::Orders]) <= 10, "{apart} {latency:?}");
            assert!(most_in_a_second(&log, &[Path::Convert]) <= 10, "{apart} {latency:?}");
            for book in books {
                assert_eq!(most_in_a_second(&log, &[book]), 1, "{apart} {latency:?} {book:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn market_calls_keep_to_five_a_second_and_take_turns() {
    let queue = Queue::market(&patient());
    let log = Mutex::new(Vec::new());
    let begin = Instant::now();
    let paths =
        (0..400).map(|_| Path::Quotes).chain((0..10).flat_map(|_| [Path::Subscription, Path::History]));
    let latency = Duration::from_millis(15);
    join_all(paths.map(|path| call(&queue, path, latency, &log))).await;
    let log = log.into_inner().unwrap();
    assert_eq!(log.len(), 420);
    assert!(most_in_a_second(&log, &[Path::Quotes, Path::Subscription, Path::History]) <= 5);
    assert!(most_in_a_second(&log, &[Path::Subscription]) <= 2);
    let last_history = log.iter().rposition(|(path, _)| *path == Path::History).unwrap();
    assert!(last_history < 40, "the quotes let others go between: {last_history}");
    assert!(begin.elapsed() < 100 * SECOND, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_order_waits_for_no_book_and_goes_first_where_it_must_share() {
    let queue = Queue::interactive(&patient());
    let slow = queue.turn(Path::Positions, true, queue.deadline(Path::Positions)).await.unwrap();
    let now = Instant::now();
    drop(queue.turn(Path::Orders, true, queue.deadline(Path::Orders)).await.unwrap());
    assert_eq!(now.elapsed(), Duration::ZERO);
    drop(slow);

    let queue = Queue::interactive(&Settings { orders_apart: false, ..patient() });
    let slow = queue.turn(Path::Positions, true, queue.deadline(Path::Positions)).await.unwrap();
    let order = AtomicUsize::new(0);
    let (queue, order) = (&queue, &order);
    let note = |path: Path| async move {
        drop(queue.turn(path, true, queue.deadline(path)).await.unwrap());
        (path, order.fetch_add(1, Ordering::Relaxed))
    };
    let mut all: FuturesUnordered<_> = [Path::Balance, Path::Holdings].into_iter().map(note).collect();
    for _ in 0..8 {
        all.push(note(Path::Orders));
    }
    assert!(timeout(SECOND, all.next()).await.is_err());
    drop(slow);
    let mut went: Vec<_> = all.collect().await;
    went.sort_by_key(|(_, at)| *at);
    let books: Vec<_> = went.iter().enumerate().filter(|(_, (path, _))| *path != Path::Orders).collect();
    assert_eq!(books.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [4, 9]);
}

#[tokio::test(start_paused = true)]
async fn hostlookup_waits_for_no_book_that_hangs() {
    let queue = Queue::interactive(&patient());
    let _hangs = queue.turn(Path::Positions, true, queue.deadline(Path::Positions)).await.unwrap();
    let now = Instant::now();
    drop(queue.turn(Path::Host, true, queue.deadline(Path::Host)).await.unwrap());
    assert_eq!(now.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_takes_back_or_closes_waits_for_no_order_that_hangs() {
    let closing = [Path::Cancel, Path::SquareOff, Path::CancelAll];
    let queue = Queue::interactive(&patient());
    let hangs = queue.turn(Path::Orders, true, queue.deadline(Path::Orders)).await.unwrap();
    let now = Instant::now();
    for path in closing {
        drop(queue.turn(path, true, queue.deadline(path)).await.unwrap());
    }
    assert_eq!(now.elapsed(), Duration::ZERO);
    let soon = now + SECOND;
    assert!(queue.turn(Path::Orders, true, soon).await.is_err(), "an order waits for the one before it");
    drop(hangs);

    // A server that takes one call at a time is sent one at a time.
    let queue = Queue::interactive(&Settings { orders_apart: false, ..patient() });
    let _hangs = queue.turn(Path::Orders, true, queue.deadline(Path::Orders)).await.unwrap();
    for path in closing {
        assert!(queue.turn(path, true, Instant::now() + SECOND).await.is_err(), "{path:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn cancellations_count_with_orders_and_take_turns_with_them() {
    let queue = Queue::interactive(&patient());
    let log = Mutex::new(Vec::new());
    let paths = (0..200).map(|_| Path::Orders).chain((0..20).map(|_| Path::Cancel));
    join_all(paths.map(|path| call(&queue, path, Duration::from_millis(15), &log))).await;
    let log = log.into_inner().unwrap();
    assert_eq!(log.len(), 220);
    assert!(most_in_a_second(&log, &[Path::Orders, Path::Cancel]) <= 10);
    let last_cancel = log.iter().rposition(|(path, _)| *path == Path::Cancel).unwrap();
    assert!(last_cancel < 45, "orders let cancellations go between: {last_cancel}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_orders_keeps_cancellations_a_moment_only() {
    let queue = Queue::interactive(&patient());
    // One has gone, so that the order that waits has waited longer.
    drop(queue.turn(Path::Cancel, true, queue.deadline(Path::Cancel)).await.unwrap());
    advance(2 * SECOND).await;
    let begin = Instant::now();
    queue.pause(Path::Orders, Some(200 * SECOND));
    let order = queue.turn(Path::Orders, true, queue.deadline(Path::Orders));
    let cancels = async {
        for _ in 0..3 {
            drop(queue.turn(Path::Cancel, true, queue.deadline(Path::Cancel)).await.unwrap());
        }
        begin.elapsed()
    };
    let (order, cancelled) = tokio::join!(order, cancels);
    drop(order.unwrap());
    assert_eq!((cancelled, begin.elapsed()), (2 * SECOND, 200 * SECOND));
    // The same of a pause that a cancellation was asked for; a shorter one does not end it.
    queue.pause(Path::Cancel, Some(600 * SECOND));
    queue.pause(Path::Cancel, None);
    let begin = Instant::now();
    drop(queue.turn(Path::Cancel, true, queue.deadline(Path::Cancel)).await.unwrap());
    assert_eq!(begin.elapsed(), 2 * SECOND);
    let refused = queue.turn(Path::Orders, true, queue.deadline(Path::Orders)).await.unwrap_err();
    assert_eq!(refused.retry_after(), Some(598 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_comes_too_late_is_not_taken() {
    let queue = Queue::interactive(&patient());
    let begin = Instant::now();
    let late = queue.turn(Path::Orders, true, begin);
    advance(SECOND).await;
    assert!(matches!(late.await, Err(Error::NoTurn(_))), "though the way is free");
    assert_eq!(queue.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_does_not_come_is_not_sent() {
    let queue = Queue::interactive(&Settings { queue_length: 2, ..Settings::default() });
    let held = queue.turn(Path::Balance, true, queue.deadline(Path::Balance)).await.unwrap();
    let soon = Instant::now() + SECOND;
    let (late, other, refused) = tokio::join!(
        queue.turn(Path::Holdings, true, soon),
        queue.turn(Path::Positions, true, soon),
        queue.turn(Path::Positions, true, soon),
    );
    for error in [late.unwrap_err(), other.unwrap_err(), refused.unwrap_err()] {
        assert!(matches!(error, Error::NoTurn(_)) && !error.is_unclear(), "{error}");
    }
    assert_eq!(Instant::now(), soon);
    assert_eq!(queue.waiting(), 0);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_keeps_nobody_waiting() {
    let queue = Queue::interactive(&patient());
    let held = queue.turn(Path::Balance, true, queue.deadline(Path::Balance)).await.unwrap();
    let deadline = queue.deadline(Path::Balance);
    {
        let gone = queue.turn(Path::Balance, true, deadline);
        assert!(timeout(SECOND, gone).await.is_err());
    }
    assert_eq!(queue.waiting(), 0);
    let (next, ()) = tokio::join!(queue.turn(Path::Holdings, true, deadline), async { drop(held) });
    drop(next.unwrap());
    // A waiter that was woken and dropped before it could go.
    let held = queue.turn(Path::Positions, true, deadline).await.unwrap();
    let mut first = Box::pin(queue.turn(Path::Status, true, deadline));
    let mut second = Box::pin(queue.turn(Path::Messages, true, deadline));
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    drop(held);
    drop(first);
    timeout(SECOND, second).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_broker_asks_for_is_kept() {
    let queue = Queue::interactive(&Settings::default());
    queue.pause(Path::Balance, Some(5 * SECOND));
    let begin = Instant::now();
    drop(queue.turn(Path::Holdings, true, queue.deadline(Path::Holdings)).await.unwrap());
    assert_eq!(begin.elapsed(), Duration::ZERO, "another path");
    drop(queue.turn(Path::Balance, true, queue.deadline(Path::Balance)).await.unwrap());
    assert_eq!(begin.elapsed(), 5 * SECOND);
    // Longer than anybody waits: said at once, with the time.
    queue.pause(Path::Balance, Some(600 * SECOND));
    let refused = queue.turn(Path::Balance, true, queue.deadline(Path::Balance)).await.unwrap_err();
    assert_eq!(refused.retry_after(), Some(600 * SECOND));

    let queue =
        Queue::market(&Settings { request_interval_ms: 0, quotes_interval_ms: 0, ..Settings::default() });
    queue.pause(Path::Quotes, None);
    let begin = Instant::now();
    drop(queue.turn(Path::Session, true, queue.deadline(Path::Session)).await.unwrap());
    assert_eq!(begin.elapsed(), Duration::ZERO, "a login is its owner's to pace");
    drop(queue.turn(Path::History, true, queue.deadline(Path::History)).await.unwrap());
    assert_eq!(begin.elapsed(), SECOND, "market data is limited as a whole");
}

#[tokio::test(start_paused = true)]
async fn downloads_count_but_keep_nobody_waiting() {
    let queue = Queue::market(&Settings { request_interval_ms: 500, ..Settings::default() });
    let deadline = queue.deadline(Path::LookUp);
    let begin = Instant::now();
    let download = queue.turn(Path::LookUp, false, deadline).await.unwrap();
    drop(queue.turn(Path::History, true, deadline).await.unwrap());
    assert_eq!(begin.elapsed(), Duration::from_millis(500));
    // Two in a second are allowed, and one of them is not over yet.
    advance(2 * SECOND).await;
    drop(queue.turn(Path::History, true, deadline).await.unwrap());
    assert_eq!(begin.elapsed(), Duration::from_millis(2_500));
    drop(download);
}

#[tokio::test(start_paused = true)]
async fn without_limits_nobody_waits() {
    let none = Settings {
        request_interval_ms: 0,
        quotes_interval_ms: 0,
        subscription_interval_ms: 0,
        book_interval_ms: 0,
        orders_per_s: 0,
        ..Settings::default()
    };
    let begin = Instant::now();
    for queue in [Queue::market(&none), Queue::interactive(&none)] {
        for path in [Path::Quotes, Path::Orders, Path::Balance, Path::Quotes, Path::Orders, Path::Balance] {
            drop(queue.turn(path, true, queue.deadline(path)).await.unwrap());
        }
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
}
