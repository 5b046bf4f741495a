//! An instrument list and books' entries for tests of this module and of the endpoints.

use crate::clock::UnixNanos;
use crate::market::{
    InstrumentId, Master, MasterBuilder, Money, Order, OrderKind, OrderStatus, Position, Price, Segment,
    Side, Trade,
};

const ROWS: &str = "\
NSECM|2885|8|RELIANCE|RELIANCE-EQ|EQ|RELIANCE-EQ|1100100002885|1598|1307.6|676621|0.1|1|1|RELIANCE|INE002A01018|1|1|RELIANCE INDUSTRIES LTD-EQ|0|1|1
NSEFO|48225|2|NIFTY|NIFTY2621725700PE|OPTIDX|NIFTY-OPTIDX|2604800048225|588|114.5|1801|0.05|65|1|-1|Nifty 50|2026-02-17T14:30:00|25700|4|NIFTY 17FEB2026 PE 25700|1|1|NIFTY2621725700PE
BSECM|500325|8|RELIANCE|RELIANCE-A|A|RELIANCE-A|11100100500325|1598|1307.6|676000|0.05|1|1|RELIANCE|INE002A01018|1|1|RELIANCE INDUSTRIES LTD-A|0|1|1
BSECM|590001|8|ONLYBSE|ONLYBSE-A|A|ONLYBSE-A|11100100590001|15|13|1000|0.05|1|1|ONLYBSE|INE000B01011|1|1|ONLYBSE LTD-A|0|1|1
MCXFO|472789|1|CRUDEOIL|CRUDEOIL26FEBFUT|FUTCOM|CRUDEOIL-FUTCOM|51605000472789|6500|5200|10000|1|100|1|-1|CRUDEOIL|2026-02-19T23:30:00|CRUDEOIL 19FEB2026|1|1|CRUDEOIL26FEBFUT
";

pub(crate) const RELIANCE: InstrumentId = InstrumentId { segment: Segment::NseCash, code: 2885 };
pub(crate) const RELIANCE_BSE: InstrumentId = InstrumentId { segment: Segment::BseCash, code: 500_325 };
pub(crate) const ONLY_BSE: InstrumentId = InstrumentId { segment: Segment::BseCash, code: 590_001 };
pub(crate) const NIFTY_PUT: InstrumentId = InstrumentId { segment: Segment::NseFo, code: 48_225 };
/// Of no list.
pub(crate) const UNKNOWN: InstrumentId = InstrumentId { segment: Segment::BseFo, code: 7 };

/// 2026-02-10 10:15:28 IST.
pub(crate) const AT: UnixNanos = UnixNanos::from_secs(1_770_698_728);

pub(crate) fn master() -> Master {
    let mut builder = MasterBuilder::new();
    builder.add_rows(ROWS);
    builder.add_index(1, "NIFTY 50_26000");
    let (master, report) = builder.finish();
    assert_eq!(report.instruments, 6, "{report:?}");
    master
}

pub(crate) fn price(text: &str) -> Price {
    Price::parse(text.as_bytes()).unwrap()
}

pub(crate) fn money(text: &str) -> Money {
    Money::parse(text.as_bytes()).unwrap()
}

pub(crate) fn order(id: &str, status: OrderStatus) -> Order {
    Order {
        id: id.to_owned(),
        exchange_id: String::new(),
        unique_id: "abc123".to_owned(),
        account: "TEST01".to_owned(),
        instrument: RELIANCE,
        symbol: "RELIANCE-EQ".to_owned(),
        side: Side::Buy,
        kind: OrderKind::Limit,
        product: "MIS".to_owned(),
        validity: "DAY".to_owned(),
        quantity: 10,
        filled: 0,
        left: 10,
        price: price("1460.5"),
        trigger: Price::ZERO,
        average: None,
        status,
        reason: String::new(),
        placed_at: Some(AT),
        updated_at: None,
    }
}

pub(crate) fn trade(order_id: &str, quantity: i64, at: &str) -> Trade {
    Trade {
        id: "400123456".to_owned(),
        order_id: order_id.to_owned(),
        exchange_id: String::new(),
        unique_id: String::new(),
        account: "TEST01".to_owned(),
        instrument: RELIANCE,
        symbol: String::new(),
        side: Side::Buy,
        product: "MIS".to_owned(),
        quantity,
        price: price(at),
        traded_at: Some(AT),
    }
}

/// Bought at 1460.50 each.
pub(crate) fn position(instrument: InstrumentId, quantity: i64) -> Position {
    let amount = -i64::from(1_460_500) * 1_000 * quantity;
    Position {
        account: "TEST01".to_owned(),
        instrument,
        symbol: "BROKER-NAME".to_owned(),
        product: "MIS".to_owned(),
        quantity,
        bought: Some(quantity.max(0)),
        buy_average: Some(if quantity > 0 { price("1460.5") } else { Price::ZERO }),
        sold: Some((-quantity).max(0)),
        sell_average: Some(if quantity < 0 { price("1460.5") } else { Price::ZERO }),
        net_amount: Some(Money::from_micros(amount)),
        multiplier: Some(1),
        realized: Some(Money::ZERO),
        unrealized: Some(Money::ZERO),
    }
}
