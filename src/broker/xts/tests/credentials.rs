use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::broker::{Broker, Class, Error};

use super::super::LoginKind;
use super::super::credentials::Source;
use super::server::Server;
use super::*;

const LOGIN: &str = r#"{"type":"success","code":"s-user-0001","description":"Valid User.","result":{"clientCodes":["*****","TEST01"],"token":"eyJ.new.one","userID":"TEST01","isInvestorClient":true}}"#;
const REFUSED: &str =
    r#"{"type":"error","code":"e-user-0001","description":"Session from-the-browser is over","result":{}}"#;

fn access_token_settings(server: &Server) -> Settings {
    Settings { login: LoginKind::AccessToken, ..settings(server.address) }
}

/// A source of credentials that a test changes.
fn changing() -> (Arc<Mutex<Option<Credentials>>>, Source) {
    let shared = Arc::new(Mutex::new(Some(credentials())));
    let source = Arc::clone(&shared);
    (shared, Box::new(move || source.lock().unwrap().clone()))
}

fn asks_for_an_access_token(error: &Error) -> bool {
    let words = error.to_string();
    error.class() == Class::NeedsOperator
        && ["access token", "login page", "TICKGATE_XTS_ACCESS_TOKEN,", "TICKGATE_XTS_ACCESS_TOKEN_FILE"]
            .iter()
            .all(|piece| words.contains(piece))
        && !words.contains("from-the-browser")
}

#[tokio::test]
async fn the_access_token_goes_with_the_interactive_login_only() {
    let server = Server::start(|_| (200, LOGIN.to_owned())).await;
    let broker = broker(access_token_settings(&server));
    broker.login(Product::Interactive).await.unwrap();
    broker.login(Product::Market).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen[0].json()["accessToken"], "from-the-browser");
    assert_eq!(seen[1].json().get("accessToken"), None);
    // However the interactive product logs in otherwise, the token stays at home.
    let direct = super::broker(settings(server.address));
    direct.login(Product::Interactive).await.unwrap();
    assert_eq!(server.seen()[2].json().get("accessToken"), None);
}

#[tokio::test]
async fn an_access_token_serves_one_login_and_then_a_person_is_asked_for_another() {
    let server = Server::start(|_| (200, LOGIN.to_owned())).await;
    let (shared, source) = changing();
    let broker = broker(access_token_settings(&server)).reloading(source);
    broker.login(Product::Interactive).await.unwrap();
    let refused = broker.login(Product::Interactive).await.unwrap_err();
    assert!(asks_for_an_access_token(&refused) && !refused.answered(), "{refused}");
    assert!(!broker.reload_credentials());
    assert!(asks_for_an_access_token(&broker.login(Product::Interactive).await.unwrap_err()));
    assert_eq!(server.seen().len(), 1, "nothing is sent in vain");
    // Market logins go on.
    broker.login(Product::Market).await.unwrap();

    shared.lock().unwrap().as_mut().unwrap().access_token = Some(Secret::new("another"));
    assert!(broker.reload_credentials());
    broker.login(Product::Interactive).await.unwrap();
    assert_eq!(server.seen()[2].json()["accessToken"], "another");
    shared.lock().unwrap().as_mut().unwrap().access_token = None;
    assert!(broker.reload_credentials());
    assert!(asks_for_an_access_token(&broker.login(Product::Interactive).await.unwrap_err()));
}

#[tokio::test]
async fn a_refused_access_token_needs_a_person_whatever_the_words() {
    let server = Server::start(|_| (400, REFUSED.to_owned())).await;
    let broker = broker(access_token_settings(&server));
    let refused = broker.login(Product::Interactive).await.unwrap_err();
    assert!(asks_for_an_access_token(&refused) && refused.answered(), "{refused}");
    assert!(refused.to_string().contains("e-user-0001 Session … is over"), "{refused}");
    assert!(asks_for_an_access_token(&broker.login(Product::Interactive).await.unwrap_err()));
    assert_eq!(server.seen().len(), 1);

    let named =
        super::broker(access_token_settings(&server)).access_token_in("TICKGATE_ALICE_XTS_ACCESS_TOKEN");
    let refused = named.login(Product::Interactive).await.unwrap_err().to_string();
    assert!(refused.contains("TICKGATE_ALICE_XTS_ACCESS_TOKEN_FILE"), "{refused}");
}

#[tokio::test]
async fn an_access_token_that_nobody_has_judged_is_tried_again() {
    let calls = AtomicU32::new(0);
    let server = Server::start(move |_| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => (502, "<html>".to_owned()),
        1 => (429, String::new()),
        2 => (503, r#"{"type":"error","code":"e","description":"starting"}"#.to_owned()),
        _ => (200, LOGIN.to_owned()),
    })
    .await;
    let broker = broker(access_token_settings(&server));
    for _ in 0..3 {
        let failed = broker.login(Product::Interactive).await.unwrap_err();
        assert_eq!((failed.class(), failed.answered()), (Class::Transient, false), "{failed}");
    }
    broker.login(Product::Interactive).await.unwrap();
}

#[tokio::test]
async fn reloaded_credentials_are_used_and_bind_anew() {
    let server = Server::start(|_| (200, LOGIN.to_owned())).await;
    let (shared, source) = changing();
    let broker = broker(settings(server.address)).reloading(source);
    let (market, interactive) = (broker.binding(Product::Market), broker.binding(Product::Interactive));
    assert!(!broker.reload_credentials(), "the same");
    let fresh = AppKey { key: Secret::new("b5a69788796a50f1e2d3c4"), secret: Secret::new("New#1") };
    shared.lock().unwrap().as_mut().unwrap().market = Some(fresh);
    assert_eq!(broker.binding(Product::Market), market, "not before it is told to");
    assert!(broker.reload_credentials());
    assert!(!broker.reload_credentials());
    assert_ne!(broker.binding(Product::Market), market);
    assert_eq!(broker.binding(Product::Interactive), interactive);
    broker.login(Product::Market).await.unwrap();
    assert_eq!(server.seen()[0].json()["appKey"], "b5a69788796a50f1e2d3c4");
    // A file that is being replaced takes nothing away.
    *shared.lock().unwrap() = None;
    assert!(!broker.reload_credentials());
    broker.login(Product::Market).await.unwrap();
    assert!(!super::broker(settings(server.address)).reload_credentials(), "no source");
}
