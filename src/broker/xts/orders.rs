//! Orders: placing, changing, cancelling, and what acts on positions. Not whether a key may do
//! so, and not what became of an order; the order book tells that.
//!
//! Nothing here is ever sent twice. Figures are written as JSON numbers with their exact decimals;
//! what cannot be right is refused before anything is sent.

use reqwest::Method;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use crate::broker::Error;
use crate::market::{
    BracketOrder, Conversion, CoverIds, InstrumentId, NewOrder, OrderChange, OrderKind, PositionView, Price,
    Side, SquareOff, SquareOffSize,
};
use crate::token::{Product, Token};

use super::XtsBroker;
use super::books::{add_query, push_encoded};
use super::pace::Path;
use super::rest::Call;
use super::ways::order_client;
use super::wire::found;
use super::wire::text::Raw;

/// Longest `orderUniqueIdentifier`.
const MAX_UNIQUE_ID: usize = 20;

/// Longest word (product, validity) and longest order number that is passed on.
const MAX_WORD: usize = 20;

/// A number as it is to stand in JSON.
type Number = Box<RawValue>;

/// Body of a new order; what a kind of order does not have is left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Place<'a> {
    exchange_segment: &'static str,
    #[serde(rename = "exchangeInstrumentID")]
    exchange_instrument_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    product_type: Option<&'a str>,
    order_type: &'static str,
    order_side: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_in_force: Option<&'a str>,
    disclosed_quantity: i64,
    order_quantity: i64,
    limit_price: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_price: Option<Number>,
    /// The broker's spelling.
    #[serde(rename = "squarOff", skip_serializing_if = "Option::is_none")]
    square_off: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_loss_price: Option<Number>,
    /// The broker's spelling.
    #[serde(rename = "trailingStoploss", skip_serializing_if = "Option::is_none")]
    trailing: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_pro_order: Option<bool>,
    order_unique_identifier: &'a str,
    api_order_source: &'static str,
    #[serde(rename = "clientID", skip_serializing_if = "Option::is_none")]
    client: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Modify<'a> {
    #[serde(rename = "appOrderID")]
    id: Number,
    modified_product_type: &'a str,
    modified_order_type: &'static str,
    modified_order_quantity: i64,
    modified_disclosed_quantity: i64,
    modified_limit_price: Number,
    modified_stop_price: Number,
    modified_time_in_force: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    order_unique_identifier: &'a str,
    #[serde(rename = "clientID", skip_serializing_if = "Option::is_none")]
    client: Option<String>,
}

/// Body of what is about an instrument, with further members.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct About<T> {
    exchange_segment: &'static str,
    #[serde(rename = "exchangeInstrumentID")]
    exchange_instrument_id: u32,
    #[serde(flatten)]
    rest: T,
    #[serde(rename = "clientID", skip_serializing_if = "Option::is_none")]
    client: Option<String>,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Convert<'a> {
    target_qty: i64,
    is_day_wise: bool,
    old_product_type: &'a str,
    new_product_type: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Square<'a> {
    product_type: &'a str,
    /// The broker's spelling.
    #[serde(rename = "squareoffMode")]
    mode: &'static str,
    position_square_off_quantity_type: &'static str,
    square_off_qty_value: i64,
}

#[derive(Serialize)]
struct Exit {
    #[serde(rename = "appOrderID")]
    id: Number,
    #[serde(rename = "clientID", skip_serializing_if = "Option::is_none")]
    client: Option<String>,
}

impl XtsBroker {
    pub(super) async fn send_order(
        &self,
        token: &Token,
        send_by: Instant,
        order: &NewOrder,
    ) -> Result<String, Error> {
        let mut body = self.new_order(token, order, true)?;
        body.product_type = Some(word("product", &order.product)?);
        self.change(token, Errand::to(Method::POST, "/orders", Path::Orders).by(send_by), &body, |result| {
            found::order_id(result, &["AppOrderID"])
        })
        .await
    }

    pub(super) async fn send_cover(
        &self,
        token: &Token,
        send_by: Instant,
        order: &NewOrder,
    ) -> Result<CoverIds, Error> {
        let mut body = self.new_order(token, order, false)?;
        // The stop is an order of its own, whatever the entry's kind.
        body.stop_price = Some(positive("trigger", order.trigger)?);
        self.change(
            token,
            Errand::to(Method::POST, "/orders/cover", Path::Orders).by(send_by),
            &body,
            |result| {
                let entry = found::order_id(result, &["EntryAppOrderID"])?;
                Some(CoverIds { entry, exit: found::order_id(result, &["ExitAppOrderID"])? })
            },
        )
        .await
    }

