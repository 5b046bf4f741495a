//! `/optionsymbol`: the option so many strikes from the money.

use jiff::civil::Date;
use serde::Serialize;

use super::super::asked::{Asked, Failed, Reply};
use super::symbols::walk;
use super::wanted::{Wanted, resolve};
use crate::market::calendar::ist_date;
use crate::market::{Exchange, InstrumentId, InstrumentKind, Kind, Master, Price, Right, TickBody};
use crate::protocol::openalgo::rest::decimal::Decimal;

/// The farthest that can be asked for, in strikes.
const MAX_STEPS: i32 = 50;

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

/// Strikes away from the money; below zero: in the money.
fn steps(offset: &str) -> Option<i32> {
    let offset = offset.to_ascii_uppercase();
    if offset == "ATM" {
        return Some(0);
    }
    let (digits, sign) = match offset.strip_prefix("OTM") {
        Some(digits) => (digits, 1),
        None => (offset.strip_prefix("ITM")?, -1),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let steps = digits.parse().ok().filter(|_| is_number)?;
    (1..=MAX_STEPS).contains(&steps).then_some(sign * steps)
}

/// `28OCT25`, or with hyphens as `/expiry` shows it.
fn expiry(text: &str) -> Option<Date> {
    let text: String = text.to_ascii_uppercase().chars().filter(|c| *c != '-').collect();
    if text.len() != 7 || !text.is_ascii() {
        return None;
    }
    let month = MONTHS.iter().position(|month| *month == &text[2..5])? as i8 + 1;
    Date::new(2000 + text[5..].parse::<i16>().ok()?, month, text[..2].parse().ok()?).ok()
}

/// Where the options of an underlying are listed.
const fn options_of(exchange: Exchange) -> Exchange {
    match exchange {
        Exchange::Nse | Exchange::NseIndex | Exchange::Nfo => Exchange::Nfo,
        Exchange::Bse | Exchange::BseIndex | Exchange::Bfo => Exchange::Bfo,
        Exchange::Cds => Exchange::Cds,
        Exchange::Mcx => Exchange::Mcx,
    }
}

#[derive(Serialize)]
struct OptionData {
    status: &'static str,
    symbol: String,
    exchange: &'static str,
    lotsize: u32,
    tick_size: Decimal,
    freeze_qty: i64,
    underlying_ltp: Decimal,
}

pub(super) async fn optionsymbol(asked: &Asked) -> Result<Reply, Failed> {
    let mut wanted = Wanted::of(&asked.body);
    let (underlying, exchange) = (wanted.text("underlying"), wanted.exchange("exchange"));
    let (offset, right) = (wanted.text("offset"), wanted.text("option_type").to_ascii_uppercase());
    let steps = steps(offset);
    if steps.is_none() && !offset.is_empty() {
        wanted.say("offset", "Must be ATM, ITM1 to ITM50, or OTM1 to OTM50.");
    }
    let right = match right.as_str() {
        "CE" => Some(Right::Call),
        "PE" => Some(Right::Put),
        "" => None,
        _ => {
            wanted.say("option_type", "Must be one of: CE, PE.");
            None
        }
    };
    let text = wanted.optional("expiry_date");
    let day = text.and_then(expiry);
    if text.is_some() && day.is_none() {
        wanted.say("expiry_date", "Not a valid date; write it as 28OCT25.");
    }
    wanted.finish()?;
    let (Some(steps), Some(right)) = (steps, right) else { return Err(Failed::bad("offset")) };
    let master = asked.master()?;
    let id = resolve(&master, exchange, underlying)?;
    let known = master.get(id).ok_or_else(|| Failed::bad("underlying"))?;
    let day = day.or(known.expiry);
    let Some(day) = day else {
        return Err(Failed::bad("expiry_date is needed, since the underlying has none"));
    };
    if day < ist_date(asked.clock.now()) {
        return Err(Failed::bad(format!("{day} is over")));
    }
    // An index and a share are their own underlying; a contract names its own.
    let name = match known.kind {
        InstrumentKind::Index | InstrumentKind::Equity => known.symbol,
        InstrumentKind::Future | InstrumentKind::Option(_) => known.name,
    };
    let (name, listed) = (name.to_owned(), options_of(known.exchange));
    let last = last_price(asked, id).await?;
    let shown = format!("{exchange}:{underlying}");
    let data = walk(master.clone(), move |master: &Master| {
        let options = master.options(listed, &name, day, right);
        let at = chosen(&options.iter().map(|(strike, _)| *strike).collect::<Vec<_>>(), last, steps, right);
        let Some((_, option)) = at.and_then(|at| options.get(at)) else { return Err(options.len()) };
        Ok(OptionData {
            status: "success",
            symbol: option.symbol.to_owned(),
            exchange: option.exchange.as_str(),
            lotsize: option.lot_size,
            tick_size: option.tick_size.into(),
            freeze_qty: option.freeze_quantity.max(1),
            underlying_ltp: last.into(),
        })
    })
    .await?;
    match data {
        Ok(data) => Ok(Reply::new(200, &data)),
        Err(0) => Err(Failed::new(404, format!("there are no options of {shown} that end on {day}"))),
        Err(count) => Err(Failed::new(404, format!("there is no such strike among the {count} of {shown}"))),
    }
}

/// The place of the strike that is so many steps from the one nearest to `last`; the lower of two that are as near.
fn chosen(strikes: &[Price], last: Price, steps: i32, right: Right) -> Option<usize> {
    let distance = |strike: &Price| (strike.as_nanos() - last.as_nanos()).unsigned_abs();
    let at = strikes.iter().enumerate().min_by_key(|(_, strike)| distance(strike))?.0;
    // A call is out of the money above, a put below.
    let steps = if right == Right::Call { steps } else { -steps };
    let place = i64::try_from(at).ok()? + i64::from(steps);
    usize::try_from(place).ok().filter(|place| *place < strikes.len())
}

async fn last_price(asked: &Asked, id: InstrumentId) -> Result<Price, Failed> {
    let ticks = asked.desk.quotes(Kind::Quote, vec![id]).await?;
    let last = ticks.iter().find_map(|tick| match &tick.body {
        TickBody::Quote(quote) => Some(quote.last.price),
        _ => None,
    });
    last.ok_or_else(|| Failed::new(404, "the broker has no value of the underlying now"))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn offsets_and_days() {
        for (text, expected) in [
            ("ATM", Some(0)),
            ("atm", Some(0)),
            ("OTM3", Some(3)),
            ("itm50", Some(-50)),
            ("OTM0", None),
            ("OTM51", None),
            ("OTM", None),
            ("OTM+1", None),
            ("X1", None),
        ] {
            assert_eq!(steps(text), expected, "{text}");
        }
        assert_eq!(expiry("28OCT25"), Some(date(2025, 10, 28)));
        assert_eq!(expiry("28-oct-25"), Some(date(2025, 10, 28)));
        for text in ["", "31FEB26", "28OCT2025", "28OKT25", "ab-OCT-25", "2८OCT5"] {
            assert_eq!(expiry(text), None, "{text}");
        }
    }

    #[test]
    fn strikes_around_the_money() {
        let strikes: Vec<_> = [100, 150, 200, 250].map(Price::from_rupees).to_vec();
        let at = |last, steps, right| chosen(&strikes, Price::from_rupees(last), steps, right);
        assert_eq!(at(160, 0, Right::Call), Some(1));
        assert_eq!(at(175, 0, Right::Call), Some(1), "the lower of two");
        assert_eq!(at(160, 2, Right::Call), Some(3));
        assert_eq!(at(160, 1, Right::Put), Some(0));
        assert_eq!(at(160, -1, Right::Put), Some(2));
        assert_eq!(at(160, 3, Right::Call), None);
        assert_eq!(at(160, 2, Right::Put), None);
        assert_eq!(chosen(&[], Price::ZERO, 0, Right::Put), None);
    }
}
