//! What consumers see when another instrument list is put in force.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::market::master::Master;

const NOT_LISTED: &str = "the instrument is no longer listed";

/// A list of shares on NSE: symbol and number each, as [`instrument`] counts them.
fn list(shares: &[(&str, u32)]) -> Arc<Master> {
    let mut builder = MasterBuilder::new();
    for (symbol, number) in shares {
        let code = 1000 + number;
        builder.add_rows(&format!(
            "NSECM|{code}|8|{symbol}|{symbol}-EQ|EQ|{symbol}-EQ|{code}|1598|1307.6|676621|0.1|1|1|{symbol}|INE002A01018|1|1|A COMPANY|0|1|1\n"
        ));
    }
    let (master, report) = builder.finish();
    assert_eq!((report.instruments, report.bad_rows), (shares.len(), 0), "{report:?}");
    Arc::new(master)
}

async fn rig(shares: &[(&str, u32)]) -> Rig {
    let rig = Rig::without_master(|_| ()).await;
    rig.master.store(list(shares));
    rig
}

impl Rig {
    fn wanted(&self) -> Vec<u32> {
        let mut wanted: Vec<_> =
            self.hub.wanted().into_iter().map(|(instrument, _)| instrument.code - 1000).collect();
        wanted.sort_unstable();
        wanted
    }
}

impl Client {
    async fn subscribe_to(&mut self, symbols: &[&str], mode: u8) -> Value {
        let symbols: Vec<_> = symbols.iter().map(|s| json!({"symbol": s, "exchange": "NSE"})).collect();
        self.ask(json!({"action": "subscribe", "symbols": symbols, "mode": mode})).await
    }

    /// Symbol, mode and price of the next frame.
    async fn priced(&mut self) -> (String, i64, f64) {
        let frame = self.next().await;
        let price = frame["data"]["ltp"].as_f64().unwrap_or_else(|| panic!("{frame}"));
        (frame["symbol"].as_str().unwrap().to_owned(), frame["mode"].as_i64().unwrap(), price)
    }

    /// Nothing is on the way to it.
    async fn hears_nothing_else(&mut self) {
        let answer = self.ask(json!({"action": "ping"})).await;
        assert_eq!(answer["type"], "pong", "{answer}");
    }
}

fn priced(symbol: &str, mode: i64, price: f64) -> (String, i64, f64) {
    (symbol.to_owned(), mode, price)
}

