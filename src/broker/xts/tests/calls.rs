use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::json;

use crate::broker::{Broker, Class, Error};
use crate::market::{InstrumentId, Kind, Segment, TickBody};

use super::super::LoginKind;
use super::server::{Seen, Server};
use super::*;

const MARKET_LOGIN: &str = r#"{"type":"success","code":"s-response-0010","description":"Provided Valid Credentials","result":{"token":"eyJ.new.one","userID":"TEST01_0F1E2D","appVersion":"5.0.15","application_expiry_date":"30-12-2028"}}"#;
const DEALER_LOGIN: &str = r#"{"type":"success","code":"s-user-0001","description":"Valid User.","result":{"enums":{"orderSide":["BUY","SELL"]},"clientCodes":["*****","ABC123"],"exchangeSegmentArray":[],"token":"eyJ.dealer.one","userID":"ABC123A02","isInvestorClient":false,"isOneTouchUser":false}}"#;
const INVALID_TOKEN: &str = r#"{"type":"error","code":"e-session-0007","description":"Invalid Token"}"#;
const OK: &str = r#"{"type":"success","code":"s","description":"d","result":{}}"#;
const QUOTE: &str = r#"{"MessageCode":1501,"ExchangeSegment":1,"ExchangeInstrumentID":"2885","LastTradedPrice":1462.6,"LastUpdateTime":1455185730,"Close":1450}"#;

fn id(code: u32) -> InstrumentId {
    InstrumentId { segment: Segment::NseCash, code }
}

fn ids(codes: impl IntoIterator<Item = u32>) -> Vec<InstrumentId> {
    codes.into_iter().map(id).collect()
}

fn error(status: u16, code: &str, description: &str) -> (u16, String) {
    (status, json!({"type": "error", "code": code, "description": description, "result": {}}).to_string())
}

#[tokio::test]
async fn the_market_login_sends_the_keys_and_reads_the_facts() {
    let server = Server::start(|_| (200, MARKET_LOGIN.to_owned())).await;
    let login = broker(settings(server.address)).login(Product::Market).await.unwrap();
    assert_eq!(login.secret.expose(), "eyJ.new.one");
    assert_eq!(login.facts.user_id, "TEST01_0F1E2D");
    assert_eq!((login.facts.is_investor, &login.facts.client_id), (None, &None));
    assert_eq!(login.facts.app_key_expires.as_deref(), Some("30-12-2028"));
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST /apibinarymarketdata/auth/login");
    assert_eq!(
        seen.json(),
        json!({"appKey": "0f1e2d3c4b5a69788796a5", "secretKey": "Abcd123$xy", "source": "WEBAPI"})
    );
    assert!(!seen.head.to_ascii_lowercase().contains("authorization"));
}

#[tokio::test]
async fn a_dealers_login_finds_its_client() {
    let server = Server::start(|_| (200, DEALER_LOGIN.to_owned())).await;
    let login = broker(settings(server.address)).login(Product::Interactive).await.unwrap();
    assert_eq!(server.lines(), ["POST /interactive/user/session"]);
    assert_eq!((login.facts.user_id.as_str(), login.facts.is_investor), ("ABC123A02", Some(false)));
    assert_eq!(login.facts.client_id.as_deref(), Some("ABC123"));
    let configured = Settings { client_id: "*****".to_owned(), ..settings(server.address) };
    let login = broker(configured).login(Product::Interactive).await.unwrap();
    assert_eq!(login.facts.client_id.as_deref(), Some("*****"));
}

#[tokio::test]
async fn refused_logins() {
    let answers: &[(u16, &str, &str, Class, bool)] = &[
        (400, "e-user-0001", "Entered invalid credentials", Class::NeedsOperator, true),
        (200, "e-response-0010", "Invalid App Key 0f1e2d3c4b5a69788796a5", Class::NeedsOperator, true),
        (401, "", "Authentication Failed", Class::NeedsOperator, true),
        (400, "e-x", "Please try again 0f1e2d3c4b5a69788796a5", Class::Transient, true),
        (400, "e-session-0007", "Invalid Token", Class::Transient, true),
        (429, "e-apirl-0004", "rate", Class::Transient, false),
        (503, "", "", Class::Transient, false),
    ];
    for (status, code, description, class, answered) in answers.iter().copied() {
        let server = Server::start(move |_| error(status, code, description)).await;
        let refused = broker(settings(server.address)).login(Product::Market).await.unwrap_err();
        assert_eq!((refused.class(), refused.answered()), (class, answered), "{refused}");
        assert!(!refused.to_string().contains("0f1e2d3c"), "{refused}");
        assert_eq!(server.seen().len(), 1, "a login is never repeated by itself");
    }
    let without_token = Server::start(|_| (200, OK.to_owned())).await;
    let refused = broker(settings(without_token.address)).login(Product::Market).await.unwrap_err();
    assert!(matches!(refused, Error::LoginRefused { .. }) && refused.answered(), "{refused}");
}