    pub(super) async fn send_bracket(
        &self,
        token: &Token,
        send_by: Instant,
        order: &BracketOrder,
    ) -> Result<String, Error> {
        let mut body = self.new_order(token, &order.entry, true)?;
        (body.stop_price, body.time_in_force) = (None, None);
        body.square_off = Some(positive("distance to the target", order.square_off)?);
        body.stop_loss_price = Some(positive("distance to the stop", order.stop_loss)?);
        body.trailing = Some(not_negative("trailing step", order.trailing)?);
        body.is_pro_order = Some(false);
        self.change(
            token,
            Errand::to(Method::POST, "/orders/bracket", Path::Orders).by(send_by),
            &body,
            |result| found::order_id(result, &["AppOrderID", "EntryAppOrderID", "BoEntryOrderId"]),
        )
        .await
    }

    pub(super) async fn send_change(
        &self,
        token: &Token,
        send_by: Instant,
        change: &OrderChange,
    ) -> Result<(), Error> {
        let figures = figures(&change.kind, change.price, change.trigger, true)?;
        let body = Modify {
            id: json_number(order_number(&change.id)?)?,
            modified_product_type: word("product", &change.product)?,
            modified_order_type: figures.kind,
            modified_order_quantity: quantity(change.quantity, change.disclosed)?,
            modified_disclosed_quantity: change.disclosed,
            modified_limit_price: figures.limit,
            modified_stop_price: figures.stop,
            modified_time_in_force: word("validity", &change.validity)?,
            order_unique_identifier: fitting_mark(&change.unique_id),
            client: self.order_client(token)?,
        };
        self.change(token, Errand::to(Method::PUT, "/orders", Path::Orders).by(send_by), &body, done).await
    }

    pub(super) async fn send_cancel(&self, token: &Token, id: &str, unique: &str) -> Result<(), Error> {
        let mut path = String::from("/orders?appOrderID=");
        push_encoded(&mut path, order_number(id)?);
        let mark = fitting_mark(unique);
        if !mark.is_empty() {
            add_query(&mut path, "orderUniqueIdentifier=");
            push_encoded(&mut path, mark);
        }
        self.delete(token, path).await
    }

    pub(super) async fn send_cancel_all(&self, token: &Token, about: InstrumentId) -> Result<(), Error> {
        let body = self.about(token, about, Nothing {})?;
        self.change(token, Errand::to(Method::POST, "/orders/cancelall", Path::CancelAll), &body, done).await
    }

    pub(super) async fn send_exit_cover(&self, token: &Token, id: &str) -> Result<(), Error> {
        let body = Exit { id: json_number(order_number(id)?)?, client: self.order_client(token)? };
        self.change(token, Errand::to(Method::PUT, "/orders/cover", Path::Cancel), &body, done).await
    }

    pub(super) async fn send_exit_bracket(&self, token: &Token, id: &str) -> Result<(), Error> {
        let mut path = String::from("/orders/bracket?boEntryOrderId=");
        push_encoded(&mut path, order_number(id)?);
        self.delete(token, path).await
    }

    pub(super) async fn send_conversion(
        &self,
        token: &Token,
        send_by: Instant,
        what: &Conversion,
    ) -> Result<(), Error> {
        let body = Convert {
            target_qty: quantity(what.quantity, 0)?,
            is_day_wise: what.view == PositionView::Day,
            old_product_type: word("product", &what.from)?,
            new_product_type: word("product", &what.to)?,
        };
        let body = self.about(token, what.instrument, body)?;
        self.change(
            token,
            Errand::to(Method::PUT, "/portfolio/positions/convert", Path::Convert).by(send_by),
            &body,
            done,
        )
        .await
    }

    pub(super) async fn send_square_off(
        &self,
        token: &Token,
        send_by: Instant,
        what: &SquareOff,
    ) -> Result<(), Error> {
        let (kind, value) = match what.size {
            SquareOffSize::Units(units) => ("ExactQty", quantity(units, 0)?),
            SquareOffSize::Percent(percent @ 1..=100) => ("Percentage", i64::from(percent)),
            SquareOffSize::Percent(_) => return Err(invalid("a share must be 1 to 100 per cent")),
        };
        let body = Square {
            product_type: word("product", &what.product)?,
            mode: if what.view == PositionView::Day { "DayWise" } else { "NetWise" },
            position_square_off_quantity_type: kind,
            square_off_qty_value: value,
        };
        let body = self.about(token, what.instrument, body)?;
        self.change(
            token,
            Errand::to(Method::PUT, "/portfolio/squareoff", Path::SquareOff).by(send_by),
            &body,
            done,
        )
        .await
    }

