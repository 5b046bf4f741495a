//! The products, and what a live session is. Pure data.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::market::{InstrumentId, Segment};

/// The two products of XTS; their tokens are not interchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Product {
    Market,
    Interactive,
}

impl Product {
    pub(crate) const ALL: [Self; 2] = [Self::Market, Self::Interactive];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Market => "market",
            Self::Interactive => "interactive",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == text)
    }
}

/// One subscription: an instrument and a message code count one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subscription {
    pub(crate) id: InstrumentId,
    pub(crate) code: u16,
}

/// Numbers of segment, instrument and message code.
impl Serialize for Subscription {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.id.segment.number(), self.id.code, self.code).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Subscription {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (segment, instrument, code) = <(u8, u32, u16)>::deserialize(deserializer)?;
        let segment = Segment::from_number(i64::from(segment))
            .ok_or_else(|| serde::de::Error::custom("no such segment"))?;
        Ok(Self { id: InstrumentId { segment, code: instrument }, code })
    }
}

/// A login that has not been replaced, ended or outlived. Subscriptions are its own: they
/// survive sockets and end with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The token's `jti`.
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) issued_at: i64,
    /// Seconds since 1970.
    pub(crate) expires_at: i64,
    #[serde(default)]
    pub(crate) subscriptions: BTreeSet<Subscription>,
}

/// One value for each product.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PerProduct<T> {
    pub(crate) market: T,
    pub(crate) interactive: T,
}

impl<T> PerProduct<T> {
    pub(crate) fn get(&self, product: Product) -> &T {
        match product {
            Product::Market => &self.market,
            Product::Interactive => &self.interactive,
        }
    }

    pub(crate) fn get_mut(&mut self, product: Product) -> &mut T {
        match product {
            Product::Market => &mut self.market,
            Product::Interactive => &mut self.interactive,
        }
    }
}
