//! Where every field stands: the tables of `PROTOCOL.md` as numbers. A test reads the tables and
//! compares what the writers write by them.

/// The header, the same for every kind.
pub(super) const HEADER: usize = 48;
pub(super) const LEN: usize = 0;
pub(super) const KIND: usize = 2;
pub(super) const FLAGS: usize = 3;
pub(super) const NUMBER: usize = 4;
pub(super) const SEQ: usize = 8;
pub(super) const EPOCH: usize = 16;
pub(super) const SOURCE: usize = 20;
pub(super) const TS_EVENT: usize = 24;
pub(super) const TS_RECV: usize = 32;
pub(super) const TS_SENT: usize = 40;

pub(super) mod hello {
    pub(in super::super) const MAGIC: usize = 48;
    pub(in super::super) const VERSION: usize = 56;
    pub(in super::super) const STARTED_AT: usize = 64;
    pub(in super::super) const SIZE: usize = 72;
}

pub(super) mod directory {
    pub(in super::super) const TICK_SIZE: usize = 48;
    pub(in super::super) const LOT_SIZE: usize = 56;
    pub(in super::super) const CODE: usize = 64;
    pub(in super::super) const SEGMENT: usize = 68;
    pub(in super::super) const SYMBOL_LEN: usize = 70;
    pub(in super::super) const EXCHANGE: usize = 72;
    pub(in super::super) const EXCHANGE_LEN: usize = 16;
    pub(in super::super) const SYMBOL: usize = 88;
}

pub(super) mod state {
    pub(in super::super) const STATE: usize = 48;
    pub(in super::super) const REASON_LEN: usize = 50;
    pub(in super::super) const SINCE: usize = 56;
    pub(in super::super) const REASON: usize = 64;
}

pub(super) mod conflated {
    pub(in super::super) const SKIPPED: usize = 48;
    pub(in super::super) const SPAN: usize = 56;
    pub(in super::super) const KIND: usize = 64;
    pub(in super::super) const SIZE: usize = 72;
}

pub(super) mod heartbeat {
    pub(in super::super) const STATE: usize = 48;
    pub(in super::super) const LAST_TICK_AGE: usize = 56;
    pub(in super::super) const SIZE: usize = 64;
}

/// Also the start of `quote` and `depth`.
pub(super) mod ltp {
    pub(in super::super) const PRICE: usize = 48;
    pub(in super::super) const QUANTITY: usize = 56;
    pub(in super::super) const VOLUME: usize = 64;
    pub(in super::super) const TRADE_TIME: usize = 72;
    pub(in super::super) const SIZE: usize = 80;
}

/// Also the start of `depth`.
pub(super) mod quote {
    pub(in super::super) const AVERAGE: usize = 80;
    pub(in super::super) const OPEN: usize = 88;
    pub(in super::super) const HIGH: usize = 96;
    pub(in super::super) const LOW: usize = 104;
    pub(in super::super) const CLOSE: usize = 112;
    pub(in super::super) const BID_PRICE: usize = 120;
    pub(in super::super) const BID_QUANTITY: usize = 128;
    pub(in super::super) const ASK_PRICE: usize = 136;
    pub(in super::super) const ASK_QUANTITY: usize = 144;
    pub(in super::super) const BID_ORDERS: usize = 152;
    pub(in super::super) const ASK_ORDERS: usize = 156;
    pub(in super::super) const TOTAL_BUY: usize = 160;
    pub(in super::super) const TOTAL_SELL: usize = 168;
    pub(in super::super) const OPEN_INTEREST: usize = 176;
    pub(in super::super) const SIZE: usize = 184;
}

pub(super) mod depth {
    pub(in super::super) const UPPER: usize = 184;
    pub(in super::super) const LOWER: usize = 192;
    pub(in super::super) const BIDS: usize = 200;
    pub(in super::super) const ASKS: usize = 320;
    /// Within a level.
    pub(in super::super) const LEVEL: usize = 24;
    pub(in super::super) const LEVEL_QUANTITY: usize = 8;
    pub(in super::super) const LEVEL_ORDERS: usize = 16;
    pub(in super::super) const SIZE: usize = 440;
}

pub(super) mod open_interest {
    pub(in super::super) const OPEN_INTEREST: usize = 48;
    pub(in super::super) const SIZE: usize = 56;
}

pub(super) mod bar {
    pub(in super::super) const START: usize = 48;
    pub(in super::super) const INTERVAL: usize = 56;
    pub(in super::super) const OPEN: usize = 64;
    pub(in super::super) const HIGH: usize = 72;
    pub(in super::super) const LOW: usize = 80;
    pub(in super::super) const CLOSE: usize = 88;
    pub(in super::super) const VOLUME: usize = 96;
    pub(in super::super) const OPEN_INTEREST: usize = 104;
    pub(in super::super) const SIZE: usize = 112;
}

/// The longest text in a record; longer ones are cut.
pub(super) const MAX_TEXT: usize = 1024;
