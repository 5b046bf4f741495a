//! What tests make calls about orders meet instead of the usual: outcomes that leave a client in
//! doubt. Each is for the next few calls. Pure data; `order_call` acts on it.

use std::time::Duration;

use serde_json::{Value, json};

use super::OrderCall;
use crate::sim::answers::Answer;
use crate::sim::core::Core;

/// Faults that may wait at once.
const MAX_WAITING: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Taken, and never answered: the connection is held, then closed.
    NoAnswer,
    /// Taken, and answered late.
    Slow,
    /// Taken, but a proxy's page is the answer.
    BadGatewayAfter,
    /// Not taken; a proxy's page is the answer.
    BadGatewayBefore,
    /// Turned down with a text.
    Refuse,
}

/// How an answer goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Now,
    Late(Duration),
    /// Not at all: the connection is closed after so long.
    Never(Duration),
}

/// A fault and which next calls it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderFault {
    kind: Kind,
    /// `None`: any account's.
    account: Option<usize>,
    /// `None`: any call about orders.
    call: Option<OrderCall>,
    after: Duration,
    /// Calls it is still for.
    count: u32,
}

impl OrderFault {
    /// Reads a control's body; the account was read before.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(body: &Value, account: Option<usize>) -> Result<Self, &'static str> {
        let number = |key: &str, else_: u64| match &body[key] {
            Value::Null => Some(else_),
            value => value.as_u64(),
        };
        let kind = match body["kind"].as_str().unwrap_or_default() {
            "no_answer" => Kind::NoAnswer,
            "slow" => Kind::Slow,
            "502_after" => Kind::BadGatewayAfter,
            "502_before" => Kind::BadGatewayBefore,
            "refuse" => Kind::Refuse,
            _ => return Err("kind must be no_answer, slow, 502_after, 502_before or refuse"),
        };
        let call = match &body["call"] {
            Value::Null => None,
            name => {
                let found = OrderCall::ALL.into_iter().find(|c| Some(c.1) == name.as_str()).map(|c| c.0);
                Some(found.ok_or("call must be a call about orders, such as place, modify or cancel")?)
            }
        };
        let after = number("after_ms", 0).filter(|&ms| ms <= 600_000);
        let after = after.ok_or("after_ms must be from 0 to 600000")?;
        let count = number("count", 1).and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 0);
        let count = count.ok_or("count must be a whole number above 0")?;
        if kind == Kind::Slow && after == 0 {
            return Err("slow needs after_ms");
        }
        Ok(Self { kind, account, call, after: Duration::from_millis(after), count })
    }

    /// The answer to a call that is not taken.
    pub(super) fn instead(&self) -> Option<Answer> {
        match self.kind {
            Kind::BadGatewayBefore => Some(Answer::unavailable(502)),
            Kind::Refuse => Some(Answer::order_refused("Order entry is not allowed at present")),
            _ => None,
        }
    }

    /// What goes out for a call that was taken.
    pub(super) fn wrap(self, answer: Answer) -> (Answer, Manner) {
        match self.kind {
            Kind::NoAnswer => (answer, Manner::Never(self.after)),
            Kind::Slow => (answer, Manner::Late(self.after)),
            Kind::BadGatewayAfter => (Answer::unavailable(502), Manner::Late(self.after)),
            Kind::BadGatewayBefore | Kind::Refuse => (answer, Manner::Now),
        }
    }
}

/// The faults that wait for calls, oldest first.
#[derive(Debug, Default)]
pub(crate) struct OrderFaults(Vec<OrderFault>);

impl OrderFaults {
    /// The fault of the call that is here, used up by it.
    pub(super) fn take(&mut self, account: usize, call: OrderCall) -> Option<OrderFault> {
        let is_meant =
            |f: &OrderFault| f.account.is_none_or(|a| a == account) && f.call.is_none_or(|c| c == call);
        let at = self.0.iter().position(is_meant)?;
        self.0[at].count -= 1;
        if self.0[at].count == 0 { Some(self.0.remove(at)) } else { Some(self.0[at].clone()) }
    }

    fn waiting(&self) -> u64 {
        self.0.iter().map(|f| u64::from(f.count)).sum()
    }

    pub(in crate::sim::core) fn view(&self) -> Value {
        json!({ "waiting": self.waiting() })
    }
}

impl Core {
    /// Lets the next calls about orders meet a fault. Returns how many are to.
    pub(crate) fn add_order_fault(&mut self, fault: OrderFault) -> u64 {
        let OrderFaults(list) = &mut self.order_faults;
        if list.len() >= MAX_WAITING {
            list.remove(0);
        }
        list.push(fault);
        self.order_faults.waiting()
    }

    /// Lets calls about orders be as usual again.
    pub(crate) fn clear_order_faults(&mut self) {
        self.order_faults.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_and_each_is_for_so_many() {
        for body in [
            json!({}),
            json!({"kind": "magic"}),
            json!({"kind": "slow"}),
            json!({"kind": "refuse", "count": 0}),
            json!({"kind": "refuse", "call": "sing"}),
            json!({"kind": "no_answer", "after_ms": -1}),
        ] {
            assert!(OrderFault::parse(&body, None).is_err(), "{body}");
        }
        let mut faults = OrderFaults::default();
        faults.0.push(OrderFault::parse(&json!({"kind": "refuse", "call": "cancel"}), Some(1)).unwrap());
        faults.0.push(OrderFault::parse(&json!({"kind": "502_after", "count": 2}), None).unwrap());
        let mut kind = |account, call| faults.take(account, call).map(|f| f.kind);
        assert_eq!(kind(1, OrderCall::Place), Some(Kind::BadGatewayAfter));
        assert_eq!(kind(1, OrderCall::Cancel), Some(Kind::Refuse));
        assert_eq!(kind(0, OrderCall::Cancel), Some(Kind::BadGatewayAfter));
        assert_eq!(kind(0, OrderCall::Place), None);
    }
}
