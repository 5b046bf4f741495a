//! Which faults a seed stands for: kinds, moments, durations. Not how they are made; that is `world`.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

/// What breaks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// The broker ends the market socket, with a goodbye or without.
    Drop { clean: bool },
    /// It ends a product's session (`market`, `interactive`), or both; what its sockets see of that.
    Expire { product: Option<&'static str>, sockets: &'static str },
    /// The market session ends, and the next logins go wrong.
    Login { fault: Value },
    /// It is away, and may have forgotten its sessions.
    Away { forget: bool, manner: &'static str },
    /// The market stands still with everything connected.
    Mute,
    /// The path to it is dead half-way: connections stay open, nothing comes.
    Freeze,
}

/// One of them, when, and how long.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// After everything was well again.
    pub(crate) pause: Duration,
    /// How long it lasts, where that is ours to say.
    pub(crate) lasts: Duration,
}

impl Fault {
    /// Sessions that end by it: market, interactive. Each is worth a login, and no more.
    pub(crate) fn ended_sessions(&self) -> (u64, u64) {
        match &self.kind {
            Kind::Expire { product, .. } => {
                (u64::from(*product != Some("interactive")), u64::from(*product != Some("market")))
            }
            Kind::Login { .. } => (1, 0),
            Kind::Away { forget: true, .. } => (1, 1),
            _ => (0, 0),
        }
    }

    /// Whether nothing can say that it has begun but the absence of data.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.kind, Kind::Mute | Kind::Freeze | Kind::Expire { sockets: "silent" | "logout", .. })
    }

    /// Whether the connection it meets cannot go on.
    pub(crate) fn ends_the_connection(&self) -> bool {
        self.interrupts() && !matches!(self.kind, Kind::Mute | Kind::Freeze)
    }

    /// Whether it stops the prices.
    pub(crate) fn interrupts(&self) -> bool {
        !matches!(self.kind, Kind::Expire { product: Some("interactive"), .. })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.lasts.as_millis();
        match &self.kind {
            Kind::Drop { clean } => write!(f, "drop{}", if *clean { " clean" } else { "" }),
            Kind::Expire { product, sockets } => write!(f, "expire {} {sockets}", product.unwrap_or("both")),
            Kind::Login { fault } => write!(f, "login {} × {}", fault["kind"], fault["count"]),
            Kind::Away { forget, manner } => {
                write!(f, "away {manner} {ms} ms{}", if *forget { ", forgets" } else { "" })
            }
            Kind::Mute => write!(f, "mute {ms} ms"),
            Kind::Freeze => write!(f, "freeze {ms} ms"),
        }
    }
}

/// Sessions of a product that may end soon after their login before the server takes the broker's word for
/// it and pauses its logins.
const EARLY_ENDS: u64 = 2;

/// The faults of a seed, one after another.
pub(crate) fn plan(seed: u64) -> Vec<Fault> {
    let mut random = StdRng::seed_from_u64(seed);
    let count = random.random_range(2..=4);
    let mut ended = (0, 0);
    let mut faults = Vec::new();
    while faults.len() < count {
        let next = fault(&mut random);
        let (market, interactive) = next.ended_sessions();
        let sum = (ended.0 + market, ended.1 + interactive);
        if sum.0.max(sum.1) <= EARLY_ENDS {
            ended = sum;
            faults.push(next);
        }
    }
    faults
}

/// One fault.
pub(crate) fn fault(random: &mut StdRng) -> Fault {
    let mut one_of = |choices: &[&'static str]| choices[random.random_range(0..choices.len())];
    let sockets = one_of(&["close", "logout", "silent"]);
    let manner = one_of(&["html", "close"]);
    let product = [Some("market"), Some("interactive"), None][random.random_range(0..3)];
    let kind = match random.random_range(0..12) {
        0..=2 => Kind::Drop { clean: random.random() },
        3..=4 => Kind::Expire { product, sockets },
        5..=6 => Kind::Login { fault: login_fault(random) },
        7..=8 => Kind::Away { forget: random.random(), manner },
        9..=10 => Kind::Mute,
        _ => Kind::Freeze,
    };
    Fault {
        kind,
        pause: Duration::from_millis(random.random_range(50..500)),
        lasts: Duration::from_millis(random.random_range(50..2_500)),
    }
}

fn login_fault(random: &mut StdRng) -> Value {
    let count = random.random_range(1..=3);
    match random.random_range(0..5) {
        0 => json!({"product": "market", "kind": "unavailable", "status": 502, "count": count}),
        1 => json!({"product": "market", "kind": "rate_limited", "retry_after_s": 1, "count": 1}),
        2 => json!({"product": "market", "kind": "slow", "ms": random.random_range(50..600), "count": 1}),
        3 => json!({"product": "market", "kind": "opaque", "count": 1}),
        _ => json!({"product": "market", "kind": "no_expiry", "count": 1}),
    }
}
