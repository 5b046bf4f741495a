use std::collections::HashMap;

use serde_json::{Value, json};

use super::*;
use crate::market::{InstrumentId, Segment};
use crate::sim::accounts::DemoKeys;
use crate::sim::answers::Answer;
use crate::sim::sessions::Product;
use crate::sim::settings::SocketEnd;

mod books;
mod market_keys;
mod nights;
mod orders;
mod trouble;
mod unasked;

const USER: &str = "SIM01";

/// Tuesday 2026-02-10, 10:15:30 IST.
const START: UnixNanos = UnixNanos::from_secs(1_770_698_730);

struct Sim {
    core: Core,
    now: UnixNanos,
}

impl Sim {
    fn new(settings: Settings) -> Self {
        Self { core: Core::start(settings, None, [7; 32], None, START), now: START }
    }

    fn login(&mut self, product: Product) -> String {
        self.login_to(0, product)
    }

    fn login_to(&mut self, account: usize, product: Product) -> String {
        let keys = self.core.demo_accounts()[account].keys.clone();
        let (app_key, secret) = keys.pair(product);
        let body = json!({"appKey": app_key, "secretKey": secret, "source": "WebAPI"});
        let answer = self.core.login(product, &body, self.now);
        assert_eq!(answer.status, 200, "{}", answer.body);
        result(&answer)["token"].as_str().unwrap().to_owned()
    }

    fn subscribe(&mut self, code: u16, ids: &[u32]) -> Answer {
        self.core.subscribe(0, &instruments(code, ids), true)
    }

    fn connect(&mut self, id: SocketId, token: &str, is_binary: bool) -> Result<(), Answer> {
        let connect =
            Connect { token: token.to_owned(), user_id: USER.to_owned(), is_binary, ..Connect::default() };
        self.core.open_socket(Product::Market, &connect, id, self.now)
    }

    /// Lets so much time pass; what came out of what was asked for, by socket.
    fn run(&mut self, seconds: u64) -> HashMap<SocketId, Vec<Out>> {
        let mut out: HashMap<_, Vec<_>> = HashMap::new();
        for _ in 0..seconds * 20 {
            self.now = self.now.plus(std::time::Duration::from_millis(50));
            self.core.advance(self.now);
            for (id, each) in self.core.take_outbox().into_iter().filter(|(_, o)| !is_unasked(o)) {
                out.entry(id).or_default().push(each);
            }
        }
        out
    }
}

/// Session states and price bands: every market socket gets them.
fn is_unasked(out: &Out) -> bool {
    matches!(out, Out::Text(t) if t.starts_with("42[\"1507-") || t.starts_with("42[\"1105-"))
}

fn instruments(code: u16, ids: &[u32]) -> Value {
    let instruments: Vec<_> =
        ids.iter().map(|id| json!({"exchangeSegment": 1, "exchangeInstrumentID": id})).collect();
    json!({"instruments": instruments, "xtsMessageCode": code})
}

fn parsed(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap()
}

fn result(answer: &Answer) -> Value {
    parsed(answer)["result"].clone()
}

#[track_caller]
fn refused(answer: &Answer, code: &str) -> Value {
    assert_eq!((answer.status, &parsed(answer)["code"]), (400, &code.into()), "{}", answer.body);
    assert_eq!(parsed(answer)["type"], "error");
    result(answer)
}

