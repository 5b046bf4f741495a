//! The books as the venue writes them: misspelt names, numbers as texts, commas, `""` and `NaN`
//! where there is nothing.
//!
//! Source: XTS documentation and official SDKs; that nearly everything in a position is a text,
//! and the commas in averages, were seen on live servers. Which numbers a server writes as
//! texts differs from version to version, so it differs here from entry to entry.

use serde_json::{Value, json};

use super::truth::rupees;
use super::{Book, Funds, Item, Order, Paise, Position, Side, Status, Trade, Type};
use crate::clock::UnixNanos;
use crate::market::Price;

/// Whose books they are, in the venue's two ways.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    /// Who logged in.
    pub(crate) login: &'a str,
    /// Whose book it is.
    pub(crate) client: &'a str,
}

impl Book {
    /// Entries of the order book.
    pub(crate) fn order_entries(&self, owner: Owner<'_>) -> Vec<Value> {
        (0..self.orders.len()).map(|at| self.order_entry(owner, at)).collect()
    }

    /// One order's entry; also the payload of an `order` event.
    pub(crate) fn order_entry(&self, owner: Owner<'_>, at: usize) -> Value {
        let order = &self.orders[at];
        // Newer servers add a number beside the text.
        let average = self.average(at);
        let mut entry = head(owner, self, order, at, self.left(at), self.filled(at), average);
        entry["OrderStatus"] = json!(status(order.status));
        entry["MessageCode"] = json!(9004);
        entry["SequenceNumber"] = json!(sequence(order.updated, at));
        entry["OrderAverageTradedPriceAPI"] = match average {
            Some(paise) => json!(paise as f64 / 100.0),
            None => json!("NaN"),
        };
        entry
    }

    /// An order's history, oldest first.
    pub(crate) fn history(&self, owner: Owner<'_>, at: usize) -> Vec<Value> {
        let order = &self.orders[at];
        let mut states = Vec::new();
        if !order.states.is_empty() {
            // Every state it was in, with what it was then.
            for (nth, state) in order.states.iter().enumerate() {
                let then = Order {
                    status: state.status,
                    quantity: state.quantity,
                    limit: state.limit,
                    trigger: state.trigger,
                    updated: state.time,
                    reason: if state.status == Status::Rejected {
                        order.reason.clone()
                    } else {
                        String::new()
                    },
                    ..order.clone()
                };
                let left = if state.status.is_final() { 0 } else { state.quantity - state.filled };
                let mut entry = head(owner, self, &then, at, left, state.filled, state.average);
                entry["OrderStatus"] = json!(status(state.status));
                entry["MessageCode"] = json!(9004);
                entry["SequenceNumber"] = json!(sequence(state.time, at) + nth as i64);
                states.push(entry);
            }
            return states;
        }
        if order.status != Status::PendingNew {
            let mut first = head(owner, self, order, at, order.quantity, 0, None);
            first["OrderStatus"] = json!("PendingNew");
            first["MessageCode"] = json!(9004);
            first["SequenceNumber"] = json!(sequence(order.placed, at));
            first["LastUpdateDateTime"] = first["OrderGeneratedDateTime"].clone();
            states.push(first);
        }
        states.push(self.order_entry(owner, at));
        states
    }

    /// Entries of the trade book.
    pub(crate) fn trade_entries(&self, owner: Owner<'_>) -> Vec<Value> {
        (0..self.trades.len()).map(|at| self.trade_entry(owner, at)).collect()
    }

