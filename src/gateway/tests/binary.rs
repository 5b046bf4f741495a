//! Consumers of the binary encoding: what they get, in which order, beside others that get JSON.

use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::*;
use crate::market::master::Master;
use crate::protocol::binary::{Body, Header, Records, SUBPROTOCOL};

/// A record, shown: what can be compared.
#[derive(Debug, PartialEq)]
struct Seen {
    header: Header,
    kind: u8,
    body: String,
}

/// What a message of the server was.
#[derive(Debug)]
enum Got {
    Records(Vec<Seen>),
    Json(Value),
}

impl Rig {
    pub(super) async fn binary(&self) -> Client {
        let socket = TcpStream::connect(self.gateway.addr()).await.unwrap();
        let mut request = format!("ws://{}/", self.gateway.addr()).into_client_request().unwrap();
        let offers = HeaderValue::from_static("graphql-ws, tickgate.v1");
        request.headers_mut().insert("Sec-WebSocket-Protocol", offers);
        let (socket, answer) = client_async(request, socket).await.unwrap();
        assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], SUBPROTOCOL);
        let mut client = Client { socket };
        let Got::Records(first) = client.got().await else { panic!("no hello") };
        assert_eq!((first.len(), first[0].kind, first[0].header.number), (1, 1, 0));
        assert_eq!(first[0].header.epoch, self.hub.life().epoch);
        client.authenticate(&self.key).await;
        client
    }
}

impl Client {
    async fn got(&mut self) -> Got {
        match self.message().await {
            Some(Ok(Message::Text(text))) => Got::Json(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Binary(bytes))) => {
                let seen = Records::new(&bytes).map(|record| {
                    let record = record.unwrap();
                    let body = match record.body().unwrap() {
                        Body::Directory(d) => format!(
                            "{}:{} {} tick {} lot {:?}",
                            d.exchange,
                            d.symbol,
                            d.code,
                            d.tick_size.unwrap(),
                            d.lot_size
                        ),
                        Body::Ltp(ltp) => format!("{} of {:?}", ltp.last.price, ltp.volume),
                        Body::Quote(fields) => {
                            format!("{} bid {}", fields.quote.last.price, fields.quote.bid.price)
                        }
                        body => format!("{body:?}"),
                    };
                    Seen { header: record.header(), kind: record.kind_number(), body }
                });
                Got::Records(seen.collect())
            }
            other => panic!("{other:?}"),
        }
    }

    async fn records(&mut self) -> Vec<Seen> {
        match self.got().await {
            Got::Records(records) => records,
            Got::Json(value) => panic!("{value}"),
        }
    }

    /// Subscribes by number: the directory's texts that follow the acknowledgement, by number.
    async fn subscribe_binary(&mut self, numbers: &[u32], mode: u8) -> BTreeMap<u32, String> {
        let ack = self.subscribe(numbers, mode).await;
        assert_eq!(ack["status"], "success", "{ack}");
        let records = self.records().await;
        assert!(records.iter().all(|seen| seen.kind == 2), "{records:?}");
        records.into_iter().map(|seen| (seen.header.number, seen.body)).collect()
    }
}

