//! What tokens are kept for, end to end over real sockets: the four criteria of the feature.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::json;
use tickgate::clock::Clock as _;
use tickgate::market::{Kind, PositionView};
use tickgate::sim::Settings as SimSettings;
use tickgate::token::Product;
use tickgate::token::store::Loaded;

use crate::rig::{Outside, RELIANCE, india, run};

/// Every file below a directory.
fn files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// After a login both tokens are stored, encrypted, with the account's facts.
#[test]
fn persist() {
    run(|| async {
        let outside = Outside::new(SimSettings::default(), india("2026-02-10T11:00:00")).await;
        let running = outside.start();
        running.both_valid().await;
        let mut secrets = BTreeSet::new();
        for product in Product::ALL {
            let token = running.session.get_token(product, None).await.unwrap();
            let binding = outside.binding(product);
            let Loaded::Found(stored) = running.tokens.load("default", product, &binding) else {
                panic!("the {product} token is not stored")
            };
            assert_eq!(stored.secret, token.secret);
            assert_eq!((stored.issued_at, stored.expires_at), (token.issued_at, token.expires_at));
            assert_eq!(stored.facts, *token.facts);
            assert!(stored.facts.user_id.contains("SIM01"));
            if product == Product::Interactive {
                assert_eq!(stored.facts.is_investor, Some(true));
                assert!(!stored.facts.client_codes.is_empty());
            }
            secrets.insert(token.secret.expose().to_owned());
        }
        assert_eq!(secrets.len(), 2);
        running.stop().await;
        for file in files(outside.data_dir()) {
            let bytes = std::fs::read(&file).unwrap();
            for secret in &secrets {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "a token in clear in {}", file.display());
            }
        }
        assert_eq!(outside.logins().await, (1, 1));
    });
}

/// A later start uses the stored tokens, and logs in for nothing.
#[test]
fn rehydrate() {
    run(|| async {
        let outside = Outside::new(SimSettings::default(), india("2026-02-10T11:00:00")).await;
        let running = outside.start();
        running.both_valid().await;
        let first = running.session.get_token(Product::Market, None).await.unwrap();
        running.stop().await;
        for _ in 0..3 {
            let mut running = outside.start();
            running.both_valid().await;
            running.tick_after(outside.clock.now()).await;
            let token = running.session.get_token(Product::Market, None).await.unwrap();
            assert_eq!(token.secret, first.secret);
            running.session.funds().await.unwrap();
            running.stop().await;
        }
        assert_eq!(outside.logins().await, (1, 1));
    });
}

/// A token past its end costs one login, at a start and while running; the other product none.
#[test]
fn expiry() {
    run(|| async {
        let outside = Outside::new(SimSettings::default(), india("2026-02-10T11:00:00")).await;
        outside.tell("token_life", json!({"seconds": 7200})).await;
        let mut running = outside.start();
        running.both_valid().await;
        running.tick_after(outside.clock.now()).await;
        // While running: past both ends.
        outside.clock.set(india("2026-02-10T13:00:01"));
        running.tick_after(outside.clock.now()).await;
        crate::rig::until("both to be renewed", || {
            Product::ALL.into_iter().all(|p| running.session.status().token(p).logins_today == 2)
        })
        .await;
        running.tick_after(outside.clock.now()).await;
        assert_eq!(outside.logins().await, (2, 2));
        running.stop().await;
        // At a start.
        outside.clock.set(india("2026-02-10T15:30:00"));
        let mut running = outside.start();
        running.both_valid().await;
        running.tick_after(outside.clock.now()).await;
        assert_eq!(outside.logins().await, (3, 3));
        // One alone: the broker has lost it, and says so to whoever uses it.
        outside.tell("expire", json!({"product": "interactive", "sockets": "close"})).await;
        running.session.funds().await.unwrap();
        running.both_valid().await;
        assert_eq!(outside.logins().await, (3, 4));
        running.stop().await;
    });
}

/// Every client gets its token the same way; when all are refused at once there is one login each.
#[test]
fn all_clients() {
    run(|| async {
        let outside = Outside::new(SimSettings::default(), india("2026-02-10T11:00:00")).await;
        let mut running = outside.start();
        running.both_valid().await;
        running.tick_after(outside.clock.now()).await;
        let session = &running.session;
        crate::rig::until("the instrument list", || running.keeper.status().is_some()).await;
        session.order_book().await.unwrap();
        session.positions(PositionView::Net).await.unwrap();
        session.positions(PositionView::Day).await.unwrap();
        session.funds().await.unwrap();
        assert_eq!(session.quotes(Kind::Quote, &[RELIANCE]).await.unwrap().len(), 1);
        assert_eq!(outside.logins().await, (1, 1));

        outside.tell("expire", json!({"sockets": "close"})).await;
        let mut calls: Vec<futures::future::LocalBoxFuture<'_, bool>> = Vec::new();
        for _ in 0..25 {
            calls.push(Box::pin(async { session.order_book().await.is_ok() }));
            calls.push(Box::pin(async { session.positions(PositionView::Net).await.is_ok() }));
            calls.push(Box::pin(async { session.funds().await.is_ok() }));
            calls.push(Box::pin(async { session.quotes(Kind::Quote, &[RELIANCE]).await.is_ok() }));
        }
        assert!(join_all(calls).await.into_iter().all(|went_well| went_well));
        running.tick_after(outside.clock.now()).await;
        assert_eq!(outside.logins().await, (2, 2));
        running.stop().await;
    });
}