    /// One trade's entry; also the payload of a `trade` event.
    pub(crate) fn trade_entry(&self, owner: Owner<'_>, at: usize) -> Value {
        let Trade { order, number, quantity, price, time } = self.trades[at];
        let earlier = self.trades[..=at].iter().filter(|t| t.order == order);
        let filled: i64 = earlier.clone().map(|t| t.quantity).sum();
        let total = self.orders[order].quantity;
        let state = if filled == total { Status::Filled } else { Status::PartiallyFilled };
        let placed = &self.orders[order];
        let mut entry = head(owner, self, placed, order, total - filled, filled, self.average(order));
        entry["OrderStatus"] = json!(status(state));
        entry["MessageCode"] = json!(9005);
        entry["SequenceNumber"] = json!(sequence(time, at));
        entry["LastUpdateDateTime"] = json!(venue_time(time));
        entry["LastTradedPrice"] = number_of(price);
        entry["LastTradedQuantity"] = json!(quantity);
        entry["LastExecutionTransactTime"] = json!(venue_time(time));
        entry["ExecutionID"] = json!(number.to_string());
        entry["ExecutionReportIndex"] = json!(earlier.count());
        entry
    }

    /// Entries of the position book.
    pub(crate) fn position_entries(&self, owner: Owner<'_>, net: bool, now: UnixNanos) -> Vec<Value> {
        let positions = self.positions(net);
        positions.iter().enumerate().map(|(at, p)| position_entry(owner, p, at, now)).collect()
    }

    /// The payload of a `position` event, which has other names than the book.
    pub(crate) fn position_event(
        &self,
        owner: Owner<'_>,
        item: &Item,
        product: &str,
        now: UnixNanos,
    ) -> Option<Value> {
        let positions = self.positions(true);
        let position = positions.iter().find(|p| p.item == *item && p.product == product)?;
        Some(json!({
            "LoginID": owner.login,
            "AccountID": owner.client,
            "TradingSymbol": item.symbol,
            "ExchangeSegment": item.id.segment.xts_name(),
            "ExchangeInstrumentID": item.id.code.to_string(),
            "ProductType": position.product,
            "Multiplier": "1",
            "Marketlot": item.lot.to_string(),
            "BuyAveragePrice": rupees(position.buy_average()),
            "SellAveragePrice": rupees(position.sell_average()),
            "LongPosition": position.bought.to_string(),
            "ShortPosition": position.sold.to_string(),
            "NetPosition": position.quantity().to_string(),
            "BuyValue": rupees(position.buy_amount),
            "SellValue": rupees(position.sell_amount),
            "NetValue": rupees(position.net_amount()),
            "UnrealizedMTM": "0.00",
            "RealizedMTM": "0.00",
            "MTM": "0.00",
            "BEP": "0.00",
            "SumOfTradedQuantityAndPriceBuy": rupees(position.buy_amount),
            "SumOfTradedQuantityAndPriceSell": rupees(position.sell_amount),
            "IsDayWiseNetWise": "NetWise",
            "StatisticsLevel": "ParentLevel",
            "IsInterOpPosition": true,
            "childPositions": {},
            "MessageCode": 9002,
            "MessageVersion": 1,
            "TokenID": 0,
            "ApplicationType": 0,
            "SequenceNumber": sequence(now, self.trades.len()),
        }))
    }
}

