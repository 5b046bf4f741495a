//! A real server on port 0, asked over real sockets, with a fake behind it. One file although it is
//! long: every test here stands on the same fake.

mod rest;

use std::sync::Mutex;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::clock::{SystemClock, UnixNanos};
use crate::gateway::auth::{Scope, Scopes};
use crate::gateway::control::{
    AccountStatus, ConsumerCount, FeedStatus, InstrumentStatus, MarketSession, MasterStatus, Product,
    Refused, Rotation, SegmentStatus, Status, TokenStatus,
};
use crate::market::{Exchange, MarketPhase, MarketState, Segment};
use crate::protocol::openalgo::rest::fixtures;
use crate::store::Store;
use crate::store::audit::Entry;

const NOW: UnixNanos = UnixNanos::from_millis(1_770_698_730_000);

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> UnixNanos {
        NOW
    }
}

struct Fake {
    status: Mutex<Status>,
    health: Mutex<Result<(), String>>,
    asked: Mutex<Vec<String>>,
}

impl Control for Fake {
    fn status(&self) -> Status {
        self.status.lock().unwrap().clone()
    }

    fn instruments(&self) -> BoxFuture<'_, Vec<InstrumentStatus>> {
        let row = |name: &str, ago: Option<u64>| InstrumentStatus {
            account: "default".to_owned(),
            name: name.to_owned(),
            state: "live",
            last_data_at: ago.map(|ms| NOW.minus(Duration::from_millis(ms))),
        };
        let rows = vec![row("NSE:A", Some(5)), row("NSE:B", Some(700)), row("NSE:C", None)];
        futures::future::ready(rows).boxed()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), String>> {
        let health = self.health.lock().unwrap().clone();
        async move { health }.boxed()
    }

    fn refresh<'a>(
        &'a self,
        account: Option<&'a str>,
        product: Product,
        by: &'a str,
    ) -> BoxFuture<'a, Result<(), Refused>> {
        self.asked.lock().unwrap().push(format!("refresh {account:?} {product:?} {by}"));
        async move {
            let names: Vec<_> = self.status().accounts.into_iter().map(|account| account.name).collect();
            match account {
                None if names.len() > 1 => Err(Refused::WhichAccount(names)),
                _ => answer_for(account, product),
            }
        }
        .boxed()
    }

    fn revoke<'a>(
        &'a self,
        account: Option<&'a str>,
        product: Product,
        by: &'a str,
    ) -> BoxFuture<'a, Result<bool, Refused>> {
        self.asked.lock().unwrap().push(format!("revoke {account:?} {product:?} {by}"));
        futures::future::ready(answer_for(account, product).map(|()| product == Product::Market)).boxed()
    }

    fn rotate<'a>(&'a self, key_id: Option<&'a str>) -> BoxFuture<'a, Result<Rotation, Refused>> {
        self.asked.lock().unwrap().push(format!("rotate {key_id:?}"));
        let answer = match key_id {
            Some("other") => Err(Refused::Conflict("another key".to_owned())),
            _ => Ok(Rotation { given: key_id.is_some(), records: 2, superseded: 1, ..Rotation::default() }),
        };
        futures::future::ready(answer).boxed()
    }

    fn reconnect<'a>(&'a self, account: Option<&'a str>) -> BoxFuture<'a, Result<(), Refused>> {
        self.asked.lock().unwrap().push(format!("reconnect {account:?}"));
        async { Err(Refused::Failed("the feed is stopped".to_owned())) }.boxed()
    }
}

/// `data` has no interactive keys, `broken` a broker that refuses them, `bare` none at all.
fn answer_for(account: Option<&str>, product: Product) -> Result<(), Refused> {
    let not_configured = || Err(Refused::NotConfigured("not configured: no keys".to_owned()));
    match (account, product) {
        (None | Some("default"), _) | (Some("data" | "broken"), Product::Market) => Ok(()),
        (Some("data"), Product::Interactive) | (Some("bare"), _) => not_configured(),
        (Some("broken"), Product::Interactive) => Err(Refused::Failed("bad secret".to_owned())),
        (Some(name), _) => Err(Refused::NoAccount(name.to_owned())),
    }
}

