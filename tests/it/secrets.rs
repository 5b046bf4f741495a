//! No secret and no token shows in anything the program says, at the loudest log level, while
//! logins succeed, fail, are refused and replaced.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use serde_json::json;
use tickgate::broker::Broker as _;
use tickgate::clock::SystemClock;
use tickgate::secret::Secret;
use tickgate::store::Store;
use tickgate::token::cipher::Cipher;
use tickgate::token::store::TokenStore;
use tickgate::token::{Product, Token};

use crate::rig::{KEY, Outside, india, run};
use crate::support::{Server, Simulator, http, program};

/// What must not be seen, by what it is.
#[derive(Default)]
struct Secrets(BTreeMap<String, String>);

impl Secrets {
    fn add(&mut self, name: &str, text: &str) {
        assert!(text.len() >= 8, "{name} is too short to be looked for");
        self.0.insert(name.to_owned(), text.to_owned());
    }

    fn look(&self, place: &str, text: &str) {
        for (name, secret) in &self.0 {
            // Also as it would stand in a URL.
            let escaped = secret.replace('$', "%24").replace('#', "%23").replace('@', "%40");
            for form in [secret, &escaped] {
                assert!(!text.contains(form.as_str()), "{place} shows {name}");
            }
        }
        assert!(!text.contains("eyJ0eXAi") && !text.contains("eyJhbGci"), "{place} shows some JWT");
    }

    /// The tokens that are stored now.
    fn add_stored(&mut self, server: &Server, binding_of: impl Fn(Product) -> String) {
        let clock = Arc::new(SystemClock);
        let (store, _) = Store::open(&server.data(), &SystemClock).unwrap();
        let cipher = Cipher::new(&Secret::new(KEY), "test", clock).unwrap();
        let tokens = TokenStore::open(&store, cipher).unwrap();
        for product in Product::ALL {
            if let tickgate::token::store::Loaded::Found(stored) =
                tokens.load("default", product, &binding_of(product))
            {
                self.add(&format!("a stored {product} token"), stored.secret.expose());
            }
        }
    }
}

fn binding(simulator: &Simulator, product: Product) -> String {
    use tickgate::broker::xts::{AppKey, Credentials, Settings, XtsBroker};
    let given: BTreeMap<_, _> = simulator.credentials().into_iter().collect();
    let pair = |kind: &str| {
        let get = |part: &str| Secret::new(given[&format!("TICKGATE_XTS_{kind}_{part}")].as_str());
        Some(AppKey { key: get("APP_KEY"), secret: get("SECRET_KEY") })
    };
    let credentials =
        Credentials { market: pair("MARKET"), interactive: pair("INTERACTIVE"), access_token: None };
    let settings = Settings { base_url: format!("http://{}", simulator.address), ..Settings::default() };
    XtsBroker::new(settings, credentials, "default", Arc::new(SystemClock)).unwrap().binding(product)
}

#[test]
fn nothing_that_is_said_holds_a_secret() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let simulator = Simulator::start(&[]);
    let mut secrets = Secrets::default();
    secrets.add("the Fernet key", KEY);
    let mut environment: Vec<(String, String)> = simulator.credentials();
    for (name, value) in &environment {
        secrets.add(name, value);
    }
    environment.extend(
        [
            ("TICKGATE_BROKER__KIND", "xts"),
            ("TICKGATE_BROKER__XTS__REQUEST_INTERVAL_MS", "0"),
            ("TICKGATE_SESSION__LOGIN_MIN_INTERVAL_MS", "0"),
            ("TICKGATE_FERNET_KEY", KEY),
            ("TICKGATE_LOG__LEVEL", "trace"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    environment.push(("TICKGATE_BROKER__XTS__BASE_URL".to_owned(), format!("http://{}", simulator.address)));
    let given: Vec<_> = environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let mut server = Server::start(&given);
    server.wait_ready();
    secrets.add("the local key", &server.local_key());
    let tell = |path: &str, body: serde_json::Value| {
        let answer = http("POST", simulator.address, &format!("/__sim/{path}"), None, &body.to_string());
        assert_eq!(answer.as_ref().map(|(status, _)| *status), Some(200), "{answer:?}");
    };
    let refresh = |product: &str| {
        let body = json!({ "product": product }).to_string();
        let key = server.local_key();
        http("POST", server.http_address(), "/v1/admin/refresh", Some(&key), &body).unwrap()
    };
    let mut shown = Vec::new();
    // Refused tokens, refused logins in several words, tokens that are no JWT, a broker that is away.
    tell("expire", json!({"sockets": "close"}));
    for fault in ["credentials", "disabled", "rate_limited", "unavailable", "opaque", "skewed"] {
        tell("login_faults", json!({ "kind": fault, "count": 2, "skew_s": -90_000 }));
        for product in ["market", "interactive"] {
            shown.push((format!("the answer to a refresh ({fault})"), refresh(product).1));
        }
        tell("login_faults", json!({ "clear": true }));
    }
    for product in ["market", "interactive"] {
        assert_eq!(refresh(product).0, 200);
    }
    tell("restart", json!({ "down_ms": 300, "forget": false }));
    server.wait_ready();
    for path in ["/v1/status", "/metrics", "/healthz", "/readyz"] {
        shown.push((path.to_owned(), server.get(path).unwrap().1));
    }
    for args in [&["token", "status"][..], &["token", "status", "--json"], &["key", "list"]] {
        let output = program().args(args).current_dir(server.root()).output().unwrap();
        for text in [output.stdout, output.stderr] {
            shown.push((args.join(" "), String::from_utf8_lossy(&text).into_owned()));
        }
    }
    assert_eq!(server.terminate(), Some(0));
    secrets.add_stored(&server, |product| binding(&simulator, product));
    assert!(secrets.0.keys().filter(|name| name.contains("stored")).count() == 2, "both are stored");
    let log = server.log();
    assert!(log.contains("DEBUG") && log.contains("login failed"), "the log is as loud as it can be");
    secrets.look("the log", &log);
    for (place, text) in &shown {
        secrets.look(place, text);
    }
    // Apart from the two files that are there for it, and the store that encrypts them.
    for entry in fs::read_dir(server.data()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && name != "local.key" {
            secrets.look(&name, &String::from_utf8_lossy(&fs::read(entry.path()).unwrap()));
        }
    }
}

/// `Debug` of whatever holds a token, and a panic that shows it.
#[test]
fn debug_output_and_panics_show_no_token() {
    run(|| async {
        let outside = Outside::new(tickgate::sim::Settings::default(), india("2026-02-10T11:00:00")).await;
        let running = outside.start();
        running.both_valid().await;
        let token: Token = running.session.get_token(Product::Market, None).await.unwrap();
        let mut secrets = Secrets::default();
        secrets.add("the token", token.secret.expose());
        let shown =
            format!("{token:?} {:?} {:?} {:?}", running.session, running.tokens, running.session.status());
        secrets.look("Debug", &shown);
        let panic = std::panic::catch_unwind(|| panic!("with {token:?}")).unwrap_err();
        secrets.look("a panic", panic.downcast_ref::<String>().unwrap());
        running.stop().await;
    });
}
