//! Whose `clientID` opens which book, and what the interactive socket tells of a fill.

use super::*;
use crate::market::TimeOfDay;
use crate::sim::core::Query;
use crate::sim::settings::{AccountKind, Books};

const BOOKS: [&str; 3] = ["orders", "orders/trades", "portfolio/positions"];
const DEALER_BOOKS: [&str; 3] =
    ["orders/dealerorderbook", "orders/dealertradebook", "portfolio/dealerpositions"];

fn get(sim: &mut Sim, path: &str, query: &[(&str, &str)]) -> Answer {
    let mut query: Query = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    if path.ends_with("positions") {
        query.insert("dayOrNet".to_owned(), "NetWise".to_owned());
    }
    sim.core.interactive_get(0, path, &query, START)
}

/// How many entries a book has.
fn entries(answer: &Answer) -> usize {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let result = result(answer);
    result.as_array().or(result["positionList"].as_array()).unwrap().len()
}

#[track_caller]
fn wrong_client(sim: &mut Sim, path: &str, client: Option<&str>) {
    let query: Vec<_> = client.map(|c| ("clientID", c)).into_iter().collect();
    let answer = get(sim, path, &query);
    assert_eq!(
        (answer.status, &parsed(&answer)["description"]),
        (400, &"Bad Request".into()),
        "{path} {client:?}"
    );
}

#[test]
fn an_investor_reads_the_plain_books() {
    let mut sim = Sim::new(Settings::default());
    let login = result(&login_answer(&mut sim));
    assert_eq!((&login["isInvestorClient"], &login["userID"]), (&true.into(), &"SIM01".into()));
    assert_eq!(login["clientCodes"], json!(["*****", "SIM01"]));
    for path in BOOKS {
        for query in [&[][..], &[("clientID", "SIM01")], &[("clientID", "*****")]] {
            assert!(entries(&get(&mut sim, path, query)) > 3, "{path} {query:?}");
        }
        wrong_client(&mut sim, path, Some("SIM02"));
    }
    for path in DEALER_BOOKS {
        assert_eq!(entries(&get(&mut sim, path, &[])), 0, "{path}");
    }
    for path in ["user/profile", "user/balance", "portfolio/holdings"] {
        assert_eq!(get(&mut sim, path, &[]).status, 200);
    }
    let orders = result(&get(&mut sim, "orders", &[]));
    let number = orders[2]["AppOrderID"].to_string();
    let history = result(&get(&mut sim, "orders", &[("appOrderID", &number)]));
    assert_eq!(history.as_array().unwrap().len(), 2);
    refused(&get(&mut sim, "orders", &[("appOrderID", "1")]), "e-orders-0001");
    let answer = sim.core.interactive_get(0, "portfolio/positions", &Query::new(), START);
    assert_eq!((answer.status, &parsed(&answer)["code"]), (400, &"e-response-0001".into()));
}

#[test]
fn a_dealer_names_the_client_for_books_and_itself_for_funds() {
    let mut sim = Sim::new(Settings { account_kind: AccountKind::Dealer, ..Settings::default() });
    let login = result(&login_answer(&mut sim));
    assert_eq!((&login["isInvestorClient"], &login["userID"]), (&false.into(), &"SIM01A02".into()));
    assert_eq!(login["clientCodes"], json!(["SIM01", "*****"]));
    let token = login["token"].as_str().unwrap();
    assert!(sim.core.key.verify(token).unwrap().user_id.starts_with("SIM01A02_"));
    let connect =
        |user: &str| Connect { token: token.to_owned(), user_id: user.to_owned(), ..Connect::default() };
    refused(
        &sim.core.open_socket(Product::Interactive, &connect("SIM01"), 1, START).unwrap_err(),
        "e-socket-0001",
    );
    sim.core.open_socket(Product::Interactive, &connect("SIM01A02"), 1, START).unwrap();

    for path in BOOKS {
        assert_eq!(entries(&get(&mut sim, path, &[("clientID", "SIM01")])), 0, "{path}");
        assert_eq!(entries(&get(&mut sim, path, &[])), 0, "{path}");
    }
    for path in DEALER_BOOKS {
        let answer = get(&mut sim, path, &[("clientID", "SIM01")]);
        assert!(entries(&answer) > 3, "{path}");
        for client in [None, Some("SIM01A02"), Some("*****")] {
            wrong_client(&mut sim, path, client);
        }
    }
    let orders = result(&get(&mut sim, "orders/dealerorderbook", &[("clientID", "SIM01")]));
    assert_eq!((&orders[0]["LoginID"], &orders[0]["ClientID"]), (&"SIM01A02".into(), &"SIM01".into()));
    assert_eq!(get(&mut sim, "user/balance", &[("clientID", "SIM01A02")]).status, 200);
    for client in [None, Some("SIM01"), Some("*****")] {
        wrong_client(&mut sim, "user/balance", client);
    }
    wrong_client(&mut sim, "portfolio/holdings", Some("SIM01A02"));
    assert_eq!(get(&mut sim, "portfolio/holdings", &[("clientID", "SIM01")]).status, 200);
    let profile = result(&get(&mut sim, "user/profile", &[("clientID", "SIM01")]));
    assert_eq!((&profile["IsProClient"], &profile["IsInvestorClient"]), (&false.into(), &false.into()));
}

