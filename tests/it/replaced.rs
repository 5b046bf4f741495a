//! Another program logs in with our app keys, over real sockets: it is noticed, told, and left
//! alone or taken back.

use serde_json::json;
use tickgate::clock::Clock as _;
use tickgate::session::OnReplaced;
use tickgate::sim::Settings as SimSettings;
use tickgate::token::Product;

use crate::rig::{Outside, india, run, until};
use crate::support::http;

/// Logs in as another program does.
async fn log_in_elsewhere(outside: &Outside, product: Product) {
    let keys = outside.sim.credentials();
    let (path, key, secret) = match product {
        Product::Market => ("/apibinarymarketdata/auth/login", keys.market_app_key, keys.market_secret_key),
        Product::Interactive => {
            ("/interactive/user/session", keys.interactive_app_key, keys.interactive_secret_key)
        }
    };
    let body = json!({ "appKey": key, "secretKey": secret, "source": "WEBAPI" }).to_string();
    let address = outside.sim.addr();
    let answer = tokio::task::spawn_blocking(move || http("POST", address, path, None, &body)).await;
    assert_eq!(answer.unwrap().unwrap().0, 200);
}

async fn outside(on_replaced: OnReplaced) -> Outside {
    let mut outside = Outside::new(SimSettings::default(), india("2026-02-10T11:00:00")).await;
    outside.settings.tick_idle_timeout_ms = 1_000;
    outside.settings.on_replaced = on_replaced;
    outside
}

#[test]
fn another_programs_login_is_told_and_left_alone_until_an_operator_takes_it_back() {
    run(|| async {
        let outside = outside(OnReplaced::Wait).await;
        let mut running = outside.start();
        running.both_valid().await;
        running.tick_after(outside.clock.now()).await;
        for product in Product::ALL {
            log_in_elsewhere(&outside, product).await;
        }
        until("both to be told", || {
            Product::ALL.into_iter().all(|p| running.session.status().token(p).state == "replaced")
        })
        .await;
        let told = running.session.status();
        assert!(told.market.last_refusal.is_some_and(|why| why.contains("mute")));
        assert!(told.interactive.last_refusal.is_some_and(|why| why.contains("logout")));
        assert!(running.session.funds().await.is_err());
        // Ours, and theirs.
        assert_eq!(outside.logins().await, (2, 2));
        for product in Product::ALL {
            running.session.refresh(product, "test").await.unwrap();
        }
        running.tick_after(outside.clock.now()).await;
        running.session.funds().await.unwrap();
        assert_eq!(outside.logins().await, (3, 3));
        running.stop().await;
    });
}

#[test]
fn where_the_policy_says_so_it_is_taken_back_at_once() {
    run(|| async {
        let outside = outside(OnReplaced::Retake).await;
        let mut running = outside.start();
        running.both_valid().await;
        running.tick_after(outside.clock.now()).await;
        log_in_elsewhere(&outside, Product::Market).await;
        let replaced_at = outside.clock.now();
        until("a login of ours", || running.session.status().market.logins_today == 2).await;
        running.tick_after(replaced_at).await;
        assert_eq!(outside.logins().await, (3, 1));
        running.stop().await;
    });
}