fn phases() -> Vec<MarketPhase> {
    let phase = |segment, code, at| MarketPhase {
        segment,
        code,
        at,
        received_at: NOW,
        message: "as the broker says".to_owned(),
    };
    vec![
        phase(Segment::NseCash, 2, NOW.minus(Duration::from_mins(1))),
        phase(Segment::Mcx, 99, UnixNanos::ZERO),
    ]
}

fn live() -> Status {
    let token = TokenStatus {
        state: "valid",
        issued_at: Some(NOW.minus(Duration::from_hours(1))),
        expires_at: Some(NOW.plus(Duration::from_hours(2))),
        last_refusal: None,
        logins_today: 1,
        next_login_at: Some(NOW.plus(Duration::from_hours(22))),
        store_failure: Some("no room on the disk".to_owned()),
        app_key_expires: Some("31-03-2026".to_owned()),
    };
    Status {
        market_broker: phases(),
        accounts: vec![AccountStatus {
            name: "default".to_owned(),
            broker: "sim".to_owned(),
            failed: false,
            interactive: TokenStatus {
                state: "needs_operator",
                last_refusal: Some("Invalid appKey".to_owned()),
                ..TokenStatus::default()
            },
            market: token,
            feed: FeedStatus {
                state: "live",
                since: NOW.minus(Duration::from_mins(1)),
                generation: 3,
                last_tick_at: Some(NOW.minus(Duration::from_millis(250))),
                reconnects: 2,
                wanted: 5,
                confirmed: 4,
                rejected: 1,
                reason: None,
                segments: vec![SegmentStatus {
                    segment: Segment::NseCash,
                    state: "live",
                    since: NOW.minus(Duration::from_mins(1)),
                    reason: String::new(),
                    last_data_at: Some(NOW.minus(Duration::from_millis(300))),
                }],
            },
            instruments: vec!["NSE:RELIANCE".to_owned()],
            more: Vec::new(),
        }],
        master: Some(MasterStatus { instruments: 243, loaded_at: NOW, bad_rows: 1 }),
        consumers: ConsumerCount { count: 7, slow: 1 },
        market: vec![(Exchange::Nse, MarketState::Open), (Exchange::Mcx, MarketState::Closed)],
    }
}

/// As [`live`], with another account `second` beside it.
fn two_live() -> Status {
    let mut status = live();
    let second = AccountStatus { name: "second".to_owned(), ..status.accounts[0].clone() };
    status.accounts.push(second);
    status
}

struct Port {
    server: Option<HttpHandle>,
    fake: Arc<Fake>,
    keys: ConsumerKeys,
    audit: Audit,
    client: Client,
    _dir: TempDir,
}

struct Got {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    fn code(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["code"].as_str().unwrap_or_default().to_owned())
    }
}

impl Port {
    fn open() -> Self {
        let settings = Settings { allowed_hosts: vec!["feed.example.com".to_owned()], ..Settings::default() };
        Self::open_with(settings, openalgo::fake::Books::default())
    }

