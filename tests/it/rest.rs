//! OpenAlgo's REST interface as tests ask it: with a key of their own, and patience.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::{PATIENCE, Server, http_within, program};

/// Orders switched on, and no brake of the server's own on how fast a test asks.
pub(crate) const ORDERS: &str = "[orders]\nenabled = true\n[gateway]\napi_rate_per_s = 0\norder_rate_per_s = 0\n\
                                 smart_order_rate_per_s = 0\n";

/// Makes a key on a running server.
pub(crate) fn new_key(server: &Server, name: &str, scope: &str) -> String {
    let made = program().args(["key", "create", name, "--scope", scope]).current_dir(server.root()).output();
    let made = made.expect("the program runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8_lossy(&made.stdout).trim().to_owned()
}

/// Someone who asks.
#[derive(Clone, Debug)]
pub(crate) struct Rest {
    address: SocketAddr,
    pub(crate) key: String,
}

impl Rest {
    /// With a key of the given scopes.
    pub(crate) fn of(server: &Server, scope: &str) -> Self {
        let key = new_key(server, &format!("rest-{}", scope.replace(',', "-")), scope);
        Self { address: server.http_address(), key }
    }

    /// Asks, and returns the status and the body.
    pub(crate) fn ask(&self, path: &str, mut body: Value) -> (u16, Value) {
        body["apikey"] = json!(self.key);
        let path = format!("/api/v1/{path}");
        let (status, text) = http_within(PATIENCE * 2, "POST", self.address, &path, None, &body.to_string())
            .unwrap_or_else(|| panic!("no answer from {path}"));
        let body = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"));
        (status, body)
    }

    /// Asks for what must succeed.
    pub(crate) fn get(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(path, body);
        assert!(status == 200 && answer["status"] == "success", "{path}: {status} {answer}");
        answer
    }

    /// A limit order for `NSE:INFY`, far from the market.
    pub(crate) fn order(price: &str, quantity: i64) -> Value {
        json!({"strategy": "it", "symbol": "INFY", "exchange": "NSE", "action": "BUY", "pricetype": "LIMIT",
            "product": "MIS", "quantity": quantity, "price": price})
    }
}

/// The simulator's values of an instrument.
pub(crate) fn truth_of(truth: &Value, exchange: &str, symbol: &str) -> Value {
    let all = truth["instruments"].as_array().expect("is a list");
    let found = all.iter().find(|i| i["exchange"] == exchange && i["symbol"] == symbol);
    found.unwrap_or_else(|| panic!("no {exchange}:{symbol}")).clone()
}

/// The lowest and highest price that an order may have, on the tick.
pub(crate) fn band(truth: &Value) -> (String, String) {
    let paise = |name: &str| {
        let value: f64 = truth[name].as_str().expect("is a price").parse().expect("is a number");
        #[expect(clippy::cast_possible_truncation, reason = "a price")]
        let paise = (value * 100.0).round() as i64;
        paise
    };
    let (low, high, tick) = (paise("band_low"), paise("band_high"), paise("tick"));
    let shown = |paise: i64| format!("{}.{:02}", paise / 100, paise % 100);
    (shown((low + tick - 1) / tick * tick), shown(high / tick * tick))
}