    fn order_client(&self, token: &Token) -> Result<Option<String>, Error> {
        order_client(&self.settings.client_id, &token.facts).map_err(Error::from)
    }

    fn about<T>(&self, token: &Token, instrument: InstrumentId, rest: T) -> Result<About<T>, Error> {
        Ok(About {
            exchange_segment: instrument.segment.xts_name(),
            exchange_instrument_id: instrument.code,
            rest,
            client: self.order_client(token)?,
        })
    }

    fn new_order<'a>(
        &self,
        token: &Token,
        order: &'a NewOrder,
        needs_trigger: bool,
    ) -> Result<Place<'a>, Error> {
        let figures = figures(&order.kind, order.price, order.trigger, needs_trigger)?;
        Ok(Place {
            exchange_segment: order.instrument.segment.xts_name(),
            exchange_instrument_id: order.instrument.code,
            product_type: None,
            order_type: figures.kind,
            order_side: match order.side {
                Side::Buy => "BUY",
                Side::Sell => "SELL",
            },
            time_in_force: Some(word("validity", &order.validity)?),
            disclosed_quantity: order.disclosed,
            order_quantity: quantity(order.quantity, order.disclosed)?,
            limit_price: figures.limit,
            stop_price: Some(figures.stop),
            square_off: None,
            stop_loss_price: None,
            trailing: None,
            is_pro_order: None,
            order_unique_identifier: unique_id(&order.unique_id)?,
            api_order_source: "WEBAPI",
            client: self.order_client(token)?,
        })
    }

    async fn delete(&self, token: &Token, mut path: String) -> Result<(), Error> {
        if let Some(client) = self.order_client(token)? {
            add_query(&mut path, "clientID=");
            push_encoded(&mut path, &client);
        }
        self.send(token, Errand::to(Method::DELETE, &path, Path::Cancel), None, done).await
    }

    async fn change<T>(
        &self,
        token: &Token,
        errand: Errand<'_>,
        body: &(impl Serialize + Sync),
        read: impl FnOnce(Raw<'_>) -> Option<T>,
    ) -> Result<T, Error> {
        let body = serde_json::to_string(body).map_err(|error| Error::NotSent(error.to_string()))?;
        self.send(token, errand, Some(body), read).await
    }

    /// Sends what changes something, once.
    async fn send<T>(
        &self,
        token: &Token,
        errand: Errand<'_>,
        body: Option<String>,
        read: impl FnOnce(Raw<'_>) -> Option<T>,
    ) -> Result<T, Error> {
        if token.product != Product::Interactive {
            return Err(Error::NotConfigured("orders take an interactive token".to_owned()));
        }
        let patience = self.rest.queue(Product::Interactive).deadline(errand.counted_as);
        let by = errand.send_by.map_or(patience, |send_by| send_by.min(patience));
        let (now, began_at) = (Instant::now(), self.clock.now());
        // Whatever happens while its way is looked up, the order itself was not sent.
        let slow = |_| Error::NotSent("hostlookup did not answer in time".to_owned());
        let looked_up = timeout_at(by, self.interactive_base()).await.map_err(slow)?;
        let mut url = looked_up.map_err(|error| {
            if error.is_unclear() { Error::NotSent(format!("hostlookup: {error}")) } else { error }
        })?;
        url.push_str(errand.path);
        let mut call = Call::interactive(errand.method, url, Some(&token.secret)).on(errand.counted_as);
        (call.body, call.send_by) = (body, Some(by));
        // Instants stand still while the machine sleeps.
        let is_late = || {
            errand.send_by.is_some_and(|send_by| {
                self.clock.now().since(began_at) > send_by.saturating_duration_since(now)
            })
        };
        call.is_late = Some(&is_late);
        let answered = self
            .rest
            .ask(call, |result| {
                read(result).ok_or_else(|| Error::Malformed("the answer names no order".to_owned()))
            })
            .await;
        self.doubt_base(answered.as_ref().err()).await;
        answered
    }
}

/// Where something that changes anything is sent.
struct Errand<'a> {
    method: Method,
    path: &'a str,
    /// What the broker counts it as.
    counted_as: Path,
    /// Not after this; `None`: whenever its turn comes.
    send_by: Option<Instant>,
}