    fn open_with(settings: Settings, books: openalgo::fake::Books) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = TempDir::new().unwrap();
        let (store, _) = Store::open(dir.path(), &SystemClock).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(Fixed);
        let keys = ConsumerKeys::open(&store, clock.clone()).unwrap();
        let audit = Audit::open(&store).unwrap();
        let fake = Arc::new(Fake {
            status: Mutex::new(live()),
            health: Mutex::new(Ok(())),
            asked: Mutex::default(),
        });
        let masters = MasterHandle::new();
        masters.store(Arc::new(fixtures::master()));
        let deps = Deps {
            control: fake.clone(),
            desk: openalgo::fake::FakeDesk::new(books),
            masters,
            calendar: Calendar::new(),
            broker: "test".to_owned(),
            keys: keys.clone(),
            audit: audit.clone(),
            prometheus: Prometheus::install().unwrap(),
            settings,
            tls: None,
            clock,
        };
        let server = start(TcpListener::bind("127.0.0.1:0").unwrap(), deps).unwrap();
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Self { server: Some(server), fake, keys, audit, client, _dir: dir }
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
        let url = format!("http://{}{path}", self.server.as_ref().unwrap().addr());
        let mut request = self.client.request(method, url).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        Got { status, headers, text: answer.text().await.unwrap() }
    }

    async fn get(&self, path: &str) -> Got {
        self.send(Method::GET, path, &[], "").await
    }

    async fn admin(&self, method: Method, path: &str, key: &str, body: &str) -> Got {
        self.send(method, path, &[("authorization", &format!("Bearer {key}"))], body).await
    }

    async fn key(&self, name: &str, scopes: &[Scope]) -> String {
        let scopes: Scopes = scopes.iter().copied().collect();
        self.keys.create(name, scopes).await.unwrap().expose().to_owned()
    }

    async fn close(mut self) {
        self.server.take().unwrap().stop().await;
    }
}

#[actix_web::test]
async fn health_and_readiness_tell_what_is_wrong() {
    let port = Port::open();
    let health = port.get("/healthz").await;
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["pid"], std::process::id());
    assert_eq!(port.send(Method::HEAD, "/healthz", &[], "").await.status, 200);
    *port.fake.health.lock().unwrap() = Err("the token actor does not answer".to_owned());
    let health = port.get("/healthz").await;
    assert_eq!(
        (health.status.as_u16(), health.json()["reason"].as_str().unwrap()),
        (503, "the token actor does not answer")
    );

    let ready = port.get("/readyz").await;
    assert_eq!((ready.status.as_u16(), ready.json()), (200, json!({"ready": true, "reason": null})));
    port.fake.status.lock().unwrap().market = vec![(Exchange::Nse, MarketState::Closed)];
    let ready = port.get("/readyz").await;
    assert_eq!(
        (ready.status.as_u16(), ready.json()["reason"].as_str()),
        (200, Some("all markets are closed"))
    );
    {
        let mut status = port.fake.status.lock().unwrap();
        status.master = None;
        status.accounts[0].feed.state = "waiting";
        status.accounts[0].feed.reason = Some("network: refused".to_owned());
    }
    let ready = port.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(
        ready.json()["reason"],
        "account default: feed is waiting (network: refused); the instrument list is not loaded"
    );
    port.close().await;
}

#[actix_web::test]
async fn with_several_accounts_one_that_serves_is_enough_and_the_others_are_named() {
    let port = Port::open();
    let set = |change: &dyn Fn(&mut Status)| {
        let mut status = two_live();
        change(&mut status);
        *port.fake.status.lock().unwrap() = status;
    };
    let ready = async || {
        let got = port.get("/readyz").await;
        let body = got.json();
        assert_eq!(body["ready"], got.status == 200);
        (got.status.as_u16(), body["reason"].as_str().unwrap_or_default().to_owned())
    };
    set(&|_| {});
    assert_eq!(ready().await, (200, String::new()));

    set(&|status| {
        status.accounts[1].market.state = "needs_operator";
        status.accounts[1].market.last_refusal = Some("Invalid appKey".to_owned());
        status.accounts[1].feed.state = "awaiting_token";
        status.market = vec![(Exchange::Nse, MarketState::Closed)];
    });
    let unwell = "account second: market token is needs_operator (Invalid appKey); \
                  account second: feed is awaiting_token; all markets are closed";
    assert_eq!(ready().await, (200, unwell.to_owned()));

    set(&|status| status.accounts[0].failed = true);
    let unwell = "account default: it has given up after repeated internal failures";
    assert_eq!(ready().await, (200, unwell.to_owned()));
    let page = port.get("/v1/status").await.json();
    assert_eq!(page["accounts"]["default"]["state"], "failed");
    assert_eq!(page["accounts"]["second"]["state"], "running");

    // A token here and a feed there serve nobody.
    set(&|status| {
        status.accounts[0].feed.state = "waiting";
        status.accounts[1].market.state = "expired";
    });
    let unwell = "account default: feed is waiting; account second: market token is expired";
    assert_eq!(ready().await, (503, unwell.to_owned()));
    set(&|status| status.master = None);
    assert_eq!(ready().await, (503, "the instrument list is not loaded".to_owned()));
    set(&|status| status.accounts.clear());
    assert_eq!(ready().await, (503, "no account is running".to_owned()));
    port.close().await;
}

