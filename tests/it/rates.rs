//! Five hundred requests at once: what reaches the broker keeps its documented limits as the broker
//! itself counts, nobody starves, and orders go before what only looks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use serde_json::{Value, json};

use crate::rest::{ORDERS, Rest, band, truth_of};
use crate::support::{Server, Simulator};

const REQUESTS: usize = 500;

#[test]
fn five_hundred_requests_at_once_keep_the_documented_limits() {
    let simulator = Simulator::start(&[("TICKGATE_SIM__RATE_LIMITS", "documented")]);
    let mut environment = simulator.credentials();
    environment.extend([
        ("TICKGATE_BROKER__KIND".to_owned(), "xts".to_owned()),
        ("TICKGATE_BROKER__XTS__BASE_URL".to_owned(), format!("http://{}", simulator.address)),
        ("TICKGATE_BROKER__XTS__MAX_SUBSCRIPTIONS".to_owned(), "1000".to_owned()),
        // Two hundred orders take twenty seconds: longer than anybody else should wait for one.
        ("TICKGATE_ORDERS__SEND_WITHIN_MS".to_owned(), "30000".to_owned()),
    ]);
    let environment: Vec<_> = environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let server = Server::start_configured(ORDERS, &environment);
    server.wait_ready();
    let rest = Rest::of(&server, "feed,account,trade");
    let truth = simulator.json("/__sim/truth");
    let (low, _) = band(&truth_of(&truth, "NSE", "INFY"));
    let names: Vec<String> = truth["instruments"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|i| i["exchange"] == "NSE")
        .map(|i| i["symbol"].as_str().unwrap().to_owned())
        .collect();

    let together = Arc::new(Barrier::new(REQUESTS));
    let finished = Arc::new(AtomicUsize::new(0));
    let askers: Vec<_> = (0..REQUESTS)
        .map(|n| {
            let (rest, low, together, finished) =
                (rest.clone(), low.clone(), together.clone(), finished.clone());
            let name = names[n % names.len()].clone();
            let (path, body) = match n % 20 {
                0..=4 => ("quotes", json!({"symbol": name, "exchange": "NSE"})),
                5 | 6 => ("depth", json!({"symbol": name, "exchange": "NSE"})),
                7 => ("orderbook", json!({})),
                8 => ("tradebook", json!({})),
                9 => ("positionbook", json!({})),
                10 => ("holdings", json!({})),
                11 => ("funds", json!({})),
                _ => ("placeorder", Rest::order(&low, 1)),
            };
            std::thread::Builder::new()
                .stack_size(256 << 10)
                .spawn(move || {
                    together.wait();
                    let (status, answer) = rest.ask(path, body);
                    (path, status, answer, finished.fetch_add(1, Ordering::SeqCst))
                })
                .unwrap()
        })
        .collect();
    let answers: Vec<(&str, u16, Value, usize)> = askers.into_iter().map(|a| a.join().unwrap()).collect();

    // By the broker's own count: no path exceeded, nothing refused.
    let state = simulator.json("/__sim/state");
    let rates = state["accounts"][0]["rates"].as_object().unwrap();
    for (class, counted) in rates {
        assert_eq!(counted["refused"], 0, "{class}: {counted}");
        assert!(counted["most_within"].as_u64() <= counted["limit"].as_u64(), "{class}: {counted}");
    }
    for class in ["orders", "order_book", "balance", "market_data"] {
        assert!(rates[class]["calls"].as_u64().unwrap() > 0, "{class} was asked for: {rates:?}");
    }
    // Nobody starved: each got what it asked for.
    for (path, status, answer, _) in &answers {
        assert_eq!(*status, 200, "{path}: {answer}");
    }
    // Each order once, and before the last of those that only look.
    let placed = answers.iter().filter(|(path, ..)| *path == "placeorder");
    let last_order = placed.clone().map(|(.., at)| *at).max().unwrap();
    let last_look =
        answers.iter().filter(|(path, ..)| *path != "placeorder").map(|(.., at)| *at).max().unwrap();
    assert!(last_order < last_look, "orders ended at {last_order}, the rest at {last_look}");
    let received = &state["accounts"][0]["orders_received"];
    assert_eq!(received["total"].as_u64().unwrap(), placed.count() as u64, "{received}");
    assert_eq!(received["most_of_one"], 1, "{received}");
}
