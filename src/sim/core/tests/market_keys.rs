//! Several market-data keys of one account: separate sessions, limits and sockets.

use super::*;

fn log_in(sim: &mut Sim, (app_key, secret): &(String, String)) -> String {
    let answer = sim.core.login(Product::Market, &json!({"appKey": app_key, "secretKey": secret}), sim.now);
    result(&answer)["token"].as_str().unwrap().to_owned()
}

#[test]
fn each_pair_has_a_session_and_a_limit_of_its_own() {
    let settings = Settings { accounts: 2, market_keys: 3, max_subscriptions: 2, ..Settings::default() };
    let mut sim = Sim::new(settings.clone());
    let accounts = sim.core.demo_accounts();
    assert_eq!(accounts.len(), 2, "further keys are no further accounts");
    let pairs = accounts[0].market_pairs();
    assert_eq!(pairs[0].0, accounts[0].keys.market_app_key);
    let mut tokens = Vec::new();
    for (at, pair) in pairs.iter().enumerate() {
        let token = log_in(&mut sim, pair);
        let seat = sim.core.authorize(Product::Market, Some(&token), "subscribe", sim.now).unwrap();
        let ids = [[22, 2885], [1594, 1660], [3045, 11536]][at];
        assert_eq!(sim.core.subscribe(seat, &instruments(1501, &ids), true).status, 200);
        refused(&sim.core.subscribe(seat, &instruments(1501, &[1333]), true), "e-session-0004");
        sim.connect(at as u64 + 1, &token, true).unwrap();
        tokens.push(token);
    }
    sim.core.take_outbox();
    let out = sim.run(3);
    assert_eq!(out.len(), 3, "each socket gets its own session's data");
    let account = sim.core.state(sim.now)["accounts"][0].take();
    let keys = account["market_keys"].as_array().unwrap();
    assert_eq!(keys.len(), 3);
    for (key, pair) in keys.iter().zip(&pairs) {
        assert_eq!((&key["app_key"], &key["logins"]), (&pair.0.as_str().into(), &1.into()));
        assert_eq!((&key["subscriptions"]["count"], &key["sockets"]), (&2.into(), &1.into()));
    }
    // A login with one pair leaves the others alone, and so does the other account.
    log_in(&mut sim, &pairs[1]);
    let authorize =
        |sim: &mut Sim, token: &str| sim.core.authorize(Product::Market, Some(token), "quotes", START);
    assert!(authorize(&mut sim, &tokens[0]).is_ok() && authorize(&mut sim, &tokens[2]).is_ok());
    refused(&authorize(&mut sim, &tokens[1]).unwrap_err(), "e-session-0007");

    // Sessions outlive the process; a control on the account means all of its keys.
    let saved = sim.core.take_saved();
    let mut again = Core::start(settings, saved, [7; 32], None, sim.now);
    assert!(again.authorize(Product::Market, Some(&tokens[2]), "quotes", sim.now).is_ok());
    assert_eq!(again.expire(Some(0), None, SocketEnd::Close), 3);
    assert!(again.authorize(Product::Market, Some(&tokens[0]), "quotes", sim.now).is_err());
}

#[test]
fn no_app_key_opens_nothing() {
    let mut sim = Sim::new(Settings { market_keys: 2, ..Settings::default() });
    let body = json!({"appKey": "", "secretKey": ""});
    refused(&sim.core.login(Product::Interactive, &body, START), "e-user-0001");
}
