//! An order as a consumer asks for it, checked as far as it can be without the broker.

use serde_json::{Map, Value};

use super::super::asked::{Failed, tradable};
use super::super::fields::Fields;
use crate::market::{InstrumentId, Master, NewOrder, OrderKind, Price, Segment, Side};

/// How the price of an order is found.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) kind: OrderKind,
    pub(super) product: String,
    pub(super) disclosed: i64,
    pub(super) price: Price,
    pub(super) trigger: Price,
}

/// One order.
#[derive(Clone, Debug)]
pub(super) struct OrderRequest {
    pub(super) strategy: String,
    pub(super) symbol: String,
    pub(super) exchange: String,
    pub(super) side: Side,
    /// As it was asked for; zero only where that is allowed.
    pub(super) quantity: i64,
    pub(super) terms: Terms,
}

impl Terms {
    /// Reads them; with `required` all must be there.
    pub(super) fn read(fields: &mut Fields<'_>, required: bool) -> Self {
        if required {
            for name in ["price", "trigger_price", "disclosed_quantity"] {
                fields.required(name);
            }
        }
        Self {
            kind: fields.kind("pricetype", required),
            product: fields.product("product", required),
            disclosed: fields.whole("disclosed_quantity", 0).unwrap_or(0),
            price: fields.price("price"),
            trigger: fields.price("trigger_price"),
        }
    }

    /// Checks what the kind of order needs, and takes away what it does not: clients send old prices along.
    pub(super) fn fitting(mut self) -> Result<Self, Failed> {
        let (needs_price, needs_trigger) = match self.kind {
            OrderKind::Limit => (true, false),
            OrderKind::StopLimit => (true, true),
            OrderKind::StopMarket => (false, true),
            OrderKind::Market | OrderKind::Unknown(_) => (false, false),
        };
        let mut wrong = Vec::new();
        if needs_price && !self.price.is_positive() {
            wrong.push("price: Must be above 0 for a LIMIT or SL order.");
        }
        if needs_trigger && !self.trigger.is_positive() {
            wrong.push("trigger_price: Must be above 0 for an SL or SL-M order.");
        }
        if !wrong.is_empty() {
            return Err(Failed::bad(wrong.join("; ")));
        }
        if !needs_price {
            self.price = Price::ZERO;
        }
        if !needs_trigger {
            self.trigger = Price::ZERO;
        }
        Ok(self)
    }
}

impl OrderRequest {
    /// Reads one; `least` is the smallest quantity.
    pub(super) fn read(body: &Map<String, Value>, least: i64) -> Result<Self, Failed> {
        Self::read_with(body, least, |_| ()).map(|(request, ())| request)
    }

    /// The same, and `more` of the body.
    pub(super) fn read_with<T>(
        body: &Map<String, Value>,
        least: i64,
        more: impl FnOnce(&mut Fields<'_>) -> T,
    ) -> Result<(Self, T), Failed> {
        let mut fields = Fields::of(body);
        let strategy = fields.text("strategy");
        let mut request = Self::read_from(&mut fields, strategy, least);
        let more = more(&mut fields);
        fields.finish()?;
        request.terms = request.terms.fitting()?;
        Ok((request, more))
    }

    /// Reads one whose strategy stands elsewhere. What the kind of order needs is not checked yet.
    pub(super) fn read_from(fields: &mut Fields<'_>, strategy: String, least: i64) -> Self {
        Self {
            strategy,
            symbol: fields.text("symbol"),
            exchange: fields.text("exchange"),
            side: fields.side("action"),
            quantity: fields.required_whole("quantity", least),
            terms: Terms::read(fields, false),
        }
    }

    /// The instrument.
    pub(super) fn instrument(&self, master: &Master) -> Result<InstrumentId, Failed> {
        tradable(master, &self.exchange, &self.symbol)
    }

    /// The order to send.
    pub(super) fn new_order(&self, master: &Master) -> Result<NewOrder, Failed> {
        let instrument = self.instrument(master)?;
        self.order_of(master, instrument, self.side, self.quantity)
    }

    /// The same in another direction and size.
    pub(super) fn order_of(
        &self,
        master: &Master,
        instrument: InstrumentId,
        side: Side,
        quantity: i64,
    ) -> Result<NewOrder, Failed> {
        check_lot(master, instrument, quantity)?;
        let terms = self.terms.clone();
        if terms.disclosed > quantity {
            return Err(Failed::bad("disclosed_quantity: Must not be above the order's quantity."));
        }
        Ok(NewOrder {
            instrument,
            side,
            kind: terms.kind,
            product: terms.product,
            validity: "DAY".to_owned(),
            quantity,
            disclosed: terms.disclosed,
            price: terms.price,
            trigger: terms.trigger,
            // The desk makes one.
            unique_id: String::new(),
        })
    }
}

/// Contracts are traded in whole lots. Not checked on MCX, where brokers mean different things by a lot size.
pub(super) fn check_lot(master: &Master, instrument: InstrumentId, quantity: i64) -> Result<(), Failed> {
    if matches!(instrument.segment, Segment::NseCash | Segment::BseCash | Segment::Mcx) {
        return Ok(());
    }
    let lot = master.get(instrument).map_or(0, |known| i64::from(known.lot_size));
    if lot > 1 && quantity % lot != 0 {
        return Err(Failed::bad(format!("quantity: {quantity} is no multiple of the lot size {lot}")));
    }
    Ok(())
}
