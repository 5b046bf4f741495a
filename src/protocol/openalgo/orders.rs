//! What OpenAlgo calls the parts of an order: status, price type, action. Shared by the order stream and
//! the books. Not an order's whole form: the stream's frame is in `order_update`, the books are the REST side's.

use crate::market::{OrderKind, OrderStatus, Side};

/// Where an order stands. OpenAlgo has five words; whatever may still become something is `open`.
pub const fn status(status: &OrderStatus) -> &'static str {
    match status {
        OrderStatus::Filled => "complete",
        OrderStatus::Rejected => "rejected",
        OrderStatus::Cancelled => "cancelled",
        OrderStatus::TriggerPending => "trigger pending",
        // An unknown status says nothing of an end, so it is no end.
        OrderStatus::Pending | OrderStatus::Open | OrderStatus::PartiallyFilled | OrderStatus::Unknown(_) => {
            "open"
        }
    }
}

/// How the price is found. A kind that OpenAlgo has no word for keeps the broker's.
pub fn price_type(kind: &OrderKind) -> &str {
    match kind {
        OrderKind::Market => "MARKET",
        OrderKind::Limit => "LIMIT",
        OrderKind::StopLimit => "SL",
        OrderKind::StopMarket => "SL-M",
        OrderKind::Unknown(words) => words,
    }
}

/// The kind that a consumer names, in capitals as OpenAlgo has it; `None` for anything else.
pub fn parse_price_type(text: &str) -> Option<OrderKind> {
    match text {
        "MARKET" => Some(OrderKind::Market),
        "LIMIT" => Some(OrderKind::Limit),
        "SL" => Some(OrderKind::StopLimit),
        "SL-M" => Some(OrderKind::StopMarket),
        _ => None,
    }
}

/// Which way.
pub const fn action(side: Side) -> &'static str {
    match side {
        Side::Buy => "BUY",
        Side::Sell => "SELL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn price_types_both_ways() {
        for text in ["MARKET", "LIMIT", "SL", "SL-M"] {
            assert_eq!(parse_price_type(text).as_ref().map(price_type), Some(text));
        }
        for text in ["", "limit", "SLM", "STOPLIMIT", "SL-M "] {
            assert_eq!(parse_price_type(text), None, "{text}");
        }
        assert_eq!(price_type(&OrderKind::Unknown("Iceberg".to_owned())), "Iceberg");
    }

    #[test]
    fn only_what_has_ended_reads_as_ended() {
        for (what, word) in [
            (OrderStatus::Filled, "complete"),
            (OrderStatus::Rejected, "rejected"),
            (OrderStatus::Cancelled, "cancelled"),
            (OrderStatus::TriggerPending, "trigger pending"),
            (OrderStatus::Open, "open"),
            (OrderStatus::Pending, "open"),
            (OrderStatus::PartiallyFilled, "open"),
            (OrderStatus::Unknown("Expired".to_owned()), "open"),
        ] {
            assert_eq!(status(&what), word);
        }
        assert_eq!((action(Side::Buy), action(Side::Sell)), ("BUY", "SELL"));
    }
}