impl<'a> Errand<'a> {
    const fn to(method: Method, path: &'a str, counted_as: Path) -> Self {
        Self { method, path, counted_as, send_by: None }
    }

    const fn by(mut self, send_by: Instant) -> Self {
        self.send_by = Some(send_by);
        self
    }
}

/// A success is enough.
#[expect(clippy::unnecessary_wraps, reason = "the form of a reader")]
const fn done(_: Raw<'_>) -> Option<()> {
    Some(())
}

fn invalid(what: &str) -> Error {
    Error::Invalid(what.to_owned())
}

/// How an order's price is found, as it is written.
struct Figures {
    kind: &'static str,
    limit: Number,
    stop: Number,
}

/// What a kind does not use is written as zero, the broker's "none", whatever was said.
fn figures(kind: &OrderKind, price: Price, trigger: Price, needs_trigger: bool) -> Result<Figures, Error> {
    let limit = |is_used: bool| if is_used { positive("price", price) } else { decimal(Price::ZERO) };
    let stop = |is_used: bool| if is_used { positive("trigger", trigger) } else { decimal(Price::ZERO) };
    let (kind, limit, stop) = match kind {
        OrderKind::Market => ("MARKET", limit(false)?, stop(false)?),
        OrderKind::Limit => ("LIMIT", limit(true)?, stop(false)?),
        OrderKind::StopLimit => ("STOPLIMIT", limit(true)?, stop(needs_trigger)?),
        OrderKind::StopMarket => ("STOPMARKET", limit(false)?, stop(needs_trigger)?),
        OrderKind::Unknown(_) => return Err(invalid("the kind of the order is unknown")),
    };
    Ok(Figures { kind, limit, stop })
}

fn positive(name: &str, price: Price) -> Result<Number, Error> {
    if price.is_positive() {
        decimal(price)
    } else {
        Err(Error::Invalid(format!("the {name} must be above zero")))
    }
}

fn not_negative(name: &str, price: Price) -> Result<Number, Error> {
    if price < Price::ZERO {
        Err(Error::Invalid(format!("the {name} must not be negative")))
    } else {
        decimal(price)
    }
}

/// A price's exact decimals; whole rupees without a point, as the broker's samples have them.
fn decimal(price: Price) -> Result<Number, Error> {
    let text = price.to_string();
    json_number(text.strip_suffix(".0").unwrap_or(&text))
}

/// Text that is a JSON number becomes one, any other a JSON string.
fn json_number(text: &str) -> Result<Number, Error> {
    let is_number = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let whole = digits.split_once('.').map_or(digits, |(whole, _)| whole);
        !whole.is_empty()
            && (whole == "0" || !whole.starts_with('0'))
            && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    };
    let quoted = || serde_json::to_string(text).unwrap_or_default();
    let written = if is_number(text) { text.to_owned() } else { quoted() };
    RawValue::from_string(written).map_err(|_| invalid("a figure cannot be written"))
}

/// Units above zero, of which no more are shown than there are.
fn quantity(units: i64, shown: i64) -> Result<i64, Error> {
    if units <= 0 {
        return Err(invalid("the quantity must be above zero"));
    }
    // Beyond that no JSON reader keeps every unit apart.
    if units > 9_007_199_254_740_991 {
        return Err(invalid("the quantity is too large"));
    }
    if !(0..=units).contains(&shown) {
        return Err(invalid("the disclosed quantity must be from zero to the quantity"));
    }
    Ok(units)
}

fn word<'a>(name: &str, text: &'a str) -> Result<&'a str, Error> {
    let is_word = (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if is_word { Ok(text) } else { Err(Error::Invalid(format!("the {name} must be one word"))) }
}

fn unique_id(text: &str) -> Result<&str, Error> {
    match fitting_mark(text) {
        "" => Err(invalid("the unique identifier must be 1 to 20 letters and digits")),
        mark => Ok(mark),
    }
}

/// A mark as brokers take it; of other software's marks that are none, nothing: the order's number is enough to
/// change or cancel it.
fn fitting_mark(text: &str) -> &str {
    let fits = text.len() <= MAX_UNIQUE_ID && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if fits { text } else { "" }
}

/// The broker's number of an order, as it gave it.
pub(super) fn order_number(text: &str) -> Result<&str, Error> {
    if found::is_order_id(text) { Ok(text) } else { Err(invalid("that is no number of an order")) }
}
