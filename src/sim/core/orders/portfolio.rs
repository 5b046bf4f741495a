//! Calls that change positions: square-off and conversion.

use serde_json::{Value, json};

use super::read;
use crate::clock::UnixNanos;
use crate::sim::answers::Answer;
use crate::sim::books::{Order, Side};
use crate::sim::core::Core;

#[expect(clippy::needless_pass_by_value, reason = "an error is mapped by value")]
fn wrong(what: String) -> Answer {
    Answer::bad_request(&what)
}

impl Core {
    /// Closes a position, or a part of it, at the market.
    pub(super) fn square_off(
        &mut self,
        account: usize,
        body: &Value,
        now: UnixNanos,
    ) -> Result<Answer, Answer> {
        let id = read::instrument(body).map_err(wrong)?;
        let product = read::product(&read::required(body, "productType").map_err(wrong)?).map_err(wrong)?;
        let mode = match read::text(body, "squareoffMode") {
            Some(mode) => mode,
            None => read::required(body, "positionSqureOffMode").map_err(wrong)?,
        };
        let net = match mode.to_ascii_lowercase().as_str() {
            "netwise" => true,
            "daywise" => false,
            _ => return Err(Answer::bad_request("squareoffMode must be DayWise or NetWise")),
        };
        let (_, listing) = self.tradable(id)?;
        let lot = i64::from(listing.lot);
        if !self.market.is_open(listing.exchange, now) {
            return Err(Answer::order_refused("Market is closed"));
        }
        let book = &self.accounts[account].book;
        let positions = book.positions(net);
        let position = positions.iter().find(|p| p.item.id == id && p.product == product);
        let position = position.filter(|p| p.quantity() != 0);
        let position = position.ok_or_else(|| Answer::order_refused("There is no open position"))?;
        let held = position.quantity().abs();
        let value = read::whole(body, "squareOffQtyValue").map_err(wrong)?.unwrap_or_default();
        let kind = read::text(body, "positionSquareOffQuantityType").unwrap_or_default();
        let quantity = match kind.to_ascii_lowercase().as_str() {
            "percentage" if (1..=100).contains(&value) => held * value / 100 / lot * lot,
            "exactqty" if value > 0 && value <= held && value % lot == 0 => value,
            "percentage" | "exactqty" => 0,
            _ => {
                let text = "positionSquareOffQuantityType must be Percentage or ExactQty";
                return Err(Answer::bad_request(text));
            }
        };
        if quantity == 0 {
            return Err(Answer::order_refused("squareOffQtyValue is not within the position"));
        }
        let side = if position.quantity() > 0 { Side::Sell } else { Side::Buy };
        let item = position.item.clone();
        if body["cancelOrders"] == true {
            let orders = &book.orders;
            let is_meant = |o: &Order| !o.status.is_final() && o.item.id == id && o.product == product;
            let meant: Vec<_> = (0..orders.len()).filter(|&at| is_meant(&orders[at])).collect();
            for at in meant {
                if !self.accounts[account].book.orders[at].status.is_final() {
                    self.end_order(account, at, now);
                }
            }
        }
        let at = self.send_market(account, item, side, quantity, (product, ""), now);
        // Sources do not show the answer.
        Ok(Answer::sent(self.acknowledge(account, at)))
    }

    /// Puts a part of a position under another product.
    pub(super) fn convert(&mut self, account: usize, body: &Value, now: UnixNanos) -> Result<Answer, Answer> {
        let id = read::instrument(body).map_err(wrong)?;
        let product = |key: &str| {
            let text = read::required(body, key)?;
            read::product(&text)
        };
        let (from, to) =
            (product("oldProductType").map_err(wrong)?, product("newProductType").map_err(wrong)?);
        let quantity = read::whole(body, "targetQty").map_err(wrong)?.unwrap_or_default();
        let (_, listing) = self.tradable(id)?;
        if from == to || quantity <= 0 || quantity % i64::from(listing.lot) != 0 {
            return Err(Answer::order_refused(
                "targetQty must be above zero and whole lots of another product",
            ));
        }
        let item = crate::sim::books::Item::of(listing);
        let book = &mut self.accounts[account].book;
        let done = book.convert(&item, from, to, quantity);
        done.ok_or_else(|| Answer::order_refused("There is no position of that quantity"))?;
        for product in [from, to] {
            self.tell_position(account, "position", &item, product, now);
        }
        self.tell_position(account, "tradeConversion", &item, to, now);
        // Code and text are composed: no source shows them.
        Ok(Answer::success("s-portfolio-0002", "Position conversion request sent", json!({})))
    }
}
