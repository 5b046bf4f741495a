//! How often clients call: counted by account and path, and held to the documented limits if the
//! setting says so.
//!
//! Source: XTS documentation for the interactive product; for market data, which it does not
//! limit, what clients of live servers keep to.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use super::Core;
use crate::clock::UnixNanos;
use crate::sim::sessions::{PerProduct, Product};
use crate::sim::settings::RateLimits;

/// A second less a twentieth: the way here stretches and shrinks what a client spaced well.
const SECOND: Duration = Duration::from_millis(950);
const HALF: Duration = Duration::from_millis(475);

/// Calls that share a limit.
#[derive(Clone, Copy, Debug)]
struct Class {
    name: &'static str,
    limit: usize,
    within: Duration,
}

const fn class(name: &'static str, limit: usize) -> Class {
    Class { name, limit, within: SECOND }
}

/// The classes that a call counts for.
fn classes(product: Product, call: &str) -> &'static [Class] {
    const ORDERS: &[Class] = &[class("orders", 10)];
    const MARKET: &[Class] = &[class("market_data", 5)];
    const SUBSCRIBE: &[Class] =
        &[Class { name: "subscription", limit: 1, within: HALF }, class("market_data", 5)];
    if product == Product::Market {
        return match call {
            "subscribe" | "unsubscribe" => SUBSCRIBE,
            "logout" => &[],
            _ => MARKET,
        };
    }
    match call {
        "profile" => const { &[class("profile", 1)] },
        "balance" => const { &[class("balance", 1)] },
        "orders" => const { &[class("order_book", 1)] },
        "trades" => const { &[class("trade_book", 1)] },
        "holdings" => const { &[class("holdings", 1)] },
        "positions" => const { &[class("positions", 1)] },
        "status" => const { &[class("status", 1)] },
        "messages" => const { &[class("messages", 1)] },
        "cancel_all" => const { &[class("cancel_all", 1)] },
        "convert" => const { &[class("convert", 10)] },
        "logout" => &[],
        _ => ORDERS,
    }
}

#[derive(Debug, Default)]
struct Counter {
    /// Those of the last moments, refused ones included.
    seen: VecDeque<UnixNanos>,
    /// Those that were let through.
    passed: VecDeque<UnixNanos>,
    calls: u64,
    refused: u64,
    most: usize,
    limit: usize,
}

/// One account's calls by class.
#[derive(Debug, Default)]
pub(super) struct Rates(BTreeMap<&'static str, Counter>);

impl Rates {
    /// Counts a call. Returns whether it is within the documented limits.
    fn count(&mut self, product: Product, call: &str, enforced: bool, now: UnixNanos) -> bool {
        let classes = classes(product, call);
        let mut is_within = true;
        for class in classes {
            let counter = self.0.entry(class.name).or_default();
            counter.limit = class.limit;
            counter.calls += 1;
            counter.seen.push_back(now);
            for times in [&mut counter.seen, &mut counter.passed] {
                while times.front().is_some_and(|t| now.since(*t) >= class.within) {
                    times.pop_front();
                }
            }
            counter.most = counter.most.max(counter.seen.len());
            is_within &= counter.passed.len() < class.limit;
        }
        for class in classes {
            let counter = self.0.entry(class.name).or_default();
            if is_within || !enforced {
                counter.passed.push_back(now);
            } else {
                counter.refused += 1;
            }
        }
        is_within
    }

    pub(super) fn view(&self) -> Value {
        let each = self.0.iter().map(|(name, c)| {
            let view = json!({
                "calls": c.calls,
                "refused": c.refused,
                "most_within": c.most,
                "limit": c.limit,
                "within_ms": if *name == "subscription" { HALF.as_millis() as u64 } else { SECOND.as_millis() as u64 },
            });
            ((*name).to_owned(), view)
        });
        Value::Object(each.collect())
    }
}

/// Requests that are being answered: now, and the most there were.
#[derive(Debug, Default)]
pub(super) struct InFlight(PerProduct<(u64, u64)>);

impl InFlight {
    pub(super) fn view(&self) -> Value {
        let each = |(now, most): (u64, u64)| json!({ "now": now, "most": most });
        json!({ "market": each(self.0.market), "interactive": each(self.0.interactive) })
    }
}

impl Core {
    /// Counts a call of an account. Returns whether it may go on.
    pub(super) fn may_call(&mut self, account: usize, product: Product, call: &str, now: UnixNanos) -> bool {
        let enforced = self.settings.rate_limits == RateLimits::Documented;
        self.accounts[account].rates.count(product, call, enforced, now) || !enforced
    }

    /// A request of a product has come.
    pub(crate) fn request_starts(&mut self, product: Product) {
        let (now, most) = self.in_flight.0.get_mut(product);
        *now += 1;
        *most = (*most).max(*now);
    }

    /// It is answered, or nobody waits any more.
    pub(crate) fn request_ends(&mut self, product: Product) {
        let (now, _) = self.in_flight.0.get_mut(product);
        *now = now.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> UnixNanos {
        UnixNanos::from_millis(1_770_698_730_000 + ms)
    }

    #[test]
    fn books_have_one_a_second_each_and_orders_ten_together() {
        let mut rates = Rates::default();
        let mut ask = |call, ms| rates.count(Product::Interactive, call, true, at(ms));
        assert_eq!(
            [ask("balance", 0), ask("orders", 1), ask("balance", 500), ask("balance", 1000)],
            [true, true, false, true]
        );
        for nth in 0..10 {
            assert!(ask(["place", "modify", "cancel"][nth % 3], 2000 + nth as i64));
        }
        assert!(!ask("bracket", 2100));
        assert!(ask("convert", 2100) && ask("place", 3000));
        let view = rates.view();
        assert_eq!((&view["orders"]["calls"], &view["orders"]["refused"]), (&12.into(), &1.into()));
        assert_eq!(
            (&view["orders"]["most_within"], &view["balance"]["most_within"]),
            (&11.into(), &2.into())
        );
    }

    #[test]
    fn market_data_has_five_and_subscriptions_half_a_second_between_them() {
        let mut rates = Rates::default();
        let mut ask = |call, ms| rates.count(Product::Market, call, true, at(ms));
        assert_eq!(
            [ask("subscribe", 0), ask("unsubscribe", 100), ask("subscribe", 500)],
            [true, false, true]
        );
        assert!(ask("quotes", 510) && ask("ohlc", 520) && ask("config", 530));
        assert!(!ask("quotes", 540), "five with the two subscriptions");
        assert!(ask("quotes", 1000));
        // Counted all the same when nothing is held to it.
        let mut rates = Rates::default();
        for ms in 0..20 {
            rates.count(Product::Market, "quotes", false, at(ms));
        }
        let view = rates.view();
        assert_eq!(
            (&view["market_data"]["most_within"], &view["market_data"]["refused"]),
            (&20.into(), &0.into())
        );
    }
}