/// What the entries of orders and trades share.
fn head(
    owner: Owner<'_>,
    book: &Book,
    order: &Order,
    at: usize,
    left: i64,
    filled: i64,
    average: Option<Paise>,
) -> Value {
    let leg = order.link.as_ref().map_or(0, |l| l.role.leg());
    let entry = order.link.as_ref().filter(|_| leg > 0).map(|l| book.orders[l.entry].number.to_string());
    // Every third writes its prices as texts.
    let number = |price: Price| if at % 3 == 2 { json!(with_commas(paise(price))) } else { number_of(price) };
    json!({
        "LoginID": owner.login,
        "ClientID": owner.client,
        "AppOrderID": order.number,
        "OrderReferenceID": "",
        "GeneratedBy": "TWSAPI",
        "ExchangeOrderID": order.exchange_number,
        "OrderCategoryType": "NORMAL",
        "ExchangeSegment": order.item.id.segment.xts_name(),
        "ExchangeInstrumentID": order.item.id.code,
        "TradingSymbol": order.item.symbol,
        "OrderSide": match order.side {
            Side::Buy => "BUY",
            Side::Sell => "SELL",
        },
        "OrderType": match order.r#type {
            Type::Market => "Market",
            Type::Limit => "Limit",
            Type::StopLimit => "StopLimit",
            Type::StopMarket => "StopMarket",
        },
        "ProductType": order.product,
        "TimeInForce": order.validity.as_str(),
        "OrderPrice": number(order.limit),
        "OrderQuantity": if at % 3 == 2 { json!(order.quantity.to_string()) } else { json!(order.quantity) },
        "OrderStopPrice": number(order.trigger),
        "OrderStatus": "",
        "OrderAverageTradedPrice": average.map(with_commas).unwrap_or_default(),
        "LeavesQuantity": left,
        "CumulativeQuantity": filled,
        "OrderDisclosedQuantity": order.disclosed,
        "OrderGeneratedDateTime": venue_time(order.placed),
        "ExchangeTransactTime": venue_time(order.placed),
        "LastUpdateDateTime": venue_time(order.updated),
        "OrderExpiryDate": "01-01-1980 00:00:00",
        "CancelRejectReason": order.reason,
        "OrderUniqueIdentifier": order.mark,
        "OrderLegStatus": "SingleOrderLeg",
        "IsSpread": false,
        "BoLegDetails": leg,
        "BoEntryOrderId": entry.unwrap_or_default(),
        "MessageVersion": 4,
        "TokenID": 0,
        "ApplicationType": 0,
    })
}

fn position_entry(owner: Owner<'_>, position: &Position, at: usize, now: UnixNanos) -> Value {
    // Every other one has commas.
    let money = |paise: Paise| if at % 2 == 1 { with_commas(paise) } else { rupees(paise) };
    let quantity = position.quantity();
    let bep = if quantity < 0 { position.sell_average() } else { position.buy_average() };
    json!({
        "AccountID": owner.client,
        "TradingSymbol": position.item.symbol,
        "ExchangeSegment": position.item.id.segment.xts_name(),
        "ExchangeInstrumentId": position.item.id.code.to_string(),
        "ProductType": position.product,
        "Marketlot": position.item.lot.to_string(),
        "Multiplier": "1",
        "BuyAveragePrice": money(position.buy_average()),
        "SellAveragePrice": money(position.sell_average()),
        "OpenBuyQuantity": position.bought.to_string(),
        "OpenSellQuantity": position.sold.to_string(),
        "Quantity": quantity.to_string(),
        "BuyAmount": money(position.buy_amount),
        "SellAmount": money(position.sell_amount),
        "NetAmount": money(position.net_amount()),
        // Jainam leaves these at zero, whatever the profit (seen live).
        "UnrealizedMTM": "0.00",
        "RealizedMTM": "0.00",
        "MTM": "0.00",
        "BEP": money(bep),
        "SumOfTradedQuantityAndPriceBuy": money(position.buy_amount),
        "SumOfTradedQuantityAndPriceSell": money(position.sell_amount),
        "statisticsLevel": "ParentLevel",
        "isInterOpPosition": true,
        "childPositions": {},
        "MessageCode": 9002,
        "MessageVersion": 1,
        "TokenID": 0,
        "ApplicationType": 0,
        "SequenceNumber": sequence(now, at),
    })
}

/// `result` of the funds call. In every other account the entry of everything is not the first.
pub(crate) fn balance(owner: Owner<'_>, funds: &Funds, account: usize) -> Value {
    let all = balance_entry(owner, "ALL|ALL|ALL", funds);
    let nothing = Funds { cash: 0, used: 0, realized: 0 };
    let other = balance_entry(owner, "CASH|NSE|MTF", &nothing);
    let list = if account.is_multiple_of(2) { [all, other] } else { [other, all] };
    json!({ "BalanceList": list })
}

