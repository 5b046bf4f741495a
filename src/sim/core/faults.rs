//! What tests make logins answer instead of the usual: each fault for the next few logins.
//! Pure data; `logins` acts on it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::sim::sessions::Product;

/// Faults that may wait at once.
const MAX_WAITING: usize = 100;

/// What happens to one login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Refused: the credentials are wrong.
    Credentials,
    /// Refused: the app key is disabled.
    Disabled,
    /// 429, with `Retry-After` if given.
    RateLimited { retry_after_s: Option<u64> },
    /// A proxy's HTML page with this status.
    Unavailable { status: u16 },
    /// As usual, but late.
    Slow,
    /// Granted with a token that is no JWT.
    Opaque,
    /// Granted with a JWT without `exp`.
    NoExpiry,
    /// Granted with a JWT whose `iat` and `exp` are off by so much.
    Skewed { by_s: i64 },
}

impl Fault {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Disabled => "disabled",
            Self::RateLimited { .. } => "rate_limited",
            Self::Unavailable { .. } => "unavailable",
            Self::Slow => "slow",
            Self::Opaque => "opaque",
            Self::NoExpiry => "no_expiry",
            Self::Skewed { .. } => "skewed",
        }
    }
}

/// A fault and whose next logins it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoginFault {
    /// `None`: any account's.
    pub(crate) account: Option<usize>,
    /// `None`: either product's.
    pub(crate) product: Option<Product>,
    pub(crate) fault: Fault,
    /// How long such a login takes.
    pub(crate) delay: Duration,
    /// Logins it is still for.
    pub(crate) count: u32,
}

impl LoginFault {
    /// Reads a control's body; account and product were read before.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(
        body: &Value,
        account: Option<usize>,
        product: Option<Product>,
    ) -> Result<Self, &'static str> {
        let number = |key: &str, else_: u64| match &body[key] {
            Value::Null => Some(else_),
            value => value.as_u64(),
        };
        let delay = number("ms", 0).filter(|&ms| ms <= 600_000).ok_or("ms must be from 0 to 600000")?;
        let count = number("count", 1).and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 0);
        let fault = match body["kind"].as_str().unwrap_or_default() {
            "credentials" => Fault::Credentials,
            "disabled" => Fault::Disabled,
            "rate_limited" => Fault::RateLimited { retry_after_s: body["retry_after_s"].as_u64() },
            "unavailable" => {
                let status = number("status", 502).and_then(|s| u16::try_from(s).ok());
                let status = status.filter(|s| (500..600).contains(s));
                Fault::Unavailable { status: status.ok_or("status must be from 500 to 599")? }
            }
            "slow" if delay > 0 => Fault::Slow,
            "slow" => return Err("slow needs ms"),
            "opaque" => Fault::Opaque,
            "no_expiry" => Fault::NoExpiry,
            "skewed" => {
                let by_s = body["skew_s"].as_i64().filter(|s| s.unsigned_abs() <= 366 * 86_400);
                Fault::Skewed { by_s: by_s.ok_or("skewed needs skew_s, at most a year either way")? }
            }
            _ => {
                return Err("kind must be credentials, disabled, rate_limited, unavailable, slow, opaque, \
                            no_expiry or skewed");
            }
        };
        let count = count.ok_or("count must be a whole number above 0")?;
        Ok(Self { account, product, fault, delay: Duration::from_millis(delay), count })
    }
}

/// The faults that wait for logins, oldest first.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<LoginFault>);

impl Faults {
    /// Adds one; the oldest goes if there are too many.
    pub(super) fn add(&mut self, fault: LoginFault) {
        if self.0.len() >= MAX_WAITING {
            self.0.remove(0);
        }
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault of the login that is here, used up by it.
    pub(super) fn take(&mut self, account: usize, product: Product) -> Option<(Fault, Duration)> {
        let is_meant =
            |f: &LoginFault| f.account.is_none_or(|a| a == account) && f.product.is_none_or(|p| p == product);
        let at = self.0.iter().position(is_meant)?;
        let found = (self.0[at].fault, self.0[at].delay);
        self.0[at].count -= 1;
        if self.0[at].count == 0 {
            self.0.remove(at);
        }
        Some(found)
    }

    /// Logins that are still to be met by one.
    pub(super) fn waiting(&self) -> u64 {
        self.0.iter().map(|f| u64::from(f.count)).sum()
    }
}

impl super::Core {
    /// Lets the next logins fail. Returns how many are to.
    pub(crate) fn add_login_fault(&mut self, fault: LoginFault) -> u64 {
        self.faults.add(fault);
        self.faults.waiting()
    }

    /// Lets logins be as usual again.
    pub(crate) fn clear_login_faults(&mut self) {
        self.faults.clear();
    }

    pub(super) fn faults_view(&self) -> Value {
        json!({ "waiting": self.faults.waiting() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_and_nonsense_is_named() {
        let read = |body: Value| LoginFault::parse(&body, None, None);
        let fault = read(json!({"kind": "rate_limited", "retry_after_s": 7, "count": 3})).unwrap();
        assert_eq!((fault.fault, fault.count), (Fault::RateLimited { retry_after_s: Some(7) }, 3));
        let fault = read(json!({"kind": "unavailable", "ms": 20})).unwrap();
        assert_eq!(
            (fault.fault, fault.delay),
            (Fault::Unavailable { status: 502 }, Duration::from_millis(20))
        );
        let fault = read(json!({"kind": "skewed", "skew_s": -90_000})).unwrap();
        assert_eq!((fault.fault, fault.count), (Fault::Skewed { by_s: -90_000 }, 1));
        for body in [
            json!({}),
            json!({"kind": "magic"}),
            json!({"kind": "slow"}),
            json!({"kind": "opaque", "count": 0}),
            json!({"kind": "opaque", "ms": "long"}),
            json!({"kind": "unavailable", "status": 200}),
            json!({"kind": "skewed"}),
        ] {
            assert!(read(body.clone()).is_err(), "{body}");
        }
    }

    #[test]
    fn each_is_for_whom_it_says_and_for_so_many() {
        let mut faults = Faults::default();
        let fault = |account, product, fault, count| LoginFault {
            account,
            product,
            fault,
            delay: Duration::ZERO,
            count,
        };
        faults.add(fault(Some(1), None, Fault::Disabled, 1));
        faults.add(fault(None, Some(Product::Market), Fault::Opaque, 2));
        assert_eq!(faults.take(0, Product::Interactive), None);
        let mut take = |account| faults.take(account, Product::Market).map(|(fault, _)| fault);
        assert_eq!(
            [take(0), take(1), take(1)],
            [Some(Fault::Opaque), Some(Fault::Disabled), Some(Fault::Opaque)]
        );
        assert_eq!(take(0), None);
        assert_eq!(faults.waiting(), 0);
    }
}