fn not_listed(symbol: &str) -> Value {
    json!({"status":"error","code":"SUBSCRIPTION_REJECTED","message":NOT_LISTED,"symbol":symbol,"exchange":"NSE"})
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_follow_a_name_to_its_new_number_and_see_no_price_of_the_old_one() {
    let mut rig = rig(&[("A", 1), ("B", 2)]).await;
    let (mut mover, mut other) = (rig.authenticated().await, rig.authenticated().await);
    for mode in 1..=2 {
        mover.subscribe_to(&["A"], mode).await;
    }
    other.subscribe_to(&["B"], 1).await;
    rig.quote(1, 1_000);
    assert_eq!([mover.priced().await, mover.priced().await], [priced("A", 1, 10.0), priced("A", 2, 10.0)]);

    // The number is another contract's from here on: this must reach nobody as A.
    rig.master.store(list(&[("A", 7), ("B", 2), ("C", 1)]));
    rig.quote(1, 9_900);
    wait_for("the move", || rig.wanted() == [2, 7]).await;
    rig.quote(1, 9_900);
    rig.quote(7, 2_000);
    rig.quote(2, 3_000);
    assert_eq!([mover.priced().await, mover.priced().await], [priced("A", 1, 20.0), priced("A", 2, 20.0)]);
    assert_eq!(other.priced().await, priced("B", 1, 30.0));
    for client in [&mut mover, &mut other] {
        client.hears_nothing_else().await;
    }
    // It unsubscribes by the name, as it subscribed.
    let ack = mover
        .ask(json!({"action": "unsubscribe", "symbols": [{"symbol": "A", "exchange": "NSE", "mode": 1}]}))
        .await;
    assert_eq!(ack["status"], "success");
    rig.quote(7, 2_100);
    assert_eq!(mover.priced().await, priced("A", 2, 21.0));
    let ack = mover.ask(json!({"action": "unsubscribe_all"})).await;
    assert_eq!(ack["successful"].as_array().map(Vec::len), Some(1), "{ack}");
    wait_for("it to be left", || rig.wanted() == [2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_gets_the_last_value_of_the_new_number_as_a_new_subscriber_does() {
    let mut rig = rig(&[("A", 1), ("B", 2)]).await;
    let (mut first, mut second) = (rig.authenticated().await, rig.authenticated().await);
    first.subscribe_to(&["A"], 1).await;
    rig.quote(1, 1_000);
    assert_eq!(first.priced().await, priced("A", 1, 10.0));
    rig.master.store(list(&[("A", 7), ("B", 2)]));
    wait_for("the move", || rig.wanted() == [7]).await;
    // The session subscribes it upstream, and a snapshot comes with the answer.
    rig.publisher.publish_snapshot(SystemClock.now(), &[quote(7, 2_000)]);
    rig.publisher.flush();
    assert_eq!(first.priced().await, priced("A", 1, 20.0));
    // A later subscriber of the same name shares the topic.
    second.subscribe_to(&["A"], 1).await;
    assert_eq!(second.priced().await, priced("A", 1, 20.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_of_a_name_that_is_gone_are_told_once_and_the_others_hear_nothing() {
    let mut rig = rig(&[("A", 1), ("B", 2)]).await;
    let (mut holder, mut other) = (rig.authenticated().await, rig.authenticated().await);
    for mode in 1..=3 {
        holder.subscribe_to(&["A", "B"], mode).await;
    }
    other.subscribe_to(&["B"], 1).await;
    rig.master.store(list(&[("B", 2), ("C", 3)]));
    assert_eq!(holder.next().await, not_listed("A"));
    wait_for("it to be left", || rig.wanted() == [2]).await;
    rig.quote(1, 9_900);
    for client in [&mut holder, &mut other] {
        client.hears_nothing_else().await;
    }
    rig.quote(2, 3_000);
    assert_eq!([holder.priced().await, holder.priced().await], [priced("B", 1, 30.0), priced("B", 2, 30.0)]);
    assert_eq!(other.priced().await, priced("B", 1, 30.0));
    // What it no longer holds it may still unsubscribe, and not subscribe.
    let ack = holder.ask(json!({"action": "unsubscribe", "symbol": "A", "exchange": "NSE", "mode": 1})).await;
    assert_eq!(ack["status"], "success");
    let ack = holder.subscribe_to(&["A"], 1).await;
    assert_eq!(ack["subscriptions"][0]["message"], "Symbol A not found for exchange NSE");
    // The same list again changes nothing.
    rig.master.store(list(&[("B", 2), ("C", 3)]));
    rig.quote(2, 3_100);
    assert_eq!(other.priced().await, priced("B", 1, 31.0));
    other.hears_nothing_else().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_used_again_starts_without_the_prices_of_the_contract_before() {
    let mut rig = rig(&[("OLD", 1)]).await;
    let (mut holder, mut newcomer) = (rig.authenticated().await, rig.authenticated().await);
    holder.subscribe_to(&["OLD"], 1).await;
    rig.quote(1, 9_900);
    assert_eq!(holder.priced().await, priced("OLD", 1, 99.0));
    rig.master.store(list(&[("NEW", 1)]));
    assert_eq!(holder.next().await, not_listed("OLD"));
    assert_eq!(newcomer.subscribe_to(&["NEW"], 1).await["status"], "success");
    rig.publisher.refresh();
    rig.publisher.flush();
    newcomer.hears_nothing_else().await;
    rig.quote(1, 500);
    assert_eq!(newcomer.priced().await, priced("NEW", 1, 5.0));
    holder.hears_nothing_else().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_change_places_do_so_at_once_on_every_shard() {
    let mut rig = Rig::without_master(|s| s.shards = 3).await;
    rig.master.store(list(&[("A", 1), ("B", 2)]));
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = rig.authenticated().await;
        client.subscribe_to(&["A", "B"], 1).await;
        clients.push(client);
    }
    rig.publisher.publish(&[quote(1, 100), quote(2, 200)]);
    rig.publisher.flush();
    for client in &mut clients {
        assert_eq!(
            [client.priced().await, client.priced().await],
            [priced("A", 1, 1.0), priced("B", 1, 2.0)]
        );
    }
    rig.master.store(list(&[("A", 2), ("B", 1)]));
    // Whatever comes from now on, a frame of A is of number 2.
    for client in &mut clients {
        client.hears_nothing_else().await;
    }
    rig.publisher.publish(&[quote(1, 300), quote(2, 400)]);
    rig.publisher.flush();
    for client in &mut clients {
        let mut got = [client.priced().await, client.priced().await];
        got.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(got, [priced("A", 1, 4.0), priced("B", 1, 3.0)]);
    }
    assert_eq!(rig.wanted(), [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_number_that_the_broker_refuses_is_told_and_held() {
    let mut rig = rig(&[("A", 1)]).await;
    let mut client = rig.authenticated().await;
    for mode in 1..=2 {
        client.subscribe_to(&["A"], mode).await;
    }
    rig.hub.reject(instrument(7), Part::Prices, "no such scrip");
    rig.master.store(list(&[("A", 7)]));
    let expected = json!({"status":"error","code":"SUBSCRIPTION_REJECTED","message":"no such scrip","symbol":"A","exchange":"NSE"});
    assert_eq!(client.next().await, expected);
    client.hears_nothing_else().await;
    // It may be granted later.
    rig.quote(7, 2_000);
    assert_eq!(client.priced().await, priced("A", 1, 20.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn under_full_load_no_price_of_the_old_number_follows_the_change() {
    let rig = rig(&[("A", 1), ("B", 2)]).await;
    let mut client = rig.authenticated().await;
    client.subscribe_to(&["A", "B"], 1).await;
    let swapped = Arc::new(AtomicBool::new(false));
    let mut publisher = rig.hub.publisher(FeedId(1));
    let load = tokio::spawn({
        let swapped = Arc::clone(&swapped);
        async move {
            loop {
                // Number 1 costs 1 as A, and 2 once another has it.
                let paise = if swapped.load(Ordering::SeqCst) { 200 } else { 100 };
                publisher.publish(&[quote(1, paise), quote(2, 5_000), quote(7, 300)]);
                publisher.flush();
                publisher.ready().await;
                tokio::task::yield_now().await;
            }
        }
    });
    let mut frames = Vec::new();
    let reading = async {
        while frames.len() < 1_000 {
            frames.push(client.priced().await);
        }
        rig.master.store(list(&[("A", 7), ("B", 2)]));
        swapped.store(true, Ordering::SeqCst);
        while frames.last() != Some(&priced("A", 1, 3.0)) {
            frames.push(client.priced().await);
        }
        for _ in 0..1_000 {
            frames.push(client.priced().await);
        }
    };
    let read = timeout(PATIENCE, reading).await;
    load.abort();
    read.expect("the new number's price comes");
    let of_a: Vec<_> = frames.iter().filter(|(symbol, ..)| symbol == "A").map(|(.., price)| *price).collect();
    assert!(!of_a.contains(&2.0), "a price of the number's new owner was shown as A");
    assert!(of_a.is_sorted_by(|a, b| a <= b), "none of the old number after the new one");
}