#[tokio::test]
async fn a_product_without_keys_or_switched_off_sends_nothing() {
    let server = Server::start(|_| (200, MARKET_LOGIN.to_owned())).await;
    let settings = Settings { interactive: false, ..settings(server.address) };
    let none = XtsBroker::new(settings.clone(), Credentials::default(), "default", Arc::new(Still)).unwrap();
    for (broker, product) in [(&none, Product::Market), (&broker(settings), Product::Interactive)] {
        let refused = broker.login(product).await.unwrap_err();
        assert!(matches!(refused, Error::NotConfigured(_)), "{refused}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn hostlookup_gives_key_and_bases() {
    let server = Server::start(|seen| match seen.line.as_str() {
        "POST /hostlookup" => (
            200,
            r#"{"type":true,"code":"hostlookup","description":"Hostlookup successful","result":{"uniqueKey":"q8Zk","connectionString":" `/7hostlookup` "}}"#.to_owned(),
        ),
        "POST /7hostlookup/user/session" => (200, DEALER_LOGIN.to_owned()),
        "DELETE /7interactive/user/session" => (200, OK.to_owned()),
        other => panic!("{other}"),
    })
    .await;
    let settings = Settings { login: LoginKind::Hostlookup, ..settings(server.address) };
    let first = broker(settings.clone());
    first.login(Product::Interactive).await.unwrap();
    first.logout(&token(Product::Interactive)).await.unwrap();
    // After a restart the base is looked up again, without a login.
    broker(settings).logout(&token(Product::Interactive)).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen[0].json()["accesspassword"], "2021HostLookUpAccess");
    assert_eq!(seen[1].json()["uniqueKey"], "q8Zk");
    assert_eq!(
        server.lines()[2..],
        ["DELETE /7interactive/user/session", "POST /hostlookup", "DELETE /7interactive/user/session"]
    );
    assert!(seen[2].head.to_ascii_lowercase().contains("authorization: eyj.the.token"));
}

#[tokio::test]
async fn hostlookup_that_fails_or_points_elsewhere_sends_no_keys() {
    for body in [
        r#"{"type":false,"code":"e","description":"Host not found"}"#,
        r#"{"type":"success","result":{"uniqueKey":"k","connectionString":"https://evil.example/interactive"}}"#,
        "<html>",
    ] {
        let server = Server::start(move |_| (200, body.to_owned())).await;
        let settings = Settings { login: LoginKind::Hostlookup, ..settings(server.address) };
        let refused = broker(settings).login(Product::Interactive).await.unwrap_err();
        assert_eq!((refused.class(), refused.answered()), (Class::Transient, false), "{refused}");
        assert_eq!(server.lines(), ["POST /hostlookup"]);
    }
}

#[tokio::test]
async fn a_subscription_brings_its_snapshot_stamped_with_the_time_of_asking() {
    let server = Server::start(|_| {
        let result = json!({"mdp": 1501, "listQuotes": [QUOTE], "Remaining_Subscription_Count": 49});
        (
            200,
            json!({"type": "success", "code": "s-session-0001", "description": "d", "result": result})
                .to_string(),
        )
    })
    .await;
    let broker = broker(settings(server.address));
    let token = token(Product::Market);
    let done = broker.subscribe(&token, Kind::Quote, &[id(2885)]).await.unwrap();
    assert_eq!((done.confirmed, done.rejected.len()), (vec![id(2885)], 0));
    assert_eq!((done.snapshot[0].instrument, done.snapshot[0].ts_recv), (id(2885), NOW));
    assert!(matches!(done.snapshot[0].body, TickBody::Quote(_)));
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST /apibinarymarketdata/instruments/subscription");
    assert!(
        seen.head.lines().any(|l| l.eq_ignore_ascii_case("authorization: eyJ.the.token")),
        "{}",
        seen.head
    );
    assert_eq!(
        seen.json(),
        json!({"instruments": [{"exchangeSegment": 1, "exchangeInstrumentID": 2885}], "xtsMessageCode": 1501})
    );
}

/// Subscription rules as reported from live servers: a batch is refused whole.
struct Venue {
    held: Mutex<BTreeSet<u64>>,
    limit: usize,
    unknown: Vec<u64>,
    refuses_unsubscribe: bool,
}

impl Venue {
    fn holding(held: impl IntoIterator<Item = u64>) -> Self {
        let held = Mutex::new(held.into_iter().collect());
        Self { held, limit: 50, unknown: Vec::new(), refuses_unsubscribe: false }
    }

    fn answer(&self, seen: &Seen) -> (u16, String) {
        let body = seen.json();
        let asked: Vec<u64> = body["instruments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| i["exchangeInstrumentID"].as_u64().unwrap())
            .collect();
        let mut held = self.held.lock().unwrap();
        if seen.line.starts_with("PUT") {
            if self.refuses_unsubscribe || asked.iter().any(|a| !held.contains(a)) {
                return error(400, "e-session-0003", "Instrument Not Subscribed !");
            }
            for a in &asked {
                held.remove(a);
            }
            return (200, OK.to_owned());
        }
        if asked.iter().any(|a| self.unknown.contains(a)) {
            return error(400, "e-instrument-0001", "Bad Request");
        }
        if asked.iter().any(|a| held.contains(a)) {
            return error(400, "e-session-0002", "Instrument Already Subscribed !");
        }
        if held.len() + asked.len() > self.limit {
            return error(400, "e-session-0004", "Exceeded Instrument Subscription Limit of 50.You have …");
        }
        held.extend(asked);
        (200, OK.to_owned())
    }

    async fn serve(self) -> Server {
        Server::start(move |seen| self.answer(seen)).await
    }
}

fn sorted(mut ids: Vec<InstrumentId>) -> Vec<InstrumentId> {
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn a_batch_that_is_held_already_is_confirmed_in_few_calls() {
    let server = Venue::holding(1..=50).serve().await;
    let batch = ids(1..=50);
    let done = broker(settings(server.address)).subscribe(&token(Product::Market), Kind::Quote, &batch).await;
    assert_eq!(sorted(done.unwrap().confirmed), batch);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn one_held_instrument_does_not_cost_the_others() {
    for refuses_unsubscribe in [false, true] {
        let venue = Venue { refuses_unsubscribe, ..Venue::holding([7]) };
        let server = venue.serve().await;
        let batch = ids(1..=20);
        let done =
            broker(settings(server.address)).subscribe(&token(Product::Market), Kind::Quote, &batch).await;
        let done = done.unwrap();
        assert_eq!((sorted(done.confirmed), done.rejected), (batch, vec![]));
        assert!(server.seen().len() < 15, "{}", server.seen().len());
    }
}

#[tokio::test]
async fn an_unknown_instrument_is_rejected_alone() {
    let server = Venue { unknown: vec![3, 18], ..Venue::holding([]) }.serve().await;
    let done = broker(settings(server.address))
        .subscribe(&token(Product::Market), Kind::Depth, &ids(1..=20))
        .await
        .unwrap();
    assert_eq!(done.confirmed.len(), 18);
    let rejected: Vec<_> = done.rejected.iter().map(|(id, words)| (id.code, words.as_str())).collect();
    assert_eq!(rejected, [(3, "Bad Request"), (18, "Bad Request")]);
    assert_eq!(server.seen()[0].json()["xtsMessageCode"], 1502);
}

#[tokio::test]
async fn a_refusal_of_everything_is_not_asked_fifty_times() {
    let server = Server::start(|_| error(400, "e-x", "Market data is not enabled")).await;
    let batch = ids(1..=50);
    let done = broker(settings(server.address)).subscribe(&token(Product::Market), Kind::Quote, &batch).await;
    let done = done.unwrap();
    assert_eq!((done.confirmed.len(), done.rejected.len()), (0, 50));
    assert!(server.seen().len() < 20, "{}", server.seen().len());
}

#[tokio::test]
async fn bad_instruments_that_come_first_do_not_cost_the_good_ones() {
    for (code, words) in [("e-instrument-0001", "Instrument not found"), ("e-x", "Bad Request")] {
        // The first ten are unknown, and one later on.
        let server = Server::start(move |seen| {
            let asked = seen.json()["instruments"].as_array().unwrap().clone();
            let is_bad = |i: &serde_json::Value| {
                let code = i["exchangeInstrumentID"].as_u64().unwrap();
                code <= 10 || code == 33
            };
            if asked.iter().any(is_bad) { error(400, code, words) } else { (200, OK.to_owned()) }
        })
        .await;
        let batch = ids(1..=50);
        let done =
            broker(settings(server.address)).subscribe(&token(Product::Market), Kind::Quote, &batch).await;
        let done = done.unwrap();
        let mut rejected: Vec<_> = done.rejected.iter().map(|(id, _)| id.code).collect();
        rejected.sort_unstable();
        assert_eq!(rejected, (1..=10).chain([33]).collect::<Vec<_>>(), "{words}");
        assert_eq!(done.confirmed.len(), 39, "{words}");
    }
}

#[tokio::test]
async fn errors_about_the_whole_request_are_errors() {
    let full = Venue::holding(101..=150).serve().await;
    let refused = broker(settings(full.address))
        .subscribe(&token(Product::Market), Kind::Quote, &ids([1]))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::SubscriptionLimit { limit: Some(50), .. }), "{refused}");

    let server = Server::start(|_| (400, INVALID_TOKEN.to_owned())).await;
    let (broker, token) = (broker(settings(server.address)), token(Product::Market));
    let batch = ids(1..=10);
    for class in [
        broker.subscribe(&token, Kind::Quote, &batch).await.unwrap_err().class(),
        broker.unsubscribe(&token, Kind::Quote, &batch).await.unwrap_err().class(),
        broker.quotes(&token, Kind::Quote, &batch).await.unwrap_err().class(),
        broker.instruments(&token).await.unwrap_err().class(),
    ] {
        assert_eq!(class, Class::NeedsToken);
    }
    assert_eq!(server.seen().len(), 4);
    broker.logout(&token).await.unwrap();
    assert_eq!(server.lines()[4], "DELETE /apibinarymarketdata/auth/logout");
}

#[tokio::test]
async fn a_limit_met_on_the_way_keeps_what_got_in() {
    // Two of four fit; the batch is halved because of the held one, which cannot be cleared.
    let venue = Venue { limit: 49, refuses_unsubscribe: true, ..Venue::holding((100..146).chain([4])) };
    let server = venue.serve().await;
    let done = broker(settings(server.address))
        .subscribe(&token(Product::Market), Kind::Quote, &ids(1..=4))
        .await
        .unwrap();
    assert_eq!(done.confirmed, ids([1, 2]));
    assert_eq!(done.rejected.iter().map(|(id, _)| id.code).collect::<Vec<_>>(), [3, 4]);
}

#[tokio::test]
async fn unsubscribing_what_is_not_held_is_done() {
    let server = Venue::holding([]).serve().await;
    let broker = broker(settings(server.address));
    broker.unsubscribe(&token(Product::Market), Kind::OpenInterest, &ids([1, 2])).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "PUT /apibinarymarketdata/instruments/subscription");
    assert_eq!(seen.json()["xtsMessageCode"], 1510);
}

#[tokio::test]
async fn quotes_and_their_absence() {
    let server = Server::start(|seen| {
        if seen.json()["instruments"].as_array().unwrap().len() == 1 {
            return error(400, "e-quotes", "Data not available");
        }
        let result = json!({"listQuotes": [QUOTE, QUOTE.replace("1462.6", "0")]});
        (200, json!({"type": "success", "result": result}).to_string())
    })
    .await;
    let (broker, token) = (broker(settings(server.address)), token(Product::Market));
    let ticks = broker.quotes(&token, Kind::Quote, &ids([2885, 2886])).await.unwrap();
    assert_eq!((ticks.len(), ticks[0].ts_recv), (1, NOW));
    assert_eq!(broker.quotes(&token, Kind::Quote, &ids([1])).await.unwrap(), []);
    assert_eq!(broker.quotes(&token, Kind::Quote, &[]).await.unwrap(), []);
    let seen = server.seen();
    assert_eq!((seen.len(), seen[0].line.as_str()), (2, "POST /apibinarymarketdata/instruments/quotes"));
    assert_eq!(seen[0].json()["publishFormat"], "JSON");
}

#[tokio::test]
async fn the_master_comes_segment_by_segment_and_lacks_what_the_broker_lacks() {
    let server = Server::start(|seen| {
        if seen.line.starts_with("GET") {
            let list = json!({"indexList": ["NIFTY 50_26000", "NIFTY BANK_26001"]});
            let found = seen.line.ends_with("indexlist?exchangeSegment=1");
            return if found {
                (200, json!({"type": "success", "result": list}).to_string())
            } else {
                error(400, "e", "none")
            };
        }
        match seen.json()["exchangeSegmentList"][0].as_str().unwrap() {
            "NSECM" => (200, json!({"type": "success", "result": "NSECM|1\nNSECM|2"}).to_string()),
            "MCXFO" => (200, json!({"type": "success", "result": "MCXFO|3\n"}).to_string()),
            _ => error(400, "e-x", "Segment not enabled"),
        }
    })
    .await;
    let text = broker(settings(server.address)).instruments(&token(Product::Market)).await.unwrap();
    assert_eq!(text.rows, "NSECM|1\nNSECM|2\nMCXFO|3\n");
    assert_eq!(text.indices, [(1, "NIFTY 50_26000".to_owned()), (1, "NIFTY BANK_26001".to_owned())]);

    for (status, body) in [(502, "<html>"), (200, "\"x\""), (200, r#"{"type":"success","result":""}"#)] {
        let server = Server::start(move |_| (status, body.to_owned())).await;
        let refused =
            broker(settings(server.address)).instruments(&token(Product::Market)).await.unwrap_err();
        assert_eq!(refused.class(), Class::Transient, "{refused}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed_and_silence_ends() {
    let server = Server::start(|_| (302, "|location: http://127.0.0.1:1/stolen\n".to_owned())).await;
    let refused = broker(settings(server.address)).login(Product::Market).await.unwrap_err();
    assert!(matches!(refused, Error::Http { status: 302, .. }), "{refused}");

    let mute = Server::start(|_| (0, String::new())).await;
    let settings = Settings { request_timeout_ms: 100, ..settings(mute.address) };
    let refused = broker(settings).login(Product::Market).await.unwrap_err();
    assert_eq!(refused.to_string(), "network: no answer in time");
}

#[tokio::test]
async fn no_error_names_an_address_or_a_secret() {
    let nobody = settings("127.0.0.1:1".parse().unwrap());
    let broker = broker(nobody);
    let token = token(Product::Market);
    for refused in [
        broker.login(Product::Market).await.unwrap_err(),
        broker.quotes(&token, Kind::Quote, &ids([1])).await.unwrap_err(),
        broker.open_feed(&token).await.err().unwrap(),
    ] {
        assert!(matches!(refused, Error::Network(_) | Error::NotSent(_)), "{refused}");
        for secret in ["http", "token", "0f1e", "Abcd"] {
            assert!(!refused.to_string().contains(secret), "{refused}");
        }
    }
    assert!(!format!("{broker:?}").contains("Abcd"));
}

#[test]
fn a_binding_names_server_product_and_key_without_showing_the_key() {
    let first = broker(settings("127.0.0.1:1".parse().unwrap()));
    let market = first.binding(Product::Market);
    assert!(market.starts_with("http://127.0.0.1:1 market "), "{market}");
    assert_ne!(market, first.binding(Product::Interactive));
    assert!(!market.contains("0f1e2d3c"));
    let elsewhere = broker(settings("127.0.0.1:2".parse().unwrap()));
    assert_ne!(market, elsewhere.binding(Product::Market));
}

#[test]
fn unusable_settings_are_refused_by_name() {
    let wrong = Settings { base_url: "jtrade".to_owned(), engine_io: 2, ..Settings::default() };
    let refused = XtsBroker::new(wrong, credentials(), "default", Arc::new(Still)).unwrap_err().to_string();
    assert!(refused.contains("base_url") && refused.contains("engine_io"), "{refused}");
}