#[test]
fn a_pro_dealer_names_the_mask_everywhere() {
    let mut sim = Sim::new(Settings { account_kind: AccountKind::Pro, ..Settings::default() });
    let login = result(&login_answer(&mut sim));
    assert_eq!((&login["isInvestorClient"], &login["clientCodes"]), (&false.into(), &json!(["*****"])));
    for path in DEALER_BOOKS {
        assert!(entries(&get(&mut sim, path, &[("clientID", "*****")])) > 3, "{path}");
    }
    for path in DEALER_BOOKS.into_iter().chain(["user/balance", "user/profile", "portfolio/holdings"]) {
        for client in [None, Some("SIM01"), Some("SIM01A02")] {
            wrong_client(&mut sim, path, client);
        }
    }
    assert_eq!(get(&mut sim, "user/balance", &[("clientID", "*****")]).status, 200);
    assert_eq!(result(&get(&mut sim, "user/profile", &[("clientID", "*****")]))["IsProClient"], true);
}

fn login_answer(sim: &mut Sim) -> Answer {
    let keys = DemoKeys::default();
    let (app_key, secret) = keys.pair(Product::Interactive);
    sim.core.login(Product::Interactive, &json!({"appKey": app_key, "secretKey": secret}), START)
}

#[test]
fn empty_books_say_so_in_both_ways() {
    let mut sim = Sim::new(Settings { books: Books::Empty, ..Settings::default() });
    for path in BOOKS {
        assert_eq!(entries(&get(&mut sim, path, &[])), 0);
        let answer = get(&mut sim, path, &[]);
        refused(&answer, "e-orders-0001");
        assert_eq!(parsed(&answer)["description"], "Data Not Available");
    }
    let balance = result(&get(&mut sim, "user/balance", &[]));
    let limits = &balance["BalanceList"][0]["limitObject"]["RMSSubLimits"];
    assert_eq!(
        (&limits["netMarginAvailable"], &limits["marginUtilized"]),
        (&"2,500,000.00".into(), &"0.00".into())
    );
    assert_eq!(sim.core.fill(None, START), 0);
    assert_eq!(sim.core.books_view()["accounts"][0]["orders"], json!([]));
}

#[test]
fn a_fill_is_told_to_the_accounts_own_interactive_sockets() {
    let mut sim =
        Sim::new(Settings { accounts: 2, nightly_cut_ist: TimeOfDay::new(3, 0), ..Settings::default() });
    let (first, second) = (sim.login_to(0, Product::Interactive), sim.login_to(1, Product::Interactive));
    let market = sim.login(Product::Market);
    let connect = |token: &str, user: &str| Connect {
        token: token.to_owned(),
        user_id: user.to_owned(),
        ..Connect::default()
    };
    sim.core.open_socket(Product::Interactive, &connect(&first, "SIM01"), 1, START).unwrap();
    sim.core.open_socket(Product::Interactive, &connect(&second, "SIM02"), 2, START).unwrap();
    sim.core.open_socket(Product::Market, &connect(&market, "SIM01"), 3, START).unwrap();
    sim.core.take_outbox();
    let before = sim.core.books_view()["accounts"].clone();
    assert_eq!(sim.core.fill(Some(0), START), 1);
    let out = sim.core.take_outbox();
    let mut events = Vec::new();
    for (id, frame) in &out {
        assert_eq!(*id, 1);
        let Out::Text(text) = frame else { panic!("{frame:?}") };
        let event: Value = serde_json::from_str(&text[2..]).unwrap();
        let payload: Value = serde_json::from_str(event[1].as_str().unwrap()).unwrap();
        events.push((event[0].as_str().unwrap().to_owned(), payload));
    }
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["order", "trade", "position"]);
    assert_eq!((&events[0].1["OrderStatus"], &events[0].1["LeavesQuantity"]), (&"Filled".into(), &0.into()));
    assert_eq!(events[1].1["AppOrderID"], events[0].1["AppOrderID"]);
    let after = sim.core.books_view()["accounts"].clone();
    assert_eq!(after[1], before[1], "the other account's is as it was");
    assert_ne!(after[0], before[0]);

    // A new day has new books.
    let tomorrow = START.plus(std::time::Duration::from_hours(24));
    sim.core.advance(tomorrow);
    let books = sim.core.books_view();
    assert_eq!(
        books["accounts"][0]["orders"].as_array().unwrap().len(),
        before[0]["orders"].as_array().unwrap().len()
    );
    assert_ne!(books["accounts"][0]["orders"][0]["id"], before[0]["orders"][0]["id"]);
}