#[actix_web::test]
async fn an_account_serves_as_long_as_one_of_its_sessions_does() {
    let port = Port::open();
    {
        let mut status = live();
        let account = &mut status.accounts[0];
        let (mut market, feed) = (account.market.clone(), account.feed.clone());
        market.expires_at = Some(NOW.plus(Duration::from_mins(1)));
        let (name, instruments) = ("default/2".to_owned(), vec!["NSE:TCS".to_owned()]);
        account.more.push(MarketSession { name, failed: false, market, feed, instruments });
        account.market.state = "replaced";
        *port.fake.status.lock().unwrap() = status;
    }
    let got = port.get("/readyz").await;
    let reason = got.json()["reason"].as_str().unwrap().to_owned();
    assert_eq!((got.status.as_u16(), reason.as_str()), (200, "account default: market token is replaced"));
    let second = port.get("/v1/status").await.json()["accounts"]["default"]["sessions"][1].clone();
    assert_eq!((&second["name"], &second["instruments"]), (&json!("default/2"), &json!(["NSE:TCS"])));
    assert_eq!(
        (&second["token"]["market"]["seconds_left"], &second["token"]["interactive"]),
        (&json!(60), &Value::Null)
    );
    let metrics = port.get("/metrics").await.text;
    assert!(
        metrics.contains("tickgate_token_expiry_seconds{account=\"default/2\",product=\"market\"} 60"),
        "{metrics}"
    );
    assert!(metrics.contains("tickgate_feed_last_tick_age_seconds{account=\"default/2\"} 0.25"), "{metrics}");

    port.fake.status.lock().unwrap().accounts[0].more[0].failed = true;
    assert_eq!(port.get("/readyz").await.status, 503);
    port.close().await;
}

#[actix_web::test]
async fn pages_show_every_account() {
    let port = Port::open();
    {
        let mut status = two_live();
        status.accounts[1].market.expires_at = Some(NOW.plus(Duration::from_mins(1)));
        *port.fake.status.lock().unwrap() = status;
    }
    let page = port.get("/v1/status").await.json();
    let left = |account: &str| page["accounts"][account]["token"]["market"]["seconds_left"].clone();
    assert_eq!((left("default"), left("second")), (json!(7200), json!(60)));
    let metrics = port.get("/metrics").await.text;
    let line = "tickgate_token_expiry_seconds{account=\"second\",product=\"market\"} 60";
    assert!(metrics.contains(line), "{metrics}");
    port.close().await;
}

#[actix_web::test]
async fn instruments_without_data_come_first_and_no_more_than_asked_for() {
    let port = Port::open();
    let row = |name: &str, age: Option<u64>| json!({"account": "default", "instrument": name, "state": "live", "last_tick_age_ms": age});
    let page = port.get("/v1/status/instruments").await.json();
    let rows = [row("NSE:C", None), row("NSE:B", Some(700)), row("NSE:A", Some(5))];
    assert_eq!(page, json!({"count": 3, "instruments": rows}));
    let page = port.get("/v1/status/instruments?limit=1").await.json();
    assert_eq!(page, json!({"count": 3, "instruments": rows[..1]}));
    for wrong in ["limit=x", "limit=-1", "last=1"] {
        assert_eq!(port.get(&format!("/v1/status/instruments?{wrong}")).await.status, 400, "{wrong}");
    }
    port.close().await;
}

