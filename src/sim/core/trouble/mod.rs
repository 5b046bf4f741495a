//! Faults that tests and scenarios make the broker have for a while: what is in force, whom it
//! is for, how often it struck. Every one ends by itself. How one is spelled is `parse`'s, what
//! it does to messages `spoil`'s, its beginning and end `act`'s.
//!
//! Older than these, and apart: `faults` (of logins) and `orders::faults`.

mod act;
mod parse;
mod spoil;

use std::time::Duration;

use serde_json::{Value, json};

use super::Away;
use super::faults::Fault;
use crate::clock::UnixNanos;
use crate::market::Segment;
use crate::sim::market::Quote;
use crate::sim::sessions::Product;
use crate::sim::settings::{Layout, SocketEnd};
pub(crate) use parse::duration;
pub(super) use spoil::{Spoil, UNKNOWN_CODE};

/// Faults in force at once.
const MAX_ACTIVE: usize = 100;

/// Ended ones that are still listed.
const MAX_ENDED: usize = 100;

/// Which messages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Always,
    Never,
    /// As without the fault.
    Mixed,
}

/// What a request is met with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestAnswer {
    /// A proxy's page.
    Html { status: u16 },
    /// 429.
    RateLimited { retry_after_s: Option<u64> },
    /// The connection ends.
    HangUp,
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    // At once, and over.
    Expire(SocketEnd),
    Replace(SocketEnd),
    Drop { clean: bool },
    Restart { forget: bool, manner: Option<Away> },
    // For a while.
    Login(Fault, Duration),
    Mute,
    HalfOpen,
    NoJoined,
    Burst { factor: f64 },
    Layout(Layout),
    Compression(Compression),
    FrameMessages(usize),
    Spoil(Spoil),
    AlreadySubscribed,
    LimitReached,
    Rest { path: String, late: Duration, answer: Option<RestAnswer> },
}

impl Kind {
    const fn is_at_once(&self) -> bool {
        matches!(self, Self::Expire(_) | Self::Replace(_) | Self::Drop { .. } | Self::Restart { .. })
    }
}

/// A fault that may begin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    kind: Kind,
    /// A user; `None`: every account's.
    account: Option<String>,
    product: Option<Product>,
    /// Of messages only.
    segment: Option<Segment>,
    /// It strikes one in so many.
    one_in: u64,
    pub(crate) lasts: Duration,
    count: Option<u32>,
}

/// One that began.
#[derive(Debug)]
struct Trouble {
    number: u64,
    spec: Spec,
    account: Option<usize>,
    begun: UnixNanos,
    until: UnixNanos,
    left: Option<u32>,
    /// What it could have struck.
    met: u64,
    struck: u64,
}

impl Trouble {
    fn is_for(&self, account: Option<usize>, product: Option<Product>, segment: Option<Segment>) -> bool {
        fn fits<T: PartialEq>(wanted: Option<T>, given: Option<T>) -> bool {
            wanted.is_none() || given.is_none() || wanted == given
        }
        self.left != Some(0)
            && fits(self.account, account)
            && fits(self.spec.product, product)
            && fits(self.spec.segment, segment)
    }

    /// Whether it strikes now; counts.
    fn strike(&mut self) -> bool {
        self.met += 1;
        if self.spec.one_in > 1 && self.met % self.spec.one_in != 1 {
            return false;
        }
        self.struck += 1;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
        }
        true
    }

    fn view(&self, now: UnixNanos) -> Value {
        json!({
            "number": self.number,
            "fault": self.spec.name,
            "account": self.spec.account,
            "product": self.spec.product.map(Product::as_str),
            "segment": self.spec.segment.map(|s| s.number()),
            "begun": self.begun.as_nanos(),
            "left_ms": u64::try_from(self.until.since(now).as_millis()).unwrap_or(u64::MAX),
            "left": self.left,
            "struck": self.struck,
        })
    }
}

/// Those that are in force, oldest first.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    list: Vec<Trouble>,
    begun: u64,
    /// The latest that ended: number, name, how often it struck.
    ended: std::collections::VecDeque<(u64, &'static str, u64)>,
    /// Sequence and values when an `old_sequence` began.
    past: Option<(i64, Vec<Quote>)>,
}

