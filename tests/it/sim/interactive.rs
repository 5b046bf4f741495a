//! The interactive product of the simulated broker: its ways to log in, books, and its socket.

use tickgate::sim::{AccountKind, Books};

use super::*;

impl Client {
    /// A client of the interactive product below `prefix`.
    pub(super) async fn interactive(sim: &SimServer, prefix: &str, more: &[(&str, &str)]) -> (Self, Value) {
        let mut client = Self::new(sim);
        let keys = sim.credentials();
        let mut body = json!({"appKey": keys.interactive_app_key, "secretKey": keys.interactive_secret_key});
        for (key, value) in more {
            body[*key] = json!(value);
        }
        let (status, answer) = client.call("POST", &format!("/{prefix}/user/session"), Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        answer["result"]["token"].as_str().unwrap().clone_into(&mut client.token);
        (client, answer["result"].clone())
    }

    pub(super) async fn open(&self, prefix: &str, user: &str, more: &str) -> Result<Feed, Error> {
        let url = format!(
            "{}/{prefix}/socket.io/?token={}&userID={user}{more}&transport=websocket&EIO=3",
            self.base.replace("http", "ws"),
            self.token
        );
        tokio_tungstenite::connect_async(url).await.map(|(socket, _)| Feed { socket })
    }
}

#[tokio::test]
async fn interactive_answers_what_is_asked_of_it() {
    let sim = start(Settings::default(), None).await;
    let (client, login) = Client::interactive(&sim, "interactive", &[]).await;
    assert_eq!(login["isInvestorClient"], true);
    for (path, pointer) in [
        ("user/profile", "/result/ClientId"),
        ("user/balance", "/result/BalanceList/0/limitObject/RMSSubLimits/netMarginAvailable"),
        ("orders?clientID=SIM01", "/result/0/AppOrderID"),
        ("orders/trades", "/result/0/ExecutionID"),
        ("portfolio/positions?dayOrNet=NetWise", "/result/positionList/0/ExchangeInstrumentId"),
        ("portfolio/positions?dayOrNet=DayWise", "/result/positionList/0/Quantity"),
        ("portfolio/holdings", "/result/RMSHoldings"),
    ] {
        let (status, answer) = client.call("GET", &format!("/interactive/{path}"), None).await;
        assert_eq!(status, 200, "{path}: {answer}");
        assert!(answer.pointer(pointer).is_some(), "{path}: {answer}");
    }
    let (_, books) = client.call("GET", "/__sim/books", None).await;
    let (_, orders) = client.call("GET", "/interactive/orders", None).await;
    let truth = books["accounts"][0]["orders"].as_array().unwrap();
    assert_eq!(truth.len(), orders["result"].as_array().unwrap().len());
    for (order, truth) in orders["result"].as_array().unwrap().iter().zip(truth) {
        assert_eq!(order["AppOrderID"].to_string(), truth["id"].as_str().unwrap());
    }
    assert_eq!(client.call("POST", "/interactive/orders", Some(json!({}))).await.0, 400);
    assert_eq!(client.call("POST", "/interactive/orders/spread", Some(json!({}))).await.0, 404);
    assert_eq!(client.call("GET", "/7interactive/orders", None).await.0, 404, "there are no clusters");
    assert_eq!(client.call("DELETE", "/interactive/user/session", None).await.0, 200);
    assert_eq!(client.call("GET", "/interactive/user/profile", None).await.0, 400);
}

#[tokio::test]
async fn a_pro_dealers_mask_comes_percent_encoded() {
    let settings = Settings { account_kind: AccountKind::Pro, books: Books::Empty, ..Settings::default() };
    let sim = start(settings, None).await;
    let (client, login) = Client::interactive(&sim, "interactive", &[]).await;
    assert_eq!((&login["userID"], &login["isInvestorClient"]), (&"SIM01A02".into(), &false.into()));
    let path = "/interactive/orders/dealerorderbook?clientID=%2A%2A%2A%2A%2A";
    assert_eq!(client.call("GET", path, None).await.1["result"], json!([]));
    let (status, answer) = client.call("GET", path, None).await;
    assert_eq!((status, &answer["description"]), (400, &"Data Not Available".into()));
    let (status, answer) = client.call("GET", "/interactive/user/balance", None).await;
    assert_eq!((status, &answer["description"]), (400, &"Bad Request".into()));
    assert!(answer["result"]["errors"][0].as_str().unwrap().contains("clientID"));
}

#[tokio::test]
async fn hostlookup_leads_to_a_numbered_cluster_for_calls_and_socket() {
    let sim = start(Settings { hostlookup: true, ..Settings::default() }, None).await;
    let plain = Client::new(&sim);
    let look_up = async || {
        let body = json!({"accesspassword": "2021HostLookUpAccess", "version": "interactive_1.0.1"});
        let (status, answer) = plain.call("POST", "/hostlookup", Some(body)).await;
        assert_eq!((status, &answer["type"]), (200, &true.into()));
        answer["result"].clone()
    };
    let found = look_up().await;
    assert_eq!(found["connectionString"], format!("{}/7hostlookup", plain.base));
    let key = found["uniqueKey"].as_str().unwrap();
    let (client, login) = Client::interactive(&sim, "7hostlookup", &[("uniqueKey", key)]).await;
    assert_eq!(client.call("GET", "/7interactive/user/balance", None).await.0, 200);
    for path in ["/interactive/user/balance", "/7hostlookup/user/balance", "/5interactive/user/balance"] {
        assert_eq!(client.call("GET", path, None).await.0, 404, "{path}");
    }
    let user = login["userID"].as_str().unwrap();
    for (prefix, accepted) in [("7interactive", true), ("interactive", false), ("7hostlookup", false)] {
        let opened = client.open(prefix, user, "&apiType=INTERACTIVE").await;
        assert_eq!(opened.is_ok(), accepted, "{prefix}");
    }
    // A key serves one login, and market data needs none.
    let keys = sim.credentials();
    let body = json!({
        "appKey": keys.interactive_app_key, "secretKey": keys.interactive_secret_key, "uniqueKey": key,
    });
    assert_eq!(plain.call("POST", "/7hostlookup/user/session", Some(body)).await.0, 400);
    let key = look_up().await["uniqueKey"].as_str().unwrap().to_owned();
    Client::interactive(&sim, "7interactive", &[("uniqueKey", &key)]).await;
    Client::login(&sim).await;
    assert_eq!(plain.call("POST", "/HostLookUp", Some(json!({"AccessPassword": "x"}))).await.0, 400);
}

#[tokio::test]
async fn the_interactive_socket_tells_of_fills_and_of_its_replacement_and_stays_open() {
    let sim = start(Settings::default(), None).await;
    let (client, _) = Client::interactive(&sim, "interactive", &[]).await;
    let mut feed = client.open("interactive", "SIM01", "&apiType=INTERACTIVE").await.unwrap();
    feed.greeted().await;
    assert_eq!(
        client.call("POST", "/__sim/fill", Some(json!({"account": "SIM01"}))).await.1,
        json!({"filled": 1})
    );
    for name in ["order", "trade", "position"] {
        let event: Value = serde_json::from_str(&feed.text().await[2..]).unwrap();
        assert_eq!(event[0], name);
        let payload: Value = serde_json::from_str(event[1].as_str().unwrap()).unwrap();
        assert_eq!(payload["LoginID"], "SIM01");
    }
    let (second, _) = Client::interactive(&sim, "interactive", &[]).await;
    assert!(feed.text().await.starts_with("42[\"logout\",{"));
    // Open, but nothing is told any more.
    second.call("POST", "/__sim/fill", Some(json!({}))).await;
    feed.socket.send(Message::text("2still")).await.unwrap();
    assert_eq!(feed.text().await, "3still");
    assert_eq!(client.call("GET", "/interactive/orders", None).await.1["code"], "e-session-0007");
}
