//! Several accounts in one process: each with its own tokens and feed, one hub, one store.

use std::collections::BTreeSet;

use super::*;
use crate::broker::Error;
use crate::hub::Part;
use crate::market::Kind;
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
    start_granted(outside, brokers, [3, 5])
}

/// Two accounts that are granted so many subscriptions.
fn start_granted(outside: &Outside, brokers: &[FakeBroker; 2], granted: [usize; 2]) -> Two {
    for (broker, granted) in brokers.iter().zip(granted) {
        broker.world().max_subscriptions = Some(granted);
    }
    let (store, _) = Store::open(outside.dir.path(), &*outside.clock).expect("the store opens");
    let cipher =
        Cipher::new(&Secret::new(KEY), "test", Arc::clone(&outside.clock)).expect("the key is valid");
    let hub = Hub::new("test");
    hub.set_feeds(2);
    let shard = hub.attach_shard();
    let spread = Spread::new(&granted);
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
            self.take(code, Mode::Ltp);
        }
    }

    fn take(&self, code: u32, mode: Mode) -> TopicId {
        let key = TopicKey {
            instrument: id(code),
            mode,
            encoding: Encoding::Json,
            exchange: Exchange::Nse,
            symbol: code.to_string().into(),
        };
        self.hub.acquire(self.shard.id(), key)
    }

    fn confirmed(&self) -> [usize; 2] {
        std::array::from_fn(|at| self.sessions[at].status().feed.confirmed)
    }
}

fn id(code: u32) -> InstrumentId {
    InstrumentId { segment: Segment::NseCash, code }
}

/// What a broker sends of the instruments of which it sends such data.
fn held(broker: &FakeBroker, kind: Kind) -> BTreeSet<u32> {
    broker.world().held.iter().filter(|pair| pair.1 == kind).map(|pair| pair.0.code).collect()
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

#[test]
fn bars_go_where_there_is_room_for_them_and_take_their_prices_along() {
    run(|| async {
        let mut outside = Outside::new();
        outside.settings.tick_idle_timeout_ms = 0;
        let brokers = brokers(&outside);
        let two = start_granted(&outside, &brokers, [3, 3]);
        two.want(1..=4);
        until("both to carry two", || two.confirmed() == [2, 2]).await;
        // One account has a slot for the bars of one of its two, but not of both. The other has one too, so
        // that one instrument has to make room.
        let first = held(&brokers[0], Kind::Quote);
        for code in &first {
            two.take(*code, Mode::Bar);
        }
        let all_held = || -> usize { brokers.iter().map(|broker| broker.world().held.len()).sum() };
        let have_bars = || {
            let [a, b] = [0, 1].map(|at| held(&brokers[at], Kind::Bar));
            a.union(&b).copied().collect::<BTreeSet<_>>() == first
        };
        until("all six slots to be used", || all_held() == 6 && have_bars()).await;
        for broker in &brokers {
            let (prices, bars) = (held(broker, Kind::Quote), held(broker, Kind::Bar));
            assert!(prices.is_superset(&bars), "an instrument is one account's: {prices:?} {bars:?}");
        }
        for part in [Part::Prices, Part::Bars] {
            assert!((1..=4).all(|code| two.hub.rejection(id(code), part).is_none()));
        }
    });
}

#[test]
fn bars_that_were_refused_for_want_of_room_move_when_the_other_account_has_some() {
    run(|| async {
        let mut outside = Outside::new();
        outside.settings.tick_idle_timeout_ms = 0;
        let brokers = brokers(&outside);
        let two = start_granted(&outside, &brokers, [3, 3]);
        let topics: Vec<_> = (1..=6).map(|code| two.take(code, Mode::Ltp)).collect();
        until("both to be full", || two.confirmed() == [3, 3]).await;
        let [first, second] = [0, 1].map(|at| held(&brokers[at], Kind::Quote));
        let code = *first.first().unwrap();
        two.take(code, Mode::Bar);
        until("the refusal", || two.hub.rejection(id(code), Part::Bars).is_some()).await;
        assert!(two.hub.rejection(id(code), Part::Prices).is_none());
        assert_eq!(
            [0, 1].map(|at| held(&brokers[at], Kind::Quote)),
            [first, second.clone()],
            "nothing moves"
        );
        for code in second.iter().take(2) {
            two.hub.release(topics[*code as usize - 1]);
        }
        until("the bars to come from the other", || held(&brokers[1], Kind::Bar).contains(&code)).await;
        until("the first to let go", || !held(&brokers[0], Kind::Quote).contains(&code)).await;
        assert!(held(&brokers[1], Kind::Quote).contains(&code));
        for part in [Part::Prices, Part::Bars] {
            assert!(two.hub.rejection(id(code), part).is_none(), "the former owner's refusal is gone");
        }
    });
}