impl Troubles {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The first that is meant and strikes, and what it is.
    fn hit<T>(
        &mut self,
        account: Option<usize>,
        product: Option<Product>,
        segment: Option<Segment>,
        meant: impl Fn(&Kind) -> Option<T>,
    ) -> Option<T> {
        for trouble in &mut self.list {
            if let Some(found) = meant(&trouble.spec.kind)
                && trouble.is_for(account, product, segment)
                && trouble.strike()
            {
                return Some(found);
            }
        }
        None
    }

    /// Whether messages about a segment do not get to an account.
    pub(super) fn is_mute(&mut self, account: usize, segment: Segment) -> bool {
        let market = Some(Product::Market);
        self.hit(Some(account), market, Some(segment), |k| (*k == Kind::Mute).then_some(())).is_some()
    }

    /// What spoils a message, and its name.
    pub(super) fn spoil(&mut self, account: usize, segment: Segment) -> Option<(Spoil, &'static str)> {
        let is_spoil = |k: &Kind| if let Kind::Spoil(spoil) = k { Some(*spoil) } else { None };
        let found = self.hit(Some(account), Some(Product::Market), Some(segment), is_spoil)?;
        Some((found, found.as_str()))
    }

    /// The values an older message has: sequence and quote.
    pub(super) fn past(&self, index: usize) -> Option<(i64, &Quote)> {
        let (sequence, quotes) = self.past.as_ref()?;
        Some((*sequence, quotes.get(index)?))
    }

    /// Without counting: what holds for an account as long as a fault lasts.
    fn holds<T>(&self, account: usize, meant: impl Fn(&Kind) -> Option<T>) -> Option<T> {
        let market = Some(Product::Market);
        let found = self.list.iter().filter(|t| t.is_for(Some(account), market, None));
        found.filter_map(|t| meant(&t.spec.kind)).next()
    }

    pub(super) fn layout(&self, account: usize) -> Option<Layout> {
        self.holds(account, |k| if let Kind::Layout(layout) = k { Some(*layout) } else { None })
    }

    pub(super) fn compression(&self, account: usize) -> Compression {
        let found = self.holds(account, |k| if let Kind::Compression(c) = k { Some(*c) } else { None });
        found.unwrap_or(Compression::Mixed)
    }

    pub(super) fn frame_messages(&self, account: usize) -> Option<usize> {
        self.holds(account, |k| if let Kind::FrameMessages(n) = k { Some(*n) } else { None })
    }

    pub(super) fn swallows_joined(&mut self, account: usize, product: Product) -> bool {
        self.hit(Some(account), Some(product), None, |k| (*k == Kind::NoJoined).then_some(())).is_some()
    }

    pub(super) fn login(&mut self, account: usize, product: Product) -> Option<(Fault, Duration)> {
        let is_login =
            |k: &Kind| if let Kind::Login(fault, delay) = k { Some((*fault, *delay)) } else { None };
        self.hit(Some(account), Some(product), None, is_login)
    }

    /// Whether a batch of subscriptions is refused: `true` because there are too many.
    pub(super) fn refuses_batch(&mut self, account: usize) -> Option<bool> {
        self.hit(Some(account), Some(Product::Market), None, |k| match k {
            Kind::AlreadySubscribed => Some(false),
            Kind::LimitReached => Some(true),
            _ => None,
        })
    }

    /// What a request is met with, and how late.
    fn rest(&mut self, product: Product, path: &str) -> Option<(Duration, Option<RestAnswer>)> {
        self.hit(None, Some(product), None, |k| match k {
            Kind::Rest { path: part, late, answer } if path.contains(part.as_str()) => Some((*late, *answer)),
            _ => None,
        })
    }

    fn view(&self, now: UnixNanos) -> Value {
        let ended = |&(number, fault, struck): &(u64, &str, u64)| json!({ "number": number, "fault": fault, "struck": struck });
        json!({
            "faults": self.list.iter().map(|t| t.view(now)).collect::<Vec<_>>(),
            "ended": self.ended.iter().map(ended).collect::<Vec<_>>(),
        })
    }
}