#[test]
fn tokens_have_the_documented_claims_and_end_with_the_next_login() {
    let mut sim = Sim::new(Settings::default());
    let first = sim.login(Product::Market);
    let claims = sim.core.key.verify(&first).unwrap();
    assert_eq!(claims.user_id, "SIM01_5100DA7A0F1E2D3C4B5A69");
    assert_eq!((claims.public_key.as_str(), claims.is_interactive), ("5100da7a0f1e2d3c4b5a69", None));
    assert_eq!((claims.iat, claims.exp), (START.as_secs(), Some(START.as_secs() + 86_400)));
    assert_eq!(sim.core.authorize(Product::Market, Some(&first), "config", sim.now), Ok(0));
    // A token is for its product, without "Bearer", and there must be one.
    let error = sim.core.authorize(Product::Interactive, Some(&first), "config", sim.now).unwrap_err();
    refused(&error, "e-session-0007");
    let error =
        sim.core.authorize(Product::Market, Some(&format!("Bearer {first}")), "config", sim.now).unwrap_err();
    refused(&error, "e-session-0007");
    refused(&sim.core.authorize(Product::Market, None, "config", sim.now).unwrap_err(), "e-token-0002");

    // Within the same second.
    let second = sim.login(Product::Market);
    refused(
        &sim.core.authorize(Product::Market, Some(&first), "config", sim.now).unwrap_err(),
        "e-session-0007",
    );
    assert_eq!(sim.core.authorize(Product::Market, Some(&second), "config", sim.now), Ok(0));
    let interactive = sim.login(Product::Interactive);
    assert_eq!(sim.core.key.verify(&interactive).unwrap().is_interactive, Some(true));
    assert_eq!(
        sim.core.authorize(Product::Market, Some(&second), "config", sim.now),
        Ok(0),
        "products are separate"
    );

    sim.core.logout(0, Product::Market);
    refused(
        &sim.core.authorize(Product::Market, Some(&second), "config", sim.now).unwrap_err(),
        "e-session-0007",
    );
    let state = sim.core.state(sim.now);
    assert_eq!(state["logins"], json!({"market": 2, "interactive": 1}));
    assert_eq!(state["refusals"]["token"], 5);
}

#[test]
fn wrong_credentials_are_refused_and_counted() {
    let mut sim = Sim::new(Settings::default());
    let body = json!({"appKey": DemoKeys::default().market_app_key, "secretKey": "wrong"});
    refused(&sim.core.login(Product::Market, &body, START), "e-response-0010");
    refused(&sim.core.login(Product::Interactive, &Value::Null, START), "e-user-0001");
    let state = sim.core.state(START);
    assert_eq!((&state["refusals"]["market"], &state["refusals"]["interactive"]), (&1.into(), &1.into()));
    assert_eq!(state["logins"], json!({"market": 0, "interactive": 0}));
}

#[test]
fn hostlookup_gives_a_key_for_one_login() {
    let mut sim = Sim::new(Settings { hostlookup: true, ..Settings::default() });
    let keys = DemoKeys::default();
    let (app_key, secret) = keys.pair(Product::Interactive);
    let mut body = json!({"appKey": app_key, "secretKey": secret});
    refused(&sim.core.login(Product::Interactive, &body, START), "e-user-0001");
    let lookup = json!({"accesspassword": "2021HostLookUpAccess", "version": "interactive_1.0.1"});
    let answer = parsed(&sim.core.hostlookup(&lookup, "127.0.0.1:3000", START).unwrap());
    assert_eq!(answer["type"], true);
    assert_eq!(answer["result"]["connectionString"], "http://127.0.0.1:3000/7hostlookup");
    assert_eq!(answer["result"]["uniqueKey"].as_str().unwrap().len(), 64);
    body["uniqueKey"] = answer["result"]["uniqueKey"].clone();
    assert_eq!(sim.core.login(Product::Interactive, &body, START).status, 200);
    refused(&sim.core.login(Product::Interactive, &body, START), "e-user-0001");
    sim.login(Product::Market);
    assert_eq!(Sim::new(Settings::default()).core.hostlookup(&lookup, "x", START), None);
}

#[test]
fn the_rate_limit_comes_after_the_token() {
    let mut sim = Sim::new(Settings { rate_limit_per_s: 2, ..Settings::default() });
    let token = sim.login(Product::Market);
    for _ in 0..2 {
        assert_eq!(sim.core.authorize(Product::Market, Some(&token), "config", START), Ok(0));
    }
    let error = sim.core.authorize(Product::Market, Some(&token), "config", START).unwrap_err();
    assert_eq!((error.status, &parsed(&error)["code"]), (429, &"e-apirl-0004".into()));
    refused(&sim.core.authorize(Product::Market, Some("x"), "config", START).unwrap_err(), "e-session-0007");
    let later = UnixNanos::from_secs(START.as_secs() + 1);
    assert_eq!(sim.core.authorize(Product::Market, Some(&token), "config", later), Ok(0));
}