#[actix_web::test]
async fn the_status_has_the_agreed_shape() {
    let port = Port::open();
    let got = port.get("/v1/status").await;
    assert_eq!(got.status, 200);
    let mut page = got.json();
    assert!(page["uptime_s"].as_u64().unwrap() < 60);
    page["uptime_s"] = json!(0);
    page["version"] = json!("x");
    let account = &mut page["accounts"]["default"];
    let sessions = account["sessions"].take();
    let market = json!({"market": account["token"]["market"]});
    let feed = &account["feed"];
    assert_eq!(
        sessions,
        json!([{
            "name": "default", "state": "running", "token": market, "feed": feed, "instruments": ["NSE:RELIANCE"]
        }])
    );
    assert_eq!(
        page,
        json!({
            "version": "x", "uptime_s": 0,
            "accounts": {"default": {
                "broker": "sim",
                "state": "running",
                "token": {
                    "market": {
                        "state": "valid", "issued_at": "2026-02-10T09:15:30.000+05:30",
                        "expires_at": "2026-02-10T12:15:30.000+05:30", "seconds_left": 7200,
                        "last_refusal": null, "logins_today": 1,
                        "next_login_at": "2026-02-11T08:15:30.000+05:30",
                        "store_failure": "no room on the disk", "app_key_expires": "31-03-2026"
                    },
                    "interactive": {
                        "state": "needs_operator", "issued_at": null, "expires_at": null, "seconds_left": null,
                        "last_refusal": "Invalid appKey", "logins_today": 0, "next_login_at": null,
                        "store_failure": null, "app_key_expires": null
                    }
                },
                "feed": {
                    "state": "live", "since": "2026-02-10T10:14:30.000+05:30", "generation": 3,
                    "last_tick_age_ms": 250, "reconnects": 2, "reason": null,
                    "subscriptions": {"wanted": 5, "confirmed": 4, "rejected": 1},
                    "segments": {"NSE": {"state": "live", "since": "2026-02-10T10:14:30.000+05:30",
                        "reason": "", "last_tick_age_ms": 300}}
                },
                "sessions": null
            }},
            "master": {"instruments": 243, "loaded_at": "2026-02-10T10:15:30.000+05:30", "bad_rows": 1},
            "consumers": {"count": 7, "slow": 1},
            "market": {"NSE": "open", "MCX": "closed"},
            "market_broker": {
                "NSECM": {"session": "normal_open", "code": 2, "at": NOW.minus(Duration::from_mins(1)).in_india(),
                    "message": "as the broker says"},
                "MCXFO": {"session": "unknown", "code": 99, "at": NOW.in_india(), "message": "as the broker says"}
            }
        })
    );
    let metrics = port.get("/metrics").await;
    assert_eq!(metrics.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let line = "tickgate_token_expiry_seconds{account=\"default\",product=\"market\"} 7200";
    assert!(metrics.text.contains(line), "{}", metrics.text);
    assert!(metrics.text.contains("tickgate_feed_last_tick_age_seconds{account=\"default\"} 0.25"));
    port.close().await;
}

#[actix_web::test]
async fn from_elsewhere_status_and_metrics_need_a_key() {
    let port = Port::open();
    let key = port.key("reader", &[Scope::Feed]).await;
    // A public name, or the mark of a reverse proxy: the request does not come from this machine.
    for header in [("host", "feed.example.com"), ("x-forwarded-for", "203.0.113.5")] {
        for path in ["/v1/status", "/v1/status/instruments", "/metrics"] {
            let got = port.send(Method::GET, path, &[header], "").await;
            assert_eq!(got.code(), (401, "UNAUTHORIZED".to_owned()), "{header:?} {path}");
            let bearer = format!("Bearer {key}");
            let got = port.send(Method::GET, path, &[header, ("authorization", &bearer)], "").await;
            assert_eq!(got.status, 200, "{header:?} {path}");
        }
        for path in ["/healthz", "/readyz"] {
            assert_eq!(port.send(Method::GET, path, &[header], "").await.status, 200);
        }
    }
    port.close().await;
}

#[actix_web::test]
async fn other_hosts_and_their_pages_are_refused() {
    let port = Port::open();
    for header in [("host", "evil.example"), ("origin", "http://evil.example"), ("origin", "null")] {
        let got = port.send(Method::GET, "/healthz", &[header], "").await;
        assert_eq!(got.code(), (403, "FORBIDDEN".to_owned()), "{header:?}");
        assert_eq!(got.headers["x-frame-options"], "DENY");
    }
    let origin = format!("http://{}", port.server.as_ref().unwrap().addr());
    let got = port.send(Method::GET, "/healthz", &[("origin", &origin)], "").await;
    assert_eq!(got.status, 200);
    assert_eq!(got.headers["x-frame-options"], "DENY");
    assert!(got.headers["content-security-policy"].to_str().unwrap().contains("frame-ancestors 'none'"));
    port.close().await;
}

#[actix_web::test]
async fn keys_are_made_listed_and_revoked_with_the_right_scope_only() {
    let port = Port::open();
    let admin = port.key("boss", &[Scope::Admin]).await;
    let reader = port.key("reader", &[Scope::Feed]).await;
    let keys = "/v1/admin/keys";

    for (method, path) in [(Method::GET, keys), (Method::POST, keys), (Method::DELETE, "/v1/admin/keys/boss")]
    {
        let none = port.send(method.clone(), path, &[], "{}").await;
        assert_eq!(none.code(), (401, "UNAUTHORIZED".to_owned()), "{method} {path}");
        assert_eq!(none.headers["www-authenticate"], "Bearer");
        assert_eq!(port.admin(method.clone(), path, "0123", "{}").await.status, 401);
        assert_eq!(port.admin(method, path, &reader, "{}").await.code(), (403, "FORBIDDEN".to_owned()));
    }

    let made = port.admin(Method::POST, keys, &admin, r#"{"name":"bot","scopes":["feed","trade"]}"#).await;
    assert_eq!(made.status, 201);
    let text = made.json()["key"].as_str().unwrap().to_owned();
    assert_eq!(text.len(), 64);
    assert!(port.keys.verify(&text).is_some_and(|key| key.scopes.has(Scope::Trade)));
    let made = port.admin(Method::POST, keys, &admin, r#"{"name":"plain"}"#).await;
    assert_eq!(made.json()["scopes"], json!(["feed", "account"]));

    let list = port.admin(Method::GET, keys, &admin, "").await.json();
    let names: Vec<_> =
        list["keys"].as_array().unwrap().iter().map(|k| k["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["boss", "bot", "plain", "reader"]);
    assert_eq!(list["keys"][1]["created_at"], "2026-02-10T10:15:30.000+05:30");
    assert!(!list.to_string().contains(&text));

    for (body, status) in [
        (r#"{"name":"bot"}"#, 409),
        (r#"{"name":"a b"}"#, 400),
        (r#"{"name":"x","scopes":"everything"}"#, 400),
        (r#"{"name":"x","scopes":[]}"#, 400),
        (r#"{"name":"x","color":1}"#, 400),
        ("", 400),
    ] {
        assert_eq!(port.admin(Method::POST, keys, &admin, body).await.status.as_u16(), status, "{body}");
    }
    let huge = format!(r#"{{"name":"{}"}}"#, "x".repeat(MAX_BODY));
    assert_eq!(port.admin(Method::POST, keys, &admin, &huge).await.code(), (413, "BODY_TOO_BIG".to_owned()));

    assert_eq!(port.admin(Method::DELETE, "/v1/admin/keys/bot", &admin, "").await.status, 200);
    assert!(port.keys.verify(&text).is_none());
    assert_eq!(
        port.admin(Method::DELETE, "/v1/admin/keys/bot", &admin, "").await.code(),
        (404, "NOT_FOUND".to_owned())
    );
    port.close().await;
}

#[actix_web::test]
async fn acts_on_tokens_and_feed_reach_the_control_plane_with_the_name_of_the_key() {
    let port = Port::open();
    let admin = port.key("boss", &[Scope::Admin]).await;
    let post = async |path: &str, body: &str| {
        let got = port.admin(Method::POST, path, &admin, body).await;
        (got.status.as_u16(), got.json())
    };
    let (refresh, revoke) = ("/v1/admin/refresh", "/v1/admin/revoke");
    let done = |products: Value| (200, json!({"status": "success", "products": products}));
    assert_eq!(post(refresh, "").await, done(json!({"market": "refreshed"})));
    let one = r#"{"account":"default","product":"interactive"}"#;
    assert_eq!(post(refresh, one).await, done(json!({"interactive": "refreshed"})));
    assert_eq!(post(revoke, one).await, done(json!({"interactive": "missing"})));
    let (status, failed) = post("/v1/admin/reconnect", "").await;
    assert_eq!(
        (status, &failed["code"], &failed["message"]),
        (502, &json!("FAILED"), &json!("the feed is stopped"))
    );
    *port.fake.status.lock().unwrap() = two_live();
    let (status, which) = post(refresh, "").await;
    assert_eq!((status, &which["code"]), (400, &json!("BAD_REQUEST")));
    assert_eq!(which["message"], "there are several accounts, name one of them: default, second");
    assert_eq!(
        *port.fake.asked.lock().unwrap(),
        [
            "refresh None Market operator boss",
            "refresh Some(\"default\") Interactive operator boss",
            "revoke Some(\"default\") Interactive operator boss",
            "reconnect None",
            "refresh None Market operator boss"
        ]
    );

    let all = |account: &str| format!(r#"{{"account":"{account}","product":"all"}}"#);
    assert_eq!(
        post(refresh, &all("default")).await,
        done(json!({"market": "refreshed", "interactive": "refreshed"}))
    );
    assert_eq!(
        post(revoke, &all("default")).await,
        done(json!({"market": "revoked", "interactive": "missing"}))
    );
    // What the account does not have fails only who asked for nothing else.
    assert_eq!(
        post(refresh, &all("data")).await,
        done(json!({"market": "refreshed", "interactive": "not_configured"}))
    );
    let refused = async |path: &str, body: &str| {
        let (status, body) = post(path, body).await;
        (status, body["code"].as_str().unwrap().to_owned(), body["message"].as_str().unwrap().to_owned())
    };
    let words = |status: u16, code: &str, message: &str| (status, code.to_owned(), message.to_owned());
    assert_eq!(
        refused(refresh, r#"{"account":"data","product":"interactive"}"#).await,
        words(409, "NOT_CONFIGURED", "not configured: no keys")
    );
    assert_eq!(refused(refresh, &all("bare")).await.1, "NOT_CONFIGURED");
    assert_eq!(
        refused(refresh, &all("broken")).await,
        words(502, "FAILED", "interactive: bad secret; market: refreshed")
    );
    assert_eq!(refused(refresh, &all("x")).await, words(404, "NOT_FOUND", "there is no account x"));
    assert_eq!(refused(refresh, r#"{"product":"both"}"#).await.0, 400);
    assert_eq!(refused(revoke, "").await.0, 400, "what is to be revoked must be said");
    port.close().await;
}

#[actix_web::test]
async fn a_rotation_is_answered_with_its_outcome_and_written_down() {
    let port = Port::open();
    let admin = port.key("boss", &[Scope::Admin]).await;
    let rotate = async |body: &str| port.admin(Method::POST, "/v1/admin/rotate", &admin, body).await;
    assert_eq!(
        rotate("").await.json(),
        json!({
            "status": "success", "key": "file", "records": 2, "unreadable": 0, "unreadable_aside": 0,
            "superseded": 1
        })
    );
    assert_eq!(rotate(r#"{"key_id":"this"}"#).await.json()["key"], "given");
    assert_eq!(rotate(r#"{"key_id":"other"}"#).await.code(), (409, "CONFLICT".to_owned()));
    let entries = port.audit.last(10).unwrap();
    let outcomes: Vec<_> =
        entries.iter().map(|e| (e.event.as_str(), e.who.as_str(), e.outcome.as_str())).collect();
    let done = ("rotated", "operator boss", "2 records under the new key, 0 unreadable");
    assert_eq!(outcomes, [done, done, ("rotated", "operator boss", "failed: another key")]);
    port.close().await;
}

#[actix_web::test]
async fn the_audit_trail_tells_who_did_what_and_no_secret() {
    let port = Port::open();
    let admin = port.key("boss", &[Scope::Admin]).await;
    let made = port.admin(Method::POST, "/v1/admin/keys", &admin, r#"{"name":"bot"}"#).await;
    port.admin(Method::DELETE, "/v1/admin/keys/bot", &admin, "").await;
    // Refused, so nothing happened.
    port.admin(Method::DELETE, "/v1/admin/keys/bot", &admin, "").await;
    port.audit.note(&Entry { account: "default".to_owned(), ..Entry::new(NOW, "login") });
    let page = port.admin(Method::GET, "/v1/admin/audit", &admin, "").await;
    assert_eq!(page.status, 200);
    let entry = |event: &str, account: &str, who: &str, why: &str, outcome: &str| {
        json!({
            "at": "2026-02-10T10:15:30.000+05:30", "at_ms": 1_770_698_730_000_i64, "event": event,
            "account": account, "product": "", "who": who, "why": why, "outcome": outcome
        })
    };
    let http = "asked over HTTP";
    assert_eq!(
        page.json()["entries"],
        json!([
            entry("key_created", "", "operator boss", http, "bot for feed,account"),
            entry("key_revoked", "", "operator boss", http, "bot"),
            entry("login", "default", "", "", ""),
        ])
    );
    assert!(!page.text.contains(made.json()["key"].as_str().unwrap()) && !page.text.contains(&admin));
    let last = port.admin(Method::GET, "/v1/admin/audit?last=1", &admin, "").await.json();
    assert_eq!(last["entries"][0]["event"], "login");
    for bad in ["last=-1", "last=x", "first=1"] {
        let path = format!("/v1/admin/audit?{bad}");
        assert_eq!(port.admin(Method::GET, &path, &admin, "").await.status, 400, "{bad}");
    }
    port.close().await;
}

#[actix_web::test]
async fn every_act_needs_the_scope_admin() {
    let port = Port::open();
    let reader = port.key("reader", &[Scope::Feed, Scope::Account]).await;
    let acts = ["refresh", "revoke", "rotate", "reconnect"].map(|act| (Method::POST, act));
    for (method, act) in acts.into_iter().chain([(Method::GET, "audit")]) {
        let path = format!("/v1/admin/{act}");
        assert_eq!(port.send(method.clone(), &path, &[], "").await.status, 401, "{path}");
        assert_eq!(port.admin(method.clone(), &path, &reader, "").await.status, 403, "{path}");
        let other = if method == Method::GET { Method::POST } else { Method::GET };
        assert_eq!(port.send(other, &path, &[], "").await.status, 405, "{path}");
    }
    assert!(port.fake.asked.lock().unwrap().is_empty());
    port.close().await;
}

#[actix_web::test]
async fn wrong_paths_and_methods_get_json() {
    let port = Port::open();
    for path in ["/", "/nope", "/v1/", "/v1/admin/nope"] {
        let got = port.get(path).await;
        assert_eq!(got.code(), (404, "NOT_FOUND".to_owned()), "{path}");
        assert_eq!(got.headers["content-type"], "application/json");
    }
    assert_eq!(
        port.send(Method::POST, "/healthz", &[], "").await.code(),
        (405, "METHOD_NOT_ALLOWED".to_owned())
    );
    assert_eq!(
        port.send(Method::PUT, "/v1/admin/keys", &[], "").await.code(),
        (405, "METHOD_NOT_ALLOWED".to_owned())
    );
    port.close().await;
}

#[actix_web::test]
async fn a_stopped_server_frees_its_port() {
    let port = Port::open();
    let addr = port.server.as_ref().unwrap().addr();
    assert_eq!(port.get("/healthz").await.status, 200);
    let Port { client, server, .. } = port;
    drop(client);
    server.unwrap().stop().await;
    assert!(TcpListener::bind(addr).is_ok());
}