fn shown(seen: &Seen) -> (u32, u64, &str) {
    (seen.header.number, seen.header.seq, &seen.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn market_data_are_records_and_everything_else_is_as_ever() {
    let mut rig = Rig::start().await;
    let mut binary = rig.binary().await;
    let mut json = rig.authenticated().await;
    let directory = binary.subscribe_binary(&[1, 2], 1).await;
    let expected = ["NSE:S1 1001 tick 0.1 lot Some(1)", "NSE:S2 1002 tick 0.1 lot Some(1)"];
    assert_eq!(directory.values().collect::<Vec<_>>(), expected);
    let number = *directory.iter().find(|(_, text)| text.contains("S1 ")).unwrap().0;
    assert_eq!(json.subscribe(&[1], 1).await["status"], "success");
    for paise in [10_050, 10_060] {
        rig.quote(1, paise);
    }
    for (seq, text) in [(1, "100.5 of Some(10050)"), (2, "100.6 of Some(10060)")] {
        let records = binary.records().await;
        assert_eq!(records.iter().map(shown).collect::<Vec<_>>(), [(number, seq, text)]);
        assert!(records[0].header.ts_recv > UnixNanos::ZERO && records[0].header.ts_sent > UnixNanos::ZERO);
    }
    assert_eq!(json.next().await["data"]["ltp"], 100.5);
    assert_eq!(json.next().await["data"]["ltp"], 100.6);

    // The last value right behind the acknowledgement and the directory; the number is the instrument's.
    let mut late = rig.binary().await;
    assert_eq!(late.subscribe_binary(&[1], 1).await.into_keys().collect::<Vec<_>>(), [number]);
    assert_eq!(
        late.records().await.iter().map(shown).collect::<Vec<_>>(),
        [(number, 2, "100.6 of Some(10060)")]
    );
    assert_eq!(late.subscribe_binary(&[1], 2).await.into_keys().collect::<Vec<_>>(), [number]);
    rig.publisher.refresh();
    rig.publisher.flush();
    assert_eq!(late.records().await.iter().map(shown).collect::<Vec<_>>(), [(number, 2, "100.6 bid 100.6")]);

    assert_eq!(binary.ask(json!({"action": "ping"})).await["type"], "pong");
    assert_eq!(code(&binary.ask(json!({"action": "nonsense"})).await), "INVALID_ACTION");
    assert_eq!(binary.subscribe(&[1], 1).await["status"], "success");
    let left = json!({"action": "unsubscribe", "symbols": [{"symbol": "S1", "exchange": "NSE", "mode": 1}]});
    assert_eq!(binary.ask(left).await["status"], "success");
    rig.quote(1, 10_070);
    rig.quote(2, 20_000);
    let records = binary.records().await;
    assert_eq!(records[0].body, "200.0 of Some(20000)", "S1 was left");
    assert_eq!(json.next().await["data"]["ltp"], 100.7);

    rig.hub.reject(instrument(2), Part::Prices, "no such thing");
    assert_eq!(code(&binary.next().await), "SUBSCRIPTION_REJECTED");
    wait_for("the counts", || {
        // 3 to the first, 4 to the late one, 3 of JSON.
        let counts = rig.gateway.counts();
        (counts.frames, counts.binary_frames) == (10, 7)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_behind_is_told_what_a_number_means_before_it_sees_it() {
    let mut rig = Rig::with(|settings| settings.overflow_bytes = 2_000).await;
    let mut client = rig.binary().await;
    let all: Vec<u32> = (0..INSTRUMENTS).collect();
    let mut directory: BTreeMap<u32, String> = BTreeMap::new();
    directory.extend(client.subscribe_binary(&all[..100], 3).await);
    let mut paise = 1_000;
    let mut publish = |rig: &mut Rig, rounds| {
        for _ in 0..rounds {
            paise += 1;
            let ticks =
                all.iter().flat_map(|n| [quote(*n, paise), tick(*n, TickBody::Depth(Depth::default()))]);
            rig.publisher.publish(&ticks.collect::<Vec<_>>());
            rig.publisher.flush();
        }
        paise
    };
    // Nothing is read until its socket is full and it is conflated.
    while rig.gateway.census().take().slow == 0 {
        publish(&mut rig, 20);
        rig.publisher.ready().await;
    }
    let symbols: Vec<_> =
        all[100..].iter().map(|n| json!({"symbol": format!("S{n}"), "exchange": "NSE"})).collect();
    client.send(json!({"action": "subscribe", "symbols": symbols, "mode": 3})).await;
    let (mut acknowledged, mut newest) = (false, BTreeMap::new());
    let mut last = publish(&mut rig, 20);
    while newest.len() < all.len() || newest.values().any(|volume| *volume < last) {
        match client.got().await {
            Got::Json(answer) => {
                assert_eq!(answer["status"], "success");
                acknowledged = true;
                last = publish(&mut rig, 1);
            }
            Got::Records(records) => {
                for seen in records {
                    if seen.kind == 2 {
                        directory.insert(seen.header.number, seen.body);
                        continue;
                    }
                    assert!(directory.contains_key(&seen.header.number), "{seen:?}");
                    let (_, volume) = seen.body.split_once("volume: ").unwrap();
                    let volume = volume.split(',').next().unwrap().parse::<i64>().unwrap();
                    let before = newest.insert(seen.header.number, volume);
                    assert!(before.is_none_or(|before| before <= volume), "{before:?} {seen:?}");
                }
            }
        }
    }
    assert!(acknowledged && directory.len() == all.len());
    assert!(rig.gateway.counts().conflated > 0);
}

fn list(shares: &[(&str, u32, &str)]) -> Arc<Master> {
    let mut builder = MasterBuilder::new();
    for (symbol, number, tick_size) in shares {
        let code = 1000 + number;
        builder.add_rows(&format!(
            "NSECM|{code}|8|{symbol}|{symbol}-EQ|EQ|{symbol}-EQ|{code}|1598|1307.6|676621|{tick_size}|1|1|{symbol}|INE002A01018|1|1|A COMPANY|0|1|1\n"
        ));
    }
    Arc::new(builder.finish().0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_instrument_list_brings_a_new_directory_before_the_first_record() {
    let mut rig = Rig::without_master(|_| ()).await;
    rig.master.store(list(&[("S1", 1, "0.1"), ("S2", 2, "0.1")]));
    let mut client = rig.binary().await;
    let first = client.subscribe_binary(&[1, 2], 1).await;
    rig.quote(1, 10_000);
    assert_eq!(client.records().await[0].body, "100.0 of Some(10000)");
    // S1 has another number at the exchange now, and S2 another tick size.
    rig.master.store(list(&[("S1", 3, "0.1"), ("S2", 2, "0.05")]));
    let mut directory = BTreeMap::new();
    while directory.len() < 2 {
        directory.extend(client.records().await.into_iter().map(|seen| (seen.body, seen.header.number)));
    }
    let number = directory["NSE:S1 1003 tick 0.1 lot Some(1)"];
    assert!(!first.contains_key(&number), "another instrument, another number");
    let same = directory["NSE:S2 1002 tick 0.05 lot Some(1)"];
    assert_eq!(first[&same], "NSE:S2 1002 tick 0.1 lot Some(1)");
    rig.quote(1, 11_111);
    rig.quote(3, 12_000);
    let record = loop {
        // The directory of S1 may come a second time.
        let record = client.records().await.remove(0);
        if record.kind != 2 {
            break record;
        }
    };
    assert_eq!(shown(&record), (number, 1, "120.0 of Some(12000)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_instrument_list_tells_only_of_what_is_another() {
    let rig = Rig::without_master(|_| ()).await;
    rig.master.store(list(&[("S1", 1, "0.1"), ("S2", 2, "0.1"), ("S3", 3, "0.1")]));
    let (mut one, mut other) = (rig.binary().await, rig.binary().await);
    one.subscribe_binary(&[1, 2, 3], 1).await;
    other.subscribe_binary(&[1], 1).await;
    for _ in 0..3 {
        rig.master.store(list(&[("S1", 1, "0.1"), ("S2", 2, "0.1"), ("S3", 3, "0.1")]));
        // Each list is looked at before the answer.
        assert_eq!(one.ask(json!({"action": "ping"})).await["type"], "pong", "nothing has changed");
    }
    rig.master.store(list(&[("S1", 1, "0.1"), ("S2", 2, "0.1"), ("S3", 3, "0.05")]));
    let told = one.records().await;
    assert_eq!(
        told.iter().map(|seen| seen.body.as_str()).collect::<Vec<_>>(),
        ["NSE:S3 1003 tick 0.05 lot Some(1)"]
    );
    assert_eq!(one.ask(json!({"action": "ping"})).await["type"], "pong");
    assert_eq!(other.ask(json!({"action": "ping"})).await["type"], "pong", "it does not hold that");
    // Who comes later is told of what is in force, and so is everybody when that changes again.
    assert!(other.subscribe_binary(&[3], 1).await.into_values().eq(["NSE:S3 1003 tick 0.05 lot Some(1)"]));
    rig.master.store(list(&[("S1", 1, "0.1"), ("S2", 2, "0.1"), ("S3", 3, "0.1")]));
    for client in [&mut one, &mut other] {
        assert_eq!(client.records().await[0].body, "NSE:S3 1003 tick 0.1 lot Some(1)");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_does_not_read_is_told_of_new_steps_when_it_does() {
    let mut rig = Rig::without_master(|settings| settings.overflow_bytes = 4 << 10).await;
    let shares = |step| {
        let names: Vec<_> = (0..INSTRUMENTS).map(|n| (format!("S{n}"), n)).collect();
        list(&names.iter().map(|(name, n)| (name.as_str(), *n, step)).collect::<Vec<_>>())
    };
    rig.master.store(shares("0.1"));
    let all: Vec<u32> = (0..INSTRUMENTS).collect();
    let (mut deaf, mut witness) = (rig.binary().await, rig.binary().await);
    deaf.subscribe(&all, 3).await;
    witness.subscribe_binary(&[1], 1).await;
    let mut paise = 1_000;
    while rig.gateway.census().take().slow == 0 {
        paise += 1;
        let ticks = all.iter().flat_map(|n| [quote(*n, paise), tick(*n, TickBody::Depth(Depth::default()))]);
        rig.publisher.publish(&ticks.collect::<Vec<_>>());
        rig.publisher.flush();
        rig.publisher.ready().await;
    }
    // Many lists, each another: what waits for the deaf one is bounded all the same.
    for round in 0..20 {
        let step = if round % 2 == 0 { "0.05" } else { "0.2" };
        rig.master.store(shares(step));
        loop {
            let records = witness.records().await;
            if records.iter().any(|seen| seen.kind == 2 && seen.body.contains(&format!("tick {step} "))) {
                break;
            }
        }
    }
    let waiting = rig.gateway.waiting_bytes();
    assert!(waiting < 100_000, "{waiting} bytes wait");
    let mut newest = BTreeMap::new();
    while newest.values().filter(|body: &&String| body.contains("tick 0.2 ")).count() < all.len() {
        for seen in deaf.records().await {
            if seen.kind == 2 {
                newest.insert(seen.header.number, seen.body);
            }
        }
    }
}