#[test]
fn subscriptions_are_all_or_nothing_and_belong_to_the_session() {
    let mut sim = Sim::new(Settings { max_subscriptions: 3, ..Settings::default() });
    let token = sim.login(Product::Market);
    let answer = sim.subscribe(1501, &[2885, 26_000]);
    let given = result(&answer);
    assert_eq!((&given["mdp"], &given["Remaining_Subscription_Count"]), (&1501.into(), &1.into()));
    let quote: Value = serde_json::from_str(given["listQuotes"][0].as_str().unwrap()).unwrap();
    assert_eq!((&quote["MessageCode"], &quote["ExchangeInstrumentID"]), (&1501.into(), &"2885".into()));
    assert_eq!(given["quotesList"][1]["exchangeInstrumentID"], 26_000);

    // One that is there already refuses the batch.
    assert_eq!(
        refused(&sim.subscribe(1501, &[1660, 2885]), "e-session-0002")["Remaining_Subscription_Count"],
        1
    );
    refused(&sim.subscribe(1501, &[1660, 1660]), "e-session-0002");
    let answer = sim.subscribe(1502, &[2885, 1660]);
    refused(&answer, "e-session-0004");
    assert_eq!(
        parsed(&answer)["description"],
        "Exceeded Instrument Subscription Limit of 3.You have already subscribed 2/3 and you are trying subscribe 4 Instrument."
    );
    assert_eq!(result(&sim.subscribe(1502, &[2885]))["Remaining_Subscription_Count"], 0);
    refused(&sim.subscribe(1501, &[4]), "e-instrument-0001");
    refused(
        &sim.core.subscribe(0, &json!({"xtsMessageCode": 1505, "instruments": [{}]}), true),
        "e-response-0001",
    );

    let answer = sim.core.unsubscribe(0, &instruments(1501, &[2885, 1660]));
    assert_eq!(result(&answer)["Remaining_Subscription_Count"], 1);
    refused(&sim.core.unsubscribe(0, &instruments(1501, &[2885])), "e-session-0003");

    // They outlive the process, and not the login.
    let saved: Saved = serde_json::from_str(&serde_json::to_string(&sim.core.take_saved()).unwrap()).unwrap();
    let settings = Settings { max_subscriptions: 3, ..Settings::default() };
    let mut again = Sim { core: Core::start(settings, Some(saved), [8; 32], None, START), now: START };
    assert_eq!(again.core.authorize(Product::Market, Some(&token), "config", START), Ok(0));
    refused(&again.subscribe(1502, &[2885]), "e-session-0002");
    assert_eq!(again.core.state(START)["logins"]["market"], 1);
    again.login(Product::Market);
    assert_eq!(again.subscribe(1502, &[2885]).status, 200);
}

#[test]
fn strings_and_names_are_taken_where_clients_send_them() {
    let mut sim = Sim::new(Settings::default());
    sim.login(Product::Market);
    let body = json!({
        "instruments": [{"exchangeSegment": "NSECM", "exchangeInstrumentID": "2885"}],
        "xtsMessageCode": "1512",
    });
    assert_eq!(sim.core.subscribe(0, &body, false).status, 200);
    let quotes = result(&sim.core.quotes(&instruments(1502, &[2885, 26_000])));
    assert_eq!(quotes["listQuotes"].as_array().unwrap().len(), 2);
    let master = sim.core.master(&json!({"exchangeSegmentList": ["NSECM", "MCXFO"]}));
    let text = result(&master);
    assert!(text.as_str().unwrap().lines().any(|row| row.starts_with("NSECM|2885|8|RELIANCE|")));
    assert!(text.as_str().unwrap().lines().any(|row| row.starts_with("MCXFO|")));
    let list = result(&Core::index_list("1"));
    assert_eq!((&list["exchangeSegment"], &list["indexList"][0]), (&"1".into(), &"NIFTY 50_26000".into()));
}