fn balance_entry(owner: Owner<'_>, header: &str, funds: &Funds) -> Value {
    let (cash, used) = (rupees(funds.cash), rupees(funds.used));
    json!({
        "limitHeader": header,
        "limitObject": {
            "RMSSubLimits": {"cashAvailable": cash, "collateral": 0, "marginUtilized": used,
                "netMarginAvailable": with_commas(funds.available()), "MTM": rupees(funds.realized),
                "UnrealizedMTM": "0", "RealizedMTM": rupees(funds.realized)},
            "marginAvailable": {"CashMarginAvailable": cash, "AdhocMargin": "0", "NotinalCash": "0",
                "PayInAmount": "0", "PayOutAmount": "0", "CNCSellBenifit": "0", "DirectCollateral": "0",
                "HoldingCollateral": "0", "ClientBranchAdhoc": "0", "SellOptionsPremium": "0",
                "NetOptionPremium": "0", "BuyOptionsPremium": "0", "TotalBranchAdhoc": "0",
                "AdhocFOMargin": "NaN", "AdhocCurrencyMargin": "NaN", "AdhocCommodityMargin": "NaN"},
            "marginUtilized": {"GrossExposureMarginPresent": "0", "BuyExposureMarginPresent": "0",
                "SellExposureMarginPresent": "0", "VarELMarginPresent": "0", "ScripBasketMarginPresent": "0",
                "GrossExposureLimitPresent": "0", "BuyExposureLimitPresent": "0",
                "SellExposureLimitPresent": "0", "CNCLimitUsed": "0", "CNCAmountUsed": "0",
                "MarginUsed": used, "LimitUsed": "NaN", "TotalSpanMargin": "0", "ExposureMarginPresent": "0"},
            "limitsAssigned": {"CNCLimit": "0", "TurnoverLimitPresent": "0", "MTMLossLimitPresent": "0",
                "BuyExposureLimit": "0", "SellExposureLimit": "0", "GrossExposureLimit": "0",
                "GrossExposureDerivativesLimit": "0", "BuyExposureFuturesLimit": "0",
                "BuyExposureOptionsLimit": "0", "SellExposureOptionsLimit": "0",
                "SellExposureFuturesLimit": "0", "AdhocOptionsBuy": "0", "AdhocCashCNCMargin": "0"},
            "AccountID": owner.client,
        },
    })
}

const fn status(status: Status) -> &'static str {
    match status {
        Status::PendingNew => "PendingNew",
        Status::New => "New",
        Status::Replaced => "Replaced",
        Status::PartiallyFilled => "PartiallyFilled",
        Status::Filled => "Filled",
        Status::Cancelled => "Cancelled",
        Status::Rejected => "Rejected",
        Status::TriggerPending => "Trigger Pending",
    }
}

fn paise(price: Price) -> Paise {
    price.as_nanos() / 10_000_000
}

/// As JavaScript prints it: whole prices have no decimals.
fn number_of(price: Price) -> Value {
    let paise = paise(price);
    if paise % 100 == 0 { json!(paise / 100) } else { json!(paise as f64 / 100.0) }
}

/// Two decimals, and a comma before every third digit of the whole.
pub(crate) fn with_commas(paise: Paise) -> String {
    let plain = rupees(paise);
    let (whole, decimals) = plain.split_once('.').unwrap_or((&plain, "00"));
    let digits = whole.trim_start_matches('-');
    let mut text = String::from(if paise < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text}.{decimals}")
}

/// `DD-MM-YYYY HH:MM:SS` in India.
fn venue_time(time: UnixNanos) -> String {
    let shifted = UnixNanos::from_secs(time.as_secs() + 19_800).timestamp();
    jiff::tz::Offset::UTC.to_datetime(shifted).strftime("%d-%m-%Y %H:%M:%S").to_string()
}

fn sequence(time: UnixNanos, at: usize) -> i64 {
    time.as_secs() * 1_000_000 + at as i64
}
