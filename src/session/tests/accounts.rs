//! Several accounts in one process: each with its own tokens and feed, one hub, one store.

use super::*;
use crate::broker::Error;
use crate::session::tests::broker::{Item, Script};
use crate::token::Product;

const MARKET: usize = Product::Market as usize;

struct Two {
    hub: Hub,
    shard: ShardQueue,
    sessions: Vec<SessionHandle>,
    _store: Store,
}

fn start_two(outside: &Outside, brokers: &[FakeBroker; 2]) -> Two {
    let (store, _) = Store::open(outside.dir.path(), &*outside.clock).expect("the store opens");
    let cipher =
        Cipher::new(&Secret::new(KEY), "test", Arc::clone(&outside.clock)).expect("the key is valid");
    let hub = Hub::new("test");
    hub.set_feeds(2);
    let shard = hub.attach_shard();
    let spread = Spread::new(&[3, 5]);
    let sessions = brokers.iter().zip(["alice", "bob"]).enumerate().map(|(at, (broker, name))| {
        start(Deps {
            account: name.to_owned(),
            broker: Arc::new(broker.clone()),
            tokens: TokenStore::open(&store, cipher.clone()).expect("the tree opens"),
            ledger: Ledger::open(&store).expect("the tree opens"),
            audit: Audit::open(&store).expect("the tree opens"),
            feed: FeedId(at as u32),
            spread: spread.clone(),
            hub: hub.clone(),
            master: MasterHandle::new(),
            clock: Arc::clone(&outside.clock),
            calendar: outside.calendar,
            data_dir: outside.dir.path().to_owned(),
            settings: outside.settings.clone(),
            orders: outside.orders.clone(),
            seed: 7 + at as u64,
        })
    });
    Two { sessions: sessions.collect(), hub, shard, _store: store }
}

impl Two {
    fn want(&self, codes: std::ops::RangeInclusive<u32>) {
        for code in codes {
            let instrument = InstrumentId { segment: Segment::NseCash, code };
            let symbol = code.to_string().into();
            let key = TopicKey {
                instrument,
                mode: Mode::Ltp,
                encoding: Encoding::Json,
                exchange: Exchange::Nse,
                symbol,
            };
            self.hub.acquire(self.shard.id(), key);
        }
    }

    fn confirmed(&self) -> [usize; 2] {
        std::array::from_fn(|at| self.sessions[at].status().feed.confirmed)
    }
}

fn brokers(outside: &Outside) -> [FakeBroker; 2] {
    std::array::from_fn(|_| FakeBroker::new(Arc::clone(&outside.clock)))
}

#[test]
fn what_is_wanted_is_shared_by_the_limits_and_nothing_comes_twice() {
    run(|| async {
        let outside = Outside::new();
        let brokers = brokers(&outside);
        let mut two = start_two(&outside, &brokers);
        two.want(1..=8);
        until("all to be confirmed", || two.confirmed() == [3, 5]).await;
        let held: usize = brokers.iter().map(|broker| broker.world().held.len()).sum();
        assert_eq!(held, 8);
        while two.shard.try_recv().is_some() {}
        // A venue that sends more than was asked for does not make two of one.
        let carrier = usize::from(brokers[0].world().held.iter().all(|(i, _)| i.code != 1));
        let instrument = InstrumentId { segment: Segment::NseCash, code: 1 };
        for broker in &brokers {
            let tick = broker.tick(instrument, 500 + carrier as i64);
            broker.world().push(Item::Tick(tick));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut frames = 0;
        while let Some(event) = two.shard.try_recv() {
            if let ShardEvent::Batch(batch) = event {
                frames += batch.entries.len();
            }
        }
        assert_eq!(frames, 1);
    });
}

#[test]
fn an_account_that_needs_an_operator_leaves_its_instruments_to_the_other() {
    run(|| async {
        let outside = Outside::new();
        let brokers = brokers(&outside);
        let refusal = Script::Fail(Error::Credentials { description: "Invalid App Key".to_owned() });
        brokers[0].world().market_logins.push_back(refusal);
        let two = start_two(&outside, &brokers);
        two.want(1..=4);
        until("bob to carry all", || two.confirmed() == [0, 4]).await;
        assert_eq!(two.sessions[0].status().market.state, "needs_operator");
        assert_eq!(two.sessions[1].status().feed.state, "live");
        assert_eq!(brokers[1].world().logins[MARKET], 1);
        two.sessions[0].refresh(Product::Market, "test").await.expect("logs in");
        two.want(5..=6);
        until("alice to carry what is new", || two.confirmed() == [1, 5] || two.confirmed() == [2, 4]).await;
    });
}

#[test]
fn an_account_that_does_not_answer_holds_nobody_up_and_its_instruments_move_after_a_while() {
    run(|| async {
        let mut outside = Outside::new();
        // No tick comes in this test, and none is missed.
        outside.settings.tick_idle_timeout_ms = 0;
        let brokers = brokers(&outside);
        let two = start_two(&outside, &brokers);
        two.want(1..=4);
        until("both to carry some", || two.confirmed().iter().sum::<usize>() == 4).await;
        let alices = two.confirmed()[0];
        assert!(alices > 0);
        // Alice's broker goes away for good.
        for _ in 0..500 {
            brokers[0].world().opens.push_back(Script::Hang);
        }
        brokers[0].world().push(Item::End(crate::broker::FeedEnd::Silent));
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(two.confirmed()[1], 4 - alices);
        until("bob to carry all", || two.confirmed()[1] == 4).await;
        assert_eq!(brokers[0].world().logins, [1, 1]);
        assert_eq!(brokers[1].world().logins, [1, 1]);
    });
}

#[test]
fn an_account_that_gives_up_takes_nobody_with_it() {
    run(|| async {
        let outside = Outside::new();
        let brokers = brokers(&outside);
        for _ in 0..200 {
            brokers[0].world().opens.push_back(Script::Panic);
        }
        let two = start_two(&outside, &brokers);
        two.want(1..=4);
        let gave_up = tokio::time::timeout(Duration::from_mins(10), two.sessions[0].failed());
        gave_up.await.expect("it gives up");
        until("bob to carry all", || two.confirmed()[1] == 4).await;
        assert!(two.sessions[1].health().await.is_ok());
    });
}