#[test]
fn a_socket_greets_answers_pings_and_carries_what_is_subscribed() {
    let mut sim = Sim::new(Settings::default());
    let token = sim.login(Product::Market);
    refused(&sim.connect(1, "x", true).unwrap_err(), "e-session-0007");
    let stranger = Connect { token: token.clone(), user_id: "X".to_owned(), ..Connect::default() };
    refused(&sim.core.open_socket(Product::Market, &stranger, 1, START).unwrap_err(), "e-socket-0001");
    assert_eq!(sim.core.take_outbox(), []);
    sim.connect(1, &token, true).unwrap();
    sim.connect(2, &token, false).unwrap();
    sim.core.hear(1, "2probe");
    sim.core.hear(1, "40{}");
    sim.core.hear(1, "42[\"join\",{}]");
    let texts: Vec<String> = sim
        .core
        .take_outbox()
        .into_iter()
        .filter(|(id, _)| *id == 1)
        .map(|(_, out)| match out {
            Out::Text(text) => text.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(texts[0].starts_with("0{") && texts[0].contains("\"pingInterval\":25000"), "{texts:?}");
    assert_eq!(texts[1], "40");
    assert!(texts[2].starts_with("42[\"joined\",{") && texts[2].contains("s-socket-0001"), "{texts:?}");
    assert_eq!(texts[3..], ["3probe"]);

    assert_eq!(sim.run(2), HashMap::new(), "nothing is subscribed");
    sim.subscribe(1501, &[2885, 26_000]);
    sim.subscribe(1502, &[3045]);
    let out = sim.run(10);
    let mut codes = HashMap::new();
    for pair in out[&1].chunks(2) {
        let [Out::Text(header), Out::Binary(frame)] = pair else { panic!("{pair:?}") };
        assert_eq!(&**header, r#"451-["xts-binary-packet",{"_placeholder":true,"num":0}]"#);
        assert_eq!(frame[0], 4);
        let mut rest = &frame[1..];
        while !rest.is_empty() {
            let size = usize::from(u16::from_le_bytes([rest[13], rest[14]]));
            let length = match rest[0] {
                0 => 15 + size,
                1 => 17 + usize::from(u16::from_le_bytes([rest[15], rest[16]])),
                flag => panic!("flag {flag}"),
            };
            let code = u16::from_le_bytes([rest[1], rest[2]]);
            *codes.entry((code, rest[0])).or_insert(0) += 1;
            assert_eq!(size, if code == 1501 { 204 } else { 432 });
            rest = &rest[length..];
        }
    }
    for key in [(1501, 0), (1501, 1), (1502, 0), (1502, 1)] {
        assert!(codes.get(&key).is_some_and(|n| *n > 0), "{key:?} in {codes:?}");
    }
    let messages: usize = codes.values().sum();
    assert_eq!(out[&2].len(), messages, "both sockets get everything");
    let Out::Text(event) = &out[&2][0] else { panic!() };
    let event: Value = serde_json::from_str(&event[2..]).unwrap();
    assert!(event[0].as_str().unwrap().ends_with("-json-full"));
    let inner: Value = serde_json::from_str(event[1].as_str().unwrap()).unwrap();
    assert!(inner["MessageCode"].is_u64());
}

#[test]
fn a_new_login_silences_the_old_socket_and_a_control_closes_it() {
    let mut sim = Sim::new(Settings::default());
    let old = sim.login(Product::Market);
    sim.connect(1, &old, true).unwrap();
    sim.subscribe(1501, &[2885]);
    assert!(sim.run(3)[&1].len() > 4);
    let new = sim.login(Product::Market);
    sim.subscribe(1501, &[2885]);
    assert_eq!(sim.run(3), HashMap::new());
    sim.connect(2, &new, true).unwrap();
    sim.core.take_outbox();
    assert!(sim.run(3).keys().eq([&2]));
    assert_eq!(sim.core.expire(None, Some(Product::Market), SocketEnd::Logout), 1);
    assert!(
        matches!(&sim.core.take_outbox()[..], [(2, Out::Text(text))] if text.starts_with("42[\"logout\","))
    );
    assert_eq!(sim.run(2), HashMap::new());
    assert_eq!(sim.core.drop_sockets(None, None, false), 2);
    refused(&sim.connect(3, &new, true).unwrap_err(), "e-session-0007");
}

#[test]
fn a_token_ends_with_its_life() {
    let mut sim = Sim::new(Settings::default());
    sim.core.set_token_life(5);
    let token = sim.login(Product::Market);
    sim.connect(1, &token, true).unwrap();
    sim.subscribe(1501, &[2885]);
    sim.core.take_outbox();
    assert!(!sim.run(4)[&1].contains(&Out::Close { clean: true }));
    assert_eq!(sim.run(2)[&1].last(), Some(&Out::Close { clean: true }));
    refused(
        &sim.core.authorize(Product::Market, Some(&token), "config", sim.now).unwrap_err(),
        "e-session-0007",
    );
}

#[test]
fn the_truth_is_what_was_sent_last() {
    let mut sim = Sim::new(Settings { layout: crate::sim::Layout::B, ..Settings::default() });
    let token = sim.login(Product::Market);
    sim.connect(1, &token, false).unwrap();
    sim.subscribe(1502, &[2885]);
    sim.core.take_outbox();
    let out = sim.run(5);
    sim.core.mute(true);
    assert_eq!(sim.run(5), HashMap::new());
    let Some(Out::Text(event)) = out[&1].last() else { panic!() };
    let event: Value = serde_json::from_str(&event[2..]).unwrap();
    let sent: Value = serde_json::from_str(event[1].as_str().unwrap()).unwrap();
    let truth = sim.core.truth(sim.now);
    let ours = truth["instruments"].as_array().unwrap().iter().find(|i| i["id"] == 2885).unwrap();
    let decimal = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    assert_eq!(sent["Touchline"]["LastTradedPrice"].as_f64(), Some(decimal(&ours["ltp"])));
    assert_eq!(sent["Touchline"]["TotalTradedQuantity"], ours["volume"]);
    for level in 0..5 {
        assert_eq!(sent["Bids"][level]["Price"].as_f64(), Some(decimal(&ours["bids"][level]["price"])));
        assert_eq!(sent["Asks"][level]["Size"], ours["asks"][level]["size"]);
    }
    assert_eq!((&ours["exchange"], &ours["symbol"]), (&"NSE".into(), &"RELIANCE".into()));
    sim.core.mute(false);
    assert!(!sim.run(2).is_empty());
}

#[test]
fn open_interest_goes_with_contracts() {
    let mut sim = Sim::new(Settings { pace: 20.0, ..Settings::default() });
    let token = sim.login(Product::Market);
    sim.connect(1, &token, false).unwrap();
    let listing = sim.core.market.catalogue().listings().iter().find(|l| l.symbol == "NIFTY24FEB26FUT");
    let code = listing.unwrap().id.code;
    let id = InstrumentId { segment: Segment::NseFo, code };
    let body = json!({
        "instruments": [{"exchangeSegment": id.segment.number(), "exchangeInstrumentID": id.code}],
        "xtsMessageCode": 1510,
    });
    let snapshot = result(&sim.core.subscribe(0, &body, false));
    assert!(snapshot["listQuotes"][0].as_str().unwrap().contains("\"OpenInterest\":"));
    sim.core.take_outbox();
    let out = sim.run(5);
    assert!(out[&1].iter().all(|o| matches!(o, Out::Text(t) if t.starts_with("42[\"1510-json-full\","))));
}

#[test]
fn accounts_have_everything_of_their_own() {
    let settings = Settings { accounts: 3, max_subscriptions: 2, ..Settings::default() };
    let mut sim = Sim::new(settings.clone());
    let first = sim.login_to(0, Product::Market);
    let second = sim.login_to(1, Product::Market);
    assert_eq!(sim.core.key.verify(&second).unwrap().user_id, "SIM02_5101DA7A0F1E2D3C4B5A69");
    assert_eq!(
        sim.core.authorize(Product::Market, Some(&first), "config", START),
        Ok(0),
        "a login is its account's"
    );
    assert_eq!(sim.core.authorize(Product::Market, Some(&second), "config", START), Ok(1));

    // A key goes with its own secret only.
    let (one, two) = (sim.core.demo_accounts()[0].keys.clone(), sim.core.demo_accounts()[1].keys.clone());
    let mixed = json!({"appKey": two.market_app_key, "secretKey": one.market_secret_key});
    refused(&sim.core.login(Product::Market, &mixed, START), "e-response-0010");

    // Each has its own limit, and gets its own messages.
    assert_eq!(sim.core.subscribe(0, &instruments(1501, &[2885, 3045]), true).status, 200);
    assert_eq!(sim.core.subscribe(1, &instruments(1501, &[2885]), true).status, 200);
    refused(&sim.core.subscribe(0, &instruments(1501, &[1660]), true), "e-session-0004");
    let connect = |token: &str, user: &str| Connect {
        token: token.to_owned(),
        user_id: user.to_owned(),
        ..Connect::default()
    };
    let stranger = connect(&first, "SIM02");
    refused(&sim.core.open_socket(Product::Market, &stranger, 1, START).unwrap_err(), "e-socket-0001");
    sim.core.open_socket(Product::Market, &connect(&first, "SIM01"), 1, START).unwrap();
    sim.core.open_socket(Product::Market, &connect(&second, "SIM02"), 2, START).unwrap();
    sim.core.take_outbox();
    let out = sim.run(5);
    let has = |socket, id: &str| out[&socket].iter().any(|o| matches!(o, Out::Text(t) if t.contains(id)));
    assert!(has(1, "2885") && has(1, "3045") && has(2, "2885") && !has(2, "3045"));

    assert_eq!(sim.core.expire(Some(0), None, SocketEnd::Close), 1);
    refused(
        &sim.core.authorize(Product::Market, Some(&first), "config", sim.now).unwrap_err(),
        "e-session-0007",
    );
    assert_eq!(sim.core.authorize(Product::Market, Some(&second), "config", sim.now), Ok(1));
    sim.login_to(2, Product::Interactive);
    assert_eq!(sim.core.drop_sockets(Some(0), None, true), 0);
    assert_eq!(sim.core.drop_sockets(Some(1), Some(Product::Interactive), true), 0);

    let state = sim.core.state(sim.now);
    assert_eq!(state["logins"], json!({"market": 2, "interactive": 1}), "in all");
    assert_eq!(state["refusals"]["market"], 1);
    assert_eq!(
        (&state["sessions"]["market"], &state["demo_keys"]),
        (&Value::Null, &state["accounts"][0]["keys"])
    );
    let accounts = state["accounts"].as_array().unwrap();
    assert_eq!(accounts.iter().map(|a| &a["user"]).collect::<Vec<_>>(), ["SIM01", "SIM02", "SIM03"]);
    assert_eq!(accounts[1]["logins"], json!({"market": 1, "interactive": 0}));
    assert_eq!(
        (&accounts[1]["refusals"]["market"], &accounts[0]["refusals"]["token"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        (&accounts[0]["sockets"]["market"], &accounts[1]["sockets"]["market"]),
        (&0.into(), &1.into())
    );
    assert_eq!(accounts[1]["subscriptions"]["count"], 1);

    // All of it outlives the process; an account that is not configured any more is forgotten.
    let saved = serde_json::to_string(&sim.core.take_saved()).unwrap();
    let start = |accounts| {
        let settings = Settings { accounts, ..settings.clone() };
        Core::start(settings, Some(serde_json::from_str(&saved).unwrap()), [8; 32], None, sim.now)
    };
    assert_eq!(start(3).authorize(Product::Market, Some(&second), "config", sim.now), Ok(1));
    refused(
        &start(1).authorize(Product::Market, Some(&second), "config", sim.now).unwrap_err(),
        "e-session-0007",
    );
    assert_eq!(start(3).state(sim.now)["accounts"][2]["logins"]["interactive"], 1);
}
